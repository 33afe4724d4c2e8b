"""From a configuration to the objects it names."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from genat import networks, sources
from genat.config import AugmentConfig, Config, DataConfig, OutsideConfig
from genat.recipe import OptimizerFactory, adam, sgd
from genat.sources import Images, Source
from genat.training import Health
from genat.training.devices import Precision

_PARTED = ("digits", "fashion-mnist", "mnist", "emoji")  # kinds of data with a training and a test part

Split = Literal["train", "test"]
Label = Literal["category", "subcategory"]


@dataclass(frozen=True)
class Data:
    """The target's images, parted.

    Attributes:
        train: what the detector learns from.
        validation: held out of training for thresholds and calibration.
        others: images of the classes that were left out, None where all are kept.
    """

    train: Images
    validation: Images
    others: Images | None


def target(config: Config) -> Data:
    """Read the target, keep its classes and hold out the validation images; of a committee number the classes anew.

    Raises:
        ValueError: where the data cannot be read, or a class is not there.
        FileNotFoundError: where the data is not installed.
    """
    everything = read(config.data)
    kept, others = everything, None
    if config.data.classes is not None:
        kept = everything.only(config.data.classes)
        others = everything.without(config.data.classes) if len(kept) < len(everything) else None
    if config.committee and kept.labels is not None:
        kept = kept.renumbered()
    train, validation = kept.split(config.data.validation, config.seed)
    return Data(train, validation, others)


def official_test(config: Config) -> Images | None:
    """Return the data set's own test images of the target's classes, None where the data has no such part."""
    if config.data.kind not in _PARTED or config.data.split == "test":
        return None
    images = read(config.data, split="test")
    kept = images if config.data.classes is None else images.only(config.data.classes)
    return kept.renumbered() if config.committee else kept


def measured(
    config: Config, data: Data, shape: tuple[int, ...], images: Images | None = None
) -> tuple[Images, Literal["test", "validation"]]:
    """Return what a run is measured on, and which part of the data that is.

    Args:
        config: the run's.
        data: the run's, as `target` reads it.
        shape: of the run's images.
        images: test images of a person's own; None takes the data set's, or the validation images where it has none.

    Raises:
        ValueError: where the images have another shape.
    """
    own = images if images is not None else official_test(config)
    chosen = data.validation if own is None else own
    if chosen.shape != shape:
        raise ValueError(f"expected test images of shape {shape}, got {chosen.shape}")
    return chosen, "validation" if own is None else "test"


def read(
    config: DataConfig | OutsideConfig,
    *,
    split: Split | None = None,
    size: tuple[int, int] | int | None = None,
    mode: Literal["auto", "L", "RGB"] = "auto",
) -> Images:
    """Read the images that a part of the configuration names.

    Args:
        config: the target's part, whose own size and mode hold, or one of the outside's.
        split: another than the configured one.
        size: of the images of an outside part; None keeps their own.
        mode: of the images of an outside part.
    """
    if isinstance(config, DataConfig):
        size, mode = config.size, config.mode
    part = split or config.split
    if config.kind in _PARTED and part not in ("train", "test"):
        raise ValueError(f"expected split train or test of {config.kind}, got {part!r}")
    side: Split = "test" if part == "test" else "train"
    kind: Label = "category" if config.label == "category" else "subcategory"
    group = config.group if isinstance(config, DataConfig) else None
    path = config.path or ""
    known: dict[str, Callable[[], Images]] = {
        "digits": lambda: sources.digits(side),
        "fashion-mnist": lambda: sources.fashion_mnist(side, root=config.path),
        "mnist": lambda: sources.mnist(side, root=path),
        "emoji": lambda: sources.emoji(path, side, label=kind, size=size),
        "lfw-faces": sources.lfw_faces,
        "folder": lambda: sources.image_folder(path, size=size, mode=mode),
        "parquet": lambda: sources.parquet(
            path, image=config.image, label=config.label, group=group, size=size, mode=mode
        ),
        "hugging-face": lambda: sources.hugging_face(
            path, split=part, image=config.image, label=config.label, group=group, size=size, mode=mode
        ),
    }
    return known[config.kind]()


def outside(config: Config, shape: tuple[int, ...], data: Data | None = None) -> Source:
    """Return where ascents start from: the mixture of the configured parts.

    Of a committee, `other-classes` are images of all its classes here; `members` has those of each detector.

    Args:
        config: the configuration.
        shape: of one sample of the target.
        data: the target, for the parts that are made from it; None reads it where there are such parts, so that a run
            can generate without the data it was trained on.

    Raises:
        ValueError: where a part's images have another shape, or cannot be read.
    """

    def read_target() -> Data:
        return target(config) if data is None else data

    parts = [_part(part, shape, read_target, committee=config.committee) for part in config.outside]
    for part, source in zip(config.outside, parts, strict=True):
        if source.shape != shape:
            raise ValueError(f"expected outside {part.kind} of shape {shape}, got {source.shape}")
    if len(parts) == 1:
        return parts[0]
    return sources.Mixture(parts, weights=[part.weight for part in config.outside])


def learned(config: Config, data: Data) -> tuple[Source | list[Source], Source | list[Source]]:
    """Return what is learned, augmented as configured, and where ascents start from; of a committee each detector's.

    Raises:
        ValueError: as `outside` and `members`.
    """
    if config.committee:
        return members(config, data)
    return data.train.with_augmentation(augmentation(config.augment)), outside(config, data.train.shape, data)


def members(config: Config, data: Data) -> tuple[list[Source], list[Source]]:
    """Return what each detector of a committee learns, and where its ascents start from.

    A part `other-classes` is, for each detector, the training images of all classes but its own; other parts are the
    same for all.

    Raises:
        ValueError: where the target has fewer than two classes, or one has no images; or as `outside`.
    """
    images = data.train.with_augmentation(augmentation(config.augment))
    targets: list[Source] = [inside for inside, _ in sources.one_against_rest(images)]
    parts: list[list[Source]] = []
    for part in config.outside:
        if part.kind == "other-classes":
            rest = data.train.with_augmentation(augmentation(part.augment))
            parts.append([others for _, others in sources.one_against_rest(rest)])
        else:
            shared = config.model_copy(update={"outside": (part,)})
            parts.append([outside(shared, data.train.shape, data)] * len(targets))
    weights = [part.weight for part in config.outside]
    mixed: list[Source] = [
        own[0] if len(own) == 1 else sources.Mixture(list(own), weights=weights) for own in zip(*parts, strict=True)
    ]
    return targets, mixed


def starts(config: Config, shape: tuple[int, ...]) -> Source:
    """Return where climbs start from to generate: the training's outside data, or what the sampling names instead.

    Args:
        config: the run's.
        shape: of one sample.

    Raises:
        ValueError: as `outside`.
    """
    kind = config.sampling.starts
    if kind == "outside":
        return outside(config, shape)
    return _part(OutsideConfig(kind=kind), shape, lambda: target(config), committee=config.committee)


def _part(part: OutsideConfig, shape: tuple[int, ...], read_target: Callable[[], Data], *, committee: bool) -> Source:
    made: dict[str, Callable[[], Source]] = {
        "photographs": lambda: sources.Photographs(shape),
        "dead-leaves": lambda: sources.DeadLeaves(shape),
        "uniform-noise": lambda: sources.Noise(shape, kind="uniform"),
        "gaussian-noise": lambda: sources.Noise(shape, kind="gaussian"),
        "class-gaussians": lambda: sources.ClassGaussians(read_target().train),
        "shuffled-patches": lambda: sources.ShuffledPatches(read_target().train, part.patch or min(shape[1:]) // 4),
    }
    if part.kind in made:
        return made[part.kind]()
    if part.kind == "other-classes":
        parted = read_target()
        others = parted.train if committee else parted.others
        if others is None:
            raise ValueError("expected classes that are left out for outside other-classes, got none")
        images = others
    else:
        images = read(part, size=(shape[1], shape[2]), mode="L" if shape[0] == 1 else "RGB")
    kept = images if part.classes is None else images.only(part.classes)
    return kept.with_augmentation(augmentation(part.augment))


def augmentation(config: AugmentConfig) -> sources.Augment | None:
    """Return the augmentation of the target's batches, None where nothing is set."""
    if config == AugmentConfig():
        return None
    return sources.Augment(**config.model_dump())


