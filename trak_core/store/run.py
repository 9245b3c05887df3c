"""A read-only view of a published run.

A `Run` is a snapshot: it goes on showing what was published when it was opened, also while a newer store takes its
place. `generation` tells when to open it again.
"""

import json
import math
import operator
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import duckdb
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trak_core.errors import (
    InvalidSettingError,
    NotInRunError,
    RunMismatchError,
    RunNotFoundError,
    RunNotReadyError,
    StoreDamagedError,
    StoreVersionError,
    TrakCoreError,
)
from trak_core.store.answers import Answers
from trak_core.store.arrow import from_arrow_arrays
from trak_core.store.connection import attach, reading
from trak_core.store.files import RunFiles
from trak_core.store.masks import unpack_masks
from trak_core.store.ranking import Side, strongest
from trak_core.store.schema import SCHEMA_VERSION

__all__ = ["Lds", "Run", "RunInfo", "generation", "is_finished", "open_run"]

Fetched = TypeVar("Fetched")


@dataclass(frozen=True)
class RunInfo:
    """What a run is.

    Attributes:
        name: of the run.
        recipe: that made it.
        title: of the data, for people.
        modality: "image" or "text".
        class_names: in the order of the labels.
        n_train: number of train examples; n_test, n_checkpoints and proj_dim likewise.
        n_test: number of test examples.
        n_checkpoints: models that attribution averages over.
        proj_dim: dimension of the stored features.
        method: the method that pages show first.
        methods: all methods with scores, that one first.
        provenance: every key of the meta table.
    """

    name: str
    recipe: str
    title: str
    modality: str
    class_names: tuple[str, ...]
    n_train: int
    n_test: int
    n_checkpoints: int
    proj_dim: int
    method: str
    methods: tuple[str, ...]
    provenance: dict[str, Any]

    @property
    def has_classes(self) -> bool:
        """False for regression and the like: there is one model output to explain, and labels are targets."""
        return len(self.class_names) > 1

    @property
    def is_projected(self) -> bool:
        """True when the kernel was solved with projected gradients, because whole ones would not have fitted."""
        return str(self.provenance.get("kernel", "")).startswith("projected")

    @property
    def came_about(self) -> str:
        """How a run came about of which nothing tells how its models were trained, as the end of "the run was ..."."""
        return "imported from scores made elsewhere" if self.provenance.get("imported") else "saved from Python"


@dataclass(frozen=True)
class Lds:
    """The linear datamodeling score of a method, over the run's reporting subsets.

    Attributes:
        mean: over test examples.
        ci_low: lower end of the 95% bootstrap interval of the mean.
        ci_high: upper end.
        noise_ceiling: the highest mean LDS that any method can reach against this ledger.
        per_test: float64 `[n_test]`, NaN where undefined.
        n_subsets: subsets that it is measured over.
        n_seeds: models retrained on each.
    """

    mean: float
    ci_low: float
    ci_high: float
    noise_ceiling: float
    per_test: NDArray[np.float64]
    n_subsets: int
    n_seeds: int


def generation(run_dir: Path) -> tuple[int, int, int] | None:
    """A value that changes whenever a new store is published; None when there is none."""
    try:
        status = RunFiles(run_dir).store.stat()
    except OSError:
        return None
    return (status.st_ino, status.st_mtime_ns, status.st_size)


def open_run(run_dir: str | Path) -> "Run":
    """A read-only view of the run in a directory.

    Raises:
        RunNotFoundError: there is no such run.
        RunNotReadyError: its first build has published nothing yet.
        StoreDamagedError: the store cannot be read.
        StoreVersionError: the store has another schema version.
    """
    return Run(Path(run_dir))


