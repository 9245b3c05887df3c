"""What more evidence of a run would take: minutes, a command, and what it would add."""

from __future__ import annotations

import math
import shlex
from dataclasses import dataclass
from typing import Any

from trak_core.durations import time_to_come
from trak_core.store.run import Run
from trak_core.subjects.of_run import why_not_made_again

WANTED = 20
"""Random halves to report on, from which on the interval of LDS says something."""


@dataclass(frozen=True)
class EvidenceToCome:
    """How a run gets its evidence, or more of it."""

    n_measured: int  # random halves that the evidence is over; 0 where there is none yet
    minutes: int  # that the next part of it takes about
    about: str  # the same in words, in seconds where it is less than a minute
    sentence: str  # what there is, and what these minutes would add
    arguments: list[str]  # of the program, for whoever starts it from a page

    @property
    def command(self) -> str:
        """For a terminal."""
        return f"python -m trak_core {shlex.join(self.arguments)}"


def evidence_to_come(run: Run) -> EvidenceToCome | None:
    """What more evidence would take; None for a run whose ledger does not grow, or cannot be retrained here."""
    made = run.info.provenance
    if not made.get("grows") or not made.get("complete") or why_not_made_again(run) is not None:
        return None
    n_done, n_fit = _number(made.get("n_subsets")), _number(made.get("n_fit"))
    n_measured = _number(made.get("n_subsets_measured"))
    if n_done >= n_fit and made.get("scores_are") == "not fitted":
        return None  # training diverged on the first halves, and more of them will not help
    a_subset = float(made.get("seconds_a_subset") or 0.0)
    wanted = 2 * n_measured if n_measured >= WANTED else WANTED
    seconds = a_subset * (max(0.0, n_fit - n_done) + wanted - n_measured) + _other_seconds(
        run, is_fitted=n_done >= n_fit
    )
    minutes = max(1, math.ceil(seconds / 60))
    about = time_to_come(seconds)
    if n_measured:
        sentence = f"Measured on {n_measured} random halves; about {about} more would measure it on {wanted}."
    elif 0 < n_done < n_fit:
        sentence = f"Not measured yet, {n_done} of the first {n_fit} random halves are done: about {about} more."
    else:
        sentence = f"Not measured yet: about {about}."
    if made.get("n_subsets_added") == 0:  # by the last extension
        least = time_to_come(
            _seconds_of_the_next(made, a_subset, n_fit - n_done) + _other_seconds(run, n_done >= n_fit)
        )
        sentence = f"{sentence} The time given last was too short: more random halves take {least} at least."
    return EvidenceToCome(n_measured, minutes, about, sentence, ["extend", run.info.name, "--minutes", str(minutes)])


def _seconds_of_the_next(made: dict[str, Any], a_subset: float, n_fit_left: int) -> float:
    """Of the fewest random halves that are kept together; the first stop where the others begin."""
    n = max(1, _number(made.get("subsets_a_block")))
    return a_subset * (min(n, n_fit_left) if n_fit_left > 0 else n)


def _number(value: Any) -> int:
    return value if isinstance(value, int) else 0


def _other_seconds(run: Run, is_fitted: bool) -> float:
    """Of what has to be done besides retraining."""
    pace: dict[str, float] = run.info.provenance.get("pace") or {}
    scores = 0.0 if is_fitted else run.info.n_checkpoints * (pace.get("ridge", 0.0) + pace.get("scores", 0.0))
    return scores + pace.get("lds", 0.0)