def detector(config: Config, shape: tuple[int, ...], *, classes: int = 0) -> nn.Module:
    """Return the configured network for samples of this shape, its first weights a function of the seed.

    Convolutions' weights lie channels last, which makes a pass on a processor 1.2 to 1.5 times as fast, and faster on a
    GPU in half precision; it changes results by rounding alone.

    Args:
        config: the configuration.
        shape: of one sample.
        classes: of the target; with `classify` the network has a logit for each, and initial weights are those of the
            classifier; a committee has a network for each, together, whose initial weights differ unless they are read.

    Raises:
        ValueError: where there is no such network, its options are wrong, its initial weights do not fit, there are no
            classes to learn, or no residual blocks to recompute.
    """
    options = config.network_options
    if config.committee:
        if classes == 0:
            raise ValueError("committee: expected data with labels, got none")
        alone = config.model_copy(update={"committee": False})
        each = [detector(alone.model_copy(update={"seed": seed}), shape) for seed in seeds(config, classes)]
        if config.init is not None:
            for kind, network in enumerate(each):
                networks.take_logit(network, kind)
        return networks.Together(each, at_once=config.members_at_once)
    if config.classify is None:
        network = weighted = networks.build(config.network, shape, options, seed=config.seed)
    elif classes == 0:
        raise ValueError("classify: expected data with labels, got none")
    else:
        network = networks.build_joint(config.network, shape, options, classes=classes, seed=config.seed)
        weighted = network.classifier
    if config.init is not None:
        networks.init(weighted, config.init)
    if config.recompute:
        networks.recompute(network)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]  # not in its stubs


