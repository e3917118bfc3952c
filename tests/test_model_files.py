"""Whole models in files: what comes back computes and trains on to the bit, and what is damaged or foreign is told."""

import json
import zipfile

import numpy as np
import pytest

import tapwise
from small_model import X, Y, assert_same, compiled
from tapwise import callbacks, layers, optimizers, regularizers
from tapwise.callbacks import BackupAndRestore, ModelCheckpoint


class Scale(layers.Layer):
    """y = x * gain."""

    def __init__(self, start=1.0, **layer):
        super().__init__(**layer)
        self.start = start

    def build(self, input_shape):
        self.gain = self.add_weight(input_shape[1:], tapwise.initializers.Constant(self.start), name="gain")

    def forward(self, x, training=False):
        self.saved = x
        return x * self.gain.value

    def backward(self, dy):
        self.gain.gradient = (dy * self.saved).sum(0)
        return dy * self.gain.value


def graph():
    """Two inputs, a shared layer, two outputs."""
    a, b = tapwise.Input((6,), name="a"), tapwise.Input((6,), name="b")
    shared = layers.Dense(4, "relu", kernel_regularizer=regularizers.L1L2(0.01, 0.02), name="shared")
    both = layers.Concatenate()([shared(a), Scale(2.0)(shared(b))])
    return tapwise.Model([a, b], [layers.Dense(3, "softmax", name="class")(both), layers.Dense(1, name="size")(both)])


def trained_graph():
    rng = np.random.default_rng(1)
    x = [rng.standard_normal((24, 6)).astype(np.float32) for _ in range(2)]
    y = [Y, rng.standard_normal((24, 1))]
    model = graph()
    rate = optimizers.schedules.CosineDecay(0.1, 50, warmup_target=0.2, warmup_steps=2)
    model.compile(
        optimizers.Adam(rate, global_clipnorm=1.0, use_ema=True),
        {"class": "sparse_categorical_crossentropy", "size": tapwise.losses.Huber(0.5)},
        loss_weights={"size": 0.5},
        metrics={"class": ["accuracy"]},
    )
    model.fit(x, y, batch_size=8, epochs=2, verbose=0)
    return model, x, y


def trained_row():
    model = compiled(optimizer=optimizers.SGD(0.1, momentum=0.9))
    model.fit(X, Y, batch_size=8, epochs=2, verbose=0)
    model.optimizer.learning_rate = 0.05
    return model, X, Y


@pytest.fixture(autouse=True)
def _seeded():
    tapwise.set_random_seed(5)


@pytest.mark.parametrize("make", [trained_graph, trained_row])
def test_a_model_comes_back_and_trains_on(make, tmp_path):
    model, x, y = make()
    model.save(tmp_path / "model.tapwise")
    again = tapwise.saving.load_model(tmp_path / "model.tapwise", {"Scale": Scale})
    assert type(again) is type(model)
    assert again.get_config() == model.get_config()
    assert [layer.name for layer in again.layers] == [layer.name for layer in model.layers]
    results = []
    for each in (model, again):
        tapwise.set_random_seed(7)
        history = each.fit(x, y, batch_size=8, epochs=2, verbose=0).history
        predicted = each.predict(x, verbose=0)
        results.append(
            [*each.get_weights(), *history.values(), *(predicted if isinstance(predicted, list) else [predicted])]
        )
    assert_same(*results)
    assert again.optimizer.learning_rate == model.optimizer.learning_rate
    bare = tapwise.load_model(tmp_path / "model.tapwise", {"Scale": Scale}, compile=False)
    assert not bare.compiled


def test_numpy_alone_reads_the_arrays(tmp_path):
    model, _, _ = trained_row()
    model.save(tmp_path / "model.tapwise")
    with np.load(tmp_path / "model.tapwise") as arrays:
        np.testing.assert_array_equal(arrays["weights/conv2d/kernel"], model.get_weights()[0])
        np.testing.assert_array_equal(arrays["optimizer/0/m"], model.optimizer.state[model.weights[0]]["m"])


