"""An outlier detector for tables in the interface of scikit-learn."""

from collections.abc import Sequence
from typing import Any, Literal, Self, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor, nn

from genat import detection, networks
from genat.adapters.columns import Columns
from genat.balls import L2Ball
from genat.curriculum import Curriculum
from genat.recipe import adam
from genat.sources import Box, Mixture, Near, Shuffled, Source
from genat.training import fit

Outside: TypeAlias = Literal["near", "box", "shuffled", "mixed"]
_LARGEST_SEED = 2**31 - 1
_ROUNDING = 1e-9  # a row's logit differs in its last bits with the batch it is in, also that of the threshold's own row


class SupportDetector(OutlierMixin, BaseEstimator):  # type: ignore[misc]  # it carries no types
    r"""Learn where the rows of a table lie, by generative adversarial training, and call what lies elsewhere outlying.

    A multilayer perceptron is trained by `genat.fit`, without a ball: outside points climb its logit, and it learns
    to tell where they arrive from the rows. Columns are scaled inside the detector (`Columns`), so that neither units
    nor a few extreme values matter. A share of the rows is held out of the training; the threshold and the p-values
    come from them.

    Args:
        contamination: "auto" takes the highest threshold that accepts the share `tpr` of the held-out rows. A number
            in (0, 0.5] is scikit-learn's: that share of all rows given to `fit` falls below the threshold. The
            detector has seen most of these, so that of new rows somewhat more will.
        tpr: the share of held-out rows to accept, in (0, 1]; used with "auto" alone.
        validation_fraction: the share of rows to hold out, in (0, 1); at least one is, and one is left.
        outside: where ascents start from, in scaled columns: "near" the rows (`sources.Near`), in the "box" around
            them, rows with each column "shuffled" on its own, or the three "mixed" evenly.
        noise: smallest and largest size of the noise around rows, in robust standard deviations of a column.
        margin: of the box beyond the rows, likewise.
        hidden: widths of the hidden layers.
        iterations, batch_size: of the training.
        steps: of an ascent at the end of the training; they grow from 0 over its first half.
        step_size: of an ascent's steps, which are Adam's, in robust standard deviations of a column.
        learning_rate: of Adam; it falls over the last 40 % of the iterations.
        r1: weight of the gradient penalty on the rows, which keeps few rows from being learned by heart.
        random_state: an integer makes `fit` a function of its inputs alone; a `RandomState`, or None for NumPy's own,
            is drawn from once.

    Attributes:
        detector_: the trained module `(N, D) -> (N,)` in the table's own units, float64: a logit, high for rows like
            those that it learned. What `genat` does with detectors can be done with it.
        offset_: the threshold; `decision_function` is `score_samples` minus it.
        calibration_: a `genat.Calibration` on the held-out rows.
        n_features_in_: D.
        feature_names_in_: of a data frame whose columns are named by strings.

    References:
        Learning Energy-Based Models With Adversarial Training (Yin, Li, Rohde, 2022) https://arxiv.org/abs/2012.06568
        Testing for Outliers with Conformal p-values (Bates, Candès, Lei, Romano, Sesia, 2023)
        https://arxiv.org/abs/2104.08279

    Example:
        >>> rows = np.random.default_rng(0).normal(size=(200, 3)) * [1, 10, 1000]
        >>> estimator = SupportDetector(iterations=100, random_state=0).fit(rows)
        >>> estimator.predict([[0, 0, 0], [0, 90, 0]])
        array([ 1, -1])
        >>> estimator.p_values([[0, 90, 0]]).round(4)  # one over the number of held-out rows plus one
        array([0.0244])
    """

    def __init__(
        self,
        *,
        contamination: float | Literal["auto"] = "auto",
        tpr: float = 0.95,
        validation_fraction: float = 0.2,
        outside: Outside = "near",
        noise: tuple[float, float] = (0.1, 3.0),
        margin: float = 0.5,
        hidden: Sequence[int] = (64, 64),
        iterations: int = 500,
        batch_size: int = 64,
        steps: int = 5,
        step_size: float = 0.3,
        learning_rate: float = 2e-3,
        r1: float = 0.03,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.contamination = contamination
        self.tpr = tpr
        self.validation_fraction = validation_fraction
        self.outside = outside
        self.noise = noise
        self.margin = margin
        self.hidden = hidden
        self.iterations = iterations
        self.batch_size = batch_size
        self.steps = steps
        self.step_size = step_size
        self.learning_rate = learning_rate
        self.r1 = r1
        self.random_state = random_state

    def fit(self, X: Any, y: object = None) -> Self:  # noqa: ANN401, ARG002, N803 - scikit-learn's signature
        """Train on the rows of `X`, `(N, D)`, with N at least 2; y is not looked at.

        Raises:
            ValueError: where `X` is not a finite table of numbers, or an argument out of its range.
        """
        self._check()
        values = torch.tensor(validate_data(self, X, dtype=np.float64, ensure_min_samples=2))
        seed = int(check_random_state(self.random_state).randint(_LARGEST_SEED))
        order = torch.randperm(len(values), generator=torch.Generator().manual_seed(seed))
        held = min(max(1, round(self.validation_fraction * len(values))), len(values) - 1)
        rows = values[order[held:]]
        columns = Columns(rows, margin=self.margin)
        network = self._trained(columns(rows).float(), columns.bound, seed=seed)
        self.detector_ = nn.Sequential(columns, network.double()).eval().requires_grad_(False)
        self.calibration_ = detection.calibrate(self.detector_, values[order[:held]], tpr=self.tpr)
        if self.contamination == "auto":
            threshold = self.calibration_.threshold
            self.offset_ = threshold - _ROUNDING * max(1.0, abs(threshold))
        else:
            self.offset_ = float(np.percentile(self._logits(values), 100 * self.contamination))
        return self

    def score_samples(self, X: Any) -> NDArray[np.float64]:  # noqa: ANN401, N803
        """Return the logits `(N,)` of rows: high for what is like the rows that were learned."""
        check_is_fitted(self)
        return self._logits(torch.tensor(validate_data(self, X, dtype=np.float64, reset=False)))

    def decision_function(self, X: Any) -> NDArray[np.float64]:  # noqa: ANN401, N803
        """Return `score_samples` minus `offset_`: negative for outliers."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> NDArray[np.int_]:  # noqa: ANN401, N803
        """Return 1 for rows at or above the threshold and -1 for outliers."""
        return np.where(self.decision_function(X) >= 0, 1, -1)

    def p_values(self, X: Any) -> NDArray[np.float64]:  # noqa: ANN401, N803
        """Return conformal p-values `(N,)`, as `genat.Calibration.p_values`.

        Of rows that come from where the held-out ones came from, at most the share alpha has a p-value of alpha or
        less, on average over held-out sets. The smallest value is 1 / (n + 1) with n rows held out.
        """
        return self.calibration_.p_values(torch.from_numpy(self.score_samples(X))).numpy()

    def _logits(self, values: Tensor) -> NDArray[np.float64]:
        return detection.logits(self.detector_, values, batch_size=4096).numpy()

    def _trained(self, rows: Tensor, bound: float, *, seed: int) -> nn.Module:
        """Return a network that tells scaled rows from where outside points climb."""
        options: dict[str, object] = {"hidden": tuple(self.hidden)}
        stages = self.steps + 1
        fitted = fit(
            networks.build("mlp", tuple(rows.shape[1:]), options, seed=seed),
            rows,
            self._outside(rows, bound),
            iterations=self.iterations,
            steps=Curriculum(0, self.steps, stage_iterations=max(1, self.iterations // (2 * stages)), gate=None),
            step_size=self.step_size,
            shrink=(0.1, 1.0),
            ball=L2Ball(),
            box=(-bound, bound),
            rule="adam",
            batch_size=self.batch_size,
            r1=self.r1,
            optimizer=adam(self.learning_rate),
            ema=0.99,
            anneal=0.4,
            seed=seed,
        )
        return fitted.detector

    def _outside(self, rows: Tensor, bound: float) -> Source:
        low, high = self.noise
        sources: dict[str, Source] = {
            "near": Near(rows, low=low, high=high, bound=bound),
            "box": Box(rows.shape[1], low=-bound, high=bound),
            "shuffled": Shuffled(rows),
        }
        return Mixture(tuple(sources.values())) if self.outside == "mixed" else sources[self.outside]

    def _check(self) -> None:
        share = self.contamination
        if share != "auto" and not (isinstance(share, int | float) and 0 < share <= 0.5):
            raise ValueError(f"expected contamination to be 'auto' or in (0, 0.5], got {share!r}")
        if self.steps < 0:
            raise ValueError(f"expected steps to be at least 0, got {self.steps}")
        if not 0 < self.validation_fraction < 1:
            raise ValueError(f"expected validation_fraction in (0, 1), got {self.validation_fraction}")
        if not 0 < self.tpr <= 1:
            raise ValueError(f"expected tpr in (0, 1], got {self.tpr}")
        if self.outside not in ("near", "box", "shuffled", "mixed"):
            raise ValueError(f"expected outside to be near, box, shuffled or mixed, got {self.outside!r}")
