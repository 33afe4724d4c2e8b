"""Blocks that compute twice: the same values and gradients, fewer maps kept."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from genat import assemble, networks
from genat.config import Config
from genat.networks import Recomputed, recompute, resnet, star, wide_resnet

NETWORKS: list[Callable[[], nn.Module]] = [
    lambda: resnet((3, 16, 16), blocks=(2, 2), width=4, negative_slope=0.1),
    lambda: resnet((3, 16, 16), blocks=(1, 2), width=2, bottleneck=True),
    lambda: wide_resnet((3, 16, 16), depth=10, widen=1),
    lambda: star((3, 16, 16), width=4, widest=8, outputs=1),
]


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make()


@pytest.mark.parametrize("make", NETWORKS)
def test_values_and_gradients_are_the_same_second_ones_too(make: Callable[[], nn.Module]) -> None:
    plain, twice = seeded(make), recompute(seeded(make))
    assert any(isinstance(module, Recomputed) for module in twice.modules())
    assert list(twice.state_dict()) == list(plain.state_dict())
    found = []
    for network in (plain, twice):
        x = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1)).requires_grad_()
        logits = network(x)
        (slope,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
        loss = logits.mean() + slope.square().sum()
        found.append([logits, slope, *torch.autograd.grad(loss, list(network.parameters()), allow_unused=True)])
    for one, other in zip(*found, strict=True):
        assert (one is None and other is None) or torch.equal(one, other)


def test_fewer_maps_are_kept() -> None:
    def kept(network: nn.Module) -> int:
        total = 0

        def pack(value: Tensor) -> Tensor:
            nonlocal total
            total += value.numel()
            return value

        x = torch.zeros(2, 3, 16, 16, requires_grad=True)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
            network.requires_grad_(False)(x)
        return total

    plain, twice = (resnet((3, 16, 16), blocks=(6, 6), width=4) for _ in range(2))
    assert kept(recompute(twice)) < kept(plain) / 3


def test_a_configuration_asks_for_it() -> None:
    settings = Config(network="resnet", network_options={"width": 2}, recompute=True)
    assert isinstance(assemble.detector(settings, (1, 8, 8)).get_submodule("stages"), Recomputed)
    with pytest.raises(ValueError, match="expected a network of several residual blocks to recompute, got none"):
        assemble.detector(Config(recompute=True), (1, 8, 8))
    with pytest.raises(ValueError, match="expected members_at_once with committee=true, got recompute=true"):
        Config(committee=True, recompute=True)


def test_names_stay() -> None:
    first, second = (networks.Residual(nn.Tanh(), nn.Identity()) for _ in range(2))
    network = nn.Module()
    network.blocks = nn.Sequential()
    network.blocks.add_module("one", first)
    network.blocks.add_module("two", second)
    assert [name for name, _ in recompute(network).get_submodule("blocks").named_children()] == ["one", "two"]
