import math
import re

import pytest
import torch
from torch import Tensor, nn

from genat.networks import Affine, Normalize, Residual, Scaled, Select, Standardize, parameter_count
from genat.networks.layers import activation, head, image_shape, normalization, sample_shape


@pytest.fixture
def images(generator: torch.Generator) -> Tensor:
    return torch.rand(4, 3, 5, 6, generator=generator)


def test_normalize_is_its_formula_channel_by_channel(images: Tensor) -> None:
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.25, 2.0)
    normalized = Normalize(mean, std, channels=3)(images)
    for channel in range(3):
        expected = (images[:, channel] - mean[channel]) / std[channel]
        torch.testing.assert_close(normalized[:, channel], expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("shape", [(2,), (7,), (1, 8, 8), (3, 4, 4)])
def test_one_number_normalizes_any_shape_and_keeps_it(shape: tuple[int, ...]) -> None:
    assert torch.equal(Normalize(0.5, 0.5)(torch.ones(3, *shape)), torch.ones(3, *shape))


def test_normalize_mixes_a_number_with_a_list() -> None:
    assert Normalize((0.0, 1.0), 2.0)(torch.ones(1, 2, 1, 1)).flatten().tolist() == [0.5, 0.0]


def test_statistics_are_saved_moved_and_not_trained() -> None:
    layer = Normalize((0.1, 0.2), 0.5)
    assert set(layer.state_dict()) == {"mean", "std"}
    assert parameter_count(layer) == 0
    assert layer.double()(torch.zeros(1, 2, 1, 1, dtype=torch.float64)).dtype == torch.float64


def test_a_loaded_statistic_is_shown() -> None:
    layer = Normalize((0.1, 0.2), 0.5)
    layer.load_state_dict({"mean": torch.tensor([0.3, 0.4]).view(2, 1, 1), "std": torch.tensor(0.25)})
    assert repr(layer) == "Normalize(mean=0.3, 0.4, std=0.25)"
    assert repr(layer.to("meta")) == "Normalize(mean=?, std=?)"


@pytest.mark.parametrize(
    ("mean", "std", "channels", "message"),
    [
        ((0.1, 0.2), (0.1, 0.2), 3, "mean and std of 3 channels"),
        ((0.1, 0.2), (0.1, 0.2, 0.3), None, "as many means as stds"),
        (0.5, 0.0, None, "std > 0, got 0.0"),
        (0.5, (0.1, -0.1), None, "std > 0"),
        (math.nan, 0.5, None, "finite mean, got nan"),
        (0.5, math.inf, None, "finite std, got inf"),
        ((), 0.5, None, "finite mean"),
    ],
)
def test_normalize_refuses(mean: float, std: float, channels: int | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Normalize(mean, std, channels=channels)


@pytest.mark.parametrize("shape", [(2, 1, 4, 4), (2, 3), (3, 4, 4)])
def test_normalize_invents_no_channels(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=re.escape(f"expected images (N, 3, H, W), got {shape}")):
        Normalize((0.1, 0.2, 0.3), 0.5)(torch.zeros(shape))


def test_standardized_images_have_mean_zero_and_deviation_one(images: Tensor) -> None:
    flat = Standardize()(images.double()).flatten(1)
    torch.testing.assert_close(flat.mean(dim=1), torch.zeros(4, dtype=torch.float64), rtol=0, atol=1e-12)
    torch.testing.assert_close(flat.std(dim=1, correction=0), torch.ones(4, dtype=torch.float64), rtol=1e-12, atol=0)


def test_standardize_agrees_with_eight_bit_standardization(images: Tensor) -> None:
    pixels = images.double() * torch.tensor([1.0, 1e-2, 1e-5, 0.0], dtype=torch.float64).view(4, 1, 1, 1)
    for scaled, mine in zip(255 * pixels, Standardize()(pixels), strict=True):
        adjusted = max(scaled.std(correction=0).item(), 1 / math.sqrt(scaled.numel()))
        torch.testing.assert_close(mine, (scaled - scaled.mean()) / adjusted, rtol=1e-9, atol=1e-12)


def test_standardize_ignores_brightness_and_contrast(images: Tensor) -> None:
    x = images.double()
    torch.testing.assert_close(Standardize()(0.5 * x + 0.2), Standardize()(x), rtol=1e-9, atol=1e-12)


def test_standardize_is_differentiable_also_where_an_image_is_constant(generator: torch.Generator) -> None:
    x = torch.rand(2, 1, 2, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(Standardize(), x)
    assert torch.autograd.gradgradcheck(Standardize(), x)
    constant = torch.full((1, 1, 4, 4), 0.5, requires_grad=True)
    (gradient,) = torch.autograd.grad(Standardize()(constant)[0, 0, 0, 0], constant)
    assert gradient.isfinite().all()


def test_affine_is_batch_normalization_with_untouched_statistics(images: Tensor, generator: torch.Generator) -> None:
    weight, bias = torch.randn(2, 3, generator=generator)
    affine, batch = Affine(3), nn.BatchNorm2d(3, eps=0.0).eval()
    for layer in (affine, batch):
        layer.load_state_dict({"weight": weight, "bias": bias}, strict=layer is affine)
        layer(images).square().sum().backward()
    torch.testing.assert_close(affine(images), batch(images), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(affine.weight.grad, batch.weight.grad, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(affine.bias.grad, batch.bias.grad, rtol=1e-4, atol=1e-4)


def test_affine_starts_as_the_identity_and_has_second_derivatives(images: Tensor) -> None:
    layer = Affine(3)
    assert torch.equal(layer(images), images)
    assert parameter_count(layer) == 6
    assert torch.autograd.gradgradcheck(lambda x: layer.double()(x) ** 2, images[:1].double().requires_grad_())


def test_affine_keeps_half_precision(images: Tensor) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert Affine(3)(nn.Conv2d(3, 3, 1)(images)).dtype == torch.bfloat16


@pytest.mark.parametrize(("size", "stride"), [(1, 2), (3, 1)])
def test_a_scaled_convolution_is_the_convolution_and_its_affine_map(
    images: Tensor, generator: torch.Generator, size: int, stride: int
) -> None:
    apart = nn.Sequential(nn.Conv2d(3, 4, size, stride=stride, padding=size // 2, bias=False), Affine(4)).double()
    for parameter in apart.parameters():
        nn.init.normal_(parameter, generator=generator)
    one = Scaled(nn.Conv2d(3, 4, size, stride=stride, padding=size // 2, bias=False), Affine(4)).double()
    one.load_state_dict(apart.state_dict())
    x, y = (images.double().requires_grad_() for _ in range(2))
    torch.testing.assert_close(one(x), apart(y))
    found = torch.autograd.grad(one(x).square().sum(), [x, *one.parameters()])
    wanted = torch.autograd.grad(apart(y).square().sum(), [y, *apart.parameters()])
    torch.testing.assert_close(found, wanted)


def test_a_scaled_convolution_keeps_half_precision_and_the_layout_of_its_weights(images: Tensor) -> None:
    layer = Scaled(nn.Conv2d(3, 8, 3, padding=1, bias=False), Affine(8)).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    assert layer(images).is_contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(images).dtype == torch.bfloat16


def test_a_scaled_convolution_has_one_bias() -> None:
    with pytest.raises(ValueError, match="expected a convolution without a bias"):
        Scaled(nn.Conv2d(3, 8, 3), Affine(8))


def test_residual_adds_its_two_ways(images: Tensor) -> None:
    branch = nn.Conv2d(3, 3, 1)
    assert torch.equal(Residual(branch, nn.Identity())(images), branch(images) + images)


def test_select_takes_one_column(generator: torch.Generator) -> None:
    outputs = torch.randn(5, 3, generator=generator)
    for logit in range(3):
        assert torch.equal(Select(logit)(outputs), outputs[:, logit])


@pytest.mark.parametrize("shape", [(4, 2), (4,), (4, 3, 3)])
def test_select_refuses_what_has_no_such_column(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=re.escape(f"K > 2 for that logit, got {shape}")):
        Select(2)(torch.zeros(shape))


def test_select_counts_from_zero() -> None:
    with pytest.raises(ValueError, match="expected a logit >= 0, got -1"):
        Select(-1)


@pytest.mark.parametrize("slope", [-0.1, 1.0, math.nan])
def test_a_slope_is_in_its_range(slope: float) -> None:
    with pytest.raises(ValueError, match="negative_slope in"):
        activation(slope)


def test_norms() -> None:
    assert isinstance(normalization("affine", 3), Affine)
    assert isinstance(normalization("batch", 3), nn.BatchNorm2d)
    with pytest.raises(ValueError, match="expected norm affine or batch, got layer"):
        normalization("layer", 3)  # type: ignore[arg-type]


def test_a_head_without_a_logit_is_a_classifier() -> None:
    assert list(head(8, 10, None)) == ["head"]
    assert list(head(8, 10, 9)) == ["head", "select"]


@pytest.mark.parametrize(
    ("outputs", "logit", "message"),
    [(0, None, "outputs >= 1, got 0"), (10, 10, r"logit in \[0, 10\), got 10"), (10, -1, r"logit in \[0, 10\)")],
)
def test_head_refuses(outputs: int, logit: int | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        head(8, outputs, logit)


@pytest.mark.parametrize("shape", [(), 0, (3, 0), (2, 2.5), ("8",), (-1,)])
def test_sample_shape_refuses(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected a shape of whole numbers >= 1"):
        sample_shape(shape)


@pytest.mark.parametrize("shape", [(8, 8), (1, 8, 8, 8), (3, 3, 8), (3, 8, 3)])
def test_image_shape_refuses(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="sides >= 4"):
        image_shape(shape, least=4)


def test_shared_parameters_count_once() -> None:
    layer = nn.Linear(3, 3)
    assert parameter_count(nn.Sequential(layer, nn.ReLU(), layer)) == 12
    assert parameter_count(layer.requires_grad_(requires_grad=False)) == 12
