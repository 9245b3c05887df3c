"""What can be chosen about measuring every method of a run."""

import hashlib
import json
from dataclasses import asdict, dataclass, replace

from trak_core.engine.settings import METHOD_REVISION
from trak_core.errors import InvalidSettingError
from trak_core.methods import METHODS, find_method


@dataclass(frozen=True)
class Truth:
    """One way to ask retraining what is true."""

    # "multi-seed" retrains on what is left, with several seeds; "single model" gives one checkpoint's own training
    # other weights: 0 for what is dropped, more for the rest, all else the same
    kind: str
    dropped: float  # share of the train examples that is dropped


@dataclass(frozen=True)
class MeasureSettings:
    """The settings of further evidence.

    Raises:
        InvalidSettingError: a setting is out of its range.
    """

    methods: tuple[str, ...] = tuple(METHODS)  # names of the methods
    n_removal_tests: int = 100  # test examples that removal is measured on; 0 for none
    removal_sizes: tuple[int, ...] = (5, 10, 20, 40, 80)  # how many train examples are removed
    n_removal_seeds: int = 3  # models retrained for each removal
    n_datamodel_subsets: int = 400  # random halves, one model each, for methods that learn from retrained models
    n_truth_subsets: int = 50  # random subsets of each further truth; 0 for none

    truths = (
        Truth("single model", 0.5),
        Truth("single model", 0.05),
        Truth("single model", 0.01),
        Truth("multi-seed", 0.2),
        Truth("multi-seed", 0.05),
    )

    def __post_init__(self) -> None:
        for method in self.methods:
            find_method(method)
        limits = {
            "n_removal_tests": (0, 100_000),
            "n_removal_seeds": (1, 100),
            "n_datamodel_subsets": (0, 100_000),
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise InvalidSettingError(f"{name}={value}; it must be from {low:,} to {high:,}.")
        if self.n_truth_subsets and not 4 <= self.n_truth_subsets <= 10_000:
            raise InvalidSettingError(f"n_truth_subsets={self.n_truth_subsets}; it must be 0, or from 4 to 10,000.")
        if not self.removal_sizes or min(self.removal_sizes) < 1 or max(self.removal_sizes) > 100:
            raise InvalidSettingError(f"removal_sizes={self.removal_sizes}; give numbers from 1 to 100.")

    def without_retraining(self) -> "MeasureSettings":
        """The same where no model can be retrained: scores of methods alone."""
        return replace(self, n_removal_tests=0, n_datamodel_subsets=0, n_truth_subsets=0)

    def fingerprint(self, run_fingerprint: str) -> str:
        """SHA-256 (hex) over these settings and what the run was made from."""
        parts = [run_fingerprint, METHOD_REVISION, asdict(self), [asdict(truth) for truth in self.truths]]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def command(self, name: str) -> list[str]:
        """The arguments of `python -m trak_core` that give these settings."""
        flags = {
            "--removal-tests": self.n_removal_tests,
            "--removal-seeds": self.n_removal_seeds,
            "--datamodel-subsets": self.n_datamodel_subsets,
            "--truth-subsets": self.n_truth_subsets,
        }
        words = ["evidence", name, *(f"--removal-size={k}" for k in self.removal_sizes)]
        for flag, value in flags.items():
            words += [flag, str(value)]
        if self.methods != tuple(METHODS):
            for method in self.methods:
                words += ["--method", method]
        return words
