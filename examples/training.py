"""How training works: the cost's sensitivity to each weight, found twice; then batches and epochs that go downhill.

    pip install ".[demo,plots]" && python examples/training.py

The sensitivity to a weight is how much the cost changes when this weight alone changes a little. Measuring takes two
passes over the network for each weight; backpropagation finds all of them in one.
"""

import argparse
import time

import matplotlib
import numpy as np

import tapwise
from tapwise import datasets, layers, losses, optimizers

matplotlib.use("Agg")
from matplotlib import pyplot

LOSS = losses.SparseCategoricalCrossentropy()


def network():
    return tapwise.Sequential(
        [
            tapwise.Input((8, 8, 1)),
            layers.Rescaling(1 / 8, -1),
            layers.Conv2D(4, 3, activation="tanh"),
            layers.AveragePooling2D(),
            layers.Flatten(),
            layers.Dense(10, activation="softmax"),
        ]
    )


def measured(model, x, y, step=1e-2):
    """(cost with weight + step - cost with weight - step) / (2 step), for every weight in turn."""
    found = []
    for parameter in model.trainable_weights:
        values = parameter.value.reshape(-1)
        for i, value in enumerate(values.copy()):
            costs = []
            for moved in (value + step, value - step):
                values[i] = moved
                costs.append(np.mean(LOSS.values(y, model(x)), dtype=np.float64))
            values[i] = value
            found.append((costs[0] - costs[1]) / (2 * step))
    return np.array(found)


def backpropagated(model, x, y):
    model.backward(LOSS.gradient(y, model.forward(x, training=True)))
    return np.concatenate([parameter.gradient.ravel() for parameter in model.trainable_weights])


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--figure", default="training.png")
    parser.add_argument("--quick", action="store_true", help="fewer epochs")
    options = parser.parse_args()
    tapwise.set_random_seed(0)
    (x, y), _ = datasets.load_digits()
    x = x.astype(np.float32)

    model = network()
    model.compile(optimizers.SGD(0.1), LOSS)
    sensitivities, seconds = [], []
    for way in (measured, backpropagated):
        start = time.perf_counter()
        sensitivities.append(way(model, x[:64], y[:64]))
        seconds.append(time.perf_counter() - start)
    largest = np.abs(sensitivities[1]).max()
    difference = np.abs(sensitivities[0] - sensitivities[1]).max()
    print(f"{model.count_params()} weights: measured in {seconds[0]:.2f} s, backpropagation {seconds[1] * 1e3:.1f} ms")
    print(f"largest sensitivity {largest:.3f}, largest difference between the two {difference:.1e}")
    assert difference < 0.01 * largest

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4))
    ends = [min(sensitivities[0]), max(sensitivities[0])]
    left.plot(ends, ends, color="lightgray", label="equal")
    left.plot(*sensitivities, ".", label="a weight")
    left.set(xlabel="measured", ylabel="backpropagation", title="sensitivity of the cost to each weight")
    left.legend()
    for batch_size in (len(x), 128, 16):
        tapwise.set_random_seed(0)
        model = network()
        model.compile(optimizers.SGD(0.1), LOSS, metrics=["accuracy"])
        history = model.fit(x, y, batch_size=batch_size, epochs=3 if options.quick else 25, verbose=0).history
        steps = -(-len(x) // batch_size)
        right.plot(np.arange(1, len(history["loss"]) + 1), history["loss"], label=f"batches of {batch_size}")
        print(f"batches of {batch_size}: {steps} steps an epoch, cost {history['loss'][-1]:.3f} after the last")
    right.set(xlabel="epoch", ylabel="cost", yscale="log", title="the same learning rate, more steps an epoch")
    right.set_yticks([0.1, 0.2, 0.5, 1, 2], ["0.1", "0.2", "0.5", "1", "2"])
    right.minorticks_off()
    right.legend()
    figure.tight_layout()
    figure.savefig(options.figure, dpi=80)
    print(f"figure: {options.figure}")


if __name__ == "__main__":
    main()
