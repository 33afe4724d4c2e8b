"""Ascent of some of the coordinates, and of samples whose batch keeps its shape. Tolerance 1e-12, in float64."""

import math
from collections.abc import Callable
from typing import Any, Literal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from genat.ascent import Rule, ascend, climb, spread
from genat.balls import Ball, L2Ball, LinfBall, distance
from genat.networks import Together, build

SHAPE = (5, 3, 2, 2)
rules = pytest.mark.parametrize("rule", ["steepest", "normalized", "sign", "adam"])


def uniform(shape: tuple[int, ...] = SHAPE, *, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def chosen(shape: tuple[int, ...] = SHAPE, *, seed: int = 9) -> Tensor:
    return uniform(shape, seed=seed) < 0.5


WEIGHTS = uniform(SHAPE[1:], seed=1) - 0.5


def linear(x: Tensor) -> Tensor:
    return (x * WEIGHTS).flatten(1).sum(1)


def wavy(x: Tensor) -> Tensor:
    return torch.sin(5 * x * WEIGHTS.to(x)).flatten(1).sum(1)


def close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-12)


# closed forms on a linear logit


@pytest.mark.parametrize("descend", [False, True])
def test_the_l2_step_is_normalised_over_the_mask(descend: bool) -> None:
    mask, sign = chosen(), -1.0 if descend else 1.0
    ends = ascend(linear, uniform(), mask=mask, steps=4, step_size=0.3, box=None, descend=descend)
    slope = (WEIGHTS * mask).flatten(1)
    unit = (slope / slope.norm(dim=1, keepdim=True)).view(SHAPE)
    close(ends, uniform() + sign * 1.2 * unit)
    close(linear(ends) - linear(uniform()), sign * 1.2 * slope.norm(dim=1))


def test_the_linf_step_is_the_sign_under_the_mask() -> None:
    mask = chosen()
    ends = ascend(linear, uniform(), mask=mask, steps=4, step_size=0.3, ball=LinfBall(), box=None)
    close(ends, uniform() + 1.2 * WEIGHTS.sign() * mask)


@pytest.mark.parametrize("ball", [L2Ball(0.7), LinfBall(0.2)], ids=["l2", "linf"])
def test_ball_and_mask_both_hold_and_the_optimum_is_the_balls(ball: Ball) -> None:
    mask = chosen()
    ends = ascend(linear, uniform(), mask=mask, steps=20, step_size=0.1, ball=ball, box=None)
    slope = (WEIGHTS * mask).flatten(1)
    dual = slope.norm(dim=1, p=2 if isinstance(ball, L2Ball) else 1)
    assert ball.radius is not None
    close(linear(ends) - linear(uniform()), ball.radius * dual)
    assert (distance(ends, uniform(), ball) <= ball.radius + 1e-12).all()


def test_adam_is_torchs_adam_on_what_the_mask_leaves(smooth_net: nn.Module) -> None:
    mask = chosen()
    free = uniform()[mask].requires_grad_()
    adam = torch.optim.Adam([free], lr=0.05, maximize=True)
    for _ in range(12):
        adam.zero_grad()
        smooth_net(uniform().masked_scatter(mask, free)).sum().backward()
        adam.step()
    ends = ascend(smooth_net, uniform(), mask=mask, steps=12, step_size=0.05, rule="adam", box=None)
    torch.testing.assert_close(ends[mask], free.detach(), rtol=0, atol=1e-6)
    assert torch.equal(ends[~mask], uniform()[~mask])


# the mask


@given(
    seed=st.integers(0, 1000),
    ball=st.sampled_from([L2Ball(), LinfBall(), L2Ball(0.3), LinfBall(0.1)]),
    rule=st.sampled_from(["steepest", "normalized", "sign", "adam"]),
    box=st.sampled_from([(0.0, 1.0), (-1.0, 2.0), None]),
    keep=st.sampled_from(["last", "best"]),
    stop_at=st.sampled_from([None, 0.5]),
    random_start=st.booleans(),
    descend=st.booleans(),
    compact=st.booleans(),
)
def test_what_the_mask_holds_keeps_its_value_to_the_bit(
    seed: int,
    ball: Ball,
    random_start: bool,
    **arguments: Any,  # noqa: ANN401
) -> None:
    starts, mask = uniform(seed=seed).float(), chosen(seed=seed + 1)
    starts[:, :, 0] = -0.0  # which a sum with 0 turns into +0
    random_start = random_start and ball.radius is not None
    end = climb(
        wavy,
        starts,
        mask=mask,
        ball=ball,
        steps=5,
        step_size=0.2,
        random_start=random_start,
        generator=torch.Generator().manual_seed(seed) if random_start else None,
        trajectory=True,
        **arguments,
    )
    assert end.trajectory is not None
    for points in (end.points, *end.trajectory):
        assert torch.equal(points[~mask], starts[~mask])
        assert torch.equal(points[~mask].signbit(), starts[~mask].signbit())
    if ball.radius is not None:
        assert (distance(end.points, starts, ball) <= ball.radius + 1e-6).all()


@rules
def test_a_mask_of_everything_changes_nothing_and_one_of_nothing_changes_all(rule: Rule, smooth_net: nn.Module) -> None:
    def ends(mask: Tensor | None) -> Tensor:
        return ascend(smooth_net, uniform(), mask=mask, steps=4, step_size=0.1, rule=rule)

    assert torch.equal(ends(torch.ones(SHAPE, dtype=torch.bool)), ends(None))
    assert torch.equal(ends(torch.zeros(SHAPE, dtype=torch.bool)), uniform())


