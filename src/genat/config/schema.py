"""Every key of the configuration: its type, its default and what it may be."""

import math
from typing import Annotated, Any, Literal

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
    ValidationInfo,
    field_validator,
    model_validator,
)

from genat.ascent import Rule
from genat.balls import Ball, L2Ball, LinfBall
from genat.curriculum import Curriculum
from genat.recipe import Classification, Replay

Share = Annotated[float, Field(gt=0, lt=1)]
UpToOne = Annotated[float, Field(gt=0, le=1)]
Action = Literal["continue", "stop", "back-off"]

TAGS = NUMBER, RANGE = "a number", "[low, high]"
"""What pydantic calls the two forms of a size in an error's location."""

_DEEPEST = 20  # levels of lists and keys inside one another in network_options

# outside data that is drawn from a formula or made of other images, rather than read
_DRAWN = ("photographs", "dead-leaves", "uniform-noise", "gaussian-noise", "class-gaussians", "shuffled-patches")


def _rising(ends: tuple[float, float]) -> tuple[float, float]:
    if ends[0] > ends[1]:
        raise ValueError(f"expected [low, high] with low at most high, got {list(ends)}")
    return ends


def _plain(value: Any, depth: int = 0) -> Any:  # noqa: ANN401 - whatever YAML holds
    """Refuse what does not come back from YAML and JSON as it was: dates, bytes, numbers without end."""
    if depth > _DEEPEST:
        raise ValueError(f"expected at most {_DEEPEST} levels, got more")
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise ValueError(f"expected keys that are text, got {key!r}")
            _plain([key, inner], depth)
    elif isinstance(value, list | tuple):
        for inner in value:
            _plain(inner, depth + 1)
    elif isinstance(value, int) and abs(value) >= 2**63:
        raise ValueError("expected integers of at most 64 bits, got a longer one")
    elif not (value is None or isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))):
        raise ValueError(f"expected text, finite numbers, truth values, lists and keys with values, got {value!r}")
    return value


