"""The build step that looks for labels that are wrong, and for what else is odd about the train set."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from trak_core.engine.working_run import WorkingRun
from trak_core.gradients import representations
from trak_core.labels.findings import find_all, finding_columns
from trak_core.labels.folds import class_log_probabilities
from trak_core.labels.label_scores import N_REPEATS, LabelScores, score_labels
from trak_core.labels.signals import label_margins, likely_wrong, own_class_harm, suggested_labels, suspect_columns
from trak_core.modalities import find_modality
from trak_core.seeds import derive_seed
from trak_core.training import Ensemble, OnShare

Tables = dict[str, dict[str, Any]]


def suspect_tables(run: WorkingRun, on_share: OnShare) -> tuple[Tables, dict[str, Any]]:
    """Rows of the tables `suspects`, `out_of_fold` and `findings`, and entries of `meta` that tell how they came.

    Where the task has no classes, or all train examples have one label, or each another, there is nothing to compare
    labels with, and where no models can be trained nothing that has not seen them: then there are findings alone.

    The run has its first checkpoint; `on_share` is told the progress of each of two rounds.

    Raises:
        RunMismatchError: the checkpoint is not that of the store.
        InvalidSettingError, TrainingDivergedError: as `score_labels`.
    """
    subject, dataset = run.subject, run.subject.dataset
    labels = dataset.train.labels
    tables: Tables = {}
    meta: dict[str, Any] = {}
    scores = None
    if subject.can_train and subject.task.has_classes and 1 < len(np.unique(labels)) < len(labels):
        scores = score_labels(
            subject.task,
            run.trainer,
            run.train.inputs,
            run.train.targets,
            len(dataset.class_names),
            derive_seed(run.build.seed, "labels"),
            on_share,
            # One after another, models are dear, and four fifths as good a score.
            run.build.n_label_repeats or (N_REPEATS if subject.trains_together else 1),
        )
        tables = _suspects(scores, labels)
        meta = {"weights_of_label_witnesses": scores.weights, **_what_went_otherwise(scores)}
    weights = run.checkpoints.state_dict(0)
    seen = representations(run.checkpoints.architecture, weights, run.train.inputs, subject.task)
    compared = find_modality(dataset.modality).compared
    found = find_all(
        inputs_train=compared(dataset.train.inputs),
        inputs_test=compared(dataset.test.inputs),
        # Numbers of a task without classes make no groups.
        labels_train=labels if subject.task.has_classes else np.zeros(len(labels), dtype=np.int64),
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


def _suspects(scores: LabelScores, labels: NDArray[np.int64]) -> Tables:
    suggested = suggested_labels(scores.pooled, labels)
    train_idx = np.arange(len(labels))
    probabilities = scores.pooled[train_idx, suggested]
    return {
        "suspects": suspect_columns(scores.signals, suggested, probabilities, likely_wrong(scores.pooled, labels)),
        "out_of_fold": {
            "train_idx": train_idx,
            "fold": scores.folds,
            "probabilities": scores.out_of_fold.astype(np.float32),
        },
    }


def signal_tables(run: WorkingRun) -> Tables:
    """Rows of the table `suspects` for what models and scores of the build say of labels, where these were compared.

    Raises:
        RunMismatchError: training logs are not those of the store.
    """
    found = run.writer.columns(
        "SELECT suggested_label, suggested_confidence, is_likely FROM suspects "
        "WHERE signal = 'combined' AND split = 'train' ORDER BY train_idx"
    )
    if not len(found["suggested_label"]):
        return {}
    suggested = found["suggested_label"].astype(np.int64)
    return {
        "suspects": suspect_columns(
            _signals_of_the_build(run), suggested, found["suggested_confidence"], found["is_likely"]
        )
    }


def _signals_of_the_build(run: WorkingRun) -> dict[str, NDArray[np.float64]]:
    """Signals that cost next to nothing, because the build has what they are made of; see `labels/signals.py`."""
    writer, labels, test_labels = run.writer, run.subject.dataset.train.labels, run.subject.dataset.test.labels
    method = writer.meta("method")

    def of_train(value: str, table: str) -> NDArray[np.float64]:
        rows = writer.columns(f"SELECT {value} AS v FROM {table} WHERE split = 'train' ORDER BY idx, checkpoint_id")
        return np.asarray(rows["v"].reshape(len(labels), -1), dtype=np.float64)

    margins, gradients = of_train("model_output", "predictions"), of_train("q * norm", "features")
    own = writer.columns("SELECT score FROM self_influence WHERE method = ? ORDER BY train_idx", [method])["score"]
    scores = writer.arrays('SELECT "values" FROM scores WHERE method = ? ORDER BY test_idx', "values", [method])
    over_training = _margin_over_training(run)
    return {
        **({} if over_training is None else {"training_margin": -over_training}),
        "confidence": -margins.mean(axis=1),
        "self_influence": own.astype(np.float64),
        "tracin_self_influence": (gradients**2).mean(axis=1),
        "own_class_opponents": own_class_harm(scores, test_labels, labels),
    }


def _margin_over_training(run: WorkingRun) -> NDArray[np.float64] | None:
    """Margin of the label in logits, over recorded moments of the logged checkpoints `[n_train]`; None without logs."""
    logs = run.read_logs()
    if not logs:
        return None
    subject, device, labels = run.subject, run.build.device, run.subject.dataset.train.labels
    total, n_moments = np.zeros(len(labels)), 0
    for log in logs:
        states = [moment.parameters for moment in log.ends]
        models = Ensemble.from_state_dicts(subject.make_model(), states, device, subject.trains_together)
        found = class_log_probabilities(models, subject.task, run.train.inputs, run.train.targets)
        total += label_margins(found, labels).sum(axis=0)
        n_moments += len(states)
    return total / n_moments
