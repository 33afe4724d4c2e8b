"""The command that judges images: any number of them, a line each."""

import csv
import io
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genat.cli.arguments import Json, RunFolder, say, shown, verdict
from genat.cli.certifying import asked_for, certifier
from genat.cli.mapping import mapper

if TYPE_CHECKING:
    from genat.detection import Judged
    from genat.sources import Skipped

STANDARD_INPUT = "-"
OUTSIDE, INCOMPLETE = 1, 3
_LONGEST = 2**16  # of a path, in bytes: sixteen times what Linux opens

Row = dict[str, Any]


class Format(StrEnum):
    """Of the lines that are printed."""

    TEXT = "text"
    CSV = "csv"
    JSONL = "jsonl"


def detect(
    run: RunFolder,
    images: Annotated[
        list[Path],
        typer.Argument(
            metavar="IMAGE...",
            help="Image files of any size and mode; folders, with all below them; - reads paths from standard input.",
        ),
    ],
    *,
    lines: Annotated[
        Format, typer.Option("--format", help="Of the lines: text for people, csv or jsonl for programs.")
    ] = Format.TEXT,
    alpha: Annotated[
        float | None,
        typer.Option(
            metavar="A",
            help="Judge by the p-value: out where it is at most A, which befalls at most a share A of new target "
            "images. The run's threshold judges by default.",
        ),
    ] = None,
    null: Annotated[
        bool, typer.Option("--null", "-0", help="Paths on standard input end in NUL, as `find -print0` writes them.")
    ] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Images read, judged and printed at a time.")] = 64,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help=f"Exit with {OUTSIDE} if any image is out of distribution.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help=f"Exit with {INCOMPLETE} if any file could not be read.")
    ] = False,
    certify: Annotated[
        float | None,
        typer.Option(
            metavar="EPS",
            min=1e-9,
            help="Also certify each verdict of the smoothed detector against every change of L2 length EPS, pixels in "
            "[0, 1]: takes --draws passes an image.",
        ),
    ] = None,
    sigma: Annotated[
        float | None,
        typer.Option(min=1e-9, help="With --certify: standard deviation of the noise; EPS by default."),
    ] = None,
    draws: Annotated[
        int | None, typer.Option(min=1, help="With --certify: draws of noise an image; 1000 by default.")
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="With --certify: of the noise, 0 by default; a secret where someone may attack."),
    ] = None,
    held_out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="With --certify: target images that no training saw, to calibrate by; the run's own, at most 64, by "
            "default.",
        ),
    ] = None,
    maps: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Write a picture of each image there, beside a map of what speaks for and against it.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Say of each image whether it is in distribution: score (high is out), conformal p-value, verdict.

    A line each, batch by batch, in memory that does not grow. Files that cannot be read are skipped: each is named on
    standard error with why, and they are counted at the end. The exit code is 0 whatever the verdicts, unless
    --exit-code or --strict says otherwise, --strict first; 2 is a mistake, or not one image that could be read.
    """
    from genat import assemble, runs
    from genat.progress import Counting
    from genat.sources import Skipped

    loaded = runs.load(run, say=say)
    loaded.detector.to(assemble.device(loaded.config))
    names, tally = [str(path) for path in images], Tally()
    how = asked_for(certify, sigma=sigma, draws=draws, seed=seed, held_out=held_out)
    # refuses what cannot be judged before a file is looked at
    found = loaded.detect(_files(names, null=null, ignored=tally.ignore), batch_size=batch_size, alpha=alpha)
    total = _look(names, null=null)
    draw = None if maps is None else mapper(loaded, maps, walked=names)
    columns, certificate = (_no_more, None) if how is None else certifier(loaded, how, alpha=alpha)
    rows: list[Row] = []
    write = rows.append if as_json else writer(lines)
    with Counting("judged", total=total, quiet=sys.stdout.isatty() and not as_json) as progress:
        for one in found:
            progress.advance()
            tally.count(one)
            if isinstance(one, Skipped):
                progress.say(f"skipped: {shown(one.reason)}")
                if as_json:
                    tally.skipped_files.append({"file": one.path, "reason": one.reason})
            else:
                write(row(one) | columns(one) | ({} if draw is None else {"map": draw(one)}))
    tally.report()
    if as_json:
        assert loaded.calibration is not None
        threshold = loaded.threshold if alpha is None else loaded.calibration.threshold_at(alpha)
        judged: Row = {"threshold": threshold, "tpr": loaded.config.tpr, "alpha": alpha, "images": rows}
        judged |= {"skipped": tally.skipped_files} | ({} if certificate is None else {"certificate": certificate})
        typer.echo(json.dumps(judged))
    if strict and tally.skipped:
        raise typer.Exit(INCOMPLETE)
    if exit_code and tally.outside:
        raise typer.Exit(OUTSIDE)


def row(one: "Judged") -> Row:
    """Return a judged image as the columns that every format has."""
    return {
        "file": one.path,
        "score": one.score,
        "p_value": one.p_value,
        "in_distribution": one.in_distribution,
    }


def _no_more(_: "Judged") -> Row:
    return {}


def writer(lines: Format) -> Callable[[Row], None]:
    """Return what prints a row in a format, at once; the first row of CSV comes after the columns' names.

    Names of files are bytes: text shows those that are no printable UTF-8 as escapes, CSV writes them as they are, and
    JSON has lone surrogates for them, which `os.fsencode` turns back.
    """
    first = True

    def write(content: Row) -> None:
        nonlocal first
        match lines:
            case Format.TEXT:
                text = _sentence(content)
            case Format.JSONL:
                text = json.dumps(content) + "\n"
            case Format.CSV:
                text = (_csv(content) if first else "") + _csv(content.values())
        first = False
        typer.echo(os.fsencode(text), nl=False)

    return write


def _sentence(content: Row) -> str:
    text = f"{shown(content['file'])}: {verdict(inside=content['in_distribution'])}"
    text += f"  score {content['score']:.4f}  p {content['p_value']:.4f}"
    if "certified" in content:
        low, middle, high = (content[name] for name in ("lowest_score", "smoothed_score", "highest_score"))
        text += f"  certified {content['certified']}  smoothed {middle:.4f} in [{low:.4f}, {high:.4f}]"
        text += f"  robust p {content['robust_p_value']:.4f}"
    return f"{text}\n"


def _csv(values: Any) -> str:  # noqa: ANN401 - names or values, whatever they are
    line = io.StringIO()
    cells = [json.dumps(value) if isinstance(value, bool) else value for value in values]
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue()


@dataclass
class Tally:
    """What was met, in numbers.

    Attributes:
        judged, outside, skipped, ignored: how many images had a verdict, had the verdict "out", could not be read, and
            how many files of folders were not named as images.
        notes: how many images were converted, and how.
        skipped_files: for a program, by name.
    """

    judged: int = 0
    outside: int = 0
    skipped: int = 0
    ignored: int = 0
    notes: Counter[str] = field(default_factory=Counter)
    skipped_files: list[Row] = field(default_factory=list)

    def ignore(self, _: str) -> None:
        """Count a file that is not named as an image."""
        self.ignored += 1

    def count(self, one: "Judged | Skipped") -> None:
        """Count what the stream yields."""
        from genat.sources import Skipped

        if isinstance(one, Skipped):
            self.skipped += 1
            return
        self.judged += 1
        self.outside += not one.in_distribution
        self.notes.update(one.notes)

    def report(self) -> None:
        """Say what a person should know of the whole.

        Raises:
            ValueError: where nothing was judged.
        """
        if not self.judged:
            if self.skipped:
                raise ValueError(f"expected at least one image that can be read, got none among {self.skipped} files")
            raise ValueError("expected paths of images on standard input, got none")
        for note, count in sorted(self.notes.items()):
            say(f"{count} of {self.judged} images {note}")
        if self.ignored:
            say(f"files ignored, not named as images: {self.ignored}")
        if self.skipped:
            say(f"{self.skipped} of {self.judged + self.skipped} files could not be read")


def _look(names: list[str], *, null: bool) -> int | None:
    """Refuse arguments that cannot be meant; return how many files they name, None where it takes a walk to know.

    What is found in folders and on standard input may be missing or broken, what a person typed is a mistake.
    """
    from genat.sources import walk

    if names.count(STANDARD_INPUT) > 1:
        raise ValueError("expected - once, got it several times")
    if null and STANDARD_INPUT not in names:
        raise ValueError("expected - with --null, got no paths on standard input")
    known = True
    for name in names:
        if name == STANDARD_INPUT:
            known = False
        elif Path(name).is_dir():
            known = False
            if next(walk(name), None) is None:
                raise ValueError(f"expected images in the folder {name!r}, got none")
        elif not Path(name).exists():
            raise ValueError(f"expected an image or a folder of images, got {name!r}, which does not exist")
    return len(names) if known else None


def _files(names: list[str], *, null: bool, ignored: Callable[[str], None]) -> Iterator["str | Skipped"]:
    from genat.sources import find_images

    for name in names:
        if name == STANDARD_INPUT:
            yield from _paths(b"\0" if null else b"\n")
        else:
            yield from find_images([name], ignored=ignored)


def _paths(end: bytes) -> Iterator[str]:
    """Yield the paths on standard input as they come; one that names a folder is no image and is not walked."""
    rest = b""
    while chunk := os.read(sys.stdin.fileno(), _LONGEST):
        *whole, rest = (rest + chunk).split(end)
        yield from (os.fsdecode(path) for path in whole if path)
        if len(rest) > _LONGEST:
            raise ValueError(f"expected paths on standard input, got one of more than {_LONGEST} bytes")
    if rest:
        yield os.fsdecode(rest)
