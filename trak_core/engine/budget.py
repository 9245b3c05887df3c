"""How much evidence a budget of time pays for."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from trak_core.engine.pace import Pace
from trak_core.errors import InvalidSettingError
from trak_core.store.files import RunFiles, write_text

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


def sizes_within(minutes: float, seconds_gone: float, pace: Pace, given: dict[str, int]) -> Sizes:
    """The most evidence that the rest of a budget pays for.

    Args:
        minutes: of the whole build, from the start of reading.
        seconds_gone: of them.
        pace: what the steps of the build take.
        given: sizes that are settled already, by name.

    Raises:
        InvalidSettingError: not even the least fits.
    """
    left = (1 - IN_RESERVE) * 60 * minutes - seconds_gone
    steps = [replace(sizes, **given) for sizes in LADDER]
    for sizes in steps:
        if pace.build(**asdict(sizes)) <= left:
            return sizes
    least = (pace.build(**asdict(steps[-1])) + seconds_gone) / (1 - IN_RESERVE) / 60
    raise InvalidSettingError(
        f"minutes={minutes:g} is too little for this data and model here; the least evidence takes about "
        f"{max(least, minutes + 0.5):.1f} minutes. Give --minutes {int(least) + 1}, fewer train examples with "
        "--n-train, or a smaller --model."
    )


@dataclass(frozen=True)
class BuildPlan:
    """What a budget came to, kept beside the build so that the same command goes on with it."""

    key: dict[str, Any]  # what the command asked for, as JSON has it; another command makes another plan
    sizes: Sizes  # that were chosen
    pace: Pace  # that they were chosen by
    # what was found out meanwhile that people should read, a sentence each
    notes: list[str] = field(default_factory=list)

    def write(self, files: RunFiles) -> None:
        """Writes the plan; call it under `build_lock`, before there is a working store."""
        write_text(files.plan, json.dumps(asdict(self)))


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
