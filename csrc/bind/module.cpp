// module.cpp — the extension module: the engine's state, and every operation by its own file.
#include "../isa.h"
#include "../ops.h"
#include "../scratch.h"
#include "../threads.h"
#include "args.h"

namespace tapwise {

namespace {

std::vector<std::string> levels() {
  std::vector<std::string> names;
  for (int i = 0; i < isa_count(); ++i) names.push_back(isa_at(i).isa);
  return names;
}

std::vector<std::string> kernels() {
  return {
#define KERNEL(name, type) #name,
#include "../kernels.inc"
#undef KERNEL
  };
}

double fma_peak(Index steps, const std::string& dtype) {
  const Table& t = table();
  FmaPeak* const kernel = dtype == "float32"    ? t.fma_peak
                          : dtype == "bfloat16" ? t.bf16_peak
                          : dtype == "int8"     ? t.int8_peak
                                                : nullptr;
  if (!kernel) throw std::invalid_argument("dtype must be float32, bfloat16 or int8, got " + dtype);
  const py::gil_scoped_release unlocked;
  return measure_fma_peak(kernel, steps);
}

py::dict build_info() {
  py::dict info;
#if defined(__clang__)
  info["compiler"] = std::string("clang ") + __clang_version__;
#else
  info["compiler"] = std::string("gcc ") + __VERSION__;
#endif
  info["isa"] = levels();
  return info;
}

}  // namespace
}  // namespace tapwise

PYBIND11_MODULE(_core, m) {
  using namespace tapwise;
  m.def("isa_available", &levels);
  m.def("isa_name", [] { return table().isa; });
  m.def("isa_use", [](const std::string& name) {
    if (!set_isa(name.c_str())) throw std::invalid_argument("isa " + name + " is not in this build or on this CPU");
  });
  m.def("isa_kernels", &kernels);
  m.def("isa_lanes", [] { return table().lanes; });
  m.def("thread_count", &thread_count);
  m.def("set_thread_count", &set_thread_count);
  m.def("machine_threads", &machine_threads);
  m.def("scratch_bytes", &scratch_bytes);
  m.def("workspace_limit", &workspace_bytes);
  m.def("set_workspace_limit", [](Index bytes) {
    if (bytes < kLeastWorkspace)
      throw std::invalid_argument("workspace must be >= " + std::to_string(kLeastWorkspace) + " bytes");
    set_workspace_bytes(bytes);
  });
  m.def("fma_peak", &fma_peak);
  m.def("build_info", &build_info);
  bind_conv(m);
  bind_pool(m);
  bind_nn(m);
  bind_optim(m);
  bind_plain(m);
  bind_low_precision(m);
}
