"""How a person gives a new example to a run: what a page asks for, and what becomes of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trak_core.media import Medium


@dataclass(frozen=True)
class Upload:
    """A file is uploaded: `bytes`."""

    label: str  # what is asked for
    caption: str = ""  # a sentence below
    types: tuple[str, ...] = ()  # endings of file names
    max_megabytes: int = 10  # of a file


@dataclass(frozen=True)
class Type:
    """A text is typed: `str`."""

    label: str  # what is asked for
    caption: str = ""  # a sentence below
    example: str = ""  # what somebody may type; empty for the beginning of a test example
    max_characters: int = 20_000  # of the text
    is_long: bool = True  # whether there is room for several lines


@dataclass(frozen=True)
class Draw:
    """A picture is drawn with the mouse or a finger: `bytes` of a PNG."""

    label: str  # what the sheet is for
    caption: str = ""  # a sentence below


Way = Upload | Type | Draw


@dataclass(frozen=True)
class Field:
    """One thing that is asked for."""

    name: str  # under which what was given is handed on
    ways: tuple[Way, ...]  # to give it, the usual one first


@dataclass(frozen=True)
class NewInput:
    """A new example as the model sees it."""

    contents: Any  # of this one example, as its modality has them: what `Encoding.inputs` takes
    media: tuple[Medium, ...]  # what it looks like to the model
    steps: tuple[str, ...] = ()  # what was done to bring it there, a sentence each


class NewInputReader(ABC):
    """Reads new examples for one run."""

    fields: tuple[Field, ...]  # what is asked for
    invitation: str  # what to do, without a full stop, as "Upload an image"

    @abstractmethod
    def read(self, given: Mapping[str, Any]) -> NewInput:
        """The new example, checked.

        Args:
            given: what was given, by the name of its field; every field is there.

        Raises:
            EmptyDataError: there is nothing in it.
            InvalidDataError: it cannot be read, or the model knows nothing of it.
        """
