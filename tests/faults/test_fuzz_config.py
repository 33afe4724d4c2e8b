"""Any text loads as a configuration or is refused in one line; what loads comes back the same."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import strategies as st

from genat import assemble
from genat.config import Config, Section, dump, load, presets

Fuzz = Callable[..., int]

TEXTS = [dump(config) for config in presets().values()]
SECTIONS = {
    name: list(field.annotation.model_fields)
    for name, field in Config.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
}
KEYS = [*Config.model_fields, *(f"{name}.{key}" for name, keys in SECTIONS.items() for key in keys)]
KINDS = ["digits", "folder", "parquet", "photographs", "other-classes", "l2", "linf", "adam", "sgd", "back-off", "cpu"]

numbers = st.one_of(st.integers(), st.floats(), st.integers(-(10**30), 10**30), st.sampled_from([0, 1, 2**63, 1e308]))
leaves = st.one_of(
    st.none(), st.booleans(), numbers, st.text(max_size=6), st.sampled_from(KINDS), st.binary(max_size=4)
)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3) | st.sampled_from(KEYS), inner),
    max_leaves=6,
)
sections = st.sampled_from(sorted(SECTIONS)).flatmap(
    lambda name: st.tuples(st.just(name), st.dictionaries(st.sampled_from(SECTIONS[name]), leaves, max_size=3))
)
trees = st.builds(
    lambda loose, whole: {**loose, **dict(whole)},
    st.dictionaries(st.sampled_from(list(Config.model_fields)), values, max_size=3),
    st.lists(sections, max_size=3),
)
ODD = "&a *a !!int !!python/object:os.system ? : - [ ] { } | > # % @ ` ' \" << 1e9 0x9 .nan .inf 2001-01-01 \t \x00"
pieces = st.one_of(st.sampled_from(ODD.split(" ")), st.text(max_size=4))


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """Return a preset with a few places overwritten."""
    text = draw(st.sampled_from(TEXTS))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(pieces) + text[at + draw(st.integers(0, 8)) :]
    return text


texts = st.one_of(
    trees.map(lambda tree: yaml.safe_dump(tree, allow_unicode=True).encode(errors="surrogatepass")),
    mutated().map(lambda text: text.encode(errors="surrogatepass")),
    st.binary(max_size=60),
)
overrides = st.lists(
    st.builds("{}={}".format, st.sampled_from(KEYS) | st.text(max_size=6), st.text(max_size=8) | pieces), max_size=2
)


def check(path: Path, text: bytes, changes: list[str]) -> None:
    path.write_bytes(text)
    try:
        config: Any = load(path, changes)
    except ValueError as error:
        config = str(error)
    if isinstance(config, str):
        assert len(config.splitlines()) == 1
        assert len(config) < 20_000
        return
    again = path.with_name("again.yaml")
    again.write_text(dump(config), encoding="utf-8")
    assert load(again) == config
    config.steps.build()
    config.ball.build()
    assemble.health(config)
    assemble.optimizer(config)


@pytest.mark.parametrize("soak", [False, pytest.param(True, marks=pytest.mark.soak)], ids=["short", "soak"])
def test_any_text_loads_or_is_refused_in_one_line(fuzz: Fuzz, tmp_path: Path, soak: bool) -> None:
    place = tmp_path / "any.yaml"
    assert fuzz(lambda example: check(place, *example), st.tuples(texts, overrides), soak=soak) > 0
