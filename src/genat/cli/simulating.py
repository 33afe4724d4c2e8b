"""The commands that compare trainers: where the law is known, and on images."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genat.cli.arguments import Json, command_line, parse_seeds, say

if TYPE_CHECKING:
    from genat.simulations.studies import Made


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
    threads: Annotated[
        int | None, typer.Option(min=1, help="Of PyTorch on the processor; one where other work runs beside it.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Play the maximin game and its peers on points whose law is known: figures, an animation and a table.

    The folder can be gone on with: what is finished is read, what is not is trained. The four shapes of the GAT
    papers are ring,grid,spirals,checkerboard; blobs is their density on the line.
    """
    import torch

    from genat.simulations.studies import study

    if threads is not None:
        torch.set_num_threads(threads)
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
    _print(made, as_json=as_json)


def stability(
    *,
    methods: Annotated[
        str | None, typer.Option(help="Methods, with commas; gat,gan,jem by default; an unknown one lists all.")
    ] = None,
    seeds: Annotated[str, typer.Option(help="Such as 0-2 or 0,3,7; one training each.")] = "0-2",
    widths: Annotated[str | None, typer.Option(help="Of the networks, with commas; 4,8 by default.")] = None,
    output: Annotated[Path, typer.Option(help="Where it goes.")] = Path("runs/stability"),
    budget: Annotated[
        float | None, typer.Option(help="Forward and backward passes a training; 250,000 by default.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    as_json: Json = False,
) -> None:
    """Count how often GAT, a GAN and an energy model fail on Fashion-MNIST, over learning rates, widths and seeds.

    The folder can be gone on with, training by training.
    """
    from genat.stability.studies import study

    made = study(
        methods=None if methods is None else [part.strip() for part in methods.split(",")],
        seeds=parse_seeds(seeds),
        widths=None if widths is None else _numbers(widths),
        output=output,
        budget=budget,
        device=device,
        command=command_line(),
        say=say,
    )
    _print(made, as_json=as_json)


def _numbers(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise ValueError(f"expected widths such as 4,8, got {text!r}")
    return [int(part) for part in parts]


def _print(made: "Made", *, as_json: bool) -> None:
    typer.echo(json.dumps(made.table) if as_json else made.markdown, nl=as_json)
    if not as_json:
        typer.echo("\n".join(str(path) for path in made.pictures))
