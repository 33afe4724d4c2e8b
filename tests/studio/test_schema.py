"""The OpenAPI document, and requests made from it, good and bad: never a server error, and answers as described."""

from collections import Counter
from http import HTTPMethod
from typing import Any

import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.checks import negative_data_rejection
from schemathesis.schemas import BaseSchema

from genat.runs import Run
from genat.studio import Limits, application
from genat.studio.bodies import FORM

TAKING = ["/v1/score", "/v1/transform", "/v1/sample"]
GIVING = ["/v1/model", "/metrics", "/healthz", "/readyz"]


@pytest.fixture(scope="module")
def api(trained: Run) -> BaseSchema:
    app = application(trained, limits=Limits(images=4, climbs=2, steps=3))
    return schemathesis.openapi.from_asgi("/openapi.json", app)


def _ask(api: BaseSchema, path: str, method: HTTPMethod, mode: GenerationMode, n: int) -> Counter[int]:
    """Ask n times; schemathesis checks each answer's status, media type and body against the document.

    It also checks that what breaks the document is refused, but for forms: these know neither null nor lists, so that
    an empty list in a field's place is sent as no field, which is good: such an answer to a form is not counted.
    """
    seen: Counter[int] = Counter()

    @settings(max_examples=n, deadline=None, suppress_health_check=list(HealthCheck))
    @given(case=api[path][method.value].as_strategy(generation_mode=mode))
    def ask(case: Case[Any]) -> None:
        response = case.call()
        form = case.media_type == FORM
        case.validate_response(response, excluded_checks=[negative_data_rejection] if form else None)
        if not (form and mode is GenerationMode.NEGATIVE and response.status_code == 200):
            seen[response.status_code] += 1

    ask()
    return seen


@pytest.mark.parametrize("path", TAKING)
def test_good_requests_are_answered(api: BaseSchema, path: str) -> None:
    assert set(_ask(api, path, HTTPMethod.POST, GenerationMode.POSITIVE, 15)) == {200}


@pytest.mark.parametrize("path", TAKING)
def test_bad_requests_are_refused(api: BaseSchema, path: str) -> None:
    seen = _ask(api, path, HTTPMethod.POST, GenerationMode.NEGATIVE, 15)
    assert set(seen) <= {400, 415, 422}
    assert seen[422]


@pytest.mark.parametrize("path", GIVING)
def test_questions_without_a_body_are_answered(api: BaseSchema, path: str) -> None:
    assert set(_ask(api, path, HTTPMethod.GET, GenerationMode.POSITIVE, 1)) == {200}


@pytest.mark.slow
@pytest.mark.parametrize("mode", list(GenerationMode))
@pytest.mark.parametrize("path", TAKING)
def test_many_requests_have_no_server_error(api: BaseSchema, path: str, mode: GenerationMode) -> None:
    seen = _ask(api, path, HTTPMethod.POST, mode, 200)
    assert max(seen) < 500
    assert sum(seen.values()) >= 50


def test_the_document_names_every_route_its_bounds_and_its_problems(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    assert sorted(document["paths"]) == sorted(TAKING + GIVING)
    assert document["openapi"].startswith("3.1")
    score = document["paths"]["/v1/score"]["post"]
    assert sorted(score["responses"]) == ["200", "400", "408", "413", "415", "422", "503", "504"]
    assert all(
        "application/problem+json" in score["responses"][code]["content"] for code in score["responses"] if code > "2~"
    )
    assert sorted(score["requestBody"]["content"]) == ["application/json", "multipart/form-data"]
    images = score["requestBody"]["content"]["application/json"]["schema"]["properties"]["images"]
    assert (images["minItems"], images["maxItems"]) == (1, 64)
    seeds = document["paths"]["/v1/sample"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert seeds["properties"]["seeds"]["maxItems"] == 16
    assert seeds["properties"]["steps"]["anyOf"][0]["maximum"] == 256
    assert all(operation["summary"] for path in document["paths"].values() for operation in path.values())
