// winograd.h — F(m, r): m outputs of an r-tap filter from m + r - 1 multiplies instead of m * r, on one axis.
//
//   y = A'[(G g) . (B' d)]     g (r,) taps, d (m + r - 1,) inputs, y (m,) outputs
//
// Filter and input are polynomials, valued at points a: 0, pairs +-p and infinity; y interpolates the products.
//
//   G   row a: (1, a, a^2, ...) / product over the other points b of a - b     infinity: the last tap
//   B'  row a: coefficients of the product over the other points b of x - b    infinity: of all of them
//   A'  column a: (1, a, a^2, ...)                                             infinity: the last output
//
// The rows of +-p share an even and an odd part, which halves the work. F(1, 1) passes its input on: with it a kernel
// of one row or column has transforms on the other axis alone. Small products and quotients of points keep errors
// small, and all of A' and B' are exact in float32. rms error of 3x3 against a left-to-right sum's: F(2, 3) 0.6-1, F(4,
// 3) 1.6-3.0, F(6, 3) 7-12; with Lavin's points 0, +-1, +-2 F(4, 3) has 4.
//
// Lavin & Gray, "Fast Algorithms for Convolutional Neural Networks", 2016. Barabasz et al., "Error Analysis and
// Improving the Accuracy of Winograd Convolution for Deep Neural Networks", 2018.
#pragma once

#include "vec.h"

namespace tapwise::ISA {
namespace {

template <int kPairs>
inline constexpr double kPoints[kPairs] = {};
template <>
inline constexpr double kPoints<1>[1] = {1};
template <>
inline constexpr double kPoints<2>[2] = {0.625, 1.5};
template <>
inline constexpr double kPoints<3>[3] = {0.5, 1, 2};

template <int kTile, int kTaps>
struct Line {
  static constexpr int kOutputs = kTile, kFilter = kTaps;
  static constexpr int kSize = kTile + kTaps - 1;  // points, infinity among them
  static constexpr int kPairs = kSize / 2 - 1;
  static_assert(kSize % 2 == 0);

  double square[kPairs] = {};
  double power[kPairs][kSize] = {};     // p^i
  double all[kPairs + 1] = {};          // coefficients of the product of x - p^2
  double others[kPairs][kPairs] = {};   // the same without the row's own pair
  double zero = 1, scale[kPairs] = {};  // what G divides the rows of 0 and of +-p by

  constexpr Line() {
    for (int k = 0; k < kPairs; ++k) {
      const double p = kPoints<kPairs>[k];
      square[k] = p * p;
      power[k][0] = 1;
      for (int i = 1; i < kSize; ++i) power[k][i] = power[k][i - 1] * p;
    }
    multiply(all, -1);
    for (int k = 0; k < kPairs; ++k) {
      multiply(others[k], k);
      zero *= -square[k];
      scale[k] = 2 * square[k];
      for (int j = 0; j < kPairs; ++j)
        if (j != k) scale[k] *= square[k] - square[j];
    }
  }

 private:
  // The product of x - p^2 over all pairs but `without`.
  constexpr void multiply(double* product, int without) const {
    product[0] = 1;
    for (int j = 0, degree = 0; j < kPairs; ++j) {
      if (j == without) continue;
      product[++degree] = 1;
      for (int t = degree - 1; t > 0; --t) product[t] = product[t - 1] - square[j] * product[t];
      product[0] *= -square[j];
    }
  }
};

template <>
struct Line<1, 1> {
  static constexpr int kOutputs = 1, kFilter = 1, kSize = 1;
};

template <class L>
inline constexpr L kLine{};

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
      first = d(2 * n), second = d(2 * n + 1);
      TAPWISE_UNROLL for (int t = 0; t < n; ++t) {
        const Vec all = splat(static_cast<float>(c.all[t]));
        first = fma(d(2 * t), all, first);
        second = fma(d(2 * t + 1), all, second);
      }
    } else {
      constexpr int k = kTwo - 1;
      Vec even = d(2 * n), odd = d(2 * n - 1);
      TAPWISE_UNROLL for (int t = 0; t < n - 1; ++t) {
        const Vec other = splat(static_cast<float>(c.others[k][t]));
        even = fma(d(2 * t + 2), other, even);
        odd = fma(d(2 * t + 1), other, odd);
      }
      const float p = static_cast<float>(c.power[k][1]);
      first = fma(odd, splat(p), even);
      second = fma(odd, splat(-p), even);
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
      TAPWISE_UNROLL for (int k = 1; k < n; ++k) sum = fma(part[k], splat(static_cast<float>(c.power[k][i])), sum);
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

// Calls call.template operator()<H, W>() for the lines of a tiling.
template <class Call>
TAPWISE_INLINE void with_lines(const Conv& s, const Tiling& g, const Call& call) {
  if (s.kh == 1) {
    if (s.kw == 5) return call.template operator()<Line<1, 1>, Line<2, 5>>();
    if (g.tile_w == 2) return call.template operator()<Line<1, 1>, Line<2, 3>>();
    if (g.tile_w == 4) return call.template operator()<Line<1, 1>, Line<4, 3>>();
    return call.template operator()<Line<1, 1>, Line<6, 3>>();
  }
  if (s.kw == 1) {
    if (s.kh == 5) return call.template operator()<Line<2, 5>, Line<1, 1>>();
    if (g.tile_h == 2) return call.template operator()<Line<2, 3>, Line<1, 1>>();
    if (g.tile_h == 4) return call.template operator()<Line<4, 3>, Line<1, 1>>();
    return call.template operator()<Line<6, 3>, Line<1, 1>>();
  }
  if (s.kh == 5) return call.template operator()<Line<2, 5>, Line<2, 5>>();
  if (g.tile_h == 2) return call.template operator()<Line<2, 3>, Line<2, 3>>();
  if (g.tile_h == 4) return call.template operator()<Line<4, 3>, Line<4, 3>>();
  call.template operator()<Line<6, 3>, Line<6, 3>>();
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

// Calls visit(run, number of its first tile) for tiles [first, last).
template <class Visit>
TAPWISE_INLINE void for_each_tile_run(const Tiling& g, Index first, Index last, const Visit& visit) {
  while (first < last) {
    const Index col = first % g.cols, row = first / g.cols % g.rows, image = first / (g.cols * g.rows);
    const Index count = least(g.cols - col, last - first);
    visit(TileRun{image, row, col, count}, first);
    first += count;
  }
}

}  // namespace
}  // namespace tapwise::ISA
