"""Decisions: labels and scores on logits made by hand, the law of rejection, and rates counted by a loop."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import genat
from genat import networks
from genat.decisions import (
    Confident,
    Decision,
    Generative,
    Integrated,
    Rates,
    System,
    error_at_accuracy,
    rates,
    threshold,
    wrong_scores,
)
from genat.networks import Committee, Joint, Select, Together
from genat.ranking import threshold_for_tpr

KINDS = ("generative", "confident", "integrated", "integrated, listed")


class Part(nn.Module):
    """Takes some columns of its input for logits."""

    def __init__(self, start: int, stop: int) -> None:
        super().__init__()
        self.start, self.stop = start, stop

    def forward(self, x: Tensor) -> Tensor:
        return x[:, self.start : self.stop]


def trunk(start: int, k: int) -> Committee:
    return Committee(Joint(Part(start, start + k)), classes=[f"class {i}" for i in range(k)])


def system(kind: str, k: int) -> System:
    """A system on (N, 2K): first the classifier's logits, then the detectors'."""
    if kind == "generative":
        return Generative(trunk(k, k))
    if kind == "confident":
        return Confident(Part(0, k))
    if kind == "integrated":
        return Integrated(Part(0, k), trunk(k, k))
    return Integrated(Part(0, k), Committee([Select(k + i) for i in range(k)]))


def beside(classifier: list[list[float]], detectors: list[list[float]]) -> Tensor:
    return torch.cat([torch.tensor(classifier), torch.tensor(detectors)], dim=1)


def drawn(n: int, k: int, *, how: str, seed: int = 0) -> Tensor:
    """Logits: normal, of size 1e4, 1e4 and nearly equal, integers with many ties, or all of float64's digits."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 2 * k, generator=generator, dtype=torch.float64)
    return {
        "normal": x.float(),
        "large": (1e4 * x).float(),
        "close": (1e4 + x / 100).float(),
        "tied": x.round().float(),
        "double": x,
        "last bits": 1 + x.round() * 2.0**-52,
    }[how]


HOWS = ("normal", "large", "close", "tied", "double", "last bits")


# the rules


def test_generative_is_the_largest_logit_and_how_large_it_is() -> None:
    x = torch.tensor([[-0.7, 3.9, 0.99], [1e4, 1e4 + 0.5, -1e4], [2.0, 2.0, 1.0], [-282.41, -300.0, -282.4]])
    decision = Generative(trunk(0, 3)).decide(x)
    assert decision.labels.tolist() == [1, 1, 0, 2]
    assert torch.equal(decision.scores, x.double().amax(dim=1))
    assert decision.labels.dtype == torch.int64
    assert decision.scores.dtype == torch.float64


def test_logits_less_than_one_apart_stay_apart() -> None:
    x = torch.tensor([[3.9, 3.1, 0.0, 0.4, -0.9, -0.2]])
    assert Generative(trunk(0, 3)).decide(x).scores.item() == pytest.approx(3.9, abs=1e-6)
    found = [Integrated(Part(0, 3), trunk(3, 3)).decide(torch.tensor([row])) for row in x.tolist()]
    assert found[0].scores.item() == pytest.approx(0.4, abs=1e-6)
    assert Generative(trunk(0, 3)).decide(x - 0.8).scores.item() == pytest.approx(3.1, abs=1e-6)
    assert Generative(trunk(3, 3)).decide(-x).labels.item() == 1  # 0.9 over 0.2, both 0 as integers


def test_confident_ranks_by_the_log_odds_of_the_softmax() -> None:
    x = drawn(500, 5, how="double")
    p = x[:, :5].softmax(dim=1)
    torch.testing.assert_close(system("confident", 5).margins(x), p.log() - (1 - p).log(), rtol=1e-10, atol=1e-10)
    decision = system("confident", 5).decide(x)
    assert torch.equal(decision.labels, p.argmax(dim=1))
    assert torch.equal(decision.scores.argsort(), p.amax(dim=1).argsort())


