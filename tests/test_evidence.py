"""Maps of evidence: closed forms where the logit is linear, sums that account for all of it elsewhere."""

import math
from collections.abc import Callable

import pytest
import torch
from scipy import ndimage
from torch import Tensor, nn

from genat.detection.evidence import blurred, integrated, occluded
from genat.plots import evidence


def images(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


WEIGHTS = images(3, 6, 8, seed=9) - 0.5


def linear(x: Tensor) -> Tensor:
    return (x * WEIGHTS).flatten(1).sum(1) + 0.7


@pytest.fixture
def net() -> nn.Module:
    """A smooth, curved detector of (N, 3, 6, 8), in float64."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(144, 16), nn.Tanh(), nn.Linear(16, 1), nn.Flatten(0)).double()


# integrated gradients


@pytest.mark.parametrize("steps", [1, 7])
def test_integrated_gradients_of_a_linear_logit_are_its_terms(steps: int) -> None:
    x, base = images(4, 3, 6, 8), images(4, 3, 6, 8, seed=1)
    maps = integrated(linear, x, reference=base, steps=steps)
    torch.testing.assert_close(maps, ((x - base) * WEIGHTS).sum(1), rtol=0, atol=1e-12)


def test_integrated_gradients_of_a_quadratic_logit_are_exact() -> None:
    """f = sum of w x^2: the gradient changes linearly, and each term is w (x^2 - b^2)."""
    x, base = images(2, 3, 6, 8), images(2, 3, 6, 8, seed=1)
    maps = integrated(lambda x: (x**2 * WEIGHTS).flatten(1).sum(1), x, reference=base, steps=1)
    torch.testing.assert_close(maps, ((x**2 - base**2) * WEIGHTS).sum(1), rtol=0, atol=1e-12)


def test_integrated_gradients_sum_to_the_logits_difference(net: nn.Module) -> None:
    """With an error that falls with the square of the steps, as the midpoint rule's does."""
    x = images(5, 3, 6, 8)
    difference = (net(x) - net(blurred(x))).detach()
    errors = [
        (integrated(net, x, steps=steps).flatten(1).sum(1) - difference).abs().max().item() for steps in (4, 8, 64)
    ]
    assert difference.abs().min() > 1e-3
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.1)
    assert errors[2] < 1e-5


# occlusion


@pytest.mark.parametrize(("patch", "stride"), [(2, 2), (3, 1), (4, 3), (6, 5), (1, 1)])
def test_occlusion_of_a_linear_logit_is_the_mean_over_its_patches(patch: int, stride: int) -> None:
    """By hand: a patch loses its terms' sum, each pixel has the mean share over all patches on it."""
    x, base = images(2, 3, 6, 8), images(2, 3, 6, 8, seed=1)
    terms = ((x - base) * WEIGHTS).sum(1)
    tops, lefts = ([*range(0, side - patch, stride), side - patch] for side in (6, 8))
    total, cover = torch.zeros_like(terms), torch.zeros_like(terms)
    for top in tops:
        for left in lefts:
            inside = (..., slice(top, top + patch), slice(left, left + patch))
            total[inside] += terms[inside].mean((-2, -1), keepdim=True)
            cover[inside] += 1
    maps = occluded(linear, x, patch=patch, stride=stride, reference=base)
    torch.testing.assert_close(maps, total / cover, rtol=0, atol=1e-12)
    if patch == stride == 2:
        sums = linear(x) - linear(base)
        torch.testing.assert_close(maps.flatten(1).sum(1), sums, rtol=0, atol=1e-12)


def test_occlusion_shows_the_corner_that_speaks_against() -> None:
    """A detector of smooth images: what differs from its right neighbour counts against."""

    def smoothness(x: Tensor) -> Tensor:
        return -(x[..., 1:] - x[..., :-1]).abs().flatten(1).sum(1)

    x = torch.full((1, 1, 16, 16), 0.5, dtype=torch.float64)
    x[..., :6, :6] = images(6, 6)
    (map_,) = occluded(smoothness, x)
    against = map_.clamp_max(0)
    assert against.sum() < -1
    assert against[:8, :8].sum() / against.sum() > 0.99
    assert map_.argmin() // 16 < 6
    assert map_.argmin() % 16 < 6


