"""One network that classifies and detects: K logits, and their log-sum-exp as the detector's."""

from torch import Tensor, nn


class Joint(nn.Module):
    r"""A classifier read as a detector: the log-sum-exp of its K logits.

    .. math:: f(x) = \log \sum_{k=1}^{K} \exp f_k(x), \qquad f_k(x) = f(x) + \log p(k \mid x)

    with :math:`p(\cdot \mid x)` the softmax of the logits: :math:`-f` is the energy of an input whatever its class, and
    :math:`-f_k` that of the input as one of class k. So climbing f makes a sample of the target, and climbing one of
    the classifier's logits (`genat.generation.one_of(joint, k)`) makes one of class k. With K = 1 it is the network
    itself.

    Args:
        classifier: `(N, *) -> (N, K)`; it is shared, not copied.

    References:
        Your Classifier is Secretly an Energy Based Model and You Should Treat it Like One (Grathwohl et al., 2020)
        https://arxiv.org/abs/1912.03263
        Scalable Energy-Based Models via Adversarial Training: Unifying Discrimination and Generation
        (Yin et al., 2025) https://arxiv.org/abs/2510.13872

    Example:
        >>> joint = Joint(nn.Flatten())
        >>> x = torch.tensor([[[0.0, 0.0]], [[9.0, 0.0]]])
        >>> joint(x), joint.classify(x).argmax(dim=1)
        (tensor([0.6931, 9.0001]), tensor([0, 0]))
    """

    def __init__(self, classifier: nn.Module) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, x: Tensor) -> Tensor:
        """Return the detector's logits, `(N,)`.

        Raises:
            ValueError: where the classifier's outputs are not `(N, K)`.
        """
        return self.pool(self.classify(x))

    def pool(self, logits: Tensor) -> Tensor:
        """Return the detector's logits `(N,)` from those of the classes, `(N, K)`."""
        return logits.logsumexp(dim=1)

    def classify(self, x: Tensor) -> Tensor:
        """Return the classes' logits, `(N, K)`.

        Raises:
            ValueError: where the classifier's outputs are not.
        """
        outputs: Tensor = self.classifier(x)
        if outputs.ndim != 2:
            raise ValueError(f"expected a classifier of outputs (N, K), got {tuple(outputs.shape)}")
        return outputs
