import json
from dataclasses import fields
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from genat.adversaries import worst_case
from genat.balls import Ball, L2Ball, LinfBall
from genat.baselines import Classifier, energy_detector
from genat.evaluation import OodRow, as_dicts, ood_table
from genat.ranking import aupr, auroc, auroc_interval, fpr_at_tpr


def brightness(x: Tensor) -> Tensor:
    return x.flatten(1).mean(1)


@pytest.fixture
def inside(generator: torch.Generator) -> Tensor:
    return 0.5 + 0.3 * torch.rand(40, 1, 4, 4, generator=generator)


@pytest.fixture
def families(generator: torch.Generator) -> dict[str, Tensor]:
    dark = 0.4 * torch.rand(30, 1, 4, 4, generator=generator)
    near = 0.35 + 0.4 * torch.rand(25, 1, 4, 4, generator=generator)
    return {"dark": dark, "near": near}


def test_rows_are_families_times_budgets_in_order(inside: Tensor, families: dict[str, Tensor]) -> None:
    calls: list[tuple[int, int]] = []
    balls: list[Ball] = [L2Ball(0.4), LinfBall(0.05)]
    rows = ood_table(
        brightness,
        inside,
        families,
        balls=balls,
        seen={"near"},
        steps=4,
        callback=lambda done, total: calls.append((done, total)),
    ).rows
    assert [(row.family, row.norm, row.radius) for row in rows] == [
        (family, norm, radius) for family in families for norm, radius in ((None, None), ("l2", 0.4), ("linf", 0.05))
    ]
    assert [row.seen for row in rows] == [False] * 3 + [True] * 3
    assert [(row.n_inside, row.n_outside) for row in rows] == [(40, 30)] * 3 + [(40, 25)] * 3
    assert calls == [(done, 6) for done in range(1, 7)]


def test_figures_are_those_of_ranking_on_the_attacked_logits(inside: Tensor, families: dict[str, Tensor]) -> None:
    near = families["near"]
    table = ood_table(brightness, inside, {"near": near}, balls=[LinfBall(0.05)], steps=6, restarts=2, seed=5)
    clean, attacked = table.rows
    again = worst_case(brightness, near, ball=LinfBall(0.05), steps=6, restarts=2, seed=5)
    of_inside = brightness(inside).double()
    for row, of_outside in ((clean, brightness(near).double()), (attacked, again.logits)):
        interval = auroc_interval(of_inside, of_outside, generator=torch.Generator().manual_seed(5))
        assert (row.auroc, row.fpr95) == (auroc(of_inside, of_outside), fpr_at_tpr(of_inside, of_outside))
        assert (row.low, row.high) == interval
        assert (row.aupr_in, row.aupr_out) == (aupr(of_inside, of_outside), aupr(-of_outside, -of_inside))
        assert row.low <= row.auroc <= row.high
    assert list(table.logits) == ["target", "near", "near, Linf 0.05"]
    assert torch.equal(table.logits["near, Linf 0.05"], again.logits)
    assert (clean.evaluations, clean.attacks, clean.doubled) == (0, (), None)
    assert (attacked.evaluations, attacked.attacks) == (again.evaluations, again.names)
    assert attacked.each == {name: auroc(of_inside, values) for name, values in again.each.items()}


def test_an_attack_of_known_strength_moves_the_auroc_to_its_closed_form(
    inside: Tensor, families: dict[str, Tensor]
) -> None:
    """On the mean of the pixels an Linf attack of radius r adds r to every logit, and steps do not matter."""
    row = ood_table(brightness, inside, families, balls=[LinfBall(0.1)], steps=20).rows[-1]
    of_inside, of_outside = brightness(inside), brightness(families["near"])
    assert row.auroc == auroc(of_inside, of_outside + 0.1)
    assert row.doubled == row.auroc


def test_attacks_lower_the_auroc(inside: Tensor, families: dict[str, Tensor]) -> None:
    balls = [L2Ball(0.2), L2Ball(0.8)]
    rows = ood_table(brightness, inside, families, balls=balls, steps=10, check_convergence=False).rows
    for clean, weak, strong in (rows[:3], rows[3:]):
        assert clean.auroc >= weak.auroc >= strong.auroc
        assert clean.fpr95 <= weak.fpr95 <= strong.fpr95
    assert rows[3].auroc > rows[5].auroc
    assert all(row.doubled is None for row in rows)


