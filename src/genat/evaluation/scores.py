"""What a classifier says of whether an input is in distribution: scores of others, in a form that attacks can climb.

pytorch-ood fits what there is to fit; its own scores stop every gradient, and probabilities near 1 come out of them as
1. Here each is a differentiable function that ranks inputs in the same order.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

from genat.adapters import _pytorch_ood
from genat.ascent import frozen
from genat.networks import Joint

_FITTED = 10_000  # training images that Mahalanobis, KNN and ViM see
_NEIGHBOUR, _TEMPERATURE, _SHIFT = 50, 1000.0, 0.0014  # of KNN for CIFAR-10; of ODIN


class Confidence(nn.Module):
    r"""The largest of K probabilities at a temperature, as log-odds, after a step that raises it.

    .. math:: f(x) = \log\frac{p}{1 - p}, \qquad p = \max_k \mathrm{softmax}(h(\hat x) / T)_k, \qquad
        \hat x = x + \epsilon\, \mathrm{sign}(\nabla_x \log \mathrm{softmax}(h(x) / T)_{\hat k})

    With T = 1 and :math:`\epsilon = 0` it is the maximum softmax probability (MSP), else ODIN. A probability is 1 in
    floating point long before it is in truth, and ties there; its log-odds go on. Gradients flow through the step as if
    its direction were constant, which it is almost everywhere.

    Args:
        classifier: `(N, *) -> (N, K)`, K >= 2; shared, not copied.
        temperature: T > 0.
        shift: :math:`\epsilon \ge 0`, in units of the input.

    Raises:
        ValueError: where an argument is out of its range.

    References:
        A Baseline for Detecting Misclassified and Out-of-Distribution Examples in Neural Networks (Hendrycks, Gimpel,
        2017) https://arxiv.org/abs/1610.02136
        Enhancing The Reliability of Out-of-distribution Image Detection in Neural Networks (Liang, Li, Srikant, 2018)
        https://arxiv.org/abs/1706.02690

    Example:
        >>> Confidence(nn.Identity())(torch.tensor([[0.0, 0.0], [0.0, 99.0]]))
        tensor([ 0., 99.], dtype=torch.float64)
    """

    def __init__(self, classifier: nn.Module, *, temperature: float = 1.0, shift: float = 0.0) -> None:
        super().__init__()
        if not (temperature > 0 and shift >= 0):
            raise ValueError(f"expected temperature > 0 and shift >= 0, got {temperature} and {shift}")
        self.classifier, self.temperature, self.shift = classifier, temperature, shift

    def forward(self, x: Tensor) -> Tensor:
        """Return the log-odds, `(N,)` float64."""
        logits = self._logits(x + self.shift * self._direction(x) if self.shift else x)
        best, at = logits.max(dim=1)
        others = logits.scatter(1, at[:, None], -torch.inf)
        return best - others.logsumexp(dim=1)

    def _logits(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.classifier(x)
        return outputs.double() / self.temperature

    def _direction(self, x: Tensor) -> Tensor:
        with torch.enable_grad():
            point = x.detach().requires_grad_()
            likelihoods = F.log_softmax(self._logits(point), dim=1).amax(dim=1)
            (gradient,) = torch.autograd.grad(likelihoods.sum(), point)
        return gradient.sign()


class MaxLogit(nn.Module):
    """The largest of K logits.

    Args:
        classifier: `(N, *) -> (N, K)`; shared, not copied.

    References:
        Scaling Out-of-Distribution Detection for Real-World Settings (Hendrycks et al., 2022)
        https://arxiv.org/abs/1911.11132

    Example:
        >>> MaxLogit(nn.Identity())(torch.tensor([[0.0, -1.0], [2.0, 7.0]]))
        tensor([0., 7.])
    """

    def __init__(self, classifier: nn.Module) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits, `(N,)`."""
        logits: Tensor = self.classifier(x)
        return logits.amax(dim=1)


