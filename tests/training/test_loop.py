"""The training loop against an implementation of its formulas, and against everything that can be put into it."""

from collections.abc import Callable, Iterable
from dataclasses import astuple
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from genat import checkpoints, networks, sources
from genat.balls import Ball, L2Ball, LinfBall
from genat.curriculum import Curriculum
from genat.networks import Together
from genat.recipe import OptimizerFactory, Recipe, Replay, adam, sgd
from genat.sources import Box, Samples
from genat.training import DivergenceError, Fitted, Step, fit, step_generator

BATCH, STEP_SIZE = 8, 0.1
close = partial(torch.testing.assert_close, rtol=1e-5, atol=1e-5)


def seeded(make: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def smooth() -> nn.Module:
    """A detector of points whose logits and gradients are of size 1."""
    net = seeded(lambda: nn.Sequential(nn.Linear(2, 12), nn.Tanh(), nn.Linear(12, 1), nn.Flatten(0)))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(3)
    return net


def points(seed: int = 7) -> Samples:
    noise = torch.randn(200, 2, generator=torch.Generator().manual_seed(seed))
    return Samples((0.5 + 0.05 * noise).clamp(0, 1))


def short(detector: nn.Module | None = None, **options: Any) -> Fitted:  # noqa: ANN401
    """Train for a few steps; `options` override what `fit` is called with."""
    known: dict[str, Any] = {"target": points(), "outside": Box(2), "iterations": 3, "steps": 2}
    known |= {"step_size": STEP_SIZE, "batch_size": BATCH} | options
    return fit(smooth() if detector is None else detector, **known)


# the formulas, by hand


def by_hand_climb(detector: nn.Module, start: Tensor, steps: int, ball: Ball, sign: float) -> Tensor:
    x = start.clone()
    for _ in range(steps):
        x = x.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(detector(x).sum(), x)
        with torch.no_grad():
            if isinstance(ball, L2Ball):
                x = x + sign * STEP_SIZE * gradient / gradient.norm(dim=1, keepdim=True)
                offset = x - start
                if ball.radius is not None:
                    length = offset.norm(dim=1, keepdim=True)
                    x = start + offset * (ball.radius / length).clamp(max=1)
            else:
                x = x + sign * STEP_SIZE * gradient.sign()
                if ball.radius is not None:
                    x = torch.minimum(torch.maximum(x, start - ball.radius), start + ball.radius)
            x = x.clamp(0, 1)
    return x.detach()


def by_hand_loss(
    detector: nn.Module, i: int, *, steps: int, ball: Ball, descent_steps: int, descent_ball: Ball, r1: float
) -> Tensor:
    inside = points().draw(BATCH, generator=step_generator(5, i, "target"))
    outside = Box(2).draw(BATCH, generator=step_generator(5, i, "outside"))
    outside = by_hand_climb(detector, outside, steps, ball, 1.0)
    inside = by_hand_climb(detector, inside, descent_steps, descent_ball, -1.0).requires_grad_()
    logits = torch.cat([detector(inside), detector(outside)])
    truth = torch.cat([torch.ones(BATCH), torch.zeros(BATCH)])
    loss = F.binary_cross_entropy_with_logits(logits, truth)
    (gradient,) = torch.autograd.grad(logits[:BATCH].sum(), inside, create_graph=True)
    return loss + r1 * 0.5 * gradient.square().sum(1).mean()


def by_hand_adam(detector: nn.Module, losses: Callable[[int], Tensor], iterations: int, rate: float) -> list[float]:
    parameters = list(detector.parameters())
    second = [torch.zeros_like(parameter) for parameter in parameters]
    values = []
    for i in range(iterations):
        loss = losses(i)
        values.append(loss.item())
        with torch.no_grad():
            for parameter, v, g in zip(parameters, second, torch.autograd.grad(loss, parameters), strict=True):
                v.mul_(0.99).add_(0.01 * g * g)
                parameter.sub_(rate * g / ((v / (1 - 0.99 ** (i + 1))).sqrt() + 1e-8))  # the first moment is g
    return values


@pytest.mark.parametrize("r1", [0.0, 0.5])
@pytest.mark.parametrize("descent_steps", [0, 2])
@pytest.mark.parametrize("ball", [L2Ball(), L2Ball(0.15), LinfBall(), LinfBall(0.15)], ids=repr)
def test_three_steps_of_adam_are_the_papers(ball: Ball, descent_steps: int, r1: float) -> None:
    options: dict[str, Any] = {
        "steps": 3,
        "ball": ball,
        "descent_steps": descent_steps,
        "descent_ball": L2Ball(0.12),
        "r1": r1,
    }
    expected, losses = smooth(), []
    values = by_hand_adam(expected, lambda i: by_hand_loss(expected, i, **options), 3, 0.01)
    fitted = short(**options, optimizer=adam(0.01), seed=5, ema=None, callback=lambda step: losses.append(step.loss))
    close(losses, values)
    for got, wanted in zip(fitted.last.parameters(), expected.parameters(), strict=True):
        close(got, wanted.detach())


def by_hand_gradients(detector: nn.Module, i: int) -> tuple[Tensor, ...]:
    loss = by_hand_loss(detector, i, steps=2, ball=L2Ball(), descent_steps=0, descent_ball=L2Ball(), r1=0.0)
    return torch.autograd.grad(loss, list(detector.parameters()))


def test_sgd_is_nesterovs() -> None:
    rate, momentum, decay = 0.2, 0.8, 0.01
    expected = smooth()
    velocity = [torch.zeros_like(parameter) for parameter in expected.parameters()]
    for i in range(3):
        gradients = by_hand_gradients(expected, i)
        with torch.no_grad():
            for p, g, v in zip(expected.parameters(), gradients, velocity, strict=True):
                g = g + decay * p  # noqa: PLW2901
                v.mul_(momentum).add_(g)
                p.sub_(rate * (g + momentum * v))
    fitted = short(optimizer=sgd(rate, momentum=momentum, weight_decay=decay), seed=5, ema=None)
    for got, wanted in zip(fitted.last.parameters(), expected.parameters(), strict=True):
        close(got, wanted.detach())


@pytest.mark.parametrize("limit", [0.01, 1e6])
def test_the_gradients_norm_is_clipped_and_told_unclipped(limit: float) -> None:
    before = smooth()
    gradients = by_hand_gradients(before, 0)
    norm = torch.stack([g.norm() for g in gradients]).norm().item()
    told: list[float] = []
    fitted = short(
        iterations=1,
        optimizer=sgd(1.0, momentum=0.0),
        clip_norm=limit,
        seed=5,
        ema=None,
        callback=lambda step: told.append(step.gradient),
    )
    assert told == pytest.approx([norm], rel=1e-5)
    factor = min(1.0, limit / norm)
    for got, start, g in zip(fitted.last.parameters(), before.parameters(), gradients, strict=True):
        close(got, start.detach() - factor * g)


@pytest.mark.parametrize("ema", [0.15, 0.999])
def test_the_mean_of_the_weights_warms_up(ema: float) -> None:
    detector = smooth()
    mean = [parameter.detach().clone() for parameter in detector.parameters()]

    def follow(step: Step) -> None:
        decay = min(ema, (1 + step.iteration) / (10 + step.iteration))
        for kept, parameter in zip(mean, detector.parameters(), strict=True):
            kept.mul_(decay).add_((1 - decay) * parameter.detach())

    fitted = short(detector, iterations=6, optimizer=adam(0.05), ema=ema, callback=follow)
    assert fitted.last is detector
    for got, wanted in zip(fitted.detector.parameters(), mean, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-6, atol=1e-6)
        assert not got.requires_grad


def test_without_a_mean_the_last_weights_are_the_detector() -> None:
    fitted = short(ema=None)
    assert fitted.detector is fitted.last


# what a training does


def test_the_curriculum_advances_by_iterations() -> None:
    seen: list[int] = []
    short(iterations=7, steps=Curriculum(0, 2, gate=None), callback=lambda step: seen.append(step.steps))
    assert seen == [0, 0, 1, 1, 2, 2, 2]


def test_the_curriculum_advances_by_its_gate() -> None:
    seen: list[Step] = []
    far = Samples(torch.full((4, 2), 0.99))
    plan = Curriculum(0, 3, stage_iterations=1000, gate=0.9, window=3)
    short(outside=far, iterations=80, steps=plan, optimizer=adam(0.05), callback=seen.append)
    first = next(i for i, step in enumerate(seen) if step.steps == 1)
    assert sum(step.auroc for step in seen[first - 3 : first]) / 3 > 0.9
    assert all(sum(step.auroc for step in seen[i - 3 : i]) / 3 <= 0.9 for i in range(3, first))


def test_the_same_seed_gives_the_same_weights_and_another_gives_others() -> None:
    digests = [short(seed=seed).digest for seed in (0, 0, 1)]
    assert digests[0] == digests[1] != digests[2]


def test_a_tensor_is_a_source() -> None:
    assert short(target=points().values).digest == short().digest


def test_the_callback_gets_every_step() -> None:
    seen: list[Step] = []
    fitted = short(iterations=5, callback=seen.append)
    assert [step.iteration for step in seen] == [1, 2, 3, 4, 5] == list(range(1, fitted.iterations + 1))
    for step in seen:
        assert step.loss > 0
        assert step.gradient > 0
        assert 0 <= step.auroc <= 1
        assert 0 < step.path <= 1 + 1e-6
        assert step.seconds >= 0
        assert step.members == ()
        *values, members, entropy, clean, adversarial = astuple(step)
        assert all(isinstance(value, float | int) for value in values)
        assert (members, entropy, clean, adversarial) == ((), None, None, None)


def test_no_steps_are_a_plain_classifier_with_a_path_of_nothing() -> None:
    seen: list[Step] = []
    short(steps=0, callback=seen.append)
    assert [(step.steps, step.path) for step in seen] == [(0, 0.0)] * 3


def test_training_learns() -> None:
    seen: list[Step] = []
    options: dict[str, Any] = {"batch_size": 32, "steps": Curriculum(0, 2), "step_size": 0.05}
    fitted = short(iterations=150, optimizer=adam(0.01), callback=seen.append, **options)
    losses = [step.loss for step in seen]
    assert sum(losses[-10:]) < 0.95 * sum(losses[:10])
    with torch.no_grad():
        assert fitted.detector(torch.tensor([[0.5, 0.5], [0.05, 0.95]])).sign().tolist() == [1, -1]


def test_random_starts_are_drawn_and_repeat() -> None:
    options: dict[str, Any] = {"ball": LinfBall(0.2), "steps": 1}
    plain, first, second = (short(**options, random_start=start).digest for start in (False, True, True))
    assert plain != first == second


def test_points_need_no_box() -> None:
    values = 5 + torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    assert short(target=values, outside=Box(2, low=-3, high=3), box=None).iterations == 3


# other people's modules


class Convolutional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 1)
        self.seen: list[tuple[bool, bool]] = []

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            self.seen.append((self.training, self.norm.training))
        hidden = self.norm(self.conv(x)).relu().mean((2, 3))
        logits: Tensor = self.head(hidden).flatten()
        return logits


