"""Nearest neighbours: distances by blocks, precision and its kin, diversity, memorisation."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from genat.evaluation.fidelity import Neighbourhood, distances, diversity, mean_distance, memorisation, nearest
from genat.evaluation.fidelity import neighbourhood as measured


def normal(generator: torch.Generator, n: int, d: int = 3) -> Tensor:
    return torch.randn(n, d, generator=generator, dtype=torch.float64)


@pytest.fixture(params=[1, 7 * 20, 2**23], ids=["a row a block", "uneven blocks", "one block"])
def _blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distances, "_ELEMENTS", request.param)


# distances


@pytest.mark.usefixtures("_blocks")
def test_the_nearest_are_those_of_all_distances(generator: torch.Generator) -> None:
    points, others = normal(generator, 23, 4).view(23, 2, 2), normal(generator, 20, 4).view(20, 2, 2)
    every = torch.cdist(points.flatten(1), others.flatten(1), compute_mode="donot_use_mm_for_euclid_dist")
    found, indices = nearest(points, others)
    torch.testing.assert_close(found, every.min(dim=1).values, rtol=1e-12, atol=0)
    assert torch.equal(indices, every.argmin(dim=1))


def test_a_copy_is_at_distance_zero_exactly(generator: torch.Generator) -> None:
    others = torch.rand(50, 3, 8, 8, generator=generator)
    chosen = torch.randperm(50, generator=generator)[:20]
    found, indices = nearest(others[chosen], others)
    assert torch.equal(found, torch.zeros(20, dtype=torch.float64))
    assert torch.equal(indices, chosen)


@pytest.mark.usefixtures("_blocks")
def test_the_mean_distance_is_over_pairs(generator: torch.Generator) -> None:
    points = normal(generator, 20)
    assert mean_distance(points) == pytest.approx(torch.pdist(points).mean().item(), rel=1e-12)


def test_diversity_is_relative_and_blind_to_place(generator: torch.Generator) -> None:
    real = normal(generator, 20)
    assert diversity(real, real) == 1.0
    assert diversity(3 * real + 7, real) == pytest.approx(3.0, rel=1e-9)
    assert diversity(real[:1].repeat(5, 1), real) == pytest.approx(0.0, abs=1e-6)  # rounding of a matrix product


def test_points_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected points and others of one shape, got \(2, 3\) and \(2, 4\)"):
        nearest(torch.zeros(2, 3), torch.zeros(2, 4))
    with pytest.raises(ValueError, match="expected points and others of one shape"):
        nearest(torch.zeros(2, 3), torch.zeros(0, 3))
    with pytest.raises(ValueError, match=r"expected at least 2 samples and real images of one shape, got \(1, 3\) and"):
        diversity(torch.zeros(1, 3), torch.zeros(2, 3))
    with pytest.raises(ValueError, match="expected real images that differ, got one alone repeated"):
        diversity(torch.zeros(2, 3), torch.ones(2, 3))


# precision, recall, density, coverage

LINE = torch.tensor([[0.0], [1.0], [3.0], [7.0]])


# k = 1: the real balls are [-1, 1], [0, 2], [1, 5] and [3, 11]; k = 2: [-3, 3], [-1, 3], [0, 6] and [1, 13]
@pytest.mark.parametrize(
    ("samples", "k", "expected"),
    [
        # -1 in the first ball and 0.5 in the first two, the others in none; the samples' reach up to 2 from -4 and -1
        ([-1.0, 0.5, 20.0, 21.0], 1, (2 / 4, 2 / 4, 3 / 4, 2 / 4)),
        # in 3, 2, 2 and 2 balls, with all of them hit; the samples' own balls hold 1 alone
        ([1.0, 1.5, 4.5, 4.75], 1, (1.0, 1 / 4, 9 / 4, 1.0)),
        ([100.0, 101.0, 102.0, 103.0], 1, (0.0, 0.0, 0.0, 0.0)),
        # in 1, 4 and 1 balls of 2 neighbours
        ([-2.0, 2.0, 8.0], 2, (1.0, 1.0, 6 / (2 * 3), 1.0)),
    ],
)
def test_cases_by_hand(samples: list[float], k: int, expected: tuple[float, ...]) -> None:
    found = measured(torch.tensor(samples)[:, None], LINE, k=k)
    assert (found.precision, found.recall, found.density, found.coverage) == pytest.approx(expected, rel=1e-12)
    assert found.k == k


@pytest.mark.usefixtures("_blocks")
@pytest.mark.parametrize("k", [1, 3, 5])
def test_it_is_the_authors_definition_over_all_pairs(generator: torch.Generator, k: int) -> None:
    real, samples = normal(generator, 20), normal(generator, 31) + 0.8
    r = [sorted(math.dist(x, y) for y in real)[k] for x in real]  # the nearest is x itself
    s = [sorted(math.dist(x, y) for y in samples)[k] for x in samples]
    far = [[math.dist(x, y) for y in samples] for x in real]
    inside = [[far[i][j] <= r[i] for j in range(31)] for i in range(20)]
    expected = Neighbourhood(
        precision=sum(any(inside[i][j] for i in range(20)) for j in range(31)) / 31,
        recall=sum(any(far[i][j] <= s[j] for j in range(31)) for i in range(20)) / 20,
        density=sum(map(sum, inside)) / (k * 31),
        coverage=sum(map(any, inside)) / 20,
        k=k,
    )
    found = measured(samples, real, k=k)
    assert found.density == pytest.approx(expected.density, rel=1e-12)
    assert (found.precision, found.recall, found.coverage) == pytest.approx(
        (expected.precision, expected.recall, expected.coverage), rel=1e-12
    )


def test_a_set_among_itself_is_all_there(generator: torch.Generator) -> None:
    x = normal(generator, 20)
    found = measured(x, x)
    assert (found.precision, found.recall, found.coverage) == (1.0, 1.0, 1.0)


def test_one_distribution_has_density_one_and_the_coverage_of_the_lemma(generator: torch.Generator) -> None:
    """Whatever the distribution: E coverage = 1 - prod (n - i) / (n + m - i), i = 1 .. k."""
    k, n, m = 3, 40, 30  # n real, m samples
    drawn = [measured(normal(generator, m), normal(generator, n), k=k) for _ in range(200)]
    lemma = 1 - math.prod((n - i) / (n + m - i) for i in range(1, k + 1))
    for name, expected in (("density", 1.0), ("coverage", lemma)):
        values = torch.tensor([getattr(found, name) for found in drawn], dtype=torch.float64)
        assert (values.mean() - expected).abs() < 3 * values.std() / math.sqrt(len(values))


def test_scale_place_axes_and_order_make_no_difference(generator: torch.Generator) -> None:
    real, samples = normal(generator, 30), normal(generator, 30) + 0.5
    turn = torch.linalg.qr(normal(generator, 3, 3)).Q
    order = torch.randperm(30, generator=generator)
    base = measured(samples, real)
    assert measured((samples @ turn)[order] * 3 + 2, (real @ turn) * 3 + 2) == base


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": 0}, "expected k to be at least 1, got 0"),
        ({"samples": torch.zeros(5, 2)}, r"expected samples of shape \(n, d\) with n >= 6, got \(5, 2\)"),
        ({"real": torch.full((9, 2), math.inf)}, "expected real to be finite"),
        ({"real": torch.zeros(9, 3)}, "expected features of one width, got 2 and 3"),
    ],
)
def test_a_neighbourhood_needs_neighbours(change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"samples": torch.zeros(9, 2), "real": torch.zeros(9, 2), "k": 5}
    with pytest.raises(ValueError, match=message):
        measured(**(arguments | change))


# memorisation


def test_copies_have_ratio_zero_and_new_draws_about_one(generator: torch.Generator) -> None:
    train, held_out, new = (torch.rand(200, 1, 2, 3, generator=generator) for _ in range(3))
    copied = memorisation(train[50:90], held_out, train)
    assert (copied.ratio.value, copied.median, copied.close) == (0.0, 0.0, 1.0)
    assert copied.ratio.error == 0.0
    assert copied.indices.tolist() == list(range(50, 90))
    fresh = memorisation(new, held_out, train)
    assert abs(fresh.ratio.value - 1) < 3 * fresh.ratio.error
    assert 0.02 < fresh.ratio.error < 0.06
    assert fresh.median == pytest.approx(1.0, abs=0.15)
    assert fresh.close == pytest.approx(0.05, abs=0.05)


def test_a_few_copies_show_though_the_ratio_hides_them(generator: torch.Generator) -> None:
    train, held_out, new = (torch.rand(200, 6, generator=generator) for _ in range(3))
    found = memorisation(torch.cat((train[:40], 1.3 * new[:160])), held_out, train)
    assert found.ratio.value > 0.8
    assert found.close >= 0.2


def test_the_ratios_error_is_the_spread_of_new_draws(generator: torch.Generator) -> None:
    train = normal(generator, 150)
    found = [memorisation(normal(generator, 60), normal(generator, 80), train).ratio for _ in range(150)]
    values, errors = (torch.tensor(column) for column in zip(*((f.value, f.error) for f in found), strict=True))
    assert 0.8 < (errors.mean() / values.std()).item() < 1.25


def test_memorisation_needs_held_out_images() -> None:
    train = torch.arange(9.0)[:, None]
    with pytest.raises(ValueError, match="expected held-out images that are no training images, got copies for half"):
        memorisation(train + 0.5, train, train)
    with pytest.raises(ValueError, match="expected at least 2 samples and held-out images, got 1 and 9"):
        memorisation(train[:1], train, train)
    with pytest.raises(ValueError, match="expected points and others of one shape"):
        memorisation(train, train, torch.zeros(9, 2))
