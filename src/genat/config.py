"""The one configuration: typed, from a preset or a YAML file, overridden key by key."""

import difflib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    Tag,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from genat.balls import Ball, L2Ball, LinfBall
from genat.curriculum import Curriculum

Share = Annotated[float, Field(gt=0, lt=1)]
UpToOne = Annotated[float, Field(gt=0, le=1)]
Action = Literal["continue", "stop", "back-off"]

_NUMBER, _RANGE = "a number", "[low, high]"


def _rising(ends: tuple[float, float]) -> tuple[float, float]:
    if ends[0] > ends[1]:
        raise ValueError(f"expected [low, high] with low at most high, got {list(ends)}")
    return ends


_number_or_range = Discriminator(lambda value: _RANGE if isinstance(value, list | tuple) else _NUMBER)
Size = Annotated[
    Annotated[PositiveFloat, Tag(_NUMBER)]
    | Annotated[tuple[PositiveFloat, PositiveFloat], AfterValidator(_rising), Tag(_RANGE)],
    _number_or_range,
]
Shrink = Annotated[
    Annotated[UpToOne, Tag(_NUMBER)] | Annotated[tuple[UpToOne, UpToOne], AfterValidator(_rising), Tag(_RANGE)],
    _number_or_range,
]


class Section(BaseModel):
    """A part of the configuration: frozen, and closed to keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _not_a_truth_value(cls, value: object, info: ValidationInfo) -> object:
        # else `clip_norm: yes` would be a norm of 1
        if isinstance(value, bool) and info.field_name and cls.model_fields[info.field_name].annotation is not bool:
            raise ValueError(f"expected no truth value here, got {str(value).lower()}")
        return value


class StepsConfig(Section):
    """The curriculum; see `genat.Curriculum`."""

    first: Annotated[int, Field(ge=0)] = 0
    last: Annotated[int, Field(ge=0)] = 25
    stage_iterations: PositiveInt | None = None
    gate: Annotated[float, Field(gt=0.5, le=1)] | None = 0.8
    window: PositiveInt = 100

    @model_validator(mode="after")
    def _ordered(self) -> "StepsConfig":
        if self.last < self.first:
            raise ValueError(f"expected last to be at least first={self.first}, got {self.last}")
        return self

    def build(self) -> Curriculum:
        """Return the curriculum."""
        return Curriculum(
            self.first, self.last, stage_iterations=self.stage_iterations, gate=self.gate, window=self.window
        )


class BallConfig(Section):
    """Where ascent may go; radius null is unconstrained."""

    norm: Literal["l2", "linf"] = "l2"
    radius: NonNegativeFloat | None = None

    def build(self) -> Ball:
        """Return the ball."""
        return L2Ball(self.radius) if self.norm == "l2" else LinfBall(self.radius)


class DescentConfig(Section):
    """In-distribution descent of the target's samples before they are learned."""

    steps: Annotated[int, Field(ge=0)] = 0
    radius: NonNegativeFloat | None = None


class OptimizerConfig(Section):
    """Adam with beta = (0, 0.99), or SGD with Nesterov momentum, by default 0.9 and no weight decay."""

    name: Literal["adam", "sgd"] = "adam"
    lr: Annotated[float, Field(gt=0, le=1e38)] = 5e-4
    momentum: Annotated[float, Field(ge=0, lt=1)] | None = None
    weight_decay: NonNegativeFloat | None = None

    @model_validator(mode="after")
    def _used(self) -> "OptimizerConfig":
        if self.name == "adam" and not (self.momentum is None and self.weight_decay is None):
            raise ValueError("expected momentum and weight_decay with name=sgd only, got name=adam")
        return self


class HealthConfig(Section):
    """What the training is watched for and what is done about it; see `genat.training.Health`."""

    non_finite: Literal["stop", "back-off"] = "stop"
    gate: Action = "continue"
    stuck: Action = "continue"
    wins: Action = "continue"
    loses: Action = "continue"
    window: PositiveInt = 100
    stuck_below: Share = 0.05
    wins_above: Share = 0.999
    loses_below: Share = 0.05
    rate_factor: Share = 0.5
    back_offs: PositiveInt = 3


class AugmentConfig(Section):
    """Augmentation of the target's batches; see `genat.sources.Augment`."""

    shift: Annotated[int, Field(ge=0)] = 0
    crop_scale: tuple[UpToOne, UpToOne] | None = None
    crop_ratio: tuple[PositiveFloat, PositiveFloat] = (1.0, 1.0)
    crop_probability: UpToOne = 1.0
    flip: bool = False


def _check_path(kind: str, path: str | None) -> None:
    if kind in ("folder", "parquet", "hugging-face") and path is None:
        raise ValueError(f"expected path with kind={kind}, got none")
    if kind not in ("folder", "parquet", "hugging-face", "fashion-mnist") and path is not None:
        raise ValueError(f"expected no path with kind={kind}, got {path!r}")


