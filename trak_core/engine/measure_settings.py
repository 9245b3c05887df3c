"""What can be chosen about measuring every method of a run, and how much of it a budget of time pays for."""

import hashlib
import json
from dataclasses import asdict, dataclass, replace

from trak_core.engine.settings import METHOD_REVISION, as_options, check_limits
from trak_core.errors import InvalidSettingError
from trak_core.methods import METHODS, find_method

IN_RESERVE = 0.4
"""Share of the budget that is left for the methods themselves and for what was predicted too low."""
METHODS_REMOVED = 5
"""By which examples are removed at most: the best, the run's own, neighbours, for texts BM25, and random numbers."""
FLIP_ROUNDS = 4


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
        limits = {"n_removal_tests": (0, 100_000), "n_removal_seeds": (1, 100), "n_datamodel_subsets": (0, 100_000)}
        check_limits(vars(self), limits)
        if self.n_truth_subsets and not 4 <= self.n_truth_subsets <= 10_000:
            raise InvalidSettingError(f"n_truth_subsets={self.n_truth_subsets}; it must be 0, or from 4 to 10,000.")
        if not self.removal_sizes or min(self.removal_sizes) < 1 or max(self.removal_sizes) > 100:
            raise InvalidSettingError(f"removal_sizes={self.removal_sizes}; give numbers from 1 to 100.")

    @property
    def in_order(self) -> list[str]:
        """The methods, controls first: the others are compared with them."""
        return sorted(self.methods, key=lambda name: not METHODS[name].info.is_control)

    @property
    def is_every_method(self) -> bool:
        """True unless methods were asked for by name."""
        return self.methods == tuple(METHODS)

    def without_retraining(self) -> "MeasureSettings":
        """The same where no model can be retrained: scores of methods alone."""
        return replace(self, n_removal_tests=0, n_datamodel_subsets=0, n_truth_subsets=0)

    def fingerprint(self, run_fingerprint: str) -> str:
        """SHA-256 (hex) over these settings and what the run was made from."""
        parts = [run_fingerprint, METHOD_REVISION, asdict(self), [asdict(truth) for truth in self.truths]]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def command(self, name: str) -> list[str]:
        """The arguments of `python -m trak_core` that give these settings."""
        numbers = {
            "removal_tests": self.n_removal_tests,
            "removal_seeds": self.n_removal_seeds,
            "datamodel_subsets": self.n_datamodel_subsets,
            "truth_subsets": self.n_truth_subsets,
        }
        sizes = [f"--removal-size={k}" for k in self.removal_sizes]
        named = [] if self.is_every_method else [f"--method={method}" for method in self.methods]
        return ["evidence", name, *sizes, *as_options(numbers), *named]


LADDER = tuple(
    MeasureSettings(tuple(METHODS), n_tests, sizes, n_seeds, n_subsets, n_truth_subsets=0)
    for n_tests, sizes, n_seeds, n_subsets in (
        (100, (5, 10, 20, 40, 80), 3, 400),
        (30, (5, 20, 80), 3, 200),
        (20, (10, 40), 2, 100),
        (10, (10, 40), 2, 50),
        (5, (20,), 2, 0),
        (0, (5, 10, 20, 40, 80), 3, 0),
    )
)
"""From the most to the least: datamodels then learn from the halves that the run has, and nothing is removed."""


def models_of(settings: MeasureSettings) -> float:
    """How many models these settings train, in models of all train examples."""
    a_round = settings.n_removal_tests * settings.n_removal_seeds
    removals = a_round * (METHODS_REMOVED * len(settings.removal_sizes) + FLIP_ROUNDS) + settings.n_removal_seeds
    return settings.n_datamodel_subsets / 2 + (removals if settings.n_removal_tests else 0)


def measure_within(seconds: float, seconds_a_model: float) -> MeasureSettings:
    """The most that seconds pay for, where a model of all train examples takes so many; the least always fits."""
    affordable = (1 - IN_RESERVE) * max(0.0, seconds) / max(seconds_a_model, 1e-6)
    return next((each for each in LADDER if models_of(each) <= affordable), LADDER[-1])
