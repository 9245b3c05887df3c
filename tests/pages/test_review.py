import json
import re

import duckdb
import pytest

from tests.pages.conftest import words
from tests.pages.test_explore import gallery_ids
from trak_core.errors import StorageError
from trak_core.store.files import RunFiles
from trak_core.store.progress import BuildStatus, write_status
from trak_core.store.reviews import Reviews
from trak_core.store.run import open_run
from trak_core.views.review import data_fingerprint, read_suspects, suspect_signals


def first_signal(run):
    """The signal that the page begins with, and its name for people."""
    return next(iter(suspect_signals(run).items()))


@pytest.fixture
def ranked(runs):
    """Train examples by the signal that the page begins with, the most suspicious first."""
    with open_run(runs / "digits") as run:
        return read_suspects(run, first_signal(run)[0]).train_idx.tolist()


@pytest.fixture
def reviews(runs):
    with open_run(runs / "digits") as run:
        return Reviews(runs / "digits", data_fingerprint(run))


def press(app, key):
    """Presses the button that has a key."""
    next(button for button in app.button if button.proto.shortcut.lower() == key).click().run()
    assert not app.exception


def shown(app):
    return app.number_input(key="train").value


def progress(app):
    """What the progress bar says of the review, without what it says of the run."""
    return app.get("progress")[0].proto.text.split(";")[0]


def edit_store(path, statement):
    with duckdb.connect(str(path)) as connection:
        connection.execute(statement)


def test_the_queue_begins_with_the_most_suspicious_and_says_why(runs, open_page, ranked):
    edit_store(runs / "digits" / "store.duckdb", f"UPDATE suspects SET is_likely = true WHERE train_idx = {ranked[0]}")
    app = open_page("review")
    assert not app.exception
    assert shown(app) == ranked[0]
    with open_run(runs / "digits") as run:
        given = run.info.class_names[run.label("train", ranked[0])]
        suggested = read_suspects(run, first_signal(run)[0]).suggested_label(ranked[0])
    assert f"This looks like “{suggested}”, and it is labelled “{given}”." in words(app)
    assert progress(app) == "0 of 200 reviewed"
    assert len(gallery_ids(app, "most similar, suggested label")) == 6


@pytest.mark.slow
def test_each_key_records_its_verdict_and_the_next_undecided_comes_up(runs, open_page, ranked, reviews):
    app = open_page("review", reviewer="ann")
    with open_run(runs / "digits") as run:
        suspects, labels = read_suspects(run, first_signal(run)[0]), run.train_labels
    other = str(next(c for c in range(10) if c not in (labels[ranked[4]], suspects.suggested_label(ranked[4]))))
    expected = []
    for place, (key, verdict) in enumerate(
        [("q", "keep"), ("w", "relabel"), ("e", "exclude"), ("n", "unsure"), (other, "relabel")]
    ):
        assert shown(app) == ranked[place]
        press(app, key)
        label = {"w": suspects.suggested_label(ranked[place]), other: int(other)}.get(key)
        expected.append((ranked[place], verdict, label, "ann"))
    assert [(v.train_idx, v.verdict, v.new_label, v.reviewer) for v in reviews.read().verdicts] == expected
    assert shown(app) == ranked[5]
    assert progress(app) == "5 of 200 reviewed, 3 of 4 judged were wrong"


def test_undo_takes_the_last_verdict_back_and_shows_its_example(runs, open_page, ranked, reviews):
    app = open_page("review", reviewer="ann")
    press(app, "q")
    press(app, "e")
    press(app, "u")
    assert shown(app) == ranked[1]
    press(app, "u")
    assert shown(app) == ranked[0]
    assert reviews.read().latest == {}
    assert len(reviews.read().verdicts) == 2
    assert "undone" in words(app)


def test_walking_on_and_back_says_nothing(runs, open_page, ranked, reviews):
    app = open_page("review")
    press(app, "j")
    press(app, "j")
    press(app, "k")
    assert shown(app) == ranked[1]
    assert reviews.read().verdicts == ()


