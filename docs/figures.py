"""Write the documentation's figures and tables from results/: nothing between the marks is written by hand.

Usage: make figures (python docs/figures.py). `--check` fails where a file is not what would be written.
"""

import json
import statistics
import sys
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from genat.adapters.tables import CHOSEN_ON, REPORTED, summary
from genat.config import Config
from genat.report import Table, benchmarks, detection_table, robustness
from genat.simulations import table as simulations
from genat.stability import table as stability
from genat.theory.figures import table as theory_table

ROOT = Path(__file__).resolve().parents[1]
DEMO = sorted((ROOT / "results" / "images" / "digits").glob("seed-*.json"))
BENCHMARKS = ROOT / "results" / "benchmarks"
STEP = BENCHMARKS / "step.json"
THEORY = ROOT / "results" / "theory" / "games.json"
TABLES = {"comparison": REPORTED, "choices": CHOSEN_ON}
SIMULATIONS = ROOT / "results" / "simulations"
STABILITY = ROOT / "results" / "stability.json"
OOD = sorted((ROOT / "results" / "ood").glob("*"))
COMMITTEES = sorted((ROOT / "results" / "robustness").glob("*"))
PEERS = {
    "iterations": ("iterations", ",.0f"),
    "passes": ("passes", ",.0f"),
    "accuracy on validation images": ("validation_accuracy", ".3f"),
    "seconds": ("seconds", ",.0f"),
}
"""Columns of the table of trainings, and what they show."""
IMAGES = sorted(path for path in (ROOT / "results" / "images").glob("*") if path.is_dir())


def main() -> None:
    blocks = {"demo": evaluation_block(read(DEMO)), "configuration": configuration_block()}
    blocks |= {"step": step_block(), "together": together_block(), "plan": plan_block()}
    blocks |= {"processes": processes_block(), "passes": passes_block()}
    blocks |= theory_blocks() | simulation_blocks() | stability_blocks() | table_blocks()
    blocks |= {f"ood-{folder.name}": ood_block(read(sorted(folder.glob("seed-*.json")))) for folder in OOD}
    blocks |= {
        f"robustness-{folder.name}": robustness_block(read(sorted(folder.glob("seed-*.json")))) for folder in COMMITTEES
    }
    blocks |= {f"images-{folder.name}": evaluation_block(read(sorted(folder.glob("seed-*.json")))) for folder in IMAGES}
    blocks |= {"results": results_block(""), "front": results_block("docs/")}
    blocks["records"] = records_block()
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


def read(paths: list[Path]) -> list[dict[str, Any]]:
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths]


def evaluation_block(runs: list[dict[str, Any]]) -> str:
    """Return evaluations' figures, mean and standard deviation (ddof 1) over seeds, the interval of the first."""
    first = runs[0]
    close = fidelity_block([run["fidelity"] for run in runs])
    known = all(run["generation"]["classifier_accuracy"] is not None for run in runs)
    generation = [recognition_words([run["generation"] for run in runs]), close] if known else [close]
    rows = []
    for lines in zip(*(zip(run["detection"], run["baseline"], strict=True) for run in runs), strict=True):
        row = lines[0][0]
        cell = detection_table([row], None).rows[0]
        areas, plain = [ours["auroc"] for ours, _ in lines], [theirs["auroc"] for _, theirs in lines]
        doubled = "" if row["doubled"] is None else spread([ours["doubled"] for ours, _ in lines], ".4f")
        rows.append([cell[0], cell[1], cell[2], spread(areas, ".4f"), cell[4], doubled, spread(plain, ".3f")])
    columns = [
        "outside data",
        "attack",
        "n",
        "AUROC",
        "interval, first seed",
        "attack's steps doubled",
        "classifier's energy",
    ]
    notes = (
        f"AUROC of the logit, {over(len(runs))}; in brackets the 95 % bootstrap "
        f"interval of one. Outside data of training: {', '.join(first['outside_of_training'])}. Attacks are the worst "
        "of APGD and our own ascent, image by image, L2 radius in pixels of [0, 1]. The last column is a plain "
        "classifier's energy score under the same attacks."
    )
    return "\n\n".join([*generation, markdown(columns, rows), notes, made(first["made"], seeds=len(runs))])


def recognition_words(made_of: list[dict[str, Any]]) -> str:
    """Return what a classifier recognises in the samples, where it is known how good it is."""
    sure, rarest = (spread([made[name] for made in made_of], ".3f") for name in ("confident", "smallest"))
    told = all("confident_real" in made for made in made_of)
    beside = f", and of {spread([made['confident_real'] for made in made_of], '.3f')} of real ones" if told else ""
    return (
        f"A classifier trained on the real images (accuracy on held-out ones "
        f"{spread([made['classifier_accuracy'] for made in made_of], '.3f')}) is at least "
        f"{made_of[0]['level']:.0%} sure of the class of {sure} of {made_of[0]['n']} samples{beside}; the rarest class "
        f"makes up {rarest} of them."
    )


