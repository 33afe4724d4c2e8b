"""What is learned, and how far images are from it: the Fréchet distance on the features of one classifier."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse
from safetensors.torch import save as serialize
from torch import Tensor

from genat import checkpoints
from genat.baselines import Classifier, accuracy, train_classifier
from genat.evaluation.fidelity import features, frechet_distance
from genat.generation import draw_starts
from genat.sources import Images, Photographs, Source, fashion_mnist

CLASSIFIER = "classifier.safetensors"


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """What every method learns from.

    Attributes:
        name: of the data.
        train: the target, labelled.
        test: held out from every training, labelled.
        outside: where GAT's ascents start from.
    """

    name: str
    train: Images
    test: Images
    outside: Source


@dataclass(frozen=True, slots=True)
class Exam:
    """How images are measured.

    Attributes:
        n: generated images, and held-out ones, in each distance.
        examples: training images that the classifier learns from.
        epochs: passes over them.
    """

    n: int = 2000
    examples: int = 20_000
    epochs: int = 3


@dataclass(frozen=True, slots=True, eq=False)
class Ruler:
    """The Fréchet distance of images to held-out real ones on a classifier's features.

    Attributes:
        classifier: trained on real images alone.
        real: `(n, d)` its features of the held-out images.
        starts: `(n, C, H, W)` of outside data: what GAT's images begin as.
        references: distances of what was not generated: the `starts`; the `means`, one picture a class, as often as the
            class is among the held-out images; other `real` images; and the classifier's `accuracy` on the held-out.
    """

    classifier: Classifier
    real: Tensor
    starts: Tensor
    references: Mapping[str, float]

    def __call__(self, images: Tensor) -> float:
        """Return the distance of images `(n, C, H, W)`; its size depends on n, which is one for all."""
        return frechet_distance(features(self.classifier, images), self.real)


def fashion() -> Material:
    """Return Fashion-MNIST with crops of photographs outside, as in the preset of that name.

    Raises:
        FileNotFoundError: where Fashion-MNIST is not installed.
    """
    train, test = fashion_mnist("train"), fashion_mnist("test")
    return Material("Fashion-MNIST", train, test, Photographs(train.shape))


def make_ruler(material: Material, exam: Exam, *, folder: Path, say: Callable[[str], None]) -> Ruler:
    """Train the classifier, or read it where it has been trained before, and measure the references.

    Args:
        material: its training images are the classifier's, its test images all that distances are measured to.
        exam: how many of each.
        folder: where the classifier is kept.
        say: called with a line of progress.

    Raises:
        ValueError: where there are too few test images, or the classifier's file cannot be read.
    """
    test, n = material.test, exam.n
    if len(test) < 2 * n:
        raise ValueError(f"expected at least 2 n = {2 * n} test images, got {len(test)}")
    assert test.labels is not None
    order = torch.randperm(len(test), generator=torch.Generator().manual_seed(0))
    held_out, others = order[:n], order[n : 2 * n]
    labels = test.labels[held_out]
    classifier = _classifier(material.train, exam, folder / CLASSIFIER, say=say)
    starts = draw_starts(material.outside, seeds=range(n))
    images = test.tensor()
    real = features(classifier, images[held_out])

    def distance(some: Tensor) -> float:
        return frechet_distance(features(classifier, some), real)

    references = {
        "starts": distance(starts),
        "means": distance(_means(material.train)[labels]),
        "real": distance(images[others]),
        "accuracy": accuracy(classifier, images[held_out], labels),
    }
    return Ruler(classifier, real, starts, references)


def _means(images: Images) -> Tensor:
    """Return the mean image of each class, `(K, C, H, W)`."""
    return torch.stack([images.only(label).tensor().mean(dim=0) for label in range(len(images.classes))])


def _classifier(images: Images, exam: Exam, path: Path, *, say: Callable[[str], None]) -> Classifier:
    assert images.labels is not None
    if path.is_file():
        with torch.device("meta"):  # draws no weights, for they are read
            classifier = Classifier(images.shape, classes=len(images.classes))
        try:
            classifier.load_state_dict(parse(path.read_bytes()), assign=True)
        except (RuntimeError, SafetensorError) as error:
            raise ValueError(f"{path}: expected a classifier's weights, got {' '.join(str(error).split())}") from None
        return classifier.eval()
    say(f"classifier: {exam.epochs} epochs of {min(exam.examples, len(images)):,} real images")
    chosen = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[: exam.examples]
    classifier = train_classifier(images.take(chosen).tensor(), images.labels[chosen], epochs=exam.epochs)
    checkpoints.write_bytes(path, serialize(classifier.state_dict()))
    return classifier
