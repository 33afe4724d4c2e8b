"""Networks by name, for configurations: the ones of this package, and anyone's function."""

import importlib
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from genat.networks.adapt import example_of, from_classifier
from genat.networks.convnets import convnet, small_convnet, strided_convnet
from genat.networks.joint import Joint
from genat.networks.layers import sample_shape
from genat.networks.mlps import mlp
from genat.networks.probe import check_detector, outputs_of, untraced
from genat.networks.resnets import resnet, resnet50
from genat.networks.star import star
from genat.networks.weights import one_line
from genat.networks.wide_resnets import plain_wide_resnet28, preact_resnet32, wide_resnet, wide_resnet34_10

BUILDERS: Mapping[str, Callable[..., nn.Module]] = {
    builder.__name__: builder
    for builder in (
        mlp,
        convnet,
        small_convnet,
        strided_convnet,
        resnet,
        resnet50,
        preact_resnet32,
        wide_resnet,
        wide_resnet34_10,
        plain_wide_resnet28,
        star,
    )
}
"""The networks of this package by name."""

# What PyTorch and Python are known to raise on options of another type or size.
_REFUSALS = (TypeError, RuntimeError, ArithmeticError, LookupError, AttributeError, MemoryError)


def build(spec: str, shape: tuple[int, ...], options: Mapping[str, object] | None = None, *, seed: int) -> nn.Module:
    """Build the detector a configuration asks for, its initial weights a function of the seed alone.

    The global random state, from which PyTorch's layers draw their weights, is seeded for the construction and put
    back afterwards; that of an accelerator is not touched.

    Args:
        spec: one of `BUILDERS`, or "package.module:function" for a function of your own, `function(shape, **options)`,
            which returns a detector, or a classifier `(N, *) -> (N, K)` whose logit 0 is then read
            (`from_classifier`). Modules in the working directory are found after installed ones.
        shape: of one sample, such as (1, 8, 8) or (2,).
        options: keyword arguments of the builder; None is none.
        seed: of the initial weights.

    Returns:
        A detector `(N, *shape) -> (N,)` on the CPU; one of your own has passed `check_detector`.

    Raises:
        ValueError: where the name is unknown, the module or the function is not there, the options do not fit, or what
            comes back is not a module or no detector.

    Example:
        >>> detector = build("mlp", (2,), {"hidden": [8]}, seed=0)
        >>> detector(torch.tensor([[0.5, 0.5]])).shape
        torch.Size([1])
        >>> build("mpl", (2,), seed=0)
        Traceback (most recent call last):
        ...
        ValueError: expected a network mlp, convnet, ..., star or "package.module:function", got mpl
    """
    sides = sample_shape(shape)
    network = _made(spec, sides, dict(options or {}), seed)
    return network if spec in BUILDERS else _as_detector(network, sides)


def build_joint(
    spec: str, shape: tuple[int, ...], options: Mapping[str, object] | None = None, *, classes: int, seed: int
) -> Joint:
    """Build the network a configuration asks for with a logit for each class, as a detector that classifies.

    Args:
        spec: as `build` takes it; one of `BUILDERS` is told to keep K logits, a function of your own returns a
            classifier `(N, *) -> (N, K)`.
        shape: of one sample.
        options: as `build` takes them.
        classes: K, at least 1.
        seed: of the initial weights.

    Returns:
        A `Joint` on the CPU that has passed `check_detector`.

    Raises:
        ValueError: as `build`, and where what comes back does not give K logits.

    Example:
        >>> joint = build_joint("mlp", (2,), {"hidden": [8]}, classes=3, seed=0)
        >>> x = torch.tensor([[0.5, 0.5]])
        >>> joint(x).shape, joint.classify(x).shape
        (torch.Size([1]), torch.Size([1, 3]))
    """
    sides = sample_shape(shape)
    keep_all: dict[str, object] = {"outputs": classes, "logit": None} if spec in BUILDERS else {}
    network = _made(spec, sides, keep_all | dict(options or {}), seed)
    outputs = _outputs(network, sides)
    if outputs != (2, classes):
        raise ValueError(f"expected {classes} logits a sample from {spec}, one a class, got {outputs} for 2 samples")
    joint = Joint(network)
    check_detector(joint, example_of(sides))
    return joint


def _made(spec: str, shape: tuple[int, ...], options: dict[str, object], seed: int) -> nn.Module:
    if spec in BUILDERS:
        return _call(BUILDERS[spec], spec, shape, options, seed)
    with _working_directory_importable():
        return _call(_function(spec), spec, shape, options, seed)


def _call(
    builder: Callable[..., nn.Module], spec: str, shape: tuple[int, ...], options: dict[str, object], seed: int
) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        # the CPU's generator alone: torch.manual_seed would reseed the accelerators, which are not forked here
        torch.default_generator.manual_seed(seed)
        try:
            network = builder(shape, **options)
        except _REFUSALS as error:
            if spec not in BUILDERS and not isinstance(error, TypeError):
                raise  # whoever wrote the function wants to see where
            known = ", ".join(list(inspect.signature(builder).parameters)[1:]) or "none"
            raise ValueError(f"expected options of {spec} ({known}), got {options}: {one_line(error)}") from error
    if not isinstance(network, nn.Module):
        raise ValueError(f"expected a torch.nn.Module from {spec}, got {type(network).__name__}")
    return network


def _function(spec: str) -> Callable[..., nn.Module]:
    module, _, name = spec.partition(":")
    if not all(part.isidentifier() for part in (*module.split("."), name)):
        raise ValueError(f'expected a network {", ".join(BUILDERS)} or "package.module:function", got {spec}')
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ImportError as error:
        raise ValueError(f"expected a module {module} for the network {spec}, got {one_line(error)}") from error
    if not callable(found):
        raise ValueError(f"expected a function {spec}, got {found!r}")
    function: Callable[..., nn.Module] = found
    return function


@contextmanager
def _working_directory_importable() -> Iterator[None]:
    entry = str(Path.cwd())
    if entry in sys.path:
        yield
        return
    sys.path.append(entry)  # last, so that a file of the user's shadows no installed package
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(entry)


def _as_detector(network: nn.Module, shape: tuple[int, ...]) -> nn.Module:
    detector = from_classifier(network) if len(_outputs(network, shape)) == 2 else network
    check_detector(detector, example_of(shape))
    return detector


def _outputs(network: nn.Module, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of what a network makes of two samples."""
    with untraced(network, torch.device("cpu")), torch.no_grad():
        return tuple(outputs_of(network, torch.zeros(2, *shape)).shape)
