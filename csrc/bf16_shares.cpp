// bf16_shares.cpp — convolutions of bfloat16 by the kernels of float32, a share of the images at a time: widened they
// stay in the caches. Products of bfloat16 are exact in float32, so Winograd's forms round as they do there: by far
// less than a result is rounded to bfloat16.
#include <algorithm>
#include <cstring>

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

constexpr Choice kFast = {Algorithm::automatic, Accuracy::fast};

}  // namespace

// Dot products of pairs are slower without their instruction, with groups, and where Winograd's needs a fourth of the
// products. In pairs and widened, ms: n32 64 @32 2.44 and 2.0, 256 @8 2.53 and 1.8; n128 32 @16 both 0.66.
const char* widened_algorithm(const Conv& s) {
  constexpr Index kChannels = 64;
  const Table& t = table();
  const Algorithm found = plan_conv(simplified(s), Pass::forward, kFast, t).algorithm;
  const bool has_pairs = std::strcmp(t.isa, "avx512-bf16") == 0 && s.groups == 1;
  const bool is_faster = !has_pairs || (std::min(s.ci, s.co) >= kChannels && found >= Algorithm::winograd_4x4);
  return is_faster ? name_of(found) : nullptr;
}

void conv_bf16(const Conv& s, const std::uint16_t* x, const float* w, const float* b, const Bf16Output& to) {
  if (!widened_algorithm(s)) return conv_bf16(s, PackedWords(s, w), x, b, to);
  const Shares shares(s, weights_of(s));
  float* const from = scratch(Scratch::wide, shares.x_floats() + shares.y_floats());
  float* const wide_y = from + shares.x_floats();
  Conv part = s;
  for (Index share = 0; share < shares.count; ++share) {
    const Index first = shares.first(share), at = first * shares.y_image;
    part.n = shares.first(share + 1) - first;
    float* const y = to.is_float ? static_cast<float*>(to.y) + at : wide_y;
    cast(part.n * shares.x_image, x + first * shares.x_image, from);
    conv_forward(part, kFast, from, w, {b, nullptr, to.activation, to.alpha}, y);
    if (!to.is_float) cast(part.n * shares.y_image, y, static_cast<std::uint16_t*>(to.y) + at);
  }
}

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
