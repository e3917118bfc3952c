// vec.h — the vector operations the kernels use, on the compiler's vector types: the same text for every ISA.
//
// kLanes floats a vector. a * b + c contracts to one instruction where the ISA has it (-ffp-contract=fast), always or
// never within one ISA, so that body and tail round alike.
#pragma once

#include <cassert>
#include <cstddef>
#include <cstdint>

#if defined(__SSE2__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

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
typedef std::uint32_t UintVec __attribute__((vector_size(kLanes * sizeof(std::uint32_t))));

TAPWISE_INLINE Vec load(const float* p) {
  return *reinterpret_cast<const UnalignedVec*>(p);
}
TAPWISE_INLINE void store(float* p, Vec v) {
  *reinterpret_cast<UnalignedVec*>(p) = v;
}
TAPWISE_INLINE Vec splat(float s) {
  return s - Vec{};
}  // `Vec{} + s` costs an addition
// Of a * b + c gcc may keep two roundings where a branch parts them, or join c's product instead: bits would differ.
TAPWISE_INLINE Vec fma(Vec a, Vec b, Vec c) {
#if defined(__aarch64__)
  return vfmaq_f32(c, a, b);
#elif defined(__AVX512F__)
  return _mm512_fmadd_ps(a, b, c);
#elif defined(__FMA__)
  return _mm256_fmadd_ps(a, b, c);
#else
  return a * b + c;
#endif
}

// count in [0, kLanes]; the other lanes are 0, and their memory isn't touched.
#if defined(__AVX512F__)
TAPWISE_INLINE __mmask16 first_lanes(Index count) {
  return static_cast<__mmask16>((1u << count) - 1);
}
TAPWISE_INLINE Vec load_part(const float* p, Index count) {
  return _mm512_maskz_loadu_ps(first_lanes(count), p);
}
TAPWISE_INLINE void store_part(float* p, Vec v, Index count) {
  _mm512_mask_storeu_ps(p, first_lanes(count), v);
}
TAPWISE_INLINE void store_part(std::int32_t* p, IntVec v, Index count) {
  _mm512_mask_storeu_epi32(p, first_lanes(count), reinterpret_cast<__m512i>(v));
}
#elif defined(__AVX2__)
TAPWISE_INLINE __m256i first_lanes(Index count) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(count)), lane);
}
TAPWISE_INLINE Vec load_part(const float* p, Index count) {
  return count == kLanes ? load(p) : _mm256_maskload_ps(p, first_lanes(count));
}
TAPWISE_INLINE void store_part(float* p, Vec v, Index count) {
  if (count == kLanes) return store(p, v);  // a masked store is slow on AMD's AVX2
  _mm256_maskstore_ps(p, first_lanes(count), v);
}
TAPWISE_INLINE void store_part(std::int32_t* p, IntVec v, Index count) {
  _mm256_maskstore_epi32(p, first_lanes(count), reinterpret_cast<__m256i>(v));
}
#else
TAPWISE_INLINE Vec load_part(const float* p, Index count) {
  Vec v{};
  if (count == kLanes) return load(p);
  for (Index i = 0; i < count; ++i) v[i] = p[i];
  return v;
}
TAPWISE_INLINE void store_part(float* p, Vec v, Index count) {
  if (count == kLanes) return store(p, v);
  for (Index i = 0; i < count; ++i) p[i] = v[i];
}
TAPWISE_INLINE void store_part(std::int32_t* p, IntVec v, Index count) {
  for (Index i = 0; i < count; ++i) p[i] = v[i];
}
#endif

TAPWISE_INLINE IntVec load(const std::int32_t* p) {
  return *reinterpret_cast<const UnalignedIntVec*>(p);
}
TAPWISE_INLINE IntVec load_part(const std::int32_t* p, Index count) {
  return reinterpret_cast<IntVec>(load_part(reinterpret_cast<const float*>(p), count));
}

