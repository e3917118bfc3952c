// conv.h — what each technique offers to ops.cu; plan has seen to it that they can do the shape.
#pragma once

#include "elements.h"
#include "walk.h"

namespace tapwise::cuda {

void direct_forward(const Conv&, const float* x, const float* w, const Epilogue&, float* y, Stream);
void direct_grad_input(const Conv&, const float* dy, const float* w, const Epilogue&, float* dx, Stream);
void direct_grad_weight(const Conv&, const float* x, const float* dy, float* dw, Stream);

// tile: rows and columns of a block's part of the product.
void im2col_forward(const Conv&, int tile, const float* x, const float* w, const Epilogue&, float* y, Stream);
void im2col_grad_input(const Conv&, int tile, const float* dy, const float* w, const Epilogue&, float* dx, Stream);
void im2col_grad_weight(const Conv&, int tile, const float* x, const float* dy, float* dw, Stream);
Index im2col_packed_floats(const Conv&);
Index im2col_partial_floats(const Conv&, int tile);

}  // namespace tapwise::cuda
