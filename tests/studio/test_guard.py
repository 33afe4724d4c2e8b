"""What is refused: said as problem details, with what was expected and what came."""

import asyncio
import base64
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http import HTTPStatus
from typing import Any

import pytest
import torch
from fastapi.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send
from torch import Tensor, nn

from genat.runs import Run
from genat.studio import Limits
from genat.studio.guard import Guard
from genat.studio.telemetry import Telemetry

Make = Callable[..., TestClient]
JSON = {"content-type": "application/json"}
PROBLEM = "application/problem+json"


class Gated(nn.Module):
    """A detector that waits in every pass until its gate is open."""

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.detector, self.gate, self.entered, self.passes = detector, threading.Event(), threading.Event(), 0
        self.gate.set()

    def forward(self, images: Tensor) -> Tensor:
        self.entered.set()
        assert self.gate.wait(30)
        self.passes += 1
        return torch.as_tensor(self.detector(images))

    def close(self) -> None:
        self.gate.clear()
        self.entered.clear()


@pytest.fixture
def gated(trained: Run) -> Iterator[Gated]:
    one = Gated(trained.detector)
    yield one
    one.gate.set()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as one:
        yield one


def _refused(answer: Any, status: int, detail: str) -> None:  # noqa: ANN401 - a response of httpx2
    assert answer.headers["content-type"] == PROBLEM
    content = answer.json()
    assert (answer.status_code, content["status"]) == (status, status)
    assert (content["type"], content["title"]) == ("about:blank", HTTPStatus(status).phrase)
    assert content["detail"] == detail


def _until(holds: Callable[[], bool]) -> None:
    given_up = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < given_up
        time.sleep(0.002)


# bodies


BAD = "expected a body as the description says, got "
ITEMS = "should have at least 1 item after validation, not 0"


@pytest.mark.parametrize(
    ("route", "body", "detail", "pointers"),
    [
        ("score", {}, BAD + "/images: Field required", ["/images"]),
        ("score", [], BAD + "the body: Input should be an object", [""]),
        ("score", {"images": []}, BAD + f"/images: List {ITEMS}", ["/images"]),
        ("score", {"images": "a"}, BAD + "/images: Input should be a valid array", ["/images"]),
        ("score", {"images": [1, None]}, None, ["/images/0", "/images/1"]),
        ("score", {"images": ["a"] * 5}, None, ["/images"]),
        ("score", {"images": ["a"], "alpha": 0}, None, ["/alpha"]),
        ("score", {"images": ["a"], "alpha": 1}, BAD + "/alpha: Input should be less than 1", ["/alpha"]),
        ("score", {"images": ["a"], "alpha": "0.5"}, BAD + "/alpha: Input should be a valid number", ["/alpha"]),
        ("score", {"images": ["a"], "steps": 1}, BAD + "/steps: Extra inputs are not permitted", ["/steps"]),
        ("transform", {"images": ["a"] * 3}, None, ["/images"]),
        ("transform", {"images": ["a"], "steps": 10}, None, ["/steps"]),
        ("transform", {"images": ["a"], "steps": 0}, None, ["/steps"]),
        ("transform", {"images": ["a"], "steps": 1.5}, None, ["/steps"]),
        ("transform", {"images": ["a"], "steps": True}, None, ["/steps"]),
        ("transform", {"images": ["a"], "step_size": 0}, None, ["/step_size"]),
        ("transform", {"images": ["a"], "step_size": 1e4}, None, ["/step_size"]),
        ("transform", {"images": ["a"], "strength": 1.1}, None, ["/strength"]),
        ("transform", {"images": ["a"], "shrink": 0}, None, ["/shrink"]),
        ("transform", {"images": ["a"], "stop_at": 1e31}, None, ["/stop_at"]),
        ("transform", {"images": ["a"], "class": "one"}, BAD + "/class: Input should be null", ["/class"]),
        ("sample", {"seeds": []}, BAD + f"/seeds: List {ITEMS}", ["/seeds"]),
        ("sample", {"seeds": [-1]}, None, ["/seeds/0"]),
        ("sample", {"seeds": [2**53]}, None, ["/seeds/0"]),
        ("sample", {"seeds": [0, 1, 2]}, None, ["/seeds"]),
        ("sample", {"seeds": ["0"]}, None, ["/seeds/0"]),
        ("sample", {"seeds": [0], "images": ["a"]}, None, ["/images"]),
    ],
)
def test_a_body_that_cannot_be_meant(
    limited: Make, route: str, body: object, detail: str | None, pointers: list[str]
) -> None:
    client = limited(limits=Limits(images=4, climbs=2, steps=9))
    answer = client.post(f"/v1/{route}", json=body)
    _refused(answer, 422, detail or answer.json()["detail"])
    assert [fault["pointer"] for fault in answer.json()["errors"]] == pointers
    assert answer.json()["detail"].startswith(BAD)


