// main.cpp — kernels with barriers, atomics, asynchronous copies and shuffles on the host against plain loops: what
// sanitizers look at. Prints "N passed, M failed".
//
// Every array is a heap block of its own, to the byte, that starts as NaN; tiles are the small ones, so that grids have
// several blocks.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <memory>
#include <string>

#include "../nn.h"
#include "../ops.h"
#include "../portable.h"

namespace {

using namespace tapwise;

int passed = 0, failed = 0;

struct Block {
  Index size;
  std::unique_ptr<float[]> data;

  explicit Block(Index count, unsigned seed = 0) : size(count), data(new float[static_cast<std::size_t>(count)]) {
    for (Index i = 0; i < count; ++i) {
      seed = seed * 1664525u + 1013904223u;
      data[static_cast<std::size_t>(i)] =
          static_cast<float>(static_cast<int>(seed >> 20) % 9 - 4);  // small whole numbers
    }
  }
  static Block unset(Index count) {
    Block b(count);
    emulate::unset(b.get(), static_cast<std::size_t>(count) * sizeof(float));
    return b;
  }
  float& operator[](Index i) { return data[static_cast<std::size_t>(i)]; }
  float* get() { return data.get(); }
};

void expect(Block& got, Block& want, const std::string& label, float slack = 0) {
  for (Index i = 0; i < got.size; ++i)
    if (!(std::fabs(got[i] - want[i]) <= slack + 1e-5f * std::fabs(want[i]))) {
      std::printf("%s: element %lld is %g, not %g\n", label.c_str(), static_cast<long long>(i),
                  static_cast<double>(got[i]), static_cast<double>(want[i]));
      ++failed;
      return;
    }
  ++passed;
}

struct Shape {
  Layout layout;
  Index n, ih, iw, ci, co, k, stride, pad, dilation, groups;
  Index kh = k;
};

Conv conv_of(const Shape& a) {
  Conv s{};
  s.layout = a.layout;
  s.n = a.n, s.groups = a.groups, s.ci = a.ci, s.co = a.co;
  s.id = s.od = s.kd = s.sd = s.sh = s.sw = s.dil_d = 1;
  s.ih = a.ih, s.iw = a.iw, s.kh = a.kh, s.kw = a.k;
  s.sh = s.sw = a.stride, s.dil_h = s.dil_w = a.dilation, s.pt = s.pl = a.pad;
  s.oh = (a.ih + 2 * a.pad - a.dilation * (a.kh - 1) - 1) / a.stride + 1;
  s.ow = (a.iw + 2 * a.pad - a.dilation * (a.k - 1) - 1) / a.stride + 1;
  const Index group = a.ci / a.groups;
  if (a.layout == Layout::channels_last)
    s.w_co = 1, s.w_ci = a.co, s.w_w = group * a.co, s.w_h = a.k * s.w_w, s.w_d = a.kh * s.w_h;
  else
    s.w_w = 1, s.w_h = a.k, s.w_d = a.kh * a.k, s.w_ci = s.w_d, s.w_co = group * s.w_d;
  return s;
}

Index at(const Conv& s, Index channels, Index height, Index width, Index n, Index c, Index h, Index w) {
  return s.layout == Layout::channels_last ? ((n * height + h) * width + w) * channels + c
                                           : ((n * channels + c) * height + h) * width + w;
}

// visit(x, w, y) for each product of an input and a weight that an output sums.
template <class Visit>
void each_product(const Conv& s, const Visit& visit) {
  const Index ci = s.ci / s.groups, co = s.co / s.groups;
  for (Index n = 0; n < s.n; ++n)
    for (Index o = 0; o < s.co; ++o)
      for (Index oh = 0; oh < s.oh; ++oh)
        for (Index ow = 0; ow < s.ow; ++ow)
          for (Index kh = 0; kh < s.kh; ++kh)
            for (Index kw = 0; kw < s.kw; ++kw)
              for (Index c = 0; c < ci; ++c) {
                const Index h = oh * s.sh + kh * s.dil_h - s.pt, w = ow * s.sw + kw * s.dil_w - s.pl;
                if (h < 0 || h >= s.ih || w < 0 || w >= s.iw) continue;
                visit(at(s, s.ci, s.ih, s.iw, n, o / co * ci + c, h, w),
                      kh * s.w_h + kw * s.w_w + c * s.w_ci + o * s.w_co, at(s, s.co, s.oh, s.ow, n, o, oh, ow));
              }
}

struct Products {
  Block x, w, dy, y, dx, dw;
};

// Small whole numbers, and what each pass makes of them.
Products products_of(const Conv& s) {
  const Index inputs = s.n * s.ih * s.iw * s.ci, outputs = s.n * s.oh * s.ow * s.co,
              weights = s.kh * s.kw * (s.ci / s.groups) * s.co;
  Products p{Block(inputs, 1), Block(weights, 2), Block(outputs, 3), Block(outputs), Block(inputs), Block(weights)};
  for (Block* b : {&p.y, &p.dx, &p.dw})
    for (Index i = 0; i < b->size; ++i) (*b)[i] = 0;
  each_product(s, [&p](Index i, Index k, Index o) {
    p.y[o] += p.x[i] * p.w[k];
    p.dx[i] += p.dy[o] * p.w[k];
    p.dw[k] += p.x[i] * p.dy[o];
  });
  return p;
}

void test_conv(const Shape& a, const std::string& label, cuda::Accuracy accuracy = cuda::Accuracy::standard) {
  const Conv s = conv_of(a);
  Products p = products_of(s);
  for (const cuda::Algorithm algorithm : cuda::kAlgorithms) {
    const std::string name = label + ", " + cuda::name_of(algorithm);
    // Others are exact for small whole numbers; 4x4's sums are of several hundred, its points fractions.
    const float slack = algorithm == cuda::Algorithm::winograd_4x4 ? 1e-3f : 0.0f;
    const auto plan = [&](cuda::Pass pass) { return cuda::plan(s, pass, algorithm, accuracy); };
    Block y = Block::unset(p.y.size), dx = Block::unset(p.x.size), dw = Block::unset(p.w.size);
    if (!cuda::refusal(s, cuda::Pass::forward, algorithm)) {
      cuda::conv_forward(s, plan(cuda::Pass::forward), p.x.get(), p.w.get(), {}, y.get(), {});
      expect(y, p.y, name + ", forward", slack);
    }
    if (!cuda::refusal(s, cuda::Pass::grad_input, algorithm)) {
      cuda::conv_grad_input(s, plan(cuda::Pass::grad_input), p.dy.get(), p.w.get(), {}, dx.get(), {});
      expect(dx, p.dx, name + ", grad_input", slack);
    }
    if (!cuda::refusal(s, cuda::Pass::grad_weight, algorithm)) {
      cuda::conv_grad_weight(s, plan(cuda::Pass::grad_weight), p.x.get(), p.dy.get(), dw.get(), {});
      expect(dw, p.dw, name + ", grad_weight", slack);
    }
  }
}

// With infinite weights everywhere and padding, several blocks raise the flag that makes direct do it again.
void test_infinite_weights() {
  const Conv s = conv_of({Layout::channels_last, 1, 5, 5, 3, 17, 3, 1, 1, 1, 1});
  Block x(75), w(459), y = Block::unset(425), want(425);
  for (Index i = 0; i < 75; ++i) x[i] = 1;
  for (Index i = 0; i < 459; ++i) w[i] = std::numeric_limits<float>::infinity();
  for (Index i = 0; i < 425; ++i) want[i] = 1;
  const Epilogue plain{nullptr, nullptr, Activation::none, 0};
  cuda::conv_forward(s, cuda::plan(s, cuda::Pass::forward, cuda::Algorithm::im2col, cuda::Accuracy::standard), x.get(),
                     w.get(), plain, y.get(), {});
  for (Index i = 0; i < 425; ++i) y[i] = y[i] == std::numeric_limits<float>::infinity() ? 1 : y[i];
  expect(y, want, "infinite weights");
}

std::unique_ptr<std::uint16_t[]> halves(Block& x) {
  std::unique_ptr<std::uint16_t[]> bits(new std::uint16_t[static_cast<std::size_t>(x.size)]);
  for (Index i = 0; i < x.size; ++i) bits[static_cast<std::size_t>(i)] = __float2bfloat16(x[i]).bits;
  return bits;
}

// Small whole numbers are bfloat16's too.
void test_bf16(const Shape& a, const std::string& label) {
  const Conv s = conv_of(a);
  Products p = products_of(s);
  const auto x = halves(p.x), dy = halves(p.dy);
  const auto plan = [&s](cuda::Pass pass) { return cuda::plan_bf16(s, pass); };
  Block y = Block::unset(p.y.size), dx = Block::unset(p.x.size), dw = Block::unset(p.w.size);
  cuda::conv_bf16(s, cuda::Pass::forward, plan(cuda::Pass::forward), x.get(), {nullptr, p.w.get()}, {},
                  {nullptr, y.get()}, {});
  expect(y, p.y, label + ", bfloat16, forward");
  cuda::conv_bf16(s, cuda::Pass::grad_input, plan(cuda::Pass::grad_input), dy.get(), {nullptr, p.w.get()}, {},
                  {nullptr, dx.get()}, {});
  expect(dx, p.dx, label + ", bfloat16, grad_input");
  cuda::conv_bf16_grad_weight(s, plan(cuda::Pass::grad_weight), x.get(), dy.get(), dw.get(), {});
  expect(dw, p.dw, label + ", bfloat16, grad_weight");
}

// With the tiles that ship.
void test_large_tiles() {
  for (const int tile : {64, 128}) {
    cuda::set_tile(tile);
    test_conv({Layout::channels_last, 1, 12, 13, 16, 72, 3, 1, 1, 1, 1}, "TF32, tiles", cuda::Accuracy::fast);
    test_bf16({Layout::channels_last, 1, 12, 13, 16, 72, 3, 1, 1, 1, 1}, "tiles");
  }
  cuda::set_tile(16);
}

void test_norm() {
  const cuda::Channels s{50, 3, 1};
  Block x(150, 4), mean = Block::unset(3), variance = Block::unset(3), want_mean(3), want_variance(3);
  for (Index c = 0; c < 3; ++c) {
    double sum = 0, squares = 0;
    for (Index i = 0; i < 50; ++i) sum += static_cast<double>(x[3 * i + c]);
    for (Index i = 0; i < 50; ++i) squares += std::pow(static_cast<double>(x[3 * i + c]) - sum / 50, 2);
    want_mean[c] = static_cast<float>(sum / 50);
    want_variance[c] = static_cast<float>(squares / 50);
  }
  cuda::batch_norm_statistics(s, x.get(), mean.get(), variance.get(), {});
  expect(mean, want_mean, "mean");
  expect(variance, want_variance, "variance");
}

void test_softmax() {
  constexpr Index kRows = 9, kClasses = 45;
  Block x(kRows * kClasses, 5), y = Block::unset(kRows * kClasses), sums(kRows), ones(kRows);
  cuda::softmax(kRows, kClasses, x.get(), y.get(), {});
  for (Index row = 0; row < kRows; ++row) {
    sums[row] = 0;
    ones[row] = 1;
    for (Index c = 0; c < kClasses; ++c) sums[row] += y[row * kClasses + c];
  }
  expect(sums, ones, "softmax");
}

}  // namespace

