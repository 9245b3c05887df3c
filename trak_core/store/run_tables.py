"""The columns of a run's tables and its common metadata, made in one place.

Builds, saved attributors and imported scores all describe their examples, models and scores here, so that a run is the
same whatever made it. Numbers come as arrays; whoever has tensors brings them to the CPU. What a task does not have,
such as a label or a probability, is None and becomes NULL.
"""

import hashlib
import importlib.metadata
import json
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trak_core.store.ranking import SIDES, strongest
from trak_core.store.schema import TOP_K

Columns = dict[str, Any]
Numbers = NDArray[Any] | None
TESTS_AT_ONCE = 64
PACKAGES = ("torch", "numpy", "duckdb", "scikit-learn", "scipy")


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
    """Columns of the table `examples`, numbered from `first`; what is None becomes NULL.

    `label_names` are their classes or targets in words, `texts` and `thumbnails` (PNG or WebP bytes) the first text and
    the first picture of each, and `origins` the file or row that each came from, relative to the source.
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
    """Columns of the table `predictions`: what each checkpoint says of the examples of a split from `first` on.

    `model_output` is that for default targets `[n_checkpoints, n]`; `p_label`, the probability of the label, and
    `predicted`, the number of the class that is answered, have its shape, and `probabilities` are `[n_checkpoints, n,
    n_classes]`. What a task does not have is None.
    """
    n_checkpoints, n = np.shape(model_output)
    n_rows = n_checkpoints * n
    return {
        **_example_keys(checkpoint_ids, split, n, first),
        "model_output": np.reshape(model_output, -1),
        "loss": _filled(loss, (n_rows,)),
        "p_label": _filled(p_label, (n_rows,)),
        "predicted": _filled(predicted, (n_rows,)),
        "probabilities": _filled(probabilities, (n_rows, -1)),
    }


def _filled(values: Numbers, shape: tuple[int, ...]) -> Any:
    return [None] * shape[0] if values is None else np.reshape(values, shape)


def feature_columns(
    checkpoint_id: int, split: str, q: NDArray[Any], norm: NDArray[Any], phi: NDArray[Any], first: int = 0
) -> Columns:
    """Columns of the table `features` for one checkpoint and examples from `first` on.

    `q` are their weights `[n]`, `norm` those of their gradients before projection `[n]`, and `phi` their projected
    gradients `[n, proj_dim]`.
    """
    return {**_example_keys([checkpoint_id], split, len(phi), first), "q": q, "norm": norm, "phi": phi}


def _example_keys(checkpoint_ids: Sequence[int], split: str, n: int, first: int) -> Columns:
    return {
        "checkpoint_id": np.repeat(np.asarray(checkpoint_ids, dtype=np.int64), n),
        "split": [split] * (len(checkpoint_ids) * n),
        "idx": np.tile(np.arange(first, first + n), len(checkpoint_ids)),
    }


def score_fingerprint(run_fingerprint: str, checkpoint_sha256s: Sequence[str], ridge: float | None, method: str) -> str:
    """SHA-256 (hex) of what scores are made from, so that scores made from other things are never mixed."""
    parts = [run_fingerprint, list(checkpoint_sha256s), ridge, method]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def method_columns(
    name: str,
    title: str,
    description: str,
    fingerprint: str,
    *,
    is_baseline: bool = False,
    is_control: bool = False,
    seconds: float | None = None,
    calibration: float | None = None,
    settings: Mapping[str, float] | None = None,
) -> Columns:
    """Columns of the table `methods`, for one method.

    `fingerprint` is that of its scores, `seconds` the CPU time that they took, `calibration` the factor that brought
    them to the unit of the model output, None where they have none, and `settings` what the method chose.
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
        "is_control": [is_control],
    }


def score_tables(
    method: str, scores: NDArray[np.float32], first: int = 0, errors: NDArray[np.float32] | None = None
) -> dict[str, Columns]:
    """Rows of the tables `scores` and `topk`, for the default targets of the test examples from `first` on.

    `topk` has both ends of every row of scores `[n, n_train]` with their standard errors, `[n, n_train]` too; equal
    scores are ordered by train_idx.
    """
    tests = np.arange(first, first + len(scores))
    kept = min(TOP_K, scores.shape[1])
    order = np.stack([strongest(scores, side, kept) for side in SIDES])  # [n_sides, n, kept]
    standard_error: Any = np.ma.MaskedArray(np.zeros(order.size, dtype=np.float32), mask=True)  # NULL
    if errors is not None:
        standard_error = np.take_along_axis(errors[None], order, axis=2).ravel()
    return {
        "scores": {"method": [method] * len(scores), "test_idx": tests, "values": scores},
        "topk": {
            "method": np.repeat(method, order.size),
            "test_idx": np.tile(np.repeat(tests, kept), len(SIDES)),
            "side": np.repeat(SIDES, order[0].size),
            "rank": np.tile(np.arange(1, kept + 1), len(SIDES) * len(scores)),
            "train_idx": order.ravel(),
            "score": np.take_along_axis(scores[None], order, axis=2).ravel(),
            "standard_error": standard_error,
        },
    }


def target_score_columns(
    method: str, test_idx: NDArray[np.int64], target: NDArray[np.int64], scores: NDArray[np.float32]
) -> Columns:
    """Columns of the table `target_scores`: scores `[n, n_train]` for targets `[n]`, from 1, of test examples `[n]`."""
    return {"method": [method] * len(scores), "test_idx": test_idx, "target": target, "values": scores}


def class_influence_columns(
    method: str, test_labels: NDArray[np.int64], rows_of: Callable[[NDArray[np.int64]], NDArray[np.float32]]
) -> Columns:
    """Columns of the table `class_influence`: mean scores over the test examples of each class that has any.

    Group questions are sums over these rows: the influence of any set of train examples on a class is the sum of their
    entries. So no page reads all scores.

    `rows_of` gives the scores `[n, n_train]` of some test examples, rising numbers `[n]`. It is asked for a few at a
    time, so that scores that are too big for memory can be read from a store.
    """
    classes = np.unique(test_labels)
    means = []
    for label in classes:
        tests = np.flatnonzero(test_labels == label)
        parts = [tests[start : start + TESTS_AT_ONCE] for start in range(0, len(tests), TESTS_AT_ONCE)]
        sums = [rows_of(part).sum(0, dtype=np.float64) for part in parts]
        means.append(np.asarray(np.sum(sums, axis=0) / len(tests), dtype=np.float32))
    return {"method": np.repeat(method, len(classes)), "test_class": classes, "values": np.stack(means)}


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
    *, class_names: Sequence[str], encoding: Mapping[str, Any] | None = None, **metadata: Any
) -> dict[str, Any]:
    """What the table `meta` tells of a run, with the time and the versions that it was made with.

    Args:
        class_names: in the order of the labels.
        encoding: what turns new examples into inputs, its kind under "kind"; None where nothing tells.
        metadata: further keys; values are stored as JSON. Every run has: recipe, that made it, or what stands in its
            place; title, of the data; modality; task; method, that pages show first; proj_dim, n_subsets and n_seeds,
            the dimension of its features, the subsets of its ledger and the models retrained on each, 0 without any.
    """
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}  # that numbers depend on
    return {
        "class_names": list(class_names),
        "encoding": encoding,
        "created_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "versions": {"python": platform.python_version(), **versions},
        **metadata,
    }
