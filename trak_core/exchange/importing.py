"""Makes a run of scores that were made elsewhere.

Everything is read and checked before anything is written; then the tables of a run are filled through the writer that
builds use, and published in one step. Such a run has scores and examples, but no models: nothing tells how far its
scores can be believed.
"""

import hashlib
import json
import time
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trak_core.datasets.custom_data import CustomData
from trak_core.errors import EmptyDataError, InvalidDataError, InvalidSettingError, ShapeMismatchError
from trak_core.exchange.matrix import ScoreMatrix, read_matrix
from trak_core.exchange.score_files import LIBRARIES, Library, Orientation, open_scores
from trak_core.exchange.signs import Sign, SignCheck, check_sign, choose_sign
from trak_core.folders import runs_dir
from trak_core.inputs import count, leaves
from trak_core.media import split_media
from trak_core.methods import METHODS
from trak_core.modalities import RawData, find_modality
from trak_core.modalities.raw import RawSplit
from trak_core.store.catalog import check_run_name
from trak_core.store.files import RunFiles, storage_errors
from trak_core.store.local_paths import keep_local_paths, without_paths
from trak_core.store.media_rows import media_columns
from trak_core.store.progress import BuildStatus, write_status
from trak_core.store.run import is_finished
from trak_core.store.run_tables import (
    class_influence_columns,
    example_columns,
    method_columns,
    prediction_columns,
    run_meta,
    score_fingerprint,
    score_tables,
)
from trak_core.store.schema import Shape
from trak_core.store.writer import StoreWriter, build_lock, clear_site

IMPORTED = "imported"
"""In the place of a recipe's name."""
EXAMPLES_AT_ONCE = 1024
LONGEST_METHOD = 60
TOLERANCE = 1e-2
"""Of the sum of probabilities: those in half precision are that far off."""
_TINY = 1e-37


@dataclass(frozen=True)
class Imported:
    """What became of some scores."""

    path: Path  # of the run
    n_test: int  # number of test examples
    n_train: int  # number of train examples
    method: str  # the name of the scores
    library: str | None  # that made them, where it is known
    orientation: Orientation  # of the matrix as it came
    is_reversed: bool  # whether the sign of every score was turned round
    sign_check: SignCheck  # what the labels say about the sign as it came
    decided: tuple[str, ...]  # what was decided about the matrix besides, a sentence each
    n_constant: int  # test examples for which all scores are the same, so that there is nothing to rank
    n_empty: int  # those among them with scores that are all zero


