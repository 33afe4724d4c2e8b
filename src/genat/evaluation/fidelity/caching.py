"""Features of reference images, kept on disk by content."""

import hashlib
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from genat import checkpoints
from genat.evaluation.fidelity import extractors
from genat.evaluation.fidelity.checks import check_images
from genat.evaluation.fidelity.extractors import Extractor

_FEATURES, _KEY, _SHA256 = "features", "key", "sha256"


def cached(extractor: Extractor, images: Tensor, folder: str | Path | None) -> Tensor:
    """Return `extractor(images)`, read from a folder where it has been computed before.

    The key is a digest of the images' bytes, the extractor's name and version, the code that computes features and the
    version of PyTorch: another of any is computed anew. What is read is what was computed, bit for bit. A file is
    written whole or not at all, as safetensors, and checked against its digest when it is read.

    Args:
        extractor: of the features.
        images: `(N, C, H, W)` in [0, 1].
        folder: made where it is missing; None computes and keeps nothing.

    Returns:
        `(N, d)` on the images' device.

    Raises:
        ValueError: where the images are not as they should be, or a file of this folder is damaged; the message names
            it, and it is for you to delete.
        OSError: where the disk refuses.

    Example:
        >>> import tempfile
        >>> pixels = Extractor("pixel", "1", 4, lambda images: images.flatten(1))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     first, again = (cached(pixels, torch.ones(1, 1, 2, 2), folder) for _ in range(2))
        >>> first, torch.equal(first, again)
        (tensor([[1., 1., 1., 1.]]), True)
    """
    if folder is None:
        return extractor(images)
    check_images(images=images)
    key = _key(extractor, images)
    path = Path(folder) / f"features-{key[:32]}.safetensors"
    if path.exists():
        return _read(path, key).to(images.device)
    features = extractor(images)
    stored = features.cpu().contiguous()
    metadata = {_KEY: key, _SHA256: checkpoints.digest({_FEATURES: stored})}
    path.parent.mkdir(parents=True, exist_ok=True)
    checkpoints.write_bytes(path, save({_FEATURES: stored}, metadata))
    return features


def _key(extractor: Extractor, images: Tensor) -> str:
    parts = (
        checkpoints.digest({"images": images}),
        extractor.name,
        extractor.version,
        hashlib.sha256(Path(extractors.__file__).read_bytes()).hexdigest(),
        torch.__version__,
    )
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _read(path: Path, key: str) -> Tensor:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
            features: Tensor = file.get_tensor(_FEATURES)
    except SafetensorError as error:
        raise ValueError(f"{path}: expected cached features, got a damaged file ({error}): delete it") from error
    if metadata != {_KEY: key, _SHA256: checkpoints.digest({_FEATURES: features})}:
        raise ValueError(f"{path}: expected cached features, got others than were written: delete it")
    return features
