// group_norm.cpp — normalization within an example: of rows, and of groups of planes.
//
//   x (outer, channels), mean, inverse (outer,), gamma, beta (channels,)  -> y     layer_norm_forward
//   dy, x, mean, inverse         -> sums (chunks, 2, channels)                     layer_norm_grad_sums
//   dy, x, gamma, mean, inverse  -> dx (outer, channels)                           layer_norm_grad_input
//   dy, x, mean, scale, shift, slope  -> dx (outer, channels, inner)               group_norm_grad_input
//
// A row is one channel of batch normalization: batch_norm_statistics finds its moments. The planes of a group are
// channels whose mean and scale come from the group: batch_norm_forward and batch_norm_grad_sums serve them, and
// group_norm.cpp of the folder above makes a group's sums of its planes'.
// Memory-bound: what a pass reads again is still in the cache.
//
// Ba, Kiros & Hinton, "Layer Normalization", 2016; Wu & He, "Group Normalization", 2018.
#include "channels.h"

namespace tapwise::ISA {
namespace {

struct RowSums {
  double g, g_x;  // of g = dy * gamma and of g * (x - mean)
};

TAPWISE_INLINE RowSums row_sums(Index channels, const float* dy, const float* x, const float* gamma, Vec mean) {
  Sums sum{};
  const auto add = [&](const Strip& strip, auto lanes) {
    add_blocks(sum, strip, [&](Index at, Vec& first, Vec& second) {
      const Vec g = load_part(dy + at, lanes) * load_part(gamma + at, lanes);
      first += g;
      second = fma(g, load_part(x + at, lanes) - mean, second);
    });
  };
  const Index vectors = channels / kLanes, rest = channels % kLanes;
  add(Strip{0, 0, kLanes, vectors, true}, AllLanes{});
  if (rest) add(Strip{0, vectors * kLanes, kLanes, 1, true}, rest);
  return {sum_lanes(sum.first), sum_lanes(sum.second)};
}

}  // namespace

void layer_norm_forward(const Norm& s, const float* x, const float* gamma, const float* beta, const float* mean,
                        const float* inverse, float* y, Index begin, Index end) {
  for (Index row = begin; row < end; ++row) {
    const float* const from = x + row * s.channels;
    float* const to = y + row * s.channels;
    const Vec m = splat(mean[row]), by = splat(inverse[row]);
    for_each_vector(0, s.channels, [&](Index c, Index lanes) {
      const Vec scale = by * load_part(gamma + c, lanes);
      store_part(to + c, fma(load_part(from + c, lanes) - m, scale, load_part(beta + c, lanes)), lanes);
    });
  }
}

void layer_norm_grad_sums(const Norm& s, const float* dy, const float* x, const float* mean, const float* inverse,
                          double* sums, Index begin, Index end) {
  sum_channels(s, sums, begin * s.channels, end * s.channels, [&](Sums& sum, const Strip& strip, auto lanes) {
    Index row = strip.at / s.channels;
    add_blocks(sum, strip, [&](Index at, Vec& first, Vec& second) {
      const Vec g = load_part(dy + at, lanes);
      first += g;
      second = fma(g, (load_part(x + at, lanes) - splat(mean[row])) * splat(inverse[row]), second);
      ++row;
    });
  });
}

void layer_norm_grad_input(const Norm& s, const float* dy, const float* x, const float* gamma, const float* mean,
                           const float* inverse, float* dx, Index begin, Index end) {
  const double count = static_cast<double>(s.channels);
  for (Index row = begin; row < end; ++row) {
    const Index at = row * s.channels;
    const Vec m = splat(mean[row]), by = splat(inverse[row]);
    const RowSums sums = row_sums(s.channels, dy + at, x + at, gamma, m);
    const double scale = inverse[row];
    const Vec shift = splat(static_cast<float>(scale * sums.g / count));
    const Vec slope = splat(static_cast<float>(scale * scale * scale * sums.g_x / count));
    for_each_vector(0, s.channels, [&](Index c, Index lanes) {
      const Vec g = load_part(dy + at + c, lanes) * load_part(gamma + c, lanes);
      const Vec from_mean = load_part(x + at + c, lanes) - m;
      store_part(dx + at + c, fma(g, by, -fma(from_mean, slope, shift)), lanes);
    });
  }
}

void group_norm_grad_input(const Norm& s, const float* dy, const float* x, const float* mean, const float* scale,
                           const float* shift, const float* slope, float* dx, Index begin, Index end) {
  for_each_strip(s, strip_rows(s), begin, end, [&](const Strip& strip, auto lanes) {
    const Vec m = strip.parameter(mean, lanes), by = strip.parameter(scale, lanes);
    const Vec less = strip.parameter(shift, lanes), tilt = strip.parameter(slope, lanes);
    for (Index i = 0; i < strip.vectors; ++i) {
      const Index at = strip.at + i * strip.step;
      const Vec from_mean = load_part(x + at, lanes) - m;
      store_part(dx + at, fma(load_part(dy + at, lanes), by, -fma(from_mean, tilt, less)), lanes);
    }
  });
}

}  // namespace tapwise::ISA
