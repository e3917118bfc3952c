// threads.cpp — the pool, and what a thread brings to a call: scratch, its floating-point mode, the measured peak.
#include "../threads.h"

#include <algorithm>
#include <atomic>
#include <new>
#include <thread>

#include "../ops.h"
#include "../scratch.h"
#include "../subnormals.h"
#include "check.h"

#if !defined(_WIN32)
#include <sys/wait.h>
#include <unistd.h>
#endif

namespace tapwise::test {
namespace {

constexpr int kMostThreads = 4;

void on_threads(int count, const std::function<void()>& body) {
  std::vector<std::thread> threads;
  for (int i = 0; i < count; ++i) threads.emplace_back(body);
  for (std::thread& thread : threads) thread.join();
}

// True if parallel_for ran each of [0, total) once, in the chunks that it promises.
bool covers(Index total, Index grain) {
  std::vector<std::atomic<int>> runs(total);
  std::atomic<bool> right{true};
  parallel_for(total, grain, [&](Index begin, Index end) {
    if (begin % grain != 0 || end != std::min(total, begin + grain)) right = false;
    for (Index i = begin; i < end; ++i) ++runs[i];
  });
  for (const std::atomic<int>& run : runs) right = right && run == 1;
  return right;
}

void test_cover() {
  for (int threads = 1; threads <= kMostThreads; ++threads) {
    set_thread_count(threads);
    for (const Index total : {0, 1, 2, 7, 64, 1000})
      for (const Index grain : {1, 3, 64, 2000})
        check(covers(total, grain), "parallel_for of " + std::to_string(total) + " by " + std::to_string(grain) +
                                        " on " + std::to_string(threads) + " threads");
    std::atomic<Index> length{0}, chunks{0};
    const Index total = (Index{1} << 40) + 5;
    parallel_for(total, Index{1} << 38, [&](Index begin, Index end) { length += end - begin, ++chunks; });
    check(length == total && chunks == 5, "parallel_for of more than 2^32");
  }
}

void test_count() {
  set_thread_count(3);
  check(thread_count() == 3, "the count asked for");
  set_thread_count(0);
  check(thread_count() == machine_threads() && machine_threads() >= 1, "the machine's own count");
}

void test_nested() {
  set_thread_count(kMostThreads);
  std::atomic<bool> same_thread{true};
  std::atomic<int> runs{0};
  parallel_for(16, 1, [&](Index, Index) {
    const std::thread::id outer = std::this_thread::get_id();
    parallel_for(10, 1, [&](Index, Index) {
      if (std::this_thread::get_id() != outer) same_thread = false;
      ++runs;
    });
  });
  check(same_thread && runs == 160, "nested calls run serially in their thread");
}

void test_throwing() {
  for (int threads = 1; threads <= kMostThreads; ++threads) {
    set_thread_count(threads);
    bool caught = false;
    try {
      parallel_for(20, 1, [](Index begin, Index) {
        if (begin == 5) throw std::bad_alloc();
      });
    } catch (const std::bad_alloc&) {
      caught = true;
    }
    check(caught, "bad_alloc of a body reaches the caller, " + std::to_string(threads) + " threads");
    check(covers(100, 1), "the pool works on after bad_alloc, " + std::to_string(threads) + " threads");
  }
}

// A convolution of several tasks in each pass.
class Example {
 public:
  Example() {
    s_.n = 2, s_.ci = 8, s_.co = 40, s_.ih = s_.oh = 21, s_.iw = s_.ow = 22;
    s_.kh = s_.kw = 3, s_.pt = s_.pl = 1;
    s_.groups = s_.id = s_.od = s_.kd = s_.sd = s_.sh = s_.sw = s_.dil_d = s_.dil_h = s_.dil_w = 1;
    s_.w_co = 1, s_.w_ci = s_.co, s_.w_w = s_.ci * s_.co, s_.w_h = s_.w_d = 3 * s_.w_w;
  }

  std::vector<float> passes() const {
    std::vector<float> out(dy_.size() + x_.size() + w_.size());
    float *y = out.data(), *dx = y + dy_.size(), *dw = dx + x_.size();
    conv_forward(s_, Choice{}, x_.data(), w_.data(), {}, y);
    conv_grad_input(s_, Choice{}, dy_.data(), w_.data(), {}, dx);
    conv_grad_weight(s_, Choice{}, x_.data(), dy_.data(), dw);
    return out;
  }

