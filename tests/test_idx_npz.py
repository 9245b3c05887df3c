"""Data sets in their original files: idx, CIFAR-10 and NumPy arrays come back byte for byte, or are refused."""

import gzip
import io
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.benchmarks.label_subjects import DATA
from trak_core.datasets.cifar import CLASSES, RECORD, read_cifar_folder
from trak_core.datasets.class_labels import MAX_CLASSES
from trak_core.datasets.idx import CLOTHES, read_idx, read_idx_folder
from trak_core.datasets.npz import read_npz
from trak_core.errors import EmptyDataError, InvalidDataError, LabelError

RANDOM = np.random.default_rng(0)
TRAIN = RANDOM.integers(0, 256, (12, 5, 4), dtype=np.uint8)
TEST = RANDOM.integers(0, 256, (4, 5, 4), dtype=np.uint8)
TRAIN_LABELS, TEST_LABELS = np.arange(12, dtype=np.uint8) % 3, np.arange(4, dtype=np.uint8) % 3
NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
ARRAYS = (TRAIN, TRAIN_LABELS, TEST, TEST_LABELS)


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def idx_folder(tmp_path: Path) -> Path:
    for name, array in zip(NAMES, ARRAYS, strict=True):
        (tmp_path / name).write_bytes(idx(array))
    return tmp_path


# --- idx ------------------------------------------------------------------------------------------------------


def test_idx_files_come_back_byte_for_byte(idx_folder):
    raw = read_idx_folder(idx_folder)
    assert (raw.train.contents == TRAIN[..., None]).all() and (raw.test.contents == TEST[..., None]).all()
    assert (raw.train.labels == TRAIN_LABELS).all() and (raw.test.labels == TEST_LABELS).all()
    assert raw.train.contents.dtype == np.uint8 and raw.train.labels.dtype == np.int64
    assert raw.class_names == ("0", "1", "2") and (raw.skipped, raw.notes) == ((), ())


@pytest.mark.parametrize("rename", ["{}.gz", "{}", "dotted", "raw"])
def test_idx_files_may_be_packed_and_named_as_others_name_them(idx_folder, rename):
    for name in NAMES:
        content = (idx_folder / name).read_bytes()
        (idx_folder / name).unlink()
        if rename == "raw":
            (idx_folder / "raw").mkdir(exist_ok=True)
            (idx_folder / "raw" / f"{name}.gz").write_bytes(gzip.compress(content))
        elif rename == "dotted":
            (idx_folder / name.replace("-idx", ".idx")).write_bytes(content)
        else:
            packed = gzip.compress(content) if rename.endswith("gz") else content
            (idx_folder / rename.format(name)).write_bytes(packed)
    raw = read_idx_folder(idx_folder)
    assert (raw.train.contents[..., 0] == TRAIN).all() and raw.name == idx_folder.name


def test_classes_are_named_by_a_file_by_a_folder_that_says_fashion_or_by_numbers(idx_folder):
    fashion = idx_folder.parent / "Fashion-MNIST"
    idx_folder.rename(fashion)
    assert read_idx_folder(fashion).class_names == CLOTHES[:3]
    (fashion / "classes.txt").write_text("чай\n\nщи\nお茶\n", encoding="utf-8")
    assert read_idx_folder(fashion).class_names == ("чай", "щи", "お茶")
    (fashion / "classes.txt").write_text("one\ntwo\n")
    with pytest.raises(InvalidDataError, match=r"classes\.txt has 2 names, and labels run from 0 to 2"):
        read_idx_folder(fashion)
    (fashion / "classes.txt").write_text("one\ntwo\none\n")
    with pytest.raises(InvalidDataError, match="gives two classes the same name"):
        read_idx_folder(fashion)
    (fashion / "classes.txt").write_bytes(b"caf\xe9\n1\n2\n")
    with pytest.raises(InvalidDataError, match="save it as UTF-8"):
        read_idx_folder(fashion)


