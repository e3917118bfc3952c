// device.cu — what the driver says of its devices.
#include "device.h"
#include "launch.h"

namespace tapwise::cuda {
namespace {

int attribute(cudaDeviceAttr which, int number) {
  int value = 0;
  check(cudaDeviceGetAttribute(&value, which, number), "cudaDeviceGetAttribute");
  return value;
}

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

}  // namespace tapwise::cuda
