// isa.h — the kernels for this CPU.
#pragma once

#include "kernels.h"
#include "nn_kernels.h"

namespace tapwise {

struct Table {
  const char* isa;
  Index lanes;        // floats in a vector
  Index panel;        // output channels of one packed panel
  Index tile_pixels;  // pixels of the largest register tile
#define KERNEL(name, type) type* name;
#include "kernels.inc"
#undef KERNEL
};

const Table& table();            // the best this CPU runs, or what set_isa chose
bool set_isa(const char* name);  // false if the build or the CPU lacks it
void set_table(const Table&);    // kernels of the caller's own, kept as it is: the tests count calls
int isa_count();                 // levels of this build that this CPU runs, slowest first
const Table& isa_at(int index);

}  // namespace tapwise
