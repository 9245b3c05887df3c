"""Evidence for a run that an `Attributor` saved: its model, data and checkpoints as a subject, built by the engine."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from trak_core.engine.doors import progress_of, warn_of
from trak_core.engine.measure import measure_run
from trak_core.engine.measure_budget import measure_within
from trak_core.engine.subject_build import SubjectBuild, build_subject
from trak_core.store.run import Run, open_run
from trak_core.subjects import OWN_SUBJECT, Subject
from trak_core.training import TrainModel

if TYPE_CHECKING:
    from trak_core.engine.attributor import Attributor

SAVED_AS = "saved_as"
"""Key of a run's meta table: the fingerprint of the saved run in whose place it was built."""
SHARE_OF_BUILD = 0.6
"""Of the minutes; the rest measures methods."""


@dataclass(frozen=True)
class Saved:
    """What a run was saved with."""

    train: Any  # the train examples, as `save` was given them
    test: Any  # the test examples, likewise


def measure_saved(
    attributor: Attributor,
    run_dir: Path,
    saved: Saved,
    train_model: TrainModel,
    minutes: float,
    methods: Sequence[str] | None,
    show_progress: bool,
) -> None:
    """Builds the run again with evidence and measures every method; arguments are those of `Attributor.measure`."""
    began = time.monotonic()
    with open_run(run_dir) as run:
        made = run.info.provenance
        subject = _subject(attributor, run, saved, train_model)
    was = made[SAVED_AS] if made["recipe"] == OWN_SUBJECT else made["fingerprint"]
    asked = SubjectBuild(minutes=SHARE_OF_BUILD * minutes, seed=attributor.options.seed, device=str(attributor.device))
    with progress_of(show_progress) as show:
        build_subject(
            subject,
            run_dir.name,
            asked,
            run_dir.parent,
            on_note=warn_of,
            listener=show,
            metadata={SAVED_AS: was},
            replaces=was,
        )
    with open_run(run_dir) as run:
        seconds_a_model = float(run.info.provenance["seconds_a_model"])
    settings = measure_within(60 * minutes - (time.monotonic() - began), seconds_a_model)
    if methods is not None:
        settings = replace(settings, methods=tuple(methods))
    with progress_of(show_progress) as show:
        measure_run(run_dir, settings, show)


def _subject(attributor: Attributor, run: Run, saved: Saved, train_model: TrainModel) -> Subject:
    info, checkpoints = run.info, attributor.checkpoints
    train, test = (
        run.rows("SELECT thumbnail, text FROM examples WHERE split = ? ORDER BY idx", [split])
        for split in ("train", "test")
    )
    has_pictures, has_texts = (all(row[i] is not None for row in (*train, *test)) for i in range(2))
    return Subject(
        name=run.path.name,
        train=saved.train,
        test=saved.test,
        task=attributor.task,
        make_model=_selected(attributor),
        train_model=train_model,
        checkpoints=[checkpoints.state_dict(i) for i in range(len(checkpoints))],
        class_names=info.class_names if info.has_classes else None,
        title=info.title,
        thumbnails=([row[0] for row in train], [row[0] for row in test]) if has_pictures else None,
        texts=([row[1] for row in train], [row[1] for row in test]) if has_texts else None,
        modality=info.modality,
    )


def _selected(attributor: Attributor) -> nn.Module:
    """The model in float32 on the CPU, of which only the selected parameters are differentiated."""
    model = copy.deepcopy(attributor.model).float().cpu()
    selected = {name for layer in attributor.layers for name in layer.parameters}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in selected)
    return model
