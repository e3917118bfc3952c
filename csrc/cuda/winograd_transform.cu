// winograd_transform.cu — Winograd's transforms as kernels of their own, a thread a tile and channel: memory-bound.
//
//   x (n, ih, iw, ci)   -> v (frequencies, ci, tiles)    B' d B, d a patch of x; (frequencies, tiles, ci) for gradients
//   w (3, 3, ci, co)    -> u (frequencies, ci, co)       G d G', d the taps of two channels
//   dy (n, oh, ow, co)  -> g (frequencies, tiles, co)    G d G', d a tile of dy
//   m (splits, frequencies, tiles, co) -> y              A' m A, and the epilogue
//   m (splits, frequencies, ci, co)    -> dw             A' m A
//
// A warp takes eight channels of four tiles, or four of eight: its writes fill their sectors of 32 bytes.
#include "winograd.h"

namespace tapwise::cuda {
namespace {

// Which tile and channel the i-th thread takes.
struct Bricks {
  int channels, tiles;  // of a warp
  Divisor across;
  Index threads;

  explicit Bricks(const Cells& s)
      : channels(s.by_channel ? 4 : 8),
        tiles(32 / channels),
        across(ceil_div(s.channels, channels)),
        threads(ceil_div(s.channels, channels) * ceil_div(s.count, tiles) * 32) {}
};

struct Cell {
  Index tile, channel;
};

__device__ __forceinline__ Cell cell_of(const Bricks& s, Index i) {
  const auto lane = static_cast<int>(i % 32);
  Index brick = i / 32;
  const bool tiles_first = s.channels < s.tiles;
  const int channel = tiles_first ? lane / s.tiles : lane % s.channels;
  const int tile = tiles_first ? lane % s.tiles : lane / s.channels;
  const Index first = s.across.take(brick) * s.channels;
  return {brick * s.tiles + tile, first + channel};
}

template <class M, class N>
__global__ __launch_bounds__(kThreads, 2) void winograd_patches(const Tiling s, const Cells cells, const Bricks bricks,
                                                                const float* __restrict__ x, float* __restrict__ to) {
  const Index frequency = cells.count * cells.channels;
  for (Index i = first_element(); i < bricks.threads; i += all_threads()) {
    const Cell cell = cell_of(bricks, i);
    if (cell.tile >= cells.count || cell.channel >= cells.channels) continue;
    const Index tile = cells.first + cell.tile;
    const bool exists = tile < s.tiles && cell.channel < s.channels;
    const Corner corner = corner_of(s, tile);
    const float* const from = x + cell.channel * s.channel;
    float* const own =
        to + (cells.by_channel ? cell.channel * cells.count + cell.tile : cell.tile * cells.channels + cell.channel);
    transform<M, N>([&](int h, int w) { return exists ? pixel_at(s, corner, h, w, from) : 0.0f; },
                    [&](int h, int w, float value) { own[(h * N::kTo + w) * frequency] = value; });
  }
}

template <class M, class N>
__global__ __launch_bounds__(kThreads, 2) void winograd_outputs(const Tiling s, const Cells cells, const Bricks bricks,
                                                                const Index splits, const float* __restrict__ m,
                                                                const Epilogue e, float* __restrict__ y) {
  const Index frequency = cells.count * cells.channels;
  for (Index i = first_element(); i < bricks.threads; i += all_threads()) {
    const Cell cell = cell_of(bricks, i);
    const Index tile = cells.first + cell.tile;
    if (cell.tile >= cells.count || tile >= s.tiles || cell.channel >= s.channels) continue;
    const Corner corner = corner_of(s, tile);
    const float* const own = m + cell.tile * cells.channels + cell.channel;
    transform<M, N>(
        [&](int h, int w) {
          float sum = 0;
          for (Index split = 0; split < splits; ++split)
            sum += own[((split * M::kFrom + h) * N::kFrom + w) * frequency];
          return sum;
        },
        [&](int h, int w, float value) { store_output(s, corner, h, w, cell.channel, value, e, y); });
  }
}

template <class M, class N>
void launch_patches(const Tiling& s, const Cells& cells, const float* x, float* to, Stream stream) {
  const Bricks bricks(cells);
  launch(winograd_patches<M, N>, element_blocks(bricks.threads), kThreads, stream, s, cells, bricks, x, to);
}

template <class M, class N>
void launch_outputs(const Tiling& s, const Cells& cells, Index splits, const float* m, const Epilogue& e, float* y,
                    Stream stream) {
  const Bricks bricks(cells);
  launch(winograd_outputs<M, N>, element_blocks(bricks.threads), kThreads, stream, s, cells, bricks, splits, m, e, y);
}

template <class M>
auto patches_of(bool on_one_axis) {
  return on_one_axis ? launch_patches<Same, M> : launch_patches<M, M>;
}

template <class L>
auto outputs_of(bool on_one_axis) {
  using M = Products<L>;
  return on_one_axis ? launch_outputs<Same, M> : launch_outputs<M, M>;
}

// Tiles in a column, and in a row.
struct Grid {
  TileSize size;
  Index rows, columns;

