"""Texts as the ids that a pretrained model's own tokenizer gives to subword tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trak_core.errors import InvalidSettingError, NeedNotMetError
from trak_core.inputs import ArrayInputs, flat_rows
from trak_core.modalities.encoding import Encoding

if TYPE_CHECKING:  # takes seconds to import
    from transformers import PreTrainedTokenizerBase

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
    return tuple((name, status.st_size, status.st_mtime_ns) for name, status in found)


@dataclass(frozen=True)
class SubwordTokens(Encoding):
    """Texts as ids of subword tokens, for a pretrained model."""

    kind = "subword_tokens"
    size_names = ("length",)
    form = "texts come as ids of subword tokens, int64 [n, length]"
    is_learnt = False

    source: str  # the folder, or the name on Hugging Face, of the tokenizer
    length: int  # how many tokens of a text are read

    def description(self) -> tuple[str, str]:
        """How much of a text is read, and by which tokenizer."""
        said = f"the first {self.length:,} subword tokens of {Path(self.source).name}"
        return "texts as the model takes them", said

    def empty(self, inputs: ArrayInputs) -> NDArray[np.bool_]:
        """Texts of which the tokenizer makes nothing but marks of its own: padding, beginning, end, unknown."""
        marks = read_tokenizer(self.source).all_special_ids
        return np.asarray(np.isin(flat_rows(inputs), marks).all(axis=1))

    def inputs(self, contents: Sequence[str]) -> NDArray[np.int64]:
        """The ids of the first tokens of each text: int64 `[n, length]`, filled up with the tokenizer's padding.

        Raises:
            NeedNotMetError: the tokenizer is not there any more.
        """
        rows = np.empty((len(contents), self.length), dtype=np.int64)
        for row, ids in zip(rows, token_ids(self.source, contents, self.length, padding="max_length"), strict=True):
            row[:] = ids
        return rows


@dataclass(frozen=True)
class Tokenizer:
    """The tokenizer of a pretrained model."""

    source: str  # its folder, or its name on Hugging Face
    longest: int  # the most tokens that the model reads

    def learn(self, contents: Sequence[str], source: str) -> SubwordTokens:
        """Tokens of a length that holds 95% of the texts whole, and no more than the model reads."""
        return SubwordTokens(self.source, usual_length(self.source, contents, self.longest))

    @property
    def padding(self) -> int:
        """The id that fills short texts up.

        Raises:
            InvalidSettingError: the tokenizer has none.
        """
        number = read_tokenizer(self.source).pad_token_id
        if number is None:
            raise InvalidSettingError(
                f"the tokenizer of {self.source!r} has no padding token, so texts of different length make no batch; "
                "set pad_token in its tokenizer_config.json."
            )
        return int(number)


def padded_ids(source: str, contents: Sequence[str], length: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Ids of the first tokens of each text with zeros behind them, and 1 where they are real, `[n, length]` each."""
    shape = (len(contents), length)
    ids, mask = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    for row, found in enumerate(token_ids(source, contents, length)):
        ids[row, : len(found)], mask[row, : len(found)] = found, 1
    return ids, mask


def usual_length(source: str, contents: Sequence[str], longest: int, least: int = 1, percent: int = 95) -> int:
    """How many tokens hold so many of the texts whole, from `least` to `longest`."""
    lengths = [len(ids) for ids in token_ids(source, contents, longest)]
    return int(np.clip(np.percentile(lengths, percent, method="higher"), least, longest))


def cut_note(
    source: str, contents: Sequence[str], length: int, noun: str, side: str = "end", with_marks: bool = True
) -> str:
    """A sentence on how many texts are longer than what is read of them, cut at their beginning or end; or nothing."""
    lengths = [len(ids) for ids in token_ids(source, contents, None, add_special_tokens=with_marks)]
    n_cut = sum(each > length for each in lengths)
    if not n_cut:
        return ""
    of_them = f"{n_cut:,} of {len(lengths):,} {noun}s {'are' if n_cut > 1 else 'is'}"
    return f"{of_them} longer than the {length:,} tokens that are read, up to {max(lengths):,}, and cut at the {side}."


def token_ids(source: str, contents: Sequence[str], longest: int | None, **settings: Any) -> Iterator[list[int]]:
    """The ids of the first tokens of each text, of all of them where `longest` is None."""
    tokenizer = read_tokenizer(source)
    for start in range(0, len(contents), AT_ONCE):
        part = list(contents[start : start + AT_ONCE])
        # Those that are longer than the model reads are told of elsewhere.
        found = tokenizer(part, truncation=longest is not None, max_length=longest, verbose=False, **settings)
        yield from found["input_ids"]


def token_spans(source: str, text: str, with_marks: bool = True) -> list[tuple[int, int]]:
    """Where each token of a text stands, start and end in characters; marks of its own at (0, 0).

    `with_marks` is False to leave those out.

    Raises:
        NeedNotMetError: there is no tokenizer, or it does not tell.
    """
    tokenizer = check_fast(source)
    # Longer than any model reads is what is asked for here.
    found = tokenizer(text, add_special_tokens=with_marks, return_offsets_mapping=True, verbose=False)
    return [(start, end) for start, end in found["offset_mapping"]]


def check_fast(source: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a model, which tells where tokens stand.

    Raises:
        NeedNotMetError: there is none, it does not tell, or it knows no token.
    """
    tokenizer = read_tokenizer(source)
    if not tokenizer.is_fast:
        raise NeedNotMetError(
            f"the tokenizer of {source!r} does not tell where its tokens stand in a text; use one that comes with a "
            "tokenizer.json."
        )
    return tokenizer


def prompt_ids(source: str, prompt: str, with_marks: bool = True) -> list[int]:
    """Ids of a prompt that something is to follow: without marks that the tokenizer puts behind a text."""
    spans, (ids,) = (
        token_spans(source, prompt, with_marks),
        token_ids(source, [prompt], None, add_special_tokens=with_marks),
    )
    while spans and spans[-1][0] == spans[-1][1]:
        spans.pop()
    return ids[: len(spans)]


def said_behind(source: str, before: Sequence[int], ids: Sequence[int]) -> str:
    """What tokens say behind others, with a blank in front where there is one, without marks of the tokenizer's own."""
    told: Callable[[list[int]], Any] = partial(
        read_tokenizer(source).decode, skip_special_tokens=True, clean_up_tokenization_spaces=False
    )
    # Together, since a tokenizer may drop the blank in front of a text, or put one between words.
    return str(told([*before, *ids]))[len(str(told([*before]))) :]


def ending_ids(source: str) -> frozenset[int]:
    """The tokens that end or fill up a text."""
    tokenizer = read_tokenizer(source)
    ends = (tokenizer.eos_token_id, tokenizer.pad_token_id, tokenizer.sep_token_id)
    return frozenset(number for number in ends if number is not None)


def read_tokenizer(source: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a model; NeedNotMetError where there is none."""
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
            f"there is no tokenizer in {source!r} ({first_line(error)}); save it there, as in "
            "tokenizer.save_pretrained(FOLDER)."
        ) from error


def first_line(error: Exception) -> str:
    """What an error says, up to the end of its first line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
