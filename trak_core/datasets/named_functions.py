"""What functions of installed packages do, in a sentence, with their names: pairs of texts that are there."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from trak_core.datasets.docstrings import MARKUP, is_own, parsed
from trak_core.datasets.package_prose import package_dir

SHORTEST, LONGEST = 25, 160
"""Characters of a sentence."""
FEWEST_WORDS, MOST_WORDS = 2, 5
"""Words of a name: names of one word are said by any sentence, or by none."""


def pairs_of(package: str) -> list[tuple[str, str, str]]:
    """The first sentence of the docstring of each function, its name as words, and the file, each sentence once.

    Sources are parsed and never run; tests, vendored code, and functions that begin with an underscore are left out.

    Raises:
        InvalidDataError: the package is not installed.
    """
    root = package_dir(package)
    found: dict[str, tuple[str, str, str]] = {}
    for file in sorted(root.rglob("*.py")):
        if is_own(file, root):
            origin = f"{package}/{file.relative_to(root).as_posix()}"
            for sentence, name in _functions(file):
                found.setdefault(sentence, (sentence, name, origin))
    return list(found.values())


def _functions(file: Path) -> Iterator[tuple[str, str]]:
    tree = parsed(file)
    if tree is None:
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            words = [word for word in node.name.lower().split("_") if word]
            sentence = first_sentence(ast.get_docstring(node) or "")
            if sentence is not None and FEWEST_WORDS <= len(words) <= MOST_WORDS:
                yield sentence, " ".join(words)


def first_sentence(docstring: str) -> str | None:
    """The first sentence on one line; None where it is none, or too short or too long."""
    paragraph = re.split(r"\n\s*\n", docstring.strip())[0]
    if not paragraph or MARKUP.match(paragraph):
        return None
    text = " ".join(paragraph.split())
    sentence = text[: end.end()] if (end := re.search(r"[.!?](?=\s|$)", text)) else text
    return sentence if SHORTEST <= len(sentence) <= LONGEST and sentence.isprintable() else None
