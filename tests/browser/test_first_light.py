"""A newcomer's first minutes in a real browser: from no run at all to proponents with retrained evidence."""

import re
import subprocess

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import App, screenshot
from tests.browser.driver import ROOT, app_command, running_app
from trak_core.store.run import open_run
from trak_core.views.browse import overview
from trak_core.views.stories import find_stories

pytestmark = [pytest.mark.browser, pytest.mark.slow]

BUILD_MS = 240_000
expect.set_options(timeout=30_000)  # machines that run tests are busy


@pytest.fixture
def ready(app: App, page: Page) -> App:
    """The app with its finished digits run."""
    page.goto(app.address)
    expect(page.get_by_text("Begin with a story").or_(page.get_by_role("group", name="proponent")).first).to_be_visible(
        timeout=BUILD_MS
    )
    page.goto(f"{app.address}/evidence")
    expect(page.get_by_text("models were retrained on random halves").first).to_be_visible(timeout=BUILD_MS)
    return app


def test_with_no_run_digits_builds_itself_and_the_page_turns_into_the_explorer(app: App, page: Page):
    page.goto(app.address)
    expect(page.get_by_text("Building your first run: handwritten digits")).to_be_visible()
    expect(page.get_by_role("progressbar")).to_be_visible()
    expect(page.get_by_text(re.compile("The explorer opens in about [0-9]+ seconds|within a minute"))).to_be_visible()
    proponents = page.get_by_role("group", name="proponent")
    expect(proponents).to_be_visible(timeout=BUILD_MS)
    expect(page).to_have_url(re.compile("/explore"))

    # A test image of the strip: its proponents are those of the store.
    strip = page.get_by_role("group", name="Test examples")
    with open_run(app.runs / "digits") as run:
        chosen = find_stories(run, overview(run))[0].test_idx
        other = chosen + 2 if chosen + 2 < run.info.n_test else chosen - 2
        predicted = int(overview(run).predicted[other])
        strongest = run.proponents(other, k=1, target=str(predicted)).iloc[0]
    strip.get_by_role("button", name=re.compile(f"^test example {other},")).click()
    expect(page.get_by_text(f"Test example {other}", exact=True)).to_be_visible()
    first = proponents.get_by_role("button").first
    expect(first).to_have_accessible_name(
        f"proponent 1: train example {strongest.train_idx}, label {strongest.label_name}, score {strongest.score:+.3g}"
        + ("" if strongest.label == predicted else ", other class")
    )
    first.click()
    expect(page.get_by_text(f"Train example {strongest.train_idx}, label")).to_be_visible()

    # Evidence joins without a reload.
    # `first`: for a moment the old and the new badge are both there.
    expect(page.get_by_text(re.compile("trust: (high|moderate|low)")).first).to_be_visible(timeout=BUILD_MS)
    expect(page.get_by_text(re.compile(r"LDS -?[0-9.]+.*95% interval")).first).to_be_visible()


def test_a_story_leads_from_home_to_its_explanation(ready: App, page: Page):
    page.goto(ready.address)
    expect(page.get_by_text("A mistake and what is behind it")).to_be_visible()
    screenshot(page, "home-light")
    page.get_by_role("link", name="See why").first.click()
    expect(page.get_by_text(re.compile("but its label is"))).to_be_visible()
    expect(page.get_by_role("group", name="opponent")).to_be_visible()
    screenshot(page, "explore-light")


def settled(page: Page) -> None:
    """Waits until the script has run to its end, as a person does before the next key."""
    expect(page.get_by_role("button", name="Next")).to_be_visible()
    expect(page.locator("[data-testid=stApp][data-test-script-state=notRunning]")).to_be_visible()
    page.wait_for_timeout(300)


def test_keys_walk_and_back_returns(ready: App, page: Page):
    page.goto(f"{ready.address}/explore?test=17")
    expect(page.get_by_text("Test example 17", exact=True)).to_be_visible()
    settled(page)
    page.keyboard.press("j")
    expect(page.get_by_text("Test example 18", exact=True)).to_be_visible()
    expect(page).to_have_url(re.compile("test=18"))
    page.keyboard.press("k")
    expect(page.get_by_text("Test example 17", exact=True)).to_be_visible()
    expect(page).to_have_url(re.compile("test=17"))
    settled(page)
    page.go_back()
    expect(page.get_by_text("Test example 18", exact=True)).to_be_visible()


