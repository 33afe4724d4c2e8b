"""Figures of simulations: pictures whose pixels are where the numbers say, gaps for what is no number, errors."""

import io
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence
from torch import Tensor

from genat.evaluation.points import lattice
from genat.simulations import animation, figures, panels
from genat.simulations.outcome import Outcome, empty_trajectory
from genat.sources import TOYS, Toy

NAN = float("nan")
HIGH, LOW = 4.0, -30.0
BLACK, WHITE, YELLOW = (0, 0, 3), (255, 255, 255), (252, 254, 164)  # the ends of inferno
R = 40


@cache
def toy(name: str) -> Toy:
    return TOYS[name]()


def toys(*names: str) -> dict[str, Toy]:
    return {name: toy(name) for name in names}


def disc(x: float, y: float, *, radius: float = 0.1, high: float = HIGH, resolution: int = R) -> Tensor:
    """Return logits that are high in a disc and nowhere else."""
    near = (lattice(resolution) - torch.tensor([x, y])).norm(dim=1) <= radius
    return torch.where(near, high, LOW)


def plane(name: str = "ring", trainer: str = "gat", *, logits: Tensor | None = None, **changes: object) -> Outcome:
    """Return an outcome of two seeds and three moments in the plane."""
    logits = disc(0.25, 0.75) if logits is None else logits
    data = toy(name)
    outcome = Outcome(
        toy=name,
        trainer=trainer,
        seeds=(0, 1),
        rows=[{"iou": 0.5}, {"iou": 0.7}],
        history=[],
        logits=torch.stack([logits, -logits]),
        samples=data.target[:600].repeat(2, 1, 1),
        moments=torch.tensor([0, 50, 100]),
        surfaces=torch.stack([torch.full_like(logits, HIGH), -logits, logits]),
        areas=torch.tensor([[1.0, 1.0], [0.2, 0.4], [0.01, 0.03]]),
        trajectory=torch.tensor([[[0.1, 0.1]], [[0.1, 0.9]], [[0.9, 0.9]]]).repeat(1, 3, 1),
    )
    return replace(outcome, **changes)  # type: ignore[arg-type]


def line(**changes: object) -> Outcome:
    """Return an outcome of two seeds on the line whose density estimate is the truth."""
    points = lattice(500, 1)
    logits = toy("blobs").density(points).clamp_min(1e-12).log().float()
    outcome = Outcome(
        toy="blobs",
        trainer="gat",
        seeds=(0, 1),
        rows=[{}, {}],
        history=[{"iteration": i, "ratio": [2.0, 1.5]} for i in range(1, 101)],
        logits=torch.stack([logits, torch.zeros_like(logits)]),
        samples=toy("blobs").target.repeat(2, 1, 1),
        moments=torch.tensor([1, 100]),
        surfaces=torch.stack([torch.zeros_like(logits), logits]),
        areas=torch.tensor([[1.0, 1.0], [0.1, 0.1]]),
        trajectory=torch.zeros(2, 3, 1),
    )
    return replace(outcome, **changes)  # type: ignore[arg-type]


def pixels(png: bytes) -> Tensor:
    """Return the `(H, W, 3)` bytes of a PNG below 400 kB."""
    assert len(png) < 400_000
    with Image.open(io.BytesIO(png)) as image:
        assert image.format == "PNG"
        return torch.from_numpy(np.array(image.convert("RGB")))


def close(picture: Tensor, color: str | tuple[int, ...], *, within: int = 6) -> Tensor:
    """Return which pixels have a colour, up to a rounding of the picture's palette and edges."""
    if isinstance(color, str):
        color = tuple(int(color[i : i + 2], 16) for i in (1, 3, 5))
    return ((picture.int() - torch.tensor(color)).abs() <= within).all(dim=-1)


def panel(draw: Callable[[Any], None]) -> Tensor:
    """Return the picture of one pair of axes."""
    figure, axes = panels.sheet(1, 1, width=2.85, height=2.75)
    draw(axes[0, 0])
    return pixels(panels.png(figure))


