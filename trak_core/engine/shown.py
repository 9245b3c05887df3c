"""What people see of the examples of a run that is saved: pictures, texts, and what is asked in words."""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray
from torch import Tensor

from trak_core.errors import InvalidDataError, InvalidSettingError
from trak_core.subjects.batches import Data
from trak_core.tasks import Task
from trak_core.tasks.ragged import MASK
from trak_core.tasks.tokens import IDS

LONGEST_NAME = 60
"""Letters of a continuation that stand for it in lists."""
OfSplits = tuple[Sequence[Any], Sequence[Any]] | None


@dataclass(frozen=True)
class Shown:
    """What somebody gave to be shown, each for the train and for the test examples."""

    thumbnails: OfSplits = None
    texts: OfSplits = None
    tokenizer: Any = None  # of a language model; None where ids stay numbers

    def columns(self, split: str, data: Data, labels: NDArray[Any], task: Task) -> dict[str, Sequence[Any]]:
        """What is seen of a split, by column, empty where nothing was given: thumbnail, text, label_name.

        Raises:
            InvalidDataError: there is not one for each example.
            InvalidSettingError: the tokenizer is none of this model.
        """
        place = 0 if split == "train" else 1
        given = {"thumbnail": self.thumbnails, "text": self.texts}
        columns = {name: () if of_splits is None else of_splits[place] for name, of_splits in given.items()}
        for name, values in columns.items():
            if given[name] is not None and len(values) != len(labels):
                raise InvalidDataError(
                    f"{name}s hold {len(values)} entries for {len(labels)} {split} examples; give one for each."
                )
        if self.tokenizer is None:
            return {**columns, "label_name": () if task.has_classes else [task.in_words(label) for label in labels]}
        if labels.ndim != 2:
            raise InvalidSettingError("tokenizer is given, but labels are no tokens; leave it out.")
        asked = [self._decoded(label[label >= 0].tolist()) for label in labels]
        texts = columns["text"] or [self._decoded(ids) for ids in _ids(data)]
        return {**columns, "text": texts, "label_name": [_short(text) for text in asked]}

    def _decoded(self, ids: list[int]) -> str:
        tokenizer, wrong = self.tokenizer, ""
        if not hasattr(tokenizer, "decode"):
            wrong = "has no decode()"
        elif hasattr(tokenizer, "__len__") and max(ids, default=0) >= len(tokenizer):
            wrong = f"knows {len(tokenizer):,} tokens, and the examples have {max(ids):,}"
        if wrong:
            raise InvalidSettingError(
                f"tokenizer is a {type(tokenizer).__name__} that {wrong}; give the one that made the examples."
            )
        return str(tokenizer.decode(ids))


def _ids(data: Data) -> Iterator[list[int]]:
    """The ids of each text, without what fills it up."""
    for batch in data.batches():
        inputs: Any = batch.inputs
        ids: Tensor = inputs[IDS] if isinstance(inputs, dict) else inputs
        mask = inputs.get(MASK) if isinstance(inputs, dict) else None
        for row, text in enumerate(ids):
            yield (text if mask is None else text[mask[row].bool()]).tolist()


def _short(text: str) -> str:
    """A text in one line, cut where it is long."""
    line = " ".join(text.split()) or "an empty text"
    return textwrap.shorten(line, LONGEST_NAME, placeholder=" …") if len(line) > LONGEST_NAME else line
