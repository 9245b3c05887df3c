"""The columns of a run's tables and its common metadata, made in one place.

Builds, saved attributors and imported scores all describe their examples, models and scores here, so that a run is the
same whatever made it. Numbers come as arrays; whoever has tensors brings them to the CPU. What a task does not have,
such as a label or a probability, is None and becomes NULL.
"""

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trak_core.store.topk import topk_columns
from trak_core.versions import versions

Columns = dict[str, Any]
Numbers = NDArray[Any] | None


def example_columns(
    split: str,
    labels: Numbers,
    label_names: Sequence[str],
    *,
    texts: Sequence[str | None] | None = None,
    thumbnails: Sequence[bytes | None] | None = None,
    origins: Sequence[str] | None = None,
    first: int = 0,
) -> Columns:
    """Columns of the table `examples`.

    Args:
        split: "train" or "test".
        labels: numbers of their classes `[n]`; None where there are no classes.
        label_names: the label of each in words: its class or its target.
        texts: the first text of each; None where they have none.
        thumbnails: PNG or WebP bytes of the first picture of each; None where they have none.
        origins: file or row that each came from, relative to the source; None where nothing tells.
        first: number of the first one.
    """
    n = len(label_names)
    nothing = [None] * n
    return {
        "split": [split] * n,
        "idx": np.arange(first, first + n),
        "label": nothing if labels is None else labels,
        "label_name": list(label_names),
        "text": list(texts or nothing),
        "thumbnail": list(thumbnails or nothing),
        "origin": list(origins or nothing),
    }


def prediction_columns(
    checkpoint_ids: Sequence[int],
    split: str,
    model_output: NDArray[Any],
    *,
    loss: Numbers = None,
    p_label: Numbers = None,
    predicted: Numbers = None,
    probabilities: Numbers = None,
    first: int = 0,
) -> Columns:
    """Columns of the table `predictions`.

    Args:
        checkpoint_ids: of the models that were asked.
        split: "train" or "test".
        model_output: for the default target of each example `[n_checkpoints, n]`; likewise what follows.
        loss: None where the task has none.
        p_label: probability of the label, None where there is none.
        predicted: number of the class that each answers, None where there are no classes.
        probabilities: of every class `[n_checkpoints, n, n_classes]`, None where there are no classes.
        first: number of the first example.
    """
    n_checkpoints, n = np.shape(model_output)
    return {
        **_example_keys(checkpoint_ids, split, n, first),
        "model_output": np.reshape(model_output, -1),
        **{
            name: [None] * (n_checkpoints * n) if values is None else np.reshape(values, -1)
            for name, values in (("loss", loss), ("p_label", p_label), ("predicted", predicted))
        },
        "probabilities": [None] * (n_checkpoints * n)
        if probabilities is None
        else np.reshape(probabilities, (n_checkpoints * n, -1)),
    }


def feature_columns(
    checkpoint_id: int, split: str, q: NDArray[Any], norm: NDArray[Any], phi: NDArray[Any], first: int = 0
) -> Columns:
    """Columns of the table `features`, for one checkpoint.

    Args:
        checkpoint_id: whose gradients were projected.
        split: "train" or "test".
        q: weights of the examples `[n]`.
        norm: of their gradients before projection `[n]`.
        phi: projected gradients `[n, proj_dim]`.
        first: number of the first example.
    """
    return {**_example_keys([checkpoint_id], split, len(phi), first), "q": q, "norm": norm, "phi": phi}


def _example_keys(checkpoint_ids: Sequence[int], split: str, n: int, first: int) -> Columns:
    return {
        "checkpoint_id": np.repeat(np.asarray(checkpoint_ids, dtype=np.int64), n),
        "split": [split] * (len(checkpoint_ids) * n),
        "idx": np.tile(np.arange(first, first + n), len(checkpoint_ids)),
    }


def checkpoint_columns(
    sha256s: Sequence[str],
    *,
    seeds: Sequence[int] | None = None,
    accuracy: Mapping[str, Sequence[float | None] | None] | None = None,
    log_sha256s: Sequence[str | None] | None = None,
) -> Columns:
    """Columns of the table `checkpoints`, numbered from 0.

    Args:
        sha256s: of the files with their weights.
        seeds: that each was trained with; None where nothing tells.
        accuracy: of each on the splits "train" and "test", 0 to 1; None where answers are not right or wrong.
        log_sha256s: of the files with their training logs.
    """
    nothing = [None] * len(sha256s)
    accuracy = accuracy or {}
    return {
        "checkpoint_id": list(range(len(sha256s))),
        "seed": list(seeds or nothing),
        "sha256": list(sha256s),
        "train_accuracy": list(accuracy.get("train") or nothing),
        "test_accuracy": list(accuracy.get("test") or nothing),
        "log_sha256": list(log_sha256s or nothing),
    }


