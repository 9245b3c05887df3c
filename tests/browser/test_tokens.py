"""A language model in a real browser: a click on a token, its passages, and what if they were gone."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from playwright.sync_api import Page, expect

from tests.browser.conftest import App, screenshot, settled
from tests.browser.driver import running_app
from trak_core.__main__ import cli

pytestmark = [pytest.mark.browser, pytest.mark.slow]
expect.set_options(timeout=120_000)  # machines that run tests are busy


@pytest.fixture(scope="module")
def language(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """An app with the recipe docs-lm in a small size, as the run "small"."""
    yield from built_app(tmp_path_factory.mktemp("language"), "small_docs_lm")


def built_app(folder: Path, subject: str) -> Iterator[App]:
    """An app in a folder with a run of one of the small subjects of language models, see `tests/small_docs_lm.py`."""
    file = shutil.copy(Path(__file__).parents[1] / f"{subject}.py", folder / f"{subject}.py")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRAK_RUNS_DIR", str(folder / "runs"))
        sizes = ["--n-checkpoints", "2", "--n-subsets", "20", "--n-seeds", "1"]
        done = CliRunner().invoke(cli, ["build", str(file), *sizes])
    assert done.exit_code == 0, (done.output, done.exception)
    with running_app(folder / "runs", folder / "log") as address:
        yield App(address, folder / "runs", folder / "log")


def tokens(page: Page):
    return page.get_by_role("group", name="tokens of the test example").locator("[role=button]")


def passages(page: Page, side: str) -> list[str]:
    return page.get_by_role("group", name=side, exact=True).get_by_role("button").all_inner_texts()


def opened(language: App, page: Page, query: str, run: str = "small") -> None:
    page.goto(f"{language.address}/explore?run={run}&{query}")
    expect(tokens(page).first).to_be_visible()
    settled(page)


def verified_without(page: Page, n: int) -> None:
    """Waits for what is predicted without n training examples, and has it verified by retraining."""
    expect(page.get_by_text(re.compile(f"Without these {n}, the model output is predicted to"))).to_be_visible()
    settled(page)
    page.get_by_role("button", name="Verify by retraining").click()
    found = page.get_by_text(re.compile(r"Retrained 10 times with and without them, it (fell|rose) from"))
    expect(found).to_be_visible(timeout=240_000)


def test_a_click_asks_about_a_token_and_what_if_its_passages_were_gone_is_verified(language: App, page: Page):
    opened(language, page, "test=2")
    expect(page.get_by_text(re.compile("^All 4[0-9] tokens are asked about"))).to_be_visible()
    of_all = passages(page, "proponent")
    tokens(page).nth(8).click()
    expect(page).to_have_url(re.compile(r"tokens=9\b"))
    expect(page.get_by_text(re.compile("^Asked about “.*” alone"))).to_be_visible()
    settled(page)
    assert passages(page, "proponent") != of_all
    expect(page.get_by_role("group", name="proponent", exact=True).locator("mark.weighed").first).to_be_visible()
    screenshot(page, "tokens-light")
    page.get_by_role("button", name="Top 10 proponents").click()
    verified_without(page, 10)


def test_a_drag_and_the_keyboard_ask_about_a_span_and_escape_about_all(language: App, page: Page):
    opened(language, page, "test=2")
    first, last = (tokens(page).nth(place).bounding_box() for place in (0, 3))
    page.mouse.move(first["x"] + 2, first["y"] + first["height"] / 2)
    page.mouse.down()
    page.mouse.move(last["x"] + last["width"] / 2, last["y"] + last["height"] / 2, steps=5)
    page.mouse.up()
    expect(page).to_have_url(re.compile("tokens=1-4"))
    settled(page)
    tokens(page).nth(0).focus()
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"tokens=1-2\b"))
    settled(page)
    tokens(page).nth(0).focus()
    page.keyboard.press("Escape")
    expect(page).not_to_have_url(re.compile("tokens="))


def test_a_link_opens_the_question_and_what_if_a_whole_document_were_gone_is_verified(language: App, page: Page):
    opened(language, page, "test=2&tokens=5-9")
    expect(page.get_by_text(re.compile("^Asked about “.*” alone"))).to_be_visible()
    page.get_by_role("button", name="What if it were gone?").click()
    verified_without(page, 16)


def test_a_prompt_is_typed_and_its_continuation_asked_about_by_the_token(language: App, page: Page):
    opened(language, page, "test=2")
    page.get_by_role("textbox", name="Prompt").fill("Compute the fast")
    page.keyboard.press("Control+Enter")
    own = page.get_by_role("group", name="tokens of your text")
    expect(own.locator("[role=button]").first).to_be_visible()
    settled(page)
    expect(own.locator(".text").first).to_have_text(re.compile("^Compute the fast"))
    own.locator("[role=button]").nth(2).click()
    expect(page.get_by_text(re.compile("^Asked about “.*” alone"))).to_be_visible()
    settled(page)
    expect(page).not_to_have_url(re.compile("tokens="))
    page.get_by_role("textbox", name="Continuation").fill(" Fourier transform of a signal")
    page.keyboard.press("Control+Enter")
    expect(own.get_by_text("signal")).to_be_visible()
    expect(page.get_by_role("group", name="proponent of your text").get_by_role("button").first).to_be_visible()


def test_the_app_logged_no_error(language: App):
    assert "Traceback" not in language.log.read_text()
