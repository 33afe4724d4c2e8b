"""What `genat detect --certify` adds: bounds under every perturbation, of the smoothed detector."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genat.cli.arguments import say

if TYPE_CHECKING:
    from torch import Tensor

    from genat.detection import Judged
    from genat.runs import Run


@dataclass(frozen=True)
class Certificate:
    """How images are certified.

    Attributes:
        radius: L2, pixels in [0, 1].
        sigma: of the noise.
        draws: of noise an image.
        seed: of the noise.
        held_out: a folder of target images to calibrate by; None is the run's own.
    """

    radius: float
    sigma: float
    draws: int
    seed: int
    held_out: Path | None


def asked_for(
    radius: float | None, *, sigma: float | None, draws: int | None, seed: int | None, held_out: Path | None
) -> Certificate | None:
    """Return how to certify; None where nobody asked.

    Noise of the radius' own size is the default: bounds are then the 16th and 84th percentiles of the noisy logits.
    Less noise needs percentiles that few draws reach, more noise leaves less of the image.

    Raises:
        ValueError: for an option that belongs to certificates, without a radius.
    """
    if radius is not None:
        return Certificate(
            radius=radius,
            sigma=radius if sigma is None else sigma,
            draws=1000 if draws is None else draws,
            seed=seed or 0,
            held_out=held_out,
        )
    for name, value in (("--sigma", sigma), ("--draws", draws), ("--seed", seed), ("--held-out", held_out)):
        if value is not None:
            raise ValueError(f"expected --certify with {name}, got {name} alone")
    return None


def certifier(
    run: "Run", how: Certificate, *, alpha: float | None
) -> tuple[Callable[["Judged"], dict[str, Any]], dict[str, Any]]:
    """Return what gives the columns of a judged image, and a record of how; says once what is certified.

    The smoothed logit is calibrated on held-out images, smoothed the same way.

    Raises:
        ValueError: before anything is computed, where nothing could be certified or rejected, or a held-out image
            cannot be read.
    """
    import torch

    from genat.detection import Calibration
    from genat.detection.smoothing import CONFIDENCE, bounds, medians, noisy_logits, robust_p_values

    held_out = run.held_out().tensor() if how.held_out is None else _read(how.held_out, run.shape)
    device = next(run.detector.parameters()).device

    def level(calibration: Calibration) -> float:
        return calibration.threshold if alpha is None else calibration.threshold_at(alpha)

    def noisy(images: "Tensor") -> "Tensor":
        return noisy_logits(run.detector, images.to(device), sigma=how.sigma, draws=how.draws, seed=how.seed)

    blank = Calibration(torch.zeros(len(held_out)))
    level(blank)
    robust_p_values(blank, torch.zeros(1, how.draws), sigma=how.sigma, radius=how.radius)
    bounds(torch.zeros(1, how.draws), sigma=how.sigma, radius=how.radius)
    calibration = Calibration(medians(noisy(held_out)), tpr=run.config.tpr)
    threshold = level(calibration)

    def columns(one: "Judged") -> dict[str, Any]:
        rows = noisy(one.image[None])
        low, high = (bound.item() for bound in bounds(rows, sigma=how.sigma, radius=how.radius))
        middle = medians(rows)
        return {
            "smoothed_score": -middle.item(),
            "smoothed_p_value": calibration.p_values(middle).item(),
            "lowest_score": -high,
            "highest_score": -low,
            "robust_p_value": robust_p_values(calibration, rows, sigma=how.sigma, radius=how.radius).item(),
            "certified": "out" if high < threshold else "in" if low >= threshold else "neither",
        }

    say(
        f"certificates are of the smoothed detector, the median logit under noise of standard deviation {how.sigma:g}, "
        f"calibrated on {len(held_out)} held-out images: in from a logit of {threshold:.4f}"
    )
    say(
        f"certified out (in): no change of L2 length {how.radius:g} or less gets the image accepted (rejected), with "
        f"probability {CONFIDENCE:g} over {how.draws} draws of noise, if the image was chosen not knowing their seed"
    )
    record = asdict(how) | {"confidence": CONFIDENCE, "threshold": threshold, "held_out": len(held_out)}
    return columns, record


def _read(folder: Path, shape: tuple[int, ...]) -> "Tensor":
    import torch

    from genat.sources import Skipped, find_images, read_batches

    parts = []
    for one in read_batches(find_images([folder]), shape=shape, batch_size=256):
        if isinstance(one, Skipped):
            raise ValueError(f"--held-out: {one.reason}")
        parts.append(one.images)
    if not parts:
        raise ValueError(f"expected held-out images in the folder {str(folder)!r}, got none")
    return torch.cat(parts)
