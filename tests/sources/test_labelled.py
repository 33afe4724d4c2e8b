"""Draws with their labels: the images are those of a plain draw, and each label is its image's."""

import pytest
import torch
from torch import Tensor

from genat.sources import Images, LabelledSource, Samples, digits
from genat.sources.augment import Augment


def coded(n: int = 30) -> Images:
    """Images whose level tells their label: 10 times it, and their place within it."""
    labels = torch.arange(n) % 3
    pixels = (10 * labels + torch.arange(n) // 3 % 10).to(torch.uint8)
    return Images(pixels.view(n, 1, 1, 1).expand(n, 1, 4, 4), labels=labels, classes=("a", "b", "c"))


def generator(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("augmentation", [None, Augment(shift=1)])
def test_the_images_are_those_of_a_plain_draw(balanced: bool, augmentation: Augment | None) -> None:
    source = coded().with_augmentation(augmentation)
    source = source.balanced() if balanced else source
    images, labels = source.draw_labelled(40, generator=generator())
    assert torch.equal(images, source.draw(40, generator=generator()))
    assert labels.shape == (40,)
    assert labels.dtype == torch.int64


@pytest.mark.parametrize("balanced", [False, True])
def test_each_label_is_its_images(balanced: bool) -> None:
    source = coded().balanced() if balanced else coded()
    images, labels = source.draw_labelled(60, generator=generator())
    level: Tensor = (images[:, 0, 0, 0] * 255).round().long()
    assert torch.equal(level // 10, labels)
    assert set(labels.tolist()) == {0, 1, 2}


def test_none_can_be_drawn() -> None:
    images, labels = coded().draw_labelled(0, generator=generator())
    assert (images.shape, labels.shape) == ((0, 1, 4, 4), (0,))


def test_what_has_no_labels_draws_none() -> None:
    plain = Images(coded().pixels, name="greys")
    with pytest.raises(ValueError, match=r"^expected labelled images to draw labels of, got 'greys' without labels$"):
        plain.draw_labelled(1, generator=generator())


def test_a_negative_count_is_refused() -> None:
    with pytest.raises(ValueError, match="expected n to be at least 0, got -1"):
        coded().draw_labelled(-1, generator=generator())


def test_images_are_a_labelled_source_and_samples_are_not() -> None:
    assert isinstance(digits(), LabelledSource)
    assert not isinstance(Samples(torch.zeros(1, 2)), LabelledSource)


def test_classes_without_images_are_numbered_away() -> None:
    pixels, labels = torch.zeros(3, 1, 2, 2, dtype=torch.uint8), torch.tensor([2, 0, 2])
    images = Images(pixels, labels=labels, classes=("cat", "dog", "owl")).renumbered()
    assert images.classes == ("cat", "owl")
    assert images.labels is not None
    assert images.labels.tolist() == [1, 0, 1]
    assert images.renumbered().classes == images.classes
    with pytest.raises(ValueError, match="expected labelled images to number classes of, got 'images' without labels"):
        Images(pixels).renumbered()
