// nn.cpp — activations, dropout and losses against their formulas in float64.
//
// Each bound adds up what the roundings of the formula's steps do to the result: kEpsilon times the size of each step.
#include "../nn.h"

#include <algorithm>
#include <numbers>

#include "check.h"

namespace tapwise::test {
namespace {

constexpr Index kSizes[] = {0, 1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 70'001};  // the last one in several chunks
constexpr Activation kActivations[] = {Activation::none, Activation::relu, Activation::leaky_relu,
                                       Activation::elu,  Activation::tanh, Activation::sigmoid,
                                       Activation::gelu, Activation::relu6};
constexpr float kAlpha = 0.3f;

// [-scale, scale), led by what is special.
Array<float> numbers(Index size, float scale, Random& random) {
  constexpr float kSpecial[] = {NAN,     0,     -0.0f,  INFINITY, -INFINITY, 1e-30f, -1e-30f, 0x1p-140f,
                                -1e-40f, 88.9f, -88.9f, 104,      -104,      3e38f,  -3e38f,  15};
  Array<float> a = random_array(size, Values::uniform, random);
  for (Index i = 0; i < size; ++i) a[i] *= scale;
  if (size > 1000) std::copy(std::begin(kSpecial), std::end(kSpecial), a.data());
  return a;
}

struct Normal {
  double distribution, density;
};

Normal normal(double x) {
  return {0.5 * std::erfc(-x / std::numbers::sqrt2),
          std::exp(-x * x / 2) * std::numbers::inv_sqrtpi / std::numbers::sqrt2};
}

// dy f'(x) as cpu/activation.cpp states it: read off y, but for gelu.
Want activation_gradient(Activation kind, double dy, double y, double x) {
  const auto want = [](double value, double steps) {
    return Want{value, kEpsilon * std::fabs(steps) + kTiny * (1 + std::fabs(steps))};
  };
  switch (kind) {
    case Activation::none:
      return {dy, 0};
    case Activation::relu:
      return {y <= 0 ? 0 : dy, 0};
    case Activation::leaky_relu:
      return y <= 0 ? want(kAlpha * dy, kAlpha * dy) : want(dy, dy);
    case Activation::elu: {
      const double value = y <= 0 ? dy * (y + kAlpha) : dy;
      return want(value, value);
    }
    case Activation::sigmoid:
      return want(dy * y * (1 - y), 2 * dy * y * (1 - y));
    case Activation::tanh:
      return want(dy * (1 - y * y), 2 * dy);
    case Activation::relu6:
      return {y <= 0 || y >= 6 ? 0 : dy, 0};
    case Activation::gelu: {  // 4 and 2.1 units in the last place of the two, see cpu/math.h
      const Normal n = normal(x);
      const double second = x * n.density;
      return want(dy * (n.distribution + second), dy * (6 * n.distribution + 4 * std::fabs(second)));
    }
  }
  return {NAN, 0};
}

void check_activation(const Options& options, Activation kind, Index size, Random& random) {
  const Array<float> x = numbers(size, 12, random), dy = random_array(size, Values::uniform, random);
  Array<float> y(size);
  std::vector<Want> want, gradient;
  for (Index i = 0; i < size; ++i) {
    want.push_back(activated(kind, kAlpha, x[i], std::isfinite(x[i]) ? kTiny : 0));
    y[i] = std::fabs(want[i].value) < kTiny ? 0.0f : static_cast<float>(want[i].value);  // as the kernels see it
    gradient.push_back(activation_gradient(kind, dy[i], y[i], x[i]));
  }
  for_each_level(options, [&](const Table& t) {
    const std::string what =
        std::string(t.isa) + " activation " + std::to_string(static_cast<int>(kind)) + " of " + std::to_string(size);
    check_call(what, want, {}, [&](float* to) { activation(kind, kAlpha, size, x.data(), to); });
    check_call(what + " in place", want, {}, [&](float* to) {
      std::copy_n(x.data(), size, to);
      activation(kind, kAlpha, size, to, to);
    });
    check_call(what + ", gradient in place", gradient, {}, [&](float* dx) {
      std::copy_n(dy.data(), size, dx);
      activation_grad(kind, kAlpha, size, dx, y.data(), x.data(), dx);
    });
  });
}

void check_add(const Options& options, Activation kind, Index size, Random& random) {
  const Array<float> a = numbers(size, 12, random), b = random_array(size, Values::uniform, random);
  std::vector<Want> want;
  for (Index i = 0; i < size; ++i) {
    const double sum = double{a[i]} + b[i];
    want.push_back(activated(kind, kAlpha, sum, std::isfinite(a[i]) ? kEpsilon * std::fabs(sum) + kTiny : 0));
  }
  for_each_level(options, [&](const Table& t) {
    const std::string what = std::string(t.isa) + " add of " + std::to_string(size);
    check_call(what, want, {}, [&](float* to) { add(kind, kAlpha, size, a.data(), b.data(), to); });
    check_call(what + " in place", want, {}, [&](float* to) {
      std::copy_n(b.data(), size, to);
      add(kind, kAlpha, size, a.data(), to, to);
    });
  });
}

std::uint32_t mixed(std::uint32_t h) {
  h = (h ^ h >> 16) * 0x85ebca6b;
  h = (h ^ h >> 13) * 0xc2b2ae35;
  return h ^ h >> 16;
}

void check_dropout(const Options& options, Index size, double rate, std::uint64_t seed, Random& random) {
  const Array<float> x = random_array(size, Values::uniform, random);
  const auto scale = static_cast<float>(1 / (1 - rate));
  std::vector<Want> want;
  for (Index i = 0; i < size; ++i) {
    const std::uint32_t first = mixed(static_cast<std::uint32_t>(i) ^ static_cast<std::uint32_t>(seed));
    const bool kept = mixed(first + static_cast<std::uint32_t>(seed >> 32)) >= std::floor(rate * 0x1p32);
    want.push_back({kept ? x[i] * scale : 0, 0});
  }
  for_each_level(options, [&](const Table& t) {
    const std::string what = std::string(t.isa) + " dropout of " + std::to_string(size);
    check_call(what, want, {}, [&](float* y) { dropout(size, x.data(), y, rate, seed); });
    check_call(what + " in place", want, {}, [&](float* y) {
      std::copy_n(x.data(), size, y);
      dropout(size, y, y, rate, seed);
    });
  });
}

// One row of logits: what softmax and the losses of it are made of.
struct Softmax {
  std::vector<double> p;
  double largest = -INFINITY, log_sum = 0;
  double units;  // of kEpsilon: how far off a sum of e^(x - largest), relatively

  explicit Softmax(const float* x, Index classes) : p(classes) {
    double least = INFINITY, sum = 0;
    for (Index j = 0; j < classes; ++j) largest = std::fmax(largest, x[j]), least = std::fmin(least, x[j]);
    for (Index j = 0; j < classes; ++j) sum += p[j] = std::exp(x[j] - largest);
    for (double& each : p) each /= sum;
    log_sum = std::log(sum);
    // x - largest rounds, which is the exponent's error; e^x is 1.05 units off; classes - 1 additions. Past e^-104 a
    // term is 0.
    units = std::fmin(largest - least, 104) / 2 + 1.05 + static_cast<double>(classes) / 2;
  }
};

Array<float> logits(Index rows, Index classes, Random& random) {
  Array<float> x = random_array(rows * classes, Values::uniform, random);
  for (Index i = 0; i < x.size(); ++i) x[i] *= i / classes % 2 ? 3.0f : 300.0f;
  if (rows > 4) x[2 * classes] = NAN, x[4 * classes - 1] = -INFINITY, x[4 * classes] = INFINITY;
  return x;
}

void check_softmax(const Options& options, Index rows, Index classes, Random& random) {
  const Array<float> x = logits(rows, classes, random), dy = random_array(x.size(), Values::uniform, random);
  Array<float> y(x.size());
  std::vector<Want> want, gradient;
  for (Index row = 0; row < rows; ++row) {
    const Softmax s(x.data() + row * classes, classes);
    Sum dot;
    for (Index j = row * classes; j < (row + 1) * classes; ++j) {
      const double p = s.p[j - row * classes];
      want.push_back({p, 2 * (s.units + 1) * kEpsilon * p + kTiny});
      y[j] = p < kTiny ? 0.0f : static_cast<float>(p);
      dot.add(double{dy[j]} * y[j]);
    }
    for (Index j = row * classes; j < (row + 1) * classes; ++j) {
      const double difference = dy[j] - dot.value;
      gradient.push_back({y[j] * difference, y[j] * (dot.bound() + kEpsilon * std::fabs(difference)) + kTiny});
    }
  }
  for_each_level(options, [&](const Table& t) {
    const std::string what =
        std::string(t.isa) + " softmax of (" + std::to_string(rows) + ", " + std::to_string(classes) + ")";
    check_call(what, want, {}, [&](float* to) { softmax(rows, classes, x.data(), to); });
    check_call(what + ", gradient", gradient, {},
               [&](float* dx) { softmax_grad(rows, classes, dy.data(), y.data(), dx); });
  });
}

// Targets are a distribution a row, or null: then labels.
void check_cross_entropy(const Options& options, Index rows, Index classes, bool labelled, Random& random) {
  const Array<float> x = logits(rows, classes, random), scale = random_array(rows, Values::uniform, random);
  Array<std::int32_t> labels(rows);
  Array<float> targets(x.size());
  std::vector<Want> want, gradient;
  for (Index row = 0; row < rows; ++row) {
    const Softmax s(x.data() + row * classes, classes);
    labels[row] = static_cast<std::int32_t>(random.between(0, classes - 1));
    float* const t = targets.data() + row * classes;
    for (Index j = 0; j < classes; ++j) t[j] = labelled ? float(j == labels[row]) : std::fabs(random.uniform());
    Sum loss, total;
    double rounding = 0;
    for (Index j = 0; j < classes; ++j) {
      const double drop = x[row * classes + j] - s.largest;
      total.add(t[j]);
      if (t[j] != 0) loss.add(t[j] * (s.log_sum - drop));
      if (t[j] != 0) rounding += t[j] * (s.units + 1.5 * std::fabs(s.log_sum) + std::fabs(drop));
    }
    want.push_back({loss.value, loss.bound() + kEpsilon * rounding});
    for (Index j = 0; j < classes; ++j) {
      const double first = s.p[j] * total.value, difference = first - t[j];
      const double off = (2 * (s.units + 1) + static_cast<double>(classes)) * first + std::fabs(difference);
      gradient.push_back({scale[row] * difference, std::fabs(scale[row]) * kEpsilon * off + 2 * kTiny});
    }
  }
  const std::int32_t* l = labelled ? labels.data() : nullptr;
  const float* d = labelled ? nullptr : targets.data();
  for_each_level(options, [&](const Table& t) {
    const std::string what = std::string(t.isa) + " cross-entropy of (" + std::to_string(rows) + ", " +
                             std::to_string(classes) + (labelled ? "), labels" : "), targets");
    check_call(what, want, {}, [&](float* to) { softmax_cross_entropy(rows, classes, x.data(), l, d, to); });
    check_call(what + ", gradient", gradient, {},
               [&](float* to) { softmax_cross_entropy_grad(rows, classes, x.data(), l, d, scale.data(), to); });
  });
}

}  // namespace

void test_nn(const Options& options) {
  Random random(4);
  for (const Index size : kSizes) {
    for (const Activation kind : kActivations) check_activation(options, kind, size, random);
    for (const Activation kind : {Activation::none, Activation::relu}) check_add(options, kind, size, random);
    for (const double rate : {0.0, 0.25, 0.999}) check_dropout(options, size, rate, random.next(), random);
  }
  for (const Index classes : {1, 2, 3, 4, 5, 7, 8, 9, 10, 15, 16, 17, 33, 1000})
    for (const Index rows : {1, 3, 70}) {
      check_softmax(options, rows, classes, random);
      for (const bool labelled : {true, false}) check_cross_entropy(options, rows, classes, labelled, random);
    }
}

}  // namespace tapwise::test
