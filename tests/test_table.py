"""Tables of texts: what is good is read as it was written; bad rows are left out by number, bad files refused."""

import csv
import gzip
import io
import json
import re
import subprocess
import sys
from encodings.aliases import aliases
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.benchmarks.label_subjects import DATA
from trak_core.datasets.class_labels import MAX_CLASSES, name_classes
from trak_core.datasets.csv_rows import read_csv_rows
from trak_core.datasets.placing import MAX_CHARACTERS
from trak_core.datasets.rows import Example
from trak_core.datasets.table import read_table
from trak_core.errors import EmptyDataError, InvalidDataError, InvalidSettingError, LabelError, TrakCoreError
from trak_core.modalities.raw import RawData, Skipped

ROOT = Path(__file__).resolve().parents[1]
# Ten good rows, alternating between two classes, with what makes CSV difficult.
TEXTS = (
    "plain",
    "with, a comma",
    'he said "no"',
    "two\nlines",
    "ünïcödé 漢字 🙂",
    "  blanks around  ",
    "semi; colon | bar",
    "a\ttab",
    "'single'",
    "0",
)
LABELS = ("pos", "neg") * 5


def csv_text(
    rows: list[tuple[Any, ...]], delimiter: str = ",", header: tuple[str, ...] = ("text", "label"), end: str = "\n"
) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter=delimiter, lineterminator=end)
    writer.writerows([header, *rows] if header else rows)
    return buffer.getvalue()


def good(n: int = 10) -> list[tuple[str, str]]:
    return [(f"text {number}", "pos" if number % 2 else "neg") for number in range(n)]


