"""docs/training.md and docs/keras.md run as they stand; drawings, curves, scaled targets and the sparsity report."""

import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

import tapwise
from differences import EPS, differences
from small_model import X, Y, compiled
from tapwise import layers, optimizers, regularizers


@pytest.fixture(autouse=True)
def _seeded():
    tapwise.set_random_seed(11)


def test_the_examples_of_the_page_run_and_their_gradients_are_right(rng):
    page = (Path(__file__).parents[1] / "docs" / "training.md").read_text(encoding="utf-8")
    made = {}
    exec("\n".join(re.findall(r"```python\n(.*?)```", page, re.S)), made)
    assert abs(made["below"] - 0.9) < 0.05
    y, p = rng.standard_normal((6, 2)), rng.standard_normal((6, 2))
    loss = made["Quantile"](0.7)
    np.testing.assert_allclose(
        loss.gradient(y, p), differences(lambda: loss(y, p), p), rtol=0, atol=100 * EPS ** (2 / 3)
    )
    layer = made["ScaledShift"](2.0, dtype="float64")
    assert type(layer).from_config(layer.get_config()).start == 2.0
    x, dy = rng.standard_normal((3, 4, 2)), rng.standard_normal((3, 4, 2))
    layer(x)
    dx = layer.backward(dy)

    def f():
        return float((layer.forward(x) * dy).sum())

    for got, array in ((dx, x), *((w.gradient, w.value) for w in layer.weights)):
        np.testing.assert_allclose(got, differences(f, array), rtol=0, atol=1000 * EPS ** (2 / 3))


def test_the_page_of_keras_code_runs():
    page = (Path(__file__).parents[1] / "docs" / "keras.md").read_text(encoding="utf-8")
    made = {}
    exec("\n".join(re.findall(r"```python\n(.*?)```", page, re.S)), made)
    assert list(made["history"].history) == ["loss", "accuracy", "auc", "val_loss", "val_accuracy", "val_auc"]
    assert made["history"].epochs["val_loss"] == [1, 3]
    assert set(made["scores"]) == {"loss", "accuracy", "auc"}
    assert made["copy"].count_params() == made["model"].count_params()


def test_a_drawing_has_a_box_for_each_layer_and_none_over_another(tmp_path):
    x = tapwise.Input((8, 8, 3))
    y = layers.Conv2D(3, 3, padding="same", activation="relu")(x)
    y = layers.Add()([layers.BatchNormalization()(layers.Conv2D(3, 3, padding="same")(y)), y, x])
    model = tapwise.Model(x, [layers.Dense(2, name="left")(layers.Flatten()(y)), layers.GlobalAveragePooling2D()(y)])
    tapwise.plot_model(model, tmp_path / "model.svg", show_shapes=True, show_layer_names=True, show_dtype=True)
    root = ElementTree.parse(tmp_path / "model.svg").getroot()
    boxes = [rect.attrib for rect in root.iter("{http://www.w3.org/2000/svg}rect") if "rx" in rect.attrib]
    assert len(boxes) == len(model.layers)
    corners = [(float(b["x"]), float(b["y"])) for b in boxes]
    assert len(set(corners)) == len(corners)
    arrows = [p for p in root.iter("{http://www.w3.org/2000/svg}path") if "marker-end" in p.attrib]
    assert len(arrows) == sum(len(node.inputs) for node in model.nodes)
    assert "left (Dense)" in ElementTree.tostring(root, encoding="unicode")
    with pytest.raises(ValueError, match=r"to_file must end in .svg, got model.png"):
        tapwise.plot_model(model, "model.png")


def test_curves_are_drawn_for_cost_and_metrics(tmp_path):
    pytest.importorskip("matplotlib", reason="pip install matplotlib")
    history = compiled().fit(X, Y, epochs=3, validation_split=0.3, verbose=0)
    figure = history.plot(tmp_path / "curves.png")
    assert [axes.get_title() for axes in figure.axes] == ["loss", "accuracy"]
    assert (tmp_path / "curves.png").stat().st_size > 1000
    best = int(np.argmin(history.history["val_loss"])) + 1
    assert f"in epoch {best}" in figure.axes[0].get_legend().get_texts()[-1].get_text()


def test_targets_are_scaled_and_predictions_come_back(rng, tmp_path):
    x = rng.standard_normal((200, 3)).astype(np.float32)
    y = 5000 + 1000 * (x @ [1.0, -2.0, 0.5])
    model = tapwise.Sequential([layers.Input((3,)), layers.Dense(1)])
    model.compile(optimizers.Adam(0.05), "mse", target_scaler=tapwise.TargetScaler())
    model.fit(x, y, epochs=60, verbose=0)
    assert (model.target_scaler.low, model.target_scaler.high) == (y.min(), y.max())
    predicted = model.predict(x, verbose=0)
    assert predicted.shape == (200, 1)
    assert np.abs(predicted[:, 0] - y).max() < 0.01 * np.ptp(y)
    model.save(tmp_path / "model.tapwise")
    np.testing.assert_array_equal(tapwise.load_model(tmp_path / "model.tapwise").predict(x, verbose=0), predicted)


def test_l1_prunes_more_than_l2():
    shares = {}
    for regularizer in (regularizers.L1(0.05), regularizers.L2(0.05)):
        tapwise.set_random_seed(1)
        model = tapwise.Sequential(
            [layers.Input((6, 6, 2)), layers.Flatten(), layers.Dense(3, "softmax", kernel_regularizer=regularizer)]
        )
        compiled(model, optimizer=optimizers.SGD(0.05)).fit(X, Y, epochs=200, verbose=0)
        lines = []
        model.sparsity(0.05, print_fn=lines.append)
        row = next(line for line in lines[0].splitlines() if "dense/kernel" in line)
        shares[type(regularizer).__name__] = float(re.search(r"([\d.]+)%", row)[1])
    assert shares["L1"] > 4 * shares["L2"]
