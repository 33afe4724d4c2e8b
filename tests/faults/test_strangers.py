"""A run folder from a stranger: nothing in it is run, and nothing in it takes memory that it does not have."""

import json
import os
import pickle
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from genat import checkpoints, networks, runs
from genat.networks.bounded import Bounded

Cli = Callable[..., tuple[int, str, str]]


class Trap:
    """What touches a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def bare(trap: Trap, path: Path) -> None:
    path.write_bytes(pickle.dumps(trap))


def zipped(trap: Trap, path: Path) -> None:
    torch.save(trap, path)


def rewrite(run: Path, **changes: object) -> None:
    """Change the checkpoints' JSON as one who knows how it is sealed; keys of the state in the state."""
    for path in (run / runs.CHECKPOINTS).glob("*.json"):
        content = json.loads(path.read_text(encoding="utf-8"))
        content["state"] |= changes
        path.write_text(json.dumps(checkpoints.sealed(content)), encoding="utf-8")


def replace_tensors(run: Path, content: bytes) -> None:
    for path in (run / runs.CHECKPOINTS).glob("*.json"):
        path.with_suffix(".safetensors").write_bytes(content)
        told = json.loads(path.read_text()) | {"sha256": checkpoints._sha256(path.with_suffix(".safetensors"))}
        path.write_text(json.dumps(checkpoints.sealed(told)), encoding="utf-8")


@pytest.mark.parametrize("write", [bare, zipped])
def test_no_file_of_a_run_is_ever_unpickled(
    write: Callable[[Trap, Path], None], run_cli: Cli, evaluated_run: Path, tmp_path: Path
) -> None:
    trap = Trap(tmp_path / "sprung")
    write(trap, tmp_path / "pickle")
    pickled = (tmp_path / "pickle").read_bytes()
    files = [path for path in evaluated_run.rglob("*") if path.is_file()]
    assert {".json", ".jsonl", ".yaml", ".safetensors", ".png"} <= {path.suffix for path in files}
    for path in files:
        before = path.read_bytes()
        path.write_bytes(pickled)
        if path.parent.name == runs.CHECKPOINTS and path.suffix == ".safetensors":
            replace_tensors(evaluated_run, pickled)
        for use in (runs.load, runs.metrics, runs.incidents):
            try:
                found = use(evaluated_run)
                if isinstance(found, runs.Run):
                    found.held_out()
            except (ValueError, FileNotFoundError) as error:
                assert "\n" not in str(error)  # noqa: PT017 - either outcome is right
        path.write_bytes(before)
    assert run_cli("report", evaluated_run)[0] == 2  # the checkpoints are still others
    assert not trap.mark.exists()
    pickle.loads(pickled) if write is bare else torch.load(tmp_path / "pickle", weights_only=False)
    assert trap.mark.exists()  # it would have been


def header(**tensors: object) -> bytes:
    content = json.dumps(tensors).encode()
    return struct.pack("<Q", len(content)) + content + b"\0" * 16


def of(shape: list[int], end: int = 16, kind: str = "F32") -> dict[str, object]:
    return {"dtype": kind, "shape": shape, "data_offsets": [0, end]}


LIES = {
    "more than there is": header(a=of([10**12])),
    "beyond all numbers": header(a=of([2**40, 2**40])),
    "nothing of much": header(a=of([0, 2**63], end=0)),
    "less than nothing": header(a=of([-4])),
    "another kind": header(a=of([4], kind="F99")),
    "an end that is not there": header(a=of([4], end=2**60)),
    "a header without end": struct.pack("<Q", 2**62) + b"{}",
    "a header beyond the file": struct.pack("<Q", 2**20) + b"{}",
    "no header": b"",
    "half a length": b"\0\0\0",
    "many brackets": struct.pack("<Q", 10**6) + b"[" * 10**6,
}


@pytest.mark.parametrize("content", LIES.values(), ids=LIES.keys())
def test_a_header_that_lies_takes_no_memory(content: bytes, tiny_run: Path) -> None:
    replace_tensors(tiny_run, content)
    with pytest.raises(ValueError, match=r"step-00000040\.safetensors: expected tensors, got a file that") as caught:
        runs.load(tiny_run)
    assert "\n" not in str(caught.value)
    (tiny_run / runs.HELD_OUT).write_bytes(content)
    with pytest.raises(ValueError, match=r"held_out\.safetensors"):
        checkpoints.read_tensors(tiny_run / runs.HELD_OUT)


@pytest.mark.parametrize("shape", [[2**20, 2**20], [1, 10**9, 10**9], [0, 8, 8], [-1, -8, 8], [], [1, 2**62, 8]])
def test_a_shape_that_lies_takes_no_memory(shape: list[int], tiny_run: Path) -> None:
    rewrite(tiny_run, shape=shape)
    with pytest.raises(ValueError, match=r"checkpoints: expected samples of 1 to 4194304 values, got shape"):
        runs.load(tiny_run)


