"""Every value of the configuration becomes the object it names."""

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

from genat import assemble, checkpoints, config, networks, sources
from genat.config import AugmentConfig, Config, load
from genat.sources.datasets import FASHION_MNIST_FOLDER
from genat.training import Health


def settings(**keys: object) -> Config:
    return Config.model_validate(keys)


def drawn(source: sources.Source, n: int = 6) -> torch.Tensor:
    return source.draw(n, generator=torch.Generator().manual_seed(0))


def outside_of(chosen: Config) -> sources.Source:
    parts = assemble.target(chosen)
    return assemble.outside(chosen, parts.train.shape, parts)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for kind, level in (("dark", 40), ("light", 200), ("mid", 120)):
        (tmp_path / "images" / kind).mkdir(parents=True)
        for i in range(6):
            Image.new("RGB", (12, 10), (level, level + i, level)).save(tmp_path / "images" / kind / f"{i}.png")
    return tmp_path / "images"


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("photographs", "photographs"),
        ("dead-leaves", "dead leaves"),
        ("uniform-noise", "uniform noise"),
        ("gaussian-noise", "gaussian noise"),
        ("class-gaussians", "class Gaussians fitted to digits train"),
        ("other-classes", "digits train without 3"),
        ("digits", "digits train"),
    ],
)
def test_every_kind_of_outside_is_built(kind: str, name: str) -> None:
    chosen = settings(data={"classes": [3]}, outside=[{"kind": kind}])
    source = outside_of(chosen)
    values = drawn(source)
    assert values.shape == (6, 1, 8, 8)
    assert 0 <= values.min() <= values.max() <= 1
    assert name.lower() in sources.describe(source).lower()


def test_outside_images_of_a_folder_take_the_targets_shape(folder: Path) -> None:
    chosen = settings(outside=[{"kind": "folder", "path": str(folder)}])
    assert drawn(outside_of(chosen)).shape == (6, 1, 8, 8)


