"""Cleaned labels come back in the form in which the data came, and differ in what was mended and nothing else."""

import csv
import errno
import gzip
import io
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from PIL import Image

from trak_core.__main__ import cli
from trak_core.datasets.custom_data import CustomData
from trak_core.errors import InvalidSettingError, NotInRunError, StorageError
from trak_core.exchange.cleaned import Cleaning, Mended, clean
from trak_core.exchange.cleaned_data import cleaned_by_review, mend_in_place, write_cleaned
from trak_core.exchange.cleaned_table import write_cleaned_table
from trak_core.exchange.importing import import_scores
from trak_core.exchange.label_places import json_array_places, mended
from trak_core.exchange.moves import moves_of
from trak_core.exchange.source_again import SourceAgain
from trak_core.modalities import RawData, RawSplit
from trak_core.store.retrainings import Corrections
from trak_core.store.reviews import Reviews
from trak_core.store.run import open_run
from trak_core.views.review import data_fingerprint

N = 60
TEXTS = [f'a "fine" film, no. {i}' if i % 3 else f"scène {i}; dull" for i in range(N)]
LABELS = [("pos", "neg", "so, so")[i % 3] for i in range(N)]


def csv_text(**dialect: Any) -> str:
    file = io.StringIO(newline="")
    csv.writer(file, **dialect).writerows([("id", "label", "text"), *zip(range(N), LABELS, TEXTS, strict=True)])
    return file.getvalue()


def r_text() -> str:
    """As `write.table` of R writes it, with names of rows."""
    rows = [(f'"{i}"', label, text) for i, (label, text) in enumerate(zip(LABELS, TEXTS, strict=True))]
    quoted = (f'{name} "{label}" "{escaped(text)}"' for name, label, text in rows)
    return "\n".join(['"label" "text"', *quoted]) + "\n"


def escaped(text: str) -> str:
    return text.replace('"', '\\"')


TABLES: dict[str, Callable[[Path], object]] = {
    "plain.csv": lambda path: path.write_text(csv_text(), encoding="utf-8", newline=""),
    "quoted.csv": lambda path: path.write_text(csv_text(quoting=csv.QUOTE_ALL), encoding="utf-8", newline=""),
    "semicolon.csv": lambda path: path.write_bytes(csv_text(delimiter=";", lineterminator="\n").encode("cp1252")),
    "tabs.tsv": lambda path: path.write_bytes(csv_text(delimiter="\t").encode("utf-16")),
    "marked.csv": lambda path: path.write_bytes(csv_text(lineterminator="\n").encode("utf-8-sig")),
    "packed.csv.gz": lambda path: path.write_bytes(gzip.compress(csv_text().encode())),
    "backslash.csv": lambda path: path.write_text(
        csv_text(quoting=csv.QUOTE_ALL, doublequote=False, escapechar="\\"), encoding="utf-8", newline=""
    ),
    "single.csv": lambda path: path.write_text(
        csv_text(quotechar="'", quoting=csv.QUOTE_ALL).replace("'id','label','text'", "id,label,text"), encoding="utf-8"
    ),
    "sep.csv": lambda path: path.write_text("sep=;\r\n" + csv_text(delimiter=";"), encoding="utf-8", newline=""),
    "comment.csv": lambda path: path.write_text("# from a form\n\n" + csv_text(), encoding="utf-8", newline=""),
    "around.csv": lambda path: path.write_text(
        "# from a form\n" + csv_text(quoting=csv.QUOTE_ALL).replace('","', '" , "'), encoding="utf-8", newline=""
    ),
    "r.txt": lambda path: path.write_text(r_text(), encoding="utf-8", newline=""),
    "ends.csv": lambda path: path.write_text(csv_text().replace("\r\n", ",\r\n"), encoding="utf-8", newline=""),
    "comment-header.csv": lambda path: path.write_text("# " + csv_text(), encoding="utf-8", newline=""),
    "blank.csv": lambda path: path.write_text(csv_text().replace("\n", "\n\n"), encoding="utf-8", newline=""),
    "no-end.csv": lambda path: path.write_text(csv_text().rstrip(), encoding="utf-8", newline=""),
    "lines.jsonl": lambda path: path.write_text(
        "".join(f'{{"label" :{json.dumps(label)},"n":{i}.50,  "text": {json.dumps(text, ensure_ascii=i % 2 == 0)}}}\n'
        + "\n" * (i % 7 == 0) for i, (label, text) in enumerate(zip(LABELS, TEXTS, strict=True))), encoding="utf-8",
    ),
    "array.json": lambda path: frame().to_json(path, orient="records", indent=1),
    "flat.json": lambda path: frame().to_json(path, orient="records", force_ascii=False),
    "pandas.parquet": lambda path: frame().to_parquet(path),
    "kinds.parquet": lambda path: pq.write_table(
        pa.table(
            {"text": pa.array(TEXTS, pa.large_string()), "label": pa.array(LABELS).dictionary_encode(),
             "when": pa.array(range(N), pa.timestamp("us", "UTC")), "more": [[i, None] for i in range(N)]},
            metadata={b"made by": b"a test"}), path, row_group_size=25, compression="zstd"),
}  # fmt: skip


