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
// 3) 1.6-2.8, F(6, 3) 7-12; with Lavin's points 0, +-1, +-2 F(4, 3) has 4.
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

// d becomes B' d.
template <class L>
TAPWISE_INLINE void transform_input(Vec (&d)[L::kSize]) {
  if constexpr (L::kSize > 1) {
    constexpr L c = kLine<L>;
    constexpr int n = L::kPairs;
    Vec v[L::kSize] = {};
    v[0] = d[2 * n], v[2 * n + 1] = d[2 * n + 1];
    TAPWISE_UNROLL for (int t = 0; t < n; ++t) {
      const float all = static_cast<float>(c.all[t]);
      v[0] = fma(d[2 * t], splat(all), v[0]);
      v[2 * n + 1] = fma(d[2 * t + 1], splat(all), v[2 * n + 1]);
    }
    TAPWISE_UNROLL for (int k = 0; k < n; ++k) {
      Vec even = d[2 * n], odd = d[2 * n - 1];
      TAPWISE_UNROLL for (int t = 0; t < n - 1; ++t) {
        const float other = static_cast<float>(c.others[k][t]);
        even = fma(d[2 * t + 2], splat(other), even);
        odd = fma(d[2 * t + 1], splat(other), odd);
      }
      const float p = static_cast<float>(c.power[k][1]);
      v[2 * k + 1] = fma(odd, splat(p), even);
      v[2 * k + 2] = fma(odd, splat(-p), even);
    }
    TAPWISE_UNROLL for (int i = 0; i < L::kSize; ++i) d[i] = v[i];
  }
}

// y = A' m
template <class L>
TAPWISE_INLINE void transform_output(const Vec (&m)[L::kSize], Vec (&y)[L::kOutputs]) {
  if constexpr (L::kSize == 1) {
    y[0] = m[0];
  } else {
    constexpr L c = kLine<L>;
    constexpr int n = L::kPairs, last = L::kOutputs - 1;
    Vec even[n], odd[n];
    TAPWISE_UNROLL for (int k = 0; k < n; ++k) {
      even[k] = m[2 * k + 1] + m[2 * k + 2];
      odd[k] = m[2 * k + 1] - m[2 * k + 2];
    }
    TAPWISE_UNROLL for (int i = 0; i <= last; ++i) {
      const Vec* part = i % 2 ? odd : even;
      const Vec p = splat(static_cast<float>(c.power[0][i]));
      Vec sum = i == 0 ? fma(part[0], p, m[0]) : i == last ? fma(part[0], p, m[L::kSize - 1]) : part[0] * p;
      TAPWISE_UNROLL for (int k = 1; k < n; ++k) sum = fma(part[k], splat(static_cast<float>(c.power[k][i])), sum);
      y[i] = sum;
    }
  }
}

// u = G g, elements `step` apart.
template <class L>
TAPWISE_INLINE void transform_taps(const double* g, Index g_step, double* u, Index u_step) {
  if constexpr (L::kSize == 1) {
    u[0] = g[0];
  } else {
    constexpr L c = kLine<L>;
    u[0] = g[0] * (1 / c.zero);
    u[(L::kSize - 1) * u_step] = g[(L::kFilter - 1) * g_step];
    TAPWISE_UNROLL for (int k = 0; k < L::kPairs; ++k) {
      double even = 0, odd = 0;
      TAPWISE_UNROLL for (int i = 0; i < L::kFilter; ++i)(i % 2 ? odd : even) +=
          g[i * g_step] * (c.power[k][i] / c.scale[k]);
      u[(2 * k + 1) * u_step] = even + odd;
      u[(2 * k + 2) * u_step] = even - odd;
    }
  }
}

}  // namespace
}  // namespace tapwise::ISA
