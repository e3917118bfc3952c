// convolve.h — the loop that forward and grad_input share, over tasks, panels and runs; the technique is how a run is
// summed.
//
//   from (n, d, h, w, channels), packed weights  ->  to (n, d, h, w, channels)
#pragma once

#include "task.h"

namespace tapwise::ISA {
namespace {

struct Channels {
  Index first, last;
};

// The channels that panels [p0, p1) write, and read.
TAPWISE_INLINE Channels written(const Sides& s, bool depthwise, Index p0, Index p1) {
  const Panel last = panel_at(s, depthwise, p1 - 1);
  return {panel_at(s, depthwise, p0).channel, last.channel + last.channels};
}
TAPWISE_INLINE Channels read(const Sides& s, bool depthwise, Index p0, Index p1) {
  const Panel last = panel_at(s, depthwise, p1 - 1);
  return {panel_at(s, depthwise, p0).from_channel, last.from_channel + (depthwise ? last.channels : s.from_channels)};
}

// Where a run's sums go.
TAPWISE_INLINE Store store_at(const Region& to, const Epilogue& e, const float* residual, float* data,
                              const Panel& panel, Index d, Index h, Index w, Index w_step) {
  const Index at = offset(to, d, h, w) + panel.channel - to.channel;
  return {data + at,
          w_step * to.w_step,
          panel.channels,
          e.b ? e.b + panel.channel : nullptr,
          residual ? residual + at : nullptr,
          e.activation,
          e.alpha};
}

// Technique::block(sides, task, from, weights, scratch, put) computes a task's block;
// put(panel, h, w, w_step) gives the Store of a run.
template <class Technique>
TAPWISE_INLINE void convolve(Sides s, const Split& split, const Epilogue& e, const float* from, const Weights& weights,
                             float* to, float* scratch, Index begin, Index end) {
  constexpr bool depthwise = Technique::kDepthwise;
  const bool planes = s.layout == Layout::channels_first;
  for (Index index = begin; index < end; ++index) {
    const Task task = task_at(s, split, index);
    const Block& b = task.block;
    const Channels in = read(s, depthwise, task.panel0, task.panel1);
    const Channels out = written(s, depthwise, task.panel0, task.panel1);
    Scratch c = carve(s, scratch);
    Part part = part_of(s, b, in.first, in.last);
    if (split.copies && weights.finite) {
      part.w = reached(s.w, s.transposed, b.w0, b.w1);
      s.w.low = part.w.first, s.w.high = part.w.last;
    }
    const Index pixel = in.last - in.first + split.copy_gap;
    const Region source = read_region(s, b, from, split.copies, part, pixel, c.rest);
    if (split.copies) c.rest += part_floats(part, pixel);
    float* const copy = c.rest;
    if (planes) c.rest += (b.h1 - b.h0) * (b.w1 - b.w0) * (out.last - out.first);
    const float* residual = nullptr;
    if (e.residual) residual = output_region(s, b, e.residual, out.first, out.last, copy, true).data;
    const Region target = output_region(s, b, to, out.first, out.last, copy, false);
    Technique::block(s, task, source, weights, c, [&](const Panel& panel, Index h, Index w, Index w_step) {
      return store_at(target, e, residual, const_cast<float*>(target.data), panel, b.d, h, w, w_step);
    });
    if (planes) write_block(s, b, copy, out.first, out.last, to);
  }
}

}  // namespace
}  // namespace tapwise::ISA
