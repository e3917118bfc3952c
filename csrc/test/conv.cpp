// conv.cpp — the three passes of a convolution against the sum that defines them, term by term in float64.
//
// Every geometry runs in both layouts, by every algorithm, on every level, with w in some order and an epilogue drawn.
#include <array>

#include "../ops.h"
#include "check.h"
#include "winograd.h"

namespace tapwise::test {
namespace {

using Axes = std::array<Index, 3>;  // depth, height, width

struct Geometry {
  std::string name;
  Index n, ci, co, groups;
  Axes in, k;
  Axes before = {0, 0, 0}, after = {0, 0, 0};  // padding; a negative one crops
  Axes stride = {1, 1, 1}, dilation = {1, 1, 1};

  Index span(std::size_t axis) const { return dilation[axis] * (k[axis] - 1) + 1; }
  Index out(std::size_t axis) const { return (in[axis] + before[axis] + after[axis] - span(axis)) / stride[axis] + 1; }
};

// Lanes are 4, 8 or 16, panels twice that; tiles 6, 12 or 14 pixels.
std::vector<Geometry> named_geometries() {
  std::vector<Geometry> list = {
      // name, n, ci, co, groups, in, k, before, after, stride, dilation
      {"one pixel", 1, 1, 1, 1, {1, 1, 1}, {1, 1, 1}},
      {"one pixel under 3x3", 1, 2, 3, 1, {1, 1, 1}, {1, 3, 3}, {0, 1, 1}, {0, 1, 1}},
      {"one output", 2, 3, 2, 1, {1, 5, 4}, {1, 5, 4}},
      {"empty batch", 0, 3, 4, 1, {1, 5, 5}, {1, 3, 3}},
      {"prime channels", 2, 13, 19, 1, {1, 5, 7}, {1, 3, 3}, {0, 1, 1}, {0, 1, 1}},
      {"kernel larger than the input", 1, 4, 6, 1, {1, 2, 3}, {1, 5, 5}, {0, 2, 2}, {0, 2, 2}},
      {"pad larger than the kernel", 1, 3, 4, 1, {1, 3, 2}, {1, 2, 2}, {0, 3, 3}, {0, 3, 3}},
      {"pad larger than kernel and stride", 2, 2, 3, 1, {1, 4, 4}, {1, 2, 3}, {0, 5, 5}, {0, 5, 5}, {1, 3, 3}},
      {"1x1", 2, 24, 40, 1, {1, 5, 7}, {1, 1, 1}},
      {"1x1, pixels 4 KiB apart", 1, 1024, 9, 1, {1, 3, 5}, {1, 1, 1}},
      {"1x1, padded", 1, 5, 6, 1, {1, 3, 4}, {1, 1, 1}, {0, 1, 1}, {0, 1, 1}},
      {"1x1, strided", 2, 12, 20, 1, {1, 7, 8}, {1, 1, 1}, {}, {}, {1, 2, 2}},
      {"stride above the kernel", 1, 3, 4, 1, {1, 8, 11}, {1, 2, 2}, {}, {}, {1, 3, 3}},
      {"3x3 stride 2", 1, 5, 7, 1, {1, 8, 9}, {1, 3, 3}, {0, 0, 1}, {0, 1, 1}, {1, 2, 2}},
      {"another size on each axis", 2, 3, 4, 1, {1, 9, 12}, {1, 2, 3}, {0, 2, 1}, {0, 0, 3}, {1, 1, 2}, {1, 3, 2}},
      {"3x3 stride 2 of whole vectors", 2, 16, 35, 1, {1, 17, 24}, {1, 3, 3}, {0, 1, 1}, {0, 1, 1}, {1, 2, 2}},
      {"3x3 stride 2, one output", 1, 32, 3, 1, {1, 3, 2}, {1, 3, 3}, {0, 0, 2}, {0, 0, 0}, {1, 2, 2}},
      {"cropped by more than a stride", 1, 2, 3, 1, {1, 12, 11}, {1, 3, 3}, {0, 0, 1}, {0, -5, -3}, {1, 2, 2}},
      {"dilated and strided", 2, 3, 4, 1, {1, 11, 13}, {1, 3, 3}, {0, 3, 3}, {0, 3, 3}, {1, 2, 2}, {1, 3, 3}},
      {"dilation above the input", 1, 3, 4, 1, {1, 4, 3}, {1, 3, 3}, {0, 4, 4}, {0, 4, 4}, {1, 1, 1}, {1, 4, 4}},
      {"5x5", 2, 9, 18, 1, {1, 6, 11}, {1, 5, 5}, {0, 2, 2}, {0, 2, 2}},
      {"1x3", 2, 6, 19, 1, {1, 5, 11}, {1, 1, 3}, {0, 0, 1}, {0, 0, 1}},
      {"3x1", 2, 6, 19, 1, {1, 11, 5}, {1, 3, 1}, {0, 1, 0}, {0, 1, 0}},
      {"1x5", 1, 3, 9, 1, {1, 4, 17}, {1, 1, 5}, {0, 0, 2}, {0, 0, 2}},
      {"padded beyond a tile", 1, 3, 4, 1, {1, 5, 6}, {1, 3, 3}, {0, 7, 9}, {0, 8, 10}},
      {"blocks enough to prefetch", 1, 3, 17, 1, {1, 47, 81}, {1, 3, 3}, {0, 1, 1}, {0, 1, 1}},
      {"tiles enough for chunks of sums", 2, 20, 20, 1, {1, 60, 60}, {1, 3, 3}, {0, 1, 1}, {0, 1, 1}},
      {"stem 7x7 stride 2", 1, 3, 18, 1, {1, 23, 25}, {1, 7, 7}, {0, 3, 3}, {0, 3, 3}, {1, 2, 2}},
      {"15x15", 1, 2, 3, 1, {1, 17, 19}, {1, 15, 15}, {0, 7, 7}, {0, 7, 7}},
      {"(1, l)", 2, 5, 6, 1, {1, 1, 37}, {1, 1, 7}, {0, 0, 3}, {0, 0, 3}},
      {"(l, 1)", 2, 5, 6, 1, {1, 37, 1}, {1, 7, 1}, {0, 3, 0}, {0, 3, 0}},
      {"several blocks of columns", 1, 16, 17, 1, {1, 1, 200}, {1, 1, 25}, {0, 0, 12}, {0, 0, 12}},
      {"several tasks a thread", 2, 20, 40, 1, {1, 14, 15}, {1, 3, 3}, {0, 1, 1}, {0, 1, 1}},
      {"small maps, summed together", 9, 20, 40, 1, {1, 4, 5}, {1, 3, 3}, {0, 1, 1}, {0, 1, 1}},
      {"several chunks of pixels", 3, 17, 35, 1, {1, 22, 25}, {1, 3, 3}, {0, 1, 1}, {0, 1, 1}, {1, 1, 1}, {1, 2, 2}},
      {"several panels a task", 1, 20, 97, 1, {1, 4, 7}, {1, 3, 3}, {0, 1, 1}, {0, 1, 1}},
      {"outputs beyond the panels that are packed together", 1, 3, 139, 1, {1, 3, 4}, {1, 3, 3}, {0, 1, 1}, {0, 1, 1}},
      {"groups of 8", 2, 24, 24, 3, {1, 5, 9}, {1, 3, 3}, {0, 1, 1}, {0, 1, 1}},
      {"groups that widen, 2 to 5", 1, 6, 15, 3, {1, 4, 7}, {1, 3, 2}, {0, 1, 1}, {0, 1, 0}},
      {"groups that narrow, 17 to 1", 1, 34, 2, 2, {1, 4, 5}, {1, 2, 2}},
      {"groups of 17 to 33", 1, 34, 66, 2, {1, 3, 5}, {1, 3, 3}, {0, 1, 1}, {0, 1, 1}},
      {"input channels shared out", 1, 67, 19, 1, {1, 6, 6}, {1, 3, 3}, {0, 1, 1}, {0, 1, 1}},
      {"few outputs of many channels", 1, 67, 3, 1, {1, 5, 6}, {1, 3, 3}, {0, 1, 1}, {0, 1, 1}},
      {"depthwise, a tail", 2, 35, 35, 35, {1, 6, 17}, {1, 5, 5}, {0, 2, 2}, {0, 2, 2}},
      {"depthwise stride 2", 2, 19, 19, 19, {1, 9, 12}, {1, 3, 3}, {0, 1, 0}, {0, 1, 1}, {1, 2, 2}},
      {"depthwise dilated", 1, 10, 10, 10, {1, 9, 7}, {1, 3, 3}, {0, 2, 2}, {0, 2, 2}, {1, 1, 1}, {1, 2, 2}},
      {"depthwise, several tasks", 2, 65, 65, 65, {1, 40, 41}, {1, 3, 3}, {0, 1, 1}, {0, 1, 1}},
      {"depthwise, multiplier 2", 1, 9, 18, 9, {1, 5, 6}, {1, 3, 3}, {0, 1, 1}, {0, 1, 1}},
      {"depthwise 7x7 of wide rows", 1, 17, 17, 17, {1, 5, 40}, {1, 7, 7}, {0, 3, 3}, {0, 3, 3}},
      {"depthwise 5x5 stride 2", 1, 17, 17, 17, {1, 9, 61}, {1, 5, 5}, {0, 2, 2}, {0, 2, 2}, {1, 2, 2}},
      {"depthwise stride 3", 1, 16, 16, 16, {1, 11, 50}, {1, 3, 4}, {0, 1, 1}, {0, 1, 1}, {1, 3, 3}},
      {"depthwise, dilation shares a factor with the stride",
       1,
       6,
       6,
       6,
       {1, 19, 31},
       {1, 3, 3},
       {0, 4, 3},
       {0, 4, 3},
       {1, 4, 2},
       {1, 2, 6}},
      {"groups of 4, several tasks", 2, 72, 72, 18, {1, 31, 30}, {1, 3, 3}, {0, 1, 1}, {0, 1, 1}},
      {"groups of 8 stride 2", 1, 40, 40, 5, {1, 12, 33}, {1, 3, 3}, {0, 1, 1}, {0, 1, 1}, {1, 2, 2}},
      {"groups of 3 to 5, 5x5", 1, 21, 35, 7, {1, 6, 31}, {1, 5, 5}, {0, 2, 2}, {0, 2, 2}},
      {"1-D, nine taps of whole vectors", 1, 16, 19, 1, {1, 1, 47}, {1, 1, 9}, {0, 0, 4}, {0, 0, 4}},
      {"(l, 1), eight taps, the last phase short", 1, 16, 5, 1, {1, 33, 1}, {1, 8, 1}, {0, 7, 0}},
      {"1-D causal, dilated", 2, 4, 6, 1, {1, 1, 23}, {1, 1, 3}, {0, 0, 8}, {}, {1, 1, 1}, {1, 1, 4}},
      {"1-D, kernel 64, stride 16", 1, 2, 5, 1, {1, 1, 150}, {1, 1, 64}, {0, 0, 16}, {0, 0, 3}, {1, 1, 16}},
      {"1-D, kernel 60, stride 20, phases of many pixels",
       1,
       3,
       5,
       1,
       {1, 1, 1700},
       {1, 1, 60},
       {0, 0, 7},
       {},
       {1, 1, 20}},
      {"3-D", 2, 3, 5, 1, {4, 5, 6}, {3, 3, 3}, {1, 1, 1}, {1, 1, 1}},
      {"3-D, another stride on each axis", 1, 4, 6, 1, {5, 6, 7}, {2, 3, 4}, {0, 1, 2}, {1, 0, 1}, {1, 2, 3}},
      {"3-D depthwise, dilated", 1, 6, 6, 6, {5, 4, 6}, {2, 2, 3}, {1, 1, 1}, {1, 0, 1}, {1, 1, 1}, {2, 1, 2}},
      {"3-D, cropped", 1, 2, 3, 1, {6, 5, 5}, {2, 3, 2}, {1, 0, 2}, {-2, 1, -1}},
  };
  for (const Index edge : {3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 16, 17, 29, 31, 32, 33, 65}) {
    const std::string is = " = " + std::to_string(edge);
    list.push_back({"ow" + is, 1, 3, 5, 1, {1, 2, edge}, {1, 3, 3}, {0, 1, 1}, {0, 1, 1}});
    list.push_back({"co" + is, 1, 3, edge, 1, {1, 3, 5}, {1, 3, 3}});
    list.push_back({"ci" + is, 1, edge, 3, 1, {1, 3, 5}, {1, 3, 3}});
    list.push_back({"depthwise" + is, 1, edge, edge, edge, {1, 3, 6}, {1, 3, 3}, {0, 1, 1}, {0, 1, 1}});
  }
  return list;
}

Geometry random_geometry(Index number, Random& random) {
  Geometry g = {"random " + std::to_string(number), random.between(1, 3), 0, 0, 1, {1, 1, 1}, {1, 1, 1}};
  const bool depthwise = random.one_in(4);
  if (random.one_in(3)) g.groups = random.between(2, depthwise ? 40 : 5);
  g.ci = g.groups * (depthwise ? 1 : random.between(1, random.one_in(4) ? 40 : 9));
  g.co = g.groups * (depthwise ? 1 : random.between(1, random.one_in(4) ? 70 : 9));
  for (std::size_t axis = static_cast<std::size_t>(random.between(0, 2)); axis < 3; ++axis) {
    g.in[axis] = random.between(1, axis == 2 ? 20 : 7);
    g.k[axis] = random.between(1, 5);
    g.dilation[axis] = random.between(1, 3);
    g.stride[axis] = random.between(1, 4);
    g.before[axis] = random.between(0, g.k[axis] + 1);
    g.after[axis] = random.between(-2, g.k[axis] + 1);
    const Index missing = g.span(axis) - g.in[axis] - g.before[axis] - g.after[axis];
    if (missing > 0) g.after[axis] += missing;
  }
  return g;
}

// How w lies in memory. Reversed: all strides are negative. Spread: NaNs lie between the weights.
enum class View : int { own, other_layout, reversed, spread };
constexpr const char* kViews[] = {"", ", w of the other layout", ", w reversed", ", w spread"};

struct Problem {
  Conv s{};
  Index x_size, w_size, y_size;
  Index w_first, w_step;  // in w's memory: where the first weight lies, and how far apart neighbours are

