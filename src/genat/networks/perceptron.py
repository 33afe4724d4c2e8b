"""Multilayer perceptrons layer by layer: their passes, and their logits' gradients written out."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

from genat.networks.layers import Normalize, Select

Layer: TypeAlias = tuple[str, nn.Module]
"""A layer and its name in its network."""

Passes: TypeAlias = Callable[[Tensor], tuple[Tensor, Tensor]]
"""From `(N, *)` points to their logits `(N,)` and the logits' gradients `(N, *)`, without a graph."""

_aten = torch.ops.aten
_ACTIVATIONS: dict[type[nn.Module], Callable[[Any], "Step"]] = {
    nn.ReLU: lambda _: (torch.relu_, lambda gradient, _, after: _aten.threshold_backward(gradient, after, 0)),
    nn.LeakyReLU: lambda layer: (
        partial(F.leaky_relu_, negative_slope=layer.negative_slope),
        lambda gradient, _, after: _aten.leaky_relu_backward(gradient, after, layer.negative_slope, True),
    ),
    nn.SiLU: lambda _: (F.silu, lambda gradient, before, _: _aten.silu_backward(gradient, before)),
    nn.Tanh: lambda _: (torch.tanh_, lambda gradient, _, after: _aten.tanh_backward(gradient, after)),
    nn.Softplus: lambda layer: (
        layer.forward,
        lambda gradient, before, _: _aten.softplus_backward(gradient, before, layer.beta, layer.threshold),
    ),
}
Step: TypeAlias = tuple[Callable[[Tensor], Tensor], Callable[[Tensor, Tensor, Tensor], Tensor]]
"""A layer forward, and how the gradient comes back through it: from the one after it, what came in and what went out.

Activations that come back from what went out alone work in place, on a product that nothing else reads."""


class Perceptron(nn.Sequential):
    """A multilayer perceptron: a sequence of layers whose gradient to the inputs is written out.

    Example:
        >>> network = Perceptron(nn.Flatten(), nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1), Select())
        >>> for parameter in network.parameters():
        ...     _ = nn.init.ones_(parameter)
        >>> network.written_out()(torch.ones(1, 2))
        (tensor([7.]), tensor([[2., 2.]]))
    """

    def written_out(self) -> Passes | None:
        """Return a pass forward and back to the inputs by the present weights, which must stay while it is used.

        An ascent step of a small network is bound by what modules and autograd cost beside the products; written out
        it comes to the same bits in two thirds of the time. None where it is not: with hooks, or other layers than a
        perceptron's.
        """
        layers = plain_layers(self)
        if layers is None or hooked(self, *self.children()):
            return None
        return written_out(layers, dict(self.named_parameters()) | dict(self.named_buffers()))


def plain_layers(network: nn.Module) -> list[Layer] | None:
    """Return the layers of a multilayer perceptron, None for another network.

    Example:
        >>> plain_layers(nn.Sequential(nn.Linear(2, 1), Select()))
        [('0', Linear(in_features=2, out_features=1, bias=True)), ('1', Select(logit=0))]
        >>> plain_layers(nn.Sequential(nn.Conv2d(1, 1, 3))) is None
        True
    """
    if not isinstance(network, nn.Sequential):
        return None
    layers = list(network.named_children())
    return layers if all(_is_plain(layer) for _, layer in layers) else None


def _is_plain(layer: nn.Module) -> bool:
    if isinstance(layer, nn.Flatten):
        return (layer.start_dim, layer.end_dim) == (1, -1)  # others may take the batch apart
    return type(layer) in (nn.Linear, Select, *_ACTIVATIONS) or (type(layer) is Normalize and layer.mean.ndim == 0)


def through(layers: Sequence[Layer], state: Mapping[str, Tensor], values: Tensor) -> Tensor:
    """Run `(M, N, *)` values through the layers of a multilayer perceptron, every member with its own weights.

    Args:
        layers: as `plain_layers` returns them.
        state: their parameters and buffers by name, `(M, *)` each.
        values: of each member.
    """
    for name, layer in layers:
        values = values[..., layer.logit] if isinstance(layer, Select) else _step(layer, name, state, lead=2)[0](values)
    return values


def written_out(layers: Sequence[Layer], state: Mapping[str, Tensor], *, members: int | None = None) -> Passes | None:
    """Return a pass of a perceptron forward and back to its inputs, None where it does not end in a logit.

    Args:
        layers: as `plain_layers` returns them.
        state: their parameters and buffers by name, `(M, *)` each for members.
        members: M, each with its own share of `(M N, *)` points; None for one network.
    """
    inner, ending = layers[:-2], layers[-2:]
    if [type(layer) for _, layer in ending] != [nn.Linear, Select]:
        return None
    (head, _), (_, select) = ending
    assert isinstance(select, Select)
    weight, bias, logit = state[f"{head}.weight"], state.get(f"{head}.bias"), select.logit
    # in place only where a product has just been made: never on the points themselves
    fresh = [False, *(isinstance(layer, nn.Linear) for _, layer in inner)]
    lead = 1 if members is None else 2
    steps = [
        _step(layer, name, state, lead=lead, fresh=made) for (name, layer), made in zip(inner, fresh, strict=False)
    ]

    def run(points: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            values = [points if members is None else points.view(members, -1, *points.shape[1:])]
            for forward, _ in steps:
                values.append(forward(values[-1]))
            logits = _product(values[-1], weight, bias)[..., logit]
            # contiguous, as a product is: kernels round by how rows lie
            gradient = weight[..., logit, :].unsqueeze(-2).expand_as(values[-1]).contiguous()
            for index in range(len(steps) - 1, -1, -1):
                gradient = steps[index][1](gradient, values[index], values[index + 1])
        return logits.flatten(), gradient.view(points.shape)

    return run


def hooked(*modules: nn.Module) -> bool:
    """Return whether anything listens to the passes of a module."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return any(getattr(module, name) for module in modules for name in hooks)


def _step(layer: nn.Module, name: str, state: Mapping[str, Tensor], *, lead: int, fresh: bool = False) -> Step:
    """Return a layer's step by the weights as they are: `lead` axes, of samples or members and samples, stay."""
    if isinstance(layer, nn.Linear):
        weight, bias = state[f"{name}.weight"], state.get(f"{name}.bias")
        return lambda values: _product(values, weight, bias), lambda gradient, _, __: gradient @ weight
    if isinstance(layer, nn.Flatten):
        return lambda values: values.flatten(lead), lambda gradient, before, _: gradient.view(before.shape)
    if isinstance(layer, Normalize):
        mean, std = state[f"{name}.mean"], state[f"{name}.std"]
        return (
            lambda values: (values - _beside(mean, values)) / _beside(std, values),
            lambda gradient, _, __: gradient / _beside(std, gradient),
        )
    forward, back = _ACTIVATIONS[type(layer)](layer)
    return (forward if fresh else layer.forward), back


def _product(values: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return a linear layer's outputs: `(N, C)` of one network, `(M, N, C)` of members with weights of their own."""
    if weight.ndim == 2:
        return F.linear(values, weight, bias)
    if bias is None:
        return torch.bmm(values, weight.transpose(1, 2))
    return torch.baddbmm(bias[:, None], values, weight.transpose(1, 2))


def _beside(statistic: Tensor, values: Tensor) -> Tensor:
    """Return a number, or one for each member, in a shape that broadcasts with the values."""
    return statistic if statistic.ndim == 0 else statistic.view(-1, *[1] * (values.ndim - 1))
