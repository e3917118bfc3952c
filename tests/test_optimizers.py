"""The optimizers over several parameters at once, against Keras 3's rules written out in float64."""

import math

import numpy as np
import pytest

import tapwise
from close import assert_within
from tapwise import optimizers
from tapwise.layers.layer import Parameter

EPS = np.finfo(np.float32).eps
SHAPES = [(3,), (), (5, 7), (16,), (0,), (33, 1000), (2, 3, 4)]
STEPS = 4


def clipped(gradients, clipnorm=None, clipvalue=None, global_clipnorm=None, **_):
    norms = [math.sqrt(float(np.sum(g * g))) for g in gradients]
    if clipvalue is not None:
        return [np.clip(g, -clipvalue, clipvalue) for g in gradients]
    if clipnorm is not None:
        return [g * clipnorm / max(norm, clipnorm) for g, norm in zip(gradients, norms, strict=True)]
    if global_clipnorm is not None:
        norm = math.sqrt(sum(norm * norm for norm in norms))
        return [g * global_clipnorm / max(norm, global_clipnorm) for g in gradients]
    return gradients


def sgd(w, g, state, t, learning_rate=0.01, momentum=0.0, nesterov=False, **_):
    v = state["m"] = momentum * state.get("m", 0) - learning_rate * g
    return w + (momentum * v - learning_rate * g if nesterov else v)


def adam(w, g, state, t, learning_rate=0.001, beta_1=0.9, beta_2=0.999, epsilon=1e-7, **_):
    m = state["m"] = beta_1 * state.get("m", 0) + (1 - beta_1) * g
    v = state["v"] = beta_2 * state.get("v", 0) + (1 - beta_2) * g * g
    return w - learning_rate * math.sqrt(1 - beta_2**t) / (1 - beta_1**t) * m / (np.sqrt(v) + epsilon)


def rmsprop(w, g, state, t, learning_rate=0.001, rho=0.9, momentum=0.0, epsilon=1e-7, **_):
    v = state["v"] = rho * state.get("v", 0) + (1 - rho) * g * g
    m = state["m"] = momentum * state.get("m", 0) + learning_rate * g / np.sqrt(v + epsilon)
    return w - m


RULES = {"SGD": sgd, "Adam": adam, "AdamW": adam, "RMSprop": rmsprop}


def steps(rule, w, gradients, options):
    """Keras' order: clip, decay, step, average, and every ema_overwrite_frequency steps the average for w."""
    w, states, averages = [*w], [{} for _ in w], [0] * len(w)
    decay = options.get("learning_rate", 0.001) * options.get("weight_decay", 0)
    for t, given in enumerate(gradients, 1):
        for i, g in enumerate(clipped(given, **options)):
            w[i] = RULES[rule](w[i] - w[i] * decay, g, states[i], t, **options)
            kept = options.get("ema_momentum", 0.99) if t > 1 else 0
            averages[i] = kept * averages[i] + (1 - kept) * w[i]
            if t % options.get("ema_overwrite_frequency", STEPS + 1) == 0:
                w[i] = averages[i]
    return w, averages


