// pool.cpp — pooling for Python: check, release the GIL, call.
#include <limits>

#include "../nn.h"
#include "args.h"

namespace tapwise {
namespace {

constexpr Index kLargest = Index{1} << 61;  // keeps every position and index within 64 bits

void need_product(Index a, Index b, const char* names) {
  if (a > kLargest / b) throw std::invalid_argument(std::string(names) + " must not overflow");
}

// A pooling's sizes, made once per geometry.
struct Pooling {
  Pool s;
  Sizes x_shape, y_shape;

  Pooling(Sizes x, Sizes y, const Sizes& size, const Sizes& strides, const Sizes& before, const Sizes& after,
          const Sizes& dilation, bool count_include_pad, bool adaptive, bool channels_last)
      : s{}, x_shape(std::move(x)), y_shape(std::move(y)) {
    const std::size_t rank = size.size();
    if (rank < 1 || rank > 3 || strides.size() != rank || before.size() != rank || after.size() != rank ||
        dilation.size() != rank || x_shape.size() != rank + 2 || y_shape.size() != rank + 2)
      throw std::invalid_argument("one, two or three spatial dimensions, the same in every argument");
    s.layout = channels_last ? Layout::channels_last : Layout::channels_first;
    s.n = x_shape[0];
    s.c = x_shape[channels_last ? rank + 1 : 1];
    s.count_include_pad = count_include_pad;
    s.adaptive = adaptive;
    if (s.c < 1 || y_shape[0] != s.n || y_shape[channels_last ? rank + 1 : 1] != s.c)
      throw std::invalid_argument("n and c must be those of x " + text(x_shape) + ", got y " + text(y_shape));
    s.id = s.ih = s.iw = s.od = s.oh = s.ow = s.kd = s.kh = s.kw = 1;
    s.sd = s.sh = s.sw = s.dil_d = s.dil_h = s.dil_w = 1;
    Index* const sizes[3][7] = {{&s.id, &s.od, &s.kd, &s.sd, &s.dil_d, &s.pf, &s.pk},
                                {&s.ih, &s.oh, &s.kh, &s.sh, &s.dil_h, &s.pt, &s.pb},
                                {&s.iw, &s.ow, &s.kw, &s.sw, &s.dil_w, &s.pl, &s.pr}};
    for (std::size_t i = 0; i < rank; ++i) {
      const std::size_t axis = i + (channels_last ? 1 : 2);
      const Index values[7] = {x_shape[axis], y_shape[axis], size[i], strides[i], dilation[i], before[i], after[i]};
      for (int j = 0; j < 7; ++j) {
        if (j < 5 && values[j] < 1) throw std::invalid_argument("sizes, strides and dilation must be >= 1");
        if (values[j] > kLargest || values[j] < -kLargest) throw std::invalid_argument("sizes must be < 2^61");
        *sizes[3 - rank + i][j] = values[j];
      }
      need_product(values[1], values[3], "outputs * strides");
      need_product(values[2], values[4], "size * dilation");
      need_product(values[0], values[1], "inputs * outputs");
    }
  }

  void need_indices() const {
    if (s.id * s.ih * s.iw > Index{1} + std::numeric_limits<std::int32_t>::max())
      throw std::invalid_argument("a plane must have at most 2^31 elements to be numbered in int32");
  }
};

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
