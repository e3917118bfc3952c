// groups.h — vectors that hold the outputs of several groups of a few channels, and their packed weights.
//
//   w, any strides -> packed [vector][input of the group][tap][kLanes], lanes past the vector's last output are 0
//
// As many groups a vector as fit with their inputs, so that one loaded vector, permuted, serves all of them.
#pragma once

#include "vec.h"

namespace tapwise::ISA {
namespace {

struct Groups {
  Index groups, group_inputs, group_outputs, taps, together, vectors;
  IntVec first;

  // turned: from y to x, for grad_input.
  TAPWISE_INLINE Groups(const Conv& s, bool turned)
      : groups(s.groups),
        group_inputs((turned ? s.co : s.ci) / s.groups),
        group_outputs((turned ? s.ci : s.co) / s.groups),
        taps(s.kd * s.kh * s.kw) {
    together = kLanes / most(group_inputs, group_outputs);
    vectors = (groups + together - 1) / together;
    for (int i = 0; i < kLanes; ++i)  // a lane without an output reads what there is; its weights are 0
      first[i] = static_cast<std::int32_t>(least(i / group_outputs, together - 1) * group_inputs);
  }

  TAPWISE_INLINE Index count(Index v) const { return least(together, groups - v * together); }
  TAPWISE_INLINE Index channel(Index v) const { return v * together * group_outputs; }
  TAPWISE_INLINE Index from_channel(Index v) const { return v * together * group_inputs; }
  TAPWISE_INLINE Index outputs(Index v) const { return count(v) * group_outputs; }
  TAPWISE_INLINE Index inputs(Index v) const { return count(v) * group_inputs; }
  TAPWISE_INLINE bool is_full(Index v) const { return outputs(v) == kLanes && inputs(v) == kLanes; }
  TAPWISE_INLINE Index weights(Index v) const { return v * group_inputs * taps * kLanes; }
};

// The weights of one tap and one input of each group.
void pack_lanes(const Groups& g, const float* w, Index group_step, Index output_step, Index count, float* packed) {
  for (Index i = 0; i < kLanes; ++i) packed[i] = 0;
  for (Index group = 0; group < count; ++group)
    for (Index o = 0; o < g.group_outputs; ++o)
      packed[group * g.group_outputs + o] = w[group * group_step + o * output_step];
}

// Turned: taps in reverse.
TAPWISE_INLINE void pack_groups(const Conv& s, const Groups& g, bool turned, const float* w, float* packed, Index begin,
                                Index end) {
  const Index group_step = s.co / s.groups * s.w_co;
  const Index input_step = turned ? s.w_co : s.w_ci, output_step = turned ? s.w_ci : s.w_co;
  for (Index v = begin; v < end; ++v) {
    float* to = packed + g.weights(v);
    for (Index i = 0; i < g.group_inputs; ++i)
      for (Index t = 0; t < g.taps; ++t, to += kLanes) {
        const Index tap = turned ? g.taps - 1 - t : t;
        const Index at = tap / (s.kh * s.kw) * s.w_d + tap / s.kw % s.kh * s.w_h + tap % s.kw * s.w_w + i * input_step;
        pack_lanes(g, w + at + v * g.together * group_step, group_step, output_step, g.count(v), to);
      }
  }
}

}  // namespace
}  // namespace tapwise::ISA
