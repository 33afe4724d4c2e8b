"""The trainers by name: GAT in its forms, and the peers, who may spend the same passes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec

import torch
from torch import Tensor

from genat.baselines.energy import Chain, EnergyStep, langevin, train_energy
from genat.baselines.gan import GanStep, generate, passes_each, point_generator, train_gan
from genat.networks import Together
from genat.simulations.trainers import SAMPLES, Gat, Trained, Trainer, detectors
from genat.simulations.watch import Watch
from genat.sources import Samples
from genat.sources.toy import Toy
from genat.training import step_generator

BUDGET = 3_300_000
"""Forward and backward passes that every trainer may spend on a seed, unless told otherwise."""


@dataclass(frozen=True, slots=True)
class Gan:
    """A generative adversarial network; the minimax game.

    Rates, their ratio, betas, batch, annealing and the inputs' scale were compared on validation draws of the ring and
    the checkerboard; these did best there. Its networks begin as PyTorch's: with the wider weights that GAT begins
    with, the GAN loses modes.

    Attributes:
        iterations, batch_size, betas, ema, anneal: of the training, as in `baselines.gan.train_gan`.
        rate: of the detector; the generator's is `ratio` times it.
        saturating, r1: which loss, and the weight of the gradient penalty.
        latent: coordinates of the noise.
        hidden, std: of both networks; the detector sees (x - 0.5) / std.
    """

    iterations: int = 6000
    batch_size: int = 128
    rate: float = 1e-3
    ratio: float = 0.5
    betas: tuple[float, float] = (0.5, 0.9)
    ema: float = 0.999
    anneal: float = 0.5
    saturating: bool = False
    r1: float = 0.0
    latent: int = 2
    hidden: tuple[int, ...] = (128, 128, 128, 128)
    std: float = 1 / 15

    def with_budget(self, passes: int) -> "Gan":
        """Return these settings with as many iterations as the passes allow."""
        return replace(self, iterations=max(1, passes // (passes_each(self.r1) * self.batch_size)))

    def with_rate(self, rate: float) -> "Gan":
        """Return these settings with another learning rate; the generator's moves along."""
        return replace(self, rate=rate)

    def train(self, toy: Toy, *, seeds: Sequence[int], device: str, watch: Watch) -> Trained:
        """Train all seeds together."""
        detector = detectors(toy.shape[0], hidden=self.hidden, std=self.std, seeds=seeds, device=device, he=False)
        makers = [point_generator(self.latent, toy.shape[0], hidden=self.hidden, seed=seed) for seed in seeds]
        generator = Together(makers).to(device)

        def note(step: GanStep) -> None:
            watch(
                step.iteration,
                detector=step.detector,
                losses=step.detector_loss.tolist(),
                aurocs=step.auroc.tolist(),
                steps=0,
                points=lambda n: generate(step.generator, n, latent=self.latent, seeds=seeds)[0].cpu(),
            )

        fitted = train_gan(
            generator,
            detector,
            toy_target(toy),
            seeds=seeds,
            iterations=self.iterations,
            batch_size=self.batch_size,
            latent=self.latent,
            saturating=self.saturating,
            r1=self.r1,
            rates=(self.rate * self.ratio, self.rate),
            betas=self.betas,
            ema=self.ema,
            anneal=self.anneal,
            callback=note,
        )
        samples = generate(fitted.generator, SAMPLES, latent=self.latent, seeds=seeds).cpu()
        trajectory = torch.empty(0, 0, toy.shape[0])
        return Trained(fitted.detector, samples, trajectory, fitted.passes, dict(fitted.diverged))


