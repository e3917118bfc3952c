// half.h — vectors of bfloat16: the upper half of a float32.
#pragma once

#include "vec.h"

namespace tapwise::ISA {
namespace {

typedef std::uint16_t HalfVec __attribute__((vector_size(kLanes * sizeof(std::uint16_t))));
typedef std::uint16_t UnalignedHalfVec
    __attribute__((vector_size(kLanes * sizeof(std::uint16_t)), aligned(2), may_alias));

// Half to even; NaN stays NaN.
TAPWISE_INLINE HalfVec to_bf16(Vec y) {
  const UintVec bits = reinterpret_cast<UintVec>(y);
  const UintVec rounded = bits + 0x7FFFu + ((bits >> 16) & 1u), quiet = bits | 0x00400000u;
  return __builtin_convertvector((y == y ? rounded : quiet) >> 16, HalfVec);
}

TAPWISE_INLINE Vec from_bf16(HalfVec x) {
  return reinterpret_cast<Vec>(__builtin_convertvector(x, UintVec) << 16);
}

// count in [0, kLanes]; the other lanes are 0, and their memory isn't touched.
TAPWISE_INLINE HalfVec load_bf16(const std::uint16_t* p, Index count) {
  if (count == kLanes) return *reinterpret_cast<const UnalignedHalfVec*>(p);
  HalfVec v{};
  for (Index i = 0; i < count; ++i) v[i] = p[i];
  return v;
}

TAPWISE_INLINE void store_bf16(std::uint16_t* p, HalfVec v, Index count) {
  if (count == kLanes)
    *reinterpret_cast<UnalignedHalfVec*>(p) = v;
  else
    for (Index i = 0; i < count; ++i) p[i] = v[i];
}

}  // namespace
}  // namespace tapwise::ISA