def import_scores(
    scores: Any,
    examples: RawData | CustomData,
    name: str,
    *,
    method: str | None = None,
    library: str | None = None,
    key: str | None = None,
    orientation: Orientation | None = None,
    sign: Sign = "check",
    predictions: Any = None,
    title: str | None = None,
    on_progress: Callable[[int, int], object] = lambda n_done, n_steps: None,
) -> Imported:
    """Makes a run of scores that were made elsewhere, in the directory of runs, and says what it found.

    Args:
        scores: the path of a file (.npy, .npz, .safetensors, .pt, .parquet, .csv) or of a folder that traker or
            kronfluence saved to; or a numpy array or torch tensor `[n_test, n_train]` or `[n_train, n_test]`.
        examples: the very examples that were scored, in their order: as a reader gave them, or where they lie.
        name: of the run.
        method: name of the scores; that of the library by default, or else "imported".
        library: that made the scores, such as "dattri"; it tells the orientation where it is known.
        key: which matrix, where the file or folder holds several.
        orientation: "test-by-train" or "train-by-test"; needed only where there are as many test as train examples.
        sign: "check" refuses scores that look as if negative ones help; "reversed" turns them round, "as-is" keeps
            them.
        predictions: probabilities `[n_test, n_classes]` of the model's answers, as an array or the path of a file.
        title: of the data, for people; the name of the examples by default.
        on_progress: called with the steps done and all steps.

    Raises:
        EmptyDataError: there are no scores or no examples.
        InvalidDataError: the scores or predictions cannot be read, are no finite numbers, rank nothing, or point the
            wrong way.
        InvalidSettingError: a name that cannot be, an unknown choice, or an orientation that must be said.
        RunBusyError: another process is writing a run of that name.
        RunMismatchError: there is another run of that name.
        ShapeMismatchError: the matrix does not fit the counts of the examples.
        StorageError: the disk is full, read-only or failing.
    """
    check_run_name(name)
    found = open_scores(scores, key)
    made_by = known_library(library, found.library)
    chosen = _method_name(method, made_by)
    raw = examples.read() if isinstance(examples, CustomData) else examples
    _check_examples(raw)
    Shape(len(raw.train), len(raw.class_names), 1)  # refuses more than a store holds
    matrix = read_matrix(found, len(raw.test), len(raw.train), orientation, LIBRARIES.get((made_by or "").lower()))
    sign_check = check_sign(matrix, raw.test.labels, raw.train.labels)
    matrix = replace(matrix, is_reversed=choose_sign(sign, sign_check, matrix.where))
    probabilities = None if predictions is None else _read_probabilities(predictions, len(raw.test), raw.class_names)
    metadata = {
        "file": found.file,
        **({"library": made_by} if made_by else {}),
        "orientation": matrix.orientation,
        "sign": "reversed" if matrix.is_reversed else "as it came",
        "sign_check": sign_check.verdict,
    }
    saver = _Saver(RunFiles(runs_dir() / name), raw, matrix, chosen, probabilities, title or raw.name, metadata)
    saver.save(on_progress)
    return Imported(
        path=saver.files.run_dir,
        n_test=matrix.n_test,
        n_train=matrix.n_train,
        method=chosen,
        library=made_by,
        orientation=matrix.orientation,
        is_reversed=matrix.is_reversed,
        sign_check=sign_check,
        decided=tuple(matrix.decided),
        n_constant=matrix.flat.n_constant,
        n_empty=matrix.flat.n_empty,
    )


def known_library(given: str | None, found: Library | None) -> str | None:
    """The library that somebody says, or that the files show; InvalidSettingError where both say different ones."""
    if given is None or found is None or given.lower() == found.name.lower():
        return given or (found.name if found else None)
    raise InvalidSettingError(f"library={given!r}, but the scores lie as {found.name} saves them; leave it out.")


def _method_name(given: str | None, library: str | None) -> str:
    name = check_method_name(given if given is not None else library or IMPORTED, "method")
    controls = [method.info for method in METHODS.values() if method.info.is_control]  # these join with outcomes
    if name_key(name) in {name_key(called) for info in controls for called in (info.name, info.title)}:
        raise InvalidSettingError(f"method={name!r} is that of a control; give the scores a name of their own.")
    return name


def name_key(name: str) -> str:
    """The name without case and blanks: names with the same key look alike on a board."""
    return "".join(unicodedata.normalize("NFKC", name).casefold().split())


def check_method_name(name: str, parameter: str) -> str:
    """The name, if scores can have it, else InvalidSettingError, which names the parameter."""
    if not name.strip() or name != name.strip() or len(name) > LONGEST_METHOD or not name.isprintable():
        raise InvalidSettingError(
            f"{parameter}={name!r} will not do; use 1 to {LONGEST_METHOD} letters, digits and signs on one line."
        )
    return name


def _check_examples(raw: RawData) -> None:
    """Refuses examples that do not hold together; those of a reader do."""
    for split, part in (("train", raw.train), ("test", raw.test)):
        n = count(part.contents)
        if n == 0:
            raise EmptyDataError(f"{raw.name}: there are no {split} examples; give those that were scored.")
        if n != len(part.labels):
            raise InvalidDataError(
                f"{raw.name} has {len(part.labels):,} labels for {n:,} {split} examples; give each one."
            )
        if part.labels.dtype.kind not in "iu":
            raise InvalidDataError(f"{raw.name}: {split} labels are {part.labels.dtype}; they must be whole numbers.")
        wrong = np.flatnonzero((part.labels < 0) | (part.labels >= len(raw.class_names)))
        if len(wrong):
            raise InvalidDataError(
                f"{raw.name}: {split} example {wrong[0]} has the label {part.labels[wrong[0]]}, and there are "
                f"{len(raw.class_names)} classes, 0 to {len(raw.class_names) - 1}."
            )