@pytest.mark.parametrize("key", ["shape", "classes"])
@pytest.mark.parametrize("value", [None, "x", {"a": 1}, [None], 5, [[1]], 1e400])
def test_a_state_of_another_kind_is_refused_or_read(key: str, value: object, tiny_run: Path) -> None:
    rewrite(tiny_run, **{key: value})
    try:
        runs.load(tiny_run)
    except ValueError as error:
        assert "\n" not in str(error)  # noqa: PT017 - either outcome is right


@pytest.mark.parametrize(
    ("network", "options"),
    [
        ("mlp", "{hidden: [1000000000, 1000000000]}"),
        ("mlp", "{hidden: [100000, 100000]}"),
        ("small_convnet", "{width: 1000000}"),
        ("wide_resnet", "{depth: 1000000000}"),
        ("wide_resnet", "{depth: 100000, width: 1}"),
        ("resnet", "{width: 99999999}"),
        ("mlp", "{hidden: [-3]}"),
        ("mlp", "{hidden: 3}"),
        ("small_convnet", "{width: many}"),
        ("small_convnet", "{width: 0.5}"),
    ],
)
def test_a_network_larger_than_its_weights_takes_no_memory(network: str, options: str, tiny_run: Path) -> None:
    (tiny_run / runs.CONFIG).write_text(f"network: {network}\nnetwork_options: {options}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"config\.yaml: expected the network of the checkpoint's weights") as caught:
        runs.load(tiny_run)
    assert "\n" not in str(caught.value)


def test_elements_are_counted_however_they_are_made() -> None:
    with Bounded(60):
        torch.empty(2, 3)
        torch.zeros((2, 3))
        torch.ones([2, 3])
        torch.full((2, 3), 1.0)
        torch.rand(6, generator=torch.Generator())
        torch.empty(size=(6,))
        torch.empty(torch.Size([24]))
        with pytest.raises(ValueError, match="expected at most 60 elements, got more"):
            torch.empty(1)
    torch.empty(100)


CODE = """
from pathlib import Path
from torch import nn
Path("sprung").touch()
def net(shape, **options):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 1), nn.Flatten(0))
"""


def test_code_that_a_run_names_is_not_run_unasked(
    run_cli: Cli, tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "strange_module.py").write_text(CODE, encoding="utf-8")
    (tiny_run / runs.CONFIG).write_text("network: 'strange_module:net'\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    code, out, err = run_cli("report", tiny_run)
    assert (code, out) == (2, "")
    assert "config.yaml: expected a network of genat, got 'strange_module:net', code that loading would run" in err
    assert not Path("sprung").exists()
    monkeypatch.setenv("GENAT_CODE", "other,strange_module")
    try:
        with pytest.raises(ValueError, match="expected weights of network strange_module:net, got others"):
            runs.load(tiny_run)
        assert Path("sprung").exists()
        monkeypatch.delenv("GENAT_CODE")
        with pytest.raises(ValueError, match="expected weights of network"):  # imported by now
            runs.load(tiny_run)
    finally:
        sys.modules.pop("strange_module", None)


@pytest.mark.parametrize("network", ["os:system", "subprocess:Popen", "builtins:exec", "os.path:exists"])
def test_the_standard_library_is_no_network(network: str, tiny_run: Path) -> None:
    (tiny_run / runs.CONFIG).write_text(f"network: '{network}'\n", encoding="utf-8")
    with pytest.raises(ValueError, match="code that loading would run"):
        runs.load(tiny_run)


@pytest.mark.parametrize("name", ["step-00000040.json", "step-00000040.safetensors"])
def test_a_pipe_is_not_waited_for(name: str, tiny_run: Path) -> None:
    path = tiny_run / runs.CHECKPOINTS / name
    path.unlink()
    os.mkfifo(path)
    said: list[str] = []
    assert runs.load(tiny_run, say=said.append).iteration == 20
    assert "no regular file" in said[0]


def test_json_of_absurd_size_is_not_read(tiny_run: Path) -> None:
    path = tiny_run / runs.CALIBRATION
    with path.open("ab") as file:
        file.truncate(2**26 + 1)  # a hole, which takes no disk
    with pytest.raises(ValueError, match=r"calibration\.json: .* 67108865 bytes, more than 67108864"):
        runs.load(tiny_run)


def test_networks_refuse_options_of_absurd_sizes() -> None:
    for options in ({"hidden": [2**62]}, {"hidden": [10**12]}, {"hidden": ["a"]}):
        with pytest.raises(ValueError, match="expected options of mlp") as caught:
            networks.build("mlp", (2,), options, seed=0)
        assert "\n" not in str(caught.value)
