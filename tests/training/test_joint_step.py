"""Training steps of a joint network against the formulas, and what it learns.

Yin et al.: Scalable Energy-Based Models via Adversarial Training (2025), https://arxiv.org/abs/2510.13872. Nothing
below the imports of `genat` is shared with the package: forward, attacks, loss and optimiser are tensor arithmetic.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from genat import checkpoints, networks, sources
from genat.balls import Ball, L2Ball, LinfBall
from genat.curriculum import Curriculum
from genat.generation import one_of, sample
from genat.networks import Joint, Together
from genat.recipe import Classification, adam, sgd
from genat.sources import Images, Noise
from genat.training import DivergenceError, Fitted, Step, fit, step_generator

BATCH, STEPS, SIZE, SEED = 6, 4, 0.15, 11
Weights = dict[str, Tensor]


class Labelled:
    """Images with labels, in single or double precision."""

    shape: tuple[int, ...] = (1, 4, 4)

    def __init__(self, dtype: torch.dtype, *, classes: int = 3) -> None:
        noise = torch.randn(40, *self.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
        self.values = (0.7 + 0.4 * noise).clamp(0, 1).to(dtype)
        self.classes = tuple("abc"[:classes])
        self.labels = torch.arange(40) % classes

    def draw(self, n: int, *, generator: torch.Generator) -> Tensor:
        return self.draw_labelled(n, generator=generator)[0]

    def draw_labelled(self, n: int, *, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        rows = torch.randint(40, (n,), generator=generator)
        return self.values[rows], self.labels[rows]


class Dark:
    shape: tuple[int, ...] = (1, 4, 4)

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype

    def draw(self, n: int, *, generator: torch.Generator) -> Tensor:
        return (0.6 * torch.rand(n, *self.shape, generator=generator, dtype=torch.float64)).to(self.dtype)


def network(classes: int = 3, dtype: torch.dtype = torch.float32) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        net = nn.Sequential(nn.Flatten(), nn.Linear(16, 12), nn.Softplus(), nn.Linear(12, classes))
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.mul_(3)
    return net.to(dtype)


def train(detector: nn.Module | None = None, **options: Any) -> Fitted:  # noqa: ANN401
    known: dict[str, Any] = {
        "target": Labelled(torch.float32),
        "outside": Dark(torch.float32),
        "iterations": 4,
        "steps": 3,
        "step_size": SIZE,
        "batch_size": BATCH,
        "seed": SEED,
        "classify": Classification(steps=2),
    }
    return fit(Joint(network()) if detector is None else detector, **known | options)


# the definitions


def logits(w: Weights, x: Tensor) -> Tensor:
    hidden = x.flatten(1) @ w["1.weight"].T + w["1.bias"]
    return (1 + hidden.exp()).log() @ w["3.weight"].T + w["3.bias"]


def energy(w: Weights, x: Tensor) -> Tensor:
    return logits(w, x).exp().sum(1).log()


def of_label(w: Weights, x: Tensor, y: Tensor) -> Tensor:
    return torch.stack([row[k] for row, k in zip(logits(w, x), y.tolist(), strict=True)])


def entropy(w: Weights, x: Tensor, y: Tensor) -> Tensor:
    return energy(w, x) - of_label(w, x, y)


def ascent(f: Callable[[Tensor], Tensor], start: Tensor, *, steps: int, size: float, ball: Ball) -> Tensor:
    x, radius = start, math.inf if ball.radius is None else ball.radius
    for _ in range(steps):
        x = x.detach().requires_grad_()
        (g,) = torch.autograd.grad(f(x).sum(), x)
        with torch.no_grad():
            if isinstance(ball, L2Ball):
                offset = x + size * g / g.square().sum((1, 2, 3), keepdim=True).sqrt() - start
                length = offset.square().sum((1, 2, 3), keepdim=True).sqrt()
                offset = torch.where(length > radius, offset * radius / length, offset)
            else:
                offset = (x + size * g.sign() - start).clamp(-radius, radius)
            x = (start + offset).clamp(0, 1)
    return x.detach()


def by_hand_step(
    w: Weights, i: int, target: Labelled, outside: Dark, how: Classification, *, r1: float
) -> tuple[Tensor, ...]:
    """Return loss, cross-entropy, accuracies before and after the attack, and the gate's AUROC."""
    positives, labels = target.draw_labelled(BATCH, generator=step_generator(SEED, i, "target"))
    begin = outside.draw(BATCH, generator=step_generator(SEED, i, "outside"))
    x, y = target.draw_labelled(BATCH, generator=step_generator(SEED, i, "examples"))
    fixed = {name: value.detach() for name, value in w.items()}
    if how.toward == "class":
        negatives = ascent(lambda z: of_label(fixed, z, labels), begin, steps=STEPS, size=SIZE, ball=L2Ball())
    else:
        negatives = ascent(lambda z: energy(fixed, z), begin, steps=STEPS, size=SIZE, ball=L2Ball())
    moved = ascent(lambda z: entropy(fixed, z, y), x, steps=how.steps, size=how.step_size, ball=how.ball)
    positives = positives.requires_grad_()
    inside, beyond = energy(w, positives), energy(w, negatives)
    generative = -torch.cat([torch.sigmoid(inside).log(), (1 - torch.sigmoid(beyond)).log()]).mean()
    (g,) = torch.autograd.grad(inside.sum(), positives, create_graph=True)
    cross = entropy(w, moved, y).mean()
    total = generative + how.weight * cross + r1 * 0.5 * g.square().sum((1, 2, 3)).mean()
    right = [(logits(w, z).argmax(1) == y).double().mean() for z in (x, moved)]
    return total, cross, *right, (inside[:, None] > beyond).double().mean()


