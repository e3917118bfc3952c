// outer.h — the micro-kernel of weight gradients: sums (rows, channels) = x' dy, summed over pixels in registers.
//
// A tile of M rows x V vectors takes M broadcasts of x and V loads of dy for M * V multiply-adds a pixel. It meets
// memory once for all pixels of a call, so calls should be of 100 pixels and more.
#pragma once

#include "vec.h"

namespace tapwise::ISA {
namespace {

constexpr Index kLineFloats = 16;  // of a cache line

// Where the pixels lie: anywhere, or evenly.
struct ListedPixels {
  const Index *x, *dy;
  TAPWISE_INLINE Index x_at(Index p) const { return x[p]; }
  TAPWISE_INLINE Index dy_at(Index p) const { return dy[p]; }
};
struct EvenPixels {
  Index x, dy;
  TAPWISE_INLINE Index x_at(Index p) const { return p * x; }
  TAPWISE_INLINE Index dy_at(Index p) const { return p * dy; }
};

// sums of one call, `row` floats from one to the next; added to what is there, or stored.
struct OuterSums {
  float* data;
  Index row;
  bool add;
};

// A line of each pixel, at + offsets[pixel], or none.
struct PixelLine {
  const float* at;
  const Index* offsets;
};

// Lines of the pixels that a later call reads: each register tile asks for one of them.
struct Ahead {
  const float *x, *dy;
  Index x_lines, dy_lines;

  TAPWISE_INLINE PixelLine next(const ListedPixels& pixels) {
    if (x_lines > 0) return {x + --x_lines * kLineFloats, pixels.x};
    if (dy_lines > 0) return {dy + --dy_lines * kLineFloats, pixels.dy};
    return {nullptr, nullptr};
  }
  TAPWISE_INLINE PixelLine next(const EvenPixels&) { return {nullptr, nullptr}; }
};

template <int M, int V, bool kFull, bool kAhead, class Pixels>
void outer_tile(const Pixels& pixels, Index count, const float* x, const float* dy, Index channels,
                const PixelLine& line, const OuterSums& to) {
  Vec sum[M][V] = {};
  TAPWISE_UNROLL for (int i = 0; i < M; ++i) TAPWISE_UNROLL for (int v = 0; v < V; ++v)
      __builtin_prefetch(to.data + i * to.row + v * kLanes, 1);  // until the end of the loop
  const Index last = channels - (V - 1) * kLanes;
  for (Index p = 0; p < count; ++p) {
    const float *a = x + pixels.x_at(p), *b = dy + pixels.dy_at(p);
    if constexpr (kAhead) __builtin_prefetch(line.at + line.offsets[p], 0, 2);  // no further than the L2
    Vec d[V];
    TAPWISE_UNROLL for (int v = 0; v < V; ++v) d[v] =
        kFull || v + 1 < V ? load(b + v * kLanes) : load_part(b + v * kLanes, last);
    TAPWISE_UNROLL for (int i = 0; i < M; ++i) {
      const Vec s = splat(a[i]);
      TAPWISE_UNROLL for (int v = 0; v < V; ++v) sum[i][v] = fma(s, d[v], sum[i][v]);
    }
  }
  TAPWISE_UNROLL for (int i = 0; i < M; ++i) TAPWISE_UNROLL for (int v = 0; v < V; ++v) {
    float* const at = to.data + i * to.row + v * kLanes;
    if (kFull || v + 1 < V)
      store(at, to.add ? load(at) + sum[i][v] : sum[i][v]);
    else
      store_part(at, to.add ? load_part(at, last) + sum[i][v] : sum[i][v], last);
  }
}

template <int M, bool kAhead, class Pixels>
TAPWISE_INLINE void outer_tile(int rows, const Pixels& pixels, Index count, const float* x, const float* dy,
                               Index channels, const PixelLine& line, const OuterSums& to) {
  if (rows < M) {
    if constexpr (M > 1) outer_tile<M - 1, kAhead>(rows, pixels, count, x, dy, channels, line, to);
    return;
  }
  if (channels == kPanel) return outer_tile<M, 2, true, kAhead>(pixels, count, x, dy, channels, line, to);
  if (channels > kLanes) return outer_tile<M, 2, false, kAhead>(pixels, count, x, dy, channels, line, to);
  if (channels == kLanes) return outer_tile<M, 1, true, kAhead>(pixels, count, x, dy, channels, line, to);
  outer_tile<M, 1, false, kAhead>(pixels, count, x, dy, channels, line, to);
}

// sums[i, o] = sum over pixels p of x[p, i] * dy[p, o], for i < rows and o < channels (<= kPanel). Rows are split into
// near-equal tiles.
template <class Pixels>
void outer_product(const Pixels& pixels, Index count, const float* x, Index rows, const float* dy, Index channels,
                   Ahead& ahead, OuterSums to) {
  for (Index tiles = (rows + kTilePixels - 1) / kTilePixels; tiles > 0; --tiles) {
    const int now = static_cast<int>((rows + tiles - 1) / tiles);
    const PixelLine line = ahead.next(pixels);
    if (line.at)
      outer_tile<kTilePixels, true>(now, pixels, count, x, dy, channels, line, to);
    else
      outer_tile<kTilePixels, false>(now, pixels, count, x, dy, channels, line, to);
    x += now, rows -= now;
    to.data += now * to.row;
  }
}

}  // namespace
}  // namespace tapwise::ISA
