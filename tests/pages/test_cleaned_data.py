"""Cleaned data on the page: mended by keys, prepared by a button, the same as the table but for what was mended."""

import shutil

import pytest

from tests.pages.conftest import words
from tests.pages.test_review import press, shown
from trak_core.exchange.cleaned_data import cleaned_by_review, hand_over, write_cleaned
from trak_core.store.run import open_run


@pytest.fixture
def desk(table_desk, tmp_path, monkeypatch):
    """A copy of the run whose review a test may write."""
    shutil.copytree(table_desk / "runs", tmp_path / "runs")
    monkeypatch.setenv("TRAK_RUNS_DIR", str(tmp_path / "runs"))
    return table_desk


def prepare(app):
    next(button for button in app.button if button.label == "Prepare cleaned data").click().run()
    assert not app.exception


def test_twenty_labels_mended_on_the_page_are_mended_in_the_table_and_nothing_else(desk, tmp_path, open_page):
    app = open_page("review", run="own", reviewer="me")
    mended = []
    for _ in range(20):
        mended.append(shown(app))
        press(app, "w")
    prepare(app)
    assert "20 labels mended, 0 examples left out of reviews.csv." in words(app)
    with open_run(tmp_path / "runs" / "own") as run:
        origins, made = run.origins("train"), hand_over(run)
        write_cleaned(cleaned_by_review(run), tmp_path / "cleaned.csv")
    before, after = (
        path.read_text(encoding="utf-8").splitlines() for path in (desk / "reviews.csv", tmp_path / "cleaned.csv")
    )
    changed = [f"reviews.csv:{n}" for n, pair in enumerate(zip(before, after, strict=True), 1) if len(set(pair)) > 1]
    assert sorted(changed) == sorted(origins[idx] for idx in mended)
    other = {"pos": "neg", "neg": "pos"}
    for old, new in zip(before, after, strict=True):
        assert new in (old, f"{other.get(old[:3])}{old[3:]}")
    assert (made.file_name, made.content) == ("reviews-cleaned.csv", (tmp_path / "cleaned.csv").read_bytes())


def test_the_page_names_the_row_beside_the_example(desk, tmp_path, open_page):
    app = open_page("review", run="own")
    with open_run(tmp_path / "runs" / "own") as run:
        assert str(run.origins("train")[shown(app)]) in words(app)


def test_data_that_are_gone_are_asked_for_and_what_is_wrong_is_told(desk, tmp_path, open_page):
    moved = tmp_path / "moved.csv"
    (desk / "reviews.csv").rename(moved)
    try:
        app = open_page("review", run="own", reviewer="me")
        press(app, "w")
        app.text_input(key="cleaned source").set_value(str(tmp_path / "none.csv")).run()
        prepare(app)
        assert any("are gone: there is no" in error.value.replace("\u2060\\", "") for error in app.error)
        app.text_input(key="cleaned source").set_value(str(moved)).run()
        prepare(app)
        assert not app.error
        assert "1 label mended, 0 examples left out" in words(app)
    finally:
        moved.rename(desk / "reviews.csv")
