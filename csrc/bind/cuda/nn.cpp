// nn.cpp — what the device offers beside convolution, for Python: check, release the GIL, call.
#include "../../cuda/nn.h"

#include "../pooling.h"
#include "arrays.h"

namespace tapwise {
namespace {

using Address = std::uintptr_t;  // of a stream
using MaybeInts = std::optional<Ints>;

void need_same(const DeviceArray& a, const DeviceArray& b, const char* name) {
  need_shape(a, b.shape(), name);
}
void need_same(const MaybeFloats& a, const DeviceArray& b, const char* name) {
  if (a) need_same(*a, b, name);
}

float* target(const MaybeFloats& a) {
  return a ? a->mutable_data() : nullptr;
}

void forward_max(const Pooling& p, const Floats& x, const Floats& y, const MaybeInts& indices, Address stream) {
  need_shape(x, p.x_shape, "x");
  need_shape(y, p.y_shape, "y");
  if (indices) {
    need_shape(*indices, p.y_shape, "indices");
    p.need_indices();
  }
  float* const to = y.mutable_data();
  std::int32_t* const at = indices ? indices->mutable_data() : nullptr;
  const py::gil_scoped_release unlocked;
  cuda::max_pool(p.s, x.data(), to, at, stream_at(stream));
}

void grad_max(const Pooling& p, const Floats& dy, const Ints& indices, const Floats& dx, Address stream) {
  need_shape(dy, p.y_shape, "dy");
  need_shape(dx, p.x_shape, "dx");
  need_shape(indices, p.y_shape, "indices");
  p.need_indices();
  float* const to = dx.mutable_data();
  const py::gil_scoped_release unlocked;
  cuda::max_pool_grad(p.s, dy.data(), indices.data(), to, stream_at(stream));
}

void forward_average(const Pooling& p, const Floats& x, const Floats& y, Address stream) {
  need_shape(x, p.x_shape, "x");
  need_shape(y, p.y_shape, "y");
  float* const to = y.mutable_data();
  const py::gil_scoped_release unlocked;
  cuda::average_pool(p.s, x.data(), to, stream_at(stream));
}

void grad_average(const Pooling& p, const Floats& dy, const Floats& dx, Address stream) {
  need_shape(dy, p.y_shape, "dy");
  need_shape(dx, p.x_shape, "dx");
  float* const to = dx.mutable_data();
  const py::gil_scoped_release unlocked;
  cuda::average_pool_grad(p.s, dy.data(), to, stream_at(stream));
}

void forward_activation(const Floats& x, const Floats& y, const std::string& kind, float alpha, Address stream) {
  need_same(y, x, "y");
  const Activation a = activation_of(kind);
  float* const to = y.mutable_data();
  const py::gil_scoped_release unlocked;
  cuda::activation(a, alpha, x.size(), x.data(), to, stream_at(stream));
}

void grad_activation(const Floats& dy, const Floats& y, const MaybeFloats& x, const Floats& dx, const std::string& kind,
                     float alpha, Address stream) {
  const Activation a = activation_of(kind);
  need_same(y, dy, "y");
  need_same(dx, dy, "dx");
  need_same(x, dy, "x");
  if (!x && a == Activation::gelu) throw std::invalid_argument("x must be given for gelu");
  float* const to = dx.mutable_data();
  const py::gil_scoped_release unlocked;
  cuda::activation_grad(a, alpha, dy.size(), dy.data(), y.data(), pointer(x), to, stream_at(stream));
}

void forward_add(const Floats& a, const Floats& b, const Floats& y, const Name& kind, float alpha, Address stream) {
  need_same(b, a, "b");
  need_same(y, a, "y");
  const Activation act = activation_of(kind);
  float* const to = y.mutable_data();
  const py::gil_scoped_release unlocked;
  cuda::add(act, alpha, a.size(), a.data(), b.data(), to, stream_at(stream));
}

void forward_dropout(const Floats& x, const Floats& y, double rate, std::uint64_t seed, Address stream) {
  need_same(y, x, "y");
  if (!(rate >= 0 && rate < 1)) throw std::invalid_argument("rate must be >= 0 and < 1");
  float* const to = y.mutable_data();
  const py::gil_scoped_release unlocked;
  cuda::dropout(x.size(), x.data(), to, rate, seed, stream_at(stream));
}

template <class X, class Y>
void forward_cast(const X& x, const Y& y, Address stream) {
  need_same(y, x, "y");
  auto* const to = y.mutable_data();
  const py::gil_scoped_release unlocked;
  cuda::cast(x.size(), x.data(), to, stream_at(stream));
}

struct Rows {
  Index count, classes;
};

Rows rows_of(const DeviceArray& x, const char* name) {
  if (x.ndim() != 2 || x.shape(1) < 1) throw std::invalid_argument(std::string(name) + " must be (rows, classes)");
  return {x.shape(0), x.shape(1)};
}

void forward_softmax(const Floats& x, const Floats& y, Address stream) {
  const Rows rows = rows_of(x, "x");
  need_same(y, x, "y");
  float* const to = y.mutable_data();
  const py::gil_scoped_release unlocked;
  cuda::softmax(rows.count, rows.classes, x.data(), to, stream_at(stream));
}

void grad_softmax(const Floats& dy, const Floats& y, const Floats& dx, Address stream) {
  const Rows rows = rows_of(dy, "dy");
  need_same(y, dy, "y");
  need_same(dx, dy, "dx");
  float* const to = dx.mutable_data();
  const py::gil_scoped_release unlocked;
  cuda::softmax_grad(rows.count, rows.classes, dy.data(), y.data(), to, stream_at(stream));
}

void need_labels(const Ints& labels, const Rows& rows) {
  need_shape(labels, {rows.count}, "labels");
}
void need_labels(const Floats& targets, const Rows& rows) {
  need_shape(targets, {rows.count, rows.classes}, "labels");
}
const std::int32_t* classes_of(const Ints& labels) {
  return labels.data();
}
const std::int32_t* classes_of(const Floats&) {
  return nullptr;
}
const float* targets_of(const Ints&) {
  return nullptr;
}
const float* targets_of(const Floats& labels) {
  return labels.data();
}

template <class Labels>
void forward_cross_entropy(const Floats& logits, const Labels& labels, const Floats& loss, Address stream) {
  const Rows rows = rows_of(logits, "logits");
  need_labels(labels, rows);
  need_shape(loss, {rows.count}, "loss");
  float* const to = loss.mutable_data();
  const py::gil_scoped_release unlocked;
  cuda::softmax_cross_entropy(rows.count, rows.classes, logits.data(), classes_of(labels), targets_of(labels), to,
                              stream_at(stream));
}

template <class Labels>
void grad_cross_entropy(const Floats& logits, const Labels& labels, const Floats& scale, const Floats& dlogits,
                        Address stream) {
  const Rows rows = rows_of(logits, "logits");
  need_labels(labels, rows);
  need_shape(scale, {rows.count}, "scale");
  need_same(dlogits, logits, "dlogits");
  float* const to = dlogits.mutable_data();
  const py::gil_scoped_release unlocked;
  cuda::softmax_cross_entropy_grad(rows.count, rows.classes, logits.data(), classes_of(labels), targets_of(labels),
                                   scale.data(), to, stream_at(stream));
}

cuda::Channels channels_of(const DeviceArray& x, bool channels_last) {
  if (x.ndim() < 2) throw std::invalid_argument("x must have a batch and a channel axis");
  const Index channels = x.shape(channels_last ? x.ndim() - 1 : 1);
  if (channels < 1) throw std::invalid_argument("x must have at least one channel");
  if (channels_last) return {x.size() / channels, channels, 1};
  Index inner = 1;
  for (Index axis = 2; axis < x.ndim(); ++axis) inner *= x.shape(axis);
  return {x.shape(0), channels, inner};
}

void need_per_channel(Index channels, std::initializer_list<std::pair<const Floats*, const char*>> arrays) {
  for (const auto& [array, name] : arrays) need_shape(*array, {channels}, name);
}

void statistics(const Floats& x, const Floats& mean, const Floats& variance, bool channels_last, Address stream) {
  const cuda::Channels s = channels_of(x, channels_last);
  need_per_channel(s.channels, {{&mean, "mean"}, {&variance, "variance"}});
  if (x.size() == 0) throw std::invalid_argument("x must have values to take statistics of");
  float *const m = mean.mutable_data(), *const v = variance.mutable_data();
  const py::gil_scoped_release unlocked;
  cuda::batch_norm_statistics(s, x.data(), m, v, stream_at(stream));
}

void forward_norm(const Floats& x, const Floats& gamma, const Floats& beta, const Floats& mean, const Floats& variance,
                  const MaybeFloats& residual, const Floats& y, double epsilon, const Name& kind, float alpha,
                  bool channels_last, Address stream) {
  const cuda::Channels s = channels_of(x, channels_last);
  need_per_channel(s.channels, {{&gamma, "gamma"}, {&beta, "beta"}, {&mean, "mean"}, {&variance, "variance"}});
  need_same(residual, x, "residual");
  need_same(y, x, "y");
  const Epilogue e{beta.data(), pointer(residual), activation_of(kind), alpha};
  float* const to = y.mutable_data();
  const py::gil_scoped_release unlocked;
  if (x.size() == 0) return;
  cuda::batch_norm(s, e, x.data(), gamma.data(), mean.data(), variance.data(), epsilon, to, stream_at(stream));
}

void grad_norm(const Floats& dy, const Floats& x, const Floats& gamma, const Floats& mean, const Floats& variance,
               const MaybeFloats& y, const MaybeFloats& beta, const Floats& dx, const MaybeFloats& dz,
               const Floats& dgamma, const Floats& dbeta, double epsilon, bool is_masked, bool channels_last,
               Address stream) {
  const cuda::Channels s = channels_of(x, channels_last);
  need_per_channel(s.channels, {{&gamma, "gamma"}, {&mean, "mean"}, {&variance, "variance"}});
  need_per_channel(s.channels, {{&dgamma, "dgamma"}, {&dbeta, "dbeta"}});
  need_same(dy, x, "dy");
  need_same(y, x, "y");
  need_same(dx, x, "dx");
  need_same(dz, x, "dz");
  if (x.size() == 0) throw std::invalid_argument("x must have values to take statistics of");
  NormMask mask{NormMask::none, nullptr, nullptr, nullptr};
  if (is_masked && y) mask = {NormMask::by_output, y->data(), nullptr, nullptr};
  if (is_masked && !y) {
    if (!beta) throw std::invalid_argument("y or beta must be given where dy is masked");
    need_per_channel(s.channels, {{&*beta, "beta"}});
    mask = {NormMask::by_input, nullptr, nullptr, beta->data()};
  }
  float *const to = dx.mutable_data(), *const to_z = target(dz);
  float *const to_gamma = dgamma.mutable_data(), *const to_beta = dbeta.mutable_data();
  const py::gil_scoped_release unlocked;
  cuda::batch_norm_grad(s, mask, dy.data(), x.data(), gamma.data(), mean.data(), variance.data(), epsilon, to, to_z,
                        to_gamma, to_beta, stream_at(stream));
}

void grad_activation_bias(const Floats& dy, const MaybeFloats& y, const MaybeFloats& x, const MaybeFloats& dz,
                          const Floats& db, const Name& kind, float alpha, bool channels_last, Address stream) {
  const Activation a = activation_of(kind);
  const cuda::Channels s = channels_of(dy, channels_last);
  if (a == Activation::gelu && !x) throw std::invalid_argument("x must be given for gelu");
  if (a != Activation::gelu && a != Activation::none && !y) throw std::invalid_argument("y must be given");
  need_same(x, dy, "x");
  need_same(y, dy, "y");
  need_same(dz, dy, "dz");
  need_per_channel(s.channels, {{&db, "db"}});
  float *const to = target(dz), *const sum = db.mutable_data();
  const py::gil_scoped_release unlocked;
  cuda::bias_grad(a, alpha, s, dy.data(), pointer(y), pointer(x), to, sum, stream_at(stream));
}

cuda::Rule rule_of(const std::string& name) {
  if (name == "sgd") return cuda::Rule::sgd;
  if (name == "adam") return cuda::Rule::adam;
  if (name == "rmsprop") return cuda::Rule::rmsprop;
  throw std::invalid_argument("rule must be sgd, adam or rmsprop, got " + name);
}

void step(const std::string& rule, const Floats& w, const Floats& dw, const MaybeFloats& m, const MaybeFloats& v,
          const MaybeFloats& average, float scale, float rate, float keep, float momentum, bool nesterov, float rate_1,
          float rate_2, float epsilon, float clip, float average_rate, Address stream) {
  const cuda::Update u{rule_of(rule), nesterov, rate, keep, momentum, rate_1, rate_2, epsilon, clip, average_rate};
  need_same(dw, w, "dw");
  need_same(m, w, "m");
  need_same(v, w, "v");
  need_same(average, w, "average");
  if (u.rule != cuda::Rule::sgd && !v) throw std::invalid_argument("v must be given to " + rule);
  if (u.rule == cuda::Rule::adam && !m) throw std::invalid_argument("m must be given to adam");
  const cuda::Slot slot{w.mutable_data(), dw.data(), target(m), target(v), target(average), scale, w.size()};
  const py::gil_scoped_release unlocked;
  cuda::optimizer_update(u, slot, stream_at(stream));
}

double squares(const Floats& x, Address stream) {
  const py::gil_scoped_release unlocked;
  return cuda::square_sum(x.size(), x.data(), stream_at(stream));
}

void average_of(const Floats& average, const Floats& value, double momentum, Address stream) {
  need_same(value, average, "value");
  float* const to = average.mutable_data();
  const py::gil_scoped_release unlocked;
  cuda::moving_average(average.size(), momentum, value.data(), to, stream_at(stream));
}

}  // namespace

// Every argument by its place, in the order of backend/device.py; the last is the stream.
void bind_device_nn(py::module_& m) {
  using namespace py::literals;
  py::class_<Pooling>(m, "Pooling", py::module_local())
      .def(py::init<Sizes, Sizes, const Sizes&, const Sizes&, const Sizes&, const Sizes&, const Sizes&, bool, bool,
                    bool>());
  m.def("max_pool", &forward_max);
  m.def("max_pool_grad", &grad_max);
  m.def("average_pool", &forward_average);
  m.def("average_pool_grad", &grad_average);
  m.def("activation", &forward_activation);
  m.def("activation_grad", &grad_activation);
  m.def("add", &forward_add);
  m.def("cast", &forward_cast<Floats, Halves>);
  m.def("cast", &forward_cast<Halves, Floats>);
  m.def("dropout", &forward_dropout);
  m.def("softmax", &forward_softmax);
  m.def("softmax_grad", &grad_softmax);
  m.def("softmax_cross_entropy", &forward_cross_entropy<Ints>);
  m.def("softmax_cross_entropy", &forward_cross_entropy<Floats>);
  m.def("softmax_cross_entropy_grad", &grad_cross_entropy<Ints>);
  m.def("softmax_cross_entropy_grad", &grad_cross_entropy<Floats>);
  m.def("batch_norm_statistics", &statistics);
  m.def("batch_norm", &forward_norm);
  m.def("batch_norm_grad", &grad_norm);
  m.def("activation_grad_bias", &grad_activation_bias);
  m.def("optimizer_update", &step);
  m.def("square_sum", &squares);
  m.def("moving_average", &average_of);
}

}  // namespace tapwise
