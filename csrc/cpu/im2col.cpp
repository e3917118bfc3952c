// im2col.cpp — convolution as a matrix product: the patches of a run of pixels are gathered into rows, then multiplied.
//
//   x  -> columns (pixels, taps * ci)          gather, one run of a block at a time
//   columns, packed w -> y (pixels, co)        gemm
//   columns, dy -> dw (taps * ci, co)          outer, for grad_weight
//
// grad_input gathers patches of dy in stride phases. Only taps that touch the input are gathered, so padding is never
// multiplied. A block's columns stay in the cache: the workspace is bounded by the plan, not by the image.
//
// Chellapilla et al., "High Performance Convolutional Neural Networks for Document Processing", 2006.
#include "convolve.h"
#include "grad_weight.h"
#include "outer.h"

namespace tapwise::ISA {
namespace {

// Copies the run's segments side by side, a row a pixel, and merges those whose weights are neighbours.
TAPWISE_INLINE Run gather(const Run& run, float* columns, Segment* merged) {
  Index width = 0;
  for (Index s = 0; s < run.segment_count; ++s) width += run.segments[s].k;
  Index count = 0, at = 0;
  for (Index s = 0; s < run.segment_count; ++s) {
    const Segment segment = run.segments[s];
    for (Index p = 0; p < run.pixels; ++p) {
      const float* from = run.a + p * run.a_pixel + segment.a;
      float* to = columns + p * width + at;
      for (Index i = 0; i < segment.k; ++i) to[i] = from[i];
    }
    if (count > 0 && merged[count - 1].b + merged[count - 1].k == segment.b)
      merged[count - 1].k += segment.k;
    else
      merged[count++] = {at, segment.b, segment.k};
    at += segment.k;
  }
  return {columns, width, merged, count, run.pixels};
}

struct Im2col {
  static constexpr bool kDepthwise = false;

  // Calls visit(run of gathered columns, panels [p0, p1) of its group, h, w, w_step).
  template <class Visit>
  TAPWISE_INLINE static void for_each_gathered(const Sides& s, const Task& task, const Block& b, const Region& from,
                                               const Scratch& c, const Visit& visit) {
    const Index a_group = (s.to_channels + kPanel - 1) / kPanel;
    for (Index p0 = task.panel0, p1; p0 < task.panel1; p0 = p1) {
      p1 = least(task.panel1, (p0 / a_group + 1) * a_group);
      const Index group_offset = panel_at(s, false, p0).from_channel - from.channel;
      for_each_run(s, b, from, s.from_channels, true, false, c, [&](Run run, Index h, Index w, Index w_step) {
        run.a += group_offset;
        visit(gather(run, c.rest, c.segments + s.d.k * s.h.k * s.w.k), p0, p1, h, w, w_step);
      });
    }
  }

  template <class Put>
  static void block(const Sides& s, const Task& task, const Region& from, const Weights& weights, const Scratch& c,
                    const Put& put) {
    for_each_gathered(s, task, task.block, from, c,
                      [&](const Run& run, Index p0, Index p1, Index h, Index w, Index w_step) {
                        for (Index p = p0; p < p1; ++p)
                          sum_run(s, task, run, weights.packed, p, put(panel_at(s, false, p), h, w, w_step));
                      });
  }

  static void accumulate(const Sides& s, const Task& task, const Block& b, const Region& x, const Region& dy,
                         float* sums, const Scratch& c) {
    for_each_gathered(s, task, b, x, c, [&](const Run& run, Index p0, Index p1, Index h, Index w, Index) {
      const float* d = dy.data + offset(dy, b.d, h, w) - dy.channel;
      const Index row = s.groups * s.to_channels;
      Ahead none{};
      for (Index p = p0; p < p1; ++p) {
        const Panel panel = panel_at(s, false, p);
        for (const Segment* taps = run.segments; taps < run.segments + run.segment_count; ++taps)
          outer_product(EvenPixels{run.a_pixel, dy.w_step}, run.pixels, run.a + taps->a, taps->k, d + panel.channel,
                        panel.channels, none, {sums + taps->b * row + panel.channel, row, true});
      }
    });
  }
};

}  // namespace

void conv_im2col_forward(const Conv& s, const Split& split, const Epilogue& e, const float* x, const Weights& weights,
                         float* y, float* scratch, Index begin, Index end) {
  convolve<Im2col>(forward_sides(s), split, e, x, weights, y, scratch, begin, end);
}

void conv_im2col_grad_input(const Conv& s, const Split& split, const Epilogue& e, const float* dy,
                            const Weights& weights, float* dx, float* scratch, Index begin, Index end) {
  convolve<Im2col>(transposed_sides(s), split, e, dy, weights, dx, scratch, begin, end);
}

void conv_im2col_grad_weight(const Conv& s, const Split& split, const float* x, const float* dy, float* sums,
                             float* scratch, Index begin, Index end) {
  grad_weight<Im2col>(s, split, x, dy, sums, scratch, begin, end);
}

}  // namespace tapwise::ISA
