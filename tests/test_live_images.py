"""Uploads: every kind of file is read right or refused in one sentence, and looks like the data afterwards."""

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps

from trak_core.datasets.digits import ink_thumbnail
from trak_core.errors import InvalidDataError
from trak_core.modalities.image.grey_picture import MAX_BYTES, WORKING_PIXELS, read_grey
from trak_core.subjects import find_recipe
from trak_core.subjects.drawn_digit import read_digit

ROOT = Path(__file__).resolve().parents[1]


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def seven(mode: str = "L", ground: object = 255, ink: object = 0, size: tuple[int, int] = (200, 300)) -> Image.Image:
    """A seven: a bar on top and a slanted stroke, no symmetry of its own."""
    image = Image.new(mode, size, ground)
    pen = ImageDraw.Draw(image)
    width, height = size
    pen.line(
        [(0.25 * width, 0.2 * height), (0.75 * width, 0.2 * height), (0.4 * width, 0.8 * height)],
        fill=ink,
        width=round(0.12 * width),
    )
    return image


PLAIN = read_digit(saved(seven())).ink


def looks_like_seven(content: bytes, tolerance: float = 0.02) -> tuple[str, ...]:
    image = read_digit(content)
    assert np.abs(image.ink - PLAIN).mean() < tolerance
    return image.steps


# --- files ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF"])
def test_common_files_are_read(kind):
    looks_like_seven(saved(seven(), kind))


@pytest.mark.parametrize(
    ("mode", "ground", "ink"),
    [
        ("1", 1, 0),
        ("LA", (255, 255), (0, 255)),
        ("RGB", (240, 240, 200), (10, 10, 120)),
        ("RGBA", (255, 255, 255, 255), (0, 0, 0, 255)),
        ("I;16", 65535, 0),
    ],
)
def test_every_way_to_store_a_pixel_is_read(mode, ground, ink):
    looks_like_seven(saved(seven(mode, ground, ink), "PNG"))


def test_cmyk_and_wide_numbers_are_read_and_said_so():
    cmyk = seven("RGB", (255, 255, 255), (0, 0, 0)).convert("CMYK")
    assert any("CMYK" in step for step in looks_like_seven(saved(cmyk, "JPEG")))
    assert any("16 bits" in step for step in looks_like_seven(saved(seven("I;16", 65535, 0), "PNG")))
    floats = Image.fromarray(np.asarray(seven(), dtype=np.float32) / 255)
    looks_like_seven(saved(floats, "TIFF"))


@pytest.mark.parametrize(("ink", "ground"), [((0, 0, 0, 255), "white"), ((255, 255, 255, 255), "black")])
def test_transparent_ground_is_taken_as_the_opposite_of_the_stroke(ink, ground):
    steps = looks_like_seven(saved(seven("RGBA", (0, 0, 0, 0), ink)))
    assert f"Transparent parts taken as {ground}." in steps


def test_a_palette_with_a_transparent_colour_is_read():
    image = seven("P", 0, 1)
    image.putpalette([0, 0, 0, 0, 0, 0] + [0] * 750)
    steps = looks_like_seven(saved(image, "PNG", transparency=0))
    assert "Transparent parts taken as white." in steps