def put(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def packed(content: bytes) -> bytes:
    """The same bytes whenever it is packed: names of tests follow from them."""
    return gzip.compress(content, mtime=0)


def read(path: Path, **settings: Any) -> RawData:
    return read_table(path, **{"text": "text", "label": "label", **settings})


def rows_of(raw: RawData) -> list[tuple[str, str]]:
    """All texts with the names of their classes, sorted: what does not depend on the split."""
    return sorted(
        (text, raw.class_names[label])
        for split in (raw.train, raw.test)
        for text, label in zip(split.contents, split.labels, strict=True)
    )


def same(one: RawData, other: RawData) -> bool:
    return (
        one.class_names == other.class_names
        and one.train.contents == other.train.contents  # type: ignore[union-attr]
        and one.test.contents == other.test.contents  # type: ignore[union-attr]
        and one.train.labels.tolist() == other.train.labels.tolist()
        and one.test.labels.tolist() == other.test.labels.tolist()
    )


# --- what is good -----------------------------------------------------------------------------------------------


def test_all_kinds_of_tables_give_the_same_data(tmp_path):
    rows = list(zip(TEXTS, LABELS, strict=True))
    objects = [{"text": text, "label": label} for text, label in rows]
    plain = csv_text(rows)
    files = {
        "a.csv": plain,
        "windows.csv": plain.replace("\n", "\r\n").replace("two\r\nlines", "two\nlines"),
        "mixed.csv": plain.replace("pos\n", "pos\r\n"),
        "marked.csv": b"\xef\xbb\xbf" + plain.encode(),
        "sixteen.csv": plain.encode("utf-16"),
        "big.csv": plain.encode("utf-32"),
        "packed.csv.gz": gzip.compress(plain.encode()),
        "packed.csv": gzip.compress(plain.encode()),
        "semicolons.csv": csv_text(rows, ";"),
        "bars.txt": csv_text(rows, "|"),
        "tabs.tsv": csv_text(rows, "\t"),
        "tabs.csv": csv_text(rows, "\t"),
        "blank.csv": "\n\n" + plain.replace("\nplain", "\n\n\nplain") + "\n\n",
        "turned.csv": csv_text(
            [(n, label, text) for n, (text, label) in enumerate(rows)], ",", ("", "label", " text ")
        ),
        "a.jsonl": "\n".join(map(json.dumps, objects)),
        "spaced.ndjson": "\n\n".join(json.dumps(one, ensure_ascii=False) for one in objects) + "\n\n",
        "packed.jsonl.gz": gzip.compress("\n".join(map(json.dumps, objects)).encode()),
        "array.json": json.dumps(objects),
        "pretty.json": "\n\n" + json.dumps(objects, indent=2, ensure_ascii=False),
        "marked.jsonl": b"\xef\xbb\xbf" + "\n".join(map(json.dumps, objects)).encode(),
    }
    expected = read(put(tmp_path, "expected.csv", plain))
    assert rows_of(expected) == sorted(rows)
    assert expected.class_names == ("neg", "pos") and not expected.skipped
    for name, content in files.items():
        found = read(put(tmp_path, name, content))
        assert same(found, expected) and not found.skipped, name
    table = pa.table({"label": pa.array(LABELS).dictionary_encode(), "text": TEXTS, "more": [[1]] * 10})
    pq.write_table(table, tmp_path / "a.parquet")
    assert same(read(tmp_path / "a.parquet"), expected)


def test_a_table_is_called_as_its_file_and_is_the_same_each_time(tmp_path):
    path = put(tmp_path, "my.reviews.csv.gz", gzip.compress(csv_text(good(50)).encode()))
    assert read(path).name == "my.reviews"
    assert same(read(path), read(path))
    assert not same(read(path), read(path, seed=1))


def test_file_names_that_look_like_patterns_are_read_as_they_are(tmp_path):
    lines = "\n".join(json.dumps({"text": text, "label": label}) for text, label in good())
    put(tmp_path, "a1.jsonl", "{}")
    for name in ("a[1].jsonl", "it's *new*?.jsonl"):
        assert len(rows_of(read(put(tmp_path, name, lines)))) == 10


# What the oracle reads otherwise on purpose: it takes an unquoted empty field and "" for the same NULL as we do, but
# cannot hold a NUL or a lone surrogate, and a single column's empty line is a row to it.
words = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.tuples(words, words, words), min_size=1, max_size=20), st.sampled_from(",;\t|"))
def test_what_a_writer_of_csv_writes_comes_back_as_it_was_and_as_duckdb_reads_it(tmp_path_factory, rows, delimiter):
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    path.write_text(csv_text(rows, delimiter, ("a", "b", "c"), "\r\n"), encoding="utf-8", newline="")
    found = read_csv_rows(path, ["c", "a"], delimiter=delimiter)
    assert [(item.content, item.label) for item in found.items if isinstance(item, Example)] == [
        (c, a) for a, _, c in rows
    ]
    assert not found.notes

    options = "header = true, auto_detect = false, delim = $delimiter, quote = '\"', escape = '\"'"
    query = f"SELECT c, a FROM read_csv($path, columns = {{a: 'VARCHAR', b: 'VARCHAR', c: 'VARCHAR'}}, {options})"
    try:
        oracle = duckdb.execute(query, {"path": str(path), "delimiter": delimiter}).fetchall()
    except duckdb.Error:  # refuses line ends of a kind that is not the file's, in texts too
        assert any(end in word for row in rows for word in row for end in "\r\n")
    else:
        assert [(item.content, item.label) for item in found.items if isinstance(item, Example)] == oracle


def test_without_a_header_columns_go_by_number(tmp_path):
    path = put(tmp_path, "a.tsv", csv_text(good(), "\t", ()))
    raw = read_table(path, "1", "2", no_header=True)
    assert rows_of(raw) == sorted(good())
    with pytest.raises(InvalidDataError, match=r"no column '3'; there are: '1', '2'. Without a header"):
        read_table(path, "1", "3", no_header=True)
    with pytest.raises(InvalidDataError, match=r"'text 0', 'neg'. Where the first row is an example"):
        read_table(path, "1", "2")


