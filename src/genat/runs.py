"""A run folder: all that a training leaves behind, and all that the other commands need.

`config.yaml`, `metrics.jsonl`, `incidents.jsonl`, `checkpoints/`, `calibration.json`, `held_out.safetensors`,
`samples/`, `samples-gan/`, `evaluation/`, `report.html`.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from genat import assemble, checkpoints, config, detection
from genat.balls import L2Ball
from genat.checkpoints import Checkpoint
from genat.config import Config
from genat.detection import Calibration, Judged, Prediction
from genat.generation import Climbing, Rejection, one_of
from genat.networks import Committee, Joint, Together
from genat.sources import Images, Skipped, Source
from genat.training import Fitted, Incident, Step, fit
from genat.training.devices import one_device
from genat.training.recording import INCIDENTS, METRICS, Recorder, incidents, metrics, repeated, summary_writer

__all__ = [
    "CALIBRATION",
    "CHECKPOINTS",
    "CONFIG",
    "HELD_OUT",
    "INCIDENTS",
    "METRICS",
    "Run",
    "incidents",
    "load",
    "metrics",
    "train",
]

CONFIG, CHECKPOINTS, CALIBRATION, HELD_OUT = "config.yaml", "checkpoints", "calibration.json", "held_out.safetensors"
_SHOWN, _AT_ONCE = 64, 256
_CEILING = 0.95  # of held-out target images, those whose logits stay below what samples are judged by


@dataclass(frozen=True)
class Run:
    """A run folder, read back.

    Attributes:
        folder: where it is.
        config: how it was trained.
        detector: the running mean of the weights where one was kept, else the last; in eval mode, frozen. Of a
            committee its largest logit.
        shape: of one sample, `(C, H, W)`.
        iteration: training steps behind these weights.
        calibration: on held-out target images; None where the training has not ended.
        classes: names of the classes that a joint run or a committee tells apart; none for a run of a detector alone.
    """

    folder: Path
    config: Config
    detector: nn.Module
    shape: tuple[int, ...]
    iteration: int
    calibration: Calibration | None
    classes: tuple[str, ...] = ()

    @property
    def threshold(self) -> float:
        """The logit at and above which an input counts as in distribution.

        Raises:
            ValueError: where the training has not ended.
        """
        return self._calibrated().threshold

    def predict(self, images: Tensor, *, alpha: float | None = None) -> Prediction:
        """Return score, p-value and verdict for images `(N, C, H, W)` in [0, 1]; by level alpha, or the threshold.

        Raises:
            ValueError: where the images have another shape or range, the training has not ended, or alpha is refused.
        """
        return self._calibrated().predict(detection.logits(self.detector, self._checked(images)), alpha=alpha)

    def detect(
        self, files: Iterable[str | Path | Skipped], *, batch_size: int = 64, alpha: float | None = None
    ) -> Iterator[Judged | Skipped]:
        """Judge image files one after another, in constant memory, as `genat.detection.stream` does.

        Raises:
            ValueError: where the training has not ended, or an argument is refused.
        """
        calibration, device = self._calibrated(), next(self.detector.parameters()).device
        return detection.stream(
            self.detector, calibration, files, shape=self.shape, batch_size=batch_size, alpha=alpha, device=device
        )

    def classify(self, images: Tensor) -> Tensor:
        """Return the classes' logits of images `(N, C, H, W)` in [0, 1].

        Returns:
            `(N, K)` float64, a column for each of `classes`: the softmax of a row is the probability of each class,
            for an image of the target; of a committee with a uniform prior.

        Raises:
            ValueError: where the run is of a detector alone, or the images have another shape or range.
        """
        joint, images = self._of_classes(), self._checked(images)
        with torch.no_grad():
            return torch.cat([joint.classify(batch).double() for batch in torch.split(images, _AT_ONCE)])

    def climbing(
        self,
        *,
        steps: int | None = None,
        step_size: float | None = None,
        shrink: float | None = None,
        stop_at: float | None = None,
        strength: float = 1.0,
    ) -> Climbing:
        """Return how the run climbs to generate, as its configuration says and a person turns it.

        Args:
            steps, step_size, shrink: of a climb; None is the configuration's own.
            stop_at, strength: as in `genat.generation.Climbing`.
        """
        own = self.config.sampling
        return Climbing(
            steps=steps or own.steps,
            step_size=step_size or own.step_size,
            shrink=shrink or own.shrink,
            rule=own.rule or self.config.rule,
            restart=assemble.restart(self.config),
            stop_at=stop_at,
            strength=strength,
        )

    def rejection(self, *, tries: int | None = None) -> Rejection | None:
        """Return which climbs are kept as samples; None where every one is.

        Args:
            tries: the most climbs a sample; None is the configuration's own.

        Raises:
            ValueError: where more than one climb is asked for and the training has not ended, so that there are no
                held-out images to judge a climb's logit by.
        """
        tries = tries or self.config.sampling.tries
        if tries == 1:
            return None
        return Rejection(self._calibrated().logits.quantile(_CEILING).item(), tries)

    def of_class(self, kind: str | int) -> nn.Module:
        """Return the detector of one class, to generate with: the committee's, or the joint network's logit for it.

        Args:
            kind: one of `classes`, or its index.

        Raises:
            ValueError: where the run is of a detector alone, or has no such class.
        """
        return one_of(self._of_classes(), self.class_index(kind))

    def class_index(self, kind: str | int) -> int:
        """Return the index of one of `classes`, named or already an index.

        Raises:
            ValueError: where the run is of a detector alone, or has no such class.
        """
        self._of_classes()
        if isinstance(kind, str) and kind in self.classes:
            return self.classes.index(kind)
        if isinstance(kind, int) and 0 <= kind < len(self.classes):
            return kind
        raise ValueError(f"expected a class of {', '.join(self.classes)} or its index, got {kind!r}")

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

    def _of_classes(self) -> Joint | Committee:
        if not isinstance(self.detector, Joint | Committee):
            raise ValueError(
                f"{self.folder}: expected a committee or a run trained with classify, got one of a detector alone"
            )
        return self.detector

    def _checked(self, images: Tensor) -> Tensor:
        """Refuse images of another shape or range, and return them on the detector's device."""
        if tuple(images.shape[1:]) != self.shape:
            raise ValueError(f"expected images (N, {', '.join(map(str, self.shape))}), got {tuple(images.shape)}")
        if len(images) and not (images.min() >= 0 and images.max() <= 1):
            raise ValueError(f"expected images in [0, 1], got {images.min().item():.6g} to {images.max().item():.6g}")
        return images.to(next(self.detector.parameters()).device)

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
    shape, classes = _shape(folder, checkpoint), tuple(checkpoint.state.get("classes", ()))
    detector = assemble.detector(settings.model_copy(update={"init": None}), shape, classes=len(classes))
    weights = checkpoint.part("ema") or checkpoint.part("model")
    try:
        detector.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{folder}: expected weights of network {settings.network}, got others: {reason}") from None
    detector = assemble.whole(detector, classes).to(device).eval().requires_grad_(False)
    calibration = detection.kept(folder / CALIBRATION, digest=checkpoints.digest(_weights(checkpoint)))
    return Run(folder, settings, detector, shape, checkpoint.iteration, calibration, classes)


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
    target, outside = assemble.learned(settings, data)
    if settings.tensorboard:
        summary_writer()
    detector = assemble.detector(settings, data.train.shape, classes=len(data.train.classes))
    detector = detector.to(assemble.device(settings))
    for note in data.train.notes:
        say(note)
    say(f"{len(data.train)} images {data.train.shape} to learn from, {len(data.validation)} held out")
    if checkpoint is not None:
        say(f"resumed after step {checkpoint.iteration}")
    folder.mkdir(parents=True, exist_ok=True)
    checkpoints.write_text(folder / CONFIG, config.dump(settings))
    with ExitStack() as stack:
        record = stack.enter_context(Recorder(folder, checkpoint, tensorboard=settings.tensorboard, say=say))
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
    for line in repeated(fitted.incidents, folder):
        say(line)
    _calibrate(folder, settings, fitted, data)
    return load(folder), fitted


