"""A text classifier in a real browser: open a text, pick the passages behind its answer, and verify without them."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import App, settled
from tests.browser.test_tokens import built_app, passages

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """An app with the recipe docs-bert in a small size."""
    yield from built_app(tmp_path_factory.mktemp("classifier"), "small_docs_bert")


def test_what_if_the_proponents_of_a_text_were_gone_is_verified(classifier: App, page: Page):
    page.goto(f"{classifier.address}/explore?run=small-bert&test=2")
    expect(page.get_by_role("group", name="proponent", exact=True)).to_be_visible()
    settled(page)
    assert passages(page, "proponent") and passages(page, "opponent")
    page.get_by_role("button", name="Top 10 proponents").click()
    expect(page.get_by_text(re.compile("Without these 10, "))).to_be_visible()
    settled(page)
    page.get_by_role("button", name="Verify by retraining").click()
    found = page.get_by_text(re.compile("Retrained 10 times with and without them, "))
    expect(found).to_be_visible(timeout=240_000)
    assert "Traceback" not in classifier.log.read_text()
