// pool.cpp — pooling for Python: check, release the GIL, call.
#include "../nn.h"
#include "pooling.h"

namespace tapwise {
namespace {

// x_shape and y_shape are those of from and to, or the other way round.
void need_fit(const Reals& from, const Sizes& from_shape, const Reals& to, const Sizes& to_shape) {
  need_shape(from, from_shape, "an input");
  need_shape(to, to_shape, "the output");
  if (from.is_bf16() != to.is_bf16()) throw std::invalid_argument("the output must have the type of the input");
}

void forward_max(const Pooling& p, const Reals& x, Reals& y, std::optional<IndexArray>& indices) {
  need_fit(x, p.x_shape, y, p.y_shape);
  if (indices) {
    need_shape(*indices, p.y_shape, "indices");
    p.need_indices();
  }
  const Target to = y.target();
  std::int32_t* const at = indices ? indices->mutable_data() : nullptr;
  const py::gil_scoped_release unlocked;
  max_pool(p.s, x.source(), to, at);
}

void grad_max(const Pooling& p, const Reals& dy, const IndexArray& indices, Reals& dx) {
  need_fit(dy, p.y_shape, dx, p.x_shape);
  need_shape(indices, p.y_shape, "indices");
  p.need_indices();
  const Target to = dx.target();
  const py::gil_scoped_release unlocked;
  max_pool_grad(p.s, dy.source(), indices.data(), to);
}

void forward_average(const Pooling& p, const Reals& x, Reals& y) {
  need_fit(x, p.x_shape, y, p.y_shape);
  const Target to = y.target();
  const py::gil_scoped_release unlocked;
  average_pool(p.s, x.source(), to);
}

void grad_average(const Pooling& p, const Reals& dy, Reals& dx) {
  need_fit(dy, p.y_shape, dx, p.x_shape);
  const Target to = dx.target();
  const py::gil_scoped_release unlocked;
  average_pool_grad(p.s, dy.source(), to);
}

}  // namespace

void bind_pool(py::module_& m) {
  using namespace py::literals;
  py::class_<Pooling>(m, "Pooling")
      .def(py::init<Sizes, Sizes, const Sizes&, const Sizes&, const Sizes&, const Sizes&, const Sizes&, bool, bool,
                    bool>(),
           "x_shape"_a, "y_shape"_a, "size"_a, "strides"_a, "before"_a, "after"_a, "dilation"_a, "count_include_pad"_a,
           "adaptive"_a, "channels_last"_a);
  const auto array = [](const char* name) { return py::arg(name).noconvert(); };
  m.def("max_pool", &forward_max, "pooling"_a, array("x"), array("y"), array("indices").none(true));
  m.def("max_pool_grad", &grad_max, "pooling"_a, array("dy"), array("indices"), array("dx"));
  m.def("average_pool", &forward_average, "pooling"_a, array("x"), array("y"));
  m.def("average_pool_grad", &grad_average, "pooling"_a, array("dy"), array("dx"));
}

}  // namespace tapwise
