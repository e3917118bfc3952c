// device.h — the devices of this machine: how many, and what each is.
#pragma once

#include <string>

#include "stream.h"

namespace tapwise::cuda {

struct Device {
  std::string name;
  int major, minor;    // compute capability
  int units;           // multiprocessors
  int clock_khz;       // 0 where the driver doesn't tell
  Index shared_bytes;  // of a multiprocessor
  Index l2_bytes;      // of the device
  int memory_khz, memory_bits;
};

// Throw std::runtime_error with CUDA's reason: no driver, no device, one too old.
int device_count();
int current_device();
Device device(int number);

// The current device, which the driver is asked about once.
const Device& known_device();

// A device by its data sheet, to plan for without having it. Throws std::invalid_argument that lists those there are.
Device data_sheet(const std::string& name);

}  // namespace tapwise::cuda
