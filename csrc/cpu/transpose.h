// transpose.h — matrices of floats transposed block by block: kLanes rows in registers, log2(kLanes) rounds of
// exchanges.
#pragma once

#include "vec.h"

namespace tapwise::ISA {
namespace {

// Exchanges the off-diagonal quarters of all blocks of 2 * kWidth.
template <int kWidth>
TAPWISE_INLINE void exchange(Vec (&v)[kLanes]) {
  IntVec low{}, high{};
  TAPWISE_UNROLL for (int i = 0; i < kLanes; ++i) {
    low[i] = i & kWidth ? i - kWidth + kLanes : i;
    high[i] = i & kWidth ? i + kLanes : i + kWidth;
  }
  TAPWISE_UNROLL for (int i = 0; i < kLanes; ++i) {
    if (i & kWidth) continue;
    const Vec a = v[i], b = v[i + kWidth];
    v[i] = shuffle(a, b, low);
    v[i + kWidth] = shuffle(a, b, high);
  }
  if constexpr (kWidth > 1) exchange<kWidth / 2>(v);
}

// to(j)[i] = from[i * from_step + j] for i < rows, j < columns, both at most kLanes.
template <bool kFull, class To>
TAPWISE_INLINE void transpose_block(const float* from, Index from_step, Index rows, Index columns, const To& to) {
  Vec v[kLanes];
  TAPWISE_UNROLL for (int i = 0; i < kLanes; ++i) {
    if (kFull)
      v[i] = load(from + i * from_step);
    else
      v[i] = i < rows ? load_part(from + i * from_step, columns) : Vec{};
  }
  exchange<kLanes / 2>(v);
  TAPWISE_UNROLL for (int j = 0; j < kLanes; ++j) {
    if (kFull)
      store(to(j), v[j]);
    else if (j < columns)
      store_part(to(j), v[j], rows);
  }
}

// to(j)[i] = from[i * from_step + j] for i < rows, j < columns.
template <class To>
TAPWISE_INLINE void transpose(const float* from, Index from_step, Index rows, Index columns, const To& to) {
  for (Index i = 0; i < rows; i += kLanes)
    for (Index j = 0; j < columns; j += kLanes) {
      const float* block = from + i * from_step + j;
      const auto at = [&](int k) { return to(j + k) + i; };
      if (i + kLanes <= rows && j + kLanes <= columns)
        transpose_block<true>(block, from_step, kLanes, kLanes, at);
      else
        transpose_block<false>(block, from_step, least<Index>(kLanes, rows - i), least<Index>(kLanes, columns - j), at);
    }
}

}  // namespace
}  // namespace tapwise::ISA
