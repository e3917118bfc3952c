// winograd_line.h — F(m, r): m outputs of an r-tap filter from m + r - 1 multiplies instead of m * r, on one axis.
//
//   y = A'[(G g) . (B' d)]     g (r,) taps, d (m + r - 1,) inputs, y (m,) outputs
//
// Filter and input are polynomials, valued at points a: 0, pairs +-p and infinity; y interpolates the products.
//
//   G   row a: (1, a, a^2, ...) / product over the other points b of a - b     infinity: the last tap
//   B'  row a: coefficients of the product over the other points b of x - b    infinity: of all of them
//   A'  column a: (1, a, a^2, ...)                                             infinity: the last output
//
// F(1, 1) passes its input on. Small products and quotients of points keep errors small, and all of A' and B' are exact
// in float32. rms error of 3x3 against a left-to-right sum's: F(2, 3) 0.6-1, F(4, 3) 1.6-3.0, F(6, 3) 7-12; with
// Lavin's points 0, +-1, +-2 F(4, 3) has 4.
//
// Constants alone, of host and device: each file that includes it has its own, since names in an unnamed namespace are
// merged by no linker.
//
// Lavin & Gray, "Fast Algorithms for Convolutional Neural Networks", 2016. Barabasz et al., "Error Analysis and
// Improving the Accuracy of Winograd Convolution for Deep Neural Networks", 2018.
#pragma once

namespace tapwise {
namespace {

template <int kPairs>
inline constexpr double kPoints[kPairs] = {};
template <>
inline constexpr double kPoints<1>[1] = {1};
template <>
inline constexpr double kPoints<2>[2] = {0.625, 1.5};
template <>
inline constexpr double kPoints<3>[3] = {0.5, 1, 2};

// kOf: the outputs of the line whose transformed weights it takes, and whose points are numbered.
template <int kTile, int kTaps, int kOf = kTile>
struct Line {
  static constexpr int kOutputs = kTile, kFilter = kTaps;
  static constexpr int kSize = kTile + kTaps - 1;  // points, infinity among them
  static constexpr int kPairs = kSize / 2 - 1;
  static constexpr int kAll = kOf + kTaps - 1, kAllPairs = kAll / 2 - 1;
  static constexpr bool kScales = kOf != kTile;
  static_assert(kSize % 2 == 0);
  static constexpr int point(int i) { return i + 1 < kSize ? i : kAll - 1; }

  double square[kPairs] = {};
  double power[kPairs][kSize] = {};         // p^i
  double all[kPairs + 1] = {};              // coefficients of the product of x - p^2
  double others[kPairs][kPairs] = {};       // the same without the row's own pair
  double zero = 1, scale[kPairs] = {};      // what G divides the rows of 0 and of +-p by
  double more_zero = 1, more[kPairs] = {};  // and B' multiplies them by, for the points left out

  constexpr Line() {
    for (int k = 0; k < kPairs; ++k) {
      const double p = kPoints<kAllPairs>[k];
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
      more[k] = 1;
    }
    for (int j = kPairs; j < kAllPairs; ++j) {
      const double left_out = kPoints<kAllPairs>[j] * kPoints<kAllPairs>[j];
      more_zero *= -left_out;
      for (int k = 0; k < kPairs; ++k) more[k] *= square[k] - left_out;
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
  static constexpr int kOutputs = 1, kFilter = 1, kSize = 1, kAll = 1;
  static constexpr int point(int i) { return i; }
};

template <class L>
inline constexpr L kLine{};

}  // namespace
}  // namespace tapwise
