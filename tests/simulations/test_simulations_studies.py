"""A study's table and pictures, from outcomes that are made up."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from genat.simulations import failures, figures, lineup, outcome, studies, table
from genat.simulations.outcome import Outcome, Row
from genat.simulations.studies import PEERS, PLANE, pictures, study, support_share
from genat.simulations.trainers import Trainer
from genat.sources.toy import TOYS, Toy

pytestmark = pytest.mark.usefixtures("small")
Make = Callable[..., Outcome]
PNG, GIF = b"\x89PNG\r\n\x1a\n", b"GIF89a"
DATA = {name: TOYS[name]() for name in ("ring", "checkerboard", "blobs")}


def strictly(text: str) -> Any:  # noqa: ANN401
    """Parse JSON as the standard has it, which knows no NaN."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.fixture
def line(result: Make) -> Outcome:
    records = [{"iteration": i, "steps": 1, "loss": [0.7] * 2, "auroc": [0.5] * 2, "ratio": [2.0] * 2} for i in (1, 2)]
    return result(toy="blobs", samples=torch.full((2, 5, 1), 0.4), trajectory=torch.zeros(3, 4, 1), history=records)


@pytest.fixture
def gone(result: Make) -> Outcome:
    """An outcome whose seeds have diverged before anything could be kept."""
    rows: list[Row] = [{"seed": i, "diverged": 1, "failure": "not finite", "passes": 0, "seconds": 0.1} for i in (0, 1)]
    nothing = torch.full((2, 64), torch.nan)
    return result(
        rows=rows,
        history=[],
        logits=nothing,
        samples=torch.full((2, 5, 2), torch.nan),
        moments=torch.empty(0, dtype=torch.int64),
        surfaces=nothing[:0],
        areas=torch.empty(0, 2),
        trajectory=outcome.empty_trajectory(2),
    )


