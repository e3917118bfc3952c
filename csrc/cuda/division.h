// division.h — n / d by a multiplication, for 0 <= n < 2^62: a device has no instruction that divides integers.
//
// With l = ceil(log2 d), e = max(64, 62 + l) and m = ceil(2^e / d) < 2^64, n / d = m n / 2^e exactly.
//
// Granlund & Montgomery, "Division by Invariant Integers using Multiplication", 1994.
#pragma once

#include "portable.h"

namespace tapwise::cuda {

class Divisor {
 public:
  Divisor() = default;
  explicit Divisor(Index d) : divisor_(d), factor_(0), shift_(0) {
    if (d <= 1) return;
    int log = 0;
    while ((Index{1} << log) < d) ++log;
    const int exponent = log > 2 ? 62 + log : 64;
    shift_ = exponent - 64;
    // 2^e / d by bits, since 2^e has more than 64.
    std::uint64_t quotient = 0, rest = 0;
    const auto unsigned_d = static_cast<std::uint64_t>(d);
    for (int bit = exponent; bit >= 0; --bit) {
      rest = 2 * rest + (bit == exponent ? 1 : 0);
      quotient = 2 * quotient + (rest >= unsigned_d ? 1 : 0);
      if (rest >= unsigned_d) rest -= unsigned_d;
    }
    factor_ = quotient + (rest ? 1 : 0);
  }

  __device__ __forceinline__ Index divide(Index n) const {
    return factor_ ? static_cast<Index>(__umul64hi(factor_, static_cast<std::uint64_t>(n)) >> shift_) : n;
  }
  // n becomes the quotient; the rest is returned.
  __device__ __forceinline__ Index take(Index& n) const {
    const Index quotient = divide(n), rest = n - quotient * divisor_;
    n = quotient;
    return rest;
  }

 private:
  Index divisor_;
  std::uint64_t factor_;
  int shift_;
};

}  // namespace tapwise::cuda
