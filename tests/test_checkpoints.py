"""Checkpoints come back to the bit, are written whole or not at all, and are never believed when altered."""

import copy
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from genat import checkpoints
from genat.checkpoints import Checkpoint, digest, flatten_optimizer, latest, read, restore_optimizer, save, write_text

DTYPES = [
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.int16,
    torch.int8,
    torch.uint8,
    torch.bool,
]


def example(iteration: int) -> Checkpoint:
    return Checkpoint(iteration, {"model.w": torch.arange(6.0).view(2, 3) + iteration}, {"seed": 3})


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def stem(iteration: int) -> str:
    return f"step-{iteration:08d}"


# There and back


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_tensors_come_back_to_the_bit(dtype: torch.dtype, tmp_path: Path, generator: torch.Generator) -> None:
    values = torch.randint(0, 2, (4, 3, 2), generator=generator) if dtype == torch.bool else None
    full = (torch.randn(4, 3, 2, generator=generator) * 100).to(dtype) if values is None else values.to(dtype)
    tensors = {
        "full": full,
        "scalar": full[0, 0, 0],
        "empty": full[:0],
        "strided": full.transpose(0, 2),
        "row": full[1],
    }
    back = read(save(tmp_path, Checkpoint(7, tensors))).tensors
    assert back.keys() == tensors.keys()
    for name, value in tensors.items():
        assert back[name].dtype == dtype
        assert back[name].shape == value.shape
        assert torch.equal(back[name], value)
    assert digest(back) == digest(tensors)


def test_not_a_number_and_minus_zero_come_back_to_the_bit(tmp_path: Path) -> None:
    odd = torch.tensor([float("nan"), -0.0, float("inf"), 1e-45])
    back = read(save(tmp_path, Checkpoint(0, {"odd": odd}))).tensors["odd"]
    assert torch.equal(back.view(torch.int32), odd.view(torch.int32))


def test_state_and_iteration_come_back(tmp_path: Path) -> None:
    state = {"curriculum": {"steps": 3, "recent": [0.1, 1 / 3]}, "name": "größe", "none": None, "lr": 5e-4, "on": True}
    back = read(save(tmp_path, Checkpoint(123456, {}, state)))
    assert (back.iteration, back.tensors, back.state) == (123456, {}, state)


def test_tied_weights_and_graphs_are_no_obstacle(tmp_path: Path) -> None:
    weight = nn.Parameter(torch.ones(3))
    back = latest(save(tmp_path, Checkpoint(1, {"a": weight, "b": weight, "c": weight[1:] * 2})).parent)
    assert torch.equal(back.tensors["a"], back.tensors["b"])
    assert not back.tensors["c"].requires_grad


def test_parts_are_told_by_their_prefix() -> None:
    tensors = {"model.w": torch.zeros(1), "model.model.w": torch.ones(1), "models.w": torch.ones(2), "w": torch.ones(3)}
    part = Checkpoint(0, tensors).part("model")
    assert {name: value.tolist() for name, value in part.items()} == {"w": [0.0], "model.w": [1.0]}


def test_nothing_is_pickled(tmp_path: Path) -> None:
    manifest = save(tmp_path / "a" / "b", example(5))
    assert names(manifest.parent) == [f"{stem(5)}.json", f"{stem(5)}.safetensors"]
    content = json.loads(manifest.read_text())
    assert content["format"] == checkpoints.FORMAT
    assert content["iteration"] == 5


# Which are kept, which is the latest


def test_the_newest_are_kept(tmp_path: Path) -> None:
    for iteration in (5, 10, 100, 99_999, 1_000_000):
        save(tmp_path, example(iteration), keep=3)
    expected = [f"{stem(i)}.{kind}" for i in (100, 99_999, 1_000_000) for kind in ("json", "safetensors")]
    assert names(tmp_path) == expected
    assert latest(tmp_path).iteration == 1_000_000
    save(tmp_path, example(1_000_001), keep=1)
    assert latest(tmp_path).iteration == 1_000_001
    assert len(names(tmp_path)) == 2


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    for name in ("step-by-step.json", "notes.txt", "best.safetensors"):
        (tmp_path / name).write_text("mine")
    for iteration in range(4):
        save(tmp_path, example(iteration), keep=1)
    assert {"step-by-step.json", "notes.txt", "best.safetensors"} <= set(names(tmp_path))
    assert latest(tmp_path).iteration == 3


