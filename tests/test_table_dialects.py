"""Tables as programs export them: each is read as it was meant, or refused in a sentence that says what to do."""

import csv
import io
import json
import os
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from trak_core.commands.custom_data import check
from trak_core.datasets.class_labels import name_classes
from trak_core.datasets.hf_directory import read_hf_directory
from trak_core.datasets.kinds import DATA_KINDS
from trak_core.datasets.report import report_on
from trak_core.datasets.table import read_table
from trak_core.errors import InvalidDataError, LabelError
from trak_core.modalities.raw import RawData

CASES = Path(__file__).resolve().parents[2] / "shared" / "cases"
HELD_OUT = "There is no test split; 20% of each class"
TAKEN = "taken for missing; if such a word is a value, give the words that stand for a missing one (option missing)."
NEG, POS = "the meal was cold and bad", "the hotel was warm"


def case(name: str) -> Path:
    path = CASES / name
    if not path.exists():
        pytest.skip(f"the shared case {name} is missing ({CASES})")
    return path


def read(path: Path, **settings: Any) -> RawData:
    return read_table(path, **{"text": "text", "label": "label", **settings})


def put(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def table(lines: list[str], header: str = "text,label", n: int = 6) -> str:
    """A file with a header and the lines, as often as it takes, each with its number in the place of a #."""
    return "\n".join([header, *(line.replace("#", str(k)) for k in range(n) for line in lines)]) + "\n"


def texts(raw: RawData) -> list[str]:
    return sorted([*raw.train.contents, *raw.test.contents])


def notes(raw: RawData) -> list[str]:
    return [note for note in raw.notes if not note.startswith(HELD_OUT)]


# --- dialects of CSV --------------------------------------------------------------------------------------------


def by_backslash(rows: list[tuple[str, str]], **settings: Any) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, doublequote=False, escapechar="\\", lineterminator="\n", **settings)
    writer.writerows([("text", "label"), *rows])
    return buffer.getvalue()


QUOTED = [('he said "no", twice', "neg"), ("C:\\new \\N", "pos"), ('a "b" \\"', "neg"), ("isn't, it", "pos")] * 3


@pytest.mark.parametrize("settings", [{"quoting": csv.QUOTE_ALL}, {}, {"quotechar": "'"}, {"delimiter": ";"}], ids=str)
def test_quotes_escaped_by_a_backslash_come_back_as_they_were_written(tmp_path, settings):
    raw = read(put(tmp_path, "a.csv", by_backslash(QUOTED, **settings)))
    assert texts(raw) == sorted(text for text, _ in QUOTED) and not raw.skipped
    assert any("backslash" in note for note in raw.notes)


def test_a_backslash_that_escapes_nothing_is_text(tmp_path):
    lines = [r'"in C:\new he said \"no\", twice #",neg', r'"a\tb \\ c #",pos']
    raw = read(put(tmp_path, "a.csv", table(lines)))
    assert texts(raw)[0] == "a\\tb \\ c 0" and texts(raw)[-1] == 'in C:\\new he said "no", twice 5'
    single = read(put(tmp_path, "c.csv", table(["it\\'s #,neg", f"{POS} #,pos"])))
    assert "it\\'s 0" in texts(single) and not notes(single)
    doubled = read(put(tmp_path, "b.csv", table([r'"in C:\new ""no"", twice #",neg', r"C:\temp\ #,pos"])))
    assert texts(doubled)[-1] == 'in C:\\new "no", twice 5' and not notes(doubled), "no other dialect is called for"


@pytest.mark.parametrize("name", ["backslash", "backslash-some"])
def test_case_backslash(name):
    raw = read(case(name) / "reviews.csv")
    assert (len(raw.train) + len(raw.test), raw.skipped, raw.class_names) == (60, (), ("neg", "pos"))
    assert 'he said "the meal was cold and bad number 4243", twice' in texts(raw)
    assert any("backslash" in note for note in raw.notes)


def test_single_quotes_around_fields_are_read_as_quotes(tmp_path):
    lines = [f"'{NEG}, isn''t it #',neg", f"'{POS} #',pos"]
    raw = read(put(tmp_path, "a.csv", table(lines)))
    assert texts(raw)[0] == "the hotel was warm 0" and f"{NEG}, isn't it 0" in texts(raw) and not raw.skipped
    assert notes(raw) == ["The fields of a.csv stand in single quotation marks, and are read so."]
    escaped = read(put(tmp_path, "b.csv", table([f"'{NEG}, isn\\'t it #',neg", f"'{POS} #',pos"])))
    assert texts(escaped) == texts(raw)


