"""The evaluation of a run: what it measures, on what, and what it leaves in the folder."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from genat import config, report, runs
from genat.config import OutsideConfig
from genat.evaluation import protocol
from genat.sources import Images, digits

pytestmark = pytest.mark.usefixtures("quick")


def _evaluate(run: runs.Run, *, images: Images | None = None) -> dict[str, object]:
    return protocol.evaluate(run, images=images, n_samples=6, n_outside=4, attack_steps=1, radii=(0.5,))


def _trained(tiny_yaml: Path, folder: Path, *overrides: str) -> runs.Run:
    return runs.train(config.load(tiny_yaml, ["iterations=2", *overrides]), folder)[0]


def test_the_folder_holds_what_is_returned(tiny_run: Path) -> None:
    run = runs.load(tiny_run)
    figures = _evaluate(run)
    found = protocol.read(tiny_run)
    assert found is not None
    assert found[0] == json.loads(json.dumps(figures))
    assert {name: len(values) for name, values in found[1].items()} == {
        "target": 599,
        **{f"{family}{attack}": 4 for family in ("uniform noise", "dead leaves", "inverted", "shuffled patches")
           for attack in ("", ", L2 0.5")},
    }  # fmt: skip
    assert found[0]["inside"] == {"n": 599, "part": "test", "name": "digits test"}
    assert found[0]["generation"]["kernel_distance_n"] == 6
    assert found[0]["generation"]["classes"] == [str(digit) for digit in range(10)]


def test_one_run_gives_one_evaluation(tiny_run: Path) -> None:
    run = runs.load(tiny_run)
    first, again = _evaluate(run), _evaluate(run)
    for name in ("detection", "baseline", "generation", "inside"):
        assert first[name] == again[name]


def test_families_that_training_had_are_marked(tiny_yaml: Path, tmp_path: Path) -> None:
    run = _trained(tiny_yaml, tmp_path / "run", "outside=[{kind: gaussian-noise}, {kind: photographs}]")
    assert run.config.outside[0] == OutsideConfig(kind="gaussian-noise")
    _evaluate(run)
    found = protocol.read(run.folder)
    assert found is not None
    assert {row["family"] for row in found[0]["detection"] if row["seen"]} == {"uniform noise"}
    assert found[0]["outside_of_training"] == ["gaussian-noise", "photographs"]
    assert "uniform noise (seen)" in report.write(run).read_text(encoding="utf-8")


def test_an_unlabelled_target_is_measured_by_detection_alone(tiny_yaml: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    for i, pixels in enumerate(digits("train").pixels[:40, 0]):
        Image.fromarray(pixels.numpy()).save(folder / f"{i:02d}.png")
    run = _trained(tiny_yaml, tmp_path / "run", "data.kind=folder", f"data.path={json.dumps(str(folder))}")
    figures = _evaluate(run)
    assert "baseline" not in figures
    assert "generation" not in figures
    assert figures["inside"] == {"n": 8, "part": "validation", "name": "mine"}
    html = report.write(run).read_text(encoding="utf-8")
    assert "8 validation images" in html
    assert "What a classifier sees" not in html
    assert "energy" not in html


def test_of_classes_left_out_nothing_is_expected(tiny_yaml: Path, tmp_path: Path) -> None:
    run = _trained(tiny_yaml, tmp_path / "run", "data.classes=[7, 2]")
    _evaluate(run)
    found = protocol.read(run.folder)
    assert found is not None
    assert found[0]["generation"]["classes"] == ["2", "7"]
    assert sum(found[0]["generation"]["shares"]) == pytest.approx(1)
    assert "What a classifier sees" in report.write(run).read_text(encoding="utf-8")


def test_one_class_alone_leaves_nothing_to_classify(tiny_yaml: Path, tmp_path: Path) -> None:
    run = _trained(tiny_yaml, tmp_path / "run", "data.classes=[3]", "outside=[{kind: other-classes}]")
    figures = _evaluate(run)
    assert "generation" not in figures
    assert "baseline" not in figures


def test_labels_are_matched_by_their_names(tiny_run: Path) -> None:
    run = runs.load(tiny_run)
    test = digits("test")
    assert test.labels is not None
    turned = Images(test.pixels, labels=9 - test.labels, classes=test.classes[::-1])
    foreign = Images(test.pixels, labels=test.labels, classes=tuple("abcdefghij"))
    accuracies = []
    for images in (test, turned, foreign):
        _evaluate(run, images=images)
        found = protocol.read(tiny_run)
        assert found is not None
        accuracies.append(found[0]["generation"]["classifier_accuracy"])
    assert accuracies[0] == accuracies[1]
    assert accuracies[0] > 0.2
    assert accuracies[2] is None


def test_images_of_another_shape_are_refused(tiny_run: Path) -> None:
    images = Images(torch.zeros(4, 3, 8, 8, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"expected test images of shape \(1, 8, 8\), got \(3, 8, 8\)"):
        _evaluate(runs.load(tiny_run), images=images)
    assert not (tiny_run / "evaluation").exists()


@pytest.mark.parametrize("content", [b"{", b"", b"\xff\xfe", b"[]", b"{}", b"null"])
def test_broken_figures_are_named(tiny_run: Path, content: bytes) -> None:
    folder = tiny_run / "evaluation"
    folder.mkdir()
    (folder / "figures.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"evaluation/figures.json: expected"):
        protocol.read(tiny_run)


def test_figures_without_their_logits_are_named(evaluated_run: Path) -> None:
    (evaluated_run / "evaluation" / "logits.safetensors").unlink()
    with pytest.raises(ValueError, match=r"logits.safetensors: expected an evaluation's logits"):
        protocol.read(evaluated_run)
