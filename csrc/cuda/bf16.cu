// bf16.cu — convolutions of bfloat16 on tensor cores, summed in float32; where a tile would be nearly empty, one thread
// an output.
#include "im2col_tensor.h"

namespace tapwise::cuda {
namespace {

const Half* halves(const std::uint16_t* bits) {
  return reinterpret_cast<const Half*>(bits);
}

// u, as packed_for lays it out.
WeightStrides strides_of(const Walk& s, const Matrix<Half>& u) {
  const Index tap = padded<Half>(s.ci) * u.row;
  return {tap * s.w.taps * s.h.taps, tap * s.w.taps, tap, u.row, 1, u.group};
}

template <class W, class To>
void convolve(const Conv& c, const Plan& p, const Half* x, const W* w, const Epilogue& e, To* y, Stream stream) {
  const Walk s = forward_walk(c);
  const Scratch memory(tensor_weight_floats<Half>(c), stream), flag(1, stream);
  int* const found = reinterpret_cast<int*>(flag.floats());
  check(cudaMemsetAsync(found, 0, sizeof(int), stream), "cudaMemsetAsync");
  const Matrix<Half> u = packed_for(c, s, false, w, reinterpret_cast<Half*>(memory.floats()), found, stream);
  const bool direct = p.algorithm == Algorithm::direct;
  if (!direct) {
    const Pixels<Half> pixels(c, s, x, stream);
    multiply_tensor(p.rows, pixels.walk(s), pixels.data(), u, e, y, stream);
  }
  if (direct || meets_padding(s)) direct_walk(s, strides_of(s, u), x, u.data, e, y, direct ? nullptr : found, stream);
}

template <class W>
void convolve(const Conv& c, const Plan& p, const Half* x, const W* w, const Epilogue& e, const Bf16Output& y,
              Stream stream) {
  if (y.wide) return convolve(c, p, x, w, e, y.wide, stream);
  convolve(c, p, x, w, e, reinterpret_cast<Half*>(y.narrow), stream);
}

}  // namespace

void conv_bf16(const Conv& c, const Plan& p, const std::uint16_t* x, const Bf16Weights& w, const Epilogue& e,
               const Bf16Output& y, Stream stream) {
  if (!has_tensor_cores()) throw std::invalid_argument("bfloat16 needs a device of compute capability 8.0 or later");
  if (w.wide) return convolve(c, p, halves(x), w.wide, e, y, stream);
  convolve(c, p, halves(x), halves(w.narrow), e, y, stream);
}

}  // namespace tapwise::cuda
