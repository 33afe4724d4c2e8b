import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import genat.networks
from genat.networks import BUILDERS, build

MINE = """
import torch
from torch import nn

class Sum(nn.Module):
    def forward(self, x):
        return x.flatten(1).sum(dim=1)

class BatchMean(nn.Module):
    def forward(self, x):
        return x.flatten(1).sum(dim=1) - x.mean()

def detector(shape):
    return Sum()

def classifier(shape, *, width=3):
    features = torch.Size(shape).numel()
    return nn.Sequential(nn.Flatten(), nn.BatchNorm1d(features), nn.Linear(features, width))

def late(shape):
    from later_sibling import make
    return make(shape)

def dependent(shape):
    return BatchMean()

def number(shape):
    return 3

def wrong_shape(shape):
    return nn.Linear(shape[0] + 1, 1)

NOT_A_FUNCTION = 3
"""


@pytest.fixture
def working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "my_networks.py").write_text(MINE)
    (tmp_path / "later_sibling.py").write_text("from my_networks import detector as make\n")
    (tmp_path / "broken_networks.py").write_text("import a_package_nobody_has\n")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in ("my_networks", "later_sibling", "broken_networks"):
        sys.modules.pop(name, None)


SMALL: dict[str, tuple[tuple[int, ...], dict[str, object]]] = {
    "mlp": ((2,), {"hidden": [4]}),
    "convnet": ((1, 8, 8), {"channels": [2, 3], "width": 4}),
    "small_convnet": ((1, 8, 8), {"width": 2}),
    "strided_convnet": ((1, 8, 8), {"channels": [2], "flat": [2], "hidden": [4]}),
    "resnet": ((1, 8, 8), {"blocks": [1], "width": 2}),
    "preact_resnet32": ((3, 8, 8), {"widen": 1}),
    "wide_resnet": ((1, 8, 8), {"depth": 10, "widen": 1}),
    "plain_wide_resnet28": ((1, 8, 8), {"widen": 1}),
    "star": ((3, 16, 16), {"width": 2, "widest": 4, "outputs": 3}),
}


@pytest.mark.parametrize("name", SMALL)
def test_a_network_is_a_function_of_its_seed(name: str, generator: torch.Generator) -> None:
    shape, options = SMALL[name]
    x = torch.rand(2, *shape, generator=generator)
    first, again, other = (build(name, shape, options, seed=seed)(x) for seed in (1, 1, 2))
    assert first.shape == (2,)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("spec", ["mlp", "my_networks:classifier"])
@pytest.mark.usefixtures("working_directory")
def test_building_leaves_the_global_random_state(spec: str) -> None:
    state = torch.get_rng_state()
    build(spec, (2,), {}, seed=123)
    assert torch.equal(torch.get_rng_state(), state)


def test_every_builder_is_public_and_takes_the_shape_first_and_the_rest_by_name() -> None:
    for name, builder in BUILDERS.items():
        assert getattr(genat.networks, name) is builder
        first, *others = inspect.signature(builder).parameters.values()
        assert first.name == "shape"
        assert all(other.kind is inspect.Parameter.KEYWORD_ONLY for other in others)


def test_the_default_options_are_none() -> None:
    assert torch.equal(
        build("small_convnet", (1, 8, 8), seed=0)(torch.ones(1, 1, 8, 8)),
        build("small_convnet", (1, 8, 8), {"width": 24}, seed=0)(torch.ones(1, 1, 8, 8)),
    )


@pytest.mark.usefixtures("working_directory")
def test_a_detector_of_ones_own_is_found_in_the_working_directory(generator: torch.Generator) -> None:
    path = list(sys.path)
    detector = build("my_networks:detector", (1, 4, 4), {}, seed=0)
    assert type(detector).__name__ == "Sum"
    assert sys.path == path
    x = torch.rand(3, 2, generator=generator)
    assert torch.equal(build("my_networks:late", (2,), {}, seed=0)(x), x.sum(dim=1))


@pytest.mark.usefixtures("working_directory")
def test_a_working_directory_that_is_importable_already_stays_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path.cwd()))
    path = list(sys.path)
    build("my_networks:detector", (2,), {}, seed=0)
    assert sys.path == path


@pytest.mark.usefixtures("working_directory")
def test_a_classifier_of_ones_own_becomes_a_detector_with_frozen_statistics(generator: torch.Generator) -> None:
    detector = build("my_networks:classifier", (1, 4, 4), {"width": 5}, seed=0)
    x = torch.rand(3, 1, 4, 4, generator=generator)
    assert torch.equal(detector.train()(x), detector.get_submodule("network").eval()(x)[:, 0])


@pytest.mark.usefixtures("working_directory")
def test_an_installed_function_will_do() -> None:
    assert build("genat.networks:mlp", (2,), {"hidden": (4,)}, seed=0)(torch.zeros(3, 2)).shape == (3,)


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        ("mpl", {}, r'network mlp, convnet, .* or "package.module:function", got mpl$'),
        ("my_networks", {}, "got my_networks$"),
        ("my_networks:", {}, "got my_networks:$"),
        (":detector", {}, "got :detector$"),
        (".my_networks:detector", {}, "got .my_networks:detector$"),
        ("my_networks:detector:x", {}, "got my_networks:detector:x$"),
        ("nobodys.networks:f", {}, "module nobodys.networks for .*ModuleNotFoundError: No module named 'nobodys'"),
        ("broken_networks:f", {}, "No module named 'a_package_nobody_has'"),
        ("my_networks:missing", {}, "expected a function my_networks:missing, got None"),
        ("my_networks:NOT_A_FUNCTION", {}, "expected a function my_networks:NOT_A_FUNCTION, got 3"),
        ("my_networks:number", {}, r"torch\.nn\.Module from my_networks:number, got int"),
        (
            "my_networks:detector",
            {"width": 3},
            r"options of my_networks:detector \(none\), got {'width': 3}: TypeError",
        ),
        ("my_networks:classifier", {"widht": 3}, r"options of my_networks:classifier \(width\).*'widht'"),
        ("my_networks:classifier", {"width": "3"}, "options of my_networks:classifier .*TypeError"),
        ("my_networks:dependent", {}, "depends on its own sample alone"),
        ("my_networks:wrong_shape", {}, "network for inputs"),
        (
            "mlp",
            {"hiden": [4]},
            r"options of mlp \(hidden, negative_slope, outputs, logit, mean, std\), got {'hiden': \[4\]}",
        ),
        ("mlp", {"hidden": 4}, "options of mlp .*not iterable"),
        ("mlp", {"hidden": [0]}, "hidden widths >= 1"),
    ],
)
@pytest.mark.usefixtures("working_directory")
def test_build_refuses_in_one_line(spec: str, options: dict[str, object], message: str) -> None:
    path = list(sys.path)
    with pytest.raises(ValueError, match=message) as caught:
        build(spec, (2,), options, seed=0)
    assert "\n" not in str(caught.value)
    assert sys.path == path


def test_build_wants_a_shape() -> None:
    with pytest.raises(ValueError, match="expected a shape"):
        build("mlp", (), {}, seed=0)
