"""Whatever a save does last, the checkpoint before it loads."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch
from safetensors import SafetensorError

from genat import checkpoints
from genat.checkpoints import Checkpoint, latest, save


class Dead(BaseException):
    """The process is no more."""


class Disk:
    """A disk that obeys so many times, then refuses once, or is never heard of again.

    Args:
        obeys: how many operations are done before; None is all.
        dies: whether nothing works afterwards, not even tidying up, as when a process is killed.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, obeys: int | None, dies: bool = False) -> None:
        self.obeys, self.dies, self.done = obeys, dies, 0
        for owner, name in (
            (checkpoints, "save_file"),
            (Path, "write_bytes"),
            (Path, "replace"),
            (Path, "unlink"),
            (os, "fsync"),
        ):
            monkeypatch.setattr(owner, name, self._instead_of(name, getattr(owner, name)))

    def _instead_of(self, name: str, own: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            there = self.obeys is None or self.done < self.obeys
            self.done += 1
            if not there and (self.dies or self.done == (self.obeys or 0) + 1):
                self._refuse(name, args)
            return own(*args, **kwargs)

        return call

    def _refuse(self, name: str, args: tuple[Any, ...]) -> NoReturn:
        if name in ("save_file", "write_bytes") and self.done == (self.obeys or 0) + 1:
            half = args[1] if name == "write_bytes" else b"a header and some of the tensors"
            path = args[0] if name == "write_bytes" else args[1]
            with path.open("wb") as file:
                file.write(half[: len(half) // 2])
        if self.dies:
            raise Dead
        if name == "save_file":
            raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
        raise OSError(28, "No space left on device")


def example(iteration: int, value: float) -> Checkpoint:
    return Checkpoint(iteration, {"model.w": torch.full((50,), value)}, {"seed": iteration})


def operations(folder: Path) -> int:
    with pytest.MonkeyPatch.context() as patch:
        disk = Disk(patch, obeys=None)
        save(folder / "counted", example(1, 1.0))
        save(folder / "counted", example(2, 2.0), keep=1)
    return disk.done


@pytest.mark.parametrize("dies", [False, True], ids=["refuses", "dies"])
@pytest.mark.parametrize("iteration", [2, 1], ids=["next", "same"])
def test_the_previous_checkpoint_loads_wherever_a_save_fails(
    iteration: int, dies: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the same iteration written anew the tensors are the same, as all of a step is a function of its number."""
    monkeypatch.setattr(os, "fsync", lambda _: None)  # which takes long where other programs write
    points = operations(tmp_path)
    assert points > 10
    ended = 0
    for n in range(points):
        folder = tmp_path / f"{n}"
        save(folder, example(1, 1.0))
        with pytest.MonkeyPatch.context() as patch:
            Disk(patch, obeys=n, dies=dies)
            try:
                save(folder, example(iteration, float(iteration)), keep=1)
            except (OSError, Dead):
                ended += 1
        found = latest(folder)
        assert found.iteration in (1, iteration)
        assert torch.equal(found.tensors["model.w"], torch.full((50,), float(found.iteration)))
        save(folder, example(3, 3.0), keep=1)
        assert sorted(path.name for path in folder.iterdir()) == ["step-00000003.json", "step-00000003.safetensors"]
    assert ended > 5