def frame() -> pd.DataFrame:
    return pd.DataFrame({"id": range(N), "label": LABELS, "text": TEXTS, "score": [i / 7 for i in range(N)]})


def data_at(path: Path) -> CustomData:
    encoding = "cp1252" if path.name.endswith("semicolon.csv") else None
    return CustomData("table", path, text="text", label="label", encoding=encoding)


def planned(data: CustomData, n: int, n_left_out: int = 0) -> tuple[Cleaning, dict[str, str | None]]:
    """As if the first labels had been found wrong; and the new label by the row's place, None for what is left out."""
    raw = data.read()
    classes = {
        origin: raw.class_names[label]
        for part in (raw.test, raw.train)
        for origin, label in zip(part.origins or (), part.labels.tolist(), strict=True)
    }
    mended = [
        Mended(idx, origin, classes[origin], raw.class_names[(label + 1) % 3] if idx < n else None)
        for idx, (origin, label) in enumerate(zip(raw.train.origins or (), raw.train.labels.tolist(), strict=True))
    ][: n + n_left_out]
    said = {one.origin.rpartition(":")[2]: one.new_label for one in mended}
    return Cleaning("own", SourceAgain(data, raw, classes), tuple(mended)), said


def rows_of(path: Path) -> list[tuple[str, tuple[str, str]]]:
    """The place of every row in the file, with its text and its label; in the order of the file."""
    raw = data_at(path).read()
    found = [
        (origin.rpartition(":")[2], (text, raw.class_names[label]))
        for part in (raw.train, raw.test)
        for origin, text, label in zip(part.origins or (), part.contents, part.labels.tolist(), strict=True)
    ]
    return sorted(found, key=lambda row: int(row[0]))


def lines_of(path: Path) -> list[bytes]:
    content = path.read_bytes()
    return (gzip.decompress(content) if path.suffix == ".gz" else content).splitlines(keepends=True)


@pytest.mark.parametrize("name", TABLES)
def test_a_table_comes_back_with_the_mended_labels_and_nothing_else_changed(tmp_path: Path, name: str) -> None:
    path, to = tmp_path / name, tmp_path / f"cleaned-{name}"
    TABLES[name](path)
    before = path.read_bytes()
    plan, said = planned(data_at(path), 20)
    write_cleaned_table(plan, to)
    assert path.read_bytes() == before
    expected = [(row, (text, said.get(row, label))) for row, (text, label) in rows_of(path)]
    assert rows_of(to) == expected
    if path.suffix == ".parquet":
        first, second = pq.read_table(path), pq.read_table(to)
        assert second.schema.equals(first.schema, check_metadata=True)
        assert second.drop_columns(["label"]).equals(first.drop_columns(["label"]))
        return
    pairs = enumerate(zip(lines_of(path), lines_of(to), strict=True), start=1)
    changed = [str(number) for number, (old, new) in pairs if old != new]
    if path.suffix in (".json", ".tsv"):  # an array counts its members, and UTF-16 has its own line ends
        assert len(changed) in (1, 20)
    else:
        assert changed == sorted(said, key=int)


