"""Every mode that Pillow writes, and bytes that lie."""

import io
import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile, TiffImagePlugin

from genat.sources import decoding
from genat.sources.decoding import Mode, decode, luma, read, stack

COLOURS = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
GREYS = COLOURS[..., 0]


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def colour() -> Image.Image:
    return Image.fromarray(COLOURS)


def grey() -> Image.Image:
    return Image.fromarray(GREYS)


def planes(array: np.ndarray) -> torch.Tensor:
    return torch.tensor(array).view(*array.shape[:2], -1).permute(2, 0, 1)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WEBP", "GIF"])
def test_lossless_files_give_their_bytes_back(kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    image = colour().quantize(35) if kind == "GIF" else colour()
    picture = read(encoded(image, kind, **options), name="x")
    assert torch.equal(picture.pixels, planes(np.asarray(image.convert("RGB"))))
    assert picture.stored == ("palette" if kind == "GIF" else "RGB")
    assert picture.changes == ()


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_lossy_files_come_near(kind: str) -> None:
    smooth = Image.linear_gradient("L").resize((32, 32)).convert("RGB")
    picture = read(encoded(smooth, kind, quality=95), name="x")
    expected = planes(np.asarray(smooth)).float()
    assert (picture.pixels.float() - expected).abs().max() < 12  # of 255; 4:2:0 chroma at quality 95


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "GIF"])
def test_grey_files_have_one_channel(kind: str) -> None:
    picture = read(encoded(grey(), kind), name="x")
    assert torch.equal(picture.pixels, planes(GREYS))
    assert picture.changes == ()


def test_a_palette_becomes_its_colours() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 0])
    image.putpixel((1, 0), 1)
    picture = read(encoded(image, "PNG"), name="x")
    assert picture.stored == "palette"
    assert picture.pixels[:, 0].T.tolist() == [[10, 20, 30], [200, 100, 0]]


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_one_bit_becomes_black_and_white(kind: str) -> None:
    image = Image.fromarray(GREYS > 128)
    assert image.mode == "1"
    picture = read(encoded(image, kind), name="x")
    assert picture.stored == "1-bit"
    assert torch.equal(picture.pixels, planes(np.where(GREYS > 128, 255, 0).astype(np.uint8)))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_not_cut(kind: str) -> None:
    values = np.array([[0, 127, 128, 129, 257, 32768, 65407, 65535]], dtype=np.uint16)
    picture = read(encoded(Image.fromarray(values), kind), name="x")
    assert picture.pixels.flatten().tolist() == [0, 0, 0, 1, 1, 128, 255, 255]
    assert picture.stored == "grey"
    assert picture.changes == ("scaled to 8 bits",)


def png(header: bytes, rows: bytes) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_sixteen_bit_colour_is_said_to_lose_bits() -> None:
    header = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)
    picture = read(png(header, b"\0" + struct.pack(">HHH", 0, 0x80FF, 0xFFFF)), name="x")
    assert picture.pixels.flatten().tolist() == [0, 128, 255]
    assert picture.changes == ("scaled to 8 bits",)


def test_big_endian_and_32_bit_greys() -> None:
    assert decode(Image.frombytes("I;16B", (2, 1), b"\x00\x00\xff\xff")).pixels.flatten().tolist() == [0, 255]
    assert decode(Image.fromarray(np.array([[0, 65535]], dtype=np.int32))).pixels.flatten().tolist() == [0, 255]
    assert decode(Image.fromarray(np.array([[0.0, 0.5]], dtype=np.float32))).pixels.flatten().tolist() == [0, 128]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([[0, 65536]], dtype=np.int32), "expected grey values from 0 to 65535 in an image of mode I, got 0"),
        (np.array([[-1, 5]], dtype=np.int32), "expected grey values from 0 to 65535"),
        (np.array([[0.0, 200.0]], dtype=np.float32), "expected grey values from 0 to 1 in an image of mode F"),
        (np.array([[0.0, np.nan]], dtype=np.float32), "expected grey values from 0 to 1 in an image of mode F"),
    ],
)
def test_greys_of_an_unknown_range_are_refused(array: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decode(Image.fromarray(array))
    with pytest.raises(ValueError, match=f"expected an image in 'odd.tif', got {message}"):
        read(encoded(Image.fromarray(array), "TIFF"), name="odd.tif")


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_transparency_is_laid_on_white(kind: str) -> None:
    opacity = np.full((5, 7, 1), 255, dtype=np.uint8)
    opacity[0, 0], opacity[0, 1] = 0, 51
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    image = Image.fromarray(np.concatenate((COLOURS, opacity), axis=2))
    picture = read(encoded(image, kind, **options), name="x")
    assert picture.changes == ("flattened onto white",)
    expected = planes(COLOURS).float()
    expected[:, 0, 0] = 255
    expected[:, 0, 1] = 0.2 * expected[:, 0, 1] + 0.8 * 255
    assert (picture.pixels.float() - expected).abs().max() <= 1
    assert torch.equal(picture.pixels[:, 1:], planes(COLOURS)[:, 1:])


@pytest.mark.parametrize("mode", ["LA", "La", "PA", "RGBa", "RGBA"])
def test_every_alpha_mode_is_flattened(mode: str) -> None:
    image = Image.new("RGBA", (2, 2), (0, 0, 0, 0))
    image.putpixel((1, 1), (0, 0, 0, 255))
    converted = image.convert("LA").convert(mode) if mode == "La" else image.convert(mode)
    assert converted.mode == mode
    picture = decode(converted)
    assert picture.pixels.tolist() == [[[255, 255], [255, 0]]]
    assert picture.changes == ("flattened onto white",)


@pytest.mark.parametrize(("image", "transparency"), [(grey(), 7), (colour(), (1, 2, 3)), (colour().quantize(35), 3)])
def test_a_transparent_colour_is_flattened(image: Image.Image, transparency: object) -> None:
    image.putpixel((0, 0), transparency)  # type: ignore[arg-type]
    picture = read(encoded(image, "PNG", transparency=transparency), name="x")
    assert picture.changes == ("flattened onto white",)
    assert (picture.pixels[:, 0, 0] == 255).all()


def test_opaque_alpha_is_not_worth_a_note() -> None:
    picture = read(encoded(colour().convert("RGBA"), "PNG"), name="x")
    assert picture.changes == ()
    assert torch.equal(picture.pixels, planes(COLOURS))


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "HSV"])
def test_other_colour_models_become_rgb(mode: str) -> None:
    image = Image.new("RGB", (3, 2), (255, 0, 0)).convert(mode)
    picture = decode(image)
    assert picture.stored == mode
    assert (picture.pixels[:, 0, 0].int() - torch.tensor([255, 0, 0])).abs().max() <= 2


