"""Measure what docs/theory.md shows: python -m genat.theory [--games N] [--seed S] [--output FILE]."""

import argparse
import json
import shlex
import sys
from pathlib import Path

from genat.theory.figures import measure, table


def main() -> None:
    """Print the tables and write the numbers where asked."""
    parser = argparse.ArgumentParser(prog="python -m genat.theory", description="Measure what docs/theory.md shows.")
    parser.add_argument("--games", type=int, default=200, help="random games solved in closed form and numerically")
    parser.add_argument("--seed", type=int, default=0, help="of the games and of the trainings on the line")
    parser.add_argument("--output", type=Path, help="a JSON file for the numbers")
    arguments = parser.parse_args()
    command = shlex.join(["python", "-m", "genat.theory", *sys.argv[1:]])
    try:
        figures = measure(games=arguments.games, seed=arguments.seed, command=command)
    except ValueError as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    for rows in figures.values():
        if isinstance(rows, list):
            columns, cells = table(rows)
            sys.stdout.write("\n".join(" | ".join(cell) for cell in [columns, *cells]) + "\n\n")
    if arguments.output is not None:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
