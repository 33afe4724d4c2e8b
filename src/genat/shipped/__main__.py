"""Make the detectors that come with the package again: python -m genat.shipped [NAME...] [--trainings FOLDER]."""

import argparse
import sys
from importlib import resources
from pathlib import Path

from genat.shipped import making


def main() -> None:
    """Train what is asked for and put it into the package."""
    parser = argparse.ArgumentParser(
        prog="python -m genat.shipped", description="Make the detectors that come with the package again."
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="which; all by default")
    parser.add_argument("--trainings", type=Path, default=Path("runs/shipped-trainings"), help="where they train")
    arguments = parser.parse_args()
    try:
        for name in making.known(arguments.names):
            shipped = Path(str(resources.files("genat") / "shipped"))
            digest = making.make(name, trainings=arguments.trainings, shipped=shipped, say=_say)
            _say(f"{name}: digest {digest}")
    except (ValueError, OSError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    main()
