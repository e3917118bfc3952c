// ops.h — the convolutions that C++ offers: they pick a plan, own the scratch and split the work over threads.
//
// Sizes and pointers are trusted; the binding checks them. Throws std::bad_alloc, and std::invalid_argument where
// the algorithm is refused.
#pragma once

#include "plan.h"

namespace tapwise {

void conv_forward(const Conv&, Choice, const float* x, const float* w, const Epilogue&, float* y);
void conv_grad_input(const Conv&, Choice, const float* dy, const float* w, const Epilogue&, float* dx);
// dw has the strides that Conv gives for w.
void conv_grad_weight(const Conv&, Choice, const float* x, const float* dy, float* dw);
// dy (outer, channels, inner) -> db (channels,)
void conv_bias_gradient(Index outer, Index channels, Index inner, const float* dy, float* db);

// GFLOP/s of register-only multiply-adds on all threads together.
double measure_fma_peak(Index steps);

}  // namespace tapwise