def test_all_that_is_wrong_is_listed_but_not_what_came(client: TestClient) -> None:
    body = {"images": [{"secret": 1}], "alpha": "secret", "one": 1, "two": 2}
    answer = client.post("/v1/score", json=body)
    assert len(answer.json()["errors"]) == 4
    assert "secret" not in answer.text


@pytest.mark.parametrize(
    "text", ["", "{", '{"images": ["a"}', "[" * 10000, '{"images": ["\\ud800"]}', '{"alpha": NaN}']
)
def test_what_is_no_json(client: TestClient, text: str) -> None:
    answer = client.post("/v1/score", content=text, headers=JSON)
    if "NaN" in text:  # read, and refused
        assert answer.status_code == 422
        return
    _refused(answer, 400, answer.json()["detail"])
    assert answer.json()["detail"].startswith("expected JSON, got ")


def test_a_number_that_json_does_not_know_is_refused(client: TestClient) -> None:
    answer = client.post("/v1/score", content='{"images": ["a"], "alpha": NaN}', headers=JSON)
    assert answer.json()["errors"][0]["pointer"] == "/alpha"


def test_bytes_that_are_no_utf8_are_no_json(client: TestClient) -> None:
    answer = client.post("/v1/score", content=b'{"images": ["\xff"]}', headers=JSON)
    _refused(answer, 400, answer.json()["detail"])


@pytest.mark.parametrize(
    ("route", "media_type", "detail"),
    [
        ("score", "text/plain", "expected a body of application/json or multipart/form-data, got 'text/plain'"),
        ("score", "", "expected a body of application/json or multipart/form-data, got 'no content type'"),
        ("transform", "image/png", "expected a body of application/json or multipart/form-data, got 'image/png'"),
        ("sample", "multipart/form-data; boundary=x", "expected a body of application/json, got 'multipart/form-data'"),
    ],
)
def test_another_media_type(client: TestClient, route: str, media_type: str, detail: str) -> None:
    answer = client.post(f"/v1/{route}", content=b"{}", headers={"content-type": media_type} if media_type else {})
    _refused(answer, 415, detail)


def test_a_form_that_cannot_be_read(client: TestClient) -> None:
    start = "expected a form, got one that cannot be read: "
    for content, boundary, words in (
        (b"", "", "Missing boundary in multipart."),
        (b"no form", "; boundary=x", "Invalid multipart data."),
        (b"--x\r\nContent-Disposition: form-data\r\n\r\na\r\n--x--\r\n", "; boundary=x", "The Content-Disposition"),
    ):
        headers = {"content-type": "multipart/form-data" + boundary}
        answer = client.post("/v1/score", content=content, headers=headers)
        _refused(answer, 400, answer.json()["detail"])
        assert answer.json()["detail"].startswith(start + words)


