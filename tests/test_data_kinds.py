"""Kinds of data: one entry each, from which the commands, the pages and Python follow."""

from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import pytest

from trak_core.commands.custom_data import custom_data, reading_options
from trak_core.datasets.custom_data import CustomData
from trak_core.datasets.kinds import DATA_KINDS, DataKind, find_data_kind, register_data_kind
from trak_core.datasets.options import SIZE, TEXT, Option
from trak_core.errors import InvalidDataError, InvalidSettingError, TrakCoreError
from trak_core.modalities import MODALITIES, RawData, RawSplit
from trak_core.views.custom_data import columns_of

DEPTH = Option("depth", "How deep to look.", int, choices=(("little", 1), ("much", 2)), title="Depth")


def read(path: Path, options, seed: int, on_progress) -> RawData:
    rows = RawSplit(np.full((4, 2), options.get("depth", 0), dtype=np.float32), np.array([0, 1, 0, 1]))
    return RawData(path.name, "numbers", ("a", "b"), rows, rows, notes=(f"seed {seed}",))


ROWS = DataKind("rows", "Rows", "rows of a file", "from the file", ("numbers",), read, (DEPTH,))


@pytest.fixture
def rows() -> DataKind:
    register_data_kind(ROWS)
    yield ROWS
    del DATA_KINDS["rows"]


def test_a_new_kind_is_read_named_and_asked_for_by_its_entry(rows, tmp_path):
    source = CustomData("rows", tmp_path / "my file.bin", seed=3, depth=2)
    raw = source.read()
    assert (raw.train.contents == 2).all() and raw.notes == ("seed 3",)
    assert source.usual_name == "my-file"
    assert source.words() == ["rows", str(tmp_path / "my file.bin"), "--depth", "2"]
    command = click.Command("rows", params=reading_options(rows))
    given = command.make_context("rows", [str(tmp_path / "my file.bin"), "--depth", "2"]).params
    assert custom_data(rows, given, seed=3) == source
    assert source.with_seed(4) != source and source.with_seed(3) == source
    with pytest.raises(InvalidSettingError, match="size=8 is no option of rows, which takes: depth"):
        CustomData("rows", tmp_path, size=8)
    with pytest.raises(InvalidSettingError, match="there is a kind of data 'rows' already"):
        register_data_kind(replace(ROWS, title="Others"))


def test_a_kind_that_is_not_known_is_refused():
    with pytest.raises(InvalidSettingError, match="kind='rows'; it must be one of: image-folder, table"):
        find_data_kind("rows")


@pytest.mark.parametrize("kind", DATA_KINDS.values(), ids=DATA_KINDS)
def test_every_entry_is_whole(kind):
    assert set(kind.modalities) <= set(MODALITIES)
    assert kind.title and kind.holds and kind.made_from and kind.path_caption and kind.path_example
    assert set(kind.required) <= {option.name for option in kind.options}
    assert (kind.preview is not None) == any(option.is_column for option in kind.options)
    options = [command for command in reading_options(kind) if isinstance(command, click.Option)]
    assert [option.name for option in options] == [option.name for option in kind.options]


def test_the_column_that_is_named_decides_between_modalities():
    several = DATA_KINDS["hf-dataset"]
    assert several.modality({}) == several.modality({TEXT.name: "review"}) == "text"
    assert several.modality({"image": "picture", SIZE.name: 8}) == "image"


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".json", ".tsv.gz", ".parquet", ".npz"])
@pytest.mark.parametrize("kind", ["image-folder", "image-arrays", "hf-dataset", "table"])
def test_files_given_as_another_kind_are_told_the_kind_that_they_are(tmp_path, kind, ending):
    path = tmp_path / f"a{ending}"
    path.write_bytes(b"PAR1")
    right = "image-arrays" if ending == ".npz" else "table"
    columns = {"text": "text", "label": "label"} if kind == "table" else {}
    with pytest.raises(TrakCoreError) as refused:
        CustomData(kind, path, **columns).read()
    said = str(refused.value)
    assert ("check " in said) == (kind != right)
    if kind != right:
        assert f"choose “{DATA_KINDS[right].title}” (on the command line: `check {right}` or" in said
        with pytest.raises(InvalidDataError, match=f"choose “{DATA_KINDS[right].title}”"):
            columns_of(DATA_KINDS[kind], path, {})


def test_a_folder_given_as_a_table_is_told_what_it_is(tmp_path):
    def said() -> str:
        with pytest.raises(InvalidDataError) as refused:
            CustomData("table", tmp_path, text="text", label="label").read()
        return str(refused.value)

    (tmp_path / "cat").mkdir()
    assert "is a folder, and was given as “A table of texts”; choose “A folder of images”" in said()
    (tmp_path / "rows.csv").write_text("text,label\n")
    assert "is a folder; name the table in it, such as rows.csv." in said()
    (tmp_path / "train-images-idx3-ubyte").touch()
    assert "choose “Arrays of images”" in said()
    (tmp_path / "dataset_dict.json").touch()
    assert "choose “A Hugging Face data set”" in said()
