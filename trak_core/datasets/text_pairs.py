"""Tables of pairs of texts: a source and a target, a prompt and a completion, a question and its answer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from trak_core.datasets.missing import missing_words
from trak_core.datasets.placing import MAX_CHARACTERS, split_kind
from trak_core.datasets.rows import Example, counted, is_decodable, most_common_reason
from trak_core.datasets.sources import legible, tidy
from trak_core.datasets.table import read_rows
from trak_core.errors import EmptyDataError, InvalidSettingError
from trak_core.modalities.raw import RawData, RawSplit, Skipped
from trak_core.modalities.text_pair.chats import ASSISTANT, ROLES, Turn, in_one_text
from trak_core.seeds import derive_seed

FEWEST_PAIRS = 10
_OTHER_NAMES = {"human": "user", "gpt": ASSISTANT, "bot": ASSISTANT, "model": ASSISTANT}
"""What some tables call the sides of a conversation."""


def read_text_pairs(
    path: Path | str,
    source: str | None = None,
    target: str | None = None,
    split: str | None = None,
    test_share: float = 0.2,
    seed: int = 0,
    no_header: bool = False,
    delimiter: str | None = None,
    encoding: str | None = None,
    missing: str | None = None,
    messages: str | None = None,
    no_chat_template: bool = False,
) -> RawData:
    """The pairs of a table; contents are {"source": texts, "target": texts}.

    Where a column holds conversations, as chat models are trained on, the source is a conversation in one text (see
    `chats.in_one_text`), and the target what the assistant says last in it; what follows that is left out.

    Args:
        path: of the table, as `read_table` takes it.
        source: the name of the column of what is given.
        target: likewise, of what a model is to say to it.
        split: likewise, of words that say whether a row is for train, test, or validation.
        test_share: held out where no split is given, between 0 and 1.
        seed: of that draw.
        no_header: as in `read_table`.
        delimiter: likewise.
        encoding: likewise.
        missing: likewise.
        messages: name of a column of conversations in place of the first two: lists of {"role": ..., "content": ...}.
        no_chat_template: whether the chat template of a model's tokenizer is left out.

    Raises:
        EmptyDataError: there are too few rows that can be used.
        InvalidDataError: the table cannot be read, or has no such column.
        InvalidSettingError: a setting that cannot be.
    """
    if messages is None and (source is None or target is None):
        raise InvalidSettingError(
            f"{'source' if source is None else 'target'} is missing; name the columns of what is given and of what a "
            "model is to say (source, target), or that of conversations (messages)."
        )
    if messages is not None and (source is not None or target is not None):
        raise InvalidSettingError(f"messages={messages!r} takes the place of source and target; leave those out.")
    pair = [str(source), str(target)] if messages is None else [messages, messages]
    columns = pair + ([] if split is None else [split])
    if len(set(columns)) < len(columns) - (messages is not None):
        raise InvalidSettingError(f"the columns given are {', '.join(columns)}; give a column of its own for each.")
    if not 0 < test_share < 1:
        raise InvalidSettingError(f"test_share={test_share}; give a number between 0 and 1, such as 0.2.")
    path, words = Path(path), missing_words(missing)
    rows = read_rows(path, columns, not no_header, delimiter, encoding)
    has_turns = messages is not None
    in_texts = [_in_texts(item) if has_turns else item for item in rows.items]
    checked = [_checked(item, words, split is not None) for item in in_texts]
    pairs = [item for item in checked if isinstance(item, Example)]
    skipped = tuple(item for item in checked if isinstance(item, Skipped))
    if len(pairs) < FEWEST_PAIRS:
        raise EmptyDataError(
            f"{path} has {counted(len(pairs), 'row')} with both texts{most_common_reason(checked)}, and {FEWEST_PAIRS} "
            "or more are needed; give more."
        )
    is_test = np.array([split_kind(item.split) == "test" for item in pairs])
    is_spare = np.array([split_kind(item.split) == "validation" for item in pairs])
    if not is_test.any():
        is_test, is_spare = is_spare, is_test
    notes = list(rows.notes)
    if not is_test.any():
        n_test = min(max(1, round(test_share * len(pairs))), len(pairs) - 1)
        is_test[np.random.default_rng(derive_seed(seed, "test split")).permutation(len(pairs))[:n_test]] = True
        notes.append(f"There is no test split; {n_test:,} of {len(pairs):,} pairs were held out as test examples.")
    train = np.flatnonzero(~is_test & ~is_spare).tolist()
    if not train:
        raise EmptyDataError(f"{path} has no pair to train on; give some.")
    return RawData(
        tidy(path.stem),
        "text_pair",
        (),
        _split(pairs, train),
        _split(pairs, np.flatnonzero(is_test).tolist()),
        skipped,
        tuple(notes),
        {"chat_template": not no_chat_template, "has_turns": has_turns},
    )


def _in_texts(item: Example | Skipped) -> Example | Skipped:
    """A row with a conversation as one with two texts: what comes before the assistant's last turn, and that turn."""
    if isinstance(item, Skipped):
        return item
    turns = _turns(item.content)
    if isinstance(turns, str):
        return Skipped(item.where, turns)
    last = max((number for number, turn in enumerate(turns) if turn.role == ASSISTANT), default=None)
    if last is None:
        return Skipped(item.where, "the assistant says nothing in it")
    if not last:
        return Skipped(item.where, "nothing is said in it before the assistant's turn")
    return replace(item, content=in_one_text(turns[:last]), label=turns[last].said)