def test_confident_is_exact_where_the_softmax_is_one() -> None:
    x = torch.tensor([[1e4, 0.0], [1e4 + 0.5, 0.0], [1e4, 1e4 - 0.5], [-1e4, 1e4]])
    decision = Confident(Part(0, 2)).decide(x)
    assert decision.labels.tolist() == [0, 0, 0, 1]
    assert decision.scores.tolist() == [1e4, 1e4 + 0.5, 0.5, 2e4]
    margins = Confident(Part(0, 3)).margins(torch.tensor([[1e4, 0.0, 0.0], [0.0, 0.0, -1e4]]))
    wanted = [[1e4 - math.log(2), -1e4, -1e4], [0.0, 0.0, -1e4 - math.log(2)]]
    torch.testing.assert_close(margins, torch.tensor(wanted, dtype=torch.float64), rtol=1e-15, atol=1e-300)


def test_integrated_is_the_classifiers_label_and_that_classs_detector() -> None:
    x = beside(
        [[3.0, 1.0, 2.5], [0.0, 1e4, 1e4 - 0.5], [2.0, 2.0, 1.0]],
        [[-7.25, 9.0, 9.0], [9.0, 1e4 + 0.5, 9.0], [-0.7, 5.0, 5.0]],
    )
    for kind in ("integrated", "integrated, listed"):
        decision = system(kind, 3).decide(x)
        assert decision.labels.tolist() == [0, 1, 0]
        assert torch.equal(decision.scores, torch.stack([x[0, 3], x[1, 4], x[2, 3]]).double())


def test_integrated_margins_in_closed_form() -> None:
    x = beside([[3.0, 1.0, 2.5]], [[-7.25, 9.0, 9.0]])
    wanted = torch.tensor([[-7.25, -2.0 - 2**20, -0.5 - 2**20]], dtype=torch.float64)
    assert torch.equal(system("integrated", 3).margins(x), wanted)


# laws of all systems


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_first_of_the_largest_margins_is_the_label_and_its_value_the_score(kind: str, how: str) -> None:
    for k in (2, 3, 10):
        x, one = drawn(2000, k, how=how), system(kind, k)
        margins, decision = one.margins(x), one.decide(x)
        assert torch.equal(margins.argmax(dim=1), decision.labels)
        assert torch.equal(margins.amax(dim=1), decision.scores)
        assert torch.equal(one(x), decision.scores)
        says = x[:, k:] if kind == "generative" else x[:, :k]
        assert torch.equal(says.argmax(dim=1), decision.labels)


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("kind", KINDS)
def test_rejecting_is_the_label_exactly_where_the_system_accepts(kind: str, how: str) -> None:
    for k in (2, 3, 10):
        x, one = drawn(2000, k, how=how), system(kind, k)
        decision = one.decide(x)
        middle = decision.scores.sort().values[1000].item()
        near = [math.nextafter(middle, -math.inf), middle, math.nextafter(middle, math.inf)]
        accepted = []
        for level in [*near, 0.0, 1.5, -math.inf, math.inf]:
            logits = one.rejecting(x, threshold=level)
            assert logits.shape == (2000, k + 1)
            wanted = torch.where(decision.scores >= level, decision.labels, k)
            assert torch.equal(logits.argmax(dim=1), wanted), (k, level)
            accepted.append(int((wanted < k).sum()))
        assert accepted[1] > accepted[2]  # on the threshold is accepted
        assert accepted[-2:] == [2000, 0]


def test_rejecting_in_closed_form() -> None:
    x = beside([[3.0, 1.0, 2.5]], [[4.0, -9.0, 9.0]])
    assert system("generative", 3).rejecting(x, threshold=0.25).tolist() == [[4.0, -9.0, 9.0, 0.25]]
    assert system("integrated", 3).rejecting(x, threshold=3.75).tolist() == [[0.25, -12.75, -0.5, 0.0]]
    assert system("integrated", 3).rejecting(x, threshold=3.0).tolist() == [[0.5, -12.0, -0.5, 0.0]]
    assert Confident(Part(0, 2)).rejecting(x, threshold=2.0).tolist() == [[2.0, -2.0, 2.0]]


