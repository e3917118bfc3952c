#include "winograd.h"

namespace tapwise::test {
namespace {

// The absolute values of A' (outputs, size), G (size, taps) and B' (size, size) of F(outputs, taps).
struct Line {
  Index outputs, taps, size;
  std::vector<double> a, g, b;

  Line(Index m, Index r) : Line(m, r, m + r - 1) {}

  // With the first pairs of the points of so many.
  Line(Index m, Index r, Index points_of)
      : outputs(m), taps(r), size(m + r - 1), a(outputs * size), g(size * taps), b(size * size) {
    if (size == 1) {
      a[0] = g[0] = b[0] = 1;
      return;
    }
    std::vector<double> points = {0};
    const std::vector<double> pairs = points_of == 4   ? std::vector<double>{1}
                                      : points_of == 6 ? std::vector<double>{0.625, 1.5}
                                                       : std::vector<double>{0.5, 1, 2};
    for (Index k = 0; k < size / 2 - 1; ++k) points.insert(points.end(), {pairs[k], -pairs[k]});
    for (Index i = 0; i < size; ++i) {
      std::vector<double> product = {1};  // of x - point over the others, lowest power first
      double scale = 1;
      for (Index j = 0; j + 1 < size; ++j) {
        if (j == i) continue;
        product.insert(product.begin(), 0);
        for (std::size_t k = 0; k + 1 < product.size(); ++k) product[k] -= points[j] * product[k + 1];
        if (i + 1 < size) scale *= points[i] - points[j];
      }
      const bool infinity = i + 1 == size;
      for (std::size_t k = 0; k < product.size(); ++k) b[i * size + static_cast<Index>(k)] = std::fabs(product[k]);
      for (Index k = 0; k < taps; ++k)
        g[i * taps + k] = infinity ? (k + 1 == taps) : std::fabs(std::pow(points[i], k) / scale);
      for (Index k = 0; k < outputs; ++k)
        a[k * size + i] = infinity ? (k + 1 == outputs) : std::fabs(std::pow(points[i], k));
    }
  }