class Penultimate(nn.Module):
    """What the last linear layer of a classifier sees.

    Args:
        classifier: `(N, *) -> (N, K)` whose last linear layer makes its K outputs; shared, not copied.

    Raises:
        ValueError: where it has no linear layer.

    Example:
        >>> network = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 4))
        >>> penultimate = Penultimate(network)
        >>> penultimate(torch.zeros(5, 2)).shape, penultimate.head
        (torch.Size([5, 3]), Linear(in_features=3, out_features=4, bias=True))
    """

    def __init__(self, classifier: nn.Module) -> None:
        super().__init__()
        layers = [module for module in classifier.modules() if isinstance(module, nn.Linear)]
        if not layers:
            raise ValueError("expected a classifier with a linear layer at its end, got one without")
        self.classifier, self.head = classifier, layers[-1]

    def forward(self, x: Tensor) -> Tensor:
        """Return the features, `(N, D)`.

        Raises:
            ValueError: where the classifier never comes to that layer.
        """
        seen: list[Tensor] = []
        hook = self.head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        try:
            self.classifier(x)
        finally:
            hook.remove()
        if not seen:
            raise ValueError("expected a classifier that ends in its last linear layer, got one that leaves it out")
        return seen[-1].flatten(1)


class Mahalanobis(nn.Module):
    r"""Minus the squared distance to the nearest class mean, in the metric of the classes' shared covariance.

    .. math:: f(x) = -\tfrac12 \min_k\, (z - \mu_k)^T \Sigma^{-1} (z - \mu_k)

    Args:
        features: `(N, *) -> (N, D)`.
        means: `(K, D)`, :math:`\mu`.
        precision: `(D, D)`, :math:`\Sigma^{-1}`.

    References:
        A Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial Attacks (Lee et al., 2018)
        https://arxiv.org/abs/1807.03888

    Example:
        >>> score = Mahalanobis(nn.Identity(), torch.tensor([[0.0, 0.0], [4.0, 0.0]]), torch.eye(2))
        >>> score(torch.tensor([[1.0, 0.0], [4.0, 2.0]]))
        tensor([-0.5000, -2.0000], dtype=torch.float64)
    """

    means: Tensor
    precision: Tensor

    def __init__(self, features: nn.Module, means: Tensor, precision: Tensor) -> None:
        super().__init__()
        self.features = features
        self.register_buffer("means", means.double())
        self.register_buffer("precision", precision.double())

    def forward(self, x: Tensor) -> Tensor:
        """Return the score, `(N,)` float64."""
        z: Tensor = self.features(x)
        apart = z.double()[:, None] - self.means
        return -0.5 * ((apart @ self.precision) * apart).sum(dim=2).amin(dim=1)


class Nearest(nn.Module):
    r"""Minus the distance to the k-th nearest training sample, features scaled to length 1.

    Args:
        features: `(N, *) -> (N, D)`.
        known: `(T, D)` features of training samples.
        k: at most T.

    Raises:
        ValueError: where k is not in 1..T.

    References:
        Out-of-Distribution Detection with Deep Nearest Neighbors (Sun, Ming, Zhu, Li, 2022)
        https://arxiv.org/abs/2204.06507

    Example:
        >>> score = Nearest(nn.Identity(), torch.tensor([[2.0, 0.0], [0.0, 3.0]]), k=1)
        >>> score(torch.tensor([[0.6, 0.8], [5.0, 0.0]]))
        tensor([-0.6325, -0.0000], dtype=torch.float64)
    """

    known: Tensor

    def __init__(self, features: nn.Module, known: Tensor, *, k: int = _NEIGHBOUR) -> None:
        super().__init__()
        if not 1 <= k <= len(known):
            raise ValueError(f"expected k from 1 to {len(known)}, got {k}")
        self.features, self.k = features, k
        self.register_buffer("known", F.normalize(known, dim=1))

    def forward(self, x: Tensor) -> Tensor:
        """Return the score, `(N,)` float64."""
        z: Tensor = self.features(x)
        unit = F.normalize(z, dim=1)
        with torch.no_grad():
            at = (unit @ self.known.T).topk(self.k, dim=1).indices[:, -1]  # the nearest is the most aligned
        apart: Tensor = (unit.double() - self.known[at].double()).norm(dim=1)
        return -apart


