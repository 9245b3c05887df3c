"""How far scores made live follow the stored ones, on test examples that nothing was chosen on."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trak_core.evidence.lds import row_correlations
from trak_core.seeds import derive_seed
from trak_core.store.arrow import from_arrow_arrays
from trak_core.store.ranking import strongest
from trak_core.store.run import Run
from trak_core.store.run_ledger import reported_tests

Scores = NDArray[np.float32]
N_PROBES = 40
"""Test examples of each kind: enough for a mean correlation to two digits, few enough to score in a second."""
TOP = 20


@dataclass(frozen=True)
class Agreement:
    """Live scores beside stored ones."""

    spearman: float  # rank correlation over the train examples, mean over test examples
    top_overlap: float  # how many of the 20 strongest proponents are the same, mean over test examples
    n_top: int  # 20, or fewer where there are fewer train examples
    n_test: int  # test examples that it is measured on; no setting was chosen on them


@dataclass(frozen=True)
class Probe:
    """Test examples with their stored scores, to choose settings by or to measure on."""

    test_idx: NDArray[np.int64]  # int64 `[n]`
    targets: NDArray[np.int64]  # the class that is explained of each, int64 `[n]`
    stored: Scores  # scores `[n, n_train]`


def draw_probes(run: Run, other_class: bool) -> tuple[Probe, Probe]:
    """Test examples to choose on, and others to measure on, for their label or for another class.

    The first are of those that the run chose its own settings on, as far as there are any.
    """
    random = np.random.default_rng(derive_seed(0, "live attribution"))
    reported = reported_tests(run)
    if reported.all():
        reported = random.permutation(run.info.n_test) >= run.info.n_test // 2
    probes = []
    for among in (np.flatnonzero(~reported), np.flatnonzero(reported)):
        test_idx = np.sort(random.permutation(among)[:N_PROBES])
        targets = run.test_labels[test_idx]
        if other_class:
            targets = (targets + 1) % len(run.info.class_names)
        probes.append(_with_scores(run, test_idx, targets, other_class))
    return probes[0], probes[1]


def _with_scores(run: Run, test_idx: NDArray[np.int64], targets: NDArray[np.int64], other_class: bool) -> Probe:
    chosen = "SELECT unnest(?::INTEGER[]) AS test_idx, unnest(?::INTEGER[]) AS target"
    of_target = "USING (test_idx, target)" if other_class else "USING (test_idx)"
    table = run.arrow(
        f'SELECT test_idx, "values" FROM {"target_scores" if other_class else "scores"} '
        f"JOIN ({chosen}) AS chosen {of_target} WHERE method = 'trak' ORDER BY test_idx",
        [test_idx.tolist(), (targets + 1).tolist()],
    )
    found = np.isin(test_idx, table["test_idx"].to_numpy())
    return Probe(test_idx[found], targets[found], from_arrow_arrays(table, "values"))


def mean_spearman(live: Scores, stored: Scores) -> float:
    """Rank correlation of two matrices `[n, n_train]`, row by row, then the mean; undefined rows are skipped."""
    found = row_correlations(live, stored)
    defined = found[np.isfinite(found)]
    return float(defined.mean()) if len(defined) else float("nan")


def slope(live: Scores, stored: Scores) -> float:
    """The factor that brings live scores nearest to stored ones (least squares); 1 where that is undefined."""
    squares = float((live.astype(np.float64) ** 2).sum())
    factor = float((live.astype(np.float64) * stored).sum()) / squares if squares > 0 else 1.0
    return factor if factor > 0 else 1.0


def compare(live: Scores, stored: Scores) -> Agreement | None:
    """The agreement of two matrices `[n, n_train]`; None when there are no rows."""
    if not len(live):
        return None
    n_top = min(TOP, live.shape[1])
    tops = (strongest(each, "proponent", n_top) for each in (live, stored))
    shared = [len(np.intersect1d(one, other)) for one, other in zip(*tops, strict=True)]
    return Agreement(mean_spearman(live, stored), float(np.mean(shared)), n_top, len(live))
