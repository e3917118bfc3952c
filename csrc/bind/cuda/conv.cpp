// conv.cpp — convolutions on the device for Python: check, release the GIL, call.
#include "../../cuda/cost.h"
#include "arrays.h"

namespace tapwise {
namespace {

cuda::Algorithm algorithm_of(const std::string& name) {
  if (name == "auto") return cuda::Algorithm::automatic;
  if (name == "winograd") return cuda::Algorithm::winograd_4x4;
  for (const cuda::Algorithm a : cuda::kAlgorithms)
    if (name == cuda::name_of(a)) return a;
  throw std::invalid_argument("algorithm must be auto or the name of one of the device's, got " + name);
}

cuda::Pass pass_of(const std::string& name) {
  if (name == "forward") return cuda::Pass::forward;
  if (name == "grad_input") return cuda::Pass::grad_input;
  if (name == "grad_weight") return cuda::Pass::grad_weight;
  throw std::invalid_argument("direction must be forward, grad_input or grad_weight, got " + name);
}

cuda::Accuracy accuracy_of(const std::string& name) {
  return name == "strict" ? cuda::Accuracy::strict : name == "fast" ? cuda::Accuracy::fast : cuda::Accuracy::standard;
}

cuda::Plan plan_of(const Conv& s, cuda::Pass pass, const std::string& algorithm, const std::string& accuracy) {
  return cuda::plan(s, pass, algorithm_of(algorithm), accuracy_of(accuracy));
}

Epilogue epilogue(const MaybeFloats& b, Index channels, const MaybeFloats& residual, const Sizes& shape,
                  const Name& activation, float alpha) {
  if (b) need_shape(*b, {channels}, "b");
  if (residual) need_shape(*residual, shape, "residual");
  return {pointer(b), pointer(residual), activation_of(activation), alpha};
}

void forward(const Geometry& g, const Floats& x, const StridedFloats& w, const MaybeFloats& b, const Floats& y,
             const std::string& algorithm, const std::string& accuracy, const Name& activation, float alpha,
             const MaybeFloats& residual, std::uintptr_t stream) {
  need_shape(x, g.x_shape, "x");
  need_shape(w, g.w_shape, "w");
  need_shape(y, g.y_shape, "y");
  const Epilogue e = epilogue(b, g.s.co, residual, g.y_shape, activation, alpha);
  const Conv s = g.with_strides(w);
  const cuda::Plan p = plan_of(s, cuda::Pass::forward, algorithm, accuracy);
  float* const to = y.mutable_data();
  const py::gil_scoped_release unlocked;
  cuda::conv_forward(s, p, x.data(), w.data(), e, to, stream_at(stream));
}

void grad_input(const Geometry& g, const Floats& dy, const StridedFloats& w, const MaybeFloats& b, const Floats& dx,
                const std::string& algorithm, const std::string& accuracy, const Name& activation, float alpha,
                const MaybeFloats& residual, std::uintptr_t stream) {
  need_shape(dy, g.y_shape, "dy");
  need_shape(w, g.w_shape, "w");
  need_shape(dx, g.x_shape, "dx");
  const Epilogue e = epilogue(b, g.s.ci, residual, g.x_shape, activation, alpha);
  const Conv s = g.with_strides(w);
  const cuda::Plan p = plan_of(s, cuda::Pass::grad_input, algorithm, accuracy);
  float* const to = dx.mutable_data();
  const py::gil_scoped_release unlocked;
  cuda::conv_grad_input(s, p, dy.data(), w.data(), e, to, stream_at(stream));
}

void grad_weight(const Geometry& g, const Floats& x, const Floats& dy, const StridedFloats& dw,
                 const std::string& algorithm, const std::string& accuracy, std::uintptr_t stream) {
  need_shape(x, g.x_shape, "x");
  need_shape(dy, g.y_shape, "dy");
  need_shape(dw, g.w_shape, "dw");
  const Conv s = g.with_strides(dw);
  const cuda::Plan p = plan_of(s, cuda::Pass::grad_weight, algorithm, accuracy);
  float* const to = dw.mutable_data();
  const py::gil_scoped_release unlocked;
  cuda::conv_grad_weight(s, p, x.data(), dy.data(), to, stream_at(stream));
}

cuda::Bf16Weights bf16_weights(const StridedHalves& w) {
  return {w.data(), nullptr};
}
cuda::Bf16Weights bf16_weights(const StridedFloats& w) {
  return {nullptr, w.data()};
}
cuda::Bf16Output bf16_output(const Halves& y) {
  return {y.mutable_data(), nullptr};
}
cuda::Bf16Output bf16_output(const Floats& y) {
  return {nullptr, y.mutable_data()};
}

template <class W, class Y>
void forward_bf16(const Geometry& g, const Halves& x, const W& w, const MaybeFloats& b, const Y& y,
                  const Name& activation, float alpha, std::uintptr_t stream) {
  need_shape(x, g.x_shape, "x");
  need_shape(w, g.w_shape, "w");
  need_shape(y, g.y_shape, "y");
  const Epilogue e = epilogue(b, g.s.co, std::nullopt, g.y_shape, activation, alpha);
  const Conv s = g.with_strides(w);
  const cuda::Plan p = cuda::plan_bf16(s, cuda::Pass::forward);
  const cuda::Bf16Output to = bf16_output(y);
  const py::gil_scoped_release unlocked;
  cuda::conv_bf16(s, cuda::Pass::forward, p, x.data(), bf16_weights(w), e, to, stream_at(stream));
}

void grad_input_bf16(const Geometry& g, const Halves& dy, const StridedFloats& w, const Halves& dx,
                     const std::string& algorithm, std::uintptr_t stream) {
  need_shape(dy, g.y_shape, "dy");
  need_shape(w, g.w_shape, "w");
  need_shape(dx, g.x_shape, "dx");
  const Conv s = g.with_strides(w);
  const cuda::Plan p = cuda::plan_bf16(s, cuda::Pass::grad_input, algorithm_of(algorithm));
  const cuda::Bf16Output to = bf16_output(dx);
  const py::gil_scoped_release unlocked;
  cuda::conv_bf16(s, cuda::Pass::grad_input, p, dy.data(), bf16_weights(w), {}, to, stream_at(stream));
}

void grad_weight_bf16(const Geometry& g, const Halves& x, const Halves& dy, const Floats& dw,
                      const std::string& algorithm, std::uintptr_t stream) {
  need_shape(x, g.x_shape, "x");
  need_shape(dy, g.y_shape, "dy");
  need_shape(dw, g.w_shape, "dw");
  const Conv s = g.with_strides(dw);
  const cuda::Plan p = cuda::plan_bf16(s, cuda::Pass::grad_weight, algorithm_of(algorithm));
  float* const to = dw.mutable_data();
  const py::gil_scoped_release unlocked;
  cuda::conv_bf16_grad_weight(s, p, x.data(), dy.data(), to, stream_at(stream));
}

template <class W, class Y>
void bind_bf16(py::module_& m) {
  using namespace py::literals;
  m.def("conv_bf16", &forward_bf16<W, Y>, "geometry"_a, "x"_a, "w"_a, "b"_a.none(true), "y"_a, "activation"_a,
        "alpha"_a, "stream"_a);
}

// Candidates: name, expected seconds, why not, why automatic won't.
py::dict plan(const Geometry& g, const std::string& direction, const std::string& algorithm,
              const std::string& accuracy, const Name& device) {
  using namespace py::literals;
  const cuda::Pass pass = pass_of(direction);
  const cuda::Accuracy admits = accuracy_of(accuracy);
  const cuda::Device d = device ? cuda::data_sheet(*device) : cuda::known_device();
  const cuda::Plan p = cuda::plan(g.s, pass, algorithm_of(algorithm), admits, d);
  py::list candidates;
  for (const cuda::Algorithm a : cuda::kAlgorithms) {
    const char* const refused = cuda::refusal(g.s, pass, a);
    const double seconds = refused ? 0 : cuda::plan(g.s, pass, a, admits, d).seconds;
    candidates.append(
        py::make_tuple(cuda::name_of(a), seconds, refused ? refused : "", cuda::admitted(g.s, pass, admits, a)));
  }
  return py::dict("algorithm"_a = cuda::name_of(p.algorithm), "candidates"_a = candidates, "rows"_a = p.rows,
                  "columns"_a = p.columns, "blocks"_a = p.blocks, "workspace_bytes"_a = p.workspace_bytes,
                  "reason"_a = p.reason, "tf32"_a = p.tf32, "seconds"_a = p.seconds,
                  "operations"_a = cuda::operations(g.s));
}

}  // namespace

void bind_device_conv(py::module_& m) {
  using namespace py::literals;
  py::class_<Geometry>(m, "Geometry", py::module_local())
      .def(py::init<Sizes, Sizes, Sizes, const Sizes&, const Sizes&, const Sizes&, Index, bool>(), "x_shape"_a,
           "w_shape"_a, "y_shape"_a, "strides"_a, "before"_a, "dilation"_a, "groups"_a, "channels_last"_a);
  m.def("conv_forward", &forward, "geometry"_a, "x"_a, "w"_a, "b"_a.none(true), "y"_a, "algorithm"_a, "accuracy"_a,
        "activation"_a, "alpha"_a, "residual"_a.none(true), "stream"_a);
  m.def("conv_grad_input", &grad_input, "geometry"_a, "dy"_a, "w"_a, "b"_a.none(true), "dx"_a, "algorithm"_a,
        "accuracy"_a, "activation"_a, "alpha"_a, "residual"_a.none(true), "stream"_a);
  m.def("conv_grad_weight", &grad_weight, "geometry"_a, "x"_a, "dy"_a, "dw"_a, "algorithm"_a, "accuracy"_a, "stream"_a);
  bind_bf16<StridedHalves, Halves>(m);
  bind_bf16<StridedHalves, Floats>(m);
  bind_bf16<StridedFloats, Halves>(m);
  bind_bf16<StridedFloats, Floats>(m);
  m.def("conv_bf16_grad_input", &grad_input_bf16, "geometry"_a, "dy"_a, "w"_a, "dx"_a, "algorithm"_a, "stream"_a);
  m.def("conv_bf16_grad_weight", &grad_weight_bf16, "geometry"_a, "x"_a, "dy"_a, "dw"_a, "algorithm"_a, "stream"_a);
  m.def("plan_conv", &plan, "geometry"_a, "direction"_a, "algorithm"_a, "accuracy"_a, "device"_a = py::none());
  m.def(
      "bf16_algorithm",
      [](const Geometry& g) { return cuda::name_of(cuda::plan_bf16(g.s, cuda::Pass::forward).algorithm); },
      "geometry"_a);
  m.def("set_tile", &cuda::set_tile, "rows"_a);
}

}  // namespace tapwise
