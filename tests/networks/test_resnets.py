from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from genat.networks import check_detector, from_classifier, parameter_count, resnet, resnet50


def _scrambled(network: nn.Module, generator: torch.Generator) -> nn.Module:
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator) + 0.1)
    return network


def _reference(weights: Iterator[Tensor], x: Tensor, blocks: tuple[int, ...], *, bottleneck: bool) -> Tensor:
    """The network as He et al. write it, reading its parameters in order."""

    def convolution(x: Tensor, stride: int) -> Tensor:
        kernel, scale, shift = next(weights), next(weights), next(weights)
        y = functional.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2)
        return y * scale[:, None, None] + shift[:, None, None]

    y = convolution((x - 0.5) / 0.5, 1).relu()
    for stage, count in enumerate(blocks):
        for block in range(count):
            stride = 2 if stage and not block else 1
            shortcut = y
            if bottleneck:
                y = convolution(convolution(convolution(y, 1).relu(), stride).relu(), 1)
            else:
                y = convolution(convolution(y, stride).relu(), 1)
            y = (y + (shortcut if shortcut.shape == y.shape else convolution(shortcut, stride))).relu()
    return functional.linear(y.mean(dim=(2, 3)), next(weights), next(weights))


@pytest.mark.parametrize("bottleneck", [False, True])
def test_a_resnet_is_its_definition(bottleneck: bool, generator: torch.Generator) -> None:
    network = resnet((3, 9, 8), blocks=(1, 2), width=4, bottleneck=bottleneck, outputs=2, logit=None).double()
    _scrambled(network, generator)
    x = torch.rand(3, 3, 9, 8, generator=generator, dtype=torch.float64)
    weights = iter(list(network.parameters()))
    expected = _reference(weights, x, (1, 2), bottleneck=bottleneck)
    torch.testing.assert_close(network(x), expected, rtol=1e-9, atol=1e-9)
    assert next(weights, None) is None


def test_resnet50_has_the_papers_size() -> None:
    with torch.device("meta"):
        assert parameter_count(resnet50()) == 23_520_842
        assert parameter_count(resnet50(norm="batch")) == 23_520_842
        assert parameter_count(resnet50((3, 64, 48), outputs=1)) == 23_520_842 - 9 * 2049


def test_resnet50_runs_and_knows_the_papers_pixels(generator: torch.Generator) -> None:
    detector = resnet50()
    logits = detector(torch.rand(2, 3, 32, 32, generator=generator))
    assert logits.shape == (2,)
    assert logits.isfinite().all()
    buffers = dict(detector.named_buffers())
    torch.testing.assert_close(buffers["normalize.mean"].flatten(), torch.tensor([0.4914, 0.4822, 0.4465]))
    torch.testing.assert_close(buffers["normalize.std"].flatten(), torch.tensor([0.2023, 0.1994, 0.2010]))


def test_affine_is_what_frozen_batch_normalization_amounts_to(generator: torch.Generator) -> None:
    affine = _scrambled(resnet((1, 8, 8), blocks=(1, 1), width=4, outputs=3), generator)
    classifier = resnet((1, 8, 8), blocks=(1, 1), width=4, outputs=3, logit=None, norm="batch")
    classifier.load_state_dict(affine.state_dict(), strict=False)
    frozen = from_classifier(classifier).train()
    x = torch.rand(5, 1, 8, 8, generator=generator)
    torch.testing.assert_close(frozen(x), affine(x), rtol=1e-3, atol=1e-4)


def test_the_detector_is_one_column_of_the_classifier(generator: torch.Generator) -> None:
    classifier = resnet((1, 8, 8), width=2, outputs=4, logit=None)
    detector = resnet((1, 8, 8), width=2, outputs=4, logit=2)
    detector.load_state_dict(classifier.state_dict())
    x = torch.rand(5, 1, 8, 8, generator=generator)
    assert torch.equal(detector(x), classifier(x)[:, 2])


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 7, 13), (2, 1, 1)])
def test_small_resnets_are_detectors(shape: tuple[int, ...], generator: torch.Generator) -> None:
    detector = resnet(shape, blocks=(1, 1), width=4, negative_slope=0.1)
    check_detector(detector, torch.rand(2, *shape, generator=generator))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": (8, 8)}, "expected an image"),
        ({"shape": (1, 8, 8), "blocks": ()}, "at least one stage"),
        ({"shape": (1, 8, 8), "blocks": (1, 0)}, "at least one stage"),
        ({"shape": (1, 8, 8), "width": 0}, "width >= 1"),
        ({"shape": (1, 8, 8), "norm": "group"}, "norm affine or batch"),
        ({"shape": (1, 8, 8), "mean": (0.5, 0.5, 0.5)}, "mean and std of 1 channels"),
    ],
)
def test_resnet_refuses(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        resnet(**options)  # type: ignore[arg-type]


def test_resnet50_does_not_guess_the_statistics_of_grey_images() -> None:
    with pytest.raises(ValueError, match="mean and std of 1 channels"), torch.device("meta"):
        resnet50((1, 28, 28))
