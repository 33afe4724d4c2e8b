"""Classifiers to set beside a run: the same data, outside data and network, for at most as many passes."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from genat import assemble, checkpoints, networks
from genat.baselines import accuracy
from genat.baselines.exposure import EXPOSURES, Exposure, Progress, train_exposed
from genat.evaluation import peer
from genat.evaluation.keeping import keep, kept
from genat.runs import Run
from genat.sources import Images, Source

FOLDER = "peers"
EPOCHS = 30  # visits of an image at most
_BATCH, _LINES = 64, 10  # target images an iteration; lines of progress


@dataclass(frozen=True, slots=True, eq=False)
class Rival:
    """A classifier that was trained beside a run.

    Attributes:
        classifier: `(N, C, H, W) -> (N, K)`, in eval mode on the CPU.
        made: how: settings, seed, iterations, passes, the run's passes, accuracy on validation images, seconds.
    """

    classifier: nn.Module
    made: dict[str, Any]


def check_names(names: Sequence[str]) -> None:
    """Refuse names that are not among `EXPOSURES`.

    Example:
        >>> check_names(["plain", "rato"])
        Traceback (most recent call last):
        ValueError: expected peers among plain, outlier-exposure, acet, ratio, madry, got rato
    """
    unknown = [name for name in names if name not in EXPOSURES]
    if unknown:
        raise ValueError(f"expected peers among {', '.join(EXPOSURES)}, got {', '.join(unknown)}")


def rival(
    run: Run,
    data: assemble.Data,
    name: str,
    *,
    how: Exposure | None = None,
    epochs: int | None = EPOCHS,
    device: torch.device | str = "cpu",
    say: Callable[[str], None] = lambda _: None,
) -> Rival:
    """Return a classifier trained as one of `EXPOSURES`, or as told, and leave it in the run's folder.

    Its network is the run's with a logit a class, from the run's seed; it sees the same images, with the same
    augmentation, and the same outside data. It is trained by Adam at 1e-3, falling over the last four fifths, for as
    many passes as the run, or for `epochs` visits of every image where that is less. It is kept in `peers/` under its
    name with what it was trained on, and read from there as long as that is the same; else it is trained anew and takes
    the other's place.

    Args:
        run: as `genat.load` gives it.
        data: the run's, as `assemble.target` reads it.
        name: of the exposure, or any, with `how`.
        how: it is trained, as one of `exposure.within` a ball; None looks the name up in `EXPOSURES`.
        epochs: visits of every image at most; None sets no limit but the run's passes.
        device: where it is trained.
        say: called with lines of progress.

    Raises:
        ValueError: where the name is unknown, epochs are below 1, the target has fewer than two classes, the run has
            spent too little for one iteration, or the folder's classifier cannot be read; one line.
        DivergenceError: where a loss is not finite.
    """
    if how is None:
        check_names([name])
        how = EXPOSURES[name]
    if epochs is not None and epochs < 1:
        raise ValueError(f"expected epochs to be None or at least 1, got {epochs}")
    train = data.train
    if len(train.classes) < 2 or train.labels is None:
        raise ValueError(f"expected a target of two classes or more for the peer {name}, got one without")
    budget, config = peer.passes(run), run.config
    iterations = budget // (_BATCH * how.each)
    if epochs is not None:
        iterations = min(iterations, -(-epochs * len(train) // _BATCH))
    if iterations < 1:
        raise ValueError(f"expected a run of at least {_BATCH * how.each} passes for {name}, got {budget}")
    joint = networks.build_joint(
        config.network, run.shape, config.network_options, classes=len(train.classes), seed=config.seed
    )
    network = joint.classifier.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in its stubs
    record = {
        "exposure": _as_json(how),
        "iterations": iterations,
        "batch_size": _BATCH,
        "seed": config.seed,
        "precision": assemble.precision(config),
        "augment": config.augment.model_dump(),
        "outside": [part.model_dump() for part in config.outside],
        "images": checkpoints.digest({"pixels": train.pixels}),
    }
    path = run.folder / FOLDER / f"{name}.safetensors"
    before = kept(path, record=record, what="a classifier")
    if before is not None:
        network.load_state_dict(before.tensors)
        made = before.made
    else:
        began = time.perf_counter()
        target = train.with_augmentation(assemble.augmentation(config.augment))
        outside = assemble.outside(config, run.shape, data) if how.weight else target
        _train(network, target, outside, name, how=how, record=record, device=device, say=say)
        seconds = round(time.perf_counter() - began, 1)
        held_out = data.validation
        assert held_out.labels is not None, "as those of the training images"
        passes, right = iterations * _BATCH * how.each, accuracy(network, held_out.tensor(), held_out.labels)
        made = {"passes": passes, "passes_of_run": budget, "validation_accuracy": right, "seconds": seconds}
        keep(path, network.state_dict(), record=record, made=made)
    return Rival(network.eval(), {"exposure": _as_json(how), "iterations": iterations, "seed": config.seed} | made)


def _train(
    network: nn.Module,
    target: Images,
    outside: Source,
    name: str,
    *,
    how: Exposure,
    record: dict[str, Any],
    device: torch.device | str,
    say: Callable[[str], None],
) -> None:
    began, total = time.perf_counter(), record["iterations"]
    every = max(1, total // _LINES)

    def note(progress: Progress) -> None:
        done = progress.iteration
        if done % every == 0:
            left = (time.perf_counter() - began) / done * (total - done)
            loss, right = progress.loss.item(), progress.accuracy.item()
            say(f"{name}: iteration {done:,}/{total:,}  loss {loss:.3f}  accuracy {right:.3f}  {left:.0f} s left")

    train_exposed(
        network.to(device),
        target,
        outside,
        how=how,
        iterations=total,
        batch_size=record["batch_size"],
        seed=record["seed"],
        half=record["precision"] == "bf16-mixed",
        callback=note,
    )
    network.cpu()


def _as_json(how: Exposure) -> dict[str, Any]:
    """Return an exposure as JSON holds it, its balls in words, and beta only where there is one."""
    balls = {side: getattr(how, side) for side in ("inside", "outside")}
    words = asdict(how) | {side: ball and f"{type(ball).__name__}({ball.radius:g})" for side, ball in balls.items()}
    return {key: value for key, value in words.items() if key != "beta" or value is not None}
