// im2col_tensor.cu — float32 convolutions in TF32: with 11 bits of each factor, only where accuracy "fast" asks for it.
#include "im2col_tensor.h"

namespace tapwise::cuda {

bool has_tensor_cores() {
  int device = 0, major = 0;
  check(cudaGetDevice(&device), "cudaGetDevice");
  check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device), "cudaDeviceGetAttribute");
  return major >= 8;
}

Index tf32_workspace_floats(const Conv& c, Pass pass, int tile) {
  const Index inputs = c.n * c.id * c.ih * c.iw * padded<float>(c.ci / c.groups) * c.groups;
  const Index outputs = c.n * c.od * c.oh * c.ow * padded<float>(c.co / c.groups) * c.groups;
  if (pass == Pass::grad_weight) return inputs + outputs + tensor_partial_floats<float>(c, tile);
  return tensor_weight_floats<float>(c) + (pass == Pass::forward ? inputs : outputs);
}

void tf32_pass(const Conv& c, Pass pass, int tile, const float* x, const float* w, const Epilogue& e, float* y,
               Stream stream) {
  const Pixels<float> pixels(c, walk_of(c, pass, 0), x, stream);
  const Scratch u(tensor_weight_floats<float>(c), stream);
  for (Index i = 0; i < walks(c, pass); ++i) {
    const Walk s = walk_of(c, pass, i);
    if (s.pixels() == 0) continue;
    const Matrix<float> m = packed_for(c, s, pass, w, u.floats(), nullptr, stream);
    multiply_tensor(tile, pixels.walk(s), pixels.data(), m, e, y, stream);
  }
}

}  // namespace tapwise::cuda
