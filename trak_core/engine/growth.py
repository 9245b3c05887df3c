"""More evidence for a finished run: models are retrained on more random halves, as far as some minutes go."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from trak_core.engine.budget import MOST_SUBSETS, BuildRequest, check_minutes
from trak_core.engine.build import build_steps
from trak_core.engine.clock import Clock, seconds_spent
from trak_core.engine.measure import add_to_run
from trak_core.engine.pace import DIGITS_PACE, Pace
from trak_core.engine.progress import ProgressReporter
from trak_core.engine.settings import SIZE_LIMITS
from trak_core.engine.steps import PACE, SCORES_ARE, BuildSteps
from trak_core.engine.subject import read_build
from trak_core.errors import InvalidSettingError, NotInRunError
from trak_core.store.files import RunFiles
from trak_core.store.progress import BuildStatus, how_to_finish, read_status
from trak_core.store.run import open_run
from trak_core.store.writer import StoreWriter
from trak_core.subjects.of_run import why_not_made_again
from trak_core.subjects.planting import PlantedErrors

NONE_PLANTED = PlantedErrors(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))


def extend_run(
    run_dir: Path,
    minutes: float | None = None,
    n_subsets: int | None = None,
    listener: Callable[[BuildStatus], None] = lambda status: None,
) -> None:
    """Retrains models of a run on more random halves, and measures all that its board has on the longer ledger.

    Scores stay as they are; where there was no time to choose their ridge and their scale, they are made anew first.

    Args:
        run_dir: of a run of own data or of an own subject, whose build is finished.
        minutes: that it may take, from now on.
        n_subsets: random halves that the ledger then has, however long that takes; in place of minutes.
        listener: called with the status whenever it changes.

    Raises:
        InvalidSettingError: neither minutes nor a number is given, or both, or they cannot be.
        NotInRunError: data and model of the run are unavailable, its build is not finished, or its ledger cannot grow.
        RunBusyError: another process is building or measuring this run.
        RunMismatchError: the run was built by another version or from other data, or its methods are being measured.
        StorageError: the disk is full, read-only or failing.
    """
    if (minutes is None) == (n_subsets is None):
        given = "both" if minutes is not None else "neither"
        raise InvalidSettingError(
            f"{given} of minutes and n_subsets is given; give one of the two, such as 10 minutes."
        )
    if minutes is not None:
        check_minutes(minutes)
    spent = seconds_spent(RunFiles(run_dir))
    _extend(run_dir, Clock(None if minutes is None else minutes + spent / 60, spent), n_subsets, listener, minutes)


def go_on(run_dir: Path, asked: BuildRequest, clock: Clock, listener: Callable[[BuildStatus], None]) -> None:
    """Extends a run that a build has just finished or found, where it was asked for more evidence than there is."""
    with open_run(run_dir) as run:
        made, n_seeds = run.info.provenance, int(run.info.provenance["n_seeds"])
    n_subsets, most = int(made["n_subsets"]), MOST_SUBSETS if asked.n_subsets is None else asked.n_subsets
    a_block = float(made.get("seconds_a_subset") or 0) * int(made.get("subsets_a_block") or 1)
    is_time = clock.left > a_block + float((made.get(PACE) or {}).get("lds") or 0)
    status = read_status(run_dir)  # of an extension that was stopped, or of a measurement, which goes by itself
    is_free = not RunFiles(run_dir).build.exists() or (status is not None and status.command[:1] == ["extend"])
    if n_seeds and n_subsets < most and is_time and is_free:
        _extend(run_dir, clock, most, listener)


def _extend(
    run_dir: Path,
    clock: Clock,
    n_subsets: int | None,
    listener: Callable[[BuildStatus], None],
    added: float | None = None,
) -> None:
    """As `extend_run`; `added` are minutes that the run gets on top of those that it was given."""
    with open_run(run_dir) as run:
        made, reason = run.info.provenance, why_not_made_again(run)
        if reason:
            raise NotInRunError(f"run {run_dir.name!r} {reason}.")
        if not made.get("grows"):
            raise NotInRunError(
                f"run {run_dir.name!r} has a ledger of a fixed length, {made['n_subsets']:,} random halves; build it "
                "again under another name, with more of them."
            )
        if not made.get("complete"):
            raise NotInRunError(f"the build of run {run_dir.name!r} is not finished; {how_to_finish(run_dir)}.")
        settings, subject = read_build(run)
    done = settings.n_subsets
    most = min(SIZE_LIMITS["n_subsets"][1], done + 1000) if n_subsets is None else n_subsets
    if n_subsets is not None and not done < n_subsets <= SIZE_LIMITS["n_subsets"][1]:
        raise InvalidSettingError(
            f"n_subsets={n_subsets}; the ledger of run {run_dir.name!r} has {done:,} random halves: give more than "
            f"these, and at most {SIZE_LIMITS['n_subsets'][1]:,}."
        )
    settings = replace(settings, n_subsets=most)
    pace = Pace(**made[PACE]) if made.get(PACE) else DIGITS_PACE
    command = ["extend", run_dir.name, *(["--minutes", f"{clock.left / 60:g}"] if clock.is_limited else [])]
    command += [] if n_subsets is None or clock.is_limited else ["--n-subsets", str(n_subsets)]

    def begin(writer: StoreWriter) -> tuple[ProgressReporter, Callable[[], None]]:
        files = RunFiles(run_dir)
        steps = build_steps(settings, pace, 0, clock.left, is_built=True)
        progress = ProgressReporter(files, steps, command, listener, clock)
        work = BuildSteps(settings, subject, files, writer, NONE_PLANTED, {}, progress, clock, pace)

        def extend() -> None:
            were, given = made.get(SCORES_ARE), writer.meta("minutes")
            if added is None:
                work.tell_minutes()
            elif given is not None:
                writer.tell({"minutes": given + added})
            work.add_evidence(adds_up=added is not None)
            if writer.meta(SCORES_ARE) == were:  # else what was measured of other methods does not fit any more
                writer.tell({name: made[name] for name in ("measured",) if name in made})
            # Of a build that goes on nobody expects more than there was time for.
            n_added = None if added is None else int(writer.meta("n_subsets")) - done
            writer.tell({"n_subsets_added": n_added})

        return progress, extend

    fingerprint = hashlib.sha256(json.dumps([made["fingerprint"], "extend"]).encode()).hexdigest()
    add_to_run(run_dir, fingerprint, lambda made: False, begin)
