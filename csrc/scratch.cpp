#include "scratch.h"

#include <atomic>
#include <cstdlib>
#include <new>

namespace tapwise {
namespace {

constexpr std::size_t kAlignment = 64;
constexpr Index kKept = Index{64} << 20;  // bytes: a larger buffer goes back when a smaller one will do
std::atomic<Index> held{0};

struct Buffer {
  float* data = nullptr;
  Index bytes = 0;

  ~Buffer() { release(); }

  void release() {
    ::operator delete(data, std::align_val_t{kAlignment});
    held.fetch_sub(bytes, std::memory_order_relaxed);
    data = nullptr;
    bytes = 0;
  }

  float* grow(Index floats) {
    const Index wanted = floats * static_cast<Index>(sizeof(float));
    if (wanted > bytes || (bytes > kKept && wanted < bytes / 4)) {
      release();
      data = static_cast<float*>(::operator new(static_cast<std::size_t>(wanted), std::align_val_t{kAlignment}));
      bytes = wanted;
      held.fetch_add(bytes, std::memory_order_relaxed);
    }
    return data;
  }
};

thread_local Buffer buffers[2];

}  // namespace

float* scratch(Scratch kind, Index floats) {
  return buffers[static_cast<int>(kind)].grow(floats);
}
Index scratch_bytes() {
  return held.load(std::memory_order_relaxed);
}

}  // namespace tapwise