@pytest.mark.parametrize("r1", [0.0, 0.3])
@pytest.mark.parametrize("toward", ["class", "any"])
@pytest.mark.parametrize("ball", [L2Ball(0.5), LinfBall(0.1)], ids=repr)
def test_training_steps_are_the_authors(ball: Ball, toward: Literal["class", "any"], r1: float) -> None:
    target, outside = Labelled(torch.float64), Dark(torch.float64)
    how = Classification(ball=ball, steps=5, step_size=0.12, weight=0.7, toward=toward)
    net, seen = network(dtype=torch.float64), list[Step]()
    w = {name: value.clone() for name, value in net.state_dict().items()}
    velocity = {name: torch.zeros_like(value) for name, value in w.items()}
    figures = []
    for i in range(3):
        for value in w.values():
            value.requires_grad_()
        values = by_hand_step(w, i, target, outside, how, r1=r1)
        gradients = torch.autograd.grad(values[0], list(w.values()))
        for name, g in zip(list(w), gradients, strict=True):
            decayed = g + 0.001 * w[name].detach()
            velocity[name] = 0.9 * velocity[name] + decayed
            w[name] = w[name].detach() - 0.05 * (decayed + 0.9 * velocity[name])
        figures.append([value.item() for value in values])
    train(
        Joint(net),
        target=target,
        outside=outside,
        iterations=3,
        steps=STEPS,
        classify=how,
        r1=r1,
        optimizer=sgd(0.05, weight_decay=0.001),
        ema=None,
        fabric=Fabric(accelerator="cpu", devices=1, precision="64-true"),
        callback=seen.append,
    )
    got = [[s.loss, s.cross_entropy, s.clean_accuracy, s.adversarial_accuracy, s.auroc] for s in seen]
    assert torch.tensor(got).sub(torch.tensor(figures)).abs().max() < 1e-5
    assert len({row[3] for row in figures} | {row[2] for row in figures}) > 2  # the attack changes some answers
    for name, value in net.state_dict().items():
        torch.testing.assert_close(value, w[name].detach(), rtol=0, atol=1e-8, msg=name)


def test_a_batch_in_parts_is_learned_as_it_is_at_once() -> None:
    ways = []
    for at_once in (None, 4):
        steps: list[Step] = []
        net = network(3)
        train(
            Joint(net),
            target=Labelled(torch.float32),
            classify=Classification(steps=2),
            r1=0.1,
            batch_at_once=at_once,
            ema=None,
            callback=steps.append,
        )
        figures = [[s.loss, s.cross_entropy, s.clean_accuracy, s.adversarial_accuracy, s.auroc] for s in steps]
        ways.append((torch.tensor(figures), net.state_dict()))
    torch.testing.assert_close(ways[1], ways[0], rtol=1e-5, atol=1e-6)


# what it leaves alone


