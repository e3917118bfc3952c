// check.cpp — counts what passed and failed and which kernels were called, and says what plain formulas give.
#include "check.h"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <numbers>
#include <thread>

#include "../scratch.h"
#include "../threads.h"

namespace tapwise::test {
namespace {

// The kernels of kernels.inc by number.
enum Kernel : int {
#define KERNEL(name, type) kernel_##name,
#include "../kernels.inc"
#undef KERNEL
  kernel_count
};
constexpr const char* kNames[] = {
#define KERNEL(name, type) #name,
#include "../kernels.inc"
#undef KERNEL
};

const Table* level;                      // whose kernels the noting ones call
std::atomic<bool> called[kernel_count];  // since the last check
Index reached[kernel_count];             // checks that came after a call
Index passed, failed;
constexpr Index kPrinted = 50;  // failures

// A kernel that notes its call. kSlot is where the table keeps it.
template <Kernel kKernel, auto kSlot>
struct Noting;
template <Kernel kKernel, class Result, class... Arguments, Result (*Table::*kSlot)(Arguments...)>
struct Noting<kKernel, kSlot> {
  static Result call(Arguments... arguments) {
    called[kKernel].store(true, std::memory_order_relaxed);
    return (level->*kSlot)(arguments...);
  }
};

}  // namespace

const Table* use_level(const Options& options, int index) {
  const Table& t = isa_at(index);
  if (!options.isa.empty() && options.isa != t.isa) return nullptr;
  static Table noting;
  level = &t;
  noting = {
      t.isa,
      t.lanes,
      t.panel,
      t.tile_pixels,
#define KERNEL(name, type) Noting<kernel_##name, &Table::name>::call,
#include "../kernels.inc"
#undef KERNEL
  };
  set_table(noting);
  return &noting;
}

void check(bool ok, const std::string& what) {
  for (int i = 0; i < kernel_count; ++i)
    if (called[i].exchange(false, std::memory_order_relaxed)) ++reached[i];
  ++(ok ? passed : failed);
  if (!ok && failed <= kPrinted) std::printf("FAILED %s\n", what.c_str());
  if (!ok && failed == kPrinted) std::printf("further failures are counted, not printed\n");
}

void check_within(const std::string& what, const Array<float>& got, const std::vector<Want>& want) {
  Index outside = 0, first = 0;
  for (Index i = got.size() - 1; i >= 0; --i) {
    const Want& w = want[i];
    const double value = got[i];
    const bool good = std::isnan(w.value)   ? std::isnan(value)
                      : std::isinf(w.value) ? value == w.value
                                            : std::fabs(value - w.value) <= w.allowed;
    if (!good) ++outside, first = i;
  }
  std::string error;
  if (got.size() != static_cast<Index>(want.size())) error = ": wrong size";
  if (outside) {
    char text[160];
    const Want& w = want[first];
    std::snprintf(text, sizeof text, ": %lld of %lld outside the bound, [%lld] is %.9g, want %.9g +- %.2g",
                  static_cast<long long>(outside), static_cast<long long>(got.size()), static_cast<long long>(first),
                  static_cast<double>(got[first]), w.value, w.allowed);
    error = text;
  }
  if (!got.fences_intact()) error += ": written outside";
  check(error.empty(), what + error);
}

void check_call(const std::string& what, const std::vector<Want>& want, ScratchUsed used,
                const std::function<void(float*)>& call) {
  const auto size = static_cast<Index>(want.size());
  Array<float> alone(size), together(size);
  const auto run = [&] {
    std::fill_n(scratch(Scratch::shared, used.shared), used.shared, NAN);
    std::fill_n(scratch(Scratch::task, used.task), used.task, NAN);
    std::fill_n(scratch(Scratch::tiles, used.tiles), used.tiles, NAN);
    call(alone.data());
  };
  set_thread_count(1);
#if defined(TAPWISE_ADDRESS_SANITIZER)
  std::thread(run).join();  // whose scratch is just as large as stated: touching what lies behind shows
#else
  run();
#endif
  check_within(what, alone, want);
  set_thread_count(4);
  call(together.data());
  check(together.same_bits(alone) && together.fences_intact(), what + ": other bits on four threads");
}

const char* name_of(Values values) {
  constexpr const char* kKinds[] = {"whole", "uniform", "subnormal", "non-finite"};
  return kKinds[static_cast<int>(values)];
}

Values not_whole(Random& random) {
  return static_cast<Values>(random.between(1, 3));
}

Array<float> random_array(Index size, Values values, Random& random) {
  Array<float> a(size);
  for (Index i = 0; i < size; ++i) {
    a[i] = values == Values::whole ? static_cast<float>(random.between(-4, 4)) : random.uniform();
    if (values == Values::subnormal && random.one_in(2)) a[i] *= 0x1p-130f;
  }
  constexpr float kBad[] = {NAN, INFINITY, -INFINITY};
  if (values == Values::non_finite && size > 0) a[random.between(0, size - 1)] = kBad[random.between(0, 2)];
  return a;
}

Want activated(Activation kind, double alpha, double sum, double error) {
  // The largest slope; units in the last place that cpu/activation.h grants; what a flushed result is multiplied by.
  const auto want = [error](double value, double slope, double units, double flushed) {
    return Want{value, slope * error + units * kEpsilon * std::fabs(value) + flushed * kTiny};
  };
  const double slope = std::max(1.0, std::fabs(alpha));
  switch (kind) {
    case Activation::none:
      return {sum, error};
    case Activation::relu:
      return want(sum < 0 ? 0 : sum, 1, 0, 0);
    case Activation::leaky_relu:
      return want(sum < 0 ? alpha * sum : sum, slope, 1, 1);
    case Activation::elu:
      return want(sum < 0 ? alpha * std::expm1(sum) : sum, slope, 2.3, slope);
    case Activation::sigmoid:
      return want(1 / (1 + std::exp(-sum)), 0.25, 2.5, 1);
    case Activation::tanh:
      return want(std::tanh(sum), 1, 2.5, 1);
    case Activation::gelu:
      return want(sum * 0.5 * std::erfc(-sum / std::numbers::sqrt2), 1.13, 4.5, 1 + std::fabs(sum));
    case Activation::relu6:
      return want(sum < 0 ? 0 : sum > 6 ? 6 : sum, 1, 0, 0);
  }
  return {NAN, 0};
}

int report(const Options& options) {
  for (int i = 0; i < kernel_count; ++i) {
    std::printf("%8lld  %s\n", static_cast<long long>(reached[i]), kNames[i]);
    if (options.only.empty()) check(reached[i] > 0, std::string(kNames[i]) + ": no check reached it");
  }
  std::printf("%lld passed, %lld failed\n", static_cast<long long>(passed), static_cast<long long>(failed));
  return failed ? 1 : 0;
}

}  // namespace tapwise::test
