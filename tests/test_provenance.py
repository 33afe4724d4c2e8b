"""The words that stand beside a figure."""

import json
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from genat import provenance


def _git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository in which the module stands as it does in this one."""
    (tmp_path / "src" / "genat").mkdir(parents=True)
    module = tmp_path / "src" / "genat" / "provenance.py"
    module.write_text("", encoding="utf-8")
    monkeypatch.setattr(provenance, "__file__", str(module))
    return tmp_path


def test_it_is_json_and_complete() -> None:
    made = provenance.provenance("genat demo --seed 3")
    assert json.loads(json.dumps(made)) == made
    assert made["made_by"] == "genat demo --seed 3"
    assert made["genat"] == version("genat")
    assert made["torch"] == torch.__version__
    assert made["threads"] == torch.get_num_threads()
    assert made["date"] == datetime.now(UTC).date().isoformat()
    assert made["hardware"]


def test_the_commit_of_a_clean_and_of_a_changed_tree(checkout: Path) -> None:
    assert provenance.provenance("x")["commit"] == "unknown"  # no repository
    _git(checkout, "init", "-q")
    assert provenance.provenance("x")["commit"] == "unknown"  # no commit
    _git(checkout, "add", ".")
    _git(checkout, "commit", "-q", "-m", "first")
    clean = str(provenance.provenance("x")["commit"])
    assert len(clean) == 10
    assert set(clean) <= set("0123456789abcdef")
    (checkout / "new.txt").write_text("untracked", encoding="utf-8")
    assert provenance.provenance("x")["commit"] == clean
    (checkout / "src" / "genat" / "provenance.py").write_text("changed", encoding="utf-8")
    assert provenance.provenance("x")["commit"] == clean + "+"


def test_without_git_the_commit_is_unknown(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (checkout / ".git").mkdir()
    monkeypatch.setenv("PATH", "")
    assert provenance.provenance("x")["commit"] == "unknown"


def test_where_the_processor_has_no_name_in_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", missing)
    monkeypatch.setattr("platform.processor", lambda: "")
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    assert provenance.hardware().endswith(" x riscv64")
