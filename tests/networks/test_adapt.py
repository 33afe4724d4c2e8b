import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from genat.ascent import climb
from genat.networks import Hosted, check_detector, from_classifier, parameter_count, take_logit


def _classifier() -> nn.Sequential:
    body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5))
    network = nn.Sequential(body, nn.Flatten(), nn.Linear(4 * 36, 10))
    body.get_buffer("1.running_mean").fill_(0.1)
    body.get_buffer("1.running_var").fill_(2.0)
    return network


@pytest.fixture
def images(generator: torch.Generator) -> Tensor:
    return torch.rand(5, 3, 8, 8, generator=generator)


@pytest.mark.parametrize("logit", [0, 3, 9])
def test_the_logit_is_the_classifiers(logit: int, images: Tensor) -> None:
    classifier = _classifier()
    detector = from_classifier(classifier, logit=logit, shape=(3, 8, 8)).eval()
    assert torch.equal(detector(images), classifier.eval()(images)[:, logit])


@pytest.mark.parametrize("classify", [lambda x: x.sum(dim=(1, 2, 3)), lambda x: x.sum(dim=(2, 3))[:, :1]])
def test_a_detector_stays_one(classify: Callable[[Tensor], Tensor], images: Tensor) -> None:
    class Plain(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return classify(x)

    detector = from_classifier(Plain(), shape=(3, 8, 8))
    assert torch.equal(detector(images), classify(images).flatten())


def test_the_classifier_is_copied_and_left_alone(images: Tensor) -> None:
    classifier = _classifier()
    before, flags = copy.deepcopy(classifier.state_dict()), [module.training for module in classifier.modules()]
    detectors = [from_classifier(classifier, logit=logit) for logit in (0, "new")]
    for detector in detectors:
        detector.train()(images).sum().backward()
        with torch.no_grad():
            for parameter in detector.parameters():
                parameter.add_(1.0)
    assert [module.training for module in classifier.modules()] == flags
    assert all(parameter.grad is None for parameter in classifier.parameters())
    for name, tensor in classifier.state_dict().items():
        assert torch.equal(tensor, before[name]), name


@pytest.mark.parametrize(
    "norm",
    [
        nn.BatchNorm2d(3),
        nn.BatchNorm2d(3, momentum=None),
        nn.SyncBatchNorm(3),
        nn.InstanceNorm2d(3, affine=True, track_running_stats=True),
    ],
    ids=repr,
)
def test_running_statistics_stay_and_affine_maps_train(norm: nn.Module, images: Tensor) -> None:
    detector = from_classifier(nn.Sequential(norm, nn.Flatten(), nn.Linear(192, 2)))
    kept = {name: buffer.clone() for name, buffer in detector.named_buffers()}
    evaluated = detector.eval()(images)
    for mode in (True, False, True):
        assert torch.equal(detector.train(mode)(images), evaluated)
        assert detector.training is mode
    detector(images).square().sum().backward()
    layer = detector.get_submodule("network.0")
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in layer.parameters())
    for name, buffer in detector.named_buffers():
        assert torch.equal(buffer, kept[name]), name


def test_they_stay_frozen_inside_another_module_and_in_a_copy(images: Tensor) -> None:
    outer = nn.ModuleList([from_classifier(_classifier())])
    for module in (outer.train(), copy.deepcopy(outer).eval().train()):
        norm, dropout = module.get_submodule("0.network.0.1"), module.get_submodule("0.network.0.3")
        assert dropout.training
        assert not norm.training
        module[0](images)
        assert torch.equal(norm.get_buffer("running_mean"), torch.full((4,), 0.1))


def test_dropout_follows_the_mode(images: Tensor) -> None:
    detector = from_classifier(_classifier())
    assert torch.equal(detector.eval()(images), detector(images))
    assert not torch.equal(detector.train()(images), detector(images))


