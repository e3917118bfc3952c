// pool_rows.h — rows of channels_first arrays in pooling: neighbouring outputs read and write every stride-th position.
#pragma once

#include "window.h"

namespace tapwise::ISA {
namespace {

constexpr Index kCachedFloats = 4 * 1024 * 1024;  // 16 MiB: half of a large L3

TAPWISE_INLINE bool exceeds_caches(const Pool& s) {
  return s.n * s.c * s.id * s.ih * s.iw > kCachedFloats;
}

// Whether x's gradient, or y, is better stored past the caches, and can be: whole vectors, aligned. `row` floats of an
// array lie side by side.
TAPWISE_INLINE bool streams_to(const Pool& s, Index row, const float* to) {
  return exceeds_caches(s) && row % 4 == 0 && reinterpret_cast<std::uintptr_t>(to) % 16 == 0;
}

TAPWISE_INLINE void put(float* y, Vec v, Index count, bool streams) {
  if (streams && count == kLanes)
    stream(y, v);
  else
    store_part(y, v, count);
}

// The outputs over position stride * m + phase of a row: m + offset[i] for i in [first[phase], first[phase + 1]). A row
// of outputs is padded so that whole vectors of m can be read.
struct Phases {
  Index stride;
  Index before, row;  // floats before a padded row's first output, and of all of it
  Index floats;       // of this table, in the scratch it is made in
  Index *first, *offset;

  Phases(const PoolAxis& a, float* scratch) : stride(a.stride) {
    const Index most_m = (a.in + stride - 1) / stride;
    first = reinterpret_cast<Index*>(scratch), offset = first + stride + 1;
    Index count = 0, low = 0, high = 0;
    for (Index phase = 0; phase < stride; ++phase) {
      first[phase] = count;
      for (Index t = a.k; t-- > 0;) {  // outputs in order
        const Index reach = phase + a.before - t * a.dilation, at = reach / stride;
        if (reach % stride != 0 || at <= -most_m || at >= a.out) continue;
        offset[count++] = at;
        low = least(low, at), high = most(high, at);
      }
    }
    first[stride] = count;
    floats = (stride + 1 + count) * 2;
    before = -low;
    row = before + most(a.out, most_m + high) + 2 * kLanes;
  }
};

}  // namespace
}  // namespace tapwise::ISA
