"""ONNX files do what their detectors do: the logit, and the steps of an ascent."""

import json
from importlib.metadata import version
from pathlib import Path

import onnxruntime
import pytest
import torch
from torch import Tensor, nn

import genat
from genat import checkpoints, runs
from genat.adapters import onnx
from genat.ascent import Rule
from genat.balls import Ball, L2Ball, LinfBall
from genat.networks import Committee, Joint, Together, build

SHAPE = (1, 8, 8)
BAR = 1e-4


def inputs(count: int, shape: tuple[int, ...] = SHAPE, seed: int = 1) -> Tensor:
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(seed))


def session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options)


def climbed(path: Path, starts: Tensor, *, steps: int, step_size: float) -> tuple[Tensor, Tensor]:
    """The first logits and the last points of a loop over a file, with what it needs and nothing else."""
    file = session(path)
    state = {"x": starts, "starts": starts, "first": torch.zeros_like(starts), "second": torch.zeros_like(starts)}
    state["step_size"] = torch.tensor(step_size)
    names, logits = [one.name for one in file.get_inputs()], []
    for count in range(steps):
        state["count"] = torch.tensor(count + 1.0)
        logit, *after = map(torch.from_numpy, file.run(None, {name: state[name].numpy() for name in names}))
        logits.append(logit)
        state |= dict(zip(("x", "first", "second"), after, strict=False))
    return logits[0], state["x"]


def check_steps(
    detector: nn.Module, path: Path, shape: tuple[int, ...], *, ball: Ball, rule: Rule, step_size: float
) -> None:
    """One step on 600 inputs, ten on 400, against `ascend`.

    Of steps by signs five in a thousand entries may differ: where the gradient is near 0 rounding decides the sign.
    """
    signs = rule in ("sign", "adam") or (rule == "steepest" and isinstance(ball, LinfBall))
    for steps, x in ((1, inputs(600, shape)), (10, inputs(400, shape, seed=2))):
        logit, points = climbed(path, x, steps=steps, step_size=step_size)
        wanted = genat.ascend(detector, x, steps=steps, step_size=step_size, ball=ball, rule=rule)
        with torch.no_grad():
            assert (logit - detector(x)).abs().max() <= BAR
        apart = (points - wanted).abs()
        assert (apart > BAR).double().mean() <= (0.005 if signs else 0)
        assert (points - x).abs().amax() > 0.001


def test_the_logit_is_the_detectors_for_any_number_of_inputs(small: nn.Module, logit_file: Path) -> None:
    file = session(logit_file)
    for x in torch.split(inputs(1000), [1, 7, 992]):
        (logit,) = map(torch.from_numpy, file.run(None, {"x": x.numpy()}))
        with torch.no_grad():
            assert logit.shape == (len(x),)
            assert (logit - small(x)).abs().max() <= BAR


def test_steps_are_those_of_ascend(small: nn.Module, step_file: Path) -> None:
    check_steps(small, step_file, SHAPE, ball=L2Ball(), rule="steepest", step_size=0.2)


def test_a_negative_step_descends(small: nn.Module, step_file: Path) -> None:
    x = inputs(8)
    _, points = climbed(step_file, x, steps=3, step_size=-0.2)
    wanted = genat.ascend(small, x, steps=3, step_size=0.2, descend=True)
    assert (points - wanted).abs().max() <= BAR


def test_the_files_tell_what_they_are_and_nothing_of_this_machine(
    small: nn.Module, logit_file: Path, step_file: Path
) -> None:
    common = {
        "genat.version": version("genat"),
        "genat.shape": "[1, 8, 8]",
        "genat.box": "[0.0, 1.0]",
        "genat.digest": checkpoints.digest(small.state_dict()),
    }
    logit, step = (session(path).get_modelmeta().custom_metadata_map for path in (logit_file, step_file))
    assert logit == common | {"genat.name": "small", "genat.kind": "logit"}
    assert step == common | {
        "genat.name": "Perceptron",
        "genat.kind": "ascent-step",
        "genat.rule": "steepest",
        "genat.norm": "l2",
        "genat.radius": "null",
        "genat.step_size": "0.2",
    }
    for path in (logit_file, step_file):
        content = path.read_bytes()
        for trace in (b".py", str(Path.home()).encode() + b"/", str(Path(genat.__file__).parent).encode()):
            assert trace not in content


