"""What retraining says about the methods of a run."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trak_core.evidence.fixed_counts import why_not_fixed
from trak_core.evidence.lds import lds_interval, lds_per_test, predicted_outcomes
from trak_core.evidence.removal import compare_removals
from trak_core.store.run import Run
from trak_core.store.run_ledger import outcomes, reported_tests, subset_masks
from trak_core.subjects import OWN_SUBJECT
from trak_core.subjects.subject import ONE_FUNCTION
from trak_core.views.model_quality import learnt_sentence, quality_of


@dataclass(frozen=True)
class BoardRow:
    """One method on the board."""

    method: str  # its key
    title: str  # its name
    is_baseline: bool  # True for methods that real attribution must beat
    lds: float | None  # mean over test examples, None when undefined
    ci_low: float | None  # lower end of the 95% interval
    ci_high: float | None  # upper end
    share: float | None  # of the noise ceiling
    seconds: float | None  # CPU seconds to compute its scores; None where nobody knows
    n_checkpoints: int = 0  # that it is averaged over, 0 where it uses none
    peak_megabytes: float | None = None  # by how much memory grew at its peak, None where it was not measured
    fixed: float | None = None  # LDS at fixed class counts, None where it is not measured
    fixed_low: float | None = None  # lower end of its 95% interval
    fixed_high: float | None = None  # upper end
    is_control: bool = False  # True for negative controls

    @property
    def below(self) -> float:
        """How far the interval reaches below the LDS; 0 when undefined."""
        return 0.0 if self.lds is None or self.ci_low is None else self.lds - self.ci_low

    @property
    def above(self) -> float:
        """How far the interval reaches above the LDS; 0 when undefined."""
        return 0.0 if self.lds is None or self.ci_high is None else self.ci_high - self.lds


@dataclass(frozen=True)
class Board:
    """The evidence of a run at a glance."""

    rows: list[BoardRow]  # methods with all their checkpoints, best first
    rows_with_one_or_all: list[BoardRow]  # the same, and those of single checkpoints, best first
    # number of checkpoints to (lds, ci_low, ci_high) of the run's own method
    by_checkpoints: dict[int, tuple[float, float, float]]
    noise_ceiling: float | None  # the highest LDS that any method can reach against this ledger
    n_subsets: int  # reporting subsets
    n_seeds: int  # models retrained on each
    n_models: int  # models retrained for the whole ledger, fitting subsets included
    slope: float | None  # actual change for each unit of change that the run's own method predicts for labels
    slope_of_others: float | None  # the same for classes other than the label
    n_reported: int  # test examples that means are over
    n_test: int  # all of them; where it is the same number, settings were chosen on the same ones
    left_out: dict[str, str]  # methods that are unavailable, with the reason
    n_diverged: int  # random halves, subsets and removals that were skipped because a model of them diverged
    is_measured: bool  # True when every method was asked for


def board(run: Run) -> Board:
    """The board of a run that has evidence."""
    rows = run.rows(
        "SELECT method, title, is_baseline, lds, ci_low, ci_high, lds / noise_ceiling, s.seconds, n_checkpoints, "
        "peak_megabytes, lds_fixed, fixed_low, fixed_high, coalesce(is_control, false) "
        "FROM lds_summary s JOIN methods USING (method) "
        "ORDER BY lds DESC NULLS LAST, method, n_checkpoints"
    )
    every = [BoardRow(*row) for row in rows]
    whole = {row.method: row for row in sorted(every, key=lambda row: row.n_checkpoints)}  # with all their checkpoints
    own = run.rows(
        "SELECT n_checkpoints, lds, ci_low, ci_high, noise_ceiling, n_subsets, n_seeds, calibration_slope "
        "FROM lds_summary WHERE method = ? ORDER BY n_checkpoints",
        [run.info.method],
    )
    noise_ceiling, n_subsets, n_seeds, slope = own[-1][4:]
    made = run.info.provenance
    return Board(
        rows=[row for row in every if row is whole[row.method]],
        rows_with_one_or_all=[row for row in every if row.n_checkpoints == 1 or row is whole[row.method]],
        by_checkpoints={n: (lds, low, high) for n, lds, low, high, *_ in own if lds is not None},
        noise_ceiling=noise_ceiling,
        n_subsets=n_subsets,
        n_seeds=n_seeds,
        n_models=n_seeds * int(run.rows("SELECT count(*) FROM subsets")[0][0]),
        slope=slope,
        slope_of_others=made.get("calibration_slope_of_other_targets"),
        n_reported=int(reported_tests(run).sum()),
        n_test=run.info.n_test,
        left_out=made.get("methods_left_out") or {},
        n_diverged=int(run.rows("SELECT count(*) FROM subsets WHERE role = 'diverged'")[0][0])
        + sum((made.get("n_diverged") or {}).values()),
        is_measured=bool(made.get("measured_every_method")),
    )


def lds_values(run: Run, method: str | None = None) -> NDArray[np.float64]:
    """Defined LDS values over the test examples, in their order, without undefined ones."""
    values = run.lds(method).per_test
    return values[np.isfinite(values)]


def board_table(found: Board) -> pd.DataFrame:
    """The board as a table, one row a method; undefined values are empty."""
    titles = {
        "title": "method",
        "lds": "LDS",
        "ci_low": "from",
        "ci_high": "to",
        "share": "share of ceiling",
        "n_checkpoints": "checkpoints",
        "seconds": "CPU seconds",
        "peak_megabytes": "memory (MB)",
    }
    rows = [[getattr(row, field) for field in titles] for row in found.rows]
    table = pd.DataFrame(rows, columns=list(titles.values()))
    table["checkpoints"] = table["checkpoints"].replace(0, None)  # of methods that use none
    return table.astype(dict.fromkeys(table.columns.drop("method"), float))


def ranked_by_lds(run: Run, method: str | None, k: int) -> tuple[list[int], list[int]]:
    """Numbers of the `k` test examples with the highest and with the lowest defined LDS."""
    lds = run.lds(method).per_test
    order = np.argsort(-lds, kind="stable")  # NaN comes last
    defined = [int(idx) for idx in order if np.isfinite(lds[idx])]
    return defined[:k], defined[::-1][:k]


def truth_table(run: Run) -> pd.DataFrame:
    """LDS with a row a method and a column a further truth, best method first; undefined values are empty.

    A single model is asked about by the scores of that model alone, several seeds by all checkpoints. The table has no
    rows where no truth was measured.
    """
    columns: dict[str, dict[str, float | None]] = {}
    for kind, dropped, title, lds in run.rows(
        "SELECT kind, dropped, title, lds FROM truth_lds JOIN truths USING (truth_id) JOIN methods USING (method) "
        "WINDOW methods_of_truth AS (PARTITION BY truth_id, method) "
        "QUALIFY n_checkpoints = CASE kind WHEN 'single model' THEN min(n_checkpoints) OVER methods_of_truth "
        "ELSE max(n_checkpoints) OVER methods_of_truth END ORDER BY truth_id, lds DESC NULLS LAST, method"
    ):
        whose = "one model" if kind == "single model" else "several seeds"
        columns.setdefault(f"{whose}, {dropped:.0%} dropped", {})[title] = lds
    table = pd.DataFrame(columns, dtype=float)
    order = table.mean(axis=1).sort_values(ascending=False, na_position="last").index
    return table.loc[order].rename_axis("method").reset_index()


def truth_ceilings(run: Run) -> dict[float, float]:
    """Share of the train examples dropped to the noise ceiling; not of single models, whose outcomes have no noise."""
    return dict(run.rows("SELECT dropped, noise_ceiling FROM truths WHERE noise_ceiling IS NOT NULL ORDER BY truth_id"))


@dataclass(frozen=True)
class RemovalCurve:
    """What removing the first k train examples of a method does, over the test examples that it was measured on."""

    method: str  # its key
    title: str  # its name
    sizes: list[int]  # how many were removed
    falls: list[float]  # mean fall of the margin for each size
    lows: list[float]  # lower ends of the 95% intervals of the mean
    highs: list[float]  # upper ends
    flipped: list[float]  # share of the test examples whose answer flipped


def removal_curves(run: Run) -> list[RemovalCurve]:
    """One curve a method, the strongest first; empty where removal was not measured."""
    rows = run.rows(
        "WITH sizes AS (SELECT method, title, k, avg(flipped::DOUBLE) AS flipped, "
        "avg(unremoved - model_output) AS fall, "
        "1.96 * coalesce(stddev_samp(unremoved - model_output), 0) / sqrt(count(*)) AS half_width "
        "FROM removals JOIN methods USING (method) "
        # The search for the smallest set that flips an answer tries other sizes for few test examples.
        "WHERE k IN (SELECT unnest(?::INTEGER[])) GROUP BY method, title, k) "
        "SELECT method, title, list(k ORDER BY k), list(fall ORDER BY k), list(fall - half_width ORDER BY k), "
        "list(fall + half_width ORDER BY k), list(flipped ORDER BY k) FROM sizes GROUP BY ALL ORDER BY method",
        [run.info.provenance.get("removal_sizes") or []],
    )
    curves = [RemovalCurve(*row) for row in rows]
    # While removal is being measured, curves differ in length; the first size is there for all of them.
    common = min((len(curve.sizes) for curve in curves), default=0)
    return sorted(curves, key=lambda curve: -curve.falls[common - 1])


@dataclass(frozen=True)
class RemovalComparison:
    """How often one removal lowers the margin more than another of the same size."""

    title: str  # of the method whose removal is compared
    k: int  # how many are removed
    # of the test examples for which it lowers the margin more than removing nearest neighbours of the class
    share: float
    ci_low: float  # lower end of the 95% interval over test examples
    ci_high: float  # upper end
    n_tests: int  # test examples


def removal_comparison(run: Run, k: int) -> RemovalComparison | None:
    """The best method against nearest neighbours of the same class; None where either was not measured.

    Best is meant by LDS of the test examples that settings were chosen on, so that the choice does not favour it here.
    """
    method = run.info.provenance.get("removal_method")
    rows = run.rows(
        "SELECT ours.model_output - ours.unremoved, theirs.model_output - theirs.unremoved "
        "FROM removals ours JOIN removals theirs USING (test_idx, k, n_seeds) "
        "WHERE ours.method = ? AND theirs.method = 'nearest' AND k = ? ORDER BY test_idx",
        [method, k],
    )
    if not rows or method is None or method == "nearest":
        return None
    ours, theirs = np.array(rows, dtype=np.float64).T
    share, low, high = compare_removals(ours, theirs)
    return RemovalComparison(run.method_titles[method], k, share, low, high, len(rows))


def flip_sizes(run: Run) -> tuple[str, list[int], int] | None:
    """Title of the method, the smallest sets that were found to flip an answer, and the test examples tried."""
    rows = run.rows(
        "SELECT title, test_idx, min(k) FILTER (WHERE flipped) FROM removals JOIN methods USING (method) "
        "WHERE method = ? GROUP BY title, test_idx ORDER BY test_idx",
        [run.info.provenance.get("removal_method")],
    )
    return (rows[0][0], sorted(k for _, _, k in rows if k is not None), len(rows)) if rows else None


@dataclass(frozen=True)
class Fit:
    """Prediction and actual outcomes of one test example over the reporting subsets."""

    # predicted model outputs `[n_subsets]`: the sum of scores, moved to the mean of the actual ones
    predicted: NDArray[np.float64]
    actual: NDArray[np.float64]  # model outputs after retraining, averaged over seeds `[n_subsets]`
    # the ends of the least-squares line, ((x0, y0), (x1, y1)); None when all predictions are the same
    line: tuple[tuple[float, float], tuple[float, float]] | None
    lds: float | None  # Spearman correlation, None when undefined
    ci_low: float | None  # lower end of its 95% interval
    ci_high: float | None  # upper end


def predicted_against_actual(run: Run, test_idx: int, method: str | None = None) -> Fit:
    """What the scores predict for the label of a test example, against what retraining gave.

    Raises:
        NotInRunError: there is no such test example or method.
    """
    test_idx = run.check_test(test_idx)
    scores = run.score_row(test_idx, method)[None]
    predicted = predicted_outcomes(scores, subset_masks(run, "eval"))  # [n_subsets, 1]
    actual = outcomes(run, "eval").mean(1)[:, [test_idx]]
    lds = lds_per_test(predicted, actual)
    low, high = lds_interval(lds, len(actual))
    x = predicted[:, 0] - predicted.mean() + actual.mean()
    y = actual[:, 0]
    line = None
    if np.isfinite(lds[0]):
        slope, intercept = np.polyfit(x, y, 1)
        ends = (float(x.min()), float(x.max()))
        line = ((ends[0], float(slope * ends[0] + intercept)), (ends[1], float(slope * ends[1] + intercept)))
    numbers = [float(value[0]) if np.isfinite(value[0]) else None for value in (lds, low, high)]
    return Fit(x, y, line, *numbers)


def board_text(run: Run) -> str:
    """What the models have learnt, then tables of the methods, of further truths and of removal."""
    found = board(run)
    lines = [
        learnt_sentence(quality_of(run)),
        f"Run {run.info.name}: LDS over {found.n_subsets} random halves with {found.n_seeds} models each, "
        f"{found.n_reported} test examples, noise ceiling {_number(found.noise_ceiling)}.",
        "",
        f"{'method':32} {'checkpoints':>11} {'LDS':>9} {'95% interval':>16} {'of ceiling':>10} "
        f"{'fixed counts':>12} {'95% interval':>16} {'CPU s':>8} {'MB':>7}",
    ]
    for row in found.rows_with_one_or_all:
        interval = f"{_number(row.ci_low)} to {_number(row.ci_high)}"
        share = "" if row.share is None else f"{row.share:.1%}"
        memory = "" if row.peak_megabytes is None else f"{row.peak_megabytes:.0f}"
        seconds = "" if row.seconds is None else f"{row.seconds:.1f}"
        at_fixed = "" if row.fixed is None else f"{_number(row.fixed_low)} to {_number(row.fixed_high)}"
        lines.append(
            f"{row.title:32} {row.n_checkpoints or '':>11} {_number(row.lds):>9} {interval:>16} {share:>10} "
            f"{'' if row.fixed is None else _number(row.fixed):>12} {at_fixed:>16} {seconds:>8} {memory:>7}"
        )
    for method, reason in found.left_out.items():
        lines.append(f"skipped: {method}: {reason}")
    if found.n_diverged:
        lines.append(
            f"{found.n_diverged} random halves, subsets or removals were skipped, because a model of them diverged."
        )
    truths = truth_table(run).set_index("method").rename_axis(None)
    if len(truths):
        lines += [
            "",
            "LDS when other shares are dropped:",
            truths.to_string(float_format="{:.3f}".format, na_rep="undefined"),
        ]
    curves = removal_curves(run)
    if curves:
        lines += ["", f"{'removed':32} {'k':>4} {'mean fall of the margin':>24} {'flipped':>8}"]
        for curve in curves:
            for k, fall, flipped in zip(curve.sizes, curve.falls, curve.flipped, strict=True):
                lines.append(f"{curve.title:32} {k:>4} {fall:>24.3f} {flipped:>8.0%}")
        compared = removal_comparison(run, 10)
        if compared is not None:
            lines.append(
                f"Removing 10 by {compared.title} lowers the margin more than removing the 10 nearest neighbours of "
                f"the class for {compared.share:.0%} of {compared.n_tests} test examples (95% interval "
                f"{compared.ci_low:.0%} to {compared.ci_high:.0%})."
            )
    return "\n".join(lines) + "\n"


def _number(value: float | None) -> str:
    return "undefined" if value is None or math.isnan(value) else f"{value:.3f}"


def notes_of(run: Run) -> list[str]:
    """What is not in a run's evidence and why, a sentence or two each."""
    notes = run.info.provenance.get("notes")
    # A run from elsewhere may hold anything.
    return [note for note in notes if isinstance(note, str)] if isinstance(notes, list) else []


