"""The one training loop: outside data climbs, the detector learns to tell where it arrived from the target."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from torch import Tensor, nn

from genat import checkpoints
from genat.ascent import UNIT_BOX, Box, Rule
from genat.balls import Ball, L2Ball
from genat.checkpoints import Checkpoint
from genat.curriculum import Curriculum
from genat.recipe import Classification, OptimizerFactory, Recipe, Replay, adam
from genat.sources import Source, as_source
from genat.training.devices import one_device
from genat.training.health import Health
from genat.training.records import Fitted, Incident, Step
from genat.training.trainer import GOOD, Trainer

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Data: TypeAlias = Source | Tensor


def fit(
    detector: nn.Module,
    target: Data | Sequence[Data],
    outside: Data | Sequence[Data],
    *,
    iterations: int,
    steps: Curriculum | int,
    step_size: float | tuple[float, float],
    shrink: float | tuple[float, float] = 1.0,
    ball: Ball = L2Ball(),
    box: Box | None = UNIT_BOX,
    rule: Rule = "steepest",
    random_start: bool = False,
    batch_size: int = 64,
    batch_at_once: int | None = None,
    descent_steps: int = 0,
    descent_ball: Ball = L2Ball(),
    r1: float = 0.0,
    classify: Classification | None = None,
    optimizer: OptimizerFactory = adam(),  # noqa: B008 - a pure maker
    ema: float | None = 0.999,
    clip_norm: float | None = None,
    anneal: float = 0.0,
    replay: Replay | None = None,
    seed: int | Sequence[int] = 0,
    fabric: "Fabric | None" = None,
    folder: Path | None = None,
    checkpoint_every: int = 500,
    checkpoint_keep: int | None = 2,
    resume: bool | Checkpoint = False,
    health: Health = Health(),  # noqa: B008 - frozen
    callback: Callable[[Step], None] | None = None,
    alarm: Callable[[Incident], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Fitted:
    r"""Train a detector on the maximin game, in place, and return it.

    Each step draws B target and B outside samples, climbs the outside ones, lets the target ones descend where
    asked, and takes one optimiser step on

    .. math:: L = \mathrm{BCE}(f(x), 1) + \mathrm{BCE}(f(x'), 0) + \lambda\,\tfrac12\,\mathbb{E}\|\nabla_x f(x)\|_2^2

    with the cross-entropies averaged over all 2B logits. With `L2Ball()` and a `Curriculum` this is unconstrained GAT
    (Yin, Li, Rohde, 2020); with a radius and a fixed number of steps it is the GAT of Yin, Kolouri, Rohde (2020).

    With `classify` a `networks.Joint` learns the target's classes too, as in dual adversarial training (Yin et al.,
    2025): f is the log-sum-exp of its K logits, and the loss gains

    .. math:: -\frac{w}{B} \sum_{i=1}^{B} \log p(y_i \mid x_i + \delta_i)

    over B more target samples, each moved within `classify.ball` to raise its own term. Loss, gate and watch read f,
    whatever outside data climbs.

    All randomness of step i is drawn from (seed, i): the same seed gives the same weights, also after a resume.
    BatchNorm keeps its running statistics throughout.

    A detector of M members (`networks.Together`) is M trainings side by side, a seed each: the batch, the loss and
    the optimiser's step of a member are its own, so that it becomes what it would have become alone. Each may have
    data of its own, as the detectors of a committee have (`genat.Committee`). They share the curriculum, whose gate
    sees the mean of their AUROCs. Each is watched on its own: one that diverges is set to zero and named, and the
    others go on; what stops the training stops all; going back, which would slow the others down, is for one member
    alone.

    Args:
        detector: `(N, *) -> (N,)`, trained in place.
        target: in-distribution data, a source or a tensor `(M, *)` of pixels in [0, 1] (or points, with box=None);
            or a list of such, one a member.
        outside: where ascents start from, likewise.
        iterations: optimiser steps, at least 1.
        steps: ascent steps: a curriculum, or one number for all of training.
        step_size: of ascent and descent, in the input's units; (low, high) draws one for each sample, uniform in
            its logarithm.
        shrink: the ascent's last step over its first, in (0, 1], as in `genat.ascend`; (low, high) as with step_size,
            so that some ascents travel to the end while others settle. Descent does not shrink.
        ball, box, rule, random_start: of the ascent, as in `genat.ascend`.
        batch_size: B, a member's, over all processes together.
        batch_at_once: how many samples of it, a member's and of each process, climb and are learned from at once, so
            that memory does not grow with B; the result differs by rounding alone. None is all of them.
        descent_steps: steps by which target data descends before it is learned; 0 leaves it clean.
        descent_ball: where descent may go.
        r1: weight :math:`\lambda` of the gradient penalty on (descended) target data; 0 leaves it out.
        classify: how a `networks.Joint` learns the classes of a labelled target, such as `sources.Images`; None leaves
            them out.
        optimizer: a maker such as `adam(5e-4)` or `sgd(0.1)`.
        ema: decay of the running mean of the weights, warmed up as min(ema, (1 + i) / (10 + i)); None keeps none.
        clip_norm: largest L2 norm of the parameters' gradient, a member's; None does not clip.
        anneal: share of the iterations, at the end, over which the learning rate falls by half a cosine to a
            hundredth; 0 keeps it.
        replay: ascents go on from one iteration to the next, a few steps at a time; `steps` is then the length of a
            whole one. Without a ball. None begins them all anew.
        seed: of the batches, the augmentation and the random starts; one a member.
        fabric: a launched Lightning Fabric for devices, precision and processes; None stays on the detector's device.
            What is drawn, and so what is learned but for rounding, does not depend on the number of processes, unless
            the detector has random layers such as dropout.
        folder: where checkpoints go; None writes nothing.
        checkpoint_every: steps between checkpoints; one more is written at the end.
        checkpoint_keep: how many of the newest checkpoints are left, at least 1; None is all.
        resume: go on from the newest readable checkpoint in `folder`, or from this one of them.
        health: what the training is watched for, and what is done about it.
        callback: called with a `Step` after each step, on the first process only. After a return to the last good
            state the iterations come again.
        alarm: called with an `Incident` at all that the watch sees, likewise.
        stop: asked before each step whether to save and stop instead; all processes stop where one is told to. No
            signal is caught here: whoever wants one to stop a training catches it and tells.

    Returns:
        The trained detector, its last weights and their digest.

    Raises:
        ValueError: for arguments out of range, data of another shape, a detector that mixes samples; with `classify`
            for a target without labels, or of another number of classes than the network has logits.
        TypeError: with `classify` for a detector that is no `networks.Joint`, or a target that draws no labels.
        DivergenceError: where the watch sees what `health` stops at, by default a value that is not finite; names the
            step. The weights before it are saved. With several members such a value stops where none is left.
        StoppedError: where `stop` said so; a resume goes on from just there.

    References:
        Learning Energy-Based Models With Adversarial Training (Yin, Li, Rohde, 2022) https://arxiv.org/abs/2012.06568
        Scalable Energy-Based Models via Adversarial Training: Unifying Discrimination and Generation
        (Yin et al., 2025) https://arxiv.org/abs/2510.13872

    Example:
        >>> from genat import networks, sources
        >>> detector = networks.build("mlp", (2,), {"hidden": (32, 32)}, seed=0)
        >>> target = 0.5 + 0.05 * torch.randn(500, 2, generator=torch.Generator().manual_seed(0))
        >>> fitted = fit(detector, target, sources.Box(2), iterations=200, steps=Curriculum(0, 5), step_size=0.05)
        >>> with torch.no_grad():
        ...     fitted.detector(torch.tensor([[0.5, 0.5], [0.1, 0.9]])).sign()
        tensor([ 1., -1.])
    """
    plan = steps if isinstance(steps, Curriculum) else Curriculum(steps, steps)
    recipe = Recipe(
        iterations=iterations,
        step_size=step_size,
        shrink=shrink,
        ball=ball,
        box=box,
        rule=rule,
        random_start=random_start,
        batch_size=batch_size,
        descent_steps=descent_steps,
        descent_ball=descent_ball,
        r1=r1,
        ema=ema,
        clip_norm=clip_norm,
        anneal=anneal,
        seed=seed if isinstance(seed, int) else tuple(seed),
        checkpoint_every=checkpoint_every,
        classify=classify,
        replay=replay,
        checkpoint_keep=checkpoint_keep,
        batch_at_once=batch_at_once,
    )
    _check_folder(folder, resume=bool(resume))
    trainer = Trainer(
        detector,
        _sources(target),
        _sources(outside),
        plan,
        recipe,
        health,
        optimizer,
        fabric or one_device(next(detector.parameters()).device),
        folder,
        callback,
        alarm,
        stop,
    )
    if resume and folder is not None:
        trainer.restore(resume if isinstance(resume, Checkpoint) else checkpoints.latest(folder))
    return trainer.run()


def _sources(data: Data | Sequence[Data]) -> tuple[Source, ...]:
    if isinstance(data, list | tuple):
        return tuple(as_source(one) for one in data)
    return (as_source(data),)  # type: ignore[arg-type]  # no sequence, or refused


def _check_folder(folder: Path | None, *, resume: bool) -> None:
    if resume and folder is None:
        raise ValueError("expected a folder to resume from, got folder=None")
    if resume or folder is None:
        return
    if checkpoints.any_in(folder) or checkpoints.any_in(folder / GOOD):
        raise ValueError(f"{folder}: expected a folder without checkpoints, got some: resume from them or name another")
