// im2col.h — a tile of the product's left matrix, which is never stored, and of the weights, into shared memory.
#pragma once

#include "walk.h"

namespace tapwise::cuda {

// The weights as a matrix: element (k, column) of group g is at data[k * row + g * group + column].
template <class E>
struct Matrix {
  const E* data;
  Index row, group;
  int columns;
};

// A column of a: its tap, and the channel in it.
struct Column {
  int c, d, h, w;

  __device__ __forceinline__ void advance(const Walk& s, int by) {
    c += by;
    while (c >= s.ci) {
      c -= s.ci;
      if (++w < s.w.taps) continue;
      w = 0;
      if (++h < s.h.taps) continue;
      h = 0;
      ++d;
    }
  }
};

// Where a row of a begins in x: its pixel's position for the first tap, and the address of position 0.
struct Row {
  Index image;
  int d, h, w;
};

__device__ __forceinline__ Row row_of(const Walk& s, Index pixel) {
  const Pixel p = pixel_of(s, pixel);
  return {p.image * s.from_image, p.d * s.d.step + s.d.first, p.h * s.h.step + s.h.first, p.w * s.w.step + s.w.first};
}

// Which tile a block is: the columns of a row of tiles follow each other, so that they share a in the cache.
struct Place {
  Index row;
  int column;
  Index group;
};

template <class T>
__device__ __forceinline__ Place place_of(const Walk& s) {
  const auto across = static_cast<unsigned>((s.co + T::kN - 1) / T::kN);
  const unsigned rest = blockIdx.x / across;
  const auto groups = static_cast<unsigned>(s.groups);
  return {Index{rest / groups} * T::kM, static_cast<int>(blockIdx.x % across) * T::kN, Index{rest % groups}};
}

// Copies of kVector elements, of 4 bytes at least.
template <class T, class E, int kVector>
struct Loader {
  static constexpr int kSlots = T::kDepth / kVector;   // copies in a row of the tile of a
  static constexpr int kApart = T::kThreads / kSlots;  // rows between those of one thread
  static constexpr int kCount = (T::kM + kApart - 1) / kApart;
  static constexpr int kAcross = T::kN / kVector, kDown = T::kThreads / kAcross;
  static constexpr int kBytes = sizeof(E) * kVector;
  static_assert(T::kThreads % kAcross == 0 && T::kThreads % kSlots == 0);

  const Walk& s;
  const E* x;
  Matrix<E> w;
  Place at;
  Index k_end, k = 0;
  int slot, first;
  Column column{0, 0, 0, 0};
  Row rows[kCount];

  __device__ __forceinline__ Loader(const Walk& walk, const E* from, const Matrix<E>& weights, const Place& place)
      : s(walk), x(from + place.group * walk.ci * walk.from_channel), w(weights), at(place) {
    const int t = static_cast<int>(threadIdx.x);
    const bool columns_first = s.from_channel == 1;
    slot = columns_first ? t % kSlots : t / kApart;
    first = columns_first ? t / kSlots : t % kApart;
    k_end = s.taps() * s.ci;
    if (k_end) column.advance(s, slot * kVector);
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const Index pixel = at.row + first + i * kApart;
      // One past the end lies outside of every input.
      rows[i] = first + i * kApart < T::kM && pixel < s.pixels() ? row_of(s, pixel) : Row{0, -(1 << 30), 0, 0};
    }
    w.data += place.group * w.group + place.column;
  }

  __device__ __forceinline__ int steps() const { return static_cast<int>((k_end + T::kDepth - 1) / T::kDepth); }

  // The next columns of a tile (kM, kDepth) and rows of one (kDepth, kN).
  template <class A, class B>
  __device__ __forceinline__ void load(A& a, B& b) {
    const bool is_column = k + slot * kVector < k_end;
    const int d = column.d * s.d.tap_step, h = column.h * s.h.tap_step, v = column.w * s.w.tap_step;
    const Index channel = column.c * s.from_channel;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const Row& r = rows[i];
      const bool hits =
          is_column && inside(r.d + d, s.d.inputs) && inside(r.h + h, s.h.inputs) && inside(r.w + v, s.w.inputs);
      const Index offset = r.image + channel + (r.d + d) * s.d.from + (r.h + h) * s.h.from + (r.w + v) * s.w.from;
      if (T::kM % kApart == 0 || first + i * kApart < T::kM)
        __pipeline_memcpy_async(&a[first + i * kApart][slot * kVector], hits ? x + offset : x, kBytes,
                                hits ? 0 : kBytes);
    }
    load_weights(b);
    if (is_column) column.advance(s, T::kDepth);
    k += T::kDepth;
  }

  template <class B>
  __device__ __forceinline__ void load_weights(B& b) {
    const int t = static_cast<int>(threadIdx.x), n = t % kAcross * kVector;
#pragma unroll
    for (int row = t / kAcross; row < T::kDepth; row += kDown) {
      const bool hits = k + row < k_end && at.column + n < w.columns;
      __pipeline_memcpy_async(&b[row][n], hits ? w.data + (k + row) * w.row + n : w.data, kBytes, hits ? 0 : kBytes);
    }
  }
};

}  // namespace tapwise::cuda
