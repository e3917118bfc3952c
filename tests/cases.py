"""Convolutions by name, each with the reason it is here."""

from dataclasses import dataclass, replace

import numpy as np

import tapwise


@dataclass(frozen=True)
class Case:
    """x (n, *spatial, ci) and kernel sizes k, in channels-last order whatever data_format asks of the arrays."""

    name: str
    x: tuple
    k: tuple
    co: int
    strides: int | tuple = 1
    padding: int | str | tuple = "valid"
    dilation: int | tuple = 1
    groups: int = 1
    data_format: str = "channels_last"

    def __str__(self):
        return self.name if self.data_format == "channels_last" else f"{self.name}, channels first"

    @property
    def geometry(self):
        names = ("strides", "padding", "dilation", "groups", "data_format")
        return {name: getattr(self, name) for name in names}

    @property
    def ci(self):
        return self.x[-1]

    @property
    def x_shape(self):
        return self.x if self.data_format == "channels_last" else (self.x[0], self.ci, *self.x[1:-1])

    @property
    def w_shape(self):
        channels = self.ci // self.groups
        return (*self.k, channels, self.co) if self.data_format == "channels_last" else (self.co, channels, *self.k)

    @property
    def y_shape(self):
        n, o = self.x[0], self.outputs
        return (n, *o, self.co) if self.data_format == "channels_last" else (n, self.co, *o)

    def per_axis(self, value):
        return value if isinstance(value, tuple) else (value,) * len(self.k)

    @property
    def extents(self):
        return tuple(d * (k - 1) + 1 for d, k in zip(self.per_axis(self.dilation), self.k, strict=True))

    @property
    def pads(self):
        """(before, after) on each axis; "same" pads for ceil(in / stride) outputs, "same_lower" rather at the front."""
        if self.padding == "causal":
            return tuple((extent - 1, 0) for extent in self.extents)
        if self.padding == "valid":
            return ((0, 0),) * len(self.k)
        if not isinstance(self.padding, str):
            return tuple(p if isinstance(p, tuple) else (p, p) for p in self.per_axis(self.padding))
        pairs = []
        for size, extent, s in zip(self.x[1:-1], self.extents, self.per_axis(self.strides), strict=True):
            total = max(((size + s - 1) // s - 1) * s + extent - size, 0)
            pairs.append((total // 2, total - total // 2)[:: 1 if self.padding == "same" else -1])
        return tuple(pairs)

    @property
    def outputs(self):
        """Sizes of y's spatial axes."""
        axes = zip(self.x[1:-1], self.extents, self.pads, self.per_axis(self.strides), strict=True)
        return tuple((size + sum(pads) - extent) // s + 1 for size, extent, pads, s in axes)

    @property
    def terms(self):
        """Products in one output of the forward pass."""
        return int(np.prod(self.k)) * self.ci // self.groups

    @property
    def grad_input_terms(self):
        return int(np.prod(self.k)) * self.co // self.groups

    @property
    def grad_weight_terms(self):
        return self.x[0] * int(np.prod(self.outputs))

    @property
    def operations(self):
        """Multiplications and additions of one pass."""
        return 2 * self.terms * int(np.prod(self.y_shape))

    def arrays(self, rng):
        """x, w, b and dy from the standard normal distribution."""
        return tuple(rng.standard_normal(shape, np.float32) for shape in self.shapes)

    def integers(self, rng):
        """x, w, b and dy of small whole numbers: every sum of direct and im2col is exact in float32."""
        return tuple(rng.integers(-4, 5, shape, np.int8).astype(np.float32) for shape in self.shapes)

    @property
    def shapes(self):
        return self.x_shape, self.w_shape, (self.co,), self.y_shape

    def passes(self, x, w, b, dy):
        """direction -> (terms in an element of the result, operation, *arguments)."""
        return {
            "forward": (self.terms + 1, tapwise.conv, x, w, b),
            "grad_input": (self.grad_input_terms, tapwise.conv_grad_input, dy, w, self.x_shape),
            "grad_weight": (self.grad_weight_terms, tapwise.conv_grad_weight, x, dy, self.w_shape),
        }

    def algorithms(self, direction):
        """Those that sum the products as they stand: test_winograd.py has the others, with a bound of their own."""
        possible = tapwise.plan(self.x_shape, self.w_shape, direction=direction, **self.geometry).possible
        return [name for name in possible if not name.startswith("winograd")]


DIRECTIONS = ("forward", "grad_input", "grad_weight")

# Vectors hold 4, 8 or 16 floats and packed panels twice that; register tiles 6, 12 or 14 pixels.
EDGES = {
    3: "lanes - 1 for 4 lanes",
    4: "4 lanes",
    5: "4 lanes + 1, tile of 6 - 1",
    6: "tile of 6",
    7: "8 lanes - 1, tile of 6 + 1",
    8: "8 lanes",
    9: "8 lanes + 1",
    11: "tile of 12 - 1",
    12: "tile of 12",
    13: "tile of 12 + 1, of 14 - 1",
    14: "tile of 14",
    15: "16 lanes - 1, tile of 14 + 1",
    16: "16 lanes",
    17: "16 lanes + 1",
}
PANEL_EDGES = {**EDGES, 31: "panel of 32 - 1", 32: "panel of 32", 33: "panel of 32 + 1", 65: "two panels of 32 + 1"}

ONE_LAYOUT = [
    Case("one pixel", (1, 1, 1, 1), (1, 1), 1),
    Case("one pixel under 3x3", (1, 1, 1, 2), (3, 3), 3, padding="same"),
    Case("one output", (2, 5, 4, 3), (5, 4), 2),
    Case("one output pixel in each of 100 images", (100, 13, 13, 3), (13, 13), 51),
    *(Case(f"ow = {ow}, {why}", (1, 3, ow, 3), (3, 3), 5, padding="same") for ow, why in EDGES.items()),
    *(Case(f"co = {co}, {why}", (1, 4, 5, 3), (3, 3), co) for co, why in PANEL_EDGES.items()),
    *(Case(f"ci = {ci}, {why}", (1, 4, 5, ci), (3, 3), 3) for ci, why in PANEL_EDGES.items()),
    Case("outputs beyond the panels that are packed together", (1, 3, 4, 3), (3, 3), 139, padding=1),
    Case("prime channels", (2, 5, 7, 13), (3, 3), 19, padding=1),
    Case("input channels shared out to tasks", (1, 6, 6, 67), (3, 3), 19, padding=1),
    Case("batch of 5", (5, 4, 3, 2), (2, 2), 3),
    Case("empty batch", (0, 5, 5, 3), (3, 3), 4, padding=1),
    Case("kernel larger than the input", (1, 2, 3, 4), (5, 5), 6, padding=2),
    Case("pad larger than the kernel", (1, 3, 2, 3), (2, 2), 4, padding=3),
    Case("pad larger than kernel and stride", (2, 4, 4, 2), (2, 3), 3, strides=3, padding=5),
    Case("1x1", (2, 5, 7, 24), (1, 1), 40),
    Case("1x1, wide channels (pixels 4 KiB apart)", (1, 7, 7, 1024), (1, 1), 9),
    Case("1x1, padded", (1, 3, 4, 5), (1, 1), 6, padding=1),
    Case("strided 1x1", (2, 7, 8, 12), (1, 1), 20, strides=2),
    Case("stride larger than the kernel", (1, 8, 11, 3), (2, 2), 4, strides=3),
    Case("rows that no output reads", (2, 6, 8, 3), (3, 3), 4, strides=(2, 4)),
    Case("another stride, dilation and kernel per axis", (2, 9, 12, 3), (2, 3), 4, strides=(1, 2), dilation=(3, 2)),
    Case("3x3 stride 2, same", (1, 8, 9, 5), (3, 3), 7, strides=2, padding="same"),
    Case("even kernel, same", (1, 5, 6, 3), (2, 4), 5, padding="same"),
    Case("even kernel stride 2, same_lower", (1, 7, 6, 3), (4, 2), 5, strides=2, padding="same_lower"),
    Case("same with a stride above the kernel", (1, 7, 7, 2), (2, 2), 3, strides=4, padding="same"),
    Case("asymmetric padding", (2, 5, 6, 3), (3, 3), 4, padding=((0, 1), (2, 0))),
    Case("asymmetric padding, strided", (1, 6, 7, 3), (3, 2), 4, strides=2, padding=((2, 1), (0, 3))),
    Case("last rows and columns cropped", (2, 7, 8, 3), (3, 3), 4, padding=((1, -1), (0, -2))),
    Case("cropped by more than a stride", (1, 12, 11, 2), (3, 3), 3, strides=2, padding=((0, -5), (1, -3))),
    Case("dilated", (1, 9, 8, 5), (3, 3), 6, padding=2, dilation=2),
    Case("dilated and strided", (2, 11, 13, 3), (3, 3), 4, strides=2, padding=3, dilation=3),
    Case("dilation wider than the input", (1, 4, 3, 3), (3, 3), 4, padding="same", dilation=4),
    Case("stem 7x7 stride 2", (1, 23, 25, 3), (7, 7), 18, strides=2, padding=3),
    Case("AlexNet's 11x11 stride 4", (1, 35, 31, 3), (11, 11), 8, strides=4, padding=2),
    Case("large kernel 15x15", (1, 17, 19, 2), (15, 15), 3, padding=7),
    Case("(1, L)", (2, 1, 37, 5), (1, 7), 6, padding="same"),
    Case("(L, 1)", (2, 37, 1, 5), (7, 1), 6, padding="same"),
    Case("im2col in several blocks", (1, 40, 41, 16), (5, 5), 17, padding=2),
    Case("several tasks a thread", (3, 33, 35, 20), (3, 3), 40, padding=1),
    Case("groups of 4", (1, 5, 6, 12), (3, 3), 12, padding=1, groups=3),
    Case("groups of 8", (2, 5, 9, 24), (3, 3), 24, padding=1, groups=3),
    Case("groups of 4, 1x1, strided", (1, 6, 5, 16), (1, 1), 32, strides=2, groups=4),
    Case("groups that widen, 2 to 5", (1, 4, 7, 6), (3, 2), 15, padding=1, groups=3),
    Case("groups that narrow, 17 to 1", (1, 4, 5, 34), (2, 2), 2, groups=2),
    Case("groups of 17 to 33 (tail in each)", (1, 3, 5, 34), (3, 3), 66, padding=1, groups=2),
    *(Case(f"depthwise, {c} channels", (1, 5, 6, c), (3, 3), c, padding=1, groups=c) for c in (1, 2, 4, 7, 16, 19, 33)),
    Case("depthwise, two pixels (MNN#2291)", (1, 2, 1, 128), (3, 3), 128, padding=1, groups=128),
    Case("depthwise stride 2, same", (2, 9, 12, 19), (3, 3), 19, strides=2, padding="same", groups=19),
    Case("depthwise dilated", (1, 9, 7, 10), (3, 3), 10, padding="same", dilation=2, groups=10),
    Case("depthwise 5x5", (1, 8, 17, 35), (5, 5), 35, padding=2, groups=35),
    Case("depthwise, asymmetric padding", (1, 6, 7, 9), (2, 3), 9, padding=((0, 2), (3, 1)), groups=9),
    Case("depthwise 7x7 over wide rows", (1, 5, 40, 17), (7, 7), 17, padding=3, groups=17),
    Case("depthwise stride 3", (1, 11, 50, 16), (3, 4), 16, strides=3, padding=1, groups=16),
    Case("depthwise, dilation 6 at stride 4", (1, 31, 29, 5), (3, 3), 5, strides=4, padding=6, dilation=6, groups=5),
    Case("groups of 4, several tasks", (2, 31, 30, 72), (3, 3), 72, padding=1, groups=18),
    Case("groups of 8 stride 2", (1, 12, 33, 40), (3, 3), 40, strides=2, padding=1, groups=5),
    Case("groups of 3 to 5, 5x5", (1, 6, 31, 21), (5, 5), 35, padding=2, groups=7),
    Case("depthwise, multiplier 2", (1, 5, 6, 9), (3, 3), 18, padding=1, groups=9),
    Case("depthwise, multiplier 3, strided", (2, 7, 5, 5), (3, 3), 15, strides=2, padding=1, groups=5),
    Case("1-D", (2, 19, 5), (3,), 7, padding=1),
    Case("1-D causal, dilated", (2, 23, 4), (3,), 6, padding="causal", dilation=4),
    Case("1-D, kernel 64, stride 16", (1, 150, 2), (64,), 5, strides=16, padding=((16, 3),)),
    Case("1-D depthwise", (3, 21, 18), (5,), 18, padding="same", groups=18),
    Case("1-D, one sample", (1, 1, 3), (1,), 2),
    Case("3-D", (2, 4, 5, 6, 3), (3, 3, 3), 5, padding=1),
    Case("3-D, another stride per axis, same", (1, 5, 6, 7, 4), (2, 3, 4), 6, strides=(1, 2, 3), padding="same"),
    Case("3-D depthwise, dilated", (1, 5, 4, 6, 6), (2, 2, 3), 6, padding=1, dilation=(2, 1, 2), groups=6),
    Case("3-D, cropped", (1, 6, 5, 5, 2), (2, 3, 2), 3, padding=((1, -2), (0, 1), (2, -1))),
    Case("3-D, groups", (1, 3, 4, 5, 8), (3, 1, 2), 12, padding=((1, 1), (0, 0), (1, 0)), groups=4),
]

CASES = [replace(case, data_format=layout) for layout in ("channels_last", "channels_first") for case in ONE_LAYOUT]


def named(*names):
    """The cases of these names, in both layouts."""
    chosen = [case for case in CASES if case.name in names]
    if len(chosen) != 2 * len(names):
        raise ValueError(f"names must be those of cases, got {names}")
    return chosen
