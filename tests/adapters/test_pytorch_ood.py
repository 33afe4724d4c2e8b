"""This library's detectors as pytorch-ood's, on the real base class and beside a real detector of that package."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import genat
from genat import config
from genat.adapters._pytorch_ood import api, detectors
from genat.adapters.pytorch_ood import GatDetector
from genat.adapters.sklearn import SupportDetector

QUICK = SupportDetector(iterations=50, hidden=(32,), steps=2, random_state=0)


def blob(n: int, *, seed: int) -> Tensor:
    return torch.randn(n, 4, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def trained() -> GatDetector:
    return GatDetector(support=QUICK).fit_features(blob(300, seed=0), torch.zeros(300, dtype=torch.long))


def test_it_is_one_of_the_package_s_detectors() -> None:
    assert issubclass(GatDetector, api().FeaturesDetector)
    assert issubclass(GatDetector, api().Detector)
    assert isinstance(GatDetector.info, api().DetectorInfo)
    assert api().Task.CLASSIFICATION in GatDetector.info.tasks


def test_a_detector_scores_as_here_high_out_of_distribution() -> None:
    model = genat.networks.build("mlp", (4,), {"hidden": (8,)}, seed=0)
    rows = blob(50, seed=1)
    wrapped = GatDetector(model, batch_size=7)
    for scores in (wrapped(rows), wrapped.predict(rows), wrapped.predict_features(rows)):
        assert torch.equal(scores, genat.ood_score(model, rows, batch_size=7))
    assert not wrapped.requires_fit
    assert wrapped.fit([]) is wrapped
    assert wrapped.fit_features(rows, torch.zeros(50)) is wrapped
    assert torch.equal(wrapped(rows), genat.ood_score(model, rows, batch_size=7)), "fit changed it"


def test_a_run_brings_its_detector(tiny_yaml: Path) -> None:
    model = genat.networks.build("mlp", (4,), {"hidden": (8,)}, seed=0)
    run = genat.Run(tiny_yaml.parent, config.load(tiny_yaml), model, (4,), 1, None)
    rows = blob(5, seed=1)
    assert torch.equal(GatDetector(run)(rows), genat.ood_score(model, rows))


def test_fitted_on_features_it_finds_what_lies_elsewhere(trained: GatDetector) -> None:
    inside, outside = trained.predict_features(blob(200, seed=2)), trained.predict_features(6 + blob(200, seed=3))
    assert genat.ranking.auroc(-inside, -outside) > 0.99


def test_fitting_is_the_estimator_s_and_leaves_its_settings_as_they_were(trained: GatDetector) -> None:
    expected = SupportDetector(**QUICK.get_params()).fit(blob(300, seed=0).double().numpy())
    rows = blob(20, seed=4)
    assert np.array_equal(trained(rows).numpy(), -expected.score_samples(rows.double().numpy()))
    assert not hasattr(QUICK, "detector_")


def test_a_loader_an_encoder_and_labels_below_zero(trained: GatDetector) -> None:
    rows = torch.cat([blob(300, seed=0), 100 + blob(20, seed=5)])
    labels = torch.cat([torch.zeros(300), torch.full((20,), -1.0)]).long()
    loader = DataLoader(TensorDataset(2 * rows, labels), batch_size=64, generator=torch.Generator())
    encoded = GatDetector(encoder=lambda x: x / 2, support=QUICK).fit(loader)
    others = blob(20, seed=6)
    assert torch.equal(encoded.predict(2 * others), trained.predict(others))
    assert torch.equal(encoded.predict_features(others), trained.predict_features(others))


def test_beside_one_of_theirs_in_the_same_words() -> None:
    ours = GatDetector(encoder=nn.Identity(), support=QUICK)
    theirs = detectors().Mahalanobis(nn.Identity())
    rows, labels = blob(300, seed=0), torch.zeros(300, dtype=torch.long)
    inside, outside = blob(100, seed=7), 5 + blob(100, seed=8)
    for detector in (ours, theirs):
        with pytest.raises(api().RequiresFittingException):
            detector.predict(inside)
        detector.fit_features(rows, labels)
        assert detector.predict(outside).mean() > detector(inside).mean()


def test_it_moves_with_the_package_s_to() -> None:
    wrapped = GatDetector(genat.networks.build("mlp", (2,), {"hidden": (4,)}, seed=0))
    assert wrapped.to("cpu") is wrapped
    assert str(wrapped.device) == "cpu"


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: GatDetector(nn.Identity(), support=QUICK), "expected a detector or support, got both"),
        (lambda: GatDetector().fit([]), r"expected batches \(x, y\), got none"),
        (
            lambda: GatDetector().fit_features(torch.zeros(3), torch.zeros(3)),
            r"expected features \(N, D\) .*, got \(3,\)",
        ),
        (lambda: GatDetector().fit_features(torch.zeros(3, 2), torch.zeros(2)), r"got \(3, 2\) and \(2,\)"),
        (lambda: GatDetector().fit_features(torch.zeros(3, 2), -torch.ones(3)), r"Found array with 0 sample\(s\)"),
    ],
)
def test_what_cannot_be_is_refused(act: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        act()
