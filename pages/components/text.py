"""Text that comes from data, file names or addresses, made safe for places that read Markdown or HTML."""

import html
import re
import textwrap
import unicodedata
from collections.abc import Iterable

from trak_core.datasets.kinds import DATA_KINDS

_MARKS = re.compile(r"([!-/:-@\[-`{-~])")
_WORD_JOINER = "\u2060"
LONGEST = 300
_FIELDS = {
    **{
        option.flag.removeprefix("--"): option.title
        for kind in DATA_KINDS.values()
        for option in kind.options
        if option.title
    },
    "name": "Name",
    "minutes": "Minutes",
    "seed": "Seed",
    "model": "Model",
}
"""Options of the command line, by what pages call them."""
_COMMAND = re.compile(r"`(?:python -m trak_core|trak-core) ([a-z-]+)[^`]*`")
_PLACES = {
    "build": "“New run” on the page Runs",
    "evidence": "“Measure every method” on the page Evidence",
    "extend": "“Measure trust” on the page Evidence",
    "map": "“Draw the map” on the page Map",
    "labels": "“Download” on the page Label review",
    "export": "“Export run” on the page Runs",
    "import": "“Open a run file” on the page Runs",
}
"""Commands, by where pages do the same."""
_OTHER_PLACE = "the command line"
_FOR_TERMINALS = re.compile(r" ?\b(?:Go on|Look at it) with: .*")
"""Ends of lines that name the command with which to go on."""


def plain(text: object) -> str:
    """The text for a place that reads Markdown, so that it shows every letter and nothing more.

    Texts of more than 300 letters are cut. Punctuation is escaped, and an invisible word joiner before each mark
    keeps addresses from becoming links and arrows from becoming signs, which escaping alone does not.
    """
    words = " ".join(str(text).split())
    cut = words if len(words) <= LONGEST else f"{words[:LONGEST]} …"
    return _MARKS.sub(rf"{_WORD_JOINER}\\\1", cut)


def told(problem: object) -> str:
    """What went wrong, in the words of pages, for a place that reads Markdown."""
    return plain(for_page(str(problem)))


def for_page(message: str) -> str:
    """A message that also serves the command line, without commands and options: as pages call what does the same."""
    message = _COMMAND.sub(lambda found: _PLACES.get(found[1], _OTHER_PLACE), message)
    message = re.sub(r" ?\(on the command line: [^)]*\)", "", message)
    message = re.sub(r" ?\((?:give )?--[a-z-]+(?: [^ )]+)?\)", "", message)
    return re.sub(r"--([a-z][a-z-]*)", lambda found: f"“{_FIELDS.get(found[1], found[1])}”", message)


def log_for_page(lines: Iterable[str]) -> list[str]:
    """Lines of the log of a job, without what they say to people at a terminal."""
    kept = (_FOR_TERMINALS.sub("", line).rstrip() for line in lines)
    return [for_page(line) for line in kept if line]


def apart(name: str) -> str:
    """The name so that words around it keep their places, whichever way its script runs."""
    runs_left = any(unicodedata.bidirectional(sign) in ("R", "AL") for sign in name)
    return f"\u2068{name}\u2069" if runs_left else name


def in_html(text: object) -> str:
    """The text for a place that reads HTML, as the labels of figures do."""
    return html.escape(str(text))


def shortened(text: str, length: int = 90) -> str:
    """The beginning of a text on one line, for places with little room; it is not escaped."""
    return textwrap.shorten(text, length, placeholder=" …")


def lds_in_words(lds: float, noise_ceiling: float | None, low: float | None = None, high: float | None = None) -> str:
    """An LDS with what is known of its bounds: the noise ceiling and the 95% interval."""
    bounds = [f"best possible {noise_ceiling:.2f}"] if noise_ceiling else []
    if low is not None and high is not None:
        bounds.append(f"95% interval {low:.2f} to {high:.2f}")
    return f"LDS {lds:.2f}" + (f" ({', '.join(bounds)})" if bounds else "")
