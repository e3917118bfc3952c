// direct.cpp — convolution by its definition, without a column matrix: each run of pixels is summed over its taps where
// the input lies.
//
//   forward       y[p, o]     = sum over taps t, channels c of x[p at t, c] * w[t, c, o]
//   grad_input    dx[p, c]    = the same over dy and w with the channel roles exchanged, in stride phases: no zero work
//   grad_weight   dw[t, c, o] = sum over pixels p of x[p at t, c] * dy[p, o]
//
// Weights are packed into panels of kPanel output channels. A task's panels are outermost, so that a panel stays in the
// cache for all rows of the block. Cost: the multiply-adds of the taps that touch the input, and nothing for padding.
//
// Georganas et al., "Anatomy of High-Performance Deep Learning Convolutions on SIMD Architectures", 2018.
#include "convolve.h"
#include "grad_weight.h"

namespace tapwise::ISA {
namespace {

struct Direct {
  static constexpr bool kDepthwise = false;

  template <class Put>
  static void block(const Sides& s, const Task& task, const Region& from, const Weights& weights, const Scratch& c,
                    const Put& put) {
    for (Index p = task.panel0; p < task.panel1; ++p) {
      const Panel panel = panel_at(s, false, p);
      for_each_run(s, task.block, from, s.from_channels, true, !task.dot, c,
                   [&](Run run, Index h, Index w, Index w_step) {
                     run.a += panel.from_channel - from.channel;
                     sum_run(s, task, run, weights.packed, p, put(panel, h, w, w_step));
                   });
    }
  }

  static void accumulate(const Sides& s, const Task& task, const Block& b, const Region& x, const Region& dy,
                         float* sums, const Scratch& c) {
    const Index row = s.groups * s.to_channels;
    for (Index p = task.panel0; p < task.panel1; ++p) {
      const Panel panel = panel_at(s, false, p);
      for_each_run(s, b, x, s.from_channels, true, false, c, [&](Run run, Index h, Index w, Index) {
        run.a += panel.from_channel - x.channel;
        outer_run(run, dy.data + offset(dy, b.d, h, w) + panel.channel - dy.channel, dy.w_step, panel.channels,
                  sums + panel.channel, row);
      });
    }
  }
};

}  // namespace

void conv_direct_forward(const Conv& s, const Split& split, const Epilogue& e, const float* x, const Weights& weights,
                         float* y, float* scratch, Index begin, Index end) {
  convolve<Direct>(forward_sides(s), split, e, x, weights, y, scratch, begin, end);
}

void conv_direct_grad_input(const Conv& s, const Split& split, const Epilogue& e, const float* dy,
                            const Weights& weights, float* dx, float* scratch, Index begin, Index end) {
  convolve<Direct>(transposed_sides(s), split, e, dy, weights, dx, scratch, begin, end);
}

void conv_direct_grad_weight(const Conv& s, const Split& split, const float* x, const float* dy, float* sums,
                             float* scratch, Index begin, Index end) {
  grad_weight<Direct>(s, split, x, dy, sums, scratch, begin, end);
}

}  // namespace tapwise::ISA
