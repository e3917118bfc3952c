// activation.cu — element by element: activations and their gradients, sums, dropout. Memory-bound.
#include "activation.h"
#include "elements.h"
#include "nn.h"

namespace tapwise::cuda {
namespace {

__global__ __launch_bounds__(kThreads) void activate_all(Activation kind, float alpha, Index size, const float* x,
                                                         float* y) {
  for (Index i = first_element(); i < size; i += all_threads()) y[i] = activate(kind, alpha, x[i]);
}

__global__ __launch_bounds__(kThreads) void activate_grad_all(Activation kind, float alpha, Index size, const float* dy,
                                                              const float* y, const float* x, float* dx) {
  for (Index i = first_element(); i < size; i += all_threads())
    dx[i] = activate_grad(kind, alpha, dy[i], y[i], x ? x[i] : 0.0f);
}

__global__ __launch_bounds__(kThreads) void add_all(Activation kind, float alpha, Index size, const float* a,
                                                    const float* b, float* y) {
  for (Index i = first_element(); i < size; i += all_threads()) y[i] = activate(kind, alpha, a[i] + b[i]);
}

// MurmurHash3's finalizer.
__device__ __forceinline__ std::uint32_t mix(std::uint32_t h) {
  h = (h ^ (h >> 16)) * 0x85EBCA6Bu;
  h = (h ^ (h >> 13)) * 0xC2B2AE35u;
  return h ^ (h >> 16);
}

// Element i stays if its hash is at least the limit, whatever thread takes it.
__global__ __launch_bounds__(kThreads) void drop_all(Index size, std::uint32_t limit, float scale, std::uint32_t low,
                                                     std::uint32_t high, const float* x, float* y) {
  for (Index i = first_element(); i < size; i += all_threads()) {
    const std::uint32_t h = mix(mix(static_cast<std::uint32_t>(i) ^ low) + high);
    y[i] = h >= limit ? x[i] * scale : 0.0f;
  }
}

}  // namespace

void activation(Activation kind, float alpha, Index size, const float* x, float* y, Stream stream) {
  launch(activate_all, element_blocks(size), kThreads, stream, kind, alpha, size, x, y);
}

void activation_grad(Activation kind, float alpha, Index size, const float* dy, const float* y, const float* x,
                     float* dx, Stream stream) {
  launch(activate_grad_all, element_blocks(size), kThreads, stream, kind, alpha, size, dy, y, x, dx);
}

void add(Activation kind, float alpha, Index size, const float* a, const float* b, float* y, Stream stream) {
  launch(add_all, element_blocks(size), kThreads, stream, kind, alpha, size, a, b, y);
}

void dropout(Index size, const float* x, float* y, double rate, std::uint64_t seed, Stream stream) {
  const auto limit = static_cast<std::uint32_t>(rate * 4294967296.0);
  launch(drop_all, element_blocks(size), kThreads, stream, size, limit, static_cast<float>(1 / (1 - rate)),
         static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32), x, y);
}

}  // namespace tapwise::cuda
