"""The routes."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import APIRouter, FastAPI, Request, Response, Security
from fastapi.middleware.cors import CORSMiddleware
from fastapi.security import HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST

from genat.runs import Run
from genat.studio import problems
from genat.studio.answers import Health, Model, Samples, Scores, Transformed
from genat.studio.bodies import described
from genat.studio.guard import Guard
from genat.studio.limits import Limits
from genat.studio.problems import Problem, documented
from genat.studio.service import Service

_TAKING = (400, 408, 413, 415, 422, 503, 504)


def application(run: Run, *, limits: Limits = Limits(), key: str | None = None, origins: Sequence[str] = ()) -> FastAPI:
    """Return a run behind HTTP, as a FastAPI application onto which a page can be mounted.

    Its `state.service` is the `Service` behind the routes. It runs within its lifespan: a server's, or that of a
    `with TestClient(app)`.

    Args:
        run: as `genat.load` reads it.
        limits: how much it takes on.
        key: that clients name as `Authorization: Bearer KEY` for all but the probes and the description; None lets
            everyone in.
        origins: of pages in other places that a browser lets call it (CORS); none by default.

    Raises:
        ValueError: where the run is not of images.

    Example:
        >>> import tempfile
        >>> from fastapi.testclient import TestClient
        >>> from genat import config, runs
        >>> keys = ["iterations=2", "network_options.hidden=[8]", "outside=[{kind: uniform-noise}]"]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     run, _ = runs.train(config.load("digits", keys), folder)
        ...     with TestClient(application(run)) as client:
        ...         client.get("/v1/model").json()["shape"]
        [1, 8, 8]
    """
    service = Service(run, limits)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await service.start()
        yield
        await service.stop()

    app = FastAPI(
        title=f"genat: {run.config.name}",
        version=version("genat"),
        description="A detector trained adversarially: a logit, high in distribution. Climbing it makes images.",
        docs_url=None,  # their pages would fetch scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    app.state.service = service
    problems.install(app)
    locked = [] if key is None else [Security(HTTPBearer(auto_error=False))]  # for the description; the guard checks
    responses = documented(401) if key is not None else {}
    app.include_router(_verbs(service), dependencies=locked, responses=responses)
    app.include_router(_probes(service))
    app.add_middleware(Guard, limits=limits, key=key, telemetry=service.telemetry)
    if origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(origins),
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type"],
        )
    return app


def _verbs(service: Service) -> APIRouter:
    """Return what is behind the key."""
    router, bodies = APIRouter(), service.bodies
    taking = documented(*_TAKING)

    @router.post("/v1/score", responses=taking, openapi_extra=described(bodies.scoring, form=True))
    async def score(request: Request) -> Scores:
        """Score images: logit, OOD score, p-value and verdict of each; one that cannot be read has an error instead."""
        return await service.score(request)

    @router.post("/v1/transform", responses=taking, openapi_extra=described(bodies.transforming, form=True))
    async def transform(request: Request) -> Transformed:
        """Turn images into the target by climbing the logit from them."""
        return await service.transform(request)

    if service.starts is not None:

        @router.post("/v1/sample", responses=taking, openapi_extra=described(bodies.sampling, form=False))
        async def sample(request: Request) -> Samples:
            """Generate an image a seed, the one that `genat sample` makes of it."""
            return await service.sample(request)

    @router.get("/v1/model")
    async def model() -> Model:
        """Say what was trained on what, and what may be asked."""
        return service.model()

    @router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def metrics() -> Response:
        """Count, for Prometheus."""
        return Response(service.telemetry.text(), media_type=CONTENT_TYPE_LATEST)

    return router


def _probes(service: Service) -> APIRouter:
    """Return what is open to everyone."""
    router = APIRouter()

    @router.get("/healthz")
    async def healthz() -> Health:
        """Say that the process listens."""
        return Health(status="ok")

    @router.get("/readyz", responses=documented(503))
    async def readyz() -> Health:
        """Say that requests are answered: the detector's thread lives, and no pass takes longer than the timeout."""
        if not service.ready():
            raise Problem(503, "expected the detector to answer, got nothing within the timeout")
        return Health(status="ready")

    return router