def test_the_delimiter_is_the_one_with_which_the_columns_are_there(tmp_path):
    rows = [("one, two, three; four", "a"), ("five", "b"), ("six, seven", "a"), ("eight, nine, ten", "b")]
    for delimiter in ";|\t":
        headless = put(tmp_path, "a.csv", "\n".join(delimiter.join(row) for row in rows if ";" not in row[0]))
        assert len(rows_of(read_table(headless, "1", "2", no_header=True))) == 3
        assert rows_of(read(put(tmp_path, "b.csv", csv_text(rows, delimiter)))) == sorted(rows)
    even = "one, two\ta\nthree, four\tb\nfive, six\ta\n"
    assert read_table(put(tmp_path, "d.tsv", even), "1", "2", no_header=True).class_names == ("a", "b")
    with pytest.raises(InvalidDataError, match="one example of each class"):  # the ending says that commas part it
        read_table(put(tmp_path, "d.csv", even), "1", "2", no_header=True)
    odd = put(tmp_path, "c.csv", csv_text(rows, "^"))
    assert rows_of(read(odd, delimiter="^")) == sorted(rows)
    with pytest.raises(InvalidDataError, match=r"no column 'text'; there are: 'text.label'"):
        read(odd)


def test_tabs_without_quoting_keep_quotation_marks(tmp_path):
    rows = ['"Begun and not ended\t1', 'He said "no"\t2', '"All" of it\t1', '"Quoted"\t2']
    raw = read_table(put(tmp_path, "a.tsv", "\n".join(rows)), "1", "2", no_header=True)
    assert rows_of(raw) == sorted(tuple(row.split("\t")) for row in rows)
    assert "Quotation marks in a.tsv are taken as part of its texts: they do not pair up." in raw.notes
    assert not raw.skipped


# --- rows that are left out -------------------------------------------------------------------------------------


def test_bad_rows_are_left_out_with_their_numbers_and_good_ones_kept(tmp_path):
    bad = (
        '"he said "no" loud",pos\n'  # row 11, line 12
        'he said "no",pos\n'
        "one,two,three\n"  # 13
        "alone\n"
        ",pos\n"  # 15
        "   ,pos\n"
        "no label,\n"  # 17
        'blank label," "\n'
        '"two\nlines",pos\n'  # 19, lines 20 and 21
        '"opened,pos\nin between,neg\n"here" it ends,neg\n'  # 20, lines 22 to 24
        "good again,neg\n"
        f"{'z' * 10_000_000},pos\n"
        "and again,neg\n"
    )
    raw = read(put(tmp_path, "a.csv", csv_text(good()) + bad))
    marks = "its quotation marks do not pair up"
    assert raw.skipped == (
        Skipped("a.csv, row 11 (line 12)", marks),
        Skipped("a.csv, row 13 (line 14)", "it has 3 fields rather than 2"),
        Skipped("a.csv, row 14 (line 15)", "it has 1 field rather than 2"),
        Skipped("a.csv, row 15 (line 16)", "it has no text"),
        Skipped("a.csv, row 16 (line 17)", "it has no text"),
        Skipped("a.csv, row 17 (line 18)", "it has no label"),
        Skipped("a.csv, row 18 (line 19)", "it has no label"),
        Skipped("a.csv, row 20 (lines 22 to 24)", marks),
        Skipped("a.csv, row 22 (line 26)", "its text has 10,000,000 characters, and at most 1,000,000 are read"),
    )
    kept = [('he said "no"', "pos"), ("two\nlines", "pos"), ("good again", "neg"), ("and again", "neg")]
    assert rows_of(raw) == sorted([*good(), *kept])


def test_a_quotation_mark_that_hides_much_of_the_file_is_refused(tmp_path):
    text = csv_text(good(500)).replace("text 7,", '"text 7,').replace("text 400,", 'text "400",')
    path = put(tmp_path, "a.csv", text)
    with pytest.raises(InvalidDataError, match=r"a\.csv, line 9: a quotation mark .* not closed before line 402"):
        read(path)


@pytest.mark.parametrize(
    ("end", "line"),
    [
        ('"never closed,pos\nlost,neg\n', 12),
        ('never closed,"pos', 12),
        ('"two\nlines","pos\n\nlost,neg\n', 13),
        ('"a ""word""\n\nin it","po""\ns",x,"', 15),
        ('he said "no",pos\n"', 13),
    ],
)
def test_a_table_that_ends_inside_a_quotation_mark_is_refused_with_the_line_where_it_opens(tmp_path, end, line):
    with pytest.raises(InvalidDataError, match=rf"a\.csv, line {line}: a quotation mark .* never closed; put it right"):
        read(put(tmp_path, "a.csv", csv_text(good()) + end))


