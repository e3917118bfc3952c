// tensor.h — a block's tile of a product on tensor cores, from shared memory: each warp sums kSide x kSide of it.
//
// float32 is rounded to TF32 (11 bits), bfloat16 is taken as it is; products are exact, sums float32. 3 stages as in
// gemm.h, of 64 bytes of depth. Pitches keep a warp's rows in other banks, and matrices on multiples of 32 bytes.
#pragma once

#include "portable.h"

namespace tapwise::cuda {

using Half = __nv_bfloat16;

template <class Element, int kTileRows, int kTileColumns, int kWarpSide>
struct TensorTile {
  using E = Element;
  static constexpr int kM = kTileRows, kN = kTileColumns, kSide = kWarpSide, kStages = 3;
  static constexpr int kVector = 16 / sizeof(E), kDepth = 64 / sizeof(E), kStep = 32 / sizeof(E);
  static constexpr int kAcross = kN / kSide, kWarps = kM / kSide * kAcross, kThreads = 32 * kWarps;
  static constexpr int kRowPitch = kDepth + kVector, kColumnPitch = kN + kVector;
  static constexpr int kPatch = 16;  // rows and columns of one matrix of a warp
  static_assert(kSide % kPatch == 0 && kStages * kM * kRowPitch * sizeof(E) >= kWarps * kPatch * kPatch * 4);
};

template <class E>
using Tensor16 = TensorTile<E, 16, 16, 16>;
template <class E>
using Tensor64 = TensorTile<E, 64, 64, 32>;
template <class E>
using Tensor128 = TensorTile<E, 128, 64, 32>;

__device__ __forceinline__ float widened(float x) {
  return x;
}
__device__ __forceinline__ float widened(Half x) {
  return __bfloat162float(x);
}

template <class E>
__device__ __forceinline__ E narrowed(float x) {
  if constexpr (sizeof(E) == 4)
    return x;
  else
    return __float2bfloat16(x);
}

#if CU_TENSOR_CORES

namespace wmma = nvcuda::wmma;

template <class E>
struct Matrices {
  using Precision = E;
};
template <>
struct Matrices<float> {
  using Precision = wmma::precision::tf32;
};

template <class T>
struct WarpSums {
  using Precision = typename Matrices<typename T::E>::Precision;
  template <class Use>
  using Operand = wmma::fragment<Use, T::kPatch, T::kPatch, T::kStep, Precision, wmma::row_major>;
  static constexpr int kPatches = T::kSide / T::kPatch;

  wmma::fragment<wmma::accumulator, T::kPatch, T::kPatch, T::kStep, float> c[kPatches][kPatches];

  __device__ __forceinline__ WarpSums() {
#pragma unroll
    for (int i = 0; i < kPatches; ++i)
#pragma unroll
      for (int j = 0; j < kPatches; ++j) wmma::fill_fragment(c[i][j], 0.0f);
  }

  static __device__ __forceinline__ int warp() { return static_cast<int>(threadIdx.x) / 32; }
  static __device__ __forceinline__ int row() { return warp() / T::kAcross * T::kSide; }
  static __device__ __forceinline__ int column() { return warp() % T::kAcross * T::kSide; }

  template <class Use>
  static __device__ __forceinline__ void round(Operand<Use>& f) {
    if constexpr (sizeof(typename T::E) == 4)
#pragma unroll
      for (int i = 0; i < f.num_elements; ++i) f.x[i] = wmma::__float_to_tf32(f.x[i]);
  }

  // b is TF32 already.
  __device__ __forceinline__ void add_product(const typename T::E (&a)[T::kM][T::kRowPitch],
                                              const typename T::E (&b)[T::kDepth][T::kColumnPitch]) {
#pragma unroll
    for (int k = 0; k < T::kDepth; k += T::kStep) {
      Operand<wmma::matrix_b> right[kPatches];
#pragma unroll
      for (int j = 0; j < kPatches; ++j)
        wmma::load_matrix_sync(right[j], &b[k][column() + j * T::kPatch], T::kColumnPitch);
#pragma unroll
      for (int i = 0; i < kPatches; ++i) {
        Operand<wmma::matrix_a> left;
        wmma::load_matrix_sync(left, &a[row() + i * T::kPatch][k], T::kRowPitch);
        round(left);
#pragma unroll
        for (int j = 0; j < kPatches; ++j) wmma::mma_sync(c[i][j], left, right[j], c[i][j]);
      }
    }
  }
};

#endif

// What the tensor cores take: TF32's 11 bits of a float32.
template <class E>
__device__ __forceinline__ E rounded(float x) {
#if CU_TENSOR_CORES
  if constexpr (sizeof(E) == 4) return wmma::__float_to_tf32(x);
#endif
  return narrowed<E>(x);
}

}  // namespace tapwise::cuda