def whole(network: nn.Module, classes: tuple[str, ...]) -> nn.Module:
    """Return what was trained as the detector that it is: of networks together their committee."""
    if isinstance(network, networks.Together):
        return networks.Committee(network, classes=classes)
    return network


def seeds(config: Config, members: int) -> list[int]:
    """Return the seeds of a committee's detectors: no two of one committee, or of two of one size, are equal.

    Example:
        >>> seeds(Config(seed=2), 3)
        [6, 7, 8]
    """
    return [config.seed * members + member for member in range(members)]


def optimizer(config: Config) -> OptimizerFactory:
    """Return the maker of the configured optimiser."""
    part = config.optimizer
    if part.name == "adam":
        return adam(part.lr)
    momentum = 0.9 if part.momentum is None else part.momentum
    return sgd(part.lr, momentum=momentum, weight_decay=part.weight_decay or 0.0)


def health(config: Config) -> Health:
    """Return what the training is watched for."""
    return Health(**config.health.model_dump())


def device(config: Config) -> torch.device:
    """Return the configured device; auto takes a GPU where there is one.

    Raises:
        ValueError: where a GPU is asked for and there is none.
    """
    there = torch.cuda.is_available()
    if config.device == "cuda" and not there:
        raise ValueError("device: expected a GPU for cuda, got a machine without one")
    return torch.device("cuda" if there and config.device != "cpu" else "cpu")


def precision(config: Config) -> Precision:
    """Return the configured precision; auto is bfloat16 where the configured device multiplies it natively.

    That is a GPU that says so, and a processor with AMX, on which a pass through a convolutional network takes half the
    time; others emulate it.

    Raises:
        ValueError: as `device`.
    """
    if config.precision != "auto":
        return config.precision
    if device(config).type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = bool(_capabilities().get("amx_bf16"))
    return "bf16-mixed" if native else "32-true"


def half(config: Config) -> bool:
    """Return whether the configured precision computes in bfloat16 where that is safe.

    Raises:
        ValueError: as `device`.
    """
    return precision(config) == "bf16-mixed"


def _capabilities() -> Mapping[str, object]:
    """Return what the processor can do as PyTorch tells it, nothing where it does not yet."""
    tell = getattr(torch.cpu, "get_capabilities", None)
    found: Mapping[str, object] = {} if tell is None else tell()
    return found