def test_batch_normalisation_keeps_its_statistics_and_trains_its_map() -> None:
    net = seeded(Convolutional)
    assert isinstance(net, Convolutional)
    net.norm.running_mean.fill_(0.1)  # type: ignore[union-attr]
    images = Samples(torch.rand(20, 1, 5, 5, generator=torch.Generator().manual_seed(0)))
    fitted = short(net, target=images, outside=sources.Noise((1, 5, 5)), r1=0.1)
    for module in (net, fitted.detector):
        assert isinstance(module, Convolutional)
        assert torch.equal(module.norm.running_mean, torch.full((4,), 0.1))  # type: ignore[arg-type]
        assert module.norm.num_batches_tracked == 0
        assert torch.equal(module.norm.running_var, torch.ones(4))  # type: ignore[arg-type]
        assert not module.training
        assert not module.norm.training
    assert not torch.equal(net.norm.weight.detach(), torch.ones(4))
    assert net.norm.weight.requires_grad
    # ascent in eval mode, the step in train mode but for the norm
    assert set(net.seen) == {
        (False, False),
        (True, False),
    }


def test_dropout_draws_from_the_seed_and_from_nothing_else() -> None:
    def net() -> nn.Module:
        return seeded(lambda: nn.Sequential(nn.Linear(2, 32), nn.Dropout(0.5), nn.Linear(32, 1), nn.Flatten(0)))

    digests = [short(net()).digest]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(123)
        digests.append(short(net()).digest)
    assert digests[0] == digests[1]


