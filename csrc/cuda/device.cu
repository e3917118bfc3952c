// device.cu — what the driver says of its devices.
#include <memory>
#include <mutex>
#include <vector>

#include "device.h"
#include "launch.h"

namespace tapwise::cuda {
namespace {

int attribute(cudaDeviceAttr which, int number) {
  int value = 0;
  check(cudaDeviceGetAttribute(&value, which, number), "cudaDeviceGetAttribute");
  return value;
}

// NVIDIA's data sheets and white papers of A100 SXM 80 GB, H100 SXM and GeForce RTX 4090; clocks are boost's, the
// memory's half of its transfers.
const Device kDataSheets[] = {
    {"A100", 8, 0, 108, 1410000, 164 << 10, 40 << 20, 1593000, 5120},
    {"H100", 9, 0, 132, 1980000, 228 << 10, 50 << 20, 2619000, 5120},
    {"RTX 4090", 8, 9, 128, 2520000, 100 << 10, 72 << 20, 10501000, 384},
};

}  // namespace

int device_count() {
  int count = 0;
  check(cudaGetDeviceCount(&count), "cudaGetDeviceCount");
  return count;
}

int current_device() {
  int number = 0;
  check(cudaGetDevice(&number), "cudaGetDevice");
  return number;
}

Device device(int number) {
  cudaDeviceProp found{};
  check(cudaGetDeviceProperties(&found, number), "cudaGetDeviceProperties");
  return {found.name,
          attribute(cudaDevAttrComputeCapabilityMajor, number),
          attribute(cudaDevAttrComputeCapabilityMinor, number),
          attribute(cudaDevAttrMultiProcessorCount, number),
          attribute(cudaDevAttrClockRate, number),
          attribute(cudaDevAttrMaxSharedMemoryPerMultiprocessor, number),
          attribute(cudaDevAttrL2CacheSize, number),
          attribute(cudaDevAttrMemoryClockRate, number),
          attribute(cudaDevAttrGlobalMemoryBusWidth, number)};
}

const Device& known_device() {
  static std::mutex guard;
  static std::vector<std::unique_ptr<const Device>> known;  // by number
  const auto number = static_cast<std::size_t>(current_device());
  const std::lock_guard<std::mutex> locked(guard);
  if (known.size() <= number) known.resize(number + 1);
  if (!known[number]) known[number] = std::make_unique<const Device>(device(static_cast<int>(number)));
  return *known[number];
}

Device data_sheet(const std::string& name) {
  std::string names;
  for (const Device& d : kDataSheets) {
    if (d.name == name) return d;
    names += (names.empty() ? "" : ", ") + d.name;
  }
  throw std::invalid_argument("device must be one of " + names + ", got " + name);
}

}  // namespace tapwise::cuda
