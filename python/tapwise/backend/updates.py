"""The specification of what changes parameters and averages in place; interface.Update has the formulas."""

from __future__ import annotations

import numpy as np

from .interface import Array, Update
from .silent import silent


@silent()
def optimizer_update(
    u: Update, w: list[Array], dw: list[Array], m: list[Array], v: list[Array], average: list[Array],
    scales: list[float],
) -> None:  # fmt: skip
    for i in range(len(w)):
        weights, real = w[i], w[i].dtype.type
        g = np.clip(dw[i] * real(scales[i]), real(-u.clip), real(u.clip))
        weights *= real(u.keep)
        if u.rule == "sgd":
            down = g * real(u.rate)
            if m:
                m[i][...] = m[i] * real(u.momentum) - down
                down = down - m[i] * real(u.momentum) if u.nesterov else -m[i]
        else:
            v[i][...] += (g * g - v[i]) * real(u.rate_2)
            if u.rule == "adam":
                m[i][...] += (g - m[i]) * real(u.rate_1)
                down = real(u.rate) * m[i] / (np.sqrt(v[i]) + real(u.epsilon))
            else:
                down = real(u.rate) * g / np.sqrt(v[i] + real(u.epsilon))
                if m:
                    m[i][...] = down = m[i] * real(u.momentum) + down
        weights -= down
        if average:
            average[i][...] += (weights - average[i]) * real(u.average_rate)


def square_sums(arrays: list[Array]) -> list[float]:
    return [float(np.vdot(a, a)) for a in arrays]


def moving_average(average: Array, value: Array, momentum: float) -> None:
    average[...] = momentum * average + (1 - momentum) * value
