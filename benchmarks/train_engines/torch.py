"""PyTorch, contiguous or channels_last, eager or compiled by inductor, with its fused optimizers."""

import torch
from torch.nn.functional import cross_entropy

from networks import TASKS
from torch_networks import NETWORKS

CHANNELS_LAST = COMPILED = False


def start(settings):
    global CHANNELS_LAST, COMPILED
    torch.set_num_threads(settings["threads"])
    torch.manual_seed(0)
    CHANNELS_LAST, COMPILED = settings["channels_last"], settings.get("compiled", False)
    return {"version": torch.__version__}


def step(name, x, y):
    memory_format = torch.channels_last if CHANNELS_LAST else torch.contiguous_format
    model = NETWORKS[name]().to(memory_format=memory_format)
    images = torch.from_numpy(x).permute(0, 3, 1, 2).contiguous(memory_format=memory_format)
    labels = torch.from_numpy(y)
    if TASKS[name].optimizer == "adam":
        optimizer = torch.optim.Adam(model.parameters(), fused=True)
    else:
        optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9, fused=True)

    forward = torch.compile(model) if COMPILED else model

    def run():
        optimizer.zero_grad()
        loss = cross_entropy(forward(images), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return run
