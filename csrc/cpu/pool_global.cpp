// pool_global.cpp — the mean of each image's channels over all of its positions.
//
//   x (n, id, ih, iw, c) or (n, c, id, ih, iw)  ->  y (n, c)      average_pool_global_forward
//
// channels_last: two vectors of channels at a time, each a sum a row and the sum of those. channels_first: a plane is
// one run of floats, of which every 32nd belongs to one sum, whatever the lanes; after kRun floats sums are added up,
// so that they have few terms. What limits it is reading x; there is one value to write for each plane.
#include "channels.h"

namespace tapwise::ISA {
namespace {

constexpr Index kWays = 32, kSums = kWays / kLanes, kRun = kBlock * kWays;

// kVectors vectors of one image's channels.
template <int kVectors, class Lanes>
TAPWISE_INLINE void mean_of_channels(const Pool& s, const float* x, float* y, Lanes lanes) {
  Vec sum[kVectors]{};
  for (Index row = 0; row < s.id * s.ih; ++row) {
    Vec of_row[kVectors]{};
    for (Index i = 0; i < s.iw; ++i, x += s.c)
      TAPWISE_UNROLL for (int v = 0; v < kVectors; ++v) of_row[v] += load_part(x + v * kLanes, lanes);
    for (int v = 0; v < kVectors; ++v) sum[v] += of_row[v];
  }
  const float count = static_cast<float>(s.id * s.ih * s.iw);
  for (int v = 0; v < kVectors; ++v) store_part(y + v * kLanes, sum[v] / count, lanes);
}

float mean_of_plane(const float* x, Index positions) {
  Vec total[kSums]{};
  for (Index first = 0; first < positions; first += kRun) {
    const Index last = least(positions, first + kRun);
    Vec sum[kSums]{};
    Index i = first;
    for (; i + kWays <= last; i += kWays)
      TAPWISE_UNROLL for (Index v = 0; v < kSums; ++v) sum[v] += load(x + i + v * kLanes);
    TAPWISE_UNROLL for (Index v = 0; v < kSums; ++v) {
      const Index at = i + v * kLanes;
      if (at < last) sum[v] += load_part(x + at, least<Index>(kLanes, last - at));
    }
    for (Index v = 0; v < kSums; ++v) total[v] += sum[v];
  }
  TAPWISE_UNROLL for (Index half = kSums / 2; half > 0; half /= 2) TAPWISE_UNROLL for (Index v = 0; v < half; ++v)
      total[v] += total[v + half];
  return sum_lanes(total[0]) / static_cast<float>(positions);
}

}  // namespace

void average_pool_global_forward(const Pool& s, const float* x, float* y, float*, Index begin, Index end) {
  const Index positions = s.id * s.ih * s.iw;
  if (s.layout == Layout::channels_first) {
    for (Index plane = begin; plane < end; ++plane) y[plane] = mean_of_plane(x + plane * positions, positions);
    return;
  }
  for_each_row(s.c, begin, end, [&](Index image, Index c, Index last) {
    const float* const from = x + image * positions * s.c;
    float* const to = y + image * s.c;
    for (; c + kPanel <= last; c += kPanel) mean_of_channels<2>(s, from + c, to + c, AllLanes{});
    for_each_vector(c, last, [&](Index i, Index lanes) { mean_of_channels<1>(s, from + i, to + i, lanes); });
  });
}

}  // namespace tapwise::ISA
