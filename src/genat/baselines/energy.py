"""Energy-based models trained by contrastive divergence: torchebm's loss and its Langevin sampler, as they are."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from genat.ascent import frozen
from genat.baselines.learner import Learner, check, check_outputs, draws, normals
from genat.baselines.replay import Buffer, Replay
from genat.networks import Together
from genat.ranking import auroc_tensor
from genat.recipe import annealed
from genat.sources import Source


@dataclass(frozen=True, slots=True)
class Chain:
    r"""The numbers of a Langevin chain, which runs in coordinates :math:`u = (x - center) / spread`.

    .. math:: u_{k+1} = u_k + \eta_k\,\nabla_u f(x_k) + \sqrt{2 \eta_k}\,\sigma_k\,\epsilon_k

    For small :math:`\eta` and a constant :math:`\sigma` its law tends to one of density proportional to
    :math:`\exp(f(x) / \sigma^2)`. Numbers that fall along the chain let it travel first and settle at the end.

    Args:
        steps: K, at least 1.
        step_size: :math:`\eta > 0`, or its first and its last value, between which it falls by one factor a step.
        noise_scale: :math:`\sigma > 0`, likewise.
        center, spread: where the data lies and how far it spreads, in every coordinate; spread > 0.

    Raises:
        ValueError: where a number is out of its range.

    References:
        Bayesian Learning via Stochastic Gradient Langevin Dynamics (Welling and Teh, 2011)
        https://icml.cc/2011/papers/398_icmlpaper.pdf

    Example:
        >>> chain = Chain(40, step_size=0.05, noise_scale=(1.0, 0.05))
        >>> chain.inward(torch.tensor([0.3, 0.5, 0.7]))
        tensor([-2.0000,  0.0000,  2.0000])
    """

    steps: int
    step_size: float | tuple[float, float]
    noise_scale: float | tuple[float, float]
    center: float = 0.5
    spread: float = 0.1

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"expected steps to be at least 1, got {self.steps}")
        for name in ("step_size", "noise_scale", "spread"):
            value = getattr(self, name)
            first, last = value if isinstance(value, tuple) else (value, value)
            if not 0 < last <= first < math.inf:
                wanted = "(first, last) with first >= last > 0" if isinstance(value, tuple) else "positive"
                raise ValueError(f"expected {name} to be {wanted} and finite, got {value}")

    def inward(self, points: Tensor) -> Tensor:
        """Return points in the chain's coordinates."""
        return (points - self.center) / self.spread

    def outward(self, points: Tensor) -> Tensor:
        """Return points of the chain in the data's coordinates."""
        return self.center + self.spread * points


@dataclass(frozen=True, slots=True, eq=False)
class EnergyStep:
    """What one iteration of contrastive divergence did, member by member.

    Attributes:
        iteration: its number, from 1.
        detector: the network to use at this moment, a running mean where one is kept; it changes as the training
            goes on.
        inside, outside: `(M,)` mean logits of target data and of the chains' ends.
        auroc: `(M,)` of the logits, target data against the chains' ends.
        chains: `(M, R, *)` where persistent chains are, in the data's coordinates; they move on as the training goes
            on. None where chains begin at the data.
    """

    iteration: int
    detector: Together
    inside: Tensor
    outside: Tensor
    auroc: Tensor
    chains: Tensor | None


@dataclass(frozen=True, slots=True, eq=False)
class EnergyFitted:
    """M trained energy models.

    Attributes:
        detector: the one to use: the running mean where one was kept, else the last; in eval mode.
        passes: forward and backward passes spent on each member.
        diverged: the members that diverged, and in which iteration; their weights are 0.
    """

    detector: Together
    passes: int
    diverged: Mapping[int, int]


