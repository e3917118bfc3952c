// portable.h — the CUDA that kernels may use. nvcc takes it from CUDA's headers; a host compiler from emulate/, where
// the same text runs thread by thread under sanitizers.
//
// Shared memory comes from CU_SHARED only: CU_SHARED(float, tile, [8][128]) declares float tile[8][128]. Grids and
// blocks have one dimension.
#pragma once

#include "../shape.h"

#ifdef __CUDACC__

#include <cuda_bf16.h>
#include <cuda_pipeline_primitives.h>
#include <cuda_runtime.h>
#include <mma.h>

#define CU_SHARED(T, name, ...) __shared__ __align__(32) T name __VA_ARGS__

#else

#include "emulate/device.h"

#endif

// Whether the code that is being compiled may use tensor cores for TF32 and bfloat16.
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
#define CU_TENSOR_CORES 1
#else
#define CU_TENSOR_CORES 0
#endif
