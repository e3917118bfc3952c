"""What "auto" would take on devices that aren't here: the table of docs/cuda.md, computed, not measured.

python tests/cuda_plans.py                      # needs the kernels, or the emulated ones of docs/cuda.md in PYTHONPATH
python tests/cuda_plans.py --into docs/cuda.md
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import tapwise
from cuda_occupancy import DEVICES
from cuda_table import percent, put_into, table

IMAGES = 32


class Layer(NamedTuple):
    """A square layer with padding "same"; groups: of a depthwise one its channels."""

    network: str
    kernel: int
    ci: int
    co: int
    size: int
    stride: int = 1
    groups: int = 1

    def __str__(self):
        kind = f"{self.kernel}x{self.kernel}{', depthwise' if self.groups > 1 else ''}"
        stride = f" / {self.stride}" if self.stride > 1 else ""
        return f"{self.network} {kind}{stride}, {self.ci}-{self.co} @{self.size}"

    def plan(self, device, **options):
        x_shape = IMAGES, self.size, self.size, self.ci
        w_shape = self.kernel, self.kernel, self.ci // self.groups, self.co
        return tapwise.plan(x_shape, w_shape, strides=self.stride, padding="same", device=device, **options)


LAYERS = [
    Layer("ResNet-50", 7, 3, 64, 224, 2),
    Layer("ResNet-50", 1, 64, 256, 56),
    Layer("ResNet-50", 3, 64, 64, 56),
    Layer("ResNet-50", 3, 128, 128, 28),
    Layer("ResNet-50", 3, 512, 512, 7),
    Layer("ResNet-50", 1, 512, 2048, 7),
    Layer("VGG16", 3, 3, 64, 224),
    Layer("VGG16", 3, 64, 64, 224),
    Layer("VGG16", 3, 256, 256, 56),
    Layer("VGG16", 3, 512, 512, 14),
    Layer("MobileNetV2", 3, 96, 96, 112, 2, 96),
    Layer("MobileNetV2", 1, 96, 24, 56),
]


def plans_table():
    """A row a layer: on each device the algorithm, and its speed as a share of the peak."""
    rows = []
    for layer in LAYERS:
        row = [str(layer)]
        for device in DEVICES:
            plan = layer.plan(device.name)
            share = percent(1e9 * plan.expected_gflops / device.flops["fp32"])
            row.append(f"`{plan.algorithm}`, {share}")
        rows.append(row)
    return table(["layer, 32 images", *(device.name for device in DEVICES)], rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--into", type=Path, metavar="FILE", help="a Markdown file whose table is replaced")
    chosen = parser.parse_args()
    if chosen.into:
        put_into(chosen.into, {"plans": plans_table()})
    else:
        print(plans_table())


if __name__ == "__main__":
    main()
