// module.cpp — the kernels for NVIDIA devices as a Python module, on a device or emulated on the host.
#include <map>

#include "../../cuda/device.h"
#include "arrays.h"
#ifdef TAPWISE_CUDA_EMULATED
#include "../../cuda/emulate/run.h"
#endif

namespace {

using namespace tapwise;

py::dict described(const cuda::Device& d) {
  using namespace py::literals;
  return py::dict("name"_a = d.name, "capability"_a = py::make_tuple(d.major, d.minor), "units"_a = d.units,
                  "clock_khz"_a = d.clock_khz, "shared_bytes"_a = d.shared_bytes, "l2_bytes"_a = d.l2_bytes,
                  "memory_khz"_a = d.memory_khz, "memory_bits"_a = d.memory_bits);
}

}  // namespace

PYBIND11_MODULE(TAPWISE_MODULE, m) {
#ifdef TAPWISE_CUDA_EMULATED
  m.def("set_seed", &emulate::set_seed, py::arg("seed"));
#endif
  bind_device_conv(m);
  bind_device_nn(m);
  m.def("device_count", &cuda::device_count);
  m.def("device_name", [] { return cuda::known_device().name; });
  m.def(
      "device",
      [](std::optional<int> number) { return described(cuda::device(number ? *number : cuda::current_device())); },
      py::arg("number") = py::none());
  m.def("build_info", [] { return std::map<std::string, std::string>{{"compiler", __VERSION__}}; });
}
