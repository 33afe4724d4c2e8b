"""Generative adversarial networks: the minimax game, in which a generator stands where the ascent stands in GAT."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from genat.ascent import frozen
from genat.baselines.learner import Learner, check, check_outputs, draws, normals
from genat.networks import Normalize, Together, build
from genat.objectives import maximin, minimax, r1_terms
from genat.ranking import auroc_tensor
from genat.recipe import annealed
from genat.sources import Source

_CHUNK = 250  # points generated at once


@dataclass(frozen=True, slots=True, eq=False)
class GanStep:
    """What one iteration of a GAN did, member by member.

    Attributes:
        iteration: its number, from 1.
        generator, detector: the networks to use at this moment, running means where they are kept; they change as the
            training goes on.
        generator_loss: `(M,)`.
        detector_loss: `(M,)`, the penalty included.
        auroc: `(M,)` of the detector's logits, target against generated points.
    """

    iteration: int
    generator: Together
    detector: Together
    generator_loss: Tensor
    detector_loss: Tensor
    auroc: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class GanFitted:
    """M trained pairs of a generator and a detector.

    Attributes:
        generator, detector: the ones to use: running means where they were kept, else the last; in eval mode.
        passes: forward and backward passes spent on each member.
        diverged: the members that diverged, and in which iteration; their weights are 0.
    """

    generator: Together
    detector: Together
    passes: int
    diverged: Mapping[int, int]


def point_generator(
    latent: int,
    dim: int,
    *,
    hidden: Sequence[int] = (128,) * 4,
    center: float = 0.5,
    spread: float = 0.2,
    seed: int,
) -> nn.Module:
    r"""Build a generator of points, :math:`center + spread \cdot g(z)` with g a multilayer perceptron.

    Args:
        latent: coordinates of the noise z.
        dim: coordinates of a point.
        hidden: widths of the hidden layers.
        center, spread: where the data lies and how far it spreads, in every coordinate; spread > 0. A generator that
            must first find the data tells nothing of the game.
        seed: of the initial weights.

    Returns:
        A module `(N, latent) -> (N, dim)`.

    Raises:
        ValueError: where an argument is out of its range.

    Example:
        >>> points = point_generator(2, 2, seed=0)(torch.zeros(3, 2))
        >>> points.shape, (points - 0.5).abs().max() < 0.05
        (torch.Size([3, 2]), tensor(True))
    """
    if not 0 < spread < math.inf:
        raise ValueError(f"expected spread to be positive and finite, got {spread}")
    network = build("mlp", (latent,), {"hidden": tuple(hidden), "outputs": dim, "logit": None}, seed=seed)
    return nn.Sequential(network, Normalize(-center / spread, 1 / spread))


def passes_each(r1: float) -> int:
    """Return the passes that an iteration of `train_gan` costs a sample of its batch, both networks' counted.

    The detector learns from two samples, and one goes through generator and detector for the generator to learn; the
    penalty's second backward counts as one more.

    Args:
        r1: weight of the penalty.

    Example:
        >>> passes_each(0.0), passes_each(0.1)
        (4, 5)
    """
    return 5 if r1 > 0 else 4


def train_gan(
    generator: Together,
    detector: Together,
    target: Source,
    *,
    seeds: Sequence[int],
    iterations: int,
    batch_size: int,
    latent: int,
    saturating: bool = False,
    r1: float = 0.0,
    rates: tuple[float, float] = (1e-3, 1e-3),
    betas: tuple[float, float] = (0.5, 0.9),
    ema: float | None = 0.999,
    anneal: float = 0.0,
    half: bool = False,
    every: int = 1,
    callback: Callable[[GanStep], None] | None = None,
) -> GanFitted:
    r"""Train M generators against M detectors, in place, on the minimax game.

    In each iteration a member draws B target points :math:`x_i` and generates B points :math:`g(z_i)` from standard
    normal noise. Its detector takes a step down, and after that its generator, by Adam, down

    .. math::
        L_f = \mathrm{maximin}(f(x), f(g(z))) + \lambda\,\tfrac12\,\mathbb{E}\|\nabla_x f(x)\|_2^2,
        \qquad L_g = \mathrm{minimax}(f(g(z)))

    The detector's first term is the cross-entropy of `genat.fit`; what differs is who makes its outside points. There
    is no outside data and no box: generated points come from nothing but noise.

    Noise and batches of an iteration are drawn from (seed, iteration), so that a member becomes what it would have
    become alone, but for rounding.

    A pass is one forward and backward of one network on one point. An iteration costs a member 4 B: the generator on B
    points, the detector on 2 B for its own step and on B for the generator's. One lot of generated points serves both
    steps, so that no forward goes without its backward. The penalty's second backward counts as B more.

    Args:
        generator: `(N, latent) -> (N, *)` in target's shape.
        detector: `(N, *) -> (N,)`, of as many members.
        target: in-distribution data.
        seeds: M of them, of noise and batches.
        iterations: at least 1.
        batch_size: B, at least 1.
        latent: coordinates of the noise, at least 1.
        saturating: let the generator play the game's own payoff (see `genat.objectives.minimax`).
        r1: weight :math:`\lambda` of the gradient penalty on target data, at least 0; 0 leaves it out.
        rates: Adam's learning rates, the generator's and the detector's.
        betas: Adam's decay rates, of both.
        ema: decay of the running means of the weights, warmed up as in `genat.fit`; None keeps none.
        anneal: share of the iterations, at the end, over which the rates fall by half a cosine to a hundredth.
        half: compute in bfloat16 where that is safe, as in mixed precision.
        every: iterations between calls of the callback.
        callback: called with a `GanStep`.

    Returns:
        The trained networks. A member that is not finite any more is set to 0 and told of; the others go on.

    Raises:
        ValueError: where an argument is out of its range or the networks do not fit the data or the seeds.

    References:
        Generative Adversarial Nets (Goodfellow et al., 2014) https://arxiv.org/abs/1406.2661
        Which Training Methods for GANs do actually Converge? (Mescheder, Geiger, Nowozin, 2018)
        https://arxiv.org/abs/1801.04406

    Example:
        >>> from genat import networks, sources
        >>> draws = torch.Generator().manual_seed(0)
        >>> generator = Together([point_generator(2, 2, hidden=(32,), seed=0)])
        >>> detector = Together([networks.build("mlp", (2,), {"hidden": (32,), "mean": 0.5, "std": 0.1}, seed=1)])
        >>> target = sources.Samples(torch.tensor([0.3, 0.6]) + 0.05 * torch.rand(500, 2, generator=draws))
        >>> fitted = train_gan(generator, detector, target, seeds=[0], iterations=300, batch_size=64, latent=2)
        >>> generate(fitted.generator, 500, latent=2, seeds=[0]).mean((0, 1)).round(decimals=1)
        tensor([0.3000, 0.6000])
    """
    check(
        generator,
        detector,
        seeds=seeds,
        iterations=iterations,
        batch_size=batch_size,
        latent=latent,
        every=every,
    )
    if not 0 <= r1 < math.inf:
        raise ValueError(f"expected r1 to be at least 0 and finite, got {r1}")
    device = next(detector.parameters()).device
    points = check_outputs(generator, torch.zeros(len(seeds), latent, device=device), target.shape, "a generator")
    check_outputs(detector, points, (), "a detector")
    maker = Learner(generator, rate=rates[0], betas=betas, ema=ema)
    judge = Learner(detector, rate=rates[1], betas=betas, ema=ema)
    each = (len(seeds), batch_size)
    made, diverged = 0, dict[int, int]()

    def logits(points: Tensor) -> Tensor:
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=half):
            found: Tensor = detector(points)
        return found.to(points.dtype)

    while made < iterations and len(diverged) < len(seeds):
        factor = annealed(made, iterations=iterations, anneal=anneal)
        real = draws(target, batch_size, seeds=seeds, iteration=made).to(device).requires_grad_(r1 > 0)
        noise = normals(batch_size, latent, seeds=seeds, iteration=made, purpose="latent").to(device)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=half):
            fake = generator(noise.flatten(0, 1)).to(noise.dtype)
        inside, outside = logits(real), logits(fake.detach())
        losses = torch.vmap(maximin)(inside.view(each), outside.view(each))
        if r1 > 0:
            losses = losses + r1 * r1_terms(inside, real).view(each).mean(1)
        lost = judge.learn(losses.sum(), finite=losses.isfinite(), factor=factor)
        replies = torch.vmap(partial(minimax, saturating=saturating))(logits(fake).view(each))
        lost += maker.learn(replies.sum(), finite=replies.isfinite(), factor=factor)
        maker.rest(lost)
        judge.rest(lost)
        made += 1
        diverged |= dict.fromkeys(lost, made)
        if callback is not None and made % every == 0:
            areas = [auroc_tensor(*pair) for pair in zip(inside.view(each), outside.view(each), strict=True)]
            callback(GanStep(made, maker.best, judge.best, replies.detach(), losses.detach(), torch.stack(areas)))
    passes = passes_each(r1) * batch_size * made
    return GanFitted(maker.best.eval(), judge.best.eval(), passes, diverged)


def generate(generator: Together, n: int, *, latent: int, seeds: Sequence[int]) -> Tensor:
    """Return n points from each member of a generator; point i depends on the member's seed and i alone.

    Args:
        generator: `(N, latent) -> (N, *)`.
        n: at least 1.
        latent: coordinates of the noise.
        seeds: of the noise, one a member.

    Returns:
        `(M, n, *)`, on the generator's device.

    Raises:
        ValueError: where n is below 1 or the seeds are not one a member.

    Example:
        >>> generator = Together([point_generator(2, 1, seed=seed) for seed in (0, 1)])
        >>> generate(generator, 3, latent=2, seeds=[7, 8]).shape
        torch.Size([2, 3, 1])
    """
    check(generator, seeds=seeds, n=n)
    device = next(generator.parameters()).device
    rows = [normals(latent, seeds=seeds, iteration=i, purpose="generate") for i in range(n)]
    noise = torch.stack(rows, dim=1).to(device)
    with frozen(generator), torch.no_grad():
        parts = [generator(part.flatten(0, 1)) for part in torch.split(noise, _CHUNK, dim=1)]
    return torch.cat([part.view(len(seeds), -1, *part.shape[1:]) for part in parts], dim=1)