class VirtualLogit(nn.Module):
    r"""ViM: the energy less what of the features lies outside the training samples' main directions.

    .. math:: f(x) = \log \sum_k \exp h_k(x) - \alpha\, \| R^T (z - u) \|_2

    Args:
        features: `(N, *) -> (N, D)`.
        head: the linear layer that makes the K logits h of them.
        origin: `(D,)`, u.
        directions: `(D, D - d)`, R, the ones that are left out.
        alpha: :math:`\alpha`.

    References:
        ViM: Out-Of-Distribution with Virtual-logit Matching (Wang, Li, Feng, Zhang, 2022)
        https://arxiv.org/abs/2203.10807

    Example:
        >>> head = nn.Linear(2, 1)
        >>> _ = nn.init.constant_(head.weight, 1.0), nn.init.zeros_(head.bias)
        >>> score = VirtualLogit(nn.Identity(), head, torch.zeros(2), torch.tensor([[0.0], [1.0]]), alpha=2.0)
        >>> score(torch.tensor([[3.0, 0.0], [3.0, 4.0]]))
        tensor([ 3., -1.], dtype=torch.float64, grad_fn=<SubBackward0>)
    """

    origin: Tensor
    directions: Tensor

    def __init__(
        self, features: nn.Module, head: nn.Linear, origin: Tensor, directions: Tensor, *, alpha: float
    ) -> None:
        super().__init__()
        self.features, self.head, self.alpha = features, head, alpha
        self.register_buffer("origin", origin.double())
        self.register_buffer("directions", directions.double())

    def forward(self, x: Tensor) -> Tensor:
        """Return the score, `(N,)` float64."""
        z: Tensor = self.features(x)
        logits: Tensor = self.head(z)
        beside: Tensor = ((z.double() - self.origin) @ self.directions).norm(dim=1)
        return logits.double().logsumexp(dim=1) - self.alpha * beside


def post_hoc(classifier: nn.Module, images: Tensor, labels: Tensor) -> Mapping[str, nn.Module]:
    """Return the scores of a classifier that was trained as classifiers are: high in distribution, all differentiable.

    MSP, max-logit, energy, ODIN (T 1000, step .0014), Mahalanobis, KNN (the 50th of 10,000) and ViM (half of the
    dimensions) on what the last layer sees; all numbers are those of pytorch-ood.

    Args:
        classifier: `(N, *) -> (N, K)`, trained; shared, not copied.
        images: `(T, *)` training images, of which the first 10,000 are used; at least 50.
        labels: `(T,)` int64; every class from 0 to K - 1 occurs among them.

    Returns:
        Modules `(N, *) -> (N,)` by name.

    Raises:
        ImportError: where pytorch-ood is not installed.
        ValueError: where the classifier does not end in a linear layer, or classes are missing.
    """
    features = Penultimate(classifier)
    images, labels = images[:_FITTED], labels[:_FITTED]
    with frozen(features), torch.no_grad():
        known = torch.cat([features(part) for part in torch.split(images, 256)]).cpu()
    found = sorted(set(labels.tolist()))
    if found != list(range(features.head.out_features)):
        raise ValueError(f"expected images of all {features.head.out_features} classes, got classes {found}")
    package, head = _pytorch_ood.detectors(), features.head
    bias = torch.zeros(head.out_features) if head.bias is None else head.bias.detach().cpu()
    gaussians = package.Mahalanobis(None).fit_features(known, labels.cpu())
    virtual = package.ViM(None, known.shape[1] // 2, head.weight.detach().cpu(), bias)
    virtual.fit_features(known, labels.cpu())
    return {
        "msp": Confidence(classifier),
        "max-logit": MaxLogit(classifier),
        "energy": Joint(classifier),
        "odin": Confidence(classifier, temperature=_TEMPERATURE, shift=_SHIFT),
        "mahalanobis": Mahalanobis(features, gaussians.mu, gaussians.precision),
        "knn": Nearest(features, known),
        "vim": VirtualLogit(features, head, virtual.u, virtual.principal_subspace, alpha=float(virtual.alpha)),
    }
