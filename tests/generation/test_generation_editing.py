"""Masks are held to the bit, holes are not looked into, noise is undone within its ball."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from genat.ascent import climb
from genat.balls import L2Ball, LinfBall, distance
from genat.generation import denoise, draw_starts, edit, inpaint, sample, transform
from genat.sources import Noise, Source

HOW: dict[str, Any] = {"steps": 8, "step_size": 0.3}


def linear(x: Tensor) -> Tensor:
    return (x * torch.linspace(-1, 2, x[0].numel(), dtype=x.dtype).view(x.shape[1:])).flatten(1).sum(1)


# edit


@given(seed=st.integers(0, 100), share=st.floats(0, 1), strength=st.sampled_from([0.1, 1.0]))
def test_what_is_not_under_the_mask_is_held_to_the_bit(
    seed: int, share: float, strength: float, detector: nn.Module, images: Tensor
) -> None:
    mask = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(seed)) < share
    made = edit(detector, images[:3], mask=mask, **HOW, strength=strength, trajectory=True)
    assert made.trajectory is not None
    for points in (made.points, *made.trajectory):
        assert torch.equal(points[~mask], images[:3][~mask])


def test_editing_is_the_masked_ascent(detector: nn.Module, images: Tensor, mask: Tensor) -> None:
    made = edit(detector, images[:16], mask=mask, **HOW)
    by_hand = climb(detector, images[:16], mask=mask, **HOW)
    assert torch.equal(made.points, by_hand.points)
    assert torch.equal(made.path, by_hand.path)
    assert not torch.equal(made.points, images[:16])


def test_a_mask_of_everything_is_transforming(detector: nn.Module, images: Tensor) -> None:
    everything = torch.ones(8, 8, dtype=torch.bool)
    ends = edit(detector, images[:3], mask=everything, **HOW).points
    assert torch.equal(ends, transform(detector, images[:3], **HOW).points)
    assert torch.equal(edit(detector, images[:3], mask=~everything, **HOW).points, images[:3])


def test_editing_raises_the_logit(detector: nn.Module, images: Tensor, mask: Tensor) -> None:
    with torch.no_grad():
        gain = detector(edit(detector, images, mask=mask, steps=20, step_size=0.05).points) - detector(images)
    assert (gain > 0).all()


def test_mask_and_ball_both_hold(detector: nn.Module, images: Tensor, mask: Tensor) -> None:
    for ball in (L2Ball(0.4), LinfBall(0.1)):
        made = edit(detector, images[:3], mask=mask, ball=ball, **HOW)
        assert ball.radius is not None
        assert (distance(made.points, images[:3], ball) <= ball.radius + 1e-6).all()
        assert torch.equal(made.points[..., ~mask], images[:3][..., ~mask])


# inpaint


def test_nothing_depends_on_what_is_hidden(detector: nn.Module, images: Tensor, outside: Source, mask: Tensor) -> None:
    one = images[:1]
    made = inpaint(detector, one, outside, mask=mask, seeds=range(5), **HOW, trajectory=True)
    for value in (0.0, 1.0, math.nan, 1e30):
        other = inpaint(detector, one.masked_fill(mask, value), outside, mask=mask, seeds=range(5), **HOW)
        assert torch.equal(other.images, made.images)
        assert torch.equal(other.starts, made.starts)
    assert made.trajectory is not None
    for points in (made.starts, made.images, *made.trajectory):
        assert torch.equal(points[..., ~mask], one[..., ~mask].expand(5, -1, -1))


def test_the_hole_is_filled_with_a_start_a_seed(
    detector: nn.Module, images: Tensor, outside: Source, mask: Tensor
) -> None:
    made = inpaint(detector, images[:1], outside, mask=mask, seeds=[4, 9], **HOW)
    assert torch.equal(made.starts[..., mask], draw_starts(outside, seeds=[4, 9])[..., mask])
    assert not torch.equal(made.images[0], made.images[1])
    still = inpaint(detector, images[:1], outside, mask=mask, seeds=[4, 9], steps=0, step_size=0.1)
    assert torch.equal(still.images, made.starts)


def test_inpainting_is_editing_what_was_filled(
    detector: nn.Module, images: Tensor, outside: Source, mask: Tensor
) -> None:
    made = inpaint(detector, images[:1], outside, mask=mask, seeds=range(3), **HOW)
    assert torch.equal(made.images, edit(detector, made.starts, mask=mask, **HOW).points)


def test_a_hole_of_everything_is_sampling(detector: nn.Module, images: Tensor, outside: Source) -> None:
    everything = torch.ones(1, 1, 1, dtype=torch.bool)
    made = inpaint(detector, images[:1], outside, mask=everything, seeds=range(3), **HOW)
    assert torch.equal(made.images, sample(detector, outside, seeds=range(3), **HOW).images)


def test_each_seed_may_have_its_own_image(detector: nn.Module, images: Tensor, outside: Source, mask: Tensor) -> None:
    made = inpaint(detector, images[:3], outside, mask=mask, seeds=[7, 8, 9], **HOW)
    for i, seed in enumerate([7, 8, 9]):
        alone = inpaint(detector, images[i : i + 1], outside, mask=mask, seeds=[seed], **HOW)
        assert torch.equal(made.images[i], alone.images[0])


def test_double_precision_is_kept(images: Tensor, outside: Source, mask: Tensor) -> None:
    made = inpaint(linear, images[:1].double(), outside, mask=mask, seeds=[0], **HOW)
    assert made.images.dtype == torch.float64


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": []}, "expected one image, or one for each of 0 seeds, got 2"),
        ({"seeds": [0, 1, 2]}, "expected one image, or one for each of 3 seeds, got 2"),
        ({"seeds": [0, -1]}, "expected seeds of at least 0, got -1"),
        ({"mask": torch.ones(8, 8)}, "expected mask to be bool, got torch.float32"),
        ({"mask": torch.ones(4, 4, dtype=torch.bool)}, r"expected mask to broadcast to \(2, 1, 8, 8\), got \(4, 4\)"),
        (
            {"outside": Noise((3, 8, 8))},
            r"expected images of the outside data's shape \(3, 8, 8\), got \(1, 8, 8\)",
        ),
    ],
)
def test_inpainting_refuses(
    change: dict[str, Any], message: str, images: Tensor, outside: Source, mask: Tensor
) -> None:
    arguments: dict[str, Any] = {"outside": outside, "mask": mask, "seeds": [0, 1], **HOW} | change
    with pytest.raises(ValueError, match=message):
        inpaint(linear, images[:2], arguments.pop("outside"), **arguments)


def test_no_seed_is_refused_for_one_image_too(
    detector: nn.Module, images: Tensor, outside: Source, mask: Tensor
) -> None:
    with pytest.raises(ValueError, match="expected at least one seed, got none"):
        inpaint(detector, images[:1], outside, mask=mask, seeds=[], **HOW)


@pytest.mark.parametrize("shape", [(4, 4), (1, 1, 1, 8, 8)], ids=str)
def test_editing_refuses_masks_that_do_not_fit(shape: tuple[int, ...], detector: nn.Module, images: Tensor) -> None:
    with pytest.raises(ValueError, match=r"expected mask to broadcast to \(37, 1, 8, 8\)"):
        edit(detector, images, mask=torch.ones(shape, dtype=torch.bool), **HOW)


# denoise


@pytest.mark.parametrize("sigma", [0.01, 0.1, 0.4])
@pytest.mark.parametrize("strength", [0.25, 1.0])
def test_denoising_stays_in_the_ball_that_the_noise_fills(
    sigma: float, strength: float, detector: nn.Module, images: Tensor
) -> None:
    made = denoise(detector, images, sigma=sigma, steps=30, step_size=0.3, strength=strength)
    reach = (made.points - images).flatten(1).norm(dim=1)
    assert (reach <= strength * sigma * 8 + 1e-5).all()
    assert (reach > 0.5 * strength * sigma * 8).any()


def test_sigma_is_a_radius_for_each_pixel(detector: nn.Module, images: Tensor) -> None:
    by_sigma = denoise(detector, images[:3], sigma=0.05, **HOW)
    assert torch.equal(by_sigma.points, denoise(detector, images[:3], radius=0.05 * math.sqrt(64), **HOW).points)
    assert torch.equal(by_sigma.points, transform(detector, images[:3], ball=L2Ball(0.4), **HOW).points)


def test_on_a_linear_logit_denoising_ends_on_the_sphere() -> None:
    noisy = torch.full((2, 1, 4, 4), 0.5, dtype=torch.float64)
    made = denoise(linear, noisy, sigma=0.02, steps=50, step_size=0.01)
    slope = torch.linspace(-1, 2, 16, dtype=torch.float64)
    expected = noisy + (0.08 * slope / slope.norm()).view(1, 1, 4, 4)
    torch.testing.assert_close(made.points, expected, rtol=0, atol=1e-12)


def test_where_less_is_enough_the_climb_stops() -> None:
    noisy = torch.full((1, 1, 4, 4), 0.5)
    level = float(linear(noisy)) + 0.1
    made = denoise(linear, noisy, sigma=0.1, steps=50, step_size=0.01, stop_at=level)
    assert level <= float(linear(made.points)) < level + 0.01 * 5
    assert (made.points - noisy).norm() < 0.4


def test_no_noise_changes_nothing(detector: nn.Module, images: Tensor) -> None:
    assert torch.equal(denoise(detector, images[:3], sigma=0.0, **HOW).points, images[:3])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "expected sigma or radius, got neither"),
        ({"sigma": 0.1, "radius": 1.0}, "expected sigma or radius, got both"),
        ({"sigma": -0.1}, "expected sigma to be a finite number of at least 0, got -0.1"),
        ({"sigma": math.nan}, "expected sigma to be a finite number of at least 0, got nan"),
        ({"radius": -1.0}, "expected radius to be None or a finite number of at least 0, got -1.0"),
        ({"radius": math.inf}, "expected radius to be None or a finite number of at least 0, got inf"),
    ],
)
def test_denoising_refuses(arguments: dict[str, Any], message: str, images: Tensor) -> None:
    with pytest.raises(ValueError, match=message):
        denoise(linear, images, **HOW, **arguments)
