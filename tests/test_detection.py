"""What the logit is read as: batches, thresholds and p-values that hold their word."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from genat.detection import Calibration, calibrate, logits, ood_score


def total(x: Tensor) -> Tensor:
    return x.flatten(1).sum(1)


def normal(n: int, *, seed: int = 0) -> Tensor:
    return torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def leave_one_out(values: Tensor) -> list[float]:
    """Return every value's p-value against all others: the exact law of p over the orders of exchangeable data."""
    keep = ~torch.eye(len(values), dtype=torch.bool)
    return sorted(float(Calibration(values[keep[i]]).p_values(values[i : i + 1])) for i in range(len(values)))


@pytest.mark.parametrize("n", [1, 2, 19, 100])
def test_p_values_of_data_without_ties_are_uniform_on_their_grid(n: int) -> None:
    """P(p = k / (n + 1)) = 1 / (n + 1) for k = 1, ..., n + 1, whatever the distribution."""
    expected = [k / (n + 1) for k in range(1, n + 2)]
    assert leave_one_out(normal(n + 1)) == pytest.approx(expected, abs=1e-12)
    assert leave_one_out(normal(n + 1).exp() * 1e4) == pytest.approx(expected, abs=1e-12)


@given(values=st.lists(st.integers(-3, 3).map(float), min_size=2, max_size=25))
def test_p_values_are_super_uniform_with_ties(values: list[float]) -> None:
    """P(p <= alpha) <= alpha, exactly, at every alpha that p can take."""
    n, p = len(values), leave_one_out(torch.tensor(values))
    for k in range(1, n + 1):
        assert sum(value <= k / n + 1e-12 for value in p) <= k


def test_p_values_are_wrong_about_target_data_as_rarely_as_they_say() -> None:
    """P(p <= 0.1) = 2 / 20; found over 2000 calibration sets of 19, 10 tests each, with a deviation of 0.0026."""
    generator = torch.Generator().manual_seed(1)
    wrong = 0
    for _ in range(2000):
        data = torch.rand(29, generator=generator, dtype=torch.float64)
        wrong += int((Calibration(data[:19]).p_values(data[19:]) <= 0.1).sum())
    assert wrong / 20000 == pytest.approx(0.1, abs=0.008)


def test_p_values_count_what_is_at_most_as_likely() -> None:
    calibration = Calibration(torch.tensor([3.0, 1.0, 2.0, 2.0]))
    p = calibration.p_values(torch.tensor([-9.0, 1.0, 1.5, 2.0, 3.0, 99.0]))
    torch.testing.assert_close(p, torch.tensor([1, 2, 2, 4, 5, 5]).double() / 5, rtol=0, atol=1e-12)


@given(tpr=st.sampled_from([0.05, 0.5, 0.9, 0.95, 1.0]), n=st.integers(1, 60))
def test_verdicts_accept_at_least_the_rate_of_calibration_data(tpr: float, n: int) -> None:
    data = normal(n, seed=n)
    calibration = Calibration(data, tpr=tpr)
    prediction = calibration.predict(data)
    assert prediction.in_distribution.double().mean() >= tpr - 1e-9
    assert torch.equal(prediction.in_distribution, data >= calibration.threshold)
    assert torch.equal(prediction.score, -data)
    assert torch.equal(prediction.p_value, calibration.p_values(data))
    assert prediction.score.dtype == prediction.p_value.dtype == torch.float64


def test_the_threshold_itself_is_in_distribution() -> None:
    calibration = Calibration(torch.arange(1.0, 21.0), tpr=0.95)
    assert calibration.threshold == 2.0
    edge = torch.tensor([2.0, math.nextafter(2.0, 0.0)], dtype=torch.float64)
    assert calibration.predict(edge).in_distribution.tolist() == [True, False]


def test_calibration_is_of_any_order_and_keeps_no_graph() -> None:
    data = torch.tensor([2.0, 3.0, 1.0], requires_grad=True)
    calibration = Calibration(data)
    assert calibration.logits.tolist() == [1.0, 2.0, 3.0]
    assert calibration.logits.dtype == torch.float64
    assert not calibration.logits.requires_grad
    assert data.tolist() == [2.0, 3.0, 1.0]
    prediction = calibration.predict(data)
    assert not prediction.score.requires_grad


