"""Scores from elsewhere come in whole or not at all, the right way round, and tables go out."""

import io
import json
import os
import subprocess
import sys
import tracemalloc
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file

import trak_core as tc
from trak_core.__main__ import cli
from trak_core.datasets.custom_data import CustomData
from trak_core.evidence.verification import verify
from trak_core.exchange import importing
from trak_core.exchange.matrix import ScoreMatrix
from trak_core.exchange.signs import check_sign
from trak_core.modalities import RawData, RawSplit
from trak_core.store.archive import export_run, import_run
from trak_core.store.reviews import Reviews
from trak_core.views import browse
from trak_core.views.compare import agreement, have_same_data
from trak_core.views.review import data_fingerprint
from trak_core.views.review_tables import verdict_table

ROOT = Path(__file__).resolve().parents[1]
N_TRAIN, N_TEST, CLASSES = 30, 12, ("ant", "bee", "cat")


def part(n: int, seed: int) -> RawSplit:
    pixels = np.random.default_rng(seed).integers(0, 256, (n, 6, 6, 1), dtype=np.uint8)
    return RawSplit(pixels, np.arange(n) % len(CLASSES))


RAW = RawData("insects", "image", CLASSES, part(N_TRAIN, 0), part(N_TEST, 1))
SQUARE = replace(RAW, test=part(N_TRAIN, 2))


def make_scores(raw: RawData = RAW, seed: int = 3) -> NDArray[np.float32]:
    """Noise, and a bonus where the classes are the same."""
    noise = np.random.default_rng(seed).normal(size=(len(raw.test), len(raw.train)))
    return (noise + (raw.test.labels[:, None] == raw.train.labels[None])).astype(np.float32)


SCORES = make_scores()


@pytest.fixture(autouse=True)
def runs_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRAK_RUNS_DIR", str(tmp_path / "runs"))
    return tmp_path / "runs"


def stored(name: str) -> NDArray[np.float32]:
    with tc.open_run(name) as run:
        assert [check for check in verify(run) if not check.ok] == []
        return run.scores()


# --- files --------------------------------------------------------------------------------------------------


def long_table(scores: NDArray[np.float32], seed: int = 0) -> pd.DataFrame:
    """A row for each pair, in no order."""
    test_idx, train_idx = np.divmod(np.random.default_rng(seed).permutation(scores.size), scores.shape[1])
    return pd.DataFrame({"test_idx": test_idx, "train_idx": train_idx, "score": scores[test_idx, train_idx]})


def save(path: Path, scores: NDArray[np.float32]) -> Path:
    if path.suffix == ".npy":
        np.save(path, scores)
    elif path.suffix == ".npz":
        np.savez_compressed(path, scores=scores, labels=np.arange(3))
    elif path.suffix == ".safetensors":
        save_file({"anything": torch.from_numpy(scores.copy())}, path)
    elif path.suffix == ".pt":
        torch.save(torch.from_numpy(scores.copy()), path)
    elif path.name == "wide.parquet":
        pd.DataFrame(scores, columns=[f"c{i}" for i in range(scores.shape[1])]).to_parquet(path)
    else:
        long_table(scores).to_parquet(path)
    return path


@pytest.mark.parametrize("name", ["s.npy", "s.npz", "s.safetensors", "s.pt", "wide.parquet"])
@pytest.mark.parametrize("is_turned", [False, True])
def test_every_kind_of_file_gives_the_same_run_in_either_orientation(tmp_path, name, is_turned):
    path = save(tmp_path / name, np.ascontiguousarray(SCORES.T if is_turned else SCORES))
    imported = tc.import_scores(path, RAW, "mine")
    assert imported.orientation == ("train-by-test" if is_turned else "test-by-train")
    assert np.array_equal(stored("mine"), SCORES)


def test_a_table_of_pairs_in_any_order_gives_the_same_run(tmp_path):
    tc.import_scores(save(tmp_path / "long.parquet", SCORES), RAW, "mine")
    assert np.array_equal(stored("mine"), SCORES)


def test_arrays_tensors_and_lists_are_taken_as_they_are():
    for name, given in {
        "array": SCORES.astype(np.float64),
        "tensor": torch.from_numpy(SCORES.copy()).requires_grad_(),
        "list": SCORES.tolist(),
        "fortran": np.asfortranarray(SCORES),
    }.items():
        tc.import_scores(given, RAW, name)
        assert np.array_equal(stored(name), SCORES)
    tc.import_scores(torch.from_numpy(SCORES).bfloat16(), RAW, "bfloat16")
    assert np.array_equal(stored("bfloat16"), torch.from_numpy(SCORES).bfloat16().float().numpy())


