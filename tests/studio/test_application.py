"""What the routes answer to good requests: what the library says of the same images."""

import base64
import io
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image
from torch import Tensor, nn

import genat
from genat import plots, report
from genat.networks import Committee
from genat.networks.layers import Select
from genat.runs import Run
from genat.sources import fit_image
from genat.studio import Limits, application

Client = Callable[..., TestClient]
Files = list[tuple[str, tuple[str, bytes]]]


def _tensor(images: list[bytes], run: Run) -> Tensor:
    return torch.stack([fit_image(one, name="", shape=run.shape)[0] for one in images]).float() / 255


def _picture(text: str) -> Tensor:
    array = np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))
    return torch.from_numpy(np.array(array))[None].float() / 255


def _files(images: list[bytes]) -> Files:
    return [("images", (f"{i}.png", one)) for i, one in enumerate(images)]


def _column(items: list[dict[str, Any]], name: str) -> list[Any]:
    return [item[name] for item in items]


# score


@pytest.mark.parametrize("alpha", [None, 0.2])
def test_scores_are_those_of_the_run(
    client: TestClient, trained: Run, pngs: list[bytes], texts: list[str], alpha: float | None
) -> None:
    expected = trained.predict(_tensor(pngs, trained), alpha=alpha)
    answer = client.post("/v1/score", json={"images": texts, "alpha": alpha}).json()
    items = answer["items"]
    assert _column(items, "ood_score") == pytest.approx(expected.score.tolist(), abs=1e-5)
    assert _column(items, "logit") == pytest.approx((-expected.score).tolist(), abs=1e-5)
    assert _column(items, "p_value") == expected.p_value.tolist()
    assert _column(items, "in_distribution") == expected.in_distribution.tolist()
    assert trained.calibration is not None
    assert answer["threshold"] == (trained.threshold if alpha is None else trained.calibration.threshold_at(alpha))


def test_a_form_is_answered_as_json_is(client: TestClient, pngs: list[bytes], texts: list[str]) -> None:
    as_json = client.post("/v1/score", json={"images": texts, "alpha": 0.2}).json()
    assert client.post("/v1/score", files=_files(pngs), data={"alpha": "0.2"}).json() == as_json
    default = client.post("/v1/score", json={"images": texts}).json()
    for nothing in ("", "null"):
        assert client.post("/v1/score", files=_files(pngs), data={"alpha": nothing}).json() == default


def test_an_image_that_cannot_be_read_has_an_error_of_its_own(client: TestClient, texts: list[str]) -> None:
    page = base64.b64encode(b"<html>").decode()
    torn = base64.b64encode(base64.b64decode(texts[1])[:60]).decode()
    images = [texts[0], "not base64!", page, "", torn, "\u00e9\u00e9\u00e9\u00e9", texts[1]]
    items = client.post("/v1/score", json={"images": images}).json()["items"]
    formats = "got no PNG, JPEG, WEBP, BMP, GIF, TIFF"
    assert [item.get("error") for item in items[:4]] == [
        None,
        "expected an image in base64 in 'images[1]', got Only base64 data is allowed",
        f"expected an image in 'images[2]', {formats}",
        f"expected an image in 'images[3]', {formats}",
    ]
    assert re.match(r"expected an image in 'images\[4\]', got ", items[4]["error"])
    assert re.match(r"expected an image in base64 in 'images\[5\]', got ", items[5]["error"])
    assert [items[0], items[6]] == client.post("/v1/score", json={"images": [texts[0], texts[1]]}).json()["items"]


def test_no_image_that_can_be_read_is_an_answer_too(client: TestClient) -> None:
    for route in ("score", "transform"):
        answer = client.post(f"/v1/{route}", json={"images": ["", "?"]})
        assert answer.status_code == 200
        assert [list(item) for item in answer.json()["items"]] == [["error"], ["error"]]


def test_what_was_done_to_an_image_is_said(client: TestClient, generator: torch.Generator) -> None:
    colour = plots.single(torch.rand(3, 20, 16, generator=generator))
    (item,) = client.post("/v1/score", files=_files([colour])).json()["items"]
    assert item["notes"] == ["converted from RGB to grey", "resized to 8 x 8"]


