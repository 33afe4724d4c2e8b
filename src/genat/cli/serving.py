"""The command that puts a run behind HTTP."""

import os
from typing import TYPE_CHECKING, Annotated

import typer

from genat.cli.arguments import Host, Port, RunFolder, Threads, is_here, say

if TYPE_CHECKING:
    from types import ModuleType

KEY = "GENAT_API_KEY"
CUT_OFF = 1
_MIB = 2**20


def serve(
    run: RunFolder,
    *,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    threads: Threads = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds from a request's arrival to its answer.")] = 30.0,
    max_body: Annotated[float, typer.Option(min=0.001, help="MiB of a request's body.")] = 8.0,
    max_images: Annotated[int, typer.Option(min=1, help="Images in a request to score.")] = 64,
    max_climbs: Annotated[int, typer.Option(min=1, help="Images in a request to transform or sample.")] = 16,
    max_steps: Annotated[int, typer.Option(min=1, help="Of a climb.")] = 256,
    queue: Annotated[int, typer.Option(min=1, help="Images that may wait to be scored; beyond, 503.")] = 1024,
    batch_size: Annotated[int, typer.Option(min=1, help="Images of several requests scored at once.")] = 64,
    origin: Annotated[
        list[str] | None,
        typer.Option(help="A page's origin that a browser lets call, such as https://example.org; none by default."),
    ] = None,
    access_log: Annotated[
        bool, typer.Option("--access-log", help="Write a line a request: address, method, path, status.")
    ] = False,
) -> None:
    """Serve a run over HTTP: score, transform, sample; described at /openapi.json.

    The environment variable GENAT_API_KEY names the key that clients must send. SIGTERM and SIGINT stop it: what was
    asked is answered first. The exit code is 0 then, 1 where a request was cut off, and 2 for a mistake.
    """
    studio, key = _studio(), _key()
    import torch

    from genat import assemble, runs

    if threads is not None:
        torch.set_num_threads(threads)
    limits = studio.Limits(
        body=int(max_body * _MIB),
        memory=max(256, int(4 * max_body)) * _MIB,
        images=max_images,
        climbs=max_climbs,
        steps=max_steps,
        queue=queue,
        batch=batch_size,
        timeout=timeout,
    )
    loaded = runs.load(run)
    loaded.detector.to(assemble.device(loaded.config))
    app = studio.application(loaded, limits=limits, key=key, origins=origin or ())
    missing = app.state.service.missing
    if missing:
        say(f"no /v1/sample, climbs have nowhere to start: {missing}")
    if loaded.calibration is None:
        say("no p-values and no verdicts: the run's training has not ended")
    if key is None and not is_here(host):
        say(f"anyone who reaches {host} may ask: set {KEY} to have a key")
    answered = studio.serve(
        app,
        host=host,
        port=port,
        access_log=access_log,
        say=lambda address: typer.echo(f"serving {run} at {address}, Ctrl+C stops"),
    )
    if not answered:
        raise typer.Exit(CUT_OFF)


def _studio() -> "ModuleType":
    try:
        from genat import studio
    except ModuleNotFoundError as error:
        raise ImportError(
            f"serve: expected the extra studio, got no {error.name}: pip install 'genat[studio]'"
        ) from None
    return studio


def _key() -> str | None:
    key = os.environ.get(KEY)
    if key is not None and not (key and key.isascii() and key.isprintable() and " " not in key):
        raise ValueError(f"{KEY}: expected printable ASCII without spaces, got something else or nothing")
    return key