def test_outside_images_of_parquet_and_hugging_face_take_the_targets_shape(folder: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    values = {"image": [{"bytes": path.read_bytes(), "path": None} for path in sorted(folder.rglob("*.png"))]}
    features = datasets.Features({"image": datasets.Image()})
    file = tmp_path / "data" / "train.parquet"
    file.parent.mkdir()
    datasets.Dataset.from_dict(values, features=features).to_parquet(str(file))
    chosen = settings(outside=[{"kind": "parquet", "path": str(file), "label": None}])
    assert drawn(outside_of(chosen)).shape == (6, 1, 8, 8)


def test_fashion_mnist_is_built() -> None:
    if not FASHION_MNIST_FOLDER.is_dir():
        pytest.skip(f"Fashion-MNIST is not at {FASHION_MNIST_FOLDER}: apt-get install dataset-fashion-mnist")
    chosen = settings(data={"kind": "fashion-mnist"}, outside=[{"kind": "fashion-mnist"}])
    assert outside_of(chosen).shape == (1, 28, 28)


def test_parts_are_mixed_by_their_weights(folder: Path) -> None:
    black = folder.parent / "black"
    black.mkdir()
    for i in range(2):
        Image.new("L", (8, 8)).save(black / f"{i}.png")
    parts = [{"kind": "folder", "path": str(black), "weight": 3}, {"kind": "uniform-noise", "weight": 1}]
    chosen = settings(outside=parts)
    share = (drawn(outside_of(chosen), 2000).amax((1, 2, 3)) == 0).float().mean().item()
    assert share == pytest.approx(0.75, abs=0.04)


@pytest.mark.parametrize(
    ("starts", "kind"),
    [
        ("photographs", sources.Photographs),
        ("dead-leaves", sources.DeadLeaves),
        ("uniform-noise", sources.Noise),
        ("class-gaussians", sources.ClassGaussians),
    ],
)
def test_sampling_starts_from_what_it_names_whatever_was_outside(starts: str, kind: type) -> None:
    chosen = settings(outside=[{"kind": "folder", "path": "no/such/folder"}], sampling={"starts": starts})
    assert isinstance(assemble.starts(chosen, (1, 8, 8)), kind)


def test_a_single_part_is_itself() -> None:
    chosen = settings(outside=[{"kind": "dead-leaves", "weight": 5}])
    assert isinstance(outside_of(chosen), sources.DeadLeaves)


def test_outside_of_another_shape_is_refused(folder: Path) -> None:
    data = {"kind": "folder", "path": str(folder)}
    chosen = settings(data=data, outside=[{"kind": "uniform-noise"}, {"kind": "digits"}])
    with pytest.raises(ValueError, match=r"expected outside digits of shape \(3, 10, 12\), got \(1, 8, 8\)"):
        outside_of(chosen)


# the target


def test_the_target_is_parted_without_loss_or_overlap() -> None:
    parts = assemble.target(settings(data={"classes": [0, "4", 7], "validation": 0.25}))
    everything = sources.digits()
    assert everything.labels is not None
    assert parts.train.labels is not None
    assert parts.others is not None
    kept = int(torch.isin(everything.labels, torch.tensor([0, 4, 7])).sum())
    assert len(parts.train) + len(parts.validation) == kept
    assert len(parts.validation) == pytest.approx(kept / 4, abs=2)
    assert len(parts.others) == len(everything) - kept
    assert set(parts.train.labels.tolist()) == {0, 4, 7}
    assert parts.others.labels is not None
    assert not set(parts.others.labels.tolist()) & {0, 4, 7}


def test_the_seed_cuts_the_target() -> None:
    first, again, other = (assemble.target(settings(seed=seed)).validation.pixels for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not (first.shape == other.shape and torch.equal(first, other))


def test_all_classes_named_leave_no_others() -> None:
    everyone = settings(data={"classes": list(range(10))})
    parts = assemble.target(everyone)
    assert parts.others is None
    assert len(parts.train) + len(parts.validation) == len(sources.digits())
    asked = settings(data={"classes": list(range(10))}, outside=[{"kind": "other-classes"}])
    with pytest.raises(ValueError, match="expected classes that are left out for outside other-classes, got none"):
        outside_of(asked)


def test_a_class_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected a class of 0, 1, .* or its index, got 'ten'"):
        assemble.target(settings(data={"classes": ["ten"]}))


@pytest.mark.parametrize("part", ["data", "outside"])
def test_a_split_that_is_not_there_is_refused(part: str) -> None:
    section = {"kind": "digits", "split": "tset"}
    chosen = settings(**{part: section if part == "data" else [section]})
    with pytest.raises(ValueError, match="expected split train or test of digits, got 'tset'"):
        outside_of(chosen)


def test_a_folder_has_its_size_and_mode(folder: Path) -> None:
    data = {"kind": "folder", "path": str(folder), "size": 6, "mode": "L", "classes": ["dark", "mid"]}
    parts = assemble.target(settings(data=data, outside=[{"kind": "other-classes"}]))
    assert parts.train.shape == (1, 6, 6)
    assert parts.others is not None
    assert parts.others.pixels.min() > 190


def test_a_folder_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a folder of images, got 'no/such', which does not exist"):
        assemble.target(settings(data={"kind": "folder", "path": "no/such"}))


def test_the_official_test_is_disjoint_and_of_the_targets_classes(folder: Path) -> None:
    chosen = settings(data={"classes": [3]})
    test = assemble.official_test(chosen)
    assert test is not None
    assert test.labels is not None
    assert set(test.labels.tolist()) == {3}
    assert len(test) < len(assemble.target(chosen).train)
    assert assemble.official_test(settings(data={"kind": "folder", "path": str(folder)})) is None


# the rest


def test_nothing_set_is_no_augmentation() -> None:
    assert assemble.augmentation(AugmentConfig()) is None


def test_augmentation_is_mapped() -> None:
    part = AugmentConfig(shift=2, crop_scale=(0.8, 1.0), crop_ratio=(0.9, 1.1), crop_probability=0.5, flip=True)
    expected = sources.Augment(shift=2, crop_scale=(0.8, 1.0), crop_ratio=(0.9, 1.1), crop_probability=0.5, flip=True)
    assert assemble.augmentation(part) == expected


def defaults(**part: object) -> dict[str, Any]:
    made = assemble.optimizer(settings(optimizer=part))([nn.Parameter(torch.zeros(1))])
    return {"kind": type(made).__name__} | made.defaults


def test_adam_is_mapped() -> None:
    assert defaults(name="adam", lr=0.003).items() >= {"kind": "Adam", "lr": 0.003, "betas": (0.0, 0.99)}.items()


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ({}, {"momentum": 0.9, "nesterov": True, "weight_decay": 0.0}),
        ({"momentum": 0.5, "weight_decay": 0.01}, {"momentum": 0.5, "nesterov": True, "weight_decay": 0.01}),
        ({"momentum": 0.0}, {"momentum": 0.0, "nesterov": False, "weight_decay": 0.0}),
    ],
)
def test_sgd_is_mapped(part: dict[str, float], expected: dict[str, object]) -> None:
    assert defaults(name="sgd", lr=0.2, **part).items() >= ({"kind": "SGD", "lr": 0.2} | expected).items()


