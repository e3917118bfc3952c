// pool_scatter.cpp — where the maxima of a pooling lie, and its gradient by their indices alone.
//
//   indices                     -> the least window that holds every output's maximum   max_pool_reach
//   dy, indices                 -> dx, dy added at each maximum                         max_pool_scatter_grad_input
//
// Image by image and channel by channel, so that overlapping windows add up in one order. channels_last: dx is cleared
// row by row, just before the first output that reaches it, so that it is in the cache; all channels of a pixel are
// done together (pixels of 256 bytes a channel vector at a time took 4 to 15 times as long).
#include "window.h"

namespace tapwise::ISA {
namespace {

// Lane by lane over vectors of indices.
struct Reached {
  UintVec largest;
  Vec first_row, last_row, first_column, last_column;
  Vec iw, per_column, half;  // 1 / iw, and half of it

  explicit TAPWISE_INLINE Reached(Index width)
      : largest{},
        first_row(splat(static_cast<float>(kLargestPlane))),
        last_row(-first_row),
        first_column(first_row),
        last_column(last_row),
        iw(splat(static_cast<float>(width))),
        per_column(1.0f / iw),
        half(0.5f * per_column) {}

  // Rows and columns count from `h` and `w` on. In floats: all are whole numbers below 2^24.
  TAPWISE_INLINE void add(IntVec index, Vec h, Vec w) {
    const UintVec unsigned_index = reinterpret_cast<UintVec>(index);
    largest = unsigned_index > largest ? unsigned_index : largest;
    const Vec at = __builtin_convertvector(index, Vec);
    const Vec whole = __builtin_convertvector(__builtin_convertvector(fma(at, per_column, half), IntVec), Vec);
    const Vec row = whole - h, column = at - whole * iw - w;
    first_row = lesser(row, first_row), last_row = greater(row, last_row);
    first_column = lesser(column, first_column), last_column = greater(column, last_column);
  }

  TAPWISE_INLINE void widen(PoolReach& all) const {
    for (int i = 0; i < kLanes; ++i) {
      all.largest = most(all.largest, largest[i]);
      all.first_h = least(all.first_h, static_cast<Index>(first_row[i]));
      all.last_h = most(all.last_h, static_cast<Index>(last_row[i]));
      all.first_w = least(all.first_w, static_cast<Index>(first_column[i]));
      all.last_w = most(all.last_w, static_cast<Index>(last_column[i]));
    }
  }
};

// `count` indices, those of missing lanes as the first one's.
TAPWISE_INLINE void add_part(Reached& reached, const std::int32_t* indices, Index count, Vec h, Vec w) {
  if (count == kLanes) return reached.add(load(indices), h, w);
  IntVec index = IntVec{} + indices[0];
  for (Index i = 1; i < count; ++i) index[i] = indices[i];
  reached.add(index, h, w);
}

// Positions of one image, channels [c0, c1) of `channels`: cleared in order, as far as they are needed.
struct Cleared {
  float* dx;
  Index channels, c0, c1;
  Index end = 0;

  TAPWISE_INLINE void up_to(Index position) {
    if (c1 - c0 == channels) {
      for (Index i = end * channels; i < position * channels; ++i) dx[i] = 0;
    } else {
      for (Index p = end; p < position; ++p)
        for (Index c = c0; c < c1; ++c) dx[p * channels + c] = 0;
    }
    end = most(end, position);
  }
};

// The largest index of a row of outputs.
Index largest(const std::int32_t* indices, Index pixels, Index channels, Index c0, Index c1) {
  std::int32_t found = 0;
  const bool all = c1 - c0 == channels;
  const Index rows = all ? 1 : pixels, columns = all ? pixels * channels : c1 - c0;
  for (Index r = 0; r < rows; ++r)
    for (Index i = 0; i < columns; ++i) found = most(found, indices[r * channels + c0 + i]);
  return found;
}

// The channels of one output. Nothing overlaps: the compiler may load ahead of its stores.
TAPWISE_INLINE void add_pixel(const float* __restrict dy, const std::int32_t* __restrict indices, float* __restrict dx,
                              Index channels, Index c0, Index c1) {
  _Pragma("GCC unroll 4") for (Index c = c0; c < c1; ++c) dx[indices[c] * channels + c] += dy[c];
}

void add_maxima_last(const Pool& s, const float* dy, const std::int32_t* indices, float* dx, Index c0, Index c1) {
  Cleared cleared = {dx, s.c, c0, c1};
  for (Index row = 0; row < s.od * s.oh; ++row) {
    cleared.up_to(largest(indices, s.ow, s.c, c0, c1) + 1);
    for (Index o = 0; o < s.ow; ++o, dy += s.c, indices += s.c) add_pixel(dy, indices, dx, s.c, c0, c1);
  }
  cleared.up_to(s.id * s.ih * s.iw);
}

void add_maxima_first(Index plane, Index outputs, const float* dy, const std::int32_t* indices, float* dx) {
  for (Index i = 0; i < plane; ++i) dx[i] = 0;
  for (Index o = 0; o < outputs; ++o) dx[indices[o]] += dy[o];
}

}  // namespace

void max_pool_reach(const Pool& s, const std::int32_t* indices, PoolReach& reach, Index begin, Index end) {
  if (s.layout == Layout::channels_first) {
    std::uint32_t found = 0;
    for (Index i = begin * s.ow; i < end * s.ow; ++i) found = most(found, static_cast<std::uint32_t>(indices[i]));
    reach.largest = most(reach.largest, found);
    return;
  }
  Reached reached(s.iw);
  indices += begin * s.ow * s.c;
  for (Index r = begin; r < end; ++r) {
    const Vec h = splat(static_cast<float>(r % s.oh * s.sh));
    for (Index o = 0; o < s.ow; ++o, indices += s.c) {
      const Vec w = splat(static_cast<float>(o * s.sw));
      for_each_vector(0, s.c, [&](Index c, Index count) { add_part(reached, indices + c, count, h, w); });
    }
  }
  if (begin < end) reached.widen(reach);
}

void max_pool_scatter_grad_input(const Pool& s, const float* dy, const std::int32_t* indices, float* dx, float*,
                                 Index begin, Index end) {
  const Index plane = s.id * s.ih * s.iw, outputs = s.od * s.oh * s.ow;
  for_each_row(s.c, begin, end, [&](Index image, Index c0, Index c1) {
    const Index x = image * s.c * plane, y = image * s.c * outputs;
    if (s.layout == Layout::channels_last)
      add_maxima_last(s, dy + y, indices + y, dx + x, c0, c1);
    else
      for (Index c = c0; c < c1; ++c)
        add_maxima_first(plane, outputs, dy + y + c * outputs, indices + y + c * outputs, dx + x + c * plane);
  });
}

}  // namespace tapwise::ISA
