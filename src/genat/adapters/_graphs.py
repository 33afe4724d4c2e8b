"""Detectors, and steps of their ascent, as graphs of plain tensor operations; those as the content of ONNX files."""

import contextlib
import copy
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor, fx, nn

from genat.ascent import Box, Rule
from genat.ascent.loop import Loop
from genat.balls import Ball
from genat.networks import Committee, Joint, Together
from genat.networks.weights import one_line

Runner: TypeAlias = Callable[[Mapping[str, Tensor]], list[Tensor]]
"""Runs a file: inputs by name, outputs in order."""

aten = torch.ops.aten
_REASON = 300  # characters of an exporter's word that are passed on


def still(detector: nn.Module) -> nn.Module:
    """Return a copy to trace: on the CPU, in eval mode, frozen, and with nothing computed twice to save memory.

    Example:
        >>> still(nn.Linear(2, 1)).training
        False
    """
    copied = copy.deepcopy(detector).cpu().eval().requires_grad_(False)
    for module in copied.modules():
        if isinstance(module, Together):
            module.at_once = None
    return copied


class Reading(nn.Module):
    """A detector's logit, and where there are several the logits of its classes.

    Args:
        detector: a module `(N, *) -> (N,)`.

    Example:
        >>> Reading(Joint(nn.Flatten()))(torch.zeros(1, 2))
        (tensor([0.6931]), tensor([[0., 0.]]))
    """

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the logit `(N,)`, then the classes' logits `(N, K)` where there are any."""
        if not isinstance(self.detector, Joint | Committee):
            return (self.detector(x),)
        logits = self.detector.classify(x)
        return self.detector.pool(logits), logits


def step(
    detector: nn.Module, *, ball: Ball, rule: Rule, box: Box | None, inputs: Mapping[str, Tensor]
) -> fx.GraphModule:
    """Return one step of `genat.ascend` as a graph, its gradient written out.

    It is the loop's own step that is traced: the only loop body there is.

    Args:
        detector: as `still` returns it.
        ball, rule, box: of the ascent.
        inputs: by name, in the order of the graph's: "x" `(N, *)` and "step_size" `()`; with a ball's radius "starts"
            `(N, *)`; with Adam its moments "first" and "second" `(N, *)` and "count" `()`, of this step, from 1.

    Returns:
        A module of these inputs whose outputs are the logit `(N,)` at x and the next x `(N, *)`; of Adam the next
        moments too.
    """
    from torch.fx.experimental.proxy_tensor import make_fx

    def walk(*tensors: Tensor) -> tuple[Tensor, ...]:
        given = dict(zip(inputs, tensors, strict=True))
        x, size = given["x"], given["step_size"]
        for side in x.shape[1:]:
            int(side)  # settles it: only the number of samples stays free
        seen: list[Tensor] = []

        def watched(points: Tensor) -> Tensor:
            logits: Tensor = detector(points)
            seen.append(logits.detach())
            return logits

        loop = Loop(watched, given.get("starts", x), x, ball, box, None, rule, 1, size, 1.0, 1.0, True)
        if rule == "adam":
            loop.moments, loop.count = (given["first"], given["second"]), given["count"] - 1
        loop.step(track_best=False, stop_at=None)
        return seen[0], loop.points, *(loop.moments or ())

    trace = make_fx(walk, decomposition_table=_decompositions(), tracing_mode="symbolic", _allow_non_fake_inputs=True)
    with _translating(detector), torch.enable_grad():
        graph: fx.GraphModule = trace(*inputs.values())
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return graph


def content(
    module: nn.Module, inputs: Mapping[str, Tensor], outputs: Sequence[str], *, metadata: Mapping[str, str]
) -> bytes:
    """Return an ONNX file's content: the module for any number of samples, and what is to be known of it.

    Args:
        module: of tensors in the order of `inputs`.
        inputs: by name, an example of each; those with dimensions are `(N, *)` with one N.
        outputs: their names.
        metadata: goes in with names that begin with "genat.".

    Raises:
        ValueError: where ONNX has no words for what the module does, or it is for one number of samples.
    """
    free = torch.export.Dim("n")
    with _translating(module), torch.no_grad():
        program = torch.onnx.export(
            module,
            tuple(inputs.values()),
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_shapes=tuple({0: free} if value.ndim else None for value in inputs.values()),
            dynamo=True,
            verbose=False,
        )
    assert program is not None, "asked for with dynamo"
    model = program.model_proto
    batched = [value for value in (*model.graph.input, *model.graph.output) if value.type.tensor_type.shape.dim]
    if not all(value.type.tensor_type.shape.dim[0].dim_param for value in batched):
        raise ValueError(
            "expected a detector for any number of samples, got one that fixes it, as len(x) does: x.shape[0] does not"
        )
    del model.graph.value_info[:]
    for part in (
        model,
        model.graph,
        *model.graph.node,
        *model.graph.input,
        *model.graph.output,
        *model.graph.initializer,
    ):
        part.ClearField("doc_string")  # lines of the source, and where on this machine it lies
        part.ClearField("metadata_props")
    model.producer_name, model.producer_version = "genat", metadata["version"]
    for key, value in metadata.items():
        model.metadata_props.add(key=f"genat.{key}", value=value)
    made: bytes = model.SerializeToString()
    return made


