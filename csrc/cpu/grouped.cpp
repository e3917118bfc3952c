// grouped.cpp — groups of a few channels: the outputs of several groups fill a vector.
//
//   forward  y[p, g, o] = sum over taps t, i < inputs of x[p at t, g, i] * w[t, i, g, o]
//
// The tiles are those of a depthwise filter, see filter.h, once for each i. plan.cpp guarantees two groups a vector or
// more.
#include "filter_walk.h"
#include "groups.h"

namespace tapwise::ISA {
namespace {

struct Groupwise : Groups {
  static constexpr Index kVectors = 1, tap_floats = kLanes;

  using Groups::Groups;
  template <bool kFull>
  TAPWISE_INLINE GroupChannels<kFull> lanes(Index v) const {
    return {group_inputs, inputs(v), outputs(v), first};
  }
};

}  // namespace

void conv_grouped_forward(const Conv& s, const Split& split, const Epilogue& e, const float* x, const Weights& weights,
                          float* y, float* scratch, Index begin, Index end) {
  filter(forward_sides(s), split, e, x, weights, y, scratch, Groupwise(s), begin, end);
}

}  // namespace tapwise::ISA
