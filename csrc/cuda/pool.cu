// pool.cu — pooling and its gradients, a thread an output, neighbours in memory. Memory-bound.
//
// The average's gradient gathers: each input adds up the shares of the windows that hold it. The maximum's knows its
// windows by indices alone: a thread for each image and channel adds dy up in the order of the outputs, so that
// overlapping windows give the same bits each time.
#include "division.h"
#include "elements.h"
#include "nn.h"

namespace tapwise::cuda {
namespace {

struct PoolStrides {
  Index image, channel, d, h, w;
};

__host__ __device__ __forceinline__ PoolStrides pool_strides(Layout layout, Index c, Index d, Index h, Index w) {
  if (layout == Layout::channels_last) return {d * h * w * c, 1, h * w * c, w * c, c};
  return {c * d * h * w, d * h * w, h * w, w, 1};
}

struct Element {
  Index image, channel, d, h, w, offset;
};

struct Numbering {
  Divisor c, d, h, w;
  bool last;

  Numbering(const Pool& s, Index depth, Index height, Index width)
      : c(s.c), d(depth), h(height), w(width), last(s.layout == Layout::channels_last) {}
};

// Element i of an array (n, c, d, h, w) as it lies in memory.
__device__ __forceinline__ Element element_at(Index i, const Numbering& by) {
  Element e{i, 0, 0, 0, 0, i};
  if (by.last) e.channel = by.c.take(e.image);
  e.w = by.w.take(e.image);
  e.h = by.h.take(e.image);
  e.d = by.d.take(e.image);
  if (!by.last) e.channel = by.c.take(e.image);
  return e;
}

// Sizes of one axis, in 32 bits: those of 64 divide by calls.
struct PoolAxis {
  int in, out, k, stride, dilation, before, after;
};

struct Axes {
  PoolAxis d, h, w;

  explicit Axes(const Pool& s)
      : d{axis(s.id, s.od, s.kd, s.sd, s.dil_d, s.pf, s.pk, s.adaptive)},
        h{axis(s.ih, s.oh, s.kh, s.sh, s.dil_h, s.pt, s.pb, s.adaptive)},
        w{axis(s.iw, s.ow, s.kw, s.sw, s.dil_w, s.pl, s.pr, s.adaptive)} {}

  static PoolAxis axis(Index in, Index out, Index k, Index stride, Index dilation, Index before, Index after,
                       bool adaptive) {
    constexpr Index kMost = Index{1} << 30;
    if (in + before + (after > 0 ? after : 0) + k * dilation + stride >= kMost || out * stride >= kMost ||
        (adaptive && (in + 1) * (out + 1) >= kMost))
      throw std::invalid_argument("the device's pooling takes axes of fewer than 2^30 positions");
    const auto narrow = [](Index value) { return static_cast<int>(value); };
    return {narrow(in), narrow(out), narrow(k), narrow(stride), narrow(dilation), narrow(before), narrow(after)};
  }
};

// The inputs of one axis in the window of output o, and how many positions a divisor counts.
struct Span {
  int first, end, step, counted;
};

__device__ __forceinline__ Span span_of(int o, const PoolAxis& a, bool adaptive) {
  if (adaptive) {
    const int first = o * a.in / a.out, end = ((o + 1) * a.in + a.out - 1) / a.out;
    return {first, end, 1, end - first};
  }
  const int start = o * a.stride - a.before, stop = start + a.k * a.dilation;
  const int first = start < 0 ? start + (-start + a.dilation - 1) / a.dilation * a.dilation : start;
  const int counted_end = stop < a.in + a.after ? stop : a.in + a.after;
  return {first, stop < a.in ? stop : a.in, a.dilation,
          counted_end > start ? (counted_end - start + a.dilation - 1) / a.dilation : 0};
}

struct Window {
  Span d, h, w;

  __device__ __forceinline__ Window(const Axes& s, bool adaptive, Index od, Index oh, Index ow)
      : d(span_of(static_cast<int>(od), s.d, adaptive)),
        h(span_of(static_cast<int>(oh), s.h, adaptive)),
        w(span_of(static_cast<int>(ow), s.w, adaptive)) {}