def fidelity_block(found: list[dict[str, Any]]) -> str:
    """Return how close the samples come to real images, mean and standard deviation (ddof 1) over the seeds."""
    first = found[0]
    sets: dict[str, list[dict[str, Any]]] = {"samples": [one["samples"] for one in found]}
    sets["starts"] = [one["starts"] for one in found]
    if all("gan" in one for one in found):
        sets["GAN"] = [one["gan"]["samples"] for one in found]
    sets["real"] = [one["floor"] for one in found]
    rows = []
    for name in first["samples"]:
        if name == "k":
            continue
        columns = [[value_of(measures[name]) for measures in each] for each in sets.values()]
        share = spread([one["of_starts"][name] for one in found], ".3f") if name in first["distances"] else ""
        rows.append([name, *(spread(values, ".3g") for values in columns), share])
    for space in ("pixels", "features"):
        nearest = [one["memorisation"][space]["ratio"]["value"] for one in found]
        rows.append([f"nearest training image, {space}", spread(nearest, ".2f"), *[""] * len(sets)])
    gan = "GAN is a DCGAN with R1 and spectral normalisation that was trained for as many passes. "
    words = (
        f"{first['n']} images of each column against {first['n']} held-out real ones, on {first['dimension']} "
        f"{first['features']} features, {over(len(found))}. Starts are the outside "
        "images that the ascents began from; real are other held-out images in the samples' place. "
        f"{gan if 'GAN' in sets else ''}The last rows are the mean distance to the nearest training image over that of "
        "held-out images: 0 for copies, 1 for new images."
    )
    return "\n\n".join([markdown(["", *sets, "samples / starts"], rows), words])


def ood_block(found: list[dict[str, Any]]) -> str:
    """Return benchmarks of detection: the means, each ball's families, and the run's attacks one by one."""
    first = found[0]
    tables = [averaged([benchmarks.means_table(one) for one in found], sort=True)]
    tables += [
        averaged([benchmarks.families_table(one, name) for one in found]) for name in benchmarks.budgets(first["rows"])
    ]
    tables.append(averaged([benchmarks.attacks_table(one) for one in found]))
    notes = [
        f"Means over the families that training has not seen, {over(len(found))}.",
        *(f"AUROC, {name}." for name in benchmarks.budgets(first["rows"])),
        "AUROC of this library's detector under each attack alone, the interval of the first training.",
    ]
    parts = [f"{markdown(*table)}\n\n{note}" for table, note in zip(tables, notes, strict=True)]
    peers = [markdown(["classifier", *PEERS], trained(found))] if first["peers"] else []
    record = {key: value for key, value in first["made"].items() if key != "seconds"}  # of the last go
    return "\n\n".join([benchmarks.words(first), *parts, *peers, made(record, seeds=len(found))])


def robustness_block(found: list[dict[str, Any]]) -> str:
    """Return committees under attack: detectors, systems, at equal accuracy, attack by attack, growing balls."""
    first = found[0]
    parts = [
        markdown(*averaged([robustness.detectors_table(one) for one in found])),
        f"AUROC of each detector, {over(len(found))}; the interval of the first training.",
        robustness.words(first),
        markdown(*averaged([robustness.systems_table(one) for one in found])),
        "The error under attack at equal shares of clean images accepted and right:",
        markdown(*averaged([robustness.compared_table(one) for one in found])),
        "Attack by attack, at each system's threshold:",
        markdown(*averaged([robustness.attacks_table(one) for one in found])),
        "The same where nothing is rejected:",
        markdown(*averaged([robustness.attacks_table(one, "each_without_rejection") for one in found])),
        "The committee alone, nothing rejected, as ball and budget grow:",
        markdown(*averaged([robustness.growing_table(one) for one in found])),
        robustness.nearest_words(first),
    ]
    if first["peers"]:
        parts.append(markdown(["classifier", *PEERS], trained(found)))
    return "\n\n".join([*parts, made(first["made"], seeds=len(found))])


def trained(found: list[dict[str, Any]]) -> list[list[str]]:
    """Return a row of figures for each classifier that was trained beside."""
    return [
        [name, *(spread([one["peers"][name][key] for one in found], form) for key, form in PEERS.values())]
        for name in found[0]["peers"]
    ]


