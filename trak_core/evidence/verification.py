"""Checks that a run says the same thing in all its parts; reads only."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from trak_core.errors import TrakCoreError
from trak_core.evidence.lds import lds_per_test, predicted_outcomes
from trak_core.store.arrow import from_arrow_arrays
from trak_core.store.files import RunFiles
from trak_core.store.run import Run

__all__ = ["Check", "verify"]


@dataclass(frozen=True)
class Check:
    """One check of a run.

    Attributes:
        name: what is claimed.
        ok: whether it holds.
        detail: what was found instead, empty when it holds.
    """

    name: str
    ok: bool
    detail: str


def verify(run: Run) -> list[Check]:
    """Every check of a run, in order; a store that cannot be read fails a check rather than raising."""
    checks: list[tuple[str, Callable[[Run], str]]] = [
        ("every table has as many rows as the run needs", _row_counts),
        ("checkpoints are the files that were trained", _checkpoint_files),
        ("scores and features are finite", _finite),
        ("top lists are the ends of the score rows", _topk),
        ("the stored LDS is the LDS of the stored scores and outcomes", _lds),
    ]
    return [_check(name, check, run) for name, check in checks]


def _check(name: str, check: Callable[[Run], str], run: Run) -> Check:
    try:
        problem = check(run)
    except TrakCoreError as error:
        problem = str(error)
    return Check(name, not problem, problem)


def _row_counts(run: Run) -> str:
    info = run.info
    n_examples = info.n_train + info.n_test
    expected = {
        "examples": n_examples,
        "predictions": info.n_checkpoints * n_examples,
        "features": info.n_checkpoints * n_examples,
        "scores": len(info.methods) * info.n_test,
        "methods": len(info.methods),
    }
    if run.info.provenance.get("complete"):
        n_subsets, n_seeds = info.provenance["n_subsets"], info.provenance["n_seeds"]
        expected |= {
            "subsets": n_subsets,
            "outcomes": n_subsets * n_seeds * info.n_test,
            "lds": len(info.methods) * info.n_test,
        }
    wrong = []
    for table, wanted in expected.items():
        found = run.rows(f"SELECT count(*) FROM {table}")[0][0]
        if found != wanted:
            wrong.append(f"{table} has {found} rows instead of {wanted}")
    return "; ".join(wrong)


def _checkpoint_files(run: Run) -> str:
    files = RunFiles(run.path)
    wrong = []
    for checkpoint_id, expected in run.rows("SELECT checkpoint_id, sha256 FROM checkpoints ORDER BY 1"):
        path = files.checkpoint(checkpoint_id)
        if not path.exists():
            wrong.append(f"{path.name} is missing")
        elif hashlib.sha256(path.read_bytes()).hexdigest() != expected:
            wrong.append(f"{path.name} has other content than the weights that the scores were made with")
    return "; ".join(wrong)


def _finite(run: Run) -> str:
    wrong = [method for method in run.info.methods if not np.isfinite(run.scores(method)).all()]
    features = from_arrow_arrays(run.arrow("SELECT phi FROM features"), "phi")
    problems = [f"scores of {method} hold numbers that are not finite" for method in wrong]
    if not np.isfinite(features).all():
        problems.append("features hold numbers that are not finite")
    return "; ".join(problems)


def _topk(run: Run) -> str:
    for method in run.info.methods:
        scores = run.scores(method)
        for side, sign in (("proponent", -1), ("opponent", 1)):
            columns = run.columns(
                "SELECT test_idx, rank, train_idx, score FROM topk WHERE method = ? AND side = ? "
                "ORDER BY test_idx, rank",
                [method, side],
            )
            k = int(columns["rank"].max())
            expected = np.argsort(sign * scores, axis=1, kind="stable")[:, :k]
            if not np.array_equal(columns["train_idx"].reshape(-1, k), expected):
                return f"the {side}s of {method} are not the first {k} of its sorted scores"
            if not np.array_equal(columns["score"].reshape(-1, k), np.take_along_axis(scores, expected, axis=1)):
                return f"the {side}s of {method} have other scores than its score rows"
    return ""


def _lds(run: Run) -> str:
    if not run.has_lds:
        return ""
    masks, actual = run.subset_masks("eval"), run.mean_outcomes("eval")
    for method in run.info.methods:
        again = lds_per_test(predicted_outcomes(run.scores(method), masks), actual)
        stored = run.lds(method).per_test
        if not np.allclose(again, stored, atol=1e-6, equal_nan=True):
            worst = int(np.nanargmax(np.abs(again - stored)))
            return f"{method}, test example {worst}: {stored[worst]:.4f} is stored, {again[worst]:.4f} is measured"
    return ""
