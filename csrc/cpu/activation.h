// activation.h — the element-wise activations, for whole arrays, rows of an output and single vectors.
//
//   relu         x < 0 ? 0 : x                leaky_relu   x < 0 ? alpha x : x
//   elu          x < 0 ? alpha (e^x - 1) : x  sigmoid      1 / (1 + e^-x)
//   tanh                                      gelu         x P(x), P the normal distribution: exact, not tanh's fit
//   relu6        relu, at most 6
//
// f' is read off y, so that a layer need not keep x; gelu alone isn't monotonic and needs it:
//   relu  y <= 0 ? 0 : 1     leaky_relu  y <= 0 ? alpha : 1     elu  y <= 0 ? y + alpha : 1
//   sigmoid  y (1 - y)       tanh  1 - y^2                      gelu  P(x) + x p(x), p the normal density
//   relu6  y <= 0 or y >= 6 ? 0 : 1
//
// NaN passes. Largest error in units in the last place: elu 2.3 (alpha 1: 1.75), sigmoid 2.5, tanh 2.5, gelu 5.25.
#pragma once

#include "math.h"

namespace tapwise::ISA {
namespace {

template <Activation kKind>
TAPWISE_INLINE Vec activated([[maybe_unused]] float alpha, Vec x) {
  if constexpr (kKind == Activation::relu) return relu(x);
  if constexpr (kKind == Activation::leaky_relu) return x < 0.0f ? alpha * x : x;
  if constexpr (kKind == Activation::elu) return x < 0.0f ? alpha * expm1(x) : x;
  if constexpr (kKind == Activation::sigmoid) return 1.0f / (1.0f + exp(-x));
  if constexpr (kKind == Activation::tanh) return tanh(x);
  if constexpr (kKind == Activation::gelu) return x * normal(x).distribution;
  if constexpr (kKind == Activation::relu6) return at_most(relu(x), splat(6.0f));
  return x;
}

// relu and relu6 while a sum is still in its register, by the same instructions. Stored first and read again, relu6
// took as long as a depthwise 3x3 of 144 @56 itself.
struct Rectifier {
  bool on, rest;  // rest: another activation is left, for what was stored
  Vec top;

  explicit TAPWISE_INLINE Rectifier(Activation kind)
      : on(kind == Activation::relu || kind == Activation::relu6),
        rest(kind != Activation::none && !on),
        top(splat(kind == Activation::relu6 ? 6.0f : __builtin_inff())) {}
  TAPWISE_INLINE Vec operator()(Vec x) const { return at_most(relu(x), top); }
};

// dy f'(x)
template <Activation kKind>
TAPWISE_INLINE Vec gradient([[maybe_unused]] float alpha, Vec dy, Vec y, [[maybe_unused]] Vec x) {
  if constexpr (kKind == Activation::relu) return y <= 0.0f ? Vec{} : dy;
  if constexpr (kKind == Activation::leaky_relu) return y <= 0.0f ? alpha * dy : dy;
  if constexpr (kKind == Activation::elu) return y <= 0.0f ? dy * (y + alpha) : dy;
  if constexpr (kKind == Activation::sigmoid) return dy * y * (1.0f - y);
  if constexpr (kKind == Activation::tanh) return dy * (1.0f - y * y);
  if constexpr (kKind == Activation::gelu) {
    const Normal p = normal(x);
    return dy * fma(x, p.density, p.distribution);
  }
  if constexpr (kKind == Activation::relu6) {
    const Vec below = y >= 6.0f ? Vec{} : dy;
    return y <= 0.0f ? Vec{} : below;
  }
  return dy;
}

// Calls call.template operator()<kind>() for the constant that equals kind.
template <class Call>
TAPWISE_INLINE void with_activation(Activation kind, const Call& call) {
  switch (kind) {
    case Activation::none:
      return call.template operator()<Activation::none>();
    case Activation::relu:
      return call.template operator()<Activation::relu>();
    case Activation::leaky_relu:
      return call.template operator()<Activation::leaky_relu>();
    case Activation::elu:
      return call.template operator()<Activation::elu>();
    case Activation::sigmoid:
      return call.template operator()<Activation::sigmoid>();
    case Activation::tanh:
      return call.template operator()<Activation::tanh>();
    case Activation::gelu:
      return call.template operator()<Activation::gelu>();
    case Activation::relu6:
      return call.template operator()<Activation::relu6>();
  }
}

}  // namespace

// y[i] = activation(y[i]) for i < count
void activate(Activation, float alpha, float* y, Index count);

}  // namespace tapwise::ISA
