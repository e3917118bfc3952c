// winograd.cu — F(2x2, 3x3) and F(4x4, 3x3): y = A'[(G w G') . (B' d B)]A, tile by tile; winograd_line.h has the
// matrices.
//
//   w (3, 3, ci, co)   -> u (frequencies, ci, co)
//   x (n, ih, iw, ci)  -> v (frequencies, ci, tiles)
//   v, u               -> m (frequencies, tiles, co)    a product a frequency; most of the time is here
//   m                  -> y (n, oh, ow, co)             adds b and the residual, applies the activation
//
// 2x2 (4 multiplies an output instead of 9) takes one launch after u's, winograd_fused.cu. 4x4 (2.25) has 36
// frequencies, too many for a block: a launch each, in rounds of tiles whose v and m stay in a large device's cache.
//
// The weight gradient is by F(3, 2) or F(3, 4), whose filter is a tile of dy:
//
//   x, dy              -> v (frequencies, tiles, ci), g (frequencies, tiles, co)
//   v' g               -> m (splits, frequencies, ci, co)    blocks share out the tiles
//   m                  -> dw (3, 3, ci, co)                  added up in the order of the splits: the same bits
//
// Kernels on one axis, 1x3 and 3x1, have the same lines on it alone, 2x2's too in launches of their own: 4x4 is
// then 1.5 multiplies an output instead of 3. The axis with taps is made the width.
//
// Stride 1, dilation 1, one group, one or two spatial dimensions; winograd_refusal guarantees it.
//
// Lavin & Gray, "Fast Algorithms for Convolutional Neural Networks", 2016.
#include <algorithm>
#include <utility>

#include "conv.h"
#include "gemm.h"
#include "winograd.h"

namespace tapwise::cuda {
namespace {

constexpr Epilogue kPlain{nullptr, nullptr, Activation::none, 0};

// A product a frequency, all sizes multiples of four: c (splits, frequencies, rows, columns) = a b, or += a b, of
// a (frequencies, depth, rows) and b (frequencies, depth, columns). A split sums a stretch of the depth.
struct Product {
  int rows, columns, depth, stretch, frequencies;
  bool adds;
};

template <class T>
__global__ __launch_bounds__(T::kThreads, 2) void winograd_product(const Product s, const float* __restrict__ a,
                                                                   const float* __restrict__ b, float* __restrict__ c) {
  CU_SHARED(float, left, [T::kStages][T::kDepth][T::kM]);
  CU_SHARED(float, right, [T::kStages][T::kDepth][T::kN]);
  const int across = (s.columns + T::kN - 1) / T::kN, down = (s.rows + T::kM - 1) / T::kM;
  const int block = static_cast<int>(blockIdx.x), rest = block / across, batch = rest / down;
  const int column = block % across * T::kN, row = rest % down * T::kM, frequency = batch % s.frequencies;
  const int begin = batch / s.frequencies * s.stretch, end = begin + s.stretch < s.depth ? begin + s.stretch : s.depth;
  const int t = static_cast<int>(threadIdx.x);
  using Left = Copy<T::kThreads, T::kDepth, T::kM>;
  using Right = Copy<T::kThreads, T::kDepth, T::kN>;
  const Index from = Index{frequency} * s.depth + begin;
  a = Left::first(t, a + from * s.rows + row, s.rows);
  b = Right::first(t, b + from * s.columns + column, s.columns);

  Sums<T> sums;
  int left_over = end - begin;
  const auto load = [&](int stage) {
    Left::start(t, a, s.rows, left_over, s.rows - row, left[stage]);
    Right::start(t, b, s.columns, left_over, s.columns - column, right[stage]);
    left_over -= T::kDepth;
    a += Index{T::kDepth} * s.rows;
    b += Index{T::kDepth} * s.columns;
  };
  pipelined<T>((end - begin + T::kDepth - 1) / T::kDepth, load,
               [&](int stage) { add_product<T>(left[stage], right[stage], sums); });
  __pipeline_wait_prior(0);

#pragma unroll
  for (int i = 0; i < T::kRows; ++i) {
    const int at = row + Sums<T>::row(i);
    if (at >= s.rows) continue;
    float* const own = c + (Index{batch} * s.rows + at) * s.columns + column;
#pragma unroll
    for (int j = 0; j < T::kColumns; j += 4) {
      const int four = Sums<T>::column(j);
      if (column + four >= s.columns) continue;
      float4& to = *reinterpret_cast<float4*>(own + four);
      const float4 old = s.adds ? to : make_float4(0, 0, 0, 0);
      to = make_float4(old.x + sums.c[i][j], old.y + sums.c[i][j + 1], old.z + sums.c[i][j + 2],
                       old.w + sums.c[i][j + 3]);
    }
  }
}

template <class T>
void launch_product(const Product& s, const float* a, const float* b, float* c, Stream stream) {
  const Index splits = s.depth ? ceil_div(s.depth, s.stretch) : 1;
  const Index blocks = ceil_div(s.rows, T::kM) * ceil_div(s.columns, T::kN) * s.frequencies * splits;
  launch(winograd_product<T>, blocks, T::kThreads, stream, s, a, b, c);
}

void multiply(int tile, const Product& s, const float* a, const float* b, float* c, Stream stream) {
  const auto product = tile == 16   ? launch_product<Tile16>
                       : tile == 32 ? launch_product<Tile32>
                       : tile == 64 ? launch_product<Tile64>
                                    : launch_product<Tile128>;
  product(s, a, b, c, stream);
}

// A gradient's walk goes backwards through its inputs; turned round it is a convolution with turned weights.
Axis rising(Axis a) {
  if (a.tap_step > 0) return a;
  a.first += a.tap_step * (a.taps - 1);
  a.w_first += a.w_step * (a.taps - 1);
  a.tap_step = -a.tap_step, a.w_step = -a.w_step;
  return a;
}

Walk walk_of(const Conv& c, Pass pass) {
  Walk s = pass == Pass::grad_input ? grad_input_walk(c, 0) : forward_walk(c);
  s.h = rising(s.h), s.w = rising(s.w);
  if (s.w.taps == 1) std::swap(s.h, s.w);
  return s;
}

int narrow(Index value) {
  return static_cast<int>(value);
}

// How many tiles are transformed and multiplied at a time: v and m, or g, have 32 MiB. Tiles of 16 are for tests,
// which are to see several rounds.
struct Cut {
  TileSize size;
  Index tiles, ci, co, frequencies, round;

