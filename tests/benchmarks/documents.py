"""The influence of whole documents: UnTrac, UnTrac-Inv and sums of scores against retraining without each document.

    python tests/benchmarks/documents.py RUN [--seeds 2] [--checkpoints 2] [--results FOLDER]

takes a run that is built and whose training examples come from documents (docs-lm, or passages of your own), retrains
its models without each document, one seed after another, and prints the rank correlations over documents. A seed that
is there is not trained again. The rates of UnTrac are chosen on the test examples on which the run chose its settings,
and everything is reported on the others.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from trak_core.engine.method_context import computing_for
from trak_core.engine.without_groups import leave_one_group_out
from trak_core.evidence.group_truth import GroupTruth, rank_groups
from trak_core.evidence.lds import LdsEvidence
from trak_core.inputs import take
from trak_core.live.context import LiveContext, read_context
from trak_core.methods import (
    Examples,
    Groups,
    MethodContext,
    Unlearning,
    find_method,
    group_sums,
    untrac,
    untrac_inverse,
)
from trak_core.store.run import Run, open_run
from trak_core.store.run_ledger import reported_tests

RATES = (1e-5, 5e-5, 2e-4, 1e-3)
"""The paper's and others around it."""
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Row:
    """What one method came to."""

    method: str
    found: LdsEvidence  # on the test examples that are reported on
    seconds: float  # of the processor
    note: str = ""


def truth_of(live: LiveContext, groups: Groups, n_seeds: int, results: Path) -> GroupTruth:
    """The truth, from the files of seeds that are there and by training the others."""
    found = []
    for seed in range(n_seeds):
        kept = results / f"without_documents_{seed}.npz"
        if not kept.is_file():
            began = time.monotonic()
            truth = leave_one_group_out(live.subject, groups, [seed])
            np.savez(kept, without=truth.without, complete=truth.complete)
            print(f"seed {seed}: {len(groups) + 1} models in {time.monotonic() - began:.0f} s", flush=True)
        with np.load(kept) as arrays:
            found.append(GroupTruth(arrays["without"], arrays["complete"]))
    without, complete = [one.without for one in found], [one.complete for one in found]
    return GroupTruth(np.concatenate(without, axis=1), np.concatenate(complete))


def part_of(truth: GroupTruth, tests: Bools) -> GroupTruth:
    """The truth about some test examples."""
    return GroupTruth(truth.without[..., tests], truth.complete[..., tests])


def asked_about(context: MethodContext, tests: Bools) -> MethodContext:
    """The context with some of its test examples."""
    where = torch.from_numpy(np.flatnonzero(tests))
    return replace(context, test=Examples(take(context.test.inputs, where), context.test.targets[where]), _sides=[])


def rows_of(run: Run, live: LiveContext, groups: Groups, truth: GroupTruth, n_checkpoints: int) -> list[Row]:
    """Sums of the scores that the run has, UnTrac and UnTrac-Inv."""
    reported = reported_tests(run)
    chosen_on = ~reported if (~reported).any() else reported
    context = live.context.first(n_checkpoints)
    computing = computing_for(context.task, context.architecture, context.train.targets)
    context = replace(context, computing=computing, _sides=[])
    of_reported, of_chosen = part_of(truth, reported), part_of(truth, chosen_on)
    rows = []
    for method in run.info.methods:
        sums = groups.sums(torch.from_numpy(np.array(run.scores(method)[reported])))
        rows.append(Row(f"{method}, summed", rank_groups(sums.numpy(), of_reported, 0), 0.0))
    sizes = np.tile(np.bincount(groups.of).astype(float), (int(reported.sum()), 1))
    if np.ptp(sizes) > 0:
        rows.append(Row("size of the document", rank_groups(sizes, of_reported, 0), 0.0))
    if "grad_dot" not in run.info.methods:
        began = time.process_time()
        sums = group_sums(find_method("grad_dot").fit(asked_about(context, reported)), groups)
        rows.append(Row("grad_dot, summed", rank_groups(sums.numpy(), of_reported, 0), time.process_time() - began))
    unlearning: dict[str, tuple[Callable[..., Tensor], Unlearning]] = {
        "untrac": (untrac, Unlearning()),
        "untrac_inverse": (untrac_inverse, Unlearning(batch_size=256, epochs=5)),
    }
    for name, (influence, usual) in unlearning.items():
        quality = {}
        for rate in RATES:
            said = influence(asked_about(context.first(1), chosen_on), groups, replace(usual, learning_rate=rate))
            quality[rate] = rank_groups(said.numpy(), of_chosen, 0).mean
        rate = max(quality, key=lambda each: quality[each])
        began = time.process_time()
        said = influence(asked_about(context, reported), groups, replace(usual, learning_rate=rate))
        found = rank_groups(said.numpy(), of_reported, 0)
        rows.append(Row(name, found, time.process_time() - began, f"rate {rate:g}"))
    return rows


def main() -> None:
    """Retrains, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="the folder of a run")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--checkpoints", type=int, default=2)
    parser.add_argument("--results", type=Path, help="where truths are kept; beside the run's checkpoints by default")
    given = parser.parse_args()
    results: Path = given.results or given.run / "build"
    results.mkdir(parents=True, exist_ok=True)
    with open_run(given.run) as run:
        live = read_context(run)
        origins = live.subject.dataset.train.origins
        if origins is None:
            raise SystemExit(f"nothing tells which documents the training examples of {given.run} come from")
        groups = Groups.of_names(origins)
        truth = truth_of(live, groups, given.seeds, results)
        rows = rows_of(run, live, groups, truth, given.checkpoints)
        ceiling = part_of(truth, reported_tests(run)).ceiling
    print(f"{len(groups)} documents, {len(origins):,} training examples, {given.seeds} seeds, ceiling {ceiling:.2f}")
    for row in sorted(rows, key=lambda row: -row.found.mean):
        found = row.found
        print(
            f"  {row.method:27} {found.mean:6.3f} [{found.ci_low:6.3f}, {found.ci_high:6.3f}] {row.seconds:6.0f} CPU s"
            f"  {row.note}"
        )


if __name__ == "__main__":
    main()
