// group_norm.cpp — normalization of rows and of groups of planes against its formulas in float64.
//
// Each bound adds up what the roundings of the formula's steps do to the result: kEpsilon times the size of each step.
#include <algorithm>

#include "../nn.h"
#include "check.h"

namespace tapwise::test {
namespace {

constexpr double kBlock = 17;  // roundings of a sum: 16 terms in float32, the rest in float64
constexpr double kVariance = 1e-3;

struct Row {
  double mean = 0, variance = 0, spread = 0;        // of x; spread is the mean of |x - mean|
  double g = 0, g_x = 0, g_mass = 0, g_x_mass = 0;  // of g = dy gamma and g (x - mean), and of their sizes
  double inverse() const { return 1 / std::sqrt(variance + kVariance); }
};

struct GroupProblem {
  Groups s;
  double count;  // of one row
  Array<float> x, dy, gamma, beta, mean, variance;
  std::vector<Row> exact;

  GroupProblem(const Groups& sizes, Random& random)
      : s(sizes),
        count(static_cast<double>(s.channels * s.inner)),
        x(random_array(s.outer * s.groups * s.channels * s.inner, Values::uniform, random)),
        dy(random_array(x.size(), Values::uniform, random)),
        gamma(random_array(s.groups * s.channels, Values::uniform, random)),
        beta(random_array(gamma.size(), Values::uniform, random)),
        mean(s.outer * s.groups),
        variance(mean.size()),
        exact(static_cast<std::size_t>(mean.size())) {
    for (Index i = 0; i < x.size(); ++i) {
      x[i] += static_cast<float>(row(i) % 3 * 100);  // a mean far from 0
      of(i).mean += x[i] / count;
    }
    for (Index i = 0; i < x.size(); ++i) {
      const double from_mean = x[i] - of(i).mean;
      of(i).variance += from_mean * from_mean / count;
      of(i).spread += std::fabs(from_mean) / count;
    }
    for (Index r = 0; r < mean.size(); ++r) {  // gradients are of the moments as they are given
      Row& e = exact[static_cast<std::size_t>(r)];
      mean[r] = static_cast<float>(e.mean), variance[r] = static_cast<float>(e.variance);
    }
    for (Index i = 0; i < x.size(); ++i) {
      Row& e = of(i);
      e.g += g(i), e.g_mass += std::fabs(g(i));
      e.g_x += g(i) * from_mean(i), e.g_x_mass += std::fabs(g(i) * from_mean(i));
    }
  }

