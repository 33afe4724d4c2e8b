"""Write the documentation's figures and tables from results/: nothing between the marks is written by hand.

Usage: make figures (python docs/figures.py). `--check` fails where a file is not what would be written.
"""

import json
import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from genat.config import Config
from genat.report import detection_table, recognition

ROOT = Path(__file__).resolve().parents[1]
DEMO = ROOT / "results" / "demo" / "figures.json"
STEP = ROOT / "results" / "benchmarks" / "step.json"


def main() -> None:
    figures = json.loads(DEMO.read_text(encoding="utf-8"))
    blocks = {"demo": demo_block(figures), "configuration": configuration_block(), "step": step_block()}
    stale = [
        path
        for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
        if write(path, blocks, check="--check" in sys.argv)
    ]
    if stale:
        sys.exit(f"not up to date, run make figures: {', '.join(str(path.relative_to(ROOT)) for path in stale)}")


def write(path: Path, blocks: dict[str, str], *, check: bool) -> bool:
    """Put each block between its marks; return whether a check found the file out of date."""
    before = after = path.read_text(encoding="utf-8")
    for name, block in blocks.items():
        start, end = f"<!-- {name}: written by make figures -->", f"<!-- end of {name} -->"
        if start in after:
            head, _, rest = after.partition(start)
            _, _, tail = rest.partition(end)
            after = f"{head}{start}\n{block}\n{end}{tail}"
    if after != before and not check:
        path.write_text(after, encoding="utf-8")
    return check and after != before


def markdown(columns: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def demo_block(figures: dict[str, Any]) -> str:
    table = detection_table(figures["detection"], figures["baseline"])
    training = figures["outside_of_training"]
    return "\n\n".join(
        [
            recognition(figures["generation"]),
            markdown(list(table.columns), [list(row) for row in table.rows]),
            f"AUROC of the logit; outside data of training: {', '.join(training)}. Attacks are the worst of APGD and "
            "our own ascent, image by image, L2 radius in pixels of [0, 1]; *doubled* has twice their steps. In "
            "brackets: 95 % bootstrap interval.",
            made(figures["made"]),
        ]
    )


def step_block() -> str:
    results = json.loads(STEP.read_text(encoding="utf-8"))
    rows = [
        [
            row["case"],
            f"{row['ours_ms']:.1f}",
            f"{row['plain_ms']:.1f}",
            f"{row['ratio']:.2f}x [{row['ratio_low']:.2f}, {row['ratio_high']:.2f}]",
        ]
        for row in results["rows"]
    ]
    return markdown(["training step", "ms", "plain loop, ms", "ratio"], rows) + "\n\n" + made(results["made"])


def made(record: dict[str, Any]) -> str:
    seconds = f", {record['seconds']} s" if "seconds" in record else ""
    return (
        f"Made by `{record['made_by']}` at commit {record['commit']} on {record['hardware']}, "
        f"{record['threads']} threads, torch {record['torch']}, {record['date']}{seconds}; one seed."
    )


def configuration_block() -> str:
    return markdown(["key", "type", "default"], keys(Config, ""))


def keys(section: type[BaseModel], prefix: str) -> list[list[str]]:
    rows: list[list[str]] = []
    for name, field in section.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            rows += keys(kind, f"{prefix}{name}.")
        else:
            rows.append([f"`{prefix}{name}`", words(field), f"`{default(field)}`"])
    return rows


def words(field: FieldInfo) -> str:
    text = str(field.annotation) if not isinstance(field.annotation, type) else field.annotation.__name__
    for noise in ("typing.", "genat.config.", "annotated_types.", "collections.abc."):
        text = text.replace(noise, "")
    return "`" + text.replace("|", "or") + "`"


def default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if isinstance(value, tuple):
        return str([item.kind if hasattr(item, "kind") else item for item in value])
    return "null" if value is None else str(value)


if __name__ == "__main__":
    main()
