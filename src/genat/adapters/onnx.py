"""Detectors as ONNX files, the logit and one step of its ascent, for programs without PyTorch; the extra `onnx`."""

import copy
import functools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from genat import checkpoints
from genat.adapters._graphs import Reading, Runner, content, runner, step, still
from genat.ascent import UNIT_BOX, Box, Rule, climb
from genat.balls import Ball, L2Ball, LinfBall
from genat.detection import Calibration
from genat.networks.layers import sample_shape
from genat.runs import Run

TOLERANCE = 1e-4
"""The largest difference between an ONNX file and its detector: of logits, and of pixels in [0, 1]."""

_NUDGE, _DRAWS, _MOST_UNDECIDED = 1e-5, 16, 0.1
_AT_ONCE = (1, 7, 16)  # batches that a file is tried on: any number must do
_PACKAGES = ("onnx", "onnxscript", "onnxruntime")


@dataclass(frozen=True, slots=True)
class Exported:
    """An ONNX file that was written.

    Attributes:
        path: where.
        size: in bytes.
        difference: the largest from the detector, of all outputs on random inputs, what is undecided left out.
        samples: how many inputs were compared.
        undecided: the share of the steps' entries that rounding decides, in PyTorch too, see `export_ascent_step`.
    """

    path: Path
    size: int
    difference: float
    samples: int
    undecided: float


def export_logit(
    detector: nn.Module | Run,
    path: str | Path,
    *,
    shape: Sequence[int] | None = None,
    box: Box | None = UNIT_BOX,
    name: str | None = None,
    samples: int = 64,
) -> Exported:
    """Write a detector's logit as an ONNX file, and compare the file with the detector.

    The input is "x", `(N, *shape)` float32 with any N; the outputs are "logit" `(N,)`, high in distribution, and of a
    `networks.Joint` or a `Committee` also "logits" `(N, K)` of the classes. The file's metadata say which detector it
    is: `genat.version`, `genat.name`, `genat.kind`, `genat.shape`, `genat.box`, `genat.digest` of the weights; of a run
    `genat.classes`, and `genat.threshold`, `genat.tpr` and `genat.calibration` (the held-out logits, rising).

    Args:
        detector: a module `(N, *) -> (N,)`, which is left as it is, or a run, which brings shape, box and name.
        path: of the file; its folder is made where it is missing.
        shape: of one sample; needed with a module, refused with a run.
        box: what the inputs are within, None for points anywhere.
        name: for the metadata; None is the run's, or the module's type.
        samples: how many random inputs to compare on: uniform in the box, or normal where there is none.

    Returns:
        What was written.

    Raises:
        ImportError: where onnx, onnxscript or onnxruntime is not installed.
        ValueError: where the detector is not one that ONNX can hold, or the file's outputs differ from the detector's
            by more than `TOLERANCE`; then nothing is written.

    Example:
        >>> from genat.networks import mlp
        >>> path = getfixture("tmp_path") / "logit.onnx"
        >>> written = export_logit(mlp(2, hidden=[8]), path, shape=(2,), box=None)
        >>> written.difference < 1e-5, written.undecided
        (True, 0.0)
        >>> import onnxruntime
        >>> session = onnxruntime.InferenceSession(path)
        >>> session.run(["logit"], {"x": torch.zeros(3, 2).numpy()})[0].shape
        (3,)
    """
    subject = _subject(detector, shape, box, name, samples)
    module = Reading(subject.detector)

    def apart(run: Runner, x: Tensor) -> Tensor:
        with torch.no_grad():
            pairs = zip(run({"x": x}), module(x), strict=True)
        return torch.cat([_apart(found, own) for found, own in pairs], dim=1)

    outputs = ["logit", "logits"][: len(module(subject.draw(1)))]
    inputs = {"x": subject.draw(_example(subject))}
    made = content(module, inputs, outputs, metadata=subject.metadata() | {"kind": "logit"})
    return _checked(made, Path(path), apart, subject.draw(samples))