def test_the_detector_is_left_as_it_was(small: nn.Module, step_file: Path) -> None:
    assert step_file.exists()
    assert small.training
    assert all(weights.requires_grad and weights.grad is None for weights in small.parameters())


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        rows = x.flatten(1)
        return rows.sum(1) if rows.sum() > 0 else rows.amax(1)


class Counting(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1).sum(1) * torch.ones(len(x))


@pytest.mark.parametrize("detector", [Branching(), Counting()], ids=["a branch", "len"])
def test_what_onnx_cannot_hold_is_said_in_a_line(detector: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"expected a detector (that ONNX has words for, got|for any number of samples)"
    ) as error:
        onnx.export_ascent_step(detector, tmp_path / "step.onnx", shape=SHAPE)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("detector", "options", "words"),
    [
        (nn.Flatten(0), {}, r"expected the shape of one sample with a module, got none"),
        (nn.Flatten(0), {"shape": (1,), "samples": 0}, r"expected samples to be at least 1, got 0"),
        (nn.Linear(1, 1).double(), {"shape": (1,)}, r"expected a detector of float32 weights, got float64"),
        (nn.Flatten(), {"shape": (2,)}, r"expected a detector of logits \(N,\), got \(2, 2\) for 2 samples"),
        (nn.Flatten(0), {"shape": (0,)}, r"expected a shape of whole numbers >= 1"),
        (nn.Flatten(0), {"shape": (1,), "rule": "best"}, r"expected rule to be 'steepest'"),
        (nn.Flatten(0), {"shape": (1,), "ball": 1.0}, r"expected an L2Ball or a LinfBall, got float"),
        (nn.Flatten(0), {"shape": (1,), "step_size": -1.0}, r"expected step_size to be positive and finite, got -1"),
        (nn.Flatten(0), {"shape": (1,), "box": (1.0, 0.0)}, r"expected box to be \(low, high\) with low < high"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    detector: nn.Module, options: dict[str, object], words: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=words):
        onnx.export_ascent_step(detector, tmp_path / "step.onnx", **options)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_a_run_brings_its_own_shape(trained_once: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected no shape with a run, which has \(1, 8, 8\), got \(2,\)"):
        onnx.export_logit(runs.load(trained_once), tmp_path / "logit.onnx", shape=(2,))


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(onnx, "find_spec", lambda name: None if name == "onnxscript" else name)
    with pytest.raises(ImportError, match=r"expected onnxscript, got none: pip install 'genat\[onnx\]'"):
        onnx.export_logit(nn.Flatten(0), tmp_path / "logit.onnx", shape=(1,))


def test_a_file_that_differs_is_not_left(logit_file: Path, tmp_path: Path) -> None:
    content, path, x = logit_file.read_bytes(), tmp_path / "logit.onnx", inputs(20)

    def apart(_: object, rows: Tensor) -> Tensor:
        return torch.full((len(rows), 3), 0.002)

    words = r"expected an ONNX file within 0\.0001 of its detector, got one 0\.002 apart"
    with pytest.raises(ValueError, match=words):
        onnx._checked(content, path, apart, x)
    with pytest.raises(ValueError, match=words):  # two of three entries are excused, one is not
        onnx._checked(
            content, path, apart, x, undecided=lambda s: torch.tensor([[True, True, False]]).expand(len(s), 3)
        )
    with pytest.raises(ValueError, match="whose steps rounding does not decide, got one where it does for 100%"):
        onnx._checked(content, path, apart, x, undecided=lambda s: torch.ones(len(s), 3, dtype=torch.bool))
    assert not path.exists()


def test_what_rounding_decides_is_counted_and_left_out(logit_file: Path, tmp_path: Path) -> None:
    def apart(_: object, rows: Tensor) -> Tensor:
        return torch.cat([torch.full((len(rows), 1), 0.002), torch.full((len(rows), 19), 0.00002)], dim=1)

    def undecided(suspects: Tensor) -> Tensor:
        return torch.ones(len(suspects), 20, dtype=torch.bool)

    made = onnx._checked(logit_file.read_bytes(), tmp_path / "one.onnx", apart, inputs(20), undecided=undecided)
    assert (made.undecided, made.samples) == (0.05, 20)
    assert made.difference == pytest.approx(0.00002)
    assert made.path.exists()


def test_what_is_not_finite_is_as_far_apart_as_can_be() -> None:
    assert onnx._apart(torch.tensor([1.0, torch.nan]), torch.tensor([0.5, 1.0])).tolist() == [[0.5], [torch.inf]]


def test_no_content_that_onnxruntime_refuses() -> None:
    from genat.adapters._graphs import runner

    with pytest.raises(ValueError, match="expected a file that onnxruntime runs, got"):
        runner(b"no model")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "shape", "options", "ball", "rule", "step_size"),
    [
        ("mlp", (1, 8, 8), {"hidden": [32]}, L2Ball(), "adam", 0.05),
        ("mlp", (1, 8, 8), {"hidden": [32]}, LinfBall(0.05), "steepest", 0.02),
        ("small_convnet", (1, 8, 8), {"width": 2}, L2Ball(0.5), "steepest", 0.2),
        (
            "strided_convnet",
            (3, 12, 10),
            {"channels": [4, 6], "flat": [6], "hidden": [8]},
            LinfBall(),
            "normalized",
            0.2,
        ),
        ("convnet", (1, 9, 9), {"channels": [3, 4], "width": 8}, L2Ball(), "steepest", 0.2),
        ("resnet", (3, 9, 9), {"blocks": [1, 1], "width": 4}, L2Ball(), "sign", 0.01),
        ("star", (3, 8, 8), {"width": 3, "widest": 4, "outputs": 1}, L2Ball(), "steepest", 0.2),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_kind_of_network_and_step(
    *,
    network: str,
    shape: tuple[int, ...],
    options: dict[str, object],
    ball: Ball,
    rule: Rule,
    step_size: float,
    tmp_path: Path,
) -> None:
    detector = build(network, shape, options, seed=0)
    written = onnx.export_ascent_step(
        detector, tmp_path / "step.onnx", shape=shape, ball=ball, rule=rule, step_size=step_size
    )
    assert written.difference <= BAR
    assert written.size == written.path.stat().st_size
    check_steps(detector, written.path, shape, ball=ball, rule=rule, step_size=step_size)


def several(kind: str) -> Joint | Committee:
    networks = [build("mlp", SHAPE, {"hidden": [8]}, seed=seed) for seed in range(3)]
    if kind == "joint":
        return Joint(build("mlp", SHAPE, {"hidden": [8], "outputs": 3, "logit": None}, seed=0))
    if kind == "list":
        return Committee(networks)
    if kind == "together":
        return Committee(Together(networks))
    return Committee(Together([build("small_convnet", SHAPE, {"width": 1}, seed=seed) for seed in range(2)], at_once=1))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["joint", "list", "together", "convolutions together"])
def test_networks_of_several_classes(kind: str, tmp_path: Path) -> None:
    detector = several(kind)
    written = onnx.export_logit(detector, tmp_path / "logit.onnx", shape=SHAPE)
    x = inputs(1000)
    logit, logits = map(torch.from_numpy, session(written.path).run(["logit", "logits"], {"x": x.numpy()}))
    with torch.no_grad():
        assert (logit - detector(x)).abs().max() <= BAR
        assert (logits - detector.classify(x)).abs().max() <= BAR
    step = onnx.export_ascent_step(detector, tmp_path / "step.onnx", shape=SHAPE)
    check_steps(detector, step.path, SHAPE, ball=L2Ball(), rule="steepest", step_size=0.2)


@pytest.mark.slow
def test_a_run_tells_how_it_generates_and_judges(trained_once: Path, tmp_path: Path) -> None:
    run = runs.load(trained_once)
    assert run.calibration is not None
    written = onnx.export_ascent_step(run, tmp_path / "step.onnx")
    told = session(written.path).get_modelmeta().custom_metadata_map
    assert (told["genat.name"], told["genat.steps"], told["genat.step_size"], told["genat.shrink"]) == (
        "tiny", "5", "0.2", "1.0",
    )  # fmt: skip
    assert json.loads(told["genat.threshold"]) == run.threshold
    assert json.loads(told["genat.calibration"]) == run.calibration.logits.tolist()