@pytest.mark.parametrize("name", TABLES)
def test_rows_that_are_excluded_are_left_out_and_all_others_stay(tmp_path: Path, name: str) -> None:
    path, to = tmp_path / name, tmp_path / f"cleaned-{name}"
    TABLES[name](path)
    plan, said = planned(data_at(path), 5, 6)
    write_cleaned_table(plan, to)
    expected = [(text, said.get(row, label)) for row, (text, label) in rows_of(path)]
    assert [row for _, row in rows_of(to)] == [row for row in expected if row[1] is not None]
    if path.suffix not in (".json", ".tsv", ".parquet"):
        kept = [line for number, line in enumerate(lines_of(path), start=1) if said.get(str(number), "") is not None]
        assert sum(old != new for old, new in zip(kept, lines_of(to), strict=True)) == 5


# --- folders ------------------------------------------------------------------------------------------------------


def picture(path: Path, level: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 4), level, dtype=np.uint8)).save(path)


def photos(root: Path, layout: str = "{label}/{name}", n: int = 12) -> Path:
    """A folder with images of cats, dogs and birds, each with a name and a grey of its own."""
    for number in range(3 * n):
        label = ("bird", "cat", "dog")[number % 3]
        split = "train" if number < 2 * n else "test"
        picture(root / layout.format(label=label, split=split, name=f"{number}.png"), 4 * number)
    return root


def planned_folder(path: Path, n: int, n_left_out: int = 0) -> Cleaning:
    return planned(CustomData("image-folder", path), n, n_left_out)[0]


def greys(path: Path) -> dict[int, str]:
    """Where each image lies, by its grey."""
    found = {}
    for file in sorted(path.rglob("*.png")):
        with Image.open(file) as image:
            found[image.getpixel((0, 0))] = file.relative_to(path).as_posix()
    return found


@pytest.mark.parametrize(
    "layout",
    ["{label}/{name}", "{split}/{label}/{name}", "photos/{split}/{label}/{name}", "{label}/images/{name}"],
)
def test_a_folder_comes_back_as_a_copy_with_the_mended_images_moved(tmp_path: Path, layout: str) -> None:
    path, to = photos(tmp_path / "photos", layout), tmp_path / "cleaned"
    (path / "notes.txt").write_text("kept")
    before, plan = greys(path), planned_folder(path, 5, 2)
    write_cleaned(plan, to)
    assert greys(path) == before
    new = {one.origin: one for one in plan.mended}
    after = {
        grey: where if where not in new else where.replace(new[where].label, new[where].new_label or "", 1)
        for grey, where in before.items()
        if where not in new or new[where].new_label is not None
    }
    assert greys(to) == after
    assert (to / "notes.txt").read_text() == "kept"
    assert CustomData("image-folder", to).read().class_names == ("bird", "cat", "dog")


def test_images_move_in_their_folder_when_asked_and_those_left_out_go_beside_it(tmp_path: Path) -> None:
    path = photos(tmp_path / "photos")
    before, plan = greys(path), planned_folder(path, 3, 2)
    moved = {move.source: move.target or move.source for move in moves_of(plan)}
    assert mend_in_place(plan) == tmp_path / "photos-excluded"
    assert {**greys(path), **greys(tmp_path / "photos-excluded")} == {
        grey: moved.get(where, where) for grey, where in before.items()
    }
    assert sorted(one.name for one in path.iterdir()) == ["bird", "cat", "dog"]


def test_a_name_that_is_taken_becomes_another_and_that_is_said(tmp_path: Path) -> None:
    for number, label in enumerate(("cat", "dog")):
        for name in range(6):
            picture(tmp_path / "photos" / label / f"{name}.png", 10 * name + number)
    picture(tmp_path / "photos" / "dog" / "0-2.png", 200)
    plan = planned_pair(tmp_path / "photos", {"cat/0.png": "dog"})
    (move,) = moves_of(plan)
    assert (move.target, move.is_renamed) == ("dog/0-3.png", True)
    write_cleaned(plan, tmp_path / "cleaned")
    assert greys(tmp_path / "cleaned") == {**greys(tmp_path / "photos"), 0: "dog/0-3.png"}