def test_one_of_several_matrices_is_named_by_key(tmp_path):
    np.savez(tmp_path / "s.npz", first=SCORES, second=2 * SCORES)
    with pytest.raises(tc.TrakCoreError, match=r"s.npz holds more than one array: 'first', 'second'; .* --key"):
        tc.import_scores(tmp_path / "s.npz", RAW, "mine")
    with pytest.raises(tc.TrakCoreError, match="no array 'third', but 'first', 'second'"):
        tc.import_scores(tmp_path / "s.npz", RAW, "mine", key="third")
    tc.import_scores(tmp_path / "s.npz", RAW, "mine", key="second")
    assert np.array_equal(stored("mine"), 2 * SCORES)
    both = pd.concat([long_table(SCORES).assign(method="a"), long_table(3 * SCORES).assign(method="b")])
    both.to_parquet(tmp_path / "both.parquet")
    with pytest.raises(tc.TrakCoreError, match="more than one method: 'a', 'b'; name one of them with --key"):
        tc.import_scores(tmp_path / "both.parquet", RAW, "other")
    tc.import_scores(tmp_path / "both.parquet", RAW, "other", key="b")
    assert np.array_equal(stored("other"), 3 * SCORES)


# --- orientation --------------------------------------------------------------------------------------------


def test_as_many_test_as_train_examples_need_a_word():
    scores = make_scores(SQUARE)
    with pytest.raises(
        tc.TrakCoreError,
        match="as many test as train examples, so that it does not show what its rows are; say with --orientation",
    ):
        tc.import_scores(scores, SQUARE, "mine")
    tc.import_scores(scores, SQUARE, "mine", orientation="test-by-train")
    tc.import_scores(scores, SQUARE, "turned", orientation="train-by-test")
    tc.import_scores(scores, SQUARE, "known", library="dattri")
    assert np.array_equal(stored("mine"), scores)
    assert np.array_equal(stored("turned"), scores.T)
    assert np.array_equal(stored("known"), scores.T)


def test_what_is_said_of_the_orientation_must_fit_the_counts(tmp_path):
    with pytest.raises(tc.TrakCoreError, match=r"12 x 30, and by --orientation train-by-test it should be 30 x 12"):
        tc.import_scores(SCORES, RAW, "mine", orientation="train-by-test")
    with pytest.raises(tc.TrakCoreError, match=r"by traker \(train-by-test\) .* give --orientation test-by-train"):
        tc.import_scores(SCORES, RAW, "mine", library="traker")
    with pytest.raises(tc.TrakCoreError, match="orientation='sideways'; it must be one of: test-by-train"):
        tc.import_scores(SCORES, RAW, "mine", orientation="sideways")  # type: ignore[arg-type]
    tc.import_scores(SCORES, RAW, "mine", library="traker", orientation="test-by-train")
    assert np.array_equal(stored("mine"), SCORES)


# --- sign ---------------------------------------------------------------------------------------------------


def test_the_sign_is_judged_as_a_loop_over_test_examples_judges_it():
    d = []
    for row, label in zip(SCORES.astype(np.float64), RAW.test.labels, strict=True):
        is_own = RAW.train.labels == label
        d.append((row[is_own].mean() - row[~is_own].mean()) / row.std())
    t = np.mean(d) / (np.std(d, ddof=1) / np.sqrt(len(d)))
    for array in (SCORES, np.asfortranarray(SCORES)):
        found = check_sign(ScoreMatrix("", array, "test-by-train"), RAW.test.labels, RAW.train.labels)
        assert found.n == N_TEST and found.verdict == "right"
        assert found.mean == pytest.approx(np.mean(d), rel=1e-6) and found.t == pytest.approx(t, rel=1e-6)


def test_scores_where_negative_helps_are_refused_until_somebody_says_what_to_do(runs_dir):
    with pytest.raises(tc.TrakCoreError, match=r"t = -\d.*--sign reversed turns them round, --sign as-is keeps them"):
        tc.import_scores(-SCORES, RAW, "mine")
    assert not runs_dir.exists()
    turned = tc.import_scores(-SCORES, RAW, "turned", sign="reversed")
    kept = tc.import_scores(-SCORES, RAW, "kept", sign="as-is")
    assert turned.is_reversed and not kept.is_reversed
    assert turned.sign_check.verdict == kept.sign_check.verdict == "reversed"
    assert np.array_equal(stored("turned"), SCORES)
    assert np.array_equal(stored("kept"), -SCORES)
    with pytest.raises(tc.TrakCoreError, match="sign='flip'; it must be one of: check, as-is, reversed"):
        tc.import_scores(SCORES, RAW, "other", sign="flip")  # type: ignore[arg-type]


def test_scores_that_say_nothing_about_classes_come_in_as_they_are():
    noise = np.random.default_rng(5).normal(size=SCORES.shape).astype(np.float32)
    imported = tc.import_scores(noise, RAW, "noise")
    assert imported.sign_check.verdict == "unclear" and not imported.is_reversed
    assert "does not show" in imported.sign_check.sentence


