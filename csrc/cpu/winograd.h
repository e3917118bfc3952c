// winograd.h — F(m, r) by vectors of channels: the transforms of winograd_line.h, and the walk over tiles.
//
// The rows of +-p share an even and an odd part, which halves the work. With F(1, 1) a kernel of one row or column has
// transforms on the other axis alone.
//
// The last tile of a row or column often has fewer outputs to give. Then it needs no infinity, which is in the last
// output alone, and of 4 outputs 2 come from 4 of the 6 points: F(2, 3) with F(4, 3)'s transformed weights, whose
// other scale goes into B'. A map of 14 takes 6 + 6 + 6 + 4 points, one of 7 takes 6 + 5.
//
// A stride of 2 parts x and w into phases, by even and odd row and column: four stride-1 convolutions, whose sum y is.
// Of 3 taps an even phase has 2 and an odd one 1, whose products at infinity are 0: F(3, 2) takes 4 + 3 products for 3
// outputs instead of 9, F(5, 2) 6 + 5 instead of 15. The phases are transformed alike and lie side by side as channels,
// so that products sum over them. rms error against a left-to-right sum's: F(3, 2) 1.3-1.5, F(5, 2) 4.1-4.7.
//
// 6 taps on one axis, or more than 7, are phases of 3 taps, each 3 pixels further on, the last one filled with zeros: 9
// taps take 18 products for 4 outputs by F(4, 3), whose points are few and errors small, instead of 36.
#pragma once

#include "../winograd_line.h"
#include "vec.h"

