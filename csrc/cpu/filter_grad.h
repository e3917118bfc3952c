// filter_grad.h — the weight gradient of the filters of filter.h, on the same tiles.
//
//   sums[tap, i, o] += x[h, w at tap, first channel of o's group + i] * dy[h, w, o], over a tile's outputs
//
// A tile's dy stays in registers, and a loaded vector of x is multiplied for all the taps and outputs it lies under: 36
// loads for 126 multiply-adds. Beside the input and the outputs zeros are multiplied: a task whose sums hold NaN is
// done again tap by tap, so that 0 * inf is never among them.
#pragma once

#include "filter_walk.h"

namespace tapwise::ISA {
namespace {

// The dy of a tile, zeros where it has no output.
template <int kHeight, int kWidth, bool kChecked, class Lanes>
TAPWISE_INLINE void load_tile(Vec (&dy)[kHeight][kWidth], const Tile& t, const Lanes& lanes) {
  TAPWISE_UNROLL for (int r = 0; r < kHeight; ++r) TAPWISE_UNROLL for (int i = 0; i < kWidth; ++i) {
    const Index count = kChecked && i >= t.outputs ? 0 : lanes.outputs();
    const float* const p = t.y + r * t.y_row + i * t.y_column;
    dy[r][i] = load_part(p, count);
    if (t.fetches) __builtin_prefetch(p + kHeight * t.y_row);
  }
}

template <int kStride, int kHeight, bool kChecked, class Lanes>
TAPWISE_INLINE void grad_3x3(const Tile& t, const Filters& f, const Lanes& lanes) {
  Vec dy[kHeight][kColumns];
  load_tile<kHeight, kColumns, kChecked>(dy, t, lanes);
  float* sums = const_cast<float*>(f.w);
  for (Index input = 0; input < lanes.inputs(); ++input, sums += f.w_input) {
    Vec w[9];
    TAPWISE_UNROLL for (int k = 0; k < 9; ++k) w[k] = load_part(sums + k * f.w_tap, lanes.outputs());
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
          w[ky * 3 + kx] = fma(x, dy[y][i], w[ky * 3 + kx]);
        }
      }
    }
    TAPWISE_UNROLL for (int k = 0; k < 9; ++k) store_part(sums + k * f.w_tap, w[k], lanes.outputs());
  }
}

// kTaps taps of one row.
template <int kStride, int kTaps, bool kChecked, class Lanes>
TAPWISE_INLINE void grad_taps(const Vec (&dy)[1][kWideColumns], const float* x, Index x_column, Range columns,
                              float* sums, Index w_tap, const Lanes& lanes, Index input) {
  Vec w[kTaps];
  TAPWISE_UNROLL for (int k = 0; k < kTaps; ++k) w[k] = load_part(sums + k * w_tap, lanes.outputs());
  TAPWISE_UNROLL for (int j = 0; j < (kWideColumns - 1) * kStride + kTaps; ++j) {
    if (kStride > kTaps && j % kStride >= kTaps) continue;
    if (kChecked && (j < columns.first || j >= columns.last)) continue;
    const Vec v = lanes.at(x + j * x_column, input);
    TAPWISE_UNROLL for (int k = 0; k < kTaps; ++k) {
      if (j < k || (j - k) % kStride || (j - k) / kStride >= kWideColumns) continue;
      w[k] = fma(v, dy[0][(j - k) / kStride], w[k]);
    }
  }
  TAPWISE_UNROLL for (int k = 0; k < kTaps; ++k) store_part(sums + k * w_tap, w[k], lanes.outputs());
}

