"""Laws that hold for every source, and the smallest source of all."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from genat.sources import (
    Augment,
    Blurred,
    Box,
    ClassGaussians,
    Constant,
    DeadLeaves,
    Gradients,
    Images,
    Inverted,
    Mixture,
    Noise,
    Photographs,
    Rotated,
    Samples,
    ShuffledPatches,
    Source,
    as_source,
    describe,
    digits,
)
from genat.sources.source import check_image_shape


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def coloured() -> Images:
    pixels = torch.randint(256, (30, 3, 6, 8), generator=seeded(0), dtype=torch.uint8)
    return Images(pixels, labels=torch.arange(30) % 3, classes=("a", "b", "c"), name="random")


FACES = Augment(crop_scale=(0.5, 1.0), crop_ratio=(0.8, 1.25), crop_probability=0.5, flip=True)
IMAGE_SOURCES: dict[str, Callable[[], Source]] = {
    "samples": lambda: Samples(torch.rand(5, 1, 4, 4, generator=seeded(1))),
    "images": coloured,
    "images balanced": lambda: coloured().take(range(4)).balanced(),
    "images shifted": lambda: coloured().with_augmentation(Augment(shift=2, fill=0.5)),
    "images cropped": lambda: coloured().with_augmentation(FACES),
    "digits": lambda: digits("all"),
    "uniform": lambda: Noise((3, 4, 5)),
    "gaussian": lambda: Noise((3, 4, 5), kind="gaussian"),
    "standard": lambda: Noise((3, 4, 5), kind="standard"),
    "binary": lambda: Noise((3, 4, 5), kind="binary"),
    "leaves, grey": lambda: DeadLeaves((1, 8, 8)),
    "leaves, colour": lambda: DeadLeaves((3, 5, 9), radius=(0.5, 20.0)),
    "constant": lambda: Constant((3, 5, 9)),
    "gradients": lambda: Gradients((3, 5, 9)),
    "gaussians": lambda: ClassGaussians(coloured()),
    "photographs, grey": lambda: Photographs((1, 8, 8)),
    "photographs, colour": lambda: Photographs((3, 5, 9), stretch=True, invert=True),
    "mixture": lambda: Mixture((coloured(), Noise((3, 6, 8)), DeadLeaves((3, 6, 8))), weights=(1, 2, 0.5)),
    "inverted": lambda: Inverted(coloured()),
    "rotated": lambda: Rotated(Noise((3, 6, 6))),
    "shuffled": lambda: ShuffledPatches(coloured(), patch=2),
    "blurred": lambda: Blurred(coloured(), deviation=0.8),
}
POINT_SOURCES: dict[str, Callable[[], Source]] = {
    "points": lambda: Samples(torch.randn(5, 2, generator=seeded(1))),
    "box": lambda: Box(2, low=-3.0, high=2.0),
    "boxes": lambda: Mixture((Box(2), Box(2, low=-1.0, high=0.0))),
}
SOURCES = IMAGE_SOURCES | POINT_SOURCES


@pytest.fixture(params=SOURCES, scope="module")
def source(request: pytest.FixtureRequest) -> Source:
    return SOURCES[request.param]()


@pytest.mark.parametrize("n", [0, 1, 7])
def test_a_draw_is_float32_of_the_stated_shape(source: Source, n: int) -> None:
    batch = source.draw(n, generator=seeded(0))
    assert batch.shape == (n, *source.shape)
    assert batch.dtype == torch.float32
    assert torch.isfinite(batch).all()


@pytest.mark.parametrize("name", IMAGE_SOURCES)
def test_images_stay_in_the_unit_range_and_differ(name: str) -> None:
    batch = IMAGE_SOURCES[name]().draw(40, generator=seeded(0))
    assert batch.min() >= 0
    assert batch.max() <= 1
    assert len(torch.unique(batch, dim=0)) > 1


def test_a_draw_depends_on_the_generator_alone(source: Source) -> None:
    first = source.draw(6, generator=seeded(3))
    source.draw(9, generator=seeded(4))
    assert torch.equal(source.draw(6, generator=seeded(3)), first)
    assert not torch.equal(source.draw(6, generator=seeded(4)), first)


def test_one_generator_a_sample_gives_that_sample_in_any_batch(source: Source) -> None:
    def by_seed(seeds: range) -> Tensor:
        return torch.cat([source.draw(1, generator=seeded(seed)) for seed in seeds])

    assert torch.equal(by_seed(range(6))[2:5], by_seed(range(2, 5)))
    assert len(torch.unique(by_seed(range(12)), dim=0)) > 1


def test_a_draw_is_fresh(source: Source) -> None:
    drawn = source.draw(3, generator=seeded(0))
    before = drawn.clone()
    drawn.fill_(-7)
    assert torch.equal(source.draw(3, generator=seeded(0)), before)


def test_draws_of_one_generator_go_on(source: Source) -> None:
    generator = seeded(0)
    assert not torch.equal(source.draw(8, generator=generator), source.draw(8, generator=generator))


def test_every_source_has_a_name_on_one_line(source: Source) -> None:
    name = describe(source)
    assert name
    assert name.isprintable()
    assert "(" not in type(source).__name__
    assert name != type(source).__name__


def test_a_negative_count_is_refused(source: Source) -> None:
    with pytest.raises(ValueError, match="expected n to be at least 0, got -1"):
        source.draw(-1, generator=seeded(0))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_generator_of_the_device_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a CPU generator, got one on cuda"):
        Noise((1, 2, 2)).draw(1, generator=torch.Generator(device="cuda"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(
    "wrap",
    [
        lambda images: images,
        lambda images: images.balanced(),
        lambda images: images.with_augmentation(Augment(shift=2, flip=True)),
        lambda images: ShuffledPatches(Inverted(images), patch=2),
        lambda images: Mixture((images, Inverted(images))),
    ],
)
def test_resident_images_draw_the_same_on_the_device(wrap: Callable[[Images], Source]) -> None:
    here, there = wrap(coloured()), wrap(coloured().to("cuda"))
    drawn = there.draw(16, generator=seeded(0))
    assert drawn.device.type == "cuda"
    assert torch.equal(drawn.cpu(), here.draw(16, generator=seeded(0)))


def test_samples_are_rows_drawn_evenly() -> None:
    rows = Samples(torch.arange(4.0)[:, None]).draw(4000, generator=seeded(0)).long().flatten()
    # Each count is binomial(4000, 1/4) with deviation 27.4; five of them.
    assert (rows.bincount(minlength=4) - 1000).abs().max() < 137


def test_double_points_come_as_single() -> None:
    assert Samples(torch.ones(2, 1, dtype=torch.float64)).draw(1, generator=seeded(0)).dtype == torch.float32


def test_as_source_keeps_sources_and_wraps_tensors() -> None:
    box, values = Box(2), torch.rand(3, 2, generator=seeded(0))
    assert as_source(box) is box
    wrapped = as_source(values)
    assert isinstance(wrapped, Samples)
    assert wrapped.values is values


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ([[0.0]], TypeError, r"expected a tensor or a source with shape and draw\(\), got list"),
        (torch.zeros(2, 2, dtype=torch.uint8), TypeError, "expected floating-point samples, got torch.uint8"),
        (torch.zeros(3), ValueError, r"expected samples \(N, D\) or \(N, C, H, W\) with N >= 1, got \(3,\)"),
        (torch.zeros(3, 4, 4), ValueError, r"got \(3, 4, 4\)"),
        (torch.zeros(0, 2), ValueError, r"got \(0, 2\)"),
        (torch.tensor([[float("inf")]]), ValueError, "expected finite samples"),
        (torch.full((1, 1, 2, 2), 255.0), ValueError, r"expected images in \[0, 1\], got values from 255 to 255"),
        (torch.full((1, 1, 2, 2), float("nan")), ValueError, r"expected images in \[0, 1\], got NaN"),
    ],
)
def test_as_source_refuses(data: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        as_source(data)  # type: ignore[arg-type]


def test_a_nameless_source_is_called_by_its_class() -> None:
    class Zeros:
        shape = (1,)

        def draw(self, n: int, *, generator: torch.Generator) -> Tensor:
            del generator
            return torch.zeros(n, 1)

    assert describe(as_source(Zeros())) == "Zeros"


@pytest.mark.parametrize("shape", [(28, 28), (2, 4, 4), (1, 0, 4)])
def test_image_shapes_are_checked(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected shape \(C, H, W\) with C = 1 or 3, got"):
        check_image_shape(shape)
