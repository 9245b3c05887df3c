"""Answers to queries, remembered: a published run never changes, so neither do they."""

import json
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

Rows = list[tuple[Any, ...]]
MOST = 256
LONGEST = 100
"""Rows. Every page asks for the same few facts, and neighbours in a gallery for the same examples; long answers are
rarely asked for twice and would cost memory."""


class Answers:
    """The short answers that were asked for last; can be used from many threads at once.

    Args:
        most: answers that are kept.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._kept: OrderedDict[str, Rows] = OrderedDict()
        self._lock = threading.Lock()

    @staticmethod
    def key(query: str, params: Sequence[Any]) -> str | None:
        """What stands for a query with its parameters; None where a parameter is no plain value or list of such."""
        try:
            return json.dumps([query, list(params)])
        except TypeError:
            return None

    def get(self, key: str | None) -> Rows | None:
        """The rows, for the caller to keep; None when they are not known."""
        with self._lock:
            if key is None or key not in self._kept:
                return None
            self._kept.move_to_end(key)
            return list(self._kept[key])

    def put(self, key: str | None, rows: Rows) -> None:
        """Remembers a short answer, and forgets the one that was not asked for longest."""
        if key is None or len(rows) > LONGEST:
            return
        with self._lock:
            self._kept[key] = list(rows)
            self._kept.move_to_end(key)
            if len(self._kept) > self._most:
                self._kept.popitem(last=False)
