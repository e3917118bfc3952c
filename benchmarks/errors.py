"""Rounding errors of each algorithm against float64, beside those of a left-to-right float32 sum: a Markdown table.

python benchmarks/errors.py [--size 14]
"""

import argparse

import numpy as np

import tapwise
from tapwise import bench

CHANNELS = (7, 16, 32, 64, 128, 256, 512)  # 3x3: sums of 63 to 4,608 terms
GEOMETRY = {"padding": "same"}


def normal(rng, x_shape, w_shape):
    return rng.standard_normal(x_shape, np.float32), rng.standard_normal(w_shape, np.float32)


def hidden(rng, x_shape, w_shape):
    """A layer inside a network: x is what ReLU left, with a spread of scales over channels; w as He's initializer."""
    x, w = normal(rng, x_shape, w_shape)
    scales = np.exp(rng.standard_normal(x_shape[-1:], np.float32))
    return np.maximum(x, 0) * scales, w * np.float32((2 / np.prod(w_shape[:-1])) ** 0.5)


def pixels(rng, x_shape, w_shape):
    """Images of 0 to 255 with smooth areas, not normalized."""
    x, w = normal(rng, x_shape, w_shape)
    smooth = np.cumsum(x, axis=1) + np.cumsum(x, axis=2)
    smooth -= smooth.min()
    return np.floor(smooth * (255 / smooth.max())), w * np.float32(0.05)


VALUES = {"normal": normal, "hidden layer": hidden, "pixels": pixels}


def left_to_right(x, w):
    """Each output's terms added one after the other, rounded to float32 after each product and each sum."""
    kh, kw, ci, co = w.shape
    n, oh, ow, _ = x.shape
    x = np.pad(x, ((0, 0), (kh // 2,) * 2, (kw // 2,) * 2, (0, 0)))
    y = np.zeros((n, oh, ow, co), np.float32)
    for r in range(kh):
        for s in range(kw):
            for c in range(ci):
                y += x[:, r : r + oh, s : s + ow, c, None] * w[r, s, c]
    return y


def rms(a):
    return float(np.sqrt(np.mean(np.square(a, dtype=np.float64))))


def rows(size, channels=CHANNELS, co=32):
    """(values, terms, {algorithm: (rms error, largest error, rms error over that of the left-to-right sum)})."""
    for name, values in VALUES.items():
        for ci in channels:
            x_shape, w_shape = (1, size, size, ci), (3, 3, ci, co)
            x, w = values(np.random.default_rng(0), x_shape, w_shape)
            with tapwise.backend.use("reference"):
                want = tapwise.conv(x.astype(np.float64), w.astype(np.float64), **GEOMETRY)
            plain = left_to_right(x, w) - want
            found = {"left to right": plain}
            for algorithm in tapwise.plan(x_shape, w_shape, **GEOMETRY).possible:
                found[algorithm] = tapwise.conv(x, w, algorithm=algorithm, **GEOMETRY) - want
            errors = {
                algorithm: (rms(e) / rms(want), float(np.abs(e).max() / np.abs(want).max()), rms(e) / rms(plain))
                for algorithm, e in found.items()
            }
            yield name, 9 * ci, errors


def table(found):
    """Rms error over the rms of the result (times the left-to-right sum's), largest error over the largest result."""
    found = list(found)
    names = list(dict.fromkeys(name for _, _, errors in found for name in errors))
    lines = [f"| values | terms | {' | '.join(names)} |", "| --- | ---: |" + " ---: |" * len(names)]
    for values, terms, errors in found:
        cells = [cell(*errors[name]) if name in errors else "-" for name in names]
        lines.append(f"| {values} | {terms:,} | {' | '.join(cells)} |")
    return "\n".join(lines)


def cell(rms_error, largest, times):
    return f"{rms_error:.1e} ({times:.1f}x), {largest:.1e}"


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size", type=int, default=14, help="height and width of the maps")
    options = parser.parse_args(arguments)
    print(f"{bench.machine()}; 3x3, maps of {options.size} x {options.size}, 32 outputs\n")
    print(table(rows(options.size)))


if __name__ == "__main__":
    main()
