"""Retraining on the cleaned labels in a real browser: asked for, waited for, and found again."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import App, screenshot, settled
from tests.browser.driver import running_app
from trak_core.store.reviews import Reviews
from trak_core.store.run import open_run
from trak_core.views.review import data_fingerprint

pytestmark = [pytest.mark.browser, pytest.mark.slow]
RETRAINING_MS = 240_000
N_WRONG = 400
expect.set_options(timeout=60_000)  # machines that run tests are busy


@pytest.fixture
def reviewed(small_runs: Path, tmp_path: Path) -> Iterator[App]:
    """An app over a copy of the small run, with verdicts that spoil enough labels for the models to tell."""
    runs = tmp_path / "runs"
    shutil.copytree(small_runs, runs)
    with open_run(runs / "digits") as run:
        reviews = Reviews(run.path, data_fingerprint(run))
        for idx in range(N_WRONG):
            reviews.record(idx, "relabel", "ann", (run.label("train", idx) + 1) % 10)
    with running_app(runs, tmp_path / "log") as address:
        yield App(address, runs, tmp_path / "log")


def test_labels_are_retrained_in_the_background_and_the_answer_is_kept(reviewed: App, page: Page):
    address = f"{reviewed.address}/review?reviewer=ann"
    page.goto(address)
    expect(page.get_by_text("Before and after")).to_be_visible()
    settled(page)
    page.get_by_role("button", name="Retrain on the cleaned labels").click()
    expect(page.get_by_text(re.compile("^Retraining: |^Waiting for its turn")).first).to_be_visible()
    answer = page.get_by_text(re.compile(r"^Test accuracy fell from .* with the cleaned labels: -\d"))
    expect(answer).to_be_visible(timeout=RETRAINING_MS)
    figure = page.locator(".js-plotly-plot").filter(has_text="wrong ones removed")
    expect(figure).to_be_visible()
    went_wrong = page.get_by_role("group", name="Broken test examples").get_by_role("button")
    expect(went_wrong.first).to_be_visible()

    # A click on a test example tells why, and a way leads on.
    chosen = went_wrong.nth(1)
    test_idx = re.search(r"test example (\d+)", chosen.get_attribute("aria-label") or "")
    chosen.click()
    expect(page.get_by_text(f"Why test example {test_idx[1]} broke")).to_be_visible()
    expect(page.get_by_role("link", name="Open in Explore").last).to_have_attribute(
        "href", re.compile(rf"explore\?.*test={test_idx[1]}\b")
    )
    settled(page)
    screenshot(page, "before-after")

    # Another visitor finds the same answer, and nothing to retrain.
    said = answer.inner_text()
    page.goto("about:blank")
    page.goto(address)
    expect(page.get_by_text(said)).to_be_visible()
    expect(page.get_by_role("button", name="Retrain on the cleaned labels")).to_be_disabled()
    assert "Traceback" not in reviewed.log.read_text()


def test_retraining_can_be_cancelled(reviewed: App, page: Page):
    page.goto(f"{reviewed.address}/review?reviewer=ann")
    expect(page.get_by_text("Before and after")).to_be_visible()
    settled(page)
    page.get_by_role("button", name="Retrain on the cleaned labels").click()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("Retraining was cancelled; nothing was kept of it.")).to_be_visible()
    expect(page.get_by_role("button", name="Retrain on the cleaned labels")).to_be_enabled()
