from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from genat.networks import (
    check_detector,
    parameter_count,
    plain_wide_resnet28,
    preact_resnet32,
    wide_resnet,
    wide_resnet34_10,
)


def _scramble(network: nn.Module, generator: torch.Generator) -> None:
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator) + 0.05)


def _affine(weights: Iterator[Tensor], x: Tensor, slope: float) -> Tensor:
    scale, shift = next(weights), next(weights)
    return functional.leaky_relu(x * scale[:, None, None] + shift[:, None, None], slope)


def _convolve(weights: Iterator[Tensor], x: Tensor, stride: int = 1) -> Tensor:
    kernel = next(weights)
    return functional.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2)


def _stride(stage: int, unit: int) -> int:
    return 2 if stage > 0 and unit == 0 else 1


def _gat(weights: Iterator[Tensor], x: Tensor) -> Tensor:
    """The network of the robustness challenge whose code GAT uses, reading its parameters in order."""
    flat = x.flatten(1)
    floor = torch.full((len(x),), flat.shape[1] ** -0.5 / 255, dtype=x.dtype)
    deviation = torch.maximum(flat.std(dim=1, correction=0), floor)
    y = _convolve(weights, ((flat - flat.mean(dim=1, keepdim=True)) / deviation[:, None]).view_as(x))
    for stage in range(3):
        for unit in range(5):
            stride = _stride(stage, unit)
            activated = _affine(weights, y, 0.1)
            shortcut = activated if (stage, unit) == (0, 0) else y
            y = _convolve(weights, activated, stride)
            y = _convolve(weights, _affine(weights, y, 0.1))
            missing = y.shape[1] - shortcut.shape[1]
            if missing:
                zeros = y.new_zeros(len(y), missing // 2, *y.shape[2:])
                shortcut = torch.cat([zeros, functional.avg_pool2d(shortcut, stride), zeros], dim=1)
            y = y + shortcut
    return functional.linear(_affine(weights, y, 0.1).mean(dim=(2, 3)), next(weights), next(weights))


def _wrn(weights: Iterator[Tensor], x: Tensor, units: int) -> Tensor:
    """Zagoruyko and Komodakis' network, reading its parameters in order."""
    y = _convolve(weights, (x - 0.5) / 0.5)
    for stage in range(3):
        for unit in range(units):
            stride = _stride(stage, unit)
            activated = _affine(weights, y, 0.0)
            branch = _convolve(weights, _affine(weights, _convolve(weights, activated, stride), 0.0))
            y = branch + (y if y.shape == branch.shape else _convolve(weights, activated, stride))
    return functional.linear(_affine(weights, y, 0.0).mean(dim=(2, 3)), next(weights), next(weights))


def _jem(weights: Iterator[Tensor], x: Tensor) -> Tensor:
    """The network of joint energy-based models, reading its parameters in order."""

    def convolve(x: Tensor, stride: int = 1) -> Tensor:
        kernel, bias = next(weights), next(weights)
        return functional.conv2d(x, kernel, bias, stride=stride, padding=kernel.shape[-1] // 2)

    y = convolve(2 * x - 1)
    for stage in range(3):
        for unit in range(4):
            stride = _stride(stage, unit)
            branch = convolve(functional.leaky_relu(y, 0.2))
            branch = convolve(functional.leaky_relu(branch, 0.2), stride)
            y = branch + (y if y.shape == branch.shape else convolve(y, stride))
    return functional.linear(functional.leaky_relu(y, 0.2).mean(dim=(2, 3)), next(weights), next(weights))


def test_the_papers_networks_have_the_papers_sizes() -> None:
    with torch.device("meta"):
        assert parameter_count(preact_resnet32()) == 45_901_914
        assert parameter_count(preact_resnet32(norm="batch")) == 45_901_914
        assert parameter_count(wide_resnet34_10()) == 46_160_474
        assert parameter_count(wide_resnet34_10(outputs=100)) == 46_218_164
        assert parameter_count(plain_wide_resnet28()) == 36_471_338


def test_wide_resnet_has_the_size_its_authors_give() -> None:
    with torch.device("meta"):
        assert parameter_count(wide_resnet((3, 32, 32), depth=28, widen=10, outputs=10)) == 36_479_194


def test_preact_resnet32_is_its_definition(generator: torch.Generator) -> None:
    network = preact_resnet32((3, 8, 12), widen=2, outputs=4, logit=None).double()
    _scramble(network, generator)
    x = torch.rand(3, 3, 8, 12, generator=generator, dtype=torch.float64)
    weights = iter(list(network.parameters()))
    torch.testing.assert_close(network(x), _gat(weights, x), rtol=1e-9, atol=1e-9)
    assert next(weights, None) is None


@pytest.mark.parametrize("widen", [1, 2])
def test_wide_resnet_is_its_definition(widen: int, generator: torch.Generator) -> None:
    network = wide_resnet((3, 8, 9), depth=16, widen=widen, outputs=4, logit=None).double()
    _scramble(network, generator)
    x = torch.rand(3, 3, 8, 9, generator=generator, dtype=torch.float64)
    weights = iter(list(network.parameters()))
    torch.testing.assert_close(network(x), _wrn(weights, x, 2), rtol=1e-9, atol=1e-9)
    assert next(weights, None) is None


@pytest.mark.parametrize("widen", [1, 2])
def test_plain_wide_resnet28_is_its_definition(widen: int, generator: torch.Generator) -> None:
    network = plain_wide_resnet28((3, 8, 9), widen=widen, outputs=4, logit=None).double()
    _scramble(network, generator)
    x = torch.rand(3, 3, 8, 9, generator=generator, dtype=torch.float64)
    weights = iter(list(network.parameters()))
    torch.testing.assert_close(network(x), _jem(weights, x), rtol=1e-9, atol=1e-9)
    assert next(weights, None) is None


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 7, 13), (1, 1, 1)])
def test_small_ones_are_detectors_of_any_image(shape: tuple[int, ...], generator: torch.Generator) -> None:
    example = torch.rand(2, *shape, generator=generator)
    check_detector(wide_resnet(shape, depth=10, widen=1, negative_slope=0.1), example)
    check_detector(preact_resnet32(shape, widen=1), example)
    check_detector(plain_wide_resnet28(shape, widen=1), example)


def test_preact_resnet32_ignores_brightness_and_contrast(generator: torch.Generator) -> None:
    detector = preact_resnet32((1, 8, 8), widen=1)
    x = torch.rand(2, 1, 8, 8, generator=generator)
    torch.testing.assert_close(detector(0.5 * x + 0.25), detector(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("depth", [4, 9, 28.5, 35])
def test_wide_resnet_refuses_a_depth_that_is_none(depth: int) -> None:
    with pytest.raises(ValueError, match="expected a depth of 10, 16, 22 and so on"):
        wide_resnet((1, 8, 8), depth=depth)


def test_they_refuse() -> None:
    with pytest.raises(ValueError, match="widen >= 1, got 0"):
        wide_resnet((1, 8, 8), widen=0)
    with pytest.raises(ValueError, match="widen >= 1, got 0"):
        preact_resnet32((1, 8, 8), widen=0)
    with pytest.raises(ValueError, match="widen >= 1, got 0"):
        plain_wide_resnet28((1, 8, 8), widen=0)
    with pytest.raises(ValueError, match="expected an image"):
        preact_resnet32((8, 8), widen=1)
    with pytest.raises(ValueError, match="norm affine or batch, got none"):
        wide_resnet((1, 8, 8), norm="none")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="mean and std of 1 channels"), torch.device("meta"):
        wide_resnet34_10((1, 32, 32))
