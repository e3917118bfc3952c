// nn_kernels.h — the types of the kernels beside convolution and pooling, as kernels.h states them.
#pragma once

#include "shape.h"

namespace tapwise {

// bfloat16 as the upper half of a float32.
using Bf16Widen = void(const std::uint16_t* x, float* y, Index count);
using Bf16Round = void(const float* x, std::uint16_t* y, Index count);

// Range: elements. y and dx may be inputs.
using ActivationForward = void(Activation, float alpha, const float* x, float* y, Index begin, Index end);
using ActivationGrad = void(Activation, float alpha, const float* dy, const float* y, const float* x, float* dx,
                            Index begin, Index end);
// y = activation(a + b)
using AddForward = void(Activation, float alpha, const float* a, const float* b, float* y, Index begin, Index end);
// Keeps an element whose hash is at least `dropped`, of 2^32.
using DropoutForward = void(const float* x, float* y, std::uint32_t dropped, float scale, std::uint64_t seed,
                            Index begin, Index end);
// One step of an optimizer. g = clamp(dw * slot.scale, -clip, clip); w *= keep; then
//   sgd      v = momentum v - rate g;   w += v, or with nesterov w += momentum v - rate g
//   adam     m += rate_1 (g - m);   v += rate_2 (g^2 - v);   w -= rate m / (sqrt(v) + epsilon)
//   rmsprop  v += rate_2 (g^2 - v);   m = momentum m + rate g / sqrt(v + epsilon);   w -= m
// and average += average_rate (w - average).
enum class Rule : int { sgd, adam, rmsprop };
struct Update {
  Rule rule;
  bool nesterov;
  float rate, keep, momentum, rate_1, rate_2, epsilon, clip, average_rate;
};
// A parameter: m, v and average are null where the rule has none; without m momentum is 0.
struct Slot {
  float* w;
  const float* dw;
  float *m, *v, *average;
  float scale;
  Index size;
};
// Range: elements.
using OptimizerUpdate = void(const Update&, const Slot&, Index begin, Index end);
// The sum of squares, by blocks as channels.h has them.
using SquareSum = double(const float* x, Index begin, Index end);

// Range: rows of (rows, classes). labels or targets is null: class numbers, or a distribution a row.
using SoftmaxForward = void(Index classes, const float* x, float* y, Index begin, Index end);
using SoftmaxGrad = void(Index classes, const float* dy, const float* y, float* dx, Index begin, Index end);
using CrossEntropyForward = void(Index classes, const float* logits, const std::int32_t* labels, const float* targets,
                                 float* loss, Index begin, Index end);
using CrossEntropyGrad = void(Index classes, const float* logits, const std::int32_t* labels, const float* targets,
                              const float* scale, float* dlogits, Index begin, Index end);

// Sums by channel (chunks, 2, channels) in float64. Range: (chunk, channel) pairs, in channels_last all of a chunk's.
// Of x - x0 and (x - x0)^2, where x0 is one of the channel's values.
using NormStatistics = void(const Norm&, const float* x, const float* x0, double* sums, Index begin, Index end);
// Of dz and dz * (x - mean). dz is stored unless it is null, and may be dy.
using NormGradSums = void(const Norm&, const NormMask&, const float* dy, const float* x, const float* mean, float* dz,
                          double* sums, Index begin, Index end);
// Of dz alone, where dz = dy f'(x) by y, or by x for gelu. dz is stored unless it is null, and may be dy.
using BiasGradSums = void(const Norm&, Activation, float alpha, const float* dy, const float* y, const float* x,
                          float* dz, double* sums, Index begin, Index end);

// Range: (outer, channel) pairs, in channels_last all of a row's. Per channel
// y = activation((x - mean) * scale + beta + residual); y may be x or residual.
using NormForward = void(const Norm&, const Epilogue&, const float* x, const float* mean, const float* scale, float* y,
                         Index begin, Index end);
// dx = scale * (dz - dy_mean - (x - mean) * slope); dx may be dy.
using NormGradInput = void(const Norm&, const NormMask&, const float* dy, const float* x, const float* mean,
                           const float* scale, const float* dy_mean, const float* slope, float* dx, Index begin,
                           Index end);

// Of rows (outer, channels), each with a mean and an inverse deviation of its own; inner = 1. Range: rows.
// y = (x - mean) * inverse * gamma + beta
using LayerNormForward = void(const Norm&, const float* x, const float* gamma, const float* beta, const float* mean,
                              const float* inverse, float* y, Index begin, Index end);
// With g = dy * gamma, dx = inverse * (g - mean(g) - (x - mean) * inverse^2 * mean(g * (x - mean))); dx may be dy.
// Sums (2, channels) over the rows, of dy and dy * (x - mean) * inverse.
using LayerNormGrad = void(const Norm&, const float* dy, const float* x, const float* gamma, const float* mean,
                           const float* inverse, float* dx, double* sums, Index begin, Index end);
// Per channel dx = dy * scale - shift - (x - mean) * slope; dx may be dy. Range: as NormForward's.
using GroupNormGradInput = void(const Norm&, const float* dy, const float* x, const float* mean, const float* scale,
                                const float* shift, const float* slope, float* dx, Index begin, Index end);

}  // namespace tapwise
