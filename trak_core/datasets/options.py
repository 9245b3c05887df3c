"""Options of reading data: each with its words on the command line and, where pages offer it, on its field there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Option:
    """One option of reading."""

    name: str  # in Python; with dashes, on the command line
    help: str  # a line for the command line
    values: type = str  # the type of its values: bool for a switch
    choices: tuple[tuple[str, Any], ...] = ()  # the values that there are, by what people call them; empty for any
    title: str = ""  # of its field on a page; empty where pages leave the option as it is
    empty: str = ""  # what it means, in the field, to give nothing; a column without it has to be chosen
    hint: str = ""  # more about it, a sentence or two
    # what columns for it are called, the likeliest first; None for what is no column
    likely: tuple[str, ...] | None = None
    # name of the modality whose examples stand in the column; empty for what is said about examples
    contents_of: str = ""

    @property
    def flag(self) -> str:
        """Its word on the command line."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def is_column(self) -> bool:
        """True where it names a column of the data."""
        return self.likely is not None

    def likely_in(self, columns: list[str]) -> str | None:
        """The column that it probably is; None where no name says so."""
        return next((column for name in self.likely or () for column in columns if column.casefold() == name), None)


_TEXTS = ("text", "sentence", "content", "review", "document", "body", "comment", "message")
LABEL_COLUMNS = ("label", "labels", "class", "target")
"""What columns of labels are called where none is declared as one."""

TEXT = Option("text", "Column of the texts.", title="Column of texts", likely=_TEXTS, contents_of="text")
IMAGE = Option("image", "Column of the images.", title="Column of images", likely=(), contents_of="image")
LABEL = Option("label", "Column of the labels.", title="Column of labels", likely=LABEL_COLUMNS)
SPLIT = Option(
    "split",
    "Column that says train, test or validation.",
    title="Column that says train or test",
    empty="none: a fifth is held out for testing",
    likely=("split", "set", "fold"),
)
TEST = Option("test", "A second table, of test examples.", Path)
NO_HEADER = Option(
    "no_header",
    "The first row is an example; columns have numbers from 1.",
    bool,
    title="The first row is an example already",
    hint="Columns then have numbers from 1 in the place of names.",
)
DELIMITER = Option(
    "delimiter",
    "Between the fields of a CSV file; tab for a tab.  [found out]",
    title="Delimiter",
    empty="found out",
    hint='One character between the fields of a row; "tab" for a tab.',
)
ENCODING = Option("encoding", "Of a CSV file, such as latin-1.  [utf-8]", title="Encoding", empty="utf-8")
MISSING = Option(
    "missing",
    'Words for a missing label or text, with commas between them; "" for none.  [NA, NaN, null, None, ...]',
    title="Words for a missing value",
    empty="NA, NaN, null, None",
    hint="With commas between them. Rows with such a label or text are left out.",
)
SIZE = Option(
    "size",
    "Height and width of images in pixels.  [that of all, up to 64]",
    int,
    title="Image size",
    empty="as they are",
    hint="All images are brought to it. Left empty, they keep the size that all have, or get 64 at most.",
)
CHANNELS = Option(
    "channels",
    "1 for grey, 3 for colours.  [as they are]",
    int,
    (("grey", 1), ("in colour", 3)),
    "Tones",
    "as they are",
)
TEST_SHARE = Option("test_share", "Share of each class held out where there are no test examples.  [0.2]", float)
LABEL_OF_IMAGES = Option(
    "label",
    "Column of labels in a table that names the images.  [found out]",
    title="Column of labels",
    empty="the folders",
    hint="Where a table beside the images (train.csv, metadata.csv) says of which class each is, and not the folders.",
)
LABELS = Option("labels", "That table, where it lies elsewhere or there are several.  [beside the images]", Path)
WORDS = Option(
    "words",
    "Most words of a passage; 40 by default.",
    int,
    title="Words of a passage",
    empty="40",
)
HEADING = Option(
    "heading",
    "Regular expression of the lines at which a document begins.",
    title="Lines at which a document begins",
    empty="none: each file is a document",
    hint='A regular expression, such as "CHAPTER .*".',
)
SOURCE = Option(
    "source",
    "Column of the texts that are given: sources, prompts, questions.",
    title="Column of what is given",
    empty="none: the table has conversations",
    likely=("source", "prompt", "question", "input", "instruction"),
    contents_of="text_pair",
)
TARGET = Option(
    "target",
    "Column of what a model is to say to them: targets, completions, answers.",
    title="Column of what a model is to say",
    empty="none: the table has conversations",
    likely=("target", "completion", "answer", "output", "response"),
)
MESSAGES = Option(
    "messages",
    "Column of conversations, lists of {role, content}; the assistant's last turn is learnt, in place of both others.",
    title="Column of conversations",
    empty="none: what is given and what to say stand apart",
    likely=("messages", "conversations", "conversation"),
)
NO_CHAT_TEMPLATE = Option(
    "no_chat_template",
    "Leave out the chat template that the tokenizer of a model has.",
    bool,
    title="Without the chat template of the model's tokenizer",
)
