// ops.h — the convolutions that C++ offers: they pick a plan, own the scratch and split the work over threads.
//
// Sizes and pointers are trusted; the binding checks them. Throws std::bad_alloc, and std::invalid_argument where
// the algorithm is refused.
#pragma once

#include "memory.h"
#include "plan.h"

namespace tapwise {

void conv_forward(const Conv&, Choice, const float* x, const float* w, const Epilogue&, float* y);
void conv_grad_input(const Conv&, Choice, const float* dy, const float* w, const Epilogue&, float* dx);

// Weights in the layout that one algorithm of one pass reads on the ISA in use. They serve every convolution of the
// same taps, channels and layout, whatever its batch; w may go. Read-only, so threads may share them.
struct PackedWeights {
  Pass pass;
  const char* isa;
  Conv s;
  Plan plan;
  Memory memory;
  bool finite;

  PackedWeights(const Conv&, Pass, Choice, const float* w);
};

// The pass that the weights are packed for. Throws std::invalid_argument where they don't fit.
void conv_packed(const Conv&, const PackedWeights&, const float* from, const Epilogue&, float* to);

// Weights of a call: w, with the strides that Conv gives, or packed before.
struct AnyWeights {
  const float* w;
  const PackedWeights* packed;
};

// y = activation(pointwise(middle) + b + residual), middle = activation(depthwise(x) + b), where plan_separable fuses
// the two. Throws std::invalid_argument where it doesn't, or where packed weights don't fit.
void separable_forward(const Conv& depthwise, const Conv& pointwise, const float* x, const AnyWeights& depthwise_w,
                       const AnyWeights& pointwise_w, const Epilogue& middle, const Epilogue&, float* y);

// dw has the strides that Conv gives for w.
void conv_grad_weight(const Conv&, Choice, const float* x, const float* dy, float* dw);

// The same of dz = dy f'(y), and db (co,), its sums by channel. work, of dy's size, may be dy: dz is left there where
// an algorithm needs all of it at once.
void conv_grad_weight_bias(const Conv&, Choice, const Prologue&, const float* x, const float* dy, float* work,
                           float* dw, float* db);

// GFLOP/s of register-only multiply-adds, by one of the kernels *_peak, on all threads together.
double measure_fma_peak(FmaPeak*, Index steps);

}  // namespace tapwise
