// norm.cu — batch normalization, y = activation(gamma (x - mean) / sqrt(variance + epsilon) + beta + residual).
//
//   x (outer, channels, inner)       -> sums (stretches, 2, channels), in float64        channel_sums<Moments>
//   sums                             -> mean, variance                                   finish_moments
//   x, mean, scale                   -> y                                                normalize
//   dy, x, mean                      -> sums, dz                                         channel_sums<Gradients>
//   sums                             -> dgamma, dbeta, and factors (2, channels) of dx   finish_gradients
//   dz, x, mean, scale, factors      -> dx                                               normalize_grad
//
// A block sums a stretch of 32 channels, or of one where a channel's values follow each other in memory; stretches
// follow from the sizes and are added in order. Differences are taken from the channel's first value, so one pass gives
// both moments: (x0 - mean)^2 <= n variance. Memory-bound, on devices with few float64 units too.
#include <algorithm>

#include "activation.h"
#include "elements.h"
#include "nn.h"

namespace tapwise::cuda {
namespace {

struct Moments {
  const float* x;
  Index inner;

  __device__ __forceinline__ void add(Index at, Index channel, double& first, double& second) const {
    const double d = static_cast<double>(x[at]) - x[channel * inner];
    first += d;
    second += d * d;
  }
};

__device__ __forceinline__ float masked(const NormMask& mask, float dy, float x, float mean, Index at, Index channel) {
  if (mask.kind == NormMask::none) return dy;
  const float y = mask.kind == NormMask::by_output ? mask.y[at] : (x - mean) * mask.scale[channel] + mask.beta[channel];
  return y <= 0 ? 0.0f : dy;
}

struct Gradients {
  NormMask mask;
  const float *dy, *x, *mean;
  float* dz;

  __device__ __forceinline__ void add(Index at, Index channel, double& first, double& second) const {
    const float g = masked(mask, dy[at], x[at], mean[channel], at, channel);
    if (dz) dz[at] = g;
    first += g;
    second += static_cast<double>(g) * (static_cast<double>(x[at]) - mean[channel]);
  }
};

struct Bias {
  Activation kind;
  float alpha;
  const float *dy, *y, *x;
  float* dz;

  __device__ __forceinline__ void add(Index at, Index, double& first, double&) const {
    const float g = activate_grad(kind, alpha, dy[at], y ? y[at] : 0.0f, x ? x[at] : 0.0f);
    if (dz) dz[at] = g;
    first += g;
  }
};

// kAcross channels a block, the threads of each channel kAcross apart.
template <class Term, int kAcross>
__global__ __launch_bounds__(kThreads) void channel_sums(const Channels s, const Index stretch, const Term term,
                                                         double* __restrict__ sums) {
  constexpr int kDown = kThreads / kAcross;
  CU_SHARED(double, firsts, [kThreads]);
  CU_SHARED(double, seconds, [kThreads]);
  const Index across = (s.channels + kAcross - 1) / kAcross, part = blockIdx.x / across;
  const int t = static_cast<int>(threadIdx.x);
  const Index channel = blockIdx.x % across * kAcross + t % kAcross;
  const Index count = s.outer * s.inner, end = (part + 1) * stretch < count ? (part + 1) * stretch : count;
  double first = 0, second = 0;
  Index i = part * stretch + t / kAcross, row = i / s.inner, column = i % s.inner;
  for (; i < end && channel < s.channels; i += kDown) {
    term.add((row * s.channels + channel) * s.inner + column, channel, first, second);
    for (column += kDown; column >= s.inner && s.inner > 1; column -= s.inner) ++row;
    if (s.inner == 1) row += kDown, column = 0;
  }
  firsts[t] = first;
  seconds[t] = second;
  for (int half = kDown / 2; half > 0; half /= 2) {
    __syncthreads();
    if (t < half * kAcross) {
      firsts[t] += firsts[t + half * kAcross];
      seconds[t] += seconds[t + half * kAcross];
    }
  }
  if (t < kAcross && channel < s.channels) {
    sums[2 * part * s.channels + channel] = firsts[t];
    sums[(2 * part + 1) * s.channels + channel] = seconds[t];
  }
}

struct Totals {
  double first, second;
};

__device__ __forceinline__ Totals totals_of(const double* sums, Index parts, Index channels, Index channel) {
  Totals t{0, 0};
  for (Index part = 0; part < parts; ++part) {
    t.first += sums[2 * part * channels + channel];
    t.second += sums[(2 * part + 1) * channels + channel];
  }
  return t;
}

__global__ __launch_bounds__(kThreads) void finish_moments(const Channels s, const Index parts,
                                                           const double* __restrict__ sums, const float* __restrict__ x,
                                                           float* __restrict__ mean, float* __restrict__ variance) {
  const auto count = static_cast<double>(s.outer * s.inner);
  for (Index c = first_element(); c < s.channels; c += all_threads()) {
    const Totals t = totals_of(sums, parts, s.channels, c);
    const double left = t.second - t.first * t.first / count;
    mean[c] = static_cast<float>(x[c * s.inner] + t.first / count);
    variance[c] = static_cast<float>(left < 0 ? 0 : left / count);
  }
}

__global__ __launch_bounds__(kThreads) void finish_sums(const Index channels, const Index parts,
                                                        const double* __restrict__ sums, float* __restrict__ db) {
  for (Index c = first_element(); c < channels; c += all_threads())
    db[c] = static_cast<float>(totals_of(sums, parts, channels, c).first);
}

__global__ __launch_bounds__(kThreads) void norm_scales(const Index channels, const float* __restrict__ gamma,
                                                        const float* __restrict__ variance, const double epsilon,
                                                        float* __restrict__ scale) {
  for (Index c = first_element(); c < channels; c += all_threads())
    scale[c] = static_cast<float>(gamma[c] / sqrt(variance[c] + epsilon));
}

__global__ __launch_bounds__(kThreads) void normalize(const Channels s, const Epilogue e, const float* x,
                                                      const float* __restrict__ mean, const float* __restrict__ scale,
                                                      float* y) {
  const Index size = s.outer * s.channels * s.inner;
  for (Index i = first_element(); i < size; i += all_threads()) {
    const Index c = i / s.inner % s.channels;
    y[i] = finished(e, (x[i] - mean[c]) * scale[c], c, i);
  }
}

__global__ __launch_bounds__(kThreads) void finish_gradients(const Channels s, const Index parts,
                                                             const double* __restrict__ sums,
                                                             const float* __restrict__ variance, const double epsilon,
                                                             float* __restrict__ dgamma, float* __restrict__ dbeta,
                                                             float* __restrict__ factors) {
  const auto count = static_cast<double>(s.outer * s.inner);
  for (Index c = first_element(); c < s.channels; c += all_threads()) {
    const Totals t = totals_of(sums, parts, s.channels, c);
    const double square = variance[c] + epsilon;
    dbeta[c] = static_cast<float>(t.first);
    dgamma[c] = static_cast<float>(t.second / sqrt(square));
    factors[c] = static_cast<float>(t.first / count);
    factors[s.channels + c] = static_cast<float>(t.second / square / count);
  }
}

// dx may be dy.
__global__ __launch_bounds__(kThreads) void normalize_grad(const Channels s, const NormMask mask, const float* dy,
                                                           const float* __restrict__ x, const float* __restrict__ mean,
                                                           const float* __restrict__ scale,
                                                           const float* __restrict__ factors, float* dx) {
  const Index size = s.outer * s.channels * s.inner;
  for (Index i = first_element(); i < size; i += all_threads()) {
    const Index c = i / s.inner % s.channels;
    const float g = masked(mask, dy[i], x[i], mean[c], i, c);
    dx[i] = scale[c] * (g - factors[c] - (x[i] - mean[c]) * factors[s.channels + c]);
  }
}

struct Stretches {
  Index count, length;
};

// Enough blocks for a large device, at least 1024 values of a channel in each.
Stretches stretches_of(const Channels& s) {
  constexpr Index kBlocks = 512, kLeast = 1024;
  const Index count = s.outer * s.inner, across = s.inner == 1 ? ceil_div(s.channels, 32) : s.channels;
  const Index most = std::max<Index>(1, std::min(ceil_div(kBlocks, across), count / kLeast));
  const Index length = std::max<Index>(1, ceil_div(count, most));
  return {std::max<Index>(1, ceil_div(count, length)), length};
}

// The sums of a stretch after the other; no values at all are one stretch of zeros.
class Sums {
 public:
  template <class Term>
  Sums(const Channels& s, const Term& term, Stream stream)
      : parts(stretches_of(s)), memory_(4 * parts.count * s.channels, stream) {
    const bool last = s.inner == 1;
    const Index blocks = parts.count * (last ? ceil_div(s.channels, 32) : s.channels);
    launch(last ? channel_sums<Term, 32> : channel_sums<Term, 1>, blocks, kThreads, stream, s, parts.length, term,
           data());
  }
  double* data() const { return reinterpret_cast<double*>(memory_.floats()); }

