"""What is public, what it costs to import, and what may import what."""

import ast
import inspect
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import genat

PACKAGE = Path(genat.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))

# Nothing imports from a later row: sources -> ascent -> objectives -> training -> a detector on disk -> generation
# and detection -> evaluation -> report -> the command line.
ROWS = (
    ("balls", "curriculum", "ranking", "checkpoints", "locks", "provenance"),
    ("arguments", "ascent", "sources"),
    ("objectives", "networks", "recipe", "config", "plots"),
    ("training", "generation", "detection", "decisions", "theory"),
    ("assemble", "progress", "adversaries", "baselines"),
    ("runs", "adapters"),
    ("shipped",),
    ("evaluation",),
    ("simulations",),
    ("stability",),
    ("report",),
    ("demo", "doctor", "studio"),
    ("cli",),
    ("__main__",),
)
RANK = {name: rank for rank, row in enumerate(ROWS) for name in row}
# within a row, the order of the way through the house
ORDER = (
    "balls",
    "arguments",
    "ascent",
    "objectives",
    "curriculum",
    "training",
    "generation",
    "detection",
    "evaluation",
    "report",
    "cli",
)


def run(code: str) -> str:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def shown(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


# names


@pytest.mark.parametrize("name", genat.__all__)
def test_every_public_name_resolves_and_is_documented(name: str) -> None:
    value = getattr(genat, name)
    text = inspect.getdoc(value)
    assert text
    assert text.splitlines()[0].endswith((".", ":")) or isinstance(value, ModuleType)
    assert vars(genat)[name] is value  # looked up once


# what is returned or raised is shown by the verb that does so
SHOWN_BY = {"Climb": "climb", "Run": "load", "DivergenceError": "fit"}
VERBS_AND_VALUES = [name for name in genat.__all__ if not isinstance(getattr(genat, name), ModuleType)]


@pytest.mark.parametrize("name", VERBS_AND_VALUES)
def test_every_public_name_shows_an_example(name: str) -> None:
    text = inspect.getdoc(getattr(genat, SHOWN_BY.get(name, name))) or ""
    assert "Example:" in text
    assert ">>> " in text


def test_dir_is_what_is_public() -> None:
    assert dir(genat) == sorted(genat.__all__)
    assert len(set(genat.__all__)) == len(genat.__all__)


def test_what_is_not_there_is_said_so() -> None:
    with pytest.raises(AttributeError, match="module 'genat' has no attribute 'fti'"):
        genat.fti  # noqa: B018
    assert not hasattr(genat, "__wrapped__")


def test_everything_can_be_imported_by_star() -> None:
    names: dict[str, object] = {}
    exec("from genat import *", names)
    assert set(genat.__all__) <= set(names)


def test_type_checkers_see_the_same_names() -> None:
    blocks = [node for node in parsed(PACKAGE / "__init__.py").body if isinstance(node, ast.If)]
    imports = [node for block in blocks for node in block.body if isinstance(node, ast.ImportFrom)]
    assert sorted(alias.asname or "" for node in imports for alias in node.names) == genat.__all__


# cost


@pytest.mark.parametrize(
    "code",
    [
        "import genat; dir(genat)",
        "import genat.cli",
        "import sys; from genat.cli import app; from typer.testing import CliRunner;"
        "done = CliRunner().invoke(app, ['--help']); assert done.exit_code == 0, done.output",
        "import sys; from genat.cli import app; from typer.testing import CliRunner;"
        "done = CliRunner().invoke(app, ['train', '--help']); assert done.exit_code == 0, done.output",
    ],
    ids=["import genat", "import genat.cli", "genat --help", "genat train --help"],
)
def test_heavy_libraries_wait_until_they_are_needed(code: str) -> None:
    heavy = {"torch", "numpy", "sklearn", "scipy", "matplotlib", "PIL", "lightning_fabric", "datasets", "fastapi"}
    loaded = run(f"{code}; import sys; print(*sys.modules)").split()
    assert heavy & set(loaded) == set()


def test_importing_the_training_waits_for_what_it_may_not_need() -> None:
    heavy = {"sklearn", "scipy", "matplotlib", "lightning_fabric", "datasets", "tensorboard"}
    assert heavy & set(run("import genat.runs, sys; print(*sys.modules)").split()) == set()


def test_python_m_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "genat", "presets", "nothing"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("genat: nothing: expected a preset")
    assert done.stderr.count("\n") == 1


# form


@pytest.mark.parametrize("path", MODULES, ids=shown)
def test_modules_are_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 420


def code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    body = function.body[1:] if ast.get_docstring(function, clean=False) is not None else function.body
    if not body:
        return 0
    return (function.end_lineno or 0) - (body[0].lineno - 1)


@pytest.mark.parametrize("path", MODULES, ids=shown)
def test_functions_are_short(path: Path) -> None:
    functions = (node for node in ast.walk(parsed(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    assert [function.name for function in functions if code_lines(function) > 60] == []


def imports(path: Path) -> Iterator[str]:
    """The modules of the package that one of it imports, wherever in it and for whatever reason."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[1] for alias in node.names if alias.name.startswith("genat."))
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "expected absolute imports"
            if node.module == "genat":
                yield from (alias.name for alias in node.names)
            elif node.module and node.module.startswith("genat."):
                yield node.module.split(".")[1]


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", [path for path in MODULES if path != PACKAGE / "__init__.py"], ids=shown)
def test_nothing_points_backwards(path: Path) -> None:
    here = room(path)
    for there in imports(path):
        assert there == here or RANK[there] <= RANK[here], f"{here} imports {there}"
        if there != here and {here, there} <= set(ORDER):
            assert ORDER.index(there) < ORDER.index(here), f"{here} imports {there}"


def test_the_rooms_have_no_cycle() -> None:
    follows: dict[str, set[str]] = {}
    for path in MODULES:
        if path != PACKAGE / "__init__.py":
            follows.setdefault(room(path), set()).update(set(imports(path)) - {room(path)})
    while follows:
        free = {name for name, needs in follows.items() if not needs & set(follows)}
        assert free, f"a cycle among {sorted(follows)}"
        follows = {name: needs for name, needs in follows.items() if name not in free}


def test_chance_comes_from_generators_alone() -> None:
    allowed = {"default_generator"}  # seeded inside fork_rng, for layers that know no generator
    for path in MODULES:
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Attribute) and node.attr == "manual_seed":
                owner = node.value
                names = {part.attr for part in ast.walk(owner) if isinstance(part, ast.Attribute)}
                names |= {part.id for part in ast.walk(owner) if isinstance(part, ast.Name)}
                assert names & (allowed | {"Generator", "default_generators"}), f"{shown(path)}:{node.lineno}"


# the smaller modules


def test_the_doctor_finds_what_is_there_and_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib import metadata

    from genat import doctor

    def version(name: str) -> str:
        if name == "datasets":
            raise metadata.PackageNotFoundError(name)
        return metadata.version(name)

    monkeypatch.setattr(doctor, "version", version)
    found = {finding.name: finding for finding in doctor.examine()}
    assert found["torch"].there
    assert not found["datasets"].there
    assert "pip install 'genat[data]'" in found["datasets"].detail
    assert all("\n" not in finding.detail for finding in found.values())


def test_provenance_can_be_written_as_json() -> None:
    import json

    from genat.provenance import provenance

    record = provenance("genat train digits")
    assert json.loads(json.dumps(record)) == record
    assert record["made_by"] == "genat train digits"
    assert all(record.values())


def test_outside_a_checkout_or_without_git_the_commit_is_unknown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from genat import provenance

    def no_git(*_: object, **__: object) -> None:
        raise FileNotFoundError("git")

    monkeypatch.setattr(subprocess, "run", no_git)
    assert provenance._commit() == "unknown"
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "lib" / "genat" / "provenance.py"))
    assert provenance._commit() == "unknown"


def test_progress_speaks_in_lines_where_there_is_no_terminal() -> None:
    import io

    from rich.console import Console

    from genat.progress import TrainingProgress
    from genat.training import Step

    stream = io.StringIO()
    with TrainingProgress(iterations=3, batch_size=10, console=Console(file=stream, width=200)) as progress:
        for i in (1, 2, 3):
            progress(Step(i, 0.5, 0.75, i, 0.0, 0.0, 1.0, 1.0, 0.1))
    assert stream.getvalue() == "step 3/3  100 images/s  AUROC 0.750  ascent steps 3  0 s left\n"


def test_progress_is_a_bar_on_a_terminal() -> None:
    import io

    from rich.console import Console

    from genat.progress import TrainingProgress
    from genat.training import Step

    stream = io.StringIO()
    console = Console(file=stream, width=120, force_terminal=True)
    with TrainingProgress(iterations=2, batch_size=10, console=console) as progress:
        for i in (1, 2):
            progress(Step(i, 0.5, 1.0, 4, 0.0, 0.0, 1.0, 1.0, 0.1))
    assert "2/2" in stream.getvalue()
    assert "ascent steps 4" in stream.getvalue()
