"""Every form of padding is the same as padding x by hand (gate 14): whole numbers, so equality is exact."""

import numpy as np
import pytest

import tapwise
from cases import CASES

PADDED = [case for case in CASES if case.padding not in ("valid", 0)]


def padded_by_hand(x, case):
    """x with zeros around it, without what a negative padding crops."""
    pads = [(0, 0), *case.pads, (0, 0)] if case.data_format == "channels_last" else [(0, 0), (0, 0), *case.pads]
    x = np.pad(x, [(before, max(after, 0)) for before, after in pads])
    return np.ascontiguousarray(x[tuple(slice(None, min(after, 0) or None) for _, after in pads)])


@pytest.mark.parametrize("case", PADDED, ids=str)
def test_is_the_same_as_by_hand(case, engine, rng):
    x, w, b, dy = case.integers(rng)
    by_hand, valid = padded_by_hand(x, case), {**case.geometry, "padding": "valid", "accuracy": "strict"}
    y = tapwise.conv(by_hand, w, b, **valid)
    dw = tapwise.conv_grad_weight(by_hand, dy, w.shape, **valid)
    # The gradient of the padded input, of which that of x is the part that is not padding.
    grown, inside = tapwise.conv_grad_input(dy, w, by_hand.shape, **valid), padded_by_hand(np.ones_like(x), case) == 1
    for padding in (case.padding, case.pads):
        geometry = {**case.geometry, "padding": padding, "accuracy": "strict"}
        np.testing.assert_array_equal(tapwise.conv(x, w, b, **geometry), y)
        np.testing.assert_array_equal(tapwise.conv_grad_weight(x, dy, w.shape, **geometry), dw)
        dx = tapwise.conv_grad_input(dy, w, x.shape, **geometry)
        np.testing.assert_array_equal(padded_by_hand(dx, case)[inside], grown[inside])