def method_columns(
    name: str,
    title: str,
    description: str,
    fingerprint: str,
    *,
    is_baseline: bool = False,
    seconds: float | None = None,
    calibration: float | None = None,
    settings: Mapping[str, float] | None = None,
) -> Columns:
    """Columns of the table `methods`, for one method.

    Args:
        name: the key in columns and addresses.
        title: the name on pages.
        description: one plain sentence.
        fingerprint: of what its scores were made from.
        is_baseline: True for methods that real attribution must beat.
        seconds: of CPU time that its scores took.
        calibration: the factor that brought its scores to the unit of the model output; None where they have none.
        settings: what it chose.
    """
    return {
        "method": [name],
        "title": [title],
        "description": [description],
        "is_baseline": [is_baseline],
        "seconds": [seconds],
        "fingerprint": [fingerprint],
        "calibration": [calibration],
        "settings": [None if settings is None else json.dumps(settings)],
    }


def score_tables(
    method: str, scores: NDArray[np.float32], first: int = 0, errors: NDArray[np.float32] | None = None
) -> dict[str, Columns]:
    """Rows of the tables `scores` and `topk`, for the default targets of some test examples.

    Args:
        method: that made them.
        scores: `[n, n_train]`.
        first: number of the first test example.
        errors: standard errors of the scores `[n, n_train]`; None where there are none.
    """
    return {
        "scores": {
            "method": [method] * len(scores),
            "test_idx": np.arange(first, first + len(scores)),
            "values": scores,
        },
        "topk": topk_columns({method: scores}, first=first, errors=None if errors is None else {method: errors}),
    }


def target_score_columns(
    method: str, test_idx: NDArray[np.int64], target: NDArray[np.int64], scores: NDArray[np.float32]
) -> Columns:
    """Columns of the table `target_scores`.

    Args:
        method: that made them.
        test_idx: of the test examples `[n]`.
        target: of each, from 1 `[n]`.
        scores: `[n, n_train]`.
    """
    return {"method": [method] * len(scores), "test_idx": test_idx, "target": target, "values": scores}


def self_influence_columns(method: str, scores: NDArray[Any]) -> Columns:
    """Columns of the table `self_influence`, from the scores of the train examples for themselves `[n_train]`."""
    n = len(scores)
    return {"method": [method] * n, "train_idx": np.arange(n), "score": np.asarray(scores, dtype=np.float64)}


def joined(parts: Sequence[Columns]) -> Columns:
    """The columns of several pieces of one table, one below the other."""
    return {name: _below([part[name] for part in parts]) for name in parts[0]}


def _below(columns: Sequence[Any]) -> Any:
    if any(isinstance(column, list) for column in columns):
        return [value for column in columns for value in column]
    if any(isinstance(column, np.ma.MaskedArray) for column in columns):
        return np.ma.concatenate(columns)  # type: ignore[no-untyped-call]
    return np.concatenate(columns)


def run_meta(
    *,
    recipe: str,
    title: str,
    modality: str,
    class_names: Sequence[str],
    task: str,
    method: str,
    proj_dim: int,
    n_subsets: int,
    n_seeds: int,
    encoding: Mapping[str, Any] | None = None,
    **facts: Any,
) -> dict[str, Any]:
    """What the table `meta` tells of every run, and further facts of this one.

    Args:
        recipe: that made it, or what stands in its place.
        title: of the data, for people.
        modality: of the examples.
        class_names: in the order of the labels.
        task: what a prediction is.
        method: that pages show first.
        proj_dim: dimension of the features; 0 where there are none.
        n_subsets: of the ledger; 0 where there is none.
        n_seeds: models retrained on each.
        encoding: what turns new examples into inputs, its kind under "kind"; None where nothing tells.
        facts: further keys; values are stored as JSON.
    """
    return {
        "recipe": recipe,
        "title": title,
        "modality": modality,
        "class_names": list(class_names),
        "task": task,
        "method": method,
        "proj_dim": proj_dim,
        "n_subsets": n_subsets,
        "n_seeds": n_seeds,
        "encoding": encoding,
        "created_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "versions": versions(),
        **facts,
    }
