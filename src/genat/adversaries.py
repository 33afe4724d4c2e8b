"""Attacks nobody here wrote, behind one function, so that a worst-case figure is not our word alone."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from genat.ascent import UNIT_BOX, Detector, ascend, frozen
from genat.balls import Ball, L2Ball, LinfBall, crossing, per_sample
from genat.detection import logits

Norm = Literal["l2", "linf"]

_LEVEL = 20.0  # log(1 + exp g) is g to 2e-9 from here up, and float32 still resolves g to 2e-6
_BELOW = -1000.0  # Square drops an image whose second logit passes the first: no logarithm of a float is as large
_SQUARES = 5  # Square lays so many squares along a side
NORMS = {"l2": "L2", "linf": "Linf"}  # as the package calls them


@dataclass(frozen=True, slots=True, eq=False)
class Attacked:
    """The strongest that several attacks made of N images, sample by sample.

    Attributes:
        images: `(N, *)` in ball and box.
        logits: `(N,)` float64 at `images`, nowhere below those of the clean images.
        evaluations: passes spent on each sample, forward and backward; a look at the logit alone counts as one.
        each: the attacks that were run, and how far each came by itself: `(N,)` float64, nowhere below the clean.
    """

    images: Tensor
    logits: Tensor
    evaluations: int
    each: dict[str, Tensor]

    @property
    def names(self) -> tuple[str, ...]:
        """The attacks that were run; the clean image is a candidate beside them."""
        return tuple(self.each)


def worst_case(
    detector: Detector,
    images: Tensor,
    *,
    ball: Ball,
    steps: int = 100,
    restarts: int = 1,
    queries: int = 0,
    others: Mapping[str, Tensor] | None = None,
    seed: int = 0,
    batch_size: int = 256,
    own: bool = True,
) -> Attacked:
    r"""Raise the logits of images as far as the strongest of several attacks can, sample by sample.

    .. math:: x^*_i = \arg\max_x f(x), \qquad x \in \{x_i,\ x_i^{APGD},\ x_i^{Square},\ x_i^{ascent},\ x_i^{other}\}

    The first attack is APGD on cross-entropy, as its authors' package has it: it starts anywhere on the ball's surface,
    chooses its own step sizes and keeps the best iterate. It is shown two logits, 0 and

    .. math:: g(x) = 20 + \frac{f(x) - f(x_i)}{c}, \qquad c = \mathrm{mean}_j\,|f(x_j + u_j) - f(x_j)|

    with :math:`u_j` uniform in the ball, and is asked to leave the first. On 0 and f itself the cross-entropy
    :math:`\log(1 + e^f)` and its gradient vanish in float32 where f is far below zero, and the detector looks robust
    because the attack is blind; around 20 it is a straight line. Scale and offset of f make no difference to g, as they
    make none to a ranking.

    Square, from the same package, changes squares of pixels at random and keeps what raises g: it needs no gradient,
    and so finds what a detector with useless gradients hides. `genat.ascend` starts from the image itself, and again
    from points of the ball. Images that were made against something else are tried as they are: a transfer attack.

    Guaranteed on return: the points are in ball and box to 1e-5; the detector, the images and the global random state
    are untouched.

    Args:
        detector: `(N, *) -> (N,)`; sample i's logit must not depend on sample j.
        images: `(N, *)` floating point in [0, 1], the box that APGD is written for.
        ball: `L2Ball` or `LinfBall` with a positive radius.
        steps: of APGD and of an ascent, at least 1.
        restarts: how often APGD and ascent start, at least 1.
        queries: of Square, 0 for none; it takes images `(N, C, H, W)` of sides from 5 up.
        others: `(N, *)` images by name, each brought into the ball about its row of `images`.
        seed: of all that is random, at least 0; one seed and batch_size give one result.
        batch_size: how many images at a time, at least 1.
        own: run `genat.ascend` too.

    Returns:
        Images, logits, cost and what each attack came to.

    Raises:
        ImportError: where pyautoattack is not installed.
        TypeError: for another ball.
        ValueError: for arguments out of range, images outside [0, 1] or that Square does not take, others of another
            shape, or logits that are not finite or not `(N,)`.

    References:
        Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks (Croce, Hein,
        2020) https://arxiv.org/abs/2003.01690
        Square Attack: a query-efficient black-box adversarial attack via random search (Andriushchenko, Croce,
        Flammarion, Hein, 2020) https://arxiv.org/abs/1912.00049

    Example:
        A linear logit rises by the radius times the dual norm of its weights.

        >>> weights = torch.tensor([3.0, 4.0])
        >>> attacked = worst_case(lambda x: x @ weights - 90, torch.full((1, 2), 0.5), ball=L2Ball(0.1), steps=20)
        >>> attacked.images.round(decimals=3), attacked.logits.round(decimals=3)
        (tensor([[0.5600, 0.5800]]), tensor([-86.], dtype=torch.float64))
        >>> attacked.names, attacked.evaluations
        (('APGD-CE', 'steepest ascent'), 47)
    """
    others = others or {}
    budget(ball)
    check_attack(
        images, steps=steps, restarts=restarts, queries=queries, others=others, seed=seed, batch_size=batch_size
    )
    foreign = package()
    images = images.detach()
    parts: list[Best] = []
    with seeded(detector, seed=seed) as generator:
        for begin in range(0, len(images), batch_size):
            rows = slice(begin, begin + batch_size)
            batch = images[rows].contiguous()  # since the package takes views
            best = Best(partial(_look, detector), images[rows], ball)
            rise = _rise(detector, best, generator)
            best.take("APGD-CE", _apgd(foreign.apgd, rise, batch, ball=ball, steps=steps, restarts=restarts))
            if queries:
                predict = partial(_two_logits, partial(_logarithmic, rise), _BELOW)
                first = torch.zeros(len(batch), dtype=torch.int64, device=batch.device)
                best.take("Square", square(foreign.square, predict, batch, first, ball=ball, queries=queries))
            for start in range(restarts if own else 0):
                size = crossing(ball, steps=steps)
                found = start_anew(detector, batch, start, ball, steps=steps, step_size=size, generator=generator)
                best.take("steepest ascent", found)
            for name, points in others.items():
                best.take(name, points[rows])
            parts.append(best)
    each = {name: torch.cat([part.each[name] for part in parts]) for name in parts[0].each}
    # beside the attacks' steps: looks at the image, at its neighbour, at each result, and the package's at its input
    evaluations = 2 + (2 + restarts * (steps + 1)) + own * restarts * (steps + 2) + len(others)
    evaluations += queries + 2 if queries else 0
    points, values = (torch.cat(all_) for all_ in zip(*((part.points, part.values) for part in parts), strict=True))
    return Attacked(points, values, evaluations, each)


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


class Package(NamedTuple):
    """What pyautoattack has, as classes: APGD, APGD on a targeted loss, FAB and Square."""

    apgd: Callable[..., Any]
    targeted: Callable[..., Any]
    fab: Callable[..., Any]
    square: Callable[..., Any]


def package() -> Package:
    """Return pyautoattack's attacks.

    Raises:
        ImportError: where it is not installed: one line that names the extra.
    """
    try:
        from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
        from pyautoattack.fab_pt import FABAttack_PT
        from pyautoattack.square import SquareAttack
    except ImportError as error:
        raise ImportError("expected pyautoattack for APGD, got none: pip install genat[attacks]") from error
    return Package(APGDAttack, APGDAttack_targeted, FABAttack_PT, SquareAttack)


@contextmanager
def seeded(attacked: Detector | nn.Module, *, seed: int) -> Iterator[torch.Generator]:
    """Let foreign attacks draw from a seed of their own, and yield a generator of that seed, the attacked frozen.

    Example:
        >>> with seeded(nn.Identity(), seed=0) as generator:
        ...     torch.rand(1), torch.rand(1, generator=generator)
        (tensor([0.4963]), tensor([0.4963]))
    """
    with torch.random.fork_rng(devices=[]), torch.inference_mode(mode=False), frozen(attacked):
        # the package draws from the CPU's global generator; torch.manual_seed would reseed the accelerators too
        torch.default_generator.manual_seed(seed)
        yield torch.Generator().manual_seed(seed)


class Best:
    """The best points so far of a batch, of all attacks together and of each by itself.

    Args:
        look: points `(N, *)` to what is to be high, `(N,)`.
        images: `(N, *)`, which are candidates too.
        ball: where points are brought to, about the images.

    Example:
        >>> best = Best(lambda x: x.sum(1), torch.tensor([[0.5], [0.5]]), LinfBall(0.1))
        >>> best.take("up and down", torch.tensor([[9.0], [0.0]]))
        >>> best.points.flatten(), best.each
        (tensor([0.6000, 0.5000]), {'up and down': tensor([0.6000, 0.5000])})
    """

    def __init__(self, look: Callable[[Tensor], Tensor], images: Tensor, ball: Ball) -> None:
        self.look, self.images, self.ball = look, images, ball
        self.clean = look(images)
        self.points, self.values = images, self.clean
        self.each: dict[str, Tensor] = {}

    def take(self, name: str, points: Tensor) -> None:
        """Keep what an attack found where it is better, clipped, since nobody here knows what foreign code returns.

        A point that is not finite counts as the image.
        """
        finite = torch.isfinite(points).flatten(1).all(dim=1)
        inside = self.ball.project(points.to(self.images), self.images).clamp(*UNIT_BOX)
        inside = torch.where(per_sample(finite, inside), inside, self.images)
        values = self.look(inside)
        self.each[name] = torch.maximum(values, self.each.get(name, self.clean))
        better = values > self.values
        self.points = torch.where(per_sample(better, self.images), inside, self.points)
        self.values = torch.where(better, values, self.values)


def start_anew(
    detector: Detector,
    images: Tensor,
    start: int,
    ball: Ball,
    *,
    steps: int,
    step_size: float,
    generator: torch.Generator,
) -> Tensor:
    """Return the best that the first ascent comes to, from the images, or a later one, from points of the ball."""
    anew: dict[str, Any] = {"random_start": True, "generator": generator} if start else {}
    return ascend(detector, images, steps=steps, step_size=step_size, ball=ball, keep="best", **anew)


def square(
    attack: Callable[..., Any],
    predict: Callable[[Tensor], Tensor],
    images: Tensor,
    labels: Tensor,
    *,
    ball: Ball,
    queries: int,
) -> Tensor:
    """Return what Square comes to: the images of least margin between the label's logit and the largest other.

    Args:
        attack: `Package.square`.
        predict: `(n, *) -> (n, K)` logits, the label's largest. It sees all images for as long as none is beyond that.
        images: `(n, C, H, W)`.
        labels: `(n,)` int64.
        ball: with a positive radius.
        queries: at least 1.
    """
    norm, radius = budget(ball)
    squares = attack(predict, norm=NORMS[norm], n_queries=queries, eps=radius)
    squares.init_hyperparam(images)
    # a single run, since perturb returns what left the label and nothing else
    _, points = squares.attack_single_run(images, labels)
    found: Tensor = points
    return found


def check_attack(
    images: Tensor,
    *,
    steps: int,
    restarts: int,
    queries: int,
    others: Mapping[str, Tensor],
    seed: int,
    batch_size: int,
) -> None:
    """Check what attacks of a batch of images take, all but the ball.

    Raises:
        ValueError: as `worst_case`.

    Example:
        >>> check_attack(torch.rand(1, 2), steps=0, restarts=1, queries=0, others={}, seed=0, batch_size=1)
        Traceback (most recent call last):
        ValueError: expected steps to be at least 1, got 0
    """
    if not images.is_floating_point() or images.ndim < 2 or len(images) == 0:
        shape = tuple(images.shape)
        raise ValueError(f"expected images (N, *), N >= 1, floating point, got {shape} {images.dtype}")
    low, high = torch.stack(images.detach().aminmax()).tolist()
    if not (low >= 0 and high <= 1):
        raise ValueError(f"expected images in [0, 1], got values from {low:.6g} to {high:.6g}")
    bounds = {"steps": (steps, 1), "restarts": (restarts, 1), "queries": (queries, 0), "seed": (seed, 0)}
    for name, (value, least) in (bounds | {"batch_size": (batch_size, 1)}).items():
        if value < least:
            raise ValueError(f"expected {name} to be at least {least}, got {value}")
    if queries and (images.ndim != 4 or min(images.shape[2:]) < _SQUARES):
        shape = tuple(images.shape)
        raise ValueError(
            f"expected images (N, C, H, W) of sides from {_SQUARES} up with queries of Square, got {shape}"
        )
    for name, points in others.items():
        if points.shape != images.shape:
            raise ValueError(f"expected {name} of shape {tuple(images.shape)}, got {tuple(points.shape)}")


def _rise(detector: Detector, best: Best, generator: torch.Generator) -> Detector:
    """Return the logits' rise above the clean ones, for all of the images, in units of their spread in the ball."""
    images, clean = best.images, best.clean
    neighbours = best.ball.random_start(images, generator=generator).clamp(*UNIT_BOX)
    spread = (best.look(neighbours) - clean).abs().mean()
    scale = spread if spread > 0 else torch.ones_like(spread)
    return lambda points: (detector(points.to(images.dtype)) - clean) / scale


