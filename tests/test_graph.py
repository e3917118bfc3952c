"""Models as graphs: what they compute, how they are planned, what they refuse."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tapwise
from small_model import X, Y, assert_same, compiled
from tapwise import layers, schedule
from tapwise.arena import Buffer, place

EPS = np.finfo(np.float64).eps
STEP = EPS ** (1 / 3)


@pytest.fixture(autouse=True)
def _seeded():
    tapwise.set_random_seed(11)


class Through(layers.Layer):
    """A layer of one's own that hands on what it gets, both ways, and knows nothing of a plan's memory."""

    def forward(self, x, training=False):
        return x

    def backward(self, dy):
        return dy


def normalized(x, filters, kernel, strides=1, relu=True, **how):
    x = layers.Conv2D(filters, kernel, strides, padding="same", use_bias=False, **how)(x)
    x = layers.BatchNormalization(**how)(x)
    return layers.ReLU(**how)(x) if relu else x


def residual(**how):
    """Two residual blocks, one of which changes the size, as ResNets have them."""
    x = inputs = tapwise.Input((6, 6, 2))
    x = normalized(x, 4, 3, **how)
    for filters, strides in ((4, 1), (6, 2)):
        y = normalized(normalized(x, filters, 3, strides, **how), filters, 3, relu=False, **how)
        if strides > 1:
            x = normalized(x, filters, 1, strides, relu=False, **how)
        x = layers.ReLU(**how)(layers.Add(**how)([y, x]))
    x = layers.GlobalAveragePooling2D(**how)(x)
    return tapwise.Model(inputs, layers.Dense(3, activation="softmax", **how)(x))


def branches(**how):
    """Every merge, a layer used twice, one tensor read four times, layers that hand on memory."""
    inputs = tapwise.Input((6, 6, 2))
    shared = layers.Conv2D(2, 3, padding="same", activation="tanh", **how)
    a = shared(inputs)
    b = shared(Through(**how)(a))
    c = layers.MaxPooling2D(3, 1, padding="same", **how)(
        layers.Activation("relu", **how)(layers.Conv2D(2, 1, **how)(a))
    )
    d = layers.Add(**how)([a, a])
    e = layers.Multiply(**how)([layers.GlobalAveragePooling2D(keepdims=True, **how)(c), a])
    x = layers.Concatenate(**how)([a, b, layers.Multiply(**how)([b, c]), layers.Subtract(**how)([d, c]), e])
    x = layers.BatchNormalization(**how)(x)
    y = layers.Average(**how)([x, layers.Maximum(**how)([x, layers.Add(**how)([x, Through(**how)(x)])])])
    y = layers.Minimum(**how)([y, layers.Activation("sigmoid", **how)(y)])
    y = layers.Dropout(0.25, seed=4, **how)(layers.Flatten(**how)(y))
    return tapwise.Model(inputs, layers.Dense(3, activation="softmax", **how)(layers.Dense(4, "elu", **how)(y)))


def padded(**how):
    """Zeros around maps that go to what reads them: convolutions of each kind and, behind a ReLU alone, max pooling."""
    x = inputs = tapwise.Input((6, 6, 2))
    x = layers.ZeroPadding2D(((0, 1), (2, 1)), **how)(x)
    x = layers.BatchNormalization(**how)(layers.Conv2D(3, 3, 2, **how)(x))
    x = layers.ZeroPadding2D(1, **how)(layers.ReLU(**how)(x))
    x = layers.MaxPooling2D(3, 1, **how)(x)
    x = layers.DepthwiseConv2D(3, **how)(layers.ZeroPadding2D(1, **how)(x))
    x = layers.ZeroPadding2D(((1, 0), (0, 1)), **how)(x)
    y = layers.MaxPooling2D(2, 1, **how)(x)  # takes the zeros for what they are
    z = layers.SeparableConv2D(3, 2, **how)(layers.ZeroPadding2D(((1, 0), (1, 0)), **how)(y))
    z = layers.Rescaling(0.3, 0.1, **how)(z)
    z = layers.ReLU(**how)(layers.Add(**how)([y, z]))
    return tapwise.Model(inputs, layers.Dense(3, activation="softmax", **how)(layers.Flatten(**how)(z)))


def pooled(**how):
    """ReLUs whose masks go with the pooling, of a convolution and of a normalization."""
    x = inputs = tapwise.Input((6, 6, 2))
    x = layers.BatchNormalization(**how)(layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same", **how)(x))
    x = layers.MaxPooling2D(2, 1, **how)(layers.Conv2D(3, 3, activation="relu", padding="same", **how)(x))
    x = layers.MaxPooling2D(2, **how)(normalized(x, 3, 3, **how))
    x = layers.Dropout(0.5, seed=2, **how)(x)
    return tapwise.Model(inputs, layers.Dense(3, activation="softmax", **how)(layers.Flatten(**how)(x)))


GRAPHS = [residual, branches, padded, pooled]


def gradients(model, x, y):
    """Of all trained weights, after one step's backward; dropout's masks start anew each time."""
    for layer in model.layers:
        if isinstance(layer, layers.Dropout):
            layer.next_seed = lambda: 7
    outputs = model.run([x], training=True)
    model.run_back(model.objective.count([y], outputs, model.run_logits(), training=True))
    return [w.gradient.copy() for w in model.trainable_weights]


@pytest.mark.parametrize("make", GRAPHS)
def test_gradients_are_those_of_central_differences(make, rng):
    with tapwise.backend.use("reference"):
        model = compiled(make(dtype="float64"))
        x, y = X[:4].astype(np.float64), Y[:4]
        for weight in model.weights:
            weight.value += 0.1 * rng.random(weight.shape)
        kept = model.get_weights()
        found = gradients(model, x, y)

        def loss():
            value = model.loss(y, model.forward(x, training=True))
            for weight, before in zip(model.weights, kept, strict=True):
                if not weight.trainable:
                    weight.value[...] = before
            return value

        for weight, got in zip(model.trainable_weights, found, strict=True):
            for i in rng.choice(weight.value.size, min(6, weight.value.size), replace=False):
                at = np.unravel_index(i, weight.shape)
                middle = weight.value[at]
                weight.value[at] = middle + STEP
                above = loss()
                weight.value[at] = middle - STEP
                want = (above - loss()) / (2 * STEP)
                weight.value[at] = middle
                assert abs(got[at] - want) <= 100 * EPS ** (2 / 3), weight


@pytest.mark.parametrize("make", GRAPHS)
def test_reused_memory_changes_no_bit(make, engine, monkeypatch):
    """The same step with every array in a place of its own, and with an arena that held NaN before."""

    def run():
        tapwise.set_random_seed(1)
        model = compiled(make())
        model.forward(X, training=True)
        model._arena.block.view(np.float32)[...] = np.nan
        return [*gradients(model, X, Y), *model.get_weights(), model.predict(X, verbose=0)]

    reused = run()
    monkeypatch.setattr(schedule, "place", apart)
    assert_same(reused, run())


def apart(buffers):
    offset = 0
    for buffer in buffers:
        buffer.offset, offset = offset, offset + buffer.bytes
    return offset


def test_buffers_that_live_at_once_are_apart_and_the_others_share(rng):
    for _ in range(50):
        buffers = [Buffer((int(rng.integers(1, 99)),), np.float32, int(rng.integers(0, 20))) for _ in range(30)]
        for buffer in buffers:
            buffer.touch(buffer.start + int(rng.integers(0, 6)))
        peak = place(buffers)
        assert peak == max(b.offset + b.bytes for b in buffers)
        assert all(b.offset % 64 == 0 for b in buffers)
        for i, a in enumerate(buffers):
            for b in buffers[:i]:
                together = a.start <= b.end and b.start <= a.end
                assert not together or a.offset + a.bytes <= b.offset or b.offset + b.bytes <= a.offset
        alive = [sum(b.bytes for b in buffers if b.start <= t <= b.end) for t in range(26)]
        assert max(alive) <= peak <= 2 * max(alive)


@pytest.mark.parametrize("make", GRAPHS)
def test_prediction_with_what_is_folded_is_the_layers_one_by_one(make, rng):
    with tapwise.backend.use("reference"):
        model = make(dtype="float64")
        for weight in model.weights:
            weight.value += rng.random(weight.shape)
        values = {tensor: X.astype(np.float64) for tensor in model.inputs}
        for node in model.nodes:
            read = [values[tensor] for tensor in node.inputs]
            values[node.output] = node.layer(read if node.many else read[0])
        np.testing.assert_allclose(model.predict(X, 10, 0), values[model.outputs[0]], rtol=1e-12)
        np.testing.assert_allclose(model(X), values[model.outputs[0]], rtol=1e-12)


def test_the_first_of_equals_gets_the_gradient_and_nan_wins():
    nan, layer = np.nan, layers.Maximum()
    x = [np.array([row], np.float32) for row in ([1, 2, nan, 0, 3], [1, 3, 0, nan, nan], [2, 3, 1, nan, 3])]
    np.testing.assert_array_equal(layer(x, training=True), [[2, 3, nan, nan, nan]])
    found = layer.backward(np.full((1, 5), 7, np.float32))
    np.testing.assert_array_equal(np.concatenate(found), [[0, 0, 7, 0, 0], [0, 7, 0, 7, 7], [7, 0, 0, 0, 0]])


def test_a_graph_of_layers_in_a_row_is_a_sequential():
    results = []
    for functional in (False, True):
        tapwise.set_random_seed(5)
        row = [layers.Conv2D(4, 3), layers.BatchNormalization(), layers.ReLU(), layers.MaxPooling2D()]
        row += [layers.Flatten(), layers.Dropout(0.3), layers.Dense(3, activation="softmax")]
        if functional:
            x = inputs = tapwise.Input((6, 6, 2))
            for layer in row:
                x = layer(x)
            model = tapwise.Model(inputs, x)
        else:
            model = tapwise.Sequential([tapwise.Input((6, 6, 2)), *row])
        compiled(model).fit(X, Y, batch_size=9, epochs=2, verbose=0)
        results.append([*model.get_weights(), model.predict(X, verbose=0), *model.evaluate(X, Y, verbose=0)])
    assert_same(*results)


def test_several_inputs_and_outputs(rng):
    a, b = tapwise.Input((3,), name="a"), tapwise.Input((2,), name="b")
    x = layers.Concatenate()([a, b])
    model = tapwise.Model([a, b], [layers.Dense(2)(x), layers.Subtract()([x, x])])
    p, q = rng.standard_normal((4, 3)).astype(np.float32), rng.standard_normal((4, 2)).astype(np.float32)
    y, nothing = model([p, q])
    kernel, bias = model.get_weights()
    np.testing.assert_allclose(y, np.hstack([p, q]) @ kernel + bias, rtol=1e-5, atol=1e-6)
    assert not nothing.any()
    assert nothing.shape == (4, 5)
    assert (model.input_shape, model.output_shape) == ([(None, 3), (None, 2)], [(None, 2), (None, 5)])
    with pytest.raises(ValueError, match=r"b of functional must get x of shape \(n, 2\), got \(4, 3\)"):
        model([p, p])
    with pytest.raises(ValueError, match=r"functional must get inputs of one length, got 4, 3"):
        model([p, q[:3]])
    with pytest.raises(ValueError, match=r"x must be a list of 2 arrays, for a, b, got ndarray"):
        model(p)


def test_a_model_is_called_as_a_layer_and_shares_its_weights():
    base = tapwise.Sequential([tapwise.Input((6, 6, 2)), layers.Conv2D(4, 3), layers.GlobalAveragePooling2D()])
    inputs = tapwise.Input((6, 6, 2))
    model = tapwise.Model(inputs, layers.Dense(3)(base(inputs)))
    assert model.weights[0] is base.weights[0]
    features = tapwise.Model(base.input, base.get_layer("global_average_pooling2d").output)
    np.testing.assert_array_equal(features(X), base(X))
    with pytest.raises(ValueError, match=r"sequential must get an input of shape \(n, 6, 6, 2\), got \(n, 6, 6, 1\)"):
        base(tapwise.Input((6, 6, 1)))


def test_other_batches_and_predictions_between_steps_change_nothing():
    def run(between):
        tapwise.set_random_seed(3)
        model = compiled(residual())
        for _ in range(3):
            model.train_on_batch(X[:8], Y[:8])
            if between:
                model.predict(X, 24, 0)
                model.predict(X, 5, 0)
                model.plan(99)
        return model.get_weights()

    assert_same(run(False), run(True))


def test_fifty_steps_have_the_same_bits_on_one_thread_and_two():
    """Gate 19, of a residual network with everything that is joined in it."""

    def run(threads):
        with tapwise.threads.set(threads):
            tapwise.set_random_seed(3)
            model = compiled(wide_residual())
            rng = np.random.default_rng(0)
            for _ in range(50):
                model.train_on_batch(rng.standard_normal((16, 16, 16, 3), np.float32), rng.integers(0, 3, 16))
            return [*model.get_weights(), model.predict(rng.standard_normal((8, 16, 16, 3), np.float32), verbose=0)]

    assert_same(run(1), run(2))


def wide_residual():
    """Large enough for threads, Winograd and several tasks."""
    x = inputs = tapwise.Input((16, 16, 3))
    x = normalized(x, 16, 3)
    x = layers.Add()([x, normalized(x, 16, 3, relu=False)])
    y = normalized(layers.MaxPooling2D()(layers.ReLU()(x)), 32, 3)
    y = layers.ReLU()(layers.Add()([normalized(y, 32, 3, relu=False), y]))
    y = layers.Dropout(0.2)(normalized(y, 32, 3, 2))
    y = layers.Dense(64, activation="relu")(layers.Flatten()(y))
    return tapwise.Model(inputs, layers.Dense(3, activation="softmax")(y))


def test_plans_are_few():
    model = compiled(residual())
    for n in range(1, 25):
        model.predict(X[:n], n, 0)
    assert len(model._plans) == 8


def test_a_steady_step_takes_no_page_and_no_memory():
    """In a process of its own: what others left behind would hide it."""
    resource = pytest.importorskip("resource", reason="Linux and macOS count page faults")
    if "native" not in tapwise.backend.available():
        pytest.skip("the extension isn't built: pip install . (needs a C++20 compiler)")
    code = Path(__file__).parent / "children" / "steady_step.py"
    faults, grown = subprocess.run(
        [sys.executable, code], capture_output=True, check=True, text=True, timeout=100
    ).stdout.split()
    assert resource.getpagesize() >= 4096
    assert int(faults) <= 20  # of the interpreter; one array of 64 KiB in each of 20 steps would be 320
    assert int(grown) <= 64 << 10


def test_what_prediction_returns_is_the_callers():
    model = residual()
    first = model(X)
    kept = first.copy()
    model(X[::-1])
    np.testing.assert_array_equal(first, kept)


def test_a_plan_tells_what_is_joined_and_its_memory():
    model = residual()
    lines = str(model.plan(2)).split("\n")
    assert lines[2].split() == ["batch_normalization", "+", "re_lu", "2x6x6x4", "1,152"]
    assert lines[6].split()[:5] == ["batch_normalization_2", "+", "add", "+", "re_lu_2"]
    plan = model.plan(32)
    whole = sum(buffer.bytes for buffer in plan.buffers)
    assert lines[-1].startswith("peak ")
    assert plan.peak_bytes < 0.7 * whole
    map_bytes = 32 * 6 * 6 * 4 * 4
    assert model.plan(32, training=False).peak_bytes == 3 * map_bytes  # a block's input and what is read and written


def test_summary_of_a_graph_says_what_is_connected(capsys):
    x = inputs = tapwise.Input((8, 8, 1), name="image")
    shared = layers.Conv2D(1, 3, padding="same")
    x = layers.Add()([shared(x), shared(shared(x))])
    tapwise.Model(inputs, layers.Dense(2)(layers.Flatten()(x))).summary()
    text = capsys.readouterr().out
    rows = [[cell.strip() for cell in line[1:-1].split("│")] for line in text.split("\n") if line[:1] == "│"]
    assert rows == [
        ["image (InputLayer)", "(None, 8, 8, 1)", "0", "0.0%", "-"],
        ["conv2d (Conv2D)", "(None, 8, 8, 1)", "10", "7.1%", "image[0][0], image[0][0], conv2d[1][0]"],
        ["add (Add)", "(None, 8, 8, 1)", "0", "0.0%", "conv2d[0][0], conv2d[2][0]"],
        ["flatten (Flatten)", "(None, 64)", "0", "0.0%", "add[0][0]"],
        ["dense (Dense)", "(None, 2)", "130", "92.9% ◀", "flatten[0][0]"],
    ]
    assert "Largest share: ◀ dense, 92.9%, as it reads all 64 values of flatten" in text


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda a, b: layers.Add()([a, b]), ValueError,
         r"add: the inputs must have one shape, got \(n, 4, 4, 2\) and \(n, 4, 4, 3\); its input is"),
        (lambda a, b: layers.Concatenate(1)([a, b]), ValueError,
         r"concatenate: the inputs must have one shape but for axis 1, got \(n, 4, 4, 2\) and \(n, 4, 4, 3\)"),
        (lambda a, b: layers.Concatenate(4)([a, b]), ValueError, r"axis must be one of 1 to 3 .* got 4"),
        (lambda a, b: layers.Subtract()([a]), ValueError, r"subtract: the inputs must be two, got 1"),
        (lambda a, b: layers.Add()(a), ValueError, r"add: the inputs must be a list"),
        (lambda a, b: layers.Conv2D(2, 5, name="stem")(a), ValueError,
         r"stem: kernel must not be larger .*; its input is \(n, 4, 4, 2\)"),
        (lambda a, b: layers.Dense(2, dtype="float64")(layers.Flatten()(a)), ValueError,
         r"dense: dtype must be that of flatten, float32, got float64"),
        (lambda a, b: layers.Add()([a, X]), TypeError, r"arrays or what Input and layers gave, not both"),
        (lambda a, b: tapwise.Model(a, layers.Flatten()(b)), ValueError,
         r"outputs must depend on the inputs alone, a, got flatten, which reads b too"),
        (lambda a, b: tapwise.Model([a, b], layers.Flatten()(a)), ValueError,
         r"inputs must lead to the outputs, got b of shape \(n, 4, 4, 3\), which flatten doesn't read"),
        (lambda a, b: tapwise.Model(X, layers.Flatten()(a)), TypeError, r"inputs must be what Input and layers gave"),
        (lambda a, b: tapwise.Model([a, a], a), ValueError, r"inputs must be different tensors, got a, a"),
        (lambda a, b: layers.Dense(3).output, ValueError, r"dense is in no graph yet"),
        (lambda a, b: tapwise.Model(a, layers.Flatten()(a)).backward(X), ValueError,
         r"functional: backward must follow a forward in training"),
    ],
)  # fmt: skip
def test_rejects(make, error, message):
    with pytest.raises(error, match=message):
        make(tapwise.Input((4, 4, 2), name="a"), tapwise.Input((4, 4, 3), name="b"))


def test_zeros_go_to_what_reads_them_alone():
    for training in (False, True):
        printed = str(padded().plan(4, training=training))
        lines = [line.split(" 4x")[0].rstrip() for line in printed.splitlines()]
        assert "zero_padding2d_2 + depthwise_conv2d" in lines
        assert "zero_padding2d_3" in lines
        assert "max_pooling2d_1" in lines
        assert "zero_padding2d_1 + max_pooling2d" in lines
        rest = "" if training else " + rescaling + add + re_lu_1"
        assert f"zero_padding2d_4 + separable_conv2d{rest}" in lines
        assert any(line.startswith("zero_padding2d + conv2d") for line in lines)
