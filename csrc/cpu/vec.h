// vec.h — the vector operations the kernels use, on the compiler's vector types: the same text for every ISA.
//
// kLanes floats a vector. a * b + c contracts to one instruction where the ISA has it (-ffp-contract=fast), always or
// never within one ISA, so that body and tail round alike.
#pragma once

#include <cassert>
#include <cstddef>
#include <cstdint>

#include "../kernels.h"

#define TAPWISE_INLINE inline __attribute__((always_inline))
#define TAPWISE_UNROLL _Pragma("GCC unroll 32")

namespace tapwise::ISA {
namespace {

#if defined(__AVX512F__)
inline constexpr int kLanes = 16, kTilePixels = 14;
#elif defined(__AVX2__)
inline constexpr int kLanes = 8, kTilePixels = 6;
#elif defined(__aarch64__)
inline constexpr int kLanes = 4, kTilePixels = 12;
#else
inline constexpr int kLanes = 4, kTilePixels = 6;
#endif
inline constexpr int kPanel = 2 * kLanes;  // output channels of a packed panel

typedef float Vec __attribute__((vector_size(kLanes * sizeof(float))));
typedef float UnalignedVec __attribute__((vector_size(kLanes * sizeof(float)), aligned(4), may_alias));
typedef std::int32_t IntVec __attribute__((vector_size(kLanes * sizeof(std::int32_t))));
typedef std::int32_t UnalignedIntVec __attribute__((vector_size(kLanes * sizeof(std::int32_t)), aligned(4), may_alias));

TAPWISE_INLINE Vec load(const float* p) { return *reinterpret_cast<const UnalignedVec*>(p); }
TAPWISE_INLINE void store(float* p, Vec v) { *reinterpret_cast<UnalignedVec*>(p) = v; }
TAPWISE_INLINE Vec splat(float s) { return s - Vec{}; }  // `Vec{} + s` costs an addition
TAPWISE_INLINE Vec fma(Vec a, Vec b, Vec c) { return a * b + c; }

// count in [0, kLanes]; the other lanes are 0.
TAPWISE_INLINE Vec load_part(const float* p, Index count) {
  Vec v{};
  __builtin_memcpy(&v, p, static_cast<std::size_t>(count) * sizeof(float));
  return v;
}
TAPWISE_INLINE void store_part(float* p, Vec v, Index count) {
  __builtin_memcpy(p, &v, static_cast<std::size_t>(count) * sizeof(float));
}

TAPWISE_INLINE Vec relu(Vec x) { return x < Vec{} ? Vec{} : x; }  // keeps NaN

template <class T>
TAPWISE_INLINE T least(T a, T b) { return a < b ? a : b; }
template <class T>
TAPWISE_INLINE T most(T a, T b) { return a > b ? a : b; }

}  // namespace
}  // namespace tapwise::ISA
