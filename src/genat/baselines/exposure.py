"""Classifiers that are told to be unsure outside of the target, or are taught under attack, or both."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

from genat.ascent import Detector, ascend, frozen
from genat.balls import Ball, L2Ball, crossing
from genat.recipe import annealed
from genat.sources import LabelledSource, Source
from genat.training import DivergenceError, step_generator


@dataclass(frozen=True, slots=True)
class Exposure:
    r"""What a classifier's training asks for.

    .. math:: L = \max_{x' \in B(x)} CE(h(x'), y) + \lambda \max_{z' \in B(z)} \ell(h(z'))

    for target samples (x, y) and outside samples z; where there is no ball there is no maximum. The loss :math:`\ell`
    is the cross-entropy to the uniform distribution, or the largest log-probability. What climbs is the cross-entropy
    of the label, and outside the largest log-probability. With beta the first term is instead that of TRADES,

    .. math:: CE(h(x), y) + \beta \max_{x' \in B(x)} KL(h(x) \,\|\, h(x'))

    whose attack climbs the divergence. That has no slope at x itself, so the attack starts at random, within a tenth of
    the radius.

    Attributes:
        weight: :math:`\lambda`; 0 leaves outside data out.
        loss: :math:`\ell`, "uniform" or "confidence".
        inside: the ball of the attack on target data; None trains on it as it is.
        outside: of the attack on outside data, likewise.
        steps: of each attack, of 2.5 radius / steps.
        beta: :math:`\beta` of TRADES, which needs a ball inside; None learns the label where the attack arrives.

    Raises:
        ValueError: for values out of range, or beta without a ball.

    References:
        Theoretically Principled Trade-off between Robustness and Accuracy (Zhang et al., 2019), TRADES
        https://arxiv.org/abs/1901.08573

    Example:
        >>> Exposure(weight=0.5).each, Exposure(weight=1.0, outside=L2Ball(1.0), steps=10).each
        (2, 12)
        >>> Exposure(inside=L2Ball(1.0), beta=6.0, steps=10).each
        13
    """

    weight: float = 0.0
    loss: Literal["uniform", "confidence"] = "uniform"
    inside: Ball | None = None
    outside: Ball | None = None
    steps: int = 10
    beta: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.weight < math.inf:
            raise ValueError(f"expected weight to be at least 0 and finite, got {self.weight}")
        if self.loss not in ("uniform", "confidence"):
            raise ValueError(f"expected loss to be 'uniform' or 'confidence', got {self.loss!r}")
        if self.steps < 1:
            raise ValueError(f"expected steps to be at least 1, got {self.steps}")
        if any(ball is not None and not ball.radius for ball in (self.inside, self.outside)):
            raise ValueError("expected balls with a positive radius, got one without")
        if self.beta is not None and not 0 <= self.beta < math.inf:
            raise ValueError(f"expected beta to be None, or at least 0 and finite, got {self.beta}")
        if self.beta is not None and self.inside is None:
            raise ValueError("expected a ball inside with beta, got none")

    @property
    def each(self) -> int:
        """Passes that an iteration spends on a target sample and its outside sample together.

        TRADES spends two more than an attack on the label: what is to be kept is looked at before the attack, and the
        target sample is learned beside what the attack made of it.
        """
        inside = 1 + (self.steps if self.inside else 0) + (0 if self.beta is None else 2)
        return inside + (1 + (self.steps if self.outside else 0) if self.weight else 0)


EXPOSURES: Mapping[str, Exposure] = {
    "plain": Exposure(),
    "outlier-exposure": Exposure(weight=0.5),
    "acet": Exposure(weight=1.0, loss="confidence", outside=L2Ball(1.0)),
    "ratio": Exposure(weight=1.0, inside=L2Ball(0.5), outside=L2Ball(1.0)),
    "madry": Exposure(inside=L2Ball(1.0)),
}
"""Ways to train a classifier, with the weights and losses of their authors and balls of one norm.

