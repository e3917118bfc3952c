// winograd_weights.h — w (kh, kw, ci, co) -> u (frequencies, ci, co): u = G w G' of one panel of output channels.
//
// In float32, a vector of outputs at a time, two rows of frequencies in registers: rms error 1 to 1.1 times that of u
// from float64, rounded once, and about 11 ns a channel and vector of 16 outputs on a Zen 5.
#pragma once

#include "winograd.h"

namespace tapwise::ISA {

// Where a phase's taps of a panel's outputs lie: floats from one row of taps, tap, input and output channel to the
// next, and how many rows and columns of them there are; the phase's others are 0.
struct Taps {
  const float* w;
  Index h, tap, ci, co;
  Index rows, cols;
};

// [panel][channel][tap][kPanel], zeros past `outputs`: taps that panels' packed weights hold.
void gather_taps(const Tiling& g, const Taps& from, Index channels, Index outputs, float* to);

namespace {

// Those of channel c of v and on.
TAPWISE_INLINE Taps taps_of(const Conv& s, const Tiling& g, const float* w, Index panel, Index c) {
  const Index phase = c / most<Index>(1, s.ci);
  const Start first = start_of(g, phase);
  w += panel * kPanel * s.w_co + first.h * s.w_h + first.w * s.w_w + (c - phase * s.ci) * s.w_ci;
  const Index rows = least(g.taps_h, (s.kh - first.h + s.sh - 1) / s.sh),
              cols = least(g.taps_w, (s.kw - first.w + s.sw - 1) / s.sw);
  return {w, s.sh * s.w_h, s.sw * s.w_w, s.w_ci, s.w_co, rows, cols};
}
TAPWISE_INLINE Taps gathered_taps(const Tiling& g, const float* w) {
  return {w, g.taps_w * kPanel, kPanel, g.taps_h * g.taps_w * kPanel, 1, g.taps_h, g.taps_w};
}

// The two rows kInputRows<H, kTwo> of u, for outputs that lie side by side; their frequencies are u_frequency apart.
// Not inlined: what the caller keeps in registers would push vectors of 5x5's 25 taps out of them.
template <class H, class W, int kTwo>
[[gnu::noinline]] void transform_weights(const Taps& taps, Index channels, Index outputs, float* first, float* second,
                                         Index u_frequency) {
  const auto transform = [&](const float* w, Index count, Index at) {
    Vec half[2][W::kFilter], row[W::kSize];
    TAPWISE_UNROLL for (int j = 0; j < W::kFilter; ++j) {
      const auto tap = [&](int i) {
        if (H::kFilter == 2 && (i >= taps.rows || j >= taps.cols)) return Vec{};
        return load_part(w + i * taps.h + j * taps.tap, count);
      };
      transform_taps<H, kTwo>(tap, half[0][j], half[1][j]);
    }
    TAPWISE_UNROLL for (int i = 0; i < (H::kSize > 1 ? 2 : 1); ++i) {
      transform_taps<W>(half[i], row);
      float* to = (i ? second : first) + at;
      TAPWISE_UNROLL for (int j = 0; j < W::kSize; ++j, to += u_frequency) store(to, row[j]);
    }
  };
  const float* w = taps.w;
  for (Index c = 0; c < channels; ++c, w += taps.ci) {
    if (outputs == kPanel) {
      transform(w, Index{kLanes}, c * kPanel);
      transform(w + kLanes, Index{kLanes}, c * kPanel + kLanes);
    } else {
      transform(w, least<Index>(kLanes, outputs), c * kPanel);
      transform(w + kLanes, most<Index>(0, outputs - kLanes), c * kPanel + kLanes);
    }
  }
}

}  // namespace
}  // namespace tapwise::ISA
