"""Reviewing labels in a real browser: by keyboard alone, by two at once, and over a restart of the app."""

import io
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pandas as pd
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import App, screenshot, settled
from tests.browser.driver import running_app
from trak_core.store.reviews import ReviewLog, Reviews
from trak_core.store.run import open_run
from trak_core.views.review import data_fingerprint, read_suspects, suspect_signals

pytestmark = [pytest.mark.browser, pytest.mark.slow]

expect.set_options(timeout=30_000)  # machines that run tests are busy


@pytest.fixture
def reviewing(small_runs: Path, tmp_path: Path) -> Iterator[App]:
    """An app over a fresh copy of the small run, without any verdict."""
    shutil.copytree(small_runs, tmp_path / "runs")
    with running_app(tmp_path / "runs", tmp_path / "log") as address:
        yield App(address, tmp_path / "runs", tmp_path / "log")


def ranking(runs: Path) -> tuple[list[int], list[int]]:
    """Train examples, the most suspicious first, and the label suggested for each."""
    with open_run(runs / "digits") as run:
        suspects = read_suspects(run, next(iter(suspect_signals(run))))
    return suspects.train_idx.tolist(), suspects.suggested.tolist()


def log_of(runs: Path) -> ReviewLog:
    with open_run(runs / "digits") as run:
        return Reviews(runs / "digits", data_fingerprint(run)).read()


def open_review(page: Page, address: str, query: str = "") -> None:
    page.goto(f"{address}/review{query}")
    expect(page.get_by_text("Last verdicts")).to_be_visible()
    expect(page.get_by_label("Training example")).not_to_have_value("")
    # A fresh browser fetches the code of buttons late, and keys are heard only when they have been put in place.
    expect(page.get_by_role("button", name=re.compile("^(check )?Keep"))).to_be_visible()
    settled(page)


def shown(page: Page) -> int:
    return int(page.get_by_label("Training example").input_value())


def press(page: Page, key: str, then: int) -> None:
    """Presses a key, and waits for the train example that comes up by it."""
    page.keyboard.press(key)
    expect(page.get_by_label("Training example")).to_have_value(str(then))
    settled(page)


def test_twenty_labels_by_keyboard_alone_and_every_verdict_outlives_the_app(small_runs, page: Page, tmp_path):
    runs = tmp_path / "runs"
    shutil.copytree(small_runs, runs)
    ranked, suggested = ranking(runs)
    keys = "qwen" * 5
    with running_app(runs, tmp_path / "log") as address:
        open_review(page, address, "?reviewer=ann")
        for place, key in enumerate(keys):
            press(page, key, then=ranked[place + 1])
        expect(page.get_by_text(re.compile("^20 of 200 reviewed, 10 of [0-9]+ judged were wrong"))).to_be_visible()
        press(page, "u", then=ranked[19])
        press(page, "u", then=ranked[18])
    verdicts = {"q": ("keep", None), "e": ("exclude", None), "n": ("unsure", None)}
    expected = {ranked[i]: verdicts.get(keys[i], ("relabel", suggested[i])) for i in range(18)}
    assert {idx: verdict.says for idx, verdict in log_of(runs).latest.items()} == expected
    assert len(log_of(runs).verdicts) == 20
    with running_app(runs, tmp_path / "log") as address:
        open_review(page, address, "?reviewer=ann")
        expect(page.get_by_text(re.compile("^18 of 200 reviewed, 9 of [0-9]+ judged were wrong"))).to_be_visible()
        assert shown(page) == ranked[18]
        assert page.get_by_text("undone").count() == 2
        open_review(page, address, f"?reviewer=ann&show=all&train={ranked[0]}")
        with open_run(runs / "digits") as run:
            names = run.info.class_names
        said = {"q": "the label is right", "e": "exclude it", "n": "unsure"}
        for place in range(18):  # every one of them stands on its card
            words = said.get(keys[place], f"should be “{names[suggested[place]]}”")
            expect(page.get_by_text(f"ann: {words}", exact=True)).to_be_visible()
            press(page, "j", then=ranked[place + 1])
        for undone in ranked[18:20]:
            assert shown(page) == undone
            expect(page.get_by_text(re.compile("^ann: "))).to_have_count(0)
            page.keyboard.press("j")
            settled(page)


