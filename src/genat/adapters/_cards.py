"""What a model card says, written from a run."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from genat.config import Config
from genat.detection import Calibration
from genat.runs import Run

_TAGS = ("genat", "generative-adversarial-training", "energy-based-model", "out-of-distribution-detection")
_EVALUATION, _BENCHMARK = "evaluation/figures.json", "ood/table.json"


def of_run(run: Run, told: Mapping[str, Any]) -> str:
    """Return the model card of a run: data, recipe, figures, limits, and the command to repeat it.

    Args:
        run: the figures are those in its folder.
        told: what `config.json` holds.

    Raises:
        ValueError: where a file of figures cannot be read.
    """
    figures = _figures(run)
    parts = [
        _head(told, run.calibration),
        f"## Data\n\n{_data(run)}",
        f"## Recipe\n\n{_recipe(run)}",
        f"## Figures\n\n{figures}",
        _limits(told, run.calibration, measured=figures != _NOT_MEASURED),
        f"## Repeat it\n\n{_repeat(run.config)}",
    ]
    return "\n\n".join(parts) + "\n"


def of_module(told: Mapping[str, Any], calibration: Calibration | None) -> str:
    """Return the model card of a detector of which no more is known than how it is built."""
    parts = [
        _head(told, calibration),
        "## Data, recipe, figures\n\nThe card was written from a module alone: what it was trained on, and how, and "
        "what it is good for, has to be filled in here by whoever knows.",
        _limits(told, calibration, measured=False),
    ]
    return "\n\n".join(parts) + "\n"


def recipe(config: Config) -> str:
    """Return a configuration as YAML that `genat train` takes, its paths cut to their last names.

    Example:
        >>> print(recipe(Config())[:12])
        name: custom
    """
    content = config.model_dump(mode="json")
    for part in (content, content["data"], *content["outside"]):
        for key in ("path", "init"):
            if part.get(key) is not None:
                part[key] = Path(part[key]).name
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def _head(told: Mapping[str, Any], calibration: Calibration | None) -> str:
    front = yaml.safe_dump({"library_name": "genat", "tags": list(_TAGS)}, sort_keys=False)
    shape = ", ".join(map(str, told["shape"]))
    box = "any values" if told["box"] is None else "values in [{:g}, {:g}]".format(*told["box"])
    what = {
        "detector": "A detector: a network whose logit is high in distribution.",
        "joint": "A network of a logit a class; their log-sum-exp is the detector's logit, high in distribution.",
        "committee": "A committee of detectors, one a class; its logit is the largest of theirs, high in distribution.",
    }[told["kind"]]
    lines = [
        what,
        f"Network `{told['network']}`, inputs `(N, {shape})` of {box}"
        + (f", classes {', '.join(told['classes'])}." if told["classes"] else "."),
        f"Written by genat {told['genat']}; SHA-256 of the weights `{told['digest']}`.",
    ]
    use = [
        "from genat.adapters.hub import from_pretrained",
        'model = from_pretrained("FOLDER OR OWNER/NAME")',
        "logits = model.detector(x)",
        *(["model.predict(x)  # score, p-value, verdict"] if calibration is not None else []),
    ]
    return f"---\n{front}---\n\n# {told['name']}\n\n" + " ".join(lines) + "\n\n```python\n" + "\n".join(use) + "\n```"


def _data(run: Run) -> str:
    data = run.config.data
    kept = "" if data.classes is None else f", of the classes {', '.join(map(str, data.classes))}"
    where = "" if data.path is None else f" `{Path(data.path).name}`"
    parts = [
        f"{part.kind}" + ("" if part.path is None else f" `{Path(part.path).name}`") + f" (weight {part.weight:g})"
        for part in run.config.outside
    ]
    return (
        f"Learned as in distribution: {data.kind}{where}, split {data.split}{kept}; {data.validation:.0%} held out for "
        f"the threshold and the p-values. Ascents began from outside data: {', '.join(parts)}."
    )


def _recipe(run: Run) -> str:
    config, ball = run.config, run.config.ball
    where = "without a ball" if ball.radius is None else f"in an {ball.norm} ball of radius {ball.radius:g}"
    size = config.step_size if isinstance(config.step_size, float) else "{:g} to {:g}".format(*config.step_size)
    return (
        f"Generative adversarial training, {run.iteration:,} iterations of {config.batch_size} samples: outside data "
        f"climbs the logit by up to {config.steps.last} steps of {size} ({config.rule}, {where}), and the detector "
        f"learns to tell where it arrives from the target. Seed {config.seed}. Every setting is in `recipe.yaml`."
    )


def _limits(told: Mapping[str, Any], calibration: Calibration | None, *, measured: bool) -> str:
    limits = [
        "The logit is no log-likelihood: it ranks inputs, and its differences are not densities' ratios beyond what "
        "ascent reached in training.",
        "It was measured on the families of outside data above and on no others."
        if measured
        else "Nothing was measured: neither how well it detects nor what it generates.",
        "No threshold comes with it."
        if calibration is None
        else f"p-values and the threshold hold for data like the {len(calibration.logits)} held-out inputs; inputs "
        "resized, compressed or coloured in another way are other data.",
        "What the data lacks or distorts, the detector does too.",
    ]
    if told["box"] is not None:
        limits.insert(1, "Inputs outside their range were never seen, and are not refused by the network itself.")
    return "## Limits\n\n" + "\n".join(f"- {line}" for line in limits)


def _repeat(config: Config) -> str:
    paths = [path for path in (config.data.path, *(part.path for part in config.outside)) if path is not None]
    command = f"```sh\npip install genat\ngenat train recipe.yaml --run runs/{config.name}\n```"
    if not paths and config.init is None:
        return command
    note = "First write into `recipe.yaml` where your copy of the data is, in place of the names at `path` and `init`."
    return f"{command}\n\n{note}"


_NOT_MEASURED = (
    "The run was not evaluated: `genat evaluate RUN` measures it, and saving it again writes the figures here."
)


def _figures(run: Run) -> str:
    parts: list[str] = []
    for name, words in ((_EVALUATION, _evaluated), (_BENCHMARK, _compared)):
        path = run.folder / name
        if not path.exists():
            continue
        try:
            parts += words(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path}: expected figures of an evaluation, got a file that cannot be read: {error!r}"
            ) from None
    return "\n\n".join(parts) or _NOT_MEASURED


def _evaluated(figures: Mapping[str, Any]) -> list[str]:
    """Return what `genat evaluate` measured."""
    parts = []
    if "generation" in figures:
        made = figures["generation"]
        parts.append(
            f"Generation: a classifier of real images is at least {made['level']:.0%} sure of the class of "
            f"{made['confident']:.1%} of {made['n']} samples; their rarest class makes up {made['smallest']:.1%}."
        )
    if "fidelity" in figures:
        found = figures["fidelity"]
        rows = [
            [measure, *(_number(found[column][measure]) for column in ("samples", "floor"))]
            for measure in (*found["distances"], "precision", "recall", "density", "coverage")
        ]
        parts.append(
            f"Samples against {found['n']} held-out real images, by {found['features']} features, beside other real "
            "images:\n\n" + _table(["", "samples", "real"], rows)
        )
    rows = [
        [
            row["family"] + (" (seen in training)" if row["seen"] else ""),
            "clean" if row["radius"] is None else f"{(row['norm'] or 'L2').upper()} {row['radius']:g}",
            f"{row['n_inside']} / {row['n_outside']}",
            f"{row['auroc']:.4f}",
            f"[{row['low']:.4f}, {row['high']:.4f}]",
            f"{row['fpr95']:.3f}",
        ]
        for row in figures["detection"]
    ]
    columns = ["outside data", "attack", "n inside / outside", "AUROC", "95 % interval", "FPR at 95 % TPR"]
    parts.append(f"Detection, against {figures['inside']['name']}:\n\n{_table(columns, rows)}")
    parts.append(_made(figures["made"]))
    return parts


def _compared(figures: Mapping[str, Any]) -> list[str]:
    """Return what `genat evaluate RUN ood` measured, the mean over the families."""
    rows = [
        [
            row["score"],
            "clean" if row["radius"] is None else f"{row['norm'].upper()} {row['radius']:g}",
            f"{row['auroc']:.4f}",
            f"{row['fpr95']:.3f}",
        ]
        for row in figures["means"]
    ]
    columns = ["score", "attack", "mean AUROC", "mean FPR at 95 % TPR"]
    return [f"Beside other scores on the same data:\n\n{_table(columns, rows)}", _made(figures["made"])]


def _made(made: Mapping[str, Any]) -> str:
    return f"Measured on {made['date']} by genat {made['genat']} (commit {made['commit']}), torch {made['torch']}."


def _number(value: float | Mapping[str, float]) -> str:
    if isinstance(value, Mapping):
        return f"{value['value']:.3g} ± {value['error']:.2g}"
    return f"{value:.3f}"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)
