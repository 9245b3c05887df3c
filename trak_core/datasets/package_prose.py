"""The prose in the docstrings of installed packages, module by module: text for language models that is there."""

import re
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from zlib import crc32

from trak_core.datasets.docstrings import COMMON_WORDS, MARKUP, docstrings_in, is_own
from trak_core.errors import InvalidDataError

SHORTEST = 60
"""Characters of a paragraph; shorter ones are headings."""
WORDS = re.compile(r"\w+")
RUN = 8
"""Words in a row that two texts must share to count as one copied from the other."""


def package_dir(package: str) -> Path:
    """The directory of an installed package, which is found without being imported.

    Raises:
        InvalidDataError: it is not installed.
    """
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise InvalidDataError(
            f"the docstrings of {package!r} are read, but it is not installed; run `pip install -r requirements.txt`."
        )
    return Path(next(iter(spec.submodule_search_locations)))


def parts_of(package: str) -> list[str]:
    """The modules and packages at the top of an installed package, such as "scipy.stats", by name.

    Raises:
        InvalidDataError: it is not installed.
    """
    root = package_dir(package)
    files = [path.relative_to(root) for path in root.rglob("*.py") if is_own(path, root)]
    return sorted({f"{package}.{file.parts[0].removesuffix('.py')}" for file in files})


def prose_of(module: str) -> list[str]:
    """Paragraphs of prose in the docstrings of a package, such as "numpy", or of a part of one, such as "scipy.stats".

    Each paragraph once, on one line, in the order of files and of lines. Sources are parsed and never run; tests and
    vendored code are left out.

    Raises:
        InvalidDataError: the package is not installed, or has no such part.
    """
    package, _, part = module.partition(".")
    root = package_dir(package)
    place = root.joinpath(*part.split(".")) if part else root
    files = [place.with_suffix(".py")] if place.with_suffix(".py").is_file() else sorted(place.rglob("*.py"))
    if not files:
        raise InvalidDataError(
            f"package {package!r} has no part {part!r} with sources in {root}; take another release."
        )
    found: dict[str, None] = {}
    for file in files:
        if is_own(file, root):
            found.update(dict.fromkeys(paragraph for text in docstrings_in(file) for paragraph in paragraphs(text)))
    return list(found)


def paragraphs(docstring: str) -> Iterator[str]:
    """The paragraphs of a docstring that are prose, each on one line."""
    for paragraph in re.split(r"\n\s*\n", docstring.strip()):
        if MARKUP.match(paragraph.lstrip()):
            continue
        text = " ".join(paragraph.split())
        words = {word.lower() for word in WORDS.findall(text)}
        if len(text) >= SHORTEST and text.isprintable() and len(COMMON_WORDS & words) > 1:
            yield text


def runs_of_words(texts: Sequence[str]) -> set[int]:
    """Every run of eight words in the texts, by its hash."""
    return {run for text in texts for run in _runs(text)}


def without_copies(texts: Sequence[str], runs: set[int]) -> list[str]:
    """The texts that share no run of eight words with those that the runs were taken from."""
    return [text for text in texts if runs.isdisjoint(_runs(text))]


def _runs(text: str) -> Iterator[int]:
    """A number for each run of words, the same in every process."""
    words = WORDS.findall(text.lower())
    for start in range(len(words) - RUN + 1):
        run = " ".join(words[start : start + RUN]).encode()
        yield crc32(run) << 32 | crc32(run[::-1])