@pytest.fixture
def asked(result: Make, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What `simulate` is asked for; it answers with made-up outcomes and makes the folder."""
    calls: list[dict[str, Any]] = []

    def simulate(data: Mapping[str, Toy], trainers: Mapping[str, Trainer], **options: Any) -> Sequence[Outcome]:  # noqa: ANN401
        calls.append({"data": list(data), "trainers": dict(trainers), **options})
        options["output"].mkdir(parents=True, exist_ok=True)
        seeds = tuple(options["seeds"])
        return [
            result(toy=toy, trainer=name, seeds=seeds, rows=result().rows[: len(seeds)])
            for toy in data
            for name in trainers
        ]

    monkeypatch.setattr(studies, "simulate", simulate)
    return calls


def make(name: str, output: Path, **options: Any) -> studies.Made:  # noqa: ANN401
    options = {"trainers": None, "seeds": [0, 1], "budget": None, "device": "cpu", "say": lambda _: None} | options
    return study(name, output=output, command="genat simulate it", **options)


# pictures


def test_which_pictures_there_are(result: Make, line: Outcome) -> None:
    peer = result(trainer="gan", trajectory=outcome.empty_trajectory(2))
    made = pictures([result(), peer, line], DATA)
    assert set(made) == {
        "overview-gat.png", "overview-gan.png", "samples.png", "strip-gat.png",
        "areas-ring.png", "surfaces-ring.png", "animation-ring.gif", "trajectories-ring.png",
    }  # fmt: skip
    for name, picture in made.items():
        assert picture.startswith(GIF if name.endswith(".gif") else PNG)


def test_a_trainer_without_ascents_has_no_picture_of_them(result: Make) -> None:
    made = pictures([result(trainer="gan", trajectory=outcome.empty_trajectory(2))], DATA)
    assert "trajectories-ring.png" not in made
    assert "surfaces-ring.png" in made


def test_what_diverged_at_once_leaves_what_can_be_drawn(gone: Outcome, line: Outcome) -> None:
    lost = replace(line, history=[], moments=gone.moments, surfaces=gone.surfaces, areas=gone.areas)
    made = pictures([gone, lost], DATA)
    assert set(made) == {"overview-gat.png", "samples.png", "areas-ring.png"}
    assert all(picture.startswith(PNG) for picture in made.values())


def test_the_supports_share_in_closed_form() -> None:
    ring, board = DATA["ring"], DATA["checkerboard"]
    assert ring.radius is not None
    assert support_share(ring) == pytest.approx(8 * math.pi * ring.radius**2, rel=0.02)
    assert support_share(board) == pytest.approx(0.3**2 / 2, rel=0.01)


# studies


def test_a_comparison_is_of_the_peers_unless_told_otherwise(
    asked: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(studies, "pictures", lambda outcomes, _: {"it.png": str(len(outcomes)).encode()})
    made = make("ring, checkerboard", tmp_path / "new", seeds=[3], budget=1e6)
    (call,) = asked
    assert call["data"] == ["ring", "checkerboard"]
    assert call["trainers"] == lineup.trainers(PEERS, budget=1_000_000)
    assert (call["seeds"], call["output"], call["device"]) == ([3], tmp_path / "new", "cpu")
    text = (tmp_path / "new" / "table.json").read_text()
    assert strictly(text) == made.table  # one seed has no deviation, and a NaN would be refused
    assert [(row["toy"], row["trainer"]) for row in made.table["rows"]] == [
        (toy, trainer) for toy in ("ring", "checkerboard") for trainer in ("box", *PEERS)
    ]
    assert made.table["made"]["made_by"] == "genat simulate it"
    assert made.table["made"]["wall_seconds"] >= 0
    assert made.table["seeds"] == 1
    assert (tmp_path / "new" / "table.md").read_text() == made.markdown
    assert made.pictures == (tmp_path / "new" / "it.png",)
    assert made.pictures[0].read_bytes() == b"6"
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"it.png", "table.json", "table.md"}


def test_all_are_all(asked: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(studies, "pictures", lambda *_: {})
    monkeypatch.setattr(table, "box_row", lambda _: 0.5)
    make("all", tmp_path, trainers=["gan"])
    assert asked[0]["data"] == list(TOYS)
    assert list(asked[0]["trainers"]) == ["gan"]


def test_the_ablation_is_of_gat_on_one_data_set(
    asked: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[Any] = []

    def draw(families: Mapping[str, Mapping[str, Outcome]], *, share: float) -> bytes:
        shown.append((families, share))
        return b"drawn"

    monkeypatch.setattr(figures, "ablation", draw)
    made = make("ablation", tmp_path, budget=1e6)
    (call,) = asked
    assert call["data"] == ["spirals"]
    base = call["trainers"]["growth-of-the-steps-grow-1-to-20"]
    assert base == lineup.trainers(["gat"], budget=1e6)["gat"]
    assert {trainer.iterations for trainer in call["trainers"].values()} == {base.iterations}
    assert len(call["trainers"]) == 14
    rows = strictly((tmp_path / "table.json").read_text())["rows"]
    assert len(rows) == 17
    assert {row["trainer"] for row in rows} == set(call["trainers"])
    assert [row["setting"] for row in rows if row["trainer"] == "growth-of-the-steps-grow-1-to-20"] == [
        "grow 1 to 20", "to 20", "0.1, some shrinking", "none"
    ]  # fmt: skip
    assert [path.name for path in made.pictures] == ["ablation.png"]
    assert made.pictures[0].read_bytes() == b"drawn"
    ((families, share),) = shown
    assert [len(family) for family in families.values()] == [4, 4, 5, 4]
    assert families["ball"]["none"].trainer == "growth-of-the-steps-grow-1-to-20"
    assert share == support_share(TOYS["spirals"]())


def test_failures_are_counted_on_the_papers_shapes_at_three_rates(asked: list[dict[str, Any]], tmp_path: Path) -> None:
    made = make("failures", tmp_path, trainers=["gat", "ebm"])
    (call,) = asked
    assert call["data"] == list(PLANE) == ["ring", "grid", "spirals", "checkerboard"]
    assert call["trainers"] == failures.decades(lineup.trainers(["gat", "ebm"]))
    content = strictly((tmp_path / "table.json").read_text())
    assert [(row["trainer"], row["rate"], row["runs"]) for row in content["rows"]] == [
        (name, rate, 4 * 2) for name in ("gat", "ebm") for rate in (0.0001, 0.001, 0.01)
    ]
    assert len(content["cells"]) == 4 * 6
    assert [path.name for path in made.pictures] == ["failures.png"]


def test_an_ablation_in_which_a_setting_fails_is_drawn(
    asked: list[dict[str, Any]], gone: Outcome, result: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def simulate(_: object, trainers: Mapping[str, Trainer], **__: object) -> list[Outcome]:
        return [
            replace(gone, toy="spirals", trainer=name) if "to-40" in name else result(toy="spirals", trainer=name)
            for name in trainers
        ]

    monkeypatch.setattr(studies, "simulate", simulate)
    made = make("ablation", tmp_path)
    assert not asked
    assert "2 of 2" in made.markdown
    assert made.pictures[0].read_bytes().startswith(PNG)


# mistakes


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("rong", {}, "expected data sets among .*, got rong$"),
        ("ring,", {}, "expected data sets"),
        ("", {}, "expected data sets"),
        ("all,ring", {}, "got all$"),
        ("ablation,ring", {}, "got ablation$"),
        ("ring", {"trainers": ["gat", "gna"]}, "expected trainers among .*, got gna$"),
        ("ring", {"trainers": []}, "expected trainers among .*, got none$"),
        ("failures", {"trainers": ["gna"]}, "got gna$"),
        ("ablation", {"trainers": ["gan"]}, "expected no trainers for the ablation, which is of gat alone, got gan"),
        ("ring", {"budget": 0}, "budget of at least 1 pass, got 0"),
        ("ablation", {"budget": -5}, "budget of at least 1 pass, got -5"),
        ("failures", {"budget": math.inf}, "budget of at least 1 pass, got inf"),
        ("ring", {"seeds": []}, "at least one seed"),
        ("ablation", {"seeds": [1, 1]}, "all different"),
        ("failures", {"seeds": [-1]}, "0 or more"),
        ("ring", {"device": "tpu"}, "expected device cpu or cuda, got 'tpu'"),
        ("ablation", {"device": "tpu"}, "expected device cpu or cuda"),
    ],
)
def test_nothing_is_written_where_a_person_is_mistaken(
    tmp_path: Path, name: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message) as error:
        make(name, tmp_path / "new", **options)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())
