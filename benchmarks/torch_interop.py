"""PyTorch programs with and without interop.torch: gradients, drift and time of ResNet-20, steps of others, tiny calls.

python benchmarks/torch_interop.py [--part drift] [--part steps] [--part tiny] [-k ResNet-20] [--threads 1] [--rounds 3]
"""

import argparse
from statistics import median
from time import perf_counter

import torch
from torch.nn import functional

import torch_networks
from tapwise import bench, interop

LAYOUTS = {"channels first": torch.contiguous_format, "channels last": torch.channels_last}
IMAGES = {"small CNN": (1, 28, 28)}
STEPS, RATE, MOMENTUM = 20, 0.001, 0.9


class Training:
    """A network, its optimizer and batches: smooth images, whose classes are their colours."""

    def __init__(self, name, batch, layout, dtype=torch.float32, seed=0):
        torch.manual_seed(seed)
        self.layout, self.dtype = LAYOUTS[layout], dtype
        self.model = torch_networks.NETWORKS[name]().to(dtype, memory_format=self.layout)
        self.optimizer = torch.optim.SGD(self.model.parameters(), RATE, momentum=MOMENTUM)
        channels, *size = IMAGES.get(name, (3, 32, 32))
        colours = torch.randn(10, channels, 1, 1)
        self.labels = torch.randint(0, 10, (STEPS, batch))
        noise = torch.randn(STEPS * batch, channels, *(n // 4 for n in size))
        images = colours[self.labels.flatten()] + functional.interpolate(noise, scale_factor=4)
        images = images.to(dtype, memory_format=self.layout)
        self.images = images.split(batch)

    def step(self, i=0):
        self.optimizer.zero_grad()
        functional.cross_entropy(self.model(self.images[i]), self.labels[i]).backward()
        self.optimizer.step()

    def infer(self):
        with torch.inference_mode():
            self.model(self.images[0])

    def weights(self):
        return [parameter.detach().double() for parameter in self.model.parameters()]

    def gradients(self):
        return [parameter.grad.double() for parameter in self.model.parameters()]


def norm(tensors):
    return sum((t**2).sum().item() for t in tensors) ** 0.5


def far(one, other):
    return norm([a - b for a, b in zip(one, other, strict=True)])


def drift(layout, seed, batch=32):
    """Of the first gradients and of the weights after STEPS steps: the distance to float64, PyTorch's and ours."""
    made = [
        Training("ResNet-20", batch, layout, dtype, seed) for dtype in (torch.float64, torch.float32, torch.float32)
    ]
    gradients = []
    for i in range(STEPS):
        for training in made[:2]:
            training.step(i)
        with interop.torch.enable():
            made[2].step(i)
        if i == 0:
            gradients = [training.gradients() for training in made]
    exact, theirs, ours = (training.weights() for training in made)
    first = [
        max(far([a], [b]) / norm([b]) for a, b in zip(found, gradients[0], strict=True)) for found in gradients[1:]
    ]
    return *first, far(theirs, exact), far(ours, exact)


def print_drift(options):
    print(f"\nResNet-20, batch 32, {STEPS} steps: distance to float64\n")
    head = f"{'layout':<16} {'seed':>4} {'gradient, PyTorch':>18} {'with Tapwise':>13}"
    print(f"{head} {'weights, PyTorch':>17} {'with Tapwise':>13} {'ratio':>6}")
    for layout in LAYOUTS:
        for seed in range(3):
            theirs, ours, far_theirs, far_ours = drift(layout, seed)
            line = f"{layout:<16} {seed:>4} {theirs:>18.1e} {ours:>13.1e} {far_theirs:>17.2e} {far_ours:>13.2e}"
            print(f"{line} {far_ours / far_theirs:>6.2f}", flush=True)


def seconds(call, least):
    """The median of the calls that fit, after one that doesn't count."""
    call()
    times, end = [], perf_counter() + least
    while not times or perf_counter() < end:
        start = perf_counter()
        call()
        times.append(perf_counter() - start)
    return median(times)


def both(call, options):
    """Seconds without and with us, of the best of rounds in which they take turns."""
    best = [float("inf")] * 2
    for _ in range(options.rounds):
        best[0] = min(best[0], seconds(call, options.seconds))
        with interop.torch.enable():
            best[1] = min(best[1], seconds(call, options.seconds))
    return best


def print_steps(options):
    print(f"\nms, batch {options.batch}; the share of calls on our kernels\n")
    print(f"{'network':<12} {'layout':<16} {'':<12} {'PyTorch':>9} {'with Tapwise':>13} {'ratio':>6} {'share':>7}")
    for name in torch_networks.NETWORKS:
        if options.k and not any(word in name for word in options.k):
            continue
        for layout in LAYOUTS:
            training = Training(name, options.batch, layout)
            for kind, call in (("training", training.step), ("inference", training.infer)):
                theirs, ours = both(call, options)
                line = f"{name:<12} {layout:<16} {kind:<12} {theirs * 1e3:>9.1f} {ours * 1e3:>13.1f}"
                print(f"{line} {theirs / ours:>6.2f} {interop.torch.report().share:>7.1%}", flush=True)


def tiny_calls():
    x, w, b = torch.randn(1, 4, 6, 6), torch.randn(4, 4, 3, 3), torch.randn(4)
    wanted = [t.clone().requires_grad_() for t in (x, w, b)]
    dy = torch.randn(1, 4, 6, 6)

    def backward():
        torch.autograd.grad(functional.conv2d(*wanted, padding=1), wanted, dy)

    wide = [t.double() for t in (x, w, b)]
    return {
        "conv2d": lambda: functional.conv2d(x, w, b, padding=1),
        "conv2d and gradients": backward,
        "max_pool2d": lambda: functional.max_pool2d(x, 2),
        "avg_pool2d": lambda: functional.avg_pool2d(x, 2),
        "conv2d of float64, not ours": lambda: functional.conv2d(*wide, padding=1),
    }


def print_tiny(options):
    print("\nus a call, x (1, 4, 6, 6), w (4, 4, 3, 3)\n")
    print(f"{'':<28} {'PyTorch':>9} {'with Tapwise':>13}")
    for name, call in tiny_calls().items():
        theirs, ours = both(lambda call=call: [call() for _ in range(100)], options)
        print(f"{name:<28} {theirs * 1e4:>9.1f} {ours * 1e4:>13.1f}")


PARTS = {"drift": print_drift, "steps": print_steps, "tiny": print_tiny}


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--part", action="append", choices=PARTS, help="may be repeated; without it all")
    parser.add_argument("-k", action="append", metavar="WORD", help="networks whose name contains it; may be repeated")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.3, help="of calls in a round")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{bench.machine()}, PyTorch {torch.__version__}, {options.threads} threads")
    for part in options.part or PARTS:
        PARTS[part](options)


if __name__ == "__main__":
    main()
