"""Media for pages: pictures as addresses and enlarged, texts as HTML with marked stretches in colour."""

import base64
import html
import io
from collections.abc import Iterator

from PIL import Image

from trak_core.media import Picture, Text

FOR, AGAINST = "#1c83e1", "#e8820c"
"""Colours of marks: what speaks for, and what speaks against."""
STRONGEST = 45
"""Percent of the colour in the mark of the largest weight, so that the text stays readable on it."""


def data_uri(picture: Picture) -> str:
    """The picture as an address that needs no second request."""
    return f"data:{picture.mime_type};base64,{base64.b64encode(picture.content).decode()}"


def text_in_html(text: Text, most: int | None = None) -> str:
    """The text with every sign escaped, marked stretches within `<mark>`; beyond `most` characters it ends in dots."""
    end = len(text.text) if most is None else min(most, len(text.text))
    parts = []
    for words, weight in _stretches(text, 0, end):
        if weight is None:
            parts.append(html.escape(words))
        else:
            style = f"background:{mark_colour(weight)};color:inherit"
            parts.append(f'<mark style="{style}">{html.escape(words)}</mark>')
    shown = "".join(parts)
    return f"{shown.rstrip()} ..." if end < len(text.text) else shown


def marked_stretches(text: Text, most: int) -> list[tuple[str, float | None]]:
    """Up to `most` characters of a text in stretches, each with its weight, None where it is not marked.

    Of a longer text those from shortly before the strongest mark on, dots at the ends.
    """
    first = 0
    if len(text.text) > most:
        strongest = max(text.marks, key=lambda mark: abs(mark[2]), default=(0, 0, 0.0))
        first = max(0, min(strongest[0] - most // 3, len(text.text) - most))
    end = min(first + most, len(text.text))
    before: list[tuple[str, float | None]] = [("… ", None)] if first else []
    return [*before, *_stretches(text, first, end), *([(" …", None)] if end < len(text.text) else [])]


def _stretches(text: Text, first: int, end: int) -> Iterator[tuple[str, float | None]]:
    at = first
    for start, stop, weight in sorted(text.marks):
        start, stop = max(start, at), min(stop, end)
        if start >= stop:
            continue  # beyond an end, or within a stretch that is marked already
        if at < start:
            yield text.text[at:start], None
        yield text.text[start:stop], weight
        at = stop
    if at < end:
        yield text.text[at:end], None


def mark_colour(weight: float) -> str:
    """The background of a mark, as CSS has it: deeper for larger weights, from -1 to 1."""
    strength = round(min(abs(weight), 1) * STRONGEST)
    return f"color-mix(in srgb, {FOR if weight >= 0 else AGAINST} {strength}%, transparent)"


def enlarged(content: bytes, width: int) -> bytes:
    """A stored thumbnail as PNG bytes with every pixel as a square of pixels, so that it does not blur at a width.

    An image that has nearly as many pixels stays as it is.
    """
    with Image.open(io.BytesIO(content), formats=("PNG", "WEBP", "JPEG")) as image:
        # Twice the width, for screens that have two points to a pixel.
        factor = 2 * width // image.width
        if factor <= 3:
            return content
        buffer = io.BytesIO()
        size = (factor * image.width, factor * image.height)
        image.resize(size, Image.Resampling.NEAREST).save(buffer, "PNG")
        return buffer.getvalue()
