"""Running texts, a file or a folder of them, as passages of a few dozen words for language models."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from trak_core.datasets.rows import is_decodable
from trak_core.datasets.sources import legible, tidy
from trak_core.datasets.text_files import file_errors, find_encoding, iter_lines, open_text
from trak_core.errors import EmptyDataError, InvalidDataError, InvalidSettingError
from trak_core.modalities.raw import RawData, RawSplit
from trak_core.seeds import derive_seed

ENDINGS = (".txt", ".md", ".text")
USUAL_WORDS = 40
FEWEST_PASSAGES = 10
PASSAGES_A_PART = 24
"""Of a text without headings: documents are what whole influence is asked for, and one of everything tells nothing."""


def read_passages(
    path: Path | str,
    words: int | None = None,
    heading: str | None = None,
    test_share: float = 0.2,
    seed: int = 0,
    encoding: str | None = None,
) -> RawData:
    """The passages of a text, each with the document that it is from; contents are strings.

    Passages are cut at ends of lines, where these come soon enough, and never inside a word. Every fifth one or so,
    drawn by the seed, is held out as a test example.

    Args:
        path: of a text file, or of a folder of such, each a document.
        words: most words of a passage; 40 when None.
        heading: a regular expression that lines match at which a new document begins, as "CHAPTER .*"; when None,
            each file is one, and a single file is cut into parts.
        test_share: held out, between 0 and 1.
        seed: of that draw.
        encoding: of the files, such as "latin-1"; None for UTF-8, or what a mark at the beginning says.

    Raises:
        EmptyDataError: there are no words, or too few.
        InvalidDataError: a file cannot be read.
        InvalidSettingError: a setting that cannot be.
    """
    path, words = Path(path), USUAL_WORDS if words is None else words
    if not 0 < test_share < 1:
        raise InvalidSettingError(f"test_share={test_share}; give a number between 0 and 1, such as 0.2.")
    if not 4 <= words <= 1000:
        raise InvalidSettingError(f"words={words}; a passage has from 4 to 1,000 words.")
    pattern = _heading(heading)
    files = _files(path)
    found: list[tuple[str, str]] = []
    for file in files:
        where = file.name if file == path else file.relative_to(path).as_posix()
        found += _passages_of(file, tidy(where), words, pattern, encoding)
    if heading is None and len(files) == 1:
        found = [(text, f"{name}, part {i // PASSAGES_A_PART + 1}") for i, (text, name) in enumerate(found)]
    if len(found) < FEWEST_PASSAGES:
        raise EmptyDataError(
            f"{path} holds {len(found)} passages of {words} words, and {FEWEST_PASSAGES} or more are needed; give more "
            "text, or fewer words a passage."
        )
    is_test = np.zeros(len(found), dtype=bool)
    n_test = min(max(1, round(test_share * len(found))), len(found) - 1)
    is_test[np.random.default_rng(derive_seed(seed, "test split")).permutation(len(found))[:n_test]] = True

    def split(rows: Sequence[int]) -> RawSplit:
        texts, documents = [legible(found[row][0]) for row in rows], [legible(found[row][1]) for row in rows]
        return RawSplit(texts, np.zeros(len(rows), dtype=np.int64), documents)

    note = f"{n_test:,} of {len(found):,} passages were held out as test examples."
    train, test = np.flatnonzero(~is_test).tolist(), np.flatnonzero(is_test).tolist()
    return RawData(tidy(path.stem), "passage", (), split(train), split(test), notes=(note,))


def _heading(given: str | None) -> re.Pattern[str] | None:
    try:
        return None if given is None else re.compile(given)
    except re.error as error:
        raise InvalidSettingError(f"heading={given!r} is no regular expression ({error}); give one.") from error


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    with file_errors(path):
        files = sorted(file for file in path.rglob("*") if file.suffix.lower() in ENDINGS and file.is_file())
    if not files:
        raise InvalidDataError(f"{path} has no text files; they end in {', '.join(ENDINGS)}.")
    return files


def _passages_of(
    file: Path, name: str, words: int, heading: re.Pattern[str] | None, encoding: str | None
) -> Iterator[tuple[str, str]]:
    """The passages of a file with the names of their documents."""
    document, waiting = name, _Waiting(words)
    with file_errors(file), open_text(file, find_encoding(file, encoding)) as text:
        for number, line in enumerate(iter_lines(text, file), start=1):
            if not is_decodable([line]):
                raise InvalidDataError(
                    f"{file}, line {number}, is not {(encoding or 'UTF-8').upper()}; save the file as UTF-8, or give "
                    "its encoding, such as latin-1, if it is a text at all."
                )
            if heading is not None and heading.fullmatch(line.strip()):
                yield from ((passage, document) for passage in waiting.rest())
                document = f"{name}: {line.strip()}"
            else:
                yield from ((passage, document) for passage in waiting.add(line))
        yield from ((passage, document) for passage in waiting.rest())


class _Waiting:
    """Lines that do not fill a passage yet."""

    def __init__(self, words: int) -> None:
        self.words, self.lines, self.count = words, [""], 0

    def add(self, line: str) -> Iterator[str]:
        """What is full now."""
        said = line.split()
        if self.count + len(said) > self.words and self.count >= self.words // 2:
            yield from self.rest()
        if len(said) > self.words:  # a line that is longer than a passage, such as a whole paragraph
            yield from self.rest()
            for start in range(0, len(said) - self.words + 1, self.words):
                yield " ".join(said[start : start + self.words])
            said = said[len(said) // self.words * self.words :]
            line = " ".join(said)
        self.lines.append(line.rstrip())
        self.count += len(said)

    def rest(self) -> Iterator[str]:
        """What is left, where it is worth being a passage."""
        text = "\n".join(self.lines).strip()
        if self.count >= max(2, self.words // 4) and text:  # of one word nothing follows
            yield text
        self.lines, self.count = [], 0
