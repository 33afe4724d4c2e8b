"""The one training loop: outside data climbs, the detector learns to tell where it arrived from the target."""

import copy
import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import torch
from torch import Tensor, nn

from genat import checkpoints
from genat.ascent import UNIT_BOX, Box, Rule, climb
from genat.balls import Ball, L2Ball
from genat.curriculum import Curriculum
from genat.networks import check_detector
from genat.objectives import maximin, r1_penalty
from genat.ranking import auroc_tensor
from genat.recipe import OptimizerFactory, Recipe, adam
from genat.sources import Source, as_source

if TYPE_CHECKING:
    from lightning_fabric import Fabric


@dataclass(frozen=True, slots=True)
class Step:
    """What one training step did; a callback receives one after each.

    Attributes:
        iteration: this step's number, from 1.
        loss: the maximin loss, R1 included.
        auroc: adversarial AUROC of the training batch: target (descended, where descent is on) against climbed outside.
        steps: ascent steps taken.
        inside, outside: mean logits of target and of climbed outside data.
        path: length of the ascents' way over steps x step_size; 1 is a free way; 0 is stuck,
            or no steps at all.
        gradient: L2 norm of the parameters' gradient, before clipping.
        seconds: time this step took.
    """

    iteration: int
    loss: float
    auroc: float
    steps: int
    inside: float
    outside: float
    path: float
    gradient: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Fitted:
    """A trained detector.

    Attributes:
        detector: the one to use: the running mean of the weights where one was kept, else the last weights; in eval
            mode.
        last: the last weights, on which training would go on.
        iterations: completed training steps.
        digest: SHA-256 over the weights of `last` and `detector`.
    """

    detector: nn.Module
    last: nn.Module
    iterations: int
    digest: str


class DivergenceError(FloatingPointError):
    """A value of the training is not finite any more."""