def test_weights_alone_go_through_npz_and_safetensors(tmp_path):
    model, other = compiled(), compiled()
    for name in ("weights.npz", "weights.safetensors"):
        if name.endswith("s"):
            pytest.importorskip("safetensors", reason="pip install safetensors")
        model.save_weights(tmp_path / name)
        other.set_weights([w + 1 for w in model.get_weights()])
        other.load_weights(tmp_path / name)
        assert_same(model.get_weights(), other.get_weights())
    (tmp_path / "weights.safetensors").write_bytes(b"text")
    with pytest.raises(ValueError, match=r"weights\.safetensors: not a readable \.safetensors file"):
        other.load_weights(tmp_path / "weights.safetensors")


def rewritten(path, **changes):
    """The file with entries of its config changed."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(parts["config.json"]) | changes
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in {**parts, "config.json": json.dumps(config)}.items():
            archive.writestr(name, content)


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)


DAMAGES = {
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:-100]), r"damaged, truncated or not a Tap"),
    "empty": (lambda path: path.write_bytes(b""), r"damaged, truncated or not a Tap"),
    "a bit": (flip, r"damaged, truncated or not a Tap"),
    "weights": (lambda path: np.savez(path.open("wb"), a=np.zeros(3)), r"not a Tapwise model: it has no config.json"),
    "foreign": (lambda path: rewritten(path, format="keras"), r"not a Tapwise model: another program wrote it"),
    "newer": (lambda path: rewritten(path, version=2), r"written by a newer Tapwise, format 2; this one reads 1"),
    "a class": (lambda path: rewritten(path, compile={"optimizer": {"class_name": "system", "config": {}}}),
                r"class must be the description of one of"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@pytest.mark.parametrize(("damage", "message"), DAMAGES.values(), ids=DAMAGES)
def test_damaged_and_foreign_files_are_told(damage, message, tmp_path):
    path = tmp_path / "model.tapwise"
    trained_row()[0].save(path)
    damage(path)
    with pytest.raises(ValueError, match=rf"model\.tapwise: .*{message}|model\.tapwise\[.*{message}"):
        tapwise.load_model(path)


def test_a_layer_of_ones_own_must_be_given(tmp_path):
    path = tmp_path / "model.tapwise"
    graph().save(path)
    with pytest.raises(ValueError, match=r"Scale is no layer of Tapwise: give custom_objects=\{'Scale': Scale\}"):
        tapwise.load_model(path)


def test_a_failed_save_keeps_the_file_that_was_there(tmp_path):
    path = tmp_path / "model.tapwise"
    model = graph()
    model.save(path)
    before = path.read_bytes()
    model.layers[2].weights[0].value = np.array([object()])
    with pytest.raises(ValueError, match="allow_pickle"):
        model.save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["model.tapwise"]


def test_checkpoints_follow_the_monitor(tmp_path):
    class Told(callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["val_loss"] = [3, 1, 2][epoch]

    model = compiled()
    best = ModelCheckpoint(tmp_path / "best.tapwise", save_best_only=True)
    each = ModelCheckpoint(tmp_path / "each-{epoch:02d}-{val_loss}.npz", save_weights_only=True)
    often = ModelCheckpoint(tmp_path / "batch-{batch}.npz", save_weights_only=True, save_freq=2)
    kept = []
    keep = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: kept.append(model.get_weights()))
    model.fit(X, Y, batch_size=6, epochs=3, callbacks=[Told(), best, each, often, keep], verbose=0)
    names = ["batch-2.npz", "batch-4.npz", "best.tapwise", "each-01-3.npz", "each-02-1.npz", "each-03-2.npz"]
    assert sorted(p.name for p in tmp_path.iterdir()) == names
    assert_same(tapwise.load_model(tmp_path / "best.tapwise").get_weights(), kept[1])


def interrupted(tmp_path, seed, stop):
    """A training of four epochs whose process dies in epoch `stop`, before what it has learned is written."""
    tapwise.set_random_seed(seed)
    model = compiled(optimizer=optimizers.Adam(optimizers.schedules.ExponentialDecay(0.01, 10, 0.9)))

    def die(epoch, logs=None):
        if epoch == stop:
            raise KeyboardInterrupt

    extra = [callbacks.LambdaCallback(on_epoch_end=die), BackupAndRestore(tmp_path / "backup")]
    model.fit(X, Y, batch_size=6, epochs=4, callbacks=extra, verbose=0)
    return model


def test_a_restored_training_has_the_bits_of_an_uninterrupted_one(tmp_path):
    want = interrupted(tmp_path, 3, stop=None).get_weights()
    assert not (tmp_path / "backup").exists()
    with pytest.raises(KeyboardInterrupt):
        interrupted(tmp_path, 3, stop=2)
    model = interrupted(tmp_path, 99, stop=None)  # another seed: all that matters comes from the backup
    assert model.history.epoch == [2, 3]
    assert_same(model.get_weights(), want)


def watched(tmp_path, folder, seed, stop):
    """Eight epochs under callbacks that remember; the process dies in epoch `stop`. The log of what they decided."""
    tapwise.set_random_seed(seed)
    model = compiled(optimizer=optimizers.SGD(0.5))
    best = callbacks.ModelCheckpoint(tmp_path / folder / "best.npz", save_best_only=True, save_weights_only=True)
    early = callbacks.EarlyStopping(patience=5, restore_best_weights=True)
    slower = callbacks.ReduceLROnPlateau(patience=1, factor=0.5)

    def die(epoch, logs=None):
        if epoch == stop:
            raise KeyboardInterrupt

    given = [BackupAndRestore(tmp_path / "backup"), callbacks.CSVLogger(tmp_path / folder / "log.csv"), early, slower]
    given += [best, callbacks.LambdaCallback(on_epoch_end=die)]
    model.fit(X, Y, batch_size=6, epochs=8, validation_split=0.25, callbacks=given, verbose=0)
    state = [early.wait, early.best, early.best_epoch, slower.best, slower.wait, best.best, best.batches]
    return [*model.get_weights(), *state, model.optimizer.learning_rate]


@pytest.mark.parametrize("stop", [1, 3, 5])
def test_callbacks_go_on_with_what_they_remember(stop, tmp_path):
    """Patience, the falling rate, the best so far and the lines of the log are an uninterrupted run's."""
    (tmp_path / "whole").mkdir()
    (tmp_path / "parts").mkdir()
    want = watched(tmp_path, "whole", 3, stop=None)
    with pytest.raises(KeyboardInterrupt):
        watched(tmp_path, "parts", 3, stop)
    assert_same(watched(tmp_path, "parts", 99, stop=None), want)
    for name in ("log.csv", "best.npz"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert want[-1] < 0.5  # the rate fell


def test_a_callback_of_ones_own_may_be_remembered(tmp_path):
    class Counts(callbacks.Callback):
        kept = ("seen",)
        seen = 0

        def on_epoch_end(self, epoch, logs=None):
            self.seen += 1
            if self.seen == stop:
                raise KeyboardInterrupt

    stop = 3
    with pytest.raises(KeyboardInterrupt):
        compiled().fit(X, Y, epochs=4, callbacks=[BackupAndRestore(tmp_path), Counts()], verbose=0)
    stop, counts, late = None, Counts(), callbacks.EarlyStopping("loss", patience=9)
    model = compiled()
    model.fit(X, Y, epochs=4, callbacks=[late, counts, BackupAndRestore(tmp_path)], verbose=0)
    assert (counts.seen, model.history.epoch) == (4, [2, 3])


def test_a_training_that_stopped_early_stays_stopped(tmp_path):
    def stopped():
        given = [
            BackupAndRestore(tmp_path, delete_checkpoint=False),
            callbacks.EarlyStopping("loss", patience=0, min_delta=9),
        ]
        return compiled().fit(X, Y, epochs=6, callbacks=given, verbose=0).epoch

    assert stopped() == [0, 1]
    assert stopped() == []


def test_a_model_in_bfloat16_comes_back(tmp_path):
    pytest.importorskip("ml_dtypes", reason="pip install ml_dtypes")
    x = tapwise.Input((6, 6, 2))
    y = layers.Conv2D(3, 3, dtype="mixed_bfloat16")(x)
    model = tapwise.Model(x, layers.Dense(2)(layers.Flatten(dtype="mixed_bfloat16")(y)))
    model.save(tmp_path / "model.tapwise")
    again = tapwise.load_model(tmp_path / "model.tapwise")
    assert again.get_config() == model.get_config()
    np.testing.assert_array_equal(again.predict(X, verbose=0), model.predict(X, verbose=0))
