"""Keras' files as Keras 2 and 3 lay them out, written here with h5py: what is rebuilt, and what is refused."""

import io
import json
import resource
import tracemalloc
import zipfile

import numpy as np
import pytest

import tapwise
from tapwise import layers
from tapwise.saving import Mismatch, load_keras, load_weights, read_tensors

h5py = pytest.importorskip("h5py", reason="pip install h5py")

CONV = {
    "filters": 4,
    "kernel_size": [3, 3],
    "strides": [2, 2],
    "padding": "same",
    "activation": "relu",
    "use_bias": True,
}


def model():
    return tapwise.Sequential(
        [layers.Input((8, 8, 3)), layers.Conv2D(4, 3), layers.Flatten(), layers.Dense(2, name="head")]
    )


def arrays(rng, *shapes):
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


def weights_h5(target, groups):
    """{"layers/conv2d": (name, arrays)} as Keras 3 writes them."""
    with h5py.File(target, "w") as file:
        file.create_group("vars")
        for place, (name, values) in groups.items():
            group = file.create_group(f"{place}/vars")
            group.attrs["name"] = name
            for number, value in enumerate(values):
                group[str(number)] = value


def keras_zip(path, config, groups):
    content = io.BytesIO()
    weights_h5(content, groups)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("model.weights.h5", content.getvalue())
    return path


def legacy_h5(path, rows, config=None):
    """[(layer, {weight: array})] as Keras 2 writes them."""
    with h5py.File(path, "w") as file:
        if config is not None:
            file.attrs["model_config"] = json.dumps(config).encode()
        root = file if config is None else file.create_group("model_weights")
        root.attrs["layer_names"] = [name.encode() for name, _ in rows]
        for name, weights in rows:
            group = root.create_group(name)
            group.attrs["weight_names"] = [weight.encode() for weight in weights]
            for weight, value in weights.items():
                group[weight] = value
    return path


def entry(kind, name, reads=(), **config):
    """A layer of Keras 3 that reads the first output of others."""
    given = [{"class_name": "__keras_tensor__", "config": {"keras_history": [other, 0, 0]}} for other in reads]
    nodes = [{"args": [given] if kind in ("Add", "Concatenate") else given, "kwargs": {}}] if reads else []
    return {
        "module": "keras.layers",
        "class_name": kind,
        "name": name,
        "config": {"name": name, **config},
        "inbound_nodes": nodes,
    }


def graph(*entries, name="net"):
    ends = {"input_layers": [entries[0]["name"], 0, 0], "output_layers": [entries[-1]["name"], 0, 0]}
    return {"module": "keras", "class_name": "Functional", "config": {"name": name, "layers": list(entries), **ends}}


INPUT = entry("InputLayer", "x", batch_shape=[None, 8, 8, 3])


def test_weights_go_in_by_name_or_by_order_of_each_kind(tmp_path, rng):
    kernel, bias, w, b = arrays(rng, (3, 3, 3, 4), (4,), (144, 2), (2,))
    flat = {"layers/dense": ("head", [w, b]), "layers/conv2d": ("conv2d", [kernel, bias])}
    other = {place: (f"{name}_7", values) for place, (name, values) in flat.items()}
    for number, groups in enumerate((flat, other)):
        path = tmp_path / f"{number}.weights.h5"
        weights_h5(path, groups)
        target = model()
        target.load_weights(path)
        for got, want in zip(target.get_weights(), (kernel, bias, w, b), strict=True):
            np.testing.assert_array_equal(got, want)
    assert set(read_tensors(path)) == {f"layers/{part}/vars/{i}" for part in ("conv2d", "dense") for i in (0, 1)}


def test_ten_layers_of_a_kind_keep_their_order(tmp_path, rng):
    values = arrays(rng, *[(1, 1, 2, 2)] * 12)
    places = ["layers/conv2d", *(f"layers/conv2d_{i}" for i in range(1, 12))]
    weights_h5(
        tmp_path / "a.weights.h5",
        {place: (f"c{i}", [w]) for i, (place, w) in enumerate(zip(places, values, strict=True))},
    )
    convolutions = [layers.Conv2D(2, 1, use_bias=False) for _ in values]
    target = tapwise.Sequential([layers.Input((2, 2, 2)), *convolutions])
    target.load_weights(tmp_path / "a.weights.h5")
    for got, want in zip(target.get_weights(), values, strict=True):
        np.testing.assert_array_equal(got, want)