def test_two_images_can_change_places(tmp_path: Path) -> None:
    for number, label in enumerate(("cat", "dog")):
        for name in range(6):
            picture(tmp_path / "photos" / label / f"{name}.png", 10 * name + number)
    before = greys(tmp_path / "photos")
    plan = planned_pair(tmp_path / "photos", {"cat/0.png": "dog", "dog/0.png": "cat"})
    write_cleaned(plan, tmp_path / "cleaned")
    mend_in_place(plan)
    for path in (tmp_path / "cleaned", tmp_path / "photos"):
        assert greys(path) == {**before, 0: "dog/0.png", 1: "cat/0.png"}


def planned_pair(path: Path, new: dict[str, str]) -> Cleaning:
    plan = planned_folder(path, 0)
    mended = [
        Mended(idx, origin, plan.source.classes[origin], label) for idx, (origin, label) in enumerate(new.items())
    ]
    return Cleaning("own", plan.source, tuple(mended))


def test_a_zip_comes_back_as_a_zip(tmp_path: Path) -> None:
    folder, path, to = photos(tmp_path / "photos"), tmp_path / "photos.zip", tmp_path / "cleaned.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*.png")):
            archive.write(file, file.relative_to(folder))
    plan = planned_folder(path, 4, 1)
    with pytest.raises(InvalidSettingError, match="so is what is written"):
        write_cleaned(plan, tmp_path / "cleaned")
    write_cleaned(plan, to)
    moved = {move.source: move.target for move in moves_of(plan)}
    with zipfile.ZipFile(path) as first, zipfile.ZipFile(to) as second:
        expected = {moved.get(name, name): first.read(name) for name in first.namelist()}
        assert {name: second.read(name) for name in second.namelist()} == {
            name: content for name, content in expected.items() if name is not None
        }


def test_names_that_are_no_utf_8_stay_what_they_are(tmp_path: Path) -> None:
    path = photos(tmp_path / "photos")
    os.rename(path / "cat", os.fsencode(path) + b"/c\xe9t")
    os.rename(path / "bird" / "0.png", os.fsencode(path / "bird") + b"/\xff.png")
    plan = planned_pair(path, {"bird/\\xff.png": "c\\xe9t"})
    write_cleaned(plan, tmp_path / "cleaned")
    assert os.path.exists(os.fsencode(tmp_path / "cleaned") + b"/c\xe9t/\xff.png")
    mend_in_place(plan)
    assert os.path.exists(os.fsencode(path) + b"/c\xe9t/\xff.png")


@pytest.mark.parametrize("file", ["metadata.csv", "metadata.jsonl", "train.csv"])
def test_labels_in_a_table_beside_images_are_mended_there(tmp_path: Path, file: str) -> None:
    path, to = photos(tmp_path / "photos", "images/{name}"), tmp_path / f"cleaned{Path(file).suffix}"
    rows = [(f"{number}.png", ("bird", "cat", "dog")[number % 3]) for number in range(36)]
    if file.endswith("jsonl"):
        lines = [json.dumps({"file_name": name, "label": label}) for name, label in rows]
    else:
        lines = ["id,label,by"] + [f'{name.removesuffix(".png")},"{label}",me' for name, label in rows]
    (path / file).write_text("\n".join(lines), encoding="utf-8")
    plan = planned_folder(path, 6, 2)
    assert plan.form == "table"
    assert plan.path == path / file
    write_cleaned(plan, to)
    new = {Path(one.origin).stem: one.new_label for one in plan.mended}
    old = dict((Path(name).stem, label) for name, label in rows)
    expected = [
        line.replace(old[number], new.get(number) or old[number])
        for line, number in zip(lines[-36:], map(str, range(36)), strict=True)
        if new.get(number, "") is not None
    ]
    assert to.read_text(encoding="utf-8").splitlines()[-34:] == expected
    assert CustomData("image-folder", path, labels=to).read().class_names == ("bird", "cat", "dog")


