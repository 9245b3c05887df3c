"""The report before any training, and the examples put aside as test."""

import base64
import io
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from trak_core.__main__ import cli
from trak_core.commands.custom_data import check
from trak_core.datasets.placing import DataSource, place, split_off
from trak_core.datasets.readiness import try_preparing
from trak_core.datasets.report import report_on
from trak_core.datasets.rows import Example
from trak_core.datasets.samples import samples_of
from trak_core.datasets.sampling import sampled
from trak_core.datasets.table import read_table
from trak_core.errors import InvalidDataError, InvalidSettingError, TrakCoreError
from trak_core.media import Text
from trak_core.modalities import find_modality, prepare
from trak_core.modalities.raw import RawData, RawSplit, Skipped
from trak_core.subjects import find_model
from trak_core.views.data_report import findings_of, read_report


def texts(train: list[tuple[str, int]], test: list[tuple[str, int]], names=("no", "yes"), **other) -> RawData:
    def part(rows: list[tuple[str, int]]) -> RawSplit:
        return RawSplit([text for text, _ in rows], np.array([label for _, label in rows], dtype=np.int64))

    return RawData("reviews", "text", tuple(names), part(train), part(test), **other)


def images(train: list[int], test: list[int], train_labels: list[int], test_labels: list[int]) -> RawData:
    """Images by the number of what they show."""
    seen = np.random.default_rng(0).integers(0, 256, (10, 3, 4, 3), dtype=np.uint8)

    def part(numbers: list[int], labels: list[int]) -> RawSplit:
        return RawSplit(seen[numbers], np.array(labels, dtype=np.int64))

    return RawData("things", "image", ("a", "b"), part(train, train_labels), part(test, test_labels))


def found(repeated) -> list[tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]]:
    return [(one.train, one.test, one.labels) for one in repeated]


# --- what is found --------------------------------------------------------------------------------------------


def test_images_with_the_same_pixels_are_found_within_and_between_the_splits():
    report = report_on(images([0, 1, 0, 2, 3, 3, 3], [4, 0, 2, 5, 5], [0, 0, 0, 1, 0, 1, 1], [0, 0, 0, 1, 1]))
    assert found(report.repeated) == [
        ((0, 2), (1,), (0,)),
        ((3,), (2,), (0, 1)),
        ((4, 5, 6), (), (0, 1)),
        ((), (3, 4), (1,)),
    ]
    assert found(report.duplicates) == [((0, 2), (1,), (0,)), ((4, 5, 6), (), (0, 1))] and report.n_duplicates == 3
    assert found(report.leaks) == [((0, 2), (1,), (0,)), ((3,), (2,), (0, 1))] and report.n_leaks == 2
    assert found(report.conflicts) == [((3,), (2,), (0, 1)), ((4, 5, 6), (), (0, 1))]
    assert (report.n_train, report.n_test) == ((4, 3), (3, 2))
    assert report.sizes == "Images of 4 x 3 pixels (width x height), in colour."


def test_one_tone_of_one_pixel_makes_another_image():
    raw = images([0, 0], [1], [0, 1], [0])
    raw.train.contents[1, 2, 3, 1] ^= 1
    assert report_on(raw).repeated == ()


def test_texts_that_differ_in_case_blanks_and_composition_alone_are_the_same():
    same = ["Café  Straße", " cafe\u0301 strasse ", "CAFÉ\tSTRASSE\n", "café\u00a0straße"]
    report = report_on(texts([(text, 0) for text in same] + [("cafe strasse", 1)], [(same[1], 1)]))
    assert found(report.repeated) == [((0, 1, 2, 3), (0,), (0, 1))]


def test_texts_that_differ_in_anything_else_are_not():
    different = ["good", "good.", "goods", "go od", "", "g\u043eod"]  # the last with a Cyrillic letter
    assert report_on(texts([(text, 0) for text in different], [("bad", 1)])).repeated == ()


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 1)), min_size=1),
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 1)), min_size=1),
)
def test_findings_are_those_of_comparing_all_with_all(train, test):
    report = report_on(texts([(f"text {n}", c) for n, c in train], [(f"text {n}", c) for n, c in test]))
    numbers = [number for number, _ in train]
    assert report.n_duplicates == sum(number in numbers[:row] for row, number in enumerate(numbers))
    assert report.n_leaks == sum(number in numbers for number, _ in test)
    labels = {number: {label for other, label in train + test if other == number} for number, _ in train + test}
    assert len(report.conflicts) == sum(len(one) == 2 for one in labels.values())
    assert report.n_train == tuple(Counter(label for _, label in train)[label] for label in (0, 1))


