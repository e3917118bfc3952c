"""What an array must be before an operation starts: nothing is cast, copied or written when one is refused."""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from numpy import may_share_memory, ndarray

from ..backend import Backend, current, for_device
from ..geometry import Shape
from .memory import empty

Array: TypeAlias = npt.NDArray[Any]  # of NumPy or of CuPy, whose functions NumPy's call where arrays are CuPy's
DType: TypeAlias = np.dtype[Any]

ALGORITHMS = ("auto", "direct", "im2col", "winograd", "winograd-2x2", "winograd-4x4", "winograd-6x6")
ACCURACIES = ("strict", "default", "fast")
ACTIVATIONS = ("relu", "leaky_relu", "elu", "sigmoid", "tanh", "gelu", "relu6")
ALPHA = {"leaky_relu": 0.2, "elu": 1.0}
FLOAT32 = np.dtype(np.float32)
DLPACK_CUDA = 2, 13  # kDLCUDA, kDLCUDAManaged


def is_on_device(x: Any) -> bool:
    """Whether x is an array on an NVIDIA device, as it says itself."""
    if isinstance(x, ndarray):
        return False
    if hasattr(x, "__dlpack_device__"):
        return x.__dlpack_device__()[0] in DLPACK_CUDA
    return hasattr(x, "__cuda_array_interface__")


def serving(first: Any, name: str, /, **others: Any) -> Backend:
    """The backend of a call: that in use, or on arrays of an NVIDIA device, whatever is in use, that device's.

    Raises TypeError that says where each argument lies if they don't lie together.
    """
    backend = current()
    if type(first) is ndarray and backend.memory is None:
        for x in others.values():
            if x is not None and type(x) is not ndarray:
                break
        else:
            return backend
    given = {name: first, **others}
    on_device = [other for other, x in given.items() if is_on_device(x)]
    on_host = [other for other, x in given.items() if other not in on_device and holds_elements(x)]
    if on_device and on_host:
        raise TypeError(
            f"arrays must lie together, got {' and '.join(on_device)} on the device, {' and '.join(on_host)} in this "
            "machine's memory: cupy.asarray copies to the device, cupy.asnumpy back"
        )
    if not on_device:
        if backend.memory is not None:
            raise TypeError(
                f"{name} must be on the device, where the backend {backend.name} works, got {type(first).__name__} in "
                "this machine's memory: pass a copy by cupy.asarray"
            )
        return backend
    return for_device() if backend.memory is None else backend


def holds_elements(x: Any) -> bool:
    return isinstance(x, (ndarray, memoryview)) or hasattr(x, "__dlpack__")


def as_array(x: Any, name: str) -> Array:
    """x itself, or its memory as an array of NumPy, or of CuPy if it is on a device. Never a copy.

    Taken are DLPack, the buffer protocol and __cuda_array_interface__.
    """
    if type(x) is ndarray:
        return x
    if is_on_device(x):
        memory = for_device().memory
        assert memory is not None
        return memory.adopt(x, name)
    if isinstance(x, np.ma.MaskedArray):
        raise TypeError(f"{name} must not be a masked array, got {type(x).__name__}")
    if isinstance(x, ndarray):
        return x.view(ndarray)
    try:
        return np.from_dlpack(x) if hasattr(x, "__dlpack__") else np.asarray(memoryview(x))
    except (TypeError, BufferError, RuntimeError) as error:
        raise TypeError(
            f"{name} must be an array in this machine's memory (NumPy, DLPack or the buffer protocol), "
            f"got {type(x).__name__}: {error}"
        ) from None


def is_bfloat16(dtype: Any) -> bool:
    """ml_dtypes' type, told without importing it: whoever has such an array did."""
    return getattr(dtype, "kind", "") == "V" and dtype.type.__name__ == "bfloat16"  # dtype.name takes 1 us


def refuse_dtype(name: str, dtype: DType, *wanted: DType) -> None:
    if dtype not in wanted:
        raise TypeError(f"{name} must be {' or '.join(map(str, wanted))}, got {dtype}")


def refuse_layout(x: Array, name: str) -> None:
    if not x.flags.c_contiguous:
        raise ValueError(f"{name} must be C-contiguous, got strides {x.strides}: pass np.ascontiguousarray({name})")
    refuse_unaligned(x, name)


def refuse_unaligned(x: Array, name: str) -> None:
    if type(x) is ndarray and not x.flags.aligned:
        raise ValueError(
            f"{name} must be aligned to its elements, got an address off by {x.ctypes.data % x.itemsize} "
            f"bytes: pass {name}.copy()"
        )


def source(x: Any, name: str, dtypes: tuple[DType, ...]) -> Array:
    """The array that sets the float type of a call: contiguous, of one of dtypes."""
    array = x if type(x) is ndarray else as_array(x, name)
    if array.dtype is not dtypes[0]:
        refuse_dtype(name, array.dtype, *dtypes)
    flags = array.flags
    if not (
        flags.c_contiguous if type(array) is not ndarray else flags.carray or (flags.c_contiguous and flags.aligned)
    ):
        refuse_layout(array, name)
    return array


