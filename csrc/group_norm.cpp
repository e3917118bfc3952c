#include "chunks.h"
#include "isa.h"
#include "moments.h"
#include "nn.h"
#include "scratch.h"

namespace tapwise {
namespace {

constexpr Index kBlock = 4096;  // elements of rows that stay in the L1 cache from one pass to the next
constexpr Index kMostChunks = 256, kMostSums = 1 << 20;  // chunks of rows, and sums in all of them: bound the scratch
constexpr Index kDouble = sizeof(double) / sizeof(float);

double* doubles(float* memory) {
  return reinterpret_cast<double*>(memory);
}

// A row is one group of one example, and of batch normalization one channel.
struct Rows {
  Index count, values;

  explicit Rows(const Groups& s) : count(s.outer * s.groups), values(s.channels * s.inner) {}
};

// gamma and beta go along the row.
bool is_layer(const Groups& s) {
  return s.groups == 1 && s.inner == 1;
}

// visit(begin, end) of blocks of rows.
template <class Visit>
void for_each_block(const Rows& rows, const Visit& visit) {
  const Index step = std::max<Index>(1, kBlock / rows.values);
  split(rows.count, rows.values, [&](Index begin, Index end) {
    for (Index row = begin; row < end; row += step) visit(row, std::min(end, row + step));
  });
}

void find_moments(const Table& t, const Rows& rows, const float* x, float* mean, float* variance, Index begin,
                  Index end) {
  const Index count = end - begin;
  float* const memory = scratch(Scratch::task, count * (2 * kDouble + 1));
  double* const sums = doubles(memory);
  float* const x0 = memory + count * 2 * kDouble;
  for (Index i = 0; i < count; ++i) x0[i] = x[(begin + i) * rows.values];
  t.batch_norm_statistics({1, count, rows.values, 1}, x + begin * rows.values, x0, sums, 0, count);
  for (Index i = 0; i < count; ++i) {
    const Moments found = moments(sums[i], sums[count + i], static_cast<double>(rows.values), x0[i]);
    mean[begin + i] = found.mean, variance[begin + i] = found.variance;
  }
}

// One row's planes, as channels: what batch normalization's kernels take of them, in a task's scratch.
struct Planes {
  Norm s;
  Index at;  // of the row's first element
  const float* gamma;
  double inverse;
  float *mean, *scale, *shift, *slope;

  static constexpr Index kArrays = 4;
  Planes(const Groups& groups, Index row, const float* weights, float row_mean, double row_inverse)
      : s{1, groups.channels, groups.inner, 1},
        at(row * s.channels * s.inner),
        gamma(weights + row % groups.groups * s.channels),
        inverse(row_inverse),
        mean(scratch(Scratch::task, kArrays * s.channels)),
        scale(mean + s.channels),
        shift(scale + s.channels),
        slope(shift + s.channels) {
    std::fill_n(mean, s.channels, row_mean);
    for (Index c = 0; c < s.channels; ++c) scale[c] = static_cast<float>(gamma[c] * inverse);
  }

