"""One class of a labelled set against the rest, for every class, without a copy of an image."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from genat.sources.images import Images
from genat.sources.source import check_draw


@dataclass(frozen=True, eq=False)
class ClassPart:
    """The images of one class of a set, or those of all the others, as a source that shares the set's memory.

    Attributes:
        images: the set.
        order: `(N,)` indices of its images, class by class.
        begin: where in `order` the class begins.
        end: where it ends.
        inside: the class itself; else all the others.
        name: what reports call it.
    """

    images: Images
    order: Tensor = field(repr=False)
    begin: int
    end: int
    inside: bool
    name: str

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one image, `(C, H, W)`."""
        return self.images.shape

    def __len__(self) -> int:
        return self.end - self.begin if self.inside else len(self.order) - (self.end - self.begin)

    def draw(self, n: int, *, generator: torch.Generator) -> Tensor:
        """Return n images drawn with replacement, augmented as the set's draws are.

        Raises:
            ValueError: as `Images.draw`.
        """
        check_draw(n, generator)
        places = torch.randint(len(self), (n,), generator=generator)
        if self.inside:
            places += self.begin
        else:
            places += (places >= self.begin) * (self.end - self.begin)
        return self.images.augmented(self.order[places].to(self.images.pixels.device), generator=generator)


def one_against_rest(images: Images) -> list[tuple[ClassPart, ClassPart]]:
    """Return, for each class of a set, its images and those of all other classes.

    All parts share one order of the set's images: K classes take no more memory than two.

    Args:
        images: labelled; every class has images.

    Raises:
        ValueError: where the set is unlabelled, or of fewer than two classes, or a class has no image.

    Example:
        >>> pixels = torch.tensor([0, 255, 51], dtype=torch.uint8).view(3, 1, 1, 1)
        >>> pets = Images(pixels, labels=torch.tensor([1, 0, 1]), classes=("cat", "dog"))
        >>> (cats, others), (dogs, _) = one_against_rest(pets)
        >>> len(cats), len(others), dogs.name
        (1, 2, 'dog')
        >>> others.draw(3, generator=torch.Generator().manual_seed(0)).flatten()
        tensor([0.0000, 0.2000, 0.2000])
    """
    if images.labels is None:
        raise ValueError(f"expected labelled images for a detector a class, got {images.name!r} without labels")
    if len(images.classes) < 2:
        raise ValueError(f"expected at least two classes for a detector a class, got {len(images.classes)}")
    labels = images.labels.cpu()
    counts = labels.bincount(minlength=len(images.classes))
    empty = [name for name, count in zip(images.classes, counts.tolist(), strict=True) if count == 0]
    if empty:
        raise ValueError(f"expected images of every class of {images.name!r}, got none of {', '.join(empty)}")
    order, ends = labels.argsort(stable=True), counts.cumsum(0).tolist()
    return [
        (
            ClassPart(images, order, end - count, end, inside=True, name=name),
            ClassPart(images, order, end - count, end, inside=False, name=f"all but {name}"),
        )
        for name, count, end in zip(images.classes, counts.tolist(), ends, strict=True)
    ]
