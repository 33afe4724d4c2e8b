"""One ascent and two training steps against the authors' definitions, written out here from the papers' formulas.

Yin, Li, Rohde: Learning Energy-Based Models With Adversarial Training (2022), https://arxiv.org/abs/2012.06568. Nothing
below the imports of `genat` is shared with the package: the network's forward, the projections, the loss and the
optimisers are plain tensor arithmetic on the same weights and batches.
"""

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from lightning_fabric import Fabric
from torch import Tensor, nn

from genat.ascent import climb
from genat.balls import Ball, L2Ball, LinfBall
from genat.networks.layers import Normalize
from genat.recipe import OptimizerFactory, adam, sgd
from genat.training import Step, fit, step_generator

BATCH, STEPS, SIZE, SEED = 6, 4, 0.15, 11
MEAN, STD = (0.49, 0.48), (0.2, 0.25)
Weights = dict[str, Tensor]

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-8}
DTYPES = pytest.mark.parametrize("dtype", TOLERANCE, ids=str)


def network(dtype: torch.dtype) -> nn.Sequential:
    """A small convolutional detector with batch normalisation whose statistics are no identity."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        net = nn.Sequential(
            Normalize(MEAN, STD),
            nn.Conv2d(2, 5, 3, padding=1),
            nn.BatchNorm2d(5),
            nn.Softplus(),
            nn.Conv2d(5, 4, 3, stride=2),
            nn.Softplus(),
            nn.Flatten(),
            nn.Linear(16, 1),
            nn.Flatten(0),
        )
        statistics = net.get_buffer("2.running_mean").normal_(), net.get_buffer("2.running_var").uniform_(0.5, 2)
        assert all(values.std() > 0 for values in statistics)
    return net.to(dtype)


class Images:
    """Images of which some pixels lie on the box's faces, in single or double precision."""

    shape: tuple[int, ...] = (2, 6, 6)

    def __init__(self, dtype: torch.dtype, *, seed: int, bright: float) -> None:
        noise = torch.randn(40, *self.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        self.values = (bright + 0.4 * noise).clamp(0, 1).to(dtype)

    def draw(self, n: int, *, generator: torch.Generator) -> Tensor:
        return self.values[torch.randint(40, (n,), generator=generator)]

    def at(self, iteration: int, purpose: str) -> Tensor:
        return self.draw(BATCH, generator=step_generator(SEED, iteration, purpose))


# the definitions


def logits(w: Weights, x: Tensor) -> Tensor:
    x = (x - x.new_tensor(MEAN)[:, None, None]) / x.new_tensor(STD)[:, None, None]
    x = F.conv2d(x, w["1.weight"], w["1.bias"], padding=1)
    scale = w["2.weight"] / (w["2.running_var"] + 1e-5).sqrt()  # an affine map and nothing else, in training too
    x = x * scale[:, None, None] + (w["2.bias"] - w["2.running_mean"] * scale)[:, None, None]
    x = F.conv2d((1 + x.exp()).log(), w["4.weight"], w["4.bias"], stride=2)
    return ((1 + x.exp()).log().flatten(1) @ w["7.weight"].T + w["7.bias"])[:, 0]


def ascent(w: Weights, start: Tensor, *, steps: int, sign: float, norm: str, radius: float) -> list[Tensor]:
    """Steepest steps on the sum of the logits; after each the offset is cut to the ball, then the image to [0, 1]."""
    x, way = start, [start]
    for _ in range(steps):
        x = x.detach().requires_grad_()
        (g,) = torch.autograd.grad(logits(w, x).sum(), x)
        with torch.no_grad():
            if norm == "l2":
                x = x + sign * SIZE * g / (g.square().sum((1, 2, 3), keepdim=True).sqrt() + 1e-10)
                offset = x - start
                length = offset.square().sum((1, 2, 3), keepdim=True).sqrt()
                offset = torch.where(length > radius, offset * radius / length, offset)
            else:
                offset = (x + sign * SIZE * g.sign() - start).clamp(-radius, radius)
            x = (start + offset).clamp(0, 1)
        way.append(x)
    return way


def loss(w: Weights, positives: Tensor, negatives: Tensor, r1: float) -> tuple[Tensor, Tensor, Tensor]:
    positives = positives.detach().requires_grad_()  # pixels in [0, 1], descended where descent is on
    inside, outside = logits(w, positives), logits(w, negatives)
    entropy = -torch.cat([torch.sigmoid(inside).log(), (1 - torch.sigmoid(outside)).log()]).mean()
    (g,) = torch.autograd.grad(inside.sum(), positives, create_graph=True)
    return entropy + r1 * 0.5 * g.square().sum((1, 2, 3)).mean(), inside, outside


def adam_by_hand(w: Weights, gradients: Weights, memory: Weights, t: int, rate: float = 0.01) -> None:
    for name, g in gradients.items():  # beta = (0, 0.99): the first moment is the gradient
        memory[name] = 0.99 * memory.get(name, torch.zeros_like(g)) + 0.01 * g * g
        w[name] = w[name].detach() - rate * g / ((memory[name] / (1 - 0.99**t)).sqrt() + 1e-8)


def sgd_by_hand(w: Weights, gradients: Weights, memory: Weights, _: int, rate: float = 0.1) -> None:
    for name, g in gradients.items():  # Nesterov's momentum of 0.9, no weight decay
        memory[name] = 0.9 * memory.get(name, torch.zeros_like(g)) + g
        w[name] = w[name].detach() - rate * (g + 0.9 * memory[name])


def shape_of(ball: Ball) -> tuple[str, float]:
    return "l2" if isinstance(ball, L2Ball) else "linf", math.inf if ball.radius is None else ball.radius


# the comparisons


@DTYPES
@pytest.mark.parametrize("ball", [L2Ball(), L2Ball(0.4), LinfBall(), LinfBall(0.2)], ids=repr)
@pytest.mark.parametrize("descend", [False, True])
def test_an_ascent_is_the_authors(ball: Ball, descend: bool, dtype: torch.dtype) -> None:
    net, start = network(dtype), Images(dtype, seed=1, bright=0.5).values[:BATCH]
    norm, radius = shape_of(ball)
    wanted = ascent(net.state_dict(), start, steps=STEPS, sign=-1.0 if descend else 1.0, norm=norm, radius=radius)
    got = climb(net, start, steps=STEPS, step_size=SIZE, ball=ball, descend=descend, trajectory=True).trajectory
    assert got is not None
    torch.testing.assert_close(got, torch.stack(wanted), rtol=0, atol=TOLERANCE[dtype])
    assert all(bool((after != before).flatten(1).any(1).all()) for before, after in pairwise(wanted[:3]))


@DTYPES
@pytest.mark.parametrize("ball", [L2Ball(), LinfBall(0.2)], ids=repr)
@pytest.mark.parametrize("r1", [0.0, 0.3])
@pytest.mark.parametrize("descent_steps", [0, 3])
@pytest.mark.parametrize("rule", [(adam(0.01), adam_by_hand), (sgd(0.1), sgd_by_hand)], ids=["adam", "sgd"])
def test_training_steps_are_the_authors(
    rule: tuple[OptimizerFactory, Callable[[Weights, Weights, Weights, int], None]],
    descent_steps: int,
    r1: float,
    ball: Ball,
    dtype: torch.dtype,
) -> None:
    optimizer, by_hand = rule
    target, outside = Images(dtype, seed=2, bright=0.7), Images(dtype, seed=5, bright=0.3)
    net, seen = network(dtype), list[Step]()
    norm, radius = shape_of(ball)
    trained = [name for name, _ in net.named_parameters()]
    w = {name: value.clone() for name, value in net.state_dict().items()}
    memory: Weights = {}
    losses, areas = [], []
    for i in range(2):
        negatives = ascent(w, outside.at(i, "outside"), steps=STEPS, sign=1.0, norm=norm, radius=radius)[-1]
        positives = ascent(w, target.at(i, "target"), steps=descent_steps, sign=-1.0, norm=norm, radius=math.inf)
        for name in trained:
            w[name].requires_grad_()
        total, high, low = loss(w, positives[-1], negatives, r1)
        gradients = torch.autograd.grad(total, [w[name] for name in trained])
        by_hand(w, dict(zip(trained, gradients, strict=True)), memory, i + 1)
        losses.append(total.item())
        areas.append((high[:, None] > low).double().mean().item())
    fit(
        net,
        target,
        outside,
        iterations=2,
        steps=STEPS,
        step_size=SIZE,
        ball=ball,
        descent_steps=descent_steps,
        descent_ball=type(ball)(),
        r1=r1,
        optimizer=optimizer,
        batch_size=BATCH,
        seed=SEED,
        ema=None,
        fabric=Fabric(accelerator="cpu", devices=1, precision="64-true" if dtype == torch.float64 else "32-true"),
        callback=seen.append,
    )
    torch.testing.assert_close([step.loss for step in seen], losses, rtol=0, atol=1e-5)
    assert [step.auroc for step in seen] == pytest.approx(areas)  # of descended target data, as the gate sees it
    for name, value in net.state_dict().items():
        torch.testing.assert_close(value, w[name].detach(), rtol=0, atol=TOLERANCE[dtype], msg=name)
