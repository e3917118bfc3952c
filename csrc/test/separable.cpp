// separable.cpp — a depthwise and a pointwise convolution in one pass against the same in two: the bits must be equal.
//
// The two passes themselves are held to plain sums in conv.cpp.
#include "../ops.h"
#include "check.h"

namespace tapwise::test {
namespace {

struct Case {
  const char* name;
  Index n, c, co, ih, iw, k, stride, pad;
};

constexpr Case kCases[] = {
    {"one pixel", 1, 2, 5, 1, 1, 1, 1, 0},
    {"empty batch", 0, 8, 8, 4, 4, 3, 1, 1},
    {"a tail in both", 2, 19, 37, 5, 9, 3, 1, 1},
    {"several blocks", 2, 65, 40, 15, 31, 3, 1, 1},
    {"stride 2", 1, 33, 24, 23, 30, 3, 2, 1},
    {"5x5", 2, 17, 6, 9, 20, 5, 1, 2},
    {"blocks of columns", 1, 512, 8, 4, 150, 3, 1, 1},
    {"a signal", 1, 6, 16, 1, 700, 3, 1, 1},
};

Conv depthwise(const Case& g) {
  const Index k_h = g.ih == 1 ? 1 : g.k, pad_h = g.ih == 1 ? 0 : g.pad;
  Conv s{};
  s.layout = Layout::channels_last, s.n = g.n, s.groups = s.ci = s.co = g.c;
  s.id = s.od = s.kd = s.sd = s.dil_d = s.dil_h = s.dil_w = 1;
  s.ih = g.ih, s.iw = g.iw, s.kh = k_h, s.kw = g.k, s.sh = s.sw = g.stride, s.pt = pad_h, s.pl = g.pad;
  s.oh = (g.ih + 2 * pad_h - k_h) / g.stride + 1, s.ow = (g.iw + 2 * g.pad - g.k) / g.stride + 1;
  s.w_co = 1, s.w_ci = s.w_w = g.c, s.w_h = s.kw * g.c, s.w_d = s.kh * s.w_h;
  return s;
}

Conv pointwise(const Conv& first, Index co) {
  Conv s = first;
  s.groups = 1, s.ci = first.co, s.co = co;
  s.id = s.od = first.od, s.ih = s.oh = first.oh, s.iw = s.ow = first.ow;
  s.kd = s.kh = s.kw = s.sd = s.sh = s.sw = 1, s.pf = s.pt = s.pl = 0;
  s.w_co = 1, s.w_ci = co, s.w_w = s.w_h = s.w_d = s.ci * co;
  return s;
}

void check_case(const Options& options, const Case& g, Random& random) {
  const Conv s = depthwise(g), mix = pointwise(s, g.co);
  const auto array = [&](Index size) { return random_array(size, Values::uniform, random); };
  const auto x = array(s.n * s.ih * s.iw * s.ci), w = array(s.kh * s.kw * s.co), v = array(s.co * g.co);
  const Index pixels = s.n * s.oh * s.ow;
  const auto b = array(s.co), b_out = array(g.co), residual = array(pixels * g.co);
  const Epilogue middle = {b.data(), nullptr, Activation::relu6, 0};
  const Epilogue e = {b_out.data(), random.one_in(2) ? residual.data() : nullptr, Activation::leaky_relu, 0.3f};
  for_each_level(options, [&](const Table& t) {
    const std::string what = std::string(t.isa) + " separable " + g.name + ": ";
    Array<float> between(pixels * s.co), y(pixels * g.co);
    conv_forward(s, {Algorithm::direct}, x.data(), w.data(), middle, between.data());
    conv_forward(mix, {Algorithm::direct}, between.data(), v.data(), e, y.data());
    std::vector<Want> want;
    for (Index i = 0; i < y.size(); ++i) want.push_back({y[i], 0});
    const SeparablePlan p = plan_separable(simplified(s), simplified(mix), t);
    check(p.fused, what + "must take one pass");
    check_call(what + "raw", want, {p.split.shared_floats, p.split.scratch_floats}, [&](float* to) {
      separable_forward(s, mix, x.data(), {w.data(), nullptr}, {v.data(), nullptr}, middle, e, to);
    });
    const PackedWeights first(s, Pass::forward, {Algorithm::direct}, w.data());
    const PackedWeights second(mix, Pass::forward, {Algorithm::direct}, v.data());
    check_call(what + "packed", want, {0, p.split.scratch_floats}, [&](float* to) {
      separable_forward(s, mix, x.data(), {nullptr, &first}, {nullptr, &second}, middle, e, to);
    });
  });
}

}  // namespace

void test_separable(const Options& options) {
  Random random(7);
  for (const Case& g : kCases) check_case(options, g, random);
}

}  // namespace tapwise::test
