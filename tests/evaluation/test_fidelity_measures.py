"""Fréchet and kernel distances, class scores: closed forms, laws and what others compute."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance

from genat.evaluation.fidelity import (
    Estimate,
    class_score,
    effective_classes,
    frechet_distance,
    frechet_estimate,
    gaussian_distance,
    kernel_distance,
    kernel_estimate,
    moments,
)

D = 5


def normal(generator: torch.Generator, n: int, d: int = D) -> Tensor:
    return torch.randn(n, d, generator=generator, dtype=torch.float64)


def covariance(generator: torch.Generator, rank: int = D) -> Tensor:
    factor = normal(generator, rank)
    return factor.T @ factor / rank


def rotation(generator: torch.Generator, d: int = D) -> Tensor:
    turn: Tensor = torch.linalg.qr(normal(generator, d, d)).Q
    return turn


# Gaussians


def test_commuting_covariances_have_a_closed_form(generator: torch.Generator) -> None:
    """Along common axes it is the sum of squared differences of deviations, whatever the axes."""
    axes, mean_a, mean_b = rotation(generator), *normal(generator, 2).unbind()
    a, b = (torch.rand(D, generator=generator, dtype=torch.float64) * 3 for _ in range(2))
    expected = (mean_a - mean_b).square().sum() + (a - b).square().sum()
    found = gaussian_distance(mean_a, axes * a.square() @ axes.T, mean_b, axes * b.square() @ axes.T)
    assert found == pytest.approx(expected.item(), rel=1e-12)


def test_it_is_the_formula_by_scipys_root(generator: torch.Generator) -> None:
    from scipy.linalg import sqrtm

    a, b = (covariance(generator, D) for _ in range(2))
    root = torch.as_tensor(sqrtm((a @ b).numpy()).real)
    expected = (a + b - 2 * root).trace().item() + 9 * D
    zero = torch.zeros(D)
    assert gaussian_distance(zero, a, zero + 3, b) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("ranks", [(D, D), (2, D), (2, 2), (1, 3)])
def test_it_is_the_formula_by_the_products_eigenvalues(generator: torch.Generator, ranks: tuple[int, int]) -> None:
    """A root's trace is the sum of the eigenvalues' roots, also where covariances are singular and it has no root.

    There an eigenvalue of zero is found within rounding, so that half of the digits are lost to its root.
    """
    a, b = (covariance(generator, rank) for rank in ranks)
    roots = torch.linalg.eigvals(a @ b).real.clamp(min=0).sqrt()
    expected = (a + b).trace().item() - 2 * roots.sum().item() + 9 * D
    zero = torch.zeros(D)
    assert gaussian_distance(zero, a, zero + 3, b) == pytest.approx(expected, rel=1e-6)


def test_singular_covariances_on_different_axes_share_nothing() -> None:
    a, b = torch.diag(torch.tensor([4.0, 0.0, 0.0])), torch.diag(torch.tensor([0.0, 9.0, 0.0]))
    zero = torch.zeros(3)
    assert gaussian_distance(zero, a, zero, b) == pytest.approx(13.0, rel=1e-12)
    assert gaussian_distance(zero, a, zero, a) == 0.0
    assert gaussian_distance(zero, 0 * a, zero + 1, b) == pytest.approx(12.0, rel=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mean_b": torch.zeros(3)}, r"expected mean and covariance b of shapes \(2,\) and \(2, 2\), got \(3,\) and"),
        ({"covariance_a": torch.eye(3)}, r"covariance a of shapes \(2,\) and \(2, 2\), got \(2,\) and \(3, 3\)"),
        ({"mean_a": torch.full((2,), math.nan)}, "expected mean and covariance a to be finite"),
        ({"covariance_b": torch.tensor([[1.0, 1.0], [0.0, 1.0]])}, "expected covariance b to be symmetric"),
        ({"covariance_a": torch.diag(torch.tensor([1.0, -1.0]))}, "covariance a without eigenvalues below 0, got -1"),
    ],
)
def test_what_is_no_gaussian_is_refused(change: dict[str, Tensor], message: str) -> None:
    arguments = {"mean_a": torch.zeros(2), "covariance_a": torch.eye(2)}
    arguments |= {"mean_b": torch.zeros(2), "covariance_b": torch.eye(2)}
    with pytest.raises(ValueError, match=message):
        gaussian_distance(**(arguments | change))


# the Fréchet distance of features


def test_the_frechet_distance_is_torchmetrics(generator: torch.Generator) -> None:
    class Whole(nn.Identity):
        num_features = D

    a, b = normal(generator, 40), 2 * normal(generator, 30) @ rotation(generator) + 1
    metric = FrechetInceptionDistance(feature=Whole())
    metric.update(a, real=True)
    metric.update(b, real=False)
    assert frechet_distance(a, b) == pytest.approx(metric.compute().item(), rel=1e-8)


def test_moments_are_unbiased(generator: torch.Generator) -> None:
    x = normal(generator, 9)
    mean, found = moments(x)
    torch.testing.assert_close(mean, x.mean(dim=0))
    torch.testing.assert_close(found, x.T.cov())


def test_a_shift_adds_its_square_and_a_scale_squares(generator: torch.Generator) -> None:
    a, b = normal(generator, 30), normal(generator, 40)
    a, b = a - a.mean(dim=0), b - b.mean(dim=0)
    base = frechet_distance(a, b)
    assert frechet_distance(a, b + 2) == pytest.approx(base + 4 * D, rel=1e-12)
    assert frechet_distance(3 * a, 3 * b) == pytest.approx(9 * base, rel=1e-12)
    assert frechet_distance(a, 3 * a) == pytest.approx(4 * a.var(dim=0).sum().item(), rel=1e-12)


@pytest.mark.parametrize("distance", [frechet_distance, kernel_distance])
def test_the_order_of_rows_and_of_sets_and_the_axes_make_no_difference(
    generator: torch.Generator, distance: Callable[[Tensor, Tensor], float]
) -> None:
    a, b = normal(generator, 30), normal(generator, 40) + 0.5
    base, turn = distance(a, b), rotation(generator)
    assert distance(a[torch.randperm(30, generator=generator)], b) == pytest.approx(base, rel=1e-11)
    assert distance(b, a) == pytest.approx(base, rel=1e-11)
    assert distance(a @ turn, b @ turn) == pytest.approx(base, rel=1e-11)


def test_a_set_is_at_distance_zero_from_itself(generator: torch.Generator) -> None:
    a = torch.cat((normal(generator, 30, 3).relu(), torch.zeros(30, 2)), dim=1)  # dead units make it singular
    assert frechet_distance(a, a) == pytest.approx(0.0, abs=1e-12)
    found = frechet_estimate(a, a)
    assert found.value == pytest.approx(0.0, abs=1e-12)
    assert found.error == pytest.approx(0.0, abs=1e-9)
    constant = torch.ones(9, D)
    assert frechet_estimate(constant, constant + 1) == Estimate(5.0, 0.0)


def test_the_errors_gradient_is_that_of_reweighting_a_row(generator: torch.Generator) -> None:
    """The jackknife's first order: give one row a little more weight, and see how far the distance moves."""
    a, b = normal(generator, 25), 1.5 * normal(generator, 20) + 0.3

    def moved(x: Tensor, row: int, weight: float) -> tuple[Tensor, Tensor]:
        weights = torch.full((len(x),), (1 - weight) / len(x), dtype=torch.float64)
        weights[row] += weight
        mean = weights @ x
        return mean, ((x - mean) * weights[:, None]).T @ (x - mean) * len(x) / (len(x) - 1)

    def slopes(x: Tensor, y: Tensor, h: float = 1e-5) -> Tensor:
        ends = [[gaussian_distance(*moved(x, row, sign * h), *moments(y)) for sign in (1, -1)] for row in range(len(x))]
        plus, minus = torch.tensor(ends, dtype=torch.float64).unbind(dim=1)
        return (plus - minus) / (2 * h)

    variance = slopes(a, b).var() / len(a) + slopes(b, a).var() / len(b)
    found = frechet_estimate(a, b)
    assert found.value == pytest.approx(frechet_distance(a, b), rel=1e-12)
    assert found.error == pytest.approx(variance.sqrt().item(), rel=0.08)  # 1 / n of it is n against n - 1