  Problem(const Geometry& g, Layout layout, View view) : w_first(0), w_step(view == View::spread ? 2 : 1) {
    s.layout = layout, s.n = g.n, s.groups = g.groups, s.ci = g.ci, s.co = g.co;
    s.id = g.in[0], s.ih = g.in[1], s.iw = g.in[2];
    s.od = g.out(0), s.oh = g.out(1), s.ow = g.out(2);
    s.kd = g.k[0], s.kh = g.k[1], s.kw = g.k[2];
    s.sd = g.stride[0], s.sh = g.stride[1], s.sw = g.stride[2];
    s.dil_d = g.dilation[0], s.dil_h = g.dilation[1], s.dil_w = g.dilation[2];
    s.pf = g.before[0], s.pt = g.before[1], s.pl = g.before[2];
    x_size = s.n * s.ci * s.id * s.ih * s.iw;
    y_size = s.n * s.co * s.od * s.oh * s.ow;
    lay_out_weights(view);
  }

 private:
  struct Axis {
    Index size, *step;
  };

  void lay_out_weights(View view) {
    const Axis d = {s.kd, &s.w_d}, h = {s.kh, &s.w_h}, w = {s.kw, &s.w_w};
    const Axis ci = {s.ci / s.groups, &s.w_ci}, co = {s.co, &s.w_co};
    const bool last = (s.layout == Layout::channels_last) != (view == View::other_layout);
    w_size = w_step;
    for (const Axis& axis : last ? std::array{co, ci, w, h, d} : std::array{w, h, d, ci, co}) {
      *axis.step = view == View::reversed ? -w_size : w_size;
      w_size *= axis.size;
    }
    if (view == View::reversed) w_first = w_size - 1;
  }
};

// Calls visit(i, j, k) for every product x[i] * w[j] that y[k] is the sum of.
template <class Visit>
void for_each_product(const Conv& s, const Visit& visit) {
  const Index cig = s.ci / s.groups, cog = s.co / s.groups;
  const bool last = s.layout == Layout::channels_last;
  const Index x_plane = s.id * s.ih * s.iw, y_plane = s.od * s.oh * s.ow;
  const Index x_channel = last ? 1 : x_plane, x_pixel = last ? s.ci : 1;
  const Index y_channel = last ? 1 : y_plane, y_pixel = last ? s.co : 1;
  const auto inside = [](Index i, Index size) { return i >= 0 && i < size; };
  for (Index n = 0; n < s.n; ++n)
    for (Index out = 0; out < y_plane; ++out)
      for (Index tap = 0; tap < s.kd * s.kh * s.kw; ++tap) {
        const Index kd = tap / (s.kh * s.kw), kh = tap / s.kw % s.kh, kw = tap % s.kw;
        const Index d = out / (s.oh * s.ow) * s.sd - s.pf + kd * s.dil_d;
        const Index h = out / s.ow % s.oh * s.sh - s.pt + kh * s.dil_h;
        const Index w = out % s.ow * s.sw - s.pl + kw * s.dil_w;
        if (!inside(d, s.id) || !inside(h, s.ih) || !inside(w, s.iw)) continue;
        const Index x = n * s.ci * x_plane + ((d * s.ih + h) * s.iw + w) * x_pixel;
        const Index y = n * s.co * y_plane + out * y_pixel;
        const Index weight = kd * s.w_d + kh * s.w_h + kw * s.w_w;
        for (Index o = 0; o < s.co; ++o)
          for (Index c = 0; c < cig; ++c)
            visit(x + (o / cog * cig + c) * x_channel, weight + c * s.w_ci + o * s.w_co, y + o * y_channel);
      }
}

struct Operands {
  Array<float> x, w, dy;
  Array<float> b, residual;        // of y
  Array<float> b_in, residual_in;  // of dx

