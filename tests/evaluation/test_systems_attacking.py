import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from genat.balls import Ball, L2Ball, LinfBall, distance
from genat.decisions import Confident, Generative, Integrated, System
from genat.evaluation.systems import AttackedSystem, attack_system
from genat.evaluation.systems.ascents import score_if_wrong
from genat.evaluation.systems.objectives import combined, combined_margin, leaving, softened
from genat.networks import Committee, Joint

BALLS: list[Ball] = [L2Ball(0.6), LinfBall(0.1)]
SHAPE = (1, 6, 6)
OWN = ("wrong", "targeted", "margin", "cross-entropy")
PACKAGE = ("apgd-ce", "apgd-t", "fab")


class Scaled(nn.Module):
    """Logits times a factor, or rounded to multiples of a step."""

    def __init__(self, net: nn.Module, *, factor: float = 1.0, step: float = 0.0) -> None:
        super().__init__()
        self.net, self.factor, self.step = net, factor, step
        self.samples = 0

    def forward(self, x: Tensor) -> Tensor:
        self.samples += len(x)
        logits: Tensor = self.net(x)
        if self.step:
            logits = (logits / self.step).round() * self.step
        return logits * self.factor


def mlp(seed: int, classes: int = 4) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        net = nn.Sequential(nn.Flatten(), nn.Linear(36, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU())
        net.append(nn.Linear(32, classes))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(2.5)
    return net


def committee(net: nn.Module, classes: int = 4) -> Committee:
    return Committee(Joint(net), classes=[str(kind) for kind in range(classes)])


def pixels(classes: int = 4) -> Generative:
    """The first pixels are the logits."""
    return Generative(committee(nn.Flatten(), classes))


def systems() -> list[System]:
    return [
        Generative(committee(mlp(0))),
        Confident(mlp(1)),
        Integrated(mlp(1), committee(mlp(0))),
    ]


@pytest.fixture
def images(generator: torch.Generator) -> Tensor:
    return torch.rand(8, *SHAPE, generator=generator)


def own_labels(system: System, images: Tensor) -> Tensor:
    """Labels of which all but the last two are right."""
    labels = system.decide(images).labels.clone()
    labels[-2:] = (labels[-2:] + 1) % system.classes
    return labels


def run(system: System, images: Tensor, **options: Any) -> AttackedSystem:  # noqa: ANN401
    given: dict[str, Any] = {"ball": L2Ball(0.6), "steps": 10} | options
    labels = given.pop("labels", None)
    return attack_system(system, images, own_labels(system, images) if labels is None else labels, **given)


# closed forms


def test_on_pixels_the_wrong_logit_rises_by_the_radius() -> None:
    x = torch.tensor([[0.5, 0.45, 0.2, 0.1], [0.9, 0.1, 0.3, 0.0], [0.3, 0.2, 0.35, 0.95], [0.2, 0.6, 0.1, 0.4]])
    y = torch.tensor([0, 0, 0, 1])
    attacked = run(pixels(), x, labels=y, ball=LinfBall(0.12), steps=20)
    # the second has a lead of 0.6, which a radius on each side does not close
    expected = torch.tensor([0.57, -math.inf, 1.0, 0.52]).double()
    torch.testing.assert_close(attacked.wrong, expected, rtol=0, atol=1e-5)
    assert attacked.errors() == 0.75
    assert attacked.errors(0.57 - 1e-4) == 0.5
    assert attacked.errors(1.1) == 0
    assert attacked.names == (*OWN, *PACKAGE)


def test_in_l2_the_label_is_lowered_only_where_that_is_needed() -> None:
    x, y = torch.tensor([[0.5, 0.4, 0.1, 0.1], [0.5, 0.25, 0.1, 0.1], [0.5, 0.2, 0.1, 0.1]]), torch.tensor([0, 0, 0])
    attacked = run(pixels(), x, labels=y, ball=L2Ball(0.2), steps=40)
    assert attacked.wrong[0].item() == pytest.approx(0.6, abs=1e-3)
    # along the second pixel alone the lead stays; by 0.2 / sqrt(2) on each of both it goes
    assert 0.25 + 0.2 / math.sqrt(2) - 1e-3 <= attacked.wrong[1].item() < 0.45
    assert attacked.each["wrong"][1] == -math.inf
    assert attacked.each["margin"][1] > -math.inf
    assert attacked.wrong[2].item() == -math.inf  # 0.3 > 0.2 sqrt(2)


def test_what_is_wrong_already_counts_and_may_be_made_surer() -> None:
    x, y = torch.tensor([[0.5, 0.9, 0.1, 0.1]]), torch.tensor([0])
    attacked = run(pixels(), x, labels=y, ball=LinfBall(0.05), steps=4)
    assert attacked.wrong.item() == pytest.approx(0.95)
    assert all(scores.item() >= 0.9 - 1e-6 for scores in attacked.each.values())
    still = run(Generative(committee(Scaled(nn.Flatten(), factor=0.0))), x, labels=y + 1, steps=1)
    assert (still.wrong == 0).all()  # of equal logits the first is the label
    assert torch.equal(still.images, x)


# laws


@pytest.mark.parametrize("ball", BALLS, ids=["l2", "linf"])
@pytest.mark.parametrize("threshold", [None, 1.0])
@pytest.mark.parametrize("which", [0, 1, 2], ids=["generative", "confident", "integrated"])
def test_the_worst_is_the_best_of_each_inside_ball_and_box(
    images: Tensor, ball: Ball, threshold: float | None, which: int
) -> None:
    system = systems()[which]
    edge = torch.cat([images[:4], images[4:].round()])  # some with every pixel on the box's boundary
    labels = own_labels(system, edge)
    attacked = run(
        system,
        edge,
        ball=ball,
        threshold=threshold,
        restarts=2,
        steps=3,
        queries=5,
        batch_size=6,
        others={"far": 2 - 3 * edge},
    )
    names = (
        *OWN,
        *(() if threshold is None else ("accepted",)),
        *(("combined", "combined margin") if which == 2 else ()),
        *PACKAGE,
        "square",
        "far",
    )
    assert attacked.names == names
    torch.testing.assert_close(attacked.wrong, torch.stack(list(attacked.each.values())).amax(0), rtol=0, atol=0)
    torch.testing.assert_close(attacked.wrong, score_if_wrong(system, labels, attacked.images), rtol=1e-5, atol=1e-5)
    assert (attacked.wrong >= score_if_wrong(system, labels, edge) - 1e-5).all()
    assert (distance(attacked.images, edge, ball) <= (ball.radius or 0) + 1e-5).all()
    assert attacked.images.min() >= 0
    assert attacked.images.max() <= 1
    assert not attacked.images.requires_grad
    assert attacked.wrong.dtype == torch.float64
    assert (attacked.wrong > -math.inf).any()


@pytest.mark.parametrize("which", [0, 1, 2], ids=["generative", "confident", "integrated"])
@pytest.mark.parametrize("threshold", [-0.5, 0.3, 1.5])
def test_another_logit_is_the_largest_exactly_where_a_wrong_label_is_accepted(
    images: Tensor, generator: torch.Generator, which: int, threshold: float
) -> None:
    system = systems()[which]
    labels = torch.randint(4, (8,), generator=generator)
    scores = score_if_wrong(system, labels, images)
    with torch.no_grad():
        plain, merged, wide = (
            leaving(system, labels, threshold=level, lower=lower)(images)
            for level, lower in ((None, False), (threshold, False), (threshold, True))
        )
    assert torch.equal(plain.argmax(1) != labels, scores > -math.inf)
    assert torch.equal(merged.argmax(1) != labels, scores >= threshold)
    assert torch.equal(wide[:, :-1], merged)
    assert (wide[:, -1] <= wide.gather(1, labels[:, None])[:, 0]).all()


def test_rejection_is_no_success_and_acceptance_is_looked_for() -> None:
    """The way to rejection is the shorter one, and a bare K + 1-way attack would take it."""
    x, y = torch.tensor([[0.7, 0.45, 0.1, 0.1]]), torch.tensor([0])
    attacked = run(pixels(), x, labels=y, ball=LinfBall(0.2), threshold=0.6, steps=20)
    for name in PACKAGE[:2]:
        assert attacked.each[name].item() == pytest.approx(0.65, abs=1e-3), name
    assert attacked.errors(0.6) == 1


def test_a_rejecting_system_of_three_classes_is_enough_for_the_targeted_loss(images: Tensor) -> None:
    system = Generative(committee(mlp(0, 3), 3))
    assert "apgd-t" not in run(system, images, steps=2).names
    assert "apgd-t" in run(system, images, steps=2, threshold=0.0).names
    two = Generative(committee(mlp(0, 2), 2))
    assert run(two, images, steps=2, threshold=0.0).names == (*OWN, "accepted", "apgd-ce", "fab")


@pytest.mark.parametrize("which", [0, 1, 2], ids=["generative", "confident", "integrated"])
def test_logits_of_any_size_are_attacked_as_well(images: Tensor, which: int) -> None:
    """The square of an attack's success with logits 1e4 times as large, which float32's cross-entropy cannot see."""

    def build(factor: float) -> System:
        detectors, classifier = (Scaled(mlp(seed), factor=factor) for seed in (0, 1))
        together = committee(detectors)
        return [Generative(together), Confident(classifier), Integrated(classifier, together)][which]

    small, large = (run(build(factor), images[:6], queries=60, steps=15) for factor in (1.0, 1e4))
    for name in small.names:
        if name == "combined margin":  # 1 is not scaled with the logits there
            continue
        plain, scaled = small.each[name], large.each[name] / 1e4
        wrong = plain > -math.inf
        assert torch.equal(wrong, scaled > -math.inf), name
        if which != 1:  # the log odds of small logits are bent
            torch.testing.assert_close(plain[wrong], scaled[wrong], rtol=0.02, atol=0.02, msg=name)
        assert wrong.any(), name


def test_cross_entropy_in_plain_units_is_blind_where_ours_is_not(images: Tensor) -> None:
    system = Generative(committee(Scaled(mlp(0), factor=1e4)))
    labels = own_labels(system, images)[:6]
    here = images[:6].clone().requires_grad_()
    plain = nn.functional.cross_entropy(system.margins(here).float(), labels, reduction="sum")
    assert (torch.autograd.grad(plain, here)[0] == 0).flatten(1).all(1).any()
    soft = softened(system.margins, labels, images[:6], images[:6] + 0.01)
    ours = nn.functional.cross_entropy(soft(here).float(), labels, reduction="sum")
    assert (torch.autograd.grad(ours, here)[0] != 0).flatten(1).any(1).all()


def test_square_finds_what_useless_gradients_hide_and_the_worst_case_has_it(images: Tensor) -> None:
    system = Generative(committee(Scaled(mlp(0), step=0.05)))
    labels = system.decide(images).labels
    attacked = run(system, images, labels=labels, queries=200, ball=L2Ball(1.0))
    for name in OWN:
        assert (attacked.each[name] == -math.inf).all(), name
    assert (attacked.each["square"] > -math.inf).any()
    assert (attacked.wrong >= attacked.each["square"]).all()


def test_combined_ranks_its_second_stage_above_its_first() -> None:
    classifier, detectors = nn.Identity(), committee(Scaled(nn.Identity(), factor=-10.0), 3)
    system, labels = Integrated(classifier, detectors), torch.tensor([0, 0, 0])
    logits = torch.tensor([[3.0, 1.0, 2.0], [2.9, 1.0, 3.0], [0.0, 9.0, 8.0]])
    values = combined(system, labels)(logits)
    assert values[0].item() == -1
    torch.testing.assert_close(values[1:] - 2.0**30, torch.tensor([-10.0, -80.0]).double())
    # the highest of the other detectors is -10, -10, -80; times the highest of the classifier's logits
    margins = combined_margin(system, labels)(logits)
    torch.testing.assert_close(margins, torch.tensor([2.0 - 11 * 3, 3.0 - 11 * 3, 9.0 - 81 * 9]))


def test_a_transfer_is_brought_into_the_ball(images: Tensor) -> None:
    system = systems()[0]
    labels = system.decide(images).labels
    other = run(Generative(committee(mlp(5))), images, labels=labels, ball=L2Ball(3.0))
    attacked = run(system, images, labels=labels, steps=1, others={"transferred": other.images})
    expected = score_if_wrong(system, labels, L2Ball(0.6).project(other.images, images).clamp(0, 1))
    torch.testing.assert_close(attacked.each["transferred"], expected)


# contracts


def test_the_result_is_a_function_of_the_seed(images: Tensor) -> None:
    system = systems()[2]
    first, again, other = (run(system, images, restarts=2, queries=20, steps=4, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(first.images, again.images)
    assert all(torch.equal(first.each[name], again.each[name]) for name in first.names)
    assert not torch.equal(first.images, other.images)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_nothing_is_left_behind(images: Tensor, mode: Any, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: ANN401
    net = nn.Sequential(nn.BatchNorm2d(1), nn.Dropout(0.5), mlp(0)).train()
    system = Generative(committee(net))
    before = {name: value.clone() for name, value in system.state_dict().items()}
    given = images.clone().requires_grad_()
    with mode():
        attacked = run(system, given, labels=torch.zeros(8, dtype=torch.int64), steps=3, queries=5)
    assert all(module.training for module in net.modules())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in system.parameters())
    assert all(torch.equal(value, before[name]) for name, value in system.state_dict().items())
    assert given.grad is None
    assert torch.equal(given.detach(), images)
    assert not attacked.images.requires_grad
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("options", [{}, {"queries": 7, "restarts": 2, "threshold": 0.5, "others": True}])
def test_the_cost_is_what_the_system_saw(images: Tensor, options: dict[str, Any]) -> None:
    net, options = Scaled(mlp(0)), dict(options)
    if "others" in options:
        options["others"] = {"mirrored": images.flip(3)}
    system = Generative(committee(net))
    labels = own_labels(system, images)
    net.samples = 0
    attacked = run(system, images, labels=labels, steps=3, batch_size=4, **options)
    assert attacked.evaluations == math.ceil((net.samples - 1) / len(images))  # beside one look at one image


def test_double_precision_and_a_single_image_are_taken(images: Tensor) -> None:
    system = Generative(committee(mlp(0).double()))
    attacked = run(system, images[:1].double(), queries=5, threshold=0.0)
    assert attacked.images.dtype == torch.float64


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": torch.tensor([0, 4])}, "expected labels from 0 to 3, got 0 to 4"),
        ({"labels": torch.tensor([-1, 1])}, "expected labels from 0 to 3, got -1 to 1"),
        ({"labels": torch.tensor([0])}, r"expected a label an image, \(2,\) int64, got \(1,\) torch.int64"),
        ({"labels": torch.tensor([0.0, 1.0])}, r"expected a label an image, \(2,\) int64, got \(2,\) torch.float32"),
        ({"images": torch.full((2, 4), 1.5)}, r"expected images in \[0, 1\], got values from 1\.5 to 1\.5"),
        ({"images": torch.zeros(0, 4)}, r"expected images \(N, \*\), N >= 1, floating point, got \(0, 4\)"),
        ({"ball": L2Ball()}, "expected a ball with a positive radius, got radius=None"),
        ({"steps": 0}, "expected steps to be at least 1, got 0"),
        ({"restarts": 0}, "expected restarts to be at least 1, got 0"),
        ({"targets": 0}, "expected targets to be at least 1, got 0"),
        ({"queries": 1}, r"\(N, C, H, W\) of sides from 5 up with queries of Square, got \(2, 4\)"),
        ({"others": {"foreign": torch.zeros(2, 3)}}, r"expected foreign of shape \(2, 4\), got \(2, 3\)"),
        ({"seed": -1}, "expected seed to be at least 0, got -1"),
        ({"batch_size": 0}, "expected batch_size to be at least 1, got 0"),
        ({"system": Confident(Scaled(nn.Flatten(), factor=math.nan))}, "expected finite logits"),
    ],
)
def test_what_cannot_be_meant_is_refused(options: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {
        "system": pixels(),
        "images": torch.full((2, 4), 0.5),
        "labels": torch.tensor([0, 1]),
        "ball": L2Ball(0.1),
        "steps": 2,
    }
    with pytest.raises(ValueError, match=message) as raised:
        attack_system(**(arguments | options))
    assert "\n" not in str(raised.value)


def test_a_ball_of_another_kind_is_refused() -> None:
    other: Any = "l2"
    with pytest.raises(TypeError, match="expected ball to be an L2Ball or a LinfBall, got str"):
        attack_system(pixels(), torch.full((1, 4), 0.5), torch.tensor([0]), ball=other)
