"""Folders and zip files of images: what is good is read right, what is not is left out with a reason."""

import io
import os
import struct
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from tests.test_live_images import png_header
from trak_core.datasets import image_examples
from trak_core.datasets.custom_data import CustomData
from trak_core.datasets.image_folder import read_image_folder
from trak_core.datasets.report import report_on
from trak_core.datasets.sources import natural_key
from trak_core.errors import EmptyDataError, InvalidDataError, InvalidSettingError
from trak_core.modalities.image.image_files import MAX_BYTES, decode_and_look, read_header
from trak_core.modalities.raw import Skipped

ROOT = Path(__file__).resolve().parents[1]
BACK = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the transpositions that undo each turn of Exif


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def noise(seed: int, size: tuple[int, int] = (12, 10), mode: str = "L") -> Image.Image:
    """An image of `size` (width, height) that no other seed gives."""
    shape = (size[1], size[0]) if mode == "L" else (size[1], size[0], 3)
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


def scene(size: tuple[int, int] = (60, 40)) -> Image.Image:
    """Smooth colours without any symmetry, that survive JPEG."""
    x, y = np.meshgrid(np.linspace(0, 1, size[0]), np.linspace(0, 1, size[1]))
    return Image.fromarray((255 * np.stack([x, y, (1 - x) * y], axis=-1)).round().astype(np.uint8))


def decode_image(content: object, size: tuple[int, int], channels: int) -> np.ndarray:
    """The pixels alone."""
    return decode_and_look(content, size, channels)[0]


