"""Pairs of texts in a real browser: a click on a token of the target, its pairs, what if they were gone, own source."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import App, settled
from tests.browser.test_tokens import built_app, opened, passages, tokens, verified_without

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def language(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """An app with the recipe docs-t5 in a small size."""
    yield from built_app(tmp_path_factory.mktemp("pairs"), "small_docs_t5")


def test_the_target_is_asked_about_by_the_token_and_what_if_its_pairs_were_gone_is_verified(language: App, page: Page):
    opened(language, page, "test=2", "small-t5")
    of_all = passages(page, "proponent")
    tokens(page).nth(1).click()
    expect(page.get_by_text(re.compile("^Asked about “.*” alone"))).to_be_visible()
    settled(page)
    assert passages(page, "proponent") != of_all
    expect(page.get_by_role("group", name="proponent", exact=True).locator("mark.weighed").first).to_be_visible()
    source = page.get_by_role("group", name="tokens of the test example").locator(".text").first
    expect(source.locator("[role=button]")).to_have_count(0)
    page.get_by_role("button", name="Top 10 proponents").click()
    verified_without(page, 10)


def test_a_source_is_typed_and_what_the_model_says_to_it_is_asked_about(language: App, page: Page):
    opened(language, page, "test=2", "small-t5")
    page.get_by_role("textbox", name="Prompt").fill("Compute the inverse of a matrix.")
    page.keyboard.press("Control+Enter")
    own = page.get_by_role("group", name="tokens of your text")
    expect(own.locator("[role=button]").first).to_be_visible()
    settled(page)
    own.locator("[role=button]").first.click()
    expect(page.get_by_text(re.compile("^Asked about “.*” alone"))).to_be_visible()
    expect(page.get_by_role("group", name="proponent of your text").get_by_role("button").first).to_be_visible()


def test_the_app_logged_no_error(language: App):
    assert "Traceback" not in language.log.read_text()
