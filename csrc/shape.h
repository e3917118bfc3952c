// shape.h — the sizes every kernel works from. Sizes only: a function here would be compiled once per ISA and merged by
// the linker.
//
//   x (n, id, ih, iw, ci)   w (kd, kh, kw, ci / groups, co)   y (n, od, oh, ow, co)      channels_last
//   x (n, ci, id, ih, iw)   w (co, ci / groups, kd, kh, kw)   y (n, co, od, oh, ow)      channels_first
//
// One and two spatial dimensions are three with leading ones.
#pragma once

#include <cstdint>

namespace tapwise {

using Index = std::int64_t;

enum class Layout : int { channels_last, channels_first };

// The element-wise ones; leaky_relu and elu take a parameter, alpha.
enum class Activation : int { none, relu, leaky_relu, elu, sigmoid, tanh, gelu, relu6 };

struct Conv {
  Layout layout;
  Index n, groups, ci, co;
  Index id, ih, iw, od, oh, ow;
  Index kd, kh, kw, sd, sh, sw, dil_d, dil_h, dil_w;
  Index pf, pt, pl;                 // padding before; what comes after follows from the output sizes
  Index w_d, w_h, w_w, w_ci, w_co;  // strides of w in elements: w may be any view
};

// What a convolution does to a sum before it is stored: activation(sum + b + residual). b and residual may be null.
struct Epilogue {
  const float* b;
  const float* residual;  // laid out as the output
  Activation activation;
  float alpha;
};

// What a weight gradient does to dy first: dz = dy f'(y). y is the layer's output, null without an activation.
struct Prologue {
  Activation activation;
  float alpha;
  const float* y;
};

struct Pool {
  Layout layout;
  Index n, c;
  Index id, ih, iw, od, oh, ow;
  Index kd, kh, kw, sd, sh, sw, dil_d, dil_h, dil_w;
  Index pf, pt, pl, pk, pb, pr;  // padding before (f, t, l) and after (k, b, r)
  bool count_include_pad;        // average: the divisor counts padding too
  bool adaptive;                 // window of output o is [floor(o * in / out), ceil((o + 1) * in / out))
};

// Batch normalization reads x as (outer, channels, inner): channels_last has inner = 1, channels_first outer = n.
struct Norm {
  Index outer, channels, inner;
  Index chunk;  // outer rows of one private sum
};

// The ReLU behind a normalization, whose gradient is dz = y <= 0 ? 0 : dy: y is its output, or found again from x.
struct NormMask {
  enum Kind : int { none, by_output, by_input } kind;
  const float* y;             // by_output
  const float *scale, *beta;  // by_input: y = (x - mean) * scale + beta
};

}  // namespace tapwise
