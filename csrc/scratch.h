// scratch.h — memory that a call works in: per thread, 64-byte aligned, kept between calls, bounded by what plans ask.
#pragma once

#include "shape.h"

namespace tapwise {

// Packed weights and sums of a call; a thread's transformed tiles of a round of Winograd's; one task's own; bfloat16
// arrays in float32.
enum class Scratch : int { shared, tiles, task, wide };

// At least `floats` floats, valid until this thread asks for the same kind again. Contents are not defined.
float* scratch(Scratch kind, Index floats);
Index scratch_bytes();  // held by all threads together

// What a plan may ask of a thread's own kinds, packed weights apart: 16 MiB, unless set. One limit for the process.
inline constexpr Index kLeastWorkspace = Index{1} << 20;  // bytes: direct needs some of it whatever the shape
Index workspace_floats();
Index workspace_bytes();
void set_workspace_bytes(Index);

}  // namespace tapwise
