"""How much is computed in a budget of time.

Scores, suspects and a map always are; the budget decides over how many models they average. What is left of it goes
into evidence, random half by random half, until the time is up.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from trak_core.engine.pace import DIGITS_PACE, Pace
from trak_core.engine.settings import SUBSETS_A_BLOCK, as_options, check_sizes
from trak_core.errors import InvalidSettingError, RunMismatchError, TrakCoreError
from trak_core.labels.label_scores import N_REPEATS
from trak_core.store.files import RunFiles, write_text
from trak_core.store.run import open_run
from trak_core.subjects.custom_data import MAX_MINUTES
from trak_core.training.loop_trainer import NOTES
from trak_core.training.sizing import MOST_STEPS

IN_RESERVE = 0.15
"""Share of the budget that is left for what was predicted too low."""


N_FIT = 10
"""Random halves of a growing ledger that the ridge and the scale of scores are chosen on: the first, so that scores do
not depend on how many come after them."""
MOST_SUBSETS = 200
"""Random halves after which a ledger does not grow by itself any more."""
BLOCK_SHARE = 0.03
"""Of the budget, that a block of the ledger takes at most."""
MODEL_SHARE, LEAST_STEPS = 0.02, 100
"""Of the budget, that training one model takes at most; and steps that it may take in any case."""
LABELS_SHARE, LABELS_SECONDS = 0.15, 90.0
"""Of the budget, and seconds, that models which look at labels take at most, where they are trained more than once."""


@dataclass(frozen=True)
class Sizes:
    """How much is computed."""

    n_checkpoints: int  # models that attribution averages over
    n_subsets: int  # random halves to retrain on, about, where the clock decides
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
"""From the best evidence to the least."""
WITHOUT_EVIDENCE = (Sizes(5, 0, 2), Sizes(3, 0, 2), Sizes(2, 0, 2), Sizes(1, 0, 2))
"""What is computed where there is no time for evidence, which can be measured later; the last always is."""


def check_minutes(minutes: float) -> None:
    """Refuses minutes that nothing can be given, with InvalidSettingError."""
    if not 0 < minutes <= MAX_MINUTES:
        raise InvalidSettingError(f"minutes={minutes:g}; it must be above 0 and at most {MAX_MINUTES:,}.")


@dataclass(frozen=True)
class BuildRequest:
    """What is asked for besides what is built.

    Raises:
        InvalidSettingError: the minutes or a size cannot be.
    """

    minutes: float = 10.0  # that the whole build may take, from the start of reading
    seed: int = 0  # root of every random choice
    device: str = "auto"  # "auto", "cpu" or "cuda"
    n_checkpoints: int | None = None  # instead of what the minutes pay for; likewise the next two
    n_subsets: int | None = None  # random halves
    n_seeds: int | None = None  # models retrained on each half

    def __post_init__(self) -> None:
        check_minutes(self.minutes)
        sizes = self.sizes
        if sizes.get("n_subsets") == 0 != sizes.get("n_seeds"):
            del sizes["n_subsets"]  # evidence is left for later; a few halves would give none that is worth having
        check_sizes(sizes)

    @property
    def sizes(self) -> dict[str, int]:
        """The sizes that are given instead of a budget."""
        given = {size.name: getattr(self, size.name) for size in fields(Sizes)}
        return {name: value for name, value in given.items() if value is not None}

    @property
    def sizes_to_keep(self) -> dict[str, int]:
        """Those of the sizes given that whoever goes on with the run cannot change; the ledger may grow."""
        return {name: value for name, value in self.sizes.items() if name != "n_subsets"}

    def words(self) -> list[str]:
        """The options of `build` that ask for this."""
        given = {each.name: getattr(self, each.name) for each in fields(self)}
        return as_options({each.name: given[each.name] for each in fields(self) if given[each.name] != each.default})


def sizes_within(minutes: float, seconds_gone: float, pace: Pace, given: dict[str, int]) -> Sizes:
    """The most that the rest of a budget pays for, with the sizes that are given by name; the least always comes.

    The minutes are those of the whole build, from the start of reading.
    """
    left = (1 - IN_RESERVE) * 60 * minutes - seconds_gone
    steps = [replace(sizes, **given) for sizes in (*LADDER, *WITHOUT_EVIDENCE)]
    return next((sizes for sizes in steps if pace.build(**asdict(sizes)) <= left), steps[-1])


@dataclass(frozen=True)
class BuildPlan:
    """What a budget came to, kept beside the build so that whoever goes on with it keeps to it."""

    key: dict[str, Any]  # what the command asked for besides minutes, as JSON has it; another key makes another plan
    sizes: Sizes  # that were chosen
    pace: Pace  # that they were chosen by
    notes: list[str] = field(default_factory=list)  # for people, a sentence each, on what was found out meanwhile
    # settings of the build that were chosen beside the sizes, by name
    chosen: dict[str, int] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)  # settings of training that were chosen, by name

    def write(self, files: RunFiles) -> None:
        """Writes the plan; call it under `build_lock`, before there is a working store."""
        write_text(files.plan, json.dumps(asdict(self)))

    def settings(self, asked: BuildRequest) -> dict[str, Any]:
        """The settings of the build: the ledger grows while there is time, or up to the number that was asked for."""
        n_subsets = MOST_SUBSETS if asked.n_subsets is None else asked.n_subsets
        if not self.sizes.n_seeds:
            n_subsets = 0  # nothing can be retrained
        return {**asdict(self.sizes), **self.chosen, "n_subsets": n_subsets, "n_fit": N_FIT, "grows": True}


def chosen_within(minutes: float, sizes: Sizes, pace: Pace) -> dict[str, int]:
    """Settings that follow from a budget: how often labels are looked at, and how large a block of the ledger is."""
    for_labels = min(LABELS_SECONDS, LABELS_SHARE * 60 * minutes)
    repeats = next((n for n in (N_REPEATS, 2) if pace.labels * n / N_REPEATS <= for_labels), 1)
    a_subset = max(1e-6, sizes.n_seeds * pace.half_model)
    block = int(BLOCK_SHARE * 60 * minutes / a_subset)
    return {"n_label_repeats": repeats, "subsets_a_block": max(1, min(SUBSETS_A_BLOCK, block))}


def most_steps_within(minutes: float, a_step: float) -> int:
    """Steps of training that a budget pays for in each model, where one takes so many seconds."""
    return max(LEAST_STEPS, min(MOST_STEPS, int(MODEL_SHARE * 60 * minutes / max(a_step, 1e-9))))


def plan_key(asked: BuildRequest, **more: Any) -> dict[str, Any]:
    """What a build is told apart by: all that was asked for, but for how long it may take and how far it may grow."""
    return {**{name: value for name, value in asdict(asked).items() if name not in ("minutes", "n_subsets")}, **more}


def settled_plan(files: RunFiles, key: dict[str, Any], asked: BuildRequest) -> BuildPlan | None:
    """The plan of a build that was begun with the same key, or that of the run that is there; else None.

    Whether the data of that run are the same is seen later.

    Raises:
        RunMismatchError: a build of this run was begun with another key.
    """
    if (planned := read_plan(files, key)) is not None:
        return planned
    made: dict[str, Any] = {}
    with suppress(TrakCoreError), open_run(files.run_dir) as run:  # else the build itself says what is wrong with it
        made = run.info.provenance
    told = {"sizes_given": asked.sizes_to_keep, "seed": asked.seed, "device": asked.device, "grows": True}
    if all(made.get(name) == value for name, value in told.items()):
        pace = replace(DIGITS_PACE, model=float(made.get("seconds_a_model") or DIGITS_PACE.model))
        sizes = Sizes(**{size.name: int(made[size.name]) for size in fields(Sizes)})
        chosen = {name: int(made[name]) for name in ("n_label_repeats", "subsets_a_block")}
        notes = [note for note in made.get("notes", []) if note in NOTES]
        return BuildPlan(key, sizes, pace, notes, chosen, dict(made.get("training") or {}))
    if files.working_store.exists():
        raise RunMismatchError(
            f"an unfinished build of run {files.run_dir.name!r} was begun with other settings or from another subject"
            f"{_what_differs(files, key)}; finish it with the command that began it, give this one another name, "
            f"or delete the folder {files.build} to give it up."
        )
    return None


def _what_differs(files: RunFiles, key: dict[str, Any]) -> str:
    """In what a key differs from that of the plan that is there, in brackets; empty where nothing tells."""
    try:
        was = json.loads(files.plan.read_text(encoding="utf-8"))["key"]
        changed = [name for name in key if name in was and was[name] != json.loads(json.dumps(key[name]))]
    except (OSError, ValueError, TypeError, KeyError):
        return ""
    in_words = {"data": "the data changed", "sources": "the files of the subject changed"}
    said = [in_words.get(name, f"{name} was {was[name]} and is {key[name]} now") for name in changed]
    return f" ({'; '.join(said)})" if said else ""


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
            {str(name): int(value) for name, value in plan["chosen"].items()},
            dict(plan["training"]),
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
