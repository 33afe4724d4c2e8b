"""The benchmarks: what they count, that both ways come to the same, and what they write."""

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from genat.evaluation import judge

ROOT = Path(__file__).parents[1]


@pytest.fixture
def committee(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT)
    return importlib.import_module("benchmarks.committee")


def test_operations_of_a_committees_step_are_those_of_its_products(committee: ModuleType) -> None:
    """Weights w of the first layer and v of the others: an ascent step 4 (w + v), to learn 4 w + 6 v a sample."""
    case = committee.Case("mlp", {"hidden": (8,)}, 4, timed=1, steps=5, shape=(1, 3, 3), classes=3)
    first, others = 9 * 8, 8
    assert committee.operations(case) == 3 * 4 * (5 * 4 * (first + others) + 2 * (4 * first + 6 * others))


@pytest.mark.parametrize(("network", "options"), [("mlp", {"hidden": (8, 8)}), ("small_convnet", {"width": 2})])
def test_a_committee_together_is_its_detectors_in_turn(
    committee: ModuleType, network: str, options: dict[str, object]
) -> None:
    case = committee.Case(network, options, 4, timed=1, steps=2, shape=(1, 8, 8), classes=3)
    together, times = committee.train(case, [0, 1, 2], iterations=3)
    assert len(times) == 3
    alone = [committee.train(case, [member], iterations=3)[0][0] for member in range(3)]
    assert max(map(committee.difference, together, alone)) < 1e-4
    assert committee.difference(together[0], alone[1]) > 0.1


