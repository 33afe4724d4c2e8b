"""One HTML file that shows a run: pictures, figures, and how they were made."""

from pathlib import Path

from genat import checkpoints, config
from genat.evaluation import benchmark, protocol, published, robustness
from genat.provenance import provenance
from genat.report import benchmarks, sections
from genat.report import robustness as under_attack
from genat.runs import Run

REPORT = "report.html"


def write(run: Run, *, command: str = "genat report") -> Path:
    """Write `report.html` into a run folder, from what the folder holds; nothing in it refers to another file.

    Args:
        run: as `genat.load` gives it.
        command: what a person typed, for the record.

    Returns:
        The report's path.

    Raises:
        ValueError: where a file of the folder cannot be read; one line that names it.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    shown = [sections.generation(run), *sections.edits(run)]
    evaluation = protocol.read(run.folder)
    if evaluation is not None:
        shown += sections.evaluation(run, *evaluation)
    table = benchmark.read(run.folder)
    if table is not None:
        shown += benchmarks.sections(table)
    attacked = robustness.read(run.folder)
    if attacked is not None:
        shown += under_attack.sections(attacked, run.folder / robustness.FOLDER)
    paper = published.read(run.folder)
    if paper is not None:
        shown.append(under_attack.published_section(paper))
    shown.append(sections.training(run))
    environment = Environment(loader=PackageLoader("genat"), autoescape=True, undefined=StrictUndefined)
    html = environment.get_template("report.html").render(
        title=f"{run.config.name}: {run.folder.resolve().name}",
        lead=_lead(run),
        sections=shown,
        provenance=provenance(command) if evaluation is None else evaluation[0]["made"],
        config=config.dump(run.config),
    )
    path = run.folder / REPORT
    checkpoints.write_text(path, html)
    return path


def _lead(run: Run) -> str:
    what = f"A committee of {len(run.classes)} detectors" if run.config.committee else "A detector"
    how = "unconstrained generative" if run.config.ball.radius is None else "generative"
    return f"{what} trained for {run.iteration:,} steps by {how} adversarial training."
