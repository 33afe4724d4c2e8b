"""Rank statistics against scikit-learn and closed forms. Tolerance 1e-12, in float64, unless a test says less."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve
from torch import Tensor

from genat.ranking import aupr, auroc, auroc_interval, auroc_tensor, fpr_at_tpr, threshold_for_tpr

tied = st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=30)
wild = st.lists(st.floats(-1e30, 1e30), min_size=1, max_size=30)


def double(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def labelled(inside: list[float], outside: list[float]) -> tuple[list[int], list[float]]:
    return [1] * len(inside) + [0] * len(outside), inside + outside


def normal(n: int, *, mean: float, generator: torch.Generator) -> Tensor:
    return mean + torch.randn(n, generator=generator, dtype=torch.float64)


@given(inside=st.one_of(tied, wild), outside=st.one_of(tied, wild))
def test_auroc_and_aupr_are_scikit_learns(inside: list[float], outside: list[float]) -> None:
    labels, logits = labelled(inside, outside)
    assert auroc(double(inside), double(outside)) == pytest.approx(roc_auc_score(labels, logits), abs=1e-12)
    assert aupr(double(inside), double(outside)) == pytest.approx(average_precision_score(labels, logits), abs=1e-12)


@given(inside=tied, outside=tied)
def test_auroc_is_the_share_of_pairs_won(inside: list[float], outside: list[float]) -> None:
    wins = sum(float(a > b) + 0.5 * float(a == b) for a in inside for b in outside)
    assert auroc(double(inside), double(outside)) == pytest.approx(wins / (len(inside) * len(outside)), abs=1e-12)


@given(inside=st.one_of(tied, wild), outside=st.one_of(tied, wild), tpr=st.floats(0.01, 1.0))
def test_fpr_at_tpr_is_a_point_of_scikit_learns_roc_curve(
    inside: list[float], outside: list[float], tpr: float
) -> None:
    fprs, tprs, _ = roc_curve(*labelled(inside, outside), drop_intermediate=False)
    expected = fprs[tprs >= tpr - 1e-9].min()
    assert fpr_at_tpr(double(inside), double(outside), tpr=tpr) == pytest.approx(expected, abs=1e-12)


@given(inside=tied, outside=tied)
def test_swapping_the_sides_turns_auroc_over(inside: list[float], outside: list[float]) -> None:
    forth, back = auroc(double(inside), double(outside)), auroc(double(outside), double(inside))
    assert forth + back == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("center", [0.0, 20.0, 26.0, 1e4, -1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_perfect_separation_is_one_however_large_the_logits(center: float, dtype: torch.dtype) -> None:
    """A float32 sigmoid is 1 from logits of 17 on and would call these chance."""
    inside = center + torch.linspace(0.5, 6, 40, dtype=dtype)
    outside = center - torch.linspace(0.5, 6, 40, dtype=dtype)
    assert auroc(inside, outside) == 1.0
    assert aupr(inside, outside) == 1.0
    assert fpr_at_tpr(inside, outside, tpr=1.0) == 0.0
    assert auroc(outside, inside) == 0.0


def test_logits_from_20_to_26_are_told_apart() -> None:
    inside, outside = torch.linspace(21, 26, 51), torch.linspace(20, 25, 51)
    expected = roc_auc_score(*labelled(inside.tolist(), outside.tolist()))
    assert auroc(inside, outside) == pytest.approx(expected, abs=1e-12)
    assert auroc(inside, outside) > 0.6


@given(inside=tied, outside=tied)
@pytest.mark.parametrize(
    "rising",
    [lambda x: 1000 * x, lambda x: x - 1e6, torch.exp, torch.atan, lambda x: x**3],
    ids=["scale", "shift", "exp", "atan", "cube"],
)
def test_no_monotone_map_changes_a_rank(
    rising: Callable[[Tensor], Tensor], inside: list[float], outside: list[float]
) -> None:
    first, second = double(inside), double(outside)
    for metric in (auroc, aupr, fpr_at_tpr):
        assert metric(rising(first), rising(second)) == metric(first, second)


def test_logits_with_a_graph_and_of_any_kind_are_ranked() -> None:
    inside, outside = torch.tensor([3, 1, 2]), torch.tensor([0, 1])
    expected = auroc(inside, outside)
    for kind in (torch.float16, torch.bfloat16, torch.float32):
        assert auroc(inside.to(kind).requires_grad_(), outside.to(kind).requires_grad_()) == expected
    assert aupr(inside.float().requires_grad_(), outside.float()) == aupr(inside, outside)
    assert fpr_at_tpr(inside.float().requires_grad_(), outside.float().requires_grad_()) == 0.5
    area = auroc_tensor(inside.float().requires_grad_(), outside.float())
    assert area.dtype == torch.float64
    assert not area.requires_grad


def test_area_of_two_normals_is_known(generator: torch.Generator) -> None:
    """AUROC = Phi(d / sqrt 2); with 4000 on each side its standard deviation is below 0.006."""
    inside, outside = normal(4000, mean=1.0, generator=generator), normal(4000, mean=0.0, generator=generator)
    assert auroc(inside, outside) == pytest.approx(stats.norm.cdf(1 / math.sqrt(2)), abs=0.018)


def test_interval_covers_the_true_area_as_often_as_it_says() -> None:
    """Phi(1 / sqrt 2) is in 95 % of the intervals; over 100 of them the count's standard deviation is 2.2."""
    generator = torch.Generator().manual_seed(7)
    truth = stats.norm.cdf(1 / math.sqrt(2))
    covered = 0
    for _ in range(100):
        inside, outside = normal(100, mean=1.0, generator=generator), normal(100, mean=0.0, generator=generator)
        low, high = auroc_interval(inside, outside, generator=generator, resamples=100)
        covered += low <= truth <= high
    assert covered >= 88


