"""Every page fits its window: on a phone, on a laptop, on a wide screen."""

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.conftest import App, settled
from tests.browser.test_accessibility import PAGES

pytestmark = [pytest.mark.browser, pytest.mark.slow]
expect.set_options(timeout=60_000)  # machines that run tests are busy

TOO_WIDE = """() => {
  const main = document.querySelector("[data-testid=stMain]")
  const wide = [...main.querySelectorAll("*")].filter((element) => {
    const box = element.getBoundingClientRect()
    if (box.width === 0 || box.right <= window.innerWidth + 1) return false
    for (let outer = element.parentElement; outer && outer !== main; outer = outer.parentElement) {
      if (["auto", "scroll", "hidden", "clip"].includes(getComputedStyle(outer).overflowX)) return false
    }
    return true
  })
  return {
    document: document.documentElement.scrollWidth - window.innerWidth,
    main: main.scrollWidth - main.clientWidth,
    elements: wide.slice(0, 3).map((element) => element.outerHTML.slice(0, 150)),
  }
}"""


@pytest.mark.parametrize("width", [390, 1280, 1920])
@pytest.mark.parametrize("where", PAGES)
def test_no_page_is_wider_than_its_window(explorer: App, browser: Browser, where: str, width: int):
    context = browser.new_context(viewport={"width": width, "height": 900})
    page = context.new_page()
    page.goto(f"{explorer.address}/{where}", wait_until="commit")
    settled(page)
    expect(page.get_by_test_id("stSkeleton")).to_have_count(0)
    page.wait_for_timeout(500)
    too_wide = page.evaluate(TOO_WIDE)
    context.close()
    assert too_wide["document"] <= 0, too_wide
    assert too_wide["main"] <= 0, too_wide