@dataclass(frozen=True)
class _Saver:
    """One import under way."""

    files: RunFiles
    raw: RawData
    matrix: ScoreMatrix
    method: str
    probabilities: NDArray[np.float32] | None
    title: str
    metadata: dict[str, str]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of everything that the run is made from."""
        digest = None if self.probabilities is None else hashlib.sha256(self.probabilities.tobytes()).hexdigest()
        parts = [_examples_digest(self.raw), self.matrix.digest(), self.method, self.title, digest, self.metadata]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def save(self, on_progress: Callable[[int, int], object]) -> None:
        """Writes the run, unless it is there; what fails leaves nothing behind."""
        otherwise = (
            f"there is another run {self.files.run_dir.name!r} already, made of other scores or examples; give this "
            "one another name with --name."
        )
        if is_finished(self.files, self.fingerprint, otherwise):
            return
        is_new_dir, is_new = not self.files.run_dir.exists(), not self.files.build.exists()
        with build_lock(self.files):
            if self.files.store.exists():
                clear_site(self.files)  # published by an import that was stopped while tidying up
                return
            try:
                self._write(on_progress)
            except BaseException:
                if is_new and self.files.build.exists():
                    clear_site(self.files)
                    if is_new_dir and not self.files.store.exists():
                        with storage_errors(self.files.run_dir):
                            self.files.sources.unlink(missing_ok=True)
                            self.files.run_dir.rmdir()
                raise

    def _write(self, on_progress: Callable[[int, int], object]) -> None:
        raw, matrix = self.raw, self.matrix
        shape = Shape(matrix.n_train, len(raw.class_names), 1)
        n_done, n_steps = 0, len(raw.train) + len(raw.test) + matrix.n_test

        def advance(n: int) -> None:
            nonlocal n_done
            n_done += n
            on_progress(n_done, n_steps)
            step = "scores are being imported; give the same command again if it was stopped"
            write_status(self.files, BuildStatus("running", step, n_done / n_steps, None, None, "", [], time.time()))

        with StoreWriter(self.files, shape, self.fingerprint) as writer:
            keep_local_paths(self.files, {"data_source": raw.source})
            advance(0)
            for split, part in (("train", raw.train), ("test", raw.test)):
                for start in range(0, len(part), EXAMPLES_AT_ONCE):
                    some = part.take(np.arange(start, min(len(part), start + EXAMPLES_AT_ONCE)))
                    if not writer.has(f"{split} {start}"):
                        writer.write(f"{split} {start}", self._examples(split, some, start))
                    advance(len(some))
            for start, rows in matrix.blocks():
                if not writer.has(f"scores {start}"):
                    writer.write(f"scores {start}", score_tables(self.method, rows, start))
                advance(len(rows))
            if not writer.has("class influence"):
                query = 'SELECT "values" FROM scores WHERE test_idx IN (SELECT unnest(?::INTEGER[])) ORDER BY test_idx'
                columns = class_influence_columns(
                    self.method, raw.test.labels, lambda idx: writer.arrays(query, "values", [idx.tolist()])
                )
                writer.write("class influence", {"class_influence": columns})
            if not writer.has("summary"):
                writer.write("summary", self._summary(), self._meta())
            writer.publish()
            writer.finish()

    def _examples(self, split: str, part: RawSplit, start: int) -> dict[str, dict[str, Any]]:
        shown = [split_media(media) for media in find_modality(self.raw.modality).media(part.contents)]
        examples = example_columns(
            split,
            part.labels,
            [self.raw.class_names[label] for label in part.labels],
            texts=[text for _, text, _ in shown],
            thumbnails=[picture for picture, _, _ in shown],
            origins=part.origins,
            first=start,
        )
        return {"examples": examples, "media": media_columns(split, [further for _, _, further in shown], start)}

    def _summary(self) -> dict[str, dict[str, Any]]:
        made_by = f", made by {self.metadata['library']}" if "library" in self.metadata else ""
        about = f"Imported from {self.metadata['file']}{made_by}."
        fingerprint = score_fingerprint(self.fingerprint, [], None, self.method)
        tables = {"methods": method_columns(self.method, self.method, about, fingerprint)}
        if self.probabilities is not None:
            tables["predictions"] = _answer_columns(self.probabilities, self.raw.test.labels)
        return tables

    def _meta(self) -> dict[str, Any]:
        return run_meta(
            recipe=IMPORTED,
            title=self.title,
            modality=self.raw.modality,
            class_names=self.raw.class_names,
            task=f"{self.raw.modality}_classification",
            method=self.method,
            proj_dim=0,
            n_subsets=0,
            n_seeds=0,
            imported=self.metadata,
            **without_paths({"data_source": self.raw.source}),
            has_predictions=self.probabilities is not None,
            ridge=None,
            calibration=None,
            calibration_of_other_targets=None,
            complete=True,
        )


def _examples_digest(raw: RawData) -> str:
    """SHA-256 (hex) over the examples, their labels and the class names."""
    digest = hashlib.sha256(json.dumps(raw.class_names).encode())
    for part in (raw.train, raw.test):
        digest.update(np.ascontiguousarray(part.labels, dtype=np.int64).tobytes())
        for leaf in leaves(part.contents):
            if isinstance(leaf, np.ndarray):
                digest.update(f"{leaf.shape}".encode())
                digest.update(np.ascontiguousarray(leaf).data)
            else:
                digest.update(json.dumps(leaf).encode())
    return digest.hexdigest()


# --- what the model says of test examples ----------------------------------------------------------------------


def _read_probabilities(given: Any, n_test: int, class_names: tuple[str, ...]) -> NDArray[np.float32]:
    """Probabilities `[n_test, n_classes]` from an array or a file as scores may come in; each row adds up to 1.

    Raises:
        InvalidDataError: the file cannot be read, or a number is no probability.
        ShapeMismatchError: the matrix has another shape.
    """
    found = open_scores(given)
    n_classes = len(class_names)
    if found.shape != (n_test, n_classes):
        rows, columns = found.shape or ("?", "?")
        raise ShapeMismatchError(
            f"{found.where} holds predictions of {rows} x {columns}, and {n_test:,} test examples with {n_classes} "
            f"classes need {n_test:,} x {n_classes}; give a probability for each class, in the order "
            f"{', '.join(class_names[:8])}{' ...' if n_classes > 8 else ''}."
        )
    values = np.asarray(found.load(n_test, n_classes), dtype=np.float64)
    is_bad = ~((values >= 0) & (values <= 1))  # NaN too
    if is_bad.any():
        row, column = np.argwhere(is_bad)[0]
        raise InvalidDataError(
            f"{found.where} holds {values[row, column]:.6g} at row {row}, column {column} (counted from 0); "
            "predictions must be probabilities from 0 to 1, so put logits through a softmax first."
        )
    sums = values.sum(1)
    if (np.abs(sums - 1) > TOLERANCE).any():
        row = int((np.abs(sums - 1) > TOLERANCE).argmax())
        raise InvalidDataError(
            f"{found.where}: the probabilities in row {row} (counted from 0) add up to {sums[row]:.4g}; those of all "
            "classes must add up to 1."
        )
    return np.asarray(values / sums[:, None], dtype=np.float32)


def _answer_columns(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> dict[str, Any]:
    """Columns of the table `predictions`, of one model and all test examples."""
    p = probabilities.astype(np.float64)
    at = np.arange(len(labels))
    of_label = p[at, labels]
    others = p.copy()
    others[at, labels] = 0  # summed without the label: the whole less p is 0 where a model is very sure
    log_p, log_others = (np.log(np.maximum(values, _TINY)) for values in (of_label, others.sum(1)))
    return prediction_columns(
        [0],
        "test",
        (log_p - log_others).astype(np.float32)[None],
        loss=(-log_p).astype(np.float32)[None],
        p_label=of_label.astype(np.float32)[None],
        predicted=p.argmax(1)[None],
        probabilities=probabilities[None],
    )
