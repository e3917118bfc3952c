// winograd.h — Winograd's transforms on the device: M d N' of patches d, by matrices of a line F(m, r) for each axis,
// the same or, of kernels on one axis, 1 for the height; and where the patches of an array lie.
//
// One kernel transforms pixels (by B'), weights and tiles of dy (by G); another one products (by A') to outputs, or to
// gradients of weights. Transformed arrays are (frequencies, tiles, channels) or, where products sum over channels,
// (frequencies, channels, tiles); of weights each input channel is a tile. Tiles and channels are filled up with zeros
// to multiples of four, which products copy at once.
#pragma once

#include "../winograd_line.h"
#include "activation.h"
#include "division.h"
#include "elements.h"
#include "walk.h"

namespace tapwise::cuda {

template <int kRows, int kColumns>
struct Matrix {
  float at[kRows][kColumns] = {};
};

// Of an axis without taps.
struct Same {
  static constexpr int kFrom = 1, kTo = 1;

  static consteval Matrix<1, 1> matrix() { return {{{1}}}; }
};

// B', (kSize, kSize)
template <class L>
struct Inputs {
  static constexpr int kFrom = L::kSize, kTo = L::kSize;

  static consteval Matrix<kTo, kFrom> matrix() {
    Matrix<kTo, kFrom> m;
    const L c;
    for (int t = 0; t <= L::kPairs; ++t) m.at[0][2 * t] = m.at[kTo - 1][2 * t + 1] = static_cast<float>(c.all[t]);
    for (int k = 0; k < L::kPairs; ++k)
      for (int t = 0; t < L::kPairs; ++t)
        for (int sign = 0; sign < 2; ++sign) {
          float* const row = m.at[2 * k + 1 + sign];
          row[2 * t + 1] = static_cast<float>((sign ? -1 : 1) * c.power[k][1] * c.others[k][t]);
          row[2 * t + 2] = static_cast<float>(c.others[k][t]);
        }
    return m;
  }
};

// G, (kSize, kFilter)
template <class L>
struct Filter {
  static constexpr int kFrom = L::kFilter, kTo = L::kSize;

  static consteval Matrix<kTo, kFrom> matrix() {
    Matrix<kTo, kFrom> m;
    const L c;
    m.at[0][0] = static_cast<float>(1 / c.zero);
    m.at[kTo - 1][kFrom - 1] = 1;
    for (int k = 0; k < L::kPairs; ++k)
      for (int i = 0; i < kFrom; ++i) {
        m.at[2 * k + 1][i] = static_cast<float>(c.power[k][i] / c.scale[k]);
        m.at[2 * k + 2][i] = i % 2 ? -m.at[2 * k + 1][i] : m.at[2 * k + 1][i];
      }
    return m;
  }
};

// A', (kOutputs, kSize)
template <class L>
struct Products {
  static constexpr int kFrom = L::kSize, kTo = L::kOutputs;

  static consteval Matrix<kTo, kFrom> matrix() {
    Matrix<kTo, kFrom> m;
    const L c;
    m.at[0][0] = m.at[kTo - 1][kFrom - 1] = 1;
    for (int k = 0; k < L::kPairs; ++k)
      for (int i = 0; i < kTo; ++i) {
        m.at[i][2 * k + 1] = static_cast<float>(c.power[k][i]);
        m.at[i][2 * k + 2] = static_cast<float>((i % 2 ? -1 : 1) * c.power[k][i]);
      }
    return m;
  }
};

// to = M from, without the zeros of M.
template <class M>
__device__ __forceinline__ void transform_line(const float (&from)[M::kFrom], float (&to)[M::kTo]) {
  constexpr auto m = M::matrix();
#pragma unroll
  for (int i = 0; i < M::kTo; ++i) {
    bool is_first = true;
    float sum = 0;
#pragma unroll
    for (int j = 0; j < M::kFrom; ++j) {
      if (m.at[i][j] == 0) continue;
      sum = is_first ? m.at[i][j] * from[j] : sum + m.at[i][j] * from[j];
      is_first = false;
    }
    to[i] = sum;
  }
}

// store(i, j, (M d N')[i][j]) of d[i][j] = load(i, j)
template <class M, class N, class Load, class Store>
__device__ __forceinline__ void transform(const Load& load, const Store& store) {
  float half[M::kTo][N::kFrom];
#pragma unroll
  for (int j = 0; j < N::kFrom; ++j) {
    float column[M::kFrom], transformed[M::kTo];
#pragma unroll
    for (int i = 0; i < M::kFrom; ++i) column[i] = load(i, j);
    transform_line<M>(column, transformed);
#pragma unroll
    for (int i = 0; i < M::kTo; ++i) half[i][j] = transformed[i];
  }
#pragma unroll
  for (int i = 0; i < M::kTo; ++i) {
    float row[N::kTo];
    transform_line<N>(half[i], row);
#pragma unroll
    for (int j = 0; j < N::kTo; ++j) store(i, j, row[j]);
  }
}

// Outputs of a tile: square, or a row where the height has no taps.
struct TileSize {
  int h, w;

