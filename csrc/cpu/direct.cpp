// direct.cpp — convolution by its definition, without a column matrix: each run of pixels is summed over its taps where
// the input lies.
//
//   forward       y[p, o]     = sum over taps t, channels c of x[p at t, c] * w[t, c, o]
//   grad_input    dx[p, c]    = the same over dy and w with the channel roles exchanged, in stride phases: no zero work
//
// Weights are packed into panels of kPanel output channels. A task's panels are outermost, so that a panel stays in the
// cache for all rows of the block. Cost: the multiply-adds of the taps that touch the input, and nothing for padding.
//
// Georganas et al., "Anatomy of High-Performance Deep Learning Convolutions on SIMD Architectures", 2018.
#include "convolve.h"

namespace tapwise::ISA {
namespace {

// The rows of a run at once where their results, too, are pixels at one distance, else (always, with apart) one by one.
template <class Put, class Visit>
TAPWISE_INLINE void for_each_joined(Run run, bool apart, const Put& put, const Panel& panel, Index h, Index w,
                                    Index w_step, const Visit& visit) {
  const Store first = put(panel, h, w, w_step);
  if (run.rows == 1) return visit(run, first);
  if (!apart && put(panel, h + 1, w, w_step).y == first.y + run.pixels * first.y_pixel) return visit(run, first);
  const Index rows = run.rows;
  run.rows = 1;
  for (Index row = 0; row < rows; ++row, run.a += run.a_row) visit(run, put(panel, h + row, w, w_step));
}

struct Direct {
  static constexpr bool kDepthwise = false;

  template <class Put>
  static void block(const Sides& s, const Task& task, const Region& from, const Weights& weights, const Scratch& c,
                    const Put& put) {
    for (Index p = task.panel0; p < task.panel1; ++p) {
      const Panel panel = panel_at(s, false, p);
      for_each_run<kJoinsRows>(
          s, task.block, from, s.from_channels, true, !task.dot, c, [&](Run run, Index h, Index w, Index w_step) {
            run.a += panel.from_channel - from.channel;
            for_each_joined(run, task.dot, put, panel, h, w, w_step,
                            [&](const Run& r, const Store& to) { sum_run(s, task, r, weights.packed, p, to); });
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

}  // namespace tapwise::ISA
