"""What every command has in common: progress, errors in one line, and how it is stopped."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from tqdm import tqdm

from trak_core.datasets.sources import legible
from trak_core.errors import SingularKernelError, StorageError, TrainingDivergedError, TrakCoreError
from trak_core.jobs import report_progress
from trak_core.stopping import is_stop, stop_when_asked
from trak_core.store.progress import BuildStatus
from trak_core.store.run import open_run
from trak_core.views.browse import overview
from trak_core.views.evidence_to_come import evidence_to_come
from trak_core.views.model_quality import (
    further_sentences,
    learnt_sentence,
    quality_of,
    trust_counts,
    trust_sentence,
)
from trak_core.views.no_trust import no_trust_in_a_terminal
from trak_core.views.provenance import overdrawn
from trak_core.views.run_facts import evidence_sentences

FAILURES = (SingularKernelError, StorageError, TrainingDivergedError)
"""What can go wrong with input that is right; every other error of ours is about the input."""
INPUT_ERROR_STATUS = 2
GOES_ON = "the same command goes on from here."
BEGINS_AGAIN = "nothing of this was kept, and the same command begins again."
LOOK_AT_IT = "Look at it with: trak-explorer (in a checkout: streamlit run app.py)"


def number(value: float | None) -> str:
    """Three decimals, or "undefined"."""
    return "undefined" if value is None or math.isnan(value) else f"{value:.3f}"


def say_complete(run_dir: Path) -> None:
    """Says what the models of a finished run have learnt, how well its scores predict removal, and where it lies."""
    with open_run(run_dir) as run:
        to_come, quality = evidence_to_come(run), quality_of(run)
        said = [learnt_sentence(quality), *further_sentences(quality)]
        if run.has_lds:
            said.append(trust_sentence(run, trust_counts(run, overview(run))))
        evidence = evidence_sentences(run)
        late, untrusted = overdrawn(run), no_trust_in_a_terminal(run, None)
    said.append(f"Run {run_dir.name!r} is complete: {run_dir}")
    if to_come is not None:
        more = f"{to_come.sentence} Go on with: {to_come.command}"
        evidence.append(more if evidence else f"Evidence: {more[0].lower()}{more[1:]}")
    said += evidence or [untrusted]
    click.echo("\n".join([*said, *([late] if late else []), LOOK_AT_IT]))


@contextmanager
def progress_bar() -> Iterator[Callable[[BuildStatus], None]]:
    """Shows how far a build is; the function that it gives takes its status."""
    # The bar counts in per mille, because steps differ in what they count.
    with tqdm(total=1000, bar_format="{l_bar}{bar}| {elapsed}{postfix}", disable=None) as bar:
        told = ""

        def show(status: BuildStatus) -> None:
            nonlocal told
            if bar.disable and status.step != told:  # no terminal but a log: a line a step
                told = status.step
                click.echo(f"{time.strftime('%H:%M:%S')} {status.fraction:4.0%} {told}", err=True)
            bar.set_description_str(status.step, refresh=False)
            bar.set_postfix_str(status.time_left.removeprefix(", "), refresh=False)
            bar.update(1000 * status.fraction - bar.n)

        yield show
        bar.update(1000 - bar.n)


@contextmanager
def reading_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """Shows how far reading is; the function that it gives takes the steps done and all of them, if any are told."""
    with tqdm(total=1000, bar_format=f"{what} {{bar}}| {{elapsed}}", disable=None, leave=False) as bar:

        def show(n_done: int, n_steps: int) -> None:
            report_progress(n_done / max(n_steps, 1), what)
            bar.update(1000 * n_done / max(n_steps, 1) - bar.n)

        yield show


@contextmanager
def retraining_bar() -> Iterator[Callable[[float, str], None]]:
    """Shows how far retraining is; the function that it gives takes the fraction done and the step."""
    with tqdm(total=1.0, bar_format="{l_bar}{bar}| {elapsed}", disable=None) as bar:

        def show(fraction: float, step: str) -> None:
            report_progress(fraction, step)
            bar.set_description_str(step, refresh=False)
            bar.update(fraction - bar.n)

        yield show


@contextmanager
def clear_errors(stopped: str = GOES_ON) -> Iterator[None]:
    """One clear line on standard error instead of a traceback, and the exit status that fits.

    From now on Ctrl-C is remembered; `stopped` says what becomes of the command when it is asked to stop.
    """
    stop_when_asked()
    try:
        yield
    except SystemExit:
        raise
    except BaseException as error:
        # Before our own errors: what was interrupted may have ended with any of them.
        if is_stop(error):
            click.echo(f"stopped; {stopped}", err=True)
            raise SystemExit(1) from error
        if not isinstance(error, TrakCoreError):
            raise
        click.echo(f"error: {legible(str(error))}", err=True)
        raise SystemExit(1 if isinstance(error, FAILURES) else INPUT_ERROR_STATUS) from error
