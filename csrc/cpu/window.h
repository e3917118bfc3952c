// window.h — the input positions under a pooling window, one axis at a time.
//
//   plain      start + t * dilation for taps t < k, start = o * stride - before, as far as they lie in [0, in)
//   adaptive   [floor(o * in / out), ceil((o + 1) * in / out))
//
// The divisor of an average is the number of positions, or with count_include_pad of those inside the padded input, the
// product of the axes'.
#pragma once

#include "vec.h"

namespace tapwise::ISA {
namespace {

struct PoolAxis {
  Index in, out, k, stride, dilation, before, after;
  bool count_include_pad, adaptive;
};

TAPWISE_INLINE PoolAxis axis_d(const Pool& s) {
  return {s.id, s.od, s.kd, s.sd, s.dil_d, s.pf, s.pk, s.count_include_pad, s.adaptive};
}
TAPWISE_INLINE PoolAxis axis_h(const Pool& s) {
  return {s.ih, s.oh, s.kh, s.sh, s.dil_h, s.pt, s.pb, s.count_include_pad, s.adaptive};
}
TAPWISE_INLINE PoolAxis axis_w(const Pool& s) {
  return {s.iw, s.ow, s.kw, s.sw, s.dil_w, s.pl, s.pr, s.count_include_pad, s.adaptive};
}

// At least 0. Most dilations are 1 and most strides 1 or 2, and a division costs more than a window's additions.
TAPWISE_INLINE Index ceil_over(Index a, Index b) {
  if (a <= 0) return 0;
  return b == 1 ? a : b == 2 ? (a + 1) >> 1 : (a + b - 1) / b;
}

// Positions first, first + step, ... below last.
struct Window {
  Index first, last, step, divisor;
};

TAPWISE_INLINE Window window(const PoolAxis& a, Index o) {
  if (a.adaptive) {
    const Index first = o * a.in / a.out, last = ceil_over((o + 1) * a.in, a.out);
    return {first, last, 1, last - first};
  }
  const Index start = o * a.stride - a.before, skipped = ceil_over(-start, a.dilation);
  const Index taps = least(a.k, ceil_over(a.in - start, a.dilation));
  const Index padded = least(a.k, ceil_over(a.in + a.after - start, a.dilation));
  return {start + skipped * a.dilation, start + taps * a.dilation, a.dilation,
          a.count_include_pad ? padded : taps - skipped};
}

struct Outputs {
  Index first, last;
};

// The outputs whose position t lies in the input, for a plain window.
TAPWISE_INLINE Outputs touching(const PoolAxis& a, Index t) {
  const Index offset = t * a.dilation - a.before;
  const Index last = least(a.out, ceil_over(a.in - offset, a.stride));
  return {least(last, ceil_over(-offset, a.stride)), last};
}

// The outputs whose windows span position i; of a dilated one they may step over it.
TAPWISE_INLINE Outputs covering(const PoolAxis& a, Index i) {
  if (a.adaptive) return {i * a.out / a.in, ceil_over((i + 1) * a.out, a.in)};
  const Index last = least(a.out, ceil_over(i + a.before + 1, a.stride));
  return {least(last, ceil_over(i + a.before - (a.k - 1) * a.dilation, a.stride)), last};
}

// Whether a window that spans position i holds it.
TAPWISE_INLINE bool holds(const Window& w, Index i) {
  return w.step == 1 || (i - w.first) % w.step == 0;
}

// The outputs whose whole window lies in the input; none for an adaptive one, where windows differ in size.
TAPWISE_INLINE Outputs interior(const PoolAxis& a) {
  if (a.adaptive) return {0, 0};
  const Index last = touching(a, a.k - 1).last;
  return {least(last, touching(a, 0).first), last};
}

}  // namespace
}  // namespace tapwise::ISA
