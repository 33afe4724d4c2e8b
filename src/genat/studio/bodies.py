"""What a service is asked, and how a body becomes that."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, create_model
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from genat.studio.limits import Limits
from genat.studio.problems import Fault, Problem, invalid

JSON, FORM = "application/json", "multipart/form-data"

Image = Annotated[
    str, Field(json_schema_extra={"contentEncoding": "base64"}, description="an image file of any size, in base64")
]


def _whole(value: object) -> object:
    """Return 3 for 3.0: to JSON they are one number."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


_WHOLE = BeforeValidator(_whole)
Seed = Annotated[int, Field(ge=0, lt=2**53), _WHOLE]  # what every JSON reader keeps exact
_LONGEST = 2**16  # of a field that is no file, in bytes
_NEVER = 2**62  # bytes of a part before it would go to the disk


class Judging(BaseModel):
    """How images are judged."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    alpha: float | None = Field(
        default=None, gt=0, lt=1, description="judge by the p-value: out where it is at most this; null: the threshold"
    )


class Climbing(BaseModel):
    """How images climb; null is the run's own."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    steps: Annotated[int, Field(ge=1), _WHOLE] | None = Field(default=None, description="of the climb")
    step_size: float | None = Field(default=None, ge=1e-9, le=1e3, description="of a step, pixels in [0, 1]")
    shrink: float | None = Field(default=None, ge=1e-9, le=1, description="the last step's size over the first's")
    stop_at: float | None = Field(
        default=None, ge=-1e30, le=1e30, description="the logit at which one moves no further"
    )
    strength: float = Field(default=1.0, ge=1e-9, le=1, description="share of the full way")
    of_class: str | int | None = Field(
        default=None,
        alias="class",
        description="one of the classes of /v1/model, or its index; null: all of the target",
    )


class Scoring(Judging):
    """The body of /v1/score."""

    images: list[Image] = Field(min_length=1)


class Transforming(Climbing):
    """The body of /v1/transform."""

    images: list[Image] = Field(min_length=1)


class Sampling(Climbing):
    """The body of /v1/sample."""

    seeds: list[Seed] = Field(min_length=1, description="one a sample")


Options = TypeVar("Options", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Bodies:
    """The bodies of a service, within its limits."""

    scoring: type[Scoring]
    transforming: type[Transforming]
    sampling: type[Sampling]


def within(limits: Limits, *, classes: Sequence[str] = (), held_out: int = 0) -> Bodies:
    """Return the bodies that limits allow, of a run that has classes or none, and held-out images or is not calibrated.

    Example:
        >>> within(Limits(climbs=2)).sampling.model_validate({"seeds": [1, 2, 3]})
        Traceback (most recent call last):
        pydantic_core._pydantic_core.ValidationError: 1 validation error for Sampling
        ...
    """
    several: Any = (list[Image], Field(min_length=1, max_length=limits.images))
    climbing: dict[str, Any] = {
        "steps": (
            Annotated[int, Field(ge=1, le=limits.steps), _WHOLE] | None,
            Field(default=None, description="of the climb"),
        )
    }
    if not classes:
        climbing["of_class"] = (None, Field(default=None, alias="class", description="null: the run has no classes"))
    else:
        kind = Literal[tuple(classes)] | Annotated[int, Field(ge=0, lt=len(classes)), _WHOLE] | None  # type: ignore[valid-type]
        climbing["of_class"] = (kind, Field(default=None, alias="class", description="or its index; null: all of them"))
    few: Any = (list[Image], Field(min_length=1, max_length=limits.climbs))
    seeds: Any = (list[Seed], Field(min_length=1, max_length=limits.climbs, description="one a sample"))
    return Bodies(
        create_model("Scoring", __base__=Scoring, images=several, alpha=_level(held_out)),
        create_model("Transforming", __base__=Transforming, images=few, **climbing),
        create_model("Sampling", __base__=Sampling, seeds=seeds, **climbing),
    )


def _level(held_out: int) -> Any:  # noqa: ANN401 - a field
    """Return the levels that so many held-out images can judge by, see `Calibration.threshold_at`."""
    if held_out == 0:
        return (None, Field(default=None, description="null: the run's training has not ended, nothing judges"))
    low, words = 1 / (held_out + 1), "judge by the p-value: out where it is at most this; null: the threshold"
    return (Annotated[float, Field(ge=low, lt=1)] | None, Field(default=None, description=words))


def described(model: type[BaseModel], *, form: bool) -> dict[str, Any]:
    """Return how a route's description shows its body: as JSON, and where asked as a form whose images are files."""
    schema = model.model_json_schema()
    content: dict[str, Any] = {JSON: {"schema": schema}}
    if form:
        files = schema["properties"]["images"] | {"items": {"type": "string", "format": "binary"}}
        content[FORM] = {"schema": schema | {"properties": schema["properties"] | {"images": files}}}
    return {"requestBody": {"required": True, "content": content}}


async def read_json(request: Request, model: type[Options]) -> Options:
    """Return a JSON body as a model.

    Raises:
        Problem: 415 for another media type, 400 for no JSON, 422 for JSON of another form.
    """
    if _media_type(request) != JSON:
        raise _unsupported(request, JSON)
    try:
        return model.model_validate_json(await request.body())
    except ValidationError as error:
        raise invalid(error) from None


async def read_images(request: Request, model: type[Options], *, most: int) -> tuple[Options, list[str] | list[bytes]]:
    """Return a body with images, JSON or a form, as a model without them and the images: base64 or bytes.

    Raises:
        Problem: as `read_json`, or for a broken form.
    """
    match _media_type(request):
        case "application/json":
            body = await read_json(request, model)
            return body, getattr(body, "images")  # noqa: B009 - every such model has them
        case "multipart/form-data":
            return await _read_form(request, model, most=most)
        case _:
            raise _unsupported(request, f"{JSON} or {FORM}")


async def _read_form(request: Request, model: type[Options], *, most: int) -> tuple[Options, list[bytes]]:
    options: dict[str, Any] = {}
    files: list[bytes] = []
    try:
        form = await _InMemory(
            request.headers, request.stream(), max_files=most + 1, max_fields=len(model.model_fields),
            max_part_size=_LONGEST,
        ).parse()  # fmt: skip
    except MultiPartException as error:
        raise Problem(400, f"expected a form, got one that cannot be read: {error.message}") from None
    try:
        for name, value in form.multi_items():
            if isinstance(value, UploadFile) != (name == "images") or name in options:
                what = "images as files, each with a file name, and every other field once and as text"
                fault = Fault(pointer=f"/{name:.60}", detail=what)
                raise Problem(422, f"expected {what}, got {name!r:.60}", errors=[fault])
            if isinstance(value, UploadFile):
                files.append(await value.read())
            else:
                options[name] = None if value in {"", "null"} else value  # a form knows no null
    finally:
        await form.close()
    try:
        return model.model_validate(options | {"images": [""] * len(files)}, strict=False), files
    except ValidationError as error:
        raise invalid(error) from None


class _InMemory(MultiPartParser):
    """No picture goes to the disk: the body's limit bounds what is in memory."""

    spool_max_size = _NEVER


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _unsupported(request: Request, expected: str) -> Problem:
    return Problem(415, f"expected a body of {expected}, got {_media_type(request) or 'no content type'!r:.100}")
