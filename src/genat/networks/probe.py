"""Find out whether a module is a detector, without leaving a trace in it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from genat.ascent import Detector, frozen
from genat.networks.weights import one_line

_TOLERANCE = 1e-3  # of the largest logit: far above what float32 loses between batch sizes, far below a batch statistic


def check_detector(detector: Detector, example: Tensor) -> None:
    """Refuse what is not a detector, before hours are spent on it.

    A detector gives each sample a finite logit that gradients reach and that depends on that sample alone. The batch
    is tried whole, with all other samples replaced, and one by one, always in eval mode; training flags, gradients,
    buffers, the example and the global random state are as before on return.

    Args:
        detector: a module or any function `(N, *) -> (N,)`.
        example: `(N, *)` with N >= 2, floating point, values such as the detector will see.

    Raises:
        TypeError: where `detector` cannot be called or `example` is not a floating-point tensor.
        ValueError: where the example has fewer than two samples, or the detector fails on it, gives another shape
            than `(N,)`, another type than floating point or numbers that are not finite, is not differentiable, or
            lets a logit depend on chance or on other samples.

    Example:
        >>> check_detector(lambda x: x.sum(dim=1), torch.rand(2, 3, generator=torch.Generator().manual_seed(0)))
        >>> check_detector(lambda x: x - x.mean(), torch.eye(2))
        Traceback (most recent call last):
        ...
        ValueError: expected logits (2,) of 2 samples, got (2, 2); from_classifier makes a detector of a classifier
    """
    if not callable(detector):
        raise TypeError(f"expected a detector that can be called, got {type(detector).__name__}")
    if not isinstance(example, Tensor) or not example.is_floating_point():
        got = example.dtype if isinstance(example, Tensor) else type(example).__name__
        raise TypeError(f"expected a floating-point example, got {got}")
    if example.ndim < 2 or len(example) < 2:
        raise ValueError(f"expected an example (N, *) of N >= 2 samples, got {tuple(example.shape)}")
    with untraced(detector, example.device):
        x = example.detach().clone().requires_grad_()
        logits = _logits(detector, x)
        _check_gradient(logits, x)
        with torch.no_grad():
            _check_samples(detector, x, logits)


@contextmanager
def untraced(detector: Detector, device: torch.device) -> Iterator[None]:
    """Try a detector out: in eval mode, frozen, with gradients of the input, and with everything put back after.

    Args:
        detector: a function that is no module has nothing to put back.
        device: where it computes; the random state of a CUDA device is set aside too.

    Example:
        >>> network = nn.Sequential(nn.Linear(2, 1), nn.Dropout())
        >>> with untraced(network, torch.device("cpu")):
        ...     network.training
        False
        >>> network.training
        True
    """
    modules = list(detector.modules()) if isinstance(detector, nn.Module) else []
    kept = [
        (module, name, buffer, buffer.clone())
        for module in modules
        for name, buffer in module.named_buffers(recurse=False)
    ]
    devices = [device] if device.type == "cuda" else []
    try:
        # leaving inference mode also switches gradients on
        with torch.random.fork_rng(devices=devices), torch.inference_mode(mode=False), frozen(detector):
            yield
    finally:
        for module, name, buffer, value in kept:
            if not torch.equal(buffer, value):
                buffer.data.copy_(value)
            setattr(module, name, buffer)


def outputs_of(detector: Detector, x: Tensor) -> Tensor:
    """Return what a detector or classifier makes of a batch, its failures in one line.

    Raises:
        ValueError: where it fails on this shape or returns no tensor.

    Example:
        >>> outputs_of(nn.Linear(2, 3), torch.zeros(1, 4))
        Traceback (most recent call last):
        ...
        ValueError: expected a network for inputs (1, 4), got RuntimeError: mat1 and mat2 shapes cannot be ...
    """
    try:
        outputs = detector(x)
    except (RuntimeError, TypeError, AssertionError) as error:  # what torch and networks say of a shape they do not fit
        raise ValueError(f"expected a network for inputs {tuple(x.shape)}, got {one_line(error)}") from error
    if not isinstance(outputs, Tensor):
        raise ValueError(
            f"expected a tensor of logits, got {type(outputs).__name__}; wrap the network to return its logits"
        )
    return outputs


def _logits(detector: Detector, x: Tensor) -> Tensor:
    logits = outputs_of(detector, x)
    count = len(x)
    if logits.shape != (count,):
        advice = {
            0: "a squeeze() without a dimension loses the batch",
            2: "from_classifier makes a detector of a classifier",
        }
        hint = f"; {advice[logits.ndim]}" if logits.ndim in advice else ""
        raise ValueError(f"expected logits ({count},) of {count} samples, got {tuple(logits.shape)}{hint}")
    if not logits.is_floating_point():
        raise ValueError(f"expected floating-point logits, got {logits.dtype}; return them before any decision")
    infinite = count - int(logits.isfinite().sum())
    if infinite:
        raise ValueError(
            f"expected finite logits, got {infinite} of {count} inf or nan; look at the weights and the input's range"
        )
    return logits


def _check_gradient(logits: Tensor, x: Tensor) -> None:
    cure = "the logit must come from the input by differentiable operations, without detach, no_grad or integers"
    gradient = torch.autograd.grad(logits.sum(), x, allow_unused=True)[0] if logits.requires_grad else None
    if gradient is None:
        raise ValueError(f"expected logits differentiable in the input, got none that depend on it; {cure}")
    if not gradient.isfinite().all():
        raise ValueError(
            "expected a finite gradient in the input, got inf or nan; look for roots and divisions at zero"
        )


def _check_samples(detector: Detector, x: Tensor, logits: Tensor) -> None:
    if not _close(_logits(detector, x), logits):
        raise ValueError(
            "expected the same logits for the same batch in eval mode, got others; "
            "switch random layers off when not self.training"
        )
    others = (x + 0.5) % 1  # differs from x in every entry and is still made of pixels
    for i in (0, len(x) - 1):
        replaced = others.clone()
        replaced[i] = x[i]
        for batch, place in ((replaced, i), (x[i : i + 1], 0)):
            logit = _logits(detector, batch)[place]
            if not _close(logit, logits[i], scale=logits):
                raise ValueError(
                    f"expected a logit that depends on its own sample alone, got {logits[i]:.6g} for sample {i} in "
                    f"one batch and {logit:.6g} in another; use no batch statistics (BatchNorm needs "
                    "track_running_stats=True)"
                )


def _close(logits: Tensor, reference: Tensor, *, scale: Tensor | None = None) -> bool:
    size = (reference if scale is None else scale).abs().max()
    return bool(((logits - reference).abs() <= _TOLERANCE * size).all())
