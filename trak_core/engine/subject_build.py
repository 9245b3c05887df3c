"""Builds a run from a subject of somebody's own: tried first, sized to a budget of time, then built as recipes are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch

from trak_core.engine.budget import (
    BuildPlan,
    BuildRequest,
    Sizes,
    chosen_within,
    plan_key,
    settled_plan,
    sizes_within,
)
from trak_core.engine.build import build_run
from trak_core.engine.clock import Clock, seconds_spent
from trak_core.engine.growth import go_on
from trak_core.engine.pace import DIGITS_PACE, measure_pace
from trak_core.engine.settings import BuildSettings, resolve_device
from trak_core.errors import InvalidSettingError
from trak_core.inputs import as_tensors, take
from trak_core.methods import GradientRows
from trak_core.store.catalog import check_run_name
from trak_core.store.files import RunFiles
from trak_core.store.progress import BuildStatus
from trak_core.subjects import Subject, remember, subject_recipe
from trak_core.subjects.trial import try_model
from trak_core.training import LoopTrainer
from trak_core.training.ensemble import StateDict, make_models
from trak_core.training.loop_trainer import try_loop

N_TRIED = 4
BY_A_LOOP = (
    "Trained by a train_model, one model after another. It weighs and relabels no example, so that MAGIC, truths of "
    "single models and retraining on corrected labels are skipped; labels are looked at once, not four times."
)


def build_subject(
    subject: Subject,
    name: str,
    asked: BuildRequest,
    runs_dir: Path,
    on_sizes: Callable[[Sizes], None] = lambda sizes: None,
    on_note: Callable[[str], None] = lambda note: None,
    listener: Callable[[BuildStatus], None] = lambda status: None,
    metadata: dict[str, Any] | None = None,
    replaces: str = "",
) -> Path:
    """Builds a run from a subject, or finishes it, or finds it finished; returns its directory.

    `on_sizes` is called with how much will be computed, `on_note` with what people should know, a sentence each, and
    the listener with the status of the build whenever it changes. The metadata are for provenance, besides those of the
    subject; `replaces` is as in `build_run`.

    Raises:
        InvalidModelError, CheckpointMismatchError: the model or the training function cannot be used.
        InvalidSettingError: the name or a setting cannot work, or the minutes cannot be.
        RunBusyError, RunMismatchError, StorageError, StoreDamagedError: as `build_run`.
    """
    files = RunFiles(runs_dir / check_run_name(name))
    clock = Clock(asked.minutes if asked.n_subsets is None else None, seconds_spent(files))
    asked = replace(asked, device=resolve_device(asked.device))
    plan = _plan(subject, asked, files, clock)
    notes = [*plan.notes, *([BY_A_LOOP] if subject.train_model is not None else [])]
    told = {"minutes": clock.minutes, "sizes_given": asked.sizes_to_keep, "seconds_a_model": plan.pace.model}
    recipe = subject_recipe(subject, {**told, **({"notes": notes} if notes else {}), **(metadata or {})})
    settings = BuildSettings.of(recipe, asked.seed, asked.device, **plan.settings(asked))
    # What a script began only the script can go on with.
    command = [] if subject.path is None else ["build", str(subject.path), "--name", name, *asked.words()]
    remember(subject)

    def begin() -> None:
        on_sizes(plan.sizes)
        for note in notes:
            on_note(note)

    run_dir = build_run(settings, name, runs_dir, listener, command, recipe, plan, replaces, clock, begin)
    go_on(run_dir, asked, clock, listener)
    return run_dir


def _plan(subject: Subject, asked: BuildRequest, files: RunFiles, clock: Clock) -> BuildPlan:
    """The plan that is settled already, or one made by trying the subject."""
    key = plan_key(asked, sources=dict(subject.sources), data=subject.dataset.fingerprint())
    if (plan := settled_plan(files, key, asked)) is not None:
        return plan
    given, notes = asked.sizes, []
    if subject.checkpoints:
        if given.setdefault("n_checkpoints", len(subject.checkpoints)) != len(subject.checkpoints):
            raise InvalidSettingError(
                f"n_checkpoints={asked.n_checkpoints}, but subject {subject.name!r} comes with "
                f"{len(subject.checkpoints)} checkpoints; leave n_checkpoints out."
            )
    if not subject.can_train:
        _try_gradients(subject, subject.checkpoints[0])
        return BuildPlan(key, Sizes(len(subject.checkpoints), 0, 0), DIGITS_PACE)
    half_model = None
    trainer = subject.trainer(asked.device)
    if isinstance(trainer, LoopTrainer):
        trial = try_loop(trainer, asked.seed)
        _try_gradients(subject, {name: value.cpu() for name, value in trial.state.items()})
        half_model = trial.seconds
        notes = trial.notes
        if trial.ignores_seed:
            given |= {"n_seeds": 1, **({} if subject.checkpoints else {"n_checkpoints": 1})}
    else:
        split = subject.dataset.train
        n_classes = len(subject.dataset.class_names)
        try_model("make_model", subject.make_model, split.inputs, split.labels, n_classes, subject.task)
    pace = DIGITS_PACE
    if len(given) == len(fields(Sizes)):
        if half_model is not None:
            pace = replace(pace, model=2 * half_model, half_model=half_model)
        return BuildPlan(key, Sizes(**given), pace, notes)
    pace = measure_pace(subject, asked.device, half_model)
    sizes = sizes_within(asked.minutes, clock.spent, pace, given)
    chosen = chosen_within(asked.minutes, sizes, pace)
    if not subject.trains_together:  # one after another, models are dear; see label_step.py
        chosen["n_label_repeats"] = 1
    return BuildPlan(key, sizes, pace, notes, chosen)


def _try_gradients(subject: Subject, weights: StateDict) -> None:
    """Refuses a model of which no gradients of single examples can be had."""
    split = subject.dataset.train
    inputs = as_tensors(take(split.inputs, slice(N_TRIED)))
    labels = torch.from_numpy(split.labels[:N_TRIED])
    architecture = make_models(subject.make_model, [0])[0]
    GradientRows(architecture, subject.task, weights, inputs, labels).whole(weights, inputs, labels)
