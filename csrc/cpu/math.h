// math.h — exp, expm1, log, tanh and the normal distribution on vectors, each from one reduction and one polynomial.
//
//   exp, expm1   x = n ln 2 + r, |r| <= (ln 2) / 2;  e^r - 1 = r + r^2 q(r);  e^x = 2^n e^r
//   log          x = 2^n m, m in [sqrt(1/2), sqrt(2)), f = m - 1, s = f / (2 + f);  log m = 2 atanh(s)
//   tanh         e / (2 + e) with e = expm1(-2|x|): no cancellation near 0
//   normal       P(-t) = exp(-t^2 / 2) u poly((t - 2.75) u), u = 1 / (t + 2.75): relative accuracy to the far tail;
//                P(x) = 1/2 + x poly(x^2) for |x| < 1
//
// Largest error on every ISA, in units in the last place of results that are not subnormal: exp 1.05, expm1 1.75,
// log 0.85, tanh 2.5, distribution 4.5, density 2.3; tests/test_nn.py measures them through the activations. NaN
// passes, infinities have their limits, a result below 2^-126 may be 0. The coefficients are minimax in relative error,
// fitted in float64 by linear programming and rounded.
//
// Muller, "Elementary Functions", 3rd ed., 2016; Cody, "Rational Chebyshev approximations for the error function",
// 1969.
#pragma once

#include "vec.h"

namespace tapwise::ISA {
namespace {

// c[0] + c[1] x + ..., Horner's rule.
template <int N>
TAPWISE_INLINE Vec polynomial(Vec x, const float (&c)[N]) {
  Vec sum = splat(c[N - 1]);
  TAPWISE_UNROLL for (int i = N - 2; i >= 0; --i) sum = fma(sum, x, splat(c[i]));
  return sum;
}

TAPWISE_INLINE Vec magnitude(Vec x) {
  return __builtin_bit_cast(Vec, __builtin_bit_cast(IntVec, x) & 0x7fffffff);
}
TAPWISE_INLINE Vec with_sign_of(Vec x, Vec sign) {
  return __builtin_bit_cast(Vec, __builtin_bit_cast(IntVec, x) | (__builtin_bit_cast(IntVec, sign) & ~0x7fffffff));
}

// 2^n for n in [-127, 127], where 2^-127 is 0.
TAPWISE_INLINE Vec power_of_two(IntVec n) {
  return __builtin_bit_cast(Vec, (n + 127) << 23);
}

// e^(x + low) = 2^n (1 + p) for |x| <= 105; low, at most 0.1, carries the bits that x has no room for.
struct ExpParts {
  Vec p;
  IntVec n;
};

TAPWISE_INLINE ExpParts exp_parts(Vec x, Vec low) {
  constexpr float kLog2e = 1.44269504f, kLn2High = 0.693145752f, kLn2Low = 1.42860677e-6f;  // n * kLn2High is exact
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it leaves a whole number in the low bits
  constexpr float kQ[] = {0.5f, 0.166665375f, 0.0416662656f, 0.0083672395f, 0.00139475847f};
  const Vec shifted = fma(x + low, splat(kLog2e), splat(kRound));
  const Vec n = shifted - kRound;
  const Vec r = x - n * kLn2High - n * kLn2Low + low;
  const UintVec bits = __builtin_bit_cast(UintVec, shifted) - __builtin_bit_cast(UintVec, splat(kRound));
  return {fma(r * r, polynomial(r, kQ), r), __builtin_bit_cast(IntVec, bits)};
}

// e^(x + low)
TAPWISE_INLINE Vec exp(Vec x, Vec low = -Vec{}) {
  x = x < -104.0f ? splat(-104.0f) : x;  // e^x rounds to 0 below, to infinity above
  x = x > 89.0f ? splat(89.0f) : x;
  const ExpParts e = exp_parts(x, low);
  const IntVec half = e.n >> 1;
  return (1.0f + e.p) * power_of_two(half) * power_of_two(e.n - half);
}

// e^x - 1 for x <= 88
TAPWISE_INLINE Vec expm1(Vec x) {
  x = x < -88.0f ? splat(-88.0f) : x;
  const ExpParts e = exp_parts(x, -Vec{});  // adding -0 is no operation
  const Vec scale = power_of_two(e.n);
  return fma(scale, e.p, scale - 1.0f);
}

// For x >= 2^-126.
TAPWISE_INLINE Vec log(Vec x) {
  constexpr float kLn2High = 0.693145752f, kLn2Low = 1.42860677e-6f;
  constexpr float kL[] = {0.666667759f, 0.399775416f, 0.29871729f};  // 2 atanh(s) = 2 s + s^3 L(s^2)
  const IntVec bits = __builtin_bit_cast(IntVec, x) - 0x3f3504f3;    // sqrt(1/2)
  const IntVec exponent = bits >> 23;
  const Vec f = __builtin_bit_cast(Vec, (bits & 0x7fffff) + 0x3f3504f3) - 1.0f;
  const Vec n = __builtin_convertvector(exponent, Vec);
  const Vec s = f / (2.0f + f), z = s * s, half = 0.5f * f * f;
  const Vec tail = s * fma(z, polynomial(z, kL), half);  // log(1 + f) = f - f^2 / 2 + s (f^2 / 2 + s^2 L)
  const Vec y = n * kLn2High + (f - (half - (tail + n * kLn2Low)));
  return x < __builtin_inff() ? y : x;
}

TAPWISE_INLINE Vec tanh(Vec x) {
  const Vec e = expm1(-2.0f * magnitude(x));
  return with_sign_of(magnitude(e / (2.0f + e)), x);
}

// Of the standard normal distribution at x.
struct Normal {
  Vec distribution;
  Vec density;
};

TAPWISE_INLINE Normal normal(Vec x) {
  constexpr float kCentre[] = {0.398942292f,    -0.0664903149f,  0.00997307803f,
                               -0.00118578493f, 0.000112952177f, -7.46289516e-06f};
  constexpr float kTail[] = {0.718986034f,   -0.474354118f,  0.182334289f,    -0.0165666956f, -0.0164437946f,
                             0.00321758096f, 0.00249227579f, -0.00032626203f, -0.00041746808f};
  Vec t = magnitude(x);
  t = t > 15.0f ? splat(15.0f) : t;  // P(-15) < 2^-149
  // t^2 needs 48 bits: top, of 12 bits, has an exact square.
  const Vec top = __builtin_bit_cast(Vec, __builtin_bit_cast(IntVec, t) & ~0xfff);
  const Vec e = exp(-0.5f * top * top, -0.5f * (t - top) * (t + top));
  const Vec u = 1.0f / (t + 2.75f), beyond = e * (u * polynomial((t - 2.75f) * u, kTail));
  const Vec centre = fma(x, polynomial(x * x, kCentre), splat(0.5f)), tail = x < 0.0f ? beyond : 1.0f - beyond;
  return {t < 1.0f ? centre : tail, 0.398942280f * e};
}

}  // namespace
}  // namespace tapwise::ISA
