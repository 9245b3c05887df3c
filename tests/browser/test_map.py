"""The Map page in a real browser: what a line, a click and keys pick is what lies there."""

import json
import re
import time

import numpy as np
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect

from tests.browser.conftest import App, screenshot, settled
from trak_core.store.run import open_run
from trak_core.views.groups import cell_pairs, class_influence, class_matrix, strongest_cell
from trak_core.views.map import MapPoints, map_points

pytestmark = [pytest.mark.browser, pytest.mark.slow]
expect.set_options(timeout=60_000)  # machines that run tests are busy
CANVAS = "canvas[data-view]"


@pytest.fixture
def points(explorer: App) -> MapPoints:
    with open_run(explorer.runs / "digits") as run:
        return map_points(run)


def open_map(explorer: App, page: Page, query: str = "") -> None:
    page.goto(f"{explorer.address}/map?run=digits&{query}")
    expect(page.locator(CANVAS)).to_be_visible()
    settled(page)


def on_screen(page: Page, points: MapPoints) -> np.ndarray:
    """Where every point is drawn, in the coordinates of the mouse `[n, 2]`."""
    canvas = page.locator(CANVAS)
    canvas.scroll_into_view_if_needed()
    box, view = canvas.bounding_box(), json.loads(canvas.get_attribute("data-view"))
    xy = points.xy.astype(np.float64)
    return np.column_stack(
        [box["x"] + view["left"] + xy[:, 0] * view["scale"], box["y"] + view["top"] - xy[:, 1] * view["scale"]]
    )


def lasso(page: Page, corners: list[tuple[float, float]], *keys: str) -> None:
    for key in keys:
        page.keyboard.down(key)
    page.mouse.move(*corners[0])
    page.mouse.down()
    for corner in corners[1:]:
        page.mouse.move(*corner)
    page.mouse.up()
    for key in keys:
        page.keyboard.up(key)


def inside(places: np.ndarray, corners: list[tuple[float, float]]) -> list[int]:
    """The even-odd rule, one point at a time."""
    found = []
    for i, (x, y) in enumerate(places):
        is_in = False
        for (x1, y1), (x2, y2) in zip(corners, [*corners[1:], corners[0]], strict=True):
            if (y1 > y) != (y2 > y) and x < x1 + (y - y1) * (x2 - x1) / (y2 - y1):
                is_in = not is_in
        if is_in:
            found.append(i)
    return found


def picked_in_address(page: Page) -> list[int]:
    found = re.search(r"picked=([0-9.]+)", page.url)
    return [int(idx) for idx in found.group(1).split(".")] if found else []


def wait_for_picks(page: Page, expected: list[int]) -> None:
    deadline = time.monotonic() + 60
    while picked_in_address(page) != expected and time.monotonic() < deadline:
        page.wait_for_timeout(100)
    assert picked_in_address(page) == expected


def some_group(places: np.ndarray, points: MapPoints) -> list[tuple[float, float]]:
    """A crossed line around part of the threes: two triangles that meet in a point."""
    members = places[: points.n_train][points.labels[: points.n_train] == 3]
    (left, top), (right, bottom) = np.quantile(members, 0.2, axis=0), np.quantile(members, 0.8, axis=0)
    corners = [
        (left - 40, top - 20.5),
        (right + 40, bottom + 20.5),
        (right + 40, top - 20.5),
        (left - 40, bottom + 20.5),
    ]
    return [(float(round(x)), float(round(y)) + 0.5) for x, y in corners]


def test_a_line_picks_exactly_the_training_examples_inside(explorer, page, points):
    open_map(explorer, page, "test=17")
    places = on_screen(page, points)
    corners = some_group(places, points)
    expected = [i for i in inside(places, corners) if i < points.n_train]
    assert 5 < len(expected) < 500
    page.get_by_role("button", name="Lasso").click()
    lasso(page, corners)
    wait_for_picks(page, expected)
    expect(page.get_by_text(f"{len(expected)} training examples picked")).to_be_visible()
    settled(page)
    screenshot(page, "map-light")
    of_threes = int((points.labels[expected] == 3).sum())
    total = int((points.labels[: points.n_train] == 3).sum())
    expect(page.get_by_text(f"3: {of_threes} / {total}")).to_be_visible()

    # With Ctrl a second line adds to the first; Shift draws it without the button.
    page.get_by_role("button", name="Lasso").click()
    x, y = places[points.n_train - 1]
    square = [(x - 6, y - 6), (x + 6, y - 6), (x + 6, y + 6), (x - 6, y + 6)]
    more = [i for i in inside(on_screen(page, points), square) if i < points.n_train]
    lasso(page, square, "Shift", "Control")
    wait_for_picks(page, sorted({*expected, *more}))
    assert points.n_train - 1 in more

    # Escape puts all back.
    settled(page)
    page.locator(CANVAS).focus()
    page.keyboard.press("Escape")
    wait_for_picks(page, [])
    expect(page.get_by_text("Pick a group")).to_be_visible()


def test_a_line_after_zooming_and_moving_picks_what_it_shows(explorer, page, points):
    open_map(explorer, page, "test=17")
    box = page.locator(CANVAS).bounding_box()
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    before = on_screen(page, points)
    nearest = before[np.argmin(np.abs(before[: points.n_train] - middle).sum(1))]
    page.mouse.move(*nearest)
    page.mouse.wheel(0, -600)
    page.wait_for_timeout(500)
    page.mouse.down()
    page.mouse.move(nearest[0] + 15, nearest[1] + 10)
    page.mouse.move(nearest[0] + 30, nearest[1] + 20)
    page.mouse.up()
    page.wait_for_timeout(500)
    places = on_screen(page, points)
    assert np.abs(places - before).max() > 50
    x, y = round(nearest[0]) + 30, round(nearest[1]) + 20
    corners = [(x - 45.5, y - 30.5), (x + 45.5, y - 30.5), (x + 30.5, y + 40.5), (x - 30.5, y + 40.5)]
    expected = [i for i in inside(places, corners) if i < points.n_train]
    assert expected
    lasso(page, corners, "Shift")
    wait_for_picks(page, expected)


