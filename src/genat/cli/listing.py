"""Commands that say what there is."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from genat.cli.arguments import Json
from genat.cli.printing import print_config


def presets(
    name: Annotated[str | None, typer.Argument(help="Print this one, all of its keys.")] = None, as_json: Json = False
) -> None:
    """List the configurations that come with the package."""
    from genat import config

    if name is not None:
        print_config(config.load(name), as_json=as_json)
        return
    known = config.presets()
    if as_json:
        typer.echo(json.dumps({key: value.model_dump(mode="json") for key, value in known.items()}))
        return
    for key, value in known.items():
        ball = "unconstrained" if value.ball.radius is None else f"{value.ball.norm} {value.ball.radius:g}"
        size = value.step_size
        words = f"{size[0]:g} to {size[1]:g}" if isinstance(size, tuple) else f"{size:g}"
        steps = f"{value.steps.first}..{value.steps.last} steps of {words}"
        typer.echo(f"{key:15} {value.network}, {value.iterations} iterations, {steps}, {ball}")


def doctor(as_json: Json = False) -> None:
    """Say what this machine has, what is installed, and what is missing for which command."""
    from genat.doctor import examine

    findings = examine()
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings]))
        return
    for finding in findings:
        typer.echo(f"{'ok     ' if finding.there else 'missing'} {finding.name:18} {finding.detail}")