def test_galleries_can_be_used_by_keyboard_alone(ready: App, page: Page):
    page.goto(f"{ready.address}/explore?test=17")
    buttons = page.get_by_role("group", name="proponent").get_by_role("button")
    buttons.first.focus()
    page.keyboard.press("ArrowRight")
    expect(buttons.nth(1)).to_be_focused()
    page.keyboard.press("End")
    expect(buttons.last).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_text(re.compile("^Train example [0-9]+, label"))).to_be_visible()
    expect(page).to_have_url(re.compile("train="))


def test_a_copied_link_opens_the_same_view(ready: App, page: Page):
    page.goto(f"{ready.address}/explore?test=17&target=3&train=5")
    expect(page.get_by_text("spoke for “3”").or_(page.get_by_text("calls this “3”"))).to_be_visible()
    page.get_by_role("button", name="Copy link").click()
    expect(page.get_by_role("button", name="Link copied")).to_be_visible()
    link = page.evaluate("navigator.clipboard.readText()")
    assert all(part in link for part in ("run=digits", "test=17", "target=3", "train=5", "method=TRAK"))
    page.goto(link)
    expect(page.get_by_text("Test example 17", exact=True)).to_be_visible()
    expect(page.get_by_text("Train example 5, label")).to_be_visible()
    expect(page.get_by_role("radio", name="3", exact=True)).to_be_checked()


def test_a_bad_address_gives_a_notice_and_the_page_goes_on(ready: App, page: Page):
    page.goto(f"{ready.address}/explore?test=99999")
    expect(page.get_by_text("There is no test example “99999” in this run")).to_be_visible()
    expect(page.get_by_role("group", name="proponent")).to_be_visible()


def test_evidence_page_compares_methods_and_opens_a_test_image(ready: App, page: Page):
    page.goto(f"{ready.address}/evidence?test=17")
    expect(page.get_by_text("Test example 17, label")).to_be_visible()
    expect(page.locator(".js-plotly-plot")).to_have_count(5)
    screenshot(page, "evidence-light")
    page.get_by_role("group", name="Worst predicted").get_by_role("button").first.click()
    expect(page.get_by_text("Test example 17, label")).not_to_be_visible()
    page.get_by_role("link", name="Open in Explore").click()
    expect(page.get_by_role("group", name="proponent")).to_be_visible()


@pytest.mark.parametrize("where", ["explore?test=17", "evidence?test=17"])
def test_a_deep_link_is_the_first_thing_a_fresh_server_is_asked(ready: App, page: Page, tmp_path, where):
    """A fresh server must not fall back to Streamlit's own list of the folder `pages/`."""
    with running_app(ready.runs, tmp_path / "log") as address:
        page.goto(f"{address}/{where}")
        expect(page.get_by_text(re.compile("^Test example 17"))).to_be_visible()
        expect(page.get_by_role("link", name="Evidence")).to_be_visible()
        expect(page.get_by_role("link", name="app")).to_have_count(0)


@pytest.mark.parametrize("name", ["home", "explore", "evidence"])
def test_pages_are_readable_in_the_dark_theme(ready: App, browser: Browser, name):
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="dark")
    page = context.new_page()
    page.goto(f"{ready.address}/{'' if name == 'home' else name}")
    expect(
        page.get_by_text(re.compile("Begin with a story|All 1,437 scores|Can these scores be believed"))
    ).to_be_visible(timeout=30_000)
    background = page.evaluate("getComputedStyle(document.querySelector('[data-testid=stApp]')).backgroundColor")
    assert background == "rgb(20, 24, 29)"
    screenshot(page, f"{name}-dark")
    context.close()


def test_the_app_logged_no_error(ready: App):
    log = ready.log.read_text()
    assert "Traceback" not in log
    assert "deprecated" not in log.lower()


def test_a_busy_port_gives_one_clear_sentence(ready: App):
    port = int(ready.address.rsplit(":", 1)[1])
    result = subprocess.run(app_command(port), cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert result.returncode != 0
    assert f"Port {port} is not available" in result.stdout + result.stderr
    assert "Traceback" not in result.stderr