def put(folder: Path, where: str, content: bytes | Image.Image) -> None:
    path = folder / where
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else saved(content))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five images of each of two classes, all different."""
    for number in range(10):
        put(tmp_path, f"data/{'cat' if number < 5 else 'dog'}/img {number % 5 + 8}.png", noise(number))
    return tmp_path / "data"


def zipped(folder: Path, prefix: str = "") -> Path:
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, f"{prefix}{file.relative_to(folder).as_posix()}")
    return path


def reasons(raw) -> dict[str, str]:
    return {one.where: one.why for one in raw.skipped}


def all_images(raw) -> set[bytes]:
    return {image.tobytes() for part in (raw.train, raw.test) for image in part.contents}


# --- one file -------------------------------------------------------------------------------------------------


def test_pixels_of_a_file_that_loses_nothing_come_back_exactly():
    image = noise(0, mode="RGB")
    for kind in ("PNG", "BMP", "TIFF"):
        assert (decode_image(saved(image, kind), (10, 12), 3) == np.asarray(image)).all()
    assert (decode_image(saved(image, "WEBP", lossless=True), (10, 12), 3) == np.asarray(image)).all()
    grey = decode_image(saved(noise(1)), (10, 12), 1)
    assert grey.shape == (10, 12, 1) and grey.dtype == np.uint8
    assert (grey[..., 0] == np.asarray(noise(1))).all()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF"])
def test_common_files_look_as_they_should(kind):
    found = decode_image(saved(scene(), kind), (40, 60), 3)
    assert np.abs(found.astype(int) - np.asarray(scene())).mean() < (12 if kind == "GIF" else 3)


@pytest.mark.parametrize(
    ("mode", "content"),
    [
        ("1", saved(scene().convert("1"))),
        ("P", saved(scene().quantize(64))),
        ("LA", saved(scene().convert("LA"))),
        ("RGBA", saved(scene().convert("RGBA"))),
        ("I;16", saved(Image.fromarray(np.asarray(scene().convert("L")).astype(np.uint16) * 257))),
        ("I", saved(Image.fromarray(np.asarray(scene().convert("L")).astype(np.int32) * 257), "TIFF")),
        ("F", saved(Image.fromarray(np.asarray(scene().convert("L")).astype(np.float32)), "TIFF")),
        ("CMYK", saved(scene().convert("CMYK"), "JPEG", quality=95)),
        ("YCbCr", saved(scene().convert("YCbCr"), "JPEG", quality=95)),
    ],
)
def test_every_way_to_store_a_pixel_is_read(mode, content):
    found = decode_image(content, (40, 60), 1)[..., 0]
    wanted = np.asarray((scene().convert("1") if mode == "1" else scene()).convert("L"))
    away = np.abs(found.astype(int) - wanted).mean()
    assert away < {"P": 15, "F": 20, "CMYK": 12}.get(
        mode, 3
    )  # palettes are rounded, fractions stretched to the brightest


def test_transparent_parts_are_white():
    image = Image.new("RGBA", (8, 8), (10, 20, 30, 0))
    image.paste((200, 0, 0, 255), (0, 0, 4, 8))
    found = decode_image(saved(image), (8, 8), 3)
    assert (found[:, :4] == (200, 0, 0)).all() and (found[:, 4:] == 255).all()
    palette = Image.new("P", (8, 8), 0)
    palette.putpalette([0, 0, 0, 200, 0, 0])
    palette.paste(1, (0, 0, 4, 8))
    assert (decode_image(saved(palette, transparency=0), (8, 8), 3) == found).all()
    assert (decode_image(saved(palette, "GIF", transparency=0), (8, 8), 3) == found).all()
    half = decode_image(saved(Image.new("LA", (8, 8), (0, 128))), (8, 8), 1)
    assert (np.abs(half.astype(int) - 127) <= 1).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_photos_stand_upright(orientation, kind):
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = scene() if orientation == 1 else scene().transpose(Image.Transpose(BACK[orientation]))
    content = saved(turned, kind, exif=exif)
    assert np.abs(decode_image(content, (40, 60), 3).astype(int) - np.asarray(scene())).mean() < 3
    # Scaled ones too, where JPEG decodes to a smaller size.
    small = np.asarray(scene().resize((15, 10), Image.Resampling.BILINEAR))
    assert np.abs(decode_image(content, (10, 15), 3).astype(int) - small).mean() < 4
    assert read_header(content).size == ((40, 60) if kind != "PNG" or orientation < 5 else (60, 40))


def test_a_damaged_note_of_the_camera_does_not_cost_the_picture():
    exif = Image.Exif()
    exif[0x0112] = 6
    content = saved(scene(), "JPEG", exif=exif).replace(b"Exif\0\0MM\0*", b"Exif\0\0XY\0*")
    assert b"XY" in content
    assert decode_image(content, (16, 16), 3).shape == (16, 16, 3)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_several_pictures_the_first_is_read(kind):
    first, second = scene(), ImageOps.invert(scene())
    content = saved(first, kind, save_all=True, append_images=[second, second])
    assert np.abs(decode_image(content, (40, 60), 3).astype(int) - np.asarray(first)).mean() < 12
    assert read_header(content).has_more and not read_header(saved(first, kind)).has_more


def test_scaling_keeps_proportions_and_crops_the_middle():
    wide = Image.new("L", (300, 100), 0)
    wide.paste(255, (100, 0, 200, 100))  # the middle third, a square
    for image in (wide, wide.rotate(90, expand=True)):
        assert decode_image(saved(image), (20, 20), 1).min() > 200  # a filter sees a little of what is beside
    ring = Image.new("L", (40, 40), 0)
    ring.paste(255, (10, 10, 30, 30))
    small = decode_image(saved(ring), (20, 20), 1)[..., 0]
    assert (small[6:14, 6:14] == 255).all() and (small[:4] == 0).all() and (small == small.T).all()


@pytest.mark.parametrize("size", [(1, 400), (400, 1), (1, 1), (5000, 9)])
def test_odd_sizes_are_read(size):
    assert (decode_image(saved(Image.new("L", size, 77)), (16, 16), 1) == 77).all()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "this file is empty"),
        (b"hello", "cannot be read as an image"),
        (b"PK\x03\x04" + bytes(100), "cannot be read as an image"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "cannot be read as an image"),
        (saved(noise(0, (200, 200)))[:-3000], "damaged or cut off"),
        (saved(scene(), "JPEG")[:700], "damaged or cut off"),
        (png_header(20_000, 20_000), "more than the 50 million pixels"),
        (png_header(10_000, 5_001), "10,000 x 5,001 pixels"),
        (png_header(2**31 - 1, 2**31 - 1), "50 million pixels|damaged"),
        (bytes(MAX_BYTES + 1), "100 MB are read"),
        (saved(Image.fromarray(np.full((20, 20), np.nan, dtype=np.float32)), "TIFF"), "no numbers"),
    ],
    ids=range(11),
)
def test_what_cannot_be_read_gets_a_clause(content, says, tmp_path):
    (tmp_path / "file").write_bytes(content)
    for given in (content, tmp_path / "file"):
        with pytest.raises(InvalidDataError, match=says) as caught:
            decode_image(given, (16, 16), 3)
        assert not str(caught.value).endswith(".") and "\n" not in str(caught.value) and len(str(caught.value)) < 150


def test_no_damaged_file_does_anything_but_give_a_clause():
    random = np.random.default_rng(0)
    originals = [saved(scene(), kind) for kind in ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF")]
    for number in range(300):
        content = bytearray(originals[number % len(originals)])
        for place in random.integers(0, len(content), random.integers(1, 6)):
            content[place] = random.integers(256)
        try:
            assert decode_image(bytes(content), (8, 8), 3).shape == (8, 8, 3)
        except InvalidDataError:
            continue


# --- folders --------------------------------------------------------------------------------------------------


def test_classes_are_the_folders_and_a_fifth_of_each_is_put_aside(folder):
    raw = read_image_folder(folder)
    assert (raw.name, raw.modality, raw.class_names) == ("data", "image", ("cat", "dog"))
    assert raw.train.contents.shape == (8, 10, 12, 1) and raw.test.contents.shape == (2, 10, 12, 1)
    assert raw.train.labels.tolist() == [0] * 4 + [1] * 4 and raw.test.labels.tolist() == [0, 1]
    assert raw.skipped == () and any("20% of each class" in note for note in raw.notes)
    cats = [np.asarray(noise(seed)).tobytes() for seed in range(5)]
    found = [image.tobytes() for image in raw.train.contents[:4]]
    assert found == [cat for cat in cats if cat in found]  # in the order of their names, "img 8" before "img 10"
    assert {*found, raw.test.contents[0].tobytes()} == set(cats)


def test_the_same_folder_gives_the_same_data_and_another_seed_other_test_images(folder):
    first, again = read_image_folder(folder), read_image_folder(folder)
    assert (first.train.contents == again.train.contents).all() and (first.test.contents == again.test.contents).all()
    tests = {read_image_folder(folder, seed=seed).test.contents.tobytes() for seed in range(8)}
    assert len(tests) > 1


@pytest.mark.parametrize(
    ("train", "test"),
    [("train", "test"), ("Train", "TEST"), ("training", "testing"), ("train", "val"), ("train", "valid")],
)
def test_train_and_test_folders_are_taken_as_splits(tmp_path, train, test):
    for number, where in enumerate((f"{train}/a", f"{train}/a", f"{train}/b", f"{test}/b", f"{test}/a")):
        put(tmp_path, f"{where}/{number}.png", noise(number))
    raw = read_image_folder(tmp_path)
    assert raw.class_names == ("a", "b")
    assert raw.train.labels.tolist() == [0, 0, 1] and raw.test.labels.tolist() == [0, 1]
    assert [image.tobytes() for image in raw.test.contents] == [np.asarray(noise(seed)).tobytes() for seed in (4, 3)]
    assert any("validation split serves" in note for note in raw.notes) == test.startswith("v")


def test_a_validation_folder_beside_a_test_folder_is_not_read_and_that_is_said(tmp_path):
    for number, where in enumerate(("train/a", "train/b", "test/a", "test/b", "val/a", "val/b", "extra/a")):
        put(tmp_path, f"{where}/{number}.png", noise(number))
    raw = read_image_folder(tmp_path)
    assert len(raw.train) == len(raw.test) == 2
    assert any("The images in 'val' (2) are not used" in note for note in raw.notes)
    assert raw.skipped == (Skipped("extra/a/6.png", "this image lies in neither the train nor the test folder"),)


def test_a_class_called_train_is_a_class(tmp_path):
    for number, where in enumerate(("train", "train", "bus", "bus", "test", "test")):
        put(tmp_path, f"{where}/{number}.png", noise(number))
    assert read_image_folder(tmp_path).class_names == ("bus", "test", "train")


def test_test_images_without_class_folders_are_left_out_and_others_put_aside(tmp_path):
    for number, where in enumerate(("train/a", "train/a", "train/b", "train/b", "test")):
        put(tmp_path, f"{where}/{number}.png", noise(number))
    raw = read_image_folder(tmp_path)
    assert raw.class_names == ("a", "b") and len(raw.test) == 2
    assert reasons(raw) == {"test/4.png": "this image lies in no class folder"}


def test_images_of_a_class_that_train_does_not_have_are_left_out(tmp_path):
    for number, where in enumerate(("train/a", "train/b", "test/a", "test/zebra")):
        put(tmp_path, f"{where}/{number}.png", noise(number))
    put(tmp_path, "train/zebra/broken.png", saved(noise(9))[:60])
    raw = read_image_folder(tmp_path)
    assert raw.class_names == ("a", "b") and raw.test.labels.tolist() == [0]
    assert "zebra" in reasons(raw)["test/zebra/3.png"] and "damaged" in reasons(raw)["train/zebra/broken.png"]


def test_a_folder_around_the_class_folders_is_passed_and_said(folder):
    raw = read_image_folder(folder.parent)
    assert raw.class_names == ("cat", "dog") and "The class folders are those in 'data'." in raw.notes


def test_images_deeper_in_a_class_folder_belong_to_the_class(folder):
    put(folder, "cat/old/2019/x.png", noise(50))
    raw = read_image_folder(folder)
    assert raw.class_names == ("cat", "dog") and len(raw.train) + len(raw.test) == 11


def test_classes_are_sorted_as_people_do_and_may_have_any_script(tmp_path):
    names = ["10", "9", "Äpfel", "apple", "чай", "お茶", "😀", "Zebra", "café"]
    for number, name in enumerate(names * 2):
        put(tmp_path, f"{name}/{number}.png", noise(number))
    raw = read_image_folder(tmp_path)
    assert raw.class_names == ("9", "10", "apple", "café", "Zebra", "Äpfel".replace("Ä", "Ä"), "чай", "お茶", "😀")


def test_one_name_composed_in_two_ways_is_one_class(tmp_path):
    for number, name in enumerate(("caf\u00e9", "cafe\u0301", "tea", "tea")):
        put(tmp_path, f"{name}/{number}.png", noise(number))
    raw = read_image_folder(tmp_path)
    assert raw.class_names == ("caf\u00e9", "tea") and len(raw.train) + len(raw.test) == 4


def test_names_that_are_no_text_can_be_shown(tmp_path):
    os.mkdir(os.fsencode(tmp_path) + b"/caf\xe9")
    for number in range(2):
        (Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")) / f"{number}.png").write_bytes(saved(noise(number)))
        put(tmp_path, f"tea/{number}.png", noise(10 + number))
    names = read_image_folder(tmp_path).class_names
    assert names == ("caf\\xe9", "tea") and "".join(names).encode()


def test_what_systems_put_into_folders_is_passed_over_in_silence(folder):
    for where in (
        ".DS_Store",
        "cat/Thumbs.db",
        "cat/._img 8.png",
        "__MACOSX/cat/._x.png",
        ".git/x/1.png",
        "desktop.ini",
    ):
        put(folder, where, b"no image")
    assert read_image_folder(folder).skipped == ()


def test_each_file_that_is_no_good_image_is_left_out_with_its_reason(folder):
    put(folder, "readme.txt", b"hello")
    put(folder, "stray.png", noise(20))
    put(folder, "cat/empty.png", b"")
    put(folder, "cat/cut.png", saved(noise(21))[:70])
    put(folder, "dog/bomb.png", png_header(20_000, 20_000))
    put(folder, "dog/notes.csv", b"a,b\n1,2\n")
    raw = read_image_folder(folder)
    assert len(raw.train) + len(raw.test) == 10 and raw.class_names == ("cat", "dog")
    assert reasons(raw) == {
        "cat/cut.png": "this image is damaged or cut off (OSError)",
        "cat/empty.png": "this file is empty",
        "dog/bomb.png": "this image has far more than the 50 million pixels that are read",
        "dog/notes.csv": "this file cannot be read as an image",
        "readme.txt": "this file cannot be read as an image",
        "stray.png": "this image lies in no class folder",
    }


def test_links_that_lead_out_are_left_out_and_others_are_followed(folder, tmp_path):
    put(tmp_path, "outside/secret.png", noise(30))
    (folder / "cat/out.png").symlink_to(tmp_path / "outside/secret.png")
    (folder / "dog/up").symlink_to(tmp_path / "outside")
    (folder / "dog/round").symlink_to(folder)
    (folder / "dog/nowhere.png").symlink_to(folder / "gone.png")
    (folder / "dog/itself.png").symlink_to(folder / "dog/itself.png")
    (folder / "dog/copy.png").symlink_to("../cat/img 8.png")
    raw = read_image_folder(folder)
    assert len(raw.train) + len(raw.test) == 11
    assert reasons(raw) == {
        "cat/out.png": "this link leads out of the folder",
        "dog/itself.png": "this link leads nowhere",
        "dog/nowhere.png": "this link leads nowhere",
        "dog/round": "this link leads to a folder, whose files are read where they lie",
        "dog/up": "this link leads out of the folder",
    }
    (tmp_path / "link").symlink_to(folder)
    assert len(read_image_folder(tmp_path / "link").train) == len(raw.train)


def test_what_is_neither_file_nor_folder_is_left_out(folder):
    os.mkfifo(folder / "cat" / "pipe.png")
    assert reasons(read_image_folder(folder)) == {"cat/pipe.png": "this is neither a file nor a folder"}


def test_files_that_cannot_be_opened_are_left_out(folder):
    def vanish(done: int, total: int) -> None:
        (folder / "cat" / "img 8.png").unlink(missing_ok=True)

    raw = read_image_folder(folder, on_progress=vanish)
    assert reasons(raw) == {"cat/img 8.png": "this file cannot be opened (No such file or directory)"}


@pytest.mark.parametrize(
    ("files", "error", "says"),
    [
        ([], EmptyDataError, "no readable image in a folder for its class; lay images out"),
        (["a.png", "b.png"], EmptyDataError, r"a\.png: this image lies in no class folder"),
        (["a/1.txt"], EmptyDataError, r"a/1\.txt: this file cannot be read as an image"),
        (["a/1.png", "a/2.png"], InvalidDataError, "one class only, 'a'; give two classes or more"),
        (["a/1.png", "b/2.png"], InvalidDataError, "two or more are needed"),
    ],
)
def test_folders_that_nothing_can_be_made_of_get_one_sentence(tmp_path, files, error, says):
    for number, where in enumerate(files):
        put(tmp_path, where, noise(number) if where.endswith("png") else b"text")
    with pytest.raises(error, match=says) as caught:
        read_image_folder(tmp_path)
    assert str(tmp_path) in str(caught.value) and str(caught.value).endswith(".")


def test_a_wrong_path_and_wrong_settings_are_refused_before_anything_is_read(folder):
    with pytest.raises(InvalidDataError, match="there is no folder or zip file"):
        read_image_folder(folder / "gone")
    with pytest.raises(InvalidSettingError, match="channels is 2"):
        read_image_folder(folder, channels=2)
    with pytest.raises(InvalidSettingError, match=r"share of test examples is 1\.5"):
        read_image_folder(folder, test_share=1.5)
    with pytest.raises(InvalidSettingError, match="size is -1 x -1"):
        read_image_folder(folder, size=-1)
    with pytest.raises(InvalidSettingError, match="size is 0 x 4"):
        read_image_folder(folder, size=(0, 4))


def test_a_size_beyond_all_reason_and_images_beyond_all_memory_are_refused(folder, monkeypatch):
    with pytest.raises(InvalidSettingError, match=r"size is 3,000,000 x 3,000,000 pixels; give 1 to 1,024 a side"):
        read_image_folder(folder, size=3_000_000)
    with pytest.raises(InvalidSettingError, match=r"size is 1,025 x 4 pixels"):
        read_image_folder(folder, size=(1025, 4))
    monkeypatch.setattr(image_examples, "MAX_ARRAY_BYTES", 10 * 50 * 50)
    assert read_image_folder(folder, size=50).train.contents.shape[1:] == (50, 50, 1)
    with pytest.raises(
        InvalidDataError, match=r"has 10 images, which take .* with 51 x 51 pixels .*; lower the image size \(size\)"
    ):
        read_image_folder(folder, size=51)


def test_a_path_that_no_disk_can_hold_gets_a_sentence():
    for kind in ("image-folder", "image-arrays", "hf-dataset"):
        with pytest.raises(InvalidDataError, match=r"cannot be read \(File name too long\)"):
            CustomData(kind, Path("x" * 300)).read()


def test_a_class_with_one_image_stays_in_train_and_is_noted(folder):
    put(folder, "emu/1.png", noise(40))
    raw = read_image_folder(folder)
    assert raw.class_names == ("cat", "dog", "emu")
    assert raw.train.labels.tolist().count(2) == 1 and 2 not in raw.test.labels
    assert any("can hardly be learnt" in note and "'emu' (1)" in note for note in report_on(raw).notes)


# --- sizes and colours ----------------------------------------------------------------------------------------


def test_a_common_small_size_is_kept_and_any_other_becomes_64(folder):
    assert read_image_folder(folder).train.contents.shape[1:] == (10, 12, 1)
    put(folder, "cat/other.png", noise(41, (30, 20)))
    raw = read_image_folder(folder)
    assert raw.train.contents.shape[1:] == (64, 64, 1)
    assert any(
        "widths from 12 to 30 and heights from 10 to 20 pixels" in note and "to 64 x 64" in note for note in raw.notes
    )
    assert read_image_folder(folder, size=(6, 7)).train.contents.shape[1:] == (6, 7, 1)


@pytest.mark.parametrize(
    "broken",
    [
        saved(noise(50, (100, 100), "RGB"))[:-3000],  # known to be broken once it is decoded
        png_header(10_000, 10_000),
    ],
    ids=["truncated", "oversized"],
)
def test_an_image_that_is_left_out_does_not_decide_about_the_size_of_the_others(folder, broken):
    before = read_image_folder(folder)
    put(folder, "cat/broken.png", broken)
    steps: list[int] = []
    raw = read_image_folder(folder, on_progress=lambda n_done, n_steps: steps.append(n_done))
    assert list(reasons(raw)) == ["cat/broken.png"] and raw.notes == before.notes
    assert (raw.train.contents == before.train.contents).all() and (raw.test.contents == before.test.contents).all()
    assert (raw.train.labels == before.train.labels).all()
    assert steps == sorted(steps)


def test_large_images_of_one_size_become_64(tmp_path):
    for number, where in enumerate("aabb"):
        put(tmp_path, f"{where}/{number}.png", noise(number, (65, 40)))
    raw = read_image_folder(tmp_path)
    assert raw.train.contents.shape[1:] == (64, 64, 1) and any("had 65 x 40 pixels" in note for note in raw.notes)


def test_one_colour_image_makes_all_coloured_and_grey_in_colours_stays_grey(folder):
    put(folder, "cat/rgb.png", noise(42).convert("RGB"))
    raw = read_image_folder(folder)
    assert raw.train.contents.shape[3] == 1 and np.asarray(noise(42)).tobytes() in all_images(raw)
    put(folder, "dog/colour.png", noise(43, mode="RGB"))
    raw = read_image_folder(folder)
    assert raw.train.contents.shape[3] == 3
    assert {noise(43, mode="RGB").tobytes(), noise(0).convert("RGB").tobytes()} <= all_images(raw)
    assert read_image_folder(folder, channels=1).train.contents.shape[3] == 1
    (folder / "dog/colour.png").unlink()
    assert read_image_folder(folder, channels=3).train.contents.shape[3] == 3


def test_remarks_of_decoders_stay_off_the_terminal_and_cost_no_image(folder):
    # A header of 100 million pixels makes Pillow warn, which here would be an error.
    put(folder, "cat/large.png", png_header(10_000, 10_000))
    raw = read_image_folder(folder)
    assert reasons(raw) == {
        "cat/large.png": "this image has 10,000 x 10,000 pixels, 100 million, which is more than the 50 million pixels "
        "that are read"
    }


def test_progress_runs_from_nothing_to_all(folder):
    steps: list[tuple[int, int]] = []
    read_image_folder(folder, on_progress=lambda done, total: steps.append((done, total)))
    assert steps[0] == (0, 20) and steps[-1] == (20, 20) and steps == sorted(steps)


def test_a_stop_is_not_mistaken_for_a_damaged_file(folder):
    def stop(done: int, total: int) -> None:
        if done > 10:
            raise KeyboardInterrupt

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        read_image_folder(folder, on_progress=stop)
    assert threading.active_count() == before


def test_natural_order_puts_numbers_by_size_whatever_their_length():
    names = ["a10", "a9", "A1", "a02", "a2", "b", "a", "9" * 5000, "10", "é", "e"]
    assert sorted(names, key=natural_key) == ["10", "9" * 5000, "a", "A1", "a02", "a2", "a9", "a10", "b", "e", "é"]


# --- zip files ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "data/", "./"])
def test_a_zip_file_gives_the_same_data_as_its_folder(folder, prefix):
    path = zipped(folder, prefix)
    before = sorted(folder.parent.rglob("*"))
    plain, packed = read_image_folder(folder), read_image_folder(path)
    assert (packed.name, packed.class_names, packed.skipped) == ("data", plain.class_names, ())
    for split in ("train", "test"):
        ours, theirs = getattr(plain, split), getattr(packed, split)
        assert (ours.contents == theirs.contents).all() and (ours.labels == theirs.labels).all()
    assert sorted(folder.parent.rglob("*")) == before  # nothing was unpacked


def test_members_that_lead_elsewhere_are_left_out(folder, tmp_path):
    path = zipped(folder)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../../evil.png", saved(noise(60)))
        archive.writestr("/etc/evil.png", saved(noise(61)))
        archive.writestr("C:\\evil\\1.png", saved(noise(62)))
        archive.writestr("cat\\..\\..\\evil.png", saved(noise(63)))
        link = zipfile.ZipInfo("cat/link.png")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("cat/more.zip", b"PK\x05\x06" + bytes(18))
        archive.writestr("cat/note.txt", b"hello")
        archive.writestr("__MACOSX/cat/._x.png", b"x")
        archive.writestr("cat/.DS_Store", b"x")
    raw = read_image_folder(path)
    assert len(raw.train) + len(raw.test) == 10
    found = reasons(raw)
    assert [found.pop(where) for where in ("cat/link.png", "cat/more.zip", "cat/note.txt")] == [
        "this is a link",
        "this is an archive inside the archive",
        "this file cannot be read as an image",
    ]
    assert len(found) == 4 and set(found.values()) == {"its name leads out of the archive"}


def test_encrypted_and_damaged_members_are_left_out(folder):
    path = zipped(folder)
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        locked, hurt = archive.getinfo("cat/img 8.png"), archive.getinfo("dog/img 9.png")
    # Bit 0 of the flags, in the directory at the end, says "encrypted".
    entry = content.rindex(b"cat/img 8.png") - 46
    assert content[entry : entry + 4] == b"PK\x01\x02" and locked.header_offset < entry
    content[entry + 8] |= 1
    content[hurt.header_offset + 30 + len("dog/img 9.png") + 60] ^= 0xFF
    path.write_bytes(content)
    assert reasons(read_image_folder(path)) == {
        "cat/img 8.png": "this file is encrypted",
        "dog/img 9.png": "this file is damaged in the archive (BadZipFile)",
    }


def forged(path: Path, name: str, size: int) -> None:
    """Changes the unpacked size that a zip file gives for a member."""
    content = bytearray(path.read_bytes())
    entry = content.rindex(name.encode()) - 46
    content[entry + 24 : entry + 28] = struct.pack("<I", size)
    path.write_bytes(content)


def test_members_that_expand_without_end_are_left_out_by_their_word_and_by_their_deed(folder):
    path = zipped(folder)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("cat/big.png", bytes(MAX_BYTES + 1))
        archive.writestr("cat/liar.png", bytes(50_000_000))
    forged(path, "cat/liar.png", 1000)
    raw = read_image_folder(path)
    assert len(raw.train) + len(raw.test) == 10
    assert reasons(raw) == {
        "cat/big.png": "this file unpacks to 100 MB, and at most 100 MB are read",
        "cat/liar.png": "this file is damaged in the archive (BadZipFile)",
    }


@pytest.mark.parametrize("packing", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_members_packed_in_a_way_that_python_unpacks_without_end_are_left_out(folder, packing):
    path = zipped(folder)
    with zipfile.ZipFile(path, "a", packing) as archive:
        archive.writestr("cat/bomb.png", bytes(50_000_000))
    forged(path, "cat/bomb.png", 1000)
    assert reasons(read_image_folder(path)) == {"cat/bomb.png": "this file is packed in another way than deflate"}


def test_an_archive_that_expands_without_end_is_refused_unread(folder):
    path = zipped(folder)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        for number in range(3):
            archive.writestr(f"cat/{number}.bin", b"x")
    for number in range(3):
        forged(path, f"cat/{number}.bin", 2**30)
    with pytest.raises(
        InvalidDataError, match=r"unpacks to 15 files of 3,072 MB together.*unpack it and give the folder"
    ):
        read_image_folder(path)


@pytest.mark.parametrize("content", [b"", b"no zip at all", b"PK\x03\x04" + bytes(100)])
def test_what_is_no_zip_file_is_refused(tmp_path, content):
    (tmp_path / "x.zip").write_bytes(content)
    with pytest.raises(InvalidDataError, match=r"x\.zip is neither a folder nor a zip file, or is damaged"):
        read_image_folder(tmp_path / "x.zip")


def test_a_truncated_zip_file_is_refused(folder):
    path = zipped(folder)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InvalidDataError, match="or is damaged"):
        read_image_folder(path)


def test_names_in_a_zip_file_that_are_utf8_without_saying_so_are_read(tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number, name in enumerate(("чай", "чай", "お茶", "お茶")):
            archive.writestr(f"{name}/{number}.png", saved(noise(number)))
    content = path.read_bytes()
    # Bit 11 of the flags says "UTF-8"; macOS leaves it out.
    for start, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        parts = content.split(start)
        content = start.join([parts[0], *(part[: flags - 4 + 1] + b"\0" + part[flags - 4 + 2 :] for part in parts[1:])])
    path.write_bytes(content)
    with zipfile.ZipFile(path) as archive:
        assert "чай/0.png" not in archive.namelist()
    assert read_image_folder(path).class_names == ("чай", "お茶")


# --- much -----------------------------------------------------------------------------------------------------

MEMORY = """
import sys
sys.path.insert(0, {root!r})
from tests.benchmarks.read_images import peak_bytes
from trak_core.datasets.image_folder import read_image_folder
before = peak_bytes()
raw = read_image_folder({path!r})
print(raw.train.contents.nbytes + raw.test.contents.nbytes)
print(peak_bytes() - before)
print("torch" in sys.modules)
"""


@pytest.mark.slow
def test_reading_takes_little_more_memory_than_the_result(tmp_path):
    content = saved(scene((500, 400)), "JPEG")
    for number in range(6000):
        put(tmp_path, f"{'ab'[number % 2]}/{number}.jpg", content)
    script = MEMORY.format(root=str(ROOT), path=str(tmp_path))
    began = time.monotonic()
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    size, peak, torch = result.stdout.split()
    assert int(size) == 6000 * 64 * 64 * 3 and torch == "False"
    assert int(peak) < 1.2 * int(size) + 60e6  # and what Pillow and the names of the files take
    assert time.monotonic() - began < 120
