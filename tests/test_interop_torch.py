"""interop.torch: what runs on our kernels gives PyTorch's results, types and strides; the rest is PyTorch's own."""

import os
import threading

import numpy as np
import pytest

import tapwise
from tapwise import interop

torch = pytest.importorskip("torch", reason="pip install torch")
F = torch.nn.functional

pytestmark = pytest.mark.peers  # twenty seconds
generator = torch.Generator().manual_seed(0)
X, W, B = (torch.randn(shape, generator=generator) for shape in ((2, 4, 6, 6), (5, 4, 3, 3), (5,)))
W_TRANSPOSED = W.transpose(0, 1).contiguous()


@pytest.fixture(autouse=True)
def _restored():
    yield
    interop.torch.disable()


class Subclass(torch.Tensor):
    pass


class Watched(torch.Tensor):
    """Refuses what no kernel of PyTorch's asks of its inputs."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        assert getattr(func, "__name__", "") not in ("numpy", "stride", "new_empty_strided")
        return super().__torch_function__(func, types, args, kwargs or {})


def gradients(f, *tensors, wanted=None):
    tensors = [t.detach().clone(memory_format=torch.preserve_format) for t in tensors]
    wanted = [t.requires_grad_() for i, t in enumerate(tensors) if wanted is None or i in wanted]
    y = f(*tensors)
    return [y, *torch.autograd.grad(y.pow(2).sum(), wanted)]


def network(x):
    return F.avg_pool2d(F.max_pool2d(F.conv2d(x, W, B, padding=1), 2), 2, padding=1)


def in_inference_mode():
    with torch.inference_mode():
        return F.max_pool1d(F.conv2d(X, W, B).flatten(2), 2)


def twice_differentiated():
    x, w = X.clone().requires_grad_(), W.clone().requires_grad_()
    (g,) = torch.autograd.grad(F.conv2d(x, w, B).pow(2).sum(), x, create_graph=True)
    return list(torch.autograd.grad(g.pow(2).sum(), (x, w)))


def of_a_subclass():
    x = X.clone().as_subclass(Watched).requires_grad_()
    y = network(x)
    return [y.as_subclass(torch.Tensor), torch.autograd.grad(y.sum(), x)[0].as_subclass(torch.Tensor)]


def on_another_default_device():
    with torch.device("meta"):
        return network(X)


def of_another_default_type():
    torch.set_default_dtype(torch.float64)
    try:
        return F.avg_pool2d(F.conv2d(X, W), 2, divisor_override=3)
    finally:
        torch.set_default_dtype(torch.float32)


def of_a_trace():
    return torch.jit.trace(lambda x: F.max_pool1d(network(x).flatten(2), 2), X)(X + 1)


def of_a_symbolic_trace():
    from torch.fx.experimental.proxy_tensor import make_fx

    return make_fx(network)(X)(X + 1)


OURS = {
    "without gradients": in_inference_mode,
    "no batch": lambda: gradients(network, X[0]),
    "empty batch": lambda: gradients(network, X[:0]),
    "only x": lambda: gradients(F.conv2d, X, W, B, wanted=[0]),
    "only w": lambda: gradients(F.conv2d, X, W, B, wanted=[1]),
    "only b": lambda: gradients(F.conv2d, X, W, B, wanted=[2]),
    "w and b": lambda: gradients(F.conv2d, X, W, B, wanted=[1, 2]),
    "transposed, only x": lambda: gradients(F.conv_transpose2d, X, W_TRANSPOSED, B, wanted=[0]),
    "transposed, w and b": lambda: gradients(F.conv_transpose2d, X, W_TRANSPOSED, B, wanted=[1, 2]),
    "neither layout": lambda: gradients(F.conv2d, X.transpose(2, 3)[:, :, ::2], W.flip(3), B.expand(5)),
    "weights channels last": lambda: gradients(F.conv2d, X, W.to(memory_format=torch.channels_last), B),
    "x channels last": lambda: gradients(network, X.to(memory_format=torch.channels_last)),
    "vmap over x": lambda: torch.vmap(network)(X[:, None]),
    "vmap over w": lambda: torch.vmap(lambda w: F.conv2d(X, w, B))(torch.stack([W, 2 * W])),
    "vmap of grad": lambda: torch.vmap(torch.func.grad(lambda x: network(x[None]).sum()))(X),
    "forward mode": lambda: list(torch.func.jvp(network, (X,), (2 * X,))),
    "forward mode, one axis": lambda: list(torch.func.jvp(lambda x: F.max_pool1d(x.flatten(2), 2), (X,), (2 * X,))),
    "second derivatives": twice_differentiated,
    "subclass": lambda: F.conv2d(X.as_subclass(Subclass), W, B),
    "watched subclass": of_a_subclass,
    "default device": on_another_default_device,
    "default type": of_another_default_type,
    "torch.jit.trace": of_a_trace,
    "make_fx": of_a_symbolic_trace,
    "indices": lambda: list(F.max_pool2d(X.round(), 3, 2, 1, return_indices=True)),
    "unpooling": lambda: F.max_unpool2d(*F.max_pool2d(X, 2, return_indices=True), 2),
    "lazy conjugate": lambda: F.conv2d(torch.complex(X, X).conj().imag, W, B),
    "compiled, eager": lambda: torch.compile(network, backend="eager")(X),
    "compiled, aot_eager": lambda: gradients(torch.compile(network, backend="aot_eager"), X),
}


def unaligned():
    x = torch.frombuffer(bytearray(4 * X.numel() + 1), dtype=torch.float32, offset=1, count=X.numel())
    return F.conv2d(x.view(X.shape).copy_(X), W)


FALLS_BACK = {
    "float64": lambda: gradients(F.conv2d, X.double(), W.double(), B.double()),
    "bfloat16": lambda: F.conv2d(X.bfloat16(), W.bfloat16()),
    "int64": lambda: F.max_pool2d((10 * X).long(), 2),
    "x_shape must have sizes >= 1": lambda: F.conv2d(X[:, :0], W[:, :0], B),
    "x must be aligned": unaligned,
}


def outcome(f):
    found = f()
    return found if isinstance(found, list) else [found]


def assert_same(ours, theirs):
    for got, want in zip(ours, theirs, strict=True):
        assert (type(got), got.dtype, got.stride()) == (type(want), want.dtype, want.stride())
        bound = 4e-6 * (want.detach().abs().max().item() if want.numel() else 1)
        torch.testing.assert_close(got, want, rtol=0, atol=bound)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("name", OURS)
def test_ours(name):
    torch.compiler.reset()
    theirs = outcome(OURS[name])
    torch.compiler.reset()
    with interop.torch.enable():
        ours = outcome(OURS[name])
        report = interop.torch.report()
    assert_same(ours, theirs)
    assert report.ran
    assert report.fell_back == {}
    assert report.share == 1


@pytest.mark.parametrize("reason", FALLS_BACK)
def test_what_is_not_ours_is_pytorchs_and_counted_once(reason):
    theirs = outcome(FALLS_BACK[reason])
    with interop.torch.enable():
        ours = outcome(FALLS_BACK[reason])
        report = interop.torch.report()
    for got, want in zip(ours, theirs, strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=0)
    assert all(why.startswith(reason) for _, why in report.fell_back)
    assert set(report.fell_back.values()) == {1}
    assert report.ran == {}
    assert reason in str(report)
    assert "0.0% of the calls" in str(report)


@pytest.mark.parametrize(
    "call",
    [
        lambda: F.conv2d(X, W, B[:3]),
        lambda: F.conv2d(X[:, :3], W),
        lambda: F.conv2d(X, W, groups=3),
        lambda: F.conv2d(X, W, stride=0),
        lambda: F.conv2d(X, W, padding=-1),
        lambda: F.conv2d(X[..., :2], W),
        lambda: F.conv2d(X.double(), W),
        lambda: F.conv_transpose2d(X, W_TRANSPOSED, output_padding=1),
        lambda: F.max_pool2d(X, 2, padding=2),
        lambda: F.max_pool2d(X, 9),
        lambda: F.avg_pool2d(X, 2, divisor_override=0),
    ],
)
def test_what_pytorch_refuses_it_refuses_in_its_own_words(call):
    with pytest.raises(RuntimeError) as theirs:
        call()
    with interop.torch.enable(), pytest.raises(RuntimeError) as ours:
        call()
    assert str(ours.value) == str(theirs.value)


def test_nan_wins_a_maximum():
    x = X.clone()
    x[0, 0, 2, 2], x[0, 1] = float("nan"), float("-inf")
    theirs = F.max_pool2d(x, 3, 2, 1)
    with interop.torch.enable():
        torch.testing.assert_close(F.max_pool2d(x, 3, 2, 1), theirs, rtol=0, atol=0, equal_nan=True)


def kernels():
    names = ("convolution", "convolution_backward", "max_pool1d", "max_pool2d_with_indices", "avg_pool3d_backward")
    return [torch._C._dispatch_dump_table(f"aten::{name}") for name in names]


def test_disable_restores_all_and_uses_are_nested():
    before, threads = kernels(), tapwise.threads.get()
    with interop.torch.enable():
        with interop.torch.enable("strict"):
            F.conv2d(X, W)
        assert interop.torch.enabled()
        F.conv2d(X, W)
        assert interop.torch.report().ran == {"convolution": 2}
    assert not interop.torch.enabled()
    assert kernels() == before
    with interop.torch.enable():
        interop.torch.enable()
        interop.torch.disable()
        assert kernels() == before
    assert not interop.torch.enabled()
    assert tapwise.threads.get() == threads
    F.conv2d(X, W)
    assert interop.torch.report().ran == {}
    with pytest.raises(ValueError, match=r"accuracy must be one of strict, default, fast, got 'exact'"):
        interop.torch.enable("exact")


def test_accuracy_reaches_the_kernels():
    x, w = torch.randn((1, 32, 32, 32), generator=generator), torch.randn((32, 32, 3, 3), generator=generator)
    used = {}
    for accuracy in ("strict", "fast"):
        with interop.torch.enable(accuracy), tapwise.trace() as trace:
            F.conv2d(x, w)
        used[accuracy] = trace.records[0].algorithm
    assert "winograd" not in used["strict"]
    assert "winograd" in used["fast"]


def test_activations_are_not_copied():
    """Both layouts: the operations read and write the tensors' own memory."""
    for memory_format in (torch.contiguous_format, torch.channels_last):
        x = X.clone(memory_format=memory_format).requires_grad_()
        with interop.torch.enable():
            y = F.max_pool2d(F.conv2d(x, W, B), 2)
            y.backward(torch.ones_like(y))
            assert interop.torch.report().copied == {}


