"""Reading a run folder back, a stranger's too."""

import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from genat import assemble, checkpoints, config, detection
from genat.checkpoints import Checkpoint
from genat.config import Config
from genat.detection import Calibration, Judged, Prediction
from genat.generation import Climbing, Rejection, one_of
from genat.networks import Committee, Joint
from genat.networks.bounded import Bounded
from genat.sources import Images, Skipped

CONFIG, CHECKPOINTS, CALIBRATION, HELD_OUT = "config.yaml", "checkpoints", "calibration.json", "held_out.safetensors"
_AT_ONCE = 256
_MOST_VALUES, _SLACK = 2**22, 2**16  # values of a sample, and of what a network makes beside weights and samples
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
        digest: SHA-256 of the weights, the one that `genat train` prints; empty where a run was not read from disk.
    """

    folder: Path
    config: Config
    detector: nn.Module
    shape: tuple[int, ...]
    iteration: int
    calibration: Calibration | None
    classes: tuple[str, ...] = ()
    digest: str = ""

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
            return Images(checkpoints.read_tensors(path)["images"], name="held out")
        except (ValueError, TypeError, KeyError) as error:
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


def load(folder: str | Path, *, device: torch.device | str = "cpu", say: Callable[[str], None] = lambda _: None) -> Run:
    """Read a run folder: the detector, its calibration and its configuration.

    It may be a stranger's: nothing in it is run, and no more memory is taken than its files account for. Where its
    network is a function that is not of this package, that function is called only where its module is imported
    already, or named in the environment's GENAT_CODE (several are parted by commas).

    Args:
        folder: as `genat train` made it.
        device: where the detector goes.
        say: called with a line for each newer checkpoint that cannot be read and is passed over.

    Raises:
        FileNotFoundError: where there is no run.
        ValueError: where its files cannot be read, or its network is code that nobody has asked for; one line that
            names the file.

    Example:
        >>> import tempfile
        >>> keys = ["iterations=2", "network_options.hidden=[8]", "outside=[{kind: uniform-noise}]"]
        >>> from genat.runs import train
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = train(config.load("digits", keys), folder)
        ...     run = load(folder)
        >>> run.shape, run.iteration
        ((1, 8, 8), 2)
    """
    folder = Path(folder)
    settings = read_config(folder)
    _check_code(folder, settings.network)
    checkpoint = checkpoints.latest(folder / CHECKPOINTS, passed_over=say)
    shape, classes = _described(folder, checkpoint)
    weights = checkpoint.part("ema") or checkpoint.part("model")
    try:
        with Bounded(2 * sum(weight.numel() for weight in weights.values()) + 8 * math.prod(shape) + _SLACK):
            detector = assemble.detector(settings.model_copy(update={"init": None}), shape, classes=len(classes))
    except ValueError as error:
        raise ValueError(f"{folder / CONFIG}: expected the network of the checkpoint's weights: {error}") from None
    try:
        detector.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{folder}: expected weights of network {settings.network}, got others: {reason}") from None
    detector = assemble.whole(detector, classes).to(device).eval().requires_grad_(False)
    digest = checkpoints.digest(_weights(checkpoint))
    calibration = detection.kept(folder / CALIBRATION, digest=digest)
    return Run(folder, settings, detector, shape, checkpoint.iteration, calibration, classes, digest)


def read_config(folder: Path) -> Config:
    """Return a run's configuration.

    Raises:
        FileNotFoundError: where there is no run.
        ValueError: where it cannot be read.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise FileNotFoundError(f"{folder}: expected a run folder, got one without {CONFIG}" if folder.is_dir() else
                                f"{folder}: expected a run folder, got none")  # fmt: skip
    return config.load(path)


def _check_code(folder: Path, network: str) -> None:
    """Refuse a network that is a function of a module which the person at the keyboard has not asked for."""
    module, separator, _ = network.partition(":")
    top = module.partition(".")[0]
    asked = module in os.environ.get("GENAT_CODE", "").split(",")
    if separator and not asked and (module not in sys.modules or top in sys.stdlib_module_names):
        raise ValueError(
            f"{folder / CONFIG}: expected a network of genat, got {network!r}, code that loading would run: "
            f"import {module} before, or set GENAT_CODE={module}, where you trust it"
        )


def _described(folder: Path, checkpoint: Checkpoint) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Return the shape of a sample and the classes that a checkpoint tells of."""
    try:
        shape = tuple(int(side) for side in checkpoint.state["shape"])
        classes = tuple(str(name) for name in checkpoint.state.get("classes", ()))
    except (KeyError, TypeError, ValueError, OverflowError):
        raise ValueError(f"{folder / CHECKPOINTS}: expected a checkpoint with the samples' shape, got none") from None
    if not 0 < math.prod(shape) <= _MOST_VALUES or min(shape, default=0) < 1:
        raise ValueError(f"{folder / CHECKPOINTS}: expected samples of 1 to {_MOST_VALUES} values, got shape {shape}")
    return shape, classes


def _weights(checkpoint: Checkpoint) -> dict[str, Tensor]:
    return {name: value for name, value in checkpoint.tensors.items() if name.startswith(("model.", "ema."))}
