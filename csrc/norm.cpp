#include "chunks.h"
#include "isa.h"
#include "moments.h"
#include "nn.h"
#include "scratch.h"

namespace tapwise {
namespace {

constexpr Index kMostChunks = 256;  // of a sum: bounds the scratch

// A channels_last pair is one column of a chunk: its task takes all of the row.
struct Sums {
  Norm s;
  Index pairs, pair_elements;
  Index floats;  // of scratch

  // Elements of the chunks that whole rows of pairs [begin, end) are.
  Index first(Index begin) const { return std::min(s.outer, begin / s.channels * s.chunk) * s.channels * s.inner; }
};

Sums sums_of(Index outer, Index channels, Index inner) {
  const Index rows = std::max<Index>({1, kChunk / (channels * inner), (outer + kMostChunks - 1) / kMostChunks});
  const Index chunks = (outer + rows - 1) / rows;
  constexpr Index kFloats = sizeof(double) / sizeof(float);
  return {{outer, channels, inner, rows}, chunks * channels, rows * inner, chunks * channels * 2 * kFloats};
}

constexpr Index kArrays = 4;  // of a kernel

// Runs sum(staged, first, last, begin, end) over all pairs and adds the chunks in order, into the first one. Elements
// [first, last) are those of the pairs where a task takes whole chunks: with inner = 1, and to widen them.
template <class Sum>
void add_chunks(const Sums& shape, bool is_bf16, double* sums, const Sum& sum) {
  const Index channels = shape.s.channels;
  const bool whole = shape.s.inner == 1 || is_bf16;
  const Index grain = whole ? channels : std::max<Index>(1, kChunk / shape.pair_elements);
  parallel_for(shape.pairs, grain, [&](Index begin, Index end) {
    const FlushSubnormals flush;
    const Index first = shape.first(begin), last = shape.first(end);
    Staged staged(table(), kArrays * rounded_up(last - first));
    sum(staged, first, last, begin, end);
  });
  for (Index chunk = 2 * channels; chunk < 2 * shape.pairs; chunk += 2 * channels)
    for (Index i = 0; i < 2 * channels; ++i) sums[i] += sums[chunk + i];
}

// (outer, channel) pairs, whole rows of them with inner = 1.
template <class Body>
void split_pairs(Index outer, Index channels, Index inner, bool is_bf16, const Body& body) {
  const Index unit = inner == 1 ? channels : 1;
  split(outer * channels / unit, inner * unit, [&](Index begin, Index end) {
    in_stages(table(), is_bf16, inner * unit, begin, end,
              [&](Staged& staged, Index first, Index last, Index from, Index to) {
                body(staged, first, last, from * unit, to * unit);
              });
  });
}

}  // namespace

void bias_grad(Activation kind, float alpha, Index outer, Index channels, Index inner, Source dy, Source y, Source x,
               Target dz, float* db) {
  const Table& t = table();
  if (outer * channels * inner == 0) {
    std::fill_n(db, channels, 0.0f);
    return;
  }
  const Sums shape = sums_of(outer, channels, inner);
  double* sums = reinterpret_cast<double*>(scratch(Scratch::shared, shape.floats));
  add_chunks(shape, dy.is_bf16, sums, [&](Staged& staged, Index first, Index last, Index begin, Index end) {
    t.bias_grad_sums(shape.s, kind, alpha, staged.read(dy, first, last), staged.read(y, first, last),
                     staged.read(x, first, last), staged.write(dz, first, last), sums, begin, end);
  });
  for (Index c = 0; c < channels; ++c) db[c] = static_cast<float>(sums[c]);
}

void batch_norm_statistics(Index outer, Index channels, Index inner, Source x, float* mean, float* variance) {
  const Table& t = table();
  const Sums shape = sums_of(outer, channels, inner);
  float* memory = scratch(Scratch::shared, shape.floats + channels);
  double* sums = reinterpret_cast<double*>(memory);
  float* x0 = memory + shape.floats;
  for (Index c = 0; c < channels; ++c) x0[c] = x[c * inner];
  add_chunks(shape, x.is_bf16, sums, [&](Staged& staged, Index first, Index last, Index begin, Index end) {
    t.batch_norm_statistics(shape.s, staged.read(x, first, last), x0, sums, begin, end);
  });
  const double count = static_cast<double>(outer * inner);
  for (Index c = 0; c < channels; ++c) {
    const Moments found = moments(sums[c], sums[channels + c], count, x0[c]);
    mean[c] = found.mean, variance[c] = found.variance;
  }
}

void batch_norm(Index outer, Index channels, Index inner, Epilogue given, Source residual, Source x, const float* gamma,
                const float* mean, const float* variance, double epsilon, Target y) {
  const Table& t = table();
  float* scale = scratch(Scratch::shared, channels);
  for (Index c = 0; c < channels; ++c)
    scale[c] = static_cast<float>(gamma[c] * inverse_deviation(variance[c], epsilon));
  split_pairs(outer, channels, inner, x.is_bf16, [&](Staged& staged, Index first, Index last, Index begin, Index end) {
    Epilogue e = given;
    e.residual = staged.read(residual, first, last);
    t.batch_norm_forward({outer, channels, inner, 1}, e, staged.read(x, first, last), mean, scale,
                         staged.write(y, first, last), begin, end);
  });
}

void batch_norm_grad(Index outer, Index channels, Index inner, NormMask given, Source y, Source dy, Source x,
                     const float* gamma, const float* mean, const float* variance, double epsilon, Target dx, Target dz,
                     float* dgamma, float* dbeta) {
  const Table& t = table();
  const Sums shape = sums_of(outer, channels, inner);
  float* memory = scratch(Scratch::shared, shape.floats + 3 * channels);
  double* sums = reinterpret_cast<double*>(memory);
  float *scale = memory + shape.floats, *dy_mean = scale + channels, *slope = dy_mean + channels;
  for (Index c = 0; c < channels; ++c)
    scale[c] = static_cast<float>(gamma[c] * inverse_deviation(variance[c], epsilon));
  given.scale = scale;
  const auto mask = [&](Staged& staged, Index first, Index last) {
    NormMask m = given;
    m.y = m.kind == NormMask::by_output ? staged.read(y, first, last) : nullptr;
    return m;
  };
  add_chunks(shape, x.is_bf16, sums, [&](Staged& staged, Index first, Index last, Index begin, Index end) {
    t.batch_norm_grad_sums(shape.s, mask(staged, first, last), staged.read(dy, first, last),
                           staged.read(x, first, last), mean, staged.write(dz, first, last), sums, begin, end);
  });
  const double count = static_cast<double>(outer * inner);
  for (Index c = 0; c < channels; ++c) {
    const double inverse = inverse_deviation(variance[c], epsilon);
    dbeta[c] = static_cast<float>(sums[c]);
    dgamma[c] = static_cast<float>(sums[channels + c] * inverse);
    dy_mean[c] = static_cast<float>(sums[c] / count);
    slope[c] = static_cast<float>(sums[channels + c] * inverse * inverse / count);
  }
  if (dz.data) dy = dz.source(), given.kind = NormMask::none;
  split_pairs(outer, channels, inner, x.is_bf16, [&](Staged& staged, Index first, Index last, Index begin, Index end) {
    t.batch_norm_grad_input(shape.s, mask(staged, first, last), staged.read(dy, first, last),
                            staged.read(x, first, last), mean, scale, dy_mean, slope, staged.write(dx, first, last),
                            begin, end);
  });
}

}  // namespace tapwise