def test_inputs_that_are_all_the_same_are_warned_of_in_each_split():
    same = texts([("Same  thing", n % 2) for n in range(10)], [("same thing", n % 2) for n in range(6)])
    report = report_on(same)
    assert report.notes == (
        "All 10 train texts are the same: nothing but the shares of classes can be learnt from them.",
        "All 6 test texts are the same: nothing but the shares of classes can be learnt from them.",
    )
    assert report.n_different == 1 and json.loads(report.as_json())["n_different"] == 1
    assert "Different texts: 1 of 16" in report.text()
    pictures = report_on(images([3] * 10, [1, 2, 4, 5, 6], [0, 1] * 5, [0, 1, 0, 1, 0]))
    assert pictures.notes[0].startswith("All 10 train images are the same") and len(pictures.notes) == 1


def test_inputs_of_which_most_are_the_same_are_counted():
    mostly = texts([(f"text {n}" if n % 20 == 0 else "the", n % 2) for n in range(100)], [("the", 0), ("other", 1)])
    assert report_on(mostly).notes == ("95 of 100 train texts are the same; there are 6 different ones among 100.",)
    few = texts([(f"text {n}" if n > 40 else "the", n % 2) for n in range(100)], [("the", 0), ("other", 1)])
    assert report_on(few).notes == ()


def test_classes_whose_inputs_are_the_same_are_warned_of():
    within = texts([("yes" if n % 2 else "no", n % 2) for n in range(40)], [("no", 0), ("yes", 1)], ("-", "+"))
    assert report_on(within).notes == (
        "Within each class the train texts are the same; there are 2 different ones among 40. Explanations cannot tell "
        "them apart.",
    )
    names = ("a", "b", "c")
    three = texts([("xyz"[n % 3], n % 3) for n in range(30)], [("x", 0), ("y", 1)], names)
    assert report_on(three).notes == (
        "Within each class the train texts are the same; there are 3 different ones among 30. Explanations cannot tell "
        "them apart.",
    )
    one = texts([("x" if n % 3 == 1 else f"text {n}", n % 3) for n in range(30)], [("x", 0), ("y", 1)], names)
    assert report_on(one).notes == ("The train texts of the class 'b' (10 of 10) are the same.",)
    two = texts([("xyz"[n % 3] if n % 3 and n > 5 else f"t {n}", n % 3) for n in range(30)], [("x", 0)], names)
    assert report_on(two).notes == ("The train texts of the classes 'b' (8 of 10), 'c' (8 of 10) are mostly the same.",)


# --- how it is said -------------------------------------------------------------------------------------------


def test_the_text_has_every_finding_and_names_as_they_are():
    raw = texts(
        [("one", 0), ("ONE", 1), ("two", 0), ("three", 2)],
        [("two", 0)],
        names=("чай", "お茶", "café"),
        skipped=(Skipped("a.csv, row 7", "it has no label"), Skipped("a.csv, row 9", "it has no label")),
        notes=("There is no test split; 20% of each class were held out as test examples.",),
    )
    text = report_on(raw).text()
    assert text == (
        "reviews: 4 train and 1 test texts in 3 classes\n"
        "Texts of 3 to 5 characters, half of them up to 3.\n"
        "\n"
        "    train      test  class\n"
        "        2         1  чай\n"
        "        1         0  お茶\n"
        "        1         0  café\n"
        "\n"
        "Samples, 5 drawn from all classes:\n"
        "    train  чай: one\n"
        "    train  お茶: ONE\n"
        "    train  чай: two\n"
        "    train  café: three\n"
        "     test  чай: two\n"
        "\n"
        "Left out: 2\n"
        "  2 because it has no label: a.csv, row 7; a.csv, row 9\n"
        "Different texts: 3 of 5\n"
        "Duplicates, train examples that repeat an earlier one: 1\n"
        "  train 0, 1\n"
        "Leaks, test examples that are train examples too: 1\n"
        "  train 2 = test 0\n"
        "Contradictions, inputs with more than one label: 1\n"
        "  train 0, 1: чай, お茶\n"
        "\n"
        "There is no test split; 20% of each class were held out as test examples.\n"
        "Classes with fewer than 5 train examples can hardly be learnt: 'чай' (2), 'お茶' (1), 'café' (1).\n"
    )