def test_folders_named_after_class_and_split_are_told_apart(tmp_path: Path) -> None:
    path = photos(tmp_path / "photos", "{label}_{split}/{name}")
    plan = planned_folder(path, 3)
    assert [move.target for move in moves_of(plan)] == [
        one.origin.replace("bird_train", f"{one.new_label}_train") for one in plan.mended
    ]


def test_folders_may_bear_the_number_of_a_class(tmp_path: Path) -> None:
    path = photos(tmp_path / "photos", "train/{label}/{name}")
    numbers = {"bird": "n01503061", "cat": "n02121620", "dog": "n02084071"}
    for label, number in numbers.items():
        (path / "train" / label).rename(path / "train" / number)
    (path / "words.txt").write_text("".join(f"{number}\t{label}\n" for label, number in numbers.items()))
    plan = planned_folder(path, 3)
    assert {one.label for one in plan.mended} == {"bird"}
    assert {str(move.target).split("/")[1] for move in moves_of(plan)} == {numbers[str(plan.mended[0].new_label)]}


@pytest.mark.parametrize(
    ("to", "words"),
    [
        ("there", "is there already and was not changed"),
        ("no/folder", "there is no folder"),
        ("photos/cleaned", "lies in the folder that is copied"),
    ],
)
def test_a_copy_that_cannot_be_is_refused(tmp_path: Path, to: str, words: str) -> None:
    (tmp_path / "there").mkdir()
    path = photos(tmp_path / "photos")
    with pytest.raises(InvalidSettingError, match=words):
        write_cleaned(planned_folder(path, 2), tmp_path / to)
    assert not list((tmp_path / "there").iterdir())


def test_a_full_disk_leaves_no_half_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = photos(tmp_path / "photos")
    plan = planned_folder(path, 2)
    monkeypatch.setattr(shutil, "copy2", full)
    with pytest.raises(StorageError, match="the disk is full"):
        write_cleaned(plan, tmp_path / "cleaned")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["photos"]


