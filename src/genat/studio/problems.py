"""Everything that goes wrong is said in one form: problem details, `application/problem+json`.

References:
    RFC 9457: Problem Details for HTTP APIs (Nottingham, Wilde, Dalal, 2023) https://www.rfc-editor.org/rfc/rfc9457
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field, ValidationError
from starlette.exceptions import HTTPException

MEDIA_TYPE = "application/problem+json"
CLOSED = 499  # the client went away; nobody reads this answer, the metrics count it


class Fault(BaseModel):
    """One thing that is wrong with a request's body."""

    pointer: str = Field(description="where, as a JSON pointer")
    detail: str = Field(description="what was expected")


class Details(BaseModel):
    """What went wrong."""

    type: str = Field(default="about:blank", description="the title says all that the type would")
    title: str = Field(description="the status in words")
    status: int = Field(description="the status of the answer")
    detail: str = Field(description="what was expected and what came")
    errors: list[Fault] | None = Field(default=None, description="where in the body, if it could be read")


class Problem(Exception):  # noqa: N818 - what RFC 9457 calls it
    """A request that cannot be answered as asked.

    Args:
        status: of the answer.
        detail: one line, "expected X, got Y".
        headers: of the answer.
        errors: where in the body.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        errors: Sequence[Fault] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers, self.errors = status, detail, headers, errors

    def response(self) -> JSONResponse:
        """Return the answer that says so."""
        content: dict[str, Any] = {
            "type": "about:blank",
            "title": title(self.status),
            "status": self.status,
            "detail": self.detail,
        }
        if self.errors is not None:
            content["errors"] = [fault.model_dump() for fault in self.errors]
        return JSONResponse(content, self.status, headers=self.headers, media_type=MEDIA_TYPE)


def title(status: int) -> str:
    """Return a status in words.

    Example:
        >>> title(503)
        'Service Unavailable'
    """
    return "Client Closed Request" if status == CLOSED else HTTPStatus(status).phrase


def busy(what: str) -> Problem:
    """Return the answer of a service that has no room left; the client may ask again in a second."""
    return Problem(503, f"expected room for {what}, got a full house: ask again", headers={"Retry-After": "1"})


def invalid(error: ValidationError) -> Problem:
    """Return what a model refuses in a body, without repeating what came: that may be a picture."""
    faults = [
        Fault(pointer="".join(f"/{part}" for part in one["loc"]), detail=one["msg"])
        for one in error.errors(include_url=False, include_context=False, include_input=False)
    ]
    if any(one["type"] == "json_invalid" for one in error.errors(include_url=False, include_input=False)):
        return Problem(400, f"expected JSON, got {faults[0].detail.removeprefix('Invalid JSON: ')}")
    words = "; ".join(f"{fault.pointer or 'the body'}: {fault.detail}" for fault in faults[:3])
    return Problem(422, f"expected a body as the description says, got {words}", errors=faults)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return how the description of a route lists its problems."""
    schema = Details.model_json_schema()
    faults = schema.pop("$defs")["Fault"]
    schema["properties"]["errors"]["anyOf"][0]["items"] = faults
    return {status: {"description": title(status), "content": {MEDIA_TYPE: {"schema": schema}}} for status in statuses}


def install(app: FastAPI) -> None:
    """Let an application say everything that goes wrong in this form."""

    @app.exception_handler(Problem)
    async def _problem(_: Request, error: Problem) -> JSONResponse:
        return error.response()

    @app.exception_handler(HTTPException)
    async def _refused(request: Request, error: HTTPException) -> JSONResponse:
        details = {
            404: f"expected a route of this service, got {request.url.path}",
            405: f"expected another method of {request.url.path}, got {request.method}",
        }
        return Problem(
            error.status_code, details.get(error.status_code, str(error.detail)), headers=error.headers
        ).response()

    @app.exception_handler(Exception)
    async def _failed(_: Request, __: Exception) -> JSONResponse:
        return Problem(500, "expected an answer, got an error: the service's log says which").response()
