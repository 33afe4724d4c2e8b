import re
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
import torch
from torch import Tensor, nn

from genat.networks import check_detector, mlp
from genat.networks.layers import Select
from genat.networks.probe import untraced


@pytest.fixture
def example(generator: torch.Generator) -> Tensor:
    return torch.rand(4, 3, generator=generator)


class Counting(nn.Module):
    """Keeps count of its calls, once in place and once by rebinding, and draws from the global random state."""

    in_place: Tensor
    rebound: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("in_place", torch.zeros(()))
        self.register_buffer("rebound", torch.zeros(()))
        self.linear = nn.Linear(3, 1)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        self.in_place += 1
        self.rebound = self.rebound + 1
        torch.rand(3)
        logits: Tensor = self.linear(self.dropout(x))[:, 0]
        return logits


def test_a_detector_passes(example: Tensor) -> None:
    check_detector(mlp(3, hidden=(8,)), example)
    check_detector(lambda x: x.square().sum(dim=1), example.double())


def test_the_probe_leaves_no_trace(example: Tensor) -> None:
    detector = nn.Sequential(nn.BatchNorm1d(3), Counting()).train()
    detector[0].eval()
    detector.get_parameter("0.weight").requires_grad_(False)
    detector(example).sum().backward()
    modules = list(detector.modules())
    flags = [module.training for module in modules]
    needs = [parameter.requires_grad for parameter in detector.parameters()]
    gradients = [None if p.grad is None else p.grad.clone() for p in detector.parameters()]
    buffers = [(buffer, buffer.clone()) for buffer in detector.buffers()]
    state, values = torch.get_rng_state(), example.clone()

    check_detector(detector, example)

    assert [module.training for module in modules] == flags
    assert [parameter.requires_grad for parameter in detector.parameters()] == needs
    for parameter, gradient in zip(detector.parameters(), gradients, strict=True):
        if gradient is None or parameter.grad is None:
            assert gradient is parameter.grad
        else:
            assert torch.equal(gradient, parameter.grad)
    for now, (buffer, value) in zip(detector.buffers(), buffers, strict=True):
        assert now is buffer
        assert torch.equal(now, value)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(example, values)
    assert example.grad is None


def test_a_refusal_leaves_no_trace_either(example: Tensor) -> None:
    class Failing(Counting):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x)[:, None]

    detector = Failing()
    state = torch.get_rng_state()
    with pytest.raises(ValueError, match="from_classifier"):
        check_detector(detector, example)
    assert detector.training
    assert not detector.in_place.any()
    assert not detector.rebound.any()
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("surroundings", [torch.no_grad(), torch.inference_mode()])
def test_the_probe_differentiates_whatever_surrounds_it(
    surroundings: AbstractContextManager[None], example: Tensor
) -> None:
    detector = mlp(3, hidden=(8,))
    with surroundings:
        check_detector(detector, example)
        assert not torch.is_grad_enabled()


def test_untraced_tries_out_in_eval_mode() -> None:
    detector = Counting()

    def state() -> list[bool]:
        return [detector.dropout.training, detector.linear.weight.requires_grad, bool(detector.in_place)]

    with untraced(detector, torch.device("cpu")):
        detector(torch.zeros(2, 3))
        assert state() == [False, False, True]
    assert state() == [True, True, False]


@pytest.mark.parametrize(
    ("detector", "message"),
    [
        (lambda x: x[:, :1], r"expected logits \(4,\) of 4 samples, got \(4, 1\); from_classifier"),
        (lambda x: x.sum(), r"got \(\); a squeeze\(\) without a dimension"),
        (lambda x: x[1:, 0], r"got \(3,\)$"),
        (lambda x: x.sum(dim=1).long(), "expected floating-point logits, got torch.int64"),
        (lambda x: (x.sum(dim=1) - 100).log(), "expected finite logits, got 4 of 4 inf or nan"),
        (lambda x: torch.where(torch.arange(len(x)) == 1, torch.inf, x[:, 0]), "got 1 of 4 inf or nan"),
        (lambda x: x.detach().sum(dim=1), "differentiable in the input, got none"),
        (lambda x: torch.ones(len(x), requires_grad=True), "differentiable in the input, got none"),
        (lambda x: (x - x).abs().sum(dim=1).sqrt(), "expected a finite gradient in the input"),
        (lambda x: x.sum(dim=1) - x.mean(), "depends on its own sample alone, got .* for sample 0"),
        (lambda x: x.sum(dim=1) / len(x), "depends on its own sample alone"),
        (lambda x: x.sum(dim=1) + torch.rand(len(x)), "expected the same logits for the same batch"),
        (lambda x: nn.functional.dropout(x, 0.5).sum(dim=1), "switch random layers off"),
        (lambda x: x.sum(dim=1, keepdim=True).squeeze(), r"expected logits \(1,\) of 1 samples, got \(\); a squeeze"),
        (lambda x: (x.sum(dim=1),), "expected a tensor of logits, got tuple; wrap"),
        (nn.Linear(5, 1), r"network for inputs \(4, 3\), got RuntimeError: mat1 and mat2 shapes"),
        (nn.Module(), "got NotImplementedError: Module .* is missing"),
        (lambda: torch.zeros(4), "got TypeError"),
    ],
)
def test_the_probe_refuses(detector: Callable[[Tensor], Tensor], message: str, example: Tensor) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        check_detector(detector, example)
    assert "\n" not in str(caught.value)


def test_only_batch_statistics_are_refused(example: Tensor) -> None:
    rest = nn.Sequential(nn.Linear(3, 1), Select(0))
    check_detector(nn.Sequential(nn.BatchNorm1d(3), rest), example)
    with pytest.raises(ValueError, match="BatchNorm needs track_running_stats=True"):
        check_detector(nn.Sequential(nn.BatchNorm1d(3, track_running_stats=False), rest), example)


def test_a_logit_of_constant_sign_and_tiny_slope_passes(example: Tensor) -> None:
    check_detector(lambda x: 1e6 + x.sum(dim=1), example)


def test_a_zero_logit_passes(example: Tensor) -> None:
    check_detector(lambda x: 0 * x.sum(dim=1), example)


@pytest.mark.parametrize(
    ("bad", "message"), [(torch.zeros(4, 3, dtype=torch.int64), "got torch.int64"), ([[0.0], [1.0]], "got list")]
)
def test_the_example_is_a_floating_point_tensor(bad: Tensor, message: str) -> None:
    with pytest.raises(TypeError, match=f"expected a floating-point example, {message}"):
        check_detector(mlp(3, hidden=()), bad)


@pytest.mark.parametrize("shape", [(1, 3), (4,), (0, 3)])
def test_the_example_is_a_batch(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=re.escape(f"N >= 2 samples, got {shape}")):
        check_detector(mlp(3, hidden=()), torch.zeros(shape))


def test_the_detector_is_callable(example: Tensor) -> None:
    with pytest.raises(TypeError, match="expected a detector that can be called, got int"):
        check_detector(3, example)  # type: ignore[arg-type]