def export_ascent_step(
    detector: nn.Module | Run,
    path: str | Path,
    *,
    shape: Sequence[int] | None = None,
    ball: Ball = L2Ball(),
    rule: Rule | None = None,
    step_size: float | None = None,
    box: Box | None = UNIT_BOX,
    name: str | None = None,
    samples: int = 64,
) -> Exported:
    r"""Write one step of `genat.ascend` as an ONNX file, so that a loop over it generates without PyTorch.

    .. math:: (x, s) \mapsto \bigl(f(x),\; \Pi_{box}\,\Pi_{ball}\,(x + s\,u(\nabla_x f(x)))\bigr)

    The inputs are "x", `(N, *shape)` float32 with any N, and "step_size" `()`; the outputs "logit" `(N,)`, at x, and
    "next" `(N, *shape)`. With a ball's radius a further input "starts" `(N, *shape)` is its centre. With the rule
    "adam", which remembers, "first" and "second" `(N, *shape)`, zero at first, and "count" `()`, 1 at the first step,
    go in, and "next_first" and "next_second" come out. A negative step size descends. Ball, box and rule are constants
    of the file; its metadata are those of `export_logit` and `genat.rule`, `genat.norm`, `genat.radius`,
    `genat.step_size`, and of a run `genat.steps` and `genat.shrink`, how it generates.

    The file is compared with the first two steps of `ascend`. At the kinks of ReLUs, where the gradient jumps, and at
    entries of the gradient near 0 whose sign makes the step, rounding decides, in PyTorch as in ONNX. An entry with a
    difference is called undecided where PyTorch's own steps change by a hundredth of `TOLERANCE` when each weight
    is changed by up to a hundred-thousandth of itself; more than a tenth of all is an error.

    Args:
        detector, path, shape, box, name, samples: as in `export_logit`.
        ball: an `L2Ball` or a `LinfBall`.
        rule: of the direction, see `ascend`; None is how a run generates, and "steepest" of a module.
        step_size: to compare at; None is the run's, and 0.1 of a module.

    Returns:
        What was written.

    Raises:
        ImportError, ValueError: as `export_logit`; and for a ball or a rule that there is not.

    Example:
        >>> path = getfixture("tmp_path") / "step.onnx"
        >>> plane = nn.Sequential(nn.Linear(2, 1, bias=False), nn.Flatten(0))
        >>> with torch.no_grad():
        ...     _ = plane[0].weight.copy_(torch.tensor([[3.0, 4.0]]))
        >>> written = export_ascent_step(plane, path, shape=(2,), box=None)
        >>> import onnxruntime
        >>> session = onnxruntime.InferenceSession(path)
        >>> session.run(None, {"x": torch.zeros(1, 2).numpy(), "step_size": torch.tensor(0.5).numpy()})
        [array([0.], dtype=float32), array([[0.3, 0.4]], dtype=float32)]
    """
    if not isinstance(ball, L2Ball | LinfBall):
        raise ValueError(f"expected an L2Ball or a LinfBall, got {type(ball).__name__}")
    subject = _subject(detector, shape, box, name, samples)
    way = detector.climbing() if isinstance(detector, Run) else None
    rule = rule or (way["rule"] if way else "steepest")
    size = step_size or (way["step_size"] if way else 0.1)
    walk = functools.partial(_walk, ball=ball, rule=rule, size=size, box=subject.box)
    walk(subject.detector, subject.draw(2))  # refuses what `ascend` does, before anything is traced
    inputs = _inputs(subject.draw(_example(subject)), size, ball, rule)
    graph = step(subject.detector, ball=ball, rule=rule, box=subject.box, inputs=inputs)

    def apart(run: Runner, x: Tensor) -> Tensor:
        own = walk(subject.detector, x)
        logit, points = _two_steps(run, _inputs(x, size, ball, rule), own[:, 0])
        with torch.no_grad():
            return torch.cat([_apart(logit, subject.detector(x)), _apart(points, own)], dim=1)

    def undecided(x: Tensor) -> Tensor:
        here, found = walk(subject.detector, x), torch.zeros(len(x), 1 + 2 * x[0].numel(), dtype=torch.bool)
        for other in _nudged(subject.detector):
            found[:, 1:] |= _apart(walk(other, x), here) > TOLERANCE / 100  # the logit, first, has no excuse
        return found

    told = {"kind": "ascent-step", "rule": rule, "norm": "l2" if isinstance(ball, L2Ball) else "linf"}
    told |= {"radius": json.dumps(ball.radius), "step_size": json.dumps(size)}
    told |= {"steps": json.dumps(way["steps"]), "shrink": json.dumps(way["shrink"])} if way else {}
    outputs = ["logit", "next", *(("next_first", "next_second") if rule == "adam" else ())]
    made = content(graph, inputs, outputs, metadata=subject.metadata() | told)
    return _checked(made, Path(path), apart, subject.draw(samples), undecided=undecided)


