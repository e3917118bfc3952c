// walk.h — a convolution as a walk over outputs and taps: on each axis output o and tap k meet
//
//   input o * step + first + k * tap_step.
//
// The forward pass is one walk: step = stride, first = -padding, tap_step = dilation. An input gradient is one walk for
// each phase of its strides, over dy: of the inputs p = phase + stride q those taps matter that hit an output, every
// stride / gcd(stride, dilation)-th; they lie dilation / gcd outputs apart, backwards, and q steps by one.
#pragma once

#include "launch.h"

namespace tapwise::cuda {

struct Axis {
  int outputs, inputs, taps;
  int step, first, tap_step;
  Index from, to;       // strides, in elements, of the inputs and of the outputs
  int w_first, w_step;  // tap k is the kernel's w_first + k * w_step
};

struct Walk {
  Index images, groups;
  int ci, co;  // of one group
  Axis d, h, w;
  Index from_image, from_channel, to_image, to_channel, to_first;

  __host__ __device__ Index outputs() const { return Index{d.outputs} * h.outputs * w.outputs; }
  __host__ __device__ Index pixels() const { return images * outputs(); }
  __host__ __device__ Index taps() const { return Index{d.taps} * h.taps * w.taps; }
};

// Strides of an array (n, c, d, h, w) in its layout.
struct Strides {
  Index image, channel, d, h, w;
};

inline Strides strides_of(Layout layout, Index c, Index d, Index h, Index w) {
  if (layout == Layout::channels_last) return {d * h * w * c, 1, h * w * c, w * c, c};
  return {c * d * h * w, d * h * w, h * w, w, 1};
}

Walk forward_walk(const Conv&);
Index phases(const Conv&);  // of an input gradient
Walk grad_input_walk(const Conv&, Index phase);

// Whether sizes fit the walk's 32 bits.
bool can_walk(const Conv&);

struct Pixel {
  Index image;
  int d, h, w;
};

__device__ __forceinline__ Pixel pixel_of(const Walk& s, Index pixel) {
  const Index image = pixel / s.outputs();
  auto rest = static_cast<unsigned>(pixel - image * s.outputs());
  const unsigned row = rest / static_cast<unsigned>(s.w.outputs);
  const unsigned plane = row / static_cast<unsigned>(s.h.outputs);
  return {image, static_cast<int>(plane), static_cast<int>(row - plane * static_cast<unsigned>(s.h.outputs)),
          static_cast<int>(rest - row * static_cast<unsigned>(s.w.outputs))};
}

__device__ __forceinline__ Index output_at(const Walk& s, const Pixel& p) {
  return s.to_first + p.image * s.to_image + p.d * s.d.to + p.h * s.h.to + p.w * s.w.to;
}

__device__ __forceinline__ bool inside(int at, int size) {
  return static_cast<unsigned>(at) < static_cast<unsigned>(size);
}

}  // namespace tapwise::cuda
