// im2col_grad_weight.cu — dw (taps ci, co) = a' dy, a as in im2col.cu: a sum over all pixels, which blocks share out.
//
//   x, dy              -> 8 pixels of a and dy at a time, into shared memory
//   a, dy              -> partial (splits, groups, taps ci, co), each the sum over a stretch of pixels
//   partial            -> dw, added up in the order of the stretches: the same bits each time
//
// The stretches follow from the sizes alone: enough blocks for a large device, and at least 512 pixels in each.
#include <algorithm>

#include "conv.h"
#include "gemm.h"

namespace tapwise::cuda {
namespace {

// A row of a': a tap's place relative to the pixel's, and the address of its channel. A row past the end lies outside
// of every input.
struct TapRow {
  int d, h, w;
  Index channel;
};

struct GradPlace {
  Index row, group, split;
  int column;
};

template <class T>
__device__ __forceinline__ GradPlace grad_place(const Walk& s) {
  const auto across = static_cast<unsigned>((s.co + T::kN - 1) / T::kN);
  const auto down = static_cast<unsigned>((s.taps() * s.ci + T::kM - 1) / T::kM);
  const auto groups = static_cast<unsigned>(s.groups);
  const unsigned rest = blockIdx.x / across, far = rest / down;
  return {Index{rest % down} * T::kM, Index{far % groups}, Index{far / groups},
          static_cast<int>(blockIdx.x % across) * T::kN};
}

__device__ __forceinline__ TapRow tap_row(const Walk& s, Index row, Index group) {
  if (row >= s.taps() * s.ci) return {-(1 << 30), 0, 0, 0};
  const Index tap = row / s.ci, c = row % s.ci;
  const auto kw = static_cast<int>(tap % s.w.taps), kh = static_cast<int>(tap / s.w.taps % s.h.taps);
  const auto kd = static_cast<int>(tap / s.w.taps / s.h.taps);
  return {s.d.first + kd * s.d.tap_step, s.h.first + kh * s.h.tap_step, s.w.first + kw * s.w.tap_step,
          (group * s.ci + c) * s.from_channel};
}

// One pixel a step, `by` further each time, without division.
__device__ __forceinline__ void advance(const Walk& s, Pixel& p, int by) {
  p.w += by;
  while (p.w >= s.w.outputs) {
    p.w -= s.w.outputs;
    if (++p.h < s.h.outputs) continue;
    p.h = 0;
    if (++p.d < s.d.outputs) continue;
    p.d = 0;
    ++p.image;
  }
}

template <class T>
struct GradLoader {
  static constexpr int kApart = T::kThreads / T::kDepth;
  static constexpr int kCount = (T::kM + kApart - 1) / kApart, kColumns = (T::kN + kApart - 1) / kApart;
  static_assert(T::kM % kApart == 0 && T::kN % kApart == 0);

  const Walk& s;
  const float *x, *dy;
  int slot, first, column, left;  // pixels, at first
  Pixel at;
  TapRow rows[kCount];

  __device__ __forceinline__ GradLoader(const Walk& walk, const float* from, const float* gradient,
                                        const GradPlace& place, Index begin, Index stop)
      : s(walk), x(from), dy(gradient + place.group * walk.co * walk.to_channel), column(place.column) {
    const int t = static_cast<int>(threadIdx.x);
    const bool channels_first = s.from_channel != 1;
    slot = channels_first ? t % T::kDepth : t / kApart;
    first = channels_first ? t / T::kDepth : t % kApart;
    left = static_cast<int>(stop - begin) - slot;
    at = pixel_of(s, left > 0 ? begin + slot : begin);
#pragma unroll
    for (int i = 0; i < kCount; ++i) rows[i] = tap_row(s, place.row + first + i * kApart, place.group);
  }

  __device__ __forceinline__ void load(float (&a)[T::kDepth][T::kM], float (&b)[T::kDepth][T::kN]) {
    const bool is_pixel = left > 0;
    const int d = at.d * s.d.step, h = at.h * s.h.step, w = at.w * s.w.step;
    const Index image = at.image * s.from_image;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const TapRow& r = rows[i];
      const bool hits =
          is_pixel && inside(d + r.d, s.d.inputs) && inside(h + r.h, s.h.inputs) && inside(w + r.w, s.w.inputs);
      const Index offset = image + r.channel + (d + r.d) * s.d.from + (h + r.h) * s.h.from + (w + r.w) * s.w.from;
      __pipeline_memcpy_async(&a[slot][first + i * kApart], hits ? x + offset : x, 4, hits ? 0 : 4);
    }
    const float* const row = dy + (is_pixel ? output_at(s, at) : 0);
#pragma unroll
    for (int i = 0; i < kColumns; ++i) {
      const int n = first + i * kApart;
      const bool hits = is_pixel && column + n < s.co;
      __pipeline_memcpy_async(&b[slot][n], hits ? row + (column + n) * s.to_channel : dy, 4, hits ? 0 : 4);
    }
    if (is_pixel) advance(s, at, T::kDepth);
    left -= T::kDepth;
  }
};

template <class T>
__global__ __launch_bounds__(T::kThreads,
                             2) void im2col_grad_product(const Walk s, const Index stretch, const float* __restrict__ x,
                                                         const float* __restrict__ dy, float* __restrict__ partial) {
  CU_SHARED(float, a, [T::kStages][T::kDepth][T::kM]);
  CU_SHARED(float, b, [T::kStages][T::kDepth][T::kN]);
  const GradPlace at = grad_place<T>(s);
  const Index begin = at.split * stretch, end = begin + stretch < s.pixels() ? begin + stretch : s.pixels();
  GradLoader<T> loader(s, x, dy, at, begin, end);
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

struct Split {
  Index count, stretch;
};

Split split_of(const Conv& c, int tile) {
  constexpr Index kBlocks = 256, kLeast = 512, kMost = Index{1} << 30;
  const Index pixels = c.n * c.od * c.oh * c.ow;
  const Index tiles =
      ceil_div(c.kd * c.kh * c.kw * (c.ci / c.groups), tile) * ceil_div(c.co / c.groups, tile) * c.groups;
  const Index most = std::max<Index>(1, std::min(ceil_div(kBlocks, tiles), pixels / kLeast));
  const Index stretch = std::min(ceil_div(ceil_div(pixels, most), 8) * 8, kMost);
  return {pixels ? ceil_div(pixels, stretch) : 0, stretch};
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