@dataclass(frozen=True, slots=True)
class Energy:
    """An energy model trained by contrastive divergence with Langevin chains, torchebm's.

    The chains' length, sizes and noise, the batch and the penalty were compared on validation draws of the ring and
    the checkerboard; these did best there. Chains of one size and one noise, and persistent chains, found neither.

    Attributes:
        iterations, batch_size, rate, regularisation, persistent, ema, anneal: as in `baselines.energy.train_energy`.
        chain_steps, step_size, noise_scale, spread: of its chains, in training; sizes and noise fall from the first
            value to the second.
        sampling_steps: of the chains that generate, from outside points.
        hidden, std: of the network, which sees (x - 0.5) / std.
    """

    iterations: int = 1000
    batch_size: int = 64
    rate: float = 1e-3
    regularisation: float = 0.1
    persistent: bool = False
    ema: float = 0.999
    anneal: float = 0.5
    chain_steps: int = 40
    step_size: float | tuple[float, float] = (0.1, 0.005)
    noise_scale: float | tuple[float, float] = (1.0, 0.1)
    spread: float = 0.1
    sampling_steps: int = 200
    hidden: tuple[int, ...] = (128, 128, 128, 128)
    std: float = 1 / 15

    def chain(self, steps: int) -> Chain:
        """Return a chain of so many steps."""
        return Chain(steps, self.step_size, self.noise_scale, spread=self.spread)

    def with_budget(self, passes: int) -> "Energy":
        """Return these settings with as many iterations as the passes allow."""
        return replace(self, iterations=max(1, passes // ((self.chain_steps + 2) * self.batch_size)))

    def with_rate(self, rate: float) -> "Energy":
        """Return these settings with another learning rate."""
        return replace(self, rate=rate)

    def train(self, toy: Toy, *, seeds: Sequence[int], device: str, watch: Watch) -> Trained:
        """Train all seeds together."""
        detector = detectors(toy.shape[0], hidden=self.hidden, std=self.std, seeds=seeds, device=device)

        def note(step: EnergyStep) -> None:
            losses = (step.outside - step.inside).tolist()
            watch(
                step.iteration,
                detector=step.detector,
                losses=losses,
                aurocs=step.auroc.tolist(),
                steps=self.chain_steps,
                points=lambda n: self.sample(step.detector, toy, seeds=seeds, n=n)[0],
            )

        fitted = train_energy(
            detector,
            toy_target(toy),
            seeds=seeds,
            iterations=self.iterations,
            batch_size=self.batch_size,
            chain=self.chain(self.chain_steps),
            persistent=self.persistent,
            regularisation=self.regularisation,
            rate=self.rate,
            ema=self.ema,
            anneal=self.anneal,
            callback=note,
        )
        samples = self.sample(fitted.detector, toy, seeds=seeds, n=SAMPLES)
        trajectory = torch.empty(0, 0, toy.shape[0])
        return Trained(fitted.detector, samples, trajectory, fitted.passes, dict(fitted.diverged))

    def sample(self, detector: Together, toy: Toy, *, seeds: Sequence[int], n: int) -> Tensor:
        """Return where chains from n outside points lead, `(S, n, d)`."""
        draws = [step_generator(seed, 0, "samples") for seed in seeds]
        rows = [torch.randint(len(toy.outside), (n,), generator=draw) for draw in draws]
        starts = torch.stack([toy.outside[row] for row in rows]).to(next(detector.parameters()).device)
        return langevin(detector, starts, seeds=seeds, chain=self.chain(self.sampling_steps)).cpu()


def toy_target(toy: Toy) -> Samples:
    """Return the training positives as a source."""
    return Samples(toy.target, name=toy.name)


TRAINERS: dict[str, Trainer] = {
    "gat": Gat(),
    "gat-replay": Gat(burst=2),
    "gat-ball": Gat(first=10, last=10, step_size=0.05, shrink=(1.0, 1.0), norm="linf", radius=0.5, random_start=True),
    "clean": Gat(first=0, last=0),
    "gan": Gan(),
    "gan-saturating": Gan(saturating=True, ratio=1.0),
    "gan-r1": Gan(r1=1e-3, ratio=1.0),
    "ebm": Energy(),
}
"""Unconstrained GAT; the same with ascents that go on from one iteration to the next; the GAT of 2019 in a ball; no
ascent at all; three GANs; an energy model."""


def trainers(names: Sequence[str], *, budget: float | None = None) -> dict[str, Trainer]:
    """Return trainers by name, each with the iterations that the passes allow; "clean" has GAT's iterations.

    Raises:
        ValueError: where a name is unknown, none is given, a peer's package is absent or the budget is below 1 or
            not finite.

    Example:
        >>> [trainer.iterations for trainer in trainers(["gat", "gan"], budget=1_000_000).values()]
        [1812, 1953]
    """
    unknown = [name for name in names if name not in TRAINERS]
    if unknown or not names:
        raise ValueError(f"expected trainers among {', '.join(TRAINERS)}, got {', '.join(unknown) or 'none'}")
    if "ebm" in names and find_spec("torchebm") is None:
        raise ValueError("ebm: expected torchebm, got none installed: pip install 'genat[peers]'")
    if budget is not None and not 1 <= budget < math.inf:
        raise ValueError(f"expected a budget of at least 1 pass, got {budget}")
    passes = BUDGET if budget is None else int(budget)
    chosen = {name: TRAINERS[name].with_budget(passes) for name in names}
    if "clean" in chosen:
        chosen["clean"] = replace(Gat(first=0, last=0), iterations=Gat().with_budget(passes).iterations)
    return chosen
