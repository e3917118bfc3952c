"""What operations refuse, besides those of test_conv_arguments.py: argument, rule and value; nothing is written."""

import math
import os
import re
import subprocess
import sys

import numpy as np
import pytest

import tapwise

X = np.zeros((2, 6, 5, 4), np.float32)
Y = np.zeros((2, 3, 2, 4), np.float32)
INDICES = np.zeros(Y.shape, np.int32)
C = np.zeros(4, np.float32)
LOGITS, LABELS = np.zeros((3, 5), np.float32), np.zeros(3, np.int32)
STRIDED = np.zeros((2, 6, 5, 8), np.float32)[..., ::2]


def read_only(shape):
    a = np.zeros(shape, np.float32)
    a.flags.writeable = False
    return a


def off_by_one_byte(shape):
    return np.zeros(4 * math.prod(shape) + 1, np.uint8)[1:].view(np.float32).reshape(shape)


def wide(a):
    return a.astype(np.float64)


TYPES = {
    "a list": (lambda: tapwise.relu([1.0, 2.0]), "x must be an array .*, got list"),
    "a number": (lambda: tapwise.relu(1.0), "x must be an array .*, got float"),
    "masked": (lambda: tapwise.relu(np.ma.zeros(3)), "x must not be a masked array, got MaskedArray"),
    "whole numbers": (lambda: tapwise.max_pool(X.astype(np.int64), 2), "x must be .*float32.*, got int64"),
    "complex numbers": (lambda: tapwise.softmax(LOGITS.astype(complex)), "x must be .*float32.*, got complex128"),
    "another byte order": (lambda: tapwise.relu(X.astype(">f4")), "x must be .*float32.*, got >f4"),
    "indices": (
        lambda: tapwise.max_pool_grad(Y, INDICES.astype(np.int64), X.shape),
        "indices must be int32, got int64",
    ),
    "labels": (lambda: tapwise.softmax_cross_entropy(LOGITS, LABELS.astype(np.int64)), "labels must be int32 .*int64"),
    "dy": (lambda: tapwise.activation_grad(X, wide(X), "relu"), "y must be float32, got float64"),
    "w of dense": (lambda: tapwise.dense(X, np.zeros((4, 3))), "w must be float32, got float64"),
    "b of dense": (lambda: tapwise.dense(X, np.zeros((4, 3), "f"), np.zeros(3)), "b must be float32, got float64"),
    "gamma": (lambda: tapwise.batch_norm(X, wide(C), C, C, C), "gamma must be float32, got float64"),
    "no mean": (lambda: tapwise.batch_norm(X, C, C), "mean must be an array .*, got NoneType"),
    "gelu without x": (lambda: tapwise.activation_grad(X, None, "gelu"), "x must be an array .*, got NoneType"),
    "velocity": (
        lambda: tapwise.sgd_update(C.copy(), C, wide(C), learning_rate=1, momentum=0.9),
        "velocity must be float32, got float64",
    ),
    "size": (lambda: tapwise.max_pool(X, 2.0), "size must be an integer, got 2.0"),
    "x_shape": (lambda: tapwise.average_pool_grad(Y, 7, 2), "x_shape must be a tuple of sizes, got 7"),
    "rate": (lambda: tapwise.dropout(X, "half", 1), "rate must be a number, got 'half'"),
    "seed": (lambda: tapwise.dropout(X, 0.5, 1.5), "seed must be an integer, got 1.5"),
    "threads": (lambda: tapwise.threads.set(1.5), "n must be an integer, got 1.5"),
}


@pytest.mark.parametrize(("call", "message"), TYPES.values(), ids=TYPES)
def test_type(call, message, engine):
    with pytest.raises(TypeError, match=f"^{message}"):
        call()


