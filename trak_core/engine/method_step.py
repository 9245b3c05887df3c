"""Measures one method of a run: its scores, its cost, and its LDS against every truth that the run has."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from trak_core.engine.evidence_step import columns_of, lds_columns, or_null
from trak_core.engine.measurement import Measurement
from trak_core.engine.scoring import CHECKPOINT_COUNTS, usable_slope
from trak_core.errors import NonFiniteGradientError, OutOfMemoryError, SingularKernelError, TrakCoreError
from trak_core.evidence import (
    Cost,
    calibration_slope,
    lds_interval,
    lds_per_test,
    measure_lds,
    measured_cost,
    noise_ceiling,
    noise_ceiling_per_test,
    predicted_outcomes,
)
from trak_core.methods import METHODS, Material, MethodInfo, Scores
from trak_core.store.class_influence import class_influence_columns
from trak_core.store.fingerprints import score_fingerprint
from trak_core.store.topk import topk_columns

__all__ = ["measure_method"]

logger = logging.getLogger(__name__)

Floats = NDArray[np.float64]
TRUTH_BOOTSTRAP = 200
"""Resamples for the intervals of further truths, of which there are many."""


def measure_method(m: Measurement, name: str) -> None:
    """Scores, cost and LDS of one method; a method that cannot be had is written down with its reason."""
    info = METHODS[name].info
    try:
        m.material.require(name, info.needs)
        with measured_cost() as cost, _own_errors(name):
            scores = METHODS[name].fit(_given(m, info))
            dense = _dense(scores)
        _check_finite(name, scores, dense)
    except TrakCoreError as error:
        if not m.is_every_method:
            raise  # it was asked for by name
        logger.warning("method %s is left out: %s", name, error)
        left_out = {**(m.writer.meta("methods_left_out") or {}), name: str(error)}
        m.writer.write(f"method {name}", {}, {"methods_left_out": left_out})
        return
    tables, removed = _tables(m, info, scores, dense, cost)
    left_out = {key: why for key, why in (m.writer.meta("methods_left_out") or {}).items() if key != name}
    m.writer.write(f"method {name}", tables, {"methods_left_out": left_out}, removed)


def _given(m: Measurement, info: MethodInfo) -> Material:
    return m.material if info.max_checkpoints is None else m.material.first(info.max_checkpoints)


def _tables(
    m: Measurement, info: MethodInfo, scores: Scores, dense: NDArray[np.float32], cost: Cost
) -> tuple[dict[str, dict[str, Any]], list[tuple[str, list[Any]]]]:
    """Rows of a method, and statements that remove what the run had of it before."""
    name, factor = info.name, None if info.is_baseline else _calibration(m, dense)
    scaled = dense * np.float32(factor or 1)
    of_fewer = {n: _dense(scores.first(n)) * np.float32(factor or 1) for n in _checkpoint_counts(scores.n_checkpoints)}
    stored = _stored_scores(m, name, scaled)
    by_count = {**of_fewer, scores.n_checkpoints: scaled if stored is None else stored}
    tables: dict[str, dict[str, Any]] = {"truth_lds": _truth_rows(m, name, by_count)}
    if stored is not None:
        # They may also explain other classes, and stay as they are; here the method gets what it costs.
        of_one = cost.seconds / max(1, scores.n_checkpoints)
        return tables, [
            (
                "UPDATE lds_summary SET peak_megabytes = ?, seconds = ? * greatest(n_checkpoints, 1) WHERE method = ?",
                [cost.peak_megabytes, of_one, name],
            ),
            ("DELETE FROM truth_lds WHERE method = ? AND truth_id < ?", [name, len(m.truths)]),
        ]
    tables |= _evidence_tables(m, name, scores, by_count, scaled, cost)
    errors = _errors(scores, factor)
    tables |= {
        "methods": {
            "method": [name],
            "title": [info.title],
            "description": [info.description],
            "is_baseline": [info.is_baseline],
            "seconds": [cost.seconds],
            "fingerprint": [_fingerprint(m, name)],
            "calibration": [factor],
            "settings": [json.dumps(scores.settings)],
        },
        "scores": {
            "method": np.repeat(name, m.n_test),
            "test_idx": np.arange(m.n_test),
            "values": scaled,
        },
        "topk": topk_columns({name: scaled}, errors={} if errors is None else {name: errors}),
        "class_influence": class_influence_columns(name, m.test.asked.cpu().numpy(), lambda test_idx: scaled[test_idx]),
    }
    own = scores.self_influence()
    if own is not None:
        tables["self_influence"] = {
            "method": np.repeat(name, m.n_train),
            "train_idx": np.arange(m.n_train),
            "score": own.double().cpu().numpy(),
        }
    replaced = dict.fromkeys((*tables, "lds_summary", "lds", "removals"))
    return tables, [(f"DELETE FROM {table} WHERE method = ?", [name]) for table in replaced]


def _evidence_tables(
    m: Measurement,
    name: str,
    scores: Scores,
    by_count: dict[int, NDArray[np.float32]],
    scaled: NDArray[np.float32],
    cost: Cost,
) -> dict[str, dict[str, Any]]:
    """Rows of LDS against the reporting halves; none where the run has no such halves."""
    if not m.build.n_subsets:
        return {}
    masks, actual, ceiling, ceilings = _reported(m)
    reporting = m.reporting
    summary: list[dict[str, Any]] = []
    for n, values in by_count.items():
        predicted = predicted_outcomes(values, masks)
        evidence = measure_lds(predicted, actual, m.build.seed, reporting)
        share = n / scores.n_checkpoints if scores.n_checkpoints else 1
        summary.append(
            {
                "method": name,
                "n_checkpoints": n,
                "lds": or_null(evidence.mean),
                "ci_low": or_null(evidence.ci_low),
                "ci_high": or_null(evidence.ci_high),
                "noise_ceiling": or_null(ceiling),
                "n_subsets": len(masks),
                "n_seeds": m.build.n_seeds,
                "seconds": cost.seconds * share,
                "calibration_slope": or_null(calibration_slope(predicted[:, reporting], actual[:, reporting])),
                "peak_megabytes": cost.peak_megabytes,
            }
        )
    per_test = lds_per_test(predicted_outcomes(scaled, masks), actual)
    low, high = lds_interval(per_test, len(masks))
    rows = lds_columns(per_test, low, high, ceilings)
    return {
        "lds_summary": columns_of(summary),
        "lds": columns_of([{"method": name, "test_idx": i, **row} for i, row in enumerate(rows)]),
    }


def _reported(m: Measurement) -> tuple[NDArray[np.bool_], Floats, float, Floats]:
    """The reporting halves: masks, mean outcomes `[n_subsets, n_test]`, and the ceiling of all and of each test."""
    masks, outcomes = m.outcomes_of("eval")
    ceiling = noise_ceiling(outcomes[:, :, m.reporting])
    return masks, outcomes.mean(1), ceiling, noise_ceiling_per_test(outcomes)


def _stored_scores(m: Measurement, name: str, scores: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """Scores that the run holds: from its build, or these very ones from another measurement; None where none."""
    found = m.writer.columns("SELECT settings IS NULL AS built FROM methods WHERE method = ?", [name])["built"]
    if not found.size:
        return None
    stored = m.writer.arrays('SELECT "values" FROM scores WHERE method = ? ORDER BY test_idx', "values", [name])
    return stored if found[0] or np.array_equal(stored, scores) else None


def _fingerprint(m: Measurement, method: str) -> str:
    sha256s = m.writer.columns("SELECT sha256 FROM checkpoints ORDER BY checkpoint_id")["sha256"].tolist()
    return score_fingerprint(m.writer.meta("fingerprint"), sha256s, m.writer.meta("ridge"), method)


def _calibration(m: Measurement, scores: NDArray[np.float32]) -> float | None:
    masks, outcomes = m.outcomes_of("fit")
    tuned = m.chosen_on
    return usable_slope(calibration_slope(predicted_outcomes(scores[tuned], masks), outcomes.mean(1)[:, tuned]))


def _truth_rows(m: Measurement, name: str, by_count: dict[int, NDArray[np.float32]]) -> dict[str, list[Any]]:
    rows: list[dict[str, Any]] = []
    counts = {min(by_count), max(by_count)}
    for truth_id, _ in m.truths:
        masks, actual = m.ledger.truth(truth_id)
        if not len(masks):
            continue  # left out, because retraining diverged
        for n in sorted(counts):
            predicted = predicted_outcomes(by_count[n], masks)
            found = measure_lds(predicted, actual, m.build.seed, m.reporting, TRUTH_BOOTSTRAP)
            rows.append(
                {
                    "truth_id": truth_id,
                    "method": name,
                    "n_checkpoints": n,
                    "lds": or_null(found.mean),
                    "ci_low": or_null(found.ci_low),
                    "ci_high": or_null(found.ci_high),
                }
            )
    return columns_of(rows) if rows else {"truth_id": []}


def _dense(scores: Scores) -> NDArray[np.float32]:
    return np.concatenate([block.float().cpu().numpy() for block in scores.blocks()])


@contextmanager
def _own_errors(method: str) -> Iterator[None]:
    """Turns what linear algebra and memory say into one sentence, so that one method cannot stop all the others."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise OutOfMemoryError(
            f"method {method!r} needs more memory than there is; leave it out with --method."
        ) from error
    except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
        raise SingularKernelError(
            f"method {method!r} cannot solve its equations ({str(error).splitlines()[0]}); train with weight decay, or "
            "leave it out with --method."
        ) from error


def _check_finite(method: str, scores: Scores, dense: NDArray[np.float32]) -> None:
    own = scores.self_influence()
    wrong = ~np.isfinite(dense).all(1)
    if wrong.any() or (own is not None and not own.isfinite().all()):
        raise NonFiniteGradientError(
            f"method {method!r} gives scores that are not finite for {wrong.sum()} of {len(dense)} test examples, so "
            "that none are kept; training was unstable: lower the learning rate of the recipe."
        )


def _errors(scores: Scores, factor: float | None) -> NDArray[np.float32] | None:
    error = scores.standard_error(slice(None))
    return None if error is None else error.float().cpu().numpy() * np.float32(factor or 1)


def _checkpoint_counts(n: int) -> list[int]:
    return [m for m in CHECKPOINT_COUNTS if m < n]