def test_names_shifted_by_one_are_no_names(tmp_path, rng):
    """Keras counts on from model to model: conv2d_1, conv2d_2 are another's conv2d, conv2d_1."""
    values = arrays(rng, (1, 1, 2, 2), (1, 1, 2, 2), (1, 1, 2, 3))
    rows = [(f"conv2d_{i}", {f"conv2d_{i}/kernel:0": w}) for i, w in enumerate(values, 1)]
    target = tapwise.Sequential([layers.Input((2, 2, 2)), *(layers.Conv2D(n, 1, use_bias=False) for n in (2, 2, 3))])
    target.load_weights(legacy_h5(tmp_path / "a.h5", rows))
    for got, want in zip(target.get_weights(), values, strict=True):
        np.testing.assert_array_equal(got, want)


def test_a_graph_is_rebuilt_with_shared_and_nested_layers(tmp_path, rng):
    inner = graph(
        entry("InputLayer", "i", batch_shape=[None, 4, 4, 4]),
        entry("Conv2D", "conv", ["i"], filters=4, kernel_size=[1, 1], activation="relu6"), name="block",
    )  # fmt: skip
    block = {**inner, "name": "block", "inbound_nodes": []}
    read = [
        {"args": [{"class_name": "__keras_tensor__", "config": {"keras_history": [name, 0, 0]}}], "kwargs": {}}
        for name in ("conv",)
    ]
    block["inbound_nodes"] = read
    policy = {"class_name": "DTypePolicy", "config": {"name": "float32"}}
    config = graph(
        INPUT, entry("Add", "sum", ["conv", "block"]),  # before what it reads
        entry("Conv2D", "conv", ["x"], **CONV, dtype=policy, kernel_constraint=None, groups=1, trainable=False), block,
        entry("GlobalAveragePooling2D", "mean", ["sum"], keepdims=False),
    )  # fmt: skip
    k, b, k2, b2 = arrays(rng, (3, 3, 3, 4), (4,), (1, 1, 4, 4), (4,))
    groups = {"layers/conv2d": ("conv", [k, b]), "layers/functional/layers/conv2d": ("conv", [k2, b2])}
    made = tapwise.load_model(keras_zip(tmp_path / "a.keras", config, groups))
    x = rng.standard_normal((2, 8, 8, 3)).astype(np.float32)
    first = tapwise.conv(x, k, b, strides=2, padding="same", activation="relu")
    want = (first + np.clip(tapwise.conv(first, k2, b2), 0, 6)).mean((1, 2))
    np.testing.assert_allclose(made(x), want, rtol=0, atol=1e-5)
    assert [layer.name for layer in made.layers] == ["x", "conv", "block_conv", "sum", "mean"]
    assert not made.get_layer("conv").trainable


def test_keras_2_is_rebuilt(tmp_path, rng):
    """A list of layers, the input's shape in the first one, weights with :0; a graph with nodes as lists."""
    k, b, w, v = arrays(rng, (3, 3, 3, 4), (4,), (64, 2), (2,))
    made = {"kernel_regularizer": {"class_name": "L1L2", "config": {"l1": 0.0, "l2": 0.01}}}
    start = {"kernel_initializer": {"class_name": "Orthogonal", "config": {}}}  # none of ours, and the file replaces it
    row = [
        {"class_name": "Conv2D", "config": {"name": "c_1", "batch_input_shape": [None, 8, 8, 3], **CONV, **made}},
        {"class_name": "Flatten", "config": {"name": "f_1"}},
        {"class_name": "Dense", "config": {"name": "d_1", "units": 2, "activation": "softmax", **start}},
    ]
    weights = [
        ("c_1", {"c_1_1/kernel:0": k, "c_1_1/bias:0": b}),
        ("f_1", {}),
        ("d_1", {"d_1_1/kernel:0": w, "d_1_1/bias:0": v}),
    ]
    made = tapwise.load_model(legacy_h5(tmp_path / "a.h5", weights, {"class_name": "Sequential", "config": row}))
    assert isinstance(made, tapwise.Sequential)
    assert made.layers[0].kernel_regularizer.get_config() == {"l1": 0.0, "l2": 0.01}
    x = rng.standard_normal((2, 8, 8, 3)).astype(np.float32)
    logits = tapwise.conv(x, k, b, strides=2, padding="same", activation="relu").reshape(2, -1) @ w + v
    want = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(made(x), want, rtol=0, atol=1e-5)
    nodes = [[["i_1", 0, 0, {}]]]
    ends = {"input_layers": [["i_1", 0, 0]], "output_layers": [["c_1", 0, 0]]}
    first = {
        "class_name": "InputLayer",
        "name": "i_1",
        "config": {"batch_input_shape": [None, 8, 8, 3], "name": "i_1", "sparse": False},
        "inbound_nodes": [],
    }
    config = {
        "class_name": "Model",
        "config": {"name": "m", "layers": [first, {**row[0], "name": "c_1", "inbound_nodes": nodes}], **ends},
    }
    made = tapwise.load_model(legacy_h5(tmp_path / "b.h5", weights[:1], config))
    np.testing.assert_allclose(
        made(x), tapwise.conv(x, k, b, strides=2, padding="same", activation="relu"), rtol=0, atol=1e-5
    )