def test_two_browsers_review_at_once_and_both_sets_are_there(reviewing: App, browser: Browser, page: Page):
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    other = context.new_page()
    said: set[tuple[int, str, str]] = set()
    for each, name in ((page, "ann"), (other, "bob")):
        open_review(each, reviewing.address, f"?reviewer={name}")
    for _ in range(5):
        before = {page: shown(page), other: shown(other)}
        for each, name, key, verdict in ((page, "ann", "q", "keep"), (other, "bob", "e", "exclude")):
            said.add((before[each], name, verdict))
            each.keyboard.press(key)
        for each in (page, other):
            expect(each.get_by_label("Training example")).not_to_have_value(str(before[each]))
            settled(each)
    context.close()
    log = log_of(reviewing.runs)
    assert {(verdict.train_idx, verdict.reviewer, verdict.verdict) for verdict in log.verdicts} == said
    assert len(said) == 10
    assert "Traceback" not in reviewing.log.read_text()


def test_keys_do_not_fire_while_a_note_is_typed(reviewing: App, page: Page):
    ranked, _ = ranking(reviewing.runs)
    open_review(page, reviewing.address, "?reviewer=ann")
    page.get_by_label("Note").click()
    page.keyboard.type("queue: when unsure, exclude 3")
    settled(page)
    assert shown(page) == ranked[0]
    page.keyboard.press("Tab")
    settled(page)
    press(page, "n", then=ranked[1])
    (verdict,) = log_of(reviewing.runs).verdicts
    assert (verdict.verdict, verdict.note) == ("unsure", "queue: when unsure, exclude 3")
    expect(page.get_by_text(re.compile("queue: when unsure, exclude 3"))).to_be_visible()


def test_what_was_reviewed_can_be_taken_away(reviewing: App, page: Page):
    ranked, suggested = ranking(reviewing.runs)
    open_review(page, reviewing.address, "?reviewer=ann")
    press(page, "w", then=ranked[1])
    press(page, "e", then=ranked[2])

    def downloaded(name: str) -> bytes:
        with page.expect_download() as waiting:
            page.get_by_role("button", name=name).click()
        return Path(waiting.value.path()).read_bytes()

    cleaned = pd.read_csv(io.BytesIO(downloaded("Cleaned labels, CSV"))).set_index("train_idx")
    assert len(cleaned) == 1437
    assert cleaned.loc[ranked[0], "new_label"] == suggested[0]
    assert pd.isna(cleaned.loc[ranked[1], "new_label"])
    assert cleaned.loc[ranked[2], "new_label"] == cleaned.loc[ranked[2], "label"]
    again = pd.read_parquet(io.BytesIO(downloaded("Cleaned labels, Parquet"))).set_index("train_idx")
    assert again["new_label"].isna().sum() == 1
    removed = pd.read_csv(io.BytesIO(downloaded("Removal list, CSV")))
    assert removed["train_idx"].tolist() == [ranked[1]]
    assert removed["reviewer"].tolist() == ["ann"]
    expect(page.get_by_role("link", name="What if the excluded were gone?")).to_have_attribute(
        "href", re.compile(f"picked={ranked[1]}")
    )


def test_what_others_say_after_the_page_was_drawn_is_in_the_downloads(reviewing: App, page: Page):
    ranked, _ = ranking(reviewing.runs)
    open_review(page, reviewing.address, "?reviewer=ann")
    with open_run(reviewing.runs / "digits") as run:
        reviews = Reviews(reviewing.runs / "digits", data_fingerprint(run))
    reviews.record(ranked[3], "exclude", "bob")

    def downloaded(name: str) -> pd.DataFrame:
        with page.expect_download() as waiting:
            page.get_by_role("button", name=re.compile(f"^(download )?{name}$")).click()
        return pd.read_csv(Path(waiting.value.path())).set_index("train_idx")

    assert downloaded("Cleaned labels, CSV").loc[ranked[3], "reviewer"] == "bob"
    assert downloaded("Removal list, CSV").index.tolist() == [ranked[3]]
    assert downloaded("CSV").loc[ranked[3], "verdict"] == "exclude"