def test_a_cmyk_jpeg_is_read() -> None:
    picture = read(encoded(Image.new("CMYK", (8, 8), (0, 0, 0, 255)), "JPEG"), name="x")
    assert picture.stored == "CMYK"
    assert picture.pixels.max() <= 2


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_upright(orientation: int) -> None:
    # How the stored picture arises from the upright one, per EXIF 2.3.
    stored = {
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: lambda a: a.T,
        6: lambda a: np.rot90(a, 1),
        7: lambda a: np.rot90(a, 2).T,
        8: lambda a: np.rot90(a, -1),
    }[orientation](GREYS)
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = read(encoded(Image.fromarray(np.ascontiguousarray(stored)), "PNG", exif=exif), name="x")
    assert torch.equal(picture.pixels, planes(GREYS))
    assert picture.changes == (() if orientation == 1 else ("turned upright",))


@pytest.mark.parametrize("kind", ["GIF", "PNG", "TIFF", "WEBP"])
def test_the_first_frame_is_taken(kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    frames = [Image.new("RGB", (4, 4), shade) for shade in ("red", "blue", "green")]
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    picture = read(data, name="x")
    assert picture.pixels[:, 0, 0].tolist() == [255, 0, 0]
    assert picture.changes == ("cut to the first frame",)


def test_resizing_keeps_the_middle_and_antialiases() -> None:
    # Stripes of one pixel average to grey; the outer thirds of a wide picture are cut away.
    stripes = np.tile(np.array([[0, 255]], dtype=np.uint8), (30, 15))
    wide = np.hstack((np.full((30, 30), 7, dtype=np.uint8), stripes, np.full((30, 30), 9, dtype=np.uint8)))
    picture = decode(Image.fromarray(wide), size=(5, 5))
    assert picture.pixels.shape == (1, 5, 5)
    assert picture.changes == ("resized to 5 x 5",)
    assert (picture.pixels[0, :, 1:-1].float() - 127.5).abs().max() < 4
    assert picture.pixels[0, :, [0, -1]].min() > 60  # the filter reaches a little into what is cut away


def test_size_is_height_then_width_and_no_work_where_it_fits() -> None:
    assert decode(colour(), size=(10, 4)).pixels.shape == (3, 10, 4)
    fitting = decode(colour(), size=(5, 7))
    assert fitting.changes == ()
    assert torch.equal(fitting.pixels, planes(COLOURS))


def test_colour_that_is_grey_everywhere_is_grey() -> None:
    picture = decode(Image.fromarray(np.repeat(GREYS[..., None], 3, axis=2)))
    assert torch.equal(picture.pixels, planes(GREYS))
    assert picture.stored == "RGB"


def test_unknown_modes_are_refused() -> None:
    with pytest.raises(ValueError, match="expected a grey, palette, RGB or CMYK image, got mode LAB"):
        decode(Image.new("LAB", (2, 2)))


@pytest.mark.parametrize(
    ("mode", "channels", "notes"),
    [
        ("auto", 3, ("1 of 3 images converted from 1-bit to RGB", "1 of 3 images converted from grey to RGB")),
        ("RGB", 3, ("1 of 3 images converted from 1-bit to RGB", "1 of 3 images converted from grey to RGB")),
        ("L", 1, ("1 of 3 images converted from 1-bit to grey", "1 of 3 images converted from RGB to grey")),
    ],
)
def test_a_stack_has_one_mode(mode: Mode, channels: int, notes: tuple[str, ...]) -> None:
    pictures = [decode(colour()), decode(grey()), decode(Image.fromarray(GREYS > 128))]
    pixels, said = stack(pictures, mode=mode)
    assert pixels.shape == (3, channels, 5, 7)
    assert pixels.dtype == torch.uint8
    assert said == notes


def test_a_stack_of_greys_is_grey() -> None:
    pixels, notes = stack([decode(grey()), decode(grey().convert("RGB"))])
    assert torch.equal(pixels, planes(GREYS).expand(2, 1, 5, 7))
    assert notes == ("1 of 2 images converted from RGB to grey",)


def test_grey_is_pillows_own_to_one_level() -> None:
    pixels, _ = stack([decode(colour())], mode="L")
    assert (pixels[0].int() - planes(np.asarray(colour().convert("L"))).int()).abs().max() <= 1
    assert luma(torch.ones(3, 1, 1)).item() == pytest.approx(1.0)


def test_sizes_that_differ_are_refused_with_the_commonest() -> None:
    pictures = [decode(Image.new("L", (4, 6))), decode(Image.new("L", (4, 6))), decode(Image.new("L", (3, 3)))]
    with pytest.raises(ValueError, match="one size, got 2 sizes, most often 6 x 4 in 2 of 3: pass size="):
        stack(pictures)


def short_of_strips() -> bytes:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    data = bytearray(encoded(grey(), "TIFF", tiffinfo=tags))
    height = data.index(struct.pack("<HHI", TiffImagePlugin.IMAGELENGTH, 4, 1))
    data[height + 8 : height + 12] = struct.pack("<I", 4000)
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "got no PNG"),
        (b"<html>not an image</html>", "got no PNG, JPEG, WEBP, BMP, GIF, TIFF"),
        (b"\x89PNG\r\n\x1a\n", "got"),
        (encoded(Image.effect_noise((64, 64), 50), "PNG")[:-600], "got .*truncated"),
        (encoded(Image.effect_noise((64, 64), 50), "JPEG")[:-600], "got .*truncated"),
        (encoded(Image.effect_noise((64, 64), 50), "BMP")[:-600], "got .*truncated"),
        (encoded(Image.effect_noise((64, 64), 50), "GIF")[:-600], "got .*truncated"),
        (encoded(Image.effect_noise((64, 64), 50), "WEBP")[:-600], "got"),
        (encoded(Image.effect_noise((64, 64), 50), "TIFF")[:-600], "got"),
        (short_of_strips(), "got strips of fewer than 7 x 4000 pixels"),
        (png(struct.pack(">IIBBBBB", 9000, 9000, 8, 0, 0, 0, 0), b""), "got 9000 x 9000 pixels, more than 67108864"),
        (png(struct.pack(">IIBBBBB", 60000, 60000, 8, 0, 0, 0, 0), b""), "got .*decompression bomb"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n", "got no PNG"),
    ],
)
def test_lying_bytes_are_refused_by_name_on_one_line(data: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=f"expected an image in 'liar.png', {why}") as caught:
        read(data, name="liar.png")
    assert "\n" not in str(caught.value)


