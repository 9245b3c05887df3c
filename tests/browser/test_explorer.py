"""The pages in a real browser: ways from one to the other, keys, links, and views taken away."""

import re
import shutil

import pandas as pd
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import App, settled
from tests.tiny import SETTINGS, TINY
from trak_core.engine import build_run
from trak_core.store.run import open_run
from trak_core.subjects import RECIPES
from trak_core.views.browse import overview
from trak_core.views.explanation import answer_target
from trak_core.views.neighbours import feature_space
from trak_core.views.stories import find_stories
from trak_core.views.training_items import training_item

pytestmark = [pytest.mark.browser, pytest.mark.slow]
expect.set_options(timeout=30_000)

PAGES = {
    "home": "Begin with a story",
    "explore?test=17": "Test example 17",
    "training_item?train=17": "Training example 17",
    "map": "Map",
    "evidence?test=17": "Can these scores be believed",
    "review": "labelled",
    "runs": "Runs",
    "present?step=2": "2 of",
}


def address(app: App, where: str) -> str:
    return f"{app.address}/{'' if where == 'home' else where}"


@pytest.mark.parametrize("where", PAGES)
def test_every_page_opens_from_its_address_and_has_a_link_to_copy(explorer: App, page: Page, where):
    page.goto(address(explorer, where))
    expect(page.get_by_text(re.compile(PAGES[where])).first).to_be_visible()
    settled(page)
    expect(page.get_by_text("Page not found")).to_have_count(0)
    expect(page.locator("[data-testid=stException]")).to_have_count(0)
    if where == "home":
        return
    page.get_by_role("button", name="Copy link").click()
    expect(page.get_by_role("button", name="Link copied")).to_be_visible()
    link = page.evaluate("navigator.clipboard.readText()")
    assert "run=digits" in link
    page.goto(link)
    expect(page.get_by_text(re.compile(PAGES[where])).first).to_be_visible()


def test_the_way_back_leads_from_a_proponent_to_what_it_moves_and_on(explorer: App, page: Page):
    page.goto(f"{explorer.address}/explore?test=17")
    proponents = page.get_by_role("group", name="proponent", exact=True)
    proponents.get_by_role("button").first.click()
    page.get_by_role("link", name="See all its effects").click()
    with open_run(explorer.runs / "digits") as run:
        target = answer_target(run, overview(run), 17)
        strongest = int(run.proponents(17, k=1, target=target)["train_idx"][0])
        item = training_item(run, strongest)
    expect(page.get_by_text(f"Training example {strongest}", exact=True)).to_be_visible()
    expect(page).to_have_url(re.compile(f"train={strongest}"))
    helped = page.get_by_role("group", name="test examples that it helps")
    expect(helped.get_by_role("link").first).to_have_accessible_name(
        re.compile(f"^test example {item.helped[0].example.idx},")
    )
    helped.get_by_role("link").first.click()
    expect(page.get_by_text(f"Test example {item.helped[0].example.idx}", exact=True)).to_be_visible()
    page.go_back()
    expect(page.get_by_text(f"Training example {strongest}", exact=True)).to_be_visible()


def test_keys_walk_through_training_examples_and_stories(explorer: App, page: Page):
    page.goto(f"{explorer.address}/training_item?train=17")
    expect(page.get_by_text("Training example 17", exact=True)).to_be_visible()
    settled(page)
    page.keyboard.press("j")
    expect(page.get_by_text("Training example 18", exact=True)).to_be_visible()
    page.goto(f"{explorer.address}/present")
    expect(page.get_by_text(re.compile("^1 of"))).to_be_visible()
    settled(page)
    page.keyboard.press("j")
    expect(page.get_by_text(re.compile("^2 of"))).to_be_visible()
    expect(page).to_have_url(re.compile("step=2"))


def test_a_question_mark_opens_the_help_but_not_while_typing(explorer: App, page: Page):
    page.goto(f"{explorer.address}/explore?test=17")
    expect(page.get_by_text("Test example 17", exact=True)).to_be_visible()
    settled(page)
    page.get_by_role("spinbutton", name="Test example").press("?")
    settled(page)
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.get_by_role("spinbutton", name="Test example").blur()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("Proponent")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.get_by_text("Test example 17", exact=True)).to_be_visible()


def test_a_second_method_is_put_beside_the_first_with_what_both_name(explorer: App, page: Page):
    page.goto(f"{explorer.address}/explore?test=17&beside=Gradient+dot")
    with open_run(explorer.runs / "digits") as run:
        label = run.info.class_names[run.label("test", 17)]
    if label not in ("", None):
        page.goto(f"{explorer.address}/explore?test=17&target={label}&beside=Gradient+dot")
    expect(page.get_by_text("Compared with Gradient dot").first).to_be_visible()
    expect(page.get_by_role("group", name="proponent by Gradient dot")).to_be_visible()
    expect(page.get_by_text(re.compile("rank correlation")).first).to_be_visible()


