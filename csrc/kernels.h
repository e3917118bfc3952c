// kernels.h — the types of the kernels in kernels.inc, with nn_kernels.h.
//
// A kernel takes sizes, pointers, scratch of the size that the plan states, and a range [begin, end) of the work; it
// never threads, allocates or throws. Ranges that don't overlap may run at once.
#pragma once

#include "shape.h"

namespace tapwise {

// What packed weights hold.
enum class Packing : int {
  forward,        // panels [group][panel][tap][input channel][output channels]
  transposed,     // the same with the channel roles exchanged, for grad_input
  depthwise,      // panels [panel][tap][channels]
  groups,         // vectors [vector][input channel][tap][output channels], see cpu/groups.h
  turned_groups,  // the same with the channel roles exchanged and the taps in reverse, for grad_input
  winograd,       // panels [panel][frequency][input channel][output channels]; for grad_input of weights turned round
};

// How one pass of a convolution is cut into tasks; made by plan.cpp, read by the kernels. A block is rows x cols pixels
// of y (of dx for grad_input) at one depth of one image.
struct Split {
  Index rows, cols;
  Index row_blocks, col_blocks;
  Index panels;       // panels of output channels, over all groups
  Index task_panels;  // of one task
  Index chunks;       // grad_weight: private sums, combined in order; 1 elsewhere
  Index from_parts;   // grad_weight by direct: a task takes one of so many shares of the input channels
  Index batch;        // grad_weight by direct: blocks whose pixels are summed together
  Index tasks;
  bool copies;           // a task copies what it reads; always for channels_first
  bool copies_dy;        // grad_weight by direct: a task copies its panels of dy; always for channels_first
  bool merged;           // grad_weight by direct: a row of taps is one run of few channels, with zeros beside x's rows
  Index copy_gap;        // floats between the pixels of a copy
  bool dot;              // few output channels: packed [group][output channel][tap][input channel], no panels
  Index shared_floats;   // packed weights, or the private sums of grad_weight
  Index scratch_floats;  // one task's scratch
  bool streams;          // filters: x and y exceed the caches, so y goes past them
  bool by_blocks;        // outputs: tasks of one block of pixels follow each other, else those of the same panels
};

// Depthwise input gradients of a larger stride along a row are runs of pixels of a phase, not tiles.
inline constexpr Index kPhasedStride = 2;

// The weights of a call. A product of padding's zero and a finite weight changes no sum, so kernels may compute it.
struct Weights {
  const float* packed;
  bool finite;
};

// Range: panels (vectors of groups); with dot, groups. Returns whether all that it packed is finite.
using ConvPack = bool(const Conv&, Packing, bool dot, const float* w, float* packed, Index begin, Index end);
// Range: tasks of the split.
using ConvForward = void(const Conv&, const Split&, const Epilogue&, const float* x, const Weights&, float* y,
                         float* scratch, Index begin, Index end);
using ConvGradInput = void(const Conv&, const Split&, const Epilogue&, const float* dy, const Weights&, float* dx,
                           float* scratch, Index begin, Index end);
// sums [chunk][tap][ci / groups][co]
using ConvGradWeight = void(const Conv&, const Split&, const float* x, const float* dy, float* sums, float* scratch,
                            Index begin, Index end);
// Of dz, and its sums [chunk][co]; one group, channels_last, with scratch for panels of dz as copies_dy has it.
using ConvGradWeightBias = void(const Conv&, const Split&, const Prologue&, const float* x, const float* dy,
                                float* sums, double* bias_sums, float* scratch, Index begin, Index end);
// Adds the chunks of sums in order and stores them with the strides of s. Range: rows (tap, input channel of the
// group).
using ConvUnpack = void(const Conv& s, Index chunks, const float* sums, float* dw, Index begin, Index end);

// A depthwise convolution, and the pointwise one to `co` channels that alone reads its result, the middle.
struct Separable {
  Weights depthwise, pointwise;
  Epilogue middle;  // without residual
  Epilogue e;
  Index co;
};
// s: the depthwise convolution. Range: tasks of the split, near-equal blocks; its copy_gap is that of the middle.
using SeparableForward = void(const Conv& s, const Split&, const Separable&, const float* x, float* y, float* scratch,
                              Index begin, Index end);

// How a Winograd convolution is cut: y in tiles of tile_h x tile_w pixels, numbered over images, rows and columns.
// Rounds and blocks are near-equal shares, of all tiles and of a round's. Made by winograd_plan.cpp.
struct Tiling {
  Index tile_h, tile_w, frequencies;
  Index phases_h, phases_w, phase_step;  // convolutions whose sum y is, and pixels from one to the next: winograd.h
  Index channels;                        // of v: those of x in each phase, row by row of phases
  Index taps_h, taps_w;                  // of a phase
  bool short_h, short_w;                 // phases after the first have a tap less, and nothing at infinity
  Index rows, cols, tiles;               // tiles down an image, across it, in all images
  Index last_h, last_w;                  // outputs of the last tile of a column, and of a row
  Index points_w;                        // of a row; frequencies are numbered row by row
  Index last_points_h, last_points_w;    // which of its points the last tile has, one bit each
  Index products;                        // of all tiles, frequencies and phases
  bool fused;  // a task takes its tiles from x to y, in one round; else each thread transforms all of a round's first
  Index rounds, blocks, task_blocks;
  Index panels, task_panels;
  Index v_part;  // step in transformed x, (parts of task_channels, frequencies, tiles, channels)
  Index v_tile, v_frequency, m_frequency;  // and in that of y, (frequencies, tiles, channels)
  Index u_frequency;                       // step in a panel of transformed weights
  Index task_channels;                     // input channels of a part, whole vectors; all, unless a task transforms u
  bool taps;                               // weights are taps, which a task transforms, a part at a time
  bool taps_in_place;                      // which it reads from w, else as packed
  Index packed_floats, v_floats, scratch_floats;
};

// Range: panels.
using WinogradPack = void(const Conv&, const Tiling&, const float* w, float* packed, Index begin, Index end);
// Range: blocks.
using WinogradForward = void(const Conv&, const Tiling&, const Epilogue&, const float* x, const float* packed, float* y,
                             float* scratch, Index begin, Index end);
// One round, from x to v and from v to y. Range: its tiles; groups of task_panels panels x blocks. weights: packed, or
// w.
using WinogradInput = void(const Conv&, const Tiling&, Index round, const float* x, float* v, float* scratch,
                           Index begin, Index end);
using WinogradOutput = void(const Conv&, const Tiling&, const Epilogue&, Index round, const float* v,
                            const float* weights, float* y, float* scratch, Index begin, Index end);

// How Winograd's weight gradient is cut. What one core writes another reads slowly, so each thread transforms all of x
// itself, a round of tiles after the other, and of dy the panel that it works on. Made by winograd_gradient_plan.cpp.
struct GradTiling {
  Tiling x;                             // its tiles, rounds and panels of output channels; v is transformed x
  bool fused;                           // a task takes a chunk's rounds, all panels, with sums of the chunk's own
  Index chunks;                         // near-equal shares of the rounds; 1, if not fused
  Index groups, splits;                 // else: of the panels, one after the other; a task is one split of a panel
  bool at_once;                         // one round: a task makes dw of its sums, which stay in its scratch
  Index g_tile, g_frequency, g_floats;  // steps in transformed dy, (frequencies, tiles, output channels of a panel)
  Index blocks;                         // of input channels
  Index sums_block, sums_floats;        // sums of a block, (frequencies, input channels, kPanel); of a chunk or group
  Index strip_floats, scratch_floats;
};

// One panel of dy to its transform. Range: tiles of the round.
using WinogradGradient = void(const Conv&, const GradTiling&, Index panel, Index round, const float* dy, float* g,
                              float* scratch, Index begin, Index end);
// The panel's sums = v' g, or added to those of the rounds before; dw where at_once. Range: blocks.
using WinogradGradSums = void(const Conv&, const GradTiling&, Index panel, Index round, bool add, const float* v,
                              const float* g, float* sums, float* dw, Index begin, Index end);
// dw of the panel, from its sums in all chunks. Range: blocks.
using WinogradGradWeight = void(const Conv&, const GradTiling&, Index panel, const float* sums, float* dw, Index begin,
                                Index end);

// Range: rows of y: (image, od, oh), and for channels_first (image, channel, od, oh). indices may be null.
using MaxPoolForward = void(const Pool&, const float* x, float* y, std::int32_t* indices, float* scratch, Index begin,
                            Index end);
// Of a global pooling (image, channel) pairs.
using AveragePoolForward = void(const Pool&, const float* x, float* y, float* scratch, Index begin, Index end);
// Where the maxima of a pooling lie, of one depth and channels_last: the largest index as an unsigned number, so that
// negative ones are larger than any plane, and the rows and columns that they span from the position o * stride of
// their output o on.
struct PoolReach {
  std::uint32_t largest;
  Index first_h, last_h, first_w, last_w;
};
inline constexpr std::int32_t kLargestPlane = 1 << 20;  // positions of a plane whose rows and columns are found
// Range: rows of y, as above. Of channels_first the largest alone.
using MaxPoolReach = void(const Pool&, const std::int32_t* indices, PoolReach&, Index begin, Index end);
// Range: rows of dx, (image, id, ih) or (image, channel, id, ih); (image, channel) pairs where it scatters.
using MaxPoolGrad = void(const Pool&, const float* dy, const std::int32_t* indices, float* dx, float* scratch,
                         Index begin, Index end);
using AveragePoolGrad = void(const Pool&, const float* dy, float* dx, float* scratch, Index begin, Index end);

// How a convolution of bfloat16 or int8 is cut into tasks; made by low_precision.cpp. Pixels are read as 32-bit words
// of neighbouring channels: in place, or from a task's copy that holds zeros (int8: zero points) for padding.
struct LowSplit {
  Index rows, cols;
  Index row_blocks, col_blocks;
  Index panels, task_panels, tasks;
  Index words;  // of one pixel and group
  bool in_place;
  Index copy_words;     // of a task's copy, at most
  Index scratch_words;  // of one task
};

// [group][panel][tap][word][output channel]; constants [group][panel][output channel].
struct Bf16Weights {
  const std::uint32_t* packed;
  bool finite;
  const float* b;  // 0 where there is no bias
};
struct Int8Weights {
  const std::uint32_t* packed;
  const std::int32_t* offset;  // b less the zero point of x times the sum of the channel's weights
  const float* scale;          // x's times w's, over y's
};

// y holds bfloat16 or float32: activation(sum + b), of none, relu and leaky_relu.
struct Bf16Output {
  void* y;
  bool is_float;
  Activation activation;
  float alpha;
};
// y = clamp(round(sum * scale) + zero_point), half to even; bytes of int8 where signed.
struct Int8Output {
  std::uint8_t* y;
  std::int32_t zero_point, least, most;
  std::uint8_t x_flip;  // 0x80 where x is int8, which makes it unsigned, else 0
  std::uint8_t x_pad;   // x's zero point, flipped
};

// Range: tasks of the split.
using ConvBf16 = void(const Conv&, const LowSplit&, const std::uint16_t* x, const Bf16Weights&, const Bf16Output&,
                      std::uint32_t* scratch, Index begin, Index end);
using ConvInt8 = void(const Conv&, const LowSplit&, const std::uint8_t* x, const Int8Weights&, const Int8Output&,
                      std::uint32_t* scratch, Index begin, Index end);

// Runs `steps` rounds of register-only multiply-adds and returns the floating-point operations done.
using FmaPeak = double(Index steps, float* sink);

}  // namespace tapwise
