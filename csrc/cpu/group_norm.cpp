// group_norm.cpp — normalization within an example: of rows, and of groups of planes.
//
//   x (outer, channels), mean, inverse (outer,), gamma, beta (channels,)  -> y     layer_norm_forward
//   dy, x, gamma, mean, inverse  -> dx (outer, channels), sums (2, channels)       layer_norm_grad
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

constexpr Index kTogether = 8;  // rows that stay in the L1: 12,608 x 192 takes 650 us, 730 by 16
constexpr int kColumns = 2;     // vectors that share what belongs to a row

// dx of a row is inverse * g - shift - slope * (x - mean), where g = dy * gamma.
struct Row {
  float mean, inverse, shift, slope;
};

// From the sums of g and of g * (x - mean). dx is fetched, since its rows are then written a column at a time.
TAPWISE_INLINE Row row_of(Index channels, const float* dy, const float* x, const float* gamma, float* dx, float mean,
                          float inverse) {
  Sums sum{};
  const Vec m = splat(mean);
  const auto add = [&](const Strip& strip, auto lanes) {
    add_blocks(sum, strip, [&](Index at, Vec& first, Vec& second) {
      __builtin_prefetch(dx + at, 1);
      const Vec g = load_part(dy + at, lanes) * load_part(gamma + at, lanes);
      first += g;
      second = fma(g, load_part(x + at, lanes) - m, second);
    });
  };
  const Index vectors = channels / kLanes, rest = channels % kLanes;
  add(Strip{0, 0, kLanes, vectors, true}, AllLanes{});
  if (rest) add(Strip{0, vectors * kLanes, kLanes, 1, true}, rest);
  const double scale = inverse, share = scale / static_cast<double>(channels);
  return {mean, inverse, static_cast<float>(share * sum_lanes(sum.first)),
          static_cast<float>(share * scale * scale * sum_lanes(sum.second))};
}

// dx of kVectors vectors of neighbouring channels in `count` rows, and their share of sums (2, channels); all pointers
// are at the first of these channels.
template <int kVectors, class Lanes>
TAPWISE_INLINE void add_columns(Index channels, const Row* rows, Index count, const float* dy, const float* x,
                                const float* gamma, float* dx, double* sums, Lanes lanes) {
  Vec scale[kVectors], first[kVectors]{}, second[kVectors]{};
  for (int v = 0; v < kVectors; ++v) scale[v] = load_part(gamma + v * kLanes, lanes);
  for (Index i = 0; i < count; ++i) {
    const Vec mean = splat(rows[i].mean), inverse = splat(rows[i].inverse);
    const Vec shift = splat(rows[i].shift), slope = splat(rows[i].slope);
    TAPWISE_UNROLL for (int v = 0; v < kVectors; ++v) {
      const Index at = i * channels + v * kLanes;
      const Vec g = load_part(dy + at, lanes), from_mean = load_part(x + at, lanes) - mean;
      first[v] += g;
      second[v] = fma(g, from_mean * inverse, second[v]);
      store_part(dx + at, fma(g * scale[v], inverse, -fma(from_mean, slope, shift)), lanes);
    }
  }
  for (int v = 0; v < kVectors; ++v) {
    add_to(sums + v * kLanes, widen(first[v]), lanes);
    add_to(sums + channels + v * kLanes, widen(second[v]), lanes);
  }
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

void layer_norm_grad(const Norm& s, const float* dy, const float* x, const float* gamma, const float* mean,
                     const float* inverse, float* dx, double* sums, Index begin, Index end) {
  for (Index c = 0; c < 2 * s.channels; ++c) sums[c] = 0;
  for (Index first = begin; first < end; first += kTogether) {
    const Index count = least(kTogether, end - first), at = first * s.channels;
    Row rows[kTogether];
    for (Index i = 0; i < count; ++i) {
      const Index row = at + i * s.channels;
      rows[i] = row_of(s.channels, dy + row, x + row, gamma, dx + row, mean[first + i], inverse[first + i]);
    }
    const auto add = [&]<int kVectors>(Index c, auto lanes) {
      add_columns<kVectors>(s.channels, rows, count, dy + at + c, x + at + c, gamma + c, dx + at + c, sums + c, lanes);
    };
    constexpr Index kWide = kColumns * kLanes;
    const Index whole = s.channels - s.channels % kWide;
    for (Index c = 0; c < whole; c += kWide) add.template operator()<kColumns>(c, AllLanes{});
    for_each_vector(whole, s.channels, [&](Index c, Index lanes) { add.template operator()<1>(c, lanes); });
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