@pytest.mark.parametrize("estimate", [frechet_estimate, kernel_estimate])
def test_the_standard_error_is_how_far_new_draws_spread(
    generator: torch.Generator, estimate: Callable[[Tensor, Tensor], Estimate]
) -> None:
    found = [estimate(normal(generator, 200), 1.3 * normal(generator, 150) + 0.5) for _ in range(120)]
    values, errors = (torch.tensor(column) for column in zip(*((f.value, f.error) for f in found), strict=True))
    assert 0.8 < (errors.mean() / values.std()).item() < 1.25  # the spread of 120 draws is known to 6 %


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (torch.zeros(4, 4), torch.zeros(9, 4), "expected more rows than the features' 4 dimensions, got 4: take more"),
        (torch.zeros(9, 4), torch.zeros(3, 4), "expected more rows than the features' 4 dimensions, got 3"),
        (torch.zeros(9), torch.zeros(9, 4), r"expected features_a of shape \(n, d\) with n >= 2, got \(9,\)"),
        (torch.zeros(9, 0), torch.zeros(9, 0), r"expected features_a of shape \(n, d\) with n >= 2, got \(9, 0\)"),
        (torch.zeros(9, 3), torch.full((9, 3), math.nan), "expected features_b to be finite"),
        (torch.zeros(9, 3), torch.zeros(9, 4), "expected features of one width, got 3 and 4"),
    ],
)
@pytest.mark.parametrize("distance", [frechet_distance, frechet_estimate])
def test_features_that_do_not_fit_are_refused(
    distance: Callable[[Tensor, Tensor], object], a: Tensor, b: Tensor, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        distance(a, b)


# the kernel distance


def test_the_kernel_error_is_the_jackknife_by_leaving_rows_out(generator: torch.Generator) -> None:
    a, b = normal(generator, 7), normal(generator, 6) + 0.5

    def spread(values: list[float]) -> float:
        n = len(values)
        return (n - 1) ** 2 / n * torch.tensor(values, dtype=torch.float64).var().item()

    without = [torch.cat((x[:i], x[i + 1 :])) for x in (a, b) for i in range(len(x))]
    variance = spread([kernel_distance(x, b) for x in without[:7]]) + spread(
        [kernel_distance(a, y) for y in without[7:]]
    )
    found = kernel_estimate(a, b)
    assert found.value == pytest.approx(kernel_distance(a, b), rel=1e-12)
    assert found.error == pytest.approx(math.sqrt(variance), rel=1e-10)


def test_the_kernel_error_is_no_smaller_than_the_spread_within_one_distribution(generator: torch.Generator) -> None:
    found = [kernel_estimate(normal(generator, 40), normal(generator, 40)) for _ in range(200)]
    values, errors = (
        torch.tensor(column, dtype=torch.float64) for column in zip(*((f.value, f.error) for f in found), strict=True)
    )
    assert values.mean().abs() < 3 * values.std() / math.sqrt(len(values))  # unbiased
    assert 1 < (errors.mean() / values.std()).item() < 1.6


def test_a_kernel_error_needs_three_rows() -> None:
    with pytest.raises(ValueError, match=r"expected features_b of shape \(n, d\) with n >= 3, got \(2, 1\)"):
        kernel_estimate(torch.zeros(3, 1), torch.zeros(2, 1))


# classes


def test_the_class_score_is_its_definition_and_its_error_the_spread(generator: torch.Generator) -> None:
    logits = 3 * normal(generator, 50)
    p = logits.softmax(dim=1)
    q = p.mean(dim=0)
    by_hand = math.exp(sum(p[i, c] * math.log(p[i, c] / q[c]) for i in range(50) for c in range(D)) / 50)
    assert class_score(logits).value == pytest.approx(by_hand, rel=1e-12)
    assert class_score(logits + 100).value == pytest.approx(by_hand, rel=1e-10)
    found = [class_score(2 * normal(generator, 300)) for _ in range(150)]
    values, errors = (torch.tensor(column) for column in zip(*((f.value, f.error) for f in found), strict=True))
    assert 0.8 < (errors.mean() / values.std()).item() < 1.25


def test_the_class_score_reaches_from_one_to_the_number_of_classes() -> None:
    sure = 1000 * torch.eye(4).repeat(6, 1)  # float32 probabilities of exactly 0
    assert class_score(sure).value == pytest.approx(4.0, rel=1e-12)
    assert class_score(sure[:1].repeat(5, 1)).value == 1.0
    assert effective_classes(sure) == pytest.approx(4.0, rel=1e-12)
    assert effective_classes(sure[[0, 0, 0, 1]]) == pytest.approx(4 / 3**0.75, rel=1e-12)


@pytest.mark.parametrize("function", [class_score, effective_classes])
def test_logits_that_are_none_are_refused(function: Callable[[Tensor], object]) -> None:
    with pytest.raises(ValueError, match="expected logits to be finite"):
        function(torch.full((3, 2), math.nan))
    with pytest.raises(ValueError, match=r"expected logits of shape \(n, d\)"):
        function(torch.zeros(3))
