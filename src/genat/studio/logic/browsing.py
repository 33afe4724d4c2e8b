"""What there is to see of a run: facts, configuration, curves, samples."""

from genat import config, plots, report, runs
from genat.report.results import SAMPLES
from genat.sources import decoding
from genat.studio.logic import markup
from genat.studio.logic.opened import Opened


def facts(opened: Opened) -> str:
    """Return a run's facts as a table: HTML."""
    run = opened.run
    known = run.calibration
    outside = ", ".join(part.kind for part in run.config.outside)
    radius = "unconstrained" if run.config.ball.radius is None else f"radius {run.config.ball.radius:g}"
    own = run.climbing()
    verdicts = "none: the training has not ended"
    if known is not None:
        verdicts = f"logit of at least {known.threshold:.4f}, by {len(known.logits)} held-out images"
    rows = [
        ("folder", str(run.folder)),
        ("target", run.config.data.kind),
        ("outside data", outside),
        ("images", " x ".join(str(side) for side in run.shape)),
        ("network", f"{run.config.network}, {sum(p.numel() for p in run.detector.parameters()):,} parameters"),
        ("classes", ", ".join(run.classes) or "none: a detector alone"),
        ("ball", f"{run.config.ball.norm}, {radius}"),
        ("trained", f"{run.iteration:,} steps"),
        ("in distribution", verdicts),
        ("climbs", f"{own['steps']} steps of {own['step_size']:g}"),
        ("weights, SHA-256", run.digest),
    ]
    return markup.table(("of the run", opened.name), rows, caption="What was trained on what")


def configuration(opened: Opened) -> str:
    """Return a run's configuration as YAML, to read and to save: HTML."""
    text = config.dump(opened.run.config)
    link = markup.download(text.encode(), markup.TEXT, "config.yaml", "Configuration (YAML)")
    return f'<div class="takes">{link}</div><pre tabindex="0">{markup.escape(text)}</pre>'


def curves(opened: Opened) -> str:
    """Return a run's training curves: HTML; one line where it has none that can be read."""
    try:
        records = runs.metrics(opened.run.folder)
        drawn = plots.curves(records)
    except (OSError, ValueError, KeyError, TypeError):
        return "<p>No training curves: the folder has no metrics.jsonl that can be read.</p>"
    first, last = records[0], records[-1]
    words = (
        f"training curves over {last['iteration']:,} steps: loss from {first['loss']:.3f} to {last['loss']:.3f}, "
        f"adversarial AUROC {last['auroc']:.3f} at the end, {last['steps']} ascent steps"
    )
    return markup.figure(markup.image(drawn, words), words)


def samples(opened: Opened) -> str:
    """Return a run's grid of samples: HTML; one line where it has none that can be read."""
    grid = opened.run.folder / SAMPLES / "grid.png"
    if not grid.is_file():
        return "<p>No samples yet: make them with <code>genat sample</code>, or climb from a seed.</p>"
    try:
        decoding.read(grid, name="samples/grid.png")
    except ValueError as error:
        return f"<p>{markup.escape(str(error))}</p>"
    return markup.figure(markup.image(grid.read_bytes(), f"samples of {opened.name}"), "samples, one a seed")


def report_of(opened: Opened, address: str) -> str:
    """Return links to read a run's report and to save it: HTML; one line where there is none."""
    if not (opened.run.folder / report.REPORT).is_file():
        return "<p>No report yet: <code>genat report</code> writes one.</p>"
    where = markup.escape(address)
    return (
        f'<div class="takes"><a class="take" href="{where}" target="_blank" rel="noopener">Report (a new tab)</a>'
        f'<a class="take" href="{where}" download="report.html">Report (HTML)</a></div>'
    )