def boxes(mask: Tensor, *, axis: int) -> list[tuple[int, int]]:
    """Return first and last place of each run of columns (axis 0) or rows (axis 1) with many pixels in a mask."""
    full = (mask.sum(dim=axis) > 60).int()
    edges = torch.cat([full.new_zeros(1), full, full.new_zeros(1)]).diff()
    starts, ends = (edges == 1).nonzero().flatten(), (edges == -1).nonzero().flatten()
    return [(a, b - 1) for a, b in zip(starts.tolist(), ends.tolist(), strict=True) if b - a > 60]


def surfaces_in(picture: Tensor) -> list[Tensor]:
    """Return the dark squares of a picture, row by row, each from edge to edge."""
    dark = close(picture, BLACK)
    squares = []
    for top, bottom in boxes(dark, axis=1):
        squares += [picture[top : bottom + 1, a : b + 1] for a, b in boxes(dark[top : bottom + 1], axis=0)]
    return squares


def at(square: Tensor, x: float, y: float) -> tuple[int, ...]:
    """Return the colour of a picture of the unit square at a point of it; black, white and yellow up to a rounding."""
    height, width = square.shape[:2]
    color = square[round((1 - y) * (height - 1)), round(x * (width - 1))]
    named = [name for name in (BLACK, WHITE, YELLOW) if close(color, name, within=2)]
    return named[0] if named else tuple(color.tolist())


def share(picture: Tensor, color: str | tuple[int, ...], *, within: int = 6) -> float:
    return close(picture, color, within=within).double().mean().item()


# overview


