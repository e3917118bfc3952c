// activation.h — the element-wise functions, and what a convolution does to a sum before it is stored.
#pragma once

#include "portable.h"

namespace tapwise::cuda {

// (1 + erf(x / sqrt(2))) / 2, as erfc, which keeps the digits of the lower tail.
__device__ __forceinline__ float normal_distribution(float x) {
  return erfcf(x * -0.70710678118654752f) / 2;
}

// Comparisons are written so that NaN stays NaN.
__device__ __forceinline__ float activate(Activation kind, float alpha, float x) {
  switch (kind) {
    case Activation::none:
      return x;
    case Activation::relu:
      return x < 0 ? 0.0f : x;
    case Activation::leaky_relu:
      return x < 0 ? x * alpha : x;
    case Activation::elu:
      return x > 0 ? x : expm1f(x) * alpha;
    case Activation::sigmoid: {
      const float small = expf(-fabsf(x));
      return (x >= 0 ? 1.0f : small) / (1 + small);
    }
    case Activation::tanh:
      return tanhf(x);
    case Activation::gelu:
      return x * normal_distribution(x);
    case Activation::relu6:
      return x < 0 ? 0.0f : x > 6 ? 6.0f : x;
  }
  return x;
}

// dy f'(x) from y = f(x); of gelu from x.
__device__ __forceinline__ float activate_grad(Activation kind, float alpha, float dy, float y, float x) {
  switch (kind) {
    case Activation::none:
      return dy;
    case Activation::relu:
      return y <= 0 ? 0.0f : dy;
    case Activation::leaky_relu:
      return y <= 0 ? dy * alpha : dy;
    case Activation::elu:
      return y <= 0 ? dy * (y + alpha) : dy;
    case Activation::sigmoid:
      return dy * y * (1 - y);
    case Activation::tanh:
      return dy * (1 - y * y);
    case Activation::gelu:
      return dy * (normal_distribution(x) + x * expf(x * x / -2) * 0.3989422804014327f);
    case Activation::relu6:
      return y <= 0 || y >= 6 ? 0.0f : dy;
  }
  return dy;
}

// activation(sum + b + residual), for the output at `offset`.
__device__ __forceinline__ float finished(const Epilogue& e, float sum, Index channel, Index offset) {
  if (e.b) sum += e.b[channel];
  if (e.residual) sum += e.residual[offset];
  return activate(e.activation, e.alpha, sum);
}

}  // namespace tapwise::cuda
