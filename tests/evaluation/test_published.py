"""The paper's tables of detectors: whose figures stand beside ours, and how they are made."""

from collections.abc import Callable
from pathlib import Path

import pytest

from genat import config, ranking, runs
from genat.evaluation import ood, published
from genat.evaluation.published import CIFAR10, MNIST, SCALES, Scale, budgets, gat2020

Cli = Callable[..., tuple[int, str, str]]
KEYS = ["committee=true", "outside=[{kind: other-classes}]", "iterations=30", "ball={norm: linf, radius: 0.3}"]
KEYS += ["steps={first: 2, last: 2}", "step_size=0.1", "optimizer.lr=5e-3", "data.classes=[0, 1, 2]"]
TINY = Scale(n=8, longest=200, classes=2, steps=3, restarts=1, queries=0)


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ood, "auroc_interval", lambda *a, **k: ranking.auroc_interval(*a, **k, resamples=20))


@pytest.fixture(scope="module")
def trained(tiny_yaml: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("committee") / "run"
    runs.train(config.load(tiny_yaml, KEYS), folder)
    return folder


def named(run: runs.Run, name: str, *, norm: str = "linf", radius: float = 0.3) -> runs.Run:
    from dataclasses import replace

    ball = run.config.ball.model_copy(update={"norm": norm, "radius": radius})
    return replace(run, config=run.config.model_copy(update={"name": name, "ball": ball}))


def test_the_papers_figures_are_those_of_its_own_data_and_ball(trained: Path) -> None:
    run = runs.load(trained)
    assert budgets(named(run, "committee-mnist")) == MNIST["linf", 0.3]
    assert budgets(named(run, "committee-mnist", norm="l2", radius=5.0)) == MNIST["l2", 5.0]
    assert all(one.auc is None for one in budgets(run)), "of other data there are none"
    assert all(one.auc is None for one in budgets(named(run, "committee-mnist", radius=0.1)))
    assert [len(one.auc or ()) for one in CIFAR10["linf", 8 / 255]] == [2] * 5


def test_another_ball_takes_steps_in_proportion(trained: Path) -> None:
    found = budgets(named(runs.load(trained), "committee-fashion", radius=0.1))
    assert [(one.steps, round(one.size, 6)) for one in found] == [(200, 0.003333), (2000, 0.001667)]
    far = budgets(named(runs.load(trained), "committee-fashion", norm="l2", radius=1.25))
    assert [(one.steps, one.size) for one in far] == [(200, 0.05), (2000, 0.025)]


def test_every_attack_of_the_scale_is_a_row(trained: Path) -> None:
    run = named(runs.load(trained), "committee-mnist")
    lines: list[str] = []
    figures = gat2020(run, scale=TINY, say=lines.append)
    of_first = [one for one in figures["rows"] if one["class"] == "0"]
    assert [one["attack"] for one in of_first] == [
        "clean", "200 x 0.01, adam", "200 x 0.01, steepest", "worst of independent attacks and ours",
    ]  # fmt: skip
    assert [one["published"] for one in of_first] == [None, 0.99959, 0.99959, None]
    assert [one["published"] for one in figures["rows"] if one["class"] == "1"][1] == 0.99971
    clean = of_first[0]["auroc"]
    assert all(one["auroc"] <= clean for one in of_first[1:])
    assert published.read(run.folder) == figures
    assert len(lines) == 8
    assert lines[1].endswith("published 0.99959")


def test_the_command_trains_and_prints(run_cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SCALES, "quick", TINY)
    keys = ["iterations=5", "data.kind=digits", "data.classes=[0, 1]", "network=mlp", "network_options={hidden: [8]}"]
    for _ in range(2):
        code, out, err = run_cli(
            "reproduce", "gat2020", "committee-fashion", *keys, "--run", tmp_path / "run", "--scale", "quick"
        )
        assert code == 0, err
        assert "200 x 0.003333, adam" in out
        assert "published" in out
    assert "step 5/5" not in err, "the second time the run was there"
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "The attacks of &#34;GAT&#34; (2020)" in page
    assert "AUROC of test images of digits" in page


def test_what_is_no_committee_in_a_ball_is_refused(run_cli: Cli, tiny_run: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected a run of a committee, got one of another detector"):
        gat2020(runs.load(tiny_run))
    code, out, err = run_cli("reproduce", "gat2020", "digits", "--run", tmp_path / "run")
    assert (code, out, err) == (2, "", "genat: gat2020: expected a preset of a committee in a ball, got digits\n")
    code, _, err = run_cli("reproduce", "gat2020", f"data.path={tmp_path}", "--run", tmp_path / "new")
    assert code == 2
    assert "four IDX files" in err


def test_mnist_that_is_absent_says_how_to_get_it(run_cli: Cli, tmp_path: Path) -> None:
    code, out, err = run_cli(
        "reproduce", "gat2020", "committee-mnist", f"data.path={tmp_path}", "--run", tmp_path / "r"
    )
    assert (code, out) == (2, "")
    assert err.startswith(
        f"genat: expected train-images-idx3-ubyte.gz in '{tmp_path}', got no such file: pass the folder"
    )
