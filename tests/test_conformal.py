"""How often target data are called out of distribution: the law, on held-out data split anew each time."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from genat import runs
from genat.detection import Calibration, logits
from genat.sources import digits

RESAMPLES = 500
LEVELS = (0.01, 0.05, 0.1)


def _false_alarms(pool: Tensor, n: int, alpha: float, *, seed: int = 0) -> Tensor:
    """Return how many of the rest are rejected when n of a pool, drawn at random, calibrate; anew each time."""
    generator = torch.Generator().manual_seed(seed)
    counts = []
    for _ in range(RESAMPLES):
        order = torch.randperm(len(pool), generator=generator)
        calibration = Calibration(pool[order[:n]])
        rejected = ~calibration.predict(pool[order[n:]], alpha=alpha).in_distribution
        assert torch.equal(rejected, calibration.p_values(pool[order[n:]]) <= alpha)
        counts.append(int(rejected.sum()))
    return torch.tensor(counts)


def _randomised_pit(counts: Tensor, law: stats.rv_discrete, *, seed: int = 0) -> np.ndarray:
    """Return U(F(x-), F(x)) for each count: uniform if, and only if, the counts have the law."""
    u = np.random.default_rng(seed).random(len(counts))
    below, at = law.cdf(counts.numpy() - 1), law.pmf(counts.numpy())
    return np.asarray(below + u * at)


@pytest.fixture(scope="module")
def pools(trained_once: Path) -> dict[str, Tensor]:
    """Scores without ties: a trained detector's of held-out digits, and synthetic ones with a heavy tail."""
    run = runs.load(trained_once)
    held_out = torch.from_numpy(np.unique(logits(run.detector, digits("test").tensor()).numpy()))
    synthetic = torch.from_numpy(stats.cauchy.ppf(np.linspace(0.001, 0.999, 500)))
    return {"digits": held_out, "cauchy": synthetic}


@pytest.mark.parametrize("alpha", LEVELS)
@pytest.mark.parametrize("name", ["digits", "cauchy"])
def test_false_alarms_have_the_beta_binomial_law(pools: dict[str, Tensor], name: str, alpha: float) -> None:
    """Of m new scores, k = floor(alpha (n + 1)): BetaBinomial(m, k, n + 1 - k), exactly, as no two scores are equal."""
    pool, n = pools[name], 230
    m, k = len(pool) - n, math.floor(alpha * (n + 1))
    assert m > 200
    law = stats.betabinom(m, k, n + 1 - k)
    counts = _false_alarms(pool, n, alpha)
    rates = counts.double() / m
    assert law.mean() / m == pytest.approx(k / (n + 1))
    assert abs(rates.mean().item() - k / (n + 1)) <= 3 * law.std() / m / math.sqrt(RESAMPLES)
    assert stats.kstest(_randomised_pit(counts, law), "uniform").pvalue > 0.01


@pytest.mark.parametrize("wrong", [-1, 1])
def test_the_law_is_told_from_its_neighbours(pools: dict[str, Tensor], wrong: int) -> None:
    """The tests above would see a rank too low or too high."""
    pool, n, k = pools["cauchy"], 230, 11 + wrong
    counts = _false_alarms(pool, n, 0.05)
    law = stats.betabinom(len(pool) - n, k, n + 1 - k)
    assert stats.kstest(_randomised_pit(counts, law), "uniform").pvalue < 0.01


@pytest.mark.parametrize("alpha", LEVELS)
def test_with_ties_there_are_fewer_false_alarms(pools: dict[str, Tensor], alpha: float) -> None:
    """Rounded scores reject no split's score that the exact ones do not: at every split, and so on the whole."""
    pool, n = pools["digits"], 230
    exact, tied = _false_alarms(pool, n, alpha), _false_alarms(pool.round(decimals=1), n, alpha)
    assert len(set(pool.round(decimals=1).tolist())) < len(pool) / 3
    assert (tied <= exact).all()
    assert tied.sum() < exact.sum()


def test_all_scores_alike_are_never_rejected() -> None:
    assert _false_alarms(torch.zeros(60), 30, 0.1).sum() == 0


@pytest.mark.parametrize("alpha", LEVELS)
def test_the_share_this_set_rejects_lies_in_its_interval_as_often_as_it_says(alpha: float) -> None:
    """Scores are uniform, so that the share is the threshold itself; 2000 sets, four standard errors."""
    generator = torch.Generator().manual_seed(0)
    inside = 0
    for _ in range(2000):
        calibration = Calibration(torch.rand(150, generator=generator, dtype=torch.float64))
        low, high = calibration.false_alarm_interval(alpha, level=0.9)
        inside += low <= calibration.threshold_at(alpha) <= high
    assert inside / 2000 == pytest.approx(0.9, abs=4 * math.sqrt(0.09 / 2000))


@pytest.mark.parametrize("n", [1, 19, 99, 240])
@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.07, 0.1, 0.29, 0.5, 0.57, 0.999])
def test_thresholds_reject_what_p_values_reject(n: int, alpha: float) -> None:
    """To the float: 0.29 * 100 is less than 29, and 29 / 100 is 0.29."""
    values = torch.randn(n, generator=torch.Generator().manual_seed(n), dtype=torch.float64)
    calibration = Calibration(values)
    probe = torch.cat([values, values.nextafter(values - 1), values.nextafter(values + 1)])
    if 1 / (n + 1) > alpha:
        assert (calibration.p_values(probe) > alpha).all()
        with pytest.raises(ValueError, match=f"to reject at level {alpha}, got {n}$"):
            calibration.threshold_at(alpha)
        return
    threshold = calibration.threshold_at(alpha)
    assert torch.equal(calibration.p_values(probe) <= alpha, probe < threshold)


@pytest.mark.parametrize(("alpha", "least"), [(0.01, 99), (0.05, 19), (0.1, 9), (0.3, 3), (0.001, 999), (0.02, 49)])
def test_too_few_can_never_reject_and_are_refused(alpha: float, least: int) -> None:
    message = f"expected at least {least} held-out images to reject at level {alpha}, got {least - 1}"
    too_few = Calibration(torch.arange(float(least - 1)))
    with pytest.raises(ValueError, match=message):
        too_few.threshold_at(alpha)
    with pytest.raises(ValueError, match=message):
        too_few.false_alarm_interval(alpha)
    with pytest.raises(ValueError, match=message):
        too_few.predict(torch.zeros(1), alpha=alpha)
    enough = Calibration(torch.arange(float(least)))
    assert enough.predict(torch.tensor([-1.0, 0.0]), alpha=alpha).in_distribution.tolist() == [False, True]


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1, math.nan])
def test_impossible_levels_are_refused(alpha: float) -> None:
    with pytest.raises(ValueError, match=r"expected alpha in \(0, 1\), got"):
        Calibration(torch.zeros(9)).threshold_at(alpha)
    with pytest.raises(ValueError, match=r"expected level in \(0, 1\), got"):
        Calibration(torch.zeros(9)).false_alarm_interval(0.5, level=alpha)
