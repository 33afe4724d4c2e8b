"""Several detectors as one: their weighted sum, to the bit where there is one; and one of several."""

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from genat import networks
from genat.ascent import Detector, frozen
from genat.generation import compose, one_of, sample, transform
from genat.networks import Together, build
from genat.sources import Source

HOW: dict[str, Any] = {"steps": 8, "step_size": 0.3}


def total(x: Tensor) -> Tensor:
    return x.flatten(1).sum(1)


@pytest.fixture(scope="module")
def convnet() -> nn.Module:
    return build("small_convnet", (1, 8, 8), {"width": 4}, seed=1).eval()


@pytest.fixture
def joint() -> nn.Module:
    """A network of ten logits, in training mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


def test_one_detector_with_weight_one_is_itself(detector: nn.Module, images: Tensor, outside: Source) -> None:
    with torch.no_grad():
        assert torch.equal(compose([detector])(images), detector(images))
    made = sample(compose([detector], weights=[1.0]), outside, seeds=range(5), **HOW)
    assert torch.equal(made.images, sample(detector, outside, seeds=range(5), **HOW).images)


@pytest.mark.parametrize("weight", [0.25, 2.0, -1.0, 3.7])
def test_one_detector_is_weighted(weight: float, detector: nn.Module, images: Tensor) -> None:
    with torch.no_grad():
        assert torch.equal(compose([detector], weights=[weight])(images), weight * detector(images))


def test_the_steepest_way_does_not_know_the_weight_of_one(detector: nn.Module, outside: Source) -> None:
    """A power of two scales every gradient without rounding, and the step is normalised."""
    plain = sample(detector, outside, seeds=range(3), **HOW)
    for weight in (4.0, 0.5):
        weighted = sample(compose([detector], weights=[weight]), outside, seeds=range(3), **HOW)
        torch.testing.assert_close(weighted.images, plain.images, rtol=0, atol=1e-5)


def test_networks_of_any_kind_are_summed(detector: nn.Module, convnet: nn.Module, images: Tensor) -> None:
    weights = [1.0, -0.5, 2.0]
    with torch.no_grad():
        expected = detector(images) - 0.5 * convnet(images) + 2 * total(images)
        torch.testing.assert_close(compose([detector, convnet, total], weights=weights)(images), expected)


def test_a_weight_of_zero_is_as_if_it_were_not_there(detector: nn.Module, convnet: nn.Module, outside: Source) -> None:
    made = sample(compose([detector, convnet], weights=[1.0, 0.0]), outside, seeds=range(3), **HOW)
    assert torch.equal(made.images, sample(detector, outside, seeds=range(3), **HOW).images)


def test_compositions_compose(detector: nn.Module, convnet: nn.Module, images: Tensor) -> None:
    inner = compose([detector, convnet], weights=[1.0, 2.0])
    with torch.no_grad():
        nested = compose([inner, total], weights=[0.5, 1.0])(images)
        flat = compose([detector, convnet, total], weights=[0.5, 1.0, 1.0])(images)
    torch.testing.assert_close(nested, flat)


def test_parts_are_frozen_with_the_whole_and_moved_with_it(joint: nn.Module, images: Tensor) -> None:
    both = compose([one_of(joint, 0), total])
    with frozen(both):
        assert not any(module.training for module in joint.modules())
        assert not any(parameter.requires_grad for parameter in joint.parameters())
    assert all(module.training for module in joint.modules())
    assert both.double()(images.double()).dtype == torch.float64


def test_the_sum_is_high_where_both_are() -> None:
    left, right = (lambda x: -(x[:, 0] - 1).square()), (lambda x: -(x[:, 1] - 1).square())
    end = transform(compose([left, right]), torch.zeros(1, 2), steps=200, step_size=0.05, shrink=0.01)
    torch.testing.assert_close(end.points, torch.ones(1, 2), rtol=0, atol=0.01)


@pytest.mark.parametrize(
    ("detectors", "weights", "message"),
    [
        ([], None, "expected at least one detector, got none"),
        ([total], [], "expected 1 weights, one a detector, got 0"),
        ([total, total], [1.0], "expected 2 weights, one a detector, got 1"),
        ([total, total], [0.0, 0.0], "expected finite weights, not all 0, got 0, 0"),
        ([total, total], [1.0, math.nan], "expected finite weights, not all 0, got 1, nan"),
        ([total, total], [math.inf, 1.0], "expected finite weights, not all 0, got inf, 1"),
    ],
)
def test_composing_refuses(detectors: Sequence[Detector], weights: list[float] | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compose(detectors, weights=weights)


def test_several_at_one_place_are_refused(detector: nn.Module) -> None:
    with pytest.raises(ValueError, match="expected one detector at each place, got several together"):
        compose([detector, Together([detector, detector])])


def test_a_part_that_returns_another_shape_is_named(images: Tensor) -> None:
    """Added to `(N,)` it would be broadcast, and nobody would know."""
    for wrong, got in ((lambda x: x.sum(), r"\(\)"), (lambda x: total(x)[:, None], r"\(37, 1\)")):
        with pytest.raises(ValueError, match=rf"expected detector 1 to return shape \(37,\), got {got}"):
            compose([total, wrong])(images)


# one of several


def test_a_member_of_networks_together(detector: nn.Module, images: Tensor) -> None:
    other = build("mlp", (1, 8, 8), {"hidden": [64, 64], "negative_slope": 0.2}, seed=5).eval()
    both = Together([detector, other]).eval()
    with torch.no_grad():
        for i, network in enumerate((detector, other)):
            torch.testing.assert_close(one_of(both, i)(images), network(images), rtol=0, atol=0)
    with pytest.raises(IndexError, match="expected a member from 0 to 1, got 2"):
        one_of(both, 2)


def test_a_logit_of_a_joint_network(joint: nn.Module, images: Tensor, outside: Source) -> None:
    made = sample(one_of(joint, 3), outside, seeds=range(4), **HOW)
    assert all(module.training for module in joint.modules())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in joint.parameters())
    joint.eval()
    with torch.no_grad():
        assert (joint(made.images)[:, 3] > joint(made.starts)[:, 3]).all()
        for k in (0, 9):
            assert torch.equal(one_of(joint, k)(images), joint(images)[:, k])


def test_a_logit_that_is_not_there_is_refused(joint: nn.Module, images: Tensor) -> None:
    with pytest.raises(ValueError, match="expected a logit >= 0, got -1"):
        one_of(joint, -1)
    with pytest.raises(ValueError, match=r"expected outputs \(N, K\) with K > 10 for that logit, got \(37, 10\)"):
        one_of(joint, 10)(images)


def test_classes_of_a_joint_network_compose(joint: nn.Module, images: Tensor) -> None:
    joint.eval()
    contrast = compose([one_of(joint, 2), one_of(joint, 7)], weights=[1.0, -1.0])
    with torch.no_grad():
        torch.testing.assert_close(contrast(images), joint(images)[:, 2] - joint(images)[:, 7])
    assert isinstance(contrast, nn.Module)
    assert networks.parameter_count(contrast) == 64 * 10 + 10
