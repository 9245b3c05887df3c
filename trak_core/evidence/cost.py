"""What computing something costs: CPU seconds of the process, and how far its memory grew."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil

LOOK_EVERY_SECONDS = 0.005


@dataclass
class Cost:
    """The cost of a block of code, filled in when it ends."""

    seconds: float = 0.0  # CPU seconds of all threads of the process
    # by how much the resident memory of the process grew at its peak, looked at every 5 ms; memory that was taken
    # before and is used again does not count
    peak_megabytes: float = 0.0


@contextmanager
def measured_cost() -> Iterator[Cost]:
    """Measures the block; the cost is whole when the block has ended, also by an error."""
    cost, process, done = Cost(), psutil.Process(), threading.Event()
    start = process.memory_info().rss
    peak = start

    def watch() -> None:
        nonlocal peak
        while not done.wait(LOOK_EVERY_SECONDS):
            peak = max(peak, process.memory_info().rss)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    began = time.process_time()
    try:
        yield cost
    finally:
        cost.seconds = time.process_time() - began
        done.set()
        watcher.join()
        cost.peak_megabytes = (max(peak, process.memory_info().rss) - start) / 1e6