def test_light_strokes_on_dark_ground_are_inverted_and_dark_ones_are_not():
    assert any("inverted" in step for step in looks_like_seven(saved(seven("L", 20, 230))))
    assert not any("inverted" in step for step in looks_like_seven(saved(seven())))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_are_turned_upright_as_the_camera_noted(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    back = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the transpositions that undo each
    turned = seven() if orientation == 1 else seven().transpose(Image.Transpose(back[orientation]))
    steps = looks_like_seven(saved(turned, "JPEG", exif=exif))
    assert ("Turned upright, as the camera noted." in steps) == (orientation > 1)
    looks_like_seven(saved(turned, "PNG", exif=exif))


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_several_pictures_the_first_is_taken(kind):
    content = saved(seven(), kind, save_all=True, append_images=[ImageOps.mirror(seven()), Image.new("L", (200, 300))])
    assert "The file has 3 pictures; this is the first." in looks_like_seven(content)


def png_header(width: int, height: int) -> bytes:
    """A small PNG that says to be of any size: a decompression bomb."""
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(bytes(100_000))),
        (b"IEND", b""),
    ]
    body = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "this file is empty"),
        (b"hello, I am a text", "cannot be read as an image"),
        (b"PK\x03\x04" + bytes(100), "cannot be read as an image"),
        (b"\x89PNG\r\n\x1a\n", "cannot be read as an image|damaged"),
        (saved(seven())[:-200], "damaged or cut off"),
        (saved(seven(), "JPEG")[:1500], "damaged or cut off"),
        (saved(seven(), "GIF")[:200], "damaged or cut off|nothing on this image"),
        (saved(seven()).replace(b"IDAT", b"IDAX"), "damaged or cut off|cannot be read"),
        (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "SVG drawing"),
        (b"\xef\xbb\xbf  <SVG></SVG>", "SVG drawing"),
        (bytes(MAX_BYTES + 1), "at most 10 MB are read"),
        (png_header(20_000, 20_000), "20 million pixels"),
        (png_header(2**31 - 1, 2**31 - 1), "20 million pixels|damaged"),
        (png_header(5000, 4001), "5,000 x 4,001 pixels"),
        (png_header(1000, 1000), "damaged or cut off"),
        (saved(Image.new("L", (50, 50), 255)), "nothing on this image"),
        (saved(Image.new("L", (8, 8), 90)), "nothing on this image"),
        (saved(Image.new("RGBA", (50, 50), (0, 0, 0, 0))), "nothing on this image"),
        (saved(Image.new("L", (1, 1))), "nothing on this image"),
        (saved(Image.fromarray(np.full((20, 20), np.nan, dtype=np.float32)), "TIFF"), "no numbers"),
    ],
)
def test_what_cannot_be_read_gets_one_sentence(content, says):
    with pytest.raises(InvalidDataError, match=says) as caught:
        read_digit(content)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 250


