// task.h — what one task of a convolution covers: a block of output pixels, some panels of output channels, and where
// both sides' channels lie.
//
// channels_last arrays are read and written in place. Of channels_first arrays a task copies the part that it reads
// to pixels of contiguous channels in its scratch, and what it computed back: never the whole array.
#pragma once

#include "layout.h"
#include "rows.h"

namespace tapwise::ISA {
namespace {

struct Panel {
  Index group;
  Index channel;  // the first one, among all output channels
  Index channels;
  Index from_channel;  // the first input channel it reads
};

TAPWISE_INLINE Panel panel_at(const Sides& s, bool depthwise, Index p) {
  if (depthwise) return {0, p * kPanel, least<Index>(kPanel, s.groups - p * kPanel), p * kPanel};
  const Index a_group = (s.to_channels + kPanel - 1) / kPanel, group = p / a_group, o = p % a_group * kPanel;
  return {group, group * s.to_channels + o, least<Index>(kPanel, s.to_channels - o), group * s.from_channels};
}

struct Task {
  Block block;
  Index panel0, panel1;
  bool dot;
};

TAPWISE_INLINE Block block_at(const Sides& s, const Split& split, Index unit) {
  Block b;
  b.w0 = unit % split.col_blocks * split.cols;
  b.w1 = least(s.w.out, b.w0 + split.cols);
  unit /= split.col_blocks;
  b.h0 = unit % split.row_blocks * split.rows;
  b.h1 = least(s.h.out, b.h0 + split.rows);
  unit /= split.row_blocks;
  b.d = unit % s.d.out;
  b.image = unit / s.d.out;
  return b;
}

TAPWISE_INLINE Task task_at(const Sides& s, const Split& split, Index index) {
  const Index units = s.n * s.d.out * split.row_blocks * split.col_blocks;
  const Index panel0 = index / units * split.task_panels;
  return {block_at(s, split, index % units), panel0, least(split.panels, panel0 + split.task_panels), split.dot};
}

// Sums a run over its taps for panel p: of the panels, or of rows where there are few output channels.
TAPWISE_INLINE void sum_run(const Sides& s, const Task& task, const Run& run, const float* packed, Index p,
                            const Store& to) {
  const Index row = s.d.k * s.h.k * s.w.k * s.from_channels;
  if (task.dot)
    dot_run(run, packed + p * s.to_channels * row, row, to);
  else
    gemm_run(run, packed + p * row * kPanel, to);
}

struct Extent {
  Index first, last;
};

// The input positions that outputs [o0, o1) may touch.
TAPWISE_INLINE Extent touched(const Axis& a, bool transposed, Index o0, Index o1) {
  Index first, last;
  if (!transposed) {
    first = o0 * a.stride - a.pad;
    last = (o1 - 1) * a.stride - a.pad + (a.k - 1) * a.dilation + 1;
  } else {
    first = ceil_divide(o0 + a.pad - (a.k - 1) * a.dilation, a.stride);
    last = o1 - 1 + a.pad < 0 ? 0 : (o1 - 1 + a.pad) / a.stride + 1;
  }
  first = most<Index>(0, first);
  return {first, most(first, least(a.in, last))};
}

// Channels [c0, c1) of positions d x h x w of an image of `channels` planes of size (.., height, width).
TAPWISE_INLINE Region copy_region(const float* planes, Index depth, Index height, Index width, Index c0, Index c1,
                                  Extent d, Extent h, Extent w, float* copy) {
  const Index columns = w.last - w.first, rows = h.last - h.first, channels = c1 - c0;
  const Region r = {copy - ((d.first * rows + h.first) * columns + w.first) * channels, rows * columns * channels,
                    columns * channels, channels, c0};
  for (Index i = d.first; i < d.last; ++i)
    for (Index j = h.first; j < h.last; ++j, copy += columns * channels)
      planes_to_pixels(planes + ((c0 * depth + i) * height + j) * width + w.first, depth * height * width, channels,
                       columns, copy);
  return r;
}

// The side a pass reads, for one block and the input channels [c0, c1).
TAPWISE_INLINE Region read_region(const Sides& s, const Block& b, const float* from, Index c0, Index c1, float* copy) {
  const Index channels = s.groups * s.from_channels, size = s.d.in * s.h.in * s.w.in;
  from += b.image * size * channels;
  if (s.layout == Layout::channels_last) return {from, s.h.in * s.w.in * channels, s.w.in * channels, channels, 0};
  return copy_region(from, s.d.in, s.h.in, s.w.in, c0, c1, touched(s.d, s.transposed, b.d, b.d + 1),
                     touched(s.h, s.transposed, b.h0, b.h1), touched(s.w, s.transposed, b.w0, b.w1), copy);
}

// Floats of the copy that read_region makes of a channels_first block.
TAPWISE_INLINE Index region_floats(const Sides& s, const Block& b, Index channels) {
  const Extent d = touched(s.d, s.transposed, b.d, b.d + 1), h = touched(s.h, s.transposed, b.h0, b.h1);
  const Extent w = touched(s.w, s.transposed, b.w0, b.w1);
  return (d.last - d.first) * (h.last - h.first) * (w.last - w.first) * channels;
}

// The side a pass writes (or, for grad_weight, dy), for one block and the output channels [c0, c1).
TAPWISE_INLINE Region output_region(const Sides& s, const Block& b, const float* to, Index c0, Index c1, float* copy,
                                    bool filled) {
  const Index channels = s.groups * s.to_channels, size = s.d.out * s.h.out * s.w.out;
  to += b.image * size * channels;
  if (s.layout == Layout::channels_last) return {to, s.h.out * s.w.out * channels, s.w.out * channels, channels, 0};
  const Extent d = {b.d, b.d + 1}, h = {b.h0, b.h1}, w = {b.w0, b.w1};
  if (filled) return copy_region(to, s.d.out, s.h.out, s.w.out, c0, c1, d, h, w, copy);
  const Index columns = b.w1 - b.w0, step = columns * (c1 - c0);
  return {copy - b.d * (b.h1 - b.h0) * step - b.h0 * step - b.w0 * (c1 - c0), (b.h1 - b.h0) * step, step, c1 - c0, c0};
}

// Copies a block of pixels back into planes.
TAPWISE_INLINE void write_block(const Sides& s, const Block& b, const float* copy, Index c0, Index c1, float* to) {
  const Index plane = s.d.out * s.h.out * s.w.out, columns = b.w1 - b.w0;
  to += (b.image * s.groups * s.to_channels + c0) * plane + (b.d * s.h.out + b.h0) * s.w.out + b.w0;
  for (Index h = b.h0; h < b.h1; ++h, copy += columns * (c1 - c0), to += s.w.out)
    pixels_to_planes(copy, c1 - c0, columns, to, plane);
}

TAPWISE_INLINE Index offset(const Region& r, Index d, Index h, Index w) {
  return d * r.d_step + h * r.h_step + w * r.w_step;
}

}  // namespace
}  // namespace tapwise::ISA
