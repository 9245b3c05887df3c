"""Counterfactual removal: takes the strongest examples of a method away, retrains, and writes what came out."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trak_core.engine.evidence_step import columns_of, or_null
from trak_core.engine.measurement import Measurement
from trak_core.engine.retrained import Answers
from trak_core.evidence.removal import choose_tests, midpoints, summarize_removal
from trak_core.seeds import derive_seed
from trak_core.tasks import Answer

logger = logging.getLogger(__name__)


class RemovalStep:
    """The removals of a measurement that is under way."""

    def __init__(self, measurement: Measurement) -> None:
        self._m = measurement

    @cached_property
    def methods(self) -> list[str]:
        """The best method by LDS, the run's own, what is alike, and random numbers.

        What is alike are nearest neighbours of the class, or of the whole where there are no classes, and what a search
        engine finds where there are texts. The best is chosen on the tuning test examples, because removal is reported
        on the others.
        """
        best = self._m.writer.columns(
            "SELECT method FROM lds WHERE test_idx IN (SELECT unnest(?::INTEGER[])) GROUP BY method "
            "ORDER BY avg(lds) DESC NULLS LAST, method LIMIT 1",
            [np.flatnonzero(self._m.chosen_on).tolist()],
        )["method"].tolist()
        there = set(self._m.writer.columns("SELECT method FROM methods")["method"].tolist())
        alike = ("nearest" if "nearest" in there else "embedding", "bm25")
        return list(dict.fromkeys(method for method in (*best, "trak", *alike, "random") if method in there))

    @cached_property
    def tests(self) -> NDArray[np.int64]:
        """Test examples that the model gets right, where that means something, from those that are reported on."""
        task, checkpoints = self._m.subject.task.query, self._m.checkpoints
        answers = checkpoints.answers(task, checkpoints.outputs(task, self._m.test.inputs))
        right = task.agrees(Answer.mean(answers), self._m.test.targets) if answers else None
        usable = self._m.reporting if right is None else right.cpu().numpy() & self._m.reporting
        return choose_tests(usable, self._m.settings.n_removal_tests, self._m.build.seed)

    @cached_property
    def _unremoved(self) -> Answers:
        """Answers `[n_seeds, n_removal_tests]` of models trained on everything with the seeds of the removals."""
        nothing = np.array([], dtype=np.int64)
        return self._m.train_without([nothing] * len(self._seeds), self._seeds, self.tests)

    @property
    def _seeds(self) -> list[int]:
        return [derive_seed(self._m.build.seed, "removal", i) for i in range(self._m.settings.n_removal_seeds)]

    def blocks(self) -> Iterator[tuple[str, Callable[[], None]]]:
        """Name of every block, and what computes and writes it."""
        if not self._m.settings.n_removal_tests or not len(self.tests):
            return
        for method in self.methods:
            for k in self._m.settings.removal_sizes:
                if k < self._m.n_train:
                    wanted = dict.fromkeys(range(len(self.tests)), k)
                    yield f"removal {method} {k}", partial(self._remove, f"removal {method} {k}", method, wanted)

    def _remove(self, block: str, method: str, wanted: dict[int, int]) -> None:
        """Removes the first k proponents of a method, retrains and writes what came out.

        `wanted` is k by place among the removal tests.
        """
        query = "SELECT train_idx FROM topk WHERE method = ? AND side = 'proponent' ORDER BY test_idx, rank"
        order = self._m.writer.columns(query, [method])["train_idx"].reshape(self._m.n_test, -1)
        seeds, places = self._seeds, list(wanted)
        removed = [order[self.tests[place], : wanted[place]] for place in places for _ in seeds]
        answers = self._m.train_without(removed, seeds * len(places), self.tests)
        found: list[dict[str, Any]] = []
        n_lost = 0
        for number, place in enumerate(places):
            own = slice(number * len(seeds), (number + 1) * len(seeds))
            result = summarize_removal(
                answers.margins[own, place], answers.right[own, place], self._unremoved.margins[:, place]
            )
            n_lost += len(seeds) - (0 if result is None else result.n_seeds)
            if result is None:
                logger.warning("every model without %d examples of test %d diverged", wanted[place], place)
                continue
            row = {**asdict(result), "standard_error": or_null(result.standard_error)}
            found.append({"method": method, "test_idx": int(self.tests[place]), "k": wanted[place], **row})
        tables = {"removals": columns_of(found)} if found else {}
        self._m.writer.write(block, tables, self._m.lost("removals", block, n_lost))

    def narrow_flips(self, round_number: int) -> None:
        """One more halving of the search for the smallest set of the best method that flips an answer."""
        block, wanted = f"flips {round_number}", {}
        if self._m.settings.n_removal_tests:
            query = "SELECT test_idx, k, flipped FROM removals WHERE method = ?"
            rows = self._m.writer.columns(query, [self.methods[0]])
            tried: dict[int, dict[int, bool]] = {}
            for test_idx, k, flipped in zip(rows["test_idx"], rows["k"], rows["flipped"], strict=True):
                tried.setdefault(int(test_idx), {})[int(k)] = bool(flipped)
            place = {int(test_idx): i for i, test_idx in enumerate(self.tests)}
            wanted = {place[test_idx]: k for test_idx, k in midpoints(tried).items()}
        if wanted:
            self._remove(block, self.methods[0], wanted)
        else:
            self._m.writer.write(block, {})
