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
    of the label, and outside the largest log-probability.

    Attributes:
        weight: :math:`\lambda`; 0 leaves outside data out.
        loss: :math:`\ell`, "uniform" or "confidence".
        inside: the ball of the attack on target data; None trains on it as it is.
        outside: of the attack on outside data, likewise.
        steps: of each attack, of 2.5 radius / steps.

    Raises:
        ValueError: for values out of range.

    Example:
        >>> Exposure(weight=0.5).each, Exposure(weight=1.0, outside=L2Ball(1.0), steps=10).each
        (2, 12)
    """

    weight: float = 0.0
    loss: Literal["uniform", "confidence"] = "uniform"
    inside: Ball | None = None
    outside: Ball | None = None
    steps: int = 10

    def __post_init__(self) -> None:
        if not 0 <= self.weight < math.inf:
            raise ValueError(f"expected weight to be at least 0 and finite, got {self.weight}")
        if self.loss not in ("uniform", "confidence"):
            raise ValueError(f"expected loss to be 'uniform' or 'confidence', got {self.loss!r}")
        if self.steps < 1:
            raise ValueError(f"expected steps to be at least 1, got {self.steps}")
        if any(ball is not None and not ball.radius for ball in (self.inside, self.outside)):
            raise ValueError("expected balls with a positive radius, got one without")

    @property
    def each(self) -> int:
        """Passes that an iteration spends on a target sample and its outside sample together."""
        inside = 1 + (self.steps if self.inside else 0)
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


class Progress(NamedTuple):
    """One iteration: its number from 1, the loss, and the share of the batch that was right as it was seen."""

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
    step = partial(_losses, network.train(), how)
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
                loss, right = step(images.to(device), labels.to(device), others)
            if not loss.isfinite():
                raise DivergenceError(f"iteration {iteration}: expected a finite loss, got {loss.item()}")
            optimizer.zero_grad()
            torch.autograd.backward(loss)
        optimizer.step()
        if callback is not None:
            callback(Progress(iteration, loss.detach(), right))
    return network.eval()


def _losses(
    network: nn.Module, how: Exposure, images: Tensor, labels: Tensor, others: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return the loss of one iteration and the share that was right."""
    with frozen(network):
        images = _attacked(partial(_entropies, network, labels), images, ball=how.inside, steps=how.steps)
        if others is not None:
            others = _attacked(partial(_confidence, network), others, ball=how.outside, steps=how.steps)
    logits: Tensor = network(images if others is None else torch.cat([images, others])).float()
    inside = logits[: len(images)]
    loss = F.cross_entropy(inside, labels)
    if others is not None:
        likelihoods = F.log_softmax(logits[len(images) :], dim=1)
        unsure = -likelihoods.mean(dim=1) if how.loss == "uniform" else likelihoods.amax(dim=1)
        loss = loss + how.weight * unsure.mean()
    return loss, (inside.argmax(dim=1) == labels).float().mean()


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
