import math
import sys
from typing import Any

import pytest
import torch
from pyautoattack.autopgd_base import APGDAttack
from torch import Tensor, nn

from genat.adversaries import Attacked, budget, worst_case
from genat.ascent import ascend
from genat.balls import Ball, L2Ball, LinfBall, distance

BALLS: list[Ball] = [L2Ball(0.3), LinfBall(0.1)]
SHAPE = (1, 6, 6)


class Counted(nn.Module):
    """Counts the samples that pass through."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.samples = 0

    def forward(self, x: Tensor) -> Tensor:
        self.samples += len(x)
        logits: Tensor = self.net(x)
        return logits


@pytest.fixture
def net() -> nn.Module:
    """A detector with kinks and with logits around -5 on `images`."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        last = nn.Linear(32, 1)
        net = nn.Sequential(
            nn.Flatten(), nn.Linear(36, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), last, nn.Flatten(0)
        )
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(2.5)
        last.bias.fill_(-5.0)
    return net


@pytest.fixture
def images(generator: torch.Generator) -> Tensor:
    return torch.rand(12, *SHAPE, generator=generator)


def linear(weights: Tensor) -> Any:  # noqa: ANN401
    return lambda x: (x * weights.to(x)).flatten(1).sum(1)


@pytest.mark.parametrize("ball", BALLS, ids=["l2", "linf"])
@pytest.mark.parametrize("shape", [(2,), (5, 3), (3, 4, 4)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("own", [False, True])
def test_a_linear_logit_rises_by_the_radius_times_the_dual_norm(
    ball: Ball, shape: tuple[int, ...], dtype: torch.dtype, own: bool, generator: torch.Generator
) -> None:
    weights = torch.randn(shape, generator=generator, dtype=torch.float64)
    detector = linear(weights)
    middle = torch.full((3, *shape), 0.5, dtype=dtype)
    attacked = worst_case(detector, middle, ball=ball, steps=40, own=own)
    norm, radius = budget(ball)
    dual = weights.norm() if norm == "l2" else weights.abs().sum()
    torch.testing.assert_close(
        attacked.logits, detector(middle.double()) + radius * dual, rtol=1e-3, atol=1e-5, check_dtype=False
    )
    assert attacked.images.dtype == dtype


@pytest.mark.parametrize("ball", BALLS, ids=["l2", "linf"])
def test_the_result_is_in_ball_and_box_and_never_worse_than_nothing(net: nn.Module, images: Tensor, ball: Ball) -> None:
    edge = images.round()  # every pixel on the box's boundary
    attacked = worst_case(net, edge, ball=ball, steps=20)
    assert (distance(attacked.images, edge, ball) <= budget(ball)[1] + 1e-5).all()
    assert attacked.images.min() >= 0
    assert attacked.images.max() <= 1
    with torch.no_grad():
        assert (attacked.logits >= net(edge).double()).all()
        torch.testing.assert_close(attacked.logits, net(attacked.images).double())
    assert not attacked.images.requires_grad


@pytest.mark.parametrize("ball", BALLS, ids=["l2", "linf"])
@pytest.mark.parametrize(
    ("scale", "offset"), [(14.0, 0.0), (60.0, 0.0), (1.0, -65.0), (1.0, -295.0), (1e-3, 0.0), (1.0, 300.0)]
)
def test_apgd_is_not_blinded_by_the_logits_size(
    net: nn.Module, images: Tensor, ball: Ball, scale: float, offset: float
) -> None:
    def other(x: Tensor) -> Tensor:
        logits: Tensor = scale * net(x) + offset
        return logits

    with torch.no_grad():
        clean = net(images).double()
    rise = worst_case(net, images, ball=ball, steps=50, own=False).logits - clean
    again = (worst_case(other, images, ball=ball, steps=50, own=False).logits - offset) / scale - clean
    assert -7 < clean.mean() < -3
    assert again.mean().item() == pytest.approx(rise.mean().item(), rel=0.02)


def test_the_plain_form_is_blind_where_ours_is_not(net: nn.Module, images: Tensor) -> None:
    """The reason for the rescaling, kept as a test: on 0 and f the gradient of APGD's loss underflows."""

    def low(x: Tensor) -> Tensor:
        logits: Tensor = net(x) - 295
        return logits

    def plain(x: Tensor) -> Tensor:
        return torch.stack([torch.zeros(len(x)), low(x)], dim=1)

    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.default_generator.manual_seed(0)
        blind = APGDAttack(plain, n_iter=50, norm="L2", eps=0.3).perturb(images, torch.zeros(12), best_loss=True)
        ours = worst_case(low, images, ball=L2Ball(0.3), steps=50, own=False).images
        rises = [(low(points) - low(images)).mean().item() for points in (blind, ours)]
    assert rises[0] < 0.2 * rises[1]


def test_apgd_and_our_ascent_agree_on_a_smooth_detector(images: Tensor, generator: torch.Generator) -> None:
    centre = torch.rand(SHAPE, generator=generator)

    def detector(x: Tensor) -> Tensor:
        return -(x - centre).square().flatten(1).sum(1)

    for ball in BALLS:
        foreign = worst_case(detector, images, ball=ball, own=False)
        with torch.no_grad():
            ours = detector(ascend(detector, images, steps=100, step_size=0.025 * budget(ball)[1], ball=ball))
        torch.testing.assert_close(foreign.logits, ours.double(), rtol=1e-3, atol=0)


def test_the_strongest_is_kept_sample_by_sample(net: nn.Module, images: Tensor) -> None:
    ball = L2Ball(0.5)
    both, alone = (worst_case(net, images, ball=ball, steps=20, own=own).logits for own in (True, False))
    ours = ascend(net, images, steps=20, step_size=2.5 * 0.5 / 20, ball=ball, keep="best")
    with torch.no_grad():
        expected = torch.maximum(alone, net(ours).double())
    torch.testing.assert_close(both, expected)
    assert (both > alone).any()
    assert (both == alone).any()


def test_an_image_at_the_optimum_stays(images: Tensor) -> None:
    def detector(x: Tensor) -> Tensor:
        return -(x - images).square().flatten(1).sum(1)

    attacked = worst_case(detector, images, ball=L2Ball(0.3), steps=10)
    torch.testing.assert_close(attacked.images, images, rtol=0, atol=0)
    assert (attacked.logits == 0).all()


def test_a_constant_detector_is_left_with_the_clean_images(images: Tensor) -> None:
    attacked = worst_case(lambda x: 0 * x.flatten(1).sum(1) - 3, images, ball=LinfBall(0.1), steps=5)
    assert torch.equal(attacked.images, images)
    assert (attacked.logits == -3).all()


def test_a_detector_that_is_flat_nearby_is_climbed_where_it_is_not() -> None:
    """All that g is scaled by is 0 here, since only a cap of the disc is not flat."""
    middle = torch.full((1, 2), 0.5)
    attacked = worst_case(
        lambda x: (x[:, 0] - 0.5 - 0.16).relu(), middle, ball=L2Ball(0.2), steps=20, restarts=30, own=False
    )
    torch.testing.assert_close(attacked.logits, torch.tensor([0.04]).double(), rtol=1e-3, atol=0)


@pytest.mark.parametrize("ball", BALLS, ids=["l2", "linf"])
@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"own": False}, ("APGD-CE",)),
        ({"queries": 9}, ("APGD-CE", "Square", "steepest ascent")),
        ({"restarts": 3, "others": {"mirrored": 1}}, ("APGD-CE", "steepest ascent", "mirrored")),
        ({"restarts": 2, "own": False, "queries": 1}, ("APGD-CE", "Square")),
    ],
)
def test_the_cost_is_what_the_detector_saw(
    net: nn.Module, images: Tensor, ball: Ball, options: dict[str, Any], names: tuple[str, ...]
) -> None:
    counted, options = Counted(net), dict(options)
    if "others" in options:
        options["others"] = {name: images.flip(3) for name in options["others"]}
    attacked = worst_case(counted, images, ball=ball, steps=7, batch_size=5, **options)
    assert counted.samples == attacked.evaluations * len(images)
    assert attacked.names == names


