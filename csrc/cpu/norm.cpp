// norm.cpp — batch normalization, y = activation(gamma (x - mean) / sqrt(variance + epsilon) + beta + residual).
//
//   x (outer, channels, inner)              -> sums (chunks, 2, channels)       batch_norm_statistics
//   x, mean, scale, beta, residual          -> y (outer, channels, inner)       batch_norm_forward
//   dy, x, mean                             -> sums (chunks, 2, channels), dz   batch_norm_grad_sums
//   dy, x, mean, scale, dy_mean, slope      -> dx                               batch_norm_grad_input
//
// norm.cpp of the folder above adds the chunks in order and turns the sums into mean, variance, dgamma, dbeta. One pass
// makes both moments. Of each block of 16 values, in float32: their mean m, e = sum (x - m), q = sum (x - m)^2; with
// d = m - x0, in float64:
//   sum (x - x0) = 16 d + e,   sum (x - x0)^2 = q + d (2 e + 16 d)
// and variance = (sum (x - x0)^2 - (sum (x - x0))^2 / n) / n cancels little, because x0 is one of the values:
// (x0 - mean)^2 <= n variance.
// Memory-bound: each kernel reads x once, the gradients dy too. The mask of a ReLU behind it is applied where dy is
// read; found again from x it costs two operations and no memory.
//
// Ioffe & Szegedy, "Batch Normalization", 2015; Chan, Golub & LeVeque, "Computing the Sample Variance", 1983.
#include "activation.h"
#include "channels.h"

namespace tapwise::ISA {
namespace {

// In float64, without a block: what is left over.
TAPWISE_INLINE void add_value(Sums& sum, Vec v, const Wide& x0) {
  const Wide x = widen(v);
  for (int h = 0; h < 2; ++h) {
    const DoubleVec d = x.half[h] - x0.half[h];
    sum.first.half[h] += d;
    sum.second.half[h] += d * d;
  }
}

// kBlock vectors, `step` apart.
template <class Lanes>
TAPWISE_INLINE void add_block(Sums& sum, const float* x, Index step, Lanes lanes, const Wide& x0) {
  Vec shares[2]{}, e[2]{}, q[2]{};  // two: a single one would wait for each addition
  TAPWISE_UNROLL for (Index i = 0; i < kBlock; ++i) shares[i % 2] =
      fma(load_part(x + i * step, lanes), splat(1.0f / kBlock), shares[i % 2]);
  const Vec m = shares[0] + shares[1];
  TAPWISE_UNROLL for (Index i = 0; i < kBlock; ++i) {
    const Vec from_mean = load_part(x + i * step, lanes) - m;
    e[i % 2] += from_mean;
    q[i % 2] = fma(from_mean, from_mean, q[i % 2]);
  }
  const Wide wide_m = widen(m), wide_e = widen(e[0] + e[1]), wide_q = widen(q[0] + q[1]);
  for (int h = 0; h < 2; ++h) {
    const DoubleVec d = wide_m.half[h] - x0.half[h], total = static_cast<double>(kBlock) * d;
    sum.first.half[h] += total + wide_e.half[h];
    sum.second.half[h] += wide_q.half[h] + d * (2.0 * wide_e.half[h] + total);
  }
}

// What a strip's dz needs beside dy.
template <NormMask::Kind kMask>
struct Mask {
  const float* y;
  Vec scale{}, beta{};

  template <class Lanes>
  TAPWISE_INLINE Mask(const NormMask& mask, const Strip& strip, Lanes lanes) : y(mask.y) {
    if constexpr (kMask == NormMask::by_input) {
      scale = strip.parameter(mask.scale, lanes);
      beta = strip.parameter(mask.beta, lanes);
    }
  }

