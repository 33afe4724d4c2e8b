"""The evaluation of a run: what it measures, on what, and what it leaves in the folder."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from genat import assemble, baselines, config, report, runs
from genat.config import OutsideConfig
from genat.evaluation import judge, peer, protocol
from genat.sources import Images, digits

pytestmark = pytest.mark.usefixtures("quick")


def _evaluate(run: runs.Run, *, images: Images | None = None, **options: Any) -> dict[str, Any]:  # noqa: ANN401
    few: dict[str, Any] = {"n_samples": 6, "n_outside": 4, "attack_steps": 1, "radii": (0.5,)}
    return protocol.evaluate(run, images=images, **few | options)


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
    close = found[0]["fidelity"]
    assert (close["features"], close["n"], close["n_samples"], close["n_real"]) == ("classifier-pca1", 6, 6, 12)
    assert close["n_train"] == len(assemble.target(run.config).train)
    assert close["distances"] == ["Fréchet-classifier-pca1 distance", "kernel-classifier-pca1 distance"]
    assert all(name in close[column] for name in close["distances"] for column in ("samples", "starts", "floor"))
    assert "gan" not in close
    assert "fidelity_missing" not in found[0]
    shown = [f"evaluation/{name}.png" for name in ("first", "lowest", "farthest", "nearest-pixels", "nearest-features")]
    assert list(close["pictures"]) == shown
    assert all((tiny_run / name).is_file() for name in shown)


def test_one_run_gives_one_evaluation(tiny_run: Path) -> None:
    run = runs.load(tiny_run)
    first, again = _evaluate(run), _evaluate(run)
    for name in ("detection", "baseline", "generation", "fidelity", "inside"):
        assert first[name] == again[name]


def test_evaluations_share_the_classifier(tiny_run: Path, tmp_path: Path) -> None:
    run, cache = runs.load(tiny_run), tmp_path / "cache"
    said: list[str] = []
    first, again = (_evaluate(run, cache=cache, say=said.append) for _ in range(2))
    assert sum(line.startswith("classifier: ") for line in said) == 1
    assert first["generation"] == again["generation"]
    assert not (run.folder / protocol.FOLDER / protocol.CACHE).exists()
    (path,) = cache.glob("classifier-*.safetensors")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=rf"^{path}: expected a classifier, got a damaged file .*: delete it$"):
        _evaluate(run, cache=cache)


def test_families_that_training_had_are_marked(tiny_yaml: Path, tmp_path: Path) -> None:
    run = _trained(tiny_yaml, tmp_path / "run", "outside=[{kind: gaussian-noise}, {kind: photographs}]")
    assert run.config.outside[0] == OutsideConfig(kind="gaussian-noise")
    _evaluate(run)
    found = protocol.read(run.folder)
    assert found is not None
    assert {row["family"] for row in found[0]["detection"] if row["seen"]} == {"uniform noise"}
    assert found[0]["outside_of_training"] == ["gaussian-noise", "photographs"]
    assert "uniform noise (seen)" in report.write(run).read_text(encoding="utf-8")


def _unlabelled(tiny_yaml: Path, folder: Path, *, n: int) -> runs.Run:
    """A run on a folder of images without classes."""
    (folder / "mine").mkdir()
    for i, pixels in enumerate(digits("train").pixels[:n, 0]):
        Image.fromarray(pixels.numpy()).save(folder / "mine" / f"{i:03d}.png")
    return _trained(tiny_yaml, folder / "run", "data.kind=folder", f"data.path={json.dumps(str(folder / 'mine'))}")


def test_of_an_unlabelled_target_with_too_few_images_detection_alone_is_measured(
    tiny_yaml: Path, tmp_path: Path
) -> None:
    run = _unlabelled(tiny_yaml, tmp_path, n=40)
    figures = _evaluate(run)
    assert not figures.keys() & {"baseline", "generation", "fidelity"}
    why = "expected at least 6 samples and 12 held-out images for EfficientNet-Lite0@96 features, got 6 and 8"
    assert figures["fidelity_missing"] == why
    assert figures["inside"] == {"n": 8, "part": "validation", "name": "mine"}
    assert sorted(path.name for path in (run.folder / "evaluation").iterdir()) == ["figures.json", "logits.safetensors"]
    html = report.write(run).read_text(encoding="utf-8")
    assert "8 validation images" in html
    assert "What a classifier sees" not in html
    assert f"Not measured: {why}" in html
    assert "energy" not in html


def test_of_an_unlabelled_target_samples_are_compared_by_efficientnet(tiny_yaml: Path, tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite_pytorch")
    figures = _evaluate(_unlabelled(tiny_yaml, tmp_path, n=64))
    assert not figures.keys() & {"baseline", "generation", "fidelity_missing"}
    assert figures["fidelity"]["features"] == "EfficientNet-Lite0@96-pca1"
    assert (figures["fidelity"]["n"], figures["fidelity"]["n_real"], figures["fidelity"]["n_train"]) == (6, 12, 51)


def test_what_the_features_need_is_named_where_it_is_missing(
    tiny_yaml: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing else is measured in their place, and what was asked for is refused."""
    run = _unlabelled(tiny_yaml, tmp_path, n=64)
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    named = r"expected EfficientNet-Lite0, got none: pip install 'genat\[efficientnet\]'"
    figures = _evaluate(run)
    assert re.fullmatch(named, figures["fidelity_missing"])
    assert "fidelity" not in figures
    for options in ({"features": "efficientnet"}, {"gan": True}):
        with pytest.raises(ImportError, match=named):
            _evaluate(run, **options)
    assert not (run.folder / "samples-gan").exists()


