"""Sections of `attribution_core.py` on the digits reference run: truth, exact inner products, time, and calibration."""

import functools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from tests.benchmarks.core_report import Report
from tests.benchmarks.digits_cnn import N_CHECKPOINTS, TRAKER_PROJ_DIMS, DigitsCnn, lds, load_digits_cnn, make_model
from tests.benchmarks.peers import Examples, PeerResult, run_dattri, run_traker
from trak_core import Attributor
from trak_core.engine import BuildSettings, build_run
from trak_core.evidence.lds import calibration_slope, predicted_outcomes
from trak_core.gradients import GradientComputer, find_layers
from trak_core.projection import make_feature_map
from trak_core.store.run import open_run
from trak_core.subjects import find_recipe
from trak_core.tasks import find_task

__all__ = ["digits", "measure_calibration", "measure_cpu", "measure_kernel", "measure_lds", "test_of", "train_of"]

PROJ_DIM = 512
BATCH = 64
LDS_TARGETS = {(None, 1): 0.25, (None, N_CHECKPOINTS): 0.32, (PROJ_DIM, 1): 0.22, (PROJ_DIM, N_CHECKPOINTS): 0.30}
N_CALIBRATING = 50
"""Subsets that calibration sees; the other 50 judge it."""

Peer = Callable[..., PeerResult]
PEERS: dict[str, Peer] = {"traker": run_traker, "dattri": run_dattri}


@functools.cache
def digits() -> DigitsCnn:
    """The reference run, read once."""
    return load_digits_cnn()


def train_of(run: DigitsCnn) -> Examples:
    """Training images and labels."""
    return run.train_inputs, run.train_labels


def test_of(run: DigitsCnn) -> Examples:
    """Test images and labels."""
    return run.test_inputs, run.test_labels


def measure_lds(report: Report) -> None:
    """LDS against models retrained on 100 random halves, next to traker and dattri."""
    report.section("lds: digits_cnn, mean LDS over 360 test images, 100 subsets, one retrained model each")
    run = digits()
    for (proj_dim, n_checkpoints), target in LDS_TARGETS.items():
        attributor = Attributor(
            make_model(), checkpoints=run.checkpoints[:n_checkpoints], proj_dim=proj_dim, progress=False
        )
        scores = attributor.fit(train_of(run)).score(test_of(run))
        what = "exact kernel" if proj_dim is None else f"proj_dim {proj_dim}"
        found = lds(scores, run.masks, run.margins[0])
        report.check(f"LDS, {what}, {n_checkpoints} checkpoint(s)", found, "at least", target)
        report.say(str(attributor.plan))
    for name, peer in PEERS.items():
        for n_checkpoints in (1, N_CHECKPOINTS):
            found = lds(_run_peer(peer, n_checkpoints).scores, run.masks, run.margins[0])
            report.say(f"{name}, proj_dim {PROJ_DIM}, {n_checkpoints} checkpoint(s), run now: LDS {found:.4f}")
    for proj_dim in TRAKER_PROJ_DIMS:
        for n_checkpoints in (1, N_CHECKPOINTS):
            found = lds(run.traker_scores[proj_dim, n_checkpoints], run.masks, run.margins[0])
            report.say(f"traker, proj_dim {proj_dim}, {n_checkpoints} checkpoint(s), stored: LDS {found:.4f}")


def _run_peer(peer: Peer, n_checkpoints: int) -> PeerResult:
    run = digits()
    return peer(make_model(), run.checkpoints[:n_checkpoints], train_of(run), test_of(run), PROJ_DIM, BATCH)


def measure_kernel(report: Report) -> None:
    """Inner products, norms and weights q at checkpoint 0 against the exact ones that lie with the run."""
    report.section("kernel: digits_cnn, checkpoint 0, no projection, against kernel_checkpoint_0.npz")
    run = digits()
    model = make_model()
    layers = find_layers(model)
    computer = GradientComputer(model, find_task("image_classification"), layers)
    computer.choose(run.checkpoints[0], *train_of(run))
    whole = make_feature_map("none", layers, computer.factored, 0, 0)
    train = computer.compute(run.checkpoints[0], *train_of(run))
    test = computer.compute(run.checkpoints[0], *test_of(run))
    train_rows, train_norm2 = whole.rows(train.layers)
    found = whole.inner_products(train_rows, whole.rows(test.layers)[0])
    report.say(f"gradients by {computer.path}, rows of {whole.width:,} numbers")
    for name, ours, expected in (
        ("train_test", found, run.kernel_train_test),
        ("train_norm2", train_norm2, run.kernel_train_norm2),
        ("q", train.q, run.kernel_q),
    ):
        difference = ours.double().numpy() - expected.astype(np.float64)
        largest = float(np.abs(difference).max() / np.abs(expected).max())
        norms = float(np.linalg.norm(difference) / np.linalg.norm(expected.astype(np.float64)))
        report.check(f"{name}: largest difference / largest entry", largest, "at most", 1e-4)
        report.check(f"{name}: Frobenius norm of the difference / of the entries", norms, "at most", 1e-4)


