from typing import Any

import pytest
import torch
from safetensors.torch import save
from sklearn.datasets import load_digits
from torch import Tensor, nn

from genat.ascent import ascend
from genat.balls import L2Ball
from genat.baselines import Classifier, accuracy, energy_detector, train_classifier
from genat.ranking import auroc


def new(shape: tuple[int, ...], classes: int) -> Classifier:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return Classifier(shape, classes=classes)


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training images and labels, and a third held out."""
    data = load_digits()
    images, labels = torch.tensor(data.images / 16.0).float()[:, None], torch.tensor(data.target)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    held_out, train = order[: len(order) // 3], order[len(order) // 3 :]
    return images[train], labels[train], images[held_out], labels[held_out]


@pytest.fixture(scope="module")
def trained(digits: tuple[Tensor, Tensor, Tensor, Tensor]) -> Classifier:
    return train_classifier(digits[0], digits[1])


def test_it_learns_digits(digits: tuple[Tensor, Tensor, Tensor, Tensor], trained: Classifier) -> None:
    assert accuracy(trained, digits[2], digits[3]) >= 0.97
    assert not trained.training


def test_it_learns_digits_in_half_precision(digits: tuple[Tensor, Tensor, Tensor, Tensor]) -> None:
    trained = train_classifier(digits[0], digits[1], epochs=10, half=True)
    assert accuracy(trained, digits[2], digits[3]) >= 0.95
    assert all(parameter.dtype == torch.float32 for parameter in trained.parameters())


def test_its_energy_tells_digits_from_noise(
    digits: tuple[Tensor, Tensor, Tensor, Tensor], trained: Classifier, generator: torch.Generator
) -> None:
    detector = energy_detector(trained)
    noise = torch.rand(len(digits[2]), 1, 8, 8, generator=generator)
    with torch.no_grad():
        inside, outside = detector(digits[2]), detector(noise)
        torch.testing.assert_close(inside.exp(), trained(digits[2]).exp().sum(dim=1), rtol=1e-4, atol=0)
    assert inside.shape == (len(digits[2]),)
    assert auroc(inside, outside) > 0.9
    climbed = ascend(detector, noise[:8], steps=5, step_size=0.1, ball=L2Ball(0.5))
    with torch.no_grad():
        assert (detector(climbed) > outside[:8]).all()


def test_one_seed_gives_one_classifier(digits: tuple[Tensor, Tensor, Tensor, Tensor]) -> None:
    images, labels = digits[0][:100], digits[1][:100]

    def run(seed: int) -> Tensor:
        classifier = train_classifier(images, labels, epochs=2, seed=seed)
        return torch.cat([parameter.detach().flatten() for parameter in classifier.parameters()])

    first = run(1)
    with torch.random.fork_rng(devices=[]):
        torch.rand(3)
        again = run(1)
    assert torch.equal(first, again)
    assert not torch.equal(first, run(2))


def test_its_weights_can_be_saved(trained: Classifier) -> None:
    assert save(trained.state_dict())


def test_it_trains_under_no_grad_too(digits: tuple[Tensor, Tensor, Tensor, Tensor]) -> None:
    images, labels = digits[0][:64], digits[1][:64]
    with torch.inference_mode():
        classifier = train_classifier(images.clone(), labels.clone(), epochs=1)
    expected = train_classifier(images, labels, epochs=1)
    for ours, theirs in zip(classifier.parameters(), expected.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    ("shape", "hidden"), [((1, 8, 8), 64 * 16), ((3, 15, 20), 64 * 70), ((1, 16, 16), 64 * 16), ((3, 29, 28), 64 * 49)]
)
def test_sides_from_sixteen_are_halved_twice(shape: tuple[int, ...], hidden: int) -> None:
    classifier = new(shape, 5).eval()
    images = torch.zeros(2, *shape)
    assert classifier(images).shape == (2, 5)
    assert classifier.features(images).shape == (2, 64)
    assert [layer.in_features for layer in classifier.modules() if isinstance(layer, nn.Linear)] == [hidden, 64]
    assert [layer.p for layer in classifier.modules() if isinstance(layer, nn.Dropout)] == [0.3]


def test_the_output_layer_reads_the_features(generator: torch.Generator) -> None:
    classifier = new((1, 8, 8), 4).eval()
    images = torch.rand(3, 1, 8, 8, generator=generator)
    torch.testing.assert_close(classifier(images), classifier.head(classifier.features(images)))


def test_accuracy_leaves_no_trace(generator: torch.Generator) -> None:
    classifier = new((1, 8, 8), 4).train()
    images, labels = torch.rand(300, 1, 8, 8, generator=generator), torch.zeros(300, dtype=torch.int64)
    once, again = (accuracy(classifier, images, labels) for _ in range(2))
    assert once == again
    assert classifier.training


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "expected epochs to be at least 1, got 0"),
        ({"batch_size": 0}, "expected batch_size to be at least 1, got 0"),
        ({"seed": -1}, "expected seed to be at least 0, got -1"),
        ({"rate": 0.0}, r"expected rate to be positive, got 0\.0"),
        ({"images": torch.zeros(4, 8, 8)}, r"expected images \(N, C, H, W\), N >= 1, floating point, got \(4, 8, 8\)"),
        ({"images": torch.zeros(4, 1, 8, 8, dtype=torch.uint8)}, "floating point, got .* torch.uint8"),
        ({"labels": torch.zeros(3, dtype=torch.int64)}, r"expected labels of shape \(4,\), torch.int64, got \(3,\)"),
        ({"labels": torch.zeros(4)}, r"got \(4,\) torch.float32"),
        ({"labels": torch.tensor([0, 1, -1, 0])}, "expected labels from 0, got -1"),
        ({"labels": torch.zeros(4, dtype=torch.int64)}, "expected classes to be at least 2, got 1"),
    ],
)
def test_training_refuses(options: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"images": torch.zeros(4, 1, 8, 8), "labels": torch.tensor([0, 1, 0, 1])}
    with pytest.raises(ValueError, match=message):
        train_classifier(**(arguments | options))


@pytest.mark.parametrize("shape", [(8, 8), (0, 8, 8), (1, 1, 8)])
def test_a_classifier_refuses_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected shape \(C, H, W\) with sides >= 2"):
        Classifier(shape, classes=3)
