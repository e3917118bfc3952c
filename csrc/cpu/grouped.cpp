// grouped.cpp — groups of a few channels: the outputs of several groups fill a vector.
//
//   forward      y[p, g, o] = sum over taps t, i < inputs of x[p at t, g, i] * w[t, i, g, o]
//   grad_input   dx[p, g, i] = the same over dy, with turned weights, in stride phases
//   grad_weight  dw[t, i, g, o] = sum over pixels p of x[p at t, g, i] * dy[p, g, o]
//
// The tiles are those of a depthwise filter, see filter.h and its kin, once for each i. plan.cpp guarantees two
// groups a vector or more.
#include "filter_grad.h"
#include "filter_transposed.h"
#include "groups.h"

namespace tapwise::ISA {
namespace {

struct Groupwise : Groups {
  static constexpr Index kVectors = 1, tap_floats = kLanes;

  explicit TAPWISE_INLINE Groupwise(const Conv& s, bool turned = false) : Groups(s, turned) {}
  template <bool kFull>
  TAPWISE_INLINE GroupChannels<kFull> lanes(Index v) const {
    return {group_inputs, inputs(v), outputs(v), first};
  }
};

// The same of a weight gradient's sums, (taps, ci / groups, co).
struct GroupSums : Groupwise {
  using Groupwise::Groupwise;
  TAPWISE_INLINE Index weights(Index v) const { return channel(v); }
};

}  // namespace

void conv_grouped_forward(const Conv& s, const Split& split, const Epilogue& e, const float* x, const Weights& weights,
                          float* y, float* scratch, Index begin, Index end) {
  filter<ForwardPass>(forward_sides(s), split, e, x, weights, y, scratch, Groupwise(s), begin, end);
}

void conv_grouped_grad_input(const Conv& s, const Split& split, const Epilogue& e, const float* dy,
                             const Weights& weights, float* dx, float* scratch, Index begin, Index end) {
  filter<TransposedPass>(transposed_sides(s), split, e, dy, weights, dx, scratch, Groupwise(s, true), begin, end);
}

void conv_grouped_grad_weight(const Conv& s, const Split& split, const float* x, const float* dy, float* sums,
                              float* scratch, Index begin, Index end) {
  filter_grad_weight(s, split, x, dy, sums, scratch, GroupSums(s), begin, end);
}

}  // namespace tapwise::ISA
