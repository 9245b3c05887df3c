"""Builds a run from custom data: read, report, prepare, size to a budget of time, build."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, cast

from trak_core.datasets.custom_data import CustomData
from trak_core.datasets.report import DataReport, report_on
from trak_core.datasets.sampling import sampled
from trak_core.durations import in_minutes
from trak_core.engine.budget import (
    BuildPlan,
    BuildRequest,
    Sizes,
    chosen_within,
    most_steps_within,
    plan_key,
    settled_plan,
    sizes_within,
)
from trak_core.engine.build import build_run
from trak_core.engine.clock import Clock, seconds_spent
from trak_core.engine.growth import go_on
from trak_core.engine.pace import DIGITS_PACE, measure_pace, measure_step
from trak_core.engine.settings import BuildSettings, resolve_device
from trak_core.engine.subject import load_subject
from trak_core.modalities import RawData, ReadyModel, find_modality, prepare
from trak_core.seeds import derive_seed
from trak_core.store.catalog import check_run_name
from trak_core.store.files import RunFiles
from trak_core.store.progress import BuildStatus
from trak_core.subjects import Recipe, Subject, custom_recipe, find_model
from trak_core.training.sizing import MOST_STEPS, choose_steps
from trak_core.training.trainer import VmapTrainer


@dataclass(frozen=True)
class CustomBuild(BuildRequest):
    """What is asked for besides the data; errors are those of `BuildRequest`."""

    model: str | None = None  # its name, see `models.find_model`; None for the one that usually suits
    weights: str | None = None  # file of the weights that training begins from; None to begin from random ones
    n_train: int | None = None  # train examples to draw; None for all
    n_test: int | None = None  # test examples to explain; None for all up to fifteen hundred
    flip_labels: float = 0.0  # share of the train labels that are made wrong on purpose, 0 to 0.5
    flip_kind: str = "uniform"  # which wrong label these get


def build_custom_data(
    source: CustomData,
    asked: CustomBuild,
    name: str,
    runs_dir: Path,
    on_report: Callable[[DataReport], None] = lambda report: None,
    on_reading: Callable[[int, int], object] = lambda n_done, n_steps: None,
    on_phase: Callable[[str], object] = lambda phase: None,
    on_sizes: Callable[[Sizes], None] = lambda sizes: None,
    listener: Callable[[BuildStatus], None] = lambda status: None,
) -> Path:
    """Builds a run from custom data, or finishes it, or finds it finished; returns its directory.

    Test examples are held out by the seed of `asked`. `on_report` is called with what is in the data before anything is
    trained, `on_reading` with the steps of reading done and all of them, `on_phase` with what is tried before the build
    begins, `on_sizes` with how much will be computed, and the listener with the status of the build when it changes.

    Raises:
        EmptyDataError, InvalidDataError, LabelError: as the readers.
        InvalidSettingError: the name, the model or a setting cannot work, or the minutes cannot be.
        RunBusyError, RunMismatchError, StorageError, StoreDamagedError: as `build_run`.
    """
    files = RunFiles(runs_dir / check_run_name(name))
    clock = Clock(asked.minutes if asked.n_subsets is None else None, seconds_spent(files))
    asked = replace(asked, device=resolve_device(asked.device))
    source = source.with_seed(asked.seed)
    if asked.weights is not None:
        asked = replace(asked, weights=str(Path(asked.weights).resolve()))  # the command may be given again elsewhere
    raw = source.read(on_reading)
    model = custom_model(raw, asked.model, asked.weights)
    asked = replace(asked, model=model.name)
    drawn = sampled(raw, asked.n_train, asked.n_test, asked.seed)
    report = report_on(raw, asked.seed)
    report = replace(report, notes=(*report.notes, *drawn.notes[len(raw.notes) :]))
    on_report(report)
    if clock.is_limited and clock.spent_before >= 1:
        on_phase(f"earlier starts took {clock.spent_before:.0f} s of {in_minutes(asked.minutes)}")
    dataset = prepare(drawn, model.takes)
    assert dataset.encoding is not None  # it was learnt there
    splits = {"train": drawn.train, "test": drawn.test}
    said = [note for name, split in splits.items() for note in dataset.encoding.notes(split.contents, name)]
    made_ready = tuple(dict.fromkeys(said))
    for note in made_ready:
        on_phase(note)
    metadata = _metadata(replace(report, notes=(*report.notes, *made_ready)), asked, clock, raw.source)
    plan = _plan(files, custom_recipe(source.kind, dataset, model, metadata), asked, clock, on_phase)
    recipe = custom_recipe(source.kind, dataset, model, metadata, plan.training)
    settings = _settings(recipe, asked, plan.settings(asked))
    command = ["build", *source.words(), "--name", name, *asked.words()]
    run_dir = build_run(
        settings, name, runs_dir, listener, command, recipe, plan, clock=clock, on_begin=lambda: on_sizes(plan.sizes)
    )
    go_on(run_dir, asked, clock, listener)
    return run_dir


def custom_model(raw: RawData, name: str | None = None, weights: str | None = None) -> ReadyModel:
    """The model of that name for data that were read, or what usually suits; errors are those of `find_model`."""
    usual = find_modality(raw.modality).usual_model
    return find_model(name or usual(raw.train.contents), raw.modality, weights or "")


def _metadata(report: DataReport, asked: CustomBuild, clock: Clock, source: Mapping[str, Any] | None) -> dict[str, Any]:
    found = {
        "n_left_out": len(report.skipped),
        "n_duplicates": report.n_duplicates,
        "n_leaks": report.n_leaks,
        "n_conflicts": len(report.conflicts),
        "notes": list(report.notes),
    }
    return {
        "minutes": clock.minutes,
        "sizes_given": asked.sizes_to_keep,
        "data_report": found,
        "data_source": source,
    }


def _settings(recipe: Recipe, asked: CustomBuild, sizes: dict[str, Any]) -> BuildSettings:
    return BuildSettings.of(recipe, asked.seed, asked.device, asked.flip_labels, asked.flip_kind, **sizes)


def _plan(
    files: RunFiles, recipe: Recipe, asked: CustomBuild, clock: Clock, on_phase: Callable[[str], object]
) -> BuildPlan:
    """How much to compute and what it takes: as before where the same was asked for."""
    key, given = plan_key(asked), asked.sizes
    if (plan := settled_plan(files, key, asked)) is not None:
        return plan
    on_phase("trying the model")
    subject = load_subject(_settings(recipe, asked, {**given, "grows": True}), recipe)[0]
    if not subject.trains_together:
        return _plan_of_fine_tuning(subject, key, asked, clock)
    a_step = measure_step(subject, asked.device) if len(given) < len(fields(Sizes)) else None
    most_steps = MOST_STEPS if a_step is None else most_steps_within(asked.minutes, a_step.among_few)
    on_phase("choosing how long to train")
    trainer = cast(VmapTrainer, subject.trainer(asked.device))
    training = choose_steps(trainer, derive_seed(asked.seed, "steps"), most_steps).settings
    if a_step is None:
        return BuildPlan(key, Sizes(**given), DIGITS_PACE, training=training.facts())
    pace = measure_pace(replace(subject, training=training), asked.device, a_step=a_step)
    sizes = sizes_within(asked.minutes, clock.spent, pace, given)
    return BuildPlan(key, sizes, pace, [], chosen_within(asked.minutes, sizes, pace), training.facts())


def _plan_of_fine_tuning(subject: Subject, key: dict[str, Any], asked: CustomBuild, clock: Clock) -> BuildPlan:
    """The plan for models that are fine-tuned one after another, for as long as people usually do."""
    given, training = asked.sizes, subject.training_facts
    if len(given) == len(fields(Sizes)):
        return BuildPlan(key, Sizes(**given), DIGITS_PACE, training=training)
    pace = measure_pace(subject, asked.device)
    sizes = sizes_within(asked.minutes, clock.spent, pace, given)
    chosen = {**chosen_within(asked.minutes, sizes, pace), "n_label_repeats": 1}
    return BuildPlan(key, sizes, pace, [], chosen, training)
