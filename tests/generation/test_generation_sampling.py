"""Starts by seeds, and the straight way between two of them."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from genat.generation import draw_starts, interpolate, sample, transform
from genat.sources import Source

HOW: dict[str, Any] = {"steps": 8, "step_size": 0.3}


def test_a_start_depends_on_its_seed_alone(outside: Source) -> None:
    several = draw_starts(outside, seeds=[5, 2, 5])
    assert torch.equal(several[0], several[2])
    assert torch.equal(several[1:2], draw_starts(outside, seeds=[2]))
    assert several.shape == (3, 1, 8, 8)


@pytest.mark.parametrize(
    ("seeds", "message"),
    [([], "expected at least one seed, got none"), ([3, -1], "expected seeds of at least 0, got -1")],
)
def test_starts_refuse(seeds: list[int], message: str, outside: Source) -> None:
    with pytest.raises(ValueError, match=message):
        draw_starts(outside, seeds=seeds)


@pytest.mark.parametrize("frames", [2, 3, 8, 21])
def test_the_ends_are_the_samples_of_the_seeds(frames: int, detector: nn.Module, outside: Source) -> None:
    made = interpolate(detector, draw_starts(outside, seeds=[3, 8]), frames=frames, **HOW)
    samples = sample(detector, outside, seeds=[3, 8], **HOW)
    assert made.images.shape == (frames, 1, 8, 8)
    assert torch.equal(made.images[[0, -1]], samples.images)
    assert torch.equal(made.starts[[0, -1]], samples.starts)


def test_the_ends_are_the_transforms_of_two_images(detector: nn.Module, images: Tensor) -> None:
    made = interpolate(detector, images[:2], frames=5, **HOW)
    assert torch.equal(made.images[[0, -1]], transform(detector, images[:2], **HOW).points)
    results = interpolate(detector, made.images[[0, -1]], frames=4, steps=0, step_size=0.1)
    assert torch.equal(results.images[[0, -1]], made.images[[0, -1]])


def test_between_them_the_way_is_straight_and_in_the_box(detector: nn.Module, images: Tensor) -> None:
    made = interpolate(detector, images[:2], frames=11, **HOW)
    for i in range(11):
        expected = images[0] + i / 10 * (images[1] - images[0])
        torch.testing.assert_close(made.starts[i], expected, rtol=0, atol=1e-6)
    black_and_white = torch.stack([torch.zeros(1, 8, 8), torch.ones(1, 8, 8)])
    frames = interpolate(detector, black_and_white, frames=1001, steps=0, step_size=0.1).images
    assert 0 <= frames.min() <= frames.max() <= 1


def test_equal_ends_give_equal_frames(detector: nn.Module, images: Tensor) -> None:
    made = interpolate(detector, images[[4, 4]], frames=5, **HOW)
    assert torch.equal(made.starts, images[4].expand(5, -1, -1, -1))
    assert torch.equal(made.images, made.images[:1].expand(5, -1, -1, -1))


def test_a_frame_does_not_depend_on_how_many_there_are_beside_it(detector: nn.Module, images: Tensor) -> None:
    few, many = (interpolate(detector, images[:2], frames=frames, **HOW) for frames in (3, 5))
    assert torch.equal(few.images, many.images[::2])


@pytest.mark.parametrize(
    ("ends", "frames", "message"),
    [
        (torch.zeros(3, 1, 8, 8), 8, r"expected two ends, \(2, \*\), got \(3, 1, 8, 8\)"),
        (torch.zeros(1, 1, 8, 8), 8, r"expected two ends, \(2, \*\), got \(1, 1, 8, 8\)"),
        (torch.zeros(2), 8, r"expected two ends, \(2, \*\), got \(2,\)"),
        (torch.zeros(2, 1, 8, 8), 1, "expected at least 2 frames, got 1"),
    ],
)
def test_interpolation_refuses(ends: Tensor, frames: int, message: str, detector: nn.Module) -> None:
    with pytest.raises(ValueError, match=message):
        interpolate(detector, ends, frames=frames, **HOW)
