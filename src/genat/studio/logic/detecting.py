"""Many images judged, a row each: what cannot be read has its error in its row."""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from genat import detection, plots
from genat.detection import evidence
from genat.sources import fit_image
from genat.studio.logic import markup
from genat.studio.logic.opened import Opened
from genat.studio.verdicts import Verdict, verdicts

MOST_FILES = 512
INSIDE, OUTSIDE = "in distribution", "out of distribution"
COLUMNS = ("file", "score", "p-value", "verdict", "what was done to it, or why not")
_BATCH, _MAX_PIXELS = 16, 2**24


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """What is said of a file.

    Attributes:
        file: its name.
        score: OOD score, high out of distribution; None where it cannot be read.
        p_value, inside: None there too, and where the run is not calibrated.
        notes: what was converted.
        error: why it cannot be read, else nothing.
        image: `(C, H, W)` uint8 as the detector takes it, None where it cannot be read.
    """

    file: str
    score: float | None = None
    p_value: float | None = None
    inside: bool | None = None
    notes: tuple[str, ...] = ()
    error: str = ""
    image: Tensor | None = None

    def cells(self) -> list[str]:
        """Return the row as a table shows it."""
        if self.error:
            return [self.file, "", "", "not read", self.error]
        verdict = "" if self.inside is None else INSIDE if self.inside else OUTSIDE
        p = "" if self.p_value is None else f"{self.p_value:.4f}"
        return [self.file, f"{self.score:.4f}", p, verdict, ", ".join(self.notes)]


def judge(opened: Opened, files: Sequence[str | Path], *, alpha: float | None = None) -> Iterator[tuple[Row, ...]]:
    """Judge files batch by batch, in their order.

    Args:
        opened: the run.
        files: image files of any size and mode, or what claims to be.
        alpha: judge by the p-value, out where it is at most this; None judges by the run's threshold.

    Yields:
        The rows so far, after each batch.

    Raises:
        ValueError: where there are no files or more than 512, or alpha is refused.
    """
    if not 0 < len(files) <= MOST_FILES:
        raise ValueError(f"expected 1 to {MOST_FILES} files, got {len(files) or 'none'}")
    if alpha is not None and opened.run.calibration is not None:
        opened.run.calibration.threshold_at(alpha)
    rows: tuple[Row, ...] = ()
    for first in range(0, len(files), _BATCH):
        rows += tuple(_judged(opened, [_read(opened, file) for file in files[first : first + _BATCH]], alpha))
        yield rows


def summary(rows: Sequence[Row]) -> str:
    """Return what was found, in a line.

    Example:
        >>> summary([Row("a.png", 1.0, 0.01, False), Row("b.txt", error="no image")])
        '2 files: 0 in distribution, 1 out of distribution, 1 not read'
    """
    inside, outside = (sum(row.inside is verdict for row in rows) for verdict in (True, False))
    broken, files = sum(bool(row.error) for row in rows), f"{len(rows)} file{'s' if len(rows) > 1 else ''}"
    return f"{files}: {inside} {INSIDE}, {outside} {OUTSIDE}, {broken} not read"


def page(rows: Sequence[Row]) -> str:
    """Return the rows as a table, and the link that saves them: HTML."""
    table = markup.table(COLUMNS, [row.cells() for row in rows], caption=summary(rows))
    link = markup.download(written(rows).encode(), markup.CSV, "detected.csv", "Table (CSV)")
    scroll = f'<div class="scroll" tabindex="0" role="region" aria-label="verdicts">{table}</div>'
    return f'{scroll}<div class="takes">{link}</div>'


def written(rows: Sequence[Row]) -> str:
    """Return the rows as CSV.

    Example:
        >>> print(written([Row("a.png", -1.5, 0.75, True)]), end="")
        file,score,p_value,in_distribution,notes,error
        a.png,-1.5,0.75,true,,
    """
    out = io.StringIO()
    write = csv.writer(out, lineterminator="\n").writerow
    write(("file", "score", "p_value", "in_distribution", "notes", "error"))
    for row in rows:
        verdict = "" if row.inside is None else str(row.inside).lower()
        write((_plain(row.file), row.score, row.p_value, verdict, "; ".join(row.notes), row.error))
    return out.getvalue()


def mapped(opened: Opened, rows: Sequence[Row], choice: str | None) -> str:
    """Return the chosen row's image beside the map of what speaks for and against it: HTML.

    Args:
        opened: the run.
        rows: as judged.
        choice: one of `choices`.

    Raises:
        ValueError: where there is no such row, or it could not be read.
    """
    names = choices(rows)
    if choice not in names:
        raise ValueError(f"expected one of the images that were judged, got {choice or 'none'}")
    row = [row for row in rows if row.image is not None][names.index(choice)]
    assert row.image is not None
    image = row.image.float() / 255
    values = evidence.occluded(opened.run.detector, image[None].to(next(opened.run.detector.parameters()).device))[0]
    words = f"{row.file}: {', '.join(cell for cell in row.cells()[3:4] if cell) or 'no verdict'}, score {row.score:.4f}"
    png = plots.evidence(image, values, title=words)
    share = float(values.clamp_min(0).sum() / values.abs().sum().clamp_min(1e-12))
    alt = (
        f"{words}; the image, and a map of what each place adds to the logit, from {values.min():.2g} to "
        f"{values.max():.2g} a pixel, {share:.0%} of it for the target"
    )
    return markup.figure(markup.image(png, alt), "green speaks for the target, purple against it; white says nothing")


def choices(rows: Sequence[Row]) -> list[str]:
    """Return a name for each image that was read, numbered from 1 by its row.

    Example:
        >>> choices([Row("a.txt", error="no image"), Row("b.png", 0.5, image=torch.zeros(1, 1, 1))])
        ['2: b.png']
    """
    return [f"{i}: {row.file}" for i, row in enumerate(rows, 1) if row.image is not None]


def _read(opened: Opened, file: str | Path) -> Row:
    name = Path(file).name
    try:
        pixels, notes = fit_image(Path(file), name=name, shape=opened.run.shape, max_pixels=_MAX_PIXELS)
    except ValueError as error:
        return Row(name, error=str(error))
    return Row(name, notes=notes, image=pixels)


def _judged(opened: Opened, rows: list[Row], alpha: float | None) -> Iterator[Row]:
    run = opened.run
    images = [row.image for row in rows if row.image is not None]
    found: Iterator[Verdict] = iter(())
    if images:
        pixels = torch.stack(images).to(next(run.detector.parameters()).device).float() / 255
        found = iter(verdicts(detection.logits(run.detector, pixels).cpu(), run.calibration, alpha=alpha))
    for row in rows:
        if row.image is None:
            yield row
            continue
        one = next(found)
        refused = one.refused(row.file)
        if refused:
            yield Row(row.file, error=refused)
        else:
            yield Row(row.file, -one.logit, one.p_value, one.inside, row.notes, image=row.image)


def _plain(name: str) -> str:
    """Return a name that no spreadsheet takes for a formula."""
    return f"'{name}" if name[:1] in "=+-@\t\r" else name