def test_no_damaged_file_does_anything_but_give_a_sentence():
    random = np.random.default_rng(0)
    originals = [saved(seven(size=(60, 90)), kind) for kind in ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF")]
    for number in range(300):
        content = bytearray(originals[number % len(originals)])
        for place in random.integers(0, len(content), random.integers(1, 6)):
            content[place] = random.integers(256)
        try:
            ink = read_digit(bytes(content)).ink
        except InvalidDataError:
            continue
        assert ink.shape == (8, 8) and 0 <= ink.min() <= ink.max() <= 1


@pytest.mark.parametrize("size", [(1, 400), (400, 1), (3, 3), (2, 2), (5000, 9), (17, 256)])
def test_odd_sizes_are_read(size):
    image = Image.new("L", size, 255)
    image.putpixel((size[0] // 2, size[1] // 2), 0)
    try:
        assert read_digit(saved(image)).ink.shape == (8, 8)
    except InvalidDataError as error:
        assert "nothing on" in str(error) or "too thin" in str(error)


MEMORY = """
import io, resource, sys
from PIL import Image
sys.path.insert(0, {root!r})
from trak_core.subjects.drawn_digit import read_digit
from trak_core.datasets.digits import ink_thumbnail
from trak_core.errors import InvalidDataError
content = open({path!r}, "rb").read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    read_digit(content)
except InvalidDataError as error:
    sys.stdout.write(str(error))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "kind", "options"),
    [
        ("RGBA", "PNG", {"compress_level": 1}),
        ("P", "PNG", {"compress_level": 1, "transparency": 0}),
        ("I;16", "PNG", {"compress_level": 1}),
        ("RGB", "JPEG", {"progressive": True, "subsampling": 0}),
        ("RGB", "WEBP", {"method": 0}),
        ("CMYK", "TIFF", {"compression": "tiff_deflate"}),
        ("F", "TIFF", {"compression": "tiff_deflate"}),
    ],
)
def test_the_largest_image_takes_less_than_200_megabytes(tmp_path, mode, kind, options):
    path = tmp_path / "large"
    ground = {
        "RGBA": (255, 255, 255, 255),
        "RGB": (255, 255, 255),
        "CMYK": (0, 0, 0, 0),
        "I;16": 65535,
        "F": 1.0,
        "P": 250,
    }
    image = Image.new(mode, (5000, 4000), ground.get(mode, 1))
    dark = {"RGBA": (0, 0, 0, 255), "RGB": (0, 0, 0), "CMYK": (0, 0, 0, 255), "P": 2}.get(mode, 0)
    if mode == "P":
        image.putpalette([level for level in range(256) for _ in "rgb"])
    image.paste(dark, (2000, 500, 3000, 3500))
    image.save(path, kind, **options)
    script = MEMORY.format(root=str(ROOT), path=str(path))
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert int(result.stdout.split()[-1]) < 200_000, result.stdout


# --- the look of the data -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits() -> object:
    return find_recipe("digits").load().dataset


def ink_of(digits, idx: int) -> np.ndarray:
    low, high = digits.train.inputs.min(), digits.train.inputs.max()
    return ((digits.test.inputs[idx] - low) / (high - low)).reshape(8, 8)


@pytest.mark.parametrize("enlarge", [1, 8, 25])
def test_an_image_of_the_data_comes_back_as_it_is(digits, enlarge):
    for idx in range(60):
        small = Image.open(io.BytesIO(digits.test.thumbnails[idx])).resize((8, 8), Image.Resampling.NEAREST)
        image = small.resize((8 * enlarge, 8 * enlarge), Image.Resampling.NEAREST)
        for shown in (image, ImageOps.invert(image)):
            read = read_digit(saved(shown))
            assert np.abs(read.ink - ink_of(digits, idx)).max() < 1e-6
            assert "taken as it is" in read.steps[-1]


def test_the_thumbnail_is_read_back_as_the_same_digit():
    read = read_digit(saved(seven()))
    assert (read_digit(ink_thumbnail(read.ink)).ink == read.ink).all()


def test_every_digit_is_cut_out_centred_full_height_and_of_usual_ink():
    for size, thickness in [((300, 300), 8), ((300, 300), 30), ((900, 500), 60), ((120, 400), 20)]:
        image = Image.new("L", size, 255)
        pen = ImageDraw.Draw(image)
        pen.ellipse((size[0] * 0.55, size[1] * 0.1, size[0] * 0.8, size[1] * 0.1 + size[0] * 0.4), width=thickness)
        ink = read_digit(saved(image)).ink
        assert 0.26 <= ink.mean() <= 0.35  # as 8 of 10 images of the data
        assert ink[0].any() and ink[-1].any()
        assert np.abs(ink - ink[:, ::-1]).max() <= 6 / 16  # an ellipse in the middle; half a fine pixel off shows so
        assert ((ink * 16) % 1 == 0).all()


def test_shade_noise_and_specks_do_not_matter():
    tones = np.asarray(seven(), dtype=np.float64)
    shade = np.linspace(0.45, 1, tones.shape[1])[None, :] * np.linspace(1, 0.8, tones.shape[0])[:, None]
    photo = (tones * 0.7 + 40) * shade + np.random.default_rng(0).normal(0, 5, tones.shape)
    photo[10:13, 10:13] = 0
    steps = looks_like_seven(saved(Image.fromarray(photo.clip(0, 255).astype(np.uint8))), tolerance=0.05)
    assert any("speck" in step for step in steps)


def test_large_pictures_are_looked_at_in_reduced_size():
    picture = read_grey(saved(seven(size=(1500, 2250))))
    assert max(picture.tones.shape) == WORKING_PIXELS
    looks_like_seven(saved(seven(size=(1500, 2250))), tolerance=0.03)
