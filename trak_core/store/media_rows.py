"""What examples show besides their first picture and first text: the table `media`, written and read."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from trak_core.media import Medium, Picture, Text, media_of

if TYPE_CHECKING:
    from trak_core.store.run import Run


def media_columns(split: str, further: Sequence[Sequence[Medium]], first: int = 0) -> dict[str, Any]:
    """Columns of the table `media`, from what each example from `first` on shows besides its first picture and text."""
    rows = [
        (first + number, place, medium) for number, of_one in enumerate(further) for place, medium in enumerate(of_one)
    ]
    return {
        "split": [split] * len(rows),
        "idx": [idx for idx, _, _ in rows],
        "place": [place for _, place, _ in rows],
        "kind": ["picture" if isinstance(medium, Picture) else "text" for _, _, medium in rows],
        "name": [medium.name for _, _, medium in rows],
        "text": [None if isinstance(medium, Picture) else medium.text for _, _, medium in rows],
        "content": [medium.content if isinstance(medium, Picture) else None for _, _, medium in rows],
        "marks": [None if isinstance(medium, Picture) else json.dumps(medium.marks) for _, _, medium in rows],
    }


def read_media(run: Run, split: str) -> dict[int, tuple[Medium, ...]]:
    """What all examples of a split show, by their number: the picture, the text, then the further media."""
    further = further_media(run, split)
    rows = run.rows("SELECT idx, thumbnail, text FROM examples WHERE split = ? ORDER BY idx", [split])
    return {idx: media_of(thumbnail, text, further.get(idx, ())) for idx, thumbnail, text in rows}


def further_media(run: Run, split: str, idxs: Iterable[int] | None = None) -> dict[int, list[Medium]]:
    """What examples show besides their first picture and text, by number; nothing for most runs. All without `idxs`."""
    if not run.rows("SELECT 1 FROM media LIMIT 1"):  # read once: short answers are remembered
        return {}
    where, params = ("", [split]) if idxs is None else (" AND idx IN (SELECT unnest(?::INTEGER[]))", [split, [*idxs]])
    found: dict[int, list[Medium]] = defaultdict(list)
    for idx, name, text, content, marks in run.rows(
        f"SELECT idx, name, text, content, marks FROM media WHERE split = ?{where} ORDER BY idx, place", params
    ):
        if content is not None:
            found[idx].append(Picture(content, name))
        else:
            found[idx].append(Text(text, name, tuple((int(a), int(b), float(w)) for a, b, w in json.loads(marks))))
    return found
