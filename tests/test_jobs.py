"""Work in processes of its own: a few at once, in order, with progress, a log, and a sentence when one fails."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import trak_core.jobs as jobs_module
from tests.tiny import SETTINGS, TINY
from trak_core.engine import build_run
from trak_core.errors import StoreDamagedError
from trak_core.evidence.verification import verify_apart
from trak_core.jobs import NICENESS, Jobs, JobStatus, report_progress
from trak_core.store.files import RunFiles
from trak_core.store.progress import read_status
from trak_core.store.run import open_run
from trak_core.store.writer import build_lock
from trak_core.subjects import RECIPES

PYTHON = (sys.executable, "-c")
WAIT_FOR_FILE = """
import sys, time
from pathlib import Path
with open(sys.argv[1] + "/order", "a") as order:
    order.write(sys.argv[2])
while not Path(sys.argv[1], "go" + sys.argv[2]).exists():
    time.sleep(0.02)
"""


def wait_until(holds: Callable[[], bool], patience: float = 300.0) -> None:
    deadline = time.monotonic() + patience
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def state(jobs: Jobs, key: str) -> str:
    status = jobs.status(key)
    assert status is not None
    return status.state


def ended(jobs: Jobs, key: str) -> JobStatus:
    wait_until(lambda: not jobs.is_running(key))
    status = jobs.status(key)
    assert status is not None
    return status


def test_two_run_at_once_and_the_others_wait_in_order(tmp_path):
    jobs = Jobs(2, PYTHON)
    for name in "abcd":
        jobs.start(name, [WAIT_FOR_FILE, str(tmp_path), name])
    order = tmp_path / "order"
    wait_until(lambda: order.exists() and len(order.read_text()) == 2)
    assert [state(jobs, name) for name in "abcd"] == ["running", "running", "waiting", "waiting"]
    assert [jobs.status(name).n_before for name in "cd"] == [0, 1]
    (tmp_path / "gob").touch()
    wait_until(lambda: len(order.read_text()) == 3)
    assert order.read_text()[2] == "c"
    assert [state(jobs, name) for name in "abcd"] == ["running", "done", "running", "waiting"]
    for name in "acd":
        (tmp_path / f"go{name}").touch()
    assert [ended(jobs, name).state for name in "abcd"] == ["done"] * 4


def test_a_job_that_is_under_way_is_not_started_again(tmp_path):
    jobs = Jobs(2, PYTHON)
    for _ in range(3):
        jobs.start("a", [WAIT_FOR_FILE, str(tmp_path), "a"])
    (tmp_path / "goa").touch()
    assert ended(jobs, "a").state == "done"
    assert (tmp_path / "order").read_text() == "a"
    jobs.start("a", [WAIT_FOR_FILE, str(tmp_path), "a"])
    assert ended(jobs, "a").state == "done"
    assert (tmp_path / "order").read_text() == "aa"


def test_a_job_tells_how_far_it_is(tmp_path):
    jobs = Jobs(1, PYTHON)
    tell = "from trak_core.jobs import report_progress; report_progress(0.25, 'training')\n"
    jobs.start("a", [tell + WAIT_FOR_FILE, str(tmp_path), "a"])
    wait_until(lambda: jobs.status("a").step == "training")
    status = jobs.status("a")
    assert (status.state, status.fraction, status.is_under_way) == ("running", 0.25, True)
    assert status.seconds_left is not None and status.seconds_left > 0
    (tmp_path / "goa").touch()
    assert ended(jobs, "a") == JobStatus("done")


def test_the_text_given_is_on_standard_input(tmp_path):
    jobs = Jobs(1, PYTHON)
    long = "7," * 200_000  # longer than an argument may be
    jobs.start("a", ["import sys; open(sys.argv[1], 'w').write(sys.stdin.read())", str(tmp_path / "out")], long)
    assert ended(jobs, "a").state == "done"
    assert (tmp_path / "out").read_text() == long


def test_a_job_that_fails_says_its_last_line():
    jobs = Jobs(1, PYTHON)
    jobs.start("a", ["import sys; print('reading'); sys.exit('error: there is no test example 9.')"])
    assert ended(jobs, "a") == JobStatus("failed", message="there is no test example 9.")
    jobs.start("b", ["import sys; sys.exit(3)"])
    assert ended(jobs, "b").message == "the process ended with status 3 and said nothing; try again."
    jobs.start("c", [f"import os; os.kill(os.getpid(), {int(signal.SIGKILL)})"])
    assert ended(jobs, "c").message == "the process was killed by signal 9 and said nothing; try again."
    assert jobs.status("unheard of") is None


def test_a_program_that_cannot_be_started_is_said():
    jobs = Jobs(1, ("/nowhere/python",))
    jobs.start("a", [])
    status = ended(jobs, "a")
    assert status.state == "failed"
    assert "could not be started" in status.message


def test_a_job_can_be_stopped_whether_it_runs_or_waits(tmp_path):
    jobs = Jobs(1, PYTHON)
    for name in "abc":
        jobs.start(name, [WAIT_FOR_FILE, str(tmp_path), name])
    wait_until(lambda: (tmp_path / "order").exists())
    jobs.stop("b")
    assert state(jobs, "b") == "stopped"
    jobs.stop("a")
    assert ended(jobs, "a").state == "stopped"
    (tmp_path / "goc").touch()
    assert ended(jobs, "c").state == "done"
    assert (tmp_path / "order").read_text() == "ac"
    jobs.stop("c")
    jobs.stop("unheard of")
    assert state(jobs, "c") == "done"


def test_a_job_that_does_not_listen_is_ended_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr("trak_core.jobs.PATIENCE_SECONDS", 0.2)
    jobs = Jobs(1, PYTHON)
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    jobs.start("a", [deaf + WAIT_FOR_FILE, str(tmp_path), "a"])
    wait_until(lambda: (tmp_path / "order").exists())
    jobs.stop("a")
    assert ended(jobs, "a").state == "stopped"


def test_jobs_step_back_behind_the_explorer():
    jobs = Jobs(1, PYTHON)
    jobs.start("a", ["import os, sys, time; time.sleep(0.5); sys.exit(str(os.nice(0)))"])
    assert ended(jobs, "a").message == str(min(19, os.nice(0) + 5)) or os.nice(0) > 5


def test_only_so_many_that_have_ended_are_remembered(monkeypatch):
    monkeypatch.setattr("trak_core.jobs.KEPT", 1)
    jobs = Jobs(1, PYTHON)
    for name in "abc":
        jobs.start(name, ["pass"])
        ended(jobs, name)
    jobs.start("d", ["pass"])
    ended(jobs, "d")
    assert [jobs.status(name) is None for name in "abcd"] == [True, True, False, False]


def test_progress_of_a_process_that_is_no_job_goes_nowhere(tmp_path, monkeypatch):
    monkeypatch.delenv("TRAK_JOB_STATUS", raising=False)
    report_progress(0.5, "training")
    monkeypatch.setenv("TRAK_JOB_STATUS", str(tmp_path / "gone" / "status.json"))
    report_progress(0.5, "training")
    assert list(Path(tmp_path).iterdir()) == []


def test_what_a_job_says_is_kept_where_that_is_asked_for_until_it_is_forgotten():
    jobs = Jobs(1, PYTHON)
    says = "import sys; print('found'); print('reading', file=sys.stderr)"
    jobs.start("a", [says], keeps_output=True)
    jobs.start("b", [says])
    assert ended(jobs, "a") == JobStatus("done", output="found\n")
    assert ended(jobs, "b") == JobStatus("done")
    jobs.forget("a")
    assert jobs.status("a") is None
    jobs.forget("unheard of")


def test_a_job_that_fails_says_its_last_line_on_standard_error_also_where_output_is_kept():
    jobs = Jobs(1, PYTHON)
    jobs.start("a", ["import sys; print('half'); sys.exit('error: it is damaged.')"], keeps_output=True)
    assert ended(jobs, "a") == JobStatus("failed", message="it is damaged.")


# --- builds -------------------------------------------------------------------------------------------------

SIZES = ["--n-checkpoints", "2", "--proj-dim", "8", "--n-subsets", "20", "--n-seeds", "1"]
COMMAND = ["build", "digits", "--name", "mine", *SIZES]


@pytest.fixture
def builds() -> Iterator[Jobs]:
    started = Jobs()
    yield started
    for key, job in list(started._jobs.items()):
        if job.process is not None:
            job.process.kill()
        started.stop(key)
    wait_until(lambda: not any(started.is_running(key) for key in started._jobs))


def is_at_work(run_dir: Path) -> bool:
    status = read_status(run_dir)
    return status is not None and bool(status.command)


@pytest.mark.slow
def test_a_build_is_stopped_cleanly_and_goes_on_to_its_end(builds, tmp_path):
    run_dir = tmp_path / "mine"
    builds.start_build(run_dir, COMMAND)
    wait_until(lambda: is_at_work(run_dir))
    assert builds.stop(run_dir)
    wait_until(lambda: not builds.is_running(run_dir))
    status = read_status(run_dir)
    assert status is not None and status.state == "stopped"
    assert status.command[:4] == ["build", "digits", "--name", "mine"]
    assert builds.failure(run_dir) is None, "being stopped is no failure"
    assert builds.log(run_dir)[-1] == "stopped; the same command goes on from here."
    assert builds.status(run_dir) == JobStatus("stopped")
    builds.start_build(run_dir, status.command)
    wait_until(lambda: not builds.is_running(run_dir))
    assert builds.failure(run_dir) is None
    with open_run(run_dir) as run:
        assert run.info.provenance["complete"]
    assert "is complete" in "\n".join(builds.log(run_dir))


@pytest.mark.slow
def test_the_log_can_be_read_while_the_build_writes_it(builds, tmp_path):
    run_dir = tmp_path / "mine"
    builds.start_build(run_dir, COMMAND)
    lengths = []
    while builds.is_running(run_dir):
        lengths.append(len(builds.log(run_dir)))
        time.sleep(0.01)
    log = builds.log(run_dir)
    assert lengths == sorted(lengths) and lengths[-1] >= 1
    assert "reading the data" in log[0]
    assert any("training 2 checkpoints" in line for line in log)
    assert builds.log(run_dir, 2) == log[-2:]


def test_nothing_is_stopped_that_was_not_started_here(builds, tmp_path):
    assert not builds.stop(tmp_path / "mine")
    assert builds.log(tmp_path / "mine") == []
    assert builds.failure(tmp_path / "mine") is None
    assert builds.started(tmp_path) == {}


@pytest.mark.slow
def test_a_build_that_cannot_begin_says_why_until_it_is_forgotten(builds, tmp_path):
    run_dir = tmp_path / "mine"
    command = ["build", "digits", "--name", "mine", "--n-subsets", "2"]
    builds.start_build(run_dir, command)
    wait_until(lambda: not builds.is_running(run_dir))
    assert builds.failure(run_dir) == "n_subsets=2; it must be from 20 to 10,000."
    assert builds.started(tmp_path) == {run_dir: command}
    assert builds.started(tmp_path / "elsewhere") == {}
    builds.forget(run_dir)
    assert builds.failure(run_dir) is None
    assert builds.started(tmp_path) == {}


def test_a_killed_build_is_a_failure(builds, tmp_path):
    run_dir = tmp_path / "mine"
    builds.start_build(run_dir, COMMAND)
    builds._jobs[run_dir].process.send_signal(signal.SIGKILL)
    wait_until(lambda: not builds.is_running(run_dir))
    assert builds.failure(run_dir) == "the process was killed by signal 9 and said nothing; try again."


def test_a_build_under_way_is_not_forgotten(builds, tmp_path):
    run_dir = tmp_path / "mine"
    builds.start_build(run_dir, COMMAND)
    builds.forget(run_dir)
    assert builds.is_running(run_dir)
    builds.stop(run_dir)
    assert builds.status(run_dir).is_stopping or not builds.is_running(run_dir)


def test_builds_wait_for_their_turn_too(tmp_path):
    builds = Jobs(1, PYTHON)
    for name in "ab":
        builds.start_build(tmp_path / name, [WAIT_FOR_FILE, str(tmp_path), name])
    wait_until(lambda: (tmp_path / "order").exists())
    assert builds.status(tmp_path / "b").place_in_line == "Waiting for its turn."
    assert builds.log(tmp_path / "b") == []
    assert list(builds.started(tmp_path)) == [tmp_path / "a", tmp_path / "b"]
    for name in "ab":
        (tmp_path / f"go{name}").touch()
    assert [ended(builds, tmp_path / name).state for name in "ab"] == ["done", "done"]


def test_a_build_knows_where_its_run_will_lie(tmp_path):
    builds = Jobs(1, PYTHON)
    builds.start_build(tmp_path / "mine", ["import os; print(os.environ['TRAK_RUNS_DIR'])"])
    assert ended(builds, tmp_path / "mine").state == "done"
    assert builds.log(tmp_path / "mine") == [str(tmp_path)]


def test_a_build_that_goes_on_elsewhere_is_not_started_here(builds, tmp_path):
    with build_lock(RunFiles(tmp_path / "mine")):
        builds.start_build(tmp_path / "mine", COMMAND)
        assert builds.status(tmp_path / "mine") is None


def test_a_build_has_all_the_time_that_it_needs_to_stop(tmp_path, monkeypatch):
    monkeypatch.setattr("trak_core.jobs.PATIENCE_SECONDS", 0.0)
    builds = Jobs(1, PYTHON)
    slow = "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: (time.sleep(1), sys.exit('kept')))\n"
    builds.start_build(tmp_path / "a", [slow + WAIT_FOR_FILE, str(tmp_path), "a"])
    wait_until(lambda: (tmp_path / "order").exists())
    builds.stop(tmp_path / "a")
    assert ended(builds, tmp_path / "a").state == "stopped"
    assert builds.log(tmp_path / "a") == ["kept"]


@pytest.mark.slow
def test_jobs_find_the_program_from_any_folder_and_work_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    jobs = Jobs()
    jobs.start("a", ["recipes"], keeps_output=True)
    assert "docstrings" in ended(jobs, "a").output
    here = Jobs(1, PYTHON)
    here.start("a", ["import os, trak_core.jobs as jobs; print(os.getcwd()); print(jobs.__file__)"], keeps_output=True)
    assert ended(here, "a").output.split() == [str(tmp_path), jobs_module.__file__]


@pytest.mark.slow
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


def test_a_build_steps_back_behind_the_explorer(builds, tmp_path):
    builds.start_build(tmp_path / "mine", COMMAND)
    niceness = os.getpriority(os.PRIO_PROCESS, builds._jobs[tmp_path / "mine"].process.pid)
    assert niceness == NICENESS
