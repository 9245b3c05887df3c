"""Images of any depth and range: one scale and one ground for the whole data set, new images included."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.test_image_folder import noise, put, saved
from tests.test_live_images import png_header
from trak_core.datasets.image_folder import read_image_folder
from trak_core.errors import InvalidDataError
from trak_core.modalities import encoding_metadata, prepare, read_encoding
from trak_core.modalities.image.new_image import prepare_image
from trak_core.modalities.image.pixels import Pixels

CASES = Path(__file__).resolve().parents[2] / "shared" / "cases"


def values(seed: int, high: int, low: int = 0, shape: tuple[int, ...] = (10, 12)) -> np.ndarray:
    """Whole numbers from `low` to `high`, both included."""
    found = np.random.default_rng(seed).integers(low, high + 1, shape)
    found.flat[0], found.flat[1] = low, high
    return found


def png16(array: np.ndarray) -> bytes:
    """A PNG of 16 bits a channel, with 1, 3 or 4 channels, of uint16 `[height, width, channels]`."""
    height, width, channels = array.shape

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    kind = {1: 0, 3: 2, 4: 6}[channels]
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0))
    return png_header(1, 1)[:8] + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def stored(kind: str, array: np.ndarray) -> bytes:
    """An image file of one grey channel that holds exactly these numbers."""
    if kind == "png16":
        return png16(array.astype(np.uint16)[..., None])
    dtype = {"tiff16": np.uint16, "tiff32": np.int32, "float": np.float32}[kind]
    return saved(Image.fromarray(array.astype(dtype)), "TIFF")


def two_classes(folder: Path, ending: str, contents: list[bytes]) -> Path:
    """A train and a test part, whose contents take turns in the classes a and b: the last two are the test part."""
    for number, content in enumerate(contents):
        part = "test" if number >= len(contents) - 2 else "train"
        put(folder, f"{part}/{'ab'[number % 2]}/{number}.{ending}", content)
    return folder


def by_name(raw) -> dict[str, np.ndarray]:
    """The pixels of each image, by the file that it came from."""
    return {
        name: pixels for part in (raw.train, raw.test) for name, pixels in zip(part.origins, part.contents, strict=True)
    }


def on_scale(array: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.clip((array.astype(np.float64) - low) * 255 / (high - low), 0, 255)


@pytest.mark.parametrize(
    ("kind", "highs"),
    [
        ("png16", [4000, 900, 2000, 4095, 3000, 4095]),  # 12 bits in 16
        ("png16", [900, 1023, 500, 700, 600, 800]),  # 10 bits
        ("tiff16", [4095, 300, 16000, 4095, 3000, 4095]),
        ("tiff32", [90, 40, 60, 89, 50, 90]),  # few counts in 32 bits
        ("tiff32", [3_000_000, 2_000, 50_000, 400, 9_000, 80]),
        ("float", [200, 40, 10, 3, 8, 60]),
    ],
)
def test_deep_images_of_a_data_set_share_one_scale_that_the_train_part_decides(tmp_path, kind, highs):
    arrays = [values(seed, high) for seed, high in enumerate(highs)]
    folder = two_classes(tmp_path, "png" if kind == "png16" else "tif", [stored(kind, array) for array in arrays])
    raw = read_image_folder(folder)
    white = max(highs[:4])
    for name, pixels in by_name(raw).items():
        wanted = on_scale(arrays[int(Path(name).stem)], 0, white)
        assert np.abs(pixels[..., 0] - wanted).max() <= 1
    assert raw.settled == {"levels": (0.0, float(white))}
    said = [note for note in raw.notes if "more than 8 bits" in note]
    assert len(said) == 1 and f"{white:,.6g}, the largest value of the train images, is white" in said[0]


def test_one_value_that_leaves_all_else_dark_is_spoken_of(tmp_path):
    arrays = [values(seed, high) for seed, high in enumerate((4095, 3000, 65535, 4000, 3500, 3900))]
    raw = read_image_folder(two_classes(tmp_path, "png", [stored("png16", array) for array in arrays]))
    assert any("Half of them have no value above 4,047.5" in note and "sensor" in note for note in raw.notes)


def test_fractions_from_0_to_1_keep_their_brightness(tmp_path):
    dark, light = np.full((8, 8), 0.1), np.linspace(0, 1, 64).reshape(8, 8)
    folder = two_classes(tmp_path, "tif", [stored("float", one) for one in (dark, light, dark * 2, light, dark, light)])
    found = by_name(read_image_folder(folder))
    assert abs(found["train/a/0.tif"].mean() - 25.5) < 1 and abs(found["train/a/2.tif"].mean() - 51) < 1


def test_numbers_below_0_have_a_black_below_0(tmp_path):
    arrays = [values(seed, high, low=-1000) for seed, high in enumerate((3000, 500, 100, 3000, 50, 20))]
    raw = read_image_folder(two_classes(tmp_path, "tif", [stored("tiff32", array) for array in arrays]))
    assert raw.settled == {"levels": (-1000.0, 3000.0)}
    assert np.abs(by_name(raw)["train/a/2.tif"][..., 0] - on_scale(arrays[2], -1000, 3000)).max() <= 1


def test_a_narrow_band_far_from_black_keeps_its_contrast(tmp_path):
    """Thermal cameras give hundredths of a kelvin: black at 0 would leave 20 of 256 tones."""
    arrays = [values(seed, 31_000 - 100 * seed, low=28_500 + 50 * seed) for seed in range(6)]
    raw = read_image_folder(two_classes(tmp_path, "png", [stored("png16", array) for array in arrays]))
    assert raw.settled == {"levels": (28_500.0, 31_000.0)}
    assert raw.train.contents.min() == 0 and raw.train.contents.max() == 255


@pytest.mark.parametrize("channels", [3, 4])
def test_colours_of_16_bits_are_read_whole_and_share_the_scale(tmp_path, channels):
    arrays = [values(seed, high, shape=(10, 12, channels)) for seed, high in enumerate((4095, 800, 2000, 999, 50, 60))]
    for array in arrays[: 6 * (channels == 4)]:
        array[..., 3] = 65535
    raw = read_image_folder(two_classes(tmp_path, "png", [png16(array.astype(np.uint16)) for array in arrays]))
    for name, pixels in by_name(raw).items():
        assert np.abs(pixels - on_scale(arrays[int(Path(name).stem)][..., :3], 0, 4095)).max() <= 1


def test_test_images_that_are_brighter_than_all_train_images_are_cut_at_white(tmp_path):
    arrays = [values(seed, high) for seed, high in enumerate((1000, 800, 900, 1000, 4000, 500))]
    raw = read_image_folder(two_classes(tmp_path, "png", [stored("png16", array) for array in arrays]))
    assert raw.settled == {"levels": (0.0, 1000.0)}
    assert (by_name(raw)["test/a/4.png"][..., 0][arrays[4] > 1000] == 255).all()


def test_deep_images_among_ordinary_ones_leave_these_as_they_are(tmp_path):
    deep = [stored("png16", values(seed, 500)) for seed in range(2)]
    raw = read_image_folder(two_classes(tmp_path, "png", [*deep, *(saved(noise(seed)) for seed in range(2, 6))]))
    found = by_name(raw)
    for seed in range(2, 6):
        part = "test" if seed > 3 else "train"
        assert (found[f"{part}/{'ab'[seed % 2]}/{seed}.png"][..., 0] == np.asarray(noise(seed))).all()
    assert any(note.startswith("2 of the 4 train images have more than 8 bits") for note in raw.notes)


@pytest.mark.parametrize("case", ["twelve-bit", "int32"])
def test_the_cases_keep_the_brightness_that_tells_their_classes_apart(case):
    if not (CASES / case).is_dir():
        pytest.skip("the cases of shared/ are missing")
    raw = read_image_folder(CASES / case)
    means = [raw.train.contents[raw.train.labels == label].mean() for label in (0, 1)]
    assert raw.class_names == ("fracture", "normal") and means[0] > 1.5 * means[1]
    assert raw.train.contents.max() == 255 and len(np.unique(raw.train.contents)) > 30


# --- transparent parts ----------------------------------------------------------------------------------------


def glyph(seed: int, tone: int, size: int = 16) -> bytes:
    """A bar of one tone on nothing."""
    picture = np.zeros((size, size, 4), dtype=np.uint8)
    left = 2 + seed % 8
    picture[2:14, left : left + 4] = (tone, tone, tone, 255)
    return saved(Image.fromarray(picture))


def contrast(pixels: np.ndarray) -> int:
    return int(pixels.max()) - int(pixels.min())


def test_light_pictures_on_transparency_stay_visible_and_that_is_said(tmp_path):
    raw = read_image_folder(two_classes(tmp_path, "png", [glyph(seed, 255) for seed in range(8)]))
    assert min(map(contrast, by_name(raw).values())) == 255
    assert raw.settled == {"ground": 0}
    assert any(note.startswith("Transparent parts are black") for note in raw.notes)


def test_light_and_dark_pictures_on_transparency_get_a_ground_between(tmp_path):
    raw = read_image_folder(two_classes(tmp_path, "png", [glyph(seed, 255 * (seed // 2 % 2)) for seed in range(8)]))
    assert min(map(contrast, by_name(raw).values())) > 100 and raw.settled == {"ground": 128}


def test_a_light_palette_with_a_transparent_entry_stays_visible_too(tmp_path):
    contents = []
    for seed in range(6):
        picture = Image.new("P", (16, 16), 0)
        picture.putpalette([255, 255, 255, 250, 250, 250])
        picture.paste(1, (2 + seed, 2, 6 + seed, 14))
        contents.append(saved(picture, "GIF", transparency=0))
    raw = read_image_folder(two_classes(tmp_path, "gif", contents))
    assert min(map(contrast, by_name(raw).values())) == 250


@pytest.mark.parametrize("tone", [0, 90, 200])
def test_pictures_that_can_be_seen_on_white_stay_on_white(tmp_path, tone):
    raw = read_image_folder(two_classes(tmp_path, "png", [glyph(seed, tone) for seed in range(8)]))
    assert raw.settled == {} and not any("Transparent" in note for note in raw.notes)
    assert all(pixels.max() == 255 and pixels.min() == tone for pixels in by_name(raw).values())


# --- ordinary images, the encoding, new images ----------------------------------------------------------------


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_ordinary_images_are_as_they_always_were_and_their_encoding_says_nothing_new(tmp_path, mode):
    raw = read_image_folder(two_classes(tmp_path, "png", [saved(noise(seed, mode=mode)) for seed in range(6)]))
    for name, pixels in by_name(raw).items():
        wanted = np.asarray(noise(int(Path(name).stem), mode=mode))
        assert (pixels == wanted.reshape(pixels.shape)).all()
    assert raw.settled == {}
    assert set(prepare(raw).encoding.metadata()) == {"height", "width", "mean", "deviation"}
    old = {"kind": "pixels", "height": 12, "width": 10, "mean": [0.5], "deviation": [0.1]}
    assert read_encoding(old) == Pixels(12, 10, (0.5,), (0.1,))


def test_a_new_image_gets_the_scale_and_the_ground_of_the_data(tmp_path):
    arrays = [values(seed, high) for seed, high in enumerate((4095, 300, 600, 900, 1200, 80))]
    contents = [stored("png16", array) for array in arrays]
    deep = prepare(read_image_folder(two_classes(tmp_path / "deep", "png", contents)))
    light = prepare(read_image_folder(two_classes(tmp_path / "light", "png", [glyph(s, 255) for s in range(6)])))
    for dataset, given, row in ((deep, contents[5], 1), (light, glyph(5, 255), 1)):
        encoding = read_encoding(encoding_metadata(dataset.encoding))  # as a run keeps it
        assert encoding == dataset.encoding
        new = prepare_image(given, encoding)
        assert (encoding.inputs(new.contents)[0] == dataset.test.inputs[row]).all()
    said = prepare_image(contents[5], deep.encoding).steps
    assert "Tones brought to the scale of the data: 0 is black, 4,095 is white." in said


def test_what_is_stored_in_a_run_is_not_scaled_again(tmp_path):
    contents = [stored("png16", values(seed, 200)) for seed in range(6)]
    dataset = prepare(read_image_folder(two_classes(tmp_path, "png", contents)))
    thumbnail = prepare_image(dataset.train.thumbnails[0], dataset.encoding)
    assert (dataset.encoding.inputs(thumbnail.contents)[0] == dataset.train.inputs[0]).all()


def test_a_deep_image_that_is_gone_before_its_scale_is_known_gets_one_sentence(tmp_path):
    folder = two_classes(tmp_path, "png", [stored("png16", values(seed, 200)) for seed in range(6)])

    def vanish(done: int, total: int) -> None:
        if done == total:
            (folder / "train/a/0.png").unlink(missing_ok=True)

    with pytest.raises(InvalidDataError, match=r"train/a/0\.png changed while it was read: .*; read it anew\."):
        read_image_folder(folder, on_progress=vanish)


# --- formats --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["pgm", "ppm", "pbm", "jp2", "avif"])
def test_further_formats_are_read(tmp_path, kind):
    formats = {"jp2": "JPEG2000", "avif": "AVIF"}
    contents = []
    for seed in range(6):
        picture = noise(seed, mode="RGB" if kind in ("ppm", "avif") else "L")
        buffer = io.BytesIO()
        picture.convert("1" if kind == "pbm" else picture.mode).save(buffer, formats.get(kind, "PPM"))
        contents.append(buffer.getvalue())
    raw = read_image_folder(two_classes(tmp_path, kind, contents))
    assert raw.skipped == () and len(raw.train) == 4 and len(raw.test) == 2


def test_a_pgm_of_plain_text_and_one_of_16_bits_are_read(tmp_path):
    array = values(0, 4095)
    plain = b"P2\n12 10\n255\n" + b" ".join(b"%d" % (value // 16) for value in array.flat) + b"\n"
    deep = b"P5\n12 10\n4095\n" + array.astype(">u2").tobytes()
    for name, content in (("plain", plain), ("deep", deep)):
        raw = read_image_folder(two_classes(tmp_path / name, "pgm", [content, *[saved(noise(s)) for s in range(5)]]))
        assert np.abs(by_name(raw)["train/a/0.pgm"][..., 0] - on_scale(array, 0, 4095)).max() <= 2


def test_faces_in_pgm_are_read():
    if not (CASES / "orl-faces").is_dir():
        pytest.skip("the cases of shared/ are missing")
    raw = read_image_folder(CASES / "orl-faces")
    assert raw.class_names == ("s1", "s2") and raw.skipped == () and len(raw.train) + len(raw.test) == 8


def test_what_is_of_no_kind_that_is_read_is_left_out_with_a_reason_and_all_else_is_read():
    if not (CASES / "kinds").is_dir():
        pytest.skip("the cases of shared/ are missing")
    raw = read_image_folder(CASES / "kinds")
    assert {Path(one.where).suffix for one in raw.skipped} == {".ico"} and len(raw.train) + len(raw.test) == 54
