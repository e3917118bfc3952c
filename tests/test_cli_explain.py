"""tapwise explain: what it prints and draws, and one line for each mistake."""

import numpy as np
import pytest

import tapwise
from tapwise import cli, explain, layers

pytest.importorskip("matplotlib", reason='pip install "tapwise[explain]"')
Image = pytest.importorskip("PIL.Image", reason='pip install "tapwise[explain]"')


@pytest.fixture(autouse=True)
def restored():
    """The command chooses backend and threads for the whole process."""
    with tapwise.backend.use(tapwise.backend.name()), tapwise.threads.set(tapwise.threads.get()):
        yield


@pytest.fixture
def folder(tmp_path):
    """model.tapwise of 3 classes, image.png of another size, names.txt."""
    tapwise.set_random_seed(4)
    model = tapwise.Sequential(
        [tapwise.Input((12, 12, 3)), layers.Rescaling(1 / 255), layers.Conv2D(6, 3, activation="relu", name="maps"),
         layers.GlobalAveragePooling2D(), layers.Dense(3, "softmax")]
    )  # fmt: skip
    model.save(tmp_path / "model.tapwise")
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    (tmp_path / "names.txt").write_text("cat\ndog\nchild\n", encoding="utf-8")
    return tmp_path


def run(folder, *arguments):
    return cli.main(["explain", str(folder / "model.tapwise"), str(folder / "image.png"), *map(str, arguments)])


def test_the_highest_classes_are_printed_and_drawn(folder, capsys):
    assert run(folder, "--classes", 2, "--names", folder / "names.txt", "--save", folder / "out.png") == 0
    lines = capsys.readouterr().out.splitlines()
    model = tapwise.load_model(folder / "model.tapwise")
    image = Image.open(folder / "image.png").resize((12, 12), Image.Resampling.BILINEAR)
    found = explain.grad_cam(model, np.asarray(image, np.float32), top=2)
    names = np.array(["cat", "dog", "child"])
    want = [f"{names[e.class_index]}: score {e.score:.3f}, {e.probability:.1%}, Grad-CAM, maps of maps" for e in found]
    assert lines == [*want, f"saved to {folder / 'out.png'}"]
    picture = np.asarray(Image.open(folder / "out.png"))
    assert picture.shape[1] == 3 * (200 + 6) + 6  # the image and two maps, each pixel five pixels wide


def test_every_method_and_an_array(folder, capsys):
    from tapwise.cli_explain import METHODS

    for method in METHODS:
        assert run(folder, "--method", method, "--class", 1) == 0
    assert capsys.readouterr().out.count("class 1: score") == len(METHODS)
    assert (folder / "image-explained.png").exists()
    np.save(folder / "x.npy", np.ones((12, 12, 3), np.float32))
    assert cli.main(["explain", str(folder / "model.tapwise"), str(folder / "x.npy")]) == 0
    assert (folder / "x-explained.png").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--class", "3"], "tapwise: classes must be of 0 to 2, got 3"),
        (["--classes", "4"], "tapwise: top must be of 1 to 3, the number of classes, got 4"),
        (["--layer", "conv9"], "tapwise: layer must be one of rescaling, maps, global_average_pooling2d, dense"),
        (["--layer", "maps", "--method", "guided"], "tapwise: --layer belongs to maps of a layer, got --method guided"),
        (["--save", "a.jpg"], "tapwise: --save must be a .png in a folder that exists, got a.jpg"),
        (["--method", "magic"], "tapwise explain: argument --method: invalid choice: 'magic'"),
        (["--weights", "w.npz"], "tapwise: --weights belongs to a network of tapwise.applications"),
    ],
)
def test_one_line_for_each_mistake(folder, capsys, arguments, message):
    with pytest.raises(SystemExit) as caught:
        run(folder, *arguments)
    out, err = capsys.readouterr()
    assert (caught.value.code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(message)
    assert sorted(path.name for path in folder.iterdir()) == ["image.png", "model.tapwise", "names.txt"]


def test_a_model_that_is_no_file_and_names_that_are_too_few(folder, capsys):
    (folder / "names.txt").write_text("cat\n", encoding="utf-8")
    for arguments, message in (
        (["nothing", "image.png"], "tapwise: MODEL must be a file or one of VGG16"),
        (["ResNet50", "image.png"], "tapwise: --weights must be given for ResNet50"),
        ([str(folder / "model.tapwise"), str(folder / "image.png"), "--names", str(folder / "names.txt")],
         "tapwise: --names must have a line for each of 3 classes, got 1"),
    ):  # fmt: skip
        with pytest.raises(SystemExit):
            cli.main(["explain", *arguments])
        assert capsys.readouterr().err.startswith(message)
