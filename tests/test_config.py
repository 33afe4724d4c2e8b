"""One typed configuration: what loads, comes back the same; what does not, is told in one line."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from genat.balls import L2Ball, LinfBall
from genat.config import BallConfig, Config, HealthConfig, ReplayConfig, StepsConfig, dump, load, presets, tiny
from genat.curriculum import Curriculum

PRESETS = sorted(presets())


def refusal(source: str | Path, *overrides: str) -> str:
    """Return the message of the one line that refuses this."""
    with pytest.raises(ValueError, match=r"[a-z]") as caught:
        load(source, overrides)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


def written(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return path


# What loads


@pytest.mark.parametrize("name", PRESETS)
def test_presets_load_under_their_own_name_and_come_back_from_yaml(name: str, tmp_path: Path) -> None:
    config = load(name)
    assert config == presets()[name]
    assert config.name == name
    assert load(written(tmp_path, dump(config))) == config
    config.steps.build()
    config.ball.build()


@pytest.mark.parametrize(
    "overrides",
    [
        ["optimizer={name: sgd, lr: 0.1, momentum: 0.5, weight_decay: 1e-4}"],
        ["optimizer.name=sgd", "optimizer.lr=1e-3"],
        ["ball={norm: linf, radius: 0.3}", "random_start=true"],
        ["outside=[{kind: uniform-noise}, {kind: folder, path: there, weight: 2}]"],
        ["data.classes=[1, '2', cat]", "outside=[{kind: other-classes}]"],
        ["ema=null", "steps.gate=null", "steps.stage_iterations=10"],
        ["name='yes'", "data.label=null", "clip_norm=1e-8", "r1=1e-05"],
        ["network_options={a: [1, 2.5, null, true, text], b: {c: '1e-3'}}"],
        ["name='größe: 1'"],
        ["step_size=[0.02, 0.1]", "shrink=[0.05, 1]", "anneal=0.5"],
        ["replay={burst: 3, rows: 128}"],
        ["shrink=0.05", "health={non_finite: back-off, wins: stop, gate: continue, window: 10}"],
        ["outside=[{kind: uniform-noise}, {kind: photographs}]", "outside.1.weight=3"],
    ],
)
def test_what_was_loaded_is_dumped_and_loaded_again(overrides: list[str], tmp_path: Path) -> None:
    config = load("digits", overrides)
    text = dump(config)
    assert load(written(tmp_path, text)) == config
    assert dump(load(written(tmp_path, text))) == text


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    assert load(written(tmp_path, "")) == Config()
    assert load(written(tmp_path, "# a comment\n")) == Config()
    assert load(written(tmp_path, "\ufeffbatch_size: 3\n")).batch_size == 3


def test_files_are_read_by_string_and_by_path(tmp_path: Path) -> None:
    path = written(tmp_path, "iterations: 7\nsteps: {first: 1, last: 2}\n")
    assert load(path) == load(str(path))
    assert load(path, ["steps.last=9"]).steps == StepsConfig(first=1, last=9)


def test_overrides_are_applied_in_order_and_touch_nothing_else() -> None:
    config = load("digits", ["steps.last=10", "batch_size=32", "batch_size=16", " seed = 5 ", "init=a=b"])
    assert (config.steps.last, config.batch_size, config.seed, config.init) == (10, 16, 5, "a=b")
    expected = load("digits").model_dump() | {"steps": config.steps.model_dump(), "batch_size": 16, "seed": 5}
    assert config.model_dump() == expected | {"init": "a=b"}
    assert load("digits").batch_size == 64


def test_overrides_reach_into_lists() -> None:
    parts = "outside=[{kind: uniform-noise}, {kind: photographs, weight: 2}]"
    config = load("digits", [parts, "outside.0.weight=3", "outside.1.kind=dead-leaves", "network_options.hidden.1=7"])
    assert [(part.kind, part.weight) for part in config.outside] == [("uniform-noise", 3.0), ("dead-leaves", 2.0)]
    assert config.network_options["hidden"] == [256, 7, 256]
    whole = load("digits", [parts, "outside.1={kind: gaussian-noise}", "step_size=[0.1, 0.2]", "step_size.1=0.3"])
    assert [part.kind for part in whole.outside] == ["uniform-noise", "gaussian-noise"]
    assert whole.step_size == (0.1, 0.3)


def test_overrides_reach_into_lists_that_a_file_leaves_out(tmp_path: Path) -> None:
    config = load(written(tmp_path, "seed: 1\n"), ["outside.0.weight=2", "augment.crop_ratio.0=0.5"])
    assert [(part.kind, part.weight) for part in config.outside] == [("photographs", 2.0)]
    assert config.augment.crop_ratio == (0.5, 1.0)


def test_a_number_or_a_range() -> None:
    assert (load("digits").step_size, load("digits").shrink, load("digits").anneal) == (0.08, 1.0, 0.8)
    config = load("digits", ["step_size=[0.02, .1]", "shrink=[0.5, 0.5]"])
    assert (config.step_size, config.shrink) == ((0.02, 0.1), (0.5, 0.5))


@pytest.mark.parametrize("value", ["", "null", "~", " "])
def test_nothing_is_null(value: str) -> None:
    config = load("digits", ["ball.radius=1", f"ball.radius={value}", f"ema={value}", f"steps.gate={value}"])
    assert config.ball.radius is None
    assert config.ema is None
    assert config.steps.gate is None


@pytest.mark.parametrize("name", presets())
def test_every_preset_has_a_tiny_one_that_stays_so(name: str) -> None:
    small, own = tiny(load(name)), load(name)
    assert (small.iterations, small.sampling.tries) == (30, 1)
    assert small.steps.first <= small.steps.last <= 4
    assert small.batch_size <= 16
    assert small.sampling.steps <= 8
    assert tiny(small) == small
    assert (small.data, small.outside, small.network, small.ball) == (own.data, own.outside, own.network, own.ball)


def test_numbers_are_read_as_a_person_writes_them() -> None:
    config = load(
        "digits", ["optimizer.lr=1e-3", "step_size=1", "ball.radius=.5", "tensorboard=yes", "iterations=1_000"]
    )
    assert config.optimizer.lr == 1e-3
    assert config.step_size == 1.0
    assert config.ball.radius == 0.5
    assert config.tensorboard is True
    assert config.iterations == 1000


def test_sections_build_what_they_describe() -> None:
    assert BallConfig(norm="linf", radius=0.5).build() == LinfBall(0.5)
    assert BallConfig().build() == L2Ball()
    steps = StepsConfig(first=1, last=4, stage_iterations=7, gate=None, window=3)
    assert steps.build() == Curriculum(1, 4, stage_iterations=7, gate=None, window=3)


def test_configurations_are_frozen() -> None:
    config = load("digits")
    with pytest.raises(ValidationError, match="frozen"):
        config.batch_size = 3  # type: ignore[misc]


# What is refused, and how


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("steps.lst=10", "digits: steps.lst: unknown key, did you mean steps.last?"),
        ("bach_size=3", "digits: bach_size: unknown key, did you mean batch_size?"),
        ("optimizer.momentums=0", "digits: optimizer.momentums: unknown key, did you mean optimizer.momentum?"),
        ("ball.raduis=1", "digits: ball.raduis: unknown key, did you mean ball.radius?"),
        ("descent.step=1", "digits: descent.step: unknown key, did you mean descent.steps?"),
        ("data.clases=[1]", "digits: data.clases: unknown key, did you mean data.classes?"),
        ("sampling.stepsize=1", "digits: sampling.stepsize: unknown key, did you mean sampling.step_size?"),
        ("health.win=stop", "digits: health.win: unknown key, did you mean health.wins?"),
        ("outside.0.knd=a", "digits: outside.0.knd: unknown key, did you mean outside.0.kind?"),
        ("augment.flp=true", "digits: augment.flp: unknown key, did you mean augment.flip?"),
        ("outside=[{knd: a}]", "digits: outside.0.knd: unknown key, did you mean outside.0.kind?"),
        ("outside=[{}, {wieght: 1}]", "digits: outside.1.wieght: unknown key, did you mean outside.1.weight?"),
        ("ball.zzz=1", "digits: ball.zzz: unknown key; known are norm, radius"),
        (".seed=1", "digits: : unknown key; known are name, data,"),
    ],
)
def test_unknown_keys_are_named_with_the_nearest_known(override: str, message: str) -> None:
    assert refusal("digits", override).startswith(message)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("batch_size=many", "digits: batch_size: input should be a valid integer"),
        ("batch_size=1.5", "digits: batch_size: input should be a valid integer"),
        ("batch_size=[1]", "digits: batch_size: input should be a valid integer, got [1]"),
        ("batch_size=true", "digits: batch_size: expected no truth value here, got true"),
        ("clip_norm=yes", "digits: clip_norm: expected no truth value here, got true"),
        ("ball.radius=no", "digits: ball.radius: expected no truth value here, got false"),
        ("random_start=maybe", "digits: random_start: input should be a valid boolean"),
        ("name=3", "digits: name: input should be a valid string, got 3"),
        ("steps=5", "digits: steps: input should be a valid dictionary or instance of StepsConfig, got 5"),
        ("outside=photographs", "digits: outside: input should be a valid tuple, got 'photographs'"),
        ("network_options={1: 2}", "digits: network_options.1.[key]: input should be a valid string, got 1"),
        ("batch_size=0", "digits: batch_size: input should be greater than 0, got 0"),
        ("batch_size=", "digits: batch_size: input should be a valid integer, got None"),
        ("step_size=0", "digits: step_size: input should be greater than 0, got 0"),
        ("step_size=.inf", "digits: step_size: input should be a finite number, got inf"),
        ("step_size=fast", "digits: step_size: input should be a valid number, unable to parse string"),
        ("step_size={a: 1}", "digits: step_size: input should be a valid number, got {'a': 1}"),
        ("step_size=null", "digits: step_size: input should be a valid number, got None"),
        ("step_size=yes", "digits: step_size: expected no truth value here, got true"),
        ("step_size=[0.1]", "digits: step_size.1: field required, got [0.1]"),
        ("step_size=[0.1, 0.2, 0.3]", "digits: step_size: tuple should have at most 2 items"),
        ("step_size=[0, 0.2]", "digits: step_size.0: input should be greater than 0, got 0"),
        ("step_size=[0.2, 0.1]", "digits: step_size: expected [low, high] with low at most high, got [0.2, 0.1]"),
        ("replay={burst: 0}", "digits: replay.burst: input should be greater than 0, got 0"),
        ("shrink=0", "digits: shrink: input should be greater than 0, got 0"),
        ("shrink=1.5", "digits: shrink: input should be less than or equal to 1, got 1.5"),
        ("shrink=[0.1, 2]", "digits: shrink.1: input should be less than or equal to 1, got 2"),
        ("shrink=[1, 0.1]", "digits: shrink: expected [low, high] with low at most high, got [1.0, 0.1]"),
        ("anneal=1.1", "digits: anneal: input should be less than or equal to 1, got 1.1"),
        ("anneal=-0.1", "digits: anneal: input should be greater than or equal to 0, got -0.1"),
        (
            "health.non_finite=continue",
            "digits: health.non_finite: input should be 'stop' or 'back-off', got 'continue'",
        ),
        ("health.wins=halt", "digits: health.wins: input should be 'continue', 'stop' or 'back-off', got 'halt'"),
        ("health.window=0", "digits: health.window: input should be greater than 0, got 0"),
        ("health.back_offs=0", "digits: health.back_offs: input should be greater than 0, got 0"),
        ("health.rate_factor=1", "digits: health.rate_factor: input should be less than 1, got 1"),
        ("r1=.nan", "digits: r1: input should be a finite number, got nan"),
        ("r1=-1", "digits: r1: input should be greater than or equal to 0, got -1"),
        ("ball.radius=-1", "digits: ball.radius: input should be greater than or equal to 0, got -1"),
        ("ball.norm=l1", "digits: ball.norm: input should be 'l2' or 'linf', got 'l1'"),
        ("rule=up", "digits: rule: input should be 'steepest', 'normalized', 'sign' or 'adam', got 'up'"),
        ("tpr=1", "digits: tpr: input should be less than 1, got 1"),
        ("steps.gate=0.5", "digits: steps.gate: input should be greater than 0.5, got 0.5"),
        ("steps.first=-1", "digits: steps.first: input should be greater than or equal to 0, got -1"),
        ("name=../elsewhere", "digits: name: string should match pattern"),
        ("name=''", "digits: name: string should match pattern"),
        (f"seed={2**63}", "digits: seed: input should be less than"),
        ("steps.first=30", "digits: steps: expected last to be at least first=30, got 20"),
        (
            "optimizer.momentum=0.5",
            "digits: optimizer: expected momentum and weight_decay with name=sgd only, got name=adam",
        ),
        ("data.kind=folder", "digits: data: expected path with kind=folder, got none"),
        ("data.path=here", "digits: data: expected no path with kind=digits, got 'here'"),
        ("outside=[{kind: parquet}]", "digits: outside.0: expected path with kind=parquet, got none"),
        ("outside=[{path: x}]", "digits: outside.0: expected no path with kind=photographs, got 'x'"),
        ("outside=[]", "digits: expected at least one part in outside, got none"),
        ("outside=[{kind: other-classes}]", "digits: expected data.classes with outside kind other-classes, got none"),
        ("random_start=true", "digits: expected ball.radius with random_start=true, got none"),
        ("replay={rows: 8}", "digits: expected replay.rows to be at least batch_size=64, got 8"),
        ("seed.a=1", "digits: seed: input should be a valid integer, got {'a': 1}"),
    ],
)
def test_wrong_types_and_impossible_values_are_refused(override: str, message: str) -> None:
    assert refusal("digits", override).startswith(message)


def test_every_wrong_key_is_named_at_once() -> None:
    message = refusal("digits", "steps.lst=1", "batch_size=0", "rule=up")
    assert message.startswith("digits: ")
    assert message.count("; ") == 2
    assert all(part in message for part in ("steps.lst: unknown key", "batch_size: input", "rule: input"))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ("ball.radius=0.5", "digits: expected replay without ball.radius, got ball.radius=0.5"),
        ("classify={}", "digits: expected replay with classify.toward=any, got toward=class"),
    ],
)
def test_what_does_not_go_with_replay_is_refused(other: str, message: str) -> None:
    assert refusal("digits", "replay={}", other) == message
    assert load("digits", ["replay={burst: 3}"]).replay == ReplayConfig(burst=3, rows=256)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed", "expected key=value, got 'seed'"),
        ("", "expected key=value, got ''"),
        ("=3", "expected key=value, got '=3'"),
        ("a\nb", r"expected key=value, got 'a\nb'"),
        ("data.kind.x=1", "data.kind.x=1: expected data.kind to hold keys, got 'digits'"),
        ("outside.1.weight=2", "outside.1.weight=2: expected an index below 1 in outside, got 1"),
        ("outside.-1.weight=2", "outside.-1.weight=2: expected an index below 1 in outside, got -1"),
        ("outside.weight=2", "outside.weight=2: expected an index below 1 in outside, got weight"),
        ("outside.00.weight=2", "outside.00.weight=2: expected an index below 1 in outside, got 00"),
        ("outside.0.kind.x=2", "outside.0.kind.x=2: expected outside.0.kind to hold keys, got 'photographs'"),
        (
            "network_options.hidden.3=2",
            "network_options.hidden.3=2: expected an index below 3 in network_options.hidden",
        ),
        ("step_size.0=2", "step_size.0=2: expected step_size to hold keys, got 0.08"),
        ("name=[\n", "name=[: expected YAML, got while parsing a flow node"),
        ("seed=!!int", "seed=!!int: expected YAML, got string index out of range"),
        ("seed=2001-99-99", "seed=2001-99-99: expected YAML, got month must be in 1..12"),
        (
            "seed=!!python/object:os.system x",
            "seed=!!python/object:os.system x: expected YAML, got could not determine",
        ),
        ("a\nb=1", "digits: a b: unknown key"),
        ("data.kind.a\nb=1", "data.kind.a b=1: expected data.kind to hold keys, got 'digits'"),
        ("outside.a\nb=1", "outside.a b=1: expected an index below 1 in outside, got a b"),
        ("seed='a\u2028b'", "digits: seed: input should be a valid integer"),
    ],
)
def test_overrides_that_are_none_are_refused(override: str, message: str) -> None:
    assert refusal("digits", override).startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2]", "mine.yaml: expected keys and values, got list"),
        ("just text", "mine.yaml: expected keys and values, got str"),
        ("3", "mine.yaml: expected keys and values, got int"),
        ("a: [1\nb: 2\n", "mine.yaml: expected YAML, got while parsing a flow sequence"),
        ("a: b: c", "mine.yaml: expected YAML, got mapping values are not allowed here"),
        ("a: \x07", "mine.yaml: expected YAML, got unacceptable character"),
        ("? [1]\n: 2", "mine.yaml: expected YAML, got while constructing a mapping"),
        ("a: 1\n---\nb: 2\n", "mine.yaml: expected YAML, got expected a single document"),
        ("[" * 600, "mine.yaml: expected YAML, got maximum recursion depth exceeded"),
        ("stesp: {}\n", "mine.yaml: stesp: unknown key, did you mean steps?"),
        ('"a\\nb": 1\n', "mine.yaml: a b: unknown key"),
        ("1: 2\n", "mine.yaml: 1: "),
    ],
)
def test_files_that_are_no_configuration_are_refused(text: str, message: str, tmp_path: Path) -> None:
    assert message in refusal(written(tmp_path, text))


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 9)
)


@pytest.mark.parametrize(
    "text",
    [
        BOMB,
        "network_options:\n" + "".join(f"  {line}\n" for line in BOMB.splitlines()),
        "network_options: &a {a: *a}",
        "network_options: &a {<<: *a}",
        "a0: &a0 {x: 1}\n" + "".join(f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 10)}]}}\n" for i in range(1, 9)),
    ],
    ids=["keys", "options", "itself", "merged-itself", "merged"],
)
def test_aliases_that_would_fill_the_memory_are_refused(text: str, tmp_path: Path) -> None:
    """A few hundred bytes, and a hundred million values."""
    assert refusal(written(tmp_path, text)).endswith("more than 100000 values with every alias written out")


def test_aliases_that_do_not_are_read(tmp_path: Path) -> None:
    config = load(written(tmp_path, "steps: &a {first: 1, last: 2}\nnetwork_options: {b: *a, c: [*a, *a]}"))
    assert config.network_options == {"b": {"first": 1, "last": 2}, "c": [{"first": 1, "last": 2}] * 2}


def test_a_file_of_absurd_size_is_not_read(tmp_path: Path) -> None:
    path = written(tmp_path, "seed: 1\n" + "#" * 2**18)
    assert refusal(path).endswith("mine.yaml: expected at most 262144 bytes of YAML, got 262152")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "network_options.a=2001-01-01",
            "expected text, finite numbers, truth values, lists and keys with values, got",
        ),
        ("network_options.a=[!!binary aGk=]", "expected text, finite numbers, truth values"),
        ("network_options.a=!!set {x, y}", "expected text, finite numbers, truth values"),
        ("network_options.a={b: .nan}", "expected text, finite numbers, truth values"),
        (f"network_options.a=0x{'9' * 5000}", "expected integers of at most 64 bits, got a longer one"),
        ("network_options.a=" + "[" * 30 + "]" * 30, "expected at most 20 levels, got more"),
        ("network_options.a=[{~: 1}]", "expected keys that are text, got None"),
        ("network_options.a={b: {1: c}}", "expected keys that are text, got 1"),
    ],
)
def test_options_that_would_not_come_back_are_refused(override: str, message: str) -> None:
    assert refusal("digits", override).startswith(f"digits: network_options: {message}")


def test_ascent_and_descent_have_balls_of_their_own() -> None:
    settings = load("digits", ["ball={norm: l2, radius: 0.5}", "descent={norm: linf, radius: 0.1, steps: 3}"])
    assert (settings.ball.build(), settings.descent.build()) == (L2Ball(0.5), LinfBall(0.1))
    assert load("digits", ["descent.steps=5"]).descent.build() == L2Ball()


def test_a_long_value_is_shown_cut() -> None:
    message = refusal("digits", f"seed={list(range(2000))}", f"batch_size=[0x{'9' * 5000}]")
    assert "seed: input should be a valid integer, got [0, 1, 2, " in message
    assert "got an integer of thousands of digits" in message
    assert len(message) < 1000


def test_files_that_are_no_utf8_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "latin.yaml"
    path.write_bytes("name: größe".encode("latin-1"))
    assert refusal(path).endswith("latin.yaml: expected UTF-8 text, got other bytes at 8")


@pytest.mark.parametrize("source", ["", "nowhere", "digits.yaml", ".", "../config", "presets/digits", "a\0b"])
def test_sources_that_are_neither_preset_nor_file_are_refused(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"expected a preset \(afhq.*, lfw-faces\) or a YAML file, got neither"):
        load(source)


def test_no_path_is_taken_for_a_presets_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`../presets/digits` would lead back into the package."""
    monkeypatch.chdir(tmp_path)
    for source in ("../presets/digits", "./digits", "digits/", "/digits"):
        with pytest.raises(FileNotFoundError, match="got neither"):
            load(source)
    written(tmp_path, "seed: 4")
    assert load("./mine.yaml").seed == 4


