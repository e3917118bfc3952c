// nn.cpp — activations, losses, normalization, dropout and optimizers for Python: check, release the GIL, call.
#include "../nn.h"

#include "args.h"

namespace tapwise {
namespace {

struct Rows {
  Index count, classes;
};

Rows rows_of(const ArrayArgument& x, const char* name) {
  if (x.ndim() != 2 || x.shape(1) < 1) throw std::invalid_argument(std::string(name) + " must be (rows, classes)");
  return {x.shape(0), x.shape(1)};
}

void forward_activation(const Reals& x, Reals& y, const std::string& kind, float alpha) {
  need_same(y, x, "y");
  const Activation a = activation_of(kind);
  const Target to = y.target();
  const py::gil_scoped_release unlocked;
  activation(a, alpha, x.size(), x.source(), to);
}

void grad_activation(const Reals& dy, const Reals& y, const std::optional<Reals>& x, Reals& dx, const std::string& kind,
                     float alpha) {
  const Activation a = activation_of(kind);
  need_same(y, dy, "y");
  need_same(dx, dy, "dx");
  if (x) need_same(*x, dy, "x");
  if (!x && a == Activation::gelu) throw std::invalid_argument("x must be given for gelu");
  const Target to = dx.target();
  const py::gil_scoped_release unlocked;
  activation_grad(a, alpha, dy.size(), dy.source(), y.source(), source(x), to);
}

void forward_add(const Reals& a, const Reals& b, Reals& y, const std::optional<std::string>& kind, float alpha) {
  need_same(b, a, "b");
  need_same(y, a, "y");
  const Activation act = activation_of(kind);
  const Target to = y.target();
  const py::gil_scoped_release unlocked;
  add(act, alpha, a.size(), a.source(), b.source(), to);
}

void forward_concatenate(const std::vector<Reals>& given, Reals& y, Index rows) {
  std::vector<Part> parts;
  Index size = 0;
  for (const Reals& x : given) {
    if (x.is_bf16() != y.is_bf16() || rows < 1 || x.size() % rows > 0)
      throw std::invalid_argument("the arrays must have y's type, and rows must divide them");
    parts.push_back({x.source().data, x.size() / rows});
    size += x.size();
  }
  if (size != y.size()) throw std::invalid_argument("y must have the elements of all arrays");
  const Target to = y.target();
  const py::gil_scoped_release unlocked;
  concatenate(rows, parts, to);
}

void forward_cast(const Reals& x, Reals& y) {
  need_shape(y, shape_of(x), "y");
  if (x.is_bf16() == y.is_bf16()) throw std::invalid_argument("y must have another type than x");
  const Target to = y.target();
  const py::gil_scoped_release unlocked;
  cast(x.size(), x.source(), to);
}

void forward_dropout(const Reals& x, Reals& y, double rate, std::uint64_t seed) {
  need_same(y, x, "y");
  if (!(rate >= 0 && rate < 1)) throw std::invalid_argument("rate must be >= 0 and < 1");
  const Target to = y.target();
  const py::gil_scoped_release unlocked;
  dropout(x.size(), x.source(), to, rate, seed);
}

void forward_softmax(const Reals& x, Reals& y) {
  const Rows rows = rows_of(x, "x");
  need_same(y, x, "y");
  const Target to = y.target();
  const py::gil_scoped_release unlocked;
  softmax(rows.count, rows.classes, x.source(), to);
}

void grad_softmax(const Reals& dy, const Reals& y, Reals& dx) {
  const Rows rows = rows_of(dy, "dy");
  need_same(y, dy, "y");
  need_same(dx, dy, "dx");
  const Target to = dx.target();
  const py::gil_scoped_release unlocked;
  softmax_grad(rows.count, rows.classes, dy.source(), y.source(), to);
}

void need_labels(const IndexArray& labels, const Rows& rows) {
  need_shape(labels, {rows.count}, "labels");
  const std::int32_t* const label = labels.data();
  for (Index i = 0; i < rows.count; ++i)
    if (label[i] < 0 || label[i] >= rows.classes)
      throw std::invalid_argument("labels must be >= 0 and < " + std::to_string(rows.classes) + ", got " +
                                  std::to_string(label[i]));
}

void need_labels(const Array& targets, const Rows& rows) {
  need_shape(targets, {rows.count, rows.classes}, "labels");
}

const std::int32_t* classes_of(const IndexArray& labels) {
  return labels.data();
}
const std::int32_t* classes_of(const Array&) {
  return nullptr;
}
const float* targets_of(const IndexArray&) {
  return nullptr;
}
const float* targets_of(const Array& labels) {
  return labels.data();
}

template <class Labels>
void forward_cross_entropy(const Array& logits, const Labels& labels, Array& loss) {
  const Rows rows = rows_of(logits, "logits");
  need_labels(labels, rows);
  need_shape(loss, {rows.count}, "loss");
  float* const to = loss.mutable_data();
  const py::gil_scoped_release unlocked;
  softmax_cross_entropy(rows.count, rows.classes, logits.data(), classes_of(labels), targets_of(labels), to);
}

template <class Labels>
void grad_cross_entropy(const Array& logits, const Labels& labels, const Array& scale, Array& dlogits) {
  const Rows rows = rows_of(logits, "logits");
  need_labels(labels, rows);
  need_shape(scale, {rows.count}, "scale");
  need_shape(dlogits, shape_of(logits), "dlogits");
  float* const to = dlogits.mutable_data();
  const py::gil_scoped_release unlocked;
  softmax_cross_entropy_grad(rows.count, rows.classes, logits.data(), classes_of(labels), targets_of(labels),
                             scale.data(), to);
}

struct Channels {
  Index outer, channels, inner;
};

Channels channels_of(const ArrayArgument& x, bool channels_last) {
  if (x.ndim() < 2) throw std::invalid_argument("x must have a batch and a channel axis");
  const Index channels = x.shape(channels_last ? x.ndim() - 1 : 1);
  if (channels < 1) throw std::invalid_argument("x must have at least one channel");
  if (channels_last) return {x.size() / channels, channels, 1};
  Index inner = 1;
  for (Index axis = 2; axis < x.ndim(); ++axis) inner *= x.shape(axis);
  return {x.shape(0), channels, inner};
}

void need_per_channel(Index channels, std::initializer_list<std::pair<const Array*, const char*>> arrays) {
  for (const auto& [array, name] : arrays) need_shape(*array, {channels}, name);
}

void statistics(const Reals& x, Array& mean, Array& variance, bool channels_last) {
  const Channels s = channels_of(x, channels_last);
  need_per_channel(s.channels, {{&mean, "mean"}, {&variance, "variance"}});
  if (x.size() == 0) throw std::invalid_argument("x must have values to take statistics of");
  float *const m = mean.mutable_data(), *const v = variance.mutable_data();
  const py::gil_scoped_release unlocked;
  batch_norm_statistics(s.outer, s.channels, s.inner, x.source(), m, v);
}

void forward_norm(const Reals& x, const Array& gamma, const Array& beta, const Array& mean, const Array& variance,
                  const std::optional<Reals>& residual, Reals& y, double epsilon,
                  const std::optional<std::string>& kind, float alpha, bool channels_last) {
  const Channels s = channels_of(x, channels_last);
  need_per_channel(s.channels, {{&gamma, "gamma"}, {&beta, "beta"}, {&mean, "mean"}, {&variance, "variance"}});
  if (residual) need_same(*residual, x, "residual");
  need_same(y, x, "y");
  const Epilogue e{beta.data(), nullptr, activation_of(kind), alpha};
  const Target to = y.target();
  const py::gil_scoped_release unlocked;
  batch_norm(s.outer, s.channels, s.inner, e, source(residual), x.source(), gamma.data(), mean.data(), variance.data(),
             epsilon, to);
}

// With masked, dy counts where y > 0, or without y where the normalization with beta gives more than 0.
void grad_norm(const Reals& dy, const Reals& x, const Array& gamma, const Array& mean, const Array& variance,
               const std::optional<Reals>& y, const std::optional<Array>& beta, Reals& dx, std::optional<Reals>& dz,
               Array& dgamma, Array& dbeta, double epsilon, bool masked, bool channels_last) {
  const Channels s = channels_of(x, channels_last);
  need_per_channel(s.channels, {{&gamma, "gamma"}, {&mean, "mean"}, {&variance, "variance"}});
  need_per_channel(s.channels, {{&dgamma, "dgamma"}, {&dbeta, "dbeta"}});
  for (const auto& [array, name] : {std::pair{&dy, "dy"}, {y ? &*y : &x, "y"}, {&dx, "dx"}, {dz ? &*dz : &x, "dz"}})
    need_same(*array, x, name);
  if (x.size() == 0) throw std::invalid_argument("x must have values to take statistics of");
  NormMask mask{NormMask::none, nullptr, nullptr, nullptr};
  if (masked && y) mask.kind = NormMask::by_output;
  if (masked && !y) {
    if (!beta) throw std::invalid_argument("y or beta must be given where dy is masked");
    need_per_channel(s.channels, {{&*beta, "beta"}});
    mask = {NormMask::by_input, nullptr, nullptr, beta->data()};
  }
  const Target to = dx.target(), to_z = target(dz);
  float *const to_gamma = dgamma.mutable_data(), *const to_beta = dbeta.mutable_data();
  const py::gil_scoped_release unlocked;
  batch_norm_grad(s.outer, s.channels, s.inner, mask, source(y), dy.source(), x.source(), gamma.data(), mean.data(),
                  variance.data(), epsilon, to, to_z, to_gamma, to_beta);
}

// mean and variance (n, groups), which says how many groups the channels make.
Groups groups_of(const Array& x, const Array& mean, const Array& variance) {
  const Channels s = channels_of(x, false);
  if (x.size() == 0) throw std::invalid_argument("x must have values to take statistics of");
  if (mean.ndim() != 2 || mean.shape(1) < 1 || s.channels % mean.shape(1) != 0)
    throw std::invalid_argument("mean must be (n, groups), and groups must divide the channels");
  const Index groups = mean.shape(1);
  for (const auto& [array, name] : {std::pair{&mean, "mean"}, {&variance, "variance"}})
    need_shape(*array, {s.outer, groups}, name);
  return {s.outer, groups, s.channels / groups, s.inner};
}

void forward_groups(const Array& x, const Array& gamma, const Array& beta, Array& mean, Array& variance, Array& y,
                    double epsilon) {
  const Groups s = groups_of(x, mean, variance);
  need_per_channel(s.groups * s.channels, {{&gamma, "gamma"}, {&beta, "beta"}});
  need_shape(y, shape_of(x), "y");
  float *const m = mean.mutable_data(), *const v = variance.mutable_data(), *const to = y.mutable_data();
  const py::gil_scoped_release unlocked;
  group_norm(s, x.data(), gamma.data(), beta.data(), epsilon, m, v, to);
}

void grad_groups(const Array& dy, const Array& x, const Array& gamma, const Array& mean, const Array& variance,
                 Array& dx, Array& dgamma, Array& dbeta, double epsilon) {
  const Groups s = groups_of(x, mean, variance);
  need_per_channel(s.groups * s.channels, {{&gamma, "gamma"}, {&dgamma, "dgamma"}, {&dbeta, "dbeta"}});
  for (const auto& [array, name] : {std::pair<const Array*, const char*>{&dy, "dy"}, {&dx, "dx"}})
    need_shape(*array, shape_of(x), name);
  float *const to = dx.mutable_data(), *const to_gamma = dgamma.mutable_data(), *const to_beta = dbeta.mutable_data();
  const py::gil_scoped_release unlocked;
  group_norm_grad(s, dy.data(), x.data(), gamma.data(), mean.data(), variance.data(), epsilon, to, to_gamma, to_beta);
}

void grad_activation_bias(const Reals& dy, const std::optional<Reals>& y, const std::optional<Reals>& x,
                          std::optional<Reals>& dz, Array& db, const std::string& kind, float alpha,
                          bool channels_last) {
  const Activation a = activation_of(kind);
  const Channels s = channels_of(dy, channels_last);
  const bool from_x = a == Activation::gelu;
  if (from_x ? !x : !y) throw std::invalid_argument(from_x ? "x must be given for gelu" : "y must be given");
  if (x) need_same(*x, dy, "x");
  if (y) need_same(*y, dy, "y");
  if (dz) need_same(*dz, dy, "dz");
  need_per_channel(s.channels, {{&db, "db"}});
  const Target to = target(dz);
  float* const sum = db.mutable_data();
  const py::gil_scoped_release unlocked;
  bias_grad(a, alpha, s.outer, s.channels, s.inner, dy.source(), y ? y->source() : x->source(), source(x), to, sum);
}

}  // namespace

void bind_nn(py::module_& m) {
  using namespace py::literals;
  const auto array = [](const char* name) { return py::arg(name).noconvert(); };
  m.def("activation", &forward_activation, array("x"), array("y"), "kind"_a, "alpha"_a);
  m.def("activation_grad", &grad_activation, array("dy"), array("y"), array("x").none(true), array("dx"), "kind"_a,
        "alpha"_a);
  m.def("add", &forward_add, array("a"), array("b"), array("y"), "activation"_a, "alpha"_a);
  m.def("concatenate", &forward_concatenate, "arrays"_a, array("y"), "rows"_a);
  m.def("cast", &forward_cast, array("x"), array("y"));
  m.def("dropout", &forward_dropout, array("x"), array("y"), "rate"_a, "seed"_a);
  m.def("softmax", &forward_softmax, array("x"), array("y"));
  m.def("softmax_grad", &grad_softmax, array("dy"), array("y"), array("dx"));
  m.def("softmax_cross_entropy", &forward_cross_entropy<IndexArray>, array("logits"), array("labels"), array("loss"));
  m.def("softmax_cross_entropy", &forward_cross_entropy<Array>, array("logits"), array("labels"), array("loss"));
  m.def("softmax_cross_entropy_grad", &grad_cross_entropy<IndexArray>, array("logits"), array("labels"), array("scale"),
        array("dlogits"));
  m.def("softmax_cross_entropy_grad", &grad_cross_entropy<Array>, array("logits"), array("labels"), array("scale"),
        array("dlogits"));
  m.def("batch_norm_statistics", &statistics, array("x"), array("mean"), array("variance"), "channels_last"_a);
  m.def("batch_norm", &forward_norm, array("x"), array("gamma"), array("beta"), array("mean"), array("variance"),
        array("residual").none(true), array("y"), "epsilon"_a, "activation"_a, "alpha"_a, "channels_last"_a);
  m.def("batch_norm_grad", &grad_norm, array("dy"), array("x"), array("gamma"), array("mean"), array("variance"),
        array("y").none(true), array("beta").none(true), array("dx"), array("dz").none(true), array("dgamma"),
        array("dbeta"), "epsilon"_a, "masked"_a, "channels_last"_a);
  m.def("group_norm", &forward_groups, array("x"), array("gamma"), array("beta"), array("mean"), array("variance"),
        array("y"), "epsilon"_a);
  m.def("group_norm_grad", &grad_groups, array("dy"), array("x"), array("gamma"), array("mean"), array("variance"),
        array("dx"), array("dgamma"), array("dbeta"), "epsilon"_a);
  m.def("activation_grad_bias", &grad_activation_bias, array("dy"), array("y").none(true), array("x").none(true),
        array("dz").none(true), array("db"), "kind"_a, "alpha"_a, "channels_last"_a);
}

}  // namespace tapwise
