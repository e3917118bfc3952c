// filter_transposed.h — the input gradient of the filters of filter.h, on the same tiles and on tiles of pairs.
//
//   dx[o] = sum over taps t, where stride divides o + pad - t * dilation, of dy[(o + pad - t * dilation) / stride] *
//   w[t]
//
// Outputs a stride apart are under the same taps: a phase, a forward pass over dy with some of the taps, in reverse. So
// no tap is multiplied by an inserted zero. Rows of 3 taps at stride 2 have two phases that read the same dy, and are
// stored together: 144 @56 of one image takes 23 us so, 30 phase by phase.
#pragma once

#include "filter_walk.h"

namespace tapwise::ISA {
namespace {

constexpr Index kPhaseRows = 4;  // of each phase, before the next one: their dy is in the L1 or L2 still

// Of an input gradient: the outputs of an axis that lie a stride apart and so are under the same taps, as a forward
// pass at stride 1 with those taps in reverse, `tap` and then every `step`-th one before it.
struct Phase {
  Axis axis;
  Index first, tap, step;
};

// Those among outputs [o, end) of a transposed axis.
TAPWISE_INLINE Phase phase_from(const Axis& a, Index o, Index end) {
  Index divisor = a.stride;  // the greatest that dilation has too
  for (Index other = a.dilation; other > 0;) {
    const Index rest = divisor % other;
    divisor = other, other = rest;
  }
  const Index step = a.stride / divisor;
  Index tap = 0;
  while (tap < least(a.k, step) && (o + a.pad - tap * a.dilation) % a.stride != 0) ++tap;
  const Index taps = tap < least(a.k, step) ? (a.k - 1 - tap) / step + 1 : 0, dilation = a.dilation / divisor;
  const Index in = taps ? (o + a.pad - tap * a.dilation) / a.stride : 0;
  const Axis axis = {(end - o + a.stride - 1) / a.stride, a.in, taps, 1, dilation, (taps - 1) * dilation - in};
  return {axis, o, tap + (taps - 1) * step, step};
}

// Outputs of both phases of a row, t.depths and t.rows taps of one column phase: w is that of the last of 3 taps.
// t.x and t.y are those of an even o + pad; of the outputs [skipped, t.outputs) are stored.
template <bool kChecked, class Lanes>
TAPWISE_INLINE void tile_pairs(const Tile& t, const Filters& f, const Lanes& lanes) {
  Vec sum[1][kWideColumns];
  const Vec b = f.b ? load_part(f.b, lanes.outputs()) : Vec{};
  TAPWISE_UNROLL for (int i = 0; i < kWideColumns; ++i) sum[0][i] = b;
  for (Index input = 0; input < lanes.inputs(); ++input)
    for (Index d = t.depths.first; d < t.depths.last; ++d)
      for (Index r = t.rows.first; r < t.rows.last; ++r) {
        const float* const x = t.x + d * t.x_depth + r * t.x_row;
        const float* const weights = f.w + input * f.w_input + d * f.w_depth + r * f.w_row;
        Vec w[3];
        TAPWISE_UNROLL for (int k = 0; k < 3; ++k) w[k] = load(weights + k * f.w_tap);
        TAPWISE_UNROLL for (int j = 0; j <= kWideColumns / 2; ++j) {
          if (kChecked && (j < t.columns.first || j >= t.columns.last)) continue;
          const Vec v = lanes.at(x + j * t.x_column, input);
          TAPWISE_UNROLL for (int k = 2; k >= 0; --k) {
            const int i = 2 * j - k;
            if (i >= 0 && i < kWideColumns) sum[0][i] = fma(v, w[k], sum[0][i]);
          }
        }
      }
  store_tile(sum, t, f, lanes, kChecked ? t.outputs : kWideColumns, kChecked ? t.skipped : 0);
}

template <bool kChecked>
struct TilePairs {
  template <class Lanes>
  static TAPWISE_INLINE void run(const Tile& t, const Filters& f, const Lanes& lanes) {
    tile_pairs<kChecked>(t, f, lanes);
  }
};

// Rows i, i + stride, ... of a block, whose taps are d's and h's.
template <class Technique>
void pair_rows(const Sides& s, const Block& b, const Phase& d, const Phase& h, const Region& from, const Region& to,
               const float* residual, const Filters& f, const Technique& technique, Index v0, Index v1, bool streams) {
  Tile t = {};
  t.streams = streams;
  t.x_depth = d.axis.dilation * from.d_step, t.x_row = h.axis.dilation * from.h_step, t.x_column = from.w_step;
  t.y_column = to.w_step;
  t.depths = inside(-d.axis.pad, d.axis.dilation, d.axis.in, d.axis.k);
  const Index odd = (b.w0 + s.w.pad) % 2, w0 = b.w0 - odd;
  for (Index row = 0; row < h.axis.out; ++row) {
    t.rows = inside(row - h.axis.pad, h.axis.dilation, h.axis.in, h.axis.k);
    t.skipped = odd;
    Index tiles = (b.w1 - w0 + kWideColumns - 1) / kWideColumns;
    for (Index w = w0; tiles > 0; --tiles, w += t.outputs, t.skipped = 0) {
      const Index pairs = (b.w1 - w + 1) / 2, in_w = (w + s.w.pad) / 2 - 1;
      t.outputs = least(b.w1 - w, (pairs + tiles - 1) / tiles * 2);
      t.columns = inside(in_w, 1, s.w.in, (t.outputs + 1) / 2 + 1);
      t.x = from.data - d.axis.pad * from.d_step + (row - h.axis.pad) * from.h_step + in_w * from.w_step - from.channel;
      const Index at = offset(to, b.d, h.first + row * s.h.stride, w) - to.channel;
      t.y = const_cast<float*>(to.data) + at;
      t.residual = residual ? residual + at : nullptr;
      const bool whole =
          t.outputs == kWideColumns && t.skipped == 0 && t.columns.first == 0 && t.columns.last == kWideColumns / 2 + 1;
      if (whole)
        for_each_lanes<TilePairs<false>>(t, f, technique, v0, v1);
      else
        for_each_lanes<TilePairs<true>>(t, f, technique, v0, v1);
    }
  }
}

// Technique's first weights are those of the last tap.
struct TransposedPass {
  template <class Technique>
  static void run(const Sides& s, const Block& b, const Region& from, const Region& to, const float* residual,
                  const Filters& f, const Technique& technique, Index v0, Index v1, bool fetches, bool streams) {
    const Phase d = phase_from(s.d, b.d, b.d + 1);
    const Index row = s.w.k, depth = s.h.k * row, last = s.d.k * depth - 1;
    const bool pairs = s.w.k == 3 && s.w.stride == 2 && s.w.dilation == 1;
    const Index rows = pairs ? s.h.stride : kPhaseRows * s.h.stride;
    for (Index first = b.h0; first < b.h1; first += rows) {
      const Index end = least(b.h1, first + rows);
      for (Index i = first; i < least(end, first + s.h.stride); ++i) {
        const Phase h = phase_from(s.h, i, end);
        Filters g = f;
        g.depths = d.axis.k, g.height = h.axis.k;
        g.w_depth = d.step * f.w_depth, g.w_row = h.step * f.w_row;
        g.w += (last - d.tap * depth - h.tap * row) * f.w_tap;
        if (pairs) {
          g.w -= 2 * f.w_tap;
          pair_rows(s, b, d, h, from, to, residual, g, technique, v0, v1, streams);
          continue;
        }
        for (Index j = b.w0; j < least(b.w1, b.w0 + s.w.stride); ++j) {
          const Phase w = phase_from(s.w, j, b.w1);
          Sides phase = s;
          phase.d = d.axis, phase.h = h.axis, phase.w = w.axis;
          Filters one = g;
          one.width = w.axis.k;
          one.w -= w.tap * f.w_tap, one.w_tap = w.step * f.w_tap;
          const Index at = offset(to, b.d, i, j);
          const Region part = {to.data + at, 0, to.h_step * s.h.stride, to.w_step * s.w.stride, to.channel};
          filter_block<SumTiles>(phase, {b.image, 0, 0, h.axis.out, 0, w.axis.out}, from, part,
                                 residual ? residual + at : nullptr, one, technique, v0, v1, fetches, streams);
        }
      }
    }
  }
};

}  // namespace
}  // namespace tapwise::ISA