def test_a_class_of_the_test_file_alone_is_left_out(idx_folder):
    (idx_folder / NAMES[3]).write_bytes(idx(np.array([0, 1, 2, 5], dtype=np.uint8)))
    raw = read_idx_folder(idx_folder)
    assert raw.class_names == ("0", "1", "2") and len(raw.test) == 3
    assert raw.skipped[0].where.endswith("t10k-labels-idx1-ubyte, example 3")
    assert (raw.test.contents[..., 0] == TEST[:3]).all()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "begins with nothing"),
        (b"\0\0\x08\x03\0\0", "begins with 00000803"),
        (b"\x89PNG" + bytes(20), "begins with 89504e47, and an idx file of bytes in 3 dimensions with 00000803"),
        (idx(TRAIN_LABELS) + bytes(20), "begins with 00000801"),
        (idx(TRAIN)[:-1], "12 x 5 x 4 values, 240 in all, and has only 239"),
        (idx(TRAIN) + b"x", "240 in all, and has more"),
        (struct.pack(">HBB3I", 0, 8, 3, 2**32 - 1, 2**32 - 1, 2**32 - 1), "at most 4,294,967,296 are read"),
        (idx(TRAIN[:11]), "12 labels for 11 images; take files that belong together"),
        (idx(TRAIN[:, :4]), "images of 4 x 4 x 1, 5 x 4 x 1"),
    ],
)
def test_damaged_idx_files_get_one_sentence_with_the_file(idx_folder, content, says):
    (idx_folder / NAMES[0]).write_bytes(content)
    with pytest.raises(InvalidDataError, match=says) as caught:
        read_idx_folder(idx_folder)
    assert str(idx_folder) in str(caught.value) and str(caught.value).endswith(".")


def test_idx_files_without_values_are_empty(idx_folder):
    (idx_folder / NAMES[0]).write_bytes(idx(TRAIN[:0]))
    with pytest.raises(EmptyDataError, match="holds 0 x 5 x 4 values, so none"):
        read_idx_folder(idx_folder)


def test_damaged_gzip_is_refused_and_a_bomb_is_read_no_further_than_it_says(tmp_path):
    good = gzip.compress(idx(TRAIN))
    for number, content in enumerate((good[:-20], b"no gzip", good[:20] + b"\xff" * 20 + good[40:], b"")):
        file = tmp_path / f"{number}.gz"
        file.write_bytes(content)
        with pytest.raises(InvalidDataError, match=f"{number}.gz"):
            read_idx(file, 3)
    bomb = tmp_path / "bomb.gz"
    bomb.write_bytes(gzip.compress(idx(TRAIN) + bytes(10**8)))
    with pytest.raises(InvalidDataError, match="and has more"):
        read_idx(bomb, 3)


def test_a_missing_idx_file_is_named(idx_folder):
    (idx_folder / NAMES[1]).unlink()
    with pytest.raises(InvalidDataError, match=r"has no file train-labels-idx1-ubyte or train-labels-idx1-ubyte\.gz"):
        read_idx_folder(idx_folder)
    with pytest.raises(InvalidDataError, match="four original files"):
        read_idx_folder(idx_folder / "gone")


def test_one_class_is_refused(idx_folder):
    (idx_folder / NAMES[1]).write_bytes(idx(np.zeros(12, dtype=np.uint8)))
    with pytest.raises(InvalidDataError, match="one class only, '0'"):
        read_idx_folder(idx_folder)


@pytest.mark.skipif(not (DATA / "fashion_mnist").is_dir(), reason="Fashion-MNIST is not there; see TRAK_SHARED_DATA")
def test_fashion_mnist_is_read_as_it_was_published():
    raw = read_idx_folder(DATA / "fashion_mnist")
    assert raw.class_names == CLOTHES
    assert raw.train.contents.shape == (60_000, 28, 28, 1) and raw.test.contents.shape == (10_000, 28, 28, 1)
    assert (
        np.bincount(raw.train.labels).tolist() == [6000] * 10 and np.bincount(raw.test.labels).tolist() == [1000] * 10
    )
    # Mean and deviation that are used all over for this data set.
    assert round(raw.train.contents.mean() / 255, 4) == 0.286 and round(raw.train.contents.std() / 255, 4) == 0.353


# --- CIFAR-10 -------------------------------------------------------------------------------------------------

COLOURED = RANDOM.integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)


def records(images: np.ndarray, labels: np.ndarray) -> bytes:
    """As the page of CIFAR-10 says: label, then all red bytes row by row, then green, then blue."""
    stream = io.BytesIO()
    for image, label in zip(images, labels, strict=True):
        stream.write(bytes([label]))
        for channel in range(3):
            stream.write(image[:, :, channel].tobytes())
    return stream.getvalue()


