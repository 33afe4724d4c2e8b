"""The command line: parse, call, print. Heavy libraries are imported inside the commands, so that --help is quick."""

import os
import sys

import typer

from genat.cli.completing import completion
from genat.cli.detecting import detect
from genat.cli.editing import edit
from genat.cli.exporting import export
from genat.cli.listing import doctor, presets
from genat.cli.making import sample, transform
from genat.cli.measuring import evaluate, report
from genat.cli.reproducing import reproduce
from genat.cli.serving import serve
from genat.cli.showing import studio
from genat.cli.simulating import simulate, stability
from genat.cli.training import demo, train

__all__ = ["app", "main"]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Generative adversarial training: detectors that generate, and that detect also under attack.",
)
for _command in (
    demo,
    train,
    sample,
    transform,
    edit,
    detect,
    evaluate,
    reproduce,
    report,
    export,
    serve,
    studio,
    presets,
    simulate,
    stability,
    doctor,
    completion,
):
    app.command()(_command)

USAGE, DIVERGED = 2, 1


def main() -> None:
    """Run the command line; a person's mistake is one line and exit code 2, never a traceback."""
    try:
        app()
    except FloatingPointError as error:
        _fail(error, DIVERGED)
    except (ValueError, OSError, ImportError) as error:
        _fail(error, USAGE)


def _fail(error: Exception, code: int) -> None:
    if os.environ.get("GENAT_DEBUG"):
        raise error
    text = str(error)
    if isinstance(error, OSError) and error.filename is not None:
        text = f"{error.filename}: {error.strerror}"
    typer.echo("genat: " + " ".join(text.split()), err=True)
    sys.exit(code)
