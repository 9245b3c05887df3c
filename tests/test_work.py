"""A build as a list of tasks: known beforehand, each done once, and of one run only."""

from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path

import duckdb
import numpy as np
import pytest

from tests.tiny import SETTINGS, TINY
from trak_core.engine import build_run, ledger_steps
from trak_core.engine.work import Inline, Kind, Work
from trak_core.errors import RunMismatchError
from trak_core.store.files import RunFiles
from trak_core.store.run import open_run
from trak_core.store.writer import StoreWriter


class Journal:
    """Stands for a store: knows what is done, and whose run it is."""

    def __init__(self) -> None:
        self.done: set[str] = set()

    def has(self, block: str) -> bool:
        return block in self.done

    def meta(self, key: str) -> str:
        return {"fingerprint": "this run"}[key]


class Silent:
    """Stands for a progress reporter; keeps the shares that were done before."""

    def __init__(self) -> None:
        self.skipped: list[float] = []

    def begin(self, name: str) -> None: ...

    def skip(self, share: float) -> None:
        self.skipped.append(share)


def test_a_task_that_is_done_is_not_done_again():
    journal, progress, did = Journal(), Silent(), []
    tasks = [Work(Kind.FEATURIZE, "this run", checkpoint=i) for i in range(3)]

    def do(work: Work) -> None:
        did.append(work)
        journal.done.add(work.block)

    journal.done.add("features 1")
    Inline(journal, progress).run("features", tasks, do)
    Inline(journal, progress).run("features", tasks, do)
    assert did == [tasks[0], tasks[2]]
    assert progress.skipped == [1 / 3] * 4


def test_a_task_of_another_run_is_refused_before_any_is_done():
    tasks = [Work(Kind.SCORE, "this run"), Work(Kind.MAP, "another run")]
    with pytest.raises(RunMismatchError, match="task 'map' is part of the run another run, but this is this run"):
        Inline(Journal(), Silent()).run("scores", tasks, lambda work: pytest.fail("did one"))


@pytest.mark.parametrize(
    ("work", "block"),
    [
        (Work(Kind.TRAIN, "x"), "checkpoints"),
        (Work(Kind.FEATURIZE, "x", checkpoint=0), "features 0"),
        (Work(Kind.RETRAIN, "x", rows=range(20, 30)), "ledger 20"),
    ],
)
def test_the_name_of_a_block_follows_from_its_task(work, block):
    assert work.block == block


@pytest.mark.slow
def test_what_a_build_does_is_known_beforehand_and_is_what_its_journal_holds(tmp_path: Path, monkeypatch):
    given: list[Work] = []
    plain = Inline.run

    def run(
        self: Inline, step: str, tasks: Sequence[Work], do: Callable[[Work], None], may: Callable[[Work], bool]
    ) -> None:
        given.extend(tasks)
        plain(self, step, tasks, do, may)

    monkeypatch.setattr(Inline, "run", run)
    monkeypatch.setattr(StoreWriter, "finish", lambda self: None)
    build_run(SETTINGS, "tiny", tmp_path, recipe=TINY)
    with duckdb.connect(str(RunFiles(tmp_path / "tiny").working_store), read_only=True) as connection:
        written = {block for (block,) in connection.execute("SELECT block FROM journal").fetchall()}
    assert len({work.block for work in given}) == len(given)
    assert {work.block for work in given} == written
    assert {work.kind for work in given} == set(Kind)


class Backwards:
    """An executor that does neighbours of one kind in the other order, as several machines might."""

    def __init__(self, writer: StoreWriter, progress: object) -> None:
        self.writer = writer

    def run(self, step: str, tasks: Sequence[Work], do: Callable[[Work], None], may: Callable[[Work], bool]) -> None:
        for _, of_one_kind in groupby(tasks, lambda work: work.kind):
            for work in reversed(list(of_one_kind)):
                if not self.writer.has(work.block):
                    do(work)


@pytest.mark.slow
def test_the_order_of_tasks_of_one_kind_changes_nothing(tmp_path: Path, monkeypatch):
    build_run(SETTINGS, "forwards", tmp_path, recipe=TINY)
    monkeypatch.setattr(ledger_steps, "Inline", Backwards)
    build_run(SETTINGS, "backwards", tmp_path, recipe=TINY)
    with open_run(tmp_path / "forwards") as run, open_run(tmp_path / "backwards") as other:
        assert np.array_equal(run.scores(), other.scores())
        assert np.array_equal(run.lds().per_test, other.lds().per_test)
