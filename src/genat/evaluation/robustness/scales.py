"""How much is measured."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured.

    Attributes:
        n: test images that whole systems are attacked on.
        each: test images of a class, and as many of the others, that its detector is measured on.
        steps: of every attack but Square.
        restarts: of each on a detector.
        starts: of each on a whole system.
        queries: of Square.
        targets: classes that targeted attacks try.
        few: images of what is costly: growing balls, nearest errors.
    """

    n: int
    each: int
    steps: int
    restarts: int
    starts: int
    queries: int
    targets: int
    few: int


SCALES: Mapping[str, Scale] = {
    "quick": Scale(n=200, each=200, steps=50, restarts=3, starts=1, queries=200, targets=3, few=32),
    "full": Scale(n=1000, each=1000, steps=200, restarts=5, starts=5, queries=2000, targets=9, few=100),
}
"""`full` has the steps of Yin, Kolouri and Rohde (2020), and more attacks, restarts and targets."""
