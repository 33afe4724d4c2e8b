"""Images that belong together, and the splits that do not part them."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, reject
from hypothesis import strategies as st

from genat.sources import Images


def numbered(groups: list[int] | None, labels: list[int] | None = None, classes: int = 0) -> Images:
    """Images whose pixels are their numbers."""
    n = len(groups or labels or [])
    pixels = torch.arange(n).view(n, 1, 1, 1)
    return Images(
        torch.cat([pixels // 256, pixels % 256], dim=3).to(torch.uint8),
        labels=None if labels is None else torch.tensor(labels),
        classes=tuple(str(k) for k in range(classes)),
        groups=None if groups is None else torch.tensor(groups),
    )


def numbers(images: Images) -> list[int]:
    return [int(high) * 256 + int(low) for high, low in images.pixels.flatten(1).tolist()]


@st.composite
def sets(draw: st.DrawFn) -> tuple[list[int], list[int]]:
    """A group and a label for every image; a group has one label."""
    sizes = draw(st.lists(st.integers(1, 6), min_size=4, max_size=40))
    of_group = draw(st.lists(st.integers(0, 2), min_size=len(sizes), max_size=len(sizes)))
    pairs = [(7 * group - 3, of_group[group]) for group, size in enumerate(sizes) for _ in range(size)]
    order = draw(st.permutations(pairs))
    return [group for group, _ in order], [label for _, label in order]


@given(sets(), st.floats(0.1, 0.9), st.integers(0, 5))
def test_a_group_is_on_one_side_and_every_class_keeps_its_share(
    drawn: tuple[list[int], list[int]], fraction: float, seed: int
) -> None:
    groups, labels = drawn
    images = numbered(groups, labels, 3)
    try:
        rest, held_out = images.split(fraction, seed)
    except ValueError:  # too few groups for two parts
        reject()
    assert rest.groups is not None
    assert held_out.groups is not None
    assert set(rest.groups.tolist()) & set(held_out.groups.tolist()) == set()
    assert sorted(numbers(rest) + numbers(held_out)) == list(range(len(groups)))
    assert numbers(rest) == sorted(numbers(rest))
    assert held_out.groups.tolist() == [groups[i] for i in numbers(held_out)]
    largest = max(groups.count(group) for group in set(groups))
    for label in range(3):
        share = sum(labels[i] == label for i in numbers(held_out))
        assert abs(share - fraction * labels.count(label)) < largest
    assert abs(len(held_out) - fraction * len(groups)) < largest


@given(st.integers(2, 200), st.floats(0.1, 0.9), st.integers(0, 5))
def test_groups_of_one_split_as_no_groups_do(n: int, fraction: float, seed: int) -> None:
    labels = [i % 3 for i in range(n)]
    try:
        plain = numbered(None, labels, 3).split(fraction, seed)
    except ValueError:  # too few images for two parts
        reject()
    grouped = numbered([5 * i for i in range(n)], labels, 3).split(fraction, seed)
    assert [numbers(part) for part in grouped] == [numbers(part) for part in plain]


def test_seeds_hold_out_different_groups() -> None:
    images = numbered([i // 4 for i in range(80)])
    chosen = {tuple(numbers(images.split(0.25, seed)[1])) for seed in range(10)}
    assert len(chosen) > 5
    assert {len(one) for one in chosen} == {20}


def test_choosing_and_moving_keep_the_groups() -> None:
    images = numbered([3, 3, 8, 9], [0, 1, 0, 1], 2)
    for part, groups in (
        (images.take([3, 0]), [9, 3]),
        (images.only("1"), [3, 9]),
        (images.without(1), [3, 8]),
        (images.to("cpu"), [3, 3, 8, 9]),
    ):
        assert part.groups is not None
        assert part.groups.tolist() == groups


def test_one_group_cannot_be_split() -> None:
    with pytest.raises(ValueError, match=r"expected two parts with images, got (4 and 0|0 and 4) of 4"):
        numbered([1, 1, 1, 1]).split(0.5, seed=0)


@pytest.mark.parametrize(
    ("groups", "error", "message"),
    [
        (torch.zeros(2), TypeError, "expected groups of int64, got torch.float32"),
        (torch.zeros(3, dtype=torch.int64), ValueError, r"expected one group an image, \(2,\), got \(3,\)"),
        (torch.zeros(2, dtype=torch.int64, device="meta"), ValueError, "expected groups on the pixels' device, cpu"),
    ],
)
def test_groups_that_do_not_fit_are_refused(groups: torch.Tensor, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Images(torch.zeros(2, 1, 1, 1, dtype=torch.uint8), groups=groups)


def test_a_column_of_a_table_groups_its_rows(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow", reason="needs the extra data")
    pq = pytest.importorskip("pyarrow.parquet", reason="needs the extra data")
    library = pytest.importorskip("datasets", reason="needs the extra data")
    from PIL import Image

    from genat.sources import hugging_face, parquet

    pictures = [Image.new("L", (2, 2), 10 * i) for i in range(4)]
    columns: dict[str, Any] = {"image": pictures, "label": [0, 1, 0, 1], "design": ["b", "a", "b", "c"]}
    features = library.Features(
        {"image": library.Image(), "label": library.Value("int64"), "design": library.Value("string")}
    )
    table = library.Dataset.from_dict(columns, features=features)
    table.save_to_disk(tmp_path / "saved")
    table.to_parquet(tmp_path / "x.parquet")
    for images in (
        parquet(tmp_path / "x.parquet", group="design"),
        hugging_face(str(tmp_path / "saved"), group="design"),
        hugging_face(str(tmp_path / "saved"), label=None, group="design"),
    ):
        assert images.groups is not None
        assert images.groups.tolist() == [1, 0, 1, 2]
    assert parquet(tmp_path / "x.parquet").groups is None
    with pytest.raises(ValueError, match=r"expected a column 'person' in '.*', got image, label, design"):
        parquet(tmp_path / "x.parquet", group="person")
    rows = pq.read_table(tmp_path / "x.parquet").set_column(2, "design", pa.array(["a", None, "b", "c"]))
    pq.write_table(rows, tmp_path / "y.parquet")
    with pytest.raises(ValueError, match="expected groups to be integers or strings, got None: pass group=None"):
        parquet(tmp_path / "y.parquet", group="design")
