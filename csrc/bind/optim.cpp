// optim.cpp — the steps of the optimizers for Python: check, release the GIL, call.
#include <cmath>

#include "../nn.h"
#include "args.h"

namespace tapwise {
namespace {

using Arrays = std::vector<Array>;

Rule rule_of(const std::string& name) {
  if (name == "sgd") return Rule::sgd;
  if (name == "adam") return Rule::adam;
  if (name == "rmsprop") return Rule::rmsprop;
  throw std::invalid_argument("rule must be sgd, adam or rmsprop, got " + name);
}

// One array a parameter, or none at all.
float* state_of(const Arrays& arrays, const Arrays& w, std::size_t i, const char* name) {
  if (arrays.empty()) return nullptr;
  if (arrays.size() != w.size()) throw std::invalid_argument(std::string(name) + " must have one array a parameter");
  need_shape(arrays[i], shape_of(w[i]), name);
  return arrays[i].mutable_data();
}

void step(const std::string& rule, const Arrays& w, const Arrays& dw, const Arrays& m, const Arrays& v,
          const Arrays& average, const std::vector<double>& scales, double rate, double keep, double momentum,
          bool nesterov, double rate_1, double rate_2, double epsilon, double clip, double average_rate) {
  const auto real = [](double value) { return static_cast<float>(value); };
  const Update u{rule_of(rule), nesterov,     real(rate),    real(keep), real(momentum),
                 real(rate_1),  real(rate_2), real(epsilon), real(clip), real(average_rate)};
  if (dw.size() != w.size() || scales.size() != w.size())
    throw std::invalid_argument("dw and scales must have one entry a parameter");
  if (u.rule != Rule::sgd && v.size() != w.size()) throw std::invalid_argument("v must be given to " + rule);
  if (u.rule == Rule::adam && m.size() != w.size()) throw std::invalid_argument("m must be given to adam");
  std::vector<Slot> slots;
  for (std::size_t i = 0; i < w.size(); ++i) {
    need_shape(dw[i], shape_of(w[i]), "dw");
    slots.push_back({w[i].mutable_data(), dw[i].data(), state_of(m, w, i, "m"), state_of(v, w, i, "v"),
                     state_of(average, w, i, "average"), real(scales[i]), w[i].size()});
  }
  const py::gil_scoped_release unlocked;
  optimizer_update(u, slots.data(), static_cast<Index>(slots.size()));
}

std::vector<double> squares(const Arrays& arrays) {
  std::vector<double> sums;
  for (const Array& a : arrays) sums.push_back(square_sum(a.size(), a.data()));
  return sums;
}

void average_of(Array& average, const Array& value, double momentum) {
  need_shape(value, shape_of(average), "value");
  moving_average(average.size(), momentum, value.data(), average.mutable_data());
}

}  // namespace

void bind_optim(py::module_& m) {
  using namespace py::literals;
  m.def("optimizer_update", &step, "rule"_a, "w"_a, "dw"_a, "m"_a, "v"_a, "average"_a, "scales"_a, "rate"_a, "keep"_a,
        "momentum"_a, "nesterov"_a, "rate_1"_a, "rate_2"_a, "epsilon"_a, "clip"_a, "average_rate"_a);
  m.def("square_sums", &squares, "arrays"_a);
  m.def("moving_average", &average_of, "average"_a, "value"_a, "momentum"_a);
}

}  // namespace tapwise