def train_energy(
    detector: Together,
    target: Source,
    *,
    seeds: Sequence[int],
    iterations: int,
    batch_size: int,
    chain: Chain,
    persistent: bool | Replay = False,
    data_noise: float = 0.0,
    regularisation: float = 0.1,
    rate: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    ema: float | None = 0.999,
    anneal: float = 0.0,
    every: int = 1,
    callback: Callable[[EnergyStep], None] | None = None,
) -> EnergyFitted:
    r"""Train M energy models in place by contrastive divergence; the energy is minus the logit.

    In each iteration a member draws B target points :math:`x_i`, runs a Langevin chain to a point :math:`x'_i` from
    each, and takes a step of Adam down

    .. math:: L = -\mathbb{E} f(x) + \mathbb{E} f(x') + \lambda\,(\mathbb{E} f(x)^2 + \mathbb{E} f(x')^2)

    Loss and sampler are torchebm's `ContrastiveDivergence` and `LangevinDynamics`, unmodified. The sampler's integrator
    is handed its noise, drawn from (seed, iteration), so that a member becomes what it would have become alone, but for
    rounding, and the global random state is not touched. torchebm puts a constant in the place of a loss that is not
    finite, which would be everyone's: a member that is not finite is set to 0, and the iteration made anew.

    A pass is one forward and backward of the network on one point. An iteration costs a member (K + 2) B.

    Args:
        detector: `(N, *) -> (N,)`.
        target: in-distribution data.
        seeds: M of them, of batches and chains.
        iterations: at least 1.
        batch_size: B, at least 1.
        chain: the chains' numbers.
        persistent: let a chain begin where it ended in the iteration before, and not at target data; at first it
            begins at standard normal numbers in the chain's coordinates. Or where any ended, by a buffer.
        data_noise: deviation of the normal noise that target data gets, in the chain's coordinates, at least 0.
        regularisation: weight :math:`\lambda \ge 0` of the squared energies.
        rate, betas: of Adam.
        ema: decay of the running mean of the weights, warmed up as in `genat.fit`; None keeps none.
        anneal: share of the iterations, at the end, over which the rate falls by half a cosine to a hundredth.
        every: iterations between calls of the callback.
        callback: called with an `EnergyStep`.

    Returns:
        The trained networks. A member that is not finite any more is set to 0 and told of; the others go on.

    Raises:
        ValueError: where an argument is out of its range, the network does not fit the data or the seeds, or torchebm
            is not installed.

    References:
        Training Products of Experts by Minimizing Contrastive Divergence (Hinton, 2002)
        https://doi.org/10.1162/089976602760128018
        Implicit Generation and Modeling with Energy-Based Models (Du and Mordatch, 2019)
        https://arxiv.org/abs/1903.08689
        Your Classifier is Secretly an Energy Based Model and You Should Treat it Like One (Grathwohl et al., 2020)
        https://arxiv.org/abs/1912.03263, for the buffer and the noise on data
        TorchEBM https://github.com/soran-ghaderi/torchebm

    Example:
        >>> from genat import networks, sources
        >>> detector = Together([networks.build("mlp", (2,), {"hidden": (32,), "mean": 0.5, "std": 0.1}, seed=0)])
        >>> draws = torch.Generator().manual_seed(0)
        >>> target = sources.Samples(torch.tensor([0.3, 0.6]) + 0.05 * torch.rand(500, 2, generator=draws))
        >>> chain = Chain(10, step_size=0.05, noise_scale=(1.0, 0.5))
        >>> fitted = train_energy(
        ...     detector, target, seeds=[0], iterations=100, batch_size=32, chain=chain, rate=0.01, ema=0.9
        ... )
        >>> with torch.no_grad():
        ...     inside, outside = fitted.detector(torch.tensor([[0.32, 0.62], [0.9, 0.1]]))
        >>> bool(inside > outside)
        True
    """
    check(detector, seeds=seeds, iterations=iterations, batch_size=batch_size, every=every)
    for name, value in (("regularisation", regularisation), ("data_noise", data_noise)):
        if not 0 <= value < math.inf:
            raise ValueError(f"expected {name} to be at least 0 and finite, got {value}")
    device = next(detector.parameters()).device
    check_outputs(detector, torch.zeros(len(seeds), *target.shape, device=device), (), "a detector")
    learner = Learner(detector, rate=rate, betas=betas, ema=ema)
    each, shape = (len(seeds), batch_size), (batch_size, *target.shape)
    kept = Buffer(persistent, shape, seeds=seeds, outward=chain.outward, device=device) if persistent else None
    divergence = _divergence(detector, chain, regularisation, rows=None if kept is None else math.prod(each))
    made, diverged = 0, dict[int, int]()
    while made < iterations and len(diverged) < len(seeds):
        points = draws(target, batch_size, seeds=seeds, iteration=made).to(device)
        if data_noise > 0:
            blur = normals(*shape, seeds=seeds, iteration=made, purpose="data noise").flatten(0, 1).to(device)
            points = points + chain.spread * data_noise * blur
        noise = normals(chain.steps, *shape, seeds=seeds, iteration=made, purpose="chains").to(device)
        starts = None if kept is None else kept.starts(made)
        loss, ends = divergence(points, noise.transpose(0, 1).flatten(1, 2), starts)
        with torch.no_grad():
            inside, outside = detector(points).view(each), detector(ends).view(each)
        finite = (inside.square() + outside.square()).isfinite().all(1)
        lost = sorted(set((~finite).nonzero().flatten().tolist()) - learner.resting)
        if lost:
            learner.rest(lost)
            diverged |= dict.fromkeys(lost, made + 1)
            continue
        factor = annealed(made, iterations=iterations, anneal=anneal)
        lost = learner.learn(len(seeds) * loss, finite=finite, factor=factor)
        made += 1
        diverged |= dict.fromkeys(lost, made)
        if kept is not None:
            kept.put_back(ends)
        if callback is not None and made % every == 0:
            areas = [auroc_tensor(*pair) for pair in zip(inside, outside, strict=True)]
            chains = None if kept is None else kept.chains
            callback(EnergyStep(made, learner.best, inside.mean(1), outside.mean(1), torch.stack(areas), chains))
    detector.eval()
    return EnergyFitted(learner.best, (chain.steps + 2) * batch_size * made, diverged)


