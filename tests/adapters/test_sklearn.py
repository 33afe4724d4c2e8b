"""The estimator: scikit-learn's own checks, guarantees of its threshold and p-values, and what it refuses."""

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.utils.estimator_checks import check_estimator, parametrize_with_checks

import genat
from genat.adapters.columns import Columns
from genat.adapters.sklearn import Outside, SupportDetector

QUICK: dict[str, Any] = {"iterations": 4, "hidden": (8,), "batch_size": 8, "random_state": 0}
LEARNS: dict[str, Any] = {"iterations": 150, "hidden": (32, 32), "steps": 3, "random_state": 0}


def ring(n: int, *, seed: int = 0) -> NDArray[np.float64]:
    """A thin ring in the first two columns, whose units differ, and a constant third."""
    generator = np.random.default_rng(seed)
    angle = generator.uniform(0, 2 * np.pi, n)
    radius = 1 + 0.05 * generator.normal(size=n)
    return np.stack([radius * np.cos(angle), 1e6 * radius * np.sin(angle), np.full(n, 3.0)], axis=1)


@pytest.fixture(scope="module")
def fitted() -> SupportDetector:
    return SupportDetector(**LEARNS).fit(ring(500))


@parametrize_with_checks([SupportDetector(**QUICK)])  # type: ignore[untyped-decorator]
def test_scikit_learn_s_checks(estimator: SupportDetector, check: Callable[[SupportDetector], None]) -> None:
    check(estimator)


@pytest.mark.slow
def test_scikit_learn_s_checks_of_the_default_network_and_ascents() -> None:
    results = check_estimator(SupportDetector(iterations=50, random_state=0), on_skip=None)
    assert len(results) > 40
    others = [each["check_name"] for each in results if each["status"] != "passed"]
    assert others == ["check_array_api_input"]  # skipped: it needs SCIPY_ARRAY_API in the environment


# what it learns


@pytest.mark.parametrize("outside", ["near", "mixed"])
def test_the_hole_of_a_ring_a_far_value_and_a_changed_constant_are_outlying(outside: Outside) -> None:
    estimator = SupportDetector(outside=outside, **LEARNS).fit(ring(500))
    assert estimator.predict(ring(200, seed=1)).mean() > 0.7  # 1 for normal, -1 for outlying
    assert (estimator.predict([[0, 0, 3], [1e30, 0, 3], [-1e30, 1e30, 3], [1, 0, 3.5]]) == -1).all()


def test_units_and_shifts_of_the_columns_do_not_matter(fitted: SupportDetector) -> None:
    factor, shift = np.array([2.0**20, 2.0**-30, 1.0]), np.array([0.0, 0.0, 16.0])  # exact in binary
    other = SupportDetector(**LEARNS).fit(ring(500) * factor + shift)
    rows = ring(50, seed=2)
    assert np.allclose(other.score_samples(rows * factor + shift), fitted.score_samples(rows), atol=1e-6)


def test_the_detector_is_one_of_this_library_s(fitted: SupportDetector) -> None:
    rows = torch.from_numpy(ring(20, seed=3))
    assert isinstance(fitted.detector_[0], Columns)
    assert np.array_equal(-genat.ood_score(fitted.detector_, rows).numpy(), fitted.score_samples(rows.numpy()))
    starts = torch.zeros(4, 3, dtype=torch.float64)
    there = genat.ascend(fitted.detector_, starts, steps=20, step_size=0.05, box=None)
    assert (fitted.score_samples(there.numpy()) > fitted.score_samples(starts.numpy())).all()


# thresholds and p-values


def test_the_threshold_accepts_its_share_of_the_held_out_rows_and_p_values_follow_from_them(
    fitted: SupportDetector,
) -> None:
    held = fitted.calibration_.logits
    assert len(held) == 100
    assert (held >= fitted.offset_).double().mean() == 0.95
    rows = ring(40, seed=4)
    scores = fitted.score_samples(rows)
    expected = [(1 + (held.numpy() <= score).sum()) / 101 for score in scores]
    assert np.allclose(fitted.p_values(rows), expected)
    assert np.array_equal(fitted.predict(rows) == 1, fitted.decision_function(rows) >= 0)