  Operands(const Problem& p, Values values, Random& random)
      : x(random_array(p.x_size, values, random)),
        w(random_array(p.w_size, values, random)),
        dy(random_array(p.y_size, values, random)),
        b(random_array(p.s.co, values, random)),
        residual(random_array(p.y_size, values, random)),
        b_in(random_array(p.s.ci, values, random)),
        residual_in(random_array(p.x_size, values, random)) {
    for (Index i = 1; i < p.w_size; i += p.w_step)
      if (p.w_step == 2) w[i] = NAN;
  }
};

struct Sums {
  std::vector<Sum> y, dx, dw;

  Sums(const Problem& p, const Operands& a) : y(p.y_size), dx(p.x_size), dw(p.w_size) {
    for_each_product(p.s, [&](Index x, Index w, Index out) {
      y[out].add(double{a.x[x]} * a.w[p.w_first + w]);
      dx[x].add(double{a.dy[out]} * a.w[p.w_first + w]);
      dw[p.w_first + w].add(double{a.x[x]} * a.dy[out]);
    });
  }
};

std::vector<Want> want_after(const Epilogue& e, const std::vector<Sum>& sums, bool exact, Index channels, Index inner) {
  std::vector<Want> want;
  for (Index i = 0; i < std::ssize(sums); ++i) {
    Sum sum = sums[i];
    if (e.b) sum.add(e.b[i / inner % channels]);
    if (e.residual) sum.add(e.residual[i]);
    want.push_back(activated(e.activation, e.alpha, sum.value, exact ? 0 : sum.bound()));
  }
  return want;
}

std::vector<Want> want_weights(const Problem& p, const std::vector<Sum>& sums, bool exact) {
  std::vector<Want> want;
  for (Index i = 0; i < p.w_size; ++i) {
    const Sum& sum = sums[i];
    want.push_back(i % p.w_step ? Want{NAN, 0} : Want{sum.value, exact ? 0 : sum.bound()});
  }
  return want;
}

// conv_grad_weight_bias of dy behind a ReLU: dw to the bit as of a dy that is masked before, db its sums.
void check_masked(const std::string& what, const Problem& p, Choice choice, const Operands& a, Random& random) {
  Array<float> y(a.dy.size()), dz(a.dy.size());
  const bool last = p.s.layout == Layout::channels_last;
  const Index plane = p.s.od * p.s.oh * p.s.ow;
  std::vector<Sum> sums(static_cast<std::size_t>(p.s.co));
  for (Index i = 0; i < a.dy.size(); ++i) {
    y[i] = random.one_in(2) ? 0.0f : 1.0f;
    dz[i] = y[i] > 0 ? a.dy[i] : 0;
    sums[static_cast<std::size_t>(last ? i % p.s.co : i / plane % p.s.co)].add(dz[i]);
  }
  Array<float> alone(p.w_size), db(p.s.co), work(a.dy.size());
  for (Index i = 0; i < p.w_size; ++i) alone[i] = NAN;
  conv_grad_weight(p.s, choice, a.x.data(), dz.data(), alone.data() + p.w_first);
  std::vector<Want> dw, want_db;
  for (Index i = 0; i < p.w_size; ++i) dw.push_back({alone[i], 0});
  for (const Sum& sum : sums) want_db.push_back({sum.value, sum.bound()});
  const Prologue prologue = {Activation::relu, 0, y.data()};
  check_call(what + "grad_weight behind a ReLU", dw, {}, [&](float* to) {
    conv_grad_weight_bias(p.s, choice, prologue, a.x.data(), a.dy.data(), work.data(), to + p.w_first, db.data());
  });
  check_call(what + "its bias gradient", want_db, {}, [&](float* to) {
    conv_grad_weight_bias(p.s, choice, prologue, a.x.data(), a.dy.data(), work.data(), alone.data() + p.w_first, to);
  });
}

void check_geometry(const Options& options, const Geometry& g, Layout layout, Values values, Random& random) {
  const auto view = static_cast<View>(random.between(0, 3));
  const Problem p(g, layout, view);
  const Operands a(p, values, random);
  const Sums sums(p, a);
  const auto epilogue = [&random](const Array<float>& b, const Array<float>& residual) {
    return Epilogue{random.one_in(2) ? b.data() : nullptr, random.one_in(2) ? residual.data() : nullptr,
                    static_cast<Activation>(random.between(0, 6)), 0.3f};
  };
  const Epilogue e = epilogue(a.b, a.residual), e_in = epilogue(a.b_in, a.residual_in);
  const bool exact = values == Values::whole, last = layout == Layout::channels_last;
  const auto y = want_after(e, sums.y, exact, p.s.co, last ? 1 : p.s.od * p.s.oh * p.s.ow);
  const auto dx = want_after(e_in, sums.dx, exact, p.s.ci, last ? 1 : p.s.id * p.s.ih * p.s.iw);
  const auto dw = want_weights(p, sums.dw, exact);
  const float *x = a.x.data(), *w = a.w.data() + p.w_first, *dy = a.dy.data();
  for_each_level(options, [&](const Table& t) {
    for (const Algorithm algorithm : {Algorithm::direct, Algorithm::im2col}) {
      const std::string what = std::string(t.isa) + " conv " + (algorithm == Algorithm::direct ? "direct" : "im2col") +
                               " of " + g.name + (last ? "" : ", channels first") + kViews[static_cast<int>(view)] +
                               ", " + name_of(values) + ": ";
      const Conv s = simplified(p.s);
      const auto used = [&](Pass pass) {
        const Split split = plan_conv(s, pass, {algorithm}, t).split;
        return ScratchUsed{split.shared_floats, split.scratch_floats};
      };
      check_call(what + "forward", y, used(Pass::forward),
                 [&](float* to) { conv_forward(p.s, {algorithm}, x, w, e, to); });
      check_call(what + "grad_input", dx, used(Pass::grad_input),
                 [&](float* to) { conv_grad_input(p.s, {algorithm}, dy, w, e_in, to); });
      check_call(what + "grad_weight", dw, used(Pass::grad_weight),
                 [&](float* to) { conv_grad_weight(p.s, {algorithm}, x, dy, to + p.w_first); });
      check_masked(what, p, {algorithm}, a, random);
    }
  });
}

// Winograd's passes, with sums of the mass and the roundings of its own domain.
void check_winograd(const Options& options, const Geometry& g, Layout layout, Values values, Random& random) {
  const Problem p(g, layout, static_cast<View>(random.between(0, 3)));
  const Conv s = simplified(p.s);
  const bool last = layout == Layout::channels_last;
  if (values == Values::non_finite || refusal(s, Pass::forward, Algorithm::winograd, table())) return;
  const Operands a(p, values, random);
  const Sums sums(p, a);
  const auto kind = static_cast<Activation>(random.between(0, 6));
  const Epilogue e = {a.b.data(), random.one_in(2) ? a.residual.data() : nullptr, kind, 0.3f};
  const Epilogue e_in = {a.b_in.data(), random.one_in(2) ? a.residual_in.data() : nullptr, kind, 0.3f};
  const float *x = a.x.data(), *w = a.w.data() + p.w_first, *dy = a.dy.data();
  for (const Index tile : {2, 4, 6}) {
    const auto algorithm = static_cast<Algorithm>(static_cast<Index>(Algorithm::winograd) + tile / 2);
    if (refusal(s, Pass::forward, algorithm, table())) continue;
    const auto what_at = [&](const Table& t, const char* pass) {
      return std::string(t.isa) + " conv " + name_of(algorithm) + " of " + g.name + (last ? "" : ", channels first") +
             ", " + name_of(values) + ": " + pass;
    };
    const auto used = [&](Pass pass, const Table& t) {
      const Plan plan = plan_conv(s, pass, {algorithm}, t);
      return ScratchUsed{plan.split.shared_floats, plan.tiling.scratch_floats, plan.tiling.v_floats};
    };
    const auto y = want_after(e, winograd_sums(s, tile, x, w, sums.y), false, p.s.co, last ? 1 : s.oh * s.ow);
    for_each_level(options, [&](const Table& t) {
      check_call(what_at(t, "forward"), y, used(Pass::forward, t),
                 [&](float* to) { conv_forward(p.s, {algorithm}, x, w, e, to); });
    });
    if (refusal(s, Pass::grad_input, algorithm, table())) continue;
    const Turned back = turned(s);
    const auto dx = want_after(e_in, winograd_sums(back.s, tile, dy, w + back.w_offset, sums.dx), false, p.s.ci,
                               last ? 1 : s.ih * s.iw);
    const auto dw = want_weights(p, winograd_gradient_sums(s, tile, x, dy, p.w_first, sums.dw), false);
    for_each_level(options, [&](const Table& t) {
      check_call(what_at(t, "grad_input"), dx, used(Pass::grad_input, t),
                 [&](float* to) { conv_grad_input(p.s, {algorithm}, dy, w, e_in, to); });
      const Plan plan = plan_conv(s, Pass::grad_weight, {algorithm}, t);
      const GradTiling& cut = plan.gradient;
      check_call(what_at(t, "grad_weight"), dw, {plan.split.shared_floats, cut.scratch_floats, cut.x.v_floats},
                 [&](float* to) { conv_grad_weight(p.s, {algorithm}, x, dy, to + p.w_first); });
    });
  }
}

}  // namespace

void test_conv(const Options& options) {
  Random random(1);
  for (const Geometry& g : named_geometries())
    for (const Layout layout : {Layout::channels_last, Layout::channels_first})
      for (const Values values : {Values::whole, not_whole(random)}) {
        check_geometry(options, g, layout, values, random);
        check_winograd(options, g, layout, values, random);
      }
  for (Index i = 0; i < options.cases; ++i) {
    const Geometry g = random_geometry(i, random);
    const Layout layout = random.one_in(2) ? Layout::channels_last : Layout::channels_first;
    check_geometry(options, g, layout, random.one_in(2) ? Values::whole : not_whole(random), random);
  }
}

}  // namespace tapwise::test
