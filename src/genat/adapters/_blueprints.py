"""What to build for a folder of weights, and the detector without memory for them."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any, Literal, TypeAlias

import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveInt
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from genat.networks import BUILDERS, Committee, Joint, Together
from genat.networks.weights import one_line

FORMAT = 1
_SPARE = 100  # tensors beyond those of the weights, so that the first that differs can be named
_DTYPES = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64"}

Kind: TypeAlias = Literal["detector", "joint", "committee"]
Layout: TypeAlias = dict[str, tuple[tuple[int, ...], str]]
"""Shapes and types of tensors by name."""


class Blueprint(BaseModel):
    """What `config.json` holds."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)

    format: int
    genat: str
    name: str
    kind: Kind
    network: str
    options: dict[str, Any] = Field(default_factory=dict)
    shape: Annotated[list[PositiveInt], Field(min_length=1, max_length=8)]
    box: Annotated[list[float], Field(min_length=2, max_length=2)] | None
    classes: list[str] = Field(default_factory=list)
    digest: str


def layout(state: Mapping[str, Tensor]) -> Layout:
    """Return shapes and types of tensors, the types as safetensors calls them."""
    return {name: (tuple(value.shape), _DTYPES.get(value.dtype, str(value.dtype))) for name, value in state.items()}


def fitted(told: Blueprint, found: Layout) -> nn.Module:
    """Return the detector on no device, where the weights are its own."""
    detector = _blank(told, tensors=len(found))
    wanted = layout(detector.state_dict())
    if wanted != found:
        first = next(name for name in sorted({*wanted, *found}) if wanted.get(name) != found.get(name))
        own, got = (
            ("none" if part is None else f"{part[0]} {part[1]}") for part in (wanted.get(first), found.get(first))
        )
        raise ValueError(
            f"expected weights of {told.network} {told.options}, got others: {first[:60]} is {got}, not {own}"
        )
    return detector


def _blank(told: Blueprint, *, tensors: int) -> nn.Module:
    """Build the detector without memory for its weights; a network of many more tensors is not theirs."""
    count = len(told.classes)
    all_logits = {"outputs": count, "logit": None} if told.kind == "joint" else {}

    def one() -> nn.Module:
        network = BUILDERS[told.network](told.shape, **{**all_logits, **told.options})
        return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]  # not in its stubs

    try:
        with _at_most(_SPARE + tensors * (count + 1)), torch.device("meta"):
            if told.kind == "committee":
                return Committee(Together([one() for _ in range(count)]), classes=told.classes)
            return Joint(one()) if told.kind == "joint" else one()
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        words = f"expected options and shape of {told.network}, got {told.options!r:.100} and {told.shape}"
        raise ValueError(f"{words}: {one_line(error)[:200]}") from None


@contextmanager
def _at_most(tensors: int) -> Iterator[None]:
    """Stop this thread from building a network of more parameters, before a billion layers fill memory."""
    here, seen = threading.get_ident(), 0

    def count(*_: object) -> None:
        nonlocal seen
        seen += threading.get_ident() == here
        if seen > tensors:
            raise ValueError("more tensors than its weights have")

    handle = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        handle.remove()
