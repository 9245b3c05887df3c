"""What reviewers say of labels: a log that only ever grows, and what stands in it.

A verdict belongs to a train example of certain data, known by its fingerprint. Undoing adds a row as well: the
verdict stays in the log, but no longer stands. What stands for an example by a reviewer is their last verdict on it
that was not undone; what stands overall is the last of anybody's.
"""

import operator
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

from trak_core.errors import InvalidSettingError
from trak_core.store.review_file import ReviewFile, utc

VerdictKind = Literal["keep", "relabel", "exclude", "unsure"]
LONGEST_NOTE, LONGEST_NAME = 2000, 100
MOST = 2**31 - 1
"""The largest number that a column holds."""

# The number is taken in the same transaction that uses it, and a file has one writer at a time: no number comes twice.
# Nothing happens when the very same stands already: a key pressed twice says a thing once. But where somebody else has
# spoken since, saying it again is to insist, and counts as the last word.
_RECORD = """
INSERT INTO verdicts(
    verdict_id, train_idx, verdict, new_label, reviewer, note, reviewed_at, undoes, data_fingerprint, split)
SELECT (SELECT coalesce(max(verdict_id), 0) + 1 FROM verdicts),
    $1, $2, $3::INTEGER, $4, $5, $6, NULL, $7, 'train'
WHERE NOT EXISTS (
    SELECT 1 FROM (
        SELECT verdict, new_label, note, reviewer FROM verdicts AS v
        WHERE train_idx = $1 AND split = 'train' AND data_fingerprint = $7 AND verdict != 'undo'
            AND NOT EXISTS (SELECT 1 FROM verdicts AS u WHERE u.undoes = v.verdict_id)
        ORDER BY verdict_id DESC LIMIT 1)
    WHERE reviewer = $4 AND verdict = $2 AND new_label IS NOT DISTINCT FROM $3::INTEGER AND note = $5)
"""
# Nothing happens when the verdict is another's, of other data, or undone already, by the same key a moment ago perhaps.
_UNDO = """
INSERT INTO verdicts(
    verdict_id, train_idx, verdict, new_label, reviewer, note, reviewed_at, undoes, data_fingerprint, split)
SELECT
    (SELECT max(verdict_id) + 1 FROM verdicts), train_idx, 'undo', NULL, reviewer, '', ?, verdict_id,
    data_fingerprint, split
FROM verdicts AS v
WHERE verdict_id = ? AND reviewer = ? AND data_fingerprint = ? AND verdict != 'undo'
    AND NOT EXISTS (SELECT 1 FROM verdicts AS u WHERE u.undoes = v.verdict_id)
"""
_READ = """
SELECT verdict_id, train_idx, verdict, new_label, reviewer, note, reviewed_at,
    EXISTS (SELECT 1 FROM verdicts AS u WHERE u.undoes = v.verdict_id AND u.split = 'train'), data_fingerprint
FROM verdicts AS v WHERE split = 'train' AND verdict != 'undo' ORDER BY verdict_id
"""


@dataclass(frozen=True)
class Verdict:
    """One verdict of the log."""

    verdict_id: int  # its number, rising in the order of recording
    train_idx: int  # the train example it is about
    verdict: VerdictKind  # "keep", "relabel", "exclude" or "unsure"
    new_label: int | None  # the right label, for "relabel" alone
    reviewer: str  # who said so
    note: str  # why, perhaps empty
    reviewed_at: datetime  # when, in UTC
    is_undone: bool = False  # True when its reviewer took it back

    @property
    def says(self) -> tuple[str, int | None]:
        """What it comes to: two verdicts that say the same agree."""
        return self.verdict, self.new_label

    @property
    def is_error(self) -> bool:
        """True when it finds the label wrong."""
        return self.verdict in ("relabel", "exclude")


