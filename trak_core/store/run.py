"""A published run, for reading: its scores, the targets that they are of, and its evidence."""

import json
import math
import operator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trak_core.errors import InvalidSettingError, NotInRunError, RunMismatchError, StoreDamagedError, TrakCoreError
from trak_core.store.arrow import from_arrow_arrays
from trak_core.store.files import RunFiles
from trak_core.store.ranking import Side, strongest
from trak_core.store.reader import StoreReader
from trak_core.store.targets import DEFAULT, class_of_target, target_of_class

SAVED = "python"
"""What a run that an Attributor saved has in place of a recipe."""
EVALUATED = "evaluated"
"""The fact of a run that tells which of its methods were brought to be judged."""


@dataclass(frozen=True)
class RunInfo:
    """What a run is."""

    name: str
    recipe: str  # that made it
    title: str  # of the data, for people
    modality: str  # of its examples, such as "image"
    class_names: tuple[str, ...]  # in the order of the labels; without classes one name, that of the model output
    n_train: int  # number of train examples
    n_test: int  # number of test examples
    n_checkpoints: int  # models that attribution averages over
    proj_dim: int  # dimension of the stored features
    method: str  # that pages show first
    methods: tuple[str, ...]  # all with scores, that one first
    provenance: dict[str, Any]  # every key of the meta table

    @property
    def has_classes(self) -> bool:
        """False for regression and the like: there is one model output to explain, and labels are targets."""
        return len(self.class_names) > 1

    @property
    def is_projected(self) -> bool:
        """True when the kernel was solved with projected gradients, because whole ones would not have fitted."""
        return str(self.provenance.get("kernel", "")).startswith("projected")

    @property
    def origin(self) -> str:
        """How a run came about of which nothing tells how its models were trained, as the end of "the run was ..."."""
        if self.provenance.get("imported"):
            return "imported from scores made elsewhere"
        return "saved from Python" if self.recipe == SAVED else f"built from the recipe {self.recipe!r}"


@dataclass(frozen=True)
class Lds:
    """The linear datamodeling score of a method, over the run's reporting subsets."""

    mean: float  # over test examples
    ci_low: float  # lower end of the 95% bootstrap interval of the mean
    ci_high: float  # upper end
    noise_ceiling: float  # the highest mean LDS that any method can reach against this ledger
    per_test: NDArray[np.float64]  # `[n_test]`, NaN where undefined
    n_subsets: int  # that it is measured over
    n_seeds: int  # models retrained on each
    # the same at fixed class counts, what is left when these are regressed out of predictions and outcomes; NaN where
    # it is not measured: without classes, with many classes for few subsets, or in runs of older versions
    fixed: float
    fixed_low: float  # lower end of its 95% bootstrap interval
    fixed_high: float  # upper end
    fixed_ceiling: float  # the highest that any method can reach of it
    fixed_per_test: NDArray[np.float64]  # `[n_test]`, NaN where undefined


def open_run(run_dir: str | Path) -> "Run":
    """A read-only view of the run in a directory.

    Raises:
        RunNotFoundError: there is no such run.
        RunNotReadyError: its first build has published nothing yet.
        StorageError: it is of an older version, and there is no room to upgrade it.
        StoreDamagedError: the store cannot be read.
        StoreVersionError: the store is of a newer version, or of one too old to be upgraded.
    """
    return Run(Path(run_dir))


def is_finished(files: RunFiles, fingerprint: str, otherwise: str) -> bool:
    """True when the published run has this fingerprint and nothing is left to be tidied up; False where there is none.

    Raises:
        RunMismatchError: the run that is there has another fingerprint; it says `otherwise`.
    """
    if not files.store.exists():
        return False
    with open_run(files.run_dir) as run:
        if fingerprint in (run.info.provenance["fingerprint"], run.info.provenance.get("saved_as")):
            return not files.build.exists() or files.plan.exists()  # with a plan, evidence is being built for it
    raise RunMismatchError(otherwise)


