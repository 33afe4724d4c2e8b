"""What a service answers."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

_BASE64: JsonDict = {"contentEncoding": "base64", "contentMediaType": "image/png"}


class Failed(BaseModel):
    """An image that could not be taken; the others of its request were."""

    model_config = ConfigDict(extra="forbid")

    error: str = Field(description="one line, which image and why")


class Scored(BaseModel):
    """What the detector says of an image."""

    model_config = ConfigDict(extra="forbid")

    logit: float = Field(description="high in distribution")
    ood_score: float = Field(description="minus the logit: high out of distribution")
    p_value: float | None = Field(description="conformal, in (0, 1]; null where the run is not calibrated")
    in_distribution: bool | None = Field(description="the verdict; null where the run is not calibrated")
    notes: list[str] = Field(description='what was done to the image first, as in "resized to 28 x 28"')


class Scores(BaseModel):
    """The answer to /v1/score."""

    items: list[Scored | Failed] = Field(description="one for each image, in their order")
    threshold: float | None = Field(description="the logit at and above which an image counts as in distribution")


class Made(Scored):
    """An image that was made, and what the detector says of it as it is here, in 8 bits."""

    image: str = Field(description="a PNG", json_schema_extra=_BASE64)
    passes: int = Field(description="forward and backward passes spent on it")


class Transformed(BaseModel):
    """The answer to /v1/transform."""

    items: list[Made | Failed] = Field(description="one for each image, in their order")


class Drawn(Made):
    """A sample."""

    seed: int = Field(description="the sample depends on it alone")


class Samples(BaseModel):
    """The answer to /v1/sample."""

    items: list[Drawn] = Field(description="one for each seed, in their order")


class Calibrated(BaseModel):
    """The held-out target images that verdicts come from."""

    images: int = Field(description="how many")
    tpr: float = Field(description="the share of them that is accepted")
    threshold: float = Field(description="the logit at and above which an image counts as in distribution")


class Climbs(BaseModel):
    """How the run climbs where a request does not say."""

    steps: int
    step_size: float
    shrink: float


class Model(BaseModel):
    """The answer to /v1/model."""

    name: str = Field(description="of the configuration")
    network: str
    parameters: int = Field(description="how many")
    shape: list[int] = Field(description="of an image as the detector takes it, (C, H, W)")
    target: dict[str, Any] = Field(description="the data it was trained on")
    outside: list[dict[str, Any]] = Field(description="the data it was trained against")
    ball: dict[str, Any] = Field(description="where the adversary of the training could go")
    iterations: int = Field(description="training steps behind these weights")
    digest: str = Field(description="SHA-256 of the weights, as `genat train` prints it")
    classes: list[str] = Field(description="that it tells apart; none of a detector alone")
    calibration: Calibrated | None = Field(description="null where the training has not ended")
    climbing: Climbs
    limits: dict[str, int | float] = Field(description="of this service")
    samples: bool = Field(description="whether /v1/sample is there: it needs the data that climbs start from")
    genat: str = Field(description="the version that serves it")


class Health(BaseModel):
    """The answer of a probe."""

    status: str
