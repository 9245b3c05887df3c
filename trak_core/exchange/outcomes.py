"""Gives a run what models said that were retrained elsewhere, so that its scores can be judged."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trak_core.engine.evidence_step import Reported, Tables, board_tables
from trak_core.errors import InvalidDataError, InvalidSettingError, ShapeMismatchError
from trak_core.evidence.lds import MIN_SUBSETS, predicted_outcomes
from trak_core.exchange.array_files import read_array
from trak_core.exchange.evaluating import Sizes, fingerprint_of
from trak_core.exchange.plain_controls import plain_controls
from trak_core.methods import METHODS, uses_checkpoints
from trak_core.store.amendment import Rows, amend, amending
from trak_core.store.catalog import find_run
from trak_core.store.files import RunFiles
from trak_core.store.ledger import outcome_columns, subset_columns
from trak_core.store.run import Run, open_run
from trak_core.store.run_tables import class_influence_columns, method_columns, score_tables

GIVEN = "outcomes_given"
"""The fact of a run whose retrained models came from elsewhere."""


@dataclass(frozen=True)
class OutcomesAdded:
    """What became of outcomes."""

    path: Path  # of the run
    n_subsets: int  # subsets that models were retrained on
    n_seeds: int  # models retrained on each
    controls: tuple[str, ...]  # names of the controls that came with them


def add_outcomes(run: str | Path | Run, masks: Any, outcomes: Any, *, key: str | None = None) -> OutcomesAdded:
    """Adds outcomes of retrained models to a run that has none, and measures all its scores by them.

    A run of scores from elsewhere, or one that an `Attributor` saved, has evidence from then on: LDS, LDS at fixed
    class counts, intervals, ceilings, and the controls that can be had without a model. Nothing is chosen on the
    outcomes: means are over all subsets and all test examples.

    Args:
        run: its name or path, or the run itself; which has to be opened anew to see what was added.
        masks: which train examples each model was trained on, bool or 0 and 1 `[n_subsets, n_train]`, or as
            `numpy.packbits` makes of it; an array or the path of a .npy or .npz file.
        outcomes: model outputs of the test examples after retraining, `[n_subsets, n_test]` or `[n_subsets, n_seeds,
            n_test]`; likewise.
        key: which array of outcomes, where a file holds several.

    Raises:
        InvalidDataError: a file cannot be read, masks are no such, or an outcome is no finite number.
        InvalidSettingError: the run has retrained models, or there are fewer than 4 subsets.
        NotInRunError: work on the run has not finished.
        RunBusyError: another process is building or measuring it.
        ShapeMismatchError: masks and outcomes do not fit each other or the run.
        StorageError: the disk is full, read-only or failing.
    """
    files = RunFiles(run.path if isinstance(run, Run) else find_run(str(run)))
    with amending(files):
        with open_run(files.run_dir) as opened:
            if opened.rows("SELECT 1 FROM subsets LIMIT 1") or opened.info.provenance["n_subsets"]:
                raise InvalidSettingError(
                    f"run {opened.info.name!r} has retrained models of its own already; give outcomes to a run that "
                    "has none."
                )
            members = _masks(read_array(masks, "masks"), opened.info.n_train)
            said = _outcomes(read_array(outcomes, "outcomes", key), len(members), opened.info.n_test)
            n_subsets, n_seeds = said.shape[:2]
            classes = opened.train_labels if opened.info.has_classes else None
            seed = int(opened.info.provenance.get("seed") or 0)
            tests = np.ones(opened.info.n_test, dtype=bool)
            reported = Reported.of(members, said, tests, Sizes(seed, n_seeds), classes)
            controls = {
                name: scores for name, scores in plain_controls(opened).items() if name not in opened.info.methods
            }
            rows = [
                *_ledger(members, said).items(),
                *_evidence(opened, reported, controls),
                *_controls(opened, controls),
            ]
        facts = {"n_subsets": n_subsets, "n_seeds": n_seeds, "tuning_tests": [], GIVEN: True}
        tables = ("subsets", "outcomes", "lds", "lds_summary", "control_comparisons")
        amend(files, lambda: rows, facts, methods=list(controls), tables=tables)
    return OutcomesAdded(files.run_dir, n_subsets, n_seeds, tuple(controls))


def _masks(given: NDArray[Any], n_train: int) -> NDArray[np.bool_]:
    """Members of the subsets, bool `[n_subsets, n_train]`."""
    if given.ndim == 2 and given.dtype == np.uint8 and given.shape[1] == (n_train + 7) // 8 != n_train:
        given = np.unpackbits(given, axis=1)[:, :n_train]
    if given.ndim != 2 or given.shape[1] != n_train:
        raise ShapeMismatchError(
            f"masks have the shape {given.shape}; {n_train:,} train examples need [n_subsets, {n_train}]."
        )
    if given.dtype.kind not in "bui" or not np.isin(given, (0, 1)).all():
        raise InvalidDataError(f"masks hold other values than 0 and 1 (type {given.dtype}); give bool.")
    if len(given) < MIN_SUBSETS:
        raise InvalidSettingError(f"masks are of {len(given)} subsets; LDS takes at least {MIN_SUBSETS}.")
    return given.astype(bool)


def _outcomes(given: NDArray[Any], n_subsets: int, n_test: int) -> NDArray[np.float64]:
    """Model outputs `[n_subsets, n_seeds, n_test]`."""
    outcomes = given[:, None] if given.ndim == 2 else given
    if outcomes.ndim != 3 or outcomes.shape[::2] != (n_subsets, n_test) or not outcomes.shape[1]:
        raise ShapeMismatchError(
            f"outcomes have the shape {given.shape}; {n_subsets:,} masks and {n_test:,} test examples need "
            f"[{n_subsets}, {n_test}], or [{n_subsets}, n_seeds, {n_test}] for several seeds."
        )
    if outcomes.dtype.kind not in "fiu":
        raise InvalidDataError(f"outcomes are of the type {outcomes.dtype}; they must be real numbers.")
    # As a store keeps them: near ties must not differ from those that are measured again.
    numbers = outcomes.astype(np.float32).astype(np.float64)
    if not np.isfinite(numbers).all():
        subset, seed, test = np.argwhere(~np.isfinite(numbers))[0]
        raise InvalidDataError(
            f"outcomes hold {outcomes[subset, seed, test]} for subset {subset}, seed {seed}, test example {test}; "
            "leave out the subsets of models that are missing or diverged, or the seed."
        )
    return numbers


def _ledger(masks: NDArray[np.bool_], outcomes: NDArray[np.float64]) -> Tables:
    n = len(masks)
    return {"subsets": subset_columns(masks, ["eval"] * n), "outcomes": outcome_columns(range(n), outcomes)}


def _evidence(run: Run, reported: Reported, controls: dict[str, NDArray[np.float32]]) -> Iterator[Rows]:
    """Rows that tell how the scores of the run and the controls did."""
    marked = {name for (name,) in run.rows("SELECT method FROM methods WHERE is_control")}
    predicted = {}
    for name in (*run.info.methods, *controls):
        scores = controls[name] if name in controls else run.scores(name)
        n_checkpoints = run.info.n_checkpoints if uses_checkpoints(name) and name not in controls else 0
        predicted[name] = {n_checkpoints: predicted_outcomes(scores, reported.masks)}
    seconds = dict(run.rows("SELECT method, seconds FROM methods"))
    yield from board_tables(reported, predicted, marked | controls.keys(), seconds, {}).items()


def _controls(run: Run, controls: dict[str, NDArray[np.float32]]) -> Iterator[Rows]:
    """Everything that a run holds of controls that it did not have."""
    for name, scores in controls.items():
        info = METHODS[name].info
        fingerprint = fingerprint_of(run, name)
        yield (
            "methods",
            method_columns(name, info.title, info.description, fingerprint, is_baseline=True, is_control=True),
        )
        yield from score_tables(name, scores).items()
        yield "class_influence", class_influence_columns(name, run.test_labels, scores.__getitem__)
