"""The evidence of a run: LDS of every method over the reporting subsets, for default targets and for all others."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from trak_core.engine.scoring import joined_tables
from trak_core.evidence.controls import Comparison, beats_controls, compare
from trak_core.evidence.fixed_counts import FixedCounts, group_counts
from trak_core.evidence.lds import (
    LdsEvidence,
    TrustLevel,
    calibration_slope,
    cap_of_lds_alone,
    lds_at_fixed_counts,
    lds_with_interval,
    measure_lds,
    noise_ceiling,
    noise_ceiling_per_test,
    predicted_outcomes,
    trust_level,
)
from trak_core.methods import uses_checkpoints
from trak_core.store.ledger import read_target_outcomes
from trak_core.store.run_tables import joined
from trak_core.store.targets import read_target_scores
from trak_core.store.writer import StoreWriter

Floats = NDArray[np.float64]
Tables = dict[str, dict[str, list[Any]]]
FIXED = ("lds_fixed", "fixed_low", "fixed_high", "fixed_ceiling")
Controls = Mapping[str, LdsEvidence]


class Sizes(Protocol):
    """What is asked of the settings of a build."""

    @property
    def seed(self) -> int:
        """Root of every random choice."""

    @property
    def n_seeds(self) -> int:
        """Models retrained on each subset."""

    @property
    def n_checkpoints(self) -> int:
        """Models trained on all train examples."""


@dataclass(frozen=True)
class Reported:
    """The subsets that evidence is reported on, and what models retrained on them said."""

    masks: NDArray[np.bool_]  # bool `[n_subsets, n_train]`
    actual: Floats  # mean model outputs after retraining `[n_subsets, n_test]`
    ceiling: float  # the highest mean LDS that can be reached over the reported test examples
    ceilings: Floats  # the same for each test example `[n_test]`
    tests: NDArray[np.bool_]  # the test examples that summaries are over, bool `[n_test]`
    settings: Sizes  # of the build
    has_shares: bool = False  # whether train examples have classes, of which subsets have other shares
    fixed: FixedCounts | None = None  # the class counts of the subsets; None where these tell nothing
    fixed_ceiling: float = float("nan")  # as `ceiling`, at fixed class counts; NaN where these cannot be measured
    fixed_ceilings: Floats | None = None  # the same for each test example `[n_test]`

    @classmethod
    def of(
        cls,
        masks: NDArray[np.bool_],
        outcomes: Floats,
        tests: NDArray[np.bool_],
        settings: Sizes,
        classes: NDArray[np.int64] | None = None,
    ) -> "Reported":
        """From the outcomes of every seed `[n_subsets, n_seeds, n_test]`, and the classes of the train examples."""
        ceiling, ceilings = noise_ceiling(outcomes[:, :, tests]), noise_ceiling_per_test(outcomes)
        has_shares = classes is not None and len(np.unique(classes)) > 1
        plain = (masks, outcomes.mean(1), ceiling, ceilings, tests, settings, has_shares)
        fixed = fixed_counts(masks, classes)
        if fixed is None:
            return cls(*plain)
        left = fixed.residuals(outcomes)
        return cls(*plain, fixed, noise_ceiling(left[:, :, tests]), noise_ceiling_per_test(left))

    def evidence(self, predicted: Floats) -> LdsEvidence:
        """The LDS of predicted outcomes `[n_subsets, n_test]`."""
        return measure_lds(predicted, self.actual, self.settings.seed, self.tests, fixed=self.fixed)

    def cap(self, lds: float, controls: Iterable[float | None]) -> TrustLevel:
        """The highest trust in a method of this mean LDS, beside those of the controls."""
        return cap_of_lds_alone(lds, controls) if self.has_shares and self.fixed is None else "high"

    def tables(
        self,
        method: str,
        predicted: Mapping[int, Floats],
        seconds: float | None,
        peak_megabytes: float | None = None,
        controls: Controls | None = None,
        best: LdsEvidence | None = None,
    ) -> Tables:
        """Rows of `lds_summary`, `lds` and `control_comparisons`.

        Args:
            method: that predicts.
            predicted: number of checkpoints to predicted outcomes `[n_subsets, n_test]`; 0 where a method uses none.
            seconds: that the method takes with all checkpoints; fewer cost their share. None where nobody knows.
            peak_megabytes: memory that it takes, where that was measured.
            controls: what the method is compared with; None of a control, which does not beat the controls.
            best: the evidence of all checkpoints, where it is measured already.
        """
        n_all, actual = max(predicted), self.actual[:, self.tests]
        # All counts but the whole one leave nothing but their means: resamples take room.
        means = {n: mean_columns(self.evidence(each)) for n, each in predicted.items() if n != n_all}
        best = best or self.evidence(predicted[n_all])
        means[n_all] = mean_columns(best)
        summary = [
            {
                "method": method,
                "n_checkpoints": n,
                **means[n],
                "noise_ceiling": or_null(self.ceiling),
                "n_subsets": len(self.masks),
                "n_seeds": self.settings.n_seeds,
                "seconds": None if seconds is None else seconds * (n / n_all if n_all else 1),
                "calibration_slope": or_null(calibration_slope(predicted[n][:, self.tests], actual)),
                "peak_megabytes": peak_megabytes,
                "fixed_ceiling": or_null(self.fixed_ceiling),
            }
            for n in predicted
        ]
        compared = {name: compare(best, control) for name, control in (controls or {}).items()}
        beats = False if controls is None else beaten(compared, best.fixed is not None)
        found = lds_columns(
            (best.per_test, best.per_test_low, best.per_test_high, self.ceilings),
            None if best.fixed is None else _of_fixed(best.fixed, self.fixed_ceilings),
            beats,
            # A control has no control above it: that it does not beat the controls says it all.
            "high" if controls is None else self.cap(best.mean, [control.mean for control in controls.values()]),
        )
        n_test = self.actual.shape[1]
        lds: dict[str, list[Any]] = {"method": [method] * n_test, "test_idx": list(range(n_test)), **found}
        tables = {"lds_summary": columns_of(summary), "lds": lds}
        return {**tables, "control_comparisons": comparison_columns(method, compared)} if compared else tables


def fixed_counts(masks: NDArray[np.bool_], classes: NDArray[np.int64] | None) -> FixedCounts | None:
    """The class counts of subsets; None where there are no two classes, or too many for so few subsets."""
    if classes is None or len(np.unique(classes)) < 2:
        return None
    fixed = FixedCounts(group_counts(masks, classes))
    return fixed if fixed.can_be_measured else None


def train_classes(writer: StoreWriter) -> NDArray[np.int64] | None:
    """Classes of the train examples `[n_train]`; None where they have none."""
    labels = writer.columns("SELECT label FROM examples WHERE split = 'train' ORDER BY idx")["label"]
    return None if np.ma.getmaskarray(labels).any() else np.asarray(labels, dtype=np.int64)


def evidence_tables(writer: StoreWriter, reported: Reported) -> tuple[dict[str, dict[str, Any]], float | None]:
    """Rows of the tables of LDS and of comparisons with controls, and the slope of targets but the label."""
    masks = reported.masks
    costs = writer.columns("SELECT method, seconds FROM methods ORDER BY method")
    measured = writer.columns(
        "SELECT method, max(n_checkpoints) AS n, max(peak_megabytes) AS peak FROM lds_summary GROUP BY 1"
    )
    known = {method: n for method, n in zip(measured["method"].tolist(), measured["n"].tolist(), strict=True)}
    peaks = {
        method: None if np.ma.is_masked(peak) or not np.isfinite(peak) else float(peak)
        for method, peak in zip(measured["method"].tolist(), measured["peak"], strict=True)
    }
    predicted: dict[str, dict[int, Floats]] = {}
    for method in costs["method"].tolist():
        uses = uses_checkpoints(method)
        # On a ledger that has grown a method stays what it was measured as; some use few of the checkpoints.
        n_checkpoints = known.get(method, reported.settings.n_checkpoints if uses else 0)
        fewer = _predictions_by_checkpoints(writer, len(masks)) if method == "trak" else {}
        predicted[method] = {**fewer, n_checkpoints: stored_predictions(writer, method, masks)}
    seconds = dict(zip(costs["method"].tolist(), costs["seconds"].tolist(), strict=True))
    controls = _controls_of(writer)
    tables = board_tables(reported, predicted, controls, seconds, peaks)
    caps = _caps(reported, tables["lds_summary"], controls)
    of_targets, slope = _target_evidence(writer, reported, tables.get("control_comparisons", {}), caps)
    return {**tables, "target_lds": of_targets}, slope


def board_tables(
    reported: Reported,
    predicted: Mapping[str, Mapping[int, Floats]],
    controls: Collection[str],
    seconds: Mapping[str, float | None],
    peaks: Mapping[str, float | None],
) -> Tables:
    """Rows of `lds_summary`, `lds` and `control_comparisons` of all methods, see `Reported.tables`.

    Args:
        reported: what they are measured by.
        predicted: by method and number of checkpoints, predicted outcomes `[n_subsets, n_test]`.
        controls: names of the methods among them that the others are compared with.
        seconds: by method, where known.
        peaks: megabytes of memory by method, where measured.
    """
    of_controls = {name: reported.evidence(predicted[name][max(predicted[name])]) for name in sorted(controls)}
    return joined_tables(
        [
            reported.tables(
                *(name, each, seconds.get(name), peaks.get(name)),
                controls=None if name in of_controls else of_controls,
                best=of_controls.get(name),
            )
            for name, each in predicted.items()
        ]
    )


def control_evidence(writer: StoreWriter, reported: Reported) -> dict[str, LdsEvidence]:
    """The LDS of every control that the run has scores of, by name."""
    names = _controls_of(writer)
    return {name: reported.evidence(stored_predictions(writer, name, reported.masks)) for name in names}


def _controls_of(writer: StoreWriter) -> list[str]:
    found: list[str] = writer.columns("SELECT method FROM methods WHERE is_control ORDER BY method")["method"].tolist()
    return found


def stored_predictions(writer: StoreWriter, method: str, masks: NDArray[np.bool_]) -> Floats:
    """Outcomes `[n_subsets, n_test]` that the stored scores of a method predict."""
    scores = writer.arrays('SELECT "values" FROM scores WHERE method = ? ORDER BY test_idx', "values", [method])
    return predicted_outcomes(scores, masks)


def _predictions_by_checkpoints(writer: StoreWriter, n_reported: int) -> dict[int, Floats]:
    """Number of checkpoints to outcomes predicted for the reporting subsets `[n_subsets, n_test]`.

    Empty where the ledger has grown beyond the subsets that were predicted for.
    """
    rows = writer.columns(
        "SELECT n_checkpoints, subset_id, predicted FROM checkpoint_predictions JOIN subsets USING (subset_id) "
        "WHERE role = 'eval' ORDER BY n_checkpoints, subset_id, test_idx"
    )
    n_predicted = len(np.unique(rows["subset_id"]))
    if n_predicted < n_reported:
        return {}
    return {
        int(m): rows["predicted"][rows["n_checkpoints"] == m].astype(np.float64).reshape(n_reported, -1)
        for m in np.unique(rows["n_checkpoints"])
    }


def _caps(reported: Reported, summary: Mapping[str, Any], controls: Collection[str]) -> dict[str, TrustLevel]:
    """The highest trust in each method but the controls, by the columns of `lds_summary`."""
    rows = sorted(
        zip(summary["n_checkpoints"], summary["method"], summary["lds"], strict=True), key=lambda row: row[:2]
    )
    means = {method: lds for _, method, lds in rows}  # of all checkpoints, which come last
    of_controls = [means.get(control) for control in controls]
    return {
        method: reported.cap(np.nan if lds is None else lds, of_controls)
        for method, lds in means.items()
        if method not in controls
    }


def _target_evidence(
    writer: StoreWriter,
    reported: Reported,
    comparisons: Mapping[str, list[Any]],
    caps: Mapping[str, TrustLevel],
) -> tuple[dict[str, list[Any]], float | None]:
    """Columns of `target_lds`, and the calibration slope of the run's own method for targets but the default ones."""
    masks, n_seeds, fixed = reported.masks, reported.settings.n_seeds, reported.fixed
    parts: list[dict[str, list[Any]]] = []
    own: list[tuple[Floats, Floats]] = []
    for block in read_target_scores(writer, masks.shape[1]):
        # The averages that are published: anew from the seeds they would differ in the last digit, and near ties in
        # rank.
        actual = read_target_outcomes(writer, "eval", block.test_idx, block.target)
        by_seed = read_target_outcomes(writer, "eval", block.test_idx, block.target, by_seed=True)
        by_seed = by_seed.reshape(len(masks), n_seeds, -1)
        predicted = predicted_outcomes(block.scores, masks)
        plain = (*lds_with_interval(predicted, actual), noise_ceiling_per_test(by_seed))
        at_fixed = None
        if fixed is not None:
            ceilings = noise_ceiling_per_test(fixed.residuals(by_seed))
            at_fixed = (*lds_at_fixed_counts(predicted, actual, fixed), ceilings)
        keys = {"test_idx": block.test_idx.tolist(), "target": block.target.tolist()}
        beats = _beaten_by_rows(block.method, comparisons, fixed is not None)
        found = lds_columns(plain, at_fixed, beats, caps.get(block.method, "high"))
        parts.append({"method": [block.method] * len(plain[0]), **keys, **found})
        if block.method == writer.meta("method"):
            own.append((predicted, actual))
    columns = joined(parts) if parts else {"method": []}
    if not own:
        return columns, None
    predicted, actual = (np.concatenate(blocks, axis=1) for blocks in zip(*own, strict=True))
    return columns, or_null(calibration_slope(predicted, actual))