def test_what_was_just_written_is_never_removed(tmp_path: Path) -> None:
    """A training that falls back from broken checkpoints writes iterations before theirs."""
    for iteration in (100, 200, 300):
        save(tmp_path, example(iteration), keep=3)
    for iteration in (200, 300):
        (tmp_path / f"{stem(iteration)}.safetensors").write_bytes(b"broken")
    assert latest(tmp_path).iteration == 100
    assert read(save(tmp_path, example(150), keep=2)).iteration == 150
    assert {f"{stem(100)}.json", f"{stem(150)}.json", f"{stem(300)}.json"} <= set(names(tmp_path))
    assert read(save(tmp_path, example(160), keep=1)).iteration == 160
    assert latest(tmp_path).iteration == 160
    assert f"{stem(150)}.json" not in names(tmp_path)


def test_saving_an_iteration_again_replaces_it(tmp_path: Path) -> None:
    save(tmp_path, example(1))
    save(tmp_path, Checkpoint(1, {"w": torch.full((2,), 9.0)}))
    assert latest(tmp_path).tensors["w"].tolist() == [9.0, 9.0]
    assert len(names(tmp_path)) == 2


def test_all_are_kept_where_asked(tmp_path: Path) -> None:
    for iteration in range(5):
        save(tmp_path, example(iteration), keep=None)
    assert len(names(tmp_path)) == 10


def test_what_a_killed_process_had_begun_is_removed(tmp_path: Path) -> None:
    (tmp_path / f".{stem(1)}.safetensors.99.partial").write_bytes(b"half")
    save(tmp_path, example(2))
    assert names(tmp_path) == [f"{stem(2)}.json", f"{stem(2)}.safetensors"]


# What is not believed


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [cut, flip, empty, Path.unlink])
@pytest.mark.parametrize("suffix", [".safetensors", ".json"])
def test_latest_passes_over_a_damaged_newest(damage: Callable[[Path], None], suffix: str, tmp_path: Path) -> None:
    save(tmp_path, example(1))
    newest = save(tmp_path, example(2)).with_suffix(suffix)
    damage(newest)
    checkpoint = latest(tmp_path)
    assert checkpoint.iteration == 1
    assert torch.equal(checkpoint.tensors["model.w"], example(1).tensors["model.w"])


def test_what_is_passed_over_is_named(tmp_path: Path) -> None:
    for iteration in (1, 2, 3):
        save(tmp_path, example(iteration), keep=3)
    flip(tmp_path / f"{stem(3)}.safetensors")
    flip(tmp_path / f"{stem(2)}.json")
    said: list[str] = []
    assert latest(tmp_path, passed_over=said.append).iteration == 1
    assert [line.partition(": expected")[0] for line in said] == [
        f"passed over: {tmp_path / stem(3)}.safetensors",
        f"passed over: {tmp_path / stem(2)}.json",
    ]


def test_the_error_names_every_file_where_none_can_be_read(tmp_path: Path) -> None:
    for iteration in (1, 2, 3):
        save(tmp_path, example(iteration), keep=3)
    flip(tmp_path / f"{stem(1)}.safetensors")
    (tmp_path / f"{stem(2)}.safetensors").unlink()
    cut(tmp_path / f"{stem(3)}.json")
    with pytest.raises(ValueError, match="expected") as caught:
        latest(tmp_path)
    message = str(caught.value)
    for name in (f"{stem(1)}.safetensors", f"{stem(2)}.safetensors", f"{stem(3)}.json"):
        assert name in message
    assert "\n" not in message