def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded(limited: Client, texts: list[str]) -> None:
    large = base64.b64encode(plots.single(torch.zeros(1, 11, 10))).decode()
    items = limited(limits=Limits(pixels=109)).post("/v1/score", json={"images": [large, texts[0]]}).json()["items"]
    assert items[0]["error"] == "expected an image in 'images[0]', got 10 x 11 pixels, more than 109"
    assert "logit" in items[1]


class Odd(nn.Module):
    """Has no finite logit where the first pixel is black."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Parameter(torch.ones(()), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1).mean(1) * self.one / x[:, 0, 0, 0].ceil()


def test_a_logit_that_is_not_finite_is_an_error_of_its_image(limited: Client, trained: Run) -> None:
    grey = torch.full((1, 8, 8), 0.2)
    black = grey.clone()
    black[0, 0, 0] = 0
    client = limited(replace(trained, detector=Odd()))
    items = client.post("/v1/score", files=_files([plots.single(black), plots.single(grey)])).json()["items"]
    assert items[0] == {"error": "expected a finite logit of 'images[0]', got inf"}
    assert items[1]["logit"] == pytest.approx(0.2)
    answer = client.post("/v1/transform", files=_files([plots.single(black)]))
    assert answer.status_code == 422
    assert answer.json()["detail"] == "expected finite points, got some that are not: the detector's gradient is not"


def test_a_run_that_is_not_calibrated_scores_without_verdicts(limited: Client, trained: Run, texts: list[str]) -> None:
    client = limited(replace(trained, calibration=None))
    answer = client.post("/v1/score", json={"images": texts}).json()
    assert answer["threshold"] is None
    assert {(item["p_value"], item["in_distribution"]) for item in answer["items"]} == {(None, None)}
    assert client.get("/v1/model").json()["calibration"] is None
    refused = client.post("/v1/score", json={"images": texts, "alpha": 0.1})
    assert refused.status_code == 422
    assert refused.json()["errors"][0] == {"pointer": "/alpha", "detail": "Input should be null"}
    made = client.post("/v1/sample", json={"seeds": [0]}).json()["items"][0]
    assert (made["p_value"], made["in_distribution"]) == (None, None)


# transform and sample


def test_transformed_images_are_those_of_the_library(
    client: TestClient, trained: Run, pngs: list[bytes], texts: list[str]
) -> None:
    body = {"images": texts[:3], "steps": 4, "step_size": 0.3, "strength": 0.5, "shrink": 0.9, "stop_at": 1e9}
    items = client.post("/v1/transform", json=body).json()["items"]
    how = trained.climbing(steps=4, step_size=0.3, strength=0.5, shrink=0.9, stop_at=1e9)
    end = genat.transform(trained.detector, _tensor(pngs[:3], trained), **how)
    pictures = torch.stack([_picture(item["image"]) for item in items])
    assert torch.equal(pictures, (end.points * 255).round() / 255)
    assert _column(items, "passes") == [4, 4, 4]
    as_form = {name: str(value) for name, value in body.items() if name != "images"}
    assert client.post("/v1/transform", files=_files(pngs[:3]), data=as_form).json()["items"] == items


def test_the_logit_is_that_of_the_picture_as_it_is_returned(client: TestClient, texts: list[str]) -> None:
    for made in (
        client.post("/v1/transform", json={"images": texts[:2]}).json()["items"],
        client.post("/v1/sample", json={"seeds": [4, 5]}).json()["items"],
    ):
        again = client.post("/v1/score", json={"images": _column(made, "image")}).json()["items"]
        assert _column(made, "logit") == pytest.approx(_column(again, "logit"), abs=1e-5)
        assert _column(made, "p_value") == _column(again, "p_value")


def test_a_climb_raises_the_logit(client: TestClient, texts: list[str]) -> None:
    before = client.post("/v1/score", json={"images": texts[:4]}).json()["items"]
    after = client.post("/v1/transform", json={"images": texts[:4]}).json()["items"]
    assert all(b < a for b, a in zip(_column(before, "logit"), _column(after, "logit"), strict=True))


def test_samples_are_those_of_the_command_whatever_their_company(client: TestClient, trained: Run) -> None:
    seeds = [0, 7, 2**53 - 1, 0]
    items = client.post("/v1/sample", json={"seeds": seeds}).json()["items"]
    assert _column(items, "seed") == seeds
    made = report.make_samples(trained, seeds)
    pictures = torch.stack([_picture(item["image"]) for item in items])
    assert torch.equal(pictures, (made.images * 255).round() / 255)
    assert items[0] == items[3]
    assert client.post("/v1/sample", json={"seeds": [7]}).json()["items"] == [items[1]]


def test_samples_that_climb_their_own_way_are_kept_by_chance_as_the_command_keeps_them(
    limited: Client, trained: Run
) -> None:
    sampling = trained.config.sampling.model_copy(update={"tries": 3})
    run = replace(trained, config=trained.config.model_copy(update={"sampling": sampling}))
    items = limited(run).post("/v1/sample", json={"seeds": [0, 1, 2, 3]}).json()["items"]
    made = report.make_samples(run, range(4))
    assert torch.equal(torch.stack([_picture(one["image"]) for one in items]), (made.images * 255).round() / 255)
    assert {one["passes"] for one in items} == {made.passes}
    refused = limited(replace(run, calibration=None)).post("/v1/sample", json={"seeds": [0]})
    assert refused.status_code == 422
    words = "expected steps or step_size of the request's own, got none: the run's training has not ended"
    assert refused.json()["detail"] == words


def test_a_class_of_a_committee_is_climbed_by_its_name_or_index(
    limited: Client, trained: Run, texts: list[str], pngs: list[bytes]
) -> None:
    class Pixel(nn.Module):
        def __init__(self, index: int) -> None:
            super().__init__()
            self.select, self.one = nn.Sequential(nn.Flatten(), Select(index)), nn.Parameter(torch.ones(()))

        def forward(self, x: Tensor) -> Tensor:
            return torch.as_tensor(self.select(x)) * self.one

    committee = Committee([Pixel(0), Pixel(1)], classes=["first", "second"]).eval().requires_grad_(False)
    run = replace(trained, detector=committee, classes=("first", "second"))
    client = limited(run)
    assert client.get("/v1/model").json()["classes"] == ["first", "second"]
    start = _tensor(pngs[:1], run)[0, 0].flatten()
    for kind, moved in (("first", 0), ("second", 1), (0, 0), (1, 1), (1.0, 1)):
        body = {"images": texts[:1], "class": kind, "steps": 3, "step_size": 0.1}
        (item,) = client.post("/v1/transform", json=body).json()["items"]
        change = (_picture(item["image"]).flatten() - start).abs()
        assert change.nonzero().flatten().tolist() == [moved], kind
    for kind in ("0", "third", 2, -1):
        assert client.post("/v1/sample", json={"seeds": [0], "class": kind}).status_code == 422
    form = client.post("/v1/transform", files=_files(pngs[:1]), data={"class": "1", "steps": "3", "step_size": "0.1"})
    assert form.json()["items"][0]["logit"] == item["logit"]


def test_without_the_data_that_climbs_start_from_there_is_no_sample(limited: Client, trained: Run) -> None:
    part = trained.config.outside[0].model_copy(update={"kind": "folder", "path": "/no/such/folder"})
    run = replace(trained, config=trained.config.model_copy(update={"outside": [part]}))
    client = limited(run)
    assert client.get("/v1/model").json()["samples"] is False
    assert "/v1/sample" not in client.get("/openapi.json").json()["paths"]
    assert client.post("/v1/sample", json={"seeds": [0]}).status_code == 404
    assert isinstance(client.app, FastAPI)
    assert client.app.state.service.missing.startswith("expected a folder of images, got '/no/such/folder'")


# what is said of it


def test_the_model_says_what_was_trained_on_what_and_where_nothing_lies(
    client: TestClient, trained: Run, trained_once: Path
) -> None:
    answer = client.get("/v1/model")
    model = answer.json()
    assert (model["name"], model["network"], model["shape"]) == ("tiny", "mlp", [1, 8, 8])
    assert model["target"]["kind"] == "digits"
    assert [part["kind"] for part in model["outside"]] == [part.kind for part in trained.config.outside]
    assert model["digest"] == trained.digest
    assert re.fullmatch("[0-9a-f]{64}", model["digest"])
    assert model["iterations"] == 40
    assert model["parameters"] == sum(p.numel() for p in trained.detector.parameters())
    assert trained.calibration is not None
    assert model["calibration"] == {
        "images": len(trained.calibration.logits),
        "tpr": 0.95,
        "threshold": trained.threshold,
    }
    assert model["climbing"] == {"steps": 5, "step_size": 0.2, "shrink": 1.0}
    assert model["limits"]["images"] == 64
    assert str(trained_once.parent) not in answer.text


def test_paths_of_the_data_are_not_told(limited: Client, trained: Run) -> None:
    data = trained.config.data.model_copy(update={"kind": "folder", "path": "/secret/place"})
    model = limited(replace(trained, config=trained.config.model_copy(update={"data": data}))).get("/v1/model")
    assert model.json()["target"]["kind"] == "folder"
    assert "secret" not in model.text


def test_the_metrics_count_requests_images_and_passes(client: TestClient, texts: list[str]) -> None:
    client.post("/v1/score", json={"images": [*texts[:3], "?"]})
    client.post("/v1/transform", json={"images": texts[:1], "steps": 2})
    client.post("/v1/nothing", json={})
    client.request("PURGE", "/healthz")
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    for line in (
        'genat_requests_total{method="POST",route="/v1/score",status="200"} 1.0',
        'genat_requests_total{method="POST",route="other",status="404"} 1.0',
        'genat_requests_total{method="other",route="/healthz",status="405"} 1.0',
        'genat_images_total{outcome="done",route="/v1/score"} 3.0',
        'genat_images_total{outcome="error",route="/v1/score"} 1.0',
        'genat_images_total{outcome="done",route="/v1/transform"} 1.0',
        "genat_batch_images_count 2.0",  # the first pass of a service, and the three images together
        "genat_batch_images_sum 4.0",
        "genat_waiting_images 0.0",
        "genat_climbing_requests 0.0",
        "genat_body_bytes 0.0",
        "genat_lost_requests_total 0.0",
    ):
        assert line in answer.text.splitlines(), line
    assert "process_resident_memory_bytes" in answer.text


def test_the_probes_answer(client: TestClient) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ready"}


def test_a_service_that_has_stopped_is_not_ready_and_can_be_started_again(trained: Run) -> None:
    app = application(trained)
    alone = TestClient(app)  # without its lifespan
    assert alone.get("/readyz").status_code == 503
    assert alone.get("/readyz").json()["detail"] == "expected the detector to answer, got nothing within the timeout"
    for _ in range(2):
        with TestClient(app) as client:
            assert client.get("/readyz").status_code == 200
        assert alone.get("/readyz").status_code == 503


def test_a_page_can_be_mounted_beside_the_routes_and_is_not_held_to_their_limits(trained: Run) -> None:
    app = application(trained, key="secret-key")
    page = FastAPI()

    @page.get("/")
    def read() -> str:
        return "a page"

    app.mount("/studio", page)
    with TestClient(app) as client:
        assert client.get("/studio/").json() == "a page"
        assert client.get("/v1/model").status_code == 401


def test_a_run_that_is_not_of_images_is_refused(trained: Run) -> None:
    with pytest.raises(ValueError, match=r"expected .*, got \(2,\)"):
        application(replace(trained, shape=(2,)))


# what stays nowhere


def test_no_picture_goes_to_the_disk_or_the_log(
    client: TestClient,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
    generator: torch.Generator,
) -> None:
    monkeypatch.setattr("tempfile.TemporaryFile", lambda *_, **__: pytest.fail("a file was opened"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    noise = plots.single(torch.rand(3, 1200, 1000, generator=generator))
    assert len(noise) > 3 * 2**20  # far beyond what a form keeps in memory by itself
    with caplog.at_level("DEBUG"):
        (item,) = client.post("/v1/score", files=_files([noise])).json()["items"]
        client.post("/v1/score", json={"images": ["QUJDREVGR0g="]})
    assert "logit" in item
    assert list(tmp_path.iterdir()) == []
    assert "QUJDREVGR0g" not in caplog.text
    assert "ABCDEFGH" not in caplog.text


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    import threading

    yield
    assert [one.name for one in threading.enumerate() if one.name.startswith("genat-")] == []
