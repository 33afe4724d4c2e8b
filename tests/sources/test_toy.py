"""Toy sets against the authors' calls, and their laws and supports against closed forms and brute force."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats
from scipy.spatial import KDTree
from sklearn.datasets import make_blobs
from torch import Tensor

from genat.evaluation.points import energy_distance, lattice
from genat.sources import TOYS, Source, Toy, describe, shapes, toy

Points = NDArray[np.float64]
FLAT = [name for name in TOYS if name != "blobs"]
AUTHORS = ["ring", "grid", "spirals", "checkerboard"]
SHAPES = ["spirals", "checkerboard", "moons", "circles", "pinwheel"]
MIXTURES = ["blobs", "ring", "grid", "gaussians25"]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@contextmanager
def the_global_state() -> Iterator[None]:
    """Lend NumPy's global state, as the authors use it, and put it back."""
    before = np.random.get_state()  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(before)  # noqa: NPY002


# the authors' calls, with global state


def legacy_positives(name: str) -> Points:
    rand, randint = np.random.rand, np.random.randint
    np.random.seed(123)  # noqa: NPY002
    share = {"ring": 0.4, "grid": 0.35, "spirals": 0.4, "checkerboard": 0.3}[name]
    if name == "ring":
        near = 1 / np.sqrt(2)
        centers = [(1, 0), (-1, 0), (0, 1), (0, -1), (near, near), (-near, near), (near, -near), (-near, -near)]
        x, _ = make_blobs(n_samples=1000, cluster_std=np.zeros(8) + 0.02, centers=centers, random_state=123)
    elif name == "grid":
        across, up = np.meshgrid(np.linspace(0.0, 1.0, 5), np.linspace(0.0, 1.0, 5))
        x, _ = make_blobs(n_samples=1000, cluster_std=np.zeros(25) + 0.001, centers=np.c_[across.ravel(), up.ravel()])
    elif name == "spirals":
        n = np.sqrt(rand(500)) * 540 * (2 * np.pi) / 360
        across = -np.cos(n) * n + rand(500) * 0.5
        up = np.sin(n) * n + rand(500) * 0.5
        x = np.concatenate([np.stack([across, up], axis=1), np.stack([-across, -up], axis=1)]) / 3
    else:
        across = rand(10000) * 4 - 2
        up = rand(10000) - randint(0, 2, (10000,)) * 2.0
        x = np.stack([across, up + np.floor(across) % 2], axis=1) * 2
    x = (x - x.min()) / (x - x.min()).max()
    scaled: Points = (x - 0.5) * share + 0.5
    return scaled


def legacy_outside(positives: Points) -> Points:
    np.random.seed(123)  # noqa: NPY002
    x = np.random.rand(10000, 2)  # noqa: NPY002
    low, high = positives.min(axis=0), positives.max(axis=0)
    across = np.logical_and(x[:, 0] > low[0] - 0.05, x[:, 0] < high[0] + 0.05)
    up = np.logical_and(x[:, 1] > low[1] - 0.05, x[:, 1] < high[1] + 0.05)
    away: Points = x[np.logical_not(np.logical_and(across, up))]
    return away[:1000]


@pytest.mark.parametrize("name", AUTHORS)
def test_the_authors_sets_are_theirs_to_the_bit(name: str) -> None:
    with the_global_state():
        positives = legacy_positives(name)
        outside = legacy_outside(positives)
    made = TOYS[name]()
    assert torch.equal(made.target, torch.from_numpy(positives).float())
    assert torch.equal(made.outside, torch.from_numpy(outside).float())


def test_the_authors_blobs_are_theirs_to_the_bit() -> None:
    with the_global_state():
        np.random.seed(123)  # noqa: NPY002
        x, _ = make_blobs(
            n_samples=500, n_features=1, centers=[[0.4], [0.6]], cluster_std=[0.01, 0.005], random_state=123
        )
        line = np.random.rand(5000)  # noqa: NPY002
    made = toy.blobs()
    assert torch.equal(made.target, torch.from_numpy(x).float())
    outside = line[np.logical_or(line < 0.3, line > 0.7)][:500, np.newaxis]
    assert torch.equal(made.outside, torch.from_numpy(outside).float())


def test_no_global_state_is_touched() -> None:
    before, torch_before = np.random.get_state(legacy=False), torch.get_rng_state()  # noqa: NPY002
    for make in TOYS.values():
        make().draw(10, generator=seeded())
    assert str(np.random.get_state(legacy=False)) == str(before)  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), torch_before)


