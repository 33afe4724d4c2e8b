import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from genat.networks import Normalize, Select, check_detector, convnet, parameter_count, small_convnet, strided_convnet


def test_the_papers_networks_have_the_papers_sizes() -> None:
    with torch.device("meta"):
        assert parameter_count(convnet()) == 3_265_409
        assert parameter_count(convnet((1, 28, 28), outputs=10)) == 3_274_634


def test_a_convnet_is_its_formula(generator: torch.Generator) -> None:
    detector = convnet((2, 11, 8), channels=(3, 4), width=6, outputs=2, logit=1)
    x = torch.rand(3, 2, 11, 8, generator=generator)
    weights = list(detector.parameters())
    y = x
    for i in (0, 2):
        y = functional.max_pool2d(functional.conv2d(y, weights[i], weights[i + 1], padding="same").relu(), 2)
    y = functional.linear(y.flatten(1), weights[4], weights[5]).relu()
    expected = functional.linear(y, weights[6], weights[7])[:, 1]
    torch.testing.assert_close(detector(x), expected, rtol=1e-5, atol=1e-6)


def test_the_digits_network_is_layer_by_layer_what_it_says() -> None:
    width = 3
    with torch.random.fork_rng(devices=[]):
        detector = small_convnet((1, 8, 8), width=width)
    by_hand = nn.Sequential(
        Normalize(0.5, 0.5),
        nn.Conv2d(1, width, 3, padding=1),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(width, 2 * width, 3, padding=1),
        nn.LeakyReLU(0.2, inplace=True),
        nn.AvgPool2d(2),
        nn.Conv2d(2 * width, 4 * width, 3, padding=1),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Flatten(),
        nn.Linear(4 * width * 16, 256),
        nn.LeakyReLU(0.2),
        nn.Linear(256, 1),
        Select(0),
    )
    assert repr(detector) == repr(by_hand)
    assert all(torch.equal(a, b) for a, b in zip(detector.parameters(), by_hand.parameters(), strict=True))


@pytest.mark.parametrize(
    ("sides", "convolutions", "left"),
    [
        ((4, 4), 3, 2 * 2),
        ((8, 8), 3, 4 * 4),
        ((15, 15), 3, 7 * 7),
        ((16, 16), 4, 4 * 4),
        ((28, 28), 4, 7 * 7),
        ((32, 32), 5, 4 * 4),
        ((4, 32), 5, 2 * 4),
        ((20, 8), 4, 5 * 4),
    ],
)
def test_small_convnet_halves_until_at_most_seven_are_left(
    sides: tuple[int, int], convolutions: int, left: int
) -> None:
    with torch.device("meta"):
        detector = small_convnet((3, *sides), width=2)
    assert sum(isinstance(layer, nn.Conv2d) for layer in detector.modules()) == convolutions
    hidden = next(layer for layer in detector.modules() if isinstance(layer, nn.Linear))
    assert hidden.in_features == 8 * left


@settings(deadline=None, derandomize=True, max_examples=60)
@given(channels=st.integers(1, 4), height=st.integers(4, 70), width=st.integers(4, 70), count=st.integers(1, 3))
def test_small_convnet_takes_every_image(channels: int, height: int, width: int, count: int) -> None:
    with torch.device("meta"):
        detector = small_convnet((channels, height, width), width=1)
        assert detector(torch.empty(count, channels, height, width)).shape == (count,)


def test_small_convnet_is_a_detector_for_images(generator: torch.Generator) -> None:
    detector = small_convnet((3, 16, 16), width=2, mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.2))
    check_detector(detector, torch.rand(2, 3, 16, 16, generator=generator))


def test_networks_run_as_one_batched_model(generator: torch.Generator) -> None:
    members = [small_convnet((1, 8, 8), width=2) for _ in range(3)]
    parameters, buffers = torch.func.stack_module_state(members)
    x = torch.rand(4, 1, 8, 8, generator=generator)

    def logits(p: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> torch.Tensor:
        result: torch.Tensor = torch.func.functional_call(members[0], (p, b), (x,))
        return result

    batched = torch.func.vmap(logits)(parameters, buffers)
    torch.testing.assert_close(batched, torch.stack([member(x) for member in members]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": (1, 3, 28)}, "sides >= 4"),
        ({"shape": (784,)}, "expected an image"),
        ({"channels": (32, 0)}, "channels and width >= 1"),
        ({"width": 0}, "channels and width >= 1"),
        ({"logit": 1}, "logit in"),
    ],
)
def test_convnet_refuses(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        convnet(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": (1, 8, 3)}, "sides >= 4"),
        ({"shape": (1, 8, 8), "width": 0}, "width >= 1"),
        ({"shape": (1, 8, 8), "mean": (0.5, 0.5)}, "mean and std of 1 channels"),
        ({"shape": (1, 8, 8), "std": 0.0}, "std > 0"),
    ],
)
def test_small_convnet_refuses(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small_convnet(**options)  # type: ignore[arg-type]


def test_a_strided_convnet_is_layer_by_layer_what_it_says() -> None:
    options = {"channels": (3, 4), "flat": (5,), "hidden": (7, 6), "mean": 0.3, "std": 0.4}
    with torch.random.fork_rng(devices=[]):
        detector = strided_convnet((1, 11, 8), **options)  # type: ignore[arg-type]
    by_hand = nn.Sequential(
        Normalize(0.3, 0.4),
        nn.Conv2d(1, 3, 4, stride=2, padding=1),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(3, 4, 4, stride=2, padding=1),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(4, 5, 3, padding=1),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Flatten(),
        nn.Linear(5 * 2 * 2, 7),
        nn.LeakyReLU(0.2),
        nn.Linear(7, 6),
        nn.LeakyReLU(0.2),
        nn.Linear(6, 1),
        Select(0),
    )
    assert repr(detector) == repr(by_hand)
    assert all(torch.equal(a, b) for a, b in zip(detector.parameters(), by_hand.parameters(), strict=True))


def test_a_strided_convnet_of_equal_weights_weighs_pixels_alike() -> None:
    """Of linear layers with equal weights the gradient has no grid: it is constant away from the border."""
    detector = strided_convnet((1, 32, 32), channels=(1, 1, 1), hidden=(), negative_slope=0.0)
    with torch.no_grad():
        for weight in detector.parameters():
            weight.fill_(0.1)
    x = torch.full((1, 1, 32, 32), 0.9, requires_grad=True)
    (gradient,) = torch.autograd.grad(detector(x).sum(), x)
    inner = gradient[..., 8:-8, 8:-8]
    torch.testing.assert_close(inner, inner.mean().expand_as(inner))


@settings(deadline=None, derandomize=True, max_examples=60)
@given(
    channels=st.integers(1, 4), height=st.integers(4, 70), width=st.integers(4, 70), flat=st.lists(st.integers(1, 3))
)
def test_strided_convnet_takes_every_image(channels: int, height: int, width: int, flat: list[int]) -> None:
    with torch.device("meta"):
        detector = strided_convnet((channels, height, width), channels=(1, 2), flat=flat, hidden=(3,))
        assert detector(torch.empty(2, channels, height, width)).shape == (2,)


@pytest.mark.parametrize(
    "options", [{"channels": ()}, {"channels": (2, 0)}, {"flat": (0,)}, {"hidden": (4, -1)}], ids=str
)
def test_strided_convnet_refuses(options: dict[str, tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match=r"expected at least one of channels, and widths >= 1, got \("):
        strided_convnet((1, 8, 8), **options)  # type: ignore[arg-type]
