// conv.cpp — convolutions for Python: check, release the GIL, call.
#include <variant>

#include "../cost.h"
#include "../low_precision.h"
#include "../nn.h"
#include "../ops.h"
#include "../threads.h"
#include "args.h"
#include "geometry.h"

namespace tapwise {
namespace {

Choice choice_of(const std::string& algorithm, const std::string& accuracy) {
  Choice c;
  if (accuracy == "strict")
    c.accuracy = Accuracy::strict;
  else if (accuracy == "fast")
    c.accuracy = Accuracy::fast;
  else if (accuracy != "default")
    throw std::invalid_argument("accuracy must be strict, default or fast, got " + accuracy);
  for (int i = 0; i < kAlgorithms; ++i) {
    c.algorithm = static_cast<Algorithm>(i);
    if (algorithm == name_of(c.algorithm)) return c;
  }
  throw std::invalid_argument("algorithm must be auto or the name of one, got " + algorithm);
}

Pass pass_of(const std::string& name) {
  if (name == "forward") return Pass::forward;
  if (name == "grad_input") return Pass::grad_input;
  if (name == "grad_weight") return Pass::grad_weight;
  throw std::invalid_argument("direction must be forward, grad_input or grad_weight, got " + name);
}

Epilogue epilogue(const std::optional<Array>& b, Index channels, const std::optional<Array>& residual,
                  const Sizes& shape, const std::optional<std::string>& activation, float alpha) {
  if (b) need_shape(*b, {channels}, "b");
  if (residual) need_shape(*residual, shape, "residual");
  return {pointer(b), pointer(residual), activation_of(activation), alpha};
}

void forward(const Geometry& g, const Array& x, const StridedArray& w, const std::optional<Array>& b, Array& y,
             const std::string& algorithm, const std::string& accuracy, const std::optional<std::string>& activation,
             float alpha, const std::optional<Array>& residual) {
  need_shape(x, g.x_shape, "x");
  need_shape(w, g.w_shape, "w");
  need_shape(y, g.y_shape, "y");
  const Epilogue e = epilogue(b, g.s.co, residual, g.y_shape, activation, alpha);
  const Conv s = g.with_strides(w);
  const Choice c = choice_of(algorithm, accuracy);
  float* const to = y.mutable_data();
  const py::gil_scoped_release unlocked;
  conv_forward(s, c, x.data(), w.data(), e, to);
}

void grad_input(const Geometry& g, const Array& dy, const StridedArray& w, const std::optional<Array>& b, Array& dx,
                const std::string& algorithm, const std::string& accuracy, const std::optional<std::string>& activation,
                float alpha, const std::optional<Array>& residual) {
  need_shape(dy, g.y_shape, "dy");
  need_shape(w, g.w_shape, "w");
  need_shape(dx, g.x_shape, "dx");
  const Epilogue e = epilogue(b, g.s.ci, residual, g.x_shape, activation, alpha);
  const Conv s = g.with_strides(w);
  const Choice c = choice_of(algorithm, accuracy);
  float* const to = dx.mutable_data();
  const py::gil_scoped_release unlocked;
  conv_grad_input(s, c, dy.data(), w.data(), e, to);
}

struct ShapedWeights {
  PackedWeights packed;
  Sizes shape;
};

ShapedWeights pack(const Geometry& g, const StridedArray& w, const std::string& direction, const std::string& algorithm,
                   const std::string& accuracy) {
  need_shape(w, g.w_shape, "w");
  const Conv s = g.with_strides(w);
  const Pass pass = pass_of(direction);
  if (pass == Pass::grad_weight) throw std::invalid_argument("direction must be forward or grad_input");
  const Choice c = choice_of(algorithm, accuracy);
  const py::gil_scoped_release unlocked;
  return {PackedWeights(s, pass, c, w.data()), g.w_shape};
}

void packed(const Geometry& g, const Array& from, const ShapedWeights& w, const std::optional<Array>& b, Array& to,
            const std::optional<std::string>& activation, float alpha, const std::optional<Array>& residual) {
  const bool forward = w.packed.pass == Pass::forward;
  const Sizes& shape = forward ? g.y_shape : g.x_shape;
  need_shape(from, forward ? g.x_shape : g.y_shape, forward ? "x" : "dy");
  need_shape(to, shape, forward ? "y" : "dx");
  const Epilogue e = epilogue(b, forward ? g.s.co : g.s.ci, residual, shape, activation, alpha);
  float* const data = to.mutable_data();
  const py::gil_scoped_release unlocked;
  conv_packed(g.s, w.packed, from.data(), e, data);
}

struct SeparableGeometry {
  const Geometry &depthwise, &pointwise;