def test_a_name_of_two_lines_stays_on_one() -> None:
    with pytest.raises(ValueError, match=r"expected an image in 'a\\nb.png'") as caught:
        read(b"", name="a\nb.png")
    assert "\n" not in str(caught.value)


def test_limits_leave_no_trace_in_pillow() -> None:
    before = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)
    read(encoded(grey(), "PNG"), name="x")
    assert before == (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)
    assert Image.MAX_IMAGE_PIXELS is None or Image.MAX_IMAGE_PIXELS > decoding.MAX_PIXELS


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF"])
def test_damaged_bytes_are_read_or_refused_and_nothing_else(kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    sound = encoded(colour().convert("RGB"), kind)
    chance = random.Random(0)
    for _ in range(150):
        damaged = bytearray(sound)
        for _ in range(chance.choice((1, 2, 8))):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        del damaged[chance.choice((len(damaged), chance.randrange(len(damaged)))) :]
        try:
            assert read(bytes(damaged), name="x").pixels.dtype == torch.uint8
        except ValueError as error:
            assert "\n" not in str(error)  # noqa: PT017 -- either outcome is right
    capfd.readouterr()  # libtiff writes to the error stream on its own


@pytest.mark.parametrize("make", [colour, grey])
def test_a_path_and_its_bytes_are_the_same(make: Callable[[], Image.Image], tmp_path: Path) -> None:
    make().save(tmp_path / "named.jpg", "PNG")  # the content decides, not the name
    from_path = read(tmp_path / "named.jpg", name="x")
    from_bytes = read((tmp_path / "named.jpg").read_bytes(), name="x")
    assert torch.equal(from_path.pixels, from_bytes.pixels)