def test_the_sign_of_few_test_examples_or_of_equal_scores_stays_open():
    few = replace(RAW, test=part(4, 1))
    found = check_sign(ScoreMatrix("", -SCORES[:4], "test-by-train"), few.test.labels, few.train.labels)
    assert found.verdict == "unclear" and np.isnan(found.t)
    zeros = check_sign(ScoreMatrix("", 0 * SCORES, "test-by-train"), RAW.test.labels, RAW.train.labels)
    assert zeros.verdict == "unclear" and zeros.t == 0
    strangers = check_sign(ScoreMatrix("", SCORES, "test-by-train"), RAW.test.labels + 7, RAW.train.labels)
    assert strangers.n == 0 and strangers.verdict == "unclear"
    assert "only 0 test examples can be asked" in strangers.sentence


# --- bad input ----------------------------------------------------------------------------------------------


def spoilt(value: float, row: int, column: int, scores: NDArray[Any] = SCORES) -> NDArray[Any]:
    changed = scores.copy()
    changed[row, column] = value
    return changed


def with_pickle(path: Path) -> Path:
    np.save(path, np.array([[object()]], dtype=object), allow_pickle=True)
    return path


def changed_pairs(**of_row_7: Any) -> pd.DataFrame:
    table = long_table(SCORES)
    for name, value in of_row_7.items():
        table[name] = table[name].astype(object if value is None or isinstance(value, str) else table[name].dtype)
        table.loc[7, name] = value
    return table


BAD_FILES: dict[str, tuple[Any, str]] = {
    "nan.npy": (spoilt(np.nan, 4, 17), r"nan.npy holds nan at row 4, column 17 \(counted from 0\)"),
    "inf.npy": (spoilt(np.inf, 17, 4, SCORES.T), r"inf.npy holds inf at row 17, column 4"),
    "huge.npy": (spoilt(1e300, 2, 3, SCORES.astype(np.float64)), r"holds 1e\+300 at row 2, column 3"),
    "nan.safetensors": (spoilt(np.nan, 0, 0), "nan.safetensors, tensor 'anything' holds nan at row 0, column 0"),
    "nan.pt": (spoilt(np.nan, 11, 29), "nan.pt holds nan at row 11, column 29"),
    "few.npy": (
        SCORES[:, :-1],
        r"of 12 x 29, and 12 test and 30 training examples need 12 x 30 \(a row for each test example\) or 30 x 12;",
    ),
    "flat.npy": (SCORES.ravel(), r"has the shape \(360,\); scores must be a matrix"),
    "deep.npy": (SCORES[None], r"has the shape \(1, 12, 30\); scores must be a matrix"),
    "none.npy": (SCORES[:0], r"has the shape \(0, 30\) and holds no matrix"),
    "words.npy": (np.full((12, 30), "x"), "holds values of the type <U1; scores must be real numbers"),
    "truth.npy": (SCORES > 0, "holds values of the type bool"),
    "complex.npy": (SCORES * 1j, "holds values of the type complex64"),
    "record.npy": (np.zeros((12, 30), dtype=[("a", "f4")]), "scores must be real numbers"),
    "s.txt": (b"1 2 3", r"s.txt ends in '.txt'; give the scores as .npy, .mmap"),
    "broken.npy": (b"\x93NUMPY", "broken.npy cannot be read as a matrix of numbers"),
    "text.npy": (b"1,2,3\n", "text.npy cannot be read as a matrix of numbers"),
    "zero.npy": (b"", "zero.npy cannot be read as a matrix of numbers"),
    "zero.npz": (b"", "zero.npz cannot be read as a matrix of numbers"),
    "broken.safetensors": (b"{}", "broken.safetensors cannot be read as a matrix of numbers"),
    "broken.pt": (b"PK", "broken.pt cannot be read as a plain tensor"),
    "broken.parquet": (b"PAR1", "broken.parquet cannot be read as a matrix of numbers"),
    "twice.parquet": (pd.concat([long_table(SCORES)] * 2), r"row 360: the pair of test example \d+ and train example"),
    "top.parquet": (
        long_table(SCORES).sort_values(["test_idx", "train_idx"]).query("train_idx < 29"),
        "has scores of 348 pairs.* the first that is missing is test example 0 with train example 29",
    ),
    "far.parquet": (changed_pairs(test_idx=12), r"row 7: test_idx is 12, and there are 12 such examples, 0 to 11"),
    "negative.parquet": (changed_pairs(train_idx=-1), r"row 7: train_idx is -1, and there are 30 such examples"),
    "gap.parquet": (changed_pairs(score=None), r"row 7: score is empty; scores must be finite 32-bit numbers"),
    "inf.parquet": (changed_pairs(score=-np.inf), r"row 7: score is -inf"),
    "empty.parquet": (long_table(SCORES)[:0], "empty.parquet has no rows"),
    "names.parquet": (
        long_table(SCORES).assign(test_idx="a"),
        "column 'test_idx' holds (large_)?string values; number examples from 0",
    ),
    "labels.parquet": (
        pd.DataFrame(SCORES).rename(columns=str).assign(label="ant"),
        "column 'label' holds (large_)?string values; give a table of numbers alone",
    ),
    "hole.parquet": (
        pd.DataFrame(spoilt(np.nan, 3, 2)).rename(columns=str),
        "hole.parquet holds nan at row 3, column 2",
    ),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_is_one_sentence_with_the_place_and_leaves_nothing(tmp_path, runs_dir, name):
    content, message = BAD_FILES[name]
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, pd.DataFrame):
        content.to_parquet(path, index=False)
    else:
        save(path, content)
    with pytest.raises(tc.TrakCoreError, match=message) as caught:
        tc.import_scores(path, RAW, "mine")
    assert name in str(caught.value) and "\n" not in str(caught.value)
    assert not runs_dir.exists()


