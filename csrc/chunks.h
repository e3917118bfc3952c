// chunks.h — how the operations beside convolution cut their work: by sizes alone.
#pragma once

#include <algorithm>

#include "subnormals.h"
#include "threads.h"

namespace tapwise {

inline constexpr Index kChunk = 32 * 1024;  // elements, or additions, of one chunk of work: some 10 us

// In chunks of as many units as make kChunk elements.
template <class Body>
void split(Index units, Index unit_elements, const Body& body) {
  parallel_for(units, std::max<Index>(1, kChunk / std::max<Index>(1, unit_elements)), [&](Index begin, Index end) {
    const FlushSubnormals flush;
    body(begin, end);
  });
}

}  // namespace tapwise
