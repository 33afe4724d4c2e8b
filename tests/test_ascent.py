"""Closed forms and guarantees of ascent. Tolerance 1e-6 unless a test says less, in float64 unless it says else."""

import math
from collections.abc import Callable
from typing import Any, Literal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from genat.ascent import Climb, Moments, NonFiniteError, Rule, ascend, climb, frozen
from genat.balls import Ball, L2Ball, LinfBall, distance, per_sample
from genat.networks import Together

SHAPE = (5, 3, 2, 2)


def uniform(shape: tuple[int, ...] = SHAPE, *, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


WEIGHTS = uniform(SHAPE[1:], seed=1) - 0.5


def linear(x: Tensor) -> Tensor:
    return (x * WEIGHTS.to(x)).flatten(1).sum(1) + 3.0


def bowl(x: Tensor) -> Tensor:
    """A concave logit with its top at 1/2, which a long step overshoots."""
    return -(x - 0.5).square().flatten(1).sum(1)


def total(x: Tensor) -> Tensor:
    return x.flatten(1).sum(1)


def close(actual: Tensor, expected: Tensor, *, atol: float = 1e-6) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=atol)


both = pytest.mark.parametrize("ball_type", [L2Ball, LinfBall])
uphill_and_down = pytest.mark.parametrize("descend", [False, True])
rules = pytest.mark.parametrize("rule", ["steepest", "normalized", "sign", "adam"])


# Closed forms


@uphill_and_down
@pytest.mark.parametrize(("ball", "dual"), [(L2Ball(0.7), 2.0), (LinfBall(0.7), 1.0)], ids=["l2", "linf"])
def test_linear_logit_gains_radius_times_dual_norm(ball: Ball, dual: float, descend: bool) -> None:
    starts = uniform() * 4 - 2
    ends = ascend(linear, starts, ball=ball, steps=10, step_size=0.1, box=None, descend=descend)
    gain = 0.7 * torch.linalg.vector_norm(WEIGHTS.flatten(), ord=dual) * (-1 if descend else 1)
    close(linear(ends) - linear(starts), gain.expand(5))


@both
def test_linear_logit_gains_the_budget_where_the_ball_is_wide(ball_type: type[L2Ball] | type[LinfBall]) -> None:
    end = climb(linear, uniform(), ball=ball_type(100.0), steps=7, step_size=0.1, box=None)
    dual = torch.linalg.vector_norm(WEIGHTS.flatten(), ord=2.0 if ball_type is L2Ball else 1.0)
    close(linear(end.points) - linear(uniform()), (0.7 * dual).expand(5))
    close(end.path, torch.full((5,), 0.7, dtype=torch.float64))


def test_unconstrained_ascent_on_a_linear_logit_ends_in_the_boxs_best_corner() -> None:
    corner = (WEIGHTS > 0).double().expand(SHAPE)
    close(ascend(linear, uniform(), steps=400, step_size=0.5), corner)
    close(ascend(linear, uniform(), steps=10, step_size=0.1, rule="sign"), corner)
    close(ascend(linear, uniform(), steps=10, step_size=0.1, rule="sign", descend=True), 1 - corner)


@both
def test_radius_zero_returns_the_starts(ball_type: type[L2Ball] | type[LinfBall]) -> None:
    end = climb(linear, uniform(), ball=ball_type(0.0), steps=3, step_size=0.1)
    assert torch.equal(end.points, uniform())
    assert torch.equal(end.path, torch.zeros(5, dtype=torch.float64))


@pytest.mark.parametrize("keep", ["last", "best"])
def test_no_steps_return_a_copy_of_the_starts(keep: Literal["last", "best"]) -> None:
    starts = uniform()
    end = climb(linear, starts, steps=0, step_size=0.1, keep=keep, trajectory=True)
    assert torch.equal(end.points, starts)
    assert end.points.data_ptr() != starts.data_ptr()
    assert end.passes.tolist() == [keep == "best"] * 5
    assert end.trajectory is not None
    assert torch.equal(end.trajectory, starts[None])
    assert (end.logits is None) == (keep == "last")


def test_no_steps_with_a_random_start_return_the_random_start() -> None:
    starts, ball = uniform(), L2Ball(0.1)
    drawn = ball.random_start(starts, generator=torch.Generator().manual_seed(5)).clamp(0, 1)
    ends = ascend(
        linear,
        starts,
        ball=ball,
        steps=0,
        step_size=0.1,
        random_start=True,
        generator=torch.Generator().manual_seed(5),
    )
    assert torch.equal(ends, drawn)


