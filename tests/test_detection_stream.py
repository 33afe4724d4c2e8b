"""Files judged without end: what `predict` says, one by one, and the unreadable passed on."""

import itertools
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from genat import runs
from genat.detection import Calibration, Judged, stream
from genat.sources import Skipped, load_image


def total(x: Tensor) -> Tensor:
    return x.flatten(1).sum(1)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Seven grey images of falling sums, and a broken one in the middle."""
    paths = [tmp_path / f"{i}.png" for i in range(8)]
    for i, path in enumerate(paths):
        Image.new("L", (8, 8), 250 - 30 * i).save(path)
    paths[3].write_bytes(paths[3].read_bytes()[:40])
    return paths


@pytest.mark.parametrize("batch_size", [1, 2, 7, 64])
@pytest.mark.parametrize("alpha", [None, 0.1])
def test_a_stream_says_what_predict_says(
    trained_once: Path, files: list[Path], batch_size: int, alpha: float | None
) -> None:
    run = runs.load(trained_once)
    found = list(run.detect(files, batch_size=batch_size, alpha=alpha))
    judged = [one for one in found if isinstance(one, Judged)]
    assert [one.path for one in judged] == [str(path) for i, path in enumerate(files) if i != 3]
    expected = run.predict(torch.cat([load_image(one.path, shape=run.shape)[0] for one in judged]), alpha=alpha)
    torch.testing.assert_close(torch.tensor([one.score for one in judged]).double(), expected.score, rtol=0, atol=1e-5)
    assert [one.in_distribution for one in judged] == expected.in_distribution.tolist()
    assert [one.p_value for one in judged] == pytest.approx(expected.p_value.tolist(), abs=2 / 241)
    for one in judged:
        assert torch.equal(one.image, load_image(one.path, shape=run.shape)[0][0])
    (broken,) = (one for one in found if isinstance(one, Skipped))
    assert broken.path == str(files[3])
    assert broken.reason.startswith(f"expected an image in '{files[3]}', got ")


def test_a_stream_has_no_end_where_its_files_have_none(files: list[Path]) -> None:
    taken = 0

    def forever() -> Iterator[Path]:
        nonlocal taken
        while True:
            taken += 1
            yield files[0]

    found = stream(total, Calibration(torch.arange(20.0)), forever(), shape=(1, 8, 8), batch_size=5)
    assert taken == 0
    assert len(list(itertools.islice(found, 23))) == 23
    assert taken == 25


def test_a_logit_that_is_not_finite_is_skipped_by_name(files: list[Path]) -> None:
    def cracked(x: Tensor) -> Tensor:
        logits = total(x)
        return logits.where(logits > 50, math.nan)

    found = list(stream(cracked, Calibration(torch.arange(20.0)), files[:5], shape=(1, 8, 8)))
    assert [type(one) for one in found] == [Skipped, Judged, Judged, Skipped, Skipped]
    assert [one.reason for one in found[3:] if isinstance(one, Skipped)] == [
        f"expected a finite logit of '{files[2]}', got nan",
        f"expected a finite logit of '{files[4]}', got nan",
    ]


def test_streams_refuse_before_they_read(tiny_run: Path) -> None:
    calibration = Calibration(torch.arange(20.0))
    with pytest.raises(ValueError, match=r"at least 99 held-out images to reject at level 0\.01, got 20"):
        stream(total, calibration, [], shape=(1, 8, 8), alpha=0.01)
    with pytest.raises(ValueError, match="expected batch_size to be at least 1, got 0"):
        stream(total, calibration, [], shape=(1, 8, 8), batch_size=0)
    (tiny_run / "calibration.json").unlink()
    with pytest.raises(ValueError, match="expected a finished training, got one at step 40: resume it"):
        runs.load(tiny_run).detect([])