def test_single_quotes_around_every_text_are_no_part_of_it(tmp_path):
    raw = read(put(tmp_path, "a.csv", table([f"'{NEG} #',neg", f"'{POS} #',pos"])))
    assert f"{NEG} 0" in texts(raw)
    some = read(put(tmp_path, "b.csv", table([f"'{NEG} #',neg", f"{POS}' #,pos"])))
    assert f"'{NEG} 0'" in texts(some) and not notes(some), "apostrophes of a few texts are their own"


def test_a_file_all_in_single_quotes_has_its_names_in_them_too(tmp_path):
    for above in ("", "sep=,\n", "# exported today\n"):
        lines = [f"'{NEG}, isn''t it #','neg'", f"'{POS} #','pos'"]
        raw = read(put(tmp_path, "a.csv", above + table(lines, "'text','label'")))
        assert f"{NEG}, isn't it 0" in texts(raw) and raw.class_names == ("neg", "pos") and not raw.skipped
        assert any("in single quotation marks" in note for note in notes(raw))
        assert DATA_KINDS["table"].preview(tmp_path / "a.csv", {})[0] == ["text", "label"]  # type: ignore[misc]


def test_case_single_quote():
    raw = read(case("single-quote") / "reviews.csv")
    assert "the meal was cold and bad number 4243, yes" in texts(raw) and not raw.skipped


def test_blanks_behind_delimiters_are_no_part_of_the_fields(tmp_path):
    spaced = read(put(tmp_path, "a.csv", table([f'#1, "{NEG}, {POS}", neg', f'#2, "{POS}", pos'], "id, text, label")))
    assert texts(spaced)[-1] == f"{NEG}, {POS}" and not spaced.skipped
    quoted = read(put(tmp_path, "b.csv", table([f'#1, "{NEG}", neg', f'#2, "{POS}", pos'], "id, text, label")))
    assert texts(quoted)[-1] == NEG
    bare = read(put(tmp_path, "c.csv", table([f"neg, {NEG}", f"pos, {POS}"], "label, text")))
    assert texts(bare)[-1] == NEG
    kept = read(put(tmp_path, "d.csv", table([f"neg,  {NEG}", f"pos,{POS}"], "label,text")))
    assert texts(kept)[0] == f"  {NEG}", "where only some have them, they are of the text"


@pytest.mark.parametrize(
    ("above", "note"),
    [
        ("# exported 2024\n", "in line 2; 1 line above left out, beginning with '# exported 2024'."),
        ("# exported, 2024\n\n# by me\n", "in line 4; 3 lines above"),
        ("Report of 2024,,\n", "in line 2; 1 line above"),
        ("# it's \"so\n", "in line 2; 1 line above"),
        ("\ufeff# exported\n", "in line 2; 1 line above"),
    ],
)
def test_lines_above_the_header_are_left_out_with_a_note(tmp_path, above, note):
    content = above + table([f"#a,{NEG},neg", f"#b,{POS},pos"], "id,text,label")
    raw = read(put(tmp_path, "a.csv", content))
    assert len(texts(raw)) == 12 and not raw.skipped
    assert len(notes(raw)) == 1 and note in notes(raw)[0]
    n_above = above.count("\n")
    gap = read(put(tmp_path, "b.csv", content + "broken\n")).skipped[0]
    assert gap.where == f"b.csv, row 13 (line {n_above + 14})", "lines are those of the file"
    assert DATA_KINDS["table"].preview(tmp_path / "a.csv", {})[0] == ["id", "text", "label"]  # type: ignore[misc]


def test_a_header_that_is_a_comment_and_comments_below_it(tmp_path):
    raw = read(put(tmp_path, "a.csv", table([f"{NEG} #,neg", "#good,pos"], "# text,label") + "# the end\n"))
    assert len(texts(raw)) == 12, "texts that begin with # are texts"
    assert raw.skipped[0].why == "it is a comment: it begins with #, and has 1 field rather than 2"
    headless = "# two columns\n" + table([f"{NEG} #\tneg", f"{POS} #\tpos"], f"{NEG}\tneg")
    raw = read_table(put(tmp_path, "b.tsv", headless), "1", "2", no_header=True)
    assert len(texts(raw)) == 13 and not raw.skipped