def why_no_fixed_lds(run: Run) -> str:
    """Why a run that has evidence has no LDS at fixed class counts, as a sentence; empty where it has."""
    found, n_classes = run.lds(), len(np.unique(run.train_labels))
    if np.isfinite(found.fixed) or np.isnan(found.mean):
        return ""
    if not run.info.has_classes or n_classes < 2:
        return "LDS at fixed class counts is not measured: there are no classes whose shares differ."
    return why_not_fixed(found.n_subsets, n_classes) or (
        "LDS at fixed class counts was not measured by the older version that made this run; measuring every method "
        "does that."
    )


def why_no_evidence(run: Run) -> str:
    """Why nothing was retrained for a run, and what would add it."""
    believed = "Whether scores can be believed shows only when models are retrained on other data."
    if run.info.recipe == OWN_SUBJECT:
        return f"Its subject trains no models. {believed} {ONE_FUNCTION}, as trak_core.Subject(train_model=...)."
    if run.info.provenance.get("imported"):
        return f"It was {run.info.origin}. {believed} Build a recipe to see what that looks like."
    return (
        f"It was {run.info.origin}. {believed} {ONE_FUNCTION}: attributor.measure({run.info.name!r}, train_model), "
        "where the Attributor that saved it is, builds all of it."
    )


def what_is_left_to_measure(run: Run) -> tuple[str, str]:
    """What measuring every method of a run adds: a title, and what it is and takes."""
    if not run.info.provenance.get("n_subsets"):
        return (
            "There are more methods to compare",
            "Influence functions, gradient products and others that need checkpoints alone give their scores; which of "
            "them is right shows only when models are retrained. It takes some minutes on two processor cores.",
        )
    return (
        "There are more methods to compare, and removal to measure",
        "MAGIC, influence functions, SOURCE, datamodels and others, each judged by the same retrained models; then the "
        "strongest proponents are removed and models trained without them. It takes ten to twenty minutes on two "
        "processor cores, and results join this page as they come.",
    )