namespace tapwise::ISA {
namespace {

// Rows of B' come in twos that share work: those of 0 and infinity, then those of each +-p.
template <class L>
inline constexpr int kInputTwos = L::kSize > 1 ? L::kSize / 2 : 1;
template <class L, int kTwo>
inline constexpr int kInputRows[2] = {kTwo ? 2 * kTwo - 1 : 0, kTwo ? 2 * kTwo : L::kSize - 1};

// Those rows of B' d, where d(i) is input i.
template <class L, int kTwo, class Inputs>
TAPWISE_INLINE void transform_input(const Inputs& d, Vec& first, Vec& second) {
  if constexpr (L::kSize == 1) {
    first = second = d(0);
  } else {
    constexpr L c = kLine<L>;
    constexpr int n = L::kPairs;
    if constexpr (kTwo == 0) {
      first = L::kScales ? d(2 * n) * splat(static_cast<float>(c.more_zero)) : d(2 * n);
      second = d(2 * n + 1);
      TAPWISE_UNROLL for (int t = 0; t < n; ++t) {
        first = fma(d(2 * t), splat(static_cast<float>(c.all[t] * c.more_zero)), first);
        second = fma(d(2 * t + 1), splat(static_cast<float>(c.all[t])), second);
      }
    } else {
      constexpr int k = kTwo - 1;
      // An odd part times p: then it is added, which many CPUs do beside multiply-adds.
      const double p = c.power[k][1] * c.more[k];
      Vec even = d(2 * n) * splat(static_cast<float>(c.more[k])), odd = d(2 * n - 1) * splat(static_cast<float>(p));
      TAPWISE_UNROLL for (int t = 0; t < n - 1; ++t) {
        even = fma(d(2 * t + 2), splat(static_cast<float>(c.others[k][t] * c.more[k])), even);
        odd = fma(d(2 * t + 1), splat(static_cast<float>(c.others[k][t] * p)), odd);
      }
      first = even + odd;
      second = even - odd;
    }
  }
}

// d becomes B' d.
template <class L, int kTwo = 0>
TAPWISE_INLINE void transform_input(const Vec (&d)[L::kSize], Vec (&v)[L::kSize]) {
  constexpr const int (&rows)[2] = kInputRows<L, kTwo>;
  transform_input<L, kTwo>([&](int i) { return d[i]; }, v[rows[0]], v[rows[1]]);
  if constexpr (kTwo + 1 < kInputTwos<L>) transform_input<L, kTwo + 1>(d, v);
}

// Rows kFirst, kFirst + 2, ... of y = A' m, which the sums (odd rows: the differences) of +-p are enough for; m(i) is
// product i.
template <class L, int kFirst, class Products>
TAPWISE_INLINE void transform_output(const Products& m, Vec (&y)[L::kOutputs]) {
  if constexpr (L::kSize == 1) {
    y[0] = m(0);
  } else {
    constexpr L c = kLine<L>;
    constexpr int n = L::kPairs, last = L::kOutputs - 1;
    Vec part[n];
    TAPWISE_UNROLL for (int k = 0; k < n; ++k) {
      part[k] = kFirst ? m(2 * k + 1) - m(2 * k + 2) : m(2 * k + 1) + m(2 * k + 2);
    }
    TAPWISE_UNROLL for (int i = kFirst; i <= last; i += 2) {
      const Vec p = splat(static_cast<float>(c.power[0][i]));
      Vec sum = i == 0 ? part[0] + m(0) : i == last ? fma(part[0], p, m(L::kSize - 1)) : part[0] * p;
      TAPWISE_UNROLL for (int k = 1; k < n; ++k) {
        sum = i == 0 ? sum + part[k] : fma(part[k], splat(static_cast<float>(c.power[k][i])), sum);
      }
      y[i] = sum;
    }
  }
}

// y = A' m
template <class L>
TAPWISE_INLINE void transform_output(const Vec (&m)[L::kSize], Vec (&y)[L::kOutputs]) {
  const auto at = [&](int i) { return m[i]; };
  transform_output<L, 0>(at, y);
  if constexpr (L::kOutputs > 1) transform_output<L, 1>(at, y);
}

// Rows kInputRows<L, kTwo> of u = G g, where g(i) is tap i.
template <class L, int kTwo, class Filter>
TAPWISE_INLINE void transform_taps(const Filter& g, Vec& first, Vec& second) {
  if constexpr (L::kSize == 1) {
    first = second = g(0);
  } else {
    constexpr L c = kLine<L>;
    if constexpr (kTwo == 0) {
      first = g(0) * splat(static_cast<float>(1 / c.zero));
      second = g(L::kFilter - 1);
    } else {
      constexpr int k = kTwo - 1;
      // Powers of points are exact, so that only the division by the scale has a rounded constant.
      const auto square = [&](int i) { return splat(static_cast<float>(c.power[k][i] * c.power[k][i])); };
      Vec even = g(0), odd = g(1);
      TAPWISE_UNROLL for (int i = 2; i < L::kFilter; i += 2) even = fma(g(i), square(i / 2), even);
      TAPWISE_UNROLL for (int i = 3; i < L::kFilter; i += 2) odd = fma(g(i), square(i / 2), odd);
      const Vec scale = splat(static_cast<float>(1 / c.scale[k]));
      const float p = static_cast<float>(c.power[k][1]);
      first = fma(odd, splat(p), even) * scale;
      second = fma(odd, splat(-p), even) * scale;
    }
  }
}

// u = G g
template <class L, int kTwo = 0>
TAPWISE_INLINE void transform_taps(const Vec (&g)[L::kFilter], Vec (&u)[L::kSize]) {
  constexpr const int (&rows)[2] = kInputRows<L, kTwo>;
  transform_taps<L, kTwo>([&](int i) { return g[i]; }, u[rows[0]], u[rows[1]]);
  if constexpr (kTwo + 1 < kInputTwos<L>) transform_taps<L, kTwo + 1>(g, u);
}

// Calls call.template operator()<H, W>() for the lines of a tiling of stride 1.
template <class Call>
TAPWISE_INLINE void with_lines(const Conv& s, const Tiling& g, const Call& call) {
  if (s.kh == 1) {
    if (g.taps_w == 5) return call.template operator()<Line<1, 1>, Line<2, 5>>();
    if (g.taps_w == 7) return call.template operator()<Line<1, 1>, Line<2, 7>>();
    if (g.tile_w == 2) return call.template operator()<Line<1, 1>, Line<2, 3>>();
    if (g.tile_w == 4) return call.template operator()<Line<1, 1>, Line<4, 3>>();
    return call.template operator()<Line<1, 1>, Line<6, 3>>();
  }
  if (s.kw == 1) {
    if (g.taps_h == 5) return call.template operator()<Line<2, 5>, Line<1, 1>>();
    if (g.taps_h == 7) return call.template operator()<Line<2, 7>, Line<1, 1>>();
    if (g.tile_h == 2) return call.template operator()<Line<2, 3>, Line<1, 1>>();
    if (g.tile_h == 4) return call.template operator()<Line<4, 3>, Line<1, 1>>();
    return call.template operator()<Line<6, 3>, Line<1, 1>>();
  }
  if (s.kh == 5) return call.template operator()<Line<2, 5>, Line<2, 5>>();
  if (g.tile_h == 2) return call.template operator()<Line<2, 3>, Line<2, 3>>();
  if (g.tile_h == 4) return call.template operator()<Line<4, 3>, Line<4, 3>>();
  call.template operator()<Line<6, 3>, Line<6, 3>>();
}

// The same for any.
template <class Call>
TAPWISE_INLINE void with_phased_lines(const Conv& s, const Tiling& g, const Call& call) {
  if (s.sh == 1 && s.sw == 1) return with_lines(s, g, call);
  if (g.tile_h == 3) return call.template operator()<Line<3, 2>, Line<3, 2>>();
  call.template operator()<Line<5, 2>, Line<5, 2>>();
}

// A phase's first tap, and first pixel of a tile.
struct Start {
  Index h, w;
};
TAPWISE_INLINE Start start_of(const Tiling& g, Index phase) {
  return {phase / g.phases_w * g.phase_step, phase % g.phases_w * g.phase_step};
}

struct Share {
  Index first, last;
};

TAPWISE_INLINE Share share(Index total, Index parts, Index part) {
  return {total * part / parts, total * (part + 1) / parts};
}

// Neighbouring tiles of one row of one image.
struct TileRun {
  Index image, row, col, count;
};

// Tiles are numbered part by part of all images: last rows but for their corners, all before last rows and columns,
// last columns, corners. So those that have a point lie one after the other.
struct Parts {
  Index rows, cols;  // without the last ones
  Index start[5];