template <int kStride, bool kChecked, class Lanes>
TAPWISE_INLINE void grad_wide(const Tile& t, const Filters& f, const Lanes& lanes) {
  Vec dy[1][kWideColumns];
  load_tile<1, kWideColumns, kChecked>(dy, t, lanes);
  for (Index input = 0; input < lanes.inputs(); ++input)
    for (Index d = t.depths.first; d < t.depths.last; ++d)
      for (Index r = t.rows.first; r < t.rows.last; ++r) {
        const float* x = t.x + d * t.x_depth + r * t.x_row;
        float* const w = const_cast<float*>(f.w) + input * f.w_input + (d * f.height + r) * f.width * f.w_tap;
        const auto add = [&]<int kCount>(Index k) {
          const Range columns = {t.columns.first - k, t.columns.last - k};
          grad_taps<kStride, kCount, kChecked>(dy, x + k * t.x_column, t.x_column, columns, w + k * f.w_tap, f.w_tap,
                                               lanes, input);
        };
        Index k = 0;
        for (; k + 4 <= f.width; k += 4) add.template operator()<4>(k);
        if (k + 2 <= f.width) add.template operator()<2>(k), k += 2;
        if (k < f.width) add.template operator()<1>(k);
      }
}

// Tap by tap, of any stride, and nothing outside the input. `height` rows of outputs.
template <class Lanes>
TAPWISE_INLINE void grad_any(const Tile& t, const Filters& f, const Lanes& lanes, Index height, Index row_stride) {
  const Index count = lanes.outputs();
  for (Index input = 0; input < lanes.inputs(); ++input)
    for (Index d = t.depths.first; d < t.depths.last; ++d)
      for (Index y = 0; y < height; ++y)
        for (Index r = 0; r < f.height; ++r) {
          const Index row = y * row_stride + r;
          if (row < t.rows.first || row >= t.rows.last) continue;
          for (Index k = 0; k < f.width; ++k) {
            float* const sums =
                const_cast<float*>(f.w) + input * f.w_input + ((d * f.height + r) * f.width + k) * f.w_tap;
            Vec w = load_part(sums, count);
            for (Index i = 0; i < t.outputs; ++i) {
              const Index j = i * t.stride + k;
              if (j < t.columns.first || j >= t.columns.last) continue;
              const Vec x = lanes.at(t.x + d * t.x_depth + row * t.x_row + j * t.x_column, input);
              w = fma(x, load_part(t.y + y * t.y_row + i * t.y_column, count), w);
            }
            store_part(sums, w, count);
          }
        }
}

template <int kStride, int kHeight, bool kChecked>
struct Grad3x3 {
  template <class Lanes>
  static TAPWISE_INLINE void run(const Tile& t, const Filters& f, const Lanes& lanes) {
    grad_3x3<kStride, kHeight, kChecked>(t, f, lanes);
  }
};

template <int kStride, bool kChecked>
struct GradWide {
  template <class Lanes>
  static TAPWISE_INLINE void run(const Tile& t, const Filters& f, const Lanes& lanes) {
    grad_wide<kStride, kChecked>(t, f, lanes);
  }
};

template <int kHeight>
struct GradAny {
  template <class Lanes>
  static TAPWISE_INLINE void run(const Tile& t, const Filters& f, const Lanes& lanes) {
    grad_any(t, f, lanes, kHeight, t.stride);  // tiles of several rows have one stride both ways
  }
};

struct TapByTap {
  template <class Technique>
  static void run(const Tile& t, bool, int height, const Filters& f, const Technique& technique, Index v0, Index v1) {
    if (height == 1) return for_each_lanes<GradAny<1>>(t, f, technique, v0, v1);
    for_each_lanes<GradAny<kRows>>(t, f, technique, v0, v1);
  }
};

struct GradTiles {
  template <int kStride, class Technique>
  static void run_square(const Tile& t, int height, const Filters& f, const Technique& technique, Index v0, Index v1) {
    const bool whole = t.outputs == kColumns && t.rows.first == 0 && t.rows.last == (height - 1) * kStride + 3 &&
                       t.columns.first == 0 && t.columns.last == (kColumns - 1) * kStride + 3;
    if (height == kRows && whole) return for_each_lanes<Grad3x3<kStride, kRows, false>>(t, f, technique, v0, v1);
    if (height == kRows) return for_each_lanes<Grad3x3<kStride, kRows, true>>(t, f, technique, v0, v1);
    for_each_lanes<Grad3x3<kStride, 1, true>>(t, f, technique, v0, v1);
  }