@pytest.fixture
def cifar_folder(tmp_path: Path) -> Path:
    labels = np.arange(20) % 10
    (tmp_path / "data_batch_1.bin").write_bytes(records(COLOURED[:10], labels[:10]))
    (tmp_path / "data_batch_2.bin").write_bytes(records(COLOURED[10:15], labels[10:15]))
    (tmp_path / "test_batch.bin").write_bytes(records(COLOURED[15:], labels[15:]))
    return tmp_path


def test_the_binary_version_of_cifar_comes_back_byte_for_byte(cifar_folder):
    raw = read_cifar_folder(cifar_folder)
    assert (raw.train.contents == COLOURED[:15]).all() and (raw.test.contents == COLOURED[15:]).all()
    assert raw.train.labels.tolist() == [*range(10), *range(5)] and raw.test.labels.tolist() == [5, 6, 7, 8, 9]
    assert raw.class_names == CLASSES
    (cifar_folder / "batches.meta.txt").write_text("\n".join(f"class {number}" for number in range(10)) + "\n\n")
    assert read_cifar_folder(cifar_folder).class_names[3] == "class 3"


def test_cifar_is_found_in_the_folder_that_its_archive_makes(cifar_folder, tmp_path):
    inner = tmp_path / "cifar-10-batches-bin"
    inner.mkdir()
    for file in cifar_folder.glob("*.bin"):
        file.rename(inner / file.name)
    raw = read_cifar_folder(tmp_path)
    assert raw.name == "cifar-10" and len(raw.train) == 15


class Trap:
    """What a pickle of somebody else may do."""

    def __reduce__(self):
        return (open, (str(Trap.path), "w"))


def test_the_version_of_cifar_for_python_is_refused_and_never_unpickled(tmp_path):
    Trap.path = tmp_path / "sprung"
    (tmp_path / "data_batch_1").write_bytes(pickle.dumps(Trap()))
    (tmp_path / "batches.meta").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(InvalidDataError, match="take the binary version, cifar-10-binary"):
        read_cifar_folder(tmp_path)
    assert not Trap.path.exists()


@pytest.mark.parametrize(
    ("content", "error", "says"),
    [
        (b"", EmptyDataError, r"data_batch_1\.bin is empty"),
        (bytes(RECORD - 1), InvalidDataError, "3,072 bytes, which is too much or not a whole number"),
        (
            bytes(RECORD) + b"\x0a" + bytes(RECORD - 1),
            InvalidDataError,
            r"data_batch_1\.bin, example 1: the label is 10",
        ),
    ],
)
def test_damaged_cifar_files_get_one_sentence_with_the_file(cifar_folder, content, error, says):
    (cifar_folder / "data_batch_1.bin").write_bytes(content)
    with pytest.raises(error, match=says):
        read_cifar_folder(cifar_folder)


def test_missing_cifar_files_are_named(cifar_folder):
    (cifar_folder / "batches.meta.txt").write_text("cat\ndog\n")
    with pytest.raises(InvalidDataError, match=r"batches\.meta\.txt names 2 classes, not 10"):
        read_cifar_folder(cifar_folder)
    (cifar_folder / "test_batch.bin").unlink()
    with pytest.raises(InvalidDataError, match=r"has no file test_batch\.bin"):
        read_cifar_folder(cifar_folder)
    with pytest.raises(InvalidDataError, match=r"has no file data_batch_1\.bin"):
        read_cifar_folder(cifar_folder / "gone")


# --- npz ------------------------------------------------------------------------------------------------------


def npz(path: Path, **arrays: object) -> Path:
    np.savez_compressed(path / "data.npz", **arrays)
    return path / "data.npz"


KERAS = dict(zip(("x_train", "y_train", "x_test", "y_test"), ARRAYS, strict=True))
MEDICAL = dict(zip(("train_images", "train_labels", "test_images", "test_labels"), ARRAYS, strict=True))


