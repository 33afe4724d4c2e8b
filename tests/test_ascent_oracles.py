"""Ascent against projected gradient descent as foolbox 3.3.4 and torchattacks 3.5.1 have it: same iterates to 1e-4.

Both attack a classifier: two logits [0, f] with label 0 have the cross-entropy log(1 + exp(f)), which rises with f and
whose gradient is sigmoid(f) times f's. All three step, project onto the ball, then clip to the box. The definitions
differ in one place only, the division by the gradient's norm: foolbox floors the norm at 1e-12, torchattacks adds 1e-10
(after a mean over the batch, which divides the gradient by N), and ascent divides out the largest entry first and needs
no floor above the smallest float. `test_small_gradients_are_where_the_definitions_part` shows what that means: where
sigmoid(f) vanishes the others slow down and stop, and ascent, which climbs f itself, walks on.
"""

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from genat.ascent import climb
from genat.balls import Ball, L2Ball, LinfBall, distance

STEPS = (1, 2, 5, 20)
CASES = pytest.mark.parametrize(
    ("ball", "step_size"),
    [(L2Ball(0.5), 0.15), (L2Ball(3.0), 0.3), (LinfBall(0.1), 0.03), (LinfBall(0.4), 0.1)],
    ids=["l2", "l2-box-active", "linf", "linf-box-active"],
)


class TwoLogits(nn.Module):
    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, x: Tensor) -> Tensor:
        logits = self.detector(x)
        return torch.stack([torch.zeros_like(logits), logits], dim=1)


def starts() -> Tensor:
    return torch.rand(12, 3, 2, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def foolbox_ends(detector: nn.Module, ball: Ball, *, steps: int, step_size: float) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a name foolbox imports from scipy
        fb = pytest.importorskip("foolbox")
    norm = "Linf" if isinstance(ball, LinfBall) else "L2"
    attack = getattr(fb.attacks, f"{norm}ProjectedGradientDescentAttack")
    labels = torch.zeros(len(starts()), dtype=torch.int64)
    ends = attack(abs_stepsize=step_size, steps=steps, random_start=False).run(
        fb.PyTorchModel(TwoLogits(detector).eval(), bounds=(0, 1), device="cpu"),
        starts(),
        fb.criteria.Misclassification(labels),
        epsilon=ball.radius,
    )
    return torch.as_tensor(ends).detach()


def torchattacks_ends(detector: nn.Module, ball: Ball, *, steps: int, step_size: float) -> Tensor:
    torchattacks = pytest.importorskip("torchattacks")
    attack = torchattacks.PGD if isinstance(ball, LinfBall) else torchattacks.PGDL2
    labels = torch.zeros(len(starts()), dtype=torch.int64)
    model = TwoLogits(detector).eval()
    ends = attack(model, eps=ball.radius, alpha=step_size, steps=steps, random_start=False)(starts(), labels)
    return torch.as_tensor(ends).detach()


oracles = pytest.mark.parametrize("oracle", [foolbox_ends, torchattacks_ends])


@oracles
@CASES
def test_iterates_are_the_oracles(
    oracle: Callable[..., Tensor], ball: Ball, step_size: float, smooth_net: nn.Module
) -> None:
    trajectory = climb(
        smooth_net, starts(), ball=ball, steps=max(STEPS), step_size=step_size, trajectory=True
    ).trajectory
    assert trajectory is not None
    for steps in STEPS:
        ends = oracle(smooth_net, ball, steps=steps, step_size=step_size)
        torch.testing.assert_close(trajectory[steps], ends, rtol=0, atol=1e-4)
    moved = distance(trajectory[-1], starts(), ball)
    assert (moved > 0.5 * step_size).all()


@oracles
def test_box_is_active_where_a_case_says_so(oracle: Callable[..., Tensor], smooth_net: nn.Module) -> None:
    ends = oracle(smooth_net, L2Ball(3.0), steps=20, step_size=0.3)
    assert ((ends == 0) | (ends == 1)).any()


@oracles
def test_small_gradients_are_where_the_definitions_part(oracle: Callable[..., Tensor], smooth_net: nn.Module) -> None:
    """At a logit of -40 the cross-entropy's gradient is exp(-40) = 4e-18 times f's, below both floors.

    One step of 0.3 is then shorter than 1e-4 in foolbox and torchattacks; ascent takes all of it.
    """
    with torch.no_grad():
        smooth_net[3].bias -= 40 + smooth_net(starts()).mean()  # type: ignore[index]
    blind = oracle(smooth_net, L2Ball(0.5), steps=1, step_size=0.3)
    assert distance(blind, starts(), L2Ball()).max() < 1e-4
    path = climb(smooth_net, starts(), ball=L2Ball(0.5), steps=1, step_size=0.3, box=None).path
    torch.testing.assert_close(path, torch.full((12,), 0.3, dtype=torch.float64), rtol=0, atol=1e-9)
