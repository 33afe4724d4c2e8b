"""What holds for every verb: no company matters, strength, levels to stop at, shrinking, trajectories."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from genat.ascent import Climb, NonFiniteError, climb
from genat.balls import Ball, L2Ball, LinfBall, distance
from genat.generation import (
    Samples,
    climb_in_chunks,
    compose,
    denoise,
    draw_starts,
    edit,
    inpaint,
    interpolate,
    sample,
    transform,
)
from genat.networks import Together
from genat.sources import Source

HOW: dict[str, Any] = {"steps": 8, "step_size": 0.3}
Verb = Callable[..., Climb | Samples]


@pytest.fixture(params=["sample", "transform", "edit", "inpaint", "denoise", "compose"])
def verb(
    request: pytest.FixtureRequest, detector: nn.Module, outside: Source, images: Tensor, mask: Tensor
) -> Callable[..., Climb | Samples]:
    """A verb as a function of which results are asked for; a mask and an image belong to each number."""
    masks = torch.stack([mask.roll(i) for i in range(len(images))])[:, None]
    both = compose([detector, lambda x: -x.flatten(1).square().sum(1)], weights=[1.0, 0.1])
    verbs: dict[str, Callable[..., Climb | Samples]] = {
        "sample": lambda which, **how: sample(detector, outside, seeds=which, **how),
        "transform": lambda which, **how: transform(detector, images[which], **how),
        "edit": lambda which, **how: edit(detector, images[which], mask=masks[which], **how),
        "inpaint": lambda which, **how: inpaint(
            detector, images[which], outside, mask=masks[which], seeds=which, **how
        ),
        "denoise": lambda which, **how: denoise(detector, images[which], sigma=0.1, **how),
        "compose": lambda which, **how: sample(both, outside, seeds=which, **how),
    }  # fmt: skip
    return verbs[request.param]


def ends(made: Climb | Samples) -> Tensor:
    return made.points if isinstance(made, Climb) else made.images


def way(made: Climb | Samples) -> Tensor:
    assert made.trajectory is not None
    return made.trajectory


def level_for(detector: nn.Module, images: Tensor) -> float:
    """A logit that some of the climbs reach soon, and some never."""
    with torch.no_grad():
        return float(detector(images).median()) + 0.5


# company


@pytest.mark.parametrize("which", [[5], [36], [0, 1, 2], list(range(16, 37)), [9, 3, 9]], ids=str)
@pytest.mark.parametrize("stopping", [False, True])
def test_a_result_does_not_depend_on_its_company(
    verb: Verb, which: Sequence[int], stopping: bool, detector: nn.Module, images: Tensor
) -> None:
    how = HOW | {"stop_at": level_for(detector, images)} if stopping else HOW
    everything = verb(list(range(37)), **how, trajectory=True)
    few = verb(list(which), **how, trajectory=True)
    assert torch.equal(ends(few), ends(everything)[which])
    assert torch.equal(way(few), way(everything)[:, which])
    if stopping and isinstance(everything, Climb):
        assert len(set(everything.passes.tolist())) > 1


def test_the_chunk_changes_no_more_than_rounding(verb: Verb) -> None:
    for chunk in (1, 5, 64):
        torch.testing.assert_close(ends(verb([0, 1, 2], **HOW, chunk=chunk)), ends(verb([0, 1, 2], **HOW)), rtol=0,
                                   atol=1e-4)  # fmt: skip


def test_a_trajectory_is_whole_also_where_all_stop_early(verb: Verb) -> None:
    made = verb([0, 1], **HOW, stop_at=-1e6, trajectory=True)
    assert way(made).shape[:2] == (9, 2)
    assert torch.equal(way(made), way(made)[:1].expand_as(way(made)))
    assert torch.equal(way(made)[-1], ends(made))


def test_the_callback_follows(verb: Verb) -> None:
    calls: list[tuple[int, int]] = []
    verb(list(range(7)), steps=1, step_size=0.1, chunk=3, callback=lambda *call: calls.append(call))
    assert calls == [(3, 7), (6, 7), (7, 7)]


# strength


def linear(x: Tensor) -> Tensor:
    slope = torch.linspace(-1, 2, x[0].numel(), dtype=x.dtype).view(x.shape[1:])
    return (x * slope).flatten(1).sum(1)


@given(
    strength=st.floats(0.001, 1),
    shrink=st.floats(0.1, 1),
    ball=st.sampled_from([L2Ball(), LinfBall(), L2Ball(0.3), LinfBall(0.2), L2Ball(9.0)]),
    rule=st.sampled_from(["steepest", "normalized", "sign", "adam"]),
    masked=st.booleans(),
)
def test_on_a_linear_logit_strength_is_the_share_of_the_way(
    strength: float,
    ball: Ball,
    masked: bool,
    **arguments: Any,  # noqa: ANN401
) -> None:
    starts = torch.rand(3, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([True, False, True, True, True, False]) if masked else None
    how: dict[str, Any] = {"steps": 6, "step_size": 0.2, "box": None, "ball": ball, "mask": mask, **arguments}
    full = climb_in_chunks(linear, starts, **how).points
    part = climb_in_chunks(linear, starts, strength=strength, **how).points
    torch.testing.assert_close(part, starts + strength * (full - starts), rtol=0, atol=1e-6)


def test_strength_one_is_the_recipe_to_the_bit(verb: Verb) -> None:
    assert torch.equal(ends(verb([0, 1], **HOW, strength=1.0)), ends(verb([0, 1], **HOW)))


@pytest.mark.parametrize("strength", [1e-4, 0.01, 0.3])
def test_a_small_strength_moves_little(verb: Verb, strength: float) -> None:
    begin = way(verb([0, 1, 2], steps=0, step_size=0.3, trajectory=True))[0]
    moved = distance(ends(verb([0, 1, 2], **HOW, strength=strength)), begin, L2Ball())
    assert (moved <= strength * 8 * 0.3 + 1e-5).all()
    assert (moved > 0).all()


@pytest.mark.parametrize("ball", [L2Ball(0.5), LinfBall(0.1)], ids=["l2", "linf"])
def test_strength_moves_inside_a_ball_that_the_recipe_fills(ball: Ball, detector: nn.Module, images: Tensor) -> None:
    """Shorter steps alone would fill the ball at half the strength as well."""
    for strength in (1.0, 0.5, 0.1):
        made = transform(detector, images[:4], steps=30, step_size=0.3, ball=ball, strength=strength)
        reach = distance(made.points, images[:4], ball)
        assert ball.radius is not None
        assert (reach <= strength * ball.radius + 1e-6).all()
        assert (reach > 0.9 * strength * ball.radius).all()


def test_more_strength_climbs_higher(detector: nn.Module, images: Tensor) -> None:
    """Along one way, as long as steps are short: the mean logit never falls from a strength to the next."""
    logits = []
    for strength in torch.linspace(0.05, 1, 12).tolist():
        made = transform(detector, images[:16], steps=60, step_size=0.02, strength=strength)
        with torch.no_grad():
            logits.append(detector(made.points))
    rises = torch.stack(logits).diff(dim=0)
    assert (rises > -1e-4).all()
    assert (rises.sum(0) > 0.5).all()


# levels, sizes


def test_stopping_is_at_the_first_look_at_or_above_the_level(detector: nn.Module, images: Tensor) -> None:
    level = level_for(detector, images)
    free = climb(detector, images[:16], **HOW, trajectory=True).trajectory
    assert free is not None
    with torch.no_grad():
        above = torch.stack([detector(points) for points in free]) >= level
    made = transform(detector, images[:16], **HOW, stop_at=level)
    for i in range(16):
        first = int(above[:, i].int().argmax()) if above[:, i].any() else 8
        torch.testing.assert_close(made.points[i], free[first, i], rtol=0, atol=1e-5)
        assert made.passes[i] == min(first + 1, 8)


def test_shrinking_is_the_ascents(verb: Verb) -> None:
    walked = way(verb([0, 1], steps=5, step_size=0.2, shrink=0.1, box=None, trajectory=True))
    sizes = torch.stack([distance(b, a, L2Ball()) for a, b in pairwise(walked)])
    expected = 0.2 * 0.1 ** (torch.arange(5) / 4)
    torch.testing.assert_close(sizes, expected[:, None].expand_as(sizes), rtol=0, atol=1e-5)


def test_passes_of_samples_are_the_most_spent_on_one(detector: nn.Module, outside: Source, images: Tensor) -> None:
    level = level_for(detector, images)
    made = sample(detector, outside, seeds=range(9), **HOW, stop_at=level)
    passes = transform(detector, draw_starts(outside, seeds=range(9)), **HOW, stop_at=level).passes
    assert made.passes == passes.max()


# what is refused


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"strength": 0.0}, r"expected strength to be in \(0, 1\], got 0.0"),
        ({"strength": 1.5}, r"expected strength to be in \(0, 1\], got 1.5"),
        ({"strength": float("nan")}, r"expected strength to be in \(0, 1\], got nan"),
        ({"chunk": 0}, "expected chunk to be at least 1, got 0"),
        ({"shrink": 0.0}, r"expected shrink to be in \(0, 1\], got 0.0"),
        ({"stop_at": float("inf")}, "expected stop_at to be None or a finite logit, got inf"),
        ({"steps": -1}, "expected steps to be at least 0, got -1"),
        ({"step_size": 0.0}, "expected step_size to be positive and finite, got 0.0"),
        ({"rule": "down"}, "expected rule to be"),
        ({"box": (0.0, 0.5)}, "expected starts inside the box"),
    ],
)
def test_every_verb_refuses_before_the_detector_is_asked(
    verb: Verb, change: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genat.generation.chunks.climb", None)
    with pytest.raises(ValueError, match=message):
        verb([0], **HOW | change)


@pytest.mark.parametrize("missing", ["steps", "step_size"])
def test_steps_and_their_size_are_needed(verb: Verb, missing: str) -> None:
    with pytest.raises(TypeError, match=missing):
        verb([0], **{name: value for name, value in HOW.items() if name != missing})


def test_an_image_out_of_the_box_is_found_before_the_first_chunk(detector: nn.Module, images: Tensor) -> None:
    calls: list[tuple[int, int]] = []
    broken = images.index_fill(0, torch.tensor([36]), 1.5)
    with pytest.raises(ValueError, match="expected starts inside the box"):
        transform(detector, broken, **HOW, chunk=4, callback=lambda *call: calls.append(call))
    assert calls == []


def test_nothing_to_climb_from_is_refused(detector: nn.Module, images: Tensor, mask: Tensor) -> None:
    with pytest.raises(ValueError, match="expected at least one image, got none"):
        transform(detector, images[:0], **HOW)
    with pytest.raises(ValueError, match="expected at least one image, got none"):
        edit(detector, images[:0], mask=mask, **HOW)
    with pytest.raises(ValueError, match="expected at least one image, got none"):
        denoise(detector, images[:0], sigma=0.1, **HOW)


def test_networks_together_are_refused(detector: nn.Module, images: Tensor) -> None:
    with pytest.raises(ValueError, match=r"expected one detector, got several together: climb with one_of"):
        transform(Together([detector, detector]), images, **HOW)


def test_a_ball_of_ones_own_has_no_strength(detector: nn.Module, images: Tensor) -> None:
    class Cross(L2Ball):
        pass

    class Own:
        radius = 0.5
        direction, project, random_start = L2Ball.direction, L2Ball.project, L2Ball.random_start

    transform(detector, images[:1], **HOW, ball=Cross(0.5), strength=0.5)
    with pytest.raises(TypeError, match="expected ball to be an L2Ball or a LinfBall to scale, got Own"):
        transform(detector, images[:1], **HOW, ball=Own(), strength=0.5)


def test_what_is_not_finite_is_never_hidden(images: Tensor) -> None:
    with pytest.raises(NonFiniteError, match="expected finite points"):
        transform(lambda x: x.flatten(1).sum(1).mul(torch.nan), images, **HOW)


def test_interpolate_climbs_as_the_others_do(detector: nn.Module, outside: Source) -> None:
    two = draw_starts(outside, seeds=[0, 1])
    made = interpolate(detector, two, frames=20, **HOW, strength=0.5, shrink=0.5, trajectory=True)
    alone = transform(detector, made.starts[7:8], **HOW, strength=0.5, shrink=0.5)
    assert torch.equal(made.images[7], alone.points[0])
    assert made.trajectory is not None
    assert torch.equal(made.trajectory[-1], made.images)
