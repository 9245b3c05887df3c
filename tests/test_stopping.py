"""Being asked to stop is told from a failure, whatever was interrupted."""

import signal
import subprocess
import sys
import time

import duckdb

from trak_core.stopping import is_stop

_QUERIES_UNTIL_STOPPED = """
import signal
import duckdb
from trak_core.stopping import is_stop

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs are begun without it
with duckdb.connect() as connection:
    try:
        print("asking", flush=True)
        while True:
            connection.execute("SELECT count(*) FROM range(20000) a, range(20000) b WHERE a.range * b.range % 7 = 3")
    except BaseException as error:
        print("a stop" if is_stop(error) else repr(error), flush=True)
"""


def test_being_asked_to_stop_during_a_query_is_told_from_a_failure():
    with subprocess.Popen(
        [sys.executable, "-c", _QUERIES_UNTIL_STOPPED], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as asking:
        try:
            assert asking.stdout is not None
            assert asking.stdout.readline() == "asking\n"
            time.sleep(0.3)
            asking.send_signal(signal.SIGINT)
            assert asking.communicate(timeout=60)[0] == "a stop\n"
        finally:
            asking.kill()


def test_other_errors_of_a_query_are_failures():
    assert not is_stop(RuntimeError("something else"))
    assert not is_stop(duckdb.OutOfMemoryException("Query interrupted"))


_SWALLOWS = """
import os, signal, time
from trak_core.commands.terminal import clear_errors
from trak_core.stopping import raise_if_asked_to_stop

with clear_errors("and nothing is lost."):
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
    except KeyboardInterrupt:
        {then}
    raise_if_asked_to_stop()
"""


def ended(then: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", _SWALLOWS.format(then=then)], capture_output=True, text=True)


def test_a_stop_that_ends_as_another_error_is_still_a_stop():
    done = ended("raise ImportError('half imported')")
    assert (done.returncode, done.stderr) == (1, "stopped; and nothing is lost.\n")


def test_a_swallowed_stop_is_obeyed_at_the_next_step():
    done = ended("pass")
    assert (done.returncode, done.stderr) == (1, "stopped; and nothing is lost.\n")