def test_a_tied_class_that_its_detector_would_accept_does_not_undo_a_rejection() -> None:
    x = beside([[1.0, 1.0]], [[-3.0, 8.0]])
    assert system("integrated", 2).decide(x).scores.item() == -3
    assert system("integrated", 2).rejecting(x, threshold=0.0).argmax().item() == 2


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_is_the_largest_of_toward_the_other_classes(kind: str) -> None:
    k = 4
    x, one = drawn(300, k, how="normal"), system(kind, k)
    labels = torch.arange(300) % k
    each = torch.stack([one.toward(x, torch.full((300,), i)) for i in range(k)], dim=1)
    assert torch.equal(each, one.margins(x))
    others = [[value for i, value in enumerate(row) if i != y] for row, y in zip(each.tolist(), labels, strict=True)]
    assert one.wrong(x, labels).tolist() == [max(row) for row in others]
    decision = one.decide(x)
    fooled = decision.labels != labels
    assert torch.equal(one.wrong(x, labels)[fooled], decision.scores[fooled])


def test_what_the_classifier_does_not_give_a_class_ranks_below_all_that_it_does() -> None:
    x = beside([[0.0, 1e-6], [0.0, 1e4], [1e-6, 0.0], [1e4, 0.0]], [[1e5, 1e5]] * 2 + [[-1e5, 1e5]] * 2)
    values = system("integrated", 2).toward(x, torch.zeros(4, dtype=torch.int64))
    assert values[:2].max() < values[2:].min()
    assert values[0] > values[1]  # the nearer to being fooled, the higher
    assert values[0] - values[1] == pytest.approx(1e4, abs=1e-3)