def test_words_of_the_header_in_a_row_make_no_header(tmp_path):
    path = put(tmp_path, "a.csv", "".join(f"text {n},{n % 2},1\n" for n in range(9)) + "x,1,2\n")
    with pytest.raises(InvalidDataError, match=r"no column '2'.* Where the first row is an example"):
        read_table(path, "1", "2")


def test_case_comment_line():
    raw = read(case("comment-line") / "reviews.csv")
    assert len(texts(raw)) == 60 and "The header of reviews.csv is in line 2" in raw.notes[0]


@pytest.mark.parametrize("line", ["sep=;", "SEP=;", '"sep=;"', "\ufeffsep=;"])
def test_the_line_of_excel_that_tells_the_delimiter_is_taken_as_that(tmp_path, line):
    raw = read(put(tmp_path, "a.csv", f"{line}\r\n" + table(["a, b, c #;neg", "d #;pos"], "text;label")))
    assert "a, b, c 0" in texts(raw) and not raw.skipped
    assert raw.notes[0] == "The first line of a.csv tells its delimiter, a semicolon, and is no row."
    odd = read(put(tmp_path, "b.csv", "sep=^\n" + table(["a, b; c #^neg", "d #^pos"], "text^label")))
    assert "a, b; c 0" in texts(odd) and "its delimiter, '^', and" in odd.notes[0]
    tabs = read(put(tmp_path, "c.csv", "sep=\t\n" + table(["a, b; c #\tneg", "d #\tpos"], "text\tlabel")))
    assert "its delimiter, a tab, and" in tabs.notes[0]


def test_case_sep_line():
    assert len(texts(read(case("sep-line") / "reviews.csv"))) == 60


def test_empty_fields_at_the_ends_of_rows_are_left_out_and_said(tmp_path):
    both = read(put(tmp_path, "a.csv", table([f"{NEG} #,neg,,", f"{POS} #,pos"])))
    assert len(texts(both)) == 12 and not both.skipped
    assert notes(both) == ["a.csv has 6 rows with empty fields behind its last column, which are left out."]
    header = read(put(tmp_path, "b.csv", table([f"{NEG} #,neg", f"{POS} #,pos"], "text,label,")))
    assert len(texts(header)) == 12 and not header.skipped
    semicolons = read(put(tmp_path, "c.csv", table([f"{NEG}, # ;neg;", f"{POS}, #;pos;"], "text;label")))
    assert len(texts(semicolons)) == 12 and not semicolons.skipped


def test_case_trailing_comma():
    raw = read(case("trailing-comma") / "reviews.csv")
    assert len(texts(raw)) == 60 and not raw.skipped and "60 rows with empty fields" in raw.notes[0]


def test_names_of_rows_without_a_name_in_the_header_are_told_from_texts(tmp_path):
    frame = pd.DataFrame({"text": [f"{NEG}, or not {n}" for n in range(8)], "label": ["neg", "pos"] * 4})
    pandas = read(put(tmp_path, "a.csv", frame.to_csv()))
    r = read(put(tmp_path, "b.csv", frame.to_csv(index_label=False)))
    assert texts(pandas) == texts(r) == sorted(frame["text"]) and not r.skipped and not notes(pandas)
    assert notes(r) == ["The rows of b.csv have a field more than its header; the first is taken for the row's name."]
    with pytest.raises(InvalidDataError, match=r"3 fields, so put texts that hold the delimiter \(a comma\) into"):
        read(put(tmp_path, "c.csv", table([f"{NEG}, yes #,neg", f"{POS}, no #,pos"])))


def test_headers_between_the_rows_are_left_out(tmp_path):
    part = table([f"{NEG} #,neg", f"{POS} #,pos"])
    raw = read(put(tmp_path, "a.csv", part + part))
    assert raw.class_names == ("neg", "pos") and len(texts(raw)) == 24
    assert [(one.where, one.why) for one in raw.skipped] == [("a.csv, row 13 (line 14)", "it repeats the header")]


