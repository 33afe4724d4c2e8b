"""Counts of failures: the rates, the groups and the interval, which is scipy's."""

from collections.abc import Callable

import pytest
from scipy.stats import binomtest

from genat.simulations.failures import count, decades, wilson
from genat.simulations.lineup import TRAINERS, trainers
from genat.simulations.outcome import Outcome

Make = Callable[..., Outcome]


@pytest.mark.parametrize(
    ("failures", "runs"), [(0, 1), (1, 1), (0, 120), (1, 120), (60, 120), (119, 120), (120, 120), (3, 40), (7, 9)]
)
def test_the_interval_is_scipys(failures: int, runs: int) -> None:
    reference = binomtest(failures, runs).proportion_ci(0.95, method="wilson")
    assert wilson(failures, runs) == pytest.approx((reference.low, reference.high), abs=1e-12)


def test_the_interval_holds_the_share_and_mirrors_it() -> None:
    for runs in (1, 10, 120):
        for failures in range(runs + 1):
            low, high = wilson(failures, runs)
            assert 0 <= low <= failures / runs + 1e-12
            assert failures / runs <= high + 1e-12 <= 1 + 1e-12
            assert wilson(runs - failures, runs) == pytest.approx((1 - high, 1 - low), abs=1e-12)


def test_without_failures_the_end_is_known_in_closed_form() -> None:
    z = 1.959963984540054
    assert wilson(0, 10) == pytest.approx((0.0, z**2 / (10 + z**2)), abs=1e-12)


@pytest.mark.parametrize(("failures", "runs"), [(0, 0), (-1, 3), (4, 3), (0, -1)])
def test_counts_out_of_range(failures: int, runs: int) -> None:
    with pytest.raises(ValueError, match=f"got {failures} of {runs}"):
        wilson(failures, runs)


def test_each_trainer_at_three_rates_a_decade_apart() -> None:
    chosen = trainers(["gat", "gan-r1", "ebm"], budget=100_000)
    varied = decades(chosen)
    assert list(varied) == [f"{name}@{rate}" for name in chosen for rate in ("0.0001", "0.001", "0.01")]
    for name, trainer in varied.items():
        base, _, rate = name.partition("@")
        assert trainer.rate == pytest.approx(float(rate), rel=1e-12)
        assert trainer.with_rate(chosen[base].rate) == chosen[base]


def test_the_names_can_be_folders() -> None:
    assert all("/" not in name for name in decades(TRAINERS))


def test_failures_are_counted_by_trainer_and_rate_over_data_sets_and_seeds(result: Make) -> None:
    def outcome(toy: str, trainer: str, *reasons: str | None) -> Outcome:
        return result(toy=toy, trainer=trainer, rows=[{"failure": reason} for reason in reasons])

    rows = count(
        [
            outcome("ring", "gan@0.001", None, "too few modes"),
            outcome("ring", "gan@0.01", "not finite", "not finite"),
            outcome("grid", "gan@0.001", "not finite", "too few modes"),
            outcome("grid", "gat@0.001", None, None),
        ]
    )
    assert [(row["trainer"], row["rate"], row["failures"], row["runs"]) for row in rows] == [
        ("gan", 0.001, 3, 4),
        ("gan", 0.01, 2, 2),
        ("gat", 0.001, 0, 2),
    ]
    assert rows[0]["reasons"] == {"too few modes": 2, "not finite": 1}
    assert rows[2]["reasons"] == {}
    assert (rows[0]["low"], rows[0]["high"]) == wilson(3, 4)
