"""The one training loop: outside data climbs, the detector learns to tell where it arrived from the target."""

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from genat import checkpoints
from genat.ascent import UNIT_BOX, Box, NonFiniteError, Rule, climb
from genat.balls import Ball, L2Ball
from genat.curriculum import Curriculum
from genat.networks import Together, check_detector
from genat.ranking import auroc_tensor
from genat.recipe import OptimizerFactory, Recipe, adam, annealed, ends
from genat.sources import Source, as_source
from genat.training import members
from genat.training.loss import Loss
from genat.training.records import DivergenceError, Fitted, Step
from genat.training.seeding import seeded_layers, step_generator

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def fit(
    detector: nn.Module,
    target: Source | Tensor,
    outside: Source | Tensor,
    *,
    iterations: int,
    steps: Curriculum | int,
    step_size: float | tuple[float, float],
    shrink: float | tuple[float, float] = 1.0,
    ball: Ball = L2Ball(),
    box: Box | None = UNIT_BOX,
    rule: Rule = "steepest",
    random_start: bool = False,
    batch_size: int = 64,
    descent_steps: int = 0,
    descent_ball: Ball = L2Ball(),
    r1: float = 0.0,
    optimizer: OptimizerFactory = adam(),  # noqa: B008 - a pure maker
    ema: float | None = 0.999,
    clip_norm: float | None = None,
    anneal: float = 0.0,
    seed: int | Sequence[int] = 0,
    fabric: "Fabric | None" = None,
    folder: Path | None = None,
    checkpoint_every: int = 500,
    resume: bool = False,
    callback: Callable[[Step], None] | None = None,
) -> Fitted:
    r"""Train a detector on the maximin game, in place, and return it.

    Each step draws B target and B outside samples, climbs the outside ones, lets the target ones descend where
    asked, and takes one optimiser step on

    .. math:: L = \mathrm{BCE}(f(x), 1) + \mathrm{BCE}(f(x'), 0) + \lambda\,\tfrac12\,\mathbb{E}\|\nabla_x f(x)\|_2^2

    with the cross-entropies averaged over all 2B logits. With `L2Ball()` and a `Curriculum` this is unconstrained GAT
    (Yin, Li, Rohde, 2020); with a radius and a fixed number of steps it is the GAT of Yin, Kolouri, Rohde (2020).

    All randomness of step i is drawn from (seed, i): the same seed gives the same weights, also after a resume.
    BatchNorm keeps its running statistics throughout.

    A detector of M members (`networks.Together`) is M trainings side by side, a seed each: the batch, the loss and
    the optimiser's step of a member are its own, so that it becomes what it would have become alone. They share the
    curriculum, whose gate sees the mean of their AUROCs. A member that diverges is set to zero and told of in the
    result; the others go on.

    Args:
        detector: `(N, *) -> (N,)`, trained in place.
        target: in-distribution data, a source or a tensor `(M, *)` of pixels in [0, 1] (or points, with box=None).
        outside: where ascents start from.
        iterations: optimiser steps, at least 1.
        steps: ascent steps: a curriculum, or one number for all of training.
        step_size: of ascent and descent, in the input's units; (low, high) draws one for each sample, uniform in
            its logarithm.
        shrink: the ascent's last step over its first, in (0, 1], as in `genat.ascend`; (low, high) as with step_size,
            so that some ascents travel to the end while others settle. Descent does not shrink.
        ball, box, rule, random_start: of the ascent, as in `genat.ascend`.
        batch_size: B, over all processes together.
        descent_steps: steps by which target data descends before it is learned; 0 leaves it clean.
        descent_ball: where descent may go.
        r1: weight :math:`\lambda` of the gradient penalty on (descended) target data; 0 leaves it out.
        optimizer: a maker such as `adam(5e-4)` or `sgd(0.1)`.
        ema: decay of the running mean of the weights, warmed up as min(ema, (1 + i) / (10 + i)); None keeps none.
        clip_norm: largest L2 norm of the parameters' gradient, a member's; None does not clip.
        anneal: share of the iterations, at the end, over which the learning rate falls by half a cosine to a
            hundredth; 0 keeps it.
        seed: of the batches, the augmentation and the random starts; one a member.
        fabric: a launched Lightning Fabric for devices, precision and processes; None stays on the detector's device.
        folder: where checkpoints go; None writes nothing.
        checkpoint_every: steps between checkpoints; one more is written at the end.
        resume: go on from the newest readable checkpoint in `folder`.
        callback: called with a `Step` after each step, on the first process only.

    Returns:
        The trained detector, its last weights and their digest.

    Raises:
        ValueError: for arguments out of range, data of another shape, a detector that mixes samples.
        DivergenceError: at the first value that is not finite; names the step. The weights before it are saved. With
            several members, where none is left.

    References:
        Learning Energy-Based Models With Adversarial Training (Yin, Li, Rohde, 2022) https://arxiv.org/abs/2012.06568

    Example:
        >>> from genat import networks, sources
        >>> detector = networks.build("mlp", (2,), {"hidden": (32, 32)}, seed=0)
        >>> target = 0.5 + 0.05 * torch.randn(500, 2, generator=torch.Generator().manual_seed(0))
        >>> fitted = fit(detector, target, sources.Box(2), iterations=200, steps=Curriculum(0, 5), step_size=0.05)
        >>> with torch.no_grad():
        ...     fitted.detector(torch.tensor([[0.5, 0.5], [0.1, 0.9]])).sign()
        tensor([ 1., -1.])
    """
    plan = steps if isinstance(steps, Curriculum) else Curriculum(steps, steps)
    recipe = Recipe(
        iterations=iterations,
        step_size=step_size,
        shrink=shrink,
        ball=ball,
        box=box,
        rule=rule,
        random_start=random_start,
        batch_size=batch_size,
        descent_steps=descent_steps,
        descent_ball=descent_ball,
        r1=r1,
        ema=ema,
        clip_norm=clip_norm,
        anneal=anneal,
        seed=seed if isinstance(seed, int) else tuple(seed),
        checkpoint_every=checkpoint_every,
    )
    _check_folder(folder, resume=resume)
    trainer = _Trainer(
        detector,
        as_source(target),
        as_source(outside),
        plan,
        recipe,
        optimizer,
        fabric or _one_device(detector),
        folder,
    )
    if resume and folder is not None:
        trainer.restore(checkpoints.latest(folder))
    return trainer.run(callback)