WORDS = {"\t": "a tab", ";": "a semicolon", "|": "a vertical bar", ",": "a comma", " ": "a blank"}


@pytest.mark.parametrize(
    ("delimiter", "given"), [("\t", "\\t"), ("\t", "tab"), ("\t", None), (";", None), ("|", None), ("|", ";")]
)
def test_a_delimiter_that_was_found_out_is_said_and_a_tab_may_be_typed(tmp_path, delimiter, given):
    content = table([f"{NEG}, # 1{delimiter}neg", f"{POS}, #{delimiter}pos"], f"text{delimiter}label")
    path = put(tmp_path, "a.csv", content)
    if given == ";":
        with pytest.raises(InvalidDataError, match="no column 'text'"):
            read(path, delimiter=given)
        return
    assert notes(read(path, delimiter=given)) == ([] if given else [f"The delimiter of a.csv is {WORDS[delimiter]}."])
    assert not notes(read(put(tmp_path, "b.tsv", content.replace(delimiter, "\t"))))


@pytest.mark.parametrize("delimiter", WORDS)
def test_a_delimiter_that_does_not_fit_is_named_by_its_word(tmp_path, delimiter):
    content = table([delimiter.join(("a#", "b", "c", "neg"))], f"text{delimiter}label")
    with pytest.raises(InvalidDataError) as refused:
        read(put(tmp_path, "a.csv", content), delimiter=delimiter)
    assert f"delimiter ({WORDS[delimiter]})" in str(refused.value) and repr(delimiter) not in str(refused.value)


def test_line_ends_of_windows_within_quotes_are_of_the_text(tmp_path):
    raw = read(
        put(tmp_path, "a.csv", table(['"one\r\ntwo #",neg', '"three\r\n\r\nfour #",pos']).replace(",neg\n", ",neg\r\n"))
    )
    assert "one\r\ntwo 0" in texts(raw) and "three\r\n\r\nfour 0" in texts(raw) and not raw.skipped


def test_fields_parted_by_blanks_are_said_to_be_single_words(tmp_path):
    path = put(tmp_path, "a.txt", "".join(f"{name} it is a {name} film\n" for name in ("good", "bad") * 9))
    raw = read_table(path, "2", "1", no_header=True, delimiter=" ")
    assert notes(raw) == [
        "Blanks part the rows of a.txt into 6 fields, so that a text is one word, such as 'it'; give a delimiter that "
        "stands between label and text alone, such as a tab."
    ]
    assert not notes(read_table(put(tmp_path, "b.txt", "good x\nbad y\n" * 9), "2", "1", no_header=True, delimiter=" "))


def test_case_libsvm_space():
    raw = read_table(case("libsvm-space") / "train.txt", "2", "1", no_header=True, delimiter=" ")
    assert "so that a text is one word, such as 'the'" in raw.notes[0]


def test_a_file_of_one_long_line_is_refused_in_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr("trak_core.datasets.text_files.MAX_LINE", 5000)
    for name in ("a.csv", "a.jsonl", "a.json"):
        with pytest.raises(InvalidDataError, match=r"it has more than .* characters; check the file"):
            read(put(tmp_path, name, "{" + "text,label " * 1000))
    with pytest.raises(InvalidDataError, match="no column 'text'"):
        read(put(tmp_path, "b.csv", "text label " * 100))


# --- JSON that is not lines -------------------------------------------------------------------------------------

FRAME = pd.DataFrame({"text": [NEG, POS, "so", "la"], "label": ["neg", "pos", "neg", "pos"]})


@pytest.mark.parametrize(
    ("orient", "said"),
    [
        ("columns", "each of 'text', 'label' is an object of values .*orient=\"records\""),
        ("index", "each of '0', '1', '2' is an object of values .*orient=\"records\""),
        ("split", "its rows are arrays under 'data' .*orient=\"records\""),
        ("values", 'an array of arrays, so that no value has a name; .*orient="records"'),
        ("table", "its rows stand under 'data'; save that array alone"),
    ],
)
@pytest.mark.parametrize("indent", [0, 2])
def test_tables_of_pandas_in_another_orient_are_refused_with_the_one_to_take(tmp_path, orient, said, indent):
    path = tmp_path / "df.json"
    FRAME.to_json(path, orient=orient, indent=indent)
    with pytest.raises(InvalidDataError, match=said):
        read(path)
    with pytest.raises(InvalidDataError, match=said):
        DATA_KINDS["table"].preview(path, {})  # type: ignore[misc]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"version": 1, "data": FRAME.to_dict("records")}, "one object, not an array: its rows stand under 'data'"),
        ({"train": FRAME.to_dict("records"), "test": []}, "one object, not an array: its rows stand under 'train'"),
        (FRAME.to_dict("list"), "each of 'text', 'label' is an array of values"),
    ],
)
def test_an_object_with_all_rows_in_it_is_refused_with_their_key(tmp_path, content, said):
    for name, indent in (("a.json", None), ("a.jsonl", 1)):
        with pytest.raises(InvalidDataError, match=said):
            read(put(tmp_path, name, json.dumps(content, indent=indent)))


