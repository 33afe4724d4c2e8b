"""Judging image files without end."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from genat.ascent import Detector
from genat.detection.calibration import Calibration
from genat.detection.scores import logits
from genat.sources import Batch, Skipped, read_batches


class Judged(NamedTuple):
    """What a calibrated detector says of a file.

    Attributes:
        path: of the file.
        score: OOD score, the negated logit: high out of distribution.
        p_value: conformal, in (0, 1]; small is out of distribution.
        in_distribution: the verdict.
        image: `(C, H, W)` float32 in [0, 1], as the detector took it.
        notes: what was converted, as in "resized to 28 x 28".
    """

    path: str
    score: float
    p_value: float
    in_distribution: bool
    image: Tensor
    notes: tuple[str, ...]


def stream(
    detector: Detector,
    calibration: Calibration,
    files: Iterable[str | Path | Skipped],
    *,
    shape: tuple[int, ...],
    batch_size: int = 64,
    alpha: float | None = None,
    device: torch.device | str = "cpu",
) -> Iterator[Judged | Skipped]:
    """Judge files one after another, in constant memory: a batch is read when it is asked for.

    Args:
        detector: `(N, *) -> (N,)`.
        calibration: of this detector.
        files: paths, such as `genat.sources.find_images` finds them; taken as needed.
        shape: `(C, H, W)` that the detector takes; files are converted as by `genat.sources.load_image`.
        batch_size: files read and judged at a time, at least 1.
        alpha: reject where the p-value is at most this level; None judges by the calibration's threshold.
        device: where the detector is.

    Yields:
        A `Judged` for each file, in order. A `Skipped` for each that cannot be read, or whose logit is not finite: as
        soon as it is found, which may be before files of the same batch that precede it.

    Raises:
        ValueError: before anything is read, where the shape or batch_size is out of range, or alpha as for
            `Calibration.threshold_at`.

    Example:
        >>> calibration = Calibration(torch.arange(19.0))
        >>> found = stream(lambda x: x.flatten(1).sum(1), calibration, ["missing.png"], shape=(1, 8, 8))
        >>> [type(one).__name__ for one in found]
        ['Skipped']
    """
    if alpha is not None:
        calibration.threshold_at(alpha)
    batches = read_batches(files, shape=shape, batch_size=batch_size)
    return _judge(detector, calibration, batches, alpha, torch.device(device))


def _judge(
    detector: Detector,
    calibration: Calibration,
    batches: Iterator[Batch | Skipped],
    alpha: float | None,
    device: torch.device,
) -> Iterator[Judged | Skipped]:
    for batch in batches:
        if isinstance(batch, Skipped):
            yield batch
            continue
        values = logits(detector, batch.images.to(device), batch_size=len(batch.images)).cpu()
        finite = values.isfinite()
        found = calibration.predict(values.where(finite, 0.0), alpha=alpha)
        for i, path in enumerate(batch.paths):
            if not finite[i]:
                yield Skipped(path, f"expected a finite logit of {path!r}, got {values[i].item()}")
                continue
            p, verdict = found.p_value[i].item(), bool(found.in_distribution[i])
            yield Judged(path, -values[i].item(), p, verdict, batch.images[i], batch.notes[i])
