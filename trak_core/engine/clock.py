"""The time that a build may take, on the clock."""

from __future__ import annotations

import json
import math
import time
from collections import deque
from contextlib import suppress
from statistics import median_low

from trak_core.errors import TrakCoreError
from trak_core.store.files import RunFiles
from trak_core.store.run import open_run

A_PAUSE, BUSY = 5.0, 0.2
"""A process stood still that told of nothing for so many seconds and computed for less than this share of them."""
LATEST = 3
"""Paces that the next block is expected to follow."""


class Clock:
    """How much of a budget is left. It counts from when it is made, and what earlier starts of the same work took.

    Monotonic: it stands still while the machine sleeps, and nobody can set it.
    """

    def __init__(self, minutes: float | None = None, spent: float = 0.0) -> None:
        self.minutes = minutes  # of the budget, what earlier starts took included; None where there is none
        self.spent_before = spent  # seconds that earlier starts took
        self._seconds = math.inf if minutes is None else 60 * minutes
        self._began = time.monotonic() - spent

    @property
    def is_limited(self) -> bool:
        """False where there is no budget."""
        return math.isfinite(self._seconds)

    @property
    def spent(self) -> float:
        """Seconds that the work has taken so far."""
        return time.monotonic() - self._began

    @property
    def left(self) -> float:
        """Seconds of the budget that are left; negative once it is overdrawn, infinite where there is none."""
        return self._seconds - self.spent


def minutes_given(before: float | None, clock: Clock) -> float | None:
    """The minutes that a build was given in all, where it was given so many before, and this start has this clock.

    A start counts what earlier ones took, so that the most given is all. None once anything was done without a limit.
    """
    return None if before is None or clock.minutes is None else max(before, clock.minutes)


def seconds_spent(files: RunFiles) -> float:
    """Seconds that a build has taken so far, all its starts together; 0 for one that was not begun."""
    with suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
        return float(json.loads(files.progress.read_text(encoding="utf-8"))["seconds_spent"])
    with suppress(TrakCoreError), open_run(files.run_dir) as run:
        return float(run.info.provenance.get("seconds_spent") or 0)
    return 0.0


class WorkTime:
    """Seconds of work, without those in which the process stood still because it was suspended.

    A pause says nothing of how fast the machine is. It shows only where the time is looked at often.
    """

    def __init__(self) -> None:
        self._looked, self._computed = time.monotonic(), time.process_time()
        self._worked = 0.0

    def look(self) -> float:
        """Seconds worked so far."""
        now, computed = time.monotonic(), time.process_time()
        gap, busy = now - self._looked, computed - self._computed
        self._looked, self._computed = now, computed
        self._worked += busy if gap > A_PAUSE and busy < BUSY * gap else gap
        return self._worked


class Blocks:
    """Says before each of many blocks of work whether it can be done in time, from what the last few took.

    One that took much longer than its neighbours, because something else happened meanwhile, says nothing. `expected`
    are the seconds that a unit of work takes, until one was measured.
    """

    def __init__(self, clock: Clock, expected: float) -> None:
        self._clock = clock
        self._latest = deque([expected], maxlen=LATEST)

    @property
    def seconds_a_unit(self) -> float:
        """That a unit of work takes: the median of the latest blocks, the less of two."""
        return median_low(self._latest)

    def fit(self, n_units: int, afterwards: float) -> bool:
        """True when so many units of work can be done in time, with the seconds that are needed afterwards."""
        return self.seconds_a_unit * n_units <= self._clock.left - afterwards

    def took(self, n_units: int, seconds: float) -> None:
        """So many units of work took so long."""
        self._latest.append(seconds / n_units)