  template <class Technique>
  static void run(const Tile& t, bool square, int height, const Filters& f, const Technique& technique, Index v0,
                  Index v1) {
    if (square && t.stride == 1) return run_square<1>(t, height, f, technique, v0, v1);
    if (square) return run_square<2>(t, height, f, technique, v0, v1);
    const bool whole =
        t.outputs == kWideColumns && t.columns.first == 0 && t.columns.last == (kWideColumns - 1) * t.stride + f.width;
    if (t.stride > 2) return TapByTap::run(t, false, 1, f, technique, v0, v1);
    if (t.stride == 1 && whole) return for_each_lanes<GradWide<1, false>>(t, f, technique, v0, v1);
    if (t.stride == 1) return for_each_lanes<GradWide<1, true>>(t, f, technique, v0, v1);
    if (whole) return for_each_lanes<GradWide<2, false>>(t, f, technique, v0, v1);
    for_each_lanes<GradWide<2, true>>(t, f, technique, v0, v1);
  }
};

// Clears rows of sums, `row` floats apart, or finds a NaN in them.
TAPWISE_INLINE void clear_rows(float* sums, Index rows, Index row, Index columns) {
  for (Index i = 0; i < rows; ++i) clear(sums + i * row, columns);
}
TAPWISE_INLINE bool holds_nan(const float* sums, Index rows, Index row, Index columns) {
  for (Index i = 0; i < rows; ++i)
    for (Index o = 0; o < columns; o += kLanes)
      if (any_nan(load_part(sums + i * row + o, least<Index>(kLanes, columns - o)))) return true;
  return false;
}

// The tasks of a split, (panels, chunk): a task adds the blocks of its chunk into its columns of the chunk's sums.
template <class Technique>
TAPWISE_INLINE void filter_grad_weight(const Conv& conv, const Split& split, const float* x, const float* dy,
                                       float* sums, float* scratch, const Technique& technique, Index begin,
                                       Index end) {
  const Sides s = forward_sides(conv);
  const bool planes = s.layout == Layout::channels_first;
  const Index units = s.n * s.d.out * split.row_blocks * split.col_blocks;
  const Index rows = s.d.k * s.h.k * s.w.k * s.from_channels, row = s.groups * s.to_channels;
  for (Index index = begin; index < end; ++index) {
    const Index chunk = index % split.chunks, panel0 = index / split.chunks * split.task_panels;
    const Index v0 = panel0 * Technique::kVectors;
    const Index v1 = least(technique.vectors, least(split.panels, panel0 + split.task_panels) * Technique::kVectors);
    const Index i0 = technique.from_channel(v0), i1 = technique.from_channel(v1 - 1) + technique.inputs(v1 - 1);
    const Index o0 = technique.channel(v0), o1 = technique.channel(v1 - 1) + technique.outputs(v1 - 1);
    float* const own = sums + chunk * rows * row;
    const Index tap = s.from_channels * row;
    const Filters filters = {
        s.d.k, s.h.k, s.w.k, own, row, s.h.k * s.w.k * tap, s.w.k * tap, tap, nullptr, Activation::none, 0};
    const auto add_blocks = [&](auto tiles) {
      clear_rows(own + o0, rows, row, o1 - o0);
      for (Index unit = chunk * units / split.chunks; unit < (chunk + 1) * units / split.chunks; ++unit) {
        const Block b = block_at(s, split, unit);
        const Part part = part_of(s, b, i0, i1);
        const Region from = read_region(s, b, x, planes, part, i1 - i0, scratch);
        float* const copy = scratch + (planes ? part_floats(part, i1 - i0) : 0);
        const Region gradient = output_region(s, b, dy, o0, o1, copy, true);
        filter_block<decltype(tiles)>(s, b, from, gradient, nullptr, filters, technique, v0, v1, split.streams, false);
      }
    };
    add_blocks(GradTiles{});
    if (holds_nan(own + o0, rows, row, o1 - o0)) add_blocks(TapByTap{});
  }
}

}  // namespace
}  // namespace tapwise::ISA
