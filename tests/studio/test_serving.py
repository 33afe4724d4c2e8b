"""The process: it listens, answers, and stops cleanly; and the command that starts it."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from genat import config, runs, studio
from genat.runs import Run
from genat.studio import Limits, application, serving

Cli = Callable[..., tuple[int, str, str]]


def _ask(address: str, body: object = None, *, key: str = "a-key") -> tuple[int, bytes]:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address, content, headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def _until(holds: Callable[[], bool]) -> None:
    given_up = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < given_up
        time.sleep(0.01)


def _sampling(address: str, pool: ThreadPoolExecutor, *, steps: int) -> "Future[tuple[int, bytes]]":
    """Ask for samples, and return when the service is at it."""
    asked = pool.submit(_ask, f"{address}/v1/sample", {"seeds": [0, 1], "steps": steps})
    _until(lambda: b"genat_climbing_requests 1.0" in _ask(f"{address}/metrics")[1])
    return asked


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as one:
        yield one


@pytest.fixture
def noise_run(tiny_run: Path) -> Path:
    """A run whose climbs start from noise, which costs nothing to read."""
    settings = config.load(tiny_run / runs.CONFIG, ["outside=[{kind: uniform-noise}]"])
    (tiny_run / runs.CONFIG).write_text(config.dump(settings), encoding="utf-8")
    return tiny_run


def test_a_process_answers_what_it_was_asked_before_it_ends(noise_run: Path, pool: ThreadPoolExecutor) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GENAT_API_KEY": "a-key"}
    options = ["--port", "0", "--threads", "1", "--max-steps", "20000"]
    command = [sys.executable, "-m", "genat", "serve", str(noise_run), *options]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as one:
        assert one.stdout is not None
        assert one.stderr is not None
        try:
            words = re.fullmatch(r"serving (.*) at (http://127\.0\.0\.1:\d+), Ctrl\+C stops\n", one.stdout.readline())
            assert words is not None
            assert words[1] == str(noise_run)
            address = words[2]
            assert _ask(f"{address}/healthz", key="")[0] == 200
            assert _ask(f"{address}/v1/model", key="other")[0] == 401
            status, content = _ask(f"{address}/v1/score", {"images": ["?"]})
            assert (status, list(json.loads(content)["items"][0])) == (200, ["error"])
            asked = _sampling(address, pool, steps=3000)
            one.send_signal(signal.SIGTERM)
            status, content = asked.result(60)
            assert (status, len(json.loads(content)["items"])) == (200, 2)
            assert one.wait(60) == 0
            assert one.stderr.read() == ""
            with pytest.raises(urllib.error.URLError):
                _ask(f"{address}/healthz")
        finally:
            one.kill()


def _serve(app: FastAPI, during: Callable[[str], None], **options: Any) -> bool:  # noqa: ANN401 - those of serve
    """Serve in this process, and do something as soon as it listens; the signal that ends it comes from there."""
    threads: list[threading.Thread] = []

    def listening(address: str) -> None:
        threads.append(threading.Thread(target=during, args=(address,)))
        threads[0].start()

    before = signal.getsignal(signal.SIGINT)
    try:
        return studio.serve(app, port=0, say=listening, **options)
    finally:
        threads[0].join()
        assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_each_signal_stops_it(
    trained: Run, stop: signal.Signals, host: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def during(address: str) -> None:
        assert _ask(f"{address}/v1/nothing")[0] == 404
        os.kill(os.getpid(), stop)

    assert _serve(application(trained), during, host=host)
    assert capsys.readouterr() == ("", "")


def test_an_access_log_has_a_line_a_request(trained: Run, capsys: pytest.CaptureFixture[str]) -> None:
    def during(address: str) -> None:
        _ask(f"{address}/v1/score", {"images": ["QUJDREVGR0g="]})
        os.kill(os.getpid(), signal.SIGTERM)

    assert _serve(application(trained), during, access_log=True)
    out, err = capsys.readouterr()
    assert '"POST /v1/score HTTP/1.1" 200' in out
    assert "QUJDREVGR0g" not in out + err


def test_a_second_interrupt_cuts_off_what_is_under_way(trained: Run, pool: ThreadPoolExecutor) -> None:
    app = application(trained, limits=Limits(steps=10**6))
    asked: list[Future[tuple[int, bytes]]] = []

    def during(address: str) -> None:
        asked.append(_sampling(address, pool, steps=10**6))
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.3)  # signals of one kind that come at once are one
        os.kill(os.getpid(), signal.SIGINT)

    assert not _serve(app, during)
    assert app.state.service.telemetry.registry.get_sample_value("genat_lost_requests_total") == 1
    status, content = asked[0].result(60)
    assert (status, json.loads(content)["title"]) == (503, "Service Unavailable")
    app.state.service.worker.stop()


def test_a_request_that_outlasts_the_grace_is_cut_off(
    trained: Run, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(serving, "_GRACE", -29.0)
    app = application(trained, limits=Limits(steps=10**6))

    asked: list[Future[tuple[int, bytes]]] = []

    def during(address: str) -> None:
        asked.append(_sampling(address, pool, steps=10**6))
        os.kill(os.getpid(), signal.SIGTERM)

    assert not _serve(app, during)
    assert asked[0].result(60)[0] == 503
    assert "timeout graceful shutdown exceeded" in capsys.readouterr().err


def test_an_address_that_cannot_be_had(trained: Run) -> None:
    app = application(trained)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ValueError, match=f"expected a free address of this machine, got 127.0.0.1 port {port}: "):
            studio.serve(app, port=port)
    with pytest.raises(ValueError, match=r"expected a free address of this machine, got 192\.0\.2\.1 port 0: "):
        studio.serve(app, host="192.0.2.1", port=0)


def test_the_documentations_python_asks_and_keeps_what_it_gets(
    trained: Run, pngs: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "serve.md").read_text(encoding="utf-8")
    block = re.search("```python\n(.*?)```", page, flags=re.DOTALL)
    assert block is not None
    (tmp_path / "cat.png").write_bytes(pngs[0])
    monkeypatch.chdir(tmp_path)

    def during(address: str) -> None:
        try:
            exec(block[1].replace("http://127.0.0.1:8000", address), {})
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    assert _serve(application(trained, key="THE-KEY"), during)
    assert "'in_distribution': " in capsys.readouterr().out
    assert (tmp_path / "made.png").read_bytes().startswith(b"\x89PNG")


# the command


class Served:
    """Stands in for serving, and keeps what it was given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answered, self.options = True, dict[str, Any]()
        monkeypatch.setattr(studio, "serve", self)

    def __call__(self, app: FastAPI, *, say: Callable[[str], None], **options: Any) -> bool:  # noqa: ANN401
        self.limits, self.options = app.state.service.limits, options
        say("http://somewhere")
        return self.answered


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Served:
    monkeypatch.delenv("GENAT_API_KEY", raising=False)
    return Served(monkeypatch)


