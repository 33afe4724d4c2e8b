"""How much a service takes on."""

import math
from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of a service; every one is positive.

    Args:
        body: bytes of one request's body.
        memory: bytes of all bodies that are held at once.
        pixels: of one image, before it is resized; more are refused before they are decoded.
        images: in one request to score.
        climbs: images in one request to transform or to sample.
        steps: of one climb.
        queue: images that wait to be scored or are being scored.
        climbing: requests that wait to climb or are climbing.
        batch: images that one pass of the detector scores.
        timeout: seconds from a request's arrival to its answer.

    Raises:
        ValueError: where one is not positive, or the queue has no room for one request.

    Example:
        >>> Limits(queue=10)
        Traceback (most recent call last):
        ValueError: expected a queue of at least the 64 images of one request, got 10
    """

    body: int = 8 * 2**20
    memory: int = 256 * 2**20
    pixels: int = 2**24
    images: int = 64
    climbs: int = 16
    steps: int = 256
    queue: int = 1024
    climbing: int = 32
    batch: int = 64
    timeout: float = 30.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not 0 < value < math.inf:
                raise ValueError(f"expected {field.name} to be positive, got {value}")
        if self.queue < self.images:
            raise ValueError(f"expected a queue of at least the {self.images} images of one request, got {self.queue}")
        if self.memory < self.body:
            raise ValueError(f"expected memory of at least the {self.body} bytes of one body, got {self.memory}")


class FullError(Exception):
    """There is no place left."""


class Room:
    """A bounded number of places, taken and given back on one thread.

    Args:
        size: how many there are.

    Attributes:
        taken: how many are taken.

    Example:
        >>> room = Room(3)
        >>> room.take(2)
        >>> room.give(1)
        >>> room.taken
        1
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.taken = 0

    def take(self, n: int) -> None:
        """Take n places.

        Raises:
            FullError: where fewer are left; none is taken then.
        """
        if self.taken + n > self.size:
            raise FullError
        self.taken += n

    def give(self, n: int) -> None:
        """Give n places back."""
        self.taken -= n
