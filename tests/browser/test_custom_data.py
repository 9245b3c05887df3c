"""Building from one's own data in a real browser: the path typed, the report, the build, and trying it."""

import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import App, settled
from tests.browser.driver import running_app
from trak_core.store.run import open_run

pytestmark = [pytest.mark.browser, pytest.mark.slow]

BUILD_MS = 300_000
LONG = "Felis silvestris catus, the domestic short-haired cat of Europe and of Western Asia, striped"
CLASSES = ("<i>cat</i> *bold*".replace("/", "_"), "قطة", LONG)
expect.set_options(timeout=30_000)


def write_images(folder: Path) -> Path:
    """Three classes of colours in a folder each, with a file that is no image."""
    random = np.random.default_rng(0)
    for number, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for each in range(30):
            tones = random.integers(0, 120, (12, 16, 3), dtype=np.uint8)
            tones[3:9, 4:12, number] = 230
            Image.fromarray(tones).save(folder / name / f"{each}.png")
    (folder / LONG / "broken.png").write_bytes(b"nothing")
    return folder


@pytest.fixture(scope="module")
def pets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("data") / "pets")


@pytest.fixture(scope="module")
def mine(small_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """An app with runs of its own, which these tests add to."""
    directory = tmp_path_factory.mktemp("own-data")
    shutil.copytree(small_runs, directory / "runs")
    with running_app(directory / "runs", directory / "log") as address:
        yield App(address, directory / "runs", directory / "log")


@pytest.fixture
def panel(mine: App, page: Page) -> Page:
    page.goto(f"{mine.address}/runs")
    page.get_by_text("Your own data", exact=True).click()
    expect(path_field(page)).to_be_visible()
    return page


def path_field(page: Page) -> Locator:
    return page.get_by_role("textbox", name="Folder or zip file on this machine")


def check(page: Page, path: Path) -> None:
    path_field(page).fill(str(path))
    page.keyboard.press("Tab")
    settled(page)
    page.get_by_role("button", name="Check the data").click()


def test_a_bad_path_gets_one_sentence_and_stays(panel: Page, tmp_path: Path):
    check(panel, tmp_path / "nowhere")
    expect(panel.get_by_text(re.compile("There is no folder or zip file"))).to_have_count(1)
    expect(path_field(panel)).to_have_value(str(tmp_path / "nowhere"))
    expect(panel.get_by_role("button", name="Build", exact=True)).to_have_count(0)


def test_a_check_can_be_cancelled(panel: Page, pets: Path):
    check(panel, pets)
    panel.get_by_role("button", name="Cancel").click()
    expect(panel.get_by_role("button", name="Check the data")).to_be_enabled()
    expect(panel.get_by_role("button", name="Build", exact=True)).to_have_count(0)


def test_a_check_shows_samples_of_both_splits_with_their_classes(panel: Page, pets: Path):
    check(panel, pets)
    expect(panel.get_by_text("12 samples")).to_be_visible(timeout=60_000)
    for split, n in (("train", 8), ("test", 4)):
        expect(panel.get_by_role("img", name=re.compile(rf", {split}: .*\.png$"))).to_have_count(n)
    expect(panel.get_by_text(re.compile("<.*i.*>.*cat.*bold.*train")).first).to_be_visible()
    assert panel.locator("i", has_text="cat").count() == 0, "markup in names is text"


def wait_until(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + BUILD_MS / 1000
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.5)


def test_data_are_checked_and_built_and_the_run_says_what_it_is(mine: App, panel: Page, pets: Path):
    check(panel, pets)
    expect(panel.get_by_text("“pets”: 72 training and 18 test images in 3 classes.")).to_be_visible(timeout=60_000)
    expect(panel.get_by_text("1 skipped")).to_be_visible()
    panel.get_by_role("combobox", name=re.compile("Model")).click()
    panel.get_by_role("option", name="mlp: one hidden layer").click()
    settled(panel)
    panel.get_by_role("spinbutton", name="Minutes").fill("4")
    panel.keyboard.press("Tab")
    settled(panel)
    panel.get_by_role("button", name="Build", exact=True).click()
    expect(panel.get_by_text("is being built; it can be looked at")).to_be_visible()
    expect(panel.get_by_role("button", name="Cancel").first).to_be_visible()
    said = re.compile("Images from the folder “pets”.*model mlp.*one hidden layer.*given 4 minutes")
    # With its suspects the run is there, then its scores, long before its evidence is.
    expect(panel.get_by_text(said)).to_be_visible(timeout=BUILD_MS)
    wait_until(lambda: open_run(mine.runs / "pets").has_scores)
    cancel = panel.get_by_role("button", name="Cancel")
    if cancel.count():
        cancel.click()
    expect(cancel).to_have_count(0, timeout=60_000)
    with open_run(mine.runs / "pets") as run:
        assert run.info.class_names == tuple(sorted(CLASSES, key=str.casefold))
        assert run.info.provenance["minutes"] == 4


def test_names_of_classes_stay_inside_their_frames(mine: App, page: Page):
    page.goto(f"{mine.address}/explore?run=pets&test=0")
    gallery = page.get_by_role("group", name="proponent", exact=True)
    expect(gallery.get_by_role("button").first).to_be_visible()
    for caption in gallery.locator(".caption").all():
        box, frame = caption.bounding_box(), caption.locator("xpath=..").bounding_box()
        assert box is not None and frame is not None
        assert frame["x"] <= box["x"] and box["x"] + box["width"] <= frame["x"] + frame["width"]
    assert page.locator("i", has_text="cat").count() == 0, "markup in names is text"


def test_an_image_of_ones_own_is_explained(mine: App, page: Page, pets: Path):
    page.goto(f"{mine.address}/explore?run=pets&test=0")
    expect(page.get_by_text("Brought to what the model takes: 16 × 12 pixels, in colour.")).to_be_visible()  # noqa: RUF001
    page.locator("input[type=file]").set_input_files(pets / CLASSES[1] / "3.png")
    expect(page.get_by_text("The model calls this “قطة”").last).to_be_visible(timeout=60_000)
    expect(page.get_by_text("Prepared exactly as the training images")).to_be_visible()


def test_the_app_logged_no_error(mine: App):
    log = mine.log.read_text()
    assert "Traceback" not in log
    assert "deprecated" not in log.lower()