  // sums (2, channels), of dy and dy * (x - mean)
  void grad_input(const Table& t, const double* sums, const float* dy, const float* x, float* dx) const {
    double g = 0, g_x = 0;
    for (Index c = 0; c < s.channels; ++c) g += gamma[c] * sums[c], g_x += gamma[c] * sums[s.channels + c];
    const double count = static_cast<double>(s.channels * s.inner);
    std::fill_n(shift, s.channels, static_cast<float>(inverse * g / count));
    std::fill_n(slope, s.channels, static_cast<float>(inverse * inverse * inverse * g_x / count));
    t.group_norm_grad_input(s, dy + at, x + at, mean, scale, shift, slope, dx + at, 0, s.channels);
  }
};

// sums (parts, groups, 2, channels) of dy and dy * (x - mean) * inverse, added in order.
void add_parts(const Groups& s, Index parts, double* sums, float* dgamma, float* dbeta) {
  const Index size = s.groups * 2 * s.channels;
  for (Index part = size; part < parts * size; part += size)
    for (Index i = 0; i < size; ++i) sums[i] += sums[part + i];
  for (Index group = 0; group < s.groups; ++group) {
    const double* const of_group = sums + group * 2 * s.channels;
    for (Index c = 0; c < s.channels; ++c) {
      dbeta[group * s.channels + c] = static_cast<float>(of_group[c]);
      dgamma[group * s.channels + c] = static_cast<float>(of_group[s.channels + c]);
    }
  }
}

void layer_norm_grad(const Groups& groups, const float* dy, const float* x, const float* gamma, const float* mean,
                     const float* variance, double epsilon, float* dx, float* dgamma, float* dbeta) {
  const Table& t = table();
  const Index rows = groups.outer, channels = groups.channels;
  const Index most = std::clamp<Index>(kMostSums / channels, 1, kMostChunks);
  const Index chunk = std::max<Index>({1, kChunk / channels, (rows + most - 1) / most});
  const Index chunks = (rows + chunk - 1) / chunk, sums_floats = chunks * 2 * channels * kDouble;
  const Norm s{rows, channels, 1, chunk};
  float* const memory = scratch(Scratch::shared, sums_floats + rows);
  double* const sums = doubles(memory);
  float* const inverse = memory + sums_floats;
  split(chunks, chunk * channels, [&](Index begin, Index end) {
    for (Index part = begin; part < end; ++part) {
      const Index first = part * chunk, last = std::min(rows, first + chunk);
      for (Index row = first; row < last; ++row)
        inverse[row] = static_cast<float>(inverse_deviation(variance[row], epsilon));
      t.layer_norm_grad(s, dy, x, gamma, mean, inverse, dx, sums + part * 2 * channels, first, last);
    }
  });
  add_parts(groups, chunks, sums, dgamma, dbeta);
}

}  // namespace

void group_norm(const Groups& s, const float* x, const float* gamma, const float* beta, double epsilon, float* mean,
                float* variance, float* y) {
  const Table& t = table();
  const Rows rows(s);
  float* const inverse = scratch(Scratch::shared, rows.count);
  for_each_block(rows, [&](Index begin, Index end) {
    find_moments(t, rows, x, mean, variance, begin, end);
    if (is_layer(s)) {
      for (Index row = begin; row < end; ++row)
        inverse[row] = static_cast<float>(inverse_deviation(variance[row], epsilon));
      t.layer_norm_forward({rows.count, rows.values, 1, 1}, x, gamma, beta, mean, inverse, y, begin, end);
      return;
    }
    for (Index row = begin; row < end; ++row) {
      const Planes p(s, row, gamma, mean[row], inverse_deviation(variance[row], epsilon));
      const Epilogue e{beta + row % s.groups * s.channels, nullptr, Activation::none, 0};
      t.batch_norm_forward(p.s, e, x + p.at, p.mean, p.scale, y + p.at, 0, s.channels);
    }
  });
}

void group_norm_grad(const Groups& s, const float* dy, const float* x, const float* gamma, const float* mean,
                     const float* variance, double epsilon, float* dx, float* dgamma, float* dbeta) {
  const Table& t = table();
  const Rows rows(s);
  if (is_layer(s)) return layer_norm_grad(s, dy, x, gamma, mean, variance, epsilon, dx, dgamma, dbeta);
  double* const sums = doubles(scratch(Scratch::shared, rows.count * 2 * s.channels * kDouble));
  split(rows.count, rows.values, [&](Index begin, Index end) {
    for (Index row = begin; row < end; ++row) {
      const Planes p(s, row, gamma, mean[row], inverse_deviation(variance[row], epsilon));
      double* const of_row = sums + row * 2 * s.channels;
      t.batch_norm_grad_sums(p.s, {NormMask::none, nullptr, nullptr, nullptr}, dy + p.at, x + p.at, p.mean, nullptr,
                             of_row, 0, s.channels);
      p.grad_input(t, of_row, dy, x, dx);
      for (Index c = 0; c < s.channels; ++c) of_row[s.channels + c] *= p.inverse;
    }
  });
  add_parts(s, s.outer, sums, dgamma, dbeta);
}

}  // namespace tapwise
