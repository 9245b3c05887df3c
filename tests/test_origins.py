"""Where each example came from: the file or row, relative to what was given, through every table and command."""

import gzip
import json
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from PIL import Image

from trak_core.__main__ import cli
from trak_core.datasets.custom_data import CustomData
from trak_core.datasets.sampling import sampled
from trak_core.errors import InvalidDataError
from trak_core.exchange.exporting import export_table
from trak_core.exchange.importing import import_scores
from trak_core.modalities import RawData, RawSplit, prepare
from trak_core.store.run import Run, open_run
from trak_core.views.browse import overview
from trak_core.views.examples import read_examples
from trak_core.views.explanation import explain, explanation_table
from trak_core.views.review_tables import read_label_file
from trak_core.views.training_items import training_item, training_item_table

TEXTS = ["good film", "bad film", "so good", "so bad", "very good", "very bad", "a good one", "a bad one"]
LABELS = ["pos", "neg"] * 4


def origins(raw: RawData) -> list[str]:
    return sorted([*(raw.train.origins or []), *(raw.test.origins or [])], key=lambda name: (len(name), name))


def by_text(raw: RawData) -> dict[str, str]:
    """The origin of every text."""
    splits = (raw.train, raw.test)
    return {text: origin for part in splits for text, origin in zip(part.contents, part.origins or [], strict=True)}


def table(path: Path) -> RawData:
    return CustomData("table", path, text="text", label="label").read()


def picture(path: Path, level: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 4), level, dtype=np.uint8)).save(path)


def folder(root: Path, splits: tuple[str, ...] = ("",)) -> Path:
    for split in splits:
        for label in ("cats", "dogs"):
            for number in range(4):
                picture(root / split / label / f"img{number}.png", 40 * number + len(label + split))
    return root


def test_an_image_is_known_by_its_file_below_the_folder_given(tmp_path: Path) -> None:
    flat = CustomData("image-folder", folder(tmp_path / "photos")).read()
    assert origins(flat) == sorted(f"{label}/img{i}.png" for label in ("cats", "dogs") for i in range(4))
    split = CustomData("image-folder", folder(tmp_path / "split", ("train", "test"))).read()
    assert split.train.origins is not None and split.test.origins is not None
    assert split.train.origins[0] == "train/cats/img0.png"
    assert {origin.split("/")[0] for origin in split.test.origins} == {"test"}


def test_an_image_of_a_zip_is_known_by_its_name_there(tmp_path: Path) -> None:
    path = tmp_path / "photos.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder(tmp_path / "photos").rglob("*.png")):
            archive.write(file, file.relative_to(tmp_path / "photos").as_posix())
    assert "dogs/img3.png" in origins(CustomData("image-folder", path).read())


def test_the_pixels_of_each_image_stand_beside_its_own_origin(tmp_path: Path) -> None:
    raw = CustomData("image-folder", folder(tmp_path / "photos")).read()
    for part in (raw.train, raw.test):
        for pixels, origin in zip(part.contents, part.origins or [], strict=True):
            with Image.open(tmp_path / "photos" / origin) as image:
                assert np.array_equal(pixels[..., 0], np.asarray(image))


def test_a_row_of_csv_is_known_by_the_line_of_the_file_where_it_begins(tmp_path: Path) -> None:
    path = tmp_path / "reviews.csv"
    rows = [f"{label},{text}" for text, label in zip(TEXTS, LABELS, strict=True)]
    rows[2] = 'pos,"two\nlines"'
    path.write_text("label,text\n" + "\n\n".join(rows) + "\n", encoding="utf-8")
    lines = path.read_text(encoding="utf-8").splitlines()
    for text, origin in by_text(table(path)).items():
        name, _, line = origin.partition(":")
        assert name == "reviews.csv"
        assert text.split("\n")[0] in lines[int(line) - 1]


def test_an_object_of_json_lines_is_known_by_its_line_blank_ones_counted(tmp_path: Path) -> None:
    path = tmp_path / "reviews.jsonl"
    objects = [json.dumps({"text": text, "label": label}) for text, label in zip(TEXTS, LABELS, strict=True)]
    path.write_text("\n".join([objects[0], "", "  ", *objects[1:]]), encoding="utf-8")
    found = by_text(table(path))
    assert found[TEXTS[0]] == "reviews.jsonl:1"
    assert found[TEXTS[1]] == "reviews.jsonl:4"


@pytest.mark.parametrize("name", ["reviews.json", "reviews.parquet"])
def test_a_member_of_an_array_and_a_row_of_parquet_are_counted_from_1(tmp_path: Path, name: str) -> None:
    frame = pd.DataFrame({"text": TEXTS, "label": LABELS})
    path = tmp_path / name
    frame.to_json(path, orient="records") if name.endswith("json") else frame.to_parquet(path)
    found = by_text(table(path))
    assert [found[text] for text in TEXTS] == [f"{name}:{row}" for row in range(1, 9)]