def test_interval_is_a_function_of_its_seed_and_widens_with_its_level(generator: torch.Generator) -> None:
    inside, outside = normal(60, mean=1.0, generator=generator), normal(40, mean=0.0, generator=generator)

    def interval(seed: int, level: float) -> tuple[float, float]:
        return auroc_interval(
            inside, outside, generator=torch.Generator().manual_seed(seed), level=level, resamples=200
        )

    assert interval(1, 0.9) == interval(1, 0.9)
    assert interval(1, 0.9) != interval(2, 0.9)
    wide, narrow = interval(1, 0.99), interval(1, 0.5)
    assert wide[0] < narrow[0] < auroc(inside, outside) < narrow[1] < wide[1]


def test_interval_of_perfect_separation_and_of_one_resample(generator: torch.Generator) -> None:
    assert auroc_interval(torch.ones(5), torch.zeros(5), generator=generator, resamples=9) == (1.0, 1.0)
    low, high = auroc_interval(torch.arange(9.0), torch.arange(9.0), generator=generator, resamples=1)
    assert low == high


@pytest.mark.parametrize(
    ("n", "tpr", "rank"),
    [
        (20, 0.95, 1),
        (100, 0.95, 5),
        (200, 0.95, 10),
        (19, 0.95, 0),
        (39, 0.95, 1),
        (10, 0.9, 1),  # (1 - 0.9) * 10 is 0.9999999999999998 in binary
        (100, 0.07, 93),  # 0.07 * 100 is 7.000000000000001
        (100, 0.29, 71),  # 0.29 * 100 is 28.999999999999996
        (1000, 0.999, 1),
        (20, 1.0, 0),
        (1, 0.95, 0),
        (1, 1e-12, 0),
        (5, 1e-12, 4),
    ],
)
def test_threshold_rejects_exactly_as_many_as_it_may(n: int, tpr: float, rank: int) -> None:
    logits = torch.arange(float(n)).flip(0)
    assert threshold_for_tpr(logits, tpr=tpr) == rank
    assert (logits >= rank).double().mean() >= tpr - 1e-12


@given(logits=st.one_of(tied, wild), tpr=st.floats(1e-12, 1.0))
def test_threshold_is_the_highest_that_accepts_enough(logits: list[float], tpr: float) -> None:
    """Enough is at least tpr, to a rounding of 1e-9 samples."""
    n, level = len(logits), threshold_for_tpr(double(logits), tpr=tpr)
    assert np.sum(np.array(logits) >= level) >= tpr * n - 1e-9
    higher = [value for value in logits if value > level]
    assert len(higher) < tpr * n


@pytest.mark.parametrize("metric", [auroc, aupr, fpr_at_tpr])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_logits_that_are_not_finite_are_refused(metric: Callable[[Tensor, Tensor], float], bad: float) -> None:
    with pytest.raises(ValueError, match="expected inside to be finite, got 1 values of 2 that are not"):
        metric(torch.tensor([0.0, bad]), torch.zeros(3))
    with pytest.raises(ValueError, match="expected outside to be finite, got 2 values of 3 that are not"):
        metric(torch.zeros(3), torch.tensor([bad, 0.0, bad]))


@pytest.mark.parametrize("metric", [auroc, aupr, fpr_at_tpr])
@pytest.mark.parametrize(
    "bad", [torch.zeros(0), torch.zeros(2, 1), torch.tensor(0.0)], ids=["empty", "column", "scalar"]
)
def test_logits_are_one_dimensional_and_some(metric: Callable[[Tensor, Tensor], float], bad: Tensor) -> None:
    with pytest.raises(ValueError, match=r"expected inside to be logits of shape \(N,\) with N >= 1, got \("):
        metric(bad, torch.zeros(3))
    with pytest.raises(ValueError, match=r"expected outside to be logits of shape \(N,\) with N >= 1, got \("):
        metric(torch.zeros(3), bad)


@pytest.mark.parametrize("tpr", [0.0, -0.5, 1.0001, math.nan])
def test_impossible_rates_are_refused(tpr: float) -> None:
    with pytest.raises(ValueError, match=r"expected tpr in \(0, 1\], got"):
        threshold_for_tpr(torch.zeros(3), tpr=tpr)
    with pytest.raises(ValueError, match=r"expected tpr in \(0, 1\], got"):
        fpr_at_tpr(torch.zeros(3), torch.zeros(3), tpr=tpr)


def test_threshold_refuses_what_is_no_logits() -> None:
    with pytest.raises(ValueError, match="expected inside to be finite"):
        threshold_for_tpr(torch.tensor([math.nan]))
    with pytest.raises(ValueError, match="expected inside to be logits"):
        threshold_for_tpr(torch.zeros(0))


def test_impossible_intervals_are_refused(generator: torch.Generator) -> None:
    ones = torch.ones(3)
    for level in (0.0, 1.0, math.nan):
        with pytest.raises(ValueError, match=r"expected level in \(0, 1\), got"):
            auroc_interval(ones, ones, generator=generator, level=level)
    with pytest.raises(ValueError, match="expected resamples to be at least 1, got 0"):
        auroc_interval(ones, ones, generator=generator, resamples=0)
    with pytest.raises(ValueError, match="expected outside to be finite"):
        auroc_interval(ones, ones * math.inf, generator=generator)