  SeparableGeometry(const Geometry& first, const Geometry& second) : depthwise(first), pointwise(second) {
    const Conv& p = second.s;
    if (first.y_shape != second.x_shape || p.kd * p.kh * p.kw * p.sd * p.sh * p.sw > 1 || p.pf || p.pt || p.pl)
      throw std::invalid_argument("the second convolution must be a pointwise one of the first one's result");
  }
};

using MaybePacked = std::variant<const ShapedWeights*, StridedArray>;

// Weights with the strides that `s` then has.
AnyWeights any_weights(const Geometry& g, const MaybePacked& w, Conv& s, const char* name) {
  if (const auto* const packed = std::get_if<const ShapedWeights*>(&w)) return {nullptr, &(*packed)->packed};
  const auto& array = std::get<StridedArray>(w);
  need_shape(array, g.w_shape, name);
  s = g.with_strides(array);
  return {array.data(), nullptr};
}

void separable(const Geometry& depthwise, const Geometry& pointwise, const Array& x, const MaybePacked& depthwise_w,
               const MaybePacked& pointwise_w, const std::optional<Array>& depthwise_b, const std::optional<Array>& b,
               Array& y, const std::optional<std::string>& depthwise_activation, float depthwise_alpha,
               const std::optional<std::string>& activation, float alpha, const std::optional<Array>& residual) {
  const SeparableGeometry g(depthwise, pointwise);
  need_shape(x, depthwise.x_shape, "x");
  need_shape(y, pointwise.y_shape, "y");
  Conv s = depthwise.s, mix = pointwise.s;
  const AnyWeights first = any_weights(depthwise, depthwise_w, s, "depthwise_w");
  const AnyWeights second = any_weights(pointwise, pointwise_w, mix, "pointwise_w");
  const Epilogue middle = epilogue(depthwise_b, s.co, {}, {}, depthwise_activation, depthwise_alpha);
  const Epilogue e = epilogue(b, mix.co, residual, pointwise.y_shape, activation, alpha);
  float* const to = y.mutable_data();
  const py::gil_scoped_release unlocked;
  separable_forward(s, mix, x.data(), first, second, middle, e, to);
}

py::tuple separable_plan(const Geometry& depthwise, const Geometry& pointwise) {
  const SeparableGeometry g(depthwise, pointwise);
  const SeparablePlan p = plan_separable(simplified(depthwise.s), simplified(pointwise.s), table());
  return py::make_tuple(p.fused, p.reason, p.split.scratch_floats * static_cast<Index>(sizeof(float)));
}

void grad_weight(const Geometry& g, const Array& x, const Array& dy, StridedArray& dw, const std::string& algorithm,
                 const std::string& accuracy, std::optional<Array>& db, const std::optional<Array>& y,
                 std::optional<Array>& work, const std::optional<std::string>& activation, float alpha) {
  need_shape(x, g.x_shape, "x");
  need_shape(dy, g.y_shape, "dy");
  need_shape(dw, g.w_shape, "dw");
  const Conv s = g.with_strides(dw);
  const Choice c = choice_of(algorithm, accuracy);
  float* const to = dw.mutable_data();
  if (!db) {
    const py::gil_scoped_release unlocked;
    return conv_grad_weight(s, c, x.data(), dy.data(), to);
  }
  const Prologue prologue = {activation_of(activation), alpha, pointer(y)};
  if (prologue.activation == Activation::gelu) throw std::invalid_argument("activation must be one that y tells of");
  if (!work || (activation && !y)) throw std::invalid_argument("work, and y of an activation, must be given with db");
  need_shape(*db, {g.s.co}, "db");
  need_shape(*work, g.y_shape, "work");
  if (y) need_shape(*y, g.y_shape, "y");
  float *const sums = db->mutable_data(), *const dz = work->mutable_data();
  const py::gil_scoped_release unlocked;
  conv_grad_weight_bias(s, c, prologue, x.data(), dy.data(), dz, to, sums);
}

const std::uint16_t* bf16_of(const Reals& a, const char* name) {
  if (!a.is_bf16()) throw std::invalid_argument(std::string(name) + " must be bfloat16");
  return static_cast<const std::uint16_t*>(a.source().data);
}

void bf16_grad_input(const Geometry& g, const Reals& dy, const StridedArray& w, Reals& dx, const std::string& algorithm,
                     const std::string& accuracy) {
  need_shape(dy, g.y_shape, "dy");
  need_shape(w, g.w_shape, "w");
  need_shape(dx, g.x_shape, "dx");
  const Conv s = g.with_strides(w);
  const Choice c = choice_of(algorithm, accuracy);
  const std::uint16_t* const from = bf16_of(dy, "dy");
  bf16_of(dx, "dx");
  auto* const to = static_cast<std::uint16_t*>(dx.target().data);
  const py::gil_scoped_release unlocked;
  conv_bf16_grad_input(s, c, from, w.data(), to);
}

void bf16_grad_weight(const Geometry& g, const Reals& x, const Reals& dy, const Array& dw, const std::string& algorithm,
                      const std::string& accuracy) {
  need_shape(x, g.x_shape, "x");
  need_shape(dy, g.y_shape, "dy");
  need_shape(dw, g.w_shape, "dw");
  const Conv s = g.with_strides(dw);
  const Choice c = choice_of(algorithm, accuracy);
  const std::uint16_t *const from = bf16_of(x, "x"), *const from_y = bf16_of(dy, "dy");
  float* const to = dw.mutable_data();
  const py::gil_scoped_release unlocked;
  conv_bf16_grad_weight(s, c, from, from_y, to);
}

void grad_bias(const Reals& dy, Array& db, bool channels_last) {
  if (dy.ndim() < 2) throw std::invalid_argument("dy must have a batch and a channel axis");
  const Index n = dy.shape(0), channels = dy.shape(channels_last ? dy.ndim() - 1 : 1);
  need_shape(db, {channels}, "db");
  const Index positions = n * channels > 0 ? dy.size() / (n * channels) : 0;
  const Index outer = channels_last ? n * positions : n, inner = channels_last ? 1 : positions;
  float* const to = db.mutable_data();
  const py::gil_scoped_release unlocked;
  bias_grad(Activation::none, 0, outer, channels, inner, dy.source(), nullptr, nullptr, nullptr, to);
}

py::dict plan(const Geometry& g, const std::string& direction, const std::string& algorithm,
              const std::string& accuracy) {
  const Table& t = table();
  const Conv s = simplified(g.s);
  const Pass pass = pass_of(direction);
  const Choice choice = choice_of(algorithm, accuracy);
  const Plan p = plan_conv(s, pass, choice, t);
  Choice once = choice;
  once.packed = true;
  const Index floats = static_cast<Index>(sizeof(float));
  py::list weighed;
  for (const Candidate& c : candidates(s, pass, choice.accuracy, t))
    weighed.append(py::make_tuple(name_of(c.algorithm), c.seconds, c.refused, c.admitted));
  py::dict d;
  d["candidates"] = weighed;
  d["dot"] = p.split.dot;
  d["algorithm"] = name_of(p.algorithm);
  d["packed_algorithm"] = name_of(plan_conv(s, pass, once, t).algorithm);
  d["depthwise"] = p.depthwise;
  d["tile"] = py::make_tuple(p.depthwise ? Index{4} : t.tile_pixels, t.panel);
  const Tiling& tiling = p.tiling;
  const bool winograd = p.algorithm >= Algorithm::winograd;
  const Index columns =
      winograd && tiling.blocks > 0 ? tiling.tile_w * (tiling.tiles / tiling.blocks / tiling.rounds) : 0;
  d["block"] = winograd ? py::make_tuple(tiling.tile_h, columns, tiling.task_panels)
                        : py::make_tuple(p.split.rows, p.split.cols, p.split.task_panels);
  d["tasks"] = p.split.tasks;
  d["chunks"] = p.split.chunks;
  d["workspace_bytes"] = p.split.scratch_floats * floats;
  d["packed_bytes"] = p.split.shared_floats * floats;
  const double packing = pass == Pass::grad_weight ? 0 : packing_seconds(p);
  d["expected_gflops"] = operations(s) / (expected_seconds(s, pass, p, t, thread_count()) + packing) / 1e9;
  d["reason"] = p.reason;
  return d;
}

}  // namespace

void bind_conv(py::module_& m) {
  using namespace py::literals;
  py::class_<Geometry>(m, "Geometry")
      .def(py::init<Sizes, Sizes, Sizes, const Sizes&, const Sizes&, const Sizes&, Index, bool>(), "x_shape"_a,
           "w_shape"_a, "y_shape"_a, "strides"_a, "before"_a, "dilation"_a, "groups"_a, "channels_last"_a);
  const auto array = [](const char* name) { return py::arg(name).noconvert(); };
  const auto optional = [](const char* name) { return py::arg(name).noconvert().none(true); };
  m.def("conv_forward", &forward, "geometry"_a, array("x"), array("w"), optional("b"), array("y"), "algorithm"_a,
        "accuracy"_a, "activation"_a, "alpha"_a, optional("residual"));
  m.def("conv_grad_input", &grad_input, "geometry"_a, array("dy"), array("w"), optional("b"), array("dx"),
        "algorithm"_a, "accuracy"_a, "activation"_a, "alpha"_a, optional("residual"));
  py::class_<ShapedWeights>(m, "PackedWeights")
      .def(py::init(&pack), "geometry"_a, array("w"), "direction"_a, "algorithm"_a, "accuracy"_a)
      .def_property_readonly("nbytes", [](const ShapedWeights& w) { return w.packed.memory.bytes(); })
      .def_property_readonly("shape", [](const ShapedWeights& w) { return py::tuple(py::cast(w.shape)); });
  m.def("conv_packed", &packed, "geometry"_a, array("input"), "w"_a, optional("b"), array("output"), "activation"_a,
        "alpha"_a, optional("residual"));
  m.def("separable_conv", &separable, "depthwise"_a, "pointwise"_a, array("x"), array("depthwise_w"),
        array("pointwise_w"), optional("depthwise_b"), optional("b"), array("y"), "depthwise_activation"_a,
        "depthwise_alpha"_a, "activation"_a, "alpha"_a, optional("residual"));
  m.def("plan_separable", &separable_plan, "depthwise"_a, "pointwise"_a);
  m.def("conv_grad_weight", &grad_weight, "geometry"_a, array("x"), array("dy"), array("dw"), "algorithm"_a,
        "accuracy"_a, optional("db"), optional("y"), optional("work"), "activation"_a, "alpha"_a);
  m.def("conv_bf16_grad_input", &bf16_grad_input, "geometry"_a, array("dy"), array("w"), array("dx"), "algorithm"_a,
        "accuracy"_a);
  m.def("conv_bf16_grad_weight", &bf16_grad_weight, "geometry"_a, array("x"), array("dy"), array("dw"), "algorithm"_a,
        "accuracy"_a);
  m.def("conv_grad_bias", &grad_bias, array("dy"), array("db"), "channels_last"_a);
  m.def("plan_conv", &plan, "geometry"_a, "direction"_a, "algorithm"_a, "accuracy"_a);
}

}  // namespace tapwise
