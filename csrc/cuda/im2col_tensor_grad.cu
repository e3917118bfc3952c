// im2col_tensor_grad.cu — im2col_grad_weight.cu's product on tensor cores, for float32 as TF32 and for bfloat16.
//
//   x, dy              -> with channels last and padded to 16 bytes, in place where they are so already (layout.cu)
//   x, dy              -> 64 bytes of pixels of a and dy at a time, into shared memory; float32 is rounded on the way
//   out a, dy              -> partial (splits, groups, taps ci, co) without the padding, each the sum over some pixels
//   partial            -> dw, added up in order: the same bits each time
#include "im2col_grad.h"
#include "im2col_tensor.h"

namespace tapwise::cuda {
namespace {

// ci, co: of one group, without padding.
template <class T>
__global__ __launch_bounds__(T::kThreads, 2) void im2col_grad_tensor(const Walk s, const int ci, const int co,
                                                                     const Index stretch,
                                                                     const typename T::E* __restrict__ x,
                                                                     const typename T::E* __restrict__ dy,
                                                                     float* __restrict__ partial) {
#if CU_TENSOR_CORES
  using E = typename T::E;
  CU_SHARED(E, a, [T::kStages][T::kDepth][T::kLeftPitch]);
  CU_SHARED(E, b, [T::kStages][T::kDepth][T::kColumnPitch]);
  const GradPlace at = grad_place<T>(s);
  const Index begin = at.split * stretch, end = begin + stretch < s.pixels() ? begin + stretch : s.pixels();
  GradLoader<T, E, T::kVector> loader(s, x, dy, at, begin, end);
  WarpSums<T> sums;
  pipelined<T>(
      static_cast<int>((end - begin + T::kDepth - 1) / T::kDepth), [&](int stage) { loader.load(a[stage], b[stage]); },
      [&](int stage) { sums.template add_product<wmma::col_major>(a[stage], b[stage]); });
  __pipeline_wait_prior(0);
  __syncthreads();  // a becomes the warps' patches
  float* const own = partial + (at.split * s.groups + at.group) * s.taps() * ci * co;
  sums.each(reinterpret_cast<float*>(&a[0][0][0]), true, [&](int down, int right, float sum) {
    const Index row = at.row + down, tap = row / s.ci, c = row % s.ci;
    const int column = at.column + right;
    if (tap < s.taps() && c < ci && column < co) own[(tap * ci + c) * co + column] = sum;
  });
#endif
}

template <class E>
Split split_of(const Conv& c, int tile) {
  const Index rows = c.kd * c.kh * c.kw * padded<E>(c.ci / c.groups), columns = c.co / c.groups;
  const Index tiles = ceil_div(rows, tile) * ceil_div(columns, tensor_columns(tile)) * c.groups;
  return split_pixels(c.n * c.od * c.oh * c.ow, tiles, Tensor64<E>::kDepth);
}

// s, whose outputs are the padded pixels of `dy`.
Walk with_outputs(Walk s, const Walk& dy) {
  s.co = dy.ci;
  s.d.to = dy.d.from, s.h.to = dy.h.from, s.w.to = dy.w.from;
  s.to_image = dy.from_image;
  s.to_channel = 1;
  return s;
}

template <class T>
void launch_grad(const Walk& s, const Conv& c, const Split& split, const typename T::E* x, const typename T::E* dy,
                 float* partial, Stream stream) {
  const Index blocks = ceil_div(s.taps() * s.ci, T::kM) * ceil_div(s.co, T::kN) * s.groups * split.count;
  launch(im2col_grad_tensor<T>, blocks, T::kThreads, stream, s, static_cast<int>(c.ci / c.groups),
         static_cast<int>(c.co / c.groups), split.stretch, x, dy, partial);
}

}  // namespace

template <class E>
Index tensor_partial_floats(const Conv& c, int tile) {
  return split_of<E>(c, tile).count * c.kd * c.kh * c.kw * (c.ci / c.groups) * c.co;
}

template <class E>
void tensor_grad_weight(const Conv& c, int tile, const E* x, const E* dy, float* dw, Stream stream) {
  const Walk forward = forward_walk(c), backward = grad_input_walk(c, 0);
  const Pixels<E> inputs(c, forward, x, stream), outputs(c, backward, dy, stream);
  const Walk s = with_outputs(inputs.walk(forward), outputs.walk(backward));
  const Split split = split_of<E>(c, tile);
  const Scratch partial(tensor_partial_floats<E>(c, tile), stream);
  const auto product = tile == 16    ? launch_grad<Tensor16<E>>
                       : tile == 128 ? launch_grad<Tensor128<E>>
                                     : launch_grad<Tensor64<E>>;
  product(s, c, split, inputs.data(), outputs.data(), partial.floats(), stream);
  add_partials(c, split.count, partial.floats(), dw, stream);
}

template Index tensor_partial_floats<float>(const Conv&, int);
template void tensor_grad_weight(const Conv&, int, const float*, const float*, float*, Stream);
template void tensor_grad_weight(const Conv&, int, const Half*, const Half*, float*, Stream);

}  // namespace tapwise::cuda