// Past the caches; p as NumPy aligns it, to 16 bytes. stream_end() makes what was stored visible to other threads.
#if defined(__SSE2__)
TAPWISE_INLINE void stream(float* p, Vec v) {
  typedef float Part __attribute__((vector_size(16)));
  Part parts[kLanes / 4];
  __builtin_memcpy(parts, &v, sizeof v);
  TAPWISE_UNROLL for (int i = 0; i < kLanes / 4; ++i) _mm_stream_ps(p + 4 * i, parts[i]);
}
TAPWISE_INLINE void stream_end() {
  _mm_sfence();
}
#else
TAPWISE_INLINE void stream(float* p, Vec v) {
  store(p, v);
}
TAPWISE_INLINE void stream_end() {}
#endif

// 0, 1, 2, ...
TAPWISE_INLINE IntVec lane_numbers() {
  IntVec v{};
  TAPWISE_UNROLL for (int i = 0; i < kLanes; ++i) v[i] = i;
  return v;
}

// Lane i of the result is lane from[i] of a and b, one behind the other; from must be constant.
TAPWISE_INLINE Vec shuffle(Vec a, Vec b, IntVec from) {
#if defined(__clang__)
  Vec v{};  // becomes a shuffle
  TAPWISE_UNROLL for (int i = 0; i < kLanes; ++i) v[i] = from[i] < kLanes ? a[from[i]] : b[from[i] - kLanes];
  return v;
#else
  return __builtin_shuffle(a, b, from);
#endif
}

// Lanes 0, 2, 4, ... of a and b, one behind the other; and 1, 3, 5, ...
TAPWISE_INLINE Vec evens(Vec a, Vec b) {
  IntVec from{};
  TAPWISE_UNROLL for (int i = 0; i < kLanes; ++i) from[i] = 2 * i;
  return shuffle(a, b, from);
}
TAPWISE_INLINE Vec odds(Vec a, Vec b) {
  IntVec from{};
  TAPWISE_UNROLL for (int i = 0; i < kLanes; ++i) from[i] = 2 * i + 1;
  return shuffle(a, b, from);
}

// v[from[0]], v[from[1]], ...; every number is in [0, kLanes).
TAPWISE_INLINE Vec permute(Vec v, IntVec from) {
#if !defined(__clang__)
  return __builtin_shuffle(v, from);
#elif defined(__AVX512F__)
  return _mm512_permutexvar_ps(reinterpret_cast<__m512i>(from), v);
#elif defined(__AVX2__)
  return _mm256_permutevar8x32_ps(v, reinterpret_cast<__m256i>(from));
#else
  Vec result{};
  TAPWISE_UNROLL for (int i = 0; i < kLanes; ++i) result[i] = v[from[i]];
  return result;
#endif
}

// a[0], b[0], a[1], b[1], ...: the first kLanes of them, and the others.
TAPWISE_INLINE Vec interleave_low(Vec a, Vec b) {
  IntVec from{};
  TAPWISE_UNROLL for (int i = 0; i < kLanes; ++i) from[i] = i / 2 + i % 2 * kLanes;
  return shuffle(a, b, from);
}
TAPWISE_INLINE Vec interleave_high(Vec a, Vec b) {
  IntVec from{};
  TAPWISE_UNROLL for (int i = 0; i < kLanes; ++i) from[i] = kLanes / 2 + i / 2 + i % 2 * kLanes;
  return shuffle(a, b, from);
}

// As load_part, with `otherwise` in the other lanes.
TAPWISE_INLINE Vec load_part(const float* p, Index count, float otherwise) {
  return lane_numbers() < static_cast<std::int32_t>(count) ? load_part(p, count) : splat(otherwise);
}

// Calls visit(i, count) for the vectors of [begin, end): count is the constant kLanes for all but the last.
template <class Visit>
TAPWISE_INLINE void for_each_vector(Index begin, Index end, const Visit& visit) {
  for (; begin + kLanes <= end; begin += kLanes) visit(begin, Index{kLanes});
  if (begin < end) visit(begin, end - begin);
}

// Calls visit(row, first, last) for the parts of rows that [begin, end) covers in a table with `columns` columns.
template <class Visit>
TAPWISE_INLINE void for_each_row(Index columns, Index begin, Index end, const Visit& visit) {
  while (begin < end) {
    const Index row = begin / columns, first = begin % columns, last = first + end - begin;
    visit(row, first, last < columns ? last : columns);
    begin += columns - first;
  }
}