def langevin(detector: Together, starts: Tensor, *, seeds: Sequence[int], chain: Chain) -> Tensor:
    """Return where torchebm's Langevin chains lead; sample i depends on its start, the member's seed and i alone.

    Args:
        detector: `(N, *) -> (N,)`, of M members.
        starts: `(M, n, *)`.
        seeds: of the chains' noise, one a member.
        chain: the chains' numbers. A sample costs as many passes as it has steps.

    Returns:
        `(M, n, *)`.

    Raises:
        ValueError: where starts or seeds are not one lot a member, or torchebm is not installed.

    Example:
        >>> from genat import networks
        >>> detector = Together([networks.build("mlp", (1,), {"hidden": (), "std": 0.1}, seed=0)])
        >>> ends = langevin(detector, torch.full((1, 3, 1), 0.5), seeds=[0], chain=Chain(100, 0.1, 0.01))
        >>> with torch.no_grad():
        ...     bool((detector(ends[0]) > detector(torch.full((3, 1), 0.5))).all())
        True
    """
    check(detector, seeds=seeds)
    if starts.ndim < 3 or len(starts) != len(seeds) or starts.shape[1] == 0:
        raise ValueError(f"expected starts of shape ({len(seeds)}, n, *) with n >= 1, got {tuple(starts.shape)}")
    rows = [
        normals(chain.steps, *starts.shape[2:], seeds=seeds, iteration=i, purpose="langevin")
        for i in range(starts.shape[1])
    ]
    sampler = _sampler(detector, chain)
    sampler.integrator.noise = iter(torch.stack(rows, dim=2).transpose(0, 1).flatten(1, 2).to(starts.device))
    with frozen(detector):
        ends = sampler.sample(x=chain.inward(starts).flatten(0, 1), n_steps=chain.steps)
    points: Tensor = chain.outward(ends).view(starts.shape)
    return points


def _divergence(
    detector: Together, chain: Chain, regularisation: float, *, rows: int | None
) -> Callable[[Tensor, Tensor, Tensor | None], tuple[Tensor, Tensor]]:
    """Return torchebm's loss and the chains' ends, a function of the points, the noise and what persistent chains saw.

    Args:
        rows: how many chains persist; None for those that begin at the points.
    """
    sampler = _sampler(detector, chain)
    device = next(detector.parameters()).device
    generator = torch.Generator(device)
    contrastive = _torchebm().losses.ContrastiveDivergence(
        sampler.model,
        sampler,
        k_steps=chain.steps,
        persistent=rows is not None,
        buffer_size=rows or 0,
        init_steps=0,
        new_sample_ratio=0.0,
        energy_reg_weight=regularisation,
        device=device,
    )

    def run(points: Tensor, noise: Tensor, starts: Tensor | None) -> tuple[Tensor, Tensor]:
        if starts is not None:
            contrastive.initialize_buffer(starts.shape[1:], generator=generator)
            contrastive.replay_buffer.copy_(chain.inward(starts))  # of as many rows as there are chains: each its own
        sampler.integrator.noise = iter(noise)
        loss, ends = contrastive(chain.inward(points), generator=generator)
        return loss, chain.outward(ends)

    return run


def _sampler(detector: Together, chain: Chain) -> Any:  # noqa: ANN401 - a class of torchebm
    """Return torchebm's sampler of the energy; each step takes its noise from the iterator `integrator.noise`."""
    torchebm = _torchebm()
    base, euler = torchebm.core.BaseModel, torchebm.integrators.EulerMaruyamaIntegrator

    class Energy(base):  # type: ignore[valid-type,misc]
        def __init__(self) -> None:
            super().__init__()
            self.detector = detector

        def forward(self, points: Tensor) -> Tensor:
            energy: Tensor = -self.detector(chain.outward(points))
            return energy

    class Driven(euler):  # type: ignore[valid-type,misc]
        noise: Iterator[Tensor]

        def step(self, *state: object, **options: object) -> object:
            return super().step(*state, noise=next(self.noise), **options)

    def scheduled(value: float | tuple[float, float]) -> object:
        if not isinstance(value, tuple):
            return value
        first, last = value
        return torchebm.core.ExponentialDecayScheduler(first, (last / first) ** (1 / max(1, chain.steps - 1)))

    device = next(detector.parameters()).device
    return torchebm.samplers.LangevinDynamics(
        Energy(),
        step_size=scheduled(chain.step_size),
        noise_scale=scheduled(chain.noise_scale),
        integrator=Driven(device=device),
        device=device,
    )


def _torchebm() -> Any:  # noqa: ANN401 - a module
    try:
        return import_module("torchebm")
    except ImportError:
        raise ValueError("expected torchebm for energy models, got none: pip install 'genat[peers]'") from None
