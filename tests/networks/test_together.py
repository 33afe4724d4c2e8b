"""Several networks as one: each member computes what it would alone."""

import copy

import pytest
import torch
from torch import nn

from genat import networks
from genat.networks import Together


def members(spec: str, shape: tuple[int, ...], options: dict[str, object], count: int = 3) -> list[nn.Module]:
    return [networks.build(spec, shape, options, seed=seed) for seed in range(count)]


ARCHITECTURES = [
    ("mlp", (2,), {"hidden": (8, 8)}),
    ("mlp", (2,), {"hidden": (8,), "mean": 0.5, "std": 0.1, "negative_slope": 0.2}),
    ("mlp", (2,), {"hidden": (8,), "outputs": 3, "logit": None}),
    ("small_convnet", (1, 8, 8), {"width": 4}),
    ("convnet", (1, 8, 8), {"channels": (4, 4), "width": 8}),
    ("resnet", (3, 16, 16), {"width": 4}),
]


@pytest.mark.parametrize(("spec", "shape", "options"), ARCHITECTURES)
def test_members_compute_what_they_compute_alone(
    spec: str, shape: tuple[int, ...], options: dict[str, object], generator: torch.Generator
) -> None:
    alone = members(spec, shape, options)
    together = Together(alone)
    x = torch.rand(12, *shape, generator=generator)
    expected = torch.cat([network(share) for network, share in zip(alone, x.chunk(3), strict=True)])
    torch.testing.assert_close(together(x), expected, rtol=1e-5, atol=1e-6)


def test_a_flattening_that_takes_the_batch_apart_stays_each_members_own() -> None:
    networks = [nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1), nn.Flatten(0)) for _ in range(2)]
    x = torch.arange(12.0).view(6, 2) / 12
    torch.testing.assert_close(Together(networks)(x), torch.cat([networks[0](x[:3]), networks[1](x[3:])]))


@pytest.mark.parametrize(("spec", "shape", "options"), ARCHITECTURES)
def test_gradients_are_the_members_own(
    spec: str, shape: tuple[int, ...], options: dict[str, object], generator: torch.Generator
) -> None:
    alone = members(spec, shape, options)
    together = Together(alone)
    x = torch.rand(6, *shape, generator=generator)
    together(x).square().sum().backward()
    for network, share in zip(alone, x.chunk(3), strict=True):
        network(share).square().sum().backward()
    for name, parameter in together.named_parameters():
        assert parameter.grad is not None
        expected = torch.stack([dict(n.named_parameters())[name.replace("/", ".")].grad for n in alone])  # type: ignore[misc]
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-4, atol=1e-6)


def test_a_member_comes_out_as_it_went_in(generator: torch.Generator) -> None:
    alone = members("mlp", (2,), {"hidden": (8,), "mean": 0.5, "std": 0.1})
    together = Together(alone).eval()
    x = torch.rand(5, 2, generator=generator)
    for index, network in enumerate(alone):
        member = together.member(index)
        assert torch.equal(member(x), network(x))
        assert not member.training
    with pytest.raises(IndexError, match="expected a member from 0 to 2, got 3"):
        together.member(3)


def test_members_are_copies() -> None:
    network = nn.Linear(2, 1)
    together = Together([network, network])
    with torch.no_grad():
        together.get_parameter("weight").zero_()
    assert network.weight.abs().sum() > 0


def test_state_goes_round() -> None:
    first, second = (Together(members("mlp", (2,), {"hidden": (8,)}, count=2)) for _ in range(2))
    with torch.no_grad():
        for parameter in first.parameters():
            parameter.add_(1.0)
    second.load_state_dict(first.state_dict())
    assert torch.equal(second(torch.ones(4, 2)), first(torch.ones(4, 2)))


def test_dropout_follows_the_mode() -> None:
    together = Together([nn.Sequential(nn.Linear(2, 50), nn.Dropout(0.5), nn.Linear(50, 1))] * 2)
    x = torch.ones(2, 2)
    together.eval()
    assert torch.equal(together(x), together(x))
    together.train()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        assert not torch.equal(together(x), together(x))


def test_one_member_is_the_network_itself_statistics_included(generator: torch.Generator) -> None:
    with torch.random.fork_rng(devices=[]):
        network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten())
    together = Together([network])
    x = torch.rand(5, 1, 6, 6, generator=generator)
    assert torch.equal(together(x), network(x))
    left, right = (dict(one.named_buffers()) for one in (together.member(0), network))
    assert all(torch.equal(left[name], right[name]) for name in right)
    assert not torch.equal(right["1.running_mean"], torch.zeros(3))
    torch.autograd.backward([together(x).square().sum(), network(x).square().sum()])
    for one, other in zip(together.parameters(), network.parameters(), strict=True):
        assert one.grad is not None
        assert other.grad is not None
        torch.testing.assert_close(one.grad[0], other.grad)


@pytest.mark.parametrize("at_once", [1, 2, 3, 5])
def test_some_at_once_give_the_same_values_and_gradients(at_once: int, generator: torch.Generator) -> None:
    alone = members("small_convnet", (1, 8, 8), {"width": 4})
    x = torch.rand(6, 1, 8, 8, generator=generator).requires_grad_()
    whole, parts = Together(alone), Together(alone, at_once=at_once)
    expected, values = whole(x), parts(x)
    assert torch.equal(values, expected)
    wanted = torch.autograd.grad(expected.square().sum(), [x, *whole.parameters()])
    found = torch.autograd.grad(values.square().sum(), [x, *parts.parameters()])
    for one, other in zip(found, wanted, strict=True):
        assert torch.equal(one, other)


def test_some_at_once_keep_fewer_activations(generator: torch.Generator) -> None:
    """What a graph saves for its gradient is counted: with all members it grows with them, with one at once not."""

    def saved(at_once: int | None) -> int:
        together = Together(members("small_convnet", (1, 8, 8), {"width": 4}, count=6), at_once=at_once)
        together.requires_grad_(False)
        x = torch.rand(48, 1, 8, 8, generator=generator).requires_grad_()
        total = 0

        def pack(value: torch.Tensor) -> torch.Tensor:
            nonlocal total
            total += value.numel()
            return value

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
            together(x)
        return total

    assert saved(1) < saved(None) / 3


@pytest.mark.parametrize("shape", [(1, 16, 16), (3, 16, 16)])
def test_convolutions_stay_channels_last(shape: tuple[int, ...]) -> None:
    """A member's weights lie as the network's own, stride by stride: PyTorch chooses its kernels by that."""
    alone = [network.to(memory_format=torch.channels_last) for network in members("resnet", shape, {"width": 4})]  # type: ignore[call-overload]
    for together in (Together(alone), copy.deepcopy(Together(alone))):
        for name, value in together.named_parameters():
            for index, network in enumerate(alone):
                own = network.get_parameter(name.replace("/", "."))
                assert torch.equal(value[index], own)
                assert value[index].stride() == own.stride()


def test_what_cannot_go_together_is_refused() -> None:
    with pytest.raises(ValueError, match="expected at least one network, got none"):
        Together([])
    with pytest.raises(ValueError, match="expected networks of one architecture, got another at position 1"):
        Together([nn.Linear(2, 1), nn.Linear(3, 1)])
    with pytest.raises(ValueError, match="expected at_once to be None or at least 1, got 0"):
        Together([nn.Linear(2, 1)], at_once=0)
    with pytest.raises(ValueError, match="expected a multiple of 2 samples, one share a member, got 3"):
        Together([nn.Linear(2, 1)] * 2)(torch.ones(3, 2))
