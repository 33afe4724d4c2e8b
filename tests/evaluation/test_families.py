"""Outside data of the evaluation: what it is, and what it owes to its seed."""

import pytest
import torch

from genat.config import OutsideConfig, presets
from genat.evaluation.families import families, seen
from genat.sources import Images, digits

NAMES = ["uniform noise", "dead leaves", "inverted", "shuffled patches"]


def _images(*shape: int) -> Images:
    return Images(torch.randint(256, shape, generator=torch.Generator().manual_seed(1), dtype=torch.uint8))


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 12, 12), (1, 28, 28)])
def test_four_families_of_the_targets_shape(shape: tuple[int, int, int]) -> None:
    drawn = families(_images(5, *shape), n=7)
    assert list(drawn) == NAMES
    for images in drawn.values():
        assert images.shape == (7, *shape)
        assert images.dtype == torch.float32
        assert images.min() >= 0
        assert images.max() <= 1


@pytest.mark.parametrize("shape", [(1, 9, 9), (1, 8, 12), (3, 6, 6)])
def test_patches_are_shuffled_only_where_sixteen_fit(shape: tuple[int, int, int]) -> None:
    assert list(families(_images(5, *shape), n=2)) == NAMES[:3]


def test_one_seed_gives_one_draw() -> None:
    images = digits("test")
    first, again, other = families(images, n=4, seed=3), families(images, n=4, seed=3), families(images, n=4, seed=4)
    for name in NAMES:
        assert torch.equal(first[name], again[name])
        assert not torch.equal(first[name], other[name])


def test_inverted_and_shuffled_images_are_made_of_the_targets() -> None:
    images = _images(1, 1, 8, 8)
    drawn = families(images, n=3)
    torch.testing.assert_close(drawn["inverted"], (1 - images.tensor()).expand(3, 1, 8, 8), atol=1e-6, rtol=0)
    for shuffled in drawn["shuffled patches"]:
        assert torch.equal(shuffled.flatten().sort().values, images.tensor().flatten().sort().values)
        assert not torch.equal(shuffled, images.tensor()[0])


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        (["photographs"], set()),
        (["uniform-noise"], {"uniform noise"}),
        (["gaussian-noise", "photographs"], {"uniform noise"}),
        (["dead-leaves"], {"dead leaves"}),
        (["dead-leaves", "uniform-noise"], {"uniform noise", "dead leaves"}),
        (["class-gaussians", "digits"], set()),
    ],
)
def test_seen_is_what_training_had_or_a_variant_of_it(kinds: list[str], expected: set[str]) -> None:
    assert seen(tuple(OutsideConfig.model_validate({"kind": kind}) for kind in kinds)) == expected


def test_no_preset_trains_on_a_family_of_the_evaluation() -> None:
    for preset in presets().values():
        assert not seen(preset.outside)
