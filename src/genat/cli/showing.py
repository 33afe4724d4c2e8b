"""The command that opens runs in the browser."""

import tempfile
import webbrowser
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from genat.cli.arguments import Host, Port, Threads, is_here, say

_WAIT = 1  # seconds that a page has to end after the signal


def studio(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[RUN]...",
            help="Run folders of images, as `genat train` makes them, or shipped:NAME; the detectors that come with "
            "genat by default.",
        ),
    ] = None,
    *,
    host: Host = "127.0.0.1",
    port: Port = 7860,
    threads: Threads = None,
    show: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in the browser.")] = True,
) -> None:
    """Open runs in the browser: climb, detect, compare, simulate, look.

    The page is this machine's alone unless --host says otherwise, and asks no other. SIGTERM and SIGINT stop it.
    """
    for needed in ("gradio", "fastapi", "uvicorn", "prometheus_client"):
        if find_spec(needed) is None:
            raise ImportError(f"studio: expected the extra studio, got no {needed}: pip install 'genat[studio]'")
    import torch

    from genat import shipped
    from genat.studio.logic import open_runs

    if threads is not None:
        torch.set_num_threads(threads)
    opened = open_runs(runs or [Path(f"{shipped.PREFIX}{name}") for name in shipped.NAMES], say=say)
    if not is_here(host):
        say(f"anyone who reaches {host} may use the page: it asks for no key")
    from genat.studio.pages import application
    from genat.studio.serving import listen

    def listening(address: str) -> None:
        typer.echo(f"studio of {len(opened)} run{'s' if len(opened) > 1 else ''} at {address}, Ctrl+C stops")
        if show:
            webbrowser.open(address)

    with tempfile.TemporaryDirectory(prefix="genat-studio-") as uploads:
        app = application(opened, uploads=Path(uploads))
        listen(app, host=host, port=port, wait=_WAIT, level="critical", say=listening)
