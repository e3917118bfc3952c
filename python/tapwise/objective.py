"""What compile chose for each output: a loss, its weight and what is watched; counted from one reset to the next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from . import losses, metrics

Array = NDArray[Any]
Shape = tuple[int, ...]


class Goal:
    """One output: its loss, None if it isn't trained, that one's weight in the sum, and metrics by name or object."""

    def __init__(
        self, name: str, loss: losses.Loss | None, weight: float, chosen: list[Any], chosen_weighted: list[Any]
    ) -> None:
        self.name, self.loss, self.weight = name, loss, weight
        self.chosen, self.chosen_weighted = chosen, chosen_weighted
        self.mean = metrics.Mean(f"{name}_loss")
        self.watched: list[metrics.Metric] = []
        self.weighted: list[metrics.Metric] = []  # those that the weights of examples count in
        if loss is not None and loss.reduction == "none":
            raise ValueError(f"reduction must give one number to train {name} by {loss.name}, got none")

    @property
    def is_used(self) -> bool:
        return self.loss is not None or bool(self.chosen or self.chosen_weighted)

    def reset(self, target: Array | None, shape: Shape) -> None:
        self.mean.reset_state()
        self.watched, self.weighted = [], []
        if target is not None:
            y_shape, output_shape = target.shape, (0, *shape)
            self.watched = [metrics.get(each, y_shape, output_shape) for each in self.chosen]
            self.weighted = [metrics.get(each, y_shape, output_shape) for each in self.chosen_weighted]
        for metric in (*self.watched, *self.weighted):
            metric.reset_state()

    def count(
        self, y: Array, output: Array, logits: Array | None, training: bool, weights: Array | None = None
    ) -> tuple[float, Array | None, bool]:
        """The loss times its weight, in training its gradient, and whether that belongs to the logits.

        weights (n,) are those of the examples. A cross-entropy takes the logits of a softmax at the end: its
        probabilities may have become 0.
        """
        for metric in self.watched:
            metric.update_state(y, output)
        for metric in self.weighted:
            metric.update_state(y, output, weights)
        loss, read = self.loss, output
        if loss is None:
            return 0.0, None, False
        if at_logits := logits is not None and isinstance(loss, losses.CrossEntropy) and not loss.from_logits:
            loss, read = loss.on_logits(), logits
        gradient: Array | None = None
        if training:
            values, gradient = loss.values_and_gradient(y, read)
            if self.weight != 1:
                gradient *= gradient.dtype.type(self.weight)
            if weights is not None:
                gradient *= weights.astype(gradient.dtype).reshape(-1, *(1,) * (gradient.ndim - 1))
        else:
            values = loss.values(y, read)
        value, factor = loss.reduced(values, weights, len(output))
        if gradient is not None and factor != 1:
            gradient *= gradient.dtype.type(factor)
        self.mean.add(value, len(output))
        return self.weight * value, gradient, at_logits


class Objective:
    """The sum of the outputs' losses, each times its weight, and the metrics.

    loss, loss_weights, metrics and weighted_metrics (in which the weights of examples count): one for all outputs, a
    list with an entry for each, or a dict by their names. An output without a loss isn't trained. The metrics of a
    single output are a list.
    """

    def __init__(self, names: list[str], loss: Any, loss_weights: Any, chosen: Any, weighted: Any = None) -> None:
        found = [None if each is None else losses.get(each) for each in per_output(loss, names, "loss")]
        weights = [
            1.0 if weight is None else float(weight) for weight in per_output(loss_weights, names, "loss_weights")
        ]
        watched: list[list[list[Any]]] = []
        for given, what in ((chosen, "metrics"), (weighted, "weighted_metrics")):
            one = [given] if len(names) == 1 and not isinstance(given, dict) else given
            watched.append([listed(each) for each in per_output(one, names, what)])
        self.goals = [Goal(*each) for each in zip(names, found, weights, *watched, strict=True)]
        self.mean = metrics.Mean("loss")

    @property
    def trained(self) -> tuple[int, ...]:
        """The numbers of the outputs that have a loss."""
        return tuple(number for number, goal in enumerate(self.goals) if goal.loss)

    def check(self, y: Sequence[Array | None], shapes: Sequence[Shape]) -> None:
        """Raises ValueError if y can't be the targets of outputs (n, *shape)."""
        for goal, target, shape in zip(self.goals, y, shapes, strict=True):
            if target is None:
                if goal.is_used:
                    raise ValueError(f"y must hold targets for {goal.name}, which has a loss or metrics, got None")
            elif goal.loss:
                goal.loss.check(target, shape)

    def reset(self, y: Sequence[Array | None], shapes: Sequence[Shape]) -> None:
        self.mean.reset_state()
        for goal, target, shape in zip(self.goals, y, shapes, strict=True):
            goal.reset(target, shape)

    def count(
        self,
        y: Sequence[Array | None],
        outputs: Sequence[Array],
        logits: Sequence[Array | None],
        training: bool,
        weights: Array | None = None,
        penalty: float = 0.0,
    ) -> list[tuple[Array | None, bool]]:
        """Add a batch; in training each output's gradient and whether it belongs to the logits.

        weights (n,) are those of the examples, penalty what regularizers add.
        """
        total = penalty
        found: list[tuple[Array | None, bool]] = []
        for goal, target, output, before in zip(self.goals, y, outputs, logits, strict=True):
            if target is None:
                found.append((None, False))
                continue
            value, gradient, at_logits = goal.count(target, output, before, training, weights)
            total += value
            found.append((gradient, at_logits))
        self.mean.add(total, len(outputs[0]))
        return found

    def logs(self) -> dict[str, float]:
        """The loss, of several outputs that of each too, and the metrics, by name."""
        logs = {"loss": self.mean.result()}
        several = len(self.goals) > 1
        if several:
            logs |= {goal.mean.name: goal.mean.result() for goal in self.goals if goal.loss}
        for goal in self.goals:
            for metric in (*goal.watched, *goal.weighted):
                logs[f"{goal.name}_{metric.name}" if several else metric.name] = metric.result()
        return logs


def per_output(given: Any, names: list[str], what: str) -> list[Any]:
    """An entry for each output, None where a dict has none."""
    if isinstance(given, dict):
        for name in given:
            if name not in names:
                raise ValueError(f"{what} must be by the names of outputs, {', '.join(names)}, got {name!r}")
        return [given.get(name) for name in names]
    if isinstance(given, (list, tuple)):
        if len(given) != len(names):
            raise ValueError(f"{what} must have an entry for each output, {', '.join(names)}, got {len(given)} entries")
        return list(given)
    return [given] * len(names)


def listed(given: Any) -> list[Any]:
    if given is None:
        return []
    return list(given) if isinstance(given, (list, tuple)) else [given]
