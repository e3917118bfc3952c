#include <cmath>
#include <numeric>

#include "conv.h"
#include "division.h"
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

__device__ __forceinline__ bool is_finite(float x) {
  return fabsf(x) < INFINITY;  // false for NaN too
}

template <class E>
__global__ __launch_bounds__(kThreads) void find_nonfinite(const Index size, const Divisor inner, const Divisor middle,
                                                           const Divisor rows, const Divisor columns, Index w_d,
                                                           Index w_h, Index w_w, Index w_ci, Index w_co,
                                                           const E* __restrict__ x, int* found) {
  for (Index i = first_element(); i < size; i += all_threads()) {
    Index rest = i;
    Index at = inner.take(rest) * w_co;
    at += middle.take(rest) * w_ci;
    at += columns.take(rest) * w_w;
    at += rows.take(rest) * w_h + rest * w_d;
    if (!is_finite(widened(x[at]))) atomicOr(found, 1);
  }
}

// Positions of the first and the last output and tap, which bound all others.
bool leaves(const Axis& a) {
  const int far = (a.outputs - 1) * a.step, tap = (a.taps - 1) * a.tap_step;
  const int least = a.first + (tap < 0 ? tap : 0), most = a.first + far + (tap > 0 ? tap : 0);
  return a.taps > 0 && a.outputs > 0 && (least < 0 || most >= a.inputs);
}

}  // namespace

bool meets_padding(const Walk& s) {
  return leaves(s.d) || leaves(s.h) || leaves(s.w);
}

NonFinite::NonFinite(const Conv& s, const float* w, Stream stream) : memory_(1, stream) {
  int* const found = reinterpret_cast<int*>(memory_.floats());
  const Index ci = s.ci / s.groups, size = s.kd * s.kh * s.kw * ci * s.co;
  check(cudaMemsetAsync(found, 0, sizeof(int), stream), "cudaMemsetAsync");
  launch(find_nonfinite<float>, element_blocks(size), kThreads, stream, size, Divisor(s.co), Divisor(ci), Divisor(s.kh),
         Divisor(s.kw), s.w_d, s.w_h, s.w_w, s.w_ci, s.w_co, w, found);
}

template <class E>
NonFinite::NonFinite(Index size, const E* dy, Stream stream) : memory_(1, stream) {
  int* const found = reinterpret_cast<int*>(memory_.floats());
  check(cudaMemsetAsync(found, 0, sizeof(int), stream), "cudaMemsetAsync");
  launch(find_nonfinite<E>, element_blocks(size), kThreads, stream, size, Divisor(size), Divisor(1), Divisor(1),
         Divisor(1), Index{0}, Index{0}, Index{0}, Index{0}, Index{1}, dy, found);
}

template NonFinite::NonFinite(Index, const float*, Stream);
template NonFinite::NonFinite(Index, const Half*, Stream);

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

Index walks(const Conv& s, Pass pass) {
  return pass == Pass::grad_input ? phases(s) : 1;
}

Walk walk_of(const Conv& s, Pass pass, Index number) {
  return pass == Pass::grad_input ? grad_input_walk(s, number) : forward_walk(s);
}

bool meets_padding(const Conv& s, Pass pass) {
  for (Index i = 0; i < walks(s, pass); ++i)
    if (meets_padding(walk_of(s, pass, i))) return true;
  return false;
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
