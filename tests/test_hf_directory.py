"""Folders of Hugging Face `datasets`: what `save_to_disk` and the hub write is read, damaged ones are refused."""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from trak_core.datasets.hf_directory import read_hf_directory
from trak_core.errors import EmptyDataError, InvalidDataError, InvalidSettingError
from trak_core.modalities.raw import Skipped

CLASSES = {"label": {"names": ["neg", "pos"], "_type": "ClassLabel"}}
TEXT = {"text": {"dtype": "string", "_type": "Value"}}
IMAGE = {"image": {"_type": "Image"}}
IMAGE_TYPE = pa.struct({"bytes": pa.binary(), "path": pa.string()})


def texts(prefix: str, labels: Sequence[int]) -> pa.Table:
    columns = {
        "text": pa.array([f"{prefix} {row}" for row in range(len(labels))], pa.string()),
        "label": pa.array(labels, pa.int64()),
    }
    return declared(pa.table(columns), {**TEXT, **CLASSES})


def declared(table: pa.Table, features: dict[str, Any]) -> pa.Table:
    """The table with what `datasets` says about columns in its schema."""
    return table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def save(table: pa.Table, folder: Path, n_shards: int = 1) -> None:
    """Writes a split as `save_to_disk` of `datasets` 5.2 does."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"data-{shard:05d}-of-{n_shards:05d}.arrow" for shard in range(n_shards)]
    bounds = np.linspace(0, len(table), n_shards + 1).astype(int)
    for name, start, stop in zip(names, bounds[:-1], bounds[1:], strict=True):
        with pa.ipc.new_stream(folder / name, table.schema) as stream:
            stream.write_table(table.slice(start, stop - start), max_chunksize=2)
    state = {"_data_files": [{"filename": name} for name in names], "_fingerprint": "0", "_split": None}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text(json.dumps({"features": {}}))


def save_splits(folder: Path, **splits: pa.Table) -> Path:
    for name, table in splits.items():
        save(table, folder / name)
    (folder / "dataset_dict.json").write_text(json.dumps({"splits": list(splits)}))
    return folder


def put_parquet(table: pa.Table, file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, file)
    return file


def png(seed: int, channels: int = 3) -> tuple[np.ndarray, bytes]:
    """Pixels uint8 [6, 8, channels] and the file of them."""
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 8, channels), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels if channels == 3 else pixels[..., 0]).save(buffer, "PNG")
    return pixels, buffer.getvalue()


def images(values: Sequence[Any], labels: Sequence[int]) -> pa.Table:
    table = pa.table({"image": pa.array(values, IMAGE_TYPE), "label": pa.array(labels, pa.int64())})
    return declared(table, {**IMAGE, **CLASSES})


# --- texts ------------------------------------------------------------------------------------------------------


def test_splits_and_class_names_are_those_of_the_data_set(tmp_path):
    train, test = texts("train", [1, 0, 1, 0, 0]), texts("test", [1, 1])
    raw = read_hf_directory(save_splits(tmp_path / "reviews", train=train, validation=texts("dev", [0]), test=test))
    assert (raw.name, raw.modality, raw.class_names) == ("reviews", "text", ("neg", "pos"))
    assert (raw.train.contents, raw.train.labels.tolist()) == (train["text"].to_pylist(), [1, 0, 1, 0, 0])
    assert (raw.test.contents, raw.test.labels.tolist()) == (["test 0", "test 1"], [1, 1])
    assert raw.notes == ("The validation split (1 example) is not used; there is a test split.",)
    assert not raw.skipped


def test_a_single_split_is_read_in_the_order_of_its_state(tmp_path):
    table = texts("train", [0, 1] * 10)
    save(table, tmp_path, n_shards=3)
    raw = read_hf_directory(tmp_path)
    assert sorted(raw.train.contents + raw.test.contents) == sorted(table["text"].to_pylist())
    assert (len(raw.train), len(raw.test)) == (16, 4)
    assert raw.train.contents == [text for text in table["text"].to_pylist() if text not in raw.test.contents]
    state = json.loads((tmp_path / "state.json").read_text())
    state["_data_files"].reverse()
    (tmp_path / "state.json").write_text(json.dumps(state))
    order = [int(text.split()[1]) for text in read_hf_directory(tmp_path).train.contents]
    assert order != sorted(order) and order.index(max(order)) < order.index(min(order))


@pytest.mark.parametrize(
    "names",
    [
        ("train-00000-of-00002.parquet", "train-00001-of-00002.parquet", "test-00000-of-00001.parquet"),
        ("data/train-00000-of-00002-ab12.parquet", "data/train-00001-of-00002-cd34.parquet", "data/test.parquet"),
        ("default/train/0000.parquet", "default/train/0001.parquet", "default/test/0000.parquet"),
    ],
)
def test_parquet_files_are_read_by_the_names_that_the_hub_gives_them(tmp_path, names):
    tables = (texts("a", [1, 0, 1]), texts("b", [0, 0]), texts("c", [1, 0]))
    for name, table in zip(names, tables, strict=True):
        put_parquet(table, tmp_path / name)
    raw = read_hf_directory(tmp_path)
    assert raw.class_names == ("neg", "pos")
    assert (raw.train.contents, raw.train.labels.tolist()) == (["a 0", "a 1", "a 2", "b 0", "b 1"], [1, 0, 1, 0, 0])
    assert raw.test.contents == ["c 0", "c 1"]


def test_a_single_parquet_file_of_any_name_is_split(tmp_path):
    put_parquet(texts("a", [0, 1] * 5), tmp_path / "reviews.parquet")
    raw = read_hf_directory(tmp_path)
    assert (len(raw.train), len(raw.test)) == (8, 2)


def test_columns_are_found_by_what_they_hold_or_named(tmp_path):
    table = pa.table({"idx": [0, 1, 2, 3], "sentence": ["a", "b", "c", "d"], "Label": ["x", "y", "x", "y"]})
    save(table, tmp_path / "one")
    assert read_hf_directory(tmp_path / "one").class_names == ("x", "y")
    assert read_hf_directory(tmp_path / "one", label="Label", text="sentence").class_names == ("x", "y")

    save(table.append_column("other", pa.array(list("efgh"))), tmp_path / "two")
    with pytest.raises(InvalidDataError, match=r"2 columns that may be the one of texts; .*: 'sentence', 'other'"):
        read_hf_directory(tmp_path / "two")
    raw = read_hf_directory(tmp_path / "two", text="other")
    assert sorted(raw.train.contents + raw.test.contents) == list("efgh")
    with pytest.raises(InvalidDataError, match=r"no column 'sentense'; .* Did you mean 'sentence'"):
        read_hf_directory(tmp_path / "two", text="sentense")

    save(table.rename_columns(["idx", "sentence", "stars"]), tmp_path / "three")
    with pytest.raises(
        InvalidDataError, match=r"no column is clearly the one of labels; .*: 'idx', 'sentence', 'stars'"
    ):
        read_hf_directory(tmp_path / "three")
    assert read_hf_directory(tmp_path / "three", label="stars", text="sentence").class_names == ("x", "y")


def test_hidden_labels_of_a_test_split_are_no_labels(tmp_path):
    splits = {"train": texts("a", [0, 1]), "validation": texts("b", [1, 0]), "test": texts("c", [-1, -1])}
    raw = read_hf_directory(save_splits(tmp_path, **splits))
    assert raw.test.contents == ["b 0", "b 1"] and not raw.skipped
    assert raw.notes[0] == "The test split (2 examples) has no labels and is not used."


def test_bad_rows_are_left_out_with_their_files_and_numbers(tmp_path):
    table = texts("a", [0, 1, 0, -1, 7, 1])
    table = table.set_column(0, "text", pa.array(["a", None, " ", "d", "e", "f"]))
    raw = read_hf_directory(save_splits(tmp_path, train=table, test=texts("t", [0])))
    file = "train/data-00000-of-00001.arrow"
    assert raw.skipped == (
        Skipped(f"{file}, row 2", "it has no text"),
        Skipped(f"{file}, row 3", "it has no text"),
        Skipped(f"{file}, row 4", "it has no label"),
        Skipped(f"{file}, row 5", "its label '7' is none of 0 to 1"),
    )
    assert raw.train.contents == ["a", "f"]


def test_splits_for_something_else_are_not_read(tmp_path):
    splits = {"train": texts("a", [0, 1]), "unsupervised": texts("b", [-1] * 9), "test": texts("c", [1])}
    raw = read_hf_directory(save_splits(tmp_path, **splits))
    assert raw.notes == ("The split 'unsupervised' is not used: it is none of train, test and validation.",)
    assert not raw.skipped


def test_classes_without_a_train_example_are_no_classes(tmp_path):
    features = {**TEXT, "label": {"names": ["a", "b", "c", "d"], "_type": "ClassLabel"}}
    raw = read_hf_directory(
        save_splits(tmp_path, train=declared(texts("x", [3, 1, 3]), features), test=texts("y", [0, 1]))
    )
    assert (raw.class_names, raw.train.labels.tolist(), raw.test.labels.tolist()) == (("b", "d"), [1, 0, 1], [0])
    assert raw.notes == ("2 of the 4 classes have no train example.",)
    assert raw.skipped == (Skipped("test/data-00000-of-00001.arrow, row 1", "no train example has the class 'a'"),)


# --- images -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["arrow", "parquet"])
def test_images_come_pixel_by_pixel(tmp_path, kind):
    made = [png(seed) for seed in range(6)]
    values = [{"bytes": content, "path": f"{seed}.png"} for seed, (_, content) in enumerate(made)]
    train, test = images(values[:4], [0, 1, 0, 1]), images(values[4:], [1, 0])
    if kind == "arrow":
        save_splits(tmp_path, train=train, test=test)
    else:
        put_parquet(train, tmp_path / "data/train-00000-of-00001.parquet")
        put_parquet(test, tmp_path / "data/test-00000-of-00001.parquet")
    raw = read_hf_directory(tmp_path)
    np.testing.assert_array_equal(raw.train.contents, [pixels for pixels, _ in made[:4]])
    np.testing.assert_array_equal(raw.test.contents, [pixels for pixels, _ in made[4:]])
    assert (raw.train.labels.tolist(), raw.test.labels.tolist()) == ([0, 1, 0, 1], [1, 0])
    assert raw.class_names == ("neg", "pos")


def test_grey_images_have_one_channel_and_sizes_can_be_asked_for(tmp_path):
    made = [png(seed, channels=1) for seed in range(4)]
    table = images([{"bytes": content, "path": None} for _, content in made], [0, 1, 0, 1])
    folder = save_splits(tmp_path, train=table, test=table)
    np.testing.assert_array_equal(read_hf_directory(folder).train.contents, [pixels for pixels, _ in made])
    assert read_hf_directory(folder, size=4, channels=3).train.contents.shape == (4, 4, 4, 3)
    with pytest.raises(InvalidSettingError, match="channels is 2"):
        read_hf_directory(folder, channels=2)


def test_bad_images_are_left_out_and_none_is_read_from_elsewhere(tmp_path):
    made = [png(seed) for seed in range(4)]
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "beside.png").write_bytes(made[2][1])
    (tmp_path / "outside.png").write_bytes(made[3][1])
    values = [
        {"bytes": made[0][1], "path": None},
        {"bytes": made[1][1], "path": "/etc/passwd"},
        {"bytes": None, "path": "beside.png"},
        {"bytes": None, "path": "../outside.png"},
        {"bytes": None, "path": str(tmp_path / "outside.png")},
        {"bytes": made[3][1][:60], "path": None},
        {"bytes": b"", "path": None},
        {"bytes": None, "path": None},
        None,
    ]
    table = images(values, [0, 1, 0, 1, 0, 1, 0, 1, 0])
    raw = read_hf_directory(save_splits(folder, train=table, test=images(values[:2], [0, 1])))
    np.testing.assert_array_equal(raw.train.contents, [pixels for pixels, _ in made[:3]])
    reasons = {int(one.where.rpartition(" ")[2]): one.why for one in raw.skipped}
    assert reasons[4] == reasons[5] == "its image lies outside of the folder"
    assert "damaged" in reasons[6] and "empty" in reasons[7]
    assert reasons[8] == reasons[9] == "it has no image"
    assert len(reasons) == 6


def test_texts_and_images_cannot_both_be_asked_for(tmp_path):
    with pytest.raises(InvalidSettingError, match="text is 'a' and image is 'b'"):
        read_hf_directory(tmp_path, text="a", image="b")


# --- what is refused --------------------------------------------------------------------------------------------


def test_folders_that_are_no_such_data_sets_are_refused(tmp_path):
    with pytest.raises(InvalidDataError, match=r"it has neither dataset_dict.json nor state.json nor a .parquet file"):
        read_hf_directory(tmp_path)
    with pytest.raises(InvalidDataError, match="it has neither"):
        read_hf_directory(tmp_path / "nothing")


def test_missing_parts_are_refused(tmp_path):
    save_splits(tmp_path, train=texts("a", [0, 1]), test=texts("b", [0]))
    (tmp_path / "test" / "data-00000-of-00001.arrow").unlink()
    with pytest.raises(InvalidDataError, match=r"there is no file .*test/data-00000-of-00001.arrow"):
        read_hf_directory(tmp_path)
    (tmp_path / "test" / "state.json").unlink()
    with pytest.raises(InvalidDataError, match=r"there is no file .*test/state.json"):
        read_hf_directory(tmp_path)
    put_parquet(texts("a", [0, 1]), tmp_path / "hub" / "train-00000-of-00003.parquet")
    with pytest.raises(InvalidDataError, match="has 1 of the 3 Parquet files of the split 'train'"):
        read_hf_directory(tmp_path / "hub")


def test_several_data_sets_in_one_folder_are_refused(tmp_path):
    for name in ("plain", "raw"):
        put_parquet(texts("a", [0, 1]), tmp_path / name / "train-00000-of-00001.parquet")
    with pytest.raises(InvalidDataError, match=r"several data sets \(plain, raw\); give one of the folders"):
        read_hf_directory(tmp_path)


@pytest.mark.parametrize("name", ["../other/data.arrow", "/etc/passwd", "..", 7, None])
def test_files_named_elsewhere_are_not_read(tmp_path, name):
    save(texts("a", [0, 1]), tmp_path)
    (tmp_path / "state.json").write_text(json.dumps({"_data_files": [{"filename": name}]}))
    with pytest.raises(InvalidDataError, match="which lies elsewhere"):
        read_hf_directory(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"_data_files": 3}', b"\xff\xfe", b"[" * 100_000])
def test_a_broken_state_is_refused(tmp_path, content):
    save(texts("a", [0, 1]), tmp_path)
    (tmp_path / "state.json").write_bytes(content)
    with pytest.raises(InvalidDataError, match=r"state\.json .*save the data set anew"):
        read_hf_directory(tmp_path)


def test_damaged_files_are_refused_in_one_sentence_wherever_they_are_damaged(tmp_path):
    save(texts("a", [0, 1] * 20), tmp_path)
    file = tmp_path / "data-00000-of-00001.arrow"
    content = file.read_bytes()
    rng = np.random.default_rng(0)
    n_refused = 0
    for cut in [0, *rng.integers(1, len(content) - 20, 30).tolist()]:
        file.write_bytes(content[:cut])
        with pytest.raises(InvalidDataError) as refusal:
            read_hf_directory(tmp_path)
        assert file.name in str(refusal.value) and "\n" not in str(refusal.value)
    for _ in range(200):
        damaged = bytearray(content)
        damaged[rng.integers(len(content))] ^= 1 << rng.integers(8)
        file.write_bytes(damaged)
        try:
            read_hf_directory(tmp_path)  # a letter or a label may have become another one
        except InvalidDataError:
            n_refused += 1
    assert n_refused > 20
    put_parquet(texts("a", [0, 1]), tmp_path / "hub" / "train.parquet").write_bytes(b"PAR1 is all there is PAR1")
    with pytest.raises(InvalidDataError, match=r"train.parquet cannot be read"):
        read_hf_directory(tmp_path / "hub")


def test_shards_that_differ_in_their_columns_are_refused(tmp_path):
    put_parquet(texts("a", [0, 1]), tmp_path / "train-00000-of-00002.parquet")
    put_parquet(texts("a", [0, 1]).rename_columns(["txt", "label"]), tmp_path / "train-00001-of-00002.parquet")
    with pytest.raises(InvalidDataError, match=r"00001-of-00002.parquet has no column 'text'"):
        read_hf_directory(tmp_path)


def test_a_data_set_without_rows_is_refused(tmp_path):
    save(texts("a", []), tmp_path)
    with pytest.raises(EmptyDataError, match="has no examples"):
        read_hf_directory(tmp_path)


def test_two_classes_of_one_name_are_refused(tmp_path):
    table = declared(texts("train", [0, 1] * 5), {**TEXT, "label": {"names": ["a", "a"], "_type": "ClassLabel"}})
    save(table, tmp_path)
    with pytest.raises(InvalidDataError, match="gives two classes the same name"):
        read_hf_directory(tmp_path)
