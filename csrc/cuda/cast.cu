// cast.cu — float32 to bfloat16, to the nearest, half to even, and back; NaN stays NaN. Memory-bound.
#include "elements.h"
#include "nn.h"
#include "tensor.h"

namespace tapwise::cuda {
namespace {

template <class From, class To>
__global__ __launch_bounds__(kThreads) void cast_all(const Index size, const From* __restrict__ x, To* __restrict__ y) {
  for (Index i = first_element(); i < size; i += all_threads()) y[i] = narrowed<To>(widened(x[i]));
}

}  // namespace

void cast(Index size, const float* x, std::uint16_t* y, Stream stream) {
  launch(cast_all<float, Half>, element_blocks(size), kThreads, stream, size, x, reinterpret_cast<Half*>(y));
}

void cast(Index size, const std::uint16_t* x, float* y, Stream stream) {
  launch(cast_all<Half, float>, element_blocks(size), kThreads, stream, size, reinterpret_cast<const Half*>(x), y);
}

}  // namespace tapwise::cuda