@pytest.mark.parametrize("batch_size", [1, 2, 5, 7, 1000])
def test_logits_do_not_depend_on_the_batch_size(batch_size: int, smooth_net: nn.Module) -> None:
    images = torch.rand(7, 3, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    smooth_net.eval()
    expected = smooth_net(images).detach()
    torch.testing.assert_close(logits(smooth_net, images, batch_size=batch_size), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(ood_score(smooth_net, images, batch_size=batch_size), -expected, rtol=0, atol=1e-12)


def test_logits_leave_no_trace_in_the_detector() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = [nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 1), nn.Flatten(0)]
    detector = nn.Sequential(*layers)
    detector[1].eval()
    detector[3].bias.requires_grad_(False)

    def traces() -> list[Any]:
        flags = [module.training for module in detector.modules()], [p.requires_grad for p in detector.parameters()]
        return [
            flags,
            [p.grad for p in detector.parameters()],
            {k: v.tolist() for k, v in detector.state_dict().items()},
        ]

    before, images = traces(), torch.ones(6, 4, requires_grad=True)
    first = logits(detector, images, batch_size=4)
    assert not first.requires_grad
    assert first.dtype == torch.float64
    torch.testing.assert_close(first, first[:1].expand(6), rtol=0, atol=1e-6)  # dropout is off: equal images
    assert traces() == before
    with pytest.raises(RuntimeError):
        logits(detector, torch.ones(6, 5))
    assert traces() == before


def test_no_images_have_no_logits() -> None:
    assert logits(total, torch.zeros(0, 3)).shape == (0,)


def test_calibrate_reads_the_held_out_logits() -> None:
    held_out = torch.arange(20.0).view(-1, 1).flip(0)
    calibration = calibrate(total, held_out, tpr=0.9, batch_size=3)
    assert torch.equal(calibration.logits, torch.arange(20.0).double())
    assert calibration.threshold == 2.0
    assert calibration.tpr == 0.9


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_logits_that_are_not_finite_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="expected finite logits, got some that are not"):
        Calibration(torch.zeros(2)).p_values(torch.tensor([0.0, bad]))
    with pytest.raises(ValueError, match="expected finite logits, got some that are not"):
        Calibration(torch.zeros(2)).predict(torch.tensor([bad]))
    with pytest.raises(ValueError, match="expected inside to be finite, got 1 values of 2 that are not"):
        Calibration(torch.tensor([0.0, bad]))


def test_impossible_calibrations_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected inside to be logits of shape \(N,\) with N >= 1, got \(0,\)"):
        Calibration(torch.zeros(0))
    with pytest.raises(ValueError, match=r"with N >= 1, got \(2, 1\)"):
        Calibration(torch.zeros(2, 1))
    for tpr in (0.0, 1.5):
        with pytest.raises(ValueError, match=r"expected tpr in \(0, 1\], got"):
            Calibration(torch.zeros(2), tpr=tpr)


def test_impossible_batches_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected images \(N, \*\), floating point, got \(2, 3\) torch.uint8"):
        logits(total, torch.zeros(2, 3, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"expected images \(N, \*\), floating point, got \(3,\) torch.float32"):
        ood_score(total, torch.zeros(3))
    with pytest.raises(ValueError, match="expected batch_size to be at least 1, got 0"):
        calibrate(total, torch.zeros(2, 3), batch_size=0)


def test_detectors_return_one_logit_an_image() -> None:
    with pytest.raises(ValueError, match=r"expected the detector to return shape \(3,\), got \(3, 2\)"):
        logits(lambda x: x, torch.zeros(3, 2))
    with pytest.raises(ValueError, match=r"expected the detector to return shape \(3,\), got \(3, 1\)"):
        ood_score(lambda x: x.sum(1, keepdim=True), torch.zeros(3, 2), batch_size=1)
