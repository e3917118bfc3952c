"""Folders of images read batch by batch, and labels in Keras' forms."""

import numpy as np
import pytest

import tapwise
from small_model import compiled
from tapwise import data, layers, utils

Image = pytest.importorskip("PIL.Image", reason='pip install "tapwise[images]"')


@pytest.fixture
def folder(tmp_path, rng):
    for name in ("cat", "dog", "egg"):
        (tmp_path / name).mkdir()
        for i in range(4):
            Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8)).save(tmp_path / name / f"{i}.png")
    return tmp_path


def all_of(batches):
    parts = list(batches.epoch(0))
    return tuple(np.concatenate([part[i] for part in parts]) for i in range(2))


def test_images_and_labels_are_those_of_the_whole_folder(folder):
    want, labels, names = data.read_folder(folder)
    batches = utils.image_dataset_from_directory(folder, image_size=(6, 6), batch_size=5, shuffle=False)
    assert (batches.class_names, len(batches)) == (names, 3)
    x, y = all_of(batches)
    np.testing.assert_array_equal(x, want.astype(np.float32))
    np.testing.assert_array_equal(y, labels)
    assert batches.file_paths[5] == str(folder / "dog" / "1.png")
    small = utils.image_dataset_from_directory(folder, image_size=(3, 4), shuffle=False, label_mode="categorical")
    x, y = all_of(small)
    np.testing.assert_array_equal(x, data.read_folder(folder, image_size=(3, 4))[0])
    np.testing.assert_array_equal(y, np.eye(3)[labels])


def test_the_parts_are_apart_and_the_order_is_the_seeds(folder):
    given = {"image_size": (6, 6), "validation_split": 0.25, "seed": 4}
    parts = utils.image_dataset_from_directory(folder, **given, subset="both")
    alone = [utils.image_dataset_from_directory(folder, **given, subset=name) for name in ("training", "validation")]
    assert [part.items for part in parts] == [9, 3]
    assert [part.file_paths for part in parts] == [part.file_paths for part in alone]
    assert len({*parts[0].file_paths, *parts[1].file_paths}) == 12
    for part, other in zip(parts, alone, strict=True):
        for mine, theirs in zip(all_of(part), all_of(other), strict=True):
            np.testing.assert_array_equal(mine, theirs)


def test_a_model_trains_on_a_folder(folder):
    tapwise.set_random_seed(0)
    augment = data.Augment([layers.RandomFlip("horizontal", seed=1)])
    training, validation = utils.image_dataset_from_directory(
        folder, image_size=(6, 6), validation_split=0.25, subset="both", seed=0, batch_size=4, augment=augment
    )
    x, _ = all_of(training)
    again, _ = all_of(data.Batches(training.x[np.arange(9)], training.y, batch_size=4, seed=0, augment=augment))
    np.testing.assert_array_equal(x, again)  # random numbers belong to the example, however it was read
    model = tapwise.Sequential([layers.Input((6, 6, 3)), layers.Flatten(), layers.Dense(3, "softmax")])
    history = compiled(model).fit(training, epochs=2, validation_data=validation, verbose=0)
    assert len(history.history["val_loss"]) == 2
    unlabelled = utils.image_dataset_from_directory(folder / "dog", None, image_size=(6, 6), shuffle=False)
    want, _, _ = data.read_folder(folder)
    np.testing.assert_array_equal(model.predict(unlabelled, verbose=0), model.predict(want[4:8], verbose=0))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"label_mode": "binary"}, r'label_mode "binary" needs two classes, got 3'),
        ({"label_mode": "one"}, r"label_mode must be one of int, categorical, binary, None, got 'one'"),
        ({"subset": "training"}, r"validation_split in \(0, 1\) and subset go together, got None and 'training'"),
        ({"subset": "both", "validation_split": 0.5}, r"seed must be given with subset and shuffle"),
        ({"class_names": ["cat", "cow"]}, r"class_names must be sub-folders, cat, dog, egg, got cat, cow"),
        ({"labels": [1, 2]}, r"labels must be a whole number for each of 12 files, got shape \(2,\)"),
        ({"interpolation": "cubic"}, r"interpolation must be one of bilinear, nearest, .*, got 'cubic'"),
    ],
)
def test_rejects(folder, given, message):
    with pytest.raises(ValueError, match=message):
        utils.image_dataset_from_directory(folder, **given)


def test_labels():
    np.testing.assert_array_equal(utils.to_categorical([[1], [0]]), [[0, 1], [1, 0]])
    assert utils.to_categorical([[0, 2]], 4).shape == (1, 2, 4)
    for given, message in (
        (([0, 3], 3), r"x must be in \[0, 3\), got 0 to 3"),
        (([0.5],), r"x must hold whole numbers"),
    ):
        with pytest.raises(ValueError, match=message):
            utils.to_categorical(*given)
    np.testing.assert_allclose(utils.normalize([[3, 4], [0, 0]]), [[0.6, 0.8], [0, 0]])
    assert utils.pad_sequences([[1, 2, 3], [4]], 2).tolist() == [[2, 3], [0, 4]]
    assert utils.pad_sequences([[1, 2, 3], [4]], 2, padding="post", truncating="post").tolist() == [[1, 2], [4, 0]]
    with pytest.raises(ValueError, match=r'padding must be "pre" or "post", got \'left\''):
        utils.pad_sequences([[1]], padding="left")
