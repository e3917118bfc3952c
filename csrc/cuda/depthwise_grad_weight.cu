// depthwise_grad_weight.cu — dw[k, c m + j] = sum over pixels of x[n, o stride + k dilation - before, c] dy[n, o, c m +
// j].
//
//   x, dy   -> partial (splits, channels, taps), each the sum over a stretch of pixels
//   partial -> dw, added up in the order of the stretches: the same bits each time
//
// A thread sums 3 x 3 taps of its channels over some of its block's pixels, so it reads dy once for nine products; the
// threads of a warp that share channels add up by shuffles, warps through shared memory, in order.
#include <algorithm>

#include "conv.h"
#include "division.h"
#include "fours.h"

namespace tapwise::cuda {
namespace {

constexpr int kSide = 3, kWarps = kThreads / 32;

struct Split {
  Index count, stretch;
};

struct Numbering {
  Divisor columns, rows, planes, group, chunks, tiles_w, tiles_h, tiles_d;
  Index stretch;
};

// Threads that take channels side by side, kVector each; with channels first none do.
template <int kChannels, int kEach>
struct Lanes {
  static constexpr int kVector = kEach, kAcross = kChannels, kPixels = kThreads / kAcross;
};

// Which channels, taps and pixels a block sums.
struct Part {
  Index unit, split;
  int d, h, w;  // the first of its taps
};

template <class L>
__device__ __forceinline__ Part part_of(const Numbering& by) {
  Index rest = blockIdx.x;
  const Index unit = by.chunks.take(rest) * L::kAcross;
  const auto w = static_cast<int>(by.tiles_w.take(rest)) * kSide, h = static_cast<int>(by.tiles_h.take(rest)) * kSide;
  const auto d = static_cast<int>(by.tiles_d.take(rest));
  return {unit, rest, d, h, w};
}

template <class L>
using TapSums = Values<L::kVector>[kSide][kSide];

template <class L>
__device__ __forceinline__ void add_pixel(const Walk& s, const Part& part, const Pixel& p, const float* x,
                                          const float* dy, TapSums<L>& sums) {
  const int d = p.d * s.d.step + s.d.first + part.d * s.d.tap_step;
  if (!inside(d, s.d.inputs)) return;
  const int h = p.h * s.h.step + s.h.first + part.h * s.h.tap_step;
  const int w = p.w * s.w.step + s.w.first + part.w * s.w.tap_step;
  const Values<L::kVector> gradient = read<L::kVector>(dy + output_at(s, p));
  const float* const plane = x + p.image * s.from_image + d * s.d.from;
#pragma unroll
  for (int i = 0; i < kSide; ++i) {
    const int row = h + i * s.h.tap_step;
    if (part.h + i >= s.h.taps || !inside(row, s.h.inputs)) continue;
#pragma unroll
    for (int j = 0; j < kSide; ++j) {
      const int column = w + j * s.w.tap_step;
      if (part.w + j < s.w.taps && inside(column, s.w.inputs))
        sums[i][j].add_product(read<L::kVector>(plane + row * s.h.from + column * s.w.from), gradient);
    }
  }
}

// The sums of a warp's threads with the same channels, in each of them.
template <class L>
__device__ __forceinline__ void add_warp(TapSums<L>& sums) {
#pragma unroll
  for (int i = 0; i < kSide; ++i)
#pragma unroll
    for (int j = 0; j < kSide; ++j)
#pragma unroll
      for (int q = 0; q < L::kVector; ++q)
#pragma unroll
        for (int apart = L::kAcross; apart < 32; apart *= 2)
          sums[i][j].v[q] += __shfl_xor_sync(0xFFFFFFFF, sums[i][j].v[q], apart);
}

template <class L>
__global__ __launch_bounds__(kThreads, 2) void depthwise_grad(const Walk s, const Numbering by,
                                                              const float* __restrict__ x, const float* __restrict__ dy,
                                                              float* __restrict__ partial) {
  constexpr int kChannels = L::kAcross * L::kVector;
  CU_SHARED(float, of_warps, [kWarps][kSide * kSide][kChannels]);
  const Part part = part_of<L>(by);
  const int t = static_cast<int>(threadIdx.x), lane = t % L::kAcross;
  const Index channels = s.groups * s.co, first = part.unit * L::kVector, channel = first + lane * L::kVector;
  const Index begin = part.split * by.stretch, end = begin + by.stretch < s.pixels() ? begin + by.stretch : s.pixels();
  TapSums<L> sums = {};
  if (channel < channels) {
    const float* const from = x + by.group.divide(channel) * s.from_channel;
    for (Index pixel = begin + t / L::kAcross; pixel < end; pixel += L::kPixels) {
      Index rest = pixel;
      const auto w = static_cast<int>(by.columns.take(rest)), h = static_cast<int>(by.rows.take(rest));
      const auto d = static_cast<int>(by.planes.take(rest));
      add_pixel<L>(s, part, {rest, d, h, w}, from, dy + channel * s.to_channel, sums);
    }
  }
  add_warp<L>(sums);
  if (t % 32 < L::kAcross)
#pragma unroll
    for (int tap = 0; tap < kSide * kSide; ++tap)
#pragma unroll
      for (int q = 0; q < L::kVector; ++q)
        of_warps[t / 32][tap][lane * L::kVector + q] = sums[tap / kSide][tap % kSide].v[q];
  __syncthreads();
  for (int i = t; i < kSide * kSide * kChannels; i += kThreads) {
    const int tap = i / kChannels, kh = part.h + tap / kSide, kw = part.w + tap % kSide;
    const Index own = first + i % kChannels;
    if (own >= channels || kh >= s.h.taps || kw >= s.w.taps) continue;
    float sum = 0;
#pragma unroll
    for (int warp = 0; warp < kWarps; ++warp) sum += of_warps[warp][tap][i % kChannels];
    const Index group = by.group.divide(own), place = (Index{part.d} * s.h.taps + kh) * s.w.taps + kw;
    partial[((part.split * s.groups + group) * s.taps() + place) * s.co + own - group * s.co] = sum;
  }
}

Index parts(const Conv& c, Index chunks) {
  return chunks * c.kd * ceil_div(c.kh, kSide) * ceil_div(c.kw, kSide);
}

// From sizes alone: enough blocks for a large device, and at least 1,024 pixels in each.
Split split_of(const Conv& c) {
  constexpr Index kBlocks = 512, kLeast = 1024, kChannels = 32;
  const Index pixels = c.n * c.od * c.oh * c.ow;
  const Index chunks = c.layout == Layout::channels_last ? ceil_div(c.co, kChannels) : c.co;
  const Index most = std::max<Index>(1, std::min(ceil_div(kBlocks, parts(c, chunks)), pixels / kLeast));
  const Index stretch = ceil_div(pixels, most);
  return {pixels ? ceil_div(pixels, stretch) : 0, stretch};
}

template <class L>
void multiply(const Conv& c, const Walk& s, const Split& split, const float* x, const float* dy, float* partial,
              Stream stream) {
  const Index chunks = ceil_div(c.co, L::kAcross * L::kVector);
  const Numbering by{
      Divisor(s.w.outputs), Divisor(s.h.outputs),           Divisor(s.d.outputs),           Divisor(s.co),
      Divisor(chunks),      Divisor(ceil_div(c.kw, kSide)), Divisor(ceil_div(c.kh, kSide)), Divisor(c.kd),
      split.stretch};
  launch(depthwise_grad<L>, parts(c, chunks) * split.count, kThreads, stream, s, by, x, dy, partial);
}

}  // namespace

Index depthwise_partial_floats(const Conv& c) {
  return split_of(c).count * c.kd * c.kh * c.kw * c.co;
}

void depthwise_grad_weight(const Conv& c, const float* x, const float* dy, float* dw, Stream stream) {
  const Walk s = forward_walk(c);
  const Split split = split_of(c);
  const Scratch partial(depthwise_partial_floats(c), stream);
  const bool fours = s.from_channel == 1 && c.co == c.ci && c.co % 4 == 0 && is_aligned(x) && is_aligned(dy);
  const auto product = s.from_channel != 1 ? multiply<Lanes<1, 1>>
                       : fours             ? multiply<Lanes<8, 4>>
                                           : multiply<Lanes<32, 1>>;
  product(c, s, split, x, dy, partial.floats(), stream);
  add_partials(c, split.count, partial.floats(), dw, stream);
}

}  // namespace tapwise::cuda
