"""Do two methods agree? One of a run against another of the same run, or of another run.

Rank correlations are over the scores of all train examples, for a sample of test examples, because whole matrices may
be too large to look at; shared proponents come from the top lists, for every test example.
"""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trak_core.evidence.lds import row_correlations
from trak_core.seeds import derive_seed
from trak_core.store.arrow import from_arrow_arrays
from trak_core.store.run import Lds, Run
from trak_core.views.explanation import Explanation
from trak_core.views.provenance import SETTING_TITLES

MAX_TESTS, FEWEST_TESTS = 200, 50
MAX_NUMBERS = 5_000_000
"""Scores of one side that are ranked, about a second of work."""
N_TOP = 20
BLOCK_NUMBERS = 2_000_000
"""Scores of one side that are held at once."""
_OUTCOMES = {"calibration", "calibration_of_other_targets", "fingerprint", "schema_version", "removal_method"}


@dataclass(frozen=True)
class Agreement:
    """How alike the scores of two methods are, for the label of each test example."""

    test_idx: NDArray[np.int64]  # the test examples that were looked at, rising, int64 `[n]`
    # Spearman correlation of their two score rows, float64 `[n]`, NaN where undefined
    rank_correlation: NDArray[np.float64]
    shared_proponents: NDArray[np.int64]  # of the strongest `k` of either side, how many are the same, int64 `[n]`
    shared_opponents: NDArray[np.int64]  # likewise
    k: int  # 20, or fewer where there are fewer train examples
    # LDS of the first side for these test examples, float64 `[n]`, NaN where not measured or undefined
    lds: NDArray[np.float64]
    other_lds: NDArray[np.float64]  # of the second side
    n_test: int  # test examples that there are
    mean_proponents: float  # mean number of shared proponents over all test examples, not the sample alone
    mean_opponents: float  # likewise
    by_chance: float  # how many two random choices of `k` would share on average

    @property
    def mean_correlation(self) -> float | None:
        """Mean rank correlation over the sample, None when all are undefined."""
        defined = self.rank_correlation[np.isfinite(self.rank_correlation)]
        return float(defined.mean()) if len(defined) else None

    @property
    def in_words(self) -> str:
        """How similar the two rankings are, to follow "they rank the training examples"."""
        mean = self.mean_correlation
        if mean is None:
            return "in ways that cannot be compared"
        levels = ((0.8, "very similarly"), (0.5, "fairly similarly"), (0.2, "rather differently"))
        return next((words for least, words in levels if mean >= least), "very differently")

    def worst(self, n: int) -> list[int]:
        """Places in the sample of the `n` lowest rank correlations, lowest first, without undefined ones."""
        order = np.argsort(self.rank_correlation, kind="stable")  # NaN comes last
        return [int(place) for place in order[:n] if np.isfinite(self.rank_correlation[place])]


def have_same_data(run: Run, other: Run) -> bool:
    """True when two runs are about the same train and test examples, in the same order."""
    if run is other:
        return True
    if (run.info.n_train, run.info.n_test) != (other.info.n_train, other.info.n_test):
        return False
    ours, theirs = (side.info.provenance.get("data_fingerprint") for side in (run, other))
    if ours is not None and theirs is not None:
        return bool(ours == theirs)
    content = "SELECT bit_xor(hash(split, idx, label, label_name, text, thumbnail)) FROM examples"
    return run.rows(content) == other.rows(content)


