// arrays.h — arrays on the device, by their __cuda_array_interface__; of the emulated module NumPy's too, by the same
// protocol. Checked, never converted, never copied.
#pragma once

#include "../../cuda/ops.h"
#include "../geometry.h"

namespace tapwise {

#ifdef __CUDACC__
#error "the binding is host code"
#endif

constexpr const char* kInterface = "__cuda_array_interface__";

// Whose fields an array has; the emulated module takes NumPy's too. Null without one.
inline const char* interface_of(py::handle object) {
  if (py::hasattr(object, kInterface)) return kInterface;
#ifdef TAPWISE_CUDA_EMULATED
  if (py::hasattr(object, "__array_interface__")) return "__array_interface__";
#endif
  return nullptr;
}

class DeviceArray {
 public:
  Index ndim() const { return static_cast<Index>(shape_.size()); }
  Index shape(Index axis) const { return shape_[static_cast<std::size_t>(axis)]; }
  Index strides(Index axis) const { return strides_[static_cast<std::size_t>(axis)]; }  // in bytes
  const Sizes& shape() const { return shape_; }
  Index size() const {
    Index product = 1;
    for (const Index length : shape_) product *= length;
    return product;
  }

 protected:
  bool load(py::handle object, const char* type, Index itemsize, bool contiguous) {
    const char* const interface = interface_of(object);
    if (!interface) return false;
    const py::dict fields = object.attr(interface);
    if (fields["typestr"].cast<std::string>() != type) return false;
    shape_ = fields["shape"].cast<Sizes>();
    const py::tuple data = fields["data"];
    memory_ = reinterpret_cast<void*>(data[0].cast<std::uintptr_t>());
    read_only_ = data[1].cast<bool>();
    Sizes packed(shape_.size());
    Index next = itemsize;
    for (std::size_t i = shape_.size(); i-- > 0; next *= shape_[i]) packed[i] = next;
    const bool has_strides = fields.contains("strides") && !fields["strides"].is_none();
    strides_ = has_strides ? fields["strides"].cast<Sizes>() : packed;
    bool same = true;
    for (std::size_t i = 0; i < shape_.size(); ++i) same = same && (shape_[i] == 1 || strides_[i] == packed[i]);
    return same || size() == 0 || !contiguous;
  }
  void* memory() const { return memory_; }
  void need_writeable() const {
    if (read_only_) throw std::invalid_argument("an output must be writeable");
  }

 private:
  Sizes shape_, strides_;
  void* memory_ = nullptr;
  bool read_only_ = false;
};

template <class T, bool kContiguous>
class DeviceTyped : public DeviceArray {
 public:
  bool load(py::handle object) {
    const char* const type = std::is_floating_point_v<T> ? "<f4" : sizeof(T) == 2 ? "<u2" : "<i4";
    return DeviceArray::load(object, type, sizeof(T), kContiguous);
  }
  const T* data() const { return static_cast<const T*>(memory()); }
  T* mutable_data() const {
    need_writeable();
    return static_cast<T*>(memory());
  }
};

using Floats = DeviceTyped<float, true>;
using StridedFloats = DeviceTyped<float, false>;
using Ints = DeviceTyped<std::int32_t, true>;
using Halves = DeviceTyped<std::uint16_t, true>;  // bits of bfloat16
using StridedHalves = DeviceTyped<std::uint16_t, false>;
using MaybeFloats = std::optional<Floats>;
using Name = std::optional<std::string>;

inline void need_shape(const DeviceArray& a, const Sizes& want, const char* name) {
  if (a.shape() != want)
    throw std::invalid_argument(std::string(name) + " must be " + text(want) + ", got " + text(a.shape()));
}

inline const float* pointer(const MaybeFloats& a) {
  return a ? a->data() : nullptr;
}

inline cuda::Stream stream_at(std::uintptr_t address) {
  return reinterpret_cast<cuda::Stream>(address);
}

void bind_device_conv(py::module_&);
void bind_device_nn(py::module_&);

}  // namespace tapwise

namespace pybind11::detail {

template <class T, bool kContiguous>
struct type_caster<tapwise::DeviceTyped<T, kContiguous>> {
  using Typed = tapwise::DeviceTyped<T, kContiguous>;
  PYBIND11_TYPE_CASTER(Typed, const_name("array"));

  bool load(handle object, bool) { return value.load(object); }
};

}  // namespace pybind11::detail
