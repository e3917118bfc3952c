"""JAX, compiled, with the activations in either layout."""

import jax
import numpy as np
from jax import lax

from peer_engines import Call, chain_weights, channels_first, channels_last, output_first, output_last

SPACE = "DHW"


def start(settings):
    return {"version": jax.__version__}


def calls(row, a):
    if row.operation not in ("forward", "grad_input", "grad_weight"):
        return
    space = SPACE[-row.rank :]
    yield call(row, a, (f"N{space}C", f"{space}IO", f"N{space}C"))
    yield call(row, a, (f"NC{space}", f"OI{space}", f"NC{space}"))


def call(row, a, layouts):
    last = layouts[0].endswith("C")
    x, w, dy = a["x"], a["w"], a["dy"]
    if not last:
        x, w, dy = channels_first(x), output_first(w), channels_first(dy)
    x, dy, b = map(jax.numpy.asarray, (x, dy, a["b"] if last else a["b"].reshape(-1, *(1,) * row.rank)))

    def conv(x, w):
        return lax.conv_general_dilated(
            x, w, row.strides, row.padding, rhs_dilation=row.dilation, dimension_numbers=layouts,
            feature_group_count=row.groups,
        )  # fmt: skip

    if row.operation == "forward":
        weights = [jax.numpy.asarray(each) for each in chain_weights(row, w)]
        compiled = jax.jit(lambda x, w, b: conv(x, w) + b)

        def run():
            y = x
            for each in weights:
                y = compiled(y, each, b)
            return y.block_until_ready()

        return Call("jax", run, np.asarray if last else lambda y: channels_last(np.asarray(y)))
    w = jax.numpy.asarray(w)
    if row.operation == "grad_input":
        compiled = jax.jit(lambda x, w, dy: jax.vjp(lambda x: conv(x, w), x)[1](dy)[0])
        back = channels_last
    else:
        compiled = jax.jit(lambda x, w, dy: jax.vjp(lambda w: conv(x, w), w)[1](dy)[0])
        back = output_last
    run = lambda: compiled(x, w, dy).block_until_ready()  # noqa: E731
    return Call("jax", run, np.asarray if last else lambda g: back(np.asarray(g)))
