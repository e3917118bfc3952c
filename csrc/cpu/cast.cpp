// cast.cpp — bfloat16 to float32 and back: to the nearest, half to even; NaN stays NaN, subnormals stay as they are.
//
// Integer operations alone, so that every level has the same bits, whatever its flags for subnormals. Memory-bound.
#include "half.h"

namespace tapwise::ISA {

void bf16_widen(const std::uint16_t* x, float* y, Index count) {
  for_each_vector(0, count,
                  [&](Index i, Index lanes) { store_part(y + i, from_bf16(load_bf16(x + i, lanes)), lanes); });
}

void bf16_round(const float* x, std::uint16_t* y, Index count) {
  for_each_vector(0, count, [&](Index i, Index lanes) { store_bf16(y + i, to_bf16(load_part(x + i, lanes)), lanes); });
}

}  // namespace tapwise::ISA
