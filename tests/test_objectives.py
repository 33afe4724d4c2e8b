"""Losses against torch, closed forms and finite differences; tolerance 1e-12 in float64 unless a test says else."""

import math

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from genat.networks import Together, build
from genat.objectives import maximin, minimax, r1_penalty, r1_terms

logits = st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=8)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(inside=logits, outside=logits)
def test_maximin_is_binary_cross_entropy_over_both(inside: list[float], outside: list[float]) -> None:
    ends = torch.tensor(inside, dtype=torch.float64), torch.tensor(outside, dtype=torch.float64)
    labels = torch.cat([torch.ones(len(inside)), torch.zeros(len(outside))]).double()
    expected = F.binary_cross_entropy_with_logits(torch.cat(ends), labels)
    torch.testing.assert_close(maximin(*ends), expected, rtol=1e-12, atol=1e-12)


def test_maximin_gradient_is_the_sigmoids_error() -> None:
    inside, outside = normal(3).requires_grad_(), normal(5, seed=1).requires_grad_()
    gradients = torch.autograd.grad(maximin(inside, outside), [inside, outside])
    for gradient, values, label in zip(gradients, (inside, outside), (1.0, 0.0), strict=True):
        torch.testing.assert_close(gradient, (values.detach().sigmoid() - label) / 8, rtol=0, atol=1e-12)


def test_maximin_is_stable_where_sigmoids_saturate() -> None:
    for size in (20.0, 88.0, 1e4, 1e30):
        right = torch.tensor([size], requires_grad=True), torch.tensor([-size], requires_grad=True)
        wrong = torch.tensor([-size], requires_grad=True), torch.tensor([size], requires_grad=True)
        assert maximin(*right).item() == pytest.approx(math.exp(-size), rel=1e-6, abs=1e-38)
        assert maximin(*wrong).item() == pytest.approx(size)
        assert [g.item() for g in torch.autograd.grad(maximin(*wrong), wrong)] == pytest.approx([-0.5, 0.5])
        assert [g.item() for g in torch.autograd.grad(maximin(*right), right)] == pytest.approx([0, 0], abs=2e-9)
    assert maximin(torch.zeros(3), torch.zeros(7)).item() == pytest.approx(math.log(2))


