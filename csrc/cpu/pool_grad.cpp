// pool_grad.cpp — the gradients of max and average pooling, gathered: an element of dx adds the windows that hold it.
//
//   dy, indices  -> dx[p] = sum of dy[o] over the outputs o with indices[o] == p                max_pool_grad_input
//   dy           -> dx[p] = sum of dy[o] / divisor over the outputs o whose window holds p  average_pool_grad_input
//
// Every element is stored once, in memory order, so dx needs no clearing and may go past the caches. Windows are added
// in order. channels_last: lanes are channels. A maximum may lie anywhere: max_pool_reach finds the window that holds
// all of them; where that is too large, or there is depth, or channels come first, pool_scatter.cpp adds dy by indices.
//
// channels_first: rows of dy are added up, and lanes are every stride-th position of a row, a phase, which lie under
// neighbouring outputs.
#include "layout.h"
#include "pool_rows.h"

namespace tapwise::ISA {
namespace {

// What a window adds to a position, alone or among windows of one divisor, whose sum is scaled: its dy where the
// maximum was there.
struct Maxima {
  const float* dy;
  const std::int32_t* indices;

  TAPWISE_INLINE Vec at(Index i, Index count, IntVec position) const {
    const Vec d = load_part(dy + i, count);
    return load_part(indices + i, count) == position ? d : Vec{};
  }
  TAPWISE_INLINE Vec alone(Index i, Index count, IntVec position, Vec) const { return at(i, count, position); }
  TAPWISE_INLINE Vec scaled(Vec sum, Vec) const { return sum; }
};

// Its dy by the divisor. A product is never added to a sum: where that is one instruction its bits are others.
struct Shares {
  const float* dy;

