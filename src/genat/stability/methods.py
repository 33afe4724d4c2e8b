"""The methods whose stability is compared, each with the settings of its authors and all with one currency: passes."""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import TypeAlias

import torch
from torch import Tensor

from genat import networks
from genat.ascent import Rule
from genat.baselines.energy import Chain, EnergyStep, langevin, train_energy
from genat.baselines.gan import GanStep, generate, train_gan
from genat.baselines.images import Dcgan, image_generator, spectral
from genat.baselines.learner import follow
from genat.baselines.replay import Replay
from genat.curriculum import Curriculum
from genat.generation import Climbing, transform
from genat.networks import Together
from genat.recipe import adam
from genat.simulations.watch import resting
from genat.stability.ruler import Material
from genat.stability.watch import Watch
from genat.training import DivergenceError, Step, fit

_CHUNK = 250  # images generated at once


@dataclass(frozen=True, slots=True)
class Gat:
    """Unconstrained generative adversarial training, with the numbers of the preset `fashion-mnist`.

    Not the preset's: the network, which is all methods' own; that every climb is kept; that ascents begin anew at every
    iteration and are twenty steps long; and that the curriculum's stages end by iterations alone, so that the passes
    are known beforehand.

    Attributes:
        iterations, batch_size, rate, step_size, rule, r1, anneal, ema: of the training, as in `genat.fit`.
        width: of `networks.small_convnet`.
        first, last: ascent steps in the first and in the last stage.
        sampling_steps: of the ascents that generate.
    """

    iterations: int = 2700
    batch_size: int = 64
    rate: float = 1e-3
    width: int = 12
    first: int = 0
    last: int = 20
    step_size: float = 0.08
    rule: Rule = "adam"
    r1: float = 0.01
    anneal: float = 0.8
    ema: float = 0.999
    sampling_steps: int = 20

    @property
    def curriculum(self) -> Curriculum:
        """The plan for the number of steps."""
        return Curriculum(self.first, self.last, gate=None)

    @property
    def passes(self) -> int:
        """Forward and backward passes of the whole training."""
        stage = self.curriculum.start(iterations=self.iterations).stage_iterations
        ended = min(self.iterations // stage, self.last - self.first)
        growing = sum(stage * (self.first + i) for i in range(ended))
        steps = growing + (self.iterations - stage * ended) * (self.first + ended)
        return self.batch_size * (steps + self.iterations * _learning_passes(self.r1))

    def with_budget(self, passes: int) -> "Gat":
        """Return these settings with the most iterations that the passes allow."""
        most = passes // (self.batch_size * (self.first + _learning_passes(self.r1)))
        fitting = (n for n in range(most, 0, -1) if replace(self, iterations=n).passes <= passes)
        return replace(self, iterations=_some(next(fitting, 0), "gat", passes))

    def train(self, material: Material, starts: Tensor, *, seed: int, device: str, watch: Watch) -> None:
        """Train one detector; images are ascents from the starts with the running mean of its weights."""
        detector = networks.build("small_convnet", material.train.shape, {"width": self.width}, seed=seed).to(device)
        average = copy.deepcopy(detector).requires_grad_(False).eval()
        begun, spent = starts.to(device), 0

        def draw() -> Tensor:
            chunk = min(_CHUNK, len(begun))
            how = Climbing(steps=self.sampling_steps, step_size=self.step_size, rule=self.rule, chunk=chunk)
            return transform(average, begun, **how).points

        def note(step: Step) -> None:
            nonlocal spent
            # fit's own running mean is not to be had before the end
            follow(average, detector, ema=self.ema, iteration=step.iteration)
            spent += self.batch_size * (step.steps + _learning_passes(self.r1))
            watch(step.iteration, spent=spent, auroc=step.auroc, draw=draw)

        fit(
            detector,
            material.train,
            material.outside,
            iterations=self.iterations,
            steps=self.curriculum,
            step_size=self.step_size,
            rule=self.rule,
            batch_size=self.batch_size,
            r1=self.r1,
            optimizer=adam(self.rate),
            ema=None,
            anneal=self.anneal,
            seed=seed,
            callback=note,
        )


@dataclass(frozen=True, slots=True)
class Gan(Dcgan):
    """DCGAN with the usual tricks: R1 and spectral normalisation.

    Attributes:
        spectral: whether the detector is normalised; the others are `baselines.images.Dcgan`'s.

    References:
        Spectral Normalization for Generative Adversarial Networks (Miyato, Kataoka, Koyama, Yoshida, 2018)
        https://arxiv.org/abs/1802.05957
    """

    iterations: int = 2500
    width: int = 12
    spectral: bool = True

    @property
    def passes(self) -> int:
        """Forward and backward passes of the whole training."""
        return self.iterations * self.each

    def with_budget(self, passes: int) -> "Gan":
        """Return these settings with the most iterations that the passes allow."""
        return replace(self, iterations=_some(passes // self.each, "gan", passes))

    def train(self, material: Material, starts: Tensor, *, seed: int, device: str, watch: Watch) -> None:
        """Train one pair of networks; there are as many images as starts, which are not used otherwise."""
        shape = material.train.shape
        detector = networks.build("small_convnet", shape, {"width": self.width}, seed=seed)
        generator = image_generator(shape, latent=self.latent, width=self.width, seed=seed)

        def note(step: GanStep) -> None:
            _refuse_rest(step.generator, step.iteration)

            def draw() -> Tensor:
                return generate(step.generator, len(starts), latent=self.latent, seeds=[seed])[0]

            watch(step.iteration, spent=step.iteration * self.each, auroc=step.auroc.item(), draw=draw)

        fitted = train_gan(
            Together([generator]).to(device),
            Together([spectral(detector) if self.spectral else detector]).to(device),
            material.train,
            seeds=[seed],
            **self.options,
            callback=note,
        )
        _refuse_rest(fitted.generator, watch.iteration + 1)


@dataclass(frozen=True, slots=True)
class Jem:
    r"""A convolutional energy model trained as JEM trains its p(x), without its classes.

    Chains of 20 steps of size 1 with noise .01, in coordinates where pixels are in [-1, 1], from a buffer of which one
    in twenty begins anew; target data with noise .03; Adam at 1e-4; no penalty and no running mean: JEM's numbers. Its
    buffer of 10,000 is not: JEM visits a row some 750 times, and a training of minutes would not visit most of them
    twice. With 2,000 the chains are as many as the images that are measured.

    Attributes:
        iterations, batch_size, rate, betas, data_noise: of the training, as in `baselines.energy.train_energy`.
        width: of `networks.small_convnet`.
        chain_steps, step_size, noise: of a chain in training; noise is what a step adds.
        rows, fresh: of the buffer, see `baselines.replay.Replay`.
        sampling_steps: by which the buffer's chains go on to become images, clipped to [0, 1] at the end.

    References:
        Your Classifier is Secretly an Energy Based Model and You Should Treat it Like One (Grathwohl et al., 2020)
        https://arxiv.org/abs/1912.03263
    """

    iterations: int = 500
    batch_size: int = 64
    rate: float = 1e-4
    width: int = 12
    betas: tuple[float, float] = (0.9, 0.999)
    data_noise: float = 0.03
    chain_steps: int = 20
    step_size: float = 1.0
    noise: float = 0.01
    rows: int = 2000
    fresh: float = 0.05
    sampling_steps: int = 20

    @property
    def passes(self) -> int:
        """Forward and backward passes of the whole training."""
        return self.iterations * self._each

    def with_budget(self, passes: int) -> "Jem":
        """Return these settings with the most iterations that the passes allow."""
        return replace(self, iterations=_some(passes // self._each, "jem", passes))

    def chain(self, steps: int) -> Chain:
        """Return a chain of so many steps; torchebm's noise is sqrt(2 step_size) times its scale."""
        scale = self.noise / math.sqrt(2 * self.step_size)
        return Chain(steps, self.step_size, scale, center=0.5, spread=0.5)

    def train(self, material: Material, starts: Tensor, *, seed: int, device: str, watch: Watch) -> None:
        """Train one energy model; there are as many images as starts, which are not used otherwise.

        Raises:
            ValueError: where the buffer has fewer rows than that.
        """
        if len(starts) > self.rows:
            raise ValueError(f"expected a buffer of at least {len(starts)} rows, one an image, got {self.rows}")
        detector = networks.build("small_convnet", material.train.shape, {"width": self.width}, seed=seed)

        def note(step: EnergyStep) -> None:
            _refuse_rest(step.detector, step.iteration)

            def draw() -> Tensor:
                assert step.chains is not None
                parts = torch.split(step.chains[:, : len(starts)], _CHUNK, dim=1)
                chain = self.chain(self.sampling_steps)
                noises = range(seed * len(parts), (seed + 1) * len(parts))  # no two parts of any seeds share theirs
                ends = [
                    langevin(step.detector, part, seeds=[own], chain=chain)
                    for part, own in zip(parts, noises, strict=True)
                ]
                return torch.cat(ends, dim=1)[0].clamp(0, 1)

            watch(step.iteration, spent=step.iteration * self._each, auroc=step.auroc.item(), draw=draw)

        fitted = train_energy(
            Together([detector]).to(device),
            material.train,
            seeds=[seed],
            iterations=self.iterations,
            batch_size=self.batch_size,
            chain=self.chain(self.chain_steps),
            persistent=Replay(self.rows, self.fresh),
            data_noise=self.data_noise,
            regularisation=0.0,
            rate=self.rate,
            betas=self.betas,
            ema=None,
            callback=note,
        )
        _refuse_rest(fitted.detector, watch.iteration + 1)

    @property
    def _each(self) -> int:
        return (self.chain_steps + 2) * self.batch_size


Method: TypeAlias = Gat | Gan | Jem

METHODS: dict[str, Method] = {
    "gat": Gat(),
    "gan": Gan(),
    "gan-r1": Gan(spectral=False),
    "gan-sn": Gan(r1=0.0),
    "jem": Jem(),
}
"""GAT; a GAN with both tricks and with one alone; an energy model."""


def methods(names: Sequence[str]) -> dict[str, Method]:
    """Return methods by name.

    Raises:
        ValueError: where a name is unknown, none is given or a peer's package is absent.

    Example:
        >>> {name: method.rate for name, method in methods(["gat", "gan"]).items()}
        {'gat': 0.001, 'gan': 0.0002}
    """
    unknown = [name for name in names if name not in METHODS]
    if unknown or not names:
        raise ValueError(f"expected methods among {', '.join(METHODS)}, got {', '.join(unknown) or 'none'}")
    if "jem" in names and find_spec("torchebm") is None:
        raise ValueError("jem: expected torchebm, got none installed: pip install 'genat[peers]'")
    return {name: METHODS[name] for name in names}


def _learning_passes(r1: float) -> int:
    """Return what one step on a pair of samples costs without the ascent; the penalty's second backward counts."""
    return 3 if r1 > 0 else 2


def _some(iterations: int, name: str, passes: int) -> int:
    if iterations < 1:
        raise ValueError(f"expected a budget for at least one iteration of {name}, got {passes} passes")
    return iterations


def _refuse_rest(network: Together, iteration: int) -> None:
    if resting(network).any():
        raise DivergenceError(f"iteration {iteration}: expected finite values, got some that are not")