def averaged(tables: list[Table], *, sort: bool = False) -> tuple[list[str], list[list[str]]]:
    """Return several tables of one form as one; a column of numbers is averaged, in others the first table's holds."""
    rows = [{row[0]: row[1:] for row in table.rows} for table in tables]
    cells = []
    for name in rows[0]:
        columns = [[one[name][i] for one in rows] for i in range(len(rows[0][name]))]
        cells.append([name, *(together(column) for column in columns)])
    if sort:
        cells.sort(key=lambda row: -float(row[2].split(" ")[0]))
    return list(tables[0].columns), cells


def together(texts: list[str]) -> str:
    """Return numbers' mean and standard deviation in the first's decimals; texts that are equal or none as they are."""
    try:
        values = [float(text) for text in texts]
    except ValueError:
        return texts[0]
    if len(set(texts)) == 1:
        return texts[0]
    return spread(values, f".{len(texts[0].partition('.')[2])}f")


def value_of(figure: float | dict[str, float]) -> float:
    return figure["value"] if isinstance(figure, dict) else figure


def over(trainings: int) -> str:
    return "of one training" if trainings == 1 else f"mean ± standard deviation over {trainings} trainings"


def spread(values: list[float], form: str) -> str:
    if len(values) == 1:
        return f"{values[0]:{form}}"
    return f"{statistics.mean(values):{form}} ± {statistics.stdev(values):{form}}"


def step_block() -> str:
    """Return the table of training steps against the plain loop."""
    results = json.loads(STEP.read_text(encoding="utf-8"))
    rows = []
    for row in results["rows"]:
        memory = row["memory_mb"]
        grown = f"{memory['5']:.1f}, {memory['40']:.1f}"
        rows.append(
            [
                row["case"],
                f"{row['plain_ms']:,.1f}",
                f"{row['ours_ms']:,.1f}",
                ratio_words(row["ours"]),
                ratio_words(row["half"]) if "half" in row else "",
                ratio_words(row["sampling"]),
                f"{row['images_a_second']:,.0f}",
                f"{row['share_of_peak']:.2f}",
                f"{row['share_of_layers']:.2f}",
                grown,
            ]
        )
    columns = [
        "training step",
        "plain loop, ms",
        "genat, ms",
        "ratio",
        "in bfloat16",
        "a climb alone",
        "images a second",
    ]
    columns += ["of the matmul peak", "of its layers", "MB of a climb, K = 5 and 40"]
    return markdown(columns, rows) + "\n\n" + made(results["made"])


def plan_block() -> str:
    """Return the tables of what trainings on many GPUs would cost."""
    results = json.loads((BENCHMARKS / "plan.json").read_text(encoding="utf-8"))
    costs = [
        [
            row["preset"],
            f"{row['gpus']}",
            f"{row['batch']:,}",
            f"{row['tflop']:.1f}",
            f"{row['arithmetic_ms']:.1f}",
            f"{row['sent_mb']:.0f}",
            f"{row['communication_ms']:.1f}",
            f"{row['efficiency']:.2f}",
        ]
        for row in results["rows"]
    ]
    columns = ["preset", "GPUs", "batch", "TFLOP a GPU", "arithmetic, ms", "sent, MB", "sending, ms", "efficiency"]
    memory = [
        [
            row["preset"],
            f"{row['parameters'] / 1e6:.1f}",
            f"{row['weights_mb']:,.0f}",
            f"{row['climb_mb']:,.0f}",
            f"{row['learn_mb']:,.0f}",
            f"{row['largest_batch_80_gb']:,}",
        ]
        for row in results["rows"]
        if row["gpus"] == 1
    ]
    of_memory = [
        "preset",
        "parameters, millions",
        "weights and moments, MB",
        "a climb's maps, MB",
        "the loss's maps, MB",
    ]
    of_memory += ["largest batch in 80 GB"]
    machine = results["machine"]
    assumed = f"Assumed: {machine['name']}; {machine['share']:.0%} of the peak is reached. {made(results['made'])}"
    return "\n\n".join([markdown(columns, costs), markdown(of_memory, memory), assumed])


def processes_block() -> str:
    """Return the table of training steps in two processes."""
    results = json.loads((BENCHMARKS / "processes.json").read_text(encoding="utf-8"))
    rows = [
        [row["case"], f"{row['ms_1']:,.0f}", f"{row['ms_2']:,.0f}", ratio_words(row["ratio"])]
        for row in results["rows"]
    ]
    columns = ["training step", "one process, ms", "two processes, ms", "ratio"]
    return markdown(columns, rows) + "\n\n" + made(results["made"])


