"""A folder of trainings: made, gone on with, and left as it was where a person is mistaken."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from genat.baselines import Classifier
from genat.evaluation.fidelity import features, frechet_distance
from genat.sources import Noise
from genat.stability import outcome as outcomes
from genat.stability import ruler as rulers
from genat.stability import run as runs
from genat.stability.methods import Gan, Gat, Method
from genat.stability.outcome import Outcome
from genat.stability.ruler import CLASSIFIER, Exam, Material, Ruler, make_ruler
from genat.stability.run import STABILITY, describe, plans, run, train

Tiny = Mapping[str, Method]
Settings = dict[str, Any]
QUIET: Callable[[str], None] = lambda _: None  # noqa: E731


@pytest.fixture
def made(made_once: Path, tmp_path: Path) -> Path:
    """A copy of a folder in which a GAN was trained at its three rates from seed 3."""
    return shutil.copytree(made_once, tmp_path / "made")


def tree(folder: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


def same(first: Outcome, second: Outcome) -> None:
    assert first.row | {"seconds": 0} == second.row | {"seconds": 0}
    assert (first.curve, first.history) == (second.curve, second.history)
    assert first.samples.equal(second.samples)


# made


def test_every_training_has_its_folder_and_its_row(tiny: Tiny, settings: Settings) -> None:
    said: list[str] = []
    made, ruler = run(tiny, **settings | {"seeds": [3, 1], "budget": 48}, say=said.append)
    output = settings["output"]
    rates = {
        "gat": ("0.0001", "0.001", "0.01"),
        "gan": ("2e-05", "0.0002", "0.002"),
        "jem": ("1e-05", "0.0001", "0.001"),
    }
    expected = [(name, rate, seed) for name in tiny for rate in rates[name] for seed in (3, 1)]
    assert [(o.row["method"], f"{o.row['rate']:g}", o.row["seed"]) for o in made] == expected
    for outcome, (name, rate, seed) in zip(made, expected, strict=True):
        same(outcome, outcomes.load(output / name / "width-2" / f"rate-{rate}" / f"seed-{seed}"))
        method = tiny[name].with_budget(48)
        assert (outcome.row["passes"], outcome.row["iterations"]) == (method.passes, method.iterations)
        assert outcome.row["factor"] == {0: 0.1, 1: 1.0, 2: 10.0}[rates[name].index(rate)]
        assert outcome.row["starts"] == ruler.references["starts"]
        assert outcome.row["distance"] == outcome.curve[-1]["distance"]
        assert outcome.curve[-1]["passes"] == method.passes
        assert outcome.samples.shape == (32, 1, 8, 8)
        assert outcome.samples.dtype == torch.uint8
    assert {path.name for path in output.iterdir()} == {*tiny, STABILITY, CLASSIFIER}
    paid = {name: method.with_budget(48) for name, method in tiny.items()}
    kept = json.loads((output / STABILITY).read_text())
    assert kept == describe(paid, settings["material"], budget=48, exam=settings["exam"])
    assert said[0] == "classifier: 1 epochs of 60 real images"
    assert said[1].startswith("gat  width 2  rate 0.0001  seed 3  ")


def test_the_settings_are_kept_beside_the_figures(made: Path, tiny: Tiny) -> None:
    content = json.loads((made / "gan" / "width-2" / "rate-0.0002" / "seed-3" / "outcome.json").read_text())
    assert content["settings"] == json.loads(json.dumps(asdict(tiny["gan"].with_budget(160))))


def test_one_training_made_twice_is_the_same_to_the_bit(
    made: Path, tiny: Tiny, material: Material, ruler: Ruler, tmp_path: Path
) -> None:
    plan = plans({"gan": tiny["gan"].with_budget(160)}, seeds=[3], widths=[2])[1]
    again = train(plan, material, ruler, output=tmp_path / "again")
    same(again, outcomes.load(plan.place(made)))


# gone on with


def test_what_is_finished_is_read_and_nothing_is_written(
    made: Path, tiny: Tiny, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> Outcome:
        raise AssertionError("trained again")

    monkeypatch.setattr(runs, "train", never)
    monkeypatch.setattr(rulers, "train_classifier", never)
    before, said = tree(made), list[str]()
    again, _ = run({"gan": tiny["gan"]}, **settings, say=said.append)
    assert tree(made) == before
    assert [outcome.row["factor"] for outcome in again] == [0.1, 1.0, 10.0]
    place = made / "gan" / "width-2" / "rate-2e-05" / "seed-3"
    assert said[0] == f"gan  width 2  rate 2e-05  seed 3: finished, read from {place}"


def test_what_was_interrupted_ends_as_if_it_had_not_been(
    made: Path, tiny: Tiny, settings: Settings, tmp_path: Path
) -> None:
    def stop(line: str) -> None:
        if line.startswith("gan  width 2  rate 0.0002  seed 3  80/160"):
            raise KeyboardInterrupt

    settings["output"] = tmp_path / "resumed"
    with pytest.raises(KeyboardInterrupt):
        run({"gan": tiny["gan"]}, **settings, say=stop)
    assert [path.parent.parent.name for path in settings["output"].rglob("outcome.json")] == ["rate-2e-05"]
    resumed, _ = run({"gan": tiny["gan"]}, **settings)
    for outcome, rate in zip(resumed, ("2e-05", "0.0002", "0.002"), strict=True):
        same(outcome, outcomes.load(made / "gan" / "width-2" / f"rate-{rate}" / "seed-3"))


def test_seeds_widths_and_methods_can_be_added(
    made: Path, tiny: Tiny, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = tree(made / "gan")
    monkeypatch.setattr(runs, "FACTORS", (1.0,))
    run({"gan": tiny["gan"]}, **settings | {"seeds": [0, 3]})
    run({"gan": tiny["gan"]}, **settings | {"widths": [3, 2]})
    run({"jem": tiny["jem"]}, **settings)
    after = tree(made / "gan")
    assert {name: after[name] for name in first} == first
    assert sorted(path.parent.relative_to(made).as_posix() for path in made.rglob("outcome.json")) == [
        "gan/width-2/rate-0.0002/seed-0",
        "gan/width-2/rate-0.0002/seed-3",
        "gan/width-2/rate-0.002/seed-3",
        "gan/width-2/rate-2e-05/seed-3",
        "gan/width-3/rate-0.0002/seed-3",
        "jem/width-2/rate-0.0001/seed-3",
    ]
    assert set(json.loads((made / STABILITY).read_text())["methods"]) == {"gan", "jem"}


# divergence


def test_a_training_that_is_not_finite_is_a_failure_and_finished(
    tiny: Tiny, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    wild = {name: replace(method, rate=1e30) for name, method in tiny.items()}
    monkeypatch.setattr(runs, "FACTORS", (1.0,))
    said: list[str] = []
    made, _ = run(wild, **settings, say=said.append)
    for outcome in made:
        row = outcome.row
        assert row["failure"] == "not finite"
        assert row["diverged"] == row["iterations"]
        assert row["distance"] is row["late_auroc"] is None
        assert not outcome.samples.any()
    assert sum("expected finite" in line for line in said) == 3
    again, _ = run(wild, **settings)
    for first, second in zip(made, again, strict=True):
        same(first, second)
        assert first.row["seconds"] == second.row["seconds"]


# the ruler


def test_the_references_are_what_they_say(ruler: Ruler, material: Material) -> None:
    """By hand on the same order of test images; to 1e-9."""
    order = torch.randperm(220, generator=torch.Generator().manual_seed(0))
    images, labels = material.test.tensor(), material.test.labels
    assert labels is not None
    average = torch.stack([material.train.tensor()[label::4].mean(0) for label in range(4)])
    held_out = features(ruler.classifier, images[order[:66]])

    def distance(others: Tensor) -> float:
        return frechet_distance(features(ruler.classifier, others), held_out)

    starts = torch.cat([material.outside.draw(1, generator=torch.Generator().manual_seed(i)) for i in range(66)])
    expected = {"starts": starts, "means": average[labels[order[:66]]], "real": images[order[66:132]]}
    for name, others in expected.items():
        assert ruler.references[name] == pytest.approx(distance(others), rel=1e-9)
    assert ruler(starts) == ruler.references["starts"]
    assert ruler.references["real"] < min(ruler.references["means"], ruler.references["starts"])
    found = ruler.classifier(images[order[:66]]).argmax(1)
    assert ruler.references["accuracy"] == pytest.approx((found == labels[order[:66]]).double().mean().item())


def test_the_classifier_is_trained_once(
    material: Material, ruler: Ruler, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    first = make_ruler(material, settings["exam"], folder=tmp_path, say=said.append)
    monkeypatch.setattr(rulers, "train_classifier", None)
    again = make_ruler(material, settings["exam"], folder=tmp_path, say=said.append)
    assert said == ["classifier: 1 epochs of 60 real images"]
    for other in (again, ruler):
        assert other.real.equal(first.real)
        assert other.references == first.references
    assert isinstance(again.classifier, Classifier)
    assert not again.classifier.training


@pytest.mark.parametrize("content", [b"", b"x" * 99])
def test_a_classifier_that_cannot_be_read(
    material: Material, settings: Settings, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / CLASSIFIER).write_bytes(content)
    with pytest.raises(ValueError, match=r"classifier.safetensors: expected a classifier's weights, got ") as error:
        make_ruler(material, settings["exam"], folder=tmp_path, say=QUIET)
    assert "\n" not in str(error.value)


def test_a_classifier_of_other_images(material: Material, settings: Settings, tmp_path: Path) -> None:
    make_ruler(material, settings["exam"], folder=tmp_path, say=QUIET)
    wide = [replace(images, pixels=images.pixels.repeat(1, 1, 2, 2)) for images in (material.train, material.test)]
    other = Material("wide", wide[0], wide[1], Noise((1, 16, 16), kind="uniform"))
    with pytest.raises(ValueError, match=r"expected a classifier's weights, got Error") as error:
        make_ruler(other, settings["exam"], folder=tmp_path, say=QUIET)
    assert "\n" not in str(error.value)


def test_too_few_test_images(material: Material, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected at least 2 n = 222 test images, got 220"):
        make_ruler(material, Exam(111, 60, 1), folder=tmp_path, say=QUIET)
    assert not list(tmp_path.iterdir())


# mistakes


def refused(place: Path, message: str, methods: Mapping[str, Method], **settings: Any) -> None:  # noqa: ANN401
    before = tree(place)
    with pytest.raises(ValueError, match=message) as error:
        run(methods, **settings)
    assert "\n" not in str(error.value)
    assert tree(place) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seeds": []}, "expected at least one seed"),
        ({"seeds": [1, 1]}, "expected at least one seed, all different"),
        ({"seeds": [-1]}, "expected at least one seed, all different and 0 or more, got"),
        ({"widths": []}, r"expected at least one width, all different and 1 or more, got \[\]"),
        ({"widths": [2, 2]}, "expected at least one width"),
        ({"widths": [0]}, "expected at least one width"),
        ({"device": "tpu"}, "expected device cpu or cuda, got 'tpu'"),
        ({"budget": 3}, "expected a budget for at least one iteration of gan, got 3 passes"),
    ],
    ids=str,
)
def test_arguments_out_of_range(made: Path, tiny: Tiny, settings: Settings, options: Settings, message: str) -> None:
    for where in ("made", "new"):
        output = made.parent / where
        refused(made.parent, message, {"gan": tiny["gan"]}, **settings | {"output": output} | options)


def test_a_folder_of_other_settings(made: Path, tiny: Tiny, settings: Settings) -> None:
    gan = tiny["gan"]
    assert isinstance(gan, Gan)
    for other, message in (
        (replace(gan, latent=4), "made: expected gan with latent=3 as before, got 4: name another folder"),
        (replace(gan, rate=0.1), "expected gan with rate=0.0002 as before, got 0.1"),
        (Gat(batch_size=4, width=2), "expected gan with kind=Gan as before, got Gat"),
    ):
        refused(made, message, {"jem": tiny["jem"], "gan": other}, **settings)
    refused(made, "expected a study with budget=160 as before, got 200", {"gan": gan}, **settings | {"budget": 200})
    exam = replace(settings["exam"], epochs=2)
    refused(made, "expected a study with epochs=1 as before, got 2", {"gan": gan}, **settings | {"exam": exam})
    renamed = replace(settings["material"], name="letters")
    refused(made, "with data=quarters as before, got letters", {"gan": gan}, **settings | {"material": renamed})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "stability.json: expected JSON"),
        (b"null", "stability.json: expected a study and its methods, got something else"),
        (b'{"study": {}}', "stability.json: expected a study and its methods"),
        (b'{"study": 3, "methods": {}}', "stability.json: expected a study and its methods"),
        (b'{"study": {}, "methods": {"gan": 3}}', "stability.json: expected a study and its methods"),
        (b'{"study": {}, "methods": {}}', "expected a study with data=None as before, got quarters"),
    ],
)
def test_a_corrupt_study(made: Path, tiny: Tiny, settings: Settings, content: bytes, message: str) -> None:
    (made / STABILITY).write_bytes(content)
    refused(made, message, {"gan": tiny["gan"]}, **settings)


@pytest.mark.parametrize("name", ["outcome.json", "outcome.safetensors"])
@pytest.mark.parametrize("content", [b"", b"5", b"[]", b"{}", b"\xff" * 99])
def test_a_corrupt_outcome_is_refused_before_another_is_trained(
    made: Path, tiny: Tiny, settings: Settings, name: str, content: bytes
) -> None:
    (made / "gan" / "width-2" / "rate-0.002" / "seed-3" / name).write_bytes(content)
    chosen = {name: tiny[name] for name in ("jem", "gan")}
    refused(made, "rate-0.002/seed-3: expected a finished training, got none that can be read", chosen, **settings)


def test_a_folder_of_something_else(tmp_path: Path, tiny: Tiny, settings: Settings) -> None:
    output = tmp_path / "letters"
    output.mkdir()
    (output / "a.txt").write_text("dear")
    message = "letters: expected an empty folder or one of a stability study, got other files"
    refused(tmp_path, message, {"gan": tiny["gan"]}, **settings | {"output": output})


def test_a_file_in_the_way(made: Path, tiny: Tiny, settings: Settings) -> None:
    (made / "jem").write_text("x")
    chosen = {name: tiny[name] for name in ("gan", "jem")}
    refused(made, "made/jem: expected a folder, got a file", chosen, **settings)
    refused(made, "made/jem: expected a folder, got a file", chosen, **settings | {"output": made / "jem"})
