"""The way back: one train example, and what it does to the test examples."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trak_core.store.ranking import Side, strongest
from trak_core.store.run import Run
from trak_core.views.browse import train_probabilities
from trak_core.views.examples import Example, ScoredExample, read_examples, scored_examples
from trak_core.views.explanation import HUB_DEPTH

_TABLE = ["train_idx", "train_origin", "method", "effect", "test_idx", "score", "rank", "label_name", "test_origin"]
READ_WHOLE = 20_000_000
"""Up to so many scores a method, the scores of one train example are all read; above, only where they are strong."""


@dataclass(frozen=True)
class TrainingItem:
    """Everything that is shown about one train example."""

    example: Example  # the train example
    method: str  # that made the scores
    helped: list[ScoredExample]  # test examples whose label it raises most, strongest first
    hurt: list[ScoredExample]  # test examples whose label it lowers most, strongest first
    covers_all: bool  # False when only test examples were looked at that have it among their 100 strongest
    n_helped: int  # test examples that have it among their 20 strongest proponents
    n_hurt: int  # test examples that have it among their 20 strongest opponents
    hub_rank: int  # place among all train examples by how often they stand in such a list, 1 for the most often
    self_influence: float | None  # by the run's own method, None where it was not computed
    self_influence_rank: int | None  # 1 for the highest self-influence; None likewise
    n_train: int  # number of train examples
    # what the checkpoints answer for it on average; None where there are no classes or it is not kept
    guess_name: str | None
    p_label: float | None  # probability of its own label, averaged over checkpoints; None likewise

    @property
    def looks_wrong(self) -> bool:
        """True when the models, trained on this very label, still answer another one."""
        return self.guess_name is not None and self.guess_name != self.example.label_name


def training_item(run: Run, train_idx: int, method: str | None = None, k: int = 12) -> TrainingItem:
    """What one train example does by a method, the run's own by default, with `k` test examples on each side.

    Raises:
        NotInRunError: there is no such train example or method.
    """
    train_idx, method = run.check_train(train_idx), run.check_method(method)
    listed = run.rows(
        "SELECT test_idx, side, rank, score FROM topk WHERE method = ? AND train_idx = ? ORDER BY test_idx",
        [method, train_idx],
    )
    ranks = {(test_idx, side): rank for test_idx, side, rank, _ in listed}
    covers_all = run.info.n_train * run.info.n_test <= READ_WHOLE
    if covers_all:
        column = run.columns(
            'SELECT "values"[?] AS score FROM scores WHERE method = ? ORDER BY test_idx', [train_idx + 1, method]
        )["score"].astype(np.float64)
        tests = np.arange(len(column))
    else:
        strong = {test_idx: score for test_idx, _, _, score in listed}
        tests, column = np.array(list(strong), dtype=np.int64), np.array(list(strong.values()), dtype=np.float64)
    hubs = run.rows(
        "WITH hubs AS (SELECT train_idx, count(*) AS n FROM topk WHERE method = ? AND rank <= ? GROUP BY train_idx) "
        "SELECT 1 + count(*) FROM hubs WHERE n > coalesce((SELECT n FROM hubs WHERE train_idx = ?), 0)",
        [method, HUB_DEPTH, train_idx],
    )
    own = run.rows(
        "SELECT score, (SELECT 1 + count(*) FROM self_influence AS o WHERE o.method = s.method AND o.score > s.score) "
        "FROM self_influence AS s WHERE method = ? AND train_idx = ?",
        [run.info.method, train_idx],
    )
    example = read_examples(run, "train", [train_idx])[0]
    probabilities = train_probabilities(run, train_idx) if run.info.has_classes else None
    return TrainingItem(
        example=example,
        method=method,
        helped=_moved(run, tests, column, ranks, "proponent", k),
        hurt=_moved(run, tests, column, ranks, "opponent", k),
        covers_all=covers_all,
        n_helped=sum(side == "proponent" and rank <= HUB_DEPTH for (_, side), rank in ranks.items()),
        n_hurt=sum(side == "opponent" and rank <= HUB_DEPTH for (_, side), rank in ranks.items()),
        hub_rank=int(hubs[0][0]),
        self_influence=float(own[0][0]) if own else None,
        self_influence_rank=int(own[0][1]) if own else None,
        n_train=run.info.n_train,
        guess_name=None if probabilities is None else run.info.class_names[int(probabilities.argmax())],
        p_label=None if probabilities is None else float(probabilities[example.label]),
    )


def _moved(
    run: Run,
    tests: NDArray[np.int64],
    scores: NDArray[np.float64],
    ranks: dict[tuple[int, str], int],
    side: Side,
    k: int,
) -> list[ScoredExample]:
    """The strongest on one side; only scores of that side's sign count."""
    order = strongest(scores, side, min(k, len(scores)))
    kept = order[scores[order] > 0 if side == "proponent" else scores[order] < 0]
    found = scored_examples(run, "test", tests[kept].tolist(), scores[kept].tolist())
    return [replace(one, rank=ranks.get((one.example.idx, side))) for one in found]


def training_item_table(item: TrainingItem) -> pd.DataFrame:
    """The test examples shown, a row each."""
    rows = [
        {
            "train_idx": item.example.idx,
            "train_origin": item.example.origin,
            "method": item.method,
            "effect": effect,
            "test_idx": moved.example.idx,
            "score": moved.score,
            "rank": moved.rank,
            "label_name": moved.example.label_name,
            "test_origin": moved.example.origin,
        }
        for effect, side in (("helps", item.helped), ("hurts", item.hurt))
        for moved in side
    ]
    return pd.DataFrame(rows, columns=_TABLE)


def first_item(run: Run) -> int:
    """The train example to begin with: the one of the highest self-influence, or 0 where that is not known."""
    rows = run.rows(
        "SELECT train_idx FROM self_influence WHERE method = ? ORDER BY score DESC, train_idx LIMIT 1",
        [run.info.method],
    )
    return int(rows[0][0]) if rows else 0
