// pool_grad.cpp — the gradients of max and average pooling.
//
//   dy, indices                 -> dx, dy added at each maximum                    max_pool_grad_input
//   dy                          -> dx, dy / divisor added all over each window     average_pool_grad_input
//
// Image by image and channel by channel, so that overlapping windows add up in one order. channels_last: dx is cleared
// row by row, just before the first output that reaches it, so that it is in the cache; all channels of a pixel are
// done together (pixels of 256 bytes a channel vector at a time took 4 to 15 times as long).
#include "window.h"

namespace tapwise::ISA {
namespace {

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

void spread_last(const Pool& s, const float* dy, float* dx, Index c0, Index c1) {
  const PoolAxis axis_of_d = axis_d(s), axis_of_h = axis_h(s), axis_of_w = axis_w(s);
  Cleared cleared = {dx, s.c, c0, c1};
  for (Index row = 0; row < s.od * s.oh; ++row) {
    const Window d = window(axis_of_d, row / s.oh), h = window(axis_of_h, row % s.oh);
    cleared.up_to(((least(d.last, s.id) - 1) * s.ih + least(h.last, s.ih)) * s.iw);
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
  cleared.up_to(s.id * s.ih * s.iw);
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

void max_pool_grad_input(const Pool& s, const float* dy, const std::int32_t* indices, float* dx, Index begin,
                         Index end) {
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

std::uint32_t max_pool_largest_index(const std::int32_t* indices, Index begin, Index end) {
  std::uint32_t found = 0;
  for (Index i = begin; i < end; ++i) found = most(found, static_cast<std::uint32_t>(indices[i]));
  return found;
}

void average_pool_grad_input(const Pool& s, const float* dy, float* dx, float* scratch, Index begin, Index end) {
  const Index plane = s.id * s.ih * s.iw, outputs = s.od * s.oh * s.ow;
  for_each_row(s.c, begin, end, [&](Index image, Index c0, Index c1) {
    const Index x = image * s.c * plane, y = image * s.c * outputs;
    if (s.layout == Layout::channels_last) return spread_last(s, dy + y, dx + x, c0, c1);
    for (Index c = c0; c < c1; ++c) {
      float* const to = dx + x + c * plane;
      for (Index i = 0; i < plane; ++i) to[i] = 0;
      spread_first(s, dy + y + c * outputs, to, scratch);
    }
  });
}

}  // namespace tapwise::ISA
