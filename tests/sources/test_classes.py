"""One class against the rest, without a copy."""

import pytest
import torch

from genat.sources import Augment, Images, Source, one_against_rest


def pets(labels: list[int], *, classes: tuple[str, ...] = ("cat", "dog", "owl")) -> Images:
    """Images whose one pixel is their place in the set."""
    pixels = torch.arange(len(labels), dtype=torch.uint8).view(-1, 1, 1, 1)
    return Images(pixels, labels=torch.tensor(labels), classes=classes, name="pets")


LABELS = [2, 0, 1, 1, 2, 0, 0, 1, 2, 2]


def drawn(source: Source, n: int = 400) -> list[int]:
    values = source.draw(n, generator=torch.Generator().manual_seed(1)) * 255
    return values.round().long().flatten().tolist()


def test_every_image_of_the_class_is_drawn_and_no_other() -> None:
    for kind, (inside, others) in enumerate(one_against_rest(pets(LABELS))):
        own = {i for i, label in enumerate(LABELS) if label == kind}
        assert set(drawn(inside)) == own
        assert set(drawn(others)) == set(range(len(LABELS))) - own
        assert (len(inside), len(others)) == (len(own), len(LABELS) - len(own))


def test_draws_are_uniform() -> None:
    _, others = one_against_rest(pets(LABELS))[1]
    counts = torch.tensor(drawn(others, 7000)).bincount(minlength=10)
    assert counts[[2, 3, 7]].sum() == 0
    kept = counts[counts > 0]
    assert len(kept) == 7
    assert ((kept - 1000).abs() < 5 * 1000**0.5).all()


def test_parts_share_the_sets_memory_and_its_augmentation() -> None:
    images = pets(LABELS).with_augmentation(Augment(flip=True))
    parts = [part for pair in one_against_rest(images) for part in pair]
    assert all(part.images is images for part in parts)
    assert len({part.order.data_ptr() for part in parts}) == 1
    wide = Images(
        torch.tensor([0, 255], dtype=torch.uint8).repeat(2, 1).view(2, 1, 1, 2),
        labels=torch.tensor([0, 1]),
        classes=("a", "b"),
    )
    flipped = one_against_rest(wide.with_augmentation(Augment(flip=True)))[0][0]
    rows = flipped.draw(50, generator=torch.Generator().manual_seed(0)).flatten(1)
    assert {tuple(row) for row in rows.tolist()} == {(0.0, 1.0), (1.0, 0.0)}


def test_names_and_shapes() -> None:
    cats, others = one_against_rest(pets(LABELS))[0]
    assert (cats.name, others.name, cats.shape) == ("cat", "all but cat", (1, 1, 1))
    assert isinstance(cats, Source)


def test_what_has_no_classes_is_refused() -> None:
    with pytest.raises(ValueError, match="expected labelled images for a detector a class, got 'pets' without labels"):
        one_against_rest(Images(torch.zeros(2, 1, 1, 1, dtype=torch.uint8), name="pets"))
    with pytest.raises(ValueError, match="expected at least two classes for a detector a class, got 1"):
        one_against_rest(pets([0, 0], classes=("cat",)))
    with pytest.raises(ValueError, match="expected images of every class of 'pets', got none of dog, owl"):
        one_against_rest(pets([0, 0]))
    with pytest.raises(ValueError, match="expected n to be at least 0, got -1"):
        one_against_rest(pets(LABELS))[0][0].draw(-1, generator=torch.Generator())
