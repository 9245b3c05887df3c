"""Texts as the numbers that a pretrained model's own tokenizer gives their pieces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trak_core.errors import InvalidSettingError, NeedNotMetError

if TYPE_CHECKING:  # takes seconds to import
    from transformers import PreTrainedTokenizerBase

__all__ = ["Pieces", "Stamp", "Tokenizer", "stamp_of"]

AT_ONCE = 1024
Stamp = tuple[tuple[str, int, int], ...]


def stamp_of(source: str | Path) -> Stamp:
    """Name, size and time of change of each file in a folder: what was read from it holds as long as these stay.

    Empty for what is no folder.
    """
    folder = Path(source)
    if not folder.is_dir():
        return ()
    found = [(path.name, path.stat()) for path in sorted(folder.iterdir()) if path.is_file()]
    return tuple((name, facts.st_size, facts.st_mtime_ns) for name, facts in found)


@dataclass(frozen=True)
class Pieces:
    """What turns a text into the inputs of a pretrained model.

    Attributes:
        source: the folder, or the name on Hugging Face, of the tokenizer.
        length: how many pieces of a text are read.
    """

    source: str
    length: int

    def inputs(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """The numbers of the first pieces of each text: int64 `[n, length]`, filled up with the tokenizer's padding.

        Raises:
            NeedNotMetError: the tokenizer is not there any more.
        """
        rows = np.empty((len(texts), self.length), dtype=np.int64)
        tokenizer = _tokenizer(self.source)
        for start in range(0, len(texts), AT_ONCE):
            part = list(texts[start : start + AT_ONCE])
            rows[start : start + len(part)] = tokenizer(
                part, truncation=True, padding="max_length", max_length=self.length
            )["input_ids"]
        return rows


@dataclass(frozen=True)
class Tokenizer:
    """The tokenizer of a pretrained model.

    Attributes:
        source: its folder, or its name on Hugging Face.
        longest: the most pieces that the model reads.
    """

    source: str
    longest: int

    def measured(self, texts: Sequence[str]) -> Pieces:
        """Pieces of a length that holds 95% of the texts whole, and no more than the model reads.

        Args:
            texts: of the train examples.
        """
        tokenizer = _tokenizer(self.source)
        lengths = [
            len(numbers)
            for start in range(0, len(texts), AT_ONCE)
            for numbers in tokenizer(list(texts[start : start + AT_ONCE]), truncation=True, max_length=self.longest)[
                "input_ids"
            ]
        ]
        return Pieces(self.source, int(np.clip(np.percentile(lengths, 95, method="higher"), 1, self.longest)))

    @property
    def padding(self) -> int:
        """The number that fills short texts up.

        Raises:
            InvalidSettingError: the tokenizer has none.
        """
        number = _tokenizer(self.source).pad_token_id
        if number is None:
            raise InvalidSettingError(
                f"the tokenizer of {self.source!r} has no padding token, so texts of different length make no batch; "
                "set pad_token in its tokenizer_config.json."
            )
        return int(number)


def _tokenizer(source: str) -> PreTrainedTokenizerBase:
    return _read_tokenizer(source, stamp_of(source))


@lru_cache(maxsize=4)
def _read_tokenizer(source: str, stamp: Stamp) -> PreTrainedTokenizerBase:
    try:
        from transformers import AutoTokenizer

        # Never from the network, and never code that comes with a model.
        return AutoTokenizer.from_pretrained(source, local_files_only=True, trust_remote_code=False)
    except ImportError as error:
        raise NeedNotMetError(
            f"the tokenizer of {source!r} needs the package transformers; `pip install transformers`."
        ) from error
    except (OSError, ValueError, KeyError) as error:
        raise NeedNotMetError(
            f"there is no tokenizer in {source!r} ({_first_line(error)}); save it there, as in "
            "tokenizer.save_pretrained(FOLDER)."
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
