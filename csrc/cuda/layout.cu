// layout.cu — x with channels last, and the channels of each group padded with zeros to a multiple of what one access
// takes: for kernels that know no other layout. Bound by memory.
//
//   x (n, c, positions)    -> 32 x 32 at a time through shared memory, so that both sides are read and written in rows
//   x (n, positions, c)    -> element by element
#include "conv.h"
#include "division.h"

namespace tapwise::cuda {
namespace {

constexpr int kSquare = 32, kRows = kThreads / kSquare;

struct Groups {
  Divisor group;       // channels of one
  Index size, padded;  // the same, and with zeros

  __device__ __forceinline__ Index place(Index channel) const {
    const Index g = group.divide(channel);
    return g * padded + channel - g * size;
  }
};

template <class E>
__global__ __launch_bounds__(kThreads) void transpose_channels(const Groups groups, const Index channels,
                                                               const Index positions, const Index row,
                                                               const E* __restrict__ x, E* __restrict__ to) {
  CU_SHARED(E, square, [kSquare][kSquare + 1]);
  const auto across = static_cast<unsigned>((positions + kSquare - 1) / kSquare);
  const auto down = static_cast<unsigned>((channels + kSquare - 1) / kSquare);
  const unsigned rest = blockIdx.x / across;
  const Index image = rest / down, channel = Index{rest % down} * kSquare;
  const Index position = Index{blockIdx.x % across} * kSquare;
  const int lane = static_cast<int>(threadIdx.x) % kSquare, first = static_cast<int>(threadIdx.x) / kSquare;
#pragma unroll
  for (int i = first; i < kSquare; i += kRows)
    if (channel + i < channels && position + lane < positions)
      square[i][lane] = x[(image * channels + channel + i) * positions + position + lane];
  __syncthreads();
  const Index place = channel + lane < channels ? groups.place(channel + lane) : 0;
#pragma unroll
  for (int i = first; i < kSquare; i += kRows)
    if (channel + lane < channels && position + i < positions)
      to[(image * positions + position + i) * row + place] = square[lane][i];
}

template <class E>
__global__ __launch_bounds__(kThreads) void copy_channels(const Groups groups, const Divisor channels, const Index size,
                                                          const Index row, const E* __restrict__ x,
                                                          E* __restrict__ to) {
  for (Index i = first_element(); i < size; i += all_threads()) {
    Index pixel = i;
    const Index channel = channels.take(pixel);
    to[pixel * row + groups.place(channel)] = x[i];
  }
}

}  // namespace

template <class E>
void pad_channels(Layout layout, Index images, Index positions, Index channels, Index group, Index padded, const E* x,
                  E* to, Stream stream) {
  const Groups groups{Divisor(group), group, padded};
  const Index row = channels / group * padded, size = images * positions * channels;
  if (padded != group)
    check(cudaMemsetAsync(to, 0, static_cast<std::size_t>(images * positions * row) * sizeof(E), stream),
          "cudaMemsetAsync");
  if (layout == Layout::channels_last)
    return launch(copy_channels<E>, element_blocks(size), kThreads, stream, groups, Divisor(channels), size, row, x,
                  to);
  const Index blocks = images * ceil_div(channels, kSquare) * ceil_div(positions, kSquare);
  launch(transpose_channels<E>, blocks, kThreads, stream, groups, channels, positions, row, x, to);
}

template void pad_channels(Layout, Index, Index, Index, Index, Index, const float*, float*, Stream);
template void pad_channels(Layout, Index, Index, Index, Index, Index, const __nv_bfloat16*, __nv_bfloat16*, Stream);

}  // namespace tapwise::cuda
