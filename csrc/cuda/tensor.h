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
  static constexpr int kRowPitch = kDepth + kVector, kLeftPitch = kM + kVector, kColumnPitch = kN + kVector;
  static constexpr int kPatch = 16;  // rows and columns of one matrix of a warp
  static constexpr int kLeast = kM * kRowPitch < kDepth * kLeftPitch ? kM * kRowPitch : kDepth * kLeftPitch;
  static_assert(kSide % kPatch == 0 && kStages * kLeast * sizeof(E) >= kWarps * kPatch * kPatch * sizeof(float));
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
  using E = typename T::E;
  using Precision = typename Matrices<E>::Precision;
  template <class Use, class Layout>
  using Operand = wmma::fragment<Use, T::kPatch, T::kPatch, T::kStep, Precision, Layout>;
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

  template <class F>
  static __device__ __forceinline__ void round(F& f) {
    if constexpr (sizeof(E) == 4)
#pragma unroll
      for (int i = 0; i < f.num_elements; ++i) f.x[i] = wmma::__float_to_tf32(f.x[i]);
  }

  // a by rows, and b TF32 already; or a by depth, and b as it is in memory.
  template <class Layout, int kDown, int kPitch>
  __device__ __forceinline__ void add_product(const E (&a)[kDown][kPitch], const E (&b)[T::kDepth][T::kColumnPitch]) {
    constexpr bool kByRows = std::is_same_v<Layout, wmma::row_major>;
    static_assert(kDown == (kByRows ? T::kM : T::kDepth));
#pragma unroll
    for (int k = 0; k < T::kDepth; k += T::kStep) {
      Operand<wmma::matrix_b, wmma::row_major> right[kPatches];
#pragma unroll
      for (int j = 0; j < kPatches; ++j) {
        wmma::load_matrix_sync(right[j], &b[k][column() + j * T::kPatch], T::kColumnPitch);
        if constexpr (!kByRows) round(right[j]);
      }
#pragma unroll
      for (int i = 0; i < kPatches; ++i) {
        const int at = row() + i * T::kPatch;
        Operand<wmma::matrix_a, Layout> left;
        wmma::load_matrix_sync(left, kByRows ? &a[at][k] : &a[k][at], kPitch);
        round(left);
#pragma unroll
        for (int j = 0; j < kPatches; ++j) wmma::mma_sync(c[i][j], left, right[j], c[i][j]);
      }
    }
  }

  // write(row, column, sum) for each; neighbouring lanes have neighbours of a row, or of a column. patches: room for
  // one of each warp.
  template <class Write>
  __device__ __forceinline__ void each(float* patches, bool by_rows, const Write& write) const {
    float* const patch = patches + warp() * T::kPatch * T::kPatch;
#pragma unroll
    for (int i = 0; i < kPatches; ++i)
#pragma unroll
      for (int j = 0; j < kPatches; ++j) {
        wmma::store_matrix_sync(patch, c[i][j], T::kPatch, by_rows ? wmma::mem_row_major : wmma::mem_col_major);
        __syncwarp();
#pragma unroll 1
        for (int q = static_cast<int>(threadIdx.x) % 32; q < T::kPatch * T::kPatch; q += 32) {
          const int along = q % T::kPatch, across = q / T::kPatch;
          write(row() + i * T::kPatch + (by_rows ? across : along),
                column() + j * T::kPatch + (by_rows ? along : across), patch[q]);
        }
        __syncwarp();
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
