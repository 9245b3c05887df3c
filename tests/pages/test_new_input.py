"""The panel for an input of one's own, as a person meets it; the sheet to draw on is tried in a real browser."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from pages.components.draw import LONGEST, PREFIX, png_of
from tests.pages.conftest import words
from trak_core.errors import InvalidDataError
from trak_core.store.run import open_run


def panel() -> None:
    """The panel alone, as a page would show it."""
    import os
    from pathlib import Path

    import streamlit as st

    from pages.components.new_input import new_input_panel
    from pages.components.view import begin_view, noted
    from trak_core.store.run import open_run

    begin_view()
    with open_run(Path(os.environ["TRAK_RUNS_DIR"]) / "digits") as run:
        new_input_panel(run)
    st.session_state["notes"] = noted()


@pytest.fixture
def app(runs) -> AppTest:
    return AppTest.from_function(panel, default_timeout=120).run()


def gallery_ids(app: AppTest, label: str) -> list[int]:
    for element in app.get("bidi_component"):
        data = json.loads(element.proto.json)
        if data["label"] == label:
            return [item["id"] for item in data["items"]]
    raise AssertionError(f"no gallery {label!r}")


def upload(app: AppTest, name: str, content: bytes) -> AppTest:
    return app.file_uploader(key="new image upload").set_value((name, content, "image/png")).run()


def thumbnail(runs, test_idx: int) -> bytes:
    with open_run(runs / "digits") as run:
        return run.rows("SELECT thumbnail FROM examples WHERE split = 'test' AND idx = ?", [test_idx])[0][0]


def test_the_panel_says_what_to_do_and_prepares_nothing(app, monkeypatch):
    assert not app.exception
    assert "Upload or draw a digit: the model's answer" in words(app)
    assert not app.get("bidi_component")


def test_an_uploaded_test_image_gets_its_class_and_its_stored_proponents(app, runs):
    upload(app, "seventeen.png", thumbnail(runs, 17))
    assert not app.exception
    with open_run(runs / "digits") as run:
        label = run.label("test", 17)
        stored = run.proponents(17, k=12)["train_idx"].tolist()
    assert f"The model calls this “{label}”" in words(app)
    assert "Scores of new inputs follow the stored ones at " in words(app)
    assert "taken as it is" in words(app)
    assert gallery_ids(app, "proponent of your input") == stored
    assert not app.warning


def test_another_class_can_be_chosen(app, runs):
    upload(app, "seventeen.png", thumbnail(runs, 17))
    with open_run(runs / "digits") as run:
        other = (run.label("test", 17) + 1) % 10
        stored = run.proponents(17, k=12, target=str(other))["train_idx"].tolist()
    app.get_by_key("new_target").set_value(str(other)).run()
    assert not app.exception
    assert f"spoke for “{other}”" in words(app)
    assert gallery_ids(app, "proponent of your input")[:5] == stored[:5]


def test_an_input_unlike_the_data_gets_a_warning(app):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8))
    buffer = io.BytesIO()
    noise.save(buffer, "PNG")
    upload(app, "noise.png", buffer.getvalue())
    assert not app.exception
    assert "This is unlike what the model was trained on" in words(app)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"hello", "This file cannot be read as an image"),
        (b"<svg></svg>", "This is an SVG drawing"),
        (b"", "This file is empty"),
    ],
)
def test_a_file_that_is_no_image_gets_a_sentence(app, content, says):
    upload(app, "odd.png", content)
    assert not app.exception
    assert says in words(app)


def test_what_is_shown_travels_with_the_view(app, runs):
    upload(app, "seventeen.png", thumbnail(runs, 17))
    titles = [getattr(block, "title", getattr(block, "text", "")) for block in app.session_state["notes"]]
    assert "Your own input" in titles
    assert "proponent of your input" in titles and "opponent of your input" in titles
    assert any("follow the stored ones" in title for title in titles)


def test_a_run_without_a_recipe_says_why_nothing_can_be_tried(runs):
    import duckdb

    with duckdb.connect(str(runs / "digits" / "store.duckdb")) as store:
        store.execute("UPDATE meta SET value = '\"python\"' WHERE key = 'recipe'")
    app = AppTest.from_function(panel, default_timeout=60).run()
    assert not app.exception
    assert "score them with the Attributor that made the run" in words(app)


def test_missing_weights_get_a_sentence(app, runs):
    content = thumbnail(runs, 17)
    (runs / "digits" / "checkpoints" / "model_0.safetensors").unlink()
    upload(app, "seventeen.png", content)
    assert not app.exception
    assert "put the files back" in words(app)


def test_a_drawing_is_checked_like_an_upload():
    assert png_of(PREFIX + base64.b64encode(b"bytes").decode()) == b"bytes"
    for address in ("", "javascript:alert(1)", PREFIX + "%%%", PREFIX + "a" * LONGEST, "data:text/html;base64,PGI+"):
        with pytest.raises(InvalidDataError, match="draw again"):
            png_of(address)
