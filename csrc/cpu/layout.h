// layout.h — between planes (channels_first) and pixels of contiguous channels, for the part that a task works on.
#pragma once

#include "vec.h"

namespace tapwise::ISA {

// pixels[i * pixel + c] = planes[c * plane_step + i] for i < count, c < channels
void planes_to_pixels(const float* planes, Index plane_step, Index channels, Index count, float* pixels, Index pixel);

// pixels[i * pixel + c] = from[i * from_pixel + c] for i < count, c < channels
void copy_pixels(const float* from, Index from_pixel, Index channels, Index count, float* pixels, Index pixel);

void clear(float* p, Index count);

// planes[c * plane_step + i] = pixels[i, c]
void pixels_to_planes(const float* pixels, Index channels, Index count, float* planes, Index plane_step);

}  // namespace tapwise::ISA
