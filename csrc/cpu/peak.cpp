// peak.cpp — the rate of multiply-adds that the cores sustain from registers: what every speed is a share of.
#include "vec.h"

namespace tapwise::ISA {

double fma_peak(Index steps, float* sink) {
  constexpr int kChains = kLanes == 16 ? 24 : 12;  // fill the latency, fit the registers
  Vec sum[kChains];
  TAPWISE_UNROLL for (int i = 0; i < kChains; ++i) sum[i] = splat(static_cast<float>(i));
  const Vec a = splat(0.9999f), b = splat(1e-4f);
  for (Index step = 0; step < steps; ++step) {
    TAPWISE_UNROLL for (int i = 0; i < kChains; ++i) sum[i] = fma(sum[i], a, b);
  }
  for (int i = 1; i < kChains; ++i) sum[0] += sum[i];  // uses every chain, so that none is optimised away
  store(sink, sum[0]);
  return 2.0 * kLanes * kChains * static_cast<double>(steps);
}

}  // namespace tapwise::ISA
