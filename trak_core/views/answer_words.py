"""What is said of a model's answer; some tasks have none, only a number about what is given, as log odds of tokens."""

from __future__ import annotations

from trak_core.store.run import Run


def has_answer(run: Run) -> bool:
    """Whether the models of a run have answers of their own."""
    return bool(run.info.provenance.get("has_answer", True))


def answered(words: str, has_answer: bool) -> str:
    """What a model says of an example, as the beginning of a sentence; `words` are its answer or its output."""
    return f"The model answers {words}" if has_answer else f"The model output is {words}"


def raised(has_answer: bool) -> str:
    """What proponents raise, where there are no classes: "the answer"."""
    return "the answer" if has_answer else "the model output"
