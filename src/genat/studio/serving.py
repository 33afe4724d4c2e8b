"""A service as a process: it listens, and it stops cleanly."""

import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import uvicorn
from fastapi import FastAPI
from uvicorn.config import LOGGING_CONFIG

Level = Literal["critical", "warning", "info"]
_GRACE = 5.0  # seconds beyond the timeout in which every request that was taken is answered
_IDLE = 30  # seconds that a connection may rest between two requests


class _Server(uvicorn.Server):
    """Stops at a signal without dying of it: what it was doing is finished, and the process ends by itself."""

    def __init__(self, config: uvicorn.Config, *, listening: Callable[[], None]) -> None:
        super().__init__(config)
        self._listening = listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._listening()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        stops = (signal.SIGINT, signal.SIGTERM)
        before = {stop: signal.signal(stop, self.handle_exit) for stop in stops}
        try:
            yield
        finally:
            for stop, handler in before.items():
                signal.signal(stop, handler)


def serve(
    app: FastAPI,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    access_log: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> bool:
    """Serve an application until SIGTERM or SIGINT, then answer what was asked and stop.

    Args:
        app: as `application` makes it.
        host: an address of this machine.
        port: 0 takes one that is free.
        access_log: write a line for each request: the client's address, method, path and status.
        say: called with the address once it listens.

    Returns:
        Whether every request that was taken was answered.

    Raises:
        ValueError: where the address cannot be had.
    """
    service = app.state.service
    wait = int(service.limits.timeout + _GRACE)
    level: Level = "info" if access_log else "warning"
    ended = listen(app, host=host, port=port, wait=wait, level=level, say=say)
    return ended and service.telemetry.lost.collect()[0].samples[0].value == 0


def listen(
    app: FastAPI,
    *,
    host: str,
    port: int,
    wait: int,
    level: Level = "warning",
    say: Callable[[str], None] = lambda _: None,
) -> bool:
    """Run any application until SIGTERM or SIGINT.

    Args:
        app: what listens.
        host, port, say: as of `serve`.
        wait: seconds that requests have to end after the signal.
        level: of what is logged; "info" writes a line for each request.

    Returns:
        Whether it had started, and was not forced to stop.

    Raises:
        ValueError: where the address cannot be had.
    """
    listener = _listener(host, port)
    shown = f"[{host}]" if ":" in host else host
    address = f"http://{shown}:{listener.getsockname()[1]}"
    config = uvicorn.Config(
        app,
        loop="asyncio",
        http="h11",
        ws="none",
        lifespan="on",
        log_config=LOGGING_CONFIG,
        log_level=level,
        access_log=level == "info",
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=_IDLE,
        timeout_graceful_shutdown=wait,
    )
    server = _Server(config, listening=lambda: say(address))
    with listener:
        server.run(sockets=[listener])
    return server.started and not server.force_exit


def _listener(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ValueError(f"expected a free address of this machine, got {host} port {port}: {reason}") from None
