// geometry.h — the sizes of a convolution, checked once for all calls.
#pragma once

#include "args.h"

namespace tapwise {

// A convolution's sizes, made once per geometry; w's strides are read off each array.
struct Geometry {
  Conv s;
  Sizes x_shape, w_shape, y_shape;

  Geometry(Sizes x, Sizes w, Sizes y, const Sizes& strides, const Sizes& before, const Sizes& dilation, Index groups,
           bool channels_last)
      : s{}, x_shape(std::move(x)), w_shape(std::move(w)), y_shape(std::move(y)) {
    const std::size_t rank = strides.size();
    if (rank < 1 || rank > 3 || before.size() != rank || dilation.size() != rank || x_shape.size() != rank + 2 ||
        w_shape.size() != rank + 2 || y_shape.size() != rank + 2)
      throw std::invalid_argument("one, two or three spatial dimensions, the same in every argument");
    s.layout = channels_last ? Layout::channels_last : Layout::channels_first;
    s.n = x_shape[0];
    s.groups = groups;
    s.ci = x_shape[channels_last ? rank + 1 : 1];
    s.co = w_shape[channels_last ? rank + 1 : 0];
    const Index per_group = w_shape[channels_last ? rank : 1];
    if (groups < 1 || s.ci < 1 || s.co < 1 || per_group * groups != s.ci || s.co % groups != 0 || y_shape[0] != s.n ||
        y_shape[channels_last ? rank + 1 : 1] != s.co)
      throw std::invalid_argument("channels or groups that don't fit: x " + text(x_shape) + ", w " + text(w_shape) +
                                  ", y " + text(y_shape));
    s.id = s.ih = s.iw = s.od = s.oh = s.ow = s.kd = s.kh = s.kw = 1;
    s.sd = s.sh = s.sw = s.dil_d = s.dil_h = s.dil_w = 1;
    Index* const sizes[3][7] = {{&s.id, &s.kd, &s.od, &s.sd, &s.dil_d, &s.pf, nullptr},
                                {&s.ih, &s.kh, &s.oh, &s.sh, &s.dil_h, &s.pt, nullptr},
                                {&s.iw, &s.kw, &s.ow, &s.sw, &s.dil_w, &s.pl, nullptr}};
    for (std::size_t i = 0; i < rank; ++i) {
      Index* const* axis = sizes[3 - rank + i];
      const Index values[6] = {x_shape[i + (channels_last ? 1 : 2)],
                               w_shape[i + (channels_last ? 0 : 2)],
                               y_shape[i + (channels_last ? 1 : 2)],
                               strides[i],
                               dilation[i],
                               before[i]};
      for (int j = 0; j < 6; ++j) {
        if (j < 5 && values[j] < 1) throw std::invalid_argument("sizes, strides and dilation must be >= 1");
        *axis[j] = values[j];
      }
    }
  }

  template <class Weights>
  Conv with_strides(const Weights& w) const {
    constexpr Index kSize = sizeof(*w.data());
    Conv c = s;
    const auto rank = static_cast<Index>(w_shape.size()) - 2;
    const bool last = s.layout == Layout::channels_last;
    const auto stride = [&w](Index axis) { return w.strides(axis) / kSize; };
    Index* const spatial[3] = {&c.w_d, &c.w_h, &c.w_w};
    for (Index i = 0; i < rank; ++i) *spatial[3 - rank + i] = stride(i + (last ? 0 : 2));
    c.w_ci = stride(last ? rank : 1);
    c.w_co = stride(last ? rank + 1 : 0);
    for (Index i = 0; i < w.ndim(); ++i)
      if (w.strides(i) % kSize != 0) throw std::invalid_argument("w must have strides that are whole elements");
    return c;
  }
};

}  // namespace tapwise
