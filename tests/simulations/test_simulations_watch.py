"""What is noted while seeds train: closed forms on a linear detector, and NaN for a seed that has diverged."""

import math
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from genat.networks import Together, build
from genat.simulations import watch as module
from genat.simulations.watch import Watch, member_logits, resting
from genat.sources.toy import TOYS

pytestmark = pytest.mark.usefixtures("small")
Linear = Callable[..., Together]


def follow(watch: Watch, detector: Together, *, aurocs: Callable[[int], float] = lambda _: 0.5) -> Watch:
    members = detector.members
    for i in range(1, watch.iterations + 1):
        watch(i, detector=detector, losses=[0.7] * members, aurocs=[aurocs(i)] * members, steps=i // 2)
    return watch


def silenced(detector: Together, member: int) -> Together:
    with torch.no_grad():
        for weights in detector.parameters():
            weights[member] = 0
    return detector


# logits


def test_every_member_sees_every_point_and_chunks_change_nothing() -> None:
    networks = [build("mlp", (2,), {"hidden": (8,)}, seed=seed) for seed in range(3)]
    points = torch.rand(101, 2, generator=torch.Generator().manual_seed(0))
    logits = member_logits(Together(networks), points)
    with torch.no_grad():
        alone = torch.stack([network(points) for network in networks])
    torch.testing.assert_close(logits, alone, rtol=0, atol=1e-6)
    for chunk in (1, 10, 101, 500):
        torch.testing.assert_close(member_logits(Together(networks), points, chunk=chunk), logits, rtol=0, atol=1e-6)
    assert not logits.requires_grad


def test_a_member_without_any_weight_but_zero_is_at_rest(linear: Linear) -> None:
    assert resting(silenced(linear((1.0, 0.0), (1.0, 0.5), (2.0, 0.0)), 1)).tolist() == [False, True, False]
    assert not resting(linear((math.nan, 0.5))).any()  # it has not been set to rest yet


# how often


@pytest.mark.parametrize(
    ("iterations", "records", "moments"), [(1, 1, 1), (20, 20, 4), (300, 300, 3), (600, 300, 3), (601, 301, 4)]
)
def test_records_and_moments_are_spread_evenly_and_the_last_step_is_among_them(
    linear: Linear, iterations: int, records: int, moments: int
) -> None:
    watch = follow(Watch(TOYS["ring"](), iterations), linear((1.0, 0.5)))
    assert len(watch.history) == records
    assert len(watch.moments) == len(watch.surfaces) == len(watch.areas) == moments
    assert watch.history[-1]["iteration"] == watch.moments[-1] == iterations
    assert [record["steps"] for record in watch.history] == [record["iteration"] // 2 for record in watch.history]


def test_the_last_fifth_is_the_last_fifth(linear: Linear) -> None:
    watch = follow(Watch(TOYS["ring"](), 50), linear((1.0, 0.5), (1.0, 0.5)), aurocs=float)
    assert watch.late_aurocs() == [45.5, 45.5]  # the mean of 41 .. 50


# what


def test_the_half_level_set_of_a_linear_logit(linear: Linear) -> None:
    shown: list[Tensor] = []
    watch = follow(Watch(TOYS["ring"](), 1, show=shown.append), linear((8.0, 0.25), (8.0, 0.9)))
    torch.testing.assert_close(watch.areas[0], torch.tensor([0.75, 0.1]), rtol=0, atol=1e-6)
    assert len(shown) == 1
    assert shown[0].equal(watch.surfaces[0])
    square = watch.surfaces[0].view(20, 20)  # rows of equal height, the first coordinate running fastest
    torch.testing.assert_close(square[3], 8 * ((torch.arange(20) + 0.5) / 20 - 0.25), rtol=0, atol=1e-5)
    assert square[0].equal(square[19])


def test_on_the_line_the_ratio_of_the_peaks_is_noted(linear: Linear) -> None:
    watch = follow(Watch(TOYS["blobs"](), 2), linear((5.0, 0.0), (-5.0, 0.3), dim=1))
    (ratio, inverse) = watch.history[-1]["ratio"]  # the peaks are .2 apart
    assert ratio == pytest.approx(math.e, rel=1e-5)
    assert inverse == pytest.approx(1 / math.e, rel=1e-5)
    assert watch.surfaces[0].shape == (50,)
    assert "ratio" not in follow(Watch(TOYS["ring"](), 1), linear((1.0, 0.5))).history[0]


def test_a_seed_at_rest_is_nan_and_the_mean_is_over_the_others(linear: Linear) -> None:
    said: list[str] = []
    watch = Watch(TOYS["blobs"](), 1, say=said.append)
    follow(watch, silenced(linear((8.0, 0.25), (8.0, 0.5), dim=1), 0), aurocs=lambda _: 0.75)
    (record,) = watch.history
    for name in ("loss", "auroc", "ratio"):
        first, second = record[name]
        assert math.isnan(first)
        assert math.isfinite(second)
    assert watch.surfaces[0].isnan().all()
    assert watch.areas[0][0].isnan()
    assert watch.areas[0][1] == 0.5
    assert said == ["blobs  step 1/1  ascent steps 0  AUROC 0.750  half level set 0.500 of the box  0 s left"]


def test_where_all_are_at_rest_the_line_says_nan(linear: Linear) -> None:
    said: list[str] = []
    follow(Watch(TOYS["ring"](), 1, say=said.append), silenced(linear((1.0, 0.5)), 0))
    assert "AUROC nan" in said[0]


def test_the_time_left_is_in_proportion(linear: Linear, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    clock = iter((130.0, 160.0, 190.0))
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    follow(Watch(TOYS["ring"](), 3, say=said.append, began=100.0), linear((1.0, 0.5)))
    assert [line.split("  ")[-1] for line in said] == ["60 s left", "30 s left", "0 s left"]
