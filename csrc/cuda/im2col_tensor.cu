// im2col_tensor.cu — float32 convolutions in TF32: with 11 bits of each factor, only where accuracy "fast" asks for it.
#include "im2col_tensor.h"

namespace tapwise::cuda {

bool has_tensor_cores() {
  int device = 0, major = 0;
  check(cudaGetDevice(&device), "cudaGetDevice");
  check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device), "cudaDeviceGetAttribute");
  return major >= 8;
}

Index tf32_workspace_floats(const Conv& c, Pass pass) {
  const bool forward = pass == Pass::forward;
  const Index channels = padded<float>((forward ? c.ci : c.co) / c.groups) * c.groups;
  const Index pixels = c.n * (forward ? c.id * c.ih * c.iw : c.od * c.oh * c.ow);
  return tensor_weight_floats<float>(c) + pixels * channels;
}

void tf32_forward(const Conv& c, int tile, const float* x, const float* w, const Epilogue& e, float* y, Stream stream) {
  const Walk s = forward_walk(c);
  const Pixels<float> pixels(c, s, x, stream);
  const Scratch u(tensor_weight_floats<float>(c), stream);
  const Matrix<float> m = packed_for(c, s, false, w, u.floats(), nullptr, stream);
  multiply_tensor(tile, pixels.walk(s), pixels.data(), m, e, y, stream);
}

void tf32_grad_input(const Conv& c, int tile, const float* dy, const float* w, const Epilogue& e, float* dx,
                     Stream stream) {
  const Pixels<float> pixels(c, grad_input_walk(c, 0), dy, stream);
  const Scratch u(tensor_weight_floats<float>(c), stream);
  for (Index phase = 0; phase < phases(c); ++phase) {
    const Walk s = grad_input_walk(c, phase);
    if (s.pixels() == 0) continue;
    const Matrix<float> m = packed_for(c, s, true, w, u.floats(), nullptr, stream);
    multiply_tensor(tile, pixels.walk(s), pixels.data(), m, e, dx, stream);
  }
}

}  // namespace tapwise::cuda
