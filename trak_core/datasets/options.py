"""Options of reading data: each with its words on the command line and, where a page offers it, its field there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = [
    "CHANNELS",
    "DELIMITER",
    "ENCODING",
    "IMAGE",
    "LABEL",
    "LABEL_COLUMNS",
    "NO_HEADER",
    "SIZE",
    "SPLIT",
    "TEST",
    "TEST_SHARE",
    "TEXT",
    "Choice",
    "Column",
    "Field",
    "Number",
    "Option",
    "Toggle",
    "Typed",
]


@dataclass(frozen=True)
class Column:
    """A field to choose a column of the data.

    Attributes:
        title: above the field.
        likely: what such columns are called, the likeliest first.
        contents_of: name of the modality whose examples stand in it; empty for what is said about examples.
        without: what it means to choose none; empty where one must be chosen.
    """

    title: str
    likely: tuple[str, ...] = ()
    contents_of: str = ""
    without: str = ""

    def likely_in(self, columns: list[str]) -> str | None:
        """The column that it probably is; None where no name says so."""
        return next((column for name in self.likely for column in columns if column.casefold() == name), None)


@dataclass(frozen=True)
class Number:
    """A field for a whole number, which may stay empty.

    Attributes:
        title: above the field.
        lowest: that can be given.
        highest: likewise.
        step: of the buttons.
        empty: what stands in the empty field.
        hint: what it means, a sentence or two.
    """

    title: str
    lowest: int
    highest: int
    step: int = 1
    empty: str = ""
    hint: str = ""


@dataclass(frozen=True)
class Choice:
    """A field with a few values to choose from.

    Attributes:
        title: above the field.
        values: by what people call them, the usual one first.
    """

    title: str
    values: tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Toggle:
    """A switch.

    Attributes:
        title: beside it.
        when_off: True where the option is set by switching it off.
    """

    title: str
    when_off: bool = False


@dataclass(frozen=True)
class Typed:
    """A field for a word, which may stay empty.

    Attributes:
        title: above the field.
        empty: what stands in the empty field.
    """

    title: str
    empty: str = ""


Field = Column | Number | Choice | Toggle | Typed


@dataclass(frozen=True)
class Option:
    """One option of reading.

    Attributes:
        name: in Python; with dashes, on the command line.
        help: a line for the command line.
        values: the type of its values; bool for a flag.
        choices: the values that there are; empty for any.
        metavar: what stands for the value in usage lines; empty for that of its type.
        field: how a page asks for it; None where pages leave it at its default.
    """

    name: str
    help: str
    values: type = str
    choices: tuple[Any, ...] = ()
    metavar: str = ""
    field: Field | None = None

    @property
    def flag(self) -> str:
        """Its word on the command line."""
        return f"--{self.name.replace('_', '-')}"


_TEXTS = ("text", "sentence", "content", "review", "document", "body", "comment", "message", "title")
LABEL_COLUMNS = ("label", "labels", "class", "target")
"""What columns of labels are called where none is declared as one."""

TEXT = Option("text", "Column of the texts.", metavar="COLUMN", field=Column("Column of texts", _TEXTS, "text"))
IMAGE = Option("image", "Column of the images.", metavar="COLUMN", field=Column("Column of images", (), "image"))
LABEL = Option("label", "Column of the labels.", metavar="COLUMN", field=Column("Column of labels", LABEL_COLUMNS))
SPLIT = Option(
    "split",
    "Column that says train, test or validation.",
    metavar="COLUMN",
    field=Column(
        "Column that says train or test",
        ("split", "set", "fold"),
        without="none: a fifth is held out for testing",
    ),
)
TEST = Option("test", "A second table, of test examples.", values=Path)
NO_HEADER = Option(
    "no_header",
    "The first row is an example; columns have numbers from 1.",
    values=bool,
    field=Toggle("The first row names the columns", when_off=True),
)
DELIMITER = Option("delimiter", "Between the fields of a CSV file.  [found out]")
ENCODING = Option("encoding", "Of a CSV file, such as latin-1.  [utf-8]", field=Typed("Encoding", "utf-8"))
SIZE = Option(
    "size",
    "Height and width of images in pixels.  [that of all, up to 64]",
    values=int,
    field=Number(
        "Pixels a side",
        1,
        512,
        8,
        "as they are",
        "All images are brought to it. Left empty, they keep the size that all have, or get 64 at most.",
    ),
)
CHANNELS = Option(
    "channels",
    "1 for grey, 3 for colours.  [as they are]",
    values=int,
    choices=(1, 3),
    field=Choice("Tones", (("as they are", None), ("grey", 1), ("in colour", 3))),
)
TEST_SHARE = Option("test_share", "Share of each class held out where there are no test examples.  [0.2]", values=float)