  TAPWISE_INLINE Vec at(Index i, Index count, IntVec) const { return load_part(dy + i, count); }
  TAPWISE_INLINE Vec alone(Index i, Index count, IntVec, Vec divisor) const {
    return load_part(dy + i, count) / divisor;
  }
  TAPWISE_INLINE Vec scaled(Vec sum, Vec weight) const { return sum * weight; }
};

// A row of outputs whose windows hold a row of dx: its number over depths and heights, and the axes' divisor.
struct Covering {
  Index row, divisor;
};

// Of outputs along an axis those that hold a position, in order: their number and their windows' divisor.
TAPWISE_INLINE Index holding(const PoolAxis& a, Index i, Covering* found) {
  const Outputs all = covering(a, i);
  Index count = 0;
  for (Index o = all.first; o < all.last; ++o) {
    const Window w = window(a, o);
    if (holds(w, i)) found[count++] = {o, w.divisor};
  }
  return count;
}

TAPWISE_INLINE float weight_of(Index rows, Index columns) {
  return 1.0f / static_cast<float>(rows * columns);
}

// One pixel under kRows x kColumns windows of one weight; at[r] is the first one's first channel.
template <int kRows, int kColumns, class From>
TAPWISE_INLINE void gather_pixel(const From& from, const Index* at, Index c, Index position, float weight, float* dx,
                                 bool streams) {
  const IntVec p = IntVec{} + static_cast<std::int32_t>(position);
  const Vec w = splat(weight);
  for_each_vector(0, c, [&](Index v, Index count) {
    Vec sum{};
    TAPWISE_UNROLL for (int r = 0; r < kRows; ++r) {
      TAPWISE_UNROLL for (int o = 0; o < kColumns; ++o) sum += from.at(at[r] + o * c + v, count, p);
    }
    put(dx + v, from.scaled(sum, w), count, streams);
  });
}

// One pixel under any windows.
template <class From>
void gather_any(const Pool& s, const From& from, const Covering* rows, Index count, const Outputs& columns, Index k,
                Index dy, Index position, float* dx) {
  const PoolAxis axis = axis_w(s);
  const IntVec p = IntVec{} + static_cast<std::int32_t>(position);
  for_each_vector(0, s.c, [&](Index v, Index lanes) {
    Vec sum{};
    for (Index r = 0; r < count; ++r)
      for (Index o = columns.first; o < columns.last; ++o) {
        const Window w = window(axis, o);
        if (!holds(w, k)) continue;
        const Vec divisor = splat(static_cast<float>(rows[r].divisor * w.divisor));
        sum += from.alone(dy + (rows[r].row * s.ow + o) * s.c + v, lanes, p, divisor);
      }
    store_part(dx + v, sum, lanes);
  });
}

template <class From>
void gather_row_last(const Pool& s, const From& from, const Covering* rows, Index count, Index dy, Index position,
                     float* dx, bool streams) {
  const PoolAxis axis = axis_w(s);
  const Outputs whole = interior(axis);
  bool alike = s.dil_w == 1 && (count == 1 || count == 2);
  for (Index r = 1; r < count; ++r) alike = alike && rows[r].divisor == rows[0].divisor;
  const float weight = count ? weight_of(rows[0].divisor, s.kw) : 0;
  for (Index k = 0; k < s.iw; ++k, dx += s.c) {
    const Outputs columns = covering(axis, k);
    const Index wide = columns.last - columns.first;
    if (!alike || columns.first < whole.first || columns.last > whole.last || wide < 1 || wide > 2) {
      gather_any(s, from, rows, count, columns, k, dy, position + k, dx);
      continue;
    }
    const Index at[] = {dy + (rows[0].row * s.ow + columns.first) * s.c,
                        dy + (rows[count - 1].row * s.ow + columns.first) * s.c};
    if (count == 1 && wide == 1) gather_pixel<1, 1>(from, at, s.c, position + k, weight, dx, streams);
    if (count == 1 && wide == 2) gather_pixel<1, 2>(from, at, s.c, position + k, weight, dx, streams);
    if (count == 2 && wide == 1) gather_pixel<2, 1>(from, at, s.c, position + k, weight, dx, streams);
    if (count == 2 && wide == 2) gather_pixel<2, 2>(from, at, s.c, position + k, weight, dx, streams);
  }
}

// A row of dx from padded shares, in phases.
template <int kStride>
void gather_row_first(const Phases& phases, const float* shares, Index iw, float* dx, bool streams) {
  const Index stride = kStride ? kStride : phases.stride;
  const auto sum_at = [&](Index m, Index phase) {
    Vec sum = {};
    for (Index i = phases.first[phase]; i < phases.first[phase + 1]; ++i) sum += load(shares + m + phases.offset[i]);
    return sum;
  };
  for (Index m = 0; m * stride < iw; m += kLanes) {
    float* const to = dx + m * stride;
    const Index left = iw - m * stride;
    if (kStride == 1) {
      put(to, sum_at(m, 0), least<Index>(kLanes, left), streams);
    } else if (kStride == 2) {
      const Vec even = sum_at(m, 0), odd = sum_at(m, 1);
      put(to, interleave_low(even, odd), least<Index>(kLanes, left), streams);
      if (left > kLanes) put(to + kLanes, interleave_high(even, odd), least<Index>(kLanes, left - kLanes), streams);
    } else {
      for (Index phase = 0; phase < stride; ++phase) {
        const Vec sum = sum_at(m, phase);
        for (Index lane = 0; lane < kLanes && lane * stride + phase < left; ++lane)
          to[lane * stride + phase] = sum[lane];
      }
    }
  }
}

// shares[o] = the sum of the rows' dy / divisor; of kRows rows whose windows have one divisor, or of `count` rows.
template <int kRows>
void add_shares(const Pool& s, const Outputs& whole, const Covering* rows, Index count, const float* dy,
                float* shares) {
  const auto one_by_one = [&](Index first, Index last) {
    for (Index o = first; o < last; ++o) {
      const Index columns = window(axis_w(s), o).divisor;
      shares[o] = 0;
      for (Index r = 0; r < count; ++r)
        shares[o] += dy[rows[r].row * s.ow + o] / static_cast<float>(rows[r].divisor * columns);
    }
  };
  if (whole.first > 0) one_by_one(0, whole.first);
  const Vec weight = splat(kRows ? weight_of(rows[0].divisor, s.kw) : 0);
  for_each_vector(whole.first, whole.last, [&](Index o, Index lanes) {
    Vec sum{};
    if constexpr (kRows > 0) {
      TAPWISE_UNROLL for (int r = 0; r < kRows; ++r) sum += load_part(dy + rows[r].row * s.ow + o, lanes);
      sum *= weight;
    } else {
      for (Index r = 0; r < count; ++r)
        sum += load_part(dy + rows[r].row * s.ow + o, lanes) / static_cast<float>(rows[r].divisor * s.kw);
    }
    store_part(shares + o, sum, lanes);
  });
  if (whole.last < s.ow) one_by_one(whole.last, s.ow);
}

// A row of dx position by position: for windows of several sizes, or so large that a position lies in most of them.
void spread_row(const PoolAxis& axis, const float* shares, float* dx) {
  for (Index k = 0; k < axis.in; ++k) {
    const Outputs columns = covering(axis, k);
    float sum = 0;
    for (Index o = columns.first; o < columns.last; ++o)
      if (axis.adaptive || holds(window(axis, o), k)) sum += shares[o];
    dx[k] = sum;
  }
}

// Calls visit(rows of outputs, their number, first output, position, element of dx) for every row of dx.
template <class Visit>
TAPWISE_INLINE void for_each_dx_row(const Pool& s, float* scratch, Index begin, Index end, const Visit& visit) {
  const PoolAxis axis_of_d = axis_d(s), axis_of_h = axis_h(s);
  const Index lanes = s.layout == Layout::channels_last ? s.c : 1, outputs = s.od * s.oh * s.ow * lanes;
  Covering* const depths = reinterpret_cast<Covering*>(scratch);
  Covering* const heights = depths + s.od;
  Covering* const rows = heights + s.oh;
  for_each_row(s.ih, begin, end, [&](Index plane, Index first, Index last) {
    const Index i = plane % s.id, y = plane / s.id * outputs, deep = holding(axis_of_d, i, depths);
    for (Index j = first; j < last; ++j) {
      const Index high = holding(axis_of_h, j, heights);
      for (Index d = 0; d < deep; ++d)
        for (Index h = 0; h < high; ++h)
          rows[d * high + h] = {depths[d].row * s.oh + heights[h].row, depths[d].divisor * heights[h].divisor};
      visit(rows, deep * high, y, (i * s.ih + j) * s.iw, (plane * s.ih + j) * s.iw * lanes);
    }
  });
}

Index covering_floats(const Pool& s) {
  return (s.od + s.oh + s.od * s.oh) * static_cast<Index>(sizeof(Covering) / sizeof(float));
}

}  // namespace

void max_pool_grad_input(const Pool& s, const float* dy, const std::int32_t* indices, float* dx, float* scratch,
                         Index begin, Index end) {
  const bool streams = streams_to(s, s.layout == Layout::channels_last ? s.c : s.iw, dx);
  const Maxima from = {dy, indices};
  for_each_dx_row(s, scratch, begin, end, [&](Covering* rows, Index count, Index y, Index position, Index x) {
    gather_row_last(s, from, rows, count, y, position, dx + x, streams);
  });
  if (streams) stream_end();
}

void average_pool_grad_input(const Pool& s, const float* dy, float* dx, float* scratch, Index begin, Index end) {
  const bool streams = streams_to(s, s.layout == Layout::channels_last ? s.c : s.iw, dx);
  if (s.layout == Layout::channels_last) {
    const Shares from = {dy};
    for_each_dx_row(s, scratch, begin, end, [&](Covering* rows, Index count, Index y, Index position, Index x) {
      gather_row_last(s, from, rows, count, y, position, dx + x, streams);
    });
  } else {
    const bool phased = !s.adaptive && s.ow >= s.kw && s.ow > 1;
    const PoolAxis axis = axis_w(s);
    const Outputs whole = interior(axis);
    const Phases phases(phased ? axis : PoolAxis{s.iw, s.ow, 1, 1, 1, 0, 0, false, false},
                        scratch + covering_floats(s));
    float* const shares = scratch + covering_floats(s) + phases.floats + phases.before;
    clear(shares - phases.before, phases.row);
    for_each_dx_row(s, scratch, begin, end, [&](Covering* rows, Index count, Index y, Index, Index x) {
      const bool alike = count == 2 && rows[0].divisor == rows[1].divisor;
      const auto add = count == 1 ? add_shares<1> : alike ? add_shares<2> : add_shares<0>;
      add(s, whole, rows, count, dy + y, shares);
      if (!phased) return spread_row(axis, shares, dx + x);
      const auto gather = s.sw == 1 ? gather_row_first<1> : s.sw == 2 ? gather_row_first<2> : gather_row_first<0>;
      gather(phases, shares, s.iw, dx + x, streams);
    });
  }
  if (streams) stream_end();
}

}  // namespace tapwise::ISA