# what every set is


def test_the_sets_come_in_order_under_their_names() -> None:
    names = ["blobs", "ring", "grid", "spirals", "checkerboard", "moons", "circles", "pinwheel", "gaussians25"]
    assert list(TOYS) == names
    assert [describe(make()) for make in TOYS.values()] == names


@pytest.mark.parametrize("name", TOYS)
def test_a_toy_is_a_source_of_fresh_points(name: str) -> None:
    made = TOYS[name]()
    assert isinstance(made, Source)
    points = made.draw(5, generator=seeded())
    assert points.shape == (5, *made.shape)
    assert points.dtype == made.target.dtype == made.outside.dtype == torch.float32
    assert torch.equal(points, made.draw(5, generator=seeded()))
    assert made.draw(0, generator=seeded()).shape == (0, *made.shape)
    assert made.inside(points[:0]).shape == (0,)


@pytest.mark.parametrize("name", FLAT)
def test_scaling_puts_the_positives_in_the_middle_and_the_outside_around_them(name: str) -> None:
    made = TOYS[name]()
    share = {"grid": 0.35, "checkerboard": 0.3}.get(name, 0.4)
    assert made.target.shape == (10000 if name == "checkerboard" else 1000, 2)
    assert made.outside.shape == (1000, 2)
    assert made.target.min().item() == pytest.approx(0.5 - share / 2, abs=1e-6)
    assert made.target.max().item() == pytest.approx(0.5 + share / 2, abs=1e-6)
    assert made.outside.min() >= 0
    assert made.outside.max() <= 1
    low, high = made.target.amin(0) - 0.05, made.target.amax(0) + 0.05
    assert not ((made.outside > low + 1e-6) & (made.outside < high - 1e-6)).all(1).any()
    assert not made.inside(made.outside).any()


@pytest.mark.parametrize("name", TOYS)
def test_training_points_and_draws_come_from_one_law(name: str) -> None:
    made = TOYS[name]()
    n, m = len(made.target), 2000
    fresh, other = torch.split(made.draw(2 * m, generator=seeded(1)), m)
    spread = torch.cdist(fresh, other).mean().item()
    # Twice what two samples of one law are expected to be apart, see `energy_distance`; at (1/500 + 1/2000) at most.
    assert energy_distance(made.target, fresh) < 2 * (1 / n + 1 / m) * spread
    # ... and a law that is off by a hundredth of the box would be found.
    assert energy_distance(made.target + 0.02, fresh) > 2 * (1 / n + 1 / m) * spread


# three deviations hold erf(3 / sqrt 2) on the line and 1 - exp(-9 / 2) in the plane
LINE, PLANE = math.erf(3 / math.sqrt(2)), 1 - math.exp(-4.5)
MASSES = {"blobs": LINE, "ring": PLANE, "grid": PLANE, "gaussians25": PLANE, "spirals": 1.0, "checkerboard": 1.0}


@pytest.mark.parametrize("name", MASSES)
def test_a_support_holds_its_share_of_the_law(name: str) -> None:
    made, mass = TOYS[name](), MASSES[name]
    share = made.inside(made.draw(40000, generator=seeded())).double().mean().item()
    # Five deviations; single precision moves a draw by 3e-8, over an edge of the board in one of 1e4 draws at most.
    assert abs(share - mass) <= 5 * math.sqrt(mass * (1 - mass) / 40000) + 1e-4


@pytest.mark.parametrize("name", ["moons", "circles", "pinwheel"])
def test_a_bent_support_holds_no_less_than_its_noise_does(name: str) -> None:
    made = TOYS[name]()
    share = made.inside(made.draw(40000, generator=seeded())).double().mean().item()
    at_least = PLANE if name == "pinwheel" else LINE  # a bend or a neighbour adds, and bends take at most a hair
    assert at_least - 0.002 <= share < 1


# modes


@pytest.mark.parametrize("name", MIXTURES)
def test_modes_are_discs_of_three_deviations(name: str) -> None:
    made = TOYS[name]()
    assert made.centers is not None
    assert made.deviations is not None
    unscaled = {"blobs": [0.01, 0.005], "ring": [0.02] * 8, "grid": [0.001] * 25, "gaussians25": [0.05] * 25}[name]
    torch.testing.assert_close(made.deviations, made.scale * torch.tensor(unscaled), rtol=1e-6, atol=0)
    direction = torch.nn.functional.normalize(torch.ones(made.shape), dim=0)
    for factor, expected in ((0.0, True), (2.99, True), (3.01, False)):
        points = made.centers.double() + factor * made.deviations.double()[:, None] * direction
        assert made.inside(points).eq(expected).all(), factor


