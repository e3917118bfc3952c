// gemm.h — the three register-tile kernels, each on a run of pixels that share the same taps.
//
// A segment is a stretch of k channels that lie one after the other in both operands: one tap, or several taps in a row
// where the input has no gap between them. Summation runs over the segments in order, whatever the tile: the bits of a
// pixel don't depend on its neighbours.
#pragma once

#include "vec.h"

namespace tapwise::ISA {

struct Segment {
  Index a;  // offset of the first channel from the run's first pixel
  Index b;  // row of the packed panel
  Index k;
  int skip_first = 0, skip_last = 0;  // pixels at either end for which it is outside the input; at most one isn't 0
};

inline constexpr int kMostSkipped = 2;  // a 5x5's border; gemm_run alone knows them

struct Run {
  const float* a;
  Index a_pixel;  // floats from one pixel of the run to the next
  const Segment* segments;
  Index segment_count;
  Index pixels;
  bool edge = false;  // has segments that skip pixels; one tile
  Index rows = 1;     // so many times `pixels`, a_row apart; gemm_run alone knows them, where kJoinsRows
  Index a_row = 0;
};

// Tiles of 3 to 5 pixels have too few sums to hide the latency of a multiply-add: AVX2's fill up from the next row (3x3
// 512 @7 0.75 to 0.87 of the peak, @14 0.81 to 0.90).
inline constexpr bool kJoinsRows = kTilePixels < 8;

// Where a run's sums go: `channels` (<= kPanel) of each pixel.
struct Store {
  float* y;
  Index y_pixel;
  Index channels;
  const float* b;         // bias of the first channel, or null
  const float* residual;  // laid out as y, or null
  Activation activation;
  float alpha;
};

// y[p, o] = sum over segments and i < k of a[p, i] * panel[b + i, o]
void gemm_run(const Run&, const float* panel, const Store&);

// Products side by side: each with its own pixels, panel and sums, so many floats from one to the next.
struct Points {
  Index count, a, panel, y;
};

// The same for each point, pixels of y kPanel apart and whole: `channels` is kLanes or kPanel. continues: the sums
// begin with y, which earlier channels left there. Of sums of 16 terms a call for each point takes half as long again.
void gemm_points(const Points&, const Run&, const float* panel, Index channels, bool continues, float* y);

// y[p, o] = sum over segments and i < k of a[p, i] * w[o * w_row + b + i], for to.channels <= kDotChannels
inline constexpr int kDotChannels = 4;
void dot_run(const Run&, const float* w, Index w_row, const Store&);

// y[p, o] = sum over segments of a[p, o] * panel[b, o]; every k is 1
void depthwise_run(const Run&, const float* panel, const Store&);

}  // namespace tapwise::ISA
