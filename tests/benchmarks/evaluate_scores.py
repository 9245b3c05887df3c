"""Judges the scores that traker gave for `digits_cnn` on a run made of that reference, beside ours.

Run it from the root of the repository: `python tests/benchmarks/evaluate_scores.py`. The run is what an `Attributor`
saves with the checkpoints of the reference; its truth, the margins of the first seed on all 100 subsets and all 360
test images, is given to it with `add_outcomes`; then each score matrix is put beside with `evaluate`. Nothing is chosen
on the truth. It takes a minute on two CPU cores; the exit status is 1 when a target is missed.
"""

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch

import trak_core as tc
from tests.benchmarks.core_report import Report
from tests.benchmarks.digits_cnn import REFERENCE, DigitsCnn, is_available, load_digits_cnn, make_model
from trak_core.store.run import open_run
from trak_core.views.evidence import board_text

TRAKER = {(512, 5): 0.176, (2048, 5): 0.012}
"""LDS in the README of the reference, by projection dimension and number of checkpoints."""
DIGITS = 5e-4
"""The README rounds to three."""


def main() -> int:
    if not is_available():
        raise SystemExit(f"this needs the folder {REFERENCE}")
    report, reference = Report(), load_digits_cnn()
    with tempfile.TemporaryDirectory() as directory:
        run_dir = reference_run(reference, Path(directory) / "digits_cnn")
        for (proj_dim, n), scores in reference.traker_scores.items():
            tc.evaluate(run_dir, scores, f"traker k={proj_dim}, {n} checkpoints", sign="as-is")
        with open_run(run_dir) as run:
            report.section("digits_cnn, all 100 subsets and 360 test images, first seed")
            report.say(board_text(run))
            found = {name: run.lds(name) for name in run.info.methods}
            for name in found:
                if len(compared := run.control_comparisons(name)):
                    ends = ", ".join(f"{compared[end].min():.3f}" for end in ("ci_low", "fixed_low"))
                    report.say(f"{name}: least lower end of its difference from a control, and at fixed counts: {ends}")
            for (proj_dim, n), expected in TRAKER.items():
                lds = found[f"traker k={proj_dim}, {n} checkpoints"].mean
                report.check(
                    f"traker k={proj_dim}: distance of its LDS from {expected}", abs(lds - expected), "at most", DIGITS
                )
            report.check("LDS of ours with 5 checkpoints", found["trak"].mean, "at least", 0.32)
            ends = run.control_comparisons("trak")["fixed_low"]
            report.check("ours less the best control, lower end", float(ends.min()), "at least", 0.05)
    return 0 if report.finish() else 1


def reference_run(reference: DigitsCnn, run_dir: Path) -> Path:
    """A run of the checkpoints and the truth of the reference."""
    train = reference.train_inputs, reference.train_labels
    test = reference.test_inputs, reference.test_labels
    attributor = tc.Attributor(make_model(), checkpoints=reference.checkpoints, progress=False)
    attributor.fit(train)
    attributor.save(run_dir, train, test, [str(digit) for digit in range(10)], targets="default")
    tc.add_outcomes(run_dir, reference.masks, np.asarray(reference.margins[0]))
    return run_dir


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main())
