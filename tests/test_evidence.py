"""What is called a difference: intervals against scipy, their coverage, and what too few runs may not claim."""

import math
import statistics

import nbformat
import numpy as np
import pytest
import torch
from scipy import stats

from course_utils.evidence import FEWEST, Interval, above, interval, same
from tools import build_notebooks as builder


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("units", [2, 3, 8, 40])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_an_interval_is_that_of_the_paired_t_test(units, confidence):
    a, b = noise(2, units, seed=units)
    peer = stats.ttest_rel(a, b).confidence_interval(confidence)
    found = interval(a, b, confidence)
    assert (found.low, found.high) == pytest.approx((peer.low, peer.high), rel=1e-12, abs=1e-12)
    assert found.mean == pytest.approx(statistics.mean(a - b), rel=1e-12) and found.units == units


def test_it_covers_the_truth_as_often_as_it_says():
    differences = 0.3 + noise(10_000, 8)
    found = [interval(row, np.zeros(8)) for row in differences]
    assert 0.94 < np.mean([one.low < 0.3 < one.high for one in found]) < 0.96


def test_a_difference_that_is_not_there_is_rarely_claimed():
    a, b = noise(2, 4000, 8, seed=1)
    claimed = np.mean([above(x, y) for x, y in zip(a, b, strict=True)])
    assert claimed == pytest.approx(0.025, abs=0.0075)  # one end of a 95 % interval; 3 standard errors
    at_the_margin = [same(x, y + 0.5, within=0.5) for x, y in zip(a / 20, b / 20, strict=True)]
    assert np.mean(at_the_margin) == pytest.approx(0.05, abs=0.0105)


def test_pairing_takes_out_what_the_seeds_share():
    shared, own = noise(10), noise(10, seed=1) / 100
    assert above(shared + 0.1 + own, shared)
    assert not above(np.sort(shared) + 0.1 + own, np.random.default_rng(2).permutation(shared))


def test_above_has_a_side_and_same_has_a_margin():
    a, b = 0.1 + noise(8) / 100, np.zeros(8)
    assert above(a, b) and not above(b, a)
    assert same(a, b, within=0.2) and same(b, a, within=0.2) and not same(a, b, within=0.1)
    wide = noise(8, seed=3)
    assert not above(wide, b) and not above(b, wide) and not same(wide, b, within=0.2), "unknown is neither"
    assert same(b, b, within=1e-9) and not above(b, b)


def test_same_asks_for_the_90_percent_interval():
    a = noise(8)
    ends = interval(a, np.zeros(8), 0.9)
    margin = max(-ends.low, ends.high)
    assert same(a, np.zeros(8), within=margin * 1.001) and not same(a, np.zeros(8), within=margin * 0.999)


@pytest.mark.parametrize("within", [0, -1, math.nan])
def test_a_margin_is_a_size(within):
    with pytest.raises(ValueError, match="give the largest difference that does not matter, above 0"):
        same(np.zeros(8), np.zeros(8), within=within)


@pytest.mark.parametrize("units", [2, 3, FEWEST - 1])
def test_too_few_units_claim_nothing_over_chance(units):
    a, b = np.ones(units), np.zeros(units)
    for claim in (lambda: above(a, b), lambda: same(a, b, within=2)):
        with pytest.raises(ValueError, match=f"{units} units of replication are too few .* needs 8: run more seeds"):
            claim()
    assert interval(a, b).units == units


def test_noise_over_three_seeds_is_not_called_the_same():
    a, b = noise(2, 3)
    with pytest.raises(ValueError, match="3 units of replication are too few"):
        same(a, b, within=10)


def test_a_notebook_that_claims_over_four_units_is_not_built():
    source = "from course_utils.lesson import above, claim\nclaim('a is above b', above([2.0] * 4, [1.0] * 4))"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    with pytest.raises(builder.BuildError, match="(?s)cell 0 failed.*4 units of replication are too few"):
        builder.run_(notebook, folder=builder.NOTEBOOKS)


# --- what they take, and how they read ------------------------------------------------------------------------------


@pytest.mark.parametrize("values", [
    {0: 1.0, 1: 2.5}.values(), (1.0, 2.5), iter([1.0, 2.5]), torch.tensor([1.0, 2.5], dtype=torch.bfloat16),
    torch.tensor([1.0, 2.5], requires_grad=True), [torch.tensor(1.0), torch.tensor(2.5)],
])  # fmt: skip
def test_values_may_come_in_any_row(values):
    assert interval(values, [0, 0]) == interval([1.0, 2.5], [0.0, 0.0])


@pytest.mark.parametrize(
    "a, b, message",
    [
        ([1.0], [2.0], "1 pair has no interval: run two seeds at least"),
        ([1.0, 2.0], [1.0], "a has 2 values and b 1"),
        ([1.0, float("nan")], [1.0, 2.0], r"a\[1\] is nan"),
        ([1.0, 2.0], [float("inf"), 2.0], r"b\[0\] is inf"),
        ([[1.0, 2.0]], [1.0, 2.0], "shape \\(1, 2\\): expected one value a seed"),
    ],
)
def test_pairs_that_cannot_be_compared(a, b, message):
    with pytest.raises(ValueError, match=message):
        interval(a, b)


@pytest.mark.parametrize("found, words", [
    (Interval(0.12, 0.08, 0.16, 8), "0.12 (0.08 to 0.16; 8 pairs)"),
    (Interval(0.0415, 0.003, 0.08, 10), "0.042 (0.003 to 0.080; 10 pairs)"),  # its low end is not 0.00
    (Interval(-25.1, -30.2, -20, 8), "−25 (−30 to −20; 8 pairs)"),
    (Interval(1234.0, 1010.0, 1458.0, 8), "1200 (1000 to 1500; 8 pairs)"),
    (Interval(-0.001, -0.03, 0.028, 8), "0.00 (−0.03 to 0.03; 8 pairs)"),  # and not −0.00
    (Interval(0.5, 0.5, 0.5, 8), "0.500 (0.500 to 0.500; 8 pairs)"),
])  # fmt: skip
def test_an_interval_reads_as_precisely_as_it_is_known(found, words):
    assert str(found) == words
