// args.h — arrays as kernels take them: checked, never converted, never copied.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "../shape.h"

namespace tapwise {

namespace py = pybind11;

using Array = py::array_t<float, py::array::c_style>;  // bind every one with noconvert()
using StridedArray = py::array_t<float, 0>;
using IndexArray = py::array_t<std::int32_t, py::array::c_style>;
using Sizes = std::vector<Index>;

inline std::string text(const Sizes& sizes) {
  std::string s = "(";
  for (std::size_t i = 0; i < sizes.size(); ++i) s += (i ? ", " : "") + std::to_string(sizes[i]);
  return s + ")";
}

inline Sizes shape_of(const py::array& a) {
  return Sizes(a.shape(), a.shape() + a.ndim());
}

inline void need_shape(const py::array& a, const Sizes& want, const char* name) {
  const Sizes got = shape_of(a);
  if (got != want) throw std::invalid_argument(std::string(name) + " must be " + text(want) + ", got " + text(got));
}

inline const float* pointer(const std::optional<Array>& a) {
  return a ? a->data() : nullptr;
}

Activation activation_of(const std::optional<std::string>& name);

void bind_conv(py::module_&);
void bind_pool(py::module_&);
void bind_nn(py::module_&);

}  // namespace tapwise
