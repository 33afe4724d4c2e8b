"""`genat stability`: what is typed reaches the study, and what comes of it is printed."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from genat.simulations.studies import Made
from genat.stability import studies

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    calls: list[dict[str, object]] = []

    def study(**arguments: object) -> Made:
        calls.append(arguments)
        return Made({"rows": [1]}, "| a table |\n", (Path("it/curves.png"),))

    monkeypatch.setattr(studies, "study", study)
    return calls


def test_what_is_typed_reaches_the_study(run_cli: Cli, asked: list[dict[str, object]]) -> None:
    code, out, _ = run_cli("stability", "--methods", "gat, jem", "--seeds", "0-1,5", "--widths", "4, 8",
                           "--budget", "1e4", "--output", "it")  # fmt: skip
    assert (code, out) == (0, "| a table |\nit/curves.png\n")
    (call,) = asked
    assert call.pop("say") is not None
    assert call == {
        "methods": ["gat", "jem"], "seeds": [0, 1, 5], "widths": [4, 8], "output": Path("it"), "budget": 1e4,
        "device": "cpu", "command": "genat stability --methods 'gat, jem' --seeds 0-1,5 --widths '4, 8' "
        "--budget 1e4 --output it",
    }  # fmt: skip


def test_what_is_not_typed_is_the_studys_own(run_cli: Cli, asked: list[dict[str, object]]) -> None:
    code, out, _ = run_cli("stability", "--json")
    assert (code, json.loads(out)) == (0, {"rows": [1]})
    (call,) = asked
    assert (call["methods"], call["widths"], call["budget"], call["seeds"]) == (None, None, None, [0, 1, 2])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--widths", "4,b"), "expected widths such as 4,8, got '4,b'"),
        (("--seeds", "x"), "--seeds: expected numbers and ranges such as 0-63 or 1,5,9-12, got 'x'"),
        (("--seeds", "0-99999999999"), "--seeds: expected at most 1,000,000 seeds, got more in '0-99999999999'"),
        (("--budget", "0"), "expected a budget of at least 1 pass, got 0.0"),
        (("--methods", "diffusion"), "expected methods among gat, gan, gan-r1, gan-sn, jem, got diffusion"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_no_folder(
    run_cli: Cli, arguments: tuple[str, str], message: str, tmp_path: Path
) -> None:
    code, out, err = run_cli("stability", *arguments, "--output", tmp_path / "it")
    assert (code, out, err) == (2, "", f"genat: {message}\n")
    assert not (tmp_path / "it").exists()
