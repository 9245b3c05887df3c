"""Checks that a run says the same thing in all its parts; reads only."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from trak_core.errors import StoreDamagedError, TrakCoreError
from trak_core.evidence.controls import beats_controls
from trak_core.evidence.fixed_counts import FixedCounts, group_counts
from trak_core.evidence.lds import (
    TrustLevel,
    capped,
    lds_at_fixed_counts,
    lds_with_interval,
    mean_defined,
    noise_ceiling_per_test,
    predicted_outcomes,
    trust_level,
)
from trak_core.evidence.lds_alone import lds_alone
from trak_core.jobs import last_words, package_environment
from trak_core.store.arrow import from_arrow_arrays
from trak_core.store.files import RunFiles, file_sha256
from trak_core.store.ledger import read_target_outcomes
from trak_core.store.run import Run
from trak_core.store.run_ledger import outcomes, reported_tests, subset_masks
from trak_core.store.run_tables import score_fingerprint
from trak_core.store.schema import ORDER_BY, TOP_K
from trak_core.store.targets import read_target_scores

TOLERANCE = 1e-6
STORED = "lds, ci_low, noise_ceiling, lds_fixed, fixed_low, fixed_ceiling, trust"
"""Columns of the LDS of single examples that are measured again."""


@dataclass(frozen=True)
class Check:
    """One check of a run."""

    name: str  # what is claimed
    ok: bool  # whether it holds
    detail: str  # what was found instead, empty when it holds


def verify(run: Run) -> list[Check]:
    """Every check of a run, in order; a store that cannot be read fails a check rather than raising."""
    checks: list[tuple[str, Callable[[Run], str]]] = [
        ("every table can be read to its end", _readable),
        ("every table has as many rows as the run needs", _row_counts),
        ("checkpoints are the files that were trained", _checkpoint_files),
        ("scores were made from these settings, data and weights", _fingerprints),
        ("scores and features are finite", _finite),
        ("top lists are the ends of the score rows", _topk),
        ("the stored LDS is the LDS of the stored scores and outcomes", _lds),
        ("the same holds for all other targets", _target_lds),
    ]
    return [_check(name, check, run) for name, check in checks]


def verify_apart(run_dir: Path) -> list[Check]:
    """Every check of a run, made in a process of its own, because it reads every table as a whole.

    Raises:
        StoreDamagedError: the run cannot be opened, or the checks could not be made.
    """
    result = subprocess.run(
        [sys.executable, "-m", "trak_core", "verify", str(run_dir), "--json"],
        env=package_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    try:
        return [Check(**check) for check in json.loads(result.stdout)["checks"]]
    except (ValueError, KeyError, TypeError) as error:
        raise StoreDamagedError(last_words(result.stderr, result.returncode)) from error


def _check(name: str, check: Callable[[Run], str], run: Run) -> Check:
    try:
        problem = check(run)
    except (TrakCoreError, duckdb.Error, ValueError, KeyError, IndexError, TypeError) as error:
        problem = str(error) or type(error).__name__
    return Check(name, not problem, problem)


def _readable(run: Run) -> str:
    for table in ORDER_BY:
        run.rows(f"SELECT bit_xor(hash(t)) FROM {table} t")  # a table of the schema; hashing reads every column
    return ""


def _row_counts(run: Run) -> str:
    info = run.info
    n_examples = info.n_train + info.n_test
    # A run saved from Python may explain default targets only, and comes without retrained models.
    n_pairs = int(run.rows("SELECT count(*) FROM targets WHERE target > 0")[0][0])
    n_ends = 2 * min(TOP_K, info.n_train)
    is_given = bool(info.provenance.get("outcomes_given"))  # for default targets alone
    n_kept = int(run.rows("SELECT count(*) FROM subsets WHERE role <> 'diverged'")[0][0])
    expected = {
        "examples": n_examples,
        # Scores that were imported may come with what their model says of the test examples, and with no model.
        "predictions": info.n_checkpoints * n_examples + (info.n_test if info.provenance.get("has_predictions") else 0),
        "features": info.n_checkpoints * n_examples,
        "methods": len(info.methods),
        "scores": len(info.methods) * info.n_test,
        "target_scores": n_pairs,
        "topk": len(info.methods) * info.n_test * n_ends,
        "class_influence": len(info.methods) * len(np.unique(run.test_labels)),
        "planted_errors": round(info.provenance.get("flip_labels", 0.0) * info.n_train),
    }
    if not run.has_scores:  # a build that has got no further than suspects
        expected = {name: expected[name] for name in ("examples", "planted_errors")}
    if info.provenance.get("complete") or not info.provenance.get("grows"):
        expected["subsets"] = info.provenance["n_subsets"]
    if info.provenance.get("complete") and info.provenance["n_subsets"]:
        expected |= {
            "outcomes": n_kept * info.provenance["n_seeds"] * info.n_test,
            "target_outcomes": n_kept * info.n_test if n_pairs and not is_given else 0,
        }
        # A ledger that grows may not be long enough yet.
        if not info.provenance.get("grows") or info.provenance.get("n_subsets_measured"):
            expected |= {"lds": len(info.methods) * info.n_test, "target_lds": 0 if is_given else n_pairs}
    n_combined = run.rows("SELECT count(*) FROM suspects WHERE signal = 'combined' AND split = 'train'")[0][0]
    if n_combined:  # labels were compared: by every signal that looks at each example, and by models that left it out
        n_signals = dict(run.rows("SELECT split, count(DISTINCT signal) FROM suspects GROUP BY split"))
        n_suspects = n_signals.get("train", 0) * info.n_train + n_signals.get("test", 0) * info.n_test
        expected |= {"suspects": n_suspects, "out_of_fold": info.n_train}
    found = {table: run.rows(f"SELECT count(*) FROM {table}")[0][0] for table in expected}
    wrong = [f"{table} has {found[table]} rows instead of {n}" for table, n in expected.items() if found[table] != n]
    return "; ".join(wrong)


def _checkpoint_files(run: Run) -> str:
    files = RunFiles(run.path)
    wrong = []
    for checkpoint_id, expected in run.rows("SELECT checkpoint_id, sha256 FROM checkpoints ORDER BY 1"):
        path = files.checkpoint(checkpoint_id)
        if not path.exists():
            wrong.append(f"{path.name} is missing")
        elif file_sha256(path) != expected:
            wrong.append(f"{path.name} has other content than the weights that the scores were made with")
    return "; ".join(wrong)


def _fingerprints(run: Run) -> str:
    made = run.info.provenance
    sha256s = [sha256 for (sha256,) in run.rows("SELECT sha256 FROM checkpoints ORDER BY checkpoint_id")]
    for method, stored in run.rows("SELECT method, fingerprint FROM methods ORDER BY method"):
        if stored != score_fingerprint(made["fingerprint"], sha256s, made["ridge"], method):
            return f"the fingerprint of {method} belongs to other settings, data or weights"
    return ""


def _finite(run: Run) -> str:
    arrays = {f"scores of {method}": run.scores(method) for method in run.info.methods}
    arrays["features"] = from_arrow_arrays(run.arrow("SELECT phi FROM features"), "phi")
    wrong = [name for name, values in arrays.items() if not np.isfinite(values).all()]
    if not all(np.isfinite(block.scores).all() for block in read_target_scores(run, run.info.n_train)):
        wrong.append("scores of other targets")
    return f"{', '.join(wrong)} hold numbers that are not finite" if wrong else ""


def _topk(run: Run) -> str:
    for method in run.info.methods:
        scores = run.scores(method)
        for side, sign in (("proponent", -1), ("opponent", 1)):
            columns = run.columns(
                "SELECT test_idx, rank, train_idx, score FROM topk WHERE method = ? AND side = ? "
                "ORDER BY test_idx, rank",
                [method, side],
            )
            k = min(TOP_K, run.info.n_train)
            expected = np.argsort(sign * scores, axis=1, kind="stable")[:, :k]
            if not np.array_equal(columns["train_idx"].reshape(-1, k), expected):
                return f"the {side}s of {method} are not the first {k} of its sorted scores"
            if not np.array_equal(columns["score"].reshape(-1, k), np.take_along_axis(scores, expected, axis=1)):
                return f"the {side}s of {method} have other scores than its score rows"
    return ""


def _lds(run: Run) -> str:
    if not run.has_lds:
        return ""
    masks, actual = subset_masks(run, "eval"), outcomes(run, "eval")
    fixed, reported = _fixed_counts(run, masks), reported_tests(run)
    ceilings = {"noise_ceiling": noise_ceiling_per_test(actual)}
    if fixed is not None:
        ceilings["fixed_ceiling"] = noise_ceiling_per_test(fixed.residuals(actual))
    for method in run.info.methods:
        again = _measured(predicted_outcomes(run.scores(method), masks), actual.mean(1), fixed)
        stored = run.columns(f"SELECT {STORED} FROM lds WHERE method = ? ORDER BY test_idx", [method])
        again = _as_kept(stored, again)
        if problem := _compare(
            method, stored, again | ceilings, _beats_controls(run, method, fixed), _cap(run, method)
        ):
            return problem
        summary = run.lds(method)
        means = {"LDS": (summary.mean, summary.ci_low, summary.ci_high, again["lds"])}
        if np.isfinite(summary.fixed):  # NULL in what an older version measured
            ends = (summary.fixed, summary.fixed_low, summary.fixed_high)
            means["LDS at fixed class counts"] = (*ends, again["lds_fixed"])
        for name, (mean, low, high, values) in means.items():
            measured = mean_defined(values[reported])
            if not np.isclose(mean, measured, atol=TOLERANCE, equal_nan=True):
                return f"{method}: a mean {name} of {mean:.4f} is stored, {measured:.4f} is measured"
            if np.isfinite(mean) and not low <= mean <= high:
                return f"{method}: the interval {low:.4f} to {high:.4f} of the {name} does not hold the mean"
    return ""


def _fixed_counts(run: Run, masks: NDArray[np.bool_]) -> FixedCounts | None:
    """The class counts of subsets, where LDS at fixed ones can be measured."""
    if len(np.unique(run.train_labels)) < 2:
        return None
    fixed = FixedCounts(group_counts(masks, run.train_labels))
    return fixed if fixed.can_be_measured else None


def _measured(
    predicted: NDArray[np.float64], actual: NDArray[np.float64], fixed: FixedCounts | None
) -> dict[str, NDArray[np.float64]]:
    """What is stored of LDS, measured again from predictions and outcomes `[n_subsets, n]`."""
    lds, low, _ = lds_with_interval(predicted, actual)
    found = {"lds": lds, "ci_low": low}
    if fixed is not None:
        found["lds_fixed"], found["fixed_low"], _ = lds_at_fixed_counts(predicted, actual, fixed)
    return found


def _as_kept(stored: dict[str, Any], again: dict[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
    """The same, but undefined where an older version left out what predicts nothing and counts as 0 now."""
    is_null = {name: np.ma.getmaskarray(stored[name]) for name in again}
    return {name: np.where(is_null[name] & (values == 0), np.nan, values) for name, values in again.items()}


def _beats_controls(run: Run, method: str, fixed: FixedCounts | None) -> bool | None:
    if run.rows("SELECT 1 FROM methods WHERE method = ? AND is_control", [method]):
        return False
    ends = run.control_comparisons(method)["ci_low" if fixed is None else "fixed_low"]
    return beats_controls(ends.tolist())


def _target_lds(run: Run) -> str:
    if not run.has_lds or run.info.provenance.get("outcomes_given"):
        return ""
    masks = subset_masks(run, "eval")
    fixed = _fixed_counts(run, masks)
    for block in read_target_scores(run, run.info.n_train):
        actual = read_target_outcomes(run, "eval", block.test_idx, block.target)
        again = _measured(predicted_outcomes(block.scores, masks), actual, fixed)
        stored = run.columns(
            f"SELECT {STORED} FROM target_lds WHERE method = ? AND test_idx BETWEEN ? AND ? ORDER BY test_idx, target",
            [block.method, int(block.test_idx[0]), int(block.test_idx[-1])],
        )
        again = _as_kept(stored, again)
        beats = _beats_controls(run, block.method, fixed)
        if problem := _compare("other targets", stored, again, beats, _cap(run, block.method)):
            return problem
    return ""


def _cap(run: Run, method: str) -> TrustLevel:
    """The highest trust that explanations by a method deserve."""
    alone = lds_alone(run, method)
    return "high" if alone is None else alone.cap


def _compare(
    what: str,
    stored: dict[str, Any],
    again: dict[str, NDArray[np.float64]],
    beats_controls: bool | None,
    cap: TrustLevel,
) -> str:
    """What of stored LDS columns differs from what is measured again; empty when nothing does."""
    values_of = {name: np.ma.filled(stored[name].astype(np.float64), np.nan) for name in (*again, "fixed_low")}
    is_older = np.isnan(values_of["fixed_low"]).all()  # nothing at fixed class counts was measured
    for column, values in again.items():
        if "fixed" in column and is_older:
            continue
        there = values_of[column]
        wrong = ~np.isclose(there, values, atol=TOLERANCE, equal_nan=True)
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            return f"{what}, row {row}: {column} {there[row]:.4f} is stored, {values[row]:.4f} is measured"
    ends = zip(values_of["ci_low"], values_of["fixed_low"], strict=True)
    trust = [trust_level(low, fixed_low, beats_controls, cap) for low, fixed_low in ends]
    # Older versions stored it without the cap, which counts wherever it is read.
    if trust != [capped(level, cap) for level in stored["trust"]]:
        return f"{what}: the words of trust do not follow from the intervals"
    return ""
