// grad_weight.h — the loop over tasks of the weight gradient; the technique is how a block's products are added up.
//
//   x (n, d, h, w, ci), dy (n, od, oh, ow, co)  ->  sums (chunks, taps, ci / groups, co)
//
// A task adds the blocks of one chunk of the batch into its own columns of the chunk's sums. Chunks depend on the shape
// alone and are added in order afterwards: the same bits for any number of threads.
#pragma once

#include "convolve.h"

namespace tapwise::ISA {
namespace {

TAPWISE_INLINE void clear(float* sums, Index rows, Index row, Index columns) {
  for (Index i = 0; i < rows; ++i)
    for (Index o = 0; o < columns; ++o) sums[i * row + o] = 0;
}

template <class Technique>
TAPWISE_INLINE void grad_weight(const Conv& conv, const Split& split, const float* x, const float* dy, float* sums,
                                float* scratch, Index begin, Index end) {
  const Sides s = forward_sides(conv);
  const bool planes = s.layout == Layout::channels_first;
  const Index units = s.n * s.d.out * split.row_blocks * split.col_blocks;
  const Index rows = s.d.k * s.h.k * s.w.k * s.from_channels, row = s.groups * s.to_channels;
  for (Index index = begin; index < end; ++index) {
    const Index chunk = index % split.chunks, panel0 = index / split.chunks * split.task_panels;
    const Task task = {{}, panel0, least(split.panels, panel0 + split.task_panels), false};
    const Channels in = read(s, false, task.panel0, task.panel1);
    const Channels out = written(s, false, task.panel0, task.panel1);
    float* const own = sums + chunk * rows * row;
    clear(own + out.first, rows, row, out.last - out.first);
    for (Index unit = chunk * units / split.chunks; unit < (chunk + 1) * units / split.chunks; ++unit) {
      const Block b = block_at(s, split, unit);
      Scratch c = carve(s, scratch);
      const Part part = part_of(s, b, in.first, in.last);
      const Region from = read_region(s, b, x, planes, part, in.last - in.first, c.rest);
      if (planes) c.rest += part_floats(part, in.last - in.first);
      const Region gradient = output_region(s, b, dy, out.first, out.last, c.rest, true);
      if (planes) c.rest += (b.h1 - b.h0) * (b.w1 - b.w0) * (out.last - out.first);
      Technique::accumulate(s, task, b, from, gradient, own, c);
    }
  }
}

}  // namespace
}  // namespace tapwise::ISA
