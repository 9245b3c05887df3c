"""Blanks, comments and delimiters where other tables have none; tables of R; labels written in several ways."""

import unicodedata
from collections.abc import Sequence

import pytest
from PIL import Image

from tests.test_table_dialects import HELD_OUT, NEG, POS, notes, put, read, table, texts
from trak_core.datasets.image_folder import read_image_folder
from trak_core.datasets.kinds import DATA_KINDS
from trak_core.datasets.table import read_table
from trak_core.errors import InvalidDataError

AROUND = "Blanks around the delimiters of a.csv are no part of its fields."
ROW_NAMES = "The rows of {} have a field more than its header; the first is taken for the row's name."


def preview_names(path) -> list[str]:
    return DATA_KINDS["table"].preview(path, {})[0]  # type: ignore[misc]


# --- blanks around delimiters -----------------------------------------------------------------------------------


@pytest.mark.parametrize("above", ["", "# made by me, 2024\n", '# "so" , it\n\n# is , "made"\n'])
@pytest.mark.parametrize("sign", [" , ", "\t,  ", " ; ", " \t "])
def test_blanks_on_both_sides_of_delimiters_are_no_part_of_fields(tmp_path, above, sign):
    lines = [f'"#, {NEG}"{sign}"neg"', f'"he said ""so"" , and # "{sign}"pos" ']
    path = put(tmp_path, "a.csv", above + table(lines, f'"text"{sign}"label"'))
    raw = read(path)
    assert raw.class_names == ("neg", "pos") and len(texts(raw)) == 12 and not raw.skipped
    assert texts(raw)[0] == f"0, {NEG}" and 'he said "so" , and 3 ' in texts(raw), "blanks within quotes are text"
    assert AROUND in notes(raw) and preview_names(path) == ["text", "label"]
    assert bool(above) == any("above left out, beginning with '#" in note for note in notes(raw))


@pytest.mark.parametrize(
    ("header", "lines", "said"),
    [
        ("text , label", [f"{NEG} # , neg", f"{POS} # , pos"], {AROUND}),
        ("'text' , 'label'", [f"'{NEG}, it''s #' , 'neg'", f"'{POS} #' , 'pos'"], {AROUND}),
        ('"text" , "label"', [f'"{NEG}, \\"so\\" , #" , "neg"', f'"{POS} #" , "pos"'], {AROUND}),
        ("text,label", [f'"{NEG}, #","neg"'] * 5 + [f'"{POS}, #" , "pos"'], {AROUND}),
        ('"text" , "label"', [f'"{NEG}\n " "" , #" , "neg"'.replace('" "" ,', '"" ,'), f'"{POS} #" , "pos"'], {AROUND}),
    ],
    ids=["no quotes", "single quotes", "escaped quotes", "some rows", "several lines"],
)
def test_blanks_around_delimiters_are_left_out_whatever_the_quotes(tmp_path, header, lines, said):
    raw = read(put(tmp_path, "a.csv", table(lines, header, n=12)))
    assert raw.class_names == ("neg", "pos") and len(texts(raw)) == 12 * len(lines) and not raw.skipped
    assert said <= set(notes(raw)) and not any(text != text.strip() for text in texts(raw))


def test_blanks_within_quotation_marks_are_kept_without_a_word(tmp_path):
    raw = read(put(tmp_path, "a.csv", table([f'"{NEG} # ","neg"', f'"{POS} # ","pos"'], '"text ","label"')))
    assert texts(raw)[0] == f"{POS} 0 " and not notes(raw)


# --- tables of R ------------------------------------------------------------------------------------------------


def write_table(sep: str, labels: Sequence[object], quoted: bool = True, name: str = "{}") -> str:
    """As `write.table` writes a frame with the columns text and label."""

    def written(value: object) -> str:
        if not quoted or not isinstance(value, str):
            return str(value)
        return '"' + value.replace('"', '\\"') + '"'

    rows: list[list[object]] = [["text", "label"]]
    for n, label in enumerate(labels):
        said = f'he said "{NEG}", no. {n}' if quoted and n % 3 == 0 else f"{POS}, no. {n}"
        rows.append([name.format(n + 1), said, label])
    return "".join(sep.join(map(written, row)) + "\n" for row in rows)


@pytest.mark.parametrize("sep", [" ", "\t", ",", ";"])
@pytest.mark.parametrize("labels", [["neg", "pos"], [0, 1]], ids=["words", "numbers"])
@pytest.mark.parametrize("name", ["{}", "row {}"])
def test_tables_that_r_wrote_are_read_with_their_row_names(tmp_path, sep, labels, name):
    path = put(tmp_path, "a.txt", write_table(sep, labels * 6, name=name))
    raw = read(path)
    assert raw.class_names == tuple(map(str, labels)) and not raw.skipped
    assert f'he said "{NEG}", no. 0' in texts(raw) and len(texts(raw)) == 12
    assert ROW_NAMES.format("a.txt") in notes(raw) and any("backslash" in note for note in notes(raw))
    assert (sep == ",") != any(note.startswith("The delimiter of a.txt is a") for note in notes(raw))
    assert preview_names(path) == ["", "text", "label"]


