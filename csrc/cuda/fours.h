// fours.h — one float or four neighbouring ones, by a single access of 16 bytes.
#pragma once

#include "portable.h"

namespace tapwise::cuda {

template <int kCount>
struct Values {
  float v[kCount];

  __device__ __forceinline__ void add_product(const Values& a, const Values& b) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) v[i] += a.v[i] * b.v[i];
  }
};

// With `together` aligned to their size; else `apart` elements from each other.
template <int kCount>
__device__ __forceinline__ Values<kCount> read(const float* from, bool together = true, Index apart = 1) {
  if constexpr (kCount == 4) {
    if (together) {
      const float4 four = *reinterpret_cast<const float4*>(from);
      return {{four.x, four.y, four.z, four.w}};
    }
  }
  Values<kCount> values;
#pragma unroll
  for (int i = 0; i < kCount; ++i) values.v[i] = from[i * apart];
  return values;
}

template <int kCount>
__device__ __forceinline__ void write(float* to, const Values<kCount>& values) {
  if constexpr (kCount == 4)
    *reinterpret_cast<float4*>(to) = make_float4(values.v[0], values.v[1], values.v[2], values.v[3]);
  else
    *to = values.v[0];
}

inline bool is_aligned(const void* data) {
  return reinterpret_cast<std::uintptr_t>(data) % 16 == 0;
}

}  // namespace tapwise::cuda