def test_the_benchmark_of_a_committee_writes_its_ratios_and_shares(
    committee: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    case = committee.Case("mlp", {"hidden": (8,)}, 4, timed=1, steps=1, shape=(1, 3, 3), classes=2)
    monkeypatch.setattr(committee, "CASES", {"small": case})
    monkeypatch.setattr(committee, "RESULTS", tmp_path / "results" / "committee.json")
    monkeypatch.setattr(sys, "argv", ["committee.py", "--rounds", "3"])
    with torch.random.fork_rng(devices=[]):  # the peak's matrices are drawn from it
        committee.main()
    written = json.loads((tmp_path / "results" / "committee.json").read_text(encoding="utf-8"))
    assert written["made"]["made_by"] == "python -m benchmarks.committee --rounds 3"
    assert json.loads(capsys.readouterr().out) == {name: value for name, value in written.items() if name != "made"}
    (row,) = written["rows"]
    assert row["case"] == "small"
    assert row["ratio_low"] <= row["ratio"] <= row["ratio_high"]
    assert row["largest_difference_after_one_step"] < 1e-5
    assert row["median_difference"] <= row["largest_difference"] < 1e-4
    for way in ("together", "apart"):
        share = 1e3 * row["gflop"] / row[f"{way}_ms"] / row["matmul_gflops"]
        assert row[f"{way}_share_of_peak"] == pytest.approx(share)


@pytest.fixture
def step(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT)
    return importlib.import_module("benchmarks.step")


CASES = {
    "mlp": ("mlp", (2,), {"hidden": (8, 8), "mean": 0.5, "std": 0.2}),
    "resnet": ("resnet", (3, 8, 8), {"blocks": (1, 1), "width": 2}),
}


@pytest.mark.parametrize("name", CASES)
def test_the_plain_loop_is_the_same_algorithm(step: ModuleType, name: str) -> None:
    network, shape, options = CASES[name]
    case = step.Case(network, shape, options, 8, 3)
    plain = step.Plain(case)
    ours, times = step.ours(case, steps=4, between=plain.step)
    assert len(times) == len(plain.times) == 4
    for found, wanted in zip(ours.parameters(), plain.network.parameters(), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)
    untrained = next(case.build().parameters())
    assert not torch.allclose(untrained, next(ours.parameters()), atol=1e-4)


def test_operations_of_a_step_are_those_of_its_products(step: ModuleType) -> None:
    """Weights w of the first layer and v of the others: an ascent step 4 (w + v), to learn 4 w + 6 v a sample."""
    case = step.Case("mlp", (9,), {"hidden": (8,)}, 4, 5)
    first, others = 9 * 8, 8
    assert step.operations(case) == 4 * (5 * 4 * (first + others) + 2 * (4 * first + 6 * others))


def test_the_benchmark_of_a_step_writes_its_ratios_and_shares(
    step: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = step.Case("small_convnet", (1, 8, 8), {"width": 2}, 4, 2, timed=1)
    monkeypatch.setattr(step, "CASES", {"small": small, "another": small})
    monkeypatch.setattr(step, "RESULTS", tmp_path / "results" / "step.json")
    monkeypatch.setattr(step, "peak_memory", lambda case: float(case.steps))
    monkeypatch.setattr(sys, "argv", ["step.py", "--rounds", "3", "--cases", "small"])
    with torch.random.fork_rng(devices=[]):
        step.main()
    written = json.loads((tmp_path / "results" / "step.json").read_text(encoding="utf-8"))
    assert written["made"]["made_by"] == "python -m benchmarks.step --rounds 3 --cases small"
    (row,) = written["rows"]
    assert row["case"] == "small"
    assert capsys.readouterr().out.startswith("small ")
    for ratio in (row["ours"], row["sampling"]):
        assert 0 < ratio["low"] <= ratio["ratio"] <= ratio["high"]
    assert row["share_of_peak"] == pytest.approx(1e3 * row["gflop"] / row["fastest_ms"] / row["matmul_gflops"])
    assert row["images_a_second"] == pytest.approx(4e3 / row["ours_ms"])
    assert row["memory_mb"] == {"5": 5.0, "40": 40.0}


def test_memory_is_that_of_the_tensors_alive_at_once(step: ModuleType) -> None:
    with step.Meter() as meter:
        first = torch.zeros(1000)
        second = first + 1
        del first
        third = second.view(10, 100) * 2
    assert meter.peak == 8000, "the view has no memory of its own, the first is gone before the third comes"
    assert third.sum() == 2000


def test_the_memory_of_a_climb_does_not_grow_with_its_steps(step: ModuleType) -> None:
    case = step.Case("small_convnet", (1, 28, 28), {"width": 2}, 16, 5)
    few, many = (step.peak_memory(step.replace(case, steps=steps)) for steps in (5, 40))
    assert few > 0.1
    assert many <= 1.05 * few


# passes


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT)
    made = importlib.import_module("benchmarks.passes")
    monkeypatch.setattr(made, "RESULTS", tmp_path / "results" / "passes.json")
    monkeypatch.setattr(made, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(judge, "_EPOCHS", (1, 1))
    return made


def test_recipes_have_the_iterations_that_come_nearest_to_their_passes(passes: ModuleType) -> None:
    """Of 0 to 20 steps the mean is 10; of 0 to 100 in bursts of 5 it is 490 / 101. Learning costs 3 more."""
    assert passes.settings("curriculum", passes=1_200_000, seed=0).iterations == round(1_200_000 / 64 / 13)
    replay = passes.settings("replay", passes=400_000, seed=1)
    assert replay.iterations == round(400_000 / 64 / (490 / 101 + 3))
    assert replay.seed == 1


def test_the_benchmark_of_passes_trains_once_and_writes_what_both_came_to(
    passes: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(passes, "PRESET", "digits")
    monkeypatch.setattr(passes, "_STEPS", 2)
    keys = ["network_options.hidden=[8]", "batch_size=8", "steps.gate=null", "steps.first=2"]
    line = ["passes", "--passes", "3000", "--seeds", "1", "--images", "70", "--keys", *keys]
    monkeypatch.setattr(sys, "argv", line)
    monkeypatch.setitem(passes.RECIPES, "replay", ["replay.burst=2", "replay.rows=16"])
    passes.main()
    rows = json.loads((tmp_path / "results" / "passes.json").read_text(encoding="utf-8"))["rows"]
    assert [(row["recipe"], row["seed"]) for row in rows] == [("curriculum", 0), ("replay", 0)]
    assert rows[1]["passes"] == pytest.approx(1000, rel=0.1)
    assert all(0 <= row["worst_case_auroc"] <= row["auroc"] <= 1 for row in rows)
    assert "to learn from" in capsys.readouterr().out
    passes.main()
    assert "to learn from" not in capsys.readouterr().out
    assert json.loads((tmp_path / "results" / "passes.json").read_text(encoding="utf-8"))["rows"] == rows
