"""Prints how fast the explorer answers at full size: clicks, pages, the first page, memory, and ten people at once.

Run it from the root of the repository: `python tests/benchmarks/explorer_speed.py --runs DIRECTORY`. It writes a run of
50,000 training and 1,000 test examples there unless there is one (about three minutes), starts the real app over it,
and drives a real Chromium. Everything is judged by server time: see `explorer_clock.py` for how it is taken.
"""

import argparse
import os
import random
import re
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import psutil
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from tests.benchmarks.explorer_clock import BrowserClock, Times, WebsocketUser
from tests.browser.driver import chromium_path, launch_chromium, running_app
from tests.generated import BIG, Size, write_run

NAME = "big"
MEDIAN_TARGET, P95_TARGET = 300.0, 800.0
FIRST_PAGE_TARGET = 3000.0
MEMORY_TARGET = 1500.0
TEN_USERS_TARGET = 2000.0
VIEWS = [  # what ten people look at; the number is what they change, up to its highest value
    ("explore", {}, "Test example"),
    ("explore", {"method": "Embedding similarity"}, "Test example"),
    ("explore", {"target": "3", "test": "20"}, "Test example"),
    ("explore", {"mistakes": "true"}, "Test example"),
    ("explore", {"label": "7"}, "Test example"),
    ("training_item", {}, "Training example"),
    ("map", {}, "Test example"),
    ("evidence", {}, "Test example"),
    ("review", {}, "Training example"),
    ("", {}, "none"),
]
PARTS = ["first", "clicks", "ten", "browsers"]
PAGES = {
    "home": "Home",
    "explore": "Explore",
    "training_item": "Training item",
    "map": "Map",
    "evidence": "Evidence",
    "review": "Label review",
    "runs": "Runs",
}