def test_an_attack_that_has_not_converged_is_shown_by_twice_the_steps(
    inside: Tensor, generator: torch.Generator
) -> None:
    """On a curved ridge one step goes far wrong, and two go less wrong."""
    wave = torch.randn(16, generator=generator)

    def ridge(x: Tensor) -> Tensor:
        flat = x.flatten(1)
        return flat.mean(1) - 3 * torch.sin(6 * flat @ wave).square() + 0.2 * flat[:, 0]

    outside = torch.rand(60, 1, 4, 4, generator=generator)
    row = ood_table(ridge, inside, {"noise": outside}, balls=[L2Ball(1.0)], steps=1).rows[-1]
    assert row.doubled is not None
    assert row.doubled < row.auroc


def test_any_score_can_be_measured(inside: Tensor, families: dict[str, Tensor]) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        classifier = Classifier((1, 4, 4), classes=3)
    rows = ood_table(energy_detector(classifier), inside, families, balls=[LinfBall(0.1)], steps=3).rows
    assert len(rows) == 4
    assert rows[1].auroc <= rows[0].auroc
    assert all(module.training for module in classifier.modules())
    assert all(parameter.grad is None for parameter in classifier.parameters())


def test_unbounded_points_have_clean_rows(generator: torch.Generator) -> None:
    inside, outside = (
        center + torch.randn(30, 2, generator=generator) for center in (torch.tensor([9.0, 0.0]), torch.zeros(2))
    )
    (row,) = ood_table(lambda x: x[:, 0], inside, {"origin": outside}, balls=[]).rows
    assert row.auroc == 1.0


def test_one_seed_gives_one_table(inside: Tensor, families: dict[str, Tensor]) -> None:
    tables = [ood_table(nn.Flatten(0), *_flat(inside, families), balls=[L2Ball(0.1)], steps=2).rows for _ in range(2)]
    assert tables[0] == tables[1]
    alone = ood_table(nn.Flatten(0), *_flat(inside, {"near": families["near"]}), balls=[L2Ball(0.1)], steps=2).rows
    assert alone == tables[0][2:], "a row depends on its family and budget alone"


def _flat(inside: Tensor, families: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    return inside[:, 0, 0, :1], {name: images[:, 0, 0, :1] for name, images in families.items()}


def test_rows_survive_json(inside: Tensor, families: dict[str, Tensor]) -> None:
    rows = ood_table(brightness, inside, families, balls=[L2Ball(0.1)], steps=1).rows
    dicts = as_dicts(rows)
    read = json.loads(json.dumps(dicts, allow_nan=False))
    assert read == dicts
    assert list(read[0]) == [field.name for field in fields(OodRow)]
    assert tuple(OodRow(**row) for row in read) == rows


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"families": {}}, "expected at least one family of outside data, got none"),
        ({"seen": ["far"]}, r"expected seen to name families \(dark\), got far"),
        ({"balls": [L2Ball()]}, "expected a ball with a positive radius, got radius=None"),
        ({"families": {"dark": torch.zeros(0, 2)}}, r"expected dark of shape \(N, 2\), N >= 1, got \(0, 2\)"),
        ({"families": {"dark": torch.zeros(3, 1)}}, r"expected dark of shape \(N, 2\), N >= 1, got \(3, 1\)"),
        ({"families": {"dark": torch.full((3, 2), 2.0)}}, r"expected dark in \[0, 1\], got values from 2 to 2"),
        ({"inside": torch.zeros(0, 2)}, r"expected inside of shape \(N, 2\), N >= 1, got \(0, 2\)"),
        ({"steps": 0}, "expected steps to be at least 1, got 0"),
    ],
)
def test_what_cannot_be_meant_is_refused(options: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {
        "detector": brightness,
        "inside": torch.ones(4, 2),
        "families": {"dark": torch.zeros(3, 2)},
        "balls": [L2Ball(0.1)],
    }
    with pytest.raises(ValueError, match=message):
        ood_table(**(arguments | options))