def test_the_last_step_counts() -> None:
    starts = torch.full(SHAPE, 0.5, dtype=torch.float64)
    unit = WEIGHTS / torch.linalg.vector_norm(WEIGHTS.flatten())
    close(ascend(linear, starts, steps=1, step_size=0.1), starts + 0.1 * unit, atol=1e-12)
    close(ascend(linear, starts, steps=2, step_size=0.1), starts + 0.2 * unit, atol=1e-12)


def test_a_point_is_brought_into_the_ball_first_and_into_the_box_then() -> None:
    """From (0.9, 0.5) a step of 2 along (0.8, 0.6) leaves both; the other order would end near (0.998, 0.990)."""
    starts = torch.tensor([[0.9, 0.5]], dtype=torch.float64)
    slope = torch.tensor([0.8, 0.6], dtype=torch.float64)
    ends = ascend(lambda x: x @ slope, starts, ball=L2Ball(0.5), steps=1, step_size=2.0)
    close(ends, torch.tensor([[1.0, 0.8]], dtype=torch.float64), atol=1e-12)


@rules
def test_step_sizes_per_sample_equal_separate_calls(rule: Rule, smooth_net: nn.Module) -> None:
    sizes = torch.tensor([0.01, 0.1, 0.3, 0.02, 1.0])  # float32 on purpose: they are cast to the starts' dtype
    together = climb(smooth_net, uniform(), steps=6, step_size=sizes, rule=rule, ball=L2Ball(0.5))
    for i, size in enumerate(sizes.tolist()):
        alone = climb(smooth_net, uniform()[i : i + 1], steps=6, step_size=size, rule=rule, ball=L2Ball(0.5))
        close(together.points[i], alone.points[0], atol=1e-10)
        close(together.path[i], alone.path[0], atol=1e-10)


@uphill_and_down
def test_adam_rule_is_torchs_adam(descend: bool, smooth_net: nn.Module) -> None:
    points = uniform().requires_grad_()
    adam = torch.optim.Adam([points], lr=0.05, maximize=not descend)
    for _ in range(20):
        adam.zero_grad()
        smooth_net(points).sum().backward()
        adam.step()
    ends = ascend(smooth_net, uniform(), steps=20, step_size=0.05, rule="adam", box=None, descend=descend)
    close(ends, points.detach())


