// pool_planes.h — pooling of channels_first rows without indices: each column of the windows' rows is folded into one
// number, with padding that changes nothing beside them, then every output folds the columns under its window.
#pragma once

#include "pool_rows.h"

namespace tapwise::ISA {
namespace {

constexpr Index kAhead = 2048;  // floats fetched beyond the caches: 3x3 stride 2, 64 @112, n16 3.0 ms without, 1.4 with

struct Largest {
  static TAPWISE_INLINE float none() { return -__builtin_inff(); }
  static TAPWISE_INLINE void add(Vec& total, Vec v) { keep_larger(total, v); }
};

struct Total {
  static TAPWISE_INLINE float none() { return 0; }
  static TAPWISE_INLINE void add(Vec& total, Vec v) { total += v; }
};

// Folded columns: `before` of padding, iw of the input, and what whole vectors of outputs reach.
struct FoldedRow {
  Index before, floats;

  explicit TAPWISE_INLINE FoldedRow(const Pool& s) : before(most<Index>(0, s.pl)) {
    floats = before + most(s.iw, (s.ow - 1) * s.sw - s.pl + (s.kw - 1) * s.dil_w + 1) + 4 * kLanes;
  }
  // Scratch is for rows about as long as the input's: all but those with windows far larger.
  TAPWISE_INLINE bool fits(const Pool& s) const { return !s.adaptive && floats <= 3 * s.iw + 1024; }
};

// Columns [0, iw) of the rows of x under a row of windows.
template <class Fold>
TAPWISE_INLINE void fold_columns(const Pool& s, const Window& d, const Window& h, const float* x, float* columns) {
  const bool fetches = exceeds_caches(s);
  for_each_vector(0, s.iw, [&](Index k, Index count) {
    if (fetches)
      for (Index j = 0; j < s.sh; ++j) __builtin_prefetch(x + (d.first * s.ih + h.first + j) * s.iw + k + kAhead);
    Vec total = load_part(x + (d.first * s.ih + h.first) * s.iw + k, count);
    for (Index i = d.first; i < d.last; i += d.step)
      for (Index j = i == d.first ? h.first + h.step : h.first; j < h.last; j += h.step)
        Fold::add(total, load_part(x + (i * s.ih + j) * s.iw + k, count));
    store_part(columns + k, total, count);
  });
}

// kLanes outputs whose first windows' first column is at p; kStride 0: the s.sw of `count` outputs.
template <int kStride, class Fold>
TAPWISE_INLINE Vec fold_windows(const Pool& s, const float* p, Index count) {
  Vec total = splat(Fold::none());
  if constexpr (kStride == 1) {
    for (Index t = 0; t < s.kw; ++t) Fold::add(total, load(p + t * s.dil_w));
  } else if constexpr (kStride == 2) {
    Index t = 0;
    for (; t + 2 <= s.kw; t += 2) {
      const Vec a = load(p + t), b = load(p + t + kLanes);
      Fold::add(total, evens(a, b));
      Fold::add(total, odds(a, b));
    }
    if (t < s.kw) Fold::add(total, evens(load(p + t), load(p + t + kLanes)));
  } else {
    for (Index t = 0; t < s.kw; ++t) {
      Vec v{};
      for (Index i = 0; i < count; ++i) v[i] = p[i * s.sw + t * s.dil_w];
      Fold::add(total, v);
    }
  }
  return total;
}

// Divides sums by the positions of their windows, of `rows` rows.
TAPWISE_INLINE Vec mean_of(const PoolAxis& axis, const Outputs& whole, Vec sums, Index rows, Index o, Index count) {
  if (o >= whole.first && o + count <= whole.last) return sums / static_cast<float>(rows * axis.k);
  Vec divisors = splat(1.0f);
  for (Index i = 0; i < count; ++i) divisors[i] = static_cast<float>(rows * window(axis, o + i).divisor);
  return sums / divisors;
}

// One row of outputs; `columns` begin with the padding of a FoldedRow, filled already.
template <int kStride, class Fold>
void pool_row_folded(const Pool& s, const FoldedRow& row, const Window& d, const Window& h, const float* x, float* y,
                     float* columns) {
  constexpr bool kMean = !__is_same(Fold, Largest);
  const PoolAxis axis = axis_w(s);
  const Outputs whole = interior(axis);
  columns += row.before;
  fold_columns<Fold>(s, d, h, x, columns);
  for_each_vector(0, s.ow, [&](Index o, Index count) {
    Vec total = fold_windows<kStride, Fold>(s, columns + o * s.sw - s.pl, count);
    if (kMean) total = mean_of(axis, whole, total, d.divisor * h.divisor, o, count);
    store_part(y + o, total, count);
  });
}

// Rows [begin, end) of y: false where windows differ in size or are far larger than the input.
template <class Fold>
bool pool_folded(const Pool& s, const float* x, float* y, float* scratch, Index begin, Index end) {
  const FoldedRow row(s);
  if (!row.fits(s)) return false;
  const PoolAxis axis_of_d = axis_d(s), axis_of_h = axis_h(s);
  const auto one = s.sw == 1                   ? pool_row_folded<1, Fold>
                   : s.sw == 2 && s.dil_w == 1 ? pool_row_folded<2, Fold>
                                               : pool_row_folded<0, Fold>;
  for_each_vector(0, row.floats, [&](Index i, Index n) { store_part(scratch + i, splat(Fold::none()), n); });
  for_each_row(s.oh, begin, end, [&](Index plane, Index first, Index last) {
    const Window d = window(axis_of_d, plane % s.od);
    const float* const from = x + plane / s.od * s.id * s.ih * s.iw;
    for (Index j = first; j < last; ++j)
      one(s, row, d, window(axis_of_h, j), from, y + (plane * s.oh + j) * s.ow, scratch);
  });
  return true;
}

}  // namespace
}  // namespace tapwise::ISA
