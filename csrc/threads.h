// threads.h — the only place where threads are made.
#pragma once

#include <atomic>
#include <type_traits>
#include <utility>

#include "shape.h"

namespace tapwise {

int thread_count();          // threads a call may use, the caller's included
void set_thread_count(int);  // >= 1; 0 restores the machine's own
int machine_threads();       // affinity and cgroup quota

using ParallelBody = void (*)(void* context, Index begin, Index end);
void parallel_for(Index total, Index grain, ParallelBody body, void* context);

// Calls body(begin, end) for chunks of at most `grain` that cover [0, total), on the caller and on the pool's threads,
// and returns when all are done. Which thread runs which chunk is not determined; the chunks are. Nested calls and
// calls that find the pool busy run serially in the caller.
template <class Body>
void parallel_for(Index total, Index grain, Body&& body) {
  using Plain = std::remove_reference_t<Body>;
  parallel_for(
      total, grain, [](void* context, Index begin, Index end) { (*static_cast<Plain*>(context))(begin, end); },
      const_cast<void*>(static_cast<const void*>(&body)));
}

}  // namespace tapwise