  Cut(const Walk& s, int outputs, int tile)
      : size(tile_size(s, outputs)),
        tiles(output_tiling(s, outputs).tiles),
        ci(in_fours(s.ci)),
        co(in_fours(s.co)),
        frequencies(size.frequencies()) {
    const Index floats = tile == 16 ? 1 << 15 : 8 << 20, least = 128;
    round = std::min(in_fours(tiles), std::max(least, floats / (frequencies * (ci + co)) / least * least));
  }
  Index weights() const { return frequencies * ci * co; }
  Index transformed(Index channels) const { return frequencies * round * channels; }
};

// Splits of a round's sum over tiles: enough blocks for a large device, and at least 32 tiles, 512 pixels, in each.
struct Split {
  Index count, stretch;
};

Split split_of(const Cut& c, int tile) {
  constexpr Index kBlocks = 256, kLeast = 32, kDepth = 8;
  const Index blocks = ceil_div(c.ci, tile) * ceil_div(c.co, tile) * c.frequencies;
  const Index most = std::max<Index>(1, std::min(ceil_div(kBlocks, blocks), c.round / kLeast));
  const Index stretch = std::max(kDepth, ceil_div(ceil_div(c.round, most), kDepth) * kDepth);
  return {ceil_div(c.round, stretch), stretch};
}

// The weights of a walk: their strides follow its axes.
Tiling weights_of(const Conv& c, const Walk& s, Pass pass) {
  const bool backward = pass == Pass::grad_input, turned = c.kw == 1 && c.kh != 1;
  return weight_tiling(s, turned ? c.w_w : c.w_h, turned ? c.w_h : c.w_w, backward ? c.w_co : c.w_ci,
                       backward ? c.w_ci : c.w_co);
}

void convolve(const Conv& c, Pass pass, int outputs, int tile, const float* x, const float* w, const Epilogue& e,
              float* y, Stream stream) {
  const Walk s = walk_of(c, pass);
  const Cut cut(s, outputs, tile);
  const Scratch u(cut.weights(), stream);
  transform_patches(Part::weights, cut.size, weights_of(c, s, pass), {0, cut.ci, cut.co}, w, u.floats(), stream);
  if (winograd_is_fused(c, pass, outputs)) return winograd_fused(s, tile, x, u.floats(), e, y, stream);
  const Scratch v(cut.transformed(cut.ci), stream), m(cut.transformed(cut.co), stream);
  const Tiling from = input_tiling(s, outputs), to = output_tiling(s, outputs);
  for (Index first = 0; first < cut.tiles; first += cut.round) {
    const Index rows = std::min(cut.round, in_fours(cut.tiles - first));
    transform_patches(Part::inputs, cut.size, from, {first, rows, cut.ci, true}, x, v.floats(), stream);
    const int depth = narrow(cut.ci);
    const Product product{narrow(rows), narrow(cut.co), depth, depth, narrow(cut.frequencies), false};
    multiply(tile, product, v.floats(), u.floats(), m.floats(), stream);
    transform_products(Part::outputs, cut.size, to, {first, rows, cut.co}, 1, m.floats(), e, y, stream);
  }
}

}  // namespace

const char* winograd_refusal(const Conv& s) {
  if (s.id != 1 || s.od != 1 || s.kd != 1 || s.pf != 0) return "it has one or two spatial dimensions";
  if (s.groups != 1) return "groups must be 1";
  if (s.sh != 1 || s.sw != 1) return "strides must be 1";
  if ((s.dil_h != 1 && s.kh > 1) || (s.dil_w != 1 && s.kw > 1)) return "dilation must be 1";
  const bool fits = s.kh == 3 ? s.kw == 3 || s.kw == 1 : s.kh == 1 && s.kw == 3;
  return fits ? nullptr : "the kernel must be 3x3, 3x1 or 1x3";
}

bool winograd_is_fused(const Conv& s, Pass pass, int outputs) {
  return outputs == 2 && pass != Pass::grad_weight && s.kh == s.kw;
}

WinogradWork winograd_work(const Conv& c, Pass pass, int outputs, int tile) {
  const Cut cut(walk_of(c, pass), outputs, tile);
  const Index splits = pass == Pass::grad_weight ? split_of(cut, tile).count : 1;
  return {cut.tiles, cut.round, cut.frequencies, cut.ci, cut.co, splits};
}

Index winograd_workspace_floats(const Conv& c, Pass pass, int outputs, int tile) {
  const Cut cut(walk_of(c, pass), outputs, tile);
  if (winograd_is_fused(c, pass, outputs)) return cut.weights();
  const Index weights = pass == Pass::grad_weight ? split_of(cut, tile).count * cut.weights() : cut.weights();
  return weights + cut.transformed(cut.ci) + cut.transformed(cut.co);
}

void winograd_forward(const Conv& c, int outputs, int tile, const float* x, const float* w, const Epilogue& e, float* y,
                      Stream stream) {
  convolve(c, Pass::forward, outputs, tile, x, w, e, y, stream);
}

void winograd_grad_input(const Conv& c, int outputs, int tile, const float* dy, const float* w, const Epilogue& e,
                         float* dx, Stream stream) {
  convolve(c, Pass::grad_input, outputs, tile, dy, w, e, dx, stream);
}

void winograd_grad_weight(const Conv& c, int outputs, int tile, const float* x, const float* dy, float* dw,
                          Stream stream) {
  const Walk s = walk_of(c, Pass::grad_weight);
  const Cut cut(s, outputs, tile);
  const Split split = split_of(cut, tile);
  const Scratch v(cut.transformed(cut.ci), stream), g(cut.transformed(cut.co), stream);
  const Scratch m(split.count * cut.weights(), stream);
  const Tiling inputs = input_tiling(s, outputs), gradient = output_tiling(s, outputs);
  for (Index first = 0; first < cut.tiles; first += cut.round) {
    // A whole round always, of zeros past the last tile: each split has something to add to.
    transform_patches(Part::inputs, cut.size, inputs, {first, cut.round, cut.ci}, x, v.floats(), stream);
    transform_patches(Part::outputs, cut.size, gradient, {first, cut.round, cut.co}, dy, g.floats(), stream);
    const Product product{narrow(cut.ci),        narrow(cut.co),          narrow(cut.round),
                          narrow(split.stretch), narrow(cut.frequencies), first > 0};
    multiply(tile, product, v.floats(), g.floats(), m.floats(), stream);
  }
  transform_products(Part::weights, cut.size, weights_of(c, s, Pass::grad_weight), {0, cut.ci, cut.co}, split.count,
                     m.floats(), kPlain, dw, stream);
}

}  // namespace tapwise::cuda
