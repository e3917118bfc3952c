"""A Keras program on the NumPy backend, run by test_interop_keras: each case with and without our kernels, as JSON."""

import json
import os

os.environ["KERAS_BACKEND"] = "numpy"

import keras
import numpy as np
from keras.src.backend.numpy import nn

from tapwise import interop

rng = np.random.default_rng(5)


def normal(*shape):
    return rng.standard_normal(shape).astype(np.float32)


def image(rank, layout, channels=4):
    sizes = (11, 8, 7)[:rank]
    return normal(2, *sizes, channels) if layout == "channels_last" else normal(2, channels, *sizes)


def convolutions():
    """Calls by name; each has its arrays from here on."""
    for rank in (1, 2, 3):
        for layout in ("channels_last", "channels_first"):
            for padding in ("valid", "same"):
                for strides, dilation in ((1, 1), (2, 1), (1, 2), (3, 1))[: 4 if rank == 2 else 2]:
                    x, name = image(rank, layout), f"{rank}D {layout} {padding} strides {strides} dilation {dilation}"
                    geometry = {"strides": strides, "padding": padding, "data_format": layout}
                    kernel = (3, 2, 3)[:rank]
                    dilated = {**geometry, "dilation_rate": dilation}
                    w, transposed, groups = normal(*kernel, 4, 6), normal(*kernel, 5, 4), normal(*kernel, 2, 6)
                    yield f"conv {name}", keras.ops.conv, (x, w), dilated
                    yield f"conv {name} groups", keras.ops.conv, (x, groups), dilated
                    if rank < 3 and not (strides > 1 and rank == 2 and padding == "same" and dilation > 1):
                        depth = normal(*kernel, 4, 2)
                        yield f"depthwise_conv {name}", keras.ops.depthwise_conv, (x, depth), dilated
                        arrays = x, depth, normal(*(1,) * rank, 8, 3)
                        yield f"separable_conv {name}", keras.ops.separable_conv, arrays, dilated
                    yield f"conv_transpose {name}", keras.ops.conv_transpose, (x, transposed), dilated
                    if strides > 1:
                        more = {**dilated, "output_padding": 1}
                        yield f"conv_transpose {name} output_padding", keras.ops.conv_transpose, (x, transposed), more


def poolings():
    for rank in (1, 2, 3):
        for layout in ("channels_last", "channels_first"):
            for padding in ("valid", "same"):
                for size, strides in ((2, 2), (3, 2), (3, 1)):
                    last = {"strides": strides, "padding": padding, "data_format": layout}
                    name, arrays = (
                        f"{rank}D {layout} {padding} size {size} strides {strides}",
                        (image(rank, layout), size),
                    )
                    yield f"max_pool {name}", keras.ops.max_pool, arrays, last
                    yield f"average_pool {name}", keras.ops.average_pool, arrays, last


def network():
    k = keras.layers
    x = inputs = keras.Input((32, 32, 3))
    x = k.ReLU()(k.BatchNormalization()(k.Conv2D(16, 3, padding="same")(x)))
    x = k.DepthwiseConv2D(3, strides=2, padding="same")(x)
    x = k.SeparableConv2D(24, 3, activation="relu", padding="same")(x)
    x = k.Conv2DTranspose(8, 3, strides=2, padding="same")(x)
    x = k.AveragePooling2D(2, padding="same")(k.MaxPooling2D(2)(x))
    return keras.Model(inputs, k.Dense(10)(k.GlobalAveragePooling2D()(x)))


def compared(call):
    want = np.asarray(call())
    with interop.keras.enable():
        got = np.asarray(call())
        report = interop.keras.report()
    ours = {"ran": report.ran, "fell_back": [f"{name}: {why}" for name, why in report.fell_back], "text": str(report)}
    same = got.shape == want.shape and got.dtype == want.dtype
    return {**ours, "same": same, "error": float(np.abs(got - want).max() / np.abs(want).max()) if same else None}


def refusal(call):
    try:
        call()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


def main():
    cases = {name: compared(lambda f=f, a=a, g=g: f(*a, **g)) for name, f, a, g in [*convolutions(), *poolings()]}
    model, x = network(), normal(8, 32, 32, 3)
    cases["a network's predict"] = compared(lambda: model.predict(x, verbose=0))
    mobile = keras.applications.MobileNetV2((32, 32, 3), weights=None)
    cases["MobileNetV2"] = compared(lambda: mobile(x))
    half = normal(1, 6, 6, 4).astype(np.float16), normal(3, 3, 4, 2).astype(np.float16)
    cases["float16"] = compared(lambda: nn.conv(*half))
    bad = normal(1, 6, 6, 4), normal(3, 3, 3, 2)
    before = nn.conv
    theirs = refusal(lambda: keras.ops.conv(*bad))
    with interop.keras.enable():
        interop.keras.enable()
        cases["refusal"] = [theirs, refusal(lambda: keras.ops.conv(*bad))]
        interop.keras.disable()
        cases["restored"] = nn.conv is before and not interop.keras.enabled()
    print(json.dumps(cases))


if __name__ == "__main__":
    main()
