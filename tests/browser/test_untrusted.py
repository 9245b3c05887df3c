"""Names and texts from data are shown letter by letter: they never become HTML, scripts, links or Markdown."""

import json
import shutil

import duckdb
import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import App, settled

pytestmark = [pytest.mark.browser, pytest.mark.slow]
expect.set_options(timeout=30_000)

EVIL = '<img src=x onerror="window.evil=1"><script>window.evil=1</script>'
MARKDOWN = "**bold** [press](https://evil.example) :red[x] $y$ `z`"
RIGHT_TO_LEFT = "\u202eتسمية חתול"
NAMES = [EVIL, MARKDOWN, RIGHT_TO_LEFT, "a" * 300, "", "=1+1", "7", "8", "9", "😀"]


@pytest.fixture(scope="module")
def evil(explorer: App) -> App:
    """The app with a run "evil" whose class names, titles and texts come from somebody who means harm."""
    shutil.copytree(explorer.runs / "digits", explorer.runs / "evil")
    with duckdb.connect(str(explorer.runs / "evil" / "store.duckdb")) as store:
        store.execute("UPDATE meta SET value = ? WHERE key = 'class_names'", [json.dumps(NAMES)])
        store.execute("UPDATE meta SET value = ? WHERE key = 'title'", [json.dumps(EVIL)])
        store.execute("UPDATE meta SET value = '\"text\"' WHERE key = 'modality'")
        store.execute("UPDATE examples SET label_name = list_extract(?, label + 1), thumbnail = NULL", [NAMES])
        label = "SELECT label + 1 FROM examples WHERE split = 'test' AND idx = test_idx"
        name = f"list_extract(?, CASE WHEN target = 0 THEN ({label}) ELSE target END)"
        store.execute(f"UPDATE targets SET name = {name}", [NAMES])
        store.execute("UPDATE examples SET text = ? || idx", [f"{EVIL} {MARKDOWN} {RIGHT_TO_LEFT} "])
    return explorer


@pytest.mark.parametrize(
    "where",
    [
        *("home", "explore?test=17&picked=1.2.3", "training_item?train=17", "map?test=17&picked=1.2.3"),
        *("evidence?test=17", "review", "runs", "runs?show=Compare", "runs?show=Details"),
        *("present?step=1", "present?step=4"),
    ],
)
def test_no_page_runs_or_formats_what_data_says(evil: App, page: Page, where):
    name, _, query = where.partition("?")
    page.goto(f"{evil.address}/{'' if name == 'home' else name}?run=evil&{query}")
    expect(page.get_by_role("combobox", name="Run", exact=True)).to_be_visible()
    settled(page)
    page.wait_for_timeout(1000)
    expect(page.locator("[data-testid=stException]")).to_have_count(0)
    assert page.evaluate("window.evil") is None
    assert page.locator("a[href^='https://evil.example']").count() == 0
    assert page.locator("img[src='x']").count() == 0


def test_a_view_taken_away_is_as_safe(evil: App, page: Page, tmp_path):
    page.goto(f"{evil.address}/explore?run=evil&test=17")
    settled(page)
    with page.expect_download() as waiting:
        page.get_by_role("button", name="HTML").click()
    file = tmp_path / "view.html"
    waiting.value.save_as(file)
    page.goto(file.as_uri())
    expect(page.locator("main h1")).to_be_visible()
    page.wait_for_timeout(1000)
    assert page.evaluate("window.evil") is None
    assert page.locator("img[src='x']").count() == 0
