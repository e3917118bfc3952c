#include <numeric>

#include "walk.h"

namespace tapwise::cuda {
namespace {

int narrow(Index value) {
  return static_cast<int>(value);
}

// The input gradient's walk on one axis, for inputs phase + stride q.
Axis backward_axis(Index phase, Index in, Index out, Index k, Index stride, Index dilation, Index before, Index from,
                   Index to) {
  const Index common = std::gcd(stride, dilation), every = stride / common;
  // The first tap that hits an output of this phase, if any does: phase + before - tap * dilation is a multiple.
  Index first = 0;
  while (first < every && (phase + before - first * dilation) % stride != 0) ++first;
  const Index taps = first < every && first < k ? (k - first + every - 1) / every : 0;
  return {narrow((in - phase + stride - 1) / stride),
          narrow(out),
          narrow(taps),
          1,
          taps ? narrow((phase + before - first * dilation) / stride) : 0,
          narrow(-dilation / common),
          from,
          to * stride,
          narrow(first),
          narrow(every)};
}

}  // namespace

Walk forward_walk(const Conv& s) {
  const Strides x = strides_of(s.layout, s.ci, s.id, s.ih, s.iw), y = strides_of(s.layout, s.co, s.od, s.oh, s.ow);
  const auto axis = [](Index out, Index in, Index k, Index stride, Index before, Index dilation, Index from, Index to) {
    return Axis{narrow(out), narrow(in), narrow(k), narrow(stride), narrow(-before), narrow(dilation), from, to, 0, 1};
  };
  return {s.n,
          s.groups,
          narrow(s.ci / s.groups),
          narrow(s.co / s.groups),
          axis(s.od, s.id, s.kd, s.sd, s.pf, s.dil_d, x.d, y.d),
          axis(s.oh, s.ih, s.kh, s.sh, s.pt, s.dil_h, x.h, y.h),
          axis(s.ow, s.iw, s.kw, s.sw, s.pl, s.dil_w, x.w, y.w),
          x.image,
          x.channel,
          y.image,
          y.channel,
          0};
}

// A phase beyond an input shorter than the stride has no pixels.
Index phases(const Conv& s) {
  return s.sd * s.sh * s.sw;
}

Walk grad_input_walk(const Conv& s, Index phase) {
  const Strides x = strides_of(s.layout, s.ci, s.id, s.ih, s.iw), y = strides_of(s.layout, s.co, s.od, s.oh, s.ow);
  const Index w = phase % s.sw, h = phase / s.sw % s.sh, d = phase / s.sw / s.sh;
  return {s.n,
          s.groups,
          narrow(s.co / s.groups),
          narrow(s.ci / s.groups),
          backward_axis(d, s.id, s.od, s.kd, s.sd, s.dil_d, s.pf, y.d, x.d),
          backward_axis(h, s.ih, s.oh, s.kh, s.sh, s.dil_h, s.pt, y.h, x.h),
          backward_axis(w, s.iw, s.ow, s.kw, s.sw, s.dil_w, s.pl, y.w, x.w),
          y.image,
          y.channel,
          x.image,
          x.channel,
          d * x.d + h * x.h + w * x.w};
}

bool can_walk(const Conv& s) {
  constexpr Index kMost = Index{1} << 29;
  const Index sizes[] = {s.id * s.ih * s.iw,
                         s.od * s.oh * s.ow,
                         s.kd * s.kh * s.kw,
                         s.ci,
                         s.co,
                         s.od * s.sd + s.kd * s.dil_d + s.pf,
                         s.oh * s.sh + s.kh * s.dil_h + s.pt,
                         s.ow * s.sw + s.kw * s.dil_w + s.pl};
  for (const Index size : sizes)
    if (size >= kMost) return false;
  return true;
}

}  // namespace tapwise::cuda