def test_many_findings_are_cut_short_in_the_text_and_whole_in_the_json():
    raw = texts(
        [(f"text {number % 50}", 0) for number in range(1000)],
        [("other", 1)],
        skipped=tuple(Skipped(f"row {number}", "it is empty") for number in range(2000)),
    )
    report = report_on(raw)
    assert len(report.text()) < 2000
    assert "and 1,995 more" in report.text() and "and 45 more" in report.text()
    facts = json.loads(report.as_json())
    assert len(facts["left_out"]) == 2000 and len(facts["repeated"]) == 50
    assert facts["repeated"][0] == {"train": list(range(0, 1000, 50)), "test": [], "labels": [0]}


def test_of_very_many_classes_the_text_lists_the_largest_and_the_smallest_and_the_json_all():
    counts = [2 + label % 7 for label in range(250)]
    counts[40], counts[41] = 90, 1
    rows = [(f"text {label} {n}", label) for label, count in enumerate(counts) for n in range(count)]
    report = report_on(texts(rows, [("test", 0)], names=[f"class {label}" for label in range(250)]))
    lines = report.text().splitlines()
    head = next(n for n, line in enumerate(lines) if line.endswith("  class"))
    listed = lines[head + 1 : lines.index("", head)]
    assert len(listed) == 11
    assert listed[0] == "       90         0  class 40" and listed[-1] == "        1         0  class 41"
    assert listed[5].endswith("240 classes between, of 2 to 8 train examples each")
    assert len(json.loads(report.as_json())["classes"]) == 250


def test_inputs_that_repeat_within_the_test_split_are_listed():
    report = report_on(texts([("a", 0), ("b", 1)], [("c", 0), ("d", 1), ("C ", 0), ("c", 0)]))
    assert (report.n_duplicates, report.n_leaks, report.n_test_duplicates) == (0, 0, 2)
    assert "Different texts: 4 of 6\n" in report.text()
    assert "Repeated in the test split, test examples that repeat an earlier one: 2\n  test 0, 2, 3\n" in report.text()
    assert json.loads(report.as_json())["n_test_duplicates"] == 2
    assert [finding.title for finding in findings_of(report)] == ["2 repeated in the test split"]


def test_the_json_has_names_of_any_script_as_they_are():
    said = report_on(texts([("a", 0), ("a", 1)], [("a", 1)], names=("чай", "お茶 😀"))).as_json()
    assert "お茶 😀" in said and "чай" in said
    facts = json.loads(said)
    assert facts["classes"] == [
        {"name": "чай", "n_train": 1, "n_test": 0},
        {"name": "お茶 😀", "n_train": 1, "n_test": 1},
    ]
    assert (facts["n_train"], facts["n_test"], facts["n_duplicates"], facts["n_leaks"]) == (2, 1, 1, 1)


def test_names_cannot_steer_the_terminal():
    raw = texts(
        [("a", 0), ("b", 1)],
        [("c", 1)],
        names=("red \x1b[31m", "back\u202ewards\nLeaks: 0"),
        skipped=(Skipped("\x07bell.png", "why"),),
    )
    text = report_on(raw).text()
    assert not set("\x1b\x07\u202e") & set(text) and "back\ufffdwards\ufffdLeaks" in text
    joined = report_on(texts([("a", 0), ("b", 1)], [("c", 1)], names=("क्\u200dष", "👩\u200d💻"))).text()
    assert "क्\u200dष" in joined and "👩\u200d💻" in joined  # joiners belong to the script


# --- samples --------------------------------------------------------------------------------------------------


def test_twelve_samples_come_from_all_classes_and_both_splits_by_the_seed():
    rows = [(f"text {n}", min(n % 40, 9)) for n in range(400)]  # most are of the last class
    raw = texts(rows[:320], rows[320:], names="abcdefghij")
    drawn = samples_of(raw, 3)
    assert Counter(one.split for one in drawn) == {"train": 8, "test": 4}
    assert len({one.label for one in drawn}) == 10
    for one in drawn:
        split = raw.train if one.split == "train" else raw.test
        assert (one.media, one.label) == ((Text(split.contents[one.idx]),), split.labels[one.idx])
    assert samples_of(raw, 3) == drawn != samples_of(raw, 4)