@given(outside=logits)
def test_minimax_is_the_generators_side_of_the_cross_entropy(outside: list[float]) -> None:
    """The non-saturating loss is that of generated points labelled real; the saturating one minus that of fake."""
    values = torch.tensor(outside, dtype=torch.float64)
    real = F.binary_cross_entropy_with_logits(values, torch.ones_like(values))
    fake = F.binary_cross_entropy_with_logits(values, torch.zeros_like(values))
    torch.testing.assert_close(minimax(values), real, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(minimax(values, saturating=True), -fake, rtol=1e-12, atol=1e-12)


@given(inside=logits, outside=logits)
def test_the_saturating_game_is_zero_sum(inside: list[float], outside: list[float]) -> None:
    """Of equally many points the detector's loss is half of its loss on target data and of the other's gain."""
    n = min(len(inside), len(outside))
    real, fake = torch.tensor(inside[:n], dtype=torch.float64), torch.tensor(outside[:n], dtype=torch.float64)
    gain = minimax(fake, saturating=True)
    torch.testing.assert_close(2 * maximin(real, fake), F.softplus(-real).mean() - gain, rtol=1e-12, atol=1e-12)


def test_minimax_gradients_are_the_sigmoids() -> None:
    values = normal(5).requires_grad_()
    for saturating, slope in ((False, values.detach().sigmoid() - 1), (True, -values.detach().sigmoid())):
        (gradient,) = torch.autograd.grad(minimax(values, saturating=saturating), values)
        torch.testing.assert_close(gradient, slope / 5, rtol=0, atol=1e-12)


def test_only_the_saturating_gradient_vanishes_where_the_detector_is_sure() -> None:
    for size in (20.0, 1e4, 1e30):
        values = torch.tensor([-size], requires_grad=True)
        steep, flat = (torch.autograd.grad(minimax(values, saturating=flag), values)[0] for flag in (False, True))
        assert steep.item() == pytest.approx(-1, rel=1e-6)
        assert flat.item() == pytest.approx(0, abs=3e-9)


def test_r1_terms_are_a_samples_own_and_the_penalty_is_their_mean() -> None:
    inputs, weights = normal(6, 3).requires_grad_(), normal(3, seed=1)
    terms = r1_terms((inputs.square() * weights).sum(1), inputs)
    torch.testing.assert_close(terms.detach(), 2 * (inputs.detach() * weights).square().sum(1), rtol=1e-12, atol=0)
    assert r1_penalty((inputs.square() * weights).sum(1), inputs).equal(terms.mean())


def test_r1_terms_of_members_side_by_side_are_those_of_each_alone() -> None:
    """In float32 to 1e-6: a batched product may round otherwise."""
    networks = [build("mlp", (2,), {"hidden": (8,)}, seed=seed) for seed in (0, 1)]
    inputs = normal(6, 2).float().requires_grad_()
    together = r1_terms(Together(networks)(inputs), inputs)
    alone = [r1_terms(net(part), part) for net, part in zip(networks, inputs.tensor_split(2), strict=True)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-6, atol=1e-8)


def test_r1_of_a_linear_logit_is_half_its_squared_slope() -> None:
    inputs, weights = normal(6, 3, 2, 2).requires_grad_(), normal(3, 2, 2, seed=1)
    penalty = r1_penalty((inputs * weights).flatten(1).sum(1), inputs)
    torch.testing.assert_close(penalty, weights.square().sum() / 2, rtol=1e-12, atol=0)


def test_r1_of_a_quadratic_logit_and_its_gradient() -> None:
    """f = (a / 2) |x|^2 has the penalty (a^2 / 2) E |x|^2, whose slope in a is a E |x|^2."""
    inputs, a = normal(6, 4).requires_grad_(), torch.tensor(1.7, dtype=torch.float64, requires_grad=True)
    penalty = r1_penalty(a / 2 * inputs.square().sum(1), inputs)
    mean = inputs.detach().square().sum(1).mean()
    torch.testing.assert_close(penalty.detach(), 1.7**2 / 2 * mean, rtol=1e-12, atol=0)
    (slope,) = torch.autograd.grad(penalty, a)
    torch.testing.assert_close(slope, 1.7 * mean, rtol=1e-12, atol=0)


def test_r1_gradients_are_those_of_finite_differences() -> None:
    """torch.autograd.gradcheck: central differences of 1e-6, tolerance 1e-5 absolute and 1e-3 relative."""
    inputs = normal(5, 3)

    def penalty(first: Tensor, bias: Tensor, second: Tensor) -> Tensor:
        here = inputs.clone().requires_grad_()
        return r1_penalty(torch.tanh(here @ first + bias) @ second, here)

    parameters = normal(3, 4, seed=1), normal(4, seed=2), normal(4, seed=3)
    assert torch.autograd.gradcheck(penalty, [parameter.requires_grad_() for parameter in parameters])


def test_r1_reaches_a_modules_parameters_and_leaves_the_inputs_gradient_alone(smooth_net: nn.Module) -> None:
    inputs = normal(4, 3, 2, 2).requires_grad_()
    penalty = r1_penalty(smooth_net(inputs), inputs)
    assert inputs.grad is None
    first, *_ = torch.autograd.grad(penalty, list(smooth_net.parameters()), allow_unused=True)
    assert first is not None
    assert first.abs().max() > 0
    parts = [r1_penalty(smooth_net(x), x) for x in (inputs[:1], inputs[1:])]
    torch.testing.assert_close(penalty, (parts[0] + 3 * parts[1]) / 4, rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    "bad", [torch.zeros(0), torch.zeros(2, 1), torch.tensor(0.0)], ids=["empty", "column", "scalar"]
)
def test_maximin_refuses_what_is_no_logits(bad: Tensor) -> None:
    with pytest.raises(ValueError, match=r"expected inside to be logits of shape \(N,\) with N >= 1, got \("):
        maximin(bad, torch.zeros(2))
    with pytest.raises(ValueError, match=r"expected outside to be logits of shape \(N,\) with N >= 1, got \("):
        maximin(torch.zeros(2), bad)
    with pytest.raises(ValueError, match=r"expected outside to be logits of shape \(N,\) with N >= 1, got \("):
        minimax(bad)


def test_r1_refuses_logits_of_another_shape() -> None:
    inputs = torch.zeros(4, 2, requires_grad=True)
    with pytest.raises(ValueError, match=r"expected logits of shape \(4,\), got \(4, 1\)"):
        r1_penalty(inputs.sum(1, keepdim=True), inputs)
    with pytest.raises(ValueError, match=r"expected logits of shape \(4,\), got \(\)"):
        r1_penalty(inputs.sum(), inputs)
