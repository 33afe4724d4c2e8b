"""`genat edit`: each mode end to end, what each refuses, and every kind of image and mask."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms
from torch import Tensor

from genat import config, generation, report, runs
from genat.sources import digits

Cli = Callable[..., tuple[int, str, str]]

HOW = ("--steps", "4", "--step-size", "0.3")


@pytest.fixture(scope="session")
def colour_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 8 x 8 images in colour."""
    folder = tmp_path_factory.mktemp("colour")
    pixels = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), dtype=np.uint8)
    (folder / "images").mkdir()
    for i, image in enumerate(pixels):
        Image.fromarray(image).save(folder / "images" / f"{i:02d}.png")
    keys = [
        f"data.path={folder / 'images'}", "data.size=8", "network=mlp", "network_options.hidden=[8]", "iterations=2",
        "steps.last=1", "sampling.steps=2", "outside=[{kind: uniform-noise}]",
    ]  # fmt: skip
    runs.train(config.load("images", keys), folder / "run")
    return folder / "run"


@pytest.fixture
def place(tmp_path: Path, tiny_run: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: a run, two digits, a mask of the lower left quarter, and files that are none of these."""
    assert tiny_run == tmp_path / "run"
    test = digits("test").pixels[:2, 0].numpy()
    for name, pixels in zip(("one", "two"), test, strict=True):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    quarter = np.zeros((8, 8), dtype=np.uint8)
    quarter[4:, :4] = 255
    Image.fromarray(quarter).save(tmp_path / "mask.png")
    Image.new("L", (9, 8), 255).save(tmp_path / "wide.png")
    Image.new("L", (8, 8), 0).save(tmp_path / "black.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "one.png").read_bytes()[:60])
    (tmp_path / "page.png").write_text("<html>", encoding="utf-8")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _pixels(path: Path | str) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    with Image.open(path) as image:
        return np.asarray(image)


def _shown(images: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return (images[:, 0] * 255).round().to(torch.uint8).numpy()


def _edited(run_cli: Cli, mode: str, *arguments: str) -> list[Path]:
    code, out, err = run_cli("edit", "run", *arguments, "--mode", mode, *HOW)
    assert (code, err) == (0, "")
    files = [Path(line) for line in out.splitlines()]
    folder = Path("run/edited") / mode
    assert [file.name for file in files[-2:]] == ["before-after.png", "way.png"]
    assert sorted(folder.iterdir()) == sorted([*files, folder / "made.json"])
    made = json.loads((folder / "made.json").read_text(encoding="utf-8"))
    assert made["verb"] == mode
    assert made["command"].startswith("genat edit run")
    return files[:-2]


# each mode


def test_a_mask_says_what_may_move(run_cli: Cli, place: Path) -> None:
    (file,) = _edited(run_cli, "mask", "one.png", "--mask", "mask.png")
    assert file.name == "000-one.png"
    before, after, free = _pixels("one.png"), _pixels(file), _pixels("mask.png") > 0
    assert np.array_equal(after[~free], before[~free])
    assert not np.array_equal(after[free], before[free])
    (boxed,) = _edited(run_cli, "mask", "one.png", "--box", "0,4,4,8")
    assert np.array_equal(_pixels(boxed), after)
    assert _pixels(place / "run/edited/mask/before-after.png").shape[:2] == (2 * 66 + 2, 66 + 2)
    assert _pixels(place / "run/edited/mask/way.png").shape[:2] == (66 + 2, 5 * 66 + 2)


def test_a_hole_is_completed_once_a_seed(run_cli: Cli, place: Path) -> None:
    files = _edited(run_cli, "inpaint", "one.png", "--mask", "mask.png", "--seeds", "3,7-15")
    assert [file.name for file in files] == [f"seed-{seed:05d}.png" for seed in (3, *range(7, 16))]
    free = _pixels("mask.png") > 0
    made = {file.name: _pixels(file) for file in files}
    assert all(np.array_equal(image[~free], _pixels("one.png")[~free]) for image in made.values())
    assert len({image.tobytes() for image in made.values()}) == 10
    hidden = _pixels("one.png").copy()
    hidden[free] = 99
    Image.fromarray(hidden).save("other.png")
    (alone,) = _edited_anew(run_cli, place, "inpaint", "other.png", "--mask", "mask.png", "--seeds", "9")
    assert np.array_equal(_pixels(alone), made["seed-00009.png"]), "neither the others nor what is hidden matter"


def _edited_anew(run_cli: Cli, place: Path, mode: str, *arguments: str) -> list[Path]:
    for path in (place / "run" / "edited" / mode).iterdir():
        path.unlink()
    return _edited(run_cli, mode, *arguments)


def test_eight_completions_are_made_unless_asked_otherwise(run_cli: Cli, place: Path) -> None:
    assert len(_edited(run_cli, "inpaint", "one.png", "--box", "0,4,4,8")) == 8
    # what is hidden is shown grey above each completion
    assert (_pixels(place / "run/edited/inpaint/before-after.png")[2:66, 2:66][32:, :32] == 128).all()


def test_noise_is_undone_inside_its_ball(run_cli: Cli, place: Path) -> None:
    (file,) = _edited(run_cli, "denoise", "one.png", "--sigma", "0.05")
    moved = (_pixels(file) / 255.0 - _pixels("one.png") / 255.0).astype(float)
    assert 0 < np.linalg.norm(moved) <= 0.05 * 8 + 8 / 255
    by_sigma = _pixels(file)
    (file,) = _edited(run_cli, "denoise", "one.png", "--radius", "0.4")
    assert np.array_equal(_pixels(file), by_sigma)
    assert len(list((place / "run/edited/denoise").iterdir())) == 4


@pytest.mark.usefixtures("place")
def test_between_two_images(run_cli: Cli) -> None:
    files = _edited(run_cli, "interpolate", "one.png", "two.png", "--frames", "3")
    assert [file.name for file in files] == ["frame-00.png", "frame-01.png", "frame-02.png"]
    run_cli("transform", "run", "one.png", "two.png", *HOW)
    for file, end in ((files[0], "000-one.png"), (files[2], "001-two.png")):
        assert np.array_equal(_pixels(file), _pixels(Path("run/transformed") / end))


@pytest.mark.usefixtures("place")
def test_between_two_seeds(run_cli: Cli) -> None:
    files = _edited(run_cli, "interpolate", "--seeds", "3,8")
    assert len(files) == 8
    run_cli("sample", "run", "--seeds", "3,8", *HOW)
    for file, seed in ((files[0], 3), (files[-1], 8)):
        assert np.array_equal(_pixels(file), _pixels(Path("run/samples") / f"seed-{seed:05d}.png"))


@pytest.mark.usefixtures("place")
def test_two_runs_are_composed(run_cli: Cli) -> None:
    files = _edited(run_cli, "compose", "--seeds", "0-9", "--with", "run", "--weights", "1,0")
    run_cli("sample", "run", "--seeds", "0-9", *HOW)
    for file in files:
        assert np.array_equal(_pixels(file), _pixels(Path("run/samples") / file.name)), "a weight of 0 changes nothing"
    loaded = runs.load("run")
    weighted = generation.compose([loaded.detector] * 3, weights=[1.0, -2.0, 0.5])
    image = torch.from_numpy(_pixels("one.png").copy())[None, None] / 255
    expected = generation.transform(weighted, image, steps=4, step_size=0.3, chunk=1).points
    (file,) = _edited_anew(
        run_cli, Path(), "compose", "one.png", "--with", "run", "--with", "run", "--weights", "1,-2,0.5"
    )
    assert np.array_equal(_pixels(file), _shown(expected)[0])


@pytest.mark.usefixtures("place")
def test_the_knobs_are_turned(run_cli: Cli) -> None:
    before = _pixels("one.png")
    for turned, still in (
        (["--strength", "1e-6"], True),
        (["--stop-at", "-1e9"], True),
        (["--shrink", "0.1"], False),
        (["--strength", "0.3"], False),
    ):
        (file,) = _edited(run_cli, "mask", "one.png", "--mask", "mask.png", *turned)
        assert np.array_equal(_pixels(file), before) == still


def test_output_and_json(run_cli: Cli, place: Path) -> None:
    arguments = ("edit", "run", "one.png", "--mode", "denoise", "--sigma", "0.1", "--output", "made/here", "--json")
    code, out, _ = run_cli(*arguments)
    assert code == 0
    assert json.loads(out) == {"files": ["made/here/000-one.png", "made/here/before-after.png", "made/here/way.png"]}
    assert not (place / "run" / "edited").exists()


@pytest.mark.usefixtures("place")
def test_results_may_have_any_name(run_cli: Cli) -> None:
    """None is overwritten by the pictures beside it."""
    for name in ("way", "before-after"):
        Path("one.png").rename(f"{name}.png")
        files = _edited(run_cli, "mask", f"{name}.png", "--box", "0,0,8,8")
        assert _pixels(files[0]).shape == (8, 8)
        Path(f"{name}.png").rename("one.png")
        for path in Path("run/edited/mask").iterdir():
            path.unlink()


# images of every kind


def _image(kind: str, path: Path) -> Path:
    generator = np.random.default_rng(0)
    colours = Image.fromarray(generator.integers(0, 256, (8, 8, 4), dtype=np.uint8))
    made: dict[str, Image.Image] = {
        "another size": colours.convert("RGB").resize((20, 13)),
        "alpha": colours,
        "grey with alpha": colours.convert("LA"),
        "palette": colours.convert("RGB").convert("P"),
        "1-bit": colours.convert("1"),
        "16-bit": Image.fromarray(generator.integers(0, 2**16, (8, 8), dtype=np.uint16)),
        "CMYK": colours.convert("RGB").convert("CMYK"),
        "LAB": ImageCms.applyTransform(
            colours.convert("RGB"),
            ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"),
        ) or colours,
    }  # fmt: skip
    path = path.with_suffix(".tif" if kind in ("CMYK", "LAB") else ".png")
    made[kind].save(path)
    return path


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("another size", ["converted from RGB to grey", "resized to 8 x 8"]),
        ("alpha", ["converted from RGB to grey", "flattened onto white"]),
        ("grey with alpha", ["flattened onto white"]),
        ("palette", ["converted from palette to grey"]),
        ("1-bit", ["converted from 1-bit to grey"]),
        ("16-bit", ["scaled to 8 bits"]),
        ("CMYK", ["converted from CMYK to grey"]),
    ],
)
@pytest.mark.parametrize("command", ["edit", "transform"])
def test_images_are_converted_and_it_is_said(
    run_cli: Cli, place: Path, command: str, kind: str, said: list[str]
) -> None:
    path = _image(kind, place / "odd")
    mode = ("--mode", "mask", "--box", "0,0,4,4") if command == "edit" else ()
    code, out, err = run_cli(command, "run", path.name, *mode, *HOW)
    assert code == 0
    assert err.splitlines() == [f"{path.name}: {change}" for change in said]
    assert _pixels(out.splitlines()[0]).shape == (8, 8)


def test_a_run_in_colour_takes_grey_masks_and_grey_images(run_cli: Cli, colour_run: Path, place: Path) -> None:
    code, out, err = run_cli(
        "edit", colour_run, "one.png", "--mode", "mask", "--mask", "mask.png", "--output", "made", *HOW
    )
    assert (code, err) == (0, "one.png: converted from grey to RGB\n")
    after, free = _pixels(out.splitlines()[0]), _pixels("mask.png") > 0
    assert after.shape == (8, 8, 3)
    assert (after[~free] == _pixels("one.png")[~free][:, None]).all()
    assert not (after[free] == after[free][:, :1]).all(), "what may move takes on colours"
    assert (place / "made" / "way.png").is_file()


# what is refused


def _tree(folder: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


def _refuses(run_cli: Cli, place: Path, command: str, message: str) -> None:
    before = _tree(place)
    code, out, err = run_cli("edit", *command.split())
    assert (code, out) == (2, "")
    assert err == f"genat: {message}\n"
    assert _tree(place) == before


BOX = "--box 0,0,1,1"


@pytest.mark.parametrize(
    ("mode", "arguments", "message"),
    [
        ("mask", f"one.png {BOX} --seeds 1", "--seeds: expected with --mode inpaint or interpolate or compose"),
        ("mask", f"one.png {BOX} --frames 3", "--frames: expected with --mode interpolate"),
        ("mask", f"one.png {BOX} --sigma 1", "--sigma: expected with --mode denoise"),
        ("inpaint", f"one.png {BOX} --radius 1", "--radius: expected with --mode denoise"),
        ("denoise", "one.png --sigma 1 --mask mask.png", "--mask: expected with --mode mask or inpaint"),
        ("denoise", "one.png --sigma 1 --with run", "--with: expected with --mode compose"),
        ("interpolate", f"one.png two.png {BOX}", "--box: expected with --mode mask or inpaint"),
        ("interpolate", "one.png two.png --weights 1", "--weights: expected with --mode compose"),
    ],
)
def test_what_does_not_belong_to_the_mode(run_cli: Cli, place: Path, mode: str, arguments: str, message: str) -> None:
    _refuses(run_cli, place, f"run {arguments} --mode {mode}", f"{message}, got --mode {mode}")


@pytest.mark.parametrize(
    ("mode", "arguments", "message"),
    [
        ("mask", BOX, "one image, got 0"),
        ("mask", f"one.png two.png {BOX}", "one image, got 2"),
        ("inpaint", f"{BOX} --seeds 1", "one image, got 0"),
        ("denoise", "one.png two.png --sigma 1", "one image, got 2"),
        ("interpolate", "one.png", "two images, or two --seeds, got 1"),
        ("interpolate", "", "two images, or two --seeds, got 0"),
        ("interpolate", "one.png two.png --seeds 1,2", "two images, or two --seeds, got 2 and --seeds"),
        ("interpolate", "--seeds 1-3", "two images, or two --seeds, got 3 seeds"),
        ("compose", "--with run", "one image, or --seeds, got 0"),
        ("compose", "one.png --with run --seeds 1", "one image, or --seeds, got 1 and --seeds"),
        ("mask", "one.png", "--mask or --box, got none"),
        ("mask", f"one.png --mask mask.png {BOX}", "--mask or --box, got both"),
        ("inpaint", "one.png", "--mask or --box, got none"),
        ("denoise", "one.png", "--sigma or --radius, got none"),
        ("denoise", "one.png --sigma 1 --radius 1", "--sigma or --radius, got both"),
        ("compose", "one.png", "--with, got none"),
    ],
)
def test_what_a_mode_lacks_or_has_too_much_of(
    run_cli: Cli, place: Path, mode: str, arguments: str, message: str
) -> None:
    _refuses(run_cli, place, f"run {arguments} --mode {mode}", f"--mode {mode}: expected {message}")


DENOISE, COMPOSE, MASK = "--mode denoise --sigma 1", "--mode compose --with run", "--mode mask"
NO_FORMAT = "got no PNG, JPEG, WEBP, BMP, GIF, TIFF"
NO_FILE = "got No such file or directory"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (f"run one.png {MASK} --box 0,0,1", "--box: expected four whole numbers x0,y0,x1,y1, got '0,0,1'"),
        (f"run one.png {MASK} --box 0,0,1,x", "--box: expected four whole numbers x0,y0,x1,y1, got '0,0,1,x'"),
        (f"run {COMPOSE} --seeds x", "--seeds: expected numbers and ranges such as 0-63 or 1,5,9-12, got 'x'"),
        (f"run one.png {COMPOSE} --weights 1,x", "--weights: expected numbers such as 1,0.5, got '1,x'"),
        (f"run one.png {COMPOSE} --weights 1", "--weights: expected 2, RUN's first, got 1"),
        (f"missing one.png {DENOISE}", "missing: expected a run folder, got none"),
        (f"empty one.png {DENOISE}", "empty: expected a run folder, got one without config.yaml"),
        ("run one.png --mode compose --with missing", "missing: expected a run folder, got none"),
        (f"run missing.png {DENOISE}", f"expected an image in 'missing.png', {NO_FILE}"),
        (f"run page.png {DENOISE}", f"expected an image in 'page.png', {NO_FORMAT}"),
        (f"run one.png {MASK} --mask page.png", f"expected an image in 'page.png', {NO_FORMAT}"),
        (f"run one.png {MASK} --mask missing.png", f"expected an image in 'missing.png', {NO_FILE}"),
        (f"run one.png {MASK} --mask wide.png", "expected a mask of 8 x 8 in 'wide.png', got 8 x 9"),
        (f"run one.png {MASK} --mask black.png", "expected some white in 'black.png', where pixels may move, got none"),
        (f"run one.png {MASK} --box 0,0,9,8", "expected a box x0,y0,x1,y1 inside 8 x 8 pixels, got 0,0,9,8"),
        (f"run one.png {MASK} --box=-1,0,2,2", "expected a box x0,y0,x1,y1 inside 8 x 8 pixels, got -1,0,2,2"),
        (f"run one.png {COMPOSE} --weights 0,0", "expected finite weights, not all 0, got 0, 0"),
        (f"run one.png {COMPOSE} --weights 1,nan", "expected finite weights, not all 0, got 1, nan"),
        (f"run one.png {DENOISE} --stop-at nan", "expected stop_at to be None or a finite logit, got nan"),
        (f"run one.png {DENOISE} --output one.png", "one.png: File exists"),
    ],
)
def test_what_cannot_be_read_or_does_not_fit(run_cli: Cli, place: Path, command: str, message: str) -> None:
    _refuses(run_cli, place, command, message)


def test_a_truncated_image_is_named(run_cli: Cli, place: Path) -> None:
    before = _tree(place)
    for arguments in (
        ("cut.png", "--mode", "denoise", "--sigma", "1"),
        ("one.png", "--mode", "mask", "--mask", "cut.png"),
    ):
        code, out, err = run_cli("edit", "run", *arguments)
        assert (code, out, len(err.splitlines())) == (2, "", 1)
        assert err.startswith("genat: expected an image in 'cut.png', got ")
    assert _tree(place) == before


def test_an_image_of_an_unknown_mode_is_refused(run_cli: Cli, place: Path) -> None:
    path = _image("LAB", place / "odd")
    _refuses(
        run_cli, place, f"run {path.name} --mode denoise --sigma 1",
        f"expected an image in {path.name!r}, got expected a grey, palette, RGB or CMYK image, got mode LAB",
    )  # fmt: skip


def test_runs_of_another_shape_are_not_composed(run_cli: Cli, colour_run: Path, place: Path) -> None:
    message = f"{colour_run}: expected a run for images (1, 8, 8), got one for (3, 8, 8)"
    _refuses(run_cli, place, f"run one.png --mode compose --with {colour_run}", message)


@pytest.mark.parametrize(
    "command",
    ["run one.png", "run one.png --mode nonsense", "run --mode interpolate --seeds 1,2 --frames 1",
     "run one.png --mode denoise --sigma -1", "run one.png --mode denoise --sigma 1 --strength 0",
     "run one.png --mode denoise --sigma 1 --strength 1.1", "run one.png --mode denoise --sigma 1 --shrink 2"],
)  # fmt: skip
def test_typers_own_refusals(run_cli: Cli, place: Path, command: str) -> None:
    before = _tree(place)
    code, out, err = run_cli("edit", *command.split())
    assert (code, out) == (2, "")
    assert "Usage" in err
    assert "Traceback" not in err
    assert _tree(place) == before


def test_the_modes_leave_what_the_report_shows(run_cli: Cli, place: Path) -> None:
    _edited(run_cli, "mask", "one.png", "--mask", "mask.png")
    _edited(run_cli, "compose", "--seeds", "1", "--with", "run")
    run_cli("transform", "run", "one.png")
    html = report.write(runs.load(place / "run")).read_text(encoding="utf-8")
    for said in ("transform, before and after: genat transform run one.png", "compose, the way",
                 "mask, before and after: genat edit run one.png --mask mask.png --mode mask"):  # fmt: skip
        assert said in html