@pytest.mark.parametrize("shape", [(2, 2), (1, 2), (1, 2, 2), (5, 1, 2, 2), (1, 3, 1, 1), (5, 1, 1, 1), ()], ids=str)
def test_a_mask_is_broadcast(shape: tuple[int, ...], smooth_net: nn.Module) -> None:
    mask = chosen(shape)
    arguments: dict[str, Any] = {"steps": 3, "step_size": 0.1}
    small = ascend(smooth_net, uniform(), mask=mask, **arguments)
    assert torch.equal(small, ascend(smooth_net, uniform(), mask=mask.expand(SHAPE).contiguous(), **arguments))


def test_each_sample_has_its_own_mask_also_where_others_have_stopped(smooth_net: nn.Module) -> None:
    mask, level = chosen(), float(smooth_net(uniform()).detach().median())
    arguments: dict[str, Any] = {"steps": 6, "step_size": 0.1, "stop_at": level}
    together = climb(smooth_net, uniform(), mask=mask, **arguments)
    assert len(set(together.passes.tolist())) > 1
    for i in range(len(mask)):
        alone = climb(smooth_net, uniform()[i : i + 1], mask=mask[i : i + 1], **arguments)
        torch.testing.assert_close(together.points[i], alone.points[0], rtol=0, atol=1e-10)


def test_a_gradient_that_is_not_finite_is_found_under_the_mask_alone() -> None:
    def breaks(x: Tensor) -> Tensor:
        return x[:, 0] + (x[:, 1] * math.nan)

    starts = torch.zeros(1, 2)
    ends = ascend(breaks, starts, mask=torch.tensor([True, False]), steps=2, step_size=0.25)
    assert ends.tolist() == [[0.5, 0.0]]
    with pytest.raises(FloatingPointError, match="expected finite points"):
        ascend(breaks, starts, mask=torch.tensor([False, True]), steps=2, step_size=0.25)


@pytest.mark.parametrize("verb", [ascend, climb])
@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.ones(SHAPE), "expected mask to be bool, got torch.float32"),
        (torch.ones(SHAPE, dtype=torch.uint8), "expected mask to be bool, got torch.uint8"),
        (torch.ones(4, 4, dtype=torch.bool), r"expected mask to broadcast to \(5, 3, 2, 2\), got \(4, 4\)"),
        (torch.ones(1, *SHAPE, dtype=torch.bool), r"expected mask to broadcast to .*, got \(1, 5, 3, 2, 2\)"),
    ],
)
def test_masks_that_do_not_fit_are_refused(verb: Callable[..., Any], mask: Tensor, message: str) -> None:
    def unasked(x: Tensor) -> Tensor:
        raise AssertionError(f"asked about {x.shape}")

    with pytest.raises(ValueError, match=message):
        verb(unasked, uniform(), mask=mask, steps=1, step_size=0.1)


def test_spread_copies_nothing() -> None:
    mask = chosen((2, 2))
    assert spread(mask, uniform()).data_ptr() == mask.data_ptr()


# batches that keep their shape


@rules
@pytest.mark.parametrize("keep", ["last", "best"])
@pytest.mark.parametrize("descend", [False, True])
def test_not_compact_gives_what_compact_does(
    rule: Rule, keep: Literal["last", "best"], descend: bool, smooth_net: nn.Module
) -> None:
    level = float(smooth_net(uniform()).detach().median()) + (-0.1 if descend else 0.1)
    sizes = torch.tensor([0.01, 0.05, 0.1, 0.2, 0.02])
    arguments: dict[str, Any] = {
        "steps": 8, "step_size": sizes, "shrink": 0.5, "rule": rule, "keep": keep, "descend": descend,
        "stop_at": level, "ball": L2Ball(0.4), "mask": chosen(),
    }  # fmt: skip
    compact = climb(smooth_net, uniform(), **arguments)
    whole = climb(smooth_net, uniform(), **arguments, compact=False)
    assert len(set(compact.passes.tolist())) > 1
    assert torch.equal(whole.passes, compact.passes)
    for name in ("points", "path", "reach"):
        torch.testing.assert_close(getattr(whole, name), getattr(compact, name), rtol=0, atol=1e-10)
    if compact.logits is not None and whole.logits is not None:
        torch.testing.assert_close(whole.logits, compact.logits, rtol=0, atol=1e-10)


def test_not_compact_shows_the_detector_one_shape_until_all_have_stopped() -> None:
    seen: list[int] = []

    def total(x: Tensor) -> Tensor:
        seen.append(len(x))
        return x.sum(1)

    starts = torch.tensor([[0.0], [0.5], [2.0]])
    arguments: dict[str, Any] = {"steps": 9, "step_size": 0.25, "box": None, "stop_at": 0.75}
    climb(total, starts, **arguments)
    assert seen == [3, 2, 1, 1]
    seen.clear()
    end = climb(total, starts, **arguments, compact=False)
    assert seen == [3, 3, 3, 3]
    assert end.passes.tolist() == [4, 2, 1]
    assert end.points.flatten().tolist() == [0.75, 0.75, 2.0]


def test_networks_together_stop_at_a_level_where_the_batch_keeps_its_shape() -> None:
    nets = [build("mlp", (2,), {"hidden": [8]}, seed=seed) for seed in range(2)]
    starts = uniform((6, 2)).float()
    level = float(torch.cat([net(starts) for net in nets]).detach().median()) + 0.05
    arguments: dict[str, Any] = {"steps": 6, "step_size": 0.2, "stop_at": level, "compact": False}
    both = climb(Together(nets), starts, **arguments)
    apart = [climb(net, part, **arguments) for net, part in zip(nets, starts.tensor_split(2), strict=True)]
    assert len(set(both.passes.tolist())) > 1
    assert torch.equal(both.passes, torch.cat([part.passes for part in apart]))
    torch.testing.assert_close(both.points, torch.cat([part.points for part in apart]), rtol=0, atol=1e-5)
