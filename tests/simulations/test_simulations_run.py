"""A folder of simulations: made, gone on with, and left as it was where a person is mistaken."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from genat.simulations import outcome as outcomes
from genat.simulations import run
from genat.simulations.outcome import Outcome
from genat.simulations.run import CURRENT, SIMULATION, describe, simulate, toys, train
from genat.simulations.trainers import Gat, Trainer
from genat.simulations.watch import RECORDS

pytestmark = pytest.mark.usefixtures("small")
PNG = b"\x89PNG\r\n\x1a\n"
Tiny = Mapping[str, Trainer]
Poison = Callable[..., None]


def tree(folder: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


def times(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("outcome.*")}


def same(first: Outcome, second: Outcome) -> None:
    assert (first.toy, first.trainer, first.seeds, first.rows) == (
        second.toy,
        second.trainer,
        second.seeds,
        second.rows,
    )
    assert first.history == second.history
    for name in ("logits", "samples", "moments", "surfaces", "areas", "trajectory"):
        assert getattr(first, name).equal(getattr(second, name))


# made


def test_every_cell_has_its_folder_and_every_seed_its_row(tmp_path: Path, tiny: Tiny) -> None:
    said: list[str] = []
    output = tmp_path / "deep" / "down"
    results = simulate(toys(["ring", "blobs"]), tiny, seeds=[3, 1], output=output, say=said.append)
    assert [(result.toy, result.trainer) for result in results] == [
        (toy, name) for toy in ("ring", "blobs") for name in tiny
    ]
    for result in results:
        dim = 2 if result.toy == "ring" else 1
        cells = 20**2 if dim == 2 else 50
        assert result.seeds == (3, 1)
        assert [row["seed"] for row in result.rows] == [3, 1]
        assert result.logits.shape == (2, cells)
        assert result.samples.shape == (2, 50, dim)
        assert result.moments.tolist() == [8, 16, 24]
        assert result.surfaces.shape == (3, cells)
        assert result.areas.shape == (3, 2)
        assert [record["iteration"] for record in result.history] == list(range(1, 25))
        assert len(result.history) <= RECORDS
        assert all(("ratio" in record) == (dim == 1) for record in result.history)
        assert result.trajectory.shape[-1] == dim
        assert (result.trajectory.numel() > 0) == (result.trainer == "gat")
        same(result, outcomes.load(output / result.toy / result.trainer)[0])
    names = {"outcome.json", "outcome.safetensors"}
    for toy in ("ring", "blobs"):
        assert {path.name for path in (output / toy).iterdir()} == set(tiny)
        assert all({path.name for path in (output / toy / name).iterdir()} == names for name in tiny)
    assert json.loads((output / SIMULATION).read_text()) == describe(tiny, [3, 1])
    assert len(said) == 2 * 3 * 3
    assert said[0].startswith("gat  ring  step 8/24  ascent steps ")


def test_the_settings_are_kept_beside_the_figures(made: Path, tiny: Tiny) -> None:
    settings = json.loads((made / "ring" / "gat" / "outcome.json").read_text())["settings"]
    assert settings.pop("seconds") > 0
    assert settings == json.loads(json.dumps(asdict(tiny["gat"])))  # type: ignore[call-overload]


@pytest.mark.parametrize("toy", ["ring", "blobs"])
def test_the_current_picture_is_there_while_it_trains(tmp_path: Path, tiny: Tiny, toy: str) -> None:
    folder = tmp_path / "cell"
    pictures: list[bytes] = []

    def look(line: str) -> None:
        assert line.startswith(f"gat  {toy}  step ")
        pictures.append((folder / CURRENT).read_bytes())

    train(toys([toy])[toy], "gat", tiny["gat"], seeds=[0], folder=folder, say=look)
    assert len(pictures) == 3
    assert all(picture.startswith(PNG) for picture in pictures)
    assert len(set(pictures)) > 1
    assert not (folder / CURRENT).exists()


def test_a_seeds_figures_in_company_are_the_seeds_alone(tmp_path: Path, made: Path, tiny: Tiny) -> None:
    company, _ = outcomes.load(made / "ring" / "gat")
    (alone,) = simulate(toys(["ring"]), {"gat": tiny["gat"]}, seeds=[1], output=tmp_path / "alone")
    assert company.rows[1].keys() == alone.rows[0].keys()
    for name, figure in alone.rows[0].items():
        if isinstance(figure, float) and name != "seconds":
            assert company.rows[1][name] == pytest.approx(figure, abs=5e-3)
        elif name != "seconds":
            assert company.rows[1][name] == figure
    torch.testing.assert_close(company.logits[1], alone.logits[0], rtol=0, atol=1e-4)


# gone on with


def test_what_is_finished_is_read_and_nothing_is_written(
    made: Path, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> Outcome:
        raise AssertionError("trained again")

    monkeypatch.setattr(run, "train", never)
    before, written, said = tree(made), times(made), list[str]()
    (again,) = simulate(toys(["ring"]), {"gat": tiny["gat"]}, seeds=[0, 1], output=made, say=said.append)
    same(again, outcomes.load(made / "ring" / "gat")[0])
    assert said == [f"ring  gat: finished, read from {made / 'ring' / 'gat'}"]
    assert (tree(made), times(made)) == (before, written)


def test_what_was_interrupted_is_trained_and_the_rest_is_not(tmp_path: Path, tiny: Tiny) -> None:
    def stop(line: str) -> None:
        if line.startswith("gan  ring  step 16"):
            raise KeyboardInterrupt

    output = tmp_path / "made"
    chosen = {name: tiny[name] for name in ("gat", "gan")}
    with pytest.raises(KeyboardInterrupt):
        simulate(toys(["ring"]), chosen, seeds=[0, 1], output=output, say=stop)
    first = times(output)
    assert {Path(path).parent.name for path in first} == {"gat"}
    assert (output / "ring" / "gan" / CURRENT).is_file()
    _, resumed = simulate(toys(["ring"]), chosen, seeds=[0, 1], output=output)
    assert {path: stamp for path, stamp in times(output).items() if path in first} == first
    assert not (output / "ring" / "gan" / CURRENT).exists()
    whole = train(toys(["ring"])["ring"], "gan", tiny["gan"], seeds=[0, 1], folder=tmp_path / "whole")
    for row in (*whole.rows, *resumed.rows):
        row.pop("seconds")
    same(resumed, whole)


def test_tensors_without_their_json_are_not_finished(made: Path, tiny: Tiny) -> None:
    before = (made / "ring" / "gat" / "outcome.safetensors").read_bytes()
    (made / "ring" / "gat" / "outcome.json").unlink()
    simulate(toys(["ring"]), {"gat": tiny["gat"]}, seeds=[0, 1], output=made)
    assert outcomes.finished(made / "ring" / "gat")
    assert (made / "ring" / "gat" / "outcome.safetensors").read_bytes() == before


def test_trainers_and_data_sets_can_be_added(made: Path, tiny: Tiny) -> None:
    first = times(made)
    simulate(toys(["ring"]), {"gan": tiny["gan"]}, seeds=[0, 1], output=made)
    simulate(toys(["moons"]), {"gat": tiny["gat"]}, seeds=[0, 1], output=made)
    assert json.loads((made / SIMULATION).read_text()) == describe(
        {name: tiny[name] for name in ("gat", "gan")}, [0, 1]
    )
    assert times(made).items() >= first.items()
    assert {path.parent.relative_to(made).as_posix() for path in made.rglob("outcome.json")} == {
        "ring/gat", "ring/gan", "moons/gat"
    }  # fmt: skip


def test_an_empty_folder_is_as_good_as_none(tmp_path: Path, tiny: Tiny) -> None:
    (tmp_path / "empty").mkdir()
    assert simulate(toys(["ring"]), {"gat": tiny["gat"]}, seeds=[0], output=tmp_path / "empty")


# divergence


def test_a_seed_that_diverges_is_nan_and_the_others_are_as_without_it(
    tmp_path: Path, made: Path, tiny: Tiny, poison: Poison
) -> None:
    sound, _ = outcomes.load(made / "ring" / "gat")
    poison(0)
    (result,) = simulate(toys(["ring"]), {"gat": tiny["gat"]}, seeds=[0, 1], output=tmp_path / "lost")
    lost, other = result.rows
    assert (lost["diverged"], lost["failure"]) == (4, "not finite")
    assert not {"iou", "modes", "inside", "energy_distance", "late_auroc"} & lost.keys()
    assert other | {"seconds": 0} == sound.rows[1] | {"seconds": 0}
    for name in ("loss", "auroc"):
        first, second = zip(*(record[name] for record in result.history), strict=True)
        assert [math.isnan(value) for value in first] == [False] * 3 + [True] * 21
        assert second == pytest.approx([record[name][1] for record in sound.history], abs=1e-6)
    for values in (result.logits, result.samples, result.areas.T):
        assert values[0].isnan().all()
        assert values[1].isfinite().all()
    assert result.samples[1].equal(sound.samples[1])
    assert result.surfaces.isnan().all()  # those of the first seed
    assert result.trajectory.numel() == 0


def test_without_the_first_seed_lost_its_ways_are_kept(tmp_path: Path, tiny: Tiny, poison: Poison) -> None:
    poison(1)
    (result,) = simulate(toys(["ring"]), {"gat": tiny["gat"]}, seeds=[0, 1], output=tmp_path / "lost")
    assert [row["diverged"] for row in result.rows] == [None, 4]
    assert result.trajectory.isfinite().all()
    assert result.trajectory.numel() > 0
    assert result.surfaces.isfinite().all()


@pytest.mark.parametrize("name", ["gat", "gan", "ebm"])
def test_where_all_diverge_a_folder_is_finished_all_the_same(tmp_path: Path, tiny: Tiny, name: str) -> None:
    trainer = tiny[name].with_rate(1e30)
    (result,) = simulate(toys(["ring"]), {name: trainer}, seeds=[0, 1], output=tmp_path / "lost")
    assert [row["failure"] for row in result.rows] == ["not finite", "not finite"]
    assert all(row["diverged"] in (1, 2, 3) for row in result.rows)
    assert result.logits.isnan().all()
    assert result.samples.isnan().all()
    assert (result.moments.shape, result.moments.dtype) == ((0,), torch.int64)
    assert result.surfaces.shape == (0, 400)
    assert result.areas.shape == (0, 2)
    (again,) = simulate(toys(["ring"]), {name: trainer}, seeds=[0, 1], output=tmp_path / "lost")
    assert again.rows == result.rows


# mistakes


def refused(
    place: Path, message: str, data: Mapping[str, object], trainers: Mapping[str, Trainer], **options: object
) -> None:
    before = tree(place)
    with pytest.raises(ValueError, match=message) as error:
        simulate(data, trainers, **options)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)
    assert tree(place) == before


@pytest.mark.parametrize(("names", "got"), [(["rong"], "rong"), (["ring", "x", "y"], "x, y"), ([], "none")])
def test_unknown_data_sets(names: list[str], got: str) -> None:
    with pytest.raises(ValueError, match=f"expected data sets among blobs, ring, .*gaussians25, got {got}$"):
        toys(names)


@pytest.mark.parametrize("seeds", [[], [-1], [0, -2], [0, 0], [1, 2, 1]])
@pytest.mark.parametrize("where", ["made", "new"])
def test_seeds_out_of_range(made: Path, tiny: Tiny, seeds: list[int], where: str) -> None:
    place = made.parent
    message = r"expected at least one seed, all different and 0 or more, got \["
    refused(place, message, toys(["ring"]), {"gat": tiny["gat"]}, seeds=seeds, output=place / where)


@pytest.mark.parametrize("device", ["tpu", "cuda:9", "", "cuda"])
def test_devices_that_are_not_there(tmp_path: Path, tiny: Tiny, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    options = {"seeds": [0], "output": tmp_path / "new", "device": device}
    message = "expected a CUDA device" if device == "cuda" else f"expected device cpu or cuda, got '{device}'"
    refused(tmp_path, message, toys(["ring"]), {"gat": tiny["gat"]}, **options)


def test_a_folder_of_other_seeds(made: Path, tiny: Tiny) -> None:
    for seeds in ([0], [1, 0], [0, 1, 2]):
        message = r"made: expected its seeds \[0, 1\], got .*: name another folder"
        refused(made, message, toys(["ring"]), {"gat": tiny["gat"]}, seeds=seeds, output=made)


def test_a_folder_of_other_settings(made: Path, tiny: Tiny) -> None:
    gat = tiny["gat"]
    assert isinstance(gat, Gat)
    for other, message in (
        (replace(gat, iterations=25), "expected gat with iterations=24 as before, got 25: name another folder"),
        (replace(gat, radius=0.5), "expected gat with radius=None as before, got 0.5"),
        (replace(gat, step_size=0.2), "expected gat with step_size=0.1 as before, got 0.2"),
        (tiny["gan"], "expected gat with kind=Gat as before, got Gan"),
    ):
        refused(made, message, toys(["ring"]), {"gat": other}, seeds=[0, 1], output=made)
        # also where the data set is another, and beside a trainer that is new
        both = {"gan": tiny["gan"], "gat": other}
        refused(made, message, toys(["moons"]), both, seeds=[0, 1], output=made)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "simulation.json: expected JSON"),
        (b"{", "simulation.json: expected JSON"),
        (b"\xff", "simulation.json: expected JSON"),
        (b"5", "simulation.json: expected seeds"),
        (b"null", "simulation.json: expected seeds"),
        (b"[]", "simulation.json: expected seeds"),
        (b"{}", "simulation.json: expected seeds"),
        (b'{"seeds": [0, 1]}', "simulation.json: expected seeds"),
        (b'{"trainers": {}}', "simulation.json: expected seeds"),
        (b'{"seeds": [0, 1], "trainers": []}', "simulation.json: expected seeds"),
        (b'{"seeds": [0, 1], "trainers": {"gat": 3}}', "simulation.json: expected seeds"),
        (b'{"seeds": 2, "trainers": {}}', "simulation.json: expected seeds"),
        (b'{"seeds": [0, 1], "trainers": {"gat": {}}}', "expected gat with kind=None"),
    ],
)
def test_a_corrupt_simulation(made: Path, tiny: Tiny, content: bytes, message: str) -> None:
    (made / SIMULATION).write_bytes(content)
    refused(made, message, toys(["ring"]), {"gat": tiny["gat"]}, seeds=[0, 1], output=made)


@pytest.mark.parametrize("name", ["outcome.json", "outcome.safetensors"])
@pytest.mark.parametrize("content", [b"", b"5", b"[]", b"\xff" * 99])
def test_a_corrupt_outcome_is_refused_before_another_is_trained(
    made: Path, tiny: Tiny, name: str, content: bytes
) -> None:
    (made / "ring" / "gat" / name).write_bytes(content)
    chosen = {"gan": tiny["gan"], "gat": tiny["gat"]}
    refused(made, "ring/gat: expected a finished simulation", toys(["ring"]), chosen, seeds=[0, 1], output=made)


def test_a_folder_of_something_else(tmp_path: Path, tiny: Tiny) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "a.txt").write_text("dear")
    message = "letters: expected an empty folder or one of simulations, got other files"
    refused(tmp_path, message, toys(["ring"]), {"gat": tiny["gat"]}, seeds=[0], output=tmp_path / "letters")


def test_a_file_in_the_way(made: Path, tiny: Tiny) -> None:
    file = made / "moons"
    file.write_text("x")
    options = {"seeds": [0, 1], "output": made}
    chosen = {name: tiny[name] for name in ("gan", "gat")}
    refused(made, "moons: expected a folder, got a file", toys(["ring", "moons"]), chosen, **options)
    refused(made, "moons: expected a folder", toys(["ring"]), chosen, **options | {"output": file})
    (made / "ring" / "gan").write_text("x")
    refused(made, "ring/gan: expected a folder, got a file", toys(["ring"]), chosen, **options)


def test_a_file_in_the_way_above(made: Path, tiny: Tiny) -> None:
    before = tree(made)
    with pytest.raises(OSError, match="Not a directory"):
        simulate(toys(["ring"]), {"gat": tiny["gat"]}, seeds=[0], output=made / SIMULATION / "deeper")
    assert tree(made) == before
