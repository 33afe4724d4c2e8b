"""Climbs that go on from one iteration to the next: where they are, how long they last, and that they are ascents."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from genat import checkpoints, networks
from genat.ascent import Rule, climb
from genat.balls import L2Ball
from genat.curriculum import Curriculum
from genat.networks import Together
from genat.recipe import Classification, Replay
from genat.sources import Box, Samples
from genat.training import Fitted, Step, fit
from genat.training.pool import Pool

POINTS = Samples((0.5 + 0.05 * torch.randn(200, 2, generator=torch.Generator().manual_seed(7))).clamp(0, 1))


def pool(rows: int = 6, burst: int = 2, *, batch: int = 4, seeds: tuple[int, ...] = (0,)) -> Pool:
    return Pool(Replay(burst, rows), batch_size=batch, shape=(1,), seeds=seeds, device=torch.device("cpu"))


def train(folder: Path | None = None, *, members: int = 1, **options: Any) -> Fitted:  # noqa: ANN401
    nets = [networks.build("mlp", (2,), {"hidden": [8]}, seed=seed) for seed in range(members)]
    known: dict[str, Any] = {
        "iterations": 12,
        "steps": Curriculum(0, 5),
        "step_size": 0.05,
        "batch_size": 4,
        "replay": Replay(2, 6),
        "checkpoint_every": 5,
        "folder": folder,
        "seed": list(range(members)) if members > 1 else 0,
    }
    return fit(nets[0] if members == 1 else Together(nets), POINTS, Box(2), **known | options)


# the pool


def test_climbs_go_on_until_they_have_gone_all_their_steps() -> None:
    """With as many rows as a batch has every climb is taken every time: new at iterations 0, 3, 6, ... of limit 6."""
    climbs = pool(4, 2)
    ends, gone = torch.zeros(4, 1), 0
    for iteration in range(9):
        fresh = torch.full((4, 1), 100.0 + iteration)
        starts = climbs.starts(iteration, fresh, limit=6)[0]
        if iteration % 3 == 0:
            gone = 0
            assert torch.equal(starts, fresh)
        else:
            assert torch.equal(starts.sort(dim=0).values, ends.sort(dim=0).values)
        ends = starts + 1
        climbs.put_back(iteration, [ends], steps=2)
        gone += 2
        assert climbs.steps.tolist() == [[gone] * 4]


def test_an_iteration_takes_different_climbs_and_leaves_the_others() -> None:
    climbs = pool(6, 1)
    climbs.points.copy_(torch.arange(6.0).view(1, 6, 1))
    climbs.steps.fill_(1)
    starts = climbs.starts(3, torch.full((4, 1), -1.0), limit=9)[0]
    assert len(set(starts.flatten().tolist())) == 4
    assert starts.min() >= 0
    climbs.put_back(3, [starts + 10], steps=1)
    taken = {int(value) for value in starts.flatten()}
    for row in range(6):
        assert climbs.points[0, row].item() == (row + 10 if row in taken else row)
        assert climbs.steps[0, row].item() == (2 if row in taken else 1)


def test_a_shorter_limit_ends_climbs_that_have_gone_further() -> None:
    climbs = pool(4, 5)
    climbs.steps.copy_(torch.tensor([[1, 2, 3, 4]]))
    fresh = torch.full((4, 1), 7.0)
    assert int((climbs.starts(0, fresh, limit=3)[0] == 7).sum()) == 2


def test_taking_twice_gives_the_same() -> None:
    """An iteration is drawn again where a member diverged in it."""
    climbs = pool()
    climbs.steps.fill_(1)
    fresh = torch.full((4, 1), 7.0)
    assert torch.equal(climbs.starts(0, fresh, limit=1)[0], climbs.starts(0, fresh, limit=1)[0])


def test_members_have_climbs_of_their_own() -> None:
    both, alone = pool(seeds=(3, 5)), [pool(seeds=(seed,)) for seed in (3, 5)]
    for iteration in range(5):
        fresh = torch.rand(8, 1, generator=torch.Generator().manual_seed(iteration))
        parts = [
            one.starts(iteration, part, limit=4)[0] for one, part in zip(alone, torch.split(fresh, 4), strict=True)
        ]
        starts = both.starts(iteration, fresh, limit=4)[0]
        assert torch.equal(starts, torch.cat(parts))
        both.put_back(iteration, [starts + 1], steps=2)
        for one, part in zip(alone, parts, strict=True):
            one.put_back(iteration, [part + 1], steps=2)
    assert torch.equal(both.points, torch.cat([one.points for one in alone]))


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({}, r"expected the checkpoint's climbs points of shape \(1, 6, 1\), got none"),
        ({"points": torch.zeros(1, 6, 1), "steps": torch.zeros(1, 6)}, r"climbs steps .*, got torch.float32 \(1, 6\)"),
        ({"points": torch.zeros(1, 5, 1)}, r"climbs points of shape \(1, 6, 1\), got torch.float32 \(1, 5, 1\)"),
    ],
)
def test_another_pool_is_refused(state: dict[str, Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pool().restore(state)


# training with one


@pytest.mark.parametrize("rule", ["steepest", "adam"])
def test_bursts_are_one_ascent_where_the_detector_stands_still(rule: Rule) -> None:
    """A detector without a learning rate: three bursts of two steps arrive where six steps do."""
    linear = networks.build("mlp", (2,), {"hidden": ()}, seed=0)
    met: list[Step] = []
    found = fit(
        linear, POINTS, Samples(torch.tensor([[0.1, 0.2]])), iterations=3, steps=6, step_size=0.05, batch_size=4,
        rule=rule, replay=Replay(2, 4), ema=None, callback=met.append,
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.0),
    )  # fmt: skip
    with torch.no_grad():
        for step, gone in zip(met, (2, 4, 6), strict=True):
            end = climb(found.detector, torch.tensor([[0.1, 0.2]]), steps=gone, step_size=0.05, rule=rule).points
            assert step.outside == pytest.approx(found.detector(end).item(), abs=1e-6)


def test_a_pool_no_longer_than_the_batch_and_bursts_as_long_as_ascents_change_nothing() -> None:
    assert train(steps=5, replay=Replay(5, 4)).digest == train(steps=5, replay=None).digest
    assert train(steps=5, replay=Replay(2, 4)).digest != train(steps=5, replay=None).digest


@pytest.mark.parametrize(("members", "rule"), [(1, "steepest"), (3, "steepest"), (1, "adam"), (2, "adam")])
def test_a_stopped_training_goes_on_with_its_climbs(members: int, rule: Rule, tmp_path: Path) -> None:
    def stop(step: Step) -> None:
        if step.iteration == 8:
            raise KeyboardInterrupt

    whole = train(tmp_path / "whole", members=members, rule=rule)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "run", members=members, rule=rule, callback=stop)
    assert train(tmp_path / "run", members=members, rule=rule, resume=True).digest == whole.digest
    ends = [checkpoints.latest(tmp_path / name).part("replay") for name in ("whole", "run")]
    assert sorted(ends[0]) == ["points", "steps"] if rule == "steepest" else ["first", "points", "second", "steps"]
    for name, values in ends[0].items():
        assert torch.equal(values, ends[1][name])


def test_members_train_as_they_would_alone() -> None:
    together = train(members=2).detector
    alone = fit(
        networks.build("mlp", (2,), {"hidden": [8]}, seed=1), POINTS, Box(2), iterations=12, steps=Curriculum(0, 5),
        step_size=0.05, batch_size=4, replay=Replay(2, 6), seed=1,
    ).detector  # fmt: skip
    assert isinstance(together, Together)
    for name, value in alone.state_dict().items():
        torch.testing.assert_close(together.member(1).state_dict()[name], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ball": L2Ball(0.5)}, "expected replay without a ball, got radius=0.5"),
        ({"batch_size": 7}, "expected replay of at least batch_size=7 rows, got 6"),
        ({"classify": Classification()}, "expected replay with classify toward 'any', got 'class'"),
    ],
)
def test_what_does_not_go_with_it_is_refused(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        train(tmp_path / "new", **options)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(("name", "values"), [("burst", (0, 6)), ("rows", (2, 0))])
def test_numbers_below_one_are_refused(name: str, values: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"expected {name} to be at least 1, got 0"):
        Replay(*values)


def test_a_training_without_one_does_not_go_on_with_one(tmp_path: Path) -> None:
    train(tmp_path, replay=None)
    with pytest.raises(ValueError, match=r"expected the checkpoint's climbs points of shape .*, got none"):
        train(tmp_path, resume=True)
