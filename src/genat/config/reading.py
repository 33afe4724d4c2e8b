"""Reading a configuration: a preset or a YAML file, overridden key by key, and errors of one line."""

import difflib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from genat.config.schema import TAGS, Config

_MOST_BYTES, _MOST_NODES, _LONGEST = 2**18, 100_000, 200


def presets() -> dict[str, Config]:
    """Return the configurations that come with the package, by name.

    Example:
        >>> print(*list(presets())[9:])
        dat-cifar10 digits emoji-faces fashion-mnist images lfw-faces
    """
    folder = resources.files("genat") / "presets"
    files = sorted(folder.iterdir(), key=lambda file: _stem(file.name))
    return {name: _read(file.read_text(encoding="utf-8"), name, []) for file in files if (name := _stem(file.name))}


def load(source: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read a preset by name or a YAML file, override keys, and check all of it.

    Args:
        source: a preset's name, or the path of a YAML file.
        overrides: `key=value` each, the key dotted (`steps.last=10`, `outside.0.weight=2`), the value YAML. Another
            `network` comes without the options of the one it replaces.

    Raises:
        ValueError: one line that names every key that is wrong, what was expected and what came.
        FileNotFoundError: where the source is neither.

    Example:
        >>> load("digits", ["steps.last=10", "batch_size=32"]).steps.last
        10
        >>> load("digits", ["steps.lst=10"])
        Traceback (most recent call last):
        ...
        ValueError: digits: steps.lst: unknown key, did you mean steps.last?
    """
    builtin = resources.files("genat") / "presets" / f"{source}.yaml"
    if _stem(f"{source}.yaml") and builtin.is_file():
        return _read(builtin.read_text(encoding="utf-8"), str(source), overrides)
    path = Path(source)
    if not path.is_file():
        names = ", ".join(sorted(presets()))
        raise FileNotFoundError(f"{source}: expected a preset ({names}) or a YAML file, got neither")
    if (length := path.stat().st_size) > _MOST_BYTES:
        raise ValueError(f"{path}: expected at most {_MOST_BYTES} bytes of YAML, got {length}")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected UTF-8 text, got other bytes at {error.start}") from error
    return _read(text, str(path), overrides)


def tiny(config: Config) -> Config:
    """Return the configuration cut down to seconds, for a try of the way through: no training to be used.

    At most 30 iterations, 16 images a batch, 4 ascent steps in training, also of attacks and descents, and 8 steps in
    sampling, where every climb is kept. Network and data stay as they are.

    Example:
        >>> small = tiny(load("digits"))
        >>> small.iterations, small.steps.last, small.sampling.tries
        (30, 4, 1)
        >>> tiny(small) == small
        True
    """
    content = config.model_dump()
    most = {"iterations": 30, "batch_size": 16, "steps.first": 4, "steps.last": 4, "descent.steps": 4}
    most |= {"classify.steps": 4, "sampling.steps": 8, "sampling.tries": 1}
    for key, bound in most.items():
        *sections, name = key.split(".")
        inner = content[sections[0]] if sections else content
        if inner is not None:
            inner[name] = min(inner[name], bound)
    return Config.model_validate(content)


def dump(config: Config) -> str:
    """Return the configuration as YAML that `load` reads back.

    Example:
        >>> print(dump(load("digits"))[:12])
        name: digits
    """
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _stem(name: str) -> str:
    """Return a preset's name from its file's, or nothing: no path may leave the folder."""
    stem = name.removesuffix(".yaml")
    return stem if name.endswith(".yaml") and stem.replace("-", "").replace("_", "").isalnum() else ""


def _read(text: str, where: str, overrides: Sequence[str]) -> Config:
    content = _parse(text, where)
    content = {} if content is None else content
    if not isinstance(content, dict):
        raise ValueError(f"{where}: expected keys and values, got {type(content).__name__}")
    if any(override.partition("=")[0].strip() == "network" for override in overrides):
        content.pop("network_options", None)  # they were another network's
    for override in overrides:
        _override(content, override)
    try:
        return Config.model_validate(content)
    except ValidationError as error:
        raise ValueError(f"{where}: " + "; ".join(_line(item) for item in error.errors())) from None


def _parse(text: str, where: str) -> Any:  # noqa: ANN401 - whatever YAML holds
    try:
        return yaml.load(text, _Loader)  # noqa: S506 - a safe loader
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError) as error:
        # PyYAML's own constructors leak all but the first, as on `!!int ''` or 2001-99-99
        raise ValueError(f"{where}: expected YAML, got {_one_line(str(error))}") from None


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, for texts that stay small with every alias written out."""

    def construct_document(self, node: yaml.Node) -> Any:  # noqa: ANN401 - whatever YAML holds
        """Return what a document holds, where it is small enough."""
        _written_out(node, {})
        return super().construct_document(node)


def _written_out(node: yaml.Node, known: dict[int, int]) -> int:
    """Return how many nodes one is with all its aliases written out.

    Raises:
        ValueError: where there are too many, or it holds itself.
    """
    if id(node) not in known:
        known[id(node)] = _MOST_NODES  # for as long as it is being counted: one inside itself has no end
        inner: list[yaml.Node] = []
        if isinstance(node, yaml.SequenceNode):
            inner = node.value
        elif isinstance(node, yaml.MappingNode):
            inner = [part for pair in node.value for part in pair]
        known[id(node)] = 1 + sum(_written_out(part, known) for part in inner)
    if known[id(node)] > _MOST_NODES:
        raise ValueError(f"more than {_MOST_NODES} values with every alias written out")
    return known[id(node)]


def _override(content: dict[str, Any], override: str) -> None:
    key, separator, value = override.partition("=")
    if not separator or not key.strip():
        raise ValueError(f"expected key=value, got {override!r}")
    parts, shown = key.strip().split("."), _one_line(override)
    inner: Any = content
    known: Any = Config().model_dump(mode="json")
    for depth, part in enumerate(parts[:-1]):
        known = known.get(part) if isinstance(known, dict) else None
        if isinstance(inner, dict):
            inner.setdefault(part, known if isinstance(known, list) else {})
        inner = inner[_place(inner, parts[: depth + 1], shown)]
    inner[_place(inner, parts, shown)] = _parse(value, shown)


def _place(container: Any, parts: Sequence[str], shown: str) -> str | int:  # noqa: ANN401 - whatever YAML holds
    """Return the key or the index that the last part names in the container that the parts before it lead to."""
    *before, last = parts
    name = _one_line(".".join(before))
    if isinstance(container, dict):
        return last
    if not isinstance(container, list):
        raise ValueError(f"{shown}: expected {name} to hold keys, got {container!r}")
    indices = [str(index) for index in range(len(container))]
    if last not in indices:
        raise ValueError(f"{shown}: expected an index below {len(indices)} in {name}, got {_one_line(last)}")
    return indices.index(last)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _line(error: Mapping[str, Any]) -> str:
    location = _one_line(".".join(str(part) for part in error["loc"] if part not in TAGS))
    if error["type"] == "extra_forbidden":
        return f"{location}: unknown key{_suggestion(error['loc'])}"
    message = str(error["msg"]).removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    if error["type"] == "value_error":
        return f"{location}: {message}" if location else message
    return f"{location}: {message}, got {_shown(error['input'])}"


def _shown(value: object) -> str:
    """Return a value as Python writes it, cut where it is long."""
    try:
        text = repr(value)
    except ValueError:  # Python refuses to write some out
        return "an integer of thousands of digits"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _suggestion(location: tuple[str | int, ...]) -> str:
    """Return the nearest known key of the same section, as words."""
    section: type[BaseModel] = Config
    for part in location[:-1]:
        if isinstance(part, str):
            kind = section.model_fields[part].annotation
            choices = (kind, *get_args(kind))  # a section, a tuple of sections, a section or none
            section = next(one for one in choices if isinstance(one, type) and issubclass(one, BaseModel))
    known = list(section.model_fields)
    close = difflib.get_close_matches(str(location[-1]), known, n=1)
    prefix = "".join(f"{part}." for part in location[:-1])
    return f", did you mean {prefix}{close[0]}?" if close else f"; known are {', '.join(known)}"
