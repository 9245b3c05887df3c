"""Picking, predicting, retraining and looking back, in a real browser."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import App, screenshot, settled

pytestmark = [pytest.mark.browser, pytest.mark.slow]
RETRAINING_MS = 240_000
expect.set_options(timeout=60_000)  # machines that run tests are busy


def picks(page: Page):
    return page.get_by_role("group", name="Picked training examples").get_by_role("button")


def open_explore(explorer: App, page: Page, query: str) -> None:
    page.goto(f"{explorer.address}/explore?{query}")
    expect(page.get_by_text("What if these training examples were gone?")).to_be_visible()
    settled(page)


def test_the_top_ten_are_picked_predicted_and_verified_and_the_answer_is_kept(explorer: App, page: Page):
    open_explore(explorer, page, "test=17")
    page.get_by_role("button", name="Top 10 proponents").click()
    expect(picks(page)).to_have_count(10)
    expect(page).to_have_url(re.compile(r"picked=\d+(\.\d+){9}"))
    expect(page.get_by_text(re.compile("Without these 10, the margin of .* is predicted to fall from"))).to_be_visible()
    address = page.url
    settled(page)
    page.get_by_role("button", name="Verify by retraining").click()
    expect(page.get_by_text(re.compile("^Retraining: |^Waiting for its turn")).first).to_be_visible()
    answer = page.get_by_text(re.compile(r"Retrained 10 times with and without them, it (fell|rose) from"))
    expect(answer).to_be_visible(timeout=RETRAINING_MS)
    figure = page.locator(".js-plotly-plot").filter(has_text="actual, with 95% interval")
    expect(figure).to_be_visible()
    expect(figure.get_by_text("predicted", exact=True)).to_be_visible()
    screenshot(page, "what-if-light")

    # Another visitor finds the answer, and the history.
    said = answer.inner_text()
    page.goto("about:blank")
    page.goto(address)
    expect(page.get_by_text(said)).to_be_visible()
    expect(page.get_by_role("button", name="Verify by retraining")).to_have_count(0)
    page.get_by_text(re.compile(r"What was asked before \(\d+\)")).click()
    expect(
        page.get_by_text(re.compile("verified for this run, [1-9][0-9]* of them for this test example"))
    ).to_be_visible()


def test_a_click_puts_a_pick_back_and_back_brings_it_again(explorer: App, page: Page):
    open_explore(explorer, page, "test=17&picked=3.17.204")
    expect(picks(page)).to_have_count(3)
    picks(page).first.click()
    expect(picks(page)).to_have_count(2)
    expect(page).to_have_url(re.compile(r"picked=17\.204"))
    settled(page)
    page.go_back()
    expect(picks(page)).to_have_count(3)
    settled(page)
    page.get_by_role("button", name="Clear picks").click()
    expect(page.get_by_text("Nothing is picked yet")).to_be_visible()
    expect(page).not_to_have_url(re.compile("picked="))


def test_retraining_can_be_cancelled(explorer: App, page: Page):
    open_explore(explorer, page, "test=18&picked=5.6.7")
    page.get_by_role("button", name="Verify by retraining").click()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("Retraining was cancelled; nothing was kept of it.")).to_be_visible(timeout=60_000)
    expect(page.get_by_role("button", name="Verify by retraining")).to_be_visible()


def test_the_app_logged_no_error(explorer: App):
    assert "Traceback" not in explorer.log.read_text()
