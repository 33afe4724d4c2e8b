"""What every request passes before a route sees it: the key, the body's size, the clock; and what is counted."""

import asyncio
import hashlib
import hmac
import time
from collections.abc import Mapping
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from genat.studio.limits import FullError, Limits, Room
from genat.studio.problems import CLOSED, Problem, busy
from genat.studio.telemetry import Telemetry

DEADLINE = "genat.deadline"  # in a request's scope: when it must be answered, by the loop's clock
ROUTES = ("/v1/score", "/v1/transform", "/v1/sample", "/v1/model", "/healthz", "/readyz", "/metrics", "/openapi.json")
_DRAINED = 4  # times the limit that is read of a body too large, so that its sender can read the answer
_HEADERS = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))


class Guard:
    """Middleware that holds what is under /v1 and the metrics to the service's limits, and counts every request.

    A body is read to its end before the route runs, so that its size holds whatever its header claims; one that is
    refused is read on for a while and thrown away, so that a client which sends first and reads then has its answer.
    Other paths, such as a page that is mounted, pass as they are.

    Args:
        app: what is guarded.
        limits: of bodies and time.
        key: that a client must name as `Authorization: Bearer KEY`; None lets everyone in.
        telemetry: what is counted.
    """

    def __init__(self, app: ASGIApp, *, limits: Limits, key: str | None, telemetry: Telemetry) -> None:
        self._app, self._limits, self._telemetry = app, limits, telemetry
        self._key = None if key is None else hashlib.sha256(key.encode()).digest()
        self._memory = Room(limits.memory)
        telemetry.held.set_function(lambda: self._memory.taken)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.monotonic(), CLOSED

        async def counting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            if _is_ours(scope["path"]):
                await self._guarded(scope, receive, counting)
            else:
                await self._app(scope, receive, counting)
        except asyncio.CancelledError:  # the server stops and waits no longer: the task ends here, with an answer
            self._telemetry.lost.inc()
            if status == CLOSED:
                await busy("an answer before the stop").response()(scope, receive, counting)
        except Exception:
            status = 500
            raise
        finally:
            route = scope["path"] if scope["path"] in ROUTES else "other"
            self._telemetry.requests.labels(route, _method(scope), str(status)).inc()
            self._telemetry.seconds.labels(route).observe(time.monotonic() - began)

    async def _guarded(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def marking(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_HEADERS]
            await send(message)

        scope[DEADLINE] = asyncio.get_running_loop().time() + self._limits.timeout
        held = _Held(self._memory)
        try:
            body = await self._read(scope, receive, held)
            if body is None:
                return  # the client went away
            await self._app(scope, _replayed(body, receive), marking)
        except Problem as problem:
            await problem.response()(scope, receive, marking)
        finally:
            held.free()

    async def _read(self, scope: Scope, receive: Receive, held: "_Held") -> bytes | None:
        """Return the body, None where the client went away before its end.

        Raises:
            Problem: 401 without the key, 413 for a body too large, 503 where memory is full, 408 for one too slow.
        """
        headers = dict(scope["headers"])
        refusal = self._refusal(headers)
        if refusal is not None and b"expect" in headers:
            raise refusal  # a client that asks before it sends is told so
        chunks: list[bytes] = []
        read, more = 0, True
        try:
            async with asyncio.timeout_at(scope[DEADLINE]):
                while more and read <= _DRAINED * self._limits.body:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return None
                    chunk, more = message.get("body", b""), message.get("more_body", False)
                    read += len(chunk)
                    refusal = refusal or (self._too_large() if read > self._limits.body else held.take(len(chunk)))
                    if refusal is not None:
                        chunks.clear()
                        held.free()
                    else:
                        chunks.append(chunk)
        except TimeoutError:
            raise refusal or Problem(
                408, f"expected a body within {self._limits.timeout:g} s, got {read} bytes of it"
            ) from None
        if refusal is not None:
            raise refusal
        return b"".join(chunks)

    def _refusal(self, headers: Mapping[bytes, bytes]) -> Problem | None:
        if self._key is not None:
            scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
            same = hmac.compare_digest(hashlib.sha256(given).digest(), self._key)
            if not (same and scheme.lower() == b"bearer"):
                words = "expected the service's key as Authorization: Bearer KEY, got another or none"
                return Problem(401, words, headers={"WWW-Authenticate": "Bearer"})
        length = headers.get(b"content-length", b"").lstrip(b"0")
        most = str(self._limits.body).encode()
        longer = length.isdigit() and (len(length), length) > (len(most), most)  # as numbers, of any length
        return self._too_large() if longer else None

    def _too_large(self) -> Problem:
        return Problem(413, f"expected a body of at most {self._limits.body} bytes, got more")


class _Held:
    """The bytes that one request holds of the memory for all."""

    def __init__(self, memory: Room) -> None:
        self._memory, self._n = memory, 0

    def take(self, n: int) -> Problem | None:
        try:
            self._memory.take(n)
        except FullError:
            return busy("another body")
        self._n += n
        return None

    def free(self) -> None:
        self._memory.give(self._n)
        self._n = 0


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Return what receives a body that was read before, and then what comes after it."""
    parts: list[dict[str, Any]] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return parts.pop() if parts else await receive()

    return again


def _is_ours(path: str) -> bool:
    return path in {"/metrics", "/v1"} or path.startswith("/v1/")


def _method(scope: Scope) -> str:
    known = ("GET", "POST", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE")
    return scope["method"] if scope["method"] in known else "other"
