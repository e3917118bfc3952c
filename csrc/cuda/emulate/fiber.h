// fiber.h — stacks that a program switches by hand, and tells the sanitizers of.
//
// A switch saves the registers that a call keeps and changes the stack: 10 ns, against 400 of swapcontext's, which asks
// the kernel for the signal mask each time.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <new>

// gcc defines macros, clang answers.
#if defined(__has_feature)
#define TAPWISE_CHECKED_BY(sanitizer) __has_feature(sanitizer##_sanitizer)
#else
#define TAPWISE_CHECKED_BY(sanitizer) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || TAPWISE_CHECKED_BY(address)
#define TAPWISE_ASAN 1
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
// The thread sanitizer looks at kernels, not at the emulator: its own files are built without, but with this.
#if defined(__SANITIZE_THREAD__) || TAPWISE_CHECKED_BY(thread)
#define TAPWISE_TSAN 1
#endif
#if defined(TAPWISE_TSAN)
#include <sanitizer/tsan_interface.h>
extern "C" {
void AnnotateIgnoreReadsBegin(const char* file, int line);
void AnnotateIgnoreReadsEnd(const char* file, int line);
void AnnotateIgnoreWritesBegin(const char* file, int line);
void AnnotateIgnoreWritesEnd(const char* file, int line);
}
#endif

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace tapwise::emulate {

// What the emulator itself does to memory is no business of the thread sanitizer's.
struct Hidden {
#if defined(TAPWISE_TSAN)
  Hidden() {
    AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
    AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
  }
  ~Hidden() {
    AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
    AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
  }
#else
  Hidden() {}
#endif
  Hidden(const Hidden&) = delete;
  Hidden& operator=(const Hidden&) = delete;
};

inline void release(void* at) {
#if defined(TAPWISE_TSAN)
  __tsan_release(at);
#else
  (void)at;
#endif
}

inline void acquire(void* at) {
#if defined(TAPWISE_TSAN)
  __tsan_acquire(at);
#else
  (void)at;
#endif
}

#if defined(TAPWISE_TSAN)
constexpr bool kReusesStacks = false;  // one thread's frames would race with those of the next on its stack
#else
constexpr bool kReusesStacks = true;
#endif

// The caller's own stack, or one of 256 KiB, of which only what is touched takes memory.
class Fiber {
 public:
  Fiber() {
#if defined(TAPWISE_TSAN)
    tsan_ = __tsan_get_current_fiber();
#endif
  }
  explicit Fiber(void (*entry)()) : entry_(entry) {
    void* const memory = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    stack_ = static_cast<char*>(memory);
#if defined(TAPWISE_TSAN)
    tsan_ = __tsan_create_fiber(0);
#endif
  }
  ~Fiber() {
    if (!stack_) return;
#if defined(TAPWISE_TSAN)
    __tsan_destroy_fiber(tsan_);
#endif
    munmap(stack_, kBytes);
  }
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // The next switch to it calls entry, which must not return.
  void restart();
  void switch_to(Fiber& next);

 private:
  static constexpr std::size_t kBytes = std::size_t{256} << 10;

  char* stack_ = nullptr;
  void (*entry_)() = nullptr;
#if defined(__x86_64__)
  void* top_ = nullptr;
#else
  ucontext_t context_;
#endif
#if defined(TAPWISE_TSAN)
  void* tsan_;
#endif
#if defined(TAPWISE_ASAN)
  static const void* caller_bottom;
  static std::size_t caller_bytes;
  friend void entered();
#endif
};

// The first thing that an entry calls.
void entered();

}  // namespace tapwise::emulate