def test_json_lines_are_lines_even_where_one_is_broken_or_alone(tmp_path):
    lines = FRAME.to_json(orient="records", lines=True)
    raw = read(put(tmp_path, "a.jsonl", "\n{broken\n" + lines))
    assert raw.skipped[0].where == "a.jsonl, row 1 (line 2)" and len(texts(raw)) == 4
    with pytest.raises(InvalidDataError, match="one class only"):
        read(put(tmp_path, "b.jsonl", lines.splitlines()[0]))


def test_an_object_with_a_wanted_key_twice_is_left_out(tmp_path):
    lines = FRAME.to_json(orient="records", lines=True)
    raw = read(put(tmp_path, "a.jsonl", lines + '{"text": "a", "label": "pos", "label": "neg", "id": 1}\n'))
    assert [one.why for one in raw.skipped] == ["it has 'label' twice"]
    again = read(put(tmp_path, "b.jsonl", lines + '{"text": "a", "label": "pos", "id": 1, "id": 2}\n'))
    assert not again.skipped


@pytest.mark.parametrize(("name", "file"), [("pandas-json", "df.json"), ("wrapped-json", "data.json")])
def test_case_json(name, file):
    with pytest.raises(InvalidDataError, match="holds one object, not an array"):
        read(case(name) / file)


# --- Parquet ----------------------------------------------------------------------------------------------------


def declared(names: list[str], labels: list[Any], contents: list[Any] | None = None) -> pa.Table:
    """A table with what `datasets` says about its columns."""
    features = {"label": {"names": names, "_type": "ClassLabel"}}
    found = pa.table({"text": contents or [f"a text {n}" for n in range(len(labels))], "label": labels})
    return found.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def test_a_parquet_table_has_the_class_names_that_the_data_set_has(tmp_path):
    names = ["world", "business", "arts"]
    (tmp_path / "hf").mkdir()
    pq.write_table(declared(names, [0, 1, 2, 0, 1, 2, 0, None, -1, 7]), tmp_path / "hf" / "train.parquet")
    one, other = read(tmp_path / "hf" / "train.parquet"), read_hf_directory(tmp_path / "hf")
    assert one.class_names == other.class_names == tuple(names)
    assert one.train.labels.tolist() == other.train.labels.tolist() and one.train.contents == other.train.contents
    assert [skip.why for skip in one.skipped] == [
        "it has no label",
        "it has no label",
        "its label '7' is none of 0 to 2",
    ]
    assert [skip.why for skip in one.skipped] == [skip.why for skip in other.skipped]


def test_a_test_table_is_read_by_the_classes_that_the_train_table_declares(tmp_path):
    pq.write_table(declared(["no", "yes"], [0, 1, 1]), tmp_path / "a.parquet")
    raw = read(tmp_path / "a.parquet", test=put(tmp_path, "b.csv", "text,label\nx,yes\ny,0\nz,what\n"))
    assert (raw.test.labels.tolist(), raw.class_names) == ([1, 0], ("no", "yes"))
    assert raw.skipped[0].why == "its label 'what' is none of 0 to 1"
    pq.write_table(declared(["yes", "no"], [0, 1]), tmp_path / "c.parquet")
    with pytest.raises(InvalidDataError, match="declares the classes yes, no, and the train table declares no, yes"):
        read(tmp_path / "a.parquet", test=tmp_path / "c.parquet")


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.dictionary(pa.int32(), pa.binary())], ids=str)
def test_bytes_in_parquet_are_read_as_utf_8(tmp_path, kind):
    contents = ["Grüße".encode(), "好".encode(), b"caf\xe9", b"tea"]
    columns = {"text": pa.array(contents, pa.binary()).cast(kind), "label": pa.array([b"a", b"b", b"a", b"b"])}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    raw = read(tmp_path / "a.parquet", test_share=0.5)
    assert texts(raw) == ["Grüße", "tea", "好"] and raw.class_names == ("a", "b")
    assert [skip.where for skip in raw.skipped] == ["a.parquet, row 3"]
    assert "The column 'text' of a.parquet holds bytes, which were read as UTF-8." in raw.notes


