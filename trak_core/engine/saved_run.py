"""Evidence for a run that an `Attributor` saved: its model, data and checkpoints as a subject, built by the engine."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trak_core.engine.budget import BuildRequest
from trak_core.engine.doors import measure_methods, progress_of, warn_of
from trak_core.engine.measure_settings import measure_within
from trak_core.engine.subject_build import build_subject
from trak_core.store.run import Run, open_run
from trak_core.subjects import OWN_SUBJECT, Subject
from trak_core.training import TrainModel

if TYPE_CHECKING:
    from trak_core.engine.attributor import Attributor

SAVED_AS = "saved_as"
"""Key of a run's meta table: the fingerprint of the saved run in whose place it was built."""
SHARE_OF_BUILD = 0.6
"""Of the minutes; the rest measures methods."""


def measure_saved(
    attributor: Attributor,
    run_dir: Path,
    saved: tuple[Any, Any],
    train_model: TrainModel,
    minutes: float,
    methods: Sequence[str] | None,
    show_progress: bool,
) -> None:
    """Builds the run again with evidence and measures every method; `saved` are its train and test examples.

    Other arguments are those of `Attributor.measure`.
    """
    began = time.monotonic()
    with open_run(run_dir) as run:
        made = run.info.provenance
        subject = _subject(attributor, run, saved, train_model)
    was = made[SAVED_AS] if made["recipe"] == OWN_SUBJECT else made["fingerprint"]
    asked = BuildRequest(minutes=SHARE_OF_BUILD * minutes, seed=attributor.options.seed, device=str(attributor.device))
    name, runs_dir, metadata = run_dir.name, run_dir.parent, {SAVED_AS: was}
    with progress_of(show_progress) as show:
        build_subject(subject, name, asked, runs_dir, on_note=warn_of, listener=show, metadata=metadata, replaces=was)
    with open_run(run_dir) as run:
        seconds_a_model = float(run.info.provenance["seconds_a_model"])
    settings = measure_within(60 * minutes - (time.monotonic() - began), seconds_a_model)
    measure_methods(run_dir, settings, methods, show_progress)


def _subject(attributor: Attributor, run: Run, saved: tuple[Any, Any], train_model: TrainModel) -> Subject:
    info, checkpoints = run.info, attributor.checkpoints

    def shown(column: str) -> Any:
        """A column of the train and of the test examples; None where one has nothing there."""
        query = f"SELECT {column} FROM examples WHERE split = ? ORDER BY idx"
        of_splits = tuple([value for (value,) in run.rows(query, [split])] for split in ("train", "test"))
        return None if any(None in values for values in of_splits) else of_splits

    # In float32 on the CPU, with the selected parameters alone to be differentiated.
    model = copy.deepcopy(attributor.model).float().cpu()
    selected = {name for layer in attributor.layers for name in layer.parameters}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in selected)
    return Subject(
        name=run.path.name,
        train=saved[0],
        test=saved[1],
        task=attributor.task,
        make_model=model,
        train_model=train_model,
        checkpoints=[checkpoints.state_dict(i) for i in range(len(checkpoints))],
        class_names=info.class_names if info.has_classes else None,
        title=info.title,
        thumbnails=shown("thumbnail"),
        texts=shown("text"),
        modality=info.modality,
    )