@pytest.mark.parametrize("names", [KERAS, MEDICAL], ids=["x_train", "train_images"])
@pytest.mark.parametrize("column", [False, True], ids=["row", "column"])
def test_arrays_come_back_as_they_are(tmp_path, names, column):
    raw = read_npz(npz(tmp_path, **{k: v[:, None] if column and v.ndim == 1 else v for k, v in names.items()}))
    assert (raw.train.contents[..., 0] == TRAIN).all() and (raw.test.contents[..., 0] == TEST).all()
    assert (raw.train.labels == TRAIN_LABELS).all() and (raw.test.labels == TEST_LABELS).all()
    assert (raw.name, raw.class_names) == ("data", ("0", "1", "2"))


@pytest.mark.parametrize(
    "shape",
    [(12, 5, 4), (12, 5, 4, 1), (12, 1, 5, 4), (12, 5, 4, 3), (12, 3, 5, 4)],
    ids=lambda shape: "x".join(map(str, shape)),
)
def test_channels_may_stand_last_or_first_or_be_missing(tmp_path, shape):
    array = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    split = np.array(["train"] * 9 + ["test"] * 3)
    raw = read_npz(npz(tmp_path, images=array, labels=TRAIN_LABELS, split=split))
    together = np.concatenate([raw.train.contents, raw.test.contents])
    channels = 3 if 3 in shape else 1
    assert together.shape == (12, 5, 4, channels)
    wanted = (
        array if shape[-1] in (1, 3) else array.reshape(12, 5, 4, 1) if channels == 1 else array.transpose(0, 2, 3, 1)
    )
    assert (together == wanted).all()


def test_without_test_images_some_of_each_class_are_put_aside(tmp_path):
    raw = read_npz(npz(tmp_path, images=TRAIN, labels=TRAIN_LABELS), test_share=0.25)
    assert np.bincount(raw.train.labels).tolist() == [3, 3, 3] and np.bincount(raw.test.labels).tolist() == [1, 1, 1]
    found = {image.tobytes() for part in (raw.train, raw.test) for image in part.contents}
    assert found == {image.tobytes() for image in TRAIN}
    for part in (raw.train, raw.test):  # labels stayed with their images
        for image, label in zip(part.contents, part.labels, strict=True):
            (row,) = np.flatnonzero((TRAIN == image[..., 0]).all(axis=(1, 2)))
            assert TRAIN_LABELS[row] == label
    assert any("25% of each class were held out" in note for note in raw.notes)


def test_labels_may_be_names_or_numbers_that_class_names_name(tmp_path):
    words = np.array(["dog", "cat", "чай"])[TRAIN_LABELS]
    raw = read_npz(npz(tmp_path, images=TRAIN, labels=words))
    assert raw.class_names == ("cat", "dog", "чай")
    raw = read_npz(npz(tmp_path, images=TRAIN, labels=TRAIN_LABELS, class_names=np.array(["z", "y", "x"])))
    assert raw.class_names == ("z", "y", "x")


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"x_train": TRAIN / 255}, InvalidDataError, r"'x_train' holds float64 values.*\(255 \* x\)\.round"),
        ({"x_train": TRAIN[:, 0]}, InvalidDataError, r"'x_train' has the shape \(12, 4\)"),
        ({"x_train": np.zeros((12, 5, 4, 4), np.uint8)}, InvalidDataError, "with 1 or 3 channels"),
        ({"x_train": TRAIN[:0]}, EmptyDataError, "so it is empty"),
        ({"x_train": TRAIN[:9]}, InvalidDataError, "12 labels for 9 images"),
        ({"x_test": TEST[:, :3]}, InvalidDataError, "images of 3 x 4 x 1, 5 x 4 x 1"),
        ({"y_train": np.eye(12)}, InvalidDataError, r"'y_train' has the shape \(12, 12\)"),
        ({"y_train": TRAIN_LABELS + 0.5}, LabelError, "looks like regression"),
        ({"y_train": np.zeros(12, np.uint8)}, InvalidDataError, "one class only"),
        ({"y_train": np.array([b"a"] * 12)}, InvalidDataError, r"holds \|S1 values"),
        ({"y_train": None}, InvalidDataError, "has no array 'y_train'"),
        ({"x_test": None}, InvalidDataError, "has no array 'x_test'"),
        ({"x_train": None}, InvalidDataError, "has no array 'images'; it must hold x_train, y_train"),
    ],
    ids=range(13),
)
def test_arrays_of_another_form_get_one_sentence(tmp_path, change, error, says):
    arrays = {name: array for name, array in {**KERAS, **change}.items() if array is not None}
    with pytest.raises(error, match=says) as caught:
        read_npz(npz(tmp_path, **arrays))
    assert "data.npz" in str(caught.value) and str(caught.value).endswith(".")