def test_images_that_cannot_be_moved_are_all_where_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = photos(tmp_path / "photos")
    before, plan, rename, n_left = greys(path), planned_folder(path, 5), Path.rename, 3

    def failing(source: Path, target: Path) -> Path:
        nonlocal n_left
        n_left -= 1
        if n_left == 0:
            raise OSError(errno.EACCES, "Permission denied")
        return rename(source, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(StorageError, match="not permitted"):
        mend_in_place(plan)
    assert greys(path) == before


def test_labels_that_are_no_folders_are_not_mended_by_moves(tmp_path: Path) -> None:
    plan = planned_folder(photos(tmp_path / "photos"), 2)
    raw = plan.source.raw
    odd = replace(raw, train=replace(raw.train, labels=np.arange(len(raw.train)) % 3))
    with pytest.raises(NotInRunError, match="do not stand in the names of their folders"):
        moves_of(replace(plan, source=replace(plan.source, raw=odd)))


@pytest.mark.parametrize("left_out", [[1, 2], [2, 3], [3], [1, 3], [1]])
def test_an_array_of_few_stays_one_whatever_is_left_out(tmp_path: Path, left_out: list[int]) -> None:
    text = '[ {"label":"a", "text":"1"} ,\n{"label":"b","text":"2"},{"text":"3" ,"label":"a"}\n]\n'
    new = mended(text, json_array_places(text, "label"), {}, left_out, in_array=True)
    kept = [row for number, row in enumerate(json.loads(text), start=1) if number not in left_out]
    assert json.loads(new) == kept


def test_labels_are_written_as_the_data_write_them(tmp_path: Path) -> None:
    rows = [{"text": text, "label": label} for text, label in zip(TEXTS, [0, 1, True] * (N // 3), strict=True)]
    path, to = tmp_path / "numbers.jsonl", tmp_path / "cleaned.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    plan, _ = planned(data_at(path), 20)
    write_cleaned_table(plan, to)
    found = [json.loads(line)["label"] for line in to.read_text("utf-8").splitlines()]
    assert {json.dumps(label) for label in found} == {"0", "1", "true"}
    assert sum(json.dumps(label) != json.dumps(row["label"]) for label, row in zip(found, rows, strict=True)) == 20


# --- runs ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRAK_RUNS_DIR", str(tmp_path / "runs"))
    return tmp_path / "runs"


def run_of(data: CustomData, n: int = 0, n_left_out: int = 0) -> tuple[Path, dict[str, str | None]]:
    """A run of these data, whose review found the first labels wrong; and the new label by origin."""
    raw = data.read()
    scores = np.random.default_rng(0).normal(size=(len(raw.test), len(raw.train))).astype(np.float32)
    path = import_scores(scores, raw, "own", sign="as-is", orientation="test-by-train").path
    said: dict[str, str | None] = {}
    with open_run(path) as run:
        reviews, names, origins = Reviews(path, data_fingerprint(run)), run.info.class_names, run.origins("train")
        for idx in range(n + n_left_out):
            new = (run.label("train", idx) + 1) % len(names)
            reviews.record(idx, *(("relabel", "me", new) if idx < n else ("exclude", "me")))  # type: ignore[arg-type]
            said[str(origins[idx])] = names[new] if idx < n else None
    return path, said


def command(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(cli, list(map(str, words)))
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, result.output


def labels_in(data: CustomData) -> dict[str, str]:
    """The class of every example by where it is in the file, or by its file's name where it is an image."""
    raw = data.read()
    return {
        origin.rpartition(":")[2] if ":" in origin else origin.rpartition("/")[2]: raw.class_names[label]
        for part in (raw.train, raw.test)
        for origin, label in zip(part.origins or (), part.labels.tolist(), strict=True)
    }


@pytest.mark.parametrize("name", ["photos", "plain.csv", "lines.jsonl", "kinds.parquet"])
def test_twenty_labels_mended_in_the_review_are_mended_in_the_data_and_nothing_else(
    runs: Path, tmp_path: Path, name: str
) -> None:
    path, to = tmp_path / name, tmp_path / f"cleaned-{name}"
    if name == "photos":
        data = CustomData("image-folder", photos(path, n=20))
    else:
        TABLES[name](path)
        data = data_at(path)
    run_dir, said = run_of(data, 20)
    status, printed = command("cleaned", run_dir)
    assert status == 0 and not to.exists()
    assert all(origin in printed for origin in said)
    assert command("cleaned", run_dir, "--to", to, "--apply")[0] == 0
    before = labels_in(data)
    new = {origin.rpartition(":")[2].rpartition("/")[2]: label for origin, label in said.items()}
    after = labels_in(CustomData(data.kind, to, **data.options))
    assert after == before | new
    assert sum(after[row] != label for row, label in before.items()) == 20
    words = [word for key, value in data.options.items() for word in (f"--{key}", value)]
    assert command("check", data.kind, to, *words)[0] == 0


def test_moves_can_be_written_as_a_table(runs: Path, tmp_path: Path) -> None:
    path = photos(tmp_path / "photos")
    run_dir, said = run_of(CustomData("image-folder", path), 3, 1)
    assert command("cleaned", run_dir, "--to", tmp_path / "moves.csv")[0] == 0
    table = pd.read_csv(tmp_path / "moves.csv")
    assert table["from"].tolist() == list(said)
    assert table["to"].isna().tolist() == [False, False, False, True]
    assert greys(path) == greys(photos(tmp_path / "again"))


def test_labels_cleaned_elsewhere_can_be_given(runs: Path, tmp_path: Path) -> None:
    TABLES["plain.csv"](tmp_path / "plain.csv")
    run_dir, _ = run_of(data_at(tmp_path / "plain.csv"))
    (tmp_path / "fix.csv").write_text("origin,new_label\nplain.csv:2,neg\n", encoding="utf-8")
    with open_run(run_dir) as run:
        is_train = "plain.csv:2" in run.origins("train")
    status, said = command("cleaned", run_dir, "--labels", tmp_path / "fix.csv", "--to", tmp_path / "new.csv")
    assert (status == 0) == is_train, said
    if is_train:
        assert labels_in(data_at(tmp_path / "new.csv"))["2"] == "neg"


def test_data_that_moved_are_found_where_they_are_said_to_be(runs: Path, tmp_path: Path) -> None:
    TABLES["plain.csv"](tmp_path / "plain.csv")
    run_dir, said = run_of(data_at(tmp_path / "plain.csv"), 2)
    (tmp_path / "plain.csv").rename(tmp_path / "moved.csv")
    status, printed = command("cleaned", run_dir, "--to", tmp_path / "new.csv")
    assert status == 2
    assert "are gone: there is no" in printed and "--source" in printed
    assert command("cleaned", run_dir, "--source", tmp_path / "moved.csv", "--to", tmp_path / "new.csv")[0] == 0
    after = labels_in(data_at(tmp_path / "new.csv"))
    assert [after[origin.rpartition(":")[2]] for origin in said] == list(said.values())


CHANGES: dict[str, Callable[[str], str]] = {
    "plain.csv:3 shows something else now": lambda text: text.replace('no. 1"', 'no. 1!"', 1),
    "is labelled 'neg' now and was labelled 'pos'": lambda text: text.replace("0,pos,", "0,neg,", 1),
    "more examples differ": lambda text: text.replace("text\r\n", "text\r\nnew,pos,one more\r\n", 1),
    "is not there any more": lambda text: text[: text.index("50,")],
}


def test_data_that_changed_under_a_run_are_told_in_one_sentence(runs: Path, tmp_path: Path) -> None:
    path = tmp_path / "plain.csv"
    TABLES["plain.csv"](path)
    run_dir, _ = run_of(data_at(path), 2)
    text = path.read_bytes().decode()
    for words, change in CHANGES.items():
        assert change(text) != text
        path.write_bytes(change(text).encode())
        status, printed = command("cleaned", run_dir, "--to", tmp_path / "new.csv")
        assert status == 2
        assert f"{path} changed since run 'own' was built" in printed and words in printed
        assert len(printed.strip().splitlines()) == 1
        assert not (tmp_path / "new.csv").exists()


def test_a_folder_that_changed_under_a_run_is_told_too(runs: Path, tmp_path: Path) -> None:
    path = photos(tmp_path / "photos")
    run_dir, _ = run_of(CustomData("image-folder", path), 2)
    dog = path / "dog" / "2.png"
    for change in (lambda: picture(dog, 255), dog.unlink, lambda: picture(path / "cat" / "2.png", 8)):
        change()
        status, printed = command("cleaned", run_dir, "--apply", "--in-place")
        assert status == 2
        assert "dog/2.png" in printed and "changed since run 'own' was built" in printed


def test_a_run_from_elsewhere_tells_no_path_and_asks_for_it(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    path = tmp_path / "secret" / "plain.csv"
    TABLES["plain.csv"](path)
    run_dir, _ = run_of(data_at(path), 2)
    assert command("export", run_dir, tmp_path / "run.zip")[0] == 0
    assert command("import", tmp_path / "run.zip", "--name", "theirs")[0] == 0
    with open_run(runs / "theirs") as run:
        assert "secret" not in json.dumps(run.info.provenance)
        assert run.info.provenance["data_source"]["paths"] == {"path": "plain.csv"}
    status, printed = command("cleaned", "theirs", "--to", tmp_path / "new.csv")
    assert status == 2
    assert "built from 'plain.csv' on another machine" in printed and "--source" in printed
    assert command("cleaned", "theirs", "--to", tmp_path / "new.csv", "--source", path)[0] == 0


REFUSED = (
    (["--to", "plain.csv"], "is there already and was not changed"),
    (["--to", "plain.csv", "--force"], "is the table that the run was built from"),
    (["--to", "new.tsv"], "name a file that ends in .csv"),
    (["--to", "no/new.csv"], "there is no folder"),
    (["--in-place"], "--in-place goes with --apply"),
    (["--apply", "--in-place"], "is a table, and is never written over"),
    (["--apply"], "give --to or --in-place"),
)


def test_what_cannot_be_written_is_refused_in_one_line(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    TABLES["plain.csv"](tmp_path / "plain.csv")
    before = (tmp_path / "plain.csv").read_bytes()
    run_dir, _ = run_of(data_at(Path("plain.csv")), 2)
    for words, said in REFUSED:
        status, printed = command("cleaned", run_dir, *words)
        assert status == 2
        assert said in printed
        assert (tmp_path / "plain.csv").read_bytes() == before


def test_a_full_disk_leaves_the_old_file_and_nothing_else(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    TABLES["plain.csv"](tmp_path / "plain.csv")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "new.csv").write_text("mine")
    run_dir, _ = run_of(data_at(tmp_path / "plain.csv"), 2)

    def full(path: Path, content: bytes) -> int:
        with path.open("wb") as file:
            file.write(content[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    status, printed = command("cleaned", run_dir, "--to", tmp_path / "out" / "new.csv", "--force")
    assert status == 1
    assert "the disk is full" in printed
    assert [one.name for one in (tmp_path / "out").iterdir()] == ["new.csv"]
    assert (tmp_path / "out" / "new.csv").read_text() == "mine"


def test_a_review_that_found_nothing_wrong_writes_nothing(runs: Path, tmp_path: Path) -> None:
    TABLES["plain.csv"](tmp_path / "plain.csv")
    run_dir, _ = run_of(data_at(tmp_path / "plain.csv"))
    status, printed = command("cleaned", run_dir, "--to", tmp_path / "new.csv")
    assert status == 2 and not (tmp_path / "new.csv").exists()
    assert "no label of run 'own' was changed and no example excluded, so there is nothing to write" in printed


@pytest.mark.parametrize("n", [1, 3])
def test_labels_that_the_data_have_right_already_are_said_to_be(runs: Path, tmp_path: Path, n: int) -> None:
    TABLES["plain.csv"](tmp_path / "plain.csv")
    run_dir, _ = run_of(data_at(tmp_path / "plain.csv"))
    with open_run(run_dir) as run:  # as after labels were made wrong in the run alone
        right = Corrections(tuple((idx, run.label("train", idx)) for idx in range(n)))
        with pytest.raises(
            InvalidSettingError, match=f"^{n} labels? of run 'own' w.* says already, so there is nothing"
        ):
            clean(run, right)


def test_a_run_that_does_not_know_its_data_says_so(runs: Path) -> None:
    labels = np.arange(30) % 2
    part = RawSplit([f"text {i}" for i in range(30)], labels)
    path = import_scores(np.eye(30), RawData("made", "text", ("a", "b"), part, part), "own", sign="as-is",
                         orientation="test-by-train").path  # fmt: skip
    with open_run(path) as run, pytest.raises(NotInRunError, match="does not know which files") as refused:
        cleaned_by_review(run)
    assert "`python -m trak_core labels own labels.csv`" in str(refused.value)
    assert "build it again" not in str(refused.value)


@pytest.mark.parametrize(
    ("recipe", "way"), [("subject", "labels own"), ("python", "labels own"), ("table", "build it")]
)
def test_what_can_be_done_without_the_data_goes_by_how_the_run_came_about(runs: Path, recipe: str, way: str) -> None:
    part = RawSplit([f"text {i}" for i in range(30)], np.arange(30) % 2)
    raw = RawData("made", "text", ("a", "b"), part, part)
    path = import_scores(np.eye(30), raw, "own", sign="as-is", orientation="test-by-train").path
    with duckdb.connect(str(path / "store.duckdb")) as connection:
        connection.execute("UPDATE meta SET value = ? WHERE key = 'recipe'", [json.dumps(recipe)])
    with open_run(path) as run, pytest.raises(NotInRunError, match=way):
        cleaned_by_review(run)
