// ops.cu — calls of the technique that a plan names.
#include "conv.h"
#include "ops.h"

namespace tapwise::cuda {

void conv_forward(const Conv& s, const Plan& p, const float* x, const float* w, const Epilogue& e, float* y,
                  Stream stream) {
  if (p.algorithm == Algorithm::direct && is_depthwise(s)) return depthwise_forward(s, x, w, e, y, stream);
  if (p.algorithm == Algorithm::direct) return direct_forward(s, x, w, e, y, stream);
  if (const int outputs = winograd_outputs(p.algorithm))
    return winograd_forward(s, outputs, p.rows, x, w, e, y, stream);
  if (p.tf32)
    tf32_pass(s, Pass::forward, p.rows, x, w, e, y, stream);
  else
    im2col_forward(s, p.rows, x, w, e, y, stream);
  if (!meets_padding(s, Pass::forward)) return;
  const NonFinite found(s, w, stream);
  direct_forward(s, x, w, e, y, stream, found.flag());
}

void conv_grad_input(const Conv& s, const Plan& p, const float* dy, const float* w, const Epilogue& e, float* dx,
                     Stream stream) {
  if (p.algorithm == Algorithm::direct && is_depthwise(s)) return depthwise_grad_input(s, dy, w, e, dx, stream);
  if (p.algorithm == Algorithm::direct) return direct_grad_input(s, dy, w, e, dx, stream);
  if (const int outputs = winograd_outputs(p.algorithm))
    return winograd_grad_input(s, outputs, p.rows, dy, w, e, dx, stream);
  if (p.tf32)
    tf32_pass(s, Pass::grad_input, p.rows, dy, w, e, dx, stream);
  else
    im2col_grad_input(s, p.rows, dy, w, e, dx, stream);
  if (!meets_padding(s, Pass::grad_input)) return;
  const NonFinite found(s, w, stream);
  direct_grad_input(s, dy, w, e, dx, stream, found.flag());
}

void conv_grad_weight(const Conv& s, const Plan& p, const float* x, const float* dy, float* dw, Stream stream) {
  if (p.algorithm == Algorithm::direct && is_depthwise(s)) return depthwise_grad_weight(s, x, dy, dw, stream);
  if (p.algorithm == Algorithm::direct) return direct_grad_weight(s, x, dy, dw, stream);
  if (const int outputs = winograd_outputs(p.algorithm))
    return winograd_grad_weight(s, outputs, p.rows, x, dy, dw, stream);
  (p.tf32 ? tensor_grad_weight<float> : im2col_grad_weight)(s, p.rows, x, dy, dw, stream);
  if (!meets_padding(s, Pass::grad_weight)) return;
  const NonFinite found(s.n * s.od * s.oh * s.ow * s.co, dy, stream);
  direct_grad_weight(s, x, dy, dw, stream, found.flag());
}

}  // namespace tapwise::cuda
