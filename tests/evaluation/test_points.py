"""Metrics of points against closed forms, brute force, SciPy and scikit-learn."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import jaccard_score
from torch import Tensor

from genat.evaluation.points import (
    best_iou,
    box_iou,
    cell_share,
    energy_distance,
    iou,
    lattice,
    mode_report,
    sliced_wasserstein,
    window,
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(n: int, d: int = 2, seed: int = 0) -> Tensor:
    return torch.randn(n, d, generator=seeded(seed), dtype=torch.float64)


# modes


def test_a_mode_needs_one_sample_of_high_quality() -> None:
    centers = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    samples = torch.tensor([[0.0, 0.1], [0.0, -0.1], [1.1, 0.0], [0.5, 0.5], [0.0, 0.7], [9.0, 9.0]])
    assert mode_report(samples, centers, 0.101) == (2, 0.5)
    assert mode_report(samples, centers, 0.301) == (3, 4 / 6)
    assert mode_report(samples, centers, 0.05) == (0, 0.0)


def test_a_sample_counts_for_its_nearest_mode_alone() -> None:
    centers = torch.tensor([[0.0], [0.1]])
    assert mode_report(torch.tensor([[0.04]]), centers, 1.0) == (1, 1.0)


def test_gaussian_samples_are_of_high_quality_as_often_as_theory_says() -> None:
    samples = normal(20000)
    found, share = mode_report(samples, torch.zeros(1, 2), 3.0)
    assert found == 1
    assert abs(share - (1 - math.exp(-4.5))) < 5 * math.sqrt(math.exp(-4.5) / 20000)


# cells


def test_a_lattice_is_the_cells_centers_the_first_coordinate_fastest() -> None:
    cells = lattice(3)
    assert cells.dtype == torch.float32
    right, up = cells.view(3, 3, 2).unbind(-1)
    line = torch.tensor([1 / 6, 1 / 2, 5 / 6])
    torch.testing.assert_close(right, line.expand(3, 3))
    torch.testing.assert_close(up, line[:, None].expand(3, 3))
    torch.testing.assert_close(lattice(3, 1)[:, 0], line)
    assert lattice(2, 3).shape == (8, 3)
    assert lattice(2, 3)[1].tolist() == [0.75, 0.25, 0.25]


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_the_centers_of_the_cells_hit_each_cell(dim: int) -> None:
    cells = lattice(4, dim)
    everything = torch.ones(len(cells), dtype=torch.bool)
    assert cell_share(cells, everything) == 1
    for i in range(len(cells)):
        alone = torch.zeros_like(everything)
        alone[i] = True
        assert cell_share(cells[i : i + 1], alone) == 1
        assert cell_share(cells[i : i + 1], everything) == 1 / len(cells)


def test_samples_outside_the_box_hit_nothing() -> None:
    samples = torch.tensor([[-0.01, 0.5], [0.5, 1.0], [1.2, 0.1], [0.5, -3.0]])
    assert cell_share(samples, torch.ones(4, dtype=torch.bool)) == 0


def test_samples_beside_the_support_do_not_count() -> None:
    support = torch.tensor([True, False, False, False])
    assert cell_share(torch.tensor([[0.9, 0.9]]), support) == 0
    assert cell_share(torch.tensor([[0.9, 0.9], [0.4, 0.4]]), support) == 1


def test_uniform_samples_leave_as_many_cells_empty_as_theory_says() -> None:
    samples = torch.rand(2048, 2, generator=seeded())
    share = cell_share(samples, torch.ones(32**2, dtype=torch.bool))
    expected = 1 - (1 - 1 / 1024) ** 2048  # .865, deviation about .008
    assert abs(share - expected) < 0.04


# distances


def test_two_point_masses_are_twice_their_distance_apart_in_energy() -> None:
    a, b = torch.tensor([[1.0, 2.0]]), torch.tensor([[4.0, 6.0]])
    assert energy_distance(a, b) == 10
    assert energy_distance(a.expand(3, 2), b.expand(7, 2)) == pytest.approx(10, abs=1e-12)


def test_equal_samples_are_nothing_apart() -> None:
    a = normal(300).float()
    assert energy_distance(a, a.flip(0)) == pytest.approx(0, abs=1e-12)
    assert sliced_wasserstein(a, a.flip(0), generator=seeded()) == pytest.approx(0, abs=1e-12)
    assert sliced_wasserstein(a, a.repeat(2, 1), generator=seeded()) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("n", "m"), [(1, 1), (5, 5), (40, 70), (64, 63)])
def test_on_the_line_both_distances_are_those_of_scipy(n: int, m: int) -> None:
    a, b = normal(n, 1, seed=1), 0.5 * normal(m, 1, seed=2) + 0.3
    line_a, line_b = a[:, 0].numpy(), b[:, 0].numpy()
    assert energy_distance(a, b) == pytest.approx(stats.energy_distance(line_a, line_b) ** 2, abs=1e-12)
    sliced = sliced_wasserstein(a, b, generator=seeded(), projections=3)
    assert sliced == pytest.approx(stats.wasserstein_distance(line_a, line_b), abs=1e-12)


def test_energy_is_the_mean_over_pairs() -> None:
    a, b = normal(30), normal(20, seed=1)
    between = sum(math.dist(p, q) for p in a.tolist() for q in b.tolist()) / 600
    within_a = sum(math.dist(p, q) for p in a.tolist() for q in a.tolist()) / 900
    within_b = sum(math.dist(p, q) for p in b.tolist() for q in b.tolist()) / 400
    assert energy_distance(a, b) == pytest.approx(2 * between - within_a - within_b, abs=1e-12)
    assert energy_distance(b, a) == pytest.approx(energy_distance(a, b), abs=1e-12)


def test_energy_sees_points_that_nearly_coincide_far_from_the_origin() -> None:
    a = torch.tensor([[1e3, 1e3]], dtype=torch.float64)
    assert energy_distance(a, a + 1e-6) == pytest.approx(2e-6 * math.sqrt(2), rel=1e-6)


def test_energy_of_large_samples_is_the_same_in_parts() -> None:
    a, b = normal(3000, 1), normal(2900, 1, seed=1)
    expected = stats.energy_distance(a[:, 0].numpy(), b[:, 0].numpy()) ** 2
    assert energy_distance(a, b) == pytest.approx(expected, abs=1e-11)


def test_a_shift_in_the_plane_is_two_over_pi_of_its_length_on_average() -> None:
    a, shift = normal(100), torch.tensor([3.0, 4.0], dtype=torch.float64)
    distance = sliced_wasserstein(a, a + shift, generator=seeded(), projections=4096)
    # |cos| has mean 2 / pi and deviation .308: five of them over 4096 directions, times 5.
    assert distance == pytest.approx(5 * 2 / math.pi, abs=5 * 5 * 0.308 / 64)
    assert sliced_wasserstein(2 * a, 2 * a + 2 * shift, generator=seeded(), projections=4096) == pytest.approx(
        2 * distance, rel=1e-12
    )


def test_a_shared_set_of_directions_is_a_function_of_the_generator() -> None:
    a, b = normal(50), normal(70, seed=1)
    assert sliced_wasserstein(a, b, generator=seeded(3)) == sliced_wasserstein(a, b, generator=seeded(3))
    assert sliced_wasserstein(a, b, generator=seeded(3)) != sliced_wasserstein(a, b, generator=seeded(4))
    assert sliced_wasserstein(b, a, generator=seeded(3)) == pytest.approx(
        sliced_wasserstein(a, b, generator=seeded(3)), abs=1e-12
    )


# intersection over union


def brute(logits: Tensor, support: Tensor) -> tuple[float, float]:
    """The best IoU, and the highest threshold with it, one threshold at a time."""
    thresholds = sorted(set(logits.tolist()), reverse=True)
    best = max(thresholds, key=lambda t: iou(logits >= t, support))  # the first of equals
    return iou(logits >= best, support), best


cases = st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=1, max_size=40).filter(
    lambda cells: any(inside for _, inside in cells)
)


@given(cases)
def test_the_best_threshold_is_the_best_of_all(cells: list[tuple[int, bool]]) -> None:
    logits = torch.tensor([float(value) for value, _ in cells])
    support = torch.tensor([inside for _, inside in cells])
    assert best_iou(logits, support) == brute(logits, support)
    assert best_iou(2 * logits + 5, support)[0] == best_iou(logits, support)[0]


def test_a_logit_that_knows_the_support_reaches_one() -> None:
    support = lattice(50).sub(0.5).norm(dim=1) < 0.3
    logits = 40 + 1e-6 * support.double()  # a sigmoid in single precision would not tell them apart
    assert best_iou(logits, support) == (1.0, 40 + 1e-6)


def test_a_constant_logit_selects_everything() -> None:
    support = torch.tensor([True, False, False, False])
    assert best_iou(torch.zeros(4), support) == (0.25, 0.0)


def test_the_best_iou_of_many_cells_is_that_of_its_threshold() -> None:
    generator = seeded()
    support = torch.rand(100000, generator=generator) < 0.2
    logits = support + torch.randn(100000, generator=generator)
    best, threshold = best_iou(logits, support)
    assert best == iou(logits >= threshold, support)
    assert all(best >= iou(logits >= t, support) for t in torch.linspace(-3, 4, 50))


def test_iou_is_that_of_scikit_learn() -> None:
    mask, support = (torch.rand(500, generator=seeded(i)) < 0.3 for i in range(2))
    assert iou(mask, support) == pytest.approx(jaccard_score(support.numpy(), mask.numpy()), abs=1e-15)
    assert iou(mask, support) == iou(support, mask)
    assert iou(support, support) == 1
    assert iou(~support, support) == 0
    assert iou(torch.zeros(500, dtype=torch.bool), support) == 0


def test_a_window_is_the_box_and_its_margin() -> None:
    positives = torch.tensor([[0.3, 0.5], [0.6, 0.4], [0.4, 0.45]])
    cells = lattice(200)
    right, up = cells.double().unbind(1)
    expected = (right >= 0.25) & (right <= 0.65) & (up >= 0.35) & (up <= 0.55)
    assert torch.equal(window(positives, cells), expected)
    assert window(positives, cells, margin=0).double().mean().item() == pytest.approx(0.03, abs=1e-9)


def test_a_solid_box_around_a_disc_covers_pi_quarters_of_it() -> None:
    cells = lattice(400)
    inside = (cells - 0.5).norm(dim=1) <= 0.3
    assert box_iou(cells[inside], cells, inside) == pytest.approx(math.pi / 4, abs=0.01)
    seen = window(cells[inside], cells)
    assert box_iou(cells[inside], cells[seen], inside[seen]) == box_iou(cells[inside], cells, inside)


# inputs


def test_single_and_double_precision_agree_and_nothing_is_changed() -> None:
    a, b = normal(50).float(), normal(60, seed=1).float()
    kept = a.clone()
    for metric in (energy_distance, lambda x, y: sliced_wasserstein(x, y, generator=seeded())):
        assert metric(a, b) == metric(a.double(), b.double())
    assert isinstance(energy_distance(a, b), float)
    assert torch.equal(a, kept)


def test_a_logit_with_a_gradient_is_read() -> None:
    logits = torch.tensor([1.0, 2.0], requires_grad=True)
    assert best_iou(logits, torch.tensor([False, True])) == (1.0, 2.0)


POINTS, CELLS = torch.zeros(4, 2), torch.tensor([True, False, False, False])


def test_points_of_the_wrong_kind_are_refused() -> None:
    with pytest.raises(TypeError, match=r"^expected samples to be floating point, got torch.int64$"):
        mode_report(POINTS.long(), POINTS, 1.0)
    with pytest.raises(ValueError, match=r"^expected a of shape \(N, d\) with N >= 1, got \(0, 2\)$"):
        energy_distance(POINTS[:0], POINTS)
    with pytest.raises(ValueError, match=r"^expected b of shape \(N, 2\) with N >= 1, got \(4, 1\)$"):
        energy_distance(POINTS, POINTS[:, :1])
    with pytest.raises(ValueError, match=r"^expected b of shape \(N, 2\) with N >= 1, got \(2,\)$"):
        sliced_wasserstein(POINTS, POINTS[0], generator=seeded())
    with pytest.raises(ValueError, match=r"^expected samples to be finite, got values that are not$"):
        cell_share(POINTS + math.nan, CELLS)


def test_supports_and_logits_of_the_wrong_kind_are_refused() -> None:
    with pytest.raises(TypeError, match=r"^expected support to be bool, got torch.float32$"):
        best_iou(torch.zeros(4), CELLS.float())
    with pytest.raises(ValueError, match=r"^expected support of shape \(3,\), got \(4,\)$"):
        best_iou(torch.zeros(3), CELLS)
    with pytest.raises(ValueError, match=r"^expected a support of at least one cell, got none$"):
        iou(CELLS, CELLS & ~CELLS)
    with pytest.raises(TypeError, match=r"^expected mask to be bool, got torch.float32$"):
        iou(CELLS.float(), CELLS)
    with pytest.raises(ValueError, match=r"^expected mask of shape \(N,\), got \(2, 2\)$"):
        iou(CELLS.view(2, 2), CELLS)
    with pytest.raises(TypeError, match=r"^expected floating-point logits, got torch.bool$"):
        best_iou(CELLS, CELLS)
    with pytest.raises(ValueError, match=r"^expected logits of shape \(N,\), got \(4, 2\)$"):
        best_iou(POINTS, CELLS)
    with pytest.raises(ValueError, match=r"^expected logits to be finite, got values that are not$"):
        best_iou(torch.full((4,), math.inf), CELLS)
    with pytest.raises(ValueError, match=r"^expected a support of R \*\* 2 cells, got 3$"):
        cell_share(POINTS, CELLS[:3])


def test_numbers_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^expected radius to be above 0, got -1$"):
        mode_report(POINTS, POINTS, -1)
    with pytest.raises(ValueError, match=r"^expected projections to be at least 1, got 0$"):
        sliced_wasserstein(POINTS, POINTS, generator=seeded(), projections=0)
    with pytest.raises(ValueError, match=r"^expected resolution and dim to be at least 1, got 0 and 2$"):
        lattice(0)
    with pytest.raises(ValueError, match=r"^expected margin to be a number of 0 or more, got -0.1$"):
        window(POINTS, POINTS, margin=-0.1)
