"""The log of verdicts: nothing is lost, nothing is said twice, and nothing is applied to other data."""

import os
import resource
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from trak_core.errors import InvalidSettingError, StorageError, StoreDamagedError
from trak_core.store.files import RunFiles
from trak_core.store.review_file import ReviewFile
from trak_core.store.reviews import Reviews

ROOT = Path(__file__).resolve().parents[1]
WRITER = """
import random
import sys
from pathlib import Path
from trak_core.store.reviews import Reviews
run, reviewer, n = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
reviews = Reviews(run, "data")
for idx in range(n):
    note = "".join(random.choices("abcdefghijklmnopqrstuvwxyz", k=2000))
    reviews.record(idx, "relabel", reviewer, idx % 10, note)
    print(idx, flush=True)
"""


def writer(run_dir: Path, reviewer: str, n: int, **options: object) -> "subprocess.Popen[str]":
    """A process that records verdicts one by one and says which it has recorded."""
    command = [sys.executable, "-c", WRITER, str(run_dir), reviewer, str(n)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, **options)  # type: ignore[call-overload,no-any-return]


@pytest.fixture
def reviews(tmp_path: Path) -> Reviews:
    return Reviews(tmp_path, "data")


def said(reviews: Reviews) -> dict[int, tuple[str, int | None]]:
    return {idx: verdict.says for idx, verdict in reviews.read().latest.items()}


def test_without_any_verdict_there_is_no_file_and_an_empty_log(reviews, tmp_path):
    assert reviews.read().verdicts == ()
    assert list(tmp_path.iterdir()) == []


def test_the_last_verdict_on_an_example_stands_overall_and_by_reviewer(reviews):
    reviews.record(3, "keep", "ann")
    reviews.record(3, "relabel", "bob", 8, " clear ")
    reviews.record(5, "unsure", "ann")
    reviews.record(3, "exclude", "ann")
    log = reviews.read()
    assert said(reviews) == {5: ("unsure", None), 3: ("exclude", None)}
    assert log.by_reviewer[3, "bob"].says == ("relabel", 8)
    assert log.by_reviewer[3, "bob"].note == "clear"
    assert [verdict.reviewer for verdict in log.of(3)] == ["ann", "bob"]
    assert log.disputed == {3}
    assert list(log.latest) == [5, 3]  # in the order in which the last ones came


def test_reviewers_who_say_the_same_do_not_differ(reviews):
    reviews.record(3, "relabel", "ann", 8)
    reviews.record(3, "relabel", "bob", 8)
    reviews.record(4, "relabel", "ann", 8)
    reviews.record(4, "relabel", "bob", 9)
    assert reviews.read().disputed == {4}


def test_undo_adds_a_row_and_what_was_said_before_stands_again(reviews, tmp_path):
    reviews.record(3, "keep", "ann")
    reviews.record(3, "exclude", "ann")
    last = reviews.read().last_by("ann")
    reviews.undo(last.verdict_id, "ann")
    log = reviews.read()
    assert said(reviews) == {3: ("keep", None)}
    assert [(verdict.verdict, verdict.is_undone) for verdict in log.verdicts] == [("keep", False), ("exclude", True)]
    assert ReviewFile(tmp_path).rows("SELECT verdict_id, verdict, undoes FROM verdicts ORDER BY verdict_id") == [
        (1, "keep", None),
        (2, "exclude", None),
        (3, "undo", 2),
    ]
    assert log.last_by("ann").verdict_id == 1


def test_undo_takes_back_ones_own_verdicts_only_and_each_once(reviews, tmp_path):
    reviews.record(3, "keep", "ann")
    reviews.undo(1, "bob")
    assert said(reviews) == {3: ("keep", None)}
    reviews.undo(1, "ann")
    reviews.undo(1, "ann")
    reviews.undo(99, "ann")
    assert said(reviews) == {}
    assert len(ReviewFile(tmp_path).rows("SELECT * FROM verdicts")) == 2


def test_saying_the_same_again_adds_nothing_and_saying_it_anew_does(reviews):
    reviews.record(3, "keep", "ann")
    reviews.record(3, "keep", "ann")
    assert len(reviews.read().verdicts) == 1
    reviews.record(3, "keep", "ann", note="looked twice")
    reviews.record(3, "keep", "bob")
    reviews.undo(reviews.read().last_by("bob").verdict_id, "bob")
    reviews.record(3, "keep", "bob")
    assert [verdict.is_undone for verdict in reviews.read().verdicts] == [False, False, True, False]


def test_a_key_pressed_in_a_hurry_says_a_thing_once(reviews):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: reviews.record(3, "relabel", "ann", 8), range(16)))
        list(pool.map(lambda idx: reviews.record(10 + idx, "keep", "ann"), range(16)))
    log = reviews.read()
    assert sorted(verdict.train_idx for verdict in log.verdicts) == [3, *range(10, 26)]
    assert [verdict.verdict_id for verdict in log.verdicts] == list(range(1, 18))


