"""Climbs that are kept by chance, as the detector's logit says how often the target has what they arrive at."""

import math
from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from genat.generation import Rejection, Samples, draw_starts, sample
from genat.sources import Samples as Points
from genat.sources import Source

STEPS: dict[str, Any] = {"steps": 3, "step_size": 0.3}
STAY: dict[str, Any] = {"steps": 0, "step_size": 1.0, "chunk": 500}
TARGET, ADVERSARY = torch.tensor([0.5, 0.1, 0.4]), torch.tensor([0.2, 0.6, 0.2])


def best_response(x: Tensor) -> Tensor:
    """The optimal detector of three points, 0, 1/2 and 1, against an adversary."""
    return (TARGET / ADVERSARY).log()[(2 * x[:, 0]).round().long()]


def adversary() -> Points:
    """Twenty starts that have the adversary's law."""
    return Points(torch.repeat_interleave(torch.tensor([0.0, 0.5, 1.0]), (20 * ADVERSARY).round().long())[:, None])


def chi_square(counts: list[int], law: Tensor) -> float:
    expected = law.double() * sum(counts)
    return float(((torch.tensor(counts) - expected).square() / expected).sum())


def test_what_is_kept_has_the_targets_law() -> None:
    """Chi-square of 2 degrees: above 13.8 once in a thousand. Kept without rejection, it is in the hundreds."""
    ceiling = best_response(torch.tensor([[0.0], [0.5], [1.0]])).max().item()
    made = sample(best_response, adversary(), seeds=range(3000), rejection=Rejection(ceiling, 200), **STAY)
    found = Counter((2 * made.images[:, 0]).round().long().tolist())
    assert chi_square([found[k] for k in range(3)], TARGET) < 13.8
    plain = sample(best_response, adversary(), seeds=range(3000), **STAY)
    assert chi_square([int(((2 * plain.images[:, 0]).round() == k).sum()) for k in range(3)], TARGET) > 500
    # a climb is kept with probability exp(-c) on average: the expectation of exp(f) under the adversary is 1
    assert made.climbs / 3000 == pytest.approx(math.exp(ceiling), rel=0.05)


def test_logits_above_the_ceiling_are_kept_for_certain() -> None:
    made = sample(best_response, adversary(), seeds=range(200), rejection=Rejection(-10.0), **STAY)
    plain = sample(best_response, adversary(), seeds=range(200), **STAY)
    assert torch.equal(made.images, plain.images)
    assert made.climbs == 200


def test_where_all_are_refused_the_highest_is_kept(detector: nn.Module, outside: Source) -> None:
    made = sample(detector, outside, seeds=range(5), rejection=Rejection(1e4, tries=4), **STEPS)
    assert made.climbs == 20
    assert made.passes == 4 * 4
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        starts = []
        for _ in range(4):
            starts.append(outside.draw(1, generator=generator))
            torch.rand(1, generator=generator)
        ends = sample(detector, Points(torch.cat(starts)), seeds=range(40), **STEPS).images
        assert detector(made.images[seed : seed + 1]).item() == pytest.approx(detector(ends).max().item(), abs=1e-6)
        assert any(torch.equal(made.starts[seed], start[0]) for start in starts)


@pytest.fixture(scope="module")
def hundred(detector: nn.Module, outside: Source) -> Samples:
    return sample(detector, outside, seeds=range(100), rejection=_middling(detector, outside), **STEPS)


def _middling(detector: nn.Module, outside: Source) -> Rejection:
    """Refuse about half: all that lies below the median climb is unlikely."""
    with torch.no_grad():
        ends = detector(sample(detector, outside, seeds=range(40), **STEPS).images)
    return Rejection(ends.median().item() + 0.5, tries=3)


def test_some_are_refused_and_some_kept_at_once(detector: nn.Module, outside: Source, hundred: Samples) -> None:
    first = sample(detector, outside, seeds=range(100), **STEPS)
    kept_at_once = (first.images == hundred.images).flatten(1).all(1)
    assert 20 < int(kept_at_once.sum()) < 80
    assert 100 < hundred.climbs < 300
    assert torch.equal(hundred.starts[kept_at_once], draw_starts(outside, seeds=range(100))[kept_at_once])


@pytest.mark.parametrize("seeds", [[7], [99, 3, 42], list(range(50, 100))])
def test_a_sample_depends_on_its_seed_alone(
    seeds: list[int], detector: nn.Module, outside: Source, hundred: Samples
) -> None:
    made = sample(detector, outside, seeds=seeds, rejection=_middling(detector, outside), **STEPS)
    assert torch.equal(made.images, hundred.images[seeds])
    assert torch.equal(made.starts, hundred.starts[seeds])


def test_the_way_leads_from_its_start_to_its_end(detector: nn.Module, outside: Source, hundred: Samples) -> None:
    rejection = _middling(detector, outside)
    made = sample(detector, outside, seeds=range(30), rejection=rejection, trajectory=True, **STEPS)
    assert made.trajectory is not None
    assert made.trajectory.shape == (4, 30, 1, 8, 8)
    assert torch.equal(made.trajectory[0], made.starts)
    assert torch.equal(made.trajectory[-1], made.images)
    assert torch.equal(made.images, hundred.images[:30])


def test_progress_tells_how_many_are_kept(detector: nn.Module, outside: Source) -> None:
    told: list[tuple[int, int]] = []
    options: dict[str, Any] = STEPS | {"callback": lambda *counts: told.append(counts)}
    made = sample(detector, outside, seeds=range(30), rejection=_middling(detector, outside), **options)
    assert len(told) == 3
    kept = [done for done, _ in told]
    assert kept == sorted(kept)
    assert {total for _, total in told} == {30}
    assert made.climbs == 30 + (30 - kept[0]) + (30 - kept[1])


@pytest.mark.parametrize(
    ("ceiling", "tries", "message"),
    [
        (math.inf, 8, "expected a finite ceiling, got inf"),
        (math.nan, 8, "expected a finite ceiling, got nan"),
        (0.0, 0, "expected tries to be at least 1, got 0"),
    ],
)
def test_refuses(ceiling: float, tries: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Rejection(ceiling, tries)
