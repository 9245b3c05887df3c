"""Examples as people see them: their media and their label, whatever their modality."""

from collections.abc import Sequence
from dataclasses import dataclass

from trak_core.media import Medium, Text, media_of
from trak_core.store.media_rows import further_media
from trak_core.store.run import Run
from trak_core.views.answer_words import has_answer


@dataclass(frozen=True)
class Example:
    """One example."""

    split: str  # "train" or "test"
    idx: int  # its number in the split
    label: int  # its label; 0 where there are no classes
    label_name: str  # the name of its label
    media: tuple[Medium, ...]  # what it shows: its picture, its text, then further ones
    origin: str | None = None  # the file or row that it came from; None where the run does not know it
    # False where `label_name` tells what is asked about it, such as "41 tokens", and is no label that somebody gave
    is_labelled: bool = True

    @property
    def text(self) -> str:
        """All its texts, a blank between; empty where it has none."""
        return " ".join(one.text for one in self.media if isinstance(one, Text))


def read_examples(run: Run, split: str, idxs: Sequence[int]) -> list[Example]:
    """The examples of the given numbers, in the order given; numbers must be valid."""
    wanted = [int(idx) for idx in idxs]
    rows = run.rows(
        "SELECT idx, coalesce(label, 0), label_name, thumbnail, text, origin FROM examples "
        "WHERE split = ? AND idx IN (SELECT unnest(?::INTEGER[]))",
        [split, wanted],
    )
    further, is_labelled = further_media(run, split, wanted), has_answer(run)
    by_idx = {
        idx: Example(split, idx, label, name, media_of(thumbnail, text, further.get(idx, ())), origin, is_labelled)
        for idx, label, name, thumbnail, text, origin in rows
    }
    return [by_idx[idx] for idx in wanted]


@dataclass(frozen=True)
class ScoredExample:
    """An example in a ranking."""

    example: Example  # itself
    score: float  # what it is ranked by: a score of a method, or a similarity
    # from 1, among the proponents or the opponents that are meant; None where it is none of the 100 strongest
    rank: int | None = None
    is_target_class: bool = True  # False when its label is another class than the one that is explained


def scored_examples(run: Run, split: str, idxs: Sequence[int], scores: Sequence[float]) -> list[ScoredExample]:
    """Examples with what they are ranked by, in the order given and without ranks; numbers must be valid."""
    examples = read_examples(run, split, idxs)
    return [ScoredExample(example, float(score)) for example, score in zip(examples, scores, strict=True)]


def shows_texts(run: Run) -> bool:
    """True where examples of the run show a text, which takes more room on a page than a picture."""
    return any(isinstance(one, Text) for example in read_examples(run, "train", [0]) for one in example.media)