  template <class Lanes>
  TAPWISE_INLINE Vec apply(Vec dy, Vec from_mean, Index at, Lanes lanes) const {
    if constexpr (kMask == NormMask::none) return dy;
    const Vec output = kMask == NormMask::by_output ? load_part(y + at, lanes) : fma(from_mean, scale, beta);
    return output <= 0.0f ? Vec{} : dy;
  }
};

template <class Call>
TAPWISE_INLINE void with_mask(const NormMask& mask, const Call& call) {
  switch (mask.kind) {
    case NormMask::none:
      return call.template operator()<NormMask::none>();
    case NormMask::by_output:
      return call.template operator()<NormMask::by_output>();
    case NormMask::by_input:
      return call.template operator()<NormMask::by_input>();
  }
}

template <bool kResidual, Activation kKind>
void normalize(const Norm& s, const Epilogue& e, const float* x, const float* mean, const float* scale, float* y,
               Index begin, Index end) {
  for_each_strip(s, strip_rows(s), begin, end, [&](const Strip& strip, auto lanes) {
    const Vec m = strip.parameter(mean, lanes), by = strip.parameter(scale, lanes), b = strip.parameter(e.b, lanes);
    for (Index i = 0; i < strip.vectors; ++i) {
      const Index at = strip.at + i * strip.step;
      Vec v = fma(load_part(x + at, lanes) - m, by, b);
      if constexpr (kResidual) v += load_part(e.residual + at, lanes);
      store_part(y + at, activated<kKind>(e.alpha, v), lanes);
    }
  });
}

}  // namespace

void batch_norm_statistics(const Norm& s, const float* x, const float* of_channels, double* sums, Index begin,
                           Index end) {
  sum_channels(s, sums, begin, end, [&](Sums& sum, const Strip& strip, auto lanes) {
    const Vec first = strip.parameter(of_channels, lanes);
    const Wide x0 = widen(first);
    Index i = 0;
    for (; i + kBlock <= strip.vectors; i += kBlock)
      add_block(sum, x + strip.at + i * strip.step, strip.step, lanes, x0);
    for (; i < strip.vectors; ++i) {
      const Vec v = load_part(x + strip.at + i * strip.step, lanes);
      add_value(sum, lane_numbers() < static_cast<std::int32_t>(lanes) ? v : first, x0);
    }
  });
}

void batch_norm_grad_sums(const Norm& s, const NormMask& given, const float* dy, const float* x, const float* mean,
                          float* dz, double* sums, Index begin, Index end) {
  with_mask(given, [&]<NormMask::Kind kMask>() {
    sum_channels(s, sums, begin, end, [&](Sums& sum, const Strip& strip, auto lanes) {
      const Mask<kMask> mask(given, strip, lanes);
      const Vec m = strip.parameter(mean, lanes);
      const auto term = [&](Index at, Vec& first, Vec& second) {
        const Vec from_mean = load_part(x + at, lanes) - m;
        const Vec g = mask.apply(load_part(dy + at, lanes), from_mean, at, lanes);
        first += g;
        second = fma(g, from_mean, second);
        return g;
      };
      if (dz)
        add_blocks(sum, strip,
                   [&](Index at, Vec& first, Vec& second) { store_part(dz + at, term(at, first, second), lanes); });
      else
        add_blocks(sum, strip, term);
    });
  });
}

void batch_norm_forward(const Norm& s, const Epilogue& e, const float* x, const float* mean, const float* scale,
                        float* y, Index begin, Index end) {
  with_activation(e.activation, [&]<Activation kKind>() {
    if (e.residual)
      normalize<true, kKind>(s, e, x, mean, scale, y, begin, end);
    else
      normalize<false, kKind>(s, e, x, mean, scale, y, begin, end);
  });
}

void batch_norm_grad_input(const Norm& s, const NormMask& given, const float* dy, const float* x, const float* mean,
                           const float* scale, const float* dy_mean, const float* slope, float* dx, Index begin,
                           Index end) {
  with_mask(given, [&]<NormMask::Kind kMask>() {
    for_each_strip(s, strip_rows(s), begin, end, [&](const Strip& strip, auto lanes) {
      const Mask<kMask> mask(given, strip, lanes);
      const Vec m = strip.parameter(mean, lanes), by = strip.parameter(scale, lanes);
      const Vec less = strip.parameter(dy_mean, lanes), tilt = strip.parameter(slope, lanes);
      for (Index i = 0; i < strip.vectors; ++i) {
        const Index at = strip.at + i * strip.step;
        const Vec from_mean = load_part(x + at, lanes) - m;
        const Vec g = mask.apply(load_part(dy + at, lanes), from_mean, at, lanes);
        store_part(dx + at, by * (g - less - from_mean * tilt), lanes);
      }
    });
  });
}

}  // namespace tapwise::ISA
