"""The trainers that a simulation compares: GAT without a ball and in one, on clean data only; GANs; an energy model."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from genat import networks
from genat.ascent import NonFiniteError, Rule, climb
from genat.balls import Ball, L2Ball, LinfBall
from genat.curriculum import Curriculum
from genat.networks import Together
from genat.recipe import Replay, adam
from genat.simulations.watch import Watch
from genat.sources.toy import Toy
from genat.training import DivergenceError, Step, fit, step_generator

SAMPLES = 2500  # what VEEGAN and PacGAN draw to count modes
TRAJECTORIES = 64
_SETTLE: tuple[tuple[int, float], ...] = ((40, 0.01), (40, 0.002))  # steps and their size
_CENTRE = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """S trainings side by side.

    Attributes:
        detector: of S members; the energy model's logit is minus its energy.
        samples: `(S, n, d)` generated points.
        trajectory: `(K + 1, n, d)` of the first seed's first samples; empty for a generator's.
        passes: forward and backward passes of one network on one sample that a seed's training spent.
        diverged: member and step for those that are not finite any more; their weights are zero.
    """

    detector: Together
    samples: Tensor
    trajectory: Tensor
    passes: int
    diverged: dict[int, int]


class Trainer(Protocol):
    """What `simulate` needs of a trainer: settings with these verbs."""

    @property
    def rate(self) -> float:
        """Learning rate (of the detector)."""
        ...

    @property
    def iterations(self) -> int:
        """Training steps."""
        ...

    def with_budget(self, passes: int) -> "Trainer":
        """Return these settings with as many iterations as the passes allow."""
        ...

    def with_rate(self, rate: float) -> "Trainer":
        """Return these settings with another learning rate."""
        ...

    def train(self, toy: Toy, *, seeds: Sequence[int], device: str, watch: Watch) -> Trained:
        """Train all seeds together."""
        ...


def detectors(
    dim: int, *, hidden: Sequence[int], std: float, seeds: Sequence[int], device: str, he: bool = True
) -> Together:
    """Return a multilayer perceptron a seed, together; each sees (x - 0.5) / std.

    Args:
        dim: coordinates of a point.
        hidden, std: of the networks.
        seeds: one a member.
        device: "cpu" or "cuda".
        he: begin the hidden layers with He's variance, 2 / n, six times PyTorch's own, which leaves a deep network too
            smooth to learn fine detail early.

    References:
        Delving Deep into Rectifiers (He, Zhang, Ren, Sun, 2015) https://arxiv.org/abs/1502.01852
    """
    options = {"hidden": tuple(hidden), "mean": _CENTRE, "std": std}
    members = [networks.build("mlp", (dim,), options, seed=seed) for seed in seeds]
    with torch.no_grad():
        for member in members:
            for layer in [layer for layer in member.children() if isinstance(layer, nn.Linear)][:-1] if he else ():
                layer.weight.mul_(math.sqrt(6))
    return Together(members).to(device)


@dataclass(frozen=True, slots=True)
class Gat:
    """Generative adversarial training. The defaults are the unconstrained algorithm with growing steps.

    The papers' 2-D experiments take 50,000 full-batch iterations of a network with 1,004,001 parameters. These
    settings reach their pictures with a hundredth of the arithmetic: small batches, an input scaled so that fine
    detail is learned early, Adam steps twice as long, which some ascents shorten on the way (long ones travel between
    the modes, short ones settle on them), and a learning rate that falls at the end.

    Attributes:
        iterations, batch_size, rate, anneal, ema: of the training, as in `genat.fit`.
        hidden, std: of the network; the input is (x - 0.5) / std.
        first, last, ramp: the ascent's steps grow from first to last over this share of the iterations.
        step_size, rule: of the ascent.
        shrink: smallest and largest; each sample draws its own, as in `genat.fit`.
        norm, radius, random_start: the ball; radius None is unconstrained.
        burst: ascents go on from one iteration to the next, so many steps at a time, in a pool of four batches; None
            begins them all anew. See `genat.Replay`.

    Raises:
        ValueError: where the radius, the ramp or a number of steps is out of its range.
    """

    iterations: int = 6000
    batch_size: int = 32
    rate: float = 1e-3
    anneal: float = 0.4
    ema: float = 0.998
    hidden: tuple[int, ...] = (128, 128, 128, 128)
    std: float = 1 / 15
    first: int = 1
    last: int = 20
    ramp: float = 0.5
    step_size: float = 0.1
    shrink: tuple[float, float] = (0.1, 1.0)
    rule: Rule = "adam"
    norm: Literal["l2", "linf"] = "l2"
    radius: float | None = None
    random_start: bool = False
    burst: int | None = None

    def __post_init__(self) -> None:
        L2Ball(self.radius)
        Curriculum(self.first, self.last)
        if not 0 <= self.ramp <= 1:
            raise ValueError(f"expected ramp in [0, 1], got {self.ramp}")

    @property
    def ball(self) -> Ball:
        """Where ascent may go."""
        return L2Ball(self.radius) if self.norm == "l2" else LinfBall(self.radius)

    def curriculum(self) -> Curriculum:
        """Return the plan for the number of steps; its stages end by iterations alone."""
        stages = self.last - self.first + 1
        return Curriculum(
            self.first, self.last, stage_iterations=max(1, round(self.ramp * self.iterations / stages)), gate=None
        )

    def with_budget(self, passes: int) -> "Gat":
        """Return these settings with as many iterations as the passes allow."""
        if self.burst is None:
            mean = self.last - self.ramp * (self.last - self.first) / 2
        else:
            stages = range(self.first, self.last + 1)
            short = sum(max(0, self.burst - steps) for steps in stages) / len(stages)  # of a burst, in the first stages
            mean = min(self.burst, self.last) - self.ramp * short
        return replace(self, iterations=max(1, round(passes / (self.batch_size * (mean + 2)))))

    def with_rate(self, rate: float) -> "Gat":
        """Return these settings with another learning rate."""
        return replace(self, rate=rate)

    def train(self, toy: Toy, *, seeds: Sequence[int], device: str, watch: Watch) -> Trained:
        """Train all seeds together."""
        detector = detectors(toy.shape[0], hidden=self.hidden, std=self.std, seeds=seeds, device=device)
        passes, reached = 0, 0
        diverged: dict[int, int] = {}

        def note(step: Step) -> None:
            nonlocal passes, reached
            passes += self.batch_size * (min(step.steps, self.burst or step.steps) + 2)
            reached = step.iteration
            for member, each in enumerate(step.members):
                if math.isnan(each.loss):
                    diverged.setdefault(member, reached)
            losses, aurocs = [each.loss for each in step.members], [each.auroc for each in step.members]
            watch(
                step.iteration,
                detector=detector,
                losses=losses,
                aurocs=aurocs,
                steps=step.steps,
                points=lambda n: self.sample(detector.member(0), toy, seed=seeds[0], n=n)[0],
            )

        try:
            fitted = fit(
                detector,
                toy.target,
                toy.outside,
                iterations=self.iterations,
                steps=self.curriculum(),
                step_size=self.step_size,
                shrink=self.shrink,
                ball=self.ball,
                rule=self.rule,
                random_start=self.random_start,
                batch_size=self.batch_size,
                optimizer=adam(self.rate),
                ema=self.ema,
                anneal=self.anneal,
                replay=None if self.burst is None else Replay(self.burst, 4 * self.batch_size),
                seed=list(seeds),
                callback=note,
            )
        except DivergenceError:
            last = dict.fromkeys(range(len(seeds)), reached + 1)
            return all_lost(detector, toy, passes=passes, diverged=last | diverged)
        assert isinstance(fitted.detector, Together)
        return self._generate(fitted.detector, toy, seeds=seeds, passes=passes, diverged=dict(fitted.diverged))

    def _generate(
        self, detector: Together, toy: Toy, *, seeds: Sequence[int], passes: int, diverged: dict[int, int]
    ) -> Trained:
        made = []
        for member, seed in enumerate(seeds):
            try:
                made.append(self.sample(detector.member(member), toy, seed=seed, n=SAMPLES))
            except NonFiniteError:  # the last step led there
                silence(detector, [member])
                diverged[member] = self.iterations
                made.append(self.sample(detector.member(member), toy, seed=seed, n=SAMPLES))
        return Trained(detector, torch.stack([points for points, _ in made]), made[0][1], passes, diverged)

    def sample(self, detector: nn.Module, toy: Toy, *, seed: int, n: int) -> tuple[Tensor, Tensor]:
        """Climb from outside points as in training's last stage and then in shorter and shorter steps, without a ball.

        An ascent that has arrived stops: at the median logit of the training positives. The game leaves open where on
        the half level set the adversary goes (see docs/theory.md); climbing on would gather all samples at the few
        points where the logit happens to be highest.

        Args:
            detector: of one seed.
            toy: where its positives and outside points lie.
            seed: of the starts.
            n: how many.

        Returns:
            Samples `(n, d)` and the trajectories of the first, `(K + 1, 64, d)`.

        Raises:
            NonFiniteError: where logits are not finite.
        """
        draw = step_generator(seed, 0, "samples")
        starts = toy.outside[torch.randint(len(toy.outside), (n,), generator=draw)]
        device = next(detector.parameters()).device
        with torch.no_grad():
            level = detector(toy.target.to(device)).median().item()
        if not math.isfinite(level):
            raise NonFiniteError(torch.ones(n, dtype=torch.bool))
        points, way = starts.to(device), list[Tensor]()
        for steps, size in ((max(self.last, 1), self.step_size), *_SETTLE):
            walk = partial(climb, rule=self.rule, stop_at=level, trajectory=True)
            end = walk(detector, points, steps=steps, step_size=size)
            assert end.trajectory is not None
            way.append(end.trajectory[1 if way else 0 :, :TRAJECTORIES].cpu())
            points = end.points
        return points.cpu(), torch.cat(way)


@torch.no_grad()
def silence(detector: Together, members: Sequence[int]) -> None:
    """Set the weights of some members to zero."""
    for weights in detector.parameters():
        weights[list(members)] = 0


def all_lost(detector: Together, toy: Toy, *, passes: int, diverged: dict[int, int]) -> Trained:
    """Return what is left where every seed has diverged: a detector and samples of zeros."""
    silence(detector, range(detector.members))
    samples = torch.zeros(detector.members, SAMPLES, toy.shape[0])
    return Trained(detector, samples, torch.empty(0, 0, toy.shape[0]), passes, diverged)
