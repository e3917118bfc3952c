"""JAX: the networks of networks.py as one compiled step, lax convolutions in NHWC; no moving averages are kept."""

import math
import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from networks import TASKS

__name__ = "keras"  # what networks.py asks for its words of padding
RNG = np.random.default_rng(0)


def start(settings):
    return {"version": jax.__version__}


class Value:
    """What a layer gives: function(weights, inputs, key)."""

    def __init__(self, shape, function=None, inputs=(), weights=()):
        self.shape, self.function, self.inputs, self.weights = (None, *shape), function, inputs, weights

    def order(self, found):
        for value in self.inputs:
            value.order(found)
        found.setdefault(self, len(found))
        return found


def random(*shape):
    return RNG.normal(0, math.sqrt(2 / math.prod(shape[:-1])), shape).astype(np.float32)


def zeros(size):
    return np.zeros(size, np.float32)


def activated(x, kind):
    return {None: lambda: x, "relu": lambda: jax.nn.relu(x), "softmax": lambda: x}[kind]()  # the loss takes logits


def Input(shape):
    return Value(shape)


def Model(inputs, outputs):
    return inputs, outputs


class layers:
    """The layers that networks.py uses, each called on a Value."""

    def Conv2D(filters, kernel, strides=1, padding="valid", use_bias=True, activation=None, groups=1):
        def call(x):
            ci = x.shape[-1]
            weights = [random(kernel, kernel, ci // groups, filters), *([zeros(filters)] if use_bias else [])]

            def function(w, inputs, key):
                y = lax.conv_general_dilated(
                    inputs[0], w[0], (strides, strides), padding.upper(),
                    dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=groups,
                )  # fmt: skip
                return activated(y + w[1] if use_bias else y, activation)

            size = [math.ceil((n if padding == "same" else n - kernel + 1) / strides) for n in x.shape[1:3]]
            return Value((*size, filters), function, [x], weights)

        return call

    def DepthwiseConv2D(kernel, strides, padding, use_bias):
        return lambda x: layers.Conv2D(x.shape[-1], kernel, strides, padding, use_bias, groups=x.shape[-1])(x)

    def BatchNormalization(momentum, epsilon):
        def function(w, inputs, key):
            (x,) = inputs
            mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
            return (x - mean) * (w[0] * lax.rsqrt(variance + epsilon)) + w[1]

        return lambda x: Value(x.shape[1:], function, [x], [zeros(x.shape[-1]) + 1, zeros(x.shape[-1])])

    def ReLU(most=math.inf):
        return lambda x: Value(x.shape[1:], lambda w, inputs, key: jnp.clip(inputs[0], 0, most), [x])

    def Add():
        return lambda x: Value(x[0].shape[1:], lambda w, inputs, key: inputs[0] + inputs[1], x)

    def MaxPooling2D(size):
        def function(w, inputs, key):
            window = (1, size, size, 1)
            return lax.reduce_window(inputs[0], -jnp.inf, lax.max, window, window, "VALID")

        return lambda x: Value((x.shape[1] // size, x.shape[2] // size, x.shape[3]), function, [x])

    def GlobalAveragePooling2D():
        return lambda x: Value(x.shape[-1:], lambda w, inputs, key: inputs[0].mean((1, 2)), [x])

    def Dropout(rate):
        def function(w, inputs, key):
            kept = jax.random.bernoulli(key, 1 - rate, inputs[0].shape)
            return jnp.where(kept, inputs[0] / (1 - rate), 0)

        return lambda x: Value(x.shape[1:], function, [x])

    def Flatten():
        return lambda x: Value(
            (math.prod(x.shape[1:]),), lambda w, inputs, key: inputs[0].reshape(len(inputs[0]), -1), [x]
        )

    def Dense(units, activation=None):
        def function(w, inputs, key):
            return activated(inputs[0] @ w[0] + w[1], activation)

        return lambda x: Value((units,), function, [x], [random(x.shape[-1], units), zeros(units)])


def step(name, x, y):
    inputs, outputs = TASKS[name].make(sys.modules["train_engines.jax"])
    order = outputs.order({})

    def loss(weights, key):
        found = {inputs: images}
        for value, number in order.items():
            if value is not inputs:
                read = [found[each] for each in value.inputs]
                found[value] = value.function(weights[number], read, jax.random.fold_in(key, number))
        picked = jnp.take_along_axis(jax.nn.log_softmax(found[outputs]), labels[:, None], 1)
        return -picked.mean()

    def sgd(w, dw, m, v, t):
        m = 0.9 * m - 0.01 * dw
        return w + m, m, v

    def adam(w, dw, m, v, t):
        m, v = m + 0.1 * (dw - m), v + 0.001 * (dw**2 - v)
        rate = 0.001 * jnp.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        return w - rate * m / (jnp.sqrt(v) + 1e-7), m, v

    update = adam if TASKS[name].optimizer == "adam" else sgd

    def whole(state, t):
        weights, m, v = state
        value, gradients = jax.value_and_grad(loss)(weights, jax.random.key(t))
        leaves = [jax.tree.leaves(each) for each in (weights, gradients, m, v)]
        found = zip(*(update(*each, t) for each in zip(*leaves, strict=True)), strict=True)
        return value, tuple(jax.tree.unflatten(jax.tree.structure(weights), list(each)) for each in found)

    images, labels = jnp.asarray(x), jnp.asarray(y)
    weights = [[jnp.asarray(w) for w in value.weights] for value in order]
    none = [[jnp.zeros_like(w) for w in each] for each in weights]
    state, steps = (weights, none, jax.tree.map(jnp.copy, none)), 0
    compiled = jax.jit(whole, donate_argnums=0)

    def run():
        nonlocal state, steps
        steps += 1
        value, state = compiled(state, steps)
        return float(value)

    return run