def test_a_note_goes_with_its_verdict(runs, open_page, ranked, reviews):
    app = open_page("review", reviewer="ann")
    app.text_input(key=f"note-{ranked[0]}").set_value("torn <b>page</b>").run()
    press(app, "n")
    assert reviews.read().latest[ranked[0]].note == "torn <b>page</b>"
    assert "torn <b>page</b>" in words(app)


def test_what_others_say_meanwhile_is_skipped_and_disagreement_is_shown(runs, open_page, ranked, reviews):
    app = open_page("review", reviewer="ann")
    for idx in ranked[1:3]:
        reviews.record(idx, "keep", "bob")
    press(app, "q")
    assert shown(app) == ranked[3]
    reviews.record(ranked[0], "exclude", "bob")
    app.selectbox(key="show").set_value("disputed").run()
    app.number_input(key="train").set_value(ranked[0]).run()
    assert "bob: exclude it" in words(app)
    assert "ann: the label is right" in words(app)
    app.selectbox(key="show").set_value("to review by me").run()
    app.number_input(key="train").set_value(ranked[0]).run()
    press(app, "j")
    assert shown(app) == ranked[1]  # bob has judged it, ann has not


def test_a_class_can_be_picked_out(runs, open_page, ranked):
    app = open_page("review", label="8")
    with open_run(runs / "digits") as run:
        eights = [idx for idx in ranked if run.label("train", idx) == 8]
    assert shown(app) == eights[0]
    press(app, "j")
    assert shown(app) == eights[1]


@pytest.mark.slow
def test_a_walked_through_queue_says_so(runs, open_page, ranked, reviews):
    for idx in ranked[:49]:
        reviews.record(idx, "keep", "bob")
    app = open_page("review", length="first 50")
    press(app, "w")
    assert "Every suspect in this queue is reviewed." in words(app)
    assert progress(app) == "50 of 50 reviewed, 1 of 50 judged were wrong"
    app.run()
    assert not app.exception


@pytest.mark.slow
def test_the_last_two_of_a_queue_can_be_judged_one_after_the_other(runs, open_page, ranked, reviews):
    for idx in ranked[:48]:
        reviews.record(idx, "keep", "bob")
    app = open_page("review", length="first 50", reviewer="ann")
    press(app, "q")
    assert shown(app) == ranked[49]
    press(app, "q")
    assert "Every suspect in this queue is reviewed." in words(app)
    assert shown(app) is None
    assert "train" not in app.query_params
    press(app, "u")
    assert shown(app) == ranked[49]
    assert reviews.read().last_by("ann").train_idx == ranked[48]


def test_a_choice_that_leaves_nothing_says_so_after_walking_as_well(runs, open_page, ranked):
    app = open_page("review")
    press(app, "j")
    app.selectbox(key="show").set_value("disputed").run()
    assert not app.exception
    assert "No suspect here is “disputed”." in words(app)
    assert shown(app) is None
    assert "train" not in app.query_params
    app.number_input(key="train").set_value(ranked[7]).run()
    assert not app.exception
    assert f"Train example {ranked[7]}, number 8 by this signal" in words(app)


def test_a_queue_without_any_suspect_is_called_empty(runs, open_page):
    edit_store(runs / "digits" / "store.duckdb", "UPDATE suspects SET is_likely = false")
    app = open_page("review", length="likely wrong", show="all")
    assert not app.exception
    assert "This queue is empty." in words(app)
    assert "No suspect here is" not in words(app)


def test_any_train_example_can_be_reviewed_by_its_number(runs, open_page, ranked, reviews):
    app = open_page("review", train=str(ranked[-1]), reviewer="ann")
    assert shown(app) == ranked[-1]
    assert "The models agree with the label" in words(app)
    press(app, "q")
    assert reviews.read().latest[ranked[-1]].verdict == "keep"


