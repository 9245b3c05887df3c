"""Text that comes from data, file names or addresses, made safe for places that read Markdown."""

import re

__all__ = ["plain"]

_MARKS = re.compile(r"([!-/:-@\[-`{-~])")


def plain(text: object) -> str:
    """The text with every ASCII punctuation mark escaped, so that Markdown shows it letter by letter."""
    return _MARKS.sub(r"\\\1", " ".join(str(text).split()))
