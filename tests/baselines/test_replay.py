"""The buffer of past chains, and energy models that are trained with one."""

import math

import pytest
import torch
from torch import Tensor, nn

from genat.baselines.energy import Chain, EnergyStep, train_energy
from genat.baselines.replay import Buffer, Replay
from genat.networks import Together, build
from genat.sources import Samples
from genat.training import step_generator

CHAIN = Chain(steps=3, step_size=1.0, noise_scale=0.01, center=0.5, spread=0.5)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def target() -> Samples:
    return Samples(torch.tensor([0.4, 0.6]) + 0.05 * normal(50, 2))


def detectors(*seeds: int, hidden: tuple[int, ...] = (16,)) -> Together:
    return Together([build("mlp", (2,), {"hidden": hidden, "mean": 0.5, "std": 0.5}, seed=seed) for seed in seeds])


def weights(network: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def buffer(*seeds: int, rows: int = 10, fresh: float = 0.0, batch: int = 4) -> Buffer:
    return Buffer(Replay(rows, fresh), (batch, 2), seeds=seeds, outward=CHAIN.outward, device=torch.device("cpu"))


# the buffer


def test_it_begins_uniform_within_one_spread() -> None:
    chains = buffer(0, 1, rows=4000).chains
    assert chains.shape == (2, 4000, 2)
    assert ((chains >= 0) & (chains <= 1)).all()
    torch.testing.assert_close(chains.mean(1), torch.full((2, 2), 0.5), rtol=0, atol=4 / math.sqrt(12 * 4000))
    assert not chains[0].equal(chains[1])


def test_ends_go_back_to_the_rows_their_starts_came_from() -> None:
    kept = buffer(0, 1)
    before = kept.chains.clone()
    starts = kept.starts(iteration=7).view(2, 4, 2)
    for member in (0, 1):
        places = [(before[member] == start).all(1).nonzero().item() for start in starts[member]]
        assert len(set(places)) == 4
    kept.put_back(starts.flatten(0, 1) + 5)
    changed = (kept.chains != before).all(2)
    assert changed.sum(1).tolist() == [4, 4]
    torch.testing.assert_close(kept.chains[changed], (before + 5)[changed], rtol=0, atol=1e-6)


def test_each_iteration_takes_others_and_a_seed_its_own() -> None:
    kept = buffer(3, 4)
    first, again, later = kept.starts(0), kept.starts(0), kept.starts(1)
    assert first.equal(again)
    assert not first.equal(later)
    assert buffer(4).starts(0).equal(first[4:])


@pytest.mark.parametrize("fresh", [0.0, 0.25, 1.0])
def test_a_share_begins_anew(fresh: float) -> None:
    """A binomial share, within four of its deviations."""
    kept = buffer(0, rows=2000, fresh=fresh, batch=2000)
    kept.chains += 5
    anew = (kept.starts(0) <= 1).all(1).double().mean().item()
    assert anew == pytest.approx(fresh, abs=4 * math.sqrt(fresh * (1 - fresh) / 2000) + 1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rows": 0}, "expected rows to be at least 1, got 0"),
        ({"fresh": -0.1}, r"expected fresh in \[0, 1\], got -0.1"),
        ({"fresh": 1.1}, r"expected fresh in \[0, 1\], got 1.1"),
    ],
    ids=str,
)
def test_a_replay_refuses(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        Replay(**options)  # type: ignore[arg-type]


# trained with


def test_chains_go_on_from_the_buffer() -> None:
    """f = w x: a chain of K steps of size 1 moves by K spread^2 w and its noise, here by JEM's; to 1e-5."""
    target = Samples(torch.full((5, 2), 0.25))
    detector = detectors(6, hidden=())
    slope = next(detector.member(0).parameters())[0].detach() / 0.5
    seen: list[Tensor] = []

    def note(step: EnergyStep) -> None:
        assert step.chains is not None
        seen.append(step.chains.clone())

    train_energy(
        detector,
        target,
        seeds=[6],
        iterations=2,
        batch_size=4,
        chain=CHAIN,
        persistent=Replay(rows=4, fresh=0.0),
        rate=1e-12,
        callback=note,
    )
    twin = buffer(6, rows=4)
    for iteration, chains in enumerate(seen):
        noise = torch.randn(3, 4, 2, generator=step_generator(6, iteration, "chains")).sum(0)
        walk = 3 * 0.5**2 * slope + 0.5 * math.sqrt(2) * 0.01 * noise
        twin.put_back(twin.starts(iteration) + walk)
        torch.testing.assert_close(chains, twin.chains, rtol=0, atol=1e-5)


def test_noise_on_data_has_its_deviation_in_the_chains_coordinates() -> None:
    """Under a linear detector the mean logit moves by spread times deviation times w times the mean noise; to 1e-5."""
    target = Samples(torch.full((5, 2), 0.25))
    detector = detectors(6, hidden=())
    judge = detector.member(0)
    slope = next(judge.parameters())[0].detach() / 0.5
    steps: list[EnergyStep] = []
    options = {"seeds": [6], "iterations": 1, "batch_size": 8, "chain": CHAIN, "rate": 1e-12, "callback": steps.append}
    train_energy(detector, target, data_noise=0.3, **options)  # type: ignore[arg-type]
    noise = torch.randn(8, 2, generator=step_generator(6, 0, "data noise")).mean(0)
    with torch.no_grad():
        expected = judge(torch.full((1, 2), 0.25)) + 0.5 * 0.3 * noise @ slope
    torch.testing.assert_close(steps[0].inside, expected, rtol=0, atol=1e-5)


def test_a_member_becomes_what_it_would_have_become_alone(target: Samples) -> None:
    """To 1e-3."""
    options = {"iterations": 8, "batch_size": 8, "chain": CHAIN, "persistent": Replay(20, 0.2), "data_noise": 0.03}
    together, alone = (
        train_energy(detectors(*seeds), target, seeds=seeds, **options)  # type: ignore[arg-type]
        for seeds in ((3, 5), (5,))
    )
    torch.testing.assert_close(weights(together.detector.member(1)), weights(alone.detector), rtol=1e-3, atol=1e-5)


def test_chains_that_begin_at_the_data_are_not_kept(target: Samples) -> None:
    steps: list[EnergyStep] = []
    train_energy(detectors(0), target, seeds=[0], iterations=1, batch_size=4, chain=CHAIN, callback=steps.append)
    assert steps[0].chains is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"persistent": Replay(rows=3)}, "expected a buffer of at least batch_size=4 rows, got 3"),
        ({"data_noise": -1.0}, "expected data_noise to be at least 0 and finite, got -1.0"),
        ({"data_noise": math.inf}, "expected data_noise to be at least 0 and finite, got inf"),
    ],
    ids=str,
)
def test_it_refuses(target: Samples, options: dict[str, object], message: str) -> None:
    settings: dict[str, object] = {"seeds": [0], "iterations": 1, "batch_size": 4, "chain": CHAIN}
    with pytest.raises(ValueError, match=f"^{message}$"):
        train_energy(detectors(0), target, **(settings | options))  # type: ignore[arg-type]