@pytest.mark.parametrize("make", [True, False])
def test_a_folder_without_checkpoints_says_so(make: bool, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    if make:
        folder.mkdir()
    with pytest.raises(ValueError, match=r"run: expected a checkpoint, got none"):
        latest(folder)


def test_any_flipped_bit_of_the_tensors_is_found(tmp_path: Path) -> None:
    manifest = save(tmp_path, example(1))
    weights = manifest.with_suffix(".safetensors")
    content = weights.read_bytes()
    for i in range(len(content)):
        weights.write_bytes(content[:i] + bytes([content[i] ^ 1 << i % 8]) + content[i + 1 :])
        with pytest.raises(ValueError, match=rf"{stem(1)}\.safetensors: expected SHA-256 .* the file is altered"):
            read(manifest)
    weights.write_bytes(content)
    assert read(manifest).iteration == 1


def test_a_flipped_bit_of_the_json_is_refused_in_one_way_or_changes_no_tensor(tmp_path: Path) -> None:
    manifest = save(tmp_path, example(1))
    content = manifest.read_bytes()
    refused = []
    for i in range(len(content)):
        for bit in (1, 16, 128):
            manifest.write_bytes(content[:i] + bytes([content[i] ^ bit]) + content[i + 1 :])
            try:
                back = read(manifest)
            except ValueError as error:
                refused.append(str(error))
            else:
                assert torch.equal(back.tensors["model.w"], example(1).tensors["model.w"])
    assert all(stem(1) in message and "\n" not in message for message in refused)
    assert len(refused) > 2 * len(content)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a checkpoint, got a file that cannot be read as one"),
        ("null", "expected a checkpoint, got a file that cannot be read as one"),
        ("[]", "expected a checkpoint, got a file that cannot be read as one"),
        ('"text"', "expected a checkpoint, got a file that cannot be read as one"),
        ("{}", "cannot be read as one: 'format'"),
        ("[" * 100_000, "cannot be read as one: maximum recursion depth exceeded"),
        ('{"format": ' + "9" * 5000 + "}", "cannot be read as one: Exceeds the limit"),
        ('{"format": 3, "genat": "9.1"}', "expected checkpoint format 2 or older, got 3, written by genat 9.1"),
        ('{"format": 0}', "expected checkpoint format 2 or older, got 0"),
        ('{"format": "1"}', "expected checkpoint format 2 or older, got 1"),
        ('{"format": 2}', "expected what its own SHA-256 says, got another: the file is altered"),
        ('{"format": 1, "seal": "00"}', "expected what its own SHA-256 says, got another: the file is altered"),
        ('{"format": 1}', "cannot be read as one: 'iteration'"),
        ('{"format": 1, "iteration": 1, "state": {}}', "cannot be read as one: 'sha256'"),
        ('{"format": 1, "sha256": 5, "iteration": 1, "state": {}}', "expected an iteration and a state, got 1"),
        ('{"format": 1, "sha256": "00", "iteration": 1, "state": {}}', "expected SHA-256 00..., got another: the file"),
        ('{"format": 1, "sha256": "SHA"}', "cannot be read as one: 'iteration'"),
        ('{"format": 1, "sha256": "SHA", "iteration": "x", "state": {}}', "expected an iteration and a state, got 'x'"),
        (
            '{"format": 1, "sha256": "SHA", "iteration": 1e999, "state": {}}',
            "expected an iteration and a state, got inf",
        ),
        (
            '{"format": 1, "sha256": "SHA", "iteration": 1, "state": [1]}',
            r"expected an iteration and a state, got 1 and",
        ),
    ],
)
def test_manifests_that_are_none_are_refused_by_name(text: str, message: str, tmp_path: Path) -> None:
    manifest = save(tmp_path, example(1))
    sha256 = json.loads(manifest.read_text())["sha256"]
    manifest.write_text(text.replace("SHA", sha256))
    with pytest.raises(ValueError, match=message) as caught:
        read(manifest)
    assert stem(1) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_tensors_of_another_making_are_refused_by_name(tmp_path: Path) -> None:
    """The digest fits, the file is no safetensors."""
    manifest = save(tmp_path, example(1))
    weights = manifest.with_suffix(".safetensors")
    weights.write_bytes(b"no tensors in here")
    content = json.loads(manifest.read_text()) | {"sha256": checkpoints._sha256(weights)}
    manifest.write_text(json.dumps(checkpoints.sealed(content)))
    with pytest.raises(ValueError, match=rf"{stem(1)}\.safetensors: expected tensors, got a file that cannot be read"):
        read(manifest)


