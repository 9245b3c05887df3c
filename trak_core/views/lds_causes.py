"""Why is LDS not higher? The causes that a run's own data shows."""

from collections.abc import Iterator
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
    """What keeps the LDS of the run's own method down, the largest effect on the measure itself first."""
    return list(_causes(run, found))


def _causes(run: Run, found: Board) -> Iterator[Cause]:
    if found.noise_ceiling is not None and found.noise_ceiling < LOW_CEILING:
        yield Cause(
            f"The ceiling is {found.noise_ceiling:.2f}",
            f"Models retrained on the same half differ by chance, and each half has {found.n_seeds} of them. More "
            "seeds raise what any method can reach.",
        )
    n_all, n_loose = run.rows(
        "SELECT count(*), count(*) FILTER (noise_ceiling IS NULL OR noise_ceiling < ?) FROM lds WHERE method = ?",
        [LOOSE_TEST, run.info.method],
    )[0]
    # With one seed no ceiling is known, rather than a low one.
    if found.n_seeds > 1 and n_all and n_loose / n_all >= MANY_LOOSE:
        yield Cause(
            f"{n_loose} of {n_all} margins hardly move",
            f"For these test examples the ceiling lies below {LOOSE_TEST}: whichever half a model learns from, it says "
            "the same, and chance decides the order. Their LDS says little about the scores.",
        )
    counts = sorted(found.by_checkpoints)
    if len(counts) < 2:
        yield Cause(
            "One checkpoint only", "Scores averaged over several checkpoints, trained with other seeds, are steadier."
        )
    else:
        before, last = counts[-2:]
        gain = found.by_checkpoints[last][0] - found.by_checkpoints[before][0]
        if gain >= STILL_RISING:
            yield Cause(
                f"{last} checkpoints are not enough",
                f"From {before} to {last} of them LDS still rose by {gain:.3f}; more would help.",
            )
    is_exact = "exact" in str(run.info.provenance.get("kernel", ""))
    if not is_exact and run.info.proj_dim * FEW_FEATURES < run.info.n_train:
        yield Cause(
            f"Gradients were projected to {run.info.proj_dim} dimensions",
            f"That is few beside {run.info.n_train:,} training examples; a larger projection dimension tells more of "
            "them apart.",
        )
    if found.n_diverged:
        yield Cause(
            f"{found.n_diverged} retrained sets diverged",
            "They were skipped. A calmer training (a lower learning rate, more weight decay) answers changes of its "
            "data in a way that can be predicted.",
        )
    own, best = next(row for row in found.rows if row.method == run.info.method), found.rows[0]
    if best.lds is not None and own.lds is not None and best.lds - own.lds >= GAP:
        yield Cause(
            f"{best.title} reaches {best.lds:.2f} here",
            f"{own.title} looks at the models where training ended and uses a linear approximation of them; on this "
            f"run that costs {best.lds - own.lds:.2f} of LDS.",
        )
