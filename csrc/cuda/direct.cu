// direct.cu — every convolution as plain sums, one thread an output: what the other kernels are held to, and the one
// for few channels, where their tiles would be empty.
//
//   y[n, o, co]  = sum over taps and ci of x[n, o stride + k dilation - before, ci] w[k, ci, co]
//   dx[n, p, ci] = the same over the walk of p's phase
//   dw[k, ci, co] = sum over pixels, by the threads of one block, in a tree
//
// Neighbouring threads have neighbouring outputs in memory.
#include <algorithm>

#include "activation.h"
#include "conv.h"
#include "division.h"

namespace tapwise::cuda {
namespace {

template <class E>
__device__ __forceinline__ float direct_sum(const Walk& s, const Pixel& p, Index group, const E* x, const E* w,
                                            const WeightStrides& strides) {
  float sum = 0;
  for (int kd = 0; kd < s.d.taps; ++kd) {
    const int d = p.d * s.d.step + s.d.first + kd * s.d.tap_step;
    if (!inside(d, s.d.inputs)) continue;
    for (int kh = 0; kh < s.h.taps; ++kh) {
      const int h = p.h * s.h.step + s.h.first + kh * s.h.tap_step;
      if (!inside(h, s.h.inputs)) continue;
      for (int kw = 0; kw < s.w.taps; ++kw) {
        const int v = p.w * s.w.step + s.w.first + kw * s.w.tap_step;
        if (!inside(v, s.w.inputs)) continue;
        const E* const from =
            x + p.image * s.from_image + group * s.ci * s.from_channel + d * s.d.from + h * s.h.from + v * s.w.from;
        const E* const tap = w + (s.d.w_first + kd * s.d.w_step) * strides.d +
                             (s.h.w_first + kh * s.h.w_step) * strides.h + (s.w.w_first + kw * s.w.w_step) * strides.w;
        for (int c = 0; c < s.ci; ++c) sum += widened(from[c * s.from_channel]) * widened(tap[c * strides.from]);
      }
    }
  }
  return sum;
}

// What divides an output's number, and whether there is anything to do.
struct Numbering {
  Divisor channels, outputs, rows, columns, group;
  const int* guard;

