// low_precision.h — convolutions of bfloat16 and int8: like ops.h, they cut the work, own the scratch and use all
// threads.
//
// Forward by the direct method, of bfloat16 also by the kernels of float32, as its gradients. Sizes and pointers are
// trusted; the binding checks them. Throws std::bad_alloc.
#pragma once

#include "isa.h"
#include "ops.h"

namespace tapwise {

// A pure function of shape and ISA. s must be simplified. flipped: x is int8, so it has to be copied.
LowSplit split_words(const Conv& s, Index element_bytes, bool flipped, const Table&);

// Weights as words of channels in panels, and the sums of each output channel's bytes; w may go. Read-only.
struct PackedWords {
  const char* isa;
  Conv s;
  Index element_bytes;  // 2: bfloat16, 1: int8
  Memory memory;
  bool finite;

  PackedWords(const Conv&, const std::uint16_t* w);
  PackedWords(const Conv&, const float* w);  // rounded to bfloat16
  PackedWords(const Conv&, const std::int8_t* w);

  const std::uint32_t* words() const { return reinterpret_cast<const std::uint32_t*>(memory.data()); }
};

// Throw std::invalid_argument where the weights don't fit the convolution or the ISA in use.
void conv_bf16(const Conv&, const PackedWords&, const std::uint16_t* x, const float* b, const Bf16Output&);
// With weights of float32: by its kernels, or rounded to bfloat16 where products of pairs are faster.
void conv_bf16(const Conv&, const std::uint16_t* x, const float* w, const float* b, const Bf16Output&);
const char* widened_algorithm(const Conv&);  // of float32's kernels; null where these aren't taken

// dw is contiguous.
void conv_bf16_grad_input(const Conv&, Choice, const std::uint16_t* dy, const float* w, std::uint16_t* dx);
void conv_bf16_grad_weight(const Conv&, Choice, const std::uint16_t* x, const std::uint16_t* dy, float* dw);

struct Int8Input {
  const std::uint8_t* x;
  bool is_signed;
  std::int32_t zero_point;
};
// b and scale (co,); b may be null.
void conv_int8(const Conv&, const PackedWords&, const Int8Input&, const std::int32_t* b, const float* scale,
               const Int8Output&);

}  // namespace tapwise
