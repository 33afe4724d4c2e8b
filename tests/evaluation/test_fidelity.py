import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchmetrics.image.kid import KernelInceptionDistance

from genat.baselines import Classifier
from genat.evaluation import features, kernel_distance, recognised


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance`")
def test_kernel_distance_is_torchmetrics_on_one_subset_of_all(generator: torch.Generator) -> None:
    a, b = (torch.randn(60, 7, generator=generator, dtype=torch.float64) + shift for shift in (0.0, 0.5))
    metric = KernelInceptionDistance(feature=nn.Identity(), subsets=1, subset_size=60)
    with torch.random.fork_rng(devices=[]):
        metric.update(a, real=True)
        metric.update(b, real=False)
        expected = metric.compute()[0].item()
    assert kernel_distance(a, b) == pytest.approx(expected, rel=1e-12)


def test_kernel_distance_is_its_definition_for_unequal_sizes(generator: torch.Generator) -> None:
    a = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    b = torch.randn(9, 3, generator=generator, dtype=torch.float64) + 1

    def k(x: Tensor, y: Tensor) -> float:
        return (float(x @ y) / 3 + 1) ** 3

    def within(x: Tensor) -> float:
        return math.fsum(k(u, v) for u, v in itertools.permutations(x, 2)) / (len(x) * (len(x) - 1))

    across = math.fsum(k(u, v) for u in a for v in b) / (len(a) * len(b))
    assert kernel_distance(a, b) == pytest.approx(within(a) + within(b) - 2 * across, rel=1e-12)
    assert kernel_distance(b, a) == pytest.approx(kernel_distance(a, b), rel=1e-12)


def test_kernel_distance_of_point_masses_is_the_squared_distance_of_their_embeddings() -> None:
    u, v = torch.tensor([3.0, 1.0]), torch.tensor([-1.0, 2.0])
    expected = (10 / 2 + 1) ** 3 + (5 / 2 + 1) ** 3 - 2 * (-1 / 2 + 1) ** 3
    assert kernel_distance(u.expand(4, 2), v.expand(6, 2)) == pytest.approx(expected, rel=1e-12)


def test_kernel_distance_is_unbiased(generator: torch.Generator) -> None:
    """Of one distribution it is 0 on average and below 0 about as often as not; a biased one is above."""
    values = torch.tensor(
        [kernel_distance(*torch.randn(2, 12, 4, generator=generator).unbind()) for _ in range(400)],
        dtype=torch.float64,
    )
    assert values.mean().abs() < 3 * values.std() / math.sqrt(len(values))
    assert 0.3 < (values < 0).double().mean() < 0.7


def test_kernel_distance_is_blockwise_and_keeps_its_digits(generator: torch.Generator) -> None:
    a, b = (torch.rand(1500, 2, generator=generator) * 100 for _ in range(2))
    order = torch.randperm(1500, generator=generator)
    assert kernel_distance(a[order], b) == pytest.approx(kernel_distance(a, b), rel=1e-6)


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (torch.zeros(1, 2), torch.zeros(2, 2), r"expected features_a of shape \(n, d\) with n >= 2, got \(1, 2\)"),
        (torch.zeros(2, 2), torch.zeros(2), r"expected features_b of shape \(n, d\) with n >= 2, got \(2,\)"),
        (torch.zeros(2, 2), torch.full((2, 2), math.inf), "expected features_b to be finite"),
        (torch.zeros(2, 2), torch.zeros(2, 3), "expected features of one width, got 2 and 3"),
    ],
)
def test_kernel_distance_refuses(a: Tensor, b: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kernel_distance(a, b)


def test_recognised_counts_by_hand() -> None:
    probabilities = torch.tensor([[0.9, 0.1, 0.0], [0.95, 0.05, 0.0], [0.2, 0.8, 0.0], [0.6, 0.4, 0.0]])
    report = recognised(lambda x: x.double().log(), probabilities.clamp_min(1e-30), level=0.85)
    assert report.n == 4
    assert report.confident == 0.5
    assert report.shares == (0.75, 0.25, 0.0)
    assert report.smallest == 0.0
    assert report.level == 0.85
    assert recognised(lambda x: x.double().log(), probabilities.clamp_min(1e-30), level=0.5).confident == 1.0


def test_recognised_counts_an_image_at_the_level() -> None:
    assert recognised(lambda x: 0 * x, torch.ones(3, 2), level=0.5).confident == 1.0


def test_batches_make_no_difference_and_nothing_is_left_behind(generator: torch.Generator) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        classifier = Classifier((1, 6, 6), classes=4).train()
    images = torch.rand(300, 1, 6, 6, generator=generator)
    found = features(classifier, images)
    report = recognised(classifier, images, level=0.3)
    assert classifier.training
    assert not found.requires_grad
    with torch.no_grad():
        classifier.eval()
        torch.testing.assert_close(found, classifier.features(images))
        expected = classifier(images).softmax(dim=1).max(dim=1).values >= 0.3
    assert report.confident == pytest.approx(expected.double().mean().item(), abs=1 / 300)
    assert sum(report.shares) == pytest.approx(1.0, abs=1e-12)
    assert len(report.shares) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"level": 0.0}, r"expected level in \(0, 1\], got 0\.0"),
        ({"level": 1.1}, r"expected level in \(0, 1\], got 1\.1"),
        ({"images": torch.zeros(0, 2)}, "expected at least one image, got none"),
        ({"classifier": lambda x: x.sum(1)}, r"expected one row an image, \(3, K\), got \(3,\)"),
    ],
)
def test_recognised_refuses(options: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"classifier": lambda x: x, "images": torch.zeros(3, 2)}
    with pytest.raises(ValueError, match=message):
        recognised(**(arguments | options))
