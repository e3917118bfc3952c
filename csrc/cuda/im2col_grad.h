// im2col_grad.h — tiles of a' and of dy, whose product over a stretch of pixels is a partial sum of dw.
//
// Each thread copies some rows of a', whose taps and addresses it keeps, and some columns of dy, of one pixel a step,
// which it carries along: no division in the loop. The stretches follow from the sizes alone: enough blocks for a large
// device, and at least 512 pixels in each.
#pragma once

#include <algorithm>

#include "walk.h"

namespace tapwise::cuda {

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

// Copies of kVector elements, of 4 bytes at least; several only with channels last and multiples of kVector.
template <class T, class E, int kVector>
struct GradLoader {
  static constexpr int kApart = T::kThreads / T::kDepth, kStep = kApart * kVector;
  static constexpr int kCount = T::kM / kStep, kColumns = T::kN / kStep;
  static constexpr int kBytes = sizeof(E) * kVector;
  static_assert(T::kM % kStep == 0 && T::kN % kStep == 0);

  const Walk& s;
  const E *x, *dy;
  int slot, first, column, left;  // pixels, at first
  Pixel at;
  TapRow rows[kCount];

  __device__ __forceinline__ GradLoader(const Walk& walk, const E* from, const E* gradient, const GradPlace& place,
                                        Index begin, Index stop)
      : s(walk), x(from), dy(gradient + place.group * walk.co * walk.to_channel), column(place.column) {
    const int t = static_cast<int>(threadIdx.x);
    const bool channels_first = s.from_channel != 1;
    slot = channels_first ? t % T::kDepth : t / kApart;
    first = (channels_first ? t / T::kDepth : t % kApart) * kVector;
    left = static_cast<int>(stop - begin) - slot;
    at = pixel_of(s, left > 0 ? begin + slot : begin);
#pragma unroll
    for (int i = 0; i < kCount; ++i) rows[i] = tap_row(s, place.row + first + i * kStep, place.group);
  }

  // The next pixels of a tile (kDepth, kM) of a and one (kDepth, kN) of dy.
  template <class A, class B>
  __device__ __forceinline__ void load(A& a, B& b) {
    const bool is_pixel = left > 0;
    const int d = at.d * s.d.step, h = at.h * s.h.step, w = at.w * s.w.step;
    const Index image = at.image * s.from_image;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const TapRow& r = rows[i];
      const bool hits =
          is_pixel && inside(d + r.d, s.d.inputs) && inside(h + r.h, s.h.inputs) && inside(w + r.w, s.w.inputs);
      const Index offset = image + r.channel + (d + r.d) * s.d.from + (h + r.h) * s.h.from + (w + r.w) * s.w.from;
      __pipeline_memcpy_async(&a[slot][first + i * kStep], hits ? x + offset : x, kBytes, hits ? 0 : kBytes);
    }
    const E* const row = dy + (is_pixel ? output_at(s, at) : 0);
#pragma unroll
    for (int i = 0; i < kColumns; ++i) {
      const int n = first + i * kStep;
      const bool hits = is_pixel && column + n < s.co;
      __pipeline_memcpy_async(&b[slot][n], hits ? row + (column + n) * s.to_channel : dy, kBytes, hits ? 0 : kBytes);
    }
    if (is_pixel) advance(s, at, T::kDepth);
    left -= T::kDepth;
  }
};

// Splits of the sum over pixels, each a stretch of them.
struct Split {
  Index count, stretch;
};

// tiles: of the product; depth: pixels of a step.
inline Split split_pixels(Index pixels, Index tiles, Index depth) {
  constexpr Index kBlocks = 256, kLeast = 512, kMost = Index{1} << 30;
  const Index most = std::max<Index>(1, std::min(ceil_div(kBlocks, tiles), pixels / kLeast));
  const Index stretch = std::min(ceil_div(ceil_div(pixels, most), depth) * depth, kMost);
  return {pixels ? ceil_div(pixels, stretch) : 0, stretch};
}

}  // namespace tapwise::cuda
