"""What people see of an example: a list of pictures and texts, whatever its modality."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Picture:
    """A picture."""

    content: bytes  # PNG or WebP bytes
    # what it shows, for screen readers and below it where an example has several; empty where that is clear
    name: str = ""

    @property
    def mime_type(self) -> str:
        """What a browser calls the kind of file."""
        return "image/png" if self.content.startswith(b"\x89PNG") else "image/webp"


@dataclass(frozen=True)
class Text:
    """A text."""

    text: str  # plain, never Markdown or HTML
    name: str = ""  # what it is, where an example has several; empty where that is clear
    # marked stretches as start, end (characters) and weight from -1 to 1; empty where nothing is marked
    marks: tuple[tuple[int, int, float], ...] = ()


Medium = Picture | Text


def first_picture(media: Iterable[Medium]) -> bytes | None:
    """The content of the first picture; None where there is none."""
    return next((one.content for one in media if isinstance(one, Picture)), None)


def first_text(media: Iterable[Medium]) -> str | None:
    """The first text; None where there is none."""
    return next((one.text for one in media if isinstance(one, Text)), None)


def texts_of(media: Iterable[Medium]) -> list[str]:
    """All texts in their order."""
    return [one.text for one in media if isinstance(one, Text)]


def split_media(media: Iterable[Medium]) -> tuple[bytes | None, str | None, tuple[Medium, ...]]:
    """The content of the first picture, the first text without marks, and what is further, as a store keeps an example.

    The names of the first two are not kept: what an example has one of needs none.
    """
    thumbnail: bytes | None = None
    text: str | None = None
    further: list[Medium] = []
    for one in media:
        if isinstance(one, Picture) and thumbnail is None:
            thumbnail = one.content
        elif isinstance(one, Text) and text is None and not one.marks:
            text = one.text
        else:
            further.append(one)
    return thumbnail, text, tuple(further)


def media_of(thumbnail: bytes | None, text: str | None, further: Iterable[Medium] = ()) -> tuple[Medium, ...]:
    """The media of an example from what a store keeps: the first picture, the first text, then the further ones."""
    first: list[Medium] = []
    if thumbnail is not None:
        first.append(Picture(thumbnail))
    if text is not None:
        first.append(Text(text))
    return (*first, *further)