  Numbering(const Walk& s, const int* only_if)
      : channels(s.groups * s.co),
        outputs(s.outputs()),
        rows(s.h.outputs),
        columns(s.w.outputs),
        group(s.co),
        guard(only_if) {}
};

template <class E, class To>
__global__ __launch_bounds__(kThreads, 2) void direct_conv(const Walk s, const WeightStrides strides,
                                                           const Numbering by, const E* __restrict__ x,
                                                           const E* __restrict__ w, const Epilogue e,
                                                           To* __restrict__ y) {
  if (by.guard && !*by.guard) return;
  const Index size = s.pixels() * s.groups * s.co;
  for (Index i = first_element(); i < size; i += all_threads()) {
    Index rest = i, channel = 0;
    const bool last = s.to_channel == 1;
    if (last) channel = by.channels.take(rest);
    Index position = by.outputs.take(rest);
    if (!last) channel = by.channels.take(rest);
    const auto v = static_cast<int>(by.columns.take(position)), h = static_cast<int>(by.rows.take(position));
    const Pixel p{rest, static_cast<int>(position), h, v};
    Index group = channel;
    const Index co = by.group.take(group), to = output_at(s, p) + channel * s.to_channel;
    const E* const own = w + group * strides.group + co * strides.to;
    y[to] = narrowed<To>(finished(e, direct_sum(s, p, group, x, own, strides), channel, to));
  }
}

// A block for each weight.
template <int kBlock, class E>
__global__ __launch_bounds__(kBlock) void direct_grad(const Walk s, const WeightStrides strides, const int* guard,
                                                      const E* __restrict__ x, const E* __restrict__ dy,
                                                      float* __restrict__ dw) {
  CU_SHARED(float, sums, [kBlock]);
  const auto channels = static_cast<unsigned>(s.groups * s.co), ci = static_cast<unsigned>(s.ci);
  const unsigned channel = blockIdx.x % channels, row = blockIdx.x / channels;
  const unsigned c = row % ci, tap = row / ci, group = channel / static_cast<unsigned>(s.co);
  const auto kw = static_cast<int>(tap % s.w.taps), kh = static_cast<int>(tap / s.w.taps % s.h.taps);
  const auto kd = static_cast<int>(tap / s.w.taps / s.h.taps);
  const int t = static_cast<int>(threadIdx.x);
  float sum = 0;
  if (guard && !*guard) return;  // all of the grid
  for (Index pixel = t; pixel < s.pixels(); pixel += kBlock) {
    const Pixel p = pixel_of(s, pixel);
    const int d = p.d * s.d.step + s.d.first + kd * s.d.tap_step, h = p.h * s.h.step + s.h.first + kh * s.h.tap_step;
    const int v = p.w * s.w.step + s.w.first + kw * s.w.tap_step;
    if (inside(d, s.d.inputs) && inside(h, s.h.inputs) && inside(v, s.w.inputs))
      sum += widened(x[p.image * s.from_image + d * s.d.from + h * s.h.from + v * s.w.from +
                       (group * s.ci + c) * s.from_channel]) *
             widened(dy[output_at(s, p) + channel * s.to_channel]);
  }
  sums[t] = sum;
  for (int half = kBlock / 2; half > 0; half /= 2) {
    __syncthreads();
    if (t < half) sums[t] += sums[t + half];
  }
  if (t == 0)
    dw[kd * strides.d + kh * strides.h + kw * strides.w + c * strides.from + group * strides.group +
       channel % static_cast<unsigned>(s.co) * strides.to] = sums[0];
}

WeightStrides strides_of(const Conv& c, bool backward) {
  return {c.w_d, c.w_h, c.w_w, backward ? c.w_co : c.w_ci, backward ? c.w_ci : c.w_co, c.co / c.groups * c.w_co};
}

}  // namespace

template <class E, class To>
void direct_walk(const Walk& s, const WeightStrides& strides, const E* x, const E* w, const Epilogue& e, To* y,
                 const int* only_if, Stream stream) {
  launch(direct_conv<E, To>, element_blocks(s.pixels() * s.groups * s.co), kThreads, stream, s, strides,
         Numbering(s, only_if), x, w, e, y);
}

template void direct_walk(const Walk&, const WeightStrides&, const Half*, const Half*, const Epilogue&, float*,
                          const int*, Stream);
template void direct_walk(const Walk&, const WeightStrides&, const Half*, const Half*, const Epilogue&, Half*,
                          const int*, Stream);

void direct_forward(const Conv& c, const float* x, const float* w, const Epilogue& e, float* y, Stream stream,
                    const int* only_if) {
  direct_walk(forward_walk(c), strides_of(c, false), x, w, e, y, only_if, stream);
}

void direct_grad_input(const Conv& c, const float* dy, const float* w, const Epilogue& e, float* dx, Stream stream,
                       const int* only_if) {
  for (Index phase = 0; phase < phases(c); ++phase)
    direct_walk(grad_input_walk(c, phase), strides_of(c, true), dy, w, e, dx, only_if, stream);
}

template <class E>
void direct_grad_weight(const Conv& c, const E* x, const E* dy, float* dw, Stream stream, const int* only_if) {
  const Walk s = forward_walk(c);
  const Index weights = s.taps() * s.ci * s.groups * s.co;
  constexpr Index kFew = 1024;  // pixels: a warp takes less time to add up
  const auto few = s.pixels() <= kFew;
  launch(few ? direct_grad<32, E> : direct_grad<kThreads, E>, weights, few ? 32 : kThreads, stream, s,
         strides_of(c, false), only_if, x, dy, dw);
}

template void direct_grad_weight(const Conv&, const float*, const float*, float*, Stream, const int*);
template void direct_grad_weight(const Conv&, const Half*, const Half*, float*, Stream, const int*);

}  // namespace tapwise::cuda
