"""The GAN beside a run: as many passes, as large, on the same images, and trained once."""

import json
import math
import re
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from genat import assemble, config, networks, runs
from genat.baselines.gan import GanFitted, train_gan
from genat.baselines.images import Dcgan, image_generator
from genat.evaluation import peer
from genat.networks import Together, parameter_count
from genat.sources import Images, digits
from genat.stability.methods import Gan
from genat.training import DivergenceError, Step


@pytest.fixture
def run(tiny_run: Path) -> runs.Run:
    return runs.load(tiny_run)


@pytest.fixture
def train(run: runs.Run) -> Images:
    return assemble.target(run.config).train


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Let the training be none, and return what it was asked for."""
    asked: list[dict[str, Any]] = []

    def none(
        generator: Together, detector: Together, target: Images, *, iterations: int, batch_size: int, **options: object
    ) -> GanFitted:
        asked.append(
            options | {"target": target, "generator": generator, "detector": detector, "batch_size": batch_size}
        )
        return GanFitted(generator.eval(), detector.eval(), 5 * batch_size * iterations, {})

    monkeypatch.setattr(peer, "train_gan", none)
    return asked


def test_it_is_the_gan_of_the_stability_study() -> None:
    theirs = asdict(Gan())
    ours = asdict(Dcgan(iterations=theirs["iterations"], width=theirs["width"]))
    assert theirs.pop("spectral")
    assert ours == theirs


# passes


CLASSES = "classify={steps: 2, ball: {radius: 0.5}}"


@pytest.mark.parametrize(
    "overrides",
    [
        ["r1=0"],
        ["r1=0.01"],
        ["r1=0", "descent={steps: 2}"],
        ["r1=0", CLASSES],
        ["r1=0.01", "descent.steps=1", CLASSES],
        ["replay={burst: 2, rows: 6}"],
    ],
    ids=" ".join,
)
def test_passes_are_the_samples_that_went_through_the_network(
    tiny_yaml: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overrides: list[str]
) -> None:
    """All that goes forward where gradients are on comes back; the penalty's second backward has no forward."""
    rows, build = [0], assemble.detector

    def counted(*arguments: object, **options: object) -> nn.Module:
        detector = build(*arguments, **options)  # type: ignore[arg-type]

        def count(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            rows[0] += len(inputs[0]) * torch.is_grad_enabled()

        getattr(detector, "classifier", detector).register_forward_pre_hook(count)
        return detector

    monkeypatch.setattr(assemble, "detector", counted)
    after: list[tuple[Step, int]] = []
    settings = config.load(tiny_yaml, ["iterations=8", "batch_size=4", *overrides])
    run, _ = runs.train(settings, tmp_path / "run", callback=lambda step: after.append((step, rows[0])))
    forward = [now - before for (_, before), (_, now) in pairwise(after)]
    second = 4 if settings.r1 > 0 else 0
    recorded = [int(record["steps"]) for record in runs.metrics(run.folder)]
    assert recorded == [0, 0, 1, 1, 2, 2, 3, 3]
    spent = [peer.passes(_with_steps(run, recorded[:n])) for n in range(1, 9)]
    assert [now - before for before, now in pairwise(spent)] == [samples + second for samples in forward]
    assert spent[0] == forward[0] + second, "the first two steps have no ascent"


def _with_steps(run: runs.Run, steps: list[int]) -> runs.Run:
    lines = [json.dumps({"steps": value}) + "\n" for value in steps]
    (run.folder / runs.METRICS).write_text("".join(lines), encoding="utf-8")
    return run


def test_steps_that_were_given_up_count_as_those_that_came_again(run: runs.Run) -> None:
    incident = {"iteration": 4, "kind": "loses", "text": "t", "action": "back-off", "back_to": 2, "rate": 0.5}
    (run.folder / runs.INCIDENTS).write_text(json.dumps(incident) + "\n", encoding="utf-8")
    assert peer.passes(_with_steps(run, [1, 2, 3, 4, 5])) == 16 * (1 + 2 + 3 + 4 + 5 + 3 + 4 + 7 * 3)


def test_without_records_nothing_is_counted(run: runs.Run) -> None:
    (run.folder / runs.METRICS).unlink()
    with pytest.raises(FileNotFoundError, match=r"metrics\.jsonl"):
        peer.passes(run)


# the GAN


def test_it_spends_what_the_run_spent_to_within_an_iteration(run: runs.Run, train: Images) -> None:
    said: list[str] = []
    made = peer.gan(run, train, n=5, say=said.append)
    spent = peer.passes(run)
    assert spent == sum(16 * (record["steps"] + 3) for record in runs.metrics(run.folder))
    assert made.passes_of_run == spent
    assert spent - 5 * 64 < made.passes <= spent
    assert made.passes == 5 * 64 * made.settings.iterations
    assert made.images.shape == (5, 1, 8, 8)
    assert bool(made.images.isfinite().all())
    assert len(said) == made.settings.iterations
    assert re.fullmatch(r"GAN: iteration 9/9  AUROC \d\.\d{3}  0 s left", said[-1])
    assert made.as_dict()["settings"] == asdict(made.settings)
    json.dumps(made.as_dict())


def test_it_is_trained_as_the_stability_studys_on_the_runs_images(
    run: runs.Run, train: Images, untrained: list[dict[str, Any]]
) -> None:
    made = peer.gan(run, train, n=1)
    (asked,) = untrained
    assert torch.equal(asked["target"].pixels, train.pixels)
    assert asked["target"].augmentation is None
    assert (asked["seeds"], asked["r1"], asked["rates"]) == ([run.config.seed], 1.25, (2e-4, 2e-4))
    assert (asked["betas"], asked["latent"], asked["ema"], asked["batch_size"]) == ((0.5, 0.999), 100, 0.999, 64)
    assert any("layer.weight" in name or "layer/weight" in name for name, _ in asked["detector"].named_parameters())
    assert made.seed == run.config.seed


def test_the_runs_augmentation_is_the_gans(run: runs.Run, train: Images, untrained: list[dict[str, Any]]) -> None:
    augment = run.config.augment.model_copy(update={"flip": True})
    peer.gan(replace(run, config=run.config.model_copy(update={"augment": augment})), train, n=1)
    assert untrained[0]["target"].augmentation == assemble.augmentation(augment)


@pytest.mark.parametrize(("shape", "width"), [((1, 28, 28), 12), ((3, 32, 32), 24), ((1, 8, 8), 1)])
def test_beside_a_small_convnet_it_has_its_width(shape: tuple[int, ...], width: int) -> None:
    size = parameter_count(networks.build("small_convnet", shape, {"width": width}, seed=0))
    assert peer._nearest(lambda one: networks.small_convnet(shape, width=one), size) == width


def test_between_two_widths_the_nearer_is_taken() -> None:
    counts = {
        width: parameter_count(networks.build("small_convnet", (1, 8, 8), {"width": width}, seed=0)) for width in (5, 6)
    }
    middle = sum(counts.values()) / 2
    for size, width in ((math.floor(middle) - 1, 5), (math.ceil(middle) + 1, 6)):
        assert peer._nearest(lambda one: networks.small_convnet((1, 8, 8), width=one), size) == width


def test_the_generator_of_another_convolutional_network_has_about_its_parameters(
    tiny_yaml: Path, tmp_path: Path, untrained: list[dict[str, Any]]
) -> None:
    run, _ = runs.train(
        config.load(tiny_yaml, ["network=small_convnet", "network_options={width: 2}"]), tmp_path / "run"
    )
    width = peer.gan(run, assemble.target(run.config).train, n=1).settings.width
    assert width is not None
    assert parameter_count(untrained[0]["detector"].member(0)) == parameter_count(run.detector)
    counts = [parameter_count(image_generator((1, 8, 8), latent=100, width=one, seed=0)) for one in (width, width + 1)]
    assert abs(counts[0] - parameter_count(run.detector)) <= abs(counts[1] - parameter_count(run.detector))


def test_the_discriminator_of_a_convolutional_run_is_its_network(
    tiny_yaml: Path, tmp_path: Path, untrained: list[dict[str, Any]]
) -> None:
    keys = ["network=strided_convnet", "network_options={channels: [4], hidden: [8]}", "precision=bf16-mixed"]
    run, _ = runs.train(config.load(tiny_yaml, keys), tmp_path / "run")
    made = peer.gan(run, assemble.target(run.config).train, n=1)
    (asked,) = untrained
    inside = [type(layer).__name__ for layer in asked["detector"].member(0).modules()]
    own = [type(layer).__name__ for layer in run.detector.modules()]
    assert [name for name in inside if name != "_Spectral"] == own
    assert inside.count("_Spectral") == 3
    assert asked["half"] is True
    assert made.settings.width is None
    mirrored = [type(layer).__name__ for layer in asked["generator"].member(0)]
    assert [name for name in mirrored if name in {"Linear", "ConvTranspose2d"}] == [
        "Linear",
        "Linear",
        "ConvTranspose2d",
    ]


# kept


def test_it_is_trained_once(
    run: runs.Run, train: Images, monkeypatch: pytest.MonkeyPatch, untrained: list[dict[str, Any]]
) -> None:
    monkeypatch.setattr(peer, "train_gan", train_gan)
    first = peer.gan(run, train, n=70)
    assert sorted(path.name for path in (run.folder / "samples-gan").iterdir()) == ["generator.safetensors", "grid.png"]
    picture = (run.folder / "samples-gan" / "grid.png").read_bytes()

    def again(*_: object, **__: object) -> GanFitted:
        raise AssertionError("trained again")

    monkeypatch.setattr(peer, "train_gan", again)
    second, fewer = peer.gan(run, train, n=70), peer.gan(run, train, n=3)
    assert torch.equal(first.images, second.images)
    assert first.as_dict() == second.as_dict()
    torch.testing.assert_close(fewer.images, first.images[:3])
    peer.gan(run, train, n=70)
    assert (run.folder / "samples-gan" / "grid.png").read_bytes() == picture
    assert not untrained


def test_what_was_made_from_something_else_is_made_anew(
    run: runs.Run, train: Images, untrained: list[dict[str, Any]]
) -> None:
    peer.gan(run, train, n=1)
    peer.gan(run, train, n=1)
    assert len(untrained) == 1
    peer.gan(run, train.take(range(50)), n=1)
    assert len(untrained) == 2
    peer.gan(replace(run, config=run.config.model_copy(update={"seed": 7})), train, n=1)
    assert len(untrained) == 3
    _with_steps(run, [3] * 40)
    peer.gan(run, train, n=1)
    assert len(untrained) == 4


@pytest.mark.parametrize("harm", ["cut", "flip", "other", "empty"])
@pytest.mark.usefixtures("untrained")
def test_a_damaged_generator_is_named(run: runs.Run, train: Images, harm: str) -> None:
    peer.gan(run, train, n=1)
    path = run.folder / "samples-gan" / "generator.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes({"cut": bytes(content[:50]), "flip": bytes(content), "other": b"no tensors", "empty": b""}[harm])
    with pytest.raises(
        ValueError, match=r"generator\.safetensors: expected a GAN's generator, got .*delete it"
    ) as caught:
        peer.gan(run, train, n=1)
    assert "\n" not in str(caught.value)


# refused


def test_a_training_too_short_for_one_iteration(run: runs.Run, train: Images) -> None:
    with pytest.raises(ValueError, match="expected a run of at least 320 passes to set a GAN beside, got 144"):
        peer.gan(_with_steps(run, [0, 0, 0]), train, n=1)


def test_images_that_dcgan_has_no_generator_for(run: runs.Run) -> None:
    odd = replace(run, shape=(1, 25, 25))
    with pytest.raises(ValueError, match=r"expected shape \(C, S, S\) with S from 4 to 7 times"):
        peer.gan(odd, digits("train"), n=1)
    assert not (run.folder / "samples-gan").exists()


def test_a_gan_that_diverges_is_no_peer(run: runs.Run, train: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    def burst(generator: Together, detector: Together, _: Images, **__: object) -> GanFitted:
        return GanFitted(generator, detector, 320, {0: 3})

    monkeypatch.setattr(peer, "train_gan", burst)
    with pytest.raises(DivergenceError, match="GAN: iteration 3: expected finite values"):
        peer.gan(run, train, n=1)
    assert not (run.folder / "samples-gan").exists()
