"""Builds a run from custom data: read, report, prepare, size to a budget of time, build."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from trak_core.datasets.custom_data import CustomData
from trak_core.datasets.report import DataReport, report_on
from trak_core.datasets.sampling import sampled
from trak_core.engine.budget import BuildPlan, Sizes, read_plan, sizes_within
from trak_core.engine.build import build_run
from trak_core.engine.pace import DIGITS_PACE, Pace, measure_pace
from trak_core.engine.settings import BuildSettings, resolve_device
from trak_core.engine.subject import load_subject
from trak_core.errors import InvalidSettingError, RunMismatchError, TrakCoreError
from trak_core.modalities import find_modality, prepare
from trak_core.store.catalog import check_run_name
from trak_core.store.files import RunFiles
from trak_core.store.progress import BuildStatus
from trak_core.store.run import open_run
from trak_core.subjects import Recipe, custom_recipe, find_model
from trak_core.subjects.custom_data import MAX_MINUTES


@dataclass(frozen=True)
class CustomBuild:
    """What is asked for besides the data.

    Raises:
        InvalidSettingError: `minutes` cannot be.
    """

    model: str | None = None  # its name, see `models.find_model`; None for the one that usually suits
    weights: str | None = None  # file of the weights that training begins from; None to begin from random ones
    minutes: float = 10.0  # that the whole build may take
    n_train: int | None = None  # train examples to draw; None for all
    n_test: int | None = None  # test examples to explain; None for all up to fifteen hundred
    seed: int = 0  # root of every random choice
    device: str = "auto"  # "auto", "cpu" or "cuda"
    flip_labels: float = 0.0  # share of the train labels that are made wrong on purpose, 0 to 0.5
    flip_kind: str = "uniform"  # which wrong label these get
    n_checkpoints: int | None = None  # instead of what the minutes pay for; likewise the next two
    n_subsets: int | None = None  # random halves
    n_seeds: int | None = None  # models retrained on each half

    def __post_init__(self) -> None:
        if not 0 < self.minutes <= MAX_MINUTES:
            raise InvalidSettingError(f"minutes={self.minutes:g}; it must be above 0 and at most {MAX_MINUTES:,}.")

    @property
    def sizes(self) -> dict[str, int]:
        """The sizes that are given instead of a budget."""
        given = {name: getattr(self, name) for name in Sizes.__dataclass_fields__}
        return {name: value for name, value in given.items() if value is not None}

    def words(self) -> list[str]:
        """The options of `build` that ask for this."""
        words = []
        for name, default in CustomBuild.__dataclass_fields__.items():
            value = getattr(self, name)
            if value != default.default:
                words += [f"--{name.replace('_', '-')}", str(value)]
        return words


def build_custom_data(
    source: CustomData,
    asked: CustomBuild,
    name: str,
    runs_dir: Path,
    on_report: Callable[[DataReport], None] = lambda report: None,
    on_reading: Callable[[int, int], object] = lambda n_done, n_steps: None,
    on_sizes: Callable[[Sizes], None] = lambda sizes: None,
    listener: Callable[[BuildStatus], None] = lambda status: None,
) -> Path:
    """Builds a run from custom data, or finishes it, or finds it finished; returns its directory.

    Args:
        source: the data; test examples are put aside by the seed of `asked`.
        asked: the model and how much to compute.
        name: of the run.
        runs_dir: the directory of all runs.
        on_report: called with what is in the data, before anything is trained.
        on_reading: called with the steps of reading done and all of them.
        on_sizes: called with how much will be computed.
        listener: called with the status of the build whenever it changes.

    Raises:
        EmptyDataError, InvalidDataError, LabelError: as the readers.
        InvalidSettingError: the name, the model or a setting cannot work, or the minutes are too few.
        RunBusyError, RunMismatchError, StorageError, StoreDamagedError: as `build_run`.
    """
    began = time.monotonic()
    files = RunFiles(runs_dir / check_run_name(name))
    device = resolve_device(asked.device)
    source = source.with_seed(asked.seed)
    if asked.weights is not None:
        asked = replace(asked, weights=str(Path(asked.weights).resolve()))  # the command may be given again elsewhere
    raw = source.read(on_reading)
    usual = find_modality(raw.modality).usual_model
    model = find_model(asked.model or usual(raw.train.contents), raw.modality, asked.weights or "")
    drawn = sampled(raw, asked.n_train, asked.n_test, asked.seed)
    report = replace(report_on(raw), notes=drawn.notes)
    on_report(report)
    recipe = custom_recipe(source.kind, prepare(drawn, model.takes), model, _metadata(report, asked))
    sizes, pace, plan = _sizes(files, recipe, asked, device, began)
    on_sizes(sizes)
    settings = BuildSettings.of(
        recipe,
        asked.seed,
        device,
        asked.flip_labels,
        asked.flip_kind,
        **asdict(sizes),
    )
    command = ["build", *source.words(), "--name", name, *replace(asked, device=device, model=model.name).words()]
    return build_run(settings, name, runs_dir, listener, command, recipe, pace, plan)


def _metadata(report: DataReport, asked: CustomBuild) -> dict[str, Any]:
    return {
        "minutes": asked.minutes,
        "sizes_given": asked.sizes,
        "data_report": {
            "n_left_out": len(report.skipped),
            "n_duplicates": report.n_duplicates,
            "n_leaks": report.n_leaks,
            "n_conflicts": len(report.conflicts),
            "notes": list(report.notes),
        },
    }


def _sizes(
    files: RunFiles, recipe: Recipe, asked: CustomBuild, device: str, began: float
) -> tuple[Sizes, Pace, BuildPlan | None]:
    """How much to compute, what it takes, and the plan to keep: as before where the same was asked for."""
    given = asked.sizes
    if len(given) == len(Sizes.__dataclass_fields__):
        return Sizes(**given), DIGITS_PACE, None
    key = asdict(replace(asked, device=device, model=recipe.model))
    if (planned := read_plan(files, key)) is not None:
        return planned.sizes, planned.pace, None
    if (made := _made_already(files, asked, device)) is not None:
        return made, DIGITS_PACE, None
    if files.working_store.exists():
        raise RunMismatchError(
            f"an unfinished build of run {files.run_dir.name!r} was begun with other settings; finish it with the "
            f"command that began it, give this one another --name, or delete the folder {files.build} to give it up."
        )
    settings = BuildSettings.of(recipe, asked.seed, device, asked.flip_labels, asked.flip_kind, **given)
    pace = measure_pace(load_subject(settings, recipe)[0], device)
    sizes = sizes_within(asked.minutes, time.monotonic() - began, pace, given)
    return sizes, pace, BuildPlan(key, sizes, pace)


def _made_already(files: RunFiles, asked: CustomBuild, device: str) -> Sizes | None:
    """The sizes of the run that is there, if the same was asked for; whether its data are the same is seen later."""
    try:
        with open_run(files.run_dir) as run:
            made = run.info.provenance
    except TrakCoreError:
        return None  # nothing there, or nothing that can be read: the build itself says what is wrong
    if (made.get("minutes"), made.get("device"), made.get("seed"), made.get("sizes_given")) != (
        asked.minutes,
        device,
        asked.seed,
        asked.sizes,
    ):
        return None
    return Sizes(**{name: int(made[name]) for name in Sizes.__dataclass_fields__})
