"""Files handed over through a browser: kept under harmless names, and archives never unpacked."""

import io
import zipfile

import pytest

from tests.test_image_folder import saved
from trak_core.datasets.image_folder import read_image_folder
from trak_core.datasets.uploads import keep_upload
from trak_core.errors import EmptyDataError, InvalidDataError, StorageError


def zipped(members: dict[str, bytes]) -> io.BytesIO:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    buffer.seek(0)
    return buffer


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("reviews.csv", "reviews.csv"),
        ("../../etc/passwd.csv", "passwd.csv"),
        ("C:\\data\\reviews.csv", "reviews.csv"),
        ("отзывы и ещё.csv", "отзывы-и-ещё.csv"),
        (".hidden.csv", "hidden.csv"),
        ("..", "upload"),
        ("x" * 300 + ".csv", "x" * 116 + ".csv"),
        ("हिन्दी.csv", "हिन्दी.csv"),
        ("𠮷" * 90 + ".csv", "𠮷" * 29 + ".csv"),
        ("कि" * 90 + ".csv", "कि" * 19 + ".csv"),  # the mark that the cut leaves alone goes
        ("a\nb;rm -rf.csv", "a-b-rm--rf.csv"),
    ],
)
def test_a_name_keeps_its_letters_and_loses_what_paths_are_made_of(tmp_path, name, kept):
    path = keep_upload(io.BytesIO(b"text,label\n"), name, tmp_path / "sources")
    assert path == tmp_path / "sources" / kept
    assert path.read_bytes() == b"text,label\n"
    assert list((tmp_path / "sources").iterdir()) == [path]


def test_the_same_content_is_kept_once_and_other_content_beside_it(tmp_path):
    first = keep_upload(io.BytesIO(b"one"), "a.csv.gz", tmp_path)
    assert keep_upload(io.BytesIO(b"one"), "a.csv.gz", tmp_path) == first
    other = keep_upload(io.BytesIO(b"two"), "a.csv.gz", tmp_path)
    assert other.name == "a-2.csv.gz" and other.read_bytes() == b"two" and first.read_bytes() == b"one"
    assert keep_upload(io.BytesIO(b"two"), "a.csv.gz", tmp_path) == other


def test_an_empty_file_and_a_disk_that_may_not_be_written_get_a_sentence(tmp_path):
    with pytest.raises(EmptyDataError, match=r"a\.csv is empty"):
        keep_upload(io.BytesIO(b""), "a.csv", tmp_path)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot write"):
        keep_upload(io.BytesIO(b"x"), "a.csv", tmp_path / "file")


@pytest.mark.slow
def test_an_archive_that_expands_without_end_is_refused_and_not_kept(tmp_path):
    bomb = zipped({f"a/{number}.png": b"\0" * 2**27 for number in range(9)})
    assert len(bomb.getvalue()) < 2**21
    with pytest.raises(InvalidDataError, match=r"^bomb\.zip unpacks to 9 files of 1,152 MB together"):
        keep_upload(bomb, "bomb.zip", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_archive_is_kept_packed_and_what_climbs_out_of_it_is_left_out(tmp_path):
    from PIL import Image

    images = {
        f"{name}/{number}.png": saved(Image.new("L", (4, 4), 20 * number), "PNG")
        for name in ("a", "b")
        for number in range(4)
    }
    link = zipfile.ZipInfo("a/link.png")
    link.external_attr = 0o120777 << 16
    file = zipped({**images, "../../out.png": images["a/0.png"]})
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    file.seek(0)
    kept = keep_upload(file, "pets.zip", tmp_path / "sources")
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == ["sources", "sources/pets.zip"]
    raw = read_image_folder(kept)
    assert len(raw.train) + len(raw.test) == 8
    why = {one.where: one.why for one in raw.skipped}
    assert why == {"../../out.png": "its name leads out of the archive", "a/link.png": "this is a link"}
