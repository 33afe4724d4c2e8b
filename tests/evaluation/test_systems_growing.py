from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from genat.ascent import ascend, climb
from genat.balls import Ball, L2Ball, LinfBall
from genat.decisions import Generative
from genat.detection import logits
from genat.evaluation.systems import from_noise, growing, growing_auroc
from genat.networks import Committee, Joint


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor]:
    from sklearn.datasets import load_digits

    data = load_digits()
    images, labels = torch.from_numpy(data.images).float() / 16, torch.from_numpy(data.target)
    some = labels < 3
    return images[some][:, None], labels[some]


@pytest.fixture(scope="module")
def trained(digits: tuple[Tensor, Tensor]) -> Generative:
    """Three detectors of digits, trained against the other two classes."""
    images, labels = digits
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 3))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    one_hot = nn.functional.one_hot(labels, 3).float()
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(net(images), one_hot).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return Generative(Committee(Joint(net), classes=["0", "1", "2"]))


@pytest.mark.parametrize("norm", [L2Ball, LinfBall])
def test_errors_grow_with_the_ball_up_to_one_at_the_diameter(
    trained: Generative,
    digits: tuple[Tensor, Tensor],
    norm: Any,  # noqa: ANN401
) -> None:
    images, labels = digits[0][:20], digits[1][:20]
    far = torch.cdist(digits[0].flatten(1), digits[0].flatten(1), p=2 if norm is L2Ball else torch.inf).max().item()
    balls = [norm(far * share) for share in (0.02, 0.1, 0.3, 1.0)]
    rows = growing(trained, images, labels, balls, step_size=far / 10, batch_size=12)
    assert [row.ball for row in rows] == balls
    assert [row.steps for row in rows] == [1, 4, 12, 40]
    shares = [row.figure for row in rows]
    assert shares == sorted(shares)
    assert shares[0] < 0.5
    assert shares[-1] == 1


def test_errors_that_are_accepted_are_fewer(trained: Generative, digits: tuple[Tensor, Tensor]) -> None:
    images, labels = digits[0][:10], digits[1][:10]
    ball = L2Ball(1.0)
    low, high = (
        growing(trained, images, labels, [ball], step_size=0.3, threshold=threshold)[0].figure
        for threshold in (None, 2.0)
    )
    assert high < low
    assert growing(trained, images, labels, [ball], step_size=0.3, threshold=1e9)[0].figure == 0


def test_masked_gradients_show_by_a_share_that_does_not_reach_one(
    trained: Generative, digits: tuple[Tensor, Tensor]
) -> None:
    class Rounded(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return trained.margins(x).round()

    masked = Generative(Committee(Joint(Rounded()), classes=["0", "1", "2"]))
    images, labels = digits[0][:10], digits[1][:10]
    rows = growing(masked, images, labels, [L2Ball(1.0), L2Ball(8.0)], step_size=1.0)
    assert rows[-1].figure < 0.5


@pytest.mark.parametrize("ball", [LinfBall, L2Ball])
def test_a_linear_detectors_auroc_falls_where_the_closed_form_says(ball: Any) -> None:  # noqa: ANN401
    """Logit x_0 + x_1: a radius r adds 2 r, or sqrt(2) r, to the outside's 0.4, against 0.8, 1.0 and 1.2 inside."""
    inside = torch.tensor([[0.4, 0.4], [0.5, 0.5], [0.6, 0.6]])
    unit = 1 if ball is LinfBall else 2**0.5
    radii = [0.15 * unit, 0.25 * unit, 0.35 * unit, 0.45 * unit]
    rows = growing_auroc(
        lambda x: x.sum(1), inside, torch.tensor([[0.2, 0.2]]), [ball(r) for r in radii], step_size=0.1, restarts=2
    )
    assert [row.figure for row in rows] == pytest.approx([1, 2 / 3, 1 / 3, 0])


def test_noise_is_climbed_as_in_one_go(trained: Generative) -> None:
    detector = trained.committee[1]
    way = from_noise(detector, (1, 8, 8), n=6, at=(0, 3, 7), step_size=0.2, seed=4, batch_size=4)
    assert way.at == (0, 3, 7)
    assert way.images.shape == (3, 6, 1, 8, 8)
    start = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(4)).clamp(0, 1)
    assert torch.equal(way.images[0], start)
    one = climb(detector, start, steps=7, step_size=0.2, trajectory=True).trajectory
    assert one is not None
    torch.testing.assert_close(way.images, one[[0, 3, 7]])
    torch.testing.assert_close(way.logits[2], logits(detector, ascend(detector, start, steps=7, step_size=0.2)))
    assert (way.logits.diff(dim=0) > 0).all()
    assert way.images.max() <= 1
    assert 0.4 < (way.images[0] == 0).float().mean() < 0.6
    other = from_noise(detector, (1, 8, 8), n=6, at=(0,), step_size=0.2, seed=5)
    assert not torch.equal(other.images[0], start)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 0}, "expected n to be at least 1, got 0"),
        ({"seed": -1}, "expected seed to be at least 0, got -1"),
        ({"batch_size": 0}, "expected batch_size to be at least 1, got 0"),
        ({"at": []}, r"expected at to be steps from 0 on, ascending, got \[\]"),
        ({"at": [3, 3]}, r"expected at to be steps from 0 on, ascending, got \[3, 3\]"),
        ({"at": [-1, 3]}, r"expected at to be steps from 0 on, ascending, got \[-1, 3\]"),
    ],
)
def test_noise_that_cannot_be_meant_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_noise(lambda x: x.sum(1), (2,), **options)


@pytest.mark.parametrize(
    ("balls", "options", "message"),
    [
        ([], {}, "expected balls of one norm, their radii ascending, got \\[\\]"),
        ([L2Ball(0.2), L2Ball(0.1)], {}, "expected balls of one norm, their radii ascending, got"),
        ([L2Ball(0.1), LinfBall(0.2)], {}, "expected balls of one norm, their radii ascending, got"),
        ([L2Ball()], {}, "expected a ball with a positive radius, got radius=None"),
        ([L2Ball(0.1)], {"step_size": 0.0}, r"expected step_size to be positive and finite, got 0\.0"),
        ([L2Ball(0.1)], {"restarts": 0}, "expected restarts to be at least 1, got 0"),
    ],
)
@pytest.mark.parametrize("what", ["errors", "auroc"])
def test_what_cannot_grow_is_refused(
    trained: Generative, balls: list[Ball], options: dict[str, Any], message: str, what: str
) -> None:
    x, given = torch.full((2, 1, 8, 8), 0.5), {"step_size": 0.1} | options
    verbs: dict[str, Any] = {
        "errors": partial(growing, trained, x, torch.tensor([0, 1])),
        "auroc": partial(growing_auroc, lambda x: x.flatten(1).sum(1), x, x),
    }
    with pytest.raises(ValueError, match=message):
        verbs[what](balls, **given)
