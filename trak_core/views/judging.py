"""Putting somebody's scores on the board of a run from a page: what the command needs, and what it may ask for."""

from dataclasses import dataclass

from trak_core.exchange.score_files import ORIENTATIONS
from trak_core.store.run import EVALUATED, Run

KINDS = ("npy", "npz", "safetensors", "pt", "pth", "parquet", "csv")
"""Endings of files that scores are read from."""
_IN_WORDS = {"test-by-train": "test examples", "train-by-test": "training examples"}


@dataclass(frozen=True)
class Question:
    """Something that scores do not tell by themselves."""

    option: str  # of the command
    title: str  # for people
    answers: dict[str, str]  # in words, to what the option takes; empty where it takes any text


QUESTIONS = (
    Question("--orientation", "A row is for one of the", {_IN_WORDS[name]: name for name in ORIENTATIONS}),
    Question("--sign", "Negative scores help?", {"yes: turn the sign round": "reversed", "no: keep it": "as-is"}),
    Question("--key", "Name of the matrix in the file", {}),
)
REPLACE = "--replace"


def questions_in(message: str) -> list[Question]:
    """What a refusal asks for: the options that it names."""
    return [question for question in QUESTIONS if question.option in message]


def refusal_in_words(message: str, folder: str) -> str:
    """A refusal for a page: without the `folder` that uploads are kept in, and with its questions put by fields."""
    said = message.replace(folder, "the file ")
    return f"{said.rsplit(';', 1)[0]}; answer the question above." if questions_in(message) else said


def can_be_judged_by(run: Run) -> bool:
    """True where a run has retrained models and nothing is unfinished."""
    return run.has_lds and bool(run.info.provenance.get("complete"))


def judged_names(run: Run) -> list[str]:
    """Names of the scores that were brought to be judged, which others of the same name may replace."""
    return sorted(run.info.provenance.get(EVALUATED) or {})


def decided_about(run: Run, name: str) -> list[str]:
    """What was decided about scores that were judged, a sentence each; empty where nothing was."""
    fact = (run.info.provenance.get(EVALUATED) or {}).get(name) or {}
    turned = ["The sign of every score was turned round, as you said."] if fact.get("sign") == "reversed" else []
    return [*turned, *map(str, fact.get("decided") or ())]


def judging_command(run: Run, path: str, name: str, answers: dict[str, str]) -> list[str]:
    """The arguments of the program that judge a file of scores; `answers` by option."""
    replaces = [REPLACE] if name in judged_names(run) else []
    said = [word for option, answer in answers.items() if answer for word in (option, answer)]
    return ["evaluate", str(run.path), path, "--name", name, *replaces, *said]
