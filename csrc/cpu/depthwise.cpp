// depthwise.cpp — one filter a channel: channels are the vector, taps the loop.
//
//   forward      y[p, c]  = sum over taps t of x[p at t, c] * w[t, c]
//   grad_input   dx[p, c] = the same over dy, in stride phases
//   grad_weight  dw[t, c] = sum over pixels p of x[p at t, c] * dy[p, c]
//
// Tiles in registers, see filter.h, filter_transposed.h and filter_grad.h; memory bounds the larger maps. In the input
// gradient of a large stride phases have few taps, and four pixels share the load of a weight vector: 3x3 stride 3 96
// @57 of 4 images takes 53 us so, 93 on tiles. groups == ci == co; plan.cpp guarantees it.
#include "channelwise.h"
#include "convolve.h"
#include "filter_grad.h"
#include "filter_transposed.h"

namespace tapwise::ISA {
namespace {

// Runs of pixels of a phase.
struct Depthwise {
  static constexpr bool kDepthwise = true;

  template <class Put>
  static void block(const Sides& s, const Task& task, const Region& from, const Weights& weights, const Scratch& c,
                    const Put& put) {
    const Index panel_floats = s.d.k * s.h.k * s.w.k * kPanel;
    for_each_run(s, task.block, from, 1, false, false, c, [&](Run run, Index h, Index w, Index w_step) {
      const float* a = run.a;
      for (Index p = task.panel0; p < task.panel1; ++p) {
        const Panel panel = panel_at(s, true, p);
        run.a = a + panel.from_channel - from.channel;
        depthwise_run(run, weights.packed + p * panel_floats, put(panel, h, w, w_step));
      }
    });
  }
};

// Sums of a weight gradient, (taps, groups).
struct ChannelSums : Channelwise {
  explicit TAPWISE_INLINE ChannelSums(const Conv& s) : Channelwise(s, false) {}
  TAPWISE_INLINE Index weights(Index v) const { return channel(v); }
};

}  // namespace

void conv_depthwise_forward(const Conv& s, const Split& split, const Epilogue& e, const float* x,
                            const Weights& weights, float* y, float* scratch, Index begin, Index end) {
  filter<ForwardPass>(forward_sides(s), split, e, x, weights, y, scratch, Channelwise(s, false), begin, end);
}

void conv_depthwise_grad_input(const Conv& s, const Split& split, const Epilogue& e, const float* dy,
                               const Weights& weights, float* dx, float* scratch, Index begin, Index end) {
  if (s.sw > kPhasedStride)
    return convolve<Depthwise>(transposed_sides(s), split, e, dy, weights, dx, scratch, begin, end);
  filter<TransposedPass>(transposed_sides(s), split, e, dy, weights, dx, scratch, Channelwise(s, true), begin, end);
}

void conv_depthwise_grad_weight(const Conv& s, const Split& split, const float* x, const float* dy, float* sums,
                                float* scratch, Index begin, Index end) {
  filter_grad_weight(s, split, x, dy, sums, scratch, ChannelSums(s), begin, end);
}

}  // namespace tapwise::ISA
