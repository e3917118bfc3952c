// reduce.cpp — the sums that end a backward pass.
//
//   sums (chunks, taps, ci / groups, co)  ->  dw, any strides         chunks in order
//   dy, y (outer, channels, inner)        ->  dz = dy f'(x) and its sums by channel (chunks, 2, channels)
#include "activation.h"
#include "channels.h"

namespace tapwise::ISA {

void conv_unpack_grad_weight(const Conv& s, Index chunks, const float* sums, float* dw, Index begin, Index end) {
  const Index cig = s.ci / s.groups, rows = s.kd * s.kh * s.kw * cig;
  for (Index row = begin; row < end; ++row) {
    const Index tap = row / cig, w = tap % s.kw, h = tap / s.kw % s.kh, d = tap / (s.kw * s.kh);
    float* to = dw + d * s.w_d + h * s.w_h + w * s.w_w + row % cig * s.w_ci;
    for (Index o = 0; o < s.co; ++o) {
      float sum = 0;
      for (Index chunk = 0; chunk < chunks; ++chunk) sum += sums[(chunk * rows + row) * s.co + o];
      to[o * s.w_co] = sum;
    }
  }
}

void bias_grad_sums(const Norm& s, Activation kind, float alpha, const float* dy, const float* y, const float* x,
                    float* dz, double* sums, Index begin, Index end) {
  with_activation(kind, [&]<Activation kKind>() {
    sum_channels(s, sums, begin, end, [&](Sums& sum, const Strip& strip, auto lanes) {
      const auto term = [&](Index at, Vec& first, Vec&) {
        const Vec output = kKind == Activation::none ? Vec{} : load_part(y + at, lanes);
        const Vec input = kKind == Activation::gelu ? load_part(x + at, lanes) : Vec{};
        const Vec g = gradient<kKind>(alpha, load_part(dy + at, lanes), output, input);
        first += g;
        return g;
      };
      if (dz)
        add_blocks(sum, strip,
                   [&](Index at, Vec& first, Vec& second) { store_part(dz + at, term(at, first, second), lanes); });
      else
        add_blocks(sum, strip, term);
    });
  });
}

}  // namespace tapwise::ISA
