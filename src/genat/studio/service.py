"""What a service does with a run: score, transform, sample; every picture is decoded and climbed off the loop."""

import asyncio
import base64
import binascii
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict
from importlib.metadata import version
from typing import Any, TypeVar

import torch
from starlette.requests import ClientDisconnect, Request
from torch import Tensor, nn

from genat import generation, plots
from genat.detection import Calibration
from genat.generation import Rejection
from genat.generation.chunks import logits_in_chunks
from genat.runs import Run
from genat.sources import fit_image
from genat.sources.source import check_image_shape
from genat.studio.answers import Calibrated, Climbs, Drawn, Failed, Made, Model, Samples, Scored, Scores, Transformed
from genat.studio.bodies import Climbing, read_images, read_json, within
from genat.studio.guard import DEADLINE
from genat.studio.limits import FullError, Limits, Room
from genat.studio.logic.opened import starts_of
from genat.studio.problems import CLOSED, Problem, busy
from genat.studio.telemetry import Telemetry
from genat.studio.verdicts import Verdict, verdicts
from genat.studio.worker import Watch, Worker

Result = TypeVar("Result")
_TURN = 0.02  # seconds that one request has the decoder before others have it
_PRIVATE = {"path"}  # of the data's configuration: where it lies is nobody's business


