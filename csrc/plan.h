// plan.h — decision 2: which algorithm, and how a convolution is cut into tasks.
//
// A pure function of shape, pass, choice, ISA and the limit on workspace: never of the number of threads, of a
// measurement or of the load.
// So the same call gives the same bits everywhere on that ISA.
#pragma once

#include <array>

#include "isa.h"
#include "winograd_plan.h"

namespace tapwise {

enum class Pass : int { forward, grad_input, grad_weight };
enum class Algorithm : int { automatic, direct, im2col, winograd, winograd_2x2, winograd_4x4, winograd_6x6 };
inline constexpr int kAlgorithms = 7;

// What automatic may pick: strict only schemes that sum products as they are, standard also those whose rms error is at
// most 4 times that of a left-to-right sum, fast all.
enum class Accuracy : int { strict, standard, fast };

// What the caller asks for; winograd leaves the tile to the plan.
struct Choice {
  Algorithm algorithm = Algorithm::automatic;
  Accuracy accuracy = Accuracy::standard;
  bool packed = false;  // for weights that are packed once: a call doesn't pay for it
};

struct Plan {
  Algorithm algorithm;  // never automatic or winograd
  bool depthwise;       // direct, by the depthwise kernels
  bool grouped;         // direct, several groups a vector
  Packing packing;
  bool turns;           // Winograd's grad_input: the forward pass of turned()
  Tiling tiling;        // Winograd's; of split it fills in tasks, shared_floats and scratch_floats
  GradTiling gradient;  // of Winograd's weight gradient
  Split split;          // shared_floats of equal packing, taps and channels: packed weights may be exchanged
  const char* reason;   // why this algorithm
};

// The same convolution with fewer dimensions: (l, 1) becomes (1, l), a pointwise convolution one row.
Conv simplified(const Conv&);

// As users write it.
const char* name_of(Algorithm);

// nullptr if the algorithm can do the pass within the bound on workspace, else the reason why not.
const char* refusal(const Conv&, Pass, Algorithm, const Table&);

// The split of a forward pass whose filters see one channel each (depthwise), or a group of a few; or of their
// input gradient.
Split split_filters(const Conv& s, bool depthwise, bool transposed, const Table&);

// The split of a weight gradient by direct.
Split split_pixels(const Conv& s, const Table&);

// The split of the weight gradient of filters: of one channel each (depthwise), or a group of a few.
Split split_filter_weights(const Conv& s, bool depthwise, const Table&);

// A depthwise convolution followed by a pointwise one, both simplified: in one pass by blocks, or in two.
struct SeparablePlan {
  bool fused;
  Split split;  // where fused; shared_floats of both convolutions' weights
  const char* reason;
};
SeparablePlan plan_separable(const Conv& depthwise, const Conv& pointwise, const Table&);

// Whether automatic may pick it.
bool admitted(const Conv&, Pass, Accuracy, Algorithm);

// s must be simplified. Throws std::invalid_argument with the reason if the algorithm is refused.
Plan plan_conv(const Conv& s, Pass, Choice, const Table&);

// What automatic weighs, for those who want to know: seconds are 0 where it is refused.
struct Candidate {
  Algorithm algorithm;
  const char* refused = nullptr;
  bool admitted = false;
  double seconds = 0;
};
std::array<Candidate, 5> candidates(const Conv& s, Pass, Accuracy, const Table&);

}  // namespace tapwise
