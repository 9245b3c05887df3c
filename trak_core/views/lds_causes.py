"""Why is LDS not higher? The causes that a run's own data shows."""

from collections.abc import Iterator
from dataclasses import dataclass

from trak_core.store.run import Run
from trak_core.views.evidence import Board

LOW_CEILING = 0.9
STILL_RISING = 0.01
SAME = 0.005
"""Two LDS that differ by less are the same in print."""
FEW_FEATURES = 4
"""A projection to fewer than `n_train / FEW_FEATURES` dimensions loses directions that examples differ in."""
LOOSE_TEST = 0.7
MANY_LOOSE = 0.1
GAP = 0.03
CLOSE = 0.95
"""Share of the noise ceiling from which on there is little left to explain."""


@dataclass(frozen=True)
class Cause:
    """One cause."""

    title: str  # what holds LDS back, in a few words
    text: str  # what the data shows, and what would help


def lds_by_ridge(run: Run) -> dict[float, float]:
    """LDS on the fitting subsets for each ridge that was tried, rising; empty where none was chosen."""
    tried = run.info.provenance.get("lds_by_ridge_on_fit_subsets") or {}
    return dict(sorted((float(ridge), float(lds)) for ridge, lds in tried.items()))


def ridge_note(tried: dict[float, float]) -> str:
    """Whether LDS still rises towards an edge of the ridges that were tried, as a sentence; empty where it does not."""
    ridges = list(tried)
    if len(ridges) < 2:
        return ""
    if max(tried.values()) - min(tried.values()) < SAME:
        return "LDS is the same for every ridge that was tried."
    best = max(ridges, key=lambda ridge: tried[ridge])
    if best not in (ridges[0], ridges[-1]):
        return ""
    beside = ridges[-2] if best == ridges[-1] else ridges[1]
    if tried[best] - tried[beside] < SAME:
        return ""
    which, other = ("largest", "larger") if best == ridges[-1] else ("smallest", "smaller")
    return f"The best ridge, {best:g}, is the {which} of those tried: a {other} one may do better."


def checkpoints_title(found: Board) -> str:
    """What more checkpoints do to LDS, as the intervals have it: they differ only where they do not overlap."""
    counts = sorted(found.by_checkpoints)
    first, last = found.by_checkpoints[counts[0]], found.by_checkpoints[counts[-1]]
    if last[1] > first[2]:
        return "More checkpoints, better scores"
    if last[2] < first[1]:
        return "More checkpoints, worse scores"
    if (enough := _enough_checkpoints(found)) < counts[-1]:
        return f"More checkpoints change little: {enough} would do"
    return "More checkpoints change little"


def _enough_checkpoints(found: Board) -> int:
    """The smallest number of checkpoints whose LDS is within rounding of that with all of them, or above it."""
    last = found.by_checkpoints[max(found.by_checkpoints)][0]
    return min(n for n, (lds, *_) in found.by_checkpoints.items() if lds >= last - SAME)


def why_title(run: Run, found: Board) -> str:
    """What the causes explain; nothing much where the LDS is close to the best possible."""
    share = found.row(run.info.method).lower_share
    return "LDS is close to the best possible" if share is not None and share >= CLOSE else "Why is LDS not higher?"


def no_cause(run: Run, found: Board) -> str:
    """What to say where no cause shows."""
    share = found.row(run.info.method).lower_share
    if share is None:
        return "The numbers of this run show no cause."
    reached = f"It reaches {min(max(share, 0.0), 1.0):.0%} of the noise ceiling."
    return reached if share >= CLOSE else f"The numbers of this run show no cause. {reached}"


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
    if len(counts) > 1 and found.by_checkpoints[counts[-1]][1] > found.by_checkpoints[counts[0]][2]:
        before, last = counts[-2:]
        gain = found.by_checkpoints[last][0] - found.by_checkpoints[before][0]
        if gain >= STILL_RISING:
            yield Cause(
                f"{last} checkpoints are not enough",
                f"From {before} to {last} of them LDS still rose by {gain:.3f}; more would help.",
            )
    if found.n_diverged:
        yield Cause(
            f"{found.n_diverged} retrained sets diverged",
            "They were skipped. A calmer training (a lower learning rate, more weight decay) answers changes of its "
            "data in a way that can be predicted.",
        )
    own = found.row(run.info.method)
    # Rules that see nothing of the model tell nothing of what the method lacks.
    best = next((row for row in found.rows if row.kind == "method"), own)
    if best.lds is None or own.lds is None or best.lds - own.lds < GAP:
        return
    if best.ci_low is None or own.ci_high is None or best.ci_low <= own.ci_high:
        return
    yield Cause(
        f"{best.title} reaches {best.lds:.2f} here",
        f"The same models can be predicted better: {best.lds - own.lds:.2f} of LDS is lost by the approximations of "
        f"{own.title}, not by noise.",
    )
    is_exact = "exact" in str(run.info.provenance.get("kernel", ""))
    if not is_exact and run.info.proj_dim * FEW_FEATURES < run.info.n_train:
        yield Cause(
            f"Gradients were projected to {run.info.proj_dim} dimensions",
            f"That is few beside {run.info.n_train:,} training examples and may be a part of what is lost; a larger "
            "projection dimension would tell.",
        )
