"""The map of a run: every example as a point, near those that move the model along the same line.

Gradients of labels fall into one heap a label when they are compared by their cosine, whatever the example looks like:
the label decides their sign and their largest directions. So the large directions are whitened, as the kernel of
TRAK does, and the sign is left out: an example that the model takes for another class pulls against that class
along the same line, and comes to lie between the two. Nearest neighbours are exact; UMAP draws them in two dimensions.
"""

import importlib.util
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trak_core.seeds import derive_seed
from trak_core.store.writer import StoreWriter

SPACE = "gradients"
MAX_CHECKPOINTS = 4
DIRECTIONS = 128
"""Of each checkpoint. More of both costs time and changes little: nearest neighbours are computed between all pairs."""
MAX_WIDTH = 1024
"""Wider features are folded to this width first, so that their second moments fit into memory."""
WHITENING = 0.01
"""Added to the second moments before they are whitened, in units of their mean."""
N_NEIGHBORS = 20
MIN_FOR_UMAP = 10
N_LANDMARKS = 200
NUMBERS_AT_ONCE = 1 << 24
COMPILED, UNCOMPILED, AN_EXAMPLE = 3.0, 25.0, 4e-3
"""Seconds: of importing UMAP where what it compiles is on the disk, of the first time, and of drawing an example."""

Rows = NDArray[np.float32]