class Service:
    """A run, the thread that it runs on, and the room there is.

    Args:
        run: what is served.
        limits: how much it takes on.

    Attributes:
        bodies: what it may be asked, within its limits.
        worker: the thread; a page that is mounted beside the routes shares it.
        telemetry: what is counted.
        starts: where samples begin; None where their data is not on this machine.
        missing: why there are none; empty where there are.

    Raises:
        ValueError: where the run is not of images.
    """

    def __init__(self, run: Run, limits: Limits) -> None:
        check_image_shape(run.shape)
        held_out = 0 if run.calibration is None else len(run.calibration.logits)
        self.run, self.limits, self.bodies = run, limits, within(limits, classes=run.classes, held_out=held_out)
        self.telemetry = Telemetry()
        device = next(run.detector.parameters()).device
        observe: Callable[[int], None] = self.telemetry.batch.observe
        self.worker = Worker(run.detector, batch=limits.batch, device=device, scored=observe)
        self._device = device
        self._queue, self._climbing = Room(limits.queue), Room(limits.climbing)
        self.telemetry.waiting.set_function(lambda: self._queue.taken)
        self.telemetry.climbing.set_function(lambda: self._climbing.taken)
        self._decoder: ThreadPoolExecutor | None = None
        self.starts, self.missing = starts_of(run)

    async def start(self) -> None:
        """Start the threads, and take one pass, so that the first request finds everything warm."""
        # one thread: pictures are decoded one after another, which bounds their memory
        self._decoder = ThreadPoolExecutor(1, thread_name_prefix="genat-decoder")
        self.worker.start()
        await asyncio.wrap_future(self.worker.score(torch.zeros((1, *self.run.shape), dtype=torch.uint8)))

    async def stop(self) -> None:
        """Let the threads end."""
        if self._decoder is not None:
            self._decoder.shutdown(cancel_futures=True)
        await asyncio.to_thread(self.worker.stop)

    def ready(self) -> bool:
        """Return whether a request would be answered in time."""
        return self.worker.responds(self.limits.timeout)

    async def score(self, request: Request) -> Scores:
        """Score the images of a request."""
        body, images = await read_images(request, self.bodies.scoring, most=self.limits.images)
        calibration = self.run.calibration
        with _admitted(self._queue, len(images), "so many images"):
            items = await self._in_time(request, self._scored(images, calibration, body.alpha))
        self._count("/v1/score", items)
        threshold = None if calibration is None else _threshold(calibration, body.alpha)
        return Scores(items=items, threshold=threshold)

    async def transform(self, request: Request) -> Transformed:
        """Transform the images of a request."""
        body, images = await read_images(request, self.bodies.transforming, most=self.limits.climbs)
        detector, how = self._detector(body), self._how(body)
        with _admitted(self._climbing, 1, "another climb"):
            items = await self._in_time(request, self._transformed(images, detector, how))
        self._count("/v1/transform", items)
        return Transformed(items=items)

    async def sample(self, request: Request) -> Samples:
        """Sample the seeds of a request."""
        body = await read_json(request, self.bodies.sampling)
        detector, how = self._detector(body), self._how(body)
        rejection = self._rejection(how)
        with _admitted(self._climbing, 1, "another climb"):
            items = await self._in_time(request, self._sampled(body.seeds, detector, how, rejection))
        self._count("/v1/sample", items)
        return Samples(items=items)

    def model(self) -> Model:
        """Return what is served."""
        run, config = self.run, self.run.config
        calibration, own = run.calibration, run.climbing()
        return Model(
            name=config.name,
            network=config.network,
            parameters=sum(parameter.numel() for parameter in run.detector.parameters()),
            shape=list(run.shape),
            target=config.data.model_dump(mode="json", exclude=_PRIVATE, exclude_defaults=True)
            | {"kind": config.data.kind},
            outside=[
                part.model_dump(mode="json", exclude=_PRIVATE, exclude_defaults=True) | {"kind": part.kind}
                for part in config.outside
            ],
            ball=config.ball.model_dump(mode="json"),
            iterations=run.iteration,
            digest=run.digest,
            classes=list(run.classes),
            calibration=None
            if calibration is None
            else Calibrated(images=len(calibration.logits), tpr=calibration.tpr, threshold=calibration.threshold),
            climbing=Climbs(steps=own["steps"], step_size=own["step_size"], shrink=own["shrink"]),
            limits=asdict(self.limits),
            samples=self.starts is not None,
            genat=version("genat"),
        )

    async def _scored(
        self, images: Sequence[str | bytes], calibration: Calibration | None, alpha: float | None
    ) -> list[Scored | Failed]:
        items, taken = await self._decoded(images)
        if taken:
            logits = await asyncio.wrap_future(self.worker.score(torch.stack([pixels for _, pixels, _ in taken])))
            judged = _judged(logits, calibration, alpha)
            for (i, _, notes), one in zip(taken, judged, strict=True):
                items[i] = _finite(i, one) or Scored(**one, notes=list(notes))
        return [item for item in items if item is not None]

    async def _transformed(
        self, images: Sequence[str | bytes], detector: nn.Module, how: generation.Climbing
    ) -> list[Made | Failed]:
        items, taken = await self._decoded(images)
        if taken:
            before = torch.stack([pixels for _, pixels, _ in taken]).to(self._device).float() / 255

            def work(watch: Watch) -> list[dict[str, Any]]:
                end = generation.transform(watch(detector), before, **how)
                return self._drawn(watch, end.points, end.passes.tolist())

            made = await asyncio.wrap_future(self.worker.climb(work))
            for (i, _, notes), one in zip(taken, made, strict=True):
                items[i] = _finite(i, one) or Made(**one, notes=list(notes))
        return [item for item in items if item is not None]

    async def _sampled(
        self, seeds: Sequence[int], detector: nn.Module, how: generation.Climbing, rejection: Rejection | None
    ) -> list[Drawn]:
        outside = self.starts
        assert outside is not None

        def work(watch: Watch) -> list[dict[str, Any]]:
            made = generation.sample(
                watch(detector), outside, seeds=seeds, rejection=rejection, device=self._device, **how
            )
            return self._drawn(watch, made.images, [made.passes] * len(seeds))

        made = await asyncio.wrap_future(self.worker.climb(work))
        return [Drawn(**one, seed=seed, notes=[]) for seed, one in zip(seeds, made, strict=True)]

    def _drawn(self, watch: Watch, images: Tensor, passes: Sequence[int]) -> list[dict[str, Any]]:
        """Return images as PNGs, and what the run says of them as they are there, in 8 bits."""
        shown = (images.clamp(0, 1) * 255).round() / 255
        logits = logits_in_chunks(watch(self.run.detector), shown).double().cpu()
        pictures = [base64.b64encode(plots.single(image)).decode() for image in shown]
        judged = _judged(logits, self.run.calibration, None)
        return [one | {"image": picture, "passes": n} for one, picture, n in zip(judged, pictures, passes, strict=True)]

    async def _decoded(self, images: Sequence[str | bytes]) -> tuple[list[Any], list[tuple[int, Tensor, Any]]]:
        """Return the errors of images in their places, and of the others place, pixels and notes.

        A turn on the thread is short, so that many small images cost one turn, and a request with large ones does not
        hold up the others.
        """
        loop = asyncio.get_running_loop()
        items: list[Failed | None] = []
        taken: list[tuple[int, Tensor, Any]] = []
        while len(items) < len(images):
            first = len(items)
            for i, one in enumerate(await loop.run_in_executor(self._decoder, self._decode, images, first), first):
                items.append(one if isinstance(one, Failed) else None)
                if not isinstance(one, Failed):
                    taken.append((i, *one))
        return items, taken

    def _decode(self, images: Sequence[str | bytes], first: int) -> list[tuple[Tensor, tuple[str, ...]] | Failed]:
        """Decode images from the first of a turn on, until the turn is over."""
        over, done = time.monotonic() + _TURN, list[tuple[Tensor, tuple[str, ...]] | Failed]()
        for i in range(first, len(images)):
            try:
                done.append(self._decode_one(images[i], f"images[{i}]"))
            except ValueError as error:
                done.append(Failed(error=str(error)))
            if time.monotonic() > over:
                break
        return done

    def _decode_one(self, content: str | bytes, name: str) -> tuple[Tensor, tuple[str, ...]]:
        if isinstance(content, str):
            try:
                content = base64.b64decode(content, validate=True)
            except (binascii.Error, ValueError) as error:
                raise ValueError(f"expected an image in base64 in {name!r}, got {error}") from None
        return fit_image(content, name=name, shape=self.run.shape, max_pixels=self.limits.pixels)

    def _detector(self, body: Climbing) -> nn.Module:
        return self.run.detector if body.of_class is None else self.run.of_class(body.of_class)

    def _how(self, body: Climbing) -> generation.Climbing:
        return self.run.climbing(
            steps=body.steps,
            step_size=body.step_size,
            shrink=body.shrink,
            stop_at=body.stop_at,
            strength=body.strength,
        )

    def _rejection(self, how: generation.Climbing) -> Rejection | None:
        """Return which climbs are kept, as `genat sample` keeps them: by chance where they are the run's own."""
        try:
            return self.run.rejection() if how == self.run.climbing() else None
        except ValueError:
            words = "expected steps or step_size of the request's own, got none: the run's training has not ended"
            raise Problem(422, words) from None

    async def _in_time(self, request: Request, work: Coroutine[Any, Any, Result]) -> Result:
        """Return what work returns, before the deadline and while the client is there; else cancel it.

        Raises:
            Problem: 504 after the deadline; 499 for nobody, where the client went away.
        """
        doing, gone = asyncio.ensure_future(work), asyncio.ensure_future(_gone(request))
        left = request.scope[DEADLINE] - asyncio.get_running_loop().time()
        try:
            await asyncio.wait({doing, gone}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            if doing.done():
                return doing.result()
            if gone.done():
                raise Problem(CLOSED, "expected a client, got none")
            raise Problem(504, f"expected an answer within {self.limits.timeout:g} s, got none: ask for less at a time")
        except FloatingPointError as error:
            raise Problem(422, str(error)) from None
        finally:
            for task in (doing, gone):
                task.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await task

    def _count(self, route: str, items: Sequence[object]) -> None:
        for item in items:
            self.telemetry.images.labels(route, "error" if isinstance(item, Failed) else "done").inc()


def _judged(logits: Tensor, calibration: Calibration | None, alpha: float | None) -> list[dict[str, Any]]:
    """Return what is said of `(N,)` logits, by the names of the answers."""
    return [
        {"logit": one.logit, "ood_score": -one.logit, "p_value": one.p_value, "in_distribution": one.inside}
        for one in verdicts(logits, calibration, alpha=alpha)
    ]


def _finite(i: int, row: dict[str, Any]) -> Failed | None:
    refused = Verdict(row["logit"], None, None).refused(f"images[{i}]")
    return Failed(error=refused) if refused else None


def _threshold(calibration: Calibration, alpha: float | None) -> float:
    return calibration.threshold if alpha is None else calibration.threshold_at(alpha)


@contextmanager
def _admitted(room: Room, n: int, what: str) -> Iterator[None]:
    """Hold n places, or say that there is no room."""
    try:
        room.take(n)
    except FullError:
        raise busy(what) from None
    try:
        yield
    finally:
        room.give(n)


async def _gone(request: Request) -> None:
    """Return when the client has gone away."""
    with suppress(ClientDisconnect):
        while (await request.receive())["type"] != "http.disconnect":
            pass
