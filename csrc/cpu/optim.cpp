// optim.cpp — one step of an optimizer, in place on the weights and its own state; the rules stand in nn_kernels.h.
//
// All arrays (size,). Memory-bound: 3 reads and 2 writes an element for sgd with momentum, 4 and 3 for adam; clipping,
// weight decay and scaling cost nothing beside them, a moving average one of each.
//
// Sutskever et al., "On the importance of initialization and momentum", 2013; Kingma & Ba, "Adam", 2015; Loshchilov &
// Hutter, "Decoupled Weight Decay Regularization", 2019; Hinton, "Neural Networks for Machine Learning", lecture 6e.
#include "../nn_kernels.h"
#include "channels.h"

namespace tapwise::ISA {
namespace {

TAPWISE_INLINE Vec sqrt(Vec x) {
  TAPWISE_UNROLL for (int i = 0; i < kLanes; ++i) x[i] = __builtin_sqrtf(x[i]);  // one instruction after vectorising
  return x;
}

// What is added to w, of the state at i.
template <Rule kRule>
TAPWISE_INLINE Vec step(const Update& u, const Slot& s, Vec g, Index i, Index count) {
  if constexpr (kRule == Rule::sgd) {
    const Vec down = -u.rate * g;
    if (!s.m) return down;
    const Vec m = fma(splat(u.momentum), load_part(s.m + i, count), down);
    store_part(s.m + i, m, count);
    return u.nesterov ? fma(splat(u.momentum), m, down) : m;
  }
  const Vec v0 = load_part(s.v + i, count), v = fma(g * g - v0, splat(u.rate_2), v0);
  store_part(s.v + i, v, count);
  if constexpr (kRule == Rule::adam) {
    const Vec m0 = load_part(s.m + i, count), m = fma(g - m0, splat(u.rate_1), m0);
    store_part(s.m + i, m, count);
    return -u.rate * m / (sqrt(v) + u.epsilon);
  }
  Vec up = u.rate * g / sqrt(v + u.epsilon);
  if (s.m) {
    up = fma(splat(u.momentum), load_part(s.m + i, count), up);
    store_part(s.m + i, up, count);
  }
  return -up;
}

template <Rule kRule>
void update(const Update& u, const Slot& s, Index begin, Index end) {
  for_each_vector(begin, end, [&](Index i, Index count) {
    Vec g = load_part(s.dw + i, count) * s.scale;
    g = g > u.clip ? splat(u.clip) : g;
    g = g < -u.clip ? splat(-u.clip) : g;
    const Vec w = load_part(s.w + i, count) * u.keep + step<kRule>(u, s, g, i, count);
    store_part(s.w + i, w, count);
    if (!s.average) return;
    const Vec average = load_part(s.average + i, count);
    store_part(s.average + i, fma(w - average, splat(u.average_rate), average), count);
  });
}

}  // namespace

void optimizer_update(const Update& u, const Slot& s, Index begin, Index end) {
  switch (u.rule) {
    case Rule::sgd:
      return update<Rule::sgd>(u, s, begin, end);
    case Rule::adam:
      return update<Rule::adam>(u, s, begin, end);
    case Rule::rmsprop:
      return update<Rule::rmsprop>(u, s, begin, end);
  }
}

double square_sum(const float* x, Index begin, Index end) {
  const Index vectors = (end - begin) / kLanes, rest = (end - begin) % kLanes;
  Sums sum{};
  const auto squares = [&](const Strip& strip, Index lanes) {
    add_blocks(sum, strip, [&](Index at, Vec& first, Vec&) {
      const Vec v = load_part(x + at, lanes);
      first = fma(v, v, first);
    });
  };
  squares({0, begin, kLanes, vectors, true}, kLanes);
  if (rest) squares({0, begin + vectors * kLanes, kLanes, 1, true}, rest);
  return sum_lanes(sum.first);
}

}  // namespace tapwise::ISA