@pytest.mark.parametrize(("n_train", "n_test"), [(1, 1), (3, 2), (2, 30), (30, 1), (8, 4)])
def test_where_there_are_fewer_examples_there_are_fewer_samples(n_train, n_test):
    raw = texts([("a", n % 2) for n in range(n_train)], [("b", n % 2) for n in range(n_test)])
    drawn = samples_of(raw, 0)
    assert len(drawn) == min(12, n_train + n_test)
    assert len({(one.split, one.idx) for one in drawn}) == len(drawn)


def test_samples_tell_where_they_came_from_and_long_texts_are_cut():
    raw = texts([("long " * 9999, 0), ("b", 1)], [("c", 1)])
    raw = replace(raw, train=replace(raw.train, origins=["a.csv:2", "a.csv:3"]))
    report = report_on(raw)
    assert report.samples[0].media == (Text(("long " * 9999)[:1000]),)
    assert "    train  yes: b [a.csv:3]\n     test  yes: c\n" in report.text()
    assert all(len(line) < 120 for line in report.text().splitlines())


def test_samples_of_images_are_pictures_of_exactly_their_pixels():
    raw = images([0, 1, 2], [3], [0, 1, 0], [1])
    told = json.loads(report_on(raw).as_json())["samples"]
    for one in told:
        content = base64.b64decode(one["media"][0]["picture"])
        split = raw.train if one["split"] == "train" else raw.test
        assert (np.asarray(Image.open(io.BytesIO(content))) == split.contents[one["idx"]]).all()


# --- what a build would refuse --------------------------------------------------------------------------------

CASES = Path(__file__).resolve().parents[2] / "shared" / "cases"


def what_a_build_says(raw: RawData) -> str:
    """Why a build cannot prepare data; empty where it can."""
    model = find_model(find_modality(raw.modality).usual_model(raw.train.contents), raw.modality)
    try:
        prepare(sampled(raw), model.takes)
    except TrakCoreError as error:
        return str(error)
    return ""


def what_the_check_says(raw: RawData) -> str:
    try:
        try_preparing(raw)
    except TrakCoreError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    "contents",
    [
        ["800 856 639", "343 212"],
        ["\U0001f621\U0001f4a9", "\U0001f389\U0001f60d"],
        ["a b", "c d"],
        ["... --- ...", "!?"],
        ["好评 很好", "差评 不好"],
        ["a fine film", "a poor film"],
    ],
)
def test_the_check_refuses_texts_exactly_where_a_build_does_and_in_its_words(contents):
    raw = texts([(contents[n % 2], n % 2) for n in range(20)], [(contents[n % 2], n % 2) for n in range(4)])
    assert what_the_check_says(raw) == what_a_build_says(raw)


@pytest.mark.parametrize(("name", "file"), [("codes", "codes.csv"), ("emoji-text", "t.csv")])
def test_case_texts_without_letters(name, file):
    if not (CASES / name).exists():
        pytest.skip(f"the shared case {name} is missing ({CASES})")
    raw = read_table(CASES / name / file, "text", "label")
    assert what_the_check_says(raw) == what_a_build_says(raw)


def test_texts_without_a_known_word_are_counted_before_anything_is_trained():
    raw = texts([("a fine film", 0), ("a poor film", 1)] * 5, [("nothing known", 0), ("a film", 1), ("zzz", 1)])
    assert try_preparing(raw) == (
        "2 of 3 test texts have no word that the model 'words' would know, so they are all alike to it.",
    )


def test_data_that_are_too_many_for_a_build_are_said_to_be(monkeypatch):
    monkeypatch.setattr("trak_core.datasets.sampling.MAX_TRAIN", 3)
    said = try_preparing(texts([("a fine film", n % 2) for n in range(4)], [("a film", 1)]))
    assert len(said) == 1 and said[0].startswith("As they are, a build refuses these data: reviews: 4 train examples")