@pytest.mark.parametrize("mode", [True, False])
def test_the_mode_is_the_classifiers(mode: bool) -> None:
    detector = from_classifier(_classifier().train(mode))
    assert detector.training is mode
    assert detector.get_submodule("network.0.3").training is mode


def test_batch_statistics_are_refused() -> None:
    classifier = nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False), nn.Flatten(), nn.Linear(192, 2))
    with pytest.raises(ValueError, match="BatchNorm needs track_running_stats=True"):
        from_classifier(classifier, shape=(3, 8, 8))


def test_instance_statistics_are_not(images: Tensor) -> None:
    classifier = nn.Sequential(nn.InstanceNorm2d(3), nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 2))
    assert from_classifier(classifier, shape=(3, 8, 8))(images).shape == images.shape[:1]


def test_a_new_head_takes_the_last_linear_layers_place(images: Tensor) -> None:
    classifier = nn.Sequential(nn.Flatten(), nn.Linear(192, 8), nn.ModuleDict({"top": nn.Linear(8, 10).double()}))
    detector = from_classifier(classifier, logit="new")
    fresh = detector.get_submodule("network.2.top")
    assert isinstance(fresh, nn.Linear)
    assert (fresh.in_features, fresh.out_features, fresh.weight.dtype) == (8, 1, torch.float64)
    assert torch.equal(detector.get_parameter("network.1.weight"), classifier.get_parameter("1.weight"))
    assert from_classifier(_classifier(), logit="new", shape=(3, 8, 8))(images).shape == (5,)
    assert parameter_count(from_classifier(nn.Linear(4, 10), logit="new", shape=(4,))) == 5


def test_a_new_head_needs_an_old_one() -> None:
    with pytest.raises(ValueError, match=r"expected a network with an nn\.Linear to replace, got Conv2d without one"):
        from_classifier(nn.Conv2d(1, 1, 1), logit="new")


def test_weights_are_loaded_before_the_new_head(tmp_path: Path) -> None:
    trained, fresh = _classifier(), _classifier()
    save_file(trained.state_dict(), tmp_path / "trained.safetensors")
    same = from_classifier(fresh, logit=2, weights=tmp_path / "trained.safetensors")
    assert torch.equal(same.get_parameter("network.2.weight"), trained.get_parameter("2.weight"))
    headless = from_classifier(fresh, logit="new", weights=str(tmp_path / "trained.safetensors"), shape=(3, 8, 8))
    assert torch.equal(headless.get_parameter("network.0.0.weight"), trained.get_parameter("0.0.weight"))
    assert headless.get_parameter("network.2.weight").shape == (1, 144)


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(1, 4)}, tmp_path / "half.safetensors")
    with pytest.raises(ValueError, match=r"Linear, got .*half\.safetensors without bias"):
        from_classifier(nn.Linear(4, 1), weights=tmp_path / "half.safetensors")


