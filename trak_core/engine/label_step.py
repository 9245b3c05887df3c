"""The build step that looks for labels that are wrong, and for what else is odd about the train set."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from trak_core.engine.method_context import load_checkpoints, load_logs
from trak_core.gradients import representations
from trak_core.inputs import as_tensors
from trak_core.labels.findings import find_all, finding_columns
from trak_core.labels.folds import class_log_probabilities
from trak_core.labels.label_scores import N_REPEATS, LabelScores, score_labels
from trak_core.labels.signals import label_margins, likely_wrong, own_class_harm, suggested_labels, suspect_columns
from trak_core.modalities import find_modality
from trak_core.seeds import derive_seed
from trak_core.store.files import RunFiles
from trak_core.store.writer import StoreWriter
from trak_core.subjects import Subject
from trak_core.tasks import Inputs
from trak_core.training import Ensemble, OnShare, ignore_share

Tables = dict[str, dict[str, Any]]


def label_tables(
    writer: StoreWriter,
    files: RunFiles,
    subject: Subject,
    seed: int,
    device: str,
    on_share: OnShare = ignore_share,
) -> tuple[Tables, dict[str, Any]]:
    """Rows of the tables `suspects`, `out_of_fold` and `findings`, and entries of `meta` that tell how they came.

    Where the task has no classes, or all train examples have one label, or each another, there is nothing to compare
    labels with, and where no models can be trained nothing that has not seen them: then there are findings alone.

    Args:
        writer: working store that has scores.
        files: of the run.
        subject: data, model, task and training settings.
        seed: of the build.
        device: to train on.
        on_share: progress of each of two rounds.

    Raises:
        RunMismatchError: checkpoints or training logs are not those of the store.
        InvalidSettingError, TrainingDivergedError: as `score_labels`.
    """
    dataset = subject.dataset
    inputs = as_tensors(dataset.train.inputs, device)
    labels = dataset.train.labels
    tables: Tables = {}
    meta: dict[str, Any] = {}
    scores = None
    if subject.can_train and subject.task.has_classes and 1 < len(np.unique(labels)) < len(labels):
        scores = score_labels(
            subject.task,
            subject.trainer(device),
            inputs,
            torch.from_numpy(labels).to(device),
            len(dataset.class_names),
            derive_seed(seed, "labels"),
            on_share,
            # One after another, models are dear, and four fifths as good a score.
            N_REPEATS if subject.trains_together else 1,
        )
        signals = {**scores.signals, **_signals_of_the_build(writer, files, subject, inputs, device)}
        tables = _suspects(scores, signals, labels)
        meta = {"weights_of_label_witnesses": scores.weights, **_what_went_otherwise(scores)}
    checkpoints = load_checkpoints(writer, files, subject, device)
    seen = representations(checkpoints.architecture, checkpoints.state_dict(0), inputs)
    compared = find_modality(dataset.modality).compared
    found = find_all(
        inputs_train=compared(dataset.train.inputs),
        inputs_test=compared(dataset.test.inputs),
        labels_train=labels,
        embeddings_train=seen.cpu().numpy(),
        probabilities=None if scores is None else scores.out_of_fold,
    )
    return {**tables, "findings": finding_columns(found)}, meta


def _what_went_otherwise(scores: LabelScores) -> dict[str, Any]:
    """Entries of `meta` that ordinary runs do not have; provenance shows them by these names."""
    told: dict[str, Any] = {}
    if scores.round_2_on_all:
        told["second_look_at_labels"] = "left nothing out: some model would have had less than a batch to train on"
    if scores.n_diverged:
        told["diverged_label_models"] = scores.n_diverged
    return told


def _suspects(scores: LabelScores, signals: dict[str, NDArray[np.float64]], labels: NDArray[np.int64]) -> Tables:
    suggested = suggested_labels(scores.pooled, labels)
    places = np.arange(len(labels))
    return {
        "suspects": suspect_columns(
            signals, suggested, scores.pooled[places, suggested], likely_wrong(scores.pooled, labels)
        ),
        "out_of_fold": {
            "train_idx": places,
            "fold": scores.folds,
            "probabilities": scores.out_of_fold.astype(np.float32),
        },
    }


def _signals_of_the_build(
    writer: StoreWriter, files: RunFiles, subject: Subject, inputs: Inputs, device: str
) -> dict[str, NDArray[np.float64]]:
    """Signals that cost next to nothing, because the build has what they are made of; see `labels/signals.py`."""
    labels, test_labels = subject.dataset.train.labels, subject.dataset.test.labels
    method = writer.meta("method")
    of_train = (len(labels), -1)
    margins = writer.columns("SELECT model_output FROM predictions WHERE split = 'train' ORDER BY idx, checkpoint_id")[
        "model_output"
    ].reshape(of_train)
    gradients = writer.columns(
        "SELECT q * norm AS length FROM features WHERE split = 'train' ORDER BY idx, checkpoint_id"
    )["length"].reshape(of_train)
    own = writer.columns("SELECT score FROM self_influence WHERE method = ? ORDER BY train_idx", [method])["score"]
    scores = writer.arrays('SELECT "values" FROM scores WHERE method = ? ORDER BY test_idx', "values", [method])
    over_training = _margin_over_training(writer, files, subject, inputs, device)
    return {
        **({} if over_training is None else {"training_margin": -over_training}),
        "confidence": -margins.astype(np.float64).mean(axis=1),
        "self_influence": own.astype(np.float64),
        "tracin_self_influence": (gradients.astype(np.float64) ** 2).mean(axis=1),
        "own_class_opponents": own_class_harm(scores, test_labels, labels),
    }


def _margin_over_training(
    writer: StoreWriter, files: RunFiles, subject: Subject, inputs: Inputs, device: str
) -> NDArray[np.float64] | None:
    """Margin of the label in logits, over recorded moments of the logged checkpoints `[n_train]`; None without logs."""
    logs = load_logs(writer, files, subject, device)
    if not logs:
        return None
    labels = subject.dataset.train.labels
    targets, total = torch.from_numpy(labels).to(device), np.zeros(len(labels))
    n_moments = 0
    for log in logs:
        states = [moment.parameters for moment in log.ends]
        models = Ensemble.from_state_dicts(subject.make_model(), states, device, subject.trains_together)
        total += label_margins(class_log_probabilities(models, subject.task, inputs, targets), labels).sum(axis=0)
        n_moments += len(states)
    return total / n_moments
