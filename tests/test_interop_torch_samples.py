"""PyTorch's own samples of convolution and pooling, values and gradients, on our kernels: against it in float64."""

from collections import Counter

import pytest

from tapwise import interop

torch = pytest.importorskip("torch", reason="pip install torch")
pytest.importorskip("expecttest", reason="pip install expecttest")
from torch.testing._internal.common_methods_invocations import op_db  # noqa: E402

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore::UserWarning")]  # a minute

KINDS = "conv", "conv_transpose", "max_pool", "avg_pool", "adaptive_max_pool", "adaptive_avg_pool"
NAMES = [f"nn.functional.{kind}{rank}d" for kind in KINDS for rank in (1, 2, 3)]
OPERATIONS = {op.name: op for op in op_db if op.name in NAMES}


def outcome(op, sample, dtype):
    """The results and the gradients for everything that wants one, and the strides of both."""
    sample = sample.transform(
        lambda x: x.detach().to(dtype).requires_grad_(x.requires_grad) if isinstance(x, torch.Tensor) else x
    )
    y = op.op(sample.input, *sample.args, **sample.kwargs)
    results = list(y) if isinstance(y, tuple) else [y]
    wanted = [x for x in (sample.input, *sample.args, *sample.kwargs.values()) if isinstance(x, torch.Tensor)]
    wanted = [x for x in wanted if x.requires_grad]
    dy = torch.linspace(-1, 1, results[0].numel(), dtype=dtype).reshape(results[0].shape)
    return [*results, *torch.autograd.grad(results[0], wanted, dy)]


@pytest.mark.parametrize("name", NAMES)
def test_samples(name):
    op = OPERATIONS[name]
    samples = list(op.sample_inputs("cpu", torch.float32, requires_grad=True))
    ran, reasons = 0, Counter()
    for sample in samples:
        theirs, exact = outcome(op, sample, torch.float32), outcome(op, sample, torch.float64)
        with interop.torch.enable():
            ours = outcome(op, sample, torch.float32)
            report = interop.torch.report()
        reasons.update(report.fell_back)
        ran += bool(report.ran) and not report.fell_back
        for got, their, want in zip(ours, theirs, exact, strict=True):
            assert (got.dtype, got.shape, got.stride()) == (their.dtype, their.shape, their.stride()), sample
            bound = 4e-6 * max(1.0, want.abs().max().item()) if want.numel() else 0
            error = (got.double() - want.double()).abs().max().item() if want.numel() else 0
            assert error <= bound, sample
    print(f"{name}: {ran} of {len(samples)} on our kernels; {dict(reasons)}")
    least = 0.6 if "adaptive" in name else 0.95  # PyTorch takes a mean where the output is one element
    assert ran >= least * len(samples)