def test_keep_is_at_least_one(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected keep to be at least 1, got 0"):
        save(tmp_path / "new", example(1), keep=0)
    assert not (tmp_path / "new").exists()


# When the disk refuses


def refuse(*_: object, **__: object) -> NoReturn:
    raise OSError(28, "No space left on device")


def refuse_after(allowed: int) -> Callable[[Path, Path], Path]:
    original, calls = Path.replace, iter(range(10))

    def replace(self: Path, target: Path) -> Path:
        return original(self, target) if next(calls) < allowed else refuse()

    return replace


def half_a_file(_: object, path: Path) -> NoReturn:
    path.write_bytes(b"half")
    refuse()


def refuse_as_safetensors(*_: object) -> NoReturn:
    raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


@pytest.mark.parametrize(
    "refusal",
    [
        (checkpoints, "save_file", refuse),
        (checkpoints, "save_file", half_a_file),
        (checkpoints, "save_file", refuse_as_safetensors),
        (os, "fsync", refuse),
        (Path, "replace", refuse_after(0)),
        (Path, "replace", refuse_after(1)),
        (Path, "write_bytes", refuse),
    ],
    ids=["write", "half-a-write", "in-words", "flush", "first-rename", "second-rename", "json"],
)
@pytest.mark.parametrize("iteration", [2, 1])
def test_a_failing_write_leaves_what_was_there(
    refusal: tuple[object, str, Callable[..., Any]],
    iteration: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    save(tmp_path, example(1))
    before = set(names(tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr(*refusal)
        with pytest.raises(OSError, match="No space left on device"):
            save(tmp_path, example(iteration), keep=1)
    assert not [name for name in names(tmp_path) if name.endswith(".partial")]
    assert before <= set(names(tmp_path))
    assert latest(tmp_path).iteration == 1
    save(tmp_path, example(3), keep=1)
    assert names(tmp_path) == [f"{stem(3)}.json", f"{stem(3)}.safetensors"]


def test_what_safetensors_refuses_is_told_as_the_system_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "save_file", refuse_as_safetensors)
    with pytest.raises(OSError, match="No space") as caught:
        save(tmp_path, example(1))
    assert (caught.value.errno, caught.value.filename) == (28, str(tmp_path / f"{stem(1)}.safetensors"))

    def other(*_: object) -> NoReturn:
        raise SafetensorError("something\nelse")

    monkeypatch.setattr(checkpoints, "save_file", other)
    with pytest.raises(OSError, match="something else"):
        save(tmp_path, example(1))


def test_a_new_folder_is_on_the_disk_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[Path] = []
    monkeypatch.setattr(checkpoints, "_flush", flushed.append)
    checkpoints.make_folder(tmp_path / "a" / "b")
    assert flushed == [tmp_path / "a", tmp_path]
    checkpoints.make_folder(tmp_path / "a" / "b")
    assert len(flushed) == 2


def test_everything_is_on_the_disk_before_it_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tensors, then the JSON that says they are complete, then the folder that holds both names."""
    events: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def noted_fsync(handle: int) -> None:
        events.append("flush")
        fsync(handle)

    def noted_replace(self: Path, target: Path) -> Path:
        events.append(target.suffix)
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "replace", noted_replace)
    save(tmp_path, example(1))
    assert events == ["flush", ".safetensors", "flush", ".json", "flush"]


def test_state_that_json_cannot_hold_leaves_what_was_there(tmp_path: Path) -> None:
    save(tmp_path, example(1))
    with pytest.raises(TypeError, match="not JSON serializable"):
        save(tmp_path, Checkpoint(2, {}, {"tensor": torch.zeros(1)}))
    assert latest(tmp_path).iteration == 1


def test_text_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "größe\n")
    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="No space"):
        write_text(path, "lost")
    assert path.read_text(encoding="utf-8") == "größe\n"
    assert names(tmp_path) == ["a.txt"]


# Optimisers

OPTIMIZERS = [
    lambda parameters: torch.optim.Adam(parameters, lr=0.01, betas=(0.0, 0.99)),
    lambda parameters: torch.optim.Adam(parameters, lr=0.01, amsgrad=True),
    lambda parameters: torch.optim.SGD(parameters, lr=0.01, momentum=0.9, nesterov=True, weight_decay=1e-3),
    lambda parameters: torch.optim.SGD(parameters, lr=0.01),
]


@pytest.mark.parametrize("make", OPTIMIZERS, ids=["adam", "amsgrad", "sgd", "plain-sgd"])
@pytest.mark.parametrize("before", [0, 3])
def test_optimisers_go_on_to_the_bit(
    make: Callable[[Any], torch.optim.Optimizer], before: int, smooth_net: nn.Module, tmp_path: Path
) -> None:
    inputs = torch.rand(8, 3, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def train(net: nn.Module, optimizer: torch.optim.Optimizer, iterations: int) -> None:
        for _ in range(iterations):
            optimizer.zero_grad()
            parameters = list(net.parameters())
            for parameter, grad in zip(parameters, torch.autograd.grad(net(inputs).sum(), parameters), strict=True):
                parameter.grad = grad
            optimizer.step()

    optimizer = make(smooth_net.parameters())
    train(smooth_net, optimizer, before)
    tensors, rest = flatten_optimizer(optimizer.state_dict())
    weights = {f"model.{name}": value for name, value in smooth_net.state_dict().items()}
    moments = {f"optimizer.{name}": value for name, value in tensors.items()}
    save(tmp_path, Checkpoint(before, weights | moments, {"optimizer": rest}))
    other = copy.deepcopy(smooth_net)
    for parameter in other.parameters():
        nn.init.zeros_(parameter)
    train(smooth_net, optimizer, 4)

    back = latest(tmp_path)
    other.load_state_dict(back.part("model"))
    resumed = make(other.parameters())
    resumed.load_state_dict(restore_optimizer(back.part("optimizer"), back.state["optimizer"]))
    train(other, resumed, 4)
    assert digest(other.state_dict()) == digest(smooth_net.state_dict())


# Formats

KEPT = Path(__file__).parent / "checkpoints"


@pytest.mark.parametrize("number", range(1, checkpoints.FORMAT + 1))
def test_every_format_there_was_is_read(number: int) -> None:
    """4 of 8 steps of a small training, written by the version that made the format."""
    (manifest,) = (KEPT / f"format-{number}").glob("*.json")
    assert json.loads(manifest.read_text())["format"] == number
    back = read(manifest)
    assert (back.iteration, back.state["shape"], back.state["seed"]) == (4, [2], 0)
    assert set(back.part("model")) == set(back.part("ema"))
    assert digest(back.tensors) == (KEPT / f"format-{number}" / "digest.txt").read_text().strip()


# Digests


def changed(**tensors: Tensor) -> str:
    return digest({"a": torch.tensor([[1.0, 2.0], [3.0, 4.0]]), "b": torch.tensor(0.5)} | tensors)


def test_digest_sees_every_difference() -> None:
    a, b = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor(0.5)
    digests = [
        changed(),
        changed(a=a.flatten()),
        changed(a=a.T),
        changed(a=a.double()),
        changed(a=torch.nextafter(a, a + 1)),
        changed(a=a.view(torch.int32)),
        changed(b=b[None]),
        changed(b=-b),
        changed(c=torch.zeros(0)),
        changed(c=torch.zeros(0, 2)),
        changed(b=torch.tensor(0.0)),
        changed(b=torch.tensor(-0.0)),
        digest({"b": a, "a": b}),
        digest({}),
    ]
    assert len(set(digests)) == len(digests)


def test_digest_sees_values_and_neither_order_nor_layout_nor_graph() -> None:
    a, b = torch.arange(12.0).view(3, 4), torch.tensor(0.5)
    plain = digest({"a": a, "b": b})
    assert digest({"b": b, "a": a}) == plain
    assert digest({"a": a.T.contiguous().T, "b": b.clone().requires_grad_()}) == plain
    wide = torch.arange(24.0).view(3, 8)
    wide[:, ::2] = a
    assert digest({"a": wide[:, ::2], "b": b}) == plain
    assert digest({"a": nn.Parameter(a), "b": b}) == plain


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_digest_takes_every_kind(dtype: torch.dtype) -> None:
    ones = torch.ones(3, dtype=dtype)
    assert digest({"w": ones}) == digest({"w": ones.clone()})
    assert digest({"w": ones}) != digest({"w": torch.zeros(3, dtype=dtype)})
    assert digest({"w": ones[0]}) != digest({"w": torch.zeros((), dtype=dtype)})