def test_climbs_that_go_on_with_adams_moments_are_one_climb(smooth_net: nn.Module) -> None:
    """Each from its own number of steps: one sample in a climb of 8, the other in one of 6."""
    adam: dict[str, Any] = {"step_size": 0.05, "rule": "adam"}
    zero = torch.zeros_like(uniform())
    none = Moments(zero, zero, torch.zeros(len(zero), dtype=torch.int64))
    first = climb(smooth_net, uniform(), steps=2, moments=none, **adam)
    assert first.moments is not None
    assert climb(smooth_net, uniform(), steps=2, **adam).moments is None
    rows = torch.arange(len(zero)) % 2 == 0  # the others begin later
    begun = per_sample(rows, zero)
    second = climb(
        smooth_net,
        torch.where(begun, first.points, uniform()),
        steps=6,
        moments=Moments(first.moments.first * begun, first.moments.second * begun, first.moments.steps * rows),
        **adam,
    )
    assert second.moments is not None
    assert torch.equal(second.moments.steps, torch.where(rows, 8, 6))
    long, short = (ascend(smooth_net, uniform(), steps=steps, **adam) for steps in (8, 6))
    torch.testing.assert_close(second.points, torch.where(begun, long, short), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("options", [{"rule": "steepest"}, {"rule": "adam", "stop_at": 0.0}])
def test_moments_are_adams_and_climb_to_the_end(options: dict[str, Any], smooth_net: nn.Module) -> None:
    moments = Moments(uniform(), uniform(), torch.zeros(len(uniform()), dtype=torch.int64))
    with pytest.raises(ValueError, match="expected moments with rule 'adam' and without stop_at, got"):
        climb(smooth_net, uniform(), steps=1, step_size=0.1, moments=moments, **options)


@pytest.mark.parametrize("ball", [L2Ball(0.4), LinfBall(0.4)], ids=["l2", "linf"])
def test_rules_name_the_balls_directions(ball: Ball, smooth_net: nn.Module) -> None:
    def ends(rule: Rule) -> Tensor:
        return ascend(smooth_net, uniform(), ball=ball, steps=5, step_size=0.1, rule=rule)

    own, other = ("normalized", "sign") if isinstance(ball, L2Ball) else ("sign", "normalized")
    assert torch.equal(ends("steepest"), ends(own))  # type: ignore[arg-type]
    assert not torch.allclose(ends("steepest"), ends(other), atol=1e-3)  # type: ignore[arg-type]


# The record


@rules
@pytest.mark.parametrize("ball", [L2Ball(0.3), LinfBall(0.3)], ids=["l2", "linf"])
def test_trajectory_begins_at_the_starts_and_ends_at_the_end(rule: Rule, ball: Ball, smooth_net: nn.Module) -> None:
    end = climb(smooth_net, uniform(), ball=ball, steps=6, step_size=0.1, rule=rule, trajectory=True)
    assert end.trajectory is not None
    assert end.trajectory.shape == (7, *SHAPE)
    assert torch.equal(end.trajectory[0], uniform())
    assert torch.equal(end.trajectory[-1], end.points)
    lengths = torch.stack([distance(b, a, ball) for a, b in zip(end.trajectory, end.trajectory[1:], strict=False)])
    close(end.path, lengths.sum(0), atol=1e-12)
    if rule == "steepest":
        assert (lengths <= 0.1 + 1e-12).all()
    assert end.passes.tolist() == [6] * 5


def test_only_what_is_asked_for_is_recorded() -> None:
    end = climb(linear, uniform(), steps=2, step_size=0.1)
    assert end.logits is None
    assert end.trajectory is None


def test_path_is_short_where_the_box_is_in_the_way() -> None:
    ones = torch.ones(2, 3, dtype=torch.float64)
    assert climb(total, ones, steps=10, step_size=0.1).path.tolist() == [0.0, 0.0]
    end = climb(total, ones - 0.05, steps=10, step_size=0.1, ball=LinfBall())
    close(end.path, torch.full((2,), 0.05, dtype=torch.float64), atol=1e-12)


@uphill_and_down
def test_best_is_the_best_of_the_trajectory_and_knows_its_logit(descend: bool) -> None:
    detector = (lambda x: -bowl(x)) if descend else bowl  # either way the optimum is overshot
    sizes = torch.tensor([0.001, 0.1, 0.3, 0.7, 1.0])
    end = climb(detector, uniform(), steps=8, step_size=sizes, keep="best", descend=descend, trajectory=True)
    last = climb(detector, uniform(), steps=8, step_size=sizes, descend=descend)
    assert end.logits is not None
    assert end.trajectory is not None
    seen = torch.stack([detector(points) for points in end.trajectory])
    close(end.logits, seen.amin(0) if descend else seen.amax(0), atol=1e-12)
    close(end.logits, detector(end.points), atol=1e-12)
    assert torch.equal(end.trajectory[-1], last.points)
    gain = end.logits - detector(last.points)
    assert ((-gain if descend else gain) >= 0).all()
    assert (gain.abs() > 1e-3).any()
    assert end.passes.tolist() == [9] * 5


# Stopping early


def reference(
    detector: Callable[[Tensor], Tensor], starts: Tensor, *, steps: int, sizes: Tensor, radius: float, stop_at: float
) -> tuple[Tensor, Tensor]:
    """The L2 loop with masks in place of compaction: every sample is evaluated at every step."""
    points, passes = starts.clone(), torch.zeros(len(starts), dtype=torch.int64)
    moving = torch.ones(len(starts), dtype=torch.bool)
    for _ in range(steps):
        passes += moving
        here = points.clone().requires_grad_()
        logits = detector(here)
        (gradient,) = torch.autograd.grad(logits.sum(), here)
        moving = moving & (logits.detach() < stop_at)
        wide = (-1, *[1] * (starts.ndim - 1))
        step = sizes.view(wide) * gradient / gradient.flatten(1).norm(dim=1).view(wide)
        offset = points + step - starts
        offset = offset * (radius / offset.flatten(1).norm(dim=1).view(wide)).clamp(max=1)
        points = torch.where(moving.view(wide), (starts + offset).clamp(0, 1), points)
    return points, passes


@given(seed=st.integers(0, 1000), share=st.floats(0.0, 1.0), steps=st.integers(1, 12))
def test_compaction_equals_masks(seed: int, share: float, steps: int) -> None:
    starts, sizes = uniform((9, 3, 2), seed=seed), 0.02 + 0.2 * uniform((9,), seed=seed + 1)
    tilt = uniform((3, 2), seed=seed + 2) - 0.5

    def detector(x: Tensor) -> Tensor:
        return (torch.sin(3 * x) + x * tilt).flatten(1).sum(1)

    level = float(detector(starts).quantile(share)) + 0.3
    end = climb(detector, starts, steps=steps, step_size=sizes, ball=L2Ball(0.5), stop_at=level)
    points, passes = reference(detector, starts, steps=steps, sizes=sizes, radius=0.5, stop_at=level)
    close(end.points, points, atol=1e-10)
    assert torch.equal(end.passes, passes)
    stopped = passes < steps
    assert (detector(end.points)[stopped] >= level).all()


@uphill_and_down
@rules
@pytest.mark.parametrize("keep", ["last", "best"])
def test_stopping_treats_samples_as_if_each_were_alone(
    rule: Rule, keep: Literal["last", "best"], descend: bool, smooth_net: nn.Module
) -> None:
    values = smooth_net(uniform()).detach()
    sign = -1.0 if descend else 1.0
    level = float(values.median() + sign * 0.1)
    arguments: dict[str, Any] = {"steps": 8, "rule": rule, "keep": keep, "descend": descend, "stop_at": level}
    sizes = torch.tensor([0.01, 0.05, 0.1, 0.2, 0.02])
    together = climb(smooth_net, uniform(), step_size=sizes, **arguments)
    assert len(set(together.passes.tolist())) > 1
    for i in range(5):
        alone = climb(smooth_net, uniform()[i : i + 1], step_size=sizes[i : i + 1], **arguments)
        close(together.points[i], alone.points[0], atol=1e-10)
        close(together.path[i], alone.path[0], atol=1e-10)
        assert together.passes[i] == alone.passes[0]
        if together.logits is not None and alone.logits is not None:
            close(together.logits[i], alone.logits[0], atol=1e-10)
        if together.passes[i] < 8:
            assert sign * smooth_net(alone.points)[0] >= sign * level


def test_passes_count_the_look_that_stops_and_the_last_look_of_best() -> None:
    starts = torch.tensor([[0.0], [0.25], [2.0]])
    arguments: dict[str, Any] = {"steps": 4, "step_size": 0.25, "box": None, "stop_at": 0.75}
    last = climb(total, starts, **arguments, trajectory=True)
    assert last.points.flatten().tolist() == [0.75, 0.75, 2.0]
    assert last.passes.tolist() == [4, 3, 1]
    assert last.path.tolist() == [0.75, 0.5, 0.0]
    assert last.trajectory is not None
    assert last.trajectory[:, :, 0].tolist() == [[0, 0.25, 2], [0.25, 0.5, 2], [0.5, 0.75, 2], [0.75, 0.75, 2]]
    best = climb(total, starts, **arguments, keep="best")
    assert best.passes.tolist() == [5, 4, 2]
    assert torch.equal(best.points, last.points)


def test_descent_stops_from_above() -> None:
    end = climb(total, torch.tensor([[1.0], [0.1]]), steps=9, step_size=0.25, stop_at=0.5, descend=True)
    assert end.points.flatten().tolist() == [0.5, pytest.approx(0.1)]


# What holds on return


@given(
    seed=st.integers(0, 1000),
    ball=st.one_of(
        st.builds(L2Ball, st.floats(0, 2)), st.builds(LinfBall, st.floats(0, 1)), st.just(L2Ball()), st.just(LinfBall())
    ),
    box=st.sampled_from([(0.0, 1.0), (-1.0, 2.0), (0.0, 1.1), None]),
    rule=st.sampled_from(["steepest", "normalized", "sign", "adam"]),
    descend=st.booleans(),
    random_start=st.booleans(),
    keep=st.sampled_from(["last", "best"]),
    stop_at=st.sampled_from([None, 0.5]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_ends_are_in_ball_and_box_detached_and_of_the_starts_kind(
    seed: int, ball: Ball, box: tuple[float, float] | None, dtype: torch.dtype, random_start: bool, **arguments: object
) -> None:
    starts = uniform((6, 3, 2, 2), seed=seed, dtype=dtype)
    before = starts.clone()
    random_start = random_start and ball.radius is not None
    end = climb(
        lambda x: torch.sin(5 * linear(x)),
        starts,
        steps=4,
        step_size=0.3,
        ball=ball,
        box=box,
        random_start=random_start,
        generator=torch.Generator().manual_seed(seed) if random_start else None,
        **arguments,  # type: ignore[arg-type]
    )
    assert torch.equal(starts, before)
    for tensor in (end.points, end.path):
        assert tensor.dtype == dtype
        assert tensor.device == starts.device
        assert not tensor.requires_grad
    if ball.radius is not None:
        assert (distance(end.points, starts, ball) <= ball.radius + 1e-6).all()
    if box is not None:
        assert end.points.min() >= box[0]
        assert end.points.max() <= torch.tensor(box[1], dtype=dtype)


@given(low=st.floats(-1, 0), high=st.floats(0.01, 1))
def test_ends_may_be_starts_again(low: float, high: float) -> None:
    """In float32 clipping to 0.1 gives 0.100000001, which is in the box."""
    for dtype in (torch.float32, torch.float16):
        ends = ascend(total, torch.zeros(2, 3, dtype=dtype), steps=4, step_size=2.0, box=(low, high))
        assert torch.equal(ascend(total, ends, steps=1, step_size=2.0, box=(low, high)), ends)


class Nosy(nn.Module):
    """Batch norm, dropout and a frozen layer, so that every kind of trace could be left; float32."""

    def __init__(self, *, fail_at: int | None = None) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.body = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten())
            self.head = nn.Linear(16, 1)
        self.calls, self.fail_at = 0, fail_at
        self.train()
        self.body[1].eval()
        self.head.bias.requires_grad_(False)
        self.head.weight.grad = torch.full_like(self.head.weight, 7.0)

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        if self.calls == self.fail_at:
            raise RuntimeError("the detector broke")
        assert not any(module.training for module in self.modules())
        assert not any(parameter.requires_grad for parameter in self.parameters())
        return torch.as_tensor(self.head(self.body(x)))[:, 0]

    def traces(self) -> list[Any]:
        """Everything an ascent may not change."""
        flags = [module.training for module in self.modules()]
        frozen_flags = [parameter.requires_grad for parameter in self.parameters()]
        grads = [None if p.grad is None else p.grad.tolist() for p in self.parameters()]
        return [flags, frozen_flags, grads, {name: value.tolist() for name, value in self.state_dict().items()}]


@pytest.mark.parametrize("fail_at", [None, 1, 3])
def test_detectors_carry_no_trace_of_an_ascent(fail_at: int | None) -> None:
    detector = Nosy(fail_at=fail_at)
    before, starts = detector.traces(), uniform(dtype=torch.float32).requires_grad_()
    if fail_at is None:
        end = climb(detector, starts, steps=4, step_size=0.1, keep="best", stop_at=1e9, trajectory=True)
        assert detector.calls == 5
        assert not end.points.requires_grad
    else:
        with pytest.raises(RuntimeError, match="the detector broke"):
            ascend(detector, starts, steps=4, step_size=0.1)
    assert detector.traces() == before
    assert starts.requires_grad
    assert starts.grad is None
    assert torch.equal(starts.detach(), uniform(dtype=torch.float32))


def test_dropout_is_off_and_batch_norm_reads_its_running_statistics() -> None:
    detector, starts = Nosy(), uniform(dtype=torch.float32)
    ends = ascend(detector, starts, steps=3, step_size=0.1)
    assert torch.equal(ends, ascend(detector, starts, steps=3, step_size=0.1))
    with frozen(detector):
        evaluated = detector.head(detector.body(starts))
    assert detector.training
    assert evaluated.grad_fn is None


def test_functions_around_a_module_gather_no_gradients(smooth_net: nn.Module) -> None:
    ends = ascend(lambda x: 2 * smooth_net(x), uniform(), steps=3, step_size=0.1)
    assert all(parameter.grad is None and parameter.requires_grad for parameter in smooth_net.parameters())
    close(ends, ascend(smooth_net, uniform(), steps=3, step_size=0.1), atol=1e-12)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_ascent_works_where_gradients_are_switched_off(mode: Callable[[], Any], smooth_net: nn.Module) -> None:
    expected = ascend(smooth_net, uniform(), steps=3, step_size=0.1)
    with mode():
        starts = uniform()
        end = climb(smooth_net, starts, steps=3, step_size=torch.full((5,), 0.1), keep="best", ball=L2Ball(9.0))
        assert not torch.is_grad_enabled()
    close(ascend(smooth_net, starts, steps=3, step_size=0.1), expected, atol=1e-12)
    assert not end.points.is_inference()
    assert all(parameter.requires_grad for parameter in smooth_net.parameters())


@both
@rules
def test_expanded_gradients_are_welcome(rule: Rule, ball_type: type[L2Ball] | type[LinfBall]) -> None:
    """The gradient of `x.sum(1)` is one number expanded to the shape, with strides of 0."""
    end = climb(lambda x: x.sum(1), uniform((4, 6)), steps=3, step_size=0.1, rule=rule, ball=ball_type(), stop_at=99.0)
    assert (end.points >= uniform((4, 6))).all()


@rules
@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 2), (4, 3, 2, 2), (4, 3, 2, 2, 2), (1, 3), (0, 3)], ids=str)
def test_every_rank_and_batch_size_is_climbed(rule: Rule, shape: tuple[int, ...]) -> None:
    end = climb(bowl, uniform(shape), steps=3, step_size=0.01, rule=rule, keep="best", stop_at=-1e-3, ball=L2Ball(1.0))
    assert end.points.shape == shape
    assert end.logits is not None
    assert (end.logits >= bowl(uniform(shape))).all()


