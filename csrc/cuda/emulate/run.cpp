#include "run.h"

#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "fiber.h"
#if TAPWISE_CHECKED_BY(memory)
#include <sanitizer/msan_interface.h>
#endif

namespace tapwise::emulate {
namespace {

constexpr int kLanes = 32;
constexpr std::size_t kSlot = 64;

struct Copy {
  void* to;
  std::size_t bytes, group;
  unsigned char value[16];
};

struct Thread {
  std::unique_ptr<Fiber> fiber;
  Wait waits = Wait::none;
  bool orders = false;
  unsigned barriers = 0, exchanges = 0;
  Where where;
  std::vector<Copy> copies;
  std::size_t group = 0;
};

struct Declared {
  const void* declaration;
  unsigned char* memory;
};

struct Warp {
  alignas(64) unsigned char slots[2][kLanes][kSlot];
  char order[2];
};

// The grid that runs; launches take turns.
struct Grid {
  std::mutex turn;
  std::mt19937 random{0};
  bool in_order = true;
  Place at{};
  void (*body)(const void*) = nullptr;
  const void* data = nullptr;
  Fiber* host = nullptr;
  std::vector<Thread> threads;
  std::vector<std::unique_ptr<Fiber>> ended;  // fibers that the thread sanitizer wants until the grid has ended
  std::vector<Warp> warps;
  std::vector<Declared> shared;
  char start = 0, end = 0, order[2] = {};
  std::string error;
};

Grid grid;

Thread& current() {
  return grid.threads[grid.at.thread];
}

void leave() {
  current().fiber->switch_to(*grid.host);
}

void entry() {
  entered();
  acquire(&grid.start);
  grid.body(grid.data);
  release(&grid.end);
  {
    const Hidden hidden;
    current().waits = Wait::end;
    if (!current().copies.empty() && grid.error.empty())
      grid.error = "a thread ended before its copies were waited for";
  }
  leave();
}

std::string text(const Where& where) {
  return std::string(where.file_name()) + ":" + std::to_string(where.line());
}

// Lets the threads [first, last) go on if all wait for that barrier; whether it did.
bool open(std::size_t first, std::size_t last, Wait kind) {
  std::size_t waiting = 0;
  const Thread* one = nullptr;
  for (std::size_t i = first; i < last; ++i) {
    const Thread& t = grid.threads[i];
    if (t.waits != kind) continue;
    ++waiting;
    if (one && one->where.line() != t.where.line())
      grid.error = "threads wait at two barriers, " + text(one->where) + " and " + text(t.where);
    one = &t;
  }
  if (waiting < last - first) return false;
  for (std::size_t i = first; i < last; ++i) grid.threads[i].waits = Wait::none;
  return true;
}

// After every thread has run to its barrier or its end: whether any has still to run.
bool open_barriers() {
  const std::size_t count = grid.threads.size();
  bool opened = open(0, count, Wait::block), all_ended = true;
  for (std::size_t first = 0; first < count; first += kLanes)
    opened = open(first, std::min(first + kLanes, count), Wait::warp) || opened;
  const Thread* waiting = nullptr;
  for (const Thread& t : grid.threads) {
    all_ended = all_ended && t.waits == Wait::end;
    if (t.waits != Wait::end) waiting = &t;
  }
  if (!opened && !all_ended && grid.error.empty())
    grid.error = "not all threads reach the barrier at " + text(waiting->where);
  return opened;
}

void start_threads() {
  for (Thread& t : grid.threads) {
    if (!kReusesStacks && t.fiber) grid.ended.push_back(std::move(t.fiber));
    if (!t.fiber) t.fiber = std::make_unique<Fiber>(&entry);
    t.fiber->restart();
    t.waits = Wait::none;
    t.barriers = t.exchanges = 0;
    t.copies.clear();
    t.group = 0;
  }
}

std::vector<unsigned> shuffled(unsigned count) {
  std::vector<unsigned> order(count);
  for (unsigned i = 0; i < count; ++i) order[i] = i;
  if (!grid.in_order)
    for (unsigned i = count; i > 1; --i) std::swap(order[i - 1], order[grid.random() % i]);
  return order;
}

void run_block() {
  start_threads();
  const std::vector<unsigned> order = shuffled(grid.at.threads);
  const auto count = static_cast<unsigned>(order.size());
  do {
    const unsigned first = grid.in_order ? 0 : static_cast<unsigned>(grid.random() % count);
    for (unsigned i = 0; i < count && grid.error.empty(); ++i) {
      grid.at.thread = order[(first + i) % count];
      Thread& t = current();
      if (t.waits == Wait::none) grid.host->switch_to(*t.fiber);
    }
  } while (grid.error.empty() && open_barriers());
  const Hidden hidden;  // the block's end is before no other block's start
  for (const Declared& d : grid.shared) std::free(d.memory);
  grid.shared.clear();
}

}  // namespace

void fail(const char* why) {
  const Hidden hidden;
  if (grid.error.empty()) grid.error = why;
}

void set_seed(std::uint32_t seed) {
  const std::lock_guard lock(grid.turn);
  grid.in_order = seed == 0;
  grid.random.seed(seed);
}

// Bits of a NaN in every float and in every bfloat16.
void unset(void* memory, std::size_t bytes) {
  std::memset(memory, 0xFF, bytes);
#if TAPWISE_CHECKED_BY(memory)
  __msan_allocated_memory(memory, bytes);
#endif
}

Place place() {
  return grid.at;
}

void barrier(Wait kind, bool orders_memory, const Where& where) {
  char* order = nullptr;
  {
    const Hidden hidden;
    Thread& t = current();
    t.waits = kind;
    t.where = where;
    // Two in turn: a thread may release for the next barrier before the others have acquired for this one.
    order = kind == Wait::block ? grid.order : grid.warps[grid.at.thread / kLanes].order;
    order += t.barriers++ % 2;
  }
  if (orders_memory) release(order);
  leave();
  if (orders_memory) acquire(order);
}

void* shared_memory(const void* declaration, std::size_t bytes) {
  const Hidden hidden;
  for (const Declared& d : grid.shared)
    if (d.declaration == declaration) return d.memory;
  constexpr std::size_t kAlignment = 32;
  // To the byte: the address sanitizer guards what comes after.
  void* memory = nullptr;
  if (posix_memalign(&memory, kAlignment, bytes) != 0) throw std::bad_alloc();
  unset(memory, bytes);
  grid.shared.push_back({declaration, static_cast<unsigned char*>(memory)});
  return memory;
}

void* exchange(std::size_t bytes) {
  const Hidden hidden;
  if (bytes > kSlot) throw std::logic_error("an exchange of more than 64 bytes");
  Thread& t = current();
  return grid.warps[grid.at.thread / kLanes].slots[t.exchanges++ % 2][grid.at.thread % kLanes];
}

const void* slot_of(const void* own, int lane) {
  const auto mine = static_cast<int>(place().thread % kLanes);
  return static_cast<const unsigned char*>(own) + (lane - mine) * static_cast<std::ptrdiff_t>(kSlot);
}

void copy_later(void* to, const void* from, std::size_t bytes, std::size_t zeros) {
  unsigned char value[16] = {};
  if (bytes > sizeof value || reinterpret_cast<std::uintptr_t>(to) % bytes != 0 ||
      (zeros < bytes && reinterpret_cast<std::uintptr_t>(from) % bytes != 0)) {
    const Hidden hidden;
    if (grid.error.empty()) grid.error = "an asynchronous copy of " + std::to_string(bytes) + " bytes is misaligned";
    return;
  }
  std::memcpy(value, from, bytes - zeros);
  unset(to, bytes);
  const Hidden hidden;
  Copy& copy = current().copies.emplace_back(Copy{to, bytes, current().group, {}});
  std::memcpy(copy.value, value, sizeof value);
}

void commit_copies() {
  const Hidden hidden;
  ++current().group;
}

// Copies are kept in the order of their groups.
void finish_copies(std::size_t groups_left) {
  for (std::size_t i = 0;; ++i) {
    Copy copy;
    {
      const Hidden hidden;
      Thread& t = current();
      if (i == t.copies.size() || t.copies[i].group + groups_left >= t.group) {
        t.copies.erase(t.copies.begin(), t.copies.begin() + static_cast<std::ptrdiff_t>(i));
        return;
      }
      copy = t.copies[i];
    }
    std::memcpy(copy.to, copy.value, copy.bytes);
  }
}

void run_grid(std::int64_t blocks, int threads, void (*body)(const void*), const void* data) {
  const std::lock_guard lock(grid.turn);
  if (threads < 1 || threads > 1024) throw std::runtime_error("a block must have 1 to 1024 threads");
  Fiber host;
  grid.host = &host;
  grid.body = body;
  grid.data = data;
  grid.error.clear();
  if (grid.threads.size() != static_cast<std::size_t>(threads)) grid.threads.clear();
  grid.threads.resize(static_cast<std::size_t>(threads));
  grid.warps.resize(static_cast<std::size_t>((threads + kLanes - 1) / kLanes));
  grid.at.blocks = static_cast<unsigned>(blocks);
  grid.at.threads = static_cast<unsigned>(threads);
  release(&grid.start);
  for (const unsigned block : shuffled(static_cast<unsigned>(blocks))) {
    grid.at.block = block;
    run_block();
    if (!grid.error.empty()) break;
  }
  acquire(&grid.end);
  grid.ended.clear();
  if (!kReusesStacks || !grid.error.empty()) grid.threads.clear();
  if (!grid.error.empty()) throw std::logic_error(grid.error);
}

}  // namespace tapwise::emulate
