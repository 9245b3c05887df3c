"""Media as HTML: pictures inside the page, texts with every sign escaped and marked stretches in colour."""

import base64
import html

from trak_core.media import Picture, Text

FOR, AGAINST = "#1c83e1", "#e8820c"
"""Colours of marks: what speaks for, and what speaks against."""
STRONGEST = 45
"""Percent of the colour in the mark of the largest weight, so that the text stays readable on it."""


def data_uri(picture: Picture) -> str:
    """The picture as an address that needs no second request."""
    return f"data:{picture.mime_type};base64,{base64.b64encode(picture.content).decode()}"


def text_in_html(text: Text, most: int | None = None) -> str:
    """The text with every sign escaped, marked stretches within `<mark>`.

    Args:
        text: to show.
        most: characters; longer texts end in dots. None for all.
    """
    end = len(text.text) if most is None else min(most, len(text.text))
    parts, at = [], 0
    for start, stop, weight in sorted(text.marks):
        start, stop = max(start, at), min(stop, end)
        if start >= stop:
            continue  # beyond the end, or within a stretch that is marked already
        strength = round(min(abs(weight), 1) * STRONGEST)
        colour = f"color-mix(in srgb, {FOR if weight >= 0 else AGAINST} {strength}%, transparent)"
        parts.append(html.escape(text.text[at:start]))
        parts.append(f'<mark style="background:{colour};color:inherit">{html.escape(text.text[start:stop])}</mark>')
        at = stop
    more = " ..." if end < len(text.text) else ""
    return "".join(parts) + html.escape(text.text[at:end].rstrip() if more else text.text[at:end]) + more
