"""The report before any training, and the examples put aside as test."""

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trak_core.datasets.placing import DataSource, place, split_off
from trak_core.datasets.report import report_on
from trak_core.datasets.rows import Example
from trak_core.errors import InvalidDataError, InvalidSettingError
from trak_core.modalities.raw import RawData, RawSplit, Skipped


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
        "Left out: 2\n"
        "  2 because it has no label: a.csv, row 7; a.csv, row 9\n"
        "Duplicates, train examples that repeat an earlier one: 1\n"
        "  train 0, 1\n"
        "Leaks, test examples that are train examples too: 1\n"
        "  train 2 = test 0\n"
        "Contradictions, inputs with more than one label: 1\n"
        "  train 0, 1: чай, お茶\n"
        "\n"
        "There is no test split; 20% of each class were held out as test examples.\n"
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
