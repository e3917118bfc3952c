// loss.cpp — softmax, p[j] = e^(x[j] - m) / sum over k of e^(x[k] - m), and its cross-entropy with labels.
//
//   x (rows, classes)                     -> p (rows, classes)          softmax_forward
//   dy, p                                 -> dx = p (dy - <dy, p>)      softmax_grad_input
//   logits x, labels or targets t         -> loss (rows,)               softmax_cross_entropy_forward
//   logits x, labels or targets t, scale  -> dlogits (rows, classes)    softmax_cross_entropy_grad_input
//
// m is the row's largest x, so that nothing overflows and the sum is at least 1. The loss never forms log(p):
//   loss = sum over j of t[j] (log(sum) - (x[j] - m)),   dlogits[j] = scale (p[j] sum(t) - t[j])
// where a t[j] of 0 adds nothing, even times infinity.
// A label is the distribution that is 1 at its class. Each row is read two or three times, from L1 but for huge ones;
// one exp an element is most of the work. A NaN in a row makes all of the row NaN. Labels lie in [0, classes).
#include "channels.h"
#include "math.h"

namespace tapwise::ISA {
namespace {

float row_max(const float* x, Index classes) {
  Vec largest = splat(-__builtin_inff());
  for_each_vector(0, classes, [&](Index j, Index count) {
    const Vec v = load_part(x + j, count, -__builtin_inff());
    largest = v > largest ? v : largest;  // a NaN is lost here and found by exp_sum
  });
  float m = largest[0];
  for (int i = 1; i < kLanes; ++i) m = most(m, largest[i]);
  return m;
}

// e[j] = e^(x[j] - m) unless e is null; returns their sum.
float exp_sum(const float* x, Index classes, float m, float* e) {
  Vec sum{};
  for_each_vector(0, classes, [&](Index j, Index count) {
    const Vec v = exp(load_part(x + j, count, -__builtin_inff()) - m);
    if (e) store_part(e + j, v, count);
    sum += v;
  });
  return sum_lanes(sum);
}

float row_sum(const float* t, Index classes) {
  Vec sum{};
  for_each_vector(0, classes, [&](Index j, Index count) { sum += load_part(t + j, count); });
  return sum_lanes(sum);
}

float row_dot(const float* a, const float* b, Index classes) {
  Vec sum{};
  for_each_vector(0, classes,
                  [&](Index j, Index count) { sum = fma(load_part(a + j, count), load_part(b + j, count), sum); });
  return sum_lanes(sum);
}

}  // namespace

void softmax_forward(Index classes, const float* x, float* y, Index begin, Index end) {
  for (Index row = begin; row < end; ++row) {
    const float* from = x + row * classes;
    float* to = y + row * classes;
    const float scale = 1.0f / exp_sum(from, classes, row_max(from, classes), to);
    for_each_vector(0, classes,
                    [&](Index j, Index count) { store_part(to + j, load_part(to + j, count) * scale, count); });
  }
}

void softmax_grad_input(Index classes, const float* dy, const float* y, float* dx, Index begin, Index end) {
  for (Index at = begin * classes; at < end * classes; at += classes) {
    const float dot = row_dot(dy + at, y + at, classes);
    for_each_vector(at, at + classes, [&](Index j, Index count) {
      store_part(dx + j, load_part(y + j, count) * (load_part(dy + j, count) - dot), count);
    });
  }
}

void softmax_cross_entropy_forward(Index classes, const float* logits, const std::int32_t* labels, const float* targets,
                                   float* loss, Index begin, Index end) {
  for (Index row = begin; row < end; ++row) {
    const float* x = logits + row * classes;
    const float m = row_max(x, classes), log_sum = log(splat(exp_sum(x, classes, m, nullptr)))[0];
    if (labels) {
      loss[row] = log_sum - (x[labels[row]] - m);
      continue;
    }
    const float* t = targets + row * classes;
    Vec sum{};
    for_each_vector(0, classes, [&](Index j, Index count) {
      const Vec target = load_part(t + j, count);
      sum += target == 0.0f ? Vec{} : target * (log_sum - (load_part(x + j, count) - m));
    });
    loss[row] = sum_lanes(sum);
  }
}

void softmax_cross_entropy_grad_input(Index classes, const float* logits, const std::int32_t* labels,
                                      const float* targets, const float* scale, float* dlogits, Index begin,
                                      Index end) {
  for (Index row = begin; row < end; ++row) {
    const float* x = logits + row * classes;
    const float* t = targets ? targets + row * classes : nullptr;
    float* d = dlogits + row * classes;
    const float sum = exp_sum(x, classes, row_max(x, classes), d);
    const float p_scale = (t ? row_sum(t, classes) : 1.0f) / sum, s = scale[row];
    for_each_vector(0, classes, [&](Index j, Index count) {
      const Vec target = t                                                              ? load_part(t + j, count)
                         : lane_numbers() == labels[row] - static_cast<std::int32_t>(j) ? splat(1.0f)
                                                                                        : Vec{};
      store_part(d + j, s * (load_part(d + j, count) * p_scale - target), count);
    });
  }
}

}  // namespace tapwise::ISA