References:
    Deep Anomaly Detection with Outlier Exposure (Hendrycks, Mazeika, Dietterich, 2019) https://arxiv.org/abs/1812.04606
    Why ReLU networks yield high-confidence predictions far away from the training data and how to mitigate the problem
    (Hein, Andriushchenko, Bitterwolf, 2019), ACET https://arxiv.org/abs/1812.05720
    Adversarial Robustness on In- and Out-Distribution Improves Explainability (Augustin, Meinke, Hein, 2020), RATIO
    https://arxiv.org/abs/2003.09461
    Towards Deep Learning Models Resistant to Adversarial Attacks (Madry et al., 2018) https://arxiv.org/abs/1706.06083
"""


def within(ball: Ball, *, steps: int = 10) -> dict[str, Exposure]:
    """Return ways to train a classifier that is to be set beside a detector trained in a ball, without outside data.

    They are plain; Madry's adversarial training, on the label under attack; and TRADES, with its authors' weight of 6.

    Args:
        ball: of the attacks, with a positive radius.
        steps: of each attack.

    Raises:
        ValueError: where the ball has no positive radius, or the steps are out of range.

    References:
        As at `EXPOSURES` and `Exposure`.

    Example:
        >>> {name: how.each for name, how in within(L2Ball(0.5)).items()}
        {'plain': 1, 'madry': 11, 'trades': 13}
    """
    return {
        "plain": Exposure(),
        "madry": Exposure(inside=ball, steps=steps),
        "trades": Exposure(inside=ball, steps=steps, beta=6.0),
    }


class Progress(NamedTuple):
    """One iteration: its number from 1, the loss, and the share of the batch that was right as it was seen.

    Of TRADES, which sees the batch twice, that is the share before the attack.
    """

    iteration: int
    loss: Tensor
    accuracy: Tensor


def train_exposed(
    network: nn.Module,
    target: LabelledSource,
    outside: Source,
    *,
    how: Exposure,
    iterations: int,
    batch_size: int = 64,
    rate: float = 1e-3,
    anneal: float = 0.8,
    seed: int = 0,
    half: bool = False,
    callback: Callable[[Progress], None] | None = None,
) -> nn.Module:
    """Train a classifier in place by Adam, and return it in eval mode.

    One seed gives one classifier on one machine. The global random state is untouched as long as the network draws
    nothing from it in training.

    Args:
        network: `(N, *) -> (N, K)`, on the device that is to train it.
        target: labelled, of K classes.
        outside: of samples of the same shape; not drawn from where `how.weight` is 0.
        how: what is asked for.
        iterations: at least 1.
        batch_size: target samples of an iteration, and outside samples.
        rate: Adam's learning rate, above 0.
        anneal: share of the iterations over which it falls, as in `genat.fit`.
        seed: of the batches.
        half: compute in bfloat16 where that is safe, as in mixed precision.
        callback: called after each iteration.

    Raises:
        ValueError: where an argument is out of range.
        DivergenceError: where a loss is not finite.

    Example:
        >>> from genat import networks
        >>> from genat.sources import Box, Images
        >>> pixels = torch.tensor([0, 255], dtype=torch.uint8).repeat(8).view(16, 1, 1, 1)
        >>> target = Images(pixels, labels=torch.arange(16) % 2, classes=("dark", "bright"))
        >>> network = networks.build_joint("mlp", (1, 1, 1), {"hidden": [8]}, classes=2, seed=0).classifier
        >>> _ = train_exposed(network, target, target, how=Exposure(), iterations=100, batch_size=16, rate=0.01)
        >>> network(torch.tensor([0.0, 1.0]).view(2, 1, 1, 1)).argmax(dim=1)
        tensor([0, 1])
    """
    for name, value in (("iterations", iterations), ("batch_size", batch_size)):
        if value < 1:
            raise ValueError(f"expected {name} to be at least 1, got {value}")
    if not 0 < rate < math.inf:
        raise ValueError(f"expected rate to be positive and finite, got {rate}")
    device = next(network.parameters()).device
    network.train()
    optimizer = torch.optim.Adam(network.parameters(), lr=rate, fused=True)
    for iteration in range(1, iterations + 1):
        for group in optimizer.param_groups:
            group["lr"] = rate * annealed(iteration - 1, iterations=iterations, anneal=anneal)
        images, labels = target.draw_labelled(batch_size, generator=step_generator(seed, iteration, "target"))
        others = None
        if how.weight:
            others = outside.draw(batch_size, generator=step_generator(seed, iteration, "outside")).to(device)
        with torch.enable_grad():
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=half):
                batch = (images.to(device), labels.to(device), others)
                loss, right = _losses(network, batch, how=how, generator=step_generator(seed, iteration, "start"))
            if not loss.isfinite():
                raise DivergenceError(f"iteration {iteration}: expected a finite loss, got {loss.item()}")
            optimizer.zero_grad()
            torch.autograd.backward(loss)
        optimizer.step()
        if callback is not None:
            callback(Progress(iteration, loss.detach(), right))
    return network.eval()


def _losses(
    network: nn.Module, batch: tuple[Tensor, Tensor, Tensor | None], *, how: Exposure, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return the loss of one iteration and the share that was right, of images, labels and outside samples."""
    images, labels, others = batch
    with frozen(network):
        if how.beta is None:
            seen = [_attacked(partial(_entropies, network, labels), images, ball=how.inside, steps=how.steps)]
        else:
            seen = [images, _parted(network, images, how=how, generator=generator)]
        if others is not None:
            seen.append(_attacked(partial(_confidence, network), others, ball=how.outside, steps=how.steps))
    logits = torch.split(network(torch.cat(seen)).float(), [len(part) for part in seen])
    loss = F.cross_entropy(logits[0], labels)
    if how.beta is not None:
        loss = loss + how.beta * divergences(logits[0], logits[1]).mean()
    if others is not None:
        likelihoods = F.log_softmax(logits[-1], dim=1)
        unsure = -likelihoods.mean(dim=1) if how.loss == "uniform" else likelihoods.amax(dim=1)
        loss = loss + how.weight * unsure.mean()
    return loss, (logits[0].argmax(dim=1) == labels).float().mean()


