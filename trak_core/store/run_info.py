"""What a run is, read once when it is opened."""

import json
import operator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from trak_core.errors import NotInRunError, StoreDamagedError, TrakCoreError
from trak_core.store.reader import StoreReader


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
    def came_about(self) -> str:
        """How a run came about of which nothing tells how its models were trained, as the end of "the run was ..."."""
        return "imported from scores made elsewhere" if self.provenance.get("imported") else "saved from Python"


class RunWithInfo(StoreReader):
    """A published run that knows what it is, and whether it has what somebody asks for."""

    def __init__(self, run_dir: Path) -> None:
        super().__init__(run_dir)
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

    @property
    def train_labels(self) -> NDArray[np.int64]:
        """Labels `[n_train]` of the train examples, by idx; all 0 where there are no classes."""
        return self._labels["train"]

    @property
    def test_labels(self) -> NDArray[np.int64]:
        """Labels `[n_test]` of the test examples, by idx; all 0 where there are no classes."""
        return self._labels["test"]

    def label(self, split: str, idx: int) -> int:
        """The label of one example, 0 where there are no classes; `idx` must be valid."""
        return int(self._labels[split][idx])

    # --- checks -------------------------------------------------------------------------------------------

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
