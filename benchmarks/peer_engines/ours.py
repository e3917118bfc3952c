"""Tapwise: weights as they are, packed beforehand where the call is a forward convolution, and each named algorithm."""

import tapwise
from peer_engines import Call, chain_weights, channels_first, channels_last
from tapwise import bench

SETTINGS = {}


def start(settings):
    SETTINGS.update(settings)
    tapwise.backend.use("native")
    tapwise.threads.set(settings["threads"])
    return {"machine": bench.machine(), "version": tapwise.__version__, "isa": tapwise.isa.name()}


def fma_peak():
    return bench.fma_peak()


def calls(row, a):
    if row.operation.endswith("pool") or row.operation.endswith("pool_grad"):
        yield pool_call(row, a)
        return
    geometry = {"strides": row.strides, "padding": row.padding, "dilation": row.dilation}
    if SETTINGS.get("tune"):
        tapwise.tune(row.x_shape, row.w_shape, direction=row.operation, **geometry)
    possible = tapwise.plan(row.x_shape, row.w_shape, direction=row.operation, **geometry).possible
    column = SETTINGS["column"]
    for algorithm in ("auto", *SETTINGS.get("algorithms", ())):
        if algorithm != "auto" and algorithm not in possible:
            continue
        suffix = "" if algorithm == "auto" else f" {algorithm}"
        options = {**geometry, "algorithm": algorithm}
        yield from conv_calls(row, a, options, column + suffix)


def conv_calls(row, a, options, column):
    x, w, dy = a["x"], a["w"], a["dy"]
    if row.operation == "grad_input":
        out = tapwise.conv_grad_input(dy, w, x.shape, **options)  # as an operation allocates it, so as users reuse it
        yield Call(column, lambda: tapwise.conv_grad_input(dy, w, x.shape, out=out, **options), same)
    elif row.operation == "grad_weight":
        out = tapwise.conv_grad_weight(x, dy, w.shape, **options)
        yield Call(column, lambda: tapwise.conv_grad_weight(x, dy, w.shape, out=out, **options), same)
    else:
        yield Call(column, forward(row, x, chain_weights(row, w), a["b"], options), same)
        if hasattr(tapwise, "pack"):
            packed = [tapwise.pack(each, x_shape=row.x_shape, **options) for each in chain_weights(row, w)]
            yield Call(f"{column} packed", forward(row, x, packed, a["b"], options), same)


def forward(row, x, weights, b, options):
    conv = tapwise.conv
    y = conv(x, weights[0], b, **options)
    if row.chain == 1:
        (w,) = weights
        return lambda: conv(x, w, b, out=y, **options)
    ends = (y, conv(x, weights[0], b, **options))

    def chain():
        source = x
        for number, w in enumerate(weights):
            source = conv(source, w, b, out=ends[number % 2], **options)
        return source

    return chain


def same(y):
    return y


def pool_call(row, a):
    last = row.data_format == "channels_last"
    x, dy = (a[name] if last else channels_first(a[name]) for name in ("x", "dy"))
    options = {"strides": row.strides, "data_format": row.data_format}
    y, indices = tapwise.max_pool(x, row.kernel, return_indices=True, **options)
    dx = tapwise.average_pool_grad(dy, x.shape, row.kernel, **options)
    run = {
        "max_pool": lambda: tapwise.max_pool(x, row.kernel, out=y, **options),
        "average_pool": lambda: tapwise.average_pool(x, row.kernel, out=y, **options),
        "max_pool_grad": lambda: tapwise.max_pool_grad(dy, indices, x.shape, data_format=row.data_format, out=dx),
        "average_pool_grad": lambda: tapwise.average_pool_grad(dy, x.shape, row.kernel, out=dx, **options),
    }[row.operation]
    return Call(SETTINGS["column"], run, same if last else channels_last)
