"""The evidence of a run: LDS of every method over the reporting subsets, for default targets and for all others."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trak_core.engine.scoring import joined_tables
from trak_core.engine.settings import BuildSettings
from trak_core.evidence.lds import (
    LdsEvidence,
    calibration_slope,
    lds_interval,
    lds_per_test,
    measure_lds,
    noise_ceiling,
    noise_ceiling_per_test,
    predicted_outcomes,
    trust_level,
)
from trak_core.methods import METHODS
from trak_core.store.ledger import read_target_outcomes
from trak_core.store.run_tables import joined
from trak_core.store.targets import read_target_scores
from trak_core.store.writer import StoreWriter

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Reported:
    """The subsets that evidence is reported on, and what models retrained on them said."""

    masks: NDArray[np.bool_]  # bool `[n_subsets, n_train]`
    actual: Floats  # mean model outputs after retraining `[n_subsets, n_test]`
    ceiling: float  # the highest mean LDS that can be reached over the reported test examples
    ceilings: Floats  # the same for each test example `[n_test]`
    tests: NDArray[np.bool_]  # the test examples that summaries are over, bool `[n_test]`
    settings: BuildSettings  # of the build

    @classmethod
    def of(
        cls, masks: NDArray[np.bool_], outcomes: Floats, tests: NDArray[np.bool_], settings: BuildSettings
    ) -> "Reported":
        """From the outcomes of every seed `[n_subsets, n_seeds, n_test]`."""
        ceiling, ceilings = noise_ceiling(outcomes[:, :, tests]), noise_ceiling_per_test(outcomes)
        return cls(masks, outcomes.mean(1), ceiling, ceilings, tests, settings)

    def tables(
        self, method: str, predicted: Mapping[int, Floats], seconds: float, peak_megabytes: float | None = None
    ) -> dict[str, dict[str, list[Any]]]:
        """Rows of `lds_summary` and `lds`.

        Args:
            method: that predicts.
            predicted: number of checkpoints to predicted outcomes `[n_subsets, n_test]`; 0 where a method uses none.
            seconds: that the method takes with all checkpoints; fewer cost their share.
            peak_megabytes: memory that it takes, where that was measured.
        """
        n_all, actual = max(predicted), self.actual[:, self.tests]
        evidence = {n: measure_lds(each, self.actual, self.settings.seed, self.tests) for n, each in predicted.items()}
        summary = [
            {
                "method": method,
                "n_checkpoints": n,
                **mean_columns(found),
                "noise_ceiling": or_null(self.ceiling),
                "n_subsets": len(self.masks),
                "n_seeds": self.settings.n_seeds,
                "seconds": seconds * (n / n_all if n_all else 1),
                "calibration_slope": or_null(calibration_slope(predicted[n][:, self.tests], actual)),
                "peak_megabytes": peak_megabytes,
            }
            for n, found in evidence.items()
        ]
        best, n_test = evidence[n_all], self.actual.shape[1]
        found = lds_columns(best.per_test, best.per_test_low, best.per_test_high, self.ceilings)
        lds: dict[str, list[Any]] = {"method": [method] * n_test, "test_idx": list(range(n_test)), **found}
        return {"lds_summary": columns_of(summary), "lds": lds}


def evidence_tables(writer: StoreWriter, reported: Reported) -> tuple[dict[str, dict[str, Any]], float | None]:
    """Rows of the tables `lds`, `target_lds` and `lds_summary`, and the calibration slope of classes but the label."""
    masks, of_methods = reported.masks, []
    costs = writer.columns("SELECT method, seconds FROM methods ORDER BY method")
    for method, seconds in zip(costs["method"].tolist(), costs["seconds"].tolist(), strict=True):
        scores = writer.arrays('SELECT "values" FROM scores WHERE method = ? ORDER BY test_idx', "values", [method])
        n_checkpoints = reported.settings.n_checkpoints if METHODS[method].info.uses_checkpoints else 0
        predicted = {n_checkpoints: predicted_outcomes(scores, masks)}
        if method == "trak":
            predicted = {**_predictions_by_checkpoints(writer, len(masks)), **predicted}
        of_methods.append(reported.tables(method, predicted, seconds))
    of_targets, slope = _target_evidence(writer, masks, reported.settings.n_seeds)
    return {**joined_tables(of_methods), "target_lds": of_targets}, slope


def _predictions_by_checkpoints(writer: StoreWriter, n_reported: int) -> dict[int, Floats]:
    """Number of checkpoints to outcomes predicted for the reporting subsets `[n_subsets, n_test]`."""
    rows = writer.columns(
        "SELECT n_checkpoints, predicted FROM checkpoint_predictions JOIN subsets USING (subset_id) "
        "WHERE role = 'eval' ORDER BY n_checkpoints, subset_id, test_idx"
    )
    return {
        int(m): rows["predicted"][rows["n_checkpoints"] == m].astype(np.float64).reshape(n_reported, -1)
        for m in np.unique(rows["n_checkpoints"])
    }


def _target_evidence(
    writer: StoreWriter, masks: NDArray[np.bool_], n_seeds: int
) -> tuple[dict[str, list[Any]], float | None]:
    """Columns of `target_lds`, and the calibration slope of the run's own method for targets but the default ones."""
    parts: list[dict[str, list[Any]]] = []
    own: list[tuple[Floats, Floats]] = []
    for block in read_target_scores(writer, masks.shape[1]):
        # The averages that are published: anew from the seeds they would differ in the last digit, and near ties in
        # rank.
        actual = read_target_outcomes(writer, "eval", block.test_idx, block.target)
        by_seed = read_target_outcomes(writer, "eval", block.test_idx, block.target, by_seed=True)
        predicted = predicted_outcomes(block.scores, masks)
        lds = lds_per_test(predicted, actual)
        low, high = lds_interval(lds, len(masks))
        ceilings = noise_ceiling_per_test(by_seed.reshape(len(masks), n_seeds, -1))
        keys = {"test_idx": block.test_idx.tolist(), "target": block.target.tolist()}
        parts.append({"method": [block.method] * len(lds), **keys, **lds_columns(lds, low, high, ceilings)})
        if block.method == writer.meta("method"):
            own.append((predicted, actual))
    columns = joined(parts) if parts else {"method": []}
    if not own:
        return columns, None
    predicted, actual = (np.concatenate(blocks, axis=1) for blocks in zip(*own, strict=True))
    return columns, or_null(calibration_slope(predicted, actual))


def lds_columns(lds: Floats, low: Floats, high: Floats, ceilings: Floats) -> dict[str, list[Any]]:
    """What the tables of per-example LDS hold beside their keys, one row a value `[n]`."""
    named = {"lds": lds, "ci_low": low, "ci_high": high, "noise_ceiling": ceilings}
    columns: dict[str, list[Any]] = {name: [or_null(value) for value in values] for name, values in named.items()}
    return {**columns, "trust": [trust_level(end) for end in columns["ci_low"]]}


def mean_columns(found: LdsEvidence) -> dict[str, float | None]:
    """The mean LDS of a method with its interval, as the tables hold it."""
    return {"lds": or_null(found.mean), "ci_low": or_null(found.ci_low), "ci_high": or_null(found.ci_high)}


def or_null(value: float) -> float | None:
    """None for "undefined", so that the store holds NULL and no page ever shows NaN."""
    return float(value) if np.isfinite(value) else None


def columns_of(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Rows, of which there is at least one, as the columns that the store takes."""
    return {name: [row[name] for row in rows] for name in rows[0]}
