import math
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from genat.balls import L2Ball
from genat.decisions import Generative
from genat.evaluation.systems import minimum_l2
from genat.networks import Committee, Joint


class Linear(nn.Module):
    def __init__(self, weights: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weights, self.bias = weights, bias

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weights.T + self.bias


def linear(weights: Tensor, bias: Tensor) -> Generative:
    return Generative(Committee(Joint(Linear(weights, bias)), classes=[str(kind) for kind in range(len(weights))]))


def smooth(classes: int = 3) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(1)
        net = nn.Sequential(nn.Flatten(), nn.Linear(16, 24), nn.Tanh(), nn.Linear(24, classes))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(3)
    return net.eval()


def test_on_linear_logits_it_is_the_distance_to_the_half_space(generator: torch.Generator) -> None:
    """Orthogonal weights: the way to the target's half-space moves no other logit."""
    weights = torch.zeros(2, 12)
    weights[0, :6], weights[1, 6:] = torch.randn(2, 6, generator=generator)
    bias = torch.tensor([0.3, -0.2])
    x = 0.5 + 0.1 * torch.rand(7, 12, generator=generator)
    logits = x @ weights.T + bias
    labels = logits.argmax(1)
    threshold = float(logits.max()) + 0.4  # above all, so that a wrong label is accepted where its logit is
    found = minimum_l2(linear(weights, bias), x, labels, threshold=threshold, steps=60, bisections=14, batch_size=4)
    aims = 1 - labels
    assert torch.equal(found.kinds, aims)
    ahead = threshold - logits.gather(1, aims[:, None])[:, 0]
    expected = ahead / weights[aims].norm(dim=1)
    torch.testing.assert_close(found.distances, expected.double(), rtol=0.01, atol=0)
    assert (found.distances >= expected - 1e-5).all()
    torch.testing.assert_close((found.images - x).norm(dim=1).double(), found.distances)
    assert found.rate == 1
    assert found.mean == pytest.approx(found.distances.mean().item())


def test_it_is_about_as_near_as_foolboxs_ddn(generator: torch.Generator) -> None:
    """Two classes, logits f and -f: to raise the other's logit is to lower one's own, as foolbox's margin is."""
    both = nn.Sequential(smooth(1), Linear(torch.tensor([[1.0], [-1.0]]), torch.zeros(2)))
    x = torch.rand(12, 1, 4, 4, generator=generator)
    system = Generative(Committee(Joint(both), classes=["up", "down"]))
    labels = system.decide(x).labels
    ours = minimum_l2(system, x, labels, threshold=None, steps=100, bisections=15, penalty=200.0)
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a name foolbox imports from scipy
        foolbox = pytest.importorskip("foolbox")
        model = foolbox.PyTorchModel(both.eval(), bounds=(0, 1), device="cpu")
        _, theirs, success = foolbox.attacks.DDNAttack(steps=150)(model, x, labels, epsilons=None)
    far = (theirs - x).flatten(1).norm(dim=1)
    assert success.all()
    assert ours.rate == 1
    assert ours.mean == pytest.approx(far.mean().item(), rel=0.05)
    assert (ours.distances >= 0.9 * far).all()


@pytest.mark.parametrize("rule", ["steepest", "adam"])
def test_what_it_finds_is_accepted_under_a_wrong_label(rule: Any, generator: torch.Generator) -> None:  # noqa: ANN401
    system = Generative(Committee(Joint(smooth()), classes=["a", "b", "c"]))
    x = torch.rand(9, 1, 4, 4, generator=generator)
    labels = system.decide(x).labels
    found = minimum_l2(system, x, labels, threshold=0.5, steps=40, rule=rule, bisections=6, batch_size=4)
    decision, there = system.decide(found.images), found.distances.isfinite()
    assert there.any()
    assert (decision.labels != labels)[there].all()
    assert (decision.scores >= 0.5)[there].all()
    assert torch.equal(found.images[~there], x[~there])
    assert (found.kinds != labels).all()
    assert set(found.kinds.tolist()) == {0, 1, 2}
    assert found.images.min() >= 0
    assert found.images.max() <= 1
    held = minimum_l2(system, x, labels, threshold=0.5, steps=40, bisections=2, ball=L2Ball(0.1))
    assert ((held.images - x).flatten(1).norm(dim=1) <= 0.1 + 1e-5).all()


def test_more_bisections_only_bring_nearer(generator: torch.Generator) -> None:
    system = Generative(Committee(Joint(smooth()), classes=["a", "b", "c"]))
    x = torch.rand(6, 1, 4, 4, generator=generator)
    labels = system.decide(x).labels
    one, many = (minimum_l2(system, x, labels, threshold=0.5, steps=30, bisections=count) for count in (1, 8))
    assert (many.distances <= one.distances).all()
    assert (many.distances < one.distances).any()


def test_where_nothing_is_accepted_the_distance_is_infinite() -> None:
    system = linear(torch.eye(2), torch.zeros(2))
    found = minimum_l2(system, torch.full((2, 2), 0.5), torch.tensor([0, 1]), threshold=1.5, steps=20)
    assert found.distances.tolist() == [math.inf, math.inf]
    assert found.rate == 0
    assert math.isnan(found.mean)


def test_what_is_wrong_already_is_at_no_distance_worth_the_name() -> None:
    found = minimum_l2(
        linear(torch.eye(2), torch.zeros(2)), torch.tensor([[0.2, 0.8]]), torch.tensor([0]), threshold=None, steps=50
    )
    assert found.mean < 0.07  # the largest penalty's optimum, 1 / (2 * 8), and what bisection lacks to it


def test_no_image_is_left_out_and_batches_do_not_matter(generator: torch.Generator) -> None:
    system = Generative(Committee(Joint(smooth()), classes=["a", "b", "c"]))
    x = torch.rand(7, 1, 4, 4, generator=generator)
    labels = system.decide(x).labels
    whole, parts = (
        minimum_l2(system, x, labels, threshold=0.5, steps=20, bisections=4, batch_size=size) for size in (256, 3)
    )
    assert len(parts.images) == len(parts.distances) == 7
    assert torch.equal(whole.kinds, parts.kinds)
    torch.testing.assert_close(whole.distances, parts.distances, rtol=1e-3, atol=1e-4)
    other = minimum_l2(system, x, labels, threshold=0.5, steps=1, bisections=1, seed=1)
    assert not torch.equal(whole.kinds, other.kinds)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bisections": 0}, "expected bisections to be at least 1, got 0"),
        ({"penalty": 0.0}, r"expected penalty to be positive and finite, got 0\.0"),
        ({"penalty": math.inf}, "expected penalty to be positive and finite, got inf"),
        ({"steps": 0}, "expected steps to be at least 1, got 0"),
        ({"seed": -1}, "expected seed to be at least 0, got -1"),
        ({"batch_size": 0}, "expected batch_size to be at least 1, got 0"),
        ({"labels": torch.tensor([0, 2])}, "expected labels from 0 to 1, got 0 to 2"),
        ({"labels": torch.tensor([0])}, r"expected a label an image, \(2,\) int64, got \(1,\) torch.int64"),
        ({"images": torch.full((2, 2), -0.5)}, r"expected images in \[0, 1\], got values from -0\.5 to -0\.5"),
    ],
)
def test_what_cannot_be_meant_is_refused(options: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {
        "system": linear(torch.eye(2), torch.zeros(2)),
        "images": torch.full((2, 2), 0.5),
        "labels": torch.tensor([0, 1]),
        "threshold": None,
    }
    with pytest.raises(ValueError, match=message):
        minimum_l2(**(arguments | options))
