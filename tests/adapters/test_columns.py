"""Columns on one scale: invariances, closed forms, and values that would break a mean and a variance."""

import math

import pytest
import torch

from genat.adapters.columns import Columns


def test_units_do_not_matter(generator: torch.Generator) -> None:
    rows = torch.randn(200, 3, generator=generator, dtype=torch.float64)
    factor, shift = torch.tensor([1e-6, 1.0, 1e9], dtype=torch.float64), torch.tensor([5.0, -1e3, 0.0])
    plain, other = Columns(rows), Columns(rows * factor + shift)
    assert torch.allclose(plain(rows), other(rows * factor + shift), atol=1e-9)
    assert plain.bound == pytest.approx(other.bound)


def test_a_gaussian_column_gets_unit_deviation(generator: torch.Generator) -> None:
    rows = 7 + 3 * torch.randn(50_000, 1, generator=generator)
    scaled = Columns(rows)(rows)
    assert scaled[scaled.abs() < 3].std().item() == pytest.approx(0.9866, abs=0.01)  # of a Gaussian cut at 3
    assert scaled.quantile(0.5).item() == pytest.approx(0.0, abs=1e-6)


def test_the_scale_is_linear_to_three_logarithmic_beyond_and_odd() -> None:
    rows = torch.tensor([[-1.349], [0.0], [1.349], [-1e40], [1e40]], dtype=torch.float64)
    columns = Columns(rows)
    z = torch.tensor([[0.5], [2.9], [3.0], [103.0]], dtype=torch.float64)
    expected = torch.tensor([[0.5], [2.9], [3.0], [3 + math.log(101)]], dtype=torch.float64)
    assert torch.allclose(columns(2 * z), expected)  # the interquartile range is 2 x 1.349
    assert torch.allclose(columns(-2 * z), -expected)
    assert columns.bound > 90


@pytest.mark.parametrize("far", [1e6, 1e30, 1e300])
def test_one_extreme_row_leaves_the_others_where_they_were(generator: torch.Generator, far: float) -> None:
    rows = torch.randn(400, 2, generator=generator, dtype=torch.float64)
    with_it = torch.cat([rows, torch.full((1, 2), far, dtype=torch.float64)])
    before, after = Columns(rows)(rows), Columns(with_it)(rows)
    assert (before - after).abs().max() < 0.05
    assert torch.isfinite(Columns(with_it)(with_it)).all()


def test_whatever_lies_far_away_arrives_at_the_edge(generator: torch.Generator) -> None:
    columns = Columns(torch.randn(50, 2, generator=generator), margin=0.25)
    ends = columns(torch.tensor([[1e308, -1e308]], dtype=torch.float64))
    assert ends.tolist() == [[columns.bound, -columns.bound]]


def test_constant_and_nearly_constant_columns_have_a_scale() -> None:
    rows = torch.tensor([[4.0, 0.0]] * 19 + [[4.0, 2.0]])
    columns = Columns(rows, margin=3)
    assert columns(rows)[:, 0].abs().max() == 0
    assert columns(torch.tensor([[5.0, 0.0]]))[0, 0] == 1
    assert columns(torch.tensor([[4.0, 4.0]]))[0, 1] == 2  # in units of what is not the usual value


def test_statistics_travel_with_the_state(generator: torch.Generator) -> None:
    rows = torch.randn(20, 2, generator=generator)
    columns, other = Columns(rows), Columns(torch.zeros(1, 2))
    other.load_state_dict(columns.state_dict())
    assert torch.equal(other(rows), columns(rows))


def test_other_shapes_and_margins_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected rows \(N, D\) with N, D >= 1, got \(0, 2\)"):
        Columns(torch.zeros(0, 2))
    with pytest.raises(ValueError, match="expected margin to be positive, got 0"):
        Columns(torch.zeros(1, 2), margin=0)
    with pytest.raises(ValueError, match=r"expected rows \(N, 2\), got \(3, 1\)"):
        Columns(torch.zeros(1, 2))(torch.zeros(3, 1))
