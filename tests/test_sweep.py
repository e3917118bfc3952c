"""Every small convolution (gate 21): H and W 1..6, square k 1..5, stride 1..3, padding 0..k, dilation 1..3.

A dozen channel pairs, both layouts and batches of 1 and 2 take turns; groups are all that divide both channels.
"""

from itertools import count, product

import pytest

from cases import Case
from close import assert_within
from engines import ENGINES
from exact import exact

CHANNELS = ((1, 1), (1, 5), (2, 3), (3, 8), (4, 4), (5, 2), (6, 9), (7, 7), (8, 6), (9, 3), (8, 8), (6, 4))
LAYOUTS = ("channels_last", "channels_first")


def sweep(k):
    turn = count()
    for stride, dilation, pad, h, w in product((1, 2, 3), (1, 2, 3), range(k + 1), range(1, 7), range(1, 7)):
        if min(h, w) + 2 * pad <= dilation * (k - 1):
            continue
        i = next(turn)
        ci, co = CHANNELS[i % len(CHANNELS)]
        for groups in range(1, 10):
            if ci % groups == 0 and co % groups == 0:
                name = f"{h}x{w}x{ci}-{co} k={k} stride={stride} pad={pad} dilation={dilation} groups={groups}"
                x = (1 + i // 5 % 2, h, w, ci)
                yield Case(name, x, (k, k), co, stride, pad, dilation, groups, LAYOUTS[i // 7 % 2])


def check(case, rng):
    """The three passes on every engine and algorithm, against one computation of the reference."""
    for direction, (terms, operation, *arguments) in case.passes(*case.arrays(rng)).items():
        want, mass = exact(operation, *arguments, **case.geometry)
        for engine in ENGINES:
            with engine.use():
                for algorithm in case.algorithms(direction):
                    got = operation(*arguments, algorithm=algorithm, **case.geometry)
                    assert_within(got, want, mass, terms, label=f"{case}: {direction}, {engine}, {algorithm}")


@pytest.mark.parametrize("k", range(1, 6))
def test_sample_of_small_shapes(k, rng):
    """Every 13th: prime to the periods of what takes turns, so each combination comes up."""
    for case in list(sweep(k))[::13]:
        check(case, rng)


@pytest.mark.slow
@pytest.mark.parametrize("k", range(1, 6))
def test_every_small_shape(k, rng):
    """Budget: one minute for all k on two cores."""
    for case in sweep(k):
        check(case, rng)
