import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from genat.networks import init
from genat.networks.weights import one_line


def _network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def test_all_of_a_file_arrives(tmp_path: Path) -> None:
    one, other = _network(), _network()
    one.get_buffer("1.num_batches_tracked").fill_(7)
    save_file(one.state_dict(), tmp_path / "w.safetensors")
    init(other, str(tmp_path / "w.safetensors"))
    for name, tensor in other.state_dict().items():
        assert torch.equal(tensor, one.state_dict()[name]), name


def test_weights_take_the_networks_type(tmp_path: Path) -> None:
    save_file({"weight": torch.ones(1, 2).half(), "bias": torch.ones(1).double()}, tmp_path / "w.safetensors")
    network = nn.Linear(2, 1)
    init(network, tmp_path / "w.safetensors")
    assert network(torch.ones(1, 2)).item() == 3.0


class _Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("exploded",)


@pytest.mark.parametrize("save", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))])
def test_a_pickle_is_never_opened(save: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "w.safetensors"
    assert callable(save)
    save(_Bomb(), path)
    with pytest.raises(ValueError, match=r"expected a safetensors file, got .*w\.safetensors: a pickle; convert it"):
        init(_network(), path)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "header too small"),
        (b"weights!" * 20, "header too large"),
        (b"\x02\0\0\0\0\0\0\0{}more", "SafetensorError"),
    ],
)
def test_what_is_not_safetensors_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"expected a safetensors file, got .*w\.safetensors: .*{message}"):
        init(_network(), path)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file(_network().state_dict(), path)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ValueError, match="SafetensorError"):
        init(_network(), path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected a safetensors file, got .*none: .*No such file"):
        init(_network(), tmp_path / "none")
    with pytest.raises(ValueError, match=r"expected a safetensors file, got .*OSError"):
        init(_network(), tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"0.bias": None}, r"without 0\.bias$"),
        (
            dict.fromkeys(["0.weight", "0.bias", "1.weight", "1.bias"]),
            r"without 0\.weight, 0\.bias, 1\.weight and 1 more$",
        ),
        ({"2.bias": torch.zeros(1)}, r"with unexpected 2\.bias$"),
        ({"0.bias": torch.zeros(3)}, r"with 0\.bias \(3,\) float32 instead of \(4,\) float32$"),
        ({"0.bias": torch.zeros(4, dtype=torch.int8)}, r"with 0\.bias \(4,\) int8 instead of \(4,\) float32$"),
        ({"0.bias": None, "bias": torch.zeros(4)}, r"without 0\.bias and with unexpected bias$"),
    ],
)
def test_weights_that_do_not_fit_change_nothing(change: dict[str, Tensor | None], message: str, tmp_path: Path) -> None:
    network, path = _network(), tmp_path / "w.safetensors"
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    changed = {name: torch.zeros_like(tensor) for name, tensor in before.items()} | change
    save_file({name: tensor for name, tensor in changed.items() if tensor is not None}, path)
    with pytest.raises(ValueError, match=rf"weights of this Sequential, got .*w\.safetensors {message}") as caught:
        init(network, path)
    assert "\n" not in str(caught.value)
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_an_error_is_one_line() -> None:
    assert one_line(KeyError("a", "b")) == "KeyError: ('a', 'b')"
    assert one_line(ValueError("one\n\ttwo\n")) == "ValueError: one two"
