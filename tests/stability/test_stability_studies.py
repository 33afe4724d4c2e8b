"""A study's counts, table and pictures, and the study itself on tiny data."""

import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from genat.networks import build, parameter_count
from genat.simulations.failures import wilson
from genat.simulations.outcome import Row
from genat.simulations.studies import Made
from genat.stability import methods, ruler, studies
from genat.stability.figures import curves, mosaic, mosaics
from genat.stability.methods import Method
from genat.stability.outcome import Outcome
from genat.stability.ruler import Exam, Material, Ruler
from genat.stability.studies import parameters, study
from genat.stability.table import count, markdown

PNG = b"\x89PNG\r\n\x1a\n"
REFERENCES = {"starts": 90.0, "means": 30.0, "real": 0.5, "accuracy": 0.875}


def outcome(method: str = "gat", *, rate: float = 1e-3, width: int = 8, seed: int = 0, **changes: object) -> Outcome:
    row: Row = {"method": method, "factor": 1000 * rate, "rate": rate, "width": width, "seed": seed, "passes": 40}
    row |= {"diverged": None, "distance": 20.0, "failure": None}
    curve = [{"passes": 20, "distance": 50.0}, {"passes": 40, "distance": 20.0}]
    return Outcome(row | changes, curve, [], torch.full((9, 1, 8, 8), 99, dtype=torch.uint8))  # type: ignore[arg-type]


def lost(method: str = "gan", **options: Any) -> Outcome:  # noqa: ANN401
    gone = outcome(method, **options, diverged=3, distance=None, failure="not finite")
    return Outcome(gone.row, [], [], torch.zeros(9, 1, 8, 8, dtype=torch.uint8))


# counts


def test_failures_are_counted_over_all_by_rate_and_by_width() -> None:
    rows = [
        outcome("gat", rate=1e-4, distance=10.0).row,
        outcome("gat", rate=1e-3, distance=20.0).row,
        outcome("gan", rate=1e-4, width=8, failure="one player won", distance=30.0).row,
        outcome("gan", rate=1e-3, width=8, distance=40.0).row,
        lost("gan", rate=1e-4, width=16).row,
        lost("gan", rate=1e-3, width=16).row,
    ]
    counted = count(rows)
    assert [(row["method"], row["by"], row["value"], row["failures"], row["runs"]) for row in counted] == [
        ("gat", "all", None, 0, 2),
        ("gat", "rate", 1e-4, 0, 1),
        ("gat", "rate", 1e-3, 0, 1),
        ("gat", "width", 8, 0, 2),
        ("gan", "all", None, 3, 4),
        ("gan", "rate", 1e-4, 2, 2),
        ("gan", "rate", 1e-3, 1, 2),
        ("gan", "width", 8, 1, 2),
        ("gan", "width", 16, 2, 2),
    ]
    assert (counted[4]["low"], counted[4]["high"]) == wilson(3, 4)
    assert counted[4]["reasons"] == {"one player won": 1, "not finite": 2}
    assert counted[0]["distance"] == {"mean": 15.0, "sd": pytest.approx(math.sqrt(50)), "n": 2}
    assert counted[1]["distance"] == {"mean": 10.0, "sd": None, "n": 1}
    assert counted[-1]["distance"] is None


def test_the_table_says_what_its_distances_are() -> None:
    text = markdown(
        count([outcome("gat", seed=seed).row for seed in (0, 1)] + [lost().row]), references=REFERENCES, n=66
    )
    lines = text.splitlines()
    assert lines[0].startswith("| method | trainings | failures | 95 % interval of the share | reasons | ")
    assert lines[2] == "| gat | all | 0 of 2 | 0.000 to 0.658 |  | 20.00 +- 0.00 |"
    assert lines[5] == "| gan | all | 1 of 1 | 0.207 to 1.000 | not finite 1 |  |"
    assert lines[-2] == ""
    assert lines[-1] == (
        "Fréchet distance of 66 images to 66 held-out ones on the features of a classifier whose accuracy on these is "
        "0.875. Of the starts: 90.00; of the mean images of the classes, from which on a training has failed: 30.00; "
        "of other real images: 0.50."
    )


# pictures


def size(picture: bytes) -> tuple[int, int]:
    assert picture.startswith(PNG)
    with Image.open(io.BytesIO(picture)) as image:
        return image.size


def test_curves_have_a_panel_a_method_also_for_what_was_lost_at_once() -> None:
    one = size(curves([outcome()], references=REFERENCES))
    two = size(curves([outcome(), outcome(width=16, failure="one player won"), lost()], references=REFERENCES))
    assert two[0] > 1.5 * one[0]
    assert size(curves([lost()], references=REFERENCES)) == one


def test_mosaics_have_a_row_a_rate_and_a_column_a_width_of_the_first_seed() -> None:
    one = size(mosaics([outcome()]))
    grid = [outcome(rate=rate, width=width, seed=seed) for rate in (1e-4, 1e-3) for width in (8, 16) for seed in (0, 1)]
    assert size(mosaics(grid)) == (2 * one[0], 2 * one[1])
    assert size(mosaics([*grid[:2], lost("gat", rate=1e-3, width=16)])) == (2 * one[0], 2 * one[1])


