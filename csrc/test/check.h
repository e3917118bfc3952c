// check.h — what every test needs: fenced arrays, numbers, bounds, and the count of what passed, failed and was
// reached.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "../isa.h"

#if defined(__SANITIZE_ADDRESS__)
#define TAPWISE_ADDRESS_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TAPWISE_ADDRESS_SANITIZER 1
#endif
#endif
#if defined(TAPWISE_ADDRESS_SANITIZER)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#endif

namespace tapwise::test {

struct Options {
  std::string isa, only;  // this level, this subject alone
  Index cases = 200;      // random ones of each subject
  Index forks = 5;        // children of an idle and of a busy process
};

// SplitMix64: the same numbers on every machine. Steele, Lea & Flood, 2014.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}

  std::uint64_t next() {
    std::uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  Index between(Index least, Index most) {
    return least + static_cast<Index>(next() % static_cast<std::uint64_t>(most - least + 1));
  }
  bool one_in(Index n) { return between(1, n) == 1; }
  float uniform() { return static_cast<float>(between(-(1 << 23), (1 << 23) - 1)) * 0x1p-23f; }  // [-1, 1)

 private:
  std::uint64_t state_;
};

// Elements between two fences, 4 bytes off any larger alignment. All start as a NaN with a payload that arithmetic does
// not make: what was left out, or written outside, shows. Under AddressSanitizer touching a fence does at once.
template <class T>
class Array {
 public:
  explicit Array(Index size) : memory_(static_cast<std::size_t>(size + 2 * kFence), std::bit_cast<T>(kUnset)) {
    ASAN_POISON_MEMORY_REGION(memory_.data(), kFence * sizeof(T));
    ASAN_POISON_MEMORY_REGION(data() + size, kFence * sizeof(T));
  }
  Array(Array&&) = default;
  ~Array() { ASAN_UNPOISON_MEMORY_REGION(memory_.data(), memory_.size() * sizeof(T)); }

  Index size() const { return static_cast<Index>(memory_.size()) - 2 * kFence; }
  T* data() { return memory_.data() + kFence; }
  const T* data() const { return memory_.data() + kFence; }
  T& operator[](Index i) { return data()[i]; }
  T operator[](Index i) const { return data()[i]; }

  bool fences_intact() const {
    ASAN_UNPOISON_MEMORY_REGION(memory_.data(), memory_.size() * sizeof(T));
    bool intact = true;
    for (std::size_t i = 0; i < kFence; ++i)
      for (const T& at : {memory_[i], memory_[memory_.size() - 1 - i]})
        intact = intact && std::bit_cast<std::uint32_t>(at) == kUnset;
    return intact;
  }
  bool same_bits(const Array& other) const {
    return std::memcmp(data(), other.data(), static_cast<std::size_t>(size()) * sizeof(T)) == 0;
  }

 private:
  static constexpr Index kFence = 33;
  static constexpr std::uint32_t kUnset = 0x7fc0beef;
  std::vector<T> memory_;
};

enum class Values {
  whole,       // -4 to 4: sums are exact
  uniform,     // [-1, 1)
  subnormal,   // every other one too small for a normal number
  non_finite,  // one NaN or infinity among uniform ones
};
const char* name_of(Values);
Values not_whole(Random&);  // one of the others
Array<float> random_array(Index size, Values, Random&);

// float32: the distance from 1 to its neighbour, and the least normal number, below which results may be flushed.
constexpr double kEpsilon = 0x1p-23, kTiny = 0x1p-126;

// What a result must be, and how far off it may be.
struct Want {
  double value, allowed;
};

// A sum as a plain loop finds it. Float32 in any order of summation, subnormals flushed, is at most bound() away.
struct Sum {
  double value = 0, mass = 0;
  Index terms = 0;

  void add(double term) { value += term, mass += std::fabs(term), ++terms; }
  double bound() const { return static_cast<double>(terms) * (kEpsilon * mass + kTiny); }
};

// activation(sum), for a sum that may be `error` off.
Want activated(Activation, double alpha, double sum, double error);

void check(bool ok, const std::string& what);
void check_within(const std::string& what, const Array<float>& got, const std::vector<Want>& want);

// What a call asks of a thread's scratch, in floats.
struct ScratchUsed {
  Index shared = 0, task = 0, tiles = 0;
};

// Runs call(output) on one thread, whose scratch starts as NaN, then on four threads, which must give the same bits.
void check_call(const std::string& what, const std::vector<Want>& want, ScratchUsed,
                const std::function<void(float*)>& call);

// Calls visit() on each level that this CPU runs and the options choose.
const Table* use_level(const Options&, int index);  // null if the options leave it out
template <class Visit>
void for_each_level(const Options& options, const Visit& visit) {
  for (int i = 0; i < isa_count(); ++i)
    if (const Table* t = use_level(options, i)) visit(*t);
}

// Prints how many checks came after a call of each kernel, and the totals; returns the exit code. A kernel that no
// check reached is a failure unless one subject ran alone.
int report(const Options&);

void test_conv(const Options&);
void test_separable(const Options&);
void test_pool(const Options&);
void test_nn(const Options&);
void test_norm(const Options&);
void test_group_norm(const Options&);
void test_optim(const Options&);
void test_threads(const Options&);
void test_low_precision(const Options&);

}  // namespace tapwise::test
