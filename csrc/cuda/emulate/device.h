// device.h — CUDA's names for a host compiler: what kernels and launches use of it, on fibers.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "fiber.h"
#include "run.h"
#include "runtime.h"
#include "wmma.h"

#define __global__ static
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)

// NOLINTBEGIN: names and types are CUDA's
struct dim_x {
  unsigned x;
};
#define threadIdx (dim_x{::tapwise::emulate::place().thread})
#define blockIdx (dim_x{::tapwise::emulate::place().block})
#define blockDim (dim_x{::tapwise::emulate::place().threads})
#define gridDim (dim_x{::tapwise::emulate::place().blocks})

struct alignas(16) float4 {
  float x, y, z, w;
};
inline float4 make_float4(float x, float y, float z, float w) {
  return {x, y, z, w};
}

// A static of each declaration is its name; an instance of a template has its own.
#define CU_SHARED(T, name, ...)             \
  using name##_type = T __VA_ARGS__;        \
  static const char name##_declaration = 0; \
  name##_type& name =                       \
      *static_cast<name##_type*>(::tapwise::emulate::shared_memory(&name##_declaration, sizeof(name##_type)))

inline void __syncthreads(const ::tapwise::emulate::Where& where = ::tapwise::emulate::Where::current()) {
  ::tapwise::emulate::barrier(::tapwise::emulate::Wait::block, true, where);
}
inline void __syncwarp(unsigned = 0xFFFFFFFF,
                       const ::tapwise::emulate::Where& where = ::tapwise::emulate::Where::current()) {
  ::tapwise::emulate::barrier(::tapwise::emulate::Wait::warp, true, where);
}

// All 32 lanes take part; memory is not ordered, as on a device.
template <class T>
T __shfl_xor_sync(unsigned, T value, int mask,
                  const ::tapwise::emulate::Where& where = ::tapwise::emulate::Where::current()) {
  void* const own = ::tapwise::emulate::exchange(sizeof(T));
  {
    const ::tapwise::emulate::Hidden hidden;
    std::memcpy(own, &value, sizeof(T));
  }
  ::tapwise::emulate::barrier(::tapwise::emulate::Wait::warp, false, where);
  const ::tapwise::emulate::Hidden hidden;
  const int lane = static_cast<int>(threadIdx.x % 32) ^ mask;
  std::memcpy(&value, ::tapwise::emulate::slot_of(own, lane), sizeof(T));
  return value;
}

inline float atomicAdd(float* at, float value) {
  std::uint32_t* const bits = reinterpret_cast<std::uint32_t*>(at);
  std::uint32_t old = __atomic_load_n(bits, __ATOMIC_RELAXED), next;
  float sum;
  do {
    std::memcpy(&sum, &old, sizeof sum);
    const float total = sum + value;
    std::memcpy(&next, &total, sizeof next);
  } while (!__atomic_compare_exchange_n(bits, &old, next, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
  return sum;
}
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  __extension__ using Wide = unsigned __int128;
  return static_cast<unsigned long long>((Wide{a} * b) >> 64);
}
inline int atomicOr(int* at, int value) {
  return __atomic_fetch_or(at, value, __ATOMIC_RELAXED);
}

inline void __pipeline_memcpy_async(void* to, const void* from, std::size_t bytes, std::size_t zeros = 0) {
  ::tapwise::emulate::copy_later(to, from, bytes, zeros);
}
inline void __pipeline_commit() {
  ::tapwise::emulate::commit_copies();
}
inline void __pipeline_wait_prior(std::size_t groups) {
  ::tapwise::emulate::finish_copies(groups);
}
// NOLINTEND
