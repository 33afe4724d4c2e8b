"""Many clients at once against `genat serve` on this machine: no answer lost, none of the server's fault, memory flat.

Each client keeps a connection and asks again as soon as it has its answer: images to score, now and then some to
transform or the model, and a share of requests that are malformed or too large, by their header or only in the reading.
Usage: python -m benchmarks.serve RUN [--clients 200] [--seconds 60]. Writes results/soak/serve.json.
"""

import argparse
import asyncio
import base64
import json
import os
import random
import re
import shlex
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

import genat
from genat import plots
from genat.provenance import provenance

RESULTS = Path("results/soak/serve.json")
BAD = 0.05  # share of the requests that are malformed or too large
MIB = 2**20
_PATIENCE = 60.0  # seconds after which an answer is lost
_LINE = re.compile(rb"HTTP/1\.1 (\d{3}) ")
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)


class Request(NamedTuple):
    """What is sent, and the status that answers it."""

    kind: str
    content: bytes
    status: int


@dataclass
class Tally:
    """What came back.

    Attributes:
        answers: by the request's kind and the status.
        wrong: by kind and status, those that are not what was expected; 503 is counted apart.
        lost: by kind, requests without an answer.
        seconds: from the first byte sent to the last one received, of the good requests.
        memory: (seconds since the start, resident bytes of the server).
        processor: seconds of the processor that the server had used, at each of these times.
    """

    answers: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    memory: list[tuple[float, float]] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)


def _post(path: str, body: bytes, *, length: int | None = None) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body) if length is None else length}\r\n\r\n".encode() + body


