// pool.cpp — max and average pooling: y[o] = max or mean of x over the window of o.
//
//   x (n, id, ih, iw, c)        -> y (n, od, oh, ow, c), indices of the maxima     max_pool_forward
//   x                           -> y                                               average_pool_forward
// and the same with c after n for channels_first.
//
// Lanes are channels (channels_last) or neighbouring outputs of a row whose windows are whole (channels_first with
// indices; those at the borders and adaptive ones go one by one). A window is walked in memory order, a mean sums its
// rows first. channels_first without indices folds columns first, see pool_planes.h.
// Max: the first of equal values wins; a NaN wins over all numbers, the first NaN over the others. indices count the
// positions of one image's and channel's (id, ih, iw).
#include "pool_planes.h"

namespace tapwise::ISA {
namespace {

// p[0], p[2], p[4], ... for `count` lanes, reading nothing behind the last of them.
TAPWISE_INLINE Vec load_even(const float* p, Index count) {
  const Index last = 2 * count - 1;
  const Vec a = load_part(p, least<Index>(kLanes, last));
  const Vec b = load_part(p + kLanes - 1, most<Index>(0, last - (kLanes - 1)));
  IntVec from{};
  TAPWISE_UNROLL for (int i = 0; i < kLanes; ++i) from[i] = 2 * i < kLanes ? 2 * i : 2 * i + 1;
  return shuffle(a, b, from);
}

// p[0], p[stride], p[2 * stride], ...; the lanes from `count` on hold nothing of use.
TAPWISE_INLINE Vec load_strided(const float* p, Index stride, Index count) {
  if (stride == 1) return load_part(p, count);
  if (stride == 2) return load_even(p, count);
  Vec v{};
  for (Index i = 0; i < count; ++i) v[i] = p[i * stride];
  return v;
}

// The windows of one output, or of a vector of outputs that are lane_step positions apart.
struct Windows {
  Window d, h, w;
  Index lane_step;

  TAPWISE_INLINE float divisor() const { return static_cast<float>(d.divisor * h.divisor * w.divisor); }
};

template <bool kIndices>
struct Max {
  static constexpr bool kLargestAlone = !kIndices;
  float* y;
  std::int32_t* indices;
  bool streams;

  struct Running {
    Vec value = splat(-__builtin_inff());
    IntVec index, lanes;

    TAPWISE_INLINE Running(const Pool& s, const Windows& at)
        : lanes(lane_numbers() * static_cast<std::int32_t>(at.lane_step)) {
      index = lanes + static_cast<std::int32_t>((at.d.first * s.ih + at.h.first) * s.iw + at.w.first);
    }
    TAPWISE_INLINE void add(Vec v, Index position) {
      if constexpr (kIndices)
        keep_larger(value, index, v, lanes + static_cast<std::int32_t>(position));
      else
        keep_larger(value, v);
    }
    TAPWISE_INLINE void end_row() {}
  };

  TAPWISE_INLINE void store(Index at, Index count, const Running& largest, const Windows&) const {
    put(y + at, largest.value, count, streams);
    if constexpr (kIndices) store_part(indices + at, largest.index, count);
  }
};

struct Mean {
  static constexpr bool kLargestAlone = false;
  float* y;
  bool streams;

  struct Running {
    Vec sum{}, row{};

    TAPWISE_INLINE Running(const Pool&, const Windows&) {}
    TAPWISE_INLINE void add(Vec v, Index) { row += v; }
    TAPWISE_INLINE void end_row() {
      sum += row;
      row = Vec{};
    }
  };