def test_case_parquet():
    assert read(case("hf-onefile") / "imdb.parquet").class_names == ("negative", "positive")
    assert read_hf_directory(case("hf-onefile")).class_names == ("negative", "positive")
    raw = read(case("pq-binary") / "t.parquet")
    assert "the meal was cold and bad number 4243" in texts(raw) and not raw.skipped


# --- labels and missing values ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "word", ["NA", "nan", "NaN", "NULL", "null", "None", "N/A", "n/a", "<NA>", "#N/A", "\\N", " NA "]
)
def test_words_for_missing_values_are_one_rule_for_labels_and_texts_in_every_kind_of_table(tmp_path, word):
    rows = [{"text": f"a text {n}", "label": "ab"[n % 2]} for n in range(8)]
    rows += [{"text": word, "label": "a"}, {"text": "a text", "label": word}, {"text": "", "label": "a"}]
    frame = pd.DataFrame(rows)
    frame.to_parquet(tmp_path / "a.parquet")
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_json(tmp_path / "a.jsonl", orient="records", lines=True)
    (tmp_path / "hf").mkdir()
    frame.to_parquet(tmp_path / "hf" / "train.parquet")
    found = [read(tmp_path / name) for name in ("a.parquet", "a.csv", "a.jsonl")]
    for raw in [*found, read_hf_directory(tmp_path / "hf")]:
        assert raw.class_names == ("a", "b") and len(texts(raw)) == 8
        said = word.strip()
        reasons = [f"its text is {said!r}", f"its label is {said!r}", "it has no text"]
        assert [skip.why for skip in raw.skipped] == reasons
        tail = TAKEN
        assert notes(raw) == [f"1 text reading {said!r} was {tail}", f"1 label reading {said!r} was {tail}"]


def test_which_words_are_missing_can_be_said(tmp_path):
    path = put(tmp_path, "a.csv", table(["for it #,None", "against #,Against", "dunno #,?", "NA,Against"]))
    assert read(path).class_names == ("?", "Against")
    raw = read(path, missing="?, NA")
    assert raw.class_names == ("Against", "None") and "NA" not in texts(raw)
    tail = f"were {TAKEN}"
    assert notes(raw) == [
        f"6 texts reading 'NA' {tail}",
        f"6 labels reading '?' {tail}",
        "The class 'None' is taken for a class; if it stands for a missing label, list it among the words for those "
        "(option missing).",
    ]
    assert read(path, missing="").class_names == ("?", "Against", "None")


def test_numbers_can_stand_for_missing_labels_in_every_kind_of_table(tmp_path):
    frame = pd.DataFrame({"text": [f"a text {n}" for n in range(12)], "label": [0, 1, -1, 99] * 3})
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_json(tmp_path / "a.jsonl", orient="records", lines=True)
    frame.to_parquet(tmp_path / "a.parquet")
    frame.astype({"label": float}).to_parquet(tmp_path / "b.parquet")
    for name in ("a.csv", "a.jsonl", "a.parquet", "b.parquet"):
        raw = read(tmp_path / name, missing="-1, 99")
        assert (raw.class_names, len(raw.skipped)) == (("0", "1"), 6)
        assert notes(raw) == [f"6 labels reading '-1', '99' were {TAKEN}"]


def test_a_class_called_none_in_small_letters_is_a_class_among_words_and_missing_among_numbers(tmp_path):
    raw = read(put(tmp_path, "a.csv", table(["x #,none", "y #,racism", "z #,sexism"])))
    assert raw.class_names == ("none", "racism", "sexism") and "'none' is taken for a class" in notes(raw)[0]
    raw = read(put(tmp_path, "b.csv", table(["x #,none", "y #,0", "z #,1", "w #,NA"])))
    assert raw.class_names == ("0", "1") and len(raw.skipped) == 12
    assert {skip.why for skip in raw.skipped} == {"its label is 'none'", "its label is 'NA'"}