_number_or_range = Discriminator(lambda value: RANGE if isinstance(value, list | tuple) else NUMBER)
Size = Annotated[
    Annotated[PositiveFloat, Tag(NUMBER)]
    | Annotated[tuple[PositiveFloat, PositiveFloat], AfterValidator(_rising), Tag(RANGE)],
    _number_or_range,
]
Shrink = Annotated[
    Annotated[UpToOne, Tag(NUMBER)] | Annotated[tuple[UpToOne, UpToOne], AfterValidator(_rising), Tag(RANGE)],
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


class DescentConfig(BallConfig):
    """In-distribution descent of the target's samples before they are learned: how many steps, and within what ball."""

    steps: Annotated[int, Field(ge=0)] = 0


class ClassifyConfig(Section):
    """How a network of a logit a class learns the target's classes, under attack; see `genat.Classification`."""

    ball: BallConfig = BallConfig(radius=0.5)
    steps: Annotated[int, Field(ge=0)] = 10
    step_size: PositiveFloat = 0.1
    weight: NonNegativeFloat = 1.0
    toward: Literal["class", "any"] = "class"

    @model_validator(mode="after")
    def _bounded(self) -> "ClassifyConfig":
        if self.ball.radius is None:
            raise ValueError("expected ball.radius, got none")
        return self

    def build(self) -> Classification:
        """Return the setting of `genat.fit`."""
        return Classification(self.ball.build(), self.steps, self.step_size, self.weight, self.toward)


class ReplayConfig(Section):
    """Ascents that go on from one iteration to the next; see `genat.Replay`."""

    burst: PositiveInt = 5
    rows: PositiveInt = 256

    def build(self) -> Replay:
        """Return the setting of `genat.fit`."""
        return Replay(self.burst, self.rows)


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
    fill: Annotated[float, Field(ge=0, le=1)] = 0.0
    crop_scale: tuple[UpToOne, UpToOne] | None = None
    crop_ratio: tuple[PositiveFloat, PositiveFloat] = (1.0, 1.0)
    crop_probability: UpToOne = 1.0
    flip: bool = False


def _check_located(kind: str, path: str | None, label: str | None) -> None:
    needed = kind in ("folder", "parquet", "hugging-face", "emoji", "mnist")
    if needed and path is None:
        where = " (the folder of its four IDX files)" if kind == "mnist" else ""
        raise ValueError(f"expected path with kind={kind}{where}, got none")
    if not needed and kind != "fashion-mnist" and path is not None:
        raise ValueError(f"expected no path with kind={kind}, got {path!r}")
    if kind == "emoji" and label not in ("category", "subcategory"):
        raise ValueError(f"expected label category or subcategory with kind=emoji, got {label}")


class DataConfig(Section):
    """The target: in-distribution images.

    Attributes:
        kind: where the images are; `path` goes with folder, parquet, hugging-face (there a hub id or a folder), emoji
            (the npm package's folder) and mnist (the folder of its IDX files).
        label: the column of classes; with emoji category or subcategory.
        group: the column of what the validation share never parts, such as a person; emoji keep a design whole.
        size: side of the square images; null keeps the images' own, which then must be one.
        mode: colours; auto is grey where every image is grey.
        classes: names or numbers of the classes to keep; null keeps all.
        validation: share held out of training, for thresholds and calibration.
    """

    kind: Literal["digits", "fashion-mnist", "mnist", "emoji", "lfw-faces", "folder", "parquet", "hugging-face"] = (
        "digits"
    )
    path: str | None = None
    split: str = "train"
    image: str = "image"
    label: str | None = "label"
    group: str | None = None
    size: PositiveInt | None = None
    mode: Literal["auto", "L", "RGB"] = "auto"
    classes: tuple[int | str, ...] | None = None
    validation: Share = 0.2

    @model_validator(mode="after")
    def _located(self) -> "DataConfig":
        _check_located(self.kind, self.path, self.label)
        if self.group is not None and self.kind not in ("parquet", "hugging-face"):
            raise ValueError(f"expected group with kind=parquet or hugging-face, got kind={self.kind}")
        return self


class OutsideConfig(Section):
    """One part of the outside data, where ascents start from.

    Attributes:
        kind: photographs (crops of two photographs), dead-leaves, the noises, class-gaussians (fitted to the target),
            shuffled-patches (of the target), other-classes (those of the target's data that `data.classes` leaves
            out; in a committee, for each detector, all classes but its own), or images like `data`'s.
        weight: its share in the mixture, against the other parts' weights.
        classes: of images, names or numbers of those to keep; null keeps all.
        augment: of images, their augmentation.
        patch: of shuffled-patches, a patch's side in pixels; null is a quarter of the image's.
    """

    kind: Literal[
        "photographs",
        "dead-leaves",
        "uniform-noise",
        "gaussian-noise",
        "class-gaussians",
        "shuffled-patches",
        "other-classes",
        "digits",
        "fashion-mnist",
        "mnist",
        "emoji",
        "lfw-faces",
        "folder",
        "parquet",
        "hugging-face",
    ] = "photographs"
    weight: PositiveFloat = 1.0
    path: str | None = None
    split: str = "train"
    image: str = "image"
    label: str | None = "label"
    classes: tuple[int | str, ...] | None = None
    augment: AugmentConfig = AugmentConfig()
    patch: PositiveInt | None = None

    @model_validator(mode="after")
    def _located(self) -> "OutsideConfig":
        _check_located(self.kind, self.path, self.label)
        if self.kind in _DRAWN and (self.classes is not None or self.augment != AugmentConfig()):
            raise ValueError(f"expected classes and augment with images, got kind={self.kind}")
        if self.patch is not None and self.kind != "shuffled-patches":
            raise ValueError(f"expected patch with kind=shuffled-patches, got kind={self.kind}")
        return self


class SamplingConfig(Section):
    """How `genat sample` and `genat transform` climb.

    Attributes:
        steps, step_size, shrink: of a climb, see `genat.generation.Climbing`.
        rule: of the direction; null is the training's.
        starts: where a climb begins, by name: the training's outside data; class-gaussians, one normal distribution a
            class, fitted to the target's training images; or photographs, dead-leaves or uniform-noise, which need no
            data at hand.
        tries: the most climbs a sample, see `genat.generation.Rejection`; 1 keeps every climb. The ceiling is the
            logit that 95 % of the held-out target images stay below.
    """

    steps: PositiveInt = 32
    step_size: PositiveFloat = 0.2
    shrink: UpToOne = 1.0
    rule: Rule | None = None
    starts: Literal["outside", "class-gaussians", "photographs", "dead-leaves", "uniform-noise"] = "outside"
    tries: PositiveInt = 1


class Config(Section):
    """All there is to say about a training; `genat presets` lists the ones that come with the package.

    Attributes:
        committee: whether a detector is trained for every class of the target, all together; see `genat.Committee`.
            The batch size is then a detector's.
        members_at_once: of a committee, how many detectors' activations are in memory, see `networks.Together`.
        recompute: whether the maps inside residual blocks are computed once more in place of being kept for a gradient,
            see `networks.Recomputed`; not of a committee, which has members_at_once.
        batch_at_once: how many samples of a batch pass through the network at once, see `genat.fit`; null is all.
        checkpoint_keep: how many of the newest checkpoints stay; null is all.
        log: where curves go beside the run's `metrics.jsonl`; each needs the library of its name.
        tensorboard: the same as tensorboard among `log`.
    """

    name: Annotated[str, Field(pattern=r"^[^/\\.][^/\\]*$")] = "custom"
    data: DataConfig = DataConfig()
    outside: tuple[OutsideConfig, ...] = (OutsideConfig(),)
    augment: AugmentConfig = AugmentConfig()
    network: str = "small_convnet"
    network_options: Annotated[dict[str, Any], AfterValidator(_plain)] = Field(default_factory=dict)
    init: str | None = None
    committee: bool = False
    members_at_once: PositiveInt | None = None
    recompute: bool = False
    iterations: PositiveInt = 4000
    batch_size: PositiveInt = 64
    batch_at_once: PositiveInt | None = None
    steps: StepsConfig = StepsConfig()
    step_size: Size = 0.2
    shrink: Shrink = 1.0
    ball: BallConfig = BallConfig()
    rule: Rule = "steepest"
    random_start: bool = False
    replay: ReplayConfig | None = None
    descent: DescentConfig = DescentConfig()
    r1: NonNegativeFloat = 0.01
    classify: ClassifyConfig | None = None
    optimizer: OptimizerConfig = OptimizerConfig()
    anneal: Annotated[float, Field(ge=0, le=1)] = 0.0
    ema: Share | None = 0.999
    clip_norm: PositiveFloat | None = None
    health: HealthConfig = HealthConfig()
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    checkpoint_every: PositiveInt = 500
    checkpoint_keep: PositiveInt | None = 2
    sampling: SamplingConfig = SamplingConfig()
    tpr: Share = 0.95
    log: tuple[Literal["tensorboard", "wandb", "mlflow", "trackio"], ...] = ()
    tensorboard: bool = False
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["32-true", "bf16-mixed", "auto"] = "32-true"

    @model_validator(mode="after")
    def _startable(self) -> "Config":
        if not self.outside:
            raise ValueError("expected at least one part in outside, got none")
        if self.random_start and self.ball.radius is None:
            raise ValueError("expected ball.radius with random_start=true, got none")
        self._check_replay()
        if self.classify is not None and self.data.label is None:
            raise ValueError("expected data.label with classify, got none")
        others = any(part.kind == "other-classes" for part in self.outside)
        if others and self.data.classes is None and not self.committee:
            raise ValueError("expected data.classes with outside kind other-classes, got none")
        return self

    def _check_replay(self) -> None:
        if self.replay is None:
            return
        if self.ball.radius is not None:
            raise ValueError(f"expected replay without ball.radius, got ball.radius={self.ball.radius:g}")
        if self.replay.rows < self.batch_size:
            raise ValueError(
                f"expected replay.rows to be at least batch_size={self.batch_size}, got {self.replay.rows}"
            )
        if self.classify is not None and self.classify.toward == "class":
            raise ValueError("expected replay with classify.toward=any, got toward=class")

    @model_validator(mode="after")
    def _of_classes(self) -> "Config":
        if not self.committee:
            if self.members_at_once is not None:
                raise ValueError("expected members_at_once with committee=true, got committee=false")
            return self
        if self.recompute:
            raise ValueError("expected members_at_once with committee=true, got recompute=true")
        if self.classify is not None:
            raise ValueError("expected committee=true or classify, got both")
        if self.data.label is None:
            raise ValueError("expected data.label with committee=true, got none")
        if "back-off" in (self.health.model_dump().values()):
            raise ValueError("expected health without back-off with committee=true, got one")
        return self
