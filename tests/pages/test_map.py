"""The Map page, driven without a browser: what it is given to draw, and its states."""

import base64
import json

import duckdb
import numpy as np
from streamlit.testing.v1 import AppTest

from tests.pages.conftest import words
from trak_core.store.files import RunFiles
from trak_core.store.run import open_run
from trak_core.store.writer import build_lock
from trak_core.views.browse import overview
from trak_core.views.groups import cell_pairs, class_influence, group_influence
from trak_core.views.map import answer_scores, map_points


def messages(app: AppTest) -> list[dict]:
    return [json.loads(element.proto.json) for element in app.get("bidi_component") if element.proto.json]


def carried(app: AppTest, part: str) -> dict:
    """What the map was given, by part: points or colours."""
    return next(data for data in messages(app) if data.get("name") == f"map {part}")


def unpacked(text: str, kind: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype=kind)


def picked_on_map(app: AppTest) -> list[int]:
    message = next(data for data in messages(app) if data.get("name") == "map")
    return unpacked(message["picked"], "<u4").tolist()


def test_the_map_is_given_every_example_where_the_run_has_it(runs, open_page):
    app = open_page("map", test="17")
    assert not app.exception
    with open_run(runs / "digits") as run:
        points = map_points(run)
    message = carried(app, "points")
    assert np.array_equal(unpacked(message["xy"], "<f4").reshape(-1, 2), points.xy)
    assert unpacked(message["labels"], "<u2").tolist() == points.labels.tolist()
    assert message["n_train"] == 1437
    assert unpacked(carried(app, "colours")["codes"], "<u2").tolist() == points.labels.tolist()
    assert "Every point is one example" in words(app)


def test_other_colours_leave_the_message_of_the_points_as_it_was(runs, open_page):
    app = open_page("map", test="17")
    before = carried(app, "points")
    app.get_by_key("colour").set_value("score").run()
    assert not app.exception
    assert carried(app, "points") == before
    with open_run(runs / "digits") as run:
        scores, _ = answer_scores(run, overview(run), 17, "trak")
    values = unpacked(carried(app, "colours")["values"], "<f4")
    assert np.array_equal(values[:1437], scores)
    assert np.isnan(values[1437:]).all()


def test_every_colour_and_a_method_that_explains_labels_only_can_be_shown(runs, open_page):
    for colour in ("prediction", "loss", "self-influence", "verdict", "score"):
        assert not open_page("map", test="17", colour=colour).exception
    app = open_page("map", test="17", colour="score", method="Random")
    assert not app.exception


def test_a_colour_that_is_not_there_gives_a_notice(runs, open_page):
    app = open_page("map", colour="weight")
    assert "Points cannot be coloured by “weight” here; this is “class”." in words(app)
    app = open_page("map", colour="self-influence", method="Random")
    assert "cannot be coloured by “self-influence”" in words(app)


def test_picks_of_the_address_are_on_the_map_and_summed(runs, open_page):
    app = open_page("map", test="17", picked="3.17.204")
    assert not app.exception
    assert picked_on_map(app) == [3, 17, 204]
    with open_run(runs / "digits") as run:
        scores, target = answer_scores(run, overview(run), 17, "trak")
        name = run.targets(17)[target]
        together = float(scores[[3, 17, 204]].sum(dtype=np.float64))
        sums = group_influence(class_influence(run), [3, 17, 204])
    assert f"“{name}” for test example 17: {together:+.3g} together." in words(app)
    chart = next(
        json.loads(element.proto.spec)
        for element in app.get("plotly_chart")
        if "Bar" in element.proto.spec or '"bar"' in element.proto.spec
    )
    assert sorted(chart["data"][0]["text"]) == sorted(f"{value:+.2g}" for value in sums)
    assert "3 of 3 shown" in words(app)


def test_many_picks_are_shown_sixty_at_a_time(runs, open_page):
    app = open_page("map", test="17", picked=".".join(map(str, range(100, 250))))
    assert "60 of 150 shown" in words(app)
    gallery = next(data for data in messages(app) if data.get("label") == "60 of 150 picked training examples")
    assert [item["id"] for item in gallery["items"]] == list(range(100, 160))


def test_a_cell_of_the_address_shows_its_pairs(runs, open_page):
    app = open_page("map", cell="8.1")
    assert not app.exception
    with open_run(runs / "digits") as run:
        expected = [(pair.train.idx, pair.test.idx) for pair in cell_pairs(run, "trak", 8, 1, "opponent", 9)]
    pairs = next(data["items"] for data in messages(app) if data.get("label") == "pairs of 8 and 1 that hurt")
    assert [(item["id"], item["pair"]["id"]) for item in pairs] == expected
    assert "Training examples of “8” that move test examples of “1”" in words(app)


def test_a_cell_that_is_not_there_gives_a_notice(runs, open_page):
    for cell in ("8", "8.1.2", "70.1", "-1.2", "a.b"):
        app = open_page("map", cell=cell)
        assert f"There is no cell “{cell}” in this matrix" in words(app)


def test_a_run_without_a_map_says_how_to_draw_it(runs, open_page):
    with duckdb.connect(str(runs / "digits" / "store.duckdb")) as connection:
        connection.execute("DELETE FROM layout; DELETE FROM meta WHERE key = 'map'")
    app = open_page("map")
    assert not app.exception
    assert "This run has no map yet" in words(app)
    assert not app.code
    assert "Draw the map" in [button.label for button in app.button]
    assert "Class influence" in words(app)


def test_a_run_whose_build_goes_on_says_that_the_map_will_come(runs, open_page):
    with duckdb.connect(str(runs / "digits" / "store.duckdb")) as connection:
        connection.execute("DELETE FROM layout; DELETE FROM meta WHERE key IN ('map', 'complete')")
    with build_lock(RunFiles(runs / "digits")):
        app = open_page("map")
    assert not app.exception
    assert "The map is not drawn yet" in words(app)
    assert "Draw the map" not in [button.label for button in app.button]