def test_a_form_of_other_parts_than_expected(limited: Make, pngs: list[bytes]) -> None:
    client = limited(limits=Limits(images=2, climbs=2))
    image = ("images", ("a.png", pngs[0]))
    what = "images as files, each with a file name, and every other field once and as text"
    for files, data, name in (
        ([image, ("alpha", ("b.png", pngs[1]))], {}, "alpha"),
        ([image], {"images": "text"}, "images"),
        ([image], {"alpha": ["0.1", "0.2"]}, "alpha"),
    ):
        answer = client.post("/v1/score", files=files, data=data)
        _refused(answer, 422, f"expected {what}, got {name!r}")
        assert answer.json()["errors"] == [{"pointer": f"/{name}", "detail": what}]
    assert client.post("/v1/score", files=[image] * 3).json()["errors"][0]["pointer"] == "/images"
    assert client.post("/v1/score", files=[image] * 4).json()["detail"].endswith("number of files is 3.")
    assert client.post("/v1/score", files={"alpha": (None, "0.1")}).json()["errors"][0]["pointer"] == "/images"
    assert client.post("/v1/score", files=[image], data={"beta": "1"}).json()["errors"][0]["pointer"] == "/beta"
    assert client.post("/v1/score", files=[image], data={"alpha": "high"}).status_code == 422


def test_a_level_that_the_calibration_cannot_reach(client: TestClient, trained: Run, texts: list[str]) -> None:
    assert trained.calibration is not None
    least = 1 / (len(trained.calibration.logits) + 1)
    assert client.post("/v1/score", json={"images": texts, "alpha": least}).status_code == 200
    answer = client.post("/v1/score", json={"images": texts, "alpha": 0.999 * least})
    assert answer.status_code == 422
    assert [fault["pointer"] for fault in answer.json()["errors"]] == ["/alpha"]
    schema = client.get("/openapi.json").json()["paths"]["/v1/score"]["post"]["requestBody"]["content"]
    assert schema["application/json"]["schema"]["properties"]["alpha"]["anyOf"][0]["minimum"] == least


# routes


def test_a_route_that_is_not_there(client: TestClient) -> None:
    for path in ("/", "/v1", "/v1/", "/v1/scores", "/v1/score/", "/docs", "/redoc", "/%00"):
        answer = client.get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (404, PROBLEM)
        assert answer.json()["detail"].startswith("expected a route of this service, got /")


def test_another_method(client: TestClient) -> None:
    answer = client.get("/v1/score")
    _refused(answer, 405, "expected another method of /v1/score, got GET")
    assert answer.headers["allow"] == "POST"
    for method in ("PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"):
        assert client.request(method, "/v1/model").headers["content-type"] == PROBLEM
    assert client.head("/v1/model").status_code == 405


def test_an_error_of_the_service_says_nothing_of_itself(limited: Make, trained: Run, texts: list[str]) -> None:
    class Broken(Gated):
        def forward(self, images: Tensor) -> Tensor:
            if self.passes:
                raise RuntimeError("at /secret/place")
            return super().forward(images)

    client = limited(replace(trained, detector=Broken(trained.detector)))
    for route, body in (("score", {"images": texts}), ("sample", {"seeds": [0]})):
        answer = client.post(f"/v1/{route}", json=body)
        words = "expected an answer, got an error: the service's log says which"
        _refused(answer, 500, words)
        assert f'route="/v1/{route}",status="500"}} 1.0' in client.get("/metrics").text


# the key, and other origins


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", "Bearer other", "Basic a-key", "a-key", "Bearer  a-key", "Bearer a-keys"]
)
def test_without_the_key_nothing_is_done(limited: Make, header: str | None) -> None:
    client = limited(key="a-key")
    headers = {} if header is None else {"Authorization": header}
    words = "expected the service's key as Authorization: Bearer KEY, got another or none"
    for method, path in (("GET", "/v1/model"), ("POST", "/v1/score"), ("GET", "/metrics"), ("GET", "/v1/nothing")):
        answer = client.request(method, path, headers=headers)
        _refused(answer, 401, words)
        assert answer.headers["www-authenticate"] == "Bearer"
    for path in ("/healthz", "/readyz", "/openapi.json"):
        assert client.get(path).status_code == 200


