"""What `genat detect --maps` draws: each image beside the map of its evidence."""

import itertools
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from genat.cli.arguments import verdict

if TYPE_CHECKING:
    from genat.detection import Judged
    from genat.runs import Run

_LONGEST = 200  # of a file's name within a picture's, in bytes; file systems take 255 in all


def mapper(run: "Run", folder: Path, *, walked: Sequence[str]) -> Callable[["Judged"], str]:
    """Return what draws a judged image and its map into a PNG, numbered and named after it, and returns the PNG's path.

    Raises:
        ValueError: where the folder is a file, or within one that is walked, so that pictures would be judged.
    """
    from genat import plots
    from genat.detection import evidence

    if folder.exists() and not folder.is_dir():
        raise ValueError(f"expected a folder for --maps, got {str(folder)!r}, which is a file")
    for name in walked:
        if Path(name).is_dir() and folder.resolve().is_relative_to(Path(name).resolve()):
            raise ValueError(f"expected --maps outside of {name!r}, got {str(folder)!r}: its pictures would be judged")
    device, number = next(run.detector.parameters()).device, itertools.count()

    def draw(one: "Judged") -> str:
        stem = os.fsdecode(os.fsencode(Path(one.path).stem)[:_LONGEST])
        folder.mkdir(parents=True, exist_ok=True)  # here, so that what is refused leaves none
        path = folder / f"{next(number):05d}-{stem}.png"
        values = evidence.occluded(run.detector, one.image[None].to(device))[0]
        title = f"{verdict(inside=one.in_distribution)}  score {one.score:.2f}  p {one.p_value:.4f}"
        path.write_bytes(plots.evidence(one.image, values, title=title))
        return str(path)

    return draw