def test_threads_follow_pytorchs():
    former = torch.get_num_threads()
    try:
        with interop.torch.enable():
            for n in (1, 3, 2):
                torch.set_num_threads(n)
                F.conv2d(X, W)
                assert tapwise.threads.get() == n
    finally:
        torch.set_num_threads(former)
    assert not [thread for thread in threading.enumerate() if thread.name == "tapwise-openmp"]


def test_bits_are_the_same_from_several_threads_at_once():
    found = []
    with interop.torch.enable():
        want = gradients(network, X)
        workers = [threading.Thread(target=lambda: found.append(gradients(network, X))) for _ in range(8)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    assert len(found) == 8
    assert all(torch.equal(got, w) for result in found for got, w in zip(result, want, strict=True))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork: Linux or macOS")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_goes_on():
    with interop.torch.enable():
        want = F.conv2d(X, W)
        child = os.fork()
        if child == 0:
            torch.set_num_threads(1)  # as a DataLoader's workers do
            os._exit(0 if torch.equal(F.conv2d(X, W), want) else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_plans_are_bounded():
    from tapwise.interop.torch import plans

    with interop.torch.enable():
        for n in range(1, plans.KEPT + 100):
            F.avg_pool2d(torch.zeros((1, 1, 1, n)), 1)
        assert len(plans._plans) <= plans.KEPT
        np.testing.assert_array_equal(F.avg_pool2d(torch.full((1, 1, 2, 2), 3.0), 2).numpy(), [[[[3.0]]]])
