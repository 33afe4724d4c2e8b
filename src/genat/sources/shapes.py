r"""The laws of the toy distributions, each in its own coordinates: how it is drawn, and whether a point is in it.

`draw_...` returns n independent float64 points, `(n, d)`, from a CPU generator; `in_...` tells of float64 points,
`(N, d)`, whether they lie in the support, `(N,)`, on the points' device. Noise has no end, so a support is where
it stays within `SIGMAS` deviations.
"""

import math

import torch
from torch import Tensor

SIGMAS = 3
SPIRAL_SIDE = 0.5 / 3
MOONS_NOISE = CIRCLES_NOISE = 0.05
CIRCLES_FACTOR = 0.5
PINWHEEL_ARMS, PINWHEEL_RATE = 5, 0.25
PINWHEEL_DEVIATIONS = (0.3, 0.1)  # along an arm and across it, before the turn


def draw_mixture(n: int, generator: torch.Generator, *, centers: Tensor, deviations: Tensor) -> Tensor:
    """Draw from a mixture of equally likely Gaussians: centers `(M, d)`, deviations `(M,)`, both float64."""
    mode = torch.randint(len(centers), (n,), generator=generator)
    return centers[mode] + deviations[mode, None] * _normal(n, centers.shape[1], generator)


def in_discs(points: Tensor, *, centers: Tensor, radii: Tensor) -> Tensor:
    """Return whether points lie in any of the closed discs, or intervals, of these centers and radii.

    Example:
        >>> in_discs(torch.tensor([[0.0], [1.0]]), centers=torch.tensor([[0.2], [3.0]]), radii=torch.tensor([0.5, 1.0]))
        tensor([ True, False])
    """
    inside = torch.zeros(len(points), dtype=torch.bool, device=points.device)
    for center, radius in zip(centers.to(points), radii.tolist(), strict=True):
        inside |= (points - center).square().sum(1) <= radius**2
    return inside


def draw_spirals(n: int, generator: torch.Generator) -> Tensor:
    r"""Draw from two arms: :math:`\pm\tfrac13 (-m \cos m + \tfrac12 u, m \sin m + \tfrac12 v)`, m = 3 pi sqrt(w)."""
    along = 3 * math.pi * _uniform(n, generator).sqrt()
    square = torch.rand(n, 2, generator=generator, dtype=torch.float64)
    sign = 1 - 2 * torch.randint(2, (n, 1), generator=generator)
    return sign * (_spiral(along) + SPIRAL_SIDE * square)


def in_spirals(points: Tensor, *, margin: float) -> Tensor:
    """Return whether points lie within a margin of either arm: the second is the first, mirrored in the origin.

    An arm is what a square sweeps, its lower left corner on the spiral.

    Example:
        >>> points = torch.tensor([[0.0, 0.0], [1 / 6, 0.0], [1.5, 0.0], [2.09, 0.0]])
        >>> in_spirals(points.double(), margin=0.01)
        tensor([ True,  True, False,  True])
    """
    return _in_arm(points, margin) | _in_arm(-points, margin)


def draw_checkerboard(n: int, generator: torch.Generator) -> Tensor:
    """Draw uniformly from the eight squares of side 2 in [-4, 4]^2 whose column and row add up to an even number."""
    first, second = 4 * _uniform(n, generator) - 2, _uniform(n, generator)
    second = second - 2 * torch.randint(2, (n,), generator=generator) + first.floor() % 2
    return 2 * torch.stack((first, second), dim=1)


def in_checkerboard(points: Tensor) -> Tensor:
    """Return whether points lie in the eight squares.

    Example:
        >>> in_checkerboard(torch.tensor([[1.0, 1.0], [3.0, 1.0], [3.0, -1.0], [5.0, 5.0]]))
        tensor([ True, False,  True, False])
    """
    square = (points / 2).floor()
    return (square.sum(1) % 2 == 0) & (points.abs().amax(1) <= 4)


def draw_moons(n: int, generator: torch.Generator) -> Tensor:
    """Draw uniformly from two half circles of radius 1, one turned and moved by (1, 1/2), and add noise."""
    angle = math.pi * _uniform(n, generator)
    arc = torch.stack((angle.cos(), angle.sin()), dim=1)
    lower = torch.randint(2, (n, 1), generator=generator) == 1
    return torch.where(lower, _other_moon(arc), arc) + MOONS_NOISE * _normal(n, 2, generator)


def in_moons(points: Tensor) -> Tensor:
    """Return whether points lie within three deviations of the half circles.

    Example:
        >>> in_moons(torch.tensor([[0.0, 1.14], [0.0, 1.16], [1.0, -0.4], [-0.5, 0.0]]))
        tensor([ True, False,  True, False])
    """
    return torch.minimum(_gap_to_arc(points), _gap_to_arc(_other_moon(points))) <= SIGMAS * MOONS_NOISE


def draw_circles(n: int, generator: torch.Generator) -> Tensor:
    """Draw uniformly from the circles of radius 1 and `CIRCLES_FACTOR`, each as likely, and add noise."""
    angle = 2 * math.pi * _uniform(n, generator)
    small = torch.randint(2, (n, 1), generator=generator) == 1
    circle = torch.stack((angle.cos(), angle.sin()), dim=1)
    return torch.where(small, CIRCLES_FACTOR * circle, circle) + CIRCLES_NOISE * _normal(n, 2, generator)


def in_circles(points: Tensor) -> Tensor:
    """Return whether points lie within three deviations of the circles.

    Example:
        >>> in_circles(torch.tensor([[0.0, 0.0], [0.0, 0.5], [0.75, 0.0], [0.0, -1.1]]))
        tensor([False,  True, False,  True])
    """
    radius = torch.hypot(*points.unbind(1))
    return torch.minimum((radius - 1).abs(), (radius - CIRCLES_FACTOR).abs()) <= SIGMAS * CIRCLES_NOISE


