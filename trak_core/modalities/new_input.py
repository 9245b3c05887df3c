"""How a person gives a new example to a run: what a page asks for, and what becomes of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trak_core.media import Medium

__all__ = ["Draw", "Field", "NewInput", "NewInputReader", "Type", "Upload", "Way"]


@dataclass(frozen=True)
class Upload:
    """A file is uploaded: `bytes`.

    Attributes:
        label: what is asked for.
        caption: a sentence below.
        types: endings of file names.
        max_megabytes: of a file.
    """

    label: str
    caption: str = ""
    types: tuple[str, ...] = ()
    max_megabytes: int = 10


@dataclass(frozen=True)
class Type:
    """A text is typed: `str`.

    Attributes:
        label: what is asked for.
        caption: a sentence below.
        example: what somebody may type; empty for the beginning of a test example.
        max_characters: of the text.
        is_long: whether there is room for several lines.
    """

    label: str
    caption: str = ""
    example: str = ""
    max_characters: int = 20_000
    is_long: bool = True


@dataclass(frozen=True)
class Draw:
    """A picture is drawn with the mouse or a finger: `bytes` of a PNG.

    Attributes:
        label: what the sheet is for.
        caption: a sentence below.
    """

    label: str
    caption: str = ""


Way = Upload | Type | Draw


@dataclass(frozen=True)
class Field:
    """One thing that is asked for.

    Attributes:
        name: under which what was given is handed on.
        ways: to give it, the usual one first.
    """

    name: str
    ways: tuple[Way, ...]


@dataclass(frozen=True)
class NewInput:
    """A new example as the model sees it.

    Attributes:
        contents: of this one example, as its modality has them: what `Encoding.inputs` takes.
        media: what it looks like to the model.
        steps: what was done to bring it there, a sentence each.
    """

    contents: Any
    media: tuple[Medium, ...]
    steps: tuple[str, ...] = ()


class NewInputReader(ABC):
    """Reads new examples for one run.

    Attributes:
        fields: what is asked for.
        invitation: what to do, without a full stop, as "Upload an image".
    """

    fields: tuple[Field, ...]
    invitation: str

    @abstractmethod
    def read(self, given: Mapping[str, Any]) -> NewInput:
        """The new example, checked.

        Args:
            given: what was given, by the name of its field; every field is there.

        Raises:
            EmptyDataError: there is nothing in it.
            InvalidDataError: it cannot be read, or the model knows nothing of it.
        """
