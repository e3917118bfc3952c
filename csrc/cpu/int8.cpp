// int8.cpp — convolution of bytes: exact sums in int32, scaled and rounded to bytes in float32.
//
//   sum = sum over taps, channels of u * w      u: x as unsigned bytes (int8 + 128), w: int8, four channels a step
//   y   = clamp(round(float(sum + offset) * scale) + zero_point)      half to even
//
// offset takes x's zero point out again: its product with the sum of the channel's weights. Padding is the zero point.
// vpdpbusd where the CPU has it; elsewhere products of 16-bit halves, never the 8-bit multiply-add that saturates.
// Sums are exact as long as they fit int32: 66,000 products of the largest bytes.
#include "words.h"

namespace tapwise::ISA {
namespace {

typedef std::uint8_t ByteVec __attribute__((vector_size(kLanes)));
typedef std::uint8_t UnalignedByteVec __attribute__((vector_size(kLanes), aligned(1), may_alias));

#if defined(__AVX512VNNI__)
struct Quads {
  using Operand = __m512i;
  static constexpr int kPixels = kTilePixels;

  static TAPWISE_INLINE Operand weights(UintVec w) { return reinterpret_cast<__m512i>(w); }
  static TAPWISE_INLINE Operand broadcast(std::uint32_t x) { return _mm512_set1_epi32(static_cast<int>(x)); }
  static TAPWISE_INLINE Operand opaque(Operand x) { return x; }
  static TAPWISE_INLINE IntVec dot(IntVec sum, Operand x, Operand w) {
    return reinterpret_cast<IntVec>(_mm512_dpbusd_epi32(reinterpret_cast<__m512i>(sum), x, w));
  }
};
#else
struct Quads {
  typedef std::int16_t ShortVec __attribute__((vector_size(kLanes * 4)));
  struct Operand {
    ShortVec even, odd;
  };
  static constexpr int kPixels = kLanes == 16 ? 12 : 4;  // the parts of both operands take six registers

  static TAPWISE_INLINE Operand weights(UintVec w) {
    const ShortVec pairs = reinterpret_cast<ShortVec>(w);
    return {(pairs << 8) >> 8, pairs >> 8};
  }
  static TAPWISE_INLINE Operand broadcast(std::uint32_t x) {
    const UintVec words = x - UintVec{};
    return {reinterpret_cast<ShortVec>(words & 0x00FF00FFu), reinterpret_cast<ShortVec>((words >> 8) & 0x00FF00FFu)};
  }
  // For the peak: equal products would be computed once.
  static TAPWISE_INLINE Operand opaque(Operand x) {
#if defined(__AVX512F__)
    asm("" : "+v"(x.even), "+v"(x.odd));
#elif defined(__x86_64__)
    asm("" : "+x"(x.even), "+x"(x.odd));
#elif defined(__aarch64__)
    asm("" : "+w"(x.even), "+w"(x.odd));
#endif
    return x;
  }
  // a[2i] b[2i] + a[2i + 1] b[2i + 1]
  static TAPWISE_INLINE IntVec products(ShortVec a, ShortVec b) {
#if defined(__AVX512BW__)
    return reinterpret_cast<IntVec>(_mm512_madd_epi16(reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b)));
#elif defined(__AVX2__)
    return reinterpret_cast<IntVec>(_mm256_madd_epi16(reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(b)));
#else
    const IntVec x = reinterpret_cast<IntVec>(a), w = reinterpret_cast<IntVec>(b);
    return ((x << 16) >> 16) * ((w << 16) >> 16) + (x >> 16) * (w >> 16);
#endif
  }
  static TAPWISE_INLINE IntVec dot(IntVec sum, Operand x, Operand w) {
    return sum + products(x.even, w.even) + products(x.odd, w.odd);
  }
};
#endif

struct Int8 : Quads {
  using Element = std::uint8_t;
  using Output = std::uint8_t;
  using Sum = IntVec;
  static constexpr bool kSkipsRows = false;

  struct Constants {
    IntVec offset;
    Vec scale;
  };
  struct Store {
    std::uint8_t* y;
    Index y_pixel, channels;
    const std::int32_t* offset;
    const float* scale;
    std::int32_t zero_point;
    float lowest, highest;  // of a rounded product

    TAPWISE_INLINE Constants constants(int v) const {
      return {*reinterpret_cast<const UnalignedIntVec*>(offset + v * kLanes), load(scale + v * kLanes)};
    }
    TAPWISE_INLINE void put(IntVec sum, const Constants& c, Index at, Index count) const {
      constexpr float kRound = 3 << 22;  // adding it rounds to whole numbers, half to even
      Vec v = __builtin_convertvector(sum + c.offset, Vec) * c.scale;
      v = v < lowest ? splat(lowest) : v > highest ? splat(highest) : v;
      const IntVec rounded = __builtin_convertvector(v + kRound - kRound, IntVec) + zero_point;
      const ByteVec bytes = __builtin_convertvector(rounded, ByteVec);
      if (count == kLanes)
        *reinterpret_cast<UnalignedByteVec*>(y + at) = bytes;
      else
        for (Index i = 0; i < count; ++i) y[at + i] = bytes[i];
    }
  };

  const std::uint8_t* x;
  const Int8Weights& w;
  const Int8Output& to;

  TAPWISE_INLINE std::uint8_t* y() const { return to.y; }
  TAPWISE_INLINE Store store(std::uint8_t* at, Index y_pixel, Index channels, Index first) const {
    return {at,
            y_pixel,
            channels,
            w.offset + first,
            w.scale + first,
            to.zero_point,
            static_cast<float>(to.least - to.zero_point),
            static_cast<float>(to.most - to.zero_point)};
  }
  TAPWISE_INLINE void copy(const std::uint8_t* from, Index count, unsigned char* words) const {
    if (to.x_flip == 0) {
      __builtin_memcpy(words, from, static_cast<std::size_t>(count));
      return;
    }
    for (Index i = 0; i < count; ++i) words[i] = from[i] ^ 0x80;
  }
  TAPWISE_INLINE void pad(unsigned char* words, Index bytes) const {
    __builtin_memset(words, to.x_pad, static_cast<std::size_t>(bytes));
  }
};

}  // namespace

void conv_int8_forward(const Conv& s, const LowSplit& split, const std::uint8_t* x, const Int8Weights& w,
                       const Int8Output& to, std::uint32_t* scratch, Index begin, Index end) {
  const Int8 kind = {{}, x, w, to};
  convolve_words(kind, s, split, w.packed, false, scratch, begin, end);
}

double int8_peak(Index steps, float* sink) {
  constexpr int kChains = kLanes == 16 ? 24 : 8;
  IntVec sum[kChains];
  TAPWISE_UNROLL for (int i = 0; i < kChains; ++i) sum[i] = i - IntVec{};
  const auto x = Quads::broadcast(0x01010101u), w = Quads::weights(0xFF02FE01u - UintVec{});
  for (Index step = 0; step < steps; ++step) {
    TAPWISE_UNROLL for (int i = 0; i < kChains; ++i) sum[i] = Quads::dot(sum[i], Quads::opaque(x), w);
  }
  for (int i = 1; i < kChains; ++i) sum[0] += sum[i];
  store(sink, __builtin_convertvector(sum[0], Vec));
  return 8.0 * kLanes * kChains * static_cast<double>(steps);
}

}  // namespace tapwise::ISA
