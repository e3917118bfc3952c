// plain.cpp — whether a call's arrays need no closer look, asked once for all of them: a tiny convolution takes less
// time than the questions do in Python.
#include <initializer_list>

#include "args.h"

namespace tapwise {
namespace {

using Proxy = py::detail::PyArray_Proxy;
constexpr int kContiguous = py::array::c_style, kAligned = py::detail::npy_api::NPY_ARRAY_ALIGNED_;

// NumPy's own class, native float32, with all of flags.
bool is_plain(py::handle object, int flags) {
  static PyObject* const type = reinterpret_cast<PyObject*>(py::detail::npy_api::get().PyArray_Type_);
  static PyObject* const float32 = py::dtype::of<float>().release().ptr();
  if (reinterpret_cast<PyObject*>(Py_TYPE(object.ptr())) != type) return false;
  const Proxy* a = py::detail::array_proxy(object.ptr());
  return a->descr == float32 && (a->flags & flags) == flags;
}

struct Extent {
  const char *first, *last;  // addresses of elements
};

Extent extent_of(py::handle object) {
  const Proxy* a = py::detail::array_proxy(object.ptr());
  Extent e = {a->data, a->data};
  for (int i = 0; i < a->nd; ++i) {
    const py::ssize_t reach = (a->dimensions[i] - 1) * a->strides[i];
    (reach < 0 ? e.first : e.last) += reach;
  }
  return e;
}

// Contiguous but for w, and out, which is written to, apart from the others.
bool are_plain(py::handle x, py::handle w, py::handle b, py::handle residual, py::handle out) {
  if (!is_plain(x, kContiguous | kAligned) || (!w.is_none() && !is_plain(w, kAligned))) return false;
  for (const py::handle object : {b, residual})
    if (!object.is_none() && !is_plain(object, kContiguous | kAligned)) return false;
  if (out.is_none()) return true;
  if (!is_plain(out, kContiguous | kAligned | py::detail::npy_api::NPY_ARRAY_WRITEABLE_)) return false;
  const Extent y = extent_of(out);
  for (const py::handle object : {x, w, b, residual}) {
    if (object.is_none()) continue;
    const Extent e = extent_of(object);
    if (e.first <= y.last && y.first <= e.last) return false;
  }
  return true;
}

}  // namespace

void bind_plain(py::module_& m) {
  m.def("are_plain", &are_plain);
}

}  // namespace tapwise