  TAPWISE_INLINE explicit Parts(const Tiling& g)
      : rows(g.last_h < g.tile_h ? g.rows - 1 : g.rows), cols(g.last_w < g.tile_w ? g.cols - 1 : g.cols) {
    const Index images = g.tiles / most<Index>(1, g.rows * g.cols);
    start[0] = 0, start[4] = g.tiles;
    start[1] = images * (g.rows - rows) * cols;
    start[2] = start[1] + images * rows * cols;
    start[3] = start[2] + images * rows * (g.cols - cols);
  }

  // Those of [tiles.first, tiles.last) that have the point of number h of their rows and w of their columns.
  TAPWISE_INLINE Share with_point(const Tiling& g, Share tiles, Index h, Index w) const {
    const bool last_h = g.last_points_h >> h & 1, last_w = g.last_points_w >> w & 1;
    const Index first = last_h ? 0 : start[1], last = last_w ? last_h ? start[4] : start[3] : start[2];
    return {most(tiles.first, first), least(tiles.last, last)};
  }
};

// Calls visit(run, number of its first tile) for tiles [first, last).
template <class Visit>
TAPWISE_INLINE void for_each_tile_run(const Tiling& g, Index first, Index last, const Visit& visit) {
  const Parts parts(g);
  for (int part = 0; part < 4; ++part) {
    const Index row0 = part % 3 ? 0 : parts.rows, rows = part % 3 ? parts.rows : g.rows - parts.rows;
    const Index col0 = part < 2 ? 0 : parts.cols, cols = part < 2 ? parts.cols : g.cols - parts.cols;
    for (const Index end = least(last, parts.start[part + 1]); first < end;) {
      const Index i = first - parts.start[part], col = i % cols;
      const Index count = least(cols - col, end - first);
      visit(TileRun{i / (rows * cols), row0 + i / cols % rows, col0 + col, count}, first);
      first += count;
    }
  }
}

// Asks for what the next row of tiles reads: `rows` rows of so many floats, so far from one to the next.
TAPWISE_INLINE void prefetch_rows(const float* from, Index rows, Index step, Index floats) {
  for (; rows > 0; --rows, from += step)
    for (Index k = 0; k < floats; k += 16) __builtin_prefetch(from + k, 0, 2);
}

// Whether a map of so many floats mostly comes from memory.
TAPWISE_INLINE bool is_far(Index floats) {
  return floats > Index{1} << 20;
}

template <class L>
struct Last {
  using Type = L;
};
template <>
struct Last<Line<4, 3>> {
  using Type = Line<2, 3, 4>;
};
template <>
struct Last<Line<5, 2>> {
  using Type = Line<3, 2, 5>;
};

// Calls call.template operator()<H, W>() for the lines of a run's tiles.
template <class H, class W, class Call>
TAPWISE_INLINE void with_lines_of(const Tiling& g, const TileRun& run, const Call& call) {
  using LastH = typename Last<H>::Type;
  using LastW = typename Last<W>::Type;
  const bool last_h = LastH::kOutputs < H::kOutputs && run.row + 1 == g.rows && g.last_h <= LastH::kOutputs;
  const bool last_w = LastW::kOutputs < W::kOutputs && run.col + 1 == g.cols && g.last_w <= LastW::kOutputs;
  if (last_h && last_w) return call.template operator()<LastH, LastW>();
  if (last_h) return call.template operator()<LastH, W>();
  if (last_w) return call.template operator()<H, LastW>();
  call.template operator()<H, W>();
}

}  // namespace
}  // namespace tapwise::ISA