// a > b ? a : b, and a < b ? a : b: b where they are equal or one is NaN.
#if defined(__AVX512F__)
TAPWISE_INLINE Vec greater(Vec a, Vec b) {
  return _mm512_maskz_max_ps(0xffff, a, b);  // the plain one warns in gcc 12
}
TAPWISE_INLINE Vec lesser(Vec a, Vec b) {
  return _mm512_maskz_min_ps(0xffff, a, b);
}
TAPWISE_INLINE bool any_nan(Vec v) {
  return _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q) != 0;
}
#elif defined(__AVX2__)
TAPWISE_INLINE Vec greater(Vec a, Vec b) {
  return _mm256_max_ps(a, b);
}
TAPWISE_INLINE Vec lesser(Vec a, Vec b) {
  return _mm256_min_ps(a, b);
}
TAPWISE_INLINE bool any_nan(Vec v) {
  return _mm256_movemask_ps(_mm256_cmp_ps(v, v, _CMP_UNORD_Q)) != 0;
}
#else
TAPWISE_INLINE Vec greater(Vec a, Vec b) {
  return a > b ? a : b;
}
TAPWISE_INLINE Vec lesser(Vec a, Vec b) {
  return a < b ? a : b;
}
TAPWISE_INLINE bool any_nan(Vec v) {
  bool found = false;
  for (int i = 0; i < kLanes; ++i) found = found || v[i] != v[i];
  return found;
}
#endif

// Keeps NaN: of two operands of which one is NaN, x86's maximum is the second.
TAPWISE_INLINE Vec relu(Vec x) {
#if defined(__AVX512F__)
  return _mm512_maskz_max_ps(0xffff, _mm512_setzero_ps(), x);  // the plain one warns in gcc 12
#elif defined(__AVX2__)
  return _mm256_max_ps(_mm256_setzero_ps(), x);
#else
  return x < Vec{} ? Vec{} : x;
#endif
}

// Keeps NaN, as relu does.
TAPWISE_INLINE Vec at_most(Vec x, Vec top) {
#if defined(__AVX512F__)
  return _mm512_maskz_min_ps(0xffff, top, x);
#elif defined(__AVX2__)
  return _mm256_min_ps(top, x);
#else
  return x > top ? top : x;
#endif
}

// value = the larger one, value where they are equal; a NaN is larger than any number, the first NaN than another.
#if defined(__AVX512F__)
TAPWISE_INLINE __mmask16 is_larger(Vec v, Vec value) {
  return _mm512_mask_cmp_ps_mask(_mm512_cmp_ps_mask(v, value, _CMP_NLE_UQ), value, value, _CMP_ORD_Q);
}
TAPWISE_INLINE void keep_larger(Vec& value, Vec v) {
  value = _mm512_mask_mov_ps(value, is_larger(v, value), v);
}
TAPWISE_INLINE void keep_larger(Vec& value, IntVec& index, Vec v, IntVec v_index) {
  const __mmask16 larger = is_larger(v, value);
  value = _mm512_mask_mov_ps(value, larger, v);
  index = reinterpret_cast<IntVec>(
      _mm512_mask_mov_epi32(reinterpret_cast<__m512i>(index), larger, reinterpret_cast<__m512i>(v_index)));
}
#else
TAPWISE_INLINE void keep_larger(Vec& value, Vec v) {
  const Vec larger = v <= value ? value : v;  // a NaN is not <=
  value = value == value ? larger : value;
}
TAPWISE_INLINE void keep_larger(Vec& value, IntVec& index, Vec v, IntVec v_index) {
  const IntVec larger_index = v <= value ? index : v_index;
  index = value == value ? larger_index : index;
  keep_larger(value, v);
}
#endif

template <class T>
TAPWISE_INLINE T least(T a, T b) {
  return a < b ? a : b;
}
template <class T>
TAPWISE_INLINE T most(T a, T b) {
  return a > b ? a : b;
}

}  // namespace
}  // namespace tapwise::ISA
