// winograd_pack.cpp — the weights of Winograd's products, transformed, or only their taps where those of all
// frequencies would not stay in the cache: then each task transforms what it needs, a part of a panel at a time.
//
//   w (kh, kw, ci, co), any strides  ->  u [panel][frequency][ci][kPanel]
//                                    ->  taps [panel][ci][kh][kw][kPanel]
#include "layout.h"
#include "transpose.h"
#include "winograd_weights.h"

namespace tapwise::ISA {
namespace {

constexpr Index kChannels = 16;  // gathered at a time

template <class H, class W, int kTwo = 0>
void transform_rows(const Tiling& g, const Taps& taps, Index channels, Index outputs, float* u) {
  constexpr const int (&rows)[2] = kInputRows<H, kTwo>;
  transform_weights<H, W, kTwo>(taps, channels, outputs, u + rows[0] * W::kSize * g.u_frequency,
                                u + rows[1] * W::kSize * g.u_frequency, g.u_frequency);
  if constexpr (kTwo + 1 < kInputTwos<H>) transform_rows<H, W, kTwo + 1>(g, taps, channels, outputs, u);
}

// Of one panel.
void gather_panel(const Tiling& g, const Taps& from, Index channels, Index outputs, float* to) {
  const Index taps = g.taps_h * g.taps_w;
  if (outputs < kPanel || from.rows * from.cols < taps) clear(to, channels * taps * kPanel);
  if (from.tap == 1 && from.h == g.taps_w && from.ci == taps) {  // (co, ci, kh, kw): one matrix
    transpose(from.w, from.co, outputs, channels * taps, [&](Index i) { return to + i * kPanel; });
  } else if (from.tap == -1 && from.h == -g.taps_w && from.rows * from.cols == taps) {  // the same turned round
    for (Index c = 0; c < channels; ++c)
      transpose(from.w + c * from.ci - taps + 1, from.co, outputs, taps,
                [&](Index i) { return to + (c * taps + taps - 1 - i) * kPanel; });
  } else {
    for (Index t = 0; t < taps; ++t) {
      if (t / g.taps_w >= from.rows || t % g.taps_w >= from.cols) continue;
      const float* w = from.w + t / g.taps_w * from.h + t % g.taps_w * from.tap;
      if (from.ci == 1) {
        transpose(w, from.co, outputs, channels, [&](Index c) { return to + (c * taps + t) * kPanel; });
        continue;
      }
      for (Index c = 0; c < channels; ++c, w += from.ci) {
        float* const row = to + (c * taps + t) * kPanel;
        if (from.co == 1)
          copy_pixels(w, outputs, outputs, 1, row, outputs);
        else
          for (Index o = 0; o < outputs; ++o) row[o] = w[o * from.co];
      }
    }
  }
}

// Of whole panels whose outputs and rows lie side by side: lines next to each other, and those of rows to come asked
// for.
void gather_rows(const Tiling& g, const Taps& from, Index channels, Index outputs, float* to) {
  constexpr Index kRowsAhead = 8;
  const Index taps = g.taps_h * g.taps_w, panel = channels * taps * kPanel;
  for (Index t = 0; t < taps; ++t) {
    const float* w = from.w + t / g.taps_w * from.h + t % g.taps_w * from.tap;
    for (Index c = 0; c < channels; ++c, w += from.ci) {
      float* row = to + (c * taps + t) * kPanel;
      for (Index o = 0; o < outputs; o += kPanel, row += panel) {
        __builtin_prefetch(w + kRowsAhead * from.ci + o);
        if (kPanel > 16) __builtin_prefetch(w + kRowsAhead * from.ci + o + 16);
        store(row, load(w + o));
        store(row + kLanes, load(w + o + kLanes));
      }
    }
  }
}

}  // namespace

void gather_taps(const Tiling& g, const Taps& from, Index channels, Index outputs, float* to) {
  const Index taps = g.taps_h * g.taps_w;
  if (from.co == 1 && from.ci != 1 && outputs % kPanel == 0 && from.rows * from.cols == taps)
    return gather_rows(g, from, channels, outputs, to);
  Taps panel = from;
  for (Index o = 0; o < outputs; o += kPanel, panel.w += kPanel * from.co, to += channels * taps * kPanel)
    gather_panel(g, panel, channels, least<Index>(kPanel, outputs - o), to);
}

void conv_winograd_pack(const Conv& s, const Tiling& g, const float* w, float* packed, Index begin, Index end) {
  with_phased_lines(s, g, [&]<class H, class W>() {
    for (Index p = begin; p < end; ++p) {
      const Index outputs = least<Index>(kPanel, s.co - p * kPanel);
      float* const panel = packed + p * (g.packed_floats / g.panels);
      if (g.taps) {
        for (Index c = 0; c < g.channels; c += s.ci)
          gather_taps(g, taps_of(s, g, w, p, c), s.ci, outputs, panel + c * g.taps_h * g.taps_w * kPanel);
        continue;
      }
      float strip[kChannels * H::kFilter * W::kFilter * kPanel];
      for (Index c = 0; c < g.channels; c += kChannels) {
        const Taps taps = taps_of(s, g, w, p, c);
        const Index channels = least<Index>(kChannels, g.channels - c);
        const bool whole = g.phase_step == 1 || taps.rows * taps.cols == g.taps_h * g.taps_w;
        if (taps.co == 1 && whole) {
          transform_rows<H, W>(g, taps, channels, outputs, panel + c * kPanel);
        } else {
          gather_taps(g, taps, channels, outputs, strip);
          transform_rows<H, W>(g, gathered_taps(g, strip), channels, outputs, panel + c * kPanel);
        }
      }
    }
  });
}

}  // namespace tapwise::ISA
