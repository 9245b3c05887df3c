"""Rows of JSON files: an object on each line, or an array of objects; any other form is named with what to do."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from trak_core.datasets.rows import Example, Rows, find_column, is_decodable, refuse_if_most_are_lost
from trak_core.datasets.sources import tidy
from trak_core.datasets.text_files import MAX_TEXT, find_encoding, iter_lines, open_text
from trak_core.errors import EmptyDataError, InvalidDataError
from trak_core.modalities.raw import Skipped

NO_OBJECT = "it is no JSON object in UTF-8"


class _NamesTwice(dict[str, Any]):
    """An object of which some keys occur more than once; the values are those that come last."""

    twice: tuple[str, ...] = ()


def read_json_rows(path: Path, columns: Sequence[str], advice: str = "") -> Rows:
    """The objects of a file of JSON lines or of one JSON array; an object need not have all keys.

    `advice` is a sentence on what to do where no object has a column.

    Raises:
        EmptyDataError: there are no objects.
        InvalidDataError: the file holds something else, has no such column, or more than half cannot be read.
    """
    items: list[Example | Skipped] = []
    keys: dict[str, None] = {}
    for number, (line, record) in enumerate(json_records(path), start=1):
        where = f"{tidy(path.name)}, row {number}" + (f" (line {line})" if line not in (None, number) else "")
        why = _why_no_row(record, columns)
        if isinstance(record, dict):
            keys.update(dict.fromkeys(record))
        if why:
            items.append(Skipped(where, why))
        else:
            origin = f"{tidy(path.name)}:{line or number}"
            items.append(Example(where, *(record.get(column) for column in columns), origin=origin))
    if not items:
        raise EmptyDataError(f"{path} is empty; give a JSON object for each example.")
    refuse_if_most_are_lost(items, str(path), "give one JSON object a line, or an array of them")
    for column in columns:
        find_column(column, tuple(keys), str(path), advice)
    return Rows(items)


def _why_no_row(record: Any, columns: Sequence[str]) -> str:
    if not isinstance(record, dict):
        return NO_OBJECT
    if twice := [key for key in getattr(record, "twice", ()) if key in columns]:
        return f"it has {twice[0]!r} twice"
    return "" if is_decodable([record.get(column) for column in columns]) else NO_OBJECT


def json_records(path: Path) -> Iterator[tuple[int | None, Any]]:
    """What the lines of a JSON file hold, each with its line, or the members of its one array, without.

    The record is None for a line without JSON.

    Raises:
        InvalidDataError: the file is not UTF-8, is cut off, or holds one object in which the rows are arranged in
            another way.
    """
    encoding = find_encoding(path, None)
    if not encoding.startswith("utf-8"):
        raise InvalidDataError(f"{path} is {encoding.upper()}, and JSON is read as UTF-8; save it anew.")
    with open_text(path, encoding) as text:
        while (first := text.read(1)).isspace():
            pass
        if first == "[":
            try:
                members = _parsed(first + text.read(MAX_TEXT))
            except (ValueError, RecursionError) as error:
                raise InvalidDataError(
                    f"{path} cannot be read (malformed JSON: {error}); check it, or save it anew."
                ) from error
            if members and all(isinstance(member, list) for member in members):
                raise InvalidDataError(f"{path} holds an array of arrays, so that no value has a name; {_RECORDS}.")
            yield from ((None, member) for member in members)
            return
    if first == "{":
        _refuse_one_object(path, encoding)
    with open_text(path, encoding) as text:
        for number, line in enumerate(iter_lines(text, path), start=1):
            if line.strip():
                try:
                    record = _parsed(line)
                except (ValueError, RecursionError):  # also numbers of thousands of digits, and brackets as deep
                    record = None
                yield number, record


def _parsed(text: str) -> Any:
    def made(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(found := dict(pairs)) == len(pairs):
            return found
        double = _NamesTwice(found)
        double.twice = tuple(key for key, n in Counter(key for key, _ in pairs).items() if n > 1)
        return double

    return json.loads(text, object_pairs_hook=made)


_RECORDS = 'write an array of objects, as pandas does with to_json(orient="records")'


def _refuse_one_object(path: Path, encoding: str) -> None:
    """Refuses a file that is one object with all rows in it.

    Raises:
        InvalidDataError: it is.
    """
    with open_text(path, encoding) as text:
        lines = (line for line in iter_lines(text, path) if line.strip())
        first, second = next(lines, ""), next(lines, None)
        if second is not None:
            try:
                json.loads(first)
            except (ValueError, RecursionError):
                pass
            else:
                return  # JSON lines
    with open_text(path, encoding) as text:
        try:
            whole = json.loads(text.read(MAX_TEXT))
        except (ValueError, RecursionError):
            return
    if isinstance(whole, dict) and (how := _arrangement(whole)):
        raise InvalidDataError(f"{path} holds one object, not an array: {how}.")


def _arrangement(whole: dict[str, Any]) -> str:
    """How one object holds the rows of a table, and what to do; empty where it may be a row itself."""
    named = ", ".join(repr(key[:40]) for key in list(whole)[:3])
    values = list(whole.values())
    if {"columns", "data"} <= set(whole):
        return f"its rows are arrays under 'data' (pandas' orient=\"split\"); {_RECORDS}"
    rows = [key for key, value in whole.items() if isinstance(value, list) and any(isinstance(v, dict) for v in value)]
    if rows:
        return f"its rows stand under {rows[0][:40]!r}; save that array alone, or one object a line"
    if len(values) > 1 and all(isinstance(value, dict | list) for value in values):
        kind = "an object" if isinstance(values[0], dict) else "an array"
        return f"each of {named} is {kind} of values (a pandas DataFrame in another orient); {_RECORDS}"
    return ""