@pytest.mark.parametrize("toward", ["class", "any"])
@pytest.mark.parametrize(
    ("options", "tolerance"),
    # to the bit; R1's second derivatives are summed in another order
    [({"descent_steps": 1, "clip_norm": 1.0}, 0.0), ({"r1": 0.2}, 1e-6)],
    ids=["descent", "r1"],
)
def test_of_one_logit_and_without_weight_it_trains_as_the_detector_does(
    toward: Literal["class", "any"], options: dict[str, Any], tolerance: float
) -> None:
    one = Labelled(torch.float32, classes=1)
    joint, plain = Joint(network(1)), nn.Sequential(*network(1), nn.Flatten(0))
    seen: list[list[Step]] = [[], []]
    classify = Classification(weight=0.0, steps=2, toward=toward)
    first = train(joint, target=one, classify=classify, callback=seen[0].append, **options)
    second = train(plain, target=one, classify=None, callback=seen[1].append, **options)
    for ours, theirs in ((first.last, second.last), (first.detector, second.detector)):
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=tolerance)
    ours_seen, theirs_seen = ([[s.loss, s.auroc, s.path, s.gradient] for s in steps] for steps in seen)
    assert torch.tensor(ours_seen).sub(torch.tensor(theirs_seen)).abs().max() <= tolerance
    assert [s.cross_entropy for s in seen[0]] == [0.0] * 4
    assert [s.cross_entropy for s in seen[1]] == [None] * 4


def test_a_joint_network_can_be_trained_as_a_detector_alone() -> None:
    seen: list[Step] = []
    fitted = train(classify=None, target=Labelled(torch.float32).values, callback=seen.append)
    assert isinstance(fitted.detector, Joint)
    assert seen[-1].clean_accuracy is None


def test_without_steps_the_samples_stay_clean() -> None:
    seen: list[Step] = []
    train(classify=Classification(steps=0), callback=seen.append)
    assert [s.clean_accuracy for s in seen] == [s.adversarial_accuracy for s in seen]


def test_the_weight_tells() -> None:
    digests = {train(classify=Classification(steps=2, weight=weight)).digest for weight in (0.0, 1.0, 2.0)}
    assert len(digests) == 3


# a training like any other


class Stopped(Exception):  # noqa: N818 - nothing is wrong
    pass


def stop_at(n: int) -> Callable[[Step], None]:
    def callback(step: Step) -> None:
        if step.iteration == n:
            raise Stopped

    return callback


def with_state(folder: Path | None, **options: Any) -> Fitted:  # noqa: ANN401
    known: dict[str, Any] = {
        "iterations": 11,
        "steps": Curriculum(0, 3, stage_iterations=4, gate=0.6, window=2),
        "optimizer": adam(0.01, betas=(0.5, 0.9)),
        "ema": 0.8,
        "checkpoint_every": 4,
        "folder": folder,
    }
    return train(**known | options)


@pytest.mark.parametrize("n", [1, 4, 6, 10])
def test_a_stopped_training_ends_where_the_whole_one_does(n: int, tmp_path: Path) -> None:
    expected: list[Step] = []
    whole = with_state(None, callback=expected.append)
    with pytest.raises(Stopped):
        with_state(tmp_path, callback=stop_at(n))
    seen: list[Step] = []
    assert with_state(tmp_path, resume=True, callback=seen.append).digest == whole.digest
    for step, other in zip(reversed(seen), reversed(expected), strict=False):
        assert (step.loss, step.cross_entropy, step.clean_accuracy, step.adversarial_accuracy) == (
            other.loss, other.cross_entropy, other.clean_accuracy, other.adversarial_accuracy
        )  # fmt: skip


def test_seeds_repeat_and_differ() -> None:
    digests = [train(seed=seed).digest for seed in (0, 0, 1)]
    assert digests[0] == digests[1] != digests[2]


def test_the_mean_of_the_weights_classifies_too(tmp_path: Path) -> None:
    fitted = with_state(tmp_path)
    x = Labelled(torch.float32).values
    assert isinstance(fitted.detector, Joint)
    assert isinstance(fitted.last, Joint)
    assert fitted.detector.classify(x).shape == (40, 3)
    assert not torch.equal(fitted.detector.classify(x), fitted.last.classify(x))
    checkpoint = checkpoints.latest(tmp_path)
    assert checkpoint.state["classes"] == ["a", "b", "c"]
    assert set(checkpoint.part("ema")) == set(fitted.detector.state_dict())


def test_a_training_without_classes_keeps_none(tmp_path: Path) -> None:
    with_state(tmp_path, classify=None)
    assert "classes" not in checkpoints.latest(tmp_path).state


