// gemm.cpp — the micro-kernel: pixels x output channels, summed over taps and input channels.
//
//   a (pixels, k) in place, panel (k, kPanel)  ->  y (pixels, channels)        gemm_run, gemm_points
//   a (pixels, k) in place, w (channels, k)  ->  y (pixels, channels)          dot_run: few channels, k in the vectors
//
// A tile of M pixels x V vectors stays in registers over the whole sum: per channel, V loads of weights and M
// broadcasts feed M * V multiply-adds. M <= kTilePixels and V <= 2 fill the register file: 14 x 2 of AVX-512's 32
// registers, 6 x 2 of
// 16. A run is split into near-equal tiles (29 pixels: 10 + 10 + 9, not 14 + 14 + 1).
//
// Goto & van de Geijn, "Anatomy of High-Performance Matrix Multiplication", 2008.
#include "gemm.h"

#include "activation.h"

namespace tapwise::ISA {
namespace {

constexpr Index kLine = 16;          // floats of a cache line
constexpr Index kNearFloats = 4096;  // 16 KiB: more weights leave an L1 before the next tile of pixels reads them
// Pixels 4 KiB apart share one set of the L1, which may have 8 ways: 1x1 1024-256 @14 has 161 GFLOP/s in tiles of 14,
// 227 in tiles of 7 (Zen 4).
constexpr Index kAliasedFloats = 1024;
constexpr int kAliasedPixels = kTilePixels > 8 ? kTilePixels / 2 : kTilePixels;

// Three rows a pointer, opaque to the compiler: it would otherwise keep one address a row and spill.
template <int M>
struct Rows {
  const float* base[(M + 2) / 3];

  TAPWISE_INLINE Rows(const float* a, Index stride) {
    TAPWISE_UNROLL for (int j = 0; j < (M + 2) / 3; ++j) {
      base[j] = a + 3 * j * stride;
      asm("" : "+r"(base[j]));
    }
  }
  TAPWISE_INLINE float at(int row, Index stride, int k) const { return base[row / 3][(row % 3) * stride + k]; }
  TAPWISE_INLINE void advance(int k) {
    TAPWISE_UNROLL for (const float*& b : base) {
      b += k;
      asm("" : "+r"(b));  // clang would go back to one address a row
    }
  }
};

// Rows anywhere, a pointer each: as many as a small tile has.
template <int M>
struct ScatteredRows {
  const float* base[M];