def test_keys_move_from_point_to_point_and_pick(explorer, page, points):
    open_map(explorer, page, "test=17")
    canvas = page.locator(CANVAS)
    expect(canvas).to_have_accessible_name(re.compile("Map of 1,437 training and 360 test examples coloured by class"))
    canvas.focus()
    said = page.locator(".said")
    idx = None
    for _ in range(12):
        page.keyboard.press("ArrowRight")
        expect(said).to_have_text(re.compile("(train|test) example [0-9]+, label [0-9]"))
        if found := re.match(r"train example (\d+), label (\d)", said.inner_text()):
            idx = int(found.group(1))
            assert int(found.group(2)) == points.labels[idx]
            break
        page.keyboard.press("ArrowDown")
    assert idx is not None
    page.keyboard.press("Enter")
    wait_for_picks(page, [idx])
    before = json.loads(canvas.get_attribute("data-view"))["scale"]
    page.keyboard.press("+")
    page.wait_for_timeout(500)
    assert json.loads(canvas.get_attribute("data-view"))["scale"] == pytest.approx(1.4 * before)


def test_a_click_chooses_a_test_example(explorer, page, points):
    open_map(explorer, page, "test=17")
    places = on_screen(page, points)
    distance = np.abs(places[:, None] - places[None, points.n_train :]).max(2)
    np.fill_diagonal(distance[points.n_train :], np.inf)
    test_idx = int(distance.min(0).argmax())  # the one that lies most by itself
    page.mouse.move(*places[points.n_train + test_idx])
    expect(page.locator(".tip")).to_contain_text(f"test example {test_idx}, label")
    page.mouse.down()
    page.mouse.up()
    expect(page).to_have_url(re.compile(rf"test={test_idx}\b"))


def test_a_cell_opens_its_pairs_and_a_pair_leads_to_its_explanation(explorer, page):
    open_map(explorer, page, "test=17&colour=loss")
    with open_run(explorer.runs / "digits") as run:
        strongest = strongest_cell(class_matrix(run, class_influence(run)))
        other = (3, 5) if strongest != (3, 5) else (5, 3)
        pair = cell_pairs(run, "trak", *other, "opponent", 1)[0]
    expect(
        page.get_by_text(f"Training examples of “{strongest[0]}” that move test examples of “{strongest[1]}”")
    ).to_be_visible()
    cell = page.get_by_role("button", name=re.compile(f"^training class {other[0]}, test class {other[1]}:"))
    cell.click()
    expect(
        page.get_by_text(f"Training examples of “{other[0]}” that move test examples of “{other[1]}”")
    ).to_be_visible()
    expect(page).to_have_url(re.compile(rf"cell={other[0]}\.{other[1]}"))
    settled(page)
    page.get_by_role(
        "link",
        name=f"train example {pair.train.idx}, label {pair.train.label_name}, for test example "
        f"{pair.test.idx}, label {pair.test.label_name}: score {pair.score:+.3g}",
    ).click()
    expect(page).to_have_url(re.compile(rf"/explore\?.*test={pair.test.idx}"))
    expect(page.get_by_text(f"Test example {pair.test.idx}", exact=True)).to_be_visible()
    expect(page.get_by_text(f"Train example {pair.train.idx}, label")).to_be_visible()


def test_keys_lead_from_cell_to_cell_and_from_pair_to_pair(explorer, page):
    open_map(explorer, page, "test=17&cell=8.1")
    focused = """() => {
      let element = document.activeElement
      while (element.shadowRoot) element = element.shadowRoot.activeElement
      return [element.title, element.tabIndex]
    }"""
    page.get_by_role("button", name=re.compile("^training class 8, test class 1:")).focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowUp")
    title, order = page.evaluate(focused)
    assert title.startswith("training class 7, test class 2:") and order == 0
    pairs = page.get_by_role("group").get_by_role("link", name=re.compile("^train example .+, for test example "))
    group = pairs.first.locator("xpath=..")
    names = [link.get_attribute("title") for link in group.get_by_role("link").all()]
    assert len(names) > 2
    pairs.first.focus()
    for key, place in (
        ("ArrowDown", 1),
        ("ArrowLeft", 0),
        ("ArrowLeft", 0),
        ("End", -1),
        ("ArrowRight", -1),
        ("Home", 0),
    ):
        page.keyboard.press(key)
        assert page.evaluate(focused) == [names[place], 0]
    assert [link.get_attribute("tabindex") for link in group.get_by_role("link").all()].count("0") == 1


def test_the_dark_map_shows_every_colour_without_an_error(explorer: App, browser: Browser):
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="dark")
    page, wrong = context.new_page(), []
    page.set_default_timeout(60_000)
    page.on("pageerror", lambda error: wrong.append(str(error)))

    def told(message: ConsoleMessage) -> None:
        if message.type == "error" and "Failed to load resource" not in message.text:
            wrong.append(message.text)

    page.on("console", told)
    for colour in ("score", "loss", "verdict"):
        open_map(explorer, page, f"test=17&colour={colour}")
        expect(page.get_by_text(re.compile(f"^{colour}|not reviewed: ")).first).to_be_visible()
    drawn = page.locator(CANVAS).evaluate(
        "c => new Set(c.getContext('2d').getImageData(0, 0, c.width, c.height).data.filter((v, i) => i % 4 == 3)).size"
    )
    assert drawn > 5
    context.close()
    assert wrong == []
