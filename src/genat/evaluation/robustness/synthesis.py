"""What each detector of a committee makes: of starts near its class, and of noise; and which images those come near."""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

from genat import checkpoints, plots, sources
from genat.ascent import frozen
from genat.evaluation.robustness.cells import SEED
from genat.evaluation.scores import Penultimate
from genat.evaluation.systems import from_noise
from genat.generation import one_of, sample
from genat.networks import Committee
from genat.runs import Run
from genat.sources import Images

PICTURES = {
    "synthesis.png": "images of each class, a row a detector: climbed from normal distributions fitted to the class",
    "neighbours.png": "the first of each row above the training image that is nearest to it",
    "noise.png": "noise climbed on each detector, without a ball, a row a detector: the steps stand in the table",
}
"""What is written beside the table, and what it shows."""

_COLUMNS, _KNOWN = 8, 10_000  # images of a class; training images that neighbours are looked for among, at most
_AT = (0, 50, 100, 150, 200)  # steps from noise to look at


def synthesis(run: Run, images: Images, *, classifier: nn.Module | None, folder: Path) -> dict[str, Any]:
    """Climb every detector of a committee, write pictures of it, and return what the logits come to.

    Args:
        run: of a committee.
        images: training images, with labels.
        classifier: `(N, *) -> (N, K)`; neighbours are the nearest in the cosine of what its last layer sees. None
            compares pixels.
        folder: of the pictures, made where it is not there.

    Returns:
        `at`: steps from noise; `noise`: logits there, a list a class; `samples`: mean logits of the samples by class.
    """
    committee = run.detector
    assert isinstance(committee, Committee), "checked at the beginning"
    way = run.climbing()
    made, logits, noise, ways = [], [], [], []
    for kind in range(len(run.classes)):
        detector = one_of(committee, kind).eval()
        starts = sources.ClassGaussians(images.only(kind))
        made.append(sample(detector, starts, seeds=range(_COLUMNS), **way).images)
        with torch.no_grad():
            logits.append(detector(made[-1]).mean().item())
        climbed = from_noise(detector, run.shape, n=1, at=_AT, step_size=way["step_size"], seed=SEED)
        noise.append(climbed.logits[:, 0].tolist())
        ways.append(climbed.images[:, 0])
    known = images.take(torch.randperm(len(images), generator=torch.Generator().manual_seed(SEED))[:_KNOWN]).tensor()
    first = torch.stack([rows[0] for rows in made])
    pictures = {
        "synthesis.png": plots.grid(torch.cat(made), columns=_COLUMNS),
        "neighbours.png": plots.pairs(first, known[nearest(first, known, classifier=classifier)], columns=len(first)),
        "noise.png": plots.grid(torch.cat(ways), columns=len(_AT)),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, png in pictures.items():
        checkpoints.write_bytes(folder / name, png)
    return {"at": list(_AT), "noise": noise, "samples": logits}


def nearest(images: Tensor, known: Tensor, *, classifier: nn.Module | None) -> Tensor:
    """Return for each image which of the known ones is nearest by the cosine of features, `(N,)` int64.

    Args:
        images: `(N, *)`.
        known: `(M, *)`.
        classifier: whose last layer's inputs are the features; None takes the pixels.

    Example:
        >>> nearest(torch.tensor([[2.0, 0.1]]), torch.tensor([[0.0, 1.0], [1.0, 0.0]]), classifier=None)
        tensor([1])
    """
    look = nn.Flatten() if classifier is None else Penultimate(classifier)
    with frozen(look), torch.no_grad():
        ours, theirs = (
            torch.cat([F.normalize(look(part).flatten(1), dim=1) for part in torch.split(batch, 256)])
            for batch in (images, known)
        )
    return (ours @ theirs.T).argmax(dim=1)
