// norm.cpp — batch normalization, y = gamma (x - mean) / sqrt(variance + epsilon) + beta, statistics and gradients.
//
//   x (outer, channels, inner)              -> sums (chunks, 2, channels)   batch_norm_statistics
//   x, mean, scale, beta                    -> y (outer, channels, inner)   batch_norm_forward
//   dy, x, mean                             -> sums (chunks, 2, channels)   batch_norm_grad_sums
//   dy, x, mean, scale, dy_mean, slope      -> dx                           batch_norm_grad_input
//
// nn.cpp adds the chunks in order and turns the sums into mean, variance, dgamma, dbeta. The sums are float64: their
// own error, below outer * inner * 2^-53 of the terms' sizes, vanishes in the float32 result. One pass makes both
// moments:
//   variance = (sum (x - x0)^2 - (sum (x - x0))^2 / n) / n
// cancels little because x0 is one of the values: (x0 - mean)^2 <= n variance.
// Memory-bound: each kernel reads x once, the gradients dy too.
//
// Ioffe & Szegedy, "Batch Normalization", 2015; Chan, Golub & LeVeque, "Computing the Sample Variance", 1983.
#include "vec.h"

namespace tapwise::ISA {
namespace {

typedef double DoubleVec __attribute__((vector_size(kLanes * sizeof(double) / 2)));
typedef double WideVec __attribute__((vector_size(kLanes * sizeof(double))));

// As many doubles as a vector has floats, in two registers.
struct Wide {
  DoubleVec half[2];
};

TAPWISE_INLINE Wide widen(Vec v) {
  return __builtin_bit_cast(Wide, __builtin_convertvector(v, WideVec));
}

struct Sums {
  Wide first, second;

  // Of v - centre and its square; of dy and dy * (v - centre).
  template <bool kGradient>
  TAPWISE_INLINE void add(Vec v, Vec dy, const Wide& centre) {
    const Wide x = widen(v), g = widen(dy);
    for (int h = 0; h < 2; ++h) {
      const DoubleVec from_centre = x.half[h] - centre.half[h], factor = kGradient ? g.half[h] : from_centre;
      first.half[h] += factor;
      second.half[h] += factor * from_centre;
    }
  }
};

// Pairwise, the same order whatever the length.
TAPWISE_INLINE double sum_lanes(const Wide& wide) {
  DoubleVec v = wide.half[0] + wide.half[1];
  for (int half = kLanes / 4; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) v[i] += v[i + half];
  return v[0];
}

TAPWISE_INLINE void store_wide(double* p, const Wide& v, Index count) {
  for (Index i = 0; i < count; ++i) p[i] = v.half[i / (kLanes / 2)][i % (kLanes / 2)];
}

// x0 of channels c, c + 1, ... is what stands at centres[c * step], centres[(c + 1) * step], ...
template <bool kGradient>
void channel_sums(const Norm& s, const float* dy, const float* x, const float* centres, double* sums, Index begin,
                  Index end) {
  for_each_row(s.channels, begin, end, [&](Index chunk, Index c0, Index c1) {
    double* first = sums + chunk * 2 * s.channels;
    double* second = first + s.channels;
    const Index row0 = chunk * s.chunk, row1 = least(s.outer, row0 + s.chunk), step = s.channels * s.inner;
    if (s.inner == 1) {
      for_each_vector(c0, c1, [&](Index c, Index count) {
        const Wide centre = widen(load_part(centres + c, count));
        Sums sum{};
        for (Index at = row0 * step + c; at < row1 * step; at += step)
          sum.add<kGradient>(load_part(x + at, count), kGradient ? load_part(dy + at, count) : Vec{}, centre);
        store_wide(first + c, sum.first, count);
        store_wide(second + c, sum.second, count);
      });
      return;
    }
    for (Index c = c0; c < c1; ++c) {
      const float x0 = centres[kGradient ? c : c * s.inner];
      const Wide centre = widen(splat(x0));
      Sums sum{};
      for (Index row = row0; row < row1; ++row) {
        const Index plane = row * step + c * s.inner;
        for_each_vector(plane, plane + s.inner, [&](Index at, Index count) {
          sum.add<kGradient>(load_part(x + at, count, x0), kGradient ? load_part(dy + at, count) : Vec{}, centre);
        });
      }
      first[c] = sum_lanes(sum.first);
      second[c] = sum_lanes(sum.second);
    }
  });
}

// Calls visit(at, count, parameter) for every vector of the range; parameter(p) is p's value for each lane's channel.
template <class Visit>
TAPWISE_INLINE void for_each_channel(const Norm& s, Index begin, Index end, const Visit& visit) {
  for_each_row(s.channels, begin, end, [&](Index row, Index c0, Index c1) {
    const Index at = row * s.channels * s.inner;
    if (s.inner == 1) {
      for_each_vector(c0, c1, [&](Index c, Index count) {
        visit(at + c, count, [&](const float* p) { return load_part(p + c, count); });
      });
      return;
    }
    for (Index c = c0; c < c1; ++c)
      for_each_vector(at + c * s.inner, at + (c + 1) * s.inner,
                      [&](Index i, Index count) { visit(i, count, [&](const float* p) { return splat(p[c]); }); });
  });
}

}  // namespace

void batch_norm_statistics(const Norm& s, const float* x, double* sums, Index begin, Index end) {
  channel_sums<false>(s, nullptr, x, x, sums, begin, end);
}

void batch_norm_grad_sums(const Norm& s, const float* dy, const float* x, const float* mean, double* sums, Index begin,
                          Index end) {
  channel_sums<true>(s, dy, x, mean, sums, begin, end);
}

void batch_norm_forward(const Norm& s, const float* x, const float* mean, const float* scale, const float* beta,
                        float* y, Index begin, Index end) {
  for_each_channel(s, begin, end, [&](Index at, Index count, const auto& parameter) {
    const Vec centred = load_part(x + at, count) - parameter(mean);
    store_part(y + at, fma(centred, parameter(scale), parameter(beta)), count);
  });
}

void batch_norm_grad_input(const Norm& s, const float* dy, const float* x, const float* mean, const float* scale,
                           const float* dy_mean, const float* slope, float* dx, Index begin, Index end) {
  for_each_channel(s, begin, end, [&](Index at, Index count, const auto& parameter) {
    const Vec trend = (load_part(x + at, count) - parameter(mean)) * parameter(slope);
    store_part(dx + at, parameter(scale) * (load_part(dy + at, count) - parameter(dy_mean) - trend), count);
  });
}

}  // namespace tapwise::ISA
