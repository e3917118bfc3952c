// task.h — what one task of a convolution covers: a block of output pixels, some panels of output channels, and where
// both sides' channels lie.
//
// channels_last arrays are written in place, and read in place unless zeros must stand beside a row. Of channels_first
// arrays a task copies the part that it reads to pixels of contiguous channels in its scratch, and what it computed
// back: never the whole array.
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
  const Index groups = (split.panels + split.task_panels - 1) / split.task_panels;
  const Index unit = split.by_blocks ? index / groups : index % units;
  const Index panel0 = (split.by_blocks ? index % groups : index / units) * split.task_panels;
  return {block_at(s, split, unit), panel0, least(split.panels, panel0 + split.task_panels), split.dot};
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

// The positions that outputs [o0, o1) reach, inside the input or not.
TAPWISE_INLINE Extent reached(const Axis& a, bool transposed, Index o0, Index o1) {
  const Index span = (a.k - 1) * a.dilation;
  if (!transposed) return {o0 * a.stride - a.pad, (o1 - 1) * a.stride - a.pad + span + 1};
  return {ceil_divide(o0 + a.pad - span, a.stride), floor_divide(o1 - 1 + a.pad, a.stride) + 1};
}

// Those of them in the input.
TAPWISE_INLINE Extent touched(const Axis& a, bool transposed, Index o0, Index o1) {
  const Extent e = reached(a, transposed, o0, o1);
  const Index first = most<Index>(0, e.first);
  return {first, most(first, least(a.in, e.last))};
}

// Where a task reads: the channels [c0, c1) of the positions d x h x w, of which w may reach past the input.
struct Part {
  Index c0, c1;
  Extent d, h, w;
};

TAPWISE_INLINE Part part_of(const Sides& s, const Block& b, Index c0, Index c1) {
  return {c0, c1, touched(s.d, s.transposed, b.d, b.d + 1), touched(s.h, s.transposed, b.h0, b.h1),
          touched(s.w, s.transposed, b.w0, b.w1)};
}

// Floats of a part's copy, whose pixels are `pixel` floats apart.
TAPWISE_INLINE Index part_floats(const Part& p, Index pixel) {
  return (p.d.last - p.d.first) * (p.h.last - p.h.first) * (p.w.last - p.w.first) * pixel;
}

// Copies a part of an image (depth, height, width, channels), or of its planes, with zeros for columns outside it.
TAPWISE_INLINE Region copy_part(const float* image, bool planes, Index depth, Index height, Index width, Index channels,
                                const Part& p, Index pixel, float* copy) {
  const Index columns = p.w.last - p.w.first, rows = p.h.last - p.h.first, count = p.c1 - p.c0;
  const Index first = least(p.w.last, most<Index>(0, p.w.first)), last = most(first, least(width, p.w.last));
  const Region r = {copy - ((p.d.first * rows + p.h.first) * columns + p.w.first) * pixel, rows * columns * pixel,
                    columns * pixel, pixel, p.c0};
  for (Index i = p.d.first; i < p.d.last; ++i)
    for (Index j = p.h.first; j < p.h.last; ++j) {
      clear(copy, (first - p.w.first) * pixel);
      copy += (first - p.w.first) * pixel;
      const Index row = (i * height + j) * width + first;
      if (planes)
        planes_to_pixels(image + p.c0 * depth * height * width + row, depth * height * width, count, last - first, copy,
                         pixel);
      else
        copy_pixels(image + row * channels + p.c0, channels, count, last - first, copy, pixel);
      copy += (last - first) * pixel;
      clear(copy, (p.w.last - last) * pixel);
      copy += (p.w.last - last) * pixel;
    }
  return r;
}

// The side a pass reads, for one block: in place, or copied.
TAPWISE_INLINE Region read_region(const Sides& s, const Block& b, const float* from, bool copied, const Part& part,
                                  Index pixel, float* copy) {
  const Index channels = s.groups * s.from_channels, size = s.d.in * s.h.in * s.w.in;
  from += b.image * size * channels;
  if (!copied) return {from, s.h.in * s.w.in * channels, s.w.in * channels, channels, 0};
  return copy_part(from, s.layout == Layout::channels_first, s.d.in, s.h.in, s.w.in, channels, part, pixel, copy);
}

// The side a pass writes (or, for grad_weight, dy), for one block and the output channels [c0, c1).
TAPWISE_INLINE Region output_region(const Sides& s, const Block& b, const float* to, Index c0, Index c1, float* copy,
                                    bool filled) {
  const Index channels = s.groups * s.to_channels, size = s.d.out * s.h.out * s.w.out;
  to += b.image * size * channels;
  if (s.layout == Layout::channels_last) return {to, s.h.out * s.w.out * channels, s.w.out * channels, channels, 0};
  if (filled)
    return copy_part(to, true, s.d.out, s.h.out, s.w.out, channels,
                     {c0, c1, {b.d, b.d + 1}, {b.h0, b.h1}, {b.w0, b.w1}}, c1 - c0, copy);
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