@dataclass(frozen=True)
class ReviewLog:
    """Everything that was said about the data of a run."""

    verdicts: tuple[Verdict, ...] = ()  # oldest first, those that were undone among them
    n_of_other_data: int = 0  # verdicts in the file that are about other data; they are kept there and never used here
    # verdicts that were skipped because the run has no such example or class; kept in the file too
    n_not_in_run: int = 0

    @cached_property
    def by_reviewer(self) -> dict[tuple[int, str], Verdict]:
        """What stands, by train example and reviewer."""
        return {(verdict.train_idx, verdict.reviewer): verdict for verdict in self.verdicts if not verdict.is_undone}

    @cached_property
    def latest(self) -> dict[int, Verdict]:
        """What stands overall, by train example: the last verdict of anybody, in the order in which they came."""
        standing = sorted(self.by_reviewer.values(), key=lambda verdict: verdict.verdict_id)
        last: dict[int, Verdict] = {}
        for verdict in standing:
            last.pop(verdict.train_idx, None)  # so that the order is that of the last verdicts
            last[verdict.train_idx] = verdict
        return last

    @cached_property
    def disputed(self) -> frozenset[int]:
        """Train examples about which what stands by one reviewer differs from what stands by another."""
        said = {(verdict.train_idx, verdict.says) for verdict in self.by_reviewer.values()}
        return frozenset(idx for idx, n in Counter(idx for idx, _ in said).items() if n > 1)

    @cached_property
    def excluded(self) -> list[int]:
        """Train examples whose last verdict is "exclude", by number."""
        return sorted(idx for idx, verdict in self.latest.items() if verdict.verdict == "exclude")

    @cached_property
    def relabelled(self) -> list[int]:
        """Train examples whose last verdict is "relabel", by number."""
        return sorted(idx for idx, verdict in self.latest.items() if verdict.verdict == "relabel")

    def of(self, train_idx: int) -> list[Verdict]:
        """What stands about a train example by each reviewer, the last first."""
        found = [verdict for (idx, _), verdict in self.by_reviewer.items() if idx == train_idx]
        return sorted(found, key=lambda verdict: -verdict.verdict_id)

    def last_by(self, reviewer: str) -> Verdict | None:
        """The last verdict of a reviewer that was not undone."""
        return next((v for v in reversed(self.verdicts) if v.reviewer == reviewer and not v.is_undone), None)


class Reviews:
    """The verdicts on the labels of one run. Safe to use from several threads and processes.

    They are recorded for the fingerprint of its data, and only those for it are read. Errors of every method are those
    of `ReviewFile`; what was recorded before is kept.
    """

    def __init__(self, run_dir: Path, data_fingerprint: str) -> None:
        self._file = ReviewFile(run_dir)
        self._data = data_fingerprint

    def record(
        self, train_idx: int, verdict: VerdictKind, reviewer: str, new_label: int | None = None, note: str = ""
    ) -> None:
        """Adds a verdict to the log; once this returns, it is on the disk. What stands already is not said again.

        Raises:
            InvalidSettingError: a verdict that says nothing clear; nothing is recorded.
        """
        train_idx, reviewer, note = operator.index(train_idx), reviewer.strip(), note.strip()
        if verdict not in get_args(VerdictKind):
            raise InvalidSettingError(f"verdict={verdict!r}; it must be one of {', '.join(get_args(VerdictKind))}.")
        if (new_label is not None) != (verdict == "relabel"):
            raise InvalidSettingError(
                f"verdict={verdict!r} with new_label={new_label}; relabel needs a new label, and the others take none."
            )
        if not 0 <= train_idx <= MOST or (new_label is not None and not 0 <= new_label <= MOST):
            raise InvalidSettingError(f"train_idx={train_idx}, new_label={new_label}; numbers run from 0 to {MOST:,}.")
        if not 0 < len(reviewer) <= LONGEST_NAME:
            raise InvalidSettingError(f"reviewer has {len(reviewer)} letters; give a name of 1 to {LONGEST_NAME}.")
        if len(note) > LONGEST_NOTE:
            raise InvalidSettingError(f"note has {len(note):,} letters; shorten it to {LONGEST_NOTE:,}.")
        self._file.write(_RECORD, [(train_idx, verdict, new_label, reviewer, note, utc(datetime.now(UTC)), self._data)])

    def undo(self, verdict_id: int, reviewer: str) -> None:
        """Takes a verdict back, by adding a row that says so; of what is not the reviewer's own it does nothing."""
        self._file.write(_UNDO, [(utc(datetime.now(UTC)), verdict_id, reviewer.strip(), self._data)])

    def read(self) -> ReviewLog:
        """The log as it is now."""
        rows = [(Verdict(*columns), data) for *columns, data in self._file.rows(_READ)]
        ours = tuple(verdict for verdict, data in rows if data == self._data)
        return ReviewLog(ours, sum(data != self._data and not verdict.is_undone for verdict, data in rows))