def test_p_puts_a_training_example_into_what_if_and_takes_it_out(explorer: App, page: Page):
    page.goto(f"{explorer.address}/explore?test=17")
    first = page.get_by_role("group", name="proponent", exact=True).get_by_role("button").first
    first.focus()
    settled(page)
    first.press("p")
    expect(page).to_have_url(re.compile("picked=[0-9]+"))
    settled(page)
    first = page.get_by_role("group", name="proponent", exact=True).get_by_role("button").first
    first.click(modifiers=["Alt"])
    expect(page).not_to_have_url(re.compile("picked="))


@pytest.mark.parametrize("where", ["explore?test=17", "evidence?test=17", "training_item?train=17", "present?step=1"])
def test_a_view_taken_away_as_html_opens_without_the_app_and_without_a_network(
    explorer: App, page: Page, browser: Browser, tmp_path, where
):
    page.goto(f"{explorer.address}/{where}")
    expect(page.get_by_role("button", name="HTML")).to_be_visible()
    settled(page)
    with page.expect_download() as waiting:
        page.get_by_role("button", name="HTML").click()
    file = tmp_path / "view.html"
    waiting.value.save_as(file)
    context = browser.new_context(offline=True)
    alone = context.new_page()
    errors: list[str] = []
    requests: list[str] = []
    alone.on("pageerror", lambda error: errors.append(str(error)))
    alone.on("request", lambda request: requests.append(request.url))
    alone.goto(file.as_uri())
    expect(alone.locator("main h1")).to_contain_text("igits")
    if "present" not in where and "training" not in where:
        expect(alone.locator(".js-plotly-plot").first).to_be_visible()
    if "evidence" not in where:  # its galleries are for finding one's way, and no part of the view
        expect(alone.locator("figure img").first).to_be_visible()
    assert errors == []
    assert all(url.startswith(("file:", "data:", "blob:")) for url in requests)
    context.close()


@pytest.mark.parametrize(("kind", "ending"), [("CSV", "csv"), ("Parquet", "parquet")])
def test_the_numbers_of_a_view_can_be_taken_away(explorer: App, page: Page, tmp_path, kind, ending):
    page.goto(f"{explorer.address}/explore?test=17")
    settled(page)
    with page.expect_download() as waiting:
        page.get_by_role("button", name=kind).click()
    file = tmp_path / f"numbers.{ending}"
    waiting.value.save_as(file)
    table = pd.read_csv(file) if ending == "csv" else pd.read_parquet(file)
    assert set(table["side"]) == {"proponent", "opponent"}
    assert set(table["test_idx"]) == {17}


def test_presenting_tells_every_story_of_the_run(explorer: App, page: Page):
    with open_run(explorer.runs / "digits") as run:
        stories = find_stories(run, overview(run), feature_space(run))
    page.goto(explorer.address)
    page.get_by_role("link", name="Present the stories").click()
    for story in stories:
        expect(page.get_by_role("heading", name=story.title)).to_be_visible()
        settled(page)
        if story is not stories[-1]:
            page.get_by_role("button", name="Next").click()
    page.get_by_role("link", name="Leave").click()
    expect(page.get_by_text("Begin with a story")).to_be_visible()


def test_a_run_that_is_deleted_while_it_is_open_gives_a_sentence(explorer: App, page: Page, tmp_path):
    gone = explorer.runs / "gone"
    shutil.copytree(explorer.runs / "digits", gone)
    page.goto(f"{explorer.address}/explore?run=gone&test=17")
    expect(page.get_by_text("Test example 17", exact=True)).to_be_visible()
    settled(page)
    shutil.rmtree(gone)
    page.get_by_role("button", name="Next").click()
    expect(page.get_by_text(re.compile("There is no run “gone” (here|any more)"))).to_be_visible()
    expect(page.locator("[data-testid=stException]")).to_have_count(0)


def test_picking_another_run_lets_go_of_what_it_does_not_have(explorer: App, page: Page, monkeypatch):
    """What the address asked of the first run, the second one lacks: each is set back, and the page goes on."""
    monkeypatch.setitem(RECIPES, "tiny", TINY)
    build_run(SETTINGS, "small", explorer.runs)
    page.goto(f"{explorer.address}/explore?run=digits&test=300&train=1400&method=TRAK")
    expect(page.get_by_text("Test example 300", exact=True)).to_be_visible()
    settled(page)
    page.get_by_role("combobox", name="Run", exact=True).click()
    page.get_by_role("option", name="small").click()
    expect(page.get_by_text(re.compile("There is no test example “300”"))).to_be_visible()
    expect(page.get_by_role("group", name="proponent", exact=True)).to_be_visible()
    expect(page.locator("[data-testid=stException]")).to_have_count(0)
    shutil.rmtree(explorer.runs / "small")


def test_the_explorer_logged_no_error(explorer: App):
    log = explorer.log.read_text()
    assert "Traceback" not in log
    assert "deprecated" not in log.lower()