def passes_block() -> str:
    """Return the table of what two recipes come to after their passes."""
    results = json.loads((BENCHMARKS / "passes.json").read_text(encoding="utf-8"))
    columns = {
        "passes": ("passes", ",.0f"),
        "kernel distance": ("kernel_distance", ".1f"),
        "Fréchet distance": ("frechet_distance", ".1f"),
        "recognised": ("recognised", ".3f"),
        "AUROC": ("auroc", ".4f"),
        f"under attack, L2 {results['radius']:g}": ("worst_case_auroc", ".4f"),
    }
    rows = []
    for recipe in dict.fromkeys(row["recipe"] for row in results["rows"]):
        found = [row for row in results["rows"] if row["recipe"] == recipe]
        rows.append([recipe, *(spread([row[name] for row in found], form) for name, form in columns.values())])
    return markdown(["recipe", *columns], rows) + "\n\n" + made(results["made"], seeds=len(found))


def ratio_words(found: dict[str, float]) -> str:
    return f"{found['ratio']:.2f}x [{found['low']:.2f}, {found['high']:.2f}]"


def together_block() -> str:
    """Return the sentence on members together, and the table of committees."""
    one = json.loads((BENCHMARKS / "together.json").read_text(encoding="utf-8"))
    several = json.loads((BENCHMARKS / "committee.json").read_text(encoding="utf-8"))
    rows = [
        [
            row["case"],
            f"{row['apart_ms']:,.1f}",
            f"{row['together_ms']:,.1f}",
            f"{row['ratio']:.2f}x [{row['ratio_low']:.2f}, {row['ratio_high']:.2f}]",
            f"{row['apart_share_of_peak']:.2f}, {row['together_share_of_peak']:.2f}",
            f"{row['largest_difference_after_one_step']:.0e}",
        ]
        for row in several["rows"]
    ]
    columns = ["ten detectors", "in turn, ms", "together, ms", "ratio", "of the matmul peak", "apart after a step"]
    seeds = (
        f"Eight seeds of a 2-D perceptron together, {one['together_ms']:.1f} ms a step against {one['apart_ms']:.1f}: "
        f"{one['ratio']:.2f}x [{one['ratio_low']:.2f}, {one['ratio_high']:.2f}]. {made(one['made'])}"
    )
    return "\n\n".join([markdown(columns, rows), made(several["made"]), seeds])


def theory_blocks() -> dict[str, str]:
    figures = json.loads(THEORY.read_text(encoding="utf-8"))
    blocks = {
        f"theory-{name}": markdown(*theory_table(rows)) for name, rows in figures.items() if isinstance(rows, list)
    }
    blocks["theory-games"] += "\n\n" + made(figures["made"])
    return blocks


def simulation_blocks() -> dict[str, str]:
    """Return the tables of the studies that have been run; a study that has not has no block."""
    tables = {"ablation": simulations.ablation_markdown, "failures": simulations.failures_markdown}
    blocks = {}
    for path in sorted(SIMULATIONS.glob("*.json")):
        study = json.loads(path.read_text(encoding="utf-8"))
        table = tables.get(path.stem, simulations.markdown)(study["rows"])
        record = {key: value for key, value in study["made"].items() if key != "wall_seconds"}  # of the last resume
        blocks[f"simulations-{path.stem}"] = f"{table}\n{made(record, seeds=study['seeds'])}"
    return blocks


def stability_blocks() -> dict[str, str]:
    """Return the table of failures on images, none where the study has not been run."""
    if not STABILITY.exists():
        return {}
    study = json.loads(STABILITY.read_text(encoding="utf-8"))
    table = stability.markdown(study["rows"], references=study["references"], n=study["n"])
    record = {key: value for key, value in study["made"].items() if key != "wall_seconds"}  # of the last resume
    return {"stability": f"{table}\n{made(record, seeds=len({cell['seed'] for cell in study['cells']}))}"}


def table_blocks() -> dict[str, str]:
    """Return the comparisons on real tables: AUROC a table and method, and means over the tables."""
    blocks = {}
    for study, names in TABLES.items():
        results = read([ROOT / "results" / "tables" / study / f"{name}.json" for name in names])
        first = results[0]
        rows = [
            [
                f"{one['table']} ({one['columns']})",
                f"{one['fitted']} / {one['inside']} / {one['outside']}",
                *(spread(each["auroc"], ".3f") for each in one["methods"].values()),
            ]
            for one in results
        ]
        means = summary(results)
        for title, key, form in (("mean", "auroc", ".3f"), ("mean rank", "rank", ".2f"), ("seconds", "seconds", ".1f")):
            rows.append([f"**{title}**", "", *(f"{each[key]:{form}}" for each in means.values())])
        table = markdown(["table (columns)", "fitted / inside / outside", *first["methods"]], rows)
        blocks[f"tables-{study}"] = f"{table}\n\n{made(first['made'], seeds=len(first['seeds']))}"
    return blocks


