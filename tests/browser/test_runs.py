"""The Runs page in a real browser: start, watch, cancel, go on, compare, take away and open again."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import App, screenshot, settled
from tests.browser.driver import running_app
from tests.tiny import SETTINGS, TINY
from trak_core.engine import build_run
from trak_core.store.progress import read_status
from trak_core.store.run import open_run
from trak_core.subjects import RECIPES

pytestmark = [pytest.mark.browser, pytest.mark.slow]

BUILD_MS = 300_000
expect.set_options(timeout=30_000)


@pytest.fixture(scope="module")
def mine(measured_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """An app with runs of its own, which these tests add to and delete from."""
    directory = tmp_path_factory.mktemp("runs-page")
    shutil.copytree(measured_runs, directory / "runs")
    RECIPES["tiny"] = TINY
    try:
        build_run(SETTINGS, "tiny", directory / "runs")  # small enough to be uploaded
    finally:
        del RECIPES["tiny"]
    with running_app(directory / "runs", directory / "log") as address:
        yield App(address, directory / "runs", directory / "log")


def start(page: Page, name: str) -> None:
    page.get_by_label("Name", exact=True).fill(name)
    page.keyboard.press("Tab")
    settled(page)
    page.get_by_role("button", name="Start", exact=True).click()


def test_a_new_run_is_started_watched_cancelled_and_gone_on_with(mine: App, page: Page):
    page.goto(f"{mine.address}/runs")
    expect(page.get_by_text("Every run is one model, its data and its explanations")).to_be_visible()
    start(page, "second")
    expect(page.get_by_role("progressbar").first).to_be_visible()
    # The build has come to work, and says how it goes on.
    expect(
        page.get_by_text(re.compile("training 20 checkpoints|retraining on|gradients|ridge|scoring")).first
    ).to_be_visible(timeout=BUILD_MS)
    page.get_by_role("button", name="Cancel").click()
    go_on = page.get_by_role("button", name="Go on")
    expect(go_on).to_be_visible(timeout=60_000)
    expect(page.get_by_text(re.compile("stopped$")).first).to_be_visible()
    page.wait_for_timeout(3000)  # the page is drawn once more when a build has ended, and closes what was opened
    settled(page)
    page.get_by_text("Log", exact=True).click()
    expect(page.get_by_text(re.compile("stopped; the same command goes on from here"))).to_be_visible()
    status = read_status(mine.runs / "second")
    assert status is not None and status.state == "stopped"
    go_on.click()
    expect(page.get_by_role("button", name="Cancel")).to_be_visible()
    expect(page.get_by_role("button", name="Cancel")).to_have_count(0, timeout=BUILD_MS)
    with open_run(mine.runs / "second") as run:
        assert run.info.provenance["complete"]


def test_two_methods_are_compared_and_the_least_agreed_on_opens_in_explore(mine: App, page: Page):
    page.goto(f"{mine.address}/runs?run=digits&show=Compare&other_method=TracInCP")
    expect(page.get_by_text(re.compile("TRAK and TracInCP rank the training examples"))).to_be_visible()
    expect(page.locator(".js-plotly-plot")).to_have_count(1)
    screenshot(page, "runs-light")
    second = page.get_by_role("group", name="Least agreed on").get_by_role("button").nth(1)
    number = re.match(r"test example (\d+),", second.get_attribute("aria-label") or second.inner_text())
    assert number is not None
    second.click()
    expect(page.get_by_text(f"Test example {number[1]}: rank correlation")).to_be_visible()
    expect(page).to_have_url(re.compile("show=Compare"))
    settled(page)
    page.get_by_role("link", name="TracInCP").click()
    expect(page).to_have_url(re.compile(f"/explore.*test={number[1]}"))
    expect(page.get_by_text(f"Test example {number[1]}", exact=True)).to_be_visible()


def test_a_run_goes_out_as_a_file_comes_back_under_another_name_and_is_deleted(mine: App, page: Page, tmp_path: Path):
    page.goto(f"{mine.address}/runs?run=tiny&show=Details")
    expect(page.get_by_text("Export run")).to_be_visible()
    with page.expect_download(timeout=60_000) as download:
        page.get_by_role("button", name=re.compile("^Run file|archive Run file")).click()
    file = tmp_path / "tiny.zip"
    download.value.save_as(file)
    page.goto(f"{mine.address}/runs")
    page.locator("input[type=file]").set_input_files(file)
    expect(page.get_by_text("tiny.zip")).to_be_visible()
    page.get_by_label("Name here").fill("came-back")
    page.keyboard.press("Tab")
    settled(page)
    page.get_by_role("button", name="Add to the runs").click()
    expect(page.get_by_text(re.compile("The run “came\u2060?-back” was added"))).to_be_visible(timeout=60_000)
    with open_run(mine.runs / "came-back") as back, open_run(mine.runs / "tiny") as run:
        assert (back.scores("trak") == run.scores("trak")).all()
    settled(page)
    # It stands first: "came-back" comes before "digits".
    page.get_by_role("button", name="Delete").first.click()
    page.get_by_label("Type the name of the run to confirm").fill("came-back")
    page.keyboard.press("Tab")
    settled(page)
    page.get_by_role("button", name="Delete for good").click()
    expect(page.get_by_text(re.compile("“came\u2060?-back” was deleted"))).to_be_visible()
    assert not (mine.runs / "came-back").exists()


def test_a_run_is_checked_from_the_page(mine: App, page: Page):
    page.goto(f"{mine.address}/runs?run=digits&show=Details")
    page.get_by_role("button", name="Check this run").click()
    expect(page.get_by_text("holds: every table can be read to its end")).to_be_visible(timeout=120_000)


def test_the_app_logged_no_error(mine: App):
    log = mine.log.read_text()
    assert "Traceback" not in log
    assert "deprecated" not in log.lower()
