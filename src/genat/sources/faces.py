"""A hundred faces and a hundred other cuttings of photographs, which scikit-image brings along."""

import importlib

import torch

from genat.sources.images import Images


def lfw_faces() -> Images:
    """Return 100 faces and 100 cuttings of backgrounds, grey, 25 x 25 pixels, of Labeled Faces in the Wild.

    They lie inside scikit-image, so that nothing is downloaded. A few of the cuttings show part of a face; who is who
    is not known, so that a person may be on both sides of a split.

    Returns:
        `(200, 1, 25, 25)`, classes "face" and "other", with a note that the values were rounded to 8 bits.

    Raises:
        ValueError: where scikit-image is missing: one line that names the extra.

    References:
        Labeled Faces in the Wild: A Database for Studying Face Recognition in Unconstrained Environments (Huang,
        Ramesh, Berg and Learned-Miller, 2007) http://vis-www.cs.umass.edu/lfw/

    Example:
        >>> lfw_faces().only("face")
        Images('LFW faces: face', 100 of (1, 25, 25), 2 classes)
    """
    try:
        library = importlib.import_module("skimage.data")
    except ImportError:
        raise ValueError("expected the package scikit-image, got none: pip install 'genat[data]'") from None
    values = torch.from_numpy(library.lfw_subset()).unsqueeze(1)
    labels = torch.arange(2).repeat_interleave(len(values) // 2)
    return Images.from_float(values, labels=labels, classes=("face", "other"), name="LFW faces")