def test_open_sizes_take_an_input_shape(tmp_path, rng):
    config = graph(entry("InputLayer", "x", batch_shape=[None, None, None, 3]), entry("Conv2D", "c", ["x"], **CONV))
    path = keras_zip(tmp_path / "a.keras", config, {"layers/conv2d": ("c", arrays(rng, (3, 3, 3, 4), (4,)))})
    assert load_keras(path, input_shape=(10, 12, 3)).output_shape == (None, 5, 6, 4)
    with pytest.raises(ValueError, match=r"x has open sizes, \(None, None, 3\): give input_shape"):
        load_keras(path)
    with pytest.raises(ValueError, match=r"input_shape must fit x's \(None, None, 3\), got \(10, 12, 4\)"):
        load_keras(path, input_shape=(10, 12, 4))


def test_a_mismatch_lists_all_and_changes_nothing(tmp_path, rng):
    path = tmp_path / "a.weights.h5"
    weights_h5(
        path,
        {"layers/conv2d": ("conv2d", arrays(rng, (3, 3, 3, 8), (8,))), "layers/dense": ("tail", arrays(rng, (5, 5)))},
    )
    target = model()
    before = target.get_weights()
    with pytest.raises(Mismatch) as error:
        target.load_weights(path)
    for part in (
        "a.weights.h5 doesn't fit the model, and nothing has changed; ",
        "missing: head/bias (2,)",
        "conv2d/kernel must be (3, 3, 3, 4), got (3, 3, 3, 8) of layers/conv2d/vars/0",
        "head/kernel must be (144, 2), got (5, 5) of layers/dense/vars/0",
    ):
        assert part in str(error.value)
    for got, want in zip(target.get_weights(), before, strict=True):
        np.testing.assert_array_equal(got, want)
    k, b = arrays(rng, (3, 3, 3, 4), (4,))
    weights_h5(path, {"layers/conv2d": ("conv2d", [k, b]), "layers/dense": ("tail", arrays(rng, (5, 5)))})
    target.load_weights(path, skip_mismatch=True)
    load_weights(path, tapwise.Sequential([layers.Input((8, 8, 3)), layers.Conv2D(4, 3)]), ignore_extra=True)
    for got, want in zip(target.get_weights(), (k, b, *before[2:]), strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([entry("Lambda", "l", ["x"], function={"class_name": "__lambda__"})], r"l, a layer Lambda, .*a program"),
        ([entry("Warp", "w", ["x"], k=1)], r"w, a layer Warp, .*none of Tapwise's; custom_objects=\{'Warp': \.\.\.\}"),
        ([entry("Flatten", "f", ["x"], swirl=3)], r"f: Flatten has no swirl here, got 3"),
        ([entry("Conv2D", "c", ["x"], **{**CONV, "activation": {"class_name": "function", "config": "lambda x: x"}})],
         r"activation must be a name, got .*a program, which is never run"),
        ([entry("Conv2D", "c", ["x"], **{**CONV, "strides": [0, 0]})], "strides must be"),
        ([entry("Flatten", "a", ["b"]), entry("Flatten", "b", ["a"])], "others give, without a circle, got a, b"),
        ([entry("Flatten", "f", ["nowhere"])], "without a circle, got f"),
        ([{**entry("Sin", "s", ["x"]), "module": "keras.src.ops.numpy"}], "s, the operation Sin, is no layer"),
        ([{"class_name": "Flatten"}], "must have class_name and config"),
        ([{**entry("Flatten", "f"), "inbound_nodes": [{}]}], "must have a list of args"),
    ],
    ids=["Lambda", "unknown", "argument", "function", "value", "circle", "missing", "operation", "description", "node"],
)  # fmt: skip
def test_rejects_descriptions(tmp_path, entries, message):
    config = graph(INPUT, *({"name": "none", **each} for each in entries))
    path = keras_zip(tmp_path / "bad.keras", config, {"layers/conv2d": ("c", [np.zeros(1)])})
    with pytest.raises(ValueError, match=rf"bad\.keras: .*({message})"):
        tapwise.load_model(path)


