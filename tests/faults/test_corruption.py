"""One byte of a checkpoint altered: it is found, or it changes nothing."""

import random
from pathlib import Path

import pytest
import torch

from genat import checkpoints, runs

PLACES = 300  # of each of the two files


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
def test_an_altered_byte_is_found_or_changes_nothing(suffix: str, tiny_run: Path) -> None:
    manifest = max((tiny_run / runs.CHECKPOINTS).glob("*.json"))
    whole, path = checkpoints.read(manifest), manifest.with_suffix(suffix)
    content, chance = path.read_bytes(), random.Random(0)
    places = chance.sample(range(len(content)), min(PLACES, len(content)))
    places += range(8 if suffix == ".safetensors" else 0)  # the header's length
    found = 0
    for place in places:
        altered = bytearray(content)
        altered[place] = chance.choice([byte for byte in range(256) if byte != content[place]])
        path.write_bytes(altered)
        try:
            back = checkpoints.read(manifest)
        except ValueError as error:
            found += str(path) in str(error)
            assert "\n" not in str(error)  # noqa: PT017 - either outcome is right
            continue
        assert (back.iteration, back.state, back.tensors.keys()) == (whole.iteration, whole.state, whole.tensors.keys())
        assert all(torch.equal(value, whole.tensors[name]) for name, value in back.tensors.items())
    assert len(places) >= PLACES
    assert found >= (len(places) if suffix == ".safetensors" else 0.6 * len(places))  # spaces between words are nothing


def test_an_altered_newest_is_never_taken_for_another(tiny_run: Path) -> None:
    """What a byte of the newest leaves is the run, or the one before it, and it is told which."""
    manifest = max((tiny_run / runs.CHECKPOINTS).glob("*.json"))
    content = manifest.read_bytes()
    at = content.index(b'"iteration": 40') + len(b'"iteration": ')
    manifest.write_bytes(content[:at] + b"5" + content[at + 1 :])  # the state would be another step's
    said: list[str] = []
    assert runs.load(tiny_run, say=said.append).iteration == 20
    assert len(said) == 1
    assert str(manifest) in said[0]
