"""The command `tapwise explain`: what in an image speaks for the classes that a model finds."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .explain.check import Method
    from .explain.draw import Array
    from .model import Model

CAMS = {
    "grad-cam": "grad_cam",
    "grad-cam++": "grad_cam_plus_plus",
    "layer-cam": "layer_cam",
    "score-cam": "score_cam",
    "eigen-cam": "eigen_cam",
    "occlusion": "occlusion",
}
KINDS = {"saliency": "vanilla"} | {kind: kind for kind in ("x-input", "smoothgrad", "integrated", "guided")}
METHODS = (*CAMS, *KINDS)


def add_explain(commands: Any, engine: argparse.ArgumentParser, number: Callable[[Any, float], Any]) -> None:
    """Give the command line its command explain; cli.py's engine options and numbers."""
    command = commands.add_parser("explain", parents=[engine], help="what in an image speaks for a model's classes")
    command.add_argument(
        "model", metavar="MODEL", help="a model's file, or with --weights a network of tapwise.applications: ResNet50"
    )
    command.add_argument("image", type=Path, metavar="IMAGE", help="a file that Pillow reads, or an .npy of one input")
    command.add_argument("--method", choices=METHODS, default="grad-cam", metavar="NAME", help=", ".join(METHODS))
    command.add_argument(
        "--classes", type=number(int, 1), default=1, metavar="N", help="the N with the highest scores; default: 1"
    )
    command.add_argument(
        "--class", dest="numbers", type=number(int, 0), action="append", metavar="C", help="this one; may be repeated"
    )
    command.add_argument("--layer", metavar="NAME", help="whose maps are read; those behind the last convolution")
    command.add_argument("--save", type=Path, metavar="FILE", help="a .png; default: IMAGE-explained.png")
    command.add_argument("--names", type=Path, metavar="FILE", help="the classes' names, one a line")
    command.add_argument("--weights", type=Path, metavar="FILE", help="of a network of tapwise.applications")
    command.add_argument("--scale", type=float, default=1.0, metavar="X", help="the model gets pixel * X + OFFSET")
    command.add_argument("--offset", type=float, default=0.0, metavar="X", help="see --scale")
    command.set_defaults(run=run_explain)


def run_explain(args: argparse.Namespace) -> None:
    from .cli import choose_engine, user_errors

    with user_errors():
        choose_engine(args)
        make_explanations(args)


def make_explanations(args: argparse.Namespace) -> None:
    from dataclasses import replace

    from .explain import draw

    target = args.save or args.image.with_name(f"{args.image.stem}-explained.png")
    if target.suffix.lower() != ".png" or not target.resolve().parent.is_dir():
        raise ValueError(f"--save must be a .png in a folder that exists, got {target}")
    method = method_of(args.method, args.layer)
    model, prepare = model_of(args)
    shown, x = image_of(args.image, model)
    found = method(model, prepare(x), classes=args.numbers, top=args.classes)
    names = names_of(args, model.result_shape[-1])
    found = [replace(each, class_name=names[each.class_index]) if names else each for each in found]
    for each in found:
        share = "" if each.probability is None else f", {each.probability:.1%}"
        behind = f", maps of {each.layer}" if each.layer else ""
        print(f"{each.class_name or f'class {each.class_index}'}: score {each.score:.3f}{share}, {each.method}{behind}")
    pictures = [each.draw(shown) for each in found]
    if pictures[0].ndim == 3 and shown is not None:
        pictures.insert(0, draw.picture(shown).repeat(r := pictures[0].shape[0] // len(shown), 0).repeat(r, 1))
        titles = [args.image.name, *(each.title for each in found)]
    else:
        titles = [each.title for each in found]
    draw.save_png(target, draw.grid(pictures, titles))
    print(f"saved to {target}")


def method_of(name: str, layer: str | None) -> Method:
    from . import explain

    if name in KINDS:
        if layer is not None:
            raise ValueError(f"--layer belongs to maps of a layer, got --method {name}")
        return partial(explain.saliency, kind=KINDS[name])
    found: Method = getattr(explain, CAMS[name])
    if layer is None:
        return found
    if name == "occlusion":
        raise ValueError("--layer belongs to maps of a layer, got --method occlusion")
    return partial(found, layer=layer)


def model_of(args: argparse.Namespace) -> tuple[Model, Callable[[Array], Array]]:
    """The model, and what makes its input of an image with pixels of 0 to 255."""
    import numpy as np

    from . import applications
    from .saving import load_model

    def scaled(x: Array) -> Array:
        return np.asarray(x * args.scale + args.offset)

    if args.model in applications.__all__:
        if args.weights is None:
            raise ValueError(f"--weights must be given for {args.model}: without them it is random")
        make = getattr(applications, args.model)
        model: Model = make(weights=args.weights)
        for module in vars(applications).values():
            if getattr(module, args.model, None) is make and hasattr(module, "preprocess_input"):
                return model, module.preprocess_input
        return model, scaled
    if not Path(args.model).is_file():
        raise ValueError(
            f"MODEL must be a file or one of {', '.join(applications.__all__)} with --weights, got {args.model}"
        )
    if args.weights is not None:
        raise ValueError(f"--weights belongs to a network of tapwise.applications, got {args.model}")
    return load_model(args.model, compile=False), scaled


def image_of(path: Path, model: Model) -> tuple[Array | None, Array]:
    """The image as it is shown, None for an array, and one input of the model: stretched to its size, 0 to 255."""
    import numpy as np

    from .data.folder import read_image
    from .explain.subject import channel_axis

    if path.suffix == ".npy":
        try:
            return None, np.load(path, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise ValueError(f"{path}: not an array: {error}") from error
    shape, axis = model.input_shape[1:], channel_axis(model, model.inputs[0])
    if len(shape) != 3 or axis is None or shape[axis] not in (1, 3):
        raise ValueError(f"IMAGE must be an .npy of shape {shape} for this model, got {path}")
    mode, size = "L" if shape[axis] == 1 else "RGB", (*shape[:axis], *shape[axis + 1 :])
    x = np.moveaxis(read_image(path, size, mode).astype(np.float32), -1, axis)
    return read_image(path, None, mode), x


def names_of(args: argparse.Namespace, count: int) -> list[str] | None:
    """A name for each class: of --names, or ImageNet's for a network of applications if they are installed."""
    from . import applications

    if args.names is not None:
        names = [line for line in args.names.read_text(encoding="utf-8").splitlines() if line]
        if len(names) != count:
            raise ValueError(f"--names must have a line for each of {count} classes, got {len(names)}")
        return names
    if args.model not in applications.__all__ or count != 1000:
        return None
    try:
        return [lemma.partition(",")[0] for _, lemma in applications.imagenet.imagenet_names()]
    except ImportError:
        return None