def measure_cpu(report: Report) -> None:
    """CPU seconds from set-up to finished scores, ours and the peers' in turns."""
    report.section(f"cpu: digits_cnn, {N_CHECKPOINTS} checkpoints, proj_dim {PROJ_DIM}, batches of {BATCH}")
    report.say(f"{torch.get_num_threads()} torch thread(s) for all; CPU seconds of the process, all threads together")
    _our_cpu_seconds(1)  # torch starts its threads and plans its kernels once
    seconds: dict[str, list[float]] = {"ours": [], **{name: [] for name in PEERS}}
    for _ in range(3):
        seconds["ours"].append(_our_cpu_seconds(N_CHECKPOINTS))
        for name, peer in PEERS.items():
            seconds[name].append(_run_peer(peer, N_CHECKPOINTS).cpu_seconds)
    best = {name: min(every) for name, every in seconds.items()}
    for name, every in seconds.items():
        report.say(f"{name:7} least {best[name]:6.2f} s of {', '.join(f'{value:.2f}' for value in every)}")
    report.check("CPU seconds of traker / ours", best["traker"] / best["ours"], "at least", 10, "x")
    report.check("CPU seconds of dattri / ours", best["dattri"] / best["ours"], "at least", 1, "x")


def _our_cpu_seconds(n_checkpoints: int) -> float:
    run = digits()
    model = make_model()
    began = time.process_time()
    attributor = Attributor(
        model, checkpoints=run.checkpoints[:n_checkpoints], proj_dim=PROJ_DIM, batch_size=BATCH, progress=False
    )
    attributor.fit(train_of(run)).score(test_of(run))
    return time.process_time() - began


def measure_calibration(report: Report) -> None:
    """Slope of actual against predicted outcomes before and after calibration, on subsets that it did not see."""
    run = digits()
    n_held_out = len(run.masks) - N_CALIBRATING
    report.section(
        f"calibration: digits_cnn, {N_CHECKPOINTS} checkpoints, exact kernel, {N_CALIBRATING} subsets to calibrate, "
        f"the other {n_held_out} to judge"
    )
    attributor = Attributor(make_model(), checkpoints=run.checkpoints, progress=False).fit(train_of(run))
    every = np.arange(len(run.test_labels))
    _judge(report, attributor, "all tests", every, every)
    _judge(report, attributor, "calibrated on even tests, judged on odd ones", every[::2], every[1::2])
    _judge_recipe(report)


def _judge_recipe(report: Report) -> None:
    """The same for the digits recipe, as its Evidence page shows it: 20 subsets to calibrate, 80 to judge."""
    with tempfile.TemporaryDirectory() as directory:
        settings = BuildSettings.of(find_recipe("digits"), seed=0, device="cpu")
        with open_run(build_run(settings, "digits", Path(directory))) as run:
            rows = run.rows(
                "SELECT calibration_slope FROM lds_summary WHERE method = 'trak' ORDER BY n_checkpoints DESC LIMIT 1"
            )
            slope, others = rows[0][0], run.info.provenance["calibration_slope_of_other_targets"]
            report.say(f"digits recipe: LDS {run.lds().mean:.3f} of at most {run.lds().noise_ceiling:.3f}")
    for what, value in (("labels", slope), ("other classes", others)):
        report.check(f"slope after calibration, digits recipe, {what}", value, "at least", 0.5)
        report.check(f"slope after calibration, digits recipe, {what}", value, "at most", 2)


def _judge(
    report: Report, attributor: Attributor, what: str, calibrating: NDArray[np.intp], judging: NDArray[np.intp]
) -> None:
    run = digits()
    seen, held_out = slice(0, N_CALIBRATING), slice(N_CALIBRATING, None)
    truth = run.margins[0][held_out][:, judging]
    attributor.calibration = None
    before = attributor.score((run.test_inputs[judging], run.test_labels[judging]))
    found = attributor.calibrate(
        (run.test_inputs[calibrating], run.test_labels[calibrating]),
        run.masks[seen],
        run.margins[0][seen][:, calibrating],
    )
    after = attributor.score((run.test_inputs[judging], run.test_labels[judging]))
    by_ridge = ", ".join(f"{ridge:g}: {value:.3f}" for ridge, value in found.lds_by_ridge.items())
    report.say(f"{what}: ridge {found.ridge:g}, factor {found.factor:.3f}; LDS by ridge {by_ridge}")
    report.say(f"{what}, before: slope {_slope(before, held_out, truth):.3f}, LDS {_lds(before, held_out, truth):.3f}")
    report.say(f"{what}, after: slope {_slope(after, held_out, truth):.3f}, LDS {_lds(after, held_out, truth):.3f}")
    slope = _slope(after, held_out, truth)
    report.check(f"slope after calibration, {what}", slope, "at least", 0.5)
    report.check(f"slope after calibration, {what}", slope, "at most", 2)


def _slope(scores: NDArray[np.float32], subsets: slice, truth: NDArray[np.float64]) -> float:
    return calibration_slope(predicted_outcomes(scores, digits().masks[subsets]), truth)


def _lds(scores: NDArray[np.float32], subsets: slice, truth: NDArray[np.float64]) -> float:
    return lds(scores, digits().masks[subsets], truth)