SHAPES = {
    "strided": (
        lambda: tapwise.max_pool(STRIDED, 2),
        r"x must be C-contiguous, got strides .*np.ascontiguousarray\(x\)",
    ),
    "misaligned": (lambda: tapwise.relu(off_by_one_byte((3, 5))), "x must be aligned to its elements, got .*1 byte"),
    "misaligned w": (lambda: tapwise.dense(X, off_by_one_byte((4, 3))), "w must be aligned to its elements"),
    "rank": (lambda: tapwise.max_pool(LOGITS, 2), r"x must have 1, 2 or 3 spatial dimensions.*got shape \(3, 5\)"),
    "rank of a global pool": (lambda: tapwise.global_average_pool(LOGITS), "x must have 1, 2 or 3 spatial dimensions"),
    "zero size": (lambda: tapwise.max_pool(X, 0), "size must be >= 1, got 0"),
    "negative stride": (lambda: tapwise.average_pool(X, 2, strides=(1, -1)), "strides must be >= 1, got -1"),
    "stride beyond 64 bits": (lambda: tapwise.max_pool(X, 2, strides=2**64), r"strides must be < 2\*\*60, got"),
    "padding beyond 64 bits": (lambda: tapwise.max_pool(X, 2, padding=2**64), r"padding before must be < 2\*\*60, got"),
    "size of another rank": (lambda: tapwise.max_pool(X, (2, 2, 2)), "size must be .* 2 spatial axes, got"),
    "window beyond the input": (lambda: tapwise.max_pool(X, 7), "kernel must not be larger than the padded input"),
    "window beyond it by a stride": (
        lambda: tapwise.max_pool(X, 9, strides=1, ceil_mode=True),
        "size must not exceed the padded input by a stride, got 9 .*size 6",
    ),
    "window of padding": (
        lambda: tapwise.max_pool(X, 2, padding=2),
        "padding must leave an input element in each window, got a window of 2 .* at -2 for size 6",
    ),
    "dilated window around the input": (
        lambda: tapwise.average_pool(np.zeros((1, 1, 1), np.float32), 2, padding=1, dilation=2),
        "padding must leave an input element in each window, got a window of 2 with dilation 2 at -1 for size 1",
    ),
    "padding of another rank": (lambda: tapwise.max_pool(X, 2, padding=(1,)), "padding must be .* 2 spatial axes"),
    "triple of padding": (lambda: tapwise.max_pool(X, 2, padding=((1, 1, 1), 0)), r"padding must be \(before, after\)"),
    "data format": (lambda: tapwise.max_pool(X, 2, data_format="last"), "data_format must be .*, got 'last'"),
    "indices of another shape": (
        lambda: tapwise.max_pool_grad(Y, INDICES[:1], X.shape),
        r"indices must have shape \(2, 3, 2, 4\), got \(1, 3, 2, 4\)",
    ),
    "indices beyond the plane": (
        lambda: tapwise.max_pool_grad(Y, np.full_like(INDICES, 30), X.shape),
        "indices must be >= 0 and < 30, got 30 to 30",
    ),
    "negative indices": (
        lambda: tapwise.max_pool_grad(Y, np.full_like(INDICES, -1), X.shape),
        "indices must be >= 0 and < 30, got -1 to -1",
    ),
    "channels of dy": (
        lambda: tapwise.max_pool_grad(Y, INDICES, (2, 6, 5, 3)),
        r"dy must have n, c and the dimensions of x_shape \(2, 6, 5, 3\), got shape \(2, 3, 2, 4\)",
    ),
    "dy of another pool": (
        lambda: tapwise.average_pool_grad(Y, X.shape, 3),
        r"dy must have shape \(2, 2, 1, 4\), got \(2, 3, 2, 4\)",
    ),
    "dy of a global pool": (
        lambda: tapwise.global_average_pool_grad(C, X.shape),
        r"dy must have shape \(2, 1, 1, 4\), got \(4,\)",
    ),
    "output_size": (lambda: tapwise.adaptive_max_pool(X, 0), "output_size must be >= 1, got 0"),
    "product that overflows": (
        lambda: tapwise.average_pool_grad(Y, (2, 2**31, 2**31, 4), 2),
        r"x_shape must hold fewer than 2\*\*60 elements, got",
    ),
    "output that overflows": (
        lambda: tapwise.conv_transpose(X, np.zeros((1, 1, 1, 4), np.float32), strides=2**29),
        r"y_shape must hold fewer than 2\*\*60 elements, got",
    ),
    "channels of a transposed w": (
        lambda: tapwise.conv_transpose(X, np.zeros((1, 1, 4, 3), np.float32)),
        "w must have ci = 4 input channels, got 3",
    ),
    "groups of a transposed w": (
        lambda: tapwise.conv_transpose(X, np.zeros((1, 1, 2, 4), np.float32), groups=3),
        "groups must divide ci and co, got groups=3, ci=4, co=6",
    ),
    "causal transposed": (
        lambda: tapwise.conv_transpose(X, np.zeros((1, 1, 2, 4), np.float32), padding="causal"),
        "padding of a transposed convolution must be .*, got 'causal'",
    ),
    "transposed and cropped to nothing": (
        lambda: tapwise.conv_transpose(X, np.zeros((1, 1, 2, 4), np.float32), padding=3),
        "padding must leave an output, got 3 for a full output of size 6",
    ),
    "output_padding": (
        lambda: tapwise.conv_transpose(X, np.zeros((1, 1, 2, 4), np.float32), output_padding=-1),
        "output_padding must be >= 0, got -1",
    ),
    "w of dense": (
        lambda: tapwise.dense(X, np.zeros((3, 4), np.float32)),
        r"w must be \(ci, co\) for x \(..., ci\), got w \(3, 4\), x \(2, 6, 5, 4\)",
    ),
    "dy of dense, for x": (
        lambda: tapwise.dense_grad_input(X, np.zeros((4, 3), np.float32)),
        r"dy must be \(..., co\) for w \(ci, co\), got dy \(2, 6, 5, 4\), w \(4, 3\)",
    ),
    "dy of dense, for w": (
        lambda: tapwise.dense_grad_weight(X, X[:1]),
        r"dy must be \(..., co\) for x \(..., ci\), got dy \(1, 6, 5, 4\), x \(2, 6, 5, 4\)",
    ),
    "activation": (lambda: tapwise.activation(X, "swish"), "activation must be .*, got 'swish'"),
    "alpha without use": (
        lambda: tapwise.activation(X, "relu", alpha=1),
        "alpha must be given to .* only, got alpha=1",
    ),
    "negative alpha": (lambda: tapwise.elu(X, -1.0), "alpha must be >= 0 and < inf, got -1"),
    "axis": (lambda: tapwise.softmax(X, axis=4), "axis must be >= -4 and < 4, got 4"),
    "no classes": (lambda: tapwise.softmax(X[..., :0].copy()), "x must have at least one class along axis -1"),
    "logits": (lambda: tapwise.softmax_cross_entropy(X, LABELS), r"logits must have shape \(n, c\)"),
    "labels of another batch": (
        lambda: tapwise.softmax_cross_entropy(LOGITS, np.zeros(2, np.int32)),
        r"labels must have shape \(3,\), got \(2,\)",
    ),
    "distribution over other classes": (
        lambda: tapwise.softmax_cross_entropy(LOGITS, np.zeros((3, 4), np.float32)),
        r"labels must have shape \(3, 5\), got \(3, 4\)",
    ),
    "class beyond the last": (
        lambda: tapwise.softmax_cross_entropy_grad(LOGITS, np.array([0, 5, 1], np.int32)),
        "labels must be >= 0 and < 5, got 0 to 5",
    ),
    "negative class": (
        lambda: tapwise.softmax_cross_entropy(LOGITS, np.array([0, -1, 1], np.int32)),
        "labels must be >= 0 and < 5, got -1 to 1",
    ),
    "scale": (
        lambda: tapwise.softmax_cross_entropy_grad(LOGITS, LABELS, np.zeros(2, np.float32)),
        r"scale must have shape \(3,\), got \(2,\)",
    ),
    "gamma": (lambda: tapwise.batch_norm(X, C[:3], C, C, C), r"gamma must have shape \(4,\), got \(3,\)"),
    "mean in training": (
        lambda: tapwise.batch_norm(X, C, C, C, C, training=True),
        "mean and variance must be None in training",
    ),
    "statistics of nothing": (
        lambda: tapwise.batch_norm(X[:0], C, C, training=True),
        r"x must have at least 2 dimensions of size >= 1, got \(0, 6, 5, 4\)",
    ),
    "epsilon": (lambda: tapwise.batch_norm(X, C, C, C, C, epsilon=-1e-3), "epsilon must be >= 0 and < inf, got -0.001"),
    "rate of one": (lambda: tapwise.dropout(X, 1, 7), "rate must be >= 0 and < 1, got 1"),
    "no rate": (lambda: tapwise.dropout(X, math.nan, 7), "rate must be >= 0 and < 1, got nan"),
    "negative seed": (lambda: tapwise.dropout(X, 0.5, -1), "seed must be >= 0, got -1"),
    "seed of 65 bits": (lambda: tapwise.dropout(X, 0.5, 2**64), r"seed must be < 2\*\*64, got 18446744073709551616"),
    "momentum without velocity": (
        lambda: tapwise.sgd_update(C.copy(), C, learning_rate=1, momentum=0.5),
        "velocity must be given if momentum > 0 and only then, got momentum=0.5",
    ),
    "w that can't be written": (
        lambda: tapwise.sgd_update(read_only(4), C, learning_rate=1),
        "w must be writeable, got a read-only array",
    ),
    "dw of another shape": (
        lambda: tapwise.sgd_update(C.copy(), C[:3], learning_rate=1),
        r"dw must have shape \(4,\), got \(3,\)",
    ),
    "step": (
        lambda: tapwise.adam_update(C.copy(), C, C.copy(), C.copy(), learning_rate=1, step=0),
        "step must be >= 1, got 0",
    ),
    "beta": (
        lambda: tapwise.adam_update(C.copy(), C, C.copy(), C.copy(), learning_rate=1, step=1, beta_2=1),
        "beta_2 must be >= 0 and < 1, got 1",
    ),
    "direction": (
        lambda: tapwise.plan(X.shape, (3, 3, 4, 8), direction="back"),
        "direction must be one of .*, got 'back'",
    ),
    "algorithm of a plan": (
        lambda: tapwise.plan(X.shape, (3, 3, 4, 8), algorithm="fft"),
        "algorithm must be one of .*, got 'fft'",
    ),
    "no threads": (lambda: tapwise.threads.set(0), "n must be >= 1, got 0"),
    "isa": (lambda: tapwise.isa.use("mmx"), "isa must be .*, got 'mmx'"),
    "mode": (lambda: tapwise.show_config(mode="yaml"), "mode must be .*, got 'yaml'"),
}


