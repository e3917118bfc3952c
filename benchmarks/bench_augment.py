"""Images per second of augmentation: one compiled pass against Pillow and NumPy in torchvision's style.

    pytest benchmarks/bench_augment.py --benchmark-enable

Each image is mirrored, turned, shifted and zoomed at random (bilinear, filled with black), its brightness and contrast
changed, and comes as float32 in [-1, 1]. Both share their images among Python threads.
"""

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tapwise import layers
from tapwise.data import Augment

SIZES = {"28x28": (28, 512), "224x224": (224, 32)}  # side, images a call


def images(size):
    side, count = SIZES[size]
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (count, side // 7, side // 7, 3)).astype(np.uint8)
    return coarse.repeat(7, 1).repeat(7, 2)


def ours(x, part):
    options = {"fill_mode": "constant"}
    augment = Augment(
        [
            layers.RandomFlip("horizontal"),
            layers.RandomRotation(0.05, **options),
            layers.RandomTranslation(0.1, 0.1, **options),
            layers.RandomZoom(0.1, 0.1, **options),
            layers.RandomBrightness(0.2),
            layers.RandomContrast(0.2),
        ]
    )
    return augment(x, rows=part)


def pillow(x, part):
    image_module = pytest.importorskip("PIL.Image", reason='pip install "tapwise[images]"')
    enhance = pytest.importorskip("PIL.ImageEnhance", reason='pip install "tapwise[images]"')
    rng = np.random.default_rng(part[0])
    side = x.shape[1]
    centre = (side - 1) / 2
    y = np.empty((len(part), *x.shape[1:]), np.float32)
    for i, row in enumerate(part):
        angle, down, right, height, width = rng.uniform(-1, 1, 5) * (0.1 * math.pi, 0.1 * side, 0.1 * side, 0.1, 0.1)
        mirror = rng.choice((-1, 1))
        a, b = mirror * math.cos(angle) * (1 + width), -mirror * math.sin(angle) * (1 + height)
        d, e = math.sin(angle) * (1 + width), math.cos(angle) * (1 + height)
        matrix = a, b, centre - (a + b) * centre - right, d, e, centre - (d + e) * centre - down
        image = image_module.fromarray(x[row])
        image = image.transform(image.size, image_module.Transform.AFFINE, matrix, image_module.Resampling.BILINEAR)
        image = enhance.Brightness(image).enhance(rng.uniform(0.8, 1.2))
        image = enhance.Contrast(image).enhance(rng.uniform(0.8, 1.2))
        y[i] = np.asarray(image, np.float32) / 127.5 - 1
    return y


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("run", [ours, pillow], ids=["tapwise", "Pillow"])
@pytest.mark.parametrize("size", SIZES)
def bench_augment(benchmark, size, run, threads):
    x = images(size)
    parts = np.array_split(np.arange(len(x), dtype=np.intp), threads)
    benchmark.group = f"augmentation {size}x3, {threads} threads"
    benchmark.extra_info.update(images=len(x))
    with ThreadPoolExecutor(threads) as pool:
        results = benchmark(lambda: list(pool.map(run, [x] * threads, parts)))
    y = np.concatenate(results)
    assert y.shape == x.shape
    assert -1 <= y.min() < -0.5 < 0.5 < y.max() <= 1
