"""Text that comes from data, file names or addresses, made safe for places that read Markdown or HTML."""

import html
import re
import textwrap
import unicodedata

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


def plain(text: object) -> str:
    """The text for a place that reads Markdown, so that it shows every letter and nothing more.

    Texts of more than 300 letters are cut. Punctuation is escaped, and an invisible word joiner before each mark
    keeps addresses from becoming links and arrows from becoming signs, which escaping alone does not.
    """
    words = " ".join(str(text).split())
    cut = words if len(words) <= LONGEST else f"{words[:LONGEST]} …"
    return _MARKS.sub(rf"{_WORD_JOINER}\\\1", cut)


def for_page(message: str) -> str:
    """A message that also serves the command line, without the options of that: as the fields of pages are called."""
    message = re.sub(r" ?\((?:give )?--[a-z-]+(?: [^ )]+)?\)", "", message)
    return re.sub(r"--([a-z][a-z-]*)", lambda found: f"“{_FIELDS.get(found[1], found[1])}”", message)


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
