// layout.cpp — transposes between planes and pixels, and weights into panels.
//
//   planes (channels, count), plane_step apart  <->  pixels (count, channels)
//   w, any strides  ->  panels, see Packing in kernels.h; lanes past the last channel are 0
#include "layout.h"

#include "groups.h"
#include "transpose.h"

namespace tapwise::ISA {
namespace {

// Panels packed at once, 512 bytes of a row: 3x3 512 x 512 takes two cores 100 us so, and 240 us panel by panel.
constexpr int kTogether = 128 / kPanel;

struct Strides {
  Index out, in, tap_d, tap_h, tap_w;
};

// An infinity or NaN times zero is NaN, and stays so in a sum of such products.
TAPWISE_INLINE bool is_zero(Vec sum) {
  bool zero = true;
  for (int lane = 0; lane < kLanes; ++lane) zero = zero && sum[lane] == 0;
  return zero;
}

// Whether no element is an infinity or NaN.
bool all_finite(const float* p, Index count) {
  Vec sum[2] = {};
  Index i = 0;
  for (; i + 2 * kLanes <= count; i += 2 * kLanes)
    TAPWISE_UNROLL for (int v = 0; v < 2; ++v) sum[v] = fma(load(p + i + v * kLanes), Vec{}, sum[v]);
  for_each_vector(i, count, [&](Index at, Index lanes) { sum[0] = fma(load_part(p + at, lanes), Vec{}, sum[0]); });
  return is_zero(sum[0] + sum[1]);
}

// One output's weights, no lanes left over: [tap][in] from w.
float* pack_row(const Conv& s, const float* w, const Strides& t, Index inputs, float* row) {
  for (Index d = 0; d < s.kd; ++d)
    for (Index h = 0; h < s.kh; ++h)
      for (Index k = 0; k < s.kw; ++k) {
        const float* tap = w + d * t.tap_d + h * t.tap_h + k * t.tap_w;
        for (Index c = 0; c < inputs; ++c) *row++ = tap[c * t.in];
      }
  return row;
}

// One tap of a panel: [in][kPanel].
void pack_tap(const float* tap, const Strides& t, Index inputs, Index outputs, float* panel) {
  if (t.out == 1) {
    for (Index c = 0; c < inputs; ++c)
      for_each_vector(0, outputs, [&](Index o, Index count) {
        store_part(panel + c * kPanel + o, load_part(tap + c * t.in + o, count), count);
      });
  } else if (t.in == 1) {
    transpose(tap, t.out, outputs, inputs, [&](Index c) { return panel + c * kPanel; });
  } else {
    for (Index c = 0; c < inputs; ++c)
      for (Index o = 0; o < outputs; ++o) panel[c * kPanel + o] = tap[c * t.in + o * t.out];
  }
}

// One panel: [tap][in][kPanel] from w; lanes past the last output are 0 already.
void pack_panel(const Conv& s, const float* w, const Strides& t, Index inputs, Index outputs, float* panel) {
  const Index taps = s.kd * s.kh * s.kw;
  if (t.tap_w == 1 && t.tap_h == s.kw && t.tap_d == s.kh * s.kw && t.in == taps) {  // (out, in, taps): one matrix
    transpose(w, t.out, outputs, inputs * taps,
              [&](Index i) { return panel + (i % taps * inputs + i / taps) * kPanel; });
    return;
  }
  for (Index d = 0; d < s.kd; ++d)
    for (Index h = 0; h < s.kh; ++h)
      for (Index k = 0; k < s.kw; ++k, panel += inputs * kPanel)
        pack_tap(w + d * t.tap_d + h * t.tap_h + k * t.tap_w, t, inputs, outputs, panel);
}

// kTogether full panels whose outputs are neighbours in w, row by row. Returns whether all are finite.
bool pack_rows(const Conv& s, const float* w, const Strides& t, Index inputs, Index panel_floats, float* panels) {
  Vec sum[2] = {};
  for (Index d = 0; d < s.kd; ++d)
    for (Index h = 0; h < s.kh; ++h)
      for (Index k = 0; k < s.kw; ++k) {
        const float* row = w + d * t.tap_d + h * t.tap_h + k * t.tap_w;
        for (Index c = 0; c < inputs; ++c, row += t.in, panels += kPanel)
          TAPWISE_UNROLL for (int p = 0; p < kTogether; ++p) TAPWISE_UNROLL for (int v = 0; v < 2; ++v) {
            const Vec x = load(row + p * kPanel + v * kLanes);
            store(panels + p * panel_floats + v * kLanes, x);
            sum[v] = fma(x, Vec{}, sum[v]);
          }
      }
  return is_zero(sum[0] + sum[1]);
}

}  // namespace

void clear(float* p, Index count) {
  for_each_vector(0, count, [&](Index i, Index lanes) { store_part(p + i, Vec{}, lanes); });
}

void copy_pixels(const float* from, Index from_pixel, Index channels, Index count, float* pixels, Index pixel) {
  if (from_pixel == channels && pixel == channels) channels *= count, count = 1;
  for (Index i = 0; i < count; ++i, from += from_pixel, pixels += pixel)
    for_each_vector(0, channels,
                    [&](Index c, Index lanes) { store_part(pixels + c, load_part(from + c, lanes), lanes); });
}

void planes_to_pixels(const float* planes, Index plane_step, Index channels, Index count, float* pixels, Index pixel) {
  transpose(planes, plane_step, channels, count, [&](Index i) { return pixels + i * pixel; });
}

void pixels_to_planes(const float* pixels, Index channels, Index count, float* planes, Index plane_step) {
  transpose(pixels, channels, count, channels, [&](Index c) { return planes + c * plane_step; });
}

bool conv_pack(const Conv& s, Packing packing, bool dot, const float* w, float* packed, Index begin, Index end) {
  if (packing == Packing::groups || packing == Packing::turned_groups) {
    const bool turned = packing == Packing::turned_groups;
    const Groups g(s, turned);
    pack_groups(s, g, turned, w, packed, begin, end);
    return all_finite(packed + g.weights(begin), g.weights(end) - g.weights(begin));
  }
  const Index taps = s.kd * s.kh * s.kw;
  Index inputs = s.ci / s.groups, outputs = s.co / s.groups, group_step = outputs * s.w_co;
  Strides t = {s.w_co, s.w_ci, s.w_d, s.w_h, s.w_w};
  if (packing == Packing::transposed) {
    const Index exchanged = inputs;
    inputs = outputs, outputs = exchanged;
    t.out = s.w_ci, t.in = s.w_co;
  } else if (packing == Packing::depthwise) {
    inputs = 1, outputs = s.groups, group_step = 0;
  }
  if (dot) {
    float* const first = packed + begin * outputs * taps * inputs;
    float* row = first;
    for (Index g = begin; g < end; ++g)
      for (Index o = 0; o < outputs; ++o) row = pack_row(s, w + g * group_step + o * t.out, t, inputs, row);
    return all_finite(first, row - first);
  }
  const Index a_group = (outputs + kPanel - 1) / kPanel, panel_floats = taps * inputs * kPanel;
  bool finite = true;
  for (Index p = begin; p < end; ++p) {
    if (t.out == 1 && p + kTogether <= end && p % a_group * kPanel + kTogether * kPanel <= outputs) {
      const float* first = w + p / a_group * group_step + p % a_group * kPanel;
      finite = pack_rows(s, first, t, inputs, panel_floats, packed + p * panel_floats) && finite;
      p += kTogether - 1;
      continue;
    }
    const Index o = p % a_group * kPanel, count = least<Index>(kPanel, outputs - o);
    float* const panel = packed + p * panel_floats;
    if (count < kPanel) clear(panel, panel_floats);
    pack_panel(s, w + p / a_group * group_step + o * t.out, t, inputs, count, panel);
    finite = all_finite(panel, panel_floats) && finite;
  }
  return finite;
}

}  // namespace tapwise::ISA
