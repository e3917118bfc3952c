// wmma.h — bfloat16 and CUDA's matrices of a warp on the host: each lane holds its share of a matrix, in places that no
// kernel may count on. Sums are of float32, rounded at each product; TF32 that isn't rounded becomes NaN.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "fiber.h"
#include "run.h"

// NOLINTBEGIN: names and types are CUDA's
struct __nv_bfloat16 {
  std::uint16_t bits;
};
inline float __bfloat162float(__nv_bfloat16 value) {
  const std::uint32_t bits = std::uint32_t{value.bits} << 16;
  float wide;
  std::memcpy(&wide, &bits, sizeof wide);
  return wide;
}
// To the nearest, half to even.
inline __nv_bfloat16 __float2bfloat16(float value) {
  if (std::isnan(value)) return {0x7FFF};
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return {static_cast<std::uint16_t>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16)};
}

namespace nvcuda::wmma {

struct matrix_a {};
struct matrix_b {};
struct accumulator {};
struct row_major {};
struct col_major {};
enum layout_t { mem_row_major, mem_col_major };

namespace precision {
struct tf32 {};
}  // namespace precision

// To the nearest of 11 bits, half away from zero.
inline float __float_to_tf32(float value) {
  if (!std::isfinite(value)) return value;
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  bits = (bits + 0x1000) & 0xFFFFE000;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

namespace emulated {

template <class T>
struct Stored {
  using type = T;
  static float wide(float value) { return value; }
};
template <>
struct Stored<__nv_bfloat16> {
  using type = __nv_bfloat16;
  static float wide(__nv_bfloat16 value) { return __bfloat162float(value); }
};
template <>
struct Stored<precision::tf32> {
  using type = float;
  static float wide(float value) { return !(__float_to_tf32(value) == value) ? NAN : value; }
};

inline unsigned lane() {
  return ::tapwise::emulate::place().thread % 32;
}

// The number of a lane's element i in its matrix, by rows, and the lane that holds an element as its number / 32-th.
inline unsigned number_of(unsigned lane, unsigned i) {
  return i * 32 + (lane * 11 + i) % 32;
}
inline unsigned lane_of(unsigned number) {
  return (number % 32 + 32 - number / 32) * 3 % 32;
}

template <class Use, int m, int n, int k>
constexpr int kRows = std::is_same_v<Use, matrix_b> ? k : m;
template <class Use, int m, int n, int k>
constexpr int kColumns = std::is_same_v<Use, matrix_a> ? k : n;

}  // namespace emulated

template <class Use, int m, int n, int k, class T, class Layout = void>
struct fragment {
  using type = typename emulated::Stored<T>::type;
  static constexpr bool by_columns = std::is_same_v<Layout, col_major>;
  static constexpr unsigned columns = emulated::kColumns<Use, m, n, k>;
  static constexpr int num_elements = emulated::kRows<Use, m, n, k> * emulated::kColumns<Use, m, n, k> / 32;
  type x[num_elements];
};

template <class F>
void fill_fragment(F& f, float value) {
  for (float& x : f.x) x = value;
}

namespace emulated {

template <class T>
void check_address(const T* p, unsigned apart) {
  if (reinterpret_cast<std::uintptr_t>(p) % 32 != 0 || apart * sizeof(T) % 16 != 0)
    ::tapwise::emulate::fail("a matrix of a warp is misaligned");
}

}  // namespace emulated

template <class F>
void load_matrix_sync(F& f, const typename F::type* p, unsigned apart) {
  emulated::check_address(p, apart);
  for (unsigned i = 0; i < F::num_elements; ++i) {
    const unsigned number = emulated::number_of(emulated::lane(), i);
    const unsigned row = number / F::columns, column = number % F::columns;
    f.x[i] = p[F::by_columns ? column * apart + row : row * apart + column];
  }
}

template <class F>
void store_matrix_sync(float* p, const F& f, unsigned apart, layout_t layout) {
  emulated::check_address(p, apart);
  for (unsigned i = 0; i < F::num_elements; ++i) {
    const unsigned number = emulated::number_of(emulated::lane(), i);
    const unsigned row = number / F::columns, column = number % F::columns;
    p[layout == mem_row_major ? row * apart + column : column * apart + row] = f.x[i];
  }
}

template <int m, int n, int k, class T, class Layout>
void mma_sync(fragment<accumulator, m, n, k, float>& d, const fragment<matrix_a, m, n, k, T, Layout>& a,
              const fragment<matrix_b, m, n, k, T, row_major>& b, const fragment<accumulator, m, n, k, float>& c,
              const ::tapwise::emulate::Where& where = ::tapwise::emulate::Where::current()) {
  using Stored = emulated::Stored<T>;
  auto* const own = static_cast<unsigned char*>(::tapwise::emulate::exchange(sizeof a.x + sizeof b.x));
  {
    const ::tapwise::emulate::Hidden hidden;
    std::memcpy(own, a.x, sizeof a.x);
    std::memcpy(own + sizeof a.x, b.x, sizeof b.x);
  }
  ::tapwise::emulate::barrier(::tapwise::emulate::Wait::warp, false, where);
  const ::tapwise::emulate::Hidden hidden;
  const auto element = [own](unsigned number, std::size_t offset) {
    const void* const slot = ::tapwise::emulate::slot_of(own, static_cast<int>(emulated::lane_of(number)));
    typename Stored::type value;
    std::memcpy(&value, static_cast<const unsigned char*>(slot) + offset + number / 32 * sizeof value, sizeof value);
    return Stored::wide(value);
  };
  for (unsigned i = 0; i < d.num_elements; ++i) {
    const unsigned number = emulated::number_of(emulated::lane(), i), row = number / n, column = number % n;
    float sum = c.x[i];
    for (unsigned q = 0; q < k; ++q) sum += element(row * k + q, 0) * element(q * n + column, sizeof a.x);
    d.x[i] = sum;
  }
}

}  // namespace nvcuda::wmma
// NOLINTEND
