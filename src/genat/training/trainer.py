"""A training under way: its state, its steps, and what is done at what its watch sees."""

import copy
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from genat import checkpoints
from genat.ascent import NonFiniteError, climb
from genat.curriculum import Curriculum, Stage
from genat.networks import Together, check_detector
from genat.ranking import auroc_tensor
from genat.recipe import OptimizerFactory, Recipe, annealed, warmed
from genat.sources import LabelledSource, Source, describe
from genat.training import health, members
from genat.training.ahead import Ahead
from genat.training.batches import Batch, Batches, Drawn
from genat.training.devices import gathered
from genat.training.examples import check_classes
from genat.training.health import Health, Watch
from genat.training.loss import Loss
from genat.training.pool import Pool
from genat.training.records import DivergenceError, Fitted, Incident, Step, StoppedError
from genat.training.seeding import seeded_layers, step_generator

if TYPE_CHECKING:
    from lightning_fabric import Fabric

GOOD = "good"  # the last good state's folder, beside the checkpoints


class _NotFiniteError(FloatingPointError):
    """A step that does not come about."""


@dataclass
class Trainer:
    """What `genat.fit` trains with; `run` goes on from where it stands to the end."""

    detector: nn.Module
    target: tuple[Source, ...]
    outside: tuple[Source, ...]
    plan: Curriculum
    recipe: Recipe
    health: Health
    make_optimizer: OptimizerFactory
    fabric: "Fabric"
    folder: Path | None
    callback: Callable[[Step], None] | None
    alarm: Callable[[Incident], None] | None
    stop: Callable[[], bool] | None = None
    iteration: int = 0
    diverged: dict[int, int] = field(default_factory=dict)
    average: nn.Module | None = field(init=False)

    def __post_init__(self) -> None:
        recipe = self.recipe
        self.seeds = (recipe.seed,) if isinstance(recipe.seed, int) else recipe.seed
        self.members = members.count(self.detector)
        self._check()
        self.fabric.to_device(self.detector)
        probe = self.fabric.to_device(self.outside[0].draw(4, generator=step_generator(self.seeds[0], 0, "probe")))
        check_detector(self.detector.member(0) if isinstance(self.detector, Together) else self.detector, probe)
        if recipe.classify is not None:
            check_classes(self.detector, self.target[0], probe)
        # refuses what the first step would, before a file is written
        climb(torch.zeros_like, probe, steps=0, step_size=1.0, ball=recipe.ball, box=recipe.box, rule=recipe.rule)
        self.pool = self._pool(probe)
        self.batches = Batches(self.detector, self.target, self.outside, recipe, self.seeds, self.fabric, self.pool)
        self.draw: Callable[[int], Drawn] = self.batches.drawn
        self.progress = self.plan.start(iterations=recipe.iterations)
        self.watch = health.begin(self.members)
        self.optimizer = self.make_optimizer(p for p in self.detector.parameters() if p.requires_grad)
        self.rates = [float(group["lr"]) for group in self.optimizer.param_groups]
        weight = 0.0 if recipe.classify is None else recipe.classify.weight
        loss = Loss(self.detector, recipe.r1, cross_entropy=weight)
        self.loss, self.fabric_optimizer = self.fabric.setup(loss, self.optimizer)
        self.average = None if recipe.ema is None else copy.deepcopy(self.detector).requires_grad_(False).eval()

    def _check(self) -> None:
        for name, sources in (("target", self.target), ("outside", self.outside)):
            if len(sources) not in (1, self.members):
                raise ValueError(f"expected one {name} for all, or {self.members}, one a member, got {len(sources)}")
        shapes = list(dict.fromkeys(source.shape for source in (*self.target, *self.outside)))
        if len(shapes) > 1:
            raise ValueError(f"expected target and outside of one shape, got {' and '.join(map(str, shapes))}")
        processes, size, seed = self.fabric.world_size, self.recipe.batch_size, self.recipe.seed
        if size % processes:
            raise ValueError(f"expected batch_size to be a multiple of {processes} processes, got {size}")
        if len(self.seeds) != self.members or isinstance(self.detector, Together) == isinstance(seed, int):
            wanted = f"{self.members} seeds, one a member" if isinstance(self.detector, Together) else "one seed"
            raise ValueError(f"expected {wanted}, got {seed}")
        if self.health.backs_off:
            if self.folder is None:
                raise ValueError("expected a folder for the states that health backs off to, got folder=None")
            if self.members > 1 or processes > 1:
                raise ValueError(
                    "expected one member and one process with health that backs off, "
                    f"got {self.members} and {processes}"
                )

    def _pool(self, probe: Tensor) -> Pool | None:
        replay, recipe = self.recipe.replay, self.recipe
        if replay is None:
            return None
        return Pool(
            replay,
            batch_size=recipe.batch_size,
            shape=tuple(probe.shape[1:]),
            seeds=self.seeds,
            device=probe.device,
            moments=recipe.rule == "adam",
            process=(self.fabric.global_rank, self.fabric.world_size),
        )

    def run(self) -> Fitted:
        """Train to the end.

        Raises:
            DivergenceError: where the watch sees what it stops at.
            StoppedError: where it was asked to stop.
        """
        if not _leaves_processor_idle(self.fabric.device):
            return self._run()
        with Ahead(self.batches.drawn, last=self.recipe.iterations) as ahead:
            self.draw = ahead.take
            return self._run()

    def _run(self) -> Fitted:
        unmarked = self.health.backs_off and not checkpoints.any_in(self._folder(GOOD))
        if unmarked:
            self.watch = replace(self.watch, good=self.iteration)
            self._save(GOOD)
        if unmarked or self.iteration == 0:
            self._save()  # so that a training stopped before its first checkpoint can be resumed too
        while self.iteration < self.recipe.iterations:
            try:
                self._stop_if_asked()
                self._advance()
            except _NotFiniteError as error:
                self._respond(health.refuse(self.watch, self.health, self.iteration + 1, str(error)))
        detector = self.detector if self.average is None else self.average
        digest = checkpoints.digest(self._weights())
        incidents = self.watch.incidents
        return Fitted(detector.eval(), self.detector.eval(), self.iteration, digest, self.diverged, incidents)

    def _advance(self) -> None:
        step, ended = self._step()
        if self.callback is not None and self.fabric.is_global_zero:
            self.callback(step)  # before the checkpoint: what a callback records is never behind it
        final, every = self.iteration == self.recipe.iterations, self.recipe.checkpoint_every
        self._respond(health.observe(self.watch, self.health, step, plan=self.plan, ended=ended, final=final))
        if self.iteration != step.iteration:
            return  # it went back
        good = self.health.backs_off and self.watch.steps == 0 and self.iteration - self.watch.good >= every
        if final or good or self.iteration % every == 0:
            self._refuse_non_finite_weights()
            if good:  # first: a checkpoint that names a good state is never ahead of it
                self.watch = replace(self.watch, good=self.iteration)
                self._save(GOOD)
            self._save()

    def _stop_if_asked(self) -> None:
        if self._is_asked_to_stop():
            self._refuse_non_finite_weights()
            self._save()
            raise StoppedError(self.iteration, saved=self.folder is not None)

    def _is_asked_to_stop(self) -> bool:
        """Return whether any process is."""
        asked = self.stop is not None and self.stop()
        if self.fabric.world_size == 1:
            return asked
        return bool(gathered(torch.tensor(float(asked), device=self.fabric.device), self.fabric).any())

    def _respond(self, watch: Watch) -> None:
        """Take the watch over and do what is to be done about what it has just seen."""
        news = watch.incidents[len(self.watch.incidents) :]
        self.watch = watch
        if any(incident.action == "back-off" for incident in news):
            self._back_off()
        self._tell(news)
        for incident in news:
            if incident.action == "stop":
                self._stop(incident)

    def _tell(self, incidents: Sequence[Incident]) -> None:
        if self.alarm is not None and self.fabric.is_global_zero:
            for incident in incidents:
                self.alarm(incident)

    def _stop(self, incident: Incident) -> None:
        after = f"; after {self.watch.back_offs} back-offs" if self.watch.back_offs else ""
        saved = ""
        if self.folder is not None and not members.non_finite(self.detector):
            self._save()
            before = " before it" if incident.kind == "non_finite" else ""
            saved = f"; the weights{before} are saved in {self.folder}"
        raise DivergenceError(f"{incident}{after}{saved}")

    def _back_off(self) -> None:
        good = checkpoints.latest(self._folder(GOOD))
        watch = replace(health.go_back(self.watch), good=good.iteration)
        self.restore(good)
        self.watch = watch
        self._save()  # before the others go: there is always one to resume from
        for path in self._folder().glob("step-[0-9]*"):
            if path.stem > f"step-{good.iteration:08d}":  # of the way that was given up
                path.unlink()

    def _step(self) -> tuple[Step, Stage | None]:
        began, steps, recipe = time.perf_counter(), self.progress.steps, self.recipe
        factor = annealed(self.iteration, iterations=recipe.iterations, anneal=recipe.anneal)
        factor *= self.health.rate_factor**self.watch.back_offs
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
        batch = self._batch(steps)
        _train_mode(self.detector)
        layers = step_generator(self.seeds[0], self.iteration, f"layers {self.fabric.global_rank}")
        self.fabric_optimizer.zero_grad()
        with seeded_layers(layers.initial_seed(), self.fabric.device):
            losses, inside_logits, outside_logits, figures = self._learn(batch)
        gradients = members.gradient_norms(self.detector)
        inside_logits, outside_logits = self._gather(inside_logits), self._gather(outside_logits)
        areas = torch.stack([auroc_tensor(*pair) for pair in zip(inside_logits, outside_logits, strict=True)])
        values = {
            "loss": self._gather(losses).mean(dim=1),
            "auroc": areas,
            "inside": inside_logits.mean(dim=1),
            "outside": outside_logits.mean(dim=1),
            "path": self._gather(batch.path).mean(dim=1),
            "gradient": gradients,
        }
        values |= {name: self._gather(value).mean(dim=1) for name, value in (batch.figures | figures).items()}
        rows = torch.stack([value.double() for value in values.values()]).T.tolist()  # the one wait for the device
        table = [dict(zip(values, row, strict=True)) for row in rows]
        self._refuse_non_finite(table)
        if self.diverged:
            members.silence_gradients(list(self.diverged), self.detector)
        if recipe.clip_norm is not None:
            members.clip_gradients(self.detector, gradients, recipe.clip_norm)
        self.fabric_optimizer.step()
        self.iteration += 1
        self._update_average()
        step = self._record(table, steps=steps, seconds=time.perf_counter() - began)
        return step, self.progress.observe(auroc=step.auroc)

    def _learn(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
        """Take the loss's gradient, part by part where not all samples pass at once, and return what `Loss` does."""
        samples, found = (batch.inside, batch.outside, *batch.examples), []
        parts = self.batches.parts(len(batch.inside))
        for number, rows in enumerate(parts):
            own = [values[rows] for values in samples]
            alone = self.fabric.world_size == 1 or number + 1 == len(parts)  # the last part waits for the others
            with nullcontext() if alone else self.fabric.no_backward_sync(self.loss):
                losses, *logits, figures = self.loss(*own)
                weight = len(own[0]) / len(batch.inside)
                self.fabric.backward((losses * weight).sum())
            figures = {name: value.detach() * weight for name, value in figures.items()}
            found.append((losses.detach() * weight, *(value.detach() for value in logits), figures))
        losses, *logits, figures = (list(values) for values in zip(*found, strict=True))
        figures = {name: torch.stack([each[name] for each in figures]).sum(dim=0) for name in figures[0]}
        inside, outside = (torch.cat(values, dim=1) for values in logits)
        return torch.stack(losses).sum(dim=0), inside, outside, figures

    def _batch(self, steps: int) -> Batch:
        drawn = self.draw(self.iteration)
        while True:
            try:
                return self.batches.moved(self.iteration, drawn, steps=steps)
            except NonFiniteError as error:
                # the members left are none the worse for those that are now zero
                lost = members.shares(error.samples, self.members).any(dim=1)
                self._refuse(lost.nonzero().flatten().tolist(), str(error))

    def _record(self, table: list[dict[str, float]], *, steps: int, seconds: float) -> Step:
        def step(row: Mapping[str, float]) -> Step:
            return Step(self.iteration, steps=steps, seconds=seconds, members=(), **row)

        living = [row for member, row in enumerate(table) if member not in self.diverged]
        mean = step({name: sum(row[name] for row in living) / len(living) for name in living[0]})
        if not isinstance(self.detector, Together):
            return mean
        lost = dict.fromkeys(table[0], math.nan)
        each = tuple(step(lost if member in self.diverged else row) for member, row in enumerate(table))
        return replace(mean, members=each)

    def _gather(self, values: Tensor) -> Tensor:
        """Return every process's values beside one another, `(M, *)`."""
        values = values.detach().float().reshape(self.members, -1)
        return values if self.fabric.world_size == 1 else gathered(values, self.fabric).movedim(0, 1).flatten(1)

    def _refuse_non_finite(self, table: list[dict[str, float]]) -> None:
        lost = {}
        for member, row in enumerate(table):
            bad = [f"{name}={value}" for name, value in row.items() if not math.isfinite(value)]
            if bad and member not in self.diverged:
                lost[member] = f"expected finite values, got {', '.join(bad)}"
        self._refuse(list(lost), "; ".join(dict.fromkeys(lost.values())))

    def _refuse_non_finite_weights(self) -> None:
        self._refuse(members.non_finite(self.detector), "expected finite weights, got some that are not")

    def _refuse(self, lost: list[int], why: str) -> None:
        """Set members that are not finite any more aside, or give the step up where no other is left."""
        lost = [member for member in lost if member not in self.diverged]
        if not lost:
            return
        if len(self.diverged) + len(lost) == self.members:
            raise _NotFiniteError(why)
        self.diverged |= dict.fromkeys(lost, self.iteration + 1)
        networks = [self.detector] if self.average is None else [self.detector, self.average]
        members.silence(list(self.diverged), *networks, optimizer=self.optimizer)
        self._respond(health.rest(self.watch, self.iteration + 1, lost, why))

    def _update_average(self) -> None:
        if self.average is None or self.recipe.ema is None:
            return
        decay = warmed(self.recipe.ema, iteration=self.iteration)
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

    def _folder(self, *parts: str) -> Path:
        assert self.folder is not None, "checked at the beginning"
        return self.folder.joinpath(*parts)

    def _save(self, *parts: str) -> None:
        if self.folder is None or not self.fabric.is_global_zero:
            return
        moments, settings = checkpoints.flatten_optimizer(self.optimizer.state_dict())
        tensors = self._weights() | {f"optimizer.{name}": value for name, value in moments.items()}
        if self.pool is not None:
            tensors |= {f"replay.{name}": value for name, value in self.pool.state().items()}
        state: dict[str, object] = {
            "shape": list(self.target[0].shape),
            "seed": self.seeds if isinstance(self.detector, Together) else self.seeds[0],
            "diverged": list(self.diverged.items()),
            "curriculum": self.progress.state(),
            "optimizer": settings,
            "watch": health.state(self.watch),
        }
        if self.recipe.classify is not None and isinstance(self.target[0], LabelledSource):
            state["classes"] = list(self.target[0].classes)
        elif len(self.target) > 1:
            state["classes"] = [describe(source) for source in self.target]
        checkpoint = checkpoints.Checkpoint(self.iteration, tensors, state)
        checkpoints.save(self._folder(*parts), checkpoint, keep=1 if parts else self.recipe.checkpoint_keep)

    def restore(self, checkpoint: checkpoints.Checkpoint) -> None:
        """Stand where the checkpoint was written."""
        seed = list(self.seeds) if isinstance(self.detector, Together) else self.seeds[0]
        if "seed" not in checkpoint.state:
            raise ValueError("expected a training's state to go on from, got the weights of one that has ended, alone")
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
        if self.pool is not None:
            self.pool.restore(checkpoint.part("replay"))
        self.progress.restore(checkpoint.state["curriculum"])
        self.diverged = dict(checkpoint.state["diverged"])
        self.iteration = checkpoint.iteration
        if "watch" in checkpoint.state:  # not in those written before there was one
            self.watch = health.restore(checkpoint.state["watch"])


def incidents_of(checkpoint: checkpoints.Checkpoint) -> tuple[Incident, ...]:
    """Return all that the watch had seen when a checkpoint was written."""
    return health.restore(checkpoint.state["watch"]).incidents if "watch" in checkpoint.state else ()


def _train_mode(detector: nn.Module) -> None:
    """Train, but leave BatchNorm in eval mode: its statistics stay and no sample's logit depends on another."""
    detector.train()
    for module in detector.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


def _leaves_processor_idle(device: torch.device) -> bool:
    """Return whether the next step's samples can be drawn while this one runs, at no cost to it."""
    return device.type != "cpu"
