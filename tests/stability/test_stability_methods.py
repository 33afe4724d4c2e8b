"""The methods: what they may spend and what they do spend, and that looking at them changes nothing."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from genat import networks
from genat.baselines.images import image_generator
from genat.generation import Climbing, transform
from genat.recipe import adam
from genat.stability import methods as module
from genat.stability import watch as watches
from genat.stability.measure import measure
from genat.stability.methods import METHODS, Gan, Gat, Jem, Method, methods
from genat.stability.ruler import Material, Ruler
from genat.stability.watch import Watch
from genat.training import fit

Tiny = Mapping[str, Method]
KINDS = ("gat", "gan", "jem")


def watched(method: Method, material: Material, ruler: Ruler, *, seed: int = 3) -> Watch:
    watch = Watch("it", method.passes, method.iterations, ruler)
    method.train(material, ruler.starts, seed=seed, device="cpu", watch=watch)
    return watch


# budgets


def spelled_out(method: Gat) -> int:
    """Passes by the curriculum itself, iteration by iteration."""
    progress = method.curriculum.start(iterations=method.iterations)
    total = 0
    for _ in range(method.iterations):
        total += method.batch_size * (progress.steps + (3 if method.r1 > 0 else 2))
        progress.observe(auroc=1.0)
    return total


@pytest.mark.parametrize("iterations", [1, 2, 3, 12, 13, 14, 25, 26, 27, 100, 1001])
@pytest.mark.parametrize("steps", [(0, 12), (3, 3), (1, 4)])
def test_the_passes_of_gat_are_its_curriculums(iterations: int, steps: tuple[int, int]) -> None:
    for r1 in (0.0, 0.01):
        method = Gat(iterations=iterations, first=steps[0], last=steps[1], r1=r1)
        assert method.passes == spelled_out(method)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("budget", [1408, 5000, 99_999, 250_000])
def test_a_budget_is_kept_and_used(name: str, budget: int) -> None:
    paid = METHODS[name].with_budget(budget)
    assert paid.passes <= budget
    more = [replace(paid, iterations=paid.iterations + extra).passes for extra in range(1, 40)]
    assert min(more) > budget
    assert replace(paid, iterations=METHODS[name].iterations) == METHODS[name]


@pytest.mark.parametrize("name", KINDS)
def test_a_budget_for_nothing(name: str) -> None:
    with pytest.raises(ValueError, match=f"expected a budget for at least one iteration of {name}, got 50 passes"):
        METHODS[name].with_budget(50)


@pytest.mark.parametrize("name", KINDS)
def test_what_is_planned_is_spent(
    name: str, tiny: Tiny, material: Material, ruler: Ruler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By hooks: samples with a backward to come. Of two lengths, for a training begins with a look at the shapes.

    Without R1, whose second backward has no forward of its own.
    """
    monkeypatch.setattr(Watch, "_look", lambda *_: None)
    seen = [0]

    def count(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen[0] += len(inputs[0]) if torch.is_grad_enabled() else 0

    def counted(build: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
        def built(*arguments: Any, **options: Any) -> nn.Module:  # noqa: ANN401
            network = build(*arguments, **options)
            network.register_forward_pre_hook(count)
            return network

        return built

    monkeypatch.setattr("genat.stability.methods.networks.build", counted(networks.build))
    monkeypatch.setattr("genat.stability.methods.image_generator", counted(image_generator))
    totals = []
    for budget in (100, 200):
        method = bare(tiny[name]).with_budget(budget)
        seen[0] = 0
        watch = watched(method, material, ruler)
        assert (watch.spent, watch.iteration) == (method.passes, method.iterations)
        totals.append(seen[0] - method.passes)
    assert totals[0] == totals[1]


def bare(method: Method) -> Method:
    return method if isinstance(method, Jem) else replace(method, r1=0.0)


# trainings


@pytest.mark.parametrize("name", KINDS)
def test_one_seed_gives_one_training_and_looking_changes_nothing(
    name: str, tiny: Tiny, material: Material, ruler: Ruler, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = tiny[name].with_budget(160)
    first = watched(method, material, ruler)
    monkeypatch.setattr(watches, "MOMENTS", 1)
    again, other = watched(method, material, ruler), watched(method, material, ruler, seed=4)
    assert len(first.curve) > len(again.curve) == 1
    assert first.curve[-1] == again.curve[-1]
    assert first.history == again.history
    assert first.images is not None
    assert again.images is not None
    assert other.images is not None
    assert first.images.shape == ruler.starts.shape
    assert ((first.images >= 0) & (first.images <= 1)).all()
    assert first.images.equal(again.images)
    assert not first.images.equal(other.images)


def test_gat_is_fit_and_its_running_mean_fits(tiny: Tiny, material: Material, ruler: Ruler) -> None:
    method = tiny["gat"].with_budget(160)
    assert isinstance(method, Gat)
    detector = networks.build("small_convnet", (1, 8, 8), {"width": 2}, seed=3)
    fitted = fit(
        detector,
        material.train,
        material.outside,
        iterations=method.iterations,
        steps=method.curriculum,
        step_size=method.step_size,
        rule=method.rule,
        batch_size=4,
        r1=method.r1,
        anneal=method.anneal,
        optimizer=adam(method.rate),
        ema=method.ema,
        seed=3,
    )
    how = Climbing(steps=2, step_size=method.step_size, rule=method.rule, chunk=66)
    climbed = transform(fitted.detector, ruler.starts, **how)
    images = watched(method, material, ruler).images
    assert images is not None
    assert images.equal(climbed.points)


@pytest.mark.parametrize("name", KINDS)
def test_what_is_not_finite_is_raised(name: str, tiny: Tiny, material: Material, ruler: Ruler) -> None:
    method = replace(tiny[name].with_budget(160), rate=1e30)
    with pytest.raises(FloatingPointError, match="expected finite") as error:
        watched(method, material, ruler)
    assert "\n" not in str(error.value)


def test_a_gan_of_a_rate_too_high_is_seen_not_to_be_finite(tiny: Tiny, material: Material, ruler: Ruler) -> None:
    """Without spectral normalisation, which divides weights by their size; with it such a GAN fails by its images."""
    gan = tiny["gan"]
    assert isinstance(gan, Gan)
    with pytest.raises(FloatingPointError, match="expected finite values, got some that are not"):
        watched(replace(gan, rate=1e5, spectral=False).with_budget(160), material, ruler)
    seen = watched(replace(gan, rate=1e3).with_budget(160), material, ruler)
    row = measure(seen, diverged=False, references=ruler.references)
    assert row["failure"] in ("no nearer than class means", "one player won")


def test_chains_step_as_jems_do() -> None:
    """Steps of size 1 and noise .01 where pixels are in [-1, 1]: eta = 1 and sqrt(2 eta) sigma = .01; to 1e-12."""
    chain = Jem().chain(20)
    assert (chain.steps, chain.step_size) == (20, 1.0)
    assert isinstance(chain.noise_scale, float)
    assert 2**0.5 * chain.noise_scale == pytest.approx(0.01, abs=1e-12)
    assert chain.inward(torch.tensor([0.0, 0.5, 1.0])).tolist() == [-1.0, 0.0, 1.0]


def test_more_images_than_the_buffer_has_rows(tiny: Tiny, material: Material, ruler: Ruler) -> None:
    jem = tiny["jem"]
    assert isinstance(jem, Jem)
    with pytest.raises(ValueError, match="expected a buffer of at least 66 rows, one an image, got 65"):
        watched(replace(jem, rows=65).with_budget(160), material, ruler)


# by name


@pytest.mark.parametrize(("names", "got"), [(["gat", "gna"], "gna"), ([], "none"), (["a", "b"], "a, b")])
def test_unknown_methods(names: list[str], got: str) -> None:
    with pytest.raises(ValueError, match=f"expected methods among gat, gan, gan-r1, gan-sn, jem, got {got}$"):
        methods(names)


def test_without_torchebm_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    assert list(methods(["gat", "gan"])) == ["gat", "gan"]
    with pytest.raises(ValueError, match=r"jem: expected torchebm, got none installed: pip install 'genat\[peers\]'"):
        methods(["jem"])
