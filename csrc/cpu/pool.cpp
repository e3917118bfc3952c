// pool.cpp — max and average pooling: y[o] = max or mean of x over the window of o.
//
//   x (n, id, ih, iw, c)        -> y (n, od, oh, ow, c), indices of the maxima     max_pool_forward
//   dy, indices                 -> dx, dy added at each maximum                    max_pool_grad_input
//   x                           -> y                                               average_pool_forward
//   dy                          -> dx, dy / divisor added all over each window     average_pool_grad_input
// and the same with c after n for channels_first.
//
// Lanes are channels (channels_last) or neighbouring outputs of a row whose windows are whole (channels_first; those at
// the borders and adaptive ones go one by one). A window is walked in memory order and a mean sums its rows first: the
// bits depend neither on the lanes nor on the ISA. Cost: one load, two compares and two selects a tap, or one addition.
// Max: the first of equal values wins; a NaN wins over all numbers, the first NaN over the others. indices count the
// positions of one image's and channel's (id, ih, iw). Gradients run image by image and channel by channel, so that
// overlapping windows add up in one order.
#include "window.h"

namespace tapwise::ISA {
namespace {

// p[0], p[2], p[4], ... for `count` lanes, reading nothing behind the last of them.
TAPWISE_INLINE Vec load_even(const float* p, Index count) {
  const Index last = 2 * count - 1;
  const Vec a = load_part(p, least<Index>(kLanes, last));
  const Vec b = load_part(p + kLanes - 1, most<Index>(0, last - (kLanes - 1)));
  IntVec from{};
  TAPWISE_UNROLL for (int i = 0; i < kLanes; ++i) from[i] = 2 * i < kLanes ? 2 * i : 2 * i + 1;
#if defined(__clang__)
  Vec v{};  // becomes a shuffle
  TAPWISE_UNROLL for (int i = 0; i < kLanes; ++i) v[i] = from[i] < kLanes ? a[from[i]] : b[from[i] - kLanes];
  return v;
#else
  return __builtin_shuffle(a, b, from);
#endif
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
  float* y;
  std::int32_t* indices;

  struct Running {
    Vec value = splat(-__builtin_inff());
    IntVec index, lanes;

    TAPWISE_INLINE Running(const Pool& s, const Windows& at)
        : lanes(lane_numbers() * static_cast<std::int32_t>(at.lane_step)) {
      index = lanes + static_cast<std::int32_t>((at.d.first * s.ih + at.h.first) * s.iw + at.w.first);
    }
    TAPWISE_INLINE void add(Vec v, Index position) {
      const IntVec here = lanes + static_cast<std::int32_t>(position);
      const Vec larger = v <= value ? value : v;  // a NaN is not <=
      const IntVec larger_index = v <= value ? index : here;
      index = value == value ? larger_index : index;
      value = value == value ? larger : value;
    }
    TAPWISE_INLINE void end_row() {}
  };

  TAPWISE_INLINE void store(Index at, Index count, const Running& largest, const Windows&) const {
    store_part(y + at, largest.value, count);
    if constexpr (kIndices) store_part(indices + at, largest.index, count);
  }
};

struct Mean {
  float* y;

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
    store_part(y + at, total.sum / windows.divisor(), count);
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

template <class To>
void pool_row_last(const Pool& s, const Window& d, const Window& h, const float* x, const To& to, Index y) {
  const PoolAxis axis = axis_w(s);
  for (Index o = 0; o < s.ow; ++o, y += s.c) {
    const Windows windows = {d, h, window(axis, o), 0};
    for_each_vector(0, s.c, [&](Index c, Index count) {
      pool_one(s, windows, to, y + c, count, [&](Index p) { return load_part(x + p * s.c + c, count); });
    });
  }
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
}

// Where the channels of one image lie, in floats.
struct Image {
  Index start, channel, pixel;
};

TAPWISE_INLINE Image image_at(const Pool& s, Index plane, Index image) {
  const bool last = s.layout == Layout::channels_last;
  return {image * plane * s.c, last ? 1 : plane, last ? s.c : 1};
}

TAPWISE_INLINE void clear(const Pool& s, float* dx, const Image& x, Index c0, Index c1) {
  const Index plane = s.id * s.ih * s.iw;
  const bool last = s.layout == Layout::channels_last;
  const Index rows = last ? plane : c1 - c0, columns = last ? c1 - c0 : plane;
  for (Index r = 0; r < rows; ++r)
    for (Index i = 0; i < columns; ++i) dx[x.start + c0 * x.channel + r * (last ? x.pixel : x.channel) + i] = 0;
}

void spread_last(const Pool& s, const float* dy, float* dx, Index c0, Index c1) {
  const PoolAxis axis_of_d = axis_d(s), axis_of_h = axis_h(s), axis_of_w = axis_w(s);
  for (Index row = 0; row < s.od * s.oh; ++row) {
    const Window d = window(axis_of_d, row / s.oh), h = window(axis_of_h, row % s.oh);
    for (Index o = 0; o < s.ow; ++o, dy += s.c) {
      const Window w = window(axis_of_w, o);
      const float divisor = static_cast<float>(d.divisor * h.divisor * w.divisor);
      for_each_vector(c0, c1, [&](Index c, Index count) {
        const Vec share = load_part(dy + c, count) / divisor;
        for (Index i = d.first; i < d.last; i += d.step)
          for (Index j = h.first; j < h.last; j += h.step)
            for (Index k = w.first; k < w.last; k += w.step) {
              float* to = dx + ((i * s.ih + j) * s.iw + k) * s.c + c;
              store_part(to, load_part(to, count) + share, count);
            }
      });
    }
  }
}

// Adds a row of outputs, already divided, to one row of dx.
void spread_row(const PoolAxis& a, const float* shares, float* dx) {
  if (a.adaptive || a.k > a.out) {  // output by output: windows long enough for vectors, or of several sizes
    for (Index o = 0; o < a.out; ++o) {
      const Window w = window(a, o);
      const Vec share = splat(shares[o]);
      if (w.step == 1)
        for_each_vector(w.first, w.last,
                        [&](Index i, Index count) { store_part(dx + i, load_part(dx + i, count) + share, count); });
      else
        for (Index i = w.first; i < w.last; i += w.step) dx[i] += shares[o];
    }
    return;
  }
  for (Index t = 0; t < a.k; ++t) {  // tap by tap: one order of additions for any number of lanes
    const Outputs o = touching(a, t);
    const Index offset = t * a.dilation - a.before;
    if (a.stride == 1)
      for_each_vector(o.first, o.last, [&](Index i, Index count) {
        float* to = dx + i + offset;
        store_part(to, load_part(to, count) + load_part(shares + i, count), count);
      });
    else
      for (Index i = o.first; i < o.last; ++i) dx[i * a.stride + offset] += shares[i];
  }
}

void spread_first(const Pool& s, const float* dy, float* dx, float* shares) {
  const PoolAxis axis_of_d = axis_d(s), axis_of_h = axis_h(s), axis_of_w = axis_w(s);
  const Outputs whole = interior(axis_of_w);
  for (Index o = 0; o < s.od * s.oh; ++o, dy += s.ow) {
    const Window d = window(axis_of_d, o / s.oh), h = window(axis_of_h, o % s.oh);
    const Index rows = d.divisor * h.divisor;
    const auto one_by_one = [&](Index first, Index last) {
      for (Index i = first; i < last; ++i) shares[i] = dy[i] / static_cast<float>(rows * window(axis_of_w, i).divisor);
    };
    one_by_one(0, whole.first);
    for_each_vector(whole.first, whole.last, [&](Index i, Index count) {
      store_part(shares + i, load_part(dy + i, count) / static_cast<float>(rows * s.kw), count);
    });
    one_by_one(whole.last, s.ow);
    for (Index i = d.first; i < d.last; i += d.step)
      for (Index j = h.first; j < h.last; j += h.step) spread_row(axis_of_w, shares, dx + (i * s.ih + j) * s.iw);
  }
}

}  // namespace

void max_pool_forward(const Pool& s, const float* x, float* y, std::int32_t* indices, Index begin, Index end) {
  if (indices)
    pool_rows(s, x, Max<true>{y, indices}, begin, end);
  else
    pool_rows(s, x, Max<false>{y, nullptr}, begin, end);
}

void average_pool_forward(const Pool& s, const float* x, float* y, Index begin, Index end) {
  pool_rows(s, x, Mean{y}, begin, end);
}

void max_pool_grad_input(const Pool& s, const float* dy, const std::int32_t* indices, float* dx, Index begin,
                         Index end) {
  const Index outputs = s.od * s.oh * s.ow;
  for_each_row(s.c, begin, end, [&](Index image, Index c0, Index c1) {
    const Image x = image_at(s, s.id * s.ih * s.iw, image), y = image_at(s, outputs, image);
    clear(s, dx, x, c0, c1);
    const auto add = [&](Index o, Index c) {
      const Index at = y.start + o * y.pixel + c * y.channel;
      dx[x.start + indices[at] * x.pixel + c * x.channel] += dy[at];
    };
    if (s.layout == Layout::channels_last) {
      for (Index o = 0; o < outputs; ++o)
        for (Index c = c0; c < c1; ++c) add(o, c);
    } else {
      for (Index c = c0; c < c1; ++c)
        for (Index o = 0; o < outputs; ++o) add(o, c);
    }
  });
}

void average_pool_grad_input(const Pool& s, const float* dy, float* dx, float* scratch, Index begin, Index end) {
  for_each_row(s.c, begin, end, [&](Index image, Index c0, Index c1) {
    const Image x = image_at(s, s.id * s.ih * s.iw, image), y = image_at(s, s.od * s.oh * s.ow, image);
    clear(s, dx, x, c0, c1);
    if (s.layout == Layout::channels_last)
      spread_last(s, dy + y.start, dx + x.start, c0, c1);
    else
      for (Index c = c0; c < c1; ++c)
        spread_first(s, dy + y.start + c * y.channel, dx + x.start + c * x.channel, scratch);
  });
}

}  // namespace tapwise::ISA