class Run(StoreReader):
    """A published run. Made by `open_run`; can be used from many threads at once."""

    def __init__(self, run_dir: Path) -> None:
        super().__init__(run_dir)
        self._score_cache: dict[str, NDArray[np.float32]] = {}
        self._labels: dict[str, NDArray[np.int64]] = {}
        try:
            self.info = self._read_info()
        except (KeyError, ValueError, TypeError, duckdb.Error) as error:
            self.close()
            if isinstance(error, TrakCoreError):
                raise
            raise StoreDamagedError(
                f"{self.store_file} contradicts itself ({type(error).__name__}: {error}); restore it from a copy, or "
                "delete the run's folder and give its build command again."
            ) from error
        except BaseException:
            self.close()
            raise

    def _read_info(self) -> RunInfo:
        meta = {key: json.loads(value) for key, value in self.rows("SELECT key, value FROM meta")}
        method = meta["method"]
        others = [name for (name,) in self.rows("SELECT method FROM methods ORDER BY is_baseline, method")]
        for split in ("train", "test"):
            query = "SELECT coalesce(label, 0) AS label FROM examples WHERE split = ? ORDER BY idx"
            self._labels[split] = self.columns(query, [split])["label"].astype(np.int64)
        return RunInfo(
            name=self.path.name,
            recipe=meta["recipe"],
            title=meta["title"],
            modality=meta["modality"],
            class_names=tuple(meta["class_names"]) or ("model output",),
            n_train=len(self._labels["train"]),
            n_test=len(self._labels["test"]),
            n_checkpoints=int(self.rows("SELECT count(*) FROM checkpoints")[0][0]),
            proj_dim=meta["proj_dim"],
            method=method,
            methods=(method, *(name for name in others if name != method)),
            provenance=meta,
        )

    # --- labels and checks ------------------------------------------------------------------------------------

    @property
    def train_labels(self) -> NDArray[np.int64]:
        """Labels `[n_train]` of the train examples, by idx; all 0 where there are no classes."""
        return self._labels["train"]

    @property
    def test_labels(self) -> NDArray[np.int64]:
        """Labels `[n_test]` of the test examples, by idx; all 0 where there are no classes."""
        return self._labels["test"]

    def origins(self, split: str) -> list[str | None]:
        """The file or row that each example of a split came from, by idx; None where the run does not know it."""
        return [origin for (origin,) in self.rows("SELECT origin FROM examples WHERE split = ? ORDER BY idx", [split])]

    def label(self, split: str, idx: int) -> int:
        """The label of one example, 0 where there are no classes; `idx` must be valid."""
        return int(self._labels[split][idx])

    def check_test(self, test_idx: int) -> int:
        """The number, if there is a test example of that number, else NotInRunError."""
        return self._check_number(test_idx, self.info.n_test, "test example")

    def check_train(self, train_idx: int) -> int:
        """The number, if there is a train example of that number, else NotInRunError."""
        return self._check_number(train_idx, self.info.n_train, "train example")

    def check_class(self, number: int) -> int:
        """The number, if there is a class of that number, else NotInRunError."""
        return self._check_number(number, len(self.info.class_names), "class")

    def _check_number(self, number: int, n: int, what: str) -> int:
        number = operator.index(number)  # 3.9 is no number of an example
        if not 0 <= number < n:
            raise NotInRunError(f"there is no {what} {number} in run {self.info.name!r}; it has numbers 0 to {n - 1}.")
        return number

    def check_method(self, method: str | None) -> str:
        """The method, or the run's own for None; NotInRunError when the run has no scores of it."""
        method = method or self.info.method
        if method not in self.info.methods:
            raise NotInRunError(
                f"run {self.info.name!r} has no scores of method {method!r}; it has: {', '.join(self.info.methods)}."
            )
        return method

    # --- scores -------------------------------------------------------------------------------------------

    def scores(self, method: str | None = None) -> NDArray[np.float32]:
        """Scores `[n_test, n_train]` float32 for the default target of each test example.

        Raises:
            NotInRunError: the run has no such method.
        """
        method = self.check_method(method)
        if method not in self._score_cache:
            table = self.arrow('SELECT "values" FROM scores WHERE method = ? ORDER BY test_idx', [method])
            self._score_cache[method] = from_arrow_arrays(table, "values")
        return self._score_cache[method]

    def score_row(self, test_idx: int, method: str | None = None, target: int | str = DEFAULT) -> NDArray[np.float32]:
        """Scores `[n_train]` float32 that explain one test example.

        Args:
            test_idx: of the test example.
            method: the run's own method by default.
            target: what is asked about it, by number or name (see `targets`); its label or the whole by default.

        Raises:
            NotInRunError: there is no such test example, method or target, or the method explains default targets only.
        """
        test_idx, method = self.check_test(test_idx), self.check_method(method)
        if isinstance(target, str):
            target = self.check_target(test_idx, target)
        if target == DEFAULT:
            table = self.arrow('SELECT "values" FROM scores WHERE method = ? AND test_idx = ?', [method, test_idx])
        else:
            table = self.arrow(
                'SELECT "values" FROM target_scores WHERE method = ? AND test_idx = ? AND target = ?',
                [method, test_idx, target],
            )
        if table.num_rows == 0:
            name = self.targets(test_idx)[self.check_target(test_idx, target)]
            raise NotInRunError(
                f"method {method!r} has no scores of test example {test_idx} for {name!r}; it explains the default "
                f"target, {self.targets(test_idx)[DEFAULT]!r}, only."
            )
        return np.asarray(from_arrow_arrays(table, "values")[0])

    def proponents(
        self, test_idx: int, k: int = 20, method: str | None = None, target: int | str = DEFAULT
    ) -> pd.DataFrame:
        """The `k` train examples with the highest scores, best first.

        Returns:
            A table with the columns rank (from 1), train_idx, score, label, label_name, and origin, the file or row
            that it came from (None where the run does not know). Equal scores are ordered by train_idx.

        Raises:
            NotInRunError: as `score_row`.
        """
        return self._extreme(test_idx, k, method, target, "proponent")

    def opponents(
        self, test_idx: int, k: int = 20, method: str | None = None, target: int | str = DEFAULT
    ) -> pd.DataFrame:
        """The `k` train examples with the lowest scores, lowest first; otherwise like `proponents`."""
        return self._extreme(test_idx, k, method, target, "opponent")

    def _extreme(self, test_idx: int, k: int, method: str | None, target: int | str, side: Side) -> pd.DataFrame:
        if k < 1:
            raise InvalidSettingError(f"k={k}; ask for at least 1 train example.")
        row = self.score_row(test_idx, method, target)
        order = strongest(row, side, k)
        told = self.rows(
            "SELECT idx, label_name, origin FROM examples WHERE split = 'train' AND idx IN "
            "(SELECT unnest(?::INTEGER[]))",
            [order.tolist()],
        )
        by_idx = {idx: (label_name, origin) for idx, label_name, origin in told}
        names, origins = zip(*(by_idx[idx] for idx in order.tolist()), strict=True)
        labels = self.train_labels[order]
        return pd.DataFrame(
            {
                "rank": np.arange(1, len(order) + 1),
                "train_idx": order,
                "score": row[order],
                "label": labels,
                "label_name": [self.info.class_names[label] for label in labels] if self.info.has_classes else names,
                "origin": origins,
            }
        )

    # --- targets ------------------------------------------------------------------------------------------

    def targets(self, test_idx: int) -> dict[int, str]:
        """What can be asked about a test example: targets by number, the default (0) first, with their names.

        Raises:
            NotInRunError: there is no such test example.
        """
        test_idx = self.check_test(test_idx)
        listed = self.rows("SELECT target, name FROM targets WHERE test_idx = ? ORDER BY target", [test_idx])
        if not listed:
            query = "SELECT 0, label_name FROM examples WHERE split = 'test' AND idx = ?"
            listed = self.rows(query, [test_idx])
        return dict(listed)

    def check_target(self, test_idx: int, target: int | str) -> int:
        """The number of a target of a test example, given by name or by number; NotInRunError when it has no such one.

        Numbers are those of `targets`, where 0 is the default; the class numbers of `Attributor.score` are others.
        """
        there = self.targets(test_idx)
        for number, name in there.items():
            if target in (number, name):
                return number
        shown = ", ".join(f"{number} ({name!r})" for number, name in list(there.items())[:8])
        raise NotInRunError(
            f"test example {test_idx} of run {self.info.name!r} has no target {target!r}; it has: {shown}"
            f"{', ...' if len(there) > 8 else ''}."
        )

    def target_of_class(self, test_idx: int, number: int) -> int:
        """The target that asks a test example about a class; NotInRunError when there is no such class."""
        return target_of_class(self.label("test", self.check_test(test_idx)), self.check_class(number))

    def class_of_target(self, test_idx: int, target: int) -> int:
        """The class that a target asks a test example about; 0 where there are no classes."""
        return class_of_target(self.label("test", test_idx), target) if self.info.has_classes else 0

    def explains_targets(self, method: str) -> bool:
        """True when the method has scores for every target that can be asked about, not for the default ones alone."""
        return bool(self.rows("SELECT 1 FROM target_scores WHERE method = ? LIMIT 1", [method]))

    # --- methods and evidence -----------------------------------------------------------------------------

    @property
    def method_titles(self) -> dict[str, str]:
        """The name that people read, by method."""
        return dict(self.rows("SELECT method, title FROM methods"))

    def in_model_units(self, method: str, target: int = DEFAULT) -> bool:
        """True when scores of the method for such a target were calibrated to changes of the model output."""
        if target == DEFAULT and method != self.info.method:
            return bool(self.rows("SELECT 1 FROM methods WHERE method = ? AND calibration IS NOT NULL", [method]))
        key = "calibration" if target == DEFAULT else "calibration_of_other_targets"
        return method == self.info.method and self.info.provenance.get(key) is not None

    def lds(self, method: str | None = None) -> Lds:
        """The LDS of a method with all checkpoints.

        Raises:
            NotInRunError: the run has no such method, or no evidence yet.
        """
        method = self.check_method(method)
        summary = self.rows(
            "SELECT n_subsets, n_seeds, lds, ci_low, ci_high, noise_ceiling, lds_fixed, fixed_low, fixed_high, "
            "fixed_ceiling FROM lds_summary WHERE method = ? ORDER BY n_checkpoints DESC LIMIT 1",
            [method],
        )
        if not summary:
            raise NotInRunError(
                f"run {self.info.name!r} has no LDS for method {method!r}; it needs models retrained on random "
                "halves: a build or `python -m trak_core evidence` trains them where a recipe or train_model tells how."
            )
        n_subsets, n_seeds, *numbers = summary[0]
        names = ("mean", "ci_low", "ci_high", "noise_ceiling", "fixed", "fixed_low", "fixed_high", "fixed_ceiling")
        known = {
            name: math.nan if number is None else float(number) for name, number in zip(names, numbers, strict=True)
        }
        stored = self.columns("SELECT lds, lds_fixed FROM lds WHERE method = ? ORDER BY test_idx", [method])
        per_test, fixed = (np.ma.filled(stored[name].astype(np.float64), np.nan) for name in ("lds", "lds_fixed"))
        return Lds(per_test=per_test, n_subsets=n_subsets, n_seeds=n_seeds, fixed_per_test=fixed, **known)

    def control_comparisons(self, method: str | None = None) -> pd.DataFrame:
        """How far a method is above each negative control on the same subsets and test examples, in LDS.

        Returns:
            A table with the columns control, title, difference, ci_low, ci_high, fixed_difference, fixed_low,
            fixed_high; the last three are at fixed class counts, NaN where these are not measured. It is empty of
            controls themselves, and where nothing was compared.

        Raises:
            NotInRunError: the run has no such method.
        """
        query = (
            "SELECT control, title, difference, ci_low, ci_high, fixed_difference, fixed_low, fixed_high "
            "FROM control_comparisons c JOIN methods m ON m.method = c.control WHERE c.method = ? ORDER BY control"
        )
        return self.sql(query, [self.check_method(method)]).df()

    @property
    def has_lds(self) -> bool:
        """True when evidence has joined the run."""
        return bool(self.rows("SELECT 1 FROM lds_summary LIMIT 1"))

    @property
    def will_have_lds(self) -> bool:
        """True while a build is still measuring; a run saved from Python has no retrained models to measure by."""
        made = self.info.provenance
        return not self.has_lds and not made.get("complete") and made["n_subsets"] > 0

    @property
    def has_scores(self) -> bool:
        """False early in a build, when there are suspects alone."""
        return bool(self.rows("SELECT 1 FROM methods LIMIT 1"))
