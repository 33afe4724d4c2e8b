"""Several networks of one architecture as one batched module: a member for each seed, or each class."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state
from torch.utils.checkpoint import checkpoint

from genat.networks.perceptron import Passes, hooked, plain_layers, through, written_out


class Together(nn.Module):
    r"""M networks of one architecture as one module whose parameters are stacked, `(M, *)` each.

    .. math:: F(x)_{m N + i} = f_m(x_{m N + i}), \qquad m = 0, \dots, M - 1, \; i = 0, \dots, N - 1

    Samples come member by member: the first N rows of a batch of M N belong to the first member. Sample by sample it
    is a detector like any other, so that ascent, losses and elementwise optimisers (Adam, SGD) treat the members
    side by side, and none knows of another. A batched matrix product replaces M small ones; other layers run batched
    too on a GPU, and member after member on a processor, where that is quicker. Convolutions whose weights lie channels
    last keep them so.

    Args:
        networks: M >= 1 modules with the same parameters and buffers, layer by layer; they are copied.
        at_once: how many members' activations are kept for a gradient; those of the others are computed once more when
            it is taken, so that memory does not grow with M, for a third more work. None keeps all. It concerns what
            does not run as one product.

    Raises:
        ValueError: for no network, networks whose parameters differ in name or shape, or at_once below 1.

    References:
        Model ensembling with torch.func.stack_module_state
        https://docs.pytorch.org/tutorials/intermediate/ensembling.html

    Example:
        >>> first, second = nn.Linear(2, 1), nn.Linear(2, 1)
        >>> both = Together([first, second])
        >>> x = torch.ones(6, 2)
        >>> torch.allclose(both(x), torch.cat([first(x[:3]), second(x[3:])]))
        True
        >>> both.members, both.member(1).weight.equal(second.weight)
        (2, True)
    """

    def __init__(self, networks: Sequence[nn.Module], *, at_once: int | None = None) -> None:
        super().__init__()
        if len(networks) == 0:
            raise ValueError("expected at least one network, got none")
        if at_once is not None and at_once < 1:
            raise ValueError(f"expected at_once to be None or at least 1, got {at_once}")
        layouts = [{name: tuple(value.shape) for name, value in network.state_dict().items()} for network in networks]
        for i, layout in enumerate(layouts):
            if layout != layouts[0]:
                raise ValueError(f"expected networks of one architecture, got another at position {i}")
        parameters, buffers = stack_module_state(list(networks))
        for name, value in parameters.items():
            like = networks[0].get_parameter(name)
            self.register_parameter(_flat(name), nn.Parameter(_laid_out(value.detach().clone(), like)))
        for name, value in buffers.items():
            self.register_buffer(_flat(name), value.detach().clone())
        self._template = [copy.deepcopy(networks[0]).to("meta")]  # in a list: no submodule, no parameters of its own
        self._layers = plain_layers(self._template[0])
        self.members, self.at_once = len(networks), at_once

    def forward(self, inputs: Tensor) -> Tensor:
        """Return every member's outputs on its own share of the batch, `(M N, *)`.

        Raises:
            ValueError: where the rows do not divide among the members.
        """
        if len(inputs) % self.members:
            raise ValueError(f"expected a multiple of {self.members} samples, one share a member, got {len(inputs)}")
        return self._outputs(inputs.reshape(self.members, -1, *inputs.shape[1:])).flatten(0, 1)

    def each(self, inputs: Tensor) -> Tensor:
        """Return every member's outputs on all of `(N, *)` inputs, `(M, N, *)`."""
        return self._outputs(inputs.expand(self.members, *inputs.shape))

    def one(self, index: int, inputs: Tensor) -> Tensor:
        """Return one member's outputs on `(N, *)` inputs, by this module's own weights.

        Raises:
            IndexError: where there is no such member.
        """
        self._check(index)
        template, state = self._state()
        outputs: Tensor = functional_call(template, {name: value[index] for name, value in state.items()}, (inputs,))
        return outputs

    def written_out(self) -> Passes | None:
        """Return a pass of all members forward and back to the inputs, as `Perceptron.written_out` does for one."""
        if self._layers is None or hooked(self):
            return None
        _, state = self._state()
        return written_out(self._layers, state, members=self.members)

    def _state(self) -> tuple[nn.Module, dict[str, Tensor]]:
        template = self._template[0]
        if template.training != self.training:
            template.train(self.training)
        return template, {_dotted(name): value for name, value in (*self.named_parameters(), *self.named_buffers())}

    def _outputs(self, shares: Tensor) -> Tensor:
        """Return the outputs `(M, N, *)` of shares `(M, N, *)`."""
        _, state = self._state()
        if self._layers is not None:
            return through(self._layers, state, shares)
        if self.at_once is None or self.at_once >= self.members:
            return self._run(state, shares)
        some = {name: torch.split(value, self.at_once) for name, value in state.items()}
        parts = [
            checkpoint(self._run, {name: values[i] for name, values in some.items()}, rows, use_reentrant=False)
            for i, rows in enumerate(torch.split(shares, self.at_once))
        ]
        return torch.cat(parts)

    def _run(self, state: dict[str, Tensor], shares: Tensor) -> Tensor:
        """Return the outputs `(m, N, *)` of members with these weights, each on its share."""

        def one(weights: dict[str, Tensor], rows: Tensor) -> Any:  # noqa: ANN401 - what the networks return
            return functional_call(self._template[0], weights, (rows,))

        if shares.device.type == "cpu" or len(shares) == 1:  # there vmap takes up to ten times as long
            alone = {name: _members(value) for name, value in state.items()}
            each = [one({name: values[i] for name, values in alone.items()}, rows) for i, rows in enumerate(shares)]
            return torch.stack(each)
        outputs: Tensor = torch.vmap(one, randomness="different")(state, shares)
        return outputs

    def member(self, index: int) -> nn.Module:
        """Return one member as a plain module of its own, in this module's mode.

        Raises:
            IndexError: where there is no such member.
        """
        self._check(index)
        network = copy.deepcopy(self._template[0]).to_empty(device=next(self.parameters()).device)
        weights = {_dotted(name): value[index].detach().clone() for name, value in self.state_dict().items()}
        network.load_state_dict(weights)
        return network.train(self.training)

    def _check(self, index: int) -> None:
        if not 0 <= index < self.members:
            raise IndexError(f"expected a member from 0 to {self.members - 1}, got {index}")


def _members(stacked: Tensor) -> Sequence[Tensor]:
    """Return each member's part, of which the gradient is no larger: that of an index is as large as all of them."""
    if not stacked.requires_grad:
        return list(stacked)
    return (stacked.squeeze(0),) if len(stacked) == 1 else stacked.unbind()


def _laid_out(stacked: Tensor, one: Tensor) -> Tensor:
    """Return stacked weights `(M, *)` so that a member's lie channels last where one network's do."""
    if one.ndim != 4 or one.stride(1) != 1 or not one.is_contiguous(memory_format=torch.channels_last):
        return stacked  # by the stride, which PyTorch goes by: of one channel both layouts are the same
    return stacked.permute(0, 1, 3, 4, 2).clone(memory_format=torch.contiguous_format).permute(0, 1, 4, 2, 3)


def _flat(name: str) -> str:
    return name.replace(".", "/")  # a parameter's name may not contain a dot, a layer's may not contain a slash


def _dotted(name: str) -> str:
    return name.replace("/", ".")