def divergences(logits: Tensor, others: Tensor) -> Tensor:
    r"""Return how far others' class probabilities are from those of logits, `(N,)`.

    .. math:: KL(p \,\|\, q) = \sum_k p_k \log \frac{p_k}{q_k}

    Args:
        logits: `(N, K)` of p.
        others: `(N, K)` of q.

    Example:
        >>> divergences(torch.tensor([[0.0, 0.0]]), torch.tensor([[1.0, 0.0]])).round(decimals=4)  # log cosh(1 / 2)
        tensor([0.1201])
    """
    kept, moved = F.log_softmax(logits, dim=1), F.log_softmax(others, dim=1)
    return F.kl_div(moved, kept, reduction="none", log_target=True).sum(dim=1)


@dataclass(frozen=True, slots=True)
class _Near:
    """A ball whose random starts lie near its centre, within a tenth of its radius."""

    ball: Ball

    @property
    def radius(self) -> float | None:
        return self.ball.radius

    def direction(self, gradient: Tensor) -> Tensor:
        return self.ball.direction(gradient)

    def project(self, points: Tensor, centers: Tensor) -> Tensor:
        return self.ball.project(points, centers)

    def random_start(self, centers: Tensor, *, generator: torch.Generator) -> Tensor:
        return torch.lerp(centers, self.ball.random_start(centers, generator=generator), 0.1)


def _parted(network: nn.Module, images: Tensor, *, how: Exposure, generator: torch.Generator) -> Tensor:
    """Return images of the ball to which the network says something else, `(N, *)`."""
    assert how.inside is not None, "checked at the beginning"
    with torch.no_grad():
        kept = network(images).float()

    def parting(points: Tensor) -> Tensor:
        return divergences(kept, network(points).float())

    return ascend(
        parting,
        images,
        steps=how.steps,
        step_size=crossing(how.inside, steps=how.steps),
        ball=_Near(how.inside),
        random_start=True,
        generator=generator,
    )


def _attacked(rising: Detector, points: Tensor, *, ball: Ball | None, steps: int) -> Tensor:
    if ball is None:
        return points
    return ascend(rising, points, steps=steps, step_size=crossing(ball, steps=steps), ball=ball)


def _entropies(network: nn.Module, labels: Tensor, points: Tensor) -> Tensor:
    """Return the labels' cross-entropies, `(N,)`."""
    return F.cross_entropy(network(points).float(), labels, reduction="none")


def _confidence(network: nn.Module, points: Tensor) -> Tensor:
    """Return the largest log-probability, `(N,)`."""
    return F.log_softmax(network(points).float(), dim=1).amax(dim=1)
