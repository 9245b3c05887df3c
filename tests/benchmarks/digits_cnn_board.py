"""The board of `digits_cnn`: every method that needs nothing but checkpoints, against the truth that lies with them.

Run it from the root of the repository: `python -m tests.benchmarks.digits_cnn_board [--method NAME ...]`. The truth is
the margins of the first seed on all 100 subsets and all 360 test images. Nothing is chosen on it: methods take their
default settings. The ceiling comes from the 83 subsets of which both seeds have models. It takes some minutes on two
CPU cores; the exit status is 1 when a target is missed.
"""

import argparse
import math
import time
from dataclasses import dataclass

import numpy as np
import torch

from tests.benchmarks.core_report import Report
from tests.benchmarks.digits_cnn import REFERENCE, DigitsCnn, is_available, lds, load_digits_cnn, make_model
from trak_core.evidence.lds import lds_per_test
from trak_core.methods import METHODS, Examples, MethodContext, Scores
from trak_core.tasks import find_task

TARGETS = {("trak", 1): 0.25, ("trak", 5): 0.32}
"""Least LDS by method and number of checkpoints: what TRAK with its default ridge has, but for the last digit."""
MIN_ROWS = 12


@dataclass(frozen=True)
class Row:
    """One line of the board.

    Attributes:
        title: of the method.
        n_checkpoints: that it averages over; 0 where it uses none.
        lds: against the truth.
        seconds: CPU time of all checkpoints.
    """

    title: str
    n_checkpoints: int
    lds: float
    seconds: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--method", nargs="+", choices=list(METHODS), default=list(METHODS), help="measure only these")
    arguments = parser.parse_args()
    if not is_available():
        raise SystemExit(f"this needs the folder {REFERENCE}")
    report, run = Report(), load_digits_cnn()
    report.section("digits_cnn: mean LDS over 360 test images and 100 subsets, one retrained model each")
    context = context_of(run)
    rows: list[Row] = []
    for name in arguments.method:
        method = METHODS[name]
        if missing := context.missing(method.info.needs):
            report.say(f"left out: {name}, which needs {missing[0].value}")
            continue
        given = context if method.info.max_checkpoints is None else context.first(method.info.max_checkpoints)
        began = time.process_time()
        scores = method.fit(given)
        everything = measured(scores, run)
        seconds = time.process_time() - began
        n = scores.n_checkpoints
        of_fewer = {1: measured(scores.first(1), run)} if n > 1 else {}
        for count, found in {**of_fewer, n: everything}.items():
            rows.append(Row(method.info.title, count, found, seconds))
            if (target := TARGETS.get((name, count))) is not None:
                report.check(f"LDS of {name} with {count} checkpoint(s)", found, "at least", target)
    ceiling = ceiling_of(run)
    report.section(f"board; noise ceiling {ceiling:.3f}")
    for row in sorted(rows, key=lambda row: -row.lds):
        report.say(
            f"{row.title:36} {row.n_checkpoints or '':>3}  {row.lds:6.3f}  {row.lds / ceiling:6.1%} of the ceiling  "
            f"{row.seconds:7.1f} CPU s"
        )
    if arguments.method == list(METHODS):
        report.check("methods on the board", len({row.title for row in rows}), "at least", MIN_ROWS)
    return 0 if report.finish() else 1


def context_of(run: DigitsCnn) -> MethodContext:
    """All that the reference run offers to methods: models and data, no retrained models to learn or to choose by."""
    return MethodContext(
        task=find_task("image_classification"),
        architecture=make_model(),
        states=run.checkpoints,
        train=Examples(run.train_inputs, run.train_labels),
        test=Examples(run.test_inputs, run.test_labels),
    )


def measured(scores: Scores, run: DigitsCnn) -> float:
    """Mean LDS against the first seed."""
    dense = np.concatenate([block.float().numpy() for block in scores.blocks()])
    return lds(dense, run.masks, run.margins[0])


def ceiling_of(run: DigitsCnn) -> float:
    """The most that scores can reach against one seed: the root of how far both seeds agree, where both have models.

    `noise_ceiling` would be that of the mean of both seeds, which is less noisy than the truth here.
    """
    both = np.isfinite(run.margins).all(axis=(0, 2))
    agreement = float(np.nanmean(lds_per_test(run.margins[0, both], run.margins[1, both])))
    return math.sqrt(agreement)


if __name__ == "__main__":
    torch.set_num_threads(2)
    raise SystemExit(main())
