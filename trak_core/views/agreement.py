"""Two methods on one question: do they name the same training examples?"""

import math
from dataclasses import dataclass

from trak_core.evidence import row_correlations
from trak_core.store.run import Run
from trak_core.views.explanation import Attributed, Explanation


@dataclass(frozen=True)
class SideBySide:
    """How far two explanations of the same test example and target agree."""

    # Spearman correlation of all scores; None where one method scores all train examples alike
    rank_correlation: float | None
    shared_proponents: frozenset[int]  # train examples among the proponents of both
    shared_opponents: frozenset[int]  # train examples among the opponents of both
    contrary: frozenset[int]  # train examples that are a proponent of one and an opponent of the other
    k: int  # length of the lists that were compared


def side_by_side(run: Run, one: Explanation, other: Explanation) -> SideBySide:
    """The agreement of two explanations of the same test example.

    Args:
        run: of both.
        one: by a method.
        other: by another.
    """
    rows = [run.score_row(e.example.idx, e.method, e.target) for e in (one, other)]
    correlation = float(row_correlations(rows[0][None], rows[1][None])[0])
    proponents, opponents = ([_ids(e.proponents) for e in (one, other)], [_ids(e.opponents) for e in (one, other)])
    return SideBySide(
        rank_correlation=None if math.isnan(correlation) else correlation,
        shared_proponents=proponents[0] & proponents[1],
        shared_opponents=opponents[0] & opponents[1],
        contrary=(proponents[0] & opponents[1]) | (opponents[0] & proponents[1]),
        k=len(one.proponents),
    )


def _ids(items: list[Attributed]) -> frozenset[int]:
    return frozenset(item.example.idx for item in items)