def test_square_keeps_an_image_that_rises_far_beyond_the_others() -> None:
    """A logit that is flat for all but one image in a hundred has a tiny mean spread: it rises by thousands of them."""
    images = torch.full((8, 1, 6, 6), 0.5)
    images[0] = 0.8

    def cliff(x: Tensor) -> Tensor:
        return 1e-6 * x.flatten(1).sum(dim=1) + 1e6 * (x.flatten(1).amax(dim=1) - 0.95).clamp(min=0)

    attacked = worst_case(cliff, images, ball=L2Ball(0.3), steps=3, queries=60, own=False)
    assert attacked.each["Square"][0] > 1e3
    assert attacked.images.shape == images.shape


@pytest.mark.parametrize("ball", BALLS, ids=["l2", "linf"])
@pytest.mark.parametrize(("scale", "offset"), [(1.0, 0.0), (1.0, -295.0), (60.0, 300.0)])
def test_square_climbs_a_logit_of_any_size_without_gradients(
    net: nn.Module, images: Tensor, ball: Ball, scale: float, offset: float
) -> None:
    def stepped(x: Tensor) -> Tensor:
        logits: Tensor = scale * (net(x) * 64).round() / 64 + offset
        return logits

    with torch.no_grad():
        clean = stepped(images).double()
    attacked = worst_case(stepped, images, ball=ball, steps=5, queries=300)
    assert torch.equal(attacked.each["steepest ascent"], clean)  # there is no gradient to climb
    rise = (attacked.each["Square"] - clean) / scale
    best = worst_case(net, images, ball=ball, steps=50)
    with torch.no_grad():
        most = best.logits - net(images).double()
    assert (rise > 0).all()
    assert rise.mean() > 0.5 * most.mean()


