// args.h — arrays as kernels take them: checked, never converted, never copied.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "../values.h"

namespace tapwise {

namespace py = pybind11;

// An array argument, as it is: the caller's for the length of a call. pybind11's own array_t makes an empty array of
// NumPy's for each argument first, 50 ns.
class ArrayArgument {
 public:
  Index ndim() const { return proxy()->nd; }
  Index shape(Index axis) const { return proxy()->dimensions[axis]; }
  Index strides(Index axis) const { return proxy()->strides[axis]; }  // in bytes
  Index size() const {
    Index product = 1;
    for (Index i = 0; i < ndim(); ++i) product *= shape(i);
    return product;
  }

 protected:
  bool load(py::handle object, char kind, py::ssize_t itemsize, bool contiguous) {
    if (!py::isinstance<py::array>(object)) return false;
    array_ = object;
    const auto type = py::reinterpret_borrow<py::dtype>(proxy()->descr);
    return type.kind() == kind && type.itemsize() == itemsize && (type.byteorder() == '=' || itemsize == 1) &&
           (!contiguous || (proxy()->flags & py::array::c_style));
  }
  void* memory() const { return proxy()->data; }
  void need_writeable() const {
    if (!(proxy()->flags & py::detail::npy_api::NPY_ARRAY_WRITEABLE_))
      throw std::invalid_argument("an output must be writeable");
  }

 private:
  const py::detail::PyArray_Proxy* proxy() const { return py::detail::array_proxy(array_.ptr()); }

  py::handle array_;
};

template <class T, bool kContiguous>
class TypedArray : public ArrayArgument {
 public:
  bool load(py::handle object) {
    constexpr char kKind = std::is_floating_point_v<T> ? 'f' : std::is_signed_v<T> ? 'i' : 'u';
    return ArrayArgument::load(object, kKind, sizeof(T), kContiguous);
  }
  const T* data() const { return static_cast<const T*>(memory()); }
  T* mutable_data() const {
    need_writeable();
    return static_cast<T*>(memory());
  }
};

// float32, or bfloat16 as ml_dtypes has it.
class Reals : public ArrayArgument {
 public:
  bool load(py::handle object) {
    is_bf16_ = ArrayArgument::load(object, 'V', sizeof(std::uint16_t), true);
    return is_bf16_ || ArrayArgument::load(object, 'f', sizeof(float), true);
  }
  bool is_bf16() const { return is_bf16_; }
  Source source() const {
    return is_bf16_ ? Source(static_cast<const std::uint16_t*>(memory())) : static_cast<const float*>(memory());
  }
  Target target() const {
    need_writeable();
    return is_bf16_ ? Target(static_cast<std::uint16_t*>(memory())) : static_cast<float*>(memory());
  }

 private:
  bool is_bf16_ = false;
};

using Array = TypedArray<float, true>;
using StridedArray = TypedArray<float, false>;
using IndexArray = TypedArray<std::int32_t, true>;
using Sizes = std::vector<Index>;

inline std::string text(const Sizes& sizes) {
  std::string s = "(";
  for (std::size_t i = 0; i < sizes.size(); ++i) s += (i ? ", " : "") + std::to_string(sizes[i]);
  return s + ")";
}

inline Sizes shape_of(const ArrayArgument& a) {
  Sizes sizes;
  for (Index i = 0; i < a.ndim(); ++i) sizes.push_back(a.shape(i));
  return sizes;
}

inline void need_shape(const ArrayArgument& a, const Sizes& want, const char* name) {
  bool same = a.ndim() == static_cast<Index>(want.size());
  for (Index i = 0; same && i < a.ndim(); ++i) same = a.shape(i) == want[static_cast<std::size_t>(i)];
  if (!same) throw std::invalid_argument(std::string(name) + " must be " + text(want) + ", got " + text(shape_of(a)));
}

// Of the shape and type of another array.
inline void need_same(const Reals& a, const Reals& b, const char* name) {
  need_shape(a, shape_of(b), name);
  if (a.is_bf16() != b.is_bf16()) throw std::invalid_argument(std::string(name) + " must have the type of the others");
}

inline const float* pointer(const std::optional<Array>& a) {
  return a ? a->data() : nullptr;
}
inline Source source(const std::optional<Reals>& a) {
  return a ? a->source() : nullptr;
}
inline Target target(const std::optional<Reals>& a) {
  return a ? a->target() : nullptr;
}

Activation activation_of(const std::optional<std::string>& name);

void bind_conv(py::module_&);
void bind_pool(py::module_&);
void bind_nn(py::module_&);
void bind_optim(py::module_&);
void bind_plain(py::module_&);
void bind_low_precision(py::module_&);

}  // namespace tapwise

namespace pybind11::detail {

template <class T, bool kContiguous>
struct type_caster<tapwise::TypedArray<T, kContiguous>> {
  using Typed = tapwise::TypedArray<T, kContiguous>;
  PYBIND11_TYPE_CASTER(Typed, const_name("numpy.ndarray"));

  bool load(handle object, bool) { return value.load(object); }
};

template <>
struct type_caster<tapwise::Reals> {
  PYBIND11_TYPE_CASTER(tapwise::Reals, const_name("numpy.ndarray"));

  bool load(handle object, bool) { return value.load(object); }
};

}  // namespace pybind11::detail
