// activation.cpp — the activations by their names.
#include "args.h"

namespace tapwise {

Activation activation_of(const std::optional<std::string>& name) {
  if (!name || *name == "linear") return Activation::none;
  if (*name == "relu") return Activation::relu;
  if (*name == "leaky_relu") return Activation::leaky_relu;
  if (*name == "elu") return Activation::elu;
  if (*name == "sigmoid") return Activation::sigmoid;
  if (*name == "tanh") return Activation::tanh;
  if (*name == "gelu") return Activation::gelu;
  if (*name == "relu6") return Activation::relu6;
  throw std::invalid_argument("activation must be relu, leaky_relu, elu, sigmoid, tanh, gelu or relu6, got " + *name);
}

}  // namespace tapwise
