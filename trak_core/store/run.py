"""A published run, for reading: its scores, the targets that they are of, and its evidence."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trak_core.errors import InvalidSettingError, NotInRunError, RunMismatchError
from trak_core.store.arrow import from_arrow_arrays
from trak_core.store.files import RunFiles
from trak_core.store.ranking import Side, strongest
from trak_core.store.run_info import RunWithInfo
from trak_core.store.targets import DEFAULT, class_of_target, target_of_class


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


class Run(RunWithInfo):
    """A published run. Made by `open_run`; can be used from many threads at once."""

    def __init__(self, run_dir: Path) -> None:
        self._score_cache: dict[str, NDArray[np.float32]] = {}
        super().__init__(run_dir)

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
            A table with the columns rank (from 1), train_idx, score, label, label_name. Equal scores are ordered by
            train_idx.

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
        names = dict(rows)
        return [names[idx] for idx in train_idx.tolist()]

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
        """The number of a target of a test example, given by number or name; NotInRunError when it has no such one."""
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
            "SELECT n_subsets, n_seeds, lds, ci_low, ci_high, noise_ceiling FROM lds_summary "
            "WHERE method = ? ORDER BY n_checkpoints DESC LIMIT 1",
            [method],
        )
        if not summary:
            raise NotInRunError(
                f"run {self.info.name!r} has no LDS for method {method!r} yet; it joins when its build has finished."
            )
        n_subsets, n_seeds, *numbers = summary[0]
        mean, low, high, ceiling = (math.nan if number is None else float(number) for number in numbers)
        per_test = self.columns("SELECT lds FROM lds WHERE method = ? ORDER BY test_idx", [method])["lds"]
        return Lds(mean, low, high, ceiling, np.ma.filled(per_test.astype(np.float64), np.nan), n_subsets, n_seeds)

    @property
    def has_lds(self) -> bool:
        """True when evidence has joined the run."""
        return bool(self.rows("SELECT 1 FROM lds_summary LIMIT 1"))

    @property
    def will_have_lds(self) -> bool:
        """True while a build is still measuring; a run saved from Python has no retrained models to measure by."""
        return not self.has_lds and self.info.provenance["n_subsets"] > 0
