"""Background jobs: a few at once, in order, with progress, and a sentence when one fails."""

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from trak_core.jobs import Jobs, JobStatus, report_progress

PYTHON = (sys.executable, "-c")
WAIT_FOR_FILE = """
import sys, time
from pathlib import Path
with open(sys.argv[1] + "/order", "a") as order:
    order.write(sys.argv[2])
while not Path(sys.argv[1], "go" + sys.argv[2]).exists():
    time.sleep(0.02)
"""


def wait_until(holds: Callable[[], bool], patience: float = 60.0) -> None:
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