def agreement(run: Run, method: str, other: Run, other_method: str) -> Agreement:
    """Compares the scores of two methods for the labels of test examples; the runs must have the same data.

    Rank correlations are computed for 200 test examples, and for down to 50 where rows are long, drawn where there are
    more.
    """
    method, other_method = run.check_method(method), other.check_method(other_method)
    n_test = run.info.n_test
    n_looked_at = min(MAX_TESTS, max(FEWEST_TESTS, MAX_NUMBERS // run.info.n_train))
    tests = np.arange(n_test)
    if n_test > n_looked_at:
        generator = np.random.default_rng(derive_seed(0, "compared tests"))
        tests = np.sort(generator.choice(n_test, n_looked_at, replace=False))
    k = min(N_TOP, run.info.n_train)
    proponents = _shared(run, method, other, other_method, "proponent", k)
    opponents = _shared(run, method, other, other_method, "opponent", k)
    return Agreement(
        test_idx=tests,
        rank_correlation=_correlations(run, method, other, other_method, tests),
        shared_proponents=proponents[tests],
        shared_opponents=opponents[tests],
        k=k,
        lds=_lds_per_test(run, method)[tests],
        other_lds=_lds_per_test(other, other_method)[tests],
        n_test=n_test,
        mean_proponents=float(proponents.mean()),
        mean_opponents=float(opponents.mean()),
        by_chance=k * k / run.info.n_train,
    )


def _correlations(
    run: Run, method: str, other: Run, other_method: str, tests: NDArray[np.int64]
) -> NDArray[np.float64]:
    step = max(1, BLOCK_NUMBERS // run.info.n_train)
    found = [
        row_correlations(_rows(run, method, block), _rows(other, other_method, block))
        for block in (tests[i : i + step] for i in range(0, len(tests), step))
    ]
    return np.concatenate(found)


def rank_correlation(run: Run, method: str, other: Run, other_method: str, test_idx: int) -> float | None:
    """The Spearman correlation of two score rows of one test example, None where undefined.

    Raises:
        NotInRunError: there is no such test example or method.
    """
    test = np.array([run.check_test(test_idx)])
    value = _correlations(run, run.check_method(method), other, other.check_method(other_method), test)[0]
    return float(value) if np.isfinite(value) else None


def _rows(run: Run, method: str, tests: NDArray[np.int64]) -> NDArray[np.float32]:
    """Scores `[len(tests), n_train]` float32 of rising test examples."""
    table = run.arrow(
        'SELECT "values" FROM scores WHERE method = ? AND test_idx IN (SELECT unnest(?::INTEGER[])) ORDER BY test_idx',
        [method, tests.tolist()],
    )
    return from_arrow_arrays(table, "values")


def _shared(run: Run, method: str, other: Run, other_method: str, side: str, k: int) -> NDArray[np.int64]:
    """How many of the strongest `k` train examples are the same, int64 `[n_test]`."""
    ours, theirs = _top(run, method, side, k), _top(other, other_method, side, k)
    return np.asarray((ours[:, :, None] == theirs[:, None, :]).any(axis=2).sum(axis=1), dtype=np.int64)


def _top(run: Run, method: str, side: str, k: int) -> NDArray[np.int64]:
    found = run.columns(
        "SELECT train_idx FROM topk WHERE method = ? AND side = ? AND rank <= ? ORDER BY test_idx, rank",
        [method, side, k],
    )
    return np.asarray(found["train_idx"], dtype=np.int64).reshape(run.info.n_test, k)


def _lds(run: Run, method: str) -> Lds | None:
    return run.lds(method) if run.rows("SELECT 1 FROM lds_summary WHERE method = ? LIMIT 1", [method]) else None


def _lds_per_test(run: Run, method: str) -> NDArray[np.float64]:
    measured = _lds(run, method)
    return np.full(run.info.n_test, np.nan) if measured is None else measured.per_test


def agreement_table(found: Agreement) -> pd.DataFrame:
    """The agreement as a table, one row a test example of the sample; undefined values are empty."""
    return pd.DataFrame(
        {
            "test_idx": found.test_idx,
            "rank_correlation": found.rank_correlation,
            f"shared_of_{found.k}_proponents": found.shared_proponents,
            f"shared_of_{found.k}_opponents": found.shared_opponents,
            "lds": found.lds,
            "other_lds": found.other_lds,
        }
    )


def metadata_side_by_side(run: Run, method: str, other: Run, other_method: str) -> pd.DataFrame:
    """Two sides as a table in words, a row for each property; what is not known is "not measured"."""
    first, second = _metadata(run, method), _metadata(other, other_method)
    return pd.DataFrame([(name, first[name], second[name]) for name in first], columns=["", "first", "second"])


def _metadata(run: Run, method: str) -> dict[str, str]:
    info, measured = run.info, _lds(run, method)
    accuracy = run.rows("SELECT avg(test_accuracy) FROM checkpoints")[0][0]
    lds, fixed, ceiling = "not measured", "not measured", "not measured"
    if measured is not None and np.isfinite([measured.mean, measured.ci_low, measured.ci_high]).all():
        lds = f"{measured.mean:.3f} ({measured.ci_low:.3f} to {measured.ci_high:.3f})"
    if measured is not None and np.isfinite([measured.fixed, measured.fixed_low, measured.fixed_high]).all():
        fixed = f"{measured.fixed:.3f} ({measured.fixed_low:.3f} to {measured.fixed_high:.3f})"
    if measured is not None and np.isfinite(measured.noise_ceiling):
        ceiling = f"{measured.noise_ceiling:.3f}"
    return {
        "run": info.name,
        "method": run.method_titles[method],
        "training examples": f"{info.n_train:,}",
        "test examples": f"{info.n_test:,}",
        "checkpoints": f"{info.n_checkpoints:,}",
        "test accuracy": "not measured" if accuracy is None else f"{accuracy:.1%}",
        "LDS (95% interval)": lds,
        "LDS at fixed class counts (95% interval)": fixed,
        "noise ceiling": ceiling,
    }


def controls_of(run: Run) -> set[str]:
    """The methods of a run that are negative controls, by name."""
    return {str(name) for (name,) in run.rows("SELECT method FROM methods WHERE is_control")}


def differing_settings(run: Run, other: Run) -> pd.DataFrame:
    """What is not the same in what two runs were made from: a row a setting, with both values in words."""
    ours, theirs = (_settings(side.info.provenance) for side in (run, other))
    rows = [
        (name, ours.get(name, "not set"), theirs.get(name, "not set"))
        for name in dict.fromkeys([*ours, *theirs])
        if ours.get(name) != theirs.get(name)
    ]
    return pd.DataFrame(rows, columns=["setting", "first", "second"], dtype=str)


def _settings(made: dict[str, Any]) -> dict[str, str]:
    """What was chosen, in words, without what came out of it."""
    chosen = {"recipe": made.get("recipe"), "data": made.get("title")}
    chosen |= {title: made.get(name) for name, title in SETTING_TITLES.items() if name not in _OUTCOMES}
    chosen |= {f"version of {name}": version for name, version in (made.get("versions") or {}).items()}
    words: dict[str, str] = {}
    for name, value in chosen.items():
        if isinstance(value, dict):
            words |= {f"{name}: {inner.replace('_', ' ')}": _words(part) for inner, part in value.items()}
        elif value is not None:
            words[name] = _words(value)
    return words


def _words(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


@dataclass(frozen=True)
class SideBySide:
    """How far two explanations of the same test example and target agree."""

    # Spearman correlation of all scores; None where one method scores all train examples alike
    rank_correlation: float | None
    shared_proponents: frozenset[int]  # train examples among the proponents of both
    shared_opponents: frozenset[int]  # train examples among the opponents of both
    contrary: frozenset[int]  # train examples that are a proponent of one and an opponent of the other


def side_by_side(one: Explanation, other: Explanation) -> SideBySide:
    """The agreement of the explanations of one test example by two methods."""
    correlation = float(row_correlations(*(each.scores[None].astype(np.float32) for each in (one, other)))[0])
    proponents = [frozenset(item.example.idx for item in e.proponents) for e in (one, other)]
    opponents = [frozenset(item.example.idx for item in e.opponents) for e in (one, other)]
    return SideBySide(
        rank_correlation=correlation if np.isfinite(correlation) else None,
        shared_proponents=proponents[0] & proponents[1],
        shared_opponents=opponents[0] & opponents[1],
        contrary=(proponents[0] & opponents[1]) | (opponents[0] & proponents[1]),
    )
