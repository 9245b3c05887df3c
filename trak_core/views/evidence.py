"""What retraining says about the methods of a run."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trak_core.evidence.controls import beats_controls
from trak_core.evidence.removal import compare_removals
from trak_core.store.run import EVALUATED, Run
from trak_core.store.run_ledger import reported_tests
from trak_core.views.controls import control_verdict
from trak_core.views.model_quality import learnt_sentence, quality_of

AT_FIXED = ", fixed counts"
"""What follows the name of a further truth where its LDS is at fixed class counts."""


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
    fixed_ceiling: float | None = None  # the highest that any method can reach of it, None where unknown
    beats_controls: bool | None = None  # whether it beats every control, None where nothing was compared
    is_judged: bool = False  # True for scores that somebody brought to be judged

    @property
    def fixed_share(self) -> float | None:
        """LDS at fixed class counts as a share of its own ceiling; None where one of them is unknown."""
        return None if self.fixed is None or not self.fixed_ceiling else self.fixed / self.fixed_ceiling

    @property
    def lower_share(self) -> float | None:
        """The lower of both shares, which trust goes by; None where neither is known."""
        return min((each for each in (self.share, self.fixed_share) if each is not None), default=None)

    @property
    def kind(self) -> str:
        """What it is, in a word or two."""
        if self.is_judged:
            return "judged here"
        return "control" if self.is_control else "baseline" if self.is_baseline else "method"

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
    n_models: int  # models retrained on the reporting subsets
    n_fit_models: int  # models retrained on others, which the ridge and the scale of scores were chosen on
    slope: float | None  # actual change for each unit of change that the run's own method predicts for labels
    slope_of_others: float | None  # the same for classes other than the label
    n_reported: int  # test examples that means are over
    n_test: int  # all of them; where it is the same number, settings were chosen on the same ones
    left_out: dict[str, str]  # methods that are unavailable, with the reason
    n_diverged: int  # random halves, subsets and removals that were skipped because a model of them diverged
    is_measured: bool  # True when every method was asked for

    @property
    def rows_by_kind(self) -> list[BoardRow]:
        """Attribution first, then baselines, then negative controls, each best first."""
        return sorted(self.rows, key=lambda row: (row.is_control, row.is_baseline))

    @property
    def has_controls(self) -> bool:
        """False in runs of older versions, which have no negative controls."""
        return any(row.is_control for row in self.rows)

    @property
    def retrained(self) -> str:
        """How many models were retrained, and on how many random halves, in a sentence."""
        each = f"{self.n_seeds:,} on each of {self.n_subsets:,}"
        more = f"; {self.n_fit_models:,} more chose the ridge" if self.n_fit_models else ""
        return f"{self.n_models:,} models were retrained on random halves of the training data, {each}{more}."

    def row(self, method: str) -> BoardRow:
        """The row of a method that is on the board."""
        return next(row for row in self.rows if row.method == method)


def board(run: Run) -> Board:
    """The board of a run that has evidence."""
    rows = run.rows(
        "SELECT method, title, is_baseline, lds, ci_low, ci_high, lds / noise_ceiling, s.seconds, n_checkpoints, "
        "peak_megabytes, lds_fixed, fixed_low, fixed_high, coalesce(is_control, false), fixed_ceiling "
        "FROM lds_summary s JOIN methods USING (method) "
        "ORDER BY lds DESC NULLS LAST, method, n_checkpoints"
    )
    beaten, judged = _beaten_controls(run), run.info.provenance.get(EVALUATED) or {}
    every = [BoardRow(*(*row, beaten.get(row[0]), row[0] in judged)) for row in rows]
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
        n_models=n_seeds * n_subsets,
        n_fit_models=n_seeds * int(run.rows("SELECT count(*) FROM subsets WHERE role = 'fit'")[0][0]),
        slope=slope,
        slope_of_others=made.get("calibration_slope_of_other_targets"),
        n_reported=int(reported_tests(run).sum()),
        n_test=run.info.n_test,
        left_out=made.get("methods_left_out") or {},
        n_diverged=int(run.rows("SELECT count(*) FROM subsets WHERE role = 'diverged'")[0][0])
        + sum((made.get("n_diverged") or {}).values()),
        is_measured=bool(made.get("measured_every_method")),
    )


def board_in_words(found: Board) -> str:
    """LDS of every method, and the same at fixed class counts, in one line."""
    return ", ".join(
        f"{row.title} {row.lds:.2f}" + ("" if row.fixed is None else f" ({row.fixed:.2f} at fixed class counts)")
        for row in found.rows
        if row.lds is not None
    )


def _beaten_controls(run: Run) -> dict[str, bool | None]:
    """Whether each method beats every control: by LDS at fixed class counts where that is measured, else by LDS."""
    rows = run.rows(
        "SELECT method, list(ci_low ORDER BY control), list(fixed_low ORDER BY control) FROM control_comparisons "
        "GROUP BY method"
    )
    return {
        method: beats_controls(fixed if any(end is not None for end in fixed) else low) for method, low, fixed in rows
    }


def lds_values(run: Run, method: str | None = None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """LDS over the test examples and LDS at fixed class counts, each without undefined values; both may be empty."""
    found = run.lds(method)
    values, fixed = (each[np.isfinite(each)] for each in (found.per_test, found.fixed_per_test))
    return values, fixed


def board_table(found: Board) -> pd.DataFrame:
    """The board as a table, one row a method; undefined values are empty.

    Attribution comes first, then baselines, then negative controls, each of them best first.
    """
    titles = {
        "title": "method",
        "kind": "kind",
        "lds": "LDS",
        "ci_low": "from",
        "ci_high": "to",
        "share": "share of ceiling",
        "fixed": "fixed counts: LDS",
        "fixed_low": "fixed: from",
        "fixed_high": "fixed: to",
        "fixed_share": "fixed: share of its ceiling",
        "beats_controls": "beats the controls",
        "n_checkpoints": "checkpoints",
        "seconds": "CPU seconds",
        "peak_megabytes": "memory (MB)",
    }
    rows = [[getattr(row, field) for field in titles] for row in found.rows_by_kind]
    table = pd.DataFrame(rows, columns=list(titles.values()))
    table["checkpoints"] = table["checkpoints"].replace(0, None)  # of methods that use none
    words = ["method", "kind", "beats the controls"]
    table["beats the controls"] = table["beats the controls"].map({True: "yes", False: "no"})
    return table.astype(dict.fromkeys(table.columns.drop(words), float))


def as_shown(table: pd.DataFrame) -> pd.DataFrame:
    """`board_table` or `truth_table` rounded as people read it: shares to whole per cents, LDS to three digits.

    What rounds to zero is zero, without a sign.
    """
    numbers = table.select_dtypes("number")
    digits = {name: 2 if "share" in str(name) else 3 for name in numbers.columns}
    return table.assign(**{name: numbers[name].round(digits[name]) + 0.0 for name in numbers.columns})


def ranked_by_lds(run: Run, method: str | None, k: int) -> tuple[list[int], list[int]]:
    """Numbers of the `k` test examples with the highest and with the lowest defined LDS."""
    lds = run.lds(method).per_test
    order = np.argsort(-lds, kind="stable")  # NaN comes last
    defined = [int(idx) for idx in order if np.isfinite(lds[idx])]
    return defined[:k], defined[::-1][:k]


def truth_table(run: Run) -> pd.DataFrame:
    """LDS with a row a method and a column a further truth, best method first; undefined values are empty.

    A single model is asked about by the scores of that model alone, several seeds by all checkpoints. Where LDS at
    fixed class counts is measured against a truth, it has the column after. The table has no rows where no truth was
    measured.
    """
    columns: dict[str, dict[str, float | None]] = {}
    at_fixed: dict[str, dict[str, float | None]] = {}
    for kind, dropped, title, lds, fixed in run.rows(
        "SELECT kind, dropped, title, lds, lds_fixed "
        "FROM truth_lds JOIN truths USING (truth_id) JOIN methods USING (method) "
        "WINDOW methods_of_truth AS (PARTITION BY truth_id, method) "
        "QUALIFY n_checkpoints = CASE kind WHEN 'single model' THEN min(n_checkpoints) OVER methods_of_truth "
        "ELSE max(n_checkpoints) OVER methods_of_truth END ORDER BY truth_id, lds DESC NULLS LAST, method"
    ):
        whose = "one model" if kind == "single model" else "several seeds"
        columns.setdefault(f"{whose}, {dropped:.0%} dropped", {})[title] = lds
        at_fixed.setdefault(f"{whose}, {dropped:.0%} dropped", {})[title] = fixed
    table = pd.DataFrame(columns, dtype=float)
    order = table.mean(axis=1).sort_values(ascending=False, na_position="last").index
    for name, values in at_fixed.items():
        if any(value is not None for value in values.values()):
            table.insert(int(table.columns.get_loc(name)) + 1, f"{name}{AT_FIXED}", pd.Series(values, dtype=float))
    return table.loc[order].rename_axis("method").reset_index()


def truth_ceilings(run: Run, at_fixed_counts: bool = False) -> dict[float, float]:
    """Share of the train examples dropped to the noise ceiling; not of single models, whose outcomes have no noise."""
    column = "fixed_ceiling" if at_fixed_counts else "noise_ceiling"
    return dict(run.rows(f"SELECT dropped, {column} FROM truths WHERE {column} IS NOT NULL ORDER BY truth_id"))


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


def board_text(run: Run) -> str:
    """What the models have learnt, then tables of the methods, of further truths and of removal."""
    found = board(run)
    lines = [
        learnt_sentence(quality_of(run)),
        f"Run {run.info.name}: LDS over {found.n_subsets} random halves with {found.n_seeds} models each, "
        f"{found.n_reported} test examples, noise ceiling {_number(found.noise_ceiling)}.",
        *([controls] if (controls := control_verdict(run).verdict) else []),
        "",
        f"{'method':32} {'checkpoints':>11} {'LDS':>9} {'95% interval':>16} {'of ceiling':>10} "
        f"{'fixed counts':>12} {'95% interval':>16} {'CPU s':>8} {'MB':>7}",
    ]
    for row in found.rows_with_one_or_all:
        interval = f"{_number(row.ci_low)} to {_number(row.ci_high)}"
        share = "" if row.share is None else f"{row.share:z.1%}"
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
    return "undefined" if value is None or math.isnan(value) else f"{value:z.3f}"
