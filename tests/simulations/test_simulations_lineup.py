"""The trainers by name and the peers among them: the same passes, counted exactly, and the same verbs as GAT's."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from genat.simulations import lineup
from genat.simulations.lineup import BUDGET, TRAINERS, Energy, Gan, toy_target, trainers
from genat.simulations.trainers import Gat, Trained, Trainer
from genat.simulations.watch import Watch, member_logits
from genat.sources.toy import TOYS

pytestmark = pytest.mark.usefixtures("small")
GAN = Gan(iterations=12, batch_size=8, hidden=(8,))
R1 = replace(GAN, r1=0.5)
EBM = Energy(iterations=12, batch_size=8, hidden=(8,), chain_steps=3, sampling_steps=4)
COSTS = [(GAN, 4 * 8), (replace(GAN, saturating=True), 4 * 8), (R1, 5 * 8), (EBM, (3 + 2) * 8)]
PEERS = [GAN, R1, EBM]
Poison = Callable[..., None]


def train(trainer: Trainer, toy: str = "ring", seeds: tuple[int, ...] = (0, 1)) -> tuple[Trained, Watch]:
    watch = Watch(TOYS[toy](), trainer.iterations)
    return trainer.train(watch.toy, seeds=seeds, device="cpu", watch=watch), watch


# names


def test_every_trainer_by_name_has_the_budget_and_else_its_own_settings() -> None:
    for name, trainer in trainers(list(TRAINERS)).items():
        assert replace(trainer, iterations=1) == replace(TRAINERS[name], iterations=1)  # type: ignore[type-var]
    assert list(trainers(["gan", "gat"])) == ["gan", "gat"]


def test_clean_data_gets_the_iterations_of_gat() -> None:
    both = trainers(["clean", "gat"], budget=100_000)
    assert both["clean"].iterations == both["gat"].iterations
    clean = both["clean"]
    assert isinstance(clean, Gat)
    assert (clean.first, clean.last) == (0, 0)


def test_the_gat_of_2019_lives_in_a_ball_and_the_later_one_in_none() -> None:
    kinds = {name: trainer for name, trainer in TRAINERS.items() if isinstance(trainer, Gat)}
    without = dict.fromkeys(("gat", "gat-replay", "clean"))
    assert {name: trainer.radius for name, trainer in kinds.items()} == without | {"gat-ball": 0.5}
    assert kinds["gat-ball"].first == kinds["gat-ball"].last > 0


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["gat", "gna"], "expected trainers among gat, .*ebm, got gna$"),
        (["a", "b"], "got a, b$"),
        ([], "got none$"),
        ([""], "got none$"),
    ],
)
def test_unknown_trainers(names: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        trainers(names)


@pytest.mark.parametrize("budget", [0, -1, 0.5, math.nan, math.inf])
def test_budgets_out_of_range(budget: float) -> None:
    with pytest.raises(ValueError, match="budget of at least 1 pass"):
        trainers(["gat"], budget=budget)


def test_without_torchebm_an_energy_model_is_refused_and_the_others_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lineup, "find_spec", lambda _: None)
    with pytest.raises(ValueError, match=r"torchebm.*pip install 'genat\[peers\]'"):
        trainers(["gat", "ebm"])
    assert list(trainers(["gat", "gan"])) == ["gat", "gan"]


# budget


@pytest.mark.parametrize(("trainer", "cost"), COSTS)
@pytest.mark.parametrize("iterations", [1, 7, 1000])
def test_a_budget_buys_the_whole_iterations_that_it_pays_for(trainer: Gan | Energy, cost: int, iterations: int) -> None:
    for budget in (cost * iterations, cost * (iterations + 1) - 1):
        bought = trainer.with_budget(budget)
        assert bought == replace(trainer, iterations=iterations)
    assert trainer.with_budget(1).iterations == 1


@pytest.mark.parametrize(("trainer", "cost"), COSTS)
def test_what_is_spent_is_what_the_budget_counts(trainer: Gan | Energy, cost: int) -> None:
    trained, _ = train(trainer)
    assert trained.passes == cost * trainer.iterations


def test_all_trainers_spend_the_same_by_default() -> None:
    costs = {"gan": 4 * 128, "gan-saturating": 4 * 128, "gan-r1": 5 * 128, "ebm": 42 * 64}
    for name, cost in costs.items():
        assert 0 <= BUDGET - trainers([name])[name].iterations * cost < cost


# training


@pytest.mark.parametrize("trainer", PEERS)
def test_what_a_peer_leaves_has_the_shapes_of_gats(trainer: Trainer) -> None:
    trained, watch = train(trainer, seeds=(0, 1, 2))
    assert trained.detector.members == 3
    assert trained.samples.shape == (3, 50, 2)
    assert torch.isfinite(trained.samples).all()
    assert trained.trajectory.shape == (0, 0, 2)
    assert trained.diverged == {}
    assert [record["iteration"] for record in watch.history] == list(range(1, 13))
    for record in watch.history:
        assert len(record["loss"]) == len(record["auroc"]) == 3
        assert all(0 <= area <= 1 for area in record["auroc"])
    assert len(set(map(str, trained.samples[:, 0].tolist()))) == 3


@pytest.mark.parametrize("trainer", PEERS)
def test_a_peer_on_the_line(trainer: Trainer) -> None:
    trained, watch = train(trainer, toy="blobs")
    assert trained.samples.shape == (2, 50, 1)
    assert all(ratio > 0 for ratio in watch.history[-1]["ratio"])


@pytest.mark.parametrize("trainer", PEERS)
def test_a_peers_seed_in_company_is_the_seed_alone(trainer: Trainer) -> None:
    together, watch = train(trainer, seeds=(0, 5))
    alone, _ = train(trainer, seeds=(5,))
    logits = [member_logits(trained.detector, watch.lattice) for trained in (together, alone)]
    torch.testing.assert_close(logits[0][1], logits[1][0], rtol=0, atol=1e-4)
    torch.testing.assert_close(together.samples[1], alone.samples[0], rtol=0, atol=1e-4)


@pytest.mark.parametrize("trainer", PEERS)
def test_a_peers_seed_that_diverges_leaves_the_others_unharmed(trainer: Trainer, poison: Poison) -> None:
    healthy, _ = train(trainer)
    poison(0)
    trained, watch = train(trainer)
    assert trained.diverged == {0: 1}
    assert not member_logits(trained.detector, watch.lattice)[0].any()
    torch.testing.assert_close(trained.samples[1], healthy.samples[1], rtol=0, atol=1e-5)
    for record in watch.history:
        assert [math.isnan(value) for value in record["loss"]] == [True, False]
        assert [math.isnan(value) for value in record["auroc"]] == [True, False]
    assert all(area[0].isnan() and area[1].isfinite() for area in watch.areas)


@pytest.mark.parametrize("trainer", PEERS)
def test_where_all_of_a_peers_seeds_diverge_the_training_ends(trainer: Trainer) -> None:
    trained, watch = train(trainer.with_rate(1e30))
    assert trained.diverged.keys() == {0, 1}
    assert max(trained.diverged.values()) <= 3
    assert trained.passes < trainer.iterations * 40
    assert not member_logits(trained.detector, watch.lattice).any()


def test_the_generators_rate_moves_along() -> None:
    assert Gan(ratio=0.5).with_rate(0.2) == Gan(rate=0.2, ratio=0.5)
    assert Energy().with_rate(0.2) == Energy(rate=0.2)


def test_the_target_is_the_positives() -> None:
    toy = TOYS["ring"]()
    drawn = toy_target(toy).draw(9, generator=torch.Generator().manual_seed(0))
    assert {tuple(point) for point in drawn.tolist()} <= {tuple(point) for point in toy.target.tolist()}


def test_the_chain_in_training_and_the_one_that_generates_differ_in_length_alone() -> None:
    short, long = EBM.chain(EBM.chain_steps), EBM.chain(EBM.sampling_steps)
    assert replace(short, steps=4) == long
