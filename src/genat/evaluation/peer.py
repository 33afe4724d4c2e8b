"""A GAN to set beside a run: as large as its detector, on the same images, for as many passes."""

import inspect
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from genat import assemble, checkpoints, networks, plots, runs
from genat.baselines.gan import GanStep, generate, train_gan
from genat.baselines.images import Dcgan, image_generator, mirrored_generator, spectral
from genat.evaluation.keeping import keep, kept
from genat.networks import Together, parameter_count
from genat.runs import Run
from genat.sources import Images
from genat.training import DivergenceError

FOLDER, GRID, GENERATOR = "samples-gan", "grid.png", "generator.safetensors"
_LINES, _SHOWN = 10, 64


@dataclass(frozen=True, slots=True, eq=False)
class Peer:
    """What a trained GAN makes.

    Attributes:
        images: `(n, C, H, W)` in [0, 1], none left out.
        settings: of its training.
        seed: of its weights, batches and noise: the run's own.
        passes: spent on its training, both networks' counted.
        passes_of_run: spent on the run's.
        seconds: its training took.
    """

    images: Tensor
    settings: Dcgan
    seed: int
    passes: int
    passes_of_run: int
    seconds: float

    @property
    def caption(self) -> str:
        """What the picture in the run's folder shows."""
        n = min(_SHOWN, len(self.images))
        return f"a GAN's first {n} of {len(self.images)} samples after {self.passes:,} passes, none left out"

    def as_dict(self) -> dict[str, Any]:
        """Return what JSON can hold: all but the images."""
        names = ("seed", "passes", "passes_of_run", "seconds")
        return {"settings": asdict(self.settings)} | {name: getattr(self, name) for name in names}


def passes(run: Run) -> int:
    """Return how many passes a run's training has spent, from its `metrics.jsonl`.

    A pass is one forward and backward of the network on one sample. A step with K ascent steps, or a burst of K where
    climbs go on, costs a batch of B outside and B target samples K B for the ascent, D B for D steps of descent and
    2 B for learning; where there is an R1 penalty, its second backward counts as B more; where classes are learned, so
    do A steps of attack, A B, and what they arrive at, B. A GAN's generator and discriminator are counted likewise, see
    `genat.baselines.gan.train_gan`.
    A committee of M detectors costs M times that. Steps that a return to the last good state gave up count as those
    that came again in their place.

    Raises:
        FileNotFoundError, ValueError: where the run's records are missing or cannot be read.

    Example:
        >>> import tempfile
        >>> from genat import config
        >>> keys = ["iterations=6", "batch_size=8", "steps={first: 0, last: 1}", "outside=[{kind: uniform-noise}]"]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     run, _ = runs.train(config.load("digits", keys), folder)
        ...     passes(run)  # 3 steps without ascent and 3 with a step of it; 3 B for learning with R1
        168
    """
    burst = math.inf if run.config.replay is None else run.config.replay.burst
    steps = [int(min(record["steps"], burst)) for record in runs.metrics(run.folder)]
    for incident in runs.incidents(run.folder):
        if incident.back_to is not None:
            steps += steps[incident.back_to : incident.iteration]
    config = run.config
    each = config.descent.steps + (3 if config.r1 > 0 else 2)
    each += 0 if config.classify is None else config.classify.steps + 1
    members = len(run.classes) if config.committee else 1
    return members * config.batch_size * (sum(steps) + len(steps) * each)


