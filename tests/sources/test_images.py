"""The data set in memory: construction, selection, splits and draws."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from genat.sources import Augment, Images


def numbered(labels: list[int] | None = None, n: int = 12, classes: int = 3) -> Images:
    """Return images of which number i is filled with the value i."""
    if labels is not None:
        n = len(labels)
    pixels = torch.arange(n, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 2, 3).clone()
    if labels is None:
        return Images(pixels, name="numbers")
    names = tuple("abcdefgh"[:classes])
    return Images(pixels, labels=torch.tensor(labels), classes=names, name="numbers")


def numbers(images: Images) -> list[int]:
    return images.pixels[:, 0, 0, 0].tolist()


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_bytes_become_floats_exactly() -> None:
    images = Images(torch.arange(256, dtype=torch.uint8).view(256, 1, 1, 1))
    assert torch.equal(images.tensor().flatten(), torch.arange(256) / 255)


def test_every_byte_survives_the_way_through_float() -> None:
    images = Images(torch.arange(256, dtype=torch.uint8).view(256, 1, 1, 1))
    again = Images.from_float(images.tensor())
    assert torch.equal(again.pixels, images.pixels)
    assert again.notes == ()


def test_from_float_rounds_and_says_how_many() -> None:
    images = Images.from_float(
        torch.tensor([0.0, 0.3, 0.999, 1.0], dtype=torch.float64).view(4, 1, 1, 1),
        labels=torch.tensor([0, 0, 1, 1]),
        classes=("dark", "light"),
        name="four",
    )
    assert images.pixels.flatten().tolist() == [0, 76, 255, 255]
    assert images.notes == ("2 of 4 images rounded to 8 bits",)
    assert repr(images) == "Images('four', 4 of (1, 1, 1), 2 classes)"


def test_draws_are_even_with_replacement() -> None:
    drawn = (numbered(n=8).draw(8000, generator=seeded())[:, 0, 0, 0] * 255).round().long()
    # Each count is binomial(8000, 1/8) with deviation 29.6; five of them.
    assert (drawn.bincount(minlength=8) - 1000).abs().max() < 148


def test_balanced_draws_are_even_over_classes_and_within_them() -> None:
    labels = [0] * 1 + [3] * 9 + [1] * 2  # no image of class 2
    images = numbered(labels, classes=4).balanced()
    drawn = (images.draw(9000, generator=seeded())[:, 0, 0, 0] * 255).round().long()
    counts = drawn.bincount(minlength=12).double()
    expected = torch.tensor([1 / 3] + [1 / 27] * 9 + [1 / 6] * 2, dtype=torch.float64)
    assert ((counts / 9000 - expected).abs() < 5 * (expected * (1 - expected) / 9000).sqrt()).all()


def test_draws_come_from_the_selection_alone() -> None:
    images = numbered([0, 1, 2] * 4).only("b")
    drawn = (images.draw(100, generator=seeded())[:, 0, 0, 0] * 255).round().long()
    assert set(drawn.tolist()) == {1, 4, 7, 10}


def test_selection_by_index_and_name_keeps_meaning_and_order() -> None:
    images = numbered([2, 0, 1, 2, 0, 1])
    assert numbers(images.only(["c", 0])) == [0, 1, 3, 4]
    assert numbers(images.without([2, "a"])) == [2, 5]
    assert numbers(images.without([])) == list(range(6))
    chosen = images.only(2)
    assert chosen.labels is not None
    assert chosen.labels.tolist() == [2, 2]
    assert chosen.classes == ("a", "b", "c")
    assert chosen.name == "numbers: c"
    assert images.without(["a", "b"]).name == "numbers without a, b"


def test_take_reorders_and_repeats() -> None:
    images = numbered([0, 1, 2]).take([2, 0, 2])
    assert numbers(images) == [2, 0, 2]
    assert images.labels is not None
    assert images.labels.tolist() == [2, 0, 2]


@settings(max_examples=60, deadline=None)
@given(
    labels=st.none() | st.lists(st.integers(0, 3), min_size=2, max_size=60),
    fraction=st.floats(0.05, 0.95),
    seed=st.integers(0, 2**40),
)
def test_a_split_is_a_stratified_partition(labels: list[int] | None, fraction: float, seed: int) -> None:
    images = numbered(labels, n=40, classes=4)
    size = math.floor(len(images) * fraction + 0.5)
    if size in (0, len(images)):
        with pytest.raises(ValueError, match="expected two parts with images, got"):
            images.split(fraction, seed)
        return
    rest, held_out = images.split(fraction, seed)
    assert sorted(numbers(rest) + numbers(held_out)) == list(range(len(images)))
    assert numbers(rest) == sorted(numbers(rest))
    assert numbers(held_out) == sorted(numbers(held_out))
    assert len(held_out) == size
    for label in set(labels or []):
        assert held_out.labels is not None
        count = (labels or []).count(label)
        assert abs(int((held_out.labels == label).sum()) - count * fraction) < 1 + 1e-9
    again = images.split(fraction, seed)
    assert numbers(again[1]) == numbers(held_out)


def test_a_split_holds_the_images_of_a_class_out_equally_often() -> None:
    images = numbered([0] * 5 + [1] * 3)
    counts = torch.zeros(8)
    for seed in range(1000):
        counts[numbers(images.split(0.25, seed)[1])] += 1
    # One of 5 and one of 3: binomial(1000, 1/5) has deviation 12.6, binomial(1000, 1/3) 14.9; five of them.
    assert (counts[:5] - 1000 / 5).abs().max() < 63
    assert (counts[5:] - 1000 / 3).abs().max() < 75


def test_augmentation_touches_draws_and_nothing_else() -> None:
    plain = numbered([0, 1, 2])
    images = plain.with_augmentation(Augment(shift=3, fill=1.0))
    assert torch.equal(images.tensor(), plain.tensor())
    assert not torch.equal(images.draw(20, generator=seeded()), plain.draw(20, generator=seeded()))
    bare = images.with_augmentation(None)
    assert torch.equal(bare.draw(20, generator=seeded()), plain.draw(20, generator=seeded()))
    assert images.only("b").augmentation is images.augmentation


def test_to_moves_labels_along() -> None:
    images = numbered([0, 1, 2]).to("cpu")
    assert images.labels is not None
    assert images.labels.device == images.pixels.device


def test_an_augmentation_that_changes_the_shape_is_refused() -> None:
    def crop(images: Tensor, *, generator: torch.Generator) -> Tensor:
        del generator
        return images[..., :1]

    with pytest.raises(ValueError, match=r"expected an augmentation that keeps the shape, got one from \(2, 1, 2, 3\)"):
        numbered().with_augmentation(crop).draw(2, generator=seeded())


PIXELS = torch.zeros(2, 1, 2, 2, dtype=torch.uint8)
LABELS = torch.tensor([0, 1])


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: Images(PIXELS.float()),
            TypeError,
            "expected pixels of uint8, got torch.float32",
        ),
        (lambda: Images(PIXELS[0]), ValueError, r"expected pixels \(N, C, H, W\), none of them 0, got \(1, 2, 2\)"),
        (lambda: Images(PIXELS[:0]), ValueError, r"got \(0, 1, 2, 2\)"),
        (lambda: Images(PIXELS, classes=("a",)), ValueError, "expected labels with named or balanced classes"),
        (lambda: Images(PIXELS).balanced(), ValueError, "expected labels with named or balanced classes"),
        (lambda: Images(PIXELS, labels=LABELS.int(), classes=("a", "b")), TypeError, "expected labels of int64"),
        (lambda: Images(PIXELS, labels=LABELS[:1], classes=("a",)), ValueError, r"expected one label an image, \(2,\)"),
        (
            lambda: Images(PIXELS, labels=LABELS, classes=("a",)),
            ValueError,
            "from 0 to 0, one for each class, got 0 to 1",
        ),
        (lambda: Images(PIXELS, labels=LABELS - 1, classes=("a", "b")), ValueError, "got -1 to 0"),
        (lambda: Images(PIXELS, labels=LABELS), ValueError, "expected labels from 0 to -1"),
        (
            lambda: Images(PIXELS, labels=LABELS, classes=("a", "a")),
            ValueError,
            "expected classes with different",
        ),
        (lambda: Images.from_float(PIXELS), TypeError, "expected floating-point images, got torch.uint8"),
        (lambda: Images.from_float(PIXELS + 2.0), ValueError, r"expected images in \[0, 1\], got values from 2 to 2"),
        (lambda: Images.from_float(PIXELS[:0].float()), ValueError, r"got \(0, 1, 2, 2\)"),
        (lambda: numbered().only("a"), ValueError, "expected labelled images to choose classes from, got 'numbers'"),
        (lambda: numbered([0, 1]).only("z"), ValueError, "expected a class of a, b, c or its index, got 'z'"),
        (lambda: numbered([0, 1]).only(3), ValueError, "expected a class of a, b, c or its index, got 3"),
        (lambda: numbered([0, 1]).without(-1), ValueError, "or its index, got -1"),
        (lambda: numbered([0, 1]).only(["c"]), ValueError, "at least one image, got none of 2 for 'numbers: c'"),
        (lambda: numbered([0, 1]).only([]), ValueError, "at least one image, got none of 2"),
        (lambda: numbered([0, 0]).without("a"), ValueError, "got none of 2 for 'numbers without a'"),
        (lambda: numbered().take([]), ValueError, r"expected at least one index in one dimension, got shape \(0,\)"),
        (lambda: numbered().take(torch.zeros(1, 1)), ValueError, r"got shape \(1, 1\)"),
        (lambda: numbered().take([0, 12]), ValueError, "expected indices from 0 to 11, got 0 to 12"),
        (lambda: numbered().take([-1]), ValueError, "expected indices from 0 to 11, got -1 to -1"),
        (lambda: numbered().split(0.0, 0), ValueError, r"expected fraction in \(0, 1\), got 0.0"),
        (lambda: numbered().split(1.0, 0), ValueError, r"expected fraction in \(0, 1\), got 1.0"),
    ],
)
def test_refusals(make: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)
