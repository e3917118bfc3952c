// channelwise.h — the technique of filter_walk.h whose filters see one channel each.
#pragma once

#include "filter_walk.h"

namespace tapwise::ISA {
namespace {

// Vectors of channels, two to a packed panel.
struct Channelwise {
  static constexpr Index kVectors = kPanel / kLanes;
  Index groups, taps, tap_floats, vectors;

  TAPWISE_INLINE Channelwise(const Conv& s, bool last_tap_first)
      : groups(s.groups),
        taps(s.kd * s.kh * s.kw),
        tap_floats(last_tap_first ? -kPanel : kPanel),
        vectors((s.groups + kLanes - 1) / kLanes) {}

  TAPWISE_INLINE Index channel(Index v) const { return v * kLanes; }
  TAPWISE_INLINE Index from_channel(Index v) const { return v * kLanes; }
  TAPWISE_INLINE Index outputs(Index v) const { return least<Index>(kLanes, groups - v * kLanes); }
  TAPWISE_INLINE Index inputs(Index v) const { return outputs(v); }
  TAPWISE_INLINE bool is_full(Index v) const { return outputs(v) == kLanes; }
  TAPWISE_INLINE Index weights(Index v) const {
    return (v / kVectors * taps + (tap_floats < 0 ? taps - 1 : 0)) * kPanel + v % kVectors * kLanes;
  }
  template <bool kFull>
  TAPWISE_INLINE OwnChannel<kFull> lanes(Index v) const {
    return {outputs(v)};
  }
};

}  // namespace
}  // namespace tapwise::ISA