def _fit(
    settings: Config,
    *,
    folder: Path,
    detector: nn.Module,
    target: Source | list[Source],
    outside: Source | list[Source],
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
        classify=None if settings.classify is None else settings.classify.build(),
        optimizer=assemble.optimizer(settings),
        ema=settings.ema,
        replay=None if settings.replay is None else settings.replay.build(),
        clip_norm=settings.clip_norm,
        anneal=settings.anneal,
        seed=assemble.seeds(settings, detector.members) if isinstance(detector, Together) else settings.seed,
        fabric=one_device(assemble.device(settings), precision=assemble.precision(settings)),
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


def _calibrate(folder: Path, settings: Config, fitted: Fitted, data: assemble.Data) -> None:
    held_out = data.validation
    evenly = torch.linspace(0, len(held_out) - 1, min(_SHOWN, len(held_out)), dtype=torch.float64).long()
    save_file({"images": held_out.take(evenly).pixels.contiguous()}, folder / HELD_OUT)
    device = next(fitted.detector.parameters()).device
    detector = assemble.whole(fitted.detector, data.train.classes)
    calibration = detection.calibrate(detector, held_out.tensor().to(device), tpr=settings.tpr)
    detection.keep(calibration, folder / CALIBRATION, digest=fitted.digest)


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


def _weights(checkpoint: Checkpoint) -> dict[str, Tensor]:
    return {name: value for name, value in checkpoint.tensors.items() if name.startswith(("model.", "ema."))}


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
