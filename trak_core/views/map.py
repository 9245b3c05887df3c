"""The map: where every example lies, what it can be coloured by, and who lies inside a drawn line."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trak_core.errors import InvalidSettingError
from trak_core.store.arrow import from_arrow_arrays
from trak_core.store.run import Run
from trak_core.views.browse import TestOverview
from trak_core.views.explanation import answer_target

Colour = Literal["class", "prediction", "loss", "self-influence", "verdict", "score"]
STEPS = 255
"""Steps of a colour scale, from 0 to 254."""
NO_STEP = 255
"""The step of an example that has no such value."""
VERDICTS = ("keep", "relabel", "exclude", "unsure", "not reviewed")
NUMBERS_AT_ONCE = 1 << 22

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class MapPoints:
    """Where every example lies: train examples first, then test examples, each by idx."""

    xy: NDArray[np.float32]  # coordinates, float32 `[n_train + n_test, 2]`; only nearness means anything
    labels: NDArray[np.int64]  # int64 `[n_train + n_test]`
    n_train: int  # number of train examples
    kind: str  # what made the coordinates, "UMAP" or, for very few examples, "PCA"


@dataclass(frozen=True)
class Colouring:
    """One colour an example, by class or by value."""

    by: Colour  # what decides the colour
    # of classes, places in `names`; of values, steps from 0 to 254, and 255 where there is none. int64 `[n]`.
    codes: NDArray[np.int64]
    names: tuple[str, ...] = ()  # of the classes; empty for values
    values: NDArray[np.float32] | None = None  # float32 `[n]`, NaN where there is none; None for classes
    # the values at both ends of the scale; what lies beyond has the colour of the end
    ends: tuple[float, float] = (0.0, 0.0)
    is_signed: bool = False  # True when the middle of the scale is zero


def map_points(run: Run) -> MapPoints | None:
    """Where every example lies; None when the map is not drawn yet."""
    rows = run.columns("SELECT split, x, y FROM layout WHERE space = 'gradients' ORDER BY split = 'test', idx")
    if len(rows["x"]) != run.info.n_train + run.info.n_test:
        return None
    return MapPoints(
        xy=np.column_stack([rows["x"], rows["y"]]).astype(np.float32),
        labels=np.concatenate([run.train_labels, run.test_labels]),
        n_train=run.info.n_train,
        kind=str((run.info.provenance.get("map") or {}).get("kind", "UMAP")),
    )


def points_inside(xy: NDArray[np.float32], polygon: Sequence[Sequence[float]]) -> NDArray[np.int64]:
    """Rising numbers of the points `[n, 2]` inside a closed line, by the even-odd rule.

    The line is given by its corners `[n_corners, 2]`, in order; the last is joined to the first.

    Raises:
        InvalidSettingError: the line has no inside, or is not made of numbers.
    """
    corners = np.asarray(polygon, dtype=np.float64)
    if corners.ndim != 2 or corners.shape[1] != 2 or len(corners) < 3 or not np.isfinite(corners).all():
        raise InvalidSettingError(f"polygon has shape {corners.shape}; give at least 3 corners of two numbers each.")
    points = xy.astype(np.float64)
    low, high = corners.min(0), corners.max(0)
    near = np.flatnonzero(((points >= low) & (points <= high)).all(1))  # the rest needs no further look
    x, y = points[near].T
    is_inside = np.zeros(len(near), dtype=bool)
    for (x1, y1), (x2, y2) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if y1 == y2:
            continue
        crosses = ((y1 > y) != (y2 > y)) & (x < x1 + (y - y1) * (x2 - x1) / (y2 - y1))
        is_inside ^= crosses
    return near[is_inside]


def train_answers(run: Run) -> NDArray[np.int64]:
    """The model's answers for all train examples, averaged over checkpoints: int64 `[n_train]`, -1 where not known.

    Where there are no classes they are 0, as labels are.
    """
    if not run.info.has_classes:
        return np.zeros(run.info.n_train, dtype=np.int64)
    ids = [row[0] for row in run.rows("SELECT checkpoint_id FROM checkpoints ORDER BY 1")]
    if not ids:
        return np.full(run.info.n_train, -1, dtype=np.int64)
    step = max(1, NUMBERS_AT_ONCE // (len(run.info.class_names) * len(ids)))
    query = (
        "SELECT probabilities FROM predictions WHERE split = 'train' AND idx >= ? AND idx < ? "
        "ORDER BY checkpoint_id, idx"
    )
    parts = []
    for start in range(0, run.info.n_train, step):
        found = from_arrow_arrays(run.arrow(query, [start, start + step]), "probabilities")
        parts.append(found.reshape(len(ids), -1, found.shape[1]).mean(0).argmax(1))
    return np.concatenate(parts)


def colour_options(run: Run, method: str) -> list[Colour]:
    """What examples can be coloured by: what the run has for the method."""
    has_loss = bool(run.rows("SELECT 1 FROM predictions WHERE split = 'train' AND loss IS NOT NULL LIMIT 1"))
    has_self_influence = bool(run.rows("SELECT 1 FROM self_influence WHERE method = ? LIMIT 1", [method]))
    known = {
        "class": run.info.has_classes,
        "prediction": run.info.has_classes and run.info.n_checkpoints > 0,
        "loss": has_loss,
        "self-influence": has_self_influence,
    }
    return [colour for colour in get_args(Colour) if known.get(colour, True)]


def colouring(
    run: Run,
    by: Colour,
    method: str,
    tests: TestOverview,
    answers: NDArray[np.int64],
    scores: NDArray[np.float32],
    verdicts: Mapping[int, str],
) -> Colouring:
    """The colour of every example by one of the `colour_options`.

    Answers are the `train_answers` of the run, scores `[n_train]` those for the chosen test example, verdicts those
    that stand, by train example; self-influence is that by the method.
    """
    missing = np.full(run.info.n_test, np.nan)
    if by == "class":
        return Colouring(by, np.concatenate([run.train_labels, run.test_labels]), run.info.class_names)
    if by == "prediction":
        return Colouring(by, np.concatenate([answers, tests.predicted]), run.info.class_names)
    if by == "verdict":
        codes = np.full(run.info.n_train + run.info.n_test, VERDICTS.index("not reviewed"))
        for train_idx, verdict in verdicts.items():
            codes[train_idx] = VERDICTS.index(verdict)
        return Colouring(by, codes, VERDICTS)
    if by == "loss":
        of_train = run.columns("SELECT avg(loss) AS v FROM predictions WHERE split = 'train' GROUP BY idx ORDER BY idx")
        return _scale(by, np.concatenate([_floats(of_train["v"]), tests.loss]))
    if by == "self-influence":
        own = run.columns("SELECT score FROM self_influence WHERE method = ? ORDER BY train_idx", [method])["score"]
        return _scale(by, np.concatenate([_floats(own), missing]))
    return _scale(by, np.concatenate([scores, missing]), is_signed=True)


def _floats(column: NDArray[np.float64]) -> Floats:
    return np.ma.filled(column.astype(np.float64), np.nan)


def _scale(by: Colour, values: Floats, is_signed: bool = False) -> Colouring:
    """Steps that the few largest values do not squeeze: beyond the hundredth part at an end, colours do not change."""
    known = values[np.isfinite(values)]
    if is_signed:
        # The root shows the sign of weak scores too: most are far from the strongest.
        end = float(np.quantile(np.abs(known), 0.995)) if len(known) else 0.0
        place = 0.5 + 0.5 * np.sign(values) * np.sqrt(np.clip(np.abs(values) / (end or 1.0), 0, 1))
        ends = (-end, end)
    else:
        low, high = (float(end) for end in np.quantile(known, (0.01, 0.99))) if len(known) else (0.0, 0.0)
        place, ends = np.sqrt(np.clip((values - low) / ((high - low) or 1.0), 0, 1)), (low, high)
    steps = np.where(np.isfinite(values), np.round(np.nan_to_num(place) * (STEPS - 1)), NO_STEP)
    return Colouring(by, steps.astype(np.int64), (), values.astype(np.float32), ends, is_signed)


def answer_scores(run: Run, tests: TestOverview, test_idx: int, method: str) -> tuple[NDArray[np.float32], int]:
    """Scores `[n_train]` for the model's own answer to a test example, and the target that they are of.

    Methods that explain default targets only explain that one, and so do all where the answer is not known.
    """
    target = answer_target(run, tests, test_idx, method)
    return run.score_row(test_idx, method, target), target


def map_table(points: MapPoints, colours: Colouring, picked: Sequence[int]) -> pd.DataFrame:
    """The map as a table, a row an example."""
    n = len(points.labels)
    is_train = np.arange(n) < points.n_train
    is_picked = np.zeros(n, dtype=bool)
    is_picked[list(picked)] = True
    values = [colours.names[code] for code in colours.codes] if colours.values is None else colours.values
    return pd.DataFrame(
        {
            "split": np.where(is_train, "train", "test"),
            "idx": np.where(is_train, np.arange(n), np.arange(n) - points.n_train),
            "x": points.xy[:, 0],
            "y": points.xy[:, 1],
            "label": points.labels,
            colours.by: values,
            "picked": is_picked,
        }
    )
