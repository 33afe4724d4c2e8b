"""Perceptrons: gradients written out are autograd's to the bit, and what is not written out is left to autograd."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from genat import networks
from genat.ascent import climb
from genat.networks import Normalize, Select, Together
from genat.networks.perceptron import Perceptron, plain_layers

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky": lambda: nn.LeakyReLU(0.2),
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "softplus": lambda: nn.Softplus(beta=2.0, threshold=1.0),
}


def by_autograd(network: nn.Module, points: Tensor) -> tuple[Tensor, Tensor]:
    points = points.clone().requires_grad_()
    logits = network(points)
    (gradient,) = torch.autograd.grad(logits.sum(), points)
    return logits.detach(), gradient


def samples(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def perceptron(*layers: nn.Module) -> Perceptron:
    return Perceptron(*layers).eval()


def check(network: Perceptron, points: Tensor) -> None:
    before = points.clone()
    run = network.written_out()
    assert run is not None
    for found, wanted in zip(run(points), by_autograd(network, points), strict=True):
        assert found.shape == wanted.shape
        assert torch.equal(found, wanted)
        assert not found.requires_grad
    assert torch.equal(points, before), "the points are left as they were"


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_gradients_written_out_are_autograds(name: str) -> None:
    activation = ACTIVATIONS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = [nn.Linear(12, 16), activation(), nn.Linear(16, 8, bias=False), activation(), nn.Linear(8, 3)]
    check(perceptron(nn.Flatten(), Normalize(0.2, 0.5), *layers, Select(2)), samples(7, 3, 2, 2))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_of_the_points_themselves_leaves_them(name: str) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        last = nn.Linear(4, 1)
    check(perceptron(ACTIVATIONS[name](), last, Select()), samples(5, 4))


def test_built_perceptrons_are_written_out() -> None:
    for shape, options in (((2,), {}), ((1, 8, 8), {"hidden": (16,), "negative_slope": 0.1, "mean": 0.5, "std": 0.2})):
        network = networks.build("mlp", shape, options, seed=0)
        assert isinstance(network, Perceptron)
        check(network, samples(6, *shape))
    check(networks.build("mlp", (2,), {"hidden": ()}, seed=0), samples(4, 2))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_members_together_are_written_out(name: str) -> None:
    """Three members and three channels: statistics of a member do not become those of a channel."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        nets = [
            perceptron(
                Normalize(0.1 * i, 0.5 + i), nn.Flatten(), nn.Linear(12, 8, bias=False), ACTIVATIONS[name](),
                nn.Linear(8, 8), ACTIVATIONS[name](), nn.Linear(8, 2), Select(1),
            )
            for i in range(3)
        ]  # fmt: skip
    together, points = Together(nets).eval(), samples(15, 3, 2, 2)
    run = together.written_out()
    assert run is not None
    for found, wanted in zip(run(points), by_autograd(together, points), strict=True):
        assert torch.equal(found, wanted)
    for found, net, part in zip(run(points)[1].split(5), nets, points.split(5), strict=True):  # type: ignore[no-untyped-call]
        torch.testing.assert_close(found, by_autograd(net, part)[1])


def test_members_that_are_no_perceptrons_are_left_to_autograd() -> None:
    assert Together([networks.build("small_convnet", (1, 8, 8), {"width": 2}, seed=0)] * 2).written_out() is None
    both = Together([networks.build("mlp", (2,), {"hidden": (4,)}, seed=0)] * 2)
    assert both.written_out() is not None
    both.register_forward_hook(lambda *_: None)
    assert both.written_out() is None


def test_zero_slopes_at_zero_are_autograds() -> None:
    network = perceptron(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 1), Select())
    check(network, torch.zeros(3, 2))


def test_a_climb_goes_the_same_way_as_by_autograd() -> None:
    network, starts = networks.build("mlp", (2,), {"hidden": (16, 16)}, seed=0), samples(20, 2).abs().clamp(max=1)
    found = climb(network, starts, steps=5, step_size=0.1)
    wanted = climb(network.forward, starts, steps=5, step_size=0.1)  # a function has nothing written out
    assert torch.equal(found.points, wanted.points)
    assert torch.equal(found.path, wanted.path)


@pytest.mark.parametrize(
    "network",
    [
        Perceptron(nn.Linear(2, 4), nn.GELU(), nn.Linear(4, 1), Select()),
        Perceptron(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2)),
        Perceptron(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2), Select(), nn.Tanh()),
        Perceptron(Select()),
        Perceptron(),
    ],
    ids=["another activation", "no choice of a logit", "something after it", "no product", "nothing"],
)
def test_other_layers_are_left_to_autograd(network: Perceptron) -> None:
    assert network.written_out() is None


def test_hooks_are_heard() -> None:
    network = perceptron(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1), Select())
    heard: list[int] = []
    for module in (network, network[1]):
        handle = module.register_forward_hook(lambda *_: heard.append(1))
        assert network.written_out() is None
        climb(network, torch.full((1, 2), 0.5), steps=3, step_size=0.1)
        handle.remove()
    assert len(heard) == 6
    assert network.written_out() is not None


def test_mixed_precision_is_left_to_autograd() -> None:
    network, starts = networks.build("mlp", (2,), {"hidden": (16, 16)}, seed=0), torch.full((4, 2), 0.5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = climb(network, starts, steps=3, step_size=0.1)
        wanted = climb(network.forward, starts, steps=3, step_size=0.1)
    assert torch.equal(found.points, wanted.points)
    assert not torch.equal(found.points, climb(network, starts, steps=3, step_size=0.1).points)


def test_plain_layers_are_those_of_a_perceptron() -> None:
    assert [name for name, _ in plain_layers(nn.Sequential(nn.Flatten(), nn.Linear(2, 1))) or ()] == ["0", "1"]
    assert plain_layers(nn.Linear(2, 1)) is None
    assert plain_layers(nn.Sequential(nn.Linear(2, 1), nn.Flatten(0))) is None
    assert plain_layers(nn.Sequential(Normalize((0.1, 0.2), (1.0, 1.0)), nn.Linear(2, 1))) is None
