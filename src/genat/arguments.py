"""What an ascent refuses before any compute."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from genat.balls import per_sample


def check_ascent(
    *,
    starts: Tensor,
    steps: int,
    step_size: float | Tensor,
    shrink: float | Tensor,
    box: tuple[float, float] | None,
    rule: str,
    keep: str,
    stop_at: float | None,
    random_start: bool,
    generator: torch.Generator | Sequence[torch.Generator] | None,
) -> tuple[float | Tensor, float | Tensor]:
    """Refuse what cannot be meant, before any compute; return the sizes and the shrinking ready to multiply with."""
    if not starts.is_floating_point() or starts.ndim < 2:
        raise ValueError(f"expected starts of shape (N, *), floating point, got {tuple(starts.shape)} {starts.dtype}")
    if steps < 0:
        raise ValueError(f"expected steps to be at least 0, got {steps}")
    if rule not in ("steepest", "normalized", "sign", "adam"):
        raise ValueError(f"expected rule to be 'steepest', 'normalized', 'sign' or 'adam', got {rule!r}")
    if keep not in ("last", "best"):
        raise ValueError(f"expected keep to be 'last' or 'best', got {keep!r}")
    if stop_at is not None and not math.isfinite(stop_at):
        raise ValueError(f"expected stop_at to be None or a finite logit, got {stop_at}")
    if random_start != (generator is not None):
        raise ValueError(
            "expected random_start and generator together, got "
            + ("random_start without a generator" if random_start else "a generator without random_start")
        )
    _check_range(starts, box)
    return (
        _check_sizes("step_size", starts, step_size, most=math.inf),
        _check_sizes("shrink", starts, shrink, most=1.0),
    )


def _check_sizes(name: str, starts: Tensor, values: float | Tensor, *, most: float) -> float | Tensor:
    wanted = "positive and finite" if most == math.inf else f"in (0, {most:g}]"
    if isinstance(values, Tensor):
        if values.shape != starts.shape[:1]:
            raise ValueError(f"expected {name} of shape {(len(starts),)}, got {tuple(values.shape)}")
        if not (torch.isfinite(values) & (values > 0) & (values <= most)).all():
            raise ValueError(f"expected every {name} to be {wanted}, got one that is not")
        return per_sample(values.to(starts), starts)
    if not (0 < values <= most and math.isfinite(values)):
        raise ValueError(f"expected {name} to be {wanted}, got {values}")
    return float(values)


def _check_range(starts: Tensor, box: tuple[float, float] | None) -> None:
    if box is not None and not box[0] < box[1]:
        raise ValueError(f"expected box to be (low, high) with low < high, got {box}")
    if starts.numel() == 0:
        return
    low, high = torch.stack(starts.detach().aminmax()).tolist()
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError("expected starts to be finite, got values that are not")
    # the box in the starts' own precision, which is where clipping to it ends
    floor, ceiling = (low, high) if box is None else starts.new_tensor(box).tolist()
    if low < floor or high > ceiling:
        raise ValueError(f"expected starts inside the box {box}, got values from {low:.6g} to {high:.6g}")
