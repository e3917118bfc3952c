// runtime.h — CUDA's calls for memory, streams and devices on the host, where there is one device and no waiting.
#pragma once

#include <cstdlib>
#include <cstring>

#include "run.h"

// NOLINTBEGIN: names and types are CUDA's
using cudaStream_t = struct CUstream_st*;
enum cudaError_t { cudaSuccess, cudaErrorMemoryAllocation, cudaErrorInvalidDevice };
enum cudaMemcpyKind { cudaMemcpyDeviceToHost };
enum cudaDeviceAttr {
  cudaDevAttrComputeCapabilityMajor,
  cudaDevAttrComputeCapabilityMinor,
  cudaDevAttrMultiProcessorCount,
  cudaDevAttrClockRate,
  cudaDevAttrMaxSharedMemoryPerMultiprocessor,
  cudaDevAttrL2CacheSize,
  cudaDevAttrMemoryClockRate,
  cudaDevAttrGlobalMemoryBusWidth,
};
struct cudaDeviceProp {
  char name[256];
};

inline const char* cudaGetErrorString(cudaError_t code) {
  return code == cudaSuccess ? "no error" : code == cudaErrorInvalidDevice ? "invalid device ordinal" : "out of memory";
}
// What it gives starts as NaN.
inline cudaError_t cudaMallocAsync(void** memory, std::size_t bytes, cudaStream_t) {
  *memory = std::malloc(bytes);
  if (*memory) ::tapwise::emulate::unset(*memory, bytes);
  return *memory ? cudaSuccess : cudaErrorMemoryAllocation;
}
inline cudaError_t cudaFreeAsync(void* memory, cudaStream_t) {
  std::free(memory);
  return cudaSuccess;
}
inline cudaError_t cudaMemsetAsync(void* memory, int value, std::size_t bytes, cudaStream_t) {
  std::memset(memory, value, bytes);
  return cudaSuccess;
}
inline cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind, cudaStream_t) {
  std::memcpy(to, from, bytes);
  return cudaSuccess;
}
inline cudaError_t cudaStreamSynchronize(cudaStream_t) {
  return cudaSuccess;
}

inline cudaError_t cudaGetDeviceCount(int* count) {
  *count = 1;
  return cudaSuccess;
}
inline cudaError_t cudaGetDevice(int* number) {
  *number = 0;
  return cudaSuccess;
}
inline cudaError_t cudaGetDeviceProperties(cudaDeviceProp* found, int number) {
  std::strcpy(found->name, "emulated");
  return number == 0 ? cudaSuccess : cudaErrorInvalidDevice;
}
// Those of an A100, which the plan asks of no other device.
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr which, int number) {
  constexpr int kValues[] = {8, 0, 108, 1410000, 167936, 41943040, 1215000, 5120};
  *value = kValues[which];
  return number == 0 ? cudaSuccess : cudaErrorInvalidDevice;
}
// NOLINTEND