@pytest.mark.parametrize(
    "starts",
    [
        uniform().contiguous(memory_format=torch.channels_last),
        uniform().transpose(2, 3),
        uniform((1, 3, 2, 2)).expand(5, 3, 2, 2),
    ],
    ids=["channels_last", "transposed", "expanded"],
)
def test_memory_layout_changes_nothing(starts: Tensor, smooth_net: nn.Module) -> None:
    arguments: dict[str, Any] = {"steps": 4, "step_size": 0.1, "ball": L2Ball(0.3), "keep": "best"}
    close(ascend(smooth_net, starts, **arguments), ascend(smooth_net, starts.contiguous(), **arguments), atol=1e-12)


@rules
@given(cut=st.integers(1, 8))
def test_splitting_the_batch_changes_nothing(rule: Rule, cut: int) -> None:
    starts = uniform((9, 3, 2), dtype=torch.float32)
    tilt = uniform((3, 2), seed=4, dtype=torch.float32)

    def ends(part: Tensor) -> Climb:
        return climb(lambda x: (torch.sin(4 * x) * tilt).sum((1, 2)), part, steps=5, step_size=0.1, rule=rule)

    parts = [ends(starts[:cut]), ends(starts[cut:])]
    close(ends(starts).points, torch.cat([part.points for part in parts]))
    close(ends(starts).path, torch.cat([part.path for part in parts]))