def test_who_says_the_same_after_another_insists_and_has_the_last_word(reviews):
    reviews.record(1, "relabel", "ann", 3)
    reviews.record(1, "keep", "bob")
    reviews.record(1, "relabel", "ann", 3)
    reviews.record(1, "relabel", "ann", 3)
    assert [verdict.reviewer for verdict in reviews.read().verdicts] == ["ann", "bob", "ann"]
    assert said(reviews) == {1: ("relabel", 3)}


def test_verdicts_on_other_data_are_kept_and_never_applied(reviews, tmp_path):
    reviews.record(3, "exclude", "ann")
    reviews.record(4, "exclude", "ann")
    reviews.undo(2, "ann")
    rebuilt = Reviews(tmp_path, "other data")
    assert rebuilt.read().verdicts == ()
    assert rebuilt.read().n_of_other_data == 1
    rebuilt.undo(1, "ann")  # not its own
    rebuilt.record(3, "keep", "ann")
    assert said(rebuilt) == {3: ("keep", None)}
    assert said(reviews) == {3: ("exclude", None)}
    assert reviews.read().n_of_other_data == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"verdict": "delete"}, "verdict='delete'; it must be one of keep, relabel, exclude, unsure"),
        ({"verdict": "undo"}, "verdict='undo'"),
        ({"verdict": "relabel"}, "relabel needs a new label"),
        ({"new_label": 3}, "the others take none"),
        ({"train_idx": -1}, "numbers run from 0"),
        ({"train_idx": 2**31}, "numbers run from 0 to 2,147,483,647"),
        ({"reviewer": "  "}, "reviewer has 0 letters; give a name of 1 to 100"),
        ({"reviewer": "a" * 101}, "reviewer has 101 letters"),
        ({"note": "a" * 2001}, "note has 2,001 letters; shorten it to 2,000"),
    ],
)
def test_what_says_nothing_clear_is_refused_and_nothing_is_recorded(reviews, tmp_path, arguments, message):
    with pytest.raises(InvalidSettingError, match=message):
        reviews.record(**{"train_idx": 3, "verdict": "keep", "reviewer": "ann", **arguments})
    assert list(tmp_path.iterdir()) == []


def test_names_and_notes_come_back_letter_by_letter(reviews):
    note = "'); DROP TABLE verdicts; -- <b>ünïcode</b> \n 数"
    reviews.record(3, "keep", "o'hara", note=note)
    assert [(verdict.reviewer, verdict.note) for verdict in reviews.read().verdicts] == [("o'hara", note)]


@pytest.mark.slow
def test_two_processes_that_write_at_once_lose_nothing(reviews, tmp_path):
    with writer(tmp_path, "ann", 100) as ann, writer(tmp_path, "bob", 100) as bob:
        assert [len(process.communicate()[0].split()) for process in (ann, bob)] == [100, 100]
    log = reviews.read()
    assert sorted(log.by_reviewer) == sorted((idx, name) for idx in range(100) for name in ("ann", "bob"))
    assert [verdict.verdict_id for verdict in log.verdicts] == list(range(1, 201))


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.0, 0.31])
def test_a_killed_process_loses_nothing_that_it_had_recorded(reviews, tmp_path, seconds):
    with writer(tmp_path, "ann", 1000) as process:
        heard = [int(process.stdout.readline()) for _ in range(5)]
        time.sleep(seconds)
        os.kill(process.pid, signal.SIGKILL)
        heard += [int(line) for line in process.stdout.read().split()]
    found = [verdict.train_idx for verdict in reviews.read().verdicts]
    # One more may be there: recorded, but killed before it could be said.
    assert found in (heard, [*heard, len(heard)])
    reviews.record(5000, "keep", "bob")
    assert [verdict.train_idx for verdict in reviews.read().verdicts] == [*found, 5000]


@pytest.mark.slow
def test_a_full_disk_is_said_and_loses_nothing_that_was_recorded(tmp_path):
    """The limit on file sizes stands in for a full disk."""
    reviews = Reviews(tmp_path, "data")
    reviews.record(9999, "keep", "bob")
    size = RunFiles(tmp_path).reviews.stat().st_size

    def limit_file_size() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    with writer(tmp_path, "ann", 3000, preexec_fn=limit_file_size, stderr=subprocess.PIPE) as process:
        heard, error = process.communicate()
    assert process.returncode == 1
    assert "StorageError: cannot write" in error
    recorded = [int(line) for line in heard.split()]
    assert [verdict.train_idx for verdict in reviews.read().verdicts] == [9999, *recorded]
    reviews.record(5000, "keep", "bob")
    assert len(reviews.read().verdicts) == len(recorded) + 2


def test_a_file_that_is_no_database_is_refused_and_left_alone(reviews, tmp_path):
    RunFiles(tmp_path).reviews.write_bytes(b"not a database" * 1000)
    with pytest.raises((StoreDamagedError, StorageError), match=r"reviews\.duckdb"):
        reviews.read()
    with pytest.raises((StoreDamagedError, StorageError)):
        reviews.record(3, "keep", "ann")
    assert RunFiles(tmp_path).reviews.read_bytes() == b"not a database" * 1000
