// filter_walk.h — covers a block of outputs with the tiles of filter.h, all vectors of channels on each tile.
#pragma once

#include "filter.h"

namespace tapwise::ISA {
namespace {

// Runs a kind of tile on vectors [v0, v1) of the technique: a whole vector takes no masks.
template <class Kind, class Technique>
void for_each_lanes(const Tile& tile, const Filters& filters, const Technique& technique, Index v0, Index v1) {
  for (Index v = v0; v < v1; ++v) {
    Tile t = tile;
    Filters f = filters;
    const Index channel = technique.channel(v);
    t.x += technique.from_channel(v);
    t.y += channel;
    if (t.residual) t.residual += channel;
    if (f.b) f.b += channel;
    f.w += technique.weights(v);
    if (technique.is_full(v))
      Kind::run(t, f, technique.template lanes<true>(v));
    else
      Kind::run(t, f, technique.template lanes<false>(v));
  }
}

template <int kStride, int kHeight, bool kChecked>
struct Tile3x3 {
  template <class Lanes>
  static TAPWISE_INLINE void run(const Tile& t, const Filters& f, const Lanes& lanes) {
    tile_3x3<kStride, kHeight, kChecked>(t, f, lanes);
  }
};

template <int kStride, bool kChecked>
struct TileWide {
  template <class Lanes>
  static TAPWISE_INLINE void run(const Tile& t, const Filters& f, const Lanes& lanes) {
    tile_wide<kStride, kChecked>(t, f, lanes);
  }
};

template <int kStride, class Technique>
void run_3x3(const Tile& t, int height, const Filters& f, const Technique& technique, Index v0, Index v1) {
  const bool whole = t.outputs == kColumns && t.rows.first == 0 && t.rows.last == (height - 1) * kStride + 3 &&
                     t.columns.first == 0 && t.columns.last == (kColumns - 1) * kStride + 3;
  if (height == kRows && whole) return for_each_lanes<Tile3x3<kStride, kRows, false>>(t, f, technique, v0, v1);
  if (height == kRows) return for_each_lanes<Tile3x3<kStride, kRows, true>>(t, f, technique, v0, v1);
  for_each_lanes<Tile3x3<kStride, 1, true>>(t, f, technique, v0, v1);
}

template <int kStride, class Technique>
void run_wide(const Tile& t, const Filters& f, const Technique& technique, Index v0, Index v1) {
  const bool whole = kStride > 0 && t.outputs == kWideColumns && t.columns.first == 0 &&
                     t.columns.last == (kWideColumns - 1) * kStride + f.width;
  if (whole) return for_each_lanes<TileWide<kStride, kStride == 0>>(t, f, technique, v0, v1);
  for_each_lanes<TileWide<kStride, true>>(t, f, technique, v0, v1);
}

// Tiles of outputs, summed over the taps.
struct SumTiles {
  template <class Technique>
  static void run(const Tile& t, bool square, int height, const Filters& f, const Technique& technique, Index v0,
                  Index v1) {
    if (square && t.stride == 1) return run_3x3<1>(t, height, f, technique, v0, v1);
    if (square) return run_3x3<2>(t, height, f, technique, v0, v1);
    if (t.stride == 1) return run_wide<1>(t, f, technique, v0, v1);
    if (t.stride == 2) return run_wide<2>(t, f, technique, v0, v1);
    run_wide<0>(t, f, technique, v0, v1);
  }
};

// Runs tiles of a block on vectors [v0, v1); residual is laid out as `to`, or null. Filters' w is that of vector 0.
template <class Tiles, class Technique>
TAPWISE_INLINE void filter_block(const Sides& s, const Block& b, const Region& from, const Region& to,
                                 const float* residual, const Filters& f, const Technique& technique, Index v0,
                                 Index v1, bool fetches, bool streams) {
  const Grid d = grid_of(s.d), h = grid_of(s.h), w = grid_of(s.w);
  const bool square = s.d.k == 1 && s.h.k == 3 && s.w.k == 3 && h.stride == w.stride && h.stride <= 2;
  const Index tile_rows = square ? kRows : 1, tile_columns = square ? kColumns : kWideColumns;
  const Index in_d = b.d * s.d.stride - s.d.pad;
  Tile t = {};
  t.fetches = fetches, t.streams = streams;
  t.x_depth = d.dilation * from.d_step, t.x_row = h.dilation * from.h_step, t.x_column = w.dilation * from.w_step;
  t.y_row = h.step * to.h_step, t.y_column = w.step * to.w_step;
  t.depths = inside(in_d, d.dilation, s.d.in, s.d.k);
  t.stride = w.stride;
  const auto tile_at = [&](Index out_h, Index out_w, Index height) {
    const Index in_h = out_h * s.h.stride - s.h.pad, in_w = out_w * s.w.stride - s.w.pad;
    t.rows = inside(in_h, h.dilation, s.h.in, (height - 1) * h.stride + s.h.k);
    if (square && t.depths.first == t.depths.last) t.rows = {0, 0};
    t.columns = inside(in_w, w.dilation, s.w.in, (t.outputs - 1) * w.stride + s.w.k);
    t.x = from.data + in_d * from.d_step + in_h * from.h_step + in_w * from.w_step - from.channel;
    const Index at = offset(to, b.d, out_h, out_w) - to.channel;
    t.y = const_cast<float*>(to.data) + at;
    t.residual = residual ? residual + at : nullptr;
    Tiles::run(t, square, static_cast<int>(height), f, technique, v0, v1);
  };
  for (Index h0 = b.h0; h0 < least(b.h1, b.h0 + h.step); ++h0)
    for (Index out_h = h0; out_h < b.h1;) {
      const Index height = least(tile_rows, (b.h1 - out_h + h.step - 1) / h.step);
      for (Index w0 = b.w0; w0 < least(b.w1, b.w0 + w.step); ++w0) {
        const Index total = (b.w1 - w0 + w.step - 1) / w.step;
        Index tiles = (total + tile_columns - 1) / tile_columns;
        for (Index first = 0; tiles > 0; --tiles, first += t.outputs) {
          t.outputs = (total - first + tiles - 1) / tiles;
          tile_at(out_h, w0 + first * w.step, height);
        }
      }
      out_h += height * h.step;
    }
}

// Weights [vector][input][tap][tap_floats], or before a vector's first one where tap_floats is negative.
TAPWISE_INLINE Filters filters_of(const Sides& s, const float* w, Index tap_floats, const Epilogue& e) {
  const Index row = s.w.k * tap_floats, depth = s.h.k * row, input = s.d.k * depth;
  return {s.d.k, s.h.k, s.w.k, w, input < 0 ? -input : input, depth, row, tap_floats, e.b, e.activation, e.alpha};
}

// A pass over a block of a task.
struct ForwardPass {
  template <class Technique>
  static void run(const Sides& s, const Block& b, const Region& from, const Region& to, const float* residual,
                  const Filters& f, const Technique& technique, Index v0, Index v1, bool fetches, bool streams) {
    filter_block<SumTiles>(s, b, from, to, residual, f, technique, v0, v1, fetches, streams);
  }
};

// The tasks of a split whose panels are technique.kVectors vectors. Of channels_first arrays a task copies its part.
template <class Pass, class Technique>
TAPWISE_INLINE void filter(const Sides& s, const Split& split, const Epilogue& e, const float* x,
                           const Weights& weights, float* y, float* scratch, const Technique& technique, Index begin,
                           Index end) {
  const bool planes = s.layout == Layout::channels_first;
  const Filters filters = filters_of(s, weights.packed, technique.tap_floats, e);
  // Neighbouring pixels of a transposed pass are stored apart, so that they mustn't share a cache line.
  const Index whole = s.transposed && s.w.stride > 1 ? 16 : 4;
  const bool aligned = reinterpret_cast<std::uintptr_t>(y) % static_cast<std::uintptr_t>(4 * whole) == 0 &&
                       s.groups * s.to_channels % whole == 0 && technique.channel(1) % 4 == 0;
  const bool streams = split.streams && aligned && !Rectifier(e.activation).rest;
  for (Index index = begin; index < end; ++index) {
    const Task task = task_at(s, split, index);
    const Block& b = task.block;
    const Index v0 = task.panel0 * Technique::kVectors,
                v1 = least(technique.vectors, task.panel1 * Technique::kVectors);
    const Index i0 = technique.from_channel(v0), i1 = technique.from_channel(v1 - 1) + technique.inputs(v1 - 1);
    const Index o0 = technique.channel(v0), o1 = technique.channel(v1 - 1) + technique.outputs(v1 - 1);
    float* copy = scratch;
    const Part part = part_of(s, b, i0, i1);
    const Region from = read_region(s, b, x, planes, part, i1 - i0, copy);
    if (planes) copy += part_floats(part, i1 - i0);
    const float* residual = e.residual ? output_region(s, b, e.residual, o0, o1, copy, true).data : nullptr;
    const Region to = output_region(s, b, y, o0, o1, copy, false);
    Pass::run(s, b, from, to, residual, filters, technique, v0, v1, split.streams, streams);
    if (planes) write_block(s, b, copy, o0, o1, y);
  }
  if (streams) stream_end();
}

}  // namespace
}  // namespace tapwise::ISA
