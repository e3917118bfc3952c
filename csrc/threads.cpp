// threads.cpp — one pool for the process: made at the first parallel call, parked when idle, abandoned by a forked
// child.
//
// A job's chunks are dealt out in as many neighbouring parts as threads. A thread begins with the part of its own
// number, so that equal calls find in its core's cache what they left there (3x3 64 @56: 195 to 166 us); then it helps
// with the others'. Chunks are claimed from a part's `ticket` (job number in the high half, next chunk in the low
// half), so that a thread that wakes late can never claim from a job that is over: its compare-and-swap fails. The
// caller waits for the chunks to be done, not for the threads to have woken.
#include "threads.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <mutex>
#include <new>
#include <thread>

#if defined(__linux__)
#include <sched.h>
#endif
#if !defined(_WIN32)
#include <pthread.h>
#endif

namespace tapwise {
namespace {

constexpr auto kSpin = std::chrono::microseconds(30);  // 2-5 us to wake a parked thread; longer spins steal its core
constexpr std::uint32_t kClosed = 0xffffffff;
constexpr int kMostParts = 32;

void pause() {
#if defined(__x86_64__) || defined(_M_X64)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Spins, then sleeps, until value differs from old.
void await_change(const std::atomic<std::uint32_t>& value, std::uint32_t old) {
  const auto end = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < 32; ++i) {
      if (value.load(std::memory_order_acquire) != old) return;
      pause();
    }
  } while (std::chrono::steady_clock::now() < end);
  value.wait(old, std::memory_order_acquire);
}

thread_local bool inside = false;  // this thread is running a chunk

#if defined(__linux__)
int current_cpu() {
  return sched_getcpu();
}

// Moves this new thread off the CPU that made it. Linux leaves both there for up to 50 ms where the caller is at work.
void leave(int cpu) {
  cpu_set_t allowed, others;
  if (cpu < 0 || sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
  others = allowed;
  CPU_CLR(cpu, &others);
  if (CPU_COUNT(&others) > 0 && sched_setaffinity(0, sizeof others, &others) == 0)
    sched_setaffinity(0, sizeof allowed, &allowed);
}
#else
int current_cpu() {
  return -1;
}
void leave(int) {}
#endif

class Pool {
 public:
  // Runs the job unless another caller has the pool; then the caller is better off alone.
  bool try_run(Index total, Index grain, ParallelBody body, void* context, int threads) {
    if (busy_.exchange(true, std::memory_order_acquire)) return false;
    const auto chunks = static_cast<std::uint32_t>((total + grain - 1) / grain);
    const int helpers = static_cast<int>(std::min<Index>(threads, chunks)) - 1;
    grow(helpers);
    publish(total, grain, body, context, chunks, helpers);
    work(job_, 0);
    for (auto done = done_.load(std::memory_order_acquire); done != chunks;) {
      await_change(done_, done);
      done = done_.load(std::memory_order_acquire);
    }
    const bool failed = failed_.load(std::memory_order_relaxed);
    busy_.store(false, std::memory_order_release);
    if (failed) throw std::bad_alloc();  // all that a body can run out of
    return true;
  }

 private:
  void publish(Index total, Index grain, ParallelBody body, void* context, std::uint32_t chunks, int helpers) {
    ++job_;
    const std::uint64_t job = std::uint64_t{job_} << 32;
    for (int part = 0, former = parts_.load(); part < former; ++part) tickets_[part].next.store(job | kClosed);
    const int parts = std::min(helpers + 1, kMostParts);
    total_.store(total, std::memory_order_release);
    grain_.store(grain, std::memory_order_release);
    body_.store(body, std::memory_order_release);
    context_.store(context, std::memory_order_release);
    chunks_.store(chunks, std::memory_order_release);
    helpers_.store(helpers, std::memory_order_release);
    parts_.store(parts, std::memory_order_release);
    failed_.store(false, std::memory_order_relaxed);
    done_.store(0, std::memory_order_relaxed);
    for (int part = 0; part < parts; ++part)
      tickets_[part].next.store(job | first_of(part, parts, chunks), std::memory_order_release);
    if (helpers > 0) {
      published_.store(job_, std::memory_order_seq_cst);  // before notify_all looks whether anyone sleeps
      published_.notify_all();
    }
  }

  static std::uint32_t first_of(int part, int parts, std::uint32_t chunks) {
    return static_cast<std::uint32_t>(std::uint64_t{chunks} * static_cast<unsigned>(part) /
                                      static_cast<unsigned>(parts));
  }

  // The chunks of all parts, from the thread's own on.
  void work(std::uint32_t job, int thread) {
    inside = true;
    const int parts = parts_.load(std::memory_order_acquire);
    for (int i = 0; i < parts; ++i) work_part(job, (thread + i) % parts);
    inside = false;
  }

  void work_part(std::uint32_t job, int part) {
    std::atomic<std::uint64_t>& next = tickets_[part].next;
    for (;;) {
      std::uint64_t ticket = next.load(std::memory_order_acquire);
      const auto chunk = static_cast<std::uint32_t>(ticket);
      if (ticket >> 32 != job || chunk == kClosed) break;
      const std::uint32_t chunks = chunks_.load(std::memory_order_acquire);
      const int parts = parts_.load(std::memory_order_acquire);
      const Index total = total_.load(std::memory_order_acquire), grain = grain_.load(std::memory_order_acquire);
      const ParallelBody body = body_.load(std::memory_order_acquire);
      void* const context = context_.load(std::memory_order_acquire);
      if (chunk >= first_of(part + 1, parts, chunks)) break;
      if (!next.compare_exchange_weak(ticket, ticket + 1, std::memory_order_acq_rel)) continue;
      const Index begin = chunk * grain;
      try {
        body(context, begin, std::min(total, begin + grain));
      } catch (...) {
        failed_.store(true, std::memory_order_relaxed);
      }
      if (done_.fetch_add(1) + 1 == chunks) done_.notify_one();  // sequential: before the look for a sleeping caller
    }
  }

  void grow(int helpers) {
    for (; started_ < helpers; ++started_) {
      try {
        std::thread([this, id = started_, cpu = current_cpu()] {
          leave(cpu);
          serve(id);
        }).detach();
      } catch (const std::exception&) {
        return;  // no thread or no memory: fewer than asked for do the same work
      }
    }
  }

  void serve(int id) {
    std::uint32_t seen = 0;
    for (;;) {
      await_change(published_, seen);
      seen = published_.load(std::memory_order_acquire);
      if (id < helpers_.load(std::memory_order_acquire)) work(seen, id + 1);
    }
  }

  std::atomic<bool> busy_{false};
  std::uint32_t job_ = 0;
  int started_ = 0;
  struct alignas(64) Ticket {
    std::atomic<std::uint64_t> next{kClosed};
  };
  Ticket tickets_[kMostParts];
  alignas(64) std::atomic<std::uint32_t> published_{0};
  alignas(64) std::atomic<std::uint32_t> done_{0};
  alignas(64) std::atomic<Index> total_{0};
  std::atomic<Index> grain_{1};
  std::atomic<ParallelBody> body_{nullptr};
  std::atomic<void*> context_{nullptr};
  std::atomic<std::uint32_t> chunks_{0};
  std::atomic<int> helpers_{0};
  std::atomic<int> parts_{1};
  std::atomic<bool> failed_{false};
};

std::atomic<Pool*> current{nullptr};  // never destroyed: its threads outlive static destruction
std::atomic<int> wanted{0};           // 0: the machine's own
std::atomic<int> machine{0};

Pool& pool() {
  Pool* p = current.load(std::memory_order_acquire);
  if (p) return *p;
#if !defined(_WIN32)
  static std::once_flag once;
  std::call_once(once, [] {
    pthread_atfork(nullptr, nullptr, [] {
      current.store(nullptr);  // the child has none of the threads
      machine.store(0);
      inside = false;
    });
  });
#endif
  Pool* made = new Pool;
  if (current.compare_exchange_strong(p, made)) return *made;
  delete made;
  return *p;
}

#if defined(__linux__)
int affinity() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
  return static_cast<int>(std::thread::hardware_concurrency());
}

// CPUs that one cpu.max file (cgroup v2) allows; 0 if it sets no limit.
int quota_of(const char* path) {
  int cpus = 0;
  if (std::FILE* file = std::fopen(path, "r")) {
    double quota, period;
    if (std::fscanf(file, "%lf %lf", &quota, &period) == 2 && period > 0)
      cpus = std::max(1, static_cast<int>(quota / period + 0.5));
    std::fclose(file);
  }
  return cpus;
}

double number_in(const char* path) {
  double value = -1;
  if (std::FILE* file = std::fopen(path, "r")) {
    if (std::fscanf(file, "%lf", &value) != 1) value = -1;
    std::fclose(file);
  }
  return value;
}

// The tightest quota of this process' cgroup and those above it; version 1 knows only the mounted one.
int quota() {
  int least = 0;
  char line[512], path[600];
  if (std::FILE* file = std::fopen("/proc/self/cgroup", "r")) {
    while (std::fgets(line, sizeof line, file)) {
      if (std::strncmp(line, "0::/", 4) != 0) continue;
      line[std::strcspn(line, "\n")] = 0;
      for (char* group = line + 3;;) {
        std::snprintf(path, sizeof path, "/sys/fs/cgroup%s/cpu.max", group);
        if (const int cpus = quota_of(path)) least = least ? std::min(least, cpus) : cpus;
        char* slash = std::strrchr(group, '/');
        if (!slash) break;
        *slash = 0;
      }
    }
    std::fclose(file);
  }
  const double limit = number_in("/sys/fs/cgroup/cpu/cpu.cfs_quota_us");
  const double period = number_in("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
  if (limit > 0 && period > 0) {
    const int cpus = std::max(1, static_cast<int>(limit / period + 0.5));
    least = least ? std::min(least, cpus) : cpus;
  }
  return least;
}
#else
int affinity() {
  return static_cast<int>(std::thread::hardware_concurrency());
}
int quota() {
  return 0;
}
#endif

}  // namespace

int machine_threads() {
  int count = machine.load(std::memory_order_relaxed);
  if (count == 0) {
    const int cpus = std::max(1, affinity()), limit = quota();
    count = limit ? std::min(cpus, limit) : cpus;
    machine.store(count, std::memory_order_relaxed);
  }
  return count;
}

int thread_count() {
  const int count = wanted.load(std::memory_order_relaxed);
  return count ? count : machine_threads();
}

void set_thread_count(int count) {
  wanted.store(std::max(0, count), std::memory_order_relaxed);
}

void parallel_for(Index total, Index grain, ParallelBody body, void* context) {
  if (total <= 0) return;
  const int threads = thread_count();
  grain = std::max({Index{1}, grain, total / 0x7fffffff + 1});
  if (threads > 1 && total > grain && !inside && pool().try_run(total, grain, body, context, threads)) return;
  for (Index begin = 0; begin < total; begin += grain) body(context, begin, std::min(total, begin + grain));
}

}  // namespace tapwise