@pytest.mark.parametrize(
    ("name", "classes", "n_lost"), [("na-strings", ("neg", "pos"), 15), ("label-na-number", ("0", "1"), 9)]
)
def test_case_missing(name, classes, n_lost):
    raw = read(case(name) / "reviews.csv")
    assert (raw.class_names, len(raw.skipped)) == (classes, n_lost)
    assert any("taken for missing" in note for note in raw.notes)


@pytest.mark.parametrize("labels", [["0,5", "1,5"], ["2,0", "0,5"], ["1", "-2,25"], ["1,1234", "2"]])
def test_decimals_behind_a_comma_are_decimals(labels):
    with pytest.raises(LabelError, match="a number with decimals, which looks like regression"):
        name_classes(labels, ["row"] * 2, "a.csv")


@pytest.mark.parametrize("labels", [["1,0", "2,0"], ["1,500", "2,000"], ["0,5", "a"], ["1,2,3", "1"]])
def test_commas_in_labels_that_are_no_decimals_stay(labels):
    assert name_classes(labels, ["row"] * 2, "a.csv")[0] == tuple(sorted(labels, key=lambda one: (len(one), one)))[
        ::1
    ] or (set(name_classes(labels, ["row"] * 2, "a.csv")[0]) == set(labels))


def test_case_decimal_comma():
    with pytest.raises(LabelError, match="the label is 0,5, a number with decimals"):
        read(case("decimal-comma") / "reviews.csv")
    assert read(case("european-rating") / "reviews.csv").class_names == ("1,0", "2,0", "3,0")


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["pos", "Pos", "POS", "pos."], "'POS' and 'Pos' and 'pos' and 'pos.'; if they are one, write them alike"),
        (["not ok", "not_ok", "ok"], "'not ok' and 'not_ok'; if they are one"),
        (["\uff21", "a", "b"], "'a' and '\uff21'"),
        (["a", "b", "a|b"], "'a|b' look like several labels in one field, parted by a vertical bar"),
        (
            ["a; b", "b; c", "c; a"],
            "'a; b', 'b; c', 'c; a' look like several labels in one field, parted by a semicolon",
        ),
        (["['a']", "['a', 'b']"], "are lists written as text, each a class of its own"),
        (["C", "C++", "C#"], ""),
        (["and/or", "not"], ""),
        (["news|sport", "news|art"], ""),
        (["+", "-"], ""),
    ],
)
def test_names_of_classes_that_look_alike_or_like_several_are_noted(tmp_path, names, said):
    rows = [f'a text,"{name}"' for name in names] * 6
    raw = read(put(tmp_path, "a.csv", "\n".join(["text,label", *rows])))
    assert len(raw.class_names) == len(names), "nothing is put together in silence"
    assert said in "".join(notes(raw)) and bool(notes(raw)) == bool(said)


@pytest.mark.parametrize(
    ("name", "file", "said"),
    [
        ("label-case", "reviews.csv", "differ in case, blanks or punctuation alone"),
        ("multi-sep", "train.csv", "several labels"),
    ],
)
def test_case_labels(name, file, said):
    assert said in " ".join(read(case(name) / file).notes)


def test_a_test_table_without_labels_is_told_what_to_do(tmp_path):
    train = put(tmp_path, "train.csv", table([f"#,{NEG},neg", f"#,{POS},pos"], "id,text,label"))
    for name, content in {
        "test.csv": table([f"#,{NEG}"], "id,text"),
        "test.jsonl": json.dumps({"id": 1, "text": NEG}),
    }.items():
        with pytest.raises(InvalidDataError, match=r"no column 'label'; .* Test examples need their labels") as refusal:
            read(train, test=put(tmp_path, name, content))
        assert "header" not in str(refusal.value) and "first row" not in str(refusal.value)
    with pytest.raises(InvalidDataError, match="Where the first row is an example"):
        read(train, test=put(tmp_path, "b.csv", f"1,{NEG},neg\n2,{POS},pos\n"))