  constexpr Index frequencies() const { return (h == 1 ? 1 : h + 2) * (w + 2); }
};

inline TileSize tile_size(const Walk& s, int outputs) {
  return {s.h.taps == 1 ? 1 : outputs, outputs};
}

// An array (images, channels, height, width) in tiles, `step` apart; tile 0's first pixel is (first_h, first_w).
struct Tiling {
  Index tiles;
  Divisor rows, columns;
  int channels, height, width;
  TileSize step;
  int first_h, first_w;
  Index start, image, channel, h, w;  // where the array begins, and its strides
};

Tiling input_tiling(const Walk&, int outputs);   // of x, for tiles of so many outputs
Tiling output_tiling(const Walk&, int outputs);  // of y, or dy
Tiling weight_tiling(const Walk&, Index w_h, Index w_w, Index w_from, Index w_to);  // a tile an input channel

struct Corner {
  Index at;
  int h, w;
};

__device__ __forceinline__ Corner corner_of(const Tiling& s, Index tile) {
  const auto column = static_cast<int>(s.columns.take(tile)), row = static_cast<int>(s.rows.take(tile));
  const int h = row * s.step.h + s.first_h, w = column * s.step.w + s.first_w;
  return {s.start + tile * s.image + h * s.h + w * s.w, h, w};
}

// Element (i, j) of the patch at a corner; 0 outside of the array.
__device__ __forceinline__ float pixel_at(const Tiling& s, const Corner& c, int i, int j, const float* x) {
  return inside(c.h + i, s.height) && inside(c.w + j, s.width) ? x[c.at + i * s.h + j * s.w] : 0.0f;
}

// The epilogue of output (i, j) of the tile at a corner, if the array has it.
__device__ __forceinline__ void store_output(const Tiling& s, const Corner& c, int i, int j, Index channel, float sum,
                                             const Epilogue& e, float* y) {
  if (c.h + i >= s.height || c.w + j >= s.width) return;
  const Index offset = c.at + i * s.h + j * s.w + channel * s.channel;
  y[offset] = finished(e, sum, channel, offset);
}

// `count` tiles from `first` on and `channels`, both filled up, of a transformed array.
struct Cells {
  Index first, count, channels;
  bool by_channel = false;
};

enum class Part { inputs, weights, outputs };

// B' d B of patches of the inputs, G d G' of the weights by F(tile, 3) and of tiles of outputs, whose gradient is a
// filter then, by F(3, tile).
void transform_patches(Part, TileSize, const Tiling&, const Cells&, const float* x, float* to, Stream);

// A' m A of m (splits, frequencies, tiles, channels), summed over its splits in order first: outputs by F(tile, 3),
// weights by F(3, tile).
void transform_products(Part, TileSize, const Tiling&, const Cells&, Index splits, const float* m, const Epilogue&,
                        float* y, Stream);

__host__ __device__ constexpr Index in_fours(Index channels) {
  return (channels + 3) / 4 * 4;
}

// y of tiles of 2x2 in one launch, from u (16, in_fours(ci), in_fours(co)). tile: 16 or 32 tiles and channels a block.
void winograd_fused(const Walk&, int tile, const float* x, const float* u, const Epilogue&, float* y, Stream);

}  // namespace tapwise::cuda
