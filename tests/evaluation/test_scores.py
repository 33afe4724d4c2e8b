"""The scores of others against the package that has them, and what they must allow that it does not."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from genat import ranking
from genat.adapters import _pytorch_ood
from genat.ascent import ascend
from genat.evaluation.scores import Confidence, MaxLogit, Nearest, Penultimate, post_hoc

NAMES = ("msp", "max-logit", "energy", "odin", "mahalanobis", "knn", "vim")


def linear(inputs: int, outputs: int, *, bias: bool = True) -> nn.Linear:
    with torch.random.fork_rng(devices=[]):
        return nn.Linear(inputs, outputs, bias=bias)


def network(*, scale: float = 1.0) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        head = nn.Linear(12, 4)
        net = nn.Sequential(nn.Flatten(), nn.Linear(9, 12), nn.Tanh(), head)
    with torch.no_grad():
        head.weight.mul_(scale)
    return net


@pytest.fixture
def data(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    return torch.rand(200, 1, 3, 3, generator=generator), torch.arange(200) % 4


@pytest.fixture
def inputs(generator: torch.Generator) -> Tensor:
    return torch.rand(40, 1, 3, 3, generator=generator)


def theirs(name: str, net: nn.Sequential, images: Tensor, labels: Tensor) -> Callable[[Tensor], Tensor]:
    """The package's detector of that name, high out of distribution."""
    package, head = _pytorch_ood.detectors(), net[3]
    assert isinstance(head, nn.Linear)
    encoder = net[:3]
    with torch.no_grad():
        features = encoder(images)
    made: dict[str, Callable[[], Callable[[Tensor], Tensor]]] = {
        "msp": lambda: package.MaxSoftmax(net),
        "max-logit": lambda: package.MaxLogit(net),
        "energy": lambda: package.EnergyBased(net),
        "odin": lambda: package.ODIN(net),
        "mahalanobis": lambda: package.Mahalanobis(encoder).fit_features(features, labels),
        "knn": lambda: package.KNN(encoder).fit_features(features, labels),
        "vim": lambda: package.ViM(encoder, 6, head.weight, head.bias).fit_features(features, labels),
    }
    return made[name]()


@pytest.mark.parametrize("name", NAMES)
def test_inputs_rank_as_in_pytorch_ood(name: str, data: tuple[Tensor, Tensor], inputs: Tensor) -> None:
    net = network()
    score = post_hoc(net, *data)[name]
    with torch.no_grad():
        ours, other = score(inputs).double(), -theirs(name, net, *data)(inputs).double()
    if name in ("msp", "odin"):
        ours = ours.sigmoid()
    torch.testing.assert_close(ours, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_every_score_can_be_climbed(name: str, data: tuple[Tensor, Tensor], inputs: Tensor) -> None:
    score = post_hoc(network(), *data)[name]
    with torch.no_grad():
        before = score(inputs)
    after = score(ascend(score, inputs, steps=10, step_size=0.02)).detach()
    assert (after >= before - 1e-3 * before.abs()).all()
    assert (after > before).double().mean() > 0.9


def test_confidence_goes_on_where_probabilities_are_one(inputs: Tensor) -> None:
    net = network(scale=500.0)
    with torch.no_grad():
        theirs_ = -_pytorch_ood.detectors().MaxSoftmax(net)(inputs)
        ours = Confidence(net)(inputs)
    assert (theirs_ == 1).sum() > 1
    assert len(ours.unique()) == len(inputs)
    differ = theirs_[:, None] - theirs_
    assert ((differ * (ours[:, None] - ours)) >= 0).all()  # no pair is ordered the other way


def test_confidence_of_two_classes_is_their_distance() -> None:
    logits = torch.tensor([[1.0, 4.0], [-2.0, -2.0]])
    torch.testing.assert_close(Confidence(nn.Identity())(logits), torch.tensor([3.0, 0.0]).double())


def test_a_step_raises_confidence(inputs: Tensor) -> None:
    net = network()
    with torch.no_grad():
        assert (Confidence(net, shift=0.01)(inputs) > Confidence(net)(inputs)).all()


def test_features_are_what_the_last_layer_sees(inputs: Tensor) -> None:
    net = network()
    features = Penultimate(net)
    torch.testing.assert_close(features.head(features(inputs)), net(inputs))
    assert not features.head._forward_pre_hooks


def test_the_nearest_is_counted_from_one() -> None:
    known = torch.eye(3)
    at = torch.tensor([[2.0, 1.0, 0.0]])
    unit = at / at.norm()
    distances = (unit - known).norm(dim=1).sort().values
    for k in (1, 2, 3):
        assert Nearest(nn.Identity(), known, k=k)(at).item() == pytest.approx(-distances[k - 1].item())


@pytest.mark.parametrize("name", ["mahalanobis", "knn"])
def test_data_far_from_every_class_ranks_below(name: str, generator: torch.Generator) -> None:
    """On features that are the input itself, of four Gaussians about the axes' ends."""
    head = linear(4, 4, bias=False)
    with torch.no_grad():
        head.weight.copy_(torch.eye(4))
    labels = torch.arange(200) % 4
    near = torch.eye(4)[labels] + 0.05 * torch.randn(200, 4, generator=generator)
    score = post_hoc(nn.Sequential(head), near, labels)[name]
    assert ranking.auroc(score(near), score(-near)) == 1


class Headless(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return x


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Confidence(nn.Identity(), temperature=0.0), "expected temperature > 0 and shift >= 0, got 0.0 and 0"),
        (lambda: Confidence(nn.Identity(), shift=-0.1), "expected temperature > 0 and shift >= 0, got 1.0 and -0.1"),
        (lambda: Penultimate(nn.Flatten()), "expected a classifier with a linear layer at its end, got one without"),
        (lambda: Penultimate(Headless())(torch.zeros(1, 2)), "expected a classifier that ends in its last linear"),
        (lambda: Nearest(nn.Identity(), torch.eye(3)), "expected k from 1 to 3, got 50"),
        (
            lambda: post_hoc(network(), torch.zeros(60, 1, 3, 3), torch.arange(60) % 3),
            r"expected images of all 4 classes, got classes \[0, 1, 2\]",
        ),
    ],
)
def test_refusals(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_without_the_package_the_extra_is_named(data: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_pytorch_ood, "find_spec", lambda _: None)
    with pytest.raises(ImportError, match="expected pytorch-ood, got none: pip install 'genat"):
        post_hoc(network(), *data)


def test_max_logit_is_the_largest(inputs: Tensor) -> None:
    net = network()
    assert torch.equal(MaxLogit(net)(inputs), net(inputs).max(dim=1).values)