def _of_fixed(found: LdsEvidence, ceilings: Floats | None) -> tuple[Floats, ...]:
    nothing = np.full_like(found.per_test, np.nan)
    return found.per_test, found.per_test_low, found.per_test_high, nothing if ceilings is None else ceilings


def lds_columns(
    plain: tuple[Floats, ...], at_fixed: tuple[Floats, ...] | None, beats: bool | None, cap: TrustLevel
) -> dict[str, list[Any]]:
    """What the tables of per-example LDS hold beside their keys, one row a value.

    Args:
        plain: LDS, its lower and upper ends, and its ceilings, `[n]` each.
        at_fixed: the same at fixed class counts; None where these cannot be measured.
        beats: whether the method beats the controls; None where nothing was compared.
        cap: the highest trust that the method deserves.
    """
    named = dict(zip(("lds", "ci_low", "ci_high", "noise_ceiling"), plain, strict=True))
    nothing = np.full_like(plain[0], np.nan)
    named |= dict(zip(FIXED, at_fixed or (nothing,) * 4, strict=True))
    columns: dict[str, list[Any]] = {name: [or_null(value) for value in values] for name, values in named.items()}
    ends = zip(columns["ci_low"], columns["fixed_low"], strict=True)
    return {**columns, "trust": [trust_level(low, fixed_low, beats, cap) for low, fixed_low in ends]}