def _chunked(path: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked"
    return f"{head}\r\n\r\n{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n"


def good(texts: list[str], chance: random.Random) -> Request:
    """Return a request that is answered with 200."""
    kind = chance.choices(["score", "transform", "model"], [96, 1, 3])[0]
    images = chance.sample(texts, chance.choice([1, 1, 1, 4]))
    match kind:
        case "score":
            return Request(kind, _post("/v1/score", json.dumps({"images": images}).encode()), 200)
        case "transform":
            body = json.dumps({"images": images[:1], "steps": 5}).encode()
            return Request(kind, _post("/v1/transform", body), 200)
        case _:
            return Request(kind, b"GET /v1/model HTTP/1.1\r\nHost: localhost\r\n\r\n", 200)


def bad(most: int, chance: random.Random) -> Request:
    """Return a request that is malformed, or whose body is larger than most bytes."""
    large = b"x" * (most + most // 4)
    return chance.choice(
        [
            Request("no json", _post("/v1/score", b'{"images": ["a"'), 400),
            Request("another form", _post("/v1/score", b'{"images": 3, "alpha": "x"}'), 422),
            Request("no image", _post("/v1/score", json.dumps({"images": ["aGFsbG8=", "?"]}).encode()), 200),
            Request("too large", _post("/v1/score", large), 413),
            Request("too large, unsaid", _chunked("/v1/transform", large), 413),
        ]
    )


async def _answer(reader: asyncio.StreamReader) -> int:
    head = await reader.readuntil(b"\r\n\r\n")
    status, length = _LINE.match(head), _LENGTH.search(head)
    if status is None or length is None:
        raise ConnectionError("no answer that can be read")
    await reader.readexactly(int(length[1]))
    return int(status[1])


async def _client(port: int, number: int, end: float, texts: list[str], most: int, tally: Tally) -> None:
    chance = random.Random(number)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while time.monotonic() < end:
        request = bad(most, chance) if chance.random() < BAD else good(texts, chance)
        began = time.monotonic()
        try:
            writer.write(request.content)
            await writer.drain()
            status = await asyncio.wait_for(_answer(reader), _PATIENCE)
        except (OSError, EOFError, TimeoutError, asyncio.LimitOverrunError):
            tally.lost[request.kind] += 1
            writer.close()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            continue
        tally.answers[f"{request.kind}: {status}"] += 1
        if status not in (request.status, 503):
            tally.wrong[f"{request.kind}: {status}"] += 1
        if status == request.status == 200:
            tally.seconds.append(time.monotonic() - began)
    writer.close()


async def _watch(process: int, began: float, tally: Tally) -> None:
    page, tick = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK")
    while True:
        resident = int(Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1]) * page
        tally.memory.append((time.monotonic() - began, resident))
        used = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        tally.processor.append((int(used[11]) + int(used[12])) / tick)
        await asyncio.sleep(0.5)


async def load(process: int, port: int, texts: list[str], *, clients: int, seconds: float, most: int) -> Tally:
    """Let clients ask for so many seconds, and finish what they asked."""
    tally, began = Tally(), time.monotonic()
    watching = asyncio.create_task(_watch(process, began, tally))
    asking = (_client(port, number, began + seconds, texts, most, tally) for number in range(clients))
    await asyncio.gather(*asking)
    watching.cancel()
    return tally


def summary(tally: Tally, *, seconds: float) -> dict[str, Any]:
    """Return the figures: rates, latencies, and the server's memory in the quarters of the time."""
    times = np.array(tally.seconds)
    quarters = [[size for at, size in tally.memory if k <= 4 * at / seconds < k + 1] for k in range(4)]
    statuses: Counter[int] = Counter()
    for name, count in tally.answers.items():
        statuses[int(name[-3:])] += count
    requests = sum(tally.answers.values()) + sum(tally.lost.values())
    return {
        "requests": requests,
        "server_cpu_ms_per_request": 1e3 * (tally.processor[-1] - tally.processor[0]) / requests,
        "good_per_second": len(times) / seconds,
        "answers": dict(sorted(tally.answers.items())),
        "busy_503": statuses[503],
        "other_5xx": sum(count for status, count in statuses.items() if status >= 500 and status != 503),
        "wrong": dict(tally.wrong),
        "lost": sum(tally.lost.values()),
        "seconds": {f"p{q}": float(np.percentile(times, q)) for q in (50, 90, 99)} | {"most": float(times.max())},
        "memory_mib": [float(np.mean(sizes)) / MIB for sizes in quarters if sizes],
        "memory_growth": float(np.mean(quarters[3]) / np.mean(quarters[1])) - 1
        if quarters[3] and quarters[1]
        else None,
    }


def measure(run: str, *, clients: int, seconds: float, body: float = 1.0) -> dict[str, Any]:
    """Start a service of a run, load it, stop it, and return what was measured.

    Args:
        run: a run folder.
        clients: how many ask at once.
        seconds: for how long.
        body: the service's limit of a body, MiB.
    """
    shape = genat.load(run).shape
    images = torch.rand(64, *shape, generator=torch.Generator().manual_seed(0))
    texts = [base64.b64encode(plots.single(image)).decode() for image in images]
    options = ["--port", "0", "--threads", "1", "--max-body", str(body)]
    command = [sys.executable, "-m", "genat", "serve", run, *options]
    environment = {name: value for name, value in os.environ.items() if name != "GENAT_API_KEY"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as service:
        try:
            assert service.stdout is not None
            port = int(service.stdout.readline().partition(" at http://127.0.0.1:")[2].partition(",")[0])
            tally = asyncio.run(load(service.pid, port, texts, clients=clients, seconds=seconds, most=int(body * MIB)))
            service.send_signal(signal.SIGTERM)
            code = service.wait(_PATIENCE)
        finally:
            service.kill()
    return {
        "run": Path(run).name,
        "shape": list(shape),
        "options": shlex.join(options),
        "clients": clients,
        "duration": seconds,
        "bad_share": BAD,
        **summary(tally, seconds=seconds),
        "exit_code": code,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60)
    given = parser.parse_args()
    before = os.getloadavg()[0]
    found = measure(given.run, clients=given.clients, seconds=given.seconds)
    found["load_before"] = before
    print(json.dumps(found, indent=1))
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    made = provenance(shlex.join(["python", "-m", "benchmarks.serve", *sys.argv[1:]]))
    RESULTS.write_text(json.dumps({"made": made, **found}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
