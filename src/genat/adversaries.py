"""Attacks nobody here wrote, behind one function, so that a worst-case figure is not our word alone."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from genat.ascent import UNIT_BOX, Detector, ascend, frozen
from genat.balls import Ball, L2Ball, LinfBall
from genat.detection import logits

Norm = Literal["l2", "linf"]

_LEVEL = 20.0  # log(1 + exp g) is g to 2e-9 from here up, and float32 still resolves g to 2e-6
_STRIDE = 2.5  # steps of 2.5 radius / steps lead from any point of a ball to any other, with some to spare


@dataclass(frozen=True, slots=True, eq=False)
class Attacked:
    """The strongest that several attacks made of N images, sample by sample.

    Attributes:
        images: `(N, *)` in ball and box.
        logits: `(N,)` float64 at `images`, nowhere below those of the clean images.
        evaluations: passes spent on each sample, forward and backward; a look at the logit alone counts as one.
        names: the attacks that were run; the clean image is a candidate beside them.
    """

    images: Tensor
    logits: Tensor
    evaluations: int
    names: tuple[str, ...]


def worst_case(
    detector: Detector,
    images: Tensor,
    *,
    ball: Ball,
    steps: int = 100,
    restarts: int = 1,
    seed: int = 0,
    batch_size: int = 256,
    own: bool = True,
) -> Attacked:
    r"""Raise the logits of images as far as the strongest of several attacks can, sample by sample.

    .. math:: x^*_i = \arg\max_x f(x), \qquad x \in \{x_i,\ x_i^{APGD},\ x_i^{ascent}\}

    The first attack is APGD on cross-entropy, as its authors' package has it: it starts anywhere on the ball's surface,
    chooses its own step sizes and keeps the best iterate. It is shown two logits, 0 and

    .. math:: g(x) = 20 + \frac{f(x) - f(x_i)}{c}, \qquad c = \mathrm{mean}_j\,|f(x_j + u_j) - f(x_j)|

    with :math:`u_j` uniform in the ball, and is asked to leave the first. On 0 and f itself the cross-entropy
    :math:`\log(1 + e^f)` and its gradient vanish in float32 where f is far below zero, and the detector looks robust
    because the attack is blind; around 20 it is a straight line. Scale and offset of f make no difference to g, as they
    make none to a ranking. The second attack is `genat.ascend` from the image itself.

    Guaranteed on return: the points are in ball and box to 1e-5; the detector, the images and the global random state
    are untouched.

    Args:
        detector: `(N, *) -> (N,)`; sample i's logit must not depend on sample j.
        images: `(N, *)` floating point in [0, 1], the box that APGD is written for.
        ball: `L2Ball` or `LinfBall` with a positive radius.
        steps: of each attack, at least 1.
        restarts: how often APGD starts anew, at least 1.
        seed: of all that is random, at least 0; one seed and batch_size give one result.
        batch_size: how many images at a time, at least 1.
        own: run `genat.ascend` too; False leaves APGD alone.

    Returns:
        Images, logits, cost and the attacks' names.

    Raises:
        ImportError: where pyautoattack is not installed.
        TypeError: for another ball.
        ValueError: for arguments out of range, images outside [0, 1], or logits that are not finite or not `(N,)`.

    References:
        Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks (Croce, Hein,
        2020) https://arxiv.org/abs/2003.01690

    Example:
        A linear logit rises by the radius times the dual norm of its weights.

        >>> weights = torch.tensor([3.0, 4.0])
        >>> attacked = worst_case(lambda x: x @ weights - 90, torch.full((1, 2), 0.5), ball=L2Ball(0.1), steps=20)
        >>> attacked.images.round(decimals=3), attacked.logits.round(decimals=3)
        (tensor([[0.5600, 0.5800]]), tensor([-86.], dtype=torch.float64))
        >>> attacked.names, attacked.evaluations
        (('APGD-CE', 'steepest ascent'), 47)
    """
    norm, radius = budget(ball)
    _check(images, steps=steps, restarts=restarts, seed=seed, batch_size=batch_size)
    apgd = _apgd()
    images = images.detach()
    parts: list[tuple[Tensor, Tensor]] = []
    with torch.random.fork_rng(devices=[]), torch.inference_mode(mode=False), frozen(detector):
        # APGD draws from the CPU's global generator; torch.manual_seed would reseed the accelerators, not forked here
        torch.default_generator.manual_seed(seed)
        generator = torch.Generator().manual_seed(seed)
        for batch in torch.split(images, batch_size):
            clean = _look(detector, batch)
            attack = apgd(
                _two_logits(detector, batch, clean, ball=ball, generator=generator),
                n_iter=steps,
                norm={"l2": "L2", "linf": "Linf"}[norm],
                n_restarts=restarts,
                eps=radius,
            )
            # only best_loss goes on where the first logit has been left; contiguous, since the package takes views
            found = [attack.perturb(batch.contiguous(), torch.zeros(len(batch)), best_loss=True)]
            if own:
                stride = _STRIDE * radius / steps
                found.append(ascend(detector, batch, steps=steps, step_size=stride, ball=ball, keep="best"))
            parts.append(_strongest(detector, batch, clean, found, ball=ball))
    points, values = (torch.cat(part) for part in zip(*parts, strict=True))
    # beside the attacks' steps: a look at the image, at its neighbour and at each result, and APGD's look at its input
    evaluations = 4 + restarts * (steps + 1) + own * (steps + 2)
    return Attacked(points, values, evaluations, ("APGD-CE", "steepest ascent") if own else ("APGD-CE",))


def budget(ball: Ball) -> tuple[Norm, float]:
    """Return the norm and the radius of a ball that attacks can be confined to.

    Raises:
        TypeError: for a ball other than `L2Ball` and `LinfBall`.
        ValueError: where it has no radius or a radius of 0.

    Example:
        >>> budget(LinfBall(0.1))
        ('linf', 0.1)
    """
    if not isinstance(ball, L2Ball | LinfBall):
        raise TypeError(f"expected ball to be an L2Ball or a LinfBall, got {type(ball).__name__}")
    if not ball.radius:
        raise ValueError(f"expected a ball with a positive radius, got radius={ball.radius}")
    return ("l2" if isinstance(ball, L2Ball) else "linf"), ball.radius


def _apgd() -> Callable[..., Any]:
    try:
        from pyautoattack.autopgd_base import APGDAttack
    except ImportError as error:
        raise ImportError("expected pyautoattack for APGD, got none: pip install genat[attacks]") from error
    attack: Callable[..., Any] = APGDAttack
    return attack


def _two_logits(
    detector: Detector, images: Tensor, clean: Tensor, *, ball: Ball, generator: torch.Generator
) -> Callable[[Tensor], Tensor]:
    """Return the classifier 0 against g that is shown to APGD, which never asks for less than all of the images."""
    neighbours = ball.random_start(images, generator=generator).clamp(*UNIT_BOX)
    spread = (_look(detector, neighbours) - clean).abs().mean()
    scale = spread if spread > 0 else torch.ones_like(spread)

    def classifier(points: Tensor) -> Tensor:
        rise = (detector(points.to(images.dtype)) - clean) / scale
        return torch.stack([torch.zeros_like(rise), _LEVEL + rise], dim=1).float()

    return classifier


def _strongest(
    detector: Detector, images: Tensor, clean: Tensor, found: list[Tensor], *, ball: Ball
) -> tuple[Tensor, Tensor]:
    best, record = images, clean
    for points in found:
        # clipped because nobody here knows what foreign code returns
        inside = ball.project(points.to(images), images).clamp(*UNIT_BOX)
        values = _look(detector, inside)
        better = values > record
        best = torch.where(better.view(-1, *[1] * (images.ndim - 1)), inside, best)
        record = torch.where(better, values, record)
    return best, record


def _look(detector: Detector, points: Tensor) -> Tensor:
    values = logits(detector, points, batch_size=len(points))
    if not torch.isfinite(values).all():
        raise ValueError("expected finite logits, got some that are not")
    return values


def _check(images: Tensor, *, steps: int, restarts: int, seed: int, batch_size: int) -> None:
    if not images.is_floating_point() or images.ndim < 2 or len(images) == 0:
        shape = tuple(images.shape)
        raise ValueError(f"expected images (N, *), N >= 1, floating point, got {shape} {images.dtype}")
    low, high = torch.stack(images.detach().aminmax()).tolist()
    if not (low >= 0 and high <= 1):
        raise ValueError(f"expected images in [0, 1], got values from {low:.6g} to {high:.6g}")
    for name, value, least in (("steps", steps, 1), ("restarts", restarts, 1), ("seed", seed, 0)):
        if value < least:
            raise ValueError(f"expected {name} to be at least {least}, got {value}")
    if batch_size < 1:
        raise ValueError(f"expected batch_size to be at least 1, got {batch_size}")