def mean_columns(found: LdsEvidence) -> dict[str, float | None]:
    """The mean LDS of a method with its interval, as the tables hold it, and the same at fixed class counts."""
    fixed = (np.nan,) * 3 if found.fixed is None else (found.fixed.mean, found.fixed.ci_low, found.fixed.ci_high)
    plain = {"lds": or_null(found.mean), "ci_low": or_null(found.ci_low), "ci_high": or_null(found.ci_high)}
    return plain | {name: or_null(value) for name, value in zip(FIXED, fixed, strict=False)}


def beaten(compared: Mapping[str, Comparison], by_fixed: bool) -> bool | None:
    """Whether a method beats all that it was compared with, by LDS at fixed counts or by LDS; None without any."""
    return beats_controls((each.fixed if by_fixed else each.plain).low for each in compared.values())


def _beaten_by_rows(method: str, comparisons: Mapping[str, list[Any]], by_fixed: bool) -> bool | None:
    """The same of one method by the columns of `control_comparisons`."""
    ends = comparisons.get("fixed_low" if by_fixed else "ci_low", [])
    return beats_controls(end for name, end in zip(comparisons.get("method", []), ends, strict=True) if name == method)


def comparison_columns(method: str, compared: Mapping[str, Comparison]) -> dict[str, list[Any]]:
    """Columns of `control_comparisons`; at least one control."""
    return columns_of(
        [
            {
                "method": method,
                "control": control,
                "difference": or_null(each.plain.mean),
                "ci_low": or_null(each.plain.low),
                "ci_high": or_null(each.plain.high),
                "fixed_difference": or_null(each.fixed.mean),
                "fixed_low": or_null(each.fixed.low),
                "fixed_high": or_null(each.fixed.high),
            }
            for control, each in compared.items()
        ]
    )


def or_null(value: float) -> float | None:
    """None for "undefined", so that the store holds NULL and no page ever shows NaN."""
    return float(value) if np.isfinite(value) else None


def columns_of(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Rows, of which there is at least one, as the columns that the store takes."""
    return {name: [row[name] for row in rows] for name in rows[0]}
