// stream.h — a stream as host code passes it on, without CUDA's headers.
#pragma once

#include "../shape.h"

struct CUstream_st;  // CUDA's

namespace tapwise::cuda {

using Stream = CUstream_st*;

}  // namespace tapwise::cuda