  // For a last tile of fewer outputs, which needs no infinity.
  Line without_infinity(Index fewer) const {
    Line line = *this;
    for (Index i = 0; i < outputs; ++i) line.a[i * size + size - 1] = 0;
    line.outputs = fewer;
    line.a.resize(fewer * size);
    return line;
  }
};

// The line of a tile at an output that has `left` from there on.
Line line_at(Index left, Index tile, Index taps) {
  if (taps == 1) return {1, 1};
  const Line line = taps == 3 && tile == 4 && left <= 2   ? Line(2, 3, 6)
                    : taps == 2 && tile == 5 && left <= 3 ? Line(3, 2, 6)
                                                          : Line(tile, taps);
  return left < line.outputs ? line.without_infinity(left) : line;
}

// left (rows, m) * middle (m, n) * right' (n, columns)
std::vector<double> sandwich(const std::vector<double>& left, const std::vector<double>& middle,
                             const std::vector<double>& right, Index m, Index n) {
  const Index rows = std::ssize(left) / m, columns = std::ssize(right) / n;
  std::vector<double> result(rows * columns);
  for (Index i = 0; i < rows; ++i)
    for (Index j = 0; j < columns; ++j)
      for (Index k = 0; k < m; ++k)
        for (Index l = 0; l < n; ++l) result[i * columns + j] += left[i * m + k] * middle[k * n + l] * right[j * n + l];
  return result;
}

// |B' d B| of one channel of x, for the tile whose first output is (h, v).
std::vector<double> transformed_input(const Conv& s, const Line& lh, const Line& lw, Index n, Index h, Index v, Index c,
                                      const float* x) {
  const bool last = s.layout == Layout::channels_last;
  std::vector<double> d(lh.size * lw.size);
  for (Index i = 0; i < std::ssize(d); ++i) {
    const Index row = h + i / lw.size - s.pt, column = v + i % lw.size - s.pl;
    if (row < 0 || row >= s.ih || column < 0 || column >= s.iw) continue;
    const Index at =
        last ? ((n * s.ih + row) * s.iw + column) * s.ci + c : ((n * s.ci + c) * s.ih + row) * s.iw + column;
    d[i] = std::fabs(double{x[at]});
  }
  return sandwich(lh.b, d, lw.b, lh.size, lw.size);
}

// What flushing a subnormal number costs, as a mass.
constexpr double kFlushed = kTiny / kEpsilon;

struct Range {
  Index first, last;
};

// Outputs in whole tiles, and those of the last one where it has fewer.
std::vector<Range> parts(Index outputs, Index tile) {
  std::vector<Range> ranges;
  const Index whole = outputs / tile * tile;
  if (whole > 0) ranges.push_back({0, whole});
  if (whole < outputs) ranges.push_back({whole, outputs});
  return ranges;
}

// The masses of the outputs in `rows` and `columns`, whose tiles are all alike.
void add_masses(const Conv& s, const Line& lh, const Line& lw, Range rows, Range columns, const float* x,
                const float* w, std::vector<Sum>& sums) {
  const bool last = s.layout == Layout::channels_last;
  const Index size = lh.size * lw.size;
  std::vector<std::vector<double>> u;  // (co, ci)
  for (Index o = 0; o < s.co; ++o)
    for (Index c = 0; c < s.ci; ++c) {
      std::vector<double> taps;
      for (Index i = 0; i < s.kh; ++i)
        for (Index j = 0; j < s.kw; ++j)
          taps.push_back(std::fabs(double{w[i * s.w_h + j * s.w_w + c * s.w_ci + o * s.w_co]}));
      u.push_back(sandwich(lh.g, taps, lw.g, s.kh, s.kw));
    }
  for (Index n = 0; n < s.n; ++n)
    for (Index h = rows.first; h < rows.last; h += lh.outputs)
      for (Index v = columns.first; v < columns.last; v += lw.outputs) {
        std::vector<std::vector<double>> inputs;
        for (Index c = 0; c < s.ci; ++c) inputs.push_back(transformed_input(s, lh, lw, n, h, v, c, x));
        for (Index o = 0; o < s.co; ++o) {
          std::vector<double> m(size, kFlushed);
          for (Index c = 0; c < s.ci; ++c)
            for (Index i = 0; i < size; ++i) m[i] += (inputs[c][i] + kFlushed) * (u[o * s.ci + c][i] + kFlushed);
          const std::vector<double> y = sandwich(lh.a, m, lw.a, lh.size, lw.size);
          for (Index i = 0; i < lh.outputs; ++i)
            for (Index j = 0; j < lw.outputs; ++j) {
              const Index at = last ? ((n * s.oh + h + i) * s.ow + v + j) * s.co + o
                                    : ((n * s.co + o) * s.oh + h + i) * s.ow + v + j;
              sums[at].mass = y[i * lw.outputs + j];
            }
        }
      }
}

// A convolution of stride 2, or of a long kernel, as one of stride 1 and short kernels, whose channels are x's even and
// odd rows and columns, or x from 0, 3, 6, ... pixels on. w: may be null, for zeros.
struct Phased {
  Conv s;
  std::vector<float> x, w;
};

Phased phases(const Conv& s, const float* x, const float* w) {
  const auto taps_of = [](Index taps, Index stride) {
    return stride == 1 && taps > 1 ? 3 : (taps + stride - 1) / stride;
  };
  const auto count_of = [](Index taps, Index stride) { return stride == 1 ? (taps + 2) / 3 : stride; };
  const Index step = s.sh == 2 ? 1 : 3, count_w = count_of(s.kw, s.sw), count = count_of(s.kh, s.sh) * count_w;
  Phased p{s, {}, {}};
  Conv& t = p.s;
  t.kh = taps_of(s.kh, s.sh), t.kw = taps_of(s.kw, s.sw), t.sh = t.sw = 1, t.pt = t.pl = 0;
  t.ci = count * s.ci, t.ih = s.oh + t.kh + 4, t.iw = s.ow + t.kw + 4;  // a last tile reads on
  t.w_co = 1, t.w_ci = s.co, t.w_w = t.ci * s.co, t.w_h = t.kw * t.w_w;
  p.x.resize(t.n * t.ci * t.ih * t.iw), p.w.resize(t.kh * t.kw * t.ci * t.co);
  const bool last = s.layout == Layout::channels_last;
  for (Index phase = 0; phase < count; ++phase)
    for (Index c = 0; c < s.ci; ++c) {
      const Index to_c = phase * s.ci + c, first_h = phase / count_w * step, first_w = phase % count_w * step;
      for (Index i = 0; i < t.n * t.ih * t.iw; ++i) {
        const Index n = i / (t.ih * t.iw), h = i / t.iw % t.ih, v = i % t.iw;
        const Index row = s.sh * h + first_h - s.pt, column = s.sw * v + first_w - s.pl;
        if (row < 0 || row >= s.ih || column < 0 || column >= s.iw) continue;
        p.x[last ? i * t.ci + to_c : ((n * t.ci + to_c) * t.ih + h) * t.iw + v] =
            x[last ? ((n * s.ih + row) * s.iw + column) * s.ci + c : ((n * s.ci + c) * s.ih + row) * s.iw + column];
      }
      for (Index i = 0; i < t.kh * t.kw * s.co; ++i) {
        const Index h = i / s.co / t.kw, v = i / s.co % t.kw, o = i % s.co;
        const Index row = s.sh * h + first_h, column = s.sw * v + first_w;
        if (w && row < s.kh && column < s.kw)
          p.w[h * t.w_h + v * t.w_w + to_c * t.w_ci + o] = w[row * s.w_h + column * s.w_w + c * s.w_ci + o * s.w_co];
      }
    }
  return p;
}

bool is_long(const Conv& s) {
  const Index taps = std::max(s.kh, s.kw);
  return taps == 6 || taps > 7;
}

}  // namespace

std::vector<Sum> winograd_sums(const Conv& s, Index tile, const float* x, const float* w, std::vector<Sum> sums) {
  if (s.sh == 2 || is_long(s)) {
    const Phased p = phases(s, x, w);
    return winograd_sums(p.s, tile + s.sh - 1, p.x.data(), p.w.data(), std::move(sums));
  }
  for (const Range& rows : parts(s.oh, s.kh == 1 ? 1 : tile))
    for (const Range& columns : parts(s.ow, s.kw == 1 ? 1 : tile)) {
      const Line lh = line_at(rows.last - rows.first, tile, s.kh);
      const Line lw = line_at(columns.last - columns.first, tile, s.kw);
      add_masses(s, lh, lw, rows, columns, x, w, sums);
    }
  const Index points = (s.kh == 1 ? 1 : tile + s.kh - 1) + (s.kw == 1 ? 1 : tile + s.kw - 1);
  for (Sum& sum : sums) sum.terms = s.ci + 2 * points + 3 + s.kh + s.kw;
  return sums;
}

std::vector<Sum> winograd_gradient_sums(const Conv& s, Index tile, const float* x, const float* dy, Index first,
                                        std::vector<Sum> sums) {
  if (is_long(s)) {
    const Phased p = phases(s, x, nullptr);
    const std::vector<Sum> own = winograd_gradient_sums(p.s, tile, p.x.data(), dy, 0, std::vector<Sum>(p.w.size()));
    for (Index tap = 0; tap < s.kh * s.kw; ++tap)
      for (Index i = 0; i < s.ci * s.co; ++i) {
        const Index c = i / s.co, o = i % s.co, to_c = tap / 3 * s.ci + c;
        Sum& sum = sums[first + tap * (s.kh == 1 ? s.w_w : s.w_h) + c * s.w_ci + o * s.w_co];
        const Sum& from = own[(tap % 3 * p.s.ci + to_c) * s.co + o];
        sum.mass = from.mass, sum.terms = from.terms;
      }
    return sums;
  }
  const Line lh(s.kh, s.kh == 1 ? 1 : tile), lw(s.kw, s.kw == 1 ? 1 : tile);
  const bool last = s.layout == Layout::channels_last;
  const Index size = lh.size * lw.size;
  std::vector<std::vector<double>> m(s.ci * s.co, std::vector<double>(size));
  Index tiles = 0;
  for (Index n = 0; n < s.n; ++n)
    for (Index h = 0; h < s.oh; h += lh.taps)
      for (Index v = 0; v < s.ow; v += lw.taps, ++tiles) {
        std::vector<std::vector<double>> inputs;
        for (Index c = 0; c < s.ci; ++c) inputs.push_back(transformed_input(s, lh, lw, n, h, v, c, x));
        for (Index o = 0; o < s.co; ++o) {
          std::vector<double> d(lh.taps * lw.taps);
          for (Index i = 0; i < std::ssize(d); ++i) {
            const Index row = h + i / lw.taps, column = v + i % lw.taps;
            if (row >= s.oh || column >= s.ow) continue;
            d[i] = std::fabs(double{dy[last ? ((n * s.oh + row) * s.ow + column) * s.co + o
                                            : ((n * s.co + o) * s.oh + row) * s.ow + column]});
          }
          const std::vector<double> g = sandwich(lh.g, d, lw.g, lh.taps, lw.taps);
          for (Index c = 0; c < s.ci; ++c)
            for (Index i = 0; i < size; ++i)
              m[c * s.co + o][i] += kFlushed + (inputs[c][i] + kFlushed) * (g[i] + kFlushed);
        }
      }
  for (Index c = 0; c < s.ci; ++c)
    for (Index o = 0; o < s.co; ++o) {
      const std::vector<double> dw = sandwich(lh.a, m[c * s.co + o], lw.a, lh.size, lw.size);
      for (Index i = 0; i < s.kh; ++i)
        for (Index j = 0; j < s.kw; ++j) {
          Sum& sum = sums[first + i * s.w_h + j * s.w_w + c * s.w_ci + o * s.w_co];
          sum.mass = dw[i * s.kw + j], sum.terms = tiles + 3 * (lh.size + lw.size) + 6;
        }
    }
  return sums;
}

}  // namespace tapwise::test
