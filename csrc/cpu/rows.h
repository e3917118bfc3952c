// rows.h — walks the output pixels of a block in runs that share the same taps, for every pass.
//
// An axis relates an output position o to the input positions that its taps touch:
//   forward      in = o * stride - pad + tap * dilation
//   transposed   in = (o + pad - tap * dilation) / stride, where that divides: the input gradient
// Transposed with stride s, every s-th output position has the same taps, so a row is walked in s phases: no tap is
// ever multiplied by an inserted zero. Taps outside the input are left out: 0 * inf is NaN. Only where all weights are
// finite do columns of zeros stand beside a copy of the input, so that the taps of a whole row are the same.
#pragma once

#include "gemm.h"

namespace tapwise::ISA {
namespace {

struct Axis {
  Index out, in, k, stride, dilation, pad;
  Index low = 0, high = in;  // the input positions that are summed: more than [0, in) where zeros surround a copy
};

// The side of a convolution that a pass reads from and the one that it writes to: x and y, or dy and dx.
struct Sides {
  bool transposed;
  Layout layout;
  Index n, groups, from_channels, to_channels;  // channels per group
  Axis d, h, w;
};

TAPWISE_INLINE Sides forward_sides(const Conv& s) {
  return {false,
          s.layout,
          s.n,
          s.groups,
          s.ci / s.groups,
          s.co / s.groups,
          {s.od, s.id, s.kd, s.sd, s.dil_d, s.pf},
          {s.oh, s.ih, s.kh, s.sh, s.dil_h, s.pt},
          {s.ow, s.iw, s.kw, s.sw, s.dil_w, s.pl}};
}

TAPWISE_INLINE Sides transposed_sides(const Conv& s) {
  return {true,
          s.layout,
          s.n,
          s.groups,
          s.co / s.groups,
          s.ci / s.groups,
          {s.id, s.od, s.kd, s.sd, s.dil_d, s.pf},
          {s.ih, s.oh, s.kh, s.sh, s.dil_h, s.pt},
          {s.iw, s.ow, s.kw, s.sw, s.dil_w, s.pl}};
}

// A block of output pixels of one image.
struct Block {
  Index image, d, h0, h1, w0, w1;
};

// One image as pixels of contiguous channels: the array itself, or a copy of the part that a task reads.
struct Region {
  const float* data;  // of position (0, 0, 0), which may lie outside a copied part
  Index d_step, h_step, w_step;
  Index channel;  // the first one
};

TAPWISE_INLINE Index ceil_divide(Index a, Index b) {
  return a > 0 ? (a + b - 1) / b : -(-a / b);
}

TAPWISE_INLINE Index floor_divide(Index a, Index b) {
  return -ceil_divide(-a, b);
}

struct Tap {
  Index index;
  Index in;  // input position at output position 0 of the phase
};

// The taps of output position o that touch the input, at most axis.k.
TAPWISE_INLINE Index taps_at(const Axis& axis, bool transposed, Index o, Tap* taps) {
  Index count = 0;
  for (Index t = 0; t < axis.k; ++t) {
    Index in;
    if (!transposed) {
      in = o * axis.stride - axis.pad + t * axis.dilation;
    } else {
      const Index numerator = o + axis.pad - t * axis.dilation;
      if (numerator % axis.stride != 0) continue;
      in = numerator / axis.stride;
    }
    if (in >= axis.low && in < axis.high) taps[count++] = {t, in};
  }
  return count;
}

// The taps of a column phase, wherever they lie; valid_columns says where they touch the input.
TAPWISE_INLINE Index column_taps(const Axis& axis, bool transposed, Index o, Tap* taps) {
  Index count = 0;
  const bool sparse = transposed && axis.dilation == 1;  // every stride-th tap
  for (Index t = sparse ? (o + axis.pad) - floor_divide(o + axis.pad, axis.stride) * axis.stride : 0; t < axis.k;
       t += sparse ? axis.stride : 1) {
    if (!transposed) {
      taps[count++] = {t, o * axis.stride - axis.pad + t * axis.dilation};
    } else {
      const Index numerator = o + axis.pad - t * axis.dilation;
      if (numerator % axis.stride == 0) taps[count++] = {t, numerator / axis.stride};
    }
  }
  return count;
}

struct Scratch {
  Tap* rows;          // kd * kh
  Tap* columns;       // kw
  Tap* taps;          // kd
  Segment* segments;  // three times kd * kh * kw: an edge on either side of a row, and what lies between
  float* rest;
};

// Carves the walk's own arrays out of a task's scratch; plan.cpp sizes it.
TAPWISE_INLINE Scratch carve(const Sides& s, float* scratch) {
  Scratch c;
  c.rows = reinterpret_cast<Tap*>(scratch);
  c.columns = c.rows + s.d.k * s.h.k;
  c.taps = c.columns + s.w.k;
  c.segments = reinterpret_cast<Segment*>(c.taps + most(s.d.k, s.h.k));
  float* end = reinterpret_cast<float*>(c.segments + 3 * s.d.k * s.h.k * s.w.k);
  c.rest = scratch + (end - scratch + 15) / 16 * 16;
  return c;
}

// The taps of output row h at depth d: index of (kd, kh) and offset of the input row.
TAPWISE_INLINE Index row_taps(const Sides& s, const Region& from, Index d, Index h, const Scratch& c) {
  const Index depths = taps_at(s.d, s.transposed, d, c.taps);
  Index count = 0;
  for (Index i = 0; i < depths; ++i) {
    const Tap depth = c.taps[i];
    const Index rows = taps_at(s.h, s.transposed, h, c.rows + count);
    for (Index j = count; j < count + rows; ++j)
      c.rows[j] = {depth.index * s.h.k + c.rows[j].index, depth.in * from.d_step + c.rows[j].in * from.h_step};
    count += rows;
  }
  return count;
}

// Of `pixels` positions from `in` on, `step` apart: how many lie before the summed positions, and behind them.
struct Skipped {
  Index first, last;
};
TAPWISE_INLINE Skipped skipped(const Axis& axis, Index in, Index pixels, Index step) {
  if (in >= axis.low && in + (pixels - 1) * step < axis.high) return {0, 0};  // two divisions less, of each tap
  const Index first = least(pixels, most<Index>(0, ceil_divide(axis.low - in, step)));
  return {first, pixels - most(first, least(pixels, most<Index>(0, ceil_divide(axis.high - in, step))))};
}

// Segments of the columns [j, j + pixels) of a phase whose columns advance the input by `step`; neighbouring taps merge
// where both operands continue. channel_rows is from_channels, or 1 for depthwise. Returns where they end.
TAPWISE_INLINE Segment* make_segments(const Sides& s, const Region& from, Index channel_rows, const Scratch& c,
                                      Index rows, Index columns, Index j, Index pixels, Index step, bool merge,
                                      Segment* const first) {
  Segment* end = first;
  for (Index r = 0; r < rows; ++r) {
    for (Index t = 0; t < columns; ++t) {
      const Index in = c.columns[t].in + j * step;
      const Skipped skip = skipped(s.w, in, pixels, step);
      if (skip.first + skip.last >= pixels) continue;
      const Segment next = {c.rows[r].in + in * from.w_step,
                            (c.rows[r].index * s.w.k + c.columns[t].index) * channel_rows, channel_rows,
                            static_cast<int>(skip.first), static_cast<int>(skip.last)};
      Segment* last = end - 1;
      if (merge && end > first && last->a + last->k == next.a && last->b + last->k == next.b &&
          last->skip_first == next.skip_first && last->skip_last == next.skip_last)
        last->k += next.k;
      else
        *end++ = next;
    }
  }
  return end;
}

// Columns [first, last) of a phase where all its taps touch the input.
struct Columns {
  Index first, last;
};
TAPWISE_INLINE Columns interior(const Axis& axis, const Tap* taps, Index count, Index step, Index columns) {
  Index lowest = 0, highest = 0;
  for (Index t = 0; t < count; ++t) {
    lowest = t == 0 ? taps[t].in : least(lowest, taps[t].in);
    highest = t == 0 ? taps[t].in : most(highest, taps[t].in);
  }
  if (count == 0) return {0, columns};
  const Index first = most<Index>(0, ceil_divide(axis.low - lowest, step));
  const Index last = least(columns, ceil_divide(axis.high - highest, step));
  return last > first ? Columns{first, last} : Columns{columns, columns};
}

// A part of a row whose pixels share their segments.
struct Piece {
  Index first, pixels;
  Segment *begin, *end;
  bool edge;
};

// A row of a phase in at most three pieces, the outer ones tiles at an edge; 0 where they can't be, or where a tap
// could miss the input on both sides.
TAPWISE_INLINE int cut_row(const Axis& axis, const Columns& whole, Index total, Index step, bool edges, Piece* pieces) {
  if (whole.first == 0 && whole.last == total) {
    pieces[0] = {0, total, nullptr, nullptr, false};
    return 1;
  }
  if (!edges || whole.first > kMostSkipped || total - whole.last > kMostSkipped || whole.last <= whole.first ||
      (total - 1) * step >= axis.high - axis.low)
    return 0;
  const Index tiles = (total + kTilePixels - 1) / kTilePixels;
  if (tiles == 1) {
    pieces[0] = {0, total, nullptr, nullptr, true};
    return 1;
  }
  const Index left = whole.first > 0 ? (total + tiles - 1) / tiles : 0, right = whole.last < total ? total / tiles : 0;
  int count = 0;
  if (left) pieces[count++] = {0, left, nullptr, nullptr, true};
  if (total > left + right) pieces[count++] = {left, total - left - right, nullptr, nullptr, false};
  if (right) pieces[count++] = {total - right, right, nullptr, nullptr, true};
  return count;
}

// Calls visit(run, h, w, w_step) for every run of the block: run.pixels outputs at row h, columns w, w + w_step, ...
// Rows with the same taps, transposed every h.stride-th, have the same segments, `from.h_step` further on, and with
// kJoins neighbouring ones share a run from the second one on.
template <bool kJoins = false, class Visit>
TAPWISE_INLINE void for_each_run(const Sides& s, const Block& block, const Region& from, Index channel_rows, bool merge,
                                 bool edges, const Scratch& c, const Visit& visit) {
  const Index phases = s.transposed ? s.w.stride : 1, step = s.transposed ? 1 : s.w.stride;
  const Index row_phases = s.transposed ? s.h.stride : 1;
  for (Index h0 = block.h0; h0 < least(block.h1, block.h0 + row_phases); ++h0)
    for (Index w = block.w0; w < least(block.w1, block.w0 + phases); ++w) {
      const Index columns = column_taps(s.w, s.transposed, w, c.columns), total = (block.w1 - w + phases - 1) / phases;
      const Columns whole = interior(s.w, c.columns, columns, step, total);
      Piece pieces[3] = {};
      int count = 0;
      Index known = 0, known_first = 0, known_last = 0;  // the taps that the pieces are for; none yet
      const auto is_known = [&](Index rows) {
        return rows == known && rows > 0 && c.rows[0].index == known_first && c.rows[rows - 1].index == known_last;
      };
      for (Index h = h0, joined = 1; h < block.h1; h += joined * row_phases) {
        const Index rows = row_taps(s, from, block.d, h, c), base = rows > 0 ? c.rows[0].in : 0;
        const bool same = count > 0 && is_known(rows);
        Index row_step = 0;
        joined = 1;
        if (kJoins && row_phases == 1 && same && count == 1 && !pieces[0].edge)
          for (; h + joined < block.h1 && is_known(row_taps(s, from, block.d, h + joined, c)); ++joined)
            row_step = (c.rows[0].in - base) / joined;
        const auto visit_piece = [&](const Piece& p) {
          visit(Run{from.data + base, step * from.w_step, p.begin, p.end - p.begin, p.pixels, p.edge, joined, row_step},
                h, w + p.first * phases, phases);
        };
        if (same) {
          for (int i = 0; i < count; ++i) visit_piece(pieces[i]);
          continue;
        }
        for (Index r = 0; r < rows; ++r) c.rows[r].in -= base;
        const auto fill = [&](Piece p, Segment* segments) {
          p.begin = segments;
          p.end = make_segments(s, from, channel_rows, c, rows, columns, p.first, p.pixels, step, merge, segments);
          return p;
        };
        count = cut_row(s.w, whole, total, step, edges, pieces);
        for (int i = 0; i < count; ++i) {
          pieces[i] = fill(pieces[i], i == 0 ? c.segments : pieces[i - 1].end);
          visit_piece(pieces[i]);
        }
        for (Index j = 0, pixels; count == 0 && j < total; j += pixels) {
          pixels = j == whole.first ? whole.last - whole.first : 1;
          visit_piece(fill({j, pixels, nullptr, nullptr, false}, c.segments));
        }
        known = rows;
        if (rows > 0) known_first = c.rows[0].index, known_last = c.rows[rows - 1].index;
      }
    }
}

}  // namespace
}  // namespace tapwise::ISA