_VALUES = ("loss", "auroc", "inside", "outside", "path", "gradient")


@dataclass
class _Trainer:
    detector: nn.Module
    target: Source
    outside: Source
    plan: Curriculum
    recipe: Recipe
    make_optimizer: OptimizerFactory
    fabric: "Fabric"
    folder: Path | None
    iteration: int = 0
    diverged: dict[int, int] = field(default_factory=dict)
    average: nn.Module | None = field(init=False)

    def __post_init__(self) -> None:
        if self.target.shape != self.outside.shape:
            raise ValueError(
                f"expected target and outside of one shape, got {self.target.shape} and {self.outside.shape}"
            )
        if self.recipe.batch_size % self.fabric.world_size:
            raise ValueError(
                f"expected batch_size to be a multiple of {self.fabric.world_size} processes, "
                f"got {self.recipe.batch_size}"
            )
        seed = self.recipe.seed
        self.seeds = (seed,) if isinstance(seed, int) else seed
        self.members = members.count(self.detector)
        if len(self.seeds) != self.members or isinstance(self.detector, Together) == isinstance(seed, int):
            wanted = f"{self.members} seeds, one a member" if isinstance(self.detector, Together) else "one seed"
            raise ValueError(f"expected {wanted}, got {seed}")
        self.fabric.to_device(self.detector)
        recipe = self.recipe
        self.climb = partial(climb, self.detector, box=recipe.box, rule=recipe.rule)
        probe = self.fabric.to_device(self.outside.draw(4, generator=step_generator(self.seeds[0], 0, "probe")))
        check_detector(self.detector.member(0) if isinstance(self.detector, Together) else self.detector, probe)
        # refuses what the first step would, before a file is written
        climb(torch.zeros_like, probe, steps=0, step_size=1.0, ball=recipe.ball, box=recipe.box, rule=recipe.rule)
        self.progress = self.plan.start(iterations=self.recipe.iterations)
        self.optimizer = self.make_optimizer(p for p in self.detector.parameters() if p.requires_grad)
        self.rates = [float(group["lr"]) for group in self.optimizer.param_groups]
        loss = Loss(self.detector, self.recipe.r1)
        self.loss, self.fabric_optimizer = self.fabric.setup(loss, self.optimizer)
        self.average = None if self.recipe.ema is None else copy.deepcopy(self.detector).requires_grad_(False).eval()

    def run(self, callback: Callable[[Step], None] | None) -> Fitted:
        if self.iteration == 0:
            self._save()  # so that a training stopped before its first checkpoint can be resumed too
        while self.iteration < self.recipe.iterations:
            step = self._step()
            if callback is not None and self.fabric.is_global_zero:
                callback(step)  # before the checkpoint: what a callback records is never behind it
            last = self.iteration == self.recipe.iterations
            if last or self.iteration % self.recipe.checkpoint_every == 0:
                self._refuse(members.non_finite(self.detector), "expected finite weights, got some that are not")
                self._save()
        detector = self.detector if self.average is None else self.average
        digest = checkpoints.digest(self._weights())
        return Fitted(detector.eval(), self.detector.eval(), self.iteration, digest, self.diverged)

    def _step(self) -> Step:
        began, steps = time.perf_counter(), self.progress.steps
        factor = annealed(self.iteration, iterations=self.recipe.iterations, anneal=self.recipe.anneal)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
        inside, outside, path = self._batch(steps)
        _train_mode(self.detector)
        layers = step_generator(self.seeds[0], self.iteration, f"layers {self.fabric.global_rank}")
        with seeded_layers(layers.initial_seed(), self.fabric.device):
            losses, inside_logits, outside_logits = self.loss(inside, outside)
        self.fabric_optimizer.zero_grad()
        self.fabric.backward(losses.sum())
        gradients = members.gradient_norms(self.detector)
        inside_logits, outside_logits = self._gather(inside_logits), self._gather(outside_logits)
        areas = torch.stack([auroc_tensor(*pair) for pair in zip(inside_logits, outside_logits, strict=True)])
        losses, path = self._gather(losses).mean(dim=1), self._gather(path).mean(dim=1)
        values = [losses, areas, inside_logits.mean(dim=1), outside_logits.mean(dim=1), path, gradients]
        table = torch.stack([value.double() for value in values]).T.tolist()  # the step's one wait for the device
        self._refuse_non_finite(table)
        members.silence_gradients(list(self.diverged), self.detector)
        if self.recipe.clip_norm is not None:
            members.clip_gradients(self.detector, gradients, self.recipe.clip_norm)
        self.fabric_optimizer.step()
        self.iteration += 1
        self._update_average()
        step = self._record(table, steps=steps, seconds=time.perf_counter() - began)
        self.progress.observe(auroc=step.auroc)
        return step

    def _record(self, table: list[list[float]], *, steps: int, seconds: float) -> Step:
        def step(row: Sequence[float]) -> Step:
            loss, auroc, inside, outside, path, gradient = row
            return Step(self.iteration, loss, auroc, steps, inside, outside, path, gradient, seconds)

        living = [row for member, row in enumerate(table) if member not in self.diverged]
        mean = step([sum(column) / len(living) for column in zip(*living, strict=True)])
        if not isinstance(self.detector, Together):
            return mean
        lost = [math.nan] * len(_VALUES)
        each = tuple(step(lost if member in self.diverged else row) for member, row in enumerate(table))
        return replace(mean, members=each)

    def _batch(self, steps: int) -> tuple[Tensor, Tensor, Tensor]:
        recipe = self.recipe
        inside, outside = self._draw(self.target, "target"), self._draw(self.outside, "outside")
        sizes = self._sizes("size", recipe.step_size, outside)
        shrink = self._sizes("shrink", recipe.shrink, outside)
        while True:
            # a process's own: the same offsets on each would not be independent
            starts = self._generators(f"start {self.fabric.global_rank}") if recipe.random_start else None
            try:
                with self.fabric.autocast():
                    up = self.climb(
                        outside,
                        steps=steps,
                        step_size=sizes,
                        shrink=shrink,
                        ball=recipe.ball,
                        random_start=recipe.random_start,
                        generator=starts,
                    )
                    down = inside
                    if recipe.descent_steps:
                        down = self.climb(
                            inside,
                            steps=recipe.descent_steps,
                            step_size=sizes,
                            ball=recipe.descent_ball,
                            descend=True,
                        ).points
            except NonFiniteError as error:
                lost = members.shares(error.samples, self.members).any(dim=1)
                self._refuse(lost.nonzero().flatten().tolist(), str(error))
                continue  # the members left are none the worse for those that are now zero
            way = up.path / up.reach.clamp(min=torch.finfo(up.reach.dtype).tiny)
            return down, up.points, members.shares(way, self.members).mean(dim=1)

    def _sizes(self, purpose: str, setting: float | tuple[float, float], samples: Tensor) -> float | Tensor:
        low, high = ends(setting)
        if low == high:
            return low
        share = len(samples) // self.members
        generators = self._generators(f"{purpose} {self.fabric.global_rank}")
        exponent = torch.cat([torch.rand(share, generator=generator) for generator in generators])
        return (low * (high / low) ** exponent).to(samples)

    def _draw(self, source: Source, purpose: str) -> Tensor:
        share = self.recipe.batch_size // self.fabric.world_size
        begin = self.fabric.global_rank * share
        generators = self._generators(purpose)
        batches = [source.draw(self.recipe.batch_size, generator=generator) for generator in generators]
        return self.fabric.to_device(torch.cat([batch[begin : begin + share] for batch in batches]))

    def _generators(self, purpose: str) -> list[torch.Generator]:
        return [step_generator(seed, self.iteration, purpose) for seed in self.seeds]

    def _gather(self, values: Tensor) -> Tensor:
        """Return every process's values beside one another, `(M, *)`."""
        values = values.detach().float().reshape(self.members, -1)
        if self.fabric.world_size == 1:
            return values
        return torch.as_tensor(self.fabric.all_gather(values)).movedim(0, 1).flatten(1)

    def _refuse_non_finite(self, table: list[list[float]]) -> None:
        lost = {}
        for member, row in enumerate(table):
            bad = [f"{name}={value}" for name, value in zip(_VALUES, row, strict=True) if not math.isfinite(value)]
            if bad and member not in self.diverged:
                lost[member] = f"expected finite values, got {', '.join(bad)}"
        self._refuse(list(lost), "; ".join(dict.fromkeys(lost.values())))

    def _refuse(self, lost: list[int], why: str) -> None:
        """Set members that are not finite any more aside, or stop where no other is left."""
        if not lost:
            return
        if len(self.diverged | dict.fromkeys(lost)) < self.members:
            self.diverged |= dict.fromkeys(lost, self.iteration + 1)
            networks = [self.detector] if self.average is None else [self.detector, self.average]
            members.silence(list(self.diverged), *networks, optimizer=self.optimizer)
            return
        saved = ""
        if self.folder is not None and not members.non_finite(self.detector):
            self._save()
            saved = f"; the weights before it are saved in {self.folder}"
        raise DivergenceError(f"step {self.iteration + 1}: {why}{saved}")

    def _update_average(self) -> None:
        if self.average is None or self.recipe.ema is None:
            return
        decay = min(self.recipe.ema, (1 + self.iteration) / (10 + self.iteration))
        with torch.no_grad():
            for mean, value in zip(self.average.parameters(), self.detector.parameters(), strict=True):
                mean.lerp_(value, 1 - decay)
            for kept, current in zip(self.average.buffers(), self.detector.buffers(), strict=True):
                kept.copy_(current)

    def _weights(self) -> dict[str, Tensor]:
        weights = {f"model.{name}": value for name, value in self.detector.state_dict().items()}
        if self.average is not None:
            weights |= {f"ema.{name}": value for name, value in self.average.state_dict().items()}
        return weights

    def _save(self) -> None:
        if self.folder is None or not self.fabric.is_global_zero:
            return
        moments, settings = checkpoints.flatten_optimizer(self.optimizer.state_dict())
        tensors = self._weights() | {f"optimizer.{name}": value for name, value in moments.items()}
        state = {
            "shape": list(self.target.shape),
            "seed": self.seeds if isinstance(self.detector, Together) else self.seeds[0],
            "diverged": list(self.diverged.items()),
            "curriculum": self.progress.state(),
            "optimizer": settings,
        }
        checkpoints.save(self.folder, checkpoints.Checkpoint(self.iteration, tensors, state))

    def restore(self, checkpoint: checkpoints.Checkpoint) -> None:
        """Stand where the checkpoint was written."""
        seed = list(self.seeds) if isinstance(self.detector, Together) else self.seeds[0]
        if checkpoint.state["seed"] != seed:
            raise ValueError(f"expected to resume with seed {checkpoint.state['seed']}, got {seed}")
        moments = checkpoint.part("optimizer")
        try:
            self.detector.load_state_dict(checkpoint.part("model"))
            if self.average is not None:
                self.average.load_state_dict(checkpoint.part("ema"))
            self.optimizer.load_state_dict(checkpoints.restore_optimizer(moments, checkpoint.state["optimizer"]))
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise ValueError(f"expected the checkpoint's network and ema, got others: {reason}") from None
        self.progress.restore(checkpoint.state["curriculum"])
        self.diverged = dict(checkpoint.state["diverged"])
        self.iteration = checkpoint.iteration


def _check_folder(folder: Path | None, *, resume: bool) -> None:
    if resume and folder is None:
        raise ValueError("expected a folder to resume from, got folder=None")
    if not resume and folder is not None and any(folder.glob("step-*.json")):
        raise ValueError(f"{folder}: expected a folder without checkpoints, got some: resume from them or name another")


def _one_device(detector: nn.Module) -> "Fabric":
    from lightning_fabric import Fabric

    device = next(detector.parameters()).device
    return Fabric(accelerator=device.type, devices=1 if device.index is None else [device.index])


def _train_mode(detector: nn.Module) -> None:
    """Train, but leave BatchNorm in eval mode: its statistics stay and no sample's logit depends on another."""
    detector.train()
    for module in detector.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