def test_tables_of_r_without_row_names_or_without_quotes_are_read(tmp_path):
    bare = read(put(tmp_path, "a.txt", write_table("\t", ["neg", "pos"] * 6, quoted=False)))
    assert texts(bare)[0] == f"{POS}, no. 0" and ROW_NAMES.format("a.txt") in notes(bare)
    lines = write_table(" ", ["neg", "pos"] * 6).splitlines()
    headless = "\n".join([lines[0], *(line.partition(" ")[2] for line in lines[1:])])
    raw = read(put(tmp_path, "b.txt", headless))
    assert len(texts(raw)) == 12 and "The delimiter of b.txt is a blank." in notes(raw)
    no_header = read_table(put(tmp_path, "c.txt", "\n".join(lines[1:])), "2", "3", no_header=True)
    assert no_header.class_names == ("neg", "pos") and len(texts(no_header)) == 12


def test_tables_of_r_are_read_with_late_quotes_missing_texts_and_comments(tmp_path):
    content = write_table(" ", ["neg", "pos"] * 20).replace('\\"', "")
    late = read(put(tmp_path, "a.txt", content + '"99" "say \\"hi\\", now" "pos"\n"100" NA "neg"\n'))
    assert 'say "hi", now' in texts(late) and len(texts(late)) == 41
    assert [skip.why for skip in late.skipped] == ["its text is 'NA'"]
    for above in ("# by R, today\n", "#"):
        raw = read(put(tmp_path, "b.txt", above + content))
        assert len(texts(raw)) == 40 and ROW_NAMES.format("b.txt") in notes(raw) and not raw.skipped


def test_texts_with_quotes_and_blanks_are_no_table_of_r(tmp_path):
    content = "".join(f'good "it" film {n} of {n}\nbad\n' for n in range(8))
    with pytest.raises(InvalidDataError, match="no column '2'"):
        read_table(put(tmp_path, "a.txt", content), "1", "2", no_header=True)


# --- headers that are comments ----------------------------------------------------------------------------------


@pytest.mark.parametrize("sign", [",", "\t", ";"])
@pytest.mark.parametrize("mark", ["#", "# ", "## "])
@pytest.mark.parametrize("above", ["", f"# made{'{}'}here\n"])
def test_a_header_that_begins_as_a_comment_is_the_header_and_said(tmp_path, sign, mark, above):
    lines = [f"{NEG} #{sign}neg", f"{POS} #{sign}pos"]
    path = put(tmp_path, "a.csv", above.format(sign) + table(lines, f"{mark}text{sign}label"))
    raw = read(path)
    assert len(texts(raw)) == 12 and not raw.skipped
    assert "The header of a.csv begins with #, which is taken for no part of the name 'text'." in notes(raw)
    assert bool(above) == any("1 line above left out" in note for note in notes(raw))
    assert preview_names(path) == ["text", "label"]


def test_a_comment_with_as_many_fields_as_the_header_is_told_from_it(tmp_path):
    lines = [f"{NEG} #,neg", f"{POS} #,pos"]
    for comment in ("# made by me, 2024", "# text,label"):
        path = put(tmp_path, "a.csv", f"{comment}\n{table(lines)}")
        assert notes(read(path)) == [
            f"The header of a.csv is in line 2; 1 line above left out, beginning with {comment!r}."
        ]
        assert preview_names(path) == ["text", "label"]


def test_the_mark_stays_where_it_is_part_of_a_name_or_stands_in_a_row(tmp_path):
    lines = [f"{NEG} #,neg", f"{POS} #,pos"]
    path = put(tmp_path, "a.csv", table(lines, "#text,label"))
    assert len(texts(read(path, text="#text"))) == 12
    numbered = read(put(tmp_path, "b.csv", table([f"1,{NEG} #,neg", f"2,{POS} #,pos"], "#,text,label")))
    assert len(texts(numbered)) == 12 and not notes(numbered)
    row = read_table(path, "1", "2", no_header=True)
    assert "Line 1 of a.csv begins with # and is read as a row, like all below it." in row.notes


def test_a_comment_header_goes_with_row_names_and_with_ends(tmp_path):
    named = read(put(tmp_path, "a.csv", "#text,label\n" + "".join(f"{n},{POS} {n},{n % 2}\n" for n in range(9))))
    assert len(texts(named)) == 9 and ROW_NAMES.format("a.csv") in notes(named)
    ended = read(put(tmp_path, "b.csv", table([f"{NEG} #,neg,", f"{POS} #,pos,"], "#text,label,")))
    assert len(texts(ended)) == 12 and any("All lines of b.csv end" in note for note in notes(ended))