def test_with_the_key_everything_is(limited: Make, texts: list[str]) -> None:
    client = limited(key="a-key")
    headers = {"Authorization": "Bearer a-key"}
    for scheme in ("Bearer", "bearer"):
        assert client.get("/v1/model", headers={"Authorization": f"{scheme} a-key"}).status_code == 200
    assert client.post("/v1/score", json={"images": texts}, headers=headers).status_code == 200
    document = client.get("/openapi.json").json()
    assert document["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"
    assert "401" in document["paths"]["/v1/score"]["post"]["responses"]
    assert "security" not in document["paths"]["/healthz"]["get"]


def test_no_other_origin_is_let_in_unless_named(limited: Make) -> None:
    asks = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}
    closed = limited(key="a-key")
    assert "access-control-allow-origin" not in closed.get("/healthz", headers=asks).headers
    assert closed.options("/v1/score", headers=asks).status_code == 401
    named = limited(key="a-key", origins=["https://a.example"])
    allowed = named.options("/v1/score", headers=asks)
    assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (200, "https://a.example")
    assert named.get("/v1/model", headers=asks).headers["access-control-allow-origin"] == "https://a.example"
    assert "access-control-allow-origin" not in named.get("/healthz", headers={"Origin": "https://b.example"}).headers


def test_answers_are_not_kept_by_those_between(client: TestClient) -> None:
    for answer in (client.get("/v1/model"), client.post("/v1/score", json={})):
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"


# size


def _chunks(n: int, size: int) -> Iterator[bytes]:
    yield from (b"x" * size for _ in range(n))


@pytest.mark.parametrize("length", ["1001", "99999999999999999999999999"])
def test_a_body_that_says_it_is_too_large(limited: Make, length: str) -> None:
    client = limited(limits=Limits(body=1000))
    answer = client.post("/v1/score", content=b"{}", headers=JSON | {"content-length": length})
    _refused(answer, 413, "expected a body of at most 1000 bytes, got more")


@pytest.mark.parametrize("n", [11, 30, 4000])
def test_a_body_that_is_too_large_whatever_it_says(limited: Make, n: int) -> None:
    client = limited(limits=Limits(body=1000))
    answer = client.post("/v1/score", content=_chunks(n, 100), headers=JSON)
    _refused(answer, 413, "expected a body of at most 1000 bytes, got more")
    assert client.post("/v1/score", content=_chunks(10, 100), headers=JSON).status_code == 400
    assert "genat_body_bytes 0.0" in client.get("/metrics").text


def _guarded(
    app: Callable[[Scope, Receive, Send], Any], messages: list[Message | float], *, limits: Limits, **headers: str
) -> tuple[list[Message], Telemetry]:
    """Send messages to a guard, or pauses in seconds; return what it sent."""
    sent: list[Message] = []
    telemetry = Telemetry()
    left = list(messages)

    async def receive() -> Message:
        while True:
            message = left.pop(0)
            if not isinstance(message, float):
                return message
            await asyncio.sleep(message)

    async def send(message: Message) -> None:
        sent.append(message)

    async def ask() -> None:
        guard = Guard(app, limits=limits, key=None, telemetry=telemetry)
        named = [(name.encode(), value.encode()) for name, value in headers.items()]
        scope = {"type": "http", "method": "POST", "path": "/v1/score", "headers": named}
        await guard(scope, receive, send)
        assert telemetry.registry.get_sample_value("genat_body_bytes") == 0

    asyncio.run(ask())
    return sent, telemetry


async def _unreached(_scope: Scope, _receive: Receive, _send: Send) -> None:
    raise AssertionError("the route was reached")


def test_a_body_too_slow_is_not_waited_for() -> None:
    part: Message = {"type": "http.request", "body": b"abc", "more_body": True}
    sent, _ = _guarded(_unreached, [part, 30.0], limits=Limits(timeout=0.01))
    assert sent[0]["status"] == 408
    assert b"expected a body within 0.01 s, got 3 bytes of it" in sent[1]["body"]


def test_a_body_that_is_too_large_and_too_slow_is_too_large() -> None:
    part: Message = {"type": "http.request", "body": b"abc", "more_body": True}
    sent, _ = _guarded(_unreached, [part, 30.0], limits=Limits(timeout=0.01, body=2, memory=2))
    assert sent[0]["status"] == 413


def test_a_client_that_asks_before_it_sends_is_told_at_once() -> None:
    sent, _ = _guarded(_unreached, [], limits=Limits(body=2), **{"content-length": "3", "expect": "100-continue"})
    assert sent[0]["status"] == 413


