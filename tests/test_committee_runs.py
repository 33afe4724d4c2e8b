"""A run of a detector a class, trained together: from its configuration to its pictures."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from genat import assemble, config, networks, report, runs
from genat.config import Config
from genat.evaluation import peer
from genat.networks import Committee, Together
from genat.sources import ClassGaussians, ClassPart, Images, Mixture, Noise
from genat.training import Step

Cli = Callable[..., tuple[int, str, str]]
KEYS = ["committee=true", "outside=[{kind: other-classes}]", "iterations=40", "ball={norm: l2, radius: 0.5}"]
KEYS += ["steps={first: 2, last: 2}", "random_start=true", "optimizer.lr=5e-3", "sampling.starts=class-gaussians"]


@pytest.fixture(scope="module")
def settings(tiny_yaml: Path) -> Config:
    return config.load(tiny_yaml, KEYS)


@pytest.fixture(scope="module")
def trained(settings: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("committee") / "run"
    runs.train(settings, folder)
    return folder


# the configuration


def test_presets_of_committees_are_named_so() -> None:
    assert [name for name, preset in config.presets().items() if preset.committee] == [
        "committee-cifar10", "committee-digits", "committee-fashion", "committee-mnist",
    ]  # fmt: skip


def test_the_presets_have_the_papers_values() -> None:
    mnist, cifar10 = config.load("committee-mnist"), config.load("committee-cifar10")
    assert mnist.ball.model_dump() == {"norm": "linf", "radius": 0.3}
    assert (mnist.steps.first, mnist.steps.last, mnist.step_size, mnist.rule) == (100, 100, 0.01, "adam")
    assert (mnist.network, mnist.optimizer.lr, mnist.random_start, mnist.r1) == ("convnet", 5e-4, True, 0.0)
    assert cifar10.ball.radius == pytest.approx(8 / 255)
    assert cifar10.step_size == pytest.approx(0.5 / 255)
    assert (cifar10.steps.last, cifar10.iterations, cifar10.batch_size) == (40, 40_000, 30)
    assert cifar10.optimizer.model_dump() == {"name": "sgd", "lr": 0.001, "momentum": 0.9, "weight_decay": 2e-4}
    assert (cifar10.network, cifar10.augment.shift, cifar10.augment.flip) == ("preact_resnet32", 2, True)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["classify={}"], "expected committee=true or classify, got both"),
        (["data.label=null"], "expected data.label with committee=true, got none"),
        (["health.loses=back-off"], "expected health without back-off with committee=true, got one"),
        (
            ["committee=false", "members_at_once=2", "outside=[{}]"],
            "expected members_at_once with committee=true, got committee=false",
        ),
        (["committee=false", "data.classes=null"], "expected data.classes with outside kind other-classes, got none"),
        (["members_at_once=0"], "members_at_once: input should be greater than 0, got 0"),
        (["data={kind: mnist}"], "expected path with kind=mnist (the folder of its four IDX files), got none"),
        (
            ["sampling.starts=noise"],
            "sampling.starts: input should be 'outside', 'class-gaussians', 'photographs', 'dead-leaves' or "
            "'uniform-noise', got 'noise'",
        ),
    ],
)  # fmt: skip
def test_what_no_committee_can_be_made_of_is_one_line(overrides: list[str], message: str, tiny_yaml: Path) -> None:
    with pytest.raises(ValueError, match=f"{re.escape(message)}$") as caught:
        config.load(tiny_yaml, [*KEYS, *overrides])
    assert len(str(caught.value).splitlines()) == 1


# what it names


def test_the_network_is_one_a_class_together(settings: Config) -> None:
    network = assemble.detector(settings, (1, 8, 8), classes=4)
    assert isinstance(network, Together)
    assert (network.members, network.at_once) == (4, None)
    weights = next(network.parameters()).detach()
    assert len({float(one.sum()) for one in weights}) == 4
    fewer = assemble.detector(settings.model_copy(update={"members_at_once": 3}), (1, 8, 8), classes=4)
    assert isinstance(fewer, Together)
    assert fewer.at_once == 3


def test_every_detector_begins_as_a_classifiers_logit_of_its_class(settings: Config, tmp_path: Path) -> None:
    options = {"hidden": [32], "outputs": 10}
    other = networks.build("mlp", (1, 8, 8), {**options, "logit": None}, seed=5)
    save_file(other.state_dict(), tmp_path / "natural.safetensors")
    update = {"init": str(tmp_path / "natural.safetensors"), "network": "mlp", "network_options": options}
    network = assemble.detector(settings.model_copy(update=update), (1, 8, 8), classes=10)
    x = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert isinstance(network, Together)
    torch.testing.assert_close(network.each(x).T, other(x), rtol=1e-5, atol=1e-6)


def test_each_learns_its_class_against_the_others(settings: Config) -> None:
    data = assemble.target(settings)
    targets, outsides = assemble.members(settings, data)
    assert [getattr(target, "name", "") for target in targets] == list("0123456789")
    assert all(isinstance(one, ClassPart) and one.images.pixels is data.train.pixels for one in (*targets, *outsides))
    assert [getattr(one, "name", "") for one in outsides][:2] == ["all but 0", "all but 1"]
    parts = [{"kind": "other-classes", "weight": 3}, {"kind": "uniform-noise"}]
    mixed = config.load("committee-digits", ["augment={shift: 1}", f"outside={json.dumps(parts)}"])
    targets, outsides = assemble.members(mixed, data)
    assert isinstance(outsides[0], Mixture)
    assert isinstance(targets[0], ClassPart)
    assert targets[0].images.augmentation is not None


def test_a_committee_may_have_some_of_the_classes(settings: Config) -> None:
    few = settings.model_copy(update={"data": settings.data.model_copy(update={"classes": (7, 2)})})
    data = assemble.target(few)
    assert data.train.classes == ("2", "7")
    assert data.train.labels is not None
    assert set(data.train.labels.tolist()) == {0, 1}
    assert len(assemble.members(few, data)[0]) == 2
    test = assemble.official_test(few)
    assert test is not None
    assert test.classes == ("2", "7")


def test_climbs_start_where_sampling_says(settings: Config) -> None:
    assert isinstance(assemble.starts(settings, (1, 8, 8)), ClassGaussians)
    plain = config.load("committee-digits", ["sampling.starts=outside", "outside=[{kind: uniform-noise}]"])
    assert isinstance(assemble.starts(plain, (1, 8, 8)), Noise)
    others = config.load("committee-digits", ["sampling.starts=outside"])
    everything = assemble.starts(others, (1, 8, 8))
    assert isinstance(everything, Images)
    assert everything.labels is not None
    assert len(set(everything.labels.tolist())) == 10


def test_data_without_labels_is_refused_before_the_folder_is_touched(settings: Config, tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "images").mkdir()
    for i in range(10):
        Image.new("L", (8, 8), 20 * i).save(tmp_path / "images" / f"{i}.png")
    unlabelled = settings.model_dump() | {"data": {"kind": "folder", "path": str(tmp_path / "images")}}
    with pytest.raises(ValueError, match=r"expected labelled images for a detector a class, got .* without labels"):
        runs.train(Config.model_validate(unlabelled), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_mnist_that_is_not_there_says_where_to_get_it(run_cli: Cli, tmp_path: Path) -> None:
    code, out, err = run_cli("train", "committee-mnist", f"data.path={tmp_path}", "--run", tmp_path / "run")
    assert (code, out) == (2, "")
    assert err.startswith(
        f"genat: expected train-images-idx3-ubyte.gz in '{tmp_path}', got no such file: pass the folder"
    )
    assert not (tmp_path / "run").exists()


# the run


def test_a_run_is_a_committee(trained: Path, settings: Config) -> None:
    run = runs.load(trained)
    assert isinstance(run.detector, Committee)
    assert run.classes == run.detector.classes == tuple("0123456789")
    assert not run.detector.training
    held_out = assemble.target(settings).validation
    assert held_out.labels is not None
    images = held_out.tensor()
    logits = run.classify(images)
    assert (logits.shape, logits.dtype) == ((len(images), 10), torch.float64)
    torch.testing.assert_close(-run.predict(images).score, logits.max(dim=1).values, rtol=0, atol=1e-5)
    assert (logits.argmax(dim=1) == held_out.labels).double().mean() > 0.6
    torch.testing.assert_close(run.of_class("7")(images).double(), logits[:, 7], rtol=0, atol=1e-5)
    assert report.make_samples(run, [3, 4]).images.shape == (2, 1, 8, 8)


def test_a_committee_becomes_what_its_detectors_become_in_turn(settings: Config, trained: Path) -> None:
    """One detector, trained alone by `genat.fit` on its own data, has the weights it has in the committee."""
    from genat import fit

    data = assemble.target(settings)
    targets, outsides = assemble.members(settings, data)
    seed = assemble.seeds(settings, 10)[3]
    alone = networks.build(settings.network, (1, 8, 8), settings.network_options, seed=seed)
    fitted = fit(
        alone,
        targets[3],
        outsides[3],
        iterations=settings.iterations,
        batch_size=settings.batch_size,
        steps=settings.steps.build(),
        step_size=settings.step_size,
        ball=settings.ball.build(),
        rule=settings.rule,
        random_start=settings.random_start,
        r1=settings.r1,
        optimizer=assemble.optimizer(settings),
        ema=settings.ema,
        seed=seed,
    )
    together = runs.load(trained).of_class(3)
    x = data.validation.tensor()
    with torch.no_grad():
        torch.testing.assert_close(together(x), fitted.detector.eval()(x), rtol=1e-3, atol=1e-4)


def test_the_records_have_every_detectors(trained: Path) -> None:
    records = runs.metrics(trained)
    assert len(records) == 40
    for record in records:
        assert set(record["members"]) == {"loss", "auroc", "inside", "outside"}
        assert all(len(values) == 10 for values in record["members"].values())
        assert sum(record["members"]["loss"]) / 10 == pytest.approx(record["loss"], rel=1e-5)


def test_passes_count_every_detectors(trained: Path, settings: Config) -> None:
    each = settings.batch_size * 40 * (2 + (3 if settings.r1 else 2))
    assert peer.passes(runs.load(trained)) == 10 * each


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


def test_a_run_that_has_not_ended_is_read_too(settings: Config, tmp_path: Path) -> None:
    def stop(_: Step) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        runs.train(settings, tmp_path / "run", callback=stop)
    run = runs.load(tmp_path / "run")
    assert (run.iteration, run.calibration, len(run.classes)) == (0, None, 10)


# the command line


def test_a_class_is_sampled_by_its_own_detector(run_cli: Cli, trained: Path) -> None:
    pictures = set()
    for kind in ("2", "7"):
        code, _, err = run_cli("sample", trained, "--class", kind, "--seeds", "3")
        assert code == 0, err
        pictures.add((trained / "samples" / f"class-{kind}" / "seed-00003.png").read_bytes())
    assert len(pictures) == 2


def test_images_are_detected_by_the_largest_logit(run_cli: Cli, trained: Path, tmp_path: Path) -> None:
    from PIL import Image

    Image.new("L", (8, 8), 255).save(tmp_path / "white.png")
    code, out, _ = run_cli("detect", trained, tmp_path / "white.png", "--json")
    assert code == 0
    (image,) = json.loads(out)["images"]
    expected = -runs.load(trained).classify(torch.ones(1, 1, 8, 8)).max().item()
    assert image["score"] == pytest.approx(expected, abs=1e-4)