def test_features_that_do_not_fit_are_refused_before_anything_is_measured(tiny_yaml: Path, tmp_path: Path) -> None:
    run = _unlabelled(tiny_yaml, tmp_path, n=40)
    for options, words in (
        ({"features": "vgg"}, "expected features among classifier, efficientnet, inception, got vgg"),
        ({"features": "classifier"}, "expected labels of two classes or more for features classifier, got none"),
        ({"features": "efficientnet"}, "expected at least 6 samples and 12 held-out images .*, got 6 and 8"),
        ({"gan": True}, "expected at least 6 samples and 12 held-out images .*, got 6 and 8"),
    ):
        with pytest.raises(ValueError, match=words):
            _evaluate(run, **options)
    assert not (run.folder / "evaluation").exists()


def test_training_images_are_no_test_images(tiny_run: Path) -> None:
    run = runs.load(tiny_run)
    train = assemble.target(run.config).train
    with pytest.raises(ValueError, match="expected held-out images that are no training images, got copies"):
        _evaluate(run, images=train)
    assert protocol.read(tiny_run) is None


def test_a_gan_of_equal_passes_stands_beside_the_samples(tiny_run: Path) -> None:
    run = runs.load(tiny_run)
    said: list[str] = []
    figures = _evaluate(run, gan=True, say=said.append)
    made = figures["fidelity"]["gan"]
    assert made["passes_of_run"] == peer.passes(run)
    assert 0 <= made["passes_of_run"] - made["passes"] < 320
    assert made["samples"].keys() == figures["fidelity"]["samples"].keys()
    assert any(line.startswith("GAN: iteration ") for line in said)
    caption = figures["fidelity"]["pictures"]["samples-gan/grid.png"]
    assert caption == f"a GAN's first 6 of 6 samples after {made['passes']:,} passes, none left out"
    html = report.write(run).read_text(encoding="utf-8")
    assert caption.replace("'", "&#39;") in html
    assert f"DCGAN with R1 and spectral normalisation on the same images, {made['passes']:,} passes" in html
    said.clear()
    assert _evaluate(run, gan=True, say=said.append)["fidelity"] == figures["fidelity"]
    assert not any(line.startswith("GAN: ") for line in said), "it is kept"


def test_the_classifier_never_sees_what_is_measured(
    tiny_yaml: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the data has no test images of its own, the validation images are measured, and are not learned."""
    source = digits("train")
    assert source.labels is not None
    for i, (pixels, label) in enumerate(zip(source.pixels[:90, 0], source.labels.tolist(), strict=False)):
        (tmp_path / "mine" / str(label % 3)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.numpy()).save(tmp_path / "mine" / str(label % 3) / f"{i:03d}.png")
    path = json.dumps(str(tmp_path / "mine"))
    run = _trained(tiny_yaml, tmp_path / "run", "data.kind=folder", f"data.path={path}")
    learned: list[torch.Tensor] = []
    train = baselines.train_classifier

    def noted(images: torch.Tensor, labels: torch.Tensor, *, epochs: int, half: bool) -> baselines.Classifier:
        learned.append(images)
        return train(images, labels, epochs=epochs, half=half)

    monkeypatch.setattr(baselines, "train_classifier", noted)
    figures = _evaluate(run)
    data = assemble.target(run.config)
    assert figures["inside"]["part"] == "validation"
    _evaluate(run, images=digits("test"))
    both = torch.cat([data.train.tensor(), data.validation.tensor()])
    for seen, wanted in zip(learned, (data.train.tensor(), both), strict=True):
        assert sorted(seen.flatten(1).tolist()) == sorted(wanted.flatten(1).tolist())


def test_of_classes_left_out_nothing_is_expected(tiny_yaml: Path, tmp_path: Path) -> None:
    run = _trained(tiny_yaml, tmp_path / "run", "data.classes=[7, 2]")
    _evaluate(run)
    found = protocol.read(run.folder)
    assert found is not None
    assert found[0]["generation"]["classes"] == ["2", "7"]
    assert sum(found[0]["generation"]["shares"]) == pytest.approx(1)
    assert 0 <= found[0]["generation"]["confident_real"] <= 1
    assert f"{found[0]['generation']['confident_real']:.1%} of held-out images" in report.write(run).read_text("utf-8")
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


def test_how_images_are_parted_makes_no_difference_to_the_classifier(tmp_path: Path) -> None:
    train, test = digits("train").take(range(60)), digits("test").take(range(60))
    found = []
    for number, known in enumerate(([train, test], [test, train], [train, test.take(range(30))])):
        made = judge.classifier(known, train.classes, folder=tmp_path / str(number), device=torch.device("cpu"))
        found.append(made.head.weight)
    assert found[0].equal(found[1])
    assert not found[0].equal(found[2])


@pytest.mark.parametrize(("n", "epochs"), [(1000, 30), (24_000, 30), (36_000, 20), (60_000, 12), (500_000, 2)])
def test_a_classifier_of_many_images_sees_each_less_often(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, n: int, epochs: int
) -> None:
    taken: list[int] = []

    def trained(_: torch.Tensor, __: torch.Tensor, *, epochs: int, half: bool) -> torch.nn.Module:
        assert not half
        taken.append(epochs)
        return torch.nn.Identity()

    monkeypatch.undo()
    monkeypatch.setattr(baselines, "train_classifier", trained)
    labels = torch.arange(n) % 2
    known = Images(torch.zeros(n, 1, 1, 1, dtype=torch.uint8), labels=labels, classes=("a", "b"))
    judge.classifier([known], ["a", "b"], folder=tmp_path, device=torch.device("cpu"))
    assert taken == [epochs]


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