def test_a_client_that_goes_away_has_no_answer_and_is_counted() -> None:
    messages: list[Message | float] = [{"type": "http.request", "body": b"a", "more_body": True}]
    sent, telemetry = _guarded(_unreached, [*messages, {"type": "http.disconnect"}], limits=Limits())
    assert sent == []
    labels = {"route": "/v1/score", "method": "POST", "status": "499"}
    assert telemetry.registry.get_sample_value("genat_requests_total", labels) == 1


def test_a_body_for_which_memory_is_full_is_refused() -> None:
    limits = Limits(body=10, memory=10)
    inner: list[list[Message]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert (await receive())["body"] == b"x" * 6
        if not inner:
            inner.append([])
            more: list[Message] = [{"type": "http.request", "body": b"y" * 5, "more_body": False}]

            async def again() -> Message:
                return more.pop()

            async def keep(message: Message) -> None:
                inner[0].append(message)

            await guard(dict(scope, path="/v1/score"), again, keep)
        await send({"type": "http.response.start", "status": 200, "headers": []})

    telemetry = Telemetry()
    guard = Guard(app, limits=limits, key=None, telemetry=telemetry)
    sent: list[Message] = []

    async def ask() -> None:
        messages: list[Message] = [{"type": "http.request", "body": b"x" * 6, "more_body": False}]

        async def receive() -> Message:
            return messages.pop()

        async def send(message: Message) -> None:
            sent.append(message)

        await guard({"type": "http", "method": "POST", "path": "/v1/score", "headers": []}, receive, send)

    asyncio.run(ask())
    assert sent[0]["status"] == 200
    assert inner[0][0]["status"] == 503
    assert (b"retry-after", b"1") in inner[0][0]["headers"]
    assert b"expected room for another body, got a full house: ask again" in inner[0][1]["body"]
    assert telemetry.registry.get_sample_value("genat_body_bytes") == 0


def test_what_is_cut_off_at_the_stop_is_said_and_counted() -> None:
    async def endless(_scope: Scope, _receive: Receive, _send: Send) -> None:
        await asyncio.sleep(3600)

    telemetry = Telemetry()
    guard = Guard(endless, limits=Limits(), key=None, telemetry=telemetry)

    async def ask() -> None:
        async def nothing() -> Message:
            return {"type": "http.request"}

        async def send(message: Message) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "GET", "path": "/v1/model", "headers": []}
        task = asyncio.create_task(guard(scope, nothing, send))
        await asyncio.sleep(0.01)
        task.cancel()
        await task

    sent: list[Message] = []
    asyncio.run(ask())
    assert sent[0]["status"] == 503
    assert b"expected room for an answer before the stop, got a full house: ask again" in sent[1]["body"]
    assert telemetry.registry.get_sample_value("genat_lost_requests_total") == 1


# room and time


def test_a_full_queue_is_said_and_empties_again(
    limited: Make, trained: Run, gated: Gated, pool: ThreadPoolExecutor, texts: list[str]
) -> None:
    client = limited(replace(trained, detector=gated), limits=Limits(images=8, queue=8))
    gated.close()
    first = pool.submit(client.post, "/v1/score", json={"images": texts[:5]})
    assert gated.entered.wait(30)
    full = client.post("/v1/score", json={"images": texts[:4]})
    _refused(full, 503, "expected room for so many images, got a full house: ask again")
    assert full.headers["retry-after"] == "1"
    assert "genat_waiting_images 5.0" in client.get("/metrics").text
    second = pool.submit(client.post, "/v1/score", json={"images": texts[:3]})
    gated.gate.set()
    assert [len(one.result(30).json()["items"]) for one in (first, second)] == [5, 3]
    assert client.post("/v1/score", json={"images": texts}).status_code == 200


def test_too_many_climbs_are_refused(
    limited: Make, trained: Run, gated: Gated, pool: ThreadPoolExecutor, texts: list[str]
) -> None:
    client = limited(replace(trained, detector=gated), limits=Limits(climbing=1))
    gated.close()
    first = pool.submit(client.post, "/v1/sample", json={"seeds": [0], "steps": 1})
    assert gated.entered.wait(30)
    for route, body in (("transform", {"images": texts[:1]}), ("sample", {"seeds": [1]})):
        full = client.post(f"/v1/{route}", json=body)
        _refused(full, 503, "expected room for another climb, got a full house: ask again")
    gated.gate.set()
    assert first.result(30).status_code == 200


