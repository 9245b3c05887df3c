"""Cleaned arrays and data sets of Hugging Face: a copy that differs in the mended labels and nothing else."""

import gzip
import io
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.test_cleaned import command, planned, run_of, runs  # noqa: F401
from trak_core.datasets.cifar import RECORD
from trak_core.datasets.custom_data import CustomData
from trak_core.datasets.idx import idx_bytes
from trak_core.errors import InvalidDataError, InvalidSettingError
from trak_core.exchange.cleaned import Cleaning
from trak_core.exchange.cleaned_data import hand_over, write_cleaned
from trak_core.store.run import open_run

N = 45
LABELS = np.arange(N) % 3
IMAGES = (np.arange(N, dtype=np.uint8)[:, None, None] * 5 + np.arange(16, dtype=np.uint8).reshape(4, 4)).astype(
    np.uint8
)


def shown(data: CustomData) -> dict[bytes, str]:
    """The class of every example by what it shows."""
    raw = data.read()
    return {
        (one.encode() if isinstance(one, str) else one.tobytes()): raw.class_names[label]
        for part in (raw.train, raw.test)
        for one, label in zip(part.contents, part.labels.tolist(), strict=True)
    }


def expected(data: CustomData, plan: Cleaning) -> dict[bytes, str]:
    """What a cleaned copy shows."""
    raw, found = data.read(), shown(data)
    contents = dict(zip(raw.train.origins or (), raw.train.contents, strict=True))
    for one in plan.mended:
        content = contents[one.origin]
        key = content.encode() if isinstance(content, str) else content.tobytes()
        if one.new_label is None:
            del found[key]
        else:
            found[key] = one.new_label
    return found


def check_copy(data: CustomData, to: Path) -> Cleaning:
    before = shown(data)
    for n, n_left_out in ((7, 0), (4, 5)):
        plan, _ = planned(data, n, n_left_out)
        path = to.with_name(f"{n}-{to.name}")
        write_cleaned(plan, path)
        assert shown(CustomData(data.kind, path, **data.options)) == expected(data, plan)
        assert shown(data) == before
    return plan


# --- arrays -----------------------------------------------------------------------------------------------------

NPZ: dict[str, dict[str, Any]] = {
    "together": {"images": IMAGES, "labels": LABELS},
    "split": {"images": IMAGES, "labels": LABELS, "split": np.where(LABELS + np.arange(N) < 9, "test", "train")},
    "keras": {"x_train": IMAGES[:30], "y_train": LABELS[:30, None], "x_test": IMAGES[30:], "y_test": LABELS[30:]},
    "names": {"images": IMAGES, "labels": np.array(["cat", "dog", "a bird"])[LABELS], "more": np.arange(3.0)},
    "class names": {"images": IMAGES, "labels": LABELS.astype(np.int8), "class_names": np.array(["a", "b", "c"])},
}


@pytest.mark.parametrize("name", NPZ)
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_npz_file_comes_back_with_the_mended_labels_and_all_else_as_it_was(tmp_path, name, save):
    path = tmp_path / "digits.npz"
    save(path, **NPZ[name])
    check_copy(CustomData("image-arrays", path), tmp_path / "new.npz")
    with np.load(path) as old, np.load(tmp_path / "7-new.npz") as new:
        assert old.files == new.files
        changed = [one for one in old.files if not np.array_equal(old[one], new[one])]
        assert changed == ["y_train" if name == "keras" else "labels"]
        assert all(old[one].dtype == new[one].dtype and old[one].shape == new[one].shape for one in old.files)
        assert int((old[changed[0]] != new[changed[0]]).sum()) == 7
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "7-new.npz") as new:
        assert [one.compress_type for one in old.infolist()] == [one.compress_type for one in new.infolist()]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("below", ["", "raw"])
def test_a_folder_of_idx_files_comes_back_as_one(tmp_path, packed, below):
    folder = tmp_path / "mnist" / below
    folder.mkdir(parents=True)
    (folder / "notes.txt").write_text("kept")
    for prefix, rows in (("train", slice(0, 30)), ("t10k", slice(30, N))):
        for kind, values in (("images-idx3-ubyte", IMAGES[rows]), ("labels-idx1-ubyte", LABELS[rows].astype(np.uint8))):
            content = idx_bytes(values)
            name = f"{prefix}-{kind}{'.gz' if packed else ''}"
            (folder / name).write_bytes(gzip.compress(content) if packed else content)
    check_copy(CustomData("image-arrays", tmp_path / "mnist"), tmp_path / "new")
    new = tmp_path / "7-new" / below
    same = [file.name for file in folder.iterdir() if file.read_bytes() == (new / file.name).read_bytes()]
    assert len(same) == 4 and (new / "notes.txt").read_text() == "kept"