  TAPWISE_INLINE float at(int row, Index, int k) const { return base[row][k]; }
  TAPWISE_INLINE void advance(int k) { TAPWISE_UNROLL for (const float*& b : base) b += k; }
};

// Adds channel k of the pixels [kFirst, kLast) of a tile.
template <int kFirst, int kLast, int M, int V, class AnyRows>
TAPWISE_INLINE void multiply(Vec (&sum)[M][V], const AnyRows& rows, Index stride, int k, const float* panel) {
  Vec w[V];
  TAPWISE_UNROLL for (int v = 0; v < V; ++v) w[v] = load(panel + k * kPanel + v * kLanes);
  TAPWISE_UNROLL for (int i = kFirst; i < kLast; ++i) {
    const Vec x = splat(rows.at(i, stride, k));
    TAPWISE_UNROLL for (int v = 0; v < V; ++v) sum[i][v] = fma(x, w[v], sum[i][v]);
  }
}

// next: where the next tile will read; weights: what a later one will, or null.
template <int kFirst, int kLast, int kWeightLines = 0, int M, int V, class AnyRows>
TAPWISE_INLINE void add_rows(Vec (&sum)[M][V], AnyRows rows, Index stride, const float* next, const float* b, Index k,
                             [[maybe_unused]] const float* weights = nullptr) {
  constexpr Index kAhead = M > 8 ? 2 : 1;  // lines that M pixels of two channels come to, or one more
  for (; k >= 2; k -= 2, b += 2 * kPanel, next += kAhead * kLine) {
    multiply<kFirst, kLast>(sum, rows, stride, 0, b);
    __builtin_prefetch(next);
    multiply<kFirst, kLast>(sum, rows, stride, 1, b);
    if constexpr (kAhead > 1) __builtin_prefetch(next + kLine);
    TAPWISE_UNROLL for (int line = 0; line < kWeightLines; ++line) __builtin_prefetch(weights + line * kLine, 0, 2);
    weights += kWeightLines * kLine;
    rows.advance(2);
  }
  if (k) multiply<kFirst, kLast>(sum, rows, stride, 0, b);
}

template <int kFirst, int kLast, int M, int V>
TAPWISE_INLINE void add_segment(Vec (&sum)[M][V], const float* a, Index stride, const float* b, Index k) {
  add_rows<kFirst, kLast>(sum, Rows<M>(a, stride), stride, a + M * stride, b, k);
}

// Channels of a pixel in vector v.
TAPWISE_INLINE Index lanes_of(const Store& to, int v) {
  return least<Index>(kLanes, to.channels - v * kLanes);
}

// A pointer that goes from pixel to pixel, opaque to the compiler: it would otherwise multiply for each of them.
template <class Float>
TAPWISE_INLINE void advance(Float*& pixel, Index step) {
  pixel += step;
  asm("" : "+r"(pixel));
}

template <int M, int V, bool kResidual, bool kRectified>
TAPWISE_INLINE void store_tile(const Vec (&sum)[M][V], const Store& to, Index first, const Rectifier& rectified) {
  float* y = to.y + first * to.y_pixel;
  const float* residual = kResidual ? to.residual + first * to.y_pixel : nullptr;
  Vec b[V];
  TAPWISE_UNROLL for (int v = 0; v < V; ++v) b[v] = to.b ? load_part(to.b + v * kLanes, lanes_of(to, v)) : Vec{};
  TAPWISE_UNROLL for (int i = 0; i < M; ++i, advance(y, to.y_pixel)) {
    TAPWISE_UNROLL for (int v = 0; v < V; ++v) {
      Vec sums = sum[i][v] + b[v];
      if (kResidual) sums += load_part(residual + v * kLanes, lanes_of(to, v));
      store_part(y + v * kLanes, kRectified ? rectified(sums) : sums, lanes_of(to, v));
    }
    if (kResidual) advance(residual, to.y_pixel);
  }
}

template <int M, int V>
TAPWISE_INLINE void store_tile(const Vec (&sum)[M][V], const Store& to, Index first) {
  const Rectifier r(to.activation);
  if (to.residual)
    r.on ? store_tile<M, V, true, true>(sum, to, first, r) : store_tile<M, V, true, false>(sum, to, first, r);
  else
    r.on ? store_tile<M, V, false, true>(sum, to, first, r) : store_tile<M, V, false, false>(sum, to, first, r);
  if (r.rest)
    for (int i = 0; i < M; ++i) activate(to.activation, to.alpha, to.y + (first + i) * to.y_pixel, to.channels);
}

// The first tile of a panel would wait for every line of weights that come from memory: four tiles, or one small one,
// fetch the panel behind theirs, if the L2 has room for it. In ResNet50 1x1 512-2048 @7 takes 550 us so, and 640
// without. Small tiles that fill the registers, AVX2's, have no loads to spare.
constexpr bool kFetchesPanels = kTilePixels > 8;
constexpr Index kFetchedInputs = 128, kMostFetchedInputs = 1024;
template <int M>
constexpr int kWeightLines = M > 8 ? 1 : 4;

TAPWISE_INLINE bool fetches_panels(const Run& run) {
  const Index k = run.segments[0].k;
  return kFetchesPanels && run.segment_count == 1 && k >= kFetchedInputs && k <= kMostFetchedInputs;
}

// Where the tile at pixel `first` begins to fetch the next panel; where that is done, in its own.
template <int M>
TAPWISE_INLINE const float* next_panel(const float* b, Index k, Index first) {
  const Index from = first / M * (k / 2) * kWeightLines<M> * kLine;
  return from < k * kPanel ? b + k * kPanel + from : b;
}

template <int M, int V>
void gemm_tile(const Run& run, Index first, const float* panel, const Store& to) {
  // Results from memory that nobody has asked for: 1x1 64-256 @56 n16 0.74 of the peak, so 0.82.
  const float* result = to.y + first * to.y_pixel;
  TAPWISE_UNROLL for (int i = 0; i < M; ++i, advance(result, to.y_pixel)) TAPWISE_UNROLL for (int v = 0; v < V; ++v)
      __builtin_prefetch(result + v * kLanes, 0, 2);
  Vec sum[M][V] = {};
  for (Index s = 0; s < run.segment_count; ++s) {
    const Segment& segment = run.segments[s];
    const float *const a = run.a + first * run.a_pixel + segment.a, *const b = panel + segment.b * kPanel;
    if (fetches_panels(run))
      add_rows<0, M, kWeightLines<M>>(sum, Rows<M>(a, run.a_pixel), run.a_pixel, a + M * run.a_pixel, b, segment.k,
                                      next_panel<M>(b, segment.k, first));
    else
      add_segment<0, M>(sum, a, run.a_pixel, b, segment.k);
  }
  store_tile(sum, to, first);
}

// A tile at one point after the other; a and y are its first pixel's.
template <int M, int V, bool kContinues>
void gemm_point_tile(const Points& points, const Run& run, const float* a, const float* panel, float* y) {
  const Index pixel = run.a_pixel;
  for (Index point = points.count; point > 0; --point, a += points.a, panel += points.panel, y += points.y) {
    Vec sum[M][V] = {};
    if (kContinues)
      TAPWISE_UNROLL for (int i = 0; i < M; ++i) TAPWISE_UNROLL for (int v = 0; v < V; ++v) sum[i][v] =
          load(y + i * kPanel + v * kLanes);
    for (const Segment* segment = run.segments; segment < run.segments + run.segment_count; ++segment)
      add_segment<0, M>(sum, a + segment->a, pixel, panel + segment->b * kPanel, segment->k);
    TAPWISE_UNROLL for (int i = 0; i < M; ++i) TAPWISE_UNROLL for (int v = 0; v < V; ++v)
        store(y + i * kPanel + v * kLanes, sum[i][v]);
  }
}

// A tile of pixels [first, first + M) of all rows of a run, one row behind the other.
template <int M, int V>
void gemm_joined_tile(const Run& run, Index first, const float* panel, const Store& to) {
  const auto place = [&](Index pixel) { return pixel / run.pixels * run.a_row + pixel % run.pixels * run.a_pixel; };
  Index at[M];
  TAPWISE_UNROLL for (int i = 0; i < M; ++i) at[i] = place(first + i);
  Vec sum[M][V] = {};
  for (Index s = 0; s < run.segment_count; ++s) {
    const Segment& segment = run.segments[s];
    ScatteredRows<M> rows;
    TAPWISE_UNROLL for (int i = 0; i < M; ++i) rows.base[i] = run.a + at[i] + segment.a;
    add_rows<0, M>(sum, rows, 0, rows.base[M - 1] + run.a_pixel, panel + segment.b * kPanel, segment.k);
  }
  store_tile(sum, to, first);
}

// A tile at the border of the input: each segment has its own pixels. Nothing is multiplied by padding.
template <int M, int V>
void gemm_edge_tile(const Run& run, const float* panel, const Store& to) {
  static_assert(kMostSkipped == 2);
  constexpr int kTwo = M > 2 ? 2 : M, kOne = M > 1 ? 1 : M;
  Vec sum[M][V] = {};
  for (Index s = 0; s < run.segment_count; ++s) {
    const Segment& segment = run.segments[s];
    const float *a = run.a + segment.a, *b = panel + segment.b * kPanel;
    switch (segment.skip_first - segment.skip_last) {
      case 0:
        add_segment<0, M>(sum, a, run.a_pixel, b, segment.k);
        break;
      case 1:
        add_segment<kOne, M>(sum, a, run.a_pixel, b, segment.k);
        break;
      case 2:
        add_segment<kTwo, M>(sum, a, run.a_pixel, b, segment.k);
        break;
      case -1:
        add_segment<0, M - kOne>(sum, a, run.a_pixel, b, segment.k);
        break;
      case -2:
        add_segment<0, M - kTwo>(sum, a, run.a_pixel, b, segment.k);
        break;
      default:
        assert(false);
    }
  }
  store_tile(sum, to, 0);
}

// The lanes of a vector, added in an order that doesn't depend on the tile.
TAPWISE_INLINE float add_lanes(Vec v) {
  float lane[kLanes];
  store(lane, v);
  for (int width = kLanes / 2; width > 0; width /= 2)
    for (int i = 0; i < width; ++i) lane[i] += lane[i + width];
  return lane[0];
}

template <int P, int O>
void dot_tile(const Run& run, Index first, const float* w, Index w_row, const Store& to) {
  Vec sum[P][O] = {};
  for (Index s = 0; s < run.segment_count; ++s) {
    const Segment& segment = run.segments[s];
    const float* a = run.a + first * run.a_pixel + segment.a;
    const float* b = w + segment.b;
    const auto multiply_add = [&](Index i, auto get) {
      Vec x[P];
      TAPWISE_UNROLL for (int p = 0; p < P; ++p) x[p] = get(a + p * run.a_pixel + i);
      TAPWISE_UNROLL for (int o = 0; o < O; ++o) {
        const Vec weights = get(b + o * w_row + i);
        TAPWISE_UNROLL for (int p = 0; p < P; ++p) sum[p][o] = fma(x[p], weights, sum[p][o]);
      }
    };
    Index i = 0;
    for (; i + kLanes <= segment.k; i += kLanes) multiply_add(i, [](const float* p) { return load(p); });
    if (i < segment.k) multiply_add(i, [&](const float* p) { return load_part(p, segment.k - i); });
  }
  for (int p = 0; p < P; ++p) {
    Vec row[1][1] = {};
    TAPWISE_UNROLL for (int o = 0; o < O; ++o) row[0][0][o] = add_lanes(sum[p][o]);
    store_tile(row, to, first + p);
  }
}

// Vector v of V that hold `channels`: only the last one may be partly filled, and isn't when Full.
template <int V, bool Full>
TAPWISE_INLINE Vec load_channels(const float* p, int v, Index channels) {
  return Full || v + 1 < V ? load(p + v * kLanes) : load_part(p + v * kLanes, channels - v * kLanes);
}

template <int P, int V, bool Full>
void depthwise_tile(const Run& run, Index first, const float* panel, const Store& to) {
  Vec sum[P][V] = {};
  for (Index s = 0; s < run.segment_count; ++s) {
    const float* a = run.a + first * run.a_pixel + run.segments[s].a;
    const float* b = panel + run.segments[s].b * kPanel;
    TAPWISE_UNROLL for (int v = 0; v < V; ++v) {
      const Vec w = load(b + v * kLanes);
      TAPWISE_UNROLL for (int i = 0; i < P; ++i) sum[i][v] =
          fma(load_channels<V, Full>(a + i * run.a_pixel, v, to.channels), w, sum[i][v]);
    }
  }
  store_tile(sum, to, first);
}

// Calls call.template operator()<M>() for the constant M that equals m.
template <int M, class Call>
TAPWISE_INLINE void with_constant(int m, const Call& call) {
  if (m == M) return call.template operator()<M>();
  if constexpr (M > 1) with_constant<M - 1>(m, call);
}

// Calls call.template operator()<V, Full>() for the vectors that hold `channels`.
template <class Call>
TAPWISE_INLINE void with_vectors(Index channels, const Call& call) {
  if (channels == kPanel) return call.template operator()<2, true>();
  if (channels > kLanes) return call.template operator()<2, false>();
  if (channels == kLanes) return call.template operator()<1, true>();
  call.template operator()<1, false>();
}

// Covers [0, total) with near-equal pieces of at most `largest`.
template <class Visit>
TAPWISE_INLINE void split_evenly(Index total, int largest, const Visit& visit) {
  Index pieces = (total + largest - 1) / largest;
  for (Index first = 0; pieces > 0; --pieces) {
    const Index size = (total - first + pieces - 1) / pieces;
    visit(first, static_cast<int>(size));
    first += size;
  }
}

void gemm_joined_run(const Run& run, const float* panel, const Store& to) {
  split_evenly(run.pixels * run.rows, kTilePixels, [&](Index first, int pixels) {
    with_constant<kTilePixels>(pixels, [&]<int M>() {
      if (to.channels > kLanes)
        gemm_joined_tile<M, 2>(run, first, panel, to);
      else
        gemm_joined_tile<M, 1>(run, first, panel, to);
    });
  });
}

}  // namespace

void gemm_run(const Run& run, const float* panel, const Store& to) {
  if (run.edge) {
    with_constant<kTilePixels>(static_cast<int>(run.pixels), [&]<int M>() {
      if (to.channels > kLanes)
        gemm_edge_tile<M, 2>(run, panel, to);
      else
        gemm_edge_tile<M, 1>(run, panel, to);
    });
    return;
  }
  if constexpr (kJoinsRows)
    if (run.rows > 1) return gemm_joined_run(run, panel, to);
  const int largest = run.a_pixel % kAliasedFloats == 0 ? kAliasedPixels : kTilePixels;
  split_evenly(run.pixels, largest, [&](Index first, int pixels) {
    with_constant<kTilePixels>(pixels, [&]<int M>() {
      if (to.channels > kLanes)
        gemm_tile<M, 2>(run, first, panel, to);
      else
        gemm_tile<M, 1>(run, first, panel, to);
    });
  });
}

void gemm_points(const Points& points, const Run& run, const float* panel, Index channels, bool continues, float* y) {
  if (points.count > 1 && run.pixels > kTilePixels && points.count * points.panel > kNearFloats) {
    Run one = run;
    for (Index i = 0; i < points.count; ++i, one.a += points.a, panel += points.panel, y += points.y)
      gemm_points({1, points.a, points.panel, points.y}, one, panel, channels, continues, y);
    return;
  }
  split_evenly(run.pixels, kTilePixels, [&](Index first, int pixels) {
    const float* const a = run.a + first * run.a_pixel;
    float* const to = y + first * kPanel;
    with_constant<kTilePixels>(pixels, [&]<int M>() {
      if (channels <= kLanes)
        continues ? gemm_point_tile<M, 1, true>(points, run, a, panel, to)
                  : gemm_point_tile<M, 1, false>(points, run, a, panel, to);
      else
        continues ? gemm_point_tile<M, 2, true>(points, run, a, panel, to)
                  : gemm_point_tile<M, 2, false>(points, run, a, panel, to);
    });
  });
}

void dot_run(const Run& run, const float* w, Index w_row, const Store& to) {
  constexpr int kPixels = kLanes == 16 ? 4 : 2;  // 4 x 4 and 2 x 4 sums leave registers for the operands
  split_evenly(run.pixels, kPixels, [&](Index first, int pixels) {
    with_constant<kPixels>(pixels, [&]<int P>() {
      with_constant<kDotChannels>(static_cast<int>(to.channels),
                                  [&]<int O>() { dot_tile<P, O>(run, first, w, w_row, to); });
    });
  });
}

void depthwise_run(const Run& run, const float* panel, const Store& to) {
  split_evenly(run.pixels, 4, [&](Index first, int pixels) {
    with_constant<4>(pixels, [&]<int P>() {
      with_vectors(to.channels, [&]<int V, bool Full>() { depthwise_tile<P, V, Full>(run, first, panel, to); });
    });
  });
}

}  // namespace tapwise::ISA
