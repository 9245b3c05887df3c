"""Builds in processes of their own: started, watched, stopped, and gone on with."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.tiny import SETTINGS, TINY
from trak_core.engine import build_run
from trak_core.errors import StoreDamagedError
from trak_core.launch import NICENESS, Launcher, verify_apart
from trak_core.store.progress import read_status
from trak_core.store.run import open_run
from trak_core.subjects import RECIPES

SIZES = ["--n-checkpoints", "2", "--proj-dim", "8", "--n-subsets", "20", "--n-seeds", "1"]
COMMAND = ["build", "digits", "--name", "mine", *SIZES]


@pytest.fixture
def launcher() -> Iterator[Launcher]:
    started = Launcher()
    yield started
    for process in started._processes.values():
        process.kill()
        process.wait()
    for log in started._logs.values():
        log.close()


def wait_for(true: Callable[[], object], seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)


def is_at_work(run_dir: Path) -> bool:
    status = read_status(run_dir)
    return status is not None and bool(status.command)


def test_a_build_is_stopped_cleanly_and_goes_on_to_its_end(launcher, tmp_path):
    run_dir = tmp_path / "mine"
    launcher.start(run_dir, COMMAND)
    wait_for(lambda: is_at_work(run_dir))
    assert launcher.stop(run_dir)
    wait_for(lambda: not launcher.is_running(run_dir))
    status = read_status(run_dir)
    assert status is not None and status.state == "stopped"
    assert status.command[:4] == ["build", "digits", "--name", "mine"]
    assert launcher.failure(run_dir) is None, "being stopped is no failure"
    assert launcher.log(run_dir)[-1] == "stopped; the same command goes on from here."
    assert not launcher.is_stopping(run_dir)
    launcher.start(run_dir, status.command)
    wait_for(lambda: not launcher.is_running(run_dir), 300)
    assert launcher.failure(run_dir) is None
    with open_run(run_dir) as run:
        assert run.info.provenance["complete"]
    assert "is complete" in "\n".join(launcher.log(run_dir))


def test_the_log_can_be_read_while_the_build_writes_it(launcher, tmp_path):
    run_dir = tmp_path / "mine"
    launcher.start(run_dir, COMMAND)
    lengths = []
    while launcher.is_running(run_dir):
        lengths.append(len(launcher.log(run_dir)))
        time.sleep(0.01)
    log = launcher.log(run_dir)
    assert lengths == sorted(lengths) and lengths[-1] >= 1
    assert "reading the data" in log[0]
    assert any("training 2 checkpoints" in line for line in log)
    assert launcher.log(run_dir, 2) == log[-2:]


def test_nothing_is_stopped_that_was_not_started_here(launcher, tmp_path):
    assert not launcher.stop(tmp_path / "mine")
    assert launcher.log(tmp_path / "mine") == []
    assert launcher.failure(tmp_path / "mine") is None
    assert launcher.started(tmp_path) == {}


def test_a_build_that_cannot_begin_says_why_until_it_is_forgotten(launcher, tmp_path):
    run_dir = tmp_path / "mine"
    command = ["build", "digits", "--name", "mine", "--n-subsets", "2"]
    launcher.start(run_dir, command)
    wait_for(lambda: not launcher.is_running(run_dir))
    assert launcher.failure(run_dir) == "n_subsets=2; it must be from 20 to 10,000."
    assert launcher.started(tmp_path) == {run_dir: command}
    assert launcher.started(tmp_path / "elsewhere") == {}
    launcher.forget(run_dir)
    assert launcher.failure(run_dir) is None
    assert launcher.started(tmp_path) == {}


def test_a_killed_build_is_a_failure(launcher, tmp_path):
    run_dir = tmp_path / "mine"
    launcher.start(run_dir, COMMAND)
    launcher._processes[run_dir].send_signal(signal.SIGKILL)
    wait_for(lambda: not launcher.is_running(run_dir))
    assert launcher.failure(run_dir) == "the build process ended with status -9 and said nothing."


def test_a_build_under_way_is_not_forgotten(launcher, tmp_path):
    run_dir = tmp_path / "mine"
    launcher.start(run_dir, COMMAND)
    launcher.forget(run_dir)
    assert launcher.is_running(run_dir)
    launcher.stop(run_dir)
    assert launcher.is_stopping(run_dir) or not launcher.is_running(run_dir)


def test_a_run_is_checked_in_another_process(tmp_path, monkeypatch):
    monkeypatch.setitem(RECIPES, "tiny", TINY)
    run_dir = build_run(SETTINGS, "tiny", tmp_path)
    assert all(check.ok for check in verify_apart(run_dir))
    (run_dir / "checkpoints" / "model_1.safetensors").write_bytes(b"changed")
    wrong = [check for check in verify_apart(run_dir) if not check.ok]
    assert [check.name for check in wrong] == ["checkpoints are the files that were trained"]


def test_a_run_that_cannot_be_opened_is_one_sentence(tmp_path):
    (tmp_path / "store.duckdb").write_bytes(b"junk")
    with pytest.raises(StoreDamagedError, match="is damaged and cannot be read"):
        verify_apart(tmp_path)


def test_a_build_steps_back_behind_the_explorer(launcher, tmp_path):
    launcher.start(tmp_path / "mine", COMMAND)
    niceness = os.getpriority(os.PRIO_PROCESS, launcher._processes[tmp_path / "mine"].pid)
    assert niceness == NICENESS
