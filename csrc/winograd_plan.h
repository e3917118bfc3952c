// winograd_plan.h — decision 2 for Winograd: which convolutions it can do, how accurately, and how they are cut.
#pragma once

#include "isa.h"

namespace tapwise {

// The input gradient of s as a forward convolution: of dy, by w turned round, which begins at w + w_offset.
struct Turned {
  Conv s;
  Index w_offset;
};
Turned turned(const Conv& s);

// nullptr if F(tile, taps) can do the forward pass of s, else the reason why not. s must be simplified.
const char* winograd_refusal(const Conv& s, Index tile);

// Whether its rms error is at most 4 times that of a left-to-right sum: docs/numerics.md.
bool winograd_is_accurate(const Conv& s, Index tile);

// Floats of each thread's scratch.
Index winograd_workspace(const Tiling&);

// For a convolution that isn't refused, within the limit on workspace where one round a tile is; packed: its weights
// will be, once, and stay so for any batch and size of x.
Tiling tile_winograd(const Conv& s, Index tile, bool packed, const Table&);

// The tiles' outputs, and the phases whose sum y is, with their taps, channels and frequencies; nothing else.
Tiling phases_of(const Conv& s, Index tile);

// The same as tile_winograd for the weight gradient, which transforms x as the forward pass does.
bool winograd_gradient_fits(const Conv& s, Index tile);
bool winograd_gradient_is_accurate(const Conv& s, Index tile);
GradTiling tile_winograd_gradient(const Conv& s, Index tile, const Table&);

// Tasks of one round's output.
Index output_tasks(const Tiling&);

}  // namespace tapwise