def test_packed_tables_count_the_lines_that_are_in_them(tmp_path: Path) -> None:
    path = tmp_path / "reviews.csv.gz"
    rows = "".join(f"{text},{label}\n" for text, label in zip(TEXTS, LABELS, strict=True))
    path.write_bytes(gzip.compress(f"text,label\n{rows}".encode()))
    assert by_text(table(path))[TEXTS[3]] == "reviews.csv.gz:5"


def test_a_row_of_a_hugging_face_folder_is_known_by_file_and_row(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    frame = pd.DataFrame({"text": TEXTS, "label": LABELS})
    frame[:4].to_parquet(tmp_path / "data" / "train-00000-of-00002.parquet")
    frame[4:].to_parquet(tmp_path / "data" / "train-00001-of-00002.parquet")
    found = by_text(CustomData("hf-dataset", tmp_path, label="label", text="text").read())
    assert found[TEXTS[1]] == "data/train-00000-of-00002.parquet:2"
    assert found[TEXTS[5]] == "data/train-00001-of-00002.parquet:2"


def test_an_element_of_an_array_is_known_by_its_number_there_from_0(tmp_path: Path) -> None:
    path = tmp_path / "digits.npz"
    labels = np.arange(8) % 2
    np.savez(path, images=np.arange(8 * 4, dtype=np.uint8).reshape(8, 2, 2), labels=labels)
    raw = CustomData("image-arrays", path).read()
    assert origins(raw) == [f"digits.npz:labels[{row}]" for row in range(8)]
    for pixels, origin in zip(raw.train.contents, raw.train.origins or [], strict=True):
        assert pixels.ravel()[0] == 4 * int(origin.split("[")[1].rstrip("]"))


def test_origins_tell_nothing_of_the_machine(tmp_path: Path) -> None:
    for prefix, n in (("train", 6), ("t10k", 4)):
        header = bytes((0, 0, 8, 3)) + np.array([n, 2, 2], ">u4").tobytes()
        (tmp_path / f"{prefix}-images-idx3-ubyte").write_bytes(header + bytes(range(4 * n)))
        header = bytes((0, 0, 8, 1)) + np.array([n], ">u4").tobytes()
        (tmp_path / f"{prefix}-labels-idx1-ubyte").write_bytes(header + bytes(row % 2 for row in range(n)))
    raw = CustomData("image-arrays", tmp_path).read()
    assert raw.train.origins == [f"train-labels-idx1-ubyte[{row}]" for row in range(6)]
    assert raw.test.origins == [f"t10k-labels-idx1-ubyte[{row}]" for row in range(4)]


def test_a_name_that_is_no_utf_8_is_shown_with_its_bytes_written_out(tmp_path: Path) -> None:
    folder(tmp_path / "photos")
    os.rename(
        os.fsencode(tmp_path / "photos" / "cats" / "img0.png"), os.fsencode(tmp_path / "photos" / "cats") + b"/\xff.png"
    )
    found = origins(CustomData("image-folder", tmp_path / "photos").read())
    assert "cats/\\xff.png" in found
    "".join(found).encode()


def test_drawn_examples_keep_their_origins(tmp_path: Path) -> None:
    path = tmp_path / "reviews.csv"
    rows = [f"{text} {number},{label}\n" for number in range(5) for text, label in zip(TEXTS, LABELS, strict=True)]
    path.write_text("text,label\n" + "".join(rows), encoding="utf-8")
    lines = path.read_text(encoding="utf-8").splitlines()
    for text, origin in by_text(sampled(table(path), 6, 4)).items():
        assert lines[int(origin.split(":")[1]) - 1].startswith(text)


def test_the_fingerprint_of_the_data_does_not_depend_on_where_they_came_from(tmp_path: Path) -> None:
    frame = pd.DataFrame({"text": TEXTS, "label": LABELS})
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_json(tmp_path / "b.jsonl", orient="records", lines=True)
    first, second = prepare(table(tmp_path / "a.csv")), prepare(table(tmp_path / "b.jsonl"))
    assert first.train.origins != second.train.origins
    assert first.fingerprint() == second.fingerprint()


# --- a run ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def built(table_desk: Path) -> tuple[Path, list[str]]:
    """A run of a table of reviews, and the lines of that table."""
    return table_desk / "runs" / "own", (table_desk / "reviews.csv").read_text(encoding="utf-8").splitlines()


@pytest.fixture(scope="module")
def run(built: tuple[Path, list[str]]) -> Iterator[Run]:
    with open_run(built[0]) as opened:
        yield opened


def command(*words: object) -> str:
    result = CliRunner().invoke(cli, list(map(str, words)))
    assert result.exit_code == 0, result.output
    return result.stdout


def test_every_example_of_a_run_is_found_in_the_file(run: Run, built: tuple[Path, list[str]]) -> None:
    for split in ("train", "test"):
        for example in read_examples(run, split, range(len(run.origins(split)))):
            assert example.origin is not None
            name, _, line = example.origin.partition(":")
            assert (name, built[1][int(line) - 1]) == ("reviews.csv", f"{example.label_name},{example.text}")
    assert run.sql("SELECT count(DISTINCT origin) AS n FROM examples").fetchall() == [(60,)]


def test_tables_of_a_run_name_origins(run: Run) -> None:
    origins = run.origins("train")
    for table in (run.proponents(0, 5), run.opponents(0, 5)):
        assert table["origin"].tolist() == [origins[idx] for idx in table["train_idx"]]
    explained = explanation_table(explain(run, overview(run), 0))
    assert explained["origin"].tolist() == [origins[idx] for idx in explained["train_idx"]]
    item = training_item_table(training_item(run, 3))
    assert set(item["train_origin"]) == {origins[3]}
    assert item["test_origin"].tolist() == [run.origins("test")[idx] for idx in item["test_idx"]]


def test_exported_tables_name_origins(run: Run, tmp_path: Path) -> None:
    origins = {"train": run.origins("train"), "test": run.origins("test")}
    export_table(run, "top", tmp_path / "top.csv", k=3)
    top = pd.read_csv(tmp_path / "top.csv")
    assert top["test_origin"].tolist() == [origins["test"][idx] for idx in top["test_idx"]]
    assert top["train_origin"].tolist() == [origins["train"][idx] for idx in top["train_idx"]]
    n_rows = export_table(run, "suspects", tmp_path / "suspects.csv")
    suspects = pd.read_csv(tmp_path / "suspects.csv")
    assert len(suspects) == n_rows == run.rows("SELECT count(*) FROM suspects WHERE split = 'train'")[0][0]
    assert suspects["origin"].tolist() == [origins["train"][idx] for idx in suspects["train_idx"]]
    names = [run.info.class_names[label] for label in suspects["suggested_label"]]
    assert suspects["suggested_label_name"].tolist() == names


def test_commands_name_origins(built: tuple[Path, list[str]], run: Run, tmp_path: Path) -> None:
    printed = command("suspects", built[0], "--first", 4)
    facts = json.loads(command("suspects", built[0], "--first", 4, "--json"))
    for suspect in facts["suspects"]:
        assert suspect["origin"] == run.origins("train")[suspect["train_idx"]]
        assert suspect["origin"] in printed
    command("labels", built[0], tmp_path / "labels.csv")
    assert pd.read_csv(tmp_path / "labels.csv")["origin"].tolist() == run.origins("train")


@pytest.mark.parametrize("columns", ["origin,new_label", "origin,new_label_name", "train_idx,new_label"])
def test_a_file_of_labels_may_name_examples_by_origin_and_classes_by_name(
    run: Run, tmp_path: Path, columns: str
) -> None:
    names, labels = run.info.class_names, run.train_labels
    which = {idx: run.origins("train")[idx] if columns.startswith("origin") else idx for idx in (2, 5, 6)}
    other = [names[1 - labels[idx]] for idx in (2, 5)]
    file = tmp_path / "fix.csv"
    file.write_text(f"{columns}\n{which[2]},{other[0]}\n{which[5]}, {other[1]} \n{which[6]},\n", encoding="utf-8")
    found = read_label_file(run, file)
    assert found.relabelled == ((2, 1 - labels[2]), (5, 1 - labels[5]))
    assert found.excluded == (6,)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("origin,new_label\nreviews.csv:999,pos\n", "no train example came from there"),
        ("origin,new_label\n,pos\n", "no train example came from there"),
        ("origin,new_label\n{0},good\n", "new_label is 'good'; give the number of a class"),
        ("origin,new_label\n{0},pos\n{0},neg\n", "was given on line 2 already"),
        ("train_idx,origin,new_label\n1,{0},pos\n", "the file belongs to another run"),
    ],
)
def test_a_row_that_is_not_found_is_refused_with_its_line(run: Run, tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "fix.csv"
    file.write_text(text.format(run.origins("train")[0]), encoding="utf-8")
    with pytest.raises(InvalidDataError, match=f"line [23]: .*{words}"):
        read_label_file(run, file)


def test_an_origin_that_two_examples_share_is_not_guessed_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAK_RUNS_DIR", str(tmp_path / "runs"))
    part = RawSplit([f"text {i}" for i in range(8)], np.arange(8) % 2, ["a.csv:1", "a.csv:1", *"bcdefg"])
    raw = RawData("made", "text", ("neg", "pos"), part, part)
    path = import_scores(np.eye(8), raw, "twice", sign="as-is", orientation="test-by-train").path
    (tmp_path / "fix.csv").write_text("origin,new_label\na.csv:1,pos\n", encoding="utf-8")
    with open_run(path) as opened, pytest.raises(InvalidDataError, match="train examples 0, 1 came from there"):
        read_label_file(opened, tmp_path / "fix.csv")