def test_a_climb_sets_out_from_where_it_is_told_to_and_stays_in_the_ball_around_its_start() -> None:
    starts, begins = torch.full((2, 2), 0.5), torch.tensor([[0.6, 0.5], [0.5, 0.3]])
    none = climb(lambda x: x.sum(1), starts, steps=0, step_size=1.0, ball=L2Ball(0.2), begins=begins)
    assert torch.equal(none.points, begins)
    far = climb(lambda x: x[:, 0], starts, steps=9, step_size=0.1, ball=L2Ball(0.2), begins=begins)
    torch.testing.assert_close(far.points[0], torch.tensor([0.7, 0.5]))
    torch.testing.assert_close(far.path[0], torch.tensor(0.1))


def test_random_starts_come_from_the_generator_alone() -> None:
    def ends(seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        arguments: dict[str, Any] = {"ball": LinfBall(0.2), "random_start": True, "generator": generator}
        return ascend(bowl, uniform(), steps=1, step_size=0.01, **arguments)

    assert torch.equal(ends(1), ends(1))
    assert not torch.equal(ends(1), ends(2))


def test_half_precision_is_kept() -> None:
    for dtype in (torch.float16, torch.bfloat16):
        end = climb(
            bowl, uniform(dtype=torch.float32).to(dtype), steps=3, step_size=0.05, keep="best", ball=L2Ball(0.1)
        )
        assert end.points.dtype == dtype
        assert torch.isfinite(end.points).all()


@rules
@both
@pytest.mark.parametrize("keep", ["last", "best"])
@pytest.mark.parametrize("stop_at", [None, 1.0])
def test_gradients_that_are_not_finite_are_never_hidden(
    rule: Rule, ball_type: type[L2Ball] | type[LinfBall], keep: Literal["last", "best"], stop_at: float | None
) -> None:
    """Not by a sign of NaN that is 0, not by the best iterate, not by a NaN that counts as stopped."""

    def breaks(x: Tensor) -> Tensor:  # its gradient is NaN for the second sample
        return (x * torch.tensor([1.0, math.nan])[: len(x), None]).sum(1)

    with pytest.raises(FloatingPointError, match="expected finite points, got some that are not"):
        ascend(
            breaks,
            torch.zeros(2, 3),
            steps=3,
            step_size=0.1,
            rule=rule,
            ball=ball_type(1.0),
            keep=keep,
            stop_at=stop_at,
        )


@both
def test_infinite_gradients_are_never_hidden(ball_type: type[L2Ball] | type[LinfBall]) -> None:
    with pytest.raises(FloatingPointError, match="the detector's gradient is not"):
        ascend(lambda x: x.sqrt().sum(1), torch.zeros(2, 3), steps=2, step_size=0.1, ball=ball_type())


# The context manager


def test_frozen_nests_and_lets_functions_through(smooth_net: nn.Module) -> None:
    def flags() -> set[tuple[bool, bool]]:
        return {(smooth_net.training, parameter.requires_grad) for parameter in smooth_net.parameters()}

    with frozen(smooth_net):
        with frozen(linear), frozen(smooth_net):
            assert flags() == {(False, False)}
        assert flags() == {(False, False)}
    assert flags() == {(True, True)}


# What is refused


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"starts": torch.zeros(3)}, r"expected starts of shape \(N, \*\), floating point, got \(3,\) torch.float32"),
        ({"starts": torch.zeros(3, 2, dtype=torch.uint8)}, r"floating point, got \(3, 2\) torch.uint8"),
        ({"starts": torch.full((1, 2), math.nan)}, "expected starts to be finite, got values that are not"),
        ({"starts": torch.full((1, 2), math.inf), "box": None}, "expected starts to be finite"),
        (
            {"starts": torch.full((1, 2), 1.5)},
            r"expected starts inside the box \(0.0, 1.0\), got values from 1.5 to 1.5",
        ),
        ({"starts": torch.full((1, 2), -0.1)}, "expected starts inside the box"),
        ({"box": (1.0, 0.0)}, r"expected box to be \(low, high\) with low < high, got \(1.0, 0.0\)"),
        ({"box": (0.0, math.nan)}, "expected box to be"),
        ({"box": (1.0, 0.0), "starts": torch.zeros(0, 2)}, "expected box to be"),
        ({"steps": -1}, "expected steps to be at least 0, got -1"),
        ({"step_size": 0.0}, "expected step_size to be positive and finite, got 0.0"),
        ({"step_size": -0.1}, "expected step_size to be positive"),
        ({"step_size": math.inf}, "expected step_size to be positive and finite, got inf"),
        ({"step_size": math.nan}, "expected step_size to be positive and finite, got nan"),
        ({"step_size": torch.tensor(0.1)}, r"expected step_size of shape \(2,\), got \(\)"),
        ({"step_size": torch.ones(3)}, r"expected step_size of shape \(2,\), got \(3,\)"),
        ({"step_size": torch.tensor([0.1, 0.0])}, "expected every step_size to be positive and finite"),
        ({"step_size": torch.tensor([0.1, math.nan])}, "expected every step_size to be positive and finite"),
        ({"rule": "steep"}, "expected rule to be 'steepest', 'normalized', 'sign' or 'adam', got 'steep'"),
        ({"keep": "first"}, "expected keep to be 'last' or 'best', got 'first'"),
        ({"stop_at": math.inf}, "expected stop_at to be None or a finite logit, got inf"),
        ({"stop_at": math.nan}, "expected stop_at to be None or a finite logit, got nan"),
        ({"random_start": True}, "expected random_start and generator together, got random_start without a generator"),
        ({"generator": torch.Generator()}, "got a generator without random_start"),
    ],
)
@pytest.mark.parametrize("verb", [ascend, climb])
def test_what_cannot_be_meant_is_refused_before_the_detector_is_asked(
    verb: Callable[..., Any], change: dict[str, Any], message: str
) -> None:
    def unasked(x: Tensor) -> Tensor:
        raise AssertionError(f"asked about {x.shape}")

    arguments: dict[str, Any] = {"starts": torch.zeros(2, 2), "steps": 1, "step_size": 0.1} | change
    with pytest.raises(ValueError, match=message) as caught:
        verb(unasked, arguments.pop("starts"), **arguments)
    assert "\n" not in str(caught.value)


