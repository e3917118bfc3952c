#include "fiber.h"

namespace tapwise::emulate {

#if defined(__x86_64__)
// Registers that a call keeps, then the stack pointers; returns to where `load` was saved.
extern "C" void tapwise_switch_stack(void** save, void* load);
asm(R"(
.pushsection .text
.type tapwise_switch_stack, @function
.hidden tapwise_switch_stack
.globl tapwise_switch_stack
tapwise_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size tapwise_switch_stack, .-tapwise_switch_stack
.popsection
)");
#endif

#if defined(TAPWISE_ASAN)
const void* Fiber::caller_bottom = nullptr;
std::size_t Fiber::caller_bytes = 0;
#endif

void entered() {
#if defined(TAPWISE_ASAN)
  __sanitizer_finish_switch_fiber(nullptr, &Fiber::caller_bottom, &Fiber::caller_bytes);
#endif
}

void Fiber::restart() {
#if defined(TAPWISE_ASAN)
  __asan_unpoison_memory_region(stack_, kBytes);
#endif
#if defined(__x86_64__)
  // Six registers and the address to return to, with the stack as a call leaves it: 8 bytes off 16.
  void** const words = reinterpret_cast<void**>(stack_ + kBytes) - 8;
  for (int i = 0; i < 8; ++i) words[i] = nullptr;
  words[6] = reinterpret_cast<void*>(entry_);
  top_ = words;
#else
  getcontext(&context_);
  context_.uc_stack.ss_sp = stack_;
  context_.uc_stack.ss_size = kBytes;
  context_.uc_link = nullptr;
  makecontext(&context_, entry_, 0);
#endif
}

void Fiber::switch_to(Fiber& next) {
#if defined(TAPWISE_ASAN)
  void* fake = nullptr;
  const void* const bottom = next.stack_ ? next.stack_ : caller_bottom;
  __sanitizer_start_switch_fiber(&fake, bottom, next.stack_ ? kBytes : caller_bytes);
#endif
#if defined(TAPWISE_TSAN)
  __tsan_switch_to_fiber(next.tsan_, __tsan_switch_to_fiber_no_sync);
#endif
#if defined(__x86_64__)
  tapwise_switch_stack(&top_, next.top_);
#else
  swapcontext(&context_, &next.context_);
#endif
#if defined(TAPWISE_ASAN)
  // Back on the caller's stack nothing is learnt; on a thread's own, where the caller's is.
  const void* from = nullptr;
  std::size_t bytes = 0;
  __sanitizer_finish_switch_fiber(fake, &from, &bytes);
  if (stack_) caller_bottom = from, caller_bytes = bytes;
#endif
}

}  // namespace tapwise::emulate
