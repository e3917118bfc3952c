// depthwise.cu — filters that see one channel each: bound by memory, so each thread keeps what it has read.
//
//   y[n, o, c m + j] = sum over taps of x[n, o stride + k dilation - before, c] w[k, c m + j]
//   dx[n, p, c]      = sum over j and the taps of p's phase
//
// A thread makes a run of outputs down a column: with kTaps taps on that axis it reads each input of the run once. What
// lies beside it in its row neighbouring threads have in the cache. These take channels, four each where sizes and
// addresses are multiples of four, or with channels first columns. Padding is left out, not multiplied.
#include <algorithm>
#include <utility>

#include "activation.h"
#include "conv.h"
#include "division.h"
#include "fours.h"

namespace tapwise::cuda {
namespace {

struct Filter {
  Index d, h, w, own, inner;  // strides of taps, of outputs' channels, and of those that one input's gradient sums
  bool fours;                 // a tap's weights of four channels are one read
};

// Consecutive numbers are `across` units of kVector channels, then columns, runs, planes, further units and images.
struct Numbering {
  Divisor across, columns, runs, planes, chunks, group;
  Index units_across, units, size;
};

struct Run {
  Index image, channel;
  int d, h, w;
};

template <int kVector, int kRun>
__device__ __forceinline__ bool run_of(const Numbering& by, Index i, Run& run) {
  Index unit = by.across.take(i);
  run.w = static_cast<int>(by.columns.take(i));
  run.h = static_cast<int>(by.runs.take(i)) * kRun;
  run.d = static_cast<int>(by.planes.take(i));
  unit += by.chunks.take(i) * by.units_across;
  run.image = i;
  run.channel = unit * kVector;
  return unit < by.units;
}

// One column of taps at any distance: sums[r] += x[(h + r) step + first + k tap_step] w[k].
template <int kVector, int kRun>
__device__ __forceinline__ void add_column(const Axis& a, int h, const float* column, const float* tap, Index apart,
                                           const Filter& f, Values<kVector> (&sums)[kRun]) {
  for (int k = 0; k < a.taps; ++k, tap += apart) {
    const Values<kVector> weight = read<kVector>(tap, f.fours, f.own);
#pragma unroll
    for (int r = 0; r < kRun; ++r) {
      const int at = (h + r) * a.step + a.first + k * a.tap_step;
      if (inside(at, a.inputs)) sums[r].add_product(read<kVector>(column + at * a.from), weight);
    }
  }
}

// The same of kTaps neighbouring taps, whose inputs overlap: each is read once.
template <int kVector, int kRun, int kTaps, int kStep>
__device__ __forceinline__ void add_window(const Axis& a, int h, const float* column, const float* tap, Index apart,
                                           const Filter& f, Values<kVector> (&sums)[kRun]) {
  constexpr int kSpan = (kRun - 1) * kStep + kTaps;
  const int first = h * kStep + a.first;
  Values<kVector> window[kSpan] = {};
#pragma unroll
  for (int i = 0; i < kSpan; ++i)
    if (inside(first + i, a.inputs)) window[i] = read<kVector>(column + (first + i) * a.from);
#pragma unroll
  for (int k = 0; k < kTaps; ++k) {
    const Values<kVector> weight = read<kVector>(tap + k * apart, f.fours, f.own);
#pragma unroll
    for (int r = 0; r < kRun; ++r)
      if (inside(first + r * kStep + k, a.inputs)) sums[r].add_product(window[r * kStep + k], weight);
  }
}

// Without kTaps any number of taps, at any distance.
template <int kVector, int kRun, int kTaps, int kStep>
__device__ __forceinline__ void add_taps(const Walk& s, const Filter& f, const Run& run, const float* x, const float* w,
                                         Values<kVector> (&sums)[kRun]) {
  for (int kd = 0; kd < s.d.taps; ++kd) {
    const int d = run.d * s.d.step + s.d.first + kd * s.d.tap_step;
    if (!inside(d, s.d.inputs)) continue;
    for (int kw = 0; kw < s.w.taps; ++kw) {
      const int v = run.w * s.w.step + s.w.first + kw * s.w.tap_step;
      if (!inside(v, s.w.inputs)) continue;
      const float* const column = x + d * s.d.from + v * s.w.from;
      const float* const tap =
          w + (s.d.w_first + kd * s.d.w_step) * f.d + s.h.w_first * f.h + (s.w.w_first + kw * s.w.w_step) * f.w;
      if constexpr (kTaps > 0)
        add_window<kVector, kRun, kTaps, kStep>(s.h, run.h, column, tap, s.h.w_step * f.h, f, sums);
      else
        add_column<kVector, kRun>(s.h, run.h, column, tap, s.h.w_step * f.h, f, sums);
    }
  }
}

template <int kVector, int kRun, int kTaps, int kStep>
__global__ __launch_bounds__(kThreads, 2) void depthwise_run(const Walk s, const Filter f, const Numbering by,
                                                             const float* __restrict__ x, const float* __restrict__ w,
                                                             const Epilogue e, float* __restrict__ y) {
  for (Index i = first_element(); i < by.size; i += all_threads()) {
    Run run;
    if (!run_of<kVector, kRun>(by, i, run)) continue;
    const float* const from = x + run.image * s.from_image + by.group.divide(run.channel) * s.ci * s.from_channel;
    Values<kVector> sums[kRun] = {};
    for (int c = 0; c < s.ci; ++c)
      add_taps<kVector, kRun, kTaps, kStep>(s, f, run, from + c * s.from_channel, w + run.channel * f.own + c * f.inner,
                                            sums);
    const Index to = output_at(s, {run.image, run.d, run.h, run.w}) + run.channel * s.to_channel;
#pragma unroll
    for (int r = 0; r < kRun; ++r) {
      if (run.h + r >= s.h.outputs) break;
      const Index offset = to + r * s.h.to;
#pragma unroll
      for (int q = 0; q < kVector; ++q) sums[r].v[q] = finished(e, sums[r].v[q], run.channel + q, offset + q);
      write<kVector>(y + offset, sums[r]);
    }
  }
}

using Kernel = void (*)(const Walk, const Filter, const Numbering, const float*, const float*, const Epilogue, float*);

template <int kVector>
Kernel kernel_for(const Axis& a) {
  constexpr int kRun = 4;
  const bool next = a.tap_step == 1;
  if (next && a.taps == 3 && a.step == 1) return depthwise_run<kVector, kRun, 3, 1>;
  if (next && a.taps == 3 && a.step == 2) return depthwise_run<kVector, kRun, 3, 2>;
  if (next && a.taps == 5 && a.step == 1) return depthwise_run<kVector, kRun, 5, 1>;
  return depthwise_run<kVector, kRun, 0, 0>;
}

// The taps in the order of their inputs: an input gradient's lie backwards.
void turn(Axis& a) {
  if (a.tap_step > 0 || a.taps == 0) return;
  a.first += (a.taps - 1) * a.tap_step;
  a.tap_step = -a.tap_step;
  a.w_first += (a.taps - 1) * a.w_step;
  a.w_step = -a.w_step;
}

Numbering number(const Walk& s, int vector, int run) {
  const Index units = s.groups * s.co / vector, lanes = vector == 4 ? 8 : 32;  // 128 bytes of memory
  const Index across = s.to_channel == 1 ? std::min(units, lanes) : 1;
  const Index runs = ceil_div(s.h.outputs, run), chunks = ceil_div(units, across);
  return {Divisor(across),
          Divisor(s.w.outputs),
          Divisor(runs),
          Divisor(s.d.outputs),
          Divisor(chunks),
          Divisor(s.co),
          across,
          units,
          s.images * chunks * s.d.outputs * runs * s.w.outputs * across};
}

void convolve(Walk s, Filter f, const float* x, const float* w, const Epilogue& e, float* y, Stream stream) {
  if (s.pixels() == 0) return;
  const bool last = s.to_channel == 1, flat = s.h.outputs == 1;
  if (last && flat) std::swap(s.h, s.w), std::swap(f.h, f.w);
  turn(s.h);
  const bool fours = last && s.ci == 1 && s.co == 1 && s.groups % 4 == 0 && is_aligned(x) && is_aligned(y);
  f.fours = fours && f.own == 1 && f.d % 4 == 0 && f.h % 4 == 0 && f.w % 4 == 0 && is_aligned(w);
  // A run along a single row has one output; with channels first its columns are the threads'.
  const bool single = !last && flat;
  const Kernel kernel = fours ? kernel_for<4>(s.h) : single ? depthwise_run<1, 1, 0, 0> : kernel_for<1>(s.h);
  const Numbering by = number(s, fours ? 4 : 1, single ? 1 : 4);
  launch(kernel, element_blocks(by.size), kThreads, stream, s, f, by, x, w, e, y);
}

}  // namespace

bool is_depthwise(const Conv& s) {
  return s.groups > 1 && s.groups == s.ci;
}

void depthwise_forward(const Conv& c, const float* x, const float* w, const Epilogue& e, float* y, Stream stream) {
  convolve(forward_walk(c), {c.w_d, c.w_h, c.w_w, c.w_co, 0, false}, x, w, e, y, stream);
}

void depthwise_grad_input(const Conv& c, const float* dy, const float* w, const Epilogue& e, float* dx, Stream stream) {
  const Filter f{c.w_d, c.w_h, c.w_w, c.co / c.groups * c.w_co, c.w_co, false};
  for (Index phase = 0; phase < phases(c); ++phase) convolve(grad_input_walk(c, phase), f, dy, w, e, dx, stream);
}

}  // namespace tapwise::cuda
