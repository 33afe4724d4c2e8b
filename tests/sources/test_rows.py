"""Outside data made from rows: closed forms of its moments, and what it refuses."""

import math

import pytest
import torch

from genat.sources import Near, Shuffled, Source


def test_the_noise_has_the_second_moment_of_its_log_uniform_size(generator: torch.Generator) -> None:
    low, high = 0.1, 3.0
    points = Near(torch.zeros(1, 4), low=low, high=high).draw(100_000, generator=generator)
    expected = (high**2 - low**2) / (2 * math.log(high / low))  # E s^2 of log s uniform
    assert points.pow(2).mean().item() == pytest.approx(expected, rel=0.02)
    assert points.mean().abs().item() < 0.01


def test_noise_of_one_size_is_gaussian_noise_about_the_rows(generator: torch.Generator) -> None:
    values = torch.tensor([[10.0, -10.0], [30.0, -30.0]])
    points = Near(values, low=0.5, high=0.5).draw(20_000, generator=generator)
    nearest = torch.where((points[:, :1] < 20), values[0], values[1])
    assert (points - nearest).std().item() == pytest.approx(0.5, rel=0.02)
    assert (points[:, 0] < 20).double().mean().item() == pytest.approx(0.5, abs=0.02)


def test_a_bound_clips_and_nothing_else_moves() -> None:
    values = torch.zeros(1, 3)
    free = Near(values).draw(500, generator=torch.Generator().manual_seed(0))
    held = Near(values, bound=1.0).draw(500, generator=torch.Generator().manual_seed(0))
    assert torch.equal(held, free.clamp(-1, 1))
    assert free.abs().max() > 1


def test_shuffled_keeps_the_marginals_and_loses_the_dependence(generator: torch.Generator) -> None:
    line = torch.linspace(-1, 1, 101).repeat(2, 1).T
    points = Shuffled(line).draw(20_000, generator=generator)
    assert torch.isin(points, line).all()
    covariance = torch.cov(points.T)
    assert covariance[0, 0].item() == pytest.approx(line[:, 0].var(correction=0).item(), rel=0.03)
    assert abs(covariance[0, 1].item()) < 0.01


@pytest.mark.parametrize("source", [Near(torch.eye(3)), Shuffled(torch.eye(3))], ids=["near", "shuffled"])
def test_sources_draw_by_the_generator_alone(source: Source) -> None:
    assert isinstance(source, Source)
    assert source.shape == (3,)
    first, second = (source.draw(5, generator=torch.Generator().manual_seed(3)) for _ in range(2))
    assert first.shape == (5, 3)
    assert first.dtype == torch.float32
    assert torch.equal(first, second)
    assert source.draw(0, generator=torch.Generator()).shape == (0, 3)


def test_what_is_not_points_or_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected points \(N, D\), got \(1, 1, 2, 2\)"):
        Shuffled(torch.zeros(1, 1, 2, 2))
    with pytest.raises(ValueError, match="expected finite samples"):
        Near(torch.tensor([[math.nan]]))
    with pytest.raises(TypeError, match=r"expected floating-point samples, got torch\.int64"):
        Shuffled(torch.zeros(2, 2, dtype=torch.int64))
    with pytest.raises(ValueError, match="expected 0 < low <= high, got 2 and 1"):
        Near(torch.zeros(1, 1), low=2, high=1)
    with pytest.raises(ValueError, match="expected bound to be None or positive, got 0"):
        Near(torch.zeros(1, 1), bound=0)
