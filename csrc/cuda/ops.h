// ops.h — the operations on the device: the same functions as on the host, and a stream.
//
// Pointers are the device's. Sizes and pointers are trusted; the binding checks them. Bits depend on sizes and the
// algorithm alone: sums that blocks share are combined in order. Throws std::invalid_argument where an algorithm is
// refused, and std::runtime_error with CUDA's reason.
#pragma once

#include "device.h"

namespace tapwise::cuda {

enum class Algorithm { automatic, direct, im2col, winograd_2x2, winograd_4x4 };
enum class Pass { forward, grad_input, grad_weight };
constexpr Algorithm kAlgorithms[] = {Algorithm::direct, Algorithm::im2col, Algorithm::winograd_2x2,
                                     Algorithm::winograd_4x4};

const char* name_of(Algorithm);

// Why the algorithm can't do the convolution; null where it can.
const char* refusal(const Conv&, Pass, Algorithm);

struct Plan {
  Algorithm algorithm;
  int rows, columns;  // of a block's tile; 0 without tiles
  Index blocks;       // of the largest launch
  Index workspace_bytes;
  const char* reason;
  bool tf32 = false;   // im2col rounds factors to TF32, for tensor cores
  double seconds = 0;  // expected
};

enum class Accuracy { strict, standard, fast };

// Whether automatic may take it.
bool admitted(const Conv&, Pass, Accuracy, Algorithm);

// A pure function. Throws std::invalid_argument if the algorithm is refused. accuracy: what automatic may take; fast:
// TF32 too.
Plan plan(const Conv&, Pass, Algorithm, Accuracy, const Device&);

// For the current device; remembered, since it takes longer than a launch.
Plan plan(const Conv&, Pass, Algorithm, Accuracy);

// Of bfloat16: direct or im2col. Throws std::invalid_argument if another is asked for.
Plan plan_bf16(const Conv&, Pass, Algorithm = Algorithm::automatic, const Device& = known_device());

// Tiles of im2col and Winograd for tests: 16, 32, 64 or 128 rows; 0 lets the plan choose.
void set_tile(int rows);

void conv_forward(const Conv&, const Plan&, const float* x, const float* w, const Epilogue&, float* y, Stream);
void conv_grad_input(const Conv&, const Plan&, const float* dy, const float* w, const Epilogue&, float* dx, Stream);
// dw has the strides that Conv gives for w.
void conv_grad_weight(const Conv&, const Plan&, const float* x, const float* dy, float* dw, Stream);

// Bits of bfloat16, or float32; the other is null.
struct Bf16Weights {
  const std::uint16_t* narrow;
  const float* wide;
};
struct Bf16Output {
  std::uint16_t* narrow;
  float* wide;
};

// The forward pass, or the input gradient from x = dy to y = dx. Wide weights are rounded. On devices of compute
// capability 8.0 or later; others throw std::invalid_argument.
void conv_bf16(const Conv&, Pass, const Plan&, const std::uint16_t* x, const Bf16Weights&, const Epilogue&,
               const Bf16Output& y, Stream);
void conv_bf16_grad_weight(const Conv&, const Plan&, const std::uint16_t* x, const std::uint16_t* dy, float* dw,
                           Stream);

}  // namespace tapwise::cuda