def test_overview_shows_data_above_and_the_surface_below_upright() -> None:
    picture = pixels(figures.overview([plane("ring"), plane("checkerboard")], toys("ring", "checkerboard")))
    height, width = picture.shape[:2]
    assert (height, width) == (522, 599)
    above, below = picture[: height // 2], picture[height // 2 :]
    for color in (panels.TARGET, panels.OUTSIDE):
        assert close(above, color, within=40).sum() > 200
        assert close(below, color).sum() == 0
    squares = surfaces_in(below)
    assert len(squares) == 2
    for square in squares:
        assert abs(square.shape[0] - square.shape[1]) <= 2
        assert at(square, 0.25, 0.75) == YELLOW
        assert {at(square, x, y) for x, y in ((0.75, 0.75), (0.25, 0.25), (0.75, 0.25))} == {BLACK}


def test_overview_places_the_data_on_the_same_axes() -> None:
    inside = toy("ring").target.mean(dim=0)
    moved = replace(toy("ring"), target=toy("ring").target - inside + torch.tensor([0.25, 0.75]))
    picture = pixels(figures.overview([plane()], {"ring": moved}))
    half = picture.shape[0] // 2
    rows, columns = (close(picture[:half], panels.TARGET)).nonzero().double().mean(dim=0).tolist()
    dark = close(picture[half:], BLACK)
    (top, bottom), (left, right) = boxes(dark, axis=1)[0], boxes(dark, axis=0)[0]
    assert abs((columns - left) / (right - left) - 0.25) < 0.02
    frame = close(picture[:half, left : right + 1], panels.FAINT, within=30).sum(dim=1) > 0.8 * (right - left)
    upper, lower = frame.nonzero().flatten()[[0, -1]].tolist()
    assert abs((lower - rows) / (lower - upper) - 0.75) < 0.02
    assert abs((lower - upper) - (bottom - top)) <= 4


def test_overview_has_one_scale_for_all() -> None:
    names = toys("ring", "spirals")
    pale, bright = plane("ring", logits=disc(0.25, 0.75, high=0.0)), plane("spirals", logits=disc(0.25, 0.75))
    alone = surfaces_in(pixels(figures.overview([pale], names))[260:])
    beside = surfaces_in(pixels(figures.overview([pale, bright], names))[260:])
    assert at(alone[0], 0.25, 0.75) == YELLOW
    assert at(beside[1], 0.25, 0.75) == YELLOW
    expected = panels.heat()(0.5 / (1 / (1 + np.exp(-HIGH))), bytes=True)[:3]
    assert np.abs(np.array(at(beside[0], 0.25, 0.75)) - expected).max() <= 2


def test_overview_shows_the_chosen_seed() -> None:
    first, second = (surfaces_in(pixels(figures.overview([plane()], toys("ring"), seed=s))[260:]) for s in (0, 1))
    assert at(first[0], 0.25, 0.75) == YELLOW
    assert second == []  # the second seed's logits are those of the first with the other sign: all bright


def test_a_diverged_surface_is_grey_and_says_so() -> None:
    good, names = plane("ring"), toys("ring", "grid")
    bad = plane("grid", logits=torch.full((R * R,), NAN))
    picture = pixels(figures.overview([good, bad], names))[260:]
    squares = surfaces_in(picture)
    assert len(squares) == 1
    assert at(squares[0], 0.25, 0.75) == YELLOW  # the scale is the good one's
    assert close(picture, panels.MISSING).sum() > 0.9 * squares[0].shape[0] * squares[0].shape[1] * 0.9
    assert pixels(figures.overview([bad], names)).shape[0] == 522


def test_a_few_cells_without_a_number_are_grey() -> None:
    logits = disc(0.25, 0.75)
    logits[(lattice(R) - torch.tensor([0.75, 0.25])).norm(dim=1) < 0.1] = NAN
    square = surfaces_in(pixels(figures.overview([plane(logits=logits)], toys("ring")))[260:])[0]
    assert at(square, 0.75, 0.25) == (184, 184, 184)
    assert at(square, 0.25, 0.75) == YELLOW


# strip


def test_strip_has_four_panels_of_a_line() -> None:
    picture = pixels(figures.strip(line(), toy("blobs")))
    assert picture.shape == (302, 1254, 3)
    for color in (panels.TARGET, panels.OUTSIDE, panels.GROUND, panels.LINES[0], panels.LINES[1], panels.FADING[-1]):
        assert close(picture, color).sum() > 20


def test_the_estimate_of_the_true_logits_is_the_truth_and_a_flat_one_is_not() -> None:
    flat = torch.where(toy("blobs").inside(lattice(500, 1)), 0.0, LOW)
    heights = []
    for logits in (line().logits[0], flat):
        picture = panel(lambda axes, logits=logits: panels.estimate(axes, logits, toy("blobs")))  # type: ignore[misc]
        curve = close(picture, panels.LINES[1], within=60)[80:].nonzero()  # below the legend
        heights.append((curve[:, 0].max() - curve[:, 0].min()).item())
    assert heights[0] > 150
    assert heights[1] < heights[0] / 2  # mass over a width of .09 is 11 high, the second peak 40


def test_ratios_of_wild_seeds_end_at_the_limits_and_lost_ones_are_gaps() -> None:
    def drawn(*values: float) -> Tensor:
        records = [{"iteration": i, "ratio": [value, 2.0]} for i, value in enumerate(values)]
        return panel(lambda axes: panels.ratios(axes, records, toy("blobs")))

    assert torch.equal(drawn(1.0, float("inf"), 1e-30), drawn(1.0, 100.0, 0.01))
    lost, kept = (close(drawn(3.0, 3.0, x, 3.0, 3.0, 3.0), panels.LINES[0], within=40).sum().item() for x in (NAN, 3.0))
    assert 0.4 < lost / kept < 0.8  # two of five pieces are missing


def test_a_strip_of_lost_seeds_is_drawn() -> None:
    lost = torch.full((2, 500), NAN)
    records = [{"iteration": 1, "loss": [NAN]}, {"iteration": 2, "ratio": [NAN, NAN]}]
    picture = pixels(figures.strip(line(logits=lost, surfaces=lost, history=records), toy("blobs")))
    half = picture[80:, picture.shape[1] // 2 :]  # density and ratios, below the legends
    assert close(half, panels.LINES[1], within=40).sum() == 0
    assert close(half, panels.LINES[0], within=40).sum() == 0


@pytest.mark.parametrize(
    ("outcome", "data", "message"),
    [
        (plane, "ring", "expected outcomes of dimension 1, got ring of dimension 2"),
        (line, "ring", "expected the toy blobs, got ring"),
        (lambda: line(history=[{"iteration": 1}]), "blobs", "expected records with a ratio, got none among 1"),
        (lambda: line(moments=torch.empty(0)), "blobs", "expected at least one surface to show, got 0 of 0 kept"),
    ],
)
def test_strip_refuses(outcome: Callable[[], Outcome], data: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        figures.strip(outcome(), toy(data))


def test_strip_refuses_a_law_without_two_modes() -> None:
    data = replace(toy("blobs"), centers=None)
    with pytest.raises(ValueError, match="expected a toy of two modes, got blobs"):
        figures.strip(line(), data)


# trajectories


def test_a_way_leads_from_its_start_to_its_end() -> None:
    picture = pixels(figures.trajectories(plane(logits=disc(0.5, 0.3, radius=0.05)), toy("ring")))
    square = surfaces_in(picture)[0]
    row, column = close(square, WHITE).nonzero().double().mean(dim=0).tolist()  # the disc at the end
    assert abs(column / square.shape[1] - 0.9) < 0.01
    assert abs(1 - row / square.shape[0] - 0.9) < 0.01

    def brightness(x: float, y: float) -> int:
        row, column = round((1 - y) * (square.shape[0] - 1)), round(x * (square.shape[1] - 1))
        return int(square[row - 2 : row + 3, column - 2 : column + 3, 1].max())

    assert brightness(0.1, 0.5) > 40
    assert brightness(0.5, 0.9) > brightness(0.1, 0.5) + 40  # later is brighter
    assert brightness(0.9, 0.5) == 0


def test_lost_ways_are_left_out_and_count_limits_them() -> None:
    ways = torch.rand(9, 100, 2, generator=torch.Generator().manual_seed(0))
    broken = torch.cat([ways[:, :1], torch.full_like(ways[:, :1], NAN)], dim=1)
    one = figures.trajectories(plane(trajectory=ways), toy("ring"), count=1)
    assert one == figures.trajectories(plane(trajectory=broken), toy("ring"))
    assert one != figures.trajectories(plane(trajectory=ways), toy("ring"), count=2)


@pytest.mark.parametrize("name", ["ring", "grid", "spirals"])
def test_the_target_is_outlined(name: str) -> None:
    square = surfaces_in(pixels(figures.trajectories(plane(name, logits=disc(0.1, 0.1, radius=0.05)), toy(name))))[0]
    low, high = round(0.25 * len(square)), round(0.75 * len(square))
    assert (square[low:high, low:high].amin(dim=2) > 100).sum() > 20


def test_trajectories_refuse() -> None:
    with pytest.raises(ValueError, match="expected outcomes of dimension 2, got blobs of dimension 1"):
        figures.trajectories(line(), toy("blobs"))
    with pytest.raises(ValueError, match="expected the toy ring, got grid"):
        figures.trajectories(plane(), toy("grid"))
    with pytest.raises(ValueError, match="expected at least one ascent to draw, got 0 of gan"):
        figures.trajectories(plane(trainer="gan", trajectory=empty_trajectory(2)), toy("ring"))
    with pytest.raises(ValueError, match="expected at least one ascent to draw, got 0 of gat"):
        figures.trajectories(plane(), toy("ring"), count=0)


# surfaces


@pytest.mark.parametrize(
    ("kept", "count", "rows", "columns"),
    [(1, 6, 1, 1), (3, 6, 1, 3), (5, 6, 2, 3), (30, 6, 2, 3), (30, 4, 2, 2)],
)
def test_surfaces_shows_so_many_moments(kept: int, count: int, rows: int, columns: int) -> None:
    every = disc(0.25, 0.75).repeat(kept, 1)
    picture = pixels(figures.surfaces(plane(moments=torch.arange(kept), surfaces=every), count=count))
    assert picture.shape == (round(110 * 2.75 * rows), int(110 * (2.6 * columns + 0.7)), 3)
    squares = surfaces_in(picture)
    assert len(squares) == min(kept, count)
    assert {at(square, 0.25, 0.75) for square in squares} == {YELLOW}


def test_surfaces_run_from_the_first_to_the_last_moment() -> None:
    moving = torch.stack([disc(0.2 + 0.06 * i, 0.5) for i in range(11)])
    squares = surfaces_in(pixels(figures.surfaces(plane(moments=torch.arange(11), surfaces=moving), count=3)))
    for i, square in zip((0, 5, 10), squares, strict=True):
        assert at(square, 0.2 + 0.06 * i, 0.5) == YELLOW
        assert at(square, 0.8 - 0.06 * i if i != 5 else 0.2, 0.5) == BLACK


def test_surfaces_refuse() -> None:
    with pytest.raises(ValueError, match="expected outcomes of dimension 2, got blobs of dimension 1"):
        figures.surfaces(line())
    with pytest.raises(ValueError, match="expected at least one surface to show, got 0 of 3 kept"):
        figures.surfaces(plane(), count=0)
    with pytest.raises(ValueError, match="expected at least one surface to show, got 0 of 0 kept"):
        figures.surfaces(plane(moments=torch.empty(0, dtype=torch.int64)))


# areas


def test_areas_of_a_lost_seed_are_left_out() -> None:
    lost, kept = torch.tensor([[0.5, NAN], [0.1, NAN]]), torch.tensor([[0.5, 0.5], [0.1, 0.1]])
    first, second = (figures.areas([plane(areas=x, moments=torch.tensor([0, 9]))]) for x in (lost, kept))
    assert first == second


def test_areas_have_a_gap_where_every_seed_is_lost() -> None:
    whole = torch.tensor([0.5, 0.5, 0.5, 0.1, 0.1])[:, None]
    gap = whole.clone()
    gap[2] = NAN
    drawn = [pixels(figures.areas([plane(areas=x, moments=torch.arange(5))])) for x in (whole, gap)]
    here = [close(picture, panels.LINES[0], within=40)[60:].any(dim=0).sum().item() for picture in drawn]
    assert here[1] < 0.6 * here[0]  # two of four pieces are missing


def test_an_area_of_nothing_is_drawn_at_half_a_cell() -> None:
    nothing, half = (torch.tensor([[0.5], [value]]) for value in (0.0, 0.5 / R**2))
    first, second = (figures.areas([plane(areas=x, moments=torch.tensor([0, 9]))]) for x in (nothing, half))
    assert first == second


def test_areas_show_a_line_each_and_the_support() -> None:
    outcomes = [plane(areas=torch.full((3, 2), value), trainer=str(value)) for value in (0.5, 0.05, 0.005)]
    picture = pixels(figures.areas(outcomes, share=0.02))
    assert picture.shape == (385, 616, 3)
    heights = [close(picture[32:], panels.LINES[i]).nonzero()[:, 0].double().mean() for i in range(3)]
    assert heights[0] < heights[1] < heights[2]
    torch.testing.assert_close(heights[1] - heights[0], heights[2] - heights[1], atol=2, rtol=0)  # decades are equal
    assert figures.areas(outcomes) != figures.areas(outcomes, share=0.02)


def test_the_band_shows_the_spread_of_the_seeds() -> None:
    together, apart = (torch.tensor([[0.2 - d, 0.2 + d]] * 3) for d in (0.0, 0.1))
    narrow, wide = (pixels(figures.areas([plane(areas=x)]))[60:] for x in (together, apart))
    assert (wide != narrow).any(dim=2).sum() > 5000


def test_lines_are_named_by_what_tells_them_apart() -> None:
    def drawn(*pairs: tuple[str, str]) -> bytes:
        return figures.areas([plane(toy, trainer) for toy, trainer in pairs])

    trainers, sets = drawn(("ring", "gat"), ("ring", "gan")), drawn(("ring", "gat"), ("grid", "gat"))
    assert trainers == drawn(("grid", "gat"), ("grid", "gan"))
    assert sets == drawn(("ring", "gan"), ("grid", "gan"))
    assert len({trainers, sets, drawn(("ring", "gat"), ("grid", "gan"))}) == 3


def test_areas_take_any_dimension_and_refuse() -> None:
    assert pixels(figures.areas([line(), plane()])).ndim == 3
    with pytest.raises(ValueError, match="expected at least one outcome, got none"):
        figures.areas([])
    with pytest.raises(ValueError, match=r"expected share in \(0, 1\], got 0"):
        figures.areas([plane()], share=0)


# samples


def test_samples_are_blue_where_they_are_good_and_red_elsewhere() -> None:
    data = toy("checkerboard")
    good = data.draw(500, generator=torch.Generator().manual_seed(0)).expand(2, -1, -1)
    points = lattice(200)
    bad = points[~data.inside(points)].expand(2, -1, -1)
    outcomes = [plane("checkerboard", "good", samples=good), plane("checkerboard", "bad", samples=bad)]
    picture = pixels(figures.samples(outcomes, toys("checkerboard")))
    halves = picture.tensor_split(2, dim=1)
    blue, red = (
        [close(half, color, within=40).sum().item() for half in halves] for color in (panels.TARGET, panels.OUTSIDE)
    )
    assert blue[0] > 500
    assert red[1] > 500
    assert blue[1] == red[0] == 0
    assert close(halves[1], panels.GROUND).sum() > 2000  # the support is seen where no points cover it


def test_points_out_of_the_picture_lie_on_its_edge() -> None:
    far = plane(samples=torch.tensor([0.5, 5.0]).expand(2, 10, 2))
    near = plane(samples=torch.tensor([0.5, float(toy("ring").target.max()) + 0.1]).expand(2, 10, 2))
    first, second = (figures.samples([outcome], toys("ring")) for outcome in (far, near))
    assert first == second
    assert close(pixels(first), panels.OUTSIDE, within=40).sum() > 3


def test_a_missing_pair_and_a_diverged_one_have_no_points() -> None:
    lost = plane("grid", "gat", samples=torch.full((2, 9, 2), NAN))
    names = toys("ring", "grid")
    picture = pixels(figures.samples([plane("ring", "gan"), lost], names))
    height, width = picture.shape[0] // 2, picture.shape[1] // 2
    blue = close(picture, panels.TARGET, within=40)
    quarters = [blue[r * height :][:height, c * width :][:, :width].sum().item() for r in (0, 1) for c in (0, 1)]
    assert quarters[0] > 100  # ring by gan comes first, as it was given
    assert quarters[1:] == [0, 0, 0]


def test_samples_show_the_chosen_seed() -> None:
    both = torch.stack([toy("ring").target, torch.full_like(toy("ring").target, 0.45)])
    pictures = [pixels(figures.samples([plane(samples=both)], toys("ring"), seed=seed)) for seed in (0, 1)]
    blue = [close(picture, panels.TARGET, within=40).sum().item() for picture in pictures]
    assert blue[0] > 100
    assert blue[1] == 0


@pytest.mark.parametrize("draw", [figures.overview, figures.samples])
def test_figures_of_many_toys_refuse(draw: Callable[..., bytes]) -> None:
    names = toys("ring", "blobs")
    with pytest.raises(ValueError, match="expected at least one outcome, got none"):
        draw([], names)
    with pytest.raises(ValueError, match="expected outcomes of dimension 2, got blobs of dimension 1"):
        draw([plane(), line()], names)
    with pytest.raises(ValueError, match="expected the toy grid, got ring, blobs"):
        draw([plane("grid")], names)
    with pytest.raises(ValueError, match=r"expected seed in 0 \.\. 1, got 2"):
        draw([plane()], names, seed=2)
    with pytest.raises(ValueError, match=r"expected seed in 0 \.\. 1, got -1"):
        draw([plane()], names, seed=-1)


def test_samples_refuse_the_same_pair_twice() -> None:
    with pytest.raises(ValueError, match="expected one outcome a data set and trainer, got 2 of 1"):
        figures.samples([plane(), plane()], toys("ring"))


# ablation


def test_ablation_has_a_row_a_family_and_a_column_a_setting() -> None:
    wide = {str(i): plane(logits=disc(0.2 + 0.2 * i, 0.6)) for i in range(4)}
    picture = pixels(figures.ablation({"step size": wide, "radius": {"none": plane()}}, share=0.003))
    assert picture.shape == (round(110 * 4.3), round(110 * (1.75 * 4 + 2.7)), 3)
    squares = surfaces_in(picture)
    assert len(squares) == 5
    for i, square in enumerate(squares[:4]):
        assert at(square, 0.2 + 0.2 * i, 0.6) == YELLOW
        assert close(square, panels.ASCENT, within=60).sum() >= 3  # the ends of its ascents
    for i in range(4):  # titles and lines
        assert close(picture, panels.LINES[i]).sum() > 10


def test_ablation_tells_the_mean_iou_of_those_who_have_one() -> None:
    def drawn(*scores: float | None) -> bytes:
        return figures.ablation({"steps": {"5": plane(rows=[{"iou": score} for score in scores])}})

    mean = drawn(0.5, 0.7)
    assert mean == drawn(0.6, None)
    assert mean != drawn(None)


def test_ablation_draws_what_diverged_or_has_no_ascents() -> None:
    lost = torch.full((R * R,), NAN)
    broken = plane(logits=lost, areas=torch.full((3, 2), NAN), trajectory=torch.full((2, 3, 2), NAN), rows=[{}, {}])
    family = {"good": plane(), "none": plane(trajectory=empty_trajectory(2)), "broken": broken}
    picture = pixels(figures.ablation({"steps": family}))
    assert len(surfaces_in(picture)) == 2
    assert close(picture, panels.MISSING).sum() > 10_000


def test_ablation_refuses() -> None:
    with pytest.raises(ValueError, match="expected at least one outcome, got none"):
        figures.ablation({})
    with pytest.raises(ValueError, match="expected at least one outcome of 'radius', got none"):
        figures.ablation({"steps": {"5": plane()}, "radius": {}})
    with pytest.raises(ValueError, match="expected outcomes of dimension 2, got blobs of dimension 1"):
        figures.ablation({"steps": {"5": line()}})
    with pytest.raises(ValueError, match=r"expected share in \(0, 1\], got 1.5"):
        figures.ablation({"steps": {"5": plane()}}, share=1.5)


# failures


def _row(trainer: str, rate: float, count: int, low: float, high: float) -> dict[str, Any]:
    return {"trainer": trainer, "rate": rate, "failures": count, "runs": 40, "low": low, "high": high}


def test_failures_are_placed_by_their_share() -> None:
    table = [_row("gat", 1e-3, 0, 0.0, 0.1), _row("gan", 1e-3, 20, 0.4, 0.6), _row("ebm", 1e-2, 40, 0.9, 1.0)]
    picture = pixels(figures.failures(table))
    assert picture.shape[1] == 616
    places = []
    for i in range(3):
        dots = close(picture, panels.LINES[i], within=12).nonzero().double()
        places.append(dots.mean(dim=0).tolist())
    assert places[0][0] < places[1][0] < places[2][0]  # in the order given
    left, middle, right = (place[1] for place in places)
    assert abs((left + right) / 2 - middle) < 2


def test_failures_group_a_trainers_rates() -> None:
    rows = [_row(trainer, rate, 4, 0.05, 0.2) for rate in (1e-4, 1e-3, 1e-2) for trainer in ("gat", "gan")]
    picture = pixels(figures.failures(rows))
    tops = [close(picture, panels.LINES[i], within=12).nonzero()[:, 0] for i in (0, 1)]
    assert tops[0].max() < tops[1].min()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([], "expected at least one row, got none"),
        ([_row("gat", 1e-3, 0, 0, 0) | {"runs": 0}], "expected runs to be at least 1, got 0"),
        (
            [_row("gat", 1e-3, 3, 0, 5)],
            "expected shares 0 <= low <= failures / runs <= high <= 1, got {'trainer': 'gat'",
        ),
        ([_row("gat", 1e-3, 3, 0.1, 0.2)], "expected shares 0 <= low"),
        ([_row("gat", 1e-3, 41, 0.9, 1.0)], "expected shares 0 <= low"),
    ],
)
def test_failures_refuse(table: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        figures.failures(table)


def test_failures_allow_for_the_rounding_of_intervals() -> None:
    assert (
        pixels(figures.failures([_row("gat", 1e-3, 0, -1e-17, 0.1), _row("gat", 1e-2, 40, 0.9, 1 + 1e-16)])).ndim == 3
    )


# animation


def _frames(gif: bytes) -> tuple[list[Tensor], list[int]]:
    with Image.open(io.BytesIO(gif)) as image:
        assert image.format == "GIF"
        assert image.info["loop"] == 0
        pictures, durations = [], []
        for frame in ImageSequence.Iterator(image):
            durations.append(frame.info["duration"])
            pictures.append(torch.from_numpy(np.array(frame.convert("RGB"))))
        return pictures, durations


@pytest.mark.parametrize(("kept", "frames", "shown"), [(1, 40, 1), (3, 40, 3), (90, 40, 40), (90, 7, 7)])
def test_an_animation_has_a_frame_a_moment_up_to_its_limit(kept: int, frames: int, shown: int) -> None:
    moving = torch.stack([disc(0.2 + 0.6 * i / 90, 0.75) for i in range(kept)])
    gif = figures.animation(plane(moments=torch.arange(kept) * 10, surfaces=moving), frames=frames)
    pictures, durations = _frames(gif)
    assert len(gif) < 1_000_000
    assert [picture.shape for picture in pictures] == [(220, 200, 3)] * shown
    assert durations == [120] * (shown - 1) + [2500]
    last = pictures[-1][20:]
    x = 0.2 + 0.6 * (kept - 1) / 90
    assert at(last, x, 0.75) == YELLOW
    assert at(last, x, 0.25) == BLACK


def test_frames_keep_the_colours_of_the_map() -> None:
    values = torch.linspace(-6, 6, R * R)
    picture = _frames(figures.animation(plane(surfaces=values[None], moments=torch.tensor([1])), side=R))[0][0][20:]
    sigma = values.double().sigmoid().view(R, R).flip(0)
    expected = torch.from_numpy(panels.heat()((sigma / sigma.max()).numpy(), bytes=True)[..., :3].copy())
    assert (picture.int() - expected.int()).abs().max() <= 6  # 239 colours of 256


@pytest.mark.parametrize("resolution", [1, 7, 40, 100, 333])
def test_surfaces_of_every_resolution_fill_the_frame(resolution: int) -> None:
    logits = disc(0.25, 0.75, radius=0.2, resolution=resolution)
    picture = _frames(animation.gif(logits[None], ["x"], side=60))[0][0]
    assert picture.shape == (80, 60, 3)
    if resolution > 1:
        assert at(picture[20:], 0.25, 0.75) == YELLOW
        assert at(picture[20:], 0.9, 0.1) == BLACK


def test_frames_are_labelled_and_a_lost_surface_is_grey() -> None:
    lost = torch.stack([disc(0.25, 0.75), torch.full((R * R,), NAN)])
    pictures, _ = _frames(figures.animation(plane(surfaces=lost, moments=torch.tensor([1, 2]))))
    for picture in pictures:
        assert (picture[:20] > 200).any()
        assert at(picture, 0, 1) == (0, 0, 0)
    assert (pictures[0][:20] != pictures[1][:20]).any()
    assert share(pictures[1][20:], panels.MISSING, within=0) == 1
    assert share(pictures[0][20:], panels.MISSING, within=0) == 0


def test_animation_refuses() -> None:
    with pytest.raises(ValueError, match="expected outcomes of dimension 2, got blobs of dimension 1"):
        figures.animation(line())
    with pytest.raises(ValueError, match="expected at least one surface to show, got 0 of 3 kept"):
        figures.animation(plane(), frames=0)
    with pytest.raises(ValueError, match="expected side to be at least 1, got 0"):
        figures.animation(plane(), side=0)


# all


def test_a_figure_is_a_function_of_its_input_alone_and_leaves_it_alone() -> None:
    outcome, data = plane(), toy("ring")
    before = [x.clone() for x in (outcome.logits, outcome.surfaces, outcome.areas, outcome.samples, outcome.trajectory)]
    assert figures.samples([outcome], toys("ring")) == figures.samples([outcome], toys("ring"))
    assert figures.trajectories(outcome, data) == figures.trajectories(outcome, data)
    assert figures.animation(outcome) == figures.animation(outcome)
    after = [outcome.logits, outcome.surfaces, outcome.areas, outcome.samples, outcome.trajectory]
    assert all(torch.equal(x, y) for x, y in zip(before, after, strict=True))


def test_figures_leave_matplotlibs_global_state_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def state() -> dict[str, object]:  # to look the backend up would choose one
        return {name: matplotlib.rcParams[name] for name in matplotlib.rcParams if name != "backend"}

    monkeypatch.delitem(sys.modules, "matplotlib.pyplot", raising=False)
    before = state()
    figures.trajectories(plane(), toy("ring"))
    figures.areas([plane()], share=0.003)
    assert "matplotlib.pyplot" not in sys.modules
    assert state() == before
