"""The evidence of a run as plain text, for the command line."""

import math

from trak_core.store.run import Run
from trak_core.views.evidence import board, removal_comparison, removal_curves, truth_rows, truth_table


def board_text(run: Run) -> str:
    """Tables of the methods, of further truths and of removal."""
    found = board(run)
    lines = [
        f"Run {run.info.name}: LDS over {found.n_subsets} random halves with {found.n_seeds} models each, "
        f"{found.n_reported} test examples, noise ceiling {_number(found.noise_ceiling)}.",
        "",
        f"{'method':32} {'checkpoints':>11} {'LDS':>9} {'95% interval':>16} {'of ceiling':>10} {'CPU s':>8} {'MB':>7}",
    ]
    for row in found.rows_with_one_or_all:
        interval = f"{_number(row.ci_low)} to {_number(row.ci_high)}"
        share = "" if row.share is None else f"{row.share:.1%}"
        memory = "" if row.peak_megabytes is None else f"{row.peak_megabytes:.0f}"
        lines.append(
            f"{row.title:32} {row.n_checkpoints or '':>11} {_number(row.lds):>9} {interval:>16} {share:>10} "
            f"{row.seconds:8.1f} {memory:>7}"
        )
    for method, reason in found.left_out.items():
        lines.append(f"left out: {method}: {reason}")
    if found.n_diverged:
        lines.append(
            f"{found.n_diverged} random halves, subsets or removals were left out, because a model of them diverged."
        )
    truths = truth_rows(run)
    if truths:
        table = truth_table(truths).set_index("method").rename_axis(None)
        lines += [
            "",
            "LDS when other shares are dropped:",
            table.to_string(float_format="{:.3f}".format, na_rep="undefined"),
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
