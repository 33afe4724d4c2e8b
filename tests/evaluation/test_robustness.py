"""A committee under attack, from a run folder to its tables: what is measured, kept, shown and refused."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from genat import config, ranking, report, runs
from genat.balls import L2Ball, LinfBall
from genat.evaluation import ood, robustness
from genat.evaluation.robustness import PEERS, SCALES, Scale
from genat.evaluation.robustness import figures as measuring
from genat.evaluation.systems.ascents import share_of_errors
from genat.sources import Images, digits

Cli = Callable[..., tuple[int, str, str]]
KEYS = ["committee=true", "outside=[{kind: other-classes}]", "iterations=30", "ball={norm: linf, radius: 0.1}"]
KEYS += ["steps={first: 2, last: 2}", "step_size=0.1", "optimizer.lr=5e-3", "data.classes=[0, 1, 2]"]
TINY = Scale(n=12, each=8, steps=3, restarts=2, starts=1, queries=4, targets=2, few=4)


@pytest.fixture(scope="module")
def trained(tiny_yaml: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("committee") / "run"
    runs.train(config.load(tiny_yaml, KEYS), folder)
    return folder


@pytest.fixture(scope="module")
def measured(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], list[str]]:
    folder = shutil.copytree(trained, tmp_path_factory.mktemp("measured") / "run")
    lines: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ood, "auroc_interval", lambda *a, **k: ranking.auroc_interval(*a, **k, resamples=20))
        found = robustness.robustness(runs.load(folder), scale=TINY, command="genat x", say=lines.append)
    return folder, found, lines


@pytest.fixture
def folder(measured: tuple[Path, dict[str, Any], list[str]], tmp_path: Path) -> Path:
    return shutil.copytree(measured[0], tmp_path / "run")


def test_every_detector_is_measured(measured: tuple[Path, dict[str, Any], list[str]]) -> None:
    rows = measured[1]["detectors"]
    assert [one["class"] for one in rows] == ["0", "1", "2"]
    for one in rows:
        worst, clean = one["worst"], one["clean"]
        assert worst["auroc"] <= clean["auroc"]
        assert set(worst["each"]) == {"APGD-CE", "Square", "steepest ascent"}
        assert all(worst["auroc"] <= alone <= clean["auroc"] for alone in worst["each"].values())
        assert worst["doubled"] <= worst["auroc"]
        assert (worst["n_inside"], worst["n_outside"], worst["norm"], worst["radius"]) == (8, 8, "linf", 0.1)


def test_every_system_is_measured(measured: tuple[Path, dict[str, Any], list[str]]) -> None:
    figures = measured[1]
    rows = {one["system"]: one for one in figures["systems"]}
    assert list(rows) == [
        "committee", "plain", "plain, energy", "plain, mahalanobis", "classifier and committee", "madry", "trades",
    ]  # fmt: skip
    for name, one in rows.items():
        for key, whole in (("each", "error"), ("each_without_rejection", "error_without_rejection")):
            assert all(alone <= one[whole] for alone in one[key].values()), name
        assert one["error"] <= one["error_without_rejection"]
        assert one["clean_error"] <= min(one["each"].values())
        assert one["accepted_accuracy"] <= min(one["accuracy"], one["tpr"])
        assert {"wrong", "targeted", "margin", "cross-entropy", "apgd-ce", "fab", "square", "transfer"} <= set(
            one["each"]
        )
        assert ("combined" in one["each"]) == (
            name in ("plain, energy", "plain, mahalanobis", "classifier and committee")
        )
        accuracies, errors = one["curve"]["accuracy"], one["curve"]["error"]
        assert accuracies == sorted(accuracies, reverse=True)
        assert errors == sorted(errors, reverse=True)
    for level in figures["compared"]:
        assert level["errors"] == {name: one["at"][str(level["accuracy"])] for name, one in rows.items()}


def test_the_rest_is_told(measured: tuple[Path, dict[str, Any], list[str]]) -> None:
    folder, figures, lines = measured
    assert figures["ball"] == {"norm": "linf", "radius": 0.1}
    assert figures["inside"]["classes"] == ["0", "1", "2"]
    assert (figures["inside"]["part"], figures["inside"]["n"]) == ("test", 12)
    assert figures["growing"][-1]["radius"] == 1.0
    assert all(one["steps"] * 4 * 0.1 / 3 >= 4 * one["radius"] - 1e-9 for one in figures["growing"])
    assert figures["nearest"]["n"] == 4
    assert set(figures["peers"]) == set(PEERS)
    assert figures["made"]["made_by"] == "genat x"
    assert robustness.read(folder) == json.loads(json.dumps(figures))
    assert any(line.startswith("detector 2: AUROC") for line in lines)
    assert any(line.startswith("system trades: wrong on") for line in lines)


def test_what_each_detector_makes_is_told_and_shown(measured: tuple[Path, dict[str, Any], list[str]]) -> None:
    folder, figures, _ = measured
    found = figures["synthesis"]
    assert found["at"] == [0, 50, 100, 150, 200]
    assert len(found["noise"]) == len(found["samples"]) == 3
    assert all(logits[-1] > logits[0] for logits in found["noise"])
    assert {path.name for path in (folder / "robustness").glob("*.png")} == set(robustness.PICTURES)
    assert [row[0] for row in report.robustness.noise_table(figures).rows] == ["0", "1", "2"]


def test_the_nearest_is_by_the_cosine_of_features() -> None:
    from genat.evaluation.robustness.synthesis import nearest

    known = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    assert nearest(torch.tensor([[0.1, 5.0], [3.0, 2.9]]), known, classifier=None).tolist() == [1, 2]
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        second = torch.nn.Linear(2, 2, bias=False)
        second.weight.copy_(torch.tensor([[0.0, 0.0], [0.0, 1.0]]))  # it sees the second coordinate alone
        turned = torch.nn.Sequential(second, torch.nn.Linear(2, 2))
    seen = known + torch.tensor([0.0, 0.5])
    assert nearest(torch.tensor([[9.0, -1.0]]), torch.cat([seen, -seen]), classifier=turned).item() >= 3


def test_classifiers_learn_in_the_runs_own_ball(measured: tuple[Path, dict[str, Any], list[str]]) -> None:
    folder, figures, _ = measured
    assert figures["peers"]["madry"]["exposure"]["inside"] == "LinfBall(0.1)"
    assert {path.name for path in (folder / "peers").iterdir()} == {
        "plain.safetensors", "madry-linf-0.1.safetensors", "trades-linf-0.1.safetensors",
    }  # fmt: skip


def test_what_was_attacked_is_not_attacked_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = robustness.read(folder)
    assert before is not None

    def never(*_: object, **__: object) -> None:
        raise AssertionError("attacked again")

    monkeypatch.setattr("genat.evaluation.robustness.cells.attack_system", never)
    monkeypatch.setattr("genat.evaluation.robustness.protocol.worst_case", never)
    monkeypatch.setattr("genat.evaluation.rivals.train_exposed", never)
    again = robustness.robustness(runs.load(folder), scale=TINY, against=("plain",))
    kept = {one["system"]: one for one in before["systems"]}
    for one in again["systems"]:
        alone = {name: value for name, value in one["each"].items() if name != "transfer"}
        assert alone == {name: value for name, value in kept[one["system"]]["each"].items() if name != "transfer"}
    assert [one["system"] for one in again["systems"]][-1] == "classifier and committee"


def test_another_ball_is_attacked_anew(folder: Path) -> None:
    wide = robustness.robustness(runs.load(folder), scale=TINY, against=(), ball=L2Ball(0.5))
    assert wide["ball"] == {"norm": "l2", "radius": 0.5}
    assert [one["system"] for one in wide["systems"]] == ["committee"]
    assert "transfer" not in wide["systems"][0]["each"]


def test_the_nearest_error_is_reached_wherever_it_is() -> None:
    """Of two detectors, each of one corner of the box, the border is halfway between."""
    from genat.decisions import Generative
    from genat.networks import Committee

    class Near(torch.nn.Module):
        def __init__(self, corner: float) -> None:
            super().__init__()
            self.corner = corner

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return -(x - self.corner).square().flatten(1).sum(dim=1)

    system = Generative(Committee([Near(0.0), Near(1.0)]))
    x, y = torch.full((2, 1, 8, 8), 0.05), torch.tensor([0, 0])
    found = measuring.nearest(system, x, y, threshold=-100.0, scale=SCALES["quick"])
    assert found["rate"] == 1
    assert found["mean"] == pytest.approx(0.45 * 8, rel=0.02)


def test_scales() -> None:
    assert list(SCALES) == ["quick", "full"]
    assert SCALES["quick"].restarts >= 3
    assert SCALES["full"].n == 1000


def test_an_error_of_no_accuracy_is_none() -> None:
    rows = [{"system": "a", "at": {str(level): None for level in measuring.LEVELS} | {"0.5": 0.25}}]
    compared = measuring.compared(rows)
    assert compared[-1] == {"accuracy": 0.5, "errors": {"a": 0.25}}
    assert compared[0]["errors"] == {"a": None}


# the report and the command line


def test_the_report_shows_it(folder: Path) -> None:
    page = report.write(runs.load(folder)).read_text(encoding="utf-8")
    for title in (
        "Detectors under attack",
        "Systems under attack",
        "At equal accuracy",
        "Without rejection",
        "Growing",
        "What each detector makes",
    ):
        assert title in page
    assert "A committee of 3 detectors" in page


def test_tables_have_a_row_for_each(measured: tuple[Path, dict[str, Any], list[str]]) -> None:
    figures = measured[1]
    assert [row[0] for row in report.robustness.detectors_table(figures).rows] == ["0", "1", "2", "mean"]
    assert len(report.robustness.systems_table(figures).rows) == 7
    for key in ("each", "each_without_rejection"):
        table = report.robustness.attacks_table(figures, key)
        assert table.rows[-1][0] == "worst of all"
        assert all(len(row) == len(table.columns) for row in table.rows)
    assert report.robustness.curves(figures)[1:4] == b"PNG"
    none = {"nearest": {"mean": None, "n": 4, "rate": 0.0}}
    assert report.robustness.nearest_words(none) == "No accepted error was found in any distance for 4 images."


def test_the_command_prints_its_tables(run_cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    def measured_before(run: runs.Run, **options: Any) -> Any:  # noqa: ANN401
        asked.append(options)
        return robustness.read(run.folder)

    monkeypatch.setattr(robustness, "robustness", measured_before)
    code, out, err = run_cli("evaluate", folder, "robustness", "--against", "plain, trades", "--scale", "full")
    assert code == 0, err
    for words in ("worst of all", "error under attack", "growing balls", "report: "):
        assert words in out
    code, out, _ = run_cli("evaluate", folder, "robustness", "--norm", "l2", "--radii", "0.5", "--json")
    assert code == 0
    assert json.loads(out)["systems"][0]["system"] == "committee"
    assert [options["against"] for options in asked] == [("plain", "trades"), PEERS]
    assert [options["scale"] for options in asked] == [SCALES["full"], SCALES["quick"]]
    assert [options["ball"] for options in asked] == [None, L2Ball(0.5)]


# what is refused


def test_what_cannot_be_measured_is_refused(trained: Path, tiny_run: Path) -> None:
    run = runs.load(trained)
    with pytest.raises(ValueError, match=r"run: expected a run of a committee, got one of another detector$"):
        robustness.robustness(runs.load(tiny_run))
    with pytest.raises(ValueError, match=r"^expected peers among plain, madry, trades, got ratio$"):
        robustness.robustness(run, against=["ratio"])
    with pytest.raises(ValueError, match=r"^expected a radius to attack in, as the committee was trained without one"):
        robustness.robustness(run, ball=LinfBall())
    with pytest.raises(ValueError, match=r"^expected test images of classes 0, 1, 2, got 0, 1, 2, 3"):
        robustness.robustness(run, images=digits("test"))
    with pytest.raises(ValueError, match=r"^expected labelled test images, got 'images' without labels$"):
        robustness.robustness(run, images=Images(torch.zeros(4, 1, 8, 8, dtype=torch.uint8)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--norm", "l2"], "expected --norm and --radii, or neither for the training's ball, got one"),
        (["--norm", "l2", "--radii", "1,2"], "--radii: expected one radius with robustness, got 2"),
        (["--against", "ratio"], "expected peers among plain, madry, trades, got ratio"),
    ],
)
def test_a_mistake_is_one_line(options: list[str], message: str, run_cli: Cli, trained: Path) -> None:
    code, out, err = run_cli("evaluate", trained, "robustness", *options)
    assert (code, out, err) == (2, "", f"genat: {message}\n")


def test_a_table_that_cannot_be_read_is_named(folder: Path) -> None:
    path = folder / "robustness" / "table.json"
    path.write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match=r"table\.json: expected a table of figures, got a file that cannot be read"):
        robustness.read(folder)
    path.unlink()
    assert robustness.read(folder) is None


def test_a_kept_attack_that_is_damaged_is_named(folder: Path) -> None:
    for path in (folder / "robustness" / "cells").glob("system-committee-*"):
        path.write_bytes(b"damaged")
    with pytest.raises(ValueError, match="expected an attack's figures, got a damaged file"):
        robustness.robustness(runs.load(folder), scale=TINY, against=())


def test_minus_infinity_is_no_error_at_any_level() -> None:
    wrong = torch.tensor([-math.inf, 1.0, 2.0])
    assert share_of_errors(wrong, None) == pytest.approx(2 / 3)
    assert share_of_errors(wrong, 1.5) == pytest.approx(1 / 3)
