"""Laws of the two balls. Tolerance 1e-12 in float64 and 1e-6 in float32, both relative to lengths of about 1."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from genat.balls import L2Ball, LinfBall, crossing, distance

BallType = type[L2Ball] | type[LinfBall]

both = pytest.mark.parametrize("ball_type", [L2Ball, LinfBall])
ranks = pytest.mark.parametrize(
    "shape", [(5, 3), (5, 3, 2), (5, 3, 2, 4), (5, 3, 2, 4, 2), (1, 7), (0, 7), (0, 3, 2, 4)], ids=str
)


def normal(shape: tuple[int, ...], *, seed: int = 0, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def l2(x: Tensor) -> Tensor:
    return x.flatten(1).square().sum(1).sqrt()


@both
@ranks
def test_projection_leaves_points_inside_alone(
    ball_type: BallType, shape: tuple[int, ...], generator: torch.Generator
) -> None:
    centers = normal(shape)
    points = ball_type(0.9).random_start(centers, generator=generator)
    assert torch.equal(ball_type(1.0).project(points, centers), points)


@both
@ranks
def test_projection_lands_on_the_sphere_from_outside(ball_type: BallType, shape: tuple[int, ...]) -> None:
    centers, ball = normal(shape), ball_type(0.7)
    offset = normal(shape, seed=1)
    points = centers + offset * (2.0 / distance(offset, torch.zeros_like(offset), ball)).view(
        -1, *[1] * (len(shape) - 1)
    )
    projected = ball.project(points, centers)
    assert projected.shape == shape
    torch.testing.assert_close(
        distance(projected, centers, ball), torch.full((shape[0],), 0.7, dtype=torch.float64), rtol=0, atol=1e-12
    )
    torch.testing.assert_close(ball.project(projected, centers), projected, rtol=0, atol=1e-12)


@both
@given(seed=st.integers(0, 10**6), radius=st.floats(1e-3, 10), scale=st.floats(1e-3, 100))
def test_projection_is_the_nearest_point_and_never_stretches(
    ball_type: BallType, seed: int, radius: float, scale: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    centers, ball = normal((6, 2, 3), seed=seed), ball_type(radius)
    points, others = centers + normal((6, 2, 3), seed=seed + 1, scale=scale), centers + normal((6, 2, 3), seed=seed + 2)
    projected = ball.project(points, centers)
    rounding = 1e-12 * (1 + scale)
    assert (distance(projected, centers, ball) <= radius + rounding).all()
    inside = ball.random_start(centers, generator=generator)
    assert (l2(points - projected) <= l2(points - inside) + rounding).all()
    assert (l2(projected - ball.project(others, centers)) <= l2(points - others) + rounding).all()


@both
@given(seed=st.integers(0, 10**6), radius=st.floats(0, 3))
def test_ball_then_box_is_in_both(ball_type: BallType, seed: int, radius: float) -> None:
    ball = ball_type(radius)
    centers = normal((8, 3, 2, 2), seed=seed).sigmoid()
    points = ball.project(centers + normal(centers.shape, seed=seed + 1, scale=2.0), centers).clamp(0, 1)
    assert (distance(points, centers, ball) <= radius + 1e-12).all()
    assert points.min() >= 0
    assert points.max() <= 1


@both
def test_radius_zero_is_the_centre_and_none_is_no_ball(ball_type: BallType, generator: torch.Generator) -> None:
    centers, points = normal((4, 3)), normal((4, 3), seed=1, scale=1e6)
    assert torch.equal(ball_type(0.0).project(points, centers), centers)
    assert torch.equal(ball_type(0.0).random_start(centers, generator=generator), centers)
    assert torch.equal(ball_type(None).project(points, centers), points)
    assert ball_type().radius is None


@ranks
def test_direction_has_unit_norm_and_rises_fastest(shape: tuple[int, ...]) -> None:
    """Over the unit ball a linear function rises by the dual norm of its gradient and by no more."""
    gradient = normal(shape)
    for ball, dual in ((L2Ball(), 2.0), (LinfBall(), 1.0)):
        direction = ball.direction(gradient)
        ones = torch.ones(shape[0], dtype=torch.float64)
        torch.testing.assert_close(distance(direction, torch.zeros_like(direction), ball), ones, rtol=0, atol=1e-12)
        gain = (direction * gradient).flatten(1).sum(1)
        torch.testing.assert_close(gain, torch.linalg.vector_norm(gradient.flatten(1), ord=dual, dim=1))


@both
def test_zero_gradient_gives_a_zero_step(ball_type: BallType) -> None:
    gradient = torch.tensor([[0.0, 0.0], [0.0, 2.0]])
    assert torch.equal(ball_type().direction(gradient), torch.tensor([[0.0, 0.0], [0.0, 1.0]]))


@both
@pytest.mark.parametrize(("scale", "tolerance"), [(1e-30, 1e-6), (1e-40, 1e-4), (1e30, 1e-6)])
def test_direction_does_not_depend_on_the_gradients_size(ball_type: BallType, scale: float, tolerance: float) -> None:
    """float32 squares of 1e-30 are 0 and of 1e30 infinite; 1e-40 has only about 16 bits left."""
    gradient = normal((5, 3, 4)).float()
    expected = ball_type().direction(gradient)
    torch.testing.assert_close(ball_type().direction(scale * gradient), expected, rtol=0, atol=tolerance)


@both
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_direction_of_what_is_not_finite_is_not_finite(ball_type: BallType, value: float) -> None:
    direction = ball_type().direction(torch.tensor([[1.0, value], [1.0, 1.0]]))
    assert not torch.isfinite(direction[0]).all()
    assert torch.isfinite(direction[1]).all()


@pytest.mark.parametrize("shape", [(4000, 2), (4000, 3, 2, 2)], ids=str)
def test_l2_random_starts_are_uniform_in_the_volume(shape: tuple[int, ...], generator: torch.Generator) -> None:
    """(dist / r)^d is uniform in [0, 1]; Kolmogorov-Smirnov at the 0.1 % level, one fixed seed."""
    centers, ball = normal(shape), L2Ball(2.5)
    starts = ball.random_start(centers, generator=generator)
    share = (distance(starts, centers, ball) / 2.5).pow(math.prod(shape[1:]))
    assert stats.kstest(share.numpy(), "uniform").pvalue > 1e-3


def test_l2_random_starts_have_no_favourite_direction(generator: torch.Generator) -> None:
    """In three dimensions each coordinate of a uniform direction is uniform in [-1, 1] (Archimedes)."""
    centers = torch.zeros(4000, 3, dtype=torch.float64)
    starts = L2Ball(1.0).random_start(centers, generator=generator)
    for coordinate in (starts / l2(starts)[:, None]).T:
        assert stats.kstest(coordinate.numpy(), stats.uniform(-1, 2).cdf).pvalue > 1e-3


def test_linf_random_starts_are_uniform_in_every_coordinate(generator: torch.Generator) -> None:
    centers = normal((4000, 2, 2))
    offset = LinfBall(0.25).random_start(centers, generator=generator) - centers
    for coordinate in offset.flatten(1).T:
        assert stats.kstest(coordinate.numpy(), stats.uniform(-0.25, 0.5).cdf).pvalue > 1e-3
    correlation = torch.corrcoef(offset.flatten(1).T) - torch.eye(4)
    assert correlation.abs().max() < 4 / math.sqrt(4000)  # four standard deviations


@both
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_random_starts_keep_the_dtype_and_repeat_with_the_seed(ball_type: BallType, dtype: torch.dtype) -> None:
    centers, ball = torch.full((50, 3, 2), 0.5, dtype=dtype), ball_type(0.25)

    def draw(seed: int) -> Tensor:
        return ball.random_start(centers, generator=torch.Generator().manual_seed(seed))

    starts = draw(3)
    assert starts.dtype == dtype
    assert torch.equal(starts, draw(3))
    assert not torch.equal(starts, draw(4))
    assert (distance(starts, centers, ball) <= 0.25 * (1 + 2 * torch.finfo(dtype).eps)).all()


@ranks
def test_distance_is_the_balls_own_norm(shape: tuple[int, ...]) -> None:
    points, centers = normal(shape), normal(shape, seed=1)
    flat = (points - centers).flatten(1)
    torch.testing.assert_close(distance(points, centers, L2Ball()), flat.square().sum(1).sqrt())
    assert torch.equal(distance(points, centers, LinfBall(0.1)), flat.abs().amax(1))


@both
@pytest.mark.parametrize("radius", [-1.0, -1e-9, math.inf, math.nan])
def test_impossible_radii_are_refused(ball_type: BallType, radius: float) -> None:
    with pytest.raises(ValueError, match=r"expected radius to be None or a finite number of at least 0, got"):
        ball_type(radius)


@both
def test_random_start_needs_a_radius(ball_type: BallType, generator: torch.Generator) -> None:
    with pytest.raises(ValueError, match=r"expected a ball with a radius for a random start, got radius=None"):
        ball_type().random_start(torch.zeros(1, 2), generator=generator)


@pytest.mark.parametrize("ball", [L2Ball(0.5), LinfBall(0.5)], ids=str)
@pytest.mark.parametrize("steps", [1, 8])
def test_so_many_steps_cross_a_ball_with_some_to_spare(ball: L2Ball | LinfBall, steps: int) -> None:
    assert steps * crossing(ball, steps=steps) == pytest.approx(1.25 * 2 * 0.5)


@pytest.mark.parametrize("ball", [L2Ball(), LinfBall(0.0)], ids=str)
def test_what_has_no_width_is_not_crossed(ball: L2Ball | LinfBall) -> None:
    with pytest.raises(ValueError, match=f"expected a ball with a positive radius, got radius={ball.radius}"):
        crossing(ball, steps=3)
