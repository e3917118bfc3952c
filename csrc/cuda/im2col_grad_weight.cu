// im2col_grad_weight.cu — dw (taps ci, co) = a' dy, a as in im2col.cu: a sum over all pixels, which blocks share out.
//
//   x, dy              -> 8 pixels of a and dy at a time, into shared memory
//   a, dy              -> partial (splits, groups, taps ci, co), each the sum over a stretch of pixels
//   partial            -> dw, added up in the order of the stretches: the same bits each time
#include "conv.h"
#include "gemm.h"
#include "im2col_grad.h"

namespace tapwise::cuda {
namespace {

template <class T>
__global__ __launch_bounds__(T::kThreads,
                             2) void im2col_grad_product(const Walk s, const Index stretch, const float* __restrict__ x,
                                                         const float* __restrict__ dy, float* __restrict__ partial) {
  CU_SHARED(float, a, [T::kStages][T::kDepth][T::kM]);
  CU_SHARED(float, b, [T::kStages][T::kDepth][T::kN]);
  const GradPlace at = grad_place<T>(s);
  const Index begin = at.split * stretch, end = begin + stretch < s.pixels() ? begin + stretch : s.pixels();
  GradLoader<T, float, 1> loader(s, x, dy, at, begin, end);
  Sums<T> sums;
  pipelined<T>(
      static_cast<int>((end - begin + T::kDepth - 1) / T::kDepth), [&](int stage) { loader.load(a[stage], b[stage]); },
      [&](int stage) { add_product<T>(a[stage], b[stage], sums); });
  __pipeline_wait_prior(0);
  const Index rows = s.taps() * s.ci;
#pragma unroll
  for (int i = 0; i < T::kRows; ++i) {
    const Index row = at.row + Sums<T>::row(i);
#pragma unroll
    for (int j = 0; j < T::kColumns; ++j) {
      const int column = at.column + Sums<T>::column(j);
      if (row < rows && column < s.co)
        partial[((at.split * s.groups + at.group) * rows + row) * s.co + column] = sums.c[i][j];
    }
  }
}

Split split_of(const Conv& c, int tile) {
  const Index rows = c.kd * c.kh * c.kw * (c.ci / c.groups);
  const Index tiles = ceil_div(rows, tile) * ceil_div(c.co / c.groups, tile) * c.groups;
  return split_pixels(c.n * c.od * c.oh * c.ow, tiles, Tile128::kDepth);
}

template <class T>
void multiply(const Walk& s, const Split& split, const float* x, const float* dy, float* partial, Stream stream) {
  const Index blocks = ceil_div(s.taps() * s.ci, T::kM) * ceil_div(s.co, T::kN) * s.groups * split.count;
  launch(im2col_grad_product<T>, blocks, T::kThreads, stream, s, split.stretch, x, dy, partial);
}

}  // namespace

Index im2col_partial_floats(const Conv& c, int tile) {
  return split_of(c, tile).count * c.kd * c.kh * c.kw * (c.ci / c.groups) * c.co;
}

void im2col_grad_weight(const Conv& c, int tile, const float* x, const float* dy, float* dw, Stream stream) {
  const Walk s = forward_walk(c);
  const Split split = split_of(c, tile);
  const Scratch partial(im2col_partial_floats(c, tile), stream);
  const auto product = tile == 16   ? multiply<Tile16>
                       : tile == 32 ? multiply<Tile32>
                       : tile == 64 ? multiply<Tile64>
                                    : multiply<Tile128>;
  product(s, split, x, dy, partial.floats(), stream);
  add_partials(c, split.count, partial.floats(), dw, stream);
}

}  // namespace tapwise::cuda
