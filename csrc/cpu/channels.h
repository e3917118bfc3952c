// channels.h — walks by channel over arrays (outer, channels, inner), and sums by channel.
//
// A strip is kRows rows of one vector of neighbouring channels (inner = 1), or the vectors of one channel's plane: what
// is known of a channel is loaded once a strip. Sums add kBlock values in float32, those sums in float64: rounding
// grows with kBlock and not with the number of terms.
#pragma once

#include "vec.h"

namespace tapwise::ISA {
namespace {

inline constexpr Index kRows = 32, kBlock = 16;
inline constexpr Index kStripFloats = 1024;  // of a strip's rows where nothing is summed: 512 @4 n32 28 us by 32 rows

// A number of lanes that is known to be all of them.
struct AllLanes {
  constexpr operator Index() const { return kLanes; }
};

// `vectors` vectors from `at` on, `step` elements apart. Lane i belongs to channel c + i, or all to c.
struct Strip {
  Index c, at, step, vectors;
  bool wide;  // all lanes belong to c

  template <class Lanes>
  TAPWISE_INLINE Vec parameter(const float* p, Lanes lanes) const {
    return wide ? splat(p[c]) : load_part(p + c, lanes);
  }
};

// Calls visit(strip, lanes) for what (outer, channel) pairs [begin, end) cover; with inner = 1 they are whole rows, of
// which a strip takes at most `limit`.
template <class Visit>
TAPWISE_INLINE void for_each_strip(const Norm& s, Index limit, Index begin, Index end, const Visit& visit) {
  if (s.inner == 1) {
    const Index last = end / s.channels, whole = s.channels - s.channels % kLanes;
    for (Index row = begin / s.channels; row < last; row += limit) {
      const Index rows = least(limit, last - row), at = row * s.channels;
      for (Index c = 0; c < whole; c += kLanes) visit(Strip{c, at + c, s.channels, rows, false}, AllLanes{});
      if (whole < s.channels) visit(Strip{whole, at + whole, s.channels, rows, false}, s.channels - whole);
    }
    return;
  }
  const Index vectors = s.inner / kLanes, rest = s.inner % kLanes;
  for (Index pair = begin, c = begin % s.channels; pair < end; ++pair, c = c + 1 < s.channels ? c + 1 : 0) {
    const Index at = pair * s.inner;
    visit(Strip{c, at, kLanes, vectors, true}, AllLanes{});
    if (rest) visit(Strip{c, at + vectors * kLanes, kLanes, 1, true}, rest);
  }
}

typedef double DoubleVec __attribute__((vector_size(kLanes * sizeof(double) / 2)));
typedef double UnalignedDoubleVec __attribute__((vector_size(kLanes * sizeof(double) / 2), aligned(8), may_alias));
typedef double WideVec __attribute__((vector_size(kLanes * sizeof(double))));

// Rows of a strip whose values are visited once: neighbouring lines of wide rows are read one after the other.
TAPWISE_INLINE Index strip_rows(const Norm& s) {
  return most<Index>(1, least(kRows, kStripFloats / s.channels));
}

// As many doubles as a vector has floats, in two registers.
struct Wide {
  DoubleVec half[2];
};

TAPWISE_INLINE Wide widen(Vec v) {
  return __builtin_bit_cast(Wide, __builtin_convertvector(v, WideVec));
}

// Two sums of each lane.
struct Sums {
  Wide first, second;

  TAPWISE_INLINE void add(Vec to_first, Vec to_second) {
    const Wide a = widen(to_first), b = widen(to_second);
    for (int h = 0; h < 2; ++h) first.half[h] += a.half[h], second.half[h] += b.half[h];
  }
};

// Pairwise, the same order whatever the length.
TAPWISE_INLINE float sum_lanes(Vec v) {
  TAPWISE_UNROLL for (int half = kLanes / 2; half > 0; half /= 2) TAPWISE_UNROLL for (int i = 0; i < half; ++i) v[i] +=
      v[i + half];
  return v[0];
}
TAPWISE_INLINE double sum_lanes(const Wide& wide) {
  DoubleVec v = wide.half[0] + wide.half[1];
  for (int half = kLanes / 4; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) v[i] += v[i + half];
  return v[0];
}

template <class Lanes>
TAPWISE_INLINE void add_to(double* p, const Wide& v, Lanes lanes) {
  if (lanes == kLanes) {
    for (int h = 0; h < 2; ++h) *reinterpret_cast<UnalignedDoubleVec*>(p + h * kLanes / 2) += v.half[h];
    return;
  }
  for (Index i = 0; i < lanes; ++i) p[i] += v.half[i / (kLanes / 2)][i % (kLanes / 2)];
}

// sums (chunks, 2, channels) of (chunk, channel) pairs [begin, end): begins with 0 and lets add(sums, strip, lanes) see
// each strip. With inner = 1 the pairs are all of a chunk's.
template <class Add>
TAPWISE_INLINE void sum_channels(const Norm& s, double* sums, Index begin, Index end, const Add& add) {
  for_each_row(s.channels, begin, end, [&](Index chunk, Index c0, Index c1) {
    double *const first = sums + chunk * 2 * s.channels, *const second = first + s.channels;
    const Index row0 = chunk * s.chunk, row1 = least(s.outer, row0 + s.chunk);
    for (Index c = c0; c < c1; ++c) first[c] = second[c] = 0;
    if (s.inner == 1) {
      for_each_strip(s, kRows, row0 * s.channels, row1 * s.channels, [&](const Strip& strip, auto lanes) {
        Sums sum{};
        add(sum, strip, lanes);
        add_to(first + strip.c, sum.first, lanes);
        add_to(second + strip.c, sum.second, lanes);
      });
      return;
    }
    for (Index c = c0; c < c1; ++c) {
      Sums sum{};
      for (Index row = row0; row < row1; ++row)
        for_each_strip(s, kRows, row * s.channels + c, row * s.channels + c + 1,
                       [&](const Strip& strip, auto lanes) { add(sum, strip, lanes); });
      first[c] = sum_lanes(sum.first);
      second[c] = sum_lanes(sum.second);
    }
  });
}

// sum += the vectors of a strip, in blocks: term(at, first, second) adds those at `at`.
template <class Term>
TAPWISE_INLINE void add_blocks(Sums& sum, const Strip& strip, const Term& term) {
  for (Index i = 0; i < strip.vectors; i += kBlock) {
    Vec first{}, second{};
    const Index last = least(strip.vectors, i + kBlock);
    for (Index j = i; j < last; ++j) term(strip.at + j * strip.step, first, second);
    sum.add(first, second);
  }
}

}  // namespace
}  // namespace tapwise::ISA
