// run.h — a grid on one thread of the host: each CUDA thread is a fiber that runs to its next barrier alone.
//
// So a missing barrier gives wrong results, the same each time; a seed changes the order of blocks and threads. Shared
// memory is new for each block and starts as NaN, so that an unset read shows and the address sanitizer sees its ends.
// Under the thread sanitizer fibers are threads that only barriers order. A barrier that some threads don't reach, or
// reach in another line, is an error.
#pragma once

#include <cstddef>
#include <cstdint>
#include <source_location>
#include <type_traits>

namespace tapwise::emulate {

using Where = std::source_location;

struct Place {
  unsigned block, blocks, thread, threads;
};

Place place();  // of the thread that runs

enum class Wait { none, warp, block, end };

void fail(const char* why);  // ends the grid with std::logic_error
void set_seed(std::uint32_t seed);
void barrier(Wait, bool orders_memory, const Where&);
void unset(void* memory, std::size_t bytes);                      // NaN; to the memory sanitizer, never written
void* shared_memory(const void* declaration, std::size_t bytes);  // the block's own for this declaration
void* exchange(std::size_t bytes);                                // a slot for each lane of the warp, 64 bytes apart

// The warp's other lanes' slots hold theirs after the barrier, until the next exchange but one.
const void* slot_of(const void* own, int lane);

void copy_later(void* to, const void* from, std::size_t bytes, std::size_t zeros);
void commit_copies();
void finish_copies(std::size_t groups_left);

void run_grid(std::int64_t blocks, int threads, void (*body)(const void*), const void* data);

template <class Body>
void run(std::int64_t blocks, int threads, const Body& body) {
  run_grid(blocks, threads, [](const void* data) { (*static_cast<const Body*>(data))(); }, &body);
}

}  // namespace tapwise::emulate
