"""A person's own input on the Explore page: uploaded, drawn, and refused where it is no image."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import App, settled
from trak_core.store.run import open_run

pytestmark = [pytest.mark.browser, pytest.mark.slow]
FIRST_MS = 120_000
"""The first input makes the model ready."""
THREE = [(0.3, 0.2), (0.5, 0.12), (0.68, 0.25), (0.55, 0.45), (0.45, 0.48), (0.68, 0.6), (0.62, 0.82), (0.4, 0.88)]


def open_panel(explorer: App, page: Page) -> None:
    page.goto(f"{explorer.address}/explore?test=17")
    expect(page.get_by_text("Try your own input")).to_be_visible(timeout=30_000)
    settled(page)


def stroke(page: Page, points: list[tuple[float, float]]) -> None:
    sheet = page.get_by_role("img", name="Sheet to draw")
    sheet.scroll_into_view_if_needed()
    box = sheet.bounding_box()
    assert box is not None
    places = [(box["x"] + u * box["width"], box["y"] + v * box["height"]) for u, v in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=5)
    page.mouse.up()


def test_an_uploaded_test_image_is_explained_and_a_proponent_opens(explorer: App, page: Page, tmp_path: Path):
    with open_run(explorer.runs / "digits") as run:
        thumbnail, label = run.rows("SELECT thumbnail, label FROM examples WHERE split = 'test' AND idx = 17")[0]
        strongest = run.proponents(17, k=1).iloc[0]
    (tmp_path / "digit.png").write_bytes(thumbnail)
    open_panel(explorer, page)
    page.locator("input[type=file]").set_input_files(tmp_path / "digit.png")
    proponents = page.get_by_role("group", name="proponent of your input")
    expect(proponents).to_be_visible(timeout=FIRST_MS)
    expect(page.get_by_text(re.compile(f"calls this “{label}”, [0-9]+% sure. Proponents spoke"))).to_be_visible()
    expect(page.get_by_text("Scores of new inputs follow the stored ones at")).to_be_visible()
    first = proponents.get_by_role("button").first
    expect(first).to_have_accessible_name(re.compile(f"^proponent 1: train example {strongest.train_idx},"))
    first.click()
    expect(page).to_have_url(re.compile(f"train={strongest.train_idx}"))
    expect(proponents).to_be_visible()  # the upload stays


def test_a_drawing_is_explained_and_can_be_cleared_by_keyboard(explorer: App, page: Page):
    open_panel(explorer, page)
    page.get_by_text("Draw", exact=True).click()
    expect(page.get_by_role("img", name="Sheet to draw")).to_be_visible()
    settled(page)
    stroke(page, THREE)
    proponents = page.get_by_role("group", name="proponent of your input")
    expect(proponents).to_be_visible(timeout=FIRST_MS)
    expect(page.get_by_text(re.compile("calls this “[0-9]”, [0-9]+% sure. Proponents spoke"))).to_be_visible()
    expect(page.get_by_alt_text("your input as the model sees it")).to_be_visible()
    clear = page.get_by_role("button", name="Clear", exact=True)
    page.get_by_role("img", name="Sheet to draw").focus()
    page.keyboard.press("Tab")
    expect(clear).to_be_focused()
    page.keyboard.press("Enter")
    expect(proponents).not_to_be_visible()


def test_a_file_that_is_no_image_gets_a_sentence(explorer: App, page: Page, tmp_path: Path):
    (tmp_path / "digit.png").write_text("this is no image")
    open_panel(explorer, page)
    page.locator("input[type=file]").set_input_files(tmp_path / "digit.png")
    expect(page.get_by_text("This file cannot be read as an image")).to_be_visible(timeout=FIRST_MS)
    expect(page.get_by_role("group", name="proponent", exact=True)).to_be_visible()


def test_a_drawing_outlives_a_change_of_the_explained_class(explorer: App, page: Page):
    open_panel(explorer, page)
    page.get_by_text("Draw", exact=True).click()
    expect(page.get_by_role("img", name="Sheet to draw")).to_be_visible()
    settled(page)
    stroke(page, THREE)
    expect(page.get_by_role("group", name="proponent of your input")).to_be_visible(timeout=FIRST_MS)
    drawn = page.get_by_role("img", name="Sheet to draw").evaluate("sheet => sheet.toDataURL()")
    page.get_by_role("radio", name="8", exact=True).last.click(force=True)
    expect(page.get_by_text(re.compile("Proponents spoke for “8”"))).to_be_visible()
    assert page.get_by_role("img", name="Sheet to draw").evaluate("sheet => sheet.toDataURL()") == drawn
