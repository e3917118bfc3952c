"""An ONNX model: computed once node by node, then repeated as a plan for the shapes it was given."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from threading import Lock
from typing import Any

import numpy as np

from ... import backend, isa
from ...ops.recording import state
from .graph import Graph, Node, Port
from .operators import OPERATORS
from .plan import Plan
from .reference import evaluate, is_known, own
from .run import Run
from .values import Memory, NotOurs, Value

MOST_PLANS = 4
FOLDED_BYTES = 1 << 31  # constants that a graph may compute when it is loaded


class Model:
    """Call it with arrays, or run it with a mapping of names; any thread may, one at a time computes."""

    def __init__(self, graph: Graph, versions: dict[str, int], most_bytes: int) -> None:
        self.graph, self.versions, self.most_bytes = graph, versions, most_bytes
        self._reference: dict[str, str] = {}
        self._packed: dict[Any, Any] = {}
        self._plans: OrderedDict[Any, Plan | None] = OrderedDict()
        self._lock = Lock()
        self._engine: tuple[str, str, int] = "", "", 0  # what plans and packed weights are for
        for node in graph.nodes:
            if not is_ours(node):
                if not is_known(node):
                    raise ValueError(
                        f"node {node.label} must be of an operator that Tapwise or onnx.reference has, "
                        f"got {node.operator} of domain {node.domain!r}, version {node.version}"
                    )
                self._reference[node.label] = "an operator that isn't ours"
        self._constants = {name: Value(Memory(array, True)) for name, array in graph.constants.items()}
        self._nodes = self._folded()

    @property
    def inputs(self) -> list[Port]:
        return self.graph.inputs

    @property
    def outputs(self) -> list[Port]:
        return self.graph.outputs

    @property
    def plans(self) -> list[Plan]:
        """Those that are kept, one for each set of input shapes; the last one used is the last."""
        return [plan for plan in self._plans.values() if plan is not None]

    def report(self) -> dict[str, str]:
        """The nodes that run through onnx.reference and why; complete after a first run, since types matter too."""
        return dict(self._reference)

    def __call__(self, *arrays: Any) -> Any:
        """The output for inputs in their order; a list where there are several."""
        results = self.run(arrays)
        return results[0] if len(results) == 1 else results

    def run(self, inputs: Mapping[str, Any] | Sequence[Any]) -> list[Any]:
        """The outputs in their order, each an array of its own.

        Raises ValueError or TypeError on inputs that don't fit the model's, or what a node refuses, with its name.
        """
        arrays = self._checked(inputs)
        with self._lock:
            now = state()  # None: somebody watches the operations
            engine = backend.name(), isa.name(), self._engine[2] if now is None else now[1]
            if engine != self._engine:
                self._plans.clear()
                self._packed.clear()
                self._engine = engine
            if not all(type(array) is np.ndarray and array.dtype != object for array in arrays):
                return self._node_by_node(arrays, None)
            key = tuple((array.shape, array.dtype) for array in arrays)
            if key not in self._plans:
                return self._node_by_node(arrays, key)
            self._plans.move_to_end(key)
            plan = self._plans[key]
            if plan is None:
                return self._node_by_node(arrays, None)
            with np.errstate(all="ignore"):
                if now is None:
                    return plan.step_by_step(arrays)
                return plan.run(arrays) if plan.calls else plan.bind(arrays)

    def _checked(self, inputs: Mapping[str, Any] | Sequence[Any]) -> list[Any]:
        names = [port.name for port in self.inputs]
        if isinstance(inputs, Mapping):
            if set(inputs) != set(names):
                raise ValueError(f"inputs must be {names}, got {sorted(inputs)}")
            inputs = [inputs[name] for name in names]
        if len(inputs) != len(names):
            raise ValueError(f"inputs must be {names}, got {len(inputs)}")
        arrays = []
        for port, given in zip(self.inputs, inputs, strict=True):
            array = np.asarray(given) if isinstance(given, np.generic) else given
            if isinstance(array, np.ndarray):
                array = array if array.flags.c_contiguous and array.flags.aligned else array.copy(order="C")
            port.check(array)
            arrays.append(array)
        return arrays

    def _node_by_node(self, arrays: Sequence[Any], key: Any) -> list[Any]:
        """Compute each node's values; where all shapes follow from the inputs', keep the steps under key."""
        run = Run(self._packed, self.most_bytes)
        memories = [Memory(array) for array in arrays]
        values = dict(self._constants)
        for port, memory in zip(self.inputs, memories, strict=True):
            values[port.name] = Value(memory)
        with np.errstate(all="ignore"):
            self._through(run, self._nodes, values)
            outputs = [run.first(values[port.name]) for port in self.outputs]
        if key is not None:
            plain = run.fixed and all(isinstance(m.array, np.ndarray) for m in outputs)
            self._plans[key] = Plan(run.steps, memories, outputs) if plain else None
            while len(self._plans) > MOST_PLANS:
                self._plans.popitem(last=False)
        return [own(memory.array) for memory in outputs]

    def _through(self, run: Run, nodes: Sequence[Node], values: dict[str, Value]) -> None:
        left = dict(self.graph.readers)
        for name, value in values.items():
            value.readers = left.get(name, 0)
        for node in nodes:
            for name, value in self._compute(run, node, values).items():
                value.readers = left.get(name, 0)
                values[name] = value
            for name in node.reads:
                left[name] -= 1
                if not left[name] and name not in self._constants:
                    values.pop(name, None)

    @property
    def nodes(self) -> list[Node]:
        """Those that need an input; what the others make is constant."""
        return list(self._nodes)

    def walk(self, arrays: Sequence[Any]) -> Iterator[tuple[Node | None, Run, dict[str, Value]]]:
        """Each node, the run and what the node makes of these inputs, nothing joined; first None and what is given."""
        run, left = Run({}, self.most_bytes), dict(self.graph.readers)
        values = {name: Value(value.memory, value.last) for name, value in self._constants.items()}
        values |= {port.name: Value(Memory(array)) for port, array in zip(self.inputs, arrays, strict=True)}
        yield None, run, several_readers(values)
        for node in self._nodes:
            with np.errstate(all="ignore"):
                made = self._compute(run, node, values)
            values |= several_readers(made)
            yield node, run, made
            run.steps.clear()
            for name in node.reads:
                left[name] -= 1
                if not left[name]:
                    values.pop(name, None)

    def _compute(self, run: Run, node: Node, values: Mapping[str, Value]) -> dict[str, Value]:
        given = [values[name] if name else None for name in node.inputs]
        mark = len(run.steps)
        run.node = node
        try:
            try:
                if not is_ours(node):
                    raise NotOurs("an operator that isn't ours")
                if any(value is not None and value.dtype is None for value in given):
                    raise NotOurs("of a sequence")
                made = OPERATORS[node.operator](run, node, *given)
            except NotOurs as reason:
                del run.steps[mark:]
                self._reference.setdefault(node.label, str(reason))
                made = self._by_reference(run, node, values)
        except (
            ValueError,
            TypeError,
            IndexError,
            KeyError,
            AttributeError,
            OverflowError,
            np.exceptions.AxisError,
        ) as error:
            raise ValueError(f"node {node.label}: {error}") from error
        results = made if isinstance(made, (tuple, list)) else (made,)
        shared = {value.memory for value in given if value is not None and value.readers > 1}
        found = {}
        for name, value in zip(node.outputs, results, strict=False):
            if not name:
                continue
            if value.memory.pending is not None:
                value.memory.pending.node = value.memory.pending.node or node
            if value.memory in shared:
                run.forced(value.memory)
            found[name] = Value(value.memory, value.last) if any(value is each for each in given) else value
        if missing := [name for name in node.outputs if name and name not in found]:
            raise ValueError(f"node {node.label}: this output isn't made: {missing[0]!r}")
        return found

    def _by_reference(self, run: Run, node: Node, values: Mapping[str, Value]) -> list[Value]:
        memories = {name: run.first(values[name]) for name in node.reads}
        constant = all(memory.constant for memory in memories.values()) and not node.operator.startswith("Random")
        results = evaluate(node, self.versions, {name: memory.array for name, memory in memories.items()})
        return run.free([own(result) for result in results], constant)

    def _folded(self) -> list[Node]:
        """The nodes that need an input; what the others make is constant from now on."""
        run, kept, budget = Run(self._packed, min(self.most_bytes, FOLDED_BYTES)), [], FOLDED_BYTES
        for node in self.graph.nodes:
            known = all(name in self._constants for name in node.reads)
            if not known or not is_ours(node) or node.operator == "Dropout":
                kept.append(node)
                continue
            for name in node.reads:
                self._constants[name].readers = 2  # nothing is joined to a constant
            with np.errstate(all="ignore"):
                made = self._compute(run, node, self._constants)
            for name, value in made.items():
                array = run.first(value).array
                budget -= array.nbytes
                self._constants[name] = Value(Memory(array, True))
            if budget < 0:
                raise ValueError(f"constants that the graph computes must have at most {FOLDED_BYTES} bytes")
        read = {name for node in kept for name in node.reads} | {port.name for port in self.outputs}
        self._constants = {name: value for name, value in self._constants.items() if name in read}
        return kept

    def __repr__(self) -> str:
        ends = ", ".join(map(str, self.inputs)), ", ".join(map(str, self.outputs))
        return f"<ONNX model of {len(self.graph.nodes)} nodes: {ends[0]} -> {ends[1]}>"


def is_ours(node: Node) -> bool:
    return node.domain == "" and node.operator in OPERATORS


def several_readers(values: dict[str, Value]) -> dict[str, Value]:
    """values, to which nothing is joined from now on."""
    for value in values.values():
        value.readers = 2
    return values