def test_p_values_keep_their_word_on_new_rows() -> None:
    generator = np.random.default_rng(0)
    estimator = SupportDetector(**QUICK, validation_fraction=0.9).fit(generator.normal(size=(4000, 2)))
    p_values = estimator.p_values(generator.normal(size=(4000, 2)))
    for alpha in (0.05, 0.2, 0.5):
        assert (p_values <= alpha).mean() == pytest.approx(alpha, abs=4 * (alpha * (1 - alpha) / 2000) ** 0.5)


def test_a_contamination_is_the_share_of_all_fitted_rows() -> None:
    rows = ring(200)
    estimator = SupportDetector(contamination=0.1, **QUICK).fit(rows)
    assert (estimator.predict(rows) == -1).sum() == 20


@pytest.mark.parametrize(("n", "held"), [(2, 1), (3, 1), (10, 2)])
def test_few_rows_are_enough(n: int, held: int) -> None:
    estimator = SupportDetector(**QUICK).fit(ring(n))
    assert len(estimator.calibration_.logits) == held
    assert estimator.predict(ring(n)).shape == (n,)


# contracts


def test_a_random_state_decides_all_and_leaves_the_global_one_alone() -> None:
    rows = ring(60)
    before = pickle.dumps(np.random.get_state())  # noqa: NPY002 - it is what must not move
    first, second = (SupportDetector(**QUICK).fit(rows).score_samples(rows) for _ in range(2))
    other = SupportDetector(**QUICK | {"random_state": 1}).fit(rows).score_samples(rows)
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)
    assert pickle.dumps(np.random.get_state()) == before  # noqa: NPY002


def test_a_copy_and_a_pickle_are_the_same(fitted: SupportDetector) -> None:
    rows = ring(10, seed=5)
    assert np.array_equal(pickle.loads(pickle.dumps(fitted)).p_values(rows), fitted.p_values(rows))
    assert clone(fitted).get_params() == fitted.get_params()
    assert not hasattr(clone(fitted), "detector_")


def test_row_by_row_is_as_all_at_once(fitted: SupportDetector) -> None:
    rows = ring(30, seed=6)
    one_by_one = np.concatenate([fitted.score_samples(row[None]) for row in rows])
    assert np.allclose(one_by_one, fitted.score_samples(rows), rtol=0, atol=1e-10)


@pytest.mark.parametrize("seed", range(5))
def test_the_row_of_the_threshold_is_accepted_whatever_is_scored_with_it(seed: int) -> None:
    rows = ring(20)
    estimator = SupportDetector(**QUICK | {"random_state": seed, "hidden": (64, 64)}).fit(rows)
    assert estimator.calibration_.threshold - estimator.offset_ < 1e-8
    at_once = estimator.predict(rows)
    assert at_once.tolist() == [estimator.predict(row[None])[0] for row in rows]
    assert at_once.tolist() == estimator.predict(np.repeat(rows, 7, axis=0))[::7].tolist()


# faults


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"contamination": 0.6}, r"expected contamination to be 'auto' or in \(0, 0.5\], got 0.6"),
        ({"contamination": "much"}, "expected contamination to be 'auto' or in .*, got 'much'"),
        ({"validation_fraction": 1.0}, r"expected validation_fraction in \(0, 1\), got 1.0"),
        ({"tpr": 0.0}, r"expected tpr in \(0, 1\], got 0.0"),
        ({"outside": "far"}, "expected outside to be near, box, shuffled or mixed, got 'far'"),
        ({"noise": (2.0, 1.0)}, "expected 0 < low <= high, got 2.0 and 1.0"),
        ({"margin": 0.0}, "expected margin to be positive, got 0"),
        ({"iterations": 0}, "expected iterations to be at least 1, got 0"),
        ({"steps": -1}, "expected steps to be at least 0, got -1"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SupportDetector(**QUICK | settings).fit(ring(20))