def test_the_end_of_a_queue_says_so_and_can_be_undone(reviewing: App, page: Page):
    ranked, _ = ranking(reviewing.runs)
    with open_run(reviewing.runs / "digits") as run:
        reviews = Reviews(reviewing.runs / "digits", data_fingerprint(run))
    for idx in ranked[:48]:
        reviews.record(idx, "keep", "bob")
    open_review(page, reviewing.address, "?length=first+50&reviewer=ann")
    press(page, "q", then=ranked[49])
    expect(page).to_have_url(re.compile(f"train={ranked[49]}"))
    page.keyboard.press("q")
    expect(page.get_by_role("heading", name="Done")).to_be_visible()
    settled(page)
    expect(page.get_by_text(re.compile("^50 of 50 reviewed"))).to_be_visible()
    expect(page.get_by_role("button", name=re.compile("Cleaned labels, CSV"))).to_be_visible()
    expect(page).not_to_have_url(re.compile("train="))
    press(page, "u", then=ranked[49])
    press(page, "j", then=ranked[49])
    page.get_by_role("combobox", name=re.compile("Show")).click()
    page.get_by_role("option", name="disputed").click()
    expect(page.get_by_role("heading", name="Nothing to show")).to_be_visible()
    settled(page)
    expect(page).not_to_have_url(re.compile("train="))
    assert "Traceback" not in reviewing.log.read_text()


@pytest.mark.parametrize("pause", [0, 80, 150])
def test_undo_pressed_twice_in_a_hurry_takes_one_verdict_back(reviewing: App, page: Page, pause: int):
    ranked, _ = ranking(reviewing.runs)
    open_review(page, reviewing.address, "?reviewer=ann")
    for place in range(3):
        press(page, "q", then=ranked[place + 1])
    page.keyboard.press("u")
    page.wait_for_timeout(pause)
    # The second press, unless the other example is there already: whoever presses then has seen it.
    page.evaluate(
        "(before) => document.body.innerText.includes(before) && document.body.dispatchEvent("
        "new KeyboardEvent('keydown', {key: 'u', code: 'KeyU', keyCode: 85, bubbles: true}))",
        f"Train example {ranked[3]}, number",
    )
    expect(page.get_by_label("Training example")).to_have_value(str(ranked[2]))
    settled(page)
    page.wait_for_timeout(1000)
    assert list(log_of(reviewing.runs).latest) == ranked[:2]
    assert shown(page) == ranked[2]


def test_what_else_was_found_is_a_queue_and_leads_to_the_other_example(small_runs, page: Page, tmp_path):
    runs = tmp_path / "runs"
    shutil.copytree(small_runs, runs)
    ranked, _ = ranking(runs)
    first, second, third = ranked[:3]
    with duckdb.connect(str(runs / "digits" / "store.duckdb")) as connection:
        connection.execute("DELETE FROM findings")
        connection.execute(
            "INSERT INTO findings VALUES ('near_duplicate', $1, 0.9, 1, 'train', $2), "
            "('near_duplicate', $2, 0.9, 2, 'train', $1), ('leak', $3, 1.0, 1, 'test', 7)",
            [second, third, third],
        )
    with running_app(runs, tmp_path / "log") as address:
        open_review(page, address, "?reviewer=ann")
        assert shown(page) == first
        page.get_by_role("combobox", name=re.compile("Found")).click()
        page.get_by_role("option", name="near-duplicates (2)").click()
        expect(page.get_by_label("Training example")).to_have_value(str(second))
        settled(page)
        expect(page.get_by_text(re.compile(f"^Near-duplicate of train example {third}, labelled “."))).to_be_visible()
        page.get_by_role("group", name="near-duplicate").get_by_role("button").click()
        expect(page.get_by_label("Training example")).to_have_value(str(third))
        settled(page)
        assert "found=near-duplicates" in page.url
        page.get_by_role("group", name="leak").get_by_role("link").click()
        expect(page.get_by_role("spinbutton", name="Test example")).to_have_value("7")
        assert "/explore" in page.url


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_page_is_readable_in_both_themes(reviewing: App, browser: Browser, theme):
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme=theme)
    page = context.new_page()
    open_review(page, reviewing.address)
    expect(page.get_by_role("group", name="most similar, suggested label")).to_be_visible()
    background = page.evaluate("getComputedStyle(document.querySelector('[data-testid=stApp]')).backgroundColor")
    assert (background == "rgb(20, 24, 29)") == (theme == "dark")
    screenshot(page, f"review-{theme}")
    context.close()