class Breaking(nn.Module):
    """A classifier whose logits grow until they are no numbers where labelled samples are attacked."""

    def __init__(self, calls: int) -> None:
        super().__init__()
        self.net, self.left = network(), calls

    def forward(self, x: Tensor) -> Tensor:
        self.left -= 1
        outputs: Tensor = self.net(x)
        return outputs if self.left >= 0 else outputs * torch.nan


def calls(iterations: int) -> int:
    """Return how often a training of so many steps looks at the network."""
    counting = Breaking(10**6)
    train(Joint(counting), iterations=iterations)
    return 10**6 - counting.left


def test_an_attack_that_is_not_finite_names_its_step() -> None:
    after_two = calls(2)
    # the last two looks of a step are the loss's, and the two before them the attack's
    with pytest.raises(DivergenceError, match=r"^step 2: expected finite points, got some that are not"):
        train(Joint(Breaking(after_two - 3)), iterations=3)
    with pytest.raises(DivergenceError, match=r"^step 2: expected finite values, got loss=nan, .*cross_entropy=nan"):
        train(Joint(Breaking(after_two - 1)), iterations=3)


# what it refuses


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"detector": nn.Sequential(*network(1), nn.Flatten(0))}, TypeError,
         "^expected a networks.Joint with classify, got Sequential$"),
        ({"detector": Together([Joint(network()), Joint(network())]), "seed": (0, 1)}, TypeError,
         "^expected a networks.Joint with classify, got Together$"),
        ({"target": Labelled(torch.float32).values}, TypeError,
         "^expected a target that draws labels with classify, such as labelled Images, got Samples$"),
        ({"target": Images(torch.zeros(3, 1, 4, 4, dtype=torch.uint8), name="greys")}, ValueError,
         "^expected a target with labels with classify, got 'greys' without$"),
        ({"detector": Joint(network(5))}, ValueError, "^expected 3 logits, one a class of the target, got 5$"),
        ({"detector": Joint(nn.Sequential(*network(), nn.Flatten(0)))}, ValueError,
         r"^expected a classifier of outputs \(N, K\), got \(12,\)$"),
    ],
)  # fmt: skip
def test_what_cannot_learn_classes_is_refused_before_a_file_is_written(
    options: dict[str, Any], kind: type[Exception], message: str, tmp_path: Path
) -> None:
    with pytest.raises(kind, match=message):
        train(folder=tmp_path / "new", **options)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ball": L2Ball()}, "^expected a ball with a radius to attack a classification in, got radius=None$"),
        ({"steps": -1}, "^expected steps to be at least 0 and finite, got -1$"),
        ({"weight": -0.5}, "^expected weight to be at least 0 and finite, got -0.5$"),
        ({"weight": math.inf}, "^expected weight to be at least 0 and finite, got inf$"),
        ({"step_size": 0.0}, "^expected step_size to be positive and finite, got 0.0$"),
        ({"toward": "all"}, "^expected toward to be 'class' or 'any', got 'all'$"),
    ],
)
def test_settings_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Classification(**options)


# what it learns


def test_digits_are_told_apart_and_made_by_class() -> None:
    from sklearn.neighbors import KNeighborsClassifier

    rest, held_out = sources.digits().split(0.3, seed=0)
    joint = networks.build_joint("mlp", (1, 8, 8), {"hidden": [128, 128]}, classes=10, seed=0)
    seen: list[Step] = []
    fitted = fit(
        joint,
        rest,
        Noise((1, 8, 8)),
        iterations=120,
        steps=Curriculum(0, 8),
        step_size=0.25,
        classify=Classification(steps=3, step_size=0.25),
        optimizer=adam(2e-3),
        ema=0.98,
        callback=seen.append,
    )
    assert isinstance(fitted.detector, Joint)
    assert held_out.labels is not None
    assert rest.labels is not None
    with torch.no_grad():
        right = fitted.detector.classify(held_out.tensor()).argmax(dim=1) == held_out.labels
    assert right.double().mean() > 0.8
    clean, adversarial = (
        sum(getattr(step, name) for step in seen[-20:]) / 20 for name in ("clean_accuracy", "adversarial_accuracy")
    )
    assert clean > adversarial > 0.4
    judge = KNeighborsClassifier(n_neighbors=1).fit(rest.tensor().flatten(1).numpy(), rest.labels.numpy())
    hits = 0
    for k in range(10):
        made = sample(one_of(fitted.detector, k), Noise((1, 8, 8)), seeds=range(8), steps=12, step_size=0.3)
        hits += int((judge.predict(made.images.flatten(1).numpy()) == k).sum())
    assert hits > 0.5 * 80