def test_case_test_no_label():
    folder = case("test-no-label")
    with pytest.raises(
        InvalidDataError, match="Test examples need their labels; where this table has none, leave it out"
    ):
        read(folder / "train.csv", text="body", test=folder / "test.csv")


def test_ragged_rows_that_leave_one_class_are_counted_in_the_refusal(tmp_path):
    content = table([f"{NEG} #,neg", f"{NEG} again #,neg", f"{POS}, indeed, #,pos"])
    with pytest.raises(
        InvalidDataError, match=r"one class only, 'neg' \(6 of 18 rows were left out because it has 4 field"
    ):
        read(put(tmp_path, "a.csv", content))
    with pytest.raises(
        InvalidDataError, match=r"'neg' \(7 of 19 rows were left out, 6 of them because its label is 'NA'"
    ):
        read(put(tmp_path, "b.csv", table([f"{NEG} #,neg", f"{NEG} b #,neg", f"{POS} #,NA"]) + "x,\n"))


@pytest.mark.parametrize(
    ("name", "file", "columns", "error", "said"),
    [
        ("doccano", "all.jsonl", {}, LabelError, r"row 1: the label is a list, \['neg'\]; give one name"),
        (
            "label-studio",
            "export.json",
            {},
            InvalidDataError,
            "no column 'text'; there are: 'id', 'data', 'annotations'",
        ),
        ("prodigy", "export.jsonl", {"label": "cats"}, LabelError, "row 1: the label is a dict"),
        ("fasttext", "train.txt", {}, InvalidDataError, "no column 'text'"),
        (
            "double-colon",
            "train.txt",
            {"text": "1", "label": "2", "no_header": True},
            InvalidDataError,
            "no column '2'",
        ),
        ("dup-columns", "reviews.csv", {}, InvalidDataError, "has 2 columns 'label'"),
        ("pq-list", "t.parquet", {}, LabelError, "the label is a list"),
        ("pq-struct", "t.parquet", {}, LabelError, "the label is a dict"),
    ],
)
def test_cases_that_are_refused_in_a_clear_sentence(name, file, columns, error, said):
    with pytest.raises(error, match=said):
        read(case(name) / file, **columns)


@pytest.mark.parametrize(
    ("name", "file", "label", "classes"),
    [
        ("onehot", "train.csv", "pos", ("0", "1")),
        ("pq-bool", "t.parquet", "label", ("False", "True")),
        ("pq-cat", "t.parquet", "label", ("neg", "pos")),
        ("pq-decimal", "t.parquet", "label", ("0", "1")),
        ("pq-nan", "t.parquet", "label", ("0", "1")),
    ],
)
def test_cases_that_are_read(name, file, label, classes):
    assert read(case(name) / file, label=label).class_names == classes


# --- where a row came from --------------------------------------------------------------------------------------


def test_rows_are_counted_alike_in_every_kind_of_table_and_the_header_is_none(tmp_path):
    labels = ["a", "b", "a", "b", None, "a"]
    frame = pd.DataFrame({"text": [f"text {n}" for n in range(6)], "label": labels})
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_parquet(tmp_path / "a.parquet")
    frame.to_json(tmp_path / "a.jsonl", orient="records", lines=True)
    frame.to_json(tmp_path / "a.json", orient="records")
    found = {name: read(tmp_path / name).skipped[0].where for name in ("a.csv", "a.parquet", "a.jsonl", "a.json")}
    assert found == {
        "a.csv": "a.csv, row 5 (line 6)",
        "a.parquet": "a.parquet, row 5",
        "a.jsonl": "a.jsonl, row 5",
        "a.json": "a.json, row 5",
    }


def test_a_file_whose_name_is_no_utf_8_is_read_and_called_by_what_can_be_shown(tmp_path):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.csv"))
    try:
        path.write_text(table([f"{NEG} #,neg", f"{POS} #,pos"]) + "broken\n")
    except OSError:
        pytest.skip("this file system takes no such names")
    raw = read(path)
    assert raw.name == "caf\\xe9" and raw.skipped[0].where == "caf\\xe9.csv, row 13 (line 14)"
    report_on(raw).as_json().encode()
    said = CliRunner().invoke(check, ["table", str(path), "--text", "body", "--label", "label"])
    assert said.exit_code == 2 and "caf\\xe9.csv has no column 'body'" in said.stderr