def values(x: Any, name: str, backend: Backend) -> Array:
    """source for operations that take bfloat16 beside the backend's float types."""
    array = x if type(x) is ndarray else as_array(x, name)
    if is_bfloat16(array.dtype) and backend.has_bfloat16:
        return source(array, name, (array.dtype,))
    return source(array, name, backend.dtypes)


def wide(dtype: DType) -> DType:
    """The type of what belongs to channels, beside arrays of dtype: sums, statistics, biases."""
    return FLOAT32 if dtype.kind == "V" else dtype


def weight(w: Any, *dtypes: DType, name: str = "w") -> Array:
    """Any view, of one of dtypes."""
    array = w if type(w) is ndarray else as_array(w, name)
    if array.dtype is not dtypes[0]:
        refuse_dtype(name, array.dtype, *dtypes)
    refuse_unaligned(array, name)
    return array


def shaped(x: Any, name: str, shape: Shape, dtype: DType) -> Array:
    """A contiguous array of exactly this shape and type."""
    array = source(x, name, (dtype,))
    if array.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {array.shape}")
    return array


def written(x: Any, name: str, shape: Shape, dtype: DType, /, **inputs: Array | None) -> Array:
    """An array to write to: contiguous, of exactly this shape and type, apart from the memory of the inputs."""
    array = shaped(x, name, shape, dtype)
    if not is_writeable(array):
        raise ValueError(f"{name} must be writeable, got a read-only array")
    return apart(array, name, **inputs)


def written_weight(x: Any, name: str, shape: Shape, dtype: DType, /, **inputs: Array | None) -> Array:
    """An array of weights to write to: any view whose elements lie apart from each other and from the inputs."""
    array = weight(x, dtype, name=name)
    if array.flags.c_contiguous:
        return written(array, name, shape, dtype, **inputs)
    if array.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {array.shape}")
    if not is_writeable(array):
        raise ValueError(f"{name} must be writeable, got a read-only array")
    reach = array.itemsize
    for step, size in sorted((abs(step), size) for step, size in zip(array.strides, shape, strict=True) if size > 1):
        if step < reach:
            raise ValueError(f"{name} must have elements apart from each other, got strides {array.strides}")
        reach += step * (size - 1)
    return apart(array, name, **inputs)


def apart(array: Array, name: str, /, **inputs: Array | None) -> Array:
    """array, which is to be written to and has none of the inputs' memory."""
    owner = array.flags.owndata
    for other, given in inputs.items():
        if given is None or (owner and given.base is None and given is not array):
            continue  # no view, so it has none of the memory that array owns; asking NumPy takes 0.2 us
        if may_share_memory(array, given):
            raise ValueError(f"{name} must not overlap {other}, got memory of both")
    return array


def elementwise(out: Any, x: Array, other: Array | None = None, /, *, name: str = "out", **inputs: Any) -> Array:
    """The result of an operation in which element i of x is read before element i of out is written: out may be x.

    So may `other`, which has the shape of x or is None.
    """
    if out is None:
        return empty(x.shape, x.dtype, x)
    y = written(out, name, x.shape, x.dtype, **inputs)
    for same in (x,) if other is None else (x, other):
        if may_share_memory(y, same) and address(y) != address(same):
            raise ValueError(f"{name} must be x or apart from it, got memory that overlaps in part")
    return y


def address(x: Any) -> int:
    at: int = x.ctypes.data if type(x) is ndarray else x.__cuda_array_interface__["data"][0]
    return at


def is_writeable(x: Array) -> bool:
    return not isinstance(x, ndarray) or x.flags.writeable  # CuPy has no arrays that aren't


def refuse_choice(algorithm: str, accuracy: str) -> None:
    if algorithm not in ALGORITHMS:
        raise ValueError(f"algorithm must be one of {', '.join(ALGORITHMS)}, got {algorithm!r}")
    if accuracy not in ACCURACIES:
        raise ValueError(f"accuracy must be one of {', '.join(ACCURACIES)}, got {accuracy!r}")


def activation_alpha(kind: str | None, alpha: float | None) -> tuple[str | None, float]:
    """The kind, None for "linear", and its parameter: leaky_relu's slope, elu's alpha."""
    if kind is None or kind == "linear":
        kind = None
    elif kind not in ACTIVATIONS:
        raise ValueError(f"activation must be None, linear, {', '.join(ACTIVATIONS)}, got {kind!r}")
    if alpha is None:
        return kind, ALPHA.get(kind, 0.0) if kind else 0.0
    if kind not in ALPHA:
        raise ValueError(f"alpha must be given to {' or '.join(ALPHA)} only, got alpha={alpha} for {kind}")
    return kind, number(alpha, "alpha", 0.0)


def number(value: Any, name: str, least: float, below: float = float("inf")) -> float:
    try:
        real = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a number, got {value!r}") from None
    if not least <= real < below:
        raise ValueError(f"{name} must be >= {least:g} and < {below:g}, got {real:g}")
    return real
