"""PyTorch: contiguous NCHW, and channels_last."""

import torch

from peer_engines import Call, channels_first, channels_last, output_first, output_last

aten = torch.ops.aten
FORMATS = {"torch": {}, "torch_cl": {2: torch.channels_last, 3: torch.channels_last_3d}}


def start(settings):
    torch.set_num_threads(settings["threads"])
    torch.set_grad_enabled(False)
    return {"version": torch.__version__}


def calls(row, a):
    for column, formats in FORMATS.items():
        memory_format = formats.get(row.rank, torch.contiguous_format)
        if column == "torch_cl" and row.rank == 1:
            continue  # there is no such format in one dimension
        if row.operation in ("forward", "grad_input", "grad_weight"):
            yield conv_call(row, a, column, memory_format)
        elif (column == "torch_cl") == (row.data_format == "channels_last"):
            yield pool_call(row, a, column, memory_format)


def tensors(row, a, memory_format):
    """x, w, b, dy; whole weights get the memory format too, as a model moved to it has them."""
    arrays = channels_first(a["x"]), output_first(a["w"]), a["b"], channels_first(a["dy"])
    x, w, b, dy = map(torch.from_numpy, arrays)
    return tuple(t if t.dim() == 1 else t.contiguous(memory_format=memory_format) for t in (x, w, b, dy))


def conv_call(row, a, column, memory_format):
    x, w, b, dy = tensors(row, a, memory_format)
    before = [pad[0] for pad in row.padding]
    outside = [] if all(p[0] == p[1] for p in row.padding) else [n for p in reversed(row.padding) for n in p]
    padding = [0] * row.rank if outside else before
    rest = (row.strides, padding, row.dilation)
    conv = (torch.conv1d, torch.conv2d, torch.conv3d)[row.rank - 1]
    if row.operation == "forward":
        weights = [w, *(w.clone() for _ in range(row.chain - 1))]

        def forward():
            y = x
            for each in weights:
                source = torch.nn.functional.pad(y, outside) if outside else y
                y = conv(source, each, b, *rest, row.groups)
            return y

        return Call(column, forward, lambda y: channels_last(y.numpy()))
    if outside:
        raise NotImplementedError("gradients with asymmetric padding")
    mask = [row.operation == "grad_input", row.operation == "grad_weight", False]

    def backward():
        return aten.convolution_backward(dy, x, w, None, *rest, False, [0] * row.rank, row.groups, mask)

    if row.operation == "grad_input":
        return Call(column, backward, lambda gradients: channels_last(gradients[0].numpy()))
    return Call(column, backward, lambda gradients: output_last(gradients[1].numpy()))


def pool_call(row, a, column, memory_format):
    """Outputs are given: fresh memory would cost page faults."""
    x = torch.from_numpy(channels_first(a["x"])).contiguous(memory_format=memory_format)
    dy = torch.from_numpy(channels_first(a["dy"])).contiguous(memory_format=memory_format)
    y, indices = aten.max_pool2d_with_indices(x, row.kernel, row.strides)
    dx = torch.zeros_like(x)
    window = (row.kernel, row.strides)
    rest = ([0, 0], [1, 1], False)
    whole = ([0, 0], False, True, None)
    run = {
        "max_pool": lambda: aten.max_pool2d_with_indices.out(x, *window, *rest, out=y, indices=indices)[0],
        "average_pool": lambda: aten.avg_pool2d.out(x, *window, *whole, out=y),
        "max_pool_grad": lambda: aten.max_pool2d_with_indices_backward.grad_input(
            dy, x, *window, *rest, indices, grad_input=dx
        ),
        "average_pool_grad": lambda: aten.avg_pool2d_backward.grad_input(dy, x, *window, *whole, grad_input=dx),
    }[row.operation]
    return Call(column, run, lambda y: channels_last(y.numpy()))