def test_a_new_signal_is_rows_in_the_table_and_nothing_else(runs, open_page):
    edit_store(
        runs / "digits" / "store.duckdb",
        "INSERT INTO suspects SELECT idx, 'area_under_margin', -idx, 1 + idx, (label + 1) % 10, 0.5, false, 'train' "
        "FROM examples WHERE split = 'train'",
    )
    app = open_page("review", signal="Area under margin")
    assert not app.exception
    assert shown(app) == 0
    press(app, "j")
    assert shown(app) == 1


def test_verdicts_on_other_data_are_told_of_and_not_applied(runs, open_page, ranked):
    Reviews(runs / "digits", "data of last year").record(ranked[0], "exclude", "ann")
    app = open_page("review", reviewer="ann")
    assert shown(app) == ranked[0]
    assert "also holds verdicts about other data (1)" in words(app)
    assert progress(app) == "0 of 200 reviewed"


def test_a_verdict_that_cannot_be_written_is_said_and_the_example_stays(runs, open_page, ranked, monkeypatch):
    def full(*_: object) -> None:
        raise StorageError("cannot write there: the disk is full.")

    app = open_page("review")
    monkeypatch.setattr("trak_core.store.review_file.ReviewFile.write", full)
    press(app, "q")
    assert "That was not recorded: cannot write there: the disk is full." in words(app)
    assert shown(app) == ranked[0]


@pytest.mark.slow
def test_an_undo_that_fails_is_said_at_once_and_once(runs, open_page, ranked, reviews, monkeypatch):
    def full(*_: object) -> None:
        raise StorageError("cannot write there: the disk is full.")

    for idx in ranked[:50]:
        reviews.record(idx, "keep", "ann")
    said = "The verdict was not taken back: cannot write there: the disk is full."
    app = open_page("review", length="first 50", reviewer="ann")
    assert "Every suspect in this queue is reviewed." in words(app)
    with monkeypatch.context() as patch:
        patch.setattr("trak_core.store.review_file.ReviewFile.write", full)
        press(app, "u")
        assert said in words(app)
        last = reviews.read().last_by("ann")
        app.button(key=f"undo-{last.verdict_id}").click().run()
        assert said in words(app)
        assert len(app.toast) == 1, "whoever has scrolled down to that button sees it as well"
    app.number_input(key="train").set_value(ranked[7]).run()
    assert said not in words(app) and "not recorded" not in words(app)


def test_a_further_class_can_be_picked_again_after_it_could_not_be_written(
    runs, open_page, ranked, reviews, monkeypatch
):
    def full(*_: object) -> None:
        raise StorageError("cannot write there: the disk is full.")

    names = json.dumps([*"0123456789", "ten", "eleven"])
    edit_store(runs / "digits" / "store.duckdb", f"UPDATE meta SET value = '{names}' WHERE key = 'class_names'")
    app = open_page("review", reviewer="ann")
    further = f"class-{ranked[0]}"
    with monkeypatch.context() as patch:
        patch.setattr("trak_core.store.review_file.ReviewFile.write", full)
        app.selectbox(key=further).select("eleven").run()
    assert "That was not recorded: cannot write there: the disk is full." in words(app)
    assert shown(app) == ranked[0]
    assert app.selectbox(key=further).value is None
    app.selectbox(key=further).select("eleven").run()
    assert not app.exception
    assert reviews.read().latest[ranked[0]].says == ("relabel", 11)


def test_a_damaged_review_file_gets_a_sentence(runs, open_page):
    (runs / "digits" / "reviews.duckdb").write_bytes(b"not a database" * 1000)
    app = open_page("review")
    assert not app.exception
    assert "The verdicts cannot be read" in words(app)


