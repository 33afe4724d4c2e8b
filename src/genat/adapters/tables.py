"""One class of a table against all others, with this library's detector and the usual ones.

`python -m genat.adapters.tables` compares methods; `--choices` compares settings, on other tables.
"""

import argparse
import json
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from scipy.stats import rankdata
from sklearn.preprocessing import StandardScaler

from genat.adapters.sklearn import SupportDetector
from genat.adapters.tabular import Array, Split, read, split
from genat.provenance import provenance
from genat.ranking import auroc

Scores: TypeAlias = Callable[[Array], Array]
"""Of rows, `(N, D) -> (N,)`, high for normal ones."""
Method: TypeAlias = Callable[[Array, int], Scores]
"""Fits rows with a seed."""

REPORTED = (
    *("breast_cancer", "digits", "iris", "wine"),
    *("ionosphere", "letter", "magic", "page-blocks0", "pima", "satimage", "segment", "spambase", "vowel", "wisconsin"),
)
"""The tables of the comparison; they chose no setting."""
CHOSEN_ON = (
    *("australian", "banana", "bupa", "heart", "penbased"),
    *("phoneme", "sonar", "texture", "twonorm", "vehicle"),
)
"""The tables that the settings were chosen on."""
_FIGURE = {"comparison": REPORTED, "choices": CHOSEN_ON}


def _ours(**settings: Any) -> Method:  # noqa: ANN401 - of SupportDetector
    def fit(rows: Array, seed: int) -> Scores:
        return SupportDetector(**settings, random_state=seed).fit(rows).score_samples

    return fit


def _peer(build: Callable[[int], Any], *, high_is_normal: bool = True) -> Method:
    """Return a method that standardises the columns and fits an estimator."""

    def fit(rows: Array, seed: int) -> Scores:
        scaler = StandardScaler().fit(rows)
        estimator = build(seed).fit(scaler.transform(rows))
        if high_is_normal:
            return lambda others: np.asarray(estimator.score_samples(scaler.transform(others)))
        return lambda others: -np.asarray(estimator.decision_function(scaler.transform(others)))

    return fit


def methods() -> dict[str, Method]:
    """Return what is compared: the detector with and without ascents, and peers with their packages' own settings.

    Peers are those whose score is a function of the row. PyOD's ECOD ranks rows among those that are scored with it.

    Raises:
        ImportError: where PyOD is not installed.

    References:
        Isolation Forest (Liu, Ting, Zhou, 2008)
        LOF: Identifying Density-Based Local Outliers (Breunig, Kriegel, Ng, Sander, 2000)
        Estimating the Support of a High-Dimensional Distribution (Schölkopf et al., 2001)
        Efficient Algorithms for Mining Outliers from Large Data Sets (Ramaswamy, Rastogi, Shim, 2000)
    """
    from sklearn.ensemble import IsolationForest
    from sklearn.neighbors import LocalOutlierFactor
    from sklearn.svm import OneClassSVM

    try:
        from pyod.models.knn import KNN
    except ImportError as error:
        raise ImportError("expected PyOD for the comparison, got none: pip install 'pyod>=3,<4'") from error
    return {
        "GAT": _ours(),
        "GAT, no ascents": _ours(steps=0),
        "isolation forest": _peer(lambda seed: IsolationForest(random_state=seed)),
        "LOF": _peer(lambda _: LocalOutlierFactor(novelty=True)),
        "one-class SVM": _peer(lambda _: OneClassSVM()),
        "KNN": _peer(lambda _: KNN(), high_is_normal=False),
    }


def choices() -> dict[str, Method]:
    """Return the settings that are compared: outside data, ascents and penalty, one changed at a time."""
    return {
        "as it is": _ours(),
        "outside: box": _ours(outside="box"),
        "outside: shuffled": _ours(outside="shuffled"),
        "outside: mixed": _ours(outside="mixed"),
        "no ascents": _ours(steps=0),
        "no gradient penalty": _ours(r1=0.0),
    }


def measure(parts: Split, method: Method, *, seed: int) -> dict[str, float]:
    """Return the AUROC of a method on a split, and the processor's seconds that it took.

    Example:
        >>> parts = Split("a", np.zeros((4, 1)), np.zeros((2, 1)), np.ones((2, 1)))
        >>> measure(parts, lambda rows, seed: lambda others: -abs(others[:, 0] - rows.mean()), seed=0)["auroc"]
        1.0
    """
    began = time.process_time()
    score = method(parts.fitted, seed)
    inside, outside = (torch.from_numpy(np.asarray(score(rows))) for rows in (parts.inside, parts.outside))
    return {"auroc": auroc(inside, outside), "seconds": time.process_time() - began}