 private:
  Conv s_{};  // channels last
  Random random_{3};
  Array<float> x_ = random_array(2 * 21 * 22 * 8, Values::uniform, random_);
  Array<float> w_ = random_array(3 * 3 * 8 * 40, Values::uniform, random_);
  Array<float> dy_ = random_array(2 * 21 * 22 * 40, Values::uniform, random_);
};

void test_callers_at_once(const Example& example, const std::vector<float>& want) {
  set_thread_count(kMostThreads);
  std::atomic<bool> right{true};
  on_threads(kMostThreads, [&] {
    for (int i = 0; i < 10; ++i)
      if (example.passes() != want || !covers(1000, 7)) right = false;
  });
  check(right, "callers at once get the bits of one alone");
  std::atomic<bool> done{false};
  std::thread changes([&] {
    for (int count = 0; !done; ++count) set_thread_count(1 + count % kMostThreads);
  });
  on_threads(2, [&] {
    for (int i = 0; i < 10; ++i)
      if (example.passes() != want || !covers(1000, 7)) right = false;
  });
  done = true;
  changes.join();
  check(right, "callers at once while the count changes");
}

#if !defined(_WIN32)
bool forked_child_agrees(const Example& example, const std::vector<float>& want) {
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);
    _exit(example.passes() == want && covers(1000, 7) ? 0 : 1);
  }
  int status = -1;
  return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}

void test_fork(Index forks, const Example& example, const std::vector<float>& want) {
  set_thread_count(kMostThreads);
  for (Index i = 0; i < forks; ++i) check(forked_child_agrees(example, want), "a child forked from an idle process");
  std::atomic<bool> done{false};
  std::thread busy([&] {
    while (!done) covers(10000, 1);
  });
  for (Index i = 0; i < forks; ++i) check(forked_child_agrees(example, want), "a child forked while the pool works");
  done = true;
  busy.join();
  check(example.passes() == want, "the parent after its children");
}
#else
void test_fork(Index, const Example&, const std::vector<float>&) {}
#endif

void test_scratch() {
  constexpr Index kFloat = sizeof(float);
  const Index before = scratch_bytes();
  float* elsewhere = scratch(Scratch::task, 100);
  std::thread([&] {
    const Index start = scratch_bytes();
    float* task = scratch(Scratch::task, 1000);
    float* shared = scratch(Scratch::shared, 1001);
    check(scratch_bytes() - start == 2001 * kFloat, "scratch counts what it holds");
    check(task != shared && task != elsewhere, "scratch is of one kind and one thread");
    for (const float* p : {task, shared}) check(reinterpret_cast<std::uintptr_t>(p) % 64 == 0, "scratch is aligned");
    check(scratch(Scratch::task, 10) == task, "scratch is kept");
    scratch(Scratch::task, 20'000'000);
    scratch(Scratch::task, 10);
    check(scratch_bytes() - start < 20'000'000, "a very large scratch is given back");
  }).join();
  check(scratch_bytes() - before <= 100 * kFloat, "scratch ends with its thread");
}

bool flushes() {
  const volatile float subnormal = 0x1p-130f;
  const volatile float product = subnormal * 0.5f;
  return std::bit_cast<std::uint32_t>(static_cast<float>(product)) == 0;
}

void test_subnormals(const Example& example) {
  set_thread_count(kMostThreads);
  check(!flushes(), "subnormals stay by default");
  {
    const FlushSubnormals outer;
    check(flushes(), "subnormals are flushed");
    {
      const FlushSubnormals inner;
    }
    check(flushes(), "the mode that the caller chose is restored");
    example.passes();
    check(flushes(), "the caller's mode is restored after a convolution");
  }
  check(!flushes(), "subnormals stay afterwards");
  example.passes();
  std::atomic<bool> any{false};
  parallel_for(64, 1, [&](Index, Index) { any = any || flushes(); });
  check(!any, "no thread keeps the mode of a convolution");
}

// Each lane is a sum of chains x = 0.9999 x + 1e-4 that begin at 0, 1, 2, ...
void test_peak(const Table& t) {
  constexpr Index kSteps = 1000;
  Array<float> sink(t.lanes);
  const double chains = t.fma_peak(kSteps, sink.data()) / (2.0 * kSteps * static_cast<double>(t.lanes));
  double sum = 0;
  for (int i = 0; i < chains; ++i) {
    double x = i;
    for (Index step = 0; step < kSteps; ++step) x = x * double{0.9999f} + double{1e-4f};
    sum += x;
  }
  const Want want = {sum, 2 * kSteps * 0x1p-23 * sum};
  check_within(std::string(t.isa) + " fma_peak", sink, std::vector<Want>(t.lanes, want));
  check(measure_fma_peak(t.fma_peak, kSteps) > 0, std::string(t.isa) + " measure_fma_peak");
}

}  // namespace

void test_threads(const Options& options) {
  test_count();
  test_cover();
  test_nested();
  test_throwing();
  test_scratch();
  const Example example;
  for_each_level(options, [&](const Table& t) {
    set_thread_count(1);
    const std::vector<float> want = example.passes();
    for (int threads = 2; threads <= kMostThreads; ++threads) {
      set_thread_count(threads);
      check(example.passes() == want, std::string(t.isa) + ": the bits of " + std::to_string(threads) + " threads");
    }
    test_callers_at_once(example, want);
    test_fork(options.forks, example, want);
    test_subnormals(example);
    test_peak(t);
  });
}

}  // namespace tapwise::test
