// reduce.cpp — the sums that end a backward pass.
//
//   sums (chunks, taps, ci / groups, co)  ->  dw, any strides         chunks in order
//   dy (outer, channels, inner)           ->  db (channels,)
//
// db adds in stretches of kStretch terms, so that rounding grows with the number of stretches and not of terms.
#include "vec.h"

namespace tapwise::ISA {
namespace {

constexpr Index kStretch = 512;

// Sums of kLanes channels side by side: dy[i * step + lane].
Vec sum_columns(const float* dy, Index step, Index terms, Index lanes) {
  Vec total{};
  for (Index first = 0; first < terms; first += kStretch) {
    Vec part{};
    for (Index i = first; i < least(terms, first + kStretch); ++i) part += load_part(dy + i * step, lanes);
    total += part;
  }
  return total;
}

float sum_row(const float* dy, Index terms) {
  Vec total{};
  for (Index i = 0; i < terms; i += kLanes * kStretch) {
    Vec part{};
    for (Index j = i; j < least(terms, i + kLanes * kStretch); j += kLanes)
      part += load_part(dy + j, least<Index>(kLanes, terms - j));
    total += part;
  }
  float sum = 0;
  for (int lane = 0; lane < kLanes; ++lane) sum += total[lane];
  return sum;
}

}  // namespace

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

void conv_grad_bias(Index outer, Index channels, Index inner, const float* dy, float* db, Index begin, Index end) {
  if (inner == 1) {
    for (Index c = begin; c < end; c += kLanes) {
      const Index lanes = least<Index>(kLanes, end - c);
      store_part(db + c, sum_columns(dy + c, channels, outer, lanes), lanes);
    }
    return;
  }
  for (Index c = begin; c < end; ++c) {
    float sum = 0;
    for (Index i = 0; i < outer; ++i) sum += sum_row(dy + (i * channels + c) * inner, inner);
    db[c] = sum;
  }
}

}  // namespace tapwise::ISA