# both


@pytest.mark.parametrize("maps", [integrated, occluded])
@pytest.mark.parametrize("batch_size", [1, 2, 100])
def test_maps_do_not_depend_on_company_and_leave_no_trace(
    maps: Callable[..., Tensor], batch_size: int, net: nn.Module
) -> None:
    x = images(3, 3, 6, 8).requires_grad_()
    net.train()
    whole = maps(net, x, batch_size=batch_size)
    assert whole.shape == (3, 6, 8)
    assert not whole.requires_grad
    assert x.grad is None
    assert all(p.grad is None and p.requires_grad for p in net.parameters())
    assert net.training
    torch.testing.assert_close(whole[1:2], maps(net, x[1:2]), rtol=0, atol=1e-12)
    assert maps(net, x[:0]).shape == (0, 6, 8)


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.3])
def test_the_blur_is_scipys(sigma: float) -> None:
    x = images(2, 3, 9, 5)
    expected = ndimage.gaussian_filter(
        x.numpy(), sigma, axes=(2, 3), mode="nearest", radius=max(1, math.ceil(3 * sigma))
    )
    torch.testing.assert_close(blurred(x, sigma=sigma), torch.from_numpy(expected), rtol=0, atol=1e-12)


@pytest.mark.parametrize("maps", [integrated, occluded, blurred])
def test_other_shapes_are_refused(maps: Callable[..., Tensor]) -> None:
    for bad in (torch.zeros(2, 3), torch.zeros(1, 1, 4, 4, dtype=torch.uint8)):
        with pytest.raises(ValueError, match=r"expected images \(N, C, H, W\), floating point, got"):
            maps(bad) if maps is blurred else maps(linear, bad)
    if maps is not blurred:
        with pytest.raises(ValueError, match=r"expected a reference of shape \(1, 3, 6, 8\), got \(1, 3, 6, 7\)"):
            maps(linear, images(1, 3, 6, 8), reference=images(1, 3, 6, 7))


def test_impossible_arguments_are_refused() -> None:
    x = images(1, 3, 6, 8)
    with pytest.raises(ValueError, match="expected steps to be at least 1, got 0"):
        integrated(linear, x, steps=0)
    for maps in (integrated, occluded):
        with pytest.raises(ValueError, match="expected batch_size to be at least 1, got 0"):
            maps(linear, x, batch_size=0)
    for patch in (0, 7):
        with pytest.raises(ValueError, match=f"expected patch to be from 1 to 6 pixels, got {patch}"):
            occluded(linear, x, patch=patch)
    for stride in (0, 4):
        with pytest.raises(ValueError, match=f"expected stride to be from 1 to patch, 3, got {stride}"):
            occluded(linear, x, patch=3, stride=stride)
    for sigma in (0.0, math.inf):
        with pytest.raises(ValueError, match="expected sigma to be positive and finite, got"):
            blurred(x, sigma=sigma)


# the picture


def test_the_picture_has_green_for_and_purple_against() -> None:
    """The extremes of the map are found in its right half, in the colours of the ends."""
    import io

    import numpy as np
    from PIL import Image

    values = torch.zeros(8, 8)
    values[:4], values[4:] = 1.0, -1.0
    with Image.open(
        io.BytesIO(evidence(torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0)), values))
    ) as png:
        pixels = np.asarray(png.convert("RGB")).astype(int)
    height, width, _ = pixels.shape
    upper, lower = pixels[height // 4, int(0.65 * width)], pixels[3 * height // 4, int(0.65 * width)]
    assert upper[1] > upper[0] + 20
    assert lower[0] > lower[1] + 20


def test_a_map_of_nothing_is_white() -> None:
    assert evidence(torch.zeros(1, 4, 4), torch.zeros(4, 4), title="$ 5")[1:4] == b"PNG"


def test_pictures_of_other_shapes_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"expected an image \(1 or 3, H, W\) and values \(H, W\), got \(1, 4, 4\) and \(4, 5\)"
    ):
        evidence(torch.zeros(1, 4, 4), torch.zeros(4, 5))
