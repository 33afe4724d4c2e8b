"""Formula-made outside data against the closed forms of what it is drawn from."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from genat.sources import Box, ClassGaussians, Constant, DeadLeaves, Gradients, Images, Noise


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def clipped_normal_moments(mean: float, deviation: float) -> tuple[float, float]:
    """Mean and variance of a normal clipped to [0, 1], by quadrature."""
    normal = stats.norm(mean, deviation)
    first, second = (integrate.quad(lambda x, k=k: x**k * normal.pdf(x), 0, 1)[0] + normal.sf(1) for k in (1, 2))
    return first, second - first**2


@pytest.mark.parametrize(
    ("kind", "mean", "variance"),
    [
        ("uniform", 1 / 2, 1 / 12),
        ("binary", 1 / 2, 1 / 4),
        ("gaussian", *clipped_normal_moments(0.5, 0.25)),
        ("standard", *clipped_normal_moments(0.0, 1.0)),
    ],
)
def test_noise_has_the_moments_of_its_law(kind: str, mean: float, variance: float) -> None:
    values = Noise((10, 100), kind=kind).draw(100, generator=seeded()).double().flatten()  # type: ignore[arg-type]
    n = len(values)
    assert abs(values.mean().item() - mean) < 5 * math.sqrt(variance / n)
    # A variable in [0, 1] has a fourth central moment of at most 1/4: 5 deviations of the sample variance.
    assert abs(values.var().item() - variance) < 5 * math.sqrt(0.25 / n)


def test_standard_noise_is_half_black_and_a_sixth_white() -> None:
    values = Noise((100, 100), kind="standard").draw(10, generator=seeded())
    assert abs((values == 0).double().mean().item() - 0.5) < 5 * 0.5 / math.sqrt(1e5)
    assert abs((values == 1).double().mean().item() - 0.15866) < 5 * 0.366 / math.sqrt(1e5)


def test_a_box_is_uniform_between_its_ends() -> None:
    points = Box(3, low=-2.0, high=1.0).draw(20000, generator=seeded()).double()
    assert points.min() >= -2
    assert points.max() <= 1
    assert (points.mean(0) + 0.5).abs().max() < 5 * math.sqrt(9 / 12 / 20000)
    covariance = torch.cov(points.T)
    # Deviations of the sample's variances (0.0035) and covariances (0.0053) around 9/12 and 0, times five.
    torch.testing.assert_close(covariance, torch.eye(3, dtype=torch.float64) * 0.75, atol=0.027, rtol=0)


def overlap(radius: float, distance: float) -> float:
    """Area common to two discs of one radius."""
    if distance >= 2 * radius:
        return 0.0
    half = distance / (2 * radius)
    return 2 * radius**2 * (math.acos(half) - half * math.sqrt(1 - half**2))


def same_leaf(distance: float, low: float, high: float) -> float:
    """Chance that one leaf is the top one at two points: E |D and D + h| / E |D or D + h| under p(r) = r^-3."""
    both, one = (
        integrate.quad(lambda r, d=d: r**-3 * overlap(r, d), low, high, points=[max(low, d / 2)])[0]
        for d in (distance, 0.0)
    )
    return float(both / (2 * one - both))


@pytest.mark.parametrize(("low", "high"), [(1.0, 4.0), (2.0, 30.0)])
def test_dead_leaves_share_a_leaf_as_often_as_the_law_says(low: float, high: float) -> None:
    n = 3000
    images = DeadLeaves((1, 5, 9), radius=(low, high)).draw(n, generator=seeded())[:, 0]
    for (top, left), (down, right) in [((0, 0), (0, 1)), ((0, 0), (4, 8)), ((2, 3), (4, 4)), ((4, 0), (4, 8))]:
        expected = same_leaf(math.hypot(down - top, right - left), low, high)
        observed = (images[:, top, left] == images[:, down, right]).double().mean().item()
        assert abs(observed - expected) < 5 * math.sqrt(expected * (1 - expected) / n) + 1e-3, (expected, observed)


def test_dead_leaves_have_uniform_colours_everywhere() -> None:
    images = DeadLeaves((3, 6, 6)).draw(2000, generator=seeded()).double()
    assert (images.mean(0) - 0.5).abs().max() < 5 * math.sqrt(1 / 12 / 2000)
    assert (images.var(0) - 1 / 12).abs().max() < 5 * math.sqrt(1 / 180 / 2000)
    leaf = (images[..., 0, 0] == images[..., 0, 1]).sum(1)
    assert set(leaf.tolist()) == {0, 3}  # channels belong to one leaf


def test_dead_leaves_larger_than_a_chunk_fill_every_picture() -> None:
    # 300 x 300 pixels, three pictures: two chunks.
    pictures = DeadLeaves((1, 300, 300), radius=(60.0, 200.0)).draw(3, generator=seeded())
    assert pictures.isfinite().all()
    assert all(len(picture.unique()) > 1 for picture in pictures)


def gaussian_images(n: int, classes: int) -> tuple[Images, torch.Tensor]:
    """Return images of 2 x 2 pixels around a mean a class, far from the ends of the range."""
    means = 0.35 + 0.3 * torch.rand(classes, 4, generator=seeded(5))
    mix = 0.03 * torch.randn(classes, 4, 4, generator=seeded(6))
    labels = torch.arange(n) % classes
    values = means[labels] + torch.einsum("ni,nij->nj", torch.randn(n, 4, generator=seeded(7)), mix[labels])
    images = Images.from_float(
        values.clamp(0, 1).view(n, 1, 2, 2), labels=labels, classes=tuple("abcdef"[:classes]), name="blobs"
    )
    return images, labels


def test_constant_images_have_one_colour_that_is_uniform() -> None:
    drawn = Constant((3, 4, 5)).draw(4000, generator=seeded())
    assert torch.equal(drawn, drawn[:, :, :1, :1].expand_as(drawn))
    colours = drawn[:, :, 0, 0]
    assert (colours.mean(0) - 0.5).abs().max() < 5 * (1 / 12 / 4000) ** 0.5
    assert torch.corrcoef(colours.T).fill_diagonal_(0).abs().max() < 5 / 4000**0.5


@pytest.mark.parametrize("shape", [(1, 7, 7), (3, 4, 9), (1, 1, 2)])
def test_gradients_are_planes_between_two_uniform_colours(shape: tuple[int, int, int]) -> None:
    drawn = Gradients(shape).draw(3000, generator=seeded()).double()
    for axis in (2, 3):
        assert drawn.diff(n=2, dim=axis).numel() == 0 or drawn.diff(n=2, dim=axis).abs().max() < 1e-6
    ends = torch.stack([drawn.flatten(2).amin(2), drawn.flatten(2).amax(2)])
    law = torch.tensor([1 / 3, 2 / 3], dtype=torch.float64).view(2, 1, 1)  # of the lesser and the greater of two
    assert (ends.mean(1, keepdim=True) - law).abs().max() < 5 * (1 / 18 / 3000) ** 0.5


def test_gradients_run_in_every_direction() -> None:
    drawn = Gradients((1, 9, 9)).draw(2000, generator=seeded()).double()
    down, right = drawn.diff(dim=2)[:, 0, 0, 0], drawn.diff(dim=3)[:, 0, 0, 0]
    octants = (torch.atan2(down, right) / (torch.pi / 4)).floor().long() % 8
    assert (octants.bincount(minlength=8) - 250).abs().max() < 5 * (2000 * 1 / 8 * 7 / 8) ** 0.5


def test_class_gaussians_have_the_classes_moments() -> None:
    images, _ = gaussian_images(50, classes=1)
    drawn = ClassGaussians(images).draw(20000, generator=seeded()).flatten(1).double()
    values = images.tensor().flatten(1).double()
    covariance = torch.cov(values.T) + 1e-4 * torch.eye(4, dtype=torch.float64)
    assert (drawn.mean(0) - values.mean(0)).abs().max() < 5 * math.sqrt(covariance.diagonal().max().item() / 20000)
    # A sample covariance's deviation is at most sqrt(2 / n) of the largest variance.
    tolerance = 5 * math.sqrt(2 / 20000) * covariance.diagonal().max().item()
    torch.testing.assert_close(torch.cov(drawn.T), covariance, atol=tolerance, rtol=0)


def test_class_gaussians_of_few_images_stay_near_their_plane() -> None:
    # Two images span a line; across it only the 1e-4 I is left, whose deviation is 0.01.
    images = Images.from_float(torch.stack((torch.full((1, 4, 4), 0.3), torch.full((1, 4, 4), 0.7))))
    drawn = ClassGaussians(images).draw(5000, generator=seeded()).flatten(1)
    drawn = drawn[(drawn > 0).all(1) & (drawn < 1).all(1)].double()
    across = drawn - drawn.mean(1, keepdim=True)
    assert abs(across.square().sum().item() / (len(drawn) * 15) / 1e-4 - 1) < 5 * math.sqrt(2 / (15 * len(drawn)))


def test_class_gaussians_draw_every_class_equally_often_and_skip_empty_ones() -> None:
    pixels = torch.tensor([50, 51] * 5 + [200, 201], dtype=torch.uint8).view(12, 1, 1, 1)
    images = Images(pixels, labels=torch.tensor([0] * 10 + [2, 2]), classes=("a", "b", "c"))
    bright = ClassGaussians(images).draw(2000, generator=seeded()) > 0.5
    assert abs(int(bright.sum()) - 1000) < 5 * math.sqrt(500)


def test_class_gaussians_say_what_they_are_fitted_to() -> None:
    images, _ = gaussian_images(10, classes=2)
    assert ClassGaussians(images).name == "class Gaussians fitted to blobs"


def test_leaf_radii_follow_the_law_of_leaves_that_meet_the_picture() -> None:
    low, high, height, width = 1.5, 6.0, 4, 7
    radius, top, left, _ = DeadLeaves((1, height, width), radius=(low, high))._leaves(500, seeded(), count=20)
    density = integrate.quad(lambda r: r**-3 * (height + 2 * r) * (width + 2 * r), low, high)[0]

    def cumulative(values: np.ndarray) -> np.ndarray:
        def antiderivative(r: np.ndarray | float) -> np.ndarray | float:
            return -height * width / (2 * r**2) - 2 * (height + width) / r + 4 * np.log(r)

        return np.asarray((antiderivative(values) - antiderivative(low)) / density)

    assert stats.kstest(radius.flatten().double().numpy(), cumulative).pvalue > 1e-4
    for centre, side in ((top, height), (left, width)):
        place = (centre + radius) / (side + 2 * radius)
        assert stats.kstest(place.flatten().double().numpy(), "uniform").pvalue > 1e-4


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Noise(()), r"expected a shape of positive sizes, got \(\)"),
        (lambda: Noise((1, 0, 2)), "expected a shape of positive sizes"),
        (lambda: Noise((2,), kind="pink"), "expected kind uniform, gaussian, standard or binary, got 'pink'"),  # type: ignore[arg-type]
        (lambda: Box(0), "expected dimension to be at least 1, got 0"),
        (lambda: Box(2, low=1.0, high=1.0), "expected finite low < high, got 1.0 and 1.0"),
        (lambda: Box(2, high=math.inf), "expected finite low < high, got 0.0 and inf"),
        (lambda: DeadLeaves((4, 4)), r"expected shape \(C, H, W\)"),
        (lambda: DeadLeaves((1, 4, 4), radius=(0.0, 1.0)), "expected a smallest radius above 0 and a larger"),
        (lambda: DeadLeaves((1, 4, 4), radius=(2.0, 2.0)), r"larger largest one, got \(2.0, 2.0\)"),
        (lambda: Constant((4, 4)), r"expected shape \(C, H, W\)"),
        (lambda: Gradients((2, 4, 4)), r"expected shape \(C, H, W\)"),
        (lambda: Gradients((1, 1, 1)), r"expected images of more than one pixel, got \(1, 1, 1\)"),
        (lambda: ClassGaussians(Images(torch.zeros(1, 1, 2, 2, dtype=torch.uint8))), "expected at least 2 images in"),
    ],
)
def test_refusals(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
