// winograd.h — the size of what Winograd's convolution sums up, which bounds its error.
#pragma once

#include "check.h"

namespace tapwise::test {

// The sums of each output, in the order of y, with the mass and the number of roundings of F(tile, taps):
//   |A'|((|G| |w| |G'|) . (|B'| |x| |B|))|A|
std::vector<Sum> winograd_sums(const Conv&, Index tile, const float* x, const float* w, std::vector<Sum> sums);

// The same for the weight gradient, whose elements begin at sums[first]: |A'|(sum of (|G| |dy| |G'|) . (|B'| |x|
// |B|))|A| over all tiles.
std::vector<Sum> winograd_gradient_sums(const Conv&, Index tile, const float* x, const float* dy, Index first,
                                        std::vector<Sum> sums);

}  // namespace tapwise::test
