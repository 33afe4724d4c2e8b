"""The logit under noise: bounds that are exact where the logit is linear, and that no attack passes."""

import math
from pathlib import Path

import pytest
import torch
from scipy import stats
from torch import Tensor, nn

import genat
from genat import ranking, runs
from genat.detection import Calibration
from genat.detection.smoothing import bounds, certified_auroc, medians, noisy_logits, robust_p_values
from genat.sources import digits

SIGMA, DRAWS, ERROR = 0.25, 4000, 1e-3
WEIGHTS = torch.tensor([0.6, -1.2, 0.0, 2.0], dtype=torch.float64)
NORM = WEIGHTS.norm().item()


def linear(x: Tensor) -> Tensor:
    return x @ WEIGHTS + 0.3


def points(n: int, *, seed: int = 0) -> Tensor:
    return torch.rand(n, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gaussian_rows(centres: Tensor, draws: int, *, seed: int) -> Tensor:
    """The sorted logits of a linear detector of norm 1 under noise of sigma 1, drawn as what they are."""
    noise = torch.randn(len(centres), draws, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (centres[:, None] + noise).sort(1).values


# bounds


@pytest.mark.parametrize("radius", [0.0, 0.1, 0.25, 0.5])
def test_bounds_are_exact_where_the_logit_is_linear(radius: float) -> None:
    """g(x + delta) = f(x) + w . delta, between f(x) - |w| eps and f(x) + |w| eps; draws add a little, never take."""
    x = points(20)
    low, high = bounds(noisy_logits(linear, x, sigma=SIGMA, draws=DRAWS), sigma=SIGMA, radius=radius)
    slack = 0.25 * NORM * SIGMA  # of a percentile of 4000 draws, at most
    assert (high >= linear(x) + NORM * radius).all()
    assert (high <= linear(x) + NORM * radius + slack).all()
    assert (low <= linear(x) - NORM * radius).all()
    assert (low >= linear(x) - NORM * radius - slack).all()


def test_bounds_widen_with_the_radius_and_hold_the_median() -> None:
    noisy = noisy_logits(lambda x: linear(x).sin(), points(10), sigma=SIGMA, draws=1000)
    before = bounds(noisy, sigma=SIGMA, radius=0.0)
    middle = medians(noisy)
    assert (before.lower < middle).all()
    assert (middle < before.upper).all()
    for radius in (0.05, 0.1, 0.2, 0.4, 0.6):
        wider = bounds(noisy, sigma=SIGMA, radius=radius)
        assert (wider.lower <= before.lower).all()
        assert (wider.upper >= before.upper).all()
        assert (wider.upper > wider.lower).all()
        before = wider


@pytest.mark.parametrize("confidence", [0.9, 0.999])
@pytest.mark.parametrize("draws", [50, 101, 1000])
def test_at_radius_zero_they_are_the_medians_confidence_interval(draws: int, confidence: float) -> None:
    """The oracle is scipy's quantile test."""
    row = gaussian_rows(torch.zeros(1), draws, seed=draws)
    theirs = stats.quantile_test(row[0].numpy(), q=0, p=0.5).confidence_interval(confidence)
    assert bounds(row, sigma=1.0, radius=0.0, confidence=confidence) == (theirs.low, theirs.high)


@pytest.mark.parametrize("radius", [0.0, 0.3, 1.0, 1.5])
@pytest.mark.parametrize("draws", [200, 1000])
def test_ranks_are_the_least_that_hold_their_word(draws: int, radius: float) -> None:
    """P(Bin(n, p) >= u) <= error / 2 at the upper rank u and not at u - 1; the lower rank mirrors it."""
    ranks = torch.arange(1.0, draws + 1, dtype=torch.float64)[None]
    low, high = bounds(ranks, sigma=1.0, radius=radius, confidence=1 - ERROR)
    u, level = int(high), stats.norm.cdf(radius)
    assert stats.binom.sf(u - 1, draws, level) <= ERROR / 2 < stats.binom.sf(u - 2, draws, level)
    assert int(low) == draws + 1 - u
    assert stats.binom.cdf(int(low) - 1, draws, 1 - level) <= ERROR / 2


def test_bounds_fail_as_rarely_as_they_say() -> None:
    """Both hold together for at least 0.9 of 4000 images, less four standard errors; the ranks' grid leaves little."""
    low, high = bounds(gaussian_rows(torch.zeros(4000), 200, seed=1), sigma=1.0, radius=0.5, confidence=0.9)
    held = ((low <= -0.5) & (high >= 0.5)).double().mean().item()
    assert 0.9 - 4 * math.sqrt(0.09 / 4000) <= held <= 0.95


def test_a_logit_of_two_values_jumps_where_the_bound_says() -> None:
    """f = 1 where x > 0: the median at x - eps is 1 exactly while x > eps, and bounds see that from x."""

    def step(x: Tensor) -> Tensor:
        return (x[:, 0] > 0).double()

    x = torch.tensor([[0.25], [0.15]], dtype=torch.float64)
    low, high = bounds(noisy_logits(step, x, sigma=0.2, draws=DRAWS), sigma=0.2, radius=0.2)
    assert low.tolist() == [1.0, 0.0]
    assert high.tolist() == [1.0, 1.0]


# attacks


@pytest.fixture(scope="module")
def small(trained_once: Path) -> nn.Module:
    return runs.load(trained_once).detector


def _attack(detector: nn.Module, x: Tensor, *, radius: float, down: bool) -> Tensor:
    """Climb, or descend, the median over common noise by steepest ascent inside the ball, without a box."""
    noise = torch.randn(101, *x.shape[1:], generator=torch.Generator().manual_seed(9))

    def smoothed(images: Tensor) -> Tensor:
        noisy = (images[:, None] + SIGMA * noise).flatten(0, 1)
        middle: Tensor = detector(noisy).view(len(images), len(noise)).median(1).values
        return -middle if down else middle

    return genat.ascend(smoothed, x, ball=genat.L2Ball(radius), steps=15, step_size=radius / 4, box=None, keep="best")


@pytest.mark.parametrize("down", [False, True])
def test_no_attack_passes_a_bound(small: nn.Module, *, down: bool) -> None:
    """And the attack is one: it goes a third of the way to the bound and more, for the median image."""
    radius = SIGMA
    generator = torch.Generator().manual_seed(2)
    x = digits("test").tensor()[:12] if down else torch.rand(12, 1, 8, 8, generator=generator)
    clean = noisy_logits(small, x, sigma=SIGMA, draws=1000)
    limit = bounds(clean, sigma=SIGMA, radius=radius)
    attacked = _attack(small, x, radius=radius, down=down)
    assert ((attacked - x).flatten(1).norm(dim=1) <= radius * (1 + 1e-5)).all()
    there = noisy_logits(small, attacked, sigma=SIGMA, draws=1000, seed=5)
    found = bounds(there, sigma=SIGMA, radius=0.0)
    start, end = medians(clean), medians(there)
    if down:
        assert (found.upper >= limit.lower).all()
        assert (end >= limit.lower).all()
        share = (start - end) / (start - limit.lower)
    else:
        assert (found.lower <= limit.upper).all()
        assert (end <= limit.upper).all()
        share = (end - start) / (limit.upper - start)
    assert share.median() > 1 / 3


# conformal


@pytest.mark.parametrize("draws", [101, 1000])
def test_robust_p_values_hold_for_perturbed_target_data(draws: int) -> None:
    """The worst perturbation of a linear logit takes eps off every logit; the plain p-value breaks its word there."""
    n, tests, alpha, radius, generator = 99, 20, 0.1, 0.5, torch.Generator().manual_seed(3)
    robust = plain = 0
    for seed in range(60):
        data = 2 * torch.randn(n + tests, generator=generator, dtype=torch.float64)
        calibration = Calibration(medians(gaussian_rows(data[:n], draws, seed=2 * seed)))
        perturbed = gaussian_rows(data[n:] - radius, draws, seed=2 * seed + 1)
        robust += int((robust_p_values(calibration, perturbed, sigma=1.0, radius=radius) <= alpha).sum())
        plain += int((calibration.p_values(medians(perturbed)) <= alpha).sum())
    error = 3 * math.sqrt(alpha / (60 * tests)) + 0.02  # of the tests, and of 60 calibration sets
    assert robust / (60 * tests) <= alpha
    assert plain / (60 * tests) > alpha + error


def test_robust_p_values_are_never_below_the_plain_and_rise_with_the_radius() -> None:
    calibration = Calibration(torch.linspace(-3, 3, 199))
    rows = gaussian_rows(torch.linspace(-5, 5, 30), 500, seed=0)
    before = calibration.p_values(medians(rows))
    for radius in (0.0, 0.2, 0.7, 1.2):
        p = robust_p_values(calibration, rows, sigma=1.0, radius=radius)
        assert (p >= before).all()
        assert p.mean() > before.mean()
        assert (p <= 1).all()
        assert p.dtype == torch.float64
        before = p


@pytest.mark.parametrize("draws", [101, 400])
def test_the_bound_behind_robust_p_values_covers_both_medians(draws: int) -> None:
    """Of 4000 clean medians and 4000 images moved by eps: pairs are covered as often as the confidence says, and more.

    The calibration is the clean medians and twice as many out of reach, so that no p-value comes near 1.
    """
    clean = medians(gaussian_rows(torch.zeros(4000), draws, seed=10))
    calibration = Calibration(torch.cat([clean, torch.full((8000,), 1e6)]))
    moved = gaussian_rows(torch.full((4000,), -0.5), draws, seed=11)
    p = robust_p_values(calibration, moved, sigma=1.0, radius=0.5, confidence=0.8)
    covered = ((p - 0.2) * 12001 - 1) / 4000
    assert covered.max() <= 1 + 1e-9
    assert 0.8 <= covered.mean() < 1


# AUROC


def test_the_certified_auroc_is_that_of_the_worst_shift() -> None:
    inside, outside = points(60) + 0.4, points(60, seed=1)
    rows = [noisy_logits(linear, x, sigma=SIGMA, draws=DRAWS) for x in (inside, outside)]
    previous = ranking.auroc(medians(rows[0]), medians(rows[1]))
    for radius in (0.0, 0.1, 0.3):
        exact = ranking.auroc(linear(inside), linear(outside) + NORM * radius)
        certified = certified_auroc(rows[0], rows[1], sigma=SIGMA, radius=radius)
        assert exact - 0.1 < certified <= exact
        assert certified <= previous
        previous = certified


# noise


def test_noise_depends_on_the_image_alone() -> None:
    x = torch.rand(5, 1, 3, 3, generator=torch.Generator().manual_seed(0))

    def detector(images: Tensor) -> Tensor:
        return images.double().flatten(1).pow(2).sum(1)

    whole = noisy_logits(detector, x, sigma=SIGMA, draws=150)
    assert torch.equal(whole, whole.sort(1).values)
    order = torch.tensor([3, 0, 4])
    for batch_size in (1, 7, 1000):
        assert torch.equal(
            noisy_logits(detector, x[order], sigma=SIGMA, draws=150, batch_size=batch_size), whole[order]
        )
    assert not torch.equal(noisy_logits(detector, x, sigma=SIGMA, draws=150, seed=1), whole)
    moved = noisy_logits(detector, x.nextafter(torch.ones(())), sigma=SIGMA, draws=150)
    assert (moved - whole).abs().median() > 1e-3  # other noise, not the image's tiny move


def test_noise_is_gaussian_and_of_its_size() -> None:
    noise = noisy_logits(lambda x: x[:, 0], torch.zeros(1, 1, dtype=torch.float64), sigma=0.3, draws=5000)[0] / 0.3
    assert stats.kstest(noise.numpy(), "norm").pvalue > 0.01


def test_medians_are_the_lower_ones() -> None:
    assert medians(torch.tensor([[1.0, 2.0, 3.0], [4.0, 4.0, 9.0]])).tolist() == [2.0, 4.0]
    assert medians(torch.tensor([[1.0, 2.0]])).tolist() == [1.0]


# refusals


def test_impossible_noise_is_refused() -> None:
    x = points(2)
    for sigma in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="expected sigma to be positive and finite, got"):
            noisy_logits(linear, x, sigma=sigma)
        with pytest.raises(ValueError, match="expected sigma to be positive and finite, got"):
            bounds(torch.zeros(1, 100), sigma=sigma, radius=0.1)
    with pytest.raises(ValueError, match="expected draws to be at least 1, got 0"):
        noisy_logits(linear, x, sigma=1.0, draws=0)
    with pytest.raises(ValueError, match="expected seed to be at least 0, got -1"):
        noisy_logits(linear, x, sigma=1.0, seed=-1)
    with pytest.raises(ValueError, match="expected batch_size to be at least 1, got 0"):
        noisy_logits(linear, x, sigma=1.0, batch_size=0)
    with pytest.raises(ValueError, match=r"expected images \(N, \*\), floating point, got \(4,\) torch.float64"):
        noisy_logits(linear, x[0], sigma=1.0)
    with pytest.raises(ValueError, match="expected finite logits of noisy images, got some that are not"):
        noisy_logits(lambda x: x.sum(1) / 0, x, sigma=1.0)


def test_impossible_certificates_are_refused() -> None:
    rows = torch.zeros(2, 100)
    for radius in (-0.1, math.inf, math.nan):
        with pytest.raises(ValueError, match="expected radius to be at least 0 and finite, got"):
            bounds(rows, sigma=1.0, radius=radius)
    for confidence in (0.0, 1.0):
        with pytest.raises(ValueError, match=r"expected confidence in \(0, 1\), got"):
            bounds(rows, sigma=1.0, radius=0.1, confidence=confidence)
    for bad in (torch.zeros(3), torch.zeros(3, 0)):
        with pytest.raises(ValueError, match=r"expected noisy logits \(N, n\) with n >= 1, got \(3"):
            medians(bad)


@pytest.mark.parametrize("draws", [10, 40])
def test_too_few_draws_certify_nothing_and_so_many_would_do(draws: int) -> None:
    rows = gaussian_rows(torch.zeros(1), draws, seed=0)
    with pytest.raises(ValueError, match=r"expected \d+ draws or a larger sigma to certify radius 1.0") as refused:
        bounds(rows, sigma=1.0, radius=1.0)
    needed = int(str(refused.value).split()[1])
    assert str(refused.value).endswith(f"with sigma 1.0, got {draws} draws")
    with pytest.raises(ValueError, match=f"got {needed - 1} draws"):
        bounds(gaussian_rows(torch.zeros(1), needed - 1, seed=0), sigma=1.0, radius=1.0)
    enough = gaussian_rows(torch.zeros(1), needed, seed=0)
    assert bounds(enough, sigma=1.0, radius=1.0).upper.item() == enough.max().item()


def test_a_radius_of_many_sigmas_needs_a_larger_sigma() -> None:
    for sigma in (0.01, 0.15):
        with pytest.raises(
            ValueError, match=f"expected a larger sigma to certify radius 1.0 with sigma {sigma}, got 100"
        ):
            bounds(torch.zeros(1, 100), sigma=sigma, radius=1.0)
        with pytest.raises(ValueError, match=r"expected a larger sigma to certify radius 1\.0"):
            robust_p_values(Calibration(torch.zeros(9)), torch.zeros(1, 100), sigma=sigma, radius=1.0)
