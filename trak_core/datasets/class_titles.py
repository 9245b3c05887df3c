"""What classes are called that have numbers of WordNet for names, as those of ImageNet."""

import re
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path, PurePosixPath

from trak_core.datasets.rows import Example
from trak_core.errors import InvalidDataError

_NUMBER = re.compile(r"n\d{8}")
_LINE = re.compile(r"(n\d{8})[\t ,]+(.+)")
_FILES = frozenset(("words.txt", "loc_synset_mapping.txt", "synset_words.txt", "synset_mapping.txt", "wnid_words.txt"))
MAX_BYTES = 20 * 2**20


def find_titles(others: Sequence[Example], names: Collection[str]) -> tuple[dict[str, str], str]:
    """The title of each class and the file that has them; nothing where no file has those of all classes.

    The title is the first of the words that a file gives, such as "goldfish" for n01443537; where several classes have
    the same one, their numbers follow.
    """
    if not names or not all(map(_NUMBER.fullmatch, names)):
        return {}, ""
    for other in others:
        if PurePosixPath(other.where).name.casefold() not in _FILES:
            continue
        lines = map(_LINE.match, _text(other).splitlines())
        titles = {found[1]: found[2].split(",")[0].strip() for found in lines if found and found[1] in names}
        if len(titles) == len(names) and all(titles.values()):
            n_alike = Counter(titles.values())
            return {
                name: title if n_alike[title] == 1 else f"{title} ({name})" for name, title in titles.items()
            }, other.where
    return {}, ""


def _text(file: Example) -> str:
    try:
        content = file.content()
        if isinstance(content, Path):
            content = content.read_bytes() if content.stat().st_size <= MAX_BYTES else b""
    except (OSError, InvalidDataError):
        return ""
    return str(content, "utf-8", "replace")
