// low_precision.cpp — bfloat16 and int8 for Python: bfloat16 arrives as the uint16 of the same bits.
#include "../low_precision.h"

#include <limits>

#include "geometry.h"

namespace tapwise {
namespace {

template <class T>
using Strided = TypedArray<T, false>;
template <class T>
using Contiguous = TypedArray<T, true>;

template <class T>
std::unique_ptr<PackedWords> pack(const Geometry& g, const Strided<T>& w) {
  need_shape(w, g.w_shape, "w");
  const Conv s = g.with_strides(w);
  const py::gil_scoped_release unlocked;
  return std::make_unique<PackedWords>(s, w.data());
}

template <class Y>
Bf16Output bf16_output(const Geometry& g, const Contiguous<std::uint16_t>& x, const std::optional<Array>& b,
                       const Contiguous<Y>& y, const std::optional<std::string>& activation, float alpha) {
  need_shape(x, g.x_shape, "x");
  need_shape(y, g.y_shape, "y");
  if (b) need_shape(*b, {g.s.co}, "b");
  const Activation kind = activation_of(activation);
  if (kind > Activation::leaky_relu) throw std::invalid_argument("activation must be relu or leaky_relu");
  return {y.mutable_data(), sizeof(Y) == sizeof(float), kind, alpha};
}

template <class Y>
void bf16(const Geometry& g, const Contiguous<std::uint16_t>& x, const PackedWords& w, const std::optional<Array>& b,
          const Contiguous<Y>& y, const std::optional<std::string>& activation, float alpha) {
  const Bf16Output to = bf16_output(g, x, b, y, activation, alpha);
  const py::gil_scoped_release unlocked;
  conv_bf16(g.s, w, x.data(), pointer(b), to);
}

template <class Y>
void bf16_mixed(const Geometry& g, const Contiguous<std::uint16_t>& x, const StridedArray& w,
                const std::optional<Array>& b, const Contiguous<Y>& y, const std::optional<std::string>& activation,
                float alpha) {
  const Bf16Output to = bf16_output(g, x, b, y, activation, alpha);
  need_shape(w, g.w_shape, "w");
  const Conv s = g.with_strides(w);
  const py::gil_scoped_release unlocked;
  conv_bf16(s, x.data(), w.data(), pointer(b), to);
}

template <class T>
void need_byte(int value, const char* name) {
  if (value < std::numeric_limits<T>::min() || value > std::numeric_limits<T>::max())
    throw std::invalid_argument(std::string(name) + " must fit its array, got " + std::to_string(value));
}

template <class X, class Y>
void int8(const Geometry& g, const Contiguous<X>& x, const PackedWords& w, const std::optional<IndexArray>& b,
          const Contiguous<Y>& y, const Array& scale, int x_zero_point, int y_zero_point, bool relu) {
  need_shape(x, g.x_shape, "x");
  need_shape(y, g.y_shape, "y");
  need_shape(scale, {g.s.co}, "scale");
  if (b) need_shape(*b, {g.s.co}, "b");
  need_byte<X>(x_zero_point, "x_zero_point");
  need_byte<Y>(y_zero_point, "y_zero_point");
  const int least = relu ? y_zero_point : std::numeric_limits<Y>::min();
  const Int8Output to = {
      reinterpret_cast<std::uint8_t*>(y.mutable_data()), y_zero_point, least, std::numeric_limits<Y>::max(), 0, 0};
  const Int8Input from = {reinterpret_cast<const std::uint8_t*>(x.data()), std::is_signed_v<X>, x_zero_point};
  const py::gil_scoped_release unlocked;
  conv_int8(g.s, w, from, b ? b->data() : nullptr, scale.data(), to);
}

template <class Y>
void bind_outputs(py::module_& m) {
  using namespace py::literals;
  m.def("conv_int8", &int8<std::uint8_t, Y>, "geometry"_a, "x"_a, "w"_a, "b"_a, "y"_a, "scale"_a, "x_zero_point"_a,
        "y_zero_point"_a, "relu"_a);
  m.def("conv_int8", &int8<std::int8_t, Y>, "geometry"_a, "x"_a, "w"_a, "b"_a, "y"_a, "scale"_a, "x_zero_point"_a,
        "y_zero_point"_a, "relu"_a);
}

}  // namespace

void bind_low_precision(py::module_& m) {
  using namespace py::literals;
  py::class_<PackedWords>(m, "PackedWords")
      .def(py::init(&pack<std::uint16_t>), "geometry"_a, "w"_a)
      .def(py::init(&pack<std::int8_t>), "geometry"_a, "w"_a)
      .def_property_readonly("nbytes", [](const PackedWords& w) { return w.memory.bytes(); });
  m.def("conv_bf16", &bf16<std::uint16_t>, "geometry"_a, "x"_a, "w"_a, "b"_a, "y"_a, "activation"_a, "alpha"_a);
  m.def("conv_bf16", &bf16<float>, "geometry"_a, "x"_a, "w"_a, "b"_a, "y"_a, "activation"_a, "alpha"_a);
  m.def("conv_bf16", &bf16_mixed<std::uint16_t>, "geometry"_a, "x"_a, "w"_a, "b"_a, "y"_a, "activation"_a, "alpha"_a);
  m.def("conv_bf16", &bf16_mixed<float>, "geometry"_a, "x"_a, "w"_a, "b"_a, "y"_a, "activation"_a, "alpha"_a);
  m.def(
      "widened_algorithm",
      [](const Geometry& g) {
        const char* const name = widened_algorithm(g.s);
        return name ? std::optional<std::string>(name) : std::nullopt;
      },
      "geometry"_a);
  bind_outputs<std::uint8_t>(m);
  bind_outputs<std::int8_t>(m);
}

}  // namespace tapwise
