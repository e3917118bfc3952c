// bf16.cu — convolutions of bfloat16 and their gradients on tensor cores, summed in float32; where a tile would be
// nearly empty, one thread an output, or a block a weight.
#include <optional>

#include "im2col_tensor.h"

namespace tapwise::cuda {
namespace {

const Half* halves(const std::uint16_t* bits) {
  return reinterpret_cast<const Half*>(bits);
}

// By direct's kernel, of weights as packed_for lays them out: the taps of this walk alone.
template <class To>
void direct_packed(Walk s, const Half* x, const Matrix<Half>& u, const Epilogue& e, To* y, const int* only_if,
                   Stream stream) {
  for (Axis* const axis : {&s.d, &s.h, &s.w}) axis->w_first = 0, axis->w_step = 1;
  const Index tap = padded<Half>(s.ci) * u.row;
  const WeightStrides strides{tap * s.w.taps * s.h.taps, tap * s.w.taps, tap, u.row, 1, u.group};
  direct_walk(s, strides, x, u.data, e, y, only_if, stream);
}

template <class W, class To>
void convolve(const Conv& c, Pass pass, const Plan& p, const Half* x, const W* w, const Epilogue& e, To* y,
              Stream stream) {
  const Scratch memory(tensor_weight_floats<Half>(c), stream), flag(1, stream);
  int* const found = reinterpret_cast<int*>(flag.floats());
  check(cudaMemsetAsync(found, 0, sizeof(int), stream), "cudaMemsetAsync");
  std::optional<Pixels<Half>> pixels;
  if (p.algorithm == Algorithm::im2col) pixels.emplace(c, walk_of(c, pass, 0), x, stream);
  for (Index i = 0; i < walks(c, pass); ++i) {
    const Walk s = walk_of(c, pass, i);
    if (s.pixels() == 0) continue;
    const Matrix<Half> u = packed_for(c, s, pass, w, reinterpret_cast<Half*>(memory.floats()), found, stream);
    if (pixels) multiply_tensor(p.rows, pixels->walk(s), pixels->data(), u, e, y, stream);
    if (!pixels || meets_padding(s)) direct_packed(s, x, u, e, y, pixels ? found : nullptr, stream);
  }
}

template <class W>
void convolve(const Conv& c, Pass pass, const Plan& p, const Half* x, const W* w, const Epilogue& e,
              const Bf16Output& y, Stream stream) {
  if (y.wide) return convolve(c, pass, p, x, w, e, y.wide, stream);
  convolve(c, pass, p, x, w, e, reinterpret_cast<Half*>(y.narrow), stream);
}

void need_tensor_cores() {
  if (!has_tensor_cores()) throw std::invalid_argument("bfloat16 needs a device of compute capability 8.0 or later");
}

}  // namespace

void conv_bf16(const Conv& c, Pass pass, const Plan& p, const std::uint16_t* x, const Bf16Weights& w, const Epilogue& e,
               const Bf16Output& y, Stream stream) {
  need_tensor_cores();
  if (w.wide) return convolve(c, pass, p, halves(x), w.wide, e, y, stream);
  convolve(c, pass, p, halves(x), halves(w.narrow), e, y, stream);
}

void conv_bf16_grad_weight(const Conv& c, const Plan& p, const std::uint16_t* x, const std::uint16_t* dy, float* dw,
                           Stream stream) {
  need_tensor_cores();
  if (p.algorithm == Algorithm::direct) return direct_grad_weight(c, halves(x), halves(dy), dw, stream);
  tensor_grad_weight(c, p.rows, halves(x), halves(dy), dw, stream);
  if (!meets_padding(c, Pass::grad_weight)) return;
  const NonFinite found(c.n * c.od * c.oh * c.ow * c.co, halves(dy), stream);
  direct_grad_weight(c, halves(x), halves(dy), dw, stream, found.flag());
}

}  // namespace tapwise::cuda
