// module.cpp — the kernels for NVIDIA devices as a Python module, on a device or emulated on the host.
#include <map>

#include "arrays.h"
#ifdef TAPWISE_CUDA_EMULATED
#include "../../cuda/emulate/run.h"
#endif

PYBIND11_MODULE(TAPWISE_MODULE, m) {
  using namespace tapwise;
#ifdef TAPWISE_CUDA_EMULATED
  m.def("set_seed", &emulate::set_seed, py::arg("seed"));
#endif
  bind_device_conv(m);
  bind_device_nn(m);
  m.def("build_info", [] { return std::map<std::string, std::string>{{"compiler", __VERSION__}}; });
}
