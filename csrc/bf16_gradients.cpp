// bf16_gradients.cpp — convolution's gradients of bfloat16 by the kernels of float32, a share of the images at a time:
// widened they stay in the caches. Products of bfloat16 are exact in float32, so Winograd's forms round as they do
// there.
#include <algorithm>

#include "low_precision.h"
#include "nn.h"

namespace tapwise {
namespace {

constexpr Index kShareFloats = 1 << 20;  // of a share's images, widened: 4 MiB

// x and dy of near-equal shares of the images.
struct Shares {
  Index n, x_image, y_image, count, most;

  Shares(const Conv& s, Index least_floats)
      : n(s.n), x_image(s.ci * s.id * s.ih * s.iw), y_image(s.co * s.od * s.oh * s.ow) {
    const Index floats = std::max(kShareFloats, least_floats);
    count = std::clamp<Index>(n * (x_image + y_image) / floats, 1, std::max<Index>(1, n));
    most = (n + count - 1) / count;
  }
  Index first(Index share) const { return n * share / count; }
  Index x_floats() const { return rounded_up(most * x_image); }
  Index y_floats() const { return rounded_up(most * y_image); }
};

Index weights_of(const Conv& s) {
  return s.kd * s.kh * s.kw * (s.ci / s.groups) * s.co;
}

}  // namespace

void conv_bf16_grad_input(const Conv& s, Choice choice, const std::uint16_t* dy, const float* w, std::uint16_t* dx) {
  const Shares shares(s, weights_of(s));
  float* const from = scratch(Scratch::wide, shares.x_floats() + shares.y_floats());
  float* const to = from + shares.y_floats();
  Conv part = s;
  for (Index share = 0; share < shares.count; ++share) {
    const Index first = shares.first(share);
    part.n = shares.first(share + 1) - first;
    cast(part.n * shares.y_image, dy + first * shares.y_image, from);
    conv_grad_input(part, choice, from, w, {nullptr, nullptr, Activation::none, 0}, to);
    cast(part.n * shares.x_image, to, dx + first * shares.x_image);
  }
}

void conv_bf16_grad_weight(const Conv& s, Choice choice, const std::uint16_t* x, const std::uint16_t* dy, float* dw) {
  const Index size = weights_of(s);
  const Shares shares(s, 2 * size);
  float* const wide_x = scratch(Scratch::wide, shares.x_floats() + shares.y_floats() + size);
  float *const wide_dy = wide_x + shares.x_floats(), *const sums = wide_dy + shares.y_floats();
  Conv part = s;
  for (Index share = 0; share < shares.count; ++share) {
    const Index first = shares.first(share);
    part.n = shares.first(share + 1) - first;
    cast(part.n * shares.x_image, x + first * shares.x_image, wide_x);
    cast(part.n * shares.y_image, dy + first * shares.y_image, wide_dy);
    conv_grad_weight(part, choice, wide_x, wide_dy, share ? sums : dw);
    if (share) add(Activation::none, 0, size, dw, sums, dw);
  }
}

}  // namespace tapwise