def test_frozen_parameters_stay() -> None:
    net = smooth()
    first = next(net.parameters()).requires_grad_(False)
    before = first.clone()
    short(net)
    assert torch.equal(first, before)
    assert not first.requires_grad


def test_a_source_that_hands_out_its_own_tensor_finds_it_as_it_was() -> None:
    class Same:
        shape: tuple[int, ...] = (2,)
        values = points().values[:BATCH]

        def draw(self, n: int, *, generator: torch.Generator) -> Tensor:  # noqa: ARG002
            return self.values[:n] if n < BATCH else self.values

    source = Same()
    before = source.values.clone()
    short(target=source, r1=0.1)
    assert torch.equal(source.values, before)
    assert not source.values.requires_grad


# refusals


def test_a_detector_that_mixes_samples_is_refused() -> None:
    norm = nn.BatchNorm1d(8, track_running_stats=False)
    net = seeded(lambda: nn.Sequential(nn.Linear(2, 8), norm, nn.Linear(8, 1), nn.Flatten(0)))
    with pytest.raises(ValueError, match="expected a logit that depends on its own sample alone"):
        short(net)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"iterations": 0}, "expected iterations to be at least 1, got 0"),
        ({"batch_size": 0}, "expected batch_size to be at least 1, got 0"),
        ({"batch_at_once": 0}, "expected batch_at_once to be at least 1, got 0"),
        ({"checkpoint_every": 0}, "expected checkpoint_every to be at least 1, got 0"),
        ({"descent_steps": -1}, "expected descent_steps to be at least 0 and finite, got -1"),
        ({"r1": -0.1}, "expected r1 to be at least 0 and finite, got -0.1"),
        ({"r1": float("nan")}, "expected r1 to be at least 0 and finite, got nan"),
        ({"r1": float("inf")}, "expected r1 to be at least 0 and finite, got inf"),
        ({"step_size": 0.0}, "expected step_size to be positive and finite, got 0.0"),
        ({"step_size": float("inf")}, "expected step_size to be positive and finite, got inf"),
        ({"step_size": float("nan")}, "expected step_size to be positive and finite, got nan"),
        ({"ema": 0.0}, r"expected ema to be None or in \(0, 1\), got 0.0"),
        ({"ema": 1.0}, r"expected ema to be None or in \(0, 1\), got 1.0"),
        ({"ema": float("nan")}, r"expected ema to be None or in \(0, 1\), got nan"),
        ({"clip_norm": 0.0}, "expected clip_norm to be None or positive, got 0.0"),
        ({"random_start": True}, "expected a ball with a radius for a random start, got radius=None"),
        ({"rule": "newton"}, "expected rule to be 'steepest', 'normalized', 'sign' or 'adam', got 'newton'"),
        ({"box": (1.0, 0.0)}, r"expected box to be \(low, high\) with low < high"),
        ({"outside": Box(2, high=3.0)}, r"expected starts inside the box \(0.0, 1.0\)"),
        ({"outside": Box(3)}, r"expected target and outside of one shape, got \(2,\) and \(3,\)"),
        ({"target": points().values.mul(255).long()}, "expected floating-point samples, got torch.int64"),
        ({"target": "digits"}, "expected a tensor or a source"),
        ({"steps": -1}, "expected first to be at least 0, got -1"),
        ({"resume": True}, "expected a folder to resume from, got folder=None"),
    ],
)
def test_arguments_out_of_range_are_refused_before_a_file_is_written(
    options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    folder: dict[str, Any] = {} if "resume" in options else {"folder": tmp_path / "new"}
    with pytest.raises((ValueError, TypeError), match=message) as caught:
        short(**folder, **options)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "options",
    [
        {"r1": 0.3, "descent_steps": 1, "ball": L2Ball(0.3), "random_start": True, "clip_norm": 0.5},
        {"step_size": (0.05, 0.2), "shrink": (0.3, 1.0), "rule": "adam", "replay": Replay(1, 10)},
        {"seed": [3, 4], "step_size": (0.05, 0.2), "replay": Replay(2, 10)},
    ],
    ids=["constrained", "replayed", "together"],
)
def test_a_batch_in_parts_is_learned_as_it_is_at_once(options: dict[str, Any]) -> None:
    rows: list[int] = []
    ways = []
    for at_once in (None, 3):
        steps: list[Step] = []
        net = Together([smooth(), smooth()]) if "seed" in options else smooth()
        handle = net.register_forward_pre_hook(lambda _, inputs: rows.append(len(inputs[0])))
        rows.clear()
        fitted = short(net, batch_at_once=at_once, callback=steps.append, ema=None, **options)
        handle.remove()
        figures = [[s.loss, s.auroc, s.path, s.inside, s.outside, s.gradient] for s in steps]
        ways.append((torch.tensor(figures), fitted.detector.state_dict()))
    members = 2 if "seed" in options else 1
    together = 3 if "r1" in options else 6  # with R1 target and outside data go apart
    assert max(rows) == max(together * members, 4)  # the probe before the first step is of four
    torch.testing.assert_close(ways[1], ways[0], rtol=1e-5, atol=1e-6)


