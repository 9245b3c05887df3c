"""Why is LDS not higher? The causes that a run's own data shows."""

from dataclasses import dataclass

from trak_core.store.run import Run
from trak_core.views.evidence import Board

LOW_CEILING = 0.9
STILL_RISING = 0.01
FEW_FEATURES = 4
"""A projection to fewer than `n_train / FEW_FEATURES` dimensions loses directions that examples differ in."""
LOOSE_TEST = 0.7
MANY_LOOSE = 0.1
GAP = 0.03


@dataclass(frozen=True)
class Cause:
    """One cause."""

    title: str  # what holds LDS back, in a few words
    text: str  # what the data shows, and what would help


def lds_by_ridge(run: Run) -> dict[float, float]:
    """LDS on the fitting subsets for each ridge that was tried, rising; empty where none was chosen."""
    tried = run.info.provenance.get("lds_by_ridge_on_fit_subsets") or {}
    return dict(sorted((float(ridge), float(lds)) for ridge, lds in tried.items()))


def lds_causes(run: Run, found: Board) -> list[Cause]:
    """What keeps the LDS of the run's own method down, the largest effect on the measure itself first.

    Args:
        run: with evidence.
        found: its `board`.
    """
    asked = (
        _ceiling(found),
        _loose_tests(run, found),
        _checkpoints(found),
        _projection(run),
        _diverged(found),
        _method(run, found),
    )
    return [cause for cause in asked if cause is not None]


def _ceiling(found: Board) -> Cause | None:
    if found.noise_ceiling is None or found.noise_ceiling >= LOW_CEILING:
        return None
    return Cause(
        f"The ceiling is {found.noise_ceiling:.2f}",
        f"Models retrained on the same half differ by chance, and each half has {found.n_seeds} of them. More seeds "
        "raise what any method can reach.",
    )


def _loose_tests(run: Run, found: Board) -> Cause | None:
    """Test examples whose margin hardly depends on the data, measured by their own ceiling."""
    if found.n_seeds < 2:  # then no ceiling is known, rather than a low one
        return None
    n_all, n_loose = run.rows(
        "SELECT count(*), count(*) FILTER (noise_ceiling IS NULL OR noise_ceiling < ?) FROM lds WHERE method = ?",
        [LOOSE_TEST, run.info.method],
    )[0]
    if not n_all or n_loose / n_all < MANY_LOOSE:
        return None
    return Cause(
        f"{n_loose} of {n_all} margins hardly move",
        f"For these test examples the ceiling lies below {LOOSE_TEST}: whichever half a model learns from, it says the "
        "same, and chance decides the order. Their LDS says little about the scores.",
    )


def _checkpoints(found: Board) -> Cause | None:
    counts = sorted(found.by_checkpoints)
    if len(counts) < 2:
        return Cause(
            "One checkpoint only", "Scores averaged over several checkpoints, trained with other seeds, are steadier."
        )
    before, last = counts[-2:]
    gain = found.by_checkpoints[last][0] - found.by_checkpoints[before][0]
    if gain < STILL_RISING:
        return None
    return Cause(
        f"{last} checkpoints are not enough",
        f"From {before} to {last} of them LDS still rose by {gain:.3f}; more would help.",
    )


def _projection(run: Run) -> Cause | None:
    kernel = str(run.info.provenance.get("kernel", ""))
    if "exact" in kernel or run.info.proj_dim * FEW_FEATURES >= run.info.n_train:
        return None
    return Cause(
        f"Gradients were projected to {run.info.proj_dim} dimensions",
        f"That is few beside {run.info.n_train:,} training examples; a larger projection dimension tells more of them "
        "apart.",
    )


def _diverged(found: Board) -> Cause | None:
    if not found.n_diverged:
        return None
    return Cause(
        f"{found.n_diverged} retrained sets diverged",
        "They were left out. A calmer training (a lower learning rate, more weight decay) answers changes of its data "
        "in a way that can be predicted.",
    )


def _method(run: Run, found: Board) -> Cause | None:
    own = next(row for row in found.rows if row.method == run.info.method)
    best = found.rows[0]
    if best.lds is None or own.lds is None or best.lds - own.lds < GAP:
        return None
    return Cause(
        f"{best.title} reaches {best.lds:.2f} here",
        f"{own.title} looks at the models where training ended and takes them for straight lines; on this run that "
        f"costs {best.lds - own.lds:.2f} of LDS.",
    )
