"""The command that turns a run into files for others: ONNX, or a folder of the Hugging Face hub."""

import json
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genat.cli.arguments import Json, RunFolder, StepSize

if TYPE_CHECKING:
    from genat.runs import Run


class Form(StrEnum):
    """What a run is turned into."""

    onnx = "onnx"
    hub = "hub"


class Rule(StrEnum):
    """The direction of a step, see `genat.ascend`."""

    steepest = "steepest"
    normalized = "normalized"
    sign = "sign"
    adam = "adam"


def export(
    run: RunFolder,
    *,
    to: Annotated[
        Form, typer.Option(help="onnx: logit.onnx and step.onnx; hub: a Hugging Face folder with a model card.")
    ],
    output: Annotated[Path, typer.Option(help="The folder to write into.")],
    rule: Annotated[Rule | None, typer.Option(help="Of the ONNX step; how the run generates by default.")] = None,
    step_size: StepSize = None,
    of_class: Annotated[
        str | None,
        typer.Option("--class", metavar="CLASS", help="With onnx, of a run of classes: one's detector alone."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a run as ONNX files, checked against its detector, or as a folder for the Hugging Face hub."""
    if output.exists() and not output.is_dir():
        raise ValueError(f"expected a folder for --output, got {str(output)!r}, which is a file")
    if to == Form.hub:
        for name, value in (("--rule", rule), ("--step-size", step_size), ("--class", of_class)):
            if value is not None:
                raise ValueError(f"expected {name} with --to onnx, got --to hub")
    from genat import runs

    loaded = runs.load(run)
    files = _to_hub(loaded, output) if to == Form.hub else _to_onnx(_one(loaded, of_class), output, rule, step_size)
    if as_json:
        typer.echo(json.dumps({"files": files}))
        return
    for file in files:
        typer.echo(f"{file['path']}  {file['bytes']:,} bytes" + _words(file))


def _to_hub(run: "Run", output: Path) -> list[dict[str, Any]]:
    from genat.adapters.hub import save_pretrained

    return [{"path": str(path), "bytes": path.stat().st_size} for path in save_pretrained(run, output)]


def _to_onnx(run: "Run", output: Path, rule: Rule | None, step_size: float | None) -> list[dict[str, Any]]:
    from genat.adapters.onnx import export_ascent_step, export_logit

    logit = export_logit(run, output / "logit.onnx")
    way: Any = None if rule is None else rule.value  # one of its literals, which mypy does not see
    step = export_ascent_step(run, output / "step.onnx", rule=way, step_size=step_size)
    return [
        {
            "path": str(one.path),
            "bytes": one.size,
            "difference": one.difference,
            "samples": one.samples,
            "undecided": one.undecided,
        }
        for one in (logit, step)
    ]


def _one(run: "Run", of_class: str | None) -> "Run":
    """Return the run of one class alone, without the calibration, which is that of all together."""
    if of_class is None:
        return run
    index = run.class_index(int(of_class) if of_class.isdecimal() and of_class not in run.classes else of_class)
    name = f"{run.config.name}: {run.classes[index]}"
    named = run.config.model_copy(update={"name": name})
    return replace(run, detector=run.of_class(index), config=named, classes=(), calibration=None)


def _words(file: dict[str, Any]) -> str:
    if "difference" not in file:
        return ""
    words = f"  max difference {file['difference']:.1e} on {file['samples']} inputs"
    return words + (f", but for {file['undecided']:.2g} of entries that rounding decides" if file["undecided"] else "")
