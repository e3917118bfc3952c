"""The command `tapwise map`: a classifier of patches over a large image."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any


def add_map(commands: Any, engine: argparse.ArgumentParser, number: Callable[[Any, float], Any]) -> None:
    """Give the command line its command map; cli.py's engine options and numbers."""
    command = commands.add_parser("map", parents=[engine], help="a classifier of patches over a large image")
    command.add_argument("model", type=Path, metavar="MODEL", help="a model's file, whose input is a patch")
    command.add_argument("image", type=Path, metavar="IMAGE", help="PNG, TIFF, JPEG, DICOM or .npy")
    command.add_argument("--stride", type=number(int, 1), metavar="N", help="pixels between patches; a quarter patch")
    command.add_argument(
        "--save", type=Path, action="append", metavar="FILE",
        help=".png (the map over the image), .tif or .npy (its numbers); may be repeated. Default: IMAGE-map.png",
    )  # fmt: skip
    command.add_argument("--class", dest="number", type=number(int, 0), metavar="N", help="what is drawn; the last one")
    command.add_argument("--scale", type=float, default=1.0, metavar="X", help="the model gets pixel * X + OFFSET")
    command.add_argument("--offset", type=float, default=0.0, metavar="X", help="see --scale")
    command.add_argument(
        "--exact", action="store_true", help="every patch by itself, and how far the shared pass is off"
    )
    command.add_argument("--tile", type=number(int, 1), metavar="N", help="pixels in work: N x N")
    command.add_argument(
        "--state", type=Path, metavar="FILE", help="an .npy file that takes the map as it is made, to go on from"
    )
    command.add_argument("--alpha", type=float, default=0.5, metavar="X", help="how much the colours cover, 0 to 1")
    command.add_argument("--label", default="", metavar="TEXT", help="what the colours stand for")
    command.set_defaults(run=run_map)


def run_map(args: argparse.Namespace) -> None:
    from .cli import choose_engine, user_errors

    with user_errors():
        choose_engine(args)
        make_map(args)


def make_map(args: argparse.Namespace) -> None:
    from .explain.patch_image import large_image
    from .explain.patches import probability_map
    from .saving import load_model

    targets = args.save or [args.image.with_name(f"{args.image.stem}-map.png")]
    for path in targets:
        if path.suffix.lower() not in (".png", ".tif", ".tiff", ".npy"):
            raise ValueError(f"--save must end in .png, .tif, .tiff or .npy, got {path}")
        if not path.resolve().parent.is_dir():
            raise ValueError(f"--save must name a file in a folder that exists, got {path}")
    model = load_model(args.model, compile=False)
    image = large_image(args.image, model.input_shape[-1])
    found = probability_map(
        model, image, stride=args.stride, exact=args.exact, scale=args.scale, offset=args.offset, tile=args.tile,
        state=args.state,
    )  # fmt: skip
    height, width = found.image_shape
    rows, columns, classes = found.values.shape
    way = "shared pass" if found.method == "shared" else f"patch by patch{f' ({found.reason})' if found.reason else ''}"
    off = "" if found.deviation != found.deviation else f", shared pass off by {found.deviation:.1e} at most"
    print(f"{args.image}: {height} x {width} pixels, {rows} x {columns} patches of {classes} classes, {way}, "
          f"{found.seconds:.1f} s{off}")  # fmt: skip
    for path in targets:
        if path.suffix.lower() == ".png":
            found.save(path, args.image, args.number, alpha=args.alpha, label=args.label)
        else:
            found.save(path)
        print(f"saved to {path}")
