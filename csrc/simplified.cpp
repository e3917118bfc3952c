// simplified.cpp — the same convolution in fewer dimensions, its pixels in as few and long rows as they make.
#include "plan.h"

namespace tapwise {

Conv simplified(const Conv& conv) {
  Conv s = conv;
  const auto shift = [&s] {  // (d, h, 1) to (1, d, h)
    s.iw = s.ih, s.ow = s.oh, s.kw = s.kh, s.sw = s.sh, s.dil_w = s.dil_h, s.pl = s.pt, s.w_w = s.w_h;
    s.ih = s.id, s.oh = s.od, s.kh = s.kd, s.sh = s.sd, s.dil_h = s.dil_d, s.pt = s.pf, s.w_h = s.w_d;
    s.id = s.od = s.kd = s.sd = s.dil_d = 1, s.pf = 0;
  };
  for (int i = 0; i < 2 && s.iw == 1 && s.ow == 1 && s.kw == 1 && s.pl == 0; ++i) shift();
  const auto same_row = [](Index in, Index out, Index k, Index stride, Index pad) {
    return k == 1 && stride == 1 && pad == 0 && in == out;
  };
  if (!same_row(s.iw, s.ow, s.kw, s.sw, s.pl) || !same_row(s.ih, s.oh, s.kh, s.sh, s.pt)) return s;
  s.iw *= s.ih, s.ow *= s.oh, s.ih = s.oh = 1;
  if (same_row(s.id, s.od, s.kd, s.sd, s.pf)) s.iw *= s.id, s.ow *= s.od, s.id = s.od = 1;
  if (s.n > 0 && s.layout == Layout::channels_last && s.id == 1 && s.od == 1 && s.kd == 1 && s.pf == 0)
    s.iw *= s.n, s.ow *= s.n, s.n = 1;
  return s;
}

}  // namespace tapwise