def test_a_detector_of_another_shape_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected a network for inputs \(4, 2\)"):
        short(networks.build("mlp", (3,), {"hidden": [4]}, seed=0), folder=tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_the_batch_is_shared_evenly() -> None:
    with pytest.raises(ValueError, match="expected batch_size to be a multiple of 3 processes, got 8"):
        short(fabric=SimpleNamespace(world_size=3))


def test_a_recipe_in_range_is_accepted() -> None:
    Recipe(1, 0.1, 1.0, L2Ball(1.0), None, "adam", True, 1, 0, L2Ball(), 0.0, None, None, 0.0, -3, 1)


def test_a_folder_that_holds_checkpoints_is_refused_and_untouched(tmp_path: Path) -> None:
    short(folder=tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ValueError, match="expected a folder without checkpoints, got some"):
        short(folder=tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


# divergence


def finite(checkpoint: checkpoints.Checkpoint) -> bool:
    return all(bool(torch.isfinite(value).all()) for value in checkpoint.tensors.values())


@pytest.mark.parametrize("optimizer", [adam(1e30), sgd(1e38)], ids=["adam", "sgd"])
def test_a_training_that_blows_up_names_its_step_and_saves_what_was_before(
    optimizer: OptimizerFactory, tmp_path: Path
) -> None:
    relu = networks.build("mlp", (2,), {"hidden": [16]}, seed=0)
    with pytest.raises(
        DivergenceError, match=r"^step 2: expected finite .*; the weights before it are saved"
    ) as caught:
        short(relu, optimizer=optimizer, folder=tmp_path, iterations=5, checkpoint_every=100)
    assert "\n" not in str(caught.value)
    newest = checkpoints.latest(tmp_path)
    assert newest.iteration == 1
    assert finite(newest)
    assert len(list(tmp_path.glob("step-*.json"))) == 2


class NotANumberFrom:
    """Points that are none from the n-th draw of a batch on."""

    shape: tuple[int, ...] = (2,)

    def __init__(self, n: int) -> None:
        self.left = n

    def draw(self, n: int, *, generator: torch.Generator) -> Tensor:
        self.left -= 1
        return torch.full((n, 2), float("nan")) if self.left < 0 else points().draw(n, generator=generator)


def test_a_loss_that_is_no_number_is_named(tmp_path: Path) -> None:
    with pytest.raises(DivergenceError, match=r"^step 4: expected finite values, got loss=nan, .*inside=nan"):
        short(target=NotANumberFrom(3), folder=tmp_path, iterations=9, checkpoint_every=2)
    newest = checkpoints.latest(tmp_path)
    assert newest.iteration == 3
    assert finite(newest)
    resumed = short(folder=tmp_path, iterations=9, resume=True)
    assert resumed.digest == short(iterations=9).digest


class BlowsUp(torch.optim.SGD):
    """Makes weights that are not finite out of gradients that are."""

    def __init__(self, parameters: Iterable[nn.Parameter], at: int) -> None:
        super().__init__(parameters, lr=0.01)
        self.left = at

    def step(self, closure: Any = None) -> Any:  # noqa: ANN401
        self.left -= 1
        with torch.no_grad():
            for group in self.param_groups:
                for parameter in group["params"]:
                    parameter.mul_(float("inf") if self.left == 0 else 0.9)
        return closure


@pytest.mark.parametrize("every", [1, 2, 100])
def test_weights_that_are_not_finite_are_never_saved_nor_returned(every: int, tmp_path: Path) -> None:
    for iterations in (2, 5):
        folder = tmp_path / str(iterations)
        with pytest.raises(DivergenceError, match=r"^step [23]: expected finite"):
            short(optimizer=lambda p: BlowsUp(p, 2), iterations=iterations, folder=folder, checkpoint_every=every)
        newest = checkpoints.latest(folder)
        assert newest.iteration == (1 if every == 1 else 0)
        assert finite(newest)


@pytest.mark.parametrize("at_once", [None, 3])
def test_a_climb_that_is_not_finite_names_its_step(at_once: int | None) -> None:
    class Steep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(()))

        def forward(self, x: Tensor) -> Tensor:
            # the root's slope at 0.5 is infinite, and the target, hence the step, never sees it
            return self.weight * (x[:, 0] - 0.5).abs().sqrt()

    class Unlucky:
        shape: tuple[int, ...] = (2,)

        def draw(self, n: int, *, generator: torch.Generator) -> Tensor:
            values = 0.6 + 0.1 * torch.rand(n, 2, generator=generator)
            if n == BATCH:
                values[0, 0] = 0.5
            return values

    with pytest.raises(DivergenceError, match=r"^step 1: expected finite points"):
        short(Steep(), outside=Unlucky(), ball=LinfBall(), batch_at_once=at_once)


# the streams of chance


def test_every_purpose_step_and_seed_has_a_stream_of_its_own() -> None:
    keys = [(seed, i, purpose) for seed in (0, 1) for i in (0, 1, 11) for purpose in ("target", "outside", "start 0")]
    drawn = {tuple(torch.rand(3, generator=step_generator(*key)).tolist()) for key in keys}
    assert len(drawn) == len(keys)