def test_random_start_needs_a_radius() -> None:
    with pytest.raises(ValueError, match="expected a ball with a radius for a random start, got radius=None"):
        ascend(linear, uniform(), steps=1, step_size=0.1, random_start=True, generator=torch.Generator())


@pytest.mark.parametrize(
    ("detector", "got"),
    [(lambda x: x, r"\(5, 3, 2, 2\)"), (lambda x: x.sum(), r"\(\)"), (lambda x: total(x)[:, None], r"\(5, 1\)")],
)
@pytest.mark.parametrize("steps", [0, 1])
def test_detectors_return_one_logit_a_sample(detector: Callable[[Tensor], Tensor], got: str, steps: int) -> None:
    with pytest.raises(ValueError, match=rf"expected the detector to return shape \(5,\), got {got}"):
        ascend(detector, uniform(), steps=steps, step_size=0.1, keep="best")


# sizes that shrink


def test_sizes_fall_geometrically_from_the_first_to_the_last() -> None:
    climbed = climb(
        lambda x: x.sum(1), torch.zeros(1, 1), steps=5, step_size=1.0, shrink=1 / 16, box=None, trajectory=True
    )
    assert climbed.trajectory is not None
    sizes = climbed.trajectory.flatten().diff()
    torch.testing.assert_close(sizes, torch.tensor([1.0, 0.5, 0.25, 0.125, 0.0625]))
    torch.testing.assert_close(climbed.reach, climbed.path)
    torch.testing.assert_close(climbed.reach, torch.tensor([1.9375]))