def test_requests_that_wait_together_are_scored_together_and_each_gets_its_own(
    limited: Make, trained: Run, gated: Gated, pool: ThreadPoolExecutor, texts: list[str]
) -> None:
    alone = [limited().post("/v1/score", json={"images": [text]}).json()["items"][0]["logit"] for text in texts[:4]]
    client = limited(replace(trained, detector=gated))
    gated.close()
    asked = [pool.submit(client.post, "/v1/score", json={"images": [text]}) for text in texts[:4]]
    _until(lambda: "genat_waiting_images 4.0" in client.get("/metrics").text)
    gated.gate.set()
    together = [one.result(30).json()["items"][0]["logit"] for one in asked]
    assert together == pytest.approx(alone, abs=1e-5)
    assert gated.passes <= 4  # the first of the service, and fewer than one a request


@pytest.mark.parametrize("route", ["score", "transform", "sample"])
def test_an_answer_that_takes_too_long_is_given_up(
    limited: Make, trained: Run, gated: Gated, texts: list[str], route: str
) -> None:
    client = limited(replace(trained, detector=gated), limits=Limits(timeout=0.2))
    gated.close()
    body = {"seeds": [0]} if route == "sample" else {"images": texts[:1]}
    answer = client.post(f"/v1/{route}", json=body)
    _refused(answer, 504, "expected an answer within 0.2 s, got none: ask for less at a time")
    _until(lambda: client.get("/readyz").status_code == 503)  # the pass itself is as old as the timeout in a moment
    _refused(client.get("/readyz"), 503, "expected the detector to answer, got nothing within the timeout")
    gated.gate.set()
    _until(lambda: client.get("/readyz").status_code == 200)
    text = client.get("/metrics").text
    assert "genat_waiting_images 0.0" in text
    assert "genat_climbing_requests 0.0" in text


def test_a_climb_that_was_given_up_takes_no_further_step(
    limited: Make, trained: Run, gated: Gated, texts: list[str]
) -> None:
    client = limited(replace(trained, detector=gated), limits=Limits(timeout=0.2))
    gated.close()
    assert client.post("/v1/transform", json={"images": texts[:1], "steps": 200}).status_code == 504
    gated.gate.set()
    assert client.post("/v1/score", json={"images": texts[:1]}).status_code == 200
    assert gated.passes == 3  # the first of the service, the step that was under way, the score


def test_images_that_take_long_to_decode_are_given_up(
    limited: Make, monkeypatch: pytest.MonkeyPatch, texts: list[str]
) -> None:
    gate = threading.Event()
    monkeypatch.setattr("genat.studio.service.fit_image", lambda *_, **__: gate.wait(30))
    client = limited(limits=Limits(timeout=0.1))
    assert client.post("/v1/score", json={"images": texts}).status_code == 504
    gate.set()


def test_a_client_that_goes_away_is_not_computed_for(
    limited: Make, trained: Run, gated: Gated, texts: list[str]
) -> None:
    client = limited(replace(trained, detector=gated))
    gated.close()
    content = b'{"images": ["%s"], "steps": 200}' % base64.b64encode(base64.b64decode(texts[0]))
    messages: list[Message] = [{"type": "http.request", "body": content, "more_body": False}]
    sent: list[Message] = []

    async def receive() -> Message:
        if messages:
            return messages.pop()
        await asyncio.to_thread(gated.entered.wait, 30)
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/v1/transform", "raw_path": b"", "query_string": b"",
             "headers": [(b"content-type", b"application/json")], "root_path": "", "scheme": "http"}  # fmt: skip
    assert client.portal is not None
    client.portal.call(client.app, scope, receive, send)
    gated.gate.set()
    assert client.post("/v1/score", json={"images": texts[:1]}).status_code == 200
    assert gated.passes == 3
    assert sent[0]["status"] == 499
    assert 'route="/v1/transform",status="499"} 1.0' in client.get("/metrics").text
