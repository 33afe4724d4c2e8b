"""The studio's page as an application, and the command that opens it."""

import asyncio
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import webbrowser
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from fastapi.testclient import TestClient

from genat import config, report, runs
from genat.studio import serving
from genat.studio.logic import open_runs, sheets
from genat.studio.pages import application, page, shared
from genat.studio.pages.climb import _marked
from genat.studio.pages.shared import Work

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def noise_run(tiny_run: Path) -> Path:
    """A run whose climbs start from noise, which costs nothing to read."""
    settings = config.load(tiny_run / runs.CONFIG, ["outside=[{kind: uniform-noise}]"])
    (tiny_run / runs.CONFIG).write_text(config.dump(settings), encoding="utf-8")
    return tiny_run


# the application


def test_the_page_names_no_other_host_and_a_report_may_run_nothing(noise_run: Path) -> None:
    with TestClient(application(open_runs([noise_run]))) as client:
        assert client.get("/healthz").json() == {"status": "ok"}
        settings = client.get("/config").json()
        assert settings["analytics_enabled"] is False
        assert settings["footer_links"] == []
        assert "fonts.googleapis" not in client.get("/theme.css").text
        assert client.get("/reports/0.html").status_code == 404
        report.write(runs.load(noise_run))
        answer = client.get("/reports/0.html")
        assert answer.status_code == 200
        assert answer.headers["content-security-policy"].startswith("sandbox; default-src 'none'")
        assert client.get("/reports/1.html").status_code == 404


def test_what_waits_is_bounded_and_every_control_has_a_label(noise_run: Path) -> None:
    blocks = application(open_runs([noise_run])).state.blocks
    assert blocks._queue.max_size == page.QUEUE
    assert blocks._queue.default_concurrency_limit == page.AT_ONCE
    queued = [fn for fn in blocks.fns.values() if fn.queue]
    assert {fn.concurrency_limit for fn in queued} == {"default"}
    assert {"climbing", "training"} <= {fn.concurrency_id for fn in queued}
    inputs = {"dropdown", "textbox", "number", "slider", "file", "checkboxgroup"}
    controls = [one for one in blocks.blocks.values() if one.get_block_name() in inputs]
    assert len(controls) > 15
    assert all(getattr(one, "label", None) for one in controls)


def test_a_studio_needs_a_run() -> None:
    with pytest.raises(ValueError, match="expected at least one run, got none"):
        application({})


def test_a_box_is_marked_beside_what_was(noise_run: Path) -> None:
    opened = open_runs([noise_run])[str(noise_run)]
    sheet = sheets.blank((1, 8, 8))
    once = _marked(opened, sheet.dump(), "0,0,2,2")
    twice = sheets.read(_marked(opened, once, "4,4,8,8"), (1, 8, 8))
    assert int(twice.mask.sum()) == 20
    with pytest.raises(ValueError, match="expected four whole numbers x0,y0,x1,y1, got 'all'"):
        _marked(opened, once, "all")


# works


def _buttons(do: Callable[..., Iterator[dict[Any, Any]]]) -> tuple[list[Callable[[Work], Any]], gr.HTML]:
    """Return what pressing one button, its turn, and pressing the other call, and the status."""

    async def build() -> tuple[list[Callable[[Work], Any]], gr.HTML]:  # where a loop runs, Gradio starts none
        with gr.Blocks() as blocks:
            said = shared.status("it")
            shared.works((gr.Button("Go"), gr.Button("Cancel")), do, set(), [said], said=said, queue="it")
        ask, run, stop = (fn.fn for fn in blocks.fns.values())
        state = next(one for one in blocks.blocks.values() if isinstance(one, gr.State))
        return [ask, lambda work: run({state: work}), stop], said

    return asyncio.run(build())


def test_a_work_ends_where_it_is_cancelled_and_another_one_begins_anew() -> None:
    def count(work: Work, _: object) -> Iterator[dict[Any, Any]]:
        for i in range(4):
            yield {said: i}
            if work.cancelled:
                break
        yield {said: work.over()}

    (ask, run, stop), said = _buttons(count)
    work = Work()
    stop(work)  # of nothing
    ask(work)
    assert list(run(work)) == [{said: words} for words in (0, 1, 2, 3, "done")]
    ask(work)
    goes_on = run(work)
    assert [next(goes_on), next(goes_on)] == [{said: 0}, {said: 1}]
    stop(work)
    assert list(goes_on) == [{said: "cancelled"}]
    ask(work)
    assert stop(work) == "cancelled"  # while it waits
    assert list(run(work)) == [{said: "cancelled"}]


