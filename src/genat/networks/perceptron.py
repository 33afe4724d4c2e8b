"""Multilayer perceptrons layer by layer: their passes, and their logits' gradients written out."""

from collections.abc import Callable, Sequence
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
        layers = [layer for _, layer in plain_layers(self) or ()]
        inner, ending = layers[:-2], layers[-2:]
        if [type(layer) for layer in ending] != [nn.Linear, Select] or any(map(_hooked, (self, *layers))):
            return None
        head, select = ending
        assert isinstance(head, nn.Linear)
        assert isinstance(select, Select)
        # in place only where a product has just been made: never on the points themselves
        fresh = [isinstance(before, nn.Linear) for before in (None, *inner)]
        steps = [_step(layer, fresh=made) for layer, made in zip(inner, fresh, strict=False)]
        return partial(_pass, steps, head.weight, head.bias, select.logit)


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
    known = (nn.Flatten, nn.Linear, Select, *_ACTIVATIONS)
    plain = all(type(layer) in known or (type(layer) is Normalize and layer.mean.ndim == 0) for _, layer in layers)
    return layers if plain else None


def through(layers: Sequence[Layer], state: dict[str, Tensor], values: Tensor) -> Tensor:
    """Run `(M, N, *)` values through the layers of a multilayer perceptron, every member with its own weights."""
    for name, layer in layers:
        if isinstance(layer, nn.Flatten):
            values = values.flatten(2)
        elif isinstance(layer, Normalize):
            values = (values - state[f"{name}.mean"][:, None, None]) / state[f"{name}.std"][:, None, None]
        elif isinstance(layer, nn.Linear):
            weight = state[f"{name}.weight"].transpose(1, 2)
            bias = state.get(f"{name}.bias")
            values = torch.bmm(values, weight) if bias is None else torch.baddbmm(bias[:, None], values, weight)
        elif isinstance(layer, Select):
            values = values[..., layer.logit]
        else:
            values = layer(values)
    return values


def _pass(
    steps: Sequence[Step], weight: Tensor, bias: Tensor | None, logit: int, points: Tensor
) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        values = [points]
        for forward, _ in steps:
            values.append(forward(values[-1]))
        logits = F.linear(values[-1], weight, bias)[:, logit]
        gradient = weight[logit].repeat(len(points), 1)  # contiguous, as a product is: kernels round by how rows lie
        for index in range(len(steps) - 1, -1, -1):
            gradient = steps[index][1](gradient, values[index], values[index + 1])
    return logits, gradient


def _step(layer: nn.Module, *, fresh: bool) -> Step:
    if isinstance(layer, nn.Linear):
        weight, bias = layer.weight, layer.bias
        return lambda values: F.linear(values, weight, bias), lambda gradient, _, __: gradient @ weight
    if isinstance(layer, nn.Flatten):
        return lambda values: values.flatten(1), lambda gradient, before, _: gradient.view(before.shape)
    if isinstance(layer, Normalize):
        return layer.forward, lambda gradient, _, __: gradient / layer.std
    forward, back = _ACTIVATIONS[type(layer)](layer)
    return (forward if fresh else layer.forward), back


def _hooked(layer: nn.Module) -> bool:
    return any((layer._forward_hooks, layer._forward_pre_hooks, layer._backward_hooks, layer._backward_pre_hooks))
