"""Detectors of this library in the interface of pytorch-ood. Needs the extra `ood`."""

from collections.abc import Callable, Iterable
from typing import Self

import torch
from torch import Tensor, nn

from genat.adapters._pytorch_ood import api
from genat.adapters.sklearn import SupportDetector
from genat.detection import ood_score
from genat.runs import Run

_api = api()


class GatDetector(_api.FeaturesDetector):  # type: ignore[misc, name-defined]  # of a module found at run time
    r"""A trained detector, or one that is trained on features, as pytorch-ood's `Detector`.

    The outlier score is the negated logit, :math:`-f(x)`: high out of distribution, as everywhere in that package.
    With a detector there is nothing to fit. Without one, `fit` and `fit_features` train a `SupportDetector` on what
    the encoder returns, and `predict` scores that.

    Args:
        detector: a module `(N, *) -> (N,)` whose logit is high in distribution, or a `Run`, which brings its own; None
            is trained by `fit`.
        encoder: what maps inputs to what the detector reads, such as a classifier's penultimate layer; None reads
            the inputs themselves, which `fit` then expects to be `(N, D)`.
        support: the settings of what `fit` trains; it stays as it is. None is `SupportDetector(random_state=0)`.
        batch_size: how many inputs are scored at a time.

    Raises:
        ImportError: at the import of this module, where pytorch-ood is not installed.
        ValueError: where both a detector and `support` are given.

    References:
        PyTorch-OOD: A Library for Out-of-Distribution Detection Based on PyTorch (Kirchheim, Filax, Ortmeier, 2022)

    Example:
        >>> score = GatDetector(nn.Flatten(0))  # the input is its own logit
        >>> score(torch.tensor([[2.0], [-1.0]]))
        tensor([-2.,  1.], dtype=torch.float64)
    """

    info = _api.DetectorInfo(
        tasks={_api.Task.CLASSIFICATION},
        paper=_api.Paper(
            title="Learning Energy-Based Models With Adversarial Training",
            venue="ECCV",
            year=2022,
            url="https://arxiv.org/abs/2012.06568",
        ),
    )

    def __init__(
        self,
        detector: nn.Module | Run | None = None,
        *,
        encoder: Callable[[Tensor], Tensor] | None = None,
        support: SupportDetector | None = None,
        batch_size: int = 256,
    ) -> None:
        if detector is not None and support is not None:
            raise ValueError("expected a detector or support, got both: a detector is not trained again")
        super().__init__()
        self.model = detector.detector if isinstance(detector, Run) else detector
        self.encoder = encoder
        self.support = support
        self.batch_size = batch_size
        self.requires_fit = detector is None

    def fit(self, data_loader: Iterable[tuple[Tensor, Tensor]]) -> Self:
        """Train on the encoder's features of a loader's inputs; a detector that came trained stays as it is.

        Args:
            data_loader: batches `(x, y)`; rows with y < 0 are outliers by that package's convention, and left out.

        Raises:
            ValueError: where a batch's features are not `(N, D)`, or there are fewer than two rows in all.
        """
        if not self.requires_fit:
            return self
        found = [(self._encoded(x), y) for x, y in data_loader]
        if not found:
            raise ValueError("expected batches (x, y), got none")
        return self.fit_features(torch.cat([z for z, _ in found]), torch.cat([y for _, y in found]))

    def fit_features(self, x: Tensor, y: Tensor) -> Self:
        """Train on features `(N, D)`; the labels say with y < 0 which rows to leave out, and nothing more.

        Raises:
            ValueError: where the features are not `(N, D)`, or fewer than two rows are left.
        """
        if not self.requires_fit:
            return self
        if x.ndim != 2 or y.shape != x.shape[:1]:
            raise ValueError(f"expected features (N, D) and labels (N,), got {tuple(x.shape)} and {tuple(y.shape)}")
        settings = SupportDetector(random_state=0) if self.support is None else self.support
        fresh = SupportDetector(**settings.get_params())
        self.model = fresh.fit(x[(y >= 0).to(x.device)].detach().cpu().double().numpy()).detector_.to(x.device)
        return self

    def predict(self, x: Tensor) -> Tensor:
        """Return the outlier scores `(N,)` of inputs, float64 and high out of distribution.

        Raises:
            RequiresFittingException: where there is no detector yet.
        """
        self._trained()
        return self.predict_features(self._encoded(x))

    def predict_features(self, x: Tensor) -> Tensor:
        """Return the outlier scores `(N,)` of what the detector reads, which an encoder has been through already.

        Raises:
            RequiresFittingException: where there is no detector yet.
        """
        return ood_score(self._trained(), x, batch_size=self.batch_size)

    def _trained(self) -> nn.Module:
        if self.model is None:
            raise _api.RequiresFittingException
        return self.model

    def _encoded(self, x: Tensor) -> Tensor:
        """Return the inputs as the detector reads them, on its device."""
        x = x if self.device is None else x.to(self.device)
        if self.encoder is None:
            return x
        with torch.no_grad():
            return self.encoder(x)
