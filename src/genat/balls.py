"""Where ascent may go, and in which direction it is steepest."""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Ball(Protocol):
    """What ascent needs to know of a ball; `L2Ball` and `LinfBall` are the two there are.

    A norm is taken over the flattened sample, whatever its rank, in the units of the input (pixels in [0, 1]).
    """

    @property
    def radius(self) -> float | None:
        """Largest distance from the centre, or None where there is no limit."""
        ...

    def direction(self, gradient: Tensor) -> Tensor:
        """Return the unit step along which the logit rises fastest, `(N, *)`."""
        ...

    def project(self, points: Tensor, centers: Tensor) -> Tensor:
        """Return the nearest points of the ball, `(N, *)`."""
        ...

    def random_start(self, centers: Tensor, *, generator: torch.Generator) -> Tensor:
        """Return points uniform in the ball, `(N, *)`."""
        ...


@dataclass(frozen=True, slots=True)
class L2Ball:
    r"""The Euclidean ball :math:`\{x : \|x - x_0\|_2 \le r\}`.

    Args:
        radius: :math:`r > 0` or 0, L2 over the flattened sample in the input's own units; None is no ball at all, the
            *unconstrained* ascent of Yin, Li and Rohde (2020).

    Raises:
        ValueError: where the radius is negative or not finite.

    Example:
        >>> ball = L2Ball(radius=1.0)
        >>> ball.project(torch.tensor([[3.0, 4.0]]), torch.zeros(1, 2))
        tensor([[0.6000, 0.8000]])
        >>> ball.direction(torch.tensor([[0.0, 5.0]]))
        tensor([[0., 1.]])
    """

    radius: float | None = None

    def __post_init__(self) -> None:
        _check_radius(self.radius)

    def direction(self, gradient: Tensor) -> Tensor:
        r"""Return :math:`g / \|g\|_2`, sample by sample; a zero gradient gives a zero step.

        The largest entry is divided out first, so that gradients of 1e-30, as a saturated network has, keep their
        direction where their square would underflow.
        """
        scaled = gradient / _positive(_largest(gradient))
        return scaled / _positive(_norm(scaled))

    def project(self, points: Tensor, centers: Tensor) -> Tensor:
        """Return the points moved radially onto the sphere where they lie outside, and unmoved elsewhere."""
        if self.radius is None:
            return points
        offset = points - centers
        distance = _norm(offset)
        inside = distance <= self.radius
        return torch.where(inside, points, centers + offset * (self.radius / _positive(distance)))

    def random_start(self, centers: Tensor, *, generator: torch.Generator) -> Tensor:
        r"""Return :math:`x_0 + r\,u^{1/d}\,z/\|z\|` with u uniform and z normal: uniform in the ball's volume.

        Args:
            centers: `(N, *)`.
            generator: a CPU generator.

        Raises:
            ValueError: where the ball has no radius.
        """
        radius = _finite_radius(self)
        dimension = math.prod(centers.shape[1:])
        normal = torch.randn(centers.shape, generator=generator, dtype=torch.float64)
        uniform = torch.rand(len(centers), generator=generator, dtype=torch.float64)
        length = radius * uniform.pow(1.0 / dimension)
        offset = normal * per_sample(length, normal) / _positive(_norm(normal))
        return self.project(centers + offset.to(centers), centers)


@dataclass(frozen=True, slots=True)
class LinfBall:
    r"""The cube :math:`\{x : \max_i |x_i - x_{0,i}| \le r\}`.

    Args:
        radius: half the cube's side, in the input's own units; None is no cube at all.

    Raises:
        ValueError: where the radius is negative or not finite.

    Example:
        >>> ball = LinfBall(radius=1.0)
        >>> ball.project(torch.tensor([[3.0, 0.5]]), torch.zeros(1, 2))
        tensor([[1.0000, 0.5000]])
        >>> ball.direction(torch.tensor([[-0.1, 5.0]]))
        tensor([[-1.,  1.]])
    """

    radius: float | None = None

    def __post_init__(self) -> None:
        _check_radius(self.radius)

    def direction(self, gradient: Tensor) -> Tensor:
        """Return the gradient's sign; a zero entry gives a zero step, one that is not finite gives NaN as in L2."""
        return gradient.sign() + 0 * gradient  # the sign alone turns NaN into a step of 0

    def project(self, points: Tensor, centers: Tensor) -> Tensor:
        """Return the points clipped to the cube."""
        if self.radius is None:
            return points
        return points.clamp(min=centers - self.radius, max=centers + self.radius)

    def random_start(self, centers: Tensor, *, generator: torch.Generator) -> Tensor:
        """Return points uniform in the cube.

        Args:
            centers: `(N, *)`.
            generator: a CPU generator.

        Raises:
            ValueError: where the ball has no radius.
        """
        radius = _finite_radius(self)
        uniform = torch.rand(centers.shape, generator=generator, dtype=torch.float64)
        return self.project(centers + ((2 * uniform - 1) * radius).to(centers), centers)


def distance(points: Tensor, centers: Tensor, ball: Ball) -> Tensor:
    """Return how far points are from their centres, `(N,)`, in the ball's own norm.

    Example:
        >>> distance(torch.tensor([[3.0, 4.0]]), torch.zeros(1, 2), L2Ball())
        tensor([5.])
        >>> distance(torch.tensor([[3.0, 4.0]]), torch.zeros(1, 2), LinfBall())
        tensor([4.])
    """
    offset = points - centers
    return (_largest(offset) if isinstance(ball, LinfBall) else _norm(offset)).flatten()


def crossing(ball: Ball, *, steps: int) -> float:
    """Return the step size with which so many steps lead from any point of a ball to any other, with some to spare.

    Args:
        ball: with a positive radius.
        steps: at least 1.

    Returns:
        2.5 radius / steps, where 2 would just do.

    Raises:
        ValueError: where the ball has no positive radius.

    Example:
        >>> crossing(L2Ball(0.5), steps=10)
        0.125
    """
    if not ball.radius:
        raise ValueError(f"expected a ball with a positive radius, got radius={ball.radius}")
    return 2.5 * ball.radius / steps


def _check_radius(radius: float | None) -> None:
    if radius is not None and not (radius >= 0 and math.isfinite(radius)):
        raise ValueError(f"expected radius to be None or a finite number of at least 0, got {radius}")


def _finite_radius(ball: L2Ball | LinfBall) -> float:
    if ball.radius is None:
        raise ValueError("expected a ball with a radius for a random start, got radius=None")
    return ball.radius


def per_sample(values: Tensor, like: Tensor) -> Tensor:
    """Return `(N,)` values in a shape that broadcasts over samples `(N, *)`.

    Example:
        >>> per_sample(torch.ones(2), torch.zeros(2, 1, 8, 8)).shape
        torch.Size([2, 1, 1, 1])
    """
    return values.view(-1, *[1] * (like.ndim - 1))


def _norm(x: Tensor) -> Tensor:
    return per_sample(torch.linalg.vector_norm(x.flatten(1), dim=1), x)


def _largest(x: Tensor) -> Tensor:
    return per_sample(x.flatten(1).abs().amax(dim=1), x)


def _positive(x: Tensor) -> Tensor:
    return x.clamp_min(torch.finfo(x.dtype).tiny)