@pytest.mark.parametrize(("call", "message"), SHAPES.values(), ids=SHAPES)
def test_value(call, message, engine):
    with pytest.raises(ValueError, match=f"^{message}"):
        call()


W = np.zeros((4, 4), np.float32)
APART = "be x or apart from it"  # element by element, so out may be x
OUTPUTS = {
    "conv_grad_bias": (lambda x, out: tapwise.conv_grad_bias(x, out=out), C.shape, "not overlap dy"),
    "conv_transpose": (lambda x, out: tapwise.conv_transpose(x, W[None, None], out=out), X.shape, "not overlap x"),
    "max_pool": (lambda x, out: tapwise.max_pool(x, 2, out=out), Y.shape, "not overlap x"),
    "max_pool_grad": (
        lambda dy, out: tapwise.max_pool_grad(dy, np.zeros(X.shape, np.int32), X.shape, out=out),
        X.shape,
        "not overlap dy",
    ),
    "average_pool": (lambda x, out: tapwise.average_pool(x, 2, out=out), Y.shape, "not overlap x"),
    "average_pool_grad": (
        lambda dy, out: tapwise.average_pool_grad(dy, X.shape, 1, out=out),
        X.shape,
        "not overlap dy",
    ),
    "global_max_pool": (lambda x, out: tapwise.global_max_pool(x, out=out), (2, 4), "not overlap x"),
    "global_average_pool": (lambda x, out: tapwise.global_average_pool(x, out=out), (2, 4), "not overlap x"),
    "adaptive_max_pool": (lambda x, out: tapwise.adaptive_max_pool(x, (3, 2), out=out), Y.shape, "not overlap x"),
    "adaptive_average_pool": (
        lambda x, out: tapwise.adaptive_average_pool(x, (3, 2), out=out),
        Y.shape,
        "not overlap x",
    ),
    "dense": (lambda x, out: tapwise.dense(x, W, out=out), X.shape, "not overlap x"),
    "dense_grad_input": (lambda dy, out: tapwise.dense_grad_input(dy, W, out=out), X.shape, "not overlap dy"),
    "dense_grad_weight": (lambda x, out: tapwise.dense_grad_weight(x, X, out=out), W.shape, "not overlap x"),
    "dense_grad_bias": (lambda dy, out: tapwise.dense_grad_bias(dy, out=out), C.shape, "not overlap dy"),
    "relu": (lambda x, out: tapwise.relu(x, out=out), X.shape, APART),
    "activation_grad": (lambda dy, out: tapwise.activation_grad(dy, X, "relu", out=out), X.shape, APART),
    "softmax": (lambda x, out: tapwise.softmax(x, out=out), X.shape, "not overlap x"),
    "softmax_grad": (lambda dy, out: tapwise.softmax_grad(dy, X, out=out), X.shape, "not overlap dy"),
    "batch_norm": (lambda x, out: tapwise.batch_norm(x, C, C, C, C, out=out), X.shape, APART),
    "batch_norm_grad": (lambda dy, out: tapwise.batch_norm_grad(dy, X, C, C, C, out=out), X.shape, APART),
    "add": (lambda a, out: tapwise.add(a, X, out=out), X.shape, APART),
    "activation_grad_bias": (lambda dy, out: tapwise.activation_grad_bias(dy, X, "relu", out=out)[0], X.shape, APART),
    "dropout": (lambda x, out: tapwise.dropout(x, 0.5, 1, out=out), X.shape, APART),
}


