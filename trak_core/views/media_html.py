"""Media for pages: pictures as addresses and enlarged, texts as HTML with marked stretches in colour."""

import base64
import html
import io

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