def test_rejects_what_is_no_file_of_keras(tmp_path, rng):
    path = tmp_path / "bad.h5"
    weights_h5(path, {"layers/dense": ("d", arrays(rng, (50, 50)))})
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], whole[:100], whole[:9]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"bad\.h5: not a readable HDF5 file"):
            read_tensors(path)
    with h5py.File(path, "w") as file:
        file["a"] = np.zeros(3)
    with pytest.raises(ValueError, match=r"bad\.h5: not a file of Keras"):
        read_tensors(path)
    weights_h5(path, {"layers/dense": ("d", arrays(rng, (5, 5)))})
    with pytest.raises(ValueError, match=r"bad\.h5: holds weights alone"):
        tapwise.load_model(path)
    good = keras_zip(
        tmp_path / "a.keras", graph(INPUT, entry("Flatten", "f", ["x"])), {"layers/x": ("d", [np.zeros(1)])}
    )
    (tmp_path / "b.keras").write_bytes(good.read_bytes()[:-30])
    with pytest.raises(ValueError, match=r"b\.keras: .*(damaged|zip)"):
        read_tensors(tmp_path / "b.keras")


def test_arrays_out_of_the_file_are_refused(tmp_path):
    """A link to another file gives nothing; external and virtual arrays, and a size that isn't there, are refused."""
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(range(64)))
    path = tmp_path / "a.weights.h5"
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["w"] = np.ones(4, np.float32)
    for name, make in (
        ("link", lambda group: group.__setitem__("0", h5py.ExternalLink(str(tmp_path / "other.h5"), "w"))),
        ("lies in another file", lambda group: group.create_dataset("0", (16,), "f4", external=[(str(secret), 0, 64)])),
        ("must fit the file's size", lambda group: group.create_dataset("0", (1 << 40,), "f4", chunks=(1 << 20,))),
        ("must be of numbers", lambda group: group.create_dataset("0", data=[b"text"])),
    ):
        with h5py.File(path, "w") as file:
            make(file.create_group("layers/dense/vars"))
        with pytest.raises(ValueError, match="not a file of Keras" if name == "link" else name):
            read_tensors(path)


def resident_kb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def test_a_zip_bomb_takes_no_memory(tmp_path):
    path = tmp_path / "bomb.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", json.dumps(graph(INPUT, entry("Flatten", "f", ["x"]))))
        archive.writestr("model.weights.h5", bytes(200_000_000))
    wide = entry("Dense", "d", ["f"], units=5_000_000, use_bias=False)
    config = graph(INPUT, entry("Flatten", "f", ["x"]), wide, entry("Dense", "e", ["d"], units=1))
    few = keras_zip(tmp_path / "few.keras", config, {"layers/dense": ("d", [np.zeros(4, np.float32)])})
    before = resident_kb()
    with pytest.raises(
        ValueError, match=r"few\.keras: refused: the layers have 960000000 weights, the file holds far fewer"
    ):
        tapwise.load_model(few)
    assert resident_kb() - before < 50_000
    tracemalloc.start()
    try:
        with pytest.raises(
            ValueError, match=r"refused: model\.weights\.h5 unfolds to 200000000 bytes, more than 8 times"
        ):
            tapwise.load_model(path)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()
