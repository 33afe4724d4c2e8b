"""Labelled images held as bytes: a data set small enough for memory, on the processor or resident on the device."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol, Self, runtime_checkable

import torch
from torch import Tensor

from genat.sources.augment import Augmentation
from genat.sources.source import Source, check_draw, check_unit_range


@runtime_checkable
class LabelledSource(Source, Protocol):
    """A source whose samples have classes; labelled `Images` is one."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes' names; none where the samples are unlabelled after all."""
        ...

    def draw_labelled(self, n: int, *, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return the n samples that `draw` returns of the same generator, and their labels.

        Args:
            n: how many, 0 or more.
            generator: a CPU generator.

        Returns:
            `(n, *shape)` and `(n,)` int64 indices into `classes`.
        """
        ...


@dataclass(frozen=True, eq=False, repr=False)
class Images:
    """A set of images as uint8, drawn from as float32 in [0, 1].

    Args:
        pixels: `(N, C, H, W)` uint8.
        labels: `(N,)` int64 indices into `classes`, on the pixels' device; None is unlabelled.
        classes: the classes' names; empty without labels. A class may have no image.
        groups: `(N,)` int64, equal for images that `split` keeps on one side, as all pictures of one person; on the
            pixels' device. None: every image is its own.
        name: what reports call the set.
        notes: what was converted on loading, one sentence each.
        augmentation: applied to every draw, and to nothing else; None is none.
        class_balanced: whether a draw takes every class that has an image equally often, see `balanced`.

    Raises:
        TypeError: where the pixels are not uint8, or the labels or groups not int64.
        ValueError: where shapes, devices, labels, classes and groups do not fit together.

    Example:
        >>> images = Images(torch.tensor([0, 51, 255], dtype=torch.uint8).view(3, 1, 1, 1), name="greys")
        >>> images
        Images('greys', 3 of (1, 1, 1))
        >>> images.draw(4, generator=torch.Generator().manual_seed(1)).flatten()
        tensor([0.2000, 1.0000, 0.0000, 1.0000])
    """

    pixels: Tensor
    labels: Tensor | None = None
    classes: tuple[str, ...] = ()
    groups: Tensor | None = None
    name: str = "images"
    notes: tuple[str, ...] = ()
    augmentation: Augmentation | None = None
    class_balanced: bool = False

    def __post_init__(self) -> None:
        if self.pixels.dtype != torch.uint8:
            raise TypeError(f"expected pixels of uint8, got {self.pixels.dtype}: see Images.from_float")
        if self.pixels.ndim != 4 or self.pixels.numel() == 0:
            raise ValueError(f"expected pixels (N, C, H, W), none of them 0, got {tuple(self.pixels.shape)}")
        if len(set(self.classes)) != len(self.classes):
            raise ValueError(f"expected classes with different names, got {self.classes}")
        if self.groups is not None:
            _check_indices("group", self.groups, self.pixels)
        if self.labels is not None:
            _check_labels(self.labels, self.pixels, len(self.classes))
        elif self.classes or self.class_balanced:
            raise ValueError("expected labels with named or balanced classes, got labels=None")

    @classmethod
    def from_float(
        cls,
        images: Tensor,
        *,
        labels: Tensor | None = None,
        classes: tuple[str, ...] = (),
        name: str = "images",
    ) -> Self:
        """Return float images rounded to 8 bits, with a note where that changed any.

        Args:
            images: `(N, C, H, W)` floating point, in [0, 1].
            labels: `(N,)` int64, or None.
            classes: the classes' names; empty without labels.
            name: what reports call the set.

        Raises:
            TypeError: where the images are not floating point.
            ValueError: where a value leaves [0, 1], or as for `Images`.

        Example:
            >>> Images.from_float(torch.full((2, 1, 1, 1), 0.5)).notes
            ('2 of 2 images rounded to 8 bits',)
        """
        if not images.is_floating_point():
            raise TypeError(f"expected floating-point images, got {images.dtype}")
        if images.numel():
            check_unit_range(images)
        pixels = (images * 255).round().to(torch.uint8)
        changed = int(((_as_float(pixels) - images.float()).abs() > 1e-6).flatten(1).any(1).sum())
        notes = (f"{changed} of {len(images)} images rounded to 8 bits",) if changed else ()
        return cls(pixels, labels=labels, classes=classes, name=name, notes=notes)

    def __len__(self) -> int:
        return len(self.pixels)

    def __repr__(self) -> str:
        classes = f", {len(self.classes)} classes" if self.classes else ""
        return f"Images({self.name!r}, {len(self)} of {self.shape}{classes})"

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of one image, `(C, H, W)`."""
        _, channels, height, width = self.pixels.shape
        return channels, height, width

    def draw(self, n: int, *, generator: torch.Generator) -> Tensor:
        """Return n images drawn with replacement, augmented where an augmentation is set.

        Args:
            n: how many, 0 or more.
            generator: a CPU generator; indices are drawn on the CPU, images gathered on their own device.

        Returns:
            `(n, C, H, W)` float32 in [0, 1], on the pixels' device.

        Raises:
            ValueError: where n is negative, the generator is not the CPU's, or the augmentation changes the shape.
        """
        return self._drawn(n, generator)[0]

    def draw_labelled(self, n: int, *, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return the n images that `draw` returns of the same generator, and their labels.

        Args:
            n: how many, 0 or more.
            generator: as for `draw`.

        Returns:
            `(n, C, H, W)` float32 in [0, 1] and `(n,)` int64 indices into `classes`, on the pixels' device.

        Raises:
            ValueError: where the set is unlabelled, or as `draw`.

        Example:
            >>> pixels, labels = torch.tensor([0, 51], dtype=torch.uint8).view(2, 1, 1, 1), torch.tensor([1, 0])
            >>> pets = Images(pixels, labels=labels, classes=("cat", "dog"))
            >>> images, labels = pets.draw_labelled(3, generator=torch.Generator().manual_seed(0))
            >>> images.flatten(), labels
            (tensor([0.0000, 0.2000, 0.2000]), tensor([1, 0, 0]))
        """
        if self.labels is None:
            raise ValueError(f"expected labelled images to draw labels of, got {self.name!r} without labels")
        images, indices = self._drawn(n, generator)
        return images, self.labels[indices]

    def _drawn(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        check_draw(n, generator)
        if self.class_balanced:
            indices = self._balanced_indices(n, generator)
        else:
            indices = torch.randint(len(self), (n,), generator=generator)
        indices = indices.to(self.pixels.device)
        return self.augmented(indices, generator=generator), indices

    def augmented(self, indices: Tensor, *, generator: torch.Generator) -> Tensor:
        """Return the images at these indices as `draw` returns them: augmented where an augmentation is set.

        Args:
            indices: `(n,)` int64, on the pixels' device.
            generator: of the augmentation, a CPU generator.

        Returns:
            `(n, C, H, W)` float32 in [0, 1], on the pixels' device.

        Raises:
            ValueError: where the augmentation changes the shape.
        """
        images = _as_float(self.pixels[indices])
        if self.augmentation is None:
            return images
        changed = self.augmentation(images, generator=generator)
        if changed.shape != images.shape:
            shapes = f"{tuple(images.shape)} to {tuple(changed.shape)}"
            raise ValueError(f"expected an augmentation that keeps the shape, got one from {shapes}")
        return changed

    def tensor(self) -> Tensor:
        """Return all images in their order and as they are, `(N, C, H, W)` float32 in [0, 1]."""
        return _as_float(self.pixels)

    def take(self, indices: Tensor | Sequence[int]) -> Self:
        """Return the images at these indices, in this order.

        Args:
            indices: `(M,)`, each from 0 to N - 1.

        Raises:
            ValueError: where there is none, or one is out of range.

        Example:
            >>> Images(torch.arange(4, dtype=torch.uint8).view(4, 1, 1, 1)).take([3, 1]).pixels.flatten()
            tensor([3, 1], dtype=torch.uint8)
        """
        chosen = torch.as_tensor(indices, dtype=torch.int64, device=self.pixels.device)
        if chosen.ndim != 1 or len(chosen) == 0:
            raise ValueError(f"expected at least one index in one dimension, got shape {tuple(chosen.shape)}")
        if chosen.min() < 0 or chosen.max() >= len(self):
            low, high = int(chosen.min()), int(chosen.max())
            raise ValueError(f"expected indices from 0 to {len(self) - 1}, got {low} to {high}")
        labels = None if self.labels is None else self.labels[chosen]
        groups = None if self.groups is None else self.groups[chosen]
        return replace(self, pixels=self.pixels[chosen], labels=labels, groups=groups)

    def only(self, classes: int | str | Sequence[int | str]) -> Self:
        """Return the images of these classes; labels and class names keep their meaning.

        Args:
            classes: class indices or names.

        Raises:
            ValueError: where the set is unlabelled, a class is unknown, or no image is left.

        Example:
            >>> pixels, labels = torch.zeros(3, 1, 2, 2, dtype=torch.uint8), torch.tensor([0, 1, 1])
            >>> Images(pixels, labels=labels, classes=("cat", "dog"), name="pets").only("dog")
            Images('pets: dog', 2 of (1, 2, 2), 2 classes)
        """
        return self._where_class(classes, inside=True)

    def without(self, classes: int | str | Sequence[int | str]) -> Self:
        """Return the images of all other classes; labels and class names keep their meaning.

        Args:
            classes: class indices or names.

        Raises:
            ValueError: where the set is unlabelled, a class is unknown, or no image is left.

        Example:
            >>> pixels, labels = torch.zeros(3, 1, 2, 2, dtype=torch.uint8), torch.tensor([0, 1, 1])
            >>> Images(pixels, labels=labels, classes=("cat", "dog"), name="pets").without(["dog"])
            Images('pets without dog', 1 of (1, 2, 2), 2 classes)
        """
        return self._where_class(classes, inside=False)

    def renumbered(self) -> Self:
        """Return the same images with the classes that have any alone, numbered anew in their order.

        Raises:
            ValueError: where the set is unlabelled.

        Example:
            >>> pixels, labels = torch.zeros(2, 1, 2, 2, dtype=torch.uint8), torch.tensor([2, 0])
            >>> pets = Images(pixels, labels=labels, classes=("cat", "dog", "owl")).renumbered()
            >>> pets.labels, pets.classes
            (tensor([1, 0]), ('cat', 'owl'))
        """
        if self.labels is None:
            raise ValueError(f"expected labelled images to number classes of, got {self.name!r} without labels")
        there, labels = torch.unique(self.labels, return_inverse=True)
        return replace(self, labels=labels, classes=tuple(self.classes[kind] for kind in there.tolist()))

    def split(self, fraction: float, seed: int) -> tuple[Self, Self]:
        """Return the set cut in two at random: the rest, and a held-out fraction.

        With labels the cut is stratified: a class's held-out images are within one of the fraction of its images.
        With groups every group is on one side, and "one" is the largest group; a group with several labels counts
        with its lowest. Both parts keep the images' order.

        Args:
            fraction: how much to hold out, in (0, 1); rounded to whole images and groups.
            seed: the same seed cuts the same set the same way.

        Returns:
            `(rest, held_out)`.

        Raises:
            ValueError: where the fraction is out of range or leaves either part empty.

        Example:
            >>> rest, held_out = Images(torch.arange(5, dtype=torch.uint8).view(5, 1, 1, 1)).split(0.4, seed=0)
            >>> rest.pixels.flatten().tolist(), held_out.pixels.flatten().tolist()
            ([1, 2, 4], [0, 3])
        """
        if not 0 < fraction < 1:
            raise ValueError(f"expected fraction in (0, 1), got {fraction}")
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        if self.labels is not None:
            order = order[self.labels.cpu()[order].argsort(stable=True)]
        if self.groups is None:
            sizes = [1] * len(self)
        else:
            place, sizes = _gather(self.groups.cpu()[order])
            order = order[place]
        chosen = _spread(sizes, fraction)
        rest, held_out = order[~chosen].sort().values, order[chosen].sort().values
        if len(held_out) == 0 or len(rest) == 0:
            raise ValueError(f"expected two parts with images, got {len(rest)} and {len(held_out)} of {len(self)}")
        return self.take(rest), self.take(held_out)

    def balanced(self) -> Self:
        """Return the same set, drawn class-balanced: first a class that has images, uniformly, then one of its images.

        Raises:
            ValueError: where the set is unlabelled.
        """
        return replace(self, class_balanced=True)

    def with_augmentation(self, augmentation: Augmentation | None) -> Self:
        """Return the same set with every draw augmented; None takes an augmentation away."""
        return replace(self, augmentation=augmentation)

    def to(self, device: torch.device | str) -> Self:
        """Return the same set resident on a device, as uint8."""
        labels = None if self.labels is None else self.labels.to(device)
        groups = None if self.groups is None else self.groups.to(device)
        return replace(self, pixels=self.pixels.to(device), labels=labels, groups=groups)

    @cached_property
    def _by_class(self) -> tuple[Tensor, Tensor]:
        """Return the indices sorted by label, and how many of them each class that has any owns."""
        assert self.labels is not None
        labels = self.labels.cpu()
        counts = labels.bincount()
        return labels.argsort(stable=True), counts[counts > 0]

    def _balanced_indices(self, n: int, generator: torch.Generator) -> Tensor:
        order, counts = self._by_class
        drawn = torch.randint(len(counts), (n,), generator=generator)
        within = (torch.rand(n, generator=generator, dtype=torch.float64) * counts[drawn]).long()
        return order[counts.cumsum(0)[drawn] - counts[drawn] + within]

    def _where_class(self, classes: int | str | Sequence[int | str], *, inside: bool) -> Self:
        if self.labels is None:
            raise ValueError(f"expected labelled images to choose classes from, got {self.name!r} without labels")
        wanted = [classes] if isinstance(classes, int | str) else list(classes)
        indices = [self._class_index(one) for one in wanted]
        chosen = torch.isin(self.labels, torch.tensor(indices, dtype=torch.int64, device=self.labels.device))
        kept = chosen if inside else ~chosen
        names = ", ".join(self.classes[index] for index in indices)
        name = f"{self.name}: {names}" if inside else f"{self.name} without {names}"
        if not kept.any():
            raise ValueError(f"expected classes that leave at least one image, got none of {len(self)} for {name!r}")
        return replace(self.take(kept.nonzero().flatten()), name=name)

    def _class_index(self, wanted: int | str) -> int:
        if isinstance(wanted, str) and wanted in self.classes:
            return self.classes.index(wanted)
        if isinstance(wanted, int) and 0 <= wanted < len(self.classes):
            return wanted
        raise ValueError(f"expected a class of {', '.join(self.classes)} or its index, got {wanted!r}")


def _as_float(pixels: Tensor) -> Tensor:
    return pixels.float().div_(255)


def _gather(groups: Tensor) -> tuple[Tensor, list[int]]:
    """Return the order `(N,)` that brings every group together where it first occurs, and the groups' sizes."""
    _, index, counts = torch.unique(groups, return_inverse=True, return_counts=True)
    first = torch.full((len(counts),), len(groups)).scatter_reduce(0, index, torch.arange(len(groups)), "amin")
    return first[index].argsort(stable=True), counts[first.argsort()].tolist()


def _spread(sizes: Sequence[int], fraction: float) -> Tensor:
    """Return which of the items in runs of these sizes to hold out, `(N,)`: whole runs, evenly along the way.

    A run is held out as soon as that brings the count nearer to the fraction of the items so far; single items are
    every 1/fraction-th. So the count is right over any stretch, up to the largest run.
    """
    chosen = torch.zeros(sum(sizes), dtype=torch.bool)
    quota = (torch.arange(len(chosen) + 1, dtype=torch.float64) * fraction + 0.5).floor().tolist()
    end = held_out = 0
    for size in sizes:
        end += size
        if quota[end] - held_out >= (size + 1) / 2:
            chosen[end - size : end] = True
            held_out += size
    return chosen


def _check_labels(labels: Tensor, pixels: Tensor, classes: int) -> None:
    _check_indices("label", labels, pixels)
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        raise ValueError(f"expected labels from 0 to {classes - 1}, one for each class, got {low} to {high}")


def _check_indices(what: str, values: Tensor, pixels: Tensor) -> None:
    if values.dtype != torch.int64:
        raise TypeError(f"expected {what}s of int64, got {values.dtype}")
    if values.shape != pixels.shape[:1]:
        raise ValueError(f"expected one {what} an image, ({len(pixels)},), got {tuple(values.shape)}")
    if values.device != pixels.device:
        raise ValueError(f"expected {what}s on the pixels' device, {pixels.device}, got {values.device}")
