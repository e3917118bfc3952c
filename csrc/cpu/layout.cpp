// layout.cpp — transposes between planes and pixels, and weights into panels.
//
//   planes (channels, count), plane_step apart  <->  pixels (count, channels)
//   w, any strides  ->  panels, see Packing in kernels.h; lanes past the last channel are 0
#include "layout.h"

#include "groups.h"

namespace tapwise::ISA {
namespace {

// Both sides of a 16 x 16 block fit 16 cache lines each.
constexpr Index kBlock = 16;

struct Strides {
  Index out, in, tap_d, tap_h, tap_w;
};

// Whether no element is an infinity or NaN: times zero they are NaN, and stay so in the sum.
bool all_finite(const float* p, Index count) {
  Vec sum[2] = {};
  Index i = 0;
  for (; i + 2 * kLanes <= count; i += 2 * kLanes)
    TAPWISE_UNROLL for (int v = 0; v < 2; ++v) sum[v] = fma(load(p + i + v * kLanes), Vec{}, sum[v]);
  for_each_vector(i, count, [&](Index at, Index lanes) { sum[0] = fma(load_part(p + at, lanes), Vec{}, sum[0]); });
  sum[0] += sum[1];
  bool finite = true;
  for (int lane = 0; lane < kLanes; ++lane) finite = finite && sum[0][lane] == 0;
  return finite;
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

// One panel: [tap][in][kPanel] from w. Returns whether all is finite; each tap is looked at while it is in the cache.
bool pack_panel(const Conv& s, const float* w, const Strides& t, Index inputs, Index outputs, float* panel) {
  bool finite = true;
  for (Index d = 0; d < s.kd; ++d)
    for (Index h = 0; h < s.kh; ++h)
      for (Index k = 0; k < s.kw; ++k) {
        const float* tap = w + d * t.tap_d + h * t.tap_h + k * t.tap_w;
        for (Index c = 0; c < inputs; ++c, panel += kPanel) {
          const float* from = tap + c * t.in;
          if (t.out == 1)
            for (Index o = 0; o < outputs; ++o) panel[o] = from[o];
          else
            for (Index o = 0; o < outputs; ++o) panel[o] = from[o * t.out];
          for (Index o = outputs; o < kPanel; ++o) panel[o] = 0;
        }
        finite = all_finite(panel - inputs * kPanel, inputs * kPanel) && finite;
      }
  return finite;
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
  for (Index c0 = 0; c0 < channels; c0 += kBlock) {
    const Index c1 = least(channels, c0 + kBlock);
    for (Index i = 0; i < count; ++i)
      for (Index c = c0; c < c1; ++c) pixels[i * pixel + c] = planes[c * plane_step + i];
  }
}

void pixels_to_planes(const float* pixels, Index channels, Index count, float* planes, Index plane_step) {
  for (Index i0 = 0; i0 < count; i0 += kBlock) {
    const Index i1 = least(count, i0 + kBlock);
    for (Index c = 0; c < channels; ++c)
      for (Index i = i0; i < i1; ++i) planes[c * plane_step + i] = pixels[i * channels + c];
  }
}

bool conv_pack(const Conv& s, Packing packing, bool dot, const float* w, float* packed, Index begin, Index end) {
  if (packing == Packing::groups) {
    const Groups g(s);
    pack_groups(s, g, w, packed, begin, end);
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
  const Index a_group = (outputs + kPanel - 1) / kPanel;
  bool finite = true;
  for (Index p = begin; p < end; ++p) {
    const Index o = p % a_group * kPanel;
    finite = pack_panel(s, w + p / a_group * group_step + o * t.out, t, inputs, least<Index>(kPanel, outputs - o),
                        packed + p * taps * inputs * kPanel) &&
             finite;
  }
  return finite;
}

}  // namespace tapwise::ISA
