"""Seconds of training until the small CNN classifies 90 % of Fashion-MNIST's test images, one engine a run.

python benchmarks/fashion_mnist.py tapwise            (or torch, torch_cl, with the interpreter that has it)
python benchmarks/fashion_mnist.py tapwise --dtype mixed_bfloat16 --seed 1 --epochs 4

Adam with its defaults, batches of 128, shuffled; the accuracy is taken after each epoch, outside of the time. Data: the
IDX files of Debian's dataset-fashion-mnist, or --data FOLDER.
"""

import argparse
import gzip
import time
from pathlib import Path

import numpy as np

BATCH, WANTED, MOST_EPOCHS = 128, 0.90, 12


def read(folder, name):
    """An IDX file of bytes, packed or not."""
    path = Path(folder) / name
    data = path.read_bytes() if path.exists() else gzip.decompress(path.with_name(f"{name}.gz").read_bytes())
    shape = np.frombuffer(data, ">i4", data[3], 4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * len(shape)).reshape(shape)


def load(folder):
    """(images (n, 28, 28, 1) in [0, 1], classes) of both sets."""
    for part in ("train", "t10k"):
        images = read(folder, f"{part}-images-idx3-ubyte")[..., None]
        yield (images / np.float32(255)).astype(np.float32), read(folder, f"{part}-labels-idx1-ubyte").astype(np.int64)


class Tapwise:
    def __init__(self, name, options):
        import tapwise
        from networks import small_cnn

        tapwise.mixed_precision.set_global_policy(options.dtype)
        tapwise.set_random_seed(options.seed)
        self.version = tapwise.__version__
        self.model = small_cnn(tapwise)
        self.model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])

    def train(self, x, y):
        self.model.fit(x, y, batch_size=BATCH, verbose=0)

    def accuracy(self, x, y):
        return self.model.evaluate(x, y, 500, 0)[1]


class Torch:
    def __init__(self, name, options):
        import torch

        from torch_networks import NETWORKS

        torch.manual_seed(options.seed)
        self.torch, self.version = torch, torch.__version__
        self.format = torch.channels_last if name == "torch_cl" else torch.contiguous_format
        self.model = NETWORKS["small CNN"]().to(memory_format=self.format)
        self.optimizer = torch.optim.Adam(self.model.parameters(), fused=True)

    def images(self, x):
        return self.torch.from_numpy(x).permute(0, 3, 1, 2).contiguous(memory_format=self.format)

    def train(self, x, y):
        images, labels = self.images(x), self.torch.from_numpy(y)
        self.model.train()
        for rows in self.torch.randperm(len(y)).split(BATCH):
            self.optimizer.zero_grad()
            batch = images[rows].contiguous(memory_format=self.format)
            self.torch.nn.functional.cross_entropy(self.model(batch), labels[rows]).backward()
            self.optimizer.step()

    def accuracy(self, x, y):
        self.model.eval()
        with self.torch.no_grad():
            found = [self.model(part).argmax(1) for part in self.images(x).split(500)]
        return float((self.torch.cat(found).numpy() == y).mean())


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("engine", choices=("tapwise", "torch", "torch_cl"))
    parser.add_argument("--data", default="/usr/share/datasets/fashion-mnist", metavar="FOLDER")
    parser.add_argument("--dtype", default="float32", choices=("float32", "mixed_bfloat16"), help="tapwise's policy")
    parser.add_argument("--seed", default=0, type=int)
    parser.add_argument("--epochs", type=int, help="train for so many, whatever the accuracy")
    options = parser.parse_args()
    (x, y), test = load(options.data)
    engine = (Tapwise if options.engine == "tapwise" else Torch)(options.engine, options)
    seconds = 0.0
    for epoch in range(1, (options.epochs or MOST_EPOCHS) + 1):
        start = time.perf_counter()
        engine.train(x, y)
        seconds += time.perf_counter() - start
        accuracy = engine.accuracy(*test)
        print(f"epoch {epoch}: {seconds:.1f} s, test accuracy {accuracy:.2%}", flush=True)
        if accuracy >= WANTED and not options.epochs:
            break
    print(f"{options.engine} {engine.version}: {accuracy:.2%} after {seconds:.1f} s, {epoch} epochs")


if __name__ == "__main__":
    main()