def test_each_sample_may_shrink_by_its_own_share() -> None:
    shrink = torch.tensor([1.0, 0.25])
    ends = ascend(lambda x: x.sum(1), torch.zeros(2, 1), steps=3, step_size=1.0, shrink=shrink, box=None)
    torch.testing.assert_close(ends.flatten(), torch.tensor([3.0, 1.75]))


def test_one_step_is_the_first() -> None:
    ends = ascend(lambda x: x.sum(1), torch.zeros(1, 1), steps=1, step_size=1.0, shrink=0.1, box=None)
    assert ends.item() == 1.0


def test_a_free_way_and_a_stuck_one() -> None:
    climbed = climb(lambda x: x.sum(1), torch.tensor([[0.0], [1.0]]), steps=4, step_size=0.25)
    torch.testing.assert_close(climbed.path / climbed.reach, torch.tensor([1.0, 0.0]))


@pytest.mark.parametrize("rule", ["sign", "adam", "steepest", "normalized"])
@pytest.mark.parametrize("ball", [L2Ball(), LinfBall()])
def test_the_path_is_measured_against_the_longest_that_the_rule_allows(rule: Rule, ball: Ball) -> None:
    """A linear logit of equal weights: every rule walks straight, and all entries that may move move alike."""
    mask = torch.tensor([[True, True, True, True], [True, False, False, True]])
    climbed = climb(
        lambda x: x.sum(1), torch.zeros(2, 4), steps=3, step_size=0.1, rule=rule, ball=ball, box=None, mask=mask
    )
    length = {("sign", 2): [2.0, 2**0.5], ("adam", 2): [2.0, 2**0.5], ("normalized", math.inf): [0.5, 0.5**0.5]}
    order = 2 if isinstance(ball, L2Ball) else math.inf
    expected = torch.tensor(length.get((rule, order), [1.0, 1.0])) * 0.3
    torch.testing.assert_close(climbed.path, expected)
    torch.testing.assert_close(climbed.reach, torch.full((2,), 0.3) if rule == "normalized" else expected)


