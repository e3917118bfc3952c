// winograd_fused.cu — F(2x2, 3x3) in one launch: transformed inputs and their products never leave a block.
//
//   x  -> v (16, 8 channels, 32 tiles)            in shared memory, each thread the tile and channel it has read
//   u  -> (16, 8 channels, 32 outputs)            in shared memory, copied from the transformed weights
//   v u -> m (16, 32 tiles, 32 outputs)           in registers: 16 threads for each frequency, 8x8 sums a thread
//   m  -> y                                       through shared memory, 16 output channels at a time
//
// While eight channels are multiplied, the next eight's pixels are on their way into registers. Yan's block has 64
// outputs, of which a thread sums 128; here 64, so that its registers are half of a unit's for two blocks.
//
// Yan, Wang & Chu, "Optimizing Batched Winograd Convolution on GPUs", 2020.
#include "gemm.h"
#include "winograd.h"

namespace tapwise::cuda {
namespace {

using F2 = Line<2, 3>;
constexpr int kFrequencies = F2::kSize * F2::kSize;

using Fused16 = Tile16;
using Fused32 = Tile<32, 32, 8, 8>;

// What a block's threads share: factors, and afterwards kPart columns of the products at a time.
template <class T>
union Shared {
  static constexpr int kPart = 4 * T::kAcross;
  struct Factors {
    float v[kFrequencies][T::kDepth][T::kM + 4];  // padded: eight channels of four tiles are in other banks
    float u[kFrequencies][T::kDepth][T::kN];
  } factors;
  float m[kFrequencies][T::kM][kPart + 1];
};

// The pixels that a thread transforms next.
template <class T>
struct Patch {
  const Tiling& s;
  const float* x;
  int tile, channel;
  unsigned exist = 0;  // a bit a pixel
  float pixels[F2::kSize][F2::kSize];

  // Neighbouring threads have neighbouring pixels in memory.
  __device__ __forceinline__ Patch(const Tiling& tiling, Index first, const float* from) : s(tiling) {
    const int t = static_cast<int>(threadIdx.x);
    tile = s.channel == 1 ? t / T::kDepth : t % T::kM;
    channel = s.channel == 1 ? t % T::kDepth : t / T::kM;
    const bool is_tile = t < T::kM * T::kDepth && first + tile < s.tiles;
    const Corner corner = corner_of(s, is_tile ? first + tile : 0);
    x = from + corner.at + channel * s.channel;
    for (int i = 0; i < F2::kSize; ++i)
      for (int j = 0; j < F2::kSize; ++j)
        if (is_tile && inside(corner.h + i, s.height) && inside(corner.w + j, s.width)) exist |= 1u << (4 * i + j);
  }
  // Of the channels from `first` on, in turn.
  __device__ __forceinline__ void load(int first) {
    const unsigned bits = first + channel < s.channels ? exist : 0;
#pragma unroll
    for (int i = 0; i < F2::kSize; ++i)
#pragma unroll
      for (int j = 0; j < F2::kSize; ++j) pixels[i][j] = bits >> (4 * i + j) & 1 ? x[i * s.h + j * s.w] : 0.0f;
    x += T::kDepth * s.channel;
  }
  __device__ __forceinline__ void store(float (&v)[kFrequencies][T::kDepth][T::kM + 4]) const {
    if (static_cast<int>(threadIdx.x) >= T::kM * T::kDepth) return;
    transform<Inputs<F2>, Inputs<F2>>([&](int i, int j) { return pixels[i][j]; },
                                      [&](int i, int j, float value) { v[i * F2::kSize + j][channel][tile] = value; });
  }
};

// Outputs of kPart channels from `channel` on.
template <class T>
__device__ __forceinline__ void store_outputs(const Tiling& s,
                                              const float (&m)[kFrequencies][T::kM][Shared<T>::kPart + 1], Index first,
                                              int channel, const Epilogue& e, float* y) {
  constexpr int kPart = Shared<T>::kPart;
  for (int i = static_cast<int>(threadIdx.x); i < T::kM * kPart; i += kFrequencies * T::kThreads) {
    const int tile = s.channel == 1 ? i / kPart : i % T::kM, column = s.channel == 1 ? i % kPart : i / T::kM;
    if (first + tile >= s.tiles || channel + column >= s.channels) continue;
    const Corner corner = corner_of(s, first + tile);
    transform<Products<F2>, Products<F2>>(
        [&](int h, int w) { return m[h * F2::kSize + w][tile][column]; },
        [&](int h, int w, float value) { store_output(s, corner, h, w, channel + column, value, e, y); });
  }
}

template <class T>
__global__ __launch_bounds__(kFrequencies* T::kThreads, 2) void winograd_2x2(const Tiling from, const Tiling to,
                                                                             const float* __restrict__ x,
                                                                             const float* __restrict__ u,
                                                                             const Epilogue e, float* __restrict__ y) {
  CU_SHARED(Shared<T>, shared, );
  const auto across = static_cast<unsigned>((to.channels + T::kN - 1) / T::kN);
  const Index first = Index{blockIdx.x / across} * T::kM;
  const int column = static_cast<int>(blockIdx.x % across) * T::kN;
  using Weights = Copy<T::kThreads, T::kDepth, T::kN>;
  const int t = static_cast<int>(threadIdx.x), frequency = t / T::kThreads, own = t % T::kThreads;
  const int pitch = static_cast<int>(in_fours(to.channels));
  u = Weights::first(own, u + frequency * in_fours(from.channels) * pitch + column, pitch);

  Patch<T> patch(from, first, x);
  patch.load(0);
  Sums<T> sums;
  for (int channel = 0; channel < from.channels; channel += T::kDepth) {
    __syncthreads();
    Weights::start(own, u, pitch, from.channels - channel, pitch - column, shared.factors.u[frequency]);
    u += Index{T::kDepth} * pitch;
    __pipeline_commit();
    patch.store(shared.factors.v);
    if (channel + T::kDepth < from.channels) patch.load(channel + T::kDepth);
    __pipeline_wait_prior(0);
    __syncthreads();
    add_product<T>(shared.factors.v[frequency], shared.factors.u[frequency], sums);
  }

#pragma unroll
  for (int part = 0; part < T::kColumns; part += 4) {
    __syncthreads();
#pragma unroll
    for (int i = 0; i < T::kRows; ++i)
#pragma unroll
      for (int j = 0; j < 4; ++j) shared.m[frequency][Sums<T>::row(i)][Sums<T>::column(j)] = sums.c[i][part + j];
    __syncthreads();
    store_outputs<T>(to, shared.m, first, column + part / 4 * Shared<T>::kPart, e, y);
  }
}

template <class T>
void launch_fused(const Walk& s, const float* x, const float* u, const Epilogue& e, float* y, Stream stream) {
  const Tiling from = input_tiling(s, F2::kOutputs), to = output_tiling(s, F2::kOutputs);
  const Index blocks = ceil_div(from.tiles, T::kM) * ceil_div(s.co, T::kN);
  launch(winograd_2x2<T>, blocks, kFrequencies * T::kThreads, stream, from, to, x, u, e, y);
}

}  // namespace

void winograd_fused(const Walk& s, int tile, const float* x, const float* u, const Epilogue& e, float* y,
                    Stream stream) {
  (tile == 16 ? launch_fused<Fused16> : launch_fused<Fused32>)(s, x, u, e, y, stream);
}

}  // namespace tapwise::cuda