def test_a_quotation_mark_that_goes_wrong_in_the_last_row_costs_that_row_alone(tmp_path):
    raw = read(put(tmp_path, "a.csv", csv_text(good()) + '"he said "no" loud",pos'))
    assert [one.where for one in raw.skipped] == ["a.csv, row 11 (line 12)"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_an_encoding_that_needs_a_mark_is_refused_without_one(tmp_path, encoding):
    path = put(tmp_path, "a.csv", csv_text(good()).encode(f"{encoding}-le"))
    with pytest.raises(InvalidDataError, match=f"mark that tells the order of bytes in .*; give {encoding}-le or"):
        read(path, encoding=encoding)
    path.write_bytes(csv_text(good()).encode(encoding))
    assert rows_of(read(path, encoding=encoding)) == sorted(good())


@pytest.mark.parametrize("encoding", ["idna", "punycode", "unicode_escape", "raw_unicode_escape", "rot13", "undefined"])
def test_encodings_that_no_text_file_has_are_refused(tmp_path, encoding):
    with pytest.raises(InvalidSettingError, match=f"encoding is '{encoding}', which is not known; give for example"):
        read(put(tmp_path, "a.csv", csv_text(good())), encoding=encoding)


def test_whatever_the_encoding_a_file_is_read_or_refused_in_a_sentence(tmp_path):
    random = np.random.default_rng(0).integers(1, 256, 2000, dtype=np.uint8).tobytes()
    path = put(tmp_path, "a.csv", csv_text(good()).encode() + random)
    for encoding in sorted(set(aliases.values())):
        try:
            read(path, encoding=encoding)
        except TrakCoreError as error:
            assert str(error).endswith(".") and "\n" not in str(error)


def test_bytes_of_another_encoding_are_never_garbled(tmp_path):
    rows = [*good(), ("café", "pos"), ("naïve", "neg")]
    path = put(tmp_path, "a.csv", csv_text(rows).encode("latin-1"))
    raw = read(path)
    assert rows_of(raw) == sorted(good())
    assert [one.where for one in raw.skipped] == ["a.csv, row 11 (line 12)", "a.csv, row 12 (line 13)"]
    assert raw.notes[0].startswith("a.csv has 2 rows with bytes that are not UTF-8; if it was written in another")
    assert rows_of(read(path, encoding="latin-1")) == sorted(rows)
    with pytest.raises(InvalidDataError, match="is UTF-8, and read as cp1252 its letters would be garbled"):
        read(put(tmp_path, "b.csv", csv_text(rows)), encoding="cp1252")
    assert rows_of(read(tmp_path / "b.csv", encoding="utf8")) == sorted(rows)
    # UTF-8 but for its last byte, so it may well be another encoding.
    assert rows_of(read(put(tmp_path, "c.csv", csv_text(rows).encode() + b"end,pos\xc3"), encoding="cp1252"))


def test_odd_bytes_elsewhere_in_a_row_do_no_harm(tmp_path):
    text = csv_text([(*row, "café") for row in good()], ",", ("text", "label", "note"))
    assert not read(put(tmp_path, "a.csv", text.encode("latin-1"))).skipped


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_a_mark_is_told_and_read_when_said(tmp_path, encoding):
    path = put(tmp_path, "a.csv", csv_text(good()).encode(encoding))
    with pytest.raises(InvalidDataError, match="zero bytes, so it is no text in UTF-8; where it is UTF-16"):
        read(path)
    assert rows_of(read(path, encoding=encoding)) == sorted(good())


def test_bad_json_lines_are_left_out_with_their_numbers(tmp_path):
    lines = [json.dumps({"text": text, "label": label}) for text, label in good(12)]
    bad = [
        '{"text": "cut off", "label"',
        "[1, 2]",
        '{"text": 5, "label": "pos"}',
        '{"label": "pos"}',
        '{"text": "x", "label": null}',
        '{"text": "half a \\ud800 letter", "label": "pos"}',
        '{"text": "x", "label": ' + "9" * 5000 + "}",
        json.dumps({"text": "z" * 10_000_000, "label": "pos"}),
    ]
    raw = read(put(tmp_path, "a.jsonl", "\n".join([*lines[:4], *bad, *lines[4:]])))
    reasons = [
        "it is no JSON object in UTF-8",
        "it is no JSON object in UTF-8",
        "its text is '5', which is no string but of the type int",
        "it has no text",
        "it has no label",
        "it is no JSON object in UTF-8",
        "it is no JSON object in UTF-8",
        f"its text has 10,000,000 characters, and at most {MAX_CHARACTERS:,} are read",
    ]
    assert raw.skipped == tuple(Skipped(f"a.jsonl, row {row}", why) for row, why in enumerate(reasons, start=5))
    assert rows_of(raw) == sorted(good(12))


def test_json_lines_of_another_encoding_are_left_out(tmp_path):
    lines = [json.dumps({"text": text, "label": label}) for text, label in good()]
    content = "\n".join([*lines, '{"text": "café", "label": "pos"}']).encode("latin-1")
    raw = read(put(tmp_path, "a.jsonl", content))
    assert raw.skipped == (Skipped("a.jsonl, row 11", "it is no JSON object in UTF-8"),)


def test_missing_values_of_parquet_are_left_out(tmp_path):
    labels = pa.array([1.0, 2.0, float("nan"), None, 2.0, 1.0])
    pq.write_table(pa.table({"text": ["a", "b", "c", "d", None, " e "], "label": labels}), tmp_path / "a.parquet")
    raw = read(tmp_path / "a.parquet", test_share=0.5, seed=1)
    assert [(one.where, one.why) for one in raw.skipped] == [
        ("a.parquet, row 3", "it has no label"),
        ("a.parquet, row 4", "it has no label"),
        ("a.parquet, row 5", "it has no text"),
    ]
    assert rows_of(read(tmp_path / "a.parquet")) == [(" e ", "1"), ("a", "1"), ("b", "2")]


# --- labels -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "names", "numbers"),
    [
        (["b", "a", "b"], ("a", "b"), [1, 0, 1]),
        (["10", "9", "-1"], ("-1", "9", "10"), [2, 1, 0]),
        ([10, 9, 9], ("9", "10"), [1, 0, 0]),
        ([3.0, 1.0, None, 3], ("1", "3"), [1, 0, None, 1]),
        (["3.0", "1e1", "3", "nan", "", " "], ("3", "10"), [0, 1, 0, None, None, None]),
        ([float("nan"), "x", "nan"], ("x",), [None, 0, None]),
        ([True, False, True], ("False", "True"), [1, 0, 1]),
        ([True, 1, "1"], ("1", "True"), [1, 0, 0]),
        (["img10", "img2", "Img3"], ("img2", "Img3", "img10"), [2, 0, 1]),
        (["1.5", "x", "1.5"], ("1.5", "x"), [0, 1, 0]),
        (["café", "cafe\u0301", " café", "thé"], ("café", "thé"), [0, 0, 0, 1]),
        (["正", "負", "正"], ("正", "負"), [0, 1, 0]),
        (["007", "7", "10"], ("7", "10"), [0, 0, 1]),
        (["007", "08", "10"], ("007", "08", "10"), [0, 1, 2]),
        (["+1", "1.0", "01", "1", "-1", "-01.0", "-0", "0"], ("-1", "0", "1"), [2, 2, 2, 2, 0, 0, 1, 1]),
        (["9" * 5000, "9" * 5000 + ".0"], ("9" * 5000,), [0, 0]),
        ([2**70, 2**70 + 1], (str(2**70), str(2**70 + 1)), [0, 1]),
    ],
)
def test_labels_become_classes_in_their_natural_order(labels, names, numbers):
    assert name_classes(labels, [""] * len(labels), "a.csv") == (names, numbers)