def runner(content: bytes) -> Runner:
    """Return what runs an ONNX file's content, on as many threads as PyTorch has.

    Raises:
        ValueError: where onnxruntime refuses it.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()

    def run(inputs: Mapping[str, Tensor]) -> list[Tensor]:
        found = session.run(None, {name: value.numpy() for name, value in inputs.items()})
        return [torch.from_numpy(value) for value in found]

    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors share no other base
        raise ValueError(f"expected a file that onnxruntime runs, got {_reason(error)}") from error
    return run


@contextlib.contextmanager
def _translating(module: nn.Module) -> Iterator[None]:
    """Keep an exporter's talk from the person, and say in one line what it could not do."""
    talker = logging.getLogger("torch.onnx")
    level = talker.level
    try:
        talker.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (RuntimeError, NotImplementedError, TypeError, AssertionError) as error:
        named = type(module).__name__
        raise ValueError(f"expected a detector that ONNX has words for, got {named}: {_reason(error)}") from error
    finally:
        talker.setLevel(level)


def _reason(error: Exception) -> str:
    """Return the first cause of an error on a short line."""
    while isinstance(error.__cause__, Exception):
        error = error.__cause__
    return one_line(error)[:_REASON]


def _decompositions() -> dict[Any, Any]:
    """Return what an operation's gradient is made of, where ONNX has no name for it."""
    from torch._decomp import core_aten_decompositions

    return {
        **core_aten_decompositions(),
        aten.convolution_backward.default: _convolution_backward,
        aten.avg_pool2d_backward.default: _average_backward,
        aten.max_pool2d_with_indices_backward.default: _largest_backward,
    }


def _convolution_backward(  # noqa: PLR0917 - the operation's own arguments
    gradient: Tensor,
    x: Tensor,
    weight: Tensor,
    bias_sizes: Sequence[int] | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
    output_mask: Sequence[bool],
) -> tuple[Tensor, None, None]:
    """Return the gradient in the input: the transposed convolution by the same weights."""
    del bias_sizes, output_padding
    if transposed or any(output_mask[1:]):
        raise NotImplementedError("the gradient of a transposed convolution, or in weights")
    windows = [rate * (side - 1) + 1 for rate, side in zip(dilation, weight.shape[2:], strict=True)]
    rest = _left_over(x, gradient, windows, stride, padding)
    return (aten.convolution.default(gradient, weight, None, stride, padding, dilation, True, rest, groups), None, None)


def _average_backward(  # noqa: PLR0917 - the operation's own arguments
    gradient: Tensor,
    x: Tensor,
    window: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    ceil_mode: bool,
    count_include_pad: bool,
    divisor: int | None,
) -> Tensor:
    """Return the gradient in the input of a mean over windows: a transposed convolution, channel by channel."""
    if ceil_mode or divisor is not None or (any(padding) and not count_include_pad):
        raise NotImplementedError("the gradient of an average that counts its pixels in a way of its own")
    channels, steps = x.shape[1], stride or window
    weight = torch.full((channels, 1, *window), 1 / (window[0] * window[1]), dtype=gradient.dtype)
    rest = _left_over(x, gradient, window, steps, padding)
    spread: Tensor = aten.convolution.default(gradient, weight, None, steps, padding, [1, 1], True, rest, channels)
    return spread


def _largest_backward(  # noqa: PLR0917 - the operation's own arguments
    gradient: Tensor,
    x: Tensor,
    window: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    ceil_mode: bool,
    indices: Tensor,
) -> Tensor:
    """Return the gradient in the input of a maximum over windows: each one's goes where the maximum was."""
    del window, stride, padding, dilation, ceil_mode
    flat = torch.zeros_like(x).flatten(2)
    return flat.scatter_add(2, indices.flatten(2), gradient.flatten(2)).view(x.shape)


def _left_over(
    x: Tensor, gradient: Tensor, windows: Sequence[int], stride: Sequence[int], padding: Sequence[int]
) -> list[int]:
    """Return how many rows and columns of the input the last windows did not reach."""
    sides = zip(x.shape[2:], gradient.shape[2:], windows, stride, padding, strict=True)
    return [whole - ((part - 1) * move - 2 * edge + window) for whole, part, window, move, edge in sides]
