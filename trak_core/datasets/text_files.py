"""Text files as lines: their encoding told or found, gzip unpacked, and nothing without end."""

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO, cast

from trak_core.errors import InvalidDataError, InvalidSettingError

MAX_TEXT = 2 * 10**9
"""Characters of a file, unpacked: texts are held in memory."""
MAX_LINE = 2**26
"""Characters of one line, a guard against files without line ends."""
BLOCK = 2**20
# The longer mark first: that of UTF-16 is its beginning.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_FOR_NO_FILES = frozenset(("idna", "punycode", "unicode-escape", "raw-unicode-escape"))
_OTHER_KINDS = {
    b"PK\x03\x04": "a zip archive or an Excel workbook; unpack it, or export the sheet as CSV",
    b"\xd0\xcf\x11\xe0": "an Excel workbook; export the sheet as CSV",
    b"PAR1": "a Parquet file; give it the ending .parquet",
    b"BZh": "packed with bzip2; unpack it, or pack it with gzip",
    b"\xfd7zXZ": "packed with xz; unpack it, or pack it with gzip",
    b"SQLite": "an SQLite database; export the table as CSV",
}


@contextmanager
def file_errors(path: Path) -> Iterator[None]:
    """Tells in one sentence what goes wrong while a file is read.

    Raises:
        InvalidDataError: the file is not there, cannot be opened, or is damaged.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise InvalidDataError(f"there is no file {path}; check its name.") from error
    except IsADirectoryError as error:
        raise InvalidDataError(f"{path} is a folder; name the file in it.") from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InvalidDataError(
            f"{path} is packed with gzip, and damaged or cut off; fetch or pack it again."
        ) from error
    except OSError as error:
        raise InvalidDataError(f"{path} cannot be read ({error.strerror or error}); check it.") from error


def find_encoding(path: Path, given: str | None) -> str:
    """The name of a file's encoding: what the mark at its beginning says, or else the one given, or else UTF-8.

    Raises:
        InvalidDataError: the file is no text, cannot be opened, lacks the mark that the encoding needs, or is UTF-8
            although another encoding is given.
        InvalidSettingError: there is no such encoding of files.
    """
    try:
        name = codecs.lookup(given or "utf-8").name
        "".encode(name)  # refuses codecs that are for no text
        if name.replace("_", "-") in _FOR_NO_FILES:
            raise ValueError(name)
    except (LookupError, TypeError, ValueError) as error:
        raise InvalidSettingError(
            f"encoding is {given!r}, which is not known; give for example 'utf-8', 'latin-1' or 'cp1252'."
        ) from error
    with file_errors(path):
        with _open(path) as content:
            start = content.read(BLOCK)
        for beginning, kind in _OTHER_KINDS.items():
            if start.startswith(beginning):
                raise InvalidDataError(f"{path} is {kind}.")
        for mark, marked in _MARKS:
            if start.startswith(mark):
                return marked
        if start and name in ("utf-16", "utf-32"):
            raise InvalidDataError(
                f"{path} does not begin with the mark that tells the order of bytes in {name.upper()}; give {name}-le "
                f"or {name}-be as the encoding."
            )
        if b"\0" in start and not name.startswith(("utf-16", "utf-32")):
            raise InvalidDataError(
                f"{path} has zero bytes, so it is no text in {name.upper()}; where it is UTF-16, give utf-16-le or "
                "utf-16-be as the encoding."
            )
        if not name.startswith("utf") and _is_utf8_beyond_ascii(path):
            raise InvalidDataError(
                f"{path} is UTF-8, and read as {given} its letters would be garbled; leave the encoding out."
            )
    return name


@contextmanager
def open_text(path: Path, encoding: str) -> Iterator[TextIO]:
    """The text of a file in an encoding from `find_encoding`, unpacked where it is packed with gzip.

    Bytes that are invalid in the encoding stand there as lone surrogates, so that only rows that have them are lost.

    Raises:
        InvalidDataError: the file cannot be read, or is in UTF-16 or UTF-32 and has invalid bytes.
    """
    # UTF-16 and UTF-32 cannot hold what is invalid, and an odd byte there shifts all that follows.
    errors = "strict" if encoding.startswith(("utf-16", "utf-32")) else "surrogateescape"
    with file_errors(path), _open(path) as content:
        try:
            with io.TextIOWrapper(cast("BinaryIO", content), encoding, errors, newline="") as text:
                yield text
        except UnicodeError as error:  # some encodings raise no more than that
            reason = error.reason if isinstance(error, UnicodeDecodeError) else error
            raise InvalidDataError(
                f"{path} is not {encoding.upper()} throughout ({reason}); save it anew as UTF-8."
            ) from error


def iter_lines(text: TextIO, path: Path) -> Iterator[str]:
    """The lines of a text with their ends.

    Raises:
        InvalidDataError: a line, or the whole, is too long to be held in memory.
    """
    n_characters = 0
    for number, line in enumerate(iter(lambda: text.readline(MAX_LINE), ""), start=1):
        if len(line) == MAX_LINE:
            raise InvalidDataError(
                f"{path}, line {number}: it has more than {MAX_LINE // 10**6} million characters; check the file."
            )
        n_characters += len(line)
        if n_characters > MAX_TEXT:
            raise InvalidDataError(
                f"{path} has more than {MAX_TEXT // 10**9} billion characters, unpacked; give a part of it."
            )
        yield line


def is_gzip(path: Path) -> bool:
    """Whether a file is packed with gzip, whatever its name says."""
    with file_errors(path), path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


@contextmanager
def _open(path: Path) -> Iterator[io.BufferedIOBase]:
    with gzip.open(path) if is_gzip(path) else path.open("rb") as content:
        yield cast("io.BufferedIOBase", content)


def _is_utf8_beyond_ascii(path: Path) -> bool:
    """Whether a file is valid UTF-8 with letters beyond ASCII, which text in another encoding never is by chance."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    is_beyond = False
    with _open(path) as content:
        try:
            while block := content.read(BLOCK):
                is_beyond |= not decoder.decode(block).isascii()
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return False
    return is_beyond
