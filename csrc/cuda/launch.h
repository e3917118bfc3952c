// launch.h — how host code starts kernels and gets device memory: every launch and every allocation goes through here.
#pragma once

#include <limits>
#include <stdexcept>
#include <string>

#include "portable.h"
#include "stream.h"

namespace tapwise::cuda {

inline void check(cudaError_t code, const char* what) {
  if (code != cudaSuccess) throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(code));
}

inline Index ceil_div(Index a, Index b) {
  return (a + b - 1) / b;
}

// kernel(arguments...) on `blocks` blocks of `threads`; none at all is no launch.
template <class... P, class... A>
void launch(void (*kernel)(P...), Index blocks, int threads, Stream stream, const A&... arguments) {
  if (blocks == 0) return;
  if (blocks > std::numeric_limits<int>::max()) throw std::runtime_error("a grid must have fewer than 2^31 blocks");
#ifdef __CUDACC__
  const auto start = [&](P... values) {
    void* pointers[] = {const_cast<void*>(static_cast<const void*>(&values))...};
    check(cudaLaunchKernel(reinterpret_cast<const void*>(kernel), dim3(static_cast<unsigned>(blocks)),
                           dim3(static_cast<unsigned>(threads)), pointers, 0, stream),
          "launch");
  };
  start(arguments...);
  check(cudaGetLastError(), "launch");
#else
  (void)stream;
  emulate::run(blocks, threads, [&] { kernel(arguments...); });
#endif
}

// Device memory for one operation, in the order of its stream.
class Scratch {
 public:
  Scratch(Index floats, Stream stream) : stream_(stream) {
    if (floats)
      check(cudaMallocAsync(&data_, static_cast<std::size_t>(floats) * sizeof(float), stream), "cudaMallocAsync");
  }
  ~Scratch() {
    if (data_) static_cast<void>(cudaFreeAsync(data_, stream_));
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  float* floats() const { return static_cast<float*>(data_); }

 private:
  void* data_ = nullptr;
  Stream stream_;
};

}  // namespace tapwise::cuda
