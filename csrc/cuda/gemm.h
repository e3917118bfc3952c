// gemm.h — a block's tile of a product, c (rows, columns) += a (rows, depth) b (depth, columns), from shared memory.
//
// Each thread sums kRows x kColumns of it in registers: rows kRowStep apart, columns in fours, which adjacent threads
// read as float4. Three stages of shared memory: while one is multiplied, two are on their way, with one barrier a
// step.
#pragma once

#include "portable.h"

namespace tapwise::cuda {

template <int kTileRows, int kTileColumns, int kThreadRows, int kThreadColumns>
struct Tile {
  static constexpr int kM = kTileRows, kN = kTileColumns, kDepth = 8, kStages = 3;
  static constexpr int kRows = kThreadRows, kColumns = kThreadColumns;
  static constexpr int kRowStep = kM / kRows, kAcross = kN / kColumns;
  static constexpr int kThreads = kRowStep * kAcross;
  static_assert(kRows % 4 == 0 && kColumns % 4 == 0 && kThreads % kDepth == 0);
};

using Tile16 = Tile<16, 16, 4, 4>;
using Tile32 = Tile<32, 32, 4, 4>;
using Tile64 = Tile<64, 64, 4, 4>;
using Tile128 = Tile<128, 128, 8, 8>;

template <class T>
struct Sums {
  float c[T::kRows][T::kColumns];

  __device__ __forceinline__ Sums() {
#pragma unroll
    for (int i = 0; i < T::kRows; ++i)
#pragma unroll
      for (int j = 0; j < T::kColumns; ++j) c[i][j] = 0;
  }

  // A block may have several such tiles, each of T::kThreads neighbouring threads.
  static __device__ __forceinline__ int row(int i) {
    return static_cast<int>(threadIdx.x) % T::kThreads / T::kAcross + i * T::kRowStep;
  }
  static __device__ __forceinline__ int column(int j) {
    return static_cast<int>(threadIdx.x) % T::kAcross * 4 + j / 4 * T::kAcross * 4 + j % 4;
  }

  __device__ __forceinline__ void multiply(const float (&a)[T::kRows], const float (&b)[T::kColumns]) {
#pragma unroll
    for (int i = 0; i < T::kRows; ++i)
#pragma unroll
      for (int j = 0; j < T::kColumns; ++j) c[i][j] += a[i] * b[j];
  }
};

template <int kCount, int kApart>
__device__ __forceinline__ void read_fours(const float* from, float (&to)[kCount]) {
#pragma unroll
  for (int j = 0; j < kCount; j += 4) {
    const float4 four = *reinterpret_cast<const float4*>(from + j / 4 * kApart);
    to[j] = four.x, to[j + 1] = four.y, to[j + 2] = four.z, to[j + 3] = four.w;
  }
}

// a lies by rows, padded so that four rows of a warp are in other banks.
template <class T>
constexpr int kRowPitch = T::kDepth + 4;

template <class T>
__device__ __forceinline__ void add_product(const float (&a)[T::kM][kRowPitch<T>], const float (&b)[T::kDepth][T::kN],
                                            Sums<T>& sums) {
  const int row = Sums<T>::row(0), column = Sums<T>::column(0);
#pragma unroll
  for (int k = 0; k < T::kDepth; k += 4) {
    float rows[T::kRows][4];
#pragma unroll
    for (int i = 0; i < T::kRows; ++i) read_fours<4, 4>(&a[row + i * T::kRowStep][k], rows[i]);
#pragma unroll
    for (int q = 0; q < 4; ++q) {
      float left[T::kRows], right[T::kColumns];
      read_fours<T::kColumns, T::kAcross * 4>(&b[k + q][column], right);
#pragma unroll
      for (int i = 0; i < T::kRows; ++i) left[i] = rows[i][q];
      sums.multiply(left, right);
    }
  }
}

// a lies by depth.
template <class T, int kPitch>
__device__ __forceinline__ void add_product(const float (&a)[T::kDepth][kPitch], const float (&b)[T::kDepth][T::kN],
                                            Sums<T>& sums) {
  const int row = Sums<T>::row(0), column = Sums<T>::column(0);
#pragma unroll
  for (int k = 0; k < T::kDepth; ++k) {
    float left[T::kRows], right[T::kColumns];
#pragma unroll
    for (int i = 0; i < T::kRows; ++i) left[i] = a[k][row + i * T::kRowStep];
    read_fours<T::kColumns, T::kAcross * 4>(&b[k][column], right);
    sums.multiply(left, right);
  }
}

// Part of a matrix into shared memory by kThreads threads, four floats a copy; `rows` and `columns` are how many it
// has, beyond which are zeros. `from` is where the thread's first copy is from, a stretch of a row below the other.
template <int kThreads, int kRows, int kColumns>
struct Copy {
  static constexpr int kFours = kColumns / 4, kApart = kThreads / kFours;
  static_assert(kThreads % kFours == 0);

  static __device__ __forceinline__ int row(int thread) { return thread / kFours; }
  static __device__ __forceinline__ int column(int thread) { return thread % kFours * 4; }
  static __device__ __forceinline__ const float* first(int thread, const float* matrix, Index pitch) {
    return matrix + row(thread) * pitch + column(thread);
  }
  template <int kPitch>
  static __device__ __forceinline__ void start(int thread, const float* from, Index pitch, int rows, int columns,
                                               float (&to)[kRows][kPitch]) {
    const bool is_column = column(thread) < columns;
#pragma unroll
    for (int i = 0; i < kRows; i += kApart) {
      const int at = row(thread) + i;
      if (kRows % kApart == 0 || at < kRows)
        __pipeline_memcpy_async(&to[at][column(thread)], from + i * pitch, 16, is_column && at < rows ? 0 : 16);
    }
  }
};

// load(step, stage) for every step, add(stage) in order.
template <class T, class Load, class Add>
__device__ __forceinline__ void pipelined(int steps, const Load& load, const Add& add) {
#pragma unroll
  for (int stage = 0; stage < T::kStages - 1; ++stage) {
    if (stage < steps) load(stage);
    __pipeline_commit();
  }
  int stage = 0, next = T::kStages - 1;
  for (int step = 0; step < steps; ++step) {
    __pipeline_wait_prior(T::kStages - 2);
    __syncthreads();
    if (step + T::kStages - 1 < steps) load(next);
    __pipeline_commit();
    add(stage);
    stage = stage + 1 == T::kStages ? 0 : stage + 1;
    next = next + 1 == T::kStages ? 0 : next + 1;
  }
}

}  // namespace tapwise::cuda
