"""The benchmark of detection: what is in its table, what it spends, and what it does not spend twice."""

import functools
import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from genat import config, detection, ranking, report, runs
from genat.adapters import _pytorch_ood
from genat.adversaries import worst_case
from genat.balls import L2Ball, LinfBall
from genat.evaluation import benchmark as module
from genat.evaluation import families, ood
from genat.evaluation.benchmark import SCALES, Scale, benchmark, read
from genat.evaluation.families import family
from genat.report import benchmarks
from genat.sources import digits

SMALL = Scale(n=12, steps=3, restarts=1, queries=4)
NAMES = ("uniform noise", "inverted")
SCORES = ("genat", "msp", "max-logit", "energy", "odin", "mahalanobis", "knn", "vim", "madry")
MEASURE: dict[str, Any] = {"outside": NAMES, "against": ("plain", "madry"), "scale": SMALL, "balls": [L2Ball(0.5)]}


@pytest.fixture(scope="module")
def measured_once(trained_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = shutil.copytree(trained_once, tmp_path_factory.mktemp("measured") / "run")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(ood, "auroc_interval", functools.partial(ranking.auroc_interval, resamples=50))
        benchmark(runs.load(folder), **MEASURE)
    return folder


@pytest.fixture
def measured(measured_once: Path, tmp_path: Path) -> runs.Run:
    return runs.load(shutil.copytree(measured_once, tmp_path / "run"))


@pytest.fixture
def attacked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the attacks' steps."""
    steps: list[int] = []

    def counted(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401
        steps.append(options["steps"])
        return worst_case(*arguments, **options)

    monkeypatch.setattr(module, "worst_case", counted)
    monkeypatch.setattr(ood, "auroc_interval", functools.partial(ranking.auroc_interval, resamples=50))
    return steps


def figures(run: runs.Run) -> dict[str, Any]:
    found = read(run.folder)
    assert found is not None
    return found


def test_there_is_a_row_for_every_score_family_and_budget(measured: runs.Run) -> None:
    found = figures(measured)
    assert [(one["score"], one["family"], one["radius"]) for one in found["rows"]] == [
        (score, name, radius) for score in SCORES for name in NAMES for radius in (None, 0.5)
    ]
    assert {one["n_outside"] for one in found["rows"]} == {one["n_inside"] for one in found["rows"]} == {12}
    assert [(one["score"], one["radius"]) for one in found["means"]] == [(s, r) for s in SCORES for r in (None, 0.5)]
    assert set(found["peers"]) == {"plain", "madry"}
    assert found["scale"] == {"n": 12, "steps": 3, "restarts": 1, "queries": 4}
    assert found["made"]["made_by"] == "genat evaluate RUN ood"


def test_an_image_counts_with_the_strongest_attack(measured: runs.Run) -> None:
    for one in figures(measured)["rows"]:
        if one["radius"] is None:
            assert (one["each"], one["evaluations"], one["doubled"]) == ({}, 0, None)
            continue
        assert list(one["each"]) == ["APGD-CE", "Square", "steepest ascent", "transfer"]
        assert one["auroc"] <= min(one["each"].values())
        assert one["doubled"] <= one["auroc"]
        own = 2 + (2 + 1 * (3 + 1)) + (3 + 2) + (4 + 2)
        assert one["evaluations"] == own + len(SCORES) - 1


def test_clean_figures_are_those_of_the_logits(measured: runs.Run) -> None:
    test = digits("test")
    order = torch.randperm(len(test), generator=torch.Generator().manual_seed(123))[:12]
    inside = detection.logits(measured.detector, test.take(order).tensor())
    rows = {one["family"]: one for one in figures(measured)["rows"] if one["score"] == "genat" and not one["radius"]}
    for name in NAMES:
        outside = detection.logits(measured.detector, family(name, test, n=12, seed=123))
        assert rows[name]["auroc"] == ranking.auroc(inside, outside)
        assert rows[name]["aupr_out"] == ranking.aupr(-outside, -inside)


def test_means_are_over_what_training_has_not_seen(tiny_yaml: Path, tmp_path: Path, attacked: list[int]) -> None:
    settings = config.load(tiny_yaml, ["outside=[{kind: uniform-noise}]", "iterations=4"])
    run, _ = runs.train(settings, tmp_path / "run")
    found = benchmark(run, outside=NAMES, against=(), scale=SMALL, balls=[L2Ball(0.5), LinfBall(0.1)])
    assert [one["seen"] for one in found["rows"]] == [True] * 3 + [False] * 3
    assert [(one["families"], one["norm"]) for one in found["means"]] == [(1, None), (1, "l2"), (1, "linf")]
    assert [one["auroc"] for one in found["means"]] == [one["auroc"] for one in found["rows"][3:]]
    assert all("transfer" not in one["each"] for one in found["rows"])
    assert attacked == [3, 6] * 4


def test_what_was_measured_is_not_measured_again(measured: runs.Run, attacked: list[int]) -> None:
    before = figures(measured)
    again = benchmark(measured, **MEASURE)
    assert attacked == []
    assert again["rows"] == before["rows"]
    assert again["seconds"] == before["seconds"]
    assert before["seconds"]["trainings"] == pytest.approx(sum(made["seconds"] for made in before["peers"].values()))
    assert before["seconds"]["attacks"] > 0
    benchmark(measured, **MEASURE | {"outside": (*NAMES, "constant"), "against": ("plain",)})
    assert attacked == [3, 6] * 8
    benchmark(measured, **MEASURE | {"scale": Scale(12, 2, 1, 4), "against": ()})
    assert attacked[16:] == [2, 4] * 2


def test_other_weights_are_attacked_anew(measured: runs.Run, attacked: list[int]) -> None:
    with torch.no_grad():
        next(measured.detector.parameters()).mul_(1.5)
    benchmark(measured, **MEASURE | {"against": ()})
    assert attacked == [3, 6] * 2


def test_by_default_all_that_is_there_and_unseen_is_measured(
    measured: runs.Run, attacked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(families, "available", lambda _: ("photographs", "constant", "gradients"))
    found = benchmark(measured, against=(), scale=SMALL, balls=[L2Ball(0.5)])
    assert list(dict.fromkeys(one["family"] for one in found["rows"])) == ["constant", "gradients"]
    assert len(attacked) == 4


def test_the_scales_are_the_papers_and_the_quick_one() -> None:
    assert SCALES["full"] == Scale(n=1024, steps=100, restarts=5, queries=1000)
    assert SCALES["quick"] == Scale(n=256, steps=50, restarts=1, queries=200)


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(bytes(content))


def test_a_damaged_cell_is_named(measured: runs.Run) -> None:
    (path,) = (measured.folder / "ood" / "cells" / "genat").glob("inverted-l2-0-5-*")
    damage(path)
    with pytest.raises(ValueError, match=re.escape(f"{path}: expected an attack's images, got a damaged file")):
        benchmark(measured, **MEASURE)


def test_a_damaged_table_is_named(measured: runs.Run) -> None:
    path = measured.folder / "ood" / "table.json"
    path.write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match=re.escape(f"{path}: expected a table of figures, got a file that cannot")):
        read(measured.folder)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"against": ("plan",)}, "expected peers among plain, outlier-exposure, acet, ratio, madry, got plan"),
        ({"outside": ("nose",)}, "or a folder, Parquet file or run, got 'nose'"),
        ({"balls": [L2Ball()], "against": ()}, "expected a ball with a positive radius, got radius=None"),
        (
            {"outside": ("inverted", "inverted"), "against": ()},
            "expected families of different names, got inverted, inverted",
        ),
        ({"outside": (), "against": ()}, "expected at least one family of outside data, got none"),
        ({"balls": (), "against": ()}, "expected at least one ball to attack in, got none"),
    ],
)
def test_refusals(tiny_run: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        benchmark(runs.load(tiny_run), **MEASURE | options)


def test_what_is_not_installed_is_missed_before_anything_is_trained(
    tiny_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_scores", None)
    with monkeypatch.context() as without:
        without.setattr(_pytorch_ood, "find_spec", lambda _: None)
        with pytest.raises(ImportError, match="expected pytorch-ood, got none"):
            benchmark(runs.load(tiny_run), **MEASURE)
    monkeypatch.setitem(sys.modules, "pyautoattack.square", None)
    with pytest.raises(ImportError, match="expected pyautoattack for APGD, got none"):
        benchmark(runs.load(tiny_run), **MEASURE | {"against": ()})


def test_images_of_another_shape_are_refused(tiny_run: Path) -> None:
    other = digits("test")
    wide = other.__class__(other.pixels.repeat(1, 1, 1, 2))
    with pytest.raises(ValueError, match=r"expected test images of shape \(1, 8, 8\), got \(1, 8, 16\)"):
        benchmark(runs.load(tiny_run), images=wide, **MEASURE)


# what a person sees


def test_tables_hold_the_figures(measured: runs.Run) -> None:
    found = figures(measured)
    assert benchmarks.budgets(found["rows"]) == ["clean", "L2 0.5"]
    means = benchmarks.means_table(found)
    assert means.columns == ["score", "AUROC, clean", "AUROC, L2 0.5", "FPR95, clean", "FPR95, L2 0.5"]
    assert {line[0] for line in means.rows} == set(SCORES)
    worst = [float(line[2]) for line in means.rows]
    assert worst == sorted(worst, reverse=True)
    each = benchmarks.families_table(found, "L2 0.5")
    assert each.columns == ["outside data, L2 0.5", "n", *SCORES]
    assert [line[0] for line in each.rows] == list(NAMES)
    attacks = benchmarks.attacks_table(found)
    assert attacks.columns[1:6] == ["APGD-CE", "Square", "steepest ascent", "transfer", "worst of all"]
    assert "256" not in benchmarks.words(found)
    assert "12 test images of digits test" in benchmarks.words(found)
    told = found | {"seconds": {"attacks": 1234.5, "trainings": 60.0}}
    assert benchmarks.words(told).endswith("came to. All attacks took 1,234 s, the trainings 60 s.")
    told["seconds"]["trainings"] = 0
    assert benchmarks.words(told).endswith("came to. All attacks took 1,234 s.")


def test_curves_are_drawn_from_two_radii_on(measured: runs.Run) -> None:
    found = figures(measured)
    assert benchmarks.curves(found) == {}
    farther = [one | {"radius": 1.0, "auroc": one["auroc"] / 2} for one in found["means"] if one["radius"]]
    drawn = benchmarks.curves(found | {"means": [*found["means"], *farther]})
    assert list(drawn) == ["l2"]
    assert drawn["l2"].startswith(b"\x89PNG")


def test_the_report_shows_the_benchmark(measured: runs.Run) -> None:
    html = report.write(measured).read_text(encoding="utf-8")
    for text in ("Detection beside others", "mahalanobis", "Attack by attack", "outside data, L2 0.5"):
        assert text in html


def test_the_command_prints_and_keeps_the_table(
    tiny_run: Path, run_cli: Callable[..., Any], attacked: list[int]
) -> None:
    small = dict.fromkeys(SCALES, SMALL)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(module, "SCALES", small)
        ended = run_cli(
            *("evaluate", tiny_run, "ood", "--against", "none", "--family", "inverted", "--family", "constant"),
            *("--norm", "linf", "--radii", "0.05,0.1", "--json"),
        )
    assert ended.code == 0
    printed = json.loads(ended.out)
    assert printed["rows"] == figures(runs.load(tiny_run))["rows"]
    assert [one["radius"] for one in printed["rows"]] == [None, 0.05, 0.1] * 2
    assert {one["norm"] for one in printed["rows"]} == {None, "linf"}
    assert attacked == [3, 6] * 4
    assert "attack 1/4: genat against inverted, Linf 0.05" in ended.err


def test_the_command_prints_tables(measured: runs.Run, run_cli: Callable[..., Any]) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(module, "SCALES", dict.fromkeys(SCALES, SMALL))
        chosen = [part for name in NAMES for part in ("--family", name)]
        ended = run_cli(*("evaluate", measured.folder, "ood", "--against", "plain,madry", "--radii", "0.5"), *chosen)
    assert ended.code == 0
    for text in ("AUROC, L2 0.5", "outside data, clean", "steepest ascent", "worst of all", "report: "):
        assert text in ended.out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--radii", "0.5,x"), "--radii: expected positive numbers such as 0.5,1.0, got '0.5,x'"),
        (("--radii", "0"), "--radii: expected positive numbers such as 0.5,1.0, got '0'"),
        (("--against", "plain,nobody"), "expected peers among plain, outlier-exposure, acet, ratio, madry, got nobody"),
    ],
)
def test_the_command_refuses_on_one_line(
    tiny_run: Path, run_cli: Callable[..., Any], options: tuple[str, ...], message: str
) -> None:
    ended = run_cli("evaluate", tiny_run, "ood", *options)
    assert ended.code == 2
    assert ended.err.strip() == f"genat: {message}"
