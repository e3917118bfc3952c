#include "scratch.h"

#include <atomic>

#include "memory.h"

namespace tapwise {
namespace {

constexpr Index kKept = Index{64} << 20;  // bytes: a larger buffer goes back when a smaller one will do
std::atomic<Index> held{0};
std::atomic<Index> limit{Index{16} << 20};

struct Buffer {
  Memory memory;

  ~Buffer() { held.fetch_sub(memory.bytes(), std::memory_order_relaxed); }

  float* grow(Index floats) {
    const Index wanted = floats * static_cast<Index>(sizeof(float)), bytes = memory.bytes();
    if (wanted > bytes || (bytes > kKept && wanted < bytes / 4)) {
      memory = Memory();  // first, so that both are never held at once
      held.fetch_sub(bytes, std::memory_order_relaxed);
      memory = Memory(floats);
      held.fetch_add(wanted, std::memory_order_relaxed);
    }
    return memory.data();
  }
};

thread_local Buffer buffers[4];

}  // namespace

float* scratch(Scratch kind, Index floats) {
  return buffers[static_cast<int>(kind)].grow(floats);
}
Index workspace_floats() {
  return workspace_bytes() / static_cast<Index>(sizeof(float));
}
Index workspace_bytes() {
  return limit.load(std::memory_order_relaxed);
}
void set_workspace_bytes(Index bytes) {
  limit.store(bytes, std::memory_order_relaxed);
}
Index scratch_bytes() {
  return held.load(std::memory_order_relaxed);
}

}  // namespace tapwise
