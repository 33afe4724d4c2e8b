"""What several commands take, read and say."""

import ipaddress
import math
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from torch import Tensor

    from genat.runs import Run


def _run_folder(path: Path) -> Path:
    """Return a run's folder; of a detector that comes with genat a copy in runs/shipped/, made where there is none."""
    from genat import shipped

    if not str(path).startswith(shipped.PREFIX):
        return path
    name = str(path).removeprefix(shipped.PREFIX)
    to = Path("runs") / "shipped" / name
    if name in shipped.NAMES and to.exists():
        return to
    shipped.copy(name, to)
    say(f"{to}: a copy of the detector that comes with genat")
    return to


RunFolder = Annotated[
    Path,
    typer.Argument(
        metavar="RUN",
        callback=_run_folder,
        help="A run folder, as `genat train` makes it; or shipped:digits or shipped:emoji-faces, a copy of what comes "
        "with genat, in runs/shipped/.",
    ),
]
Host = Annotated[str, typer.Option(help="The address to listen at; 0.0.0.0 is every one of this machine.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="0 takes one that is free.")]
Threads = Annotated[
    int | None, typer.Option(min=1, help="Of the detector on the processor; PyTorch's own number by default.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object, for programs.")]
Steps = Annotated[int | None, typer.Option(min=1, help="Ascent steps; the run's own by default.")]
StepSize = Annotated[
    float | None, typer.Option(min=1e-9, help="Length of a step, pixels in [0, 1]; the run's own by default.")
]
Strength = Annotated[
    float, typer.Option(min=1e-9, max=1, help="Share of the full way: 0.1 changes little, 1 is all of it.")
]
StopAt = Annotated[float | None, typer.Option(help="An image whose logit has reached this level moves no further.")]
Shrink = Annotated[
    float | None,
    typer.Option(min=1e-9, max=1, help="The last step's length over the first's; the run's own by default."),
]


_MOST_SEEDS = 1_000_000


def parse_seeds(text: str) -> list[int]:
    """Return the seeds that "0-3,7" names.

    Example:
        >>> parse_seeds("0-3,7")
        [0, 1, 2, 3, 7]
    """
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise ValueError(f"--seeds: expected numbers and ranges such as 0-63 or 1,5,9-12, got {text!r}")
        start, end = int(first), int(last or first)
        if not start <= end < 2**63:
            raise ValueError(f"--seeds: expected ranges that rise, below 2**63, got {text!r}")
        if len(seeds) + end - start >= _MOST_SEEDS:
            raise ValueError(f"--seeds: expected at most {_MOST_SEEDS:,} seeds, got more in {text!r}")
        seeds += range(start, end + 1)
    return seeds


def parse_numbers(text: str, option: str) -> list[float]:
    """Return the positive numbers of "0.5,1.0".

    Example:
        >>> parse_numbers("0.5,1", "--radii")
        [0.5, 1.0]
        >>> parse_numbers("0.5,,1", "--radii")
        Traceback (most recent call last):
        ValueError: --radii: expected positive numbers such as 0.5,1.0, got '0.5,,1'
    """
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or not all(0 < number < math.inf for number in numbers):
        raise ValueError(f"{option}: expected positive numbers such as 0.5,1.0, got {text!r}")
    return numbers


def read_images(paths: list[Path], run: "Run") -> "Tensor":
    """Return image files in the shape a run takes, and say what was converted."""
    import torch

    from genat.sources import load_image

    read = [load_image(path, shape=run.shape) for path in paths]
    for path, (_, notes) in zip(paths, read, strict=True):
        for note in notes:
            say(f"{path}: {note}")
    return torch.cat([image for image, _ in read])


def say(line: str) -> None:
    """Tell a person, beside what a program reads."""
    typer.echo(line, err=True)


def command_line() -> str:
    """Return what was typed."""
    return shlex.join(["genat", *sys.argv[1:]])


def is_here(host: str) -> bool:
    """Return whether an address is reached from this machine alone.

    Example:
        >>> is_here("127.0.0.1"), is_here("localhost"), is_here("0.0.0.0")
        (True, True, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def shown(text: str) -> str:
    r"""Return text on one line of printable characters: others, and bytes that were no UTF-8, as escapes.

    Example:
        >>> print(shown("caf\u00e9\udcff\n.png"))
        café\xff\n.png
    """
    whole = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in whole)


def verdict(*, inside: bool) -> str:
    """Return a verdict in words.

    Example:
        >>> verdict(inside=True)
        'in distribution'
    """
    return "in distribution" if inside else "out of distribution"