def test_each_attack_is_told_by_itself_and_the_strongest_is_their_maximum(net: nn.Module, images: Tensor) -> None:
    ball = L2Ball(0.5)
    foreign = ascend(net, images, steps=3, step_size=0.1, ball=ball)
    attacked = worst_case(net, images, ball=ball, steps=8, restarts=2, queries=20, others={"transferred": foreign})
    torch.testing.assert_close(attacked.logits, torch.stack(list(attacked.each.values())).amax(0))
    with torch.no_grad():
        expected = torch.maximum(net(foreign), net(images)).double()
    torch.testing.assert_close(attacked.each["transferred"], expected)
    assert all((logits > net(images).double()).any() for logits in attacked.each.values())


def test_others_are_brought_into_ball_and_box(images: Tensor) -> None:
    def detector(x: Tensor) -> Tensor:
        return 0 * x.flatten(1).sum(1) + (x - images).square().flatten(1).sum(1)

    for ball in BALLS:
        attacked = worst_case(detector, images, ball=ball, steps=1, own=False, others={"far": 9 - 18 * images.round()})
        assert (distance(attacked.images, images, ball) <= budget(ball)[1] + 1e-5).all()
        assert attacked.images.min() >= 0
        assert attacked.images.max() <= 1


def test_an_ascent_that_starts_again_finds_the_higher_peak() -> None:
    """From the middle a climb ends at the near peak; the far one is higher."""

    def detector(x: Tensor) -> Tensor:
        near, far = (-((x - centre).square().sum(1)) / 0.002 for centre in (0.55, 0.2))
        return near.exp() + 3 * far.exp()

    middle = torch.full((1, 2), 0.5)
    one, many = (
        worst_case(detector, middle, ball=L2Ball(0.6), steps=100, restarts=restarts).each["steepest ascent"]
        for restarts in (1, 30)
    )
    assert one.item() == pytest.approx(1, abs=0.01)
    assert many.item() == pytest.approx(3, abs=0.01)


def test_restarts_only_help(net: nn.Module, images: Tensor) -> None:
    one, three = (
        worst_case(net, images, ball=L2Ball(0.5), steps=10, restarts=restarts, own=False) for restarts in (1, 3)
    )
    assert (three.logits >= one.logits - 1e-5).all()
    assert (three.logits > one.logits).any()


def test_the_result_is_a_function_of_the_seed(net: nn.Module, images: Tensor) -> None:
    def run(seed: int) -> Attacked:
        return worst_case(net, images, ball=L2Ball(0.5), steps=5, seed=seed, own=False)

    first = run(3)
    with torch.random.fork_rng(devices=[]):
        torch.rand(7)
        again = run(3)
    assert torch.equal(first.images, again.images)
    assert not torch.equal(first.images, run(4).images)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_nothing_is_left_behind(
    net: nn.Module,
    images: Tensor,
    mode: Any,  # noqa: ANN401
    capsys: pytest.CaptureFixture[str],
) -> None:
    network = nn.Sequential(nn.BatchNorm2d(1), nn.Dropout(0.5), net).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    given = images.clone().requires_grad_()
    with mode():
        attacked = worst_case(network, given, ball=LinfBall(0.1), steps=5)
    assert all(module.training for module in network.modules())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in network.parameters())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert given.grad is None
    assert torch.equal(given.detach(), images)
    assert not attacked.images.requires_grad
    assert capsys.readouterr() == ("", "")


