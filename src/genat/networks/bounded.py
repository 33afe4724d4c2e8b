"""Networks from a file that may lie: no more memory than its weights account for."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

_MAKERS = frozenset({torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn})


class Bounded(TorchFunctionMode):
    """Within this block new tensors have so many elements in all, and no more.

    Args:
        elements: how many; checked before memory is taken.

    Raises:
        ValueError: within the block, where there would be more.

    Example:
        >>> with Bounded(100):
        ...     _ = torch.nn.Linear(9, 10)
        >>> with Bounded(100):
        ...     _ = torch.nn.Linear(10**6, 10**6)
        Traceback (most recent call last):
        ValueError: expected at most 100 elements, got more
    """

    def __init__(self, elements: int) -> None:
        super().__init__()
        self.elements, self.left = elements, elements

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - whatever PyTorch's functions return
        """Count what is about to be made, then make it."""
        if func in _MAKERS:
            first = args[0] if args else (kwargs or {}).get("size", ())
            sides = args if isinstance(first, int) and func is not torch.full else first
            self.left -= math.prod(int(side) for side in sides)
            if self.left < 0:
                raise ValueError(f"expected at most {self.elements} elements, got more")
        return func(*args, **(kwargs or {}))