def test_a_run_whose_build_was_stopped_before_says_how_to_go_on(runs, open_page, monkeypatch):
    edit_store(runs / "digits" / "store.duckdb", "DELETE FROM suspects; DELETE FROM meta WHERE key = 'complete'")
    command = ["build", "digits", "--name", "digits", "--seed", "3"]
    status = BuildStatus("stopped", "looking for wrong labels", 0.5, None, 0.0, "", command, 0.0)
    write_status(RunFiles(runs / "digits"), status)
    started = []
    monkeypatch.setattr("trak_core.jobs.Jobs.start_build", lambda jobs, run_dir, command: started.append(command))
    app = open_page("review")
    assert not app.exception
    assert "Its build was stopped before it looked for wrong labels; go on with it." in words(app)
    assert not app.code
    next(button for button in app.button if button.label == "Go on").click().run()
    assert started == [command]


def test_a_run_saved_from_python_says_where_suspects_come_from(runs, open_page):
    edit_store(
        runs / "digits" / "store.duckdb",
        "DELETE FROM suspects; UPDATE meta SET value = '\"python\"' WHERE key = 'recipe'",
    )
    assert "It was saved from Python" in words(open_page("review"))


def test_a_run_without_classes_has_nothing_to_review(runs, open_page):
    edit_store(runs / "digits" / "store.duckdb", "UPDATE meta SET value = '[\"value\"]' WHERE key = 'class_names'")
    app = open_page("review")
    assert not app.exception
    assert "Its examples have numbers as targets" in words(app)


@pytest.mark.parametrize(
    ("address", "notice"),
    [
        ({"signal": "magic"}, "There is no choice “magic” under Signal; this is “"),
        ({"found": "ghosts (3)"}, "There is no choice “ghosts (3)” under Found"),
        ({"show": "<b>"}, "There is no choice “<b>” under Show"),
        ({"length": "7"}, "There is no choice “7” under Queue"),
        ({"label": "cat"}, "There is no class “cat” in this run; every class is shown."),
        ({"train": "5000"}, "There is no training example “5000” in this run"),
    ],
)
def test_bad_addresses_give_a_notice_and_a_default(runs, open_page, ranked, address, notice):
    app = open_page("review", **address)
    assert not app.exception
    assert notice in words(app)
    assert shown(app) == ranked[0]
    assert "None is picked" not in words(app)
    assert "train" not in address or f"This is number {ranked[0]}." in words(app)


def test_a_bad_address_with_nothing_left_picks_none(runs, open_page):
    app = open_page("review", train="5000", show="disputed")
    assert "There is no training example “5000” in this run; it has numbers 0 to 1436. None is picked." in words(app)
    assert shown(app) is None


def test_whoever_gives_no_name_is_a_guest_and_links_name_nobody(runs, open_page):
    app = open_page("review")
    assert re.fullmatch("guest-[0-9a-f]{4}", app.text_input(key="reviewer").value)
    links = [json.loads(element.proto.json) for element in app.get("bidi_component") if element.proto.json]
    query = next(data["query"] for data in links if "query" in data)
    assert "reviewer" not in query
    with open_run(runs / "digits") as run:
        assert "train=" in query and f"signal={first_signal(run)[1].replace(' ', '+')}" in query


def test_names_from_data_are_shown_letter_by_letter(runs, open_page):
    edit_store(
        runs / "digits" / "store.duckdb",
        "UPDATE meta SET value = replace(value, '\"1\"', '\"![x](https://example.org/x.png) <b>\"') "
        "WHERE key = 'class_names'; "
        "UPDATE examples SET label_name = '![x](https://example.org/x.png) <b>' WHERE label = 1",
    )
    app = open_page("review", label="![x](https://example.org/x.png) <b>")
    assert not app.exception
    assert "“![x](https://example.org/x.png) <b>”" in words(app)
    assert not any("https:" in button.label for button in app.button)


# --- what the build found -----------------------------------------------------------------------------------


