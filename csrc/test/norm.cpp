// norm.cpp — batch normalization with what is joined to it, and bias gradients, against their formulas in float64.
//
// Each bound adds up what the roundings of the formula's steps do to the result: kEpsilon times the size of each step.
#include <algorithm>

#include "../nn.h"
#include "check.h"

namespace tapwise::test {
namespace {

constexpr double kBlock = 17;  // roundings of a sum by channel: 16 terms in float32, the rest in float64

// What batch normalization takes of a channel.
struct Channel {
  double mean = 0, variance = 0, spread = 0;              // of x: spread is the mean of |x - mean|
  double dz_sum = 0, dz_x_sum = 0, mass = 0, x_mass = 0;  // of dz and dz (x - mean), and of their sizes
};

struct NormProblem {
  Index outer, channels, inner;
  NormMask::Kind mask;
  double count;  // of one channel
  Array<float> x, dy, gamma, beta, residual, mean, variance, y, dz;
  std::vector<Channel> exact;
  static constexpr double kVariance = 1e-3;  // epsilon

  NormProblem(Index outer_size, Index channel_count, Index inner_size, NormMask::Kind kind, Random& random)
      : outer(outer_size),
        channels(channel_count),
        inner(inner_size),
        mask(kind),
        count(static_cast<double>(outer * inner)),
        x(random_array(outer * channels * inner, Values::uniform, random)),
        dy(random_array(x.size(), Values::uniform, random)),
        gamma(random_array(channels, Values::uniform, random)),
        beta(random_array(channels, Values::uniform, random)),
        residual(random_array(x.size(), Values::uniform, random)),
        mean(channels),
        variance(channels),
        y(x.size()),
        dz(x.size()),
        exact(channels) {
    for (Index i = 0; i < x.size(); ++i) {
      x[i] += static_cast<float>(channel(i) % 3 * 100);  // a mean far from 0
      of(i).mean += x[i] / count;
    }
    for (Index i = 0; i < x.size(); ++i) {
      of(i).variance += (x[i] - of(i).mean) * (x[i] - of(i).mean) / count;
      of(i).spread += std::fabs(x[i] - of(i).mean) / count;
    }
    for (Index c = 0; c < channels; ++c) {
      mean[c] = static_cast<float>(exact[c].mean);
      variance[c] = static_cast<float>(exact[c].variance);
    }
    for (Index i = 0; i < x.size(); ++i) mask_gradient(i);
  }

