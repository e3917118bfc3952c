// conv.h — what each technique offers to ops.cu; plan has seen to it that they can do the shape.
#pragma once

#include "elements.h"
#include "ops.h"
#include "tensor.h"
#include "walk.h"

namespace tapwise::cuda {

struct WeightStrides {
  Index d, h, w, from, to, group;  // of the channels of the walk's inputs and outputs
};

// only_if: a flag on the device; nothing is done where it is 0.
void direct_forward(const Conv&, const float* x, const float* w, const Epilogue&, float* y, Stream,
                    const int* only_if = nullptr);
void direct_grad_input(const Conv&, const float* dy, const float* w, const Epilogue&, float* dx, Stream,
                       const int* only_if = nullptr);
template <class E>
void direct_grad_weight(const Conv&, const E* x, const E* dy, float* dw, Stream, const int* only_if = nullptr);

template <class E, class To>
void direct_walk(const Walk&, const WeightStrides&, const E* x, const E* w, const Epilogue&, To* y, const int* only_if,
                 Stream);

// One input channel a group.
bool is_depthwise(const Conv&);
void depthwise_forward(const Conv&, const float* x, const float* w, const Epilogue&, float* y, Stream);
void depthwise_grad_input(const Conv&, const float* dy, const float* w, const Epilogue&, float* dx, Stream);
void depthwise_grad_weight(const Conv&, const float* x, const float* dy, float* dw, Stream);

// Whether sizes and layout let im2col copy four channels at once; addresses and views of weights are looked at later.
bool takes_fours(const Conv&, Pass);

// tile: rows and columns of a block's part of the product.
void im2col_forward(const Conv&, int tile, const float* x, const float* w, const Epilogue&, float* y, Stream);
void im2col_grad_input(const Conv&, int tile, const float* dy, const float* w, const Epilogue&, float* dx, Stream);
void im2col_grad_weight(const Conv&, int tile, const float* x, const float* dy, float* dw, Stream);

// The same on tensor cores: tiles of 16, 64 or 128 rows. TF32's forward pass or input gradient; workspace: at most.
bool has_tensor_cores();
constexpr Index tensor_columns(Index rows) {
  return rows < 64 ? rows : 64;
}
Index tf32_workspace_floats(const Conv&, Pass, int tile);
void tf32_pass(const Conv&, Pass, int tile, const float* x, const float* w, const Epilogue&, float* y, Stream);
template <class E>
void tensor_grad_weight(const Conv&, int tile, const E* x, const E* dy, float* dw, Stream);

// x (n, c, positions) or (n, positions, c) -> (n, positions, c), each `group` channels with zeros up to `padded`.
template <class E>
void pad_channels(Layout, Index images, Index positions, Index channels, Index group, Index padded, const E* x, E* to,
                  Stream);

// The outputs of a tile of Winograd's on each axis; 0 of other algorithms.
constexpr int winograd_outputs(Algorithm a) {
  return a == Algorithm::winograd_2x2 ? 2 : a == Algorithm::winograd_4x4 ? 4 : 0;
}

// How a pass is cut: `round` of its tiles at a time, whose transformed arrays have `from` and `to` channels; splits of
// a weight gradient's sums.
struct WinogradWork {
  Index tiles, round, frequencies, from, to, splits;
};
WinogradWork winograd_work(const Conv&, Pass, int outputs, int tile);

// outputs: 2 or 4, of a tile and axis; tile as im2col's, for outputs of 2 16 or 32.
const char* winograd_refusal(const Conv&);
bool winograd_is_fused(const Conv&, Pass, int outputs);  // in one launch, by tiles of at most 32
void winograd_forward(const Conv&, int outputs, int tile, const float* x, const float* w, const Epilogue&, float* y,
                      Stream);
void winograd_grad_input(const Conv&, int outputs, int tile, const float* dy, const float* w, const Epilogue&,
                         float* dx, Stream);
void winograd_grad_weight(const Conv&, int outputs, int tile, const float* x, const float* dy, float* dw, Stream);
Index winograd_workspace_floats(const Conv&, Pass, int outputs, int tile);

// im2col multiplies padding, by zero: where that isn't nothing, since a factor is infinite or NaN, direct does it
// again. The device decides, by this flag, so the host needn't wait.
class NonFinite {
 public:
  NonFinite(const Conv&, const float* w, Stream);  // of w, with its strides
  template <class E>
  NonFinite(Index size, const E* dy, Stream);
  const int* flag() const { return reinterpret_cast<const int*>(memory_.floats()); }

 private:
  Scratch memory_;
};
bool meets_padding(const Walk&);
bool meets_padding(const Conv&, Pass);

// The walks of the forward pass, or of the input gradient.
Index walks(const Conv&, Pass);
Walk walk_of(const Conv&, Pass, Index number);

// dw, with its strides, is the sum of partial (splits, groups, taps, ci, co) in order; ci and co of one group.
void add_partials(const Conv&, Index splits, const float* partial, float* dw, Stream);

Index depthwise_partial_floats(const Conv&);
Index im2col_packed_floats(const Conv&);
Index im2col_partial_floats(const Conv&, int tile);
template <class E>
Index tensor_partial_floats(const Conv&, int tile);

}  // namespace tapwise::cuda