def turn(noise: Tensor, arms: Tensor) -> Tensor:
    """Return `(N, 2)` noise around (1, 0), turned clockwise into its arm by an angle that grows outwards.

    Example:
        >>> turn(torch.tensor([[0.0, 0.0]]), torch.tensor([0]))
        tensor([[ 0.7778, -0.6285]])
    """
    along, across = noise[:, 0] + 1, noise[:, 1]
    angle = 2 * math.pi / PINWHEEL_ARMS * arms + PINWHEEL_RATE * along.exp()
    cosine, sine = angle.cos(), angle.sin()
    return torch.stack((along * cosine + across * sine, across * cosine - along * sine), dim=1)


def draw_pinwheel(n: int, generator: torch.Generator) -> Tensor:
    """Draw from the turned Gaussians, each arm as likely."""
    arms = torch.randint(PINWHEEL_ARMS, (n,), generator=generator)
    return turn(_normal(n, 2, generator) * torch.tensor(PINWHEEL_DEVIATIONS, dtype=torch.float64), arms)


def in_pinwheel(points: Tensor) -> Tensor:
    r"""Return whether points lie in an ellipse of three deviations that `turn` moved, by turning them back.

    A turn keeps the radius r. The feature :math:`r (\cos\psi, \sin\psi)` lands on a point of angle :math:`\theta` where
    :math:`\psi - \tfrac14 e^{r \cos\psi} = \theta + \tfrac{2\pi k}{5}`. No ellipse leaves the disc of radius 2 or the
    strip of half width .3, and there the left side grows with :math:`\psi`, so bisection finds the only solution.

    Example:
        >>> in_pinwheel(torch.tensor([[0.7778, -0.6286], [0.0, 0.0], [2.0, 2.0]]))
        tensor([ True, False, False])
    """
    along, across = PINWHEEL_DEVIATIONS
    inside = torch.zeros(len(points), dtype=torch.bool, device=points.device)
    near = (points.square().sum(1) <= 4).nonzero().flatten()
    right, up = points[near].unbind(1)
    radius = torch.hypot(right, up)
    widest = (SIGMAS * across / radius).clamp(max=1).asin()
    least = -widest - PINWHEEL_RATE * (radius * widest.cos()).exp()
    for arm in range(PINWHEEL_ARMS):
        turned = torch.atan2(up, right) + 2 * math.pi / PINWHEEL_ARMS * arm
        above = (turned - least) % (2 * math.pi)
        low, high = -widest, widest
        for _ in range(32):  # halvings: from at most pi to 1e-9
            middle = (low + high) / 2
            short = middle - PINWHEEL_RATE * (radius * middle.cos()).exp() < least + above
            low, high = torch.where(short, middle, low), torch.where(short, high, middle)
        squares = ((radius * low.cos() - 1) / along).square() + (radius * low.sin() / across).square()
        inside[near] |= (above <= 2 * widest) & (squares <= SIGMAS**2)
    return inside


def _uniform(n: int, generator: torch.Generator) -> Tensor:
    return torch.rand(n, generator=generator, dtype=torch.float64)


def _normal(n: int, dimension: int, generator: torch.Generator) -> Tensor:
    return torch.randn(n, dimension, generator=generator, dtype=torch.float64)


def _spiral(n: Tensor) -> Tensor:
    return torch.stack((-n * n.cos(), n * n.sin()), dim=-1) / 3


def _in_arm(points: Tensor, margin: float) -> Tensor:
    """Return whether points lie within a margin of the squares swept along the spiral.

    The distance to a square is 1-Lipschitz in the square's place. So squares at a few places decide most points, and
    only those that the gaps between the places leave open need squares that are closer together.
    """
    inside = torch.zeros(len(points), dtype=torch.bool, device=points.device)
    reach = math.pi + SPIRAL_SIDE + margin
    undecided = (points.abs().amax(1) <= reach).nonzero().flatten()
    for places in (2**7, 2**10, 2**13):
        curve = _spiral(torch.linspace(0, 3 * math.pi, places + 1, dtype=points.dtype, device=points.device))
        gap = _gap_to_squares(points[undecided], curve)
        inside[undecided[gap <= margin]] = True
        between = (curve[-1] - curve[-2]).norm() / 2  # the last places are the farthest apart
        undecided = undecided[(gap > margin) & (gap <= margin + 1.01 * between)]
    return inside


def _gap_to_squares(points: Tensor, corners: Tensor) -> Tensor:
    """Return the distance of each point to the nearest of the squares with these lower left corners, `(N,)`."""
    gaps = torch.empty(len(points), dtype=points.dtype, device=points.device)
    size = max(1, 2**17 // len(corners))  # what fits into a cache
    for part, gap in zip(torch.split(points, size), torch.split(gaps, size), strict=True):
        right, up = (part[:, None, axis] - corners[:, axis] for axis in (0, 1))
        right, up = right - right.clamp(0, SPIRAL_SIDE), up - up.clamp(0, SPIRAL_SIDE)
        gap.copy_((right.square() + up.square()).amin(1).sqrt())
    return gaps


def _other_moon(points: Tensor) -> Tensor:
    return points.new_tensor([1.0, 0.5]) - points


def _gap_to_arc(points: Tensor) -> Tensor:
    """Return the distance to the upper half of the unit circle, `(N,)`: below it, to the nearer end."""
    right, up = points.unbind(1)
    return torch.where(up >= 0, (torch.hypot(right, up) - 1).abs(), torch.hypot(right.abs() - 1, up))
