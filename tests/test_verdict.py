"""What the Evidence page says follows from the numbers: the headline, the controls, titles and causes."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

from tests.blind_runs import BLIND
from tests.old_runs import restore_run
from trak_core.evidence.lds_alone import LdsAlone, lds_alone
from trak_core.store.run import Run, open_run
from trak_core.views.browse import overview
from trak_core.views.controls import ControlVerdict, Rival, control_verdict
from trak_core.views.evidence import Board, board, board_table
from trak_core.views.explanation import explain
from trak_core.views.fit import other_class_sentence
from trak_core.views.judging import questions_in, refusal_in_words
from trak_core.views.lds_causes import checkpoints_title, lds_causes, no_cause, ridge_note, why_title
from trak_core.views.model_quality import trust_counts
from trak_core.views.not_measured import lacks_measurements, what_is_left_to_measure, what_was_not_measured
from trak_core.views.run_facts import evidence_sentences
from trak_core.views.verdict import Verdict, verdict


def said_of(run: Run, **numbers: float | None) -> Verdict:
    """The verdict on a run whose own method had other numbers."""
    found = board(run)
    rows = [replace(row, **numbers) if row.method == run.info.method else row for row in found.rows]
    return verdict(run, overview(run), replace(found, rows=rows))


def ends(name: str, value: float, low: float, high: float) -> dict[str, float | None]:
    names = ("lds", "ci_low", "ci_high") if name == "lds" else ("fixed", "fixed_low", "fixed_high")
    return dict(zip(names, (value, low, high), strict=True))


CLAIMS = {
    "both agree": (
        ends("lds", 0.86, 0.84, 0.88) | ends("fixed", 0.85, 0.83, 0.87),
        "LDS 0.86, and 0.85 at fixed class counts: the scores say more than how many",
        True,
    ),
    "nothing is left": (
        ends("lds", 0.94, 0.9, 0.97) | ends("fixed", 0.02, -0.1, 0.14),
        "LDS 0.94, but 0.02 at fixed class counts: the scores only follow how many examples of each class a half has.",
        False,
    ),
    "perhaps something is left": (
        ends("lds", 0.63, 0.5, 0.7) | ends("fixed", 0.21, -0.05, 0.4),
        "LDS 0.63, but 0.21 at fixed class counts, which cannot be told from chance",
        False,
    ),
    "some is left": (
        ends("lds", 0.63, 0.5, 0.7) | ends("fixed", 0.41, 0.3, 0.5),
        "LDS 0.63, but 0.41 at fixed class counts: a part of it only follows",
        True,
    ),
    "more is left": (
        ends("lds", 0.5, 0.4, 0.6) | ends("fixed", 0.6, 0.5, 0.7),
        "LDS 0.50, and 0.60 at fixed class counts. Trust goes by the lower of the two.",
        True,
    ),
    "chance": (ends("lds", 0.1, -0.1, 0.3) | ends("fixed", 0.1, -0.1, 0.3), "cannot be told from chance", False),
    "undefined": ({"lds": None, "ci_low": None, "ci_high": None}, "LDS is undefined", False),
}


@pytest.mark.parametrize("case", CLAIMS)
def test_the_headline_says_what_both_numbers_say_together(small_run, case):
    numbers, words, is_good = CLAIMS[case]
    found = said_of(small_run, **numbers)
    assert words in found.claim
    assert not found.is_good or is_good


def test_where_there_are_too_many_classes_for_the_halves_the_headline_says_so_and_what_trust_goes_by(small_run):
    said = said_of(small_run)
    assert "10 classes need 24 random halves, and there are 16; more would do. Trust is " in " ".join(said.further)
    assert said.cap in " ".join(said.further) and said.cap in said.doubts


LDS_ALONE = {
    "low": (LdsAlone(0.9246, "Same class", 0.9172, 60, True), "Trust is low: Same class reaches LDS 0.917 against 0.925"
        "; 60 random halves cannot tell what is more than class shares."),
    "just low": (LdsAlone(0.9, "Similarity of inputs", 0.45, 60, True), "Trust is low: Similarity of inputs reaches "
        "LDS 0.45 against 0.90; 60 random halves cannot tell what is more than class shares."),
    "moderate": (LdsAlone(0.9, "Same class", 0.2, 60, True), "Trust is moderate at most: how much of LDS 0.90 is more "
        "than class shares cannot be told with 60 random halves. The strongest simple rule, Same class, reaches 0.20."),
    "no control": (LdsAlone(0.9, "", None, 200, False), "Trust is moderate at most: how much of LDS 0.90 is more than "
        "class shares was not measured."),
    "nothing to trust": (LdsAlone(-0.1, "Same class", 0.2, 60, True), ""),
}  # fmt: skip


@pytest.mark.parametrize("case", LDS_ALONE)
def test_why_lds_alone_deserves_no_more_trust_is_said_with_both_numbers(case):
    alone, words = LDS_ALONE[case]
    assert alone.sentence == words
    assert alone.reason_for(0.1) == "", "so low an LDS asks for no more"
    assert alone.reason_for(0.8) == words


@pytest.mark.parametrize(("its", "level"), [(0.6, "low"), (0.3, "moderate")])
def test_a_run_that_was_stored_without_the_cap_is_read_with_it(truth_runs, tmp_path, its, level):
    run_dir = Path(shutil.copytree(truth_runs / "learnt", tmp_path / "learnt"))
    with duckdb.connect(str(run_dir / "store.duckdb")) as connection:
        for table in ("lds", "target_lds"):
            connection.execute(f"UPDATE {table} SET trust = 'high', ci_low = 0.6")
        connection.execute("UPDATE lds_summary SET lds = 0.1 WHERE method != 'trak'")
        connection.execute("UPDATE lds_summary SET lds = ? WHERE method = 'same_class'", [its])
        connection.execute("UPDATE lds_summary SET lds = 0.7 WHERE method = 'trak'")
    with open_run(run_dir) as run:
        tests, alone = overview(run), lds_alone(run)
        assert alone == LdsAlone(0.7, "Same class", its, 16, True)
        assert trust_counts(run, tests)[level] == run.info.n_test
        trust = explain(run, tests, 3).trust
        assert (trust.level, trust.reason) == (level, alone.sentence)
        said = verdict(run, tests, board(run))
        assert alone.sentence in said.doubts
        assert said.cap_is_low is (level == "low") and not (said.is_good and said.cap_is_low)
        assert alone.sentence in " ".join(evidence_sentences(run))
        assert lds_alone(run, "same_class") is None
    with open_run(truth_runs / "unknown") as run:
        assert lds_alone(run) is None, "two classes leave LDS at fixed class counts to be measured"


@pytest.fixture(params=BLIND)
def blind(request: pytest.FixtureRequest, truth_runs: Path) -> Iterator[Run]:
    with open_run(truth_runs / request.param) as run:
        yield run


def test_of_a_blind_run_nothing_good_is_said(blind):
    said = verdict(blind, overview(blind), board(blind))
    assert not said.is_good
    assert said.beats_controls is False
    assert said.controls.startswith("Same class does ") and said.suffices
    tests = overview(blind)
    for test_idx in range(0, blind.info.n_test, 5):
        trust = explain(blind, tests, test_idx).trust
        assert trust.level in ("low", "not measured")
        assert trust.controls == f"Over all test examples: {said.controls}"


def test_of_inputs_that_are_all_the_same_the_headline_says_that_scores_only_follow_class_shares(truth_runs):
    with open_run(truth_runs / "zeroed") as run:
        said = verdict(run, overview(run), board(run))
    assert "the scores only follow how many examples of each class a half has" in said.claim


def rival(title: str, its: float, own: float, is_better: bool = False) -> Rival:
    return Rival(title, its, own, is_better)


SENTENCES = {
    "none": ((), (), True, ""),
    "one": ((rival("Same class", 0.97, 0.95),), (), None, "Same class does as well: LDS 0.97 against 0.95."),
    "better by LDS alone": (
        (rival("Same class", 0.76, 0.63, True),),
        (),
        True,
        "Same class does better: LDS 0.76 against 0.63; at fixed class counts TRAK beats every control.",
    ),
    "at fixed counts": (
        (),
        (rival("Gradient norm", 0.3, 0.29), rival("Same class", 0.0, 0.29)),
        False,
        "At fixed class counts Gradient norm does as well: 0.30 against 0.29 "
        "(1 other simple rule is not beaten either).",
    ),
    "lower and not told apart": (
        (rival("Similarity of inputs", 0.49, 0.66),),
        (),
        None,
        "A simple rule may do as well: similarity of inputs reaches LDS 0.49 against 0.66, and 24 random halves do not "
        "tell them apart.",
    ),
    "lower by both": (
        (rival("Same class", 0.39, 0.61),),
        (rival("Length or ink", 0.19, 0.42),),
        False,
        "A simple rule may do as well: same class reaches LDS 0.39 against 0.61, and 24 random halves do not tell them "
        "apart. At fixed class counts a simple rule may do as well: length or ink reaches 0.19 against 0.42, and 24 "
        "random halves do not tell them apart.",
    ),
    "the same as shown": (
        (rival("Same class", 0.851, 0.854),),
        (),
        None,
        "Same class does as well: LDS 0.85 against 0.85.",
    ),
}


@pytest.mark.parametrize("case", SENTENCES)
def test_a_simple_rule_that_does_as_well_is_named_with_both_numbers(case):
    rivals, fixed, beats, words = SENTENCES[case]
    assert ControlVerdict("TRAK", beats, beats is not None, rivals, fixed, n_subsets=24).sentence == words


@pytest.mark.parametrize(("its", "suffices"), [(0.49, False), (0.66, True), (0.7, True)])
def test_that_a_simple_rule_suffices_is_said_only_where_its_number_is_no_lower(its, suffices):
    compared = ControlVerdict("TRAK", False, False, (rival("Similarity of inputs", its, 0.66),), (), n_subsets=24)
    said = Verdict("", True, [], compared.verdict, [], compared.beats, compared.suffices)
    assert compared.suffices is suffices
    assert said.doubts[0].startswith(
        "A simple rule suffices. Similarity" if suffices else "A simple rule may do as well: "
    )
    assert not said.is_good


@pytest.mark.parametrize(
    ("by_fixed", "its", "words"),
    [
        (False, 0.9172, "TRAK beats every negative control; the strongest, Same class, reaches LDS 0.917 against 0.925"
            "."),
        (True, 0.3, "TRAK beats every negative control; at fixed class counts the strongest, Same class, reaches LDS "
            "0.30 against 0.93."),
    ],
)  # fmt: skip
def test_the_strongest_control_is_named_also_where_it_is_beaten(by_fixed, its, words):
    own = 0.9246 if not by_fixed else 0.93
    found = ControlVerdict("TRAK", True, by_fixed, (), (), strongest=rival("Same class", its, own))
    assert found.verdict == words and found.sentence == ""


def test_rivals_are_the_controls_whose_paired_interval_reaches_zero(small_run):
    found, table = control_verdict(small_run, "embedding"), small_run.control_comparisons("embedding")
    assert {each.title for each in found.rivals} == set(table["title"][table["ci_low"] <= 0])
    assert found.beats is bool((table["ci_low"] > 0).all())
    for each in found.rivals:
        control = next(key for key, title in small_run.method_titles.items() if title == each.title)
        assert each.its == small_run.lds(control).mean and each.own == small_run.lds("embedding").mean


def test_the_table_says_what_each_row_is_and_whether_it_beats_the_controls(small_run):
    table = board_table(board(small_run)).set_index("method")
    assert table["kind"].tolist() == ["method", "baseline", "baseline", *["control"] * 4]
    assert table.loc["TRAK", "beats the controls"] == "yes"
    assert table.loc["Random", "beats the controls"] == "no"
    assert table.loc[table["kind"] == "control", "beats the controls"].isna().all()


# --- titles and causes ---------------------------------------------------------------------------------------


def with_curve(run: Run, *points: tuple[float, float, float]) -> Board:
    return replace(board(run), by_checkpoints={2**place: point for place, point in enumerate(points)})


CURVES = {
    "rising": (((0.3, 0.2, 0.4), (0.5, 0.45, 0.55), (0.6, 0.5, 0.7)), "More checkpoints, better scores"),
    "rising within intervals": (((0.5, 0.4, 0.6), (0.52, 0.42, 0.62)), "More checkpoints change little"),
    "flat": (((0.5, 0.4, 0.6), (0.501, 0.4, 0.6)), "More checkpoints change little: 1 would do"),
    "falling within intervals": (((0.5, 0.4, 0.6), (0.45, 0.4, 0.5)), "More checkpoints change little: 1 would do"),
    "falling": (((0.6, 0.55, 0.65), (0.4, 0.3, 0.5)), "More checkpoints, worse scores"),
}


@pytest.mark.parametrize("case", CURVES)
def test_the_title_of_the_checkpoints_follows_from_the_curve(small_run, case):
    points, title = CURVES[case]
    assert checkpoints_title(with_curve(small_run, *points)) == title


def test_more_checkpoints_are_asked_for_only_where_the_curve_rises_beyond_its_intervals(small_run):
    for case, (points, _) in CURVES.items():
        causes = [cause.title for cause in lds_causes(small_run, with_curve(small_run, *points))]
        assert any("checkpoints are not enough" in title for title in causes) == (case == "rising")


RIDGES = {
    "inside": ({0.1: 0.3, 1.0: 0.5, 10.0: 0.4}, ""),
    "largest": ({0.1: 0.3, 1.0: 0.4, 10.0: 0.5}, "The best ridge, 10, is the largest of those tried: a larger one"),
    "smallest": ({0.1: 0.5, 1.0: 0.4, 10.0: 0.3}, "The best ridge, 0.1, is the smallest of those tried: a smaller"),
    "no longer rising": ({0.1: 0.3, 1.0: 0.499, 10.0: 0.5}, ""),
    "flat": ({0.1: 0.5, 1.0: 0.5, 10.0: 0.5}, "LDS is the same for every ridge that was tried."),
    "one": ({1.0: 0.5}, ""),
}


@pytest.mark.parametrize("case", RIDGES)
def test_the_ridge_at_the_edge_of_its_grid_is_told(case):
    tried, words = RIDGES[case]
    said = ridge_note(tried)
    assert said.startswith(words) if words else not said


def test_no_rule_that_sees_nothing_of_the_model_counts_as_a_cause(small_run):
    found = board(small_run)
    better = [replace(row, lds=0.99, ci_low=0.98, ci_high=1.0) if row.is_baseline else row for row in found.rows]
    found = replace(found, rows=sorted(better, key=lambda row: -(row.lds or 0)))
    assert not any("reaches 0.99 here" in cause.title for cause in lds_causes(small_run, found))


def test_an_lds_near_its_ceiling_is_not_asked_why_it_is_not_higher(small_run):
    found = board(small_run)
    near, far = (replace(found, rows=[replace(row, share=share) for row in found.rows]) for share in (0.97, 0.6))
    assert why_title(small_run, near) == "LDS is close to the best possible"
    assert why_title(small_run, far) == "Why is LDS not higher?"
    assert no_cause(small_run, far).endswith("It reaches 60% of the noise ceiling.")


def test_where_explore_asks_about_another_class_its_lds_is_told(small_run):
    tests = overview(small_run)
    mistaken, right = (int(tests.mistakes.argmax()), int((~tests.mistakes).argmax()))
    said = other_class_sentence(small_run, tests, mistaken)
    assert f"its LDS is {explain(small_run, tests, mistaken).trust.lds:.2f}." in said
    assert other_class_sentence(small_run, tests, right) == ""


# --- runs that lack something --------------------------------------------------------------------------------


def test_a_run_of_an_older_version_says_what_is_missing_and_what_adds_it(tmp_path):
    with open_run(restore_run(5, "digits", tmp_path)) as run:
        found = board(run)
        said = verdict(run, overview(run), found)
        measured = replace(found, is_measured=True)
        assert lacks_measurements(measured)
        assert what_is_left_to_measure(run, measured)[0] == "There are negative controls to compare with"
        assert control_verdict(run).beats is None
        assert trust_counts(run, overview(run))["high"] == 0
        assert explain(run, overview(run), 2).trust.controls == ""
        assert board_table(found)["fixed counts: LDS"].isna().all()
    assert said.controls == "Negative controls are not measured in this run; measuring every method adds them."
    assert "Trust is moderate at most: how much of LDS" in said.further[0]


def test_what_was_not_measured_is_one_sentence():
    assert what_was_not_measured(True, True) == ""
    assert what_was_not_measured(False, True) == "Not measured in this run: what removing the top examples changes."
    assert what_was_not_measured(False, False).count("Not measured") == 1


def test_a_refusal_for_the_page_tells_no_folder_and_no_option():
    message = "/srv/data/sources/scores.npy holds more than one array: 'a', 'b'; name one of them with --key."
    said = refusal_in_words(message, "/srv/data/sources/")
    assert said == "the file scores.npy holds more than one array: 'a', 'b'; answer the question above."
    assert [question.option for question in questions_in(message)] == ["--key"]
    other = "/srv/data/sources/scores.npy is a matrix of 3 x 4; give the very examples that were scored."
    assert refusal_in_words(other, "/srv/data/sources/").endswith("; give the very examples that were scored.")
