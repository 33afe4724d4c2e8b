"""The command that lets a shell complete the others."""

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, get_args, get_type_hints

import typer


class Shell(StrEnum):
    """What a script can be written for."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


@dataclass(frozen=True, slots=True)
class _Command:
    """What can be typed after a command's name, beside files."""

    help: str
    options: Mapping[str, str]
    words: tuple[str, ...]


def completion(
    context: typer.Context,
    shell: Annotated[Shell, typer.Argument(help="bash, zsh or fish.")],
) -> None:
    """Print a script that completes commands, options and presets: `source <(genat completion bash)`."""
    commands = _commands(context.find_root().command)
    write = {Shell.BASH: _bash, Shell.ZSH: _zsh, Shell.FISH: _fish}
    typer.echo(write[shell](commands), nl=False)


def _commands(group: Any) -> dict[str, _Command]:  # noqa: ANN401 - typer's type does not declare its commands
    from genat import config

    presets = tuple(config.presets())
    found = {}
    for name, command in group.commands.items():
        options, words = {"--help": "Show this message and exit."}, []
        for parameter in command.params:
            options |= {long: _first_sentence(parameter.help) for long in parameter.opts if long.startswith("--")}
        words += [str(choice) for kind in _annotations(command.callback) for choice in _choices(kind)]
        if name in ("train", "presets", "reproduce"):
            words += presets
        found[name] = _Command(_first_sentence(command.help), options, tuple(words))
    return found


def _annotations(function: Any) -> list[Any]:  # noqa: ANN401 - a command
    """Return the types of what a command takes, the helps taken off."""
    return list(get_type_hints(inspect.unwrap(function)).values())


def _choices(kind: Any) -> list[StrEnum]:  # noqa: ANN401 - a type
    """Return the values of the enumerations in a type.

    Example:
        >>> _choices(Shell | None)
        [<Shell.BASH: 'bash'>, <Shell.ZSH: 'zsh'>, <Shell.FISH: 'fish'>]
    """
    parts = [kind, *get_args(kind)]
    return [choice for part in parts if isinstance(part, type) and issubclass(part, StrEnum) for choice in part]


def _first_sentence(text: str | None) -> str:
    """Return the beginning of a help text, in signs that no shell reads as its own.

    Example:
        >>> _first_sentence("Train a detector's weights: `genat train`. More.")
        'Train a detectors weights.'
    """
    first = re.split("[.:;] |[.]$", " ".join((text or "").split()), maxsplit=1)[0]
    return re.sub(r"[^\w ,/.=-]", "", first) + "."


def _bash(commands: Mapping[str, _Command]) -> str:
    cases = "\n".join(
        f'        {name}) words="{" ".join([*one.options, *one.words])}" ;;' for name, one in commands.items()
    )
    return f"""_genat() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} words=
    COMPREPLY=()
    if [ "$COMP_CWORD" -eq 1 ]; then
        COMPREPLY=($(compgen -W "{" ".join(commands)}" -- "$word"))
        return
    fi
    case ${{COMP_WORDS[1]}} in
{cases}
    esac
    COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o default -F _genat genat
"""


def _zsh(commands: Mapping[str, _Command]) -> str:
    names = "\n".join(f"    '{name}:{one.help}'" for name, one in commands.items())
    cases = "\n".join(
        f"    {name}) compadd -- {' '.join([*one.options, *one.words])} ;;" for name, one in commands.items()
    )
    return f"""#compdef genat
_genat() {{
  local -a commands=(
{names}
  )
  if (( CURRENT == 2 )); then
    _describe command commands
    return
  fi
  case $words[2] in
{cases}
  esac
  _files
}}
compdef _genat genat
"""


def _fish(commands: Mapping[str, _Command]) -> str:
    lines = []
    for name, one in commands.items():
        lines.append(f"complete -c genat -n __fish_use_subcommand -f -a {name} -d '{one.help}'")
        within = f"complete -c genat -n '__fish_seen_subcommand_from {name}'"
        lines += [f"{within} -l {option.removeprefix('--')} -d '{words}'" for option, words in one.options.items()]
        lines += [f"{within} -a {word}" for word in one.words]
    return "\n".join(lines) + "\n"