def fit(
    detector: nn.Module,
    target: Source | Tensor,
    outside: Source | Tensor,
    *,
    iterations: int,
    steps: Curriculum | int,
    step_size: float,
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
    seed: int = 0,
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

    Args:
        detector: `(N, *) -> (N,)`, trained in place.
        target: in-distribution data, a source or a tensor `(M, *)` of pixels in [0, 1] (or points, with box=None).
        outside: where ascents start from.
        iterations: optimiser steps, at least 1.
        steps: ascent steps: a curriculum, or one number for all of training.
        step_size: of ascent and descent, in the input's units.
        ball, box, rule, random_start: of the ascent, as in `genat.ascend`.
        batch_size: B, over all processes together.
        descent_steps: steps by which target data descends before it is learned; 0 leaves it clean.
        descent_ball: where descent may go.
        r1: weight :math:`\lambda` of the gradient penalty on (descended) target data; 0 leaves it out.
        optimizer: a maker such as `adam(5e-4)` or `sgd(0.1)`.
        ema: decay of the running mean of the weights, warmed up as min(ema, (1 + i) / (10 + i)); None keeps none.
        clip_norm: largest L2 norm of the parameters' gradient; None does not clip.
        seed: of the batches, the augmentation and the random starts.
        fabric: a launched Lightning Fabric for devices, precision and processes; None stays on the detector's device.
        folder: where checkpoints go; None writes nothing.
        checkpoint_every: steps between checkpoints; one more is written at the end.
        resume: go on from the newest readable checkpoint in `folder`.
        callback: called with a `Step` after each step, on the first process only.

    Returns:
        The trained detector, its last weights and their digest.

    Raises:
        ValueError: for arguments out of range, data of another shape, a detector that mixes samples.
        DivergenceError: at the first value that is not finite; names the step. The weights before it are saved.

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
        seed=seed,
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


class _Loss(nn.Module):
    """The step's loss as one module, so that a Fabric wrapper sees a plain forward and the R1 gradient stays inside."""

    def __init__(self, detector: nn.Module, r1: float) -> None:
        super().__init__()
        self.detector, self.r1 = detector, r1

    def forward(self, inside: Tensor, outside: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if self.r1 == 0:
            logits = self.detector(torch.cat([inside, outside]))
            inside_logits, outside_logits = logits[: len(inside)], logits[len(inside) :]
            return maximin(inside_logits, outside_logits), inside_logits, outside_logits
        # a forward of its own: the penalty's second pass is not paid for the outside
        inside = inside.detach().requires_grad_()
        inside_logits, outside_logits = self.detector(inside), self.detector(outside)
        penalty = r1_penalty(inside_logits, inside)
        return maximin(inside_logits, outside_logits) + self.r1 * penalty, inside_logits, outside_logits


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
        self.fabric.to_device(self.detector)
        recipe = self.recipe
        self.climb = partial(climb, self.detector, step_size=recipe.step_size, box=recipe.box, rule=recipe.rule)
        probe = self.fabric.to_device(self.outside.draw(4, generator=step_generator(recipe.seed, 0, "probe")))
        check_detector(self.detector, probe)
        self.climb(probe, steps=0, ball=recipe.ball)  # refuses what the first step would, before a file is written
        self.progress = self.plan.start(iterations=self.recipe.iterations)
        self.optimizer = self.make_optimizer(p for p in self.detector.parameters() if p.requires_grad)
        loss = _Loss(self.detector, self.recipe.r1)
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
                if not self._finite():
                    raise DivergenceError(f"step {self.iteration}: expected finite weights, got some that are not")
                self._save()
        detector = self.detector if self.average is None else self.average
        return Fitted(detector.eval(), self.detector.eval(), self.iteration, checkpoints.digest(self._weights()))

    def _step(self) -> Step:
        began, steps = time.perf_counter(), self.progress.steps
        inside, outside, path = self._batch(steps)
        _train_mode(self.detector)
        with self._seeded_layers():
            loss, inside_logits, outside_logits = self.loss(inside, outside)
        self.fabric_optimizer.zero_grad()
        self.fabric.backward(loss)
        gradient = torch.nn.utils.get_total_norm(p.grad for p in self.detector.parameters() if p.grad is not None)
        inside_logits, outside_logits = self._gather(inside_logits), self._gather(outside_logits)
        area = auroc_tensor(inside_logits, outside_logits)
        loss, path = self._gather(loss).mean(), self._gather(path).mean()
        values = torch.stack([loss, area, inside_logits.mean(), outside_logits.mean(), path, gradient]).double()
        names = ("loss", "auroc", "inside", "outside", "path", "gradient")
        numbers = dict(zip(names, values.tolist(), strict=True))  # the step's one wait for the device
        self._refuse_non_finite(numbers)
        if self.recipe.clip_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(self.detector.parameters(), self.recipe.clip_norm, gradient)
        self.fabric_optimizer.step()
        self.iteration += 1
        self._update_average()
        self.progress.observe(auroc=numbers["auroc"])
        return Step(self.iteration, steps=steps, seconds=time.perf_counter() - began, **numbers)

    def _batch(self, steps: int) -> tuple[Tensor, Tensor, Tensor]:
        recipe = self.recipe
        inside, outside = self._draw(self.target, "target"), self._draw(self.outside, "outside")
        # a process's own: the same offsets on each would not be independent
        generator = self._generator(f"start {self.fabric.global_rank}") if recipe.random_start else None
        try:
            with self.fabric.autocast():
                up = self.climb(
                    outside, steps=steps, ball=recipe.ball, random_start=recipe.random_start, generator=generator
                )
                if recipe.descent_steps:
                    down = self.climb(inside, steps=recipe.descent_steps, ball=recipe.descent_ball, descend=True)
                    inside = down.points
        except FloatingPointError as error:
            self._diverged(str(error))
        return inside, up.points, up.path.mean() / (max(steps, 1) * recipe.step_size)

    def _draw(self, source: Source, purpose: str) -> Tensor:
        batch = source.draw(self.recipe.batch_size, generator=self._generator(purpose))
        share = self.recipe.batch_size // self.fabric.world_size
        mine = batch[self.fabric.global_rank * share :][:share]
        return self.fabric.to_device(mine)

    def _generator(self, purpose: str) -> torch.Generator:
        return step_generator(self.recipe.seed, self.iteration, purpose)

    @contextmanager
    def _seeded_layers(self) -> Iterator[None]:
        """Let random layers, such as dropout, draw from (seed, step) too, and leave the global random state alone."""
        devices = [self.fabric.device] if self.fabric.device.type == "cuda" else []
        seed = self._generator(f"layers {self.fabric.global_rank}").initial_seed()
        with torch.random.fork_rng(devices=devices):
            torch.default_generator.manual_seed(seed)
            for device in devices:
                torch.cuda.default_generators[device.index].manual_seed(seed)
            yield

    def _gather(self, values: Tensor) -> Tensor:
        values = values.detach().float()
        gathered = values if self.fabric.world_size == 1 else self.fabric.all_gather(values)
        return torch.as_tensor(gathered).flatten()

    def _refuse_non_finite(self, numbers: dict[str, float]) -> None:
        bad = [f"{name}={value}" for name, value in numbers.items() if not abs(value) < float("inf")]
        if bad:
            self._diverged(f"expected finite values, got {', '.join(bad)}")

    def _diverged(self, why: str) -> NoReturn:
        saved = ""
        if self.folder is not None and self._finite():
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

    def _finite(self) -> bool:
        return all(bool(torch.isfinite(value).all()) for value in self._weights().values())

    def _save(self) -> None:
        if self.folder is None or not self.fabric.is_global_zero:
            return
        moments, settings = checkpoints.flatten_optimizer(self.optimizer.state_dict())
        tensors = self._weights() | {f"optimizer.{name}": value for name, value in moments.items()}
        state = {
            "shape": list(self.target.shape),
            "seed": self.recipe.seed,
            "curriculum": self.progress.state(),
            "optimizer": settings,
        }
        checkpoints.save(self.folder, checkpoints.Checkpoint(self.iteration, tensors, state))

    def restore(self, checkpoint: checkpoints.Checkpoint) -> None:
        """Stand where the checkpoint was written."""
        if checkpoint.state["seed"] != self.recipe.seed:
            raise ValueError(f"expected to resume with seed {checkpoint.state['seed']}, got {self.recipe.seed}")
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
        self.iteration = checkpoint.iteration


def _check_folder(folder: Path | None, *, resume: bool) -> None:
    if resume and folder is None:
        raise ValueError("expected a folder to resume from, got folder=None")
    if not resume and folder is not None and any(folder.glob("step-*.json")):
        raise ValueError(f"{folder}: expected a folder without checkpoints, got some: resume from them or name another")


def step_generator(seed: int, iteration: int, purpose: str) -> torch.Generator:
    """Return the CPU generator that belongs to one purpose at one step of one seed.

    Example:
        >>> torch.rand(2, generator=step_generator(0, 0, "target"))
        tensor([0.4162, 0.4649])
    """
    key = hashlib.blake2b(f"{seed}/{iteration}/{purpose}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(key, "big", signed=True))


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
