"""A new input from its raw form to what a page shows.

Torch is imported when the first input is explained, so that pages can offer it without waiting.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trak_core.errors import InvalidDataError, NeedNotMetError, running_own_code
from trak_core.live import LIVE_METHOD
from trak_core.media import Medium
from trak_core.modalities import MODALITIES, Field
from trak_core.store.run import SAVED, Run
from trak_core.subjects import OWN_SUBJECT
from trak_core.subjects.of_run import file_to_run, holds_its_data, new_input_reader, why_no_subject

if TYPE_CHECKING:
    from trak_core.live.scorer import Answer


@dataclass(frozen=True)
class ExplainedInput:
    """A new input, and the answer to it."""

    media: tuple[Medium, ...]  # what it looks like to the model
    steps: tuple[str, ...]  # what was done to bring it to the look of the data, a sentence each
    answer: Answer  # of the model, with scores


def why_not_live(run: Run) -> str | None:
    """Why new inputs cannot be read for a run, in a sentence; None when they can. Quick: nothing is prepared."""
    if reason := _why_never(run):
        return reason
    if (file := file_to_run(run)) is not None:
        return (
            f"New inputs of this run are read by its modality {run.info.modality!r}, which is known here once {file} "
            "has run; that is code of the run's own, so run it only if you trust it."
        )
    if new_input_reader(run) is not None:
        return None
    if run.info.recipe == OWN_SUBJECT:
        return f"The subject of this run turns its data into inputs itself, so {_from_python(run)}"
    noun, plural = _nouns(run)
    return f"This run does not tell how its {plural} become inputs, so a new {noun} cannot be turned into one."


def file_to_run_first(run: Run) -> str | None:
    """Name of the subject file after whose run by `read_subject` new inputs can be read; None where that is not it."""
    return None if _why_never(run) else file_to_run(run)


def _why_never(run: Run) -> str | None:
    """Why new inputs cannot be read, whatever its subject file makes known."""
    if LIVE_METHOD not in run.info.methods:
        return "New inputs are scored by TRAK, of which this run has no scores."
    if reason := why_no_subject(run):
        return f"This run {reason}." if run.info.recipe == OWN_SUBJECT else _why_no_model(run, reason)
    if not run.info.provenance.get("has_answer", True):
        return (
            "New inputs are explained by what the model answers, and the models of this run have no answer of their "
            "own; ask about its test examples."
        )
    if not run.info.has_classes:
        return f"New inputs are explained here by their classes, and this run has none, so {_from_python(run)}"
    return None


def _from_python(run: Run) -> str:
    return f"give a new input from Python, as inputs: trak_core.open_run({run.info.name!r}).attribute(inputs)."


def _nouns(run: Run) -> tuple[str, str]:
    """What people call one example of the run, and several."""
    modality = MODALITIES.get(run.info.modality)
    return ("example", "examples") if modality is None else (modality.noun, modality.plural)


def _why_no_model(run: Run, reason: str) -> str:
    if holds_its_data(run):
        model = run.info.provenance.get("model")
        return f"New inputs need the model of this run, and “{model}” is not here any more, or not as it was."
    if run.info.provenance.get("imported"):
        return "New inputs need a model, and this run holds scores alone; score them where those were made."
    if run.info.recipe != SAVED:
        return f"This run {reason}."
    return (
        "New inputs need a model that can be made again, and this run was saved from Python. There, score them with "
        "the Attributor that made the run."
    )


def fields_of(run: Run) -> tuple[Field, ...]:
    """What is asked for to make a new input; nothing where `why_not_live` says why."""
    reader = new_input_reader(run)
    return () if reader is None else reader.fields


def invitation_of(run: Run) -> str:
    """What somebody may do, such as "Upload or draw a digit"; empty where `why_not_live` says why."""
    reader = new_input_reader(run)
    return "" if reader is None else reader.invitation


def example_text(run: Run) -> str:
    """What somebody may type: the beginning of the first test text; empty where there is none."""
    rows = run.rows("SELECT left(text, 60) FROM examples WHERE split = 'test' AND idx = 0 AND text IS NOT NULL")
    return f"{' '.join(str(rows[0][0]).split())} …" if rows else ""


def explain_new(run: Run, given: Mapping[str, Any]) -> ExplainedInput:
    """The explanation of a new input.

    Args:
        run: whose model answers.
        given: what `fields_of` asks for, by the name of the field: bytes of a file, or a text.

    Raises:
        EmptyDataError: there is nothing in it.
        InvalidDataError: it cannot be read, or holds nothing that the model knows.
        NeedNotMetError: the run cannot score new inputs, or something that it asks for is missing.
        RunMismatchError: the data or a checkpoint is not what the run was made with.
    """
    reader = None if why_not_live(run) else new_input_reader(run)
    if reader is None:
        raise NeedNotMetError(why_not_live(run) or "this run cannot score new inputs.")
    wanted = [field.name for field in reader.fields]
    if missing := [name for name in wanted if name not in given]:
        raise NeedNotMetError(f"this run takes {', '.join(wanted)}, and {', '.join(missing)} is missing; give it.")
    read = f"reading a new {_nouns(run)[0]}"
    with running_own_code(read, InvalidDataError, f"give another {' and '.join(wanted)}"):
        new = reader.read(given)
    from trak_core.inputs import as_tensors
    from trak_core.live.attribution import live_scorer, scoring

    scorer = live_scorer(run)
    if scorer.encoding is None:
        raise NeedNotMetError(f"the data of run {run.info.name!r} do not tell how new examples become inputs.")
    with running_own_code(f"turning a new {_nouns(run)[0]} into inputs", InvalidDataError):
        inputs = as_tensors(scorer.encoding.inputs(new.contents))
    with scoring(scorer, inputs):
        return ExplainedInput(new.media, new.steps, scorer.answer(inputs, new.contents))
