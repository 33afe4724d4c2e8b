"""The samples of one training step: outside data that climbed, target data that may have descended."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from genat.ascent import Climb, Detector, Moments, NonFiniteError, climb, frozen
from genat.balls import Ball
from genat.networks import Joint
from genat.recipe import Recipe, ends
from genat.sources import LabelledSource, Source
from genat.training import members
from genat.training.devices import gathered
from genat.training.examples import attacked, label_logits
from genat.training.pool import Pool
from genat.training.seeding import step_generator

if TYPE_CHECKING:
    from lightning_fabric import Fabric


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """The samples of one step.

    Attributes:
        inside: `(M N, *)` target data, descended where asked.
        outside: `(M N, *)` outside data after its climb.
        path: `(M,)` each member's mean relative path.
        examples: attacked target samples `(N, *)` and their labels `(N,)`, where there are classes to learn.
        figures: `(M,)` each, by name, that are known before the loss is.
    """

    inside: Tensor
    outside: Tensor
    path: Tensor
    examples: tuple[Tensor, Tensor] | tuple[()] = ()
    figures: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """What a step draws, on the CPU and before anything moves: this process's share, one member after another.

    Attributes:
        inside: `(M N, *)` target data.
        labels: `(M N,)` its classes, where outside data climbs those.
        outside: `(M N, *)`.
        begins: `(M N, *)` where its climbs begin, for random starts.
        sizes, shrinks: of each climb, `(M N,)` where they differ.
        examples: target samples `(N, *)` and their labels `(N,)`, where there are classes to learn.
    """

    inside: Tensor
    labels: Tensor | None
    outside: Tensor
    begins: Tensor | None
    sizes: float | Tensor
    shrinks: float | Tensor
    examples: tuple[Tensor, Tensor] | None


@dataclass(frozen=True)
class Batches:
    """Draws every step's samples as a function of (seed, step), and moves them by the detector as it then is.

    Target and outside are one for all members, or one a member. With a pool its climbs go on, and outside data begins
    new ones.
    """

    detector: nn.Module
    target: tuple[Source, ...]
    outside: tuple[Source, ...]
    recipe: Recipe
    seeds: tuple[int, ...]
    fabric: "Fabric"
    pool: Pool | None = None

    def drawn(self, iteration: int) -> Drawn:
        """Return what a step draws, a function of the seeds and its number."""
        how, generators = self.recipe.classify, partial(self._generators, iteration)
        inside: Tensor
        labels: Tensor | None = None
        if how is None or how.toward == "any":
            inside = self._draw(self.target, generators("target"))
        else:
            inside, labels = self._draw_labelled(generators("target"))
        recipe, whole = self.recipe, self._whole(self.outside, generators("outside"))
        begins = None
        if recipe.random_start:
            pairs = zip(whole, generators("start 0"), strict=True)
            begins = self._share([recipe.ball.random_start(batch, generator=one) for batch, one in pairs])
        sizes = self._sizes(recipe.step_size, generators("size 0"), whole[0].dtype)
        shrinks = self._sizes(recipe.shrink, generators("shrink 0"), whole[0].dtype)
        examples = None if how is None else self._draw_labelled(generators("examples"))
        return Drawn(inside, labels, self._share(whole), begins, sizes, shrinks, examples)

    def moved(self, iteration: int, drawn: Drawn, *, steps: int) -> Batch:
        """Return a step's samples where the detector's gradients have taken them.

        Raises:
            NonFiniteError: where a climb reached points that are not finite.
        """
        recipe, placed = self.recipe, self.fabric.to_device
        inside, outside = placed(drawn.inside), placed(drawn.outside)
        pool, moments = self.pool if steps > 0 else None, None
        if pool is not None:
            outside, moments = pool.starts(iteration, outside, limit=steps)
            steps = min(steps, pool.burst)
        sizes = drawn.sizes
        each = {"step_size": sizes, "shrink": drawn.shrinks, "begins": drawn.begins, "labels": drawn.labels}
        points, way, *kept = self._walked(outside, each, steps=steps, ball=recipe.ball, moments=moments)
        down = inside
        if recipe.descent_steps:
            ball = recipe.descent_ball
            down, *_ = self._walked(inside, {"step_size": sizes}, steps=recipe.descent_steps, ball=ball, descend=True)
        if pool is not None:
            pool.put_back(iteration, [self._gathered(values) for values in (points, *kept)], steps=steps)
        batch = Batch(down, points, members.shares(way, len(self.seeds)).mean(dim=1))
        return batch if drawn.examples is None else self._with_examples(batch, *drawn.examples)

    def _walked(
        self,
        starts: Tensor,
        each: Mapping[str, float | Tensor | None],
        *,
        steps: int,
        ball: Ball,
        descend: bool = False,
        moments: Moments | None = None,
    ) -> list[Tensor]:
        """Return where the detector's gradients lead, each sample's path over its reach, and Adam's moments if given.

        Args:
            starts: `(M N, *)`.
            each: what a climb takes of every sample, and the labels whose logits they climb; None where there is none.
            steps, ball, descend: as in `genat.ascend`.
            moments: Adam's that the climbs go on with, None for new ones or another rule.
        """

        def walk(rows: Tensor | slice) -> Climb:
            own = {name: of_rows(value, rows) for name, value in each.items()}
            labels = own.pop("labels", None)
            climbed: Detector = self.detector
            if isinstance(labels, Tensor):
                assert isinstance(self.detector, Joint), "checked at the beginning"
                climbed = partial(label_logits, self.detector, labels)
            # one logit of it is a mere function to a climb, which freezes modules itself
            still = nullcontext() if climbed is self.detector else frozen(self.detector)
            if moments is not None:
                columns = (of_rows(value, rows) for value in (moments.first, moments.second, moments.steps))
                own["moments"] = Moments(*columns)
            how: dict[str, Any] = {"steps": steps, "ball": ball, "descend": descend}
            how |= {"box": self.recipe.box, "rule": self.recipe.rule}
            with still, self.fabric.autocast():
                try:
                    return climb(climbed, starts[rows], **how, **own)
                except NonFiniteError as error:
                    lost = torch.zeros(len(starts), dtype=torch.bool)
                    lost[rows] = error.samples.cpu()
                    raise NonFiniteError(lost) from None

        def of_rows(value: float | Tensor | None, rows: Tensor | slice) -> Any:  # noqa: ANN401 - a keyword's value
            return self.fabric.to_device(value[rows]) if isinstance(value, Tensor) else value

        parts = self.parts(len(starts))
        ends = [walk(rows) for rows in parts]
        ways = [end.path / end.reach.clamp(min=torch.finfo(end.reach.dtype).tiny) for end in ends]
        adams = [end.moments for end in ends if end.moments is not None]
        columns = [[end.points for end in ends], ways]
        columns += [[adam.first for adam in adams], [adam.second for adam in adams]] if adams else []
        return [members.joined(values, parts) for values in columns]

    def parts(self, samples: int) -> list[Tensor | slice]:
        """Return the rows of `(M N, *)` samples that pass through the network at once."""
        return members.parts(samples, len(self.seeds), self.recipe.batch_at_once)

    def _with_examples(self, batch: Batch, images: Tensor, labels: Tensor) -> Batch:
        how = self.recipe.classify
        assert isinstance(self.detector, Joint), "checked at the beginning"
        assert how is not None
        images, labels, parts = self.fabric.to_device(images), self.fabric.to_device(labels), self.parts(len(images))
        with self.fabric.autocast():
            pairs = [
                attacked(self.detector, images[rows], labels[rows], how=how, box=self.recipe.box) for rows in parts
            ]
        moved, right = (members.joined([pair[index] for pair in pairs], parts) for index in (0, 1))
        return replace(batch, examples=(moved, labels), figures={"clean_accuracy": right.float().mean()[None]})

    def _draw(self, sources: tuple[Source, ...], generators: list[torch.Generator]) -> Tensor:
        return self._share(self._whole(sources, generators))

    def _whole(self, sources: tuple[Source, ...], generators: list[torch.Generator]) -> list[Tensor]:
        """Return every member's batch, of all processes together."""
        each = sources if len(sources) > 1 else sources * len(generators)
        size = self.recipe.batch_size
        return [source.draw(size, generator=one) for source, one in zip(each, generators, strict=True)]

    def _draw_labelled(self, generators: list[torch.Generator]) -> tuple[Tensor, Tensor]:
        (target,) = self.target
        assert isinstance(target, LabelledSource), "checked at the beginning"
        drawn = [target.draw_labelled(self.recipe.batch_size, generator=generator) for generator in generators]
        return self._share([images for images, _ in drawn]), self._share([labels for _, labels in drawn])

    def _share(self, batches: Sequence[Tensor]) -> Tensor:
        """Return this process's share of every member's batch."""
        share = self.recipe.batch_size // self.fabric.world_size
        begin = self.fabric.global_rank * share
        return torch.cat([batch[begin : begin + share] for batch in batches])

    def _gathered(self, samples: Tensor) -> Tensor:
        """Return every process's `(M N, *)` samples as the whole batch, member by member, `(M B, *)`."""
        return gathered(members.shares(samples, len(self.seeds)), self.fabric).transpose(0, 1).flatten(0, 2)

    def _sizes(
        self, setting: float | tuple[float, float], generators: list[torch.Generator], dtype: torch.dtype
    ) -> float | Tensor:
        low, high = ends(setting)
        if low == high:
            return low
        exponents = [torch.rand(self.recipe.batch_size, generator=generator) for generator in generators]
        return (low * (high / low) ** self._share(exponents)).to(dtype)

    def _generators(self, iteration: int, purpose: str) -> list[torch.Generator]:
        return [step_generator(seed, iteration, purpose) for seed in self.seeds]
