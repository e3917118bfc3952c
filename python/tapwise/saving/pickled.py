"""What a pickle of tensors says, without running it: a machine of two dozen opcodes that can build nothing else.

pickle.load calls what a file names, so a file can run any program. Here a name that isn't in KNOWN ends the reading,
and what is in it makes a plain container or a Tensor, a description whose numbers are read later.
"""

from __future__ import annotations

import math
import pickletools
import reprlib
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import IO, Any, NamedTuple

DEPTH = 64  # of containers in one another
ADVICE = (
    "; of a whole nn.Module, or of a checkpoint with objects, save the numbers: torch.save(model.state_dict(), path)"
)


class Name(NamedTuple):
    """A global of KNOWN: "torch FloatStorage"."""

    text: str


class Storage(NamedTuple):
    """A run of numbers somewhere in the file."""

    type: str  # "FloatStorage"
    key: str
    items: int


class Tensor(NamedTuple):
    """A window of a storage, in elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def whole(values: Any, what: str) -> tuple[int, ...]:
    if not isinstance(values, (tuple, list)) or not all(type(v) is int and 0 <= v < 1 << 62 for v in values):
        raise ValueError(f"{what} must be whole numbers >= 0, got {short(values)}")
    return tuple(values)


def rebuild_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any) -> Tensor:
    """Raises ValueError unless the window lies within its storage and has no more elements than that."""
    if not isinstance(storage, Storage):
        raise ValueError(f"a tensor must have a storage, got {short(storage)}")
    (offset,), shape, strides = whole([offset], "offset"), whole(shape, "shape"), whole(strides, "strides")
    if len(shape) != len(strides) or len(shape) > 32:
        raise ValueError(f"a tensor must have a stride for each of at most 32 axes, got {shape} and {strides}")
    size = math.prod(shape)
    last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    if size and (last >= storage.items or size > storage.items):
        raise ValueError(
            f"a tensor must lie in its storage of {storage.items} numbers, got shape {shape}, strides {strides}, "
            f"offset {offset}"
        )
    return Tensor(storage, offset, shape, strides)


def rebuild_parameter(data: Any, *rest: Any) -> Any:
    return data


def make_dict(items: Iterable[Any] = ()) -> dict[Any, Any]:
    made: dict[Any, Any] = {}
    for key, value in items:
        set_key(made, key, value)
    return made


def set_key(target: dict[Any, Any], key: Any, value: Any) -> None:
    if not isinstance(key, (str, int, float, bool, type(None))):
        raise ValueError(f"the pickle's dict must have keys of text or numbers, got {short(key)}")
    target[key] = value


def make_tuple(items: Any = ()) -> tuple[Any, ...]:
    return tuple(items) if isinstance(items, (tuple, list)) else ()


STORAGES = tuple(
    f"{kind}Storage" for kind in ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool")
)
KNOWN: dict[str, Callable[..., Any] | None] = {
    **{f"torch {name}": None for name in STORAGES},
    "collections OrderedDict": make_dict,
    "torch Size": make_tuple,
    "torch._utils _rebuild_tensor": rebuild_tensor,
    "torch._utils _rebuild_tensor_v2": rebuild_tensor,
    "torch._utils _rebuild_parameter": rebuild_parameter,
}


def name(text: str) -> Name:
    if text not in KNOWN:
        root = text.partition(" ")[0].partition(".")[0]
        advice = "" if root in sys.stdlib_module_names and root != "__main__" else ADVICE
        raise ValueError(f"refused: the pickle wants {text.replace(' ', '.', 1)[:100]}, which builds no tensor{advice}")
    return Name(text)


def storage(given: Any) -> Storage:
    """What stands for numbers in the file: ("storage", type, key, device, number of them, ...)."""
    if isinstance(given, (tuple, list)) and len(given) >= 5 and given[0] == "storage" and isinstance(given[1], Name):
        kind, key, items = given[1].text.partition(" ")[2], given[2], given[4]
        if kind in STORAGES and isinstance(key, str) and type(items) is int and items >= 0:
            if len(given) > 5 and given[5] is not None:
                raise ValueError("a storage must not be a view of another: the file is of a PyTorch before 0.4")
            return Storage(kind, key, items)
    raise ValueError(f"a storage must have type, key and size, got {short(given)}")


def call(function: Any, arguments: Any) -> Any:
    made = KNOWN.get(function.text) if isinstance(function, Name) else None
    if made is None or not isinstance(arguments, tuple):
        raise ValueError(f"refused: the pickle calls {short(function)}")
    try:
        return made(*arguments)
    except TypeError as error:
        raise ValueError(f"the pickle calls {short(function)} with {short(arguments)}: {error}") from None


class Machine:
    """One pickle's stack and memo."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def marked(self) -> list[Any]:
        at = self.marks.pop()
        found = self.stack[at:]
        del self.stack[at:]
        return found

    def put(self, value: Any) -> None:
        self.stack.append(value)

    def extend(self, items: Sequence[Any]) -> None:
        if not isinstance(self.stack[-1], list):
            raise ValueError("the pickle appends to what is no list")
        self.stack[-1].extend(items)

    def set_items(self, items: Sequence[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict) or len(items) % 2:
            raise ValueError("the pickle sets items of what is no dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            set_key(target, key, value)

    def step(self, opcode: str, argument: Any) -> None:
        action = ACTIONS.get(opcode)
        if opcode in PLAIN:
            self.put(argument)
        elif opcode in CONSTANTS:
            self.put(CONSTANTS[opcode])
        elif opcode in EMPTY:
            self.put(EMPTY[opcode]())
        elif opcode in ("PUT", "BINPUT", "LONG_BINPUT"):
            self.memo[argument] = self.stack[-1]
        elif opcode in ("GET", "BINGET", "LONG_BINGET"):
            self.put(self.memo[argument])
        elif opcode == "GLOBAL":
            self.put(name(argument))
        elif action is not None:
            action(self)
        elif opcode not in ("PROTO", "FRAME"):
            raise ValueError(f"refused: the pickle has the opcode {opcode}, which no tensor needs")


def reduce(machine: Machine) -> None:
    arguments, function = machine.stack.pop(), machine.stack.pop()
    machine.put(call(function, arguments))


def stack_global(machine: Machine) -> None:
    last, module = machine.stack.pop(), machine.stack.pop()
    machine.put(name(f"{module} {last}"))


def append(machine: Machine) -> None:
    value = machine.stack.pop()
    machine.extend([value])


def set_item(machine: Machine) -> None:
    value, key = machine.stack.pop(), machine.stack.pop()
    machine.set_items([key, value])


def build(machine: Machine) -> None:
    """The attributes of an OrderedDict: a state_dict's versions. Nothing else has any here."""
    machine.stack.pop()
    if not isinstance(machine.stack[-1], dict):
        raise ValueError(f"refused: the pickle gives attributes to {short(machine.stack[-1])}")


def tuple_of(count: int) -> Callable[[Machine], None]:
    def action(machine: Machine) -> None:
        items = tuple(machine.stack.pop() for _ in range(count))
        machine.put(items[::-1])

    return action


def mark(machine: Machine) -> None:
    machine.marks.append(len(machine.stack))


def dict_of_marked(machine: Machine) -> None:
    items = machine.marked()
    machine.put({})
    machine.set_items(items)


PLAIN = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING"),
    *("SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE"),
    "BINUNICODE8",
}
CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
EMPTY: dict[str, Callable[[], Any]] = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_SET": frozenset}
ACTIONS: dict[str, Callable[[Machine], Any]] = {
    "MARK": mark,
    "POP": lambda machine: machine.stack.pop(),
    "POP_MARK": lambda machine: machine.marked(),
    "DUP": lambda machine: machine.put(machine.stack[-1]),
    "MEMOIZE": lambda machine: machine.memo.__setitem__(len(machine.memo), machine.stack[-1]),
    "TUPLE": lambda machine: machine.put(tuple(machine.marked())),
    "TUPLE1": tuple_of(1),
    "TUPLE2": tuple_of(2),
    "TUPLE3": tuple_of(3),
    "LIST": lambda machine: machine.put(machine.marked()),
    "DICT": dict_of_marked,
    "APPEND": append,
    "APPENDS": lambda machine: machine.extend(machine.marked()),
    "SETITEM": set_item,
    "SETITEMS": lambda machine: machine.set_items(machine.marked()),
    "ADDITEMS": lambda machine: machine.marked(),
    "STACK_GLOBAL": stack_global,
    "REDUCE": reduce,
    "BUILD": build,
    "BINPERSID": lambda machine: machine.put(storage(machine.stack.pop())),
}


def opcodes(stream: IO[bytes]) -> Iterator[tuple[str, Any]]:
    try:
        for opcode, argument, _ in pickletools.genops(stream):
            yield opcode.name, argument
    except ValueError as error:
        raise ValueError(f"not a readable pickle: {error}") from None


def read_pickle(stream: IO[bytes]) -> Any:
    """The value of the pickle at the stream's position, which then is behind it; tensors as Tensor.

    Raises ValueError naming what is refused, or if the bytes are no pickle.
    """
    machine = Machine()
    try:
        for opcode, argument in opcodes(stream):
            if opcode == "STOP":
                return machine.stack.pop()
            machine.step(opcode, argument)
    except (IndexError, KeyError, UnicodeDecodeError, OverflowError, MemoryError, TypeError) as error:
        raise ValueError(f"not a readable pickle: {type(error).__name__} {error}") from None
    raise ValueError("not a readable pickle: it has no end")


def tensors_of(value: Any) -> dict[str, Tensor]:
    """All tensors in nested containers by their dotted names; each container counts where it is met first."""
    found: dict[str, Tensor] = {}
    met: set[int] = set()
    waiting: list[tuple[str, Any, int]] = [("", value, 0)]
    while waiting:
        path, each, depth = waiting.pop()
        if isinstance(each, Tensor):
            found[path] = each
        elif isinstance(each, (dict, list)) or (type(each) is tuple):
            if depth > DEPTH:
                raise ValueError(f"containers must be nested at most {DEPTH} deep, got more at {short(path)}")
            if id(each) in met:
                continue
            met.add(id(each))
            items = each.items() if isinstance(each, dict) else enumerate(each)
            prefix = f"{path}." if path else ""
            waiting += [(f"{prefix}{key}", item, depth + 1) for key, item in items][::-1]
    return found


def short(value: Any) -> str:
    """A value in an error: reprlib's limits hold for containers that hold themselves many times over."""
    return value.text if isinstance(value, Name) else reprlib.repr(value)
