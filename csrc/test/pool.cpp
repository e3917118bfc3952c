// pool.cpp — pooling and its gradients against loops over the positions of each window, counted one by one.
#include <stdexcept>

#include "../nn.h"
#include "check.h"

namespace tapwise::test {
namespace {

struct Axis {
  Index in, k = 1, stride = 1, dilation = 1, before = 0, after = 0;
  bool ceil = false;   // the last window may stick out
  Index adaptive = 0;  // this many outputs

  Index out() const {
    if (adaptive) return adaptive;
    const Index span = dilation * (k - 1) + 1, room = in + before + after - span;
    const Index steps = room / stride + (ceil && room % stride && (room / stride + 1) * stride < in + before);
    return steps + 1;
  }
};

// The positions of a window that lie in the input, and the number of those in the padded one.
struct Window {
  std::vector<Index> inside;
  Index padded = 0;

  Window(const Axis& a, Index o) {
    if (a.adaptive) {
      for (Index i = o * a.in / a.adaptive; i * a.adaptive < (o + 1) * a.in; ++i) inside.push_back(i);
      padded = std::ssize(inside);
      return;
    }
    for (Index t = 0; t < a.k; ++t) {
      const Index i = o * a.stride - a.before + t * a.dilation;
      if (i >= 0 && i < a.in) inside.push_back(i);
      padded += i < a.in + a.after;
    }
  }
};

struct Geometry {
  std::string name;
  Index n, c;
  Axis d, h, w;
  bool count_include_pad = false;
};

// Lanes are 4, 8 or 16.
std::vector<Geometry> named_geometries() {
  const Axis one = {1}, two_by_two = {10, 2, 2}, padded = {9, 3, 2, 1, 1, 1}, dilated = {13, 3, 2, 3, 2, 3};
  std::vector<Geometry> list = {
      {"one pixel", 1, 1, one, one, one},
      {"empty batch", 0, 3, one, two_by_two, two_by_two},
      {"2x2", 2, 7, one, two_by_two, two_by_two},
      {"3x3 stride 2, padded", 2, 5, one, padded, padded},
      {"3x3 stride 2, padding counts", 2, 5, one, padded, padded, true},
      {"windows stick out", 1, 6, one, {8, 3, 3, 1, 0, 0, true}, {11, 2, 3, 1, 1, 1, true}},
      {"windows stick out, padding counts", 1, 6, one, {8, 3, 3, 1, 0, 0, true}, {9, 4, 4, 1, 1, 2, true}, true},
      {"dilated", 2, 9, one, dilated, dilated},
      {"dilated, padding counts", 2, 9, one, dilated, dilated, true},
      {"stride above the window", 1, 17, one, {11, 2, 4}, {13, 1, 5}},
      {"global", 3, 33, one, {7, 7}, {6, 6}},
      {"several tasks", 3, 40, one, {30, 3, 1, 1, 1, 1}, {31, 3, 1, 1, 1, 1}},
      {"1-D", 2, 5, one, one, {37, 4, 3}},
      {"3-D", 2, 3, {5, 2, 2}, {6, 3, 1, 1, 1, 1}, {9, 2, 2}},
      {"adaptive, windows overlap", 2, 6, one, {7, 1, 1, 1, 0, 0, false, 3}, {10, 1, 1, 1, 0, 0, false, 4}},
      {"adaptive, more outputs than inputs", 1, 4, one, {3, 1, 1, 1, 0, 0, false, 5}, {2, 1, 1, 1, 0, 0, false, 7}},
  };
  for (const Index edge : {3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33}) {
    list.push_back({"c = " + std::to_string(edge), 1, edge, one, {5, 3, 1}, {6, 2, 2}});
    list.push_back({"ow = " + std::to_string(edge), 1, 2, one, {4, 3, 1}, {edge, 3, 1, 1, 1, 1}});
    list.push_back({"ow = " + std::to_string(edge) + ", stride 2", 1, 2, one, {4, 2, 2}, {2 * edge, 2, 2}});
  }
  return list;
}

Axis random_axis(Random& random, Index most) {
  for (;;) {
    Axis a = {random.between(1, most), random.between(1, 5), random.between(1, 4), random.between(1, 3),
              random.between(0, 3),    random.between(0, 3), random.one_in(3)};
    if (random.one_in(5)) a = {.in = a.in, .adaptive = random.between(1, most)};
    if (a.in + a.before + a.after < a.dilation * (a.k - 1) + 1) continue;
    bool empty = false;  // a window that holds no input is refused before C++ sees it
    for (Index o = 0; o < a.out(); ++o) empty = empty || Window(a, o).inside.empty();
    if (!empty) return a;
  }
}

Geometry random_geometry(Index number, Random& random) {
  Geometry g = {"random " + std::to_string(number), random.between(1, 3), random.between(1, 20), {1}, {1}, {1}};
  if (random.one_in(3)) g.d = random_axis(random, 4);
  if (random.one_in(2)) g.h = random_axis(random, 8);
  g.w = random_axis(random, 24);
  if (g.d.adaptive || g.h.adaptive || g.w.adaptive)
    for (Axis* a : {&g.d, &g.h, &g.w}) *a = {.in = a->in, .adaptive = a->adaptive ? a->adaptive : a->in};
  g.count_include_pad = random.one_in(2);
  return g;
}

Pool pool_of(const Geometry& g, Layout layout) {
  Pool s{};
  s.layout = layout, s.n = g.n, s.c = g.c;
  s.id = g.d.in, s.ih = g.h.in, s.iw = g.w.in;
  s.od = g.d.out(), s.oh = g.h.out(), s.ow = g.w.out();
  s.kd = g.d.k, s.kh = g.h.k, s.kw = g.w.k;
  s.sd = g.d.stride, s.sh = g.h.stride, s.sw = g.w.stride;
  s.dil_d = g.d.dilation, s.dil_h = g.h.dilation, s.dil_w = g.w.dilation;
  s.pf = g.d.before, s.pt = g.h.before, s.pl = g.w.before;
  s.pk = g.d.after, s.pb = g.h.after, s.pr = g.w.after;
  s.count_include_pad = g.count_include_pad, s.adaptive = g.w.adaptive != 0;
  return s;
}

// Calls visit(y element, positions in the plane, x element of position 0, its step from position to position, divisor)
// for every window.
template <class Visit>
void for_each_window(const Geometry& g, const Pool& s, const Visit& visit) {
  const bool last = s.layout == Layout::channels_last;
  const Index in = s.id * s.ih * s.iw, out = s.od * s.oh * s.ow, pixel = last ? s.c : 1;
  for (Index o = 0; o < out; ++o) {
    const Window d(g.d, o / (s.oh * s.ow)), h(g.h, o / s.ow % s.oh), w(g.w, o % s.ow);
    std::vector<Index> positions;
    for (const Index i : d.inside)
      for (const Index j : h.inside)
        for (const Index k : w.inside) positions.push_back((i * s.ih + j) * s.iw + k);
    const Index divisor = s.count_include_pad ? d.padded * h.padded * w.padded : std::ssize(positions);
    for (Index n = 0; n < s.n; ++n)
      for (Index c = 0; c < s.c; ++c) {
        const auto start = [&](Index plane) { return n * s.c * plane + c * (last ? 1 : plane); };
        visit(start(out) + o * pixel, positions, start(in), pixel, static_cast<double>(divisor));
      }
  }
}

struct Wants {
  std::vector<Want> largest, mean;
  Array<std::int32_t> indices;
  std::vector<Want> largest_dx, mean_dx;

