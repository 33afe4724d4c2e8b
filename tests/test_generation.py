"""Sampling and transforming: each result a function of its own seed or image, whatever its company."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from genat import networks, sources
from genat.ascent import Detector, climb
from genat.balls import L2Ball, LinfBall
from genat.curriculum import Curriculum
from genat.generation import Samples, sample, transform
from genat.recipe import adam
from genat.training import fit

STEPS, STEP_SIZE = 12, 0.2
NOISE = sources.Noise((1, 8, 8))


@pytest.fixture(scope="module")
def detector() -> Detector:
    """A detector of digits, trained briefly."""
    network = networks.build("mlp", (1, 8, 8), {"hidden": [64], "negative_slope": 0.2}, seed=0)
    return fit(
        network,
        sources.digits(),
        NOISE,
        iterations=120,
        steps=Curriculum(0, 8),
        step_size=STEP_SIZE,
        batch_size=32,
        optimizer=adam(2e-3),
        ema=None,
    ).detector


def made(detector: Detector, seeds: Sequence[int], **options: Any) -> Samples:  # noqa: ANN401
    return sample(detector, NOISE, seeds=seeds, **{"steps": STEPS, "step_size": STEP_SIZE} | options)


@pytest.fixture(scope="module")
def sixty_four(detector: Detector) -> Samples:
    return made(detector, range(64), trajectory=True)


@pytest.mark.parametrize("seeds", [range(7), range(57, 64), [63], [0], [5, 40, 5], range(63, -1, -1)], ids=str)
def test_a_sample_depends_on_its_seed_alone(detector: Detector, sixty_four: Samples, seeds: Sequence[int]) -> None:
    few, chosen = made(detector, seeds, trajectory=True), list(seeds)
    assert few.trajectory is not None
    assert sixty_four.trajectory is not None
    assert torch.equal(few.starts, sixty_four.starts[chosen])
    assert torch.equal(few.images, sixty_four.images[chosen])
    assert torch.equal(few.trajectory, sixty_four.trajectory[:, chosen])


@pytest.mark.parametrize("chunk", [64, 7, 1, 100])
def test_the_chunk_changes_no_more_than_rounding(detector: Detector, sixty_four: Samples, chunk: int) -> None:
    torch.testing.assert_close(made(detector, range(64), chunk=chunk).images, sixty_four.images, rtol=0, atol=1e-5)


def test_images_are_where_the_ascent_ends(detector: Detector, sixty_four: Samples) -> None:
    by_hand = climb(detector, sixty_four.starts[:16], steps=STEPS, step_size=STEP_SIZE)
    assert torch.equal(sixty_four.images[:16], by_hand.points)
    assert len({tuple(start.flatten().tolist()) for start in sixty_four.starts}) == 64
    assert sixty_four.images.min() >= 0
    assert sixty_four.images.max() <= 1
    assert not sixty_four.images.requires_grad
    assert sixty_four.passes == STEPS


def test_climbing_raises_the_logit(detector: Detector, sixty_four: Samples) -> None:
    with torch.no_grad():
        assert (detector(sixty_four.images) > detector(sixty_four.starts)).all()


def test_the_trajectory_leads_from_start_to_image(sixty_four: Samples) -> None:
    assert sixty_four.trajectory is not None
    assert sixty_four.trajectory.shape == (STEPS + 1, 64, 1, 8, 8)
    assert torch.equal(sixty_four.trajectory[0], sixty_four.starts)
    assert torch.equal(sixty_four.trajectory[-1], sixty_four.images)


def test_no_trajectory_unless_asked(detector: Detector) -> None:
    assert made(detector, [0]).trajectory is None


def test_no_steps_leave_the_starts(detector: Detector) -> None:
    still = made(detector, [0, 1], steps=0, trajectory=True)
    assert torch.equal(still.images, still.starts)
    assert still.passes == 0
    assert still.trajectory is not None
    assert still.trajectory.shape == (1, 2, 1, 8, 8)


def test_ball_and_rule_are_the_ascents(detector: Detector) -> None:
    near = made(detector, range(3), ball=LinfBall(0.05), rule="sign", step_size=0.02)
    assert (near.images - near.starts).abs().max() <= 0.05 + 1e-6
    assert (made(detector, range(3), ball=L2Ball(0.5)).images - near.starts).flatten(1).norm(dim=1).max() <= 0.5 + 1e-6


def test_points_are_sampled_too() -> None:
    ends = sample(lambda x: -x.square().sum(1), sources.Box(2, low=3, high=9), seeds=range(3), steps=200,
                  step_size=0.1, box=None)  # fmt: skip
    assert ends.images.abs().max() < 0.1


@pytest.mark.parametrize("n", [1, 15, 16, 17, 33])
def test_an_image_is_transformed_alike_in_any_company(detector: Detector, sixty_four: Samples, n: int) -> None:
    several = transform(detector, sixty_four.starts[:n], steps=STEPS, step_size=STEP_SIZE, trajectory=True)
    assert torch.equal(several.points, sixty_four.images[:n])
    assert several.trajectory is not None
    assert several.trajectory.shape[:2] == (STEPS + 1, n)
    assert several.passes.tolist() == [STEPS] * n
    assert several.path.shape == (n,)
    assert several.logits is None


def test_the_images_put_in_are_untouched(detector: Detector, sixty_four: Samples) -> None:
    images = sixty_four.starts[:5].clone()
    transform(detector, images, steps=2, step_size=STEP_SIZE)
    assert torch.equal(images, sixty_four.starts[:5])


def test_the_detector_sees_one_shape_only() -> None:
    seen: list[int] = []

    def brightness(x: Tensor) -> Tensor:
        seen.append(len(x))
        return x.flatten(1).sum(1)

    sample(brightness, NOISE, seeds=range(11), steps=2, step_size=0.1, chunk=4)
    assert set(seen) == {4}


def test_the_callback_follows() -> None:
    calls: list[tuple[int, int]] = []
    sample(lambda x: x.flatten(1).sum(1), NOISE, seeds=range(11), steps=1, step_size=0.1, chunk=4,
           callback=lambda *call: calls.append(call))  # fmt: skip
    assert calls == [(4, 11), (8, 11), (11, 11)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seeds": []}, "expected at least one seed, got none"),
        ({"seeds": [3, -1]}, "expected seeds of at least 0, got -1"),
        ({"chunk": 0}, "expected chunk to be at least 1, got 0"),
        ({"steps": -1}, "expected steps to be at least 0, got -1"),
        ({"step_size": 0.0}, "expected step_size to be positive and finite, got 0.0"),
        ({"rule": "down"}, "expected rule to be"),
        ({"box": (0.0, 0.5)}, "expected starts inside the box"),
    ],
)
def test_sampling_refuses(options: dict[str, Any], message: str) -> None:
    known: dict[str, Any] = {"seeds": [0], "steps": 1, "step_size": 0.1}
    with pytest.raises(ValueError, match=message):
        sample(lambda x: x.flatten(1).sum(1), NOISE, **known | options)


def test_transforming_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="expected at least one image, got none"):
        transform(lambda x: x.flatten(1).sum(1), torch.zeros(0, 1, 8, 8), steps=1, step_size=0.1)


def test_a_detector_of_another_output_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected the detector to return shape \(16,\), got \(16, 1, 8\)"):
        transform(lambda x: x.sum(3), torch.zeros(2, 1, 8, 8), steps=1, step_size=0.1)