def test_a_mosaic_is_read_row_by_row() -> None:
    images = torch.arange(9, dtype=torch.uint8).view(9, 1, 1, 1).expand(9, 3, 2, 3)
    sheet = mosaic(images)
    assert sheet.shape == (4, 24, 3)
    assert sheet[0, ::3, 0].tolist() == list(range(8))
    assert sheet[3, :6, 2].tolist() == [8, 8, 8, 0, 0, 0]
    assert np.asarray(mosaic(images[:, :1])).shape == (4, 24)


def test_pictures_of_nothing() -> None:
    with pytest.raises(ValueError, match="expected at least one outcome, got none"):
        curves([], references=REFERENCES)
    with pytest.raises(ValueError, match="expected at least one outcome, got none"):
        mosaics([])


# the study


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, material: Material, tiny: Mapping[str, Method]) -> None:
    """Tiny data and methods in the places of the real ones."""
    monkeypatch.setattr(ruler, "fashion", lambda: material)
    monkeypatch.setattr(studies, "EXAM", Exam(n=66, examples=60, epochs=1))
    for name, method in tiny.items():
        monkeypatch.setitem(methods.METHODS, name, method)


def make(output: Path, **options: Any) -> Made:  # noqa: ANN401
    settings: dict[str, Any] = {"methods": ["gan"], "seeds": [0], "widths": [2], "budget": 48, "device": "cpu"}
    return study(output=output, command="genat stability it", say=lambda _: None, **settings | options)


def strictly(text: str) -> Any:  # noqa: ANN401
    """Parse JSON as the standard has it, which knows no NaN."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.mark.usefixtures("small")
def test_a_study_is_a_table_and_pictures(tmp_path: Path) -> None:
    made = make(tmp_path / "it", methods=["gan", "jem"])
    content = strictly((tmp_path / "it" / "table.json").read_text())
    assert content == made.table
    assert content["made"]["made_by"] == "genat stability it"
    assert content["made"]["wall_seconds"] >= 0
    assert (content["data"], content["n"]) == ("quarters", 66)
    assert set(content["references"]) == set(REFERENCES)
    assert content["parameters"] == {"2": parameters((1, 8, 8), 2)}
    assert len(content["cells"]) == 2 * 3
    assert {"method", "rate", "width", "seed", "passes", "distance", "failure", "curve"} <= set(content["cells"][0])
    assert [(row["method"], row["by"]) for row in content["rows"]] == [
        (name, by) for name in ("gan", "jem") for by in ("all", "rate", "rate", "rate", "width")
    ]
    assert (tmp_path / "it" / "table.md").read_text() == made.markdown
    assert [path.name for path in made.pictures] == ["distances.png", "samples-gan.png", "samples-jem.png"]
    assert all(path.read_bytes().startswith(PNG) for path in made.pictures)
    again = make(tmp_path / "it", methods=["gan", "jem"])
    assert again.table["cells"] == made.table["cells"]


@pytest.mark.usefixtures("small")
def test_what_a_study_is_of_unless_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ruler: Ruler, material: Material
) -> None:
    asked: list[dict[str, Any]] = []

    def run(chosen: Mapping[str, Method], data: Material, **options: Any) -> tuple[Sequence[Outcome], Ruler]:  # noqa: ANN401
        asked.append({"methods": list(chosen), "data": data, **options})
        options["output"].mkdir()
        return [outcome(name) for name in chosen], ruler

    monkeypatch.setattr(studies, "run", run)
    make(tmp_path / "it", methods=None, widths=None, budget=None)
    assert asked[0]["methods"] == ["gat", "gan", "jem"]
    assert (asked[0]["widths"], asked[0]["budget"]) == ((4, 8), 250_000)
    assert asked[0]["data"] is material


def test_how_many_parameters_there_are() -> None:
    shape = (1, 28, 28)
    for width in studies.WIDTHS:
        found = parameters(shape, width)
        assert 0.8 < found["generator"] / found["detector"] < 1.25
        assert found["detector"] == parameter_count(build("small_convnet", shape, {"width": width}, seed=1))


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"methods": ["gna"]}, "expected methods among .*, got gna$"),
        ({"methods": []}, "expected methods among .*, got none$"),
        ({"budget": 0}, "expected a budget of at least 1 pass, got 0"),
        ({"budget": math.nan}, "expected a budget of at least 1 pass, got nan"),
        ({"budget": math.inf}, "expected a budget of at least 1 pass, got inf"),
        ({"budget": 5}, "expected a budget for at least one iteration of gan, got 5 passes"),
        ({"seeds": [1, 1]}, "all different"),
        ({"widths": [-1]}, "expected at least one width"),
        ({"device": "tpu"}, "expected device cpu or cuda"),
    ],
    ids=str,
)
def test_nothing_is_written_where_a_person_is_mistaken(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        make(tmp_path / "new", **options)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())
