"""The command that plays the game where the law is known."""

import json
from pathlib import Path
from typing import Annotated

import typer

from genat.cli.arguments import Json, command_line, parse_seeds, say


def simulate(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Data sets such as ring,spirals or all; or ablation, or failures.")
    ],
    *,
    trainers: Annotated[
        str | None, typer.Option(help="Trainers, with commas; gat,gan,ebm by default; an unknown one lists all.")
    ] = None,
    seeds: Annotated[str, typer.Option(help="Such as 0-4 or 0,3,7; all train together.")] = "0-4",
    output: Annotated[Path | None, typer.Option(help="Where it goes; runs/simulations/NAME by default.")] = None,
    budget: Annotated[
        float | None, typer.Option(help="Forward and backward passes a seed; 3.3 million by default.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    as_json: Json = False,
) -> None:
    """Play the maximin game and its peers on points whose law is known: figures, an animation and a table.

    The folder can be gone on with: what is finished is read, what is not is trained. The four shapes of the GAT
    papers are ring,grid,spirals,checkerboard; blobs is their density on the line.
    """
    from genat.simulations.studies import study

    made = study(
        name,
        trainers=None if trainers is None else [part.strip() for part in trainers.split(",")],
        seeds=parse_seeds(seeds),
        output=output or Path("runs/simulations") / name.replace(" ", "").replace(",", "-"),
        budget=budget,
        device=device,
        command=command_line(),
        say=say,
    )
    typer.echo(json.dumps(made.table) if as_json else made.markdown, nl=as_json)
    if not as_json:
        typer.echo("\n".join(str(path) for path in made.pictures))