@dataclass(frozen=True)
class Server:
    """A running app.

    Attributes:
        address: where it answers.
        process: of the server.
        log: what it prints.
    """

    address: str
    process: psutil.Process
    log: Path

    @property
    def megabytes(self) -> float:
        """Resident memory now."""
        return float(self.process.memory_info().rss / 1e6)

    @property
    def peak_megabytes(self) -> float:
        """The highest resident memory so far."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        return int(found[1]) * 1024 / 1e6 if found else float("nan")

    @property
    def cpu_milliseconds(self) -> float:
        """Processor time so far: unlike waiting times, it hardly depends on what else the machine does."""
        return 1000 * sum(self.process.cpu_times()[:2])

    def check_log(self) -> None:
        """Ends the program when the server has printed an error."""
        text = self.log.read_text()
        if "Traceback" in text:
            sys.exit(f"the server printed an error:\n{text}")


@contextmanager
def started(runs: Path) -> Iterator[Server]:
    with tempfile.TemporaryDirectory() as temporary:
        log = Path(temporary) / "log"
        with running_app(runs, log) as address:
            process = next(child for child in psutil.Process().children() if "streamlit" in " ".join(child.cmdline()))
            server = Server(address, process, log)
            yield server
            server.check_log()


def line(what: str, values: list[float], target: float, p95_target: float, note: str = "") -> None:
    ordered = sorted(values)
    median, p95 = statistics.median(ordered), ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
    verdict = "ok" if median < target and p95 < p95_target else "SLOW"
    print(f"{what:34} {len(values):>4} {median:8.0f} {p95:8.0f} {max(ordered):8.0f}  {verdict:5} {note}", flush=True)


def settled(page: Page) -> None:
    expect(page.locator("[data-testid=stApp][data-test-script-state=notRunning]")).to_be_visible(timeout=60_000)
    page.wait_for_timeout(300)


def measure_first_page(runs: Path, browser: Browser, repeats: int) -> None:
    """A server that has answered nobody, and a browser that has loaded nothing."""
    for path, sign in (("", "Begin with a story"), (f"explore?run={NAME}&test=5", None)):
        seconds = []
        for _ in range(repeats):
            with started(runs) as server:
                context = browser.new_context(viewport={"width": 1280, "height": 900})
                page = context.new_page()
                began = time.monotonic()
                page.goto(f"{server.address}/{path}", wait_until="commit")
                there = page.get_by_text(sign) if sign else page.get_by_role("group", name="proponent")
                there.first.wait_for(timeout=60_000)
                seconds.append(1000 * (time.monotonic() - began))
                context.close()
        line(f"first page: {path.split('?')[0] or 'home'}", seconds, FIRST_PAGE_TARGET, FIRST_PAGE_TARGET)


def measure_clicks(server: Server, browser: Browser, repeats: int, chosen: str) -> None:
    """Every kind of click on its own, one person."""
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    page = context.new_page()
    page.set_default_timeout(60_000)
    clock = BrowserClock(page)
    page.goto(f"{server.address}/explore?run={NAME}&test=5")
    settled(page)
    for what, actions in clicks(page, server.address).items():
        if chosen not in what:
            continue
        try:
            clock.of(actions(0))  # the first one fills caches
            cpu = server.cpu_milliseconds
            times = [clock.of(actions(i)) for i in range(1, repeats + 1)]
            cpu = (server.cpu_milliseconds - cpu) / repeats
        except Exception as error:  # a page that is not there yet must not hide the others
            print(f"{what:34} left out: {str(error).splitlines()[0]}")
            page.goto(f"{server.address}/explore?run={NAME}&test=5")
            settled(page)
            continue
        report(what, times, cpu)
    exceptions = page.get_by_test_id("stException").count()
    print(f"exceptions on the page: {exceptions}")
    context.close()


def report(what: str, times: list[Times], cpu: float) -> None:
    waited = [each.browser for each in times if each.browser is not None]
    note = f"person waits {statistics.median(waited):.0f}, " if waited else ""
    size = statistics.median(each.kilobytes for each in times)
    note += f"CPU {cpu:.0f}, {size:.0f} kB"
    line(what, [each.server for each in times], MEDIAN_TARGET, P95_TARGET, note)


def clicks(page: Page, address: str) -> dict[str, Callable[[int], Callable[[], object]]]:
    """What is clicked, each a function of the number of the repeat."""
    choose = random.Random(0)

    def opened(path: str) -> None:
        page.goto(f"{address}/{path}")
        settled(page)

    def press_next(i: int) -> Callable[[], object]:
        expect(page.get_by_role("button", name="Next")).to_be_enabled(timeout=60_000)
        return lambda: page.keyboard.press("j")

    def pick_train(i: int) -> Callable[[], object]:
        buttons = page.get_by_role("group", name="proponent" if i % 2 else "opponent").get_by_role("button")
        return buttons.nth(i // 2 % 12).click

    def pick_test(i: int) -> Callable[[], object]:
        buttons = page.get_by_role("group", name="Test examples").get_by_role("button")
        return buttons.nth(choose.randrange(25, 35)).click

    def mistakes(i: int) -> Callable[[], object]:
        return page.get_by_text("Only mistakes", exact=True).click

    def label(i: int) -> Callable[[], object]:
        box = page.get_by_role("combobox", name=re.compile("Label"))

        def chosen() -> None:
            box.press("Enter")

        box.click()
        if i % 2:
            return lambda: box.press("Backspace")  # takes the label away again
        box.fill(str(i % 10))
        return chosen

    def method(i: int) -> Callable[[], object]:
        box = page.get_by_role("combobox", name=re.compile("^(Selected .*)?Method|Method"))
        box.click()
        return page.get_by_role("option", name="TRAK" if i % 2 else "Embedding similarity", exact=True).click

    def target(i: int) -> Callable[[], object]:
        return page.get_by_role("radio", name=str(i % 10), exact=True).click

    def open_page(name: str) -> Callable[[int], Callable[[], object]]:
        def go(i: int) -> Callable[[], object]:
            away = "Runs" if name != "Runs" else "Home"
            nav(page, away).click()
            settled(page)
            return nav(page, name).click

        return go

    def at(path: str, then: Callable[[int], Callable[[], object]]) -> Callable[[int], Callable[[], object]]:
        """Goes to a view before the first repeat."""

        def first(i: int) -> Callable[[], object]:
            if i == 0:
                opened(path)
            return then(i)

        return first

    explore = f"explore?run={NAME}&test=5"
    found: dict[str, Callable[[int], Callable[[], object]]] = {
        "next test example (J)": at(explore, press_next),
        "test example by picture": at(explore, pick_test),
        "training item by picture": at(explore, pick_train),
        "only mistakes": at(explore, mistakes),
        "label": at(explore, label),
        "method": at(explore, method),
        "target": at(f"explore?run={NAME}&test=20", target),
    }
    for name in PAGES.values():
        found[f"open {name}"] = at(explore, open_page(name))
    found["lasso on the map"] = at(f"map?run={NAME}&test=5", lambda i: lambda: lasso(page, i))
    return found


def nav(page: Page, name: str) -> Locator:
    return page.get_by_role("navigation").get_by_role("link", name=name, exact=True).first


def lasso(page: Page, i: int) -> None:
    """Draws a line around some points of the map, as Shift and the pointer do."""
    box = page.locator("canvas[data-view]").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] * (0.3 + 0.01 * (i % 30)), box["y"] + box["height"] * 0.4
    page.keyboard.down("Shift")
    page.mouse.move(x, y)
    page.mouse.down()
    for dx, dy in ((60, 0), (60, 60), (0, 60), (0, 5)):
        page.mouse.move(x + dx, y + dy, steps=4)
    page.mouse.up()
    page.keyboard.up("Shift")


def measure_ten_users(server: Server, repeats: int, pause: float) -> None:
    """Ten people on ten views, each asking again as soon as the answer is there and `pause` seconds have passed."""
    people = [WebsocketUser(server.address, page, {"run": NAME, **query}) for page, query, _ in VIEWS]
    firsts: list[float] = []
    times: list[float] = []
    failures: list[str] = []
    cpu = server.cpu_milliseconds

    def act(user: WebsocketUser, label: str, seed: int) -> None:
        choose = random.Random(seed)
        highest = 99 if label == "Test example" else 9_999  # there every class is a target
        try:
            firsts.append(user.open())
            for _ in range(repeats):
                times.append(user.enter(label, choose.randrange(highest)))
                time.sleep(pause * choose.uniform(0.5, 1.5))
        except Exception as error:
            failures.append(f"{user.page}: {type(error).__name__} {error}")

    threads = [
        threading.Thread(target=act, args=(user, label, seed))
        for seed, (user, (_, _, label)) in enumerate(zip(people, VIEWS, strict=True))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for user in people:
        failures += user.errors
        user.close()
    how = f"pausing {pause:g} s" if pause else "without a pause"
    line(f"ten people, first view, {how}", firsts, TEN_USERS_TARGET, TEN_USERS_TARGET)
    cpu = (server.cpu_milliseconds - cpu) / max(1, len(times) + len(firsts))
    line(f"ten people, {how}", times, TEN_USERS_TARGET, TEN_USERS_TARGET, f"CPU {cpu:.0f}")
    for failure in failures:
        print("ERROR", failure)


def measure_ten_browsers(server: Server, browser: Browser, rounds: int) -> None:
    """The same ten views in ten browser contexts, everybody pressing J (or opening the view anew) at once."""
    clocks = []
    for page_name, query, _ in VIEWS:
        page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
        clocks.append(BrowserClock(page))
        words = "&".join(f"{name}={value}" for name, value in {"run": NAME, **query}.items())
        page.goto(f"{server.address}/{page_name}?{words}", wait_until="commit")
    for clock in clocks:
        clock.stop()
    times: list[float] = []
    for _ in range(rounds):
        asking = [clock for clock, (page_name, _, _) in zip(clocks, VIEWS, strict=True) if page_name == "explore"]
        for clock in asking:
            clock.start()
        for clock in asking:
            clock.page.keyboard.press("j")
        times += [clock.stop().server for clock in asking]
    exceptions = sum(clock.page.get_by_test_id("stException").count() for clock in clocks)
    line("five of ten browsers press J", times, TEN_USERS_TARGET, TEN_USERS_TARGET, f"exceptions {exceptions}")
    for clock in clocks:
        clock.page.context.close()


def say_load(when: str) -> None:
    print(f"load {when}: {os.getloadavg()[0]:.1f} over 1 minute on {psutil.cpu_count()} processors", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True, help="directory that holds the run, or gets it")
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--clicks", default="", help="measure only clicks whose name holds this")
    parser.add_argument("--only", nargs="*", choices=PARTS, default=PARTS)
    parser.add_argument("--train", type=int, default=BIG.n_train)
    parser.add_argument("--test", type=int, default=BIG.n_test)
    arguments = parser.parse_args()
    if chromium_path() is None:
        sys.exit("no Chromium found; install Debian's `chromium`, or set CHROMIUM to its path")
    write_run(arguments.runs / NAME, Size(arguments.train, arguments.test, min(BIG.n_all_classes, arguments.test)))
    say_load("before")
    print(f"{'milliseconds of server time':34} {'n':>4} {'median':>8} {'95%':>8} {'most':>8}")
    with sync_playwright() as playwright:
        browser = launch_chromium(playwright)
        if "first" in arguments.only:
            measure_first_page(arguments.runs, browser, 3)
        with started(arguments.runs) as server:
            if "clicks" in arguments.only:
                measure_clicks(server, browser, arguments.repeats, arguments.clicks)
                say_load("after one person")
                print(f"memory, MB: {server.megabytes:.0f} now, {server.peak_megabytes:.0f} peak")
            if "ten" in arguments.only:
                measure_ten_users(server, arguments.repeats, pause=1.0)
                measure_ten_users(server, arguments.repeats, pause=0.0)
            if "browsers" in arguments.only:
                measure_ten_browsers(server, browser, 5)
            peak = server.peak_megabytes
            verdict = "ok" if peak < MEMORY_TARGET else "TOO MUCH"
            print(f"memory, MB: {server.megabytes:.0f} now, {peak:.0f} peak  {verdict}")
        browser.close()
    say_load("after")


if __name__ == "__main__":
    main()