  TAPWISE_INLINE void store(Index at, Index count, const Running& total, const Windows& windows) const {
    put(y + at, total.sum / windows.divisor(), count, streams);
  }
};

// Pools the windows of `count` outputs, the first at y[at]; load(p) is what their lanes read at position p.
template <class To, class Load>
TAPWISE_INLINE void pool_one(const Pool& s, const Windows& windows, const To& to, Index at, Index count,
                             const Load& load) {
  const Window &d = windows.d, &h = windows.h, &w = windows.w;
  typename To::Running running(s, windows);
  for (Index i = d.first; i < d.last; i += d.step)
    for (Index j = h.first; j < h.last; j += h.step) {
      const Index row = (i * s.ih + j) * s.iw;
      for (Index p = row + w.first; p < row + w.last; p += w.step) running.add(load(p), p);
      running.end_row();
    }
  to.store(at, count, running, windows);
}

// The largest of kSize x kSize numbers where none is NaN: then a maximum and a sum that shows NaN take less than two
// comparisons (64 @112, one image, 69 us and 48). False if one may be.
template <int kSize, class To>
TAPWISE_INLINE bool store_largest(const float* p, Index row, Index column, Index count, const To& to, Index at) {
  Vec value = load_part(p, count), sum = value;
  TAPWISE_UNROLL for (int i = 1; i < kSize * kSize; ++i) {
    const Vec v = load_part(p + i / kSize * row + i % kSize * column, count);
    value = greater(v, value), sum += v;
  }
  if (any_nan(sum)) return false;
  put(to.y + at, value, count, to.streams);
  return true;
}

// Windows of kSize x kSize that lie in the input as a whole, for outputs [first, last) of a row. Beyond the caches each
// tap's neighbour below is fetched: 3x3 stride 2 of 64 @112, 16 images, 2.6 ms without and 1.5 with.
template <int kSize, class To>
void pool_whole_last(const Pool& s, const Window& d, const Window& h, const float* x, const To& to, Index y,
                     Index first, Index last) {
  const PoolAxis axis = axis_w(s);
  const bool fetches = exceeds_caches(s);
  const Index row = s.iw * s.c;
  for (Index o = first; o < last; ++o) {
    const Windows windows = {d, h, window(axis, o), 0};
    const Index start = (d.first * s.ih + h.first) * s.iw + windows.w.first;
    for_each_vector(0, s.c, [&](Index c, Index count) {
      const float* p = x + start * s.c + c;
      if (fetches)
        for (Index i = 0; i < s.sh; ++i)
          for (Index j = 0; j < s.sw; ++j) __builtin_prefetch(p + (kSize + i) * row + j * s.c);
      if (To::kLargestAlone && store_largest<kSize>(p, row, s.c, count, to, y + o * s.c + c)) return;
      typename To::Running running(s, windows);
      TAPWISE_UNROLL for (int i = 0; i < kSize; ++i) {
        TAPWISE_UNROLL for (int j = 0; j < kSize; ++j)
            running.add(load_part(p + i * row + j * s.c, count), start + i * s.iw + j);
        running.end_row();
      }
      to.store(y + o * s.c + c, count, running, windows);
    });
  }
}

template <class To>
void pool_row_last(const Pool& s, const Window& d, const Window& h, const float* x, const To& to, Index y) {
  const PoolAxis axis = axis_w(s);
  const auto one_by_one = [&](Index first, Index last) {
    for (Index o = first; o < last; ++o) {
      const Windows windows = {d, h, window(axis, o), 0};
      for_each_vector(0, s.c, [&](Index c, Index count) {
        pool_one(s, windows, to, y + o * s.c + c, count, [&](Index p) { return load_part(x + p * s.c + c, count); });
      });
    }
  };
  const bool square = !s.adaptive && s.kh == s.kw && s.dil_h == 1 && s.dil_w == 1 && h.last - h.first == s.kh &&
                      d.first + d.step >= d.last && (s.kh == 2 || s.kh == 3);
  if (!square) return one_by_one(0, s.ow);
  const Outputs whole = interior(axis);
  one_by_one(0, whole.first);
  if (s.kh == 2)
    pool_whole_last<2>(s, d, h, x, to, y, whole.first, whole.last);
  else
    pool_whole_last<3>(s, d, h, x, to, y, whole.first, whole.last);
  one_by_one(whole.last, s.ow);
}

template <class To>
void pool_row_first(const Pool& s, const Window& d, const Window& h, const float* x, const To& to, Index y) {
  const PoolAxis axis = axis_w(s);
  const Outputs whole = interior(axis);
  const auto one_by_one = [&](Index first, Index last) {
    for (Index o = first; o < last; ++o)
      pool_one(s, {d, h, window(axis, o), 0}, to, y + o, 1, [&](Index p) { return splat(x[p]); });
  };
  one_by_one(0, whole.first);
  for_each_vector(whole.first, whole.last, [&](Index o, Index count) {
    pool_one(s, {d, h, window(axis, o), s.sw}, to, y + o, count,
             [&](Index p) { return load_strided(x + p, s.sw, count); });
  });
  one_by_one(whole.last, s.ow);
}

template <class To>
void pool_rows(const Pool& s, const float* x, const To& to, Index begin, Index end) {
  const bool last = s.layout == Layout::channels_last;
  const PoolAxis axis_of_d = axis_d(s), axis_of_h = axis_h(s);
  const Index row = s.ow * (last ? s.c : 1), image = s.id * s.ih * s.iw * (last ? s.c : 1);
  for (Index r = begin; r < end; ++r) {
    const Window d = window(axis_of_d, r / s.oh % s.od), h = window(axis_of_h, r % s.oh);
    const float* from = x + r / (s.oh * s.od) * image;
    if (last)
      pool_row_last(s, d, h, from, to, r * row);
    else
      pool_row_first(s, d, h, from, to, r * row);
  }
  if (to.streams) stream_end();
}

}  // namespace

void max_pool_forward(const Pool& s, const float* x, float* y, std::int32_t* indices, float* scratch, Index begin,
                      Index end) {
  const bool last = s.layout == Layout::channels_last, streams = last && streams_to(s, s.c, y);
  if (indices) return pool_rows(s, x, Max<true>{y, indices, streams}, begin, end);
  if (!last && pool_folded<Largest>(s, x, y, scratch, begin, end)) return;
  pool_rows(s, x, Max<false>{y, nullptr, streams}, begin, end);
}

void average_pool_forward(const Pool& s, const float* x, float* y, float* scratch, Index begin, Index end) {
  const bool last = s.layout == Layout::channels_last, streams = last && streams_to(s, s.c, y);
  if (!last && pool_folded<Total>(s, x, y, scratch, begin, end)) return;
  pool_rows(s, x, Mean{y, streams}, begin, end);
}

}  // namespace tapwise::ISA
