// low_precision.cpp — convolutions of bfloat16 and int8 against plain loops: bfloat16 within the bound of float32 sums,
// int8 exactly; what float32's kernels do for bfloat16 against float32.
#include "../low_precision.h"

#include <algorithm>

#include "../nn.h"
#include "../plan.h"
#include "../threads.h"
#include "check.h"

namespace tapwise::test {
namespace {

struct Size {
  Index n, groups, ci, co, in, k, stride, dilation, pad;
};

// Words hold 2 or 4 channels, panels 8 to 32, tiles up to 14 pixels.
constexpr Size kSizes[] = {{1, 1, 1, 1, 1, 1, 1, 1, 0},   {2, 1, 3, 5, 6, 3, 1, 1, 1},    {1, 1, 8, 33, 7, 1, 1, 1, 0},
                           {1, 1, 5, 17, 9, 3, 2, 1, 1},  {1, 1, 4, 9, 8, 3, 1, 2, 2},    {2, 3, 12, 15, 5, 3, 1, 1, 1},
                           {1, 6, 6, 6, 9, 3, 1, 1, 1},   {1, 1, 16, 64, 15, 3, 1, 1, 1}, {1, 1, 7, 11, 4, 2, 3, 1, 5},
                           {1, 1, 2048, 3, 3, 1, 1, 1, 0}};

Conv conv_of(const Size& z, Layout layout) {
  Conv s{};
  s.layout = layout;
  s.n = z.n, s.groups = z.groups, s.ci = z.ci, s.co = z.co;
  s.id = s.od = s.kd = s.sd = s.dil_d = 1;
  s.ih = z.in, s.iw = z.in + 1;
  s.kh = s.kw = z.k, s.sh = s.sw = z.stride, s.dil_h = s.dil_w = z.dilation, s.pt = s.pl = z.pad;
  const Index span = (z.k - 1) * z.dilation;
  s.oh = (s.ih + 2 * z.pad - span - 1) / z.stride + 1, s.ow = (s.iw + 2 * z.pad - span - 1) / z.stride + 1;
  const Index cg = z.ci / z.groups;
  if (layout == Layout::channels_last)
    s.w_co = 1, s.w_ci = z.co, s.w_w = cg * z.co, s.w_h = z.k * s.w_w, s.w_d = z.k * s.w_h;
  else
    s.w_w = 1, s.w_h = z.k, s.w_ci = z.k * z.k, s.w_d = s.w_ci, s.w_co = cg * s.w_ci;
  return s;
}

Index at(const Conv& s, Index channels, Index height, Index width, Index n, Index c, Index h, Index w) {
  if (s.layout == Layout::channels_last) return ((n * height + h) * width + w) * channels + c;
  return ((n * channels + c) * height + h) * width + w;
}

// visit(place in y, output channel); then inner(place in x or -1, place in w) for each of its terms.
template <class Begin, class Term>
void for_each_term(const Conv& s, const Begin& begin, const Term& term) {
  const Index cg = s.ci / s.groups, cog = s.co / s.groups;
  for (Index n = 0; n < s.n; ++n)
    for (Index o = 0; o < s.co; ++o)
      for (Index h = 0; h < s.oh; ++h)
        for (Index w = 0; w < s.ow; ++w) {
          const Index y = at(s, s.co, s.oh, s.ow, n, o, h, w);
          begin(y, o);
          for (Index r = 0; r < s.kh; ++r)
            for (Index q = 0; q < s.kw; ++q)
              for (Index c = 0; c < cg; ++c) {
                const Index i = h * s.sh - s.pt + r * s.dil_h, j = w * s.sw - s.pl + q * s.dil_w;
                const bool inside = i >= 0 && i < s.ih && j >= 0 && j < s.iw;
                term(y, inside ? at(s, s.ci, s.ih, s.iw, n, o / cog * cg + c, i, j) : -1,
                     r * s.w_h + q * s.w_w + c * s.w_ci + o * s.w_co);
              }
        }
}

float from_bf16(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

std::vector<std::uint16_t> random_bf16(Index size, Random& random) {
  std::vector<std::uint16_t> a;
  for (Index i = 0; i < size; ++i)
    a.push_back(static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(random.uniform()) >> 16));
  return a;
}

void check_bf16(const Options& options, const Conv& s, const std::string& name, Random& random) {
  const auto x = random_bf16(s.n * s.ci * s.ih * s.iw, random);
  const auto w = random_bf16(s.kh * s.kw * s.ci / s.groups * s.co, random);
  const Array<float> b = random_array(s.co, Values::uniform, random);
  std::vector<Sum> sums(static_cast<std::size_t>(s.n * s.co * s.oh * s.ow));
  for_each_term(
      s, [&](Index y, Index o) { sums[y].add(b[o]); },
      [&](Index y, Index i, Index j) {
        if (i >= 0) sums[y].add(double{from_bf16(x[i])} * from_bf16(w[j]));
      });
  std::vector<Want> want;
  for (const Sum& sum : sums) want.push_back(activated(Activation::relu, 0, sum.value, sum.bound()));
  for_each_level(options, [&](const Table& t) {
    const PackedWords packed(s, w.data());
    const LowSplit split = split_words(simplified(s), 2, false, t);
    check_call(std::string(t.isa) + " conv_bf16 of " + name, want, {split.panels * t.panel, split.scratch_words},
               [&](float* y) { conv_bf16(s, packed, x.data(), b.data(), {y, true, Activation::relu, 0}); });
  });
}

void check_int8(const Options& options, const Conv& s, const std::string& name, bool is_signed, Random& random) {
  std::vector<std::uint8_t> x(static_cast<std::size_t>(s.n * s.ci * s.ih * s.iw));
  std::vector<std::int8_t> w(static_cast<std::size_t>(s.kh * s.kw * s.ci / s.groups * s.co));
  std::vector<std::int32_t> b;
  std::vector<float> scale;
  for (auto& v : x) v = static_cast<std::uint8_t>(random.between(0, 255));
  for (auto& v : w) v = static_cast<std::int8_t>(random.between(-127, 127));
  for (Index o = 0; o < s.co; ++o) {
    b.push_back(static_cast<std::int32_t>(random.between(-1000, 1000)));
    scale.push_back(static_cast<float>(random.between(1, 100)) * 1e-4f);
  }
  const std::int32_t x_zero = static_cast<std::int32_t>(random.between(0, 255)) - (is_signed ? 128 : 0);
  const auto value = [&](Index i) { return is_signed ? static_cast<std::int8_t>(x[i]) : std::int32_t{x[i]}; };
  std::vector<std::int32_t> sums(static_cast<std::size_t>(s.n * s.co * s.oh * s.ow));
  std::vector<Index> channel(sums.size());
  for_each_term(
      s, [&](Index y, Index o) { sums[y] = b[o], channel[y] = o; },
      [&](Index y, Index i, Index j) {
        if (i >= 0) sums[y] += (value(i) - x_zero) * w[j];
      });
  std::vector<std::uint8_t> want;
  for (std::size_t y = 0; y < sums.size(); ++y) {
    const float scaled = std::nearbyint(static_cast<float>(sums[y]) * scale[channel[y]]);
    want.push_back(static_cast<std::uint8_t>(std::clamp(scaled + 3.0f, 0.0f, 255.0f)));
  }
  for_each_level(options, [&](const Table& t) {
    const PackedWords packed(s, w.data());
    for (const int threads : {1, 4}) {
      set_thread_count(threads);
      std::vector<std::uint8_t> y(want.size(), 0xA5);
      conv_int8(s, packed, {x.data(), is_signed, x_zero}, b.data(), scale.data(), {y.data(), 3, 0, 255, 0, 0});
      check(y == want, std::string(t.isa) + " conv_int8 of " + name + " on " + std::to_string(threads) + " threads");
    }
  });
}

std::uint16_t to_bf16(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  return static_cast<std::uint16_t>((std::isnan(x) ? bits | 0x00400000 : bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}

// Floats of any bits to bfloat16 and back, and a sum: float32's, rounded, in tasks of their own memory.
void check_cast(const Options& options, Index size, Random& random) {
  std::vector<float> x, y(static_cast<std::size_t>(size));
  std::vector<std::uint16_t> want, got(x.size());
  for (Index i = 0; i < size; ++i) x.push_back(std::bit_cast<float>(static_cast<std::uint32_t>(random.next())));
  for (const float v : x) want.push_back(to_bf16(v));
  for_each_level(options, [&](const Table& t) {
    const std::string what = std::string(t.isa) + " cast of " + std::to_string(size);
    got.assign(x.size() + 1, 0xA5A5);
    cast(size, x.data(), got.data());
    check(std::equal(want.begin(), want.end(), got.begin()) && got.back() == 0xA5A5, what);
    cast(size, want.data(), y.data());
    bool same = true;
    for (std::size_t i = 0; i < y.size(); ++i)
      same = same && std::bit_cast<std::uint32_t>(y[i]) == std::uint32_t{want[i]} << 16;
    check(same, what + " and back");
    const auto a = random_bf16(size, random), b = random_bf16(size, random);
    add(Activation::relu, 0, size, a.data(), b.data(), got.data());
    same = got.back() == 0xA5A5;
    for (std::size_t i = 0; i < a.size(); ++i)
      same = same && got[i] == to_bf16(std::max(0.0f, from_bf16(a[i]) + from_bf16(b[i])));
    check(same, what + ": add");
  });
}

// The kernels of float32 on the same numbers, for a batch that is cut into shares.
void check_bf16_gradients(const Options& options, Random& random) {
  const Conv s = conv_of({20, 1, 32, 64, 30, 3, 2, 1, 1}, Layout::channels_last);
  const auto x = random_bf16(s.n * s.ci * s.ih * s.iw, random), dy = random_bf16(s.n * s.co * s.oh * s.ow, random);
  std::vector<float> wide_x, wide_dy, w, dw(9 * 32 * 64), sums(dw.size()), wide_dx(x.size());
  for (const std::uint16_t v : x) wide_x.push_back(from_bf16(v));
  for (const std::uint16_t v : dy) wide_dy.push_back(from_bf16(v));
  for (const std::uint16_t v : random_bf16(s.w_d, random)) w.push_back(from_bf16(v));
  std::vector<std::uint16_t> dx(x.size());
  for_each_level(options, [&](const Table& t) {
    const Choice direct = {Algorithm::direct};
    conv_bf16_grad_weight(s, direct, x.data(), dy.data(), dw.data());
    conv_grad_weight(s, direct, wide_x.data(), wide_dy.data(), sums.data());
    const double terms = static_cast<double>(s.n * s.oh * s.ow);
    bool near = true;
    for (std::size_t i = 0; i < dw.size(); ++i)
      near = near && std::fabs(dw[i] - sums[i]) <= 2 * terms * kEpsilon * terms;
    check(near, std::string(t.isa) + " conv_bf16_grad_weight in shares");
    conv_bf16_grad_input(s, direct, dy.data(), w.data(), dx.data());
    conv_grad_input(s, direct, wide_dy.data(), w.data(), {nullptr, nullptr, Activation::none, 0}, wide_dx.data());
    bool same = true;
    for (std::size_t i = 0; i < dx.size(); ++i) same = same && dx[i] == to_bf16(wide_dx[i]);
    check(same, std::string(t.isa) + " conv_bf16_grad_input in shares");
  });
}

// The chains of each peak kernel add up to what plain arithmetic gives: `step` more a step and chain.
void check_peak(const Table& t, const char* name, FmaPeak* peak, double operations, double step) {
  constexpr Index kSteps = 640;
  Array<float> sink(t.lanes);
  const double chains = peak(kSteps, sink.data()) / (operations * kSteps * static_cast<double>(t.lanes));
  const Want want = {chains * (chains - 1) / 2 + chains * kSteps * step, 0};
  check_within(std::string(t.isa) + " " + name, sink, std::vector<Want>(t.lanes, want));
}

}  // namespace

void test_low_precision(const Options& options) {
  Random random(8);
  for (const Size& z : kSizes)
    for (const Layout layout : {Layout::channels_last, Layout::channels_first}) {
      const Conv s = conv_of(z, layout);
      const std::string name = std::to_string(z.ci) + "-" + std::to_string(z.co) + " " + std::to_string(z.k) + "x" +
                               std::to_string(z.k) + (layout == Layout::channels_last ? "" : ", channels first");
      check_bf16(options, s, name, random);
      check_int8(options, s, name, false, random);
      check_int8(options, s, name + ", signed", true, random);
    }
  for (const Index size : {0, 1, 7, 8, 31, 100, 100'000}) check_cast(options, size, random);
  check_bf16_gradients(options, random);
  for_each_level(options, [](const Table& t) {
    check_peak(t, "bf16_peak", t.bf16_peak, 4, 0x1p-6);  // two products of 1 and 2^-7
    check_peak(t, "int8_peak", t.int8_peak, 8, 0);       // bytes of 1 and -1 + 2 - 2 + 1
  });
}

}  // namespace tapwise::test