def is_finished(files: RunFiles, fingerprint: str, otherwise: str) -> bool:
    """True when the published run has this fingerprint and nothing is left to be tidied up; False where there is none.

    Args:
        files: of the run.
        fingerprint: of what is to be written.
        otherwise: what to say where another run has the place.

    Raises:
        RunMismatchError: the run that is there has another fingerprint.
    """
    if not files.store.exists():
        return False
    with open_run(files.run_dir) as run:
        if fingerprint in (run.info.provenance["fingerprint"], run.info.provenance.get("saved_as")):
            return not files.build.exists() or files.plan.exists()  # with a plan, evidence is being built for it
    raise RunMismatchError(otherwise)


class Run:
    """A published run. Made by `open_run`; can be used from many threads at once."""

    def __init__(self, run_dir: Path) -> None:
        self.path = run_dir
        files = RunFiles(run_dir)
        self.store_file = files.store
        if not files.store.exists():
            if files.build.exists():
                raise RunNotReadyError(
                    f"run {run_dir.name!r} has nothing to show yet: its build is not far enough. Wait for it, or give "
                    "its build command again if it was stopped."
                )
            raise RunNotFoundError(f"there is no run at {run_dir}.")
        self.generation = generation(run_dir)
        self._connection = attach(files.store)
        self._lock = threading.Lock()
        self._idle_cursors: deque[duckdb.DuckDBPyConnection] = deque()
        self._answers = Answers()
        self._score_cache: dict[str, NDArray[np.float32]] = {}
        self._labels: dict[str, NDArray[np.int64]] = {}
        try:
            self.info = self._read_info()
        except (KeyError, ValueError, TypeError, duckdb.Error) as error:
            self._connection.close()
            if isinstance(error, TrakCoreError):
                raise
            raise StoreDamagedError(
                f"{self.store_file} contradicts itself ({type(error).__name__}: {error}); restore it from a copy, or "
                "delete the run's folder and give its build command again."
            ) from error
        except BaseException:
            self._connection.close()
            raise

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of the store file."""
        while self._idle_cursors:
            self._idle_cursors.pop().close()
        self._answers = Answers()
        self._connection.close()

    # --- matrices and tables ------------------------------------------------------------------------------

    def scores(self, method: str | None = None) -> NDArray[np.float32]:
        """Scores `[n_test, n_train]` float32 for the label of each test example.

        Raises:
            NotInRunError: the run has no such method.
        """
        method = self.check_method(method)
        if method not in self._score_cache:
            table = self.arrow('SELECT "values" FROM scores WHERE method = ? ORDER BY test_idx', [method])
            self._score_cache[method] = from_arrow_arrays(table, "values")
        return self._score_cache[method]

    def score_row(
        self, test_idx: int, method: str | None = None, asked_class: int | None = None
    ) -> NDArray[np.float32]:
        """Scores `[n_train]` float32 that explain one test example.

        Args:
            test_idx: of the test example.
            method: the run's own method by default.
            asked_class: the class whose model output is explained; the label by default.

        Raises:
            NotInRunError: there is no such test example, method or class, or the method has no scores for classes
                other than the label.
        """
        test_idx, method = self.check_test(test_idx), self.check_method(method)
        if asked_class is None or asked_class == self.label("test", test_idx):
            table = self.arrow('SELECT "values" FROM scores WHERE method = ? AND test_idx = ?', [method, test_idx])
        else:
            table = self.arrow(
                'SELECT "values" FROM class_scores WHERE method = ? AND test_idx = ? AND asked_class = ?',
                [method, test_idx, self.check_class(asked_class)],
            )
        if table.num_rows == 0:
            raise NotInRunError(
                f"method {method!r} has no scores of test example {test_idx} for class {asked_class}; it explains the "
                "label only."
            )
        return np.asarray(from_arrow_arrays(table, "values")[0])

    def proponents(
        self, test_idx: int, k: int = 20, method: str | None = None, asked_class: int | None = None
    ) -> pd.DataFrame:
        """The `k` train examples with the highest scores, best first.

        Returns:
            A table with the columns rank (from 1), train_idx, score, label, label_name. Equal scores are ordered by
            train_idx.

        Raises:
            NotInRunError: as `score_row`.
        """
        return self._extreme(test_idx, k, method, asked_class, "proponent")

    def opponents(
        self, test_idx: int, k: int = 20, method: str | None = None, asked_class: int | None = None
    ) -> pd.DataFrame:
        """The `k` train examples with the lowest scores, lowest first; otherwise like `proponents`."""
        return self._extreme(test_idx, k, method, asked_class, "opponent")

    def _extreme(self, test_idx: int, k: int, method: str | None, asked_class: int | None, side: Side) -> pd.DataFrame:
        if k < 1:
            raise InvalidSettingError(f"k={k}; ask for at least 1 train example.")
        row = self.score_row(test_idx, method, asked_class)
        order = strongest(row, side, k)
        labels = self.train_labels[order]
        return pd.DataFrame(
            {
                "rank": np.arange(1, len(order) + 1),
                "train_idx": order,
                "score": row[order],
                "label": labels,
                "label_name": self._label_names(order, labels),
            }
        )

    def _label_names(self, train_idx: NDArray[np.int64], labels: NDArray[np.int64]) -> list[str]:
        if self.info.has_classes:
            return [self.info.class_names[label] for label in labels]
        rows = self.rows(
            "SELECT idx, label_name FROM examples WHERE split = 'train' AND idx IN (SELECT unnest(?::INTEGER[]))",
            [train_idx.tolist()],
        )
        targets = dict(rows)
        return [targets[idx] for idx in train_idx.tolist()]

    def attribute(self, inputs: Any, labels: Any = None, method: str = "trak") -> NDArray[np.float32]:
        """Live scores `[m, n_train]` float32 of new inputs, in the unit of the stored scores for labels.

        The first call prepares the run's model, which takes seconds; later ones take milliseconds an input.

        Args:
            inputs: array or tensor `[m, ...]` as the model takes them, or texts for a run of texts.
            labels: the classes asked about `[m]`; None asks about the class that the model answers.
            method: "trak"; no other method can score new inputs.

        Raises:
            NotInRunError: the run has no such method.
            NeedNotMetError: the method cannot score new inputs, or the run has no recipe or no checkpoints.
            RunMismatchError: the data or a checkpoint is not what the run was made with.
            InvalidDataError: the inputs or labels cannot be taken; the message says why.
        """
        from trak_core.live.attribution import attribute_inputs  # brings torch in, which reading does not need

        return attribute_inputs(self, inputs, labels, method)

    def lds(self, method: str | None = None) -> Lds:
        """The LDS of a method with all checkpoints.

        Raises:
            NotInRunError: the run has no such method, or no evidence yet.
        """
        method = self.check_method(method)
        summary = self.rows(
            "SELECT lds, ci_low, ci_high, noise_ceiling, n_subsets, n_seeds FROM lds_summary "
            "WHERE method = ? ORDER BY n_checkpoints DESC LIMIT 1",
            [method],
        )
        if not summary:
            raise NotInRunError(
                f"run {self.info.name!r} has no LDS for method {method!r} yet; it joins when its build has finished."
            )
        per_test = self.columns("SELECT lds FROM lds WHERE method = ? ORDER BY test_idx", [method])["lds"]
        lds, low, high, ceiling = (math.nan if value is None else float(value) for value in summary[0][:4])
        n_subsets, n_seeds = summary[0][4:]
        return Lds(lds, low, high, ceiling, np.ma.filled(per_test.astype(np.float64), np.nan), n_subsets, n_seeds)

    def subset_masks(self, role: str) -> NDArray[np.bool_]:
        """Subsets of a role ("fit" or "eval"), bool `[n_subsets, n_train]`, by subset_id."""
        blobs = self.rows("SELECT mask FROM subsets WHERE role = ? ORDER BY subset_id", [role])
        return unpack_masks((blob for (blob,) in blobs), self.info.n_train)

    def outcomes(self, role: str) -> NDArray[np.float64]:
        """Model outputs of the labels after retraining: `[n_subsets, n_seeds, n_test]`, by subset_id and seed."""
        column = self.columns(
            "SELECT model_output FROM outcomes JOIN subsets USING (subset_id) WHERE role = ? "
            "ORDER BY subset_id, seed, test_idx",
            [role],
        )["model_output"]
        n_seeds = self.info.provenance["n_seeds"]
        return np.asarray(column, dtype=np.float64).reshape(-1, n_seeds, self.info.n_test)

    def mean_outcomes(self, role: str) -> NDArray[np.float64]:
        """Model outputs of the labels after retraining, averaged over seeds: `[n_subsets, n_test]`, by subset_id."""
        return np.asarray(self.outcomes(role).mean(1))

    @property
    def reported_tests(self) -> NDArray[np.bool_]:
        """Test examples that summaries are over, bool `[n_test]`; settings were chosen on the others."""
        reported = np.ones(self.info.n_test, dtype=bool)
        reported[self.info.provenance.get("tuning_tests", [])] = False
        return reported

    @property
    def has_lds(self) -> bool:
        """True when evidence has joined the run."""
        return bool(self.rows("SELECT 1 FROM lds_summary LIMIT 1"))

    @property
    def will_have_lds(self) -> bool:
        """True while a build is still measuring; a run saved from Python has no retrained models to measure by."""
        return not self.has_lds and self.info.provenance["n_subsets"] > 0

    @property
    def method_titles(self) -> dict[str, str]:
        """The name that people read, by method."""
        return dict(self.rows("SELECT method, title FROM methods"))

    @property
    def train_labels(self) -> NDArray[np.int64]:
        """Labels `[n_train]` of the train examples, by idx."""
        return self._labels["train"]

    @property
    def test_labels(self) -> NDArray[np.int64]:
        """Labels `[n_test]` of the test examples, by idx."""
        return self._labels["test"]

    def explains_any_class(self, method: str) -> bool:
        """True when the method has scores for every class that can be asked about, not for the label alone."""
        return bool(self.rows("SELECT 1 FROM class_scores WHERE method = ? LIMIT 1", [method]))

    def in_model_units(self, method: str, of_label: bool) -> bool:
        """True when scores of the method were calibrated to changes of the model output.

        Args:
            method: that made them.
            of_label: True for scores that explain the label, False for those of another class.
        """
        if of_label and method != self.info.method:
            return bool(self.rows("SELECT 1 FROM methods WHERE method = ? AND calibration IS NOT NULL", [method]))
        key = "calibration" if of_label else "calibration_of_other_classes"
        return method == self.info.method and self.info.provenance.get(key) is not None

    def label(self, split: str, idx: int) -> int:
        """The label of one example; `idx` must be valid."""
        return int(self._labels[split][idx])

    def sql(self, query: str, params: Sequence[Any] | None = None) -> duckdb.DuckDBPyRelation:
        """A DuckDB relation over the tables of the run; the store cannot be changed and no file can be read.

        Args:
            query: one SELECT statement.
            params: values for its `?` placeholders.
        """
        return self._cursor().sql(query, params=list(params or []))

    # --- checks -------------------------------------------------------------------------------------------

    def check_test(self, test_idx: int) -> int:
        """The number, if there is a test example of that number, else NotInRunError."""
        test_idx = operator.index(test_idx)  # 3.9 is no number of an example
        if not 0 <= test_idx < self.info.n_test:
            raise NotInRunError(
                f"there is no test example {test_idx} in run {self.info.name!r}; it has numbers 0 to "
                f"{self.info.n_test - 1}."
            )
        return test_idx

    def check_train(self, train_idx: int) -> int:
        """The number, if there is a train example of that number, else NotInRunError."""
        train_idx = operator.index(train_idx)
        if not 0 <= train_idx < self.info.n_train:
            raise NotInRunError(
                f"there is no train example {train_idx} in run {self.info.name!r}; it has numbers 0 to "
                f"{self.info.n_train - 1}."
            )
        return train_idx

    def check_method(self, method: str | None) -> str:
        """The method, or the run's own for None; NotInRunError when the run has no scores of it."""
        method = method or self.info.method
        if method not in self.info.methods:
            raise NotInRunError(
                f"run {self.info.name!r} has no scores of method {method!r}; it has: {', '.join(self.info.methods)}."
            )
        return method

    def check_class(self, asked_class: int) -> int:
        """The class, if the run has it, else NotInRunError."""
        asked_class = operator.index(asked_class)
        if not 0 <= asked_class < len(self.info.class_names):
            raise NotInRunError(
                f"there is no class {asked_class} in run {self.info.name!r}; it has 0 to "
                f"{len(self.info.class_names) - 1}."
            )
        return asked_class

    # --- reading ------------------------------------------------------------------------------------------

    def rows(self, query: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query; short answers are remembered."""
        key = self._answers.key(query, params)
        known = self._answers.get(key)
        if known is None:
            known = self._read(lambda cursor: cursor.execute(query, list(params)).fetchall())
            self._answers.put(key, known)
        return known

    def columns(self, query: str, params: Sequence[Any] = ()) -> dict[str, Any]:
        """All rows of a query as numpy columns."""
        return self._read(lambda cursor: cursor.execute(query, list(params)).fetchnumpy())

    def arrow(self, query: str, params: Sequence[Any] = ()) -> Any:
        """All rows of a query as an Arrow table."""
        return self._read(lambda cursor: cursor.sql(query, params=list(params)).to_arrow_table())

    def _read(self, fetch: Callable[[duckdb.DuckDBPyConnection], Fetched]) -> Fetched:
        """What `fetch` reads to its end with a cursor that nobody else uses meanwhile."""
        try:
            cursor = self._idle_cursors.pop()
        except IndexError:
            cursor = self._cursor()
        fetched = reading(self.store_file, lambda: fetch(cursor))
        self._idle_cursors.append(cursor)  # not after an error: what state it is in then is not known
        return fetched

    def _cursor(self) -> duckdb.DuckDBPyConnection:
        # A connection shared by threads fails when two of them use it; a cursor each does not.
        with self._lock:
            cursor = self._connection.cursor()
        cursor.execute("USE store")
        return cursor

    def _read_info(self) -> RunInfo:
        try:
            version_row = self.rows("SELECT value FROM meta WHERE key = 'schema_version'")
        except (StoreDamagedError, duckdb.Error) as error:
            raise StoreDamagedError(
                f"{self.store_file} holds no run; give the build command again to make it anew."
            ) from error
        version = json.loads(version_row[0][0]) if version_row else None
        if version != SCHEMA_VERSION:
            newer = isinstance(version, int) and version > SCHEMA_VERSION
            advice = "update this program" if newer else "build the run again"
            raise StoreVersionError(
                f"run {self.path.name!r} has schema version {version}, and this program reads version "
                f"{SCHEMA_VERSION}; {advice} to open it. The run was not changed."
            )
        meta = {key: json.loads(value) for key, value in self.rows("SELECT key, value FROM meta")}
        method = meta["method"]
        others = [name for (name,) in self.rows("SELECT method FROM methods ORDER BY is_baseline, method")]
        self._labels = {
            split: self.columns("SELECT label FROM examples WHERE split = ? ORDER BY idx", [split])["label"].astype(
                np.int64
            )
            for split in ("train", "test")
        }
        return RunInfo(
            name=self.path.name,
            recipe=meta["recipe"],
            title=meta["title"],
            modality=meta["modality"],
            class_names=tuple(meta["class_names"]),
            n_train=len(self._labels["train"]),
            n_test=len(self._labels["test"]),
            n_checkpoints=int(self.rows("SELECT count(*) FROM checkpoints")[0][0]),
            proj_dim=meta["proj_dim"],
            method=method,
            methods=(method, *(name for name in others if name != method)),
            provenance=meta,
        )
