// nn.h — what C++ offers beside convolution: pooling, activations, losses, normalization, dropout, optimizers.
//
// Sizes and pointers are trusted; the binding checks them. Work is cut by sizes alone and sums are combined in order,
// so that the bits don't depend on the number of threads. Throws std::bad_alloc.
#pragma once

#include "nn_kernels.h"

namespace tapwise {

void max_pool(const Pool&, const float* x, float* y, std::int32_t* indices);  // indices may be null
// Throws std::invalid_argument, before anything is written, if an index isn't in the plane of an image and channel.
Index pool_scratch_floats(const Pool&);  // of one task of the poolings
void max_pool_grad(const Pool&, const float* dy, const std::int32_t* indices, float* dx);
void average_pool(const Pool&, const float* x, float* y);
void average_pool_grad(const Pool&, const float* dy, float* dx);

void activation(Activation, float alpha, Index size, const float* x, float* y);  // y may be x
// x is read for gelu only; dx may be dy.
void activation_grad(Activation, float alpha, Index size, const float* dy, const float* y, const float* x, float* dx);
void add(Activation, float alpha, Index size, const float* a, const float* b, float* y);  // y may be a or b
void dropout(Index size, const float* x, float* y, double rate, std::uint64_t seed);      // y may be x; rate < 1

void softmax(Index rows, Index classes, const float* x, float* y);
void softmax_grad(Index rows, Index classes, const float* dy, const float* y, float* dx);
// Either labels (rows,) in [0, classes) or targets (rows, classes); the other is null.
void softmax_cross_entropy(Index rows, Index classes, const float* logits, const std::int32_t* labels,
                           const float* targets, float* loss);
void softmax_cross_entropy_grad(Index rows, Index classes, const float* logits, const std::int32_t* labels,
                                const float* targets, const float* scale, float* dlogits);

// x (outer, channels, inner); outer, inner >= 1 where statistics are taken. The variance is the biased one.
void batch_norm_statistics(Index outer, Index channels, Index inner, const float* x, float* mean, float* variance);
// y = activation(gamma (x - mean) / sqrt(variance + epsilon) + e.b + residual); y may be x or the residual.
void batch_norm(Index outer, Index channels, Index inner, const Epilogue& e, const float* x, const float* gamma,
                const float* mean, const float* variance, double epsilon, float* y);
// dz = dy under the mask, whose scale is filled in; it is stored unless it is null. dz and dx may be dy, and dx dz.
void batch_norm_grad(Index outer, Index channels, Index inner, NormMask, const float* dy, const float* x,
                     const float* gamma, const float* mean, const float* variance, double epsilon, float* dx, float* dz,
                     float* dgamma, float* dbeta);
// dz = dy f'(x) as activation_grad finds it, stored unless it is null; db (channels,) its sum. dz may be dy.
void bias_grad(Activation, float alpha, Index outer, Index channels, Index inner, const float* dy, const float* y,
               const float* x, float* dz, float* db);

// One step of every parameter, in one pass over all of them.
void optimizer_update(const Update&, const Slot*, Index count);
double square_sum(Index size, const float* x);

}  // namespace tapwise
