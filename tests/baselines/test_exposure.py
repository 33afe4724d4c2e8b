"""Classifiers under attack and beside outside data: their losses in closed form, and what comes of them."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from genat import networks
from genat.balls import L2Ball, LinfBall
from genat.baselines.exposure import EXPOSURES, Exposure, Progress, train_exposed
from genat.evaluation.scores import Confidence
from genat.sources import Images, Noise, Samples
from genat.training import DivergenceError


def linear(weights: Tensor) -> nn.Module:
    """Logits W x of flattened images."""
    with torch.random.fork_rng(devices=[]):
        layer = nn.Linear(weights.shape[1], weights.shape[0], bias=False)
    with torch.no_grad():
        layer.weight.copy_(weights)
    return nn.Sequential(nn.Flatten(), layer)


def greys(n: int = 64) -> Images:
    """Images darker on the left, or on the right."""
    pixels = torch.full((n, 1, 2, 2), 200, dtype=torch.uint8)
    labels = torch.arange(n) % 2
    pixels[labels == 0, :, :, 0], pixels[labels == 1, :, :, 1] = 50, 50
    return Images(pixels, labels=labels, classes=("left", "right"), name="greys")


def first_loss(network: nn.Module, how: Exposure, outside: Tensor) -> float:
    """The loss of one image (row 0 of `greys`) and one outside image before any step."""
    seen: list[Progress] = []
    target = greys().take([0])
    train_exposed(network, target, Samples(outside), how=how, iterations=1, batch_size=1, callback=seen.append)
    return seen[0].loss.item()


WEIGHTS = torch.tensor([[1.0, -2.0, 0.5, 0.0], [-1.0, 1.0, 1.5, 2.0]])
OUTSIDE = torch.tensor([0.5, 0.3, 0.6, 0.4]).view(1, 1, 2, 2)
INSIDE = greys().tensor()[:1]


@pytest.mark.parametrize("loss", ["uniform", "confidence"])
@pytest.mark.parametrize("inside", [None, L2Ball(0.1), LinfBall(0.05)], ids=str)
@pytest.mark.parametrize("outside", [None, L2Ball(0.1), LinfBall(0.05)], ids=str)
def test_the_loss_of_a_linear_network_is_known(
    loss: Any,  # noqa: ANN401
    inside: L2Ball | LinfBall | None,
    outside: L2Ball | LinfBall | None,
) -> None:
    """The margin w of two classes falls by the radius times the dual norm, and outside its absolute value rises so."""
    apart = WEIGHTS[0] - WEIGHTS[1]

    def dual(ball: L2Ball | LinfBall | None) -> float:
        if ball is None or ball.radius is None:
            return 0.0
        return ball.radius * (apart.norm().item() if isinstance(ball, L2Ball) else apart.abs().sum().item())

    margin = (INSIDE.flatten() @ apart).item() - dual(inside)
    confident = abs((OUTSIDE.flatten() @ apart).item()) + dual(outside)
    above, below = (math.log1p(math.exp(-sign * confident)) for sign in (1, -1))  # minus the two log-probabilities
    expected = math.log1p(math.exp(-margin)) + 0.7 * ((above + below) / 2 if loss == "uniform" else -above)
    how = Exposure(weight=0.7, loss=loss, inside=inside, outside=outside, steps=10)
    assert first_loss(linear(WEIGHTS), how, OUTSIDE) == pytest.approx(expected, abs=1e-5)


def test_without_weight_outside_data_is_not_drawn() -> None:
    class Never(Samples):
        def draw(self, n: int, *, generator: torch.Generator) -> Tensor:
            raise AssertionError((n, generator))

    train_exposed(linear(WEIGHTS), greys(), Never(OUTSIDE), how=Exposure(), iterations=2)


def test_the_step_descends_the_loss_by_adam() -> None:
    network, copy = linear(WEIGHTS), linear(WEIGHTS)
    train_exposed(network, greys().take([0]), Noise((1, 2, 2)), how=Exposure(), iterations=1, batch_size=1, rate=0.01)
    torch.autograd.backward(F.cross_entropy(copy(INSIDE), torch.tensor([0])))
    for moved, before in zip(network.parameters(), copy.parameters(), strict=True):
        assert before.grad is not None
        torch.testing.assert_close(moved, before - 0.01 * before.grad.sign(), rtol=0, atol=1e-5)


def trained(name: str, **options: Any) -> nn.Module:  # noqa: ANN401
    network = networks.build_joint("mlp", (1, 2, 2), {"hidden": [32]}, classes=2, seed=0).classifier
    settings: dict[str, Any] = {"iterations": 80, "batch_size": 32, "rate": 0.02} | options
    own = EXPOSURES[name]
    small = L2Ball(0.2)  # the classes are 1.2 apart
    how = replace(own, inside=own.inside and small, outside=own.outside and small, steps=4)
    return train_exposed(network, greys(), Noise((1, 2, 2)), how=how, **settings)


@pytest.mark.parametrize("name", EXPOSURES)
def test_every_way_learns_the_classes(name: str) -> None:
    network = trained(name)
    images = greys()
    assert images.labels is not None
    with torch.no_grad():
        assert (network(images.tensor()).argmax(dim=1) == images.labels).all()
    assert not network.training


@pytest.mark.parametrize("name", ["outlier-exposure", "acet", "ratio"])
def test_outside_data_makes_unsure(name: str) -> None:
    noise = Noise((1, 2, 2)).draw(200, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():  # which a training does not mind
        plain, told = (Confidence(trained(one))(noise).mean() for one in ("plain", name))
    assert told < 0.5 * plain


def test_one_seed_gives_one_classifier_and_leaves_the_global_state() -> None:
    first = trained("ratio", iterations=5, seed=3)
    with torch.random.fork_rng(devices=[]):
        torch.rand(3)
        again = trained("ratio", iterations=5, seed=3)
    other = trained("ratio", iterations=5, seed=4)
    same = [torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True)]
    assert all(same)
    assert not all(torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))


def test_half_precision_comes_to_nearly_the_same() -> None:
    full, half = (trained("ratio", half=half) for half in (False, True))
    with torch.no_grad():
        logits = [network(greys().tensor()[:2]) for network in (full, half)]
    torch.testing.assert_close(logits[0], logits[1], rtol=0.2, atol=0.2)


def test_a_loss_that_is_not_finite_ends_the_training() -> None:
    with pytest.raises(DivergenceError, match="iteration 1: expected a finite loss, got"):
        train_exposed(linear(WEIGHTS * torch.nan), greys(), Noise((1, 2, 2)), how=Exposure(), iterations=3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Exposure(weight=-1.0), "expected weight to be at least 0 and finite, got -1.0"),
        (lambda: Exposure(loss="other"), "expected loss to be 'uniform' or 'confidence', got 'other'"),  # type: ignore[arg-type]
        (lambda: Exposure(steps=0), "expected steps to be at least 1, got 0"),
        (lambda: Exposure(inside=L2Ball()), "expected balls with a positive radius, got one without"),
        (lambda: Exposure(outside=L2Ball(0.0)), "expected balls with a positive radius, got one without"),
        (lambda: trained("plain", iterations=0), "expected iterations to be at least 1, got 0"),
        (lambda: trained("plain", batch_size=0), "expected batch_size to be at least 1, got 0"),
        (lambda: trained("plain", rate=0.0), "expected rate to be positive and finite, got 0.0"),
    ],
)
def test_refusals(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_passes_are_what_the_network_saw() -> None:
    class Counted(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner, self.seen = inner, 0

        def forward(self, x: Tensor) -> Tensor:
            self.seen += len(x)
            logits: Tensor = self.inner(x)
            return logits

    for how in EXPOSURES.values():
        network = Counted(linear(WEIGHTS))
        train_exposed(network, greys(), Noise((1, 2, 2)), how=how, iterations=2, batch_size=8)
        assert network.seen == 2 * 8 * how.each