# Anything a person could type

words = st.one_of(
    st.text(max_size=12),
    st.sampled_from(["1", "-1", "0.5", "1e9", ".inf", ".nan", "null", "[]", "{}", "[{kind: digits}]", "yes", "!!int"]),
    st.text(alphabet="!&*?:-[]{},#|>%@`'\"\n 0_xe.", max_size=8),
)
FIELDS = [
    *Config.model_fields,
    *(f"steps.{name}" for name in StepsConfig.model_fields),
    *(f"health.{name}" for name in HealthConfig.model_fields),
    "network_options.a",
    "network_options.hidden.0",
    "outside.0.weight",
    "outside.0",
    "step_size.0",
    "data.kind",
]
keys = st.one_of(st.sampled_from(FIELDS), st.text(max_size=8))


@settings(max_examples=100)
@given(overrides=st.lists(st.builds("{}={}".format, keys, words) | words, min_size=1, max_size=3))
@example(overrides=["seed=!!float"])
@example(overrides=["seed=!!bool x"])
@example(overrides=["name=!!timestamp x"])
@example(overrides=["seed=0x_"])
@example(overrides=["seed=1" + ":0" * 300 + ".5"])
@example(overrides=["seed=&a [*a]"])
@example(overrides=["seed=" + "[" * 600])
@example(overrides=["seed=" + "9" * 5000])
def test_any_override_loads_or_is_refused_in_one_line(overrides: list[str]) -> None:
    try:
        config: Any = load("digits", overrides)
    except ValueError as error:
        config = str(error)
    if isinstance(config, str):
        assert len(config.splitlines()) == 1
    else:
        again = Config.model_validate(yaml.safe_load(dump(config)))
        assert dump(again) == dump(config)


def test_another_network_comes_without_the_options_of_the_one_it_replaces() -> None:
    assert load("images").network_options == {"width": 12}
    assert load("images", ["network=mlp"]).network_options == {}
    assert load("images", ["network_options.hidden=[8]", "network=mlp"]).network_options == {"hidden": [8]}


def test_a_configuration_from_before_the_newer_keys_is_the_same(tmp_path: Path) -> None:
    """A run's own `config.yaml` holds every key that there was when it was written."""
    newer = ("shrink", "anneal", "health")
    older = {key: value for key, value in load("images").model_dump(mode="json").items() if key not in newer}
    older["sampling"] = {key: older["sampling"][key] for key in ("steps", "step_size")}
    assert load(written(tmp_path, yaml.safe_dump(older, sort_keys=False))) == load("images")