def test_several_together_do_not_stop_at_a_level() -> None:
    with torch.random.fork_rng(devices=[]):
        together = Together([nn.Sequential(nn.Linear(2, 1), nn.Flatten(0))] * 2)
    with pytest.raises(ValueError, match="expected one detector with stop_at, got several together"):
        ascend(together, torch.zeros(4, 2), steps=1, step_size=0.1, stop_at=0.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shrink": 0.0}, r"expected shrink to be in \(0, 1\], got 0.0"),
        ({"shrink": 2.0}, r"expected shrink to be in \(0, 1\], got 2.0"),
        ({"shrink": torch.ones(3)}, r"expected shrink of shape \(2,\), got \(3,\)"),
        ({"shrink": torch.tensor([0.5, 2.0])}, r"expected every shrink to be in \(0, 1\], got one that is not"),
    ],
)
def test_shrinking_and_levels_out_of_range_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ascend(lambda x: x.sum(1), torch.zeros(2, 1), steps=1, step_size=0.1, **arguments)


def test_what_is_not_finite_is_named_sample_by_sample() -> None:
    def cliff(x: Tensor) -> Tensor:
        return (x[:, 0] - 0.5).clamp(min=0).sqrt() + x[:, 0]  # an infinite slope at 0.5

    with pytest.raises(NonFiniteError, match="expected finite points, got some that are not") as caught:
        ascend(cliff, torch.tensor([[0.9], [0.5], [0.7]]), steps=1, step_size=0.1)
    assert caught.value.samples.tolist() == [False, True, False]


def test_several_generators_share_the_samples() -> None:
    def scattered(*seeds: int, n: int) -> Tensor:
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        return ascend(
            lambda x: x.sum(1),
            torch.full((n, 2), 0.5),
            steps=0,
            step_size=0.1,
            ball=LinfBall(0.2),
            random_start=True,
            generator=generators,
        )

    both = scattered(3, 4, n=6)
    assert torch.equal(both, torch.cat([scattered(3, n=3), scattered(4, n=3)]))