def compare(
    names: Sequence[str],
    candidates: Mapping[str, Method],
    *,
    seeds: Sequence[int],
    output: Path,
    command: str,
    say: Callable[[str], None],
) -> list[dict[str, Any]]:
    """Measure every candidate on every table and seed, a file a table; a file that is there is read and not made again.

    Args:
        names: of the tables.
        candidates: by name.
        seeds: of the splits and of the candidates.
        output: the folder.
        command: for the record.
        say: called with a line a table.

    Returns:
        What the files hold.

    Raises:
        ValueError: where a table is unknown, or a file holds other candidates or seeds.
    """
    found = []
    for name in names:
        path = output / f"{name}.json"
        if path.exists():
            result = json.loads(path.read_text(encoding="utf-8"))
            if result["seeds"] != list(seeds) or list(result["methods"]) != list(candidates):
                raise ValueError(f"{path}: expected the methods and seeds of this run, got others: name another folder")
        else:
            result = _table(name, candidates, seeds=seeds, command=command)
            output.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_suffix(".unfinished")
            unfinished.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            unfinished.replace(path)
        means = {method: statistics.fmean(each["auroc"]) for method, each in result["methods"].items()}
        say(f"{name:14s} " + "  ".join(f"{method} {mean:.3f}" for method, mean in means.items()))
        found.append(result)
    return found


def _table(name: str, candidates: Mapping[str, Method], *, seeds: Sequence[int], command: str) -> dict[str, Any]:
    table, record = read(name), provenance(command)
    splits = {seed: split(table, seed=seed) for seed in seeds}
    first = splits[seeds[0]]
    rows = {method: [measure(splits[seed], fit, seed=seed) for seed in seeds] for method, fit in candidates.items()}
    return {
        "made": record,
        "table": name,
        "columns": table.values.shape[1],
        "normal": first.normal,
        "fitted": len(first.fitted),
        "inside": len(first.inside),
        "outside": len(first.outside),
        "seeds": list(seeds),
        "methods": {
            method: {key: [row[key] for row in each] for key in ("auroc", "seconds")} for method, each in rows.items()
        },
    }


def summary(results: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Return each method's mean AUROC, mean rank (1 is best) and mean seconds over tables, of means over seeds.

    Example:
        >>> one = {"methods": {"a": {"auroc": [0.9], "seconds": [2.0]}, "b": {"auroc": [0.8], "seconds": [1.0]}}}
        >>> two = {"methods": {"a": {"auroc": [0.7], "seconds": [2.0]}, "b": {"auroc": [0.7], "seconds": [1.0]}}}
        >>> summary([one, two])["a"]
        {'auroc': 0.8, 'rank': 1.25, 'seconds': 2.0}
    """
    areas = np.array([[statistics.fmean(each["auroc"]) for each in one["methods"].values()] for one in results])
    seconds = np.array([[statistics.fmean(each["seconds"]) for each in one["methods"].values()] for one in results])
    ranks = np.stack([rankdata(-row) for row in areas])
    return {
        name: {
            "auroc": round(float(areas[:, i].mean()), 6),
            "rank": round(float(ranks[:, i].mean()), 6),
            "seconds": round(float(seconds[:, i].mean()), 6),
        }
        for i, name in enumerate(results[0]["methods"])
    }


def main() -> None:
    """Compare on all tables or the named ones, and print means over them."""
    parser = argparse.ArgumentParser(prog="python -m genat.adapters.tables", description=__doc__)
    parser.add_argument("tables", nargs="*", help="names; all of the study by default")
    parser.add_argument("--choices", action="store_true", help="compare settings, on the tables that chose them")
    parser.add_argument("--seeds", type=int, default=3, help="how many splits, from seed 0")
    parser.add_argument("--output", type=Path, default=Path("results/tables"), help="a folder for the numbers")
    arguments = parser.parse_args()
    study = "choices" if arguments.choices else "comparison"
    torch.set_num_threads(1)
    try:
        if arguments.seeds < 1:
            raise ValueError(f"expected seeds to be at least 1, got {arguments.seeds}")
        results = compare(
            arguments.tables or _FIGURE[study],
            choices() if arguments.choices else methods(),
            seeds=range(arguments.seeds),
            output=arguments.output / study,
            command=shlex.join(["python", "-m", "genat.adapters.tables", *sys.argv[1:]]),
            say=lambda line: print(line, flush=True),  # noqa: T201
        )
    except (ValueError, ImportError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    for name, means in summary(results).items():
        line = f"mean AUROC {means['auroc']:.3f}  mean rank {means['rank']:.2f}  {means['seconds']:.1f} s"
        print(f"{name:20s} {line}")  # noqa: T201


if __name__ == "__main__":
    main()