@pytest.mark.parametrize(
    ("labels", "error", "said"),
    [
        (["1", "0.37", "2"], LabelError, "^row 1: the label is 0.37, a number with decimals, which looks like regr"),
        ([1.0, 2.5], LabelError, "^row 1: the label is 2.5, "),
        (["1e-3", "1"], LabelError, "^row 0: the label is 1e-3, "),
        ([None, "", float("nan")], EmptyDataError, "^a.csv: none of the 3 examples has a label"),
        ([["a"], "b"], LabelError, "^row 0: the label is a list, "),
        ([b"a"], LabelError, "^row 0: the label is bytes, b'a'; give one name or number"),
        ([f"id {n}" for n in range(30)], LabelError, "^a.csv: there are 30 different labels for 30 examples"),
        (
            list(range(MAX_CLASSES + 1)) * 3,
            LabelError,
            "^a.csv: there are 1,001 different labels for 3,003 exa.* 1,000",
        ),
    ],
)
def test_labels_that_name_no_classes_are_refused(labels, error, said):
    with pytest.raises(error, match=said):
        name_classes(labels, [f"row {row}" for row in range(len(labels))], "a.csv")


def test_a_thousand_classes_are_read_and_many_of_few_rows_too():
    assert len(name_classes(list(range(MAX_CLASSES)) * 2, [""] * 2 * MAX_CLASSES, "")[0]) == MAX_CLASSES
    assert len(name_classes(list("abcdefghij"), [""] * 10, "")[0]) == 10