def test_the_check_prints_samples_and_then_refuses_as_a_build_does(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("text,label\n" + "".join(f"{'-+'[n % 2] * 3},{'ab'[n % 2]}\n" for n in range(20)))
    said = CliRunner().invoke(check, ["table", str(path), "--text", "text", "--label", "label"])
    assert "Samples, 12 drawn from all classes:\n    train  " in said.stdout and "[a.csv:" in said.stdout
    assert said.exit_code == 2 and "none of the 16 train texts has a word" in said.stderr
    told = CliRunner().invoke(check, ["table", str(path), "--text", "text", "--label", "label", "--json"])
    assert (told.exit_code, told.stdout) == (2, "")
    path.write_text("text,label\n" + "".join(f"a {'good bad'.split()[n % 2]} film,{n % 2}\n" for n in range(20)))
    told = CliRunner().invoke(
        check, ["table", str(path), "--text", "text", "--label", "label", "--json", "--seed", "5"]
    )
    report = read_report(told.stdout)
    assert report.samples == samples_of(read_table(path, "text", "label", seed=5), 5)


@pytest.mark.parametrize(
    "options",
    [
        ["--text", "a", "--text", "b"],
        ["--label", "a", "--label=a"],
        ["--test", "a.csv", "--test", "b.csv"],
        ["--delimiter", ";", "--delimiter", ","],
        ["--seed", "1", "--seed", "2"],
    ],
)
@pytest.mark.parametrize("command", [["check"], ["build"], ["import-scores", "scores.npy"]])
def test_an_option_given_twice_is_refused(command, options):
    said = CliRunner().invoke(cli, [*command, "table", "a.csv", *options])
    assert said.exit_code == 2
    if "--seed" not in options or command != ["import-scores", "scores.npy"]:
        assert f"{options[0]} is given 2 times; give it once." in said.stderr
    assert ("joined in the table first" in said.stderr) == (options[0] in ("--text", "--label"))


def test_case_title_body():
    if not (CASES / "title-body").exists():
        pytest.skip(f"the shared case title-body is missing ({CASES})")
    path = str(CASES / "title-body" / "reviews.csv")
    said = CliRunner().invoke(cli, ["check", "table", path, "--text", "title", "--text", "body", "--label", "label"])
    assert said.exit_code == 2 and "--text is given 2 times; give it once. Columns that belong together" in said.stderr


def test_options_of_recipes_and_of_other_commands_count_once_too_unless_they_may_be_repeated():
    for command in (
        ["build", "digits", "--seed", "1"],
        ["suspects", "run", "--first", "1"],
        ["build", "me.py", "--name", "a"],
    ):
        said = CliRunner().invoke(cli, [*command, *command[-2:]])
        assert said.exit_code == 2 and "is given 2 times; give it once." in said.stderr
    said = CliRunner().invoke(cli, ["evidence", "nowhere", "--method", "trak", "--method", "magic"])
    assert "given" not in said.stderr and "nowhere" in said.stderr


# --- putting aside --------------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=80), st.floats(0.01, 0.99), st.integers(0, 3))
def test_each_class_gives_its_share_and_keeps_one(labels, share, seed):
    array = np.array(labels, dtype=np.int64)
    train, test = split_off(array, share, seed)
    assert sorted([*train, *test]) == list(range(len(labels)))
    assert train.tolist() == sorted(train) and test.tolist() == sorted(test)
    for label, count in Counter(labels).items():
        n_test = int((array[test] == label).sum())
        if count == 1:
            assert n_test == 0
        else:
            assert 1 <= n_test <= count - 1
            assert abs(n_test - share * count) <= 0.5 or n_test in (1, count - 1)


def test_the_draw_of_one_class_does_not_depend_on_the_others_and_follows_the_seed():
    alone = np.zeros(50, dtype=np.int64)
    both = np.concatenate([alone, np.ones(30, dtype=np.int64)])
    drawn = split_off(both, 0.2, 0)[1]
    assert (drawn[drawn < 50] == split_off(alone, 0.2, 0)[1]).all()
    assert (split_off(both, 0.2, 0)[1] == drawn).all() and (split_off(both, 0.2, 1)[1] != drawn).any()
    # The same on every machine: runs that were made elsewhere explain the same examples.
    assert drawn.tolist() == [9, 10, 13, 15, 16, 19, 24, 36, 44, 47, 53, 64, 65, 69, 75, 79]


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5, float("nan")])
def test_a_share_that_leaves_nothing_is_refused(share):
    with pytest.raises(InvalidSettingError, match="share of test examples is"):
        DataSource("x", "x.csv", share)


def test_one_class_is_refused_by_name():
    with pytest.raises(InvalidDataError, match=r"x\.csv has examples of one class only, 'b'; give two classes"):
        place([Example("row 1", "", "b"), Example("row 2", "", "b")], DataSource("x", "x.csv"), "text")