  Index row(Index i) const { return i / (s.channels * s.inner); }
  Index channel(Index i) const { return i / s.inner % gamma.size(); }
  Row& of(Index i) { return exact[static_cast<std::size_t>(row(i))]; }
  const Row& of(Index i) const { return exact[static_cast<std::size_t>(row(i))]; }
  double from_mean(Index i) const { return double{x[i]} - mean[row(i)]; }
  double inverse(Index i) const { return 1 / std::sqrt(variance[row(i)] + kVariance); }
  double g(Index i) const { return double{dy[i]} * gamma[channel(i)]; }
  std::string name() const {
    return "group_norm of (" + std::to_string(s.outer) + ", " + std::to_string(s.groups) + ", " +
           std::to_string(s.channels) + ", " + std::to_string(s.inner) + "): ";
  }
};

void check_forward(const Options& options, const GroupProblem& p) {
  std::vector<Want> mean, variance, y;
  for (const Row& e : p.exact) {
    mean.push_back({e.mean, kEpsilon * (std::fabs(e.mean) + kBlock * e.spread) + kTiny});
    variance.push_back({e.variance, kBlock * kEpsilon * e.variance + kTiny});
  }
  for (Index i = 0; i < p.x.size(); ++i) {
    const Row& e = p.of(i);
    const double scale = p.gamma[p.channel(i)] * e.inverse(), scaled = scale * (p.x[i] - e.mean);
    const double of_mean = std::fabs(scale) * (std::fabs(e.mean) + kBlock * e.spread);
    const double sizes = (4 + kBlock / 2) * std::fabs(scaled) + 2 * std::fabs(p.beta[p.channel(i)]) + of_mean;
    y.push_back({scaled + p.beta[p.channel(i)], kEpsilon * sizes + 2 * kTiny});
  }
  for_each_level(options, [&](const Table& t) {
    const std::string what = t.isa + (' ' + p.name());
    Array<float> m(p.mean.size()), v(p.mean.size()), result(p.x.size());
    const auto call = [&](float* to_mean, float* to_variance, float* to) {
      group_norm(p.s, p.x.data(), p.gamma.data(), p.beta.data(), kVariance, to_mean, to_variance, to);
    };
    check_call(what + "mean", mean, {}, [&](float* to) { call(to, v.data(), result.data()); });
    check_call(what + "variance", variance, {}, [&](float* to) { call(m.data(), to, result.data()); });
    check_call(what + "y", y, {}, [&](float* to) { call(m.data(), v.data(), to); });
    check_call(what + "y in place", y, {}, [&](float* to) {
      std::copy_n(p.x.data(), p.x.size(), to);
      group_norm(p.s, to, p.gamma.data(), p.beta.data(), kVariance, m.data(), v.data(), to);
    });
  });
}

void check_gradient(const Options& options, const GroupProblem& p) {
  std::vector<Want> dx, dgamma(static_cast<std::size_t>(p.gamma.size())), dbeta(dgamma.size());
  for (Index i = 0; i < p.x.size(); ++i) {
    const Row& e = p.of(i);
    const double inverse = p.inverse(i), tilt = p.from_mean(i) * inverse * inverse / p.count;
    const double sums = kBlock * (e.g_mass / p.count + std::fabs(tilt) * e.g_x_mass);
    dx.push_back({inverse * (p.g(i) - e.g / p.count - tilt * e.g_x),
                  5 * kEpsilon * inverse * (std::fabs(p.g(i)) + sums) + 2 * kTiny});
    const std::size_t c = static_cast<std::size_t>(p.channel(i));
    const double normal = p.from_mean(i) * inverse;
    dbeta[c].value += p.dy[i], dbeta[c].allowed += kBlock * kEpsilon * std::fabs(p.dy[i]) + kTiny;
    dgamma[c].value += p.dy[i] * normal;
    dgamma[c].allowed += (kBlock + 4) * kEpsilon * std::fabs(p.dy[i] * normal) + kTiny;
  }
  for_each_level(options, [&](const Table& t) {
    const std::string what = t.isa + (' ' + p.name());
    Array<float> to_x(p.x.size()), to_gamma(p.gamma.size()), to_beta(p.gamma.size());
    const auto call = [&](const float* dy, float* x, float* gamma, float* beta) {
      group_norm_grad(p.s, dy, p.x.data(), p.gamma.data(), p.mean.data(), p.variance.data(), kVariance, x, gamma, beta);
    };
    const float* const dy = p.dy.data();
    check_call(what + "dx", dx, {}, [&](float* to) { call(dy, to, to_gamma.data(), to_beta.data()); });
    check_call(what + "dgamma", dgamma, {}, [&](float* to) { call(dy, to_x.data(), to, to_beta.data()); });
    check_call(what + "dbeta", dbeta, {}, [&](float* to) { call(dy, to_x.data(), to_gamma.data(), to); });
    check_call(what + "dx in place", dx, {}, [&](float* to) {
      std::copy_n(dy, p.dy.size(), to);
      call(to, to, to_gamma.data(), to_beta.data());
    });
  });
}

}  // namespace

void test_group_norm(const Options& options) {
  Random random(10);
  constexpr Groups kSizes[] = {{1, 1, 1, 1},    {3, 1, 1, 1},   {40, 1, 17, 1}, {7, 1, 64, 1}, {300, 1, 333, 1},
                               {2, 1, 9000, 1}, {2, 3, 1, 1},   {3, 2, 5, 1},   {2, 1, 3, 7},  {3, 4, 2, 49},
                               {2, 5, 1, 33},   {1, 2, 3, 500}, {2, 2, 2, 9000}};
  for (const Groups& sizes : kSizes) {
    const GroupProblem p(sizes, random);
    check_forward(options, p);
    check_gradient(options, p);
  }
}

}  // namespace tapwise::test