  Grid(const Walk& s, int outputs)
      : size(tile_size(s, outputs)), rows(ceil_div(s.h.outputs, size.h)), columns(ceil_div(s.w.outputs, size.w)) {}
};

}  // namespace

Tiling input_tiling(const Walk& s, int outputs) {
  const Grid grid(s, outputs);
  return {s.images * grid.rows * grid.columns,
          Divisor(grid.rows),
          Divisor(grid.columns),
          s.ci,
          s.h.inputs,
          s.w.inputs,
          grid.size,
          s.h.first,
          s.w.first,
          0,
          s.from_image,
          s.from_channel,
          s.h.from,
          s.w.from};
}

Tiling output_tiling(const Walk& s, int outputs) {
  const Grid grid(s, outputs);
  return {s.images * grid.rows * grid.columns,
          Divisor(grid.rows),
          Divisor(grid.columns),
          s.co,
          s.h.outputs,
          s.w.outputs,
          grid.size,
          0,
          0,
          s.to_first,
          s.to_image,
          s.to_channel,
          s.h.to,
          s.w.to};
}

Tiling weight_tiling(const Walk& s, Index w_h, Index w_w, Index w_from, Index w_to) {
  return {s.ci,
          Divisor(1),
          Divisor(1),
          s.co,
          s.h.taps,
          s.w.taps,
          {0, 0},
          0,
          0,
          s.h.w_first * w_h + s.w.w_first * w_w,
          w_from,
          w_to,
          s.h.w_step * w_h,
          s.w.w_step * w_w};
}

void transform_patches(Part part, TileSize size, const Tiling& s, const Cells& cells, const float* x, float* to,
                       Stream stream) {
  const bool on_one_axis = size.h == 1;
  const auto of_2 = part == Part::inputs    ? patches_of<Inputs<Line<2, 3>>>(on_one_axis)
                    : part == Part::weights ? patches_of<Filter<Line<2, 3>>>(on_one_axis)
                                            : patches_of<Filter<Line<3, 2>>>(on_one_axis);
  const auto of_4 = part == Part::inputs    ? patches_of<Inputs<Line<4, 3>>>(on_one_axis)
                    : part == Part::weights ? patches_of<Filter<Line<4, 3>>>(on_one_axis)
                                            : patches_of<Filter<Line<3, 4>>>(on_one_axis);
  (size.w == 2 ? of_2 : of_4)(s, cells, x, to, stream);
}

void transform_products(Part part, TileSize size, const Tiling& s, const Cells& cells, Index splits, const float* m,
                        const Epilogue& e, float* y, Stream stream) {
  const bool on_one_axis = size.h == 1;
  const auto of_2 = part == Part::outputs ? launch_outputs<Same, Products<Line<2, 3>>>  // of squares fused
                                          : outputs_of<Line<3, 2>>(on_one_axis);
  const auto of_4 = part == Part::outputs ? outputs_of<Line<4, 3>>(on_one_axis) : outputs_of<Line<3, 4>>(on_one_axis);
  (size.w == 2 ? of_2 : of_4)(s, cells, splits, m, e, y, stream);
}

}  // namespace tapwise::cuda
