"""Attacks on a system that decides: which labels it can be made to give, and how sure of them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import chain

import torch
from torch import Tensor

from genat.adversaries import Best, Package, budget, check_attack, package, seeded
from genat.balls import Ball, crossing
from genat.decisions import System
from genat.evaluation.systems import foreign
from genat.evaluation.systems.ascents import Passes, Task, check_labels, score_if_wrong, share_of_errors
from genat.evaluation.systems.objectives import leaving


@dataclass(frozen=True, slots=True, eq=False)
class AttackedSystem:
    """The worst that several attacks made of N images, sample by sample.

    Attributes:
        images: `(N, *)` in ball and box.
        wrong: `(N,)` float64, the system's score at `images` where it labels them wrongly; minus infinity where no
            candidate was labelled wrongly.
        each: how far each attack came by itself, the clean image beside it: `(N,)` float64, nowhere above `wrong`.
        evaluations: passes spent on a sample, forward and backward, on average and rounded up; a look alone counts as
            one.
    """

    images: Tensor
    wrong: Tensor
    each: dict[str, Tensor]
    evaluations: int

    @property
    def names(self) -> tuple[str, ...]:
        """The attacks that were run; the clean image is a candidate beside them."""
        return tuple(self.each)

    def errors(self, threshold: float | None = None) -> float:
        """Return the share of samples that can be made wrong and accepted, at a score of the threshold or more."""
        return share_of_errors(self.wrong, threshold)


def attack_system(
    system: System,
    images: Tensor,
    labels: Tensor,
    *,
    ball: Ball,
    steps: int = 100,
    restarts: int = 1,
    queries: int = 0,
    targets: int = 3,
    threshold: float | None = None,
    others: Mapping[str, Tensor] | None = None,
    seed: int = 0,
    batch_size: int = 256,
) -> AttackedSystem:
    r"""Make a system wrong, and as sure of it as the worst of several attacks can, sample by sample.

    .. math:: w_i = \max_x \{ s(x) : \hat y(x) \ne y_i \}, \qquad x \in \{x_i,\ x_i^{wrong},\ x_i^{targeted}, \dots\}

    with the system's label :math:`\hat y` and its score s; :math:`w_i = -\infty` where no candidate is labelled
    wrongly. The rate of errors at a threshold t is the share of :math:`w_i \ge t`, for all thresholds at once.

    By `genat.ascend`, from the image and again from points of the ball, in normalised or sign steps:

    - "wrong" raises `System.wrong`, "targeted" `System.toward` for those of the other classes that have the highest
      margins at the image.
    - "margin" raises :math:`\max_{i \ne y} m_i - m_y` and "cross-entropy" the cross-entropy of the margins m; of an
      `Integrated` system, of its classifier's logits.
    - "accepted", with a threshold, raises how far another class than the label is ahead of both label and rejection.
    - "combined" and "combined margin", of an `Integrated` system only, take classifier and detectors together, see
      `objectives.combined` and `objectives.combined_margin`.

    By an independent package, on the system as a classifier that a sample's label should leave, in which a rejection
    counts for the label, see `objectives.leaving`: "apgd-ce" and "apgd-t", on cross-entropy and on the targeted DLR
    loss, both going on beyond success; "fab", which looks for the nearest error; "square", which needs no gradient and
    so finds what a system with useless gradients hides. The targeted loss needs four logits: K of them without a
    threshold, K + 1 with one; with fewer "apgd-t" is left out. Images that were made against something else are tried
    as they are: a transfer attack.

    Guaranteed on return: the points are in ball and box to 1e-5; `wrong` is nowhere below any attack's; the system, the
    images and the global random state are untouched.

    Args:
        system: what decides; sample i's decision must not depend on sample j.
        images: `(N, *)` floating point in [0, 1].
        labels: `(N,)` int64, the right ones, from 0 to K - 1.
        ball: `L2Ball` or `LinfBall` with a positive radius.
        steps: of every attack but Square, at least 1.
        restarts: how often each of them starts, at least 1.
        queries: of Square, 0 for none; it takes images `(N, C, H, W)` of sides from 5 up.
        targets: how many of the other classes targeted attacks try, at least 1; K - 1 where there are no more.
        threshold: below which the system rejects, for the package's attacks; None where only the label counts.
        others: `(N, *)` images by name, each brought into the ball about its row of `images`.
        seed: of all that is random, at least 0; one seed and batch_size give one result.
        batch_size: how many images at a time, at least 1.

    Raises:
        ImportError: where pyautoattack is not installed.
        TypeError: for another ball.
        ValueError: for arguments out of range, images outside [0, 1] or that Square does not take, labels or others of
            another shape, or scores that are not finite.

    References:
        Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks (Croce, Hein,
        2020) https://arxiv.org/abs/2003.01690
        Minimally distorted adversarial examples with a fast adaptive boundary attack (Croce, Hein, 2020)
        https://arxiv.org/abs/1907.02044
        On adaptive attacks to adversarial example defenses (Tramer, Carlini, Brendel, Madry, 2020)
        https://arxiv.org/abs/2002.08347

    Example:
        Two detectors, each of its own pixel: a radius r raises the wrong one's logit by r and lowers no other.

        >>> from genat import Committee, LinfBall
        >>> from genat.decisions import Generative
        >>> from genat.networks.layers import Select
        >>> pixels = [torch.nn.Sequential(torch.nn.Flatten(), Select(k)) for k in (0, 1)]
        >>> x, y = torch.tensor([[0.5, 0.4], [0.9, 0.1]]), torch.tensor([0, 0])
        >>> attacked = attack_system(Generative(Committee(pixels)), x, y, ball=LinfBall(0.1), steps=10)
        >>> attacked.wrong.round(decimals=4), attacked.errors()
        (tensor([0.5000,   -inf], dtype=torch.float64), 0.5)
    """
    others = others or {}
    budget(ball)
    check_attack(
        images, steps=steps, restarts=restarts, queries=queries, others=others, seed=seed, batch_size=batch_size
    )
    check_labels(system, images, labels)
    if targets < 1:
        raise ValueError(f"expected targets to be at least 1, got {targets}")
    attacks = package()
    images = images.detach()
    passes, parts = Passes(), []
    with seeded(system, seed=seed) as generator:
        for begin in range(0, len(images), batch_size):
            rows = slice(begin, begin + batch_size)
            # the package takes views, and what came from inference mode is no part of a gradient
            batch, right = (
                images[rows].clone(memory_format=torch.contiguous_format),
                labels[rows].to(images.device, copy=True),
            )
            best = Best(passes.through(partial(score_if_wrong, system, right)), batch, ball)
            task = Task(system, batch, right, ball, steps, restarts, targets, generator, passes, threshold)
            found = chain(task.ascents(crossing(ball, steps=steps)), _foreign(attacks, task, threshold, queries))
            for name, points in chain(found, ((name, points[rows]) for name, points in others.items())):
                best.take(name, points)
            parts.append(best)
    each = {name: torch.cat([part.each[name] for part in parts]) for name in parts[0].each}
    points, wrong = (torch.cat(all_) for all_ in zip(*((part.points, part.values) for part in parts), strict=True))
    return AttackedSystem(points, wrong, each, -(-passes.samples // len(images)))


def _foreign(attacks: Package, task: Task, threshold: float | None, queries: int) -> Iterator[tuple[str, Tensor]]:
    """Yield the independent package's attacks by name, and the points each comes to."""
    ball, images, labels, steps = task.ball, task.images, task.labels, task.steps
    view = task.passes.through(leaving(task.system, labels, threshold=threshold))
    soft = task.softened(view)
    for _ in range(task.restarts):
        yield "apgd-ce", foreign.apgd(attacks, soft, images, labels, ball=ball, steps=steps)
    wide = task.passes.through(leaving(task.system, labels, threshold=threshold, lower=True))
    if foreign.can_target(wide, images):
        for kinds in task.rivals.T:
            for _ in range(task.restarts):
                yield "apgd-t", foreign.targeted(attacks, wide, images, labels, kinds, ball=ball, steps=steps)
    for start in range(task.restarts):
        found = foreign.fab(
            attacks, view, images, labels, ball=ball, steps=steps, targets=task.rivals.shape[1], scattered=start > 0
        )
        yield from (("fab", points) for points in found)
    if queries:
        yield "square", foreign.square(attacks, soft, images, labels, ball=ball, queries=queries)