# --- splits -----------------------------------------------------------------------------------------------------


def test_a_share_of_each_class_is_put_aside(tmp_path):
    rows = [(f"text {number}", "abc"[number % 10 // 4]) for number in range(200)]  # 80, 80 and 40
    raw = read(put(tmp_path, "a.csv", csv_text(rows)), test_share=0.25)
    assert np.bincount(raw.test.labels).tolist() == [20, 20, 10]
    assert raw.notes == ("There is no test split; 25% of each class were held out as test examples.",)
    assert rows_of(raw) == sorted(rows)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (
            "aab",
            [
                "20% of each class, but at least one of every class that has two or more, were held out",
                "without a test example: 'b'.",
            ],
        ),
        ("aabb", ["but at least one of every class that has two or more, were held out as test examples: 2 of 4."]),
        ("a" * 50 + "bb", ["were held out as test examples: 11 of 52."]),
        ("a" * 50 + "b" * 10, ["20% of each class were held out as test examples."]),
        (
            "a" * 7 + "bcdefgh",
            ["were held out as test examples: 1 of 14.", "without a test example: 'b', 'c', 'd', 'e', 'f' and 2 more."],
        ),
    ],
)
def test_where_classes_are_too_small_for_the_share_the_counts_are_told(tmp_path, labels, said):
    raw = read(put(tmp_path, "a.csv", csv_text([(f"text {n}", label) for n, label in enumerate(labels)])))
    notes = [note for note in raw.notes if "test" in note]
    assert len(notes) == len(said)
    assert all(words in note for words, note in zip(said, notes, strict=True))


def test_splits_by_a_column_in_any_case(tmp_path):
    rows = [("a", "x", "Train"), ("b", "y", " TRAINING "), ("c", "x", "TEST"), ("d", "y", "dev"), ("e", "x", "other")]
    text = csv_text([*rows, ("f", "y", ""), ("g", "z", "testing")], ",", ("text", "label", "part"))
    raw = read(put(tmp_path, "a.csv", text), split="part")
    assert (raw.train.contents, raw.test.contents) == (["a", "b"], ["c"])
    assert raw.skipped == (
        Skipped("a.csv, row 5 (line 6)", "its split 'other' is none of train, test and validation"),
        Skipped("a.csv, row 6 (line 7)", "it is in no split"),
        Skipped("a.csv, row 7 (line 8)", "no train example has the class 'z'"),
    )
    assert raw.class_names == ("x", "y")
    assert raw.notes == ("The validation split (1 example) is not used; there is a test split.",)


@pytest.mark.parametrize("name", ["validation", "valid", "val", "dev"])
def test_a_validation_split_serves_where_test_rows_are_missing_or_have_no_labels(tmp_path, name):
    rows = [("a", "x", "train"), ("b", "y", "train"), ("c", "y", name)]
    header = ("text", "label", "split")
    raw = read(put(tmp_path, "a.csv", csv_text(rows, ",", header)), split="split")
    assert raw.test.contents == ["c"]
    assert raw.notes == ("There is no test split with labels; the validation split serves as one.",)
    hidden = csv_text([*rows, ("d", "", "test"), ("e", "", "test")], ",", header)
    raw = read(put(tmp_path, "a.csv", hidden), split="split")
    assert raw.test.contents == ["c"] and not raw.skipped
    assert raw.notes[0] == "The test split (2 examples) has no labels and is not used."


def test_a_second_table_gives_the_test_examples(tmp_path):
    train = put(tmp_path, "train.csv", csv_text(good()))
    test = put(tmp_path, "test.jsonl", '{"text": "new", "label": "pos"}\n{"text": "odd", "label": "?"}')
    raw = read(train, test=test)
    assert rows_of(raw) == sorted([*good(), ("new", "pos")])
    assert raw.test.contents == ["new"] and raw.class_names == ("neg", "pos")
    assert raw.skipped == (Skipped("test.jsonl, row 2", "no train example has the class '?'"),)


# --- what is refused --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "error", "said"),
    [
        ("a.csv", "", EmptyDataError, "is empty"),
        ("a.csv", "\n \n\n", InvalidDataError, "no column 'text'"),
        ("a.csv", "text,label\n", EmptyDataError, "has a header and no rows"),
        ("a.csv", "text,label\n,\n,a\n", EmptyDataError, "no row that can be used: a.csv, row 1 .line 2.: it has"),
        ("a.csv", "text,label\na,x\nb,x\n", InvalidDataError, "examples of one class only, 'x'"),
        ("a.csv", "text,label\na,x\nb,y\n", InvalidDataError, "one example of each class"),
        ("a.csv", "text,lable\na,x\n", InvalidDataError, "no column 'label'; .* 'text', 'lable'. Did you mean 'lable'"),
        ("a.csv", "text,Label\na,x\n", InvalidDataError, "Did you mean 'Label'"),
        ("a.csv", "text,label,label\na,x,y\n", InvalidDataError, "has 2 columns 'label'"),
        ("a.csv", 'text,"label\na,x\n', InvalidDataError, "line 1: its quotation marks do not pair up"),
        ("a.csv", "text,label\na,b,c\nd,e,f\ng,h\n", InvalidDataError, "2 of 3 rows cannot be read, .* row 1 "),
        ("a.csv", b"PK\x03\x04....", InvalidDataError, "a zip archive or an Excel workbook"),
        ("a.csv", b"text,label\na\0b,c\n", InvalidDataError, "has zero bytes"),
        ("a.csv", csv_text(good()).encode("utf-16")[:-1], InvalidDataError, "is not UTF-16 throughout"),
        ("a.csv.gz", packed(csv_text(good(999)).encode())[:-99], InvalidDataError, "damaged or cut off"),
        ("a.jsonl", "", EmptyDataError, "is empty"),
        ("a.json", "[]", EmptyDataError, "is empty"),
        ("a.json", '[{"text": "a", "label": "x"}, {"te', InvalidDataError, "cannot be read .malformed JSON"),
        ("a.json", '{"data": [{"text": "a", "label": "x"}]}', InvalidDataError, "one object, not an array: .* 'data'"),
        ("a.jsonl", "text,label\na,b\n", InvalidDataError, "2 of 2 rows cannot be read"),
        ("a.jsonl", '{"text": "a", "label": "x"}'.encode("utf-16"), InvalidDataError, "is UTF-16, and JSON is read as"),
        ("a.jsonl.gz", packed(b'{"text": "a"}\n' * 999)[:-20], InvalidDataError, "damaged or cut off"),
        ("a.parquet", b"PAR1 and nothing else that would be a table PAR1", InvalidDataError, "cannot be read"),
        ("a.parquet", "text,label\n", InvalidDataError, "cannot be read"),
        ("a.xlsx", b"PK\x03\x04", InvalidDataError, "an ending that is not known; a table ends in .csv, .tsv"),
    ],
)  # fmt: skip
def test_files_that_cannot_be_read_are_refused_in_one_sentence(tmp_path, name, content, error, said):
    path = put(tmp_path, name, content)
    with pytest.raises(error, match=said) as refusal:
        read(path)
    assert name.removesuffix(".gz") in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_tables_that_are_not_there_are_said_to_be_missing(tmp_path):
    (tmp_path / "folder.csv").mkdir()
    pq.write_table(pa.table({"text": pa.array([], pa.string()), "label": pa.array([], pa.string())}), tmp_path / "a.pq")
    for name, said in {
        "none.csv": "there is no file",
        "none.jsonl": "there is no file",
        "none.parquet": "there is no file",
        "folder.csv": "is a folder",
        "a.pq": "has no rows",
    }.items():
        with pytest.raises(InvalidDataError, match=said):
            read(tmp_path / name)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"label": "text"}, "the columns given are text, text"),
        ({"split": "label"}, "give a column of its own"),
        ({"split": "split", "test": "b.csv"}, "split is 'split' and test is 'b.csv'"),
        ({"test_share": 0.0}, "share of test examples is 0.0"),
        ({"test_share": 1.0}, "share of test examples is 1.0"),
        ({"delimiter": "::"}, "delimiter is '::'"),
        ({"delimiter": '"'}, "delimiter is"),
        ({"encoding": "latin-0"}, "encoding is 'latin-0', which is not known"),
        ({"encoding": "zip"}, "encoding is 'zip'"),
    ],
)
def test_settings_that_cannot_be_are_refused(tmp_path, wrong, said):
    path = put(tmp_path, "a.csv", csv_text(good()))
    with pytest.raises(InvalidSettingError, match=said):
        read(path, **wrong)