def _checked(
    made: bytes,
    path: Path,
    apart: Callable[[Runner, Tensor], Tensor],
    x: Tensor,
    *,
    undecided: Callable[[Tensor], Tensor] | None = None,
) -> Exported:
    """Write a file's content where it does as the detector does, and nothing where it does not."""
    run = runner(made)
    differences = torch.cat([apart(run, batch) for batch in torch.split(x, _batches(len(x)))])
    suspects, left_out = (differences > TOLERANCE).any(dim=1).nonzero()[:, 0], 0.0
    if len(suspects) and undecided is not None:
        excused = torch.zeros_like(differences, dtype=torch.bool)
        excused[suspects] = undecided(x[suspects]) & (differences[suspects] > TOLERANCE)
        left_out = excused.double().mean().item()
        differences = differences.masked_fill(excused, 0)
    difference = differences.max().item()
    if difference > TOLERANCE:
        raise ValueError(f"expected an ONNX file within {TOLERANCE:g} of its detector, got one {difference:.3g} apart")
    if left_out > _MOST_UNDECIDED:
        raise ValueError(
            f"expected a detector whose steps rounding does not decide, got one where it does for {left_out:.0%}"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    checkpoints.write_bytes(path, made)
    return Exported(path, len(made), difference, len(x), left_out)


@dataclass(frozen=True)
class _Subject:
    """What is exported: a still copy of the detector, and what the metadata tell of it."""

    detector: nn.Module
    shape: tuple[int, ...]
    box: Box | None
    name: str
    digest: str
    classes: tuple[str, ...]
    calibration: Calibration | None

    def draw(self, count: int) -> Tensor:
        """Return so many random inputs, the same ones each time."""
        generator = torch.Generator().manual_seed(0)
        if self.box is None:
            return torch.randn(count, *self.shape, generator=generator)
        low, high = self.box
        return (low + (high - low) * torch.rand(count, *self.shape, generator=generator)).clamp(low, high)

    def metadata(self) -> dict[str, str]:
        told = {
            "version": version("genat"),
            "name": self.name,
            "shape": json.dumps(self.shape),
            "box": json.dumps(self.box),
            "digest": self.digest,
        }
        if self.classes:
            told["classes"] = json.dumps(self.classes)
        if self.calibration is not None:
            told["threshold"] = json.dumps(self.calibration.threshold)
            told["tpr"] = json.dumps(self.calibration.tpr)
            told["calibration"] = json.dumps(self.calibration.logits.tolist())
        return told


def _subject(
    detector: nn.Module | Run, shape: Sequence[int] | None, box: Box | None, name: str | None, samples: int
) -> _Subject:
    missing = [package for package in _PACKAGES if find_spec(package) is None]
    if missing:
        raise ImportError(f"expected {', '.join(missing)}, got none: pip install 'genat[onnx]'")
    if samples < 1:
        raise ValueError(f"expected samples to be at least 1, got {samples}")
    if isinstance(detector, Run):
        if shape is not None:
            raise ValueError(f"expected no shape with a run, which has {detector.shape}, got {tuple(shape)}")
        of_module = _subject(detector.detector, detector.shape, UNIT_BOX, name or detector.config.name, samples)
        return replace(of_module, classes=detector.classes, calibration=detector.calibration)
    if shape is None:
        raise ValueError("expected the shape of one sample with a module, got none")
    kinds = {value.dtype for value in detector.state_dict().values() if value.is_floating_point()}
    if kinds - {torch.float32}:
        got = ", ".join(sorted(str(kind).removeprefix("torch.") for kind in kinds))
        raise ValueError(f"expected a detector of float32 weights, got {got}")
    digest = checkpoints.digest(detector.state_dict())
    title = name or type(detector).__name__
    subject = _Subject(still(detector), sample_shape(shape), box, title, digest, (), None)
    with torch.no_grad():
        logits = subject.detector(subject.draw(2))
    if not isinstance(logits, Tensor) or logits.shape != (2,):
        raise ValueError(f"expected a detector of logits (N,), got {tuple(logits.shape)} for 2 samples")
    return subject


def _inputs(x: Tensor, size: float, ball: Ball, rule: Rule) -> dict[str, Tensor]:
    """Return what the first step is given."""
    inputs = {"x": x, "step_size": torch.tensor(size)}
    if ball.radius is not None:
        inputs["starts"] = x.clone()
    if rule == "adam":
        inputs |= {"first": torch.zeros_like(x), "second": torch.zeros_like(x), "count": torch.tensor(1.0)}
    return inputs


def _two_steps(run: Runner, inputs: dict[str, Tensor], then: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logits `(N,)` at x, and the points after a step from x and after the next one from `then`."""
    logit, first, *moments = run(inputs)
    after = inputs | {"x": then}  # PyTorch's own, so that what rounding decided in one step is not met in the next
    if moments:
        after |= {"first": moments[0], "second": moments[1], "count": inputs["count"] + 1}
    return logit, torch.stack([first, run(after)[1]], dim=1)


def _walk(detector: nn.Module, x: Tensor, *, ball: Ball, rule: Rule, size: float, box: Box | None) -> Tensor:
    """Return the points after one step and after two, `(N, 2, *)`, by PyTorch."""
    climbed = climb(detector, x, steps=2, step_size=size, ball=ball, rule=rule, box=box, trajectory=True)
    assert climbed.trajectory is not None, "asked for"
    return climbed.trajectory[1:].movedim(0, 1)


def _nudged(detector: nn.Module) -> Iterator[nn.Module]:
    """Yield copies of a detector whose weights differ from its own by next to nothing, as rounding differs."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(_DRAWS):
        other = copy.deepcopy(detector)
        for weights in other.parameters():
            weights.mul_(1 + _NUDGE * (2 * torch.rand(weights.shape, generator=generator) - 1))
        yield other


def _apart(one: Tensor, other: Tensor) -> Tensor:
    """Return how far apart each sample's entries are, `(N, -1)`; of what is not finite, infinity."""
    apart = (one - other).abs().reshape(len(one), -1)
    return apart.masked_fill(~apart.isfinite(), torch.inf)


def _example(subject: _Subject) -> int:
    """Return how many samples to trace with: no side's length, for PyTorch takes equal numbers for one and the same."""
    return max(subject.shape) + 1


def _batches(samples: int) -> list[int]:
    """Return the sizes of batches that make up so many samples."""
    sizes: list[int] = []
    while sum(sizes) < samples:
        sizes.append(min(_AT_ONCE[min(len(sizes), len(_AT_ONCE) - 1)], samples - sum(sizes)))
    return sizes
