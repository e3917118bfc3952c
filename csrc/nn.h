// nn.h — what C++ offers beside convolution: pooling, activations, losses, normalization, dropout, optimizers.
//
// Sizes and pointers are trusted; the binding checks them. Work is cut by sizes alone and sums are combined in order,
// so that the bits don't depend on the number of threads. Throws std::bad_alloc.
#pragma once

#include <vector>

#include "values.h"

namespace tapwise {

void max_pool(const Pool&, Source x, Target y, std::int32_t* indices);  // indices may be null
// Throws std::invalid_argument, before anything is written, if an index isn't in the plane of an image and channel.
Index pool_scratch_floats(const Pool&);  // of one task of the poolings
void max_pool_grad(const Pool&, Source dy, const std::int32_t* indices, Target dx);
void average_pool(const Pool&, Source x, Target y);
void average_pool_grad(const Pool&, Source dy, Target dx);

void activation(Activation, float alpha, Index size, Source x, Target y);  // y may be x
// x is read for gelu only; dx may be dy.
void activation_grad(Activation, float alpha, Index size, Source dy, Source y, Source x, Target dx);
void add(Activation, float alpha, Index size, Source a, Source b, Target y);  // y may be a or b
// y (rows, widths together), the parts side by side; widths in elements, all of y's type.
struct Part {
  const void* data;
  Index width;
};
void concatenate(Index rows, const std::vector<Part>&, Target y);
void dropout(Index size, Source x, Target y, double rate, std::uint64_t seed);  // y may be x; rate < 1
void cast(Index size, Source x, Target y);                                      // to the nearest, half to even

void softmax(Index rows, Index classes, Source x, Target y);
void softmax_grad(Index rows, Index classes, Source dy, Source y, Target dx);
// Either labels (rows,) in [0, classes) or targets (rows, classes); the other is null.
void softmax_cross_entropy(Index rows, Index classes, const float* logits, const std::int32_t* labels,
                           const float* targets, float* loss);
void softmax_cross_entropy_grad(Index rows, Index classes, const float* logits, const std::int32_t* labels,
                                const float* targets, const float* scale, float* dlogits);

// x (outer, channels, inner); outer, inner >= 1 where statistics are taken. The variance is the biased one.
void batch_norm_statistics(Index outer, Index channels, Index inner, Source x, float* mean, float* variance);
// y = activation(gamma (x - mean) / sqrt(variance + epsilon) + e.b + residual); y may be x or the residual, which is
// filled into e.
void batch_norm(Index outer, Index channels, Index inner, Epilogue e, Source residual, Source x, const float* gamma,
                const float* mean, const float* variance, double epsilon, Target y);
// dz = dy under the mask, whose y and scale are filled in; it is stored unless it is null. dz and dx may be dy, and dx
// dz.
void batch_norm_grad(Index outer, Index channels, Index inner, NormMask, Source y, Source dy, Source x,
                     const float* gamma, const float* mean, const float* variance, double epsilon, Target dx, Target dz,
                     float* dgamma, float* dbeta);
// x (outer, groups, channels, inner), none of them 0: y = gamma (x - mean) / sqrt(variance + epsilon) + beta. mean and
// the biased variance (outer, groups) are found; gamma, beta (groups, channels). y may be x.
struct Groups {
  Index outer, groups, channels, inner;
};
void group_norm(const Groups&, const float* x, const float* gamma, const float* beta, double epsilon, float* mean,
                float* variance, float* y);
// dx may be dy.
void group_norm_grad(const Groups&, const float* dy, const float* x, const float* gamma, const float* mean,
                     const float* variance, double epsilon, float* dx, float* dgamma, float* dbeta);
// dz = dy f'(x) as activation_grad finds it, stored unless it is null; db (channels,) its sum. dz may be dy.
void bias_grad(Activation, float alpha, Index outer, Index channels, Index inner, Source dy, Source y, Source x,
               Target dz, float* db);

// One step of every parameter, in one pass over all of them.
void optimizer_update(const Update&, const Slot*, Index count);
double square_sum(Index size, const float* x);
// average = momentum average + (1 - momentum) value: of channels, too few for threads.
void moving_average(Index size, double momentum, const float* value, float* average);

}  // namespace tapwise
