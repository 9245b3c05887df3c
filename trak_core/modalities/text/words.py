"""Where the words of a text are: by Unicode's rules in any script, and by pieces learnt from the data without blanks.

A word is a run of letters and digits with the marks that belong to them, so that vowel signs stay with their letters;
apostrophes inside a word and points inside a number part nothing. An emoji is a word, with its skin tone and whatever
it is joined to. Chinese, Japanese, Thai, Lao, Khmer and some other scripts put no blanks between words, and longer runs
than any word come in every script (sequences, hashes): such runs are cut into pieces that the texts have in common,
found by byte-pair encoding.

Source: Unicode Standard Annex 29, "Unicode text segmentation", for words and for characters as people see them; Unicode
Standard, definition D146, for words that differ in form alone; Sennrich et al. 2016 (arXiv 1508.07909) for pieces.
"""

from __future__ import annotations

import json
import re
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

from trak_core.errors import NeedNotMetError
from trak_core.media import Medium, texts_of
from trak_core.modalities.encoding import Word

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from tokenizers.pre_tokenizers import PreTokenizer

WORD_PATTERN = r"[^\W\d_]{2,}"
"""Of `Letters`: two letters or more. Digits and underscores part words: `n_components` counts as "components"."""
Merge = tuple[str, str]

_EAST = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Bopomofo}\p{Yi}\u30fc\uff70\uff9e\uff9f"
_SOUTH = r"\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tai_Le}\p{New_Tai_Lue}\p{Tai_Tham}\p{Tai_Viet}\p{Javanese}\p{Balinese}"
_JOINERS = r"\u200c\u200d"
_LETTER = rf"[[\p{{L}}\p{{N}}]&&[^{_EAST}{_SOUTH}]]"
_TAIL = rf"[[\p{{L}}\p{{N}}\p{{M}}{_JOINERS}]&&[^{_EAST}{_SOUTH}]]*"
_WORD = "|".join(
    (
        rf"[[\p{{L}}\p{{Nl}}]&&[{_EAST}]][[\p{{L}}\p{{Nl}}\p{{M}}]&&[{_EAST}\p{{Inherited}}]]*",
        rf"[[\p{{L}}]&&[{_SOUTH}]][[\p{{L}}\p{{M}}{_JOINERS}]&&[{_SOUTH}\p{{Inherited}}]]*",
        rf"[\p{{Nd}}&&[{_SOUTH}]]+",
        rf"{_LETTER}{_TAIL}(?:(?:['\u2019\u02bc]|(?<=\p{{Nd}})[.,](?=\p{{Nd}})){_LETTER}{_TAIL})*",
        r"(?:(?=[\p{Extended_Pictographic}\p{Regional_Indicator}])\X)",
    )
)
_SIGNS = str.maketrans({"\u2019": "'", "\u02bc": "'", "\ufe0f": None})
"""Forms of the apostrophe are one, and the sign that asks for an emoji in colour, tells nothing."""
LONGEST_WORD = 30
"""Characters; a longer run is no word of a language with blanks."""
LONGEST_PIECE = {"east": 2, "south": 4, "long": 4}
"""Characters of a piece, with their marks: most words have so many where a character is a syllable, or where it is a
letter."""
MOST_PIECES = 4000
FEWEST_TIMES = 2
"""That two neighbours are met before they are a piece."""
_FIRST_PRIVATE = 0xF0000
_STRANGE = chr(_FIRST_PRIVATE - 1)
_UNKNOWN = "<unknown>"
"""Characters with marks are written as one of a private plane while pieces are found; one that is in no piece as the
last of them."""
_HALVES = re.compile(r"[\ud800-\udfff]")


class Words(ABC):
    """A rule by which texts have words."""

    rule: ClassVar[str]  # its name in a run

    @abstractmethod
    def places(self, text: str) -> list[Word]:
        """The words of a text in their order."""

    def of(self, text: str) -> list[str]:
        """The words of a text in their order, in the form by which they are known."""
        return [word for _, _, word in self.places(text)]

    def metadata(self) -> dict[str, Any]:
        """The rule, in types that JSON has."""
        return {"rule": self.rule}


@dataclass(frozen=True)
class Letters(Words):
    """Two letters or more, without marks: the rule of recipes, and of all runs before there was another one."""

    rule = "letters"

    def places(self, text: str) -> list[Word]:
        """As in `Words`; places are those in the text in small letters."""
        return [(found.start(), found.end(), found.group()) for found in re.finditer(WORD_PATTERN, text.lower())]


@dataclass(frozen=True)
class UnicodeWords(Words):
    """Words by Unicode's rules, and pieces where there are no blanks."""

    rule = "unicode"

    merges: tuple[Merge, ...] = ()  # neighbours that make a piece, the first to be joined first

    @classmethod
    def learn(cls, texts: Iterable[str]) -> UnicodeWords:
        """The rule with the pieces that some texts have in common; without pieces where all texts have blanks."""
        runs: dict[str, list[list[str]]] = {kind: [] for kind in LONGEST_PIECE}
        for text in map(_whole, texts):
            for start, end, kind in _runs(text):
                if kind is not None:
                    runs[kind].append([character for _, _, character in _characters(text[start:end])])
        merges = [pair for kind, found in runs.items() if found for pair in _learn_merges(found, LONGEST_PIECE[kind])]
        return cls(tuple(merges))

    def places(self, text: str) -> list[Word]:
        """As in `Words`."""
        text = _whole(text)
        found: list[Word] = []
        for start, end, kind in _runs(text):
            if kind is None:
                found.append((start, end, _known_form(text[start:end])))
            else:
                found += [(start + first, start + last, piece) for first, last, piece in self._pieces(text[start:end])]
        return found

    def metadata(self) -> dict[str, Any]:
        """The rule and its pieces."""
        return {"rule": self.rule, "merges": [list(pair) for pair in self.merges]}

    def _pieces(self, run: str) -> list[Word]:
        characters = _characters(run)
        code, tokenizer = self._cutter
        joined = tokenizer.encode(code.write([each for _, _, each in characters]), add_special_tokens=False).offsets
        return [
            (characters[first][0], characters[last - 1][1], "".join(each for _, _, each in characters[first:last]))
            for first, last in joined
        ]

    @cached_property
    def _cutter(self) -> tuple[_Code, Tokenizer]:
        """What writes characters as the tokenizer knows them, and the tokenizer."""
        from tokenizers import Tokenizer, models

        pairs = [[[each for _, _, each in _characters(part)] for part in pair] for pair in self.merges]
        code = _Code(each for pair in pairs for part in pair for each in part)
        merges = [(code.write(left), code.write(right)) for left, right in pairs]
        pieces = dict.fromkeys(piece for left, right in merges for piece in (left, right, left + right))
        numbers = {piece: number for number, piece in enumerate([_UNKNOWN, *pieces])}
        return code, Tokenizer(models.BPE(vocab=numbers, merges=merges, unk_token=_UNKNOWN))