  void mask_gradient(Index i) {
    const Index c = channel(i);
    const double value = gamma[c] * inverse(c) * from_mean(i) + beta[c];
    if (std::fabs(value) < 1e-5) dy[i] = 0;  // whose sign rounding decides
    y[i] = mask == NormMask::by_output ? random_sign(i) : static_cast<float>(value);
    dz[i] = mask == NormMask::none || y[i] > 0 ? dy[i] : 0.0f;
    Channel& e = of(i);
    e.dz_sum += dz[i], e.dz_x_sum += dz[i] * from_mean(i);
    e.mass += std::fabs(dz[i]), e.x_mass += std::fabs(dz[i] * from_mean(i));
  }
  float random_sign(Index i) const { return residual[i]; }
  Index channel(Index i) const { return i / inner % channels; }
  Channel& of(Index i) { return exact[channel(i)]; }
  double from_mean(Index i) const { return double{x[i]} - mean[channel(i)]; }
  double inverse(Index c) const { return 1 / std::sqrt(variance[c] + kVariance); }
  std::string name() const {
    return "batch_norm of (" + std::to_string(outer) + ", " + std::to_string(channels) + ", " + std::to_string(inner) +
           "), mask " + std::to_string(static_cast<int>(mask)) + ": ";
  }
};

void check_statistics(const Options& options, const NormProblem& p) {
  std::vector<Want> mean, variance;
  for (const Channel& c : p.exact) {
    mean.push_back({c.mean, kEpsilon * (std::fabs(c.mean) + kBlock * c.spread) + kTiny});
    variance.push_back({c.variance, kBlock * kEpsilon * c.variance + kTiny});
  }
  for_each_level(options, [&](const Table& t) {
    const std::string what = t.isa + (' ' + p.name());
    Array<float> other(p.channels);
    check_call(what + "mean", mean, {},
               [&](float* to) { batch_norm_statistics(p.outer, p.channels, p.inner, p.x.data(), to, other.data()); });
    check_call(what + "variance", variance, {},
               [&](float* to) { batch_norm_statistics(p.outer, p.channels, p.inner, p.x.data(), other.data(), to); });
  });
}

void check_norm(const Options& options, const NormProblem& p, Activation kind, bool adds) {
  std::vector<Want> y;
  for (Index i = 0; i < p.x.size(); ++i) {
    const Index c = p.channel(i);
    const double scaled = p.gamma[c] * p.inverse(c) * p.from_mean(i), added = adds ? p.residual[i] : 0;
    const double sizes = 3 * std::fabs(scaled) + 2 * std::fabs(p.beta[c]) + std::fabs(added);
    y.push_back(activated(kind, 0.3, scaled + p.beta[c] + added, kEpsilon * sizes + 2 * kTiny));
  }
  const Epilogue e{p.beta.data(), nullptr, kind, 0.3f};
  const float* const residual = adds ? p.residual.data() : nullptr;
  for_each_level(options, [&](const Table& t) {
    const std::string what = t.isa + (' ' + p.name()) + "forward" + (adds ? " with a residual, " : ", ") +
                             std::to_string(static_cast<int>(kind));
    check_call(what, y, {}, [&](float* to) {
      batch_norm(p.outer, p.channels, p.inner, e, residual, p.x.data(), p.gamma.data(), p.mean.data(),
                 p.variance.data(), p.kVariance, to);
    });
  });
}

void check_norm_gradient(const Options& options, const NormProblem& p) {
  std::vector<Want> dx, dz, dgamma, dbeta;
  for (Index c = 0; c < p.channels; ++c) {
    const Channel& e = p.exact[c];
    dbeta.push_back({e.dz_sum, kBlock * kEpsilon * e.mass + kTiny});
    dgamma.push_back({e.dz_x_sum * p.inverse(c), (kBlock + 3) * kEpsilon * e.x_mass * p.inverse(c) + kTiny});
  }
  for (Index i = 0; i < p.x.size(); ++i) {
    const Index c = p.channel(i);
    const Channel& e = p.exact[c];
    const double scale = p.gamma[c] * p.inverse(c), slope = p.inverse(c) * p.inverse(c) / p.count;
    const double trend = p.from_mean(i) * slope, value = p.dz[i] - e.dz_sum / p.count - trend * e.dz_x_sum;
    const double sums = kBlock * (e.mass / p.count + std::fabs(trend) * e.x_mass);
    const double sizes = 4 * std::fabs(p.dz[i]) + 4 * sums;
    dz.push_back({p.dz[i], 0});
    dx.push_back({scale * value, std::fabs(scale) * (kEpsilon * sizes + 3 * kTiny) + kTiny});
  }
  for_each_level(options, [&](const Table& t) {
    const std::string what = t.isa + (' ' + p.name());
    Array<float> x(p.x.size()), z(p.x.size()), one(p.channels), two(p.channels);
    const NormMask mask{p.mask, nullptr, nullptr, p.beta.data()};
    const auto call = [&](const float* dy, float* to_x, float* to_z, float* to_gamma, float* to_beta) {
      batch_norm_grad(p.outer, p.channels, p.inner, mask, p.y.data(), dy, p.x.data(), p.gamma.data(), p.mean.data(),
                      p.variance.data(), p.kVariance, to_x, to_z, to_gamma, to_beta);
    };
    const float* dy = p.dy.data();
    check_call(what + "dx", dx, {}, [&](float* to) { call(dy, to, nullptr, one.data(), two.data()); });
    check_call(what + "dx in place", dx, {}, [&](float* to) {
      std::copy_n(dy, p.dy.size(), to);
      call(to, to, nullptr, one.data(), two.data());
    });
    check_call(what + "dx beside dz", dx, {}, [&](float* to) { call(dy, to, z.data(), one.data(), two.data()); });
    check_call(what + "dz in place", dz, {}, [&](float* to) {
      std::copy_n(dy, p.dy.size(), to);
      call(to, x.data(), to, one.data(), two.data());
    });
    check_call(what + "dgamma", dgamma, {}, [&](float* to) { call(dy, x.data(), nullptr, to, two.data()); });
    check_call(what + "dbeta", dbeta, {}, [&](float* to) { call(dy, x.data(), nullptr, one.data(), to); });
  });
}

// dz = dy where y > 0, and its sums; without an activation those of dy.
void check_bias_gradient(const Options& options, Index outer, Index channels, Index inner, bool masked,
                         Random& random) {
  const Array<float> dy = random_array(outer * channels * inner, Values::uniform, random);
  const Array<float> y = random_array(dy.size(), Values::uniform, random);
  std::vector<Want> dz, db(channels, Want{0, kTiny});
  for (Index i = 0; i < dy.size(); ++i) {
    dz.push_back({masked && y[i] <= 0 ? 0 : dy[i], 0});
    Want& sum = db[i / inner % channels];
    sum.value += dz.back().value;
    sum.allowed += kBlock * kEpsilon * std::fabs(dz.back().value);
  }
  const Activation kind = masked ? Activation::relu : Activation::none;
  for_each_level(options, [&](const Table& t) {
    const std::string what = std::string(t.isa) + " bias_grad of (" + std::to_string(outer) + ", " +
                             std::to_string(channels) + ", " + std::to_string(inner) + ")";
    const auto call = [&](const float* from, float* to, float* sums) {
      bias_grad(kind, 0, outer, channels, inner, from, y.data(), nullptr, to, sums);
    };
    check_call(what, db, {}, [&](float* to) { call(dy.data(), nullptr, to); });
    Array<float> sums(channels);
    check_call(what + ": dz in place", dz, {}, [&](float* to) {
      std::copy_n(dy.data(), dy.size(), to);
      call(to, to, sums.data());
    });
  });
}

}  // namespace

void test_norm(const Options& options) {
  Random random(6);
  constexpr Index kNorms[][3] = {{1, 1, 1}, {2, 3, 1},   {7, 16, 1},  {40, 17, 1},   {900, 100, 1},
                                 {3, 5, 7}, {2, 33, 16}, {4, 3, 169}, {1, 2, 40'000}};
  for (const auto& [outer, channels, inner] : kNorms)
    for (const NormMask::Kind mask : {NormMask::none, NormMask::by_output, NormMask::by_input}) {
      const NormProblem p(outer, channels, inner, mask, random);
      if (mask == NormMask::none) {
        check_statistics(options, p);
        for (const Activation kind : {Activation::none, Activation::relu, Activation::elu, Activation::relu6})
          for (const bool adds : {false, true}) check_norm(options, p, kind, adds);
      }
      check_norm_gradient(options, p);
    }
  constexpr Index kBiases[][3] = {{1, 1, 1}, {0, 5, 1}, {3, 5, 1},   {7, 19, 1},    {1100, 33, 1}, {40, 1030, 1},
                                  {2, 3, 1}, {2, 3, 7}, {3, 17, 61}, {1, 2, 20000}, {5, 64, 600}};
  for (const auto& [outer, channels, inner] : kBiases)
    for (const bool masked : {false, true}) check_bias_gradient(options, outer, channels, inner, masked, random);
}

}  // namespace tapwise::test