int main(int count, char** words) {
  emulate::set_seed(count > 1 ? static_cast<unsigned>(std::atoi(words[1])) : 0);
  cuda::set_tile(16);
  test_infinite_weights();
#ifdef TAPWISE_TSAN
  // It follows 8,128 threads of a grid at most.
  test_conv({Layout::channels_last, 2, 5, 4, 2, 17, 2, 1, 1, 1, 1}, "2x2");
  test_conv({Layout::channels_last, 1, 7, 8, 4, 12, 2, 2, 1, 1, 1}, "fours, stride 2");
  test_conv({Layout::channels_last, 1, 5, 7, 9, 2, 3, 1, 1, 1, 1}, "3x3");
  test_conv({Layout::channels_last, 1, 5, 4, 8, 8, 3, 1, 1, 1, 8}, "depthwise");
  test_conv({Layout::channels_first, 1, 5, 4, 2, 17, 2, 1, 1, 1, 1}, "TF32", cuda::Accuracy::fast);
  test_bf16({Layout::channels_last, 1, 5, 4, 8, 17, 1, 1, 0, 1, 1}, "1x1");
  test_bf16({Layout::channels_last, 1, 5, 4, 2, 17, 2, 2, 1, 1, 1}, "stride 2");
#else
  for (const Layout layout : {Layout::channels_last, Layout::channels_first}) {
    const std::string name = layout == Layout::channels_last ? "channels last" : "channels first";
    test_conv({layout, 2, 6, 5, 5, 19, 3, 1, 1, 1, 1}, name + ", 3x3");
    test_conv({layout, 1, 7, 8, 8, 20, 3, 2, 1, 1, 1}, name + ", fours, stride 2");
    test_conv({layout, 1, 7, 6, 6, 4, 2, 1, 0, 2, 2}, name + ", dilated, two groups");
    test_conv({layout, 2, 17, 15, 9, 18, 3, 1, 0, 1, 1}, name + ", 3x3, several blocks of tiles");
    test_conv({layout, 2, 3, 35, 9, 18, 3, 1, 1, 1, 1, 1}, name + ", 1x3, several blocks of tiles");
    test_conv({layout, 2, 6, 5, 12, 20, 3, 2, 1, 1, 1}, name + ", TF32, stride 2", cuda::Accuracy::fast);
    test_conv({layout, 2, 6, 5, 6, 38, 2, 1, 1, 1, 2}, name + ", TF32, two groups", cuda::Accuracy::fast);
    test_bf16({layout, 2, 6, 5, 12, 20, 3, 2, 1, 1, 1}, name + ", stride 2");
    test_bf16({layout, 2, 6, 5, 6, 38, 2, 1, 1, 1, 2}, name + ", two groups");
    test_bf16({layout, 2, 6, 5, 6, 12, 3, 1, 1, 1, 6}, name + ", depthwise");
    test_conv({layout, 3, 33, 21, 8, 8, 3, 1, 1, 1, 8}, name + ", depthwise");
    test_conv({layout, 1, 11, 9, 36, 36, 3, 2, 1, 1, 36}, name + ", depthwise, stride 2");
    test_conv({layout, 1, 9, 12, 4, 4, 5, 1, 2, 1, 4}, name + ", depthwise, 5x5");
    test_conv({layout, 1, 9, 8, 5, 15, 4, 3, 2, 2, 5}, name + ", depthwise, three filters a channel");
  }
  test_large_tiles();
#endif
  test_norm();
  test_softmax();
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed ? 1 : 0;
}
