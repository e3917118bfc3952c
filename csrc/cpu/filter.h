// filter.h — tiles of outputs whose lanes are channels: of filters over one channel each, or over groups of a few.
//
//   y[h, w, o] = b[o] + sum over taps and i < inputs of x[h, w at tap, first channel of o's group + i] * w[i, tap, o]
//
// A tile of kRows x kColumns outputs (3x3), or 1 x kWideColumns, stays in registers over the whole sum, and a vector of
// the input is loaded once for all the taps and outputs that read it: 36 loads for 126 multiply-adds of a 2 x 7 tile.
// Of a group the loaded vector is permuted, once for each of its inputs, so that each output finds its own.
//
// What is larger than the caches is stored past them, and a tile fetches the rows of the tile below: 144 channels @56,
// 16 images, 53 GFLOP/s with neither, 65 and 88 with one of them, 144-186 with both. Smaller layers lose 3-20 %.
//
// Outputs and inputs are taken `dilation` apart (see Grid), so that a dilated filter is a plain one. At the border a
// tile is `checked`: columns and rows outside the input are skipped, never multiplied: 0 * inf is NaN.
#pragma once

#include "activation.h"
#include "task.h"

namespace tapwise::ISA {
namespace {

#if defined(__AVX512F__) || defined(__aarch64__)
inline constexpr int kColumns = 7, kWideColumns = 14;  // of 32 registers: 14 sums, 9 weights
#else
inline constexpr int kColumns = 4, kWideColumns = 8;
#endif
inline constexpr int kRows = 2;

struct Range {
  Index first, last;
};

// Outputs `step` apart read inputs `dilation` apart at this stride: o = first + j * step gives
// o * axis.stride + tap * axis.dilation = first * axis.stride + (j * stride + tap) * axis.dilation.
struct Grid {
  Index step, stride, dilation;
};

TAPWISE_INLINE Grid grid_of(const Axis& a) {
  if (a.k == 1) return {1, a.stride, 1};
  Index divisor = a.dilation;
  while (a.dilation % divisor != 0 || a.stride % divisor != 0) --divisor;
  return {a.dilation / divisor, a.stride / divisor, a.dilation};
}

// Of `count` positions that are `dilation` apart, from `first` on, those in [0, in).
TAPWISE_INLINE Range inside(Index first, Index dilation, Index in, Index count) {
  const Index from = first >= 0 ? 0 : dilation == 1 ? -first : ceil_divide(-first, dilation);
  const Index to = dilation == 1 ? in - first : ceil_divide(in - first, dilation);
  return {from, most(from, least(count, to))};
}

// A tile and the input under it; rows and columns are counted in steps of the grid.
struct Tile {
  const float* x;                  // of the first output's first tap, which may lie outside the input
  Index x_depth, x_row, x_column;  // floats from one to the next
  Range depths, rows, columns;     // of the input, from x on: rows of a 3x3 tile, taps of a wide one
  Index stride;                    // of the columns
  float* y;
  const float* residual;  // or null
  Index y_row, y_column;
  Index outputs;  // columns
  Index skipped;  // of them, pairs: the first ones
  bool fetches;   // the rows of the tile below
  bool streams;   // past the caches
};

// What a sum of one vector of outputs needs beside the tile.
struct Filters {
  Index depths, height, width;  // of the kernel
  const float* w;               // of the first tap
  Index w_input;                // floats from one input of the group to the next
  Index w_depth, w_row, w_tap;
  const float* b;  // or null
  Activation activation;
  float alpha;
};

template <bool kFull>
struct OwnChannel {
  static constexpr Index kInputs = 1;
  Index count;

  TAPWISE_INLINE Index inputs() const { return 1; }
  TAPWISE_INLINE Index outputs() const { return kFull ? kLanes : count; }
  TAPWISE_INLINE Vec at(const float* x, Index) const { return kFull ? load(x) : load_part(x, count); }
};

template <bool kFull>
struct GroupChannels {
  Index group_inputs, in_count, out_count;
  IntVec first;  // the lane of each output's group's first input

