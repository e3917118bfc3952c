// elements.h — kernels that work element by element: a grid of fixed size, whose threads take every so many-th.
#pragma once

#include "launch.h"

namespace tapwise::cuda {

constexpr int kThreads = 256;

__device__ __forceinline__ Index first_element() {
  return Index{blockIdx.x} * kThreads + threadIdx.x;
}
__device__ __forceinline__ Index all_threads() {
  return Index{gridDim.x} * kThreads;
}

inline Index element_blocks(Index size) {
  constexpr Index kMost = 4096;
  const Index blocks = ceil_div(size, kThreads);
  return blocks < kMost ? blocks : kMost;
}

}  // namespace tapwise::cuda
