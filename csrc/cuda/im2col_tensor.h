// im2col_tensor.h — im2col.cu's product on tensor cores, for float32 as TF32 and for bfloat16.
//
//   x -> with channels last and padded to 16 bytes, in place where it is so already (layout.cu)
//   w -> u (groups, taps, ci, co), both padded, rounded; whether one isn't finite is found on the way
//   x, u -> y, with b, the residual and the activation, or dx for each phase of the strides
#pragma once

#include "activation.h"
#include "conv.h"
#include "division.h"
#include "fours.h"
#include "gemm.h"
#include "im2col.h"

namespace tapwise::cuda {

template <class T, class To>
__global__ __launch_bounds__(T::kThreads, 1) void im2col_tensor(const Walk s, const typename T::E* __restrict__ x,
                                                                const Matrix<typename T::E> w, const Epilogue e,
                                                                To* __restrict__ y) {
#if CU_TENSOR_CORES
  using E = typename T::E;
  CU_SHARED(E, a, [T::kStages][T::kM][T::kRowPitch]);
  CU_SHARED(E, b, [T::kStages][T::kDepth][T::kColumnPitch]);
  const Place at = place_of<T>(s);
  Loader<T, E, T::kVector> loader(s, x, w, at);
  WarpSums<T> sums;
  pipelined<T>(
      loader.steps(), [&](int stage) { loader.load(a[stage], b[stage]); },
      [&](int stage) { sums.template add_product<wmma::row_major>(a[stage], b[stage]); });
  __pipeline_wait_prior(0);
  __syncthreads();  // a becomes the warps' patches
  sums.each(reinterpret_cast<float*>(&a[0][0][0]), s.to_channel == 1, [&](int row, int right, float sum) {
    const Index pixel = at.row + row;
    const int column = at.column + right;
    if (pixel >= s.pixels() || column >= s.co) return;
    const Index channel = at.group * s.co + column;
    const Index offset = output_at(s, pixel_of(s, pixel)) + channel * s.to_channel;
    y[offset] = narrowed<To>(finished(e, sum, channel, offset));
  });
#endif
}

// W: float or Half. found, unless null, becomes 1 if a weight isn't finite.
template <class E, class W>
__global__ __launch_bounds__(kThreads) void pack_tensor(const Walk s, const WeightStrides steps, const Divisor co,
                                                        const Divisor ci, const Divisor taps, const Index size,
                                                        const W* __restrict__ w, E* __restrict__ u, int* found) {
  for (Index i = first_element(); i < size; i += all_threads()) {
    Index rest = i;
    const Index to = co.take(rest), from = ci.take(rest);
    auto tap = static_cast<unsigned>(taps.take(rest));
    const Index kw = tap % static_cast<unsigned>(s.w.taps);
    tap /= static_cast<unsigned>(s.w.taps);
    const Index kh = tap % static_cast<unsigned>(s.h.taps), kd = tap / static_cast<unsigned>(s.h.taps);
    float value = 0;
    if (to < s.co && from < s.ci)
      value = widened(
          w[(s.d.w_first + kd * s.d.w_step) * steps.d + (s.h.w_first + kh * s.h.w_step) * steps.h +
            (s.w.w_first + kw * s.w.w_step) * steps.w + from * steps.from + to * steps.to + rest * steps.group]);
    u[i] = rounded<E>(value);
    if (found && !(fabsf(widened(u[i])) < INFINITY)) atomicOr(found, 1);
  }
}

template <class E>
Index padded(Index channels) {
  constexpr Index kVector = 16 / sizeof(E);
  return ceil_div(channels, kVector) * kVector;
}

template <class E>
Index scratch_floats(Index elements) {
  return ceil_div(elements * static_cast<Index>(sizeof(E)), 4);
}

template <class E>
Index tensor_weight_floats(const Conv& c) {
  return scratch_floats<E>(c.groups * c.kd * c.kh * c.kw * padded<E>(c.ci / c.groups) * padded<E>(c.co / c.groups));
}

template <class E, class W>
Matrix<E> packed_for(const Conv& c, const Walk& s, Pass pass, const W* w, E* u, int* found, Stream stream) {
  const bool backward = pass == Pass::grad_input;
  const WeightStrides steps{
      c.w_d, c.w_h, c.w_w, backward ? c.w_co : c.w_ci, backward ? c.w_ci : c.w_co, c.co / c.groups * c.w_co};
  const Index co = padded<E>(s.co), ci = padded<E>(s.ci), size = s.groups * s.taps() * ci * co;
  launch(pack_tensor<E, W>, element_blocks(size), kThreads, stream, s, steps, Divisor(co), Divisor(ci),
         Divisor(s.taps()), size, w, u, found);
  return {u, co, s.taps() * ci * co, static_cast<int>(co)};
}

// What a walk reads, as the product wants it.
template <class E>
class Pixels {
 public:
  Pixels(const Conv& c, const Walk& s, const E* x, Stream stream)
      : ci_(padded<E>(s.ci)),
        positions_(Index{s.d.inputs} * s.h.inputs * s.w.inputs),
        memory_(floats(c, s, x), stream) {
    data_ = memory_.floats() ? reinterpret_cast<const E*>(memory_.floats()) : x;
    if (memory_.floats())
      pad_channels(c.layout, s.images, positions_, s.groups * s.ci, s.ci, ci_, x,
                   reinterpret_cast<E*>(memory_.floats()), stream);
  }
  const E* data() const { return data_; }
  Walk walk(Walk s) const {
    s.ci = static_cast<int>(ci_);
    s.from_channel = 1;
    s.w.from = s.groups * ci_;
    s.h.from = s.w.from * s.w.inputs;
    s.d.from = s.h.from * s.h.inputs;
    s.from_image = s.d.from * s.d.inputs;
    return s;
  }

 private:
  Index floats(const Conv& c, const Walk& s, const E* x) const {
    const bool fits = c.layout == Layout::channels_last && ci_ == s.ci && is_aligned(x);
    return fits ? 0 : scratch_floats<E>(s.images * positions_ * s.groups * ci_);
  }

  Index ci_, positions_;
  Scratch memory_;
  const E* data_;
};

template <class T, class To>
void launch_tensor(const Walk& s, const typename T::E* x, const Matrix<typename T::E>& w, const Epilogue& e, To* y,
                   Stream stream) {
  const Index blocks = ceil_div(s.pixels(), T::kM) * ceil_div(s.co, T::kN) * s.groups;
  launch(im2col_tensor<T, To>, blocks, T::kThreads, stream, s, x, w, e, y);
}

// s: with the strides of padded pixels.
template <class E, class To>
void multiply_tensor(int tile, const Walk& s, const E* x, const Matrix<E>& w, const Epilogue& e, To* y, Stream stream) {
  const auto product = tile == 16    ? launch_tensor<Tensor16<E>, To>
                       : tile == 128 ? launch_tensor<Tensor128<E>, To>
                                     : launch_tensor<Tensor64<E>, To>;
  product(s, x, w, e, y, stream);
}

}  // namespace tapwise::cuda
