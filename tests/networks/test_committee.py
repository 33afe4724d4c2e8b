"""A committee: its logits are its detectors', stacked, listed or on one trunk."""

import pytest
import torch
from torch import Tensor, nn

from genat import networks
from genat.generation import one_of
from genat.networks import Committee, Joint, Select, Together, check_detector

NAMES = ("cat", "dog", "owl")


def images(n: int = 5) -> Tensor:
    return torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def ready(spec: str = "mlp") -> list[nn.Module]:
    options: dict[str, object] = {"hidden": [8]} if spec == "mlp" else {"width": 2}
    return [networks.build(spec, (1, 8, 8), options, seed=seed).eval() for seed in range(3)]


def joint() -> Joint:
    return Joint(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)))


def every_kind() -> list[Committee]:
    stacked = [Committee(Together(ready(spec)).eval(), classes=NAMES) for spec in ("mlp", "small_convnet")]
    return [*stacked, Committee(ready(), classes=NAMES), Committee(joint(), classes=NAMES)]


@pytest.mark.parametrize("kind", range(4))
def test_the_logits_are_those_of_its_detectors(kind: int) -> None:
    committee, x = every_kind()[kind], images()
    expected = torch.stack([detector(x) for detector in committee], dim=1)
    torch.testing.assert_close(committee.classify(x), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(committee(x), expected.max(dim=1).values, rtol=1e-5, atol=1e-6)
    for index, name in enumerate(NAMES):
        for detector in (committee[index], committee[name], one_of(committee, index)):
            torch.testing.assert_close(detector(x), expected[:, index], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(committee.one(index, x), expected[:, index], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", range(4))
def test_paired_takes_each_samples_own_logit(kind: int) -> None:
    committee, x = every_kind()[kind], images(7)
    labels = torch.tensor([2, 0, 2, 0, 0, 2, 2])  # none is of class 1
    expected = committee.classify(x).gather(1, labels[:, None])[:, 0]
    torch.testing.assert_close(committee.paired(x, labels), expected, rtol=1e-5, atol=1e-6)
    assert committee.paired(x[:0], labels[:0]).shape == (0,)


@pytest.mark.parametrize("kind", range(4))
def test_gradients_flow_to_the_weights_and_the_input(kind: int) -> None:
    committee, x = every_kind()[kind], images(4).requires_grad_()
    labels = torch.tensor([0, 1, 2, 1])
    whole = committee.classify(x).gather(1, labels[:, None]).sum()
    wanted = torch.autograd.grad(whole, [x, *committee.parameters()])
    found = torch.autograd.grad(committee.paired(x, labels).sum(), [x, *committee.parameters()])
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_it_is_a_detector() -> None:
    for committee in every_kind():
        check_detector(committee, images())


def test_a_detector_of_a_stack_is_a_copy_and_others_are_shared() -> None:
    stacked, listed, trunk = Committee(Together(ready())), Committee(ready()), Committee(joint(), classes=NAMES)
    with torch.no_grad():
        for committee in (stacked, listed, trunk):
            for parameter in committee[1].parameters():
                parameter.zero_()
    x = images()
    assert stacked.classify(x)[:, 1].abs().sum() > 0
    assert listed.classify(x)[:, 1].abs().sum() == 0
    assert trunk.classify(x).abs().sum() == 0


def test_one_detector_for_several_classes_is_run_once() -> None:
    runs: list[int] = []

    class Counted(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            runs.append(len(x))
            return x.flatten(1).sum(dim=1)

    counted, other = Counted(), ready()[0]
    committee = Committee([counted, other, counted])
    logits = committee.classify(images())
    assert runs == [5]
    assert torch.equal(logits[:, 0], logits[:, 2])
    torch.testing.assert_close(logits[:, 1], other(images()))


def test_two_and_a_thousand() -> None:
    assert Committee(ready()[:2]).classify(images()).shape == (5, 2)
    many = Committee(Together(ready()[:1] * 1000, at_once=50))
    assert many.classify(images(2)).shape == (2, 1000)
    assert many.classes[999] == "999"


def test_state_goes_round() -> None:
    first, second = Committee(Together(ready())), Committee(Together(ready()[::-1]))
    assert not torch.equal(first.classify(images()), second.classify(images()))
    second.load_state_dict(first.state_dict())
    assert torch.equal(first.classify(images()), second.classify(images()))


def test_what_is_no_committee_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a committee of at least two detectors, got 1"):
        Committee(ready()[:1])
    with pytest.raises(ValueError, match="expected a committee of at least two detectors, got 0"):
        Committee(joint())
    with pytest.raises(ValueError, match="expected 3 classes, one a detector, got 2"):
        Committee(ready(), classes=["cat", "dog"])
    with pytest.raises(ValueError, match="expected classes with different names, got cat, cat, owl"):
        Committee(ready(), classes=["cat", "cat", "owl"])
    with pytest.raises(ValueError, match=r"expected logits \(5, 2\) of the committee, got \(5, 3\)"):
        Committee(joint(), classes=["cat", "dog"])(images())
    with pytest.raises(ValueError, match=r"expected detector 1 to return shape \(5,\), got \(5, 64\)"):
        Committee([nn.Sequential(nn.Flatten(), Select(0)), nn.Flatten()])(images())


def test_what_is_not_in_it_is_refused() -> None:
    committee = Committee(ready(), classes=NAMES)
    with pytest.raises(KeyError, match="expected a class of cat, dog, owl, got 'cow'"):
        committee["cow"]
    with pytest.raises(IndexError, match="expected a class from 0 to 2, got 3"):
        committee[3]
    with pytest.raises(ValueError, match=r"expected a label a sample, \(5,\), got \(4,\)"):
        committee.paired(images(), torch.zeros(4, dtype=torch.int64))
    with pytest.raises(ValueError, match="expected labels from 0 to 2, got -1 to 3"):
        committee.paired(images(2), torch.tensor([-1, 3]))
    with pytest.raises(IndexError, match="expected a member from 0 to 2, got 7"):
        Committee(Together(ready())).one(7, images())