def test_the_options_arrive(run_cli: Cli, served: Served, trained_once: Path) -> None:
    command = "--host ::1 --port 1 --timeout 2 --max-body 0.5 --max-images 3 --max-climbs 4 --max-steps 5 --queue 6"
    code, out, err = run_cli("serve", trained_once, *command.split(), "--batch-size", 7, "--access-log")
    assert (code, err) == (0, "")
    assert out == f"serving {trained_once} at http://somewhere, Ctrl+C stops\n"
    assert served.options == {"host": "::1", "port": 1, "access_log": True}
    expected = Limits(body=2**19, images=3, climbs=4, steps=5, queue=6, batch=7, timeout=2.0)
    assert served.limits == expected


def test_the_exit_code_says_whether_all_was_answered(run_cli: Cli, served: Served, trained_once: Path) -> None:
    assert run_cli("serve", trained_once, "--host", "localhost")[0::2] == (0, "")
    served.answered = False
    assert run_cli("serve", trained_once)[0] == 1


def test_who_listens_to_everyone_without_a_key_is_told(
    run_cli: Cli, served: Served, trained_once: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_to_all = ("serve", trained_once, "--host", "0.0.0.0")
    assert run_cli(*open_to_all)[2] == "anyone who reaches 0.0.0.0 may ask: set GENAT_API_KEY to have a key\n"
    assert run_cli("serve", trained_once, "--host", "example")[2].startswith("anyone who reaches example")
    monkeypatch.setenv("GENAT_API_KEY", "a-key")
    assert run_cli(*open_to_all)[2] == ""
    assert served.options["host"] == "0.0.0.0"


@pytest.mark.usefixtures("served")
def test_what_a_run_cannot_do_is_told(run_cli: Cli, tiny_run: Path) -> None:
    (tiny_run / runs.CALIBRATION).unlink()
    text = (tiny_run / runs.CONFIG).read_text(encoding="utf-8")
    settings = config.load(tiny_run / runs.CONFIG, ["outside=[{kind: folder, path: /no/such}]"])
    (tiny_run / runs.CONFIG).write_text(config.dump(settings), encoding="utf-8")
    assert text != config.dump(settings)
    code, _, err = run_cli("serve", tiny_run)
    assert code == 0
    assert err.splitlines() == [
        "no /v1/sample, climbs have nowhere to start: "
        "expected a folder of images, got '/no/such', which does not exist",
        "no p-values and no verdicts: the run's training has not ended",
    ]


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--queue 3", "expected a queue of at least the 64 images of one request, got 3"),
        ("--timeout 0.01", ""),
        ("--port 65536", ""),
        ("--max-steps 0", ""),
        ("--threads 0", ""),
    ],
)
def test_options_that_cannot_be_meant(run_cli: Cli, trained_once: Path, options: str, words: str) -> None:
    code, out, err = run_cli("serve", trained_once, *options.split())
    assert (code, out) == (2, "")
    assert words in err


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize("key", ["", " ", "a key", "k\u00e9y", "key\n"])
def test_a_key_that_no_client_could_send(
    run_cli: Cli, trained_once: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("GENAT_API_KEY", key)
    code, _, err = run_cli("serve", trained_once)
    words = "GENAT_API_KEY: expected printable ASCII without spaces, got something else or nothing"
    assert (code, err) == (2, f"genat: {words}\n")


def test_a_folder_that_is_no_run(run_cli: Cli, tmp_path: Path) -> None:
    code, _, err = run_cli("serve", tmp_path / "none")
    assert (code, err) == (2, f"genat: {tmp_path}/none: expected a run folder, got none\n")


@pytest.mark.parametrize("package", ["fastapi", "uvicorn", "prometheus_client"])
def test_without_the_extra_it_is_named(
    run_cli: Cli, trained_once: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    for name in [name for name in sys.modules if name == "genat.studio" or name.startswith("genat.studio.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("genat.studio")
    monkeypatch.setitem(sys.modules, package, None)
    code, out, err = run_cli("serve", trained_once)
    assert (code, out) == (2, "")
    assert err == f"genat: serve: expected the extra studio, got no {package}: pip install 'genat[studio]'\n"
