"""The command line: tapwise train | explain | map | bench | info | demo."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from .cli_explain import add_explain
from .cli_map import add_map

if TYPE_CHECKING:
    from .data import Dataset
    from .model import Sequential


class Parser(argparse.ArgumentParser):
    """Errors are one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command: 0, 130 after Ctrl-C, 1 where stdout was closed. A user's mistake exits with 2 and one line."""
    args = parser().parse_args(arguments)
    try:
        args.run(args)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("tapwise: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `tapwise bench | head`: nobody reads on, and Python would complain again at its exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


def parser() -> Parser:
    top = Parser(prog="tapwise", description="Train small convolutional networks and time their kernels.")
    commands = top.add_subparsers(
        title="commands", required=True, metavar="train | explain | map | bench | info | demo"
    )
    engine = Parser(add_help=False)
    engine.add_argument("--backend", help="native, numba or reference; the fastest one by default")
    engine.add_argument("--threads", type=number(int, 1), metavar="N", help="all that the machine gives by default")

    train = commands.add_parser("train", parents=[engine], help="train a small network on images")
    train.add_argument(
        "--data",
        default="digits",
        metavar="digits | fashion-mnist | PATH",
        help="PATH: a folder of images, one sub-folder a class; a folder of IDX files; an .npz file with x_train, "
        "y_train, x_test, y_test",
    )
    train.add_argument("--image-size", type=number(int, 1), metavar="N", help="resize a folder's images to N x N")
    train.add_argument("--epochs", type=number(int, 1), default=10, metavar="N", help="default: %(default)s")
    train.add_argument("--batch-size", type=number(int, 1), default=128, metavar="N", help="default: %(default)s")
    train.add_argument("--learning-rate", type=number(float, 0), default=2e-3, metavar="RATE", help="default: 0.002")
    train.add_argument("--seed", type=number(int, 0), default=0, metavar="N", help="repeats a run to the bit")
    train.add_argument("--save", type=Path, metavar="FILE", help="write the weights to FILE (.npz) after each epoch")
    train.add_argument(
        "--run", dest="folder", type=Path, metavar="FOLDER",
        help="hold back a tenth of the training images for validation, and write the network's table and picture, a "
        "line of costs and accuracies an epoch, their curves and the trained model to FOLDER",
    )  # fmt: skip
    train.set_defaults(run=run_train)

    add_explain(commands, engine, number)
    add_map(commands, engine, number)
    bench = commands.add_parser("bench", parents=[engine], help="a quick table of convolution speeds")
    bench.add_argument("--profile", action="store_true", help="where the time of a small CNN's training step goes")
    bench.set_defaults(run=run_bench)
    info = commands.add_parser("info", parents=[engine], help="what was built and what is used")
    info.set_defaults(run=run_info)
    demo = commands.add_parser("demo", parents=[engine], help="digits with five seeds, a worked example, the table")
    demo.set_defaults(run=run_demo)
    return top


def number(kind: Callable[[str], Any], least: float) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        value = kind(text)
        if not value >= least:
            raise argparse.ArgumentTypeError(f"must be >= {least}, got {text}")
        return value

    parse.__name__ = kind.__name__  # argparse's own message names it
    return parse


@contextmanager
def user_errors() -> Iterator[None]:
    """What the user can put right ends the program with one line."""
    try:
        yield
    except (ImportError, OSError, ValueError) as error:
        print("tapwise:", " ".join(str(error).split()), file=sys.stderr)
        sys.exit(2)


def choose_engine(args: argparse.Namespace) -> None:
    from . import backend, threads

    if args.backend:
        backend.use(args.backend)
    if args.threads:
        threads.set(args.threads)
    backend.name()  # TAPWISE_BACKEND and its siblings are read now, not in the middle of the work


def run_train(args: argparse.Namespace) -> None:
    from . import data, recipe, set_random_seed
    from .run_folder import RunFolder

    with user_errors():
        choose_engine(args)
        set_random_seed(args.seed)
        if args.save:
            check_target(args.save)
        dataset = load(args.data, args.image_size, args.seed)
        folder, held = RunFolder(args.folder) if args.folder else None, None
        if folder:
            x, y = dataset.x_train, dataset.y_train
            (x, y), held = data.stratified_split(x, y, test_size=0.1, seed=args.seed)
            dataset = dataset._replace(x_train=x, y_train=y)
    describe(args.data, dataset)
    model = recipe.network(dataset)
    save = Save(args.save, model) if args.save else None
    try:
        trained = recipe.train(
            model,
            dataset,
            epochs=args.epochs,
            batch_size=args.batch_size,
            learning_rate=args.learning_rate,
            callbacks=[*([save] if save else []), *(folder.begin(model) if folder else [])],
            validation_data=held,
        )
    except KeyboardInterrupt:
        if save and save.epochs:
            print(f"\n{save.path} holds the weights after epoch {save.epochs}", file=sys.stderr)
        if folder and (epochs := folder.end(model, "stopped")):
            print(f"\n{folder.path} holds the run up to epoch {epochs}", file=sys.stderr)
        raise
    print(
        f"test accuracy {trained.accuracy:.2%} of {len(dataset.x_test):,} images; "
        f"trained {trained.images_per_second:,.0f} images/s"
    )
    if args.save:
        print(f"weights saved to {args.save}")
    if folder:
        with user_errors():
            folder.end(model, f"test accuracy {trained.accuracy:.2%}")
        print(f"run saved to {folder.path}")


def load(name: str, image_size: int | None, seed: int) -> Dataset:
    from . import data, datasets

    if image_size and name in ("digits", "fashion-mnist"):
        raise ValueError(f"--image-size belongs to a folder of images, got --data {name}")
    if name == "digits":
        (x_train, y_train), (x_test, y_test) = datasets.load_digits(seed=seed)
        return data.Dataset(x_train, y_train, x_test, y_test, tuple("0123456789"))
    if name == "fashion-mnist":
        (x_train, y_train), (x_test, y_test) = datasets.load_fashion_mnist()
        return data.Dataset(x_train, y_train, x_test, y_test, datasets.FASHION_MNIST_NAMES)
    if not Path(name).exists():
        raise ValueError(f"--data must be digits, fashion-mnist or a path that exists, got {name}")
    return data.read(name, image_size=(image_size, image_size) if image_size else None, seed=seed)


def check_target(path: Path) -> None:
    """Refuse, before hours of training, a file that can't be written after them."""
    folder = path.resolve().parent
    if not folder.is_dir():
        raise ValueError(f"--save must name a file in a folder that exists, got {path}")
    if path.is_dir() or not os.access(folder, os.W_OK):
        raise ValueError(f"--save must name a file that can be written, got {path}")


def describe(name: str, dataset: Dataset) -> None:
    from . import backend, threads

    shape = "x".join(map(str, dataset.x_train.shape[1:]))
    print(
        f"{name}: {len(dataset.x_train):,} training and {len(dataset.x_test):,} test images of {shape}, "
        f"{len(dataset.class_names)} classes; backend {backend.name()}, {threads.get()} threads"
    )


class Save:
    """Writes the weights after each epoch."""

    def __init__(self, path: Path, model: Sequential) -> None:
        self.path, self.model, self.epochs = path, model, 0

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        from .saving import save_weights

        with user_errors():
            save_weights(self.path, self.model)
        self.epochs = epoch + 1


def run_bench(args: argparse.Namespace) -> None:
    from . import bench, profile

    with user_errors():
        choose_engine(args)
    if args.profile:
        profile.print_profile()
    else:
        bench.print_table()


def run_info(args: argparse.Namespace) -> None:
    from . import show_config

    with user_errors():
        choose_engine(args)
    show_config()


def run_demo(args: argparse.Namespace) -> None:
    from . import bench, demo

    with user_errors():
        choose_engine(args)
        sets = [load("digits", None, seed) for seed in range(demo.SEEDS)]
    demo.train_digits(sets)
    demo.worked_example()
    bench.print_table()
