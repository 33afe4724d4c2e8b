import pytest
import torch
from torch import nn
from torch.nn import functional

from genat.networks import mlp, parameter_count


def test_the_papers_networks_have_the_papers_sizes() -> None:
    with torch.device("meta"):
        assert parameter_count(mlp(2)) == 1_004_001
        assert parameter_count(mlp(1, hidden=(500, 500, 500))) == 502_501


@pytest.mark.parametrize("slope", [0.0, 0.2])
def test_an_mlp_is_its_formula(slope: float, generator: torch.Generator) -> None:
    detector = mlp((2, 3), hidden=(7, 5), negative_slope=slope)
    x = torch.randn(4, 2, 3, generator=generator)
    y = x.flatten(1)
    layers = [layer for layer in detector.modules() if isinstance(layer, nn.Linear)]
    for layer in layers[:-1]:
        y = functional.leaky_relu(y @ layer.weight.T + layer.bias, slope)
    expected = y @ layers[-1].weight[0] + layers[-1].bias
    torch.testing.assert_close(detector(x), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(2,), (1, 8, 8), (3, 4, 5)])
def test_any_shape_is_flattened(shape: tuple[int, ...]) -> None:
    assert mlp(shape, hidden=(4,))(torch.zeros(6, *shape)).shape == (6,)


def test_a_number_and_a_list_are_shapes() -> None:
    assert repr(mlp(2, hidden=(4,))) == repr(mlp([2], hidden=(4,))) == repr(mlp((2,), hidden=(4,)))


def test_without_hidden_layers_it_is_linear() -> None:
    assert parameter_count(mlp(5, hidden=())) == 6


def test_its_classifier_has_all_logits() -> None:
    classifier = mlp(2, hidden=(4,), outputs=3, logit=None)
    assert classifier(torch.zeros(6, 2)).shape == (6, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden": (4, 0)}, "hidden widths >= 1"),
        ({"negative_slope": 1.5}, "negative_slope"),
        ({"outputs": 2, "logit": 2}, "logit in"),
    ],
)
def test_mlp_refuses(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mlp(2, **options)  # type: ignore[arg-type]