def _turns(found: Any) -> list[Turn] | str:
    """The turns of a conversation, or why there are none, as a clause."""
    if isinstance(found, str):  # in a CSV file
        try:
            found = json.loads(found)
        except (ValueError, RecursionError):
            return "its conversation is no JSON"
    if not isinstance(found, list) or not found:
        return "it has no conversation, which is a list of {role, content}"
    turns = []
    for message in found:
        told = message if isinstance(message, dict) else {}
        role, said = told.get("role", told.get("from")), told.get("content", told.get("value"))
        if isinstance(said, list) and all(
            isinstance(part, dict) and isinstance(part.get("text"), str) for part in said
        ):
            said = "\n".join(part["text"] for part in said)
        role = _OTHER_NAMES.get(role, role) if isinstance(role, str) else role
        if role not in ROLES:
            return f"it has a turn of {str(role)[:40]!r}, and turns are of {', '.join(ROLES)}"
        if not isinstance(said, str) or not is_decodable([said]):
            return f"it has a turn of the {role} that is no text"
        turns.append(Turn(role, said))
    return turns


def _checked(item: Example | Skipped, missing: frozenset[str], has_split: bool) -> Example | Skipped:
    if isinstance(item, Skipped):
        return item
    for what, text in (("source", item.content), ("target", item.label)):
        said = "" if text is None or text != text else str(text).strip()
        if not said or said.casefold() in missing:
            return Skipped(item.where, f"it has no {what}")
        if len(said) > MAX_CHARACTERS:
            return Skipped(
                item.where, f"its {what} has {len(said):,} characters, and at most {MAX_CHARACTERS:,} are read"
            )
    if has_split and split_kind("" if item.split is None else str(item.split)) is None:
        return Skipped(item.where, f"its split {str(item.split)[:40]!r} is none of train, test and validation")
    return item


def _split(pairs: Sequence[Example], rows: Sequence[int]) -> RawSplit:
    chosen = [pairs[row] for row in rows]
    contents = {"source": [str(each.content) for each in chosen], "target": [str(each.label) for each in chosen]}
    origins = [legible(each.where if each.origin is None else each.origin) for each in chosen]
    return RawSplit(contents, np.zeros(len(chosen), dtype=np.int64), origins)
