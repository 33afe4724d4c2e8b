"""What a service counts, for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Telemetry:
    """The counters of one service; they name routes and statuses, never what was in a request.

    Attributes:
        requests: answered, by route, method and status; 499 is a client that went away.
        seconds: from arrival to answer, by route.
        images: by route and what became of them: "done", or "error" where one had an error of its own.
        batch: images in one pass of the detector.
        waiting: images admitted to be scored and not answered.
        climbing: requests that climb or wait to.
        held: bytes of bodies.
        lost: requests whose answer was cut off when the service stopped.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        own = self.registry
        labels = ["route", "method", "status"]
        self.requests = Counter("genat_requests", "Requests answered", labels, registry=own)
        self.seconds = Histogram("genat_request_seconds", "From arrival to answer", ["route"], buckets=SECONDS,
                                 registry=own)  # fmt: skip
        self.images = Counter("genat_images", "Images taken", ["route", "outcome"], registry=own)
        self.batch = Histogram("genat_batch_images", "Images in one pass", buckets=SIZES, registry=own)
        self.waiting = Gauge("genat_waiting_images", "Images admitted to be scored", registry=own)
        self.climbing = Gauge("genat_climbing_requests", "Requests that climb or wait to", registry=own)
        self.held = Gauge("genat_body_bytes", "Bytes of bodies held", registry=own)
        self.lost = Counter("genat_lost_requests", "Requests cut off at the stop", registry=own)
        ProcessCollector(registry=own)

    def text(self) -> bytes:
        """Return all of it as Prometheus reads it."""
        return generate_latest(self.registry)
