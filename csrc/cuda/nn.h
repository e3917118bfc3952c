// nn.h — what the device offers beside convolution: pooling, activations, losses, normalization, dropout, optimizers.
//
// As csrc/nn.h has it, of float32, with a stream. Sums that blocks share are combined in order, so bits repeat.
#pragma once

#include "stream.h"

namespace tapwise::cuda {

void max_pool(const Pool&, const float* x, float* y, std::int32_t* indices, Stream);  // indices may be null
// Throws std::invalid_argument, before anything is written, if an index isn't in the plane; waits for the stream.
void max_pool_grad(const Pool&, const float* dy, const std::int32_t* indices, float* dx, Stream);
void average_pool(const Pool&, const float* x, float* y, Stream);
void average_pool_grad(const Pool&, const float* dy, float* dx, Stream);

void activation(Activation, float alpha, Index size, const float* x, float* y, Stream);  // y may be x
// x is read for gelu only; dx may be dy.
void activation_grad(Activation, float alpha, Index size, const float* dy, const float* y, const float* x, float* dx,
                     Stream);
void add(Activation, float alpha, Index size, const float* a, const float* b, float* y, Stream);  // y may be a or b
void cast(Index size, const float* x, std::uint16_t* y, Stream);                                  // to bits of bfloat16
void cast(Index size, const std::uint16_t* x, float* y, Stream);
void dropout(Index size, const float* x, float* y, double rate, std::uint64_t seed, Stream);  // y may be x

void softmax(Index rows, Index classes, const float* x, float* y, Stream);
void softmax_grad(Index rows, Index classes, const float* dy, const float* y, float* dx, Stream);
// Either labels (rows,), or targets (rows, classes); the other is null. A label out of its range makes NaN.
void softmax_cross_entropy(Index rows, Index classes, const float* logits, const std::int32_t* labels,
                           const float* targets, float* loss, Stream);
void softmax_cross_entropy_grad(Index rows, Index classes, const float* logits, const std::int32_t* labels,
                                const float* targets, const float* scale, float* dlogits, Stream);

struct Channels {
  Index outer, channels, inner;  // x (outer, channels, inner): channels last has inner = 1
};

void batch_norm_statistics(const Channels&, const float* x, float* mean, float* variance, Stream);
// e.b is beta; y may be x or e.residual.
void batch_norm(const Channels&, const Epilogue& e, const float* x, const float* gamma, const float* mean,
                const float* variance, double epsilon, float* y, Stream);
// dz = dy under the mask, whose scale is filled in; stored unless it is null. dz and dx may be dy, and dx dz.
void batch_norm_grad(const Channels&, NormMask, const float* dy, const float* x, const float* gamma, const float* mean,
                     const float* variance, double epsilon, float* dx, float* dz, float* dgamma, float* dbeta, Stream);
// dz = dy f'(x), stored unless it is null; db (channels,) its sum. dz may be dy.
void bias_grad(Activation, float alpha, const Channels&, const float* dy, const float* y, const float* x, float* dz,
               float* db, Stream);

enum class Rule : int { sgd, adam, rmsprop };
struct Update {
  Rule rule;
  bool nesterov;
  float rate, keep, momentum, rate_1, rate_2, epsilon, clip, average_rate;
};
struct Slot {
  float* w;
  const float* dw;
  float *m, *v, *average;  // null where the rule has none
  float scale;
  Index size;
};
void optimizer_update(const Update&, const Slot&, Stream);
double square_sum(Index size, const float* x, Stream);  // waits for the stream
void moving_average(Index size, double momentum, const float* value, float* average, Stream);

}  // namespace tapwise::cuda
