// optim.cpp — one step of an optimizer, in place on the weights and its own state; g is dw.
//
//   sgd    v = momentum v - learning_rate g;   w += v, or with Nesterov's look-ahead w += momentum v - learning_rate g
//   adam   m += (g - m) (1 - beta_1);   v += (g^2 - v) (1 - beta_2);   w -= step_size m / (sqrt(v) + epsilon)
//
// All arrays (size,). Memory-bound: 3 reads and 2 writes an element for sgd, 4 and 3 for adam.
//
// Sutskever et al., "On the importance of initialization and momentum", 2013; Kingma & Ba, "Adam", 2015.
#include "vec.h"

namespace tapwise::ISA {
namespace {

TAPWISE_INLINE Vec sqrt(Vec x) {
  TAPWISE_UNROLL for (int i = 0; i < kLanes; ++i) x[i] = __builtin_sqrtf(x[i]);  // one instruction after vectorising
  return x;
}

}  // namespace

void sgd_update(float* w, const float* dw, float* velocity, float learning_rate, float momentum, bool nesterov,
                Index begin, Index end) {
  for_each_vector(begin, end, [&](Index i, Index count) {
    Vec step = -learning_rate * load_part(dw + i, count);
    if (velocity) {
      const Vec v = fma(splat(momentum), load_part(velocity + i, count), step);
      store_part(velocity + i, v, count);
      step = nesterov ? fma(splat(momentum), v, step) : v;
    }
    store_part(w + i, load_part(w + i, count) + step, count);
  });
}

void adam_update(float* w, const float* dw, float* m, float* v, float step_size, float rate_1, float rate_2,
                 float epsilon, Index begin, Index end) {
  for_each_vector(begin, end, [&](Index i, Index count) {
    const Vec g = load_part(dw + i, count), m0 = load_part(m + i, count), v0 = load_part(v + i, count);
    const Vec m1 = fma(g - m0, splat(rate_1), m0), v1 = fma(g * g - v0, splat(rate_2), v0);
    store_part(m + i, m1, count);
    store_part(v + i, v1, count);
    store_part(w + i, load_part(w + i, count) - step_size * m1 / (sqrt(v1) + epsilon), count);
  });
}

}  // namespace tapwise::ISA
