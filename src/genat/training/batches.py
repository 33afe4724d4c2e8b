"""The samples of one training step: outside data that climbed, target data that may have descended."""

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from genat.ascent import climb
from genat.recipe import Recipe, ends
from genat.sources import Source
from genat.training import members
from genat.training.seeding import step_generator

if TYPE_CHECKING:
    from lightning_fabric import Fabric


@dataclass(frozen=True)
class Batches:
    """Draws every step's samples as a function of (seed, step), and moves them by the detector as it then is."""

    detector: nn.Module
    target: Source
    outside: Source
    recipe: Recipe
    seeds: tuple[int, ...]
    fabric: "Fabric"

    def moved(self, iteration: int, *, steps: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return target data, descended where asked, and climbed outside data, `(M N, *)`, and each member's path.

        Raises:
            NonFiniteError: where a climb reached points that are not finite.
        """
        recipe, generators = self.recipe, partial(self._generators, iteration)
        inside = self._draw(self.target, generators("target"))
        outside = self._draw(self.outside, generators("outside"))
        rank = self.fabric.global_rank  # a process's own: the same offsets on each would not be independent
        sizes = self._sizes(recipe.step_size, generators(f"size {rank}"), outside)
        shrink = self._sizes(recipe.shrink, generators(f"shrink {rank}"), outside)
        walk = partial(climb, self.detector, step_size=sizes, box=recipe.box, rule=recipe.rule)
        with self.fabric.autocast():
            up = walk(
                outside,
                steps=steps,
                shrink=shrink,
                ball=recipe.ball,
                random_start=recipe.random_start,
                generator=generators(f"start {rank}") if recipe.random_start else None,
            )
            down = inside
            if recipe.descent_steps:
                down = walk(inside, steps=recipe.descent_steps, ball=recipe.descent_ball, descend=True).points
        way = up.path / up.reach.clamp(min=torch.finfo(up.reach.dtype).tiny)
        return down, up.points, members.shares(way, len(self.seeds)).mean(dim=1)

    def _draw(self, source: Source, generators: list[torch.Generator]) -> Tensor:
        share = self.recipe.batch_size // self.fabric.world_size
        begin = self.fabric.global_rank * share
        batches = [source.draw(self.recipe.batch_size, generator=generator) for generator in generators]
        return self.fabric.to_device(torch.cat([batch[begin : begin + share] for batch in batches]))

    def _sizes(
        self, setting: float | tuple[float, float], generators: list[torch.Generator], samples: Tensor
    ) -> float | Tensor:
        low, high = ends(setting)
        if low == high:
            return low
        share = len(samples) // len(generators)
        exponent = torch.cat([torch.rand(share, generator=generator) for generator in generators])
        return (low * (high / low) ** exponent).to(samples)

    def _generators(self, iteration: int, purpose: str) -> list[torch.Generator]:
        return [step_generator(seed, iteration, purpose) for seed in self.seeds]
