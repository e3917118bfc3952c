"""The backend cuda without a device: its arrays, with memory of the host underneath, and the emulated kernels.

A DeviceArray shows what CuPy's arrays show, and no more: NumPy's functions and operators reach it by their protocols,
it can't become a NumPy array by itself, and it is combined with none.
"""

import sys
import types
from contextlib import contextmanager

import numpy as np

import tapwise

STREAM = 0xABC0


class Flags:
    """CuPy's have no more than these."""

    def __init__(self, flags, base):
        self.c_contiguous, self.f_contiguous, self.owndata = flags.c_contiguous, flags.f_contiguous, base is None


class DeviceArray:
    def __init__(self, memory, base=None):
        self.memory, self.base = memory, base

    shape = property(lambda self: self.memory.shape)
    strides = property(lambda self: self.memory.strides)
    dtype = property(lambda self: self.memory.dtype)
    ndim = property(lambda self: self.memory.ndim)
    size = property(lambda self: self.memory.size)
    nbytes = property(lambda self: self.memory.nbytes)
    itemsize = property(lambda self: self.memory.itemsize)
    flags = property(lambda self: Flags(self.memory.flags, self.base))
    T = property(lambda self: self._view(self.memory.T))

    @property
    def __cuda_array_interface__(self):
        fields = self.memory.__array_interface__
        kept = {name: fields[name] for name in ("shape", "typestr", "data", "strides", "descr")}
        return {**kept, "version": 3, "stream": STREAM}

    def __array__(self, dtype=None, copy=None):
        raise TypeError("implicit conversion to a NumPy array is not allowed")

    def __array_ufunc__(self, ufunc, method, *inputs, out=(), **options):
        given = [unwrapped(x) for x in inputs]
        results = [unwrapped(x) for x in out]
        made = getattr(ufunc, method)(*given, **options, **({"out": tuple(results)} if out else {}))
        return out[0] if out else wrapped(made)

    def __array_function__(self, function, types, arguments, options):
        return wrapped(function(*unwrapped(list(arguments)), **unwrapped(options)))

    def _view(self, memory):
        return DeviceArray(memory, self if self.base is None else self.base)

    def reshape(self, *shape):
        return self._view(self.memory.reshape(*shape))

    def view(self, dtype):
        return self._view(self.memory.view(dtype))

    def transpose(self, *axes):
        return self._view(self.memory.transpose(*axes))

    def swapaxes(self, one, other):
        return self._view(self.memory.swapaxes(one, other))

    def copy(self):
        return DeviceArray(self.memory.copy())

    def astype(self, dtype):
        return DeviceArray(self.memory.astype(dtype))

    def max(self):
        return DeviceArray(np.asarray(self.memory.max()))

    def min(self):
        return DeviceArray(np.asarray(self.memory.min()))

    def sum(self, *arguments, **options):
        return wrapped(self.memory.sum(*arguments, **options))

    def mean(self, *arguments, **options):
        return wrapped(self.memory.mean(*arguments, **options))

    def __len__(self):
        return len(self.memory)

    def __getitem__(self, index):
        return self._view(self.memory[unwrapped(index)])

    def __setitem__(self, index, value):
        self.memory[unwrapped(index)] = unwrapped(value)

    def __bool__(self):
        return bool(self.memory)

    def __float__(self):
        return float(self.memory)


def operator(name):
    ufunc = getattr(np, name)
    return lambda self, other: ufunc(self, other), lambda self, other: ufunc(other, self)


def in_place(name):
    ufunc = getattr(np, name)
    return lambda self, other: ufunc(self, other, out=(self,))


for name, function in {"add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide", "pow": "power"}.items():
    forward, backward = operator(function)
    setattr(DeviceArray, f"__{name}__", forward)
    setattr(DeviceArray, f"__r{name}__", backward)
    setattr(DeviceArray, f"__i{name}__", in_place(function))
for name, function in {"lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal"}.items():
    setattr(DeviceArray, f"__{name}__", operator(function)[0])
DeviceArray.__neg__ = lambda self: np.negative(self)


def wrapped(x):
    return DeviceArray(x) if isinstance(x, np.ndarray) else x


def unwrapped(x):
    """What is computed with; arrays of NumPy are refused, as CuPy does."""
    if isinstance(x, DeviceArray):
        return x.memory
    if isinstance(x, np.ndarray) and x.ndim:
        raise TypeError("unsupported type numpy.ndarray")
    if isinstance(x, (list, tuple)):
        return type(x)(map(unwrapped, x))
    return {name: unwrapped(value) for name, value in x.items()} if isinstance(x, dict) else x


class Memory:
    """As cuda.CupyMemory, and remembers the streams asked for and the copies made."""

    def __init__(self):
        self.streams = self.puts = self.gets = self.waits = 0

    def adopt(self, x, name):
        if isinstance(x, DeviceArray):
            return x
        if not hasattr(x, "lent"):
            raise TypeError(f"{name} must be an array that CuPy can take, got {type(x).__name__}")
        return x.lent

    def stream(self):
        self.streams += 1
        return STREAM

    def wait(self):
        self.waits += 1

    def put(self, x):
        self.puts += 1
        return DeviceArray(np.array(x))

    def get(self, x):
        self.gets += 1
        return np.array(x.memory)


def on_device(x):
    return DeviceArray(np.array(x))


@contextmanager
def emulated_device():
    """Arrays on a device are computed with by the emulated kernels, as backend cuda; gives the Memory."""
    with tapwise.backend.use("cuda-emulated"):
        emulated = tapwise.backend.current()
    memory = Memory()
    module = types.ModuleType("tapwise.backend.cuda")
    module.backend = type(emulated)("cuda", emulated.extension, memory)
    former = sys.modules.get(module.__name__)
    sys.modules[module.__name__] = module
    try:
        yield memory
    finally:
        if former is None:
            del sys.modules[module.__name__]
        else:
            sys.modules[module.__name__] = former
