"""Classifiers under attack and beside outside data: their losses in closed form, and what comes of them."""

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from genat import networks
from genat.balls import L2Ball, LinfBall
from genat.baselines.exposure import EXPOSURES, Exposure, Progress, divergences, train_exposed, within
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


# TRADES


class Seen(nn.Module):
    """A network that remembers what it learned from."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.batches = inner, list[Tensor]()

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.batches.append(x.detach().clone())
        logits: Tensor = self.inner(x)
        return logits


@pytest.mark.parametrize("ball", [L2Ball(0.1), LinfBall(0.05)], ids=str)
def test_the_loss_of_trades_on_a_linear_network_is_known(ball: L2Ball | LinfBall) -> None:
    """Two classes differ most in what is said of them at one of the two ends of the way along the weights."""
    assert ball.radius is not None
    apart = WEIGHTS[0] - WEIGHTS[1]
    margin = (INSIDE.flatten() @ apart).item()
    way = ball.radius * (apart.norm().item() if isinstance(ball, L2Ball) else apart.abs().sum().item())
    p = 1 / (1 + math.exp(-margin))

    def divergence(other: float) -> float:
        q = 1 / (1 + math.exp(-other))
        return p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))

    found = first_loss(linear(WEIGHTS), Exposure(inside=ball, beta=2.0), OUTSIDE)
    ends = [-math.log(p) + 2.0 * divergence(margin + sign * way) for sign in (-1, 1)]
    assert min(abs(found - end) for end in ends) < 1e-5


def test_the_attack_of_trades_parts_within_ball_and_box() -> None:
    ball, generator = L2Ball(0.3), torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (32, 1, 2, 4), generator=generator, dtype=torch.uint8)
    target = Images(pixels, labels=torch.arange(32) % 3, classes=("a", "b", "c"))
    inner = networks.build_joint("mlp", (1, 2, 4), {"hidden": [32]}, classes=3, seed=0).classifier
    before = copy.deepcopy(inner)
    network = Seen(inner)
    train_exposed(network, target, target, how=Exposure(inside=ball, beta=6.0), iterations=1, batch_size=32)
    (batch,) = network.batches
    clean, moved = batch[:32], batch[32:]
    assert moved.min() >= 0
    assert moved.max() <= 1
    assert (moved - clean).flatten(1).norm(dim=1).max() <= 0.3 + 1e-5
    at_random = ball.random_start(clean, generator=generator).clamp(0, 1)
    with torch.no_grad():
        kept, far, near = (before(x) for x in (clean, moved, at_random))
    assert (divergences(kept, far) > divergences(kept, near)).all()


@given(st.lists(st.floats(-30, 30), min_size=6, max_size=6))
def test_a_divergence_is_not_negative_and_of_the_same_none(values: list[float]) -> None:
    logits, others = torch.tensor(values, dtype=torch.float64).view(2, 1, 3)
    apart = divergences(logits, others)
    torch.testing.assert_close(divergences(logits, logits), torch.zeros(1, dtype=torch.float64))
    assert apart.item() >= -1e-12
    p, q = logits.softmax(dim=1), others.softmax(dim=1)
    torch.testing.assert_close(apart, (p * (p / q).log()).sum(dim=1), rtol=1e-9, atol=1e-9)


def test_trades_without_weight_is_plain() -> None:
    plain, none, some = (
        train_exposed(linear(WEIGHTS), greys(), Noise((1, 2, 2)), how=how, iterations=5, batch_size=16)
        for how in (Exposure(), Exposure(inside=L2Ball(0.2), beta=0.0), within(L2Ball(0.2))["trades"])
    )
    (expected,), (same,), (other,) = (list(network.parameters()) for network in (plain, none, some))
    torch.testing.assert_close(same, expected)
    assert not torch.allclose(other, expected, atol=1e-4)


@pytest.mark.parametrize("name", ["madry", "trades"])
def test_under_attack_a_linear_classifier_leans_on_what_the_attack_cannot_turn(name: str) -> None:
    """One pixel is 0.46 apart between the classes and 31 others 0.06, and a cube of radius 0.1 turns those over."""
    pixels, labels = torch.full((64, 1, 4, 8), 120, dtype=torch.uint8), torch.arange(64) % 2
    pixels[labels == 1] += 15
    pixels[labels == 1, :, 0, 0] += 102
    target = Images(pixels, labels=labels, classes=("dark", "bright"))
    signs = 2.0 * labels - 1

    def worst(how: Exposure) -> float:
        network = networks.build_joint("mlp", (1, 4, 8), {"hidden": []}, classes=2, seed=0).classifier
        train_exposed(network, target, target, how=how, iterations=200, batch_size=32, rate=0.02)
        x = target.tensor().requires_grad_()
        logits = network(x)
        margins = signs * (logits[:, 1] - logits[:, 0])
        (slopes,) = torch.autograd.grad(margins.sum(), x)
        return float((margins - 0.1 * slopes.abs().flatten(1).sum(dim=1) > 0).float().mean())

    ways = within(LinfBall(0.1), steps=4)
    assert worst(ways["plain"]) <= 0.5
    assert worst(ways[name]) == 1.0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Exposure(weight=-1.0), "expected weight to be at least 0 and finite, got -1.0"),
        (lambda: Exposure(loss="other"), "expected loss to be 'uniform' or 'confidence', got 'other'"),  # type: ignore[arg-type]
        (lambda: Exposure(steps=0), "expected steps to be at least 1, got 0"),
        (lambda: Exposure(inside=L2Ball()), "expected balls with a positive radius, got one without"),
        (lambda: Exposure(outside=L2Ball(0.0)), "expected balls with a positive radius, got one without"),
        (lambda: Exposure(beta=6.0), "expected a ball inside with beta, got none"),
        (
            lambda: Exposure(inside=L2Ball(0.1), beta=-1.0),
            "expected beta to be None, or at least 0 and finite, got -1.0",
        ),
        (
            lambda: Exposure(inside=L2Ball(0.1), beta=math.nan),
            "expected beta to be None, or at least 0 and finite, got nan",
        ),
        (lambda: within(L2Ball()), "expected balls with a positive radius, got one without"),
        (lambda: within(L2Ball(0.1), steps=0), "expected steps to be at least 1, got 0"),
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

    for how in (*EXPOSURES.values(), within(L2Ball(0.1), steps=3)["trades"]):
        network = Counted(linear(WEIGHTS))
        train_exposed(network, greys(), Noise((1, 2, 2)), how=how, iterations=2, batch_size=8)
        assert network.seen == 2 * 8 * how.each