def results_block(place: str) -> str:
    """Return the figures that a reader looks for first, each beside what it should be compared with.

    Args:
        place: of the pages that it links to.
    """
    rows = []
    for folder in IMAGES:
        found = read(sorted(folder.glob("seed-*.json")))
        first, name = found[0]["fidelity"], f"[images]({place}images.md): {folder.name}"
        distance = first["distances"][0]
        of = {"samples": "samples", "starts": "starts", "floor": "real images"}
        values = {
            words: spread([value_of(one["fidelity"][key][distance]) for one in found], ".3g")
            for key, words in of.items()
        }
        if all("gan" in one["fidelity"] for one in found):
            gans = [value_of(one["fidelity"]["gan"]["samples"][distance]) for one in found]
            values["GAN"] = spread(gans, ".3g")
        ours = values.pop("samples")
        rows.append([name, distance, ours, ", ".join(f"{words} {value}" for words, value in values.items())])
    for folder in OOD:
        table = benchmarks.means_table(read(sorted(folder.glob("seed-*.json")))[0])
        scores = {row[0]: row[2] for row in table.rows}
        best = max((name for name in scores if name != "genat"), key=lambda name: float(scores[name]))
        measure = f"{table.columns[2]}, mean over unseen families"
        rows.append([f"[detection]({place}ood.md): {folder.name}", measure, scores["genat"], f"{best} {scores[best]}"])
    for folder in COMMITTEES:
        table = robustness.systems_table(read(sorted(folder.glob("seed-*.json")))[0])
        at = list(table.columns).index("error under attack")
        errors = {row[0]: row[at] for row in table.rows}
        others = sorted((float(error), name) for name, error in errors.items() if name != "committee")
        beside = f"{others[0][1]} {errors[others[0][1]]}" if others else ""
        name = f"[committee]({place}committee.md): {folder.name}"
        rows.append([name, "error under attack", errors["committee"], beside])
    study = json.loads(STABILITY.read_text(encoding="utf-8"))["rows"]
    failed = {row["method"]: f"{row['failures']} of {row['runs']}" for row in study if row["by"] == "all"}
    beside = ", ".join(f"{name} {count}" for name, count in failed.items() if name != "gat")
    rows.append([f"[stability]({place}stability.md): fashion-mnist", "failed trainings", failed["gat"], beside])
    return markdown(["", "what", "genat", "beside"], rows)


def records_block() -> str:
    """Return what made each file of results."""
    rows = []
    for path in sorted((ROOT / "results").rglob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8")).get("made")
        if record is not None:
            where = f"`{path.relative_to(ROOT)}`"
            rows.append([where, f"`{record['made_by']}`", record["commit"], record["date"], record["hardware"]])
    return markdown(["file", "command", "commit", "date", "hardware"], rows)


def made(record: dict[str, Any], *, seeds: int = 1) -> str:
    seconds = f", {record['seconds']} s of evaluation" if "seconds" in record else ""
    seconds += f", {record['wall_seconds']} s in all" if "wall_seconds" in record else ""
    others = "one seed" if seeds == 1 else f"seeds 0 to {seeds - 1}"
    return (
        f"Made by `{record['made_by']}` at commit {record['commit']} on {record['hardware']}, "
        f"{record['threads']} threads, torch {record['torch']}, {record['date']}{seconds}; {others}."
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
            rows.append([f"`{prefix}{name}`", words(field.annotation), f"`{default(field)}`"])
    return rows


def words(kind: object) -> str:
    """Return a type in words: the choices of a literal, null for None."""
    arguments = get_args(kind)
    if get_origin(kind) is Literal:
        return " or ".join(f"`{choice}`" for choice in arguments)
    if get_origin(kind) is Annotated:
        return words(arguments[0])
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(words(argument) for argument in arguments)
    if get_origin(kind) is tuple:
        return f"list of {words(arguments[0])}"
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return f"keys ({', '.join(f'`{name}`' for name in kind.model_fields)})"
    names = {type(None): "null", str: "text", int: "integer", float: "number", bool: "true or false"}
    return names.get(kind, "keys and values")


def default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if isinstance(value, tuple):
        return str([item.kind if hasattr(item, "kind") else item for item in value])
    return value if isinstance(value, str) else json.dumps(value)


if __name__ == "__main__":
    main()
