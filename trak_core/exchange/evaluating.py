"""Judges scores of any origin by the retrained models of a run, beside every method and by the same measures."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trak_core.engine.evidence_step import Reported, Tables
from trak_core.errors import InvalidSettingError, NotInRunError
from trak_core.evidence.controls import beats_controls
from trak_core.evidence.lds import MIN_SUBSETS, LdsEvidence, predicted_outcomes
from trak_core.exchange.importing import check_method_name, known_library, name_key
from trak_core.exchange.matrix import ScoreMatrix, read_matrix
from trak_core.exchange.score_files import LIBRARIES, Orientation, open_scores
from trak_core.exchange.signs import Sign, SignCheck, check_sign, choose_sign
from trak_core.methods import METHODS
from trak_core.store.amendment import Rows, amend, amending
from trak_core.store.catalog import find_run
from trak_core.store.files import RunFiles
from trak_core.store.progress import how_to_finish
from trak_core.store.run import EVALUATED, Lds, Run, open_run
from trak_core.store.run_ledger import outcomes, reported_tests, subset_masks
from trak_core.store.run_tables import class_influence_columns, method_columns, score_fingerprint, score_tables
from trak_core.views.evidence_to_come import evidence_to_come


@dataclass(frozen=True)
class Evaluated:
    """What became of scores that were judged."""

    path: Path  # of the run
    method: str  # the name of the scores
    lds: Lds  # how they did
    beats_controls: bool | None  # whether they beat every control; None where the run has none
    sign_check: SignCheck  # what the labels say about the sign as it came
    is_reversed: bool  # whether the sign of every score was turned round
    decided: tuple[str, ...]  # what was decided about the matrix besides, a sentence each
    n_constant: int  # test examples for which all scores are the same: their LDS counts as 0
    n_empty: int  # those among them with scores that are all zero


@dataclass(frozen=True)
class Sizes:
    """What evidence asks of a build."""

    seed: int
    n_seeds: int
    n_checkpoints: int = 0


def evaluate(
    run: str | Path | Run,
    scores: Any,
    name: str,
    *,
    key: str | None = None,
    library: str | None = None,
    orientation: Orientation | None = None,
    sign: Sign = "check",
    replaces: bool = False,
) -> Evaluated:
    """Puts scores that were made elsewhere on the board of a run that has retrained models.

    They get LDS, LDS at fixed class counts, their intervals and ceilings, and comparisons with every control, as any
    method of the run, on the same halves and test examples, and the explorer offers them. Scores stay as they come,
    without calibration. The run is changed on a copy, which then takes its place in one step.

    Args:
        run: its name or path, or the run itself; which has to be opened anew to see what was added.
        scores: as `import_scores` takes them.
        name: of the scores among the methods of the run.
        key: which matrix, where the file or folder holds several.
        library: that made the scores, such as "dattri"; it tells the orientation where it is known.
        orientation: "test-by-train" or "train-by-test"; needed only where there are as many test as train examples.
        sign: "check" refuses scores that look as if negative ones help; "reversed" turns them round, "as-is" keeps
            them.
        replaces: whether scores of that name that were judged before make room.

    Raises:
        EmptyDataError: there are no scores.
        InvalidDataError: the scores cannot be read, are no finite numbers, rank nothing, or point the wrong way.
        InvalidSettingError: the name is that of a method, in whatever case and blanks; a choice is unknown or missing.
        NotInRunError: the run has no retrained models, or work on it has not finished.
        RunBusyError: another process is building or measuring it.
        ShapeMismatchError: the matrix does not fit the counts of the examples.
        StorageError: the disk is full, read-only or failing.
    """
    files = RunFiles(run.path if isinstance(run, Run) else find_run(str(run)))
    check_method_name(name, "name")
    found = open_scores(scores, key)
    made_by = known_library(library, found.library)
    with amending(files):
        with open_run(files.run_dir) as opened:
            known = _check(opened, name, replaces)
            known_for = LIBRARIES.get((made_by or "").lower())
            matrix = read_matrix(found, opened.info.n_test, opened.info.n_train, orientation, known_for)
            sign_check = check_sign(matrix, opened.test_labels, opened.train_labels)
            matrix = replace(matrix, is_reversed=choose_sign(sign, sign_check, matrix.where))
            reported = reported_of(opened)
            tables = _tables(opened, reported, matrix, name, made_by)
            labels = opened.test_labels
        fact = {
            "file": found.file,
            **({"library": made_by} if made_by else {}),
            "orientation": matrix.orientation,
            "sign": "reversed" if matrix.is_reversed else "as it came",
            "decided": matrix.decided,
            "sha256": matrix.digest(),
            "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        rows = lambda: _rows(matrix, name, labels, tables)  # noqa: E731
        amend(files, rows, {EVALUATED: {**known, name: fact}}, methods=[name])
    with open_run(files.run_dir) as opened:
        lds, compared = opened.lds(name), opened.control_comparisons(name)
    ends = compared["ci_low" if reported.fixed is None else "fixed_low"]
    return Evaluated(
        path=files.run_dir,
        method=name,
        lds=lds,
        beats_controls=beats_controls(ends),
        sign_check=sign_check,
        is_reversed=matrix.is_reversed,
        decided=tuple(matrix.decided),
        n_constant=matrix.flat.n_constant,
        n_empty=matrix.flat.n_empty,
    )


def _check(run: Run, name: str, replaces: bool) -> dict[str, Any]:
    """What the run knows of scores that were judged before; refuses a run or a name that will not do."""
    if not run.info.provenance.get("complete"):
        raise NotInRunError(f"run {run.info.name!r} is not finished; {how_to_finish(run.path)}.")
    n_subsets = int(run.rows("SELECT count(*) FROM subsets WHERE role = 'eval'")[0][0])
    if n_subsets < MIN_SUBSETS:
        raise NotInRunError(_why_no_judges(run))
    known: dict[str, Any] = run.info.provenance.get(EVALUATED) or {}
    titles = {**{method: each.info.title for method, each in METHODS.items()}, **run.method_titles}
    for method, title in titles.items():
        if method not in known and name_key(name) in (name_key(method), name_key(title)):
            called = f"method {method!r}" + (f", titled {title!r}" if title != method else "")
            raise InvalidSettingError(
                f"name={name!r} is that of a method ({called}); give the scores a name of their own."
            )
    alike = next((other for other in known if other != name and name_key(other) == name_key(name)), None)
    if alike is not None:
        raise InvalidSettingError(
            f"name={name!r}: run {run.info.name!r} has scores named {alike!r}, which differs only in case or blanks; "
            "give that very name, or another."
        )
    if name in known and not replaces:
        raise InvalidSettingError(
            f"name={name!r}: run {run.info.name!r} has scores of that name; give another, or --replace to put these in "
            "their place."
        )
    return known


def _why_no_judges(run: Run) -> str:
    """Why no scores can be judged by a run without retrained models, and what gives it some."""
    lacks = f"run {run.info.name!r} has no retrained models to judge scores by"
    if (to_come := evidence_to_come(run)) is not None:
        return f"{lacks} yet; `{to_come.command}` makes them, in about {to_come.about}."
    return (
        f"{lacks}; add-outcomes takes outcomes of models that were retrained elsewhere, and `python -m trak_core "
        "build` makes a run that has such models."
    )


def reported_of(run: Run) -> Reported:
    """The halves that evidence of a published run is reported on."""
    made, masks, said = run.info.provenance, subset_masks(run, "eval"), outcomes(run, "eval")
    classes = run.train_labels if run.info.has_classes else None
    return Reported.of(masks, said, reported_tests(run), Sizes(int(made.get("seed") or 0), said.shape[1]), classes)


def fingerprint_of(run: Run, method: str) -> str:
    """The fingerprint of scores that join a published run under the name of a method."""
    sha256s = [sha256 for (sha256,) in run.rows("SELECT sha256 FROM checkpoints ORDER BY checkpoint_id")]
    made = run.info.provenance
    return score_fingerprint(made["fingerprint"], sha256s, made["ridge"], method)


def controls_of(run: Run, reported: Reported) -> dict[str, LdsEvidence]:
    """The LDS of every control that a run has scores of, by name."""
    names = [name for (name,) in run.rows("SELECT method FROM methods WHERE is_control ORDER BY method")]
    return {name: reported.evidence(predicted_outcomes(run.scores(name), reported.masks)) for name in names}


def _tables(run: Run, reported: Reported, matrix: ScoreMatrix, name: str, library: str | None) -> Tables:
    """Rows that say what the scores are and how they did."""
    predicted = np.empty_like(reported.actual)
    for start, rows in matrix.blocks():
        predicted[:, start : start + len(rows)] = predicted_outcomes(rows, reported.masks)
    made_by = f", made by {library}" if library else ""
    about = f"Scores that were brought to be judged{made_by}."
    controls = controls_of(run, reported)
    return {
        "methods": method_columns(name, name, about, fingerprint_of(run, name)),
        **reported.tables(name, {0: predicted}, None, controls=controls),
    }


def _rows(matrix: ScoreMatrix, name: str, test_labels: NDArray[np.int64], tables: Tables) -> Iterator[Rows]:
    """Everything that a run holds of a method."""
    yield from tables.items()
    yield from score_rows(matrix, name)

    def some(tests: NDArray[np.int64]) -> NDArray[np.float32]:
        values = np.asarray(matrix.array[tests], dtype=np.float32)
        return -values if matrix.is_reversed else values

    yield "class_influence", class_influence_columns(name, test_labels, some)


def score_rows(matrix: ScoreMatrix, name: str) -> Iterator[Rows]:
    """Rows of `scores` and `topk`, some test examples at a time."""
    for start, values in matrix.blocks():
        of_block: Mapping[str, Mapping[str, Any]] = score_tables(name, values, start)
        yield from of_block.items()