def test_nothing_is_ever_unpickled(tmp_path, runs_dir):
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "sprung",))

    np.save(tmp_path / "trap.npy", np.array([[Trap()]], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "trap.npz", scores=np.array([[Trap()]], dtype=object))
    torch.save({"scores": Trap()}, tmp_path / "trap.pt")
    for name, said in {
        "trap.npy": "holds values of the type object",
        "trap.npz": "trap.npz, array 'scores' holds values of the type object",
        "trap.pt": "nothing else is read from a torch file, because it could run code",
    }.items():
        with pytest.raises(tc.TrakCoreError, match=said):
            tc.import_scores(tmp_path / name, RAW, "mine")
    with pytest.raises(tc.TrakCoreError, match="holds values of the type object"):
        tc.import_scores([[Trap()]], RAW, "mine")
    assert not (tmp_path / "sprung").exists() and not runs_dir.exists()


def test_a_matrix_that_would_unpack_without_end_is_refused_by_its_header(tmp_path):
    """10 TB of zeros in a small file: the form is read before anything is unpacked."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f4", "fortran_order": False, "shape": (1_600_000, 1_600_000)}
    )
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("scores.npy", header.getvalue() + bytes(1_000_000))
    with pytest.raises(tc.TrakCoreError, match="a matrix of 1,600,000 x 1,600,000, and 12 test and 30"):
        tc.import_scores(tmp_path / "bomb.npz", RAW, "mine")


@pytest.mark.parametrize("packing", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_matrix_packed_in_a_way_that_python_unpacks_without_end_is_refused(tmp_path, packing):
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", packing) as archive:
        archive.writestr("scores.npy", bytes(1_000_000))
    with pytest.raises(tc.TrakCoreError, match=r"bomb\.npz: 'scores\.npy' is packed in another way than deflate"):
        tc.import_scores(tmp_path / "bomb.npz", RAW, "mine")


def test_a_header_that_claims_gigabytes_is_not_read_to_its_end(tmp_path):
    start = np.lib.format.magic(2, 0) + (2**31).to_bytes(4, "little")
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("scores.npy", start + b" " * 300_000_000)
    tracemalloc.start()
    with pytest.raises(tc.TrakCoreError, match=r"bomb\.npz cannot be read as a matrix of numbers"):
        tc.import_scores(tmp_path / "bomb.npz", RAW, "mine")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20_000_000


def test_missing_files_and_folders_of_nobody_are_refused(tmp_path):
    with pytest.raises(tc.TrakCoreError, match=r"cannot be read \(File name too long\)"):
        tc.import_scores(tmp_path / f"{'x' * 300}.npy", RAW, "mine")
    with pytest.raises(tc.TrakCoreError, match=r"there is no file .*gone.npy"):
        tc.import_scores(tmp_path / "gone.npy", RAW, "mine")
    with pytest.raises(tc.TrakCoreError, match=r"neither one that traker saved to .* nor one of kronfluence"):
        tc.import_scores(tmp_path, RAW, "mine")


@pytest.mark.parametrize(
    ("listing", "message"),
    [
        ("no json", "experiments.json cannot be read"),
        ("[1]", "experiments.json cannot be read"),
        ("{}", "experiments.json holds no experiment"),
        ('{"a": {"scores_finalized": 1}}', "there is no file .*a.mmap"),
        ('{"../../a": {"scores_finalized": 1}}', r"there is no file .*saved/scores/a.mmap"),
        ('{"a": {"scores_finalized": 0}}', "the scores of experiment 'a' are not finished"),
        ('{"a": {"scores_finalized": 1}, "b": {}}', "more than one experiment: 'a', 'b'"),
    ],
)
def test_odd_folders_of_traker_are_refused(tmp_path, listing, message):
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "experiments.json").write_text(listing)
    with pytest.raises(tc.TrakCoreError, match=message):
        tc.import_scores(tmp_path / "saved", RAW, "mine")


def test_examples_that_do_not_hold_together_are_refused():
    train, test = part(N_TRAIN, 0), part(N_TEST, 1)
    for raw, message in (
        (replace(RAW, test=RawSplit(test.contents[:0], test.labels[:0])), "there are no test examples"),
        (replace(RAW, train=RawSplit(train.contents, train.labels[:-1])), "29 labels for 30 train examples"),
        (
            replace(RAW, test=RawSplit(test.contents, test.labels + 1)),
            "test example 2 has the label 3, and there are 3",
        ),
        (replace(RAW, test=RawSplit(test.contents, test.labels / 2)), "test labels are float64"),  # type: ignore[arg-type]
    ):
        with pytest.raises(tc.TrakCoreError, match=message):
            tc.import_scores(SCORES, raw, "mine")


@pytest.mark.parametrize("method", ["", " x", "a\nb", "x" * 61, "Same  class", "GRAD_norm"])
def test_names_that_cannot_be_are_refused(method):
    with pytest.raises(tc.TrakCoreError, match="method="):
        tc.import_scores(SCORES, RAW, "mine", method=method)
    with pytest.raises(tc.TrakCoreError, match=r"run name '\.\./mine' will not do"):
        tc.import_scores(SCORES, RAW, "../mine")


# --- the run ------------------------------------------------------------------------------------------------


def test_a_run_says_where_its_scores_come_from(tmp_path):
    path = save(tmp_path / "secret folder.npy", -SCORES.T)
    tc.import_scores(path, RAW, "mine", library="dattri", method="TracIn", sign="reversed", title="Six legs")
    with tc.open_run("mine") as run:
        assert run.info.provenance["imported"] == {
            "file": "secret folder.npy",
            "library": "dattri",
            "orientation": "train-by-test",
            "sign": "reversed",
            "sign_check": "reversed",
        }
        assert (run.info.title, run.info.methods, run.info.n_checkpoints) == ("Six legs", ("TracIn",), 0)
        assert str(tmp_path) not in json.dumps(run.info.provenance)
        assert not run.has_lds and not run.will_have_lds
        labels = run.columns("SELECT label FROM examples WHERE split = 'train' ORDER BY idx")["label"]
        assert labels.tolist() == RAW.train.labels.tolist()
        (shown,) = run.rows("SELECT thumbnail FROM examples WHERE split = 'test' AND idx = 3")[0]
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(shown))), RAW.test.contents[3, :, :, 0])  # type: ignore[union-attr]
        mean = SCORES[RAW.test.labels == 1].mean(0)
        (found,) = run.rows('SELECT "values" FROM class_influence WHERE test_class = 1')[0]
        assert np.allclose(found, mean, atol=1e-6)


def test_the_same_import_again_changes_nothing_and_another_one_is_refused():
    tc.import_scores(SCORES, RAW, "mine")
    with tc.open_run("mine") as run:
        before = run.generation
    tc.import_scores(SCORES.copy(), RAW, "mine")
    with pytest.raises(tc.TrakCoreError, match="there is another run 'mine' already, made of other scores or examples"):
        tc.import_scores(2 * SCORES, RAW, "mine")
    with pytest.raises(tc.TrakCoreError, match="another run 'mine'"):
        tc.import_scores(SCORES, replace(RAW, train=part(N_TRAIN, 9)), "mine")
    with tc.open_run("mine") as run:
        assert run.generation == before


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_an_import_that_is_stopped_leaves_nothing(runs_dir, monkeypatch, error):
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(importing._Saver, "_meta", fail)
    with pytest.raises((KeyboardInterrupt, OSError)):
        tc.import_scores(SCORES, RAW, "mine")
    assert list(runs_dir.iterdir()) == []


@pytest.mark.slow
def test_an_import_that_is_killed_goes_on_when_it_is_given_again(runs_dir):
    program = (
        "import os\n"
        "from tests.test_exchange import RAW, SCORES\n"
        "from trak_core.exchange import importing\n"
        "importing._Saver._meta = lambda self: os._exit(9)\n"
        "importing.import_scores(SCORES, RAW, 'mine')\n"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=os.environ).returncode == 9
    assert (runs_dir / "mine" / "build" / "working.duckdb").exists()
    with pytest.raises(tc.TrakCoreError, match="an unfinished build of run 'mine' has other settings or data"):
        tc.import_scores(2 * SCORES, RAW, "mine")
    tc.import_scores(SCORES, RAW, "mine")
    assert np.array_equal(stored("mine"), SCORES)
    assert [path.name for path in (runs_dir / "mine").iterdir()] == ["store.duckdb"]


def test_test_examples_that_were_never_scored_are_counted():
    scores = SCORES.copy()
    scores[[2, 5]], scores[7] = 0, 0.1
    found = tc.import_scores(scores, RAW, "mine")
    assert (found.n_constant, found.n_empty) == (3, 2)
    assert found.decided == (
        "3 test examples have the same score for all training examples, 2 of them 0, as where nothing was scored: "
        "there is nothing to rank, and where models were retrained the LDS counts as 0.",
    )


def test_scores_that_rank_nothing_make_no_run(runs_dir):
    scores = np.arange(1, N_TEST + 1, dtype=np.float32)[:, None] + np.zeros((1, N_TRAIN), dtype=np.float32)
    for flat, word in ((0 * scores, "are 0;"), (scores, "are the same;"), (0.1 * scores + 1e-9 * SCORES, "the same;")):
        with pytest.raises(tc.TrakCoreError, match=f"ranks nothing: for each of the 12 test examples .* {word}"):
            tc.import_scores(flat, RAW, "mine")
    assert not (runs_dir / "mine").exists()


def test_a_matrix_that_was_turned_is_said():
    found = tc.import_scores(np.ascontiguousarray(SCORES.T), RAW, "mine")
    assert found.orientation == "train-by-test" and found.decided == (
        "The matrix came with a row for each training example (30 x 12), and was turned: here a row is a test example.",
    )


def test_runs_of_the_same_examples_can_be_compared_whatever_made_them(runs_dir, monkeypatch):
    tc.import_scores(SCORES, RAW, "mine")
    tc.import_scores(SCORES[:, ::-1].copy(), RAW, "other", method="turned about", sign="as-is")
    tc.import_scores(SCORES, replace(RAW, train=part(N_TRAIN, 9)), "strange")
    with tc.open_run("mine") as mine, tc.open_run("other") as other, tc.open_run("strange") as strange:
        assert have_same_data(mine, other) and not have_same_data(mine, strange)
        found = agreement(mine, "imported", other, "turned about")
        assert found.n_test == N_TEST and np.isfinite(found.mean_proponents)
        monkeypatch.setitem(other.info.provenance, "data_fingerprint", "as builds have one")
        assert have_same_data(mine, other)


def test_texts_are_examples_too(tmp_path):
    texts = replace(
        RAW,
        modality="text",
        train=RawSplit([f"train {i}" for i in range(N_TRAIN)], RAW.train.labels),
        test=RawSplit([f"<b>test</b> {i}" for i in range(N_TEST)], RAW.test.labels),
    )
    tc.import_scores(SCORES, texts, "mine")
    with tc.open_run("mine") as run:
        assert run.rows("SELECT text FROM examples WHERE split = 'test' AND idx = 4") == [("<b>test</b> 4",)]


def test_a_run_of_scores_travels_as_one_file(tmp_path, runs_dir):
    tc.import_scores(SCORES, RAW, "mine")
    export_run(runs_dir / "mine", tmp_path / "mine.zip")
    import_run(tmp_path / "mine.zip", runs_dir, "again")
    assert np.array_equal(stored("again"), SCORES)


def test_what_needs_models_says_why_it_cannot_be():
    tc.import_scores(SCORES, RAW, "mine")
    for arguments in (["map", "mine"], ["evidence", "mine"], ["what-if", "mine", "--test", "0", "--remove", "1"]):
        result = CliRunner().invoke(cli, arguments)
        assert result.exit_code == 2 and result.output.startswith("error: ")
        assert "holds no features" in result.output or "was imported from scores made elsewhere" in result.output


# --- predictions --------------------------------------------------------------------------------------------


def probabilities() -> NDArray[np.float64]:
    return np.random.default_rng(8).dirichlet(np.ones(3), N_TEST)


def test_predictions_come_along(tmp_path):
    p = probabilities()
    np.save(tmp_path / "p.npy", p)
    tc.import_scores(SCORES, RAW, "mine", predictions=tmp_path / "p.npy")
    with tc.open_run("mine") as run:
        tests = browse.overview(run)
        assert tests.is_known and np.allclose(tests.probabilities, p, atol=1e-6)
        assert tests.predicted.tolist() == p.argmax(1).tolist()
        assert tests.mistakes.tolist() == (p.argmax(1) != RAW.test.labels).tolist()
        of_label = p[np.arange(N_TEST), RAW.test.labels]
        rows = run.columns("SELECT model_output, loss, p_label FROM predictions ORDER BY idx")
        assert np.allclose(rows["model_output"], np.log(of_label / (1 - of_label)), atol=1e-5)
        assert np.allclose(rows["loss"], -np.log(of_label), atol=1e-5)
    stored("mine")


def test_without_predictions_nothing_is_called_a_mistake():
    tc.import_scores(SCORES, RAW, "mine")
    with tc.open_run("mine") as run:
        tests = browse.overview(run)
        assert not tests.is_known and not tests.mistakes.any()
        everything = browse.TestFilter(only_mistakes=False, confidence=(0.9, 1.0))
        assert browse.find_tests(run, tests, everything) == list(range(N_TEST))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p[:-1], "predictions of 11 x 3, and 12 test examples with 3 classes need 12 x 3; .* ant, bee, cat"),
        (lambda p: 10 * p - 3, r"at row \d, column \d \(counted from 0\); .* put logits through a softmax first"),
        (lambda p: p / 2, r"the probabilities in row 0 \(counted from 0\) add up to 0.5"),
        (lambda p: spoilt(np.nan, 4, 1, p), "holds nan at row 4, column 1"),
    ],
)
def test_numbers_that_are_no_predictions_are_refused(runs_dir, change, message):
    with pytest.raises(tc.TrakCoreError, match=message):
        tc.import_scores(SCORES, RAW, "mine", predictions=change(probabilities()))
    assert not runs_dir.exists()


# --- the command --------------------------------------------------------------------------------------------


def insect_table(path: Path) -> Path:
    rows = [("train", i % 3, i) for i in range(N_TRAIN)] + [("test", i % 3, i) for i in range(N_TEST)]
    lines = [f"{split},{CLASSES[label]},{split} text number {i}" for split, label, i in rows]
    path.write_text("\n".join(["split,kind,text", *lines]), encoding="utf-8")
    return path


def run_cli(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def test_the_command_imports_a_table_and_says_what_it_did(tmp_path, runs_dir):
    scores, table = save(tmp_path / "s.npy", SCORES.T), insect_table(tmp_path / "insects.csv")
    options = ("--text", "text", "--label", "kind", "--split", "split", "--name", "mine")
    result = run_cli("import-scores", scores, "table", table, *options, "--library", "dattri")
    assert result.exit_code == 0, result.output
    assert "12 test x 30 train scores of 'dattri', train-by-test." in result.output
    assert "as they do where positive scores help" in result.output
    assert np.array_equal(stored("mine"), SCORES)
    with tc.open_run("mine") as run:
        assert run.info.class_names == CLASSES and run.info.title == "insects"
    result = run_cli("import-scores", save(tmp_path / "turned.npy", -SCORES), "table", table, *options[:-1], "other")
    assert result.exit_code == 2 and result.output.startswith("error: ") and result.output.count("\n") == 1
    assert [path.name for path in runs_dir.iterdir()] == ["mine"]
    assert run_cli("info", "mine").exit_code == run_cli("verify", "mine").exit_code == run_cli("runs").exit_code == 0


def test_the_command_imports_images_of_a_folder(tmp_path):
    for split, raw in (("train", RAW.train), ("test", RAW.test)):
        for i, label in enumerate(raw.labels):
            folder = tmp_path / "insects" / split / CLASSES[label]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(raw.contents[i, :, :, 0]).save(folder / f"{i:03}.png")  # type: ignore[union-attr]
    raw = CustomData("image-folder", tmp_path / "insects").read()
    scores = make_scores(raw)
    path = save(tmp_path / "s.safetensors", scores)
    predictions = save(tmp_path / "p.npy", probabilities().astype(np.float32))
    result = run_cli(
        "import-scores", path, "image-folder", tmp_path / "insects", "--name", "mine", "--predictions", predictions
    )
    assert result.exit_code == 0, result.output
    assert np.array_equal(stored("mine"), scores)


def test_the_command_needs_a_name_and_a_kind(tmp_path):
    scores = save(tmp_path / "s.npy", SCORES)
    assert run_cli("import-scores", scores, "image-folder", tmp_path).exit_code == 2
    assert run_cli("import-scores", scores, "nothing", tmp_path, "--name", "x").exit_code == 2
    assert run_cli("import-scores", scores, "table", "--help").exit_code == 0


# --- tables out ---------------------------------------------------------------------------------------------


def read(path: Path) -> pd.DataFrame:
    readers = {".parquet": pd.read_parquet, ".csv": pd.read_csv, ".json": pd.read_json}
    return readers[path.suffix](path)  # type: ignore[operator, no-any-return]


@pytest.mark.parametrize("ending", ["parquet", "csv", "json"])
def test_tables_hold_what_the_run_holds(tmp_path, ending):
    tc.import_scores(SCORES, RAW, "mine")
    with tc.open_run("mine") as run:
        path = tmp_path / f"scores.{ending}"
        assert tc.export_table(run, "scores", path) == N_TEST * N_TRAIN
        table = read(path)
        assert list(table) == ["test_idx", "train_idx", "method", "score"]
        assert table["test_idx"].tolist() == np.repeat(np.arange(N_TEST), N_TRAIN).tolist()
        assert table["train_idx"].tolist() == np.tile(np.arange(N_TRAIN), N_TEST).tolist()
        assert np.array_equal(table["score"].to_numpy(np.float32).reshape(SCORES.shape), SCORES)
        assert tc.export_table(run, "top", tmp_path / f"top.{ending}", k=3) == N_TEST * 6
        top = read(tmp_path / f"top.{ending}")
        first = top[(top["test_idx"] == 4) & (top["side"] == "proponent")]
        expected = run.proponents(4, 3)
        assert first["rank"].tolist() == [1, 2, 3]
        assert first["train_idx"].tolist() == expected["train_idx"].tolist()
        assert first["train_label"].tolist() == expected["label_name"].tolist()
        assert set(first["test_label"]) == {CLASSES[4 % 3]}


def test_exported_scores_can_be_imported_again(tmp_path):
    tc.import_scores(SCORES, RAW, "mine")
    with tc.open_run("mine") as run:
        tc.export_table(run, "scores", tmp_path / "scores.parquet")
    tc.import_scores(tmp_path / "scores.parquet", RAW, "again")
    assert np.array_equal(stored("again"), SCORES)


def test_verdicts_go_out_as_the_review_page_gives_them(tmp_path, runs_dir):
    tc.import_scores(SCORES, RAW, "mine")
    with tc.open_run("mine") as run:
        reviews = Reviews(run.path, data_fingerprint(run))
        reviews.record(3, "relabel", "Ana", 2, note="clearly, a “cat”")
        reviews.record(5, "exclude", "Ana")
        assert tc.export_table(run, "verdicts", tmp_path / "verdicts.csv") == 2
        assert tc.export_table(run, "verdicts", tmp_path / "verdicts.parquet") == 2
        assert tc.export_table(run, "verdicts", tmp_path / "verdicts.json") == 2
        expected = verdict_table(run, reviews.read())
    pd.testing.assert_frame_equal(read(tmp_path / "verdicts.parquet"), expected, check_dtype=False)
    said = read(tmp_path / "verdicts.csv")
    assert said["verdict"].tolist() == ["relabel", "exclude"] and said["note"][0] == "clearly, a “cat”"
    assert json.loads((tmp_path / "verdicts.json").read_text())[1]["new_label"] is None


@pytest.mark.slow
def test_every_method_goes_out_unless_one_is_named(tmp_path, small_run):
    n, methods = small_run.info.n_test * small_run.info.n_train, small_run.info.methods
    path = tmp_path / "scores.parquet"
    assert len(methods) > 1
    assert tc.export_table(small_run, "scores", path) == n * len(methods)
    assert pq.read_table(path)["method"].unique().to_pylist() == list(methods)
    assert tc.export_table(small_run, "scores", path, methods=[methods[-1]], overwrite=True) == n
    table = pq.read_table(path)
    assert table["method"].unique().to_pylist() == [methods[-1]]
    stored_scores = small_run.scores(methods[-1])
    assert np.array_equal(table["score"].to_numpy().reshape(stored_scores.shape), stored_scores)
    with pytest.raises(tc.TrakCoreError, match=r"has no scores of method 'nope'; it has: trak"):
        tc.export_table(small_run, "scores", path, methods=["nope"], overwrite=True)


def test_a_file_that_is_there_or_cannot_be_is_refused_and_stays(tmp_path):
    tc.import_scores(SCORES, RAW, "mine")
    there = tmp_path / "scores.csv"
    there.write_text("mine")
    for path, message in (
        (there, "scores.csv is there already and was not changed; give --force or another name"),
        (tmp_path / "scores.xlsx", r"ends in '.xlsx'; name a file that ends in .parquet, .csv, .json"),
        (tmp_path / "gone" / "scores.csv", "there is no folder .*gone"),
    ):
        result = run_cli("export-table", "mine", "scores", path)
        assert result.exit_code == 2
        with tc.open_run("mine") as run, pytest.raises(tc.TrakCoreError, match=message):
            tc.export_table(run, "scores", path)
    with tc.open_run("mine") as run, pytest.raises(tc.TrakCoreError, match="k=101; a run keeps the strongest 100"):
        tc.export_table(run, "top", tmp_path / "top.csv", k=101)
    assert there.read_text() == "mine"
    result = run_cli("export-table", "mine", "scores", there, "--force")
    assert result.exit_code == 0 and "360 rows are in" in result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runs", "scores.csv"]


def test_an_export_that_fails_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    tc.import_scores(SCORES, RAW, "mine")
    there = tmp_path / "scores.csv"
    there.write_text("mine")
    with tc.open_run("mine") as run:

        def fail(*_: object) -> pa.Table:
            raise tc.TrakCoreError("the store was swallowed")

        monkeypatch.setattr(run, "arrow", fail)
        with pytest.raises(tc.TrakCoreError, match="the store was swallowed"):
            tc.export_table(run, "scores", there, overwrite=True)
    assert there.read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runs", "scores.csv"]


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path):
    tc.import_scores(SCORES, RAW, "mine")
    program = (
        "import resource, signal, sys, runpy\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "sys.argv = ['trak_core', 'export-table', 'mine', 'scores', sys.argv[1]]\n"
        "runpy.run_module('trak_core', run_name='__main__')\n"
    )
    for ending in ("csv", "parquet"):
        target = tmp_path / f"scores.{ending}"
        result = subprocess.run(
            [sys.executable, "-c", program, str(target)], cwd=ROOT, env=os.environ, capture_output=True, text=True
        )
        assert result.returncode == 1, result.stderr
        assert result.stderr.startswith("error: cannot write ") and result.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