  Wants(const Geometry& g, const Pool& s, const Array<float>& x, const Array<float>& dy)
      : largest(dy.size()), mean(dy.size()), indices(dy.size()) {
    std::vector<Sum> of_largest(x.size()), of_mean(x.size());
    for_each_window(g, s, [&](Index y, const std::vector<Index>& positions, Index start, Index step, double divisor) {
      Index best = positions[0];
      Sum sum;
      for (const Index p : positions) {
        const float value = x[start + p * step], most = x[start + best * step];
        if (!std::isnan(most) && !(value <= most)) best = p;
        sum.add(value);
        of_mean[start + p * step].add(dy[y] / divisor);
      }
      largest[y] = {x[start + best * step], 0};
      indices[y] = static_cast<std::int32_t>(best);
      mean[y] = {sum.value / divisor, sum.bound() / divisor + kTiny};
      of_largest[start + best * step].add(dy[y]);
    });
    for (const Sum& sum : of_largest) largest_dx.push_back({sum.value, sum.bound()});
    for (const Sum& sum : of_mean) mean_dx.push_back({sum.value, sum.bound()});
  }
};

// The gradient of a maximum by random indices, which it fills in.
std::vector<Want> scattered(const Pool& s, const Array<float>& dy, Array<std::int32_t>& indices, Random& random) {
  const Index in = s.id * s.ih * s.iw, out = s.od * s.oh * s.ow;
  std::vector<Sum> sums(static_cast<std::size_t>(s.n * s.c * in));
  for (Index i = 0; i < dy.size(); ++i) {
    indices[i] = static_cast<std::int32_t>(random.between(0, in - 1));
    const bool last = s.layout == Layout::channels_last;
    const Index image = i / (s.c * out), c = last ? i % s.c : i / out % s.c;
    const Index at = image * s.c * in + (last ? indices[i] * s.c + c : c * in + indices[i]);
    sums[static_cast<std::size_t>(at)].add(dy[i]);
  }
  std::vector<Want> want;
  for (const Sum& sum : sums) want.push_back({sum.value, sum.bound()});
  return want;
}

void check_geometry(const Options& options, const Geometry& g, Layout layout, Values values, Random& random) {
  const Pool s = pool_of(g, layout);
  const Array<float> x = random_array(s.n * s.c * s.id * s.ih * s.iw, values, random);
  const Array<float> dy = random_array(s.n * s.c * s.od * s.oh * s.ow, values, random);
  const Wants want(g, s, x, dy);
  const ScratchUsed used = {.task = pool_scratch_floats(s)};
  Array<std::int32_t> anywhere(dy.size());  // not in the output's window
  const std::vector<Want> anywhere_dx = scattered(s, dy, anywhere, random);
  const bool last = layout == Layout::channels_last;
  for_each_level(options, [&](const Table& t) {
    const std::string what =
        std::string(t.isa) + " pool of " + g.name + (last ? "" : ", channels first") + ", " + name_of(values) + ": ";
    check_call(what + "max", want.largest, used, [&](float* y) { max_pool(s, x.data(), y, nullptr); });
    Array<std::int32_t> indices(dy.size());
    check_call(what + "max beside indices", want.largest, used,
               [&](float* y) { max_pool(s, x.data(), y, indices.data()); });
    check(indices.same_bits(want.indices) && indices.fences_intact(), what + "indices");
    check_call(what + "gradient of max", want.largest_dx, used,
               [&](float* dx) { max_pool_grad(s, dy.data(), want.indices.data(), dx); });
    check_call(what + "gradient of any indices", anywhere_dx, used,
               [&](float* dx) { max_pool_grad(s, dy.data(), anywhere.data(), dx); });
    check_call(what + "average", want.mean, used, [&](float* y) { average_pool(s, x.data(), y); });
    check_call(what + "gradient of average", want.mean_dx, used,
               [&](float* dx) { average_pool_grad(s, dy.data(), dx); });
  });
}

void test_bad_indices() {
  const Pool s = pool_of({"", 1, 1, {1}, {4, 2, 2}, {4, 2, 2}}, Layout::channels_last);
  const Array<float> dy(4);
  for (const std::int32_t bad : {-1, 16}) {
    Array<std::int32_t> indices(4);
    std::fill_n(indices.data(), 4, 0);
    indices[3] = bad;
    Array<float> dx(16);
    bool refused = false;
    try {
      max_pool_grad(s, dy.data(), indices.data(), dx.data());
    } catch (const std::invalid_argument&) {
      refused = true;
    }
    check(refused && dx.same_bits(Array<float>(16)), "max_pool_grad of the index " + std::to_string(bad));
  }
}

}  // namespace

void test_pool(const Options& options) {
  Random random(2);
  for (const Geometry& g : named_geometries())
    for (const Layout layout : {Layout::channels_last, Layout::channels_first})
      for (const Values values : {Values::whole, not_whole(random)}) check_geometry(options, g, layout, values, random);
  for (Index i = 0; i < options.cases; ++i) {
    const Geometry g = random_geometry(i, random);
    const Layout layout = random.one_in(2) ? Layout::channels_last : Layout::channels_first;
    check_geometry(options, g, layout, random.one_in(2) ? Values::whole : not_whole(random), random);
  }
  test_bad_indices();
}

}  // namespace tapwise::test
