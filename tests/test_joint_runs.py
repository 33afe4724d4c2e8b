"""A run of one network that classifies, detects and generates by class: from its configuration to its pictures."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from genat import assemble, config, networks, report, runs
from genat.balls import L2Ball, LinfBall
from genat.config import Config
from genat.generation import one_of
from genat.networks import Joint
from genat.recipe import Classification
from genat.training import Step

Cli = Callable[..., tuple[int, str, str]]
KEYS = ["classify={steps: 2, step_size: 0.2}", "iterations=30", "outside=[{kind: uniform-noise}]", "optimizer.lr=5e-3"]


@pytest.fixture(scope="module")
def settings(tiny_yaml: Path) -> Config:
    return config.load(tiny_yaml, KEYS)


@pytest.fixture(scope="module")
def trained(settings: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("joint") / "run"
    runs.train(settings, folder)
    return folder


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    return shutil.copytree(trained, tmp_path / "run")


# the configuration


def test_there_is_no_classification_by_default() -> None:
    assert Config().classify is None
    assert all(preset.classify is None for name, preset in config.presets().items() if name != "dat-cifar10")


def test_the_section_becomes_the_setting() -> None:
    section = config.load("digits", ["classify={}"]).classify
    assert section is not None
    assert section.build() == Classification()
    keys = ["classify.ball={norm: linf, radius: 0.1}", "classify.toward=any", "classify.weight=0"]
    section = config.load("digits", [*keys, "classify.steps=3", "classify.step_size=0.05"]).classify
    assert section is not None
    assert section.build() == Classification(LinfBall(0.1), steps=3, step_size=0.05, weight=0.0, toward="any")


def test_the_preset_has_the_papers_values() -> None:
    preset = config.load("dat-cifar10")
    assert preset.classify is not None
    assert preset.classify.build() == Classification(L2Ball(0.5), steps=10, step_size=0.1, weight=1.0, toward="class")
    assert (preset.network, preset.batch_size, preset.step_size, preset.ema, preset.r1) == (
        "wide_resnet34_10", 128, 0.1, 0.999, 0.0,
    )  # fmt: skip
    assert (preset.steps.last, preset.steps.gate, preset.steps.window) == (50, 0.8, 8)
    assert preset.optimizer.model_dump() == {"name": "sgd", "lr": 0.001, "momentum": 0.9, "weight_decay": 5e-4}
    with torch.device("meta"):
        network = networks.BUILDERS[preset.network](outputs=10, logit=None)
    assert networks.parameter_count(network) == 46_160_474


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("classify.steps=-1", "digits: classify.steps: input should be greater than or equal to 0, got -1"),
        ("classify.step_size=0", "digits: classify.step_size: input should be greater than 0, got 0"),
        ("classify.weight=-1", "digits: classify.weight: input should be greater than or equal to 0, got -1"),
        ("classify.toward=all", "digits: classify.toward: input should be 'class' or 'any', got 'all'"),
        ("classify.ball.radius=null", "digits: classify: expected ball.radius, got none"),
        ("classify.ball={norm: linf}", "digits: classify: expected ball.radius, got none"),
        ("classify.weigth=1", "digits: classify.weigth: unknown key, did you mean classify.weight?"),
        ("classify.ball.radios=1", "digits: classify.ball.radios: unknown key, did you mean classify.ball.radius?"),
        ("classify=yes", "digits: classify: expected no truth value here, got true"),
    ],
)
def test_what_is_out_of_range_is_one_line(override: str, message: str) -> None:
    with pytest.raises(ValueError, match=r"^digits: ") as caught:
        config.load("digits", [override])
    assert str(caught.value) == message


def test_classes_come_from_labels() -> None:
    with pytest.raises(ValueError, match=r"digits: expected data\.label with classify, got none"):
        config.load("digits", ["classify={}", "data={kind: parquet, path: there, label: null}"])


# the network


def test_the_network_has_a_logit_for_each_class(settings: Config) -> None:
    network = assemble.detector(settings, (1, 8, 8), classes=7)
    assert isinstance(network, Joint)
    assert network.classify(torch.zeros(2, 1, 8, 8)).shape == (2, 7)


def test_initial_weights_are_a_classifiers(settings: Config, tmp_path: Path) -> None:
    other = networks.build("mlp", (1, 8, 8), {"hidden": [32], "outputs": 10, "logit": None}, seed=5)
    save_file(other.state_dict(), tmp_path / "robust.safetensors")
    chosen = settings.model_copy(update={"init": str(tmp_path / "robust.safetensors")})
    network = assemble.detector(chosen, (1, 8, 8), classes=10)
    x = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert isinstance(network, Joint)
    assert torch.equal(network.classify(x), other(x))
    with pytest.raises(ValueError, match="expected the weights of this Perceptron"):
        assemble.detector(chosen, (1, 8, 8), classes=9)


def test_data_without_labels_is_refused_before_the_folder_is_touched(settings: Config, tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "images").mkdir()
    for i in range(10):
        Image.new("L", (8, 8), 20 * i).save(tmp_path / "images" / f"{i}.png")
    unlabelled = settings.model_dump() | {"data": {"kind": "folder", "path": str(tmp_path / "images")}}
    with pytest.raises(ValueError, match=r"^classify: expected data with labels, got none$"):
        runs.train(Config.model_validate(unlabelled), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_another_number_of_logits_is_refused_before_the_folder_is_touched(settings: Config, tmp_path: Path) -> None:
    chosen = settings.model_copy(update={"network_options": {"hidden": [8], "outputs": 4}})
    with pytest.raises(ValueError, match=r"^expected 10 logits a sample from mlp, one a class, got"):
        runs.train(chosen, tmp_path / "run")
    assert not (tmp_path / "run").exists()


# the run


def test_a_run_classifies_detects_and_generates(trained: Path, settings: Config) -> None:
    run = runs.load(trained)
    assert isinstance(run.detector, Joint)
    assert run.classes == tuple("0123456789")
    assert not run.detector.training
    held_out = assemble.target(settings).validation
    assert held_out.labels is not None
    images = held_out.tensor()
    logits = run.classify(images)
    assert (logits.shape, logits.dtype) == ((len(images), 10), torch.float64)
    score = run.predict(images).score
    torch.testing.assert_close(-score, logits.logsumexp(dim=1), rtol=0, atol=1e-5)
    assert (logits.argmax(dim=1) == held_out.labels).double().mean() > 0.2
    made = report.make_samples(run, [3, 4])
    assert made.images.shape == (2, 1, 8, 8)


def test_a_run_classifies_nothing_too(trained: Path) -> None:
    assert runs.load(trained).classify(torch.zeros(0, 1, 8, 8)).shape == (0, 10)


def test_a_class_is_found_by_name_and_by_index(trained: Path) -> None:
    run = runs.load(trained)
    x = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    for kind in ("7", 7):
        torch.testing.assert_close(run.of_class(kind)(x).double(), run.classify(x)[:, 7])
    assert isinstance(run.detector, Joint)
    assert torch.equal(run.of_class(2)(x), one_of(run.detector, 2)(x))


@pytest.mark.parametrize("kind", ["ten", 10, -1])
def test_a_class_that_is_not_there_is_refused(kind: str | int, trained: Path) -> None:
    with pytest.raises(ValueError, match=rf"^expected a class of 0, 1, .*, 9 or its index, got {kind!r}$"):
        runs.load(trained).of_class(kind)


@pytest.mark.parametrize("ask", [lambda run: run.classify(torch.zeros(1, 1, 8, 8)), lambda run: run.of_class(0)])
def test_a_run_of_a_detector_alone_has_no_classes(ask: Callable[[runs.Run], object], tiny_run: Path) -> None:
    run = runs.load(tiny_run)
    assert run.classes == ()
    with pytest.raises(
        ValueError, match=r"run: expected a committee or a run trained with classify, got one of a detector alone$"
    ):
        ask(run)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(1, 3, 8, 8), r"^expected images \(N, 1, 8, 8\), got \(1, 3, 8, 8\)$"),
        (torch.full((1, 1, 8, 8), 2.0), r"^expected images in \[0, 1\], got 2 to 2$"),
    ],
)
def test_images_that_do_not_fit_are_not_classified(images: torch.Tensor, message: str, trained: Path) -> None:
    with pytest.raises(ValueError, match=message):
        runs.load(trained).classify(images)


def test_the_records_tell_how_it_classifies(trained: Path, tiny_run: Path) -> None:
    figures = {"cross_entropy", "clean_accuracy", "adversarial_accuracy"}
    records = runs.metrics(trained)
    assert len(records) == 30
    assert all(figures <= set(record) and 0 <= record["adversarial_accuracy"] <= 1 for record in records)
    assert not any(figures & set(record) for record in runs.metrics(tiny_run))
    assert set(records[0]) - figures == set(runs.metrics(tiny_run)[0])


class Stopped(Exception):  # noqa: N818 - nothing is wrong
    pass


def test_a_stopped_run_ends_where_the_whole_one_does(settings: Config, trained: Path, tmp_path: Path) -> None:
    def stop(step: Step) -> None:
        if step.iteration == 27:
            raise Stopped

    with pytest.raises(Stopped):
        runs.train(settings, tmp_path / "run", callback=stop)
    run, _ = runs.train(settings, tmp_path / "run", resume=True)
    for name, value in runs.load(trained).detector.state_dict().items():
        assert torch.equal(run.detector.state_dict()[name], value)
    ours, theirs = ([line | {"seconds": 0} for line in runs.metrics(f)] for f in (tmp_path / "run", trained))
    assert ours == theirs


# the command line


def test_a_class_is_sampled_into_a_folder_of_its_own(run_cli: Cli, folder: Path) -> None:
    code, out, _ = run_cli("sample", folder, "--class", "7", "--seeds", "3,5", "--json")
    assert code == 0
    samples = folder / "samples" / "class-7"
    assert json.loads(out)["grid"] == str(samples / "grid.png")
    assert {path.name for path in folder.joinpath("samples").iterdir() if path.is_file()} == set()
    assert {path.name for path in samples.iterdir()} >= {"seed-00003.png", "seed-00005.png", "grid.png"}
    first = (samples / "seed-00003.png").read_bytes()
    run_cli("sample", folder, "--class", "2", "--seeds", "3")
    run_cli("sample", folder, "--seeds", "3")
    others = [folder / "samples" / "class-2" / "seed-00003.png", folder / "samples" / "seed-00003.png"]
    assert len({first, *(path.read_bytes() for path in others)}) == 3


def test_an_image_is_transformed_to_a_class(run_cli: Cli, folder: Path, tmp_path: Path) -> None:
    from PIL import Image

    Image.new("L", (8, 8), 128).save(tmp_path / "grey.png")
    made: dict[str, bytes] = {}
    for name, options in {"any": (), "of 1": ("--class", "1"), "of 2": ("--class", "2")}.items():
        code, _, err = run_cli("transform", folder, tmp_path / "grey.png", "--output", tmp_path / name, *options)
        assert code == 0, err
        made[name] = (tmp_path / name / "000-grey.png").read_bytes()
    assert len(set(made.values())) == 3


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("ten", "genat: expected a class of 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 or its index, got 'ten'\n"),
        ("12", "genat: expected a class of 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 or its index, got 12\n"),
    ],
)
def test_a_class_that_is_not_there_is_one_line(asked: str, message: str, run_cli: Cli, folder: Path) -> None:
    code, out, err = run_cli("sample", folder, "--class", asked, "--seeds", "0")
    assert (code, out, err) == (2, "", message)
    assert not (folder / "samples").exists()


def test_a_class_of_a_detector_alone_is_one_line(run_cli: Cli, tiny_run: Path) -> None:
    code, _, err = run_cli("sample", tiny_run, "--class", "1", "--seeds", "0")
    assert code == 2
    assert (
        err == f"genat: {tiny_run}: expected a committee or a run trained with classify, got one of a detector alone\n"
    )