def test_a_split_that_does_not_fit_is_refused(tmp_path):
    with pytest.raises(InvalidDataError, match="'split' holds 2 values for 12 labels"):
        read_npz(npz(tmp_path, images=TRAIN, labels=TRAIN_LABELS, split=np.array(["train", "test"])))
    with pytest.raises(InvalidDataError, match="or other ones than text"):
        read_npz(npz(tmp_path, images=TRAIN, labels=TRAIN_LABELS, split=np.zeros(12)))


def test_pickled_objects_are_refused_and_never_run(tmp_path):
    Trap.path = tmp_path / "sprung"
    trap = np.empty(12, dtype=object)
    trap[:] = [Trap()] * 12
    for name in ("x_train", "y_train"):
        with pytest.raises(InvalidDataError, match=r"cannot be read as an \.npz file \(Object arrays cannot be loaded"):
            read_npz(npz(tmp_path, **{**KERAS, name: trap}))
    (tmp_path / "x.npz").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(InvalidDataError, match=r"x\.npz cannot be read"):
        read_npz(tmp_path / "x.npz")
    assert not Trap.path.exists()


def test_damaged_files_get_one_sentence(tmp_path):
    good = npz(tmp_path, **KERAS).read_bytes()
    plain = io.BytesIO()
    np.save(plain, TRAIN)
    for content in (b"", b"text", good[:-10], good[: len(good) // 2], plain.getvalue()):
        (tmp_path / "x.npz").write_bytes(content)
        with pytest.raises(InvalidDataError, match=r"x\.npz cannot be read as an \.npz file") as caught:
            read_npz(tmp_path / "x.npz")
        assert "\n" not in str(caught.value)
    with pytest.raises(InvalidDataError, match=r"gone\.npz cannot be read"):
        read_npz(tmp_path / "gone.npz")
    random = np.random.default_rng(0)
    for _ in range(100):
        hurt = bytearray(good)
        for place in random.integers(0, len(hurt), 3):
            hurt[place] = random.integers(256)
        (tmp_path / "x.npz").write_bytes(hurt)
        try:
            read_npz(tmp_path / "x.npz")
        except InvalidDataError:
            continue


def header(shape: tuple[int, ...]) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return stream.getvalue()


def test_arrays_that_expand_without_end_are_refused(tmp_path):
    liar = tmp_path / "liar.npz"
    with zipfile.ZipFile(liar, "w") as archive:
        archive.writestr("images.npy", header((2**20, 2**20, 2**20)))
        archive.writestr("labels.npy", header((3,)) + b"abc")
    with pytest.raises(InvalidDataError, match=r"liar\.npz cannot be read"):
        read_npz(liar)
    large = npz(tmp_path, images=TRAIN, labels=TRAIN_LABELS)
    content = bytearray(large.read_bytes())
    entry = content.rindex(b"images.npy") - 46
    content[entry + 24 : entry + 28] = struct.pack("<I", 2**32 - 2)
    large.write_bytes(content)
    with pytest.raises(InvalidDataError, match=r"at most 4,096 MB are read|cannot be read"):
        read_npz(large)


@pytest.mark.parametrize("packing", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_arrays_packed_in_a_way_that_python_unpacks_without_end_are_refused(tmp_path, packing):
    path = npz(tmp_path, images=TRAIN, labels=TRAIN_LABELS)
    with zipfile.ZipFile(path, "a", packing) as archive:
        archive.writestr("split.npy", bytes(1000))
    with pytest.raises(InvalidDataError, match=r"data\.npz: 'split\.npy' is packed in another way than deflate; write"):
        read_npz(path)


def test_more_classes_than_are_read_are_refused_also_where_they_have_names(tmp_path):
    n = MAX_CLASSES + 1
    pixels, labels = np.arange(2 * n, dtype=np.uint16).view(np.uint8).reshape(-1, 2, 1), np.tile(np.arange(n), 2)
    names = np.array([f"class {number}" for number in range(n)])
    with pytest.raises(LabelError, match="has 1,001 classes, and at most 1,000 are read"):
        read_npz(npz(tmp_path, x_train=pixels, y_train=labels, class_names=names))