def test_what_a_work_is_refused_for_is_said_and_the_next_one_begins() -> None:
    def refuse(*_: object) -> Iterator[dict[Any, Any]]:
        yield {said: "begun"}
        raise ValueError("expected <more>, got less")

    (ask, run, _), said = _buttons(refuse)
    work = Work()
    ask(work)
    words = "Not possible: expected &lt;more&gt;, got less"
    assert list(run(work)) == [{said: "begun"}, {said: f'<span class="wrong">{words}</span>'}]
    assert not work.going


# the command


def test_the_command_serves_until_it_is_told_to_stop(noise_run: Path) -> None:
    command = [sys.executable, "-m", "genat", "studio", str(noise_run), "--port", "0", "--threads", "1", "--no-open"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as one:
        assert one.stdout is not None
        assert one.stderr is not None
        try:
            line = one.stdout.readline()
            assert line.startswith("studio of 1 run at http://127.0.0.1:")
            assert line.endswith(", Ctrl+C stops\n")
            one.send_signal(signal.SIGTERM)
            assert one.wait(60) == 0
            assert one.stderr.read() == ""
        finally:
            one.kill()


def test_it_opens_the_browser_where_it_listens(noise_run: Path, run_cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []
    pages: list[str] = []

    def listen(_: object, *, say: Callable[[str], None], **options: object) -> bool:
        asked.append(options)
        say("http://127.0.0.1:1")
        return True

    monkeypatch.setattr(serving, "listen", listen)
    monkeypatch.setattr(webbrowser, "open", pages.append)
    code, out, error = run_cli("studio", noise_run, "--host", "0.0.0.0", "--port", "81")
    assert (code, out) == (0, "studio of 1 run at http://127.0.0.1:1, Ctrl+C stops\n")
    assert error == "anyone who reaches 0.0.0.0 may use the page: it asks for no key\n"
    assert (asked[0]["host"], asked[0]["port"]) == ("0.0.0.0", 81)
    assert run_cli("studio", noise_run, "--no-open")[2] == ""
    assert pages == ["http://127.0.0.1:1"]


def test_without_a_run_those_that_come_with_genat_are_opened(run_cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(serving, "listen", lambda app, **_: asked.append(app))
    assert run_cli("studio", "--no-open") == (0, "", "")
    choices = [one.choices for one in asked[0].state.blocks.blocks.values() if getattr(one, "label", "") == "Run"]
    assert [name for name, _ in choices[0]] == ["shipped:digits", "shipped:emoji-faces"]


def test_mistakes_are_a_line(noise_run: Path, tmp_path: Path, run_cli: Cli) -> None:
    none = tmp_path / "none"
    assert run_cli("studio", none, "--no-open") == (2, "", f"genat: {none}: expected a run folder, got none\n")
    other = "genat: expected a detector that comes with genat (digits, emoji-faces), got 'cats'\n"
    assert run_cli("studio", "shipped:cats", "--no-open") == (2, "", other)
    twice = f"genat: {noise_run}: expected each run once, got it again\n"
    assert run_cli("studio", noise_run, noise_run, "--no-open") == (2, "", twice)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, out, error = run_cli("studio", noise_run, "--port", port, "--no-open")
    assert (code, out) == (2, "")
    assert error.startswith(f"genat: expected a free address of this machine, got 127.0.0.1 port {port}: ")


def test_without_gradio_the_extra_is_named(noise_run: Path, run_cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr("genat.cli.showing.find_spec", lambda name: None if name == "gradio" else found(name))
    line = "genat: studio: expected the extra studio, got no gradio: pip install 'genat[studio]'\n"
    assert run_cli("studio", noise_run) == (2, "", line)


def test_the_help_does_not_import_gradio() -> None:
    code = "import sys; from genat.cli import app; sys.exit('gradio' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