@pytest.fixture
def found(runs, ranked):
    """The run with findings of its own, two labels that are likely wrong, and how sure the suggestions are."""
    first, second, third = ranked[:3]
    edit_store(
        runs / "digits" / "store.duckdb",
        "DELETE FROM findings; INSERT INTO findings VALUES "
        f"('near_duplicate', {third}, 0.9, 1, 'train', {first}), "
        f"('near_duplicate', {first}, 0.9, 2, 'train', {third}), "
        f"('leak', {third}, 1.0, 1, 'test', 7), ('outlier', {second}, 2.0, 1, NULL, NULL);"
        f"UPDATE suspects SET suggested_confidence = 0.93, is_likely = train_idx IN ({first}, {third})",
    )
    return first, second, third


def test_what_else_was_found_filters_the_same_queue(runs, open_page, found):
    _, second, third = found
    app = open_page("review")
    assert app.selectbox(key="found").options == ["wrong labels", "near-duplicates (2)", "leaks (1)", "outliers (1)"]
    app.selectbox(key="found").set_value("near-duplicates (2)").run()
    assert not app.exception
    assert progress(app) == "0 of 2 reviewed"
    press(app, "j")
    assert shown(app) == third
    app.selectbox(key="found").set_value("outliers (1)").run()
    assert progress(app) == "0 of 1 reviewed"
    assert shown(app) == second
    app.selectbox(key="found").set_value("wrong labels").run()
    assert shown(app) == second  # it is in this queue as well


def test_a_link_finds_its_kind_whatever_the_number_is_now(runs, open_page, found):
    app = open_page("review", found="leaks (17)")
    assert not app.exception
    assert app.selectbox(key="found").value == "leaks (1)"
    assert shown(app) == found[2]
    assert not app.warning


def test_findings_stand_on_the_card_in_words_with_the_other_example(runs, open_page, found):
    first, _, third = found
    app = open_page("review", train=str(third))
    with open_run(runs / "digits") as run:
        other, of_test = (run.info.class_names[run.label(*which)] for which in (("train", first), ("test", 7)))
    assert f"Near-duplicate of train example {first}, labelled “{other}”" in words(app)
    assert f"Leak of test example 7, labelled “{of_test}”" in words(app)
    galleries = [json.loads(element.proto.json) for element in app.get("bidi_component") if element.proto.json]
    items = {data["label"]: data["items"][0] for data in galleries if data.get("items")}
    assert (items["near-duplicate"]["id"], items["near-duplicate"]["href"]) == (first, None)
    assert items["leak"]["href"].startswith("explore?") and "test=7" in items["leak"]["href"]


def test_a_run_without_findings_offers_none(runs, open_page):
    edit_store(runs / "digits" / "store.duckdb", "DELETE FROM findings")
    app = open_page("review")
    assert not app.exception
    assert "found" not in {box.key for box in app.selectbox}


def test_what_is_likely_wrong_is_told_and_is_a_queue_of_its_own(runs, open_page, found):
    _, second, third = found
    app = open_page("review", length="likely wrong")
    assert app.get("progress")[0].proto.text == "0 of 2 reviewed; about 2 labels of the run are likely wrong"
    assert "likely wrong" in words(app)
    assert ", 93% sure" in words(app)
    press(app, "q")
    assert shown(app) == third
    app.number_input(key="train").set_value(second).run()
    assert "likely wrong" not in words(app)


def test_where_nobody_judged_what_is_likely_wrong_nothing_is_said_of_it(runs, open_page):
    edit_store(runs / "digits" / "store.duckdb", "UPDATE suspects SET is_likely = NULL, suggested_confidence = NULL")
    app = open_page("review")
    assert app.get("progress")[0].proto.text == "0 of 200 reviewed"
    assert "likely wrong" not in app.selectbox(key="length").options
    assert "% sure" not in words(app).split("Suggested: ")[1].split("Train example")[0]