def test_a_sample_of_high_quality_is_within_three_deviations_or_a_hundredth_on_the_grid() -> None:
    for name in ("ring", "gaussians25"):
        made = TOYS[name]()
        assert made.deviations is not None
        assert made.radius == pytest.approx(3 * made.deviations[0].item(), rel=1e-6)
    assert toy.grid().radius == 0.01
    assert toy.blobs().radius == pytest.approx(0.03)
    assert [name for name in TOYS if TOYS[name]().radius is None] == SHAPES


@pytest.mark.parametrize("name", ["ring", "grid", "gaussians25"])
def test_training_points_scatter_around_the_modes(name: str) -> None:
    made = TOYS[name]()
    assert made.centers is not None
    assert made.deviations is not None
    mode = torch.cdist(made.target, made.centers).argmin(1)
    rest = (made.target.double() - made.centers[mode].double()) / made.deviations[0].double()
    assert torch.equal(mode.bincount(), torch.full((len(made.centers),), 1000 // len(made.centers)))
    assert rest.mean().item() == pytest.approx(0, abs=5 / math.sqrt(2000))
    assert rest.std().item() == pytest.approx(1, abs=5 / math.sqrt(4000))


def test_the_density_of_the_blobs_is_the_true_one() -> None:
    line = torch.linspace(0, 1, 100001, dtype=torch.float64)[:, None]
    density = toy.blobs().density(line)
    expected = 0.5 * stats.norm.pdf(line, 0.4, 0.01) + 0.5 * stats.norm.pdf(line, 0.6, 0.005)
    # Centers and deviations are single precision: 3e-8 of .6 is 6e-6 deviations.
    np.testing.assert_allclose(density.numpy(), expected[:, 0], rtol=1e-4, atol=1e-6)
    assert density.sum().item() * 1e-5 == pytest.approx(1, abs=1e-9)
    peaks = toy.blobs().density(torch.tensor([[0.4], [0.6]])).tolist()
    assert peaks[1] / peaks[0] == pytest.approx(2, rel=1e-5)


def test_the_density_of_the_ring_sums_to_one() -> None:
    assert toy.ring().density(lattice(1000)).sum().item() * 1e-6 == pytest.approx(1, abs=1e-6)


def test_draws_of_the_blobs_follow_their_distribution_function() -> None:
    drawn = toy.blobs().draw(20000, generator=seeded())[:, 0].double().numpy()
    mixture = stats.kstest(drawn, lambda x: 0.5 * stats.norm.cdf(x, 0.4, 0.01) + 0.5 * stats.norm.cdf(x, 0.6, 0.005))
    assert mixture.pvalue > 1e-3


# supports against brute force


def around(made: Toy, n: int = 20000) -> Points:
    """Points uniform around the support, in the law's coordinates."""
    unit = 0.26 + 0.48 * torch.rand(n, 2, generator=seeded(), dtype=torch.float64)
    return np.asarray((unit - made.offset) / made.scale)


def gaps(points: Points, corners: Points, side: float) -> Points:
    """The distance to the nearest of many squares, one by one."""
    nearest = np.full(len(points), np.inf)
    for corner in corners:
        rest = points - corner
        nearest = np.minimum(nearest, np.hypot(*(rest - rest.clip(0, side)).T))
    return nearest


def test_the_spirals_are_squares_swept_along_a_curve_and_widened() -> None:
    made = toy.spirals()
    n = np.linspace(0, 3 * np.pi, 6001)
    corners = np.stack([-n * np.cos(n), n * np.sin(n)], axis=1) / 3
    points = around(made, 3000)
    gap = made.scale * np.minimum(gaps(points, corners, 1 / 6), gaps(-points, corners, 1 / 6))
    inside = made.inside(torch.from_numpy(points * made.scale + made.offset)).numpy()
    clear = np.abs(gap - 0.003) > 1e-4
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(inside[clear], gap[clear] < 0.003)
    assert 0.1 < inside.mean() < 0.3


def test_the_spirals_hold_no_more_than_the_law_reaches() -> None:
    made = toy.spirals()
    drawn = KDTree(made.draw(200000, generator=seeded()).double().numpy())
    cells = lattice(300)
    gap, _ = drawn.query(cells[made.inside(cells)].double().numpy())
    # The widening, and how far apart so many draws are; at the inner ends there are few of them.
    assert np.quantile(gap, 0.99) < 0.004
    assert gap.max() < 0.007


def test_the_spirals_second_arm_is_the_first_one_mirrored() -> None:
    points = torch.from_numpy(around(toy.spirals(), 2000))
    assert torch.equal(shapes.in_spirals(points, margin=0.01), shapes.in_spirals(-points, margin=0.01))


def test_the_board_has_eight_squares_of_the_right_size_and_colour() -> None:
    rows = "01010 10100 01010 10100".replace("0", ".").split()  # from the top; the fifth column is outside
    for up, row in enumerate(reversed(rows)):
        for right, cell in enumerate(row):
            middle = torch.tensor([[2 * right - 3.0, 2 * up - 3.0]])
            assert shapes.in_checkerboard(middle).item() == (cell == "1"), (right, up)
            assert shapes.in_checkerboard(middle + 0.99).item() == (cell == "1")
            assert shapes.in_checkerboard(middle - 0.99).item() == (cell == "1")
    area = toy.checkerboard().inside(lattice(1000)).double().mean().item()
    assert area == pytest.approx(0.3**2 / 2, rel=0.01)


def half_circles(angle: Points) -> Points:
    upper = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    lower = np.stack([1 - np.cos(angle), 0.5 - np.sin(angle)], axis=1)
    return np.concatenate([upper, lower])


def two_circles(angle: Points) -> Points:
    circle = np.stack([np.cos(2 * angle), np.sin(2 * angle)], axis=1)
    return np.concatenate([circle, circle / 2])


@pytest.mark.parametrize(
    ("name", "curve", "region"),
    [("moons", half_circles, shapes.in_moons), ("circles", two_circles, shapes.in_circles)],
)
def test_moons_and_circles_are_as_far_from_their_curves_as_their_noise_goes(
    name: str, curve: Callable[[Points], Points], region: Callable[[Tensor], Tensor]
) -> None:
    points = around(TOYS[name]())
    gap, _ = KDTree(curve(np.linspace(0, np.pi, 20001))).query(points)
    clear = np.abs(gap - 0.15) > 1e-6
    inside = region(torch.from_numpy(points)).numpy()
    np.testing.assert_array_equal(inside[clear], gap[clear] < 0.15)
    assert 0.1 < inside.mean() < 0.5


def ellipse(size: float, steps: int) -> Tensor:
    """Noise that fills the ellipse of `size` deviations."""
    line = torch.linspace(-1, 1, steps, dtype=torch.float64)
    square = torch.cartesian_prod(line, line)
    return size * square[square.norm(dim=1) <= 1] * torch.tensor([0.3, 0.1], dtype=torch.float64)


@pytest.mark.parametrize("arm", range(5))
def test_the_pinwheel_holds_every_turned_ellipse(arm: int) -> None:
    noise = ellipse(2.999, 101)
    assert shapes.in_pinwheel(shapes.turn(noise, torch.full((len(noise),), arm))).all()


def test_the_pinwheel_holds_nothing_else() -> None:
    noise = ellipse(3, 301)
    every = KDTree(torch.cat([shapes.turn(noise, torch.full((len(noise),), arm)) for arm in range(5)]).numpy())
    inner = ellipse(2.9, 301)
    within = KDTree(torch.cat([shapes.turn(inner, torch.full((len(inner),), arm)) for arm in range(5)]).numpy())
    points = around(toy.pinwheel())
    inside = shapes.in_pinwheel(torch.from_numpy(points)).numpy()
    assert every.query(points[inside])[0].max() < 0.02  # the mesh is up to .006 wide along an arm, and stretched
    assert within.query(points[~inside])[0].min() > 0.002  # a tenth of a deviation across an arm, .01, contracted
    assert 0.1 < inside.mean() < 0.5


# errors


def test_errors_are_one_line() -> None:
    made = toy.spirals()
    with pytest.raises(ValueError, match=r"^expected n to be at least 0, got -1$"):
        made.draw(-1, generator=seeded())
    with pytest.raises(ValueError, match=r"^expected points of shape \(N, 2\), got \(3, 1\)$"):
        made.inside(torch.zeros(3, 1))
    with pytest.raises(ValueError, match=r"^expected points of shape \(N, 1\), got \(3,\)$"):
        toy.blobs().density(torch.zeros(3))
    with pytest.raises(TypeError, match=r"^expected floating-point points, got torch.int64$"):
        made.inside(torch.zeros(3, 2, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"^expected a mixture of Gaussians, got spirals$"):
        made.density(torch.zeros(3, 2))
