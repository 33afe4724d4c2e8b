"""Scripts by which a shell completes commands, options, choices and presets."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from genat import config

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def script(run_cli: Cli, tmp_path: Path) -> Callable[[str], Path]:
    def write(shell: str) -> Path:
        code, out, err = run_cli("completion", shell)
        assert (code, err) == (0, "")
        path = tmp_path / f"genat.{shell}"
        path.write_text(out, encoding="utf-8")
        return path

    return write


def typed(path: Path, *words: str) -> list[str]:
    """Return what bash offers at the end of these words."""
    line = " ".join(f"'{word}'" for word in words)
    code = (
        f"source {path}; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _genat; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    )
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split()


def test_bash_offers_commands_options_choices_and_presets(script: Callable[[str], Path]) -> None:
    path = script("bash")
    assert typed(path, "genat", "tr") == ["train", "transform"]
    assert typed(path, "genat", "train", "--dry") == ["--dry-run"]
    assert typed(path, "genat", "train", "digi") == ["digits"]
    assert set(config.presets()) < set(typed(path, "genat", "train", ""))
    assert {"--steps", "--step-size"} <= set(typed(path, "genat", "sample", "run", "--st"))
    assert typed(path, "genat", "reproduce", "gat") == ["gat2020"]
    assert typed(path, "genat", "completion", "") == ["--help", "bash", "zsh", "fish"]
    assert typed(path, "genat", "nothing", "--st") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_script_has_every_command_and_is_read_by_its_shell(script: Callable[[str], Path], shell: str) -> None:
    path = script(shell)
    text = path.read_text(encoding="utf-8")
    for name in ("demo", "train", "detect", "completion"):
        assert name in text
    assert text.endswith("\n")
    if shutil.which(shell):
        subprocess.run([shell, "-n", path], check=True)


def test_fish_says_what_each_does(script: Callable[[str], Path]) -> None:
    lines = script("fish").read_text(encoding="utf-8").splitlines()
    presets = "complete -c genat -n __fish_use_subcommand -f -a presets"
    assert f"{presets} -d 'List the configurations that come with the package.'" in lines
    within = "complete -c genat -n '__fish_seen_subcommand_from train'"
    assert f"{within} -l seed -d 'Of all that is random.'" in lines
    assert f"{within} -a digits" in lines
    assert all(line.count("'") % 2 == 0 for line in lines)


def test_another_shell_is_refused(run_cli: Cli) -> None:
    code, out, err = run_cli("completion", "tcsh")
    assert (code, out) == (2, "")
    assert "tcsh" in err