  static __device__ __forceinline__ Index inside(const Span& a) {
    return a.end > a.first ? (a.end - a.first + a.step - 1) / a.step : 0;
  }
  __device__ __forceinline__ float divisor(const Pool& s) const {
    return static_cast<float>(s.count_include_pad ? Index{d.counted} * h.counted * w.counted
                                                  : inside(d) * inside(h) * inside(w));
  }
};

__global__ __launch_bounds__(kThreads, 2) void max_pool_forward(const Pool s, const Axes axes, const Numbering by,
                                                                const Index size, const float* __restrict__ x,
                                                                float* __restrict__ y,
                                                                std::int32_t* __restrict__ indices) {
  const PoolStrides from = pool_strides(s.layout, s.c, s.id, s.ih, s.iw);
  for (Index i = first_element(); i < size; i += all_threads()) {
    const Element o = element_at(i, by);
    const Window window(axes, s.adaptive, o.d, o.h, o.w);
    const float* const plane = x + o.image * from.image + o.channel * from.channel;
    Index at = (Index{window.d.first} * s.ih + window.h.first) * s.iw + window.w.first;
    float best = plane[window.d.first * from.d + window.h.first * from.h + window.w.first * from.w];
    for (int d = window.d.first; d < window.d.end; d += window.d.step)
      for (int h = window.h.first; h < window.h.end; h += window.h.step)
        for (int w = window.w.first; w < window.w.end; w += window.w.step) {
          const float value = plane[d * from.d + h * from.h + w * from.w];
          // The first of equals and the first NaN stay.
          if (best == best && (value > best || value != value)) {
            best = value;
            at = (d * s.ih + h) * s.iw + w;
          }
        }
    y[i] = best;
    if (indices) indices[i] = static_cast<std::int32_t>(at);
  }
}

__global__ __launch_bounds__(kThreads, 2) void check_indices(const Index size, const Index plane,
                                                             const std::int32_t* __restrict__ indices, int* found) {
  for (Index i = first_element(); i < size; i += all_threads())
    if (indices[i] < 0 || indices[i] >= plane) atomicOr(found, 1);
}

__global__ __launch_bounds__(kThreads, 2) void max_pool_scatter(const Pool s, const float* __restrict__ dy,
                                                                const std::int32_t* __restrict__ indices,
                                                                float* __restrict__ dx) {
  const PoolStrides from = pool_strides(s.layout, s.c, s.od, s.oh, s.ow);
  const PoolStrides to = pool_strides(s.layout, s.c, s.id, s.ih, s.iw);
  const Index inputs = s.id * s.ih * s.iw, outputs = s.od * s.oh * s.ow;
  for (Index i = first_element(); i < s.n * s.c; i += all_threads()) {
    const Index image = i / s.c, channel = i % s.c;
    float* const plane = dx + image * to.image + channel * to.channel;
    const Index first = image * from.image + channel * from.channel;
    for (Index p = 0; p < inputs; ++p) plane[p * to.w] = 0;
    for (Index o = 0; o < outputs; ++o) plane[indices[first + o * from.w] * to.w] += dy[first + o * from.w];
  }
}

__global__ __launch_bounds__(kThreads, 2) void average_pool_forward(const Pool s, const Axes axes, const Numbering by,
                                                                    const Index size, const float* __restrict__ x,
                                                                    float* __restrict__ y) {
  const PoolStrides from = pool_strides(s.layout, s.c, s.id, s.ih, s.iw);
  for (Index i = first_element(); i < size; i += all_threads()) {
    const Element o = element_at(i, by);
    const Window window(axes, s.adaptive, o.d, o.h, o.w);
    const float* const plane = x + o.image * from.image + o.channel * from.channel;
    float sum = 0;
    for (int d = window.d.first; d < window.d.end; d += window.d.step)
      for (int h = window.h.first; h < window.h.end; h += window.h.step)
        for (int w = window.w.first; w < window.w.end; w += window.w.step)
          sum += plane[d * from.d + h * from.h + w * from.w];
    y[i] = sum / window.divisor(s);
  }
}

// The outputs of one axis whose windows may hold input p, and whether o's does.
struct Holders {
  int first, end;
};

__device__ __forceinline__ Holders holders_of(Index at, const PoolAxis& a, bool adaptive) {
  const int p = static_cast<int>(at);
  if (adaptive) return {p * a.out / a.in, ((p + 1) * a.out + a.in - 1) / a.in};
  const int reach = p + a.before - (a.k - 1) * a.dilation, first = reach > 0 ? (reach + a.stride - 1) / a.stride : 0;
  const int end = (p + a.before) / a.stride + 1;
  return {first, end < a.out ? end : a.out};
}

__device__ __forceinline__ bool holds(int o, Index p, const PoolAxis& a, bool adaptive) {
  return adaptive || (static_cast<int>(p) + a.before - o * a.stride) % a.dilation == 0;
}

__global__ __launch_bounds__(kThreads, 2) void average_pool_gather(const Pool s, const Axes axes, const Numbering by,
                                                                   const Index size, const float* __restrict__ dy,
                                                                   float* __restrict__ dx) {
  const PoolStrides from = pool_strides(s.layout, s.c, s.od, s.oh, s.ow);
  for (Index i = first_element(); i < size; i += all_threads()) {
    const Element p = element_at(i, by);
    const Holders ds = holders_of(p.d, axes.d, s.adaptive), hs = holders_of(p.h, axes.h, s.adaptive);
    const Holders ws = holders_of(p.w, axes.w, s.adaptive);
    float sum = 0;
    for (int d = ds.first; d < ds.end; ++d)
      for (int h = hs.first; h < hs.end; ++h)
        for (int w = ws.first; w < ws.end; ++w) {
          if (!holds(d, p.d, axes.d, s.adaptive) || !holds(h, p.h, axes.h, s.adaptive) ||
              !holds(w, p.w, axes.w, s.adaptive))
            continue;
          const Window window(axes, s.adaptive, d, h, w);
          sum += dy[p.image * from.image + p.channel * from.channel + d * from.d + h * from.h + w * from.w] /
                 window.divisor(s);
        }
    dx[i] = sum;
  }
}

Index input_size(const Pool& s) {
  return s.n * s.c * s.id * s.ih * s.iw;
}
Index output_size(const Pool& s) {
  return s.n * s.c * s.od * s.oh * s.ow;
}

}  // namespace

void max_pool(const Pool& s, const float* x, float* y, std::int32_t* indices, Stream stream) {
  launch(max_pool_forward, element_blocks(output_size(s)), kThreads, stream, s, Axes(s), Numbering(s, s.od, s.oh, s.ow),
         output_size(s), x, y, indices);
}

void max_pool_grad(const Pool& s, const float* dy, const std::int32_t* indices, float* dx, Stream stream) {
  const Index plane = s.id * s.ih * s.iw;
  const Scratch flag(1, stream);
  int found = 0;
  int* const on_device = reinterpret_cast<int*>(flag.floats());
  check(cudaMemsetAsync(on_device, 0, sizeof(int), stream), "cudaMemsetAsync");
  launch(check_indices, element_blocks(output_size(s)), kThreads, stream, output_size(s), plane, indices, on_device);
  check(cudaMemcpyAsync(&found, on_device, sizeof found, cudaMemcpyDeviceToHost, stream), "cudaMemcpyAsync");
  check(cudaStreamSynchronize(stream), "cudaStreamSynchronize");
  if (found) throw std::invalid_argument("indices must be >= 0 and < " + std::to_string(plane));
  launch(max_pool_scatter, element_blocks(s.n * s.c), kThreads, stream, s, dy, indices, dx);
}

void average_pool(const Pool& s, const float* x, float* y, Stream stream) {
  launch(average_pool_forward, element_blocks(output_size(s)), kThreads, stream, s, Axes(s),
         Numbering(s, s.od, s.oh, s.ow), output_size(s), x, y);
}

void average_pool_grad(const Pool& s, const float* dy, float* dx, Stream stream) {
  launch(average_pool_gather, element_blocks(input_size(s)), kThreads, stream, s, Axes(s),
         Numbering(s, s.id, s.ih, s.iw), input_size(s), dy, dx);
}

}  // namespace tapwise::cuda
