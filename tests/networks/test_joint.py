"""A network of K logits as a detector: the log-sum-exp, to the definition and to the bit where there is one."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from genat.networks import Joint, build, build_joint, check_detector
from genat.networks.layers import Select


def images(n: int = 5, *, channels: int = 1) -> Tensor:
    return torch.rand(n, channels, 8, 8, generator=torch.Generator().manual_seed(0))


def joint(outputs: int = 4) -> Joint:
    return Joint(nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, outputs)))


def test_the_logit_is_the_log_of_the_sum_of_exponentials() -> None:
    net = joint().double()
    x = images().double()
    logits = net.classifier(x)
    torch.testing.assert_close(net(x), logits.exp().sum(1).log(), rtol=0, atol=1e-12)
    assert torch.equal(net.classify(x), logits)


def test_a_class_is_the_detector_and_how_probable_it_is() -> None:
    net = joint().double()
    x = images().double()
    parts = net(x)[:, None] + net.classify(x).log_softmax(dim=1)
    torch.testing.assert_close(net.classify(x), parts, rtol=0, atol=1e-12)
    assert (net(x) > net.classify(x).max(dim=1).values).all()
    assert (net(x) < net.classify(x).max(dim=1).values + math.log(4)).all()


def test_its_gradient_is_the_classes_gradients_weighed_by_how_probable_they_are() -> None:
    net = joint().double()
    x = images().double().requires_grad_()
    (gradient,) = torch.autograd.grad(net(x).sum(), x)
    logits = net.classify(x)
    each = [torch.autograd.grad(logits[:, k].sum(), x, retain_graph=True)[0] for k in range(4)]
    weighed = sum(p.view(-1, 1, 1, 1) * g for p, g in zip(logits.softmax(dim=1).T, each, strict=True))
    torch.testing.assert_close(gradient, weighed, rtol=0, atol=1e-12)


def test_large_logits_do_not_overflow() -> None:
    logits = torch.tensor([[1e4, 1e4], [-1e4, 0.0]], dtype=torch.float64)
    assert Joint(nn.Flatten())(logits).tolist() == pytest.approx([1e4 + math.log(2), 0.0], abs=1e-9)


def test_of_one_logit_it_is_the_network_to_the_bit() -> None:
    net = joint(1)
    x = images().requires_grad_()
    assert torch.equal(net(x), net.classifier(x)[:, 0])
    (gradient,) = torch.autograd.grad(net(x).sum(), x)
    (plain,) = torch.autograd.grad(net.classifier(x).sum(), x)
    assert torch.equal(gradient, plain)


@pytest.mark.parametrize("network", [Select(0), nn.Flatten(0), nn.Identity()], ids=["(N,)", "(N K,)", "(N, C, H, W)"])
def test_outputs_that_are_no_classes_are_refused(network: nn.Module) -> None:
    x = torch.zeros(2, 3) if not isinstance(network, nn.Identity) else images(2)
    for call in (Joint(network), Joint(network).classify):
        with pytest.raises(ValueError, match=r"^expected a classifier of outputs \(N, K\), got \("):
            call(x)


# by name


SMALL: dict[str, dict[str, object]] = {
    "mlp": {"hidden": [8]},
    "convnet": {"channels": [4], "width": 8},
    "small_convnet": {"width": 2},
    "wide_resnet": {"depth": 10, "widen": 1},
    "preact_resnet32": {"widen": 1},
}


@pytest.mark.parametrize("name", SMALL)
def test_a_network_of_the_package_keeps_a_logit_for_each_class(name: str) -> None:
    net = build_joint(name, (3, 8, 8), SMALL[name], classes=3, seed=0)
    x = images(4, channels=3)
    assert net.classify(x).shape == (4, 3)
    check_detector(net, x)


def test_the_weights_are_the_seeds_and_those_of_the_classifier() -> None:
    first, same, other = (build_joint("mlp", (2,), {"hidden": [8]}, classes=3, seed=seed) for seed in (0, 0, 1))
    plain = build("mlp", (2,), {"hidden": [8], "outputs": 3, "logit": 2}, seed=0)
    for ours, again, another, theirs in zip(
        first.parameters(), same.parameters(), other.parameters(), plain.parameters(), strict=True
    ):
        assert torch.equal(ours, again)
        assert torch.equal(ours, theirs)
        assert not torch.equal(ours, another)


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        ("mlp", {"outputs": 5}, r"^expected 3 logits a sample from mlp, one a class, got \(2, 5\) for 2 samples$"),
        ("mlp", {"logit": 0}, r"^expected 3 logits a sample from mlp, one a class, got \(2,\) for 2 samples$"),
        ("mlp", {"hiden": [3]}, r"^expected options of mlp \("),
        ("mpl", {}, r'^expected a network mlp, .* or "package.module:function", got mpl$'),
        ("own_networks:detector", {}, r"^expected 3 logits a sample from own_networks:detector, .* got \(2,\)"),
        ("own_networks:mixing", {}, "^expected a logit that depends on its own sample alone"),
    ],
)
def test_what_gives_no_logit_for_each_class_is_refused(
    spec: str, options: dict[str, object], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_networks.py").write_text(OWN, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message) as caught:
        build_joint(spec, (2,), options, classes=3, seed=0)
    assert "\n" not in str(caught.value)


def test_a_function_of_ones_own_gives_a_classifier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_classifiers.py").write_text(OWN, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    net = build_joint("own_classifiers:classifier", (2,), classes=3, seed=0)
    assert net.classify(torch.zeros(4, 2)).shape == (4, 3)
    assert net(torch.zeros(4, 2)).shape == (4,)


OWN = """
from torch import nn

def classifier(shape):
    return nn.Linear(*shape, 3)

def detector(shape):
    return nn.Sequential(nn.Linear(*shape, 1), nn.Flatten(0))

class Mixing(nn.Linear):
    def forward(self, x):
        y = super().forward(x)
        return y - y.mean(0)

def mixing(shape):
    return Mixing(*shape, 3)
"""
