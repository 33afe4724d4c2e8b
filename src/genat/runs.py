"""A run folder: all that a training leaves behind, and all that the other commands need.

`config.yaml`, `metrics.jsonl`, `incidents.jsonl`, `checkpoints/`, `calibration.json`, `held_out.safetensors`,
`samples/`, `evaluation/`, `report.html`.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from genat import assemble, checkpoints, config, detection
from genat.balls import L2Ball
from genat.checkpoints import Checkpoint
from genat.config import Config
from genat.detection import Calibration, Prediction
from genat.sources import Images, Source
from genat.training import Fitted, Incident, Step, fit
from genat.training.devices import one_device
from genat.training.trainer import incidents_of

CONFIG, METRICS, CHECKPOINTS, CALIBRATION = "config.yaml", "metrics.jsonl", "checkpoints", "calibration.json"
INCIDENTS, HELD_OUT = "incidents.jsonl", "held_out.safetensors"
_SHOWN = 64


@dataclass(frozen=True)
class Run:
    """A run folder, read back.

    Attributes:
        folder: where it is.
        config: how it was trained.
        detector: the running mean of the weights where one was kept, else the last; in eval mode, frozen.
        shape: of one sample, `(C, H, W)`.
        iteration: training steps behind these weights.
        calibration: on held-out target images; None where the training has not ended.
    """

    folder: Path
    config: Config
    detector: nn.Module
    shape: tuple[int, ...]
    iteration: int
    calibration: Calibration | None

    @property
    def threshold(self) -> float:
        """The logit at and above which an input counts as in distribution.

        Raises:
            ValueError: where the training has not ended.
        """
        return self._calibrated().threshold

    def predict(self, images: Tensor) -> Prediction:
        """Return score, p-value and verdict for images `(N, C, H, W)` in [0, 1].

        Raises:
            ValueError: where the images have another shape or range, or the training has not ended.
        """
        if tuple(images.shape[1:]) != self.shape:
            raise ValueError(f"expected images (N, {', '.join(map(str, self.shape))}), got {tuple(images.shape)}")
        if len(images) and not (images.min() >= 0 and images.max() <= 1):
            raise ValueError(f"expected images in [0, 1], got {images.min().item():.6g} to {images.max().item():.6g}")
        device = next(self.detector.parameters()).device
        return self._calibrated().predict(detection.logits(self.detector, images.to(device)))

    def held_out(self) -> Images:
        """Return up to 64 target images that were held out of training, to show beside what was made.

        Raises:
            ValueError: where the training has not ended, or the file cannot be read.
        """
        self._calibrated()
        path = self.folder / HELD_OUT
        try:
            return Images(load_file(path)["images"], name="held out")
        except (OSError, SafetensorError, KeyError) as error:
            raise ValueError(f"{path}: expected held-out images, got a file that cannot be read: {error}") from None

    def _calibrated(self) -> Calibration:
        if self.calibration is None:
            raise ValueError(
                f"{self.folder}: expected a finished training, got one at step {self.iteration}: resume it"
            )
        return self.calibration


def load(folder: str | Path, *, device: torch.device | str = "cpu") -> Run:
    """Read a run folder: the detector, its calibration and its configuration.

    Args:
        folder: as `genat train` made it.
        device: where the detector goes.

    Raises:
        FileNotFoundError: where there is no run.
        ValueError: where its files cannot be read; one line that names the file.

    Example:
        >>> import tempfile
        >>> keys = ["iterations=2", "network_options.hidden=[8]", "outside=[{kind: uniform-noise}]"]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = train(config.load("digits", keys), folder)
        ...     run = load(folder)
        >>> run.shape, run.iteration
        ((1, 8, 8), 2)
    """
    folder = Path(folder)
    settings = _read_config(folder)
    checkpoint = checkpoints.latest(folder / CHECKPOINTS)
    shape = _shape(folder, checkpoint)
    detector = assemble.detector(settings.model_copy(update={"init": None}), shape)
    weights = checkpoint.part("ema") or checkpoint.part("model")
    try:
        detector.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{folder}: expected weights of network {settings.network}, got others: {reason}") from None
    detector = detector.to(device).eval().requires_grad_(False)
    return Run(folder, settings, detector, shape, checkpoint.iteration, _read_calibration(folder, checkpoint))


def train(
    settings: Config,
    folder: str | Path,
    *,
    resume: bool = False,
    callback: Callable[[Step], None] | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> tuple[Run, Fitted]:
    """Train as configured into a run folder, then calibrate on held-out target images.

    Everything that can be wrong with the configuration and the data is found before the folder is touched.

    Args:
        settings: the configuration.
        folder: of the run; new, unless it is resumed.
        resume: go on from the newest readable checkpoint; the configuration must be the run's own.
        callback: called with a `Step` after each step.
        say: called with each line worth telling a person: what was converted, where the training went on, what its
            watch saw for the first time, where it went back, and how often in all.

    Returns:
        The run as `load` reads it, and what `genat.fit` returned.

    Raises:
        ValueError: where the configuration, the data or the folder does not fit.
        FileNotFoundError: where there is nothing to resume.
        DivergenceError: where the watch sees what the configuration stops at.
    """
    folder = Path(folder)
    _check_folder(folder, settings, resume=resume)
    checkpoint = checkpoints.latest(folder / CHECKPOINTS) if resume else None
    data = assemble.target(settings)
    outside = assemble.outside(settings, data.train.shape, data)
    target = data.train.with_augmentation(assemble.augmentation(settings.augment))
    if settings.tensorboard:
        _summary_writer()
    detector = assemble.detector(settings, data.train.shape).to(assemble.device(settings))
    for note in data.train.notes:
        say(note)
    say(f"{len(data.train)} images {data.train.shape} to learn from, {len(data.validation)} held out")
    if checkpoint is not None:
        say(f"resumed after step {checkpoint.iteration}")
    folder.mkdir(parents=True, exist_ok=True)
    checkpoints.write_text(folder / CONFIG, config.dump(settings))
    with ExitStack() as stack:
        record = stack.enter_context(_Recorder(folder, checkpoint, tensorboard=settings.tensorboard, say=say))
        fitted = _fit(
            settings,
            folder=folder,
            detector=detector,
            target=target,
            outside=outside,
            resume=checkpoint or False,
            callback=_both(record.step, callback),
            alarm=record.incident,
        )
    for line in _often(fitted.incidents, folder / INCIDENTS):
        say(line)
    _calibrate(folder, settings, fitted, data.validation)
    return load(folder), fitted


def metrics(folder: str | Path) -> list[dict[str, float]]:
    """Return the records of a run's training, one a step.

    Raises:
        FileNotFoundError: where there are none.
        ValueError: where a line is not JSON.
    """
    return _lines(Path(folder) / METRICS)


def incidents(folder: str | Path) -> list[Incident]:
    """Return what the watch over a run's training saw, in order; nothing where the run is older than the watch.

    Raises:
        ValueError: where a line is no incident.
    """
    path = Path(folder) / INCIDENTS
    try:
        return [Incident(**line) for line in _lines(path)] if path.exists() else []
    except TypeError as error:
        raise ValueError(f"{path}: expected an incident a line, got another: {error}") from None


def _lines(path: Path) -> list[dict[str, Any]]:
    whole, _, _ = path.read_text(encoding="utf-8").rpartition("\n")  # a line that is being written, or torn, is left
    try:
        return [json.loads(line) for line in whole.splitlines()]
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: expected one JSON object a line, got {error}") from None


def _fit(
    settings: Config,
    *,
    folder: Path,
    detector: nn.Module,
    target: Source,
    outside: Source,
    resume: bool | Checkpoint,
    callback: Callable[[Step], None],
    alarm: Callable[[Incident], None],
) -> Fitted:
    return fit(
        detector,
        target,
        outside,
        iterations=settings.iterations,
        batch_size=settings.batch_size,
        steps=settings.steps.build(),
        step_size=settings.step_size,
        shrink=settings.shrink,
        ball=settings.ball.build(),
        rule=settings.rule,
        random_start=settings.random_start,
        descent_steps=settings.descent.steps,
        descent_ball=L2Ball(settings.descent.radius),
        r1=settings.r1,
        optimizer=assemble.optimizer(settings),
        ema=settings.ema,
        clip_norm=settings.clip_norm,
        anneal=settings.anneal,
        seed=settings.seed,
        fabric=one_device(assemble.device(settings), precision=settings.precision),
        folder=folder / CHECKPOINTS,
        checkpoint_every=settings.checkpoint_every,
        resume=resume,
        health=assemble.health(settings),
        callback=callback,
        alarm=alarm,
    )


def _both(first: Callable[[Step], None], second: Callable[[Step], None] | None) -> Callable[[Step], None]:
    def call(step: Step) -> None:
        first(step)
        if second is not None:
            second(step)

    return call


class _Recorder:
    """Writes each step to `metrics.jsonl`, and to TensorBoard's events where asked, and what was seen beside them.

    What a checkpoint holds is what is on disk: steps after it, which come again, are taken out.
    """

    def __init__(
        self, folder: Path, checkpoint: Checkpoint | None, *, tensorboard: bool, say: Callable[[str], None]
    ) -> None:
        self.folder, self.tensorboard, self.say = folder, tensorboard, say
        self.said: set[str] = set()
        seen = incidents_of(checkpoint) if checkpoint is not None else ()
        checkpoints.write_text(folder / INCIDENTS, "".join(_line(incident) for incident in seen))
        self._open(after=0 if checkpoint is None else checkpoint.iteration)

    def __enter__(self) -> "_Recorder":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        if self.writer is not None:
            self.writer.close()

    def step(self, step: Step) -> None:
        values = {name: value for name, value in asdict(step).items() if name != "members"}  # a run is of one detector
        self.file.write(json.dumps(values) + "\n")
        if self.writer is not None:
            for name, value in values.items():
                self.writer.add_scalar(f"training/{name}", value, step.iteration)

    def incident(self, incident: Incident) -> None:
        with (self.folder / INCIDENTS).open("a", encoding="utf-8") as file:
            file.write(_line(incident))
        if incident.back_to is not None:
            self.__exit__()
            self._open(after=incident.back_to)
        new = incident.kind not in self.said and incident.action == "continue"  # a stop is told by the error
        if new or incident.action == "back-off":
            self.said.add(incident.kind)
            self.say(str(incident))

    def _open(self, *, after: int) -> None:
        path = self.folder / METRICS
        kept = [line for line in metrics(self.folder) if line["iteration"] <= after] if after and path.exists() else []
        checkpoints.write_text(path, "".join(json.dumps(line) + "\n" for line in kept))
        self.file = path.open("a", encoding="utf-8", buffering=1)
        events = str(self.folder / "events")
        self.writer = _summary_writer()(events, purge_step=after + 1) if self.tensorboard else None


def _line(incident: Incident) -> str:
    return json.dumps(asdict(incident)) + "\n"


def _often(seen: Sequence[Incident], path: Path) -> Iterator[str]:
    """Return a line for each kind of incident that there was more than one of."""
    for kind in dict.fromkeys(incident.kind for incident in seen):
        of_kind = [incident for incident in seen if incident.kind == kind]
        if len(of_kind) > 1:
            yield f"{kind}: {len(of_kind)} times, all in {path}; the last: {of_kind[-1]}"


def _summary_writer() -> Any:  # noqa: ANN401 - an optional library's type
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ValueError("tensorboard: expected the extra, got none installed: pip install 'genat[log]'") from None
    return SummaryWriter


def _calibrate(folder: Path, settings: Config, fitted: Fitted, held_out: Images) -> None:
    evenly = torch.linspace(0, len(held_out) - 1, min(_SHOWN, len(held_out)), dtype=torch.float64).long()
    save_file({"images": held_out.take(evenly).pixels.contiguous()}, folder / HELD_OUT)
    device = next(fitted.detector.parameters()).device
    calibration = detection.calibrate(fitted.detector, held_out.tensor().to(device), tpr=settings.tpr)
    content = {"tpr": calibration.tpr, "digest": fitted.digest, "logits": calibration.logits.tolist()}
    checkpoints.write_text(folder / CALIBRATION, json.dumps(content) + "\n")


def _read_config(folder: Path) -> Config:
    path = folder / CONFIG
    if not path.is_file():
        raise FileNotFoundError(f"{folder}: expected a run folder, got one without {CONFIG}" if folder.is_dir() else
                                f"{folder}: expected a run folder, got none")  # fmt: skip
    return config.load(path)


def _shape(folder: Path, checkpoint: Checkpoint) -> tuple[int, ...]:
    try:
        return tuple(int(side) for side in checkpoint.state["shape"])
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"{folder / CHECKPOINTS}: expected a checkpoint with the samples' shape, got none") from None


def _read_calibration(folder: Path, checkpoint: Checkpoint) -> Calibration | None:
    """Return the calibration of these weights; None where there is none, or it is that of others."""
    path = folder / CALIBRATION
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["digest"] != checkpoints.digest(_weights(checkpoint)):
            return None
        return Calibration(torch.tensor(content["logits"], dtype=torch.float64), tpr=content["tpr"])
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: expected a calibration, got a file that cannot be read as one: {error}") from None


def _weights(checkpoint: Checkpoint) -> dict[str, Tensor]:
    return {name: value for name, value in checkpoint.tensors.items() if not name.startswith("optimizer.")}


def _check_folder(folder: Path, settings: Config, *, resume: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder}: expected a folder for the run, got a file")
    if resume:
        before = _read_config(folder)
        if before != settings:
            old, new = before.model_dump(), settings.model_dump()
            keys = ", ".join(key for key in old if old[key] != new[key])
            raise ValueError(f"{folder}: expected to resume with the run's own configuration, got another {keys}")
    elif (folder / CONFIG).exists() or any((folder / CHECKPOINTS).glob("step-*.json")):
        raise ValueError(f"{folder}: expected a new folder, got a run: pass --resume to go on with it")