def test_health_is_mapped_and_its_defaults_are_the_librarys() -> None:
    assert assemble.health(settings()) == Health()
    part = {"non_finite": "back-off", "wins": "stop", "window": 7, "loses_below": 0.1, "rate_factor": 0.3}
    assert assemble.health(settings(health=part)) == Health(**part)  # type: ignore[arg-type]


@pytest.mark.parametrize(("there", "asked", "got"), [
    (False, "auto", "cpu"), (False, "cpu", "cpu"), (True, "auto", "cuda"), (True, "cpu", "cpu"), (True, "cuda", "cuda"),
])  # fmt: skip
def test_the_device(there: bool, asked: str, got: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert assemble.device(settings(device=asked)) == torch.device(got)


def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="device: expected a GPU for cuda, got a machine without one"):
        assemble.device(settings(device="cuda"))


def test_the_detector_is_a_function_of_the_seed() -> None:
    small = {"network": "mlp", "network_options": {"hidden": [4]}}
    first, again, other = (
        torch.cat([p.detach().flatten() for p in assemble.detector(settings(seed=s, **small), (1, 8, 8)).parameters()])
        for s in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_convolutions_lie_channels_last_and_say_the_same() -> None:
    settings = load("images", ["network_options.width=4"])
    detector = assemble.detector(settings, (3, 8, 8))
    layers = [layer for layer in detector.modules() if isinstance(layer, nn.Conv2d)]
    assert layers
    assert all(layer.weight.is_contiguous(memory_format=torch.channels_last) for layer in layers)
    plain = networks.build("small_convnet", (3, 8, 8), {"width": 4}, seed=settings.seed)
    x = torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(detector(x), plain(x))
    assert checkpoints.digest(detector.state_dict()) == checkpoints.digest(plain.state_dict())


@pytest.mark.parametrize("gpu", [False, True])
@pytest.mark.parametrize("native", [False, True])
def test_precision_is_half_where_the_device_multiplies_it(
    gpu: bool, native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native and not including_emulation)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": native != gpu}, raising=False)
    assert assemble.precision(settings(precision="auto")) == ("bf16-mixed" if native else "32-true")
    for asked in ("bf16-mixed", "32-true"):
        assert assemble.precision(settings(precision=asked)) == asked


def test_precision_is_full_where_pytorch_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert assemble.precision(settings(precision="auto")) == "32-true"


def test_initial_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected a safetensors file, got .*none\.safetensors"):
        assemble.detector(settings(init=str(tmp_path / "none.safetensors")), (1, 8, 8))


AT_HAND = [name for name, preset in config.presets().items() if preset.data.kind in ("digits", "lfw-faces")]


@pytest.mark.parametrize("name", AT_HAND)
@pytest.mark.parametrize("keys", [[], ["committee=false", "classify={}"]], ids=["detector", "joint"])
def test_presets_assemble(name: str, keys: list[str]) -> None:
    if keys and config.load(name).committee:
        keys = [*keys, "outside=[{kind: uniform-noise}]"]  # a joint network has no other classes
    chosen = config.load(name, keys)
    parts = assemble.target(chosen)
    outside = assemble.outside(chosen, parts.train.shape)
    network = assemble.detector(chosen, parts.train.shape, classes=len(parts.train.classes))
    detector = assemble.whole(network, parts.train.classes)
    with torch.no_grad():
        assert detector(drawn(outside)).shape == (6,)
