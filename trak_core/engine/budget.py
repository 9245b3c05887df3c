"""How much evidence a budget of time pays for."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from trak_core.engine.pace import DIGITS_PACE, Pace
from trak_core.engine.settings import as_options, check_sizes
from trak_core.errors import InvalidSettingError, RunMismatchError, TrakCoreError
from trak_core.store.files import RunFiles, write_text
from trak_core.store.run import open_run
from trak_core.subjects.custom_data import MAX_MINUTES
from trak_core.training.loop_trainer import NOTES

IN_RESERVE = 0.15
"""Share of the budget that is left for what was predicted too low."""


@dataclass(frozen=True)
class Sizes:
    """How much is computed."""

    n_checkpoints: int  # models that attribution averages over
    n_subsets: int  # random halves to retrain on
    n_seeds: int  # models retrained on each half


LADDER = (
    Sizes(20, 200, 5),
    Sizes(20, 150, 4),
    Sizes(15, 100, 4),
    Sizes(10, 100, 4),
    Sizes(10, 100, 3),
    Sizes(10, 80, 3),
    Sizes(8, 80, 2),
    Sizes(6, 60, 2),
    Sizes(5, 50, 2),
    Sizes(4, 40, 2),
    Sizes(3, 40, 2),
    Sizes(3, 30, 2),
    Sizes(2, 30, 2),
    Sizes(2, 20, 2),
)
"""From the best evidence to the least that is worth having: fewer halves than twenty give no LDS, and one seed no noise
ceiling."""


class TooFewMinutesError(InvalidSettingError):
    """A budget that not even the least evidence fits in."""

    def __init__(self, minutes: float, least: float) -> None:
        self.least = least
        super().__init__(
            f"minutes={minutes:g} is too little for this data and model here; the least evidence takes about "
            f"{least:.1f} minutes. Give {math.ceil(least)} minutes, fewer train examples, or a smaller model."
        )


@dataclass(frozen=True)
class BuildRequest:
    """What is asked for besides what is built.

    Raises:
        InvalidSettingError: the minutes or a size cannot be.
    """

    minutes: float = 10.0  # that the whole build may take, trials included
    seed: int = 0  # root of every random choice
    device: str = "auto"  # "auto", "cpu" or "cuda"
    n_checkpoints: int | None = None  # instead of what the minutes pay for; likewise the next two
    n_subsets: int | None = None  # random halves
    n_seeds: int | None = None  # models retrained on each half

    def __post_init__(self) -> None:
        if not 0 < self.minutes <= MAX_MINUTES:
            raise InvalidSettingError(f"minutes={self.minutes:g}; it must be above 0 and at most {MAX_MINUTES:,}.")
        check_sizes(self.sizes)

    @property
    def sizes(self) -> dict[str, int]:
        """The sizes that are given instead of a budget."""
        given = {size.name: getattr(self, size.name) for size in fields(Sizes)}
        return {name: value for name, value in given.items() if value is not None}

    def words(self) -> list[str]:
        """The options of `build` that ask for this."""
        given = {each.name: getattr(self, each.name) for each in fields(self)}
        return as_options({each.name: given[each.name] for each in fields(self) if given[each.name] != each.default})


def sizes_within(minutes: float, seconds_gone: float, pace: Pace, given: dict[str, int]) -> Sizes:
    """The most evidence that the rest of a budget pays for, with the sizes that are given by name.

    The minutes are those of the whole build, from the start of reading.

    Raises:
        TooFewMinutesError: not even the least fits.
    """
    left = (1 - IN_RESERVE) * 60 * minutes - seconds_gone
    steps = [replace(sizes, **given) for sizes in LADDER]
    for sizes in steps:
        if pace.build(**asdict(sizes)) <= left:
            return sizes
    least = (pace.build(**asdict(steps[-1])) + seconds_gone) / (1 - IN_RESERVE) / 60
    raise TooFewMinutesError(minutes, max(least, minutes + 0.5))


@dataclass(frozen=True)
class BuildPlan:
    """What a budget came to, kept beside the build so that the same command goes on with it."""

    key: dict[str, Any]  # what the command asked for, as JSON has it; another command makes another plan
    sizes: Sizes  # that were chosen
    pace: Pace  # that they were chosen by
    notes: list[str] = field(default_factory=list)  # for people, a sentence each, on what was found out meanwhile

    def write(self, files: RunFiles) -> None:
        """Writes the plan; call it under `build_lock`, before there is a working store."""
        write_text(files.plan, json.dumps(asdict(self)))


def settled_plan(files: RunFiles, key: dict[str, Any], asked: BuildRequest) -> BuildPlan | None:
    """The plan of a build that was begun with the same key, or the sizes of the run that is there; else None.

    Whether the data of that run are the same is seen later.

    Raises:
        RunMismatchError: a build of this run was begun with another key.
    """
    if (planned := read_plan(files, key)) is not None:
        return planned
    made: dict[str, Any] = {}
    with suppress(TrakCoreError), open_run(files.run_dir) as run:  # else the build itself says what is wrong with it
        made = run.info.provenance
    told = {"minutes": asked.minutes, "sizes_given": asked.sizes, "seed": asked.seed, "device": asked.device}
    if all(made.get(name) == value for name, value in told.items()):
        pace = replace(DIGITS_PACE, model=float(made.get("seconds_a_model") or DIGITS_PACE.model))
        sizes = Sizes(**{size.name: int(made[size.name]) for size in fields(Sizes)})
        return BuildPlan(key, sizes, pace, [note for note in made.get("notes", []) if note in NOTES])
    if files.working_store.exists():
        raise RunMismatchError(
            f"an unfinished build of run {files.run_dir.name!r} was begun with other settings or from another subject; "
            "finish it with the command that began it, give this one another name (--name), or delete the folder "
            f"{files.build} to give it up."
        )
    return None


def read_plan(files: RunFiles, key: dict[str, Any]) -> BuildPlan | None:
    """The plan that was made for the same key; None when there is none."""
    try:
        plan = json.loads(files.plan.read_text(encoding="utf-8"))
        if plan["key"] != key:
            return None
        return BuildPlan(
            key,
            Sizes(**{field.name: int(plan["sizes"][field.name]) for field in fields(Sizes)}),
            Pace(**{field.name: float(plan["pace"][field.name]) for field in fields(Pace)}),
            [str(note) for note in plan.get("notes", [])],
        )
    except (OSError, ValueError, TypeError, KeyError):
        return None
