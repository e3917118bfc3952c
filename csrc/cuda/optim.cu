// optim.cu — steps of the optimizers, one launch a parameter, and sums of squares. Memory-bound.
//
// Update's formulas stand in backend/interface.py.
#include "elements.h"
#include "nn.h"

namespace tapwise::cuda {
namespace {

constexpr Index kStretches = 256;  // of a sum of squares: as many doubles come back

// What is taken from w.
__device__ __forceinline__ float step_of(const Update& u, const Slot& s, Index i, float g) {
  if (u.rule == Rule::sgd) {
    const float down = g * u.rate;
    if (!s.m) return down;
    const float m = s.m[i] * u.momentum - down;
    s.m[i] = m;
    return u.nesterov ? down - m * u.momentum : -m;
  }
  const float v = s.v[i] + (g * g - s.v[i]) * u.rate_2;
  s.v[i] = v;
  if (u.rule == Rule::adam) {
    const float m = s.m[i] + (g - s.m[i]) * u.rate_1;
    s.m[i] = m;
    return u.rate * m / (sqrtf(v) + u.epsilon);
  }
  const float down = u.rate * g / sqrtf(v + u.epsilon);
  if (!s.m) return down;
  const float m = s.m[i] * u.momentum + down;
  s.m[i] = m;
  return m;
}

__global__ __launch_bounds__(kThreads) void update_all(const Update u, const Slot s) {
  for (Index i = first_element(); i < s.size; i += all_threads()) {
    float g = s.dw[i] * s.scale;
    g = g < -u.clip ? -u.clip : g > u.clip ? u.clip : g;  // NaN stays
    float w = s.w[i] * u.keep;
    w -= step_of(u, s, i, g);
    s.w[i] = w;
    if (s.average) s.average[i] += (w - s.average[i]) * u.average_rate;
  }
}

__global__ __launch_bounds__(kThreads) void square_sums(const Index size, const float* __restrict__ x,
                                                        double* __restrict__ sums) {
  CU_SHARED(double, parts, [kThreads]);
  const int t = static_cast<int>(threadIdx.x);
  double sum = 0;
  for (Index i = first_element(); i < size; i += all_threads()) sum += static_cast<double>(x[i]) * x[i];
  parts[t] = sum;
  for (int half = kThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (t < half) parts[t] += parts[t + half];
  }
  if (t == 0) sums[blockIdx.x] = parts[0];
}

__global__ __launch_bounds__(kThreads) void average_all(const Index size, double momentum,
                                                        const float* __restrict__ value, float* average) {
  for (Index i = first_element(); i < size; i += all_threads())
    average[i] = static_cast<float>(momentum * average[i] + (1 - momentum) * value[i]);
}

}  // namespace

void optimizer_update(const Update& u, const Slot& s, Stream stream) {
  launch(update_all, element_blocks(s.size), kThreads, stream, u, s);
}

double square_sum(Index size, const float* x, Stream stream) {
  const Index most = element_blocks(size), blocks = most < kStretches ? most : kStretches;
  const Scratch sums(2 * kStretches, stream);
  double* const on_device = reinterpret_cast<double*>(sums.floats());
  double parts[kStretches];
  launch(square_sums, blocks, kThreads, stream, size, x, on_device);
  check(cudaMemcpyAsync(parts, on_device, static_cast<std::size_t>(blocks) * sizeof(double), cudaMemcpyDeviceToHost,
                        stream),
        "cudaMemcpyAsync");
  check(cudaStreamSynchronize(stream), "cudaStreamSynchronize");
  double sum = 0;
  for (Index i = 0; i < blocks; ++i) sum += parts[i];
  return sum;
}

void moving_average(Index size, double momentum, const float* value, float* average, Stream stream) {
  launch(average_all, element_blocks(size), kThreads, stream, size, momentum, value, average);
}

}  // namespace tapwise::cuda