def test_on_networks_as_one_batch_the_law_of_rejection_holds_to_the_last_bit() -> None:
    detectors = [networks.build("mlp", (1, 8, 8), {"hidden": [8]}, seed=seed) for seed in range(3)]
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        classifier = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    one = Integrated(classifier, Committee(Together(detectors))).eval()
    x = torch.rand(60, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    decision = one.decide(x)
    assert len(set(decision.labels.tolist())) > 1
    for level in decision.scores.tolist():
        wanted = torch.where(decision.scores >= level, decision.labels, 3)
        assert torch.equal(one.rejecting(x, threshold=level).argmax(dim=1), wanted)


# gradients


def slope(value: Callable[[Tensor], Tensor], x: Tensor) -> list[list[float]]:
    x = x.clone().requires_grad_()
    found: list[list[float]] = torch.autograd.grad(value(x).sum(), x)[0].tolist()
    return found


def test_integrated_climbs_the_classifier_until_it_is_fooled_and_then_the_detector() -> None:
    one, y = system("integrated", 3), torch.tensor([0, 0])
    x = beside([[3.0, 1.0, 2.5], [1.0, 3.0, 2.5]], [[4.0, 5.0, 6.0], [4.0, 5.0, 6.0]])
    wanted = [[-1.0, 0.0, 1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0, 1.0, 0.0]]
    assert slope(lambda x: one.wrong(x, y), x) == wanted
    kinds = torch.tensor([1, 2])
    assert slope(lambda x: one.toward(x, kinds), x) == [[-1.0, 1.0, 0, 0, 0, 0], [0.0, -1.0, 1.0, 0, 0, 0]]


def test_an_ascent_on_wrong_fools_the_classifier_and_then_raises_the_score() -> None:
    one, y = system("integrated", 3), torch.tensor([0])
    start = beside([[2.0, 0.0, 1.0]], [[0.0, 0.0, 0.0]])
    climbed = genat.ascend(lambda x: one.wrong(x, y), start, steps=20, step_size=0.2, box=None)
    before, after = one.decide(start), one.decide(climbed)
    assert (before.labels.item(), after.labels.item()) == (0, 2)
    assert after.scores.item() == pytest.approx(0.2 * (20 - 4), abs=1e-5)  # four steps of 0.2 * sqrt(2) close the gap


@pytest.mark.parametrize("size", [1.0, 1e4])
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_finite_and_nowhere_zero(kind: str, size: float) -> None:
    k = 5
    x, one = drawn(200, k, how="normal") * size, system(kind, k)
    labels = torch.arange(200) % k
    values: list[Callable[[Tensor], Tensor]] = [lambda x: one.wrong(x, labels), lambda x: one.toward(x, labels)]
    for value in [*values, one.forward]:
        found = torch.tensor(slope(value, x))
        assert found.isfinite().all()
        assert (found.abs().sum(dim=1) > 0.5).all()
    tied = torch.tensor(slope(lambda x: one.rejecting(x, threshold=0.0)[:, :k], torch.zeros(3, 2 * k)))
    assert tied.isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_finite_differences(kind: str) -> None:
    x, one = drawn(6, 3, how="double").requires_grad_(), system(kind, 3)
    assert torch.autograd.gradcheck(lambda x: one.rejecting(x, threshold=0.25), x)
    if "integrated" not in kind:  # whose constant of 2^20 costs finite differences the digits
        assert torch.autograd.gradcheck(one.margins, x)


# modes


def test_deciding_is_in_eval_mode_without_gradients_and_leaves_no_trace() -> None:
    one = Confident(nn.Sequential(nn.Flatten(), nn.Dropout(0.5), Part(0, 2))).train()
    x = torch.tensor([[2.0, 1.0]] * 50).requires_grad_()
    decision = one.decide(x)
    assert decision.scores.tolist() == [1.0] * 50
    assert not decision.scores.requires_grad
    assert all(module.training for module in one.modules())


def test_a_system_knows_its_classes_and_takes_an_empty_batch() -> None:
    for kind in KINDS:
        one = system(kind, 3)
        assert one.decide(torch.zeros(0, 6)).labels.shape == (0,)
        assert one.wrong(torch.zeros(0, 6), torch.zeros(0, dtype=torch.int64)).shape == (0,)
        assert one.classes == 3
    assert Confident(nn.Flatten(), classes=4).classes == 4


# what a threshold accepts


def double(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def made(scores: list[float], right: list[bool]) -> tuple[Decision, Tensor]:
    """A decision of so many inputs of class 0 of which those are labelled so that are right."""
    labels = torch.tensor([0 if one else 1 for one in right], dtype=torch.int64)
    return Decision(labels, double(scores)), torch.zeros(len(scores), dtype=torch.int64)


def test_the_rates_by_hand() -> None:
    clean, y = made([4.0, 3.0, 3.0, 1.0], [True, True, False, True])
    curve = rates(clean, y, double([3.5, 3.0, -math.inf, 0.5, 1e4]))
    assert curve.thresholds.tolist() == [0.5, 1.0, 3.0, 3.5, 4.0, 1e4]
    assert curve.tpr.tolist() == [1.0, 1.0, 0.75, 0.25, 0.25, 0.0]
    assert curve.accuracy.tolist() == [0.75, 0.75, 0.5, 0.25, 0.25, 0.0]
    assert curve.error.tolist() == [0.8, 0.6, 0.6, 0.4, 0.2, 0.2]
    assert torch.equal(curve.fpr, curve.error)


halves = st.integers(-6, 6).map(lambda n: n / 2)
some = st.lists(st.tuples(st.one_of(halves, st.floats(-1e30, 1e30)), st.booleans()), min_size=1, max_size=20)


@given(clean=some, perturbed=some, grid=st.one_of(st.none(), st.lists(halves, min_size=1, max_size=9)))
def test_the_rates_are_those_of_a_loop(
    clean: list[tuple[float, bool]], perturbed: list[tuple[float, bool]], grid: list[float] | None
) -> None:
    decision, y = made([score for score, _ in clean], [right for _, right in clean])
    attacked, truth = made([score for score, _ in perturbed], [right for _, right in perturbed])
    curve = rates(decision, y, wrong_scores(attacked, truth), thresholds=grid)
    if grid is not None:
        assert curve.thresholds.tolist() == sorted(grid)
    for i, level in enumerate(curve.thresholds.tolist()):
        assert curve.tpr[i].item() == sum(score >= level for score, _ in clean) / len(clean)
        assert curve.accuracy[i].item() == sum(score >= level and right for score, right in clean) / len(clean)
        assert curve.error[i].item() == sum(score >= level and not right for score, right in perturbed) / len(perturbed)


@given(clean=some, perturbed=some)
def test_rates_fall_and_step_only_at_the_thresholds_that_are_listed(
    clean: list[tuple[float, bool]], perturbed: list[tuple[float, bool]]
) -> None:
    decision, y = made([score for score, _ in clean], [right for _, right in clean])
    attacked, truth = made([score for score, _ in perturbed], [right for _, right in perturbed])
    wrong = wrong_scores(attacked, truth)
    curve = rates(decision, y, wrong)
    assert (curve.thresholds.diff() > 0).all()
    assert (curve.accuracy <= curve.tpr).all()
    above = [math.nextafter(level, math.inf) for level in curve.thresholds.tolist()]
    after = rates(decision, y, wrong, thresholds=above)
    for name in ("tpr", "fpr", "accuracy", "error"):
        values, then = getattr(curve, name), getattr(after, name)
        assert (values.diff() <= 0).all(), name
        assert torch.equal(then, torch.cat([values[1:], values.new_zeros(1)])), name


def test_the_error_of_the_largest_wrong_scores_is_the_worst_case_sample_by_sample() -> None:
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(3, (40,), generator=generator)
    attacks = [
        Decision(
            torch.randint(3, (40,), generator=generator), torch.randn(40, generator=generator, dtype=torch.float64)
        )
        for _ in range(3)
    ]
    worst = torch.stack([wrong_scores(attack, y) for attack in attacks]).amax(dim=0)
    curve = rates(attacks[0], y, worst)
    for i, level in enumerate(curve.thresholds.tolist()):
        beaten = torch.stack([(attack.scores >= level) & (attack.labels != y) for attack in attacks]).any(dim=0)
        assert curve.error[i].item() == beaten.double().mean().item()


def test_rates_of_large_logits_keep_their_differences() -> None:
    scores = torch.tensor([1e4, 1e4 + 0.5, 1e4 + 1, -1e4])
    clean = Generative(Committee([nn.Flatten(0), nn.Flatten(0)])).decide(scores)
    curve = rates(clean, torch.zeros(4, dtype=torch.int64), torch.tensor([1e4 + 0.25, -math.inf]))
    assert curve.thresholds.tolist() == [-1e4, 1e4, 1e4 + 0.25, 1e4 + 0.5, 1e4 + 1]
    assert curve.error.tolist() == [0.5, 0.5, 0.5, 0.0, 0.0]
    assert curve.accuracy.tolist() == [1.0, 0.75, 0.5, 0.5, 0.25]


def test_wrong_scores_are_those_of_wrong_labels() -> None:
    decision = Decision(torch.tensor([0, 2, 1]), torch.tensor([1.5, -2.0, 1e4]))
    found = wrong_scores(decision, torch.tensor([0, 1, 0]))
    assert found.tolist() == [-math.inf, -2.0, 1e4]
    assert found.dtype == torch.float64


def test_error_at_accuracy_by_hand() -> None:
    clean, y = made([4.0, 3.0, 2.0, 1.0], [True, True, True, False])
    curve = rates(clean, y, double([3.5, 2.5, 1.5, 0.5]))
    assert [error_at_accuracy(curve, share) for share in (0.25, 0.26, 0.5, 0.75)] == [0.0, 0.25, 0.25, 0.5]
    coarse = rates(clean, y, double([3.5, 2.5, 1.5, 0.5]), thresholds=[2.0, 1.0, 0.0])
    assert error_at_accuracy(coarse, 0.25) == 0.5


@given(clean=some, perturbed=some, accuracy=st.floats(0.01, 1.0))
def test_error_at_accuracy_is_the_least_of_the_thresholds_that_keep_it(
    clean: list[tuple[float, bool]], perturbed: list[tuple[float, bool]], accuracy: float
) -> None:
    decision, y = made([score for score, _ in clean], [right for _, right in clean])
    attacked, truth = made([score for score, _ in perturbed], [right for _, right in perturbed])
    curve = rates(decision, y, wrong_scores(attacked, truth))
    pairs = zip(curve.accuracy.tolist(), curve.error.tolist(), strict=True)
    kept = [error for share, error in pairs if share >= accuracy - 1e-9]
    if kept:
        assert error_at_accuracy(curve, accuracy) == min(kept)
    else:
        with pytest.raises(ValueError, match=r"^expected an accuracy that some threshold keeps, at most \S+, got \S+$"):
            error_at_accuracy(curve, accuracy)


def test_an_accuracy_whose_last_bits_were_lost_is_the_same_accuracy() -> None:
    clean, y = made([float(i) for i in range(10)], [True] * 10)
    curve = rates(clean, y, double([6.5, -math.inf]))
    assert 0.1 + 0.2 > 0.3
    assert error_at_accuracy(curve, 0.1 + 0.2) == error_at_accuracy(curve, 0.3) == 0.0


def test_the_threshold_is_that_of_ranking() -> None:
    decision = Decision(torch.zeros(40, dtype=torch.int64), torch.arange(40.0, dtype=torch.float64))
    assert threshold(decision) == threshold_for_tpr(decision.scores, tpr=0.95) == 2.0
    assert threshold(decision, tpr=0.5) == 20.0


# faults


def test_labels_are_checked() -> None:
    x = torch.zeros(2, 6)
    for kind in KINDS:
        one = system(kind, 3)
        for verb, name in ((one.wrong, "labels"), (one.toward, "kinds")):
            with pytest.raises(ValueError, match=rf"^expected {name} from 0 to 2, got -1 to 3$"):
                verb(x, torch.tensor([-1, 3]))
            with pytest.raises(ValueError, match=rf"^expected {name} \(2,\) of int64, got \(3,\) of torch.int64$"):
                verb(x, torch.tensor([0, 1, 2]))
            with pytest.raises(ValueError, match=rf"^expected {name} \(2,\) of int64, got \(2,\) of torch.float32$"):
                verb(x, torch.zeros(2))


def test_a_classifier_of_other_classes_than_the_committee_is_refused() -> None:
    one = Integrated(Part(0, 4), trunk(0, 3))
    verbs: list[Callable[[Tensor], object]] = [one.decide, one.margins, lambda x: one.rejecting(x, threshold=0.0)]
    for verb in verbs:
        with pytest.raises(ValueError, match=r"^expected logits \(2, 3\) of the classifier, got \(2, 4\)$"):
            verb(torch.zeros(2, 4))
    with pytest.raises(ValueError, match=r"^expected logits \(2, 3\) of the classifier, got \(2,\)$"):
        Integrated(Select(0), trunk(0, 3)).margins(torch.zeros(2, 4))


def test_confident_refuses_what_is_no_classifier() -> None:
    with pytest.raises(ValueError, match=r"^expected logits \(2, K\) with K >= 2 of the classifier, got \(2,\)$"):
        Confident(Select(0)).decide(torch.zeros(2, 4))
    with pytest.raises(ValueError, match=r"^expected logits \(2, K\) with K >= 2 of the classifier, got \(2, 1\)$"):
        Confident(nn.Flatten()).decide(torch.zeros(2, 1))
    with pytest.raises(ValueError, match=r"^expected logits \(2, K\) with K >= 2 of the classifier, got \(1, 2, 4\)$"):
        Confident(nn.Unflatten(0, (1, 2))).decide(torch.zeros(2, 4))
    with pytest.raises(ValueError, match=r"^expected logits \(2, 3\) of the classifier, got \(2, 4\)$"):
        Confident(nn.Flatten(), classes=3).decide(torch.zeros(2, 4))
    with pytest.raises(ValueError, match=r"^expected at least 2 classes, got 1$"):
        Confident(nn.Flatten(), classes=1)
    seen = Confident(nn.Flatten())
    seen.decide(torch.zeros(2, 4))
    with pytest.raises(ValueError, match=r"^expected logits \(2, 4\) of the classifier, got \(2, 5\)$"):
        seen.decide(torch.zeros(2, 5))


def test_a_classifier_that_has_not_run_does_not_tell_its_classes() -> None:
    with pytest.raises(ValueError, match=r"^expected a number of classes, or a classifier that has run once"):
        Confident(nn.Flatten()).classes  # noqa: B018


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize(
    ("kind", "column"), [("generative", 3), ("confident", 0), ("integrated", 0), ("integrated", 3)]
)
def test_logits_that_are_not_finite_are_refused(kind: str, column: int, bad: float) -> None:
    x = torch.zeros(4, 6)
    x[2, column] = bad
    with pytest.raises(ValueError, match=r"^expected finite logits, got some that are not for 1 of 4 inputs$"):
        system(kind, 3).decide(x)


def test_detectors_logits_further_down_than_the_gap_are_refused() -> None:
    x = beside([[1.0, 0.0]], [[-(2.0**20), 0.0]])
    with pytest.raises(ValueError, match=r"^expected detectors' logits above -1048576, got -1.04858e\+06$"):
        system("integrated", 2).margins(x)


@pytest.mark.parametrize("kind", KINDS)
def test_a_threshold_that_is_no_number_is_refused(kind: str) -> None:
    with pytest.raises(ValueError, match=r"^expected a threshold that is a number, got nan$"):
        system(kind, 3).rejecting(torch.zeros(2, 6), threshold=math.nan)


def test_a_decision_has_a_label_and_a_score_each() -> None:
    with pytest.raises(ValueError, match=r"^expected labels and scores of shape \(N,\), got \(2,\) and \(3,\)$"):
        Decision(torch.zeros(2, dtype=torch.int64), torch.zeros(3))
    with pytest.raises(ValueError, match=r"^expected labels and scores of shape \(N,\), got \(2, 1\) and \(2, 1\)$"):
        Decision(torch.zeros(2, 1, dtype=torch.int64), torch.zeros(2, 1))


def curve_of(
    *, scores: list[float], labels: int = 2, wrong: Tensor | None = None, thresholds: list[float] | None = None
) -> Rates:
    clean = Decision(torch.zeros(len(scores), dtype=torch.int64), double(scores))
    return rates(
        clean,
        torch.zeros(labels, dtype=torch.int64),
        double([1.0]) if wrong is None else wrong,
        thresholds=thresholds,
    )


def test_rates_refuse_what_they_cannot_count() -> None:
    for bad in ([1.0, math.nan], [1.0, -math.inf]):
        match = (
            r"^expected at least one clean score and all of them finite, got shape \(2,\) with 1 that is not finite$"
        )
        with pytest.raises(ValueError, match=match):
            curve_of(scores=bad)
    with pytest.raises(ValueError, match=r"^expected at least one clean score .* got shape \(0,\) with 0 that are not"):
        curve_of(scores=[], labels=0)
    with pytest.raises(ValueError, match=r"^expected a label an input, \(2,\), got \(3,\)$"):
        curve_of(scores=[1.0, 2.0], labels=3)
    for wrong in (double([math.inf]), double([math.nan]), double([]), torch.zeros(1, 1)):
        match = r"^expected wrong_scores \(M,\), M >= 1, finite or minus infinity, got shape \("
        with pytest.raises(ValueError, match=match):
            curve_of(scores=[1.0, 2.0], wrong=wrong)
    for thresholds in ([], [math.nan], [-math.inf], [math.inf]):
        with pytest.raises(ValueError, match=r"^expected thresholds \(T,\), T >= 1, all finite, got shape \(\d,\)"):
            curve_of(scores=[1.0, 2.0], thresholds=thresholds)
    with pytest.raises(ValueError, match=r"^expected a label an input, \(1,\), got \(2,\)$"):
        wrong_scores(Decision(torch.zeros(1, dtype=torch.int64), double([1.0])), torch.zeros(2, dtype=torch.int64))


def test_an_accuracy_out_of_range_or_out_of_reach_is_refused() -> None:
    clean, y = made([4.0, 3.0], [True, False])
    curve = rates(clean, y, double([1.0]))
    for bad in (0.0, -0.5, 1.01, math.nan):
        with pytest.raises(ValueError, match=r"^expected accuracy in \(0, 1\], got "):
            error_at_accuracy(curve, bad)
    match = r"^expected an accuracy that some threshold keeps, at most 0\.5, got 0\.75$"
    with pytest.raises(ValueError, match=match):
        error_at_accuracy(curve, 0.75)


def test_a_threshold_needs_finite_scores_and_a_share() -> None:
    decision = Decision(torch.zeros(2, dtype=torch.int64), double([1.0, math.nan]))
    with pytest.raises(ValueError, match="to be finite, got 1 values of 2 that are not"):
        threshold(decision)
    with pytest.raises(ValueError, match=r"^expected tpr in \(0, 1\], got 0$"):
        threshold(Decision(torch.zeros(1, dtype=torch.int64), double([1.0])), tpr=0)