def test_memory_layout_and_batch_size_do_not_matter_to_ascent(generator: torch.Generator) -> None:
    images = torch.rand(5, 3, 4, 4, generator=generator)
    detector = linear(torch.randn(3, 4, 4, generator=generator))
    one, other = (
        worst_case(detector, given, ball=L2Ball(0.2), steps=30, batch_size=size)
        for given, size in ((images, 256), (images.contiguous(memory_format=torch.channels_last), 2))
    )
    torch.testing.assert_close(one.logits, other.logits, rtol=1e-3, atol=1e-4)


def test_foreign_code_is_not_trusted_with_ball_and_box(images: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(APGDAttack, "perturb", lambda _self, x, *_args, **_options: x + 2)
    for ball in BALLS:
        attacked = worst_case(lambda x: x.flatten(1).sum(1), images, ball=ball, steps=1, own=False)
        assert (distance(attacked.images, images, ball) <= budget(ball)[1] + 1e-5).all()
        assert attacked.images.max() <= 1
        assert (attacked.images >= images).all()


def test_points_of_foreign_code_that_are_not_finite_count_as_the_image(
    images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_self: object, x: Tensor, *_args: object, **_options: object) -> Tensor:
        return torch.cat([x[:6].clamp(max=0) + math.nan, x[6:] + 2])

    monkeypatch.setattr(APGDAttack, "perturb", broken)
    attacked = worst_case(lambda x: x.flatten(1).sum(1), images, ball=LinfBall(0.1), steps=1, own=False)
    assert torch.equal(attacked.images[:6], images[:6])
    torch.testing.assert_close(attacked.images[6:], (images[6:] + 0.1).clamp(max=1))


def test_without_the_package_the_extra_is_named(images: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyautoattack.autopgd_base", None)
    with pytest.raises(ImportError, match=r"pip install genat\[attacks\]$"):
        worst_case(lambda x: x.flatten(1).sum(1), images, ball=L2Ball(0.1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ball": L2Ball()}, "expected a ball with a positive radius, got radius=None"),
        ({"ball": LinfBall(0.0)}, r"expected a ball with a positive radius, got radius=0\.0"),
        ({"steps": 0}, "expected steps to be at least 1, got 0"),
        ({"restarts": 0}, "expected restarts to be at least 1, got 0"),
        ({"queries": -1}, "expected queries to be at least 0, got -1"),
        ({"queries": 1}, r"\(N, C, H, W\) of sides from 5 up with queries of Square, got \(2, 2\)"),
        ({"queries": 1, "images": torch.zeros(2, 1, 8, 4)}, r"with queries of Square, got \(2, 1, 8, 4\)"),
        ({"others": {"foreign": torch.zeros(2, 3)}}, r"expected foreign of shape \(2, 2\), got \(2, 3\)"),
        ({"seed": -1}, "expected seed to be at least 0, got -1"),
        ({"batch_size": 0}, "expected batch_size to be at least 1, got 0"),
        ({"images": torch.zeros(0, 2)}, r"expected images \(N, \*\), N >= 1, floating point, got \(0, 2\)"),
        ({"images": torch.zeros(3)}, r"expected images \(N, \*\), N >= 1, floating point, got \(3,\)"),
        ({"images": torch.zeros(3, 2, dtype=torch.uint8)}, r"floating point, got \(3, 2\) torch.uint8"),
        ({"images": torch.full((1, 2), 1.5)}, r"expected images in \[0, 1\], got values from 1\.5 to 1\.5"),
        ({"images": torch.full((1, 2), math.nan)}, r"expected images in \[0, 1\], got values from nan to nan"),
        ({"detector": lambda x: x}, r"expected the detector to return shape \(2,\), got \(2, 2\)"),
        ({"detector": lambda x: x.sum(1) / 0}, "expected finite logits"),
    ],
)
def test_what_cannot_be_meant_is_refused(options: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {
        "detector": lambda x: x.sum(1),
        "images": torch.full((2, 2), 0.5),
        "ball": L2Ball(0.1),
        "steps": 2,
    }
    with pytest.raises(ValueError, match=message) as raised:
        worst_case(**(arguments | options))
    assert "\n" not in str(raised.value)


def test_a_ball_of_another_kind_is_refused(images: Tensor) -> None:
    other: Any = "l2"
    with pytest.raises(TypeError, match="expected ball to be an L2Ball or a LinfBall, got str"):
        worst_case(lambda x: x.flatten(1).sum(1), images, ball=other)