def test_a_folder_of_cifar_files_comes_back_as_one(tmp_path):
    folder = tmp_path / "cifar"
    folder.mkdir()
    random = np.random.default_rng(0)
    for name in ("data_batch_1.bin", "data_batch_2.bin", "test_batch.bin"):
        records = random.integers(0, 256, (15, RECORD), dtype=np.uint8)
        records[:, 0] = np.arange(15) % 3
        (folder / name).write_bytes(records.tobytes())
    check_copy(CustomData("image-arrays", folder), tmp_path / "new")
    old, new = ((one / "data_batch_1.bin").read_bytes() for one in (folder, tmp_path / "7-new"))
    assert sum(a != b for a, b in zip(old, new, strict=True)) == 7


# --- data sets of Hugging Face ----------------------------------------------------------------------------------


def features(**more: Any) -> dict[bytes, bytes]:
    told = {"label": {"names": ["neg", "pos", "so"], "_type": "ClassLabel"}, **more}
    return {b"huggingface": json.dumps({"info": {"features": told}}).encode()}


def frame(rows: slice, with_images: bool = False) -> pa.Table:
    numbers = list(range(N))[rows]
    contents: dict[str, Any] = {"text": [f"text no. {i}" for i in numbers]}
    if with_images:
        contents = {"image": [{"bytes": png(i), "path": None} for i in numbers]}
    columns = {**contents, "label": LABELS[rows].tolist(), "tags": [[i, None] for i in numbers], "id": numbers}
    kinds = {"image": pa.struct([("bytes", pa.binary()), ("path", pa.string())])}
    arrays = {name: pa.array(values, kinds.get(name)) for name, values in columns.items()}
    return pa.table(arrays).replace_schema_metadata(features())


def png(number: int) -> bytes:
    held = io.BytesIO()
    Image.fromarray(IMAGES[number]).save(held, "PNG")
    return held.getvalue()


def stream(path: Path, table: pa.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with pa.ipc.new_stream(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=7)


def saved_to_disk(folder: Path, splits: dict[str, list[pa.Table]]) -> Path:
    """As `save_to_disk` of a dict of data sets writes it, with several files a split."""
    folder.mkdir()
    (folder / "dataset_dict.json").write_text(json.dumps({"splits": list(splits)}))
    (folder / "README.md").write_text("kept")
    for split, tables in splits.items():
        names = [f"data-{n:05}-of-{len(tables):05}.arrow" for n in range(len(tables))]
        for name, table in zip(names, tables, strict=True):
            stream(folder / split / name, table)
        (folder / split / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))
        (folder / split / "dataset_info.json").write_text("{}")
    return folder


@pytest.mark.parametrize("with_images", [False, True])
def test_what_save_to_disk_wrote_comes_back_as_parquet_of_the_same_columns(tmp_path, with_images):
    tables = [frame(slice(0, 2), with_images), frame(slice(2, 30), with_images)]
    tests = [frame(slice(30, N), with_images)]
    path = saved_to_disk(tmp_path / "imdb", {"train": tables, "test": tests, "unsupervised": tests})
    check_copy(CustomData("hf-dataset", path), tmp_path / "new")
    new = tmp_path / "7-new"
    assert sorted(file.relative_to(new).as_posix() for file in new.rglob("*")) == [
        "README.md",
        "test-00000-of-00001.parquet",
        "train-00000-of-00002.parquet",
        "train-00001-of-00002.parquet",
        "unsupervised-00000-of-00001.parquet",
    ]
    for n, old in enumerate(tables):
        found = pq.read_table(new / f"train-{n:05}-of-00002.parquet")
        assert (found.schema.names, found.schema.metadata) == (old.schema.names, old.schema.metadata)
        # Parquet has a name of its own for the members of lists.
        assert found.cast(old.schema).drop_columns(["label"]).equals(old.drop_columns(["label"]))
    assert pq.read_table(new / "test-00000-of-00001.parquet").cast(tests[0].schema).equals(tests[0])


