"""An outcome on disk: what is written is what is read, and what is not whole is refused in one line."""

import json
import math
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest
import torch

from genat import checkpoints
from genat.simulations import outcome as outcomes
from genat.simulations.outcome import Outcome

Make = Callable[..., Outcome]


def test_what_is_written_is_what_is_read(result: Make, tmp_path: Path) -> None:
    lost = result().logits.clone()
    lost[1] = torch.nan
    made = result(logits=lost, history=[{"iteration": 1, "steps": 0, "loss": [0.5, float("nan")]}])
    outcomes.save(made, tmp_path / "a" / "b", settings={"rate": 0.1})
    read, settings = outcomes.load(tmp_path / "a" / "b")
    assert settings == {"rate": 0.1}
    for field in fields(Outcome):
        before, after = getattr(made, field.name), getattr(read, field.name)
        if isinstance(before, torch.Tensor):
            assert after.dtype == before.dtype
            torch.testing.assert_close(after, before, rtol=0, atol=0, equal_nan=True)
        else:
            assert str(after) == str(before)  # NaN is not itself
    assert read.moments.dtype == torch.int64


def test_views_and_empty_tensors_are_written_too(result: Make, tmp_path: Path) -> None:
    points = torch.rand(2, 5, 4, generator=torch.Generator().manual_seed(0))[..., ::2]
    outcomes.save(result(samples=points, trajectory=outcomes.empty_trajectory(2)), tmp_path, settings={})
    read, _ = outcomes.load(tmp_path)
    assert read.samples.equal(points)
    assert read.trajectory.shape == (0, 0, 2)


def test_what_is_not_finite_is_read_back_from_json_that_every_reader_takes(result: Make, tmp_path: Path) -> None:
    record = {"iteration": 1, "steps": 1, "loss": [0.7, math.nan], "auroc": [0.5, math.nan]}
    outcomes.save(result(history=[record]), tmp_path, settings={})
    written = json.loads((tmp_path / "outcome.json").read_text(), parse_constant=pytest.fail)
    assert written["history"] == [record | {"loss": [0.7, None], "auroc": [0.5, None]}]
    (read,) = outcomes.load(tmp_path)[0].history
    assert read["loss"] == pytest.approx([0.7, math.nan], nan_ok=True)
    assert read["iteration"] == 1


def test_dimension_and_resolution(result: Make) -> None:
    assert (result().dim, result().resolution) == (2, 8)
    line = result(samples=torch.zeros(2, 5, 1), logits=torch.zeros(2, 50))
    assert (line.dim, line.resolution) == (1, 50)


def test_a_folder_is_finished_when_its_last_file_is_there(
    result: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, _: str) -> None:
        raise OSError(28, "No space left on device", str(path))

    assert not outcomes.finished(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(checkpoints, "write_text", full)
        with pytest.raises(OSError, match="No space left"):
            outcomes.save(result(), tmp_path, settings={})
    assert (tmp_path / "outcome.safetensors").is_file()
    assert not outcomes.finished(tmp_path)
    outcomes.save(result(), tmp_path, settings={})
    assert outcomes.finished(tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"5", b"null", b"[]", b"{}", b"\xff", b'{"settings": {}, "seeds": 3}',
                b'{"settings": {}, "seeds": [0, 1]}', b'{"settings": {}, "seeds": [0, 1], "colour": "blue"}']
)  # fmt: skip
def test_a_corrupt_json(result: Make, tmp_path: Path, content: bytes) -> None:
    outcomes.save(result(), tmp_path, settings={})
    (tmp_path / "outcome.json").write_bytes(content)
    with pytest.raises(ValueError, match="expected a finished simulation, got none that can be read") as error:
        outcomes.load(tmp_path)
    assert str(error.value).startswith(f"{tmp_path}: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"short", b"\xff" * 100, None])
def test_corrupt_tensors(result: Make, tmp_path: Path, content: bytes | None) -> None:
    outcomes.save(result(), tmp_path, settings={})
    path = tmp_path / "outcome.safetensors"
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with pytest.raises(ValueError, match="expected a finished simulation, got none that can be read"):
        outcomes.load(tmp_path)


def test_tensors_cut_short(result: Make, tmp_path: Path) -> None:
    outcomes.save(result(), tmp_path, settings={})
    path = tmp_path / "outcome.safetensors"
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(ValueError, match="expected a finished simulation"):
        outcomes.load(tmp_path)