def test_a_file_without_line_ends_and_one_that_unpacks_without_end_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("trak_core.datasets.text_files.MAX_LINE", 1000)
    with pytest.raises(InvalidDataError, match=r"a\.csv, line 2: it has more than"):
        read(put(tmp_path, "a.csv", "text,label\n" + "z" * 2000))
    monkeypatch.setattr("trak_core.datasets.text_files.MAX_TEXT", 10_000)
    with pytest.raises(InvalidDataError, match="characters, unpacked"):
        read(put(tmp_path, "a.csv.gz", gzip.compress(csv_text(good(2000)).encode())))


def test_reading_a_table_needs_neither_torch_nor_the_store():
    code = (
        "import sys, trak_core.datasets.table, trak_core.datasets.hf_directory, trak_core.datasets.download\n"
        "print([name for name in ('torch', 'sklearn', 'streamlit') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


# --- real tables ------------------------------------------------------------------------------------------------


def real(name: str) -> Path:
    if not (DATA / name).exists():
        pytest.skip(f"no {DATA / name}; TRAK_SHARED_DATA names the folder with it")
    return DATA / name


def test_sst2_is_read_whole():
    folder = real("sst2")
    raw = read_table(folder / "train.tsv", "1", "2", test=folder / "test.tsv", no_header=True)
    lines = (folder / "train.tsv").read_text().splitlines()
    assert raw.train.contents == [line.split("\t")[0] for line in lines]
    assert raw.train.labels.tolist() == [int(line.split("\t")[1]) for line in lines]
    assert (len(raw.train), len(raw.test), raw.class_names) == (6920, 1821, ("0", "1"))
    assert not raw.skipped and not raw.notes


def test_trec_is_read_after_a_tab_is_put_behind_its_labels(tmp_path):
    # As in the documentation: sed -E 's/^([A-Z]+):[a-z]+ /\1\t/'. The texts are Latin-1.
    for name in ("train_5500", "TREC_10"):
        content = (real("trec") / f"{name}.label").read_bytes()
        put(tmp_path, f"{name}.tsv", re.sub(rb"(?m)^([A-Z]+):[a-z]+ ", rb"\1\t", content))
    columns = {"text": "2", "label": "1", "no_header": True, "test": tmp_path / "TREC_10.tsv"}
    raw = read_table(tmp_path / "train_5500.tsv", **columns, encoding="latin-1")
    assert raw.class_names == ("ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM")
    assert (len(raw.train), len(raw.test), raw.skipped) == (5452, 500, ())
    lines = (DATA / "trec" / "train_5500.label").read_text(encoding="latin-1").split("\n")[:5452]
    assert raw.train.contents == [line.split(" ", 1)[1] for line in lines]
    assert np.array(raw.class_names)[raw.train.labels].tolist() == [line.split(":")[0] for line in lines]
    # Without the encoding, the one line that is not ASCII is left out rather than garbled.
    assert [one.where for one in read_table(tmp_path / "train_5500.tsv", **columns).skipped] == [
        "train_5500.tsv, row 66"
    ]