# --- delimiters at the ends of lines ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "ends", "said"),
    [
        (
            "text,label,",
            (",", ","),
            "All lines of a.csv end in a delimiter; the empty column behind 'label' is left out.",
        ),
        ("text,label,,", (",,", ",,"), "All lines of a.csv end in a delimiter; the empty column behind 'label' is"),
        (
            "text,label,",
            (",", ""),
            "The header and 6 of 12 rows of a.csv end in a delimiter; what is behind 'label' has",
        ),
        ("text,label,", (", ", ",note"), "The header and 6 of 12 rows"),
        ("text,label,", ("", ""), "The header of a.csv ends in a delimiter, and its rows do not; no column is behind"),
        ("text,label", (",", ""), "a.csv has 6 rows with empty fields behind its last column, which are left out."),
    ],
)
def test_delimiters_that_end_lines_are_said(tmp_path, header, ends, said):
    path = put(tmp_path, "a.csv", table([f"{NEG} #,neg{ends[0]}", f"{POS} #,pos{ends[1]}"], header))
    raw = read(path)
    assert len(texts(raw)) == 12 and not raw.skipped
    if "note" not in ends[1]:
        assert [note[: len(said)] for note in notes(raw)] == [said]
        assert preview_names(path) == ["text", "label"]


def test_a_value_behind_the_ends_of_other_lines_keeps_its_row(tmp_path):
    content = table([f"{NEG} #,neg,", f"{POS} #,pos,"], "text,label,", n=40) + "a remark,neg,really\n"
    raw = read(put(tmp_path, "a.csv", content))
    assert "a remark" in texts(raw) and not raw.skipped
    assert notes(raw)[0].startswith("The header and 80 of 81 rows of a.csv end in a delimiter")


# --- labels written in several ways -----------------------------------------------------------------------------

MERGED = (
    "Labels that differ in blanks around them, in how Unicode composes letters or in how a number is written alone "
    "were taken for one class: "
)


@pytest.mark.parametrize(
    ("labels", "classes", "listed"),
    [
        (["pos", "pos ", " pos", "neg"], ("neg", "pos"), "'pos' (6), 'pos ' (6), ' pos' (6)."),
        (["pos", "pos\u00a0", "neg"], ("neg", "pos"), r"'pos' (6), 'pos\xa0' (6)."),
        (["caf\u00e9", "cafe\u0301", "neg"], ("caf\u00e9", "neg"), r"'café' (6), 'cafe\u0301' (6)."),
        (["1", "1.0", "01", "2"], ("1", "2"), "'1' (6), '1.0' (6), '01' (6)."),
        (["a ", "a", "b", "b "], ("a", "b"), "'a ' (6), 'a' (6); 'b' (6), 'b ' (6)."),
    ],
)
def test_labels_that_are_put_together_are_listed_with_their_numbers(tmp_path, labels, classes, listed):
    path = put(tmp_path, "a.csv", table([f'{POS} #,"{label}"' for label in labels]))
    raw = read(path)
    assert raw.class_names == classes and notes(raw) == [MERGED + listed]


def test_labels_that_all_have_the_same_blanks_are_one_way_to_write_them(tmp_path):
    raw = read(put(tmp_path, "a.csv", table([f"{NEG} #,neg ", f"{POS} #,pos "])))
    assert raw.class_names == ("neg", "pos") and not notes(raw)


@pytest.mark.parametrize(
    ("labels", "listed"),
    [
        (["pos", "Pos", "neg"], "'Pos' and 'pos'"),
        (["very good", "very\u00a0good", "bad"], r"'very good' and 'very\xa0good'"),
        (["pos", "pos\u200b", "neg"], r"'pos' and 'pos\u200b'"),
    ],
)
def test_case_and_blanks_within_labels_are_pointed_out_and_not_put_together(tmp_path, labels, listed):
    raw = read(put(tmp_path, "a.csv", table([f'{POS} #,"{label}"' for label in labels])))
    assert len(raw.class_names) == 3
    assert notes(raw) == [
        f"Classes whose names differ in case, blanks or punctuation alone: {listed}; if they are one, write them alike."
    ]


def test_folders_of_one_name_in_two_forms_of_unicode_are_one_class_and_said(tmp_path):
    names = ["caf\u00e9", unicodedata.normalize("NFD", "caf\u00e9"), "tea"]
    for number, name in enumerate(names):
        folder = tmp_path / "data" / name
        folder.mkdir(parents=True, exist_ok=True)
        for tone in range(3):
            Image.new("L", (4, 4), 9 * (3 * number + tone)).save(folder / f"{tone}.png")
    if len(list((tmp_path / "data").iterdir())) < 3:
        pytest.skip("this file system takes both forms for one name")
    raw = read_image_folder(tmp_path / "data")
    assert raw.class_names == ("caf\u00e9", "tea")
    assert r"Folders whose names differ in how Unicode composes letters alone are one: 'cafe\u0301' and 'caf\xe9'." in (
        note for note in raw.notes if note != HELD_OUT
    )