@pytest.mark.parametrize(("call", "shape", "overlap"), OUTPUTS.values(), ids=OUTPUTS)
def test_out(call, shape, overlap, engine):
    """Another shape or dtype, strided, read-only, overlapping an input: refused, and left as it was."""
    memory = np.full(1000, 7, np.float32)
    size = math.prod(shape)
    refused = {
        r"have shape \(.*\), got": (X, memory[: size + shape[-1]].reshape(-1, shape[-1])),
        "be C-contiguous, got strides": (X, memory[: 2 * size].reshape(*shape[:-1], -1)[..., ::2]),
        "be writeable, got a read-only array": (X, read_only(shape)),
        overlap: (memory[2 : 2 + X.size].reshape(X.shape), memory[:size].reshape(shape)),
    }
    for rule, (x, out) in refused.items():
        with pytest.raises(ValueError, match=f"^out must {rule}"):
            call(x, out)
    with pytest.raises(TypeError, match=r"^out must be float32, got float64"):
        call(X, np.zeros(shape))
    np.testing.assert_array_equal(memory, 7)


@pytest.mark.parametrize("name", ["m", "v", "dw"])
def test_updates_keep_apart(name, engine):
    """w and its state are written, so none may share memory with another."""
    memory = np.ones(6, np.float32)
    arrays = {key: np.ones(4, np.float32) for key in ("dw", "m", "v")}
    arrays[name] = memory[2:]
    with pytest.raises(ValueError, match=f"must not overlap {'dw' if name == 'dw' else 'w'}"):
        tapwise.adam_update(memory[:4], *arrays.values(), learning_rate=1.0, step=1)
    np.testing.assert_array_equal(memory, 1)


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("TAPWISE_BACKEND", "mkl", "TAPWISE_BACKEND must be one of native, numba, reference, got 'mkl'"),
        (
            "TAPWISE_BACKEND",
            "cuda-emulated",
            ".* must be .*, got 'cuda-emulated': not built in this version",
        ),
        ("TAPWISE_THREADS", "many", "TAPWISE_THREADS must be an integer >= 1, got 'many'"),
        ("TAPWISE_THREADS", "0", "TAPWISE_THREADS must be an integer >= 1, got '0'"),
    ],
)
def test_environment(variable, value, message):
    """Refused at the first operation, not at import."""
    script = "import tapwise\ntry: tapwise.threads.get()\nexcept ValueError as error: print(error)"
    environment = {**os.environ, "TAPWISE_BACKEND": "reference", variable: value}
    command = [sys.executable, "-c", script]
    seen = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60).stdout
    assert re.match(message, seen), seen