def test_no_label_that_looks_wrong_is_told_as_well(runs, open_page):
    edit_store(runs / "digits" / "store.duckdb", "UPDATE suspects SET is_likely = false")
    app = open_page("review", length="likely wrong")
    assert app.get("progress")[0].proto.text == "0 of 0 reviewed; none is called likely wrong"
    assert not app.exception


@pytest.mark.slow
def test_after_fifty_verdicts_the_page_says_whether_to_go_on(runs, open_page, ranked, reviews):
    for idx in ranked[:49]:
        reviews.record(idx, "keep", "bob")
    app = open_page("review", reviewer="ann")
    assert "The last 50" not in words(app)
    press(app, "e")
    stop = "The last 50 held 1 error (at most 9% of such labels, 95% sure). Reviewing on finds few: you can stop here."
    assert stop in words(app)
    press(app, "e")
    press(app, "e")
    assert "The last 50 held 3 errors: go on." in words(app)


def test_several_reviewers_are_counted(runs, open_page, ranked, reviews):
    reviews.record(ranked[0], "keep", "*Ana*")
    assert "they differ" not in words(open_page("review"))
    reviews.record(ranked[0], "exclude", "Ben")
    reviews.record(ranked[1], "exclude", "Ben")
    assert "Ben 2, *Ana* 1; they differ on 1" in words(open_page("review"))


# --- what cannot be reviewed, or no longer --------------------------------------------------------------------


def test_verdicts_on_what_is_not_in_the_run_are_told_of_and_stay_in_the_file(runs, open_page, ranked, reviews):
    reviews.record(5000, "exclude", "ann")
    reviews.record(ranked[0], "relabel", "ann", 77)
    app = open_page("review", reviewer="ann")
    assert not app.exception
    assert "verdicts on examples or classes that this run does not have (2)" in words(app)
    assert shown(app) == ranked[0]
    assert progress(app) == "0 of 200 reviewed"
    assert "0 relabelled, 0 removed, 0 disputed of" in words(app)
    assert [verdict.train_idx for verdict in reviews.read().verdicts] == [5000, ranked[0]]


def test_labels_that_are_all_one_class_leave_nothing_to_review(runs, open_page):
    edit_store(
        runs / "digits" / "store.duckdb",
        "UPDATE examples SET label = 3, label_name = '3' WHERE split = 'train'",
    )
    app = open_page("review")
    assert not app.exception
    assert "Its 1,437 train examples are all labelled '3'" in words(app)


def test_a_class_with_one_example_can_be_reviewed(runs, open_page, reviews):
    edit_store(
        runs / "digits" / "store.duckdb",
        "UPDATE examples SET label = 1, label_name = '1' WHERE split = 'train' AND label = 3 AND idx != "
        "(SELECT min(idx) FROM examples WHERE split = 'train' AND label = 3)",
    )
    app = open_page("review", label="3", length="all")
    assert not app.exception
    assert progress(app) == "0 of 1 reviewed"
    press(app, "q")
    assert progress(app).startswith("1 of 1 reviewed")


def test_planted_errors_are_measured_in_a_closed_panel_and_nowhere_else(runs, open_page, ranked):
    edit_store(
        runs / "digits" / "store.duckdb",
        f"INSERT INTO planted_errors VALUES ({ranked[0]}, 4), ({ranked[1]}, 4), ({ranked[700]}, 4)",
    )
    app = open_page("review")
    assert not app.exception
    (panel,) = (panel for panel in app.expander if panel.label == "Planted errors")
    assert not panel.proto.expanded
    table = panel.dataframe[0].value.set_index("Signal")
    with open_run(runs / "digits") as run:
        assert list(table.index) == list(suspect_signals(run).values())
    first = table.iloc[0]
    assert first.tolist() == [f"{1 - 698 / (3 * 1434):.3f}", "67%", "67%", f"{701 / 1437:.0%}"]


def test_a_run_without_planted_errors_does_not_speak_of_them(runs, open_page):
    assert "Planted errors" not in [panel.label for panel in open_page("review").expander]
