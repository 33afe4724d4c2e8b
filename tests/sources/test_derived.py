"""Sources made of sources."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from genat.sources import Blurred, Box, Images, Inverted, Mixture, Noise, Rotated, Samples, ShuffledPatches


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def constant(value: float) -> Samples:
    return Samples(torch.full((1, 1, 1, 1), value), name=f"{value:g}")


@pytest.mark.parametrize("weights", [None, (1, 2, 5), (0.001, 0.002, 0.001)])
def test_a_mixture_keeps_its_proportions(weights: tuple[float, ...] | None) -> None:
    n = 8000
    mixture = Mixture([constant(0.0), constant(0.5), constant(1.0)], weights=weights)
    drawn = (mixture.draw(n, generator=seeded()) * 2).long().flatten()
    share = torch.tensor(weights or (1, 1, 1), dtype=torch.float64)
    share /= share.sum()
    deviation = (share * (1 - share) / n).sqrt()
    assert ((drawn.bincount(minlength=3) / n - share).abs() < 5 * deviation).all()
    # Each place draws its own component: neighbours are independent.
    pairs = (drawn[:-1] * 3 + drawn[1:]).bincount(minlength=9) / (n - 1)
    expected = (share[:, None] * share).flatten()
    assert ((pairs - expected).abs() < 5 * (expected * (1 - expected) / n).sqrt()).all()


def test_a_mixture_of_one_draws_from_it() -> None:
    assert torch.equal(Mixture([constant(0.5)]).draw(3, generator=seeded()), torch.full((3, 1, 1, 1), 0.5))


def test_a_mixture_draws_different_samples_of_a_component() -> None:
    points = Mixture((Box(1), Box(1, low=2.0, high=3.0))).draw(100, generator=seeded())
    assert len(torch.unique(points)) == 100


def test_a_mixture_on_two_devices_is_refused() -> None:
    class Elsewhere:
        shape = (1,)

        def draw(self, n: int, *, generator: torch.Generator) -> Tensor:
            del generator
            return torch.empty(n, 1, device="meta")

    with pytest.raises(ValueError, match="expected sources on one device, got cpu, meta"):
        Mixture((Box(1), Elsewhere())).draw(2, generator=seeded())


def test_inverting_twice_is_the_identity() -> None:
    source = Noise((3, 4, 4))
    torch.testing.assert_close(
        Inverted(Inverted(source)).draw(5, generator=seeded()), source.draw(5, generator=seeded()), atol=1e-7, rtol=0
    )


def test_rotated_images_are_turned_by_each_of_three_angles_equally_often() -> None:
    n = 1500
    before = Noise((3, 4, 4)).draw(n, generator=seeded())
    after = Rotated(Noise((3, 4, 4))).draw(n, generator=seeded())
    turns = torch.stack([before.rot90(k, dims=(2, 3)) for k in range(4)])
    found = (turns == after).flatten(2).all(2)
    assert (found.sum(0) == 1).all()
    counts = found.sum(1)
    assert counts[0] == 0
    assert (counts[1:] - n / 3).abs().max() < 5 * (n * 2 / 9) ** 0.5


def patches_of(images: Tensor, patch: int) -> Tensor:
    n, channels, height, width = images.shape
    cut = images.view(n, channels, height // patch, patch, width // patch, patch)
    return cut.permute(0, 2, 4, 1, 3, 5).reshape(n, -1, channels * patch * patch)


@pytest.mark.parametrize(("shape", "patch"), [((3, 4, 6), 2), ((1, 2, 1), 1), ((1, 6, 6), 3)])
def test_shuffled_patches_are_the_same_patches_in_another_order(shape: tuple[int, ...], patch: int) -> None:
    source = Noise(shape)
    before = patches_of(source.draw(200, generator=seeded()), patch)
    after = patches_of(ShuffledPatches(source, patch=patch).draw(200, generator=seeded()), patch)
    same = (after[:, :, None] == before[:, None]).all(-1)
    assert (same.sum(1) == 1).all()
    assert (same.sum(2) == 1).all()
    order = same.long().argmax(2)
    assert not (order == torch.arange(order.shape[1])).all(1).any()


def test_orders_are_uniform_over_all_but_the_original() -> None:
    image = Images(torch.tensor([0, 100, 200], dtype=torch.uint8).view(1, 1, 3, 1))
    drawn = ShuffledPatches(image, patch=1).draw(5000, generator=seeded()).flatten(1)
    orders, counts = torch.unique(drawn, dim=0, return_counts=True)
    assert len(orders) == 5
    assert (counts - 1000).abs().max() < 5 * math.sqrt(5000 * 0.2 * 0.8)


def test_a_blur_spreads_a_point_as_its_gaussian() -> None:
    point = torch.zeros(1, 1, 21, 21)
    point[..., 10, 10] = 1
    blurred = Blurred(Samples(point), deviation=1.5).draw(1, generator=seeded())[0, 0].double()
    place = torch.arange(21, dtype=torch.float64) - 10
    law = torch.where(place.abs() <= 5, (-(place**2) / (2 * 1.5**2)).exp(), 0)
    torch.testing.assert_close(blurred, law[:, None] * law / law.sum() ** 2, atol=1e-7, rtol=0)


def test_a_blur_keeps_flat_images_flat() -> None:
    flat = Samples(torch.full((1, 3, 7, 9), 0.3))
    torch.testing.assert_close(Blurred(flat, deviation=2.0).draw(1, generator=seeded()), flat.values, atol=1e-6, rtol=0)


def test_names_tell_the_whole_story() -> None:
    pets = Images(torch.zeros(1, 1, 4, 4, dtype=torch.uint8), name="pets")
    noise = Noise((1, 4, 4))
    assert Mixture((Inverted(pets), ShuffledPatches(pets, 2), Blurred(noise, 1.0))).name == (
        "mixture of pets inverted, pets, patches of 2 shuffled, uniform noise blurred by 1 pixels"
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Mixture(()), "expected at least one source, got none"),
        (lambda: Mixture((Box(1), Box(2))), r"expected sources of one shape, got \(1,\), \(2,\)"),
        (lambda: Mixture((Box(1),), weights=(1, 1)), "expected 1 weights, one a source, got 2"),
        (lambda: Mixture((Box(1), Box(1)), weights=(1, 0)), r"expected positive finite weights, got \(1, 0\)"),
        (lambda: Mixture((Box(1),), weights=(math.nan,)), "expected positive finite weights"),
        (lambda: Inverted(Box(2)), r"expected shape \(C, H, W\) with C = 1 or 3, got \(2,\)"),
        (lambda: Rotated(Box(2)), r"expected shape \(C, H, W\)"),
        (lambda: Rotated(Noise((1, 4, 5))), "expected square images, got 4 x 5"),
        (lambda: ShuffledPatches(Box(2), patch=1), r"expected shape \(C, H, W\)"),
        (lambda: ShuffledPatches(Noise((1, 4, 4)), patch=3), "expected patch to cut 4 x 4 into several squares, got 3"),
        (lambda: ShuffledPatches(Noise((1, 4, 4)), patch=4), "expected patch to cut 4 x 4 into several squares, got 4"),
        (lambda: ShuffledPatches(Noise((1, 4, 4)), patch=0), "expected patch to cut"),
        (lambda: Blurred(Box(2), deviation=1.0), r"expected shape \(C, H, W\)"),
        (
            lambda: Blurred(Noise((1, 4, 4)), deviation=0.0),
            "expected 3 deviations above 0 and at most 3 pixels",
        ),
        (lambda: Blurred(Noise((1, 4, 4)), deviation=1.5), "at most 3 pixels, got deviation=1.5"),
    ],
)
def test_refusals(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