def test_pixels_are_normalized_inside(images: Tensor) -> None:
    classifier, mean, std = _classifier().eval(), (0.1, 0.2, 0.3), (0.5, 0.25, 0.2)
    detector = from_classifier(classifier, mean=mean, std=std, shape=(3, 8, 8))
    by_hand = (images - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    torch.testing.assert_close(detector(images), classifier(by_hand)[:, 0], rtol=1e-5, atol=1e-6)


def test_a_detector_saves_and_loads(images: Tensor) -> None:
    one = from_classifier(_classifier(), mean=0.4, std=0.2).eval()
    other = from_classifier(_classifier(), mean=0.5, std=0.5).eval()
    other.load_state_dict(one.state_dict())
    assert torch.equal(one(images), other(images))
    check_detector(other, images)


class _Record(nn.Module):
    """Returns what some libraries' classifiers return: not a tensor."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"logits": x.flatten(1)}


@pytest.mark.parametrize(
    ("module", "options", "message"),
    [
        (nn.Linear(4, 3), {"logit": -1}, "expected a logit >= 0 or new, got -1"),
        (nn.Linear(4, 3), {"logit": "old"}, "expected a logit >= 0 or new, got old"),
        (nn.Linear(4, 3), {"logit": 3, "shape": (4,)}, r"K > 3 for that logit, got \(2, 3\)"),
        (nn.Flatten(0), {"logit": 1, "shape": (1,)}, r"K > 1 for that logit, got \(2, 1\)"),
        (nn.Identity(), {"shape": (2, 2)}, r"expected outputs \(N, K\) .* got \(2, 2, 2\)"),
        (nn.Linear(4, 3), {"mean": 0.5}, "expected mean and std or neither, got mean=0.5 and std=None"),
        (nn.Linear(4, 3), {"std": 0.5}, "expected mean and std or neither"),
        (nn.Linear(4, 3), {"mean": (0.5, 0.5), "std": 0.5, "shape": (3, 8, 8)}, "mean and std of 3 channels"),
        (nn.Linear(4, 3), {"shape": ()}, "expected a shape"),
        (nn.Linear(4, 3), {"shape": (5,)}, r"network for inputs \(2, 5\), got RuntimeError"),
        (_Record(), {"shape": (4,)}, "expected a tensor, got dict; wrap the network"),
    ],
)
def test_from_classifier_refuses(module: nn.Module, options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        from_classifier(module, **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_what_needs_the_first_call_is_said_at_the_first_call() -> None:
    with pytest.raises(ValueError, match="K > 3 for that logit"):
        from_classifier(nn.Linear(4, 3), logit=3)(torch.zeros(2, 4))
    with pytest.raises(TypeError, match="expected a tensor, got dict"):
        from_classifier(_Record())(torch.zeros(2, 4))


def test_only_modules_are_classifiers() -> None:
    with pytest.raises(TypeError, match=r"expected a torch\.nn\.Module, got function"):
        from_classifier(lambda x: x)  # type: ignore[arg-type]


def test_a_hosted_network_is_the_network_gradients_included() -> None:
    with torch.random.fork_rng(devices=[]):
        network = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1), nn.Flatten(0))
    x = torch.linspace(0, 1, 6).view(2, 3).requires_grad_()
    hosted = Hosted(network, "cpu")
    assert torch.equal(hosted(x), network(x))
    (ours,), (theirs,) = (torch.autograd.grad(f(x).sum(), x) for f in (hosted, network))
    assert torch.equal(ours, theirs)


def test_a_hosted_network_is_asked_where_it_lives_and_answers_where_it_was_asked() -> None:
    class Where(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            assert x.device.type == "meta"
            return torch.zeros(len(x))

    hosted = Hosted(Where(), "meta")
    assert hosted.device == torch.device("meta")
    assert hosted(torch.ones(2, 3)).device == torch.device("cpu")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_network_on_an_accelerator_is_climbed_from_the_processor() -> None:
    with torch.random.fork_rng():
        network = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1), nn.Flatten(0))
    x = torch.linspace(0, 1, 6).view(2, 3)
    expected = climb(network, x, steps=3, step_size=0.1).points
    hosted = Hosted(copy.deepcopy(network), "cuda")
    found = climb(hosted, x, steps=3, step_size=0.1).points
    assert found.device == x.device
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("logit", [0, 2])
def test_the_first_logit_is_what_another_one_was(logit: int) -> None:
    network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    x = torch.rand(5, 4)
    before = network(x)
    take_logit(network, logit)
    assert torch.equal(network(x)[:, 0], before[:, logit])
    assert torch.equal(network(x).sort(dim=1).values, before.sort(dim=1).values)


def test_a_network_of_one_logit_stays_and_others_are_refused() -> None:
    network = nn.Linear(4, 1)
    before = network.weight.clone()
    take_logit(network, 3)
    assert torch.equal(network.weight, before)
    with pytest.raises(ValueError, match="expected a network with a linear layer, got none"):
        take_logit(nn.Flatten(), 0)
    with pytest.raises(ValueError, match="expected a logit from 0 to 2, got 3"):
        take_logit(nn.Linear(4, 3), 3)
