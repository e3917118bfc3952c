// optim.cpp — the optimizers' steps over several parameters against their formulas in float64.
//
// Each bound adds up what the roundings of the formula's steps do to the result: kEpsilon times the size of each step.
#include <algorithm>

#include "../nn.h"
#include "check.h"

namespace tapwise::test {
namespace {

constexpr Index kSizes[] = {0, 1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 70'001};  // the last one in several chunks

enum State { kW, kM, kV, kAverage, kStates };

// A parameter before the step, and what must become of it.
struct Parameter {
  Array<float> dw, start[kStates];
  std::vector<Want> want[kStates];

  Parameter(Index size, const Update& u, float scale, Random& random)
      : dw(random_array(size, Values::uniform, random)),
        start{random_array(size, Values::uniform, random), random_array(size, Values::uniform, random),
              random_array(size, Values::uniform, random), random_array(size, Values::uniform, random)} {
    for (Index i = 0; i < size; ++i) {
      start[kV][i] = start[kV][i] * start[kV][i] + 0.01f;
      const double g = std::clamp<double>(double{dw[i]} * scale, -u.clip, u.clip);
      step(u, i, g);
    }
  }

  void step(const Update& u, Index i, double g) {
    const double w0 = start[kW][i], m0 = start[kM][i], v0 = start[kV][i], a0 = start[kAverage][i];
    double m = m0, v = v0, down, off = 0;  // down is what w loses
    if (u.rule == Rule::sgd) {
      m = u.momentum * m0 - u.rate * g;
      down = u.nesterov ? u.rate * g - u.momentum * m : -m;
      off = 5 * (std::fabs(u.momentum * m0) + std::fabs(u.rate * g));
    } else {
      v = v0 + u.rate_2 * (g * g - v0);
      const double off_v = 3 * (v0 + g * g) / v;  // relative; half of it is the root's
      if (u.rule == Rule::adam) {
        m = m0 + u.rate_1 * (g - m0);
        const double root = std::sqrt(v) + u.epsilon;
        down = u.rate * m / root;
        off = std::fabs(down) * (off_v + 5) + u.rate / root * 4 * (std::fabs(m0) + std::fabs(g));
      } else {
        const double up = u.rate * g / std::sqrt(v + u.epsilon);
        m = u.momentum * m0 + up;
        down = m;
        off = std::fabs(up) * (off_v + 6) + 2 * std::fabs(m0);
      }
    }
    const double w = u.keep * w0 - down, a = a0 + u.average_rate * (w - a0);
    const double off_w = off + 2 * (std::fabs(w0) + std::fabs(down));
    const auto bound = [&](State state, double value, double sizes) {
      want[state].push_back({value, kEpsilon * sizes + 4 * kTiny});
    };
    bound(kW, w, off_w);
    bound(kM, m, u.rule == Rule::adam ? 3 * (std::fabs(m0) + std::fabs(g)) : off + 2 * std::fabs(m0));
    bound(kV, v, 3 * (v0 + g * g));
    bound(kAverage, a, off_w + 4 * (std::fabs(a0) + std::fabs(w)));
  }
};

void check_update(const Options& options, const Update& u, bool averages, Random& random) {
  std::vector<Parameter> parameters;
  float scale = 1;
  for (const Index size : kSizes) parameters.emplace_back(size, u, scale, random), scale *= 0.75f;
  const bool has[] = {true, u.rule == Rule::adam || u.momentum != 0, u.rule != Rule::sgd, averages};
  for_each_level(options, [&](const Table& t) {
    const std::string what = std::string(t.isa) + " rule " + std::to_string(static_cast<int>(u.rule)) + ", of ";
    for (std::size_t seen = 0; seen < parameters.size(); ++seen)
      for (int state = kW; state < kStates; ++state) {
        if (!has[state]) continue;
        check_call(what + std::to_string(kSizes[seen]) + ": " + std::to_string(state), parameters[seen].want[state], {},
                   [&](float* to) {
                     std::vector<std::vector<float>> memory;
                     std::vector<Slot> slots;
                     float factor = 1;
                     for (std::size_t p = 0; p < parameters.size(); ++p, factor *= 0.75f) {
                       const Parameter& each = parameters[p];
                       float* at[kStates] = {};
                       for (int s = kW; s < kStates; ++s) {
                         const Array<float>& from = each.start[s];
                         memory.emplace_back(from.data(), from.data() + from.size());
                         if (has[s]) at[s] = p == seen && s == state ? to : memory.back().data();
                         if (at[s]) std::copy_n(from.data(), from.size(), at[s]);
                       }
                       slots.push_back({at[kW], each.dw.data(), at[kM], at[kV], at[kAverage], factor, each.dw.size()});
                     }
                     optimizer_update(u, slots.data(), static_cast<Index>(slots.size()));
                   });
      }
  });
}

void check_square_sum(const Options& options, Index size, Random& random) {
  const Array<float> x = random_array(size, Values::uniform, random);
  Sum sum;
  for (Index i = 0; i < size; ++i) sum.add(double{x[i]} * x[i]);
  for_each_level(options, [&](const Table& t) {
    check_call(std::string(t.isa) + " square_sum of " + std::to_string(size),
               {{sum.value, 18 * kEpsilon * sum.mass + kTiny}}, {},
               [&](float* to) { *to = static_cast<float>(square_sum(size, x.data())); });
  });
}

}  // namespace

void test_optim(const Options& options) {
  Random random(7);
  //                      rule, nesterov, rate, keep, momentum, rate_1, rate_2, epsilon, clip, average_rate
  const Update kUpdates[] = {{Rule::sgd, false, 0.1f, 1, 0, 0, 0, 0, INFINITY, 0},
                             {Rule::sgd, false, 0.1f, 0.99f, 0.9f, 0, 0, 0, 0.5f, 0.25f},
                             {Rule::sgd, true, 0.1f, 1, 0.9f, 0, 0, 0, INFINITY, 1},
                             {Rule::adam, false, 0.01f, 1, 0, 0.1f, 0.001f, 1e-7f, INFINITY, 0},
                             {Rule::adam, false, 0.01f, 0.9f, 0, 0.1f, 0.001f, 1e-3f, 0.25f, 0.5f},
                             {Rule::rmsprop, false, 0.01f, 1, 0, 0, 0.1f, 1e-7f, INFINITY, 0},
                             {Rule::rmsprop, false, 0.01f, 0.9f, 0.5f, 0, 0.1f, 1e-3f, 0.25f, 0.5f}};
  for (const Update& u : kUpdates) check_update(options, u, u.average_rate != 0, random);
  for (const Index size : kSizes) check_square_sum(options, size, random);
}

}  // namespace tapwise::test
