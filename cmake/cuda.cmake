# cuda.cmake — the kernels for NVIDIA devices as the module _cuda, by CUDA 12.8 or later.
#
# TAPWISE_CUDA is ON (an error without nvcc), AUTO (left out where nvcc is missing or can't compile) or OFF, the default:
# for all devices nvcc takes minutes, and most who install from source have none to use.
include(CheckLanguage)
check_language(CUDA)
if(CMAKE_CUDA_COMPILER)
  # Each generation's first: later ones of it run that code, and the driver makes code for unknown ones of compute_75.
  # Set before the language is enabled, which asks for a default else.
  if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
    set(CMAKE_CUDA_ARCHITECTURES 75 80-real 90-real 100-real 120-real)
  endif()
  set(CMAKE_CUDA_STANDARD 20)
  set(CMAKE_CUDA_STANDARD_REQUIRED ON)
  set(CMAKE_CUDA_RUNTIME_LIBRARY Shared)
  enable_language(CUDA)
endif()
if(NOT CMAKE_CUDA_COMPILER OR CMAKE_CUDA_COMPILER_VERSION VERSION_LESS 12.8)
  if(NOT TAPWISE_CUDA STREQUAL "AUTO")
    message(FATAL_ERROR "TAPWISE_CUDA=ON needs an nvcc of CUDA 12.8 or later that compiles, got ${CMAKE_CUDA_COMPILER} "
      "${CMAKE_CUDA_COMPILER_VERSION}")
  endif()
  message(STATUS "no nvcc of CUDA 12.8 or later: built without the module for NVIDIA devices")
  return()
endif()

add_library(cuda_kernels OBJECT ${cuda_sources})
target_compile_options(cuda_kernels PRIVATE -Xcompiler=-Wall,-Wextra $<$<BOOL:${TAPWISE_WERROR}>:-Werror=all-warnings>)
pybind11_add_module(_cuda MODULE NO_EXTRAS ${cuda_bind_sources} $<TARGET_OBJECTS:cuda_kernels>)
target_link_libraries(_cuda PRIVATE tapwise_flags)
target_compile_definitions(_cuda PRIVATE TAPWISE_MODULE=_cuda)
install(TARGETS _cuda DESTINATION tapwise/backend)
