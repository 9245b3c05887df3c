"""The installed explorer, started by its console script in a folder that has modules of the same names."""

import shutil
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.installed import Installed

pytestmark = [pytest.mark.browser, pytest.mark.slow]
expect.set_options(timeout=30_000)  # machines that run tests are busy


def test_it_shows_the_runs_of_the_folder_and_is_not_misled_by_modules_there(
    installed: Installed, small_runs: Path, tmp_path: Path, page: Page
):
    shutil.copytree(small_runs / "digits", tmp_path / "data" / "runs" / "digits")
    (tmp_path / "pages").mkdir()
    for module in ("app.py", "pages/__init__.py", "pages/home.py"):
        (tmp_path / module).write_text("raise SystemExit('not this one')", encoding="utf-8")
    with installed.explorer(tmp_path, tmp_path / "log") as address:
        page.goto(f"{address}/explore?test=3")  # the first visitor of a fresh server, by a deep link
        expect(page.get_by_role("group", name="proponent").get_by_role("button").first).to_be_visible()
        for name in ("training_item", "map", "evidence", "review", "runs", "present", "home"):
            page.goto(f"{address}/{name}")
            expect(page.locator("[data-testid=stApp][data-test-script-state=notRunning]")).to_be_visible()
            expect(page.get_by_test_id("stException")).to_have_count(0)
    assert "not this one" not in (tmp_path / "log").read_text(encoding="utf-8")