CASES = {
    "sgd": ("SGD", {}),
    "sgd, momentum": ("SGD", {"learning_rate": 0.1, "momentum": 0.9}),
    "sgd, nesterov": ("SGD", {"learning_rate": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    "sgd, clipnorm": ("SGD", {"learning_rate": 0.1, "clipnorm": 1.5}),
    "sgd, global_clipnorm": ("SGD", {"learning_rate": 0.1, "global_clipnorm": 20.0}),
    "sgd, clipvalue": ("SGD", {"learning_rate": 0.1, "clipvalue": 0.3}),
    "sgd, average": ("SGD", {"learning_rate": 0.1, "use_ema": True, "ema_momentum": 0.5, "ema_overwrite_frequency": 2}),
    "adam": ("Adam", {}),
    "adam, global_clipnorm": ("Adam", {"learning_rate": 0.1, "beta_1": 0.5, "epsilon": 1e-3, "global_clipnorm": 1.0}),
    "adam, average": ("Adam", {"learning_rate": 0.1, "epsilon": 1e-3, "use_ema": True}),
    "adamw": ("AdamW", {"learning_rate": 0.1, "weight_decay": 0.01, "epsilon": 1e-3}),
    "rmsprop": ("RMSprop", {"learning_rate": 0.01, "epsilon": 1e-3}),
    "rmsprop, momentum": ("RMSprop", {"learning_rate": 0.01, "rho": 0.8, "momentum": 0.9, "epsilon": 1e-3}),
}


@pytest.mark.parametrize(("rule", "options"), CASES.values(), ids=CASES)
def test_steps(rule, options, engine, rng):
    w = [rng.standard_normal(shape).astype(np.float32) for shape in SHAPES]
    gradients = [[rng.standard_normal(shape).astype(np.float32) for shape in SHAPES] for _ in range(STEPS)]
    wide = [[g.astype(np.float64) for g in step] for step in gradients]
    want, averages = steps(rule, [a.astype(np.float64) for a in w], wide, options)
    optimizer = getattr(optimizers, rule)(**options)
    parameters = [Parameter(a.copy(), str(i)) for i, a in enumerate(w)]
    for step in gradients:
        for parameter, gradient in zip(parameters, step, strict=True):
            parameter.gradient = gradient
        optimizer.apply(parameters)
    for parameter, exact, average in zip(parameters, want, averages, strict=True):
        # A step of adam or rmsprop at a gradient near 0 is steep: its error is that of the gradient over epsilon.
        assert_within(parameter.value, exact, np.abs(exact) + 1, 100)
        if options.get("use_ema"):
            assert_within(optimizer.state[parameter]["average"], average, np.abs(average) + 1, 100)
    if options.get("use_ema"):
        optimizer.finalize()
        for parameter in parameters:
            np.testing.assert_array_equal(parameter.value, optimizer.state[parameter]["average"])


def test_arrays_may_change(engine):
    """The arrays of a parameter are looked up at each step."""
    parameter, optimizer = Parameter(np.zeros(3, np.float32), "w"), optimizers.SGD(1.0, momentum=0.5)
    for _ in range(2):
        parameter.gradient = np.ones(3, np.float32)
        optimizer.apply([parameter])
    parameter.value = np.zeros(3, np.float32)
    optimizer.apply([parameter])
    np.testing.assert_array_equal(parameter.value, [-1.75] * 3)
    parameter.gradient = np.ones(4, np.float32)
    with pytest.raises(ValueError, match=r"dw must have shape \(3,\), got \(4,\)"):
        optimizer.apply([parameter])


def test_nan_passes_the_clamp(engine):
    parameter, optimizer = Parameter(np.zeros(40, np.float32), "w"), optimizers.SGD(1.0, clipvalue=0.5)
    parameter.gradient = np.full(40, np.nan, np.float32)
    parameter.gradient[1::2] = np.inf
    optimizer.apply([parameter])
    np.testing.assert_array_equal(parameter.value, [np.nan, -0.5] * 20)


def test_bits_do_not_depend_on_threads(engine):
    def run():
        rng = np.random.default_rng(5)
        optimizer = optimizers.Adam(global_clipnorm=1.0, use_ema=True)
        parameters = [Parameter(rng.standard_normal(shape).astype(np.float32), "w") for shape in SHAPES]
        for _ in range(2):
            for parameter in parameters:
                parameter.gradient = rng.standard_normal(parameter.shape).astype(np.float32)
            optimizer.apply(parameters)
        return b"".join(parameter.value.tobytes() for parameter in parameters)

    with tapwise.threads.set(1):
        alone = run()
    with tapwise.threads.set(4):
        assert run() == alone