def _apgd(apgd: Callable[..., Any], rise: Detector, images: Tensor, *, ball: Ball, steps: int, restarts: int) -> Tensor:
    norm, radius = budget(ball)
    attack = apgd(partial(_two_logits, rise, _LEVEL), n_iter=steps, norm=NORMS[norm], n_restarts=restarts, eps=radius)
    # only best_loss goes on where the first logit has been left
    points: Tensor = attack.perturb(images, torch.zeros(len(images)), best_loss=True)
    return points


def _logarithmic(rise: Detector, points: Tensor) -> Tensor:
    """Return the rise on a scale on which it orders images as before, and is never large: sign(g) log(1 + |g|).

    Where a logit is all but flat, a single image may rise by thousands of units of its mean spread.
    """
    above = rise(points)
    return above.sign() * above.abs().log1p()


def _two_logits(rise: Detector, level: float, points: Tensor) -> Tensor:
    """Return the logits 0 and g, always of all the images: neither attack drops one before g has passed 0."""
    above = rise(points)
    return torch.stack([torch.zeros_like(above), level + above], dim=1).float()


def _look(detector: Detector, points: Tensor) -> Tensor:
    values = logits(detector, points, batch_size=len(points))
    if not torch.isfinite(values).all():
        raise ValueError("expected finite logits, got some that are not")
    return values