def gan(
    run: Run,
    train: Images,
    *,
    n: int,
    device: torch.device | str = "cpu",
    say: Callable[[str], None] = lambda _: None,
) -> Peer:
    """Return what a GAN makes that has been trained for as many passes as a run, and leave it in the run's folder.

    It sees the same images with the same augmentation, from the run's own seed and in its precision. Its discriminator
    is the run's network, or, where that has no convolutions, a `small_convnet` of, as nearly as whole widths allow, as
    many parameters; the generator has about as many again, and mirrors a `strided_convnet`. The generator is kept in
    `samples-gan/` with what it was trained on, and read from there as long as that is the same.

    Args:
        run: as `genat.load` gives it.
        train: the images that it was trained on.
        n: how many images to make, at least 1; image i depends on the seed and i alone.
        device: where it is trained.
        say: called with lines of progress.

    Raises:
        ValueError: where the images are not square or of a side that DCGAN has no generator for, the run has spent
            too little for one iteration, or the folder's generator cannot be read; one line.
        DivergenceError: where the GAN's weights do not stay finite.
    """
    budget, config = passes(run), run.config
    seed, (discriminator, blank, settings) = config.seed, _pair(run, budget)
    path = run.folder / FOLDER / GENERATOR
    half = assemble.half(config)
    record = {
        "settings": asdict(settings),
        "discriminator": parameter_count(discriminator),
        "generator": parameter_count(blank),
        "network": [config.network, config.network_options],
        "half": half,
        "seed": seed,
        "passes_of_run": budget,
        "augment": config.augment.model_dump(),
        "images": checkpoints.digest({"pixels": train.pixels}),
    }
    before = kept(path, record=record, what="a GAN's generator")
    if before is not None:
        generator, made = blank, before.made
        generator.load_state_dict(before.tensors)
    else:
        target = train.with_augmentation(assemble.augmentation(config.augment))
        pair = (blank.to(device), spectral(discriminator).to(device))
        generator, made = _train(settings, *pair, target, seed=seed, half=half, say=say)
        keep(path, generator.state_dict(), record=record, made=made)
    images = generate(Together([generator.eval()]), n, latent=settings.latent, seeds=[seed])[0]
    (path.parent / GRID).write_bytes(plots.grid(images[:_SHOWN]))
    return Peer(images, settings, seed, int(made["passes"]), budget, float(made["seconds"]))


def _pair(run: Run, budget: int) -> tuple[nn.Module, nn.Module, Dcgan]:
    """Return the discriminator, a generator of about as many parameters, and the settings."""
    config, size, settings = run.config, parameter_count(run.detector), Dcgan(1, None)
    seed, latent = config.seed, settings.latent
    discriminator = networks.build(config.network, run.shape, config.network_options, seed=seed)
    if config.network == "strided_convnet":
        defaults = inspect.signature(networks.strided_convnet).parameters
        layers: Any = {
            name: tuple(config.network_options.get(name, defaults[name].default))
            for name in ("channels", "flat", "hidden")
        }
        generator = mirrored_generator(run.shape, **layers, latent=latent, seed=seed)
    else:
        if any(isinstance(layer, nn.Conv2d) for layer in discriminator.modules()):
            width = _nearest(lambda width: image_generator(run.shape, latent=latent, width=width, seed=seed), size)
        else:
            width = _nearest(lambda width: networks.small_convnet(run.shape, width=width), size)
            discriminator = networks.build("small_convnet", run.shape, {"width": width}, seed=seed)
        generator = image_generator(run.shape, latent=latent, width=width, seed=seed)
        settings = replace(settings, width=width)
    if budget < settings.each:
        raise ValueError(f"expected a run of at least {settings.each} passes to set a GAN beside, got {budget}")
    return discriminator, generator, replace(settings, iterations=budget // settings.each)


def _nearest(build: Callable[[int], nn.Module], size: int) -> int:
    """Return the width of the network whose parameters are nearest to so many."""

    def count(width: int) -> int:
        with torch.device("meta"):  # draws no weights
            return parameter_count(build(width))

    width = 1
    while count(width + 1) <= size:
        width += 1
    return min((width, width + 1), key=lambda one: abs(count(one) - size))


def _train(
    settings: Dcgan,
    generator: nn.Module,
    discriminator: nn.Module,
    target: Images,
    *,
    seed: int,
    half: bool,
    say: Callable[[str], None],
) -> tuple[nn.Module, dict[str, Any]]:
    began, total = time.perf_counter(), settings.iterations

    def note(step: GanStep) -> None:
        left = (time.perf_counter() - began) / step.iteration * (total - step.iteration)
        say(f"GAN: iteration {step.iteration:,}/{total:,}  AUROC {step.auroc.item():.3f}  {left:.0f} s left")

    fitted = train_gan(
        Together([generator]),
        Together([discriminator]),
        target,
        seeds=[seed],
        **settings.options,
        half=half,
        every=max(1, total // _LINES),
        callback=note,
    )
    if fitted.diverged:
        raise DivergenceError(f"GAN: iteration {fitted.diverged[0]}: expected finite values, got some that are not")
    made = {"passes": fitted.passes, "seconds": round(time.perf_counter() - began, 1)}
    return fitted.generator.member(0).cpu(), made