class DataConfig(Section):
    """The target: in-distribution images.

    Attributes:
        kind: where the images are; `path` goes with folder, parquet and hugging-face (there a hub id or a folder).
        size: side of the square images; null keeps the images' own, which then must be one.
        mode: colours; auto is grey where every image is grey.
        classes: names or numbers of the classes to keep; null keeps all.
        validation: share held out of training, for thresholds and calibration.
    """

    kind: Literal["digits", "fashion-mnist", "folder", "parquet", "hugging-face"] = "digits"
    path: str | None = None
    split: str = "train"
    image: str = "image"
    label: str | None = "label"
    size: PositiveInt | None = None
    mode: Literal["auto", "L", "RGB"] = "auto"
    classes: tuple[int | str, ...] | None = None
    validation: Share = 0.2

    @model_validator(mode="after")
    def _located(self) -> "DataConfig":
        _check_path(self.kind, self.path)
        return self


class OutsideConfig(Section):
    """One part of the outside data, where ascents start from.

    Attributes:
        kind: photographs (crops of two photographs), dead-leaves, the noises, class-gaussians (fitted to the target),
            other-classes (those of the target's data that `data.classes` leaves out), or images like `data`'s.
        weight: its share in the mixture, against the other parts' weights.
    """

    kind: Literal[
        "photographs",
        "dead-leaves",
        "uniform-noise",
        "gaussian-noise",
        "class-gaussians",
        "other-classes",
        "digits",
        "fashion-mnist",
        "folder",
        "parquet",
        "hugging-face",
    ] = "photographs"
    weight: PositiveFloat = 1.0
    path: str | None = None
    split: str = "train"
    image: str = "image"
    label: str | None = "label"

    @model_validator(mode="after")
    def _located(self) -> "OutsideConfig":
        _check_path(self.kind, self.path)
        return self


class SamplingConfig(Section):
    """How `genat sample` and `genat transform` climb."""

    steps: PositiveInt = 32
    step_size: PositiveFloat = 0.2


class Config(Section):
    """All there is to say about a training; `genat presets` lists the ones that come with the package."""

    name: Annotated[str, Field(pattern=r"^[^/\\.][^/\\]*$")] = "custom"
    data: DataConfig = DataConfig()
    outside: tuple[OutsideConfig, ...] = (OutsideConfig(),)
    augment: AugmentConfig = AugmentConfig()
    network: str = "small_convnet"
    network_options: dict[str, Any] = Field(default_factory=dict)
    init: str | None = None
    iterations: PositiveInt = 4000
    batch_size: PositiveInt = 64
    steps: StepsConfig = StepsConfig()
    step_size: Size = 0.2
    shrink: Shrink = 1.0
    ball: BallConfig = BallConfig()
    rule: Literal["steepest", "normalized", "sign", "adam"] = "steepest"
    random_start: bool = False
    descent: DescentConfig = DescentConfig()
    r1: NonNegativeFloat = 0.01
    optimizer: OptimizerConfig = OptimizerConfig()
    anneal: Annotated[float, Field(ge=0, le=1)] = 0.0
    ema: Share | None = 0.999
    clip_norm: PositiveFloat | None = None
    health: HealthConfig = HealthConfig()
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    checkpoint_every: PositiveInt = 500
    sampling: SamplingConfig = SamplingConfig()
    tpr: Share = 0.95
    tensorboard: bool = False
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["32-true", "bf16-mixed"] = "32-true"

    @model_validator(mode="after")
    def _startable(self) -> "Config":
        if not self.outside:
            raise ValueError("expected at least one part in outside, got none")
        if self.random_start and self.ball.radius is None:
            raise ValueError("expected ball.radius with random_start=true, got none")
        if any(part.kind == "other-classes" for part in self.outside) and self.data.classes is None:
            raise ValueError("expected data.classes with outside kind other-classes, got none")
        return self


def presets() -> dict[str, Config]:
    """Return the configurations that come with the package, by name.

    Example:
        >>> sorted(presets())
        ['digits', 'fashion-mnist', 'images']
    """
    folder = resources.files("genat") / "presets"
    files = sorted(folder.iterdir(), key=lambda file: file.name)
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
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected UTF-8 text, got other bytes at {error.start}") from error
    return _read(text, str(path), overrides)


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
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError) as error:
        # PyYAML's own constructors leak all but the first, as on `!!int ''` or 2001-99-99
        raise ValueError(f"{where}: expected YAML, got {_one_line(str(error))}") from None


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
    location = _one_line(".".join(str(part) for part in error["loc"] if part not in (_NUMBER, _RANGE)))
    if error["type"] == "extra_forbidden":
        return f"{location}: unknown key{_suggestion(error['loc'])}"
    message = str(error["msg"]).removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    if error["type"] == "value_error":
        return f"{location}: {message}" if location else message
    return f"{location}: {message}, got {error['input']!r}"


def _suggestion(location: tuple[str | int, ...]) -> str:
    """Return the nearest known key of the same section, as words."""
    section: type[BaseModel] = Config
    for part in location[:-1]:
        if isinstance(part, str):
            kind = section.model_fields[part].annotation
            section = OutsideConfig if part == "outside" else kind if isinstance(kind, type) else section
    known = list(section.model_fields)
    close = difflib.get_close_matches(str(location[-1]), known, n=1)
    prefix = "".join(f"{part}." for part in location[:-1])
    return f", did you mean {prefix}{close[0]}?" if close else f"; known are {', '.join(known)}"
