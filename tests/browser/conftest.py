"""One real Chromium, and one app that begins with no run and builds digits by itself."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.browser.driver import ROOT, chromium_path, launch_chromium, running_app


@dataclass(frozen=True)
class App:
    """A running app.

    Attributes:
        address: where it answers.
        runs: its directory of runs.
        log: what it prints.
    """

    address: str
    runs: Path
    log: Path


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if chromium_path() is None:
        pytest.fail("no Chromium found, and in CI there must be one; .ci/run installs Debian's")
    with sync_playwright() as playwright:
        started = launch_chromium(playwright)
        yield started
        started.close()


@pytest.fixture(scope="session")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """An app whose directory of runs is empty at first; the first test that waits for it gets the digits run."""
    directory = tmp_path_factory.mktemp("browser")
    with running_app(directory / "runs", directory / "log") as address:
        yield App(address, directory / "runs", directory / "log")


@pytest.fixture(scope="session")
def explorer(measured_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """An app over a copy of the small measured run "digits": quick to start, for tests of single pages."""
    directory = tmp_path_factory.mktemp("explorer")
    shutil.copytree(measured_runs, directory / "runs")
    with running_app(directory / "runs", directory / "log") as address:
        yield App(address, directory / "runs", directory / "log")


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A fresh page, 1280 x 900, light; fails the test on any error that a script of the page throws."""
    context = browser.new_context(
        viewport={"width": 1280, "height": 900},
        color_scheme="light",
        permissions=["clipboard-read", "clipboard-write"],
    )
    opened = context.new_page()
    opened.set_default_timeout(30_000)
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    yield opened
    context.close()
    assert errors == []


def settled(page: Page) -> None:
    """Waits until the script has run to its end, as a person does before the next key."""
    expect(page.locator("[data-testid=stApp][data-test-script-state=notRunning]")).to_be_visible()
    page.wait_for_timeout(300)


def screenshot(page: Page, name: str) -> None:
    """Saves the whole page under docs/images when SCREENSHOTS is set; the pictures of the README are made so."""
    if not os.environ.get("SCREENSHOTS"):
        return
    expect(page.locator("[data-testid=stSkeleton]")).to_have_count(0)  # everything has been drawn
    page.mouse.move(0, 0)
    page.wait_for_timeout(1500)
    height = page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight")
    page.set_viewport_size({"width": 1280, "height": int(height) + 60})
    page.wait_for_timeout(1500)
    (ROOT / "docs" / "images").mkdir(parents=True, exist_ok=True)
    page.screenshot(path=ROOT / "docs" / "images" / f"{name}.png")
