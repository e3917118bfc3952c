// values.h — arrays of float32 or bfloat16 for kernels of float32.
//
// A task widens what it reads of bfloat16 into scratch, where it stays in its core's cache, and rounds from there what
// a kernel has written. So an operation on bfloat16 is the one on the same numbers in float32, rounded once at its end.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>

#include "isa.h"
#include "scratch.h"

namespace tapwise {

inline Index rounded_up(Index floats) {
  return (floats + 15) / 16 * 16;  // whole lines
}

// What is read; data is null where there is none.
struct Source {
  const void* data;
  bool is_bf16;

  Source(const float* x) : data(x), is_bf16(false) {}
  Source(const std::uint16_t* x) : data(x), is_bf16(true) {}
  Source(std::nullptr_t) : data(nullptr), is_bf16(false) {}
  float operator[](Index i) const {
    if (!is_bf16) return static_cast<const float*>(data)[i];
    return std::bit_cast<float>(static_cast<std::uint32_t>(static_cast<const std::uint16_t*>(data)[i]) << 16);
  }
};

// What is written.
struct Target {
  void* data;
  bool is_bf16;

  Target(float* y) : data(y), is_bf16(false) {}
  Target(std::uint16_t* y) : data(y), is_bf16(true) {}
  Target(std::nullptr_t) : data(nullptr), is_bf16(false) {}
  Source source() const { return is_bf16 ? Source(static_cast<std::uint16_t*>(data)) : static_cast<float*>(data); }
};

// The arrays of one task, of which it writes at most one. Places count as in the whole array; what lies outside of
// those asked for must not be touched. Rounds when it ends.
class Staged {
 public:
  Staged(const Table& table, Index floats) : table_(table), floats_(floats) {}
  Staged(const Staged&) = delete;
  Staged& operator=(const Staged&) = delete;
  ~Staged() {
    if (to_) table_.bf16_round(from_, to_, count_);
  }

  const float* read(Source x, Index begin, Index end) {
    if (!x.is_bf16 || !x.data) return static_cast<const float*>(x.data);
    float* const wide = next(end - begin);
    table_.bf16_widen(static_cast<const std::uint16_t*>(x.data) + begin, wide, end - begin);
    return wide - begin;
  }
  float* write(Target y, Index begin, Index end) {
    if (!y.is_bf16 || !y.data) return static_cast<float*>(y.data);
    from_ = next(count_ = end - begin);
    to_ = static_cast<std::uint16_t*>(y.data) + begin;
    return from_ - begin;
  }

 private:
  float* next(Index count) {
    if (!memory_) memory_ = scratch(Scratch::wide, floats_);
    float* const at = memory_ + used_;
    used_ += rounded_up(count);
    return at;
  }

  const Table& table_;
  Index floats_, used_ = 0, count_ = 0;
  float *memory_ = nullptr, *from_ = nullptr;
  std::uint16_t* to_ = nullptr;
};

// body(staged, first, last, begin, end) of units [begin, end), which are elements [first, last): of bfloat16 as many at
// a time as stay in the L1 cache with what they are widened to.
template <class Body>
void in_stages(const Table& t, bool is_bf16, Index unit_elements, Index begin, Index end, const Body& body) {
  constexpr Index kElements = 2048, kArrays = 4;
  const Index units = is_bf16 ? std::max<Index>(1, kElements / std::max<Index>(1, unit_elements)) : end - begin;
  for (Index unit = begin; unit < end; unit += units) {
    const Index next = std::min(end, unit + units);
    Staged staged(t, kArrays * rounded_up((next - unit) * unit_elements));
    body(staged, unit * unit_elements, next * unit_elements, unit, next);
  }
}

}  // namespace tapwise
