// pooling.h — the sizes of a pooling, checked once for all calls.
#pragma once

#include <limits>

#include "args.h"

namespace tapwise {

constexpr Index kLargest = Index{1} << 61;  // keeps every position and index within 64 bits

inline void need_product(Index a, Index b, const char* names) {
  if (a > kLargest / b) throw std::invalid_argument(std::string(names) + " must not overflow");
}

// A pooling's sizes, made once per geometry.
struct Pooling {
  Pool s;
  Sizes x_shape, y_shape;

  Pooling(Sizes x, Sizes y, const Sizes& size, const Sizes& strides, const Sizes& before, const Sizes& after,
          const Sizes& dilation, bool count_include_pad, bool adaptive, bool channels_last)
      : s{}, x_shape(std::move(x)), y_shape(std::move(y)) {
    const std::size_t rank = size.size();
    if (rank < 1 || rank > 3 || strides.size() != rank || before.size() != rank || after.size() != rank ||
        dilation.size() != rank || x_shape.size() != rank + 2 || y_shape.size() != rank + 2)
      throw std::invalid_argument("one, two or three spatial dimensions, the same in every argument");
    s.layout = channels_last ? Layout::channels_last : Layout::channels_first;
    s.n = x_shape[0];
    s.c = x_shape[channels_last ? rank + 1 : 1];
    s.count_include_pad = count_include_pad;
    s.adaptive = adaptive;
    if (s.c < 1 || y_shape[0] != s.n || y_shape[channels_last ? rank + 1 : 1] != s.c)
      throw std::invalid_argument("n and c must be those of x " + text(x_shape) + ", got y " + text(y_shape));
    s.id = s.ih = s.iw = s.od = s.oh = s.ow = s.kd = s.kh = s.kw = 1;
    s.sd = s.sh = s.sw = s.dil_d = s.dil_h = s.dil_w = 1;
    Index* const sizes[3][7] = {{&s.id, &s.od, &s.kd, &s.sd, &s.dil_d, &s.pf, &s.pk},
                                {&s.ih, &s.oh, &s.kh, &s.sh, &s.dil_h, &s.pt, &s.pb},
                                {&s.iw, &s.ow, &s.kw, &s.sw, &s.dil_w, &s.pl, &s.pr}};
    for (std::size_t i = 0; i < rank; ++i) {
      const std::size_t axis = i + (channels_last ? 1 : 2);
      const Index values[7] = {x_shape[axis], y_shape[axis], size[i], strides[i], dilation[i], before[i], after[i]};
      for (int j = 0; j < 7; ++j) {
        if (j < 5 && values[j] < 1) throw std::invalid_argument("sizes, strides and dilation must be >= 1");
        if (values[j] > kLargest || values[j] < -kLargest) throw std::invalid_argument("sizes must be < 2^61");
        *sizes[3 - rank + i][j] = values[j];
      }
      need_product(values[1], values[3], "outputs * strides");
      need_product(values[2], values[4], "size * dilation");
      need_product(values[0], values[1], "inputs * outputs");
    }
  }

  void need_indices() const {
    if (s.id * s.ih * s.iw > Index{1} + std::numeric_limits<std::int32_t>::max())
      throw std::invalid_argument("a plane must have at most 2^31 elements to be numbered in int32");
  }
};

}  // namespace tapwise