  TAPWISE_INLINE Index inputs() const { return group_inputs; }
  TAPWISE_INLINE Index outputs() const { return kFull ? kLanes : out_count; }
  TAPWISE_INLINE Vec at(const float* x, Index i) const {
    return permute(kFull ? load(x) : load_part(x, in_count), first + static_cast<std::int32_t>(i));
  }
};

template <int kHeight, int kWidth, class Lanes>
TAPWISE_INLINE void store_tile(const Vec (&sum)[kHeight][kWidth], const Tile& t, const Filters& f, const Lanes& lanes,
                               Index outputs, Index first = 0) {
  const Index count = lanes.outputs();
  const Rectifier rectified(f.activation);
  TAPWISE_UNROLL for (int r = 0; r < kHeight; ++r) TAPWISE_UNROLL for (int i = 0; i < kWidth; ++i) {
    if (i >= outputs) break;
    if (i < first) continue;
    const Index at = r * t.y_row + i * t.y_column;
    Vec y = sum[r][i];
    if (t.residual) y += load_part(t.residual + at, count);
    if (rectified.on) y = rectified(y);
    if (t.streams && count == kLanes)
      stream(t.y + at, y);
    else
      store_part(t.y + at, y, count);
  }
  if (rectified.rest)
    for (int r = 0; r < kHeight; ++r)
      for (Index i = first; i < outputs; ++i)
        activate(f.activation, f.alpha, t.y + r * t.y_row + i * t.y_column, count);
}

// kHeight x kColumns outputs of a 3x3 filter at stride kStride in both directions.
template <int kStride, int kHeight, bool kChecked, class Lanes>
TAPWISE_INLINE void tile_3x3(const Tile& t, const Filters& f, const Lanes& lanes) {
  Vec sum[kHeight][kColumns];
  const Vec b = f.b ? load_part(f.b, lanes.outputs()) : Vec{};
  TAPWISE_UNROLL for (int r = 0; r < kHeight; ++r) TAPWISE_UNROLL for (int i = 0; i < kColumns; ++i) sum[r][i] = b;
  const float* weights = f.w;
  for (Index input = 0; input < lanes.inputs(); ++input, weights += f.w_input) {
    Vec w[9];
    TAPWISE_UNROLL for (int k = 0; k < 9; ++k) w[k] = load(weights + k / 3 * f.w_row + k % 3 * f.w_tap);
    TAPWISE_UNROLL for (int r = 0; r < (kHeight - 1) * kStride + 3; ++r) {
      if (kChecked && (r < t.rows.first || r >= t.rows.last)) continue;
      const float* row = t.x + r * t.x_row;
      TAPWISE_UNROLL for (int j = 0; j < (kColumns - 1) * kStride + 3; ++j) {
        if (kChecked && (j < t.columns.first || j >= t.columns.last)) continue;
        const Vec x = lanes.at(row + j * t.x_column, input);
        if (t.fetches && r >= 3 - kStride && j < kColumns * kStride)
          __builtin_prefetch(row + kHeight * kStride * t.x_row + j * t.x_column);
        TAPWISE_UNROLL for (int ky = 0; ky < 3; ++ky) TAPWISE_UNROLL for (int kx = 0; kx < 3; ++kx) {
          const int y = (r - ky) / kStride, i = (j - kx) / kStride;
          if (r < ky || j < kx || (r - ky) % kStride || (j - kx) % kStride || y >= kHeight || i >= kColumns) continue;
          sum[y][i] = fma(x, w[ky * 3 + kx], sum[y][i]);
        }
      }
    }
  }
  store_tile(sum, t, f, lanes, kChecked ? t.outputs : kColumns);
}

// Adds kTaps taps of one row to kWideColumns outputs; `columns` are those of the input, from x on.
template <int kStride, int kTaps, bool kChecked, class Lanes>
TAPWISE_INLINE void add_taps(Vec (&sum)[1][kWideColumns], const float* x, Index x_column, Range columns,
                             const float* weights, Index w_tap, const Lanes& lanes, Index input) {
  Vec w[kTaps];
  TAPWISE_UNROLL for (int k = 0; k < kTaps; ++k) w[k] = load(weights + k * w_tap);
  TAPWISE_UNROLL for (int j = 0; j < (kWideColumns - 1) * kStride + kTaps; ++j) {
    if (kStride > kTaps && j % kStride >= kTaps) continue;
    if (kChecked && (j < columns.first || j >= columns.last)) continue;
    const Vec v = lanes.at(x + j * x_column, input);
    TAPWISE_UNROLL for (int k = 0; k < kTaps; ++k) {
      if (j < k || (j - k) % kStride || (j - k) / kStride >= kWideColumns) continue;
      sum[0][(j - k) / kStride] = fma(v, w[k], sum[0][(j - k) / kStride]);
    }
  }
}

// kWideColumns outputs of a row under a filter of any size. kStride 0: any other stride, one tap at a time.
template <int kStride, bool kChecked, class Lanes>
TAPWISE_INLINE void tile_wide(const Tile& t, const Filters& f, const Lanes& lanes) {
  constexpr int kTaps = kStride == 0 ? 1 : 4, kStep = kStride == 0 ? 1 : kStride;
  Vec sum[1][kWideColumns];
  const Vec b = f.b ? load_part(f.b, lanes.outputs()) : Vec{};
  TAPWISE_UNROLL for (int i = 0; i < kWideColumns; ++i) sum[0][i] = b;
  const Index step = kStride == 0 ? t.stride : 1;
  // Taps outside of which no output's column lies in the input.
  const Index first = kChecked ? most<Index>(0, t.columns.first - (t.outputs - 1) * t.stride) : 0;
  const Index last = kChecked ? least(f.width, t.columns.last) : f.width;
  for (Index input = 0; input < lanes.inputs(); ++input)
    for (Index d = t.depths.first; d < t.depths.last; ++d)
      for (Index r = t.rows.first; r < t.rows.last; ++r) {
        const float* x = t.x + d * t.x_depth + r * t.x_row;
        const float* w = f.w + input * f.w_input + d * f.w_depth + r * f.w_row;
        const auto add = [&]<int kCount>(Index k) {
          // Inputs that only a missing output reads are left out with those outside.
          const Index end = least(t.columns.last, (t.outputs - 1) * t.stride + k + kCount);
          const Range columns =
              kStride == 0 ? Range{ceil_divide(most<Index>(0, t.columns.first - k), step), ceil_divide(end - k, step)}
                           : Range{t.columns.first - k, end - k};
          add_taps<kStep, kCount, kChecked>(sum, x + k * t.x_column, step * t.x_column, columns, w + k * f.w_tap,
                                            f.w_tap, lanes, input);
        };
        Index k = first;
        for (; k + kTaps <= last; k += kTaps) add.template operator()<kTaps>(k);
        if constexpr (kTaps > 1) {
          if (k + 2 <= last) add.template operator()<2>(k), k += 2;
          if (k < last) add.template operator()<1>(k);
        }
      }
  store_tile(sum, t, f, lanes, kChecked ? t.outputs : kWideColumns);
}

}  // namespace
}  // namespace tapwise::ISA