@pytest.mark.parametrize("names", [("train.parquet", "test.parquet"), ("train/0000.parquet", "test/0000.parquet")])
def test_the_parquet_files_of_a_data_set_come_back_as_they_were(tmp_path, names):
    folder = tmp_path / "data"
    for name, rows in zip(names, (slice(0, 30), slice(30, N)), strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(frame(rows), folder / name, compression="zstd", row_group_size=8)
    check_copy(CustomData("hf-dataset", folder), tmp_path / "new")
    old, new = (pq.ParquetFile(one / names[0]) for one in (folder, tmp_path / "7-new"))
    assert old.metadata.num_row_groups == new.metadata.num_row_groups
    assert new.metadata.row_group(0).column(0).compression == "ZSTD"
    assert (folder / names[1]).read_bytes() == (tmp_path / "7-new" / names[1]).read_bytes()


def test_a_data_set_without_splits_and_with_labels_in_words_comes_back(tmp_path):
    path = tmp_path / "one"
    table = pa.table({"text": [f"text {i}" for i in range(N)], "label": pa.array(np.array(["a", "b", "c"])[LABELS])})
    stream(path / "data-00000-of-00001.arrow", table.set_column(1, "label", table["label"].dictionary_encode()))
    (path / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}))
    check_copy(CustomData("hf-dataset", path), tmp_path / "new")
    assert [file.name for file in (tmp_path / "7-new").iterdir()] == ["data-00000-of-00001.parquet"]


# --- the command, and what is refused ---------------------------------------------------------------------------


def test_labels_mended_in_the_review_come_back_in_arrays_and_in_data_sets(runs, tmp_path):  # noqa: F811
    np.savez(tmp_path / "digits.npz", images=IMAGES, labels=LABELS)
    run_dir, said = run_of(CustomData("image-arrays", tmp_path / "digits.npz"), 4)
    status, printed = command("cleaned", run_dir)
    assert status == 0 and "Give --to FILE for a copy of digits.npz" in printed
    assert all(origin in printed for origin in said)
    (tmp_path / "digits.npz").rename(tmp_path / "moved.npz")
    status, printed = command("cleaned", run_dir, "--source", tmp_path / "moved.npz", "--to", tmp_path / "new.npz")
    assert status == 0 and "4 labels were mended" in printed
    with np.load(tmp_path / "new.npz") as new:
        for origin, name in said.items():
            assert str(new["labels"][int(origin[:-1].rpartition("[")[2])]) == name
    assert command("cleaned", run_dir, "--source", tmp_path / "moved.npz", "--to", tmp_path / "new.csv")[0] == 2
    status, printed = command("cleaned", run_dir, "--source", tmp_path / "moved.npz", "--apply", "--in-place")
    assert status == 2 and "is no folder of images, and is never written over" in printed


def test_a_page_hands_over_a_file_or_the_command_that_writes_a_folder(runs, tmp_path):  # noqa: F811
    np.savez(tmp_path / "digits.npz", images=IMAGES, labels=LABELS)
    with open_run(run_of(CustomData("image-arrays", tmp_path / "digits.npz"), 3, 1)[0]) as run:
        made = hand_over(run)
    assert (made.file_name, made.arguments, made.copy_to) == ("digits-cleaned.npz", (), None)
    assert np.load(io.BytesIO(made.content))["labels"].shape == (N - 1,)
    shutil.rmtree(runs / "own")
    folder = saved_to_disk(tmp_path / "imdb", {"train": [frame(slice(0, 30))], "test": [frame(slice(30, N))]})
    with open_run(run_of(CustomData("hf-dataset", folder), 3)[0]) as run:
        made = hand_over(run)
    assert made.file_name == "own-changes.csv" and made.content.count(b"train/data-00000-of-00001.arrow:") == 3
    assert made.copy_to == tmp_path / "imdb-cleaned" and "--apply" not in made.arguments
    assert command(*made.arguments)[0] == 0 and made.copy_to.is_dir()


def test_a_copy_is_refused_where_something_is_there_or_nothing_would_be_left(tmp_path):
    path = tmp_path / "digits.npz"
    np.savez(path, images=IMAGES, labels=LABELS)
    data = CustomData("image-arrays", path)
    plan, _ = planned(data, 1)
    with pytest.raises(InvalidSettingError, match=r"should end in .npz"):
        write_cleaned(plan, tmp_path / "new")
    with pytest.raises(InvalidSettingError, match="is there already and was not changed"):
        write_cleaned(plan, path)
    with pytest.raises(InvalidSettingError, match="is the file that the run was built from"):
        write_cleaned(plan, path, overwrite=True)
    folder = saved_to_disk(tmp_path / "hf", {"train": [frame(slice(0, 30))], "test": [frame(slice(30, N))]})
    plan, _ = planned(CustomData("hf-dataset", folder), 0, 30)
    with pytest.raises(InvalidDataError, match=r"every row of train/data-00000-of-00001.arrow would be left out"):
        write_cleaned(plan, tmp_path / "new")
    assert not (tmp_path / "new").exists()
