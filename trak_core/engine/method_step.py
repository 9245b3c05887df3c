"""Measures one method of a run: its scores, its cost, and its LDS against every truth that the run has."""

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trak_core.engine.evidence_step import FIXED, columns_of, fixed_counts, mean_columns, train_classes
from trak_core.engine.measurement import Measurement
from trak_core.engine.scoring import Scored, Tables, calibration_factor
from trak_core.errors import TrakCoreError
from trak_core.evidence.lds import measure_lds, predicted_outcomes
from trak_core.methods import CHECKPOINT_COUNTS, METHODS

logger = logging.getLogger(__name__)

TRUTH_BOOTSTRAP = 200
"""Resamples for the intervals of further truths, of which there are many."""


def measure_method(m: Measurement, name: str) -> None:
    """Scores, cost and LDS of one method; a method that is unavailable is written down with its reason."""
    left_out = m.writer.meta("methods_left_out") or {}
    try:
        m.context.require(name, METHODS[name].info.needs)
        scored = Scored.by(name, m.context)
    except TrakCoreError as error:
        if not m.settings.is_every_method:
            raise  # it was asked for by name
        logger.warning("method %s is skipped: %s", name, error)
        m.writer.write(f"method {name}", {}, {"methods_left_out": {**left_out, name: str(error)}})
        return
    tables, removed = _tables(m, scored)
    left_out.pop(name, None)
    m.writer.write(f"method {name}", tables, {"methods_left_out": left_out}, removed)


def _tables(m: Measurement, scored: Scored) -> tuple[Tables, list[tuple[str, list[Any]]]]:
    """Rows of a method, and statements that remove what the run had of it before."""
    name, cost, n_checkpoints = scored.info.name, scored.cost, scored.scores.n_checkpoints
    factor = None
    if not scored.info.is_baseline and m.is_fitted:
        outcomes = m.ledger.outcomes("fit").mean(1)[:, m.chosen_on]
        factor = calibration_factor(scored.values[m.chosen_on], m.ledger.masks("fit"), outcomes)
    scaled = scored.values * np.float32(factor or 1)
    of_fewer = {n: values * np.float32(factor or 1) for n, values in scored.by_fewer(CHECKPOINT_COUNTS).items()}
    stored = _stored_scores(m, name, scaled)
    by_count = {**of_fewer, n_checkpoints: scaled if stored is None else stored}
    tables: Tables = {"truth_lds": _truth_rows(m, name, by_count)}
    eval_masks = m.ledger.masks("eval")
    predicted = {n: predicted_outcomes(values, eval_masks) for n, values in by_count.items()}
    if m.can_report:
        controls = None if scored.info.is_control else m.controls
        tables |= m.reported.tables(name, predicted, cost.seconds, cost.peak_megabytes, controls)
    if stored is not None:
        # They may also explain other classes, and stay as they are; here the method gets what it costs, and what a
        # build of an older version did not measure.
        of_one = cost.seconds / max(1, n_checkpoints)
        summary = tables.pop("lds_summary", {})
        return tables, [
            (
                "UPDATE lds_summary SET peak_megabytes = ?, seconds = ? * greatest(n_checkpoints, 1) WHERE method = ?",
                [cost.peak_megabytes, of_one, name],
            ),
            ("UPDATE methods SET is_control = ? WHERE method = ?", [scored.info.is_control, name]),
            *_filled_in(name, summary),
            ("DELETE FROM truth_lds WHERE method = ? AND truth_id < ?", [name, len(m.truths)]),
            *((f"DELETE FROM {table} WHERE method = ?", [name]) for table in ("lds", "control_comparisons")),
        ]
    tables |= scored.tables(m.test_classes, m.score_fingerprint(name), factor, settings=True)
    replaced = dict.fromkeys((*tables, "lds_summary", "lds", "control_comparisons", "removals"))
    return tables, [(f"DELETE FROM {table} WHERE method = ?", [name]) for table in replaced]


def _filled_in(name: str, summary: dict[str, Any]) -> list[tuple[str, list[Any]]]:
    """Statements that give the rows of `lds_summary` that stay their LDS at fixed class counts."""
    values = zip(*(summary[column] for column in FIXED), summary["n_checkpoints"], strict=True) if summary else ()
    sets = ", ".join(f"{column} = ?" for column in FIXED)
    return [
        (f"UPDATE lds_summary SET {sets} WHERE method = ? AND n_checkpoints = ?", [*found, name, n])
        for *found, n in values
    ]


def _stored_scores(m: Measurement, name: str, scores: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """Scores that the run holds: from its build, or these very ones from another measurement; None where none."""
    found = m.writer.columns("SELECT settings IS NULL AS built FROM methods WHERE method = ?", [name])["built"]
    if not found.size:
        return None
    stored = m.writer.arrays('SELECT "values" FROM scores WHERE method = ? ORDER BY test_idx', "values", [name])
    return stored if found[0] or np.array_equal(stored, scores) else None


def _truth_rows(m: Measurement, name: str, by_count: dict[int, NDArray[np.float32]]) -> dict[str, list[Any]]:
    rows: list[dict[str, Any]] = []
    classes = train_classes(m.writer)
    for truth_id, _ in m.truths:
        masks, actual = m.ledger.truth(truth_id)
        if not len(masks):
            continue  # left out, because retraining diverged
        fixed = fixed_counts(masks, classes)
        for n in sorted({min(by_count), max(by_count)}):
            predicted = predicted_outcomes(by_count[n], masks)
            found = measure_lds(predicted, actual, m.build.seed, m.reporting, TRUTH_BOOTSTRAP, fixed)
            rows.append({"truth_id": truth_id, "method": name, "n_checkpoints": n, **mean_columns(found)})
    return columns_of(rows) if rows else {"truth_id": []}