def map_tables(writer: StoreWriter) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Rows of the table `layout`, and the entry of `meta` that tells how they came about, from stored features."""
    query = "SELECT count(*) FILTER (split = 'train') AS train, count(*) FILTER (split = 'test') AS test FROM examples"
    counts = {split: int(n[0]) for split, n in writer.columns(query).items()}
    checkpoints = writer.columns("SELECT checkpoint_id FROM checkpoints ORDER BY checkpoint_id")["checkpoint_id"]
    used = checkpoints[:MAX_CHECKPOINTS].tolist()
    rows = np.concatenate([_whitened(_features(writer, i, counts)) for i in used], axis=1) / np.sqrt(len(used))
    points, kind = lay_out(rows, derive_seed(writer.meta("seed") or 0, "map"))
    layout = {
        "split": np.repeat(list(counts), list(counts.values())),
        "idx": np.concatenate([np.arange(n) for n in counts.values()]),
        "space": np.repeat(SPACE, len(points)),
        "x": points[:, 0],
        "y": points[:, 1],
    }
    return {"layout": layout}, {"map": {"kind": kind, "n_checkpoints": len(used), "n_neighbors": N_NEIGHBORS}}


def seconds_of_map(n_examples: int) -> float:
    """About what drawing the map of so many examples takes on two CPU cores."""
    found = importlib.util.find_spec("umap")
    is_compiled = (
        found is not None
        and found.origin is not None
        and any(Path(found.origin).parent.glob("__pycache__/layouts._optimize_layout_euclidean_single_epoch-*.nbc"))
    )
    return (COMPILED if is_compiled else UNCOMPILED) + AN_EXAMPLE * n_examples


def _features(writer: StoreWriter, checkpoint_id: int, counts: dict[str, int]) -> Rows:
    """Unit rows `[n_train + n_test, width]` of one checkpoint, folded where they are wide; zero rows stay zero."""
    proj_dim = int(writer.meta("proj_dim"))
    fold = _folding(proj_dim, derive_seed(writer.meta("seed") or 0, "folding", checkpoint_id))
    step = max(1, NUMBERS_AT_ONCE // proj_dim)
    query = "SELECT phi FROM features WHERE checkpoint_id = ? AND split = ? AND idx >= ? AND idx < ? ORDER BY idx"
    return np.concatenate(
        [
            fold(writer.arrays(query, "phi", [checkpoint_id, split, start, start + step]))
            for split, n in counts.items()
            for start in range(0, n, step)
        ]
    )


def _folding(proj_dim: int, seed: int) -> Callable[[Rows], Rows]:
    """Random signs, then sums of every few columns: inner products stay what they are on average."""
    if proj_dim <= MAX_WIDTH:
        return _unit
    random = np.random.default_rng(seed)
    signs = random.choice(np.array([-1, 1], dtype=np.float32), proj_dim)
    order = random.permutation(proj_dim)
    starts = np.linspace(0, proj_dim, MAX_WIDTH, endpoint=False).astype(np.int64)
    return lambda phi: _unit(np.add.reduceat((phi * signs)[:, order], starts, axis=1))


def _unit(rows: Rows) -> Rows:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0))


def _whitened(rows: Rows) -> Rows:
    """The rows in their largest directions, each direction scaled to about the same size, as unit rows."""
    moments = rows.T.astype(np.float64) @ rows / len(rows)
    sizes, directions = np.linalg.eigh(moments)  # rising
    scale = 1 / np.sqrt(np.clip(sizes, 0, None) + WHITENING * max(sizes.mean(), 1e-30))
    kept = (directions * scale)[:, -DIRECTIONS:]
    return _unit(np.asarray(rows @ kept, dtype=np.float32))


def lay_out(rows: Rows, seed: int) -> tuple[NDArray[np.float32], str]:
    """Points `[n, 2]` and what made them, "UMAP" or, below 10 examples, "PCA"; the same seed gives the same points.

    Two of the unit rows `[n, width]` are near when their inner product is far from zero, whatever its sign.
    """
    start = _first_guess(rows, seed)
    if len(rows) < MIN_FOR_UMAP:
        return start, "PCA"
    with warnings.catch_warnings():
        # Of optional parts that are not installed, and of what can not be done with a map once it is drawn.
        warnings.simplefilter("ignore", ImportWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.filterwarnings("ignore", message="precomputed_knn")
        import numba
        import umap  # type: ignore[import-untyped]  # takes seconds
        from umap import layouts, umap_

        # Without it they are compiled in every process, which takes most of the time of a small map.
        slow = (
            umap_.smooth_knn_dist,
            umap_.compute_membership_strengths,
            layouts._nb_optimize_layout_euclidean_single_epoch,
        )
        with suppress(RuntimeError):  # nothing may be written where numba would keep it
            for function in slow:
                function.enable_caching()
        # Its other layer shares OpenMP with torch, and would leave torch with another number of threads.
        numba.config.THREADING_LAYER = "workqueue"  # type: ignore[attr-defined]
        n_neighbors = min(N_NEIGHBORS, len(rows) - 1)
        model = umap.UMAP(
            n_neighbors=n_neighbors,
            min_dist=0.3,
            init=start,
            random_state=seed % 2**32,
            n_jobs=1,
            precomputed_knn=_neighbours(rows, n_neighbors),
            force_approximation_algorithm=True,  # small sets would be compared anew, by another measure
        )
        return np.asarray(model.fit_transform(rows), dtype=np.float32), "UMAP"


def _first_guess(rows: Rows, seed: int) -> NDArray[np.float32]:
    """The two main directions `[n, 2]` of similarity to a few examples, from -10 to 10."""
    n = len(rows)
    random = np.random.default_rng(seed)
    landmarks = random.choice(n, min(n, N_LANDMARKS), replace=False)
    similarity = np.abs(rows @ rows[landmarks].T)
    similarity -= similarity.mean(0)
    _, directions = np.linalg.eigh(similarity.T.astype(np.float64) @ similarity)
    points = np.zeros((n, 2))
    main = similarity @ directions[:, ::-1][:, :2]
    points[:, : main.shape[1]] = main
    # Doubles begin side by side rather than in one place, which UMAP divides by.
    jitter = random.normal(0, 1e-3, (n, 2))
    return np.asarray(10 * points / max(np.abs(points).max(), 1e-30) + jitter, dtype=np.float32)


def _neighbours(rows: Rows, k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The `k` nearest of every row, itself first, and their distances, both `[n, k]`."""
    n = len(rows)
    found, distances = np.empty((n, k), dtype=np.int64), np.empty((n, k), dtype=np.float32)
    step = max(1, NUMBERS_AT_ONCE // n)
    for start in range(0, n, step):
        similarity = np.abs(rows[start : start + step] @ rows.T)
        at = np.arange(len(similarity))
        similarity[at, start + at] = 2  # before its doubles
        nearest = np.argpartition(-similarity, k - 1, axis=1)[:, :k]
        values = np.take_along_axis(similarity, nearest, axis=1)
        order = np.lexsort((nearest, -values), axis=1)
        found[start : start + step] = np.take_along_axis(nearest, order, axis=1)
        distances[start : start + step] = np.clip(1 - np.take_along_axis(values, order, axis=1), 0, 1)
    return found, distances
