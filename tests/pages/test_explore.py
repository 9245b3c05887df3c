import json

import pytest
from streamlit.testing.v1 import AppTest

from tests.pages.conftest import words
from trak_core.store.run import open_run
from trak_core.views.browse import overview
from trak_core.views.explanation import answer_target


def gallery_ids(app: AppTest, key: str) -> list[int]:
    """What a gallery was given to show, from its message to the browser."""
    for element in app.get("bidi_component"):
        data = json.loads(element.proto.json or "{}")
        if data.get("label") == key:
            return [item["id"] for item in data["items"]]
    raise AssertionError(f"no gallery {key!r}")


def test_explore_shows_what_the_run_says(runs, open_page):
    app = open_page("explore", test="17")
    assert not app.exception
    with open_run(runs / "digits") as run:
        target = answer_target(run, overview(run), 17)
        assert gallery_ids(app, "proponent") == run.proponents(17, k=12, target=target)["train_idx"].tolist()
        assert gallery_ids(app, "opponent") == run.opponents(17, k=12, target=target)["train_idx"].tolist()
    assert "The model calls this" in words(app)
    assert "trust: " in words(app)


def test_another_target_can_be_chosen(runs, open_page):
    app = open_page("explore", test="17")
    with open_run(runs / "digits") as run:
        other = (int(overview(run).predicted[17]) + 1) % 10
        expected = run.proponents(17, k=12, target=str(other))["train_idx"].tolist()
    app.get_by_key("target").set_value(str(other)).run()
    assert not app.exception
    assert gallery_ids(app, "proponent") == expected
    assert f"spoke for “{other}”" in words(app)


def test_a_baseline_that_explains_the_label_only_says_so(runs, open_page):
    app = open_page("explore", test="17", method="Random", target="0")
    with open_run(runs / "digits") as run:
        label = run.label("test", 17)
        expected = run.proponents(17, k=12, method="random")["train_idx"].tolist()
    assert not app.exception
    assert label != 0
    assert f"Random explains the label only, so this is about “{label}”." in words(app)
    assert gallery_ids(app, "proponent") == expected


def test_filters_narrow_what_is_shown(runs, open_page):
    app = open_page("explore", test="17")
    app.toggle(key="mistakes").set_value(True).run()
    with open_run(runs / "digits") as run:
        tests = overview(run)
        wrong = [i for i in range(360) if tests.predicted[i] != tests.labels[i]]
    assert gallery_ids(app, "Test examples") == wrong
    assert f"{len(wrong)} shown of 360" in words(app)
    app.multiselect(key="label").set_value(["0"]).run()
    assert not app.exception


def test_filters_that_nothing_passes_say_so_and_show_all(runs, open_page):
    app = open_page("explore", test="17")
    app.slider(key="confidence").set_value((0, 1)).run()
    assert not app.exception
    assert "No test example passes these filters; all are shown." in words(app)


def test_next_and_previous_walk_through_what_is_shown(runs, open_page):
    app = open_page("explore", test="17")
    next(button for button in app.button if button.label == "Next").click().run()
    assert app.number_input(key="test").value == 18
    next(button for button in app.button if button.label == "Previous").click().run()
    assert app.number_input(key="test").value == 17


def test_a_training_example_can_be_looked_at_closely(runs, open_page):
    app = open_page("explore", test="17", train="100")
    assert not app.exception
    assert "Train example 100, label " in words(app)
    assert "of 1,437" in words(app)


@pytest.mark.parametrize(
    ("address", "notice"),
    [
        ({"test": "99999"}, "There is no test example “99999” in this run; it has numbers 0 to 359."),
        ({"test": "-1"}, "There is no test example “-1” in this run"),
        ({"test": "<b>1</b>"}, "There is no test example “<b>1</b>” in this run"),
        ({"train": "5000"}, "There is no training example “5000” in this run; it has numbers 0 to 1436."),
        ({"target": "cat"}, "There is no target “cat” in this run"),
        ({"test": "1" * 5000}, "There is no test example “111"),
        ({"test": "5.0"}, "There is no test example “5.0” in this run"),
        ({"label": "zz"}, "The address asks for “zz” under Label, which is not there"),
        ({"confidence": "abc"}, "The address asks for “abc” under Confidence"),
        ({"mistakes": "maybe"}, "The address asks for “maybe” under Only mistakes"),
        ({"method": "magic"}, "There is no method “magic” in this run; this is “TRAK”."),
    ],
)
def test_bad_addresses_give_a_notice_and_a_default(runs, open_page, address, notice):
    app = open_page("explore", **address)
    assert not app.exception
    assert notice in words(app)
    assert gallery_ids(app, "proponent")


def test_every_bad_part_of_an_address_gets_its_notice(runs, open_page):
    app = open_page("explore", test="99999", label="zz", method="magic")
    assert not app.exception
    assert len(app.warning) == 3
    app.run()
    assert len(app.warning) == 0


def test_markup_in_an_address_is_shown_letter_by_letter(runs, open_page):
    app = open_page("explore", test="![x](https://example.org/x.png) <b>")
    assert not app.exception
    assert "![" not in app.warning[0].value
    assert "https:" not in app.warning[0].value
    assert "![x](https://example.org/x.png) <b>" in words(app)


def test_explore_without_any_run_points_home(no_runs, open_page, monkeypatch):
    monkeypatch.setattr("trak_core.jobs.Jobs.start_build", lambda self, run_dir, command: None)
    app = open_page("explore")
    assert not app.exception
    assert "There is no run to look at yet" in words(app)


def test_a_damaged_run_gets_a_sentence(runs, open_page):
    (runs / "digits" / "store.duckdb").write_bytes(b"not a database")
    app = open_page("explore")
    assert not app.exception
    assert "This run cannot be opened" in words(app)
