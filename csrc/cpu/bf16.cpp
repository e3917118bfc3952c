// bf16.cpp — convolution of bfloat16: products of 8-bit significands, summed in float32.
//
//   sum = fma(x[2j], w[2j], fma(x[2j + 1], w[2j + 1], sum))     over the taps in order and their pairs j in order
//   y   = activation(sum + b), rounded to bfloat16 (half to even) or kept in float32
//
// That is vdpbf16ps: the odd channel first, one rounding a product, subnormal operands and results flushed to zero. The
// levels without it do the same with two multiply-adds, the baseline in float64, where rounding twice is harmless: 53
// bits are more than 2 * 24 + 2. So every level has the same bits.
//
// Intel, "BFLOAT16 - Hardware Numerics Definition", 2018.
#include "half.h"
#include "words.h"

namespace tapwise::ISA {
namespace {

#if defined(__AVX512BF16__)
struct Pairs {
  using Operand = __m512bh;
  static constexpr int kPixels = kTilePixels;

  static TAPWISE_INLINE Operand weights(UintVec w) { return reinterpret_cast<__m512bh>(w); }
  static TAPWISE_INLINE Operand broadcast(std::uint32_t x) {
    return reinterpret_cast<__m512bh>(_mm512_set1_epi32(static_cast<int>(x)));
  }
  static TAPWISE_INLINE Vec dot(Vec sum, Operand x, Operand w) { return _mm512_dpbf16_ps(sum, x, w); }
};
#else
struct Pairs {
  struct Operand {
    Vec even, odd;
  };
  static constexpr int kPixels = kLanes == 16 ? 12 : 4;  // the parts of both operands take six registers

  static TAPWISE_INLINE Operand weights(UintVec w) {
    return {reinterpret_cast<Vec>(w << 16), reinterpret_cast<Vec>(w & 0xFFFF0000u)};
  }
  static TAPWISE_INLINE Operand broadcast(std::uint32_t x) { return weights(x - UintVec{}); }
  static TAPWISE_INLINE Vec multiply_add(Vec a, Vec b, Vec c) {
#if defined(__FMA__) || defined(__aarch64__)
    return fma(a, b, c);
#else
    typedef double Wide __attribute__((vector_size(kLanes * sizeof(double))));
    const Wide sum =
        __builtin_convertvector(a, Wide) * __builtin_convertvector(b, Wide) + __builtin_convertvector(c, Wide);
    return __builtin_convertvector(sum, Vec);
#endif
  }
  static TAPWISE_INLINE Vec dot(Vec sum, Operand x, Operand w) {
    return multiply_add(x.even, w.even, multiply_add(x.odd, w.odd, sum));
  }
};
#endif

template <class Out>
struct Bf16 : Pairs {
  using Element = std::uint16_t;
  using Output = Out;
  using Sum = Vec;
  static constexpr bool kSkipsRows = true;

  struct Store {
    Out* y;
    Index y_pixel, channels;
    const float* b;
    Activation activation;
    float alpha;

    TAPWISE_INLINE Vec constants(int v) const { return load(b + v * kLanes); }
    TAPWISE_INLINE void put(Vec sum, Vec bias, Index at, Index count) const {
      Vec x = sum + bias;
      if (activation == Activation::relu) x = relu(x);
      if (activation == Activation::leaky_relu) x = x < 0.0f ? alpha * x : x;
      if constexpr (sizeof(Out) == 4)
        store_part(y + at, x, count);
      else
        store_bf16(y + at, to_bf16(x), count);
    }
  };

  const std::uint16_t* x;
  const Bf16Weights& w;
  const Bf16Output& to;

  TAPWISE_INLINE Out* y() const { return static_cast<Out*>(to.y); }
  TAPWISE_INLINE Store store(Out* at, Index y_pixel, Index channels, Index first) const {
    return {at, y_pixel, channels, w.b + first, to.activation, to.alpha};
  }
  TAPWISE_INLINE void copy(const std::uint16_t* from, Index count, unsigned char* to_words) const {
    __builtin_memcpy(to_words, from, static_cast<std::size_t>(count) * sizeof(std::uint16_t));
  }
  TAPWISE_INLINE void pad(unsigned char* words, Index bytes) const {
    __builtin_memset(words, 0, static_cast<std::size_t>(bytes));
  }
};

template <class Out>
void convolve(const Conv& s, const LowSplit& split, const std::uint16_t* x, const Bf16Weights& w, const Bf16Output& to,
              std::uint32_t* scratch, Index begin, Index end) {
  const bool padded = s.pl > 0 || (s.ow - 1) * s.sw - s.pl + (s.kw - 1) * s.dil_w >= s.iw;
  const Bf16<Out> kind = {{}, x, w, to};
  convolve_words(kind, s, split, w.packed, padded && !w.finite, scratch, begin, end);
}

}  // namespace

void conv_bf16_forward(const Conv& s, const LowSplit& split, const std::uint16_t* x, const Bf16Weights& w,
                       const Bf16Output& to, std::uint32_t* scratch, Index begin, Index end) {
  if (to.is_float)
    convolve<float>(s, split, x, w, to, scratch, begin, end);
  else
    convolve<std::uint16_t>(s, split, x, w, to, scratch, begin, end);
}

double bf16_peak(Index steps, float* sink) {
  constexpr int kChains = kLanes == 16 ? 24 : 8;
  Vec sum[kChains];
  TAPWISE_UNROLL for (int i = 0; i < kChains; ++i) sum[i] = splat(static_cast<float>(i));
  const auto x = Pairs::broadcast(0x3F803F80u), w = Pairs::broadcast(0x3C003C00u);
  for (Index step = 0; step < steps; ++step) {
    TAPWISE_UNROLL for (int i = 0; i < kChains; ++i) sum[i] = Pairs::dot(sum[i], x, w);
  }
  for (int i = 1; i < kChains; ++i) sum[0] += sum[i];
  store(sink, sum[0]);
  return 4.0 * kLanes * kChains * static_cast<double>(steps);
}

}  // namespace tapwise::ISA
