"""One node through onnx.reference: what isn't ours is computed there, and reported."""

from __future__ import annotations

from typing import Any

import numpy as np

from .graph import Node
from .proto import onnx_module
from .values import Array


def is_known(node: Node) -> bool:
    """Whether onnx.reference has this operator."""
    try:
        evaluator(node, {})
    except Exception:
        return False
    return True


def evaluator(node: Node, versions: dict[str, int]) -> Any:
    """What computes the node: a graph of it alone, whose inputs are what it and its subgraphs read."""
    if node.evaluator is None:
        onnx = onnx_module()
        from onnx.reference import ReferenceEvaluator

        names = dict.fromkeys(node.reads)
        inputs = [onnx.ValueInfoProto(name=name) for name in names]
        outputs = [onnx.ValueInfoProto(name=name) for name in node.outputs if name]
        graph = onnx.helper.make_graph([node.proto], "node", inputs, outputs)
        opsets = [onnx.helper.make_opsetid(d, v) for d, v in {**versions, node.domain: node.version}.items()]
        node.evaluator = ReferenceEvaluator(onnx.helper.make_model(graph, opset_imports=opsets))
    return node.evaluator


def evaluate(node: Node, versions: dict[str, int], feeds: dict[str, Any]) -> list[Any]:
    """The node's results, None for those that aren't asked for. Raises what onnx.reference raises, as ValueError."""
    try:
        with np.errstate(all="ignore"):
            results = iter(evaluator(node, versions).run(None, feeds))
    except Exception as error:
        raise ValueError(f"onnx.reference refuses it: {type(error).__name__}: {error}") from error
    return [next(results) if name else None for name in node.outputs]


def own(value: Any) -> Any:
    """An array that is nobody else's memory."""
    return np.array(value, order="C") if isinstance(value, (np.ndarray, np.generic)) else value


__all__ = ["Array", "evaluate", "evaluator", "is_known", "own"]
