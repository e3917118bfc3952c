// dropout.cpp — y[i] = hash(i, seed) >= dropped ? x[i] * scale : 0, with dropped = rate * 2^32, scale = 1 / (1 - rate).
//
// The mask is a function of the element's number and the seed: no state to keep, the same for any number of threads,
// and the gradient is the same call on dy. The hash is MurmurHash3's finalizer, once for each half of the seed; element
// numbers count modulo 2^32. About 20 integer operations an element. y may be x.
//
// Appleby, "MurmurHash3", 2011; Srivastava et al., "Dropout", 2014.
#include "vec.h"

namespace tapwise::ISA {
namespace {

TAPWISE_INLINE UintVec mixed(UintVec h) {
  h ^= h >> 16;
  h *= 0x85ebca6bu;
  h ^= h >> 13;
  h *= 0xc2b2ae35u;
  return h ^ (h >> 16);
}

}  // namespace

void dropout_forward(const float* x, float* y, std::uint32_t dropped, float scale, std::uint64_t seed, Index begin,
                     Index end) {
  const std::uint32_t low = static_cast<std::uint32_t>(seed), high = static_cast<std::uint32_t>(seed >> 32);
  const UintVec lanes = __builtin_bit_cast(UintVec, lane_numbers());
  for_each_vector(begin, end, [&](Index i, Index count) {
    const UintVec hash = mixed(mixed((lanes + static_cast<std::uint32_t>(i)) ^ low) + high);
    store_part(y + i, hash >= dropped ? load_part(x + i, count) * scale : Vec{}, count);
  });
}

}  // namespace tapwise::ISA