def words_of_media(
    train: Sequence[tuple[Medium, ...]], test: Sequence[tuple[Medium, ...]]
) -> tuple[list[list[str]], list[list[str]]]:
    """The words of the texts of each train and of each test example, with pieces learnt from the train texts."""
    texts = [["\n".join(texts_of(one)) for one in part] for part in (train, test)]
    rule = UnicodeWords.learn(texts[0])
    train_words, test_words = ([rule.of(text) for text in part] for part in texts)
    return train_words, test_words


def _learn_merges(runs: Sequence[Sequence[str]], longest: int) -> list[Merge]:
    """Neighbours that are joined, the commonest first, into pieces of `longest` characters at most."""
    from tokenizers import Tokenizer, models, trainers

    alphabet = dict.fromkeys(character for run in runs for character in run)
    code = _Code(alphabet)
    tokenizer = Tokenizer(models.BPE())
    trainer = trainers.BpeTrainer(
        vocab_size=len(alphabet) + MOST_PIECES,
        min_frequency=FEWEST_TIMES,
        max_token_length=longest + 1,  # joined are those that stay below it
        show_progress=False,
    )
    tokenizer.train_from_iterator([code.write(run) for run in runs], trainer)
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    return [(code.read(left), code.read(right)) for left, right in merges]


class _Code:
    """Writes characters that are several code points, such as letters with marks, as one code point each."""

    def __init__(self, characters: Iterable[str]) -> None:
        longer = dict.fromkeys(each for each in characters if len(each) > 1)
        self._written = {each: chr(_FIRST_PRIVATE + number) for number, each in enumerate(longer)}
        self._read = {single: each for each, single in self._written.items()}

    def write(self, characters: Sequence[str]) -> str:
        """As many code points as there are characters."""
        return "".join(each if len(each) == 1 else self._written.get(each, _STRANGE) for each in characters)

    def read(self, written: str) -> str:
        """The characters again."""
        return "".join(self._read.get(each, each) for each in written)


def _runs(text: str) -> Iterator[tuple[int, int, str | None]]:
    """Start and end of what no blank or sign parts: a word (None), or a run that has to be cut, with its kind."""
    for run, (start, end) in _splitter(_WORD).pre_tokenize_str(text):
        kind = _kind_of(run[0])
        yield start, end, "long" if kind is None and end - start > LONGEST_WORD else kind


def _characters(run: str) -> list[Word]:
    """The characters of a run as people see them: a letter with its marks is one."""
    if run.isascii():
        return [(place, place + 1, each) for place, each in enumerate(run.lower())]
    found = []
    for each, (start, end) in _splitter(r"\X").pre_tokenize_str(run):
        known = _known_form(each)
        # Some become two characters of their own, which they should not be here.
        found.append((start, end, known if 0 < len(known) <= len(each) else each))
    return found


@lru_cache(maxsize=2**16)
def _known_form(word: str) -> str:
    """What words have in common that differ in case, in the composition of letters, or in the form of a sign."""
    folded = unicodedata.normalize("NFKC", word).casefold()
    return unicodedata.normalize("NFKC", folded).translate(_SIGNS) or word


@lru_cache(maxsize=2**12)
def _kind_of(character: str) -> str | None:
    """The kind of runs that a character begins; None for the letters of scripts with blanks, digits and emoji."""
    for kind, scripts in (("east", _EAST), ("south", _SOUTH)):
        if _splitter(rf"[[\p{{L}}\p{{Nl}}]&&[{scripts}]]").pre_tokenize_str(character):
            return kind
    return None


@lru_cache
def _splitter(pattern: str) -> PreTokenizer:
    """Gives all that matches."""
    from tokenizers import Regex
    from tokenizers.pre_tokenizers import Split

    return Split(Regex(pattern), "removed", invert=True)


def _whole(text: str) -> str:
    """Text without halves of characters, which no library takes."""
    return _HALVES.sub("\ufffd", text)


def read_words(kept: Mapping[str, Any] | None) -> Words:
    """The rule that a run keeps; that of all old runs where it keeps none. Whatever is missing may raise anything.

    Raises:
        NeedNotMetError: the rule is not known here.
    """
    if kept is None:
        return LETTERS
    if kept["rule"] == Letters.rule:
        return LETTERS
    if kept["rule"] == UnicodeWords.rule:
        return UnicodeWords(tuple((str(left), str(right)) for left, right in kept["merges"]))
    raise NeedNotMetError(f"words are told apart by the rule {kept['rule']!r}, which this version does not know.")


LETTERS = Letters()
