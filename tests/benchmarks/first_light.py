"""What a newcomer waits for, on an empty machine: prints seconds until each thing is there.

Run it from the root of the repository: `python tests/benchmarks/first_light.py`. It starts the explorer with no run,
in a directory of its own, and watches it in a real Chromium.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from playwright.sync_api import Error as PlaywrightError
from playwright.sync_api import sync_playwright

from tests.browser.driver import app_command, chromium_path, free_port, launch_chromium

TARGETS = {"explorer answers": 5.0, "digits can be browsed": 60.0, "LDS is on the page": 300.0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", type=Path, help="keep the run in this directory")
    arguments = parser.parse_args()
    if chromium_path() is None:
        sys.exit("no Chromium found; install Debian's `chromium`, or set CHROMIUM to its path")
    with tempfile.TemporaryDirectory() as temporary:
        runs = arguments.keep or Path(temporary)
        seconds = measure(runs)
        size = sum(path.stat().st_size for path in runs.rglob("*") if path.is_file()) / 1e6
    print(f"{'what':28} {'seconds':>8} {'target':>8}")
    for what, target in TARGETS.items():
        print(f"{what:28} {seconds[what]:8.1f} {target:8.0f}")
    print(f"{'finished run on disk, MB':28} {size:8.1f} {60:8.0f}")


def measure(runs: Path) -> dict[str, float]:
    """Seconds from the start of the server until each target is reached."""
    port = free_port()
    began = time.monotonic()
    server = subprocess.Popen(
        app_command(port),
        env={**os.environ, "TRAK_RUNS_DIR": str(runs)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
    )
    seconds: dict[str, float] = {}
    try:
        with sync_playwright() as playwright:
            browser = launch_chromium(playwright)
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            while True:
                try:
                    page.goto(f"http://127.0.0.1:{port}/")
                    break
                except PlaywrightError:  # not listening yet
                    time.sleep(0.1)
            page.get_by_text("Which training examples made the model say this?").wait_for(timeout=60_000)
            seconds["explorer answers"] = time.monotonic() - began
            page.get_by_role("group", name="proponent").wait_for(timeout=300_000)
            seconds["digits can be browsed"] = time.monotonic() - began
            page.get_by_text("95% interval").first.wait_for(timeout=300_000)  # the trust badge has its numbers
            page.get_by_role("link", name="Evidence").click()
            page.get_by_text("models were retrained on random halves").first.wait_for(timeout=300_000)
            seconds["LDS is on the page"] = time.monotonic() - began
            browser.close()
    finally:
        server.terminate()
        server.wait()
    return seconds


if __name__ == "__main__":
    main()