  Stretches parts;

 private:
  Scratch memory_;
};

}  // namespace

void batch_norm_statistics(const Channels& s, const float* x, float* mean, float* variance, Stream stream) {
  const Sums sums(s, Moments{x, s.inner}, stream);
  launch(finish_moments, element_blocks(s.channels), kThreads, stream, s, sums.parts.count, sums.data(), x, mean,
         variance);
}

void batch_norm(const Channels& s, const Epilogue& e, const float* x, const float* gamma, const float* mean,
                const float* variance, double epsilon, float* y, Stream stream) {
  const Scratch scale(s.channels, stream);
  launch(norm_scales, element_blocks(s.channels), kThreads, stream, s.channels, gamma, variance, epsilon,
         scale.floats());
  launch(normalize, element_blocks(s.outer * s.channels * s.inner), kThreads, stream, s, e, x, mean, scale.floats(), y);
}

void batch_norm_grad(const Channels& s, NormMask mask, const float* dy, const float* x, const float* gamma,
                     const float* mean, const float* variance, double epsilon, float* dx, float* dz, float* dgamma,
                     float* dbeta, Stream stream) {
  const Scratch scale(s.channels, stream), factors(2 * s.channels, stream);
  launch(norm_scales, element_blocks(s.channels), kThreads, stream, s.channels, gamma, variance, epsilon,
         scale.floats());
  mask.scale = scale.floats();
  const Sums sums(s, Gradients{mask, dy, x, mean, dz}, stream);
  launch(finish_gradients, element_blocks(s.channels), kThreads, stream, s, sums.parts.count, sums.data(), variance,
         epsilon, dgamma, dbeta, factors.floats());
  if (dz) mask.kind = NormMask::none;  // dz has it, and may have taken the place of dy
  launch(normalize_grad, element_blocks(s.outer * s.channels * s.inner), kThreads, stream, s, mask, dz ? dz : dy, x,
         mean, scale.floats(), factors.floats(), dx);
}

void bias_grad(Activation kind, float alpha, const Channels& s, const float* dy, const float* y, const float* x,
               float* dz, float* db, Stream stream) {
  const Sums sums(s, Bias{kind, alpha, dy, y, x, dz}, stream);
  launch(finish_sums, element_blocks(s.channels), kThreads, stream, s.channels, sums.parts.count, sums.data(), db);
}

}  // namespace tapwise::cuda
