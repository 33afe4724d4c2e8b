"""The plain classifier that judges samples: of all of a target's images that nothing is measured on."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from genat import baselines, checkpoints
from genat.baselines import Classifier
from genat.baselines import classifier as training
from genat.evaluation.keeping import keep, kept, place
from genat.sources import Images

_EPOCHS, _VISITS = (2, 30), 720_000  # fewest and most, and images seen in all between them


def classifier(
    known: Sequence[Images],
    classes: Sequence[str],
    *,
    folder: Path,
    device: torch.device,
    half: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Classifier:
    """Return a classifier of images, kept in a folder and read from there where it is the same one's.

    It sees 720,000 images in all, but each at least twice and at most thirty times. Which part an image is in makes no
    difference: runs whose seeds hold out others have the same classifier.

    Args:
        known: images, with labels.
        classes: their names, at least two, in the order of the outputs.
        folder: made where it is missing. Several runs on the same data may share one.
        device: where it is trained.
        half: train it in bfloat16 where that is safe.
        say: called with a line where it is trained.

    Returns:
        The classifier on the processor, in eval mode.

    Raises:
        ValueError: where the folder's classifier cannot be read; one line.
    """
    n, (fewest, most) = sum(map(len, known)), _EPOCHS
    epochs = min(most, max(fewest, _VISITS // n))
    labels = torch.cat([found for part in known if (found := indices(part, classes)) is not None])
    pixels = torch.cat([part.pixels for part in known])
    order = _order(pixels)
    pixels, labels = pixels[order], labels[order]
    record = {
        "images": checkpoints.digest({"pixels": pixels, "labels": labels}),
        "classes": list(classes),
        "epochs": epochs,
        "half": half,
        "code": hashlib.sha256(Path(training.__file__).read_bytes()).hexdigest(),
        "torch": torch.__version__,
    }
    path = place(folder, "classifier", record=record)
    before = kept(path, record=record, what="a classifier")
    if before is not None:
        with torch.device("meta"):  # draws no weights
            network = Classifier(pixels.shape[1:], classes=len(classes))
        network.load_state_dict(before.tensors, assign=True)
        return network.eval()
    say(f"classifier: {epochs} epochs of {n:,} real images of {len(classes)} classes")
    images = (pixels.float() / 255).to(device)
    network = baselines.train_classifier(images, labels.to(device), epochs=epochs, half=half).cpu()
    keep(path, network.state_dict(), record=record, made={})
    return network


def _order(pixels: Tensor) -> Tensor:
    """Return an order of images that depends on what they show alone."""
    digests = [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in pixels.numpy()]
    return torch.tensor(sorted(range(len(digests)), key=digests.__getitem__))


def indices(images: Images, classes: Sequence[str]) -> Tensor | None:
    """Return labels as indices into some classes, None where there are none or an image is of another class."""
    names = [] if images.labels is None else [images.classes[index] for index in images.labels.tolist()]
    return torch.tensor([classes.index(name) for name in names]) if names and {*names} <= {*classes} else None
