// loss.cu — softmax and cross entropy: a warp takes a row of classes, its lanes every 32nd class.
#include <cmath>

#include "elements.h"
#include "nn.h"

namespace tapwise::cuda {
namespace {

constexpr int kLanes = 32, kRows = kThreads / kLanes;

__device__ __forceinline__ float warp_sum(float value) {
#pragma unroll
  for (int apart = kLanes / 2; apart > 0; apart /= 2) value += __shfl_xor_sync(0xFFFFFFFF, value, apart);
  return value;
}

__device__ __forceinline__ float warp_max(float value) {
#pragma unroll
  for (int apart = kLanes / 2; apart > 0; apart /= 2) value = fmaxf(value, __shfl_xor_sync(0xFFFFFFFF, value, apart));
  return value;
}

__device__ __forceinline__ Index row_of_warp() {
  return Index{blockIdx.x} * kRows + threadIdx.x / kLanes;
}
__device__ __forceinline__ Index lane() {
  return threadIdx.x % kLanes;
}

struct Softmax {
  float largest, sum;
};

__device__ __forceinline__ Softmax softmax_of(const float* x, Index classes) {
  float largest = -INFINITY, sum = 0;
  for (Index c = lane(); c < classes; c += kLanes) largest = fmaxf(largest, x[c]);
  largest = warp_max(largest);
  for (Index c = lane(); c < classes; c += kLanes) sum += expf(x[c] - largest);
  return {largest, warp_sum(sum)};
}

__global__ __launch_bounds__(kThreads) void softmax_rows(Index rows, Index classes, const float* __restrict__ x,
                                                         float* __restrict__ y) {
  const Index row = row_of_warp();
  if (row >= rows) return;
  const float* const from = x + row * classes;
  const Softmax s = softmax_of(from, classes);
  for (Index c = lane(); c < classes; c += kLanes) y[row * classes + c] = expf(from[c] - s.largest) / s.sum;
}

__global__ __launch_bounds__(kThreads) void softmax_grad_rows(Index rows, Index classes, const float* __restrict__ dy,
                                                              const float* __restrict__ y, float* __restrict__ dx) {
  const Index row = row_of_warp();
  if (row >= rows) return;
  const float *const gradient = dy + row * classes, *const value = y + row * classes;
  float sum = 0;
  for (Index c = lane(); c < classes; c += kLanes) sum += gradient[c] * value[c];
  sum = warp_sum(sum);
  for (Index c = lane(); c < classes; c += kLanes) dx[row * classes + c] = value[c] * (gradient[c] - sum);
}

__device__ __forceinline__ float target_of(const std::int32_t* labels, const float* targets, Index row, Index classes,
                                           Index c) {
  return labels ? (labels[row] == c ? 1.0f : 0.0f) : targets[row * classes + c];
}

// A class of target 0 adds nothing, even where its probability is 0.
__global__ __launch_bounds__(kThreads) void cross_entropy_rows(Index rows, Index classes,
                                                               const float* __restrict__ logits,
                                                               const std::int32_t* __restrict__ labels,
                                                               const float* __restrict__ targets,
                                                               float* __restrict__ loss) {
  const Index row = row_of_warp();
  if (row >= rows) return;
  const float* const from = logits + row * classes;
  const Softmax s = softmax_of(from, classes);
  const float log_sum = logf(s.sum);
  float sum = labels && (labels[row] < 0 || labels[row] >= classes) ? NAN : 0.0f;
  for (Index c = lane(); c < classes; c += kLanes) {
    const float target = target_of(labels, targets, row, classes, c);
    if (target != 0) sum -= target * (from[c] - s.largest - log_sum);
  }
  sum = warp_sum(sum);
  if (lane() == 0) loss[row] = sum;
}

__global__ __launch_bounds__(kThreads) void cross_entropy_grad_rows(
    Index rows, Index classes, const float* __restrict__ logits, const std::int32_t* __restrict__ labels,
    const float* __restrict__ targets, const float* __restrict__ scale, float* __restrict__ dlogits) {
  const Index row = row_of_warp();
  if (row >= rows) return;
  const float* const from = logits + row * classes;
  const Softmax s = softmax_of(from, classes);
  float total = 0;
  for (Index c = lane(); c < classes; c += kLanes) total += target_of(labels, targets, row, classes, c);
  total = warp_sum(total);
  if (labels) total = labels[row] < 0 || labels[row] >= classes ? NAN : 1.0f;
  for (Index c = lane(); c < classes; c += kLanes)
    dlogits[row * classes + c] =
        scale[row] * (expf(from[c] - s.largest) / s.sum * total - target_of(labels, targets, row, classes, c));
}

}  // namespace

void softmax(Index rows, Index classes, const float* x, float* y, Stream stream) {
  launch(softmax_rows, ceil_div(rows, kRows), kThreads, stream, rows, classes, x, y);
}

void softmax_grad(Index rows, Index classes, const float* dy, const float* y, float* dx, Stream stream) {
  launch(softmax_grad_rows, ceil_div(rows, kRows), kThreads, stream, rows, classes, dy, y, dx);
}

void softmax_cross_entropy(Index rows, Index classes, const float* logits, const std::int32_t* labels,
                           const float* targets, float* loss, Stream stream) {
  launch(cross_entropy_rows, ceil_div(rows, kRows), kThreads, stream, rows, classes, logits, labels, targets, loss);
}

void softmax_cross_entropy_grad(Index rows, Index classes, const float* logits, const std::int32_t* labels,
                                const float* targets, const float* scale, float* dlogits, Stream stream) {
  launch(cross_entropy_grad_rows, ceil_div(rows, kRows), kThreads, stream, rows, classes, logits, labels, targets,
         scale, dlogits);
}

}  // namespace tapwise::cuda
